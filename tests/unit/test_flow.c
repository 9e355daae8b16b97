/* The sign-in machine against an authorization server made of strings: each
 * test says what was asked for and what came back. The clock is a variable. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "auth/flow.h"
#include "base/url.h"

#define PRM "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as\"],\"scopes_supported\":[\"a\",\"b\"]}"
#define META_BEGIN "{\"issuer\":\"https://as\",\"authorization_endpoint\":\"https://as/authorize\",\"token_endpoint\":\"https://as/token\"," \
	"\"code_challenge_methods_supported\":[\"S256\"]"
#define META META_BEGIN ",\"registration_endpoint\":\"https://as/register\"}"
#define REGISTERED "{\"client_id\":\"cid\"}"
#define TOKEN "{\"access_token\":\"AT1\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"refresh_token\":\"RT1\"}"

struct world {
	struct auth *a;
	struct auth_config plain; /* of those that want nothing special */
	int64_t now, wall;
	/* What the machine asked for last. */
	uint64_t token;
	bool http, post;
	char url[4096], body[8192], headers[4096];
	char browse[8192], failed[512], shown[512], state[64];
	int listen_port, fixed_taken; /* fixed_taken: this port can not be had */
	bool listening, unlisten_ok, locked, fetched, loading, reading, command;
	char load_issuer[256];
	enum auth_file which;
	int saves, tokens, browses, unlocks, logs;
	struct auth_record kept;
	bool has_kept, lock_busy, disk_full;
	unsigned char counter;
	const char *circuit; /* the last state of a breaker that was logged */
};

static void fake_random(void *arg, void *p, size_t n)
{
	struct world *w = arg;

	memset(p, ++w->counter, n);
}

/* c: NULL for the plain one. */
static struct world *world_new(struct auth_config *c)
{
	struct world *w = calloc(1, sizeof *w);

	assert_non_null(w);
	if (!c)
		c = &w->plain;
	w->now = 1000000;
	w->wall = 1700000000;
	auth_record_init(&w->kept);
	c->random = fake_random;
	c->random_arg = w;
	if (!c->mcp_url)
		c->mcp_url = "https://h/mcp";
	c->client_name = "tests";
	c->redirect_host = "127.0.0.1";
	c->redirect_path = "/oauth/callback";
	c->timeout_ms = 300000;
	w->a = auth_new(c, NULL);
	assert_non_null(w->a);
	return w;
}

static void world_free(struct world *w)
{
	auth_free(w->a);
	auth_record_fini(&w->kept);
	free(w);
}

static void take_http(struct world *w, const struct auth_action *x)
{
	size_t i;

	w->http = true;
	w->post = x->post;
	w->token = x->token;
	snprintf(w->url, sizeof w->url, "%s", x->url);
	snprintf(w->body, sizeof w->body, "%.*s", (int)x->body.n, x->body.p ? x->body.p : "");
	w->headers[0] = '\0';
	for (i = 0; i < x->nheaders; i++) {
		strncat(w->headers, x->headers[i].p, x->headers[i].n);
		strcat(w->headers, "\n");
	}
}

/* Carries out everything that needs no answer from a test. */
static void run(struct world *w)
{
	struct auth_action x;
	int rounds = 0;

	while (auth_next(w->a, &x)) {
		assert_true(rounds++ < 200);
		switch (x.kind) {
		case AUTH_DO_HTTP:
			take_http(w, &x);
			break;
		case AUTH_DO_CANCEL:
			if (x.token == w->token)
				w->http = false;
			break;
		case AUTH_DO_LOAD:
			snprintf(w->load_issuer, sizeof w->load_issuer, "%s", x.issuer ? x.issuer : "");
			auth_on_loaded(w->a, w->has_kept && (!x.issuer || (w->kept.issuer && strcmp(x.issuer, w->kept.issuer) == 0)) ?
			               &w->kept : NULL, w->now, w->wall);
			break;
		case AUTH_DO_LOCK:
			w->locked = !w->lock_busy;
			if (!w->lock_busy)
				auth_on_locked(w->a, w->has_kept ? &w->kept : NULL, w->now, w->wall);
			break;
		case AUTH_DO_UNLOCK:
			w->locked = false;
			w->unlocks++;
			break;
		case AUTH_DO_SAVE:
			w->saves++;
			auth_on_saved(w->a, !w->disk_full);
			if (w->disk_full)
				break;
			auth_record_fini(&w->kept);
			assert_int_equal(auth_record_copy(&w->kept, auth_record(w->a)), 0);
			w->has_kept = true;
			break;
		case AUTH_DO_LISTEN:
			w->listen_port = x.port ? x.port : 5000;
			snprintf(w->state, sizeof w->state, "%s", x.state);
			if (x.port && x.port == w->fixed_taken) {
				auth_on_listening(w->a, 0, "in use", w->now);
				break;
			}
			w->listening = true;
			auth_on_listening(w->a, w->listen_port, NULL, w->now);
			break;
		case AUTH_DO_UNLISTEN:
			w->listening = false;
			w->unlisten_ok = x.ok;
			break;
		case AUTH_DO_BROWSE:
			w->browses++;
			snprintf(w->browse, sizeof w->browse, "%s", x.url);
			break;
		case AUTH_DO_SHOW:
			snprintf(w->shown, sizeof w->shown, "%s", x.text);
			break;
		case AUTH_DO_FAILED:
			snprintf(w->failed, sizeof w->failed, "%s", x.text);
			break;
		case AUTH_DO_TOKEN:
			w->tokens++;
			break;
		case AUTH_DO_READ:
			w->reading = true;
			w->which = x.which;
			break;
		case AUTH_DO_COMMAND:
			w->command = true;
			break;
		case AUTH_DO_LOG:
			w->logs++;
			if (x.circuit)
				w->circuit = x.circuit;
			break;
		default:
			break;
		}
	}
}

static void start(struct world *w)
{
	auth_start(w->a, w->now, w->wall);
	run(w);
}

static enum auth_verdict challenge(struct world *w, uint64_t op, int status, const char *www)
{
	enum auth_verdict v = auth_on_challenge(w->a, op, auth_generation(w->a), status, www ? span_str(www) : SPAN_NONE,
	                                        SPAN_NONE, w->now, w->wall);

	run(w);
	return v;
}

static void answer_full(struct world *w, int status, const char *body, const char *location, const char *nonce)
{
	struct auth_answer ans = { .ok = status > 0, .status = status, .detail = "connection refused", .body = span_str(body) };

	assert_true(w->http);
	w->http = false;
	if (location)
		ans.location = span_str(location);
	if (nonce)
		ans.dpop_nonce = span_str(nonce);
	auth_on_http(w->a, w->token, &ans, w->now, w->wall);
	run(w);
}

static void answer(struct world *w, int status, const char *body)
{
	answer_full(w, status, body, NULL, NULL);
}

static void pass(struct world *w, int64_t ms)
{
	w->now += ms;
	w->wall += ms / 1000;
	auth_on_time(w->a, w->now, w->wall);
	run(w);
}

/* A network that stays broken: the three retries fail, too. */
static void answer_broken(struct world *w)
{
	int i;

	for (i = 0; i < 3; i++) {
		answer(w, 0, "");
		assert_false(w->http);
		pass(w, auth_deadline(w->a) - w->now);
	}
	answer(w, 0, "");
}

static void expect(struct world *w, const char *url)
{
	assert_true(w->http);
	assert_string_equal(w->url, url);
}

static bool form_has(const char *form, const char *pair)
{
	const char *p = strstr(form, pair);
	size_t n = strlen(pair);

	return p && (p == form || p[-1] == '&' || p[-1] == '?') && (p[n] == '\0' || p[n] == '&');
}

static void redirect(struct world *w, const char *rest)
{
	char query[1024];

	snprintf(query, sizeof query, "state=%s&%s", w->state, rest);
	auth_on_redirect(w->a, span_str(query), w->now, w->wall);
	run(w);
}

/* From a 401 to the browser. */
static void to_person(struct world *w, const char *meta)
{
	assert_int_equal(challenge(w, 1, 401, NULL), AUTH_PARK);
	expect(w, "https://h/.well-known/oauth-protected-resource/mcp");
	answer(w, 200, PRM);
	expect(w, "https://as/.well-known/oauth-authorization-server");
	answer(w, 200, meta);
	if (w->http) {
		expect(w, "https://as/register");
		answer(w, 201, REGISTERED);
	}
	assert_true(w->listening);
	assert_true(auth_waits_for_person(w->a));
}

static void sign_in(struct world *w)
{
	to_person(w, META);
	redirect(w, "code=c1");
	expect(w, "https://as/token");
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
}

static struct world *signed_in(void)
{
	struct world *w = world_new(NULL);

	start(w);
	sign_in(w);
	return w;
}

/* Both documents of the usual servers, which are asked for again. */
static void answer_metadata(struct world *w)
{
	answer(w, 200, PRM);
	answer(w, 200, META);
}

static void assert_header(struct world *w, const char *want)
{
	struct buf b;

	buf_init(&b, 4096);
	if (want) {
		assert_int_equal(auth_header(w->a, &b), 0);
		assert_true(span_is(buf_span(&b), want));
	} else {
		assert_int_equal(auth_header(w->a, &b), -1);
	}
	buf_fini(&b);
}

/* ---- the way it should go ------------------------------------------------------------- */

static void a_401_leads_to_a_token(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	assert_int_equal(auth_phase(w->a), AUTH_OFF);
	assert_header(w, NULL);
	to_person(w, META);
	assert_int_equal(auth_phase(w->a), AUTH_WORKING);
	assert_true(form_has(w->browse, "response_type=code"));
	assert_true(form_has(w->browse, "client_id=cid"));
	assert_true(form_has(w->browse, "resource=https%3A%2F%2Fh%2Fmcp"));
	assert_true(form_has(w->browse, "scope=a%20b"));
	assert_true(form_has(w->browse, "code_challenge_method=S256"));
	assert_true(form_has(w->browse, "redirect_uri=http%3A%2F%2F127.0.0.1%3A5000%2Foauth%2Fcallback"));
	redirect(w, "code=c%201");
	expect(w, "https://as/token");
	assert_true(form_has(w->body, "grant_type=authorization_code"));
	assert_true(form_has(w->body, "code=c%201"));
	assert_true(form_has(w->body, "client_id=cid"));
	assert_true(form_has(w->body, "resource=https%3A%2F%2Fh%2Fmcp"));
	assert_non_null(strstr(w->body, "code_verifier="));
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_header(w, "Authorization: Bearer AT1");
	assert_false(w->listening);
	assert_true(w->unlisten_ok);
	assert_false(w->locked);
	assert_int_equal(w->tokens, 1);
	assert_string_equal(w->kept.issuer, "https://as");
	assert_string_equal(w->kept.scope, "a b");
	world_free(w);
}

