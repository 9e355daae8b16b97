/* A response's head, collected line by line. Pure. */
#ifndef IO_HTTP_HEAD_H
#define IO_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "io/http.h"

enum head_field {
	HEAD_CONTENT_TYPE, HEAD_SESSION_ID, HEAD_RETRY_AFTER, HEAD_LOCATION, HEAD_ALLOW,
	HEAD_DPOP_NONCE, HEAD_DATE, HEAD_WWW_AUTHENTICATE, HEAD_CONTENT_ENCODING, HEAD_SET_COOKIE, HEAD_KEEP_ALIVE,
	HEAD_FIELDS,
};

enum head_status {
	HEAD_MORE,     /* wants the next line */
	HEAD_COMPLETE, /* that was the empty line of the final head; later lines are trailers and ignored */
	HEAD_TOO_LARGE,
	HEAD_NOMEM,
};

struct head {
	size_t bytes, max;      /* lines fed, interim heads and trailers included */
	bool complete;
	int keep_alive_s;       /* valid once complete: how long the server keeps an idle connection, by its
	                         * Keep-Alive field (RFC 2068, 19.7.1.1); -1: it does not say */
	int last;               /* field of the line before, for folded lines; -1 none */
	struct buf text;        /* values, one behind the other */
	struct buf auth;        /* WWW-Authenticate, joined */
	struct buf cookies;     /* "name=value" of each Set-Cookie, one a line */
	struct { uint32_t off, n; bool set; } at[HEAD_FIELDS]; /* one for every call under way: kept small */
	struct http_head out;   /* valid once complete */
};

void head_init(struct head *h, size_t max_bytes);
void head_fini(struct head *h);
/* Ready for another response; keeps small blocks. */
void head_reset(struct head *h, size_t max_bytes);
/* One line with its line end. A status line starts over, so an interim (1xx)
 * head leaves nothing behind. A field that comes twice counts as it came last;
 * WWW-Authenticate is joined by ", " (RFC 9110, 5.2). */
enum head_status head_line(struct head *h, struct span line);
bool head_has(const struct head *h, enum head_field f);

#endif
