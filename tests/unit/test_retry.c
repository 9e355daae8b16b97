/* The randomness, the backoff, Retry-After and the rate limit, with a variable
 * for a clock. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/backoff.h"
#include "base/bucket.h"
#include "base/retry_after.h"
#include "base/rng.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static struct backoff_config config(void)
{
	return (struct backoff_config){ .initial_ms = 1000, .max_ms = 30000, .multiplier = 2, .jitter = JITTER_FULL };
}

/* ---- randomness ---- */

static void the_same_seed_gives_the_same_numbers_and_another_seed_others(void **state)
{
	struct rng a, b, c;

	(void)state;
	rng_seed(&a, 7);
	rng_seed(&b, 7);
	rng_seed(&c, 8);
	for (int i = 0; i < 1000; i++) {
		uint64_t x = rng_next(&a);

		assert_true(x == rng_next(&b));
		assert_true(x != rng_next(&c));
	}
}

static void rng_unit_stays_in_its_range_and_covers_it(void **state)
{
	struct rng r;
	double sum = 0, lo = 1, hi = 0;

	(void)state;
	rng_seed(&r, 0);
	for (int i = 0; i < 100000; i++) {
		double u = rng_unit(&r);

		assert_true(u >= 0 && u < 1);
		sum += u;
		lo = u < lo ? u : lo;
		hi = u > hi ? u : hi;
	}
	assert_true(sum > 49000 && sum < 51000);
	assert_true(lo < 0.001 && hi > 0.999);
}

/* ---- backoff ---- */

static void each_jitter_draws_from_its_own_range(void **state)
{
	static const struct { enum jitter jitter; int64_t lo[8], hi[8]; } cases[] = {
		{ JITTER_FULL, { 0 }, { 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000 } },
		{ JITTER_EQUAL, { 500, 1000, 2000, 4000, 8000, 15000, 15000, 15000 },
		                { 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000 } },
		{ JITTER_NONE, { 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000 },
		               { 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000 } },
	};
	struct backoff_config c = config();
	struct rng r;

	(void)state;
	rng_seed(&r, 1);
	for (size_t i = 0; i < N(cases); i++) {
		int64_t least[8], most[8] = { 0 };

		for (int k = 0; k < 8; k++)
			least[k] = INT64_MAX;
		c.jitter = cases[i].jitter;
		for (int round = 0; round < 2000; round++) {
			struct backoff b;

			backoff_init(&b, c);
			for (int k = 0; k < 8; k++) {
				int64_t d = backoff_next(&b, &r, 5000) - 5000;

				assert_in_range(d, cases[i].lo[k], cases[i].hi[k]);
				least[k] = d < least[k] ? d : least[k];
				most[k] = d > most[k] ? d : most[k];
			}
		}
		for (int k = 0; k < 8; k++) { /* and the whole range is used */
			assert_true(least[k] <= cases[i].lo[k] + cases[i].hi[k] / 100);
			assert_true(most[k] >= cases[i].hi[k] - cases[i].hi[k] / 100);
		}
	}
}

static void absurd_settings_stay_within_the_maximum(void **state)
{
	static const struct { int64_t initial, max; double mult; unsigned attempt; int64_t top; } cases[] = {
		{ 1000, 30000, 1e300, 4000000000u, 30000 },
		{ 1000, 30000, 2, UINT32_MAX, 30000 },
		{ 1000, 30000, 0, 5, 10 },
		{ 1000, 30000, 0.5, 4000000000u, 10 },
		{ 0, 30000, 1e300, 4000000000u, 10 },
		{ -5, 30000, 2, 3, 10 },
		{ 1000, 0, 2, 3, 10 },
		{ 1000, -1, 2, 3, 10 },
		{ INT64_MAX, INT64_MAX, 1e300, 9, INT64_MAX },
		{ 1000, 500, 1, 0, 500 },
	};
	static const enum jitter kinds[] = { JITTER_FULL, JITTER_EQUAL, JITTER_NONE };
	struct rng r;

	(void)state;
	rng_seed(&r, 2);
	for (size_t i = 0; i < N(cases); i++) {
		for (size_t k = 0; k < N(kinds); k++) {
			struct backoff_config c = config();
			struct backoff b;
			int64_t at;

			c.initial_ms = cases[i].initial;
			c.max_ms = cases[i].max;
			c.multiplier = cases[i].mult;
			c.jitter = kinds[k];
			backoff_init(&b, c);
			b.attempt = cases[i].attempt;
			at = backoff_next(&b, &r, 10);
			assert_true(at >= 10);
			assert_true(at - 10 <= cases[i].top);
			assert_true(b.attempt >= cases[i].attempt);
		}
	}
}

