/* Reads discovery documents and judges URLs. Nothing here asks for anything:
 * flow.c fetches, this file says where from and whether to believe it. Strings
 * with a NUL in them, relative URLs and lists of the wrong type are as good as
 * absent; only what would change whom we talk to is an error. */
#include "auth/metadata.h"

#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

#define METADATA_STRING_MAX ((size_t)8192)

/* The decoded string member, malloc'd; NULL when absent, empty or no text. */
static char *member_string(struct span obj, const char *key)
{
	struct span v = json_get(obj, key);
	struct buf b;
	char *s = NULL;

	buf_init(&b, METADATA_STRING_MAX);
	if (json_type(v) == '"' && json_string(v, &b) == 0 && b.len > 0 && !memchr(buf_data(&b), 0, b.len))
		s = strndup(buf_data(&b), b.len);
	buf_fini(&b);
	return s;
}

static bool member_true(struct span obj, const char *key)
{
	bool v = false;

	return json_bool(json_get(obj, key), &v) && v;
}

/* True when the array member holds the string. */
static bool list_has(struct span obj, const char *key, const char *what)
{
	struct json_iter it;
	struct span v = json_get(obj, key), el;

	if (json_type(v) != '[')
		return false;
	for (json_iter(&it, v); json_next(&it, NULL, &el);)
		if (json_string_is(el, what))
			return true;
	return false;
}

/* The strings of an array joined by blanks; NULL when there are none. Elements
 * that could not stand in a scope list are left out (RFC 6749, 3.3). */
static char *member_scopes(struct span obj, const char *key)
{
	struct json_iter it;
	struct span v = json_get(obj, key), el;
	struct buf b;
	char *s = NULL;
	size_t i, before;
	bool fits = true;

	if (json_type(v) != '[')
		return NULL;
	buf_init(&b, METADATA_STRING_MAX);
	for (json_iter(&it, v); fits && json_next(&it, NULL, &el);) {
		if (json_type(el) != '"' || el.n <= 2)
			continue;
		before = b.len;
		fits = (before == 0 || buf_puts(&b, " ") == 0) && json_string(el, &b) == 0;
		for (i = before + (before > 0); i < b.len; i++)
			if (buf_data(&b)[i] <= ' ' || buf_data(&b)[i] == '"' || buf_data(&b)[i] == '\\')
				break;
		if (i < b.len || !fits)
			b.len = before;
	}
	if (b.len > 0)
		s = strndup(buf_data(&b), b.len);
	buf_fini(&b);
	return s;
}

static int check_document(struct span *body, const char *what, struct err *e)
{
	struct json_scan scan;

	*body = span_without_mark(*body);
	if (body->n > METADATA_MAX || json_scan(body->p, body->n, &scan) != JSON_OK || scan.type != '{')
		return err_set(e, "the %s is no JSON object", what);
	*body = scan.text;
	return 0;
}

bool prm_resource_matches(const char *resource, const struct url *mcp)
{
	struct url u;
	size_t n;
	bool same;

	if (strchr(resource, '#') || url_parse(&u, resource, NULL))
		return false;
	n = strlen(u.path);
	while (n > 0 && u.path[n - 1] == '/')
		n--;
	same = url_same_origin(&u, mcp) && !u.user &&
	       strncmp(u.path, mcp->path, n) == 0 && (mcp->path[n] == '/' || mcp->path[n] == '\0') &&
	       (!u.query || (mcp->query && strcmp(u.query, mcp->query) == 0));
	url_fini(&u);
	return same;
}

int prm_parse(struct prm *p, struct span body, const struct url *mcp, struct err *e)
{
	struct json_iter it;
	struct span servers, el = SPAN_NONE;
	struct buf b;

	memset(p, 0, sizeof *p);
	if (check_document(&body, "protected resource metadata", e))
		return -1;
	p->resource = member_string(body, "resource");
	if (!p->resource || !prm_resource_matches(p->resource, mcp)) {
		prm_fini(p);
		err_set(e, "the protected resource metadata is for another resource than this server");
		return -2;
	}
	p->scopes = member_scopes(body, "scopes_supported");
	servers = json_get(body, "authorization_servers");
	if (json_type(servers) == '[')
		for (json_iter(&it, servers); json_next(&it, NULL, &el);)
			if (json_type(el) == '"' && el.n > 2)
				break;
	buf_init(&b, METADATA_STRING_MAX);
	if (json_type(el) == '"' && json_string(el, &b) == 0 && b.len > 0 && !memchr(buf_data(&b), 0, b.len))
		p->issuer = strndup(buf_data(&b), b.len);
	buf_fini(&b);
	return 0;
}

void prm_fini(struct prm *p)
{
	free(p->resource);
	free(p->issuer);
	free(p->scopes);
	memset(p, 0, sizeof *p);
}

static unsigned read_methods(struct span body)
{
	static const struct { const char *name; unsigned bit; } table[] = {
		{ "none", AUTH_METHOD_NONE },
		{ "client_secret_post", AUTH_METHOD_POST },
		{ "client_secret_basic", AUTH_METHOD_BASIC },
		{ "private_key_jwt", AUTH_METHOD_JWT },
	};
	unsigned bits = 0;
	size_t i;

	for (i = 0; i < sizeof table / sizeof *table; i++)
		if (list_has(body, "token_endpoint_auth_methods_supported", table[i].name))
			bits |= table[i].bit;
	return bits;
}

