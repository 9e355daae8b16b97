/* What several options mean together: the command, the URL and its rules, files
 * that must be there, delays that depend on each other. Each value by itself was
 * right before. */
#include "options_internal.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BRIDGE_COMMANDS ((1u << COMMAND_NONE) | (1u << COMMAND_DOCTOR) | (1u << COMMAND_LOGIN) | (1u << COMMAND_LOGOUT))

static bool was_seen(const struct found *f, const char *name)
{
	return f->seen[option_index(option_find(name, strlen(name)))];
}

static int check_scope(const struct options *o, const struct found *f, struct err *e)
{
	unsigned here = 1u << o->command;

	for (size_t i = 0; i < option_count; i++) {
		const struct opt *opt = &option_table[i];
		unsigned where = opt->commands ? opt->commands : BRIDGE_COMMANDS;

		if (!f->argv[i] || (where & here) || opt->group == GROUP_OTHER)
			continue;
		if (o->command == COMMAND_NONE)
			return err_set(e, "--%s belongs to a command, such as mcp-holdfast %s", opt->name,
				command_names[where & (1u << COMMAND_STATUS) ? COMMAND_STATUS : where & (1u << COMMAND_LOG) ? COMMAND_LOG : COMMAND_DOCTOR]);
		return err_set(e, "--%s has no meaning for mcp-holdfast %s", opt->name, command_names[o->command]);
	}
	return 0;
}

/* Which options need another one, and which exclude each other. */
static int check_rules(const struct found *f, struct err *e)
{
	static const struct { const char *one; bool needs; const char *other; } rules[] = {
		{ "key", true, "cert" },
		{ "client-secret-file", true, "client-id" },
		{ "token-command-shell", true, "token-command" },
		{ "token-endpoint", true, "client-credentials" },
		{ "idp-token-endpoint", true, "id-token-file" },
		{ "idp-token-endpoint", true, "idp-client-id" },
		{ "idp-client-id", true, "idp-token-endpoint" },
		{ "id-token-file", true, "idp-token-endpoint" },
		{ "client-id", false, "static-oauth-client-info" },
		{ "client-credentials", false, "device-code" },
		{ "client-credentials", false, "idp-token-endpoint" },
		{ "client-credentials", false, "assertion-file" },
		{ "device-code", false, "idp-token-endpoint" },
		{ "device-code", false, "assertion-file" },
		{ "idp-token-endpoint", false, "assertion-file" },
		{ "token-command", false, "token-file" },
		{ "token-command", false, "client-credentials" },
		{ "token-file", false, "client-credentials" },
	};

	for (size_t i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
		if (!was_seen(f, rules[i].one) || was_seen(f, rules[i].other) == rules[i].needs)
			continue;
		return err_set(e, rules[i].needs ? "--%s needs --%s" : "--%s and --%s exclude each other", rules[i].one, rules[i].other);
	}
	if (was_seen(f, "client-credentials") && !was_seen(f, "client-id") && !was_seen(f, "static-oauth-client-info"))
		return err_set(e, "--client-credentials needs --client-id or --static-oauth-client-info");
	if (was_seen(f, "idp-token-endpoint") && !was_seen(f, "client-id") && !was_seen(f, "static-oauth-client-info"))
		return err_set(e, "--idp-token-endpoint needs --client-id or --static-oauth-client-info");
	return 0;
}

static int take_port(struct options *o, const char *text, struct err *e)
{
	int64_t port;

	if (value_int(text, strlen(text), &port) || port < 1 || port > 65535)
		return err_set(e, "the second argument is the callback port, a number from 1 to 65535");
	o->auth.callback_port = (int)port;
	return 0;
}

/* Plain words: [COMMAND] [URL [PORT]], or log [NAME|PID]. Leaves what follows
 * the command in f->plain. */
