/* The ledger table: what an attempt that ended without an answer leads to, for
 * every kind of end and every kind of request; and the bounds of patience. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_harness.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- the cells ------------------------------------------------------------------------- */

enum processed { NOT_PROCESSED, PROCESSED, MAYBE_PROCESSED };

struct end {
	const char *name;
	enum processed processed;
	enum http_outcome outcome; /* HTTP_OK: the response below */
	bool body_sent, stream;    /* stream: an event stream was open */
	struct head head;
	const char *body;          /* member of a JSON-RPC answer; with '<' or '!' at the front raw text */
};

#define SESSION_ERROR "\"error\":{\"code\":-32001,\"message\":\"Session not found\"}"

static const struct end ends[] = {
	{ "the name is not resolved", NOT_PROCESSED, .outcome = HTTP_RESOLVE },
	{ "the connection is refused", NOT_PROCESSED, .outcome = HTTP_CONNECT },
	{ "the proxy refuses", NOT_PROCESSED, .outcome = HTTP_PROXY },
	{ "the handshake of TLS fails", NOT_PROCESSED, .outcome = HTTP_TLS },
	{ "the body breaks off while it is sent", NOT_PROCESSED, .outcome = HTTP_SEND },
	{ "a reset comes before the body was out", NOT_PROCESSED, .outcome = HTTP_RESET },
	{ "a time limit comes before the body was out", NOT_PROCESSED, .outcome = HTTP_TIMEOUT },
	{ "there is no memory", NOT_PROCESSED, .outcome = HTTP_NOMEM },
	{ "429", NOT_PROCESSED, .head = { .status = 429 } },
	{ "429 with Retry-After", NOT_PROCESSED, .head = { .status = 429, .retry_after = "3" } },
	{ "503 with Retry-After", NOT_PROCESSED, .head = { .status = 503, .retry_after = "3" } },
	{ "404 for the session", NOT_PROCESSED, .head = { .status = 404 } },
	{ "404 with a page of HTML", NOT_PROCESSED, .head = { .status = 404, .type = "text/html" }, .body = "<html>gone</html>" },
	{ "404 with the SDK's error", NOT_PROCESSED, .head = { .status = 404, .type = "application/json" }, .body = SESSION_ERROR },
	{ "400 with a session error", NOT_PROCESSED, .head = { .status = 400, .type = "application/json" }, .body = "\"error\":{\"code\":-32000,\"message\":\"Bad Request: No valid session ID provided\"}" },
	{ "200 with a session error", NOT_PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = SESSION_ERROR },
	{ "a redirect within the origin", NOT_PROCESSED, .head = { .status = 307, .location = "/other" } },
	{ "401 that a new token cures", NOT_PROCESSED, .head = { .status = 401, .www = "Bearer" } },
	{ "403 for a scope that a new token cures", NOT_PROCESSED, .head = { .status = 403, .www = "Bearer error=\"insufficient_scope\"" } },

	{ "a JSON-RPC error", PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "\"error\":{\"code\":-32603,\"message\":\"boom\"}" },
	{ "a JSON-RPC error with 400", PROCESSED, .head = { .status = 400, .type = "application/json" }, .body = "\"error\":{\"code\":-32602,\"message\":\"bad arguments\"}" },
	{ "a JSON-RPC error with 500", PROCESSED, .head = { .status = 500, .type = "application/json" }, .body = "\"error\":{\"code\":-32603,\"message\":\"boom\"}" },
	{ "the SDK's timeout, whose code is that of a lost session", PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "\"error\":{\"code\":-32001,\"message\":\"Request timed out\"}" },
	{ "a result that speaks of a lost session", PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"Session not found\"}],\"isError\":true}" },

	{ "a JSON-RPC error for nobody in particular", PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "!{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"boom\"}}" },
	{ "the same as an event", PROCESSED, .head = { .status = 200, .type = "text/event-stream" }, .body = "!data: {\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"boom\"}}\n\n" },
	{ "a result behind a byte order mark", PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "!\xef\xbb\xbf{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}}" },

	{ "a reset after the body was out", MAYBE_PROCESSED, .outcome = HTTP_RESET, .body_sent = true },
	{ "a break while sending that came after the body", MAYBE_PROCESSED, .outcome = HTTP_SEND, .body_sent = true },
	{ "a time limit after the body was out", MAYBE_PROCESSED, .outcome = HTTP_TIMEOUT, .body_sent = true },
	{ "something that is no HTTP", MAYBE_PROCESSED, .outcome = HTTP_BAD, .body_sent = true },
	{ "500", MAYBE_PROCESSED, .head = { .status = 500 } },
	{ "502", MAYBE_PROCESSED, .head = { .status = 502, .type = "text/html" }, .body = "<html>bad gateway</html>" },
	{ "503 alone", MAYBE_PROCESSED, .head = { .status = 503 } },
	{ "504", MAYBE_PROCESSED, .head = { .status = 504 } },
	{ "408", MAYBE_PROCESSED, .head = { .status = 408 } },
	{ "425", MAYBE_PROCESSED, .head = { .status = 425 } },
	{ "503 with a Retry-After of nonsense", MAYBE_PROCESSED, .head = { .status = 503, .retry_after = "-1" } },
	{ "202 and no stream for the answer", MAYBE_PROCESSED, .head = { .status = 202 } },
	{ "200 with a page of HTML", MAYBE_PROCESSED, .head = { .status = 200, .type = "text/html" }, .body = "<html>sign in to the hotel</html>" },
	{ "200 with broken JSON", MAYBE_PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "!{\"jsonrpc\":\"2.0\",\"id\":" },
	{ "200 with nothing", MAYBE_PROCESSED, .head = { .status = 200, .type = "application/json" }, .body = "!" },
	{ "a stream that ends without the answer", MAYBE_PROCESSED, .stream = true },
	{ "a stream that breaks without the answer", MAYBE_PROCESSED, .stream = true, .outcome = HTTP_RESET, .body_sent = true },
};

static void end_attempt(struct play *p, struct transfer *t, const struct end *e)
{
	char text[1000];

	if (e->stream) {
		play_sse(p, t);
		play_data(p, t, ": still here\n\n");
		play_done(p, t, e->outcome, true);
	} else if (e->outcome != HTTP_OK) {
		play_fail(p, t, e->outcome, e->body_sent);
	} else if (e->body && e->body[0] == '"') {
		write_reply(t, e->body, text, sizeof(text));
		play_respond(p, t, e->head, text);
	} else {
		play_respond(p, t, e->head, e->body ? e->body + (e->body[0] == '!') : NULL);
	}
}

static const struct { const char *method, *tool; bool repeatable; } asked[] = {
	{ "tools/call", "act", false }, { "tools/call", "safe", true }, { "tools/call", "again", true },
	{ "tools/call", "unheard-of", false }, { "tools/list", NULL, true }, { "resources/read", NULL, true },
	{ "prompts/get", NULL, true }, { "completion/complete", NULL, true }, { "tasks/result", NULL, true },
	{ "resources/subscribe", NULL, true }, { "vendor/own", NULL, false },
};

static void ask(struct play *p, size_t which)
{
	if (asked[which].tool)
		play_call(p, 9, asked[which].tool);
	else
		play_ask(p, 9, asked[which].method);
}

