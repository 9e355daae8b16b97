/* REVIVE: the handshakes that the client never sees, when a session is found alive
 * or made again and told all it must know. Its own one is in probe.c; what a new
 * session offers is compared in compare.c. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define ADOPTED_MS 15000       /* an initialize that the client does not wait for any more */
#define KEEPALIVE_ANSWER_MS 10000
#define MISFITS_BEFORE_PROBE 3
#define RELIST_TRIES 3
#define ODD_STEPS 2
#define PINGS_BELIEVED 2       /* HTTP 500 may come of the ping itself, which some servers do not know */

static const char initialized_line[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

enum replay_step { STEP_PROBE, STEP_STREAM, STEP_INIT, STEP_INITIALIZED, STEP_LEVEL, STEP_SUBS };

static void post_step(struct session *s, enum req_purpose p, const char *method, struct span params)
{
	request_new_own(s, &s->step_rq, p, method, params);
	if (!s->step_rq) {
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	if (s->step_rq->timeout_ms < s->step_ms)
		s->step_rq->timeout_ms = s->step_ms < s->c->request_timeout_ms ? s->step_ms : s->c->request_timeout_ms;
	request_post(s, s->step_rq);
}

static void step_init(struct session *s)
{
	s->step = STEP_INIT;
	if (s->trying == ERA_HTTP) {
		past_remember(s);
		session_set_session_id(s, SPAN_NONE);
	}
	post_step(s, RQ_INIT, "initialize", buf_span(&s->init_params));
}

static void replay_done(struct session *s)
{
	bool made = s->step != STEP_PROBE;

	s->step_rq = NULL;
	s->odd_steps = 0;
	s->replay_owed = false;
	session_ready(s);
	if (s->state != SESSION_READY)
		return;
	if (s->initialized_sent && dialect_has_stream(s->era) && s->stream.state == STREAM_OFF)
		stream_open(s);
	if (made)
		replay_after(s);
	else if (s->relist_owed)
		replay_compare(s);
}

/* refused: the one just tried is not to be had any more. */
static void step_subs(struct session *s, bool refused)
{
	struct subscription *was = s->step_sub;
	bool gone = s->step_sub_gone;

	s->step = STEP_SUBS;
	s->step_sub_gone = false;
	s->step_sub = was ? was->next : s->subs;
	if (was && refused && !gone)
		subs_set(s, buf_span(&was->params), false);
	if (!s->step_sub) {
		replay_done(s);
		return;
	}
	s->step_sub->due = false;
	post_step(s, RQ_SUBSCRIBE, "resources/subscribe", buf_span(&s->step_sub->params));
}

static void step_level(struct session *s)
{
	s->step = STEP_LEVEL;
	s->step_sub = NULL;
	s->step_sub_gone = false;
	if (s->level_params.len)
		post_step(s, RQ_LEVEL, "logging/setLevel", buf_span(&s->level_params));
	else
		step_subs(s, false);
}

static void post_initialized(struct session *s, struct span url, unsigned redirects)
{
	struct xfer *x = xfer_start(s, XF_STEP, HTTP_POST, HEADERS_SESSION, span_make(initialized_line, sizeof(initialized_line) - 1), KEEPALIVE_ANSWER_MS);

	if (!x) {
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	if (!url.p && s->era == ERA_SSE)
		url = buf_span(&s->endpoint);
	if (url.p && buf_add(&x->url, url) != 0) {
		xfer_cancel(s, x->token);
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	eras_out_headers(s, SPAN_LIT("notifications/initialized"), &x->lines);
	xfer_ready(s, x);
	x->redirects = redirects;
}

static void step_initialized(struct session *s)
{
	s->step = STEP_INITIALIZED;
	if (s->initialized_sent)
		post_initialized(s, SPAN_NONE, 0);
	else
		replay_done(s); /* the client has not got that far itself */
}

bool replay_follow(struct session *s, struct xfer *x, struct span url)
{
	if (s->state != SESSION_REVIVE || s->step != STEP_INITIALIZED)
		return false;
	post_initialized(s, url, x->redirects + 1);
	return true;
}

/* The session is alive. What a break kept from being said to it comes now. */
static void probed(struct session *s)
{
	if (s->replay_owed)
		step_level(s);
	else
		replay_done(s);
}

void replay_on_initialized_sent(struct session *s, bool ok)
{
	if (s->state != SESSION_REVIVE || s->step != STEP_INITIALIZED)
		return;
	if (ok) {
		step_level(s);
		return;
	}
	s->force_init = true;
	session_line_down(s, "the server did not take the new session", -1, -1);
}

static void replay_try(struct session *s, enum era era)
{
	s->trying = era;
	s->tried_http |= era == ERA_HTTP;
	s->tried_sse |= era == ERA_SSE;
	s->tried_modern |= era == ERA_MODERN;
	if (era == ERA_SSE) {
		s->step = STEP_STREAM;
		buf_reset(&s->endpoint);
		stream_close(s);
		stream_open(s);
	} else if (era == ERA_MODERN && s->era == ERA_NONE) {
		s->step = STEP_PROBE;
		if (eras_learn_legacy(s, buf_span(&s->init_params)) == 0)
			post_step(s, RQ_DISCOVER, "server/discover", SPAN_NONE);
		else
			session_line_down(s, "out of memory", -1, -1);
		if (s->step_rq && s->step_rq->timeout_ms > DISCOVER_MS)
			s->step_rq->timeout_ms = DISCOVER_MS;
	} else if (era == ERA_MODERN) {
		s->step = STEP_PROBE;
		post_step(s, RQ_PROBE, "server/discover", SPAN_NONE);
	} else if (s->force_init) {
		step_init(s);
	} else {
		s->step = STEP_PROBE;
		post_step(s, RQ_PROBE, "ping", SPAN_NONE);
	}
}

/* A transport that was found once is given up for another when it has not fitted too often. */
static enum era untried_again(const struct session *s)
{
	if (s->era == ERA_NONE)
		return probe_untried(s);
	if (s->revived_misfits < MISFITS_BEFORE_PROBE || (s->c->transport != TRANSPORT_AUTO && s->c->transport != TRANSPORT_SSE_FIRST))
		return ERA_NONE;
	if (s->era == ERA_HTTP && !s->tried_sse)
		return ERA_SSE;
	return s->era == ERA_SSE && !s->tried_http ? ERA_HTTP : ERA_NONE;
}

/* For a modern client: its server refuses the handshake that is made for it.
 * With another version, or those who wait are told why. */
static bool init_refused(struct session *s)
{
	struct span error = buf_span(&s->init_error), said = json_get(error, "message");
	char text[300];
	int64_t code;
	struct buf b;

	if (!s->client_modern || s->era != ERA_NONE || !error.n)
		return false;
	if (modern_other_version(s, error)) {
		buf_reset(&s->init_error);
		step_init(s);
		return true;
	}
	if (json_int(json_get(error, "code"), &code) && code <= -32020 && code >= -32099)
		return false; /* a modern one, then */
	buf_init(&b, 4096);
	if (json_type(said) == '"' && json_string(said, &b) != 0)
		buf_reset(&b);
	snprintf(text, sizeof(text), "The server refused to start a session: %.*s", (int)(b.len < 200 ? b.len : 200), b.len ? buf_data(&b) : "no reason given");
	buf_fini(&b);
	session_forget(s);
	s->down_until = 0; /* the next request tries again */
	session_enter(s, SESSION_DOWN, "the server refused initialize");
	session_refuse_parked(s, 0, ERR_BAD_UPSTREAM, text, -1);
	return true;
}

void replay_next(struct session *s, const char *why)
{
	enum era next;
	char kept[160];

	s->revived_misfits += s->era != ERA_NONE && s->trying == s->era;
	next = untried_again(s);
	snprintf(kept, sizeof(kept), "%s", why);
	session_round_failed(s, kept);
	if (next == ERA_NONE) {
		if (!init_refused(s))
			session_line_down(s, kept, -1, -1);
		return;
	}
	if (s->era != ERA_NONE) { /* nothing of the old session means anything to it */
		s->force_init = true;
		session_set_session_id(s, SPAN_NONE);
	}
	session_note(s, NOTE_DEBUG, "not this transport: %s", kept);
	stream_close(s);
	replay_try(s, next);
}

void replay_adopt(struct session *s, struct request *r, int64_t floor_ms)
{
	bool sent = r && r->xfer;

	s->handshake = NULL;
	s->step_rq = NULL;
	session_enter(s, SESSION_REVIVE, "the client was answered from memory");
	s->step = s->trying == ERA_SSE ? STEP_STREAM : STEP_PROBE;
	if (sent || (r && s->trying == ERA_SSE && r->state == REQ_SENT)) {
		s->step = STEP_INIT;
		s->step_rq = r;
		r->purpose = RQ_INIT;
		r->die_at = 0;
		r->timeout_ms = s->now - r->active_at + ADOPTED_MS;
		session_due(s, s->now + ADOPTED_MS);
		return;
	}
	if (r)
		request_drop(s, r);
	if (s->trying == ERA_HTTP || floor_ms >= 0)
		session_line_down(s, "the server can not be reached", floor_ms, -1);
}

void replay_begin(struct session *s)
{
	if (s->state != SESSION_REVIVE)
		s->stale_steps = 0;
	session_enter(s, SESSION_REVIVE, "restoring the session");
	session_round_begins(s);
	s->step_rq = NULL;
	session_drop_steps(s);
	s->tried_http = s->tried_sse = false;
	s->tried_modern = s->client_modern; /* that is how it came here */
	buf_reset(&s->init_error);
	replay_try(s, probe_first_choice(s));
}

void replay_on_endpoint(struct session *s)
{
	if (s->state == SESSION_PROBE && s->handshake)
		request_post(s, s->handshake);
	else if (s->state == SESSION_REVIVE)
		step_init(s);
}

static void revived_init(struct session *s, const struct rpc_msg *m)
{
	char before[16];
	int64_t code;

	if (m->kind == RPC_ERROR && s->era == ERA_NONE && !s->client_modern && rpc_error_code(m, &code) && (code == -32022 || code == -32601)) {
		buf_reset(&s->init_error);
		buf_add(&s->init_error, m->error);
		replay_next(s, "initialize is unknown to it");
		return;
	}
	if (m->kind == RPC_ERROR) {
		if (s->era == ERA_NONE && buf_set(&s->init_error, m->error) == 0 && init_refused(s))
			return;
		session_line_down(s, "the server refused to start the session again", -1, -1);
		return;
	}
	if (s->client_modern && buf_set(&s->init_result, m->result) != 0) { /* its server/discover is answered from it */
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	memcpy(before, s->version, sizeof(before));
	probe_session_made(s, m->result);
	outbox_new_session(s);
	replay_offered(s, m->result, !before[0]);
	s->force_init = false;
	s->replay_owed = true;
	s->failed_probes = 0;
	s->revived_misfits = 0;
	if (before[0] && strcmp(before, s->version) != 0) {
		session_note(s, NOTE_WARN, "the server now speaks protocol %s; the client was told %s", s->version[0] ? s->version : "unknown", before);
		if (!version_is_known_legacy(s->version)) {
			memcpy(s->version, before, sizeof(before));
			session_unacceptable(s);
			return;
		}
	}
	offline_learn_handshake(s, m->result);
	offline_offered(s, m->result);
	if (!span_eq(json_get(m->result, "capabilities"), json_get(buf_span(&s->init_result), "capabilities")))
		session_note(s, NOTE_INFO, "the server's capabilities have changed");
	step_initialized(s);
}

void replay_on_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	enum req_purpose p = r->purpose;

	if (p == RQ_RELIST) {
		replay_on_relist(s, r, m);
		return;
	}
	if (p == RQ_HEDGE) {
		struct request *q = s->ledger.head;
		while (q && q->token != r->twin)
			q = q->next;
		if (q) {
			r->twin = q->twin = 0;
			request_detach(s, q);
			exchange_answer(s, q, m);
		}
		request_drop(s, r);
		return;
	}
	if (p == RQ_DISCOVER || p == RQ_LISTEN || p == RQ_MIRROR) {
		eras_answer(s, r, m);
		return;
	}
	if (m->kind == RPC_ERROR && (p == RQ_LEVEL || p == RQ_SUBSCRIBE))
		session_note(s, NOTE_WARN, "the new session refused %.*s", (int)r->method.n, r->method.p);
	bool step = s->step_rq == r;
	if (p == RQ_SUBSCRIBE)
		eras_subscribed(s, r, m->kind == RPC_RESULT);
	request_drop(s, r);
	if (p == RQ_PING) {
		if (!eras_disproved(s, m))
			keepalive_on_answer(s);
		return;
	}
	if (!step || s->state != SESSION_REVIVE)
		return;
	switch (p) {
	case RQ_PROBE:
		if (eras_disproved(s, m))
			break;
		if (s->era == ERA_MODERN && json_type(json_get(m->result, "supportedVersions")) == '[' && eras_rediscovered(s, m) != 0) {
			session_line_down(s, "out of memory", -1, -1);
			break;
		}
		session_succeeded(s);
		s->failed_probes = 0;
		probed(s);
		break;
	case RQ_INIT:
		revived_init(s, m);
		break;
	case RQ_LEVEL:
	case RQ_SUBSCRIBE:
		step_subs(s, m->kind == RPC_ERROR);
		break;
	default:
		break;
	}
}

void replay_on_gone(struct session *s, struct request *r)
{
	enum req_purpose p = r->purpose;

	request_drop(s, r);
	if (p == RQ_RELIST && s->state == SESSION_READY) {
		relist_stop(s);
		session_ping(s); /* it knows */
		return;
	}
	s->force_init = true;
	if (s->state == SESSION_REVIVE && p == RQ_PROBE && !s->gone_once) {
		s->gone_once = true;
		s->n.session_losses++;
		session_note(s, NOTE_INFO, "the server lost the session; starting another");
		step_init(s);
	} else if (s->state == SESSION_REVIVE) {
		session_line_down(s, "the new session was lost at once", -1, -1);
	}
}

static void ping_failed(struct session *s, const struct failure *f)
{
	if (s->era == ERA_MODERN) {
		s->ping = NULL;
		if (f->kind == ERR_BAD_UPSTREAM && !f->may_have_run)
			eras_disproved(s, NULL);
	} else if (f->kind != ERR_AUTH_REQUIRED && f->kind != ERR_BAD_UPSTREAM && !(f->status == 500 && s->ping_fails)) {
		s->ping = NULL;
		keepalive_on_failure(s, f);
	}
}

/* A level or a subscription of before was not taken. A page of somebody's in between
 * is a fault that passes, unless it does not. */
static void replayed_failed(struct session *s, const struct failure *f)
{
	bool odd = f->kind == ERR_BAD_UPSTREAM && !(f->may_have_run && s->odd_steps++ < ODD_STEPS);

	if (!odd && f->kind != ERR_AUTH_REQUIRED) {
		session_line_down(s, f->what, f->retry_after_ms, -1);
		return;
	}
	session_note(s, NOTE_WARN, "the new session refused a replayed step: %s", f->what);
	step_subs(s, true);
}

static void init_failed(struct session *s, const struct failure *f, bool wrong_transport)
{
	if (f->stale && s->stale_steps++ < 2) {
		step_init(s);
	} else if (f->kind == ERR_AUTH_REQUIRED) {
		session_auth_refused(s, f->what);
	} else if (!wrong_transport) {
		s->revived_misfits = 0;
		session_line_down(s, f->what, f->retry_after_ms, -1);
	} else if (!json_path(buf_span(&s->init_error), "data", "supported", NULL).p || !init_refused(s)) {
		replay_next(s, f->what);
	}
}

static void probe_failed(struct session *s, const struct failure *f, bool wrong_transport)
{
	if (f->stale && s->stale_steps++ < 2) {
		replay_begin(s);
	} else if (s->era == ERA_HTTP && f->status == 500 && (s->ping_fails || s->failed_probes++ >= PINGS_BELIEVED)) {
		s->ping_fails = s->force_init = true;
		step_init(s);
	} else if (f->kind != ERR_BAD_UPSTREAM || f->may_have_run) {
		init_failed(s, f, wrong_transport);
	} else if (!eras_disproved(s, NULL)) {
		probed(s); /* an odd refusal of ping: the line is there */
	}
}

/* A step of the revival. */
static void step_failed(struct session *s, enum req_purpose p, const struct failure *f, bool wrong_transport)
{
	if (p == RQ_LEVEL || p == RQ_SUBSCRIBE)
		replayed_failed(s, f);
	else if (p == RQ_PROBE)
		probe_failed(s, f, wrong_transport);
	else if (p == RQ_INIT) {
		s->ping_fails = false; /* it was not the ping */
		init_failed(s, f, wrong_transport);
	}
}

void replay_on_failure(struct session *s, struct request *r, const struct failure *f, bool wrong_transport)
{
	enum req_purpose p = r->purpose;
	bool step = s->step_rq == r, ready = s->state == SESSION_READY;
	bool passing = f->kind == ERR_UPSTREAM_UNAVAILABLE || f->kind == ERR_TIMEOUT || f->kind == ERR_RATE_LIMITED;
	struct failure kept = *f;
	char what[512];

	snprintf(what, sizeof(what), "%s", f->what); /* it may belong to r */
	kept.what = what;
	if (p == RQ_LISTEN || p == RQ_DISCOVER || p == RQ_MIRROR) {
		eras_failed(s, r, &kept);
		return;
	}
	if (p == RQ_RELIST && ready && passing && r->attempts < RELIST_TRIES) {
		r->why = RETRY_REPEATABLE;
		request_park(s, r, request_backoff(s, r, kept.retry_after_ms));
		return;
	}
	if (p == RQ_SUBSCRIBE && ready && passing)
		eras_subscribe_later(s, kept.retry_after_ms);
	else if (p == RQ_SUBSCRIBE && ready)
		eras_subscribed(s, r, false);
	request_drop(s, r);
	if (step && s->state == SESSION_REVIVE) {
		step_failed(s, p, &kept, wrong_transport);
	} else if (p == RQ_PING && s->state == SESSION_READY) {
		ping_failed(s, &kept);
	} else if (p == RQ_RELIST && s->state == SESSION_READY) {
		s->relist_missed |= passing;
		relist_failed(s);
	}
}

