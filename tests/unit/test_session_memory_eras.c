/* Memory that fails in the lives that know more than one era: stateless, and
 * translated either way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "era_peers.h"

static bool holds(const struct transfer *t, const char *text) { return memmem(buf_data(&t->kept), t->kept.len, text, strlen(text)); }

/* ---- a modern client on a modern server -------------------------------------------------------------------- */

static void life_without_sessions(struct play *p)
{
	struct transfer *t;

	play_client(p, ASK("\"d\"", "server/discover", ""));
	serve_modern(p, 10);
	play_client(p, ASK("1", "tools/list", ""));
	serve_modern(p, 10);
	play_client(p, ASK("20", "subscriptions/listen", LISTEN));
	serve_modern(p, 10);
	tell(p, EVENT("tools/list_changed", "\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%.*s}"));
	play_client(p, CALL("10", "act"));
	if ((t = play_find(p, "tools/call")))
		play_error(p, t, 400, -32020, "Header mismatch");
	serve_modern(p, 2000);
	if ((t = subscription(p)))
		play_done(p, t, HTTP_RESET, true);
	serve_modern(p, 4000);
	tell(p, EVENT("resources/updated", "\"uri\":\"file:///a\",\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%.*s}"));
	play_client(p, ASK("2", "tools/list", ""));
	serve_modern(p, 10);
	play_client(p, CALL("11", "safe"));
	lose(p, "tools/call", 0, HTTP_RESET);
	serve_modern(p, 4000);
	play_client(p, CALL("12", "act"));
	lose(p, "tools/call", 502, HTTP_OK);
	serve_modern(p, 4000);
	play_client(p, CALL("13", "act"));
	answer(p, "tools/call", "\"result\":{\"resultType\":\"input_required\",\"inputRequests\":{},\"requestState\":\"s\"}");
	play_client(p, CALL("14", "act"));
	play_cancel(p, 14);
	play_client(p, ASK("15", "prompts/get", "\"name\":\"p\","));
	lose(p, "prompts/get", 0, HTTP_CONNECT);
	play_client(p, CALL("16", "act"));
	serve_modern(p, 8000);
	if ((t = subscription(p))) {
		char text[300];
		struct rpc_msg m = transfer_msg(t);
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%.*s,\"result\":{\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%.*s}}}", (int)m.id.n, m.id.p, (int)m.id.n, m.id.p);
		play_event(p, t, NULL, text);
	}
	play_client(p, ASK("17", "tools/list", ""));
	serve_modern(p, 8000);
}

/* ---- a legacy client on a modern server ------------------------------------------------------------------------ */

#define INPUT(requests) "\"result\":{\"resultType\":\"input_required\",\"inputRequests\":{" requests "},\"requestState\":\"st\"}"
#define ELICIT(key) "\"" key "\":{\"method\":\"elicitation/create\",\"params\":{\"message\":\"" LONG "\"}}"

static void life_of_a_legacy_client(struct play *p)
{
	struct transfer *t;
	size_t seen = 0;

	play_client(p, HELLO_AS("init"));
	serve_modern(p, 10);
	play_client(p, PLAY_INITIALIZED);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"warning\"}}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///a\"}}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"ping\"}");
	serve_modern(p, 2000);
	tell(p, EVENT("tools/list_changed", "\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%.*s}"));
	tell(p, EVENT("resources/updated", "\"uri\":\"file:///a\",\"_meta\":{\"x\":1,\"io.modelcontextprotocol/subscriptionId\":%.*s}"));
	play_call(p, 10, "act");
	answer(p, "tools/call", INPUT(ELICIT("a") "," ELICIT("b")));
	answer_questions(p, &seen, "\"result\":{\"action\":\"accept\"}");
	serve_modern(p, 2000);
	play_call(p, 11, "act");
	answer(p, "tools/call", INPUT(ELICIT("a")));
	answer_questions(p, &seen, "\"error\":{\"code\":-1,\"message\":\"no\"}");
	play_call(p, 12, "act");
	answer(p, "tools/call", INPUT("\"s\":{\"method\":\"sampling/createMessage\",\"params\":{}}"));
	play_call(p, 13, "act");
	answer(p, "tools/call", "\"result\":{\"resultType\":\"input_required\",\"requestState\":\"st\"}");
	serve_modern(p, 2000);
	play_call(p, 14, "act");
	answer(p, "tools/call", INPUT(ELICIT("a")));
	play_cancel(p, 14);
	play_ask(p, 15, "resources/read");
	if ((t = play_find(p, "resources/read")))
		play_json(p, t, "\"error\":{\"code\":-32602,\"message\":\"Resource not found\",\"data\":{\"uri\":\"file:///n\"}}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///b\"}}");
	serve_modern(p, 2000);
	if ((t = subscription(p)))
		play_done(p, t, HTTP_RESET, true);
	play_call(p, 16, "act");
	lose(p, "tools/call", 0, HTTP_CONNECT);
	play_ask(p, 17, "prompts/get");
	play_call(p, 18, "act");
	serve_modern(p, 8000);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"resources/unsubscribe\",\"params\":{\"uri\":\"file:///a\"}}");
	serve_modern(p, 8000);
}

