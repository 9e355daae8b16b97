/* From argv and the environment to struct options: walks the words, hands each
 * value to its setter (options_table.c), and then settles what several of them
 * mean together. Promises that nothing in the result points into argv and that
 * no message repeats a secret. It opens no connection and writes no file.
 *
 * The environment goes first, so that argv has the last word; of options that
 * may be repeated, the values of both are kept. */
#include "options_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef VERSION
#define VERSION "unknown"
#endif

#define POSITIONALS 2
#define BRIDGE_COMMANDS ((1u << COMMAND_NONE) | (1u << COMMAND_DOCTOR) | (1u << COMMAND_LOGIN) | (1u << COMMAND_LOGOUT))
#define LABEL_MAX 64
#define MARKS 128 /* at least as many as there are options */

/* One step through argv: an option with its value, or a plain word. */
struct word {
	const struct opt *opt;  /* NULL: a plain word */
	char *value;            /* the option's value (NULL for a bare flag), or the plain word */
	char label[LABEL_MAX];  /* the option as a message calls it */
};

struct walk {
	int argc;
	char **argv;
	int at;
	char *cluster;          /* the rest of -vsf; NULL when not inside one */
	bool plain_only;        /* after -- */
};

/* What was found on the way. */
struct found {
	bool seen[MARKS];       /* by index in the table: given at all; of a flag: and not as "no" */
	bool argv[MARKS];       /* ... on the command line */
	char *plain[1 + POSITIONALS];
	int nplain;
};

static int out_of_memory(struct err *e)
{
	return err_set(e, "out of memory");
}

/* ---- walking argv ------------------------------------------------------------- */

static int unknown_option(const char *dashes, const char *name, size_t n, struct err *e)
{
	const char *near = option_nearest(name, n);

	if (near)
		return err_set(e, "unknown option %s%.*s; did you mean --%s?", dashes, (int)(n < 60 ? n : 60), name, near);
	return err_set(e, "unknown option %s%.*s", dashes, (int)(n < 60 ? n : 60), name);
}

/* The next word of argv is the value. Another option there is a forgotten
 * value far more often than a value that looks like one. */
static int take_next(struct walk *w, struct word *out, struct err *e)
{
	if (w->at >= w->argc)
		return err_set(e, "%s needs a value (%s)", out->label, out->opt->arg);
	if (!strncmp(w->argv[w->at], "--", 2))
		return err_set(e, "%s needs a value (%s); write %s=... for one that begins with --", out->label, out->opt->arg, out->label);
	out->value = w->argv[w->at++];
	return 1;
}

static int walk_long(struct walk *w, struct word *out, struct err *e)
{
	char *name = w->argv[w->at++] + 2;
	size_t n = strcspn(name, "=");

	out->opt = option_find(name, n);
	if (!out->opt)
		return unknown_option("--", name, n, e);
	snprintf(out->label, sizeof(out->label), "--%s", out->opt->name);
	out->value = name[n] ? name + n + 1 : NULL;
	return out->opt->arg && !out->value ? take_next(w, out, e) : 1;
}

static int walk_letter(struct walk *w, struct word *out, struct err *e)
{
	char letter = *w->cluster++;

	out->opt = option_find_letter(letter);
	if (!out->opt)
		return unknown_option("-", w->cluster - 1, strlen(w->cluster - 1), e);
	snprintf(out->label, sizeof(out->label), "-%c", letter);
	out->value = NULL;
	if (out->opt->arg && *w->cluster) {
		out->value = w->cluster;
		w->cluster = NULL;
		return 1;
	}
	if (!*w->cluster)
		w->cluster = NULL;
	return out->opt->arg ? take_next(w, out, e) : 1;
}

/* 1: *out is the next word; 0: that was all; -1: e says what is wrong. */
static int walk_next(struct walk *w, struct word *out, struct err *e)
{
	char *s;

	if (w->cluster)
		return walk_letter(w, out, e);
	if (w->at >= w->argc)
		return 0;
	s = w->argv[w->at];
	if (!w->plain_only && !strcmp(s, "--")) {
		w->plain_only = true;
		w->at++;
		return walk_next(w, out, e);
	}
	if (!w->plain_only && s[0] == '-' && s[1] == '-')
		return walk_long(w, out, e);
	if (!w->plain_only && s[0] == '-' && s[1]) {
		w->cluster = s + 1;
		w->at++;
		return walk_letter(w, out, e);
	}
	out->opt = NULL;
	out->value = s;
	w->at++;
	return 1;
}

void options_scrub_argv(int argc, char **argv)
{
	struct walk w = { .argc = argc, .argv = argv, .at = 1 };
	struct word word;
	size_t name;

	while (walk_next(&w, &word, NULL) > 0) {
		switch (word.opt ? word.opt->scrub : SCRUB_URL) {
		case SCRUB_NONE:
			break;
		case SCRUB_ALL:
			memset(word.value, 'x', strlen(word.value));
			break;
		case SCRUB_HEADER:
			name = strcspn(word.value, ":");
			name += word.value[name] == ':';
			memset(word.value + name, 'x', strlen(word.value + name));
			break;
		case SCRUB_URL:
			scrub_url(word.value);
			break;
		case SCRUB_INLINE:
			if (*word.value != '@')
				memset(word.value, 'x', strlen(word.value));
			break;
		}
	}
}

