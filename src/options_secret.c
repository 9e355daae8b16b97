/* What a user gave us that must not be seen, headers apart: client secrets are
 * loaded into locked memory, every secret is made known to the redactor, and
 * URLs are whitened where others could read them. */
#include "options_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <strings.h>

#include "wire/json.h"

/* ---- the client's own credentials ------------------------------------------------- */

/* Takes the string member key of the JSON object into a fresh C string. */
static char *json_member(struct span object, const char *key)
{
	struct buf text;
	char *s = NULL;

	buf_init(&text, HEADER_MAX);
	if (!json_string(json_get(object, key), &text) && text.len && !memchr(buf_data(&text), 0, text.len))
		s = strndup(buf_data(&text), text.len);
	buf_wipe(&text);
	buf_fini(&text);
	return s;
}

static void keep_member(char **where, struct span object, const char *key)
{
	if (!*where)
		*where = json_member(object, key);
}

static int check_object(struct span text, const char *what, struct err *e)
{
	struct json_scan scan;

	if (json_scan(text.p, text.n, &scan) != JSON_OK || scan.type != '{')
		return err_set(e, "%s is no JSON object", what);
	return 0;
}

static int load_client_info(struct auth_options *a, struct err *e)
{
	struct span text = a->client_info ? secret_reveal(a->client_info) : SPAN_NONE;
	char *secret;

	if (!a->client_info)
		return 0;
	if (check_object(text, "--static-oauth-client-info", e))
		return -1;
	keep_member(&a->client_id, text, "client_id");
	keep_member(&a->client_auth, text, "token_endpoint_auth_method");
	if (!a->client_id)
		return err_set(e, "--static-oauth-client-info has no client_id");
	secret = a->client_secret ? NULL : json_member(text, "client_secret");
	if (!secret)
		return 0;
	a->client_secret = secret_new(secret, strlen(secret));
	text_free(secret);
	return a->client_secret ? 0 : options_no_memory(e);
}

static int load_secret_file(struct auth_options *a, struct err *e)
{
	struct err why = { "" };
	struct buf text;
	struct span s;
	int r;

	if (!a->client_secret_file)
		return 0;
	buf_init(&text, FILE_MAX);
	r = options_read_file(a->client_secret_file, HEADER_MAX, &text, &why);
	s = text_trim(buf_span(&text));
	if (!r && !s.n)
		r = err_set(&why, "%s is empty", a->client_secret_file);
	if (r)
		err_set(e, "--client-secret-file: %s", why.text);
	if (!r) {
		secret_free(a->client_secret);
		a->client_secret = secret_new(s.p, s.n);
		r = a->client_secret ? 0 : options_no_memory(e);
	}
	buf_wipe(&text);
	buf_fini(&text);
	return r;
}

static int compose_query(struct auth_options *a, struct err *e)
{
	struct buf out;
	int r = 0;

	buf_init(&out, HEADER_MAX);
	for (size_t i = 0; !r && i < a->authorize_params.n; i++) {
		const char *s = a->authorize_params.v[i], *eq = strchr(s, '=');

		r = (i ? buf_puts(&out, "&") : 0) || url_escape(&out, span_make(s, (size_t)(eq - s))) ||
			buf_puts(&out, "=") || url_escape(&out, span_str(eq + 1));
	}
	if (!r && out.len) {
		a->authorize_query = strndup(buf_data(&out), out.len);
		r = !a->authorize_query;
	}
	buf_fini(&out);
	return r ? err_set(e, "the --authorize-param values are too long") : 0;
}

int client_load(struct options *o, struct err *e)
{
	struct auth_options *a = &o->auth;

	if (load_secret_file(a, e) || load_client_info(a, e) || compose_query(a, e))
		return -1;
	if (!a->client_metadata)
		return 0;
	if (check_object(span_str(a->client_metadata), "--static-oauth-client-metadata", e))
		return -1;
	keep_member(&a->scope, span_str(a->client_metadata), "scope");
	keep_member(&a->client_auth, span_str(a->client_metadata), "token_endpoint_auth_method");
	return 0;
}

/* ---- the redactor ------------------------------------------------------------------- */

static int register_decoded(struct redactor *r, struct span s, bool plus)
{
	struct buf out;
	int bad;

	buf_init(&out, HEADER_MAX);
	bad = redact_add(r, s);
	if (!bad && !url_unescape(&out, s, plus))
		bad = redact_add(r, buf_span(&out));
	buf_wipe(&out);
	buf_fini(&out);
	return bad;
}

