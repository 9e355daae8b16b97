/* A borrowed view of bytes. It owns nothing and dies at the next call into the
 * owner of the bytes. */
#ifndef BASE_SPAN_H
#define BASE_SPAN_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct span {
	const char *p; /* NULL: absent; otherwise n bytes, not NUL-terminated */
	size_t n;
};

#define SPAN_NONE ((struct span){ NULL, 0 })
#define SPAN_INIT(s) { (s), sizeof(s) - 1 } /* of a constant or an array of them */
#define SPAN_LIT(s) ((struct span)SPAN_INIT(s))

static inline struct span span_make(const char *p, size_t n) { return (struct span){ p, n }; }
static inline struct span span_str(const char *s) { return (struct span){ s, s ? strlen(s) : 0 }; }
/* A byte order mark in front may be ignored (RFC 8259, 8.1). */
static inline struct span span_without_mark(struct span s)
{
	return s.n >= 3 && memcmp(s.p, "\xef\xbb\xbf", 3) == 0 ? span_make(s.p + 3, s.n - 3) : s;
}
static inline bool span_eq(struct span a, struct span b) { return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0); }
static inline bool span_is(struct span a, const char *s) { size_t n = strlen(s); return a.p && a.n == n && memcmp(a.p, s, n) == 0; }

#endif
