/* Offline start: what an earlier run learned of this server stands in while
 * the server can not be reached. The session hands out what is worth
 * remembering (ACT_REMEMBER): the last good handshake and the lists as the
 * client saw them, nothing else; and it takes it back by session_on_memory().
 *
 * When the first handshake has waited for --initialize-wait without success,
 * the client is answered from memory, lists are given out marked as stale, and
 * everything else is held, but for what every new session is told anyway (the
 * log level, the subscriptions): that is taken where the server had it. The real
 * handshake goes on meanwhile and is compared when it succeeds; from then on
 * nothing comes from memory. A 401 or 403 is the end of it: nothing is answered
 * from memory and nothing is kept. */
#include <stdio.h>
#include <stdlib.h>

#include "core/eras_i.h"

#define KEEP_MAX ((size_t)4 << 20) /* of one listing; a larger one is not remembered */
#define STALE_KEY "mcp-holdfast/stale"
#define AGE_KEY "mcp-holdfast/ageSeconds"

struct page {
	struct buf doc;
	struct span cursor, result; /* into doc; cursor is SPAN_NONE for the first page */
	int64_t seen_at;            /* s->now it was current at, in the past */
	struct page *next;
};

struct memory {
	struct buf hello;
	struct span result, discover; /* into hello: of initialize, or of server/discover */
	char version[16];
	int64_t seen_at;
	struct page *pages[LIST_COUNT];
	size_t bytes[LIST_COUNT];
	bool recalled;
};

/* ---- what is remembered ---------------------------------------------------------------------- */

static struct action *remember(struct session *s, int kind)
{
	struct action *a = session_act(s, ACT_REMEMBER);

	if (a)
		a->status = kind;
	return a;
}

static void remember_handshake(struct session *s, struct span result)
{
	const char *member = s->era == ERA_MODERN ? "discover" : "result";
	struct action *a;

	if (!result.n || result.n > KEEP_MAX || !(a = remember(s, REMEMBER_HANDSHAKE)))
		return;
	if (buf_printf(&a->owned, "{\"era\":\"%s\",\"%s\":", era_name(s->era), member) || buf_add(&a->owned, result) || buf_puts(&a->owned, "}"))
		buf_reset(&a->owned);
	s->remembered = true;
}

void offline_learn_handshake(struct session *s, struct span result)
{
	s->credentials_refused = false;
	if (s->c->offline_start)
		remember_handshake(s, result);
}

void offline_learn_page(struct session *s, int list, struct span cursor, struct span result)
{
	struct span next = json_get(result, "nextCursor");
	struct action *a;

	if (!s->c->offline_start)
		return;
	if (!s->remembered) /* it was forgotten after a refusal; the server answers again */
		remember_handshake(s, s->era != ERA_MODERN ? buf_span(&s->init_result) : s->eras ? buf_span(&s->eras->discover) : SPAN_NONE);
	if (!(a = remember(s, REMEMBER_LIST + list)))
		return;
	a->goes_on = json_type(cursor) == '"';
	a->unfinished = json_type(next) == '"' && next.n > 2;
	if (result.n + cursor.n > KEEP_MAX)
		return; /* no text: what was kept is no longer true */
	if (buf_puts(&a->owned, "{\"cursor\":") || buf_add(&a->owned, a->goes_on ? cursor : SPAN_LIT("null")) ||
	    buf_puts(&a->owned, ",\"result\":") || buf_add(&a->owned, result) || buf_puts(&a->owned, "}"))
		buf_reset(&a->owned);
}

void offline_forget(struct session *s)
{
	if (!s->c->offline_start)
		return;
	s->remembered = false;
	offline_free(s);
	remember(s, REMEMBER_NOTHING);
}

/* The end of an exchange. One that a sign-in is going to cure keeps the memory;
 * a server that refuses its standing stream or the farewell refuses no more than that. */
void offline_on_end(struct session *s, const struct xfer *x)
{
	if ((x->status != 401 && x->status != 403) || x->kind == XF_DELETE || (x->kind == XF_STREAM && s->era == ERA_HTTP))
		return;
	s->credentials_refused = true;
	if (x->challenge != CHALLENGE_AGAIN && x->challenge != CHALLENGE_PARK)
		offline_forget(s);
}

/* ---- what comes back ---------------------------------------------------------------------------- */

static void pages_free(struct memory *m, int list)
{
	struct page *p;

	while ((p = m->pages[list])) {
		m->pages[list] = p->next;
		buf_fini(&p->doc);
		free(p);
	}
	m->bytes[list] = 0;
}

