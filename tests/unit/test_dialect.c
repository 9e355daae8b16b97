/* The rules that differ between protocol revisions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/dialect.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

static void versions_are_read_only_where_they_are_short_plain_strings(void **state)
{
	static const struct { const char *json, *want; } rows[] = {
		{ "\"2025-06-18\"", "2025-06-18" }, { "\"draft\"", "draft" }, { "\"\"", NULL }, { "20250618", NULL }, { "null", NULL },
		{ "\"0123456789012345\"", NULL }, { "\"012345678901234\"", "012345678901234" }, { "\"a\\nb\"", NULL }, { "\"a b\"", NULL },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		char out[16] = "";
		assert_int_equal(version_read(span_str(rows[i].json), out), rows[i].want != NULL);
		if (rows[i].want)
			assert_string_equal(out, rows[i].want);
	}
	assert_false(version_read(SPAN_NONE, (char[16]){ 0 }));
}

static void legacy_and_modern_versions_are_told_apart(void **state)
{
	(void)state;
	assert_true(version_is_known_legacy("2024-11-05") && version_is_known_legacy("2025-11-25"));
	assert_false(version_is_known_legacy("2026-07-28") || version_is_known_legacy("") || version_is_known_legacy("2025-06-1"));
	assert_true(version_is_modern(SPAN_LIT("\"2026-07-28\"")));
	assert_false(version_is_modern(SPAN_LIT("\"2025-11-25\"")) || version_is_modern(SPAN_LIT("\"zzz\"")) || version_is_modern(SPAN_NONE));
}

static void session_headers_follow_the_revision(void **state)
{
	static const struct { enum era era; const char *version, *sid, *want; } rows[] = {
		{ ERA_SSE, "2024-11-05", "s", "" }, { ERA_MODERN, "2026-07-28", "s", "" }, { ERA_NONE, "", "", "" },
		{ ERA_HTTP, "2025-03-26", "s", "Mcp-Session-Id: s\n" }, { ERA_HTTP, "2025-03-26", "", "" },
		{ ERA_HTTP, "2025-06-18", "s", "Mcp-Session-Id: s\nMCP-Protocol-Version: 2025-06-18\n" },
		{ ERA_HTTP, "2025-11-25", "", "MCP-Protocol-Version: 2025-11-25\n" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct buf b;
		buf_init(&b, 1000);
		assert_int_equal(dialect_session_headers(&b, rows[i].era, rows[i].version, span_str(rows[i].sid)), 0);
		assert_true(span_is(buf_span(&b), rows[i].want));
		buf_fini(&b);
	}
}

static void each_era_answers_each_question_once(void **state)
{
	static const struct { enum era era; bool resumes, stream, ping, close; } rows[] = {
		{ ERA_SSE, false, false, true, false }, { ERA_HTTP, true, true, false, false }, { ERA_MODERN, false, false, false, true },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		assert_int_equal(dialect_resumes(rows[i].era), rows[i].resumes);
		assert_int_equal(dialect_has_stream(rows[i].era), rows[i].stream);
		assert_int_equal(dialect_ping_judges_stream(rows[i].era), rows[i].ping);
		assert_int_equal(dialect_cancel_by_close(rows[i].era), rows[i].close);
	}
	assert_true(dialect_has_batches("2025-03-26"));
	assert_false(dialect_has_batches("2025-06-18") || dialect_has_batches("2024-11-05") || dialect_has_batches(""));
}

static void what_may_be_repeated_is_a_closed_list(void **state)
{
	static const char *const yes[] = { "initialize", "server/discover", "ping", "tools/list", "resources/list", "resources/templates/list", "prompts/list",
		"resources/read", "prompts/get", "completion/complete", "subscriptions/listen", "resources/subscribe", "resources/unsubscribe",
		"logging/setLevel", "tasks/get", "tasks/list", "tasks/result" };
	static const char *const no[] = { "tools/call", "tasks/cancel", "", "vendor/own", "tools/lis", "tools/list2", "Ping", "sampling/createMessage" };

	(void)state;
	for (size_t i = 0; i < N(yes); i++)
		assert_true(dialect_repeatable(span_str(yes[i])));
	for (size_t i = 0; i < N(no); i++)
		assert_false(dialect_repeatable(span_str(no[i])));
	assert_false(dialect_repeatable(SPAN_NONE));
}

static void modern_headers_mirror_method_and_name(void **state)
{
	static const struct { const char *method, *params, *want; } rows[] = {
		{ "tools/list", "{}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/list\n" },
		{ "tools/call", "{\"name\":\"add\"}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\nMcp-Name: add\n" },
		{ "prompts/get", "{\"name\":\"p\"}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: prompts/get\nMcp-Name: p\n" },
		{ "resources/read", "{\"uri\":\"file:///a\"}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: resources/read\nMcp-Name: file:///a\n" },
		{ "tasks/get", "{\"taskId\":\"t\"}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tasks/get\nMcp-Name: t\n" },
		{ "tasks/update", "{\"taskId\":\"t\",\"inputResponses\":{}}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tasks/update\nMcp-Name: t\n" },
		{ "tasks/cancel", "{\"taskId\":\" t\"}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tasks/cancel\nMcp-Name: =?base64?IHQ=?=\n" },
		{ "vendor\\/\\u0078", "{}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: vendor/x\n" },
		{ "tools/call", "{\"name\":7}", "MCP-Protocol-Version: 2026-07-28\nMcp-Method: tools/call\n" },
	};
	struct core_config c = { 0 };
	struct catalog *k = catalog_new(&c, (const unsigned char[16]){ 0 });

	(void)state;
	assert_non_null(k);
	for (size_t i = 0; i < N(rows); i++) {
		struct buf b;
		buf_init(&b, 4000);
		assert_int_equal(dialect_modern_headers(&b, SPAN_LIT("2026-07-28"), span_str(rows[i].method), span_str(rows[i].params), k), 0);
		assert_true(span_is(buf_span(&b), rows[i].want));
		buf_fini(&b);
	}
	catalog_free(k);
}

static void a_long_uri_is_mirrored_too(void **state)
{
	struct core_config c = { 0 };
	struct catalog *k = catalog_new(&c, (const unsigned char[16]){ 0 });
	struct buf params, b;

	(void)state;
	assert_non_null(k);
	buf_init(&params, 1 << 20);
	buf_init(&b, 1 << 20);
	assert_int_equal(buf_printf(&params, "{\"uri\":\"data:,%060000d\"}", 7), 0);
	assert_int_equal(dialect_mirror_headers(&b, SPAN_LIT("resources/read"), buf_span(&params), k), 0);
	assert_true(b.len > 60000 && memmem(buf_data(&b), b.len, "Mcp-Name: data:,0000", 20));
	buf_fini(&params);
	buf_fini(&b);
	catalog_free(k);
}

static void a_modern_client_shows_itself_by_its_meta(void **state)
{
	static const struct { const char *line; bool modern; } rows[] = {
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"server/discover\"}", true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\"}}}", true },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":7}}}", false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{\"arguments\":{\"x\":\"io.modelcontextprotocol/protocolVersion\"}}}", false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}", false },
		{ "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}", false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct rpc_msg m;
		rpc_parse(rows[i].line, strlen(rows[i].line), &m);
		assert_int_equal(dialect_client_is_modern(&m), rows[i].modern);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(versions_are_read_only_where_they_are_short_plain_strings),
		cmocka_unit_test(legacy_and_modern_versions_are_told_apart),
		cmocka_unit_test(session_headers_follow_the_revision),
		cmocka_unit_test(each_era_answers_each_question_once),
		cmocka_unit_test(what_may_be_repeated_is_a_closed_list),
		cmocka_unit_test(modern_headers_mirror_method_and_name),
		cmocka_unit_test(a_long_uri_is_mirrored_too),
		cmocka_unit_test(a_modern_client_shows_itself_by_its_meta),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
