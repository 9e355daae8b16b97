/* Signing in, as a pure state machine: it is told facts (a 401, the answer to
 * an HTTP exchange it asked for, the browser's redirect, the time) and asked
 * for actions. It owns no descriptor and reads no clock, file or environment.
 *
 * One flow runs at a time; whoever else needs a token waits for the same one.
 * MCP authorization 2026-07-28 (discovery, registration, scopes, issuer
 * check), its 2025-03-26 fallbacks, the client credentials and enterprise
 * extensions; RFC 6749, 6750, 7523, 7591, 7636, 8252, 8414, 8628, 8693, 8707,
 * 9207, 9449, 9728. */
#ifndef AUTH_FLOW_H
#define AUTH_FLOW_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/jwt.h"
#include "auth/record.h"
#include "base/backoff.h"
#include "base/breaker.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

struct auth;

enum auth_mode {
	AUTH_MODE_CODE,        /* a person and a browser */
	AUTH_MODE_DEVICE,      /* a person and a browser elsewhere (RFC 8628) */
	AUTH_MODE_CLIENT,      /* client_credentials */
	AUTH_MODE_ENTERPRISE,  /* ID token -> ID-JAG -> access token */
	AUTH_MODE_ASSERTION,   /* a JWT from a file, presented once (RFC 7523) */
	AUTH_MODE_COMMAND,     /* a helper prints the token */
	AUTH_MODE_FILE,        /* a file holds the token */
};

struct auth_config {
	enum auth_mode mode;
	const char *mcp_url;             /* absolute, normalised */
	bool allow_http;                 /* plain http to hosts other than loopback */
	const char *resource;            /* --resource: instead of what is published; NULL */
	bool no_resource;                /* leave the resource parameter out */
	bool use_id_token;               /* the id_token is the bearer credential */
	const char *scope;               /* --scope: instead of the selection rule; NULL */
	const char *client_name;         /* for registrations */
	const char *client_id;           /* pre-registered; NULL */
	const struct secret *client_secret;
	const char *client_auth;         /* pre-registered token_endpoint_auth_method; NULL: chosen */
	const char *client_metadata_url; /* CIMD; NULL */
	struct span registration;        /* JSON object merged into a registration request; SPAN_NONE */
	struct span authorize_params;    /* ready-made "a=b&c=d" for the authorization URL; SPAN_NONE */
	const char *token_endpoint;      /* --token-endpoint: instead of the metadata's; NULL */
	const struct jwt_key *key;       /* private_key_jwt; borrowed; NULL */
	const char *idp_token_endpoint, *idp_client_id;
	const struct secret *idp_client_secret;
	bool dpop;
	const char *redirect_host;       /* 127.0.0.1 or localhost */
	int redirect_port;               /* fixed by the user; 0: a free one */
	const char *redirect_path;       /* /oauth/callback */
	int64_t timeout_ms;              /* for the person: 5 min */
	struct breaker_config breaker;   /* for each server that signing in depends on */
	struct backoff_config backoff;   /* the pace at which one that is away is asked again */
	int max_retries;                 /* so many failures after the first stand for an old outage; -1: none do */
	void (*random)(void *arg, void *p, size_t n);
	void *random_arg;
};

enum auth_phase {
	AUTH_OFF,        /* no token, nothing under way */
	AUTH_WORKING,    /* under way; no token to use meanwhile */
	AUTH_HAVE,       /* a token is there (perhaps being refreshed) */
	AUTH_GAVE_UP,    /* the last flow failed; auth_text() says why */
};

