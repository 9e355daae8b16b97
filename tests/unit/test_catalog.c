/* What tools/list taught: which calls may be repeated, digests of lists, the
 * tools the client must not see, and bounds for hostile lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <time.h>

#include "core/catalog.h"
#include "core/tools.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static const unsigned char key[16] = "0123456789abcde";

static struct catalog *fresh(const struct core_config *c)
{
	struct catalog *k = catalog_new(c, key);

	assert_non_null(k);
	return k;
}

static void page(struct catalog *k, enum catalog_list l, const char *cursor, const char *result)
{
	assert_int_equal(catalog_on_page(k, l, span_str(cursor), span_str(result)), 0);
}

static bool repeatable(const struct catalog *k, const char *token)
{
	return catalog_repeatable(k, span_str(token));
}

#define HINTED(name, hint) "{\"name\":\"" name "\",\"annotations\":{" hint "}}"
#define RO "\"readOnlyHint\":true"

/* ---- names and globs ---- */

static void each_list_has_its_method_and_its_news(void **state)
{
	static const struct { const char *method, *changed; } cases[LIST_COUNT] = {
		[LIST_TOOLS] = { "tools/list", "notifications/tools/list_changed" },
		[LIST_RESOURCES] = { "resources/list", "notifications/resources/list_changed" },
		[LIST_TEMPLATES] = { "resources/templates/list", "notifications/resources/list_changed" },
		[LIST_PROMPTS] = { "prompts/list", "notifications/prompts/list_changed" },
	};

	(void)state;
	for (int i = 0; i < LIST_COUNT; i++) {
		assert_string_equal(catalog_list_method((enum catalog_list)i), cases[i].method);
		assert_string_equal(catalog_list_changed((enum catalog_list)i), cases[i].changed);
		assert_int_equal(catalog_list_of(span_str(cases[i].method)), i);
	}
	assert_int_equal(catalog_list_of(SPAN_LIT("tools/call")), -1);
	assert_int_equal(catalog_list_of(SPAN_LIT("tools/list2")), -1);
	assert_int_equal(catalog_list_of(SPAN_NONE), -1);
}

static void globs_match_whole_names(void **state)
{
	static const struct { const char *glob, *name; bool want; } cases[] = {
		{ "get", "get", true }, { "get", "gets", false }, { "gets", "get", false },
		{ "get_*", "get_", true }, { "get_*", "get_x", true }, { "get_*", "xget_", false },
		{ "*", "", true }, { "*", "anything", true }, { "", "", true }, { "", "x", false },
		{ "?", "", false }, { "?", "x", true }, { "?", "xy", false }, { "??", "\xc3\xa9", false },
		{ "?", "\xc3\xa9", true }, { "a?c", "a\xe4\xb8\x96" "c", true }, { "*?", "\xc3\xa9", true },
		{ "*??", "\xc3\xa9", false }, { "*a*b", "xaxxbxb", true }, { "*a*b", "xaxxbxc", false },
		{ "a*b*c", "abc", true }, { "a**c", "abbc", true }, { "*.*", "a.b.c", true },
		{ "[a]", "a", false }, { "[a]", "[a]", true }, { "\\*", "\\x", true }, { "A", "a", false },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		if (glob_match(cases[i].glob, span_str(cases[i].name)) != cases[i].want)
			fail_msg("%s, %s", cases[i].glob, cases[i].name);
	}
	assert_false(glob_match("x", span_make("x\0", 2)));
}

/* ---- may it be repeated? ---- */

