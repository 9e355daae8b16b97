/* Offline start, driven by facts: what is handed out to be kept, when the
 * client is answered from it, and what happens when the server turns up. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "core_harness.h"

#define TOOLS_1 "{\"tools\":[{\"name\":\"one\"}],\"nextCursor\":\"more\"}"
#define TOOLS_2 "{\"tools\":[{\"name\":\"two\"}]}"
#define HELLO "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}"
#define KEPT "{\"era\":\"streamable-http\",\"result\":" HELLO "}"
#define DISCOVER "{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},\"ttlMs\":60000,\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}}"
#define KEPT_MODERN "{\"era\":\"stateless-http\",\"discover\":" DISCOVER "}"
#define META "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{}}"
#define DISCOVER_ASKED "{\"jsonrpc\":\"2.0\",\"id\":\"d\",\"method\":\"server/discover\",\"params\":{" META "}}"

/* What the bridge would have in its files. */
struct shelf {
	char text[REMEMBER_KINDS][1024];
	bool goes_on[REMEMBER_KINDS], unfinished[REMEMBER_KINDS];
	size_t told, voided, forgotten, recalled;
	const char *pages[4];
	int64_t age_s;
};

static void on_remember(struct play *p, const struct action *a, void *arg)
{
	struct shelf *f = arg;

	if (a->status == REMEMBER_NOTHING) {
		f->forgotten++;
	} else if (a->status == REMEMBER_RECALL) {
		f->recalled++;
		for (size_t i = 0; i < 4 && f->pages[i]; i++)
			session_on_memory(p->s, REMEMBER_LIST, span_str(f->pages[i]), f->age_s);
	} else {
		f->told++;
		f->voided += a->text.n == 0;
		snprintf(f->text[a->status], sizeof(f->text[0]), "%.*s", (int)a->text.n, a->text.p);
		f->goes_on[a->status] = a->goes_on;
		f->unfinished[a->status] = a->unfinished;
	}
}

static struct core_config config(void)
{
	struct core_config c = play_config();

	c.offline_start = true;
	c.initialize_wait_ms = 3000;
	return c;
}

static void open_with(struct play *p, struct shelf *f, const struct core_config *c, const char *handshake)
{
	memset(f, 0, sizeof(*f));
	f->age_s = 100;
	play_open(p, c, 7);
	p->on_remember = on_remember;
	p->arg = f;
	if (handshake)
		session_on_memory(p->s, REMEMBER_HANDSHAKE, span_str(handshake), f->age_s);
}

static void open_kept(struct play *p, struct shelf *f, const char *handshake)
{
	struct core_config c = config();

	open_with(p, f, &c, handshake);
	f->pages[0] = "{\"cursor\":null,\"result\":" TOOLS_1 "}";
	f->pages[1] = "{\"cursor\":\"more\",\"result\":" TOOLS_2 "}";
}

/* Every attempt fails to connect, for ms. */
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

static const char *answer(struct play *p, const char *id)
{
	const char *last = NULL;

	assert_int_equal(play_answers(p, id, &last), 1);
	return last;
}

static void list(struct play *p, int id, const char *cursor)
{
	char text[300];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"tools/list\",\"params\":{%s%s%s}}", id,
		cursor ? "\"cursor\":\"" : "", cursor ? cursor : "", cursor ? "\"" : "");
	play_client(p, text);
}

static void start_offline(struct play *p)
{
	play_client(p, PLAY_INITIALIZE);
	away(p, 3500);
	assert_non_null(strstr(answer(p, "\"init\""), "\"name\":\"kept\""));
	play_client(p, PLAY_INITIALIZED);
}

/* ---- what is kept ------------------------------------------------------------------ */

