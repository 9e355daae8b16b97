/* What HTTP exchanges bring: heads, bodies and ends, matched to the ledger.
 * Here stands the ledger rule: an attempt that ended without an answer is
 * resumed, sent again where that is provably harmless, or answered with an
 * honest error. Messages of the server are passed on as the bytes they are. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/url.h"
#include "core/session_i.h"
#include "wire/trace.h"

#define MAX_REDIRECTS 5
#define VERDICT_BODY ((size_t)1 << 20) /* of an error body that is kept for judging */
#define LINGER_MS 2000                 /* a response stream may end this long after its answer */
#define PROBE_FLOOR_MS 1000            /* no call is probed earlier */
#define TAKE_BYTES ((size_t)64 * 1024) /* from here on a block is handed over instead of copied */

/* ---- transfers -------------------------------------------------------------------------- */

struct xfer *xfer_find(struct session *s, uint64_t token)
{
	size_t i = (size_t)(token & 0xffffffff);

	return i && i <= s->nxfers && s->xfers[i - 1] && s->xfers[i - 1]->token == token ? s->xfers[i - 1] : NULL;
}

static struct xfer *xfer_new(struct session *s)
{
	size_t i;
	struct xfer *x = s->free_xfers;

	if (x) {
		s->free_xfers = x->next;
		i = (size_t)(x->token & 0xffffffff) - 1;
	} else {
		i = s->nxfers;
		if ((i & (i + 1)) == 0) { /* 0, 1, 3, 7...: the arrays are full */
			size_t cap = 2 * (i + 1);
			struct xfer **xs = realloc(s->xfers, cap * sizeof(struct xfer *));
			if (!xs)
				return NULL;
			s->xfers = xs;
			uint32_t *gen = realloc(s->xgen, cap * sizeof(uint32_t));
			if (!gen)
				return NULL;
			s->xgen = gen;
			memset(gen + i, 0, (cap - i) * sizeof(uint32_t));
		}
		x = calloc(1, sizeof(*x));
		if (!x)
			return NULL;
		s->nxfers++;
	}
	s->xgen[i] = (s->xgen[i] + 1) & 0x3fffffff;
	memset(x, 0, sizeof(*x));
	x->token = ((uint64_t)s->xgen[i] << 32) | (i + 1);
	s->xfers[i] = x;
	buf_init(&x->body, VERDICT_BODY);
	buf_init(&x->location, 8192);
	buf_init(&x->url, 16384);
	buf_init(&x->lines, (size_t)1 << 20);
	buf_init(&x->challenge_text, 4096);
	buf_init(&x->rest, SIZE_MAX);
	x->retry_after_ms = -1;
	x->started = s->now;
	x->epoch = s->epoch;
	return x;
}

void xfer_free(struct session *s, struct xfer *x)
{
	size_t i = (size_t)(x->token & 0xffffffff) - 1;

	if (s->cur == x) {
		s->cur = NULL;
		if (x->sse) /* an action may still point into the event */
			buf_move(&s->grave, &x->parser.data);
	}
	if (x->linger_until)
		s->lingering--;
	if (x->rq && x->rq->xfer == x->token)
		x->rq->xfer = 0;
	if (x->sse)
		sse_fini(&x->parser);
	buf_fini(&x->body);
	buf_fini(&x->location);
	buf_fini(&x->url);
	buf_fini(&x->lines);
	buf_fini(&x->rest);
	buf_fini(&x->challenge_text);
	s->xfers[i] = NULL;
	x->next = s->free_xfers;
	s->free_xfers = x;
}

void xfer_cancel(struct session *s, uint64_t token)
{
	struct xfer *x = xfer_find(s, token);

	if (!x)
		return;
	/* Not begun yet: its body may be gone before it would be. */
	for (size_t i = s->acts_head; i < s->nacts; i++) {
		if (s->acts[i].kind == ACT_HTTP && s->acts[i].token == token) {
			s->acts[i].kind = ACT_CANCEL;
			xfer_free(s, x);
			return;
		}
	}
	struct action *a = session_act(s, ACT_CANCEL);
	if (a)
		a->token = token;
	xfer_free(s, x);
}

/* Begins a transfer; extra header lines and another URL may be put into it
 * before the action is taken. */
struct xfer *xfer_start(struct session *s, enum xfer_kind kind, enum http_method m, enum header_set hs, struct span body, int64_t timeout_ms)
{
	struct xfer *x = xfer_new(s);
	struct action *a;

	if (!x)
		return NULL;
	x->kind = kind;
	x->had_session = hs == HEADERS_SESSION && (s->sid.len || s->era == ERA_SSE);
	a = session_act(s, ACT_HTTP);
	if (!a) {
		xfer_free(s, x);
		return NULL;
	}
	a->token = x->token;
	a->method = m;
	a->headers = hs;
	a->body = body;
	a->timeout_ms = timeout_ms;
	return x;
}

void xfer_ready(struct session *s, struct xfer *x)
{
	for (size_t i = s->nacts; i-- > s->acts_head;) {
		struct action *a = &s->acts[i];
		if (a->kind != ACT_HTTP || a->token != x->token)
			continue;
		a->lines = x->lines.len ? buf_span(&x->lines) : SPAN_NONE;
		a->url = x->url.len ? buf_span(&x->url) : SPAN_NONE;
		return;
	}
}

/* ---- a request's attempts ------------------------------------------------------------------ */

static void slot_free(struct session *s, struct request *r)
{
	if (r->counted) {
		r->counted = false;
		s->in_flight--;
		s->quota_used_ms += s->now - r->sent_at;
	}
}

void request_detach(struct session *s, struct request *r)
{
	slot_free(s, r);
	if (r->xfer) {
		uint64_t t = r->xfer;
		struct xfer *x = xfer_find(s, t);
		r->xfer = 0;
		if (x)
			x->rq = NULL;
		xfer_cancel(s, t);
	}
}

static void parked_in(struct session *s, struct request *r)
{
	if (r->state == REQ_PARKED)
		return;
	r->state = REQ_PARKED;
	s->parked++;
	s->parked_bytes += r->line.len;
}

static void parked_out(struct session *s, struct request *r, enum req_state to)
{
	if (r->state == REQ_PARKED) {
		s->parked--;
		s->parked_bytes -= r->line.len;
	}
	r->state = to;
}

void request_drop(struct session *s, struct request *r)
{
	struct xfer *left = r->left ? xfer_find(s, r->left) : NULL;

	request_detach(s, r);
	if (r->state == REQ_PARKED) {
		s->parked--;
		s->parked_bytes -= r->line.len;
	}
	if (r->twin) {
		uint64_t twin = r->twin;
		struct request *q = s->ledger.head;
		while (q && q->token != twin)
			q = q->next;
		r->twin = 0;
		if (q)
			q->twin = 0;
		if (q && q->purpose == RQ_HEDGE)
			request_drop(s, q);
	}
	if (s->handshake == r)
		s->handshake = NULL;
	if (s->step_rq == r)
		s->step_rq = NULL;
	if (s->ping == r)
		s->ping = NULL;
	eras_forget_request(s, r);
	if (left)
		buf_move(&left->rest, &r->line);
	ledger_remove(&s->ledger, r);
}

void request_park(struct session *s, struct request *r, int64_t not_before)
{
	request_detach(s, r);
	parked_in(s, r);
	r->not_before = not_before;
	if (not_before)
		session_due(s, not_before);
	if (s->state != SESSION_READY && !r->hold_until) {
		s->n.held++;
		r->hold_until = s->now + s->c->hold_ms;
		session_due(s, r->hold_until);
	}
}

void request_hold_open(struct session *s, struct request *r)
{
	slot_free(s, r);
	parked_out(s, r, REQ_STREAMING);
	r->not_before = 0;
	r->hold_until = 0;
	r->patient_until = INT64_MAX;
}

void request_keep_waiting(struct session *s, struct request *r, int64_t until)
{
	r->patient_until = until;
	r->active_at = s->now;
	session_due(s, until ? until : s->now + r->timeout_ms);
}

/* Which id it carries upstream this time: the client's own at first, one of
 * ours when it is sent again or when another request carries the same. */
