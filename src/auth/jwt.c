/* Signs the two kinds of JWT this program makes. The signing input is built
 * from our own JSON, so there is nothing to canonicalise; nothing is verified
 * here, since no token of ours is read by us. */
#include "auth/jwt.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "auth/es256.h"
#include "wire/json.h"

#define JWT_MAX ((size_t)32 * 1024)
#define ASSERTION_SECONDS 300

struct jwt_key {
	enum jwt_alg alg;
	unsigned char ed_public[crypto_sign_PUBLICKEYBYTES];
	unsigned char *ed_secret;  /* sodium_malloc'd; EdDSA */
	struct es256_key *es;      /* ES256 */
};

bool jwt_can(enum jwt_alg alg)
{
	return alg == JWT_EDDSA || es256_available();
}

const char *jwt_alg_name(enum jwt_alg alg)
{
	return alg == JWT_EDDSA ? "EdDSA" : "ES256";
}

enum jwt_alg jwt_key_alg(const struct jwt_key *k)
{
	return k->alg;
}

void jwt_key_free(struct jwt_key *k)
{
	if (!k)
		return;
	sodium_free(k->ed_secret);
	es256_free(k->es);
	free(k);
}

struct jwt_key *jwt_key_make(enum jwt_alg alg, const unsigned char seed[32])
{
	struct jwt_key *k = calloc(1, sizeof *k);

	if (!k)
		return NULL;
	k->alg = alg;
	if (alg == JWT_ES256)
		k->es = es256_make(seed);
	else if ((k->ed_secret = sodium_malloc(crypto_sign_SECRETKEYBYTES)))
		crypto_sign_seed_keypair(k->ed_public, k->ed_secret, seed);
	if (!k->es && !k->ed_secret) {
		jwt_key_free(k);
		return NULL;
	}
	return k;
}

/* ---- keys from PEM --------------------------------------------------------- */

static const char pem_begin[] = "-----BEGIN PRIVATE KEY-----";
static const char pem_end[] = "-----END PRIVATE KEY-----";

static bool contains(struct span s, const char *what)
{
	return memmem(s.p, s.n, what, strlen(what)) != NULL;
}

/* DER between the lines of a PKCS#8 PEM; its length, 0 when there is none. */
static size_t pem_decode(struct span pem, unsigned char *der, size_t size)
{
	const char *from = memmem(pem.p, pem.n, pem_begin, sizeof pem_begin - 1), *to;
	size_t n = 0;

	if (!from)
		return 0;
	from += sizeof pem_begin - 1;
	to = memmem(from, (size_t)(pem.p + pem.n - from), pem_end, sizeof pem_end - 1);
	if (!to || sodium_base642bin(der, size, from, (size_t)(to - from), "\r\n\t ", &n, NULL,
	                             sodium_base64_VARIANT_ORIGINAL))
		return 0;
	return n;
}

/* OneAsymmetricKey (RFC 5958) with the Ed25519 algorithm (RFC 8410): version 0
 * or 1, the OID, and the seed in two octet strings. What may follow (attributes,
 * public key) is not needed. */
static bool ed25519_seed(const unsigned char *der, size_t n, unsigned char seed[32])
{
	static const unsigned char algorithm[] = { 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20 };

	if (n < 48 || der[0] != 0x30 || der[1] > 0x7f || (size_t)der[1] + 2 != n ||
	    der[2] != 0x02 || der[3] != 0x01 || der[4] > 1 || memcmp(der + 5, algorithm, sizeof algorithm) != 0)
		return false;
	memcpy(seed, der + 5 + sizeof algorithm, 32);
	return true;
}

static struct jwt_key *parse_es256(struct span pem, struct err *e)
{
	struct jwt_key *k;

	if (!es256_available()) {
		err_set(e, "this build can not sign with ES256 (it was made without libcrypto); use an Ed25519 key");
		return NULL;
	}
	k = calloc(1, sizeof *k);
	if (k) {
		k->alg = JWT_ES256;
		k->es = es256_parse(pem);
	}
	if (!k || !k->es) {
		jwt_key_free(k);
		err_set(e, "the private key is neither an Ed25519 nor a P-256 key in unencrypted PEM");
		return NULL;
	}
	return k;
}

struct jwt_key *jwt_key_parse(struct span pem, const char *alg, struct err *e)
{
	unsigned char der[256], seed[32];
	struct jwt_key *k;

	if (alg && strcmp(alg, "EdDSA") != 0 && strcmp(alg, "ES256") != 0) {
		err_set(e, "the signing algorithm %.16s is not supported; EdDSA and ES256 are", alg);
		return NULL;
	}
	if (!pem.p || !contains(pem, "PRIVATE KEY-----")) {
		err_set(e, "the private key file holds no PEM private key");
		return NULL;
	}
	if (ed25519_seed(der, pem_decode(pem, der, sizeof der), seed))
		k = jwt_key_make(JWT_EDDSA, seed);
	else
		k = parse_es256(pem, e);
	sodium_memzero(der, sizeof der);
	sodium_memzero(seed, sizeof seed);
	if (k && alg && strcmp(alg, jwt_alg_name(k->alg)) != 0) {
		err_set(e, "the private key is for %s, not for %s", jwt_alg_name(k->alg), alg);
		jwt_key_free(k);
		return NULL;
	}
	return k;
}

/* ---- encoding and signing ----------------------------------------------------- */

int jwt_base64url(struct buf *out, const void *p, size_t n)
{
	size_t len = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);

	if (buf_reserve(out, len))
		return -1;
	sodium_bin2base64(buf_tail(out), len, p, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	buf_grew(out, len - 1);
	return 0;
}

