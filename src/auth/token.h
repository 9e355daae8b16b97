/* Tokens: what is kept of a sign-in, what a token endpoint answers, and how a
 * request to one is built. Pure. */
#ifndef AUTH_TOKEN_H
#define AUTH_TOKEN_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/jwt.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

#define TOKEN_MAX_ANSWER ((size_t)64 * 1024)
#define TOKEN_MAX_RECORD ((size_t)256 * 1024)

/* Everything that is kept for one (issuer, resource). Strings and secrets are
 * owned; NULL means absent. */
struct auth_record {
	char *url;                 /* the MCP server, for `list` */
	char *issuer, *resource;
	char *token_endpoint;
	char *client_id;
	struct secret *client_secret;
	char *client_auth;         /* none, client_secret_post, client_secret_basic, private_key_jwt */
	char *client_source;       /* given, metadata-url, registered */
	int64_t client_expires;    /* wall seconds; 0: never */
	int redirect_port;         /* the registered one; 0: none */
	struct secret *access, *refresh;
	char *token_type;          /* Bearer or DPoP */
	char *scope;               /* asked for or granted, the union so far */
	int64_t obtained, expires; /* wall seconds; expires 0: unknown */
	unsigned char dpop_seed[32];
	int dpop_alg;              /* enum jwt_alg, -1: no key */
};

void auth_record_init(struct auth_record *r);
void auth_record_fini(struct auth_record *r);
/* Deep copy; -1: no memory, dst is empty. */
int auth_record_copy(struct auth_record *dst, const struct auth_record *src);
/* JSON text, to be sealed by the store; and back. 0 or -1. */
int auth_record_write(const struct auth_record *r, struct buf *out);
int auth_record_read(struct auth_record *r, struct span json, struct err *e);
/* Replaces *field with a copy of s (NULL for SPAN_NONE). 0 or -1. */
int auth_set(char **field, struct span s);
int auth_set_secret(struct secret **field, struct span s);

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
	struct secret *issued;     /* access_token of a token exchange whose issued type is id-jag */
	int64_t expires_in;        /* seconds; -1: not said */
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

/* Appends the union of two blank-separated sets, in order of first mention. */
int scope_union(struct buf *out, struct span a, struct span b);
bool scope_has(struct span set, const char *scope);

#endif
