/* What a response means: every row of the table of lost sessions, and every status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "core/verdict.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define NO_BODY NULL

static bool gone(int status, const char *body, bool had_session, bool handshake, enum era era)
{
	struct exchange_facts f = { .era = era, .status = status, .had_session = had_session, .handshake = handshake };
	struct rpc_msg m;

	if (body) {
		rpc_parse(body, strlen(body), &m);
		assert_int_not_equal(m.kind, RPC_NOT_JSON);
		f.msg = &m;
	}
	return verdict_session_gone(&f);
}

struct row { int status, code; const char *message; bool gone; };

static const struct row rows[] = {
	/* each row of the table, in its order */
	{ 404, 0, NULL, true },
	{ 404, -32001, "whatever it says", true },
	{ 404, -32600, "Bad Request", true },
	{ 404, -32000, "Session is unknown", true },
	{ 404, -32602, "no such session", true },
	{ 404, -32603, "session lookup failed", true },
	{ 404, -32601, "session gone", true },
	{ 410, -1, "anything", true },
	{ 410, 0, NULL, true },
	{ 409, -1, "another Session is there", true },
	{ 200, -32001, "Session not found", true },
	{ 400, -32001, "Session terminated", true },
	{ 500, -32001, "SESSION expired", true },
	{ 200, -32002, "Server not initialized", true },
	{ 400, -32000, "Bad Request: No valid session ID provided", true },
	{ 400, -32000, "Bad Request: Server not initialized", true },
	{ 400, -32000, "The session was not found", true },
	{ 400, -32000, "Session expired", true },
	{ 400, -32000, "invalid session id", true },
	{ 200, -32000, "Unknown session", true },
	{ 400, -32600, "Session not found", true },
	{ 400, -32600, "session expired", true },
	{ 400, -32600, "Invalid session ID", true },
	{ 400, -32602, "Session not found", true },
	{ 200, -32005, "session lost", true },
	{ 200, -32006, "Session closed", true },
	{ 500, -1, "Session not found", true },
	{ 500, -1, "unknown session", true },
	{ 503, -1, "session was not found", true },
	{ 503, -1, "Unknown Session", true },

	/* what looks alike and is not */
	{ 200, -32001, "Request timed out", false },
	{ 400, -32001, "Request timed out", false },
	{ 200, -32002, "Resource not found", false },
	{ 404, -32601, "Method not found", false },
	{ 404, -32602, "Unknown tool", false },
	{ 400, -32600, "Invalid Request", false },
	{ 400, -32602, "Session argument is missing", false },
	{ 200, -32603, "Session not found", false },
	{ 200, -1, "session not found", false },
	{ 500, 0, NULL, false },
	{ 503, 0, NULL, false },
	{ 409, 0, NULL, false },
	{ 400, 0, NULL, false },
	{ 200, -32005, "quota", false },
	{ 502, -1, "session not found", false },
};

static void error_text(char *out, size_t size, const struct row *r)
{
	snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":%d,\"message\":\"%s\"}}", r->code, r->message);
}

static void a_session_is_lost_exactly_where_the_table_says(void **state)
{
	char body[300];

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		if (rows[i].message)
			error_text(body, sizeof(body), &rows[i]);
		if (gone(rows[i].status, rows[i].message ? body : NO_BODY, true, false, ERA_HTTP) != rows[i].gone)
			fail_msg("row %zu: HTTP %d, %d, %s", i, rows[i].status, rows[i].code, rows[i].message ? rows[i].message : "no message");
	}
}

static void nothing_is_lost_without_a_session_or_in_a_handshake_or_in_the_modern_era(void **state)
{
	char body[300];

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		const char *b = rows[i].message ? body : NO_BODY;
		if (b)
			error_text(body, sizeof(body), &rows[i]);
		assert_false(gone(rows[i].status, b, false, false, ERA_HTTP));
		assert_false(gone(rows[i].status, b, true, true, ERA_HTTP));
		assert_false(gone(rows[i].status, b, true, false, ERA_MODERN));
	}
}

static void a_result_with_such_words_is_never_a_lost_session(void **state)
{
	char body[400];

	(void)state;
	for (size_t i = 0; i < N(rows); i++) {
		if (!rows[i].message)
			continue;
		snprintf(body, sizeof(body), "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"isError\":true,\"code\":%d,\"message\":\"%s\"}}", rows[i].code, rows[i].message);
		assert_false(gone(rows[i].status, body, true, false, ERA_HTTP));
	}
}

static void an_error_of_odd_shape_is_judged_without_a_fault(void **state)
{
	(void)state;
	assert_false(gone(200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"message\":\"session not found\"}}", true, false, ERA_HTTP));
	assert_false(gone(200, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"-32001\",\"message\":\"session\"}}", true, false, ERA_HTTP));
	assert_false(gone(400, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32000}}", true, false, ERA_HTTP));
	assert_true(gone(400, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"No valid session\"}}", true, false, ERA_HTTP));
}

