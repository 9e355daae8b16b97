/* What the translation between eras owes to time and to broken lines: a question
 * answered at once and only in the session that asked it, a silent stream known
 * early, a gap in the standing stream made good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_harness.h"

#define META "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{\"elicitation\":{}}}"
#define ASK(id, method, params) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":{" params META "}}"
#define QUESTION(id) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"elicitation/create\",\"params\":{\"message\":\"who?\"}}"

/* A modern client whose server turns out to be a legacy one, without a standing stream. */
static void ready_modern_client(struct play *p)
{
	play_client(p, ASK("\"d\"", "server/discover", ""));
	play_error(p, play_must_find(p, "server/discover"), 400, -32600, "Bad Request: Server not initialized");
	play_hello(p, "sid-1");
	play_status(p, play_must_find(p, "notifications/initialized"), 202);
	play_status(p, play_must_find(p, "GET"), 405);
	MUST(play_answers(p, "\"d\"", NULL) == 1);
	play_client(p, ASK("\"l\"", "tools/list", ""));
	play_json(p, play_must_find(p, "tools/list"), PLAY_TOOLS);
	MUST(play_answers(p, "\"l\"", NULL) == 1);
}

/* The string member `name` of the newest answer to id, quotes and all, into out. */
static void member(struct play *p, const char *id, const char *name, char *out, size_t size)
{
	const char *text = NULL, *at;
	size_t n;

	assert_true(play_answers(p, id, &text) > 0);
	at = strstr(text, name);
	assert_non_null(at);
	at = strchr(at + strlen(name), ':') + 1;
	n = strcspn(at + 1, "\"") + 2;
	assert_true(n < size);
	memcpy(out, at, n);
	out[n] = '\0';
}

/* The key of the one input request in the newest answer to id. */
static void key_of(struct play *p, const char *id, char *out, size_t size)
{
	const char *text = NULL, *at;

	assert_true(play_answers(p, id, &text) > 0);
	at = strstr(text, "\"inputRequests\":{");
	assert_non_null(at);
	at += strlen("\"inputRequests\":{");
	snprintf(out, size, "%.*s", (int)(strstr(at, ":{\"method\"") - at), at);
}

static void retry(struct play *p, const char *id, const char *tool, const char *key, const char *state)
{
	char text[2000];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":{},"
		"\"inputResponses\":{%s:{\"action\":\"accept\"}},\"requestState\":%s," META "}}", id, tool, key, state);
	play_client(p, text);
}

/* The open POST of an answer, whose id is its only name. */
static struct transfer *answer_on_its_way(struct play *p, const char *id)
{
	for (struct transfer *t = p->transfers; t; t = t->next)
		if (t->open && t->method == HTTP_POST && transfer_msg(t).kind == RPC_RESULT && span_is(transfer_msg(t).id, id))
			return t;
	return NULL;
}

static void the_input_of_a_modern_client_reaches_the_server_without_another_event(void **state)
{
	struct core_config c = play_config();
	char key[100], sealed[300];
	struct transfer *call;
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	ready_modern_client(&p);
	play_client(&p, ASK("1", "tools/call", "\"name\":\"act\",\"arguments\":{},"));
	call = play_must_find(&p, "tools/call");
	play_sse(&p, call);
	play_event(&p, call, NULL, QUESTION("0"));
	member(&p, "1", "\"requestState\"", sealed, sizeof(sealed));
	key_of(&p, "1", key, sizeof(key));
	retry(&p, "2", "act", key, sealed);
	play_pass(&p, 0); /* no time passes */
	assert_non_null(answer_on_its_way(&p, "0"));
	play_answer_on(&p, call, NULL, call, "\"result\":{\"content\":[]}");
	assert_int_equal(play_answers(&p, "1", NULL), 1);
	assert_int_equal(play_answers(&p, "2", NULL), 1);
	play_close(&p);
}

