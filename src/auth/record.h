/* What is kept of a sign-in, and its JSON form, which only ever exists sealed
 * or in memory that is wiped. Pure. */
#ifndef AUTH_RECORD_H
#define AUTH_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/secret.h"
#include "base/span.h"

#define RECORD_MAX ((size_t)256 * 1024)

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
	int client_proven;         /* 1: a token was given for it */
	char *redirect_uri;        /* the registered one */
	int redirect_port;         /* in it; 0: none */
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

#endif
