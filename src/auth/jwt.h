/* JSON Web Tokens that we sign ourselves: client assertions (RFC 7523) and
 * DPoP proofs (RFC 9449). EdDSA by libsodium; ES256 by libcrypto where the
 * build has it. Pure: keys come as text, randomness and time are given. */
#ifndef AUTH_JWT_H
#define AUTH_JWT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

enum jwt_alg { JWT_EDDSA, JWT_ES256 };

struct jwt_key;

/* From PEM: PKCS#8 "PRIVATE KEY", or "EC PRIVATE KEY" (SEC 1) for ES256. alg:
 * "EdDSA", "ES256" or NULL for whatever the key is. NULL with a sentence: not
 * a key, another kind of key, or ES256 without libcrypto. */
struct jwt_key *jwt_key_parse(struct span pem, const char *alg, struct err *e);
/* A new key from 32 random bytes, which are all there is to it: the same bytes
 * give the same key. NULL when the algorithm is not built in or no memory. */
struct jwt_key *jwt_key_make(enum jwt_alg alg, const unsigned char seed[32]);
void jwt_key_free(struct jwt_key *k);
enum jwt_alg jwt_key_alg(const struct jwt_key *k);
/* True when the build can sign with it. */
bool jwt_can(enum jwt_alg alg);
const char *jwt_alg_name(enum jwt_alg alg);

/* Appends n bytes in the URL alphabet without padding (RFC 7515). 0 or -1. */
int jwt_base64url(struct buf *out, const void *p, size_t n);
/* Appends the decoded bytes; -1 when it is not that. */
int jwt_base64url_decode(struct buf *out, struct span s);
/* Appends the compact serialisation of header and claims (JSON texts). 0 or -1. */
int jwt_sign(const struct jwt_key *k, struct span header, struct span claims, struct buf *out);

/* Appends a client assertion: iss = sub = client_id, aud, jti, iat, exp = iat + 300. */
int jwt_client_assertion(const struct jwt_key *k, const char *client_id, const char *aud,
	const unsigned char jti[16], int64_t wall, struct buf *out);
/* Appends a DPoP proof. access: the token it goes with (its hash is `ath`), or
 * SPAN_NONE; nonce likewise. url: its query and fragment are left out. */
int jwt_dpop_proof(const struct jwt_key *k, const char *method, const char *url, struct span access,
	struct span nonce, const unsigned char jti[16], int64_t wall, struct buf *out);
/* Appends the JWK thumbprint of the public key (RFC 7638), base64url. */
int jwt_thumbprint(const struct jwt_key *k, struct buf *out);

#endif
