/* The session's table: every state met by every kind of event, and the rules
 * that stand around it: replay, the gentle start, order, keepalive, the
 * breaker, the end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_harness.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

/* ---- into each state ---------------------------------------------------------------------- */

static struct core_config http_only(void)
{
	struct core_config c = play_config();

	c.transport = TRANSPORT_HTTP;
	return c;
}

static struct core_config sse_only(void)
{
	struct core_config c = play_config();

	c.transport = TRANSPORT_SSE;
	return c;
}

/* A request whose connection fails takes the line down. */
static void cut(struct play *p)
{
	play_ask(p, 900, "resources/read");
	play_fail(p, play_must_find(p, "resources/read"), HTTP_CONNECT, false);
}

static void into(struct play *p, struct core_config *c, enum session_state st)
{
	if (st == SESSION_DOWN)
		c->max_retries = 0;
	play_open(p, c, 5);
	if (st == SESSION_START)
		return;
	if (st == SESSION_PROBE) {
		play_client(p, PLAY_INITIALIZE);
		return;
	}
	play_ready(p, false);
	switch (st) {
	case SESSION_WAIT:
	case SESSION_DOWN:
		cut(p);
		break;
	case SESSION_REVIVE:
		cut(p);
		while (play_state(p) == SESSION_WAIT)
			MUST(play_next(p));
		break;
	case SESSION_AUTH:
		p->challenge = CHALLENGE_PARK;
		play_ask(p, 901, "resources/read");
		play_respond(p, play_must_find(p, "resources/read"), (struct head){ .status = 401, .www = "Bearer" }, NULL);
		break;
	case SESSION_DRAIN:
		session_on_client_eof(p->s, p->now);
		play_perform(p);
		break;
	default:
		break;
	}
	assert_int_equal(play_state(p), st);
}

/* ---- client message ------------------------------------------------------------------------- */

static void a_request_meets_each_state(void **state)
{
	static const struct { enum session_state st; const char *refused; bool posted; } rows[] = {
		{ SESSION_START, "unsupported", false }, { SESSION_PROBE, NULL, false }, { SESSION_READY, NULL, true }, { SESSION_WAIT, NULL, false },
		{ SESSION_REVIVE, NULL, false }, { SESSION_AUTH, NULL, false }, { SESSION_DOWN, "upstream_unavailable", false }, { SESSION_DRAIN, "shutting_down", false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct play p;

		into(&p, &c, rows[i].st);
		play_ask(&p, 9, "prompts/get");
		assert_int_equal(play_count(&p, "prompts/get"), rows[i].posted);
		if (rows[i].refused)
			assert_true(play_refused(&p, "9", rows[i].refused));
		else
			assert_int_equal(play_answers(&p, "9", NULL), 0);
		play_close(&p);
	}
}

static void a_ping_is_answered_by_the_bridge_wherever_the_line_is_not_up(void **state)
{
	(void)state;
	for (enum session_state st = SESSION_START; st < SESSION_DRAIN; st++) {
		struct core_config c = http_only();
		struct play p;

		into(&p, &c, st);
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"ping\"}");
		assert_int_equal(play_answers(&p, "9", NULL), st == SESSION_READY ? 0 : 1);
		play_close(&p);
	}
}

static void a_second_initialize_under_way_is_refused_and_a_later_one_starts_anew(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_PROBE);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"initialize\",\"params\":{}}");
	assert_int_equal(play_answers(&p, "2", NULL), 1);
	assert_true(play_said(&p, "already under way"));
	play_hello(&p, "sid-1");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\"}}");
	assert_int_equal(play_state(&p), SESSION_PROBE);
	play_hello(&p, "sid-2");
	assert_int_equal(play_answers(&p, "3", NULL), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* A client that was restarted counts its ids from the start again. */
static void a_client_that_begins_anew_hears_nothing_of_what_was_before(void **state)
{
	static const char again[] = "{\"jsonrpc\":\"2.0\",\"id\":\"init\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\"}}";
	struct core_config c = http_only();
	struct transfer *t, *left, *stream;
	const char *text = NULL;
	uint64_t token;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	stream = play_must_find(&p, "GET");
	play_event(&p, stream, NULL, "{\"jsonrpc\":\"2.0\",\"id\":70,\"method\":\"roots/list\"}");
	play_call(&p, 1, "act");
	play_sse(&p, play_must_find(&p, "tools/call"));
	play_ask(&p, 2, "prompts/get");
	play_sse(&p, left = play_must_find(&p, "prompts/get"));
	play_answer_on(&p, left, NULL, left, "\"result\":{}"); /* its stream stays open */
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	play_client(&p, again);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":70,\"result\":{\"roots\":[]}}");

	t = play_must_find(&p, "DELETE");
	assert_non_null(memmem(buf_data(&t->lines), t->lines.len, "sid-1", 5));
	assert_int_equal(p.nopen, 2); /* that and initialize: all else has ended */
	token = t->token;
	play_hello(&p, "sid-2");
	play_client(&p, PLAY_INITIALIZED);
	assert_int_equal(play_count(&p, "notifications/roots/list_changed"), 1);
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	play_call(&p, 1, "act");
	play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{\"content\":[],\"new\":true}");
	assert_int_equal(play_answers(&p, "1", &text), 1);
	assert_non_null(strstr(text, "\"new\":true"));
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 2);
	play_status(&p, play_transfer(&p, token), 200); /* of no importance by now */
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void a_session_that_was_left_is_given_back_where_the_server_redirects_to(void **state)
{
	struct core_config c = http_only();
	struct transfer *t;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_client(&p, PLAY_INITIALIZE);
	play_respond(&p, play_must_find(&p, "DELETE"), (struct head){ .status = 308, .location = "/mcp/" }, NULL);
	t = play_must_find(&p, "DELETE");
	assert_non_null(memmem(buf_data(&t->lines), t->lines.len, "sid-1", 5));
	assert_string_equal(buf_data(&t->url), "https://server.test/mcp/");
	p.challenge = CHALLENGE_PARK;
	play_respond(&p, t, (struct head){ .status = 401, .www = "Bearer" }, NULL);
	assert_int_equal(p.nauth, 0); /* nobody signs in to leave */
	play_close(&p);
}

static void the_end_waits_for_each_session_that_is_given_back(void **state)
{
	struct core_config c = http_only();
	struct transfer *first, *second;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_client(&p, PLAY_INITIALIZE);
	first = play_must_find(&p, "DELETE");
	play_hello(&p, "sid-2");
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	assert_true(first->open);
	for (second = p.transfers; second && (second == first || second->method != HTTP_DELETE);)
		second = second->next;
	assert_non_null(second);
	assert_non_null(memmem(buf_data(&second->lines), second->lines.len, "sid-2", 5));
	play_status(&p, second, 200);
	assert_false(p.ended);
	play_status(&p, first, 200);
	assert_true(p.ended);
	play_close(&p);
}

static void the_first_handshake_of_a_client_that_was_restarted_is_answered_once(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_PROBE);
	play_client(&p, PLAY_INITIALIZE);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
	assert_int_equal(p.nopen, 1);
	play_hello(&p, "sid-1");
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void a_restart_does_not_cut_short_what_the_server_asked_to_wait(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_PROBE);
	play_respond(&p, play_must_find(&p, "initialize"), (struct head){ .status = 503, .retry_after = "10" }, NULL);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_client(&p, PLAY_INITIALIZE);
	play_pass(&p, 9000);
	assert_int_equal(p.nopen, 0);
	play_serve(&p, 3000);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* ---- signal, end of input ------------------------------------------------------------------------ */

static void a_signal_ends_every_state_within_a_second_and_answers_what_waits(void **state)
{
	(void)state;
	for (enum session_state st = SESSION_START; st < SESSION_DRAIN; st++) {
		struct core_config c = http_only();
		int64_t began;
		struct play p;

		into(&p, &c, st);
		if (st != SESSION_START)
			play_ask(&p, 9, "prompts/get");
		began = p.now;
		session_on_signal(p.s, p.now);
		play_perform(&p);
		if (!p.ended) {
			play_pass(&p, 100);
			session_on_client_eof(p.s, p.now); /* the client hangs up as well, and that gives no more time */
			play_perform(&p);
		}
		while (!p.ended)
			assert_true(play_next(&p));
		assert_true(p.now - began <= 1000);
		assert_int_equal(play_answers(&p, "9", NULL), st != SESSION_START);
		play_close(&p);
	}
}

static void the_second_signal_ends_at_once(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_call(&p, 9, "act");
	session_on_signal(p.s, p.now);
	play_perform(&p);
	assert_false(p.ended);
	session_on_signal(p.s, p.now);
	play_perform(&p);
	assert_true(p.ended);
	play_close(&p);
}

static void at_the_end_of_input_what_runs_may_finish_and_the_session_is_given_back(void **state)
{
	struct core_config c = http_only();
	struct transfer *t;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_call(&p, 9, "act");
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	play_pass(&p, 3000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{}");
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	t = play_must_find(&p, "DELETE");
	assert_non_null(memmem(buf_data(&t->lines), t->lines.len, "sid-1", 5));
	assert_false(p.ended);
	play_status(&p, t, 200);
	assert_true(p.ended);
	play_close(&p);
}

static void at_the_end_of_input_leftovers_are_answered_after_five_seconds(void **state)
{
	struct core_config c = http_only();
	const char *answer = NULL;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_call(&p, 9, "act");
	session_on_client_eof(p.s, p.now);
	play_pass(&p, 4999);
	assert_int_equal(play_answers(&p, "9", NULL), 0);
	play_pass(&p, 1);
	assert_int_equal(play_answers(&p, "9", &answer), 1);
	assert_non_null(strstr(answer, "shutting_down"));
	assert_non_null(strstr(answer, "may have taken effect"));
	assert_non_null(play_find(&p, "DELETE"));
	play_pass(&p, 1000);
	assert_true(p.ended);
	play_close(&p);
}

static void a_cancelled_request_does_not_hold_up_the_end(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_call(&p, 9, "act");
	play_cancel(&p, 9);
	play_status(&p, play_must_find(&p, "notifications/cancelled"), 202);
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	assert_non_null(play_find(&p, "DELETE"));
	play_close(&p);
}

static void what_a_server_that_is_away_was_to_be_told_does_not_hold_up_the_end(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_WAIT);
	play_cancel(&p, 900);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	assert_true(p.ended);
	play_close(&p);
}

static void input_piped_in_before_anything_was_connected_is_answered(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	play_client(&p, PLAY_INITIALIZE);
	play_client(&p, PLAY_INITIALIZED);
	play_ask(&p, 9, "tools/list");
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	play_serve(&p, 6000);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_true(p.ended);
	play_close(&p);
}

/* ---- PROBE --------------------------------------------------------------------------------------- */

static void the_wrong_transport_leads_to_the_next_one_and_success_decides(void **state)
{
	static const int statuses[] = { 400, 404, 405 };

	(void)state;
	for (size_t i = 0; i < N(statuses); i++) {
		struct core_config c = play_config();
		struct session_view v;
		struct transfer *g, *t;
		struct play p;

		play_open(&p, &c, 1);
		play_client(&p, PLAY_INITIALIZE);
		play_status(&p, play_must_find(&p, "initialize"), statuses[i]);
		g = play_endpoint(&p);
		t = play_must_find(&p, "initialize");
		assert_true(span_is(buf_span(&t->url), "https://server.test/messages?s=1"));
		play_status(&p, t, 202);
		play_answer_on(&p, g, NULL, t, PLAY_HELLO_SSE);
		session_look(p.s, &v, p.now);
		assert_int_equal(v.state, SESSION_READY);
		assert_int_equal(v.era, ERA_SSE);
		play_close(&p);
	}
}

static void when_no_transport_is_left_the_handshake_waits_and_tries_again(void **state)
{
	struct core_config c = play_config();
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	play_client(&p, PLAY_INITIALIZE);
	play_status(&p, play_must_find(&p, "initialize"), 404);
	play_status(&p, play_must_find(&p, "GET"), 404);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	while (play_state(&p) == SESSION_WAIT)
		assert_true(play_next(&p));
	play_hello(&p, NULL);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	play_close(&p);
}