static void a_registration_says_native_and_keeps_the_users_members(void **state)
{
	struct auth_config c = { .registration = SPAN_LIT("{\"client_name\":\"mine\",\"redirect_uris\":[\"http://evil/\"],\"tos_uri\":\"https://x\"}") };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer_metadata(w);
	expect(w, "https://as/register");
	assert_non_null(strstr(w->body, "\"application_type\":\"native\""));
	assert_non_null(strstr(w->body, "\"refresh_token\""));
	assert_non_null(strstr(w->body, "\"token_endpoint_auth_method\":\"none\""));
	assert_non_null(strstr(w->body, "\"client_name\":\"mine\""));
	assert_null(strstr(w->body, "tests"));
	assert_null(strstr(w->body, "evil"));
	assert_non_null(strstr(w->body, "\"redirect_uris\":[\"http://127.0.0.1:5000/oauth/callback\"]"));
	assert_non_null(strstr(w->body, "\"tos_uri\":\"https://x\""));
	assert_non_null(strstr(w->headers, "Content-Type: application/json"));
	world_free(w);
}

static void the_users_prompt_is_the_only_one(void **state)
{
	static const char meta[] = META_BEGIN ",\"registration_endpoint\":\"https://as/register\",\"scopes_supported\":[\"offline_access\"]}";
	struct auth_config c = { 0 };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	to_person(w, meta);
	assert_true(form_has(w->browse, "prompt=consent"));
	world_free(w);
	c.authorize_params = SPAN_LIT("x=prompt&prompt=login");
	w = world_new(&c);
	start(w);
	to_person(w, meta);
	assert_true(form_has(w->browse, "scope=a%20b%20offline_access"));
	assert_true(form_has(w->browse, "prompt=login"));
	assert_false(form_has(w->browse, "prompt=consent")); /* none may be given twice (RFC 6749, 3.1) */
	world_free(w);
}

static void identities_are_taken_in_the_specified_order(void **state)
{
	static const char cimd[] = META_BEGIN ",\"client_id_metadata_document_supported\":true,\"registration_endpoint\":\"https://as/register\"}";
	struct auth_config given = { .client_id = "given", .client_metadata_url = "https://c/m.json" };
	struct auth_config by_url = { .client_metadata_url = "https://c/m.json" };
	struct world *w = world_new(&given);

	(void)state;
	start(w);
	to_person(w, cimd);
	assert_true(form_has(w->browse, "client_id=given"));
	world_free(w);
	w = world_new(&by_url);
	start(w);
	to_person(w, cimd);
	assert_true(form_has(w->browse, "client_id=https%3A%2F%2Fc%2Fm.json"));
	world_free(w);
	w = world_new(&by_url); /* the server does not take such documents */
	start(w);
	to_person(w, META);
	assert_true(form_has(w->browse, "client_id=cid"));
	world_free(w);
}

static void without_any_way_to_register_the_message_says_what_to_do(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, META_BEGIN "}");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "--client-id"));
	assert_false(w->listening);
	assert_false(w->locked);
	world_free(w);
}

/* ---- discovery ---------------------------------------------------------------------------- */

static void the_challenge_says_where_the_metadata_is(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, "Bearer resource_metadata=\"https://h/meta\", scope=\"only\"");
	expect(w, "https://h/meta");
	answer(w, 404, "");
	expect(w, "https://h/.well-known/oauth-protected-resource/mcp");
	answer(w, 404, "no");
	expect(w, "https://h/.well-known/oauth-protected-resource");
	answer(w, 200, PRM);
	answer(w, 404, "");
	expect(w, "https://as/.well-known/openid-configuration");
	answer(w, 200, META);
	answer(w, 201, REGISTERED);
	assert_true(form_has(w->browse, "scope=only"));
	world_free(w);
}

static void a_dangerous_hint_is_passed_over(void **state)
{
	static const char *const hints[] = { "Bearer resource_metadata=\"file:///etc/passwd\"", "Bearer resource_metadata=\"http://h/x\"",
		"Bearer resource_metadata=\"https://169.254.169.254/x\"", "Bearer resource_metadata=\"https://127.0.0.1/x\"" };
	struct auth_config c = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof hints / sizeof *hints; i++) {
		struct world *w = world_new(&c);

		start(w);
		challenge(w, 1, 401, hints[i]);
		expect(w, "https://h/.well-known/oauth-protected-resource/mcp");
		world_free(w);
	}
}

static void metadata_of_another_resource_ends_the_flow(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, "{\"resource\":\"https://evil/mcp\",\"authorization_servers\":[\"https://as\"]}");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "another resource"));
	assert_false(w->http);
	world_free(w);
}

static void an_authorization_server_at_a_bad_address_is_not_asked(void **state)
{
	static const char *const rows[] = { "http://as", "https://10.0.0.1", "file:///x", "https://localhost", "nonsense", "https://u:p@as" };
	struct auth_config c = { 0 };
	char prm[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w = world_new(&c);

		start(w);
		challenge(w, 1, 401, NULL);
		snprintf(prm, sizeof prm, "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"%s\"]}", rows[i]);
		answer(w, 200, prm);
		assert_false(w->http);
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		world_free(w);
	}
}

static void endpoints_at_bad_addresses_are_not_used(void **state)
{
	static const char *const metas[] = {
		"{\"issuer\":\"https://as\",\"authorization_endpoint\":\"file:///x\",\"token_endpoint\":\"https://as/t\",\"code_challenge_methods_supported\":[\"S256\"]}",
		"{\"issuer\":\"https://as\",\"authorization_endpoint\":\"https://as/a\",\"token_endpoint\":\"http://as/t\",\"code_challenge_methods_supported\":[\"S256\"]}",
		"{\"issuer\":\"https://as\",\"authorization_endpoint\":\"javascript:x\",\"token_endpoint\":\"https://as/t\",\"code_challenge_methods_supported\":[\"S256\"]}",
	};
	struct auth_config c = { .client_id = "x" };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof metas / sizeof *metas; i++) {
		struct world *w = world_new(&c);

		start(w);
		challenge(w, 1, 401, NULL);
		answer(w, 200, PRM);
		answer(w, 200, metas[i]);
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		assert_int_equal(w->browses, 0);
		world_free(w);
	}
}

static void without_pkce_nothing_is_sent(void **state)
{
	struct auth_config c = { .client_id = "x" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"authorization_endpoint\":\"https://as/a\",\"token_endpoint\":\"https://as/t\"}");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "PKCE"));
	assert_int_equal(w->browses, 0);
	world_free(w);
}

static void an_issuer_that_is_another_is_not_used(void **state)
{
	struct auth_config c = { .client_id = "x" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as/\",\"token_endpoint\":\"https://as/t\"}");
	expect(w, "https://as/.well-known/openid-configuration");
	answer(w, 404, "");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "another issuer"));
	world_free(w);
}

static void a_server_without_resource_metadata_is_one_of_2025_03_26(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 404, "");
	answer(w, 404, "");
	expect(w, "https://h/.well-known/oauth-authorization-server");
	answer(w, 404, "");
	expect(w, "https://h/.well-known/openid-configuration");
	answer(w, 200, "<html>every path is my front page</html>");
	expect(w, "https://h/register");
	answer(w, 200, REGISTERED);
	assert_int_equal(strncmp(w->browse, "https://h/authorize?", 20), 0);
	assert_null(strstr(w->browse, "resource="));
	assert_null(strstr(w->browse, "scope="));
	redirect(w, "code=c");
	expect(w, "https://h/token");
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

/* From a 401 to where nothing was found: the default place of an endpoint. */
static void to_default(struct world *w, const char *endpoint)
{
	int i;

	start(w);
	challenge(w, 1, 401, NULL);
	for (i = 0; i < 4; i++)
		answer(w, i % 2 ? 401 : 404, "");
	expect(w, endpoint);
}

static void a_server_with_nothing_to_sign_in_to_most_likely_takes_a_key(void **state)
{
	static const struct { int status; const char *body; bool there; } rows[] = {
		{ 404, "", false },
		{ 404, "{\"error\":\"not_found\"}", false },
		{ 405, "", false },
		{ 401, "", false },
		{ 401, "{\"error\":\"invalid_token\"}", false },
		{ 401, "{\"error\":\"Missing API key\"}", false },
		{ 400, "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32600,\"message\":\"Invalid Request\"}}", false },
		{ 200, "<html>every path is my front page</html>", false },
		{ 400, "{\"error\":\"invalid_redirect_uri\"}", true },
		{ 403, "{\"error\":\"access_denied\"}", true },
		{ 401, "{\"error\":\"invalid_client\"}", true },
	};
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w = world_new(NULL);

		to_default(w, "https://h/register");
		answer(w, rows[i].status, rows[i].body);
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		assert_true((strstr(w->failed, "wants credentials and publishes no OAuth metadata") == NULL) == rows[i].there);
		assert_true((strstr(w->failed, "--header 'Authorization: Bearer ...'") == NULL) == rows[i].there);
		assert_true((strstr(w->failed, "refused to register this client") != NULL) == rows[i].there);
		assert_non_null(strstr(w->failed, "--client-id"));
		world_free(w);
	}
}

static void client_credentials_for_a_server_without_tokens_are_no_use(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "app" };
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		struct world *w = world_new(&c);

		to_default(w, "https://h/token");
		answer(w, i ? 401 : 404, i ? "{\"error\":\"invalid_client\"}" : "");
		assert_non_null(strstr(w->failed, i ? "refused to give a token (invalid_client)" : "--token-endpoint"));
		assert_true((strstr(w->failed, "publishes no OAuth metadata") == NULL) == (i == 1));
		world_free(w);
	}
}

static void a_published_server_that_does_not_register_is_one_all_the_same(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, META);
	expect(w, "https://as/register");
	answer(w, 404, "");
	assert_non_null(strstr(w->failed, "refused to register this client (HTTP 404)"));
	world_free(w);
}

static void network_trouble_is_no_absence(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 404, "");
	expect(w, "https://h/.well-known/oauth-protected-resource");
	answer_broken(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "connection refused"));
	assert_int_equal(w->browses, 0);
	world_free(w);
}

static void a_short_outage_is_waited_out(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 0, "");
	assert_false(w->http);
	pass(w, auth_deadline(w->a) - w->now);
	expect(w, "https://h/.well-known/oauth-protected-resource/mcp");
	answer(w, 503, "");
	pass(w, auth_deadline(w->a) - w->now);
	answer(w, 200, PRM);
	expect(w, "https://as/.well-known/oauth-authorization-server");
	world_free(w);
}

