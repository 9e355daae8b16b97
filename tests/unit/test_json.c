/* The JSON reader: what it takes, what it refuses and with which word, and
 * that readers and writers leave every byte they were not asked about alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/json.h"

#define BUF_MAX ((size_t)1 << 20)
#define FFFD "\xef\xbf\xbd"

static enum json_status scan(const char *text)
{
	struct json_scan s;
	return json_scan(text, strlen(text), &s);
}

/* Scans a copy that ends where the text ends, so that a sanitizer sees every read too far. */
static enum json_status scan_exact(const char *p, size_t n, struct json_scan *s)
{
	char *copy = malloc(n ? n : 1);
	enum json_status st;

	assert_non_null(copy);
	memcpy(copy, p, n);
	st = json_scan(copy, n, s);
	free(copy);
	return st;
}

static void assert_buf(struct buf *b, const char *want)
{
	assert_int_equal(b->len, strlen(want));
	assert_memory_equal(buf_span(b).p, want, b->len);
	buf_reset(b);
}

static const struct {
	const char *text;
	enum json_status want;
} cases[] = {
	{ "0", JSON_OK }, { "-0", JSON_OK }, { "1e400", JSON_OK }, { "-1.5E+10", JSON_OK }, { "0.0e-0", JSON_OK },
	{ "123456789012345678901234567890", JSON_OK }, { "0e1", JSON_OK },
	{ "01", JSON_BAD }, { "-01", JSON_BAD }, { "+1", JSON_BAD }, { ".5", JSON_BAD }, { "1.e1", JSON_BAD },
	{ "1.", JSON_SHORT }, { "-", JSON_SHORT }, { "1e", JSON_SHORT }, { "1e+", JSON_SHORT }, { "1ex", JSON_BAD },
	{ "--1", JSON_BAD }, { "1 2", JSON_BAD }, { "0x10", JSON_BAD }, { "NaN", JSON_BAD }, { "Infinity", JSON_BAD },
	{ "-Infinity", JSON_BAD }, { "[1.]", JSON_BAD }, { "[-]", JSON_BAD }, { "1a", JSON_BAD },
	{ "true", JSON_OK }, { "false", JSON_OK }, { "null", JSON_OK }, { "tru", JSON_SHORT }, { "truE", JSON_BAD },
	{ "True", JSON_BAD }, { "nulll", JSON_BAD }, { "", JSON_SHORT }, { " \t\r\n", JSON_SHORT },
	{ "[]", JSON_OK }, { "[ ]", JSON_OK }, { "{ }", JSON_OK }, { " [ 1 , 2 ] ", JSON_OK }, { "[1,]", JSON_BAD },
	{ "[,1]", JSON_BAD }, { "[1 2]", JSON_BAD }, { "[", JSON_SHORT }, { "[1", JSON_SHORT }, { "[1,", JSON_SHORT },
	{ "]", JSON_BAD }, { "[1}", JSON_BAD }, { "{]", JSON_BAD }, { "[[]", JSON_SHORT }, { "[]]", JSON_BAD },
	{ "{\"a\":1}", JSON_OK }, { "{\"a\" : 1 , \"b\":{}}", JSON_OK }, { "{\"a\":1,}", JSON_BAD }, { "{,}", JSON_BAD },
	{ "{\"a\"}", JSON_BAD }, { "{\"a\":}", JSON_BAD }, { "{\"a\"", JSON_SHORT }, { "{\"a\":", JSON_SHORT },
	{ "{a:1}", JSON_BAD }, { "{1:1}", JSON_BAD }, { "{'a':1}", JSON_BAD }, { "{\"a\":1 \"b\":2}", JSON_BAD },
	{ "{\"a\"::1}", JSON_BAD }, { "{\"a\":1]", JSON_BAD }, { "{}{}", JSON_BAD }, { "{} x", JSON_BAD },
	{ "/**/1", JSON_BAD }, { "[1]//", JSON_BAD }, { "\v1", JSON_BAD }, { "\f1", JSON_BAD }, { "\xc2\xa0" "1", JSON_BAD },
	{ "\"\"", JSON_OK }, { "\"", JSON_SHORT }, { "\"a", JSON_SHORT }, { "'a'", JSON_BAD },
	{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"", JSON_OK }, { "\"\\a\"", JSON_BAD }, { "\"\\x41\"", JSON_BAD },
	{ "\"\\U0041\"", JSON_BAD }, { "\"\\u12\"", JSON_BAD }, { "\"\\u12g4\"", JSON_BAD }, { "\"\\u12", JSON_SHORT },
	{ "\"\\", JSON_SHORT }, { "\"\\\"", JSON_SHORT }, { "\"\\ud800\"", JSON_OK }, { "\"\\udc00\\ud800\"", JSON_OK },
	{ "\"\\u0000\"", JSON_OK }, { "\"a\nb\"", JSON_BAD }, { "\"a\tb\"", JSON_BAD }, { "\"a\x1f\"", JSON_BAD },
	{ "\"\x7f\"", JSON_OK }, { "\xef\xbb\xbf{}", JSON_BAD }, { "\xff\xfe{\0}", JSON_BAD },
	{ "\"\xef\xbb\xbf\"", JSON_OK }, { "\xc3\xa9", JSON_BAD },
};