static void check_cell(const struct end *e, size_t which, bool cancelled)
{
	struct core_config c = play_config();
	const char *method = asked[which].method, *answer = "";
	struct play p;
	size_t posts;

	c.transport = TRANSPORT_HTTP;
	play_open(&p, &c, 42);
	p.challenge = CHALLENGE_AGAIN;
	play_ready(&p, false);
	play_learn_tools(&p);
	posts = play_count(&p, method);
	ask(&p, which);
	if (cancelled)
		play_cancel(&p, 9);
	end_attempt(&p, play_must_find(&p, method), e);
	play_serve(&p, 60000);

	posts = play_count(&p, method) - posts;
	if (cancelled) {
		/* a list may be asked for by the bridge, to compare */
		if ((posts != 1 + (e->head.status == 307) && strcmp(method, "tools/list") != 0) || play_answers(&p, "9", NULL) != 0)
			fail_msg("%s, cancelled %s: %zu posts, %zu answers", e->name, method, posts, play_answers(&p, "9", NULL));
	} else if (e->processed == PROCESSED) {
		if (posts != 1 || play_answers(&p, "9", &answer) != 1 || strstr(answer, "mcp-holdfast"))
			fail_msg("%s, %s: %zu posts, answer %s", e->name, method, posts, answer);
	} else if (e->processed == NOT_PROCESSED || asked[which].repeatable) {
		if (posts < 2 || play_answers(&p, "9", &answer) != 1 || strstr(answer, "mcp-holdfast"))
			fail_msg("%s, %s %s: %zu posts, answer %s", e->name, method, asked[which].tool, posts, answer);
	} else {
		if (posts != 1 || !play_refused(&p, "9", "outcome_unknown"))
			fail_msg("%s, %s %s: %zu posts, %zu answers", e->name, method, asked[which].tool, posts, play_answers(&p, "9", &answer));
	}
	play_close(&p);
}

static void every_end_of_an_attempt_leads_where_the_ledger_table_says(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(ends); i++)
		for (size_t k = 0; k < N(asked); k++)
			check_cell(&ends[i], k, false);
}

static void a_cancelled_request_is_neither_answered_nor_sent_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < N(ends); i++)
		if (ends[i].processed != PROCESSED)
			for (size_t k = 0; k < N(asked); k++)
				check_cell(&ends[i], k, true);
}

/* An unsafe call that was refused, then sent again, then lost: unknown from then on. */
static void what_may_have_run_once_is_never_sent_again_for_a_later_refusal(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.transport = TRANSPORT_HTTP;
	play_open(&p, &c, 1);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	play_status(&p, play_must_find(&p, "tools/call"), 429);
	play_pass(&p, 5000);
	play_fail(&p, play_must_find(&p, "tools/call"), HTTP_RESET, true);
	play_serve(&p, 60000);
	assert_int_equal(play_count(&p, "tools/call"), 2);
	assert_true(play_refused(&p, "9", "outcome_unknown"));
	play_close(&p);
}

static void the_answer_of_outcome_unknown_says_that_it_may_have_taken_effect(void **state)
{
	static const struct { bool protocol; const char *want; } rows[] = { { false, "\"isError\":true" }, { true, "\"error\":{\"code\":-31003" } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		const char *answer = NULL;
		struct play p;

		c.tool_errors_protocol = rows[i].protocol;
		play_open(&p, &c, 1);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		play_fail(&p, play_must_find(&p, "tools/call"), HTTP_RESET, true);
		assert_int_equal(play_answers(&p, "9", &answer), 1);
		assert_non_null(strstr(answer, rows[i].want));
		assert_non_null(strstr(answer, "may have taken effect"));
		assert_non_null(strstr(answer, "\"mayHaveRun\":true"));
		assert_non_null(strstr(answer, "\"retryable\":false"));
		play_close(&p);
	}
}

/* ---- who may be repeated -------------------------------------------------------------------- */

/* One lost attempt of a call: was it sent again? */
static bool sent_again(const struct core_config *c, const char *tool, void (*before)(struct play *p))
{
	struct play p;
	bool again;

	play_open(&p, c, 3);
	play_ready(&p, false);
	play_learn_tools(&p);
	if (before)
		before(&p);
	play_call(&p, 9, tool);
	play_fail(&p, play_must_find(&p, "tools/call"), HTTP_RESET, true);
	play_serve(&p, 60000);
	again = play_count(&p, "tools/call") == 2;
	assert_true(again != play_refused(&p, "9", "outcome_unknown"));
	play_close(&p);
	return again;
}

static void list_changes(struct play *p)
{
	play_call(p, 8, "act");
	play_sse(p, play_must_find(p, "tools/call"));
	play_event(p, play_must_find(p, "tools/call"), NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}");
	play_answer_on(p, play_must_find(p, "tools/call"), NULL, play_find(p, "tools/call"), "\"result\":{}");
	play_serve(p, 1000);
	assert_int_equal(play_answers(p, "8", NULL), 1);
	for (struct transfer *t = p->transfers; t; t = t->next)
		if (span_is(transfer_msg(t).method, "tools/call"))
			buf_reset(&t->kept); /* counted from here */
}

static void the_users_globs_come_before_the_tools_annotations(void **state)
{
	static const char *const act[] = { "a?t" }, *const safe[] = { "s*" };
	struct core_config plain = play_config(), added = plain, removed = plain, both = plain, deaf = plain;

	(void)state;
	added.retry_tools = act;
	added.nretry_tools = 1;
	removed.no_retry_tools = safe;
	removed.nno_retry_tools = 1;
	both.retry_tools = both.no_retry_tools = safe;
	both.nretry_tools = both.nno_retry_tools = 1;
	deaf.trust_annotations = false;
	assert_false(sent_again(&plain, "act", NULL));
	assert_true(sent_again(&plain, "safe", NULL));
	assert_true(sent_again(&added, "act", NULL));
	assert_false(sent_again(&removed, "safe", NULL));
	assert_true(sent_again(&removed, "again", NULL));
	assert_false(sent_again(&both, "safe", NULL));
	assert_false(sent_again(&deaf, "safe", NULL));
}

static void list_changed_sets_the_annotations_aside(void **state)
{
	struct core_config c = play_config();

	(void)state;
	assert_false(sent_again(&c, "safe", list_changes));
}

static void news(struct play *p)
{
	play_event(p, play_must_find(p, "GET"), NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}");
}

static void open_with_tools(struct play *p, const struct core_config *c)
{
	play_open(p, c, 3);
	play_ready(p, true);
	play_learn_tools(p);
}

/* An attempt of a call is lost: is it sent again? */
static bool outlives_a_break(struct play *p, int id, const char *tool)
{
	size_t before = play_count(p, "tools/call");
	char text[8];
	bool again;

	snprintf(text, sizeof(text), "%d", id);
	play_call(p, id, tool);
	play_fail(p, play_must_find(p, "tools/call"), HTTP_RESET, true);
	play_serve(p, 2000);
	again = play_count(p, "tools/call") == before + 2;
	assert_true(again != play_refused(p, text, "outcome_unknown"));
	return again;
}

static void tools_are_listed_for_a_client_that_takes_no_notice_of_list_changed(void **state)
{
	static const char *const pages[] = { "\"result\":{\"tools\":[{\"name\":\"act\"}],\"nextCursor\":\"2\"}",
		"\"result\":{\"tools\":[{\"name\":\"new\",\"annotations\":{\"readOnlyHint\":true}}]}" };
	struct core_config c = play_config();
	struct play p;
	size_t said;

	(void)state;
	open_with_tools(&p, &c);
	news(&p);
	said = p.nsent;
	play_pass(&p, 1900);
	assert_null(play_find(&p, "tools/list"));
	play_pass(&p, 200);
	for (int i = 0; i < 2; i++)
		play_json(&p, play_must_find(&p, "tools/list"), pages[i]);
	assert_int_equal(p.nsent, said);
	assert_true(outlives_a_break(&p, 9, "new"));
	assert_false(outlives_a_break(&p, 10, "safe")); /* it is not there any more, or another */
	play_pass(&p, 60000);
	assert_int_equal(play_count(&p, "tools/list"), 3);
	play_close(&p);
}

