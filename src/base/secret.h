/* A secret: sodium_malloc'd, locked, wiped when freed, never printed. */
#ifndef BASE_SECRET_H
#define BASE_SECRET_H

#include <stdbool.h>

#include "base/span.h"

struct secret;

/* A copy of the bytes (the caller wipes its own). NULL when there is no memory. */
struct secret *secret_new(const void *p, size_t n);
/* NULL does nothing. */
void secret_free(struct secret *s);
/* The bytes, valid until secret_free(). To be called only where a header, a
 * request body or a sealed file is built. The byte after the last is NUL. */
struct span secret_reveal(const struct secret *s);
/* Constant-time comparison of equal lengths. */
bool secret_equal(const struct secret *a, struct span b);

#endif
