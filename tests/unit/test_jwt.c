/* Keys, signatures, client assertions and DPoP proofs. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include <sodium.h>

#include "auth/jwt.h"
#include "wire/json.h"

static const char ed25519_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MC4CAQAwBQYDK2VwBCIEIM+h03cX50cEeJzq8SyrNIhvkxsyNpbLpSd93EQAouCE\n"
	"-----END PRIVATE KEY-----\n";
static const char p256_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdb/6dYboGG16ipx3\n"
	"uzskaruIsQ2Fih4Nt/vqDlEHdf+hRANCAARLgKRTYESI1W1I1cVxlGcxz561n8NM\n"
	"iuaLHoe1A3YP5msSFpR0hr56KF+yP6je+JjjlDhKx5T2+GpIqyhzlcm9\n"
	"-----END PRIVATE KEY-----\n";
static const char sec1_pem[] =
	"-----BEGIN EC PRIVATE KEY-----\n"
	"MHcCAQEEILD4v6s1XKb41Jla4L8+/H276p1rlIYii3xF0BCPzj2RoAoGCCqGSM49\n"
	"AwEHoUQDQgAEE3Kfsk1REb99UfJ3OQXFQQp15kAC+kRhfwEVKV0RrtCWm1kRaRoY\n"
	"sXivlXEz1zFlWIjyiFOWiCobDsu2qvnNDQ==\n"
	"-----END EC PRIVATE KEY-----\n";
static const char p384_pem[] =
	"-----BEGIN PRIVATE KEY-----\n"
	"MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDD6YP+laQiek15kwiKo\n"
	"q1Bl9mFNsd69sEQ25vRq5Sx4QtAwDMhH63ELFRauTlzVTcahZANiAAT3alianBMT\n"
	"uRRvqK/l++k8vQZ1aCbd/dVe3/9zeHzHrK3nheoALV0GB0EOjYLMtnnnpWvSSkIX\n"
	"SMx8Kg6JJqXssgtrgswyDQi4xRt6q7zpLF8FjVVWRIoLx7/icKCupzM=\n"
	"-----END PRIVATE KEY-----\n";

static struct span part(struct span jwt, int n)
{
	const char *dot;
	struct span s = jwt;

	for (;; n--) {
		dot = memchr(s.p, '.', s.n);
		if (n == 0)
			return dot ? span_make(s.p, (size_t)(dot - s.p)) : s;
		assert_non_null(dot);
		s = span_make(dot + 1, s.n - (size_t)(dot + 1 - s.p));
	}
}

static struct span decoded(struct buf *b, struct span jwt, int n)
{
	buf_init(b, 8192);
	assert_int_equal(jwt_base64url_decode(b, part(jwt, n)), 0);
	return buf_span(b);
}

static void the_published_ed25519_example_comes_out_the_same(void **state)
{
	/* RFC 8037, appendix A */
	static const char d[] = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
	struct buf seed, out;
	struct jwt_key *k;

	(void)state;
	buf_init(&seed, 64);
	buf_init(&out, 4096);
	assert_int_equal(jwt_base64url_decode(&seed, SPAN_LIT(d)), 0);
	k = jwt_key_make(JWT_EDDSA, (const unsigned char *)buf_data(&seed));
	assert_non_null(k);
	assert_int_equal(jwt_sign(k, SPAN_LIT("{\"alg\":\"EdDSA\"}"), SPAN_LIT("Example of Ed25519 signing"), &out), 0);
	assert_true(span_is(buf_span(&out), "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc."
		"hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"));
	buf_reset(&out);
	assert_int_equal(jwt_thumbprint(k, &out), 0);
	assert_true(span_is(buf_span(&out), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"));
	jwt_key_free(k);
	buf_fini(&seed);
	buf_fini(&out);
}

static void keys_are_recognised(void **state)
{
	struct jwt_key *k;
	struct err e;

	(void)state;
	k = jwt_key_parse(SPAN_LIT(ed25519_pem), "EdDSA", &e);
	assert_non_null(k);
	assert_int_equal(jwt_key_alg(k), JWT_EDDSA);
	jwt_key_free(k);
	assert_null(jwt_key_parse(SPAN_LIT(ed25519_pem), "ES256", &e));
	assert_null(jwt_key_parse(SPAN_LIT(ed25519_pem), "RS256", &e));
	assert_null(jwt_key_parse(SPAN_LIT("nonsense"), NULL, &e));
	assert_null(jwt_key_parse(SPAN_LIT("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), NULL, &e));
	assert_null(jwt_key_parse(SPAN_LIT("-----BEGIN PRIVATE KEY-----\nMC4CAQAw"), NULL, &e));
	assert_null(jwt_key_parse(SPAN_LIT(p384_pem), NULL, &e));
	if (!jwt_can(JWT_ES256)) {
		assert_null(jwt_key_parse(SPAN_LIT(p256_pem), NULL, &e));
		assert_non_null(strstr(e.text, "libcrypto"));
		return;
	}
	k = jwt_key_parse(SPAN_LIT(p256_pem), "ES256", &e);
	assert_non_null(k);
	assert_int_equal(jwt_key_alg(k), JWT_ES256);
	jwt_key_free(k);
	k = jwt_key_parse(SPAN_LIT(sec1_pem), NULL, &e);
	assert_non_null(k);
	jwt_key_free(k);
	assert_null(jwt_key_parse(SPAN_LIT(p256_pem), "EdDSA", &e));
}

static void a_seed_is_all_there_is_to_a_key(void **state)
{
	unsigned char seed[32];
	enum jwt_alg algs[2] = { JWT_EDDSA, JWT_ES256 };
	struct buf a, b;
	size_t i;

	(void)state;
	memset(seed, 0xFF, sizeof seed); /* beyond the order of P-256: must be reduced somehow */
	for (i = 0; i < 2 && jwt_can(algs[i]); i++) {
		struct jwt_key *one = jwt_key_make(algs[i], seed), *two = jwt_key_make(algs[i], seed);

		assert_non_null(one);
		assert_non_null(two);
		buf_init(&a, 128);
		buf_init(&b, 128);
		assert_int_equal(jwt_thumbprint(one, &a), 0);
		assert_int_equal(jwt_thumbprint(two, &b), 0);
		assert_int_equal(a.len, 43);
		assert_true(span_eq(buf_span(&a), buf_span(&b)));
		buf_fini(&a);
		buf_fini(&b);
		jwt_key_free(one);
		jwt_key_free(two);
	}
}

static void a_client_assertion_says_who_and_for_whom(void **state)
{
	static const unsigned char jti[16] = "0123456789abcdef";
	struct jwt_key *k = jwt_key_parse(SPAN_LIT(ed25519_pem), NULL, NULL);
	struct buf out, b;
	struct json_scan scan;
	struct span claims;
	int64_t n = 0;

	(void)state;
	assert_non_null(k);
	buf_init(&out, 8192);
	assert_int_equal(jwt_client_assertion(k, "me\"", "https://as", jti, 1000, &out), 0);
	claims = decoded(&b, buf_span(&out), 1);
	assert_int_equal(json_scan(claims.p, claims.n, &scan), JSON_OK);
	assert_true(json_string_is(json_get(claims, "iss"), "me\""));
	assert_true(json_string_is(json_get(claims, "sub"), "me\""));
	assert_true(json_string_is(json_get(claims, "aud"), "https://as"));
	assert_true(json_int(json_get(claims, "iat"), &n) && n == 1000);
	assert_true(json_int(json_get(claims, "exp"), &n) && n == 1300);
	assert_int_equal(json_type(json_get(claims, "jti")), '"');
	buf_fini(&b);
	buf_fini(&out);
	jwt_key_free(k);
}

static void a_proof_fits_the_request_and_the_token(void **state)
{
	static const unsigned char jti[16] = "0123456789abcdef";
	unsigned char sig[64], pk[32];
	struct jwt_key *k = jwt_key_parse(SPAN_LIT(ed25519_pem), NULL, NULL);
	struct buf out, b, x;
	struct json_scan scan;
	struct span text, signed_part;

	(void)state;
	assert_non_null(k);
	buf_init(&out, 8192);
	assert_int_equal(jwt_dpop_proof(k, "POST", "https://h/mcp?q=1#f", SPAN_LIT("token"), SPAN_LIT("n1"), jti, 1000, &out), 0);
	text = decoded(&b, buf_span(&out), 0);
	assert_int_equal(json_scan(text.p, text.n, &scan), JSON_OK);
	assert_true(json_string_is(json_get(text, "typ"), "dpop+jwt"));
	assert_false(json_get(json_get(text, "jwk"), "d").p != NULL);
	buf_init(&x, 64);
	text = json_path(text, "jwk", "x", NULL);
	assert_int_equal(jwt_base64url_decode(&x, span_make(text.p + 1, text.n - 2)), 0);
	memcpy(pk, buf_data(&x), sizeof pk);
	buf_fini(&x);
	buf_fini(&b);
	text = decoded(&b, buf_span(&out), 1);
	assert_int_equal(json_scan(text.p, text.n, &scan), JSON_OK);
	assert_true(json_string_is(json_get(text, "htu"), "https://h/mcp"));
	assert_true(json_string_is(json_get(text, "htm"), "POST"));
	assert_true(json_string_is(json_get(text, "nonce"), "n1"));
	/* SHA-256("token"), URL alphabet */
	assert_true(json_string_is(json_get(text, "ath"), "PEaenWxYddN6Q_NT1PiOYfz4EsZu7jRXRlpAsNpBU-A"));
	buf_fini(&b);
	text = decoded(&b, buf_span(&out), 2);
	assert_int_equal(text.n, sizeof sig);
	memcpy(sig, text.p, sizeof sig);
	signed_part = span_make(buf_data(&out), (size_t)(part(buf_span(&out), 2).p - 1 - buf_data(&out)));
	assert_int_equal(crypto_sign_verify_detached(sig, (const unsigned char *)signed_part.p, signed_part.n, pk), 0);
	buf_fini(&b);
	buf_reset(&out);
	assert_int_equal(jwt_dpop_proof(k, "GET", "https://h/", SPAN_NONE, SPAN_NONE, jti, 1000, &out), 0);
	text = decoded(&b, buf_span(&out), 1);
	assert_null(json_get(text, "ath").p);
	assert_null(json_get(text, "nonce").p);
	buf_fini(&b);
	buf_fini(&out);
	jwt_key_free(k);
}

static int start_sodium(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_published_ed25519_example_comes_out_the_same),
		cmocka_unit_test(keys_are_recognised),
		cmocka_unit_test(a_seed_is_all_there_is_to_a_key),
		cmocka_unit_test(a_client_assertion_says_who_and_for_whom),
		cmocka_unit_test(a_proof_fits_the_request_and_the_token),
	};

	return cmocka_run_group_tests(tests, start_sodium, NULL);
}
