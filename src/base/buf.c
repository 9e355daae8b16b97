/* The growable buffer. Bytes are appended behind and consumed in front; the
 * front only moves an offset, and the bytes are moved down when room is
 * wanted. Growth goes through realloc alone, because for large blocks it
 * remaps pages instead of copying, so a body of 64 MB never needs twice that.
 *
 * A block always has one byte more than the bytes it holds, so that a format
 * can end in its NUL without a second copy. It does not wipe what realloc
 * leaves behind: whoever holds a secret reserves before writing it. */
#include "base/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <sodium.h>

#define BUF_FIRST ((size_t)256)
#define BUF_DOUBLE_UNTIL ((size_t)4 * 1024 * 1024)

void buf_init(struct buf *b, size_t max)
{
	*b = (struct buf){ .max = max };
}

void buf_fini(struct buf *b)
{
	free(b->mem);
	buf_init(b, b->max);
}

/* The next block size: at least need, which the caller has checked against max. */
static size_t buf_next_cap(const struct buf *b, size_t need)
{
	size_t more = b->cap < BUF_DOUBLE_UNTIL ? b->cap : b->cap / 2;
	size_t cap = more > SIZE_MAX - b->cap ? need : b->cap + more;

	if (cap < BUF_FIRST)
		cap = BUF_FIRST;
	if (cap > b->max)
		cap = b->max;
	return cap > need ? cap : need;
}

static void buf_compact(struct buf *b)
{
	if (b->off == 0)
		return;
	memmove(b->mem, b->mem + b->off, b->len);
	b->off = 0;
}

int buf_reserve(struct buf *b, size_t n)
{
	size_t need, cap;
	char *mem;

	if (n == 0 || (b->cap - b->off - b->len > n && b->len <= b->max && n <= b->max - b->len))
		return 0;
	if (b->len > b->max || n > b->max - b->len || n >= PTRDIFF_MAX - b->len)
		return -1;
	need = b->len + n + 1;
	/* Moving the bytes alone is only worth it when the block is small or the
	 * move frees as much as it copies; else a large full buffer would be moved
	 * for every few bytes. */
	if (need <= b->cap && (b->off >= b->len || b->cap <= BUF_KEEP)) {
		buf_compact(b);
		return 0;
	}
	buf_compact(b);
	cap = buf_next_cap(b, need);
	if (cap <= b->cap)
		return 0;
	mem = realloc(b->mem, cap);
	if (!mem && need <= b->cap)
		return 0;
	if (!mem && cap > need)
		mem = realloc(b->mem, cap = need);
	if (!mem)
		return -1;
	b->mem = mem;
	b->cap = cap;
	return 0;
}

int buf_append(struct buf *b, const void *p, size_t n)
{
	if (n == 0)
		return 0;
	if (buf_reserve(b, n) < 0)
		return -1;
	memcpy(b->mem + b->off + b->len, p, n);
	b->len += n;
	return 0;
}

int buf_add(struct buf *b, struct span s)
{
	return buf_append(b, s.p, s.n);
}

int buf_set(struct buf *b, struct span s)
{
	struct buf fresh;

	buf_init(&fresh, b->max);
	if (buf_add(&fresh, s) < 0)
		return -1;
	buf_move(b, &fresh);
	return 0;
}

int buf_puts(struct buf *b, const char *s)
{
	return buf_append(b, s, strlen(s));
}

int buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap, again;
	size_t room = b->mem ? b->cap - b->off - b->len : 0;
	int n, rc = -1;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(room ? buf_tail(b) : NULL, room, fmt, ap);
	if (n >= 0 && buf_reserve(b, (size_t)n) == 0) {
		if ((size_t)n >= room && n > 0)
			vsnprintf(buf_tail(b), (size_t)n + 1, fmt, again);
		b->len += (size_t)n;
		rc = 0;
	}
	va_end(again);
	va_end(ap);
	return rc;
}

char *buf_tail(struct buf *b)
{
	return b->mem ? b->mem + b->off + b->len : NULL;
}

void buf_grew(struct buf *b, size_t n)
{
	assert(n == 0 || n <= b->cap - b->off - b->len);
	b->len += n;
}

void buf_consume(struct buf *b, size_t n)
{
	assert(n <= b->len);
	if (n == b->len) {
		buf_reset(b);
		return;
	}
	b->off += n;
	b->len -= n;
}

void buf_reset(struct buf *b)
{
	if (b->cap > BUF_KEEP) {
		buf_fini(b);
		return;
	}
	b->off = 0;
	b->len = 0;
}

void buf_move(struct buf *dst, struct buf *src)
{
	if (dst == src)
		return;
	free(dst->mem);
	dst->mem = src->mem;
	dst->off = src->off;
	dst->len = src->len;
	dst->cap = src->cap;
	buf_init(src, src->max);
}

void buf_wipe(struct buf *b)
{
	if (b->mem)
		sodium_memzero(b->mem, b->cap);
	buf_reset(b);
}
