/* Only well-formed trace context is read, and only that reaches a header. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "wire/trace.h"

#define TRACE "0af7651916cd43dd8448eb211c80319c"
#define SPAN "b7ad6b7169203331"

static void a_traceparent_is_read_or_refused_whole(void **state)
{
	static const struct { const char *text; bool good, sampled; } t[] = {
		{ "00-" TRACE "-" SPAN "-01", true, true },
		{ "00-" TRACE "-" SPAN "-00", true, false },
		{ "00-" TRACE "-" SPAN "-03", true, true },
		{ "cc-" TRACE "-" SPAN "-01-what-the-future-brings", true, true },
		{ "cc-" TRACE "-" SPAN "-01.what", false, false },
		{ "00-" TRACE "-" SPAN "-01-more", false, false },
		{ "ff-" TRACE "-" SPAN "-01", false, false },
		{ "00-00000000000000000000000000000000-" SPAN "-01", false, false },
		{ "00-" TRACE "-0000000000000000-01", false, false },
		{ "00-0AF7651916CD43DD8448EB211C80319C-" SPAN "-01", false, false },
		{ "00-" TRACE "-" SPAN "-0", false, false },
		{ "00-" TRACE "-" SPAN "_01", false, false },
		{ "", false, false },
	};
	struct trace_parent got;

	(void)state;
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		assert_int_equal(trace_parse(span_str(t[i].text), &got), t[i].good);
		if (t[i].good) {
			assert_string_equal(got.trace, TRACE);
			assert_string_equal(got.span, SPAN);
			assert_int_equal(got.sampled, t[i].sampled);
		}
	}
}

static void headers_carry_what_meta_says_and_nothing_else(void **state)
{
	static const struct { const char *meta, *lines; } t[] = {
		{ "{\"traceparent\":\"00-" TRACE "-" SPAN "-01\"}", "traceparent: 00-" TRACE "-" SPAN "-01\n" },
		{ "{\"tracestate\":\"a=b,c=d\",\"traceparent\":\"00-" TRACE "-" SPAN "-01\"}",
		  "traceparent: 00-" TRACE "-" SPAN "-01\ntracestate: a=b,c=d\n" },
		{ "{\"tracestate\":\"a=b\"}", "" },
		{ "{\"traceparent\":\"00-" TRACE "-" SPAN "-01\\r\\nX: y\"}", "" },
		{ "{\"traceparent\":\"cc-" TRACE "-" SPAN "-01-\xc3\xa4\"}", "" },
		{ "{\"traceparent\":\"00-" TRACE "-" SPAN "-01\",\"tracestate\":\"a=\xc3\xa4\"}", "traceparent: 00-" TRACE "-" SPAN "-01\n" },
		{ "{\"traceparent\":7}", "" },
		{ "{}", "" },
		{ "[]", "" },
		{ "null", "" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, 4096);
	for (size_t i = 0; i < sizeof(t) / sizeof(*t); i++) {
		buf_reset(&b);
		assert_int_equal(trace_headers(span_str(t[i].meta), &b), 0);
		assert_true(span_is(buf_span(&b), t[i].lines));
	}
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_traceparent_is_read_or_refused_whole),
		cmocka_unit_test(headers_carry_what_meta_says_and_nothing_else),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