static void redirects_of_metadata_are_few_and_safe(void **state)
{
	struct world *w = world_new(NULL);
	int i;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	for (i = 0; i < 3; i++) {
		answer_full(w, 302, "", "/self", NULL);
		expect(w, "https://h/self");
	}
	answer_full(w, 302, "", "/self", NULL);
	expect(w, "https://h/.well-known/oauth-protected-resource");
	answer_full(w, 301, "", "http://h/plain", NULL);
	expect(w, "https://h/.well-known/oauth-authorization-server"); /* passed over, not followed */
	answer_full(w, 302, "", "https://192.168.0.1/x", NULL);
	expect(w, "https://h/.well-known/openid-configuration");
	world_free(w);
}

/* ---- the redirect --------------------------------------------------------------------------- */

static void the_issuer_table_is_kept(void **state)
{
	static const struct { bool advertised; const char *iss; bool ok; } rows[] = {
		{ true, "&iss=https%3A%2F%2Fas", true },
		{ true, "", false },
		{ true, "&iss=https%3A%2F%2Fas%2F", false },
		{ true, "&iss=https%3A%2F%2FAS", false },
		{ true, "&iss=https%3A%2F%2Fas&iss=https%3A%2F%2Fas", false },
		{ false, "&iss=https%3A%2F%2Fas", true },
		{ false, "&iss=https%3A%2F%2Fevil", false },
		{ false, "", true },
		{ false, "&iss=", false },
	};
	struct auth_config c = { 0 };
	char rest[256];
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w = world_new(&c);

		start(w);
		to_person(w, rows[i].advertised ?
			META_BEGIN ",\"registration_endpoint\":\"https://as/register\",\"authorization_response_iss_parameter_supported\":true}" : META);
		snprintf(rest, sizeof rest, "code=c%s", rows[i].iss);
		redirect(w, rest);
		if (w->http != rows[i].ok)
			fail_msg("row %zu", i);
		world_free(w);
	}
}

static void errors_of_a_false_issuer_are_not_repeated(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	to_person(w, META);
	redirect(w, "error=call_this_number&iss=https%3A%2F%2Fevil");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_null(strstr(w->failed, "call_this_number"));
	world_free(w);
}

static void odd_redirects_end_clearly_or_are_ignored(void **state)
{
	struct auth_config c = { 0 };
	struct world *w = world_new(&c);
	char two[256];

	(void)state;
	start(w);
	to_person(w, META);
	auth_on_redirect(w->a, SPAN_LIT("state=wrong&code=c"), w->now, w->wall);
	run(w);
	auth_on_redirect(w->a, SPAN_LIT("code=c"), w->now, w->wall);
	snprintf(two, sizeof two, "state=%s&state=%s&code=c", w->state, w->state);
	auth_on_redirect(w->a, span_str(two), w->now, w->wall);
	run(w);
	assert_false(w->http);
	assert_true(auth_waits_for_person(w->a)); /* the true one may still come */
	redirect(w, "error=access_denied");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "access_denied"));
	redirect(w, "code=late");
	assert_false(w->http);
	world_free(w);
	w = world_new(&c);
	start(w);
	to_person(w, META);
	redirect(w, "nothing=here");
	assert_non_null(strstr(w->failed, "no usable code"));
	world_free(w);
}

static void a_person_who_never_comes_is_not_waited_for_for_ever(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	to_person(w, META);
	assert_int_equal(auth_deadline(w->a), w->now + 300000);
	pass(w, 300000);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_false(w->listening);
	assert_false(w->locked);
	/* A later 401 may start again, with the registration made before. */
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	assert_int_equal(w->browses, 2);
	world_free(w);
}

static void token_answers_that_are_none_fail_the_flow(void **state)
{
	static const char *const rows[] = { "<html>", "{\"access_token\":\"x\"}", "{\"access_token\":\"x\",\"token_type\":\"mac\"}",
		"{\"access_token\":\"x\",\"token_type\":\"Bearer\",\"expires_in\":-5}", "{\"access_token\":\"x\",\"token_type\":\"DPoP\"}",
		"{\"error\":\"invalid_grant\"}" };
	struct auth_config c = { 0 };
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w = world_new(&c);

		start(w);
		to_person(w, META);
		redirect(w, "code=c");
		answer(w, strstr(rows[i], "error") ? 400 : 200, rows[i]);
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		assert_true(w->failed[0] != '\0');
		assert_header(w, NULL);
		world_free(w);
	}
}

/* ---- afterwards ------------------------------------------------------------------------------- */

static void a_token_is_refreshed_before_it_expires_and_rotation_is_kept(void **state)
{
	struct world *w = signed_in();

	(void)state;
	assert_int_equal(auth_deadline(w->a), w->now + 3540000);
	pass(w, 3540000);
	expect(w, "https://as/token"); /* no metadata is read for this */
	assert_true(w->locked);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_true(form_has(w->body, "grant_type=refresh_token"));
	assert_true(form_has(w->body, "refresh_token=RT1"));
	assert_true(form_has(w->body, "resource=https%3A%2F%2Fh%2Fmcp"));
	answer(w, 200, "{\"access_token\":\"AT2\",\"token_type\":\"bearer\",\"expires_in\":3600,\"refresh_token\":\"RT2\"}");
	assert_header(w, "Authorization: Bearer AT2");
	assert_true(span_is(secret_reveal(w->kept.refresh), "RT2"));
	assert_false(w->locked);
	pass(w, 3540000);
	answer(w, 200, "{\"access_token\":\"AT3\",\"token_type\":\"bearer\",\"expires_in\":3600}"); /* no rotation this time */
	assert_true(span_is(secret_reveal(w->kept.refresh), "RT2"));
	world_free(w);
}

static void a_refresh_that_fails_ahead_of_time_harms_nobody(void **state)
{
	struct world *w = signed_in();

	(void)state;
	pass(w, 3540000);
	answer_broken(w);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_string_equal(w->failed, "");
	assert_header(w, "Authorization: Bearer AT1");
	assert_true(auth_deadline(w->a) > w->now);
	pass(w, auth_deadline(w->a) - w->now);
	expect(w, "https://as/token"); /* again, later */
	world_free(w);
}

static void a_401_refreshes_after_reading_the_metadata_again(void **state)
{
	struct world *w = signed_in();

	(void)state;
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	expect(w, "https://as/token");
	assert_true(form_has(w->body, "grant_type=refresh_token"));
	answer(w, 200, "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\"}");
	assert_int_equal(w->browses, 1);
	/* Refused again in the same operation: this time a person is asked. */
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	assert_int_equal(w->browses, 2);
	world_free(w);
}

static void an_operation_of_days_refreshes_each_time(void **state)
{
	struct world *w = signed_in();
	char token[128];
	int i;

	(void)state;
	for (i = 2; i < 8; i++) {
		assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
		answer(w, 200, PRM);
		answer(w, 200, META);
		assert_true(form_has(w->body, "refresh_token=RT1"));
		snprintf(token, sizeof token, "{\"access_token\":\"AT%d\",\"token_type\":\"Bearer\"}", i);
		answer(w, 200, token);
		pass(w, 86400000);
	}
	assert_int_equal(w->browses, 1);
	world_free(w);
}

static void a_refused_token_of_another_process_is_refreshed(void **state)
{
	struct world *w = signed_in();

	(void)state;
	/* Another process has renewed it, and then the server has forgotten them all. */
	auth_set_secret(&w->kept.access, SPAN_LIT("AT2"));
	auth_set_secret(&w->kept.refresh, SPAN_LIT("RT2"));
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	assert_header(w, "Authorization: Bearer AT2");
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	expect(w, "https://as/token");
	assert_true(form_has(w->body, "refresh_token=RT2"));
	answer(w, 200, "{\"access_token\":\"AT3\",\"token_type\":\"Bearer\"}");
	assert_int_equal(w->browses, 1);
	/* But what it has got itself is its last word. */
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	assert_int_equal(w->browses, 2);
	world_free(w);
}