static void choose_id(struct session *s, struct request *r)
{
	if (r->attempts == 0 && r->id.p) {
		struct request *other = ledger_by_upstream_id(&s->ledger, r->id);
		if (!other || other == r) {
			ledger_set_upstream_id(&s->ledger, r, r->id);
			r->upid[0] = '\0';
			return;
		}
	}
	snprintf(r->upid, sizeof(r->upid), "\"hf-%s-%llu\"", s->nonce, (unsigned long long)++s->ledger.next_token);
	ledger_set_upstream_id(&s->ledger, r, span_str(r->upid));
}

static int post_lines(struct session *s, struct request *r, struct xfer *x)
{
	struct span meta = r->purpose == RQ_CLIENT ? json_get(r->params, "_meta") : SPAN_NONE;

	if (meta.p && trace_headers(meta, &x->lines) != 0)
		return -1;
	if (r->trace[0] && buf_printf(&x->lines, "traceparent: %s\n", r->trace) != 0)
		return -1;
	if (r->is_tool_call && r->purpose == RQ_CLIENT && s->c->idempotency_key) {
		struct span key = json_get(meta, "idempotencyKey");
		struct buf text;
		int bad;

		if (json_type(key) != '"')
			key = json_path(r->params, "arguments", "idempotencyKey", NULL);
		buf_init(&text, 512);
		bad = buf_puts(&x->lines, "Idempotency-Key: ");
		if (json_type(key) == '"' && json_string(key, &text) == 0 && text.len)
			bad |= mcp_header_value(&x->lines, buf_span(&text));
		else
			bad |= buf_printf(&x->lines, "hf-%s-%llu", s->nonce, (unsigned long long)r->token);
		bad |= buf_puts(&x->lines, "\n");
		buf_fini(&text);
		if (bad)
			return -1;
	}
	return eras_headers(s, r, &x->lines);
}

/* How long a call may be quiet before a ping asks. On 2024-11-05 the ping judges
 * the stream that carries every answer: it is asked early enough to know of a
 * dead one before all that waits there has timed out. */
static int64_t probe_after(const struct session *s)
{
	int64_t ms = s->c->probe_after_ms, early = s->c->request_timeout_ms / 4;

	if (!dialect_ping_judges_stream(s->era) || early >= ms)
		return ms;
	return early > PROBE_FLOOR_MS ? early : ms < PROBE_FLOOR_MS ? ms : PROBE_FLOOR_MS;
}

static int post_to(struct session *s, struct request *r, struct span url, unsigned redirects)
{
	bool handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT || r->purpose == RQ_DISCOVER;
	enum era era = s->era != ERA_NONE && !handshake ? s->era : s->trying;
	struct xfer *x;

	if (!redirects) {
		choose_id(s, r);
		if (eras_render(s, r) != 0 || inject_trace(s, r) != 0)
			return -1;
		if (r->attempts++) {
			s->n.retries++;
			s->n.retry_why[r->why]++;
		}
	}
	x = xfer_start(s, XF_REQUEST, HTTP_POST, handshake && era != ERA_SSE ? HEADERS_BASE : HEADERS_SESSION,
		r->upstream.len ? buf_span(&r->upstream) : buf_span(&r->line), 0);
	if (!x)
		return -1;
	if (!url.p && era == ERA_SSE)
		url = buf_span(&s->endpoint);
	if (post_lines(s, r, x) != 0 || (url.p && buf_add(&x->url, url) != 0)) {
		xfer_cancel(s, x->token);
		return -1;
	}
	xfer_ready(s, x);
	x->redirects = redirects;
	x->rq = r;
	r->xfer = x->token;
	parked_out(s, r, REQ_SENT);
	r->sent_at = r->active_at = s->now;
	r->not_before = 0;
	r->resumable = false;
	buf_reset(&r->last_id);
	if (r->purpose == RQ_CLIENT && !r->counted && !span_is(r->method, "ping")) {
		r->counted = true;
		s->in_flight++;
	}
	session_due(s, s->now + r->timeout_ms);
	if (r->purpose == RQ_CLIENT) {
		s->quiet_since = s->now;
		if (s->c->probe_after_ms)
			session_due(s, s->now + probe_after(s));
	}
	return 0;
}

int request_post(struct session *s, struct request *r)
{
	if (post_to(s, r, SPAN_NONE, 0) == 0)
		return 0;
	struct failure f = { .what = "Out of memory while sending the request", .kind = ERR_UPSTREAM_UNAVAILABLE, .retry_after_ms = -1 };
	if (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE)
		request_refuse(s, r, f.kind, f.what, -1);
	else
		request_failed(s, r, &f);
	return -1;
}

static void resume_post(struct session *s, struct request *r)
{
	struct xfer *x = xfer_start(s, XF_RESUME, HTTP_GET, HEADERS_SESSION, SPAN_NONE, 0);

	if (!x) {
		r->not_before = s->now + 1000;
		session_due(s, r->not_before);
		return;
	}
	if (buf_puts(&x->lines, "Last-Event-ID: ") || buf_add(&x->lines, buf_span(&r->last_id)) || buf_puts(&x->lines, "\n")) {
		xfer_cancel(s, x->token);
		r->not_before = s->now + 1000;
		session_due(s, r->not_before);
		return;
	}
	xfer_ready(s, x);
	x->rq = r;
	r->xfer = x->token;
	r->not_before = 0;
	r->state = REQ_SENT;
	r->active_at = s->now;
	s->n.resumes++;
	session_due(s, s->now + r->timeout_ms);
}

/* ---- ends without an answer -------------------------------------------------------------------- */

static int64_t request_backoff(struct session *s, struct request *r, int64_t retry_after_ms)
{
	struct backoff b;

	backoff_init(&b, s->c);
	b.attempt = r->attempts ? r->attempts - 1 : 0;
	if (b.attempt > s->streak)
		b.attempt = s->streak; /* others are answered meanwhile: the line is well */
	b.told = true; /* the steps go on where this request's attempts are */
	if (retry_after_ms >= 0)
		backoff_floor(&b, retry_after_ms, s->now);
	return backoff_next(&b, &s->rng, s->now);
}

void request_refuse(struct session *s, struct request *r, enum error_kind k, const char *what, int64_t retry_after_ms)
{
	struct own_error e = {
		.kind = k, .what = what, .may_have_run = r->maybe_ran, .retry_after_ms = retry_after_ms, .attempts = r->attempts,
		.tool = r->is_tool_call && !s->c->tool_errors_protocol, .has_run_state = r->is_tool_call,
	};
	bool handshake = r->purpose == RQ_HANDSHAKE;

	if (r->cancelled || eras_spent(r)) {
		request_drop(s, r);
		return;
	}
	if (offline_instead(s, r, k, retry_after_ms))
		return;
	if (r->purpose != RQ_CLIENT && !handshake) { /* a step of ours: whoever waits for it must hear */
		struct failure f = { .what = what, .retry_after_ms = retry_after_ms, .kind = k };
		request_detach(s, r);
		replay_on_failure(s, r, &f, false);
		return;
	}
	snprintf(e.ref, sizeof(e.ref), "%08x", (unsigned)(rng_next(&s->rng) >> 32));
	buf_reset(&s->out);
	if (answer_write(&s->out, eras_client_id(r), &e) == 0) {
		struct buf b;
		buf_init(&b, s->out.max);
		buf_move(&b, &s->out);
		session_send_owned(s, &b);
	}
	s->n.errors[k]++;
	s->n.answers++;
	if (s->note_level >= NOTE_INFO) {
		struct action *a = session_act(s, ACT_LOG);
		if (a) {
			a->level = k == ERR_SHUTTING_DOWN ? NOTE_DEBUG : NOTE_INFO;
			a->what = error_kind_name(k);
			a->attempt = (int)r->attempts;
			a->latency_ms = s->now - r->arrived;
			memcpy(a->ref, e.ref, sizeof(a->ref));
			buf_printf(&a->owned, "%.*s answered with %s: %s", (int)(r->method.n < 60 ? r->method.n : 60), r->method.p, error_kind_name(k), what);
		}
	}
	if (s->hook) {
		struct session_answer an = { .method = r->method, .tool = r->tool, .id = r->id, .params = r->params, .started_ms = r->arrived,
			.latency_us_lower = (s->now - r->arrived) * 1000, .attempts = r->attempts, .own_error = (int)k + 1, .trace = span_str(r->trace) };
		s->hook(s->hook_arg, &an);
	}
	request_drop(s, r);
	if (handshake && !s->client_initialized && s->state != SESSION_DRAIN && s->state != SESSION_END)
		session_enter(s, SESSION_START, "initialize was refused");
}