static void a_handshake_and_each_page_of_a_list_are_handed_out(void **state)
{
	struct core_config c = config();
	struct shelf f;
	struct play p;

	(void)state;
	open_with(&p, &f, &c, NULL);
	play_ready(&p, false);
	assert_string_equal(f.text[REMEMBER_HANDSHAKE], "{\"era\":\"streamable-http\",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}}");
	list(&p, 1, NULL);
	play_json(&p, play_must_find(&p, "tools/list"), "\"result\":" TOOLS_1);
	assert_string_equal(f.text[REMEMBER_LIST], "{\"cursor\":null,\"result\":" TOOLS_1 "}");
	assert_true(!f.goes_on[REMEMBER_LIST] && f.unfinished[REMEMBER_LIST]);
	list(&p, 2, "more");
	play_json(&p, play_must_find(&p, "tools/list"), "\"result\":" TOOLS_2);
	assert_string_equal(f.text[REMEMBER_LIST], "{\"cursor\":\"more\",\"result\":" TOOLS_2 "}");
	assert_true(f.goes_on[REMEMBER_LIST] && !f.unfinished[REMEMBER_LIST]);
	play_close(&p);
}

static void results_of_tools_and_resources_are_never_handed_out(void **state)
{
	struct core_config c = config();
	struct shelf f;
	struct play p;

	(void)state;
	open_with(&p, &f, &c, NULL);
	play_ready(&p, false);
	play_call(&p, 1, "act");
	play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{\"content\":[]}");
	play_ask(&p, 2, "resources/read");
	play_json(&p, play_must_find(&p, "resources/read"), "\"result\":{\"contents\":[]}");
	play_ask(&p, 3, "prompts/get");
	play_json(&p, play_must_find(&p, "prompts/get"), "\"result\":{\"messages\":[]}");
	assert_int_equal(f.told, 1);
	play_close(&p);
}

static void nothing_is_handed_out_or_taken_when_it_is_turned_off(void **state)
{
	struct core_config c = config();
	struct shelf f;
	struct play p;

	(void)state;
	c.offline_start = false;
	open_with(&p, &f, &c, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	away(&p, 10000);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
	play_serve(&p, 60000);
	list(&p, 1, NULL);
	play_serve(&p, 10);
	assert_int_equal(f.told + f.forgotten + f.recalled, 0);
	play_close(&p);
}

/* ---- answers from memory --------------------------------------------------------------- */

static void initialize_is_answered_from_memory_after_the_wait_and_not_before(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	away(&p, 2900);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
	away(&p, 200);
	assert_non_null(strstr(answer(&p, "\"init\""), HELLO));
	assert_int_equal(f.recalled, 1);
	play_close(&p);
}

static void a_server_that_hangs_is_no_better_than_one_that_is_away(void **state)
{
	struct transfer *t;
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	t = play_must_find(&p, "initialize");
	play_pass(&p, 3000);
	assert_non_null(strstr(answer(&p, "\"init\""), HELLO));
	assert_true(t->open && !t->cancelled); /* it may be only slow: no second session is made */
	play_client(&p, PLAY_INITIALIZED);
	play_pass(&p, 2000);
	play_hello(&p, "sid-1");
	play_serve(&p, 1000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "initialize"), 1);
	assert_int_equal(play_count(&p, "notifications/initialized"), 1);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	play_close(&p);
}

static void a_slow_attempt_that_fails_after_all_is_made_again(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	play_pass(&p, 60000);
	assert_true(play_count(&p, "initialize") > 1);
	play_serve(&p, 60000);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 1);
	play_close(&p);
}

static void an_older_version_that_the_client_asked_for_is_what_it_is_told(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":\"init\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-03-26\",\"capabilities\":{}}}");
	away(&p, 3500);
	assert_non_null(strstr(answer(&p, "\"init\""), "\"protocolVersion\":\"2025-03-26\""));
	play_close(&p);
}

static void lists_come_marked_as_stale_with_their_age(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	start_offline(&p);
	list(&p, 1, NULL);
	assert_non_null(strstr(answer(&p, "1"), "\"result\":{\"tools\":[{\"name\":\"one\"}],\"nextCursor\":\"more\",\"_meta\":{\"mcp-holdfast/stale\":true,\"mcp-holdfast/ageSeconds\":103}}"));
	list(&p, 2, "mor\\u0065");
	assert_non_null(strstr(answer(&p, "2"), "\"two\""));
	play_close(&p);
}

