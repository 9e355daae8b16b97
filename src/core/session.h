/* The session: everything that is decided, and nothing that is done.
 *
 * It is told facts (a line from the client, what an HTTP transfer brought, the
 * time) and is asked what to do next. Every fact function takes `now`,
 * monotonic milliseconds. After each fact, session_next() is called until it
 * gives 0, and each action is carried out before the next fact is told: spans
 * in an action are borrowed until then, its header lines only until the next
 * action is taken. DESIGN: the state table and the
 * ledger table stand in the manual's INTERNALS. */
#ifndef CORE_SESSION_H
#define CORE_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/breaker.h"
#include "base/buf.h"
#include "base/span.h"
#include "core/config.h"
#include "wire/httpfacts.h"

struct session;

enum session_state {
	SESSION_START,  /* nothing asked for yet */
	SESSION_PROBE,  /* first handshake, finding the transport */
	SESSION_READY,
	SESSION_WAIT,   /* line down, waiting for the backoff */
	SESSION_REVIVE, /* saying again what the server must know */
	SESSION_AUTH,   /* a sign-in is under way */
	SESSION_DOWN,   /* retries used up */
	SESSION_DRAIN,  /* ending */
	SESSION_END,
	SESSION_STATES,
};
const char *session_state_name(enum session_state s);

enum era { ERA_NONE, ERA_SSE, ERA_HTTP, ERA_MODERN };
const char *era_name(enum era e);

enum action_kind {
	ACT_HTTP,    /* start transfer `token` */
	ACT_CANCEL,  /* end transfer `token` */
	ACT_WITHDRAW, /* the same, where nothing of its body has left; it is told of as one that was not sent */
	ACT_SEND,    /* write `text` to the client as one line. `owned` holds it when it is not borrowed; `token`
	              * is not 0 when it is the whole collected body of that transfer, whose block may be taken */
	ACT_LOG,     /* one log line */
	ACT_AUTH,    /* the head just told (of `token`) wants authorization; session_on_challenge() answers. `op` is the operation (0: none) */
	ACT_SECRET,  /* register `text` with the redactor before anything else is logged */
	ACT_CHANGED, /* state, era or counters changed in a way worth showing */
	ACT_DROP_IDLE, /* close idle pooled connections */
	ACT_REMEMBER,  /* offline memory: enum remember in `status`, `text` is the document to keep (one line; "": that kind is void) */
	ACT_END,     /* the loop may end; everything was answered */
};

enum header_set { HEADERS_BASE, HEADERS_SESSION }; /* without or with session id and version */

struct action {
	enum action_kind kind;
	/* ACT_HTTP */
	uint64_t token, op;
	enum http_method method;
	enum header_set headers;
	struct span url;      /* SPAN_NONE: the URL the user gave; else absolute, same origin */
	struct span lines;    /* extra headers, "Name: value\n" each; gone when the next action is taken */
	struct span body;     /* stays until the transfer is done or cancelled */
	int64_t timeout_ms;
	/* ACT_SEND, ACT_AUTH, ACT_SECRET, ACT_LOG, ACT_REMEMBER */
	struct span text;
	struct buf owned;     /* the taker's to free (buf_fini) or to move on */
	int status;
	int level;            /* enum log_level */
	const char *what;     /* a literal that tells one kind of line from another, NULL: none */
	int attempt;
	bool goes_on, unfinished; /* ACT_REMEMBER: a further page of the listing; more pages follow */
	const char *circuit;  /* breaker state, or NULL */
	int64_t latency_ms;
	char ref[9];
};

struct session_seed {
	uint64_t rng;
	unsigned char key[16];  /* for hashes */
	int log_level;          /* notes above it are not even formatted */
};

/* c is borrowed for the session's life. NULL: no memory. */
struct session *session_new(const struct core_config *c, const struct session_seed *seed, const char *url, int64_t now, int64_t wall_s);
void session_free(struct session *s);

/* ---- facts ----------------------------------------------------------------------- */

/* One line of the client. big: when not NULL it holds the line and its block
 * may be taken (then *big is empty afterwards). */
void session_on_client(struct session *s, struct span line, struct buf *big, int64_t now);
/* A line over the limit (or without memory): head is its beginning. */
void session_on_client_too_long(struct session *s, struct span head, int64_t now);
void session_on_client_eof(struct session *s, int64_t now);
/* The first signal drains; a second one ends at once (ACT_END). */
void session_on_signal(struct session *s, int64_t now);

enum body_mode { BODY_STREAM, BODY_COLLECT, BODY_DISCARD };
/* The head of a response; the answer says how the body is wanted. */
enum body_mode session_on_head(struct session *s, uint64_t token, const struct http_head *h, int64_t now);
/* Bytes of a body. Consumes from p,n; returns true while bytes are left, after
 * each message: carry out the actions, then call again. A collected body
 * comes in one piece and is writable. cut: it ended before its framing said so; a
 * complete answer in it counts. */
bool session_on_data(struct session *s, uint64_t token, char **p, size_t *n, bool cut, int64_t now);
void session_on_done(struct session *s, uint64_t token, const struct http_result *r, int64_t now);
/* A transfer could not even be started (memory, a bad URL). */
void session_on_start_failed(struct session *s, uint64_t token, const char *why, int64_t now);

/* What the sign-in says to a 401 or 403 (the answer to ACT_AUTH, before the
 * transfer's end is told). */