static void hints_count_only_as_the_boolean_true(void **state)
{
	static const struct { const char *tool; bool want; } cases[] = {
		{ HINTED("t", RO), true },
		{ HINTED("t", "\"idempotentHint\":true"), true },
		{ HINTED("t", "\"readOnlyHint\":false,\"idempotentHint\":true"), true },
		{ HINTED("t", "\"readOnlyHint\":false"), false },
		{ HINTED("t", "\"destructiveHint\":false"), false },
		{ HINTED("t", ""), false },
		{ HINTED("t", "\"readOnlyHint\":\"true\""), false },
		{ HINTED("t", "\"readOnlyHint\":1"), false },
		{ HINTED("t", "\"readOnlyHint\":[true]"), false },
		{ HINTED("t", "\"readOnlyHint\":null"), false },
		{ HINTED("t", "\"readOnlyHint\":true,\"readOnlyHint\":false"), false },
		{ HINTED("\\u0074", RO), true },
		{ "{\"name\":\"t\"}", false },
		{ "{\"name\":\"t\",\"annotations\":null}", false },
		{ "{\"name\":\"t\",\"annotations\":[" "{" RO "}" "]}", false },
		{ "{\"name\":\"t\",\"annotations\":\"readOnlyHint\"}", false },
		{ "{\"name\":\"t\"," RO "}", false },
		{ "{\"name\":7,\"annotations\":{" RO "}}", false },
		{ "{\"name\":[\"t\"],\"annotations\":{" RO "}}", false },
		{ "{\"annotations\":{" RO "}}", false },
		{ "[\"t\"]", false }, { "\"t\"", false }, { "null", false },
	};
	static const struct core_config c = { .trust_annotations = true }, wary = { .trust_annotations = false };

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct catalog *k = fresh(&c), *w = fresh(&wary);
		char text[256];

		snprintf(text, sizeof text, "{\"tools\":[%s]}", cases[i].tool);
		page(k, LIST_TOOLS, NULL, text);
		page(w, LIST_TOOLS, NULL, text);
		if (repeatable(k, "\"t\"") != cases[i].want)
			fail_msg("%s", text);
		assert_true(repeatable(k, "\"\\u0074\"") == cases[i].want);
		assert_false(repeatable(w, "\"t\""));
		assert_false(repeatable(k, "\"T\""));
		assert_false(repeatable(k, "7"));
		assert_false(repeatable(k, NULL));
		catalog_free(k);
		catalog_free(w);
	}
}

static void the_users_globs_go_before_the_hints(void **state)
{
	static const char *const yes[] = { "save_*", "both" }, *const no[] = { "get_secret", "both" };
	const struct core_config c = { .trust_annotations = true, .retry_tools = yes, .nretry_tools = 2,
	                               .no_retry_tools = no, .nno_retry_tools = 2 };
	struct catalog *k = fresh(&c);

	(void)state;
	assert_true(repeatable(k, "\"save_x\"")); /* even before any list */
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("get_secret", RO) "," HINTED("get_x", RO) "," HINTED("both", RO) "]}");
	assert_true(repeatable(k, "\"get_x\""));
	assert_false(repeatable(k, "\"get_secret\""));
	assert_false(repeatable(k, "\"both\""));
	assert_true(repeatable(k, "\"save_\\u0078\""));
	assert_false(repeatable(k, "\"delete\""));
	catalog_free(k);
}

static void the_last_glob_that_matches_gives_the_timeout(void **state)
{
	static const struct tool_timeout timeouts[] = { { "*", 1000 }, { "slow_*", 5000 }, { "slow_x", 9000 } };
	const struct core_config c = { .tool_timeouts = timeouts, .ntool_timeouts = 3 }, none = { 0 };
	struct catalog *k = fresh(&c), *n = fresh(&none);

	(void)state;
	assert_int_equal(catalog_tool_timeout(k, SPAN_LIT("\"a\"")), 1000);
	assert_int_equal(catalog_tool_timeout(k, SPAN_LIT("\"slow_a\"")), 5000);
	assert_int_equal(catalog_tool_timeout(k, SPAN_LIT("\"slow_\\u0078\"")), 9000);
	assert_int_equal(catalog_tool_timeout(k, SPAN_NONE), 0);
	assert_int_equal(catalog_tool_timeout(k, SPAN_LIT("7")), 0);
	assert_int_equal(catalog_tool_timeout(n, SPAN_LIT("\"a\"")), 0);
	catalog_free(k);
	catalog_free(n);
}

static void the_newest_page_wins_and_a_whole_listing_replaces_the_older_one(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "],\"nextCursor\":\"2\"}");
	assert_true(repeatable(k, "\"a\""));
	assert_false(catalog_has(k, LIST_TOOLS));
	page(k, LIST_TOOLS, "\"2\"", "{\"tools\":[" HINTED("b", RO) "]}");
	assert_true(repeatable(k, "\"a\"") && repeatable(k, "\"b\""));
	assert_true(catalog_has(k, LIST_TOOLS));

	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", "") "],\"nextCursor\":\"2\"}");
	assert_false(repeatable(k, "\"a\""));
	assert_true(repeatable(k, "\"b\"")); /* not contradicted so far */
	assert_true(catalog_has(k, LIST_TOOLS));
	page(k, LIST_TOOLS, "\"2\"", "{\"tools\":[" HINTED("c", RO) "]}");
	assert_false(repeatable(k, "\"b\""));
	assert_true(repeatable(k, "\"c\""));
	catalog_free(k);
}

