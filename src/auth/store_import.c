/* mcp-remote's kept sign-ins, read so that nobody has to sign in again after
 * switching. Its files lie in DIR/mcp-remote-<version>/<hash>_tokens.json and
 * <hash>_client_info.json, where hash is the MD5 of the URL as it was typed,
 * and of the resource and the headers, as they were typed, where there were any. Nothing of it is
 * changed. They name no issuer, so the tokens are tried with the server that
 * discovery finds, and kept under its name once it has accepted them. */
#include "auth/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "auth/md5.h"
#include "auth/store_file.h"
#include "base/url.h"
#include "wire/json.h"

#define IMPORT_MAX ((size_t)64 * 1024)
#define PATH_SIZE 4096

static int name_order(struct span a, struct span b)
{
	const char *ca = memchr(a.p, ':', a.n), *cb = memchr(b.p, ':', b.n);
	size_t na = ca ? (size_t)(ca - a.p) : a.n, nb = cb ? (size_t)(cb - b.p) : b.n;
	int order = memcmp(a.p, b.p, na < nb ? na : nb);

	return order ? order : (na > nb) - (na < nb);
}

/* The headers as JSON.stringify() writes them: sorted by name. */
static int put_headers(struct buf *out, const struct span *headers, size_t n)
{
	size_t i, k, rank, done = 0;
	const char *colon;

	if (buf_puts(out, "{"))
		return -1;
	for (rank = 0; rank < n; rank++) {
		for (i = 0; i < n; i++) { /* the one with `rank` names before it */
			size_t before = 0;

			for (k = 0; k < n; k++) {
				int order = name_order(headers[k], headers[i]);

				before += order < 0 || (order == 0 && k < i);
			}
			if (before == rank)
				break;
		}
		if (i == n || !(colon = memchr(headers[i].p, ':', headers[i].n)))
			continue;
		k = (size_t)(colon - headers[i].p) + 1;
		while (k < headers[i].n && headers[i].p[k] == ' ')
			k++;
		if ((done++ && buf_puts(out, ",")) || json_quote(out, span_make(headers[i].p, (size_t)(colon - headers[i].p))) ||
		    buf_puts(out, ":") || json_quote(out, span_make(headers[i].p + k, headers[i].n - k)))
			return -1;
	}
	return buf_puts(out, "}");
}

/* The hash for the URL with or without its last slash. */
static int hash_of(struct span url, const char *resource, const struct span *headers, size_t n, char hash[33])
{
	struct buf b;
	int rc = -1;

	buf_init(&b, IMPORT_MAX);
	if (buf_add(&b, url) == 0 && (!resource || (buf_puts(&b, "|") == 0 && buf_puts(&b, resource) == 0)) &&
	    (n == 0 || (buf_puts(&b, "|") == 0 && put_headers(&b, headers, n) == 0))) {
		md5_hex(buf_span(&b), hash);
		rc = 0;
	}
	buf_wipe(&b);
	buf_fini(&b);
	return rc;
}

static int text_member(struct span obj, const char *key, char **text, struct secret **secret)
{
	struct span v = json_get(obj, key);
	struct buf b;
	int rc = 0;

	buf_init(&b, IMPORT_MAX);
	if (json_type(v) == '"' && buf_reserve(&b, v.n) == 0 && json_string(v, &b) == 0 && b.len > 0)
		rc = text ? auth_set(text, buf_span(&b)) : auth_set_secret(secret, buf_span(&b));
	buf_wipe(&b);
	buf_fini(&b);
	return rc;
}

/* The first redirect URI, and its port to come back to; neither where it is none. */
static int take_redirect(struct auth_record *r, struct span info)
{
	struct json_iter it;
	struct span first;
	struct url u;
	struct buf b;
	int rc = 0;

	json_iter(&it, json_get(info, "redirect_uris"));
	if (!json_next(&it, NULL, &first))
		return 0;
	buf_init(&b, IMPORT_MAX);
	if (json_string(first, &b) == 0 && b.len > 0 && !memchr(buf_data(&b), 0, b.len)) {
		rc = auth_set(&r->redirect_uri, buf_span(&b));
		if (rc == 0 && url_parse(&u, r->redirect_uri, NULL) == 0) {
			r->redirect_port = u.port;
			url_fini(&u);
		}
	}
	buf_fini(&b);
	return rc;
}

