/* The one use of libcrypto. Keys from PEM are checked to be P-256 before
 * anything is signed; an encrypted one is refused rather than asked about on
 * the terminal. */
#include "auth/es256.h"

#ifdef HAVE_LIBCRYPTO

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/obj_mac.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <sodium.h>

struct es256_key {
	EVP_PKEY *pkey;
};

bool es256_available(void)
{
	return true;
}

/* Takes pkey. */
static struct es256_key *wrap(EVP_PKEY *pkey)
{
	struct es256_key *k = pkey ? malloc(sizeof *k) : NULL;

	if (k)
		k->pkey = pkey;
	else
		EVP_PKEY_free(pkey);
	return k;
}

static int no_password(char *out, int size, int writing, void *arg)
{
	(void)out, (void)size, (void)writing, (void)arg;
	return -1;
}

static bool is_p256(const EVP_PKEY *pkey)
{
	char group[32] = "";
	size_t n = 0;

	return EVP_PKEY_get_base_id(pkey) == EVP_PKEY_EC &&
	       EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, &n) == 1 &&
	       (strcmp(group, SN_X9_62_prime256v1) == 0 || strcmp(group, "P-256") == 0);
}

struct es256_key *es256_parse(struct span pem)
{
	EVP_PKEY *pkey = NULL;
	BIO *bio = pem.n <= INT_MAX ? BIO_new_mem_buf(pem.p, (int)pem.n) : NULL;

	if (bio)
		pkey = PEM_read_bio_PrivateKey(bio, NULL, no_password, NULL);
	BIO_free(bio);
	if (pkey && !is_p256(pkey)) {
		EVP_PKEY_free(pkey);
		pkey = NULL;
	}
	return wrap(pkey);
}

/* A scalar within [1, order); false in the one case of 2^32 where the bytes are none. */
static bool scalar_ok(const BIGNUM *d, const EC_GROUP *group)
{
	return d && !BN_is_zero(d) && BN_cmp(d, EC_GROUP_get0_order(group)) < 0;
}

static EVP_PKEY *from_scalar(const EC_GROUP *group, const BIGNUM *d)
{
	unsigned char pub[65];
	EC_POINT *point = EC_POINT_new(group);
	OSSL_PARAM_BLD *bld = OSSL_PARAM_BLD_new();
	OSSL_PARAM *params = NULL;
	EVP_PKEY_CTX *ctx = NULL;
	EVP_PKEY *pkey = NULL;

	if (!point || !bld || EC_POINT_mul(group, point, d, NULL, NULL, NULL) != 1 ||
	    EC_POINT_point2oct(group, point, POINT_CONVERSION_UNCOMPRESSED, pub, sizeof pub, NULL) != sizeof pub)
		goto out;
	if (OSSL_PARAM_BLD_push_utf8_string(bld, OSSL_PKEY_PARAM_GROUP_NAME, "prime256v1", 0) != 1 ||
	    OSSL_PARAM_BLD_push_octet_string(bld, OSSL_PKEY_PARAM_PUB_KEY, pub, sizeof pub) != 1 ||
	    OSSL_PARAM_BLD_push_BN(bld, OSSL_PKEY_PARAM_PRIV_KEY, d) != 1)
		goto out;
	params = OSSL_PARAM_BLD_to_param(bld);
	ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
	if (!params || !ctx || EVP_PKEY_fromdata_init(ctx) != 1 ||
	    EVP_PKEY_fromdata(ctx, &pkey, EVP_PKEY_KEYPAIR, params) != 1)
		pkey = NULL;
out:
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	OSSL_PARAM_BLD_free(bld);
	EC_POINT_free(point);
	return pkey;
}

struct es256_key *es256_make(const unsigned char seed[32])
{
	unsigned char bytes[32];
	EC_GROUP *group = EC_GROUP_new_by_curve_name(NID_X9_62_prime256v1);
	BIGNUM *d;
	EVP_PKEY *pkey = NULL;

	if (!group)
		return NULL;
	memcpy(bytes, seed, sizeof bytes);
	d = BN_bin2bn(bytes, sizeof bytes, NULL);
	if (d && !scalar_ok(d, group)) {
		crypto_hash_sha256(bytes, bytes, sizeof bytes);
		BN_bin2bn(bytes, sizeof bytes, d);
	}
	if (scalar_ok(d, group))
		pkey = from_scalar(group, d);
	sodium_memzero(bytes, sizeof bytes);
	BN_clear_free(d);
	EC_GROUP_free(group);
	return wrap(pkey);
}

void es256_free(struct es256_key *k)
{
	if (!k)
		return;
	EVP_PKEY_free(k->pkey);
	free(k);
}

/* DER SEQUENCE { r, s } to two fixed halves. */
static int split_signature(const unsigned char *der, size_t n, unsigned char sig[64])
{
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &der, (long)n);
	int rc = -1;

	if (s && BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32) == 32 && BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32) == 32)
		rc = 0;
	ECDSA_SIG_free(s);
	return rc;
}

int es256_sign(const struct es256_key *k, const void *p, size_t n, unsigned char sig[64])
{
	unsigned char der[128];
	size_t len = sizeof der;
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	int rc = -1;

	if (ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, k->pkey) == 1 &&
	    EVP_DigestSign(ctx, der, &len, p, n) == 1)
		rc = split_signature(der, len, sig);
	EVP_MD_CTX_free(ctx);
	return rc;
}

int es256_public(const struct es256_key *k, unsigned char x[32], unsigned char y[32])
{
	BIGNUM *bx = NULL, *by = NULL;
	int rc = -1;

	if (EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_EC_PUB_X, &bx) == 1 &&
	    EVP_PKEY_get_bn_param(k->pkey, OSSL_PKEY_PARAM_EC_PUB_Y, &by) == 1 &&
	    BN_bn2binpad(bx, x, 32) == 32 && BN_bn2binpad(by, y, 32) == 32)
		rc = 0;
	BN_free(bx);
	BN_free(by);
	return rc;
}

#else

bool es256_available(void)
{
	return false;
}

struct es256_key *es256_parse(struct span pem)
{
	(void)pem;
	return NULL;
}

struct es256_key *es256_make(const unsigned char seed[32])
{
	(void)seed;
	return NULL;
}

void es256_free(struct es256_key *k)
{
	(void)k;
}

int es256_sign(const struct es256_key *k, const void *p, size_t n, unsigned char sig[64])
{
	(void)k, (void)p, (void)n, (void)sig;
	return -1;
}

int es256_public(const struct es256_key *k, unsigned char x[32], unsigned char y[32])
{
	(void)k, (void)x, (void)y;
	return -1;
}

#endif