static void texts_are_judged_by_the_grammar(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct json_scan s;
		enum json_status got = scan_exact(cases[i].text, strlen(cases[i].text), &s);
		if (got != cases[i].want)
			fail_msg("%s: %s, not %s", cases[i].text, json_status_text(got), json_status_text(cases[i].want));
		assert_true(s.at <= strlen(cases[i].text));
	}
	assert_int_equal(json_scan("{}\0", 3, &(struct json_scan){ 0 }), JSON_BAD);
	assert_int_equal(json_scan("\"a\0b\"", 5, &(struct json_scan){ 0 }), JSON_BAD);
	assert_int_equal(json_scan(NULL, 0, &(struct json_scan){ 0 }), JSON_SHORT);
}

static const struct {
	const char *bytes;
	enum json_status want; /* within quotes, with more text behind */
} sequences[] = {
	{ "\xc2\x80", JSON_OK }, { "\xdf\xbf", JSON_OK }, { "\xe0\xa0\x80", JSON_OK }, { "\xec\xbf\xbf", JSON_OK },
	{ "\xed\x9f\xbf", JSON_OK }, { "\xee\x80\x80", JSON_OK }, { "\xef\xbf\xbf", JSON_OK },
	{ "\xf0\x90\x80\x80", JSON_OK }, { "\xf3\xbf\xbf\xbf", JSON_OK }, { "\xf4\x8f\xbf\xbf", JSON_OK },
	{ "\x80", JSON_UTF8 }, { "\xbf", JSON_UTF8 }, { "\xc0\x80", JSON_UTF8 }, { "\xc0\xaf", JSON_UTF8 },
	{ "\xc1\xbf", JSON_UTF8 }, { "\xe0\x80\x80", JSON_UTF8 }, { "\xe0\x9f\xbf", JSON_UTF8 },
	{ "\xed\xa0\x80", JSON_UTF8 }, { "\xed\xbf\xbf", JSON_UTF8 }, { "\xf0\x80\x80\x80", JSON_UTF8 },
	{ "\xf0\x8f\xbf\xbf", JSON_UTF8 }, { "\xf4\x90\x80\x80", JSON_UTF8 }, { "\xf5\x80\x80\x80", JSON_UTF8 },
	{ "\xf8\x88\x80\x80\x80", JSON_UTF8 }, { "\xfe", JSON_UTF8 }, { "\xff", JSON_UTF8 }, { "\xc3", JSON_UTF8 },
	{ "\xe2\x82", JSON_UTF8 }, { "\xe2\x82" "a", JSON_UTF8 }, { "\xf0\x9f\x98", JSON_UTF8 }, { "\xc3\xc3", JSON_UTF8 },
	{ "\xc3\xa9\xa9", JSON_UTF8 }, { "\xf0\x9f\x98\x80\x80", JSON_UTF8 },
};

