/* What a user gave us that must not be seen: headers, userinfo and query
 * values of URLs, client secrets. Each is copied into locked memory as soon as
 * it was read, can be registered with the redactor, and the place it came from
 * is wiped where it is ours to wipe.
 *
 * Headers go to the origin of the URL only; that is not decided here. */
#include "options_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/json.h"

#define HEADER_MAX ((size_t)64 * 1024)      /* one header, expanded */
#define FILE_MAX ((size_t)1024 * 1024)      /* a header file, client info */
#define NAME_MAX_BYTES ((size_t)256)        /* an environment name, a header name */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.n && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool span_is_nocase(struct span a, const char *s)
{
	return a.n == strlen(s) && !strncasecmp(a.p, s, a.n);
}

/* ---- files and the environment ------------------------------------------------ */

static int read_all(int fd, size_t max, struct buf *out)
{
	char piece[4096];
	ssize_t n;

	do {
		n = read(fd, piece, sizeof(piece));
		if (n < 0 && errno == EINTR)
			continue;
		if (n > 0 && out->len + (size_t)n > max) {
			errno = EFBIG;
			n = -1;
		}
		if (n > 0 && buf_append(out, piece, (size_t)n)) {
			errno = ENOMEM;
			n = -1;
		}
	} while (n > 0 || (n < 0 && errno == EINTR));
	sodium_memzero(piece, sizeof(piece));
	return n < 0 ? -1 : 0;
}

int options_read_file(const char *path, size_t max, struct buf *out, struct err *e)
{
	/* A FIFO (a shell's process substitution) is read to its end; anything
	 * else must be a file. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY), r = 0;
	struct stat st;

	if (fd < 0)
		return err_set(e, "can not read %s: %s", path, strerror(errno));
	if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
		r = err_set(e, "can not read %s: it is a directory", path);
	else if (read_all(fd, max, out))
		r = err_set(e, "can not read %s: %s", path, strerror(errno));
	close(fd);
	return r;
}

const char *env_get(char **envp, const char *name, size_t n)
{
	for (; envp && *envp; envp++)
		if (!strncmp(*envp, name, n) && (*envp)[n] == '=')
			return *envp + n + 1;
	return NULL;
}

/* The length of NAME in ${NAME} at p, 0 when it is no such thing. */
static size_t variable_at(struct span text, size_t at)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
	size_t n = 0;

	if (text.n - at < 4 || text.p[at] != '$' || text.p[at + 1] != '{')
		return 0;
	at += 2;
	while (at + n < text.n && text.p[at + n] && strchr(letters, text.p[at + n]))
		n++;
	if (at + n >= text.n || text.p[at + n] != '}' || n > NAME_MAX_BYTES || (n && text.p[at] <= '9'))
		return 0;
	return n;
}

/* As the inside of a JSON string, so that a quote in a secret breaks nothing. */
static int add_quoted(struct buf *out, const char *value)
{
	struct buf quoted;
	int r;

	buf_init(&quoted, FILE_MAX);
	r = json_quote(&quoted, span_str(value));
	if (!r)
		r = buf_append(out, buf_data(&quoted) + 1, quoted.len - 2);
	buf_wipe(&quoted);
	buf_fini(&quoted);
	return r;
}

int env_expand(char **envp, struct span text, bool json, struct buf *out, struct err *e)
{
	for (size_t i = 0; i < text.n;) {
		size_t n = variable_at(text, i);
		const char *value;

		if (!n) {
			if (buf_append(out, text.p + i++, 1))
				return err_set(e, "the value is too long");
			continue;
		}
		value = env_get(envp, text.p + i + 2, n);
		if (!value)
			return err_set(e, "the environment variable %.*s is not set", (int)n, text.p + i + 2);
		if (json ? add_quoted(out, value) : buf_puts(out, value))
			return err_set(e, "the value is too long");
		i += n + 3;
	}
	return 0;
}

/* ---- headers -------------------------------------------------------------------- */

/* Headers a user can not give, and why. The second kind is harmless in a
 * pasted list and only left out. */
