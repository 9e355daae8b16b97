/* PROBE: the client's first handshake, which finds the transport and era of the
 * server, and what it says of the session that it makes. */
#include <stdio.h>
#include <string.h>

#include "core/session_i.h"

static void probe_try(struct session *s, enum era era)
{
	s->trying = era;
	session_set_session_id(s, SPAN_NONE);
	buf_reset(&s->endpoint);
	if (era == ERA_SSE) {
		s->tried_sse = true;
		stream_open(s);
		return;
	}
	if (era == ERA_MODERN) {
		struct request *r;
		s->tried_modern = true;
		r = NULL;
		if (!s->handshake || eras_learn_legacy(s, s->handshake->params) == 0)
			request_new_own(s, &r, RQ_DISCOVER, "server/discover", SPAN_NONE);
		if (!r) {
			session_line_down(s, "out of memory", -1, -1);
			return;
		}
		if (s->handshake && r->timeout_ms > DISCOVER_MS)
			r->timeout_ms = DISCOVER_MS;
		request_post(s, r);
		return;
	}
	s->tried_http = true;
	request_post(s, s->handshake);
}

/* A legacy client's initialize goes first, unless an earlier run found that the
 * server speaks only 2026-07-28. */
static bool ask_for_modern(const struct session *s)
{
	return !s->c->legacy_only && !s->client_modern && s->known_era == ERA_MODERN &&
	       (s->c->transport == TRANSPORT_AUTO || s->c->transport == TRANSPORT_HTTP);
}

enum era probe_first_choice(const struct session *s)
{
	if (s->era != ERA_NONE)
		return s->era;
	if (ask_for_modern(s))
		return ERA_MODERN;
	return s->c->transport == TRANSPORT_SSE || s->c->transport == TRANSPORT_SSE_FIRST ? ERA_SSE : ERA_HTTP;
}

enum era probe_untried(const struct session *s)
{
	enum transport_choice t = s->c->transport;

	if (t != TRANSPORT_SSE && !s->tried_http)
		return ERA_HTTP;
	if (t != TRANSPORT_SSE && !s->tried_modern && s->init_error.len && !s->c->legacy_only)
		return ERA_MODERN;
	return t != TRANSPORT_HTTP && !s->tried_sse ? ERA_SSE : ERA_NONE;
}

void probe_begin(struct session *s)
{
	session_drop_steps(s);
	if (!s->handshake && !s->client_modern) {
		session_enter(s, SESSION_START, "no handshake to make");
		return;
	}
	session_enter(s, SESSION_PROBE, "looking for the server's transport");
	session_round_begins(s);
	s->tried_http = s->tried_sse = s->tried_modern = false;
	buf_reset(&s->init_error);
	stream_close(s);
	if (!s->handshake && s->c->transport != TRANSPORT_SSE)
		probe_try(s, ERA_MODERN);
	else if (!s->handshake)
		probe_not_modern(s);
	else
		probe_try(s, probe_first_choice(s));
}

/* The server's own error is the client's. */
static void refuse_handshake(struct session *s, struct request *r, struct span error)
{
	int64_t code;

	eras_send_answer(s, r, "error", error);
	r->cancelled = true; /* answered here */
	s->n.answers++;
	s->n.errors_upstream++;
	request_tell(s, r, json_int(json_get(error, "code"), &code) && (int)code ? (int)code : -32603, SPAN_NONE);
	request_drop(s, r);
}

bool probe_refused(struct session *s)
{
	struct request *r = s->handshake;

	if (!s->init_error.len || !r)
		return false;
	s->discover_breaks = 0;
	refuse_handshake(s, r, buf_span(&s->init_error));
	session_enter(s, SESSION_START, "the server refused initialize");
	return true;
}

/* No transport is left: the server's own refusal if there was one, else later.
 * One that offers 2026-07-28 has it, even if server/discover was not answered. */
static void probe_exhausted(struct session *s, const char *why)
{
	bool again = s->tried_modern && eras_modern_offered(s) && s->discover_breaks++ < DISCOVER_BREAKS;

	if (!again && probe_refused(s))
		return;
	s->era = ERA_NONE;
	session_line_down(s, why, -1, -1);
}

void probe_next(struct session *s, const char *why)
{
	enum era next = probe_untried(s);
	char kept[160];

	snprintf(kept, sizeof(kept), "%s", why);
	session_note(s, NOTE_DEBUG, "not this transport: %s", kept);
	session_round_failed(s, kept);
	stream_close(s);
	if (s->handshake)
		request_park(s, s->handshake, 0);
	if (next != ERA_NONE)
		probe_try(s, next);
	else
		probe_exhausted(s, kept);
}

/* For a legacy client the next transport's turn; for a modern one the
 * handshake of ours that a legacy server needs. */
void probe_not_modern(struct session *s)
{
	if (s->handshake) {
		probe_next(s, "it is no modern server");
		return;
	}
	if (!s->client_modern && s->state == SESSION_REVIVE) {
		replay_next(s, "it is no modern server");
		return;
	}
	if (!s->client_modern || s->state != SESSION_PROBE)
		return;
	buf_reset(&s->init_params);
	if (modern_init_params(s, &s->init_params) != 0) {
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	s->client_initialized = s->initialized_sent = true;
	s->force_init = true;
	replay_begin(s);
}

void probe_session_made(struct session *s, struct span result)
{
	s->era = s->trying;
	s->discover_breaks = 0;
	s->epoch++;
	s->no_resume = false;
	s->n.handshakes++;
	if (!version_read(json_get(result, "protocolVersion"), s->version))
		s->version[0] = '\0';
	session_rebuild_headers(s);
	s->stream.state = s->era == ERA_SSE ? s->stream.state : STREAM_OFF;
	if (s->era == ERA_HTTP) {
		buf_reset(&s->stream.last_id);
		s->stream.nseen = 0;
		s->stream.existed = false;
		s->stream.gap = false; /* a new session is compared anyway */
		s->stream.compare_at = 0;
		s->stream.retry_ms = -1;
	}
}

void handshake_done(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int64_t code = 0;

	if (m->kind == RPC_ERROR && s->era == ERA_NONE && !s->tried_modern && s->trying == ERA_HTTP && rpc_error_code(m, &code) &&
	    (code == -32022 || code == -32601)) {
		buf_reset(&s->init_error);
		buf_add(&s->init_error, m->error);
		probe_next(s, "initialize is unknown to it");
		return;
	}
	if (m->kind == RPC_ERROR) {
		if (s->note_level >= NOTE_WARN)
			session_note(s, NOTE_WARN, "the server refused initialize");
		refuse_handshake(s, r, m->error);
		stream_close(s);
		session_enter(s, SESSION_START, "the server refused initialize");
		return;
	}
	probe_session_made(s, m->result);
	s->replay_owed = false;
	session_succeeded(s);
	buf_reset(&s->init_result);
	buf_add(&s->init_result, m->result);
	replay_offered(s, m->result, true);
	s->client_initialized = true;
	offline_learn_handshake(s, m->result);
	request_deliver_result(s, r, m->result);
	request_drop(s, r);
	session_note(s, NOTE_INFO, "connected (%s, protocol %s)", era_name(s->era), s->version[0] ? s->version : "unknown");
	session_ready(s);
}
