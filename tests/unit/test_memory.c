/* The files behind offline start: what is in them, who may read them, and what
 * becomes of those that are cut, changed, foreign or in the way. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utime.h>

#include <sodium.h>

#include "core_harness.h"
#include "memory_bridge.h"

#define HELLO "{\"era\":\"streamable-http\",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}}"
#define PAGE(cursor, name) "{\"cursor\":" cursor ",\"result\":{\"tools\":[{\"name\":\"" name "\"}]}}"
#define WALL 1700000000

static char dir[64], cache[96];
static const struct span who[] = { { "https://server.test/mcp", 23 }, { "Authorization", 13 }, { "Bearer first", 12 } };
static const struct span other[] = { { "https://server.test/mcp", 23 }, { "Authorization", 13 }, { "Bearer other", 12 } };

/* Calls f for each file in the cache; how many there are. */
static size_t each_file(void (*f)(const char *path))
{
	DIR *d = opendir(cache);
	struct dirent *e;
	char path[400];
	size_t n = 0;

	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		n++;
		snprintf(path, sizeof(path), "%s/%s", cache, e->d_name);
		if (f)
			f(path);
	}
	if (d)
		closedir(d);
	return n;
}

static void remove_it(const char *path)
{
	if (unlink(path) != 0)
		rmdir(path);
}

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "/tmp/test-memory-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(cache, sizeof(cache), "%s/a/b", dir);
	return 0;
}

static int teardown(void **state)
{
	char path[96];

	(void)state;
	each_file(remove_it);
	rmdir(cache);
	snprintf(path, sizeof(path), "%s/a", dir);
	rmdir(path);
	return rmdir(dir);
}

static void act(struct memory_files *m, int kind, const char *text, bool goes_on, bool unfinished)
{
	struct action a = { .kind = ACT_REMEMBER, .status = kind, .text = span_str(text), .goes_on = goes_on, .unfinished = unfinished };

	memory_act(m, NULL, &a, 1000, WALL);
}

static void fill(const struct span *identity)
{
	struct memory_files *m = memory_new(cache, identity, 3);

	assert_non_null(m);
	act(m, REMEMBER_HANDSHAKE, HELLO, false, false);
	act(m, REMEMBER_LIST, PAGE("null", "one"), false, true);
	act(m, REMEMBER_LIST, PAGE("\"2\"", "two"), true, false);
	memory_free(m, WALL);
}

static void on_remember(struct play *p, const struct action *a, void *arg)
{
	if (a->status == REMEMBER_RECALL)
		memory_act(arg, p->s, a, p->now, WALL + 50);
}

/* What a run with the server away finds: bits 1 the handshake, 2 and 4 the pages. */
static int found(const struct span *identity)
{
	struct core_config c = play_config();
	struct memory_files *m = memory_new(cache, identity, 3);
	struct play p;
	int got;

	assert_non_null(m);
	c.offline_start = true;
	c.initialize_wait_ms = 1;
	play_open(&p, &c, 1);
	p.on_remember = on_remember;
	p.arg = m;
	memory_tell(m, p.s, WALL + 50);
	play_client(&p, PLAY_INITIALIZE);
	play_fail(&p, play_must_find(&p, "initialize"), HTTP_CONNECT, false);
	play_pass(&p, 1);
	got = play_said(&p, "\"name\":\"kept\"");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\",\"params\":{\"cursor\":\"2\"}}");
	got |= play_said(&p, "\"one\"") && play_said(&p, "\"mcp-holdfast/ageSeconds\":50") ? 2 : 0;
	got |= play_said(&p, "\"two\"") ? 4 : 0;
	play_close(&p);
	memory_free(m, WALL);
	return got;
}

static void is_private(const char *path)
{
	static const char *const secrets[] = { "server.test", "Bearer", "first" };
	char text[4096];
	struct stat st;
	int fd = open(path, O_RDONLY);
	ssize_t n;

	assert_true(fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 07777) == 0600);
	n = read(fd, text, sizeof(text));
	close(fd);
	assert_true(n > 0);
	for (size_t i = 0; i < 3; i++) {
		assert_null(memmem(text, (size_t)n, secrets[i], strlen(secrets[i])));
		assert_null(strstr(path, secrets[i]));
	}
}

static void what_is_kept_comes_back_and_only_for_these_credentials(void **state)
{
	struct stat st;

	(void)state;
	fill(who);
	assert_int_equal(found(who), 7);
	assert_int_equal(found(other), 0);
	assert_int_equal(each_file(is_private), 3); /* the key, the handshake, the tools */
	assert_true(stat(cache, &st) == 0 && (st.st_mode & 07777) == 0700);
}

