/* The option parser: what it takes, what it refuses and in which words, and
 * that no secret stays where others can read it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "options_internal.h"

#define WORDS 24
#define NOTHING { NULL }

/* argv in memory of our own, as the kernel gives it: it may be written to. */
struct args { char *v[WORDS + 2]; int n; };

static void args_init(struct args *a, const char *const *words)
{
	a->v[0] = strdup("mcp-holdfast");
	for (a->n = 1; words[a->n - 1]; a->n++) {
		assert_true(a->n <= WORDS);
		a->v[a->n] = strdup(words[a->n - 1]);
	}
	a->v[a->n] = NULL;
}

static void args_fini(struct args *a)
{
	for (int i = 0; i < a->n; i++)
		free(a->v[i]);
}

static int parse(struct options *o, const char *const *words, const char *const *env, struct err *e)
{
	char *envp[WORDS + 1] = { NULL };
	struct args a;
	int r;

	for (int i = 0; env && env[i]; i++)
		envp[i] = (char *)(uintptr_t)env[i];
	args_init(&a, words);
	e->text[0] = '\0';
	r = options_parse(o, a.n, a.v, envp, e);
	options_scrub_argv(a.n, a.v);
	args_fini(&a);
	o->envp = NULL;
	return r;
}

static void assert_runs(struct options *o, const char *const *words, const char *const *env)
{
	struct err e;
	int r = parse(o, words, env, &e);

	if (r != OPTIONS_RUN)
		fail_msg("refused: %s", e.text);
}

#define ARGS(...) ((const char *const[]){ __VA_ARGS__, NULL })
#define URL "https://h.example/mcp"
#define TEN "/a-name-of"
#define LONG_PATH TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN

static const char *header_value(const struct options *o, const char *name)
{
	for (size_t i = 0; i < o->headers.n; i++)
		if (!strcmp(o->headers.v[i].name, name))
			return secret_reveal(o->headers.v[i].value).p;
	return NULL;
}

/* ---- values --------------------------------------------------------------------- */

