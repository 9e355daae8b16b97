/* A ring of links inside structs: constant-time, no memory of its own. */
#ifndef IO_HTTP_RING_H
#define IO_HTTP_RING_H

#include <stdbool.h>

struct link { struct link *prev, *next; }; /* of a ring; alone: points to itself */

static inline void link_init(struct link *l)
{
	l->prev = l->next = l;
}

static inline bool link_alone(const struct link *l)
{
	return l->next == l;
}

static inline void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

/* At the end of the ring, unless it stands in one already. */
static inline void link_append(struct link *ring, struct link *l)
{
	if (!link_alone(l))
		return;
	l->prev = ring->prev;
	l->next = ring;
	ring->prev->next = l;
	ring->prev = l;
}

#endif
