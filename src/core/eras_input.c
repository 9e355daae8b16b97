/* Requests of a legacy server inside a call of a 2026-07-28 client: handed over as
 * input_required with a sealed requestState, and answered by the client's retry. */
#include "core/eras_i.h"

#include <sodium.h>

#define TEXT_MAX ((size_t)1 << 40)
#define STATE_LIFE_MS 300000      /* a client has this long to come back with its inputs */
#define STATE_PREFIX "hf1."
#define NO_ROOM_FOR_QUESTION "There was not enough memory for the question"

/* What is sealed: which call (0: none, it ended when it was asked about), until
 * when, and what it was. */
struct sealed { uint64_t token; int64_t expires; unsigned char what[16]; };

static void what_call(struct request *r, unsigned char out[16])
{
	crypto_generichash_state h;

	crypto_generichash_init(&h, NULL, 0, 16);
	crypto_generichash_update(&h, (const unsigned char *)r->method.p, r->method.n);
	crypto_generichash_update(&h, (const unsigned char *)"\0", 1);
	struct span name = json_get(r->params, "name"), args = json_get(r->params, "arguments"), uri = json_get(r->params, "uri");
	if (name.p)
		crypto_generichash_update(&h, (const unsigned char *)name.p, name.n);
	if (args.p)
		crypto_generichash_update(&h, (const unsigned char *)args.p, args.n);
	if (uri.p)
		crypto_generichash_update(&h, (const unsigned char *)uri.p, uri.n);
	crypto_generichash_final(&h, out, 16);
}

