/* The sealed store. A file's name is a keyed hash of what it is for, so that a
 * directory listing tells nothing; the name is authenticated with the contents,
 * so that one file can not be put in another's place.
 *
 * name:  <server><-><issuer>.tokens  (32 and 16 hexadecimal digits)
 * bytes: "MHS1", 24 bytes of nonce, XChaCha20-Poly1305 of the record's JSON */
#include "auth/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "auth/store_file.h"

#define PATH_SIZE 4096
#define NAME_SIZE 80
#define SUFFIX ".tokens"
#define KEY_NAME "store.key"
#define MIN_KEY_TEXT 16
#define NONCE crypto_aead_xchacha20poly1305_ietf_NPUBBYTES
#define TAG crypto_aead_xchacha20poly1305_ietf_ABYTES
#define MAX_FILE (RECORD_MAX + 4 + NONCE + TAG)

static const char magic[4] = { 'M', 'H', 'S', '1' };

struct store {
	char *dir;
	struct secret *key;
	char server[33];           /* hash of URL, headers and options */
	int lock;                  /* descriptor; -1 */
	void (*note)(void *arg, const char *sentence);
	void *note_arg;
};

/* ---- keys and names ------------------------------------------------------------- */

static void hash_span(crypto_generichash_state *h, struct span s)
{
	unsigned char n[8];
	size_t i;

	for (i = 0; i < sizeof n; i++) /* lengths apart, so that ab+c is not a+bc */
		n[i] = (unsigned char)(s.n >> (8 * i));
	crypto_generichash_update(h, n, sizeof n);
	crypto_generichash_update(h, (const unsigned char *)(s.p ? s.p : ""), s.n);
}

static void name_hash(const struct store *s, struct span first, const struct span *more, size_t nmore,
	size_t bytes, char *hex)
{
	crypto_generichash_state h;
	unsigned char out[16];
	struct span key = secret_reveal(s->key);
	size_t i;

	crypto_generichash_init(&h, (const unsigned char *)key.p, key.n, bytes);
	hash_span(&h, first);
	for (i = 0; i < nmore; i++)
		hash_span(&h, more[i]);
	crypto_generichash_final(&h, out, bytes);
	sodium_bin2hex(hex, 2 * bytes + 1, out, bytes);
	sodium_memzero(&h, sizeof h);
}

/* Any text that a person or a secret manager gives becomes a key by hashing. */
static int key_from_text(struct span text, unsigned char key[32], struct err *e)
{
	while (text.n > 0 && (text.p[text.n - 1] == '\n' || text.p[text.n - 1] == '\r'))
		text.n--;
	if (text.n < MIN_KEY_TEXT)
		return err_set(e, "the store's key must have at least %d characters", MIN_KEY_TEXT);
	return crypto_generichash(key, 32, (const unsigned char *)text.p, text.n, NULL, 0);
}

static int find_key(const struct store_config *c, unsigned char key[32], struct err *e)
{
	struct buf text;
	int rc;

	if (c->key_text)
		return key_from_text(span_str(c->key_text), key, e);
	if (!c->key_file)
		return private_key(c->config_dir, KEY_NAME, key, e);
	buf_init(&text, 4096);
	rc = file_read(c->key_file, 4096, &text, e) || key_from_text(buf_span(&text), key, e) ? -1 : 0;
	buf_wipe(&text);
	buf_fini(&text);
	return rc;
}

struct store *store_open(const struct store_config *c, struct err *e)
{
	unsigned char key[32];
	struct store *s;

	if (private_dir(c->state_dir, e) || find_key(c, key, e))
		return NULL;
	s = calloc(1, sizeof *s);
	if (s) {
		s->lock = -1;
		s->note = c->note;
		s->note_arg = c->note_arg;
		s->dir = strdup(c->state_dir);
		s->key = secret_new(key, sizeof key);
	}
	sodium_memzero(key, sizeof key);
	if (!s || !s->dir || !s->key) {
		store_close(s);
		err_set(e, "no memory for the store");
		return NULL;
	}
	name_hash(s, span_str(c->url ? c->url : ""), c->variants, c->nvariants, 16, s->server);
	return s;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	store_publish(s, "");
	store_unlock(s);
	secret_free(s->key);
	free(s->dir);
	free(s);
}

