/* subscriptions/listen of a 2026-07-28 client on a legacy server, made of
 * resources/subscribe, which is said a few at a time, and of what the standing
 * stream brings. */
#include "core/eras_i.h"

#define TEXT_MAX ((size_t)1 << 40)
#define SUBSCRIBES_AT_ONCE 8

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

void modern_listen(struct session *s, struct request *r)
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
