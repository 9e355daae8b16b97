/* Messages of the server: matched to the ledger, learned from, and passed on to
 * the client as the bytes they are. */
#include <string.h>

#include "core/session_i.h"

/* A list that could not be learned can not be compared with a later one: it counts as changed then. */
void exchange_learn_page(struct session *s, const struct request *r, enum catalog_list l, struct span result)
{
	struct span cursor = json_get(r->params, "cursor");

	if (catalog_on_page(s->catalog, l, cursor, result) != 0) {
		session_note(s, NOTE_WARN, "out of memory while learning a list");
		s->stale_lists |= 1u << l;
	}
	offline_learn_page(s, (int)l, cursor, result);
}

/* False: it is something that every new session must be told, and there was no memory for it. */
static bool learn_from_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int list;

	if (m->kind != RPC_RESULT)
		return true;
	if (r->method.n < 10)
		return true;
	list = catalog_list_of(r->method);
	if (list >= 0)
		exchange_learn_page(s, r, (enum catalog_list)list, m->result);
	else if (span_is(r->method, "resources/subscribe"))
		return subs_set(s, r->params, true) == 0;
	else if (span_is(r->method, "resources/unsubscribe"))
		return subs_set(s, r->params, false) == 0;
	else if (span_is(r->method, "logging/setLevel"))
		return buf_set(&s->level_params, r->params) == 0;
	return true;
}

/* The code of an error answer, 0 for a result. */
static int code_of(const struct rpc_msg *m)
{
	int64_t code = 0;

	if (m->kind != RPC_ERROR)
		return 0;
	return rpc_error_code(m, &code) && (int)code ? (int)code : -32603;
}

/* Only what the client asks: steps of the bridge's own have answers of their own for an error. */
static bool retry_this_error(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int64_t code;

	if (m->kind != RPC_ERROR || !s->c->nretry_errors || !request_repeatable(s, r) || !rpc_error_code(m, &code))
		return false;
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE)
		return false;
	if (s->c->max_retries >= 0 && r->attempts > (unsigned)s->c->max_retries)
		return false;
	for (size_t i = 0; i < s->c->nretry_errors; i++)
		if (s->c->retry_errors[i] == code)
			return !request_patience_over(s, r);
	return false;
}

void exchange_answer_lost(struct session *s, const struct request *r)
{
	struct own_error e = { .kind = ERR_MESSAGE_TOO_LARGE, .what = "There was not enough memory for the answer of the server",
		.may_have_run = true, .retry_after_ms = -1, .attempts = r->attempts,
		.tool = r->is_tool_call && !s->c->tool_errors_protocol, .has_run_state = r->is_tool_call, .typed = s->client_modern };

	if (!r->cancelled)
		session_send_own_error(s, eras_client_id(r), &e);
}

/* Passes the answer on under the client's own id. */
static void pass_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span id = eras_client_id(r);
	struct json_edit edit = { m->id, id };
	struct buf b, member;
	bool sent;

	if (span_eq(m->id, id)) {
		if (!session_send(s, m->text))
			exchange_answer_lost(s, r);
		return;
	}
	buf_init(&b, m->text.n + id.n + 16);
	buf_init(&member, id.n + 16);
	sent = (m->id.p || json_edit_set(&edit, &member, m->text, "id", id) == 0) &&
	       json_splice(&b, m->text, &edit, 1) == 0 && session_send_owned(s, &b);
	buf_fini(&member);
	buf_fini(&b);
	if (!sent)
		exchange_answer_lost(s, r);
}

