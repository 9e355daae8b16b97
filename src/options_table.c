/* The option table: every option once, with its name, its help, its limits and
 * the function that takes its value in (options_set.c). The parser, --help, the
 * environment, the suggestions and the completions read nothing else. */
#include "options_internal.h"

#include <stdlib.h>

#define LONGEST ((int64_t)30 * 24 * 3600 * 1000) /* of any duration */

#define AT(member) .at = offsetof(struct options, member)
#define RANGE(lo, hi) .min = (lo), .max = (hi)
#define TIME RANGE(1, LONGEST)
#define ON(command) (1u << (command))

const char *const command_names[COMMAND_COUNT] = {
	[COMMAND_NONE] = "", [COMMAND_STATUS] = "status", [COMMAND_LOG] = "log", [COMMAND_DOCTOR] = "doctor",
	[COMMAND_LOGIN] = "login", [COMMAND_LOGOUT] = "logout", [COMMAND_LIST] = "list",
};

const char *const option_groups[GROUP_COUNT] = {
	[GROUP_CONNECTION] = "Connection",
	[GROUP_RECONNECT] = "Reconnecting",
	[GROUP_LIVENESS] = "Time limits and liveness",
	[GROUP_LIMITS] = "Limits",
	[GROUP_TOOLS] = "Tools and errors",
	[GROUP_SIGN_IN] = "Signing in",
	[GROUP_UNATTENDED] = "Signing in without a person",
	[GROUP_REPORTS] = "Logs and reports",
	[GROUP_COMMANDS] = "Of the commands",
	[GROUP_PEER] = "Taken from mcp-remote's argument lists",
	[GROUP_OTHER] = "Other",
};

