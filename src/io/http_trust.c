/* libcurl reads and parses the trust anchors for each connection: the usual
 * bundle of 140 costs 29 ms, in which the loop stands still, and 0.9 MiB each.
 * Where libcurl's TLS is the very OpenSSL that we are linked with, one store
 * serves all connections (SSL_CTX_set1_cert_store(3)), and is made anew when a
 * file has changed. The system's bundle is read only for a server that the system's
 * directory, in which OpenSSL looks up what it needs by name, does not know. Elsewhere,
 * and where a file can not be read, libcurl is given the names and says what is wrong. */
#include "io/http_trust.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifdef HAVE_LIBSSL
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#endif

#include "base/log.h"
#include "io/http_setup.h"
#include "io/loop.h"

#define CA_MAX ((size_t)16 * 1024 * 1024)
#define FILE_PIECE ((size_t)16 * 1024)

static const char *file_of(const struct http_trust *t)
{
	return t->file ? t->file : curl_version_info(CURLVERSION_NOW)->cainfo;
}

/* One that is not there is none, and all zeros. */
static bool is_same_file(const struct stat *a, const struct stat *b)
{
	return a->st_ino != 0 && a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static const char *dir_of(const struct http_trust *t)
{
	return t->pinned ? NULL : t->dir ? t->dir : curl_version_info(CURLVERSION_NOW)->capath;
}

/* What a profile or a container sets for all programs is often no choice. */
static bool is_usual(const char *file)
{
	const char *usual = curl_version_info(CURLVERSION_NOW)->cainfo;
	struct stat a, b;

	return usual && stat(usual, &a) == 0 && stat(file, &b) == 0 && is_same_file(&a, &b);
}

static void lose_extra(struct http_trust *t)
{
	log_warn("certificates of NODE_EXTRA_CA_CERTS can not be read; going on without them");
	t->extra = NULL;
}

/* ---- one store for all ------------------------------------------------------------ */

#if defined(HAVE_LIBSSL) && OPENSSL_VERSION_NUMBER >= 0x30000000L

static bool is_our_openssl(void)
{
	const char *theirs = curl_version_info(CURLVERSION_NOW)->ssl_version;
	char ours[64];

	snprintf(ours, sizeof ours, "OpenSSL/%s", OpenSSL_version(OPENSSL_VERSION_STRING));
	return theirs && strcmp(theirs, ours) == 0;
}

static void look(const char *path, struct stat *seen)
{
	if (!path || stat(path, seen) != 0)
		memset(seen, 0, sizeof *seen);
}

/* To the nanosecond: a file that replaces another may get its number, in the same second. */
static bool is_changed(const struct stat *a, const struct stat *b)
{
	return a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size ||
	       a->st_mtim.tv_sec != b->st_mtim.tv_sec || a->st_mtim.tv_nsec != b->st_mtim.tv_nsec;
}

/* What a user has named is read at once, so that trouble with it is told. */
static bool can_wait(const struct http_trust *t)
{
	const char *file = file_of(t);

	return dir_of(t) && file && is_usual(file) && access(file, R_OK) == 0;
}

/* False when a part of it can not be read. The flags are those that libcurl sets on
 * a store of its own. */
static bool store_make(struct http_trust *t)
{
	const char *file, *dir = dir_of(t), *extra;
	bool ok;

	look(file_of(t), &t->file_seen);
	look(dir, &t->dir_seen);
	look(t->extra, &t->extra_seen);
	t->whole = !can_wait(t);
	file = t->whole ? file_of(t) : NULL;
	extra = is_same_file(&t->file_seen, &t->extra_seen) ? NULL : t->extra;
	t->store = X509_STORE_new();
	ok = t->store && (file || dir) && (!extra || X509_STORE_load_locations(t->store, extra, NULL) == 1) &&
	     X509_STORE_load_locations(t->store, file, dir) == 1 &&
	     X509_STORE_set_flags(t->store, X509_V_FLAG_TRUSTED_FIRST | X509_V_FLAG_PARTIAL_CHAIN) == 1;
	ERR_clear_error();
	if (!ok) {
		X509_STORE_free(t->store);
		t->store = NULL;
	}
	return ok;
}

static void share(struct http_trust *t)
{
	if (!is_our_openssl())
		return;
	if (!store_make(t) && t->extra) {
		struct http_trust without = *t;

		without.extra = NULL;
		if (store_make(&without)) {
			lose_extra(t);
			*t = without;
		}
	}
}

/* A bridge lives for weeks, and authorities come and go. What can not be read at
 * the moment is left as it was. */
static void follow_files(struct http_trust *t)
{
	struct http_trust now = *t;
	struct stat file, dir, extra;

	look(file_of(t), &file);
	look(dir_of(t), &dir);
	look(t->extra, &extra);
	if (!t->doubted && !is_changed(&file, &t->file_seen) && !is_changed(&dir, &t->dir_seen) &&
	    !is_changed(&extra, &t->extra_seen))
		return;
	if (!store_make(&now))
		return;
	now.doubted = false;
	now.changed_s = loop_wall_now();
	X509_STORE_free(t->store);
	*t = now;
}

/* Whether what is known so far is enough. */
static bool is_trusted(X509_STORE_CTX *asked, X509_STORE *store)
{
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	bool ok = c && X509_STORE_CTX_init(c, store, X509_STORE_CTX_get0_cert(asked), X509_STORE_CTX_get0_untrusted(asked)) == 1 &&
		  X509_STORE_CTX_set_default(c, "ssl_server") == 1 && X509_verify_cert(c) == 1;

	X509_STORE_CTX_free(c);
	ERR_clear_error();
	return ok;
}

/* Nobody is refused before the whole is known. What OpenSSL has found in a directory it
 * does not look up again, though a file there may have been written anew. */
static int on_verify(X509_STORE_CTX *asked, void *arg)
{
	struct http_trust *t = arg;
	X509_STORE *store = X509_STORE_CTX_get0_store(asked); /* perhaps the one before */
	int ok;

	if (!(t->whole && store == t->store) && !is_trusted(asked, store)) {
		bool read = X509_STORE_load_locations(store, file_of(t), NULL) == 1;

		t->whole |= read && store == t->store;
		ERR_clear_error();
	}
	ok = X509_verify_cert(asked);
	t->doubted |= ok != 1 && t->dir;
	return ok;
}

/* A connection that goes on where one before it ended shows no certificate: what was
 * trusted then need not be now. */
static void on_handshake(const SSL *ssl, int where, int ret)
{
	const struct http_trust *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
	const SSL_SESSION *known = where == SSL_CB_HANDSHAKE_START && SSL_in_before(ssl) ? SSL_get_session(ssl) : NULL;

	(void)ret;
	if (known && SSL_SESSION_get_time(known) <= t->changed_s)
		SSL_set_session((SSL *)(uintptr_t)ssl, NULL);
}

static CURLcode on_context(CURL *easy, void *context, void *arg)
{
	struct http_trust *t = arg;

	(void)easy;
	follow_files(t);
	SSL_CTX_set1_cert_store(context, t->store);
	if (!t->whole || t->dir)
		SSL_CTX_set_cert_verify_callback(context, on_verify, t);
	if (t->changed_s && SSL_CTX_set_app_data(context, t) == 1)
		SSL_CTX_set_info_callback(context, on_handshake);
	return CURLE_OK;
}

static int setup_store(CURL *easy, struct http_trust *t)
{
	CURLcode rc = curl_easy_setopt(easy, CURLOPT_SSL_CTX_FUNCTION, on_context);

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(easy, option, value); } while (0)
	SET(CURLOPT_SSL_CTX_DATA, t);
	SET(CURLOPT_CAINFO, NULL);
	SET(CURLOPT_CAPATH, NULL);
	if (rc != CURLE_OK)
		return -1;
	/* A libcurl that knows no proxy with TLS refuses these. */
	(void)curl_easy_setopt(easy, CURLOPT_PROXY_CAINFO, NULL);
	(void)curl_easy_setopt(easy, CURLOPT_PROXY_CAPATH, NULL);
#if LIBCURL_VERSION_NUM >= 0x075700
	/* It would keep the store that it met first. One too old to know this keeps none. */
	(void)curl_easy_setopt(easy, CURLOPT_CA_CACHE_TIMEOUT, 0L);
#endif
#undef SET
	return 0;
}

