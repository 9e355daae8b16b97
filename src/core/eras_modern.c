/* A 2026-07-28 client on a legacy server: `server/discover` answered from an
 * initialize of ours, results completed, requests of the server inside a call
 * handed to the client as input_required with a sealed requestState, and
 * subscriptions/listen made of resources/subscribe and the standing stream. */
#include "core/eras_i.h"

#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#define TEXT_MAX ((size_t)1 << 40)
#define STATE_LIFE_MS 300000      /* a client has this long to come back with its inputs */
#define SUBSCRIBES_AT_ONCE 8
#define LOG_LATE_MS 5000          /* after an answer, messages of its request may still come by another way */
#define STATE_PREFIX "hf1."
#define NO_ROOM_FOR_QUESTION "There was not enough memory for the question"

/* What is sealed: which call, until when, and what it was. */
struct sealed { uint64_t token; int64_t expires; unsigned char what[16]; };

static int init_params(const struct eras *e, struct span caps, struct buf *out)
{
	int bad = buf_printf(out, "{\"protocolVersion\":\"%s\",\"capabilities\":", e && e->offer[0] ? e->offer : "2025-11-25");

	bad |= caps.n ? buf_add(out, caps) : buf_puts(out, "{}");
	bad |= buf_puts(out, ",\"clientInfo\":");
	bad |= e && e->info.len ? buf_add(out, buf_span(&e->info)) : buf_puts(out, "{\"name\":\"mcp-holdfast\",\"version\":\"1\"}");
	bad |= buf_puts(out, "}");
	return bad ? -1 : 0;
}

int modern_init_params(struct session *s, struct buf *out)
{
	struct eras *e = eras_get(s);

	return init_params(e, e ? buf_span(&e->caps) : SPAN_NONE, out);
}

bool modern_other_version(struct session *s, struct span error)
{
	struct eras *e = eras_get(s);
	char best[16] = "", v[16];
	struct json_iter it;
	struct span value;

	json_iter(&it, json_path(error, "data", "supported", NULL));
	while (json_next(&it, NULL, &value))
		if (version_read(value, v) && version_is_known_legacy(v) && strcmp(v, best) > 0)
			memcpy(best, v, sizeof(best));
	if (!e || !best[0] || strcmp(best, e->offer[0] ? e->offer : "2025-11-25") == 0)
		return false;
	memcpy(e->offer, best, sizeof(best));
	buf_reset(&s->init_params);
	return modern_init_params(s, &s->init_params) == 0;
}

void modern_remember_session(struct session *s)
{
	if (!eras_m2l(s) || !s->sid.len)
		return;
	for (struct request *r = s->ledger.head; r; r = r->next) {
		struct translation *t;
		if (r->purpose != RQ_CLIENT || r->is_listen || (r->state != REQ_SENT && r->state != REQ_STREAMING))
			continue;
		t = translation_get(r);
		if (t && !t->session.len && buf_set(&t->session, buf_span(&s->headers)) == 0)
			t->session_epoch = s->epoch;
	}
}

/* The server knows this client by other capabilities. */
static int caps_changed(struct session *s, struct span caps)
{
	struct buf params;

	buf_init(&params, TEXT_MAX);
	if (init_params(s->eras, caps, &params) != 0 || buf_set(&s->eras->caps, caps) != 0) {
		buf_fini(&params);
		return -1;
	}
	buf_move(&s->init_params, &params);
	session_note(s, NOTE_INFO, "the client's capabilities changed; starting another session with the server");
	s->force_init = true;
	session_forget(s);
	replay_begin(s);
	return 0;
}

static bool under_way(const struct session *s)
{
	for (const struct request *r = s->ledger.head; r; r = r->next)
		if (r->purpose == RQ_CLIENT && !r->is_listen && (r->state == REQ_SENT || r->state == REQ_STREAMING))
			return true;
	return false;
}

/* A request that comes with other capabilities than the session was begun with
 * waits for another one: true then. On 2024-11-05 that would be the end of all
 * that is under way, so it goes as it is. */
static bool wants_other_session(struct session *s, struct request *r)
{
	struct span caps = json_get(r->meta, META_CLIENT_CAPS);

	if (!caps.p || s->state != SESSION_READY || span_eq(caps, buf_span(&s->eras->caps)) || (s->era == ERA_SSE && under_way(s)))
		return false;
	if (xfer_starting(s)) { /* what was just sent gets the headers of this session first */
		session_due(s, s->now);
		return true;
	}
	if (caps_changed(s, caps) != 0)
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM, -1);
	return true;
}