static int take_command(struct options *o, struct found *f, struct err *e)
{
	const char *first = f->nplain ? f->plain[0] : "", *near;

	for (int i = COMMAND_NONE + 1; i < COMMAND_COUNT; i++)
		if (!strcmp(first, command_names[i]))
			o->command = (enum command)i;
	if (o->command != COMMAND_NONE) {
		f->plain[0] = f->plain[1];
		f->plain[1] = f->plain[2];
		f->nplain--;
		return 0;
	}
	near = *first && !strchr(first, ':') ? command_nearest(first) : NULL;
	if (near)
		return err_set(e, "\"%.40s\" is neither a URL nor a command; did you mean %s?", first, near);
	return f->nplain > POSITIONALS ? err_set(e, "too many arguments") : 0;
}

static bool wants_url(const struct options *o)
{
	return BRIDGE_COMMANDS & (1u << o->command);
}

static int take_target(struct options *o, const struct found *f, struct err *e)
{
	if (f->nplain > (o->command == COMMAND_LOG))
		return err_set(e, "mcp-holdfast %s takes %s", command_names[o->command],
			o->command == COMMAND_LOG ? "one name or process id" : "no argument");
	if (!f->nplain)
		return 0;
	o->target = strdup(f->plain[0]);
	return o->target ? 0 : options_no_memory(e);
}

static int check_plain_http(const struct options *o, struct err *e)
{
	if (strcmp(o->url.scheme, "http") != 0 || url_is_loopback(&o->url) || o->allow_http || o->unix_socket)
		return 0;
	return err_set(e, "http:// to %.80s would send everything unencrypted; use https://, or --allow-http on a network you trust", o->url.host);
}

/* name=value pairs of the query whose name says credential, or a password. */
static bool url_shows_secret(const struct url *u)
{
	if (u->user)
		return true;
	for (const char *q = u->query; q && *q;) {
		size_t n = strcspn(q, "&"), name = strcspn(q, "=&");

		if (name < n && header_is_secret(span_make(q, name)))
			return true;
		q += n + (q[n] == '&');
	}
	return false;
}

static int take_url(struct options *o, const struct found *f, struct err *e)
{
	static const char shown[] = "the URL holds a credential that stands in the argument list, where other users of this machine "
		"can read it; use --header-file, or " OPTIONS_PREFIX "URL in the environment";
	const char *text = f->nplain ? f->plain[0] : env_get(o->envp, OPTIONS_PREFIX "URL", strlen(OPTIONS_PREFIX "URL"));
	struct err why = { "" };

	if (!text || !*text)
		return err_set(e, "no URL given");
	if (!strstr(text, "://"))
		return err_set(e, f->nplain ? "the first argument is neither a command nor a URL that begins with https://" :
			OPTIONS_PREFIX "URL is no URL that begins with https://");
	if (url_parse(&o->url, text, &why))
		return err_set(e, "%s can not be used: %.200s", f->nplain ? "the URL" : OPTIONS_PREFIX "URL", why.text);
	if (f->nplain > 1 && take_port(o, f->plain[1], e))
		return -1;
	if (f->nplain && url_shows_secret(&o->url) && strings_add(&o->warnings, shown, sizeof(shown) - 1))
		return options_no_memory(e);
	return check_plain_http(o, e);
}

/* Files that are opened later, once; those that are read again and again may come late. */
static int check_files(const struct options *o, struct err *e)
{
	const struct { const char *what, *path; } named[] = { { "--cacert", o->cacert }, { "--cert", o->cert }, { "--key", o->key },
		{ "--private-key-file", o->auth.private_key_file }, { "--store-key-file", o->auth.store_key_file } };

	struct stat st;

	for (size_t i = 0; i < sizeof(named) / sizeof(*named); i++) {
		if (named[i].path && access(named[i].path, R_OK))
			return err_set(e, "%s: can not read %.160s", named[i].what, named[i].path);
		if (named[i].path && stat(named[i].path, &st) == 0 && S_ISDIR(st.st_mode))
			return err_set(e, "%s: can not read %.160s: it is a directory", named[i].what, named[i].path);
	}
	return 0;
}

