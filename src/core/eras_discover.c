/* Which era the server has: what server/discover is answered with, or not, and
 * what shows that it changed. */
#include "core/eras_i.h"

#include <stdio.h>

#define TEXT_MAX ((size_t)1 << 40)

/* -32022: does the server offer the version after all? Legacy ones it may offer too. */
static void offered(const struct rpc_msg *m, bool *modern, bool *legacy)
{
	struct json_iter it;
	struct span v;
	char text[16];

	*modern = *legacy = false;
	json_iter(&it, json_path(m->error, "data", "supported", NULL));
	while (json_next(&it, NULL, &v)) {
		*modern |= json_string_is(v, VERSION_MODERN);
		*legacy |= version_read(v, text) && version_is_known_legacy(text);
	}
}

bool eras_modern_offered(const struct session *s)
{
	struct rpc_msg refusal = { .error = buf_span(&s->init_error) };
	bool modern, legacy;

	offered(&refusal, &modern, &legacy);
	return modern;
}

/* What the server says of itself now. 0, or -1: no memory. */
int eras_rediscovered(struct session *s, const struct rpc_msg *m)
{
	struct eras *e = eras_get(s);

	if (e && eras_l2m(s) && !span_eq(json_get(m->result, "capabilities"), json_get(buf_span(&e->discover), "capabilities")))
		e->listen_dirty = true;
	if (!e || buf_set(&e->discover, m->kind == RPC_RESULT ? m->result : SPAN_NONE) != 0)
		return -1;
	if (m->kind == RPC_RESULT)
		offline_learn_handshake(s, m->result);
	return 0;
}

/* The level that a legacy client has set goes with each request. */
static void level_goes_along(struct session *s)
{
	struct span level = json_get(buf_span(&s->level_params), "level");

	if (s->eras && !s->client_modern && level.p)
		buf_set(&s->eras->level, level);
}

void eras_discovered(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct eras *e = eras_get(s);
	int64_t code = 0;
	bool offline, revived = s->state == SESSION_REVIVE;
	bool modern = m->kind == RPC_RESULT ? json_type(json_get(m->result, "supportedVersions")) == '['
		: rpc_error_code(m, &code) && (code == -32022 || code == -32021 || code == -32020);

	if (m->kind == RPC_ERROR && code == -32022) {
		bool ours, legacy;
		offered(m, &ours, &legacy);
		if (ours && e && !e->asked_again) {
			e->asked_again = true;
			request_drop(s, r);
			request_new_own(s, &r, RQ_DISCOVER, "server/discover", SPAN_NONE);
			if (r)
				request_post(s, r);
			else
				session_line_down(s, "out of memory", -1, -1);
			return;
		}
		modern = ours || !legacy;
	}
	if (!modern) {
		request_drop(s, r);
		probe_not_modern(s);
		return;
	}
	s->era = ERA_MODERN;
	if (eras_rediscovered(s, m) != 0) {
		s->era = ERA_NONE;
		request_drop(s, r);
		session_line_down(s, "out of memory", -1, -1);
		return;
	}
	e->asked_again = false;
	s->discover_breaks = 0;
	request_drop(s, r);
	snprintf(s->version, sizeof(s->version), "%s", VERSION_MODERN);
	session_rebuild_headers(s);
	session_succeeded(s);
	session_note(s, NOTE_INFO, "connected (%s, protocol %s)", era_name(s->era), s->version);
	if (s->handshake) {
		if (m->kind == RPC_ERROR) {
			request_refuse(s, s->handshake, ERR_UNSUPPORTED, "The server speaks only protocol versions that can not be translated for this client", -1);
			return;
		}
		if (legacy_initialize_result(s, s->handshake, buf_span(&e->discover)) != 0) {
			request_refuse(s, s->handshake, ERR_BAD_UPSTREAM, NO_ROOM, -1);
			return;
		}
	}
	offline = s->offline;
	if (offline)
		level_goes_along(s);
	e->listen_dirty |= (offline || revived) && !s->client_modern;
	session_ready(s);
	if (offline || revived) /* the client was told of another time */
		replay_after(s);
}

/* server/discover met trouble, which says nothing of what the server is; a legacy
 * one may break off each time, though. */
static bool discover_broke(struct session *s, const struct failure *f)
{
	if (f->line || f->retry_after_ms >= 0)
		return true;
	if (!s->handshake)
		return f->may_have_run || f->kind == ERR_UPSTREAM_UNAVAILABLE;
	return (f->stale || f->kind == ERR_UPSTREAM_UNAVAILABLE || f->kind == ERR_RATE_LIMITED) && s->discover_breaks++ < DISCOVER_BREAKS;
}

void eras_discover_failed(struct session *s, const struct failure *f, const char *what)
{
	if (s->state == SESSION_REVIVE) {
		if (f->kind == ERR_AUTH_REQUIRED)
			session_auth_refused(s, what);
		else if (f->line || f->retry_after_ms >= 0)
			session_line_down(s, what, f->retry_after_ms, -1);
		else
			replay_next(s, what);
		return;
	}
	if (s->state != SESSION_PROBE)
		return;
	/* For a legacy client initialize is still to come: it will see what is wrong. */
	if (f->kind == ERR_AUTH_REQUIRED && !s->handshake)
		session_auth_refused(s, what);
	else if (discover_broke(s, f))
		session_line_down(s, what, f->retry_after_ms, -1);
	else
		probe_not_modern(s);
}

/* ---- a server that changes its era ---------------------------------------------------------------------- */