static void an_endpoint_of_another_origin_is_refused(void **state)
{
	struct core_config c = sse_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 1);
	play_client(&p, PLAY_INITIALIZE);
	play_sse(&p, play_must_find(&p, "GET"));
	play_data(&p, play_find(&p, "GET"), "event: endpoint\ndata: https://elsewhere.test/messages\n\n");
	assert_int_equal(play_count(&p, "initialize"), 0);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_close(&p);
}

struct probe_end { const char *name; struct head head; enum http_outcome outcome; enum session_state want; const char *refused; };

static void what_meets_the_first_handshake_leads_where_the_table_says(void **state)
{
	static const struct probe_end rows[] = {
		{ "connection refused", .outcome = HTTP_CONNECT, .want = SESSION_WAIT },
		{ "reset", .outcome = HTTP_RESET, .want = SESSION_WAIT },
		{ "429", { .status = 429 }, .want = SESSION_WAIT },
		{ "503 with Retry-After", { .status = 503, .retry_after = "2" }, .want = SESSION_WAIT },
		{ "502", { .status = 502 }, .want = SESSION_WAIT },
		{ "500", { .status = 500 }, .want = SESSION_WAIT },
		{ "401 and a sign-in", { .status = 401, .www = "Bearer" }, .want = SESSION_AUTH },
		{ "403 for the scope", { .status = 403, .www = "Bearer error=\"insufficient_scope\"" }, .want = SESSION_AUTH },
		{ "403", { .status = 403 }, .want = SESSION_START, .refused = "auth_required" },
		{ "413", { .status = 413 }, .want = SESSION_START, .refused = "message_too_large" },
		{ "a wait beyond patience", { .status = 429, .retry_after = "600" }, .want = SESSION_START, .refused = "rate_limited" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;

		into(&p, &c, SESSION_PROBE);
		p.challenge = CHALLENGE_PARK;
		t = play_must_find(&p, "initialize");
		if (rows[i].outcome)
			play_fail(&p, t, rows[i].outcome, rows[i].outcome == HTTP_RESET);
		else
			play_respond(&p, t, rows[i].head, NULL);
		if (play_state(&p) != rows[i].want)
			fail_msg("%s: %s", rows[i].name, session_state_name(play_state(&p)));
		if (rows[i].refused && !play_refused(&p, "\"init\"", rows[i].refused))
			fail_msg("%s: not %s", rows[i].name, rows[i].refused);
		play_close(&p);
	}
}

static void a_handshake_that_is_held_too_long_is_answered(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_PROBE);
	for (int i = 0; i < 100 && !play_answers(&p, "\"init\"", NULL); i++) {
		struct transfer *t = play_find(&p, "initialize");
		if (t)
			play_fail(&p, t, HTTP_CONNECT, false);
		else
			assert_true(play_next(&p));
	}
	assert_true(play_refused(&p, "\"init\"", "upstream_unavailable"));
	assert_false(play_said(&p, "in the background"));
	assert_true(p.now <= 1000000 + 25000);
	play_close(&p);
}

/* ---- WAIT and REVIVE -------------------------------------------------------------------------------- */

static void requests_wait_in_order_and_go_out_gently_after_the_outage(void **state)
{
	struct core_config c = http_only();
	size_t seen = 0, most[3] = { 0, 0, 0 };
	struct play p;

	(void)state;
	into(&p, &c, SESSION_WAIT);
	for (int i = 0; i < 20; i++)
		play_ask(&p, 10 + i, "prompts/get");
	while (!play_find(&p, "ping"))
		assert_true(play_next(&p));
	play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
	assert_int_equal(play_state(&p), SESSION_READY);
	for (int round = 0; round < 3; round++) {
		struct transfer *open[64];
		size_t n = 0;
		for (struct transfer *t = p.transfers; t; t = t->next)
			if (t->open && t->method == HTTP_POST)
				open[n++] = t;
		most[round] = n;
		for (size_t k = n; k > 0; k--) { /* oldest first */
			struct rpc_msg m = transfer_msg(open[k - 1]);
			if (span_is(m.method, "prompts/get")) {
				char id[20];
				snprintf(id, sizeof(id), "%zu", 10 + seen++);
				assert_true(span_is(m.id, id));
			}
			play_json(&p, open[k - 1], "\"result\":{}");
		}
	}
	assert_int_equal(most[0], 1);
	assert_in_range(most[1], 1, 3);
	assert_in_range(most[2], 2, 8);
	play_serve(&p, 1000);
	for (int i = 0; i < 20; i++) {
		char id[20];
		snprintf(id, sizeof(id), "%d", 10 + i);
		assert_int_equal(play_answers(&p, id, NULL), 1);
	}
	play_close(&p);
}

static void a_full_queue_and_a_long_wait_are_told(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	c.max_queue = 3;
	into(&p, &c, SESSION_WAIT); /* one is parked already */
	play_ask(&p, 10, "prompts/get");
	play_ask(&p, 11, "prompts/get");
	play_ask(&p, 12, "prompts/get");
	assert_true(play_refused(&p, "12", "queue_full"));
	assert_int_equal(play_answers(&p, "10", NULL) + play_answers(&p, "11", NULL), 0);
	for (int i = 0; i < 200 && !play_answers(&p, "10", NULL); i++) {
		struct transfer *t = play_find(&p, "ping");
		if (t)
			play_fail(&p, t, HTTP_CONNECT, false);
		else
			assert_true(play_next(&p));
	}
	assert_true(play_refused(&p, "10", "upstream_unavailable"));
	assert_true(p.now <= 1000000 + 25000 + 10);
	play_close(&p);
}

static void a_live_session_is_found_again_without_a_new_handshake(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_REVIVE);
	assert_int_equal(play_must_find(&p, "ping")->set, HEADERS_SESSION);
	play_json(&p, play_find(&p, "ping"), "\"result\":{}");
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "initialize"), 1);
	play_close(&p);
}

/* READY, with a level set, two subscriptions and the tools listed. */
static void settle(struct play *p)
{
	play_learn_tools(p);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":50,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"warning\"}}");
	play_serve(p, 1);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":51,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///a\"}}");
	play_serve(p, 1);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":52,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///b\"}}");
	play_serve(p, 1);
}

static void expect_step(struct play *p, const char *method, const char *body)
{
	struct transfer *t = play_must_find(p, method);

	if (body && !memmem(buf_data(&t->kept), t->kept.len, body, strlen(body)))
		fail_msg("%s: %s", method, buf_data(&t->kept));
	play_serve_one(p, t);
}

static void a_lost_session_is_told_everything_again_in_order(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	settle(&p);
	play_call(&p, 9, "act");
	play_status(&p, play_must_find(&p, "tools/call"), 404);
	assert_int_equal(play_state(&p), SESSION_REVIVE);
	assert_int_equal(play_must_find(&p, "initialize")->set, HEADERS_BASE);
	expect_step(&p, "initialize", "\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}");
	expect_step(&p, "notifications/initialized", NULL);
	expect_step(&p, "logging/setLevel", "\"warning\"");
	expect_step(&p, "resources/subscribe", "file:///a");
	expect_step(&p, "resources/subscribe", "file:///b");
	assert_int_equal(play_state(&p), SESSION_READY);
	play_serve(&p, 2000);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	assert_int_equal(play_count(&p, "tools/call"), 2);
	assert_int_equal(play_said_times(&p, "notifications/resources/updated"), 2);
	assert_false(play_said(&p, "list_changed"));
	play_close(&p);
}

/* The line breaks on its way through the revival; the new session lives on. */
static void what_a_break_cut_short_in_a_revival_is_said_once_the_line_is_back(void **state)
{
	static const char *const steps[] = { "logging/setLevel", "resources/subscribe", "tools/list" };

	(void)state;
	for (size_t i = 0; i < N(steps); i++) {
		struct core_config c = http_only();
		struct play p;

		into(&p, &c, SESSION_READY);
		settle(&p);
		play_ask(&p, 9, "prompts/get");
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		while (!play_find(&p, steps[i]))
			play_serve_one(&p, p.transfers);
		if (i < 2)
			play_fail(&p, play_must_find(&p, steps[i]), HTTP_RESET, true);
		else
			play_fail(&p, play_must_find(&p, "prompts/get"), HTTP_CONNECT, false);
		assert_int_equal(play_state(&p), SESSION_WAIT);
		size_t levels = play_count(&p, "logging/setLevel"), subscribed = play_count(&p, "resources/subscribe");
		size_t lists = play_count(&p, "tools/list");
		play_serve(&p, 5000);
		assert_int_equal(play_state(&p), SESSION_READY);
		assert_int_equal(play_count(&p, "initialize"), 2); /* one session, not two */
		assert_int_equal(play_count(&p, "logging/setLevel") - levels, i < 2);
		assert_int_equal(play_count(&p, "resources/subscribe") - subscribed, i < 2 ? 2 : 0);
		assert_int_equal(play_count(&p, "tools/list") - lists, 1);
		assert_int_equal(play_said_times(&p, "notifications/resources/updated"), 2);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		play_close(&p);
	}
}

/* A page of somebody's in between is no refusal; if it stays, the line is of more use than the step. */
static void a_step_of_a_revival_that_meets_a_web_page_is_said_again(void **state)
{
	static const struct { int pages; bool subscribed; } rows[] = { { 1, true }, { 2, true }, { 100, false } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;
		int met = 0, said = 0;

		into(&p, &c, SESSION_READY);
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":51,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///a\"}}");
		play_serve(&p, 1);
		for (int n = 0; n < 2; n++) { /* is it known to the session after that one? */
			play_ask(&p, 9 + n, "prompts/get");
			play_status(&p, play_must_find(&p, "prompts/get"), 404);
			while (!play_answers(&p, n ? "10" : "9", NULL)) {
				if ((t = play_find(&p, "resources/subscribe")) && met++ < rows[i].pages) {
					play_respond(&p, t, (struct head){ .status = 200, .type = "text/html" }, "<html>sign in to the hotel</html>");
				} else if (t) {
					said++;
					play_serve_one(&p, t);
				} else if (p.transfers->open && !p.transfers->told) {
					play_serve_one(&p, p.transfers);
				} else {
					MUST(play_next(&p));
				}
			}
		}
		assert_int_equal(said, rows[i].subscribed ? 2 : 0);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

static void a_comparison_that_meets_a_fault_is_made_all_the_same(void **state)
{
	static const struct { int status; enum http_outcome outcome; const char *retry_after; } rows[] = {
		{ 0, HTTP_RESET, NULL }, { 502, HTTP_OK, NULL }, { 503, HTTP_OK, "2" }, { 429, HTTP_OK, NULL }, { 404, HTTP_OK, NULL } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;

		into(&p, &c, SESSION_READY);
		play_learn_tools(&p);
		play_ask(&p, 9, "prompts/get");
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		while (!(t = play_find(&p, "tools/list")))
			play_serve_one(&p, p.transfers);
		if (rows[i].outcome != HTTP_OK)
			play_fail(&p, t, rows[i].outcome, true);
		else
			play_respond(&p, t, (struct head){ .status = rows[i].status, .retry_after = rows[i].retry_after }, NULL);
		if (rows[i].status == 404) /* is the session gone once more? a ping knows */
			play_status(&p, play_must_find(&p, "ping"), 404);
		while (!(t = play_find(&p, "tools/list"))) {
			struct transfer *other = play_find(&p, "initialize");
			if (other || (other = play_find(&p, "notifications/initialized")))
				play_serve_one(&p, other);
			else
				MUST(play_next(&p));
		}
		play_json(&p, t, "\"result\":{\"tools\":[{\"name\":\"other\"}]}");
		assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), 1);
		play_close(&p);
	}
}