static enum error_kind exhausted_kind(const struct request *r, const struct failure *f)
{
	if (r->maybe_ran && !r->repeatable)
		return ERR_OUTCOME_UNKNOWN;
	return f->kind;
}

/* The ledger rule. */
void request_failed(struct session *s, struct request *r, const struct failure *f)
{
	bool safe, exhausted, line;
	int64_t at;

	request_detach(s, r);
	if (r->cancelled) {
		request_drop(s, r);
		return;
	}
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE) {
		replay_on_failure(s, r, f, false);
		return;
	}
	r->maybe_ran |= f->may_have_run;
	if (f->stale && !r->went_stale && (r->repeatable || !f->may_have_run)) {
		r->went_stale = true; /* an old connection: says nothing about the server */
		request_park(s, r, 0);
		if (r->purpose == RQ_HANDSHAKE && s->state == SESSION_PROBE)
			request_post(s, r);
		return;
	}
	s->streak++;
	line = f->line || s->streak >= 3 || r->purpose == RQ_HANDSHAKE;
	if (r->is_listen && s->now - r->sent_at > s->c->max_retry_ms)
		r->attempts = 1; /* it had been open for long */
	safe = !f->may_have_run || r->repeatable;
	exhausted = s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries;
	session_note(s, NOTE_DEBUG, "%.*s: %s%s", (int)(r->method.n < 60 ? r->method.n : 60), r->method.p, f->what, f->may_have_run ? " (it may have run)" : "");
	if (!line)
		session_failed_attempt(s, false);
	if (!safe) {
		request_refuse(s, r, ERR_OUTCOME_UNKNOWN, f->what, -1);
	} else if (f->retry_after_ms > (r->hold_until ? r->hold_until - s->now : s->c->hold_ms)) {
		request_refuse(s, r, ERR_RATE_LIMITED, f->what, f->retry_after_ms);
		line = false;
	} else if (exhausted && r->purpose == RQ_CLIENT && !f->line && !r->is_listen) {
		request_refuse(s, r, exhausted_kind(r, f), f->what, -1);
	} else {
		at = line && r->purpose == RQ_HANDSHAKE ? 0 : request_backoff(s, r, f->retry_after_ms);
		if (f->retry_after_ms >= 0 && !r->hold_until)
			r->hold_until = s->now + s->c->hold_ms;
		r->why = f->retry_after_ms >= 0 ? RETRY_BUSY : f->may_have_run ? RETRY_REPEATABLE : RETRY_NOT_SENT;
		request_park(s, r, f->line ? 0 : at);
	}
	if (line && (s->state == SESSION_READY || s->state == SESSION_PROBE))
		session_line_down(s, f->what, f->retry_after_ms, -1);
}

/* The response stream ended without the answer. clean: properly. */
static void stream_ended(struct session *s, struct request *r, bool clean, const char *what)
{
	if (r->cancelled) {
		request_drop(s, r);
		return;
	}
	/* The bridge's own are asked anew. */
	if (r->last_id.len && r->purpose == RQ_CLIENT && dialect_resumes(s->era)) {
		int64_t wait = r->retry_ms > 0 ? r->retry_ms : clean || r->retry_ms == 0 ? s->c->initial_retry_ms : 0;
		if (r->retry_ms < 0 && !clean) {
			wait = request_backoff(s, r, -1) - s->now;
		} else if (wait) {
			wait += (int64_t)(rng_unit(&s->rng) * 0.1 * (double)wait);
		}
		if (wait > RETRY_AFTER_MAX_MS)
			wait = RETRY_AFTER_MAX_MS;
		slot_free(s, r);
		r->xfer = 0;
		r->state = REQ_BROKEN;
		r->not_before = s->now + wait;
		session_due(s, r->not_before);
		session_note(s, NOTE_DEBUG, "response stream ended (%s); resuming in %lld ms", what, (long long)wait);
		return;
	}
	struct failure f = { .what = what, .may_have_run = true, .retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
	request_failed(s, r, &f);
}

/* ---- messages of the server ----------------------------------------------------------------------- */

static void learn_from_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int list;

	if (m->kind != RPC_RESULT)
		return;
	if (r->method.n < 10)
		return;
	list = catalog_list_of(r->method);
	if (list >= 0) {
		if (catalog_on_page(s->catalog, (enum catalog_list)list, json_get(r->params, "cursor"), m->result) != 0)
			session_note(s, NOTE_WARN, "out of memory while learning a list");
		offline_learn_page(s, list, json_get(r->params, "cursor"), m->result);
	} else if (span_is(r->method, "resources/subscribe")) {
		subs_set(s, r->params, true);
	} else if (span_is(r->method, "resources/unsubscribe")) {
		subs_set(s, r->params, false);
	} else if (span_is(r->method, "logging/setLevel")) {
		buf_reset(&s->level_params);
		buf_add(&s->level_params, r->params);
	}
}

static void tell_hook(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct session_answer an = { .method = r->method, .tool = r->tool, .id = r->id, .params = r->params, .started_ms = r->arrived,
		.latency_us_lower = (s->now - r->arrived) * 1000, .attempts = r->attempts, .trace = span_str(r->trace) };
	int64_t code = 0;
	bool is_error = false;

	if (m->kind == RPC_ERROR)
		an.rpc_error = rpc_error_code(m, &code) ? (int)code : -32603;
	else if (r->is_tool_call && json_bool(json_get(m->result, "isError"), &is_error))
		an.tool_error = is_error;
	s->hook(s->hook_arg, &an);
}

static bool retry_this_error(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int64_t code;

	if (m->kind != RPC_ERROR || !s->c->nretry_errors || !r->repeatable || !rpc_error_code(m, &code))
		return false;
	if (s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries)
		return false;
	for (size_t i = 0; i < s->c->nretry_errors; i++)
		if (s->c->retry_errors[i] == code)
			return true;
	return false;
}

/* Passes the answer on under the client's own id. */
static void pass_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span id = eras_client_id(r);

	if (span_eq(m->id, id)) {
		session_send(s, m->text);
		return;
	}
	struct json_edit e = { m->id, id };
	struct buf b;
	buf_init(&b, m->text.n + id.n + 16);
	if (json_splice(&b, m->text, &e, 1) == 0)
		session_send_owned(s, &b);
	else
		buf_fini(&b);
}

/* The answer has come: the transfer that brought it ends by itself. */
void exchange_release(struct session *s, struct request *r)
{
	struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;

	slot_free(s, r);
	if (!x || (!x->sse && !x->json))
		return;
	if (x->sse) {
		x->linger_until = s->now + LINGER_MS;
		s->lingering++;
		session_due(s, x->linger_until);
		/* A server may answer before it has read all: the body stays as long as the transfer. */
		if (r->upstream.len && x->kind == XF_REQUEST)
			buf_move(&x->rest, &r->upstream);
		else if (x->kind == XF_REQUEST)
			r->left = x->token;
	}
	x->answered = true;
	x->rq = NULL;
	r->xfer = 0;
}

/* tools/list without the tools that the user does not want to be seen. True
 * when there were some, and the answer was dealt with. */
static bool hide_tools(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct json_edit e = { m->result, SPAN_NONE };
	struct xfer *cur = s->cur;
	struct rpc_msg less;
	struct buf result, text;
	int n;

	buf_init(&result, m->result.n + 16);
	buf_init(&text, m->text.n + 16);
	n = catalog_hide_tools(s->c, m->result, &result);
	e.new_bytes = buf_span(&result);
	if (n > 0 && json_splice(&text, m->text, &e, 1) == 0) {
		rpc_parse(buf_data(&text), text.len, &less);
		s->cur = NULL; /* these bytes do not outlive the call: what is sent is copied */
		exchange_answer(s, r, &less, NULL);
		s->cur = cur;
	}
	buf_fini(&result);
	buf_fini(&text);
	return n > 0;
}

