/* Reads the OTEL_ variables. What is not understood is left at its default, as
 * the specification asks; an endpoint that can not be used is an error. */
#include "report/otlp_env.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/log.h"
#include "base/url.h"
#include "wire/json.h"

#define VALUE_MAX ((size_t)64 * 1024)
#define HEADERS_MAX 32

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

/* The variable of one signal, else the one of all. */
static const char *env_of(enum otlp_signal s, const char *what)
{
	static const char *const names[] = { "TRACES", "METRICS" };
	char name[64];
	const char *v;

	snprintf(name, sizeof(name), "OTEL_EXPORTER_OTLP_%s_%s", names[s], what);
	v = env(name);
	snprintf(name, sizeof(name), "OTEL_EXPORTER_OTLP_%s", what);
	return v ? v : env(name);
}

static int64_t env_number(const char *text, int64_t least, int64_t most, int64_t otherwise)
{
	char *end;
	long long n;

	if (!text)
		return otherwise;
	n = strtoll(text, &end, 10);
	return *end || n < least || n > most ? otherwise : (int64_t)n;
}

int otlp_attribute(struct buf *b, bool *first, const char *key, struct span value)
{
	int bad = buf_printf(b, "%s{\"key\":", *first ? "" : ",");

	*first = false;
	return bad | json_quote(b, span_str(key)) | buf_puts(b, ",\"value\":{\"stringValue\":") | json_quote(b, value) | buf_puts(b, "}}");
}

int otlp_attribute_int(struct buf *b, bool *first, const char *key, int64_t value)
{
	int bad = buf_printf(b, "%s{\"key\":", *first ? "" : ",");

	*first = false;
	return bad | json_quote(b, span_str(key)) | buf_printf(b, ",\"value\":{\"intValue\":\"%" PRId64 "\"}}", value);
}