static void list_changed_is_sent_only_where_the_new_session_differs(void **state)
{
	static const struct { const char *tools; bool changed; } rows[] = {
		{ PLAY_TOOLS, false },
		{ "\"result\":{ \"tools\" : [ {\"name\":\"safe\",\"annotations\":{\"readOnlyHint\":true}}, {\"name\":\"again\",\"annotations\":{\"idempotentHint\":true}},{\"name\":\"act\"}]}", false },
		{ "\"result\":{\"tools\":[{\"name\":\"other\"}]}", true },
		{ "\"result\":{\"tools\":[]}", true },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct play p;

		into(&p, &c, SESSION_READY);
		play_learn_tools(&p);
		play_call(&p, 9, "act");
		play_status(&p, play_must_find(&p, "tools/call"), 404);
		expect_step(&p, "initialize", NULL);
		expect_step(&p, "notifications/initialized", NULL);
		play_json(&p, play_must_find(&p, "tools/list"), rows[i].tools);
		assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), rows[i].changed);
		assert_false(play_said(&p, "prompts/list_changed") || play_said(&p, "resources/list_changed"));
		play_close(&p);
	}
}

static void a_revision_that_the_client_can_not_accept_is_told_to_each_request(void **state)
{
	static const char *const later = "\"result\":{\"protocolVersion\":\"2099-01-01\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"2\"}}";
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_ask(&p, 9, "prompts/get");
	play_status(&p, play_must_find(&p, "prompts/get"), 404);
	play_json(&p, play_must_find(&p, "initialize"), later);
	assert_true(play_refused(&p, "9", "unsupported"));
	play_ask(&p, 10, "prompts/get");
	play_json(&p, play_must_find(&p, "initialize"), later);
	assert_true(play_refused(&p, "10", "unsupported"));
	assert_int_equal(play_count(&p, "notifications/initialized"), 1); /* the first session's */
	play_ask(&p, 11, "prompts/get"); /* the old server is back */
	play_serve(&p, 1000);
	assert_int_equal(play_answers(&p, "11", NULL), 1);
	assert_false(play_refused(&p, "11", "unsupported"));
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void a_kind_of_list_that_comes_or_goes_with_a_new_session_is_told_once(void **state)
{
	static const struct { const char *caps; const char *changed; } rows[] = {
		{ "{\"tools\":{}}", NULL },
		{ "{ \"tools\" : { \"listChanged\" : true } }", NULL },
		{ "{\"tools\":{},\"prompts\":{}}", "notifications/prompts/list_changed" },
		{ "{\"tools\":{},\"resources\":{}}", "notifications/resources/list_changed" },
		{ "{}", "notifications/tools/list_changed" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		char hello[300], text[400];
		struct play p;

		into(&p, &c, SESSION_READY);
		snprintf(hello, sizeof(hello), "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":%s,\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}", rows[i].caps);
		for (int n = 0; n < 2; n++) { /* the second new session is like the first */
			play_ask(&p, 9 + n, "prompts/get");
			play_status(&p, play_must_find(&p, "prompts/get"), 404);
			write_reply(play_must_find(&p, "initialize"), hello, text, sizeof(text));
			play_respond(&p, play_must_find(&p, "initialize"), (struct head){ .status = 200, .type = "application/json", .sid = "sid-n" }, text);
			play_serve(&p, 1000);
			assert_int_equal(play_state(&p), SESSION_READY);
		}
		assert_int_equal(play_said_times(&p, "list_changed"), rows[i].changed ? 1 : 0);
		assert_true(!rows[i].changed || play_said(&p, rows[i].changed));
		play_close(&p);
	}
}

/* The new session's list in pages, the last of them for ever. */
static void a_comparison_ends_where_the_pages_end(void **state)
{
	static const struct { const char *known, *pages[2]; size_t asked; bool changed; } rows[] = {
		/* clients take an empty cursor for the end */
		{ "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"\"}", { "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"\"}" }, 1, false },
		{ "\"result\":{\"tools\":[{\"name\":\"a\"}]}", { "\"result\":{\"tools\":[{\"name\":\"b\"}],\"nextCursor\":\"\"}" }, 1, true },
		{ "\"result\":{\"tools\":[{\"name\":\"a\"},{\"name\":\"b\"}]}", { "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"2\"}", "\"result\":{\"tools\":[{\"name\":\"b\"}]}" }, 2, false },
		/* a cursor that leads back to its own page */
		{ "\"result\":{\"tools\":[{\"name\":\"a\"}]}", { "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"x\"}", "\"result\":{\"tools\":[{\"name\":\"a\"}],\"nextCursor\":\"x\"}" }, 2, true },
		/* no such list any more, and a fault that says nothing */
		{ "\"result\":{\"tools\":[{\"name\":\"a\"}]}", { "\"error\":{\"code\":-32601,\"message\":\"Method not found\"}" }, 1, true },
		{ "\"result\":{\"tools\":[{\"name\":\"a\"}]}", { "\"error\":{\"code\":-32603,\"message\":\"Internal error\"}" }, 1, false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;
		size_t n = 0;

		into(&p, &c, SESSION_READY);
		play_ask(&p, 8, "tools/list");
		play_json(&p, play_must_find(&p, "tools/list"), rows[i].known);
		play_ask(&p, 9, "prompts/get");
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		expect_step(&p, "initialize", NULL);
		expect_step(&p, "notifications/initialized", NULL);
		for (; (t = play_find(&p, "tools/list")) && n < 5; n++)
			play_json(&p, t, n && rows[i].pages[1] ? rows[i].pages[1] : rows[i].pages[0]);
		if (n != rows[i].asked || play_said_times(&p, "notifications/tools/list_changed") != rows[i].changed)
			fail_msg("row %zu: %zu pages, %zu list_changed", i, n, play_said_times(&p, "notifications/tools/list_changed"));
		play_close(&p);
	}
}

static void a_comparison_of_endless_pages_ends(void **state)
{
	struct core_config c = http_only();
	struct transfer *t;
	char page[100];
	struct play p;
	int n = 0;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_learn_tools(&p);
	play_ask(&p, 9, "prompts/get");
	play_status(&p, play_must_find(&p, "prompts/get"), 404);
	expect_step(&p, "initialize", NULL);
	expect_step(&p, "notifications/initialized", NULL);
	while ((t = play_find(&p, "tools/list")) && n < 5000) {
		snprintf(page, sizeof(page), "\"result\":{\"tools\":[],\"nextCursor\":\"%d\"}", ++n);
		play_json(&p, t, page);
	}
	assert_in_range(n, 2, 1000);
	assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), 1);
	play_close(&p);
}

static void a_replayed_subscription_that_is_refused_is_dropped(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	settle(&p);
	for (int round = 0; round < 2; round++) {
		play_call(&p, 9 + round, "act");
		play_status(&p, play_must_find(&p, "tools/call"), 404);
		expect_step(&p, "initialize", NULL);
		expect_step(&p, "notifications/initialized", NULL);
		expect_step(&p, "logging/setLevel", NULL);
		if (round == 0)
			play_error(&p, play_must_find(&p, "resources/subscribe"), 200, -32002, "Resource not found");
		expect_step(&p, "resources/subscribe", "file:///b");
		assert_int_equal(play_state(&p), SESSION_READY);
		play_serve(&p, 1000);
	}
	play_close(&p);
}

static void what_is_taken_with_a_2xx_is_not_sent_again(void **state)
{
	static const struct head heads[] = { { .status = 202 }, { .status = 200 }, { .status = 200, .type = "text/event-stream" } };

	(void)state;
	for (size_t i = 0; i < N(heads); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;

		play_open(&p, &c, 5);
		play_client(&p, PLAY_INITIALIZE);
		play_hello(&p, "sid-1");
		play_client(&p, PLAY_INITIALIZED);
		play_ask(&p, 9, "prompts/get");
		assert_int_equal(play_count(&p, "prompts/get"), 0); /* it waits for that */
		t = play_must_find(&p, "notifications/initialized");
		play_head(&p, t, heads[i]);
		play_serve(&p, 1);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		if (t->open)
			play_fail(&p, t, HTTP_TIMEOUT, true);
		play_serve(&p, 60000);
		assert_int_equal(play_count(&p, "notifications/initialized"), 1);
		play_close(&p);
	}
}

static void subscribe_to(struct play *p, int n)
{
	char line[160];

	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"x:%d\"}}", n, n);
	play_client(p, line);
}

static void the_subscription_that_is_one_too_many_is_refused_before_it_is_sent(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	for (int i = 1000; i < 11000; i++) {
		subscribe_to(&p, i);
		if (i % 50 == 49)
			play_serve(&p, 1);
	}
	assert_int_equal(play_count(&p, "resources/subscribe"), 10000);
	subscribe_to(&p, 1000); /* known already */
	play_serve(&p, 1);
	assert_int_equal(play_count(&p, "resources/subscribe"), 10001);
	subscribe_to(&p, 11000);
	play_serve(&p, 1);
	assert_int_equal(play_count(&p, "resources/subscribe"), 10001);
	assert_true(play_refused(&p, "11000", "unsupported"));
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"resources/unsubscribe\",\"params\":{\"uri\":\"x:5000\"}}");
	play_serve(&p, 1);
	subscribe_to(&p, 11001);
	play_serve(&p, 1);
	assert_int_equal(play_answers(&p, "11001", NULL), 1);
	assert_false(play_refused(&p, "11001", "unsupported"));
	play_close(&p);
}

struct revive_end { const char *name; struct head head; enum http_outcome outcome; enum session_state want; };

static void what_meets_the_replayed_initialize_leads_where_the_table_says(void **state)
{
	static const struct revive_end rows[] = {
		{ "refused", .outcome = HTTP_CONNECT, .want = SESSION_WAIT }, { "reset", .outcome = HTTP_RESET, .want = SESSION_WAIT },
		{ "429", { .status = 429 }, .want = SESSION_WAIT }, { "500", { .status = 500 }, .want = SESSION_WAIT },
		{ "503", { .status = 503, .retry_after = "3" }, .want = SESSION_WAIT }, { "404", { .status = 404 }, .want = SESSION_WAIT },
		{ "405", { .status = 405 }, .want = SESSION_WAIT }, { "403", { .status = 403 }, .want = SESSION_WAIT }, { "401", { .status = 401, .www = "Bearer" }, .want = SESSION_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		struct transfer *t;
		struct play p;

		into(&p, &c, SESSION_READY);
		play_ask(&p, 9, "prompts/get");
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		p.challenge = CHALLENGE_PARK;
		t = play_must_find(&p, "initialize");
		if (rows[i].outcome)
			play_fail(&p, t, rows[i].outcome, rows[i].outcome == HTTP_RESET);
		else
			play_respond(&p, t, rows[i].head, NULL);
		if (play_state(&p) != rows[i].want)
			fail_msg("%s: %s", rows[i].name, session_state_name(play_state(&p)));
		if (rows[i].want == SESSION_AUTH) {
			session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
			play_perform(&p);
		}
		play_serve(&p, 20000);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_int_equal(play_count(&p, "initialize"), 3);
		play_close(&p);
	}
}

static void the_probe_that_finds_the_session_gone_starts_another_once_an_outage(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_REVIVE);
	play_status(&p, play_must_find(&p, "ping"), 404);
	assert_int_equal(play_state(&p), SESSION_REVIVE);
	expect_step(&p, "initialize", NULL);
	play_status(&p, play_must_find(&p, "notifications/initialized"), 404);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_close(&p);
}

static void a_request_revives_the_session_at_most_once(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_ask(&p, 9, "prompts/get");
	for (int i = 0; i < 2; i++) {
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		if (i == 0) {
			expect_step(&p, "initialize", NULL);
			expect_step(&p, "notifications/initialized", NULL);
		}
	}
	assert_true(play_refused(&p, "9", "upstream_unavailable"));
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_close(&p);
}

static void past_five_a_minute_lost_sessions_are_failures_with_a_backoff(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	for (int i = 0; i < 6; i++) {
		play_ask(&p, 10 + i, "prompts/get");
		play_status(&p, play_must_find(&p, "prompts/get"), 404);
		if (i == 5)
			break;
		assert_int_equal(play_state(&p), SESSION_REVIVE);
		play_serve(&p, 500);
		assert_int_equal(play_state(&p), SESSION_READY);
	}
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_close(&p);
}