/* At every distance from the string's beginning and end, so that each place
 * within a vector is tried, between plain and between other characters. */
static void utf8_is_checked_wherever_it_stands(void **state)
{
	static const char *const around[] = { "x", "\xc3\xa9", "\xe6\xbc\xa2", "\xf0\x9f\x98\x80" };
	char text[512];

	(void)state;
	for (size_t i = 0; i < sizeof sequences / sizeof sequences[0]; i++) {
		for (size_t k = 0; k < 4 * 24 * 24; k++) {
			size_t n = strlen(sequences[i].bytes), unit = strlen(around[k % 4]);
			size_t front = k / 4 % 24, back = k / 4 / 24, at = 0;
			struct json_scan s;
			text[at++] = '"';
			for (size_t j = 0; j < front; j++, at += unit)
				memcpy(text + at, around[k % 4], unit);
			size_t where = at;
			memcpy(text + at, sequences[i].bytes, n);
			at += n;
			for (size_t j = 0; j < back; j++, at += unit)
				memcpy(text + at, around[k % 4], unit);
			text[at++] = '"';
			if (scan_exact(text, at, &s) != sequences[i].want)
				fail_msg("sequence %zu, case %zu", i, k);
			if (s.at < where)
				fail_msg("sequence %zu, case %zu: fault at %zu", i, k, s.at);
		}
	}
}

static void every_second_byte_range_is_exact(void **state)
{
	(void)state;
	for (unsigned a = 0x80; a < 0x100; a++) {
		for (unsigned b = 0; b < 0x100; b++) {
			char text[24] = "\"0123456789";
			bool two = a >= 0xc2 && a <= 0xdf && b >= 0x80 && b <= 0xbf;
			struct json_scan s;
			size_t n = 11;
			text[n++] = (char)a;
			text[n++] = (char)b;
			memcpy(text + n, "abcdefg\"", 8);
			assert_int_equal(scan_exact(text, n + 8, &s) == JSON_OK, two);
		}
	}
}

static void a_text_cut_anywhere_is_never_ok(void **state)
{
	static const char text[] = " {\"jsonrpc\" : \"2.0\", \"id\":-1.5e+3,\"params\":{\"a\":[true,false,null,\"\\u00e9\\n"
	    "\xc3\xa9\xe6\xbc\xa2\xf0\x9f\x98\x80 and a longer tail of plain text\"],\"b\":{}}}";

	(void)state;
	for (size_t n = 0; n < sizeof text - 1; n++) {
		struct json_scan s;
		if (scan_exact(text, n, &s) != JSON_SHORT)
			fail_msg("cut at %zu", n);
		assert_true(s.at <= n && n - s.at < 4); /* at the beginning of a character */
	}
	assert_int_equal(scan(text), JSON_OK);
}

static enum json_status scan_nested(size_t depth, char open, char close)
{
	char text[5 * (JSON_MAX_DEPTH + 1)], *p = text;

	for (size_t i = 0; i < depth; i++) {
		*p++ = open;
		if (open == '{' && i + 1 < depth)
			p += sprintf(p, "\"\":");
	}
	for (size_t i = 0; i < depth; i++)
		*p++ = close;
	return json_scan(text, (size_t)(p - text), &(struct json_scan){ 0 });
}

