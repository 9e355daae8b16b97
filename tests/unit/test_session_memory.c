/* Out of memory is an ordinary failure: the nth allocation of the core fails,
 * for every n that a life of a session has. It must survive, answer every
 * request exactly once, by an error where need be, and come to its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "failing_memory.h"

/* ---- lives ----------------------------------------------------------------------------------------- */

static void send_all(struct play *p)
{
	play_client(p, PLAY_INITIALIZE);
	play_serve(p, 10);
	play_client(p, PLAY_INITIALIZED);
	play_serve(p, 10);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\"}");
	play_serve(p, 10);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"warning\"}}");
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"file:///a\"}}");
	play_serve(p, 10);
}

/* The oldest open attempt of this method, while there is one. */
static void lose(struct play *p, const char *method, int status, enum http_outcome o)
{
	struct transfer *t = play_find(p, method);

	if (t && o != HTTP_OK)
		play_fail(p, t, o, true);
	else if (t)
		play_status(p, t, status);
}

/* Answers, losses of every kind, a revival, a hedge, a resume, cancellations, questions. */
static void life_of_http(struct play *p)
{
	struct transfer *t;

	send_all(p);
	play_call(p, 10, "act");
	lose(p, "tools/call", 404, HTTP_OK);
	play_serve(p, 2000);
	play_call(p, 11, "safe");
	lose(p, "tools/call", 0, HTTP_RESET);
	play_serve(p, 4000);
	play_call(p, 12, "act");
	lose(p, "tools/call", 502, HTTP_OK);
	play_serve(p, 4000);
	play_call(p, 13, "act");
	if ((t = play_find(p, "tools/call"))) {
		uint64_t token = t->token;
		play_sse(p, t);
		play_event(p, t, "7", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}");
		if ((t = play_transfer(p, token)) && t->open)
			play_event(p, t, NULL, "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"method\":\"sampling/createMessage\",\"params\":{}}");
		if ((t = play_transfer(p, token)) && t->open)
			play_done(p, t, HTTP_RESET, true);
	}
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":\"q\",\"result\":{}}");
	play_pass(p, 3000);
	play_serve(p, 4000);
	play_ask(p, 14, "resources/read");
	play_pass(p, 15000);
	play_serve(p, 4000);
	play_call(p, 15, "act");
	play_cancel(p, 15);
	play_serve(p, 10);
	play_ask(p, 16, "prompts/get");
	lose(p, "prompts/get", 0, HTTP_CONNECT);
	play_ask(p, 17, "prompts/get");
	play_call(p, 18, "act");
	play_serve(p, 8000);
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":19,\"method\":\"vendor/own\",\"params\":{\"a\":[1,2,{}]}}");
	play_client(p, "garbage");
	play_serve(p, 8000);
}

static void life_of_sse(struct play *p)
{
	struct transfer *t;

	send_all(p);
	play_call(p, 10, "act");
	lose(p, "tools/call", 404, HTTP_OK);
	play_serve(p, 4000);
	play_call(p, 11, "safe");
	play_call(p, 12, "act");
	lose(p, "tools/call", 202, HTTP_OK);
	lose(p, "tools/call", 202, HTTP_OK);
	if ((t = play_open_stream(p)))
		play_event(p, t, NULL, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}");
	if ((t = play_open_stream(p)))
		play_done(p, t, HTTP_RESET, true);
	play_ask(p, 13, "prompts/get");
	play_serve(p, 40000);
	play_ask(p, 14, "resources/read");
	play_serve(p, 20000);
}

static void each_allocation_may_fail_over_http(void **state)
{
	(void)state;
	live_all(&(struct life){ .name = "http", .transport = TRANSPORT_HTTP, .run = life_of_http, .serve = play_serve, .again = LIFE_AGAIN, .last = LIFE_LAST });
}

static void each_allocation_may_fail_over_sse(void **state)
{
	(void)state;
	live_all(&(struct life){ .name = "sse", .transport = TRANSPORT_SSE, .run = life_of_sse, .serve = play_serve, .again = LIFE_AGAIN, .last = LIFE_LAST });
}

static void a_session_that_can_not_be_made_leaves_nothing_behind(void **state)
{
	struct core_config c = play_config();
	struct session_seed seed = { .rng = 1 };
	struct session *s = NULL;

	(void)state;
	for (unsigned long n = 0; !s; n++) {
		allocations = 0;
		fail_from = n;
		fail_to = n + 1;
		INSIDE(s = session_new(&c, &seed, PLAY_URL, 1, 1));
		assert_true(s != NULL || allocations > n);
	}
	session_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_session_that_can_not_be_made_leaves_nothing_behind),
		cmocka_unit_test(each_allocation_may_fail_over_http),
		cmocka_unit_test(each_allocation_may_fail_over_sse),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
