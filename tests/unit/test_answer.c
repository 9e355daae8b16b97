/* The errors the bridge makes itself. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/answer.h"

static struct span written(struct buf *out, const struct own_error *e)
{
	buf_init(out, 65536);
	assert_int_equal(answer_write(out, SPAN_LIT("7"), e), 0);
	return buf_span(out);
}

static bool holds(struct span s, const char *what) { return memmem(s.p, s.n, what, strlen(what)) != NULL; }

static void each_kind_has_a_name_a_code_outside_the_reserved_range_and_advice(void **state)
{
	(void)state;
	for (int k = 0; k < ERROR_KINDS; k++) {
		struct own_error e = { .kind = (enum error_kind)k, .what = "Something happened", .retry_after_ms = -1, .attempts = 1 };
		struct rpc_msg m;
		struct buf out;
		struct span s = written(&out, &e);
		int64_t code = 0;
		bool retryable;

		rpc_parse(s.p, s.n, &m);
		assert_int_equal(m.kind, RPC_ERROR);
		assert_true(span_is(m.id, "7"));
		assert_true(rpc_error_code(&m, &code));
		assert_true(code > -32000 || code < -32768);
		assert_true(json_string_is(json_path(m.error, "data", "kind", NULL), error_kind_name((enum error_kind)k)));
		assert_true(json_string_is(json_path(m.error, "data", "source", NULL), "mcp-holdfast"));
		assert_true(json_bool(json_path(m.error, "data", "retryable", NULL), &retryable));
		assert_int_equal(retryable, error_kind_retryable((enum error_kind)k));
		assert_false(json_path(m.error, "data", "retryAfterMs", NULL).p);
		assert_true(json_get(m.error, "message").n > 40);
		buf_fini(&out);
	}
}

static void a_tool_call_gets_the_text_as_a_result_that_is_an_error(void **state)
{
	struct own_error e = { .kind = ERR_OUTCOME_UNKNOWN, .what = "The connection was lost", .tool = true, .has_run_state = true,
		.may_have_run = true, .retry_after_ms = -1, .attempts = 1, .ref = "0123abcd" };
	struct rpc_msg m;
	struct buf out;
	struct span s = written(&out, &e);
	bool is_error = false;

	(void)state;
	rpc_parse(s.p, s.n, &m);
	assert_int_equal(m.kind, RPC_RESULT);
	assert_true(json_bool(json_get(m.result, "isError"), &is_error) && is_error);
	assert_true(holds(s, "The connection was lost. The action may have taken effect."));
	assert_true(holds(s, "\"ref\":\"0123abcd\""));
	assert_true(holds(s, "(ref 0123abcd)"));
	buf_fini(&out);
}

static void the_text_tells_of_attempts_waiting_and_whether_it_ran(void **state)
{
	static const struct { struct own_error e; const char *has, *has_not; } rows[] = {
		{ { .what = "W", .retry_after_ms = -1, .attempts = 3 }, "W (tried 3 times).", "taken effect" },
		{ { .what = "W", .retry_after_ms = -1, .attempts = 1 }, "W.", "tried" },
		{ { .what = "W. V.", .retry_after_ms = -1, .attempts = 1 }, "W. V. ", ".." },
		{ { .what = "W", .retry_after_ms = 1500, .attempts = 1 }, "may be tried again in 2 s.", NULL },
		{ { .what = "W", .retry_after_ms = -1, .has_run_state = true }, "The action was not carried out.", "may have" },
		{ { .what = "W", .retry_after_ms = -1, .next = "Do this" }, " Do this.", "in the background" },
		{ { .kind = ERR_AUTH_REQUIRED, .what = "W", .retry_after_ms = -1 }, "repeating the request before that will not help", "again in" },
		{ { .kind = ERR_AUTH_REQUIRED, .what = "W", .retry_after_ms = 9000 }, "again in 9 s. Go on with other work", "will not help" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct buf out;

		buf_init(&out, 4096);
		assert_int_equal(answer_text(&out, &rows[i].e), 0);
		assert_true(holds(buf_span(&out), rows[i].has));
		assert_false(rows[i].has_not && holds(buf_span(&out), rows[i].has_not));
		buf_fini(&out);
	}
}

static void a_full_buffer_and_quotes_in_the_text_are_survived(void **state)
{
	struct own_error e = { .kind = ERR_TIMEOUT, .what = "He said \"no\"\nand \\ left", .tool = true, .retry_after_ms = -1 };
	struct rpc_msg m;
	struct buf out;
	struct span s = written(&out, &e);

	(void)state;
	rpc_parse(s.p, s.n, &m);
	assert_int_equal(m.kind, RPC_RESULT);
	assert_false(m.has_newline || memchr(s.p, '\n', s.n));
	buf_fini(&out);
	buf_init(&out, 50);
	assert_int_equal(answer_write(&out, SPAN_LIT("7"), &e), -1);
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_kind_has_a_name_a_code_outside_the_reserved_range_and_advice),
		cmocka_unit_test(a_tool_call_gets_the_text_as_a_result_that_is_an_error),
		cmocka_unit_test(the_text_tells_of_attempts_waiting_and_whether_it_ran),
		cmocka_unit_test(a_full_buffer_and_quotes_in_the_text_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
