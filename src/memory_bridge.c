/* The files behind offline start. A file is one line of ours, then the
 * session's documents, one a line:
 *
 *     mcp-holdfast memory 1 SEAL SECONDS
 *     {"era":"streamable-http","result":{...}}
 *
 * SEAL is a keyed hash of the file's name, the time and the documents. No
 * fsync: after a crash a file may be cut, which the seal shows. */
#include "memory_bridge.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "auth/store_file.h"
#include "base/log.h"
#include "options.h"

#define KEY_NAME "memory.key"
#define MAGIC "mcp-holdfast memory 1 "
#define FILE_MAX ((size_t)8 << 20)     /* of one kind */
#define FIRST_MS 200                   /* the lists often follow the handshake at once */
#define WRITE_MS 1000
#define SAME_S 3600                    /* unchanged documents are dated anew this often */
#define OLD_S (60 * 86400)             /* files that nobody renewed for so long go */
#define STEM 32                        /* hexadecimal digits that name server and credentials */
#define SEAL_BYTES 16
#define PATH_SIZE 4096

static const char *const kinds[REMEMBER_KINDS] = { "hello", "tools", "resources", "templates", "prompts" };

struct kept {
	struct buf text;
	bool dirty;
	bool unfinished;                      /* more pages may follow */
	unsigned char last[SEAL_BYTES];       /* of the documents that were written last */
	int64_t written_s;
};

struct memory_files {
	char *dir;
	unsigned char key[32], identity[32];
	char stem[STEM + 1];                  /* "" while there is no key */
	bool off, pruned;
	int64_t due, written_at;
	struct kept kept[REMEMBER_KINDS];
};

/* ---- names and seals -------------------------------------------------------------------- */

static void name_files(struct memory_files *m)
{
	static const char what[] = "name";
	unsigned char h[STEM / 2];
	crypto_generichash_state st;

	crypto_generichash_init(&st, m->key, sizeof m->key, sizeof h);
	crypto_generichash_update(&st, (const unsigned char *)what, sizeof what);
	crypto_generichash_update(&st, m->identity, sizeof m->identity);
	crypto_generichash_final(&st, h, sizeof h);
	sodium_bin2hex(m->stem, sizeof m->stem, h, sizeof h);
}

/* SECONDS and the documents, as they stand in the file. */
static void seal(const struct memory_files *m, int kind, struct span text, unsigned char out[SEAL_BYTES])
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, m->key, sizeof m->key, SEAL_BYTES);
	crypto_generichash_update(&st, (const unsigned char *)"seal", 5);
	crypto_generichash_update(&st, (const unsigned char *)m->stem, sizeof m->stem);
	crypto_generichash_update(&st, (const unsigned char *)kinds[kind], strlen(kinds[kind]) + 1);
	crypto_generichash_update(&st, (const unsigned char *)text.p, text.n);
	crypto_generichash_final(&st, out, SEAL_BYTES);
}

static int path_of(const struct memory_files *m, int kind, char out[PATH_SIZE])
{
	return snprintf(out, PATH_SIZE, "%s/%s.%s", m->dir, m->stem, kinds[kind]) >= PATH_SIZE ? -1 : 0;
}

/* ---- the key ------------------------------------------------------------------------------- */

/* Is the file's name one that we give, or the one it has while it is written?
 * The whole pattern, so that nothing else is ever removed. */
static bool is_ours(const char *name)
{
	const char *kind = name + STEM + 1;

	if (strspn(name, "0123456789abcdef") != STEM || name[STEM] != '.')
		return false;
	for (int k = 0; k < REMEMBER_KINDS; k++) {
		size_t n = strlen(kinds[k]);
		if (strncmp(kind, kinds[k], n) == 0 && (kind[n] == '\0' || (kind[n] == '.' && kind[n + 1 + strspn(kind + n + 1, "0123456789")] == '\0')))
			return true;
	}
	return false;
}