enum challenge {
	CHALLENGE_PASS,    /* no sign-in for this: an error to the client */
	CHALLENGE_AGAIN,   /* another token is in place: send again */
	CHALLENGE_PARK,    /* a flow runs: wait for session_on_auth() */
	CHALLENGE_REFUSE,  /* auth_required with this text */
};
void session_on_challenge(struct session *s, uint64_t token, enum challenge c, struct span text, int64_t now);
enum signin {
	SIGNIN_OK,       /* a token is in place: parked requests go out */
	SIGNIN_PENDING,  /* a person is asked; text says where (for requests that wait too long) */
	SIGNIN_REFUSED,  /* it failed; text says why: parked requests are refused */
};
void session_on_auth(struct session *s, enum signin o, struct span text, int64_t now);
/* Told before a refusal, of a challenge or of what is parked: no token is asked
 * for before `until`, since a server that gives them has been away for long; 0:
 * whenever one is wanted. */
void session_on_auth_pause(struct session *s, int64_t until);
/* Told before session_on_time(): the token that is wanted waits for this server
 * (a literal such as "authorization server"; NULL: for none), which is given up
 * at `until`. What is held for too long is refused with its name. */
void session_on_auth_awaits(struct session *s, const char *server, int64_t until);
/* Where a person signs in: a client that can elicit by URL is asked that way
 * (2025-11-25, client/elicitation, "URL Mode"). After SIGNIN_PENDING. */
void session_on_auth_url(struct session *s, struct span url, int64_t now);
void session_on_wake(struct session *s, bool forced, int64_t now);
void session_on_time(struct session *s, int64_t now, int64_t wall_s);
/* What an earlier run remembered of this server (offline start): one document
 * of ACT_REMEMBER. The handshake before the client's first line; lists, page
 * by page, when REMEMBER_RECALL asks for them. age_s: how old it is. */
enum remember {
	REMEMBER_RECALL = -2,  /* nothing to keep: the lists are wanted now */
	REMEMBER_NOTHING = -1, /* the credentials were refused: all that is kept must go */
	REMEMBER_HANDSHAKE,
	REMEMBER_LIST,         /* + enum catalog_list */
	REMEMBER_KINDS = REMEMBER_LIST + 4,
};
void session_on_memory(struct session *s, int kind, struct span text, int64_t age_s);

/* ---- what next ------------------------------------------------------------------------ */

/* Takes the next action, whose `owned` buffer is the caller's from now on: 1, or 0 when there is none. */
int session_next(struct session *s, struct action *a);
/* When session_on_time() must be called at the latest; 0: no need. */
int64_t session_deadline(const struct session *s);
/* False while the client should not be read (queues are full). */
bool session_wants_input(const struct session *s);
/* Header lines of HEADERS_SESSION beyond the base ("Name: value\n"), and a
 * number that changes when they do. */
struct span session_headers(const struct session *s, unsigned *generation);

/* ---- for status, metrics and the log ------------------------------------------------------ */

enum error_kind {
	ERR_UPSTREAM_UNAVAILABLE, ERR_CIRCUIT_OPEN, ERR_OUTCOME_UNKNOWN, ERR_TIMEOUT, ERR_QUEUE_FULL,
	ERR_RATE_LIMITED, ERR_AUTH_REQUIRED, ERR_MESSAGE_TOO_LARGE, ERR_BAD_UPSTREAM, ERR_UNSUPPORTED,
	ERR_SHUTTING_DOWN, ERROR_KINDS,
};
const char *error_kind_name(enum error_kind k);

/* Why a request was sent again. */
enum retry_why {
	RETRY_NOT_SENT,    /* the failure came before the server had it */
	RETRY_BUSY,        /* the server said when to come back */
	RETRY_REPEATABLE,  /* it may have run, and may run again */
	RETRY_SESSION,     /* the session was lost */
	RETRY_AUTH,        /* with other credentials */
	RETRY_ERROR,       /* --retry-errors */
	RETRY_WHYS,
};
const char *retry_why_name(enum retry_why w);

struct session_counters {
	uint64_t requests, answers, errors_upstream, errors[ERROR_KINDS];
	uint64_t retry_why[RETRY_WHYS], held;
	uint64_t retries, resumes, drops, reconnects, reconnect_tries, handshakes, session_losses;
	uint64_t notifications_in, notifications_out, server_requests;
	uint64_t bytes_in, bytes_out, breaker_changes, late_answers;
	int64_t state_ms[SESSION_STATES];
};

struct session_view {
	enum session_state state;
	enum era era;
	char version[16];
	enum breaker_state breaker;
	int64_t since_ms;        /* how long in this state */
	int64_t last_drop_ms;    /* how long ago, -1 never */
	int64_t last_drop_len_ms;/* how long it lasted, -1: still down */
	char last_drop_why[160];    /* a sentence, of a small set */
	char last_drop_detail[96];  /* what the transfer said: `Connection refused (curl 7)`, `HTTP 502`; "" nothing */
	int64_t next_try_ms;     /* from now, -1: none planned */
	size_t in_flight, held;
	int64_t idle_learned_ms;
	const struct session_counters *counters;
};
void session_look(const struct session *s, struct session_view *v, int64_t now);

/* An answered request, for histograms and traces; NULL takes the hook away. */
struct session_answer {
	struct span method, tool;  /* tool: decoded name, tools/call only */
	struct span id, params;    /* raw */
	struct span trace;         /* the traceparent that --trace-inject added; n == 0: none */
	int64_t latency_us_lower;  /* ms * 1000 */
	int64_t started_ms;
	unsigned attempts;
	int rpc_error;             /* 0: none */
	int own_error;             /* enum error_kind + 1; 0: none */
	bool tool_error;
};
void session_set_hook(struct session *s, void (*hook)(void *arg, const struct session_answer *a), void *arg);

#endif
