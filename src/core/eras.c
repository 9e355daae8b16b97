/* Translation between the eras of client and server, both ways: which one is
 * needed, what both need, and where the session hands over. Only members that
 * must change are changed; values are the sender's bytes. Without translation
 * nothing is changed but an id of ours. */
#include "core/eras_i.h"

#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#define TEXT_MAX ((size_t)1 << 40)
#define COMPARE_MS 5000      /* between comparisons after breaks of subscriptions */

static const char *const meta_keys[] = { META_VERSION, META_CLIENT_INFO, META_CLIENT_CAPS, META_LOG_LEVEL };

/* ---- common pieces ------------------------------------------------------------------------------- */

struct eras *eras_get(struct session *s)
{
	struct eras *e = s->eras;

	if (e)
		return e;
	e = calloc(1, sizeof(*e));
	if (!e)
		return NULL;
	buf_init(&e->info, TEXT_MAX);
	buf_init(&e->caps, TEXT_MAX);
	buf_init(&e->level, TEXT_MAX);
	buf_init(&e->discover, TEXT_MAX);
	for (size_t i = 0; i < sizeof(e->key); i += 8) {
		uint64_t w = rng_next(&s->rng);
		memcpy(e->key + i, &w, 8);
	}
	s->eras = e;
	return e;
}

void eras_free(struct session *s)
{
	struct eras *e = s->eras;

	if (!e)
		return;
	while (e->inputs) {
		struct input *i = e->inputs;
		e->inputs = i->next;
		buf_fini(&i->key);
		free(i);
	}
	subs_free_list(&e->goodbyes);
	buf_fini(&e->info);
	buf_fini(&e->caps);
	buf_fini(&e->level);
	buf_fini(&e->discover);
	sodium_memzero(e->key, sizeof(e->key));
	free(e);
	s->eras = NULL;
}

struct translation *translation_get(struct request *r)
{
	struct translation *t = r->extra;

	if (t)
		return t;
	t = calloc(1, sizeof(*t));
	if (!t)
		return NULL;
	buf_init(&t->id, TEXT_MAX);
	buf_init(&t->state, TEXT_MAX);
	buf_init(&t->inputs, TEXT_MAX);
	buf_init(&t->answer, TEXT_MAX);
	buf_init(&t->asked, TEXT_MAX);
	buf_init(&t->progress, TEXT_MAX);
	buf_init(&t->refusal, TEXT_MAX);
	r->extra = t;
	return t;
}

void eras_forget_request(struct session *s, struct request *r)
{
	struct translation *t = r->extra;
	struct eras *e = s->eras;

	if (e && e->listen == r)
		e->listen = NULL;
	if (e && e->old_listen == r)
		e->old_listen = NULL;
	if (e && e->mirrors == r)
		mirrors_over(s, false);
	if (!t)
		return;
	legacy_forget(s, r);
	modern_forget(s, r);
	buf_fini(&t->id);
	buf_fini(&t->state);
	buf_fini(&t->inputs);
	buf_fini(&t->answer);
	buf_fini(&t->asked);
	buf_fini(&t->progress);
	buf_fini(&t->refusal);
	free(t);
	r->extra = NULL;
}

bool eras_l2m(const struct session *s) { return s->era == ERA_MODERN && !s->client_modern; }
bool eras_m2l(const struct session *s) { return s->client_modern && (s->era == ERA_HTTP || s->era == ERA_SSE); }

struct request *eras_request(struct session *s, uint64_t token)
{
	struct request *r = token ? s->ledger.head : NULL;

	while (r && r->token != token)
		r = r->next;
	return r;
}

struct span eras_client_id(const struct request *r)
{
	const struct translation *t = r->extra;

	return t && t->id.len ? buf_span(&t->id) : r->id;
}

struct request *eras_by_client_id(struct session *s, struct span id)
{
	struct request *r = ledger_by_client_id(&s->ledger, id);