static void a_retry_after_is_a_floor_with_a_little_jitter_above_it(void **state)
{
	static const struct { int64_t delay, floor, top; } cases[] = {
		{ 40000, 40000, 44000 },
		{ 120000, 120000, 125000 },
		{ RETRY_AFTER_MAX_MS, RETRY_AFTER_MAX_MS, RETRY_AFTER_MAX_MS + 5000 },
		{ INT64_MAX, RETRY_AFTER_MAX_MS, RETRY_AFTER_MAX_MS + 5000 },
		{ 10, 10, 1000 },   /* the backoff's own step is longer */
		{ 0, 0, 1000 },
		{ -1, 0, 1000 },
	};
	static const enum jitter kinds[] = { JITTER_FULL, JITTER_EQUAL, JITTER_NONE };
	struct backoff_config c = config();
	struct rng r;

	(void)state;
	rng_seed(&r, 3);
	for (size_t i = 0; i < N(cases); i++) {
		for (size_t k = 0; k < N(kinds); k++) {
			int64_t first = 0;
			bool spread = false;

			c.jitter = kinds[k];
			for (int n = 0; n < 200; n++) {
				struct backoff b;
				int64_t d;

				backoff_init(&b, c);
				backoff_floor(&b, cases[i].delay, 1000);
				d = backoff_next(&b, &r, 1000) - 1000;
				assert_in_range(d, cases[i].floor, cases[i].top);
				first = n ? first : d;
				spread |= d != first;
			}
			assert_true(spread || cases[i].delay <= 10);
		}
	}
}

static void of_two_retry_afters_the_further_one_stands(void **state)
{
	struct backoff_config c = config();
	struct backoff b;
	struct rng r;

	(void)state;
	rng_seed(&r, 4);
	backoff_init(&b, c);
	backoff_floor(&b, 60000, 1000);
	backoff_floor(&b, 5000, 2000);
	assert_int_equal(b.floor_until, 61000);
	backoff_floor(&b, 80000, 3000);
	assert_int_equal(b.floor_until, 83000);
	/* Once it has passed it no longer counts. */
	assert_in_range(backoff_next(&b, &r, 83000), 83000, 84000);
	backoff_reset(&b);
	assert_int_equal(b.attempt, 0);
	assert_int_equal(b.floor_until, 0);
	assert_in_range(backoff_next(&b, &r, 84000), 84000, 85000);
}

static void the_first_retry_after_starts_the_step_over_and_later_ones_do_not(void **state)
{
	static const int64_t top[] = { 3300, 4000, 8000, 16000, 30000, 30000 };
	struct backoff_config c = config();
	struct rng r;

	(void)state;
	rng_seed(&r, 5);
	for (int round = 0; round < 2000; round++) {
		struct backoff b;

		backoff_init(&b, c);
		for (int i = 0; i < 40; i++)
			backoff_next(&b, &r, 1);
		backoff_floor(&b, 3000, 1000);
		assert_in_range(backoff_next(&b, &r, 1000), 4000, 4300);
		assert_int_equal(b.attempt, 41); /* what --max-retries counts goes on */
		for (size_t i = 0; i < N(top); i++) {
			b.floor_until = 0;
			backoff_floor(&b, 3000, 10000);
			assert_in_range(backoff_next(&b, &r, 10000), 13000, 10000 + top[i]);
		}
		backoff_reset(&b);
		assert_in_range(backoff_next(&b, &r, 20000), 20000, 21000);
	}
}

