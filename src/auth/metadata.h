/* Discovery documents: protected resource metadata (RFC 9728), authorization
 * server metadata (RFC 8414, OpenID Connect Discovery 1.0), where to look for
 * them, and which URLs may be used at all. Pure. */
#ifndef AUTH_METADATA_H
#define AUTH_METADATA_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "base/url.h"

#define METADATA_MAX ((size_t)256 * 1024)

/* Protected resource metadata; the strings are owned. */
struct prm {
	char *resource;   /* as published */
	char *issuer;     /* the first authorization server; NULL when none is listed */
	char *scopes;     /* scopes_supported joined by blanks; NULL when undefined or empty */
};

/* Reads a document that speaks for the server at mcp: its `resource` must be
 * that URL or a parent of it (same origin, a path prefix that ends at a
 * segment). 0; -1: not such a document; -2: one for another resource. */
int prm_parse(struct prm *p, struct span body, const struct url *mcp, struct err *e);
void prm_fini(struct prm *p);
/* True when a token for `resource` is one for the server at mcp. */
bool prm_resource_matches(const char *resource, const struct url *mcp);

enum { AUTH_METHOD_NONE = 1, AUTH_METHOD_POST = 2, AUTH_METHOD_BASIC = 4, AUTH_METHOD_JWT = 8 };
enum { AUTH_ALG_EDDSA = 1, AUTH_ALG_ES256 = 2 };

/* Authorization server metadata; the strings are owned. */
struct as_meta {
	char *issuer, *authorization_endpoint, *token_endpoint, *registration_endpoint;
	char *device_endpoint;
	bool s256;              /* code_challenge_methods_supported lists S256 */
	bool cimd;              /* client_id_metadata_document_supported */
	bool iss_parameter;     /* authorization_response_iss_parameter_supported */
	bool offline_access;    /* scopes_supported lists it */
	bool assumed;           /* made up by as_meta_default(): no metadata was found anywhere */
	unsigned methods;       /* token_endpoint_auth_methods_supported; 0: not said */
	unsigned dpop_algs;     /* dpop_signing_alg_values_supported; 0: not said */
};

/* What is said, and to be tried, where a server that refuses publishes nothing: most
 * such take a key. The dots are fewer than the redactor takes for one. */
#define METADATA_NONE "the server wants credentials and publishes no OAuth metadata"
#define METADATA_NONE_CAUSE "most such servers take a key"
#define METADATA_NONE_TRY "--header 'Authorization: Bearer ...', in which ${NAME} is read from the environment"

/* Reads a document fetched for `issuer`, which its own must equal byte for
 * byte. 0; -1: no metadata at all; -2: metadata that must not be used. */
int as_meta_parse(struct as_meta *m, struct span body, const char *issuer, struct err *e);
/* The endpoints a 2025-03-26 server without metadata has: /authorize, /token, /register. */
int as_meta_default(struct as_meta *m, const char *origin);
void as_meta_fini(struct as_meta *m);

/* Where to look, in order. They append the n-th URL to out (NUL-terminated
 * behind its length): 1; 0 when there are no more; -1 no memory. */
int prm_location(const struct url *mcp, int n, struct buf *out);
int as_location(const struct url *issuer, int n, struct buf *out);

/* Whether an URL that came from the network may be asked or shown: https; or
 * http when it is loopback and the MCP server is too, or allow_http; no
 * userinfo; no fragment; a literal private address only when the MCP server is
 * at one or on loopback. On 0 *u is parsed (u may be NULL). */
int endpoint_check(struct url *u, const char *text, const struct url *mcp, bool allow_http, struct err *e);

#endif
