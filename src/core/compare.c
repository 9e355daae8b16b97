/* After a revival: what the new session offers, held against what the client
 * was told. Only where something differs is the client told to list again. After
 * list_changed: the tools as they are now, for a client that does not list them
 * again. And the subscriptions, which are said again to every new session. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define NEW_SESSION_MS 10000
#define RELIST_MAX_PAGES 1000
#define LEARN_WAIT_MS 2000   /* after list_changed, for the client to list the tools itself */
#define LEARN_PAUSE_MS 10000 /* from one listing of tools of our own to the next */
#define SUBS_MAX 10000

/* ---- what has changed ---------------------------------------------------------------------------------------- */

/* Many clients take no notice of list_changed: without the annotations no call of
 * theirs could be repeated any more. */
static void learn_later(struct session *s)
{
	int64_t at = s->now + LEARN_WAIT_MS, pause = s->learned_at ? s->learned_at + LEARN_PAUSE_MS : 0;

	if (!s->learn_at && catalog_has(s->catalog, LIST_TOOLS))
		s->learn_at = at > pause ? at : pause;
}

static void say_list_changed(struct session *s, enum catalog_list l)
{
	struct buf b;
	int bad;

	if (s->client_modern) {
		modern_tell(s, span_str(catalog_list_changed(l)), SPAN_NONE);
		return;
	}
	buf_init(&b, 256);
	do
		bad = buf_printf(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"%s\"}", catalog_list_changed(l));
	while (bad && session_relieve(s));
	if (!bad)
		session_send_owned(s, &b);
}

/* The same where nobody knows how the list is now. */
static void tell_list_changed(struct session *s, enum catalog_list l)
{
	catalog_on_list_changed(s->catalog, l);
	if (l == LIST_TOOLS)
		learn_later(s);
	say_list_changed(s, l);
}

static void tell_updates(struct session *s)
{
	if (s->client_modern) {
		modern_tell_all(s);
		return;
	}
	for (struct subscription *u = s->subs; u; u = u->next) {
		struct span uri = u->uri;
		struct buf b;
		int bad;
		buf_init(&b, uri.n + 256);
		do {
			buf_reset(&b);
			bad = buf_puts(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/updated\",\"params\":{\"uri\":") ||
			      buf_add(&b, uri) || buf_puts(&b, "}}");
		} while (bad && session_relieve(s));
		if (!bad)
			session_send_owned(s, &b);
		else
			buf_fini(&b);
	}
}

/* What came from memory, and a kind of list that came or went with the new
 * session, counts as changed unless it was found to be the same. */
static void tell_if_stale(struct session *s, int list)
{
	unsigned bit = 1u << list;

	if (s->stale_lists & bit)
		tell_list_changed(s, (enum catalog_list)list);
	s->stale_lists &= ~bit;
}

static void relist_next(struct session *s)
{
	struct request *r;

	for (int l = 0; l < LIST_COUNT; l++) {
		if (!s->relist_pending[l])
			continue;
		s->relist_pending[l] = false;
		s->relist_kind = l;
		s->relist_pages = 0;
		if (l == LIST_TOOLS) {
			s->learn_at = 0;
			s->learned_at = s->now;
			catalog_learn_begin(s->catalog);
		}
		catalog_digest_begin(s->catalog, &s->relist_digest);
		request_new_own(s, &r, RQ_RELIST, catalog_list_method((enum catalog_list)l), SPAN_NONE);
		if (r) {
			request_post(s, r);
			return;
		}
		tell_list_changed(s, (enum catalog_list)l); /* no memory to find out */
	}
	s->relist_kind = -1;
	s->relist_owed = s->relist_missed;
}

void relist_stop(struct session *s)
{
	if (s->relist_kind == LIST_TOOLS || s->relist_pending[LIST_TOOLS])
		learn_later(s);
	s->relist_kind = -1;
	memset(s->relist_pending, 0, sizeof(s->relist_pending));
}

/* This list can not be compared; the others may be. */
void relist_failed(struct session *s)
{
	if (s->relist_kind >= 0)
		tell_if_stale(s, s->relist_kind);
	relist_next(s);
}

/* What kinds of lists there are: a bit for each, templates going with resources. */
static unsigned kinds_offered(struct span result)
{
	static const char *const members[LIST_COUNT] = {
		[LIST_TOOLS] = "tools", [LIST_RESOURCES] = "resources", [LIST_PROMPTS] = "prompts" };
	unsigned kinds = 0;

	for (int l = 0; l < LIST_COUNT; l++)
		if (members[l] && json_path(result, "capabilities", members[l], NULL).p)
			kinds |= 1u << l;
	return kinds;
}