static void an_answer_to_a_question_of_a_lost_session_goes_nowhere(void **state)
{
	struct core_config c = play_config();
	char key[100], sealed[300];
	struct transfer *call;
	struct play p;

	(void)state;
	play_open(&p, &c, 2);
	ready_modern_client(&p);
	play_client(&p, ASK("1", "tools/call", "\"name\":\"safe\",\"arguments\":{},"));
	call = play_must_find(&p, "tools/call");
	play_sse(&p, call);
	play_event(&p, call, NULL, QUESTION("0"));
	member(&p, "1", "\"requestState\"", sealed, sizeof(sealed));
	key_of(&p, "1", key, sizeof(key));
	play_fail(&p, call, HTTP_RESET, true);
	while (!(call = play_find(&p, "tools/call")))
		assert_true(play_next(&p));
	play_status(&p, call, 404); /* the session is gone, too */
	play_hello(&p, "sid-2");
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	while (!(call = play_find(&p, "tools/call")))
		assert_true(play_next(&p));
	play_sse(&p, call);
	play_event(&p, call, NULL, QUESTION("0")); /* the same id: another question for all we know */
	retry(&p, "2", "safe", key, sealed);
	play_pass(&p, 0);
	assert_null(answer_on_its_way(&p, "0"));
	key_of(&p, "2", key, sizeof(key)); /* it is asked again */
	member(&p, "2", "\"requestState\"", sealed, sizeof(sealed));
	retry(&p, "3", "safe", key, sealed);
	play_pass(&p, 0);
	assert_non_null(answer_on_its_way(&p, "0"));
	play_close(&p);
}

#define URL_META "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientCapabilities\":{\"elicitation\":{\"url\":{}}}}"
#define VISIT "\"error\":{\"code\":-32042,\"message\":\"first\",\"data\":{\"elicitations\":[{\"mode\":\"url\",\"elicitationId\":\"e1\",\"url\":\"https://a.test/\",\"message\":\"m\"}]}}"

static void call_act(struct play *p, const char *id, const char *more, const char *meta)
{
	char text[1500];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"tools/call\",\"params\":{\"name\":\"act\",\"arguments\":{},%s%s}}", id, more, meta);
	play_client(p, text);
}

static void an_address_to_visit_is_asked_of_a_modern_client_and_its_retry_is_a_new_call(void **state)
{
	struct core_config c = play_config();
	char sealed[300], more[500];
	const char *text = NULL;
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":\"d\",\"method\":\"server/discover\",\"params\":{" URL_META "}}");
	play_error(&p, play_must_find(&p, "server/discover"), 400, -32600, "Bad Request: Server not initialized");
	play_hello(&p, "sid-1");
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	play_sse(&p, play_must_find(&p, "GET"));
	call_act(&p, "1", "", URL_META);
	play_json(&p, play_must_find(&p, "tools/call"), VISIT);
	assert_int_equal(play_answers(&p, "1", &text), 1);
	assert_non_null(strstr(text, "\"resultType\":\"input_required\",\"inputRequests\":{\"url.0\":{\"method\":\"elicitation/create\",\"params\":"
		"{\"mode\":\"url\",\"url\":\"https://a.test/\",\"message\":\"m\"}}}"));
	member(&p, "1", "\"requestState\"", sealed, sizeof(sealed));
	size_t before = p.nsent;
	play_event(&p, play_must_find(&p, "GET"), NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/elicitation/complete\",\"params\":{\"elicitationId\":\"e1\"}}");
	assert_int_equal(p.nsent, before); /* there is none in this revision */

	snprintf(more, sizeof(more), "\"inputResponses\":{\"url.0\":{\"action\":\"accept\"}},\"requestState\":%s,", sealed);
	call_act(&p, "2", more, URL_META);
	assert_null(memmem(buf_data(&play_must_find(&p, "tools/call")->kept), play_must_find(&p, "tools/call")->kept.len, "requestState", 12));
	play_json(&p, play_must_find(&p, "tools/call"), VISIT); /* not visited yet */
	member(&p, "2", "\"requestState\"", sealed, sizeof(sealed));
	snprintf(more, sizeof(more), "\"inputResponses\":{\"url.0\":{\"action\":\"accept\"}},\"requestState\":%s,", sealed);
	call_act(&p, "3", more, URL_META);
	play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{\"content\":[]}");
	assert_int_equal(play_answers(&p, "3", &text), 1);
	assert_non_null(strstr(text, "\"resultType\":\"complete\""));

	snprintf(more, sizeof(more), "\"inputResponses\":{\"url.0\":{\"action\":\"decline\"}},\"requestState\":%s,", sealed);
	call_act(&p, "4", more, URL_META);
	assert_true(play_refused(&p, "4", "unsupported"));
	assert_int_equal(play_count(&p, "tools/call"), 3);
	play_close(&p);
}

