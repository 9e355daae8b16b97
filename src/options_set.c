/* Taking one value in: a function for each kind of option, which checks the
 * text and writes the field that the table names. It judges one value by
 * itself; what several options mean together is settled in options.c. No
 * message repeats a secret. */
#include "options_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#define SECOND ((int64_t)1000)
#define HOUR (3600 * SECOND)
#define UNCLEAR_MS 100            /* a bare number below this was hardly meant as ms */
#define UNCLEAR_PEER 1000         /* a bare number from here on was hardly meant as s */

static int refuse(const struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int refuse(const struct parse *p, const char *fmt, ...)
{
	char why[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return err_set(p->e, "%s: %s", p->label, why);
}

static int warn(const struct parse *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int warn(const struct parse *p, const char *fmt, ...)
{
	char why[300], text[400];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	snprintf(text, sizeof(text), "%s: %s", p->label, why);
	return strings_add(&p->o->warnings, text, strlen(text)) ? refuse(p, "out of memory") : 0;
}

/* ---- plain values ------------------------------------------------------------- */

int set_flag(const struct parse *p, const struct opt *opt, const char *value)
{
	return value_bool(value, FIELD(bool)) ? refuse(p, "yes or no, not \"%.40s\"", value) : 0;
}

/* --no-x: the field says x. */
int set_off(const struct parse *p, const struct opt *opt, const char *value)
{
	if (set_flag(p, opt, value))
		return -1;
	*FIELD(bool) = !*FIELD(bool);
	return 0;
}

int set_nothing(const struct parse *p, const struct opt *opt, const char *value)
{
	bool ignored;

	(void)opt;
	return value_bool(value, &ignored) ? refuse(p, "yes or no, not \"%.40s\"", value) : 0;
}

int set_text(const struct parse *p, const struct opt *opt, const char *value)
{
	char *s;

	if (!*value)
		return refuse(p, "is empty");
	s = strdup(value);
	if (!s)
		return refuse(p, "out of memory");
	text_free(*FIELD(char *));
	*FIELD(char *) = s;
	return 0;
}

int set_list(const struct parse *p, const struct opt *opt, const char *value)
{
	if (!*value)
		return refuse(p, "is empty");
	return strings_add(FIELD(struct strings), value, strlen(value)) ? refuse(p, "out of memory") : 0;
}

static int whole_number(const struct parse *p, const struct opt *opt, const char *value, int64_t *out)
{
	if (value_int(value, strlen(value), out))
		return refuse(p, "a whole number, not \"%.40s\"", value);
	if (*out < opt->min || *out > opt->max)
		return refuse(p, "a number from %lld to %lld, not %.40s", (long long)opt->min, (long long)opt->max, value);
	return 0;
}

int set_int(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t v;

	if (whole_number(p, opt, value, &v))
		return -1;
	*FIELD(int) = (int)v;
	return 0;
}

int set_count(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t v;

	if (whole_number(p, opt, value, &v))
		return -1;
	*FIELD(size_t) = (size_t)v;
	return 0;
}

int set_size(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t v;

	if (value_size(value, &v))
		return refuse(p, "a size such as 64k, 128M or a number of bytes, not \"%.40s\"", value);
	if (v < opt->min || v > opt->max)
		return refuse(p, "from %lld to %lld bytes, not %.40s", (long long)opt->min, (long long)opt->max, value);
	*FIELD(size_t) = (size_t)v;
	return 0;
}

int set_factor(const struct parse *p, const struct opt *opt, const char *value)
{
	double v;

	if (value_real(value, &v) || v < (double)opt->min || v > (double)opt->max)
		return refuse(p, "a number from %lld to %lld, not \"%.40s\"", (long long)opt->min, (long long)opt->max, value);
	*FIELD(double) = v;
	return 0;
}

static int choose(const struct parse *p, const struct opt *opt, const char *value, int *index)
{
	*index = value_word(value, opt->words);
	return *index < 0 ? refuse(p, "one of %s, not \"%.40s\"", opt->words, value) : 0;
}

/* ---- durations ------------------------------------------------------------------ */

static int duration_range(const struct parse *p, const struct opt *opt, const char *value, int64_t ms)
{
	if (ms == 0 && (opt->flags & OPT_ZERO))
		return 0;
	if (ms < opt->min)
		return refuse(p, "at least %lldms, not \"%.40s\"", (long long)opt->min, value);
	return ms > opt->max ? refuse(p, "at most %lldh, not \"%.40s\"", (long long)(opt->max / HOUR), value) : 0;
}

static int duration(const struct parse *p, const struct opt *opt, const char *value, int64_t *ms, bool *bare)
{
	if (*value == '-')
		return refuse(p, "a duration can not be negative");
	if (value_duration(value, ms, bare))
		return refuse(p, "\"%.40s\" is no duration (whole milliseconds, or 500ms, 2.5s, 5m, 1h)", value);
	return duration_range(p, opt, value, *ms);
}

/* A delay: a few milliseconds are sensible. */
int set_delay(const struct parse *p, const struct opt *opt, const char *value)
{
	bool bare;

	return duration(p, opt, value, FIELD(int64_t), &bare);
}

static int timeout_value(const struct parse *p, const struct opt *opt, const char *value, int64_t *ms)
{
	bool bare;

	if (duration(p, opt, value, ms, &bare))
		return -1;
	if (bare && *ms && *ms < UNCLEAR_MS)
		return refuse(p, "\"%.40s\" is unclear: did you mean %llds or %lldms?", value, (long long)*ms, (long long)*ms);
	return 0;
}

int set_timeout(const struct parse *p, const struct opt *opt, const char *value)
{
	return timeout_value(p, opt, value, FIELD(int64_t));
}

/* The name stands in mcp-remote's lists too, where it counts seconds. */
int set_connect_timeout(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t ms;
	bool bare;

	if (set_timeout(p, opt, value))
		return -1;
	if (value_duration(value, &ms, &bare) || !bare || ms >= UNCLEAR_PEER)
		return 0;
	return warn(p, "%lld is read as %lldms; mcp-remote's reading is %llds", (long long)ms, (long long)ms, (long long)ms);
}

int set_idle(const struct parse *p, const struct opt *opt, const char *value)
{
	if (strcmp(value, "auto") != 0)
		return set_timeout(p, opt, value);
	*FIELD(int64_t) = IDLE_AUTO;
	return 0;
}

/* mcp-remote's own: a bare number is seconds. */
int set_seconds(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t ms;
	bool bare;

	if (duration(p, opt, value, &ms, &bare))
		return -1;
	if (bare && __builtin_mul_overflow(ms, SECOND, &ms))
		return refuse(p, "\"%.40s\" is too long", value);
	if (duration_range(p, opt, value, ms))
		return -1;
	*FIELD(int64_t) = ms;
	return 0;
}

/* The same for names that both know; ours counts milliseconds elsewhere, so a
 * number that looks like them is not taken for hours in silence. */
int set_unclear_seconds(const struct parse *p, const struct opt *opt, const char *value)
{
	int64_t n;
	bool bare;

	if (!value_duration(value, &n, &bare) && bare && n >= UNCLEAR_PEER)
		return refuse(p, "\"%.40s\" is unclear: did you mean %.40ss or %.40sms?", value, value, value);
	return set_seconds(p, opt, value);
}

/* ---- words ---------------------------------------------------------------------- */

int set_transport(const struct parse *p, const struct opt *opt, const char *value)
{
	static const enum transport_choice choices[] = {
		TRANSPORT_AUTO, TRANSPORT_HTTP, TRANSPORT_SSE,
		TRANSPORT_AUTO, TRANSPORT_SSE_FIRST, TRANSPORT_HTTP, TRANSPORT_SSE,
	};
	int i;

	if (choose(p, opt, value, &i))
		return -1;
	p->o->core.transport = choices[i];
	return 0;
}

int set_jitter(const struct parse *p, const struct opt *opt, const char *value)
{
	static const enum jitter choices[] = { JITTER_FULL, JITTER_EQUAL, JITTER_NONE };
	int i;

	if (choose(p, opt, value, &i))
		return -1;
	p->o->core.jitter = choices[i];
	return 0;
}

/* Two words; the field is true for the second. */
int set_second(const struct parse *p, const struct opt *opt, const char *value)
{
	int i;

	if (choose(p, opt, value, &i))
		return -1;
	*FIELD(bool) = i == 1;
	return 0;
}

int set_level(const struct parse *p, const struct opt *opt, const char *value)
{
	static const enum log_level levels[] = { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };
	int i;

	if (choose(p, opt, value, &i))
		return -1;
	p->o->log_level = levels[i];
	return 0;
}

int set_verbose(const struct parse *p, const struct opt *opt, const char *value)
{
	bool on;

	(void)opt;
	if (value_bool(value, &on))
		return refuse(p, "yes or no, not \"%.40s\"", value);
	if (on && p->o->verbose < LOG_TRACE)
		p->o->verbose++;
	return 0;
}

int set_debug(const struct parse *p, const struct opt *opt, const char *value)
{
	bool on;

	(void)opt;
	if (value_bool(value, &on))
		return refuse(p, "yes or no, not \"%.40s\"", value);
	if (on && p->o->log_level < LOG_DEBUG)
		p->o->log_level = LOG_DEBUG;
	return 0;
}

int set_signing_alg(const struct parse *p, const struct opt *opt, const char *value)
{
	int i;

	return choose(p, opt, value, &i) ? -1 : set_text(p, opt, i == 0 ? "EdDSA" : "ES256");
}

int set_stop(const struct parse *p, const struct opt *opt, const char *value)
{
	int i;

	if (!opt->words)
		return 0;
	return choose(p, opt, value, &i) ? -1 : set_text(p, opt, value);
}

/* ---- values with a shape of their own -------------------------------------------- */

int set_header(const struct parse *p, const struct opt *opt, const char *value)
{
	struct span line = span_str(value), name = span_make(value, strcspn(value, ":"));
	const char *warning = NULL;
	struct err why = { "" };
	int r = header_add(FIELD(struct header_list), p->o->envp, line, &warning, &why);

	if (r < 0)
		return refuse(p, "%s", why.text);
	if (r > 0)
		return warn(p, "%s", warning);
	if (p->from_argv && header_is_secret(name) && !strstr(value, "${"))
		return warn(p, "the value of %.*s stands in the argument list, where other users of this machine can read it; "
			"use --header-file, or ${NAME} with the value in the environment", (int)(name.n < 40 ? name.n : 40), name.p);
	return 0;
}

int set_tool_timeout(const struct parse *p, const struct opt *opt, const char *value)
{
	struct tool_timeouts *l = FIELD(struct tool_timeouts);
	const char *eq = strrchr(value, '=');
	struct tool_timeout *v;
	int64_t ms;

	if (!eq || eq == value)
		return refuse(p, "GLOB=DURATION, not \"%.40s\"", value);
	if (timeout_value(p, opt, eq + 1, &ms))
		return -1;
	v = realloc(l->v, (l->n + 1) * sizeof(*v));
	if (!v)
		return refuse(p, "out of memory");
	l->v = v;
	v[l->n].ms = ms;
	v[l->n].glob = strndup(value, (size_t)(eq - value));
	if (!v[l->n].glob)
		return refuse(p, "out of memory");
	l->n++;
	return 0;
}

int set_codes(const struct parse *p, const struct opt *opt, const char *value)
{
	struct numbers *l = FIELD(struct numbers);

	for (;;) {
		size_t n = strcspn(value, ",");
		int64_t code, *v;

		if (value_int(value, n, &code) || code < opt->min || code > opt->max)
			return refuse(p, "JSON-RPC error codes such as -32603,-32000, not \"%.40s\"", value);
		v = realloc(l->v, (l->n + 1) * sizeof(*v));
		if (!v)
			return refuse(p, "out of memory");
		l->v = v;
		v[l->n++] = code;
		if (!value[n])
			return 0;
		value += n + 1;
	}
}

int set_rate(const struct parse *p, const struct opt *opt, const char *value)
{
	(void)opt;
	if (value_rate(value, &p->o->core.rate_per_s, &p->o->core.rate_burst))
		return refuse(p, "N/s or N/m, perhaps with :BURST, not \"%.40s\"", value);
	return 0;
}

/* A number of requests, a time, or both: 500,30m. */
int set_quota(const struct parse *p, const struct opt *opt, const char *value)
{
	for (;;) {
		size_t n = strcspn(value, ",");
		char part[32];
		int64_t v;
		bool bare;

		snprintf(part, sizeof(part), "%.*s", (int)(n < sizeof(part) ? n : sizeof(part)), value);
		if (value_duration(part, &v, &bare) || v < opt->min || v > opt->max)
			return refuse(p, "a number of requests, a time with its unit, or both (500,30m), not \"%.40s\"", value);
		if (bare)
			p->o->core.quota_requests = v;
		else
			p->o->core.quota_ms = v;
		if (!value[n])
			return 0;
		value += n + 1;
	}
}

int set_secret_json(const struct parse *p, const struct opt *opt, const char *value)
{
	struct secret **where = FIELD(struct secret *), *s = NULL;
	struct buf raw, text;
	struct err why = { "" };
	int r;

	buf_init(&raw, 1024 * 1024);
	buf_init(&text, 1024 * 1024);
	r = *value == '@' ? options_read_file(value + 1, raw.max, &raw, &why) : buf_puts(&raw, value);
	if (!r)
		r = env_expand(p->o->envp, buf_span(&raw), true, &text, &why);
	if (!r) {
		s = secret_new(buf_span(&text).p, text.len);
		r = s ? 0 : -1;
	}
	if (!r) {
		secret_free(*where);
		*where = s;
	}
	buf_wipe(&raw);
	buf_wipe(&text);
	buf_fini(&raw);
	buf_fini(&text);
	if (r)
		return refuse(p, "%s", why.text[0] ? why.text : "out of memory");
	if (p->from_argv && *value != '@' && strstr(value, "client_secret") && !strstr(value, "${"))
		return warn(p, "the client secret stands in the argument list, where other users of this machine can read it; "
			"use @FILE, or ${NAME} with the value in the environment");
	return 0;
}

int set_json(const struct parse *p, const struct opt *opt, const char *value)
{
	struct buf text;
	struct err why = { "" };
	char *s = NULL;
	int r;

	if (*value != '@')
		return set_text(p, opt, value);
	buf_init(&text, 1024 * 1024);
	r = options_read_file(value + 1, text.max, &text, &why);
	if (!r)
		s = strndup(buf_span(&text).p, text.len);
	buf_fini(&text);
	if (!s)
		return refuse(p, "%s", r ? why.text : "out of memory");
	r = set_text(p, opt, s);
	free(s);
	return r;
}

/* ---- addresses ------------------------------------------------------------------- */

/* https, or http to this machine; no credentials in it. */
static int checked_url(const struct parse *p, const char *value, struct url *u)
{
	struct err why = { "" };

	if (url_parse(u, value, &why))
		return refuse(p, "%s", why.text);
	if (u->user || u->password)
		return refuse(p, "a URL without user name and password is needed");
	if (!strcmp(u->scheme, "https") || url_is_loopback(u))
		return 0;
	return refuse(p, "an https URL is needed (http only to this machine)");
}

int set_url(const struct parse *p, const struct opt *opt, const char *value)
{
	struct url u;
	int r = checked_url(p, value, &u);

	url_fini(&u);
	return r ? r : set_text(p, opt, value);
}

int set_document_url(const struct parse *p, const struct opt *opt, const char *value)
{
	struct url u;
	int r = checked_url(p, value, &u);

	if (!r && (strcmp(u.scheme, "https") != 0 || !strcmp(u.path, "/")))
		r = refuse(p, "an https URL with a path is needed, for it is the client's id");
	url_fini(&u);
	return r ? r : set_text(p, opt, value);
}

/* RFC 8707: an absolute URI of any scheme, without a fragment. mcp-remote
 * takes an empty one to mean none. */
int set_resource(const struct parse *p, const struct opt *opt, const char *value)
{
	size_t scheme = strspn(value, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-.");

	if (!*value) {
		p->o->auth.no_resource = true;
		return 0;
	}
	if (scheme == 0 || value[scheme] != ':' || strpbrk(value, "# \t\r\n"))
		return refuse(p, "an absolute URI without a fragment is needed");
	return set_text(p, opt, value);
}

int set_callback_path(const struct parse *p, const struct opt *opt, const char *value)
{
	if (*value != '/' || strpbrk(value, "?# \t\r\n%"))
		return refuse(p, "a path that begins with / and has neither query nor fragment is needed");
	if (!strncmp(value, "/s/", 3))
		return refuse(p, "/s/ is where the short addresses are");
	return set_text(p, opt, value);
}

int set_host(const struct parse *p, const struct opt *opt, const char *value)
{
	if (strpbrk(value, "/:@?# \t\r\n"))
		return refuse(p, "a host name without scheme and port is needed");
	return set_text(p, opt, value);
}

/* What libcurl would take for a server that is away, for ever. */
int set_proxy(const struct parse *p, const struct opt *opt, const char *value)
{
	static const char schemes[] = "http https socks socks4 socks4a socks5 socks5h";
	const char *rest = strstr(value, "://");
	struct err why = { "" };
	struct buf text;
	char scheme[16];
	struct url u;
	int r;

	if (!*value)
		return refuse(p, "is empty");
	snprintf(scheme, sizeof(scheme), "%.*s", rest ? (int)(rest - value < 15 ? rest - value : 15) : 4, rest ? value : "http");
	if (value_word(scheme, schemes) < 0)
		return refuse(p, "the URL of a proxy begins with one of %s", schemes);
	buf_init(&text, strlen(value) + 16);
	r = buf_printf(&text, "http://%s", rest ? rest + 3 : value) ? err_set(&why, "out of memory") : url_parse(&u, buf_data(&text), &why);
	if (!r)
		url_fini(&u);
	buf_wipe(&text);
	buf_fini(&text);
	return r ? refuse(p, "%s", why.text) : set_text(p, opt, value);
}

int set_socket(const struct parse *p, const struct opt *opt, const char *value)
{
	const size_t most = sizeof(((struct sockaddr_un *)0)->sun_path) - 1;

	if (strlen(value) > most)
		return refuse(p, "the path of a socket has %zu bytes at most", most);
	return set_text(p, opt, value);
}

int set_authorize_param(const struct parse *p, const struct opt *opt, const char *value)
{
	static const char own[] = "client_id redirect_uri response_type state code_challenge code_challenge_method resource scope";
	const char *eq = strchr(value, '=');
	char name[64];

	if (!eq || eq == value)
		return refuse(p, "NAME=VALUE is needed");
	snprintf(name, sizeof(name), "%.*s", (int)(eq - value < 63 ? eq - value : 63), value);
	if (value_word(name, own) >= 0)
		return refuse(p, "%s is made for each request (--scope and --resource have options of their own)", name);
	return set_list(p, opt, value);
}
