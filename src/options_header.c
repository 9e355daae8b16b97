/* What a user wants sent to the server: headers from the command line, from a
 * file and from the URL's userinfo, with ${ENV} expanded, checked, and kept in
 * locked memory. That they go to the origin of the URL only is not decided here. */
#include "options_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wire/json.h"

#define NAME_MAX_BYTES ((size_t)256)        /* an environment name, a header name */

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
	else if (out->len >= 3 && !memcmp(buf_data(out), "\xef\xbb\xbf", 3))
		buf_consume(out, 3); /* an editor's byte order mark */
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
		if (!text_is_nocase(name, owned[i].name))
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
		if (text_is_nocase(name, l->v[i].name))
			return &l->v[i];
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return NULL;
	l->v = v;
	v[l->n].value = v[l->n].typed = NULL;
	v[l->n].name = strndup(name.p, name.n);
	return v[l->n].name ? &v[l->n++] : NULL;
}

static int header_set(struct header_list *l, struct span name, struct span value, struct err *e)
{
	struct secret *s = secret_new(value.p, value.n);
	struct header *h = s ? header_slot(l, name) : NULL;

	if (!h) {
		secret_free(s);
		return options_no_memory(e);
	}
	secret_free(h->value);
	secret_free(h->typed);
	h->value = s;
	h->typed = NULL;
	return 0;
}

static int header_keep_typed(struct header_list *l, struct span name, struct span typed, struct err *e)
{
	struct header *h = header_slot(l, name);

	if (!span_eq(typed, secret_reveal(h->value)) && !(h->typed = secret_new(typed.p, typed.n)))
		return options_no_memory(e);
	return 0;
}

int header_add(struct header_list *l, char **envp, struct span line, const char **warning, struct err *e)
{
	const char *colon = line.n ? memchr(line.p, ':', line.n) : NULL;
	struct span name, value, typed;
	struct buf expanded;
	int r;

	if (!colon)
		return err_set(e, "a header is written 'Name: value'");
	name = text_trim(span_make(line.p, (size_t)(colon - line.p)));
	r = check_name(name, warning, e);
	if (r)
		return r;
	buf_init(&expanded, HEADER_MAX);
	value = span_make(colon + 1, line.n - (size_t)(colon + 1 - line.p));
	typed = text_trim(value);
	r = env_expand(envp, value, false, &expanded, e);
	value = expanded.len ? text_trim(buf_span(&expanded)) : SPAN_NONE;
	if (!r && !value.n)
		r = err_set(e, "the header %.*s has no value", (int)name.n, name.p);
	if (!r && !is_field_value(value))
		r = err_set(e, "the value of header %.*s holds a line break, a NUL or another control character", (int)name.n, name.p);
	if (!r)
		r = header_set(l, name, value, e);
	if (!r)
		r = header_keep_typed(l, name, typed, e);
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
		secret_free(l->v[i].typed);
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

	line = text_trim(line);
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
	struct err why = { "" };
	struct buf text;
	struct span rest;
	int r;

	if (!o->header_file)
		return 0;
	buf_init(&text, FILE_MAX);
	r = options_read_file(o->header_file, FILE_MAX, &text, &why);
	if (r)
		err_set(e, "--header-file: %s", why.text);
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