static void a_curt_retry_after_does_not_start_the_step_over(void **state)
{
	static const struct { int64_t delay, want; } cases[] = {
		{ 0, 8000 }, { 1000, 8000 }, { 2000, 8000 }, { 2001, 2001 },
	};
	struct backoff_config c = config();
	struct rng r;

	(void)state;
	c.jitter = JITTER_NONE;
	rng_seed(&r, 6);
	for (size_t i = 0; i < N(cases); i++) {
		struct backoff b;

		backoff_init(&b, c);
		b.attempt = 3;
		backoff_floor(&b, cases[i].delay, 0);
		assert_in_range(backoff_next(&b, &r, 0), cases[i].want, cases[i].want + cases[i].want / 10);
	}
}

static void who_waits_gets_an_attempt_soon_and_one_before_his_time_ends(void **state)
{
	struct backoff_config c = config();
	int64_t at, first = INT64_MAX, last = 0;
	struct rng r;

	(void)state;
	rng_seed(&r, 3);
	for (int i = 0; i < 10000; i++) {
		at = backoff_held(&c, &r, 100000, 100500, 25000, 125000);
		assert_true(at >= 100500 && at <= 102500);
		at = backoff_held(&c, &r, 100000, 106000, 25000, 125000);
		assert_true(at >= 106000 && at <= 118000);
		at = backoff_held(&c, &r, 100000, 118000, 25000, 125000);
		assert_true(at >= 118000 && at < 125000);
		if (at > 118750) {
			first = at < first ? at : first;
			last = at > last ? at : last;
		}
		at = backoff_held(&c, &r, 100000, 120000, 25000, 0); /* it has had that one */
		assert_true(at >= 120000 && at <= 160000);
	}
	assert_true(first < 118900 && last > 124400); /* the whole quarter, for the sake of the others */
	c.initial_ms = 9000;
	c.jitter = JITTER_NONE;
	assert_true(backoff_held(&c, &r, 100000, 100500, 25000, 125000) == 109500);
}

static void a_backoff_made_for_one_failure_does_not_start_over(void **state)
{
	struct backoff_config c = config();
	struct backoff b;
	struct rng r;

	(void)state;
	c.jitter = JITTER_NONE;
	rng_seed(&r, 6);
	backoff_init(&b, c);
	b.attempt = 3;
	b.told = true;
	backoff_floor(&b, 5000, 0);
	assert_int_equal(backoff_next(&b, &r, 0), 8000);
	b.attempt = 0; /* set from outside: never below the first step */
	b.eased = 4;
	assert_int_equal(backoff_next(&b, &r, 9000), 10000);
}

static void a_floor_from_a_clock_that_stepped_back_is_replaced(void **state)
{
	struct backoff_config c = config();
	struct backoff b;

	(void)state;
	backoff_init(&b, c);
	backoff_floor(&b, 60000, (int64_t)1000 * 1000 * 1000 * 1000);
	backoff_floor(&b, 5000, 100);
	assert_int_equal(b.floor_until, 5100);
}

/* ---- Retry-After ---- */