static void a_notification_that_every_session_refuses_is_dropped(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	for (int i = 0; i < 100; i++) {
		struct transfer *t = play_find(&p, "notifications/roots/list_changed");
		if (t)
			play_status(&p, t, 404);
		play_serve(&p, 100);
	}
	assert_in_range(play_count(&p, "notifications/roots/list_changed"), 1, 2);
	assert_in_range(play_count(&p, "initialize"), 2, 3);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* ---- DOWN and the breaker ------------------------------------------------------------------------------ */

static void when_the_retries_are_used_up_a_later_request_starts_a_fresh_round(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_DOWN);
	assert_true(play_refused(&p, "900", "upstream_unavailable"));
	play_ask(&p, 9, "prompts/get");
	assert_true(play_refused(&p, "9", "upstream_unavailable"));
	play_pass(&p, 30000);
	assert_int_equal(play_state(&p), SESSION_DOWN);
	assert_int_equal(p.nopen, 0);
	play_ask(&p, 10, "prompts/get");
	assert_int_equal(play_state(&p), SESSION_REVIVE);
	play_serve(&p, 1000);
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	play_close(&p);
}

static void a_long_outage_opens_the_breaker_and_an_answer_closes_it(void **state)
{
	struct core_config c = http_only();
	const char *answer = NULL;
	struct session_view v;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_WAIT);
	do {
		struct transfer *t = play_find(&p, "ping");
		if (t)
			play_fail(&p, t, HTTP_CONNECT, false);
		else
			assert_true(play_next(&p));
		session_look(p.s, &v, p.now);
	} while (v.breaker != BREAKER_OPEN && p.now < 1000000 + 300000);
	assert_int_equal(v.breaker, BREAKER_OPEN);
	assert_true(p.now > 1000000 + 25000);
	play_ask(&p, 9, "prompts/get");
	assert_int_equal(play_answers(&p, "9", &answer), 1);
	assert_non_null(strstr(answer, "\"kind\":\"circuit_open\""));
	assert_non_null(strstr(answer, "\"retryAfterMs\":"));
	play_serve(&p, 60000);
	session_look(p.s, &v, p.now);
	assert_int_equal(v.breaker, BREAKER_CLOSED);
	play_ask(&p, 10, "prompts/get");
	play_serve(&p, 10);
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	play_close(&p);
}

static void a_retry_after_holds_the_reconnect_back(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_REVIVE);
	play_respond(&p, play_must_find(&p, "ping"), (struct head){ .status = 503, .retry_after = "20" }, NULL);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_pass(&p, 19999);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_pass(&p, 2100);
	assert_int_equal(play_state(&p), SESSION_REVIVE);
	play_close(&p);
}

#define AGAIN "{\"jsonrpc\":\"2.0\",\"id\":\"again\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}"

/* Beyond the hold time nobody need wait for it: they are told at once. */
static void a_retry_after_beyond_the_hold_time_is_told_to_all_who_would_wait(void **state)
{
	struct core_config c = http_only();
	const char *answer = NULL;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_ask(&p, 9, "prompts/get");
	play_status(&p, play_must_find(&p, "prompts/get"), 404);
	play_ask(&p, 10, "prompts/get");
	play_respond(&p, play_must_find(&p, "initialize"), (struct head){ .status = 503, .retry_after = "600" }, NULL);
	assert_true(play_refused(&p, "9", "rate_limited"));
	assert_int_equal(play_answers(&p, "10", &answer), 1);
	assert_non_null(strstr(answer, "\"retryAfterMs\":600000"));
	play_pass(&p, 560000);
	play_ask(&p, 11, "prompts/get");
	assert_true(play_refused(&p, "11", "rate_limited"));
	play_pass(&p, 20000); /* 20 s are left: not too long */
	play_ask(&p, 12, "prompts/get");
	assert_int_equal(play_answers(&p, "12", NULL), 0);
	assert_int_equal(play_count(&p, "initialize"), 2);
	play_serve(&p, 25000);
	assert_int_equal(play_answers(&p, "12", &answer), 1);
	assert_non_null(strstr(answer, "good"));
	play_close(&p);
}

static void a_retry_after_of_the_first_handshake_holds_for_the_next_one_too(void **state)
{
	static const struct { enum transport_choice t; const char *step; int max_retries; } rows[] = {
		{ TRANSPORT_HTTP, "initialize", -1 }, { TRANSPORT_SSE, "GET", -1 }, { TRANSPORT_SSE, "GET", 0 } };

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		size_t n;
		struct play p;

		c.transport = rows[i].t;
		c.max_retries = rows[i].max_retries;
		play_open(&p, &c, 3);
		play_client(&p, PLAY_INITIALIZE);
		play_respond(&p, play_must_find(&p, rows[i].step), (struct head){ .status = 429, .retry_after = "60" }, NULL);
		assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
		assert_true(c.max_retries == 0 || play_refused(&p, "\"init\"", "rate_limited"));
		play_client(&p, AGAIN);
		assert_true(play_refused(&p, "\"again\"", "rate_limited"));
		play_pass(&p, 40000);
		play_client(&p, PLAY_INITIALIZE);
		n = p.nstarted;
		play_pass(&p, 19999);
		assert_int_equal(p.nstarted, n);
		play_pass(&p, 2);
		assert_int_equal(p.nstarted, n + 1);
		play_close(&p);
	}
}

static void retries_that_are_used_up_do_not_make_a_retry_after_shorter(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	c.max_retries = 1;
	into(&p, &c, SESSION_WAIT);
	while (!play_find(&p, "ping"))
		MUST(play_next(&p));
	play_respond(&p, play_must_find(&p, "ping"), (struct head){ .status = 429, .retry_after = "300" }, NULL);
	assert_int_equal(play_state(&p), SESSION_DOWN);
	play_pass(&p, 299000);
	play_ask(&p, 11, "prompts/get");
	assert_int_equal(play_answers(&p, "11", NULL), 1);
	play_pass(&p, 1000);
	play_ask(&p, 12, "prompts/get");
	assert_int_equal(play_answers(&p, "12", NULL), 0);
	assert_int_not_equal(play_state(&p), SESSION_DOWN);
	play_close(&p);
}

static void a_wake_ends_the_backoff_and_probes_a_session_that_seems_well(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_WAIT);
	session_on_wake(p.s, false, p.now);
	play_perform(&p);
	assert_int_equal(play_state(&p), SESSION_REVIVE);
	play_close(&p);

	c = http_only();
	into(&p, &c, SESSION_READY);
	session_on_wake(p.s, false, p.now);
	play_perform(&p);
	assert_non_null(play_find(&p, "ping"));
	assert_true(p.ndrop_idle > 0);
	play_close(&p);
}

static void a_wake_asks_anew_and_the_answer_decides_about_what_is_under_way(void **state)
{
	(void)state;
	for (int alive = 0; alive < 2; alive++) {
		struct core_config c = http_only();
		struct transfer *call, *polled, *ping;
		struct play p;

		into(&p, &c, SESSION_READY);
		play_call(&p, 8, "act");
		call = play_must_find(&p, "tools/call");
		play_pass(&p, 15000);
		ping = play_must_find(&p, "ping"); /* under way when the lid was closed */
		play_call(&p, 9, "act");
		polled = p.transfers;
		play_sse(&p, polled);
		play_event(&p, polled, "1", "");
		p.now += 10;
		session_on_wake(p.s, false, p.now);
		play_perform(&p);
		assert_true(ping->cancelled);
		ping = play_must_find(&p, "ping");
		if (alive)
			play_json(&p, ping, "\"result\":{}");
		else
			play_fail(&p, ping, HTTP_RESET, true);
		play_on_time(&p);
		/* without event ids there is nothing to take up: wait, or know that it is lost */
		assert_int_equal(call->open, alive);
		assert_int_equal(play_refused(&p, "8", "outcome_unknown"), !alive);
		assert_true(polled->cancelled);
		assert_int_equal(play_answers(&p, "9", NULL), 0);
		play_serve(&p, 3000);
		struct transfer *get = p.transfers;
		while (get && !(get->method == HTTP_GET && memmem(buf_data(&get->lines), get->lines.len, "Last-Event-ID: 1", 16)))
			get = get->next;
		assert_non_null(get);
		play_close(&p);
	}
}

/* ---- AUTH ------------------------------------------------------------------------------------------------- */

static void a_sign_in_parks_and_then_sends_or_refuses_or_tells_where_to_go(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_AUTH);
	play_ask(&p, 9, "prompts/get");
	session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
	play_perform(&p);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_serve(&p, 1000);
	assert_int_equal(play_answers(&p, "9", NULL) + play_answers(&p, "901", NULL), 2);
	play_close(&p);

	c = http_only();
	into(&p, &c, SESSION_AUTH);
	session_on_auth(p.s, SIGNIN_REFUSED, SPAN_LIT("The user said no"), p.now);
	play_perform(&p);
	assert_true(play_refused(&p, "901", "auth_required") && play_said(&p, "The user said no"));
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);

	c = http_only();
	into(&p, &c, SESSION_AUTH);
	session_on_auth(p.s, SIGNIN_PENDING, SPAN_LIT("Open the page to sign in"), p.now);
	play_perform(&p);
	play_pass(&p, 25000);
	assert_true(play_refused(&p, "901", "auth_required") && play_said(&p, "Open the page to sign in"));
	play_close(&p);

	c = http_only(); /* the person has done their part */
	into(&p, &c, SESSION_AUTH);
	session_on_auth(p.s, SIGNIN_PENDING, SPAN_LIT("Open the page to sign in"), p.now);
	session_on_auth_awaits(p.s, "authorization server", p.now + 30000);
	play_perform(&p);
	play_pass(&p, 25000);
	assert_true(play_refused(&p, "901", "auth_required") && play_said(&p, "The authorization server has given no usable answer in time"));
	assert_true(play_said(&p, "\"retryable\":true") && play_said(&p, "\"retryAfterMs\":5000"));
	assert_true(play_said(&p, "may be tried again in 5 s") && !play_said(&p, "Open the page"));
	play_close(&p);
}

static void a_refusal_whose_body_never_ends_is_judged_by_its_head(void **state)
{
	static const struct { struct head h; enum challenge c; const char *kind; int64_t ms; } rows[] = {
		{ { .status = 401, .www = "Bearer" }, CHALLENGE_REFUSE, "auth_required", 2000 },
		{ { .status = 401, .www = "Bearer" }, CHALLENGE_AGAIN, NULL, 2000 },
		{ { .status = 403, .www = "Bearer error=\"insufficient_scope\"" }, CHALLENGE_REFUSE, "auth_required", 2000 },
		{ { .status = 502, .type = "text/html" }, CHALLENGE_PASS, "outcome_unknown", 10000 },
		{ { .status = 400, .type = "text/html" }, CHALLENGE_PASS, "bad_upstream", 10000 },
	};
	struct core_config c = http_only();

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		for (int flood = 0; flood < 2; flood++) {
			static char much[1 << 20];
			struct transfer *t;
			struct play p;
			into(&p, &c, SESSION_READY);
			p.challenge = rows[i].c;
			play_call(&p, 9, "act");
			t = play_must_find(&p, "tools/call");
			play_head(&p, t, rows[i].h);
			memset(much, 'x', sizeof(much) - 1);
			play_data(&p, t, "<html>");
			play_pass(&p, 100);
			assert_true(t->open);
			if (flood)
				play_data(&p, t, much);
			play_pass(&p, flood ? 0 : rows[i].ms);
			assert_false(t->open);
			if (rows[i].kind)
				assert_true(play_refused(&p, "9", rows[i].kind));
			else
				play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{}");
			assert_int_equal(play_answers(&p, "9", NULL), 1);
			play_close(&p);
		}
	}
}

/* One request wants a wider token, and is parked. */
static void into_scope_wait(struct play *p, struct core_config *c)
{
	static const struct head narrow = { .status = 403, .www = "Bearer error=\"insufficient_scope\", scope=\"write\"" };

	into(p, c, SESSION_READY);
	p->challenge = CHALLENGE_PARK;
	play_ask(p, 901, "prompts/get");
	play_respond(p, play_must_find(p, "prompts/get"), narrow, NULL);
	assert_int_equal(play_state(p), SESSION_READY);
	assert_int_equal(play_answers(p, "901", NULL), 0);
}