static void a_client_that_visits_no_addresses_is_told_what_it_lacks(void **state)
{
	struct core_config c = play_config();
	const char *text = NULL;
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	ready_modern_client(&p);
	call_act(&p, "1", "", META);
	play_json(&p, play_must_find(&p, "tools/call"), VISIT);
	assert_int_equal(play_answers(&p, "1", &text), 1);
	assert_non_null(strstr(text, "-32021"));
	assert_non_null(strstr(text, "\"requiredCapabilities\":{\"elicitation\":{\"url\":{}}}"));
	call_act(&p, "2", "", META);
	play_error(&p, play_must_find(&p, "tools/call"), 200, -32042, "first"); /* which address? */
	assert_int_equal(play_answers(&p, "2", &text), 1);
	assert_non_null(strstr(text, "{\"code\":-32603,\"message\":\"first\"}"));
	play_close(&p);
}

static void a_silent_2024_stream_is_known_before_its_calls_time_out(void **state)
{
	struct core_config c = play_config();
	struct play p;
	int64_t began;

	(void)state;
	c.transport = TRANSPORT_SSE;
	c.request_timeout_ms = 8000;
	play_open(&p, &c, 3);
	play_ready_sse(&p);
	began = p.now;
	play_call(&p, 1, "safe");
	play_status(&p, play_must_find(&p, "tools/call"), 202);
	while (!play_find(&p, "ping"))
		assert_true(play_next(&p));
	assert_int_equal(p.now - began, 2000);
	play_status(&p, play_must_find(&p, "ping"), 202); /* accepted, like everything; the stream stays silent */
	while (play_state(&p) == SESSION_READY)
		assert_true(play_next(&p));
	assert_int_equal(p.now - began, 5200);
	play_close(&p);
}

static void a_gap_in_the_standing_stream_is_made_good_now_and_then(void **state)
{
	struct core_config c = play_config();
	struct transfer *g;
	struct play p;
	size_t lists;

	(void)state;
	play_open(&p, &c, 4);
	play_ready(&p, true);
	play_learn_tools(&p);
	lists = play_count(&p, "tools/list");
	for (int i = 0; i < 3; i++) {
		g = play_must_find(&p, "GET");
		play_fail(&p, g, HTTP_RESET, true);
		while (!(g = play_find(&p, "GET")))
			assert_true(play_next(&p));
		play_sse(&p, g);
		play_pass(&p, 0);
		if (i == 0)
			play_json(&p, play_must_find(&p, "tools/list"), "\"result\":{\"tools\":[{\"name\":\"other\"}]}");
	}
	assert_true(play_said(&p, "notifications/tools/list_changed"));
	assert_int_equal(play_count(&p, "tools/list"), lists + 1);
	play_pass(&p, c.max_retry_ms);
	assert_int_equal(play_count(&p, "tools/list"), lists + 2);
	play_close(&p);
}

static void a_modern_client_that_is_forbidden_is_told_at_once(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_client(&p, ASK("\"d\"", "server/discover", ""));
	play_status(&p, play_must_find(&p, "server/discover"), 403);
	play_status(&p, play_must_find(&p, "initialize"), 403);
	assert_true(play_refused(&p, "\"d\"", "auth_required"));
	assert_int_equal(p.nopen, 0);
	play_client(&p, ASK("\"d2\"", "server/discover", "")); /* and the next one tries again */
	assert_non_null(play_find(&p, "server/discover"));
	play_close(&p);
}

static void a_cancelled_call_does_not_take_the_question_of_another(void **state)
{
	struct core_config c = play_config();
	struct transfer *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_client(&p, ASK("\"d\"", "server/discover", ""));
	play_error(&p, play_must_find(&p, "server/discover"), 400, -32600, "Bad Request: Server not initialized");
	play_hello(&p, "sid-1");
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	g = play_must_find(&p, "GET");
	play_sse(&p, g);
	play_client(&p, ASK("\"a\"", "tools/call", "\"name\":\"slow\",\"arguments\":{},"));
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"a\"}}");
	play_client(&p, ASK("\"b\"", "tools/call", "\"name\":\"ask\",\"arguments\":{},"));
	play_event(&p, g, NULL, QUESTION("\"q\""));
	assert_int_equal(play_answers(&p, "\"b\"", NULL), 1);
	assert_true(play_said(&p, "\"input_required\""));
	play_close(&p);
}

static void serve_one_new(struct play *p, struct transfer *t)
{
	if (span_is(transfer_msg(t).method, "server/discover"))
		play_json(p, t, "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}}}");
	else if (t->method == HTTP_POST && span_is(transfer_msg(t).method, "initialize"))
		play_error(p, t, 400, -32022, "Unsupported protocol version");
	else
		play_serve_one(p, t);
}

