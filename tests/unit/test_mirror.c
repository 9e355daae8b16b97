/* x-mcp-header: which marks are valid, and what headers a call gets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "core/mirror.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* A tool whose inputSchema has these properties. */
#define TOOL(properties) "{\"name\":\"t\",\"inputSchema\":{\"type\":\"object\",\"properties\":{" properties "}}}"
#define STR(name) "{\"type\":\"string\",\"x-mcp-header\":\"" name "\"}"

static int read_tool(const char *tool, struct mirror_set **out)
{
	const char *reason = NULL;
	int rc = mirror_read(span_str(tool), out, &reason);

	assert_true(rc != 1 || (reason && *reason));
	return rc;
}

static void marks_are_judged_by_the_specification(void **state)
{
	static const struct { const char *tool; int want; } cases[] = {
		/* valid */
		{ TOOL("\"a\":" STR("Region")), 0 },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), 0 },
		{ TOOL("\"a\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"}"), 0 },
		{ TOOL("\"a\":{\"x-mcp-header\":\"!#$%&'*+-.^_`|~09azAZ\",\"type\":\"string\"}"), 0 },
		{ TOOL("\"a\":{\"type\":\"object\",\"properties\":{\"b\":" STR("X") "}}"), 0 },
		{ TOOL("\"a\":{\"type\":[\"string\",\"null\"],\"x-mcp-header\":\"X\"}"), 0 },
		{ TOOL("\"a\":" STR("A") ",\"b\":" STR("B")), 0 },
		{ TOOL("\"a\":{\"\\u0074ype\":\"str\\u0069ng\",\"x-mcp-h\\u0065ader\":\"\\u0041\"}"), 0 },
		/* none at all */
		{ TOOL("\"x-mcp-header\":{\"type\":\"number\"}"), 0 }, /* a parameter of that name */
		{ TOOL("\"a\":{\"type\":\"object\",\"default\":{\"x-mcp-header\":\"\"}}"), 0 },
		{ TOOL("\"a\":{\"enum\":[{\"x-mcp-header\":\"\"}]}"), 0 },
		{ TOOL("\"a\":{\"description\":\"see x-mcp-header\"}"), 0 },
		{ TOOL("\"a\":true,\"b\":7,\"c\":null"), 0 },
		{ "{\"name\":\"t\",\"inputSchema\":{\"$defs\":{\"x-mcp-header\":{\"type\":\"string\"}}}}", 0 },
		{ "{\"name\":\"t\",\"inputSchema\":[{\"x-mcp-header\":\"\"}]}", 0 },
		{ "{\"name\":\"t\",\"inputSchema\":null}", 0 },
		{ "{\"name\":\"t\",\"outputSchema\":{\"x-mcp-header\":\"\"}}", 0 },
		{ "{\"name\":\"t\"}", 0 },
		{ "{}", 0 }, { "[]", 0 }, { "7", 0 }, { "\"x-mcp-header\"", 0 },
		/* names */
		{ TOOL("\"a\":" STR("")), 1 },
		{ TOOL("\"a\":" STR("bad name")), 1 },
		{ TOOL("\"a\":" STR("a:b")), 1 },
		{ TOOL("\"a\":" STR("a\\r\\nb")), 1 },
		{ TOOL("\"a\":" STR("a\\u0000")), 1 },
		{ TOOL("\"a\":" STR("\\u00e9")), 1 },
		{ TOOL("\"a\":" STR("\xc3\xa9")), 1 },
		{ TOOL("\"a\":" STR("X") ",\"b\":" STR("x")), 1 },
		{ TOOL("\"a\":" STR("X") ",\"b\":{\"properties\":{\"c\":" STR("X") "}}"), 1 },
		{ TOOL("\"a\":{\"type\":\"string\",\"x-mcp-header\":7}"), 1 },
		{ TOOL("\"a\":{\"type\":\"string\",\"x-mcp-header\":null}"), 1 },
		{ TOOL("\"a\":{\"type\":\"string\",\"x-mcp-header\":[\"X\"]}"), 1 },
		/* types */
		{ TOOL("\"a\":{\"type\":\"number\",\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":\"object\",\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":\"array\",\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":\"null\",\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":[],\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":[\"string\",\"number\"],\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":[\"null\"],\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"type\":7,\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"x-mcp-header\":\"X\"}"), 1 },
		{ TOOL("\"a\":{\"$ref\":\"#/$defs/b\",\"x-mcp-header\":\"X\"}"), 1 },
		/* places */
		{ "{\"inputSchema\":{\"type\":\"string\",\"x-mcp-header\":\"X\"}}", 1 },
		{ TOOL("\"a\":{\"type\":\"array\",\"items\":" STR("X") "}"), 1 },
		{ TOOL("\"a\":{\"type\":\"array\",\"items\":{\"properties\":{\"b\":" STR("X") "}}}"), 1 },
		{ TOOL("\"a\":{\"prefixItems\":[" STR("X") "]}"), 1 },
		{ TOOL("\"a\":{\"oneOf\":[{\"type\":\"null\"}," STR("X") "]}"), 1 },
		{ TOOL("\"a\":{\"anyOf\":[" STR("X") "]}"), 1 },
		{ TOOL("\"a\":{\"allOf\":[{\"properties\":{\"b\":" STR("X") "}}]}"), 1 },
		{ TOOL("\"a\":{\"not\":" STR("X") "}"), 1 },
		{ TOOL("\"a\":{\"if\":{},\"then\":" STR("X") "}"), 1 },
		{ TOOL("\"a\":{\"additionalProperties\":" STR("X") "}"), 1 },
		{ TOOL("\"a\":{\"patternProperties\":{\"^x\":" STR("X") "}}"), 1 },
		{ TOOL("\"a\":{\"properties\":{\"properties\":{\"items\":" STR("X") "}}}"), 1 },
		{ "{\"inputSchema\":{\"$defs\":{\"b\":" STR("X") "}}}", 1 },
		{ "{\"inputSchema\":{\"definitions\":{\"b\":{\"properties\":{\"c\":" STR("X") "}}}}}", 1 },
		{ "{\"inputSchema\":{\"x-unknown\":" STR("X") "}}", 1 },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		int got = read_tool(cases[i].tool, NULL);

		if (got != cases[i].want)
			fail_msg("%s: %d, not %d", cases[i].tool, got, cases[i].want);
	}
}