static void a_duration_is_a_number_with_a_unit(void **state)
{
	static const struct { const char *s; int r; int64_t ms; bool bare; } cases[] = {
		{ "500ms", 0, 500, false }, { "2s", 0, 2000, false }, { "2.5s", 0, 2500, false }, { "5m", 0, 300000, false },
		{ "1h", 0, 3600000, false }, { "0.25h", 0, 900000, false }, { "1500", 0, 1500, true }, { "0", 0, 0, true },
		{ "0s", 0, 0, false }, { "0.0009s", 0, 0, false }, { "1.0000000001s", 0, 1000, false },
		{ "9223372036854775807", 0, INT64_MAX, true },
		{ "9223372036854775808", -1, 0, false }, { "9223372036854775807s", -1, 0, false }, { "99999999999999h", -1, 0, false },
		{ "", -1, 0, false }, { "s", -1, 0, false }, { "-1s", -1, 0, false }, { "+1s", -1, 0, false }, { "1 s", -1, 0, false },
		{ "1S", -1, 0, false }, { "1d", -1, 0, false }, { "1sx", -1, 0, false }, { "1.s", -1, 0, false }, { ".5s", -1, 0, false },
		{ "1e3", -1, 0, false }, { "0x10", -1, 0, false }, { "2.5", -1, 0, false }, { "inf", -1, 0, false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t ms = -7;
		bool bare = false;

		if (value_duration(cases[i].s, &ms, &bare) != cases[i].r)
			fail_msg("%s", cases[i].s);
		if (cases[i].r)
			continue;
		assert_int_equal(ms, cases[i].ms);
		assert_int_equal(bare, cases[i].bare);
	}
}

static void a_size_is_bytes_or_powers_of_1024(void **state)
{
	static const struct { const char *s; int r; int64_t bytes; } cases[] = {
		{ "4096", 0, 4096 }, { "64k", 0, 65536 }, { "64K", 0, 65536 }, { "128M", 0, 134217728 }, { "1g", 0, 1073741824 },
		{ "", -1, 0 }, { "k", -1, 0 }, { "1.5k", -1, 0 }, { "-1", -1, 0 }, { "1kb", -1, 0 }, { "1T", -1, 0 },
		{ "99999999999999999999", -1, 0 }, { "9223372036854775807k", -1, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		int64_t v = 0;

		if (value_size(cases[i].s, &v) != cases[i].r || (!cases[i].r && v != cases[i].bytes))
			fail_msg("%s: %lld", cases[i].s, (long long)v);
	}
}

static void a_rate_has_a_burst_of_one_second_unless_told(void **state)
{
	static const struct { const char *s; int r; double per_s, burst; } cases[] = {
		{ "10/s", 0, 10, 10 }, { "30/m", 0, 0.5, 1 }, { "600/m", 0, 10, 10 }, { "10/s:25", 0, 10, 25 },
		{ "0/s", -1, 0, 0 }, { "10", -1, 0, 0 }, { "10/h", -1, 0, 0 }, { "10/s:", -1, 0, 0 }, { "10/s:0", -1, 0, 0 },
		{ "-1/s", -1, 0, 0 }, { "10/sx", -1, 0, 0 }, { "", -1, 0, 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		double per_s = 0, burst = 0;

		if (value_rate(cases[i].s, &per_s, &burst) != cases[i].r)
			fail_msg("%s", cases[i].s);
		if (!cases[i].r)
			assert_true(per_s > cases[i].per_s - 1e-9 && per_s < cases[i].per_s + 1e-9 && burst > cases[i].burst - 1e-9 && burst < cases[i].burst + 1e-9);
	}
}

static void a_swap_of_neighbours_is_one_step(void **state)
{
	(void)state;
	assert_int_equal(value_distance("abc", 3, "abc"), 0);
	assert_int_equal(value_distance("acb", 3, "abc"), 1);
	assert_int_equal(value_distance("", 0, "abc"), 3);
	assert_int_equal(value_distance("abcd", 4, "abc"), 1);
	assert_int_equal(value_distance("xyz", 3, "abc"), 3);
	assert_int_equal(value_distance("0123456789012345678901234567890123456789012345678901234567890", 61, "abc"), 99);
}

/* ---- the result ------------------------------------------------------------------- */

static void the_defaults_are_the_documented_ones(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL), NULL);
	assert_int_equal(o.core.transport, TRANSPORT_AUTO);
	assert_int_equal(o.core.initial_retry_ms, 1000);
	assert_int_equal(o.core.max_retry_ms, 30000);
	assert_true(o.core.multiplier > 1.99 && o.core.multiplier < 2.01);
	assert_int_equal(o.core.jitter, JITTER_FULL);
	assert_int_equal(o.core.max_retries, -1);
	assert_int_equal(o.core.hold_ms, 25000);
	assert_int_equal(o.core.max_queue, 1024);
	assert_int_equal(o.core.max_in_flight, 100);
	assert_int_equal(o.core.idle_ms, IDLE_AUTO);
	assert_int_equal(o.core.keepalive_ms, 60000);
	assert_int_equal(o.core.probe_after_ms, 15000);
	assert_int_equal(o.core.request_timeout_ms, 600000);
	assert_int_equal(o.core.max_request_ms, 3600000);
	assert_int_equal(o.core.breaker_threshold, 5);
	assert_int_equal(o.core.breaker_cooldown_ms, 0);
	assert_int_equal(o.core.initialize_wait_ms, 5000);
	assert_int_equal(o.core.max_message, 128 * 1024 * 1024);
	assert_true(o.core.trust_annotations && o.core.idempotency_key && o.core.offline_start);
	assert_false(o.core.notify || o.core.tool_errors_protocol || o.core.user_authorization);
	assert_int_equal(o.http.connect_timeout_ms, 10000);
	assert_true(o.http.cookies);
	assert_false(o.http.http2 || o.http.ipv4_only);
	assert_int_equal(o.log.level, LOG_WARN);
	assert_string_equal(o.log.name, "h.example");
	assert_true(o.log_ring && o.auth.browser);
	assert_int_equal(o.auth.timeout_ms, 300000);
	assert_string_equal(o.auth.host, "127.0.0.1");
	assert_string_equal(o.auth.callback_path, "/oauth/callback");
	assert_int_equal(o.warnings.n, 0);
	options_fini(&o);
}

static void every_form_of_an_option_is_understood(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS("--hold-time", "3s", URL, "--max-queue=7", "-vs", "-HA: b", "-H", "C: d", "--header=E: f=g",
		"--max-retries", "-1", "--retry-errors", "-32603,-32000", "--no-offline-start", "--notify=no", "--trust-annotations", "no",
		"--", "3334"), NULL);
	assert_int_equal(o.core.hold_ms, 3000);
	assert_int_equal(o.core.max_queue, 7);
	assert_true(o.silent);
	assert_int_equal(o.log_level, LOG_INFO);
	assert_int_equal(o.log.level, LOG_SILENT);
	assert_string_equal(header_value(&o, "A"), "b");
	assert_string_equal(header_value(&o, "C"), "d");
	assert_string_equal(header_value(&o, "E"), "f=g");
	assert_int_equal(o.core.max_retries, -1);
	assert_int_equal(o.core.nretry_errors, 2);
	assert_int_equal(o.core.retry_errors[0], -32603);
	assert_false(o.core.offline_start || o.core.notify || o.core.trust_annotations);
	assert_int_equal(o.auth.callback_port, 3334);
	assert_true(o.auth.callback_port_fixed);
	options_fini(&o);
}

static void of_a_repeated_scalar_the_last_wins_and_lists_grow(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--hold-time", "1s", "--hold-time", "2s", "--retry-tools", "get_*", "--retry-tools", "list_*",
		"--tool-timeout", "slow_*=1h", "--tool-timeout=a=b=250ms", "--ignore-tool", "delete*", "-H", "x-a: 1", "-H", "X-A: 2"), NULL);
	assert_int_equal(o.core.hold_ms, 2000);
	assert_int_equal(o.core.nretry_tools, 2);
	assert_string_equal(o.core.retry_tools[1], "list_*");
	assert_int_equal(o.core.ntool_timeouts, 2);
	assert_string_equal(o.core.tool_timeouts[1].glob, "a=b");
	assert_int_equal(o.core.tool_timeouts[1].ms, 250);
	assert_int_equal(o.ignore_tools.n, 1);
	assert_int_equal(o.headers.n, 1);
	assert_string_equal(header_value(&o, "x-a"), "2");
	options_fini(&o);
}