/* Removes what was not renewed since `since`. */
static void prune(const struct memory_files *m, int64_t since)
{
	DIR *d = opendir(m->dir);
	struct dirent *f;
	struct stat st;

	if (!d)
		return;
	while ((f = readdir(d)))
		if (is_ours(f->d_name) && fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_mtime < since)
			unlinkat(dirfd(d), f->d_name, 0);
	closedir(d);
}

/* The key that is there. A broken one goes: what it named can not be found again. */
static bool find_key(struct memory_files *m)
{
	char path[PATH_SIZE];
	struct stat st;

	if (m->stem[0])
		return true;
	if (m->off || snprintf(path, sizeof path, "%s/%s", m->dir, KEY_NAME) >= (int)sizeof path || lstat(path, &st) != 0)
		return false;
	if (private_key(m->dir, KEY_NAME, m->key, NULL) == 0) {
		name_files(m);
		return true;
	}
	log_debug("the key of the offline memory is not usable and is replaced");
	if (unlink(path) != 0)
		rmdir(path);
	return false;
}

static bool make_key(struct memory_files *m)
{
	char path[PATH_SIZE];
	struct err e = { "" };
	struct stat st;

	if (find_key(m))
		return true;
	if (private_key(m->dir, KEY_NAME, m->key, &e) != 0) {
		log_debug("nothing is remembered for an offline start: %s", e.text);
		m->off = true;
		return false;
	}
	name_files(m);
	/* What is older than the key was another one's. What is not may be of a
	 * process that started with us, and made the key that we found then. */
	if (snprintf(path, sizeof path, "%s/%s", m->dir, KEY_NAME) < (int)sizeof path && stat(path, &st) == 0)
		prune(m, st.st_mtime);
	return true;
}

/* ---- reading ---------------------------------------------------------------------------------- */

/* The first line, checked. text: what comes after it; 0 or -1. */
static int open_seal(const struct memory_files *m, int kind, struct span file, int64_t *at_s, struct span *text)
{
	const size_t magic = sizeof MAGIC - 1, head = magic + 2 * SEAL_BYTES + 1;
	unsigned char said[SEAL_BYTES], is[SEAL_BYTES];
	const char *nl;
	size_t n = 0;

	if (file.n <= head || memcmp(file.p, MAGIC, magic) != 0 || file.p[head - 1] != ' ' ||
	    sodium_hex2bin(said, sizeof said, file.p + magic, 2 * SEAL_BYTES, NULL, &n, NULL) != 0 || n != sizeof said)
		return -1;
	seal(m, kind, span_make(file.p + head, file.n - head), is);
	if (sodium_memcmp(said, is, sizeof is) != 0)
		return -1;
	nl = memchr(file.p + head, '\n', file.n - head);
	if (!nl)
		return -1;
	*at_s = strtoll(file.p + head, NULL, 10); /* under the seal: written by us, the line feed ends it */
	*text = span_make(nl + 1, (size_t)(file.p + file.n - nl - 1));
	return 0;
}

static void tell_lines(struct session *s, int kind, struct span text, int64_t age_s)
{
	while (text.n) {
		const char *nl = memchr(text.p, '\n', text.n);
		size_t n = nl ? (size_t)(nl - text.p) : text.n;
		session_on_memory(s, kind, span_make(text.p, n), age_s);
		n += nl != NULL;
		text = span_make(text.p + n, text.n - n);
	}
}

static void tell(struct memory_files *m, struct session *s, int kind, int64_t wall_s)
{
	char path[PATH_SIZE];
	struct span text;
	struct buf file;
	int64_t at_s;

	if (!find_key(m) || path_of(m, kind, path) != 0)
		return;
	buf_init(&file, FILE_MAX + 256);
	if (private_read(path, FILE_MAX + 128, &file, NULL) == 1) {
		if (open_seal(m, kind, buf_span(&file), &at_s, &text) == 0)
			tell_lines(s, kind, text, wall_s > at_s ? wall_s - at_s : 0);
		else
			log_debug("ignored a file of the offline memory that is cut or not ours");
	}
	buf_fini(&file);
}

