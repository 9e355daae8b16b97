/* What the client says: requests into the ledger, notifications and answers
 * into the outbox, and everything that is not JSON-RPC answered as the
 * JSON-RPC specification asks (5.1) and never passed on. */
#include <stdio.h>
#include <string.h>

#include "core/session_i.h"

static void refuse_line(struct session *s, struct span id, int code, const char *why)
{
	char text[200];

	snprintf(text, sizeof(text), "%s: %s", code == -32700 ? "Parse error" : "Invalid request", why ? why : "not a JSON-RPC 2.0 message");
	session_note(s, NOTE_WARN, "refused a line of the client: %s", text);
	session_send_error(s, id, code, text, SPAN_NONE);
}

/* ---- requests --------------------------------------------------------------------------------- */

void intake_no_memory(struct session *s, struct span id)
{
	struct own_error e = { .kind = ERR_QUEUE_FULL, .what = "There was not enough memory for the request", .retry_after_ms = -1 };

	session_send_own_error(s, id, &e);
}

static struct request *request_add(struct session *s, const struct rpc_msg *m, struct buf *big, enum req_purpose p)
{
	struct request *r = ledger_add(&s->ledger, p, s->now);

	if (!r || ledger_set_line(&s->ledger, r, m, big) != 0) {
		intake_no_memory(s, m->id);
		if (r) {
			s->parked++;
			request_drop(s, r);
		}
		return NULL;
	}
	s->parked++;
	s->parked_bytes += r->line.len;
	s->n.requests++;
	r->timeout_ms = s->c->request_timeout_ms;
	r->die_at = s->c->max_request_ms && !r->is_listen ? s->now + s->c->max_request_ms : 0;
	if (r->die_at)
		session_due(s, r->die_at);
	r->barrier = s->out_seq;
	if (r->is_tool_call) {
		int64_t ms = r->tool.p ? catalog_tool_timeout(s->catalog, r->tool) : 0;
		if (ms)
			r->timeout_ms = ms;
	} else {
		r->repeatable = dialect_repeatable(r->method);
	}
	return r;
}

/* Another client speaks now (or the same one, from the beginning): nobody waits for
 * what was asked before, and its ids are free to be used again. */
static void begin_anew(struct session *s)
{
	session_note(s, NOTE_INFO, "the client starts a new session");
	session_leave(s);
	session_forget(s);
	s->relist_owed = s->relist_missed = false;
	s->learn_at = 0;
	eras_new_client(s);
	s->client_initialized = s->initialized_sent = false;
	subs_free(s);
	buf_reset(&s->level_params);
	session_set_session_id(s, SPAN_NONE);
}

/* anew: it has asked before, in another way. */
static void client_initialize(struct session *s, const struct rpc_msg *m, struct buf *big, bool anew)
{
	struct request *r;

	if (s->handshake && !ledger_same_id(&s->ledger, s->handshake->id, m->id)) {
		refuse_line(s, m->id, -32600, "initialize is already under way");
		return;
	}
	if (s->state == SESSION_DRAIN || s->state == SESSION_END) {
		if ((r = request_add(s, m, big, RQ_CLIENT)))
			intake_wait(s, r);
		return;
	}
	if (anew || s->client_initialized || s->handshake)
		begin_anew(s);
	r = request_add(s, m, big, RQ_HANDSHAKE);
	if (!r)
		return;
	if (buf_set(&s->init_params, r->params) != 0) {
		request_refuse(s, r, ERR_QUEUE_FULL, "There was not enough memory for the request", -1);
		return;
	}
	s->handshake = r;
	r->repeatable = true;
	r->hold_until = s->now + s->c->hold_ms;
	session_due(s, r->hold_until);
	if (s->state == SESSION_DOWN && s->now < s->down_until) {
		request_refuse(s, r, ERR_UPSTREAM_UNAVAILABLE, "The server can not be reached", s->down_until - s->now);
		return;
	}
	if ((s->state == SESSION_START || s->state == SESSION_WAIT) && s->backoff.floor_until > s->now) { /* it said so to the last one */
		session_enter(s, SESSION_WAIT, "the server asked to be left alone");
		s->wait_until = s->backoff.floor_until;
		if (s->wait_until > r->hold_until)
			request_refuse(s, r, ERR_RATE_LIMITED, LEFT_ALONE, s->wait_until - s->now);
		return;
	}
	probe_begin(s);
}