void exchange_answer(struct session *s, struct request *r, const struct rpc_msg *m, struct buf *owned)
{
	if (s->c->nignore_tools && r->purpose == RQ_CLIENT && m->kind == RPC_RESULT && span_is(r->method, "tools/list") && hide_tools(s, r, m))
		return;
	if (retry_this_error(s, r, m)) {
		r->why = RETRY_ERROR;
		request_park(s, r, request_backoff(s, r, -1));
		return;
	}
	if (r->purpose == RQ_CLIENT) {
		session_succeeded(s);
		if (r->state == REQ_PARKED) /* a late answer to its last attempt */
			parked_out(s, r, REQ_SENT);
		s->quota_used_ms += s->now - r->sent_at;
		uint64_t seq = r->seq;
		if (!eras_answer(s, r, m, owned)) {
			learn_from_answer(s, r, m);
			if (!r->cancelled)
				pass_answer(s, r, m);
		} else {
			for (r = s->ledger.tail; r && r->seq > seq; r = r->prev)
				;
			if (!r || r->seq != seq || r->state == REQ_PARKED || r->patient_until)
				return; /* answered otherwise, or another round */
		}
		if (m->kind == RPC_ERROR)
			s->n.errors_upstream++;
		s->n.answers++;
		if (s->hook)
			tell_hook(s, r, m);
	}
	exchange_release(s, r);
	if (r->purpose == RQ_HANDSHAKE && s->hook)
		tell_hook(s, r, m);
	if (r->purpose == RQ_HANDSHAKE)
		handshake_done(s, r, m);
	else if (r->purpose != RQ_CLIENT)
		replay_on_answer(s, r, m);
	else
		request_drop(s, r);
}

static void deliver_notification(struct session *s, struct request *r, const struct rpc_msg *m)
{
	s->n.notifications_in++;
	if (span_is(m->method, "notifications/progress") && !r) {
		struct span token = json_get(m->params, "progressToken");
		for (struct request *q = s->ledger.head; q && token.p; q = q->next)
			if (q->progress.p && ledger_same_id(&s->ledger, q->progress, token)) {
				q->active_at = s->now;
				break;
			}
	} else if (m->method.n > 27 && span_eq(span_make(m->method.p + m->method.n - 13, 13), SPAN_LIT("/list_changed"))) {
		for (int l = 0; l < LIST_COUNT; l++)
			if (span_is(m->method, catalog_list_changed((enum catalog_list)l)))
				catalog_on_list_changed(s->catalog, (enum catalog_list)l);
		session_send(s, m->text);
		if (span_is(m->method, catalog_list_changed(LIST_TOOLS)))
			replay_on_list_changed(s);
		return;
	}
	session_send(s, m->text);
}

static void deliver_server_request(struct session *s, const struct rpc_msg *m)
{
	if (!srvreq_add(s, m->id)) {
		session_note(s, NOTE_DEBUG, "dropped a server request that was delivered before");
		return;
	}
	s->n.server_requests++;
	session_send(s, m->text);
}

/* Which request does this answer belong to? Its id says; a large number id may
 * come back as the nearest double. */
static struct request *find_answered(struct session *s, struct request *r, struct span id)
{
	struct request *q;

	if (r && span_eq(r->uid, id))
		return r;
	q = ledger_by_upstream_id(&s->ledger, id);
	if (!q && r && rpc_id_same_double(r->uid, id))
		q = r;
	return q;
}

static void session_gone(struct session *s, struct xfer *x, struct request *r);

static void answer_came(struct session *s, struct request *r, const struct rpc_msg *m, struct buf *owned)
{
	struct exchange_facts f = { .era = s->era, .status = 200, .had_session = true, .msg = m };
	struct request *q = find_answered(s, r, m->id);

	if (!q) {
		s->n.late_answers++;
		session_note(s, NOTE_DEBUG, "dropped an answer to no open request");
		return;
	}
	f.handshake = q->purpose == RQ_HANDSHAKE || q->purpose == RQ_INIT;
	f.had_session = s->era == ERA_SSE || s->sid.len;
	/* Said a second time to the same request it is just its answer. */
	if (m->kind == RPC_ERROR && !q->revives && verdict_session_gone(&f)) {
		struct xfer *x = q->xfer ? xfer_find(s, q->xfer) : NULL;
		if (s->era == ERA_SSE) {
			q->revives++;
			request_park(s, q, 0);
			s->force_init = true;
			s->n.session_losses++;
			session_line_down(s, "the server lost the session", -1, session_gone_often(s) ? -1 : 0);
			return;
		}
		if (x) {
			session_gone(s, x, q);
			return;
		}
	}
	exchange_answer(s, q, m, owned);
}

void exchange_message(struct session *s, struct request *r, struct span text, struct buf *owned)
{
	struct rpc_msg m;
	struct json_iter it;
	struct span v;
	uint64_t token = r ? r->token : 0;

	rpc_parse(text.p, text.n, &m);
	if (m.has_newline)
		json_one_line((char *)m.text.p, m.text.n); /* the bytes are a buffer of ours */
	if (r)
		r->active_at = s->now;
	s->last_rx = s->now;
	switch (m.kind) {
	case RPC_RESULT:
	case RPC_ERROR:
		answer_came(s, r, &m, owned);
		break;
	case RPC_NOTIFICATION:
		if (!eras_inbound(s, r, &m))
			deliver_notification(s, r, &m);
		break;
	case RPC_REQUEST:
		if (!eras_inbound(s, r, &m))
			deliver_server_request(s, &m);
		break;
	case RPC_BATCH:
		json_iter(&it, m.text);
		while (json_next(&it, NULL, &v)) {
			if (json_type(v) != '{')
				continue;
			for (r = token ? s->ledger.head : NULL; r && r->token != token; r = r->next)
				;
			exchange_message(s, r, v, NULL);
		}
		break;
	default:
		if (s->cur)
			s->cur->garbage = true;
		session_note(s, NOTE_WARN, "ignored a message of the server: %s", m.why ? m.why : "no JSON-RPC");
	}
}

/* ---- facts --------------------------------------------------------------------------------------- */

static bool type_is(struct span ct, const char *type)
{
	size_t n = strlen(type);

	return ct.n >= n && strncasecmp(ct.p, type, n) == 0 && (ct.n == n || ct.p[n] == ';' || ct.p[n] == ' ' || ct.p[n] == '\t');
}

/* Anything that says JSON, and silence about the type. */
static bool type_may_be_json(struct span ct)
{
	if (!ct.n || type_is(ct, "application/json") || type_is(ct, "text/json"))
		return true;
	for (size_t i = 0; i + 5 <= ct.n; i++)
		if (strncasecmp(ct.p + i, "+json", 5) == 0)
			return true;
	return false;
}

enum body_mode session_on_head(struct session *s, uint64_t token, const struct http_head *h, int64_t now)
{
	struct xfer *x = xfer_find(s, token);

	s->now = now;
	if (!x)
		return BODY_DISCARD;
	x->status = h->status;
	s->last_rx = now;
	x->retry_after_ms = retry_after_parse(h->retry_after, s->wall_s);
	if (h->location.n && (h->status == 307 || h->status == 308))
		buf_add(&x->location, h->location);
	x->insufficient_scope = h->status == 403 && verdict_insufficient_scope(h->www_authenticate);
	if (h->status == 401 || x->insufficient_scope) {
		struct action *a = session_act(s, ACT_AUTH);
		if (a) {
			a->token = token;
			a->status = h->status;
			a->op = x->rq ? x->rq->token : 0;
		}
	}
	if (x->kind == XF_STREAM)
		return stream_on_head(s, x, h);
	if (h->status >= 200 && h->status < 300 && x->rq &&
	    (x->rq->purpose == RQ_HANDSHAKE || x->rq->purpose == RQ_INIT) && s->trying == ERA_HTTP)
		session_set_session_id(s, h->session_id);
	if (h->status == 200 && type_is(h->content_type, "text/event-stream") && (x->kind == XF_REQUEST || x->kind == XF_RESUME)) {
		x->sse = true;
		sse_init(&x->parser, s->c->max_message);
		if (x->rq) {
			x->rq->state = REQ_STREAMING;
			if (x->rq->is_listen && s->c->idle_ms > 0)
				session_due(s, now + s->c->idle_ms);
			if (x->kind == XF_RESUME)
				x->rq->resumable = true;
		}
		return BODY_STREAM;
	}
	if (x->kind == XF_REQUEST && h->status == 200 && type_may_be_json(h->content_type)) {
		x->json = true;
		return BODY_COLLECT;
	}
	return h->status >= 300 || h->status == 200 ? BODY_STREAM : BODY_DISCARD;
}