static void nesting_ends_at_the_limit(void **state)
{
	(void)state;
	assert_int_equal(scan_nested(JSON_MAX_DEPTH, '[', ']'), JSON_OK);
	assert_int_equal(scan_nested(JSON_MAX_DEPTH + 1, '[', ']'), JSON_DEEP);
	assert_int_equal(scan_nested(JSON_MAX_DEPTH, '{', '}'), JSON_OK);
	assert_int_equal(scan_nested(JSON_MAX_DEPTH + 1, '{', '}'), JSON_DEEP);
	for (size_t depth = 1; depth < 140; depth++) {
		assert_int_equal(scan_nested(depth, '[', '}'), JSON_BAD);
		assert_int_equal(scan_nested(depth, '{', ']'), JSON_BAD);
	}
}

static void a_closing_bracket_fits_the_one_it_closes(void **state)
{
	(void)state;
	assert_int_equal(scan("[{\"a\":[{\"b\":[]}]}]"), JSON_OK);
	assert_int_equal(scan("[{\"a\":[{\"b\":[]]}}]"), JSON_BAD);
	assert_int_equal(scan("[[],{},[{}],1]"), JSON_OK);
	assert_int_equal(scan("{\"a\":[],\"b\":1}"), JSON_OK);
	assert_int_equal(scan("[{},\"a\":1]"), JSON_BAD);
	assert_int_equal(scan("{\"a\":[],1}"), JSON_BAD);
}

static void wanted_members_are_found_at_the_top_only(void **state)
{
	const struct span keys[] = { SPAN_LIT("id"), SPAN_LIT("method"), SPAN_LIT("none") };
	struct json_member found[3];
	const char *text = " { \"x\":{\"id\":1,\"method\":[\"id\",{\"id\":2}]}, \"i\\u0064\" : [1, 2] , \"method\":\"m\",\"idx\":3 }\t";
	struct json_scan s;

	(void)state;
	assert_int_equal(json_scan_for(text, strlen(text), &s, keys, found, 3), JSON_OK);
	assert_true(span_is(found[0].value, "[1, 2]"));
	assert_int_equal(found[0].count, 1);
	assert_true(span_is(found[1].value, "\"m\""));
	assert_null(found[2].value.p);
	assert_int_equal(found[2].count, 0);
	assert_int_equal(s.type, '{');
	assert_int_equal(s.text.n, strlen(text) - 2);
}

static void a_repeated_member_is_counted_and_the_last_one_wins(void **state)
{
	const struct span keys[] = { SPAN_LIT("id") };
	struct json_member found[1];
	const char *text = "{\"id\":1,\"\\u0069d\":{\"id\":9},\"id\":3}";
	const char *array = "[{\"id\":1}]", *broken = "{\"id\":1,\"id\":";
	struct json_scan s;

	(void)state;
	assert_int_equal(json_scan_for(text, strlen(text), &s, keys, found, 1), JSON_OK);
	assert_int_equal(found[0].count, 3);
	assert_true(span_is(found[0].value, "3"));
	assert_int_equal(json_scan_for(array, strlen(array), &s, keys, found, 1), JSON_OK);
	assert_int_equal(found[0].count, 0);
	assert_int_equal(json_scan_for(broken, strlen(broken), &s, keys, found, 1), JSON_SHORT);
	assert_int_equal(found[0].count, 0);
	assert_null(found[0].value.p);
	assert_null(s.text.p);
}