/* ---- taking values in ------------------------------------------------------------ */

static size_t index_of(const struct opt *opt)
{
	return (size_t)(opt - option_table);
}

static int take(struct options *o, struct found *f, const struct opt *opt, const char *value, const char *label, bool from_argv, struct err *e)
{
	const struct parse p = { .o = o, .e = e, .label = label, .from_argv = from_argv };
	char text[LABEL_MAX + 80];

	if (!f->seen[index_of(opt)] && (opt->flags & OPT_UNBUILT)) {
		snprintf(text, sizeof(text), "%s is accepted but does nothing here; going on without it", label);
		if (strings_add(&o->warnings, text, strlen(text)))
			return out_of_memory(e);
	}
	f->argv[index_of(opt)] |= from_argv;
	if (opt->set(&p, opt, value))
		return -1;
	if (opt->arg || value_bool(value, &f->seen[index_of(opt)]))
		f->seen[index_of(opt)] = true;
	return 0;
}

static int take_lines(struct options *o, struct found *f, const struct opt *opt, const char *value, const char *label, struct err *e)
{
	char *line;
	int r = 0;

	while (!r && *value) {
		size_t n = strcspn(value, "\n");

		line = strndup(value, n);
		if (!line)
			return out_of_memory(e);
		if (line[strspn(line, " \t\r")])
			r = take(o, f, opt, line, label, false, e);
		text_free(line);
		value += n + (value[n] == '\n');
	}
	return r;
}

/* MCP_HOLDFAST_HOLD_TIME -> hold-time. */
static void option_name(char *out, size_t room, const char *variable, size_t n)
{
	size_t i = 0;

	for (; i < n && i + 1 < room; i++)
		out[i] = variable[i] == '_' ? '-' : (char)tolower((unsigned char)variable[i]);
	out[i] = '\0';
}

/* A misspelt name would otherwise be silently ignored. */
static int unknown_variable(struct options *o, const char *variable, const char *name, struct err *e)
{
	const char *near = option_nearest(name, strlen(name));
	char text[200];

	if (!strcmp(name, "store-key") || !strcmp(name, "url"))
		return 0;
	snprintf(text, sizeof(text), "%.*s in the environment is no option%s%s", (int)strcspn(variable, "="), variable,
		near ? "; the nearest is --" : "", near ? near : "");
	return strings_add(&o->warnings, text, strlen(text)) ? out_of_memory(e) : 0;
}

static int take_variable(struct options *o, struct found *f, const char *variable, struct err *e)
{
	const char *name = variable + strlen(OPTIONS_PREFIX);
	size_t n = strcspn(name, "=");
	char plain[LABEL_MAX], label[LABEL_MAX + sizeof(OPTIONS_PREFIX)];
	const struct opt *opt;
	const char *value = name + n + 1;

	if (!name[n] || !*value)
		return 0;
	option_name(plain, sizeof(plain), name, n);
	opt = option_find(plain, strlen(plain));
	if (!opt || (opt->flags & OPT_NO_ENV))
		return unknown_variable(o, variable, plain, e);
	snprintf(label, sizeof(label), "%s%.*s", OPTIONS_PREFIX, (int)(n < LABEL_MAX ? n : LABEL_MAX - 1), name);
	if (opt->flags & OPT_MANY)
		return take_lines(o, f, opt, value, label, e);
	return take(o, f, opt, value, label, false, e);
}

static int take_environment(struct options *o, struct found *f, struct err *e)
{
	for (char **v = o->envp; v && *v; v++)
		if (!strncmp(*v, OPTIONS_PREFIX, strlen(OPTIONS_PREFIX)) && take_variable(o, f, *v, e))
			return -1;
	return 0;
}

static enum options_action stop_action(const struct opt *opt)
{
	if (opt->words)
		return OPTIONS_COMPLETION;
	return opt->letter == 'h' ? OPTIONS_HELP : OPTIONS_VERSION;
}

/* --help and --version work whatever else is wrong. */
static int help_wanted(int argc, char **argv)
{
	struct walk w = { .argc = argc, .argv = argv, .at = 1 };
	struct word word;

	while (walk_next(&w, &word, NULL) > 0)
		if (word.opt && word.opt->set == set_stop && !word.opt->words)
			return (int)stop_action(word.opt);
	return 0;
}