static const struct { const char *name, *why; bool harmless; } owned[] = {
	{ "Host", "it comes from the URL", false },
	{ "Content-Length", "it frames the message", false },
	{ "Transfer-Encoding", "it frames the message", false },
	{ "Content-Encoding", "bodies are sent as they are", false },
	{ "Connection", "it belongs to one hop", false },
	{ "Keep-Alive", "it belongs to one hop", false },
	{ "Proxy-Connection", "it belongs to one hop", false },
	{ "Proxy-Authorization", "it would go to the server; put the credentials into --proxy", false },
	{ "TE", "it belongs to one hop", false },
	{ "Trailer", "it belongs to one hop", false },
	{ "Upgrade", "it belongs to one hop", false },
	{ "Expect", "it belongs to one hop", false },
	{ "Mcp-Session-Id", "the bridge keeps the session", false },
	{ "MCP-Protocol-Version", "the bridge negotiates the version", false },
	{ "Mcp-Method", "it comes from each message", false },
	{ "Mcp-Name", "it comes from each message", false },
	{ "Last-Event-ID", "the bridge resumes the streams", false },
	{ "DPoP", "each proof is made for one request", false },
	{ "Accept", "left out: the bridge sends its own Accept", true },
	{ "Accept-Encoding", "left out: the bridge sends its own Accept-Encoding", true },
	{ "Content-Type", "left out: the bridge sends its own Content-Type", true },
};

static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];
		bool alnum = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');

		if (!alnum && (!c || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return s.n > 0;
}

/* RFC 9110, section 5.5: no control character but the tab. */
static bool is_field_value(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
			return false;
	return true;
}

static int check_name(struct span name, const char **warning, struct err *e)
{
	if (!is_token(name) || name.n > NAME_MAX_BYTES)
		return err_set(e, "a header is written 'Name: value', with a name of letters, digits and dashes");
	for (size_t i = 0; i < sizeof(owned) / sizeof(*owned); i++) {
		if (!span_is_nocase(name, owned[i].name))
			continue;
		if (!owned[i].harmless)
			return err_set(e, "the header %s can not be set: %s", owned[i].name, owned[i].why);
		*warning = owned[i].why;
		return 1;
	}
	return 0;
}

static struct header *header_slot(struct header_list *l, struct span name)
{
	struct header *v;

	for (size_t i = 0; i < l->n; i++)
		if (span_is_nocase(name, l->v[i].name))
			return &l->v[i];
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return NULL;
	l->v = v;
	v[l->n].value = NULL;
	v[l->n].name = strndup(name.p, name.n);
	return v[l->n].name ? &v[l->n++] : NULL;
}

static int header_set(struct header_list *l, struct span name, struct span value, struct err *e)
{
	struct secret *s = secret_new(value.p, value.n);
	struct header *h = s ? header_slot(l, name) : NULL;

	if (!h) {
		secret_free(s);
		return err_set(e, "out of memory");
	}
	secret_free(h->value);
	h->value = s;
	return 0;
}

int header_add(struct header_list *l, char **envp, struct span line, const char **warning, struct err *e)
{
	const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	struct span name, value;
	struct buf expanded;
	int r;

	if (!colon)
		return err_set(e, "a header is written 'Name: value'");
	name = trim(span_make(line.p, (size_t)(colon - line.p)));
	r = check_name(name, warning, e);
	if (r)
		return r;
	buf_init(&expanded, HEADER_MAX);
	value = span_make(colon + 1, line.n - (size_t)(colon + 1 - line.p));
	r = env_expand(envp, value, false, &expanded, e);
	value = expanded.len ? trim(buf_span(&expanded)) : SPAN_NONE;
	if (!r && !value.n)
		r = err_set(e, "the header %.*s has no value", (int)name.n, name.p);
	if (!r && !is_field_value(value))
		r = err_set(e, "the value of header %.*s holds a line break, a NUL or another control character", (int)name.n, name.p);
	if (!r)
		r = header_set(l, name, value, e);
	buf_wipe(&expanded);
	buf_fini(&expanded);
	return r;
}

bool header_is_secret(struct span name)
{
	static const char *const words[] = { "auth", "cookie", "token", "key", "secret", "password", "session", "credential" };
	char lower[64];
	size_t n = name.n < sizeof(lower) - 1 ? name.n : sizeof(lower) - 1;

	for (size_t i = 0; i < n; i++)
		lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32 : name.p[i]);
	lower[n] = '\0';
	for (size_t i = 0; i < sizeof(words) / sizeof(*words); i++)
		if (strstr(lower, words[i]))
			return true;
	return false;
}