static void drop_store(struct http_trust *t)
{
	X509_STORE_free(t->store);
}

#else

static void share(struct http_trust *t)
{
	(void)t;
}

static int setup_store(CURL *easy, struct http_trust *t)
{
	(void)easy;
	(void)t;
	return -1;
}

static void drop_store(struct http_trust *t)
{
	(void)t;
}

#endif

/* ---- libcurl reads ---------------------------------------------------------------- */

static int append_file(struct buf *b, const char *path)
{
	FILE *f = fopen(path, "re");
	int rc = -1;
	size_t n;

	if (!f)
		return -1;
	for (;;) {
		if (buf_reserve(b, FILE_PIECE) < 0)
			break;
		n = fread(buf_tail(b), 1, FILE_PIECE, f);
		buf_grew(b, n);
		if (n == 0) {
			rc = ferror(f) ? -1 : buf_puts(b, "\n");
			break;
		}
	}
	fclose(f);
	return rc;
}

/* libcurl takes one file, or one text. */
static void join(struct http_trust *t)
{
	const char *file = file_of(t);
	struct stat a, b;

	if (!t->extra || (file && stat(file, &a) == 0 && stat(t->extra, &b) == 0 && is_same_file(&a, &b)))
		return;
	if ((file && append_file(&t->blob, file) < 0) || append_file(&t->blob, t->extra) < 0) {
		lose_extra(t);
		buf_fini(&t->blob);
	}
}