/* The stdio transport of 2026-07-28, "Backward Compatibility": who gets no answer to
 * server/discover in time may fall back. The answer may cross with that. */
static void a_client_may_fall_back_to_initialize_until_it_has_used_the_new_protocol(void **state)
{
	enum { UNANSWERED, AWAY, OLD_SERVER, NEW_SERVER, BOUND, CASES };

	(void)state;
	for (int i = 0; i < CASES; i++) {
		struct core_config c = play_config();
		struct play p;

		play_open(&p, &c, 3);
		if (i == OLD_SERVER || i == BOUND) {
			play_client(&p, ASK("\"d\"", "server/discover", ""));
			play_error(&p, play_must_find(&p, "server/discover"), 400, -32600, "Bad Request: Server not initialized");
			play_hello(&p, "sid-1");
			play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
		} else {
			play_client(&p, ASK("\"d\"", "server/discover", ""));
			play_pass(&p, 1000);
		}
		if (i == NEW_SERVER)
			play_json(&p, play_must_find(&p, "server/discover"), "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}}}");
		if (i == AWAY)
			play_fail(&p, play_must_find(&p, "server/discover"), HTTP_CONNECT, false);
		if (i == BOUND)
			play_client(&p, ASK("\"l\"", "prompts/list", ""));
		play_client(&p, PLAY_INITIALIZE);
		if (i == BOUND) {
			assert_true(play_said(&p, "does not belong"));
			play_close(&p);
			continue;
		}
		assert_int_equal(play_answers(&p, "\"d\"", NULL), 1);
		if (i == NEW_SERVER) {
			play_serve_with(&p, 3000, serve_one_new);
		} else {
			if (i == OLD_SERVER)
				play_status(&p, play_must_find(&p, "DELETE"), 200);
			play_serve(&p, 8000);
		}
		assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
		assert_false(play_said(&p, "does not belong"));
		assert_int_equal(play_answers(&p, "\"d\"", NULL), 1);
		play_client(&p, PLAY_INITIALIZED);
		play_ask(&p, 9, "prompts/get");
		if (i == NEW_SERVER)
			play_serve_with(&p, 3000, serve_one_new);
		else
			play_serve(&p, 3000);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

static void a_request_without_a_version_is_refused_in_a_modern_conversation(void **state)
{
	struct core_config c = play_config();
	const char *text = NULL;
	struct play p;

	(void)state;
	play_open(&p, &c, 5);
	ready_modern_client(&p);
	play_call(&p, 1, "act");
	assert_int_equal(play_answers(&p, "1", &text), 1);
	assert_non_null(strstr(text, "-32602"));
	assert_int_equal(play_count(&p, "tools/call"), 0);
	play_close(&p);
}

static void a_list_with_a_tool_that_is_never_shown_is_not_another_one(void **state)
{
	static const char tools[] = "\"result\":{\"tools\":[{\"name\":\"act\"},{\"name\":\"odd\",\"inputSchema\":{\"items\":{\"x-mcp-header\":\"X\"}}}]}";
	static const char hello[] = "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{\"listChanged\":true}}}";
	static const char ack[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":{}}";
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	play_open(&p, &c, 6);
	play_client(&p, ASK("\"d\"", "server/discover", ""));
	play_json(&p, play_must_find(&p, "server/discover"), hello);
	play_json(&p, play_must_find(&p, "server/discover"), hello);
	play_client(&p, ASK("1", "tools/list", ""));
	play_json(&p, play_must_find(&p, "tools/list"), tools);
	assert_false(play_said(&p, "\"odd\""));
	play_client(&p, ASK("2", "subscriptions/listen", "\"notifications\":{\"toolsListChanged\":true},"));
	for (int i = 0; i < 2; i++) {
		while (!(t = play_find(&p, "subscriptions/listen")))
			assert_true(play_next(&p));
		play_sse(&p, t);
		play_event(&p, t, NULL, ack);
		if (i == 0)
			play_fail(&p, t, HTTP_RESET, true);
	}
	play_json(&p, play_must_find(&p, "tools/list"), tools); /* compared after the gap */
	assert_false(play_said(&p, "list_changed"));
	play_close(&p);
}

/* ---- which kind of server it is ---------------------------------------------------------------- */

#define REFUSED "\"error\":{\"code\":-32022,\"message\":\"Unsupported protocol version\",\"data\":{\"supported\":[\"2026-07-28\"]}}"
#define NOT_FOR_YOU "\"error\":{\"code\":-32602,\"message\":\"Not for you\"}"
#define DISCOVERED "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}}}"

struct trouble { const char *name; struct head head; enum http_outcome outcome; bool silent; };

/* The next transfer that begins, or NULL when the client has its answer. */
static struct transfer *next_attempt(struct play *p)
{
	for (;;) {
		for (struct transfer *t = p->transfers; t; t = t->next)
			if (t->open && !t->told)
				return t;
		if (play_answers(p, "\"init\"", NULL))
			return NULL;
		assert_true(play_next(p));
	}
}

/* initialize is refused with `refusal`, server/discover meets trouble so often, and there is no stream. */
static void look_for_the_transport(struct play *p, const struct trouble *how, const char *refusal, int times)
{
	struct transfer *t;
	char text[600];

	play_client(p, PLAY_INITIALIZE);
	while ((t = next_attempt(p))) {
		bool discover = t->method == HTTP_POST && span_is(transfer_msg(t).method, "server/discover");
		if (t->method != HTTP_POST)
			play_status(p, t, 405);
		else if (discover && times-- <= 0)
			play_json(p, t, DISCOVERED);
		else if (discover && how->silent)
			t->told = true;
		else if (discover && how->outcome)
			play_fail(p, t, how->outcome, how->outcome != HTTP_CONNECT);
		else if (discover)
			play_respond(p, t, how->head, NULL);
		else {
			write_reply(t, refusal, text, sizeof(text));
			play_respond(p, t, (struct head){ .status = 400, .type = "application/json" }, text);
		}
	}
}

static void trouble_during_discovery_says_nothing_of_the_server(void **state)
{
	static const struct trouble rows[] = {
		{ "reset", .outcome = HTTP_RESET }, { "connection refused", .outcome = HTTP_CONNECT }, { "502", .head = { .status = 502 } },
		{ "503", .head = { .status = 503, .retry_after = "1" } }, { "silence", .silent = true }, { "429", .head = { .status = 429 } },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct core_config c = play_config();
		const char *text = NULL;
		struct play p;

		play_open(&p, &c, 6);
		look_for_the_transport(&p, &rows[i], REFUSED, 2);
		if (play_answers(&p, "\"init\"", &text) != 1 || !strstr(text, "\"result\""))
			fail_msg("%s: %s", rows[i].name, text);
		play_close(&p);
	}
}

static void a_server_that_breaks_off_each_discovery_gets_its_own_refusal_passed_on(void **state)
{
	static const struct trouble rows[] = { { "reset", .outcome = HTTP_RESET }, { "500", .head = { .status = 500 } }, { "silence", .silent = true } };
	static const char *const refusals[] = { NOT_FOR_YOU, REFUSED };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct core_config c = play_config();
		const char *text = NULL;
		struct play p;

		c.hold_ms = 120000;
		play_open(&p, &c, 6);
		look_for_the_transport(&p, &rows[i], i == 2 ? refusals[1] : refusals[0], 1000);
		assert_int_equal(play_count(&p, "server/discover"), 4);
		if (play_answers(&p, "\"init\"", &text) != 1 || !strstr(text, i == 2 ? "-32022" : "Not for you"))
			fail_msg("%s: %s", rows[i].name, text);
		play_close(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_input_of_a_modern_client_reaches_the_server_without_another_event),
		cmocka_unit_test(an_answer_to_a_question_of_a_lost_session_goes_nowhere),
		cmocka_unit_test(an_address_to_visit_is_asked_of_a_modern_client_and_its_retry_is_a_new_call),
		cmocka_unit_test(a_client_that_visits_no_addresses_is_told_what_it_lacks),
		cmocka_unit_test(a_silent_2024_stream_is_known_before_its_calls_time_out),
		cmocka_unit_test(a_gap_in_the_standing_stream_is_made_good_now_and_then),
		cmocka_unit_test(a_modern_client_that_is_forbidden_is_told_at_once),
		cmocka_unit_test(a_cancelled_call_does_not_take_the_question_of_another),
		cmocka_unit_test(a_client_may_fall_back_to_initialize_until_it_has_used_the_new_protocol),
		cmocka_unit_test(a_request_without_a_version_is_refused_in_a_modern_conversation),
		cmocka_unit_test(a_list_with_a_tool_that_is_never_shown_is_not_another_one),
		cmocka_unit_test(trouble_during_discovery_says_nothing_of_the_server),
		cmocka_unit_test(a_server_that_breaks_off_each_discovery_gets_its_own_refusal_passed_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
