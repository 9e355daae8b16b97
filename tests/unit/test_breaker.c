/* The circuit breaker, with a variable for a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/breaker.h"

static struct breaker_config config(void)
{
	return (struct breaker_config){ .threshold = 5, .hold_ms = 25000 };
}

static void fail_n(struct breaker *b, int n, int64_t now)
{
	for (int i = 0; i < n; i++)
		breaker_on_failure(b, now, false);
}

static void the_breaker_needs_failures_in_a_row_and_an_old_outage(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	fail_n(&b, 50, 1000);
	assert_false(breaker_refuses(&b)); /* many, but young */
	assert_false(breaker_on_failure(&b, 26000, false)); /* exactly as old as the hold time */
	assert_true(breaker_on_failure(&b, 26001, false));
	assert_true(breaker_refuses(&b));

	breaker_init(&b, c);
	fail_n(&b, 1, 1000);
	for (int i = 0; i < 3; i++)
		assert_false(breaker_on_failure(&b, 100000 + i, false)); /* old, but few */
	assert_true(breaker_on_failure(&b, 100004, false));
}

static void used_up_retries_stand_for_an_old_outage(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	fail_n(&b, 3, 1000);
	assert_false(breaker_on_failure(&b, 1001, true)); /* only four */
	assert_true(breaker_on_failure(&b, 1002, true));
}

static void half_of_ten_attempts_open_it_and_old_ones_do_not_count(void **state)
{
	struct breaker_config c = config();
	struct breaker b;
	int64_t t = 1000;

	(void)state;
	/* Five answered, two refused, one answered, then three refused: half of
	 * eleven, though never five in a row. */
	c.threshold = 100;
	breaker_init(&b, c);
	for (int i = 0; i < 5; i++)
		breaker_on_success(&b, t++);
	fail_n(&b, 5, t++);
	breaker_on_success(&b, t++);
	assert_false(breaker_on_failure(&b, t, false));
	assert_true(breaker_on_failure(&b, t + 25001, false));

	/* The same facts spread so that the window has lost the early ones. */
	breaker_init(&b, c);
	t = 1000;
	for (int i = 0; i < 5; i++)
		breaker_on_success(&b, t++);
	fail_n(&b, 5, t++);
	t += 60001;
	assert_false(breaker_on_failure(&b, t, false));
	assert_false(breaker_on_failure(&b, t + 25001, false));

	/* Nine are too few even when all failed. */
	breaker_init(&b, c);
	fail_n(&b, 8, 1000);
	assert_false(breaker_on_failure(&b, 27000, false));
	assert_true(breaker_on_failure(&b, 27001, false));

	/* Less than half. */
	breaker_init(&b, c);
	for (int i = 0; i < 12; i++)
		breaker_on_success(&b, 1000);
	fail_n(&b, 10, 1001);
	assert_false(breaker_on_failure(&b, 27001, false));
}

static void the_probe_decides_between_closed_and_open(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	breaker_on_probe(&b);
	assert_int_equal(b.state, BREAKER_CLOSED); /* nothing to probe */
	fail_n(&b, 5, 1000);
	assert_true(breaker_on_failure(&b, 30000, false));
	assert_false(breaker_on_failure(&b, 30001, false)); /* a straggler */
	breaker_on_probe(&b);
	assert_int_equal(b.state, BREAKER_HALF_OPEN);
	assert_true(breaker_refuses(&b)); /* one at a time: the probe itself */
	assert_true(breaker_on_failure(&b, 31000, false));
	assert_int_equal(b.state, BREAKER_OPEN);
	breaker_on_probe(&b);
	assert_true(breaker_on_success(&b, 32000));
	assert_false(breaker_refuses(&b));
	assert_false(breaker_on_success(&b, 32001));
	/* What failed during the old outage does not open it again. */
	fail_n(&b, 4, 33000);
	assert_false(breaker_refuses(&b));
	assert_false(breaker_on_failure(&b, 34000, false));
}

static void a_probe_that_tells_nothing_leaves_it_open_for_the_next(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	c.cooldown_ms = 7000;
	breaker_init(&b, c);
	breaker_on_silence(&b);
	assert_int_equal(b.state, BREAKER_CLOSED);
	fail_n(&b, 5, 1000);
	breaker_on_failure(&b, 30000, false);
	breaker_on_probe(&b);
	breaker_on_silence(&b);
	assert_int_equal(b.state, BREAKER_OPEN);
	assert_int_equal(breaker_probe_at(&b), 37000); /* no longer than before */
	breaker_on_probe(&b);
	assert_true(breaker_on_success(&b, 38000));
}

static void an_answer_to_an_older_request_closes_an_open_breaker(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	fail_n(&b, 5, 1000);
	breaker_on_failure(&b, 30000, false);
	assert_true(breaker_on_success(&b, 30500));
	assert_false(breaker_refuses(&b));
}

static void the_cooldown_paces_the_probe_and_stragglers_do_not_prolong_it(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	fail_n(&b, 5, 1000);
	breaker_on_failure(&b, 30000, false);
	assert_int_equal(breaker_probe_at(&b), 0);

	c.cooldown_ms = 7000;
	breaker_init(&b, c);
	assert_int_equal(breaker_probe_at(&b), 0);
	fail_n(&b, 5, 1000);
	breaker_on_failure(&b, 30000, false);
	assert_int_equal(breaker_probe_at(&b), 37000);
	breaker_on_failure(&b, 31000, false);
	assert_int_equal(breaker_probe_at(&b), 37000);
	breaker_on_probe(&b);
	assert_int_equal(breaker_probe_at(&b), 0);
	breaker_on_failure(&b, 38000, false);
	assert_int_equal(breaker_probe_at(&b), 45000);
}

static void a_threshold_of_zero_turns_the_breaker_off(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	c.threshold = 0;
	breaker_init(&b, c);
	for (int64_t t = 1; t < 1000000; t += 1000)
		assert_false(breaker_on_failure(&b, t, true));
	breaker_on_probe(&b);
	assert_false(breaker_refuses(&b));
	assert_false(breaker_on_success(&b, 1));
}

static void a_clock_that_steps_back_does_not_open_the_breaker(void **state)
{
	struct breaker_config c = config();
	struct breaker b;

	(void)state;
	breaker_init(&b, c);
	fail_n(&b, 20, INT64_MAX - 5);
	assert_false(breaker_on_failure(&b, 10, false));
	assert_false(breaker_on_failure(&b, 25010, false));
	assert_true(breaker_on_failure(&b, 25011, false));
}

static void every_state_has_its_name(void **state)
{
	(void)state;
	assert_string_equal(breaker_state_name(BREAKER_CLOSED), "closed");
	assert_string_equal(breaker_state_name(BREAKER_OPEN), "open");
	assert_string_equal(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_breaker_needs_failures_in_a_row_and_an_old_outage),
		cmocka_unit_test(used_up_retries_stand_for_an_old_outage),
		cmocka_unit_test(half_of_ten_attempts_open_it_and_old_ones_do_not_count),
		cmocka_unit_test(the_probe_decides_between_closed_and_open),
		cmocka_unit_test(a_probe_that_tells_nothing_leaves_it_open_for_the_next),
		cmocka_unit_test(an_answer_to_an_older_request_closes_an_open_breaker),
		cmocka_unit_test(the_cooldown_paces_the_probe_and_stragglers_do_not_prolong_it),
		cmocka_unit_test(a_threshold_of_zero_turns_the_breaker_off),
		cmocka_unit_test(a_clock_that_steps_back_does_not_open_the_breaker),
		cmocka_unit_test(every_state_has_its_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