void offline_free(struct session *s)
{
	struct memory *m = s->memory;

	if (!m)
		return;
	for (int l = 0; l < LIST_COUNT; l++)
		pages_free(m, l);
	buf_fini(&m->hello);
	free(m);
	s->memory = NULL;
}

static bool is_object(struct span text)
{
	struct json_scan scan;

	return json_scan(text.p, text.n, &scan) == JSON_OK && scan.type == '{' && !scan.has_newline;
}

static enum era era_of(struct span name)
{
	for (enum era e = ERA_SSE; e <= ERA_MODERN; e++)
		if (json_string_is(name, era_name(e)))
			return e;
	return ERA_NONE;
}

static void take_handshake(struct session *s, struct span text, int64_t seen_at)
{
	struct memory *m = calloc(1, sizeof(*m));
	enum era era;
	bool good;

	if (!m)
		return;
	offline_free(s);
	s->memory = m;
	buf_init(&m->hello, KEEP_MAX + 256);
	if (buf_add(&m->hello, text) != 0) {
		offline_free(s);
		return;
	}
	text = buf_span(&m->hello);
	era = era_of(json_get(text, "era"));
	m->seen_at = seen_at;
	m->result = json_get(text, "result");
	m->discover = json_get(text, "discover");
	if (era == ERA_MODERN)
		good = json_type(json_get(m->discover, "supportedVersions")) == '[';
	else
		good = era != ERA_NONE && version_read(json_get(m->result, "protocolVersion"), m->version);
	if (good)
		s->known_era = era;
	else
		offline_free(s);
}

static void take_page(struct session *s, int list, struct span text, int64_t seen_at)
{
	struct memory *m = s->memory;
	struct page *p, **at;

	if (!m || text.n > 2 * KEEP_MAX - m->bytes[list] || !(p = calloc(1, sizeof(*p))))
		return;
	buf_init(&p->doc, 2 * KEEP_MAX);
	if (buf_add(&p->doc, text) != 0) {
		free(p);
		return;
	}
	text = buf_span(&p->doc);
	p->cursor = json_get(text, "cursor");
	p->result = json_get(text, "result");
	p->seen_at = seen_at;
	if (json_type(p->cursor) != '"') {
		p->cursor = SPAN_NONE;
		pages_free(m, list);
	}
	if (json_type(p->result) != '{') {
		buf_fini(&p->doc);
		free(p);
		return;
	}
	for (at = &m->pages[list]; *at; at = &(*at)->next)
		;
	*at = p;
	m->bytes[list] += text.n;
}

static void serve_parked(struct session *s);

void session_on_memory(struct session *s, int kind, struct span text, int64_t age_s)
{
	int64_t age = age_s < 0 ? 0 : age_s < INT32_MAX ? age_s : INT32_MAX;

	if (!s->c->offline_start || s->credentials_refused || s->era != ERA_NONE || !is_object(text))
		return;
	if (kind == REMEMBER_HANDSHAKE)
		take_handshake(s, text, s->now - age * 1000);
	else if (kind >= REMEMBER_LIST && kind < REMEMBER_LIST + LIST_COUNT)
		take_page(s, kind - REMEMBER_LIST, text, s->now - age * 1000);
	if (s->offline)
		serve_parked(s);
}

/* The lists are large and seldom wanted: they are read when the server was
 * found to be away. */
void offline_recall(struct session *s)
{
	if (!s->memory || s->memory->recalled || s->credentials_refused)
		return;
	s->memory->recalled = true;
	remember(s, REMEMBER_RECALL);
}

/* ---- answers from memory --------------------------------------------------------------------------- */

static bool usable(const struct session *s)
{
	return s->memory && !s->credentials_refused && s->era == ERA_NONE &&
	       s->state != SESSION_READY && s->state != SESSION_DRAIN && s->state != SESSION_END;
}

static void begin(struct session *s)
{
	if (s->offline)
		return;
	s->offline = true;
	session_note(s, NOTE_WARN, "the server can not be reached; going on with what is remembered of it (%lld s old)",
		(long long)((s->now - s->memory->seen_at) / 1000));
	offline_recall(s);
}