void header_list_fini(struct header_list *l)
{
	for (size_t i = 0; i < l->n; i++) {
		free(l->v[i].name);
		secret_free(l->v[i].value);
	}
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

static const struct header *header_find(const struct header_list *l, const char *name)
{
	for (size_t i = 0; i < l->n; i++)
		if (!strcasecmp(l->v[i].name, name))
			return &l->v[i];
	return NULL;
}

/* user:password@ of the URL as RFC 7617 has it. */
static int add_userinfo(struct options *o, struct header_list *l, struct err *e)
{
	struct buf plain, line;
	size_t room;
	int r;

	if (!o->url.user)
		return 0;
	buf_init(&plain, HEADER_MAX);
	buf_init(&line, 2 * HEADER_MAX);
	r = buf_printf(&plain, "%s:%s", o->url.user, o->url.password ? o->url.password : "");
	room = sodium_base64_ENCODED_LEN(plain.len, sodium_base64_VARIANT_ORIGINAL);
	if (!r)
		r = buf_puts(&line, "Basic ");
	if (!r)
		r = buf_reserve(&line, room);
	if (!r) {
		sodium_bin2base64(buf_tail(&line), room, (const unsigned char *)buf_data(&plain), plain.len, sodium_base64_VARIANT_ORIGINAL);
		buf_grew(&line, room - 1);
		r = header_set(l, SPAN_LIT("Authorization"), buf_span(&line), e);
	} else {
		err_set(e, "the user name and password in the URL are too long");
	}
	buf_wipe(&plain);
	buf_wipe(&line);
	buf_fini(&plain);
	buf_fini(&line);
	return r;
}

static int add_file_line(struct options *o, struct header_list *l, struct span line, size_t number, bool first, struct err *e)
{
	const char *warning = NULL;
	struct err why = { "" };
	char text[128];
	int r;

	line = trim(line);
	if (!line.n || *line.p == '#')
		return 0;
	r = header_add(l, o->envp, line, &warning, &why);
	if (r < 0)
		return err_set(e, "%.80s, line %zu: %s", o->header_file, number, why.text);
	if (r == 0 || !first)
		return 0;
	snprintf(text, sizeof(text), "--header-file, line %zu: %s", number, warning);
	return strings_add(&o->warnings, text, strlen(text));
}

static int add_file(struct options *o, struct header_list *l, bool first, struct err *e)
{
	struct buf text;
	struct span rest;
	int r;

	if (!o->header_file)
		return 0;
	buf_init(&text, FILE_MAX);
	r = options_read_file(o->header_file, FILE_MAX, &text, e);
	rest = buf_span(&text);
	for (size_t number = 1; !r && rest.n; number++) {
		const char *end = memchr(rest.p, '\n', rest.n);
		size_t n = end ? (size_t)(end - rest.p) : rest.n;

		r = add_file_line(o, l, span_make(rest.p, n), number, first, e);
		rest = span_make(rest.p + n + (end != NULL), rest.n - n - (end != NULL));
	}
	buf_wipe(&text);
	buf_fini(&text);
	return r;
}

int headers_compose(struct options *o, bool first, struct err *e)
{
	static const char both[] = "the URL has a user name and an Authorization header is given too; the header is sent";
	struct header_list l = { 0 };
	int r = add_file(o, &l, first, e);

	for (size_t i = 0; !r && i < o->given.n; i++)
		r = header_set(&l, span_str(o->given.v[i].name), secret_reveal(o->given.v[i].value), e);
	if (!r && !header_find(&l, "Authorization"))
		r = add_userinfo(o, &l, e);
	else if (!r && o->url.user && first)
		r = strings_add(&o->warnings, both, sizeof(both) - 1);
	if (r) {
		header_list_fini(&l);
		return -1;
	}
	header_list_fini(&o->headers);
	o->headers = l;
	o->core.user_authorization = header_find(&l, "Authorization") != NULL;
	return 0;
}

int options_reload_headers(struct options *o, struct err *e)
{
	return o->header_file ? headers_compose(o, false, e) : 0;
}

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

	if (json_scan(text.p, text.n, &scan, NULL, 0) != JSON_OK || scan.type != '{')
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
	return a->client_secret ? 0 : err_set(e, "out of memory");
}

static int load_secret_file(struct auth_options *a, struct err *e)
{
	struct buf text;
	struct span s;
	int r;

	if (!a->client_secret_file)
		return 0;
	buf_init(&text, FILE_MAX);
	r = options_read_file(a->client_secret_file, HEADER_MAX, &text, e);
	s = trim(buf_span(&text));
	if (!r && !s.n)
		r = err_set(e, "%s is empty", a->client_secret_file);
	if (!r) {
		secret_free(a->client_secret);
		a->client_secret = secret_new(s.p, s.n);
		r = a->client_secret ? 0 : err_set(e, "out of memory");
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
	v = trim(span_make(blank, v.n - scheme.n));
	if (redact_add(r, v))
		return -1;
	return span_is_nocase(scheme, "Basic") ? register_basic(r, v) : 0;
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

			if (s[name] == '=' && register_decoded(r, trim(span_make(s + name + 1, n - name - 1)), false))
				return -1;
			s += n + (s[n] == ',');
		}
	}
	return 0;
}

static int register_url(struct redactor *r, const struct url *u)
{
	if (register_query(r, u->query))
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
