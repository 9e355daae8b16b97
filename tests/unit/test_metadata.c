/* Discovery documents, where they are looked for, and which URLs are trusted. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <string.h>

#include "auth/metadata.h"

static void resources_match_the_server_or_its_parents_only(void **state)
{
	static const struct { const char *resource, *mcp; bool ok; } rows[] = {
		{ "https://h/mcp", "https://h/mcp", true },
		{ "https://h/", "https://h/mcp", true },
		{ "https://h", "https://h/mcp", true },
		{ "https://H:443/mcp", "https://h/mcp", true },
		{ "https://h/mcp/", "https://h/mcp", true },
		{ "https://h/a", "https://h/a/b", true },
		{ "https://h/a/b", "https://h/a", false },
		{ "https://h/mc", "https://h/mcp", false },
		{ "https://h/other", "https://h/mcp", false },
		{ "https://evil/mcp", "https://h/mcp", false },
		{ "http://h/mcp", "https://h/mcp", false },
		{ "https://h:8443/mcp", "https://h/mcp", false },
		{ "https://h/mcp#x", "https://h/mcp", false },
		{ "https://h/mcp?tenant=a", "https://h/mcp", false },
		{ "https://h/mcp?tenant=a", "https://h/mcp?tenant=a", true },
		{ "https://h/mcp", "https://h/mcp?tenant=a", true },
		{ "https://user@h/mcp", "https://h/mcp", false },
		{ "mcp", "https://h/mcp", false },
		{ "urn:x:y", "https://h/mcp", false },
	};
	struct url mcp;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(url_parse(&mcp, rows[i].mcp, NULL), 0);
		if (prm_resource_matches(rows[i].resource, &mcp) != rows[i].ok)
			fail_msg("%s for %s", rows[i].resource, rows[i].mcp);
		url_fini(&mcp);
	}
}

static void resource_metadata_is_read(void **state)
{
	struct url mcp;
	struct prm p;

	(void)state;
	assert_int_equal(url_parse(&mcp, "https://h/mcp", NULL), 0);
	assert_int_equal(prm_parse(&p, SPAN_LIT(" {\"resource\":\"https://h/mcp\",\"authorization_servers\":[1,\"\",\"https://as/t\",\"https://b\"],"
		"\"scopes_supported\":[\"a\",\"b c\",7,\"d\"]} "), &mcp, NULL), 0);
	assert_string_equal(p.resource, "https://h/mcp");
	assert_string_equal(p.issuer, "https://as/t");
	assert_string_equal(p.scopes, "a d");
	prm_fini(&p);
	assert_int_equal(prm_parse(&p, SPAN_LIT("{\"resource\":\"https://h\",\"scopes_supported\":[]}"), &mcp, NULL), 0);
	assert_null(p.issuer);
	assert_null(p.scopes);
	prm_fini(&p);
	url_fini(&mcp);
}

static void resource_metadata_of_others_and_rubbish_are_told_apart(void **state)
{
	struct url mcp;
	struct prm p;
	struct err e;

	(void)state;
	assert_int_equal(url_parse(&mcp, "https://h/mcp", NULL), 0);
	assert_int_equal(prm_parse(&p, SPAN_LIT("<html>"), &mcp, &e), -1);
	assert_int_equal(prm_parse(&p, SPAN_LIT("[]"), &mcp, &e), -1);
	assert_int_equal(prm_parse(&p, SPAN_LIT(""), &mcp, &e), -1);
	assert_int_equal(prm_parse(&p, SPAN_LIT("{\"resource\":\"https://evil/mcp\",\"authorization_servers\":[\"https://as\"]}"), &mcp, &e), -2);
	assert_int_equal(prm_parse(&p, SPAN_LIT("{\"authorization_servers\":[\"https://as\"]}"), &mcp, &e), -2);
	assert_int_equal(prm_parse(&p, SPAN_LIT("{\"resource\":\"https://h/mcp\\u0000\"}"), &mcp, &e), -2);
	assert_null(p.resource);
	url_fini(&mcp);
}

static void server_metadata_is_read(void **state)
{
	struct as_meta m;

	(void)state;
	assert_int_equal(as_meta_parse(&m, SPAN_LIT("{\"issuer\":\"https://as/t\",\"authorization_endpoint\":\"https://as/a\","
		"\"token_endpoint\":\"https://as/t\",\"registration_endpoint\":\"https://as/r\",\"code_challenge_methods_supported\":[\"plain\",\"S256\"],"
		"\"token_endpoint_auth_methods_supported\":[\"none\",\"private_key_jwt\"],\"scopes_supported\":[\"x\",\"offline_access\"],"
		"\"client_id_metadata_document_supported\":true,\"authorization_response_iss_parameter_supported\":true,"
		"\"dpop_signing_alg_values_supported\":[\"ES256\"]}"), "https://as/t", NULL), 0);
	assert_true(m.s256 && m.cimd && m.iss_parameter && m.offline_access);
	assert_int_equal(m.methods, AUTH_METHOD_NONE | AUTH_METHOD_JWT);
	assert_int_equal(m.dpop_algs, AUTH_ALG_ES256);
	assert_string_equal(m.registration_endpoint, "https://as/r");
	as_meta_fini(&m);
}

static void an_issuer_must_be_the_same_byte_for_byte(void **state)
{
	static const char *const others[] = { "https://AS/t", "https://as/t/", "https://as:443/t", "https://as/%74", "https://as" };
	struct as_meta m;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof others / sizeof *others; i++)
		assert_int_equal(as_meta_parse(&m, SPAN_LIT("{\"issuer\":\"https://as/t\",\"token_endpoint\":\"https://as/x\"}"), others[i], NULL), -2);
	assert_int_equal(as_meta_parse(&m, SPAN_LIT("{\"token_endpoint\":\"https://as/x\"}"), "https://as", NULL), -2);
	assert_int_equal(as_meta_parse(&m, SPAN_LIT("{\"issuer\":\"https://as\"}"), "https://as", NULL), -2);
	assert_int_equal(as_meta_parse(&m, SPAN_LIT("nothing"), "https://as", NULL), -1);
}

static void wrong_types_are_as_good_as_absent(void **state)
{
	struct as_meta m;

	(void)state;
	assert_int_equal(as_meta_parse(&m, SPAN_LIT("{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/x\",\"code_challenge_methods_supported\":\"S256\","
		"\"client_id_metadata_document_supported\":\"true\",\"registration_endpoint\":7,\"scopes_supported\":{\"offline_access\":1}}"), "https://as", NULL), 0);
	assert_false(m.s256 || m.cimd || m.offline_access);
	assert_null(m.registration_endpoint);
	as_meta_fini(&m);
}

static void check_locations(bool server, const char *base, const char *const *want)
{
	struct url u;
	struct buf b;
	int n;

	assert_int_equal(url_parse(&u, base, NULL), 0);
	for (n = 0; want[n]; n++) {
		buf_init(&b, 4096);
		assert_int_equal((server ? as_location : prm_location)(&u, n, &b), 1);
		assert_string_equal(buf_data(&b), want[n]);
		assert_int_equal(b.len, strlen(want[n]));
		buf_fini(&b);
	}
	buf_init(&b, 4096);
	assert_int_equal((server ? as_location : prm_location)(&u, n, &b), 0);
	buf_fini(&b);
	url_fini(&u);
}

static void well_known_addresses_come_in_the_specified_order(void **state)
{
	static const char *const resource[] = { "https://h/.well-known/oauth-protected-resource/public/mcp",
		"https://h/.well-known/oauth-protected-resource", NULL };
	static const char *const root[] = { "https://h:8443/.well-known/oauth-protected-resource", NULL };
	static const char *const tenant[] = { "https://as/.well-known/oauth-authorization-server/t1",
		"https://as/.well-known/openid-configuration/t1", "https://as/t1/.well-known/openid-configuration", NULL };
	static const char *const plain[] = { "https://as/.well-known/oauth-authorization-server",
		"https://as/.well-known/openid-configuration", NULL };

	(void)state;
	check_locations(false, "https://h/public/mcp", resource);
	check_locations(false, "https://h:8443/", root);
	check_locations(true, "https://as/t1", tenant);
	check_locations(true, "https://as/t1/", tenant);
	check_locations(true, "https://as", plain);
}

static void only_safe_addresses_are_used(void **state)
{
	static const struct { const char *url, *mcp; bool allow_http, ok; } rows[] = {
		{ "https://as/x", "https://h/mcp", false, true },
		{ "http://as/x", "https://h/mcp", false, false },
		{ "http://as/x", "https://h/mcp", true, true },
		{ "file:///etc/passwd", "https://h/mcp", true, false },
		{ "javascript:alert(1)", "https://h/mcp", true, false },
		{ "https://as/x#f", "https://h/mcp", false, false },
		{ "https://u:p@as/x", "https://h/mcp", false, false },
		{ "http://127.0.0.1:9/x", "https://h/mcp", false, false },
		{ "https://localhost/x", "https://h/mcp", false, false },
		{ "http://127.0.0.1:9/x", "http://localhost:8/mcp", false, true },
		{ "https://10.0.0.1/x", "https://h/mcp", false, false },
		{ "https://169.254.169.254/latest", "https://h/mcp", false, false },
		{ "https://10.0.0.1/x", "https://10.2.3.4/mcp", false, true },
		{ "https://192.168.1.1/x", "http://127.0.0.1/mcp", false, true },
		{ "", "https://h/mcp", false, false },
		{ "/relative", "https://h/mcp", false, false },
	};
	struct url mcp;
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(url_parse(&mcp, rows[i].mcp, NULL), 0);
		if ((endpoint_check(NULL, rows[i].url, &mcp, rows[i].allow_http, &e) == 0) != rows[i].ok)
			fail_msg("%s from %s", rows[i].url, rows[i].mcp);
		url_fini(&mcp);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resources_match_the_server_or_its_parents_only),
		cmocka_unit_test(resource_metadata_is_read),
		cmocka_unit_test(resource_metadata_of_others_and_rubbish_are_told_apart),
		cmocka_unit_test(server_metadata_is_read),
		cmocka_unit_test(an_issuer_must_be_the_same_byte_for_byte),
		cmocka_unit_test(wrong_types_are_as_good_as_absent),
		cmocka_unit_test(well_known_addresses_come_in_the_specified_order),
		cmocka_unit_test(only_safe_addresses_are_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