static void a_client_that_lists_the_tools_itself_is_left_to_it(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	open_with_tools(&p, &c);
	news(&p);
	play_pass(&p, 1000);
	play_learn_tools(&p);
	play_pass(&p, 30000);
	assert_int_equal(play_count(&p, "tools/list"), 2);
	news(&p);
	play_pass(&p, 1000);
	play_ask(&p, 20, "tools/list"); /* and waits for the answer */
	play_pass(&p, 5000);
	assert_int_equal(play_count(&p, "tools/list"), 3);
	play_close(&p);
}

static void one_that_never_listed_tools_needs_no_annotations(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	news(&p);
	play_pass(&p, 30000);
	assert_int_equal(play_count(&p, "tools/list"), 0);
	play_close(&p);
}

static void a_flood_of_list_changed_makes_no_flood_of_lists(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	open_with_tools(&p, &c);
	for (int i = 0; i < 600; i++) {
		news(&p);
		play_serve(&p, 50);
	}
	play_serve(&p, 15000);
	assert_in_range(play_count(&p, "tools/list") - 1, 4, 5);
	assert_true(outlives_a_break(&p, 9, "safe"));
	play_close(&p);
}

static void news_in_the_middle_of_a_listing_begins_another(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	open_with_tools(&p, &c);
	news(&p);
	play_pass(&p, 2000);
	news(&p);
	play_json(&p, play_must_find(&p, "tools/list"), PLAY_TOOLS);
	assert_false(outlives_a_break(&p, 9, "safe"));
	play_pass(&p, 10000);
	play_json(&p, play_must_find(&p, "tools/list"), PLAY_TOOLS);
	assert_true(outlives_a_break(&p, 10, "safe"));
	play_close(&p);
}

static void tools_are_listed_when_the_line_is_back(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	open_with_tools(&p, &c);
	news(&p);
	play_pass(&p, 2000);
	play_fail(&p, play_must_find(&p, "tools/list"), HTTP_CONNECT, false);
	play_ask(&p, 9, "prompts/get");
	for (int i = 0; i < 3 && (t = play_find(&p, "prompts/get")); i++) /* the line is down */
		play_fail(&p, t, HTTP_CONNECT, false);
	for (int64_t until = p.now + 5000; p.now < until;) {
		if ((t = play_find(&p, "ping")))
			play_fail(&p, t, HTTP_CONNECT, false);
		else if (!play_next(&p))
			break;
	}
	assert_int_not_equal(play_state(&p), SESSION_READY);
	assert_null(play_find(&p, "tools/list"));
	play_serve(&p, 60000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_true(outlives_a_break(&p, 10, "safe"));
	play_close(&p);
}

static void a_call_is_judged_by_what_is_known_when_it_fails(void **state)
{
	static const struct { const char *known, *tool; bool again; } rows[] = {
		{ PLAY_TOOLS, "safe", true },
		{ "\"result\":{\"tools\":[{\"name\":\"act\",\"annotations\":{\"idempotentHint\":true}}]}", "act", true },
		{ "\"result\":{\"tools\":[{\"name\":\"safe\"}]}", "safe", false },
	};
	struct core_config c = play_config();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct play p;
		open_with_tools(&p, &c);
		play_call(&p, 9, rows[i].tool);
		news(&p);
		play_pass(&p, 2000);
		play_json(&p, play_must_find(&p, "tools/list"), rows[i].known);
		play_fail(&p, play_must_find(&p, "tools/call"), HTTP_RESET, true);
		assert_int_equal(play_refused(&p, "9", "outcome_unknown"), !rows[i].again);
		play_serve(&p, 60000);
		assert_int_equal(play_count(&p, "tools/call"), rows[i].again ? 2 : 1);
		play_close(&p);
	}
}

/* Lost once when it might be repeated, it waits for its turn; then it may not any more. */
static void a_hint_that_is_withdrawn_covers_no_earlier_attempt(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	open_with_tools(&p, &c);
	play_call(&p, 9, "safe");
	play_fail(&p, play_must_find(&p, "tools/call"), HTTP_RESET, true);
	while (!(t = play_find(&p, "tools/call")))
		assert_true(play_next(&p));
	news(&p);
	play_respond(&p, t, (struct head){ .status = 503, .retry_after = "1" }, NULL);
	assert_true(play_refused(&p, "9", "outcome_unknown"));
	play_close(&p);
}

static void an_error_the_user_named_is_tried_again_for_what_may_be_repeated(void **state)
{
	static const int64_t codes[] = { -32603 };
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.retry_errors = codes;
	c.nretry_errors = 1;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	play_error(&p, play_must_find(&p, "resources/read"), 200, -32603, "boom");
	assert_int_equal(play_answers(&p, "9", NULL), 0);
	play_serve(&p, 10000);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_count(&p, "resources/read"), 2);
	play_call(&p, 10, "act");
	play_error(&p, play_must_find(&p, "tools/call"), 200, -32603, "boom");
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	play_close(&p);
}

/* ---- ids ---------------------------------------------------------------------------------------- */

static void a_request_sent_again_goes_under_an_id_of_ours_and_comes_back_under_its_own(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	t = play_must_find(&p, "resources/read");
	assert_true(span_is(transfer_msg(t).id, "9"));
	play_fail(&p, t, HTTP_RESET, true);
	play_pass(&p, 5000);
	t = play_must_find(&p, "resources/read");
	assert_false(span_is(transfer_msg(t).id, "9"));
	play_cancel(&p, 9);
	play_pass(&p, 1);
	t = play_must_find(&p, "notifications/cancelled");
	assert_non_null(memmem(buf_data(&t->kept), t->kept.len, "\"requestId\":\"hf-", 16));
	play_close(&p);
}

static void two_requests_under_one_id_get_one_answer_each(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	play_ask(&p, 9, "prompts/get");
	assert_true(span_is(transfer_msg(play_must_find(&p, "resources/read")).id, "9"));
	assert_false(span_is(transfer_msg(play_must_find(&p, "prompts/get")).id, "9"));
	play_json(&p, play_must_find(&p, "prompts/get"), "\"result\":{\"second\":1}");
	play_json(&p, play_must_find(&p, "resources/read"), "\"result\":{\"first\":1}");
	assert_int_equal(play_answers(&p, "9", NULL), 2);
	play_close(&p);
}

static void an_answer_that_comes_twice_reaches_the_client_once(void **state)
{
	struct core_config c = play_config();
	struct transfer *g, copy;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	g = play_must_find(&p, "GET");
	play_ask(&p, 9, "resources/read");
	copy = *play_must_find(&p, "resources/read");
	play_answer_on(&p, g, NULL, &copy, "\"result\":{}");
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	play_answer_on(&p, g, NULL, &copy, "\"result\":{}");
	play_event(&p, g, NULL, "{\"jsonrpc\":\"2.0\",\"id\":777,\"result\":{}}");
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_answers(&p, "777", NULL), 0);
	play_close(&p);
}

static void a_number_id_comes_back_in_the_clients_spelling(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":12345678901234567890,\"method\":\"resources/read\",\"params\":{}}");
	t = play_must_find(&p, "resources/read");
	play_respond(&p, t, (struct head){ .status = 200, .type = "application/json" }, "{\"jsonrpc\":\"2.0\",\"id\":12345678901234567000,\"result\":{}}");
	assert_int_equal(play_answers(&p, "12345678901234567890", NULL), 1);
	play_close(&p);
}