void replay_offered(struct session *s, struct span result, bool told)
{
	unsigned kinds = kinds_offered(result);

	s->stale_lists |= told ? 0 : s->kinds ^ kinds;
	s->kinds = kinds;
}

void replay_compare(struct session *s)
{
	bool any = false;

	for (int l = 0; l < LIST_COUNT; l++) {
		any |= s->relist_pending[l] = catalog_has(s->catalog, (enum catalog_list)l);
		s->relist_quiet[l] = false;
		if (!s->relist_pending[l])
			tell_if_stale(s, l); /* seen in part only, or not at all: there is nothing to compare */
	}
	s->relist_owed = any;
	s->relist_missed = false;
	if (any && s->relist_kind < 0)
		relist_next(s);
}

void replay_after(struct session *s)
{
	s->revived_at = s->now;
	s->revived_news = false;
	tell_updates(s);
	replay_compare(s);
}

/* The tools are listed and learned from, and the client is told nothing. */
static void learn_now(struct session *s)
{
	s->relist_pending[LIST_TOOLS] = true;
	s->relist_quiet[LIST_TOOLS] = true;
	if (s->relist_kind < 0)
		relist_next(s);
}

/* Some servers say list_changed to every new session: few clients would ask. */
void replay_on_list_changed(struct session *s, struct span method)
{
	bool made = s->revived_at && s->now - s->revived_at <= NEW_SESSION_MS && !s->revived_news;

	for (int l = 0; l < LIST_COUNT; l++)
		if (span_is(method, catalog_list_changed((enum catalog_list)l)))
			catalog_on_list_changed(s->catalog, (enum catalog_list)l);
	if (!span_is(method, catalog_list_changed(LIST_TOOLS)) || !catalog_has(s->catalog, LIST_TOOLS))
		return;
	if (!made || s->state != SESSION_READY) {
		learn_later(s);
		return;
	}
	s->revived_news = true;
	learn_now(s);
}

static bool client_lists_tools(const struct session *s)
{
	const struct request *r = s->ledger.head;

	while (r && !(r->purpose == RQ_CLIENT && span_is(r->method, catalog_list_method(LIST_TOOLS))))
		r = r->next;
	return r != NULL;
}

int64_t learn_deadline(const struct session *s)
{
	return s->state == SESSION_READY ? s->learn_at : 0;
}

void learn_on_time(struct session *s)
{
	int64_t at = learn_deadline(s);

	if (!at || s->now < at)
		return;
	s->learn_at = 0;
	if (!catalog_tools_changed(s->catalog))
		return; /* the client has listed them, or they were found to be the same */
	if (client_lists_tools(s))
		s->learn_at = s->now + LEARN_WAIT_MS;
	else
		learn_now(s);
}

static void warned_before(void *arg, struct span name, const char *reason)
{
	(void)arg, (void)name, (void)reason;
}

/* The page as the client would see it. */
static void digest_as_shown(struct session *s, enum catalog_list l, struct span result)
{
	struct buf less, valid;

	buf_init(&less, result.n + 16);
	buf_init(&valid, result.n + 16);
	if (l == LIST_TOOLS && s->c->nignore_tools && tools_hide(s->c, result, &less) > 0)
		result = buf_span(&less);
	if (l == LIST_TOOLS && s->era == ERA_MODERN && tools_drop_invalid(result, &valid, warned_before, NULL) > 0)
		result = buf_span(&valid);
	catalog_digest_page(s->catalog, &s->relist_digest, l, result);
	buf_fini(&less);
	buf_fini(&valid);
}

/* The cursor of the page after this one; none where the list ends. Clients take
 * an empty one for the end, and one that leads back to its own page leads nowhere. */
static struct span next_page(const struct request *r, const struct rpc_msg *m)
{
	struct span cursor = json_get(m->result, "nextCursor");

	if (json_type(cursor) != '"' || cursor.n <= 2 || span_eq(cursor, json_get(r->params, "cursor")))
		return SPAN_NONE;
	return cursor;
}

static void relist_page(struct session *s, struct span cursor)
{
	struct request *r = NULL;
	struct buf params;

	buf_init(&params, cursor.n + 32);
	if (buf_puts(&params, "{\"cursor\":") == 0 && buf_add(&params, cursor) == 0 && buf_puts(&params, "}") == 0)
		request_new_own(s, &r, RQ_RELIST, catalog_list_method((enum catalog_list)s->relist_kind), buf_span(&params));
	buf_fini(&params);
	if (r) {
		request_post(s, r);
		return;
	}
	tell_list_changed(s, (enum catalog_list)s->relist_kind); /* no memory to find out */
	relist_next(s);
}