int as_meta_parse(struct as_meta *m, struct span body, const char *issuer, struct err *e)
{
	memset(m, 0, sizeof *m);
	if (check_document(&body, "authorization server metadata", e))
		return -1;
	m->issuer = member_string(body, "issuer");
	if (!m->issuer || strcmp(m->issuer, issuer) != 0) {
		as_meta_fini(m);
		err_set(e, "it names another issuer than the one it was asked of");
		return -2;
	}
	m->authorization_endpoint = member_string(body, "authorization_endpoint");
	m->token_endpoint = member_string(body, "token_endpoint");
	m->registration_endpoint = member_string(body, "registration_endpoint");
	m->device_endpoint = member_string(body, "device_authorization_endpoint");
	m->s256 = list_has(body, "code_challenge_methods_supported", "S256");
	m->cimd = member_true(body, "client_id_metadata_document_supported");
	m->iss_parameter = member_true(body, "authorization_response_iss_parameter_supported");
	m->offline_access = list_has(body, "scopes_supported", "offline_access");
	m->methods = read_methods(body);
	if (list_has(body, "dpop_signing_alg_values_supported", "EdDSA"))
		m->dpop_algs |= AUTH_ALG_EDDSA;
	if (list_has(body, "dpop_signing_alg_values_supported", "ES256"))
		m->dpop_algs |= AUTH_ALG_ES256;
	if (!m->token_endpoint) {
		as_meta_fini(m);
		err_set(e, "it has no token endpoint");
		return -2;
	}
	return 0;
}

static char *join(const char *a, const char *b)
{
	size_t n = strlen(a), k = strlen(b) + 1;
	char *s = malloc(n + k);

	if (s) {
		memcpy(s, a, n);
		memcpy(s + n, b, k);
	}
	return s;
}

int as_meta_default(struct as_meta *m, const char *origin)
{
	memset(m, 0, sizeof *m);
	m->issuer = strdup(origin);
	m->authorization_endpoint = join(origin, "/authorize");
	m->token_endpoint = join(origin, "/token");
	m->registration_endpoint = join(origin, "/register");
	m->s256 = true; /* required of every 2025-03-26 server, and never announced */
	m->assumed = true;
	if (m->issuer && m->authorization_endpoint && m->token_endpoint && m->registration_endpoint)
		return 0;
	as_meta_fini(m);
	return -1;
}

void as_meta_fini(struct as_meta *m)
{
	free(m->issuer);
	free(m->authorization_endpoint);
	free(m->token_endpoint);
	free(m->registration_endpoint);
	free(m->device_endpoint);
	memset(m, 0, sizeof *m);
}

/* The path without its last slash: "" for "/". */
static struct span bare_path(const struct url *u)
{
	size_t n = strlen(u->path);

	if (n > 0 && u->path[n - 1] == '/')
		n--;
	return span_make(u->path, n);
}

static int put_location(struct buf *out, const char *origin, struct span before, const char *well_known, struct span behind)
{
	size_t start = out->len;

	if (buf_puts(out, origin) == 0 && buf_add(out, before) == 0 && buf_puts(out, well_known) == 0 &&
	    buf_add(out, behind) == 0 && buf_append(out, "", 1) == 0) {
		out->len--; /* the NUL stands behind the text */
		return 1;
	}
	out->len = start;
	return -1;
}

int prm_location(const struct url *mcp, int n, struct buf *out)
{
	static const char well_known[] = "/.well-known/oauth-protected-resource";
	struct span path = bare_path(mcp);

	if (path.n == 0)
		n++; /* both are the same */
	if (n == 0)
		return put_location(out, mcp->origin, SPAN_LIT(""), well_known, path);
	if (n == 1)
		return put_location(out, mcp->origin, SPAN_LIT(""), well_known, SPAN_LIT(""));
	return 0;
}

int as_location(const struct url *issuer, int n, struct buf *out)
{
	static const char oauth[] = "/.well-known/oauth-authorization-server";
	static const char openid[] = "/.well-known/openid-configuration";
	struct span path = bare_path(issuer), none = SPAN_LIT("");

	if (n == 0)
		return put_location(out, issuer->origin, none, oauth, path);
	if (n == 1)
		return put_location(out, issuer->origin, none, openid, path);
	if (n == 2 && path.n > 0)
		return put_location(out, issuer->origin, path, openid, none);
	return 0;
}

int endpoint_check(struct url *u, const char *text, const struct url *mcp, bool allow_http, struct err *e)
{
	struct url parsed;
	const char *why = NULL;
	bool home = url_is_loopback(mcp);

	if (u)
		memset(u, 0, sizeof *u);
	if (!text || url_parse(&parsed, text, NULL))
		return err_set(e, "an address for signing in is no http or https URL");
	if (parsed.user || parsed.password || strchr(text, '#'))
		why = "has user information or a fragment";
	else if (url_is_loopback(&parsed) && !home)
		why = "is on this machine, which the server is not";
	else if (strcmp(parsed.scheme, "https") != 0 && !url_is_loopback(&parsed) && !allow_http)
		why = "is not https";
	else if (url_is_private(&parsed) && !home && !url_is_private(mcp))
		why = "is private, which the server's is not";
	if (why || !u)
		url_fini(&parsed);
	else
		*u = parsed;
	return why ? err_set(e, "an address for signing in %s; it is not used", why) : 0;
}