/* One of the two files: 1 read and well-formed, 0 not there or no use. */
static int read_json(const char *dir, const char *version, const char *hash, const char *what, struct buf *bytes, struct span *obj)
{
	char path[PATH_SIZE];
	struct json_scan scan;

	if (snprintf(path, sizeof path, "%s/%s/%s_%s.json", dir, version, hash, what) >= (int)sizeof path ||
	    private_read(path, IMPORT_MAX, bytes, NULL) != 1 ||
	    json_scan(buf_data(bytes), bytes->len, &scan) != JSON_OK || scan.type != '{')
		return 0;
	*obj = scan.text;
	return 1;
}

static int take_tokens(struct auth_record *r, struct span t, int64_t written)
{
	int64_t n;

	if (text_member(t, "access_token", NULL, &r->access) || text_member(t, "refresh_token", NULL, &r->refresh) ||
	    text_member(t, "scope", &r->scope, NULL) || auth_set(&r->token_type, SPAN_LIT("Bearer")))
		return -1;
	r->obtained = written;
	if (json_int(json_get(t, "expires_in"), &n) && n > 0 && n < INT32_MAX)
		r->expires = written + n;
	return 0;
}

static int take_client(struct auth_record *r, struct span c)
{
	if (text_member(c, "client_id", &r->client_id, NULL) || text_member(c, "client_secret", NULL, &r->client_secret) ||
	    text_member(c, "token_endpoint_auth_method", &r->client_auth, NULL) ||
	    auth_set(&r->client_source, SPAN_LIT("registered")))
		return -1;
	if (!r->client_auth && auth_set(&r->client_auth, span_str(r->client_secret ? "client_secret_post" : "none")))
		return -1;
	return take_redirect(r, c);
}

/* Takes over what one version's directory holds under this hash. */
static int import_version(const char *dir, const char *version, const char *hash, int64_t written, struct auth_record *r)
{
	struct buf bytes;
	struct span obj;
	int rc = 0;

	buf_init(&bytes, IMPORT_MAX + 1);
	if (read_json(dir, version, hash, "tokens", &bytes, &obj))
		rc = take_tokens(r, obj, written) ? -1 : r->access ? 1 : 0;
	buf_wipe(&bytes);
	if (rc == 1 && read_json(dir, version, hash, "client_info", &bytes, &obj) && take_client(r, obj))
		rc = -1;
	buf_wipe(&bytes);
	buf_fini(&bytes);
	return rc;
}

/* The version whose token file is the newest; false when none has one. */
static bool newest_version(const char *dir, const char *hash, char *version, size_t n, int64_t *written)
{
	char path[PATH_SIZE];
	struct dirent *d;
	struct stat st;
	DIR *list = opendir(dir);

	*written = -1;
	while (list && (d = readdir(list))) {
		if (strncmp(d->d_name, "mcp-remote-", 11) != 0 ||
		    snprintf(path, sizeof path, "%s/%s/%s_tokens.json", dir, d->d_name, hash) >= (int)sizeof path ||
		    stat(path, &st) || (int64_t)st.st_mtime <= *written)
			continue;
		if (snprintf(version, n, "%s", d->d_name) < (int)n)
			*written = (int64_t)st.st_mtime;
	}
	if (list)
		closedir(list);
	return *written >= 0;
}

int store_import(const char *dir, const char *url, const struct span *headers, size_t nheaders,
	const char *resource, struct auth_record *r, struct err *e)
{
	struct span spellings[2] = { span_str(url), span_str(url) };
	char hash[33], version[256];
	int64_t written;
	int i, rc = 0;

	auth_record_init(r);
	if (spellings[1].n > 0 && url[spellings[1].n - 1] == '/')
		spellings[1].n--; /* as it was typed, perhaps */
	for (i = 0; i < 2 && rc == 0; i++) {
		if (hash_of(spellings[i], resource, headers, nheaders, hash))
			rc = err_set(e, "out of memory");
		else if (newest_version(dir, hash, version, sizeof version, &written))
			rc = import_version(dir, version, hash, written, r);
	}
	if (rc == 1 && auth_set(&r->url, span_str(url)))
		rc = -1;
	if (rc < 0) {
		auth_record_fini(r);
		err_set(e, "out of memory");
	}
	return rc;
}