enum auth_do {
	AUTH_DO_NOTHING,
	AUTH_DO_LOAD,     /* read the stored record; then auth_on_loaded() */
	AUTH_DO_SAVE,     /* write auth_record(); then auth_on_saved() */
	AUTH_DO_LOCK,     /* get the cross-process lock, however long it takes, then read the
	                   * record again and say auth_on_locked() */
	AUTH_DO_UNLOCK,   /* release it, or stop trying */
	AUTH_DO_HTTP,     /* then auth_on_http() */
	AUTH_DO_CANCEL,   /* the exchange with this token is not wanted any more */
	AUTH_DO_LISTEN,   /* then auth_on_listening() */
	AUTH_DO_UNLISTEN, /* ok and text: what the browser is to be told */
	AUTH_DO_BROWSE,   /* show url to the person */
	AUTH_DO_SHOW,     /* device code: tell the person text (url and code in it) */
	AUTH_DO_COMMAND,  /* run the token command; then auth_on_value() */
	AUTH_DO_READ,     /* read file `which`; then auth_on_value() */
	AUTH_DO_SECRET,   /* register `secret` with the redactor before anything else */
	AUTH_DO_TOKEN,    /* the header changed: auth_access() */
	AUTH_DO_FAILED,   /* text says why, for people and language models */
	AUTH_DO_LOG,      /* level and text */
};

enum auth_log { AUTH_LOG_WARN, AUTH_LOG_INFO, AUTH_LOG_DEBUG };

enum auth_file { AUTH_FILE_TOKEN, AUTH_FILE_ID_TOKEN, AUTH_FILE_ASSERTION };

/* Spans and strings live until the next call into the machine. */
struct auth_action {
	enum auth_do kind;
	uint64_t token;             /* HTTP, CANCEL: counts from 1, below 2^48 */
	bool post;                  /* HTTP: POST, else GET */
	const char *url;            /* HTTP, BROWSE */
	const struct span *headers; /* HTTP: "Name: value" */
	size_t nheaders;
	struct span body;           /* HTTP: lives until auth_on_http() or CANCEL; secret */
	int64_t timeout_ms;         /* HTTP */
	size_t max_body;            /* HTTP: a longer answer is a failure */
	const char *issuer;         /* LOAD: whose record; NULL for the newest */
	const char *state;          /* LISTEN: the one accepted `state` */
	int port;                   /* LISTEN: 0 for a free one */
	bool ok;                    /* UNLISTEN */
	enum auth_file which;       /* READ */
	int level;                  /* LOG: enum auth_log */
	const char *circuit;        /* LOG: state of the circuit breaker the line is about, or NULL */
	struct span secret;         /* SECRET */
	const char *text;           /* SHOW, FAILED, LOG, UNLISTEN */
};

/* How an exchange ended. */
struct auth_answer {
	bool ok;                    /* a whole response came */
	bool unsent;                /* not ok, and the request can not have been seen */
	bool unfit;                 /* not ok, and no sign of an outage: an answer beyond use, or a fault of ours */
	const char *detail;         /* half a sentence when not ok */
	int status;
	struct span body, location, dpop_nonce, retry_after;
};

/* What a challenge led to. At most AUTH_MAX_PER_OPERATION flows are run for
 * one operation, the first one included. */
#define AUTH_MAX_PER_OPERATION 3

enum auth_verdict {
	AUTH_PARK,   /* a flow runs: wait for AUTH_DO_TOKEN or AUTH_DO_FAILED */
	AUTH_AGAIN,  /* a newer token or nonce is there already: send again now */
	AUTH_REFUSE, /* not to be cured: auth_text() */
	AUTH_PASS,   /* no matter of authorization: pass the answer on */
};

/* Copies what it needs but the secrets and keys, which are borrowed for its life. */
struct auth *auth_new(const struct auth_config *c, struct err *e);
void auth_free(struct auth *a);

/* The beginning: emits LOAD, or READ/COMMAND for those modes. */
void auth_start(struct auth *a, int64_t now, int64_t wall);

/* The MCP endpoint answered 401 or 403. used: generation of the token the
 * request went out with (auth_generation() then; 0: none). op: number of the
 * client's operation, for the limit of authorizations for one; 0: none. */
enum auth_verdict auth_on_challenge(struct auth *a, uint64_t op, unsigned used, int status,
	struct span www_authenticate, struct span dpop_nonce, int64_t now, int64_t wall);