/* {"jsonrpc","id","result":{RESULT's members,"_meta":{its members, stale, age}}} */
static bool send_stale(struct session *s, struct span id, struct span result, int64_t seen_at)
{
	static const char *const drop[] = { "_meta", "resultType", "ttlMs", "cacheScope" };
	static const char *const marks[] = { STALE_KEY, AGE_KEY };
	struct buf b;
	bool any = false, meta = false;
	int bad;

	buf_init(&b, result.n + id.n + 1024);
	bad = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"id\":") | buf_add(&b, id) | buf_puts(&b, ",\"result\":{");
	bad |= eras_members(&b, result, drop, s->client_modern ? 4 : 1, &any);
	if (s->client_modern) /* nobody is to keep it any longer */
		bad |= buf_printf(&b, "%s\"resultType\":\"complete\",\"ttlMs\":0,\"cacheScope\":\"private\"", any ? "," : "");
	bad |= buf_puts(&b, any || s->client_modern ? ",\"_meta\":{" : "\"_meta\":{");
	bad |= eras_members(&b, json_get(result, "_meta"), marks, 2, &meta);
	bad |= buf_printf(&b, "%s\"" STALE_KEY "\":true,\"" AGE_KEY "\":%lld}}}", meta ? "," : "", (long long)((s->now - seen_at) / 1000));
	if (bad) {
		buf_fini(&b);
		return false;
	}
	if (!session_send_owned(s, &b))
		return false;
	s->n.answers++;
	return true;
}

/* Without the tools that the user does not want to be seen by now, and as a legacy
 * client takes what a modern server said. */
static bool show_page(struct session *s, struct page *p, int list, struct span id, struct span cursor)
{
	struct span result = p->result, shown;
	struct buf less, fit;
	int hidden = 0, fitted = 0;
	bool done;

	buf_init(&less, result.n + 16);
	buf_init(&fit, result.n + 16);
	if (list == LIST_TOOLS && s->c->nignore_tools)
		hidden = tools_hide(s->c, result, &less);
	if (hidden > 0)
		result = buf_span(&less);
	if (list == LIST_TOOLS && hidden >= 0 && s->memory->discover.p && !s->client_modern)
		fitted = tools_fit_legacy(result, &fit);
	shown = fitted > 0 ? buf_span(&fit) : result;
	done = hidden >= 0 && fitted >= 0 && send_stale(s, id, shown, p->seen_at);
	if (done) {
		catalog_on_page(s->catalog, (enum catalog_list)list, cursor, result);
		s->stale_lists |= 1u << list;
	}
	buf_fini(&less);
	buf_fini(&fit);
	return done;
}

static bool serve_list(struct session *s, int list, struct span id, struct span params)
{
	struct span cursor = json_get(params, "cursor");
	bool first = json_type(cursor) != '"';

	for (struct page *p = s->memory->pages[list]; p; p = p->next) {
		if (first == (p->cursor.p != NULL) || (!first && !ledger_same_id(&s->ledger, p->cursor, cursor)))
			continue;
		return show_page(s, p, list, id, cursor);
	}
	return false;
}

static bool serve_discover(struct session *s, struct span id)
{
	struct memory *m = s->memory;
	struct buf b;
	bool done;

	if (m->discover.p)
		return send_stale(s, id, m->discover, m->seen_at);
	buf_init(&b, m->result.n + 1024);
	done = modern_discover(m->result, &b) == 0 && send_stale(s, id, buf_span(&b), m->seen_at);
	buf_fini(&b);
	return done;
}

static bool may_log(struct span caps)
{
	return json_type(json_get(caps, "logging")) == '{';
}

static bool may_subscribe(struct span caps)
{
	bool yes = false;

	return json_bool(json_path(caps, "resources", "subscribe", NULL), &yes) && yes;
}

/* What the new session will be told. Before notifications/initialized it is told
 * nothing, and what a server would refuse is for the server to refuse. */
static bool take_wish(struct session *s, struct span method, struct span params)
{
	struct span caps = json_get(s->memory->discover.p ? s->memory->discover : s->memory->result, "capabilities");
	bool on = span_is(method, "resources/subscribe");

	if (s->client_modern || !s->initialized_sent)
		return false;
	if (span_is(method, "logging/setLevel"))
		return may_log(caps) && log_level_rank(json_get(params, "level")) >= 0 && buf_set(&s->level_params, params) == 0;
	if (!on && !span_is(method, "resources/unsubscribe"))
		return false;
	return may_subscribe(caps) && json_type(json_get(params, "uri")) == '"' && !(on && subs_full(s, params)) && subs_set(s, params, on) == 0;
}

static bool serve(struct session *s, struct span id, struct span method, struct span params)
{
	int list = catalog_list_of(method);

	if (list >= 0)
		return serve_list(s, list, id, params);
	if (take_wish(s, method, params) && session_send_result(s, id, SPAN_LIT("{}"))) {
		s->n.answers++;
		return true;
	}
	return s->client_modern && span_is(method, "server/discover") && serve_discover(s, id);
}

