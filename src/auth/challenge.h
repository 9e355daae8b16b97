/* WWW-Authenticate (RFC 9110, section 11.6.1): several challenges in one value,
 * token68 credentials, quoted strings with escapes, parameters in any order
 * and case, empty list elements. What does not parse ends the reading; what
 * came before it counts. */
#ifndef AUTH_CHALLENGE_H
#define AUTH_CHALLENGE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

#define CHALLENGE_MAX ((size_t)16 * 1024)

/* What the Bearer and DPoP challenges say (RFC 6750, 9449, 9728). Bearer's
 * values win; the spans point into `text`. */
struct challenge {
	struct buf text;
	bool bearer, dpop;
	struct span resource_metadata, scope, error, error_description;
};

/* Fills in *c (to be finished with challenge_fini()). 0, or -1 when there is no
 * memory or the value is longer than CHALLENGE_MAX; *c is then empty. */
int challenge_parse(struct challenge *c, struct span value);
void challenge_fini(struct challenge *c);

#endif
