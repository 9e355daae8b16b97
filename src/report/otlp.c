/* The export itself. A span is written as JSON when its request is answered and
 * waits in one buffer with the others; at most one transfer of each signal runs
 * at a time. After a failure the next one waits longer and longer. */
#include "report/otlp.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <sodium.h>

#include "base/log.h"
#include "report/otlp_env.h"
#include "wire/json.h"
#include "wire/trace.h"

#define QUEUE_BYTES ((size_t)2 << 20)
#define BODY_BYTES ((size_t)8 << 20)
#define PAUSE_MS 5000       /* after the first failure, doubled by each that follows */
#define PAUSE_MAX_MS 120000
#define ID_MAX 64           /* of a request's id and other texts in an attribute */

enum { KIND_INTERNAL = 1, KIND_CLIENT = 3 };

struct transfer {
	bool running;
	int status;
	size_t spans;        /* that it carries */
	struct buf body;
};

struct otlp {
	struct otlp_config c;
	struct otlp_env env;
	struct http *http;
	struct loop *loop;
	int64_t started_ns;
	struct buf queue;          /* spans, separated by commas */
	size_t queued;
	int64_t send_at;           /* when the queue is to go; 0: it is empty */
	int64_t not_before, pause_ms;
	struct transfer transfer[OTLP_SIGNALS];
	uint64_t spans_lost, exports_lost;
	bool complained;
};