static void network_trouble_during_a_refresh_is_no_sign_out(void **state)
{
	struct world *w = signed_in();

	(void)state;
	challenge(w, 2, 401, NULL);
	answer_metadata(w);
	answer_broken(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_int_equal(w->browses, 1);
	assert_true(w->kept.refresh != NULL);
	world_free(w);
}

static void trouble_told_as_an_oauth_error_is_no_sign_out(void **state)
{
	static const struct { int status; const char *error; } cases[] = {
		{ 503, "temporarily_unavailable" }, { 500, "server_error" }, { 502, "invalid_client" }, { 503, "invalid_grant" },
		{ 429, "too_many_requests" }, { 400, "temporarily_unavailable" }, { 400, "server_error" }, { 400, "slow_down" },
	};
	struct auth_config c = { 0 };
	struct world *w;
	char body[128];
	size_t i;
	int ahead, n;

	(void)state;
	for (i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
		ahead = (int)(i % 2);
		snprintf(body, sizeof body, "{\"error\":\"%s\"}", cases[i / 2].error);
		w = world_new(&c);
		start(w);
		sign_in(w);
		if (ahead) {
			pass(w, 3540000);
		} else {
			challenge(w, 2, 401, NULL);
			answer(w, 200, PRM);
			answer(w, 200, META);
		}
		for (n = 0; w->locked; n++) {
			assert_true(n < 8);
			expect(w, "https://as/token");
			answer(w, cases[i / 2].status, body);
			if (w->locked && !w->http)
				pass(w, auth_deadline(w->a) - w->now);
		}
		assert_int_equal(auth_phase(w->a), ahead ? AUTH_HAVE : AUTH_GAVE_UP);
		assert_int_equal(w->browses, 1);
		assert_true(w->kept.refresh != NULL);
		/* And the next one brings the token. */
		if (ahead) {
			pass(w, auth_deadline(w->a) - w->now);
		} else {
			challenge(w, 3, 401, NULL);
			answer(w, 200, PRM);
			answer(w, 200, META);
		}
		assert_true(form_has(w->body, "refresh_token=RT1"));
		answer(w, 200, "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\"}");
		assert_header(w, "Authorization: Bearer AT2");
		world_free(w);
	}
}

static void a_refresh_that_is_refused_for_another_reason_asks_a_person_and_forgets_nothing(void **state)
{
	struct auth_config c = { .client_id = "x" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	sign_in(w);
	challenge(w, 2, 401, NULL);
	answer_metadata(w);
	answer(w, 401, "{\"error\":\"invalid_client\"}");
	assert_int_equal(w->browses, 2);
	assert_true(w->kept.refresh != NULL);
	auth_abort(w->a, "test");
	run(w);
	challenge(w, 3, 401, NULL);
	answer_metadata(w);
	assert_true(form_has(w->body, "refresh_token=RT1"));
	answer(w, 400, "{\"detail\":\"no such token\"}"); /* or says it in words of its own */
	assert_int_equal(w->browses, 3);
	assert_true(w->kept.refresh != NULL);
	world_free(w);
}

static void invalid_grant_after_a_lost_race_is_no_sign_out(void **state)
{
	struct world *w = signed_in();

	(void)state;
	pass(w, 3540000);
	expect(w, "https://as/token");
	/* Meanwhile another machine's process has put a newer one into the store. */
	auth_set_secret(&w->kept.access, SPAN_LIT("AT9"));
	auth_set_secret(&w->kept.refresh, SPAN_LIT("RT9"));
	w->kept.expires = w->wall + 3600;
	answer(w, 400, "{\"error\":\"invalid_grant\"}");
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_header(w, "Authorization: Bearer AT9");
	assert_int_equal(w->browses, 1);
	world_free(w);
}

static void a_refused_refresh_token_leads_to_a_sign_in_when_one_is_needed(void **state)
{
	struct world *w = signed_in();

	(void)state;
	challenge(w, 2, 401, NULL);
	answer_metadata(w);
	answer(w, 400, "{\"error\":\"invalid_grant\"}");
	assert_int_equal(w->browses, 2);
	assert_null(w->kept.refresh);
	world_free(w);
}

static void what_could_not_be_kept_is_not_given_up_for_what_is(void **state)
{
	struct world *w = signed_in();

	(void)state;
	w->disk_full = true;
	pass(w, 3540000);
	answer(w, 200, "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"refresh_token\":\"RT2\"}");
	assert_true(span_is(secret_reveal(w->kept.refresh), "RT1"));
	/* The old token in the store is nobody's renewal. */
	challenge(w, 2, 401, NULL);
	answer_metadata(w);
	assert_true(form_has(w->body, "refresh_token=RT2"));
	w->disk_full = false;
	answer(w, 200, "{\"access_token\":\"AT3\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"refresh_token\":\"RT3\"}");
	assert_true(span_is(secret_reveal(w->kept.refresh), "RT3"));
	w->disk_full = true;
	pass(w, 3540000);
	answer(w, 200, "{\"access_token\":\"AT4\",\"token_type\":\"Bearer\",\"expires_in\":3600,\"refresh_token\":\"RT4\"}");
	/* But what another process has got since is. */
	w->wall += 10;
	auth_set_secret(&w->kept.access, SPAN_LIT("AT9"));
	auth_set_secret(&w->kept.refresh, SPAN_LIT("RT9"));
	w->kept.obtained = w->wall;
	w->kept.expires = w->wall + 3600;
	challenge(w, 3, 401, NULL);
	assert_header(w, "Authorization: Bearer AT9");
	world_free(w);
}

static void whoever_waited_for_the_lock_takes_what_the_other_got(void **state)
{
	struct world *w = signed_in();

	(void)state;
	w->lock_busy = true;
	pass(w, 3540000);
	assert_false(w->http);
	auth_set_secret(&w->kept.access, SPAN_LIT("AT2"));
	w->kept.obtained = w->wall;
	w->kept.expires = w->wall + 3600;
	auth_on_locked(w->a, &w->kept, w->now, w->wall);
	run(w);
	assert_false(w->http); /* exactly one refresh, and it was the other's */
	assert_header(w, "Authorization: Bearer AT2");
	world_free(w);
}

static void a_second_401_waits_for_the_same_flow(void **state)
{
	struct world *w = world_new(NULL);
	uint64_t token;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	token = w->token;
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	assert_int_equal(w->token, token);
	world_free(w);
}

static void a_late_401_of_an_old_token_is_just_sent_again(void **state)
{
	struct world *w = signed_in();

	(void)state;
	assert_int_equal(auth_on_challenge(w->a, 5, auth_generation(w->a) - 1, 401, SPAN_NONE, SPAN_NONE, w->now, w->wall), AUTH_AGAIN);
	run(w);
	assert_false(w->http);
	world_free(w);
}

static void more_scope_is_the_union_and_three_times_at_most(void **state)
{
	static const char more[] = "Bearer error=\"insufficient_scope\", scope=\"w\"";
	struct world *w = signed_in();
	int i;

	(void)state;
	for (i = 0; i < 3; i++) {
		assert_int_equal(challenge(w, 7, 403, more), AUTH_PARK);
		answer(w, 200, PRM);
		answer(w, 200, META);
		assert_true(form_has(w->browse, "scope=a%20b%20w"));
		redirect(w, "code=c");
		answer(w, 200, TOKEN);
		pass(w, 60000);
	}
	assert_int_equal(challenge(w, 7, 403, more), AUTH_REFUSE);
	assert_int_equal(w->browses, 4);
	assert_int_equal(challenge(w, 8, 403, "Bearer error=\"invalid_token\""), AUTH_PASS);
	assert_int_equal(challenge(w, 8, 403, NULL), AUTH_PASS);
	world_free(w);
}

static void a_refresh_without_the_id_token_that_is_sent_leads_to_a_sign_in(void **state)
{
	struct auth_config c = { .use_id_token = true };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	to_person(w, META);
	redirect(w, "code=c1");
	answer(w, 200, "{\"access_token\":\"AT1\",\"id_token\":\"ID1\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT1\"}");
	assert_header(w, "Authorization: Bearer ID1");
	challenge(w, 2, 401, NULL);
	answer_metadata(w);
	assert_true(form_has(w->body, "refresh_token=RT1"));
	answer(w, 200, "{\"access_token\":\"AT2\",\"token_type\":\"Bearer\",\"refresh_token\":\"RT2\"}");
	assert_int_equal(w->browses, 2);
	redirect(w, "code=c2");
	answer(w, 200, "{\"access_token\":\"AT3\",\"id_token\":\"ID3\",\"token_type\":\"Bearer\"}");
	assert_header(w, "Authorization: Bearer ID3");
	world_free(w);
}

static void scopes_that_the_server_has_given_up_are_not_asked_for_for_ever(void **state)
{
	static const char prm[] = "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as\"],\"scopes_supported\":[\"new\"]}";
	struct world *w = signed_in();

	(void)state;
	auth_set_secret(&w->kept.refresh, SPAN_NONE);
	auth_set_secret(&w->kept.access, SPAN_LIT("old"));
	w->kept.expires = w->wall;
	challenge(w, 2, 401, NULL);
	answer(w, 200, prm);
	answer(w, 200, META);
	assert_true(form_has(w->browse, "scope=a%20b%20new")); /* what was granted may be needed still */
	redirect(w, "error=invalid_scope");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	challenge(w, 3, 401, NULL);
	answer(w, 200, prm);
	answer(w, 200, META);
	assert_true(form_has(w->browse, "scope=new"));
	redirect(w, "code=c");
	answer(w, 200, TOKEN);
	/* A scope more that is not to be had costs none of the others. */
	challenge(w, 4, 403, "Bearer error=insufficient_scope, scope=x");
	answer(w, 200, prm);
	answer(w, 200, META);
	assert_true(form_has(w->browse, "scope=new%20x"));
	redirect(w, "error=invalid_scope");
	assert_string_equal(w->kept.scope, "new");
	world_free(w);
}

static void the_brakes_hold_whatever_the_server_says(void **state)
{
	struct world *w = signed_in();
	uint64_t op;
	int opened;

	(void)state;
	for (op = 10; op < 200; op++) {
		if (challenge(w, op, 403, "Bearer error=insufficient_scope, scope=z") == AUTH_PARK && w->http) {
			answer(w, 200, PRM);
			answer(w, 200, META);
			if (w->listening) {
				redirect(w, "code=c");
				answer(w, 200, TOKEN);
			}
		}
		pass(w, 300); /* 57 s in all */
	}
	opened = w->browses;
	assert_true(opened >= 3 && opened <= 7);
	world_free(w);
}

static void another_authorization_server_gets_nothing_of_the_old_one(void **state)
{
	struct world *w = signed_in();

	(void)state;
	challenge(w, 2, 401, NULL);
	answer(w, 200, "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as2\"]}");
	expect(w, "https://as2/.well-known/oauth-authorization-server");
	answer(w, 200, "{\"issuer\":\"https://as2\",\"authorization_endpoint\":\"https://as2/a\",\"token_endpoint\":\"https://as2/t\","
		"\"registration_endpoint\":\"https://as2/r\",\"code_challenge_methods_supported\":[\"S256\"]}");
	assert_string_equal(w->load_issuer, "https://as2");
	expect(w, "https://as2/r"); /* registered anew; no refresh token was sent */
	assert_null(strstr(w->body, "RT1"));
	answer(w, 201, "{\"client_id\":\"cid2\"}");
	assert_true(form_has(w->browse, "client_id=cid2"));
	redirect(w, "code=c");
	expect(w, "https://as2/t");
	world_free(w);
}

static void a_given_client_id_is_not_carried_to_another_server(void **state)
{
	struct auth_config c = { .client_id = "given" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	sign_in(w);
	challenge(w, 2, 401, NULL);
	answer(w, 200, "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as2\"]}");
	answer(w, 200, "{\"issuer\":\"https://as2\",\"authorization_endpoint\":\"https://as2/a\",\"token_endpoint\":\"https://as2/t\","
		"\"code_challenge_methods_supported\":[\"S256\"]}");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "--client-id"));
	assert_int_equal(w->browses, 1);
	world_free(w);
}

static void a_kept_sign_in_is_there_at_once(void **state)
{
	struct auth_config c = { 0 };
	struct world *w = world_new(&c), *v;

	(void)state;
	start(w);
	sign_in(w);
	v = world_new(&c);
	assert_int_equal(auth_record_copy(&v->kept, &w->kept), 0);
	v->has_kept = true;
	v->wall += 100;
	start(v);
	assert_int_equal(auth_phase(v->a), AUTH_HAVE);
	assert_header(v, "Authorization: Bearer AT1");
	world_free(v);
	v = world_new(&c); /* and one that has expired is renewed without a word */
	assert_int_equal(auth_record_copy(&v->kept, &w->kept), 0);
	v->has_kept = true;
	v->wall += 100000;
	start(v);
	assert_int_equal(auth_phase(v->a), AUTH_WORKING);
	pass(v, 1);
	expect(v, "https://as/token");
	world_free(v);
	world_free(w);
}

static void a_person_does_not_wait_for_metadata_without_end(void **state)
{
	struct auth_config c = { 0 };
	struct world *w;
	int i;

	(void)state;
	for (i = 0; i < 2; i++) {
		w = world_new(&c);
		start(w);
		w->lock_busy = true;
		auth_sign_in(w->a, SPAN_NONE, 2000, w->now, w->wall);
		run(w);
		pass(w, 60000); /* for another process's turn */
		assert_int_equal(auth_phase(w->a), AUTH_WORKING);
		auth_on_locked(w->a, NULL, w->now, w->wall);
		run(w);
		if (i == 1)
			answer(w, 200, PRM);
		assert_true(w->http);
		assert_int_equal(auth_deadline(w->a), w->now + 2000);
		pass(w, 1999);
		assert_true(w->http);
		pass(w, 1);
		assert_false(w->http);
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		assert_non_null(strstr(w->failed, i == 0 ? "the server did not say in time" : "the authorization server did not say in time"));
		assert_int_equal(auth_deadline(w->a), 0);
		world_free(w);
	}
}

static void a_person_has_time_once_it_is_known_where_to_sign_in(void **state)
{
	struct world *w = world_new(NULL);

	(void)state;
	start(w);
	auth_sign_in(w->a, SPAN_NONE, 2000, w->now, w->wall);
	run(w);
	answer_metadata(w);
	pass(w, 3000);
	expect(w, "https://as/register");
	answer(w, 201, REGISTERED);
	pass(w, 200000);
	assert_true(auth_waits_for_person(w->a));
	world_free(w);
}

static void what_another_process_forgot_is_not_renewed(void **state)
{
	struct world *w = signed_in();
	int saves;

	(void)state;
	saves = w->saves;
	w->has_kept = false;
	pass(w, auth_deadline(w->a) - w->now);
	assert_false(w->http);
	assert_false(w->locked);
	assert_int_equal(auth_phase(w->a), AUTH_OFF);
	assert_header(w, NULL);
	assert_int_equal(auth_deadline(w->a), 0);
	assert_int_equal(w->saves, saves);
	sign_in(w);
	assert_int_equal(w->browses, 2);
	world_free(w);
}

static void what_another_process_forgot_is_no_way_out_of_a_401(void **state)
{
	struct world *w = signed_in();

	(void)state;
	w->has_kept = false;
	assert_int_equal(challenge(w, 2, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	expect(w, "https://as/register");
	world_free(w);
}

static void what_was_forgotten_during_a_refresh_is_not_kept_when_it_is_refused(void **state)
{
	struct world *w = signed_in();
	int saves;

	(void)state;
	saves = w->saves;
	pass(w, auth_deadline(w->a) - w->now);
	expect(w, "https://as/token");
	w->has_kept = false;
	answer(w, 400, "{\"error\":\"invalid_grant\"}");
	assert_int_equal(auth_phase(w->a), AUTH_OFF);
	assert_int_equal(w->saves, saves);
	assert_false(w->has_kept);
	world_free(w);
}

static void a_sign_in_from_elsewhere_was_not_forgotten(void **state)
{
	struct auth_config c = { 0 };
	struct world *w = world_new(&c), *v = world_new(&c);

	(void)state;
	start(w);
	sign_in(w);
	auth_start(v->a, v->now, v->wall);
	auth_on_loaded(v->a, &w->kept, v->now, v->wall);
	auth_on_saved(v->a, false);
	run(v);
	pass(v, auth_deadline(v->a) - v->now);
	expect(v, "https://as/token");
	assert_true(v->has_kept);
	world_free(v);
	world_free(w);
}

static void a_registered_port_is_taken_again_or_registered_anew(void **state)
{
	struct world *w = signed_in();

	(void)state;
	assert_int_equal(w->kept.redirect_port, 5000);
	challenge(w, 2, 403, "Bearer error=insufficient_scope, scope=x");
	answer_metadata(w);
	assert_false(w->http); /* no registration */
	assert_true(form_has(w->browse, "redirect_uri=http%3A%2F%2F127.0.0.1%3A5000%2Foauth%2Fcallback"));
	auth_abort(w->a, "test");
	run(w);
	w->kept.redirect_port = 4999;
	w->fixed_taken = 4999;
	pass(w, 60000);
	challenge(w, 3, 403, "Bearer error=insufficient_scope, scope=x");
	answer_metadata(w);
	expect(w, "https://as/register");
	assert_non_null(strstr(w->body, "127.0.0.1:5000"));
	world_free(w);
}

static void a_registration_that_may_be_lost_is_made_anew(void **state)
{
	struct world *w = signed_in();
	int i;

	(void)state;
	/* With a refresh token at stake it is kept. */
	challenge(w, 2, 403, "Bearer error=insufficient_scope, scope=x");
	answer_metadata(w);
	assert_true(auth_waits_for_person(w->a));
	pass(w, 300000);
	assert_string_equal(w->kept.client_id, "cid");
	for (i = 0; i < 3; i++) {
		auth_set_secret(&w->kept.refresh, SPAN_NONE);
		pass(w, 60000);
		challenge(w, (uint64_t)i + 3, 401, NULL);
		answer(w, 200, PRM);
		answer(w, 200, META);
		if (i == 1) {
			expect(w, "https://as/register");
			answer(w, 201, REGISTERED);
		}
		assert_true(auth_waits_for_person(w->a));
		if (i == 2) { /* one that was never good is kept: it is the person who is away */
			redirect(w, "code=c");
			answer(w, 200, TOKEN);
		} else {
			pass(w, 300000);
			assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
			assert_true((w->kept.client_id == NULL) == (i == 0));
		}
	}
	auth_set_secret(&w->kept.refresh, SPAN_NONE);
	w->kept.expires = w->wall;
	auth_set_secret(&w->kept.access, SPAN_LIT("old"));
	challenge(w, 9, 401, NULL);
	answer_metadata(w);
	redirect(w, "error=unauthorized_client");
	assert_null(w->kept.client_id);
	world_free(w);
}

static void another_redirect_address_at_the_same_port_is_registered_anew(void **state)
{
	struct auth_config c = { .redirect_port = 5000 };
	struct world *w = world_new(&c), *v;

	(void)state;
	start(w);
	sign_in(w);
	assert_string_equal(w->kept.redirect_uri, "http://127.0.0.1:5000/oauth/callback");
	v = world_new(&c);
	auth_free(v->a);
	c.redirect_path = "/cb";
	c.random_arg = v;
	v->a = auth_new(&c, NULL);
	assert_int_equal(auth_record_copy(&v->kept, &w->kept), 0);
	v->has_kept = true;
	start(v);
	challenge(v, 1, 403, "Bearer error=insufficient_scope, scope=x");
	answer(v, 200, PRM);
	answer(v, 200, META);
	expect(v, "https://as/register");
	assert_non_null(strstr(v->body, "\"http://127.0.0.1:5000/cb\""));
	world_free(v);
	world_free(w);
}

/* ---- without a person ---------------------------------------------------------------------------- */

static void client_credentials_ask_for_a_token_directly(void **state)
{
	struct secret *s = secret_new("se cret", 7);
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", .client_secret = s };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\"}"); /* PKCE is not needed for this */
	expect(w, "https://as/token");
	assert_true(form_has(w->body, "grant_type=client_credentials"));
	assert_true(form_has(w->body, "scope=a%20b"));
	assert_non_null(strstr(w->headers, "Authorization: Basic "));
	answer(w, 200, "{\"access_token\":\"AT1\",\"token_type\":\"Bearer\",\"expires_in\":120}");
	assert_header(w, "Authorization: Bearer AT1");
	assert_int_equal(w->browses, 0);
	pass(w, 60000);
	expect(w, "https://as/token"); /* renewed ahead of time, though there is no refresh token */
	world_free(w);
	secret_free(s);
}

static void a_renewal_without_metadata_authenticates_as_before(void **state)
{
	struct secret *s = secret_new("secret", 6);
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", .client_secret = s };
	struct world *w = world_new(&c);
	int i;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\",\"token_endpoint_auth_methods_supported\":[\"client_secret_post\"]}");
	for (i = 0; i < 3; i++) {
		expect(w, "https://as/token");
		assert_true(form_has(w->body, "client_secret=secret"));
		assert_null(strstr(w->headers, "Authorization:"));
		answer(w, 200, "{\"access_token\":\"AT1\",\"token_type\":\"Bearer\",\"expires_in\":120}");
		pass(w, 60000);
	}
	world_free(w);
	secret_free(s);
}

static void an_id_token_becomes_an_id_jag_becomes_a_token(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_ENTERPRISE, .client_id = "app", .idp_client_id = "at-idp",
		.idp_token_endpoint = "https://idp/token" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer_metadata(w);
	assert_true(w->reading && w->which == AUTH_FILE_ID_TOKEN);
	auth_on_value(w->a, SPAN_LIT("ID.TOKEN.X\n"), NULL, w->now, w->wall);
	run(w);
	expect(w, "https://idp/token");
	assert_true(form_has(w->body, "subject_token=ID.TOKEN.X"));
	assert_true(form_has(w->body, "audience=https%3A%2F%2Fas"));
	assert_true(form_has(w->body, "client_id=at-idp"));
	answer(w, 200, "{\"access_token\":\"JAG\",\"issued_token_type\":\"urn:ietf:params:oauth:token-type:id-jag\",\"token_type\":\"N_A\"}");
	expect(w, "https://as/token");
	assert_true(form_has(w->body, "assertion=JAG"));
	assert_true(form_has(w->body, "client_id=app"));
	assert_null(strstr(w->body, "ID.TOKEN"));
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

static void an_assertion_is_presented_once(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_ASSERTION };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer_metadata(w);
	assert_true(w->reading && w->which == AUTH_FILE_ASSERTION);
	auth_on_value(w->a, SPAN_LIT("J.W.T"), NULL, w->now, w->wall);
	run(w);
	assert_true(form_has(w->body, "assertion=J.W.T"));
	answer(w, 500, "");
	assert_false(w->http);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	world_free(w);
}

static void a_command_gives_tokens_and_is_asked_again_on_a_401(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_COMMAND };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	assert_true(w->command);
	auth_on_value(w->a, SPAN_LIT(" Bearer TT1 \n"), NULL, w->now, w->wall);
	run(w);
	assert_header(w, "Authorization: Bearer TT1");
	w->command = false;
	assert_int_equal(challenge(w, 1, 401, NULL), AUTH_PARK);
	assert_true(w->command);
	auth_on_value(w->a, SPAN_LIT("TT2"), NULL, w->now, w->wall);
	run(w);
	assert_header(w, "Authorization: Bearer TT2");
	challenge(w, 2, 401, NULL);
	auth_on_value(w->a, SPAN_LIT("TT2"), NULL, w->now, w->wall);
	run(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "same one"));
	challenge(w, 3, 401, NULL);
	auth_on_value(w->a, SPAN_LIT("two words"), NULL, w->now, w->wall);
	run(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	world_free(w);
}