static void every_attempt_of_a_call_carries_one_idempotency_key(void **state)
{
	struct core_config c = play_config();
	struct buf first;
	struct play p;
	struct transfer *t;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	copy_span(&first, buf_span(&t->lines));
	assert_non_null(memmem(buf_data(&first), first.len, "Idempotency-Key: ", 17));
	play_status(&p, t, 429);
	play_pass(&p, 5000);
	t = play_must_find(&p, "tools/call");
	assert_true(span_eq(buf_span(&first), buf_span(&t->lines)));
	buf_fini(&first);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":10,\"method\":\"tools/call\",\"params\":{\"name\":\"act\",\"_meta\":{\"idempotencyKey\":\"mine\"}}}");
	assert_true(span_is(buf_span(&p.transfers->lines), "Idempotency-Key: mine\n"));
	play_ask(&p, 11, "resources/read");
	assert_int_equal(p.transfers->lines.len, 0);
	play_close(&p);
}

/* ---- resuming ------------------------------------------------------------------------------------ */

static void a_stream_with_event_ids_is_resumed_and_no_event_is_told_twice(void **state)
{
	struct core_config c = play_config();
	struct transfer *t, copy, *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_sse(&p, t);
	play_event(&p, t, "e1", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"one\"}}");
	play_event(&p, t, "e2", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"two\"}}");
	play_done(&p, t, HTTP_RESET, true);
	copy = *t;
	play_pass(&p, 10000);
	g = play_must_find(&p, "GET");
	assert_true(span_is(buf_span(&g->lines), "Last-Event-ID: e2\n"));
	play_sse(&p, g);
	play_event(&p, g, "e2", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"two\"}}");
	play_event(&p, g, "e3", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"three\"}}");
	play_answer_on(&p, g, "e4", &copy, "\"result\":{\"done\":true}");
	assert_int_equal(play_said_times(&p, "\"one\""), 1);
	assert_int_equal(play_said_times(&p, "\"two\""), 1);
	assert_int_equal(play_said_times(&p, "\"three\""), 1);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_count(&p, "tools/call"), 1);
	play_close(&p);
}