static void list_changed_sets_hints_aside_until_a_new_listing_begins(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "," HINTED("b", RO) "],\"nextCursor\":\"2\"}");
	catalog_on_list_changed(k, LIST_PROMPTS);
	assert_true(repeatable(k, "\"a\""));
	catalog_on_list_changed(k, LIST_TOOLS);
	assert_false(repeatable(k, "\"a\""));
	page(k, LIST_TOOLS, "\"2\"", "{\"tools\":[" HINTED("c", RO) "]}"); /* of the listing that is old by now */
	assert_false(repeatable(k, "\"c\""));
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "],\"nextCursor\":\"2\"}");
	assert_true(repeatable(k, "\"a\""));
	assert_false(repeatable(k, "\"b\"")); /* not yet seen again */
	catalog_free(k);
}

static void a_listing_of_ours_is_newer_than_the_clients_walk_beside_it(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "," HINTED("b", RO) "],\"nextCursor\":\"2\"}");
	catalog_on_list_changed(k, LIST_TOOLS);
	assert_true(catalog_tools_changed(k));
	catalog_learn_begin(k);
	assert_int_equal(catalog_learn_tools(k, SPAN_LIT("{\"tools\":[" HINTED("a", RO) ",{\"name\":\"c\"}]}")), 0);
	assert_true(repeatable(k, "\"a\""));
	assert_false(repeatable(k, "\"b\""));
	page(k, LIST_TOOLS, "\"2\"", "{\"tools\":[" HINTED("c", RO) "]}"); /* of before, and the end of that walk */
	assert_false(repeatable(k, "\"c\""));
	assert_true(repeatable(k, "\"a\""));
	catalog_learn_end(k);
	assert_true(repeatable(k, "\"a\""));
	assert_true(catalog_tools_changed(k)); /* the client has still to ask */
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("b", RO) "]}");
	assert_false(catalog_tools_changed(k));
	assert_true(repeatable(k, "\"b\""));
	assert_false(repeatable(k, "\"a\""));
	catalog_free(k);
}

static void what_a_listing_of_ours_does_not_name_has_no_hints(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "," HINTED("b", RO) "]}");
	catalog_learn_begin(k);
	assert_int_equal(catalog_learn_tools(k, SPAN_LIT("{\"tools\":[" HINTED("a", RO) "]}")), 0);
	assert_true(repeatable(k, "\"b\"")); /* it may come yet */
	catalog_learn_end(k);
	assert_true(repeatable(k, "\"a\""));
	assert_false(repeatable(k, "\"b\""));
	catalog_free(k);
}

static void a_page_out_of_order_teaches_hints_but_completes_nothing(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, "\"9\"", "{\"tools\":[" HINTED("z", RO) "]}");
	assert_true(repeatable(k, "\"z\""));
	assert_false(catalog_has(k, LIST_TOOLS));
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "],\"nextCursor\":\"2\"}");
	page(k, LIST_TOOLS, "\"9\"", "{\"tools\":[" HINTED("y", RO) "]}");
	assert_false(catalog_has(k, LIST_TOOLS));
	assert_true(repeatable(k, "\"y\""));
	page(k, LIST_TOOLS, "\"\\u0032\"", "{\"tools\":[]}"); /* the right one, spelled otherwise */
	assert_true(catalog_has(k, LIST_TOOLS));
	catalog_free(k);
}

static void a_result_without_its_list_is_ignored(void **state)
{
	static const char *const results[] = { "{}", "[]", "7", "null", "{\"tools\":null}", "{\"tools\":{\"a\":1}}", "{\"prompts\":[]}" };
	const struct core_config c = { .trust_annotations = true };

	(void)state;
	for (size_t i = 0; i < N(results); i++) {
		struct catalog *k = fresh(&c);

		page(k, LIST_TOOLS, NULL, results[i]);
		assert_false(catalog_has(k, LIST_TOOLS));
		page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "]}");
		page(k, LIST_TOOLS, NULL, results[i]);
		assert_true(repeatable(k, "\"a\""));
		assert_true(catalog_digest(k, LIST_TOOLS).whole);
		catalog_free(k);
	}
}

