/* A legacy client on a 2026-07-28 server: `initialize` answered from
 * server/discover, what has no counterpart answered here, subscriptions and
 * the wish for list_changed joined into one subscriptions/listen, and
 * input_required results turned into the requests the client knows. */
#include "core/eras_i.h"

#include <stdio.h>
#include <stdlib.h>

#define TEXT_MAX ((size_t)1 << 40)
#define ROUNDS_MAX 16
#define INPUTS_MAX 64
#define RELISTEN_MS 1000
#define NO_ROOM_FOR_INPUT "There was not enough memory for the input of the client"

int legacy_initialize_result(struct session *s, struct request *r, struct span discover)
{
	struct span caps = json_get(discover, "capabilities"), instructions = json_get(discover, "instructions");
	struct span info = json_get(json_get(discover, "_meta"), META_SERVER_INFO);
	struct eras *e = eras_get(s);
	char version[16];
	struct buf b;
	int bad;

	if (!version_read(json_get(r->params, "protocolVersion"), version) || !version_is_known_legacy(version))
		snprintf(version, sizeof(version), "2025-11-25");
	if (!e)
		return -1;
	buf_init(&b, TEXT_MAX);
	bad = buf_printf(&b, "{\"protocolVersion\":\"%s\",\"capabilities\":", version);
	bad |= json_type(caps) == '{' ? buf_add(&b, caps) : buf_puts(&b, "{}");
	bad |= buf_puts(&b, ",\"serverInfo\":");
	bad |= json_type(info) == '{' ? buf_add(&b, info) : buf_puts(&b, "{\"name\":\"unknown\",\"version\":\"unknown\"}");
	if (json_type(instructions) == '"')
		bad |= buf_puts(&b, ",\"instructions\":") | buf_add(&b, instructions);
	bad |= buf_puts(&b, "}");
	if (bad) {
		buf_fini(&b);
		return -1;
	}
	s->client_initialized = true;
	s->handshake = NULL;
	eras_answer_locally(s, r, buf_span(&b));
	buf_move(&s->init_result, &b);
	e->listen_dirty = true;
	return 0;
}

/* ---- what is answered here ------------------------------------------------------------------------- */

bool legacy_local(struct session *s, struct request *r)
{
	struct eras *e = eras_get(s);

	if (!e)
		return false;
	if (span_is(r->method, "ping")) {
		eras_answer_locally(s, r, SPAN_LIT("{}"));
	} else if (span_is(r->method, "logging/setLevel")) {
		struct span level = json_get(r->params, "level");
		if (log_level_rank(level) < 0) { /* every request that carries it would be refused */
			eras_answer_error(s, r, -32602, "Invalid params: unknown log level", SPAN_NONE);
			return true;
		}
		if (buf_set(&e->level, level) == 0 && buf_set(&s->level_params, r->params) == 0)
			eras_answer_locally(s, r, SPAN_LIT("{}"));
		else
			request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM, -1);
	} else if (span_is(r->method, "resources/subscribe") || span_is(r->method, "resources/unsubscribe")) {
		if (json_type(json_get(r->params, "uri")) != '"') {
			eras_answer_error(s, r, -32602, "uri must be a string", SPAN_NONE);
			return true;
		}
		if (subs_set(s, r->params, span_is(r->method, "resources/subscribe")) != 0) {
			request_refuse(s, r, ERR_BAD_UPSTREAM, "There was no room for another subscription", -1);
			return true;
		}
		e->listen_dirty = true;
		session_due(s, s->now);
		eras_answer_locally(s, r, SPAN_LIT("{}"));
	} else if (span_is(r->method, "server/discover") || span_is(r->method, "subscriptions/listen")) {
		eras_answer_error(s, r, -32601, "Method not found: it belongs to another protocol version than the one agreed on", SPAN_NONE);
	} else {
		return false;
	}
	return true;
}

/* ---- subscriptions -------------------------------------------------------------------------------------- */

static bool has_list_changed(struct span caps, const char *what)
{
	bool on = false;

	return json_bool(json_path(caps, what, "listChanged", NULL), &on) && on;
}