static void nothing_is_made_before_there_is_something_to_keep(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(found(who), 0);
	assert_int_not_equal(stat(cache, &st), 0);
}

static void changes_are_written_soon_once_a_second_and_at_the_end(void **state)
{
	struct memory_files *m = memory_new(cache, who, 3);

	(void)state;
	assert_int_equal(memory_deadline(m), 0);
	act(m, REMEMBER_HANDSHAKE, HELLO, false, false);
	act(m, REMEMBER_LIST, PAGE("null", "one"), false, false);
	assert_int_equal(memory_deadline(m), 1200);
	memory_on_time(m, 1199, WALL);
	assert_int_equal(each_file(NULL), 0);
	memory_on_time(m, 1200, WALL);
	assert_int_equal(each_file(NULL), 3);
	assert_int_equal(memory_deadline(m), 0);
	each_file(remove_it);
	act(m, REMEMBER_LIST, PAGE("null", "one"), false, false);
	assert_int_equal(memory_deadline(m), 2200);
	memory_on_time(m, 2200, WALL); /* the same as before: not worth a write */
	assert_int_equal(each_file(NULL), 0);
	act(m, REMEMBER_LIST, PAGE("null", "new"), false, false);
	memory_free(m, WALL);
	assert_int_equal(each_file(NULL), 1);
}

static void a_listing_goes_on_where_its_page_was_written_already(void **state)
{
	struct memory_files *m = memory_new(cache, who, 3);

	(void)state;
	act(m, REMEMBER_HANDSHAKE, HELLO, false, false);
	act(m, REMEMBER_LIST, PAGE("null", "one"), false, true);
	memory_on_time(m, 2000, WALL);
	assert_int_equal(found(who), 3);
	act(m, REMEMBER_LIST, PAGE("\"2\"", "two"), true, false);
	memory_on_time(m, 3000, WALL);
	assert_int_equal(found(who), 7);
	act(m, REMEMBER_LIST, PAGE("\"9\"", "stray"), true, false); /* of no listing that is open */
	memory_free(m, WALL);
	assert_int_equal(found(who), 7);
}

static void a_list_that_is_void_goes_alone_and_a_refusal_takes_all(void **state)
{
	struct memory_files *m;

	(void)state;
	fill(who);
	m = memory_new(cache, who, 3);
	act(m, REMEMBER_LIST, "", false, false);
	memory_free(m, WALL);
	assert_int_equal(found(who), 1);
	fill(who);
	m = memory_new(cache, who, 3);
	act(m, REMEMBER_LIST + 1, PAGE("null", "x"), false, false);
	act(m, REMEMBER_NOTHING, "", false, false);
	assert_int_equal(found(who), 0);
	assert_int_equal(each_file(NULL), 1);
	memory_free(m, WALL);
	assert_int_equal(each_file(NULL), 1); /* the key; nothing that was waiting to be written */
}

static void cut(const char *path) { assert_int_equal(truncate(path, 40), 0); }
static void empty(const char *path) { assert_int_equal(truncate(path, 0), 0); }
static void open_to_all(const char *path) { assert_int_equal(chmod(path, 0666), 0); }

static void overwrite(const char *path, const char *text, size_t n)
{
	int fd = open(path, O_WRONLY | O_TRUNC);

	assert_true(fd >= 0 && write(fd, text, n) == (ssize_t)n);
	close(fd);
}

static void foreign(const char *path) { overwrite(path, "{\"hello\":\"world\"}\n", 18); }
static void only_magic(const char *path) { overwrite(path, "mcp-holdfast memory 1 ", 22); }

static void garbage(const char *path)
{
	char text[5000];

	memset(text, 0xa5, sizeof(text));
	overwrite(path, text, sizeof(text));
}

static void change_one_byte(const char *path)
{
	int fd = open(path, O_RDWR);
	struct stat st;
	char c = 0;

	assert_true(fd >= 0 && fstat(fd, &st) == 0 && pread(fd, &c, 1, st.st_size / 2) == 1);
	c = c == '1' ? '2' : '1';
	assert_int_equal(pwrite(fd, &c, 1, st.st_size / 2), 1);
	close(fd);
}

static void directory(const char *path) { assert_true(unlink(path) == 0 && mkdir(path, 0700) == 0); }
static void link_away(const char *path) { assert_true(unlink(path) == 0 && symlink("/dev/zero", path) == 0); }
static void pipe_there(const char *path) { assert_true(unlink(path) == 0 && mkfifo(path, 0600) == 0); }

static bool spoil_key;
static void (*spoiler)(const char *);
static void spoil(const char *path)
{
	if (spoil_key || !strstr(path, "memory.key"))
		spoiler(path);
}