bool intake_wait(struct session *s, struct request *r)
{
	int64_t next = s->state == SESSION_WAIT && s->wait_until > s->now ? s->wait_until - s->now : -1;

	switch (s->state) {
	case SESSION_DRAIN:
	case SESSION_END:
		request_refuse(s, r, ERR_SHUTTING_DOWN, "The bridge is ending", -1);
		return true;
	case SESSION_DOWN:
		if (s->now < s->down_until) {
			request_refuse(s, r, breaker_refuses(&s->breaker) ? ERR_CIRCUIT_OPEN : ERR_UPSTREAM_UNAVAILABLE,
				"The server can not be reached and the attempts to reconnect are used up", s->down_until - s->now);
			return true;
		}
		request_note_held(s, r);
		r->hold_until = s->now + s->c->hold_ms;
		session_due(s, r->hold_until);
		session_reconnect(s);
		return false;
	case SESSION_WAIT:
	case SESSION_REVIVE:
		if (breaker_refuses(&s->breaker)) {
			request_refuse(s, r, ERR_CIRCUIT_OPEN, "The server has been unreachable for a while and is being tried again in the background", next);
			return true;
		}
		if (s->state == SESSION_WAIT && s->backoff.floor_until > s->now + s->c->hold_ms) {
			request_refuse(s, r, ERR_RATE_LIMITED, LEFT_ALONE, s->backoff.floor_until - s->now);
			return true;
		}
		/* fall through */
	case SESSION_AUTH:
		if (s->parked > s->c->max_queue) {
			request_refuse(s, r, ERR_QUEUE_FULL, "The server is unreachable and the queue of waiting requests is full", next);
			return true;
		}
		/* fall through */
	case SESSION_PROBE:
		request_note_held(s, r);
		r->hold_until = s->now + s->c->hold_ms;
		session_due(s, r->hold_until);
		session_owe_attempt(s);
		return false;
	default:
		return false;
	}
}

static void client_request(struct session *s, const struct rpc_msg *m, struct buf *big)
{
	struct request *r;

	if (span_is(m->method, "initialize") && (s->client_modern || !dialect_client_is_modern(m))) {
		bool fell_back = s->client_modern;
		if (fell_back && !eras_unbind(s))
			refuse_line(s, m->id, -32600, "initialize does not belong in a conversation of the stateless protocol");
		else
			client_initialize(s, m, big, fell_back);
		return;
	}
	if (span_is(m->method, "ping") && s->state != SESSION_READY) {
		session_send_result(s, m->id, SPAN_LIT("{}"));
		return;
	}
	if (eras_intake(s, m))
		return;
	if (offline_intake(s, m))
		return;
	r = request_add(s, m, big, RQ_CLIENT);
	if (!r)
		return;
	if (r->is_tool_call && r->tool.p && tools_is_ignored(s->c, r->tool)) {
		request_refuse(s, r, ERR_UNSUPPORTED, "The user has turned this tool off", -1);
		return;
	}
	if (span_is(r->method, "resources/subscribe") && subs_full(s, r->params)) {
		request_refuse(s, r, ERR_UNSUPPORTED, SUBS_FULL, -1);
		return;
	}
	if (s->state == SESSION_START && s->client_modern) {
		r->hold_until = s->now + s->c->hold_ms;
		session_due(s, r->hold_until);
		probe_begin(s);
		return;
	}
	if (s->state == SESSION_START) {
		request_refuse(s, r, ERR_UNSUPPORTED, "The client must send initialize before anything else", -1);
		return;
	}
	intake_wait(s, r);
}

/* ---- notifications and answers -------------------------------------------------------------------- */

static void cancel_upstream(struct session *s, struct request *r, const char *reason)
{
	struct request *hedge = eras_request(s, r->twin);

	outbox_cancelled(s, r, reason);
	if (hedge) {
		outbox_cancelled(s, hedge, reason);
		request_drop(s, hedge);
	}
}