void memory_tell(struct memory_files *m, struct session *s, int64_t wall_s)
{
	if (m)
		tell(m, s, REMEMBER_HANDSHAKE, wall_s);
}

/* ---- writing ------------------------------------------------------------------------------------- */

static int write_all(int fd, struct span text)
{
	while (text.n) {
		ssize_t n = write(fd, text.p, text.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		text = span_make(text.p + n, text.n - (size_t)n);
	}
	return 0;
}

static int write_file(const char *path, struct span head, struct span text)
{
	char aside[PATH_SIZE];
	int fd, bad;

	if (snprintf(aside, sizeof aside, "%s.%ld", path, (long)getpid()) >= (int)sizeof aside)
		return -1;
	unlink(aside); /* of a process that was killed */
	fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -1;
	bad = write_all(fd, head) | write_all(fd, text);
	bad |= close(fd);
	if (!bad && rename(aside, path) != 0)
		bad = rmdir(path) || rename(aside, path); /* a directory stood in the way */
	if (bad)
		unlink(aside);
	return bad ? -1 : 0;
}

static void save(struct memory_files *m, int kind, int64_t wall_s)
{
	struct kept *k = &m->kept[kind];
	unsigned char sum[SEAL_BYTES], digest[SEAL_BYTES];
	char path[PATH_SIZE], head[sizeof MAGIC + 2 * SEAL_BYTES + 32], hex[2 * SEAL_BYTES + 1];
	struct buf all;
	int n;

	k->dirty = false;
	seal(m, kind, buf_span(&k->text), digest);
	if (path_of(m, kind, path) != 0)
		return;
	if (!k->text.len) {
		unlink(path);
	} else if (memcmp(digest, k->last, sizeof digest) != 0 || wall_s - k->written_s > SAME_S || wall_s < k->written_s) {
		buf_init(&all, FILE_MAX + 256);
		n = buf_printf(&all, "%lld\n", (long long)wall_s) | buf_add(&all, buf_span(&k->text));
		seal(m, kind, buf_span(&all), sum);
		sodium_bin2hex(hex, sizeof hex, sum, sizeof sum);
		snprintf(head, sizeof head, MAGIC "%s ", hex);
		if (n || write_file(path, span_str(head), buf_span(&all)) != 0) {
			log_debug("the offline memory can not be written: %s", strerror(errno));
			m->off = true;
		}
		buf_fini(&all);
		memcpy(k->last, digest, sizeof digest);
		k->written_s = wall_s;
	}
	if (!k->unfinished)
		buf_fini(&k->text);
}

static void save_all(struct memory_files *m, int64_t wall_s)
{
	bool saved = false;

	m->due = 0;
	for (int k = 0; k < REMEMBER_KINDS; k++) {
		if (!m->kept[k].dirty)
			continue;
		if (m->off || !make_key(m))
			return;
		save(m, k, wall_s);
		saved = true;
	}
	if (saved && !m->pruned && !m->off) {
		prune(m, wall_s - OLD_S);
		m->pruned = true;
	}
}

void memory_forget(struct memory_files *m)
{
	char path[PATH_SIZE];

	for (int k = 0; k < REMEMBER_KINDS; k++) {
		m->kept[k].dirty = m->kept[k].unfinished = false;
		memset(m->kept[k].last, 0, sizeof m->kept[k].last);
		buf_fini(&m->kept[k].text);
		if (find_key(m) && path_of(m, k, path) == 0)
			unlink(path);
	}
}

static void keep(struct memory_files *m, const struct action *a, int64_t now)
{
	struct kept *k = &m->kept[a->status];

	if (m->off || (a->goes_on && !k->unfinished))
		return; /* a page out of order: the listing is complete, or its beginning is not known */
	if (!a->goes_on)
		buf_reset(&k->text);
	k->unfinished = a->unfinished;
	if (!a->text.n || k->text.len + a->text.n + 1 > FILE_MAX || buf_add(&k->text, a->text) != 0 || buf_puts(&k->text, "\n") != 0) {
		k->unfinished = false;
		buf_fini(&k->text); /* in part it would be a lie */
	}
	k->dirty = true;
	if (!m->due)
		m->due = m->written_at && m->written_at + WRITE_MS > now + FIRST_MS ? m->written_at + WRITE_MS : now + FIRST_MS;
}

void memory_act(struct memory_files *m, struct session *s, const struct action *a, int64_t now, int64_t wall_s)
{
	if (!m)
		return;
	if (a->status == REMEMBER_RECALL) {
		for (int k = REMEMBER_LIST; k < REMEMBER_KINDS; k++)
			tell(m, s, k, wall_s);
	} else if (a->status == REMEMBER_NOTHING) {
		memory_forget(m);
	} else if (a->status >= 0 && a->status < REMEMBER_KINDS) {
		keep(m, a, now);
	}
}

void memory_on_time(struct memory_files *m, int64_t now, int64_t wall_s)
{
	if (!m || !m->due || now < m->due)
		return;
	m->written_at = now;
	save_all(m, wall_s);
}

int64_t memory_deadline(const struct memory_files *m) { return m ? m->due : 0; }

/* ---- life ------------------------------------------------------------------------------------------- */

struct memory_files *memory_new(const char *dir, const struct span *identity, size_t n)
{
	struct memory_files *m = calloc(1, sizeof *m);
	crypto_generichash_state st;

	if (!m || !(m->dir = strdup(dir))) {
		free(m);
		return NULL;
	}
	crypto_generichash_init(&st, NULL, 0, sizeof m->identity);
	for (size_t i = 0; i < n; i++) { /* each after its length, so that none can pass for two */
		uint64_t len = identity[i].p ? identity[i].n : UINT64_MAX;
		crypto_generichash_update(&st, (const unsigned char *)&len, sizeof len);
		if (identity[i].p)
			crypto_generichash_update(&st, (const unsigned char *)identity[i].p, identity[i].n);
	}
	crypto_generichash_final(&st, m->identity, sizeof m->identity);
	for (int k = 0; k < REMEMBER_KINDS; k++)
		buf_init(&m->kept[k].text, FILE_MAX + 1);
	return m;
}

void memory_free(struct memory_files *m, int64_t wall_s)
{
	if (!m)
		return;
	save_all(m, wall_s);
	for (int k = 0; k < REMEMBER_KINDS; k++)
		buf_fini(&m->kept[k].text);
	sodium_memzero(m->key, sizeof m->key);
	sodium_memzero(m->identity, sizeof m->identity);
	free(m->dir);
	free(m);
}

static struct memory_files *memory_in(const char *dir, const struct options *o)
{
	const struct auth_options *a = &o->auth;
	const char *const texts[] = { o->url.text, a->client_id, a->scope, a->resource, a->token_command, a->token_file,
		a->id_token_file, a->assertion_file, a->idp_client_id, o->cert, o->unix_socket };
	size_t ntexts = sizeof texts / sizeof *texts, n = ntexts + 2 * o->headers.n;
	struct span *identity = calloc(n, sizeof *identity);
	struct memory_files *m;

	if (!identity)
		return NULL;
	for (size_t i = 0; i < ntexts; i++)
		identity[i] = texts[i] ? span_str(texts[i]) : SPAN_NONE;
	for (size_t i = 0; i < o->headers.n; i++) {
		identity[ntexts + 2 * i] = span_str(o->headers.v[i].name);
		identity[ntexts + 2 * i + 1] = secret_reveal(o->headers.v[i].value);
	}
	m = memory_new(dir, identity, n);
	free(identity);
	return m;
}

struct memory_files *memory_for(const struct options *o)
{
	const char *base = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	char dir[PATH_SIZE];
	int n;

	if (base && base[0] == '/')
		n = snprintf(dir, sizeof dir, "%s/mcp-holdfast", base);
	else if (home && home[0] == '/')
		n = snprintf(dir, sizeof dir, "%s/.cache/mcp-holdfast", home);
	else
		return NULL;
	return n < (int)sizeof dir ? memory_in(dir, o) : NULL;
}