static void a_spoiled_file_is_ignored_and_replaced(void **state)
{
	static void (*const ways[])(const char *) = { cut, empty, foreign, only_magic, garbage, change_one_byte, directory, link_away, pipe_there, remove_it, open_to_all };

	(void)state;
	for (size_t i = 0; i < 2 * sizeof(ways) / sizeof(*ways); i++) {
		fill(who);
		assert_int_equal(found(who), 7);
		spoiler = ways[i / 2];
		spoil_key = i % 2;
		each_file(spoil);
		if (spoiler != open_to_all || spoil_key)
			assert_true(found(who) == 0 || (spoiler == change_one_byte && spoil_key));
		fill(who);
		assert_int_equal(found(who), 7);
		if (!spoil_key) /* with another key the files have other names */
			assert_int_equal(each_file(is_private), 3);
		each_file(remove_it);
	}
}

static void a_file_of_another_name_or_kind_is_not_taken_for_it(void **state)
{
	char from[400] = "", to[400] = "";
	DIR *d;
	struct dirent *e;

	(void)state;
	fill(who);
	d = opendir(cache);
	while ((e = readdir(d))) {
		char *dot = strstr(e->d_name, ".tools");
		if (!dot)
			continue;
		snprintf(from, sizeof(from), "%s/%s", cache, e->d_name);
		snprintf(to, sizeof(to), "%s/%.*s.hello", cache, (int)(dot - e->d_name), e->d_name);
	}
	closedir(d);
	assert_int_equal(rename(from, to), 0);
	assert_int_equal(found(who), 0);
}

static void make_old(const char *path)
{
	struct utimbuf t = { .actime = WALL - 100 * 86400, .modtime = WALL - 100 * 86400 };

	assert_int_equal(utime(path, &t), 0);
}

static void old_files_go_and_those_of_others_stay(void **state)
{
	char stranger[200];

	(void)state;
	fill(other);
	snprintf(stranger, sizeof(stranger), "%s/notes.tools", cache);
	close(open(stranger, O_CREAT | O_WRONLY, 0600));
	each_file(make_old);
	fill(who);
	assert_int_equal(each_file(NULL), 4);
	assert_int_equal(access(stranger, F_OK), 0);
	assert_int_equal(found(who), 7);
}

static void what_is_too_large_is_not_kept_in_part(void **state)
{
	size_t n = (size_t)9 << 20;
	char *big = malloc(n + 1);
	struct memory_files *m;

	(void)state;
	assert_non_null(big);
	memset(big, 'x', n);
	big[n] = '\0';
	fill(who);
	m = memory_new(cache, who, 3);
	act(m, REMEMBER_LIST, PAGE("null", "one"), false, true);
	act(m, REMEMBER_LIST, big, true, false);
	memory_free(m, WALL);
	free(big);
	assert_int_equal(found(who), 1);
}

static void a_place_that_can_not_be_written_turns_it_off(void **state)
{
	static const char *const places[] = { "/proc/nowhere/x", "/dev/null/x", "relative", "" };

	(void)state;
	for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++) {
		struct memory_files *m = memory_new(places[i], who, 3);
		act(m, REMEMBER_HANDSHAKE, HELLO, false, false);
		memory_on_time(m, 2000, WALL);
		act(m, REMEMBER_HANDSHAKE, HELLO, false, false);
		assert_int_equal(memory_deadline(m), 0);
		memory_free(m, WALL);
	}
	memory_free(NULL, WALL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_kept_comes_back_and_only_for_these_credentials, setup, teardown),
		cmocka_unit_test_setup_teardown(nothing_is_made_before_there_is_something_to_keep, setup, teardown),
		cmocka_unit_test_setup_teardown(changes_are_written_soon_once_a_second_and_at_the_end, setup, teardown),
		cmocka_unit_test_setup_teardown(a_listing_goes_on_where_its_page_was_written_already, setup, teardown),
		cmocka_unit_test_setup_teardown(a_list_that_is_void_goes_alone_and_a_refusal_takes_all, setup, teardown),
		cmocka_unit_test_setup_teardown(a_spoiled_file_is_ignored_and_replaced, setup, teardown),
		cmocka_unit_test_setup_teardown(a_file_of_another_name_or_kind_is_not_taken_for_it, setup, teardown),
		cmocka_unit_test_setup_teardown(old_files_go_and_those_of_others_stay, setup, teardown),
		cmocka_unit_test_setup_teardown(what_is_too_large_is_not_kept_in_part, setup, teardown),
		cmocka_unit_test_setup_teardown(a_place_that_can_not_be_written_turns_it_off, setup, teardown),
	};

	umask(077);
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