const struct opt option_table[] = {
	{ .name = "transport", .arg = "WHICH", .group = GROUP_CONNECTION, .set = set_transport,
	  .words = "auto http sse http-first sse-first http-only sse-only",
	  .help = "auto (POST first, SSE as the fallback), http or sse; also http-first, sse-first, http-only, sse-only [auto]" },
	{ .name = "header", .letter = 'H', .arg = "'NAME: VALUE'", .group = GROUP_CONNECTION, .set = set_header, AT(given),
	  .flags = OPT_MANY, .scrub = SCRUB_HEADER,
	  .help = "a header for the server; ${NAME} is taken from the environment; repeatable" },
	{ .name = "header-file", .arg = "FILE", .group = GROUP_CONNECTION, .set = set_text, AT(header_file), .flags = OPT_FILE,
	  .help = "headers, one a line, # begins a comment; read again when it changes" },
	{ .name = "allow-http", .group = GROUP_CONNECTION, .set = set_flag, AT(allow_http),
	  .help = "allow http:// to other machines: nothing is encrypted" },
	{ .name = "cacert", .arg = "FILE", .group = GROUP_CONNECTION, .set = set_text, AT(cacert), .flags = OPT_FILE,
	  .help = "trust these certificates instead of the system's" },
	{ .name = "cert", .arg = "FILE", .group = GROUP_CONNECTION, .set = set_text, AT(cert), .flags = OPT_FILE,
	  .help = "client certificate (PEM)" },
	{ .name = "key", .arg = "FILE", .group = GROUP_CONNECTION, .set = set_text, AT(key), .flags = OPT_FILE,
	  .help = "key of the client certificate (PEM)" },
	{ .name = "proxy", .arg = "URL", .group = GROUP_CONNECTION, .set = set_proxy, AT(proxy), .scrub = SCRUB_URL,
	  .help = "proxy instead of what https_proxy, http_proxy, all_proxy and no_proxy say" },
	{ .name = "unix-socket", .arg = "PATH", .group = GROUP_CONNECTION, .set = set_socket, AT(unix_socket), .flags = OPT_FILE,
	  .help = "connect to this socket instead of the URL's host" },
	{ .name = "ipv4", .group = GROUP_CONNECTION, .set = set_flag, AT(http.ipv4_only), .help = "use IPv4 only" },
	{ .name = "http2", .group = GROUP_CONNECTION, .set = set_flag, AT(http.http2),
	  .help = "offer HTTP/2 to an https server" },
	{ .name = "disable-cookies", .group = GROUP_CONNECTION, .set = set_off, AT(http.cookies),
	  .help = "do not send the server's cookies back" },

	{ .name = "initial-retry-delay", .arg = "TIME", .group = GROUP_RECONNECT, .set = set_delay, AT(core.initial_retry_ms), TIME,
	  .help = "first backoff step [1s]" },
	{ .name = "max-retry-delay", .arg = "TIME", .group = GROUP_RECONNECT, .set = set_delay, AT(core.max_retry_ms), TIME,
	  .help = "longest backoff step [30s]" },
	{ .name = "backoff-multiplier", .arg = "N", .group = GROUP_RECONNECT, .set = set_factor, AT(core.multiplier), RANGE(1, 100),
	  .help = "each step is this many times the last [2]" },
	{ .name = "jitter", .arg = "KIND", .group = GROUP_RECONNECT, .set = set_jitter, .words = "full equal none",
	  .help = "full, equal or none [full]" },
	{ .name = "max-retries", .arg = "N", .group = GROUP_RECONNECT, .set = set_int, AT(core.max_retries), RANGE(-1, 1000000),
	  .help = "attempts of one outage, and re-sends of one request; -1: without end [-1]" },
	{ .name = "hold-time", .arg = "TIME", .group = GROUP_RECONNECT, .set = set_timeout, AT(core.hold_ms), TIME, .flags = OPT_ZERO,
	  .help = "how long requests wait for the line to come back [25s]" },
	{ .name = "breaker-threshold", .arg = "N", .group = GROUP_RECONNECT, .set = set_int, AT(core.breaker_threshold), RANGE(0, 100000),
	  .help = "failures in a row that open the circuit breaker; 0: off [5]" },
	{ .name = "breaker-cooldown", .arg = "TIME", .group = GROUP_RECONNECT, .set = set_delay, AT(core.breaker_cooldown_ms), TIME, .flags = OPT_ZERO,
	  .help = "pause between probes of an open breaker [the backoff's]" },
	{ .name = "initialize-wait", .arg = "TIME", .group = GROUP_RECONNECT, .set = set_timeout, AT(core.initialize_wait_ms), TIME, .flags = OPT_ZERO,
	  .help = "how long initialize waits before it is answered from the last good handshake [5s]" },
	{ .name = "no-offline-start", .group = GROUP_RECONNECT, .set = set_off, AT(core.offline_start),
	  .help = "keep no handshakes and lists, and answer from none" },

	{ .name = "connect-timeout", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_connect_timeout, AT(http.connect_timeout_ms), TIME,
	  .help = "for name, connection and TLS handshake [10s]" },
	{ .name = "request-timeout", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_timeout, AT(core.request_timeout_ms), TIME, .flags = OPT_ZERO,
	  .help = "time without a message for a request; 0: only --max-request-time [10m]" },
	{ .name = "max-request-time", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_timeout, AT(core.max_request_ms), TIME,
	  .help = "all attempts and waits of one request [1h]" },
	{ .name = "tool-timeout", .arg = "GLOB=TIME", .group = GROUP_LIVENESS, .set = set_tool_timeout, AT(tool_timeouts), TIME, .flags = OPT_MANY,
	  .help = "--request-timeout for some tools; repeatable, the last match counts" },
	{ .name = "idle-timeout", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_idle, AT(core.idle_ms), TIME, .flags = OPT_ZERO,
	  .help = "a standing stream without a byte for this long is dead; 0: never; auto: by its own habit [auto]" },
	{ .name = "keepalive", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_timeout, AT(core.keepalive_ms), TIME, .flags = OPT_ZERO,
	  .help = "ping a session that was quiet for this long; 0: never [60s]" },
	{ .name = "probe-after", .arg = "TIME", .group = GROUP_LIVENESS, .set = set_timeout, AT(core.probe_after_ms), TIME, .flags = OPT_ZERO,
	  .help = "ping on another connection when a running call was quiet for this long; 0: never [15s]" },

	{ .name = "max-message-size", .arg = "SIZE", .group = GROUP_LIMITS, .set = set_size, AT(core.max_message), RANGE(1024, 0x7fffffff),
	  .help = "longest message, either way: bytes, or 64k, 128M [128M]" },
	{ .name = "max-queue", .arg = "N", .group = GROUP_LIMITS, .set = set_count, AT(core.max_queue), RANGE(1, 1000000),
	  .help = "requests that wait for the line [1024]" },
	{ .name = "max-in-flight", .arg = "N", .group = GROUP_LIMITS, .set = set_count, AT(core.max_in_flight), RANGE(1, 100000),
	  .help = "requests at the server at once [100]" },
	{ .name = "rate-limit", .arg = "N/s|N/m", .group = GROUP_LIMITS, .set = set_rate,
	  .help = "requests a second or a minute, perhaps with :BURST [none]" },
	{ .name = "session-quota", .arg = "N|TIME", .group = GROUP_LIMITS, .set = set_quota, RANGE(1, INT64_MAX),
	  .help = "requests, or upstream time, or both (500,30m), of this process [none]" },

	{ .name = "retry-tools", .arg = "GLOB", .group = GROUP_TOOLS, .set = set_list, AT(retry_tools), .flags = OPT_MANY,
	  .help = "tools that may be called again after a doubtful failure; repeatable" },
	{ .name = "no-retry-tools", .arg = "GLOB", .group = GROUP_TOOLS, .set = set_list, AT(no_retry_tools), .flags = OPT_MANY,
	  .help = "tools that never are, whatever they say of themselves; repeatable" },
	{ .name = "trust-annotations", .arg = "yes|no", .group = GROUP_TOOLS, .set = set_second, AT(core.trust_annotations), .words = "no yes",
	  .help = "believe readOnlyHint and idempotentHint [yes]" },
	{ .name = "retry-errors", .arg = "CODES", .group = GROUP_TOOLS, .set = set_codes, AT(retry_errors), RANGE(INT32_MIN, INT32_MAX), .flags = OPT_MANY,
	  .help = "JSON-RPC errors after which repeatable requests are sent again [none]" },
	{ .name = "no-idempotency-key", .group = GROUP_TOOLS, .set = set_off, AT(core.idempotency_key),
	  .help = "send no Idempotency-Key with tool calls" },
	{ .name = "tool-errors", .arg = "HOW", .group = GROUP_TOOLS, .set = set_second, AT(core.tool_errors_protocol), .words = "result protocol",
	  .help = "our own errors for tool calls: as a result that models see, or as protocol errors [result]" },
	{ .name = "ignore-tool", .arg = "GLOB", .group = GROUP_TOOLS, .set = set_list, AT(ignore_tools), .flags = OPT_MANY,
	  .help = "hide tools from the client and refuse their calls; repeatable" },
	{ .name = "notify", .group = GROUP_TOOLS, .set = set_flag, AT(core.notify),
	  .help = "tell the client of loss and return by notifications/message" },

	{ .name = "client-id", .arg = "ID", .group = GROUP_SIGN_IN, .set = set_text, AT(auth.client_id),
	  .help = "the id of a registered client" },
	{ .name = "client-secret-file", .arg = "FILE", .group = GROUP_SIGN_IN, .set = set_text, AT(auth.client_secret_file), .flags = OPT_FILE,
	  .help = "file with its secret" },
	{ .name = "static-oauth-client-info", .arg = "JSON|@FILE", .group = GROUP_SIGN_IN, .set = set_secret_json, AT(auth.client_info),
	  .scrub = SCRUB_INLINE, .help = "client_id and client_secret as JSON; ${NAME} is taken from the environment" },
	{ .name = "static-oauth-client-metadata", .arg = "JSON|@FILE", .group = GROUP_SIGN_IN, .set = set_json, AT(auth.client_metadata),
	  .help = "members for the registration of a new client" },
	{ .name = "client-metadata-url", .arg = "URL", .group = GROUP_SIGN_IN, .set = set_document_url, AT(auth.client_metadata_url),
	  .help = "Client ID Metadata Document that describes this client" },
	{ .name = "callback-port", .arg = "PORT", .group = GROUP_SIGN_IN, .set = set_int, AT(auth.callback_port), RANGE(1, 65535),
	  .help = "port of the loopback redirect, also the second argument [a free one]" },
	{ .name = "host", .arg = "NAME", .group = GROUP_SIGN_IN, .set = set_host, AT(auth.host),
	  .help = "host name in the redirect address [127.0.0.1]" },
	{ .name = "callback-path", .arg = "PATH", .group = GROUP_SIGN_IN, .set = set_callback_path, AT(auth.callback_path),
	  .help = "path of the redirect address [/oauth/callback]" },
	{ .name = "auth-timeout", .arg = "TIME", .group = GROUP_SIGN_IN, .set = set_unclear_seconds, AT(auth.timeout_ms), TIME,
	  .help = "how long a sign-in may take; a bare number is seconds, as in mcp-remote [5m]" },
	{ .name = "no-browser", .group = GROUP_SIGN_IN, .set = set_off, AT(auth.browser),
	  .help = "print the address instead of opening it" },
	{ .name = "device-code", .group = GROUP_SIGN_IN, .set = set_flag, AT(auth.device_code),
	  .help = "sign in with a code on another machine's browser" },
	{ .name = "scope", .arg = "SCOPES", .group = GROUP_SIGN_IN, .set = set_text, AT(auth.scope),
	  .help = "ask for these scopes instead of those the server names" },
	{ .name = "resource", .arg = "URI", .group = GROUP_SIGN_IN, .set = set_resource, AT(auth.resource),
	  .help = "resource indicator; another one is another sign-in" },
	{ .name = "disable-resource-parameter", .group = GROUP_SIGN_IN, .set = set_flag, AT(auth.no_resource),
	  .help = "send no resource indicator" },
	{ .name = "authorize-param", .arg = "NAME=VALUE", .group = GROUP_SIGN_IN, .set = set_authorize_param, AT(auth.authorize_params),
	  .flags = OPT_MANY, .help = "one more parameter of the authorization request; repeatable" },
	{ .name = "use-id-token", .group = GROUP_SIGN_IN, .set = set_flag, AT(auth.use_id_token),
	  .help = "send the ID token instead of the access token" },
	{ .name = "dpop", .group = GROUP_SIGN_IN, .set = set_flag, AT(auth.dpop), .help = "bind tokens to a key of ours" },
	{ .name = "store-key-file", .arg = "FILE", .group = GROUP_SIGN_IN, .set = set_text, AT(auth.store_key_file), .flags = OPT_FILE,
	  .help = "key that seals stored tokens [in the configuration directory]" },
	{ .name = "import", .group = GROUP_SIGN_IN, .set = set_flag, AT(auth.import),
	  .help = "take over what mcp-remote has stored for this server" },

	{ .name = "client-credentials", .group = GROUP_UNATTENDED, .set = set_flag, AT(auth.client_credentials),
	  .help = "sign in as the client itself" },
	{ .name = "private-key-file", .arg = "FILE", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.private_key_file), .flags = OPT_FILE,
	  .help = "PEM key for private_key_jwt" },
	{ .name = "signing-alg", .arg = "ALG", .group = GROUP_UNATTENDED, .set = set_signing_alg, AT(auth.signing_alg), .words = "EdDSA ES256",
	  .help = "EdDSA or ES256 [by the key]" },
	{ .name = "token-endpoint", .arg = "URL", .group = GROUP_UNATTENDED, .set = set_url, AT(auth.token_endpoint), .scrub = SCRUB_URL,
	  .help = "for --client-credentials, where nothing can be discovered" },
	{ .name = "idp-token-endpoint", .arg = "URL", .group = GROUP_UNATTENDED, .set = set_url, AT(auth.idp_token_endpoint), .scrub = SCRUB_URL,
	  .help = "identity provider that exchanges the ID token" },
	{ .name = "idp-client-id", .arg = "ID", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.idp_client_id),
	  .help = "our id at the identity provider" },
	{ .name = "id-token-file", .arg = "FILE", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.id_token_file), .flags = OPT_FILE,
	  .help = "the ID token; read again when needed" },
	{ .name = "assertion-file", .arg = "FILE", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.assertion_file), .flags = OPT_FILE,
	  .help = "a workload's JWT; read again when needed" },
	{ .name = "token-command", .arg = "CMD", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.token_command),
	  .help = "a program that prints a token" },
	{ .name = "token-command-shell", .group = GROUP_UNATTENDED, .set = set_flag, AT(auth.token_command_shell),
	  .help = "run it with /bin/sh" },
	{ .name = "token-file", .arg = "FILE", .group = GROUP_UNATTENDED, .set = set_text, AT(auth.token_file), .flags = OPT_FILE,
	  .help = "a file with a token; read again when it changes" },

	{ .name = "log-level", .arg = "LEVEL", .group = GROUP_REPORTS, .set = set_level, .words = "error warn info debug trace",
	  .help = "error, warn, info, debug or trace [warn]" },
	{ .name = "verbose", .letter = 'v', .group = GROUP_REPORTS, .set = set_verbose, .help = "one level more; repeatable" },
	{ .name = "debug", .group = GROUP_REPORTS, .set = set_debug, .help = "--log-level debug" },
	{ .name = "silent", .letter = 's', .group = GROUP_REPORTS, .set = set_flag, AT(silent),
	  .help = "write nothing but the reason for a non-zero exit" },
	{ .name = "log-format", .arg = "HOW", .group = GROUP_REPORTS, .set = set_second, AT(log.json), .words = "text json",
	  .help = "text or json [text]" },
	{ .name = "log-file", .arg = "FILE", .group = GROUP_REPORTS, .set = set_text, AT(log_file), .flags = OPT_FILE,
	  .help = "append the log to this file, too" },
	{ .name = "name", .arg = "NAME", .group = GROUP_REPORTS, .set = set_text, AT(name),
	  .help = "what this bridge is called in logs and status [the host]" },
	{ .name = "no-log-ring", .group = GROUP_REPORTS, .set = set_off, AT(log_ring),
	  .help = "keep no last lines for mcp-holdfast log" },
	{ .name = "metrics-file", .arg = "FILE", .group = GROUP_REPORTS, .set = set_text, AT(metrics_file), .flags = OPT_FILE,
	  .help = "keep Prometheus metrics in this file" },
	{ .name = "trace-inject", .group = GROUP_REPORTS, .set = set_flag, AT(trace_inject),
	  .help = "add a traceparent to requests that have none" },

	{ .name = "json", .group = GROUP_COMMANDS, .set = set_flag, AT(json), .commands = ON(COMMAND_STATUS) | ON(COMMAND_DOCTOR),
	  .help = "status, doctor: as JSON" },
	{ .name = "watch", .group = GROUP_COMMANDS, .set = set_flag, AT(watch), .commands = ON(COMMAND_STATUS),
	  .help = "status: again and again" },
	{ .name = "follow", .letter = 'f', .group = GROUP_COMMANDS, .set = set_flag, AT(follow), .commands = ON(COMMAND_LOG),
	  .help = "log: go on with new lines" },
	{ .name = "wait", .arg = "TIME", .group = GROUP_COMMANDS, .set = set_timeout, AT(wait_ms), TIME, .commands = ON(COMMAND_DOCTOR),
	  .help = "doctor: stay this long to see when an idle stream is cut" },

	{ .name = "headers-timeout", .arg = "SECONDS", .group = GROUP_PEER, .set = set_seconds, AT(core.request_timeout_ms), TIME, .flags = OPT_ZERO,
	  .help = "--request-timeout in seconds" },
	{ .name = "body-timeout", .arg = "SECONDS", .group = GROUP_PEER, .set = set_seconds, AT(core.idle_ms), TIME, .flags = OPT_ZERO,
	  .help = "--idle-timeout in seconds" },
	{ .name = "ping-interval", .arg = "SECONDS", .group = GROUP_PEER, .set = set_unclear_seconds, AT(core.keepalive_ms), TIME, .flags = OPT_ZERO,
	  .help = "--keepalive in seconds" },
	{ .name = "keep-alive", .group = GROUP_PEER, .set = set_nothing, .help = "already so, see --keepalive" },
	{ .name = "enable-proxy", .group = GROUP_PEER, .set = set_nothing, .help = "already so, see --proxy" },
	{ .name = "protocol", .arg = "WHICH", .group = GROUP_PEER, .set = set_second, AT(legacy_only), .words = "auto legacy",
	  .help = "auto or legacy: revisions to speak with the server [auto]" },
	{ .name = "auth-success-url", .arg = "URL", .group = GROUP_PEER, .set = set_url, AT(auth.success_url), .flags = OPT_UNBUILT,
	  .help = "accepted, does nothing" },

	{ .name = "completion", .arg = "SHELL", .group = GROUP_OTHER, .set = set_stop, AT(completion_shell), .flags = OPT_NO_ENV, .words = "bash zsh fish",
	  .help = "print completions for bash, zsh or fish" },
	{ .name = "help", .letter = 'h', .group = GROUP_OTHER, .set = set_stop, .flags = OPT_NO_ENV, .help = "print this" },
	{ .name = "version", .letter = 'V', .group = GROUP_OTHER, .set = set_stop, .flags = OPT_NO_ENV, .help = "print the version" },
};