static void retry_after_is_read_in_all_its_forms(void **state)
{
	const int64_t now = 784111777; /* Sun, 06 Nov 1994 08:49:37 GMT */
	const int64_t y2026 = 1795000000;
	const struct { const char *text; int64_t wall, want; } cases[] = {
		{ "0", now, 0 },
		{ "120", now, 120000 },
		{ " \t 7 \t", now, 7000 },
		{ "000000000000000000000000000007", now, 7000 },
		{ "3600", now, RETRY_AFTER_MAX_MS },
		{ "3601", now, RETRY_AFTER_MAX_MS },
		{ "99999999999999999999999999999999999", now, RETRY_AFTER_MAX_MS },
		{ "99999999999999999999999999999999999x", now, -1 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", now, 0 },
		{ "Sun, 06 Nov 1994 08:49:38 GMT", now, 1000 },
		{ "  Sun, 06 Nov 1994 08:50:37 GMT ", now, 60000 },
		{ "Sunday, 06-Nov-94 08:50:37 GMT", now, 60000 },
		{ "Sun Nov  6 08:50:37 1994", now, 60000 },
		{ "Wed Nov 16 08:50:37 1994", now, RETRY_AFTER_MAX_MS },
		{ "Sat, 05 Nov 1994 08:49:37 GMT", now, 0 },
		{ "Fri, 31 Dec 9999 23:59:59 GMT", now, RETRY_AFTER_MAX_MS },
		{ "Mon, 01 Jan 0001 00:00:00 GMT", now, 0 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", INT64_MIN, RETRY_AFTER_MAX_MS },
		{ "Sun, 06 Nov 1994 08:49:37 GMT", INT64_MAX, 0 },
		{ "Sunday, 06-Nov-94 08:49:37 GMT", INT64_MIN, RETRY_AFTER_MAX_MS },
		{ "Thu, 29 Feb 2024 00:00:10 GMT", 1709164800, 10000 },
		{ "Fri, 01 Mar 2024 00:00:10 GMT", 1709251200, 10000 },
		{ "Tue, 31 Dec 2024 23:59:60 GMT", 1735689590, 10000 },
		/* The year's century: 1994 is past in 2026, 76 is ahead, 77 is 1977. */
		{ "Sunday, 06-Nov-94 08:49:37 GMT", y2026, 0 },
		{ "Sunday, 06-Nov-76 08:49:37 GMT", y2026, RETRY_AFTER_MAX_MS },
		{ "Sunday, 06-Nov-77 08:49:37 GMT", y2026, 0 },
		{ "Friday, 20-Nov-26 00:00:00 GMT", 1795132790, 10000 },
		{ "", now, -1 },
		{ "   ", now, -1 },
		{ "-1", now, -1 },
		{ "+1", now, -1 },
		{ "1e99", now, -1 },
		{ "1.5", now, -1 },
		{ "1 2", now, -1 },
		{ "abc", now, -1 },
		{ "12abc", now, -1 },
		{ "0x10", now, -1 },
		{ "soon", now, -1 },
		{ "Sun", now, -1 },
		{ "Sun,", now, -1 },
		{ "Sunday", now, -1 },
		{ "Sun, 06 Nov 1994 08:49:37", now, -1 },
		{ "Sun, 06 Nov 1994 08:49:37 GMT+1", now, -1 },
		{ "Sun, 06 Nov 1994 08:49:37 CET", now, -1 },
		{ "Sun, 6 Nov 1994 08:49:37 GMT", now, -1 },
		{ "Sun, 00 Nov 1994 08:49:37 GMT", now, -1 },
		{ "Sun, 31 Nov 1994 08:49:37 GMT", now, -1 },
		{ "Tue, 29 Feb 2023 08:49:37 GMT", now, -1 },
		{ "Thu, 29 Feb 1900 08:49:37 GMT", now, -1 },
		{ "Sun, 06 Nov 1994 24:00:00 GMT", now, -1 },
		{ "Sun, 06 Nov 1994 08:60:00 GMT", now, -1 },
		{ "Sun, 06 Nov 1994 08:49:61 GMT", now, -1 },
		{ "Sun, 06 Nov 0000 08:49:37 GMT", now, -1 },
		{ "Sun, 06 Nov 19945 08:49:37 GMT", now, -1 },
		{ "Sun, 06 Nox 1994 08:49:37 GMT", now, -1 },
		{ "Sunday, 06-Nov-1994 08:49:37 GMT", now, -1 },
		{ "Sun Nov 6 08:49:37 1994", now, -1 },
		{ "Sun Nov  6 08:49:37 1994 GMT", now, -1 },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int64_t got = retry_after_parse(span_str(cases[i].text), cases[i].wall);

		if (got != cases[i].want)
			fail_msg("\"%s\": %lld, not %lld", cases[i].text, (long long)got, (long long)cases[i].want);
	}
	assert_int_equal(retry_after_parse(SPAN_NONE, now), -1);
}

/* ---- rate limit ---- */

static void the_bucket_gives_its_burst_and_then_its_rate(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 10, 5, 1000);
	for (int i = 0; i < 5; i++)
		assert_int_equal(bucket_take(&b, 1000), 0);
	assert_int_equal(bucket_take(&b, 1000), 100);
	assert_int_equal(bucket_take(&b, 1050), 50); /* asking takes nothing */
	assert_int_equal(bucket_take(&b, 1100), 0);
	assert_int_equal(bucket_take(&b, 1100), 100);
	for (int i = 0; i < 5; i++) /* never more than the burst */
		assert_int_equal(bucket_take(&b, 1000000), 0);
	assert_true(bucket_take(&b, 1000000) > 0);
}

static void over_a_long_time_the_bucket_keeps_its_rate(void **state)
{
	static const double rates[] = { 0.3, 1, 3, 7, 1000.0 / 60, 999 };

	(void)state;
	for (size_t i = 0; i < N(rates); i++) {
		struct bucket b;
		int64_t t = 0;
		int taken = 0;

		bucket_init(&b, rates[i], 1, 0);
		while (t < 100000) {
			int64_t w = bucket_take(&b, t);

			taken += w == 0;
			t += w;
		}
		assert_true(taken <= rates[i] * 100 + 1);
		/* Waits are whole milliseconds, which costs at most one for each. */
		assert_true(taken >= 100000 / (1000 / rates[i] + 1) - 1);
	}
}

static void absurd_rates_are_bounded(void **state)
{
	static const struct { double rate, burst; bool unlimited; } cases[] = {
		{ 0, 5, true }, { -1, 5, true }, { 1e-300, 0, false }, { 1, -7, false },
		{ 1e300, 1e300, false }, { 1, 0.2, false },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct bucket b;

		bucket_init(&b, cases[i].rate, cases[i].burst, 0);
		assert_int_equal(bucket_take(&b, 0), 0);
		for (int n = 0; n < 10; n++)
			assert_true(bucket_take(&b, 0) >= 0);
		assert_true(!cases[i].unlimited || bucket_take(&b, 0) == 0);
	}
}

static void a_clock_that_steps_back_gives_no_tokens(void **state)
{
	struct bucket b;

	(void)state;
	bucket_init(&b, 1, 1, 1000000);
	assert_int_equal(bucket_take(&b, 1000000), 0);
	assert_int_equal(bucket_take(&b, 5), 1000);
	assert_int_equal(bucket_take(&b, 1005), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_seed_gives_the_same_numbers_and_another_seed_others),
		cmocka_unit_test(rng_unit_stays_in_its_range_and_covers_it),
		cmocka_unit_test(each_jitter_draws_from_its_own_range),
		cmocka_unit_test(absurd_settings_stay_within_the_maximum),
		cmocka_unit_test(a_retry_after_is_a_floor_with_a_little_jitter_above_it),
		cmocka_unit_test(of_two_retry_afters_the_further_one_stands),
		cmocka_unit_test(the_first_retry_after_starts_the_step_over_and_later_ones_do_not),
		cmocka_unit_test(a_curt_retry_after_does_not_start_the_step_over),
		cmocka_unit_test(who_waits_gets_an_attempt_soon_and_one_before_his_time_ends),
		cmocka_unit_test(a_backoff_made_for_one_failure_does_not_start_over),
		cmocka_unit_test(a_floor_from_a_clock_that_stepped_back_is_replaced),
		cmocka_unit_test(retry_after_is_read_in_all_its_forms),
		cmocka_unit_test(the_bucket_gives_its_burst_and_then_its_rate),
		cmocka_unit_test(over_a_long_time_the_bucket_keeps_its_rate),
		cmocka_unit_test(absurd_rates_are_bounded),
		cmocka_unit_test(a_clock_that_steps_back_gives_no_tokens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
