/* The facts HTTP tells: heads, bodies and ends, handed to whoever they concern. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/session_i.h"

#define VERDICT_BODY ((size_t)1 << 20) /* of an error body that is kept for judging */
#define ERROR_MS 10000                 /* how long an error's body may take */

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

/* The server has taken what was sent, and that is all there is to know. Some answer
 * with a stream all the same: what is said there is heard for as long as after an answer. */
static enum body_mode taken(struct session *s, struct xfer *x, const struct http_head *h)
{
	uint64_t token = x->token;
	struct outmsg *m = x->om;

	x->answered = true;
	if (x->kind == XF_STEP) {
		replay_on_initialized_sent(s, true);
	} else {
		x->om = NULL;
		buf_move(&x->rest, &m->line); /* it may not have read all: the body stays as long as the transfer */
		outbox_on_done(s, m, x, VERDICT_ACCEPTED, true, "");
		s->pump_due = true;
	}
	/* What follows from it may have been the end of x, as of all that was under way. */
	if (!type_is(h->content_type, "text/event-stream") || !xfer_find(s, token))
		return BODY_DISCARD;
	x->sse = true;
	sse_init(&x->parser, s->c->max_message);
	xfer_linger(s, x, LINGER_MS);
	return BODY_STREAM;
}

/* Web frameworks answer a POST with 201 unless they are told otherwise. 202 says
 * that the answer comes elsewhere, or never. */
static bool may_carry_answer(int status)
{
	return status / 100 == 2 && status != 202 && status != 204 && status != 205;
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
	if (h->location.n && h->status / 100 == 3)
		buf_add(&x->location, h->location);
	x->insufficient_scope = h->status == 403 && verdict_insufficient_scope(h->www_authenticate);
	if ((h->status == 401 || x->insufficient_scope) && x->kind != XF_DELETE) {
		struct action *a = session_act(s, ACT_AUTH);
		if (a) {
			a->token = token;
			a->status = h->status;
			a->op = x->rq ? x->rq->token : 0;
		}
	}
	if (h->status >= 300)
		xfer_linger(s, x, h->status == 401 || x->insufficient_scope ? LINGER_MS : ERROR_MS);
	if (x->kind == XF_STREAM)
		return stream_on_head(s, x, h);
	if (h->status >= 200 && h->status < 300 && (x->om || x->kind == XF_STEP))
		return taken(s, x, h);
	if (h->status >= 200 && h->status < 300 && x->rq &&
	    (x->rq->purpose == RQ_HANDSHAKE || x->rq->purpose == RQ_INIT) && s->trying == ERA_HTTP)
		session_set_session_id(s, h->session_id);
	if (may_carry_answer(h->status) && type_is(h->content_type, "text/event-stream") && (x->kind == XF_REQUEST || x->kind == XF_RESUME)) {
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
	if (x->kind == XF_REQUEST && may_carry_answer(h->status) && type_may_be_json(h->content_type)) {
		x->json = true;
		return BODY_COLLECT;
	}
	return h->status >= 300 || h->status == 200 ? BODY_STREAM : BODY_DISCARD;
}

/* 2024-11-05: the answer comes on the standing stream. The response to the POST may
 * bring it too, but whatever else it says only tells that the request was taken. */
static bool answered_elsewhere(const struct session *s, const struct request *r)
{
	bool handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT;

	return (s->era == ERA_NONE || handshake ? s->trying : s->era) == ERA_SSE;
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
	exchange_message(s, r, ev->data);
}

bool session_on_data(struct session *s, uint64_t token, char **p, size_t *n, bool cut, int64_t now)
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
				judge_too_large(s, x->rq);
				*n = 0;
			}
		} else if (got > 0 && !(x->kind == XF_STREAM && stream_on_event(s, x, &ev))) {
			if (x->kind == XF_STREAM)
				exchange_message(s, NULL, ev.data);
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
	if (x->json) {
		struct span all = span_without_mark(span_make(*p, *n));
		struct request *r = x->rq;
		struct rpc_msg m;

		*n = 0;
		if (r) {
			struct exchange_facts f = { .era = s->era == ERA_NONE ? s->trying : s->era, .status = 200, .had_session = x->had_session };
			rpc_parse(all.p, all.n, &m);
			f.msg = &m;
			f.handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT;
			if (m.kind == RPC_ERROR && verdict_session_gone(&f)) {
				buf_add(&x->body, all);
				x->json = false; /* judged at its end */
				x->conclusive = true;
			} else if ((m.kind != RPC_NOT_JSON && m.kind != RPC_INVALID) || (!cut && !answered_elsewhere(s, r))) {
				s->cur_whole = all.p == *p && all.n == m.text.n ? all : SPAN_NONE;
				exchange_parsed(s, r, m);
			}
		}
		s->cur = NULL;
		return false;
	}
	if (x->body.len < VERDICT_BODY)
		buf_append(&x->body, *p, *n < VERDICT_BODY - x->body.len ? *n : VERDICT_BODY - x->body.len);
	if (x->body.len == VERDICT_BODY && x->linger_until) {
		x->linger_until = now;
		session_due(s, now);
	}
	*n = 0;
	s->cur = NULL;
	return false;
}

