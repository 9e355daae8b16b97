/* A growable byte buffer that is born with its maximum. Reaching the maximum
 * and running out of memory are both ordinary failures: the buffer keeps what
 * it held and the caller hears -1. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stddef.h>

#include "base/span.h"

struct buf {
	char *mem;  /* malloc'd block, NULL when empty */
	size_t off; /* first byte not yet consumed */
	size_t len; /* bytes held from off */
	size_t cap; /* size of the block */
	size_t max; /* len never exceeds this */
};

/* An empty buffer that will never hold more than max bytes. Allocates nothing. */
void buf_init(struct buf *b, size_t max);
/* Frees the block; the buffer is empty again and may be used again. */
void buf_fini(struct buf *b);
/* Makes room for n more bytes behind the held ones, and one to spare for a NUL
 * (geometric growth; an exact fit for large sizes). Returns 0, or -1 (over max,
 * or no memory). */
int buf_reserve(struct buf *b, size_t n);
/* Append n bytes / a span / a string / a formatted text. 0 or -1; on -1 nothing was appended. */
int buf_append(struct buf *b, const void *p, size_t n);
int buf_add(struct buf *b, struct span s);
int buf_puts(struct buf *b, const char *s);
int buf_printf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Holds s and nothing else, which may be part of what it held: 0, or -1 with b as it was. */
int buf_set(struct buf *b, struct span s);
/* Where a caller may write up to the reserved bytes; buf_grew() says how many it wrote. */
char *buf_tail(struct buf *b);
void buf_grew(struct buf *b, size_t n);
/* Drops n bytes from the front (n <= len). When all is consumed the block is
 * kept if small and given back if it is larger than BUF_KEEP. */
void buf_consume(struct buf *b, size_t n);
/* Empty again, same rule for the block. */
void buf_reset(struct buf *b);
/* Moves the block of src (its bytes, not its max) to dst, whose old block is
 * freed; src is empty afterwards. */
void buf_move(struct buf *dst, struct buf *src);
/* Zeroes every byte of the block, then empties. For what held a secret. */
void buf_wipe(struct buf *b);

#define BUF_KEEP ((size_t)64 * 1024)

static inline char *buf_data(const struct buf *b) { return b->mem ? b->mem + b->off : NULL; }
static inline struct span buf_span(const struct buf *b) { return span_make(b->mem ? b->mem + b->off : "", b->len); }

#endif