/* ---- digests ---- */

static struct digest digest_of(const struct catalog *k, enum catalog_list l, const char *const *pages)
{
	struct digest d;

	catalog_digest_begin(k, &d);
	for (; *pages; pages++)
		catalog_digest_page(k, &d, l, span_str(*pages));
	return d;
}

static void digests_see_what_differs_and_nothing_else(void **state)
{
	static const struct { const char *a[4], *b[4]; bool equal; } cases[] = {
		{ { "{\"tools\":[]}" }, { "{\"tools\":[]}" }, true },
		{ { "{\"tools\":[1,2]}" }, { "{ \"tools\" : [ 1 ,\r\n\t2 ] }" }, true },
		{ { "{\"tools\":[{\"a\":[1,\"x y\"]}]}" }, { "{\"tools\":[{ \"a\" : [ 1 , \"x y\" ] }]}" }, true },
		{ { "{\"tools\":[1,2]}" }, { "{\"tools\":[1],\"nextCursor\":\"x\"}", "{\"tools\":[2]}" }, true },
		{ { "{\"tools\":[1,2]}" }, { "{\"tools\":[],\"nextCursor\":\"x\"}", "{\"tools\":[1,2]}" }, true },
		{ { "{\"tools\":[1]}" }, { "{\"_meta\":{\"x\":1},\"tools\":[1],\"ttlMs\":5,\"cacheScope\":\"public\"}" }, true },
		{ { "{\"tools\":[1]}" }, { "{\"tools\":[1],\"nextCursor\":null}" }, true },
		{ { "{\"tools\":[1]}" }, { "{\"tools\":[1],\"nextCursor\":\"\"}" }, true },
		{ { "{\"tools\":[1]}" }, { "{\"tools\":[]}" }, false },
		{ { "{\"tools\":[1,2]}" }, { "{\"tools\":[2,1]}" }, false },
		{ { "{\"tools\":[1,2]}" }, { "{\"tools\":[12]}" }, false },
		{ { "{\"tools\":[[1],[2]]}" }, { "{\"tools\":[[1,2]]}" }, false },
		{ { "{\"tools\":[\"a\",\"b\"]}" }, { "{\"tools\":[\"a\\\",\\\"b\"]}" }, false },
		{ { "{\"tools\":[\"x y\"]}" }, { "{\"tools\":[\"xy\"]}" }, false },
		{ { "{\"tools\":[\"\\\" \\\\\"]}" }, { "{\"tools\":[\"\\\"\\\\\"]}" }, false },
		{ { "{\"tools\":[\"\\\\\", 1]}" }, { "{\"tools\":[\"\\\\\",1]}" }, true },
		{ { "{\"tools\":[{\"a\":1,\"b\":2}]}" }, { "{\"tools\":[{\"b\":2,\"a\":1}]}" }, false },
		{ { "{\"tools\":[1],\"nextCursor\":\"x\"}" }, { "{\"tools\":[1],\"nextCursor\":\"x\"}" }, false },
		{ { "{\"tools\":[1]}" }, { "{\"prompts\":[1]}" }, false },
		{ { NULL }, { NULL }, false },
	};
	const struct core_config c = { 0 };
	struct catalog *k = fresh(&c);

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct digest a = digest_of(k, LIST_TOOLS, cases[i].a);

		if (catalog_digest_equal(a, digest_of(k, LIST_TOOLS, cases[i].b)) != cases[i].equal)
			fail_msg("%s", cases[i].a[0]);
	}
	catalog_free(k);
}