static void headers_follow_the_arguments(void **state)
{
	static const struct { const char *tool, *arguments, *want; } cases[] = {
		{ TOOL("\"region\":" STR("Region")), "{\"region\":\"us-west1\",\"q\":1}", "Mcp-Param-Region: us-west1\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":42}", "Mcp-Param-N: 42\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":-7}", "Mcp-Param-N: -7\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":42.0}", "Mcp-Param-N: 42\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":4.2e1}", "Mcp-Param-N: 42\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":9007199254740991}", "Mcp-Param-N: 9007199254740991\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":1.5}", "Mcp-Param-N: 1.5\n" },
		{ TOOL("\"a\":{\"type\":\"integer\",\"x-mcp-header\":\"N\"}"), "{\"a\":1e400}", "Mcp-Param-N: 1e400\n" },
		{ TOOL("\"a\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"}"), "{\"a\":false}", "Mcp-Param-B: false\n" },
		{ TOOL("\"a\":{\"type\":\"boolean\",\"x-mcp-header\":\"B\"}"), "{\"a\":true}", "Mcp-Param-B: true\n" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":null}", "" },
		{ TOOL("\"a\":" STR("A")), "{\"b\":\"x\"}", "" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":[\"x\"]}", "" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":{\"a\":1}}", "" },
		{ TOOL("\"a\":" STR("A")), "[]", "" },
		{ TOOL("\"a\":" STR("A")), "7", "" },
		{ TOOL("\"a\":" STR("A")), NULL, "" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":\"\"}", "Mcp-Param-A: \n" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":\"x\",\"a\":\"y\"}", "Mcp-Param-A: y\n" },
		{ TOOL("\"a\":" STR("A")), "{\"\\u0061\":\"\\u0078\"}", "Mcp-Param-A: x\n" },
		{ TOOL("\"\\u0061\":" STR("A")), "{\"a\":\"x\"}", "Mcp-Param-A: x\n" },
		{ TOOL("\"a\\u0000b\":" STR("A")), "{\"a\":\"no\",\"a\\u0000b\":\"yes\"}", "Mcp-Param-A: yes\n" },
		{ TOOL("\"\":" STR("A")), "{\"\":\"x\"}", "Mcp-Param-A: x\n" },
		{ TOOL("\"a\":" STR("A")), "{\"a\":\"x\\r\\nEvil: 1\"}", "Mcp-Param-A: =?base64?eA0KRXZpbDogMQ==?=\n" },
		{ TOOL("\"o\":{\"properties\":{\"p\":{\"properties\":{\"q\":" STR("Q") "}}}}"),
		  "{\"q\":\"no\",\"o\":{\"q\":\"no\",\"p\":{\"q\":\"yes\"}}}", "Mcp-Param-Q: yes\n" },
		{ TOOL("\"o\":{\"properties\":{\"p\":" STR("P") "}}"), "{\"o\":null}", "" },
		{ TOOL("\"o\":{\"properties\":{\"p\":" STR("P") "}}"), "{\"o\":[{\"p\":\"x\"}]}", "" },
		{ TOOL("\"a\":" STR("A") ",\"b\":" STR("B") ",\"c\":" STR("C")), "{\"c\":\"3\",\"a\":\"1\"}",
		  "Mcp-Param-A: 1\nMcp-Param-C: 3\n" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct mirror_set *m;
		struct buf out;

		buf_init(&out, 4096);
		assert_int_equal(read_tool(cases[i].tool, &m), 0);
		assert_non_null(m);
		assert_int_equal(mirror_headers(m, span_str(cases[i].arguments), &out), 0);
		if (!span_is(buf_span(&out), cases[i].want))
			fail_msg("%s: %.*s", cases[i].arguments, (int)out.len, buf_data(&out));
		buf_fini(&out);
		mirror_free(m);
	}
}