static void what_is_not_remembered_is_held(void **state)
{
	static const char *const asked[] = { "prompts/list", "resources/read", "logging/setLevel" };
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	start_offline(&p);
	for (int i = 0; i < 3; i++)
		play_ask(&p, 10 + i, asked[i]);
	play_call(&p, 20, "one");
	list(&p, 21, "unknown");
	away(&p, 1000);
	assert_int_equal(play_said_times(&p, "\"id\":1") + play_said_times(&p, "\"id\":2"), 0);
	play_serve(&p, 60000);
	for (int i = 10; i < 13; i++) {
		char id[8];
		snprintf(id, sizeof(id), "%d", i);
		answer(&p, id);
	}
	assert_non_null(strstr(answer(&p, "20"), "\"good\":true"));
	assert_int_equal(play_count(&p, "tools/call"), 1);
	play_close(&p);
}

#define KEPT_WITH(caps) "{\"era\":\"streamable-http\",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":" caps ",\"serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}}"
#define ABLE "{\"tools\":{},\"logging\":{},\"resources\":{\"subscribe\":true}}"
#define HELLO_WITH(caps) "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":" caps ",\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}"

/* A level, and subscriptions to two resources of which one is given up. */
static void wish(struct play *p, bool answered)
{
	static const char *const asked[][2] = {
		{ "logging/setLevel", "\"level\":\"debug\"" }, { "resources/subscribe", "\"uri\":\"mem://a\"" },
		{ "resources/subscribe", "\"uri\":\"mem://b\"" }, { "resources/unsubscribe", "\"uri\":\"mem://a\"" } };

	for (int i = 0; i < 4; i++) {
		char text[300], id[8];
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\",\"params\":{%s}}", 50 + i, asked[i][0], asked[i][1]);
		play_client(p, text);
		snprintf(id, sizeof(id), "%d", 50 + i);
		assert_int_equal(play_answers(p, id, NULL), answered);
		if (answered)
			assert_non_null(strstr(answer(p, id), "\"result\":{}"));
	}
}

static struct transfer *server_is_back(struct play *p, const char *method, const char *said)
{
	struct transfer *t;

	while (!(t = play_find(p, method)))
		assert_true(play_next(p));
	play_json(p, t, said);
	return t;
}

static void a_log_level_and_subscriptions_are_taken_and_told_to_the_new_session(void **state)
{
	struct transfer *t;
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT_WITH(ABLE));
	start_offline(&p);
	wish(&p, true);
	server_is_back(&p, "initialize", HELLO_WITH(ABLE));
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	t = play_must_find(&p, "logging/setLevel");
	assert_non_null(memmem(t->body.p, t->body.n, "\"params\":{\"level\":\"debug\"}", 26));
	play_json(&p, t, "\"result\":{}");
	t = play_must_find(&p, "resources/subscribe");
	assert_non_null(memmem(t->body.p, t->body.n, "mem://b", 7));
	play_json(&p, t, "\"result\":{}");
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "logging/setLevel") + play_count(&p, "resources/subscribe"), 2);
	assert_int_equal(play_count(&p, "resources/unsubscribe"), 0);
	play_close(&p);
}

static void what_the_server_does_not_have_any_more_is_not_said_to_it(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT_WITH(ABLE));
	start_offline(&p);
	wish(&p, true);
	server_is_back(&p, "initialize", HELLO_WITH("{\"tools\":{},\"resources\":{}}"));
	play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
	assert_int_equal(play_state(&p), SESSION_READY);
	assert_int_equal(play_count(&p, "logging/setLevel") + play_count(&p, "resources/subscribe"), 0);
	play_close(&p);
}

static void what_the_server_did_not_have_is_held(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT_WITH("{\"tools\":{},\"resources\":{\"subscribe\":false}}"));
	start_offline(&p);
	wish(&p, false);
	play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":60,\"method\":\"logging/setLevel\",\"params\":{\"level\":\"loud\"}}");
	play_serve(&p, 60000);
	assert_int_equal(play_count(&p, "logging/setLevel") + play_count(&p, "resources/subscribe"), 4);
	answer(&p, "50");
	play_close(&p);
}