/* A person is about to sign in (login): until then nothing is renewed ahead of time. */
void auth_await_sign_in(struct auth *a);
/* A person asks to sign in now, whatever is kept. challenge: what the
 * server says to a request without a token; SPAN_NONE. within_ms: so long may it
 * take to find out where, once it is our turn; 0: as long as it takes. */
void auth_sign_in(struct auth *a, struct span www_authenticate, int64_t within_ms, int64_t now, int64_t wall);

void auth_on_loaded(struct auth *a, const struct auth_record *r, int64_t now, int64_t wall); /* NULL: none */
/* r: what is kept now; NULL: nothing, and what was kept is signed out of. Where it
 * can not be told, auth_record(). */
void auth_on_locked(struct auth *a, const struct auth_record *r, int64_t now, int64_t wall);
/* What became of AUTH_DO_SAVE; also, with false, after auth_on_loaded() with a
 * record from elsewhere. What could not be kept is not given up for what is kept. */
void auth_on_saved(struct auth *a, bool ok);
/* The lock is held by another process, which shows this address (may be ""). */
void auth_on_lock_busy(struct auth *a, const char *url);
/* And its sign-in has failed: to be said before auth_on_locked(). A person who
 * has just declined, or is not there, is not asked again by each that waited. */
void auth_on_lock_vain(struct auth *a);
void auth_on_http(struct auth *a, uint64_t token, const struct auth_answer *ans, int64_t now, int64_t wall);
/* port 0: could not listen, why says so. */
void auth_on_listening(struct auth *a, int port, const char *why, int64_t now);
void auth_on_redirect(struct auth *a, struct span query, int64_t now, int64_t wall);
void auth_on_value(struct auth *a, struct span value, const char *why, int64_t now, int64_t wall);
void auth_on_time(struct auth *a, int64_t now, int64_t wall);
/* The token file changed: read it again. */
void auth_on_changed(struct auth *a, int64_t now);
/* A DPoP-Nonce of the MCP server, with any answer. */
void auth_on_nonce(struct auth *a, struct span nonce);
/* Gives the flow up, for shutdown or logout. */
void auth_abort(struct auth *a, const char *why);

/* Takes the next action: true, or false when there is none. */
bool auth_next(struct auth *a, struct auth_action *out);
/* Monotonic ms of the next auth_on_time(); 0: none. */
int64_t auth_deadline(const struct auth *a);

enum auth_phase auth_phase(const struct auth *a);
/* Counts the tokens; 0 before the first. */
unsigned auth_generation(const struct auth *a);
/* Appends "Authorization: Bearer <token>"; 0, or -1 when there is no token. */
int auth_header(const struct auth *a, struct buf *out);
/* Appends "DPoP: <proof>" for one request to the MCP endpoint: 1; 0 when the
 * token is no DPoP token; -1 failure. */
int auth_dpop(struct auth *a, const char *method, const char *url, int64_t wall, struct buf *out);
/* What is kept; valid until the next call. */
const struct auth_record *auth_record(const struct auth *a);
/* Why the last flow failed, or what the running one waits for. */
const char *auth_text(const struct auth *a);
/* Ms for which no sign-in asks for a token, since a server that gives them has
 * been away for long; 0: none. */
int64_t auth_pause(const struct auth *a, int64_t now);
/* Which server a token that is wanted waits for, a literal such as
 * "authorization server"; NULL: none. *until: monotonic ms at which this attempt
 * is given up, or the next one begins. */
const char *auth_awaits(const struct auth *a, int64_t *until);
/* The circuit breakers of the servers that give tokens, as they are from now on:
 * it lives and changes with the machine. */
const struct breaker_view *auth_breaker(const struct auth *a);
/* A person has to act, and AUTH_DO_BROWSE or AUTH_DO_SHOW was given. */
bool auth_waits_for_person(const struct auth *a);
/* The answer is due to what is taken only once: a code or a refresh token. Who
 * ends before it has come loses the sign-in. */
bool auth_is_spending(const struct auth *a);
/* Nobody wants a token any more: what is under way asks no person, whatever
 * comes of it. */
void auth_on_end(struct auth *a);
const char *auth_state_name(const struct auth *a);

#endif
