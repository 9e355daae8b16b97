/* The capped buffer. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/err.h"

static void an_empty_buffer_allocates_nothing(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_null(buf_data(&b));
	assert_int_equal(buf_span(&b).n, 0);
	assert_int_equal(buf_append(&b, NULL, 0), 0);
	assert_int_equal(buf_add(&b, SPAN_NONE), 0);
	assert_int_equal(buf_puts(&b, ""), 0);
	assert_int_equal(buf_printf(&b, "%s", ""), 0);
	assert_int_equal(buf_reserve(&b, 0), 0);
	buf_consume(&b, 0);
	buf_reset(&b);
	buf_wipe(&b);
	assert_null(b.mem);
	buf_fini(&b);
}

static void the_maximum_is_kept_to_the_byte(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 10);
	assert_int_equal(buf_puts(&b, "12345"), 0);
	assert_int_equal(buf_puts(&b, "678901"), -1);
	assert_int_equal(buf_printf(&b, "%d", 678901), -1);
	assert_true(span_is(buf_span(&b), "12345"));
	assert_int_equal(buf_printf(&b, "%d", 67890), 0);
	assert_true(span_is(buf_span(&b), "1234567890"));
	assert_int_equal(buf_append(&b, "x", 1), -1);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -1);
	buf_consume(&b, 3);
	assert_int_equal(buf_puts(&b, "abc"), 0);
	assert_int_equal(buf_puts(&b, "d"), -1);
	assert_true(span_is(buf_span(&b), "4567890abc"));
	buf_fini(&b);
}

static void absurd_sizes_are_refused(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, SIZE_MAX);
	assert_int_equal(buf_reserve(&b, SIZE_MAX), -1);
	assert_int_equal(buf_reserve(&b, SIZE_MAX - 1), -1);
	assert_int_equal(buf_puts(&b, "x"), 0);
	assert_int_equal(buf_reserve(&b, SIZE_MAX - 1), -1);
	assert_true(span_is(buf_span(&b), "x"));
	buf_fini(&b);
}

static void bytes_come_out_as_they_went_in(void **state)
{
	struct buf b;
	unsigned in = 0, out = 0, seed = 7;

	(void)state;
	buf_init(&b, 5000);
	for (int turn = 0; turn < 20000; turn++) {
		unsigned char piece[700];
		size_t n;

		seed = seed * 1103515245 + 12345;
		n = (seed >> 16) % sizeof(piece);
		for (size_t i = 0; i < n; i++)
			piece[i] = (unsigned char)((in + i) * 31);
		if (buf_append(&b, piece, n) == 0)
			in += (unsigned)n;
		else
			assert_true(b.len + n > b.max);
		seed = seed * 1103515245 + 12345;
		n = (seed >> 16) % (b.len + 1);
		for (size_t i = 0; i < n; i++)
			assert_int_equal((unsigned char)buf_data(&b)[i], (unsigned char)((out + i) * 31));
		buf_consume(&b, n);
		out += (unsigned)n;
	}
	assert_int_equal(b.len, in - out);
	buf_fini(&b);
}

static void a_large_block_is_given_back_and_a_small_one_kept(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_reserve(&b, BUF_KEEP - 1), 0);
	assert_int_equal(b.cap, BUF_KEEP);
	assert_int_equal(buf_puts(&b, "x"), 0);
	buf_consume(&b, 1);
	assert_non_null(b.mem);
	assert_int_equal(buf_reserve(&b, BUF_KEEP + 1), 0);
	buf_reset(&b);
	assert_null(b.mem);
	buf_fini(&b);
}

static void growth_of_a_large_body_is_by_halves_at_most(void **state)
{
	static char piece[64 * 1024];
	struct buf b;

	(void)state;
	buf_init(&b, (size_t)64 << 20);
	while (buf_append(&b, piece, sizeof(piece)) == 0)
		assert_true(b.cap <= 8u << 20 || b.cap <= b.len + b.len / 2 + 2 * sizeof(piece));
	assert_int_equal(b.len, b.max);
	buf_fini(&b);
}

static void a_caller_may_write_into_the_tail(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(buf_reserve(&b, 5), 0);
	memcpy(buf_tail(&b), "hello", 5);
	buf_grew(&b, 5);
	assert_true(span_is(buf_span(&b), "hello"));
	buf_fini(&b);
}

static void a_move_takes_the_bytes_and_not_the_maximum(void **state)
{
	struct buf a, b;

	(void)state;
	buf_init(&a, 10);
	buf_init(&b, 20);
	assert_int_equal(buf_puts(&a, "old"), 0);
	assert_int_equal(buf_puts(&b, "??the new"), 0);
	buf_consume(&b, 2);
	buf_move(&a, &b);
	assert_true(span_is(buf_span(&a), "the new"));
	assert_int_equal(a.max, 10);
	assert_int_equal(b.max, 20);
	assert_null(b.mem);
	buf_move(&a, &a);
	assert_true(span_is(buf_span(&a), "the new"));
	buf_fini(&a);
	buf_fini(&b);
}

static void a_wipe_leaves_no_byte(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 100);
	assert_int_equal(buf_puts(&b, "a secret"), 0);
	buf_consume(&b, 2);
	buf_wipe(&b);
	assert_int_equal(b.len, 0);
	for (size_t i = 0; i < b.cap; i++)
		assert_int_equal(b.mem[i], 0);
	buf_fini(&b);
}

static void an_error_is_one_clean_line_that_fits(void **state)
{
	struct err e;
	char big[1000];

	(void)state;
	assert_int_equal(err_set(NULL, "nobody listens"), -1);
	assert_int_equal(err_set(&e, "can not read %s (%d)", "a\nb\x1b[2J\x7f", 5), -1);
	assert_string_equal(e.text, "can not read a b [2J  (5)");
	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = '\0';
	err_set(&e, "%s", big);
	assert_int_equal(strlen(e.text), sizeof(e.text) - 1);
}

static void setting_replaces_and_may_take_from_what_was_held(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b, 8);
	assert_int_equal(buf_set(&b, SPAN_LIT("abcdef")), 0);
	assert_int_equal(buf_set(&b, span_make(buf_data(&b) + 2, 3)), 0);
	assert_true(span_is(buf_span(&b), "cde"));
	assert_int_equal(buf_set(&b, SPAN_LIT("too long for it")), -1);
	assert_true(span_is(buf_span(&b), "cde"));
	assert_int_equal(buf_set(&b, SPAN_NONE), 0);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_empty_buffer_allocates_nothing),
		cmocka_unit_test(the_maximum_is_kept_to_the_byte),
		cmocka_unit_test(absurd_sizes_are_refused),
		cmocka_unit_test(bytes_come_out_as_they_went_in),
		cmocka_unit_test(a_large_block_is_given_back_and_a_small_one_kept),
		cmocka_unit_test(growth_of_a_large_body_is_by_halves_at_most),
		cmocka_unit_test(a_caller_may_write_into_the_tail),
		cmocka_unit_test(a_move_takes_the_bytes_and_not_the_maximum),
		cmocka_unit_test(a_wipe_leaves_no_byte),
		cmocka_unit_test(an_error_is_one_clean_line_that_fits),
		cmocka_unit_test(setting_replaces_and_may_take_from_what_was_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