static void a_device_code_is_shown_and_polled_for(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_DEVICE, .client_id = "dev" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\",\"device_authorization_endpoint\":\"https://as/device\"}");
	expect(w, "https://as/device");
	answer(w, 200, "{\"device_code\":\"DC\",\"user_code\":\"AB-CD\",\"verification_uri\":\"https://as/go\",\"interval\":2,\"expires_in\":600}");
	assert_non_null(strstr(w->shown, "https://as/go"));
	assert_non_null(strstr(w->shown, "AB-CD"));
	assert_null(strstr(w->shown, "DC"));
	pass(w, 2000);
	expect(w, "https://as/token");
	answer(w, 400, "{\"error\":\"authorization_pending\"}");
	pass(w, 2000);
	answer(w, 400, "{\"error\":\"slow_down\"}");
	assert_int_equal(auth_deadline(w->a), w->now + 7000);
	pass(w, 7000);
	answer(w, 0, "");
	assert_int_equal(auth_deadline(w->a), w->now + 14000);
	pass(w, 14000);
	answer(w, 429, "<html>slower</html>");
	assert_int_equal(auth_deadline(w->a), w->now + 28000);
	pass(w, 28000);
	assert_true(form_has(w->body, "device_code=DC"));
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

static void a_device_code_may_come_with_the_older_name_of_its_address(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_DEVICE, .client_id = "dev" };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\",\"device_authorization_endpoint\":\"https://as/device\"}");
	answer(w, 200, "{\"device_code\":\"DC\",\"user_code\":\"AB-CD\",\"verification_url\":\"https://as/go\",\"interval\":2,\"expires_in\":600}");
	assert_non_null(strstr(w->shown, "https://as/go"));
	world_free(w);
}