/* One event of a request's own response stream. */
static void on_event(struct session *s, struct xfer *x, const struct sse_event *ev)
{
	struct request *r = x->rq;

	if (r) {
		if (x->parser.retry_ms >= 0)
			r->retry_ms = x->parser.retry_ms;
		if (ev->has_id) {
			if (seen_before(&r->seen, &r->nseen, ev->id, s->seed) && r->resumable) {
				session_note(s, NOTE_DEBUG, "dropped an event that came before");
				return;
			}
			buf_reset(&r->last_id);
			if (memchr(ev->id.p, '\n', ev->id.n) == NULL)
				buf_add(&r->last_id, ev->id);
		}
	}
	if (ev->data.n == 0 || !span_is(ev->type, "message"))
		return;
	exchange_message(s, r, ev->data, NULL);
}

bool session_on_data(struct session *s, uint64_t token, char **p, size_t *n, bool whole, int64_t now)
{
	struct xfer *x = xfer_find(s, token);
	struct sse_event ev;
	const char *cp = *p;
	int got;

	s->now = now;
	if (!x) {
		*n = 0;
		return false;
	}
	s->n.bytes_in += *n;
	x->rx_at = now;
	s->cur = x;
	s->cur_whole = SPAN_NONE;
	if (x->sse) {
		if (x->kind == XF_STREAM)
			stream_on_bytes(s);
		got = sse_next(&x->parser, &cp, n, &ev);
		*p = (char *)cp;
		if (got < 0) {
			x->too_large = true;
			session_note(s, NOTE_WARN, "an event of the server was larger than the limit and was dropped");
			if (x->rq && x->kind != XF_STREAM) {
				request_refuse(s, x->rq, ERR_MESSAGE_TOO_LARGE, "The answer of the server is larger than the limit", -1);
				*n = 0;
			}
		} else if (got > 0 && !(x->kind == XF_STREAM && stream_on_event(s, x, &ev))) {
			if (x->kind == XF_STREAM)
				exchange_message(s, NULL, ev.data, NULL);
			else
				on_event(s, x, &ev);
		}
		s->cur = NULL;
		if (s->eof || s->signalled)
			session_due(s, now); /* perhaps the last answer */
		if (!xfer_find(s, token)) { /* the message ended its own stream */
			*n = 0;
			return false;
		}
		return *n > 0;
	}
	if (x->json && whole) {
		struct span all = span_make(*p, *n), text = all;
		struct request *r = x->rq;
		struct rpc_msg m;

		*n = 0;
		if (r && x->status == 200) {
			struct exchange_facts f = { .era = s->era == ERA_NONE ? s->trying : s->era, .status = 200, .had_session = x->had_session };
			rpc_parse(text.p, text.n, &m);
			f.msg = &m;
			f.handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT;
			if (m.kind == RPC_ERROR && verdict_session_gone(&f)) {
				buf_add(&x->body, all);
				x->json = false; /* judged at its end */
			} else {
				s->cur_whole = m.text;
				s->cur_whole = all.n == m.text.n ? all : SPAN_NONE;
				exchange_message(s, r, text, NULL);
			}
		}
		s->cur = NULL;
		return false;
	}
	if (x->body.len < VERDICT_BODY)
		buf_append(&x->body, *p, *n < VERDICT_BODY - x->body.len ? *n : VERDICT_BODY - x->body.len);
	*n = 0;
	s->cur = NULL;
	return false;
}

/* A failed transfer in words and facts. */
static void failure_of_result(const struct http_result *r, struct failure *f, char *text, size_t size)
{
	static const char *const what[] = {
		[HTTP_OK] = "The server answered nothing usable",
		[HTTP_RESOLVE] = "The server's name could not be resolved",
		[HTTP_CONNECT] = "The server could not be reached",
		[HTTP_PROXY] = "The proxy refused the connection",
		[HTTP_TLS] = "The secure connection to the server could not be made",
		[HTTP_SEND] = "The connection broke while the request was being sent",
		[HTTP_RESET] = "The connection to the server was lost before the answer came",
		[HTTP_TIMEOUT] = "The server did not answer in time",
		[HTTP_BAD] = "The server answered something that is not valid HTTP, or too much of it",
		[HTTP_NOMEM] = "There was not enough memory for the request",
		[HTTP_ABORTED] = "The request was aborted",
	};

	(void)text;
	(void)size;
	memset(f, 0, sizeof(*f));
	f->retry_after_ms = -1;
	f->kind = ERR_UPSTREAM_UNAVAILABLE;
	f->what = what[r->outcome];
	switch (r->outcome) {
	case HTTP_RESOLVE: case HTTP_CONNECT: case HTTP_PROXY: case HTTP_TLS:
		f->line = true;
		break;
	case HTTP_NOMEM:
		break;
	case HTTP_BAD:
		f->kind = ERR_BAD_UPSTREAM;
		f->may_have_run = r->body_sent;
		break;
	default:
		f->may_have_run = r->body_sent;
	}
}

bool session_gone_often(struct session *s)
{
	int64_t oldest = s->gone_times[4];

	memmove(s->gone_times + 1, s->gone_times, 5 * sizeof(int64_t));
	s->gone_times[0] = s->now;
	return oldest && s->now - oldest < 60000;
}

static void session_gone(struct session *s, struct xfer *x, struct request *r)
{
	bool current = x->epoch == s->epoch;

	if (r->purpose != RQ_CLIENT && r->purpose != RQ_PING) {
		replay_on_gone(s, r);
		return;
	}
	r->why = RETRY_SESSION;
	request_park(s, r, 0);
	if (current && s->client_initialized)
		s->force_init = true;
	if (!current || s->state != SESSION_READY)
		return; /* noticed before; it goes out with the new session */
	if (r->revives++ > 0) {
		s->force_init = true;
		if (r->purpose == RQ_CLIENT)
			request_refuse(s, r, ERR_UPSTREAM_UNAVAILABLE, "The server lost the session again while the request was being sent a second time", -1);
		session_line_down(s, "the server keeps losing the session", -1, -1);
		return;
	}
	s->n.session_losses++;
	s->force_init = true;
	if (session_gone_often(s)) {
		session_line_down(s, "the server keeps losing sessions", -1, -1);
		return;
	}
	session_note(s, NOTE_INFO, "the server lost the session; starting another");
	s->last_drop_at = s->now;
	s->last_drop_len = -1;
	snprintf(s->drop_why, sizeof(s->drop_why), "the server lost the session");
	memcpy(s->drop_detail, s->detail, sizeof(s->drop_detail));
	session_forget(s);
	replay_begin(s);
}

/* 401 or 403 insufficient_scope: as the sign-in said. */
static void wants_auth(struct session *s, struct xfer *x, struct request *r)
{
	char text[512];

	r->why = RETRY_AUTH;
	switch (x->challenge) {
	case CHALLENGE_AGAIN:
		if (r->attempts <= 4) {
			request_park(s, r, 0);
			if (s->state == SESSION_PROBE && r->purpose == RQ_HANDSHAKE)
				probe_begin(s);
			return;
		}
		break;
	case CHALLENGE_PARK:
		request_park(s, r, 0);
		if (s->state != SESSION_AUTH) {
			s->auth_from = s->state;
			session_enter(s, SESSION_AUTH, "the server wants a sign-in");
		}
		return;
	default:
		break;
	}
	if (x->challenge_text.len)
		snprintf(text, sizeof(text), "%.*s", (int)(x->challenge_text.len < 500 ? x->challenge_text.len : 500), buf_data(&x->challenge_text));
	else
		snprintf(text, sizeof(text), "The server refused the credentials (HTTP %d: authorization required)", x->status);
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE) {
		struct failure f = { .what = "the server refused the credentials", .retry_after_ms = -1, .kind = ERR_AUTH_REQUIRED };
		replay_on_failure(s, r, &f, false);
		return;
	}
	request_refuse(s, r, ERR_AUTH_REQUIRED, text, -1);
}