/* What was subscribed to in one era is to be said in the other. */
static void listens_lost(struct session *s)
{
	struct eras *e = s->eras;

	if (e && e->listen)
		request_drop(s, e->listen);
	if (e && e->old_listen)
		request_drop(s, e->old_listen);
	if (!s->client_modern)
		return;
	for (struct request *r = s->ledger.head; r; r = r->next) {
		struct translation *t = r->extra;
		if (!r->is_listen || r->purpose != RQ_CLIENT || r->state == REQ_PARKED)
			continue;
		if (t)
			t->local = false;
		r->patient_until = 0;
		listen_broke(r);
		request_park(s, r, 0);
	}
	subs_free(s);
	if (e) {
		subs_free_list(&e->goodbyes);
		e->subs_due = false;
	}
}

void eras_lost(struct session *s, const char *why)
{
	session_note(s, NOTE_WARN, "the server is of another protocol era by now: %s", why);
	if (eras_get(s)) {
		s->eras->doubted_at = 0;
		level_goes_along(s);
	}
	session_forget(s);
	listens_lost(s);
	s->era = s->known_era = ERA_NONE;
	s->epoch++;
	s->force_init = true;
	session_set_session_id(s, SPAN_NONE);
	if (s->client_modern)
		probe_begin(s);
	else
		replay_begin(s);
}

/* Only this is said of nothing that has run. */
static bool offers_modern(const struct rpc_msg *m)
{
	bool modern = false, legacy;
	int64_t code;

	if (rpc_error_code(m, &code) && code == -32022)
		offered(m, &modern, &legacy);
	return modern;
}

bool eras_outgrown(struct session *s, const struct xfer *x, struct request *r, const struct rpc_msg *m)
{
	bool handshakes = (s->era == ERA_HTTP || s->era == ERA_SSE) && !version_text_is_modern(s->version);
	bool late = x->epoch != s->epoch && x->had_session; /* sent before that was found out */

	if (s->c->legacy_only || s->state == SESSION_DRAIN || !(handshakes || late))
		return false;
	switch (r->purpose) {
	case RQ_CLIENT:
		if (r->revives || !offers_modern(m))
			return false;
		r->revives++;
		r->why = RETRY_SESSION;
		request_park(s, r, 0);
		break;
	case RQ_PING: case RQ_PROBE: case RQ_RELIST: case RQ_INIT:
		request_drop(s, r);
		break;
	default:
		return false;
	}
	if (!late)
		eras_lost(s, "it refused a request as 2026-07-28 does");
	return true;
}

/* Codes that a server of 2026-07-28 may well use. */
static bool is_of_modern(const struct rpc_msg *m)
{
	int64_t code;

	if (m->kind == RPC_RESULT)
		return json_type(json_get(m->result, "supportedVersions")) == '[';
	return rpc_error_code(m, &code) && code <= -32020 && code >= -32099;
}

/* Asks, at most once in a while, what era the server has. */
static void ask_era(struct session *s)
{
	if (s->state != SESSION_READY || s->ping || (s->eras->doubted_at && s->now - s->eras->doubted_at < s->c->max_retry_ms))
		return;
	s->eras->doubted_at = s->now;
	request_new_own(s, &s->ping, RQ_PING, "server/discover", SPAN_NONE);
	if (s->ping)
		request_post(s, s->ping);
}

/* Refused as by a server with a handshake, which misses that. */
static bool looks_legacy(const struct xfer *x, const struct rpc_msg *m)
{
	int64_t code;

	if (x->status != 400 && x->status != 404 && x->status != 405)
		return false;
	if (!m || !rpc_error_code(m, &code))
		return true;
	return !is_of_modern(m) && (code > -32600 || code < -32700 || verdict_misses_handshake(m->error));
}

/* Whatever the server is, it has not looked at what was asked. */
static bool proves_unrun(const struct xfer *x, const struct rpc_msg *m)
{
	return x->status == 404 || (m && m->kind == RPC_ERROR && verdict_misses_handshake(m->error));
}

/* False: there is no memory for it. */
static bool keep_refusal(struct request *r, const struct xfer *x)
{
	struct translation *t = translation_get(r);

	if (!t || buf_set(&t->refusal, buf_span(&x->body)) != 0)
		return false;
	t->refused = x->status;
	return true;
}

bool eras_doubt(struct session *s, const struct xfer *x, struct request *r, const struct rpc_msg *m)
{
	bool same = s->era == ERA_MODERN;

	if ((r->purpose != RQ_CLIENT && r->purpose != RQ_LISTEN) || x->era != ERA_MODERN || !looks_legacy(x, m))
		return false;
	if (same)
		ask_era(s);
	if (r->purpose != RQ_CLIENT || r->doubted || (same && s->state == SESSION_READY && !s->ping))
		return false;
	if (!r->is_listen && !request_repeatable(s, r) && (!proves_unrun(x, m) || (same && !keep_refusal(r, x))))
		return false;
	r->doubted = true;
	r->why = RETRY_SESSION;
	request_park(s, r, 0);
	return true;
}

bool eras_undoubted(struct session *s, struct request *r)
{
	struct translation *t = r->extra;
	int status = t ? t->refused : 0;
	struct buf body;

	if (!status)
		return false;
	t->refused = 0;
	buf_init(&body, TEXT_MAX);
	buf_move(&body, &t->refusal);
	if (s->era == ERA_MODERN)
		judge_refusal(s, r, status, &body);
	buf_fini(&body);
	return s->era == ERA_MODERN;
}

bool eras_disproved(struct session *s, const struct rpc_msg *m)
{
	int64_t code;

	if (s->era != ERA_MODERN || (m && (is_of_modern(m) || (rpc_error_code(m, &code) && code == -32603))))
		return false;
	eras_lost(s, "it does not know server/discover");
	return true;
}
