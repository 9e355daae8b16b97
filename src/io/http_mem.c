/* The allocator behind libcurl. Each block carries its size in front, which is
 * portable where malloc_usable_size() is not and never wipes (nor reads) a byte
 * that was not asked for. realloc always moves, because a realloc() that moved
 * by itself would leave the old bytes behind.
 *
 * What it does not do: wipe blocks beyond HTTP_MEM_WIPE_MAX. Only the store of a
 * paused response grows that large; headers, cookies, connection buffers and
 * token answers are far below it. */
#include "io/http_mem.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

union header {
	size_t n;
	max_align_t align;
};

static uint64_t failures;

uint64_t http_mem_failures(void)
{
	return failures;
}

static void *block_new(size_t n, void *(*get)(size_t, size_t))
{
	union header *h = n > SIZE_MAX - sizeof *h ? NULL : get(1, sizeof *h + n);

	if (!h) {
		failures++;
		return NULL;
	}
	h->n = n;
	return h + 1;
}

static void *plain(size_t one, size_t n)
{
	return malloc(one * n);
}

void *http_mem_malloc(size_t n)
{
	return block_new(n, plain);
}

void *http_mem_calloc(size_t n, size_t size)
{
	if (size && n > SIZE_MAX / size) {
		failures++;
		return NULL;
	}
	return block_new(n * size, calloc);
}

void http_mem_free(void *p)
{
	union header *h;

	if (!p)
		return;
	h = (union header *)p - 1;
	if (h->n <= HTTP_MEM_WIPE_MAX)
		sodium_memzero(p, h->n);
	free(h);
}

void *http_mem_realloc(void *p, size_t n)
{
	union header *h;
	size_t old;
	void *q;

	if (!p)
		return http_mem_malloc(n);
	h = (union header *)p - 1;
	old = h->n;
	if (old > HTTP_MEM_WIPE_MAX && n > old) {
		/* Large bodies: the kernel moves pages instead of us copying bytes. */
		h = n > SIZE_MAX - sizeof *h ? NULL : realloc(h, sizeof *h + n);
		if (!h) {
			failures++;
			return NULL;
		}
		h->n = n;
		return h + 1;
	}
	q = http_mem_malloc(n);
	if (!q)
		return NULL;
	memcpy(q, p, old < n ? old : n);
	http_mem_free(p);
	return q;
}

char *http_mem_strdup(const char *s)
{
	size_t n = strlen(s) + 1;
	char *p = http_mem_malloc(n);

	return p ? memcpy(p, s, n) : NULL;
}