static void the_environment_speaks_and_argv_has_the_last_word(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_HOLD_TIME=3s", "MCP_HOLDFAST_MAX_QUEUE=9", "MCP_HOLDFAST_HEADER=X-A: 1\nX-B: ${OWN}\n\n",
		"MCP_HOLDFAST_RETRY_TOOLS=a\nb", "MCP_HOLDFAST_SILENT=yes", "MCP_HOLDFAST_NO_BROWSER=0", "MCP_HOLDFAST_NAME=", "OWN=two",
		"MCP_HOLDFAST_JSON=1", NULL };
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--max-queue", "10", "-H", "x-a: 3", "--retry-tools", "c"), env);
	assert_int_equal(o.core.hold_ms, 3000);
	assert_int_equal(o.core.max_queue, 10);
	assert_string_equal(header_value(&o, "X-A"), "3");
	assert_string_equal(header_value(&o, "X-B"), "two");
	assert_int_equal(o.core.nretry_tools, 3);
	assert_true(o.silent && o.auth.browser);
	assert_string_equal(o.log.name, "h.example");
	assert_int_equal(o.warnings.n, 0);
	options_fini(&o);
}

static void a_misspelt_variable_is_told(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_HOLD_TIMES=3s", NULL };
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL), env);
	assert_int_equal(o.warnings.n, 1);
	assert_non_null(strstr(o.warnings.v[0], "MCP_HOLDFAST_HOLD_TIMES"));
	assert_non_null(strstr(o.warnings.v[0], "--hold-time"));
	options_fini(&o);
}

static void the_url_may_stand_in_the_environment(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_URL=https://user:pass@h.example/mcp", "MCP_HOLDFAST_STORE_KEY=0123456789abcdef", NULL };
	struct options o;
	struct err e;

	(void)state;
	assert_int_equal(parse(&o, (const char *const[])NOTHING, env, &e), OPTIONS_RUN);
	assert_string_equal(o.url.text, "https://h.example/mcp");
	assert_string_equal(header_value(&o, "Authorization"), "Basic dXNlcjpwYXNz");
	assert_non_null(o.auth.store_key);
	assert_int_equal(o.warnings.n, 0);
	options_fini(&o);
}

static void mcp_remotes_argument_lists_can_be_pasted(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS("https://mcp.example/v1/sse", "9696", "--transport", "sse-only", "--debug", "--allow-http", "--enable-proxy",
		"--header", "Authorization:${AUTH}", "--host", "localhost", "--auth-timeout", "60", "--keep-alive", "--ping-interval", "30"),
		ARGS("AUTH=Bearer t0ken"));
	assert_int_equal(o.core.transport, TRANSPORT_SSE);
	assert_int_equal(o.log_level, LOG_DEBUG);
	assert_string_equal(header_value(&o, "Authorization"), "Bearer t0ken");
	assert_true(o.core.user_authorization);
	assert_int_equal(o.auth.timeout_ms, 60000);
	assert_int_equal(o.core.keepalive_ms, 30000);
	assert_int_equal(o.warnings.n, 0);
	options_fini(&o);

	assert_runs(&o, ARGS(URL, "--headers-timeout", "300", "--body-timeout", "0", "--protocol", "legacy", "--resource", "https://r.example/",
		"--use-id-token", "--authorize-param", "prompt=log in", "--authorize-param", "a=b&c", "--auth-success-url", "https://ok.example/"), NULL);
	assert_int_equal(o.core.request_timeout_ms, 300000);
	assert_int_equal(o.core.idle_ms, 0);
	assert_true(o.legacy_only && o.auth.use_id_token);
	assert_string_equal(o.auth.authorize_query, "prompt=log%20in&a=b%26c");
	assert_int_equal(o.warnings.n, 1);
	options_fini(&o);
}

static void a_pasted_connect_timeout_is_told_apart(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--connect-timeout", "120"), NULL);
	assert_int_equal(o.http.connect_timeout_ms, 120);
	assert_int_equal(o.warnings.n, 1);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "--connect-timeout", "2000"), NULL);
	assert_int_equal(o.warnings.n, 0);
	options_fini(&o);
}

static void verbose_is_one_level_more_wherever_it_stands(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_VERBOSE=yes", "MCP_HOLDFAST_LOG_LEVEL=info", NULL };
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL), env);
	assert_int_equal(o.log_level, LOG_DEBUG);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "-v", "--log-level", "error", "-v"), NULL);
	assert_int_equal(o.log.level, LOG_INFO);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "-vvvvv", "--debug"), NULL);
	assert_int_equal(o.log.level, LOG_TRACE);
	options_fini(&o);
}

static void a_flag_that_says_no_is_like_none(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_DEVICE_CODE=yes", "MCP_HOLDFAST_TOKEN_COMMAND_SHELL=no", NULL };
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--client-credentials", "--client-id", "a", "--device-code=no"), env);
	assert_true(o.auth.client_credentials && !o.auth.device_code && !o.auth.token_command_shell);
	options_fini(&o);
}