static void a_wider_token_is_waited_for_by_those_that_want_it_alone(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into_scope_wait(&p, &c);
	play_ask(&p, 9, "resources/read");
	play_serve(&p, 1000);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_int_equal(play_answers(&p, "901", NULL), 0);
	session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
	play_perform(&p);
	play_serve(&p, 1000);
	assert_int_equal(play_count(&p, "prompts/get"), 2);
	assert_int_equal(play_answers(&p, "901", NULL), 1);
	play_pass(&p, 30000); /* and nothing of the wait is left */
	assert_int_equal(play_answers(&p, "901", NULL), 1);
	play_close(&p);

	c = http_only();
	into_scope_wait(&p, &c);
	session_on_auth(p.s, SIGNIN_REFUSED, SPAN_LIT("The user said no"), p.now);
	play_perform(&p);
	assert_true(play_refused(&p, "901", "auth_required") && play_said(&p, "The user said no"));
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);

	c = http_only();
	into_scope_wait(&p, &c);
	session_on_auth(p.s, SIGNIN_PENDING, SPAN_LIT("Open the page to sign in"), p.now);
	play_perform(&p);
	play_pass(&p, 25000);
	assert_true(play_refused(&p, "901", "auth_required") && play_said(&p, "Open the page to sign in"));
	play_close(&p);
}

static void a_wait_for_a_wider_token_outlives_an_outage_and_a_sign_in(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into_scope_wait(&p, &c);
	cut(&p);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_serve(&p, 5000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "prompts/get"), 1);
	play_pass(&p, 25000);
	assert_true(play_refused(&p, "901", "auth_required"));
	play_close(&p);

	c = http_only();
	into_scope_wait(&p, &c);
	play_ask(&p, 9, "resources/read"); /* the token ends meanwhile: now all wait */
	play_respond(&p, play_must_find(&p, "resources/read"), (struct head){ .status = 401, .www = "Bearer" }, NULL);
	assert_int_equal(play_state(&p), SESSION_AUTH);
	session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
	play_perform(&p);
	play_serve(&p, 1000);
	assert_int_equal(play_answers(&p, "9", NULL) + play_answers(&p, "901", NULL), 2);
	play_close(&p);
}

static void a_stream_that_ends_during_the_sign_in_is_noticed_after_it(void **state)
{
	struct core_config c = sse_only();
	struct transfer *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	g = play_ready_sse(&p);
	p.challenge = CHALLENGE_PARK;
	play_ask(&p, 9, "prompts/get");
	play_respond(&p, play_must_find(&p, "prompts/get"), (struct head){ .status = 401, .www = "Bearer" }, NULL);
	assert_int_equal(play_state(&p), SESSION_AUTH);
	play_done(&p, g, HTTP_RESET, true);
	session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
	play_perform(&p);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_serve(&p, 5000);
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	play_close(&p);
}

/* ---- order ---------------------------------------------------------------------------------------------------- */

static void a_request_never_overtakes_an_earlier_notification_but_does_not_wait_for_ever(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	play_ask(&p, 9, "prompts/get");
	assert_int_equal(play_count(&p, "prompts/get"), 0);
	play_status(&p, play_must_find(&p, "notifications/roots/list_changed"), 202);
	assert_int_equal(play_count(&p, "prompts/get"), 1);

	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
	play_ask(&p, 10, "prompts/get");
	play_pass(&p, 4999);
	assert_int_equal(play_count(&p, "prompts/get"), 1);
	play_pass(&p, 1);
	assert_int_equal(play_count(&p, "prompts/get"), 2);
	play_close(&p);
}

static void an_answer_to_a_request_of_a_dead_session_is_dropped(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	play_event(&p, play_must_find(&p, "GET"), NULL, "{\"jsonrpc\":\"2.0\",\"id\":70,\"method\":\"roots/list\"}");
	play_event(&p, play_must_find(&p, "GET"), NULL, "{\"jsonrpc\":\"2.0\",\"id\":71,\"method\":\"roots/list\"}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":70,\"result\":{\"roots\":[]}}");
	assert_non_null(memmem(buf_data(&p.transfers->kept), p.transfers->kept.len, "\"id\":70", 7));
	play_status(&p, p.transfers, 202);
	play_ask(&p, 9, "prompts/get");
	play_status(&p, play_must_find(&p, "prompts/get"), 404);
	play_serve(&p, 2000);
	size_t before = p.nstarted;
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":71,\"result\":{\"roots\":[]}}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":72,\"result\":{\"roots\":[]}}");
	assert_int_equal(p.nstarted, before);
	play_close(&p);
}

/* The open POST whose body holds this. */
static struct transfer *saying(struct play *p, const char *text)
{
	for (struct transfer *t = p->transfers; t; t = t->next)
		if (t->open && t->method == HTTP_POST && memmem(buf_data(&t->kept), t->kept.len, text, strlen(text)))
			return t;
	return NULL;
}

/* The same, within a minute. */
static struct transfer *will_say(struct play *p, const char *text)
{
	for (int64_t until = p->now + 60000; p->now < until && !saying(p, text);)
		MUST(play_next(p));
	MUST(saying(p, text));
	return saying(p, text);
}

static bool in_session(const struct transfer *t, const char *sid)
{
	return t->set == HEADERS_BASE && memmem(buf_data(&t->lines), t->lines.len, sid, strlen(sid));
}

/* Call 1 runs in the session sid-1 and has asked 70; sid-2 is the current one by then. */
static void replace_the_session(struct play *p)
{
	play_ask(p, 9, "prompts/get");
	play_status(p, play_must_find(p, "prompts/get"), 404);
	play_hello(p, "sid-2");
	expect_step(p, "notifications/initialized", NULL);
	play_status(p, play_must_find(p, "GET"), 405);
	play_json(p, play_must_find(p, "tools/list"), PLAY_TOOLS);
	play_json(p, play_must_find(p, "prompts/get"), "\"result\":{}");
	MUST(play_state(p) == SESSION_READY);
}

static void call_that_asks(struct play *p, const char *tool)
{
	play_ready(p, false);
	play_learn_tools(p);
	play_call(p, 1, tool);
	play_sse(p, play_must_find(p, "tools/call"));
	play_event(p, play_must_find(p, "tools/call"), NULL, "{\"jsonrpc\":\"2.0\",\"id\":70,\"method\":\"roots/list\"}");
}

static void what_waits_to_be_said_is_said_to_the_session_it_is_meant_for(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	call_that_asks(&p, "act");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":70,\"result\":{\"roots\":[]}}");
	play_status(&p, saying(&p, "\"roots\":[]"), 502);
	replace_the_session(&p);
	assert_true(in_session(will_say(&p, "\"roots\":[]"), "sid-1"));
	play_status(&p, saying(&p, "\"roots\":[]"), 202);
	play_cancel(&p, 1);
	assert_true(in_session(play_must_find(&p, "notifications/cancelled"), "sid-1"));
	play_close(&p);
}

static void a_call_whose_old_session_is_gone_begins_anew_where_it_may_be_repeated(void **state)
{
	static const char *const tools[] = { "act", "safe" };
	struct core_config c = http_only();

	(void)state;
	for (int safe = 0; safe < 2; safe++) {
		struct transfer *t;
		struct play p;
		play_open(&p, &c, 3);
		call_that_asks(&p, tools[safe]);
		replace_the_session(&p);
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":70,\"result\":{\"roots\":[]}}");
		play_status(&p, saying(&p, "\"roots\":[]"), 404);
		assert_int_equal(play_count(&p, "tools/call"), 1 + safe);
		assert_int_equal(play_refused(&p, "1", "outcome_unknown"), !safe);
		if (safe) {
			t = play_must_find(&p, "tools/call");
			assert_int_equal(t->set, HEADERS_SESSION);
			play_json(&p, t, "\"result\":{\"content\":[]}");
		}
		assert_int_equal(play_answers(&p, "1", NULL), 1);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

static void what_waits_for_its_retry_lets_others_pass_but_no_notification_another(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	for (int id = 70; id < 73; id++) {
		char text[100];
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"roots/list\"}", id);
		play_event(&p, play_must_find(&p, "GET"), NULL, text);
	}
	play_call(&p, 1, "act");
	play_call(&p, 2, "act");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":70,\"result\":{\"roots\":[]}}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":71,\"result\":{\"roots\":[]}}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":7,\"progress\":1}}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":72,\"result\":{\"roots\":[]}}");
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":7,\"progress\":2}}");
	assert_non_null(saying(&p, "\"id\":70,"));
	assert_null(saying(&p, "\"id\":71,")); /* in order while all is well */
	play_cancel(&p, 1);
	play_cancel(&p, 2);
	play_status(&p, saying(&p, "\"requestId\":1"), 202); /* beside it */
	play_status(&p, saying(&p, "\"requestId\":2"), 202);
	play_status(&p, saying(&p, "\"id\":70,"), 502);
	play_status(&p, saying(&p, "\"id\":71,"), 202);
	play_respond(&p, saying(&p, "\"progress\":1"), (struct head){ .status = 503, .retry_after = "7" }, NULL);
	play_status(&p, saying(&p, "\"id\":72,"), 202);
	assert_null(saying(&p, "\"progress\":2"));
	play_status(&p, will_say(&p, "\"id\":70,"), 202);
	assert_null(saying(&p, "\"progress\":2"));
	play_status(&p, will_say(&p, "\"progress\":1"), 202);
	play_status(&p, saying(&p, "\"progress\":2"), 202);
	play_pass(&p, 100);
	assert_int_equal(p.nopen, 3); /* the stream and the calls */
	play_close(&p);
}

static void two_server_requests_under_one_id_are_answered_in_their_order(void **state)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"roots/list\"}", reply[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"roots\":[]}}";
	struct core_config c = http_only();
	size_t before;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	play_event(&p, play_must_find(&p, "GET"), NULL, ask);
	play_ask(&p, 9, "prompts/get");
	play_status(&p, play_must_find(&p, "prompts/get"), 404);
	expect_step(&p, "initialize", NULL);
	expect_step(&p, "notifications/initialized", NULL);
	play_sse(&p, play_must_find(&p, "GET"));
	play_event(&p, play_must_find(&p, "GET"), NULL, ask);
	play_serve(&p, 1000);
	before = p.nstarted;
	play_client(&p, reply); /* to the one that nobody waits for */
	assert_int_equal(p.nstarted, before);
	play_client(&p, reply);
	assert_int_equal(p.nstarted, before + 1);
	play_close(&p);
}

static void a_lost_session_told_on_a_stream_is_one_and_told_again_is_an_answer(void **state)
{
	static const char lost[] = "\"error\":{\"code\":-32001,\"message\":\"Session not found\"}";

	(void)state;
	for (int old = 0; old < 2; old++) {
		struct core_config c = old ? sse_only() : http_only();
		struct transfer *t;
		struct play p;

		play_open(&p, &c, 3);
		if (old)
			play_ready_sse(&p);
		else
			play_ready(&p, false);
		play_call(&p, 9, "act");
		for (int round = 0; round < 2; round++) {
			for (int i = 0; i < 50 && !(t = play_find(&p, "tools/call")); i++) {
				for (t = p.transfers; t && !(t->open && !t->told); t = t->next)
					;
				if (t)
					play_serve_one(&p, t);
				else
					assert_true(play_next(&p));
			}
			t = play_must_find(&p, "tools/call");
			if (old) {
				struct transfer copy = *t;
				play_status(&p, t, 202);
				play_answer_on(&p, play_open_stream(&p), NULL, &copy, lost);
			} else {
				play_sse(&p, t);
				play_answer_on(&p, t, NULL, t, lost);
			}
			assert_int_equal(play_answers(&p, "9", NULL), round);
		}
		play_serve(&p, 20000);
		assert_int_equal(play_count(&p, "initialize"), 2);
		assert_int_equal(play_count(&p, "tools/call"), 2);
		play_close(&p);
	}
}

/* ---- the standing stream ------------------------------------------------------------------------------------------ */

