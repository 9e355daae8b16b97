/* A 2026-07-28 client on a legacy server: `server/discover` answered from an
 * initialize of ours, capabilities and log levels of requests made those of the
 * session, and results completed. eras_listen.c has its subscriptions,
 * eras_input.c what its server asks. */
#include "core/eras_i.h"

#define TEXT_MAX ((size_t)1 << 40)
#define LOG_LATE_MS 5000          /* after an answer, messages of its request may still come by another way */

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
	session_give_back(s);
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

/* ---- both directions -------------------------------------------------------------------------------------------------- */

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

	if (t && t->local)
		return true;
	if (version_refused(s, r))
		return true;
	if (state.p)
		return modern_retry(s, r, state) || wants_other_session(s, r);
	if (wants_other_session(s, r))
		return true;
	if (span_is(r->method, "server/discover")) {
		discover_result(s, r);
	} else if (span_is(r->method, "subscriptions/listen")) {
		modern_listen(s, r);
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

/* An error goes on with the code that this client knows it by: one for a resource that
 * is not found had its own, and -32042 must not be said any more. */
static void pass_error(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct json_edit e = { json_get(m->error, "code"), SPAN_NONE };
	int64_t code = 0;
	struct buf b;

	rpc_error_code(m, &code);
	if (code == -32002 && span_is(r->method, "resources/read"))
		e.new_bytes = SPAN_LIT("-32602");
	else if (code == -32042)
		e.new_bytes = SPAN_LIT("-32603");
	buf_init(&b, TEXT_MAX);
	if (e.new_bytes.p && json_splice(&b, m->error, &e, 1) == 0)
		eras_send_answer(s, r, "error", buf_span(&b));
	else
		eras_send_answer(s, r, "error", m->error);
	buf_fini(&b);
}

bool modern_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct translation *t = r->extra;
	struct json_iter it;
	struct span key, value;
	struct buf b;
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
		if (!modern_wants_visit(s, r, m))
			pass_error(s, r, m);
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

bool modern_inbound(struct session *s, struct request *r, const struct rpc_msg *m)
{
	if (m->kind == RPC_REQUEST) {
		modern_asked(s, r, m);
		return true;
	}
	if (span_is(m->method, "notifications/message"))
		return !wants_message(s, r, json_get(m->params, "level"));
	if (span_is(m->method, "notifications/progress"))
		return retoken(s, m);
	if (span_is(m->method, "notifications/cancelled") || span_is(m->method, "notifications/elicitation/complete"))
		return true; /* of a question: its id means nothing to this client */
	replay_on_list_changed(s, m->method);
	if (span_is(m->method, "notifications/resources/updated") ||
	    (m->method.n > 13 && span_eq(span_make(m->method.p + m->method.n - 13, 13), SPAN_LIT("/list_changed")))) {
		modern_tell(s, m->method, m->params);
		return true;
	}
	return false;
}