static void a_subscription_too_many_is_refused_offline_as_well(void **state)
{
	struct shelf f;
	struct play p;
	char text[200];

	(void)state;
	open_kept(&p, &f, KEPT_WITH(ABLE));
	start_offline(&p);
	for (int i = 1; i <= 10001; i++) {
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"resources/subscribe\",\"params\":{\"uri\":\"mem://%d\"}}", i, i);
		play_client(&p, text);
	}
	assert_non_null(strstr(answer(&p, "10000"), "\"result\":{}"));
	assert_true(play_refused(&p, "10001", "unsupported"));
	play_close(&p);
}

static void a_server_without_sessions_learns_of_them_as_well(void **state)
{
	struct transfer *t;
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, "{\"era\":\"stateless-http\",\"discover\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":" ABLE
		",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"kept\",\"version\":\"1\"}}}}");
	start_offline(&p);
	wish(&p, true);
	server_is_back(&p, "server/discover", "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":" ABLE "}");
	t = play_must_find(&p, "subscriptions/listen");
	assert_non_null(memmem(t->body.p, t->body.n, "\"resourceSubscriptions\":[\"mem://b\"]", 35));
	play_call(&p, 70, "act");
	t = play_must_find(&p, "tools/call");
	assert_non_null(memmem(t->body.p, t->body.n, "logLevel\":\"debug\"", 17));
	play_close(&p);
}

static void retries_that_are_used_up_are_no_reason_to_refuse_what_is_known(void **state)
{
	struct core_config c = config();
	struct shelf f;
	struct play p;

	(void)state;
	c.max_retries = 1;
	c.initial_retry_ms = 10;
	open_with(&p, &f, &c, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	away(&p, 1000);
	assert_non_null(strstr(answer(&p, "\"init\""), HELLO));
	play_call(&p, 1, "act");
	assert_true(play_refused(&p, "1", "upstream_unavailable"));
	away(&p, 31000);
	play_call(&p, 2, "act");
	play_serve(&p, 10000);
	assert_non_null(strstr(answer(&p, "2"), "\"good\":true"));
	play_close(&p);
}

static void a_wait_that_the_server_asks_for_does_not_refuse_what_is_known(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	play_client(&p, PLAY_INITIALIZE);
	play_respond(&p, play_must_find(&p, "initialize"), (struct head){ .status = 503, .retry_after = "600" }, NULL);
	assert_non_null(strstr(answer(&p, "\"init\""), HELLO));
	play_pass(&p, 590000);
	assert_int_equal(play_count(&p, "initialize"), 1);
	play_serve(&p, 600000);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_close(&p);
}

/* ---- the server turns up ---------------------------------------------------------------- */

static void a_list_that_differs_is_told_and_one_that_does_not_is_not(void **state)
{
	static const struct { const char *now; size_t told; } rows[] = {
		{ "\"result\":{\"tools\":[{\"name\":\"one\"},{\"name\":\"two\"}]}", 0 },
		{ "\"result\":{\"tools\":[{\"name\":\"one\"}]}", 1 },
		{ "\"error\":{\"code\":-32603,\"message\":\"not now\"}", 1 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
		struct transfer *t;
		struct shelf f;
		struct play p;
		open_kept(&p, &f, KEPT);
		start_offline(&p);
		list(&p, 1, NULL);
		list(&p, 2, "more");
		while (!(t = play_find(&p, "initialize")))
			assert_true(play_next(&p));
		play_hello(&p, "sid");
		play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
		play_json(&p, play_must_find(&p, "tools/list"), rows[i].now);
		assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), rows[i].told);
		assert_int_equal(play_said_times(&p, "serverInfo"), 1);
		play_close(&p);
	}
}

static void a_list_that_was_seen_in_part_counts_as_changed(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	start_offline(&p);
	list(&p, 1, NULL);
	play_serve(&p, 60000);
	assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), 1);
	play_close(&p);
}