static void note(const struct store *s, const char *sentence)
{
	if (s->note)
		s->note(s->note_arg, sentence);
}

static void file_name(const struct store *s, const char *issuer, char name[NAME_SIZE])
{
	char hash[17];

	name_hash(s, span_str(issuer ? issuer : ""), NULL, 0, 8, hash);
	snprintf(name, NAME_SIZE, "%s-%s" SUFFIX, s->server, hash);
}

/* ---- sealing ----------------------------------------------------------------------- */

/* What is authenticated beside the contents: the format and the file's name. */
static size_t sealed_with(const char *name, unsigned char out[4 + NAME_SIZE])
{
	size_t n = strlen(name);

	memcpy(out, magic, sizeof magic);
	memcpy(out + sizeof magic, name, n);
	return sizeof magic + n;
}

static int seal(const struct store *s, const char *name, struct span plain, struct buf *out)
{
	unsigned char ad[4 + NAME_SIZE], nonce[NONCE];
	size_t nad = sealed_with(name, ad);
	unsigned long long n = 0;

	randombytes_buf(nonce, sizeof nonce);
	if (buf_append(out, magic, sizeof magic) || buf_append(out, nonce, sizeof nonce) || buf_reserve(out, plain.n + TAG))
		return -1;
	crypto_aead_xchacha20poly1305_ietf_encrypt((unsigned char *)buf_tail(out), &n, (const unsigned char *)plain.p, plain.n,
		ad, nad, NULL, nonce, (const unsigned char *)secret_reveal(s->key).p);
	buf_grew(out, (size_t)n);
	return 0;
}

static int unseal(const struct store *s, const char *name, struct span bytes, struct buf *plain)
{
	unsigned char ad[4 + NAME_SIZE];
	size_t nad = sealed_with(name, ad);
	const unsigned char *p = (const unsigned char *)bytes.p;
	unsigned long long n = 0;

	if (bytes.n < sizeof magic + NONCE + TAG || memcmp(p, magic, sizeof magic) != 0 || buf_reserve(plain, bytes.n))
		return -1;
	if (crypto_aead_xchacha20poly1305_ietf_decrypt((unsigned char *)buf_tail(plain), &n, NULL,
		p + sizeof magic + NONCE, bytes.n - sizeof magic - NONCE, ad, nad, p + sizeof magic,
		(const unsigned char *)secret_reveal(s->key).p))
		return -1;
	buf_grew(plain, (size_t)n);
	return 0;
}

/* ---- records --------------------------------------------------------------------------- */

static void set_aside(const struct store *s, const char *name, const char *why)
{
	char from[PATH_SIZE], to[PATH_SIZE], line[512];

	snprintf(from, sizeof from, "%s/%s", s->dir, name);
	if (snprintf(to, sizeof to, "%s/%s.bad", s->dir, name) < (int)sizeof to && rename(from, to) == 0)
		snprintf(line, sizeof line, "a kept sign-in was set aside as %s.bad: %s", name, why);
	else
		snprintf(line, sizeof line, "a kept sign-in (%s) is not used: %s", name, why);
	note(s, line);
}

/* 1; 0 when there is none; -1 when it can not be had; -2 when it is no file of
 * ours that we could have written. */
static int load_file(const struct store *s, const char *name, struct auth_record *r, struct err *why)
{
	char path[PATH_SIZE];
	struct buf bytes, plain;
	int rc;

	if (snprintf(path, sizeof path, "%s/%s", s->dir, name) >= (int)sizeof path)
		return 0;
	buf_init(&bytes, MAX_FILE + 1);
	buf_init(&plain, MAX_FILE);
	rc = private_read(path, MAX_FILE, &bytes, why);
	if (rc == 1 && unseal(s, name, buf_span(&bytes), &plain)) {
		err_set(why, "it was changed by others, cut short or sealed with another key");
		rc = -2;
	}
	if (rc == 1 && auth_record_read(r, buf_span(&plain), why))
		rc = -2;
	buf_wipe(&plain);
	buf_fini(&plain);
	buf_fini(&bytes);
	return rc;
}

