/* The kept record of one sign-in. One table says which members there are; the
 * writer, the reader, the copy and the end all walk it, so that a member can
 * not be forgotten in one of them. Unknown members of a newer version are
 * ignored; members of the wrong type make the whole record useless. */
#include "auth/record.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "wire/json.h"

#define RECORD_STRING_MAX ((size_t)64 * 1024)

enum kind { TEXT, SECRET, NUMBER, SMALL };

static const struct member {
	const char *name;
	enum kind kind;
	size_t at;
} members[] = {
#define M(name, kind) { #name, kind, offsetof(struct auth_record, name) }
	M(url, TEXT), M(issuer, TEXT), M(resource, TEXT), M(token_endpoint, TEXT),
	M(client_id, TEXT), M(client_secret, SECRET), M(client_auth, TEXT), M(client_source, TEXT),
	M(client_expires, NUMBER), M(client_proven, SMALL), M(redirect_uri, TEXT), M(redirect_port, SMALL),
	M(access, SECRET), M(refresh, SECRET), M(token_type, TEXT), M(scope, TEXT),
	M(obtained, NUMBER), M(expires, NUMBER), M(dpop_alg, SMALL),
#undef M
};

#define NMEMBERS (sizeof members / sizeof *members)

static void *field(const struct auth_record *r, const struct member *m)
{
	return (char *)(uintptr_t)r + m->at;
}

void auth_record_init(struct auth_record *r)
{
	memset(r, 0, sizeof *r);
	r->dpop_alg = -1;
}

void auth_record_fini(struct auth_record *r)
{
	size_t i;

	for (i = 0; i < NMEMBERS; i++) {
		if (members[i].kind == TEXT)
			free(*(char **)field(r, &members[i]));
		else if (members[i].kind == SECRET)
			secret_free(*(struct secret **)field(r, &members[i]));
	}
	sodium_memzero(r, sizeof *r);
	r->dpop_alg = -1;
}

int auth_set(char **dst, struct span s)
{
	char *copy = NULL;

	if (s.p && (memchr(s.p, 0, s.n) || !(copy = strndup(s.p, s.n))))
		return -1;
	free(*dst);
	*dst = copy;
	return 0;
}

int auth_set_secret(struct secret **dst, struct span s)
{
	struct secret *copy = NULL;

	if (s.p && !(copy = secret_new(s.p, s.n)))
		return -1;
	secret_free(*dst);
	*dst = copy;
	return 0;
}

static int copy_member(struct auth_record *dst, const struct auth_record *src, const struct member *m)
{
	const struct secret *s;

	switch (m->kind) {
	case TEXT:
		return auth_set(field(dst, m), span_str(*(char **)field(src, m)));
	case SECRET:
		s = *(struct secret **)field(src, m);
		return auth_set_secret(field(dst, m), s ? secret_reveal(s) : SPAN_NONE);
	case NUMBER:
		*(int64_t *)field(dst, m) = *(int64_t *)field(src, m);
		return 0;
	case SMALL:
		*(int *)field(dst, m) = *(int *)field(src, m);
		return 0;
	}
	return -1;
}

int auth_record_copy(struct auth_record *dst, const struct auth_record *src)
{
	size_t i;

	auth_record_init(dst);
	for (i = 0; i < NMEMBERS; i++) {
		if (copy_member(dst, src, &members[i])) {
			auth_record_fini(dst);
			return -1;
		}
	}
	memcpy(dst->dpop_seed, src->dpop_seed, sizeof dst->dpop_seed);
	return 0;
}

static int write_member(const struct auth_record *r, const struct member *m, struct buf *out)
{
	const struct secret *s;
	const char *text;

	switch (m->kind) {
	case TEXT:
		text = *(char **)field(r, m);
		return text ? buf_printf(out, ",\"%s\":", m->name) || json_quote(out, span_str(text)) : 0;
	case SECRET:
		s = *(struct secret **)field(r, m);
		return s ? buf_printf(out, ",\"%s\":", m->name) || json_quote(out, secret_reveal(s)) : 0;
	case NUMBER:
		return buf_printf(out, ",\"%s\":%" PRId64, m->name, *(int64_t *)field(r, m));
	case SMALL:
		return buf_printf(out, ",\"%s\":%d", m->name, *(int *)field(r, m));
	}
	return -1;
}

int auth_record_write(const struct auth_record *r, struct buf *out)
{
	char seed[2 * sizeof r->dpop_seed + 1];
	size_t i;
	int rc = buf_puts(out, "{\"v\":1");

	for (i = 0; rc == 0 && i < NMEMBERS; i++)
		rc = write_member(r, &members[i], out);
	if (rc == 0 && r->dpop_alg >= 0) {
		sodium_bin2hex(seed, sizeof seed, r->dpop_seed, sizeof r->dpop_seed);
		rc = buf_printf(out, ",\"dpop_seed\":\"%s\"", seed);
		sodium_memzero(seed, sizeof seed);
	}
	return rc == 0 ? buf_puts(out, "}") : -1;
}

static int read_member(struct auth_record *r, const struct member *m, struct span v, struct buf *scratch)
{
	int64_t n = 0;
	int rc = -1;

	if (buf_reserve(scratch, v.n)) /* at once: growing would leave copies behind */
		return -1;
	switch (m->kind) {
	case TEXT:
		if (json_string(v, scratch) == 0)
			rc = auth_set(field(r, m), buf_span(scratch));
		break;
	case SECRET:
		if (json_string(v, scratch) == 0)
			rc = auth_set_secret(field(r, m), buf_span(scratch));
		break;
	case NUMBER:
		rc = json_int(v, field(r, m)) ? 0 : -1;
		break;
	case SMALL:
		if (json_int(v, &n) && n >= -1 && n <= 65535) {
			*(int *)field(r, m) = (int)n;
			rc = 0;
		}
		break;
	}
	buf_wipe(scratch);
	return rc;
}

static int read_seed(struct auth_record *r, struct span v)
{
	size_t n = 0;

	if (r->dpop_alg < 0)
		return 0;
	if (json_type(v) != '"' || v.n < 2 ||
	    sodium_hex2bin(r->dpop_seed, sizeof r->dpop_seed, v.p + 1, v.n - 2, NULL, &n, NULL))
		return -1;
	return n == sizeof r->dpop_seed ? 0 : -1;
}

int auth_record_read(struct auth_record *r, struct span json, struct err *e)
{
	struct json_scan scan;
	struct buf scratch;
	struct span v;
	int64_t version = 0;
	size_t i;
	int rc = 0;

	auth_record_init(r);
	if (json_scan(json.p, json.n, &scan) != JSON_OK || scan.type != '{' ||
	    !json_int(json_get(scan.text, "v"), &version) || version != 1)
		return err_set(e, "the kept sign-in is not one of this version");
	buf_init(&scratch, RECORD_STRING_MAX);
	for (i = 0; rc == 0 && i < NMEMBERS; i++) {
		v = json_get(scan.text, members[i].name);
		if (v.p)
			rc = read_member(r, &members[i], v, &scratch);
	}
	buf_fini(&scratch);
	if (rc == 0)
		rc = read_seed(r, json_get(scan.text, "dpop_seed"));
	if (rc) {
		auth_record_fini(r);
		return err_set(e, "the kept sign-in can not be read");
	}
	return 0;
}