static struct span trimmed(const char *from, const char *end)
{
	while (from < end && (*from == ' ' || *from == '\t'))
		from++;
	while (end > from && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return span_make(from, (size_t)(end - from));
}

/* Takes the next `key=value` of a list with commas; the value decoded into *value. */
static bool next_pair(const char **list, struct span *key, struct buf *value)
{
	while (**list) {
		const char *from = *list, *end = from + strcspn(from, ","), *eq = memchr(from, '=', (size_t)(end - from));
		*list = *end ? end + 1 : end;
		if (!eq)
			continue;
		*key = trimmed(from, eq);
		buf_reset(value);
		if (key->n && url_unescape(value, trimmed(eq + 1, end), false) == 0)
			return true;
	}
	return false;
}

/* RFC 9110, section 5.1. What we set ourselves is not for others to set. */
static bool is_header_name(struct span s)
{
	static const char *const own[] = { "content-type", "content-length", "transfer-encoding", "host" };

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~' || strchr("\"(),/:;<=>?@[\\]{}", s.p[i]))
			return false;
	for (size_t i = 0; i < sizeof(own) / sizeof(*own); i++)
		if (s.n == strlen(own[i]) && !strncasecmp(s.p, own[i], s.n))
			return false;
	return s.n > 0;
}

/* ---- where to ------------------------------------------------------------------------------------------- */

static int read_url(struct otlp_env *v, enum otlp_signal s, struct err *e)
{
	static const char *const own[] = { "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT" };
	static const char *const exporter[] = { "OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER" };
	static const char *const path[] = { "v1/traces", "v1/metrics" };
	const char *which = env(exporter[s]), *exact = env(own[s]), *base = env("OTEL_EXPORTER_OTLP_ENDPOINT");
	struct url u;
	struct buf text;
	int rc = 0;

	if ((which && strcmp(which, "otlp") != 0) || (!exact && !base))
		return 0;
	buf_init(&text, 8192);
	if (exact)
		rc = buf_printf(&text, "%s", exact); /* which ends it, too */
	else
		rc = buf_printf(&text, "%s%s%s", base, base[strlen(base) - 1] == '/' ? "" : "/", path[s]);
	if (rc == 0 && url_parse(&u, buf_data(&text), e) == 0) {
		if (u.user || u.password)
			rc = err_set(e, "it has a user name; use OTEL_EXPORTER_OTLP_HEADERS");
		else
			v->signal[s].url = strdup(u.text);
		url_fini(&u);
	} else {
		rc = -1;
	}
	buf_fini(&text);
	return rc;
}

static int read_headers(struct otlp_env *v, enum otlp_signal s, struct redactor *r)
{
	const char *list = env_of(s, "HEADERS");
	struct http_headers *h = v->signal[s].headers = http_headers_new();
	struct buf value, line;
	struct span key;
	int bad = !h || http_headers_add(h, SPAN_LIT("Content-Type: application/json"));

	buf_init(&value, VALUE_MAX);
	buf_init(&line, VALUE_MAX);
	for (int n = 0; !bad && list && n < HEADERS_MAX && next_pair(&list, &key, &value); n++) {
		buf_reset(&line);
		redact_add(r, buf_span(&value));
		if (!is_header_name(key)) {
			log_warn("a header of OTEL_EXPORTER_OTLP_HEADERS has a name that can not be sent, and is left out");
			continue;
		}
		bad = buf_add(&line, key) | buf_puts(&line, ": ") | buf_add(&line, buf_span(&value));
		if (!bad && http_headers_add(h, buf_span(&line)) != 0)
			log_warn("a header of OTEL_EXPORTER_OTLP_HEADERS is malformed and left out");
	}
	buf_wipe(&value);
	buf_wipe(&line);
	buf_fini(&value);
	buf_fini(&line);
	return bad ? -1 : 0;
}

/* ---- the resource ------------------------------------------------------------------------------------------ */

static int read_resource(struct otlp_env *v, const char *name)
{
	const char *list = env("OTEL_RESOURCE_ATTRIBUTES"), *service = env("OTEL_SERVICE_NAME");
	struct buf value;
	struct span key;
	bool first = true, named = service != NULL, versioned = false;
	char text[128];
	int bad = 0;

	buf_init(&v->attributes, VALUE_MAX);
	buf_init(&value, VALUE_MAX);
	if (service)
		bad = otlp_attribute(&v->attributes, &first, "service.name", span_str(service));
	while (!bad && list && next_pair(&list, &key, &value)) {
		bool is_name = span_is(key, "service.name");
		if (is_name && service)
			continue;
		named |= is_name;
		versioned |= span_is(key, "service.version");
		snprintf(text, sizeof(text), "%.*s", (int)(key.n < 127 ? key.n : 127), key.p);
		bad = otlp_attribute(&v->attributes, &first, text, buf_span(&value));
	}
	if (!named)
		bad |= otlp_attribute(&v->attributes, &first, "service.name", SPAN_LIT("mcp-holdfast"));
	if (!versioned)
		bad |= otlp_attribute(&v->attributes, &first, "service.version", span_str(VERSION));
	bad |= otlp_attribute(&v->attributes, &first, "mcp_holdfast.bridge", span_str(name));
	buf_fini(&value);
	return bad ? -1 : 0;
}

static void read_sampler(struct otlp_env *v)
{
	const char *s = env("OTEL_TRACES_SAMPLER"), *arg = env("OTEL_TRACES_SAMPLER_ARG");

	v->parent_based = !s || !strncmp(s, "parentbased_", 12);
	v->sampler = SAMPLE_ALL;
	v->ratio = 1;
	if (s && strstr(s, "always_off"))
		v->sampler = SAMPLE_NONE;
	if (!s || !strstr(s, "traceidratio"))
		return;
	v->sampler = SAMPLE_RATIO;
	if (arg) {
		char *end;
		double ratio = strtod(arg, &end);
		v->ratio = *end || !(ratio >= 0 && ratio <= 1) ? 1 : ratio;
	}
}

int otlp_env_read(struct otlp_env *v, const char *name, struct redactor *r, struct err *e)
{
	const char *off = env("OTEL_SDK_DISABLED"), *protocol;
	bool any = false;

	memset(v, 0, sizeof(*v));
	e->text[0] = '\0';
	if (off && !strcasecmp(off, "true"))
		return 0;
	for (enum otlp_signal s = OTLP_TRACES; s < OTLP_SIGNALS; s++) {
		if (read_url(v, s, e) != 0)
			goto failed;
		if (!v->signal[s].url)
			continue;
		any = true;
		if (read_headers(v, s, r) != 0)
			goto failed;
		v->signal[s].timeout_ms = env_number(env_of(s, "TIMEOUT"), 1, 600000, 10000);
		protocol = env_of(s, "PROTOCOL");
		if (protocol && strcmp(protocol, "http/json") != 0)
			log_info("OTEL_EXPORTER_OTLP_PROTOCOL is %s; http/json is what is spoken here", protocol);
	}
	if (!any)
		return 0;
	v->batch_ms = env_number(env("OTEL_BSP_SCHEDULE_DELAY"), 1, 3600000, 5000);
	v->interval_ms = env_number(env("OTEL_METRIC_EXPORT_INTERVAL"), 1, 24 * 3600000, 60000);
	v->max_queue = (size_t)env_number(env("OTEL_BSP_MAX_QUEUE_SIZE"), 1, 65536, 2048);
	v->max_batch = (size_t)env_number(env("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"), 1, 65536, 512);
	read_sampler(v);
	if (read_resource(v, name) == 0)
		return 1;
failed:
	if (!e->text[0])
		err_set(e, "out of memory");
	otlp_env_fini(v);
	return -1;
}

void otlp_env_fini(struct otlp_env *v)
{
	for (int s = 0; s < OTLP_SIGNALS; s++) {
		free(v->signal[s].url);
		http_headers_release(v->signal[s].headers);
	}
	buf_fini(&v->attributes);
	memset(v, 0, sizeof(*v));
}