static void a_server_that_closes_after_priming_is_polled_at_its_own_pace(void **state)
{
	struct core_config c = play_config();
	struct transfer *t, copy, *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_sse(&p, t);
	play_data(&p, t, "id: p1\nretry: 4000\ndata:\n\n");
	play_done(&p, t, HTTP_OK, true);
	copy = *t;
	for (int i = 0; i < 3; i++) {
		play_pass(&p, 3990);
		assert_null(play_find(&p, "GET"));
		play_pass(&p, 420);
		g = play_must_find(&p, "GET");
		play_sse(&p, g);
		if (i < 2)
			play_done(&p, g, HTTP_OK, true);
	}
	play_answer_on(&p, g, "p2", &copy, "\"result\":{}");
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void a_resume_that_fails_adds_the_backoff_to_the_servers_pace(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	c.max_retry_ms = 2000;
	c.keepalive_ms = c.probe_after_ms = 0;
	play_open(&p, &c, 5);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_sse(&p, t);
	play_data(&p, t, "id: 1\nretry: 5000\ndata:\n\n");
	play_done(&p, t, HTTP_OK, true);
	for (int n = 0; n < 5; n++) {
		play_pass(&p, 4999);
		assert_null(play_find(&p, "GET"));
		play_pass(&p, 2001);
		play_status(&p, play_must_find(&p, "GET"), 503);
	}
	play_close(&p);
}

static void a_stream_that_can_not_be_resumed_falls_under_the_rule(void **state)
{
	static const struct { const char *tool; bool again; } rows[] = { { "act", false }, { "safe", true } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		struct transfer *t;
		struct play p;

		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_learn_tools(&p);
		play_call(&p, 9, rows[i].tool);
		t = play_must_find(&p, "tools/call");
		play_sse(&p, t);
		play_data(&p, t, "id: p1\ndata:\n\n");
		play_done(&p, t, HTTP_RESET, true);
		play_pass(&p, 5000);
		play_status(&p, play_must_find(&p, "GET"), 405);
		play_serve(&p, 60000);
		assert_int_equal(play_count(&p, "tools/call"), rows[i].again ? 2 : 1);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_true(rows[i].again != play_refused(&p, "9", "outcome_unknown"));
		play_close(&p);
	}
}

static void break_primed(struct play *p, struct transfer *t)
{
	play_sse(p, t);
	play_data(p, t, "id: p1\ndata:\n\n");
	play_done(p, t, HTTP_RESET, true);
}

static void a_server_that_refuses_to_resume_is_asked_once_and_is_there(void **state)
{
	struct core_config c = play_config();
	struct session_view v;
	size_t fetched = 0;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_learn_tools(&p);
	for (int i = 0; i < 5; i++)
		play_call(&p, 10 + i, "safe");
	break_primed(&p, play_must_find(&p, "tools/call"));
	play_pass(&p, 5000);
	play_status(&p, play_must_find(&p, "GET"), 405);
	for (int i = 1; i < 5; i++)
		break_primed(&p, play_must_find(&p, "tools/call"));
	play_serve(&p, 5000);
	for (int i = 0; i < 5; i++) {
		char id[8];
		snprintf(id, sizeof(id), "%d", 10 + i);
		assert_int_equal(play_answers(&p, id, NULL), 1);
	}
	for (struct transfer *t = p.transfers; t; t = t->next)
		fetched += t->lines.len && memmem(buf_data(&t->lines), t->lines.len, "Last-Event-ID", 13);
	assert_int_equal(fetched, 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	session_look(p.s, &v, p.now);
	assert_true(v.counters->drops <= 1); /* by four streams that broke at once, and by nothing after that */
	play_close(&p);
}

static void fetching_an_answer_again_is_no_second_attempt(void **state)
{
	struct core_config c = play_config();
	const char *text;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	break_primed(&p, play_must_find(&p, "tools/call"));
	for (int i = 0; i < 3; i++) {
		while (!play_find(&p, "GET"))
			MUST(play_next(&p));
		play_status(&p, play_find(&p, "GET"), 503);
	}
	while (!play_find(&p, "GET"))
		MUST(play_next(&p));
	play_status(&p, play_find(&p, "GET"), 400);
	assert_true(play_refused(&p, "9", "outcome_unknown"));
	assert_int_equal(play_answers(&p, "9", &text), 1);
	assert_null(strstr(text, "tried"));
	assert_non_null(strstr(text, "\"attempts\":1"));
	play_close(&p);
}

/* The line stays down: the broken stream of a call must not wait for ever. */
static void a_broken_stream_is_given_up_at_the_request_timeout_though_the_line_is_down(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	c.request_timeout_ms = 30000;
	c.max_request_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_sse(&p, t);
	play_data(&p, t, "id: p1\ndata:\n\n");
	play_done(&p, t, HTTP_RESET, true);
	while (p.now < 1000000 + 60000) {
		while ((t = p.transfers) && t->open)
			play_fail(&p, t, HTTP_CONNECT, false);
		if (!play_next(&p))
			break;
	}
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	play_close(&p);
}

static void a_cancelled_request_is_not_resumed(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_sse(&p, t);
	play_data(&p, t, "id: p1\ndata:\n\n");
	play_cancel(&p, 9);
	play_done(&p, t, HTTP_OK, true);
	play_serve(&p, 60000);
	assert_int_equal(play_count(&p, "GET"), 1); /* the standing stream that was refused */
	assert_int_equal(play_answers(&p, "9", NULL), 0);
	play_close(&p);
}

/* ---- bounds --------------------------------------------------------------------------------------- */

static void a_silent_request_times_out_and_its_tool_may_have_another_limit(void **state)
{
	static const struct tool_timeout limits[] = { { "a*", 5000 } };
	static const struct { const char *tool; int64_t ms; } rows[] = { { "act", 5000 }, { "other", 20000 } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		struct play p;

		c.request_timeout_ms = 20000;
		c.probe_after_ms = 0;
		c.tool_timeouts = limits;
		c.ntool_timeouts = 1;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, rows[i].tool);
		play_pass(&p, rows[i].ms - 1);
		assert_int_equal(play_answers(&p, "9", NULL), 0);
		play_pass(&p, 1);
		assert_true(play_refused(&p, "9", "outcome_unknown") || play_refused(&p, "9", "timeout"));
		assert_non_null(play_find(&p, "notifications/cancelled"));
		assert_int_equal(play_count(&p, "tools/call"), 1);
		play_close(&p);
	}
}

static void progress_keeps_a_request_alive_and_comments_do_not(void **state)
{
	static const struct { const char *bytes; bool alive; } rows[] = {
		{ "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}\n\n", true },
		{ ": keep-alive\n\n", false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		struct transfer *t;
		struct play p;

		c.request_timeout_ms = 20000;
		c.probe_after_ms = 0;
		c.keepalive_ms = 0;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		t = play_must_find(&p, "tools/call");
		play_sse(&p, t);
		for (int k = 0; k < 6 && t->open; k++) {
			play_pass(&p, 10000);
			if (t->open)
				play_data(&p, t, rows[i].bytes);
		}
		assert_int_equal(play_answers(&p, "9", NULL), rows[i].alive ? 0 : 1);
		play_close(&p);
	}
}

static void the_whole_life_of_a_request_is_bounded(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.max_request_ms = 40000;
	c.hold_ms = 120000;
	c.keepalive_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	for (int i = 0; i < 100 && !play_answers(&p, "9", NULL); i++) {
		struct transfer *t = play_find(&p, "resources/read");
		if (t)
			play_status(&p, t, 429);
		else if ((t = play_find(&p, "ping")))
			play_json(&p, t, "\"result\":{}");
		else if (!play_next(&p))
			break;
	}
	assert_true(play_refused(&p, "9", "timeout"));
	assert_true(p.now <= 1000000 + 40000 + 100);
	play_close(&p);
}

/* Everything else is answered; this one never. */
static void fail_again_and_again(struct play *p, struct head h, const char *body, int64_t each_ms)
{
	for (int i = 0; i < 2000 && !play_answers(p, "9", NULL); i++) {
		struct transfer *t = play_find(p, "resources/read");
		if (t && each_ms)
			play_pass(p, each_ms);
		if (t && t->open)
			play_respond(p, t, h, body);
		else if ((t = play_find(p, "ping")))
			play_json(p, t, "\"result\":{}");
		else if (!play_next(p))
			break;
	}
}

static void a_request_that_fails_again_and_again_is_answered_after_the_hold_time(void **state)
{
	static const struct { struct head h; const char *body, *kind; } rows[] = {
		{ { .status = 200, .type = "text/html" }, "<html>", "bad_upstream" },
		{ { .status = 200, .type = "application/json" }, "{\"jsonrpc\":\"2.0\",\"id\":\"other\",\"result\":{}}", "bad_upstream" },
		{ { .status = 200, .type = "text/event-stream" }, ": nothing\n\n", "upstream_unavailable" },
		{ { .status = 502 }, "<html>", "upstream_unavailable" },
		{ { .status = 429 }, NULL, "rate_limited" },
		{ { .status = 200, .type = "application/json" }, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32050,\"message\":\"busy\"}}", NULL },
	};
	int64_t again = -32050;

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		int64_t began;
		struct play p;

		c.keepalive_ms = 0;
		c.retry_errors = &again;
		c.nretry_errors = 1;
		play_open(&p, &c, 3 + i);
		play_ready(&p, false);
		began = p.now;
		play_ask(&p, 9, "resources/read");
		fail_again_and_again(&p, rows[i].h, rows[i].body, 0);
		assert_true(rows[i].kind ? play_refused(&p, "9", rows[i].kind) : play_answers(&p, "9", NULL) == 1);
		assert_true(p.now - began >= 20000 && p.now - began <= 26000);
		assert_true(play_count(&p, "resources/read") >= 4);
		play_close(&p);
	}
}

static void attempts_that_run_for_long_are_no_row_of_failures(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.keepalive_ms = c.probe_after_ms = 0;
	c.max_request_ms = 600000;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	fail_again_and_again(&p, (struct head){ .status = 504 }, NULL, 60000);
	assert_true(play_refused(&p, "9", "timeout"));
	assert_true(play_count(&p, "resources/read") > 5);
	play_close(&p);
}

/* A call that is given up while the server has it may have taken effect, and the
 * server is told that nobody waits any more. */
static void a_call_that_is_given_up_under_way_may_have_run_and_is_withdrawn(void **state)
{
	static const struct { int64_t max_ms, timeout_ms; bool polled; const char *kind; } rows[] = {
		{ 40000, 600000, false, "timeout" }, { 40000, 600000, true, "timeout" },
		{ 3600000, 30000, false, "outcome_unknown" }, { 3600000, 30000, true, "outcome_unknown" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		const char *answer = "";
		struct transfer *t;
		struct play p;

		c.max_request_ms = rows[i].max_ms;
		c.request_timeout_ms = rows[i].timeout_ms;
		c.probe_after_ms = c.keepalive_ms = 0;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		if (rows[i].polled) { /* its stream ended and is to be taken up again much later */
			t = play_must_find(&p, "tools/call");
			play_sse(&p, t);
			play_data(&p, t, "id: 1\nretry: 1800000\ndata:\n\n");
			play_done(&p, t, HTTP_OK, true);
		}
		play_pass(&p, 41000);
		assert_true(play_refused(&p, "9", rows[i].kind));
		assert_int_equal(play_answers(&p, "9", &answer), 1);
		assert_non_null(strstr(answer, "may have taken effect"));
		assert_non_null(strstr(answer, "\"mayHaveRun\":true"));
		t = play_must_find(&p, "notifications/cancelled");
		assert_non_null(strstr(buf_data(&t->kept), "\"requestId\":9"));
		play_close(&p);
	}
}

static void a_call_whose_time_is_up_before_it_was_sent_did_not_run(void **state)
{
	struct core_config c = play_config();
	const char *answer = "";
	struct play p;

	(void)state;
	c.max_request_ms = 10000;
	c.max_in_flight = 1;
	c.probe_after_ms = c.keepalive_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 8, "resources/read");
	play_call(&p, 9, "act");
	play_pass(&p, 10000);
	assert_int_equal(play_answers(&p, "9", &answer), 1);
	assert_non_null(strstr(answer, "\"mayHaveRun\":false"));
	assert_int_equal(play_count(&p, "tools/call"), 0);
	play_close(&p);
}

static void a_call_whose_answer_is_too_large_took_effect(void **state)
{
	(void)state;
	for (int stream = 0; stream < 2; stream++) {
		struct core_config c = play_config();
		const char *answer = "";
		struct transfer *t;
		char text[300];
		struct play p;

		c.max_message = 200;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		t = play_must_find(&p, "tools/call");
		if (stream) {
			memset(text, 'x', sizeof(text));
			memcpy(text, "data: ", 6);
			memcpy(text + sizeof(text) - 3, "\n\n", 3);
			play_sse(&p, t);
			play_data(&p, t, text);
		} else {
			struct http_result r = { .outcome = HTTP_BAD, .body_sent = true, .got_bytes = true, .detail = "the response is too large" };
			uint64_t token = t->token;
			play_head(&p, t, (struct head){ .status = 200, .type = "application/json" });
			play_stop(&p, t);
			session_on_done(p.s, token, &r, p.now);
			play_perform(&p);
		}
		assert_true(play_refused(&p, "9", "message_too_large"));
		assert_int_equal(play_answers(&p, "9", &answer), 1);
		assert_non_null(strstr(answer, "\"mayHaveRun\":true"));
		play_close(&p);
	}
}

static void a_refusal_says_whether_it_may_have_run(void **state)
{
	static const struct { int status; bool ran; } rows[] = { { 302, true }, { 303, true }, { 304, true }, { 400, false }, { 406, false }, { 413, false }, { 422, false } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		const char *answer = "";
		struct play p;

		c.transport = TRANSPORT_HTTP;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		play_status(&p, play_must_find(&p, "tools/call"), rows[i].status);
		assert_int_equal(play_answers(&p, "9", &answer), 1);
		assert_non_null(strstr(answer, rows[i].ran ? "\"mayHaveRun\":true" : "\"mayHaveRun\":false"));
		play_close(&p);
	}
}

static void the_attempts_of_a_request_are_bounded(void **state)
{
	static const struct { int max; size_t posts; } rows[] = { { 0, 1 }, { 1, 2 }, { 3, 4 } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		struct play p;

		c.max_retries = rows[i].max;
		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_ask(&p, 9, "resources/read");
		for (int k = 0; k < 50 && !play_answers(&p, "9", NULL); k++) {
			struct transfer *t = play_find(&p, "resources/read");
			if (t)
				play_status(&p, t, 429);
			else if ((t = play_find(&p, "ping")))
				play_json(&p, t, "\"result\":{}");
			else
				play_next(&p);
		}
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_in_range(play_count(&p, "resources/read"), 1, rows[i].posts);
		play_close(&p);
	}
}

static void a_retry_after_is_waited_for_and_one_beyond_the_hold_time_is_told_at_once(void **state)
{
	struct core_config c = play_config();
	const char *answer = NULL;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	play_respond(&p, play_must_find(&p, "resources/read"), (struct head){ .status = 503, .retry_after = "7" }, NULL);
	play_pass(&p, 6999);
	assert_null(play_find(&p, "resources/read"));
	play_pass(&p, 800);
	play_respond(&p, play_must_find(&p, "resources/read"), (struct head){ .status = 429, .retry_after = "120" }, NULL);
	assert_int_equal(play_answers(&p, "9", &answer), 1);
	assert_non_null(strstr(answer, "\"kind\":\"rate_limited\""));
	assert_non_null(strstr(answer, "\"retryAfterMs\":120000"));
	play_close(&p);
}

/* ---- limits the user set ------------------------------------------------------------------------------ */

static void the_rate_limit_spreads_requests_and_refuses_what_would_wait_too_long(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.rate_per_s = 1;
	c.rate_burst = 2;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	for (int i = 10; i < 14; i++)
		play_ask(&p, i, "resources/read");
	assert_int_equal(play_count(&p, "resources/read"), 2);
	play_pass(&p, 1000);
	assert_int_equal(play_count(&p, "resources/read"), 3);
	play_pass(&p, 1000);
	assert_int_equal(play_count(&p, "resources/read"), 4);
	play_close(&p);

	c.rate_per_s = 0.01;
	c.rate_burst = 1;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 10, "resources/read");
	play_ask(&p, 11, "resources/read");
	assert_true(play_refused(&p, "11", "rate_limited"));
	play_close(&p);
}