static void what_the_client_saw_compares_with_a_listing_of_our_own(void **state)
{
	static const char *const members[LIST_COUNT] = { "tools", "resources", "resourceTemplates", "prompts" };
	const struct core_config c = { 0 };
	struct catalog *k = fresh(&c);

	(void)state;
	for (int i = 0; i < LIST_COUNT; i++) {
		enum catalog_list l = (enum catalog_list)i;
		char first[80], second[80], both[80];
		const char *own[] = { both, NULL };

		snprintf(first, sizeof first, "{\"%s\":[{\"name\":\"a\"}],\"nextCursor\":\"c\"}", members[i]);
		snprintf(second, sizeof second, "{\"%s\":[{\"name\":\"b\"}]}", members[i]);
		snprintf(both, sizeof both, "{\"%s\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", members[i]);
		assert_false(catalog_has(k, l));
		page(k, l, NULL, first);
		assert_false(catalog_digest_equal(catalog_digest(k, l), digest_of(k, l, own)));
		page(k, l, "\"c\"", second);
		assert_true(catalog_has(k, l));
		assert_true(catalog_digest_equal(catalog_digest(k, l), digest_of(k, l, own)));
		page(k, l, NULL, first); /* half way through a newer listing */
		assert_false(catalog_digest(k, l).whole);
		page(k, l, "\"c\"", second);
		assert_true(catalog_digest_equal(catalog_digest(k, l), digest_of(k, l, own)));
	}
	catalog_free(k);
}

/* ---- mirrors ---- */

#define MARKED(name, param, header) "{\"name\":\"" name "\",\"inputSchema\":{\"properties\":{\"" param \
	"\":{\"type\":\"string\",\"x-mcp-header\":\"" header "\"}}}}"

static void headers_come_from_the_newest_listing_of_the_tool(void **state)
{
	static const struct { const char *result, *want; } cases[] = {
		{ "{\"tools\":[" MARKED("t", "a", "A") "]}", "Mcp-Param-A: x\n" },
		{ "{\"tools\":[" MARKED("t", "a", "B") "]}", "Mcp-Param-B: x\n" },
		{ "{\"tools\":[" MARKED("t", "a", "no good") "]}", "" },
		{ "{\"tools\":[" MARKED("t", "b", "B") "]}", "" },
		{ "{\"tools\":[" MARKED("u", "a", "A") "]}", "" },
	};
	const struct core_config c = { 0 };
	struct catalog *k = fresh(&c);

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct buf out;

		page(k, LIST_TOOLS, NULL, cases[i].result);
		catalog_on_list_changed(k, LIST_TOOLS); /* the best guess until listed again */
		buf_init(&out, 1000);
		assert_int_equal(catalog_param_headers(k, SPAN_LIT("\"\\u0074\""), SPAN_LIT("{\"a\":\"x\"}"), &out), 0);
		assert_true(span_is(buf_span(&out), cases[i].want));
		assert_int_equal(catalog_param_headers(k, SPAN_NONE, SPAN_LIT("{\"a\":\"x\"}"), &out), 0);
		assert_true(span_is(buf_span(&out), cases[i].want));
		buf_fini(&out);
	}
	catalog_free(k);
}

static void note(void *arg, struct span name, const char *reason)
{
	struct buf *b = arg;

	assert_true(reason && *reason);
	assert_int_equal(buf_add(b, name) || buf_puts(b, ";"), 0);
}