/* All that the client wants to hear of; *any tells whether that is something. */
static int write_wishes(struct session *s, struct buf *b, bool *any)
{
	static const char *const kinds[][2] = {
		{ "tools", "toolsListChanged" }, { "prompts", "promptsListChanged" }, { "resources", "resourcesListChanged" } };
	struct span caps = json_get(buf_span(&s->eras->discover), "capabilities");
	int bad = buf_puts(b, "{\"notifications\":{");

	*any = false;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!has_list_changed(caps, kinds[i][0]))
			continue;
		bad |= buf_printf(b, "%s\"%s\":true", *any ? "," : "", kinds[i][1]);
		*any = true;
	}
	if (s->subs) {
		bad |= buf_printf(b, "%s\"resourceSubscriptions\":[", *any ? "," : "");
		for (struct subscription *u = s->subs; u; u = u->next)
			bad |= buf_puts(b, u == s->subs ? "" : ",") | buf_add(b, u->uri);
		bad |= buf_puts(b, "]");
		*any = true;
	}
	bad |= buf_puts(b, "}}");
	return bad ? -1 : 0;
}

static bool is_acknowledged(const struct request *r)
{
	const struct translation *t = r ? r->extra : NULL;

	return t && t->acknowledged;
}

static bool has_gap(const struct request *r)
{
	const struct translation *t = r ? r->extra : NULL;

	return t && t->gap;
}

/* One listen for all that the client wants; the old one stays until the new one is acknowledged. */
void legacy_relisten(struct session *s)
{
	struct eras *e = s->eras;
	struct request *r = NULL;
	struct buf b;
	bool any, gap;

	/* What comes meanwhile goes with the next one. */
	e->relisten_at = e->listen && e->listen->state != REQ_PARKED && !is_acknowledged(e->listen) ? e->listen->sent_at + RELISTEN_MS : e->relisten_at;
	if (s->now < e->relisten_at)
		return;
	e->relisten_at = 0;
	buf_init(&b, TEXT_MAX);
	if (write_wishes(s, &b, &any) == 0 && any)
		request_new_own(s, &r, RQ_LISTEN, "subscriptions/listen", buf_span(&b));
	buf_fini(&b);
	if (any && !r) { /* no memory: later */
		e->relisten_at = s->now + RELISTEN_MS;
		return;
	}
	e->listen_dirty = false;
	gap = has_gap(e->listen) || has_gap(e->old_listen);
	if (e->old_listen && is_acknowledged(e->listen))
		request_drop(s, e->old_listen);
	if (e->old_listen && e->listen) /* the one that is open stays */
		request_drop(s, e->listen);
	else
		e->old_listen = e->listen;
	e->listen = r;
	if (!any && e->old_listen)
		request_drop(s, e->old_listen);
	if (r) {
		r->is_listen = true;
		if (gap)
			listen_broke(r);
		request_post(s, r);
	}
}

/* The tag goes; so does a `_meta` that held nothing else. */
static void untagged(struct session *s, const struct rpc_msg *m)
{
	struct span meta = json_get(m->params, "_meta");
	struct json_iter it;
	struct json_edit e;
	struct span key, value;
	struct buf b;
	size_t others = 0;

	json_iter(&it, meta);
	while (json_next(&it, &key, &value))
		others += !json_key_is(key, META_SUBSCRIPTION);
	buf_init(&b, TEXT_MAX);
	if ((others ? json_edit_remove(&e, meta, META_SUBSCRIPTION) : json_edit_remove(&e, m->params, "_meta")) == 0 &&
	    json_splice(&b, m->text, &e, 1) == 0)
		session_send_owned(s, &b);
	else
		session_send(s, m->text);
}

bool legacy_inbound(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct eras *e = s->eras;

	if (m->kind != RPC_NOTIFICATION || !r || r->purpose != RQ_LISTEN)
		return false;
	if (span_is(m->method, "notifications/subscriptions/acknowledged")) {
		struct translation *t = translation_get(r);
		if (e && e->listen == r && e->old_listen)
			request_drop(s, e->old_listen);
		if (t)
			t->acknowledged = true;
		if (e && e->listen == r)
			e->relisten_at = 0;
		if (e && e->listen_dirty)
			session_due(s, s->now);
		listen_opened(s, r);
		return true;
	}
	if (span_is(m->method, "notifications/cancelled")) { /* the client knows of none that could have ended */
		eras_failed(s, r, &(struct failure){ .what = "the server ended the subscription", .retry_after_ms = -1 });
		return true;
	}
	replay_on_list_changed(s, m->method);
	untagged(s, m);
	return true;
}