#define RPC_ERR "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32603,\"message\":\"boom\"}}"
#define RPC_RES "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}"
#define MODERN_ERR "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32022,\"message\":\"Unsupported protocol version\"}}"

static void every_status_has_its_verdict(void **state)
{
	static const struct { int status; const char *body; bool session, handshake, wait, scope; enum era era; enum verdict want; } cases[] = {
		{ 200, RPC_RES, true, .era = ERA_HTTP, .want = VERDICT_ANSWER },
		{ 200, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_ANSWER },
		{ 200, "[" RPC_RES "]", true, .era = ERA_HTTP, .want = VERDICT_ANSWER },
		{ 200, NULL, true, .era = ERA_HTTP, .want = VERDICT_BAD },
		{ 200, "{\"jsonrpc\":\"2.0\",\"method\":\"x\"}", true, .era = ERA_HTTP, .want = VERDICT_BAD },
		{ 200, NULL, true, .era = ERA_SSE, .want = VERDICT_ACCEPTED },
		{ 202, NULL, true, .era = ERA_HTTP, .want = VERDICT_ACCEPTED },
		{ 204, NULL, true, .era = ERA_HTTP, .want = VERDICT_ACCEPTED },
		{ 301, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 302, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 307, NULL, true, .era = ERA_HTTP, .want = VERDICT_REDIRECT },
		{ 308, NULL, true, .era = ERA_HTTP, .want = VERDICT_REDIRECT },
		{ 400, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 400, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_ANSWER },
		{ 400, NULL, false, true, .era = ERA_HTTP, .want = VERDICT_TRANSPORT },
		{ 404, NULL, false, true, .era = ERA_HTTP, .want = VERDICT_TRANSPORT },
		{ 405, NULL, false, true, .era = ERA_HTTP, .want = VERDICT_TRANSPORT },
		{ 404, NULL, true, .era = ERA_HTTP, .want = VERDICT_GONE },
		{ 404, NULL, false, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 404, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32601,\"message\":\"Method not found\"}}", true, .era = ERA_MODERN, .want = VERDICT_ANSWER },
		{ 400, MODERN_ERR, false, true, .era = ERA_HTTP, .want = VERDICT_MODERN },
		{ 401, NULL, true, .era = ERA_HTTP, .want = VERDICT_AUTH },
		{ 401, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_AUTH },
		{ 403, NULL, true, .era = ERA_HTTP, .want = VERDICT_FORBIDDEN },
		{ 403, NULL, true, .scope = true, .era = ERA_HTTP, .want = VERDICT_AUTH },
		{ 408, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 413, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 415, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 425, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 429, NULL, true, .era = ERA_HTTP, .want = VERDICT_LATER },
		{ 429, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_LATER },
		{ 500, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 500, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_ANSWER },
		{ 501, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
		{ 501, NULL, false, true, .era = ERA_HTTP, .want = VERDICT_TRANSPORT },
		{ 502, RPC_ERR, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 503, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 503, NULL, true, .wait = true, .era = ERA_HTTP, .want = VERDICT_LATER },
		{ 504, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 599, NULL, true, .era = ERA_HTTP, .want = VERDICT_UNKNOWN },
		{ 100, NULL, true, .era = ERA_HTTP, .want = VERDICT_REJECTED },
	};

	(void)state;
	for (size_t i = 0; i < N(cases); i++) {
		struct exchange_facts f = { .era = cases[i].era, .status = cases[i].status, .had_session = cases[i].session,
			.handshake = cases[i].handshake, .retry_after = cases[i].wait, .insufficient_scope = cases[i].scope };
		struct rpc_msg m;

		if (cases[i].body) {
			rpc_parse(cases[i].body, strlen(cases[i].body), &m);
			f.msg = &m;
		}
		if (verdict_of(&f) != cases[i].want)
			fail_msg("case %zu: HTTP %d gave %d", i, cases[i].status, (int)verdict_of(&f));
	}
}

static void insufficient_scope_is_found_in_the_challenge(void **state)
{
	(void)state;
	assert_true(verdict_insufficient_scope(SPAN_LIT("Bearer error=\"insufficient_scope\", scope=\"a\"")));
	assert_false(verdict_insufficient_scope(SPAN_LIT("Bearer error=\"invalid_token\"")));
	assert_false(verdict_insufficient_scope(SPAN_LIT("insufficient_scop")));
	assert_false(verdict_insufficient_scope(SPAN_NONE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_is_lost_exactly_where_the_table_says),
		cmocka_unit_test(nothing_is_lost_without_a_session_or_in_a_handshake_or_in_the_modern_era),
		cmocka_unit_test(a_result_with_such_words_is_never_a_lost_session),
		cmocka_unit_test(an_error_of_odd_shape_is_judged_without_a_fault),
		cmocka_unit_test(every_status_has_its_verdict),
		cmocka_unit_test(insufficient_scope_is_found_in_the_challenge),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
