/* The doctor's second half: which transports and eras answer, and whether the
 * best of them carries a session, a ping and a stream, as a bridge would use
 * them. Only what changes nothing at the server is asked: initialize, ping,
 * server/discover. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "report/doctor_i.h"
#include "report/text.h"

#define REDIRECTS 5
#define PINGS 5
#define HELD_BACK_US 1000000  /* an answer this long after its response's head was held back */
#define ENDPOINT_MS 5000
#define INTERRUPTED_MS 1000   /* for the end of the session after a signal */

#define CLIENT "\"clientInfo\":{\"name\":\"mcp-holdfast\",\"version\":\"" VERSION "\"}"
static const char initialize_body[] = "{\"jsonrpc\":\"2.0\",\"id\":\"doctor-1\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\","
	"\"capabilities\":{}," CLIENT "}}";
static const char initialize_old_body[] = "{\"jsonrpc\":\"2.0\",\"id\":\"doctor-1\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2024-11-05\","
	"\"capabilities\":{}," CLIENT "}}";
static const char initialized_body[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
static const char ping_body[] = "{\"jsonrpc\":\"2.0\",\"id\":\"doctor-2\",\"method\":\"ping\"}";
static const char discover_body[] = "{\"jsonrpc\":\"2.0\",\"id\":\"doctor-0\",\"method\":\"server/discover\",\"params\":{\"_meta\":{"
	"\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"mcp-holdfast\",\"version\":\"" VERSION "\"},"
	"\"io.modelcontextprotocol/clientCapabilities\":{}}}}";
#define ID_DISCOVER "\"doctor-0\""
#define ID_INITIALIZE "\"doctor-1\""
#define ID_PING "\"doctor-2\""
#define MODERN_LINES "MCP-Protocol-Version: 2026-07-28\nMcp-Method: server/discover\n"
#define BODY(literal) span_make(literal, sizeof(literal) - 1)

static int64_t took(const struct call *x)
{
	int64_t end = x->answer_us ? x->answer_us : x->done_us ? x->done_us : loop_now_us();

	return end - x->started_us;
}

/* ---- one POST, with redirects as a bridge follows them -------------------------------------------------- */

/* True when the answer sends us on within the origin; d->url is the new one then. */
static bool redirected(struct doctor *d, const struct call *x)
{
	struct url to, from;
	struct err e;
	bool on = false;

	if ((x->status != 307 && x->status != 308) || !x->location[0])
		return false;
	memset(&to, 0, sizeof(to));
	memset(&from, 0, sizeof(from));
	if (url_parse(&from, d->url, &e) == 0 && url_resolve(&to, &from, span_str(x->location), &e) == 0 && url_same_origin(&from, &to)) {
		char *copy = strdup(to.text);
		redact_add_path(d->c->redactor, span_str(to.path));
		doctor_say(d, "redirect", STEP_WARN, took(x), DOCTOR_WELL, "HTTP %d to %s", x->status, to.path);
		doctor_hint(d, NULL, "give that address to the bridge; it saves a round trip for each request");
		if (copy) {
			free(d->url);
			d->url = copy;
			on = true;
		}
	}
	url_fini(&to);
	url_fini(&from);
	return on;
}

/* Posts and waits for the answer or the end. -1 when it could not be sent. */
static int post(struct doctor *d, struct call *x, const char *url, const char *id, struct span lines, struct span body, bool (*until)(const struct call *))
{
	struct err e;

	for (int n = 0; n <= REDIRECTS; n++) {
		call_init(x);
		x->id = id;
		if (call_start(d, x, HTTP_POST, url ? url : d->url, lines, body, 0, &e) != 0) {
			doctor_say(d, "POST", STEP_FAIL, -1, DOCTOR_BROKEN, "%s", e.text);
			return -1;
		}
		if (!call_wait(d, x, until, STEP_MS))
			call_wait(d, x, call_is_done, 0);
		if (url || !redirected(d, x))
			return 0;
		if (n < REDIRECTS)
			call_fini(d, x);
	}
	doctor_say(d, "redirect", STEP_FAIL, -1, DOCTOR_HTTP, "HTTP %d again and again", x->status);
	doctor_hint(d, "the server sends us in a circle", "tell its operator; a path with or without a slash at its end may do");
	return -1;
}

/* ---- what a refusal means ----------------------------------------------------------------------------------- */

static void explain_status(struct doctor *d, int status)
{
	static const struct { int from, to; const char *cause, *try_this; } table[] = {
		{ 301, 303, "the server sends us to another address in a way that loses the request", "give the address it names (https instead of http?)" },
		{ 307, 308, "the server sends us to another origin, where your headers must not go", "give that address to the bridge, if you trust it" },
		{ 400, 400, "the server did not understand the request", "is this the address of an MCP server? Some want a path such as /mcp" },
		{ 404, 404, "nothing is at this path", "check the path: /mcp and /sse are usual" },
		{ 405, 405, "this path takes no POST", "check the path: /mcp is usual; /sse for servers of 2024-11-05" },
		{ 406, 406, "the server does not like our Accept header", "its developer should know" },
		{ 408, 408, "the server waited too long for the request", "is the network very slow?" },
		{ 421, 421, "the server does not serve this host name", "use the host name that the server knows" },
		{ 429, 429, "too many requests", "wait a while; --rate-limit keeps below a limit" },
		{ 502, 504, "a gateway answered instead of the server, which is down or busy", "try again later; tell its operator" },
		{ 500, 599, "the server failed", "tell its operator the time of this attempt" },
		{ 200, 299, "what answers is no MCP server: a web page, or a sign-in page of the network", "check the path; open the address in a browser" },
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++) {
		if (status >= table[i].from && status <= table[i].to) {
			doctor_hint(d, table[i].cause, table[i].try_this);
			return;
		}
	}
}

/* Half a sentence on how the exchange went. */
static void outcome_text(const struct call *x, char *out, size_t n)
{
	char type[48];

	snprintf(type, sizeof(type), "%.*s", (int)strcspn(x->type, "; "), x->type);
	if (x->done && x->result.outcome != HTTP_OK)
		snprintf(out, n, "%s", x->result.detail);
	else if (!x->status)
		snprintf(out, n, "no answer within %d s", STEP_MS / 1000);
	else if (x->id && !x->answer.len && !x->done)
		snprintf(out, n, "HTTP %d, then nothing for %d s", x->status, STEP_MS / 1000);
	else
		snprintf(out, n, "HTTP %d%s%s", x->status, type[0] ? ", " : "", type);
}

static bool is_result(const struct call *x, struct span *result)
{
	struct rpc_msg m;

	if (!x->answer.len)
		return false;
	rpc_parse(buf_data(&x->answer), x->answer.len, &m);
	*result = m.result;
	return m.kind == RPC_RESULT;
}

/* A string member as text, cut. */
static void member_text(struct span object, const char *key, char *out, size_t n)
{
	struct span v = json_get(object, key);
	struct buf text;

	buf_init(&text, 64 * 1024);
	out[0] = '\0';
	if (json_type(v) == '"' && json_string(v, &text) == 0)
		snprintf(out, n, "%.*s", (int)(text.len < n ? text.len : n - 1), buf_span(&text).p);
	buf_fini(&text);
}

/* ---- transports ----------------------------------------------------------------------------------------------- */

static bool is_lost(const struct call *x)
{
	return (x->done && x->result.outcome != HTTP_OK) || !x->status;
}

/* The first POST tells whether there is any use in going on. */
static bool first_post(struct doctor *d, const struct call *x)
{
	char text[256];

	outcome_text(x, text, sizeof(text));
	if (is_lost(x)) {
		doctor_say(d, "POST", STEP_FAIL, took(x), DOCTOR_HTTP, "%s", text);
		doctor_hint(d, x->status ? "the connection broke in the middle of the answer" : "the server takes the connection, and then answers nothing",
			"is something else listening on this port? Is a firewall inspecting the traffic?");
		return false;
	}
	doctor_say(d, "POST", x->status >= 500 ? STEP_WARN : STEP_OK, (x->head_us ? x->head_us : x->done_us) - x->started_us, DOCTOR_HTTP, "%s over HTTP/%d.%d", text,
		x->version / 10, x->version % 10);
	return true;
}

/* 401, or 403 for a scope: to the sign-in's own steps. False: no use in going on. */
static bool authorized(struct doctor *d, struct call *x)
{
	if (x->status != 401 && x->status != 403)
		return true;
	d->c->authorization(d->c->arg, d, x->status, buf_span(&x->authenticate));
	return false;
}

/* *told: the first POST has its step. Old servers drop or forget a method that
 * they do not know; the next one tells then. */
static bool try_modern(struct doctor *d, bool *told)
{
	struct call x;
	struct span result;
	char name[64], text[256];
	bool on = false, sent = post(d, &x, NULL, ID_DISCOVER, SPAN_LIT(MODERN_LINES), BODY(discover_body), call_has_answer) == 0;

	if (sent && is_lost(&x)) {
		on = true;
		outcome_text(&x, text, sizeof(text));
		doctor_say(d, "2026-07-28", STEP_NONE, took(&x), DOCTOR_WELL, "not spoken (server/discover: %s)", text);
	} else if (sent && (*told = first_post(d, &x)) && authorized(d, &x)) {
		on = true;
		if (is_result(&x, &result) && json_type(json_get(result, "supportedVersions")) == '[') {
			member_text(json_path(result, "_meta", "io.modelcontextprotocol/serverInfo", NULL), "name", name, sizeof(name));
			d->offered[WAY_MODERN] = true;
			doctor_say(d, "2026-07-28", STEP_OK, took(&x), DOCTOR_WELL, "server/discover is answered%s%s", name[0] ? " by " : "", name);
		} else {
			doctor_say(d, "2026-07-28", STEP_NONE, took(&x), DOCTOR_WELL, "not spoken (server/discover: HTTP %d)", x.status);
		}
	}
	call_fini(d, &x);
	return on;
}

/* The headers that each request of the session carries. */
static void keep_session(struct doctor *d, const struct call *x, struct span result)
{
	char version[16];

	buf_wipe(&d->session_lines);
	member_text(result, "protocolVersion", version, sizeof(version));
	if (x->session_id.len) {
		redact_add(d->c->redactor, buf_span(&x->session_id));
		buf_puts(&d->session_lines, "Mcp-Session-Id: ");
		buf_add(&d->session_lines, buf_span(&x->session_id));
		buf_puts(&d->session_lines, "\n");
	}
	if (version[0] && !strpbrk(version, "\r\n") && strcmp(version, "2025-03-26") > 0)
		buf_printf(&d->session_lines, "MCP-Protocol-Version: %s\n", version);
}

static void say_initialized(struct doctor *d, const char *step, const struct call *x, struct span result)
{
	char version[16], name[64], number[32];

	member_text(result, "protocolVersion", version, sizeof(version));
	member_text(json_get(result, "serverInfo"), "name", name, sizeof(name));
	member_text(json_get(result, "serverInfo"), "version", number, sizeof(number));
	doctor_say(d, step, STEP_OK, took(x), DOCTOR_WELL, "initialize is answered: protocol %s, server %s %s%s", version, name[0] ? name : "without a name", number,
		x->sse ? ", as a stream" : "");
}

static bool try_http(struct doctor *d, bool first)
{
	struct call x;
	struct span result;
	struct rpc_msg m;
	char text[256];
	bool on = false;

	if (post(d, &x, NULL, ID_INITIALIZE, SPAN_NONE, BODY(initialize_body), call_has_answer) != 0)
		goto out;
	if ((first && !first_post(d, &x)) || !authorized(d, &x))
		goto out;
	on = true;
	if (is_result(&x, &result)) {
		d->offered[WAY_HTTP] = true;
		say_initialized(d, "HTTP", &x, result);
		if (x.sse && x.head_us && x.answer_us - x.head_us > HELD_BACK_US) {
			char late[TEXT_SHORT];
			text_duration(late, (x.answer_us - x.head_us) / 1000);
			doctor_say(d, "buffering", STEP_WARN, x.answer_us - x.head_us, DOCTOR_STREAM, "the answer came %s after the beginning of its stream", late);
			doctor_hint(d, "a slow start of the server, or something in between that holds streams back", NULL);
		}
		keep_session(d, &x, result);
	} else {
		if (doctor_interrupted(d)) /* an answer was begun: there may be a session already */
			keep_session(d, &x, SPAN_NONE);
		d->post_status = x.status;
		d->refused = x.answer.len != 0;
		d->stalled = x.status / 100 == 2 && !x.answer.len && !x.done;
		if (d->refused) {
			rpc_parse(buf_data(&x.answer), x.answer.len, &m);
			member_text(m.error, "message", text, sizeof(text));
			doctor_say(d, "HTTP", STEP_NONE, took(&x), DOCTOR_WELL, "initialize is refused: %s", text[0] ? text : "an error without a message");
		} else {
			outcome_text(&x, text, sizeof(text));
			doctor_say(d, "HTTP", STEP_NONE, took(&x), DOCTOR_WELL, "initialize by POST is not answered (%s)", text);
		}
		if (!d->stalled && !d->refused && !d->offered[WAY_MODERN] && !d->c->sse_allowed)
			explain_status(d, x.status);
	}
out:
	call_fini(d, &x);
	return on;
}

/* The stream of 2024-11-05 stays open when it is the only way. */
static void try_sse(struct doctor *d)
{
	bool only = !d->offered[WAY_MODERN] && !d->offered[WAY_HTTP];
	enum doctor_verdict bad = only && !d->stalled && !d->refused ? STEP_FAIL : STEP_NONE;
	struct call *x = &d->stream;
	char text[256];
	struct err e;

	if (call_start(d, x, HTTP_GET, d->url, SPAN_NONE, SPAN_NONE, 0, &e) != 0)
		return;
	call_wait(d, x, call_has_head, STEP_MS);
	if (x->sse && call_wait(d, x, call_has_endpoint, ENDPOINT_MS)) {
		int64_t us = loop_now_us() - x->started_us;
		d->offered[WAY_SSE] = true;
		doctor_say(d, "HTTP+SSE", STEP_OK, us, DOCTOR_WELL, "2024-11-05: the stream names its endpoint");
		if (only)
			return;
	} else if (x->sse && only) {
		doctor_say(d, "HTTP+SSE", STEP_FAIL, loop_now_us() - x->started_us, DOCTOR_STREAM, "the stream opened, but its first event did not come within %d s",
			ENDPOINT_MS / 1000);
		doctor_hint(d, "something in between buffers the stream (a proxy, a CDN, a virus scanner)", "turn its buffering off for this path (nginx: proxy_buffering off)");
	} else if (only && !x->status && !x->done) {
		doctor_say(d, "HTTP+SSE", STEP_FAIL, loop_now_us() - x->started_us, DOCTOR_STREAM, "no answer to GET within %d s", STEP_MS / 1000);
		doctor_hint(d, "something in between holds the stream back until it ends", "turn its buffering off for this path (nginx: proxy_buffering off)");
	} else if (!only || authorized(d, x)) {
		outcome_text(x, text, sizeof(text));
		doctor_say(d, "HTTP+SSE", bad, took(x), DOCTOR_HTTP, "2024-11-05 is not offered (%s)", text);
		if (bad == STEP_FAIL && !d->post_status && x->status == 405)
			doctor_hint(d, "this path has no stream of 2024-11-05", "does the server speak Streamable HTTP? --transport auto finds out");
		else if (bad == STEP_FAIL) /* a GET that is refused says nothing where a POST was answered */
			explain_status(d, d->post_status && x->status / 100 == 4 ? d->post_status : x->status);
	}
	call_fini(d, x);
}

/* ---- the session ----------------------------------------------------------------------------------------------- */

/* Where a request of the session goes. */
static char *session_url(struct doctor *d)
{
	struct url base, to;
	struct err e;
	char *text = NULL;

	if (d->way != WAY_SSE)
		return strdup(d->url);
	memset(&base, 0, sizeof(base));
	memset(&to, 0, sizeof(to));
	if (url_parse(&base, d->url, &e) == 0 && url_resolve(&to, &base, buf_span(&d->stream.endpoint), &e) == 0 && url_same_origin(&base, &to))
		text = strdup(to.text);
	url_fini(&base);
	url_fini(&to);
	return text;
}

/* A request whose answer comes on the POST's response, or on the stream of
 * 2024-11-05. Microseconds, or -1. */
static int64_t ask(struct doctor *d, const char *url, const char *id, struct span body, struct call *x)
{
	struct call *where = d->way == WAY_SSE ? &d->stream : x;
	int64_t t0 = loop_now_us();

	where->id = id;
	buf_reset(&d->stream.answer);
	if (post(d, x, url, id, buf_span(&d->session_lines), body, d->way == WAY_SSE ? call_is_done : call_has_answer) != 0)
		return -1;
	if (d->way == WAY_SSE) {
		where->id = id;
		if (x->status < 200 || x->status > 299 || !call_wait(d, where, call_has_answer, STEP_MS))
			return -1;
		return where->answer_us - t0;
	}
	return x->answer.len ? x->answer_us - t0 : -1;
}

static bool start_session(struct doctor *d, const char *url)
{
	struct call x;
	struct span result;
	char text[256];
	bool good;

	if (d->way == WAY_SSE) {
		good = ask(d, url, ID_INITIALIZE, BODY(initialize_old_body), &x) >= 0 && is_result(&d->stream, &result);
		if (good)
			say_initialized(d, "session", &d->stream, result);
		if (!good && authorized(d, &x)) {
			outcome_text(&x, text, sizeof(text));
			doctor_say(d, "session", STEP_FAIL, -1, DOCTOR_SESSION, "initialize is not answered on the stream (%s)", text);
			doctor_hint(d, "the POST goes to another instance than the stream, or something holds the stream back", "load balancers must keep a client on one instance");
		}
		call_fini(d, &x);
		if (!good)
			return false;
	}
	post(d, &x, url, NULL, buf_span(&d->session_lines), BODY(initialized_body), call_is_done);
	good = x.done && x.result.outcome == HTTP_OK && x.status >= 200 && x.status <= 299;
	outcome_text(&x, text, sizeof(text));
	if (!good && authorized(d, &x)) {
		doctor_say(d, "session", STEP_FAIL, took(&x), DOCTOR_SESSION, "notifications/initialized is refused (%s)", text);
		doctor_hint(d, "the session that was just made is not known: several instances behind a load balancer do not share sessions",
			"tell its operator to keep a client on one instance, or to share sessions");
	} else if (good && d->way == WAY_HTTP) {
		doctor_say(d, "session", STEP_OK, took(&x), DOCTOR_WELL, memmem(buf_span(&d->session_lines).p, d->session_lines.len, "Mcp-Session-Id", 14) ?
			"made, with an id" : "the server gives no session id");
	}
	call_fini(d, &x);
	return good;
}

static void open_stream(struct doctor *d, const char *url)
{
	struct call *x = &d->stream;
	char text[256];
	struct err e;

	if (call_start(d, x, HTTP_GET, url, buf_span(&d->session_lines), SPAN_NONE, 0, &e) != 0)
		return;
	call_wait(d, x, call_has_head, STEP_MS / 2);
	outcome_text(x, text, sizeof(text));
	if (x->sse) {
		doctor_say(d, "stream", STEP_OK, x->head_us - x->started_us, DOCTOR_WELL, "a standing stream is open");
		return;
	}
	if (!x->status && !x->done) {
		doctor_say(d, "stream", STEP_FAIL, loop_now_us() - x->started_us, DOCTOR_STREAM, "GET is taken, but no stream begins within %d s", STEP_MS / 2000);
		doctor_hint(d, "something in between holds the stream back until it ends (a proxy, a CDN, a virus scanner)",
			"turn its buffering off for this path (nginx: proxy_buffering off)");
	} else if (x->status == 405 || x->status == 404 || x->status == 400 || x->status == 501) {
		doctor_say(d, "stream", STEP_NONE, took(x), DOCTOR_WELL, "the server offers no standing stream (%s)", text);
	} else {
		doctor_say(d, "stream", STEP_WARN, took(x), DOCTOR_STREAM, "no standing stream (%s)", text);
		doctor_hint(d, "messages that the server sends by itself will not arrive", NULL);
	}
	call_fini(d, x);
}

static int by_size(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

/* The round trip, and whether streams are held back on the way. */
static void ping(struct doctor *d, const char *url)
{
	int64_t us[PINGS], held = 0;
	bool streamed = d->way == WAY_SSE;
	struct call x;
	char text[256];

	for (int i = 0; i < PINGS; i++) {
		if (d->way == WAY_MODERN)
			us[i] = post(d, &x, url, ID_DISCOVER, SPAN_LIT(MODERN_LINES), BODY(discover_body), call_has_answer) == 0 && x.answer.len ? took(&x) : -1;
		else
			us[i] = ask(d, url, ID_PING, BODY(ping_body), &x);
		outcome_text(&x, text, sizeof(text));
		if (us[i] >= 0 && d->way == WAY_SSE && d->stream.answer_us - x.done_us > held)
			held = d->stream.answer_us - x.done_us;
		else if (us[i] >= 0 && x.sse && x.answer_us - x.head_us > held)
			held = x.answer_us - x.head_us;
		streamed |= x.sse;
		bool lost = us[i] < 0 && authorized(d, &x);
		call_fini(d, &x);
		if (lost) {
			doctor_say(d, "ping", STEP_FAIL, -1, DOCTOR_SESSION, "ping %d of %d is not answered (%s)", i + 1, PINGS, text);
			doctor_hint(d, d->way == WAY_SSE ? "the answer does not come on the stream: it is held back, or belongs to another instance" :
				"the session is not stable: it is lost between requests, or another instance answers",
				"load balancers must keep a client on one instance; proxies must not buffer streams");
		}
		if (us[i] < 0)
			return;
	}
	qsort(us, PINGS, sizeof(*us), by_size);
	doctor_say(d, "ping", STEP_OK, us[PINGS / 2], DOCTOR_WELL, "%d of %d answered; fastest %.1f ms, slowest %.1f ms", PINGS, PINGS, (double)us[0] / 1000,
		(double)us[PINGS - 1] / 1000);
	if (held > HELD_BACK_US) {
		doctor_say(d, "buffering", STEP_FAIL, held, DOCTOR_STREAM, "answers come %.1f s later than their stream could bring them", (double)held / 1000000);
		doctor_hint(d, "something in between collects the stream before it passes it on", "turn its buffering off for this path (nginx: proxy_buffering off)");
	} else if (streamed || d->stream.bytes) {
		doctor_say(d, "buffering", STEP_OK, held, DOCTOR_WELL, "none: streams are passed on at once");
	} else {
		doctor_say(d, "buffering", STEP_NONE, -1, DOCTOR_WELL, "the server answered without streams: nothing to judge by");
	}
}

static void wait_idle(struct doctor *d)
{
	struct call *x = &d->stream;
	int64_t t0 = loop_now_us(), us;
	char after[TEXT_SHORT];

	if (!d->c->wait_ms)
		return;
	if (!x->token || x->done) {
		doctor_say(d, "idle", STEP_NONE, -1, DOCTOR_WELL, "there is no standing stream that could be cut");
		return;
	}
	call_wait(d, x, call_is_done, d->c->wait_ms);
	us = loop_now_us() - t0;
	text_duration(after, us / 1000);
	if (!x->done) {
		doctor_say(d, "idle", STEP_OK, us, DOCTOR_WELL, "the stream stood for %s%s", after, x->bytes ? "; bytes came" : " without a byte");
		return;
	}
	doctor_say(d, "idle", STEP_WARN, us, DOCTOR_STREAM, "the idle stream was cut after %s (%s)", after, x->result.outcome == HTTP_OK ? "its end" : x->result.detail);
	doctor_hint(d, "something in between closes quiet connections", "nothing: a bridge notices, reconnects, and pings sooner from then on; --keepalive does so from the start");
}

static void end_session(struct doctor *d)
{
	struct call x;
	struct err e;

	d->ending = true;
	call_stop(d, &d->stream);
	if (!memmem(buf_span(&d->session_lines).p, d->session_lines.len, "Mcp-Session-Id", 14))
		return;
	call_init(&x);
	if (call_start(d, &x, HTTP_DELETE, d->url, buf_span(&d->session_lines), SPAN_NONE, 0, &e) == 0) {
		call_wait(d, &x, call_is_done, d->signal ? INTERRUPTED_MS : STEP_MS / 2);
		if (x.status >= 200 && x.status < 300)
			doctor_say(d, "end", STEP_OK, took(&x), DOCTOR_WELL, "the session is closed");
		else if (!x.status)
			doctor_say(d, "end", STEP_NONE, took(&x), DOCTOR_WELL, "DELETE is not answered; the server closes the session when it likes");
		else
			doctor_say(d, "end", STEP_NONE, took(&x), DOCTOR_WELL, "the server closes its sessions itself (HTTP %d)", x.status);
	}
	call_fini(d, &x);
}

static bool find_ways(struct doctor *d)
{
	bool told = false;

	if (d->c->modern_allowed && d->c->http_allowed && !try_modern(d, &told))
		return false;
	if (d->c->http_allowed && !try_http(d, !told))
		return false;
	if (d->c->sse_allowed)
		try_sse(d);
	for (enum way w = WAY_MODERN; w <= WAY_SSE && d->way == WAY_NONE; w++)
		if (d->offered[w])
			d->way = w;
	if (d->way == WAY_NONE && !d->exit && d->stalled) {
		doctor_say(d, "server", STEP_FAIL, -1, DOCTOR_STREAM, "the answer to initialize begins, and does not come");
		doctor_hint(d, "something in between holds it back until it ends, or the server hangs", "turn buffering off for this path (nginx: proxy_buffering off); see the server's log");
	} else if (d->way == WAY_NONE && !d->exit && d->refused) {
		doctor_say(d, "server", STEP_FAIL, -1, DOCTOR_HTTP, "an MCP server answers, and refuses us");
		doctor_hint(d, "it speaks none of the protocol versions of this bridge, or it is not ready", "its reason stands above; its log may say more");
	} else if (d->way == WAY_NONE && !d->exit) {
		doctor_say(d, "server", STEP_FAIL, -1, DOCTOR_HTTP, "no MCP server answers at this address");
	}
	return d->way != WAY_NONE;
}

void doctor_mcp(struct doctor *d)
{
	char *url;

	if (!find_ways(d)) {
		end_session(d);
		return;
	}
	d->c->authorization(d->c->arg, d, 0, SPAN_NONE);
	url = session_url(d);
	if (!url) {
		doctor_say(d, "session", STEP_FAIL, -1, DOCTOR_SESSION, "the stream names an endpoint of another origin");
		doctor_hint(d, "a proxy that does not tell the server its public address", "the server must name its endpoint by a path, or by its public address");
		return;
	}
	if (d->way == WAY_MODERN) {
		ping(d, url);
		wait_idle(d);
	} else if (start_session(d, url)) {
		if (d->way == WAY_HTTP)
			open_stream(d, url);
		ping(d, url);
		wait_idle(d);
	}
	end_session(d);
	free(url);
}