static void every_request_may_be_told_a_new_nonce(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_DEVICE, .client_id = "dev", .dpop = true };
	struct world *w = world_new(&c);
	char nonce[8];
	int i;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\",\"device_authorization_endpoint\":\"https://as/device\"}");
	answer(w, 200, "{\"device_code\":\"DC\",\"user_code\":\"AB-CD\",\"verification_uri\":\"https://as/go\",\"interval\":2,\"expires_in\":600}");
	for (i = 0; i < 3; i++) { /* they grow old while the person types */
		pass(w, 2000);
		snprintf(nonce, sizeof nonce, "n-%d", i);
		answer_full(w, 400, "{\"error\":\"use_dpop_nonce\"}", NULL, nonce);
		expect(w, "https://as/token");
		answer(w, 400, "{\"error\":\"authorization_pending\"}");
		assert_int_equal(auth_phase(w->a), AUTH_WORKING);
	}
	pass(w, 2000);
	answer_full(w, 400, "{\"error\":\"use_dpop_nonce\"}", NULL, "x");
	answer_full(w, 400, "{\"error\":\"use_dpop_nonce\"}", NULL, "y"); /* it takes none */
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	world_free(w);
}

static void dpop_proves_the_key_and_follows_nonces(void **state)
{
	struct auth_config c = { .client_id = "x", .dpop = true };
	struct world *w = world_new(&c);
	struct buf b;

	(void)state;
	start(w);
	to_person(w, META);
	assert_non_null(strstr(w->browse, "dpop_jkt="));
	redirect(w, "code=c");
	assert_non_null(strstr(w->headers, "DPoP: ey"));
	answer_full(w, 400, "{\"error\":\"use_dpop_nonce\"}", NULL, "n-1");
	expect(w, "https://as/token");
	answer_full(w, 200, "{\"access_token\":\"AT1\",\"token_type\":\"DPoP\"}", NULL, "n-2");
	assert_header(w, "Authorization: DPoP AT1");
	buf_init(&b, 8192);
	assert_int_equal(auth_dpop(w->a, "POST", "https://h/mcp", w->wall, &b), 1);
	buf_fini(&b);
	assert_int_equal(auth_on_challenge(w->a, 9, auth_generation(w->a), 401, SPAN_LIT("DPoP error=\"use_dpop_nonce\""), SPAN_LIT("rs"),
	                                   w->now, w->wall), AUTH_AGAIN);
	run(w);
	assert_true(w->kept.dpop_alg >= 0);
	world_free(w);
	w = world_new(&c); /* a server that ignores it is refused: that is what was asked for */
	start(w);
	to_person(w, META);
	redirect(w, "code=c");
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	world_free(w);
}

/* ---- servers that are away -------------------------------------------------------------------------- */

#define LIMITS .breaker = { .threshold = 5, .hold_ms = 25000 }, .max_retries = -1, \
	.backoff = { .initial_ms = 1000, .max_ms = 30000, .multiplier = 2, .jitter = JITTER_NONE }
#define META_TOKENS "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://tokens/t\"}"

/* A flow that has its metadata and now asks for a token; 0 retries when it is a probe. */
static void to_token(struct world *w, uint64_t op)
{
	assert_int_equal(challenge(w, op, 401, NULL), AUTH_PARK);
	expect(w, "https://h/.well-known/oauth-protected-resource/mcp");
	answer(w, 200, PRM);
	expect(w, "https://as/.well-known/oauth-authorization-server");
	answer(w, 200, META_TOKENS);
	expect(w, "https://tokens/t");
}

/* The same answer again and again; 0 is none at all. */
static void answer_until_given_up(struct world *w, int status)
{
	int i;

	for (i = 0; auth_phase(w->a) == AUTH_WORKING; i++) {
		assert_true(i < 20);
		answer(w, status, "");
		if (!w->http && auth_phase(w->a) == AUTH_WORKING)
			pass(w, auth_deadline(w->a) - w->now);
	}
}

/* Tokens are refused with 503 until the breaker has opened. Gives the next operation. */
static uint64_t lose_tokens(struct world *w)
{
	int64_t since = w->now;
	uint64_t op;

	for (op = 1; !w->circuit || strcmp(w->circuit, "open") != 0; op++) {
		assert_true(op < 20);
		to_token(w, op);
		answer_until_given_up(w, 503);
		assert_non_null(strstr(w->failed, "503"));
		if (w->now - since <= 25000)
			assert_null(w->circuit);
		pass(w, 10000);
	}
	assert_true(w->now - since > 25000);
	w->now -= 10000; /* the moment it opened */
	w->wall -= 10;
	return op;
}

static void assert_turned_away(struct world *w, uint64_t op)
{
	uint64_t asked = w->token;

	challenge(w, op, 401, NULL);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_false(w->http);
	assert_true(w->token == asked);
	assert_non_null(strstr(w->failed, "unreachable for a while"));
	assert_false(w->locked);
}

static void assert_shown(const struct world *w, enum breaker_state state, const char *name, const char *origin, int64_t next_in_ms)
{
	const struct breaker_view *v = auth_breaker(w->a);

	assert_int_equal(v->state, state);
	assert_string_equal(v->name, name);
	assert_string_equal(v->origin, origin);
	assert_int_equal(v->next_at, next_in_ms ? w->now + next_in_ms : 0);
}

static void assert_awaits(const struct world *w, const char *server, int64_t for_ms)
{
	int64_t until = w->now;
	const char *s = auth_awaits(w->a, &until);

	assert_string_equal(s ? s : "", server);
	assert_int_equal(until, w->now + for_ms);
}

static void what_a_wanted_token_waits_for_is_told(void **state)
{
	struct auth_config c = { LIMITS };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	assert_awaits(w, "", 0);
	challenge(w, 1, 401, NULL);
	assert_awaits(w, "", 0); /* the metadata of the MCP server itself */
	answer(w, 200, PRM);
	assert_awaits(w, "authorization server", 15000);
	w->now += 4000;
	assert_awaits(w, "authorization server", 11000);
	answer(w, 0, "");
	assert_awaits(w, "authorization server", auth_deadline(w->a) - w->now);
	pass(w, auth_deadline(w->a) - w->now);
	answer(w, 200, META);
	expect(w, "https://as/register");
	assert_awaits(w, "authorization server", 30000);
	answer(w, 201, REGISTERED);
	assert_awaits(w, "", 0); /* a person */
	redirect(w, "code=c1");
	expect(w, "https://as/token");
	assert_awaits(w, "authorization server", 30000);
	answer(w, 200, TOKEN);
	assert_awaits(w, "", 0);
	pass(w, auth_deadline(w->a) - w->now); /* nobody waits for a token that is renewed ahead of time */
	assert_true(w->http);
	assert_awaits(w, "", 0);
	world_free(w);
}

static void a_long_outage_fails_fast_until_one_probe_succeeds(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	uint64_t op;
	int i;

	(void)state;
	start(w);
	assert_shown(w, BREAKER_CLOSED, "", "", 0);
	op = lose_tokens(w);
	assert_true(auth_pause(w->a, w->now) > 0 && auth_pause(w->a, w->now) <= 30000);
	assert_shown(w, BREAKER_OPEN, "authorization server", "https://as", auth_pause(w->a, w->now));
	for (i = 0; i < 50; i++) /* more than the brake would allow */
		assert_turned_away(w, op++);
	pass(w, auth_pause(w->a, w->now));
	assert_int_equal(auth_pause(w->a, w->now), 0);
	to_token(w, op++);
	assert_shown(w, BREAKER_HALF_OPEN, "authorization server", "https://as", 0);
	w->circuit = NULL;
	answer(w, 503, "");
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP); /* a probe is not repeated */
	assert_string_equal(w->circuit, "open");
	assert_int_equal(auth_pause(w->a, w->now), 30000);
	assert_shown(w, BREAKER_OPEN, "authorization server", "https://as", 30000);
	assert_turned_away(w, op++);
	pass(w, 30000);
	to_token(w, op++);
	answer(w, 200, TOKEN);
	assert_string_equal(w->circuit, "closed");
	assert_shown(w, BREAKER_CLOSED, "", "", 0);
	assert_int_equal(auth_breaker(w->a)->changes, 3);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	to_token(w, op++);
	answer(w, 503, ""); /* and a short outage is waited out again */
	assert_int_equal(auth_phase(w->a), AUTH_WORKING);
	world_free(w);
}

static void a_wanted_token_waits_out_an_outage_of_the_token_endpoint(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	int64_t since = w->now;

	(void)state;
	start(w);
	to_token(w, 1);
	while (w->now - since < 20000) {
		answer(w, 0, "");
		assert_int_equal(auth_phase(w->a), AUTH_WORKING);
		assert_true(auth_deadline(w->a) > w->now && auth_deadline(w->a) <= since + 24000);
		pass(w, auth_deadline(w->a) - w->now);
	}
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_string_equal(w->failed, "");
	assert_null(w->circuit);
	to_token(w, 2);
	since = w->now;
	answer_until_given_up(w, 503);
	assert_int_equal(w->now, since + 24000); /* before whoever waits has gone */
	world_free(w);
}