static void zero_means_none_where_it_is_documented(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--idle-timeout", "0", "--keepalive", "0", "--probe-after", "0", "--request-timeout", "0", "--max-request-time", "2m",
		"--initial-retry-delay", "5", "--max-retries", "0", "--breaker-threshold", "0"), NULL);
	assert_int_equal(o.core.idle_ms, 0);
	assert_int_equal(o.core.keepalive_ms, 0);
	assert_int_equal(o.core.probe_after_ms, 0);
	assert_int_equal(o.core.request_timeout_ms, 120000);
	assert_int_equal(o.core.initial_retry_ms, 5);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "--idle-timeout", "90s", "--idle-timeout", "auto"), NULL);
	assert_int_equal(o.core.idle_ms, IDLE_AUTO);
	options_fini(&o);
}

static void one_delay_alone_moves_the_other(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--initial-retry-delay", "60s"), NULL);
	assert_int_equal(o.core.max_retry_ms, 60000);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "--max-retry-delay", "200ms"), NULL);
	assert_int_equal(o.core.initial_retry_ms, 200);
	options_fini(&o);
}

static void a_quota_counts_requests_or_time_or_both(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "--session-quota", "500,30m", "--rate-limit", "5/s:20"), NULL);
	assert_int_equal(o.core.quota_requests, 500);
	assert_int_equal(o.core.quota_ms, 1800000);
	assert_true(o.core.rate_per_s > 4.9 && o.core.rate_burst > 19.9);
	options_fini(&o);
}

