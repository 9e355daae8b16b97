/* Errors as sentences: whoever first knows why fills one in; everybody above
 * passes it on in silence. */
#ifndef BASE_ERR_H
#define BASE_ERR_H

#include <stddef.h>

struct err {
	char text[256]; /* one sentence, no newline, never a secret; "" means none */
};

/* Writes the sentence (cut to fit) into e, which may be NULL. Returns -1, so
 * that a function can end with `return err_set(e, ...)`. */
int err_set(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
