/* URLs, by libcurl's parser (the same one that will make the request, so that
 * what we judge is what is sent: RFC 3986). Pure: no network. */
#ifndef BASE_URL_H
#define BASE_URL_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct url {
	char *text;     /* the whole normalised URL, without fragment and userinfo */
	char *scheme;   /* "http" or "https" */
	char *host;     /* lower case; brackets kept for IPv6 */
	int port;       /* always filled in */
	char *path;     /* with a leading slash */
	char *query;    /* without '?'; NULL when absent */
	char *user;     /* decoded; NULL when absent */
	char *password; /* decoded; NULL when absent */
	char *origin;   /* scheme://host[:port], the port only when not the default */
};

/* Parses an absolute http(s) URL. On failure -1, e says why without repeating
 * the URL, and *u is empty. url_fini() wipes before it frees. */
int url_parse(struct url *u, const char *text, struct err *e);
/* Resolves ref (relative or absolute) against base. As url_parse(). */
int url_resolve(struct url *u, const struct url *base, struct span ref, struct err *e);
void url_fini(struct url *u);
/* Same scheme, host and port (RFC 6454). */
bool url_same_origin(const struct url *a, const struct url *b);
/* localhost, *.localhost, 127.0.0.0/8 or [::1]. */
bool url_is_loopback(const struct url *u);
/* A literal private, link-local, unique-local or unspecified address (RFC 1918,
 * 3927, 4193, 6598, 6890), also when mapped into IPv6. */
bool url_is_private(const struct url *u);
/* Appends s, percent-encoded (RFC 3986 unreserved characters stay). */
int url_escape(struct buf *out, struct span s);
/* Appends s with %XX and '+' (when plus) decoded; -1 on a malformed escape. */
int url_unescape(struct buf *out, struct span s, bool plus);

#endif