static void a_standing_stream_that_ends_is_opened_again_at_its_own_pace(void **state)
{
	struct core_config c = http_only();
	struct transfer *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	g = play_must_find(&p, "GET");
	play_data(&p, g, "id: x7\nretry: 3000\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"once\"}}\n\n");
	play_done(&p, g, HTTP_OK, true);
	play_pass(&p, 2999);
	assert_null(play_find(&p, "GET"));
	play_pass(&p, 301);
	g = play_must_find(&p, "GET");
	assert_true(span_is(buf_span(&g->lines), "Last-Event-ID: x7\n"));
	play_sse(&p, g);
	play_data(&p, g, "id: x7\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"data\":\"once\"}}\n\n");
	assert_int_equal(play_said_times(&p, "\"once\""), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* The server's `retry` is the least; a failed attempt adds the backoff to it. */
static void a_failed_reopening_adds_the_backoff_to_the_servers_pace(void **state)
{
	static const struct { bool old; const char *retry; int64_t first, least, most; } rows[] = {
		{ false, "retry: 10000\n\n", 10000, 10000, 14000 }, { true, "retry: 10000\n\n", 10000, 10000, 14000 },
		{ false, "retry: 0\n\n", 1000, 0, 4000 }, { true, "retry: 0\n\n", 1000, 0, 4000 },
		{ false, "retry: 99999999\n\n", 3600000, 3600000, 3604000 }, { true, "retry: 99999999\n\n", 3600000, 3600000, 3604000 },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = rows[i].old ? sse_only() : http_only();
		struct transfer *g;
		struct play p;
		int64_t at, wait;

		c.max_retry_ms = 4000;
		c.keepalive_ms = 0;
		play_open(&p, &c, 5);
		if (rows[i].old)
			play_ready_sse(&p);
		else
			play_ready(&p, true);
		g = play_open_stream(&p);
		play_data(&p, g, rows[i].retry);
		play_pass(&p, 6000);
		play_done(&p, g, HTTP_OK, true);
		for (int n = 0; n < 8; n++) {
			at = p.now;
			while (!(g = play_find(&p, "GET")))
				MUST(play_next(&p));
			wait = p.now - at;
			if (n ? wait < rows[i].least || wait > rows[i].most : wait < rows[i].first || wait > rows[i].first + rows[i].first / 10)
				fail_msg("row %zu, attempt %d: after %lld ms", i, n, (long long)wait);
			play_status(&p, g, 503);
		}
		play_close(&p);
	}
}

static void what_is_held_does_not_hurry_the_servers_pace(void **state)
{
	struct core_config c = sse_only();
	struct transfer *g;
	struct play p;
	int64_t at;

	(void)state;
	c.hold_ms = 60000;
	play_open(&p, &c, 5);
	g = play_ready_sse(&p);
	play_data(&p, g, "retry: 10000\n\n");
	play_done(&p, g, HTTP_OK, true);
	play_ask(&p, 9, "resources/read");
	for (int n = 0; n < 3; n++) {
		at = p.now;
		while (!(g = play_find(&p, "GET")))
			MUST(play_next(&p));
		assert_true(p.now - at >= 10000);
		play_status(&p, g, 503);
	}
	play_close(&p);
}

static void what_the_standing_get_meets_never_refuses_a_post(void **state)
{
	static const struct { int status; bool again, ping; } rows[] = {
		{ 405, false, false }, { 501, false, false }, { 404, true, true }, { 400, true, true }, { 504, true, false }, { 409, true, false }, { 502, true, false }, { 503, true, false }, { 200, true, false },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = http_only();
		size_t gets;
		struct play p;

		play_open(&p, &c, 3);
		play_ready(&p, true);
		play_done(&p, play_must_find(&p, "GET"), HTTP_RESET, true);
		while (!play_find(&p, "GET"))
			assert_true(play_next(&p));
		gets = play_count(&p, "GET");
		play_respond(&p, play_must_find(&p, "GET"), (struct head){ .status = rows[i].status, .type = "text/html" }, "<html>");
		assert_int_equal(play_find(&p, "ping") != NULL, rows[i].ping);
		play_ask(&p, 9, "prompts/get");
		play_json(&p, play_must_find(&p, "prompts/get"), "\"result\":{}");
		if (rows[i].ping)
			play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
		play_pass(&p, 3000);
		assert_int_equal(play_count(&p, "GET") > gets, rows[i].again);
		assert_int_equal(play_answers(&p, "9", NULL), 1);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

static void a_stream_that_never_was_is_not_asked_for_again(void **state)
{
	static const int statuses[] = { 404, 400, 405 };

	(void)state;
	for (size_t i = 0; i < N(statuses); i++) {
		struct core_config c = http_only();
		struct play p;

		play_open(&p, &c, 3);
		play_client(&p, PLAY_INITIALIZE);
		play_hello(&p, "sid-1");
		play_client(&p, PLAY_INITIALIZED);
		play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
		play_status(&p, play_must_find(&p, "GET"), statuses[i]);
		if (play_find(&p, "ping"))
			play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
		play_serve(&p, 600000);
		assert_int_equal(play_count(&p, "GET"), 1);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

/* Ready, and the standing stream asked for; gives its GET, of which the head has not come yet. */
static struct transfer *headless_stream(struct play *p, struct core_config *c)
{
	play_open(p, c, 3);
	play_client(p, PLAY_INITIALIZE);
	play_hello(p, "sid-1");
	play_client(p, PLAY_INITIALIZED);
	play_status(p, play_must_find(p, "notifications/initialized"), 202);
	play_pass(p, 15000);
	return play_must_find(p, "GET");
}

static void a_stream_whose_head_comes_with_its_first_event_is_waited_for(void **state)
{
	struct core_config c = http_only();
	struct transfer *get;
	struct play p;

	(void)state;
	get = headless_stream(&p, &c);
	for (int i = 0; i < 40; i++) {
		play_pass(&p, 5000);
		for (struct transfer *ping; (ping = play_find(&p, "ping"));)
			play_json(&p, ping, "\"result\":{}");
	}
	assert_true(get->open);
	play_sse(&p, get);
	play_event(&p, get, NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"}");
	assert_true(play_said(&p, "notifications/x"));
	assert_int_equal(play_count(&p, "GET"), 1);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void a_server_that_a_stream_holds_up_is_left_without_one(void **state)
{
	(void)state;
	for (int back = 0; back < 2; back++) {
		struct core_config c = http_only();
		struct transfer *get;
		struct play p;

		get = headless_stream(&p, &c);
		play_pass(&p, 10000);
		assert_false(get->open && !get->cancelled);
		assert_int_equal(play_state(&p), SESSION_READY);
		if (back) {
			play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
			play_serve(&p, 600000);
			assert_int_equal(play_count(&p, "GET"), 1);
		} else {
			play_pass(&p, 10000);
			assert_int_not_equal(play_state(&p), SESSION_READY);
			play_serve(&p, 60000);
			assert_int_equal(play_state(&p), SESSION_READY);
			assert_int_equal(play_count(&p, "GET"), 2);
		}
		play_close(&p);
	}
}

static void a_slow_handshake_is_waited_for_when_it_is_made_again(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_client(&p, PLAY_INITIALIZE);
	play_pass(&p, 20000);
	play_hello(&p, "sid-1");
	play_client(&p, PLAY_INITIALIZED);
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	play_status(&p, play_must_find(&p, "GET"), 405);
	play_call(&p, 9, "act");
	play_status(&p, play_must_find(&p, "tools/call"), 404);
	play_pass(&p, 39000); /* twice what it took */
	play_hello(&p, "sid-2");
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* ---- the rest of the table: what reaches a state that waits for something else ------------------------- */

static void an_event_a_state_does_not_wait_for_leads_where_the_table_says(void **state)
{
	enum { OLD = 1 };
	static const struct { const char *name; enum session_state in; int old; const char *of; struct head head; enum http_outcome outcome; bool stream; enum session_state want; } rows[] = {
		{ "the wrong transport in READY", SESSION_READY, 0, "prompts/get", { .status = 405 }, .want = SESSION_READY },
		{ "403 in READY", SESSION_READY, 0, "prompts/get", { .status = 403 }, .want = SESSION_READY },
		{ "401 in READY", SESSION_READY, 0, "prompts/get", { .status = 401, .www = "Bearer" }, .want = SESSION_AUTH },
		{ "403 for the scope in READY", SESSION_READY, 0, "prompts/get", { .status = 403, .www = "Bearer error=\"insufficient_scope\"" }, .want = SESSION_READY },
		{ "one 502 in READY", SESSION_READY, 0, "prompts/get", { .status = 502 }, .want = SESSION_READY },
		{ "the line in READY", SESSION_READY, 0, "prompts/get", .outcome = HTTP_TLS, .want = SESSION_WAIT },
		{ "the stream in PROBE", SESSION_PROBE, OLD, "GET", .outcome = HTTP_RESET, .stream = true, .want = SESSION_WAIT },
		{ "an unreachable stream in PROBE", SESSION_PROBE, OLD, "GET", .outcome = HTTP_CONNECT, .want = SESSION_WAIT },
		{ "503 for the stream in PROBE", SESSION_PROBE, OLD, "GET", { .status = 503 }, .want = SESSION_WAIT },
		{ "403 for the ping in REVIVE: the line is there", SESSION_REVIVE, 0, "ping", { .status = 403 }, .want = SESSION_READY },
		{ "401 in REVIVE", SESSION_REVIVE, 0, "ping", { .status = 401, .www = "Bearer" }, .want = SESSION_AUTH },
		{ "502 in REVIVE", SESSION_REVIVE, 0, "ping", { .status = 502 }, .want = SESSION_WAIT },
		{ "the line in REVIVE", SESSION_REVIVE, 0, "ping", .outcome = HTTP_RESET, .want = SESSION_WAIT },
		{ "the lost session in REVIVE", SESSION_REVIVE, 0, "ping", { .status = 404 }, .want = SESSION_REVIVE },
		{ "an answer in AUTH", SESSION_AUTH, 0, "tools/call", { .status = 200, .type = "application/json" }, .want = SESSION_AUTH },
		{ "one 502 in AUTH", SESSION_AUTH, 0, "tools/call", { .status = 502 }, .want = SESSION_AUTH },
		{ "the lost session in AUTH", SESSION_AUTH, 0, "tools/call", { .status = 404 }, .want = SESSION_AUTH },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = rows[i].old ? sse_only() : http_only();
		struct transfer *t;
		char text[300];
		struct play p;

		if (rows[i].in == SESSION_AUTH) { /* one under way beside the one that wants a sign-in */
			play_open(&p, &c, 5);
			play_ready(&p, false);
			play_call(&p, 9, "act");
			p.challenge = CHALLENGE_PARK;
			play_ask(&p, 901, "resources/read");
			play_respond(&p, play_must_find(&p, "resources/read"), (struct head){ .status = 401, .www = "Bearer" }, NULL);
		} else {
			into(&p, &c, rows[i].in);
			play_ask(&p, 9, "prompts/get");
		}
		p.challenge = CHALLENGE_PARK;
		t = play_must_find(&p, rows[i].of);
		write_reply(t, "\"result\":{}", text, sizeof(text));
		if (rows[i].stream)
			play_sse(&p, t);
		if (rows[i].outcome)
			play_fail(&p, t, rows[i].outcome, rows[i].outcome == HTTP_RESET);
		else
			play_respond(&p, t, rows[i].head, rows[i].head.status == 200 ? text : NULL);
		if (play_state(&p) != rows[i].want)
			fail_msg("%s: %s", rows[i].name, session_state_name(play_state(&p)));
		if (play_state(&p) == SESSION_AUTH || rows[i].head.www) {
			p.challenge = CHALLENGE_AGAIN;
			session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
			play_perform(&p);
		}
		play_serve(&p, 60000);
		if (play_answers(&p, "9", NULL) != 1)
			fail_msg("%s: %zu answers", rows[i].name, play_answers(&p, "9", NULL));
		play_close(&p);
	}
}

static void what_does_not_come_in_time_leads_where_the_table_says(void **state)
{
	static const struct { const char *name; bool old, ready; const char *silent; bool stream; enum session_state want; } rows[] = {
		{ "a stream that does not open in PROBE", true, false, "GET", false, SESSION_WAIT },
		{ "a stream without its endpoint in PROBE", true, false, "GET", true, SESSION_WAIT },
		{ "a ping in REVIVE", false, true, "ping", false, SESSION_WAIT },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = rows[i].old ? sse_only() : http_only();
		struct play p;

		into(&p, &c, rows[i].ready ? SESSION_REVIVE : SESSION_PROBE);
		if (rows[i].stream)
			play_sse(&p, play_must_find(&p, rows[i].silent));
		play_must_find(&p, rows[i].silent);
		play_pass(&p, 14000);
		assert_int_equal(play_state(&p), rows[i].ready ? SESSION_REVIVE : SESSION_PROBE);
		play_pass(&p, 1001);
		if (play_state(&p) != rows[i].want)
			fail_msg("%s: %s", rows[i].name, session_state_name(play_state(&p)));
		play_close(&p);
	}
}

static void a_stream_with_a_habit_is_dead_after_three_missed_beats(void **state)
{
	struct core_config c = http_only();
	size_t gets;
	struct play p;

	(void)state;
	c.keepalive_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	for (int i = 0; i < 4; i++) {
		play_pass(&p, 20000);
		play_data(&p, play_must_find(&p, "GET"), ": beat\n\n");
	}
	gets = play_count(&p, "GET");
	play_pass(&p, 59999);
	assert_int_equal(play_count(&p, "GET"), gets);
	play_pass(&p, 1);
	assert_int_equal(play_count(&p, "GET"), gets + 1);
	play_close(&p);
}

static void a_fixed_idle_timeout_rules_where_it_is_given(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	c.keepalive_ms = 0;
	c.idle_ms = 7000;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	play_pass(&p, 6999);
	assert_int_equal(play_count(&p, "GET"), 1);
	play_pass(&p, 1);
	assert_int_equal(play_count(&p, "GET"), 2);
	play_close(&p);
}

/* ---- 2024-11-05 ------------------------------------------------------------------------------------------------------- */

static void a_lost_stream_of_2024_is_a_lost_session_and_the_rule_decides_for_each_call(void **state)
{
	struct core_config c = sse_only();
	struct transfer *g;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	g = play_ready_sse(&p);
	play_call(&p, 9, "act");
	play_status(&p, play_must_find(&p, "tools/call"), 202);
	play_ask(&p, 10, "resources/read");
	play_status(&p, play_must_find(&p, "resources/read"), 202);
	play_done(&p, g, HTTP_RESET, true);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	assert_true(play_refused(&p, "9", "outcome_unknown"));
	play_serve(&p, 10000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_answers(&p, "10", NULL), 1);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	assert_int_equal(play_count(&p, "initialize"), 2);
	assert_int_equal(play_count(&p, "tools/call"), 1);
	play_close(&p);
}

static void a_ping_without_an_answer_ends_the_stream_of_2024(void **state)
{
	struct core_config c = sse_only();
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_ready_sse(&p);
	play_pass(&p, 60000);
	play_status(&p, play_must_find(&p, "ping"), 202);
	play_pass(&p, 9999);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_pass(&p, 2);
	assert_int_not_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void the_keepalive_learns_how_long_a_line_may_be_quiet(void **state)
{
	struct core_config c = sse_only();
	struct session_view v;
	struct play p;

	(void)state;
	play_open(&p, &c, 3);
	play_done(&p, (play_pass(&p, 0), play_ready_sse(&p)), HTTP_OK, true); /* at once: nothing is learned */
	session_look(p.s, &v, p.now);
	assert_int_equal(v.idle_learned_ms, 0);
	play_serve(&p, 5000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_ask(&p, 8, "prompts/get");
	play_serve(&p, 1);
	play_pass(&p, 50000);
	play_done(&p, play_open_stream(&p), HTTP_RESET, true);
	session_look(p.s, &v, p.now);
	assert_in_range(v.idle_learned_ms, 45000, 56000);
	play_serve(&p, 5000);
	assert_int_equal(play_state(&p), SESSION_READY);
	size_t pings = play_count(&p, "ping");
	play_pass(&p, 20000);
	assert_int_equal(play_count(&p, "ping"), pings);
	play_pass(&p, 9000);
	assert_int_equal(play_count(&p, "ping"), pings + 1);
	play_close(&p);
}

static void note_ping(struct play *p, struct transfer *t, void *arg)
{
	(void)p;
	*(bool *)arg |= span_is(transfer_msg(t).method, "ping"); /* its answer comes on the stream */
}

static void note_line(struct play *p, struct span line, void *arg)
{
	(void)p;
	(void)line;
	*(bool *)arg = true;
}

/* Something in between cuts a stream that was quiet for so long, however the
 * client uses it: once, and never again. */
static void a_line_that_cuts_quiet_streams_does_so_once(void **state)
{
	static const int64_t limits[] = { 20, 60, 100, 120, 180, 290 };
	enum { NOTHING, NOW_AND_THEN, NOTIFICATIONS, CLIENTS };

	(void)state;
	for (size_t i = 0; i < N(limits) * CLIENTS; i++) {
		int64_t limit = limits[i / CLIENTS], quiet = 0;
		struct core_config c = sse_only();
		bool alive;
		int cuts = 0;
		struct play p;

		play_open_log(&p, &c, 3, 3);
		play_ready_sse(&p);
		p.forgetful = true;
		p.on_start = note_ping;
		p.on_send = note_line;
		p.arg = &alive;
		for (int sec = 0; sec < 3 * 3600; sec++) {
			alive = false;
			if (i % CLIENTS == NOW_AND_THEN && sec % (limit + 37) == 5)
				play_ask(&p, 1000 + sec, "prompts/get");
			else if (i % CLIENTS == NOTIFICATIONS && sec % 9 == 0)
				play_client(&p, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
			play_serve(&p, 1000);
			quiet = alive ? 0 : quiet + 1;
			if (quiet >= limit && play_open_stream(&p)) {
				cuts++;
				quiet = 0;
				play_done(&p, play_open_stream(&p), HTTP_RESET, true);
			}
		}
		if (cuts != 1)
			fail_msg("a limit of %d s, client %zu: %d cuts", (int)limit, i % CLIENTS, cuts);
		play_close(&p);
	}
}

static void a_keepalive_without_cuts_becomes_rarer(void **state)
{
	static const int64_t gaps[] = { 60000, 120000, 240000, 300000, 300000 };
	struct core_config c = http_only();
	struct play p;

	(void)state;
	c.idle_ms = 0;
	play_open(&p, &c, 3);
	play_ready(&p, true);
	for (size_t i = 0; i < N(gaps); i++) {
		play_pass(&p, gaps[i] - 1);
		assert_null(play_find(&p, "ping"));
		play_pass(&p, 1);
		play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
	}
	play_close(&p);
}

/* ---- a quiet call ---------------------------------------------------------------------------------------------------------- */

/* A read with the id 9 that was quiet for so long that it was sent once more: the second attempt. */
static struct transfer *quiet_read(struct play *p, struct core_config *c, struct transfer **first)
{
	into(p, c, SESSION_READY);
	play_ask(p, 9, "resources/read");
	*first = play_must_find(p, "resources/read");
	play_pass(p, 15000);
	play_json(p, play_must_find(p, "ping"), "\"result\":{}");
	assert_true(p->transfers != *first && span_is(transfer_msg(p->transfers).method, "resources/read"));
	return p->transfers;
}

static void a_quiet_read_is_hedged_and_the_first_answer_wins(void **state)
{
	struct core_config c = http_only();
	struct transfer *first, *second;
	struct play p;

	(void)state;
	second = quiet_read(&p, &c, &first);
	play_json(&p, second, "\"result\":{\"from\":\"second\"}");
	assert_int_equal(play_answers(&p, "9", NULL), 1);
	assert_true(first->cancelled);
	play_close(&p);
}

static void a_hedge_is_cancelled_with_what_it_stands_beside(void **state)
{
	struct core_config c = http_only();
	struct transfer *first, *second;
	struct play p;

	(void)state;
	second = quiet_read(&p, &c, &first);
	play_cancel(&p, 9);
	assert_true(second->cancelled);
	play_serve(&p, 1);
	assert_int_equal(play_count(&p, "notifications/cancelled"), 2);
	assert_int_equal(play_answers(&p, "9", NULL), 0);
	play_close(&p);
}

static void a_hedge_goes_with_a_request_that_the_quota_refuses(void **state)
{
	struct core_config c = http_only();
	struct transfer *first, *second;
	struct play p;

	(void)state;
	c.quota_ms = 10000;
	second = quiet_read(&p, &c, &first);
	play_ask(&p, 10, "prompts/get");
	play_fail(&p, first, HTTP_RESET, true);
	play_fail(&p, play_must_find(&p, "prompts/get"), HTTP_RESET, true);
	play_pass(&p, 3000);
	assert_true(play_refused(&p, "9", "rate_limited"));
	assert_true(play_refused(&p, "10", "rate_limited"));
	assert_int_equal(play_answers(&p, "null", NULL), 0);
	assert_true(second->cancelled);
	play_close(&p);
}

static void a_quiet_call_of_a_tool_waits_when_the_ping_is_answered_and_fails_when_not(void **state)
{
	struct core_config c = http_only();
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_call(&p, 9, "act");
	play_pass(&p, 15000);
	play_json(&p, play_must_find(&p, "ping"), "\"result\":{}");
	assert_int_equal(play_count(&p, "tools/call"), 1);
	assert_int_equal(play_answers(&p, "9", NULL), 0);
	play_pass(&p, 15000);
	play_fail(&p, play_must_find(&p, "ping"), HTTP_RESET, true);
	assert_true(play_refused(&p, "9", "outcome_unknown"));
	play_close(&p);
}

/* ---- what could end in REVIVE or PROBE for ever ------------------------------------------------------- */

static void a_step_of_a_revival_that_is_to_be_tried_with_a_newer_token_is_sent(void **state)
{
	static const char *const steps[] = { "ping", "initialize" };

	(void)state;
	for (size_t i = 0; i < N(steps); i++) {
		struct core_config c = http_only();
		struct play p;

		into(&p, &c, SESSION_REVIVE);
		p.challenge = CHALLENGE_AGAIN;
		if (i == 1)
			play_status(&p, play_must_find(&p, "ping"), 404);
		play_respond(&p, play_must_find(&p, steps[i]), (struct head){ .status = 401, .www = "Bearer" }, NULL);
		play_must_find(&p, steps[i]);
		play_serve(&p, 10000);
		assert_int_equal(play_state(&p), SESSION_READY);
		play_close(&p);
	}
}

static void an_error_that_is_to_be_tried_again_does_not_stop_a_handshake(void **state)
{
	static const int64_t again[] = { -32603 };
	struct core_config c = http_only();
	struct play p;

	(void)state;
	c.retry_errors = again;
	c.nretry_errors = 1;
	into(&p, &c, SESSION_PROBE);
	play_error(&p, play_must_find(&p, "initialize"), 200, -32603, "starting");
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_serve(&p, 10000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);

	into(&p, &c, SESSION_REVIVE);
	play_status(&p, play_must_find(&p, "ping"), 404);
	play_error(&p, play_must_find(&p, "initialize"), 200, -32603, "starting");
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_serve(&p, 10000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* Three that do not fit in a row lead to the other transport, and that back again. */
static void a_revival_that_finds_neither_transport_goes_on_with_both(void **state)
{
	struct core_config c = play_config();
	size_t gets = 0;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_REVIVE);
	for (int i = 0; i < 200 && gets < 3; i++) {
		struct transfer *t;
		if ((t = play_find(&p, "ping")) || (t = play_find(&p, "initialize"))) {
			play_status(&p, t, 404);
		} else if ((t = play_find(&p, "GET"))) {
			assert_false(t->lines.len);
			play_status(&p, t, 404);
			gets++;
		} else {
			assert_true(play_next(&p));
		}
	}
	assert_int_equal(gets, 3);
	play_serve(&p, 60000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

static void no_standing_stream_is_opened_while_the_line_is_down(void **state)
{
	struct core_config c = http_only();
	struct transfer *t;
	struct play p;

	(void)state;
	play_open(&p, &c, 5);
	play_client(&p, PLAY_INITIALIZE);
	play_json(&p, play_must_find(&p, "initialize"), "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{}}");
	play_client(&p, PLAY_INITIALIZED);
	play_ask(&p, 9, "prompts/get");
	t = play_must_find(&p, "notifications/initialized");
	play_pass(&p, 5000);
	play_fail(&p, play_must_find(&p, "prompts/get"), HTTP_CONNECT, false);
	assert_int_equal(play_state(&p), SESSION_WAIT);
	play_status(&p, t, 202);
	assert_null(play_find(&p, "GET"));
	play_serve(&p, 10000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "GET"), 1);
	play_close(&p);
}

/* ---- redirects ---------------------------------------------------------------------------------------------------------------- */

static void a_redirect_to_another_origin_or_without_end_is_an_error(void **state)
{
	static const char *const to[] = { "https://elsewhere.test/mcp", "/again" };

	(void)state;
	for (size_t i = 0; i < N(to); i++) {
		struct core_config c = http_only();
		const char *answer = "";
		struct play p;

		into(&p, &c, SESSION_READY);
		play_ask(&p, 9, "prompts/get");
		for (int k = 0; k < 20 && play_find(&p, "prompts/get"); k++)
			play_respond(&p, play_find(&p, "prompts/get"), (struct head){ .status = 308, .location = to[i] }, NULL);
		assert_int_equal(play_answers(&p, "9", &answer), 1);
		assert_non_null(strstr(answer, "bad_upstream"));
		assert_null(strstr(answer, "elsewhere"));
		for (struct transfer *t = p.transfers; t; t = t->next)
			assert_true(!t->url.len || memmem(buf_data(&t->url), t->url.len, "https://server.test/", 20));
		play_close(&p);
	}
}

static void a_refusal_at_the_end_of_the_hold_time_names_the_last_reason(void **state)
{
	static const struct { int status; const char *type, *body; bool modern; const char *want; } rows[] = {
		{ 404, NULL, NULL, false, "(last: HTTP 404; is the URL right?)" },
		{ 404, NULL, NULL, true, "(last: HTTP 404; is the URL right?)" },
		{ 500, NULL, NULL, false, "(last: HTTP 500)" },
		{ 429, NULL, NULL, false, "(last: HTTP 429)" },
		{ 200, "text/html", "<html>SECRET</html>", false, "(last: the answer to initialize was no MCP message; is the URL right?)" },
		{ 0, NULL, NULL, false, "(last: told by the test)" },
	};

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		struct core_config c = play_config();
		const char *said = NULL;
		struct play p;

		play_open(&p, &c, 3);
		if (rows[i].modern)
			play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":\"init\",\"method\":\"tools/list\",\"params\":{\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\","
				"\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{}}}}");
		else
			play_client(&p, PLAY_INITIALIZE);
		while (!play_answers(&p, "\"init\"", &said)) {
			struct transfer *t = p.transfers;
			while (t && !t->open)
				t = t->next;
			if (!t)
				assert_true(play_next(&p));
			else if (!rows[i].status)
				play_fail(&p, t, HTTP_CONNECT, false);
			else /* the other transport gets another answer */
				play_respond(&p, t, (struct head){ .status = t->method == HTTP_GET ? 406 : rows[i].status, .type = rows[i].type }, rows[i].body);
		}
		if (!strstr(said, rows[i].want) || strstr(said, "SECRET"))
			fail_msg("row %zu: %s", i, said);
		play_close(&p);
	}
}

static void a_server_that_was_there_has_no_wrong_url(void **state)
{
	struct core_config c = http_only();
	struct transfer *t;
	const char *said;
	struct play p;

	(void)state;
	into(&p, &c, SESSION_READY);
	play_ask(&p, 9, "prompts/get");
	while (!play_answers(&p, "9", &said)) {
		for (t = p.transfers; t && !t->open; t = t->next)
			;
		if (t)
			play_status(&p, t, 404);
		else
			assert_true(play_next(&p));
	}
	assert_non_null(strstr(said, "(last: HTTP 404)"));
	play_close(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_meets_each_state),
		cmocka_unit_test(a_ping_is_answered_by_the_bridge_wherever_the_line_is_not_up),
		cmocka_unit_test(a_second_initialize_under_way_is_refused_and_a_later_one_starts_anew),
		cmocka_unit_test(a_client_that_begins_anew_hears_nothing_of_what_was_before),
		cmocka_unit_test(a_session_that_was_left_is_given_back_where_the_server_redirects_to),
		cmocka_unit_test(the_end_waits_for_each_session_that_is_given_back),
		cmocka_unit_test(the_first_handshake_of_a_client_that_was_restarted_is_answered_once),
		cmocka_unit_test(a_restart_does_not_cut_short_what_the_server_asked_to_wait),
		cmocka_unit_test(a_signal_ends_every_state_within_a_second_and_answers_what_waits),
		cmocka_unit_test(the_second_signal_ends_at_once),
		cmocka_unit_test(at_the_end_of_input_what_runs_may_finish_and_the_session_is_given_back),
		cmocka_unit_test(at_the_end_of_input_leftovers_are_answered_after_five_seconds),
		cmocka_unit_test(a_cancelled_request_does_not_hold_up_the_end),
		cmocka_unit_test(what_a_server_that_is_away_was_to_be_told_does_not_hold_up_the_end),
		cmocka_unit_test(input_piped_in_before_anything_was_connected_is_answered),
		cmocka_unit_test(the_wrong_transport_leads_to_the_next_one_and_success_decides),
		cmocka_unit_test(when_no_transport_is_left_the_handshake_waits_and_tries_again),
		cmocka_unit_test(an_endpoint_of_another_origin_is_refused),
		cmocka_unit_test(what_meets_the_first_handshake_leads_where_the_table_says),
		cmocka_unit_test(a_handshake_that_is_held_too_long_is_answered),
		cmocka_unit_test(requests_wait_in_order_and_go_out_gently_after_the_outage),
		cmocka_unit_test(a_full_queue_and_a_long_wait_are_told),
		cmocka_unit_test(a_live_session_is_found_again_without_a_new_handshake),
		cmocka_unit_test(a_lost_session_is_told_everything_again_in_order),
		cmocka_unit_test(what_a_break_cut_short_in_a_revival_is_said_once_the_line_is_back),
		cmocka_unit_test(a_step_of_a_revival_that_meets_a_web_page_is_said_again),
		cmocka_unit_test(a_comparison_that_meets_a_fault_is_made_all_the_same),
		cmocka_unit_test(list_changed_is_sent_only_where_the_new_session_differs),
		cmocka_unit_test(a_revision_that_the_client_can_not_accept_is_told_to_each_request),
		cmocka_unit_test(a_kind_of_list_that_comes_or_goes_with_a_new_session_is_told_once),
		cmocka_unit_test(a_comparison_ends_where_the_pages_end),
		cmocka_unit_test(a_comparison_of_endless_pages_ends),
		cmocka_unit_test(a_replayed_subscription_that_is_refused_is_dropped),
		cmocka_unit_test(what_is_taken_with_a_2xx_is_not_sent_again),
		cmocka_unit_test(the_subscription_that_is_one_too_many_is_refused_before_it_is_sent),
		cmocka_unit_test(what_meets_the_replayed_initialize_leads_where_the_table_says),
		cmocka_unit_test(the_probe_that_finds_the_session_gone_starts_another_once_an_outage),
		cmocka_unit_test(a_request_revives_the_session_at_most_once),
		cmocka_unit_test(past_five_a_minute_lost_sessions_are_failures_with_a_backoff),
		cmocka_unit_test(a_notification_that_every_session_refuses_is_dropped),
		cmocka_unit_test(when_the_retries_are_used_up_a_later_request_starts_a_fresh_round),
		cmocka_unit_test(a_long_outage_opens_the_breaker_and_an_answer_closes_it),
		cmocka_unit_test(a_retry_after_holds_the_reconnect_back),
		cmocka_unit_test(a_retry_after_beyond_the_hold_time_is_told_to_all_who_would_wait),
		cmocka_unit_test(a_retry_after_of_the_first_handshake_holds_for_the_next_one_too),
		cmocka_unit_test(retries_that_are_used_up_do_not_make_a_retry_after_shorter),
		cmocka_unit_test(a_wake_ends_the_backoff_and_probes_a_session_that_seems_well),
		cmocka_unit_test(a_wake_asks_anew_and_the_answer_decides_about_what_is_under_way),
		cmocka_unit_test(a_sign_in_parks_and_then_sends_or_refuses_or_tells_where_to_go),
		cmocka_unit_test(a_refusal_whose_body_never_ends_is_judged_by_its_head),
		cmocka_unit_test(a_wider_token_is_waited_for_by_those_that_want_it_alone),
		cmocka_unit_test(a_wait_for_a_wider_token_outlives_an_outage_and_a_sign_in),
		cmocka_unit_test(a_stream_that_ends_during_the_sign_in_is_noticed_after_it),
		cmocka_unit_test(a_request_never_overtakes_an_earlier_notification_but_does_not_wait_for_ever),
		cmocka_unit_test(an_answer_to_a_request_of_a_dead_session_is_dropped),
		cmocka_unit_test(what_waits_to_be_said_is_said_to_the_session_it_is_meant_for),
		cmocka_unit_test(a_call_whose_old_session_is_gone_begins_anew_where_it_may_be_repeated),
		cmocka_unit_test(what_waits_for_its_retry_lets_others_pass_but_no_notification_another),
		cmocka_unit_test(two_server_requests_under_one_id_are_answered_in_their_order),
		cmocka_unit_test(a_lost_session_told_on_a_stream_is_one_and_told_again_is_an_answer),
		cmocka_unit_test(a_standing_stream_that_ends_is_opened_again_at_its_own_pace),
		cmocka_unit_test(a_failed_reopening_adds_the_backoff_to_the_servers_pace),
		cmocka_unit_test(what_is_held_does_not_hurry_the_servers_pace),
		cmocka_unit_test(what_the_standing_get_meets_never_refuses_a_post),
		cmocka_unit_test(a_stream_that_never_was_is_not_asked_for_again),
		cmocka_unit_test(a_stream_whose_head_comes_with_its_first_event_is_waited_for),
		cmocka_unit_test(a_server_that_a_stream_holds_up_is_left_without_one),
		cmocka_unit_test(a_slow_handshake_is_waited_for_when_it_is_made_again),
		cmocka_unit_test(an_event_a_state_does_not_wait_for_leads_where_the_table_says),
		cmocka_unit_test(what_does_not_come_in_time_leads_where_the_table_says),
		cmocka_unit_test(a_stream_with_a_habit_is_dead_after_three_missed_beats),
		cmocka_unit_test(a_fixed_idle_timeout_rules_where_it_is_given),
		cmocka_unit_test(a_lost_stream_of_2024_is_a_lost_session_and_the_rule_decides_for_each_call),
		cmocka_unit_test(a_ping_without_an_answer_ends_the_stream_of_2024),
		cmocka_unit_test(the_keepalive_learns_how_long_a_line_may_be_quiet),
		cmocka_unit_test(a_line_that_cuts_quiet_streams_does_so_once),
		cmocka_unit_test(a_keepalive_without_cuts_becomes_rarer),
		cmocka_unit_test(a_quiet_read_is_hedged_and_the_first_answer_wins),
		cmocka_unit_test(a_hedge_is_cancelled_with_what_it_stands_beside),
		cmocka_unit_test(a_hedge_goes_with_a_request_that_the_quota_refuses),
		cmocka_unit_test(a_quiet_call_of_a_tool_waits_when_the_ping_is_answered_and_fails_when_not),
		cmocka_unit_test(a_redirect_to_another_origin_or_without_end_is_an_error),
		cmocka_unit_test(a_step_of_a_revival_that_is_to_be_tried_with_a_newer_token_is_sent),
		cmocka_unit_test(an_error_that_is_to_be_tried_again_does_not_stop_a_handshake),
		cmocka_unit_test(a_revival_that_finds_neither_transport_goes_on_with_both),
		cmocka_unit_test(no_standing_stream_is_opened_while_the_line_is_down),
		cmocka_unit_test(a_refusal_at_the_end_of_the_hold_time_names_the_last_reason),
		cmocka_unit_test(a_server_that_was_there_has_no_wrong_url),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
