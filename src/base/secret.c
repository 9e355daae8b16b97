/* Secrets in memory that is locked, fenced by guard pages, read-only while it
 * lives and wiped when it dies. Locking is best effort (a small RLIMIT_MEMLOCK
 * is not a reason to fail); the rest always holds. Nothing here prints. */
#include "base/secret.h"

#include <stdlib.h>

#include <sodium.h>

struct secret {
	char *p; /* sodium_malloc'd, n bytes and a NUL */
	size_t n;
};

struct secret *secret_new(const void *p, size_t n)
{
	struct secret *s;

	if (n >= SIZE_MAX / 2 || sodium_init() < 0)
		return NULL;
	s = malloc(sizeof(*s));
	if (!s)
		return NULL;
	s->n = n;
	s->p = sodium_malloc(n + 1);
	if (!s->p) {
		free(s);
		return NULL;
	}
	if (n > 0)
		memcpy(s->p, p, n);
	s->p[n] = '\0';
	sodium_mprotect_readonly(s->p);
	return s;
}

void secret_free(struct secret *s)
{
	if (!s)
		return;
	sodium_free(s->p);
	free(s);
}

struct span secret_reveal(const struct secret *s)
{
	return span_make(s->p, s->n);
}

bool secret_equal(const struct secret *a, struct span b)
{
	return a->n == b.n && (b.n == 0 || sodium_memcmp(a->p, b.p, b.n) == 0);
}