static void redirected(struct session *s, struct xfer *x, struct request *r)
{
	struct url base, to;
	struct err e;
	struct failure f = { .what = "The server sent the request to another address that may not be followed", .retry_after_ms = -1, .kind = ERR_BAD_UPSTREAM };
	bool same = false;

	memset(&base, 0, sizeof(base));
	memset(&to, 0, sizeof(to));
	if (x->location.len && x->redirects < MAX_REDIRECTS && url_parse(&base, s->url, &e) == 0 &&
	    url_resolve(&to, &base, buf_span(&x->location), &e) == 0) {
		same = url_same_origin(&base, &to);
		if (!same)
			session_note(s, NOTE_WARN, "not following a redirect to another origin: %s", to.origin);
	}
	if (same) {
		slot_free(s, r);
		r->xfer = 0;
		if (post_to(s, r, span_str(to.text), x->redirects + 1) == 0)
			goto done;
	}
	if (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE)
		request_refuse(s, r, f.kind, f.what, -1);
	else
		request_failed(s, r, &f);
done:
	url_fini(&base);
	url_fini(&to);
}

static void rejected(struct session *s, struct xfer *x, struct request *r)
{
	char what[128];

	snprintf(what, sizeof(what), "The server refused the request (HTTP %d)", x->status);
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE) {
		struct failure f = { .what = what, .retry_after_ms = -1, .kind = ERR_BAD_UPSTREAM };
		replay_on_failure(s, r, &f, false);
		return;
	}
	session_succeeded(s);
	request_refuse(s, r, x->status == 413 ? ERR_MESSAGE_TOO_LARGE : x->status == 403 ? ERR_AUTH_REQUIRED : ERR_BAD_UPSTREAM, what, -1);
}

static void bad_answer(struct session *s, struct xfer *x, struct request *r)
{
	struct failure f = { .what = "The server answered something that is not an MCP message", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_BAD_UPSTREAM };

	if (x->too_large) {
		request_refuse(s, r, ERR_MESSAGE_TOO_LARGE, "The answer of the server is larger than the limit", -1);
		return;
	}
	if (r->purpose == RQ_HANDSHAKE && s->state == SESSION_PROBE) {
		probe_next(s, "the answer to initialize was no MCP message");
		return;
	}
	r->maybe_ran = true;
	request_failed(s, r, &f);
}

