/* The sealed store on a directory of its own: what is kept, what is set aside,
 * who holds the lock, and what is read of mcp-remote's files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "auth/md5.h"
#include "auth/store.h"

struct place {
	char root[64], state[128], config[128];
	struct store_config c;
	char note[512];
};

static void remember(void *arg, const char *sentence)
{
	struct place *p = arg;

	snprintf(p->note, sizeof p->note, "%s", sentence);
}

static int make_place(void **state)
{
	struct place *p = calloc(1, sizeof *p);

	if (!p)
		return -1;
	strcpy(p->root, "/tmp/test_store.XXXXXX");
	if (!mkdtemp(p->root))
		return -1;
	snprintf(p->state, sizeof p->state, "%s/state/deep/mcp-holdfast", p->root);
	snprintf(p->config, sizeof p->config, "%s/config/mcp-holdfast", p->root);
	p->c = (struct store_config){ .state_dir = p->state, .config_dir = p->config, .url = "https://h/mcp", .note = remember, .note_arg = p };
	*state = p;
	return 0;
}

static int remove_place(void **state)
{
	struct place *p = *state;
	char cmd[128];
	int rc;

	snprintf(cmd, sizeof cmd, "rm -rf '%s'", p->root);
	rc = system(cmd);
	free(p);
	return rc;
}

static void fill(struct auth_record *r, const char *issuer, const char *token)
{
	auth_record_init(r);
	assert_int_equal(auth_set(&r->issuer, span_str(issuer)), 0);
	assert_int_equal(auth_set(&r->url, SPAN_LIT("https://h/mcp")), 0);
	assert_int_equal(auth_set_secret(&r->access, span_str(token)), 0);
}

static void save(struct store *s, const char *issuer, const char *token)
{
	struct auth_record r;

	fill(&r, issuer, token);
	assert_int_equal(store_save(s, &r, NULL), 0);
	auth_record_fini(&r);
}

/* The token kept for issuer is this one; NULL: there is none. */
static void assert_kept(struct store *s, const char *issuer, const char *token)
{
	struct auth_record r;
	int rc = store_load(s, issuer, &r, NULL);

	assert_int_equal(rc, token ? 1 : 0);
	if (token)
		assert_true(span_is(secret_reveal(r.access), token));
	auth_record_fini(&r);
}

/* The path of the one file of a directory whose name ends so. */
static bool find(const char *dir, const char *suffix, char *path, size_t n)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	bool found = false;

	assert_non_null(d);
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name), k = strlen(suffix);

		if (len > k && strcmp(e->d_name + len - k, suffix) == 0) {
			snprintf(path, n, "%s/%s", dir, e->d_name);
			found = true;
		}
	}
	closedir(d);
	return found;
}

static void what_is_saved_is_loaded(void **state)
{
	struct place *p = *state;
	struct store *s = store_open(&p->c, NULL);

	assert_non_null(s);
	assert_kept(s, NULL, NULL);
	save(s, "https://a", "one");
	assert_kept(s, NULL, "one");
	assert_kept(s, "https://a", "one");
	assert_kept(s, "https://b", NULL);
	save(s, "https://a", "two");
	assert_kept(s, NULL, "two");
	store_close(s);
	s = store_open(&p->c, NULL);
	assert_non_null(s);
	assert_kept(s, NULL, "two");
	store_close(s);
}

static void servers_headers_and_issuers_do_not_mix(void **state)
{
	struct place *p = *state;
	struct store_config other = p->c, variant = p->c;
	struct span headers[] = { SPAN_LIT("X-Tenant: 1") };
	struct store *s = store_open(&p->c, NULL), *t, *v;

	other.url = "https://h/other";
	variant.variants = headers;
	variant.nvariants = 1;
	t = store_open(&other, NULL);
	v = store_open(&variant, NULL);
	assert_true(s && t && v);
	save(s, "https://a", "sa");
	save(t, "https://a", "ta");
	save(v, "https://a", "va");
	save(s, "https://b", "sb");
	assert_kept(s, "https://a", "sa");
	assert_kept(s, "https://b", "sb");
	assert_kept(t, "https://a", "ta");
	assert_kept(v, NULL, "va");
	assert_int_equal(store_forget(s, NULL), 2);
	assert_kept(s, NULL, NULL);
	assert_kept(t, NULL, "ta");
	store_close(s);
	store_close(t);
	store_close(v);
}