/* Known: what is there now, and not only that this has gone. */
static void relist_differs(struct session *s, enum catalog_list l, bool known)
{
	if (s->relist_quiet[l])
		return;
	session_note(s, NOTE_INFO, "%s of the new session differs", catalog_list_method(l));
	if (known)
		say_list_changed(s, l);
	else
		tell_list_changed(s, l);
	if (l == LIST_RESOURCES)
		s->relist_pending[LIST_TEMPLATES] = false;
}

void replay_on_relist(struct session *s, struct request *r, const struct rpc_msg *m)
{
	enum catalog_list l = (enum catalog_list)s->relist_kind;
	struct span cursor = next_page(r, m);
	int64_t code;

	request_drop(s, r);
	if (s->relist_kind < 0)
		return;
	if (m->kind == RPC_ERROR && !(rpc_error_code(m, &code) && code == -32601)) {
		relist_failed(s);
		return;
	}
	if (m->kind == RPC_RESULT) {
		digest_as_shown(s, l, m->result);
		if (l == LIST_TOOLS && catalog_learn_tools(s->catalog, m->result) != 0)
			session_note(s, NOTE_WARN, "out of memory while learning a list");
		if (cursor.p && ++s->relist_pages < RELIST_MAX_PAGES) {
			relist_page(s, cursor);
			return;
		}
	}
	s->stale_lists &= ~(1u << l);
	if (l == LIST_TOOLS)
		catalog_learn_end(s->catalog);
	if (m->kind == RPC_ERROR || !catalog_digest_equal(s->relist_digest, catalog_digest(s->catalog, l)))
		relist_differs(s, l, m->kind == RPC_RESULT); /* there is no such list any more, or another */
	relist_next(s);
}

/* ---- subscriptions ------------------------------------------------------------------------------------------------ */

/* Where the subscription to uri is, or where it would be put. */
static struct subscription **subs_find(struct session *s, struct span uri)
{
	struct subscription **at = &s->subs;

	while (*at && !span_eq((*at)->uri, uri))
		at = &(*at)->next;
	return at;
}

static struct subscription *subs_before(const struct session *s, const struct subscription *u)
{
	struct subscription *p = s->subs;

	if (p == u)
		return NULL;
	while (p->next != u)
		p = p->next;
	return p;
}

bool subs_full(struct session *s, struct span params)
{
	return s->nsubs >= SUBS_MAX && !*subs_find(s, json_get(params, "uri"));
}

static struct subscription *subs_add(struct session *s, struct subscription **at, struct span params)
{
	struct subscription *u = calloc(1, sizeof(*u));

	if (!u)
		return NULL;
	buf_init(&u->params, params.n + 1);
	if (buf_add(&u->params, params) != 0) {
		free(u);
		return NULL;
	}
	u->uri = json_get(buf_span(&u->params), "uri");
	*at = u;
	s->nsubs++;
	return u;
}

struct subscription *subs_take(struct session *s, struct span uri)
{
	struct subscription **at = subs_find(s, uri), *u = *at;

	if (!u)
		return NULL;
	if (s->step_sub == u) {
		s->step_sub = subs_before(s, u);
		s->step_sub_gone = true;
	}
	*at = u->next;
	u->next = NULL;
	s->nsubs--;
	return u;
}

int subs_set(struct session *s, struct span params, bool on)
{
	struct span uri = json_get(params, "uri");
	struct subscription **at, *u;

	if (json_type(uri) != '"')
		return 0;
	if (!on) {
		u = subs_take(s, uri);
		subs_free_list(&u);
		return 0;
	}
	at = subs_find(s, uri);
	return *at || subs_add(s, at, params) ? 0 : -1;
}

int subs_wish(struct session *s, struct span params)
{
	struct subscription **at = subs_find(s, json_get(params, "uri")), *u;

	if (*at)
		return 0;
	u = s->nsubs < SUBS_MAX ? subs_add(s, at, params) : NULL;
	if (u)
		u->due = true;
	return u ? 0 : -1;
}

struct subscription *subs_due(const struct session *s)
{
	struct subscription *u = s->subs;

	while (u && !u->due)
		u = u->next;
	return u;
}

void subs_again(struct session *s, struct span uri)
{
	struct subscription *u = *subs_find(s, uri);

	if (u)
		u->due = true;
}

void subs_free_list(struct subscription **list)
{
	while (*list) {
		struct subscription *u = *list;
		*list = u->next;
		buf_fini(&u->params);
		free(u);
	}
}

void subs_free(struct session *s)
{
	subs_free_list(&s->subs);
	s->nsubs = 0;
	s->step_sub = NULL;
}