/* ---- input_required -------------------------------------------------------------------------------------------- */

static struct input *input_new(struct session *s, struct request *r, struct span key)
{
	struct input *i = calloc(1, sizeof(*i));

	if (!i)
		return NULL;
	snprintf(i->id, sizeof(i->id), "\"hf-in-%s-%llu\"", s->nonce, (unsigned long long)++s->eras->counter);
	i->token = r->token;
	buf_init(&i->key, TEXT_MAX);
	if (buf_puts(&i->key, "\"") || buf_add(&i->key, key) || buf_puts(&i->key, "\"")) {
		buf_fini(&i->key);
		free(i);
		return NULL;
	}
	i->next = s->eras->inputs;
	s->eras->inputs = i;
	return i;
}

/* The client need not trouble a person any more. */
static void ask_no_more(struct session *s, const char *id)
{
	struct buf b;

	if (s->state == SESSION_DRAIN || s->state == SESSION_END)
		return;
	buf_init(&b, 256);
	if (buf_printf(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":%s}}", id) == 0)
		session_send_owned(s, &b);
	else
		buf_fini(&b);
}

void legacy_forget(struct session *s, struct request *r)
{
	struct input **at = s->eras ? &s->eras->inputs : NULL, *i;

	while (at && (i = *at)) {
		if (i->token != r->token) {
			at = &i->next;
			continue;
		}
		*at = i->next;
		ask_no_more(s, i->id);
		buf_fini(&i->key);
		free(i);
	}
}

/* Every input is there: the request goes once more, as a new one. */
static void next_round(struct session *s, struct request *r)
{
	struct translation *t = r->extra;

	if (t->inputs.len && buf_puts(&t->inputs, "}") != 0) {
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM_FOR_INPUT, -1);
		return;
	}
	r->attempts = 1; /* a new id, not a repetition */
	r->maybe_ran = false;
	r->patient_until = 0;
	request_park(s, r, 0);
	if (!intake_wait(s, r))
		session_due(s, s->now);
}

/* Addresses to be visited had an id (2025-11-25, "URL Mode"); the question's own will do. */
static int put_question_params(struct buf *out, struct span params, const char *id)
{
	struct json_edit e;
	struct buf scratch;
	int bad;

	if (!json_string_is(json_get(params, "mode"), "url") || json_get(params, "elicitationId").p)
		return buf_add(out, params);
	buf_init(&scratch, TEXT_MAX);
	bad = json_edit_set(&e, &scratch, params, "elicitationId", span_str(id)) || json_splice(out, params, &e, 1);
	buf_fini(&scratch);
	return bad ? -1 : 0;
}

static int ask_input(struct session *s, struct request *r, struct span key, struct span question)
{
	struct span params = json_get(question, "params");
	struct input *i = input_new(s, r, key);
	struct buf b;

	if (!i)
		return -1;
	buf_init(&b, TEXT_MAX);
	if (buf_printf(&b, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":", i->id) || buf_add(&b, json_get(question, "method")) ||
	    (params.p && (buf_puts(&b, ",\"params\":") || put_question_params(&b, params, i->id))) || buf_puts(&b, "}")) {
		buf_fini(&b);
		return -1;
	}
	return session_send_owned(s, &b) ? 0 : -1;
}

/* Asks the client for each input. False: r was refused, for it can not be. */
static bool ask_inputs(struct session *s, struct request *r, struct span requests)
{
	struct translation *t = r->extra;
	struct json_iter it;
	struct span key, q;
	unsigned n = 0;

	json_iter(&it, requests);
	while (json_next(&it, &key, &q))
		if (++n > INPUTS_MAX || !eras_client_can(buf_span(&s->eras->caps), rpc_method_name(json_get(q, "method")), json_get(q, "params"))) {
			request_refuse(s, r, ERR_UNSUPPORTED, "The server needs input that this client can not give (elicitation, sampling or roots)", -1);
			return false;
		}
	json_iter(&it, requests);
	while (json_next(&it, &key, &q)) {
		if (ask_input(s, r, key, q) != 0) {
			request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM_FOR_INPUT, -1);
			return false;
		}
		s->n.server_requests++;
		t->waiting++;
	}
	return true;
}