/* Six a minute: each waits for those before it, and 25 s is as long as one may. */
static void a_turn_that_would_come_too_late_is_refused_on_arrival(void **state)
{
	struct core_config c = play_config();
	const char *answer = NULL;
	char id[8];
	struct play p;

	(void)state;
	c.rate_per_s = 0.1;
	c.rate_burst = 1;
	c.probe_after_ms = c.keepalive_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	for (int i = 10; i < 16; i++) {
		play_ask(&p, i, "prompts/get"); /* 10 at once, 11 in 10 s, 12 in 20 s */
		snprintf(id, sizeof(id), "%d", i);
		assert_int_equal(play_answers(&p, id, &answer), i > 12);
	}
	assert_non_null(strstr(answer, "\"kind\":\"rate_limited\""));
	assert_non_null(strstr(answer, "\"retryAfterMs\":30000"));
	play_pass(&p, 7000);
	play_ask(&p, 16, "prompts/get"); /* in 23 s */
	assert_int_equal(play_answers(&p, "16", NULL), 0);
	play_pass(&p, 23000);
	assert_int_equal(play_count(&p, "prompts/get"), 4);
	play_close(&p);
}

static void the_rate_limit_does_not_hold_up_what_was_sent_before(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.rate_per_s = 1e-300;
	c.rate_burst = 1;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 10, "prompts/get");
	play_ask(&p, 11, "prompts/get");
	assert_true(play_refused(&p, "11", "rate_limited"));
	play_status(&p, play_must_find(&p, "prompts/get"), 429);
	play_pass(&p, 5000);
	play_json(&p, play_must_find(&p, "prompts/get"), "\"result\":{}");
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	play_close(&p);
}

static void a_quota_of_requests_or_of_time_ends_the_session_for_the_agent(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.quota_requests = 2;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	for (int i = 10; i < 13; i++) {
		play_ask(&p, i, "resources/read");
		play_serve(&p, 10);
	}
	assert_int_equal(play_count(&p, "resources/read"), 2);
	assert_true(play_refused(&p, "12", "rate_limited"));
	play_close(&p);

	c.quota_requests = 0;
	c.quota_ms = 5000;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 10, "resources/read");
	play_pass(&p, 6000);
	play_serve(&p, 10);
	play_ask(&p, 11, "resources/read");
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	assert_true(play_refused(&p, "11", "rate_limited"));
	play_close(&p);
}

static void the_time_of_a_request_counts_once(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.quota_ms = 5000;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	for (int i = 10; i < 14; i++) {
		play_ask(&p, i, "resources/read");
		play_pass(&p, 2000);
		play_serve(&p, 10);
	}
	assert_int_equal(play_count(&p, "resources/read"), 3);
	assert_false(play_refused(&p, "12", "rate_limited"));
	assert_true(play_refused(&p, "13", "rate_limited"));
	play_close(&p);
}

static void no_more_requests_than_allowed_are_under_way(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.max_in_flight = 3;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	for (int i = 10; i < 20; i++)
		play_ask(&p, i, "resources/read");
	assert_int_equal(play_count(&p, "resources/read"), 3);
	play_json(&p, play_must_find(&p, "resources/read"), "\"result\":{}");
	assert_int_equal(play_count(&p, "resources/read"), 4);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	assert_non_null(play_find(&p, "notifications/roots/list_changed"));
	play_close(&p);
}

/* ---- cancelling -------------------------------------------------------------------------------------------- */

/* The answer frees the slot, not the end of what brought it: on 2024-11-05 it can
 * overtake the response to its POST, and an event stream may stay open behind it. */