/* The password of Basic credentials, which may show up by itself. */
static int register_basic(struct redactor *r, struct span coded)
{
	unsigned char plain[1024];
	const unsigned char *colon;
	size_t n = 0;
	int bad = 0;

	if (!sodium_base642bin(plain, sizeof(plain), coded.p, coded.n, " ", &n, NULL, sodium_base64_VARIANT_ORIGINAL)) {
		colon = memchr(plain, ':', n);
		bad = redact_add(r, span_make((const char *)plain, n));
		if (!bad && colon)
			bad = redact_add(r, span_make((const char *)colon + 1, (size_t)(plain + n - (colon + 1))));
	}
	sodium_memzero(plain, sizeof(plain));
	return bad;
}

static int register_header(struct redactor *r, const struct header *h)
{
	struct span v = secret_reveal(h->value), scheme;
	const char *blank = memchr(v.p, ' ', v.n);

	if (redact_add(r, v))
		return -1;
	if (!blank || strcasecmp(h->name, "Authorization") != 0)
		return 0;
	scheme = span_make(v.p, (size_t)(blank - v.p));
	v = text_trim(span_make(blank, v.n - scheme.n));
	if (redact_add(r, v))
		return -1;
	return text_is_nocase(scheme, "Basic") ? register_basic(r, v) : 0;
}

static int register_query(struct redactor *r, const char *query)
{
	while (query && *query) {
		size_t n = strcspn(query, "&"), name = strcspn(query, "=&");
		size_t skip = query[name] == '=' ? name + 1 : 0;

		if (register_decoded(r, span_make(query + skip, n - skip), true))
			return -1;
		query += n + (query[n] == '&');
	}
	return 0;
}

/* scheme://userinfo@host: the whole of it and the password. A short user name
 * beside a password is no secret, and hiding `admin` everywhere would hide the log. */
static int register_userinfo(struct redactor *r, const char *url)
{
	const char *start = url ? strstr(url, "//") : NULL, *at = NULL, *colon;

	start = start ? start + 2 : url;
	for (const char *p = start; p && *p && *p != '/' && *p != '?' && *p != '#'; p++)
		if (*p == '@')
			at = p;
	if (!at)
		return 0;
	colon = memchr(start, ':', (size_t)(at - start));
	if (register_decoded(r, span_make(start, (size_t)(at - start)), false))
		return -1;
	if (colon && register_decoded(r, span_make(colon + 1, (size_t)(at - colon - 1)), false))
		return -1;
	if (colon && colon - start >= REDACT_RUN)
		return register_decoded(r, span_make(start, (size_t)(colon - start)), false);
	return 0;
}

static int register_environment(struct redactor *r, char **envp)
{
	static const char *const proxies[] = { "http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "HTTP_PROXY" };
	static const char *const otlp[] = { "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS" };

	for (size_t i = 0; i < sizeof(proxies) / sizeof(*proxies); i++)
		if (register_userinfo(r, env_get(envp, proxies[i], strlen(proxies[i]))))
			return -1;
	for (size_t i = 0; i < sizeof(otlp) / sizeof(*otlp); i++) {
		const char *s = env_get(envp, otlp[i], strlen(otlp[i]));

		while (s && *s) {
			size_t n = strcspn(s, ","), name = strcspn(s, "=,");

			if (s[name] == '=' && register_decoded(r, text_trim(span_make(s + name + 1, n - name - 1)), false))
				return -1;
			s += n + (s[n] == ',');
		}
	}
	return 0;
}

static int register_url(struct redactor *r, const struct url *u)
{
	if (register_query(r, u->query) || redact_add_path(r, span_str(u->path)))
		return -1;
	if (u->password && redact_add(r, span_str(u->password)))
		return -1;
	if (u->user && (!u->password || strlen(u->user) >= REDACT_RUN))
		return redact_add(r, span_str(u->user));
	return 0;
}

int options_register_secrets(const struct options *o, struct redactor *r)
{
	const struct secret *own[] = { o->auth.client_secret, o->auth.store_key };

	for (size_t i = 0; i < o->headers.n; i++)
		if (register_header(r, &o->headers.v[i]))
			return -1;
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (own[i] && redact_add(r, secret_reveal(own[i])))
			return -1;
	if (register_url(r, &o->url) || register_userinfo(r, o->proxy))
		return -1;
	return register_environment(r, o->envp);
}

/* ---- argv --------------------------------------------------------------------------- */

void scrub_url(char *s)
{
	char *start = strstr(s, "//"), *at = NULL, *p;

	start = start ? start + 2 : s;
	for (p = start; *p && *p != '/' && *p != '?' && *p != '#'; p++)
		if (*p == '@')
			at = p;
	if (at)
		memset(start, 'x', (size_t)(at - start));
	p += strcspn(p, "?");
	if (*p)
		p++;
	while (*p && *p != '#') {
		size_t n = strcspn(p, "&#"), name = strcspn(p, "=&#");
		size_t skip = p[name] == '=' ? name + 1 : 0;

		memset(p + skip, 'x', n - skip);
		p += n + (p[n] == '&');
	}
}
