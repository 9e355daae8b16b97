/* What the loopback listener answers: whole HTTP responses with plain pages that
 * load nothing, run nothing and are kept by nobody. */
#ifndef IO_LISTENER_PAGE_H
#define IO_LISTENER_PAGE_H

#include "base/buf.h"

/* Appends a response with a page; title and sentence are text, not markup.
 * status: "200 OK". 0 or -1. */
int listener_page(struct buf *out, const char *status, const char *title, const char *sentence);
/* Appends a 302 to url. 0 or -1. */
int listener_redirect(struct buf *out, const char *url);

#endif