int modern_learn_client(struct session *s, const struct rpc_msg *m)
{
	struct eras *e = eras_get(s);
	struct span meta = json_get(m->params, "_meta"), caps = json_get(meta, META_CLIENT_CAPS), info = json_get(meta, META_CLIENT_INFO);

	if (!e || (info.p && !e->info.len && buf_add(&e->info, info) != 0))
		return -1;
	if (!caps.p || ((e->caps.len || s->client_initialized) && s->era != ERA_MODERN) || span_eq(caps, buf_span(&e->caps)))
		return 0; /* a legacy server is told when the request is sent */
	return buf_set(&e->caps, caps);
}

/* ---- what is answered here --------------------------------------------------------------------------- */

int modern_discover(struct span init, struct buf *out)
{
	struct span caps = json_get(init, "capabilities"), info = json_get(init, "serverInfo"), text = json_get(init, "instructions");
	int bad;

	bad = buf_puts(out, "{\"resultType\":\"complete\",\"supportedVersions\":[\"" VERSION_MODERN "\"],\"capabilities\":");
	bad |= caps.p ? buf_add(out, caps) : buf_puts(out, "{}");
	if (text.p)
		bad |= buf_puts(out, ",\"instructions\":") | buf_add(out, text);
	bad |= buf_puts(out, ",\"ttlMs\":0,\"cacheScope\":\"private\"");
	if (info.p)
		bad |= buf_puts(out, ",\"_meta\":{\"" META_SERVER_INFO "\":") | buf_add(out, info) | buf_puts(out, "}");
	bad |= buf_puts(out, "}");
	return bad ? -1 : 0;
}

static void discover_result(struct session *s, struct request *r)
{
	struct buf b;

	buf_init(&b, TEXT_MAX);
	if (modern_discover(buf_span(&s->init_result), &b) != 0)
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM, -1);
	else
		eras_answer_locally(s, r, buf_span(&b));
	buf_fini(&b);
}

static bool version_refused(struct session *s, struct request *r)
{
	struct span v = json_get(json_get(r->params, "_meta"), META_VERSION);
	struct buf b;

	if (!v.p || json_string_is(v, VERSION_MODERN))
		return false;
	buf_init(&b, TEXT_MAX);
	if (buf_puts(&b, "{\"supported\":[\"" VERSION_MODERN "\"],\"requested\":") || buf_add(&b, v) || buf_puts(&b, "}"))
		buf_reset(&b);
	eras_answer_error(s, r, -32022, "Unsupported protocol version", b.len ? buf_span(&b) : SPAN_NONE);
	buf_fini(&b);
	return true;
}

/* ---- subscriptions ------------------------------------------------------------------------------------------ */

static bool wants(struct session *s, struct request *r, struct span method, struct span params)
{
	struct span f = json_get(r->params, "notifications"), uri, want;
	struct json_iter it;
	bool on = false;

	if (span_is(method, "notifications/tools/list_changed"))
		return json_bool(json_get(f, "toolsListChanged"), &on) && on;
	if (span_is(method, "notifications/prompts/list_changed"))
		return json_bool(json_get(f, "promptsListChanged"), &on) && on;
	if (span_is(method, "notifications/resources/list_changed"))
		return json_bool(json_get(f, "resourcesListChanged"), &on) && on;
	if (!span_is(method, "notifications/resources/updated"))
		return false;
	uri = json_get(params, "uri");
	json_iter(&it, json_get(f, "resourceSubscriptions"));
	while (json_next(&it, NULL, &want))
		if (uri.p && ledger_same_id(&s->ledger, want, uri)) /* however it is escaped */
			return true;
	return false;
}

/* {"jsonrpc","method":METHOD,"params":{...,"_meta":{subscriptionId}}} */
static int write_tagged(struct buf *b, struct request *r, struct span method, struct span params)
{
	static const char *const meta[] = { "_meta" };
	static const char *const tag[] = { META_SUBSCRIPTION };
	bool any = false, more = true;
	int bad;

	bad = buf_puts(b, "{\"jsonrpc\":\"2.0\",\"method\":\"") | buf_add(b, method) | buf_puts(b, "\",\"params\":{");
	bad |= eras_members(b, params, meta, 1, &any);
	bad |= buf_puts(b, any ? ",\"_meta\":{\"" : "\"_meta\":{\"") | buf_puts(b, META_SUBSCRIPTION "\":") | buf_add(b, r->id);
	bad |= eras_members(b, json_get(params, "_meta"), tag, 1, &more);
	bad |= buf_puts(b, "}}}");
	return bad;
}