static void newlines_between_tokens_are_noticed(void **state)
{
	static const struct { const char *text; bool want; } t[] = {
		{ "{\"a\":1}", false }, { "{\"a\":\"\\n\"}", false }, { "{\"a\":1}\n", true }, { "\r{}", true },
		{ "{\n}", true }, { "{\"a\"\n:1}", true }, { "{\"a\":\n1}", true }, { "[1,\n2]", true }, { "[1\r]", true },
		{ " { \t} ", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct json_scan s;
		assert_int_equal(json_scan(t[i].text, strlen(t[i].text), &s), JSON_OK);
		assert_int_equal(s.has_newline, t[i].want);
	}
}

static void a_walk_gives_every_member_in_order(void **state)
{
	struct span v = SPAN_LIT("{ \"a\" : 1 ,\"b\\\"\":\"}\",\"\":[{\"x\":\"]\\\\\"},2], \"d\":{} }"), key, value;
	static const char *const keys[] = { "a", "b\\\"", "", "d" }, *const values[] = { "1", "\"}\"", "[{\"x\":\"]\\\\\"},2]", "{}" };
	struct json_iter it;

	(void)state;
	json_iter(&it, v);
	for (int i = 0; i < 4; i++) {
		assert_true(json_next(&it, &key, &value));
		assert_true(span_is(key, keys[i]));
		assert_true(span_is(value, values[i]));
	}
	assert_false(json_next(&it, &key, &value));
	assert_false(json_next(&it, &key, &value));
	json_iter(&it, SPAN_LIT("[ 1,[] ,\"\", null ]"));
	for (int i = 0; i < 4; i++)
		assert_true(json_next(&it, &key, &value));
	assert_true(span_is(value, "null"));
	assert_null(key.p);
	assert_false(json_next(&it, NULL, &value));
	json_iter(&it, SPAN_LIT("12"));
	assert_false(json_next(&it, NULL, &value));
	json_iter(&it, SPAN_NONE);
	assert_false(json_next(&it, NULL, &value));
}

static void members_are_found_by_key_and_path(void **state)
{
	struct span v = SPAN_LIT("{\"a\":{\"b\":1,\"\\u0062\":{\"c\":[7]}},\"e\":[]}");

	(void)state;
	assert_true(span_is(json_path(v, "a", "b", "c", NULL), "[7]"));
	assert_true(span_is(json_get(json_get(v, "a"), "b"), "{\"c\":[7]}"));
	assert_null(json_get(v, "b").p);
	assert_null(json_path(v, "a", "x", "c", NULL).p);
	assert_null(json_path(v, "e", "0", NULL).p);
	assert_null(json_get(SPAN_NONE, "a").p);
	assert_true(span_eq(json_path(v, NULL), v));
}

static void keys_are_compared_as_they_are_spelt_out(void **state)
{
	(void)state;
	assert_true(json_key_is(SPAN_LIT("id"), "id"));
	assert_true(json_key_is(SPAN_LIT("\\u0069\\u0064"), "id"));
	assert_true(json_key_is(SPAN_LIT("\\ud83d\\ude00"), "\xf0\x9f\x98\x80"));
	assert_true(json_key_is(SPAN_LIT(""), ""));
	assert_false(json_key_is(SPAN_LIT("id"), "ID"));
	assert_false(json_key_is(SPAN_LIT("id"), "idx"));
	assert_false(json_key_is(SPAN_LIT("idx"), "id"));
	assert_false(json_key_is(SPAN_LIT("id\\u0000"), "id"));
	assert_false(json_key_is(SPAN_LIT("\\n"), "\\n"));
	assert_false(json_key_is(SPAN_NONE, ""));
	assert_true(json_string_is(SPAN_LIT("\"2\\u002e0\""), "2.0"));
	assert_false(json_string_is(SPAN_LIT("2.0"), "2.0"));
	assert_false(json_string_is(SPAN_NONE, ""));
}

static void strings_are_decoded(void **state)
{
	static const struct { const char *text, *want; } t[] = {
		{ "\"\"", "" }, { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\tb\"", "a\"\\/\b\f\n\r\tb" }, { "\"\\u00e9\\u20AC\"", "\xc3\xa9\xe2\x82\xac" },
		{ "\"\\uD83D\\uDE00\"", "\xf0\x9f\x98\x80" }, { "\"\\ud83d\"", FFFD }, { "\"\\ude00x\"", FFFD "x" },
		{ "\"\\ud83d\\ud83d\\ude00\"", FFFD "\xf0\x9f\x98\x80" }, { "\"\\ud83d\\n\"", FFFD "\n" }, { "\"\\ud83du\"", FFFD "u" },
		{ "\"\\udbff\\udfff\"", "\xf4\x8f\xbf\xbf" }, { "\"\xc3\xa9\"", "\xc3\xa9" },
	};
	struct buf b, tight;

	(void)state;
	buf_init(&b, BUF_MAX);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(json_string(span_str(t[i].text), &b), 0);
		assert_buf(&b, t[i].want);
	}
	assert_int_equal(json_string(SPAN_LIT("\"\\u0000\""), &b), 0);
	assert_int_equal(b.len, 1);
	assert_int_equal(json_string(SPAN_LIT("1"), &b), -1);
	assert_int_equal(json_string(SPAN_NONE, &b), -1);
	buf_fini(&b);
	buf_init(&tight, 3);
	assert_int_equal(json_string(SPAN_LIT("\"ab\\ncd\""), &tight), -1);
	assert_int_equal(tight.len, 0);
	buf_fini(&tight);
}

