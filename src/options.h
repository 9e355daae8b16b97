/* What the user asked for: argv and the MCP_HOLDFAST_* environment, parsed,
 * checked and copied. One table (options.c) drives the parser, --help, the
 * environment names, the suggestions for a misspelt name and the completions.
 *
 * Every string here is owned by struct options and stays until options_fini();
 * nothing points into argv, so that argv may be scrubbed after parsing. */
#ifndef OPTIONS_H
#define OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"
#include "base/redact.h"
#include "base/secret.h"
#include "base/url.h"
#include "core/config.h"
#include "io/http.h"

#define OPTIONS_PREFIX "MCP_HOLDFAST_"

/* What main is to do. OPTIONS_BAD: a usage error; exit status 2. */
enum options_action {
	OPTIONS_BAD = -1,
	OPTIONS_RUN,         /* be a bridge to o->url */
	OPTIONS_HELP,        /* options_print_help() */
	OPTIONS_VERSION,
	OPTIONS_COMPLETION,  /* options_print_completion() */
	OPTIONS_SUBCOMMAND,  /* o->command */
};

enum command {
	COMMAND_NONE,
	COMMAND_STATUS,      /* json, watch */
	COMMAND_LOG,         /* target, follow */
	COMMAND_DOCTOR,      /* url, every bridge option, json, wait_ms */
	COMMAND_LOGIN,       /* url, every bridge option */
	COMMAND_LOGOUT,      /* url, every bridge option */
	COMMAND_LIST,
	COMMAND_COUNT
};

struct strings { char **v; size_t n; };

/* One header that the user wants sent to the origin of the URL. */
struct header { char *name; struct secret *value, *typed; }; /* typed: before ${NAME} was replaced; NULL: the same */
struct header_list { struct header *v; size_t n; };

struct tool_timeouts { struct tool_timeout *v; size_t n; }; /* the globs are owned */
struct numbers { int64_t *v; size_t n; };

/* Signing in. Files that may change are kept as paths, to be read when needed. */
struct auth_options {
	char *client_id;
	struct secret *client_secret;   /* from --client-secret-file or the client info; NULL for none */
	char *client_secret_file;
	struct secret *client_info;     /* --static-oauth-client-info: the JSON text, ${ENV} expanded; NULL for none */
	char *client_metadata;          /* --static-oauth-client-metadata: JSON text; NULL for none */
	char *client_metadata_url;      /* https, with a path */
	int callback_port;              /* 0: any free one */
	bool callback_port_fixed;       /* given by the user: never another one */
	char *host;                     /* in the redirect URI; default 127.0.0.1 */
	char *callback_path;            /* default /oauth/callback */
	char *success_url;              /* --auth-success-url; NULL: our own page */
	int64_t timeout_ms;             /* --auth-timeout; 300000 */
	bool browser;                   /* false: --no-browser */
	bool device_code;
	bool client_credentials;
	char *private_key_file;
	char *signing_alg;              /* "EdDSA" or "ES256"; NULL: by the key */
	char *token_endpoint;           /* skips discovery; only with client_credentials */
	char *idp_token_endpoint, *idp_client_id, *id_token_file;
	char *assertion_file;
	bool dpop;
	char *token_command;            /* split at blanks and run, or */
	bool token_command_shell;       /* given to /bin/sh -c */
	char *token_file;
	char *store_key_file;
	struct secret *store_key;       /* MCP_HOLDFAST_STORE_KEY; NULL for none */
	bool import;                    /* --import: mcp-remote's files */
	char *scope;
	char *resource;
	bool no_resource;               /* --disable-resource-parameter */
	bool use_id_token;
	char *client_auth;              /* token_endpoint_auth_method of the info or metadata; NULL: chosen */
	struct strings authorize_params; /* "key=value" */
	char *authorize_query;          /* the same, percent-encoded and joined by '&'; NULL for none */
};

struct options {
	enum command command;
	char *target;                   /* `log`: a name or a process id; NULL for none */
	bool json, watch, follow;
	int64_t wait_ms;                /* `doctor --wait`; 0: do not wait */
	char *completion_shell;         /* bash, zsh or fish */

	struct url url;                 /* url.text is NULL when none was given */
	bool allow_http;
	bool legacy_only;               /* --protocol legacy */

	struct core_config core;        /* complete; points into the lists below */
	struct http_config http;        /* complete; points into the strings below */
	struct log_config log;          /* complete but for the redactor; with --silent it is quiet, and without a file LOG_SILENT */

	enum log_level log_level;       /* as asked for, --silent apart */
	int verbose;                    /* levels more, taken into log_level at the end */
	bool silent;
	bool log_ring;                  /* false: --no-log-ring */
	char *metrics_file;
	bool trace_inject;
	struct strings ignore_tools;    /* globs of tools the client must not see */

	struct header_list headers;     /* what to send: URL userinfo, then --header-file, then --header; one of a name */
	char *header_file;              /* NULL for none; see options_reload_headers() */
	struct auth_options auth;

	struct strings warnings;        /* one sentence each, for the log, no secret in them */

	/* Owned strings that the structs above point to. */
	char *name, *log_file, *cacert, *cert, *key, *proxy, *unix_socket;
	struct strings retry_tools, no_retry_tools;
	struct tool_timeouts tool_timeouts;
	struct numbers retry_errors;
	struct header_list given;       /* --header and the environment's */
	char **envp;                    /* borrowed */
};

/* Fills *o from argv and envp. Returns an enum options_action; OPTIONS_BAD with
 * the reason (and the nearest name, if there is one) in *e. *o is to be given
 * to options_fini() in every case. Reads the files that options name with
 * their contents (--header-file, --client-secret-file, @file), nothing else. */
int options_parse(struct options *o, int argc, char **argv, char **envp, struct err *e);
/* Wipes what is secret and frees everything. */
void options_fini(struct options *o);
/* Overwrites, in place, what may be secret in argv (header values, userinfo
 * and query values of URLs, the proxy's userinfo, client info). After options_parse(). */
void options_scrub_argv(int argc, char **argv);
/* Registers header values (whole, and the credential behind the scheme; of
 * Basic the decoded password too), userinfo, query values (raw and decoded),
 * proxy credentials, client secret and store key. 0, or -1: no memory. */
int options_register_secrets(const struct options *o, struct redactor *r);
/* Reads --header-file again: o->headers and core.user_authorization are as the
 * file says now. On failure -1, e says why, and the headers stay as they were.
 * Does nothing when there is no such file. */
int options_reload_headers(struct options *o, struct err *e);

void options_print_help(FILE *out);
/* The completion script for a shell of bash, zsh, fish. 0, or -1: unknown shell. */
int options_print_completion(const char *shell, FILE *out);

#endif
