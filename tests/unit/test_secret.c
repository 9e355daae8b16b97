/* Secrets. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "base/secret.h"

static void a_secret_is_a_copy_that_ends_in_nul(void **state)
{
	char own[] = "open sesame";
	struct secret *s = secret_new(own, 11);

	(void)state;
	assert_non_null(s);
	memset(own, 'x', sizeof(own));
	assert_true(span_is(secret_reveal(s), "open sesame"));
	assert_int_equal(secret_reveal(s).p[11], '\0');
	secret_free(s);
}

static void secrets_of_every_length_compare_by_their_bytes(void **state)
{
	char bytes[300];

	(void)state;
	memset(bytes, 'a', sizeof(bytes));
	for (size_t n = 0; n < sizeof(bytes); n++) {
		struct secret *s = secret_new(n ? bytes : NULL, n);

		assert_non_null(s);
		assert_int_equal(secret_reveal(s).n, n);
		assert_true(secret_equal(s, span_make(bytes, n)));
		assert_false(secret_equal(s, span_make(bytes, n + 1)));
		if (n > 0) {
			bytes[n - 1] = 'b';
			assert_false(secret_equal(s, span_make(bytes, n)));
			bytes[n - 1] = 'a';
		}
		secret_free(s);
	}
}

static void nothing_is_freed_without_harm_and_too_much_is_refused(void **state)
{
	(void)state;
	secret_free(NULL);
	assert_null(secret_new("x", SIZE_MAX));
	assert_null(secret_new("x", SIZE_MAX / 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_secret_is_a_copy_that_ends_in_nul),
		cmocka_unit_test(secrets_of_every_length_compare_by_their_bytes),
		cmocka_unit_test(nothing_is_freed_without_harm_and_too_much_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
