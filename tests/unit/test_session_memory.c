/* Out of memory is an ordinary failure: the nth allocation of the core fails,
 * for every n that a life of a session has. It must survive, answer every
 * request exactly once, by an error where need be, and come to its end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/session.h"

/* ---- allocations of the core, and of nothing else, are counted and fail ------------------------ */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool in_core;
static unsigned long allocations, fail_from, fail_to; /* [from, to) fail */

static bool fails(void)
{
	unsigned long n = allocations;

	if (!in_core)
		return false;
	allocations++;
	return n >= fail_from && n < fail_to;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }

#define INSIDE(call) do { in_core = true; call; in_core = false; } while (0)

static void core_on_client(struct session *s, struct span line, struct buf *big, int64_t now) { INSIDE(session_on_client(s, line, big, now)); }
static void core_on_done(struct session *s, uint64_t token, const struct http_result *r, int64_t now) { INSIDE(session_on_done(s, token, r, now)); }
static void core_on_time(struct session *s, int64_t now, int64_t wall_s) { INSIDE(session_on_time(s, now, wall_s)); }
static void core_on_eof(struct session *s, int64_t now) { INSIDE(session_on_client_eof(s, now)); }
static void core_on_challenge(struct session *s, uint64_t token, enum challenge c, struct span text, int64_t now) { INSIDE(session_on_challenge(s, token, c, text, now)); }

static enum body_mode core_on_head(struct session *s, uint64_t token, const struct http_head *h, int64_t now)
{
	enum body_mode mode;

	INSIDE(mode = session_on_head(s, token, h, now));
	return mode;
}

static bool core_on_data(struct session *s, uint64_t token, char **p, size_t *n, bool whole, int64_t now)
{
	bool more;

	INSIDE(more = session_on_data(s, token, p, n, whole, now));
	return more;
}

#define session_on_client core_on_client
#define session_on_done core_on_done
#define session_on_time core_on_time
#define session_on_client_eof core_on_eof
#define session_on_challenge core_on_challenge
#define session_on_head core_on_head
#define session_on_data core_on_data

#include "core_harness.h"

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

/* Two failures in a row leave the reserve to answer from; in a longer drought an
 * answer may be missing, but none comes twice. */
static void check(struct play *p, unsigned long n, unsigned long width)
{
	static const char *const ids[] = { "\"init\"", "1", "2", "3", "10", "11", "12", "13", "14", "16", "17", "18", "19" };
	const size_t asked = p->c.transport == TRANSPORT_HTTP ? sizeof(ids) / sizeof(*ids) : 9;

	for (size_t i = 0; i < asked; i++) {
		size_t got = play_answers(p, ids[i], NULL);
		if (got > 1 || (got == 0 && width <= 2))
			fail_msg("allocation %lu (%lu of them): %s was answered %zu times\n%s", n, width, ids[i], got, p->log);
	}
	if (!p->ended)
		fail_msg("allocation %lu (%lu of them): it does not end\n%s", n, width, p->log);
}

/* How many allocations there were. */
static unsigned long live(enum transport_choice transport, unsigned long from, unsigned long to)
{
	struct core_config c = play_config();
	struct play p;

	c.transport = transport;
	c.offline_start = true;
	play_open_log(&p, &c, 42, 4);
	allocations = 0;
	fail_from = from;
	fail_to = to;
	if (transport == TRANSPORT_SSE)
		life_of_sse(&p);
	else
		life_of_http(&p);
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	play_serve(&p, 10000);
	check(&p, from, to - from);
	fail_to = 0;
	play_close(&p);
	return allocations;
}

static void each_allocation_may_fail(void **state)
{
	static const enum transport_choice transports[] = { TRANSPORT_HTTP, TRANSPORT_SSE };
	static const unsigned long widths[] = { 1, 2, 5, 20, 1000 };

	(void)state;
	for (size_t t = 0; t < 2; t++) {
		unsigned long all = live(transports[t], 0, 0);
		assert_true(all > 100);
		for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++)
			for (unsigned long n = 0; n < all; n++)
				live(transports[t], n, n + widths[w]);
	}
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
		cmocka_unit_test(each_allocation_may_fail),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
