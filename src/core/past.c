/* Sessions that were replaced while calls ran in them: what one machine has lost
 * may live on another, and such a call can still be told something there. Each is
 * known by its epoch, and kept for as long as a call runs in it or a message is on
 * its way to it. */
#include <stdlib.h>

#include "core/session_i.h"

struct past {
	uint64_t epoch;
	struct buf headers;
	struct past *next;
};

static bool runs_in(const struct session *s, uint64_t epoch)
{
	for (const struct request *r = s->ledger.head; r; r = r->next)
		if (r->purpose == RQ_CLIENT && r->epoch == epoch && (r->state == REQ_SENT || r->state == REQ_STREAMING))
			return true;
	return false;
}

bool past_in_use(const struct session *s, uint64_t epoch)
{
	for (const struct outmsg *m = s->outbox; m; m = m->next)
		if (m->epoch == epoch)
			return true;
	return runs_in(s, epoch);
}

static struct past *find(const struct session *s, uint64_t epoch)
{
	struct past *p = s->past;

	while (p && p->epoch != epoch)
		p = p->next;
	return p;
}

static void forget(struct session *s, bool all)
{
	struct past **at = &s->past, *p;

	while ((p = *at)) {
		if (!all && past_in_use(s, p->epoch)) {
			at = &p->next;
			continue;
		}
		*at = p->next;
		buf_fini(&p->headers);
		free(p);
	}
}

void past_remember(struct session *s)
{
	struct past *p;

	forget(s, false);
	/* Known already: by now the headers are those of an attempt to begin the next one. */
	if (find(s, s->epoch) || !runs_in(s, s->epoch) || !(p = calloc(1, sizeof(*p))))
		return;
	buf_init(&p->headers, OUT_MAX);
	if (buf_add(&p->headers, buf_span(&s->headers)) != 0) {
		free(p);
		return;
	}
	p->epoch = s->epoch;
	p->next = s->past;
	s->past = p;
}

bool past_headers(const struct session *s, uint64_t epoch, struct span *lines)
{
	const struct past *p = find(s, epoch);

	if (!p)
		return false;
	*lines = buf_span(&p->headers);
	return true;
}

void past_free(struct session *s) { forget(s, true); }