/* False: there was no memory for it. */
static bool send_tagged(struct session *s, struct request *r, struct span method, struct span params)
{
	struct buf b;
	int bad;

	buf_init(&b, TEXT_MAX);
	do {
		buf_reset(&b);
		bad = write_tagged(&b, r, method, params);
	} while (bad && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

void modern_tell_all(struct session *s)
{
	for (struct request *r = s->ledger.head; r; r = r->next) {
		struct json_iter it;
		struct span uri;
		if (!r->is_listen || r->purpose != RQ_CLIENT)
			continue;
		json_iter(&it, json_path(r->params, "notifications", "resourceSubscriptions", NULL));
		while (s->subs && json_next(&it, NULL, &uri)) {
			struct buf b;
			buf_init(&b, TEXT_MAX);
			if (buf_puts(&b, "{\"uri\":") == 0 && buf_add(&b, uri) == 0 && buf_puts(&b, "}") == 0)
				send_tagged(s, r, SPAN_LIT("notifications/resources/updated"), buf_span(&b));
			buf_fini(&b);
		}
	}
}

void modern_tell(struct session *s, struct span method, struct span params)
{
	for (struct request *r = s->ledger.head; r; r = r->next)
		if (r->is_listen && r->purpose == RQ_CLIENT && wants(s, r, method, params))
			send_tagged(s, r, method, params);
}

static void set_level(struct session *s, struct span level)
{
	struct request *q = NULL;
	struct buf b;

	buf_init(&b, TEXT_MAX);
	if (buf_puts(&b, "{\"level\":") == 0 && buf_add(&b, level) == 0 && buf_puts(&b, "}") == 0)
		request_new_own(s, &q, RQ_LEVEL, "logging/setLevel", buf_span(&b));
	if (q && request_post(s, q) == 0)
		buf_set(&s->level_params, buf_span(&b));
	buf_fini(&b);
}

/* A few at a time, and never the end of one beside the beginning of another,
 * which may be of the same. */
void modern_subscribe(struct session *s)
{
	struct eras *e = s->eras;

	if (e->goodbye_epoch != s->epoch) /* a new session knows of none */
		subs_free_list(&e->goodbyes);
	if (e->asking_after > s->now)
		return;
	e->asking_after = 0;
	while (e->asking < SUBSCRIBES_AT_ONCE) {
		bool off = e->goodbyes != NULL;
		struct subscription *u = off ? e->goodbyes : subs_due(s);
		struct translation *t;
		struct request *q;

		e->subs_due = u != NULL;
		if (!u || (e->asking && e->asking_off != off))
			return;
		request_new_own(s, &q, RQ_SUBSCRIBE, off ? "resources/unsubscribe" : "resources/subscribe", buf_span(&u->params));
		t = q ? translation_get(q) : NULL;
		if (!t) {
			if (q)
				request_drop(s, q);
			eras_subscribe_later(s, -1);
			return;
		}
		t->paced = true;
		e->asking++;
		e->asking_off = off;
		u->due = false;
		if (off) {
			e->goodbyes = u->next;
			u->next = NULL;
			subs_free_list(&u);
		}
		if (request_post(s, q) != 0)
			return;
	}
}

void eras_subscribed(struct session *s, struct request *r, bool ok)
{
	struct translation *t = r->extra;

	if (!t || !t->paced)
		return;
	t->told = true;
	s->eras->asking_fails = 0;
	if (!ok && span_is(r->method, "resources/subscribe"))
		subs_set(s, r->params, false);
}

void eras_subscribe_later(struct session *s, int64_t retry_after_ms)
{
	struct eras *e = s->eras;
	struct backoff b;

	if (!e)
		return;
	backoff_init(&b, retry_backoff(s->c));
	b.attempt = e->asking_fails++ / SUBSCRIBES_AT_ONCE;
	if (retry_after_ms >= 0)
		backoff_floor(&b, retry_after_ms, s->now);
	e->asking_after = backoff_next(&b, &s->rng, s->now);
}

/* Its end, told or not. */
static void subscribe_over(struct session *s, struct request *r, const struct translation *t)
{
	s->eras->asking--;
	if (!t->told && span_is(r->method, "resources/subscribe")) {
		subs_again(s, json_get(r->params, "uri"));
		s->eras->subs_due = true;
	}
	session_due(s, s->now); /* the next one's turn */
}

/* Of what the client wishes, what this server can tell (basic/patterns/subscriptions,
 * "Acknowledgment"). */
static int honoured(struct buf *out, struct span wish, struct span caps, bool sub)
{
	static const char *const kinds[][2] = {
		{ "toolsListChanged", "tools" }, { "promptsListChanged", "prompts" }, { "resourcesListChanged", "resources" } };
	const char *sep = "";
	bool on;
	int bad = buf_puts(out, "{\"notifications\":{");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
		if (!json_bool(json_get(wish, kinds[i][0]), &on) || !on ||
		    !json_bool(json_path(caps, kinds[i][1], "listChanged", NULL), &on) || !on)
			continue;
		bad |= buf_printf(out, "%s\"%s\":true", sep, kinds[i][0]);
		sep = ",";
	}
	if (sub && json_type(json_get(wish, "resourceSubscriptions")) == '[')
		bad |= buf_printf(out, "%s\"resourceSubscriptions\":", sep) | buf_add(out, json_get(wish, "resourceSubscriptions"));
	return bad | buf_puts(out, "}}");
}

static int wish(struct session *s, struct span uri)
{
	struct buf b;
	int bad;

	buf_init(&b, TEXT_MAX);
	bad = buf_puts(&b, "{\"uri\":") || buf_add(&b, uri) || buf_puts(&b, "}") || subs_wish(s, buf_span(&b)) != 0;
	buf_fini(&b);
	return bad ? -1 : 0;
}

static void farewell(struct session *s, struct span uri)
{
	struct subscription *u = subs_take(s, uri);
	struct eras *e = s->eras;

	if (!u)
		return;
	if (u->due || s->eof || s->signalled) {
		subs_free_list(&u);
		return;
	}
	if (e->goodbye_epoch != s->epoch)
		subs_free_list(&e->goodbyes);
	e->goodbye_epoch = s->epoch;
	u->next = e->goodbyes;
	e->goodbyes = u;
	session_due(s, s->now);
}

static void listen_here(struct session *s, struct request *r)
{
	struct translation *t = translation_get(r);
	struct span caps = json_get(buf_span(&s->init_result), "capabilities"), f = json_get(r->params, "notifications"), value;
	struct json_iter it;
	bool sub = false, full;
	struct buf b;
	int bad;

	if (!t) {
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM, -1);
		return;
	}
	t->local = true;
	request_hold_open(s, r);
	sub = json_bool(json_path(caps, "resources", "subscribe", NULL), &sub) && sub;
	buf_init(&b, TEXT_MAX);
	bad = honoured(&b, f, caps, sub);
	json_iter(&it, sub ? json_get(f, "resourceSubscriptions") : SPAN_NONE);
	while (!bad && json_next(&it, NULL, &value))
		if (json_type(value) == '"')
			bad = wish(s, value);
	s->eras->subs_due = true;
	session_due(s, s->now);
	full = bad && subs_full(s, SPAN_NONE);
	bad = bad || (!t->acknowledged && !send_tagged(s, r, SPAN_LIT("notifications/subscriptions/acknowledged"), buf_span(&b)));
	t->acknowledged = !bad;
	buf_fini(&b);
	if (full) {
		request_refuse(s, r, ERR_UNSUPPORTED, SUBS_FULL, -1);
		return;
	}
	if (bad) {
		request_refuse(s, r, ERR_BAD_UPSTREAM, NO_ROOM, -1);
		return;
	}
	if (s->stream.state == STREAM_OFF && dialect_has_stream(s->era))
		stream_open(s);
}

