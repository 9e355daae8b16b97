/* Tokens: what a token endpoint answers, and how a request to one is built. Pure. */
#ifndef AUTH_TOKEN_H
#define AUTH_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/jwt.h"
#include "auth/record.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

#define TOKEN_MAX_ANSWER ((size_t)64 * 1024)

/* ---- answers ------------------------------------------------------------------ */

enum token_result {
	TOKEN_OK,
	TOKEN_BAD,        /* not a token answer; e says why */
	TOKEN_REFUSED,    /* an OAuth error answer; error holds its code */
};

struct token_answer {
	struct secret *access, *refresh;
	char type[8];              /* Bearer or DPoP, in that spelling */
	char *scope;
	struct secret *id_token;   /* NULL when absent */
	struct secret *issued;     /* what a token exchange gave, of type id-jag */
	int64_t expires_in;        /* seconds; -1: not said, or zero */
	char error[64];            /* for TOKEN_REFUSED; printable ASCII only */
	char description[160];
};

#define TOKEN_MAX_EXPIRES ((int64_t)10 * 366 * 86400)

/* Reads the answer of a token endpoint (RFC 6749, 5.1 and 5.2). A missing or
 * unknown token_type, an empty token and an expires_in that is negative or not a number are
 * TOKEN_BAD; a huge one is cut to TOKEN_MAX_EXPIRES. */
enum token_result token_answer_read(struct token_answer *t, int status, struct span body, struct err *e);
/* The same for a token exchange (RFC 8693, 2.2) that must give an ID-JAG. */
enum token_result token_exchange_read(struct token_answer *t, int status, struct span body, struct err *e);
void token_answer_fini(struct token_answer *t);

/* ---- requests ------------------------------------------------------------------ */

/* Appends name=value in form encoding, with '&' when out is not empty. A NULL value appends nothing. */
int form_add(struct buf *out, const char *name, struct span value);
int form_adds(struct buf *out, const char *name, const char *value);

/* Which method to use: `given` wins; else by what the server lists (0: not
 * said, then basic with a secret) and whether there is a secret or a key. */
const char *token_auth_choose(const char *given, unsigned listed, bool has_secret, bool has_key);

struct token_client {
	const char *id;
	const struct secret *secret;
	const char *method;
	const struct jwt_key *key;
	const char *aud;               /* of a client assertion: the issuer */
	unsigned char jti[16];
	int64_t wall;
};
/* Adds the client's authentication: to the body, or as an Authorization header
 * line appended to header. 0 or -1. */
int token_client_add(const struct token_client *c, struct buf *body, struct buf *header);

/* ---- scopes ---------------------------------------------------------------------- */

/* Adds to the blank-separated set those of more that it lacks. 0 or -1. */
int scope_add(struct buf *set, struct span more);
bool scope_has(struct span set, const char *scope);
/* True when every scope of want is in have. */
bool scope_covers(struct span have, struct span want);

#endif