static void commands_take_their_own_arguments(void **state)
{
	static const struct { const char *words[6]; enum command command; const char *target; } cases[] = {
		{ { "status", "--json", "--watch" }, COMMAND_STATUS, NULL },
		{ { "log", "-f", "github" }, COMMAND_LOG, "github" },
		{ { "log" }, COMMAND_LOG, NULL },
		{ { "--json", "doctor", URL, "--wait", "2m", "--ipv4" }, COMMAND_DOCTOR, NULL },
		{ { "login", URL, "3334", "--no-browser" }, COMMAND_LOGIN, NULL },
		{ { "logout", URL }, COMMAND_LOGOUT, NULL },
		{ { "list" }, COMMAND_LIST, NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *words[7] = { NULL };
		struct options o;
		struct err e;

		memcpy(words, cases[i].words, sizeof(cases[i].words));
		if (parse(&o, words, NULL, &e) != OPTIONS_SUBCOMMAND)
			fail_msg("%s: %s", words[0], e.text);
		assert_int_equal(o.command, cases[i].command);
		if (cases[i].target)
			assert_string_equal(o.target, cases[i].target);
		options_fini(&o);
	}
}

static void a_url_of_the_environment_is_refused_by_its_name(void **state)
{
	static const char *const env[][2] = { { "MCP_HOLDFAST_URL=h.example/mcp", NULL }, { "MCP_HOLDFAST_URL=https://a host/", NULL } };
	struct options o;
	struct err e;

	(void)state;
	for (size_t i = 0; i < sizeof(env) / sizeof(*env); i++) {
		assert_int_equal(parse(&o, (const char *const[]){ NULL }, env[i], &e), OPTIONS_BAD);
		assert_non_null(strstr(e.text, "MCP_HOLDFAST_URL"));
		options_fini(&o);
	}
}

static void help_and_version_work_whatever_else_is_wrong(void **state)
{
	const char *env[] = { "MCP_HOLDFAST_HOLD_TIME=nonsense", NULL };
	struct options o;
	struct err e;

	(void)state;
	assert_int_equal(parse(&o, ARGS("--help"), env, &e), OPTIONS_HELP);
	options_fini(&o);
	assert_int_equal(parse(&o, ARGS("nonsense", "-h"), env, &e), OPTIONS_HELP);
	options_fini(&o);
	assert_int_equal(parse(&o, ARGS("--version"), env, &e), OPTIONS_VERSION);
	options_fini(&o);
	assert_int_equal(parse(&o, ARGS("--completion", "zsh"), NULL, &e), OPTIONS_COMPLETION);
	assert_string_equal(o.completion_shell, "zsh");
	options_fini(&o);
}

/* ---- what is refused ------------------------------------------------------------------ */

static void bad_usage_is_refused_in_clear_words(void **state)
{
	static const struct { const char *words[8]; const char *says; } cases[] = {
		{ { NULL }, "no URL" },
		{ { "h.example/mcp" }, "https://" },
		{ { "ftp://h.example/" }, "URL" },
		{ { "statsu" }, "did you mean status?" },
		{ { URL, "--hold-tmie", "3s" }, "did you mean --hold-time?" },
		{ { URL, "--hold" }, "did you mean --hold-time?" },
		{ { URL, "--qqqqqqqq" }, "unknown option --qqqqqqqq" },
		{ { URL, "-x" }, "unknown option -x" },
		{ { URL, "--hold-time" }, "needs a value" },
		{ { URL, "--hold-time", "--silent" }, "needs a value" },
		{ { URL, "--hold-time", "5" }, "did you mean 5s or 5ms?" },
		{ { URL, "--idle-timeout", "99" }, "did you mean 99s or 99ms?" },
		{ { URL, "--request-timeout=30" }, "did you mean 30s or 30ms?" },
		{ { URL, "--tool-timeout", "a=30" }, "did you mean 30s or 30ms?" },
		{ { URL, "--auth-timeout", "30000" }, "did you mean 30000s or 30000ms?" },
		{ { URL, "--hold-time", "-5s" }, "negative" },
		{ { URL, "--hold-time", "1w" }, "no duration" },
		{ { URL, "--hold-time", "9999h" }, "at most" },
		{ { URL, "--connect-timeout", "0" }, "at least" },
		{ { URL, "--connect-timeout", "0.0001s" }, "at least" },
		{ { URL, "--max-retries", "-2" }, "from -1" },
		{ { URL, "--max-retries", "3x" }, "whole number" },
		{ { URL, "--max-queue", "0" }, "from 1" },
		{ { URL, "--max-message-size", "1" }, "bytes" },
		{ { URL, "--backoff-multiplier", "nan" }, "number" },
		{ { URL, "--backoff-multiplier", "0.5" }, "number" },
		{ { URL, "--transport", "carrier-pigeon" }, "one of auto http sse" },
		{ { URL, "--retry-errors", "-32603,x" }, "error codes" },
		{ { URL, "--retry-errors", "" }, "error codes" },
		{ { URL, "--session-quota", "0" }, "requests" },
		{ { URL, "--silent=perhaps" }, "yes or no" },
		{ { URL, "notaport" }, "callback port" },
		{ { URL, "70000" }, "callback port" },
		{ { URL, "1", "2", "3" }, "too many" },
		{ { URL, "--watch" }, "belongs to a command" },
		{ { "status", "--hold-time", "3s" }, "no meaning for mcp-holdfast status" },
		{ { "status", "extra" }, "takes no argument" },
		{ { "log", "a", "b" }, "takes one name" },
		{ { "doctor" }, "no URL" },
		{ { "http://h.example/mcp" }, "--allow-http" },
		{ { URL, "--client-secret-file", "/dev/null" }, "needs --client-id" },
		{ { URL, "--client-secret-file", "/dev/null", "--client-id", "a" }, "--client-secret-file: /dev/null is empty" },
		{ { URL, "--client-credentials" }, "needs --client-id" },
		{ { URL, "--client-credentials", "--device-code", "--client-id", "a" }, "exclude" },
		{ { URL, "--key", "/dev/null" }, "needs --cert" },
		{ { URL, "--cacert", "/" }, "--cacert: can not read /: it is a directory" },
		{ { URL, "--private-key-file", "/nowhere/key" }, "can not read /nowhere/key" },
		{ { URL, "--store-key-file", "/nowhere/key" }, "can not read /nowhere/key" },
		{ { URL, "--cacert", "/nowhere/ca.pem" }, "can not read /nowhere/ca.pem" },
		{ { URL, "--client-metadata-url", "http://localhost/doc" }, "https" },
		{ { URL, "--client-metadata-url", "https://c.example/" }, "path" },
		{ { URL, "--callback-path", "cb" }, "begins with /" },
		{ { URL, "--proxy", "htp://proxy:1" }, "--proxy: the URL of a proxy begins with one of http" },
		{ { URL, "--proxy", "a proxy" }, "--proxy: not a valid URL" },
		{ { URL, "--proxy", "proxy:99999" }, "--proxy: the URL's port" },
		{ { URL, "--unix-socket", LONG_PATH }, "--unix-socket: the path of a socket has" },
		{ { URL, "--resource", "not a uri" }, "absolute URI" },
		{ { URL, "--authorize-param", "state=x" }, "state" },
		{ { URL, "--header-file", "/nowhere/headers" }, "--header-file: can not read /nowhere/headers" },
		{ { URL, "--completion", "tcsh" }, "bash zsh fish" },
		{ { URL, "--initial-retry-delay", "2s", "--max-retry-delay", "1s" }, "shorter" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		const char *words[9] = { NULL };
		struct options o;
		struct err e;

		memcpy(words, cases[i].words, sizeof(cases[i].words));
		if (parse(&o, words, NULL, &e) != OPTIONS_BAD || !strstr(e.text, cases[i].says))
			fail_msg("case %zu: \"%s\" does not say \"%s\"", i, e.text, cases[i].says);
		options_fini(&o);
	}
}

static void a_proxy_is_one_that_can_be_asked(void **state)
{
	static const char *const fine[] = { "proxy", "proxy.example:3128", "http://u:p%40x@[::1]:8080/", "HTTPS://proxy", "socks5h://u@10.0.0.1:1080",
		"socks4a://p", "socks://p", "10.1.2.3:80", NULL };
	struct options o;

	(void)state;
	for (int i = 0; fine[i]; i++) {
		assert_runs(&o, ARGS(URL, "--proxy", fine[i]), NULL);
		assert_string_equal(o.http.proxy, fine[i]);
		options_fini(&o);
	}
}

static void plain_http_is_for_this_machine_only(void **state)
{
	static const char *const fine[] = { "http://localhost:1/", "http://127.0.0.1/x", "http://[::1]:8/", NULL };
	struct options o;

	(void)state;
	for (int i = 0; fine[i]; i++) {
		assert_runs(&o, ARGS(fine[i]), NULL);
		options_fini(&o);
	}
	assert_runs(&o, ARGS("http://10.0.0.1/", "--allow-http"), NULL);
	options_fini(&o);
}

/* ---- headers ---------------------------------------------------------------------------- */

static void a_header_that_would_do_harm_is_refused(void **state)
{
	static const struct { const char *line, *says; } cases[] = {
		{ "Content-Length: 3", "can not be set" }, { "transfer-encoding: chunked", "can not be set" }, { "Connection: close", "can not be set" },
		{ "Host: other.example", "can not be set" }, { "mcp-session-id: 1", "can not be set" }, { "MCP-Protocol-Version: 1", "can not be set" },
		{ "Last-Event-ID: 3", "can not be set" }, { "Proxy-Authorization: Basic x", "--proxy" },
		{ "no colon", "Name: value" }, { ": x", "name" }, { "a b: x", "name" }, { "X\x01: x", "name" },
		{ "X-A: one\r\nX-B: two", "control" }, { "X-A: one\ntwo", "control" }, { "X-A: \x7f", "control" }, { "X-A:", "no value" }, { "X-A: \t ", "no value" },
		{ "X-A: ${NOT_SET}", "NOT_SET is not set" }, { "X-A: ${SPLIT}", "control" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct options o;
		struct err e;

		if (parse(&o, ARGS(URL, "-H", cases[i].line), ARGS("SPLIT=a\r\nb: c"), &e) != OPTIONS_BAD || !strstr(e.text, cases[i].says))
			fail_msg("%s: \"%s\"", cases[i].line, e.text);
		options_fini(&o);
	}
}

static void a_header_we_set_ourselves_is_left_out_with_a_word(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "-H", "Accept: text/html", "-H", "content-type: application/json", "-H", "User-Agent: me"), NULL);
	assert_int_equal(o.warnings.n, 2);
	assert_int_equal(o.headers.n, 1);
	options_fini(&o);
}

static void a_variable_is_expanded_and_other_dollars_stay(void **state)
{
	struct options o;

	(void)state;
	assert_runs(&o, ARGS(URL, "-H", "X-A: ${A}-${B_2}", "-H", "X-B: $A ${ ${} ${1A} $"), ARGS("A=one", "B_2=${A}", "AB=no"));
	assert_string_equal(header_value(&o, "X-A"), "one-${A}");
	assert_string_equal(header_value(&o, "X-B"), "$A ${ ${} ${1A} $");
	options_fini(&o);
}

static void a_literal_secret_in_argv_is_warned_about(void **state)
{
	static const struct { const char *line; size_t warnings; } cases[] = {
		{ "Authorization: Bearer abc", 1 }, { "Authorization: Bearer ${T}", 0 }, { "X-Api-Key: abc", 1 }, { "Cookie: a=b", 1 }, { "X-Tenant: abc", 0 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct options o;

		assert_runs(&o, ARGS(URL, "-H", cases[i].line), ARGS("T=abc"));
		if (o.warnings.n != cases[i].warnings)
			fail_msg("%s", cases[i].line);
		for (size_t w = 0; w < o.warnings.n; w++) {
			assert_non_null(strstr(o.warnings.v[w], "--header-file"));
			assert_null(strstr(o.warnings.v[w], "abc"));
		}
		options_fini(&o);
	}
}

static void write_file(char *path, const char *text)
{
	int fd;

	strcpy(path, "/tmp/test_options.XXXXXX");
	fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
}

static void overwrite(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static void a_header_file_is_read_and_read_again(void **state)
{
	char path[32];
	struct options o;
	struct err e = { "" };

	(void)state;
	write_file(path, "# comment\r\n\r\nAuthorization: Bearer one\r\n  X-A: file  \nAccept: x");
	assert_runs(&o, ARGS("https://u:p@h.example/", "--header-file", path, "-H", "x-a: argv"), NULL);
	assert_string_equal(header_value(&o, "Authorization"), "Bearer one");
	assert_string_equal(header_value(&o, "X-A"), "argv");
	assert_true(o.core.user_authorization);
	assert_int_equal(o.headers.n, 2);

	overwrite(path, "\xef\xbb\xbfX-B: new\n");
	assert_int_equal(options_reload_headers(&o, &e), 0);
	assert_string_equal(header_value(&o, "Authorization"), "Basic dTpw");
	assert_string_equal(header_value(&o, "X-B"), "new");

	overwrite(path, "X-C: fine\nthis is s3cret rubbish\n");
	assert_int_equal(options_reload_headers(&o, &e), -1);
	assert_non_null(strstr(e.text, "line 2"));
	assert_null(strstr(e.text, "s3cret"));
	assert_string_equal(header_value(&o, "X-B"), "new");
	options_fini(&o);
	unlink(path);
}

/* ---- client credentials -------------------------------------------------------------------- */

static void client_info_gives_id_and_secret(void **state)
{
	char path[32];
	struct options o;
	struct err e;

	(void)state;
	write_file(path, "\xef\xbb\xbf{\"client_id\":\"me\",\"client_secret\":\"${S}\",\"token_endpoint_auth_method\":\"client_secret_basic\"}\n");
	char at[40];
	snprintf(at, sizeof(at), "@%s", path);
	assert_runs(&o, ARGS(URL, "--client-credentials", "--static-oauth-client-info", at), ARGS("S=a\"b\\c"));
	assert_string_equal(o.auth.client_id, "me");
	assert_string_equal(secret_reveal(o.auth.client_secret).p, "a\"b\\c");
	assert_string_equal(o.auth.client_auth, "client_secret_basic");
	options_fini(&o);
	unlink(path);

	assert_int_equal(parse(&o, ARGS(URL, "--static-oauth-client-info", "{\"client_secret\":\"s\"}"), NULL, &e), OPTIONS_BAD);
	assert_non_null(strstr(e.text, "client_id"));
	options_fini(&o);
	assert_int_equal(parse(&o, ARGS(URL, "--static-oauth-client-info", "[]"), NULL, &e), OPTIONS_BAD);
	options_fini(&o);
	assert_int_equal(parse(&o, ARGS(URL, "--static-oauth-client-metadata", "{"), NULL, &e), OPTIONS_BAD);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "--static-oauth-client-metadata", "{\"scope\":\"a b\"}"), NULL);
	assert_string_equal(o.auth.scope, "a b");
	options_fini(&o);
}

static void a_secret_file_loses_its_newline(void **state)
{
	char path[32];
	struct options o;

	(void)state;
	write_file(path, "s3cret\n");
	assert_runs(&o, ARGS(URL, "--client-id", "me", "--client-secret-file", path), NULL);
	assert_string_equal(secret_reveal(o.auth.client_secret).p, "s3cret");
	options_fini(&o);
	unlink(path);
}

static void an_editors_byte_order_mark_is_no_part_of_a_file(void **state)
{
	char path[32], at[40];
	struct options o;

	(void)state;
	write_file(path, "\xef\xbb\xbfs3cret\r\n");
	assert_runs(&o, ARGS(URL, "--client-id", "me", "--client-secret-file", path), NULL);
	assert_string_equal(secret_reveal(o.auth.client_secret).p, "s3cret");
	options_fini(&o);
	overwrite(path, "\xef\xbb\xbf{\"scope\":\"a b\"}\r\n");
	snprintf(at, sizeof(at), "@%s", path);
	assert_runs(&o, ARGS(URL, "--static-oauth-client-metadata", at), NULL);
	assert_string_equal(o.auth.scope, "a b");
	options_fini(&o);
	unlink(path);
}

/* ---- leaving no trace ------------------------------------------------------------------------ */

static void argv_is_scrubbed_in_place(void **state)
{
	static const struct { const char *before, *after; } cases[] = {
		{ "https://me:secret@h.example/p?a=secret&b=secret#f", "https://xxxxxxxxx@h.example/p?a=xxxxxx&b=xxxxxx#f" },
		{ "-H", "-H" }, { "Authorization: Bearer secret", "Authorization:xxxxxxxxxxxxxx" },
		{ "-HX-Key: secret", "-HX-Key:xxxxxxx" }, { "--header=X-B: secret", "--header=X-B:xxxxxxx" },
		{ "--proxy", "--proxy" }, { "http://me:secret@proxy:3128", "http://xxxxxxxxx@proxy:3128" },
		{ "--static-oauth-client-info={\"client_id\":\"secret\"}", "--static-oauth-client-info=xxxxxxxxxxxxxxxxxxxxxx" },
		{ "--name", "--name" }, { "kept", "kept" },
	};
	const char *words[WORDS + 1] = { NULL };
	struct options o;
	struct err e;
	char *envp[] = { NULL };
	struct args a;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		words[i] = cases[i].before;
	args_init(&a, words);
	assert_int_equal(options_parse(&o, a.n, a.v, envp, &e), OPTIONS_RUN);
	options_scrub_argv(a.n, a.v);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(a.v[i + 1], cases[i].after);
	assert_string_equal(header_value(&o, "X-B"), "secret");
	assert_string_equal(o.proxy, "http://me:secret@proxy:3128");
	args_fini(&a);
	options_fini(&o);
}

static void every_secret_is_known_to_the_redactor(void **state)
{
	static const char *const hidden[] = { "hdr-value-1234", "bearer-token-5678", "query value/9", "query%20value%2F9", "url-password-1", "proxy-pass-22",
		"env-proxy-pass", "client-secret-3", "store-key-0123456789", "otlp-header-44", "basic-passw0rd", "k3J9xQ2mZ7vB5nR8" };
	const char *env[] = { "MCP_HOLDFAST_STORE_KEY=store-key-0123456789", "https_proxy=http://a:env-proxy-pass@p", "OTEL_EXPORTER_OTLP_HEADERS=k=otlp-header-44,x=y", NULL };
	unsigned char key[32] = { 1 };
	struct redactor *r = redact_new(key);
	char *envp[4] = { NULL };
	struct options o;

	(void)state;
	assert_runs(&o, ARGS("https://admin:url-password-1@h.example/u/k3J9xQ2mZ7vB5nR8/?q=query%20value%2F9", "-H", "X-A: hdr-value-1234", "-H", "Authorization: Bearer bearer-token-5678",
		"--proxy", "http://admin:proxy-pass-22@p", "--static-oauth-client-info", "{\"client_id\":\"c\",\"client_secret\":\"client-secret-3\"}"), env);
	memcpy(envp, env, sizeof(env));
	o.envp = envp;
	assert_int_equal(options_register_secrets(&o, r), 0);
	options_fini(&o);
	assert_runs(&o, ARGS(URL, "-H", "Authorization: Basic YWRtaW46YmFzaWMtcGFzc3cwcmQ="), NULL);
	assert_int_equal(options_register_secrets(&o, r), 0);
	options_fini(&o);
	for (size_t i = 0; i < sizeof(hidden) / sizeof(*hidden); i++) {
		struct buf out;

		buf_init(&out, 4096);
		assert_int_equal(redact_text(r, span_str(hidden[i]), &out), 0);
		buf_append(&out, "", 1);
		if (strstr(buf_data(&out), hidden[i]))
			fail_msg("%s came through", hidden[i]);
		buf_fini(&out);
	}
	redact_free(r);
}

/* ---- the table ---------------------------------------------------------------------------------- */

static void the_table_is_sound(void **state)
{
	(void)state;
	for (size_t i = 0; i < option_count; i++) {
		const struct opt *opt = &option_table[i];

		assert_ptr_equal(option_find(opt->name, strlen(opt->name)), opt);
		assert_true(!opt->letter || option_find_letter(opt->letter) == opt);
		assert_non_null(opt->set);
		assert_true(opt->help && *opt->help && strlen(opt->name) < 40);
		assert_true(opt->min <= opt->max);
		assert_true(opt->scrub == SCRUB_NONE || opt->arg);
	}
}

static size_t longest_line(FILE *f)
{
	size_t longest = 0, n = 0;
	int c;

	rewind(f);
	while ((c = getc(f)) != EOF) {
		n = c == '\n' ? 0 : n + 1;
		if (n > longest)
			longest = n;
	}
	return longest;
}

static void help_fits_80_columns_and_completions_are_printed(void **state)
{
	FILE *f = tmpfile();

	(void)state;
	assert_non_null(f);
	options_print_help(f);
	assert_true(ftell(f) > 4000);
	assert_true(longest_line(f) < 80);
	for (int i = 0; i < 3; i++)
		assert_int_equal(options_print_completion(((const char *[]){ "bash", "zsh", "fish" })[i], f), 0);
	assert_int_equal(options_print_completion("tcsh", f), -1);
	assert_int_equal(options_print_completion(NULL, f), -1);
	fclose(f);
}

static void any_words_at_all_end_in_an_answer(void **state)
{
	static const char *const odd[] = { "", "-", "--", "---", "--=", "--=x", "-=", "--header", "--header=", "--header=:", "-H", "-v-v", "-vvvvvvvv", "--help=x", "https://", "://",
		"https://h.example", "https://[", "https://%", "--resource=", "--tool-timeout==1s", "--static-oauth-client-info=@", "--static-oauth-client-info=@/", "@", "\xff\xfe", "--\xff" };
	size_t n = sizeof(odd) / sizeof(*odd);

	(void)state;
	for (size_t i = 0; i < n * n; i++) {
		struct options o;
		struct err e;

		parse(&o, ARGS(odd[i / n], odd[i % n]), NULL, &e);
		options_fini(&o);
	}
}

static int start(void **state)
{
	(void)state;
	return sodium_init() < 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_duration_is_a_number_with_a_unit),
		cmocka_unit_test(a_size_is_bytes_or_powers_of_1024),
		cmocka_unit_test(a_rate_has_a_burst_of_one_second_unless_told),
		cmocka_unit_test(a_swap_of_neighbours_is_one_step),
		cmocka_unit_test(the_defaults_are_the_documented_ones),
		cmocka_unit_test(every_form_of_an_option_is_understood),
		cmocka_unit_test(of_a_repeated_scalar_the_last_wins_and_lists_grow),
		cmocka_unit_test(the_environment_speaks_and_argv_has_the_last_word),
		cmocka_unit_test(a_misspelt_variable_is_told),
		cmocka_unit_test(the_url_may_stand_in_the_environment),
		cmocka_unit_test(mcp_remotes_argument_lists_can_be_pasted),
		cmocka_unit_test(a_pasted_connect_timeout_is_told_apart),
		cmocka_unit_test(verbose_is_one_level_more_wherever_it_stands),
		cmocka_unit_test(a_flag_that_says_no_is_like_none),
		cmocka_unit_test(zero_means_none_where_it_is_documented),
		cmocka_unit_test(one_delay_alone_moves_the_other),
		cmocka_unit_test(a_quota_counts_requests_or_time_or_both),
		cmocka_unit_test(commands_take_their_own_arguments),
		cmocka_unit_test(a_url_of_the_environment_is_refused_by_its_name),
		cmocka_unit_test(help_and_version_work_whatever_else_is_wrong),
		cmocka_unit_test(bad_usage_is_refused_in_clear_words),
		cmocka_unit_test(a_proxy_is_one_that_can_be_asked),
		cmocka_unit_test(plain_http_is_for_this_machine_only),
		cmocka_unit_test(a_header_that_would_do_harm_is_refused),
		cmocka_unit_test(a_header_we_set_ourselves_is_left_out_with_a_word),
		cmocka_unit_test(a_variable_is_expanded_and_other_dollars_stay),
		cmocka_unit_test(a_literal_secret_in_argv_is_warned_about),
		cmocka_unit_test(a_header_file_is_read_and_read_again),
		cmocka_unit_test(client_info_gives_id_and_secret),
		cmocka_unit_test(a_secret_file_loses_its_newline),
		cmocka_unit_test(an_editors_byte_order_mark_is_no_part_of_a_file),
		cmocka_unit_test(argv_is_scrubbed_in_place),
		cmocka_unit_test(every_secret_is_known_to_the_redactor),
		cmocka_unit_test(the_table_is_sound),
		cmocka_unit_test(help_fits_80_columns_and_completions_are_printed),
		cmocka_unit_test(any_words_at_all_end_in_an_answer),
	};

	return cmocka_run_group_tests(tests, start, NULL);
}