	if (r && span_eq(eras_client_id(r), r->id))
		return r;
	for (r = s->eras ? s->ledger.head : NULL; r; r = r->next) {
		const struct translation *t = r->extra;
		if (t && t->id.len && ledger_same_id(&s->ledger, buf_span(&t->id), id))
			return r;
	}
	return NULL;
}

bool eras_spent(const struct request *r)
{
	const struct translation *t = r->extra;

	return t && t->with_client;
}

void eras_new_client(struct session *s)
{
	if (s->eras)
		buf_reset(&s->eras->level);
}

int eras_learn_legacy(struct session *s, struct span init)
{
	struct eras *e = eras_get(s);

	if (!e)
		return -1;
	return buf_set(&e->info, json_get(init, "clientInfo")) | buf_set(&e->caps, json_get(init, "capabilities"));
}

/* Forms are what an elicitation is about unless it says otherwise, and what a
 * client takes that names no kind (client/elicitation, "Capabilities"). */
static bool can_elicit(struct span can, struct span params)
{
	bool url = json_get(can, "url").p != NULL;

	if (json_string_is(json_get(params, "mode"), "url"))
		return url;
	return can.p && (!url || json_get(can, "form").p);
}

bool eras_client_can(struct span caps, struct span method, struct span params)
{
	if (span_is(method, "elicitation/create"))
		return can_elicit(json_get(caps, "elicitation"), params);
	if (span_is(method, "sampling/createMessage"))
		return json_get(caps, "sampling").p != NULL;
	return span_is(method, "roots/list") && json_get(caps, "roots").p;
}

static bool listed(struct span key, const char *const *names, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (json_key_is(key, names[i]))
			return true;
	return false;
}

int eras_members(struct buf *out, struct span obj, const char *const *drop, size_t ndrop, bool *any)
{
	struct json_iter it;
	struct span key, value;
	int bad = 0;

	json_iter(&it, obj);
	while (!bad && json_next(&it, &key, &value)) {
		if (listed(key, drop, ndrop))
			continue;
		if (*any)
			bad |= buf_puts(out, ",");
		*any = true;
		bad |= buf_puts(out, "\"") | buf_add(out, key) | buf_puts(out, "\":") | buf_add(out, value);
	}
	return bad ? -1 : 0;
}

int eras_meta(struct session *s, struct buf *out, struct span old)
{
	struct eras *e = s->eras;
	bool any = true;
	int bad;

	bad = buf_puts(out, "{\"" META_VERSION "\":\"" VERSION_MODERN "\",\"" META_CLIENT_INFO "\":");
	bad |= e && e->info.len ? buf_add(out, buf_span(&e->info)) : buf_puts(out, "{\"name\":\"mcp-holdfast\",\"version\":\"1\"}");
	bad |= buf_puts(out, ",\"" META_CLIENT_CAPS "\":");
	bad |= e && e->caps.len ? buf_add(out, buf_span(&e->caps)) : buf_puts(out, "{}");
	if (e && e->level.len && eras_l2m(s))
		bad |= buf_puts(out, ",\"" META_LOG_LEVEL "\":") | buf_add(out, buf_span(&e->level));
	bad |= eras_members(out, old, meta_keys, sizeof(meta_keys) / sizeof(*meta_keys), &any);
	bad |= buf_puts(out, "}");
	return bad ? -1 : 0;
}