const size_t option_count = sizeof(option_table) / sizeof(*option_table);

/* ---- looking things up ------------------------------------------------------------ */

size_t option_index(const struct opt *opt)
{
	return (size_t)(opt - option_table);
}

const struct opt *option_find(const char *name, size_t n)
{
	for (size_t i = 0; i < option_count; i++)
		if (!strncmp(option_table[i].name, name, n) && !option_table[i].name[n])
			return &option_table[i];
	return NULL;
}

const struct opt *option_find_letter(char c)
{
	for (size_t i = 0; i < option_count; i++)
		if (c && option_table[i].letter == c)
			return &option_table[i];
	return NULL;
}

const char *option_nearest(const char *name, size_t n)
{
	const char *best = NULL, *longer = NULL;
	unsigned least = 2 + (unsigned)(n > 32 ? 8 : n / 4);

	for (size_t i = 0; i < option_count; i++) {
		unsigned d = value_distance(name, n, option_table[i].name);

		if (d < least) {
			least = d;
			best = option_table[i].name;
		}
		/* The first words of a longer name are nearer than another name. */
		if (!longer && n >= 3 && !strncmp(option_table[i].name, name, n) && option_table[i].name[n] == '-')
			longer = option_table[i].name;
	}
	return longer ? longer : best;
}