void offline_offered(struct session *s, struct span result)
{
	struct span caps = json_get(result, "capabilities");

	if (!s->offline)
		return;
	if (s->level_params.len && !may_log(caps)) {
		session_note(s, NOTE_INFO, "the server has no log level any more; the one that was set is dropped");
		buf_reset(&s->level_params);
	}
	if (s->subs && !may_subscribe(caps)) {
		session_note(s, NOTE_INFO, "the server has no subscriptions any more; those that were made are dropped");
		subs_free(s);
	}
}

bool offline_intake(struct session *s, const struct rpc_msg *m)
{
	struct session_answer an = { .method = m->method, .id = m->id, .params = m->params, .started_ms = s->now };

	if (!s->offline || !usable(s) || !serve(s, m->id, m->method, m->params))
		return false;
	s->n.requests++;
	if (s->hook)
		s->hook(s->hook_arg, &an);
	return true;
}

static void serve_parked(struct session *s)
{
	struct request *r, *next;

	if (!usable(s))
		return;
	for (r = s->ledger.head; r; r = next) {
		next = r->next;
		if (r->purpose == RQ_CLIENT && r->state == REQ_PARKED && !r->cancelled && serve(s, r->id, r->method, r->params)) {
			request_tell(s, r, 0, SPAN_NONE);
			request_drop(s, r);
		}
	}
}

/* The version that both are most likely to agree on: servers speak what is
 * older than their newest, and the client said what it wants. */
static int legacy_result(struct session *s, struct request *r, struct buf *out)
{
	struct memory *m = s->memory;
	struct span said = json_get(m->result, "protocolVersion"), asked = json_get(r->params, "protocolVersion");
	char version[16];
	struct json_edit e = { said, asked };

	if (!version_read(asked, version) || !version_is_older(version, m->version))
		return buf_add(out, m->result);
	memcpy(m->version, version, sizeof(version));
	return json_splice(out, m->result, &e, 1);
}

/* The client's initialize is answered; an attempt of it that is under way goes
 * on as a step of ours. */
static bool answer_handshake(struct session *s, struct request *r, int64_t floor_ms)
{
	struct memory *m = s->memory;
	struct buf b;

	if (m->discover.p) {
		if (legacy_initialize_result(s, r, m->discover) != 0)
			return false;
		r = NULL;
	} else {
		buf_init(&b, m->result.n + 64);
		if (legacy_result(s, r, &b) != 0) {
			buf_fini(&b);
			return false;
		}
		replay_offered(s, m->result, true);
		memcpy(s->version, m->version, sizeof(s->version));
		s->client_initialized = true;
		request_deliver_result(s, r, buf_span(&b));
		buf_move(&s->init_result, &b);
	}
	s->force_init = true;
	begin(s);
	if (s->state == SESSION_PROBE)
		replay_adopt(s, r, floor_ms);
	else if (r)
		request_drop(s, r);
	return true;
}

/* The oldest request of the client that waits for the first handshake. */
static struct request *waiting(const struct session *s)
{
	struct request *r = s->handshake;

	if (!r && s->client_modern && !s->offline)
		for (r = s->ledger.head; r && (r->purpose != RQ_CLIENT || r->state != REQ_PARKED); r = r->next)
			;
	return r;
}

int64_t offline_deadline(const struct session *s)
{
	const struct request *r = usable(s) && (s->state == SESSION_PROBE || s->state == SESSION_WAIT) ? waiting(s) : NULL;

	return r ? r->arrived + s->c->initialize_wait_ms : 0;
}

void offline_on_time(struct session *s)
{
	int64_t at = offline_deadline(s);

	if (!at || s->now < at)
		return;
	if (s->handshake) {
		if (answer_handshake(s, s->handshake, -1))
			return;
		offline_free(s);
		return;
	}
	begin(s);
	serve_parked(s);
}

bool offline_instead(struct session *s, struct request *r, enum error_kind k, int64_t floor_ms)
{
	bool away = k == ERR_UPSTREAM_UNAVAILABLE || k == ERR_CIRCUIT_OPEN || k == ERR_RATE_LIMITED || k == ERR_TIMEOUT;

	if (!away || !usable(s))
		return false;
	if (r->purpose == RQ_HANDSHAKE) {
		request_detach(s, r);
		return answer_handshake(s, r, floor_ms);
	}
	if (r->purpose != RQ_CLIENT || !s->client_modern || !serve(s, r->id, r->method, r->params))
		return false;
	begin(s);
	request_drop(s, r);
	return true;
}

void offline_over(struct session *s)
{
	offline_free(s);
	if (s->offline)
		session_note(s, NOTE_INFO, "the server is there; nothing comes from memory any more");
	s->offline = false;
}