static void a_list_comes_from_the_server_once_it_is_there(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	start_offline(&p);
	play_serve(&p, 60000);
	list(&p, 5, NULL);
	play_serve(&p, 10);
	assert_null(strstr(answer(&p, "5"), "stale"));
	assert_non_null(strstr(f.text[REMEMBER_HANDSHAKE], "\"name\":\"s\""));
	play_close(&p);
}

static void a_remembered_era_that_is_wrong_by_now_is_found_out(void **state)
{
	static const char *const kept[] = { KEPT, "{\"era\":\"http+sse\",\"result\":" HELLO "}", KEPT_MODERN };

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct shelf f;
		struct transfer *t;
		struct play p;
		open_kept(&p, &f, kept[i]);
		start_offline(&p);
		for (int turns = 0; turns < 40; turns++) { /* it is a 2024-11-05 server now */
			if ((t = play_find(&p, "GET"))) {
				play_endpoint(&p);
				break;
			}
			if ((t = play_find(&p, "initialize")) || (t = play_find(&p, "server/discover")))
				play_status(&p, t, 404);
			else
				assert_true(play_next(&p));
		}
		assert_non_null(t);
		play_answer_on(&p, t, NULL, play_must_find(&p, "initialize"), PLAY_HELLO_SSE);
		play_status(&p, play_must_find(&p, "notifications/initialized"), 202);
		assert_int_equal(play_state(&p), SESSION_READY);
		assert_non_null(strstr(f.text[REMEMBER_HANDSHAKE], "{\"era\":\"http+sse\""));
		play_close(&p);
	}
}

static void a_modern_server_is_asked_first_and_serves_a_legacy_client_from_memory(void **state)
{
	struct transfer *t;
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT_MODERN);
	start_offline(&p);
	assert_non_null(strstr(answer(&p, "\"init\""), "\"protocolVersion\":\"2025-06-18\""));
	list(&p, 1, NULL);
	list(&p, 2, "more");
	play_call(&p, 3, "one");
	while (!(t = play_find(&p, "server/discover")))
		assert_true(play_next(&p));
	play_json(&p, t, "\"result\":" DISCOVER);
	assert_int_equal(play_state(&p), SESSION_READY);
	play_json(&p, play_must_find(&p, "tools/list"), "\"result\":{\"resultType\":\"complete\",\"tools\":[]}");
	play_json(&p, play_must_find(&p, "tools/call"), "\"result\":{\"resultType\":\"complete\",\"content\":[]}");
	assert_int_equal(play_said_times(&p, "notifications/tools/list_changed"), 1);
	answer(&p, "3");
	assert_int_equal(play_said_times(&p, "serverInfo"), 1);
	play_close(&p);
}

static void a_modern_client_is_answered_from_either_memory(void **state)
{
	static const char *const kept[] = { KEPT, KEPT_MODERN };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct shelf f;
		struct play p;
		open_kept(&p, &f, kept[i]);
		play_client(&p, DISCOVER_ASKED);
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/list\",\"params\":{" META "}}");
		away(&p, 2900);
		assert_int_equal(p.nsent, 0);
		away(&p, 200);
		assert_non_null(strstr(answer(&p, "\"d\""), "\"supportedVersions\":[\"2026-07-28\"]"));
		assert_non_null(strstr(answer(&p, "\"d\""), "\"ttlMs\":0"));
		assert_non_null(strstr(answer(&p, "1"), "\"resultType\":\"complete\""));
		assert_non_null(strstr(answer(&p, "1"), "\"mcp-holdfast/stale\":true"));
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\",\"params\":{\"cursor\":\"more\"," META "}}");
		assert_non_null(strstr(answer(&p, "2"), "\"two\""));
		play_close(&p);
	}
}

/* ---- refusals ----------------------------------------------------------------------------- */