static void a_slot_is_free_with_the_answer(void **state)
{
	(void)state;
	for (int old = 0; old < 2; old++) {
		struct core_config c = play_config();
		struct transfer *g = NULL, *t;
		struct play p;

		c.transport = old ? TRANSPORT_SSE : TRANSPORT_HTTP;
		c.max_in_flight = 1;
		play_open(&p, &c, 3);
		if (old)
			g = play_ready_sse(&p);
		else
			play_ready(&p, false);
		play_pass(&p, 100);
		play_ask(&p, 8, "resources/read");
		play_ask(&p, 9, "prompts/get");
		assert_null(play_find(&p, "prompts/get"));
		t = play_must_find(&p, "resources/read");
		if (!old)
			play_sse(&p, t);
		play_pass(&p, 100); /* nothing is due by itself any more */
		play_answer_on(&p, old ? g : t, NULL, t, "\"result\":{}");
		assert_int_equal(play_answers(&p, "8", NULL), 1);
		play_pass(&p, 0);
		assert_non_null(play_find(&p, "prompts/get"));
		play_close(&p);
	}
}

/* ---- a stream that dies under a POST, and what is held ------------------------------------------- */

static void a_post_under_way_tells_what_became_of_it_when_its_stream_dies(void **state)
{
	enum { UNSENT, CUT, ACCEPTED, SILENT, WAYS };

	(void)state;
	for (int way = 0; way < WAYS; way++) {
		struct core_config c = play_config();
		struct transfer *g, *t;
		struct play p;

		c.transport = TRANSPORT_SSE;
		play_open(&p, &c, 3);
		g = play_ready_sse(&p);
		play_call(&p, 9, "act");
		t = play_must_find(&p, "tools/call");
		play_done(&p, g, HTTP_RESET, true);
		assert_true(t->withdrawn && !t->cancelled);
		assert_int_equal(play_answers(&p, "9", NULL), 0);
		if (way == UNSENT)
			play_fail(&p, t, HTTP_SEND, false);
		else if (way == CUT)
			play_fail(&p, t, HTTP_RESET, true);
		else if (way == ACCEPTED)
			play_status(&p, t, 202);
		else
			play_pass(&p, 10000);
		if (way == UNSENT) {
			assert_int_equal(play_answers(&p, "9", NULL), 0);
			play_serve(&p, 20000);
			assert_int_equal(play_count(&p, "tools/call"), 2);
		} else {
			assert_true(play_refused(&p, "9", "outcome_unknown"));
			play_serve(&p, 20000);
			assert_int_equal(play_count(&p, "tools/call"), 1);
		}
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		play_close(&p);
	}
}

/* A call with effects, "act", is asked with id 9. */
static void cut_off_after(const char *type, const char *bytes, bool is_answer)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	c.transport = TRANSPORT_HTTP;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_head(&p, t, (struct head){ .status = 200, .type = type });
	if (t->mode == BODY_COLLECT)
		play_cut(&p, t, bytes);
	else
		play_data(&p, t, bytes);
	play_done(&p, t, HTTP_RESET, true);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_refused(&p, "9", "outcome_unknown"), !is_answer);
	play_serve(&p, 20000);
	assert_int_equal(play_count(&p, "tools/call"), 1);
	play_close(&p);
}

#define WHOLE "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{\"content\":[]}}"

static void a_complete_answer_counts_though_its_frame_is_cut_off(void **state)
{
	(void)state;
	cut_off_after("application/json", WHOLE, true);
	cut_off_after("application/json", WHOLE "\n", true);
	cut_off_after("application/json", "[" WHOLE "]", true);
}

static void a_lost_session_counts_though_its_frame_is_cut_off(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	c.transport = TRANSPORT_HTTP;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	play_call(&p, 9, "act");
	t = play_must_find(&p, "tools/call");
	play_head(&p, t, (struct head){ .status = 200, .type = "application/json" });
	play_cut(&p, t, "{\"jsonrpc\":\"2.0\",\"id\":9,\"error\":{\"code\":-32001,\"message\":\"Session not found\"}}");
	play_done(&p, t, HTTP_RESET, true);
	play_serve(&p, 20000);
	assert_int_equal(play_count(&p, "tools/call"), 2);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_false(play_refused(&p, "9", "outcome_unknown"));
	play_close(&p);
}

static void half_an_answer_is_none(void **state)
{
	(void)state;
	cut_off_after("application/json", "", false);
	cut_off_after("application/json", "{\"jsonrpc\":\"2.0\",\"id\":9,\"result\":{}", false);
	cut_off_after("application/json", "{\"jsonrpc\":\"2.0\",\"id\":8,\"result\":{}}", false);
	cut_off_after("text/event-stream", "data: " WHOLE "\n", false); /* the standard drops such an event */
}

static void what_may_be_repeated_does_not_wait_for_a_post_whose_stream_died(void **state)
{
	struct core_config c = play_config();
	struct transfer *g, *t;
	struct play p;

	(void)state;
	c.transport = TRANSPORT_SSE;
	play_open(&p, &c, 3);
	g = play_ready_sse(&p);
	play_ask(&p, 9, "resources/read");
	t = play_must_find(&p, "resources/read");
	play_done(&p, g, HTTP_RESET, true);
	assert_true(t->cancelled);
	play_serve(&p, 3000);
	assert_int_equal(play_count(&p, "resources/read"), 2);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_false(play_refused(&p, "9", "upstream_unavailable"));
	play_close(&p);
}

static void an_attempt_that_ends_when_the_retries_are_used_up_is_not_held(void **state)
{
	struct core_config c = play_config();
	struct transfer *t;
	struct play p;

	(void)state;
	c.max_retries = 0;
	c.transport = TRANSPORT_HTTP;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	play_ask(&p, 10, "prompts/get");
	t = play_must_find(&p, "resources/read");
	play_fail(&p, play_must_find(&p, "prompts/get"), HTTP_CONNECT, false);
	assert_int_equal(play_state(&p), SESSION_DOWN);
	play_fail(&p, t, HTTP_CONNECT, false);
	assert_true(play_refused(&p, "9", "upstream_unavailable"));
	assert_true(play_refused(&p, "10", "upstream_unavailable"));
	play_close(&p);
}

static void refuse_one(struct play *p, struct transfer *t) { play_fail(p, t, HTTP_CONNECT, false); }

static void what_is_held_does_not_wait_long_for_a_server_that_is_back(void **state)
{
	static const int64_t away[] = { 3000, 6500, 10000, 15000, 18000 };

	(void)state;
	for (uint64_t seed = 1; seed <= 20; seed++) {
		for (size_t i = 0; i < N(away); i++) {
			struct core_config c = play_config();
			int64_t limit = 2 * away[i] + 500;
			struct play p;

			c.transport = TRANSPORT_HTTP;
			play_open(&p, &c, seed);
			play_ready(&p, false);
			play_ask(&p, 9, "resources/read");
			play_fail(&p, play_must_find(&p, "resources/read"), HTTP_CONNECT, false);
			play_serve_with(&p, away[i], refuse_one);
			play_serve(&p, away[i] + limit < c.hold_ms ? limit : c.hold_ms - away[i]);
			assert_int_equal(play_answers(&p, "9", NULL), 1);
			assert_false(play_refused(&p, "9", "upstream_unavailable"));
			play_close(&p);
		}
	}
}