/* 0: go on; an action of --help and its like ends the parse; -1. */
static int take_argv(struct options *o, struct found *f, int argc, char **argv, struct err *e)
{
	struct walk w = { .argc = argc, .argv = argv, .at = 1 };
	struct word word;
	int r;

	while ((r = walk_next(&w, &word, e)) > 0) {
		if (!word.opt) {
			if (f->nplain > POSITIONALS)
				return err_set(e, "too many arguments");
			f->plain[f->nplain++] = word.value;
			continue;
		}
		if (take(o, f, word.opt, word.value, word.label, true, e))
			return -1;
		if (word.opt->set == set_stop)
			return (int)stop_action(word.opt);
	}
	return r;
}

/* ---- what it means together ------------------------------------------------------- */

static int set_defaults(struct options *o)
{
	o->core = (struct core_config){
		.transport = TRANSPORT_AUTO,
		.initial_retry_ms = 1000, .max_retry_ms = 30000, .multiplier = 2, .jitter = JITTER_FULL, .max_retries = -1,
		.hold_ms = 25000, .max_queue = 1024, .max_in_flight = 100,
		.idle_ms = IDLE_AUTO, .keepalive_ms = 60000, .probe_after_ms = 15000,
		.request_timeout_ms = 600000, .max_request_ms = 3600000,
		.breaker_threshold = 5,
		.trust_annotations = true, .idempotency_key = true,
		.offline_start = true, .initialize_wait_ms = 5000,
		.max_message = (size_t)128 * 1024 * 1024,
	};
	o->http = (struct http_config){
		.connect_timeout_ms = 10000, .cookies = true,
		.max_header_bytes = (size_t)256 * 1024, .high_water = (size_t)256 * 1024,
		.user_agent = "mcp-holdfast/" VERSION,
	};
	o->log_level = LOG_WARN;
	o->log_ring = true;
	o->auth.browser = true;
	o->auth.timeout_ms = 300000;
	o->auth.host = strdup("127.0.0.1");
	o->auth.callback_path = strdup("/oauth/callback");
	return o->auth.host && o->auth.callback_path ? 0 : -1;
}

static bool was_seen(const struct found *f, const char *name)
{
	return f->seen[index_of(option_find(name, strlen(name)))];
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
	return o->target ? 0 : out_of_memory(e);
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
		return err_set(e, "the first argument is neither a command nor a URL that begins with https://");
	if (url_parse(&o->url, text, &why))
		return err_set(e, "the URL can not be used: %.200s", why.text);
	if (f->nplain > 1 && take_port(o, f->plain[1], e))
		return -1;
	if (f->nplain && url_shows_secret(&o->url) && strings_add(&o->warnings, shown, sizeof(shown) - 1))
		return out_of_memory(e);
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

/* Certificates named by the environment: the first replaces the system's, the
 * second adds to them. A file that is not there is left out, as others do. */
static int take_certificates(struct options *o, struct err *e)
{
	const char *bundle = env_get(o->envp, "SSL_CERT_FILE", strlen("SSL_CERT_FILE"));
	const char *extra = env_get(o->envp, "NODE_EXTRA_CA_CERTS", strlen("NODE_EXTRA_CA_CERTS"));
	if (!o->cacert && bundle && *bundle && !access(bundle, R_OK)) {
		o->cacert = strdup(bundle);
		if (!o->cacert)
			return out_of_memory(e);
	}
	if (!extra || !*extra)
		return 0;
	if (access(extra, R_OK)) {
		static const char text[] = "NODE_EXTRA_CA_CERTS names a file that can not be read; going on without it";

		return strings_add(&o->warnings, text, sizeof(text) - 1) ? out_of_memory(e) : 0;
	}
	return 0;
}

static int take_store_key(struct options *o, struct err *e)
{
	const char *key = env_get(o->envp, OPTIONS_PREFIX "STORE_KEY", strlen(OPTIONS_PREFIX "STORE_KEY"));

	if (!key || !*key)
		return 0;
	o->auth.store_key = secret_new(key, strlen(key));
	return o->auth.store_key ? 0 : out_of_memory(e);
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

int options_parse(struct options *o, int argc, char **argv, char **envp, struct err *e)
{
	struct found f = { .nplain = 0 };
	int r;

	memset(o, 0, sizeof(*o));
	o->envp = envp;
	assert(option_count <= MARKS);
	if (set_defaults(o))
		return out_of_memory(e);
	r = help_wanted(argc, argv);
	if (!r)
		r = take_environment(o, &f, e);
	if (!r)
		r = take_argv(o, &f, argc, argv, e);
	if (!r)
		r = settle(o, &f, e);
	if (r)
		return r;
	point(o);
	return o->command == COMMAND_NONE ? OPTIONS_RUN : OPTIONS_SUBCOMMAND;
}

void options_fini(struct options *o)
{
	option_table_free(o);
	header_list_fini(&o->headers);
	header_list_fini(&o->given);
	strings_fini(&o->warnings);
	secret_free(o->auth.client_secret);
	secret_free(o->auth.client_info);
	secret_free(o->auth.store_key);
	text_free(o->auth.client_auth);
	text_free(o->auth.authorize_query);
	text_free(o->target);
	url_fini(&o->url);
	memset(o, 0, sizeof(*o));
}