static void a_wanted_token_waits_out_an_outage_of_the_metadata(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	int64_t since = w->now;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	while (w->now - since < 10000) {
		answer(w, 0, "");
		assert_int_equal(auth_phase(w->a), AUTH_WORKING);
		if (!w->http)
			pass(w, auth_deadline(w->a) - w->now);
	}
	expect(w, "https://as/.well-known/oauth-authorization-server");
	answer(w, 200, META_TOKENS);
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

/* The first place is out of reach, the second says 404: the server has come back
 * between the two, or is half back for good. */
static void a_server_that_comes_back_in_the_middle_of_a_round_is_asked_again(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	int64_t since = w->now;
	int rounds = 0;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	for (; w->now - since < 15000; rounds += w->http) {
		bool first = strstr(w->url, "oauth-authorization-server") != NULL;

		answer(w, first ? 0 : 404, "");
		assert_int_equal(auth_phase(w->a), AUTH_WORKING);
		if (!w->http)
			pass(w, auth_deadline(w->a) - w->now);
	}
	assert_true(rounds < 25); /* not a hot loop */
	while (!strstr(w->url, "oauth-authorization-server")) {
		answer(w, 404, "");
		if (!w->http)
			pass(w, auth_deadline(w->a) - w->now);
	}
	answer(w, 200, META_TOKENS);
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

static void a_retry_after_is_kept_within_the_hold_time(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct auth_answer told = { .ok = true, .status = 503, .retry_after = SPAN_LIT("10") };
	struct world *w = world_new(&c);

	(void)state;
	start(w);
	to_token(w, 1);
	w->http = false;
	auth_on_http(w->a, w->token, &told, w->now, w->wall);
	run(w);
	assert_true(auth_deadline(w->a) >= w->now + 10000 && auth_deadline(w->a) <= w->now + 11000);
	pass(w, auth_deadline(w->a) - w->now);
	expect(w, "https://tokens/t");
	told.retry_after = SPAN_LIT("60");
	w->http = false;
	auth_on_http(w->a, w->token, &told, w->now, w->wall);
	run(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	world_free(w);
}

/* The one sign-in that was told is over, and the breaker is closed. */
static void a_retry_after_counts_for_the_next_sign_in_too(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct auth_answer told = { .ok = true, .status = 429, .retry_after = SPAN_LIT("60") };
	struct world *w = world_new(&c);
	int64_t since;

	(void)state;
	start(w);
	to_token(w, 1);
	since = w->now;
	w->http = false;
	auth_on_http(w->a, w->token, &told, w->now, w->wall);
	run(w);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_null(w->circuit);
	pass(w, 5000);
	assert_int_equal(auth_pause(w->a, w->now), 55000);
	challenge(w, 2, 401, NULL);
	answer(w, 200, PRM);
	assert_false(w->http);
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_non_null(strstr(w->failed, "the authorization server has said not to be asked for a while"));
	pass(w, 35000);
	challenge(w, 3, 401, NULL);
	answer(w, 200, PRM);
	assert_false(w->http);
	assert_int_equal(auth_phase(w->a), AUTH_WORKING);
	pass(w, auth_deadline(w->a) - w->now);
	assert_true(w->now >= since + 60000 && w->now <= since + 66000);
	expect(w, "https://as/.well-known/oauth-authorization-server");
	answer(w, 200, META_TOKENS);
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_int_equal(auth_pause(w->a, w->now), 0);
	world_free(w);
}

static void refusals_do_not_count_and_the_breaker_can_be_turned_off(void **state)
{
	static const struct { int status, threshold; } rows[] = { { 400, 5 }, { 401, 5 }, { 404, 5 }, { 503, 0 }, { 0, 0 } };
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	uint64_t op;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct world *w;

		c.breaker.threshold = rows[i].threshold;
		w = world_new(&c);
		start(w);
		for (op = 1; op < 30; op++) {
			to_token(w, op);
			if (rows[i].status >= 400 && rows[i].status < 500)
				answer(w, rows[i].status, "{\"error\":\"invalid_client\"}");
			else
				answer_until_given_up(w, rows[i].status);
			assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
			pass(w, 10000);
		}
		assert_null(w->circuit);
		world_free(w);
	}
}

static void an_answer_beyond_use_is_no_outage(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct auth_answer unfit = { .unfit = true, .detail = "response too large" };
	struct world *w = world_new(&c);
	uint64_t op;
	int i;

	(void)state;
	start(w);
	for (op = 1; op < 10; op++) {
		to_token(w, op);
		for (i = 0; i < 4; i++) { /* tried again a little, and not held */
			assert_true(w->http);
			w->http = false;
			auth_on_http(w->a, w->token, &unfit, w->now, w->wall);
			run(w);
			pass(w, auth_deadline(w->a) ? auth_deadline(w->a) - w->now : 20000);
		}
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	}
	assert_null(w->circuit);
	world_free(w);
}

static void the_cooldown_and_retry_after_lengthen_the_pause(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct auth_answer told = { .ok = true, .status = 503, .retry_after = SPAN_LIT("100") };
	struct world *w;
	int64_t pause;
	uint64_t op;

	(void)state;
	c.breaker.cooldown_ms = 200000;
	w = world_new(&c);
	start(w);
	lose_tokens(w);
	assert_int_equal(auth_pause(w->a, w->now), 200000);
	world_free(w);
	c.breaker.cooldown_ms = 0;
	w = world_new(&c);
	start(w);
	op = lose_tokens(w);
	pass(w, 30000);
	to_token(w, op);
	w->http = false;
	auth_on_http(w->a, w->token, &told, w->now, w->wall);
	run(w);
	pause = auth_pause(w->a, w->now);
	assert_true(pause >= 100000 && pause <= 105000);
	world_free(w);
}

static void used_up_retries_open_the_breaker_of_a_young_outage(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w;

	(void)state;
	c.max_retries = 2;
	w = world_new(&c);
	start(w);
	to_token(w, 1);
	answer_broken(w);
	assert_null(w->circuit); /* four in a row */
	to_token(w, 2);
	answer(w, 0, "");
	assert_string_equal(w->circuit, "open");
	world_free(w);
}

static void a_code_is_presented_though_the_server_was_away(void **state)
{
	struct auth_config c = { .client_id = "x", LIMITS };
	struct world *w = world_new(&c);
	uint64_t op;

	(void)state;
	start(w);
	for (op = 1; !w->circuit; op++) { /* each code is lost on the way */
		assert_true(op < 10);
		challenge(w, op, 401, NULL);
		answer(w, 200, PRM);
		answer(w, 200, META);
		redirect(w, "code=c");
		answer(w, 500, "");
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		pass(w, 31000);
	}
	assert_string_equal(w->circuit, "open");
	assert_int_equal(challenge(w, op, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	assert_true(auth_waits_for_person(w->a));
	pass(w, 300000); /* nobody came: nothing is known, the next one is the probe */
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_int_equal(challenge(w, op + 1, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	redirect(w, "code=c");
	expect(w, "https://as/token");
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_string_equal(w->circuit, "closed");
	world_free(w);
}

static void a_device_code_is_polled_for_while_the_server_is_away(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_DEVICE, .client_id = "dev", LIMITS };
	struct world *w = world_new(&c);
	int polls;

	(void)state;
	start(w);
	challenge(w, 1, 401, NULL);
	answer(w, 200, PRM);
	answer(w, 200, "{\"issuer\":\"https://as\",\"token_endpoint\":\"https://as/token\",\"device_authorization_endpoint\":\"https://as/device\"}");
	answer(w, 200, "{\"device_code\":\"DC\",\"user_code\":\"AB-CD\",\"verification_uri\":\"https://as/go\",\"interval\":2,\"expires_in\":1800}");
	for (polls = 0; polls < 12; polls++) {
		pass(w, auth_deadline(w->a) - w->now);
		expect(w, "https://as/token");
		answer(w, 0, "");
	}
	assert_string_equal(w->circuit, "open");
	assert_true(auth_waits_for_person(w->a));
	pass(w, auth_deadline(w->a) - w->now);
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	assert_string_equal(w->circuit, "closed");
	world_free(w);
}

/* From a 401 to the identity provider. */
static void to_provider(struct world *w, uint64_t op)
{
	assert_int_equal(challenge(w, op, 401, NULL), AUTH_PARK);
	answer_metadata(w);
	auth_on_value(w->a, SPAN_LIT("ID.TOKEN.X"), NULL, w->now, w->wall);
	run(w);
	expect(w, "https://as/idp");
}

static void the_identity_provider_has_a_breaker_of_its_own(void **state)
{
	static const char jag[] = "{\"access_token\":\"JAG\",\"issued_token_type\":\"urn:ietf:params:oauth:token-type:id-jag\",\"token_type\":\"N_A\"}";
	struct auth_config c = { .mode = AUTH_MODE_ENTERPRISE, .client_id = "app", .idp_client_id = "at-idp",
		.idp_token_endpoint = "https://as/idp", LIMITS }; /* even at the same origin */
	struct world *w = world_new(&c);
	uint64_t op;

	(void)state;
	start(w);
	for (op = 1; !w->circuit; op++) {
		assert_true(op < 10);
		to_provider(w, op);
		answer(w, 502, "");
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		pass(w, w->circuit ? 0 : 10000);
	}
	assert_turned_away(w, op++);
	assert_non_null(strstr(w->failed, "the identity provider"));
	assert_string_equal(auth_breaker(w->a)->name, "identity provider");
	pass(w, auth_pause(w->a, w->now));
	to_provider(w, op++);
	answer(w, 200, jag);
	assert_string_equal(w->circuit, "closed");
	answer(w, 502, ""); /* one failure of the other */
	assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
	assert_int_equal(auth_pause(w->a, w->now), 0);
	world_free(w);
}

static void a_refresh_ahead_of_time_waits_for_the_pause(void **state)
{
	struct auth_config c = { LIMITS };
	struct world *w;
	uint64_t op;

	(void)state;
	c.breaker.cooldown_ms = 200000;
	w = world_new(&c);
	start(w);
	sign_in(w);
	pass(w, 3400000);
	for (op = 2; !w->circuit; op++) { /* the token is refused from here on, though not expired */
		assert_true(op < 10);
		assert_int_equal(challenge(w, op, 401, NULL), AUTH_PARK);
		answer(w, 200, PRM);
		answer(w, 200, META);
		answer_until_given_up(w, 503);
		pass(w, w->circuit ? 0 : 12000);
	}
	assert_true(auth_deadline(w->a) < w->now + auth_pause(w->a, w->now));
	pass(w, auth_deadline(w->a) - w->now);
	assert_false(w->http);
	assert_int_equal(auth_deadline(w->a), w->now + auth_pause(w->a, w->now));
	pass(w, auth_deadline(w->a) - w->now);
	expect(w, "https://as/token");
	answer(w, 200, TOKEN);
	assert_string_equal(w->circuit, "closed");
	world_free(w);
}

static void a_server_that_moved_is_found_after_the_pause(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	uint64_t op;

	(void)state;
	start(w);
	op = lose_tokens(w);
	assert_turned_away(w, op++);
	pass(w, auth_pause(w->a, w->now));
	assert_int_equal(challenge(w, op++, 401, NULL), AUTH_PARK);
	answer(w, 200, "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as2\"]}");
	answer(w, 200, "{\"issuer\":\"https://as2\",\"token_endpoint\":\"https://as2/t\"}");
	expect(w, "https://as2/t");
	answer(w, 503, ""); /* a young outage of its own */
	pass(w, auth_deadline(w->a) - w->now);
	answer(w, 200, TOKEN);
	assert_int_equal(auth_phase(w->a), AUTH_HAVE);
	world_free(w);
}

static void servers_without_number_are_not_remembered_without_end(void **state)
{
	struct auth_config c = { .mode = AUTH_MODE_CLIENT, .client_id = "svc", LIMITS };
	struct world *w = world_new(&c);
	char prm[256];
	int i, n;

	(void)state;
	start(w);
	n = (int)lose_tokens(w);
	pass(w, auth_pause(w->a, w->now));
	for (i = 0; i < 100; i++) {
		assert_int_equal(challenge(w, (uint64_t)(n + i), 401, NULL), AUTH_PARK);
		snprintf(prm, sizeof prm, "{\"resource\":\"https://h/mcp\",\"authorization_servers\":[\"https://as-%d\"]}", i);
		answer(w, 200, prm);
		answer(w, 404, "");
		answer(w, 404, "");
		assert_int_equal(auth_phase(w->a), AUTH_GAVE_UP);
		pass(w, 10000);
	}
	w->circuit = NULL;
	to_token(w, (uint64_t)(n + i));
	answer(w, 503, "");
	assert_string_equal(w->circuit, "open"); /* the one that was open is not what was forgotten */
	world_free(w);
}

/* ---- anything at all -------------------------------------------------------------------------------- */

/* Facts in any order: the machine neither crashes nor leaves a deadline that
 * has passed nor holds a lock when it is idle. */
static void invent_facts(struct auth_config *c, uint32_t x)
{
	static const char *const bodies[] = { PRM, META, REGISTERED, TOKEN, "", "<html>", "{\"error\":\"invalid_grant\"}",
		"{\"error\":\"invalid_client\"}", "{\"resource\":\"https://h\",\"authorization_servers\":[\"https://as2\"]}",
		"{\"issuer\":\"https://as2\",\"authorization_endpoint\":\"https://as2/a\",\"token_endpoint\":\"https://as2/t\",\"registration_endpoint\":\"https://as2/r\",\"code_challenge_methods_supported\":[\"S256\"]}" };
	static const char *const heads[] = { NULL, "Bearer", "Bearer error=insufficient_scope, scope=q", "Bearer error=invalid_token" };
	static const int statuses[] = { 200, 200, 200, 201, 400, 401, 404, 500, 302, 0 };
	struct world *w = world_new(c);
	int i;

	start(w);
	for (i = 0; i < 60000; i++) {
		x = x * 1664525u + 1013904223u;
		switch ((x >> 24) % 8) {
		case 0:
			challenge(w, (x >> 8) % 5, (x >> 16) % 3 ? 401 : 403, heads[(x >> 12) % 4]);
			break;
		case 1:
		case 2:
		case 3:
			if (w->http)
				answer(w, statuses[(x >> 8) % 10], bodies[(x >> 12) % 10]);
			break;
		case 4:
			redirect(w, (x >> 8) % 3 ? "code=c" : (x >> 9) % 2 ? "error=e" : "iss=q");
			break;
		case 5:
			if (auth_deadline(w->a))
				pass(w, auth_deadline(w->a) > w->now ? auth_deadline(w->a) - w->now : 0);
			break;
		case 6:
			pass(w, (x >> 8) % 100000);
			break;
		default:
			w->lock_busy = (x >> 8) % 4 == 0;
			if (!w->lock_busy) {
				auth_on_locked(w->a, w->has_kept && (x >> 12) % 2 ? &w->kept : NULL, w->now, w->wall);
				run(w);
			}
		}
		if (auth_phase(w->a) == AUTH_HAVE)
			assert_non_null(auth_record(w->a)->access);
	}
	assert_true(w->tokens > 0);
	world_free(w);
}

static void invented_facts_in_any_order_do_no_harm(void **state)
{
	struct auth_config c = { 0 }, limits = { LIMITS };

	(void)state;
	invent_facts(&c, 12345);
	limits.breaker.threshold = 2; /* so that it opens now and then */
	limits.breaker.hold_ms = 3000;
	limits.backoff.jitter = JITTER_FULL;
	invent_facts(&limits, 54321);
}

static int start_sodium(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_401_leads_to_a_token),
		cmocka_unit_test(a_registration_says_native_and_keeps_the_users_members),
		cmocka_unit_test(the_users_prompt_is_the_only_one),
		cmocka_unit_test(identities_are_taken_in_the_specified_order),
		cmocka_unit_test(without_any_way_to_register_the_message_says_what_to_do),
		cmocka_unit_test(the_challenge_says_where_the_metadata_is),
		cmocka_unit_test(a_dangerous_hint_is_passed_over),
		cmocka_unit_test(metadata_of_another_resource_ends_the_flow),
		cmocka_unit_test(an_authorization_server_at_a_bad_address_is_not_asked),
		cmocka_unit_test(endpoints_at_bad_addresses_are_not_used),
		cmocka_unit_test(without_pkce_nothing_is_sent),
		cmocka_unit_test(an_issuer_that_is_another_is_not_used),
		cmocka_unit_test(a_server_without_resource_metadata_is_one_of_2025_03_26),
		cmocka_unit_test(a_server_with_nothing_to_sign_in_to_most_likely_takes_a_key),
		cmocka_unit_test(client_credentials_for_a_server_without_tokens_are_no_use),
		cmocka_unit_test(a_published_server_that_does_not_register_is_one_all_the_same),
		cmocka_unit_test(network_trouble_is_no_absence),
		cmocka_unit_test(a_short_outage_is_waited_out),
		cmocka_unit_test(redirects_of_metadata_are_few_and_safe),
		cmocka_unit_test(the_issuer_table_is_kept),
		cmocka_unit_test(errors_of_a_false_issuer_are_not_repeated),
		cmocka_unit_test(odd_redirects_end_clearly_or_are_ignored),
		cmocka_unit_test(a_person_who_never_comes_is_not_waited_for_for_ever),
		cmocka_unit_test(token_answers_that_are_none_fail_the_flow),
		cmocka_unit_test(a_token_is_refreshed_before_it_expires_and_rotation_is_kept),
		cmocka_unit_test(a_refresh_that_fails_ahead_of_time_harms_nobody),
		cmocka_unit_test(a_401_refreshes_after_reading_the_metadata_again),
		cmocka_unit_test(an_operation_of_days_refreshes_each_time),
		cmocka_unit_test(a_refused_token_of_another_process_is_refreshed),
		cmocka_unit_test(network_trouble_during_a_refresh_is_no_sign_out),
		cmocka_unit_test(trouble_told_as_an_oauth_error_is_no_sign_out),
		cmocka_unit_test(a_refresh_that_is_refused_for_another_reason_asks_a_person_and_forgets_nothing),
		cmocka_unit_test(invalid_grant_after_a_lost_race_is_no_sign_out),
		cmocka_unit_test(a_refused_refresh_token_leads_to_a_sign_in_when_one_is_needed),
		cmocka_unit_test(what_could_not_be_kept_is_not_given_up_for_what_is),
		cmocka_unit_test(whoever_waited_for_the_lock_takes_what_the_other_got),
		cmocka_unit_test(a_second_401_waits_for_the_same_flow),
		cmocka_unit_test(a_late_401_of_an_old_token_is_just_sent_again),
		cmocka_unit_test(more_scope_is_the_union_and_three_times_at_most),
		cmocka_unit_test(a_refresh_without_the_id_token_that_is_sent_leads_to_a_sign_in),
		cmocka_unit_test(scopes_that_the_server_has_given_up_are_not_asked_for_for_ever),
		cmocka_unit_test(the_brakes_hold_whatever_the_server_says),
		cmocka_unit_test(another_authorization_server_gets_nothing_of_the_old_one),
		cmocka_unit_test(a_given_client_id_is_not_carried_to_another_server),
		cmocka_unit_test(a_kept_sign_in_is_there_at_once),
		cmocka_unit_test(a_person_does_not_wait_for_metadata_without_end),
		cmocka_unit_test(a_person_has_time_once_it_is_known_where_to_sign_in),
		cmocka_unit_test(what_another_process_forgot_is_not_renewed),
		cmocka_unit_test(what_another_process_forgot_is_no_way_out_of_a_401),
		cmocka_unit_test(what_was_forgotten_during_a_refresh_is_not_kept_when_it_is_refused),
		cmocka_unit_test(a_sign_in_from_elsewhere_was_not_forgotten),
		cmocka_unit_test(a_registered_port_is_taken_again_or_registered_anew),
		cmocka_unit_test(a_registration_that_may_be_lost_is_made_anew),
		cmocka_unit_test(another_redirect_address_at_the_same_port_is_registered_anew),
		cmocka_unit_test(client_credentials_ask_for_a_token_directly),
		cmocka_unit_test(a_renewal_without_metadata_authenticates_as_before),
		cmocka_unit_test(an_id_token_becomes_an_id_jag_becomes_a_token),
		cmocka_unit_test(an_assertion_is_presented_once),
		cmocka_unit_test(a_command_gives_tokens_and_is_asked_again_on_a_401),
		cmocka_unit_test(a_device_code_is_shown_and_polled_for),
		cmocka_unit_test(a_device_code_may_come_with_the_older_name_of_its_address),
		cmocka_unit_test(every_request_may_be_told_a_new_nonce),
		cmocka_unit_test(dpop_proves_the_key_and_follows_nonces),
		cmocka_unit_test(what_a_wanted_token_waits_for_is_told),
		cmocka_unit_test(a_long_outage_fails_fast_until_one_probe_succeeds),
		cmocka_unit_test(a_wanted_token_waits_out_an_outage_of_the_token_endpoint),
		cmocka_unit_test(a_wanted_token_waits_out_an_outage_of_the_metadata),
		cmocka_unit_test(a_server_that_comes_back_in_the_middle_of_a_round_is_asked_again),
		cmocka_unit_test(a_retry_after_is_kept_within_the_hold_time),
		cmocka_unit_test(a_retry_after_counts_for_the_next_sign_in_too),
		cmocka_unit_test(refusals_do_not_count_and_the_breaker_can_be_turned_off),
		cmocka_unit_test(an_answer_beyond_use_is_no_outage),
		cmocka_unit_test(the_cooldown_and_retry_after_lengthen_the_pause),
		cmocka_unit_test(used_up_retries_open_the_breaker_of_a_young_outage),
		cmocka_unit_test(a_code_is_presented_though_the_server_was_away),
		cmocka_unit_test(a_device_code_is_polled_for_while_the_server_is_away),
		cmocka_unit_test(the_identity_provider_has_a_breaker_of_its_own),
		cmocka_unit_test(a_refresh_ahead_of_time_waits_for_the_pause),
		cmocka_unit_test(a_server_that_moved_is_found_after_the_pause),
		cmocka_unit_test(servers_without_number_are_not_remembered_without_end),
		cmocka_unit_test(invented_facts_in_any_order_do_no_harm),
	};

	return cmocka_run_group_tests(tests, start_sodium, NULL);
}
