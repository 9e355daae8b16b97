/* Messages: what each text is, which ids are one id, and what can still be
 * learned from a line that can not be parsed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "wire/jsonrpc.h"

#define BUF_MAX ((size_t)1 << 16)
#define V "\"jsonrpc\":\"2.0\""

static void assert_buf(struct buf *b, const char *want)
{
	assert_int_equal(b->len, strlen(want));
	assert_memory_equal(buf_span(b).p, want, b->len);
	buf_reset(b);
}

static const struct {
	const char *text;
	enum rpc_kind kind;
	const char *id; /* NULL: none is given */
} cases[] = {
	{ "{" V ",\"id\":1,\"method\":\"ping\"}", RPC_REQUEST, "1" },
	{ " {\"method\":\"m\",\"id\":\"a\\u0062\",\"params\":[]," V ",\"x\":0}\n", RPC_REQUEST, "\"a\\u0062\"" },
	{ "{" V ",\"id\":-1.5e3,\"method\":\"m\",\"params\":{}}", RPC_REQUEST, "-1.5e3" },
	{ "{" V ",\"id\":\"\",\"method\":\"\"}", RPC_REQUEST, "\"\"" },
	{ "{\"jsonrpc\":\"\\u0032.0\",\"\\u0069d\":1,\"method\":\"m\"}", RPC_REQUEST, "1" },
	{ "{" V ",\"method\":\"m\"}", RPC_NOTIFICATION, NULL },
	{ "{" V ",\"method\":\"m\",\"params\":{\"id\":1}}", RPC_NOTIFICATION, NULL },
	{ "{" V ",\"id\":1,\"result\":null}", RPC_RESULT, "1" },
	{ "{" V ",\"id\":null,\"result\":{}}", RPC_RESULT, "null" },
	{ "{" V ",\"id\":1,\"error\":{\"code\":1,\"message\":\"\"}}", RPC_ERROR, "1" },
	{ "{" V ",\"id\":null,\"error\":{}}", RPC_ERROR, "null" },
	{ "{" V ",\"error\":{\"code\":-32700,\"message\":\"\"}}", RPC_ERROR, NULL },
	{ "[1]", RPC_BATCH, NULL },
	{ " [ {} ] ", RPC_BATCH, NULL },
	{ "[]", RPC_INVALID, NULL }, { "[ \n]", RPC_INVALID, NULL }, { "{}", RPC_INVALID, NULL },
	{ "1", RPC_INVALID, NULL }, { "\"x\"", RPC_INVALID, NULL }, { "null", RPC_INVALID, NULL },
	{ "{\"id\":1,\"method\":\"m\"}", RPC_INVALID, "1" },
	{ "{\"jsonrpc\":\"1.0\",\"id\":1,\"method\":\"m\"}", RPC_INVALID, "1" },
	{ "{\"jsonrpc\":2.0,\"id\":\"q\",\"method\":\"m\"}", RPC_INVALID, "\"q\"" },
	{ "{" V "," V ",\"id\":1,\"method\":\"m\"}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"id\":2,\"method\":\"m\"}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":1,\"\\u0069d\":1,\"method\":\"m\"}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"method\":\"n\"}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"params\":{},\"params\":{}}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"result\":1,\"result\":2}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":null,\"method\":\"m\"}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":{},\"method\":\"m\"}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":true,\"result\":1}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":[1],\"error\":{}}", RPC_INVALID, NULL },
	{ "{" V ",\"id\":1,\"method\":1}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":null}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"params\":null}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"params\":\"x\"}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"result\":1}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"method\":\"m\",\"error\":{}}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"result\":1,\"error\":{}}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"error\":\"x\"}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1,\"error\":null}", RPC_INVALID, "1" },
	{ "{" V ",\"id\":1}", RPC_INVALID, "1" },
	{ "{" V ",\"result\":1}", RPC_INVALID, NULL },
	{ "", RPC_NOT_JSON, NULL }, { "{" V ",\"id\":1,\"method\":\"m\"", RPC_NOT_JSON, NULL }, { "hello", RPC_NOT_JSON, NULL },
	{ "{" V ",\"id\":1,\"method\":\"\xff\"}", RPC_NOT_JSON, NULL }, { "{\"id\":1}{}", RPC_NOT_JSON, NULL },
};

static void every_text_is_of_one_kind(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct rpc_msg m;
		rpc_parse(cases[i].text, strlen(cases[i].text), &m);
		if (m.kind != cases[i].kind)
			fail_msg("%s: kind %d, not %d", cases[i].text, m.kind, cases[i].kind);
		if (cases[i].id ? !span_is(m.id, cases[i].id) : m.id.p != NULL)
			fail_msg("%s: wrong id", cases[i].text);
		assert_int_equal(m.why != NULL, m.kind == RPC_INVALID || m.kind == RPC_NOT_JSON);
		assert_int_equal(m.status != JSON_OK, m.kind == RPC_NOT_JSON);
	}
}

