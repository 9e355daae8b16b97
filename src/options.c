/* From argv and the environment to struct options: walks the words, hands each
 * value to its setter (options_table.c), and has it settled what several of them
 * mean together (options_settle.c). Promises that nothing in the result points
 * into argv and that no message repeats a secret. It opens no connection and
 * writes no file.
 *
 * The environment goes first, so that argv has the last word; of options that
 * may be repeated, the values of both are kept. */
#include "options_internal.h"

#include <assert.h>
#include <ctype.h>
#include <stdlib.h>

#ifndef VERSION
#define VERSION "unknown"
#endif

#define LABEL_MAX 64

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

int options_no_memory(struct err *e)
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

static int take(struct options *o, struct found *f, const struct opt *opt, const char *value, const char *label, bool from_argv, struct err *e)
{
	const struct parse p = { .o = o, .e = e, .label = label, .from_argv = from_argv };
	char text[LABEL_MAX + 80];

	if (!f->seen[option_index(opt)] && (opt->flags & OPT_UNBUILT)) {
		snprintf(text, sizeof(text), "%s is accepted but does nothing here; going on without it", label);
		if (strings_add(&o->warnings, text, strlen(text)))
			return options_no_memory(e);
	}
	f->argv[option_index(opt)] |= from_argv;
	if (opt->set(&p, opt, value))
		return -1;
	if (opt->arg || value_bool(value, &f->seen[option_index(opt)]))
		f->seen[option_index(opt)] = true;
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
			return options_no_memory(e);
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
	return strings_add(&o->warnings, text, strlen(text)) ? options_no_memory(e) : 0;
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

/* ---- the parse --------------------------------------------------------------------- */

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

int options_parse(struct options *o, int argc, char **argv, char **envp, struct err *e)
{
	struct found f = { .nplain = 0 };
	int r;

	memset(o, 0, sizeof(*o));
	o->envp = envp;
	assert(option_count <= MARKS);
	if (set_defaults(o))
		return options_no_memory(e);
	r = help_wanted(argc, argv);
	if (!r)
		r = take_environment(o, &f, e);
	if (!r)
		r = take_argv(o, &f, argc, argv, e);
	if (!r)
		r = options_settle(o, &f, e);
	if (r)
		return r;
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