/* Its resources are not wanted any more, unless another subscription wants them. */
static void listen_gone(struct session *s, struct request *gone)
{
	struct json_iter it;
	struct span uri;

	json_iter(&it, json_path(gone->params, "notifications", "resourceSubscriptions", NULL));
	while (json_next(&it, NULL, &uri)) {
		bool other = false;
		struct buf b;
		buf_init(&b, TEXT_MAX);
		if (buf_puts(&b, "{\"uri\":") || buf_add(&b, uri) || buf_puts(&b, "}")) {
			buf_fini(&b);
			continue;
		}
		for (struct request *r = s->ledger.head; r && !other; r = r->next)
			other = r != gone && r->is_listen && wants(s, r, SPAN_LIT("notifications/resources/updated"), buf_span(&b));
		if (!other)
			farewell(s, uri);
		buf_fini(&b);
	}
}

void modern_forget(struct session *s, struct request *r)
{
	struct translation *t = r->extra;

	if (t->paced)
		subscribe_over(s, r, t);
	if (t->local && eras_m2l(s) && !s->ended) {
		t->local = false;
		listen_gone(s, r);
	}
}

/* ---- input_required ---------------------------------------------------------------------------------------------- */

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

static int seal_state(struct session *s, struct request *r, int64_t expires, struct buf *out)
{
	unsigned char box[crypto_secretbox_NONCEBYTES + crypto_secretbox_MACBYTES + sizeof(struct sealed)];
	char text[2 * sizeof(box)];
	struct sealed in = { .token = r->token, .expires = expires };

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
 * is a good one and the call has ended. */
static struct request *open_state(struct session *s, struct request *retry, struct span state, const char **why)
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
	r = eras_request(s, in.token);
	return r && r->extra && ((struct translation *)r->extra)->with_client ? r : NULL;
}