static void who_comes_in_a_long_pause_is_not_refused_without_an_attempt(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= 40; seed++) {
		struct core_config c = play_config();
		struct play p;

		c.transport = TRANSPORT_HTTP;
		c.breaker_threshold = 0;
		play_open(&p, &c, seed);
		play_ready(&p, false);
		play_ask(&p, 8, "resources/read");
		play_fail(&p, play_must_find(&p, "resources/read"), HTTP_CONNECT, false);
		play_serve_with(&p, 300000 + (int64_t)seed * 777, refuse_one);
		assert_int_equal(play_state(&p), SESSION_WAIT);
		play_ask(&p, 9, "resources/read");
		play_serve_with(&p, 18000, refuse_one);
		play_serve(&p, 7000);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_false(play_refused(&p, "9", "upstream_unavailable"));
		play_close(&p);
	}
}

static void a_parked_request_is_cancelled_without_a_word_to_the_server(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	c.max_in_flight = 1;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_ask(&p, 9, "resources/read");
	play_ask(&p, 10, "prompts/get");
	play_cancel(&p, 10);
	play_serve(&p, 1000);
	assert_int_equal(play_count(&p, "prompts/get"), 0);
	assert_int_equal(play_count(&p, "notifications/cancelled"), 0);
	assert_int_equal(play_answers(&p, "10", NULL), 0);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	play_close(&p);
}

static void a_request_under_way_is_cancelled_by_a_notification(void **state)
{
	static const bool streaming[] = { false, true };

	(void)state;
	for (size_t i = 0; i < N(streaming); i++) {
		struct core_config c = play_config();
		struct transfer *t;
		struct play p;

		play_open(&p, &c, 3);
		play_ready(&p, false);
		play_call(&p, 9, "act");
		t = play_must_find(&p, "tools/call");
		if (streaming[i])
			play_sse(&p, t);
		play_cancel(&p, 9);
		play_cancel(&p, 9);
		assert_non_null(memmem(buf_data(&play_must_find(&p, "notifications/cancelled")->kept), play_find(&p, "notifications/cancelled")->kept.len, "\"requestId\":9", 13));
		play_status(&p, play_must_find(&p, "notifications/cancelled"), 202);
		assert_int_equal(play_count(&p, "notifications/cancelled"), 1);
		if (streaming[i])
			play_answer_on(&p, t, NULL, t, "\"result\":{}");
		else
			play_json(&p, t, "\"result\":{}");
		assert_int_equal(play_answers(&p, "9", NULL), 0);
		play_close(&p);
	}
}

static void a_cancellation_of_nothing_goes_nowhere(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, false);
	play_cancel(&p, 99);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\"}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":[1]}}");
	assert_int_equal(play_count(&p, "notifications/cancelled"), 0);
	play_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_end_of_an_attempt_leads_where_the_ledger_table_says),
		cmocka_unit_test(a_cancelled_request_is_neither_answered_nor_sent_again),
		cmocka_unit_test(what_may_have_run_once_is_never_sent_again_for_a_later_refusal),
		cmocka_unit_test(the_answer_of_outcome_unknown_says_that_it_may_have_taken_effect),
		cmocka_unit_test(the_users_globs_come_before_the_tools_annotations),
		cmocka_unit_test(list_changed_sets_the_annotations_aside),
		cmocka_unit_test(tools_are_listed_for_a_client_that_takes_no_notice_of_list_changed),
		cmocka_unit_test(a_client_that_lists_the_tools_itself_is_left_to_it),
		cmocka_unit_test(one_that_never_listed_tools_needs_no_annotations),
		cmocka_unit_test(a_flood_of_list_changed_makes_no_flood_of_lists),
		cmocka_unit_test(news_in_the_middle_of_a_listing_begins_another),
		cmocka_unit_test(tools_are_listed_when_the_line_is_back),
		cmocka_unit_test(a_call_is_judged_by_what_is_known_when_it_fails),
		cmocka_unit_test(a_hint_that_is_withdrawn_covers_no_earlier_attempt),
		cmocka_unit_test(an_error_the_user_named_is_tried_again_for_what_may_be_repeated),
		cmocka_unit_test(a_request_sent_again_goes_under_an_id_of_ours_and_comes_back_under_its_own),
		cmocka_unit_test(two_requests_under_one_id_get_one_answer_each),
		cmocka_unit_test(an_answer_that_comes_twice_reaches_the_client_once),
		cmocka_unit_test(a_number_id_comes_back_in_the_clients_spelling),
		cmocka_unit_test(every_attempt_of_a_call_carries_one_idempotency_key),
		cmocka_unit_test(a_stream_with_event_ids_is_resumed_and_no_event_is_told_twice),
		cmocka_unit_test(a_server_that_closes_after_priming_is_polled_at_its_own_pace),
		cmocka_unit_test(a_resume_that_fails_adds_the_backoff_to_the_servers_pace),
		cmocka_unit_test(a_stream_that_can_not_be_resumed_falls_under_the_rule),
		cmocka_unit_test(a_server_that_refuses_to_resume_is_asked_once_and_is_there),
		cmocka_unit_test(fetching_an_answer_again_is_no_second_attempt),
		cmocka_unit_test(a_post_under_way_tells_what_became_of_it_when_its_stream_dies),
		cmocka_unit_test(a_complete_answer_counts_though_its_frame_is_cut_off),
		cmocka_unit_test(a_lost_session_counts_though_its_frame_is_cut_off),
		cmocka_unit_test(half_an_answer_is_none),
		cmocka_unit_test(what_may_be_repeated_does_not_wait_for_a_post_whose_stream_died),
		cmocka_unit_test(an_attempt_that_ends_when_the_retries_are_used_up_is_not_held),
		cmocka_unit_test(what_is_held_does_not_wait_long_for_a_server_that_is_back),
		cmocka_unit_test(who_comes_in_a_long_pause_is_not_refused_without_an_attempt),
		cmocka_unit_test(a_broken_stream_is_given_up_at_the_request_timeout_though_the_line_is_down),
		cmocka_unit_test(a_cancelled_request_is_not_resumed),
		cmocka_unit_test(a_silent_request_times_out_and_its_tool_may_have_another_limit),
		cmocka_unit_test(progress_keeps_a_request_alive_and_comments_do_not),
		cmocka_unit_test(the_whole_life_of_a_request_is_bounded),
		cmocka_unit_test(a_request_that_fails_again_and_again_is_answered_after_the_hold_time),
		cmocka_unit_test(attempts_that_run_for_long_are_no_row_of_failures),
		cmocka_unit_test(a_call_that_is_given_up_under_way_may_have_run_and_is_withdrawn),
		cmocka_unit_test(a_call_whose_time_is_up_before_it_was_sent_did_not_run),
		cmocka_unit_test(a_call_whose_answer_is_too_large_took_effect),
		cmocka_unit_test(a_refusal_says_whether_it_may_have_run),
		cmocka_unit_test(the_attempts_of_a_request_are_bounded),
		cmocka_unit_test(a_retry_after_is_waited_for_and_one_beyond_the_hold_time_is_told_at_once),
		cmocka_unit_test(the_rate_limit_spreads_requests_and_refuses_what_would_wait_too_long),
		cmocka_unit_test(a_turn_that_would_come_too_late_is_refused_on_arrival),
		cmocka_unit_test(the_rate_limit_does_not_hold_up_what_was_sent_before),
		cmocka_unit_test(a_quota_of_requests_or_of_time_ends_the_session_for_the_agent),
		cmocka_unit_test(the_time_of_a_request_counts_once),
		cmocka_unit_test(no_more_requests_than_allowed_are_under_way),
		cmocka_unit_test(a_slot_is_free_with_the_answer),
		cmocka_unit_test(a_parked_request_is_cancelled_without_a_word_to_the_server),
		cmocka_unit_test(a_request_under_way_is_cancelled_by_a_notification),
		cmocka_unit_test(a_cancellation_of_nothing_goes_nowhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