static void the_parts_of_a_message_are_spans_of_it(void **state)
{
	const char *text = "\t{" V ",\n\"id\":7,\"method\":\"vendor\\/call\",\"params\":{\"a\":[1 ,2]}} ";
	struct rpc_msg m;

	(void)state;
	rpc_parse(text, strlen(text), &m);
	assert_int_equal(m.kind, RPC_REQUEST);
	assert_true(m.has_newline);
	assert_ptr_equal(m.text.p, text + 1);
	assert_int_equal(m.text.n, strlen(text) - 2);
	assert_true(span_is(m.method, "vendor\\/call"));
	assert_true(span_is(m.params, "{\"a\":[1 ,2]}"));
	assert_null(m.result.p);
	assert_null(m.error.p);
}

static void an_error_code_is_a_whole_number_or_none(void **state)
{
	static const struct { const char *text; bool ok; int64_t code; } t[] = {
		{ "{" V ",\"id\":1,\"error\":{\"code\":-32601}}", true, -32601 },
		{ "{" V ",\"id\":1,\"error\":{\"code\":-32601.0}}", true, -32601 },
		{ "{" V ",\"id\":1,\"error\":{\"code\":\"-32601\"}}", false, 0 },
		{ "{" V ",\"id\":1,\"error\":{\"code\":0.5}}", false, 0 },
		{ "{" V ",\"id\":1,\"error\":{}}", false, 0 },
		{ "{" V ",\"id\":1,\"result\":{\"code\":1}}", false, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct rpc_msg m;
		int64_t code = 0;
		rpc_parse(t[i].text, strlen(t[i].text), &m);
		assert_int_equal(rpc_error_code(&m, &code), t[i].ok);
		assert_int_equal(code, t[i].code);
	}
}

static void equal_ids_have_equal_keys(void **state)
{
	static const struct { const char *id, *key; } t[] = {
		{ "1", "n1" }, { "1.0", "n1" }, { "1e0", "n1" }, { "10e-1", "n1" }, { "0.1E+1", "n1" }, { "-1", "n-1" },
		{ "0", "n0" }, { "-0", "n0" }, { "0.0e5", "n0" }, { "100", "n100" }, { "1e2", "n100" }, { "10", "n10" },
		{ "1.5", "n15e-1" }, { "15e-1", "n15e-1" }, { "0.015e2", "n15e-1" },
		{ "12345678901234567890", "n12345678901234567890" }, { "12345678901234567890.0", "n12345678901234567890" },
		{ "1e30", "n1e30" }, { "1000000000000000000000000000000", "n1e30" },
		{ "1e99999999999999999999", "n1e99999999999999999999" }, { "1e99999999999999999998", "n1e99999999999999999998" },
		{ "\"1\"", "s1" }, { "\"\"", "s" }, { "\"a\\u0062\\/\"", "sab/" }, { "\"ab/\"", "sab/" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, BUF_MAX);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(rpc_id_key(span_str(t[i].id), &b), 0);
		assert_buf(&b, t[i].key);
	}
	assert_int_equal(rpc_id_key(SPAN_LIT("null"), &b), -1);
	assert_int_equal(rpc_id_key(SPAN_LIT("{}"), &b), -1);
	assert_int_equal(rpc_id_key(SPAN_NONE, &b), -1);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
	buf_init(&b, 3);
	assert_int_equal(rpc_id_key(SPAN_LIT("\"abc\""), &b), -1);
	assert_int_equal(rpc_id_key(SPAN_LIT("1000"), &b), -1);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

static void large_ids_are_recognised_as_a_double_shows_them(void **state)
{
	(void)state;
	assert_true(rpc_id_same_double(SPAN_LIT("12345678901234567890"), SPAN_LIT("12345678901234567000")));
	assert_true(rpc_id_same_double(SPAN_LIT("9007199254740993"), SPAN_LIT("9007199254740992")));
	assert_true(rpc_id_same_double(SPAN_LIT("1e21"), SPAN_LIT("1000000000000000000000")));
	assert_true(rpc_id_same_double(SPAN_LIT("-0"), SPAN_LIT("0")));
	assert_false(rpc_id_same_double(SPAN_LIT("9007199254740993"), SPAN_LIT("9007199254740990")));
	assert_false(rpc_id_same_double(SPAN_LIT("1e400"), SPAN_LIT("1e400")));
	assert_false(rpc_id_same_double(SPAN_LIT("\"1\""), SPAN_LIT("1")));
	assert_false(rpc_id_same_double(SPAN_NONE, SPAN_NONE));
}

static void answers_are_written_with_the_id_as_it_came(void **state)
{
	struct rpc_msg m;
	struct buf b;
	int64_t code;

	(void)state;
	buf_init(&b, BUF_MAX);
	assert_int_equal(rpc_write_error(&b, SPAN_LIT("1.0"), -32600, SPAN_LIT("a \"b\"\n"), SPAN_LIT("{\"k\":1}")), 0);
	rpc_parse(buf_data(&b), b.len, &m);
	assert_true(m.kind == RPC_ERROR && rpc_error_code(&m, &code) && code == -32600);
	assert_buf(&b, "{\"jsonrpc\":\"2.0\",\"id\":1.0,\"error\":{\"code\":-32600,\"message\":\"a \\\"b\\\"\\n\",\"data\":{\"k\":1}}}");
	assert_int_equal(rpc_write_error(&b, SPAN_NONE, 7, SPAN_LIT(""), SPAN_NONE), 0);
	assert_buf(&b, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":7,\"message\":\"\"}}");
	assert_int_equal(rpc_write_result(&b, SPAN_LIT("\"\\u0061\""), SPAN_LIT("{}")), 0);
	assert_buf(&b, "{\"jsonrpc\":\"2.0\",\"id\":\"\\u0061\",\"result\":{}}");
	buf_fini(&b);
	buf_init(&b, 40);
	assert_int_equal(buf_puts(&b, "x"), 0);
	assert_int_equal(rpc_write_error(&b, SPAN_LIT("1"), 1, SPAN_LIT("long enough not to fit"), SPAN_NONE), -1);
	assert_int_equal(rpc_write_result(&b, SPAN_LIT("1"), SPAN_LIT("\"long enough\"")), -1);
	assert_int_equal(b.len, 1);
	buf_fini(&b);
}

static void an_id_is_found_in_a_broken_line(void **state)
{
	static const struct { const char *line, *id; bool method; } t[] = {
		{ "{" V ",\"id\":7,\"method\":\"m\",\"params\":{\"a\":\"xxxxx", "7", true },
		{ "{" V ",\"method\":\"m\",\"params\":{\"id\":1,\"b\":[{\"id\":2},\"x,\"]},\"id\":\"q\\\"\",", "\"q\\\"\"", true },
		{ " { \"id\" : 7 , x", "7", false }, { "{\"\\u0069d\":1,", "1", false }, { "{\"id\":1}", "1", false },
		{ "{\"id\":7", NULL, false }, { "{\"id\":\"abc", NULL, false }, { "{\"id\":\"abc\"", "\"abc\"", false },
		{ "{\"id\":01,", NULL, false }, { "{\"id\":null,", NULL, false }, { "{\"id\":{\"id\":1},", NULL, false },
		{ "{\"id\":[1,\"id\"],\"method\":\"m\"", NULL, true }, { "{\"id\":\"\xff\",", NULL, false }, { "{\"id\":\"\\x\",", NULL, false },
		{ "{\"id\":1,\"id\":2,", NULL, false }, { "{\"a\":\"id\",\"b\":1,", NULL, false }, { "{\"a\":\"\\\"id\\\":1\",", NULL, false },
		{ "{\"params\":{\"method\":\"x\"},\"id\":5,", "5", false }, { "{\"params\":[\"method\"", NULL, false },
		{ "[{\"id\":1,\"method\":\"m\"}", NULL, false }, { "", NULL, false }, { "\"id\":1", NULL, false }, { "{}\"id\":1,", NULL, false },
		{ "{\"a\" 1,\"id\":3 ", "3", false }, { "{\"id\"", NULL, false }, { "{\"", NULL, false }, { "{\"\\", NULL, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		bool method = false;
		struct span id = rpc_sniff_id(t[i].line, strlen(t[i].line), &method);
		if (t[i].id ? !span_is(id, t[i].id) : id.p != NULL)
			fail_msg("%s: %.*s", t[i].line, (int)id.n, id.p ? id.p : "");
		if (method != t[i].method)
			fail_msg("%s: method", t[i].line);
	}
}

static void names_of_the_protocol_are_known_however_they_are_escaped(void **state)
{
	static const struct { const char *json, *want; } rows[] = {
		{ "\"tools/call\"", "tools/call" }, { "\"tools\\/call\"", "tools/call" }, { "\"to\\u006fls\\u002Fcall\"", "tools/call" },
		{ "\"notifications\\/resources\\/updated\"", "notifications/resources/updated" },
		{ "\"vendor\\/x\"", "vendor\\/x" }, { "\"tools\\\\/call\"", "tools\\\\/call" }, { "\"\"", "" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		assert_true(span_is(rpc_method_name(span_str(rows[i].json)), rows[i].want));
	assert_null(rpc_method_name(SPAN_LIT("7")).p);
	assert_null(rpc_method_name(SPAN_NONE).p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_the_protocol_are_known_however_they_are_escaped),
		cmocka_unit_test(every_text_is_of_one_kind),
		cmocka_unit_test(the_parts_of_a_message_are_spans_of_it),
		cmocka_unit_test(an_error_code_is_a_whole_number_or_none),
		cmocka_unit_test(equal_ids_have_equal_keys),
		cmocka_unit_test(large_ids_are_recognised_as_a_double_shows_them),
		cmocka_unit_test(answers_are_written_with_the_id_as_it_came),
		cmocka_unit_test(an_id_is_found_in_a_broken_line),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