static void a_refusal_of_the_credentials_ends_it(void **state)
{
	static const int statuses[] = { 401, 403 };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct shelf f;
		struct play p;
		open_kept(&p, &f, KEPT);
		play_client(&p, PLAY_INITIALIZE);
		play_status(&p, play_must_find(&p, "initialize"), statuses[i]);
		assert_true(play_refused(&p, "\"init\"", "auth_required"));
		assert_int_equal(f.forgotten, 1);
		play_client(&p, "{\"jsonrpc\":\"2.0\",\"id\":\"again\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{}}}");
		away(&p, 20000);
		assert_int_equal(play_answers(&p, "\"again\"", NULL), 0);
		play_close(&p);
	}
}

static void a_refusal_while_offline_ends_it_too(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	start_offline(&p);
	while (!play_find(&p, "initialize"))
		assert_true(play_next(&p));
	play_status(&p, play_must_find(&p, "initialize"), 401);
	assert_int_equal(f.forgotten, 1);
	list(&p, 1, NULL);
	play_serve(&p, 100);
	assert_null(strstr(answer(&p, "1"), "stale"));
	play_close(&p);
}

static void while_a_sign_in_is_under_way_nothing_comes_from_memory(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	p.challenge = CHALLENGE_PARK;
	play_client(&p, PLAY_INITIALIZE);
	play_status(&p, play_must_find(&p, "initialize"), 401);
	assert_int_equal(play_state(&p), SESSION_AUTH);
	play_pass(&p, 5000);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
	assert_int_equal(f.forgotten, 0);
	session_on_auth(p.s, SIGNIN_OK, SPAN_NONE, p.now);
	play_perform(&p);
	away(&p, 10000);
	assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
	play_close(&p);
}

static void a_sign_in_that_fails_removes_the_memory(void **state)
{
	struct shelf f;
	struct play p;

	(void)state;
	open_kept(&p, &f, KEPT);
	p.challenge = CHALLENGE_PARK;
	play_client(&p, PLAY_INITIALIZE);
	play_status(&p, play_must_find(&p, "initialize"), 401);
	session_on_auth(p.s, SIGNIN_REFUSED, span_str("no"), p.now);
	play_perform(&p);
	assert_int_equal(f.forgotten, 1);
	play_close(&p);
}

static void what_was_forgotten_is_kept_again_when_the_server_answers_again(void **state)
{
	struct core_config c = config();
	struct shelf f;
	struct play p;

	(void)state;
	open_with(&p, &f, &c, NULL);
	play_ready(&p, false);
	play_call(&p, 1, "act");
	play_status(&p, play_must_find(&p, "tools/call"), 403);
	assert_int_equal(f.forgotten, 1);
	f.text[REMEMBER_HANDSHAKE][0] = '\0';
	play_learn_tools(&p);
	assert_non_null(strstr(f.text[REMEMBER_HANDSHAKE], "streamable-http"));
	play_close(&p);
}

/* ---- bad memories -------------------------------------------------------------------------- */

static void documents_that_are_not_ours_are_as_good_as_none(void **state)
{
	static const char *const bad[] = {
		"", "null", "[]", "{}", "{\"era\":", "{\"era\":\"streamable-http\"}", "{\"era\":\"tomorrow\",\"result\":" HELLO "}",
		"{\"era\":\"streamable-http\",\"result\":[]}", "{\"era\":\"streamable-http\",\"result\":{\"protocolVersion\":7}}",
		"{\"era\":\"stateless-http\",\"discover\":{}}", "{\"era\":\"stateless-http\",\"result\":" HELLO "}", "{\"era\":\"streamable-http\",\n\"result\":" HELLO "}",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct shelf f;
		struct play p;
		open_kept(&p, &f, bad[i]);
		play_client(&p, PLAY_INITIALIZE);
		away(&p, 10000);
		assert_int_equal(play_answers(&p, "\"init\"", NULL), 0);
		play_serve(&p, 60000);
		assert_null(strstr(answer(&p, "\"init\""), "kept"));
		play_close(&p);
	}
}