static void client_cancelled(struct session *s, const struct rpc_msg *m)
{
	struct span id = json_get(m->params, "requestId");
	struct request *r = id.p ? eras_by_client_id(s, id) : NULL;
	struct span reason = json_get(m->params, "reason");
	struct buf text;

	if (!r || r->cancelled || r->purpose != RQ_CLIENT)
		return; /* answered meanwhile: nothing to stop */
	if (eras_spent(r)) { /* with a question: the client does not mean to answer it */
		outbox_cancelled(s, r, NULL);
		request_drop(s, r);
		return;
	}
	if (r->state == REQ_PARKED || dialect_cancel_by_close(s->era) || (r->is_listen && eras_m2l(s))) {
		request_drop(s, r);
		return;
	}
	r->cancelled = true;
	if (s->state != SESSION_READY) {
		if (r->state == REQ_BROKEN)
			request_drop(s, r);
		return;
	}
	buf_init(&text, 4096);
	if (json_type(reason) == '"' && json_string(reason, &text) == 0 && buf_append(&text, "", 1) == 0)
		cancel_upstream(s, r, buf_data(&text));
	else
		cancel_upstream(s, r, NULL);
	buf_fini(&text);
	if (r->state == REQ_BROKEN)
		request_drop(s, r); /* no stream of it is open: nothing is fetched any more */
}

static void client_notification(struct session *s, const struct rpc_msg *m, struct buf *big)
{
	if (s->state == SESSION_DRAIN || s->state == SESSION_END)
		return;
	if (span_is(m->method, "notifications/cancelled")) {
		client_cancelled(s, m);
		return;
	}
	if (eras_intake(s, m))
		return;
	if (!s->client_initialized && !s->handshake && s->state == SESSION_START) {
		session_note(s, NOTE_DEBUG, "dropped a notification that came before initialize");
		return;
	}
	s->n.notifications_out++;
	if (span_is(m->method, "notifications/initialized"))
		s->initialized_sent = true;
	outbox_notify(s, m->text, big);
}

/* The one call that runs in an earlier session, and so has asked; 0: none, or one of many. */
static uint64_t asker(const struct session *s, uint64_t epoch)
{
	uint64_t token = 0;

	for (const struct request *r = s->ledger.head; r; r = r->next) {
		if (r->purpose != RQ_CLIENT || r->epoch != epoch || (r->state != REQ_SENT && r->state != REQ_STREAMING))
			continue;
		if (token)
			return 0;
		token = r->token;
	}
	return token;
}

static void client_answer(struct session *s, const struct rpc_msg *m, struct buf *big)
{
	uint64_t epoch, token;

	if (eras_intake(s, m))
		return;
	if (!srvreq_take(s, m->id, &epoch, &token)) {
		session_note(s, NOTE_INFO, "dropped an answer to a request that the server did not make");
		return;
	}
	outbox_answer(s, m->text, big, epoch, token || epoch == s->epoch ? token : asker(s, epoch));
}

static void client_batch(struct session *s, const struct rpc_msg *m)
{
	struct json_iter it;
	struct span v;
	char version[16] = "";

	/* The revision that has batches, as negotiated or as just asked for. */
	if (!dialect_has_batches(s->version) &&
	    !(version_read(json_get(buf_span(&s->init_params), "protocolVersion"), version) && dialect_has_batches(version))) {
		refuse_line(s, SPAN_NONE, -32600, "batches are not part of this protocol version");
		return;
	}
	json_iter(&it, m->text);
	while (json_next(&it, NULL, &v)) {
		if (json_type(v) == '[')
			refuse_line(s, SPAN_NONE, -32600, "a batch inside a batch");
		else
			intake_line(s, v, NULL);
	}
}

void intake_line(struct session *s, struct span line, struct buf *big)
{
	struct span bare = s->client_seen ? line : span_without_mark(line);
	struct rpc_msg m;

	if (bare.n != line.n)
		big = NULL; /* its block holds more than the message */
	rpc_parse(bare.p, bare.n, &m);
	if (m.has_newline) {
		refuse_line(s, m.id, -32700, "a raw line break inside the message");
		return;
	}
	s->client_seen = true;
	switch (m.kind) {
	case RPC_REQUEST:
		client_request(s, &m, big);
		break;
	case RPC_NOTIFICATION:
		client_notification(s, &m, big);
		break;
	case RPC_RESULT:
	case RPC_ERROR:
		client_answer(s, &m, big);
		break;
	case RPC_BATCH:
		client_batch(s, &m);
		break;
	case RPC_NOT_JSON:
		refuse_line(s, SPAN_NONE, -32700, m.why);
		break;
	case RPC_INVALID:
		refuse_line(s, m.id, -32600, m.why);
		break;
	}
}