static void tools_with_invalid_marks_are_taken_out(void **state)
{
	static const struct { const char *result; int removed; const char *want, *names; } cases[] = {
		{ "{\"tools\":[" MARKED("t", "a", "A") "]}", 0, "", "" },
		{ "{\"tools\":[]}", 0, "", "" },
		{ "{}", 0, "", "" },
		{ "{\"tools\":7}", 0, "", "" },
		{ "{\"tools\":[ " MARKED("t\\u0031", "a", "") " ] , \"x\":1}", 1, "{\"tools\":[] , \"x\":1}", "t1;" },
		{ "{\"tools\":[" MARKED("bad", "a", "") ", {\"name\":\"ok\"}]}", 1, "{\"tools\":[{\"name\":\"ok\"}]}", "bad;" },
		{ "{\"a\":[1],\"tools\":[{\"name\":\"ok\"}, " MARKED("bad", "a", " ") "],\"b\":2}", 1,
		  "{\"a\":[1],\"tools\":[{\"name\":\"ok\"}],\"b\":2}", "bad;" },
		{ "{\"tools\":[1," MARKED("p", "a", "") ",2," MARKED("q", "a", "") ",3]}", 2, "{\"tools\":[1,2,3]}", "p;q;" },
		{ "{\"tools\":[{\"inputSchema\":{\"items\":{\"x-mcp-header\":\"X\"}}}]}", 1, "{\"tools\":[]}", ";" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct buf out, names;

		buf_init(&out, 1000);
		buf_init(&names, 1000);
		assert_int_equal(tools_drop_invalid(span_str(cases[i].result), &out, note, &names), cases[i].removed);
		if (!span_is(buf_span(&out), cases[i].want))
			fail_msg("%s: %.*s", cases[i].result, (int)out.len, buf_data(&out));
		assert_true(span_is(buf_span(&names), cases[i].names));
		buf_fini(&out);
		buf_fini(&names);
	}
}

static void a_full_buffer_fails_the_filter_cleanly(void **state)
{
	static const char result[] = "{\"tools\":[1,2," MARKED("bad", "a", "") ",3]}";
	struct buf out, names;

	(void)state;
	for (size_t max = 2; max < 20; max++) {
		buf_init(&out, max);
		buf_init(&names, 100);
		assert_int_equal(buf_puts(&out, "x:"), 0);
		assert_int_equal(tools_drop_invalid(SPAN_LIT(result), &out, note, &names), max < 19 ? -1 : 1);
		assert_true(span_is(buf_span(&out), max < 19 ? "x:" : "x:{\"tools\":[1,2,3]}"));
		buf_fini(&out);
		buf_fini(&names);
	}
}

static void schemas_that_describe_no_object_are_taken_out(void **state)
{
	static const struct { const char *result; int changed; const char *want; } cases[] = {
		{ "{\"tools\":[{\"name\":\"a\"},{\"name\":\"b\",\"outputSchema\":{ \"type\" : \"obj\\u0065ct\"}}]}", 0, "" },
		{ "{\"tools\":7}", 0, "" },
		{ "{}", 0, "" },
		{ "{ \"tools\": [ {\"name\":\"a\", \"outputSchema\":{\"type\":\"array\"}, \"x\":1.0} ] , \"nextCursor\":\"c\"}", 1,
		  "{ \"tools\": [{\"name\":\"a\", \"x\":1.0}] , \"nextCursor\":\"c\"}" },
		{ "{\"tools\":[1,{\"outputSchema\":{\"anyOf\":[]}},{\"outputSchema\":true},{\"outputSchema\":{\"type\":[\"object\",\"null\"]}}]}", 3,
		  "{\"tools\":[1,{},{},{}]}" },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct buf out;

		buf_init(&out, 1000);
		assert_int_equal(tools_fit_legacy(span_str(cases[i].result), &out), cases[i].changed);
		if (!span_is(buf_span(&out), cases[i].want))
			fail_msg("%s: %.*s", cases[i].result, (int)out.len, buf_data(&out));
		buf_fini(&out);
	}
}

/* ---- hostile lists ---- */

static void put_tools(struct buf *b, const char *prefix, int n, const char *tail)
{
	buf_reset(b);
	buf_puts(b, "{\"tools\":[");
	for (int i = 0; i < n; i++)
		buf_printf(b, "%s{\"name\":\"%s%d\",\"description\":\"a tool\",\"inputSchema\":{\"type\":\"object\"},"
		              "\"annotations\":{\"readOnlyHint\":true}}", i ? "," : "", prefix, i);
	assert_int_equal(buf_printf(b, "]%s}", tail), 0);
}

static double seconds(void)
{
	return (double)clock() / CLOCKS_PER_SEC;
}

static void fifty_thousand_tools_take_a_moment(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);
	struct buf b;
	double start;

	(void)state;
	buf_init(&b, (size_t)64 << 20);
	put_tools(&b, "tool", 50000, "");
	start = seconds();
	for (int i = 0; i < 2; i++)
		assert_int_equal(catalog_on_page(k, LIST_TOOLS, SPAN_NONE, buf_span(&b)), 0);
	assert_true(repeatable(k, "\"tool0\"") && repeatable(k, "\"tool49999\""));
	assert_false(repeatable(k, "\"tool50000\""));
	for (int i = 0; i < 100000; i++)
		assert_true(repeatable(k, "\"tool777\""));
	/* Generous, for sanitizers and valgrind on a busy machine; plain it is a few hundredths. */
	assert_true(seconds() - start < 30);
	buf_fini(&b);
	catalog_free(k);
}