static bool is_record(const struct store *s, const char *name)
{
	size_t n = strlen(name);

	return n == 32 + 1 + 16 + sizeof SUFFIX - 1 && strcmp(name + n - (sizeof SUFFIX - 1), SUFFIX) == 0 &&
	       (!s || strncmp(name, s->server, 32) == 0);
}

/* The name of this server's newest record; false when there is none. */
static bool newest(const struct store *s, char name[NAME_SIZE])
{
	struct timespec best = { 0, 0 };
	struct dirent *d;
	struct stat st;
	bool found = false;
	DIR *dir = opendir(s->dir);

	if (!dir)
		return false;
	while ((d = readdir(dir))) {
		if (!is_record(s, d->d_name) || fstatat(dirfd(dir), d->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (found && (st.st_mtim.tv_sec < best.tv_sec ||
		              (st.st_mtim.tv_sec == best.tv_sec && st.st_mtim.tv_nsec <= best.tv_nsec)))
			continue;
		best = st.st_mtim;
		memcpy(name, d->d_name, strlen(d->d_name) + 1); /* is_record() knows its length */
		found = true;
	}
	closedir(dir);
	return found;
}

/* As load_file(), and what must not be trusted is out of the way afterwards. */
static int load_or_set_aside(const struct store *s, const char *name, struct auth_record *r, struct err *e)
{
	struct err why = { "" };
	int rc = load_file(s, name, r, &why);

	if (rc == -2)
		set_aside(s, name, why.text);
	else if (rc == -1)
		err_set(e, "a kept sign-in can not be read: %.200s", why.text);
	return rc;
}

int store_load(struct store *s, const char *issuer, struct auth_record *r, struct err *e)
{
	char name[NAME_SIZE];
	int rc, tries;

	auth_record_init(r);
	if (issuer) {
		file_name(s, issuer, name);
		rc = load_or_set_aside(s, name, r, e);
		return rc == -2 ? 0 : rc;
	}
	for (tries = 0; tries < 8 && newest(s, name); tries++)
		if ((rc = load_or_set_aside(s, name, r, e)) != -2)
			return rc;
	return 0;
}

int store_save(struct store *s, const struct auth_record *r, struct err *e)
{
	char name[NAME_SIZE];
	struct buf plain, bytes;
	int rc = -1;

	file_name(s, r->issuer, name);
	buf_init(&plain, RECORD_MAX);
	buf_init(&bytes, MAX_FILE);
	if (auth_record_write(r, &plain) || seal(s, name, buf_span(&plain), &bytes))
		err_set(e, "no memory for the store");
	else
		rc = private_write(s->dir, name, buf_span(&bytes), e);
	buf_wipe(&plain);
	buf_fini(&plain);
	buf_fini(&bytes);
	return rc;
}

static void forgotten_name(const struct store *s, char name[NAME_SIZE])
{
	snprintf(name, NAME_SIZE, "%s.forgotten", s->server);
}

static void mark_forgotten(const struct store *s)
{
	char name[NAME_SIZE];

	forgotten_name(s, name);
	if (private_write(s->dir, name, SPAN_LIT(""), NULL))
		note(s, "that it was forgotten can not be kept in mind; --import would take it over again");
}

bool store_forgotten(const struct store *s)
{
	char name[NAME_SIZE], path[PATH_SIZE];

	forgotten_name(s, name);
	return snprintf(path, sizeof path, "%s/%s", s->dir, name) < (int)sizeof path && access(path, F_OK) == 0;
}

int store_forget(struct store *s, struct err *e)
{
	struct dirent *d;
	int n = 0;
	DIR *dir = opendir(s->dir);

	if (!dir)
		return err_set(e, "the store can not be read: %s", strerror(errno));
	while ((d = readdir(dir))) {
		if (!is_record(s, d->d_name))
			continue;
		if (unlinkat(dirfd(dir), d->d_name, 0) == 0)
			n++;
	}
	closedir(dir);
	mark_forgotten(s);
	return n;
}

int store_each(struct store *s, void (*each)(void *arg, const struct auth_record *r), void *arg, struct err *e)
{
	struct auth_record r;
	struct err why;
	struct dirent *d;
	int n = 0;
	DIR *dir = opendir(s->dir);

	if (!dir)
		return err_set(e, "the store can not be read: %s", strerror(errno));
	while ((d = readdir(dir))) {
		if (!is_record(NULL, d->d_name))
			continue;
		if (load_file(s, d->d_name, &r, &why) != 1) /* perhaps sealed with another key: left alone */
			continue;
		each(arg, &r);
		auth_record_fini(&r);
		n++;
	}
	closedir(dir);
	return n;
}

/* ---- the lock ------------------------------------------------------------------------------ */

static int open_lock(const struct store *s, int flags)
{
	char path[PATH_SIZE];

	if (snprintf(path, sizeof path, "%s/%s.lock", s->dir, s->server) >= (int)sizeof path)
		return -1;
	return open(path, flags | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
}

int store_try_lock(struct store *s, struct err *e)
{
	if (s->lock >= 0)
		return 1;
	s->lock = open_lock(s, O_RDWR | O_CREAT);
	if (s->lock < 0)
		return err_set(e, "the lock file can not be opened: %s", strerror(errno));
	if (flock(s->lock, LOCK_EX | LOCK_NB) == 0)
		return 1;
	close(s->lock);
	s->lock = -1;
	return errno == EWOULDBLOCK || errno == EINTR ? 0 : err_set(e, "the lock can not be had: %s", strerror(errno));
}

void store_unlock(struct store *s)
{
	if (s->lock < 0)
		return;
	close(s->lock); /* lets go of the lock, too; the file stays, or two could hold two of them */
	s->lock = -1;
}

void store_publish(struct store *s, const char *word)
{
	size_t n = strlen(word);

	if (s->lock < 0 || ftruncate(s->lock, 0) || n == 0)
		return;
	if (pwrite(s->lock, word, n, 0) != (ssize_t)n && ftruncate(s->lock, 0))
		note(s, "what is under way can not be told to other processes");
}

int store_published(struct store *s, char *out, size_t n)
{
	int fd = open_lock(s, O_RDONLY);
	ssize_t got = fd >= 0 ? pread(fd, out, n - 1, 0) : -1;
	ssize_t i;

	if (fd >= 0)
		close(fd);
	for (i = 0; i < got; i++)
		if (out[i] <= ' ' || out[i] > '~')
			got = 0;
	out[got > 0 ? got : 0] = '\0';
	return got > 0 ? 0 : -1;
}

/* ---- plain files ---------------------------------------------------------------------------- */

int file_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	ssize_t n = 1;
	int rc = -1;

	if (fd < 0)
		return err_set(e, "a file can not be opened: %s", strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
		err_set(e, "a directory was given where a file is needed");
	} else if (buf_reserve(out, max)) {
		err_set(e, "no memory for a file");
	} else {
		while (out->len < max && (n = read(fd, buf_tail(out), max - out->len)) != 0) {
			if (n < 0 && errno != EINTR)
				break;
			buf_grew(out, n > 0 ? (size_t)n : 0);
		}
		rc = n == 0 ? 0 : err_set(e, n < 0 ? "a file can not be read" : "a file is too large");
	}
	close(fd);
	while (rc == 0 && out->len > 0 && (buf_data(out)[out->len - 1] == '\n' || buf_data(out)[out->len - 1] == '\r'))
		out->len--;
	return rc;
}
