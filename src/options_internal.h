/* What the files of the option parser share; nobody else includes it. */
#ifndef OPTIONS_INTERNAL_H
#define OPTIONS_INTERNAL_H

#include "options.h"

/* ---- the table (options_table.c) ------------------------------------------- */

enum opt_group {
	GROUP_CONNECTION, GROUP_RECONNECT, GROUP_LIVENESS, GROUP_LIMITS, GROUP_TOOLS,
	GROUP_SIGN_IN, GROUP_UNATTENDED, GROUP_REPORTS, GROUP_COMMANDS, GROUP_PEER, GROUP_OTHER,
	GROUP_COUNT
};

enum opt_scrub { SCRUB_NONE, SCRUB_ALL, SCRUB_HEADER, SCRUB_URL, SCRUB_INLINE /* all of it, unless it is @file */ };

#define OPT_MANY 1u     /* repeatable; in the environment one value a line */
#define OPT_NO_ENV 2u   /* makes no sense in the environment */
#define OPT_ZERO 4u     /* 0 is allowed below .min */
#define OPT_UNBUILT 8u  /* taken from mcp-remote's lists, does nothing yet */
#define OPT_FILE 16u    /* the value names a file (completion) */

/* One value being taken in: for whom, and what to call it in a message. */
struct parse {
	struct options *o;
	struct err *e;
	const char *label;   /* --hold-time or MCP_HOLDFAST_HOLD_TIME */
	bool from_argv;      /* where other users can read it */
};

/* Checks the value (NULL for a bare flag) and writes the field. 0 or -1 with
 * the reason in p->e. */
struct opt;
typedef int opt_setter(const struct parse *p, const struct opt *opt, const char *value);

struct opt {
	const char *name;
	char letter;               /* 0: none */
	const char *arg;           /* what stands for the value in --help; NULL: a flag */
	const char *help;
	enum opt_group group;
	unsigned flags;
	unsigned commands;         /* bit (1 << enum command) of each it belongs to; 0: the bridge's own */
	enum opt_scrub scrub;
	opt_setter *set;
	size_t at;                 /* offset in struct options */
	int64_t min, max;
	const char *words;         /* the allowed values, separated by blanks; NULL: anything */
};

extern const struct opt option_table[];
extern const size_t option_count;
extern const char *const option_groups[GROUP_COUNT];
extern const char *const command_names[COMMAND_COUNT];

const struct opt *option_find(const char *name, size_t n);
const struct opt *option_find_letter(char c);
/* The option's place in the table. */
size_t option_index(const struct opt *opt);
/* The option or command whose name is nearest to name; NULL when none is near. */
const char *option_nearest(const char *name, size_t n);
const char *command_nearest(const char *name);

/* Frees what the setters of the table allocated. */
void option_table_free(struct options *o);

/* ---- what several options mean together (options_settle.c) -------------------- */

#define POSITIONALS 2
#define MARKS 128 /* at least as many as there are options */

/* What was found on the way. */
struct found {
	bool seen[MARKS];       /* by index in the table: given at all; of a flag: and not as "no" */
	bool argv[MARKS];       /* ... on the command line */
	char *plain[1 + POSITIONALS];
	int nplain;
};

/* -1, with e saying so. */
int options_no_memory(struct err *e);
/* Checks and completes what was taken in. 0 or -1 with the reason in e. */
int options_settle(struct options *o, struct found *f, struct err *e);

/* ---- setters (options_set.c) -------------------------------------------------- */

/* The field of the option that is being set, as a pointer to its type. */
#define FIELD(type) ((type *)(void *)((char *)p->o + opt->at))

opt_setter set_flag, set_off, set_nothing, set_text, set_list, set_int, set_count, set_size,
	set_factor, set_delay, set_timeout, set_connect_timeout, set_idle, set_seconds,
	set_unclear_seconds, set_transport, set_jitter, set_second, set_level, set_verbose, set_debug,
	set_signing_alg, set_header, set_tool_timeout, set_codes, set_rate, set_quota, set_secret_json,
	set_json, set_url, set_document_url, set_resource, set_callback_path, set_host, set_proxy, set_socket,
	set_authorize_param;
/* --help, --version and --completion stop the parse. */
opt_setter set_stop;

/* ---- values (options_value.c), pure ------------------------------------------ */

/* Durations: digits, an optional fraction, an optional unit ms|s|m|h. Without
 * a unit *bare is true and *ms is the number itself (whole). 0 or -1 (not a
 * duration, or beyond int64). */
int value_duration(const char *s, int64_t *ms, bool *bare);
/* A whole decimal number, a sign allowed. 0 or -1. */
int value_int(const char *s, size_t n, int64_t *out);
/* Bytes: a whole number, an optional k, M or G (powers of 1024). 0 or -1. */
int value_size(const char *s, int64_t *out);
/* A plain decimal such as 1.5; no sign, no exponent. 0 or -1. */
int value_real(const char *s, double *out);
/* N/s or N/m with an optional :BURST (default: one second's worth, at least 1). 0 or -1. */
int value_rate(const char *s, double *per_s, double *burst);
/* yes|true|on|1 and no|false|off|0; NULL is yes. 0 or -1. */
int value_bool(const char *s, bool *out);
/* The index of s among the words (separated by blanks); -1 when it is none. */
int value_word(const char *s, const char *words);
/* Edit distance with neighbours swapped as one step; stops counting at 99. */
unsigned value_distance(const char *a, size_t na, const char *b);

/* Without blanks, tabs and line ends around it. */
struct span text_trim(struct span s);
bool text_is_nocase(struct span a, const char *s);

int strings_add(struct strings *l, const char *s, size_t n);
void strings_fini(struct strings *l);
/* A wiped free for text that may hold a secret. */
void text_free(char *s);

/* ---- headers (options_header.c) ---------------------------------------------- */

#define HEADER_MAX ((size_t)64 * 1024)  /* one header, expanded; one secret */
#define FILE_MAX ((size_t)1024 * 1024)  /* a header file, client info */

const char *env_get(char **envp, const char *name, size_t n);
/* Appends text with each ${NAME} replaced by the variable's value (as the
 * inside of a JSON string when json). -1: a variable that is not set is named
 * in e, or no memory. Anything else that begins with $ stays as it is. */
int env_expand(char **envp, struct span text, bool json, struct buf *out, struct err *e);
/* Reads a whole file of at most max bytes. 0, or -1 with a sentence that names the file. */
int options_read_file(const char *path, size_t max, struct buf *out, struct err *e);

void header_list_fini(struct header_list *l);
/* Checks and keeps `Name: value` (${ENV} expanded): replaces a header of the
 * same name. 0; 1: refused with a warning in *warning (one we set ourselves); -1. */
int header_add(struct header_list *l, char **envp, struct span line, const char **warning, struct err *e);
/* True when the name says that the value is a credential. */
bool header_is_secret(struct span name);
/* o->headers from userinfo, file and given. Warnings are added only when first. */
int headers_compose(struct options *o, bool first, struct err *e);

/* ---- secrets (options_secret.c) ---------------------------------------------- */

/* Client id and secret from their files and JSON. */
int client_load(struct options *o, struct err *e);
/* Whitens userinfo and query values of a URL, in place. */
void scrub_url(char *s);

#endif
