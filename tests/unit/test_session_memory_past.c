/* Memory that fails where something of earlier times is used: the start from
 * what is remembered while the server is away, and the comparison after a
 * revival. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "era_peers.h"

/* ---- the start while the server is away --------------------------------------------------------------------------- */

#define KEPT_RESULT "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}"
#define KEPT_LEGACY "{\"era\":\"streamable-http\",\"result\":" KEPT_RESULT "}"
#define KEPT_MODERN "{\"era\":\"stateless-http\",\"discover\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}}}"

static void recall(struct play *p, const struct action *a, void *arg)
{
	(void)arg;
	MUST(!a->text.n || a->text.p[a->text.n - 1] == '}');
	if (a->status != REMEMBER_RECALL)
		return;
	session_on_memory(p->s, REMEMBER_LIST, SPAN_LIT("{\"cursor\":null,\"result\":{\"tools\":[" TOOL_SAFE ",{\"name\":\"hid\\u0065\"}],\"nextCursor\":\"c\"}}"), 100);
	session_on_memory(p->s, REMEMBER_LIST, SPAN_LIT("{\"cursor\":\"c\",\"result\":{\"tools\":[" TOOL_ACT "]}}"), 100);
}

/* Nothing can be reached for ms. */
static void away(struct play *p, int64_t ms)
{
	int64_t until = p->now + ms, at;

	for (;;) {
		struct transfer *t = p->transfers;
		while (t && !t->open)
			t = t->next;
		if (t) {
			play_fail(p, t, HTTP_CONNECT, false);
			continue;
		}
		at = session_deadline(p->s);
		if (!at || at > until)
			break;
		play_pass(p, at > p->now ? at - p->now : 0);
	}
	p->now = until;
}

static void begin_away(struct play *p, const char *kept)
{
	p->on_remember = recall;
	session_on_memory(p->s, REMEMBER_HANDSHAKE, span_str(kept), 100);
}

static void legacy_client_away(struct play *p, const char *kept)
{
	begin_away(p, kept);
	play_client(p, HELLO_AS("init"));
	away(p, 6000);
	play_client(p, PLAY_INITIALIZED);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\",\"params\":{\"cursor\":\"c\"}}");
	play_ask(p, 3, "ping");
	play_call(p, 10, "act");
	play_ask(p, 11, "prompts/get");
	away(p, 4000);
}

static void life_begun_away(struct play *p)
{
	legacy_client_away(p, KEPT_LEGACY);
	serve_legacy(p, 40000);
}

static void life_begun_away_from_a_modern_server(struct play *p)
{
	legacy_client_away(p, KEPT_MODERN);
	serve_modern(p, 40000);
}

static void modern_client_away(struct play *p, const char *kept)
{
	begin_away(p, kept);
	play_client(p, ASK("\"d\"", "server/discover", ""));
	away(p, 6000);
	play_client(p, ASK("1", "tools/list", ""));
	play_client(p, ASK("2", "tools/list", "\"cursor\":\"c\","));
	play_client(p, CALL("10", "act"));
	away(p, 4000);
}

static void modern_life_begun_away(struct play *p)
{
	modern_client_away(p, KEPT_MODERN);
	serve_modern(p, 40000);
}

static void modern_life_begun_away_from_a_legacy_server(struct play *p)
{
	modern_client_away(p, KEPT_LEGACY);
	serve_legacy(p, 40000);
}

/* A list from memory is another one now, and the client hears of it. */
static const char *check_stale(struct play *p, unsigned long width)
{
	if (play_said(p, "hid\\u0065"))
		return "a tool is seen that should not be";
	if (width < DROUGHT && play_said(p, "mcp-holdfast/stale") && !play_answers(p, "\"again\"", NULL) && !play_said(p, "notifications/tools/list_changed"))
		return "the client was not told of another list";
	return NULL;
}

/* ---- what a new session offers ---------------------------------------------------------------------------------------- */