/* Is there exactly one call that the server can mean? */
static struct request *only_call(struct session *s)
{
	struct request *found = NULL;

	for (struct request *r = s->ledger.head; r; r = r->next) {
		if (r->purpose != RQ_CLIENT || r->is_listen || (r->state != REQ_SENT && r->state != REQ_STREAMING))
			continue;
		if (found)
			return NULL;
		found = r;
	}
	return found;
}

/* The session that r runs in. */
static uint64_t epoch_of(const struct session *s, const struct request *r)
{
	const struct translation *t = r->extra;

	return t && t->session.len ? t->session_epoch : s->epoch;
}

/* The key under which the answer to a server's request comes back. Another
 * session may ask something else under the same id. */
static int question_key(struct session *s, const struct request *r, struct span id, struct buf *out)
{
	return buf_printf(out, "%llu.", (unsigned long long)epoch_of(s, r)) | buf_add(out, id);
}

/* Questions of a session that is gone: the call asks again in the new one. */
static void forget_old_questions(struct session *s, const struct request *r, struct translation *t)
{
	if (t->asked_epoch != epoch_of(s, r))
		buf_reset(&t->asked);
	t->asked_epoch = epoch_of(s, r);
}

/* To the session in which it was asked: that of r (NULL: the current one). */
static int say_to_asker(struct session *s, const struct request *r, struct span line)
{
	const struct translation *t = r ? r->extra : NULL;

	return t && t->session.len ? outbox_add_to(s, line, buf_span(&t->session), r->token) : outbox_add(s, line, NULL, true);
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
	bad = question_key(s, r, m->id, &name) || json_quote(&key, buf_span(&name));
	bad |= buf_puts(&b, "{\"resultType\":\"input_required\",\"inputRequests\":{") | buf_add(&b, buf_span(&key)) |
	       buf_puts(&b, ":{\"method\":\"") | buf_add(&b, m->method) | buf_puts(&b, "\"");
	if (m->params.p)
		bad |= buf_puts(&b, ",\"params\":") | buf_add(&b, m->params);
	bad |= buf_puts(&b, "}},\"requestState\":") | seal_state(s, r, expires, &b) | buf_puts(&b, "}");
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
		forget_old_questions(s, r, t);
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
static struct span input_for(struct session *s, const struct request *r, struct span inputs, struct span id)
{
	struct span value = SPAN_NONE;
	struct buf key;

	buf_init(&key, TEXT_MAX);
	if (question_key(s, r, id, &key) == 0 && buf_append(&key, "", 1) == 0)
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
		struct span value = input_for(s, r, inputs, id);
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
	forget_old_questions(s, r, t);
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

bool modern_timed_out(struct session *s, struct request *r)
{
	struct translation *t = r->extra;

	if (!t || !t->with_client || s->now < t->expires)
		return false;
	session_note(s, NOTE_INFO, "the client did not come back with the input of a call; cancelling it");
	outbox_cancelled(s, r->uid, "input was not given in time");
	r->cancelled = true;
	request_drop(s, r);
	return true;
}

/* ---- both directions -------------------------------------------------------------------------------------------------- */

/* The call was lost while the client was busy with its question. It begins
 * anew where that is harmless: true when it is not. */
static bool call_ended(struct session *s, struct request *retry)
{
	if (retry->repeatable)
		return false;
	retry->maybe_ran = true;
	request_refuse(s, retry, ERR_OUTCOME_UNKNOWN, "The call ended while its question was being answered", -1);
	return true;
}

/* Progress of a call that goes on under the id of a retry carries the retry's token. */
static bool retoken(struct session *s, const struct rpc_msg *m)
{
	struct span token = json_get(m->params, "progressToken");
	struct request *r = s->ledger.head;
	struct translation *t = NULL;

	for (; r && token.p; r = r->next) {
		t = r->extra;
		if (t && t->id.len && r->progress.p && ledger_same_id(&s->ledger, r->progress, token))
			break;
	}
	if (!r || !token.p)
		return false;
	r->active_at = s->now;
	if (t->with_client || !t->progress.len)
		return true; /* nobody waits for it */
	eras_send_edited(s, m->text, (struct json_edit){ token, buf_span(&t->progress) });
	return true;
}

static struct span level_of(const struct request *r)
{
	return r->purpose == RQ_CLIENT ? json_get(r->meta, META_LOG_LEVEL) : SPAN_NONE;
}

static bool runs(const struct request *r)
{
	return r->state == REQ_SENT || r->state == REQ_STREAMING;
}

/* A session has one level, requests have one each: the lowest of those that run. */
static void wanted_level(struct session *s, struct request *r)
{
	struct span level = level_of(r);

	if (!level.p || !json_get(json_get(buf_span(&s->init_result), "capabilities"), "logging").p)
		return;
	for (const struct request *q = s->ledger.head; q; q = q->next)
		if (runs(q) && log_level_rank(level_of(q)) >= 0 && log_level_rank(level_of(q)) < log_level_rank(level))
			level = level_of(q);
	if (!span_eq(level, json_get(buf_span(&s->level_params), "level")))
		set_level(s, level);
}

static bool not_below(struct span wish, struct span level)
{
	return wish.p && (log_level_rank(level) < 0 || log_level_rank(wish) <= log_level_rank(level));
}

/* Messages are for a request that asks for them, not below its level
 * (server/utilities/logging). One that came on no request's stream is for any
 * that does, and may be overtaken by its answer. */
static bool wants_message(const struct session *s, const struct request *r, struct span level)
{
	if (r && r->purpose == RQ_CLIENT)
		return not_below(level_of(r), level);
	for (r = s->ledger.head; r; r = r->next)
		if (runs(r) && not_below(level_of(r), level))
			return true;
	return s->eras->log_until > s->now && not_below(json_get(buf_span(&s->level_params), "level"), level);
}

bool modern_local(struct session *s, struct request *r)
{
	struct span state = json_get(r->params, "requestState");
	struct translation *t = r->extra;
	const char *why = NULL;

	if (t && t->local)
		return true;
	if (version_refused(s, r))
		return true;
	if (state.p) {
		struct request *call = open_state(s, r, state, &why);
		if (call)
			retry_came(s, r, call);
		else if (why)
			eras_answer_error(s, r, -32602, why, SPAN_NONE);
		else
			return call_ended(s, r) || wants_other_session(s, r);
		return true;
	}
	if (wants_other_session(s, r))
		return true;
	if (span_is(r->method, "server/discover")) {
		discover_result(s, r);
	} else if (span_is(r->method, "subscriptions/listen")) {
		listen_here(s, r);
	} else if (span_is(r->method, "initialize")) {
		eras_answer_error(s, r, -32600, "initialize does not belong in a 2026-07-28 conversation", SPAN_NONE);
	} else if (level_of(r).p && log_level_rank(level_of(r)) < 0) {
		eras_answer_error(s, r, -32602, "Invalid params: unknown log level", SPAN_NONE);
	} else {
		wanted_level(s, r);
		return false;
	}
	return true;
}

static bool cacheable(struct span method)
{
	return catalog_list_of(method) >= 0 || span_is(method, "resources/read") || span_is(method, "server/discover");
}

bool modern_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct translation *t = r->extra;
	struct json_iter it;
	struct span key, value;
	struct buf b;
	int64_t code;
	int bad;

	if (level_of(r).p)
		s->eras->log_until = s->now + LOG_LATE_MS;
	if (t && t->with_client) { /* the client's id is spent; keep it for the retry */
		bad = buf_set(&t->answer, m->text);
		exchange_release(s, r);
		r->patient_until = t->expires;
		if (bad) /* the retry will hear that the call has ended */
			request_drop(s, r);
		return true;
	}
	if (m->kind == RPC_ERROR) {
		struct json_edit e = { json_get(m->error, "code"), SPAN_LIT("-32602") };
		buf_init(&b, TEXT_MAX);
		if (span_is(r->method, "resources/read") && rpc_error_code(m, &code) && code == -32002 && json_splice(&b, m->error, &e, 1) == 0)
			eras_send_answer(s, r, "error", buf_span(&b));
		else
			eras_send_answer(s, r, "error", m->error);
		buf_fini(&b);
		return true;
	}
	if (catalog_list_of(r->method) >= 0)
		exchange_learn_page(s, r, (enum catalog_list)catalog_list_of(r->method), m->result);
	/* What is no object has no members: it goes as it came. */
	if (json_type(m->result) != '{' || json_get(m->result, "resultType").p) {
		eras_send_answer(s, r, "result", m->result);
		return true;
	}
	json_iter(&it, m->result);
	bool any = json_next(&it, &key, &value);
	buf_init(&b, TEXT_MAX);
	bad = buf_puts(&b, "{\"resultType\":\"complete\"");
	if (cacheable(r->method) && !json_get(m->result, "ttlMs").p)
		bad |= buf_puts(&b, ",\"ttlMs\":0");
	if (cacheable(r->method) && !json_get(m->result, "cacheScope").p)
		bad |= buf_puts(&b, ",\"cacheScope\":\"private\"");
	bad |= buf_puts(&b, any ? "," : "") | buf_append(&b, m->result.p + 1, m->result.n - 1);
	if (!bad)
		eras_send_answer(s, r, "result", buf_span(&b));
	else
		exchange_answer_lost(s, r);
	buf_fini(&b);
	return true;
}

/* A request of the server: answered here, tied to a call, or refused. */
static void server_asks(struct session *s, struct request *r, const struct rpc_msg *m)
{
	if (span_is(m->method, "ping")) {
		answer_question(s, r, m->id, SPAN_LIT("{}"));
		return;
	}
	if (!r || r->purpose != RQ_CLIENT || r->is_listen)
		r = only_call(s);
	if (r && (span_is(r->method, "tools/call") || span_is(r->method, "prompts/get") || span_is(r->method, "resources/read"))) {
		if (eras_client_can(json_get(r->meta, META_CLIENT_CAPS), m->method, m->params))
			hand_over(s, r, m);
		else
			refuse_question(s, r, m->id, -32601, "This client has not said that it can do this");
		return;
	}
	session_note(s, NOTE_WARN, "refused a request of the server (%.*s) that belongs to no single call", (int)(m->method.n < 60 ? m->method.n : 60), m->method.p);
	refuse_question(s, r, m->id, -32601, "This client takes requests of the server only as part of one call");
}

bool modern_inbound(struct session *s, struct request *r, const struct rpc_msg *m)
{
	if (m->kind == RPC_REQUEST) {
		server_asks(s, r, m);
		return true;
	}
	if (span_is(m->method, "notifications/message"))
		return !wants_message(s, r, json_get(m->params, "level"));
	if (span_is(m->method, "notifications/progress"))
		return retoken(s, m);
	if (span_is(m->method, "notifications/cancelled"))
		return true; /* of a question: its id means nothing to this client */
	for (int l = 0; l < LIST_COUNT; l++)
		if (span_is(m->method, catalog_list_changed((enum catalog_list)l)))
			catalog_on_list_changed(s->catalog, (enum catalog_list)l);
	if (span_is(m->method, "notifications/resources/updated") ||
	    (m->method.n > 13 && span_eq(span_make(m->method.p + m->method.n - 13, 13), SPAN_LIT("/list_changed")))) {
		modern_tell(s, m->method, m->params);
		return true;
	}
	return false;
}