static int seal_state(struct session *s, struct request *r, uint64_t token, int64_t expires, struct buf *out)
{
	unsigned char box[crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + sizeof(struct sealed)];
	char text[2 * sizeof(box)];
	struct sealed in = { .token = token, .expires = expires };

	what_call(r, in.what);
	for (size_t i = 0; i < crypto_secretbox_NONCEBYTES; i += 8) {
		uint64_t w = rng_next(&s->rng);
		memcpy(box + i, &w, 8);
	}
	crypto_secretbox_easy(box + crypto_secretbox_NONCEBYTES, (unsigned char *)&in, sizeof(in), box, s->eras->key);
	sodium_bin2base64(text, sizeof(text), box, sizeof(box), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	return buf_printf(out, "\"" STATE_PREFIX "%s\"", text);
}

/* The call that a retry belongs to; NULL with *why, which is NULL when the state
 * is a good one and the call has ended, as it is to where *anew. */
static struct request *open_state(struct session *s, struct request *retry, struct span state, const char **why, bool *anew)
{
	unsigned char box[256], what[16];
	struct sealed in;
	size_t n = 0;
	struct request *r;

	*why = "the requestState is not one of this process";
	if (json_type(state) != '"' || state.n > 300 || state.n < 2 + sizeof(STATE_PREFIX) ||
	    memcmp(state.p + 1, STATE_PREFIX, sizeof(STATE_PREFIX) - 1) != 0 || !s->eras)
		return NULL;
	if (sodium_base642bin(box, sizeof(box), state.p + sizeof(STATE_PREFIX), state.n - 1 - sizeof(STATE_PREFIX), NULL, &n, NULL,
	    sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 || n != crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + sizeof(in))
		return NULL;
	if (crypto_secretbox_open_easy((unsigned char *)&in, box + crypto_secretbox_NONCEBYTES, n - crypto_secretbox_NONCEBYTES, box, s->eras->key) != 0)
		return NULL;
	what_call(retry, what);
	*why = "the requestState belongs to another request";
	if (memcmp(what, in.what, sizeof(what)) != 0)
		return NULL;
	*why = "the requestState has expired";
	if (s->now >= in.expires)
		return NULL;
	*why = NULL;
	*anew = !in.token;
	r = eras_request(s, in.token);
	return r && r->extra && ((struct translation *)r->extra)->with_client ? r : NULL;
}

/* Is there exactly one call that the server can mean? */
static struct request *only_call(struct session *s)
{
	struct request *found = NULL;

	for (struct request *r = s->ledger.head; r; r = r->next) {
		if (r->purpose != RQ_CLIENT || r->is_listen || r->cancelled || (r->state != REQ_SENT && r->state != REQ_STREAMING))
			continue;
		if (found)
			return NULL;
		found = r;
	}
	return found;
}

/* The key under which the answer to a server's request comes back. Another
 * session may ask something else under the same id. */
static int question_key(const struct request *r, struct span id, struct buf *out)
{
	return buf_printf(out, "%llu.", (unsigned long long)r->epoch) | buf_add(out, id);
}

/* Questions of a session that is gone: the call asks again in the new one. */
static void forget_old_questions(const struct request *r, struct translation *t)
{
	if (t->asked_epoch != r->epoch)
		buf_reset(&t->asked);
	t->asked_epoch = r->epoch;
}

/* To the session in which it was asked: that of r (NULL: the current one). */
static int say_to_asker(struct session *s, const struct request *r, struct span line)
{
	return outbox_answer(s, line, NULL, r ? r->epoch : s->epoch, r ? r->token : 0);
}

static void refuse_question(struct session *s, const struct request *r, struct span id, int code, const char *why)
{
	struct buf b;

	buf_init(&b, TEXT_MAX);
	if (rpc_write_error(&b, id, code, span_str(why), SPAN_NONE) == 0)
		say_to_asker(s, r, buf_span(&b));
	buf_fini(&b);
}

static int answer_question(struct session *s, const struct request *r, struct span id, struct span result)
{
	struct buf b;
	int bad;

	buf_init(&b, TEXT_MAX);
	bad = rpc_write_result(&b, id, result) || say_to_asker(s, r, buf_span(&b));
	buf_fini(&b);
	return bad ? -1 : 0;
}

/* A line each for id, method and params. */
static int note_question(struct translation *t, const struct rpc_msg *m)
{
	size_t before = t->asked.len;

	if (buf_add(&t->asked, m->id) || buf_puts(&t->asked, "\n") || buf_add(&t->asked, m->method) || buf_puts(&t->asked, "\n") ||
	    buf_add(&t->asked, m->params.p ? m->params : SPAN_LIT("{}")) || buf_puts(&t->asked, "\n")) {
		t->asked.len = before;
		return -1;
	}
	return 0;
}

/* Tells the client, under the id it waits on, what the server asks. */
static int ask_client(struct session *s, struct request *r, const struct rpc_msg *m, int64_t expires)
{
	struct buf b, name, key;
	int bad;

	buf_init(&b, TEXT_MAX);
	buf_init(&name, TEXT_MAX);
	buf_init(&key, TEXT_MAX);
	bad = question_key(r, m->id, &name) || json_quote(&key, buf_span(&name));
	bad |= buf_puts(&b, "{\"resultType\":\"input_required\",\"inputRequests\":{") | buf_add(&b, buf_span(&key)) |
	       buf_puts(&b, ":{\"method\":\"") | buf_add(&b, m->method) | buf_puts(&b, "\"");
	if (m->params.p)
		bad |= buf_puts(&b, ",\"params\":") | buf_add(&b, m->params);
	bad |= buf_puts(&b, "}},\"requestState\":") | seal_state(s, r, r->token, expires, &b) | buf_puts(&b, "}");
	bad = bad || !eras_try_answer(s, r, "result", buf_span(&b));
	buf_fini(&b);
	buf_fini(&name);
	buf_fini(&key);
	return bad ? -1 : 0;
}

/* A question of the server becomes the client's. One that there is no memory for
 * is refused: the client's id is not spent, and the server goes on without. */
static void hand_over(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct translation *t = translation_get(r);
	int64_t expires = s->now + STATE_LIFE_MS;
	size_t before;

	if (t)
		forget_old_questions(r, t);
	before = t ? t->asked.len : 0;
	if (!t || note_question(t, m) != 0) {
		refuse_question(s, r, m->id, -32603, NO_ROOM_FOR_QUESTION);
		return;
	}
	if (t->with_client)
		return; /* the client has a question already; this one comes with its retry */
	if (ask_client(s, r, m, expires) != 0) {
		t->asked.len = before;
		refuse_question(s, r, m->id, -32603, NO_ROOM_FOR_QUESTION);
		return;
	}
	t->with_client = true;
	t->expires = expires;
	s->n.answers++;
	s->n.server_requests++;
	request_slot_free(s, r); /* its retry may need the last one */
	request_spend(s, r);
	request_keep_waiting(s, r, t->expires);
}

static struct span take_line(struct span *text)
{
	const char *nl = memchr(text->p, '\n', text->n);
	size_t n = nl ? (size_t)(nl - text->p) : text->n;
	struct span line = span_make(text->p, n);

	text->p += nl ? n + 1 : n;
	text->n -= nl ? n + 1 : n;
	return line;
}

/* What the client gave under this question's key. */
static struct span input_for(const struct request *r, struct span inputs, struct span id)
{
	struct span value = SPAN_NONE;
	struct buf key;

	buf_init(&key, TEXT_MAX);
	if (question_key(r, id, &key) == 0 && buf_append(&key, "", 1) == 0)
		value = json_get(inputs, buf_data(&key));
	buf_fini(&key);
	return value;
}

/* Each question is answered where its input came, and asked (again) where none
 * did, or none that could be passed on; one at a time. */
static void give_inputs(struct session *s, struct request *r, struct span inputs)
{
	struct translation *t = r->extra;
	struct buf asked;
	struct span rest;

	buf_init(&asked, TEXT_MAX);
	buf_move(&asked, &t->asked);
	rest = buf_span(&asked);
	while (rest.n) {
		struct span id = take_line(&rest), method = take_line(&rest), params = take_line(&rest);
		struct span value = input_for(r, inputs, id);
		struct rpc_msg m = { .kind = RPC_REQUEST, .id = id, .method = method, .params = params };
		if (!value.p || answer_question(s, r, id, value) != 0)
			hand_over(s, r, &m);
	}
	buf_fini(&asked);
}

/* The client came back: its inputs answer the server's requests, and the call
 * goes on under the retry's id. Without memory it may come back once more. */
static void retry_came(struct session *s, struct request *retry, struct request *r)
{
	struct translation *t = r->extra;
	struct buf inputs, progress;

	/* The inputs lie in the retry's line, which must live as long. */
	buf_init(&inputs, TEXT_MAX);
	buf_init(&progress, TEXT_MAX);
	if (buf_add(&inputs, json_get(retry->params, "inputResponses")) || buf_add(&progress, json_get(json_get(retry->params, "_meta"), "progressToken")) ||
	    buf_set(&t->id, retry->id)) {
		request_refuse(s, retry, ERR_BAD_UPSTREAM, NO_ROOM, -1);
		buf_fini(&inputs);
		buf_fini(&progress);
		return;
	}
	buf_move(&t->progress, &progress);
	request_drop(s, retry);
	forget_old_questions(r, t);
	t->with_client = false;
	request_keep_waiting(s, r, 0);
	give_inputs(s, r, buf_span(&inputs));
	buf_fini(&inputs);
	if (!t->with_client && !t->answer.len)
		request_slot_take(s, r);
	if (!t->with_client && t->answer.len) { /* the server had finished meanwhile */
		struct rpc_msg m;
		rpc_parse(buf_data(&t->answer), t->answer.len, &m);
		if (!modern_answer(s, r, &m))
			eras_send_answer(s, r, m.kind == RPC_ERROR ? "error" : "result", m.kind == RPC_ERROR ? m.error : m.result);
		request_drop(s, r);
	}
}

/* The call was lost while the client was busy with its question. It begins
 * anew where that is harmless: true when it is not. */
static bool call_ended(struct session *s, struct request *retry)
{
	if (request_repeatable(s, retry))
		return false;
	retry->maybe_ran = true;
	request_refuse(s, retry, ERR_OUTCOME_UNKNOWN, "The call ended while its question was being answered", -1);
	return true;
}

/* The addresses were to be visited. The server itself knows whether they were, but
 * one who does not want to is not asked again: true then. */
static bool visit_declined(struct session *s, struct request *retry)
{
	struct span key, value;
	struct json_iter it;

	json_iter(&it, json_get(retry->params, "inputResponses"));
	while (json_next(&it, &key, &value)) {
		if (json_string_is(json_get(value, "action"), "accept"))
			continue;
		request_refuse(s, retry, ERR_UNSUPPORTED, "The user did not agree to open the address that the server wants to be visited first", -1);
		return true;
	}
	return false;
}

bool modern_retry(struct session *s, struct request *r, struct span state)
{
	const char *why = NULL;
	bool anew = false;
	struct request *call = open_state(s, r, state, &why, &anew);

	if (anew)
		return visit_declined(s, r);
	if (!call && !why)
		return call_ended(s, r);
	if (call)
		retry_came(s, r, call);
	else
		eras_answer_error(s, r, -32602, why, SPAN_NONE);
	return true;
}

bool modern_timed_out(struct session *s, struct request *r)
{
	struct translation *t = r->extra;

	if (!t || !t->with_client || s->now < t->expires)
		return false;
	session_note(s, NOTE_INFO, "the client did not come back with the input of a call; cancelling it");
	outbox_cancelled(s, r, "input was not given in time");
	r->cancelled = true;
	request_drop(s, r);
	return true;
}

/* May its answer be input_required (basic/patterns/mrtr, "Supported Requests")? */
static bool takes_input(const struct request *r)
{
	return span_is(r->method, "tools/call") || span_is(r->method, "prompts/get") || span_is(r->method, "resources/read");
}

static bool are_visits(struct span list)
{
	struct json_iter it;
	struct span one;
	size_t n = 0;

	json_iter(&it, json_type(list) == '[' ? list : SPAN_NONE);
	while (json_next(&it, NULL, &one)) {
		if (json_type(one) != '{' || !json_string_is(json_get(one, "mode"), "url"))
			return false;
		n++;
	}
	return n > 0;
}

static int write_visits(struct span list, struct buf *out)
{
	static const char *const drop[] = { "elicitationId" };
	struct json_iter it;
	struct span one;
	unsigned n = 0;
	int bad = 0;

	json_iter(&it, list);
	while (!bad && json_next(&it, NULL, &one)) {
		bool any = false;
		bad = buf_printf(out, "%s\"url.%u\":{\"method\":\"elicitation/create\",\"params\":{", n ? "," : "", n) ||
		      eras_members(out, one, drop, 1, &any) || buf_puts(out, "}}");
		n++;
	}
	return bad;
}

/* "URL Elicitation Required" (2025-11-25, client/elicitation) is input_required by
 * now. Nothing has been done yet, so the retry is sent as a call of its own. */
bool modern_wants_visit(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span list = json_path(m->error, "data", "elicitations", NULL);
	int64_t code;
	struct buf b;
	int bad;

	if (!rpc_error_code(m, &code) || code != -32042 || !takes_input(r) || !are_visits(list))
		return false;
	if (!json_path(json_get(r->meta, META_CLIENT_CAPS), "elicitation", "url", NULL).p) {
		eras_send_answer(s, r, "error", SPAN_LIT("{\"code\":-32021,\"message\":\"The server wants an address to be visited first, and this client "
			"has not said that it can do that\",\"data\":{\"requiredCapabilities\":{\"elicitation\":{\"url\":{}}}}}"));
		return true;
	}
	buf_init(&b, TEXT_MAX);
	bad = buf_puts(&b, "{\"resultType\":\"input_required\",\"inputRequests\":{") || write_visits(list, &b) || buf_puts(&b, "},\"requestState\":") ||
	      seal_state(s, r, 0, s->now + STATE_LIFE_MS, &b) || buf_puts(&b, "}");
	if (bad)
		exchange_answer_lost(s, r);
	else
		eras_send_answer(s, r, "result", buf_span(&b));
	buf_fini(&b);
	return true;
}

void modern_asked(struct session *s, struct request *r, const struct rpc_msg *m)
{
	if (span_is(m->method, "ping")) {
		answer_question(s, r, m->id, SPAN_LIT("{}"));
		return;
	}
	if (!r || r->purpose != RQ_CLIENT || r->is_listen)
		r = only_call(s);
	if (r && takes_input(r)) {
		if (eras_client_can(json_get(r->meta, META_CLIENT_CAPS), m->method, m->params))
			hand_over(s, r, m);
		else
			refuse_question(s, r, m->id, -32601, "This client has not said that it can do this");
		return;
	}
	session_note(s, NOTE_WARN, "refused a request of the server (%.*s) that belongs to no single call", (int)(m->method.n < 60 ? m->method.n : 60), m->method.p);
	refuse_question(s, r, m->id, -32601, "This client takes requests of the server only as part of one call");
}