static void pages_that_are_not_ours_are_held_as_if_unknown(void **state)
{
	static const char *const bad[] = { "", "{}", "{\"cursor\":null}", "{\"cursor\":null,\"result\":[]}", "{\"cursor\":null,\"result\":{", "x" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		struct shelf f;
		struct play p;
		open_kept(&p, &f, KEPT);
		f.pages[0] = bad[i];
		f.pages[1] = NULL;
		start_offline(&p);
		session_on_memory(p.s, -7, span_str(KEPT), 1);
		session_on_memory(p.s, 99, span_str(KEPT), 1);
		list(&p, 1, NULL);
		assert_int_equal(play_answers(&p, "1", NULL), 0);
		play_serve(&p, 60000);
		answer(&p, "1");
		play_close(&p);
	}
}

static void a_clock_that_jumped_back_makes_nothing_younger_than_now(void **state)
{
	static const int64_t ages[] = { INT64_MIN, -5, 0, INT64_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(ages) / sizeof(*ages); i++) {
		struct core_config c = config();
		struct shelf f;
		struct play p;
		open_with(&p, &f, &c, NULL);
		f.age_s = ages[i];
		f.pages[0] = "{\"cursor\":null,\"result\":" TOOLS_2 "}";
		session_on_memory(p.s, REMEMBER_HANDSHAKE, span_str(KEPT), ages[i]);
		start_offline(&p);
		list(&p, 1, NULL);
		assert_null(strstr(answer(&p, "1"), "ageSeconds\":-"));
		play_close(&p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_handshake_and_each_page_of_a_list_are_handed_out),
		cmocka_unit_test(results_of_tools_and_resources_are_never_handed_out),
		cmocka_unit_test(nothing_is_handed_out_or_taken_when_it_is_turned_off),
		cmocka_unit_test(initialize_is_answered_from_memory_after_the_wait_and_not_before),
		cmocka_unit_test(a_server_that_hangs_is_no_better_than_one_that_is_away),
		cmocka_unit_test(a_slow_attempt_that_fails_after_all_is_made_again),
		cmocka_unit_test(an_older_version_that_the_client_asked_for_is_what_it_is_told),
		cmocka_unit_test(lists_come_marked_as_stale_with_their_age),
		cmocka_unit_test(what_is_not_remembered_is_held),
		cmocka_unit_test(a_log_level_and_subscriptions_are_taken_and_told_to_the_new_session),
		cmocka_unit_test(what_the_server_does_not_have_any_more_is_not_said_to_it),
		cmocka_unit_test(what_the_server_did_not_have_is_held),
		cmocka_unit_test(a_subscription_too_many_is_refused_offline_as_well),
		cmocka_unit_test(a_server_without_sessions_learns_of_them_as_well),
		cmocka_unit_test(retries_that_are_used_up_are_no_reason_to_refuse_what_is_known),
		cmocka_unit_test(a_wait_that_the_server_asks_for_does_not_refuse_what_is_known),
		cmocka_unit_test(a_list_that_differs_is_told_and_one_that_does_not_is_not),
		cmocka_unit_test(a_list_that_was_seen_in_part_counts_as_changed),
		cmocka_unit_test(a_list_comes_from_the_server_once_it_is_there),
		cmocka_unit_test(a_remembered_era_that_is_wrong_by_now_is_found_out),
		cmocka_unit_test(a_modern_server_is_asked_first_and_serves_a_legacy_client_from_memory),
		cmocka_unit_test(a_modern_client_is_answered_from_either_memory),
		cmocka_unit_test(a_refusal_of_the_credentials_ends_it),
		cmocka_unit_test(a_refusal_while_offline_ends_it_too),
		cmocka_unit_test(while_a_sign_in_is_under_way_nothing_comes_from_memory),
		cmocka_unit_test(a_sign_in_that_fails_removes_the_memory),
		cmocka_unit_test(what_was_forgotten_is_kept_again_when_the_server_answers_again),
		cmocka_unit_test(documents_that_are_not_ours_are_as_good_as_none),
		cmocka_unit_test(pages_that_are_not_ours_are_held_as_if_unknown),
		cmocka_unit_test(a_clock_that_jumped_back_makes_nothing_younger_than_now),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
