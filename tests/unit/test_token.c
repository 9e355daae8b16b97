/* Token answers, requests and scopes; the kept record and its JSON form. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "auth/metadata.h"
#include "auth/record.h"
#include "auth/token.h"

static void answers_are_judged(void **state)
{
	static const struct { const char *body; int status; enum token_result want; int64_t expires; const char *type; } rows[] = {
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\"}", 200, TOKEN_OK, -1, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"bearer\",\"expires_in\":3600}", 200, TOKEN_OK, 3600, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"DPOP\",\"expires_in\":\"60\"}", 200, TOKEN_OK, 60, "DPoP" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":99999999999999}", 200, TOKEN_OK, TOKEN_MAX_EXPIRES, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":9999999999999999999999}", 200, TOKEN_OK, TOKEN_MAX_EXPIRES, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":null,\"refresh_token\":null}", 200, TOKEN_OK, -1, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":-1}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":0}", 200, TOKEN_OK, -1, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":\"soon\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":[]}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":\"60s\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":\"\"}", 200, TOKEN_OK, -1, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":3599.87}", 200, TOKEN_OK, 3599, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":\"3599.0\"}", 200, TOKEN_OK, 3599, "Bearer" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"expires_in\":36e2}", 200, TOKEN_OK, 3600, "Bearer" },
		{ "{\"access_token\":\"t\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"mac\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":7}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\",\"refresh_token\":\"\",\"id_token\":\"\",\"scope\":\"\"}", 200, TOKEN_OK, -1, "Bearer" },
		{ "{\"access_token\":\"\",\"token_type\":\"Bearer\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"a\\r\\nX: y\",\"token_type\":\"Bearer\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"token_type\":\"Bearer\"}", 200, TOKEN_BAD, 0, "" },
		{ "{\"access_token\":\"t\",\"token_type\":\"Bearer\"}", 500, TOKEN_BAD, 0, "" },
		{ "<html>", 200, TOKEN_BAD, 0, "" },
		{ "", 502, TOKEN_BAD, 0, "" },
		{ "{\"error\":\"invalid_grant\"}", 400, TOKEN_REFUSED, 0, "" },
		{ "{\"error\":\"bad\\u0007_code\"}", 200, TOKEN_REFUSED, 0, "" },
	};
	struct token_answer t;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		enum token_result r = token_answer_read(&t, rows[i].status, span_str(rows[i].body), &e);

		if (r != rows[i].want)
			fail_msg("%s: %d", rows[i].body, r);
		if (r == TOKEN_OK) {
			assert_true(span_is(secret_reveal(t.access), "t"));
			assert_int_equal(t.expires_in, rows[i].expires);
			assert_string_equal(t.type, rows[i].type);
		}
		if (r == TOKEN_REFUSED)
			assert_true(strcmp(t.error, "invalid_grant") == 0 || strcmp(t.error, "bad_code") == 0);
		token_answer_fini(&t);
	}
}

static void an_exchange_must_give_an_id_jag(void **state)
{
	struct token_answer t;
	struct err e;

	(void)state;
	assert_int_equal(token_exchange_read(&t, 200, SPAN_LIT("{\"access_token\":\"j\",\"issued_token_type\":"
		"\"urn:ietf:params:oauth:token-type:id-jag\",\"token_type\":\"N_A\"}"), &e), TOKEN_OK);
	assert_true(span_is(secret_reveal(t.issued), "j"));
	token_answer_fini(&t);
	assert_int_equal(token_exchange_read(&t, 200, SPAN_LIT("{\"access_token\":\"j\",\"issued_token_type\":"
		"\"urn:ietf:params:oauth:token-type:access_token\",\"token_type\":\"Bearer\"}"), &e), TOKEN_BAD);
}

static void the_authentication_method_is_chosen(void **state)
{
	static const struct { const char *given; unsigned listed; bool secret, key; const char *want; } rows[] = {
		{ NULL, 0, false, false, "none" },
		{ NULL, 0, true, false, "client_secret_basic" },
		{ NULL, AUTH_METHOD_POST, true, false, "client_secret_post" },
		{ NULL, AUTH_METHOD_POST | AUTH_METHOD_BASIC, true, false, "client_secret_basic" },
		{ NULL, AUTH_METHOD_NONE, true, false, "none" },
		{ NULL, AUTH_METHOD_BASIC, false, false, "none" },
		{ "client_secret_post", AUTH_METHOD_BASIC, true, false, "client_secret_post" },
		{ "client_secret_post", 0, false, false, "none" },
		{ "none", AUTH_METHOD_BASIC, true, false, "none" },
		{ NULL, 0, true, true, "private_key_jwt" },
		{ "tls_client_auth", AUTH_METHOD_POST, true, false, "client_secret_post" },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_string_equal(token_auth_choose(rows[i].given, rows[i].listed, rows[i].secret, rows[i].key), rows[i].want);
}

static void basic_credentials_are_form_encoded_first(void **state)
{
	struct secret *s = secret_new("p:w d%", 6);
	struct token_client c = { .id = "a b", .secret = s, .method = "client_secret_basic" };
	struct buf body, header;

	(void)state;
	buf_init(&body, 4096);
	buf_init(&header, 4096);
	assert_int_equal(token_client_add(&c, &body, &header), 0);
	assert_int_equal(body.len, 0);
	/* a%20b:p%3Aw%20d%25 */
	assert_true(span_is(buf_span(&header), "Authorization: Basic YSUyMGI6cCUzQXclMjBkJTI1"));
	buf_reset(&header);
	c.method = "client_secret_post";
	assert_int_equal(token_client_add(&c, &body, &header), 0);
	assert_true(span_is(buf_span(&body), "client_id=a%20b&client_secret=p%3Aw%20d%25"));
	assert_int_equal(header.len, 0);
	buf_reset(&body);
	c.method = "none";
	assert_int_equal(token_client_add(&c, &body, &header), 0);
	assert_true(span_is(buf_span(&body), "client_id=a%20b"));
	buf_fini(&body);
	buf_fini(&header);
	secret_free(s);
}