static void values_are_encoded_only_where_they_must_be(void **state)
{
	static const struct { const char *value; size_t n; const char *want; } cases[] = {
#define CASE(v, w) { v, sizeof(v) - 1, w }
		CASE("us-west1", "us-west1"),
		CASE("", ""),
		CASE("two words", "two words"),
		CASE("file:///a/b?c=d", "file:///a/b?c=d"),
		CASE("Hello, \xe4\xb8\x96\xe7\x95\x8c", "=?base64?SGVsbG8sIOS4lueVjA==?="),
		CASE(" padded ", "=?base64?IHBhZGRlZCA=?="),
		CASE(" x", "=?base64?IHg=?="),
		CASE("x ", "=?base64?eCA=?="),
		CASE(" ", "=?base64?IA==?="),
		CASE("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
		CASE("a\tb", "=?base64?YQli?="),
		CASE("a\0b", "=?base64?YQBi?="),
		CASE("\x7f", "=?base64?fw==?="),
		CASE("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
		CASE("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
		CASE("=?base64?open", "=?base64?open"),
		CASE("=?BASE64?x?=", "=?BASE64?x?="),
		CASE("x?=", "x?="),
		CASE("?=", "?="),
#undef CASE
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct buf out;

		buf_init(&out, 100);
		assert_int_equal(buf_puts(&out, "v: "), 0);
		assert_int_equal(mcp_header_value(&out, span_make(cases[i].value, cases[i].n)), 0);
		assert_memory_equal(buf_data(&out), "v: ", 3);
		if (!span_is(span_make(buf_data(&out) + 3, out.len - 3), cases[i].want))
			fail_msg("%s: %.*s", cases[i].value, (int)out.len, buf_data(&out));
		buf_fini(&out);
	}
}

static void a_full_buffer_is_left_as_it_was(void **state)
{
	static const char *const arguments[] = { "{\"a\":\"1\",\"b\":\"0123456789012345\"}", "{\"a\":\"1\",\"b\":\"01234567 \"}" };
	struct mirror_set *m;

	(void)state;
	assert_int_equal(read_tool(TOOL("\"a\":" STR("A") ",\"b\":" STR("B")), &m), 0);
	for (size_t i = 0; i < N(arguments); i++) {
		for (size_t max = 3; max < 47; max++) {
			struct buf out;

			buf_init(&out, max);
			assert_int_equal(buf_puts(&out, "x: "), 0);
			if (mirror_headers(m, span_str(arguments[i]), &out) < 0)
				assert_true(span_is(buf_span(&out), "x: "));
			else
				assert_int_equal(max, 46);
			buf_fini(&out);
		}
	}
	mirror_free(m);
}

/* properties nested `depth` times, the innermost with a mark. */
static char *nested(int depth, const char *key, const char *inner)
{
	struct buf b;
	char *s;

	buf_init(&b, 1 << 20);
	buf_puts(&b, "{\"inputSchema\":{\"properties\":{\"a\":");
	for (int i = 0; i < depth; i++)
		buf_printf(&b, "{\"%s\":{\"a\":", key);
	buf_puts(&b, inner);
	for (int i = 0; i < depth; i++)
		buf_puts(&b, "}}");
	buf_puts(&b, "}}}");
	s = strndup(buf_data(&b), b.len);
	buf_fini(&b);
	return s;
}

static void deep_schemas_are_bounded(void **state)
{
	static const struct { int depth; const char *key, *inner; int want; } cases[] = {
		{ 3, "properties", STR("A"), 0 },
		{ 20, "properties", STR("A"), 0 },
		{ 200, "properties", STR("A"), 1 },
		{ 200, "properties", "{\"type\":\"string\"}", 0 },
		{ 200, "properties", "{\"title\":\"\\u00e9\"}", 0 },
		{ 200, "items", STR("A"), 1 },
		{ 200, "items", "{\"title\":\"\\u00e9\"}", 0 },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		char *tool = nested(cases[i].depth, cases[i].key, cases[i].inner);

		assert_non_null(tool);
		assert_int_equal(read_tool(tool, NULL), cases[i].want);
		free(tool);
	}
}

static void many_marks_and_long_names_are_bounded(void **state)
{
	static const struct { int count, len, want; } cases[] = {
		{ 64, 1, 0 }, { 65, 1, 1 }, { 10, 5000, 0 }, { 20, 5000, 1 }, { 1, 70000, 1 },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct mirror_set *m = NULL;
		struct buf b;

		buf_init(&b, 1 << 20);
		buf_puts(&b, "{\"inputSchema\":{\"properties\":{");
		for (int k = 0; k < cases[i].count; k++)
			buf_printf(&b, "%s\"p%0*d\":" STR("H%d"), k ? "," : "", cases[i].len, k, k);
		assert_int_equal(buf_append(&b, "}}}", 4), 0);
		assert_int_equal(read_tool(buf_data(&b), &m), cases[i].want);
		assert_true((m != NULL) == (cases[i].want == 0));
		assert_true(mirror_size(m) < MIRROR_MAX_BYTES + 64);
		mirror_free(m);
		buf_fini(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(marks_are_judged_by_the_specification),
		cmocka_unit_test(headers_follow_the_arguments),
		cmocka_unit_test(values_are_encoded_only_where_they_must_be),
		cmocka_unit_test(a_full_buffer_is_left_as_it_was),
		cmocka_unit_test(deep_schemas_are_bounded),
		cmocka_unit_test(many_marks_and_long_names_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