/* What the client was told that it would be told of. */
static const char *check_subscribed(struct play *p, unsigned long width)
{
	struct transfer *t = subscription(p);

	if (!good(p, "\"init\""))
		return check_hidden(p, width);
	if (!play_said(p, CAPS))
		return "the client does not know what the server can";
	if (!t || !holds(t, "toolsListChanged") || (good(p, "5") && !holds(t, "file:///b")))
		return "the client waits for what nobody will tell it";
	return check_hidden(p, width);
}

/* ---- a modern client on a legacy server ------------------------------------------------------------------------- */

#define QUESTION(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"elicitation/create\",\"params\":{\"message\":\"" LONG "\"}}"
/* What a call is asked in the middle of it; once, or twice at the same time. */
static struct transfer *asked_in_a_call(struct play *p, const char *call, bool twice)
{
	struct transfer *t;

	play_client(p, call);
	if (!(t = play_find(p, "tools/call")))
		return NULL;
	uint64_t token = t->token;
	play_sse(p, t);
	play_event(p, t, NULL, QUESTION("0"));
	if (twice && (t = play_transfer(p, token)) && t->open)
		play_event(p, t, NULL, QUESTION("1"));
	t = play_transfer(p, token);
	return t && t->open ? t : NULL;
}

static void finish(struct play *p, struct transfer *t)
{
	if (t && t->open)
		play_answer_on(p, t, NULL, t, "\"result\":{\"content\":[],\"good\":true}");
	if (t && t->open)
		play_done(p, t, HTTP_OK, true);
}

static void life_of_a_modern_client(struct play *p)
{
	struct transfer *t;

	play_client(p, ASK("\"d\"", "server/discover", ""));
	serve_legacy(p, 10);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{" META_MORE("\"elicitation\":{}", ",\"io.modelcontextprotocol/logLevel\":\"info\",\"own\":1") "}}");
	serve_legacy(p, 10);
	play_client(p, ASK("20", "subscriptions/listen", LISTEN));
	serve_legacy(p, 10);
	stream_event(p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}");
	stream_event(p, EVENT("resources/updated", "\"uri\":\"file:///a\""));
	stream_event(p, "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"ping\"}");
	t = asked_in_a_call(p, CALL("10", "act"), true);
	come_back(p, "10", "11");
	come_back(p, "11", "12");
	serve_legacy(p, 10);
	finish(p, t);
	t = asked_in_a_call(p, CALL("30", "act"), false);
	finish(p, t); /* while the client is busy with its question */
	come_back(p, "30", "31");
	serve_legacy(p, 2000);
	play_client(p, ASK("13", "resources/read", "\"uri\":\"file:///n\","));
	if ((t = play_find(p, "resources/read")))
		play_json(p, t, "\"error\":{\"code\":-32002,\"message\":\"Resource not found\"}");
	play_client(p, CALL("14", "act"));
	stream_event(p, QUESTION("\"q\""));
	come_back(p, "14", "15");
	serve_legacy(p, 2000);
	play_client(p, CALL("16", "act"));
	lose(p, "tools/call", 404, HTTP_OK);
	serve_legacy(p, 4000);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":17,\"method\":\"prompts/get\",\"params\":{\"name\":\"p\"," META_MORE("\"roots\":{}", "") "}}");
	serve_legacy(p, 4000);
	play_client(p, ASK("21", "subscriptions/listen", "\"notifications\":{\"toolsListChanged\":true},"));
	play_cancel(p, 20);
	play_client(p, ASK("18", "prompts/get", "\"name\":\"p\","));
	lose(p, "prompts/get", 0, HTTP_CONNECT);
	play_client(p, CALL("19", "act"));
	play_cancel(p, 21);
	serve_legacy(p, 8000);
}

/* Whoever was told that a resource is watched: the server was told so, too. */
static const char *check_watched(struct play *p, unsigned long width)
{
	const struct transfer *t = p->transfers;

	while (t && !(t->method == HTTP_POST && span_is(transfer_msg(t).method, "resources/subscribe") && holds(t, "file:///b")))
		t = t->next;
	if (play_said(p, "acknowledged") && !t)
		return "the client waits for what nobody will tell it";
	return check_discovered(p, width);
}

/* ---- all of them ---------------------------------------------------------------------------------------------------------- */

static void each_allocation_may_fail_between_modern_peers(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "stateless", .run = life_without_sessions, .serve = serve_modern, .last = LAST_MODERN, .check = check_hidden });
}

static void each_allocation_may_fail_for_a_legacy_client_of_a_modern_server(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "legacy client", .run = life_of_a_legacy_client, .serve = serve_modern, .again = HELLO_AS("again"), .last = LIFE_LAST, .check = check_subscribed });
}

static void each_allocation_may_fail_for_a_modern_client_of_a_legacy_server(void **state)
{
	(void)state;
	live_all(&(struct life){ .watch = watch, .name = "modern client", .run = life_of_a_modern_client, .serve = serve_legacy, .last = LAST_MODERN, .check = check_watched });
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_allocation_may_fail_between_modern_peers),
		cmocka_unit_test(each_allocation_may_fail_for_a_legacy_client_of_a_modern_server),
		cmocka_unit_test(each_allocation_may_fail_for_a_modern_client_of_a_legacy_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