static void scopes_are_sets(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(scope_add(&b, SPAN_LIT("  read  write read ")), 0);
	assert_int_equal(scope_add(&b, SPAN_NONE), 0);
	assert_int_equal(scope_add(&b, SPAN_LIT("write admin")), 0);
	assert_true(span_is(buf_span(&b), "read write admin"));
	assert_true(scope_has(buf_span(&b), "admin"));
	assert_false(scope_has(buf_span(&b), "adm"));
	assert_true(scope_covers(buf_span(&b), SPAN_LIT("admin read")));
	assert_true(scope_covers(buf_span(&b), SPAN_NONE));
	assert_false(scope_covers(buf_span(&b), SPAN_LIT("admin other")));
	buf_fini(&b);
}

static void a_record_survives_writing_and_reading(void **state)
{
	struct auth_record a, b, c;
	struct buf text;
	struct err e;

	(void)state;
	auth_record_init(&a);
	assert_int_equal(auth_set(&a.issuer, SPAN_LIT("https://as/\"q\"")), 0);
	assert_int_equal(auth_set_secret(&a.access, SPAN_LIT("to\\ken")), 0);
	assert_int_equal(auth_set_secret(&a.refresh, SPAN_LIT("r")), 0);
	a.expires = INT64_C(1234567890123);
	a.redirect_port = 54321;
	a.dpop_alg = 1;
	memset(a.dpop_seed, 0xA5, sizeof a.dpop_seed);
	buf_init(&text, RECORD_MAX);
	assert_int_equal(auth_record_write(&a, &text), 0);
	assert_int_equal(auth_record_read(&b, buf_span(&text), &e), 0);
	assert_int_equal(auth_record_copy(&c, &b), 0);
	assert_string_equal(c.issuer, a.issuer);
	assert_true(span_is(secret_reveal(c.access), "to\\ken"));
	assert_true(span_is(secret_reveal(c.refresh), "r"));
	assert_int_equal(c.expires, a.expires);
	assert_int_equal(c.redirect_port, 54321);
	assert_memory_equal(c.dpop_seed, a.dpop_seed, sizeof a.dpop_seed);
	assert_null(c.client_secret);
	auth_record_fini(&a);
	auth_record_fini(&b);
	auth_record_fini(&c);
	buf_fini(&text);
}

static void records_that_make_no_sense_are_refused(void **state)
{
	static const char *const rows[] = { "", "[]", "{}", "{\"v\":2}", "{\"v\":1,\"access\":7}", "{\"v\":1,\"issuer\":\"a\\u0000b\"}",
		"{\"v\":1,\"redirect_port\":70000}", "{\"v\":1,\"dpop_alg\":0}", "{\"v\":1,\"dpop_alg\":0,\"dpop_seed\":\"zz\"}",
		"{\"v\":1,\"expires\":\"x\"}" };
	struct auth_record r;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(auth_record_read(&r, span_str(rows[i]), &e), -1);
	assert_int_equal(auth_record_read(&r, SPAN_LIT("{\"v\":1,\"later\":{}}"), &e), 0);
	auth_record_fini(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_judged),
		cmocka_unit_test(an_exchange_must_give_an_id_jag),
		cmocka_unit_test(the_authentication_method_is_chosen),
		cmocka_unit_test(basic_credentials_are_form_encoded_first),
		cmocka_unit_test(scopes_are_sets),
		cmocka_unit_test(a_record_survives_writing_and_reading),
		cmocka_unit_test(records_that_make_no_sense_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
