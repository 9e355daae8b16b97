/* What the session asks for: the queue of actions, among them the lines to the
 * client and to the log. A small reserve of memory stands behind the answers of
 * our own, and a place for the cancellation of every transfer is kept free. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define SMALL ((size_t)64 * 1024)
#define ACTS_FIRST 16

bool session_relieve(struct session *s)
{
	bool had = s->reserve != NULL;

	free(s->reserve);
	s->reserve = NULL;
	return had;
}

/* Not by realloc(): that would copy, and so fill with memory, the places that
 * are only kept free. */
static int acts_grow(struct session *s)
{
	size_t cap = s->acts_cap ? 2 * s->acts_cap : ACTS_FIRST;
	struct action *a;

	do
		a = malloc(cap * sizeof(*a));
	while (!a && session_relieve(s));
	if (!a)
		return -1;
	if (s->nacts)
		memcpy(a, s->acts, s->nacts * sizeof(*a));
	free(s->acts);
	s->acts = a;
	s->acts_cap = cap;
	return 0;
}

/* A place for the cancellation of every transfer is kept free: one that ran on
 * unheard would read from what is gone. */
struct action *session_act(struct session *s, enum action_kind k)
{
	size_t kept = k == ACT_CANCEL ? 0 : s->live_xfers;

	while (s->acts_cap - s->nacts <= kept)
		if (acts_grow(s) != 0)
			return NULL;
	struct action *a = &s->acts[s->nacts++];
	memset(a, 0, sizeof(*a));
	a->kind = k;
	buf_init(&a->owned, OUT_MAX);
	return a;
}

/* A transfer may run for hours: its header lines go as soon as they were sent. */
static void forget_lines(struct session *s)
{
	const struct action *last = s->acts_head ? &s->acts[s->acts_head - 1] : NULL;
	struct xfer *x = last && last->kind == ACT_HTTP ? xfer_find(s, last->token) : NULL;

	if (x && x->kind != XF_DELETE) /* no other place has those of a session that is left */
		buf_fini(&x->lines);
}

int session_next(struct session *s, struct action *a)
{
	forget_lines(s);
	if (s->acts_head == s->nacts) {
		s->acts_head = s->nacts = 0;
		if (!s->ended || s->end_told)
			return 0;
		s->end_told = true;
		*a = (struct action){ .kind = ACT_END };
		return 1;
	}
	*a = s->acts[s->acts_head++];
	if (a->owned.mem && !a->text.p)
		a->text = buf_span(&a->owned);
	return 1;
}

void session_note(struct session *s, int level, const char *fmt, ...)
{
	struct action *a;
	char text[512];
	va_list ap;

	if (level > s->note_level)
		return;
	a = session_act(s, ACT_LOG);
	if (!a)
		return;
	a->level = level;
	a->what = fmt;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_puts(&a->owned, text);
}

bool session_send_owned(struct session *s, struct buf *b)
{
	struct action *a = session_act(s, ACT_SEND);

	if (!a) {
		buf_fini(b);
		return false;
	}
	s->n.bytes_out += b->len;
	buf_move(&a->owned, b);
	return true;
}

/* Borrowed while the bytes of a transfer are being read, copied otherwise;
 * the block of a large message is handed over. */
bool session_send(struct session *s, struct span text)
{
	struct xfer *x = s->cur;
	struct action *a;
	struct buf b;

	buf_init(&b, OUT_MAX);
	if (x && text.n >= SMALL && x->sse && text.p == buf_data(&x->parser.data) && text.n == x->parser.data.len) {
		sse_take_data(&x->parser, &b);
		return session_send_owned(s, &b);
	}
	if (!x) {
		if (buf_add(&b, text) != 0 && (!session_relieve(s) || buf_add(&b, text) != 0))
			return false;
		return session_send_owned(s, &b);
	}
	a = session_act(s, ACT_SEND);
	if (!a)
		return false;
	s->n.bytes_out += text.n;
	a->text = text;
	if (text.n >= SMALL && s->cur_whole.p == text.p && s->cur_whole.n == text.n)
		a->token = x->token;
	return true;
}

bool session_send_result(struct session *s, struct span id, struct span result)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = rpc_write_result(&b, id, result)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

bool session_send_error(struct session *s, struct span id, int code, const char *message, struct span data)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = rpc_write_error(&b, id, code, span_str(message), data)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

bool session_send_own_error(struct session *s, struct span id, const struct own_error *e)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = answer_write(&b, id, e)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}