/* A complete response to the POST of r that was neither stream nor answer. */
static void judge_response(struct session *s, struct xfer *x, struct request *r)
{
	struct rpc_msg m;
	struct failure f = { .retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
	struct exchange_facts ef = { .era = s->era == ERA_NONE ? s->trying : s->era, .status = x->status, .had_session = x->had_session,
		.handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT,
		.retry_after = x->retry_after_ms >= 0, .insufficient_scope = x->insufficient_scope };
	char what[200];

	if (x->body.len) {
		rpc_parse(buf_data(&x->body), x->body.len, &m);
		if (m.kind != RPC_NOT_JSON && m.kind != RPC_INVALID)
			ef.msg = &m;
	}
	snprintf(what, sizeof(what), "The server or a gateway answered HTTP %d", x->status);
	f.what = what;
	switch (verdict_of(&ef)) {
	case VERDICT_GONE:
		session_gone(s, x, r);
		break;
	case VERDICT_MODERN:
	case VERDICT_TRANSPORT:
	case VERDICT_ANSWER:
		if (ef.handshake && ef.msg && m.kind == RPC_ERROR && x->status >= 400) {
			buf_reset(&s->init_error);
			buf_add(&s->init_error, m.error);
		}
		if (ef.handshake && x->status >= 400) {
			if (r->purpose == RQ_HANDSHAKE)
				probe_next(s, what);
			else
				replay_on_failure(s, r, &f, true);
			break;
		}
		if (ef.msg && m.kind != RPC_BATCH && m.kind != RPC_REQUEST && m.kind != RPC_NOTIFICATION) {
			if (m.has_newline)
				json_one_line((char *)m.text.p, m.text.n);
			/* A body that is an error for nobody in particular is for this request. */
			if (find_answered(s, r, m.id) != r)
				m.id = SPAN_NONE;
			if (m.id.p) {
				exchange_answer(s, r, &m, NULL);
				break;
			}
			buf_reset(&s->scratch);
			if (buf_puts(&s->scratch, "{\"jsonrpc\":\"2.0\",\"id\":") || buf_add(&s->scratch, r->uid) ||
			    buf_puts(&s->scratch, ",\"error\":") || buf_add(&s->scratch, m.error) || buf_puts(&s->scratch, "}"))
				break;
			if (m.kind == RPC_ERROR) {
				struct rpc_msg own;
				rpc_parse(buf_data(&s->scratch), s->scratch.len, &own);
				exchange_answer(s, r, &own, NULL);
				break;
			}
		}
		rejected(s, x, r);
		break;
	case VERDICT_AUTH:
		wants_auth(s, x, r);
		break;
	case VERDICT_LATER:
		f.retry_after_ms = x->retry_after_ms;
		f.kind = x->status == 429 ? ERR_RATE_LIMITED : ERR_UPSTREAM_UNAVAILABLE;
		request_failed(s, r, &f);
		break;
	case VERDICT_UNKNOWN:
		f.may_have_run = true;
		f.kind = ERR_UPSTREAM_UNAVAILABLE;
		request_failed(s, r, &f);
		break;
	case VERDICT_REDIRECT:
		redirected(s, x, r);
		break;
	case VERDICT_ACCEPTED:
		if (s->era == ERA_SSE || s->trying == ERA_SSE || s->stream.state == STREAM_LIVE) {
			slot_free(s, r); /* the answer comes on the standing stream */
			r->xfer = 0;
			break;
		}
		f.what = "The server accepted the request and then answered nothing";
		f.may_have_run = true;
		f.kind = ERR_BAD_UPSTREAM;
		request_failed(s, r, &f);
		break;
	case VERDICT_BAD:
		bad_answer(s, x, r);
		break;
	case VERDICT_FORBIDDEN:
	case VERDICT_REJECTED:
		rejected(s, x, r);
		break;
	}
}

static void resume_done(struct session *s, struct xfer *x, struct request *r, const struct http_result *res)
{
	struct failure f;
	struct exchange_facts ef = { .era = s->era, .status = x->status, .had_session = x->had_session };

	if (x->sse) {
		r->attempts += res->outcome != HTTP_OK;
		if (s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries + 1) {
			buf_reset(&r->last_id);
		}
		stream_ended(s, r, res->outcome == HTTP_OK, "the resumed stream ended");
		return;
	}
	if (res->outcome == HTTP_OK && x->status == 404 && verdict_session_gone(&ef)) {
		r->maybe_ran = true;
		buf_reset(&r->last_id);
		if (r->repeatable)
			session_gone(s, x, r);
		else
			request_refuse(s, r, ERR_OUTCOME_UNKNOWN, "The server forgot the request while its answer was being fetched", -1);
		return;
	}
	if (res->outcome == HTTP_OK && x->status >= 400 && x->status < 500 && x->status != 429 && x->status != 409 && x->status != 401) {
		buf_reset(&r->last_id);
		stream_ended(s, r, true, "The answer's stream broke and the server can not resume it");
		return;
	}
	/* The network, or a server that is busy: later again, as long as the request lives. */
	failure_of_result(res, &f, NULL, 0);
	r->attempts++;
	if (s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries + 1) {
		r->maybe_ran = true;
		request_refuse(s, r, r->repeatable ? ERR_UPSTREAM_UNAVAILABLE : ERR_OUTCOME_UNKNOWN, "The answer's stream broke and could not be resumed", -1);
		return;
	}
	r->state = REQ_BROKEN;
	r->not_before = request_backoff(s, r, x->retry_after_ms);
	session_due(s, r->not_before);
	if (f.line && s->state == SESSION_READY)
		session_line_down(s, f.what, -1, -1);
}

void session_on_done(struct session *s, uint64_t token, const struct http_result *res, int64_t now)
{
	struct xfer *x = xfer_find(s, token);
	struct failure f;
	struct request *r;

	s->now = now;
	if (!x)
		return;
	r = x->rq;
	x->rq = NULL;
	failure_of_result(res, &f, NULL, 0);
	if (res->outcome != HTTP_OK) {
		session_note(s, NOTE_DEBUG, "transfer ended: %s", res->detail);
		snprintf(s->detail, sizeof(s->detail), "%.95s", res->detail);
		if (res->outcome == HTTP_RESET && res->reused && !res->got_bytes) {
			session_act(s, ACT_DROP_IDLE); /* its neighbours in the pool are no better */
			f.stale = true;
		}
	} else if (x->status >= 300) {
		snprintf(s->detail, sizeof(s->detail), "HTTP %d", x->status);
		offline_on_end(s, x);
	}
	switch (x->kind) {
	case XF_STREAM:
		stream_on_done(s, x, res, f.what);
		break;
	case XF_OUT: {
		struct rpc_msg m;
		struct exchange_facts ef = { .era = s->era, .status = x->status, .had_session = x->had_session,
			.retry_after = x->retry_after_ms >= 0, .insufficient_scope = x->insufficient_scope };
		if (x->body.len) {
			rpc_parse(buf_data(&x->body), x->body.len, &m);
			if (m.kind == RPC_ERROR)
				ef.msg = &m;
		}
		if (res->outcome == HTTP_OK)
			outbox_on_done(s, x->om, x, x->status == 200 ? VERDICT_ACCEPTED : verdict_of(&ef), true, "refused");
		else
			outbox_on_done(s, x->om, x, VERDICT_UNKNOWN, f.may_have_run, f.what);
		break;
	}
	case XF_STEP:
		replay_on_initialized_sent(s, res->outcome == HTTP_OK && x->status >= 200 && x->status < 300);
		break;
	case XF_DELETE:
		s->delete_xfer = 0;
		session_check_drained(s);
		break;
	case XF_RESUME:
		if (r) {
			r->xfer = 0;
			resume_done(s, x, r, res);
		}
		break;
	case XF_REQUEST:
		if (!r)
			break;
		r->xfer = 0;
		if (x->sse && x->parser.retry_ms >= 0)
			r->retry_ms = x->parser.retry_ms;
		if (x->sse && !x->answered) {
			if (x->too_large)
				request_refuse(s, r, ERR_MESSAGE_TOO_LARGE, "The answer of the server is larger than the limit", -1);
			else if (x->garbage && res->outcome == HTTP_OK && !r->last_id.len)
				bad_answer(s, x, r);
			else
				stream_ended(s, r, res->outcome == HTTP_OK, "The server's response ended without the answer");
		} else if (res->outcome != HTTP_OK) {
			if (res->outcome == HTTP_BAD && strstr(res->detail, "too large"))
				request_refuse(s, r, ERR_MESSAGE_TOO_LARGE, "The answer of the server is larger than the limit", -1);
			else
				request_failed(s, r, &f);
		} else if (x->json) {
			bad_answer(s, x, r);
		} else {
			judge_response(s, x, r);
		}
		break;
	}
	s->detail[0] = '\0';
	xfer_free(s, x);
	session_pump(s);
	session_check_drained(s);
}

void session_on_start_failed(struct session *s, uint64_t token, const char *why, int64_t now)
{
	struct http_result r = { .outcome = HTTP_NOMEM };

	snprintf(r.detail, sizeof(r.detail), "%s", why);
	session_on_done(s, token, &r, now);
}

void session_on_challenge(struct session *s, uint64_t token, enum challenge c, struct span text, int64_t now)
{
	struct xfer *x = xfer_find(s, token);

	s->now = now;
	if (!x)
		return;
	x->challenge = c;
	buf_reset(&x->challenge_text);
	buf_add(&x->challenge_text, text);
}

static struct request *first_after(struct session *s, uint64_t seq)
{
	struct request *r = s->ledger.head;

	while (r && r->seq <= seq)
		r = r->next;
	return r;
}

/* ---- sending what waits ------------------------------------------------------------------------------ */

static bool may_send(struct session *s, const struct request *r)
{
	if (r->purpose == RQ_CLIENT && s->in_flight >= s->window && !span_is(r->method, "ping"))
		return false;
	return r->barrier <= s->out_done;
}

static bool out_of_quota(struct session *s, struct request *r)
{
	if (r->purpose != RQ_CLIENT)
		return false;
	if (s->c->quota_requests && s->quota_used >= (uint64_t)s->c->quota_requests)
		return true;
	return s->c->quota_ms && s->quota_used_ms >= s->c->quota_ms;
}

/* Sends what may go now, in order of arrival. */
void session_pump(struct session *s)
{
	struct request *r, *next;

	outbox_pump(s);
	if (s->state != SESSION_READY && !(s->state == SESSION_DRAIN && s->era != ERA_NONE && s->auth_from == SESSION_READY))
		return;
	eras_pump(s);
	if (!s->parked || (s->rate_until && s->now < s->rate_until))
		return;
	for (r = s->ledger.head; r && s->parked; r = next) {
		next = r->next;
		if (r->state != REQ_PARKED || (r->not_before && s->now < r->not_before))
			continue;
		if (r->cancelled) { /* while its attempt was failing */
			uint64_t was = r->seq;
			request_drop(s, r);
			next = first_after(s, was);
			continue;
		}
		if (!may_send(s, r)) {
			if (r->barrier > s->out_done)
				break; /* order: what comes later waits too */
			continue;
		}
		if (out_of_quota(s, r)) {
			request_refuse(s, r, ERR_RATE_LIMITED, "The quota of requests that the user set for this session is used up", -1);
			continue;
		}
		if (r->purpose == RQ_CLIENT && r->attempts == 0) {
			int64_t wait = bucket_take(&s->bucket, s->now);
			if (wait > s->c->hold_ms) {
				request_refuse(s, r, ERR_RATE_LIMITED, "The request rate that the user allowed is used up", wait);
				continue;
			}
			if (wait > 0) {
				s->rate_until = s->now + wait;
				session_due(s, s->rate_until);
				break;
			}
			s->quota_used++;
		}
		uint64_t seq = r->seq;
		size_t count = s->ledger.count;
		if (!eras_local(s, r))
			request_post(s, r);
		if (s->state != SESSION_READY && s->state != SESSION_DRAIN)
			return;
		if (s->ledger.count + 1 < count)
			next = first_after(s, seq); /* more than this one is gone */
	}
}

/* A call that has been quiet for so long is probed by a ping: when that is due
 * next, 0 for never. */
static int64_t probe_time(struct session *s, struct request *r)
{
	const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
	int64_t quiet = r->active_at, after = probe_after(s), rx;

	if (!s->c->probe_after_ms || r->purpose != RQ_CLIENT || s->state != SESSION_READY || s->era == ERA_MODERN)
		return 0;
	/* The 202 of another POST says nothing about the stream. */
	rx = x ? x->rx_at : dialect_ping_judges_stream(s->era) ? s->stream.byte_at : s->last_rx;
	if (rx > quiet)
		quiet = rx;
	if (r->probed_at > quiet)
		quiet = r->probed_at;
	if (s->now >= quiet + after) {
		r->probed_at = quiet = s->now;
		session_ping(s);
	}
	return quiet + after;
}

/* Sends a repeatable request once more beside the attempt that is silent; the
 * first answer wins. */
static void hedge(struct session *s, struct request *r)
{
	struct request *h;
	char method[64];

	if (r->method.n >= sizeof(method))
		return;
	snprintf(method, sizeof(method), "%.*s", (int)r->method.n, r->method.p);
	request_new_own(s, &h, RQ_HEDGE, method, r->params);
	if (!h)
		return;
	session_note(s, NOTE_DEBUG, "%s is silent; sent once more beside", method);
	h->timeout_ms = r->timeout_ms;
	h->twin = r->token;
	r->twin = h->token;
	request_post(s, h);
}

/* The ping was answered: a stream with event ids is taken up on a new
 * connection, the old one may be half dead. Not answered: so is the call's. */
void session_probed(struct session *s, bool alive)
{
	uint64_t last = s->ledger.next_seq, seq;
	struct request *r = s->ledger.head;

	while (r && r->seq <= last) {
		seq = r->seq;
		if (!r->probed_at || r->purpose != RQ_CLIENT || (r->state != REQ_SENT && r->state != REQ_STREAMING)) {
			r = r->next;
			continue;
		}
		const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
		bool quiet = !x || x->rx_at < r->probed_at;
		bool late = s->now - r->active_at >= s->c->probe_after_ms;
		if (alive && quiet && late && !r->last_id.len && r->repeatable && !r->is_tool_call && !r->twin) {
			hedge(s, r);
		} else if (alive && quiet && r->last_id.len && dialect_resumes(s->era)) {
			request_detach(s, r);
			r->state = REQ_BROKEN;
			r->not_before = s->now;
			session_due(s, s->now);
		} else if (!alive && quiet && x) {
			struct failure f = { .what = "The connection went dead while the request was running", .may_have_run = true,
				.retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
			if (r->last_id.len && dialect_resumes(s->era)) {
				request_detach(s, r);
				r->state = REQ_BROKEN;
				r->not_before = s->now;
			} else {
				request_failed(s, r, &f);
			}
		}
		for (r = s->ledger.head; r && r->seq <= seq; r = r->next)
			;
	}
}

/* A subscription stream of 2026-07-28 is cut by --idle-timeout alone. -1: it was. */
static int64_t listen_time(struct session *s, struct request *r)
{
	const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
	int64_t quiet = x && x->rx_at > r->active_at ? x->rx_at : r->active_at;

	if (r->state == REQ_SENT && s->now >= r->sent_at + s->c->request_timeout_ms) {
		struct failure f = { .what = "The server did not answer in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
		request_failed(s, r, &f);
		return -1;
	}
	if (r->state == REQ_SENT)
		return r->sent_at + s->c->request_timeout_ms;
	if (s->c->idle_ms <= 0)
		return 0;
	if (s->now < quiet + s->c->idle_ms)
		return quiet + s->c->idle_ms;
	session_note(s, NOTE_INFO, "a subscription was silent for %.1f s; opening it again", (double)(s->now - quiet) / 1000);
	request_park(s, r, 0);
	session_pump(s);
	return -1;
}

/* What became due for one request: its next deadline, 0 for none, -1 when it
 * (and perhaps others) was answered or moved. */
static int64_t request_time(struct session *s, struct request *r)
{
	int64_t next = r->die_at, t;

	if (s->now >= r->die_at && r->die_at) {
		request_refuse(s, r, ERR_TIMEOUT, "The request took longer than the time allowed for it in all", -1);
		return -1;
	}
	switch (r->state) {
	case REQ_PARKED:
		/* What the bridge itself asks waits for the line, however long. */
		t = s->state != SESSION_READY && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE) ? r->hold_until : 0;
		if (t && s->now >= t) {
			if (s->state == SESSION_AUTH && s->auth_text.len) {
				char text[600];
				snprintf(text, sizeof(text), "%.*s", (int)(s->auth_text.len < 590 ? s->auth_text.len : 590), buf_data(&s->auth_text));
				request_refuse(s, r, ERR_AUTH_REQUIRED, text, -1);
			} else {
				request_refuse(s, r, s->state == SESSION_AUTH ? ERR_AUTH_REQUIRED : ERR_UPSTREAM_UNAVAILABLE,
					s->state == SESSION_AUTH ? "The server wants a sign-in that is not finished yet" : "The server can not be reached at the moment",
					s->wait_until > s->now ? s->wait_until - s->now : -1);
			}
			return -1;
		}
		if (t && (!next || t < next))
			next = t;
		t = r->not_before > s->now ? r->not_before : 0;
		break;
	case REQ_BROKEN:
		if (s->state == SESSION_READY && s->now >= r->not_before) {
			resume_post(s, r);
			t = s->now + r->timeout_ms;
		} else {
			t = r->active_at + r->timeout_ms;
			if (r->not_before > s->now && r->not_before < t)
				t = r->not_before;
		}
		if (s->now - r->active_at >= r->timeout_ms && r->state == REQ_BROKEN) {
			struct failure f = { .what = "The answer did not come in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
			buf_reset(&r->last_id);
			request_failed(s, r, &f);
			return -1;
		}
		break;
	default:
		if (r->patient_until) {
			if (modern_timed_out(s, r))
				return -1;
			t = r->patient_until == INT64_MAX ? 0 : r->patient_until;
			break;
		}
		if (r->is_listen) {
			t = listen_time(s, r);
			if (t < 0)
				return -1;
			break;
		}
		t = probe_time(s, r);
		if (t && (!next || t < next))
			next = t;
		t = r->active_at + r->timeout_ms;
		if (s->now >= t) {
			struct failure f = { .what = "The server did not answer in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
			if (r->purpose == RQ_CLIENT && s->state == SESSION_READY && !dialect_cancel_by_close(s->era))
				outbox_cancelled(s, r->uid, "timed out");
			bool mute = s->era == ERA_SSE && s->stream.byte_at < r->sent_at;
			request_failed(s, r, &f);
			if (mute && s->state == SESSION_READY)
				session_line_down(s, "the stream went silent", -1, 0);
			return -1;
		}
	}
	return t && (!next || t < next) ? t : next;
}

void session_request_times(struct session *s)
{
	struct request *r = s->ledger.head;
	uint64_t last = s->ledger.next_seq;
	int64_t t, due = 0;

	s->next_due = 0;
	while (r && r->seq <= last) {
		uint64_t seq = r->seq;
		t = request_time(s, r);
		if (t > 0 && (!due || t < due))
			due = t;
		r = t < 0 ? first_after(s, seq) : r->next;
	}
	for (size_t i = 0; s->lingering && i < s->nxfers; i++) {
		struct xfer *x = s->xfers[i];
		if (!x || !x->linger_until)
			continue;
		if (s->now >= x->linger_until)
			xfer_cancel(s, x->token);
		else if (!due || x->linger_until < due)
			due = x->linger_until;
	}
	if (due)
		session_due(s, due);
	if (s->rate_until > s->now)
		session_due(s, s->rate_until);
}

void request_new_own(struct session *s, struct request **out, enum req_purpose p, const char *method, struct span params)
{
	struct request *r = ledger_add(&s->ledger, p, s->now);
	struct rpc_msg m;
	int bad;

	*out = NULL;
	if (!r)
		return;
	s->parked++; /* a new request is parked until it is posted */
	snprintf(r->upid, sizeof(r->upid), "\"hf-%s-%llu\"", s->nonce, (unsigned long long)r->token);
	buf_reset(&s->scratch);
	bad = buf_printf(&s->scratch, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"%s\"", r->upid, method);
	if (params.n)
		bad |= buf_puts(&s->scratch, ",\"params\":") | buf_add(&s->scratch, params);
	bad |= buf_puts(&s->scratch, "}");
	if (!bad) {
		rpc_parse(buf_data(&s->scratch), s->scratch.len, &m);
		bad = ledger_set_line(&s->ledger, r, &m, NULL);
	}
	if (bad) {
		request_drop(s, r);
		return;
	}
	s->parked_bytes += r->line.len;
	r->repeatable = true;
	r->timeout_ms = s->c->request_timeout_ms < 15000 ? s->c->request_timeout_ms : 15000;
	*out = r;
}

void request_deliver_result(struct session *s, struct request *r, struct span result)
{
	struct buf b;

	buf_init(&b, result.n + r->id.n + 64);
	if (rpc_write_result(&b, r->id, result) == 0)
		session_send_owned(s, &b);
	else
		buf_fini(&b);
	s->n.answers++;
}
