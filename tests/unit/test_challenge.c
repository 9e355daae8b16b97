/* WWW-Authenticate as servers send it, and as they should not. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "auth/challenge.h"

struct row {
	const char *text;
	bool bearer, dpop;
	const char *resource_metadata, *scope, *error, *description; /* NULL: absent */
};

static const struct row rows[] = {
	{ "", false, false, NULL, NULL, NULL, NULL },
	{ "Bearer", true, false, NULL, NULL, NULL, NULL },
	{ "bearer", true, false, NULL, NULL, NULL, NULL },
	{ "Bearer realm=\"x\"", true, false, NULL, NULL, NULL, NULL },
	{ "Bearer scope=\"a b\", resource_metadata=\"https://h/p\"", true, false, "https://h/p", "a b", NULL, NULL },
	{ "Bearer resource_metadata=https://h/p?x=1, scope=a", true, false, "https://h/p?x=1", "a", NULL, NULL },
	{ "Bearer RESOURCE_METADATA = \"u\" , Error=\"insufficient_scope\"", true, false, "u", NULL, "insufficient_scope", NULL },
	{ "Basic realm=\"a, Bearer scope=\\\"no\\\"\", Bearer scope=yes", true, false, NULL, "yes", NULL, NULL },
	{ "Negotiate YIIabc==, Bearer error=\"invalid_token\"", true, false, NULL, NULL, "invalid_token", NULL },
	{ "Negotiate, Basic realm=x, Bearer scope=s", true, false, NULL, "s", NULL, NULL },
	{ "Bearer scope=s, Basic realm=x, error=no", true, false, NULL, "s", NULL, NULL },
	{ "Bearer error_description=\"say \\\"hi\\\" \\\\ there\"", true, false, NULL, NULL, NULL, "say \"hi\" \\ there" },
	{ "DPoP error=\"use_dpop_nonce\", algs=\"ES256\", resource_metadata=\"r\"", false, true, "r", NULL, "use_dpop_nonce", NULL },
	{ "DPoP scope=d, Bearer scope=b", true, true, NULL, "b", NULL, NULL },
	{ "Bearer scope=b, DPoP scope=d, DPoP error=e", true, true, NULL, "b", "e", NULL },
	{ "Bearer scope=one, Bearer scope=two", true, false, NULL, "one", NULL, NULL },
	{ ",, ,Bearer ,, scope=s,,", true, false, NULL, "s", NULL, NULL },
	{ "Bearer scope=\"\"", true, false, NULL, "", NULL, NULL },
	{ "Bearer scope=a\r\n error=b", true, false, NULL, "a", "b", NULL },
	{ "Bearer scope=\"never ends", true, false, NULL, NULL, NULL, NULL },
	{ "Bearer scope=\"ends in escape\\", true, false, NULL, NULL, NULL, NULL },
	{ "Bearer scope=", true, false, NULL, NULL, NULL, NULL },
	{ "=, Bearer scope=s", false, false, NULL, NULL, NULL, NULL },
	{ "Bearer scope=s, \"junk\", error=e", true, false, NULL, "s", NULL, NULL },
};

static void check(struct span got, const char *want)
{
	if (!want) {
		assert_null(got.p);
		return;
	}
	assert_non_null(got.p);
	assert_true(span_is(got, want));
}

static void every_row_is_read_as_it_says(void **state)
{
	struct challenge c;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(challenge_parse(&c, span_str(rows[i].text)), 0);
		assert_int_equal(c.bearer, rows[i].bearer);
		assert_int_equal(c.dpop, rows[i].dpop);
		check(c.resource_metadata, rows[i].resource_metadata);
		check(c.scope, rows[i].scope);
		check(c.error, rows[i].error);
		check(c.error_description, rows[i].description);
		challenge_fini(&c);
	}
}

static void an_absent_header_is_no_challenge(void **state)
{
	struct challenge c;

	(void)state;
	assert_int_equal(challenge_parse(&c, SPAN_NONE), 0);
	assert_false(c.bearer);
	challenge_fini(&c);
}

static void a_header_over_the_limit_is_refused(void **state)
{
	struct challenge c;
	char *big = malloc(CHALLENGE_MAX + 1);

	(void)state;
	assert_non_null(big);
	memset(big, 'a', CHALLENGE_MAX + 1);
	assert_int_equal(challenge_parse(&c, span_make(big, CHALLENGE_MAX + 1)), -1);
	assert_int_equal(challenge_parse(&c, span_make(big, CHALLENGE_MAX)), 0);
	challenge_fini(&c);
	free(big);
}

static void no_cut_of_a_header_harms(void **state)
{
	static const char text[] = "Basic abc==, Bearer scope=\"a \\\" b\", resource_metadata=\"https://h/\", DPoP error=x";
	struct challenge c;
	size_t n;
	char *copy;

	(void)state;
	for (n = 0; n < sizeof text; n++) {
		copy = malloc(n ? n : 1); /* exact size: the sanitizer sees a byte too far */
		assert_non_null(copy);
		memcpy(copy, text, n);
		assert_int_equal(challenge_parse(&c, span_make(copy, n)), 0);
		challenge_fini(&c);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_row_is_read_as_it_says),
		cmocka_unit_test(an_absent_header_is_no_challenge),
		cmocka_unit_test(a_header_over_the_limit_is_refused),
		cmocka_unit_test(no_cut_of_a_header_harms),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
