/* Latencies and counters by name: exact where they can be, bounded always. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "report/stats.h"
#include "report/text.h"

static void edges_rise_and_hold_the_published_ones(void **state)
{
	(void)state;
	for (size_t i = 1; i < HIST_EDGES; i++)
		assert_true(hist_edge[i] > hist_edge[i - 1]);
	for (size_t i = 0; i < HIST_PUBLISHED; i++) {
		size_t k = 0;
		while (k < HIST_EDGES && hist_edge[k] != hist_published[i])
			k++;
		assert_true(k < HIST_EDGES);
	}
}

static void a_value_on_an_edge_counts_below_it(void **state)
{
	struct hist h = { 0 };

	(void)state;
	for (size_t i = 0; i < HIST_EDGES; i++) {
		hist_add(&h, hist_edge[i]);
		assert_int_equal(hist_at_most(&h, hist_edge[i]), i + 1);
	}
	hist_add(&h, INT64_MAX / 4);
	assert_int_equal(hist_at_most(&h, hist_edge[HIST_EDGES - 1]), HIST_EDGES);
	assert_int_equal(h.bucket[HIST_EDGES], 1);
}

static void quantiles_are_near_the_truth(void **state)
{
	struct hist h = { 0 };

	(void)state;
	assert_int_equal(hist_quantile(&h, 0.5), -1);
	for (int64_t ms = 1; ms <= 1000; ms++)
		hist_add(&h, ms);
	assert_in_range(hist_quantile(&h, 0.5), 450, 550);
	assert_in_range(hist_quantile(&h, 0.95), 900, 1000);
	assert_in_range(hist_quantile(&h, 0.99), 950, 1000);
	assert_int_equal(h.max_ms, 1000);
}

static void no_quantile_is_above_the_largest_value(void **state)
{
	static const int64_t values[] = { 0, 1, 7, 101, 86001, 4000000, INT64_MAX / 4 };
	(void)state;

	for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
		struct hist h = { 0 };
		hist_add(&h, values[i]);
		assert_true(hist_quantile(&h, 0.5) <= values[i]);
		assert_int_equal(hist_quantile(&h, 0.99999), values[i] > 3600000 ? hist_quantile(&h, 0.99999) : values[i]);
	}
}

static void ten_thousand_tools_stay_within_the_bound(void **state)
{
	struct stats s;
	char name[32];
	uint64_t sum = 0;

	(void)state;
	stats_init(&s);
	for (int i = 0; i < 10000; i++) {
		snprintf(name, sizeof(name), "\"tool%d\"", i);
		stats_on_answer(&s, SPAN_LIT("tools/call"), span_str(name), 5, OUTCOME_OK, 0);
		snprintf(name, sizeof(name), "method%d", i);
		stats_on_answer(&s, span_str(name), SPAN_NONE, 5, OUTCOME_ERROR, -32000 - i);
	}
	assert_true(s.n <= STATS_METHODS + STATS_TOOLS + 2);
	for (size_t i = 0; i < s.n; i++)
		sum += s.list[i]->latency.count;
	assert_int_equal(sum, 20000);
	assert_int_equal(s.all.count, 20000);
	assert_int_equal(s.ncodes, STATS_CODES);
	assert_int_equal(s.codes[STATS_CODES].count, 10000 - STATS_CODES);
	stats_fini(&s);
}

static void a_tool_is_found_under_its_decoded_name(void **state)
{
	struct stats s;

	(void)state;
	stats_init(&s);
	stats_on_answer(&s, SPAN_LIT("tools/call"), SPAN_LIT("\"echo\""), 1, OUTCOME_OK, 0);
	stats_on_answer(&s, SPAN_LIT("tools/call"), SPAN_LIT("\"e\\u0063ho\""), 1, OUTCOME_TOOL_ERROR, 0);
	stats_on_answer(&s, SPAN_LIT("tools/call"), SPAN_NONE, 1, OUTCOME_OK, 0);
	assert_int_equal(s.n, 2);
	assert_string_equal(s.list[0]->tool, "echo");
	assert_int_equal(s.list[0]->latency.count, 2);
	assert_int_equal(s.list[0]->outcomes[OUTCOME_TOOL_ERROR], 1);
	assert_string_equal(s.list[1]->tool, "");
	stats_fini(&s);
}

static void a_long_name_is_cut_between_characters(void **state)
{
	struct stats s;
	char name[200] = "";

	(void)state;
	stats_init(&s);
	for (int i = 0; i < 40; i++)
		strcat(name, "\xe2\x82\xac");
	stats_on_answer(&s, span_str(name), SPAN_NONE, 1, OUTCOME_OK, 0);
	assert_int_equal(strlen(s.list[0]->method), 63);
	stats_fini(&s);
}

static void causes_of_drops_are_counted_apart_and_bounded(void **state)
{
	struct stats s;
	char why[300];

	(void)state;
	stats_init(&s);
	stats_on_drop(&s, "HTTP 502");
	stats_on_drop(&s, "HTTP 502");
	stats_on_drop(&s, "HTTP 50");
	assert_int_equal(s.causes[0].count, 2);
	assert_int_equal(s.causes[1].count, 1);
	for (int i = 0; i < 100; i++) {
		snprintf(why, sizeof(why), "%d%0200d", i, i);
		stats_on_drop(&s, why);
	}
	assert_int_equal(s.ncauses, STATS_CAUSES);
	stats_on_return(&s, 1234);
	assert_int_equal(s.outages.count, 1);
	stats_fini(&s);
}

static void durations_and_sizes_read_well(void **state)
{
	static const struct { int64_t ms; const char *text; } d[] = {
		{ -1, "-" }, { 0, "0ms" }, { 999, "999ms" }, { 1000, "1.0s" }, { 59999, "59.9s" }, { 60000, "1m00s" },
		{ 3599999, "59m59s" }, { 3600000, "1h00m" }, { 86400000, "1d00h" },
		{ 86400000LL * 100 - 1, "99d23h" }, { 86400000LL * 100, "100d" }, { INT64_MAX, "ages" },
	}, k[] = { { -1, "-" }, { 0, "0K" }, { 999, "999K" }, { 1024, "1.0M" }, { 11264, "11.0M" }, { 1048576, "1.0G" } };
	char out[TEXT_SHORT];

	(void)state;
	for (size_t i = 0; i < sizeof(d) / sizeof(*d); i++) {
		text_duration(out, d[i].ms);
		assert_string_equal(out, d[i].text);
	}
	for (size_t i = 0; i < sizeof(k) / sizeof(*k); i++) {
		text_size(out, k[i].ms);
		assert_string_equal(out, k[i].text);
	}
}

static void hostile_text_is_harmless_on_a_terminal(void **state)
{
	static const struct { const char *in; size_t width; const char *clean, *column; } t[] = {
		{ "plain", 8, "plain", "plain   " },
		{ "longer than that", 6, "longe~", "longe~" },
		{ "\x1b[31mred\n", 20, "?[31mred?", "?[31mred?           " },
		{ "\xc2\x9b" "31m", 6, "??31m", "??31m " },
		{ "\xe2\x80\xae" "abc", 7, "???abc", "???abc " },
		{ "\xff\xfe", 3, "??", "?? " },
		{ "\xe2\x82\xac\xe2\x82\xac", 2, "\xe2\x82\xac\xe2\x82\xac", "\xe2\x82\xac\xe2\x82\xac" },
		{ "", 2, "", "  " },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 1024);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&b);
		assert_int_equal(text_clean(&b, span_str(t[i].in), t[i].width), 0);
		assert_true(span_is(buf_span(&b), t[i].clean));
		buf_reset(&b);
		assert_int_equal(text_column(&b, span_str(t[i].in), t[i].width), 0);
		assert_true(span_is(buf_span(&b), t[i].column));
	}
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(edges_rise_and_hold_the_published_ones),
		cmocka_unit_test(a_value_on_an_edge_counts_below_it),
		cmocka_unit_test(quantiles_are_near_the_truth),
		cmocka_unit_test(no_quantile_is_above_the_largest_value),
		cmocka_unit_test(ten_thousand_tools_stay_within_the_bound),
		cmocka_unit_test(a_tool_is_found_under_its_decoded_name),
		cmocka_unit_test(a_long_name_is_cut_between_characters),
		cmocka_unit_test(causes_of_drops_are_counted_apart_and_bounded),
		cmocka_unit_test(durations_and_sizes_read_well),
		cmocka_unit_test(hostile_text_is_harmless_on_a_terminal),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