/* The answer has come: the transfer that brought it ends by itself. */
void exchange_release(struct session *s, struct request *r)
{
	struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;

	request_slot_free(s, r);
	if (!x || (!x->sse && !x->json))
		return;
	if (x->sse) {
		xfer_linger(s, x, LINGER_MS);
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

/* tools/list without the tools that the user does not want to be seen: 1 when
 * there were some, and the answer was dealt with; -1: no memory, and the client
 * must not be given the list as it is. */
static int hide_tools(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct json_edit e = { m->result, SPAN_NONE };
	struct xfer *cur = s->cur;
	struct rpc_msg less;
	struct buf result, text;
	int n;

	buf_init(&result, m->result.n + 16);
	buf_init(&text, m->text.n + 16);
	n = tools_hide(s->c, m->result, &result);
	e.new_bytes = buf_span(&result);
	if (n > 0 && json_splice(&text, m->text, &e, 1) != 0)
		n = -1;
	if (n > 0) {
		rpc_parse(buf_data(&text), text.len, &less);
		s->cur = NULL; /* these bytes do not outlive the call: what is sent is copied */
		exchange_answer(s, r, &less);
		s->cur = cur;
	}
	buf_fini(&result);
	buf_fini(&text);
	return n;
}

void exchange_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int hidden = 0;

	if (s->c->nignore_tools && r->purpose == RQ_CLIENT && m->kind == RPC_RESULT && span_is(r->method, "tools/list"))
		hidden = hide_tools(s, r, m);
	if (hidden > 0)
		return;
	if (retry_this_error(s, r, m)) {
		r->why = RETRY_ERROR;
		request_park(s, r, request_backoff(s, r, -1));
		if (r->purpose == RQ_HANDSHAKE)
			session_line_down(s, "the server answered initialize with an error that is to be tried again", -1, -1);
		return;
	}
	if (r->purpose == RQ_CLIENT) {
		session_succeeded(s);
		if (r->state == REQ_PARKED) /* a late answer to its last attempt */
			request_unpark(s, r, REQ_SENT);
		request_spend(s, r);
		uint64_t seq = r->seq;
		if (hidden < 0) {
			exchange_answer_lost(s, r);
		} else if (!eras_answer(s, r, m)) {
			if (!learn_from_answer(s, r, m))
				exchange_answer_lost(s, r);
			else if (!r->cancelled && !eras_spent(r))
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
		request_tell(s, r, code_of(m), m->result);
	}
	if ((r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT) && m->kind == RPC_RESULT)
		s->step_ms = 2 * (s->now - r->sent_at);
	exchange_release(s, r);
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
		session_send(s, m->text);
		replay_on_list_changed(s, m->method);
		return;
	}
	session_send(s, m->text);
}

static void deliver_server_request(struct session *s, const struct request *r, const struct rpc_msg *m)
{
	if (!srvreq_add(s, r, m->id)) {
		session_note(s, NOTE_DEBUG, "dropped a server request that was delivered before");
		return;
	}
	s->n.server_requests++;
	session_send(s, m->text);
}

/* The only one whose id is the same double; NULL: none, or several. */
static struct request *by_double(const struct session *s, struct span id)
{
	struct request *found = NULL;

	for (struct request *q = s->ledger.head; q; q = q->next) {
		if (!rpc_id_same_double(q->uid, id))
			continue;
		if (found)
			return NULL;
		found = q;
	}
	return found;
}

/* Which request does this answer belong to? Its id says; a large number id may
 * come back as the nearest double. */
struct request *exchange_find(struct session *s, struct request *r, struct span id)
{
	struct request *q;

	if (r && span_eq(r->uid, id))
		return r;
	q = ledger_by_upstream_id(&s->ledger, id);
	if (!q && r && rpc_id_same_double(r->uid, id))
		q = r;
	return q || r ? q : by_double(s, id);
}

static void answer_came(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct exchange_facts f = { .era = s->era, .status = 200, .had_session = true, .msg = m };
	struct request *q = exchange_find(s, r, m->id);

	/* An error whose request could not be made out is for the one it answers. */
	if (!q && r && m->kind == RPC_ERROR && (!m->id.p || span_is(m->id, "null")))
		q = r;
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
	exchange_answer(s, q, m);
}

void exchange_parsed(struct session *s, struct request *r, struct rpc_msg m)
{
	struct json_iter it;
	struct span v;
	uint64_t token = r ? r->token : 0;

	if (m.has_newline)
		json_one_line((char *)m.text.p, m.text.n); /* the bytes are a buffer of ours */
	if (r)
		r->active_at = s->now;
	s->last_rx = s->now;
	switch (m.kind) {
	case RPC_RESULT:
	case RPC_ERROR:
		answer_came(s, r, &m);
		break;
	case RPC_NOTIFICATION:
		if (!eras_inbound(s, r, &m))
			deliver_notification(s, r, &m);
		break;
	case RPC_REQUEST:
		if (!eras_inbound(s, r, &m))
			deliver_server_request(s, r, &m);
		break;
	case RPC_BATCH:
		json_iter(&it, m.text);
		while (json_next(&it, NULL, &v)) {
			if (json_type(v) != '{')
				continue;
			for (r = token ? s->ledger.head : NULL; r && r->token != token; r = r->next)
				;
			exchange_message(s, r, v);
		}
		break;
	default:
		if (s->cur)
			s->cur->garbage = true;
		session_note(s, NOTE_WARN, "ignored a message of the server: %s", m.why ? m.why : "no JSON-RPC");
	}
}

void exchange_message(struct session *s, struct request *r, struct span text)
{
	struct rpc_msg m;

	rpc_parse(text.p, text.n, &m);
	exchange_parsed(s, r, m);
}