static void whole_numbers_are_read_exactly(void **state)
{
	static const struct { const char *text; bool ok; int64_t want; } t[] = {
		{ "0", true, 0 }, { "-0", true, 0 }, { "0.000", true, 0 }, { "0e99999999999999999999", true, 0 }, { "1", true, 1 },
		{ "-32601", true, -32601 }, { "1.0", true, 1 }, { "1e0", true, 1 }, { "10e-1", true, 1 }, { "1.5e1", true, 15 },
		{ "120.00E-1", true, 12 }, { "9223372036854775807", true, INT64_MAX }, { "9223372036854775808", false, 0 },
		{ "-9223372036854775808", true, INT64_MIN }, { "-9223372036854775809", false, 0 }, { "9.223372036854775807e18", true, INT64_MAX },
		{ "1e18", true, 1000000000000000000 }, { "1e19", false, 0 }, { "99999999999999999999", false, 0 }, { "1e400", false, 0 },
		{ "18446744073709551617", false, 0 }, { "1.5", false, 0 }, { "1e-1", false, 0 }, { "1e-99999999999999999999", false, 0 },
		{ "1e99999999999999999999", false, 0 }, { "\"1\"", false, 0 }, { "null", false, 0 },
		{ "0.00000000000000000000000000000000000001e38", true, 1 }, { "100000000000000000000000000000000000000e-38", true, 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		int64_t v = 0;
		if (json_int(span_str(t[i].text), &v) != t[i].ok || v != t[i].want)
			fail_msg("%s", t[i].text);
	}
}

static void booleans_and_types_are_told(void **state)
{
	bool b = false;

	(void)state;
	assert_true(json_bool(SPAN_LIT("true"), &b) && b);
	assert_true(json_bool(SPAN_LIT("false"), &b) && !b);
	assert_false(json_bool(SPAN_LIT("null"), &b));
	assert_false(json_bool(SPAN_NONE, &b));
	assert_int_equal(json_type(SPAN_LIT("-1")), '0');
	assert_int_equal(json_type(SPAN_LIT("{}")), '{');
	assert_int_equal(json_type(SPAN_LIT("")), 0);
	assert_int_equal(json_type(SPAN_NONE), 0);
}

static void quoting_gives_valid_json_of_any_bytes(void **state)
{
	static const struct { const char *text, *want; } t[] = {
		{ "", "\"\"" }, { "a\"b\\c/", "\"a\\\"b\\\\c/\"" }, { "\b\t\n\v\f\r\x01\x1f\x7f", "\"\\b\\t\\n\\u000b\\f\\r\\u0001\\u001f\x7f\"" },
		{ "\xc3\xa9 \xf0\x9f\x98\x80", "\"\xc3\xa9 \xf0\x9f\x98\x80\"" }, { "a\xff" "b", "\"a" FFFD "b\"" },
		{ "\xc3\xa9 a long tail of plain ASCII text", "\"\xc3\xa9 a long tail of plain ASCII text\"" },
		{ "\xc3", "\"" FFFD "\"" }, { "\xed\xa0\x80", "\"" FFFD FFFD FFFD "\"" },
	};
	struct buf b;

	(void)state;
	buf_init(&b, BUF_MAX);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(json_quote(&b, span_str(t[i].text)), 0);
		assert_buf(&b, t[i].want);
	}
	for (unsigned c = 0; c < 0x10000; c++) {
		char raw[2] = { (char)(c >> 8), (char)c };
		assert_int_equal(json_quote(&b, span_make(raw, 2)), 0);
		assert_int_equal(json_scan(buf_data(&b), b.len, &(struct json_scan){ 0 }), JSON_OK);
		buf_reset(&b);
	}
	assert_int_equal(json_quote(&b, SPAN_NONE), 0);
	assert_buf(&b, "\"\"");
	buf_fini(&b);
	buf_init(&b, 4);
	assert_int_equal(json_quote(&b, SPAN_LIT("abc")), -1);
	assert_int_equal(b.len, 0);
	buf_fini(&b);
}