bool eras_try_answer(struct session *s, struct request *r, const char *member, struct span body)
{
	struct span id = eras_client_id(r);
	struct buf b;
	int bad;

	if (r->cancelled)
		return true;
	buf_init(&b, TEXT_MAX);
	do {
		buf_reset(&b);
		bad = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"id\":") || buf_add(&b, id) || buf_printf(&b, ",\"%s\":", member) || buf_add(&b, body) || buf_puts(&b, "}");
	} while (bad && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

void eras_send_answer(struct session *s, struct request *r, const char *member, struct span body)
{
	if (!eras_try_answer(s, r, member, body))
		exchange_answer_lost(s, r);
}

void eras_send_edited(struct session *s, struct span text, struct json_edit e)
{
	struct buf b;
	int bad;

	buf_init(&b, TEXT_MAX);
	do {
		buf_reset(&b);
		bad = json_splice(&b, text, &e, 1);
	} while (bad && session_relieve(s));
	if (bad)
		buf_fini(&b);
	else
		session_send_owned(s, &b);
}

void eras_answer_locally(struct session *s, struct request *r, struct span result)
{
	eras_send_answer(s, r, "result", result);
	s->n.answers++;
	request_tell(s, r, 0, result);
	request_drop(s, r);
}

void eras_answer_error(struct session *s, struct request *r, int code, const char *message, struct span data)
{
	if (!r->cancelled)
		session_send_error(s, eras_client_id(r), code, message, data);
	s->n.answers++;
	request_tell(s, r, code, SPAN_NONE);
	request_drop(s, r);
}

/* ---- requests on their way up --------------------------------------------------------------------------- */

/* Params for a modern server, from a legacy client or of our own; params for a
 * legacy server, from a modern client. */
static int translated_params(struct session *s, struct request *r, struct buf *out)
{
	static const char *const meta[] = { "_meta" };
	static const char *const rounds[] = { "_meta", "inputResponses", "requestState" };
	struct translation *t = r->extra;
	struct span old = json_get(r->params, "_meta");
	bool more = t && (t->inputs.len || t->state.len), any = false;
	int bad = buf_puts(out, "{");

	bad |= eras_members(out, r->params, more || eras_m2l(s) ? rounds : meta, more || eras_m2l(s) ? 3 : 1, &any);
	if (eras_m2l(s)) {
		struct buf kept;
		bool left = false;
		buf_init(&kept, TEXT_MAX);
		bad |= eras_members(&kept, old, meta_keys, sizeof(meta_keys) / sizeof(*meta_keys), &left);
		if (left)
			bad |= buf_puts(out, any ? ",\"_meta\":{" : "\"_meta\":{") | buf_add(out, buf_span(&kept)) | buf_puts(out, "}");
		buf_fini(&kept);
	} else {
		bad |= buf_puts(out, any ? ",\"_meta\":" : "\"_meta\":") | eras_meta(s, out, old);
		if (t && t->inputs.len)
			bad |= buf_puts(out, ",\"inputResponses\":") | buf_add(out, buf_span(&t->inputs));
		if (t && t->state.len)
			bad |= buf_puts(out, ",\"requestState\":") | buf_add(out, buf_span(&t->state));
	}
	bad |= buf_puts(out, "}");
	return bad ? -1 : 0;
}

static bool needs_translation(struct session *s, const struct request *r)
{
	if (r->purpose == RQ_DISCOVER)
		return true;
	if (s->era == ERA_MODERN)
		return !s->client_modern || r->purpose != RQ_CLIENT;
	return eras_m2l(s) && (r->purpose == RQ_CLIENT || r->purpose == RQ_HEDGE);
}

int eras_render(struct session *s, struct request *r)
{
	struct json_edit e[2];
	struct buf params, scratch;
	size_t n = 0;
	int rc;

	buf_reset(&r->upstream);
	if (!needs_translation(s, r)) {
		e[0] = (struct json_edit){ r->id, r->uid };
		if (r->uid.p == r->id.p || span_eq(r->uid, r->id))
			return 0;
		return json_splice(&r->upstream, buf_span(&r->line), e, 1);
	}
	buf_init(&params, TEXT_MAX);
	buf_init(&scratch, TEXT_MAX);
	rc = translated_params(s, r, &params);
	if (rc == 0)
		rc = json_edit_set(&e[n++], &scratch, buf_span(&r->line), "params", buf_span(&params));
	if (rc == 0 && !span_eq(r->uid, r->id))
		e[n++] = (struct json_edit){ r->id, r->uid };
	if (n == 2 && e[0].old.p > e[1].old.p) {
		struct json_edit swap = e[0];
		e[0] = e[1];
		e[1] = swap;
	}
	if (rc == 0)
		rc = json_splice(&r->upstream, buf_span(&r->line), e, n);
	buf_fini(&params);
	buf_fini(&scratch);
	return rc;
}

int eras_headers(struct session *s, struct request *r, struct buf *lines)
{
	struct span version = SPAN_LIT(VERSION_MODERN), said;
	struct buf text;
	int rc;

	/* A server may answer initialize with a revision that has header mirrors,
	 * and one may look for them on initialize itself. */
	if (r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT)
		return s->trying == ERA_HTTP ? dialect_mirror_headers(lines, r->method, SPAN_NONE, s->catalog) : 0;
	if (s->era == ERA_HTTP && version_text_is_modern(s->version))
		return dialect_mirror_headers(lines, r->method, r->params, s->catalog);
	if (s->era != ERA_MODERN && r->purpose != RQ_DISCOVER)
		return 0;
	buf_init(&text, 256);
	said = s->client_modern && r->purpose == RQ_CLIENT ? json_get(json_get(r->params, "_meta"), META_VERSION) : SPAN_NONE;
	if (json_type(said) == '"' && json_string(said, &text) == 0)
		version = buf_span(&text);
	rc = dialect_modern_headers(lines, version, r->method, r->params, s->catalog);
	buf_fini(&text);
	return rc;
}

void eras_out_headers(struct session *s, struct span method, struct buf *lines)
{
	if (s->era == ERA_MODERN)
		dialect_modern_headers(lines, SPAN_LIT(VERSION_MODERN), method, SPAN_NONE, s->catalog);
	else if (s->era == ERA_HTTP && method.p && version_text_is_modern(s->version))
		dialect_mirror_headers(lines, method, SPAN_NONE, s->catalog);
}

/* ---- what the session hands over ------------------------------------------------------------------------------ */

bool eras_unbind(struct session *s)
{
	struct request *r = s->ledger.head;

	if (s->client_bound)
		return false;
	while (r) {
		if (r->purpose != RQ_CLIENT) {
			r = r->next;
			continue;
		}
		request_refuse(s, r, ERR_UNSUPPORTED, "The client has fallen back to initialize meanwhile", -1);
		r = s->ledger.head;
	}
	s->client_modern = s->client_seen_era = s->offline = false;
	return true;
}

/* Every request of the stateless protocol says its version (basic, "_meta"). */
static bool says_no_version(struct session *s, const struct rpc_msg *m)
{
	if (json_get(json_get(m->params, "_meta"), META_VERSION).p)
		return false;
	session_send_error(s, m->id, -32602, "Invalid params: _meta must hold " META_VERSION " in every request", SPAN_NONE);
	return true;
}

bool eras_intake(struct session *s, const struct rpc_msg *m)
{
	if (m->kind == RPC_RESULT || m->kind == RPC_ERROR) {
		if (legacy_input_came(s, m))
			return true;
		if (!s->client_modern)
			return false;
		session_note(s, NOTE_INFO, "dropped an answer of the client: this protocol version has none");
		return true;
	}
	if (m->kind == RPC_NOTIFICATION)
		return false;
	if (!s->client_seen_era && s->state == SESSION_START && dialect_client_is_modern(m))
		s->client_seen_era = s->client_modern = true;
	else if (s->client_modern && says_no_version(s, m))
		return true;
	s->client_bound |= s->client_modern && !span_is(m->method, "server/discover");
	if (!s->client_modern || modern_learn_client(s, m) == 0)
		return false;
	intake_no_memory(s, m->id);
	return true;
}

bool eras_local(struct session *s, struct request *r)
{
	if (r->purpose != RQ_CLIENT || !(eras_l2m(s) || eras_m2l(s)))
		return false;
	if (r->params.p && json_type(r->params) != '{') { /* there is no place for what has to be added */
		eras_answer_error(s, r, -32602, "Invalid params: not an object", SPAN_NONE);
		return true;
	}
	if (eras_l2m(s))
		return legacy_local(s, r);
	return eras_m2l(s) && modern_local(s, r);
}

/* A result that names the subscription by the id it had upstream. */
static bool listen_ended(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span sub = m->kind == RPC_RESULT ? json_get(json_get(m->result, "_meta"), META_SUBSCRIPTION) : SPAN_NONE;
	struct json_edit e = { sub, r->id };
	struct buf b;

	if (!sub.p || span_eq(sub, r->id))
		return false;
	buf_init(&b, TEXT_MAX);
	if (json_splice(&b, m->result, &e, 1) == 0)
		eras_send_answer(s, r, "result", buf_span(&b));
	else
		exchange_answer_lost(s, r);
	buf_fini(&b);
	return true;
}

bool eras_answer(struct session *s, struct request *r, const struct rpc_msg *m)
{
	int64_t code;

	switch (r->purpose) {
	case RQ_DISCOVER:
		eras_discovered(s, r, m);
		return true;
	case RQ_LISTEN: /* it ended in good order, or is refused; the former is opened again, at the pace of a failure if it was short */
		if (m->kind == RPC_RESULT && s->eras->listen == r) {
			eras_failed(s, r, &(struct failure){ .what = "the subscription ended", .retry_after_ms = -1 });
		} else {
			if (s->eras->old_listen == r && s->eras->listen)
				listen_broke(s->eras->listen);
			request_drop(s, r);
		}
		return true;
	case RQ_MIRROR:
		mirrors_came(s, r, m);
		return true;
	default:
		break;
	}
	if (s->era == ERA_MODERN && m->kind == RPC_ERROR && r->is_tool_call && rpc_error_code(m, &code) && code == -32020 && mirrors_refused(s, r))
		return true;
	if (eras_l2m(s) && legacy_answer(s, r, m))
		return true;
	if (eras_m2l(s))
		return modern_answer(s, r, m);
	if (s->era == ERA_MODERN && m->kind == RPC_RESULT && span_is(r->method, "tools/list"))
		return mirrors_filter(s, r, m);
	if (s->era == ERA_MODERN && s->client_modern && span_is(r->method, "subscriptions/listen"))
		return listen_ended(s, r, m);
	return false;
}

void eras_failed(struct session *s, struct request *r, const struct failure *f)
{
	char what[512];

	snprintf(what, sizeof(what), "%s", f->what);
	switch (r->purpose) {
	case RQ_DISCOVER:
		request_drop(s, r);
		eras_discover_failed(s, f, what);
		break;
	case RQ_LISTEN: {
		bool line = f->line;
		unsigned attempts = s->now - r->sent_at >= PROVEN_MS ? 1 : r->attempts;
		struct backoff b;
		request_park(s, r, 0);
		listen_broke(r);
		r->attempts = attempts;
		backoff_init(&b, retry_backoff(s->c));
		b.attempt = attempts ? attempts - 1 : 0;
		r->not_before = backoff_next(&b, &s->rng, s->now);
		session_due(s, r->not_before);
		if (line && s->state == SESSION_READY)
			session_line_down(s, what, -1, -1);
		break;
	}
	default:
		request_drop(s, r);
	}
}

/* The notification's subscription id becomes the client's. */
static bool retag(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct translation *t = translation_get(r);
	struct span sub = json_get(json_get(m->params, "_meta"), META_SUBSCRIPTION);
	bool ack = span_is(m->method, "notifications/subscriptions/acknowledged");

	if (!t)
		return false;
	if (ack)
		listen_opened(s, r);
	if (ack && t->acknowledged)
		return true;
	t->acknowledged |= ack;
	if (span_is(m->method, "notifications/cancelled") && ledger_same_id(&s->ledger, json_get(m->params, "requestId"), r->uid)) {
		eras_send_edited(s, m->text, (struct json_edit){ json_get(m->params, "requestId"), r->id });
		r->cancelled = true;
		request_drop(s, r);
		return true;
	}
	if (!sub.p || span_eq(sub, r->id))
		return false;
	eras_send_edited(s, m->text, (struct json_edit){ sub, r->id });
	return true;
}

bool eras_inbound(struct session *s, struct request *r, const struct rpc_msg *m)
{
	if (s->era == ERA_MODERN && m->kind == RPC_REQUEST) {
		session_note(s, NOTE_WARN, "ignored a request of the server: its protocol version has none");
		return true;
	}
	if (s->era == ERA_MODERN && s->client_modern && r && r->is_listen) {
		replay_on_list_changed(s, m->method);
		return retag(s, r, m);
	}
	if (eras_l2m(s))
		return legacy_inbound(s, r, m);
	return eras_m2l(s) && modern_inbound(s, r, m);
}

/* Something may have changed while r was closed: its client is told, with its own tag. */
static void tell_missed(struct session *s, struct request *r)
{
	struct json_iter it;
	struct span uri;

	json_iter(&it, json_get(json_get(r->params, "notifications"), "resourceSubscriptions"));
	while (json_next(&it, NULL, &uri)) {
		struct buf b;
		int bad;
		buf_init(&b, TEXT_MAX);
		do {
			buf_reset(&b);
			bad = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":") || buf_add(&b, uri) ||
			      buf_puts(&b, ",\"_meta\":{\"" META_SUBSCRIPTION "\":") || buf_add(&b, r->id) || buf_puts(&b, "}}}");
		} while (bad && session_relieve(s));
		if (bad)
			buf_fini(&b);
		else
			session_send_owned(s, &b);
	}
}