/* Leaves behind what is told of it: in the log, and in answers that name no cause. */
static void note_end(struct session *s, struct xfer *x, const struct http_result *res, struct failure *f)
{
	failure_of_result(res, f);
	if (res->outcome != HTTP_OK) {
		session_note(s, NOTE_DEBUG, "transfer ended: %s", res->detail);
		snprintf(s->detail, sizeof(s->detail), "%.95s", res->detail);
		if (res->outcome == HTTP_RESET && res->reused && !res->got_bytes) {
			session_act(s, ACT_DROP_IDLE); /* its neighbours in the pool are no better */
			f->stale = true;
		}
	} else if (x->status >= 300) {
		snprintf(s->detail, sizeof(s->detail), "HTTP %d", x->status);
		offline_on_end(s, x);
	}
}

static void message_done(struct session *s, struct xfer *x, const struct http_result *res, const struct failure *f)
{
	struct exchange_facts ef = { .era = s->era, .status = x->status, .had_session = x->had_session,
		.retry_after = x->retry_after_ms >= 0, .insufficient_scope = x->insufficient_scope };
	struct rpc_msg m;

	if (x->answered)
		return;
	if (x->body.len) {
		rpc_parse(buf_data(&x->body), x->body.len, &m);
		if (m.kind == RPC_ERROR)
			ef.msg = &m;
	}
	if (res->outcome == HTTP_OK)
		outbox_on_done(s, x->om, x, verdict_of(&ef), true, "refused");
	else
		outbox_on_done(s, x->om, x, VERDICT_UNKNOWN, f->may_have_run, f->what);
}

static void request_done(struct session *s, struct xfer *x, struct request *r, const struct http_result *res, const struct failure *f)
{
	r->xfer = 0;
	if (x->sse && x->parser.retry_ms >= 0)
		r->retry_ms = x->parser.retry_ms;
	if (res->outcome == HTTP_OK && !x->too_large && answered_elsewhere(s, r)) {
		judge_response(s, x, r);
	} else if (x->sse && !x->answered) {
		if (x->too_large)
			judge_too_large(s, r);
		else if (x->garbage && res->outcome == HTTP_OK && !r->last_id.len)
			judge_bad_answer(s, x, r);
		else
			request_stream_ended(s, r, res->outcome == HTTP_OK, "The server's response ended without the answer");
	} else if (res->outcome == HTTP_BAD && strstr(res->detail, "too large")) {
		judge_too_large(s, r);
	} else if (res->outcome != HTTP_OK) {
		request_failed(s, r, f);
	} else if (x->json) {
		judge_bad_answer(s, x, r);
	} else {
		judge_response(s, x, r);
	}
}

void session_on_done(struct session *s, uint64_t token, const struct http_result *res, int64_t now)
{
	struct xfer *x = xfer_find(s, token);
	struct http_result whole = *res;
	struct failure f;
	struct request *r;

	s->now = now;
	if (!x)
		return;
	r = x->rq;
	x->rq = NULL;
	/* All that is to be known has been said; that the body was cut short tells nothing. */
	if (x->conclusive || x->status == 401 || x->insufficient_scope) {
		whole.outcome = HTTP_OK;
		res = &whole;
	}
	note_end(s, x, res, &f);
	if (res->outcome == HTTP_OK && judge_redirect(s, x, r))
		goto done;
	switch (x->kind) {
	case XF_STREAM:
		stream_on_done(s, x, res, f.what);
		break;
	case XF_OUT:
		message_done(s, x, res, &f);
		break;
	case XF_STEP:
		if (!x->answered)
			replay_on_initialized_sent(s, false);
		break;
	case XF_DELETE:
		break;
	case XF_RESUME:
		if (r) {
			r->xfer = 0;
			judge_resume(s, x, r, res);
		}
		break;
	case XF_REQUEST:
		if (r)
			request_done(s, x, r, res, &f);
		break;
	}
done:
	s->detail[0] = '\0';
	xfer_free(s, x);
	session_pump(s);
	session_check_drained(s);
}

void exchange_cut(struct session *s, struct xfer *x)
{
	struct http_result r = { .outcome = HTTP_OK, .body_sent = true, .got_bytes = true };
	struct action *a = session_act(s, ACT_CANCEL);

	if (a)
		a->token = x->token;
	session_on_done(s, x->token, &r, s->now);
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