static void a_text_becomes_one_line_of_the_same_length(void **state)
{
	char text[] = "{\r\n  \"a\" : \"\\n\",\n\n\"bbbbbbbbbbbbbbbbbbbbbbb\":1}\n";

	(void)state;
	json_one_line(text, sizeof text - 1);
	assert_string_equal(text, "{    \"a\" : \"\\n\",  \"bbbbbbbbbbbbbbbbbbbbbbb\":1} ");
	json_one_line(NULL, 0);
}

static void a_splice_changes_only_what_it_was_told(void **state)
{
	struct span text = SPAN_LIT("{\"id\":1,\"m\":2}");
	struct json_edit e[] = {
		{ .old = { text.p + 6, 1 }, .new_bytes = SPAN_LIT("\"xyz\"") },
		{ .old = { text.p + 12, 1 }, .new_bytes = SPAN_LIT("") },
	};
	struct buf b;

	(void)state;
	buf_init(&b, BUF_MAX);
	assert_int_equal(json_splice(&b, text, e, 0), 0);
	assert_buf(&b, "{\"id\":1,\"m\":2}");
	assert_int_equal(json_splice(&b, text, e, 2), 0);
	assert_buf(&b, "{\"id\":\"xyz\",\"m\":}");
	buf_fini(&b);
	buf_init(&b, 14);
	assert_int_equal(json_splice(&b, text, e, 1), -1);
	assert_int_equal(b.len, 0);
	assert_int_equal(json_splice(&b, text, e, 0), 0);
	buf_fini(&b);
}

static void a_member_is_set_in_any_object(void **state)
{
	static const struct { const char *obj, *want; } t[] = {
		{ "{}", "{\"k\":[9]}" }, { "{ \n}", "{\"k\":[9] \n}" }, { "{\"a\":1}", "{\"a\":1,\"k\":[9]}" },
		{ "{\"a\":1 }", "{\"a\":1,\"k\":[9] }" }, { "{\"k\":1}", "{\"k\":[9]}" }, { "{\"k\" : {\"k\":1} ,\"b\":2}", "{\"k\" : [9] ,\"b\":2}" },
		{ "{\"a\":1,\"\\u006b\":2}", "{\"a\":1,\"\\u006b\":[9]}" }, { "{\"k\":1,\"a\":0,\"k\":2,\"b\":0}", "{\"k\":1,\"a\":0,\"k\":[9],\"b\":0}" },
		{ "{\"a\":{\"k\":1}}", "{\"a\":{\"k\":1},\"k\":[9]}" },
	};
	struct buf b, scratch;

	(void)state;
	buf_init(&b, BUF_MAX);
	buf_init(&scratch, BUF_MAX);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct json_edit e;
		assert_int_equal(json_edit_set(&e, &scratch, span_str(t[i].obj), "k", SPAN_LIT("[9]")), 0);
		assert_int_equal(json_splice(&b, span_str(t[i].obj), &e, 1), 0);
		assert_true(span_is(json_get(buf_span(&b), "k"), "[9]"));
		assert_buf(&b, t[i].want);
	}
	assert_int_equal(json_edit_set(&(struct json_edit){ 0 }, &scratch, SPAN_LIT("[]"), "k", SPAN_LIT("1")), -1);
	buf_fini(&b);
	buf_fini(&scratch);
	buf_init(&scratch, 5);
	assert_int_equal(json_edit_set(&(struct json_edit){ 0 }, &scratch, SPAN_LIT("{}"), "k", SPAN_LIT("123")), -1);
	buf_fini(&scratch);
}