static int64_t real_ns(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_REALTIME, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* ---- life ------------------------------------------------------------------------------------------------ */

struct otlp *otlp_new(const struct otlp_config *c, struct err *e)
{
	struct otlp *o = calloc(1, sizeof(*o));
	int rc;

	if (!o) {
		err_set(e, "out of memory");
		return NULL;
	}
	rc = otlp_env_read(&o->env, c->name, c->redactor, e);
	if (rc <= 0) {
		free(o);
		return NULL;
	}
	o->c = *c;
	o->started_ns = real_ns();
	o->pause_ms = PAUSE_MS;
	buf_init(&o->queue, QUEUE_BYTES);
	for (int s = 0; s < OTLP_SIGNALS; s++)
		buf_init(&o->transfer[s].body, BODY_BYTES);
	return o;
}

void otlp_attach(struct otlp *o, struct http *h, struct loop *l)
{
	o->http = h;
	o->loop = l;
}

void otlp_free(struct otlp *o)
{
	if (!o)
		return;
	for (int s = 0; s < OTLP_SIGNALS; s++) {
		if (o->transfer[s].running)
			http_cancel(o->http, o->c.token_base | (uint64_t)(s + 1));
		buf_fini(&o->transfer[s].body);
	}
	buf_fini(&o->queue);
	otlp_env_fini(&o->env);
	free(o);
}

/* ---- spans ------------------------------------------------------------------------------------------------- */

static void random_id(char *hex, size_t digits)
{
	unsigned char raw[16];

	do
		randombytes_buf(raw, digits / 2);
	while (sodium_is_zero(raw, digits / 2));
	sodium_bin2hex(hex, digits + 1, raw, digits / 2);
}

/* Fills in the ids of a new span. False: it is not to be recorded. */
static bool sample(const struct otlp *o, const struct session_answer *a, struct trace_parent *own, struct trace_parent *parent, bool *has_parent)
{
	uint64_t low = 0;

	*has_parent = a && trace_from_meta(json_get(a->params, "_meta"), parent);
	if (a && !*has_parent && trace_parse(a->trace, own))
		return true; /* the ids that the request itself carries now */
	if (*has_parent)
		memcpy(own->trace, parent->trace, sizeof(own->trace));
	else
		random_id(own->trace, TRACE_ID);
	random_id(own->span, TRACE_SPAN);
	if (*has_parent && o->env.parent_based)
		return parent->sampled;
	if (o->env.sampler != SAMPLE_RATIO)
		return o->env.sampler == SAMPLE_ALL;
	for (int i = TRACE_ID - 13; i < TRACE_ID; i++) /* 52 bits: a double holds them */
		low = low << 4 | (uint64_t)(own->trace[i] <= '9' ? own->trace[i] - '0' : own->trace[i] - 'a' + 10);
	return (double)low < o->env.ratio * (double)((uint64_t)1 << 52);
}

static int begin_span(struct buf *b, const struct trace_parent *own, const struct trace_parent *parent, struct span name, int kind, int64_t from_ns, int64_t to_ns)
{
	int bad = buf_printf(b, "{\"traceId\":\"%s\",\"spanId\":\"%s\",\"flags\":%d,", own->trace, own->span, parent ? 0x301 : 0x101);

	if (parent)
		bad |= buf_printf(b, "\"parentSpanId\":\"%s\",", parent->span);
	bad |= buf_puts(b, "\"name\":") | json_quote(b, name);
	return bad | buf_printf(b, ",\"kind\":%d,\"startTimeUnixNano\":\"%" PRId64 "\",\"endTimeUnixNano\":\"%" PRId64 "\",\"attributes\":[", kind, from_ns, to_ns);
}

static int end_span(struct buf *b, const char *error)
{
	int bad = buf_printf(b, "],\"status\":{\"code\":%d", error ? 2 : 0);

	if (error)
		bad |= buf_puts(b, ",\"message\":") | json_quote(b, span_str(error));
	return bad | buf_puts(b, "}}");
}

/* Takes one finished span, or drops it. */
static void queue_span(struct otlp *o, struct buf *span, int bad)
{
	if (bad || o->queued >= o->env.max_queue || buf_reserve(&o->queue, span->len + 1) != 0) {
		o->spans_lost++;
	} else {
		if (o->queued++)
			buf_puts(&o->queue, ",");
		buf_add(&o->queue, buf_span(span));
		if (!o->send_at)
			o->send_at = loop_now() + o->env.batch_ms;
		if (o->queued >= o->env.max_batch)
			o->send_at = loop_now();
	}
	buf_fini(span);
}

/* A raw JSON string or number as text, cut. */
static struct span plain(struct span raw, struct buf *text)
{
	buf_reset(text);
	if (json_type(raw) == '"' ? json_string(raw, text) : buf_add(text, raw))
		return SPAN_NONE;
	if (text->len > ID_MAX) {
		text->len = ID_MAX;
		while (text->len && ((unsigned char)buf_data(text)[text->len] & 0xc0) == 0x80)
			text->len--;
	}
	return buf_span(text);
}

/* error.type: the code, as the conventions ask; our own kinds by name. */
static const char *error_type(const struct session_answer *a, char code[16])
{
	if (a->own_error)
		return error_kind_name((enum error_kind)(a->own_error - 1));
	if (a->rpc_error) {
		snprintf(code, 16, "%d", a->rpc_error);
		return code;
	}
	return a->tool_error ? "tool_error" : NULL;
}

static struct span session_id_of(struct span lines)
{
	static const char name[] = "Mcp-Session-Id: ";
	const char *at = memmem(lines.p, lines.n, name, sizeof(name) - 1), *end;

	if (!at)
		return SPAN_NONE;
	at += sizeof(name) - 1;
	end = memchr(at, '\n', lines.n - (size_t)(at - lines.p));
	return span_make(at, end ? (size_t)(end - at) : lines.n - (size_t)(at - lines.p));
}

static int add_network(const struct otlp *o, struct buf *b, bool *first)
{
	return otlp_attribute(b, first, "network.transport", o->c.unix_socket ? SPAN_LIT("unix") : SPAN_LIT("tcp")) |
	       otlp_attribute(b, first, "network.protocol.name", SPAN_LIT("http")) |
	       otlp_attribute(b, first, "server.address", span_str(o->c.host)) |
	       otlp_attribute_int(b, first, "server.port", o->c.port);
}

void otlp_on_answer(struct otlp *o, const struct session_answer *a, const char *version, struct span headers)
{
	struct trace_parent own, parent;
	struct buf span, text, target;
	struct span sid = session_id_of(headers);
	bool has_parent, first = true, prompt = span_is(a->method, "prompts/get");
	int64_t now = real_ns();
	char code[16], print[7];
	const char *error = error_type(a, code);
	int bad;

	if (!o->env.signal[OTLP_TRACES].url || !sample(o, a, &own, &parent, &has_parent))
		return;
	buf_init(&span, 16 * 1024);
	buf_init(&text, QUEUE_BYTES);
	buf_init(&target, QUEUE_BYTES);
	plain(a->tool.n ? a->tool : prompt ? json_get(a->params, "name") : SPAN_NONE, &target);
	bad = buf_printf(&text, "%.*s", (int)(a->method.n < ID_MAX ? a->method.n : ID_MAX), a->method.p);
	if (target.len)
		bad |= buf_puts(&text, " ") | buf_add(&text, buf_span(&target));
	bad |= begin_span(&span, &own, has_parent ? &parent : NULL, buf_span(&text), KIND_CLIENT, now - a->latency_us_lower * 1000, now);
	bad |= otlp_attribute(&span, &first, "mcp.method.name", span_make(a->method.p, a->method.n < ID_MAX ? a->method.n : ID_MAX));
	if (target.len)
		bad |= otlp_attribute(&span, &first, prompt ? "gen_ai.prompt.name" : "gen_ai.tool.name", buf_span(&target));
	if (a->tool.n)
		bad |= otlp_attribute(&span, &first, "gen_ai.operation.name", SPAN_LIT("execute_tool"));
	if (version[0])
		bad |= otlp_attribute(&span, &first, "mcp.protocol.version", span_str(version));
	if (sid.n) {
		redact_fingerprint(o->c.redactor, sid, print);
		bad |= otlp_attribute(&span, &first, "mcp.session.id", span_str(print));
	}
	if (a->id.n)
		bad |= otlp_attribute(&span, &first, "jsonrpc.request.id", plain(a->id, &text));
	if (a->rpc_error)
		bad |= otlp_attribute(&span, &first, "rpc.response.status_code", span_str(code));
	if (error)
		bad |= otlp_attribute(&span, &first, "error.type", span_str(error));
	bad |= add_network(o, &span, &first) | otlp_attribute_int(&span, &first, "mcp_holdfast.attempts", a->attempts);
	bad |= end_span(&span, error);
	queue_span(o, &span, bad);
	buf_fini(&text);
	buf_fini(&target);
}

void otlp_on_return(struct otlp *o, int64_t outage_ms, const char *cause, const char *detail)
{
	struct trace_parent own, parent;
	struct buf span;
	bool has_parent, first = true;
	int64_t now = real_ns();
	int bad;

	if (!o->env.signal[OTLP_TRACES].url || !sample(o, NULL, &own, &parent, &has_parent))
		return;
	buf_init(&span, 16 * 1024);
	bad = begin_span(&span, &own, NULL, SPAN_LIT("mcp_holdfast.reconnect"), KIND_INTERNAL, now - outage_ms * 1000000, now);
	bad |= otlp_attribute(&span, &first, "mcp_holdfast.drop.cause", span_str(cause));
	if (detail[0])
		bad |= otlp_attribute(&span, &first, "mcp_holdfast.drop.detail", span_str(detail));
	bad |= add_network(o, &span, &first) | end_span(&span, NULL);
	queue_span(o, &span, bad);
}

/* ---- transfers ------------------------------------------------------------------------------------------------ */

static void failed(struct otlp *o, enum otlp_signal s, const char *why, int64_t now)
{
	struct transfer *t = &o->transfer[s];

	o->spans_lost += t->spans;
	o->exports_lost++;
	o->not_before = now + o->pause_ms;
	o->pause_ms = o->pause_ms * 2 < PAUSE_MAX_MS ? o->pause_ms * 2 : PAUSE_MAX_MS;
	if (!o->complained)
		log_warn("telemetry could not be exported (%s); dropped, and trying again later", why);
	o->complained = true;
}

static void finished(struct transfer *t)
{
	t->running = false;
	t->spans = 0;
	t->status = 0;
	buf_reset(&t->body);
}

static void start(struct otlp *o, enum otlp_signal s)
{
	struct transfer *t = &o->transfer[s];
	struct http_request rq = { .token = o->c.token_base | (uint64_t)(s + 1), .method = HTTP_POST, .url = o->env.signal[s].url,
		.shared = o->env.signal[s].headers, .body = buf_span(&t->body), .timeout_ms = o->env.signal[s].timeout_ms, .flags = HTTP_FOREIGN };
	struct err e = { "" };

	t->status = 0;
	t->running = true;
	if (http_start(o->http, &rq, &e) != 0) {
		failed(o, s, e.text, loop_now());
		finished(t);
	}
}

static int begin_body(struct otlp *o, struct buf *b, const char *outer, const char *inner, const char *list)
{
	return buf_printf(b, "{\"%s\":[{\"resource\":{\"attributes\":[", outer) | buf_add(b, buf_span(&o->env.attributes)) |
	       buf_printf(b, "]},\"%s\":[{\"scope\":{\"name\":\"mcp-holdfast\",\"version\":\"" VERSION "\"},\"%s\":[", inner, list);
}

static void send_spans(struct otlp *o)
{
	struct transfer *t = &o->transfer[OTLP_TRACES];

	o->send_at = 0;
	if (!o->queued)
		return;
	buf_reset(&t->body);
	t->spans = o->queued;
	if ((begin_body(o, &t->body, "resourceSpans", "scopeSpans", "spans") | buf_add(&t->body, buf_span(&o->queue)) | buf_puts(&t->body, "]}]}]}")) == 0)
		start(o, OTLP_TRACES);
	else
		failed(o, OTLP_TRACES, "out of memory", loop_now());
	o->queued = 0;
	buf_reset(&o->queue);
}

void otlp_on_http(struct otlp *o, const struct http_event *ev, int64_t now)
{
	enum otlp_signal s = (enum otlp_signal)((ev->token & 0xff) - 1);
	struct transfer *t;
	char why[32];

	if (s >= OTLP_SIGNALS || !o->transfer[s].running)
		return;
	t = &o->transfer[s];
	if (ev->kind == HTTP_EV_HEAD)
		t->status = ev->head->status;
	if (ev->kind != HTTP_EV_DONE)
		return;
	if (ev->result->outcome != HTTP_OK) {
		failed(o, s, ev->result->detail, now);
	} else if (t->status < 200 || t->status > 299) {
		snprintf(why, sizeof(why), "HTTP %d", t->status);
		failed(o, s, why, now);
	} else {
		o->not_before = 0;
		o->pause_ms = PAUSE_MS;
		o->complained = false;
	}
	finished(t);
}

int64_t otlp_deadline(const struct otlp *o)
{
	if (!o->send_at || o->transfer[OTLP_TRACES].running)
		return 0;
	return o->send_at > o->not_before ? o->send_at : o->not_before;
}

void otlp_on_time(struct otlp *o, int64_t now)
{
	int64_t t = otlp_deadline(o);

	if (t && now >= t)
		send_spans(o);
}

/* ---- metrics ------------------------------------------------------------------------------------------------------ */

struct points {
	struct otlp *o;
	struct buf *b;
	const struct metric *open; /* whose points are being written */
	bool any_metric, any_point, skip;
	int64_t now_ns;
	int bad;
};

static void close_metric(struct points *p)
{
	if (p->open && !p->skip)
		p->bad |= buf_puts(p->b, "]}}");
	p->open = NULL;
}

static void points_begin(void *arg, const struct metric *m)
{
	static const char *const kinds[] = { "\"sum\":{\"aggregationTemporality\":2,\"isMonotonic\":true,", "\"gauge\":{", "\"histogram\":{\"aggregationTemporality\":2," };
	struct points *p = arg;

	close_metric(p);
	p->open = m;
	p->skip = !m->otel;
	p->any_point = false;
	if (p->skip)
		return;
	p->bad |= buf_printf(p->b, "%s{\"name\":\"%s\",\"unit\":\"%s\",\"description\":\"%s\",%s\"dataPoints\":[", p->any_metric ? "," : "", m->otel, m->unit, m->help,
		kinds[m->kind]);
	p->any_metric = true;
}

static void begin_point(struct points *p, const struct label *l, size_t n)
{
	bool first = true;

	p->bad |= buf_printf(p->b, "%s{\"attributes\":[", p->any_point ? "," : "");
	p->any_point = true;
	for (size_t i = 0; i < n; i++)
		if (l[i].value[0])
			p->bad |= otlp_attribute(p->b, &first, l[i].otel, span_str(l[i].value));
	p->bad |= buf_printf(p->b, "],\"startTimeUnixNano\":\"%" PRId64 "\",\"timeUnixNano\":\"%" PRId64 "\",", p->o->started_ns, p->now_ns);
}

static void points_value(void *arg, const struct metric *m, const struct label *l, size_t n, double v)
{
	struct points *p = arg;

	(void)m;
	if (p->skip)
		return;
	begin_point(p, l, n);
	p->bad |= buf_printf(p->b, "\"asDouble\":%.15g}", v);
}

static void points_histogram(void *arg, const struct metric *m, const struct label *l, size_t n, const struct hist *h)
{
	struct points *p = arg;
	uint64_t below = 0;

	(void)m;
	if (p->skip)
		return;
	begin_point(p, l, n);
	p->bad |= buf_printf(p->b, "\"count\":\"%" PRIu64 "\",\"sum\":%.15g,\"bucketCounts\":[", h->count, (double)h->sum_ms / 1000);
	for (size_t i = 0; i < HIST_PUBLISHED; i++) {
		uint64_t at_most = hist_at_most(h, hist_published[i]);
		p->bad |= buf_printf(p->b, "\"%" PRIu64 "\",", at_most - below);
		below = at_most;
	}
	p->bad |= buf_printf(p->b, "\"%" PRIu64 "\"],\"explicitBounds\":[", h->count - below);
	for (size_t i = 0; i < HIST_PUBLISHED; i++)
		p->bad |= buf_printf(p->b, "%s%g", i ? "," : "", (double)hist_published[i] / 1000);
	p->bad |= buf_puts(p->b, "]}");
}

bool otlp_takes_metrics(const struct otlp *o)
{
	return o->env.signal[OTLP_METRICS].url && !o->transfer[OTLP_METRICS].running;
}

int64_t otlp_interval_ms(const struct otlp *o) { return o->env.interval_ms; }

void otlp_send_metrics(struct otlp *o, const struct metrics_input *in)
{
	struct transfer *t = &o->transfer[OTLP_METRICS];
	struct points p = { .o = o, .b = &t->body, .now_ns = real_ns() };
	const struct metrics_sink k = { &p, points_begin, points_value, points_histogram };

	if (loop_now() < o->not_before) { /* the numbers add up: the next export has them too */
		o->exports_lost++;
		return;
	}
	buf_reset(&t->body);
	p.bad = begin_body(o, &t->body, "resourceMetrics", "scopeMetrics", "metrics");
	metrics_walk(in, &k);
	close_metric(&p);
	p.bad |= buf_puts(&t->body, "]}]}]}");
	if (p.bad)
		failed(o, OTLP_METRICS, "out of memory", loop_now());
	else
		start(o, OTLP_METRICS);
}

/* ---- the end ------------------------------------------------------------------------------------------------------- */

static bool is_running(const struct otlp *o)
{
	return o->transfer[OTLP_TRACES].running || o->transfer[OTLP_METRICS].running;
}

void otlp_finish(struct otlp *o, int64_t limit_ms)
{
	int64_t end = loop_now() + limit_ms, now, t;
	struct loop_event ev[16];
	struct http_event fact;

	if (!o->http || loop_now() < o->not_before)
		return; /* it did not work lately: it would not now */
	if (!o->transfer[OTLP_TRACES].running)
		send_spans(o);
	while (is_running(o) && (now = loop_now()) < end) {
		t = http_deadline(o->http);
		int n = loop_wait(o->loop, t && t < end ? t : end, ev, 16);
		for (int i = 0; i < n; i++)
			http_on_event(o->http, &ev[i]);
		now = loop_now();
		t = http_deadline(o->http);
		if (t && now >= t)
			http_on_time(o->http, now);
		while (http_next(o->http, &fact))
			if ((fact.token & (uint64_t)0xff << 56) == o->c.token_base)
				otlp_on_http(o, &fact, now);
		if (!o->transfer[OTLP_TRACES].running && o->queued)
			send_spans(o);
		if (loop_next_signal(o->loop))
			return; /* the second one: now */
	}
}

uint64_t otlp_spans_lost(const struct otlp *o) { return o->spans_lost; }
uint64_t otlp_exports_lost(const struct otlp *o) { return o->exports_lost; }