const char *command_nearest(const char *name)
{
	for (int i = COMMAND_NONE + 1; i < COMMAND_COUNT; i++)
		if (value_distance(name, strlen(name), command_names[i]) <= 2)
			return command_names[i];
	return NULL;
}

/* ---- the end ------------------------------------------------------------------------ */

static bool keeps_text(const struct opt *opt)
{
	static opt_setter *const setters[] = {
		set_text, set_json, set_url, set_document_url, set_resource, set_callback_path, set_host, set_signing_alg,
		set_proxy, set_socket,
	};

	for (size_t i = 0; i < sizeof(setters) / sizeof(*setters); i++)
		if (opt->set == setters[i])
			return true;
	return opt->set == set_stop && opt->words;
}

void option_table_free(struct options *o)
{
	for (size_t i = 0; i < option_count; i++) {
		const struct opt *opt = &option_table[i];
		struct parse for_field = { .o = o }, *p = &for_field;

		if (keeps_text(opt)) {
			text_free(*FIELD(char *));
			*FIELD(char *) = NULL;
		} else if (opt->set == set_list || opt->set == set_authorize_param) {
			strings_fini(FIELD(struct strings));
		}
	}
	for (size_t i = 0; i < o->tool_timeouts.n; i++)
		free((char *)o->tool_timeouts.v[i].glob);
	free(o->tool_timeouts.v);
	free(o->retry_errors.v);
}
