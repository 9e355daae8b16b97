/* Transfers by number: a slot, a generation, and what the core must remember
 * while one runs. Starting one is an action; nothing happens here. */
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define VERDICT_BODY ((size_t)1 << 20) /* of an error body that is kept for judging */

struct xfer *xfer_find(struct session *s, uint64_t token)
{
	size_t i = (size_t)(token & 0xffffffff);

	return i && i <= s->nxfers && s->xfers[i - 1] && s->xfers[i - 1]->token == token ? s->xfers[i - 1] : NULL;
}

static struct xfer *xfer_new(struct session *s)
{
	size_t i;
	struct xfer *x = s->free_xfers;

	if (x) {
		s->free_xfers = x->next;
		i = (size_t)(x->token & 0xffffffff) - 1;
	} else {
		i = s->nxfers;
		if ((i & (i + 1)) == 0) { /* 0, 1, 3, 7...: the arrays are full */
			size_t cap = 2 * (i + 1);
			struct xfer **xs = realloc(s->xfers, cap * sizeof(struct xfer *));
			if (!xs)
				return NULL;
			s->xfers = xs;
			uint32_t *gen = realloc(s->xgen, cap * sizeof(uint32_t));
			if (!gen)
				return NULL;
			s->xgen = gen;
			memset(gen + i, 0, (cap - i) * sizeof(uint32_t));
		}
		x = calloc(1, sizeof(*x));
		if (!x)
			return NULL;
		s->nxfers++;
	}
	s->xgen[i] = (s->xgen[i] + 1) & 0x3fffffff;
	memset(x, 0, sizeof(*x));
	x->token = ((uint64_t)s->xgen[i] << 32) | (i + 1);
	s->xfers[i] = x;
	s->live_xfers++;
	buf_init(&x->body, VERDICT_BODY);
	buf_init(&x->location, 8192);
	buf_init(&x->url, 16384);
	buf_init(&x->lines, (size_t)1 << 20);
	buf_init(&x->challenge_text, 4096);
	buf_init(&x->rest, SIZE_MAX);
	x->retry_after_ms = -1;
	x->started = s->now;
	x->epoch = s->epoch;
	return x;
}

void xfer_free(struct session *s, struct xfer *x)
{
	size_t i = (size_t)(x->token & 0xffffffff) - 1;

	if (s->cur == x) {
		s->cur = NULL;
		if (x->sse) /* an action may still point into the event */
			buf_move(&s->grave, &x->parser.data);
	}
	if (x->linger_until)
		s->lingering--;
	s->deletes -= x->kind == XF_DELETE;
	if (x->rq && x->rq->xfer == x->token)
		x->rq->xfer = 0;
	if (x->sse)
		sse_fini(&x->parser);
	buf_fini(&x->body);
	buf_fini(&x->location);
	buf_fini(&x->url);
	buf_fini(&x->lines);
	buf_fini(&x->rest);
	buf_fini(&x->challenge_text);
	s->xfers[i] = NULL;
	s->live_xfers--;
	x->next = s->free_xfers;
	s->free_xfers = x;
}

void xfer_linger(struct session *s, struct xfer *x, int64_t ms)
{
	s->lingering += !x->linger_until;
	x->linger_until = s->now + ms;
	session_due(s, x->linger_until);
}

void xfers_signed(struct session *s, enum challenge c, struct span text)
{
	for (size_t i = 0; i < s->nxfers; i++) {
		struct xfer *x = s->xfers[i];

		if (!x || x->challenge != CHALLENGE_PARK)
			continue;
		x->challenge = c;
		buf_reset(&x->challenge_text);
		buf_add(&x->challenge_text, text);
	}
}

void xfer_cancel(struct session *s, uint64_t token)
{
	struct xfer *x = xfer_find(s, token);

	if (!x)
		return;
	/* Not begun yet: its body may be gone before it would be. */
	for (size_t i = s->acts_head; i < s->nacts; i++) {
		if (s->acts[i].kind == ACT_HTTP && s->acts[i].token == token) {
			s->acts[i].kind = ACT_CANCEL;
			xfer_free(s, x);
			return;
		}
	}
	struct action *a = session_act(s, ACT_CANCEL);
	if (a)
		a->token = token;
	xfer_free(s, x);
}

bool xfer_starting(const struct session *s)
{
	for (size_t i = s->acts_head; i < s->nacts; i++)
		if (s->acts[i].kind == ACT_HTTP)
			return true;
	return false;
}

/* Begins a transfer; extra header lines and another URL may be put into it
 * before the action is taken. */
struct xfer *xfer_start(struct session *s, enum xfer_kind kind, enum http_method m, enum header_set hs, struct span body, int64_t timeout_ms)
{
	struct xfer *x = xfer_new(s);
	struct action *a;

	if (!x)
		return NULL;
	x->kind = kind;
	x->era = s->era;
	x->had_session = hs == HEADERS_SESSION && (s->sid.len || s->era == ERA_SSE);
	a = session_act(s, ACT_HTTP);
	if (!a) {
		xfer_free(s, x);
		return NULL;
	}
	a->token = x->token;
	a->method = m;
	a->headers = hs;
	a->body = body;
	a->timeout_ms = timeout_ms;
	return x;
}

void xfer_ready(struct session *s, struct xfer *x)
{
	for (size_t i = s->nacts; i-- > s->acts_head;) {
		struct action *a = &s->acts[i];
		if (a->kind != ACT_HTTP || a->token != x->token)
			continue;
		a->lines = x->lines.len ? buf_span(&x->lines) : SPAN_NONE;
		a->url = x->url.len ? buf_span(&x->url) : SPAN_NONE;
		return;
	}
}