static void past_the_bound_tools_are_unknown_and_a_new_listing_finds_room(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);
	struct buf b;

	(void)state;
	buf_init(&b, (size_t)64 << 20);
	put_tools(&b, "old", CATALOG_MAX_TOOLS + 10, "");
	assert_int_equal(catalog_on_page(k, LIST_TOOLS, SPAN_NONE, buf_span(&b)), 0);
	assert_true(repeatable(k, "\"old0\""));
	assert_false(repeatable(k, "\"old100005\""));
	put_tools(&b, "new", CATALOG_MAX_TOOLS + 10, "");
	assert_int_equal(catalog_on_page(k, LIST_TOOLS, SPAN_NONE, buf_span(&b)), 0);
	assert_true(repeatable(k, "\"new99999\""));
	assert_false(repeatable(k, "\"new100005\"") || repeatable(k, "\"old0\""));
	buf_fini(&b);
	catalog_free(k);
}

static void names_too_large_to_keep_are_unknown(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);
	struct buf b, name;

	(void)state;
	buf_init(&b, CATALOG_MAX_BYTES * 2);
	buf_init(&name, CATALOG_MAX_BYTES * 2);
	assert_int_equal(buf_reserve(&name, CATALOG_MAX_BYTES + 2), 0);
	memset(buf_tail(&name), 'a', CATALOG_MAX_BYTES + 2);
	buf_grew(&name, CATALOG_MAX_BYTES + 2);
	buf_data(&name)[0] = buf_data(&name)[name.len - 1] = '"';
	buf_puts(&b, "{\"tools\":[{\"name\":");
	buf_add(&b, buf_span(&name));
	assert_int_equal(buf_puts(&b, ",\"annotations\":{" RO "}}," HINTED("b", RO) "]}"), 0);
	assert_int_equal(catalog_on_page(k, LIST_TOOLS, SPAN_NONE, buf_span(&b)), 0);
	assert_false(catalog_repeatable(k, buf_span(&name)));
	assert_true(repeatable(k, "\"b\""));
	buf_fini(&b);
	buf_fini(&name);
	catalog_free(k);
}

static void a_cursor_that_leads_to_itself_never_completes_a_listing(void **state)
{
	const struct core_config c = { .trust_annotations = true };
	struct catalog *k = fresh(&c);

	(void)state;
	page(k, LIST_TOOLS, NULL, "{\"tools\":[" HINTED("a", RO) "],\"nextCursor\":\"c\"}");
	for (int i = 0; i < 20000; i++)
		page(k, LIST_TOOLS, "\"c\"", "{\"tools\":[" HINTED("b", RO) "," MARKED("m", "a", "A") "],\"nextCursor\":\"c\"}");
	assert_false(catalog_has(k, LIST_TOOLS));
	assert_true(repeatable(k, "\"b\""));
	catalog_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_list_has_its_method_and_its_news),
		cmocka_unit_test(globs_match_whole_names),
		cmocka_unit_test(hints_count_only_as_the_boolean_true),
		cmocka_unit_test(the_users_globs_go_before_the_hints),
		cmocka_unit_test(the_last_glob_that_matches_gives_the_timeout),
		cmocka_unit_test(the_newest_page_wins_and_a_whole_listing_replaces_the_older_one),
		cmocka_unit_test(list_changed_sets_hints_aside_until_a_new_listing_begins),
		cmocka_unit_test(a_listing_of_ours_is_newer_than_the_clients_walk_beside_it),
		cmocka_unit_test(what_a_listing_of_ours_does_not_name_has_no_hints),
		cmocka_unit_test(a_page_out_of_order_teaches_hints_but_completes_nothing),
		cmocka_unit_test(a_result_without_its_list_is_ignored),
		cmocka_unit_test(digests_see_what_differs_and_nothing_else),
		cmocka_unit_test(what_the_client_saw_compares_with_a_listing_of_our_own),
		cmocka_unit_test(headers_come_from_the_newest_listing_of_the_tool),
		cmocka_unit_test(tools_with_invalid_marks_are_taken_out),
		cmocka_unit_test(schemas_that_describe_no_object_are_taken_out),
		cmocka_unit_test(a_full_buffer_fails_the_filter_cleanly),
		cmocka_unit_test(fifty_thousand_tools_take_a_moment),
		cmocka_unit_test(past_the_bound_tools_are_unknown_and_a_new_listing_finds_room),
		cmocka_unit_test(names_too_large_to_keep_are_unknown),
		cmocka_unit_test(a_cursor_that_leads_to_itself_never_completes_a_listing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
