/* ECDSA on P-256 with SHA-256, by libcrypto where the build has it; elsewhere
 * every function fails and es256_available() says so. */
#ifndef AUTH_ES256_H
#define AUTH_ES256_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

struct es256_key;

bool es256_available(void);
/* PEM, PKCS#8 or SEC 1, not encrypted; NULL when it is no P-256 key. */
struct es256_key *es256_parse(struct span pem);
/* The key whose private scalar is made from these 32 bytes. */
struct es256_key *es256_make(const unsigned char seed[32]);
void es256_free(struct es256_key *k);
/* r and s, 32 bytes each, as RFC 7518 (3.4) wants them. 0 or -1. */
int es256_sign(const struct es256_key *k, const void *p, size_t n, unsigned char sig[64]);
/* The affine coordinates of the public key. 0 or -1. */
int es256_public(const struct es256_key *k, unsigned char x[32], unsigned char y[32]);

#endif