/* A file of certificates that is not there is left out, as others do. */
static int take_certificates(struct options *o, struct err *e)
{
	const char *extra = env_get(o->envp, "NODE_EXTRA_CA_CERTS", strlen("NODE_EXTRA_CA_CERTS"));

	if (!extra || !*extra)
		return 0;
	if (access(extra, R_OK)) {
		static const char text[] = "NODE_EXTRA_CA_CERTS names a file that can not be read; going on without it";

		return strings_add(&o->warnings, text, sizeof(text) - 1) ? options_no_memory(e) : 0;
	}
	return 0;
}

static int take_store_key(struct options *o, struct err *e)
{
	const char *key = env_get(o->envp, OPTIONS_PREFIX "STORE_KEY", strlen(OPTIONS_PREFIX "STORE_KEY"));

	if (!key || !*key)
		return 0;
	o->auth.store_key = secret_new(key, strlen(key));
	return o->auth.store_key ? 0 : options_no_memory(e);
}

static int settle_delays(struct options *o, const struct found *f, struct err *e)
{
	struct core_config *c = &o->core;

	if (c->max_retry_ms < c->initial_retry_ms) {
		if (was_seen(f, "max-retry-delay") && was_seen(f, "initial-retry-delay"))
			return err_set(e, "--max-retry-delay is shorter than --initial-retry-delay");
		if (was_seen(f, "max-retry-delay"))
			c->initial_retry_ms = c->max_retry_ms;
		else
			c->max_retry_ms = c->initial_retry_ms;
	}
	if (c->request_timeout_ms == 0)
		c->request_timeout_ms = c->max_request_ms;
	return 0;
}

/* The structs that other rooms take get their pointers last, when no list grows any more. */
static void point(struct options *o)
{
	struct core_config *c = &o->core;

	c->tool_timeouts = o->tool_timeouts.v;
	c->ntool_timeouts = o->tool_timeouts.n;
	c->retry_tools = (const char *const *)o->retry_tools.v;
	c->nretry_tools = o->retry_tools.n;
	c->no_retry_tools = (const char *const *)o->no_retry_tools.v;
	c->nno_retry_tools = o->no_retry_tools.n;
	c->retry_errors = o->retry_errors.v;
	c->nretry_errors = o->retry_errors.n;
	o->http.cacert = o->cacert;
	o->http.cert = o->cert;
	o->http.key = o->key;
	o->http.proxy = o->proxy;
	o->http.unix_socket = o->unix_socket;
	for (; o->verbose && o->log_level < LOG_TRACE; o->verbose--)
		o->log_level = (enum log_level)(o->log_level + 1);
	o->log.level = o->silent && !o->log_file ? LOG_SILENT : o->log_level;
	o->log.quiet = o->silent;
	o->log.name = o->name ? o->name : o->url.host;
	o->log.file = o->log_file;
	o->auth.callback_port_fixed = o->auth.callback_port != 0;
	if (o->auth.no_resource) {
		text_free(o->auth.resource);
		o->auth.resource = NULL;
	}
}

static int settle(struct options *o, struct found *f, struct err *e)
{
	if (take_command(o, f, e) || check_scope(o, f, e))
		return -1;
	if (!wants_url(o))
		return take_target(o, f, e);
	if (check_rules(f, e) || settle_delays(o, f, e) || take_url(o, f, e))
		return -1;
	if (check_files(o, e) || take_certificates(o, e) || take_store_key(o, e))
		return -1;
	return headers_compose(o, true, e) || client_load(o, e) ? -1 : 0;
}

int options_settle(struct options *o, struct found *f, struct err *e)
{
	if (settle(o, f, e))
		return -1;
	point(o);
	return 0;
}
