/* Header mirrors (x-mcp-header) of a 2026-07-28 server's tools: learned from their
 * list, which is fetched again when the server refuses what was sent. */
#include "core/eras_i.h"

#define TEXT_MAX ((size_t)1 << 40)
#define MIRROR_TRIES 3       /* to list them, for one call */
#define MIRROR_PAGES_MAX 100 /* of the tool list, looked through for header mirrors */

/* The calls that wait for the mirrors go once more, whatever came of it. listed:
 * what there is to know is known. */
void mirrors_over(struct session *s, bool listed)
{
	s->eras->mirrors = NULL;
	for (struct request *q = s->ledger.head; q; q = q->next) {
		struct translation *t = q->extra;
		if (!t || !t->mirrors_due)
			continue;
		t->mirrors_due = false;
		t->mirrored = listed ? MIRROR_TRIES : t->mirrored + 1;
		q->not_before = 0;
	}
	session_due(s, s->now);
}

static bool list_mirrors(struct session *s, struct span cursor)
{
	struct eras *e = s->eras;
	struct request *r = NULL;
	struct buf params;
	int bad = 0;

	buf_init(&params, TEXT_MAX);
	if (cursor.p)
		bad = buf_puts(&params, "{\"cursor\":") || buf_add(&params, cursor) || buf_puts(&params, "}");
	if (!bad)
		request_new_own(s, &r, RQ_MIRROR, "tools/list", buf_span(&params));
	buf_fini(&params);
	e->mirrors = r;
	return r && request_post(s, r) == 0;
}

/* A page of the tool list came again because header mirrors did not fit. The
 * client has not seen it, so it teaches mirrors alone. */
void mirrors_came(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span cursor = json_get(m->result, "nextCursor"), last = json_get(r->params, "cursor");
	struct buf next;

	if (m->kind != RPC_RESULT || catalog_learn_tools(s->catalog, m->result) != 0 || json_type(cursor) != '"' || cursor.n <= 2 ||
	    span_eq(cursor, last) || ++s->eras->mirror_pages >= MIRROR_PAGES_MAX) {
		mirrors_over(s, m->kind == RPC_RESULT);
		request_drop(s, r);
		return;
	}
	s->eras->mirrors = NULL;
	buf_init(&next, TEXT_MAX);
	if (buf_add(&next, cursor) != 0 || !list_mirrors(s, buf_span(&next)))
		mirrors_over(s, false);
	buf_fini(&next);
	request_drop(s, r);
}

/* -32020: true when r waits for the tools to be listed again. */
bool mirrors_refused(struct session *s, struct request *r)
{
	struct translation *t = translation_get(r);
	struct eras *e = eras_get(s);

	if (!t || !e || t->mirrored >= MIRROR_TRIES)
		return false;
	if (!e->mirrors) {
		session_note(s, NOTE_INFO, "the server refused the header mirrors; listing its tools again");
		e->mirror_pages = 0;
		if (!list_mirrors(s, SPAN_NONE))
			return false;
	}
	t->mirrors_due = true;
	exchange_release(s, r);
	request_park(s, r, s->now + s->c->request_timeout_ms);
	return true;
}

static void warn_tool(void *arg, struct span name, const char *reason)
{
	session_note(arg, NOTE_WARN, "tool '%.*s' is hidden from the client: %s", (int)(name.n < 120 ? name.n : 120), name.p, reason);
}

/* A modern server's tools whose header annotations are invalid are not shown,
 * even if there is no memory to leave them out; nor, to a legacy client, schemas
 * that it may not take. What is compared and remembered still has those. */
bool mirrors_filter(struct session *s, struct request *r, const struct rpc_msg *m)
{
	struct span shown = m->result;
	struct buf valid, fit;
	int dropped, less = 0;

	buf_init(&valid, TEXT_MAX);
	buf_init(&fit, TEXT_MAX);
	dropped = tools_drop_invalid(m->result, &valid, warn_tool, s);
	if (dropped > 0)
		shown = buf_span(&valid);
	if (dropped >= 0 && eras_l2m(s))
		less = tools_fit_legacy(shown, &fit);
	if (dropped < 0 || less < 0) {
		exchange_answer_lost(s, r);
	} else if (dropped || less) {
		exchange_learn_page(s, r, LIST_TOOLS, shown);
		eras_send_answer(s, r, "result", less ? buf_span(&fit) : shown);
	}
	buf_fini(&valid);
	buf_fini(&fit);
	return dropped || less;
}