/* The second session has another second page of tools. */
static void serve_one_changing(struct play *p, struct transfer *t)
{
	struct rpc_msg m = transfer_msg(t);
	bool paged = json_get(m.params, "cursor").p != NULL, anew = play_count(p, "initialize") > 1;

	if (!span_is(m.method, "tools/list"))
		serve_one_legacy(p, t);
	else if (!paged)
		play_json(p, t, "\"result\":{\"tools\":[" TOOL_SAFE ",{\"name\":\"hid\\u0065\"}],\"nextCursor\":\"c\"}");
	else
		play_json(p, t, anew ? "\"result\":{\"tools\":[" TOOL_ACT ",{\"name\":\"new\"}]}" : "\"result\":{\"tools\":[" TOOL_ACT "]}");
}

static void serve_changing(struct play *p, int64_t ms)
{
	play_serve_with(p, ms, serve_one_changing);
}

static void life_of_a_comparison(struct play *p)
{
	play_client(p, HELLO_AS("init"));
	serve_changing(p, 10);
	play_client(p, PLAY_INITIALIZED);
	serve_changing(p, 10);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}");
	serve_changing(p, 10);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\",\"params\":{\"cursor\":\"c\"}}");
	play_ask(p, 3, "resources/list");
	play_ask(p, 4, "prompts/list");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///a\"}}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"info\"}}");
	serve_changing(p, 2000);
	play_call(p, 10, "act");
	lose(p, "tools/call", 404, HTTP_OK);
	serve_changing(p, 4000);
	stream_event(p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/resources/list_changed\"}");
	play_call(p, 11, "safe");
	lose(p, "tools/call", 0, HTTP_RESET);
	serve_changing(p, 4000);
}

/* The client knows a list that is another one now, or knows that; and what it asked to be told of was said again. */
static const char *check_compared(struct play *p, unsigned long width)
{
	if (play_said(p, "hid\\u0065"))
		return "a tool is seen that should not be";
	if (width >= DROUGHT || play_count(p, "initialize") < 2 || play_answers(p, "\"again\"", NULL))
		return NULL;
	if (good(p, "1") && good(p, "2") && !play_said(p, "\"new\"") && !play_said(p, "notifications/tools/list_changed"))
		return "the client was not told of another list";
	if (good(p, "5") && !play_said(p, "notifications/resources/updated"))
		return "the client was not told of what it may have missed";
	return NULL;
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */

static void each_allocation_may_fail_while_the_server_is_away(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "away", .run = life_begun_away, .serve = serve_legacy, .again = HELLO_AS("again"), .last = LIFE_LAST, .check = check_stale });
}

static void each_allocation_may_fail_while_a_modern_server_is_away(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "away from a modern server", .run = life_begun_away_from_a_modern_server, .serve = serve_modern, .again = HELLO_AS("again"), .last = LIFE_LAST, .check = check_hidden });
}

static void each_allocation_may_fail_for_a_modern_client_while_the_server_is_away(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "modern, away", .run = modern_life_begun_away, .serve = serve_modern, .last = LAST_MODERN, .check = check_hidden });
}

static void each_allocation_may_fail_for_a_modern_client_while_a_legacy_server_is_away(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "modern, away from a legacy server", .run = modern_life_begun_away_from_a_legacy_server, .serve = serve_legacy, .last = LAST_MODERN });
}

static void each_allocation_may_fail_when_a_new_session_is_compared(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "comparison", .run = life_of_a_comparison, .serve = serve_changing, .again = HELLO_AS("again"), .last = LIFE_LAST, .check = check_compared });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail_while_the_server_is_away),
		cmocka_unit_test(each_allocation_may_fail_while_a_modern_server_is_away),
		cmocka_unit_test(each_allocation_may_fail_for_a_modern_client_while_the_server_is_away),
		cmocka_unit_test(each_allocation_may_fail_for_a_modern_client_while_a_legacy_server_is_away),
		cmocka_unit_test(each_allocation_may_fail_when_a_new_session_is_compared),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