/* A proxy that is spoken to by TLS is trusted as a server is. A libcurl without
 * such proxies refuses the options, and the proxy itself later. */
static CURLcode setup_names(CURL *easy, const struct http_trust *t, bool proxy)
{
	CURLcode rc = CURLE_OK;

	if (t->blob.len) {
		struct curl_blob blob = { .data = buf_data(&t->blob), .len = t->blob.len, .flags = CURL_BLOB_NOCOPY };

		rc = curl_easy_setopt(easy, proxy ? CURLOPT_PROXY_CAINFO_BLOB : CURLOPT_CAINFO_BLOB, &blob);
	} else if (t->file) {
		rc = curl_easy_setopt(easy, proxy ? CURLOPT_PROXY_CAINFO : CURLOPT_CAINFO, t->file);
	}
	if (rc == CURLE_OK && (t->dir || t->pinned))
		rc = curl_easy_setopt(easy, proxy ? CURLOPT_PROXY_CAPATH : CURLOPT_CAPATH, dir_of(t));
	return rc;
}

/* ---- both ------------------------------------------------------------------------- */

void http_trust_load(struct http_trust *t, const char *cacert)
{
	const char *named = http_env("SSL_CERT_FILE");

	if (t->loaded)
		return;
	t->loaded = true;
	buf_init(&t->blob, CA_MAX);
	t->file = cacert ? cacert : named && access(named, R_OK) == 0 ? named : NULL;
	t->dir = cacert ? NULL : http_env("SSL_CERT_DIR");
	t->pinned = cacert || (t->file && !t->dir && !is_usual(t->file));
	t->extra = http_env("NODE_EXTRA_CA_CERTS");
	share(t);
	if (!t->store)
		join(t);
}

void http_trust_fini(struct http_trust *t)
{
	if (t->loaded)
		buf_fini(&t->blob);
	drop_store(t);
	*t = (struct http_trust){ 0 };
}

int http_trust_setup(CURL *easy, struct http_trust *t)
{
	if (t->store)
		return setup_store(easy, t);
	if (setup_names(easy, t, false) != CURLE_OK)
		return -1;
	return setup_names(easy, t, true) == CURLE_OUT_OF_MEMORY ? -1 : 0;
}
