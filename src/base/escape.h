/* One escape sequence at a time, as URLs and JSON write them: for text that is
 * searched as it reads, whatever its writer chose to escape. */
#ifndef BASE_ESCAPE_H
#define BASE_ESCAPE_H

#include "base/span.h"

#define ESCAPE_MAX 4 /* bytes that one escape stands for */

/* The length of the escape at the beginning of s, and in out what it stands
 * for (*n bytes, never more than the escape has); 0 when there is none. */
typedef size_t escape_take(struct span s, char out[ESCAPE_MAX], size_t *n);

/* %XX in either case (RFC 3986, 2.1). */
escape_take escape_percent;
/* A backslash and a letter, \uXXXX, and two of these for what lies beyond 16
 * bits (RFC 8259, 7). Half of such a pair becomes a byte sequence that is no
 * UTF-8. */
escape_take escape_json;

#endif