static void files_are_private_and_tell_nothing(void **state)
{
	struct place *p = *state;
	struct store *s = store_open(&p->c, NULL);
	char path[512], bytes[4096];
	struct stat st;
	FILE *f;
	size_t n;

	assert_non_null(s);
	save(s, "https://issuer.example", "very-secret-token");
	assert_int_equal(stat(p->state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_true(find(p->state, ".tokens", path, sizeof path));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	f = fopen(path, "rb");
	assert_non_null(f);
	n = fread(bytes, 1, sizeof bytes, f);
	fclose(f);
	assert_null(memmem(bytes, n, "secret", 6));
	assert_null(memmem(bytes, n, "issuer", 6));
	assert_true(find(p->config, "store.key", path, sizeof path) || stat(strcat(strcpy(path, p->config), "/store.key"), &st) == 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	store_close(s);
}

static void tampered_and_foreign_files_are_set_aside(void **state)
{
	static const int cuts[] = { 0, 3, 20, 44 };
	struct place *p = *state;
	struct store *s = store_open(&p->c, NULL);
	char path[512], bad[600], byte;
	struct stat st;
	size_t i;
	int fd;

	assert_non_null(s);
	for (i = 0; i < sizeof cuts / sizeof *cuts; i++) {
		save(s, "https://a", "token");
		assert_true(find(p->state, ".tokens", path, sizeof path));
		assert_int_equal(truncate(path, cuts[i]), 0);
		p->note[0] = '\0';
		assert_kept(s, NULL, NULL);
		assert_non_null(strstr(p->note, "set aside"));
		snprintf(bad, sizeof bad, "%s.bad", path);
		assert_int_equal(stat(bad, &st), 0);
		assert_int_equal(unlink(bad), 0);
	}
	save(s, "https://a", "token");
	assert_true(find(p->state, ".tokens", path, sizeof path));
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 40), 1);
	byte = (char)(byte ^ 1);
	assert_int_equal(pwrite(fd, &byte, 1, 40), 1);
	close(fd);
	assert_kept(s, "https://a", NULL);
	/* A link in the record's place is not followed. */
	save(s, "https://a", "token");
	snprintf(bad, sizeof bad, "%s.real", path);
	assert_int_equal(rename(path, bad), 0);
	assert_int_equal(symlink(bad, path), 0);
	assert_kept(s, "https://a", NULL);
	store_close(s);
}

static void one_record_can_not_be_put_in_anothers_place(void **state)
{
	struct place *p = *state;
	struct store *s = store_open(&p->c, NULL);
	char a[512], b[600];

	assert_non_null(s);
	save(s, "https://a", "token-a");
	assert_true(find(p->state, ".tokens", a, sizeof a));
	snprintf(b, sizeof b, "%s.keep", a);
	assert_int_equal(rename(a, b), 0);
	save(s, "https://b", "token-b");
	assert_true(find(p->state, ".tokens", a, sizeof a));
	assert_int_equal(rename(b, a), 0); /* a's bytes under b's name */
	assert_kept(s, "https://b", NULL);
	assert_non_null(strstr(p->note, "set aside"));
	store_close(s);
}

static void keys_come_from_where_the_user_says(void **state)
{
	struct place *p = *state;
	struct store_config c = p->c;
	struct store *s, *t;
	struct err e = { "" };
	char path[256];
	FILE *f;

	c.key_text = "0123456789abcdef";
	s = store_open(&c, &e);
	assert_non_null(s);
	save(s, "https://a", "by-text");
	c.key_text = "another key, as long";
	t = store_open(&c, &e);
	assert_non_null(t);
	assert_kept(t, NULL, NULL); /* and nothing is set aside on its account */
	assert_kept(s, NULL, "by-text");
	store_close(t);
	c.key_text = "short";
	assert_null(store_open(&c, &e));
	c.key_text = NULL;
	snprintf(path, sizeof path, "%s/key", p->root);
	c.key_file = path;
	assert_null(store_open(&c, &e));
	f = fopen(path, "w");
	assert_non_null(f);
	fputs("0123456789abcdef\n", f);
	fclose(f);
	t = store_open(&c, &e);
	assert_non_null(t);
	assert_kept(t, NULL, "by-text"); /* the same text, the same key */
	store_close(t);
	store_close(s);
}

static void a_key_that_others_may_read_is_refused(void **state)
{
	struct place *p = *state;
	struct store *s = store_open(&p->c, NULL);
	struct err e = { "" };
	char path[256];

	assert_non_null(s);
	store_close(s);
	snprintf(path, sizeof path, "%s/store.key", p->config);
	assert_int_equal(chmod(path, 0644), 0);
	assert_null(store_open(&p->c, &e));
	assert_non_null(strstr(e.text, "others"));
	assert_non_null(strstr(e.text, path));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_null(store_open(&p->c, &e));
	assert_non_null(strstr(e.text, path));
	assert_int_equal(rmdir(path), 0);
}

static void a_directory_that_can_not_be_written_is_a_clear_error(void **state)
{
	struct place *p = *state;
	struct store_config c = p->c;
	struct err e = { "" };

	c.state_dir = "/dev/null/x";
	assert_null(store_open(&c, &e));
	assert_non_null(strstr(e.text, c.state_dir));
	c.state_dir = "/dev/null";
	assert_null(store_open(&c, &e));
	assert_non_null(strstr(e.text, c.state_dir));
	c.state_dir = NULL;
	assert_null(store_open(&c, &e));
}

static void the_lock_is_held_by_one(void **state)
{
	static struct store *s, *t; /* reachable in the child, too, for those who look for leaks */
	struct place *p = *state;
	char url[64];
	int status = 0;
	pid_t pid;

	s = store_open(&p->c, NULL);
	t = store_open(&p->c, NULL);
	assert_true(s && t);
	assert_int_equal(store_try_lock(s, NULL), 1);
	assert_int_equal(store_try_lock(s, NULL), 1);
	assert_int_equal(store_try_lock(t, NULL), 0);
	store_publish(s, "http://127.0.0.1:1/s/x");
	assert_int_equal(store_published(t, url, sizeof url), 0);
	assert_string_equal(url, "http://127.0.0.1:1/s/x");
	store_unlock(s);
	assert_int_equal(store_published(t, url, sizeof url), 0); /* for whoever waited */
	assert_int_equal(store_try_lock(t, NULL), 1);
	store_publish(t, "");
	assert_int_equal(store_published(s, url, sizeof url), -1);
	store_unlock(t);
	/* A process that dies holding it leaves it free. */
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		_exit(store_try_lock(s, NULL) == 1 ? 0 : 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(store_try_lock(t, NULL), 1);
	store_close(s);
	store_close(t);
}

static void twenty_processes_make_one_key(void **state)
{
	static struct store *s;
	struct place *p = *state;
	pid_t pids[20];
	int i, status;

	for (i = 0; i < 20; i++) {
		pids[i] = fork();
		assert_true(pids[i] >= 0);
		if (pids[i] == 0) {
			char issuer[32];

			s = store_open(&p->c, NULL);
			snprintf(issuer, sizeof issuer, "https://as%d", i);
			if (!s)
				_exit(1);
			save(s, issuer, issuer);
			_exit(0);
		}
	}
	for (i = 0; i < 20; i++) {
		assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
		assert_int_equal(status, 0);
	}
	s = store_open(&p->c, NULL);
	assert_non_null(s);
	for (i = 0; i < 20; i++) {
		char issuer[32];

		snprintf(issuer, sizeof issuer, "https://as%d", i);
		assert_kept(s, issuer, issuer);
	}
	store_close(s);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void sign_ins_of_mcp_remote_are_read(void **state)
{
	struct place *p = *state;
	struct auth_record r;
	char dir[128], hash[33], path[300];

	snprintf(dir, sizeof dir, "%s/remote", p->root);
	assert_int_equal(mkdir(dir, 0700), 0);
	assert_int_equal(store_import(dir, "https://h/mcp", NULL, 0, NULL, &r, NULL), 0);
	snprintf(path, sizeof path, "%s/mcp-remote-v1", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	md5_hex(SPAN_LIT("https://h"), hash); /* typed without the slash that we know it by */
	snprintf(path, sizeof path, "%s/mcp-remote-v1/%s_tokens.json", dir, hash);
	write_file(path, "{\"access_token\":\"AT\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"refresh_token\":\"RT\",\"scope\":\"s\"}");
	snprintf(path, sizeof path, "%s/mcp-remote-v1/%s_client_info.json", dir, hash);
	write_file(path, "{\"client_id\":\"cid\",\"redirect_uris\":[\"http://localhost:3334/oauth/callback\"]}");
	assert_int_equal(store_import(dir, "https://h/", NULL, 0, NULL, &r, NULL), 1);
	assert_true(span_is(secret_reveal(r.access), "AT"));
	assert_true(span_is(secret_reveal(r.refresh), "RT"));
	assert_string_equal(r.client_id, "cid");
	assert_int_equal(r.redirect_port, 3334);
	assert_string_equal(r.redirect_uri, "http://localhost:3334/oauth/callback");
	assert_true(r.expires > r.obtained);
	auth_record_fini(&r);
	assert_int_equal(store_import(dir, "https://h/mcp", NULL, 0, NULL, &r, NULL), 0);
	snprintf(path, sizeof path, "%s/mcp-remote-v1/%s_tokens.json", dir, hash);
	write_file(path, "{\"access_token\":");
	assert_int_equal(store_import(dir, "https://h/", NULL, 0, NULL, &r, NULL), 0);
	auth_record_fini(&r);
}

static void headers_are_part_of_mcp_remotes_names(void **state)
{
	struct place *p = *state;
	struct span headers[] = { SPAN_LIT("X-B: 2"), SPAN_LIT("X-A:1\""), SPAN_LIT("X-A-2: 3") };
	struct auth_record r;
	char dir[128], hash[33], path[300];

	snprintf(dir, sizeof dir, "%s/remote", p->root);
	assert_int_equal(mkdir(dir, 0700), 0);
	snprintf(path, sizeof path, "%s/mcp-remote-0.1.18", dir);
	assert_int_equal(mkdir(path, 0700), 0);
	md5_hex(SPAN_LIT("https://h/mcp|https://r|{\"X-A\":\"1\\\"\",\"X-A-2\":\"3\",\"X-B\":\"2\"}"), hash);
	snprintf(path, sizeof path, "%s/mcp-remote-0.1.18/%s_tokens.json", dir, hash);
	write_file(path, "{\"access_token\":\"AT\",\"token_type\":\"Bearer\"}");
	assert_int_equal(store_import(dir, "https://h/mcp", headers, 3, "https://r", &r, NULL), 1);
	assert_true(span_is(secret_reveal(r.access), "AT"));
	auth_record_fini(&r);
}

static int start_sodium(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : 0;
}

#define IN_A_PLACE(test) cmocka_unit_test_setup_teardown(test, make_place, remove_place)

int main(void)
{
	const struct CMUnitTest tests[] = {
		IN_A_PLACE(what_is_saved_is_loaded),
		IN_A_PLACE(servers_headers_and_issuers_do_not_mix),
		IN_A_PLACE(files_are_private_and_tell_nothing),
		IN_A_PLACE(tampered_and_foreign_files_are_set_aside),
		IN_A_PLACE(one_record_can_not_be_put_in_anothers_place),
		IN_A_PLACE(keys_come_from_where_the_user_says),
		IN_A_PLACE(a_key_that_others_may_read_is_refused),
		IN_A_PLACE(a_directory_that_can_not_be_written_is_a_clear_error),
		IN_A_PLACE(the_lock_is_held_by_one),
		IN_A_PLACE(twenty_processes_make_one_key),
		IN_A_PLACE(sign_ins_of_mcp_remote_are_read),
		IN_A_PLACE(headers_are_part_of_mcp_remotes_names),
	};

	return cmocka_run_group_tests(tests, start_sodium, NULL);
}