static void input_required(struct session *s, struct request *r, struct span result)
{
	struct translation *t = translation_get(r);
	struct span state = json_get(result, "requestState"), requests = json_get(result, "inputRequests");

	if (!t || buf_set(&t->state, state) != 0) {
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM_FOR_INPUT, -1);
		return;
	}
	if (++r->rounds > ROUNDS_MAX) {
		request_refuse(s, r, ERR_BAD_UPSTREAM, "The server kept asking for more input without ever finishing", -1);
		return;
	}
	buf_reset(&t->inputs);
	t->waiting = 0;
	exchange_release(s, r);
	request_detach(s, r);
	request_hold_open(s, r); /* it waits for the client, and is no reason to read nothing from it */
	if (json_type(requests) == '{' && !ask_inputs(s, r, requests))
		return;
	if (t->waiting == 0)
		next_round(s, r);
}

bool legacy_input_came(struct session *s, const struct rpc_msg *m)
{
	struct input **at = s->eras ? &s->eras->inputs : NULL, *i = NULL;
	struct request *r;
	struct translation *t;
	int bad;

	while (at && (i = *at) && !span_is(m->id, i->id))
		at = &i->next;
	if (!at || !i)
		return false;
	*at = i->next;
	r = eras_request(s, i->token);
	t = r ? r->extra : NULL;
	if (t && m->kind == RPC_ERROR) {
		char what[300];
		struct span said = json_get(m->error, "message");
		snprintf(what, sizeof(what), "The client gave no answer to a question of the server: %.*s", (int)(said.n < 200 ? said.n : 200), said.p ? said.p : "");
		request_refuse(s, r, ERR_UNSUPPORTED, what, -1);
	} else if (t) {
		bad = buf_puts(&t->inputs, t->inputs.len ? "," : "{") | buf_add(&t->inputs, buf_span(&i->key)) |
		      buf_puts(&t->inputs, ":") | buf_add(&t->inputs, m->result);
		r->active_at = s->now;
		if (bad)
			request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM_FOR_INPUT, -1);
		else if (--t->waiting == 0)
			next_round(s, r);
	}
	buf_fini(&i->key);
	free(i);
	return true;
}

/* Structured content was an object: what is none becomes a member of one. */
static void send_structured(struct session *s, struct request *r, struct span result, struct span content)
{
	struct json_edit e = { content, SPAN_NONE };
	struct buf object, b;

	buf_init(&object, TEXT_MAX);
	buf_init(&b, TEXT_MAX);
	if (buf_puts(&object, "{\"result\":") || buf_add(&object, content) || buf_puts(&object, "}"))
		buf_reset(&object);
	e.new_bytes = buf_span(&object);
	if (object.len && json_splice(&b, result, &e, 1) == 0)
		eras_send_answer(s, r, "result", buf_span(&b));
	else
		exchange_answer_lost(s, r);
	buf_fini(&object);
	buf_fini(&b);
}

bool legacy_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span content = r->is_tool_call && m->kind == RPC_RESULT ? json_get(m->result, "structuredContent") : SPAN_NONE;
	int64_t code;

	if (m->kind == RPC_RESULT && json_string_is(json_get(m->result, "resultType"), "input_required")) {
		input_required(s, r, m->result);
		return true;
	}
	if (content.p && json_type(content) != '{') {
		send_structured(s, r, m->result, content);
		return true;
	}
	/* Resource not found had a code of its own. */
	if (m->kind == RPC_ERROR && span_is(r->method, "resources/read") && rpc_error_code(m, &code) && code == -32602 &&
	    json_path(m->error, "data", "uri", NULL).p) {
		struct json_edit e = { json_get(m->error, "code"), SPAN_LIT("-32002") };
		struct buf b;
		buf_init(&b, TEXT_MAX);
		if (json_splice(&b, m->error, &e, 1) == 0)
			eras_send_answer(s, r, "error", buf_span(&b));
		else
			exchange_answer_lost(s, r);
		buf_fini(&b);
		return true;
	}
	return false;
}