static void a_member_goes_with_its_comma(void **state)
{
	static const struct { const char *obj, *want; } t[] = {
		{ "{\"k\":1}", "{}" }, { "{ \"k\":1 }", "{  }" }, { "{\"k\":1,\"a\":2}", "{\"a\":2}" }, { "{ \"k\" : [1] , \"a\":2 }", "{ \"a\":2 }" },
		{ "{\"a\":1,\"k\":2}", "{\"a\":1}" }, { "{\"a\":1 , \"k\":2 }", "{\"a\":1 }" }, { "{\"a\":1,\"k\":2,\"b\":3}", "{\"a\":1,\"b\":3}" },
		{ "{\"k\":1,\"a\":0,\"k\":2}", "{\"k\":1,\"a\":0}" }, { "{\"k\":1,\"k\":2}", "{\"k\":1}" }, { "{\"\\u006b\":{\"k\":2}}", "{}" },
	};
	struct json_edit e;
	struct buf b;

	(void)state;
	buf_init(&b, BUF_MAX);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		assert_int_equal(json_edit_remove(&e, span_str(t[i].obj), "k"), 0);
		assert_int_equal(json_splice(&b, span_str(t[i].obj), &e, 1), 0);
		assert_buf(&b, t[i].want);
	}
	buf_fini(&b);
	assert_int_equal(json_edit_remove(&e, SPAN_LIT("{\"a\":{\"k\":1}}"), "k"), 1);
	assert_int_equal(json_edit_remove(&e, SPAN_LIT("{}"), "k"), 1);
	assert_int_equal(json_edit_remove(&e, SPAN_LIT("[\"k\"]"), "k"), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(texts_are_judged_by_the_grammar),
		cmocka_unit_test(utf8_is_checked_wherever_it_stands),
		cmocka_unit_test(every_second_byte_range_is_exact),
		cmocka_unit_test(a_text_cut_anywhere_is_never_ok),
		cmocka_unit_test(nesting_ends_at_the_limit),
		cmocka_unit_test(a_closing_bracket_fits_the_one_it_closes),
		cmocka_unit_test(wanted_members_are_found_at_the_top_only),
		cmocka_unit_test(a_repeated_member_is_counted_and_the_last_one_wins),
		cmocka_unit_test(newlines_between_tokens_are_noticed),
		cmocka_unit_test(a_walk_gives_every_member_in_order),
		cmocka_unit_test(members_are_found_by_key_and_path),
		cmocka_unit_test(keys_are_compared_as_they_are_spelt_out),
		cmocka_unit_test(strings_are_decoded),
		cmocka_unit_test(whole_numbers_are_read_exactly),
		cmocka_unit_test(booleans_and_types_are_told),
		cmocka_unit_test(quoting_gives_valid_json_of_any_bytes),
		cmocka_unit_test(a_text_becomes_one_line_of_the_same_length),
		cmocka_unit_test(a_splice_changes_only_what_it_was_told),
		cmocka_unit_test(a_member_is_set_in_any_object),
		cmocka_unit_test(a_member_goes_with_its_comma),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