int jwt_base64url_decode(struct buf *out, struct span s)
{
	size_t n = 0;

	if (buf_reserve(out, s.n + 1) ||
	    sodium_base642bin((unsigned char *)buf_tail(out), s.n + 1, s.p, s.n, NULL, &n, NULL,
	                      sodium_base64_VARIANT_URLSAFE_NO_PADDING))
		return -1;
	buf_grew(out, n);
	return 0;
}

int jwt_sign(const struct jwt_key *k, struct span header, struct span claims, struct buf *out)
{
	unsigned char sig[64];
	size_t start = out->len;

	if (jwt_base64url(out, header.p, header.n) || buf_puts(out, ".") || jwt_base64url(out, claims.p, claims.n))
		goto fail;
	if (k->alg == JWT_EDDSA)
		crypto_sign_detached(sig, NULL, (unsigned char *)buf_data(out) + start, out->len - start, k->ed_secret);
	else if (es256_sign(k->es, buf_data(out) + start, out->len - start, sig))
		goto fail;
	if (buf_puts(out, ".") || jwt_base64url(out, sig, sizeof sig))
		goto fail;
	return 0;
fail:
	out->len = start;
	return -1;
}

static int put_jti(struct buf *out, const unsigned char jti[16])
{
	return buf_puts(out, "\"jti\":\"") || jwt_base64url(out, jti, 16) || buf_puts(out, "\"") ? -1 : 0;
}

int jwt_client_assertion(const struct jwt_key *k, const char *client_id, const char *aud,
	const unsigned char jti[16], int64_t wall, struct buf *out)
{
	struct buf header, claims;
	int rc = -1;

	buf_init(&header, JWT_MAX);
	buf_init(&claims, JWT_MAX);
	if (buf_printf(&header, "{\"alg\":\"%s\",\"typ\":\"JWT\"}", jwt_alg_name(k->alg)) == 0 &&
	    buf_puts(&claims, "{\"iss\":") == 0 && json_quote(&claims, span_str(client_id)) == 0 &&
	    buf_puts(&claims, ",\"sub\":") == 0 && json_quote(&claims, span_str(client_id)) == 0 &&
	    buf_puts(&claims, ",\"aud\":") == 0 && json_quote(&claims, span_str(aud)) == 0 &&
	    buf_puts(&claims, ",") == 0 && put_jti(&claims, jti) == 0 &&
	    buf_printf(&claims, ",\"iat\":%" PRId64 ",\"exp\":%" PRId64 "}", wall, wall + ASSERTION_SECONDS) == 0)
		rc = jwt_sign(k, buf_span(&header), buf_span(&claims), out);
	buf_fini(&header);
	buf_fini(&claims);
	return rc;
}

/* The public key as a JWK whose members stand in the order of RFC 7638. */
static int put_jwk(const struct jwt_key *k, struct buf *out)
{
	unsigned char x[32], y[32];

	if (k->alg == JWT_EDDSA)
		return buf_puts(out, "{\"crv\":\"Ed25519\",\"kty\":\"OKP\",\"x\":\"") ||
		       jwt_base64url(out, k->ed_public, sizeof k->ed_public) || buf_puts(out, "\"}") ? -1 : 0;
	return es256_public(k->es, x, y) || buf_puts(out, "{\"crv\":\"P-256\",\"kty\":\"EC\",\"x\":\"") ||
	       jwt_base64url(out, x, sizeof x) || buf_puts(out, "\",\"y\":\"") ||
	       jwt_base64url(out, y, sizeof y) || buf_puts(out, "\"}") ? -1 : 0;
}

static int put_proof_claims(struct buf *out, const char *method, const char *url, struct span access,
	struct span nonce, const unsigned char jti[16], int64_t wall)
{
	unsigned char hash[crypto_hash_sha256_BYTES];

	if (buf_puts(out, "{") || put_jti(out, jti) || buf_puts(out, ",\"htm\":") ||
	    json_quote(out, span_str(method)) || buf_puts(out, ",\"htu\":") ||
	    json_quote(out, span_make(url, strcspn(url, "?#"))) || buf_printf(out, ",\"iat\":%" PRId64, wall))
		return -1;
	if (access.p) {
		crypto_hash_sha256(hash, (const unsigned char *)access.p, access.n);
		if (buf_puts(out, ",\"ath\":\"") || jwt_base64url(out, hash, sizeof hash) || buf_puts(out, "\""))
			return -1;
	}
	if (nonce.p && (buf_puts(out, ",\"nonce\":") || json_quote(out, nonce)))
		return -1;
	return buf_puts(out, "}");
}

int jwt_dpop_proof(const struct jwt_key *k, const char *method, const char *url, struct span access,
	struct span nonce, const unsigned char jti[16], int64_t wall, struct buf *out)
{
	struct buf header, claims;
	int rc = -1;

	buf_init(&header, JWT_MAX);
	buf_init(&claims, JWT_MAX);
	if (buf_printf(&header, "{\"typ\":\"dpop+jwt\",\"alg\":\"%s\",\"jwk\":", jwt_alg_name(k->alg)) == 0 &&
	    put_jwk(k, &header) == 0 && buf_puts(&header, "}") == 0 &&
	    put_proof_claims(&claims, method, url, access, nonce, jti, wall) == 0)
		rc = jwt_sign(k, buf_span(&header), buf_span(&claims), out);
	buf_fini(&header);
	buf_fini(&claims);
	return rc;
}

int jwt_thumbprint(const struct jwt_key *k, struct buf *out)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	struct buf jwk;
	int rc = -1;

	buf_init(&jwk, JWT_MAX);
	if (put_jwk(k, &jwk) == 0) {
		crypto_hash_sha256(hash, (const unsigned char *)buf_data(&jwk), jwk.len);
		rc = jwt_base64url(out, hash, sizeof hash);
	}
	buf_fini(&jwk);
	return rc;
}
