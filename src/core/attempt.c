/* The attempts of a ledger request, and the ledger rule: an attempt that ended
 * without an answer is resumed, sent again where that is provably harmless, or
 * answered with an honest error. */
#include <stdio.h>
#include <string.h>

#include "core/session_i.h"
#include "wire/trace.h"

#define PROBE_FLOOR_MS 1000            /* no call is probed earlier */

void request_slot_free(struct session *s, struct request *r)
{
	if (r->counted) {
		r->counted = false;
		s->in_flight--;
		s->pump_due = true; /* the answer may come long before the end of its transfer */
	}
}

void request_slot_take(struct session *s, struct request *r)
{
	if (r->counted || (r->state != REQ_SENT && r->state != REQ_STREAMING))
		return;
	r->counted = r->on_quota = true;
	r->sent_at = s->now;
	s->in_flight++;
}

void request_spend(struct session *s, struct request *r)
{
	if (r->on_quota)
		s->quota_used_ms += s->now - r->sent_at;
	r->on_quota = false;
}

void request_detach(struct session *s, struct request *r)
{
	request_slot_free(s, r);
	request_spend(s, r);
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

void request_unpark(struct session *s, struct request *r, enum req_state to)
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

void request_note_held(struct session *s, struct request *r)
{
	bool wait = s->state == SESSION_WAIT || s->state == SESSION_REVIVE || s->state == SESSION_DOWN || s->state == SESSION_AUTH;

	if (!wait || r->was_held || (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE))
		return;
	r->was_held = true;
	s->n.held++;
}

void request_park(struct session *s, struct request *r, int64_t not_before)
{
	request_detach(s, r);
	parked_in(s, r);
	r->not_before = not_before;
	if (not_before)
		session_due(s, not_before);
	request_note_held(s, r);
	if (s->state != SESSION_READY) {
		if (!r->hold_until)
			r->hold_until = s->now + s->c->hold_ms;
		session_due(s, r->hold_until); /* it may have passed while the request was under way */
	}
}

void request_hold_open(struct session *s, struct request *r)
{
	request_slot_free(s, r);
	request_unpark(s, r, REQ_STREAMING);
	ledger_drop_upstream_id(&s->ledger, r); /* of an attempt that is over */
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
	struct span meta = r->purpose == RQ_CLIENT ? r->meta : SPAN_NONE;

	if (meta.p && trace_headers(meta, &x->lines) != 0)
		return -1;
	if (r->trace[0] && buf_printf(&x->lines, "traceparent: %s\n", r->trace) != 0)
		return -1;
	if (r->is_tool_call && r->purpose == RQ_CLIENT && s->c->idempotency_key) {
		struct span key = json_get(meta, "idempotencyKey");
		struct buf text;
		int bad;

		if (json_type(key) != '"')
			key = json_get(r->arguments, "idempotencyKey");
		buf_init(&text, 512);
		bad = buf_puts(&x->lines, "Idempotency-Key: ");
		if (json_type(key) == '"' && json_string(key, &text) == 0 && text.len)
			bad |= mcp_header_value(&x->lines, buf_span(&text));
		else
			bad |= buf_printf(&x->lines, "hf-%s-%llu", s->nonce, (unsigned long long)r->token);
		if (r->rounds && bad == 0) /* another request, to the one who keeps answers by this key */
			bad = buf_printf(&x->lines, ".%u", r->rounds);
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
int64_t request_probe_after(const struct session *s)
{
	int64_t ms = s->c->probe_after_ms, early = s->c->request_timeout_ms / 4;

	if (!dialect_ping_judges_stream(s->era) || early >= ms)
		return ms;
	return early > PROBE_FLOOR_MS ? early : ms < PROBE_FLOOR_MS ? ms : PROBE_FLOOR_MS;
}

int request_post_to(struct session *s, struct request *r, struct span url, unsigned redirects)
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
	request_unpark(s, r, REQ_SENT);
	request_spend(s, r);
	r->sent_at = r->active_at = s->now;
	r->epoch = s->epoch;
	r->not_before = r->unheard_until = 0;
	r->resumable = false;
	r->resumes = 0;
	buf_reset(&r->last_id);
	r->on_quota = r->purpose == RQ_CLIENT && !r->is_listen && !span_is(r->method, "ping");
	if (r->on_quota && !r->counted) {
		r->counted = true;
		s->in_flight++;
	}
	session_due(s, s->now + r->timeout_ms);
	if (r->purpose == RQ_CLIENT && s->c->probe_after_ms)
		session_due(s, s->now + request_probe_after(s));
	return 0;
}

int request_post(struct session *s, struct request *r)
{
	if (request_post_to(s, r, SPAN_NONE, 0) == 0)
		return 0;
	struct failure f = { .what = "Out of memory while sending the request", .kind = ERR_UPSTREAM_UNAVAILABLE, .retry_after_ms = -1 };
	if (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE)
		request_refuse(s, r, f.kind, f.what, -1);
	else
		request_failed(s, r, &f);
	return -1;
}

bool request_can_resume(const struct session *s, const struct request *r)
{
	return r->last_id.len && !s->no_resume && r->epoch == s->epoch && dialect_resumes(s->era);
}

int request_resume_at(struct session *s, struct request *r, struct span url, unsigned redirects)
{
	struct xfer *x = xfer_start(s, XF_RESUME, HTTP_GET, HEADERS_SESSION, SPAN_NONE, 0);

	if (!x)
		return -1;
	if (buf_puts(&x->lines, "Last-Event-ID: ") || buf_add(&x->lines, buf_span(&r->last_id)) || buf_puts(&x->lines, "\n") ||
	    (url.p && buf_add(&x->url, url) != 0)) {
		xfer_cancel(s, x->token);
		return -1;
	}
	xfer_ready(s, x);
	x->redirects = redirects;
	x->rq = r;
	r->xfer = x->token;
	return 0;
}

void request_resume(struct session *s, struct request *r)
{
	if (request_resume_at(s, r, SPAN_NONE, 0) != 0) {
		r->not_before = s->now + 1000;
		session_due(s, r->not_before);
		return;
	}
	r->not_before = 0;
	r->state = REQ_SENT;
	s->n.resumes++;
	session_due(s, r->active_at + r->timeout_ms); /* it runs on: a stream that is fetched again is no message */
}

/* The last attempt comes within the last tenth. One that ran for longer than
 * anything is held was no part of a row. */
bool request_patience_over(struct session *s, struct request *r)
{
	int64_t hold = s->c->hold_ms;

	if (r->failing_since && s->now - r->sent_at <= hold)
		return s->now - r->failing_since >= hold - hold / 10;
	r->failing_since = s->now;
	return false;
}

int64_t request_backoff(struct session *s, struct request *r, int64_t retry_after_ms)
{
	int64_t at, limit = r->failing_since ? r->failing_since + s->c->hold_ms : 0;
	struct backoff b;

	backoff_init(&b, retry_backoff(s->c));
	b.attempt = (r->attempts ? r->attempts - 1 : 0) + r->resumes;
	if (b.attempt > s->streak)
		b.attempt = s->streak; /* others are answered meanwhile: the line is well */
	b.told = true; /* the steps go on where this request's attempts are */
	if (retry_after_ms >= 0)
		backoff_floor(&b, retry_after_ms, s->now);
	at = backoff_next(&b, &s->rng, s->now);
	if (retry_after_ms < 0 && at > limit && limit > s->now)
		at = limit - (int64_t)(rng_unit(&s->rng) * 0.1 * (double)(limit - s->now));
	return at;
}

void request_refuse(struct session *s, struct request *r, enum error_kind k, const char *what, int64_t retry_after_ms)
{
	struct own_error e = {
		.kind = k, .what = what, .may_have_run = r->maybe_ran, .retry_after_ms = retry_after_ms, .attempts = r->attempts,
		.tool = r->is_tool_call && !s->c->tool_errors_protocol, .has_run_state = r->is_tool_call, .typed = s->client_modern,
	};
	bool handshake = r->purpose == RQ_HANDSHAKE;

	if (k == ERR_UPSTREAM_UNAVAILABLE && (handshake || s->state == SESSION_DOWN)) /* nothing is tried until the client asks */
		e.next = "Try again in a moment, and if it keeps failing tell the user that the server can not be reached";
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
	session_send_own_error(s, eras_client_id(r), &e);
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

bool request_repeatable(const struct session *s, const struct request *r)
{
	return r->is_tool_call ? r->tool.p && catalog_repeatable(s->catalog, r->tool) : r->repeatable;
}

/* The ledger rule. */
void request_failed(struct session *s, struct request *r, const struct failure *f)
{
	bool safe, exhausted, line, over;
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
	safe = !r->maybe_ran || request_repeatable(s, r);
	if (f->stale && !r->went_stale && safe) {
		r->went_stale = true; /* an old connection: says nothing about the server */
		request_park(s, r, 0);
		if (r->purpose == RQ_HANDSHAKE && s->state == SESSION_PROBE)
			request_post(s, r);
		return;
	}
	if (r->is_listen)
		listen_broke(r);
	if (r->is_listen && s->now - r->sent_at >= PROVEN_MS)
		r->attempts = 1; /* it had been open for long, and says nothing of the line */
	else if (!f->heard)
		s->streak++;
	line = f->line || (s->streak >= 3 && !f->heard) || r->purpose == RQ_HANDSHAKE;
	over = r->purpose == RQ_CLIENT && !r->is_listen && request_patience_over(s, r);
	exhausted = s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries;
	session_note(s, NOTE_DEBUG, "%.*s: %s%s", (int)(r->method.n < 60 ? r->method.n : 60), r->method.p, f->what, f->may_have_run ? " (it may have run)" : "");
	if (!line && !f->heard)
		session_failed_attempt(s, false);
	if (!safe) {
		request_refuse(s, r, ERR_OUTCOME_UNKNOWN, f->what, -1);
	} else if (f->retry_after_ms >= 0 && f->retry_after_ms > (r->hold_until ? r->hold_until - s->now : s->c->hold_ms)) {
		if (r->purpose == RQ_HANDSHAKE) /* for the next one */
			backoff_floor(&s->backoff, f->retry_after_ms, s->now);
		request_refuse(s, r, ERR_RATE_LIMITED, f->what, f->retry_after_ms);
		line = false;
	} else if (s->state == SESSION_DOWN && s->now < s->down_until && !r->is_listen) { /* the others were told already */
		request_refuse(s, r, f->kind, f->what, s->down_until - s->now);
	} else if (over || (exhausted && r->purpose == RQ_CLIENT && !f->line && !r->is_listen)) {
		request_refuse(s, r, f->kind, f->what, f->retry_after_ms);
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

void request_unheard(struct session *s, struct request *r)
{
	struct failure f = { .what = "The connection that was to bring the answer was lost", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };

	request_failed(s, r, &f);
}

int64_t request_pace(const struct request *r)
{
	int64_t ms = r->retry_ms > 0 ? r->retry_ms : 0;

	return ms < RETRY_AFTER_MAX_MS ? ms : RETRY_AFTER_MAX_MS;
}

/* The response stream ended without the answer. clean: properly. */
void request_stream_ended(struct session *s, struct request *r, bool clean, const char *what)
{
	if (r->cancelled) {
		request_drop(s, r);
		return;
	}
	/* The bridge's own are asked anew. */
	if (r->purpose == RQ_CLIENT && request_can_resume(s, r)) {
		int64_t wait = r->retry_ms > 0 ? r->retry_ms : clean || r->retry_ms == 0 ? s->c->initial_retry_ms : 0;
		if (r->retry_ms < 0 && !clean) {
			wait = request_backoff(s, r, -1) - s->now;
		} else if (wait) {
			wait += (int64_t)(rng_unit(&s->rng) * 0.1 * (double)wait);
		}
		if (wait > RETRY_AFTER_MAX_MS)
			wait = RETRY_AFTER_MAX_MS;
		request_slot_free(s, r);
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
	r->timeout_ms = s->c->request_timeout_ms < STEP_MS ? s->c->request_timeout_ms : STEP_MS;
	*out = r;
}

void request_tell(struct session *s, const struct request *r, int rpc_error, struct span result)
{
	struct session_answer an = { .method = r->method, .tool = r->tool, .id = r->id, .params = r->params, .started_ms = r->arrived,
		.latency_us_lower = (s->now - r->arrived) * 1000, .attempts = r->attempts, .trace = span_str(r->trace), .rpc_error = rpc_error };
	bool is_error = false;

	if (!s->hook)
		return;
	if (!rpc_error && r->is_tool_call && json_bool(json_get(result, "isError"), &is_error))
		an.tool_error = is_error;
	s->hook(s->hook_arg, &an);
}

void request_deliver_result(struct session *s, struct request *r, struct span result)
{
	session_send_result(s, r->id, result);
	s->n.answers++;
	request_tell(s, r, 0, result);
}