static void compare_after_gap(struct session *s)
{
	s->eras->compare_at = 0;
	s->eras->compared_at = s->now;
	for (struct request *r = s->ledger.head; r; r = r->next) {
		struct translation *t = r->is_listen ? r->extra : NULL;
		if (!t || !t->back)
			continue;
		t->back = t->gap = false;
		if (r->purpose == RQ_CLIENT)
			tell_missed(s, r);
	}
	replay_after(s);
}

void listen_broke(struct request *r)
{
	struct translation *t = translation_get(r);

	if (!t)
		return;
	t->gap = true;
	t->back = false;
}

void listen_opened(struct session *s, struct request *r)
{
	struct translation *t = translation_get(r);
	struct eras *e = s->eras;
	int64_t at, pause = s->c->max_retry_ms < COMPARE_MS ? s->c->max_retry_ms : COMPARE_MS;

	if (!t || !t->gap || t->back)
		return;
	t->back = true;
	session_note(s, NOTE_INFO, "a subscription is open again");
	at = e->compared_at ? e->compared_at + pause : s->now;
	if (!e->compare_at || at < e->compare_at)
		e->compare_at = at > s->now ? at : s->now;
	if (e->compare_at <= s->now && s->state == SESSION_READY)
		compare_after_gap(s);
}

int64_t eras_deadline(const struct session *s)
{
	const struct eras *e = s->eras;
	int64_t t = 0;

	if (!e || s->state != SESSION_READY)
		return 0;
	int64_t all[] = { e->compare_at, (e->subs_due || e->goodbyes) && eras_m2l(s) ? e->asking_after : 0, e->listen_dirty && eras_l2m(s) ? e->relisten_at : 0 };
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (all[i] && (!t || all[i] < t))
			t = all[i];
	return t;
}

void eras_pump(struct session *s)
{
	if (s->eras && s->eras->listen_dirty && eras_l2m(s) && s->state == SESSION_READY)
		legacy_relisten(s);
	if (s->eras && (s->eras->subs_due || s->eras->goodbyes) && eras_m2l(s) && s->state == SESSION_READY)
		modern_subscribe(s);
	if (s->eras && s->eras->compare_at && s->now >= s->eras->compare_at && s->state == SESSION_READY)
		compare_after_gap(s);
}
