/* The inside of the session, shared by the files that make it up:
 *   session.c   state and timers                 action.c   what it asks for
 *   outage.c    the line going down and back     ending.c   the end
 *   intake.c    what the client says
 *   exchange.c  the facts HTTP tells             judge.c    what a response means
 *   attempt.c   attempts and the ledger rule     deliver.c  what the server says
 *   pump.c      sending what waits, in time      xfer.c     transfers by number
 *   stream.c    the standing stream              outbox.c   notifications and answers upstream
 *   replay.c    saying again to a new session    compare.c  what it offers, against what was told
 *   past.c      sessions that were replaced
 *   keepalive.c pings in good times              offline.c  an earlier run's memory
 *   eras*.c     translation between eras         inject.c   trace context
 * Nothing outside src/core/ includes this. */
#ifndef CORE_SESSION_I_H
#define CORE_SESSION_I_H

#include "base/bucket.h"
#include "base/retry_after.h"
#include "base/rng.h"
#include "core/answer.h"
#include "core/catalog.h"
#include "core/dialect.h"
#include "core/request.h"
#include "core/retry.h"
#include "core/session.h"
#include "core/tools.h"
#include "core/verdict.h"
#include "wire/jsonrpc.h"
#include "wire/sse.h"

/* Why a request is refused that would wait for the end of a Retry-After. */
#define DISCOVER_BREAKS 3 /* so often server/discover may be left without an answer before that is one */
#define LEFT_ALONE "The server asked to be left alone for longer than a request may wait"

#define SUBS_FULL "There are 10,000 subscriptions, and no more can be kept. Unsubscribe from some first"

/* log levels, by the numbers of base/log.h, which the core does not include */
enum { NOTE_ERROR = 1, NOTE_WARN, NOTE_INFO, NOTE_DEBUG, NOTE_TRACE };

enum xfer_kind {
	XF_REQUEST,   /* POST of a ledger request */
	XF_OUT,       /* POST of a notification or an answer */
	XF_STREAM,    /* standing GET: the whole session on 2024-11-05 */
	XF_RESUME,    /* GET with Last-Event-ID for a ledger request */
	XF_STEP,      /* POST of notifications/initialized of ours */
	XF_DELETE,
};

struct xfer {
	uint64_t token;
	enum xfer_kind kind;
	struct request *rq;         /* XF_REQUEST, XF_RESUME */
	struct outmsg *om;          /* XF_OUT */
	int status;                 /* 0 before the head */
	bool sse, json, answered, garbage, too_large;
	bool conclusive;             /* what has come says all, however the transfer ends */
	bool had_session;
	enum era era;               /* the server's when it began */
	int64_t retry_after_ms;     /* -1: none */
	bool insufficient_scope;
	struct sse parser;
	struct buf body;            /* the beginning of a body that is no stream, for the verdict */
	struct buf location;
	struct buf url, lines;
	struct buf rest;            /* the body, when its request went before the transfer */
	unsigned redirects;
	uint64_t epoch;
	int64_t rx_at;              /* last byte */
	int64_t started, linger_until; /* linger: its answer came, or a head that says enough, and it did not end yet */
	enum challenge challenge;
	struct buf challenge_text;
	struct xfer *next;          /* free list */
};

/* A notification or an answer on its way up; sent one after another. */
struct outmsg {
	uint64_t seq;
	struct buf line;
	uint64_t token;             /* the request that waits for it; 0: nobody knows which */
	bool is_answer;             /* sent again on any doubt */
	bool is_initialized;
	bool is_cancel;             /* not waited for, never sent again */
	uint64_t epoch;             /* the session it goes to, 0: whichever is the current one */
	unsigned attempts;
	int64_t not_before, queued;
	uint64_t xfer;
	struct outmsg *next;
};

/* A request of the server that the client has not answered yet. */
struct srvreq {
	struct buf id;
	uint64_t epoch;
	uint64_t token;             /* the call that asked on its own stream, 0: not known */
	struct srvreq *next;
};

struct subscription {
	struct buf params;
	struct span uri;            /* within params */
	bool due;                   /* the server has not been told yet */
	struct subscription *next;
};

enum stream_state { STREAM_OFF, STREAM_WAITING, STREAM_OPENING, STREAM_LIVE, STREAM_NONE };
struct stream {
	enum stream_state state;
	uint64_t xfer;
	struct backoff backoff;
	struct buf last_id;
	uint64_t *seen;
	unsigned nseen;
	int64_t retry_ms, next_at, opened_at, byte_at;
	int64_t longest_gap;         /* between bytes, while live */
	unsigned gaps;
	bool existed, resumed;       /* existed: it was open once in this session */
	bool headless;               /* opening for long: a server may send the head with the first event, */
	bool suspected, blocks;      /* or may not answer anything else meanwhile: it is asked, and does not */
	unsigned failures;           /* in a row */
	bool gap;                    /* it broke, and can not be resumed: something may be missed */
	int64_t compare_at, compared_at; /* what the server offers is compared with what the client knows */
};

struct session {
	const struct core_config *c;
	int note_level;
	struct rng rng;
	uint64_t seed;
	char nonce[12];
	int64_t now, wall_s;

	enum session_state state, auth_from;
	int64_t state_since;
	enum era era;                /* decided by success only */
	enum era known_era;          /* what an earlier run found; ERA_NONE: nothing */
	enum era trying;             /* PROBE and REVIVE: the transport under way */
	bool tried_http, tried_sse, tried_modern;
	uint64_t epoch;              /* of the upstream session; changes with every handshake */
	char version[16];
	struct buf sid;              /* Mcp-Session-Id */
	struct buf endpoint;         /* 2024-11-05 POST URL, absolute */
	struct buf headers;
	unsigned headers_gen;
	char *url;                   /* the user's */

	struct ledger ledger;
	size_t parked, parked_bytes, in_flight, window;
	int64_t window_at;           /* when the window opens further by itself */
	bool pump_due;               /* a slot is free since the last look */
	int64_t next_due;            /* lower bound of the requests' deadlines, 0 none */
	struct buf scratch, out;

	struct xfer **xfers;         /* by index */
	size_t nxfers, live_xfers;
	struct xfer *free_xfers;
	uint32_t *xgen;

	struct outmsg *outbox, **outbox_tail;
	uint64_t out_seq, out_done;  /* last queued, last finished barrier notification */
	size_t outbox_len;
	struct past *past;           /* sessions before this one in which calls run on */
	struct srvreq *srvreqs;
	size_t nsrvreqs;

	struct stream stream;
	struct backoff backoff;
	struct breaker breaker;
	struct bucket bucket;
	int64_t wait_until, outage_since, down_until, rate_until;
	unsigned streak;             /* failed attempts in a row */
	unsigned revived_misfits;    /* REVIVE: so often in a row the transport did not fit that was found once */
	int64_t gone_times[6];       /* session-gone verdicts, newest first */
	bool gone_once;              /* in this outage */
	bool force_init;             /* the session id is known to be dead */
	bool redirect_told;          /* in the log, that the URL is not the best one */
	bool no_resume;              /* GET was refused (405): streams are not fetched again in this session */
	int64_t last_drop_at, last_drop_len;
	char drop_why[160];
	char reason[96];             /* why the last round of attempts failed; "" nothing did */
	bool reason_kept, reason_url; /* this round has given its reason; which looks like that of a wrong URL */
	char detail[96], drop_detail[96]; /* how the transfer ended whose end is being told; the same of the last drop */

	/* handshake */
	bool client_initialized;     /* the client's initialize was answered with a result */
	bool initialized_sent;       /* it has sent notifications/initialized */
	bool client_modern, client_seen, client_seen_era;
	bool client_bound;           /* to the stateless protocol: it has used it for more than to ask whether it is spoken */
	struct buf init_params;      /* params of the client's initialize */
	struct buf init_result;      /* result the client was given */
	struct buf init_error;       /* an error answer to initialize, kept while other transports are tried */
	struct buf level_params;
	struct subscription *subs;
	size_t nsubs;
	struct request *handshake;   /* the client's initialize, while unanswered */
	unsigned stale_steps;        /* of this revival, that met a dead pooled connection */
	unsigned discover_breaks;    /* server/discover that was not answered, since one was */
	unsigned step;               /* REVIVE: enum replay_step */
	unsigned odd_steps;          /* answers to its steps that were no MCP message */
	unsigned failed_probes;      /* pings in a row to which it said HTTP 500 */
	bool ping_fails;             /* HTTP 500 is what a ping gets though a handshake works */
	int64_t step_ms;             /* twice what the last handshake took: a step may take that, if it is more than STEP_MS */
	bool replay_owed;            /* the session was made again and has not been told everything yet */
	struct subscription *step_sub; /* said last; NULL: none so far */
	bool step_sub_gone;          /* that one was forgotten meanwhile, and step_sub is the one before it */
	struct request *step_rq;

	struct catalog *catalog;
	struct digest relist_digest;
	int relist_kind;             /* list being compared, -1 none */
	bool relist_owed, relist_missed; /* a comparison was begun and not finished; the line failed one of its lists */
	bool relist_pending[LIST_COUNT], relist_quiet[LIST_COUNT]; /* quiet: the client was told already */
	bool revived_news;           /* list_changed came in the new session, and was followed at once */
	int64_t learn_at, learned_at; /* tools are listed then, 0 not; when that was done last */
	int64_t revived_at;
	unsigned relist_pages;

	int64_t keepalive_now, last_rx;
	int64_t pinged_at;           /* the last ping that was answered */
	struct request *ping;
	int64_t idle_learned;

	struct buf auth_text;
	uint64_t auth_rounds;
	int64_t auth_pause_until, auth_awaits_until;
	const char *auth_awaits;

	void *reserve;               /* given back when memory is short, so that an error can still be told */
	bool eof, signalled, ended, end_told;
	int64_t drain_until;
	size_t deletes;              /* sessions being given back */
	int64_t quota_used_ms;
	uint64_t quota_used;

	struct action *acts;
	size_t nacts, acts_head, acts_cap;

	struct session_counters n;
	void (*hook)(void *, const struct session_answer *);
	void *hook_arg;
	struct xfer *cur;            /* whose bytes are being read */
	struct buf grave;            /* its last event, when it ended itself */
	struct span cur_whole;       /* its whole collected body */
	size_t lingering;
	struct eras *eras;           /* translation between eras, NULL until needed */

	struct memory *memory;       /* of an earlier run, until the server is there; NULL: none */
	bool offline;                /* the client was answered from it */
	bool remembered;             /* this run's handshake was handed out to be kept */
	bool credentials_refused;    /* a 401 or 403 came, and no success after it */
	unsigned kinds;              /* bit for each list that the server offers */
	unsigned stale_lists;        /* bit for each list that was answered from it, or is offered since or no more */
};

#define OUT_MAX ((size_t)1 << 40)
#define PROVEN_MS 5000               /* open this long, a stream has earned its first backoff step */

/* ---- action.c -------------------------------------------------------------------------- */
void session_note(struct session *s, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
struct action *session_act(struct session *s, enum action_kind k);
/* A line to the client: borrowed text, or (owned) a buffer whose block is taken.
 * False: there was no memory, and nothing will be said. */
bool session_send(struct session *s, struct span text);
bool session_send_owned(struct session *s, struct buf *b);
/* Answers of ours, for which the reserve is there. False: not even that was enough. */
bool session_send_result(struct session *s, struct span id, struct span result);
bool session_send_error(struct session *s, struct span id, int code, const char *message, struct span data);
bool session_send_own_error(struct session *s, struct span id, const struct own_error *e);
/* An allocation failed: true when the reserve was there and is free now, so that it may be tried once more. */
bool session_relieve(struct session *s);

/* ---- session.c ------------------------------------------------------------------------- */
void session_enter(struct session *s, enum session_state to, const char *why);
/* A ping asks whether we live: while the line is down the answer is ours. */
void session_answer_pings(struct session *s);
/* The deadline t (absolute) must be looked at. */
void session_due(struct session *s, int64_t t);
void session_set_session_id(struct session *s, struct span sid);
void session_rebuild_headers(struct session *s);
/* Ms until a sign-in may be tried again, -1: it may be at any time. */
int64_t session_auth_pause(const struct session *s);

/* ---- outage.c -------------------------------------------------------------------------- */
/* The line is down: WAIT with backoff, DOWN when the retries are used up. floor_ms: a
 * Retry-After, or -1. quick: the first attempt comes at the stream's own pace. */
void session_line_down(struct session *s, const char *why, int64_t floor_ms, int64_t quick_ms);
/* In WAIT, where a request of the client is held: the next attempt comes as
 * backoff_held() says, if the backoff would be later. */
void session_owe_attempt(struct session *s);
/* A round of attempts to find the server begins (it tries one transport after the other);
 * one of them failed. The first says the most, and is told to those who waited in vain. */
void session_round_begins(struct session *s);
void session_round_failed(struct session *s, const char *why);
/* Everything is said: READY, and what is parked goes out gently. */
void session_ready(struct session *s);
void session_succeeded(struct session *s);
/* A failed attempt, for the breaker. */
void session_failed_attempt(struct session *s, bool exhausted);
/* Credentials are wanted that nobody has: everything waiting is told. */
void session_auth_refused(struct session *s, const char *what);
/* Tells those of the waiting that may not wait until `beyond` (absolute); 0: all. */
void session_refuse_parked(struct session *s, int64_t beyond, enum error_kind k, const char *what, int64_t retry_after_ms);
/* Drops the steps of a handshake or comparison that is over. */
void session_drop_steps(struct session *s);
/* The server speaks a protocol version now that the client did not agree to. */
void session_unacceptable(struct session *s);
/* WAIT is over (or a request woke us): PROBE or REVIVE. */
void session_reconnect(struct session *s);
/* Session lost: close its streams, forget its id, answer or park what was in flight. */
void session_forget(struct session *s);

/* ---- ending.c -------------------------------------------------------------------------- */
/* A redirect of the DELETE (the other _follow(): of a transfer of theirs) is followed to
 * url. False: it is not, and the response to be judged as it is. */
bool ending_follow(struct session *s, struct xfer *x, struct span url);
/* Gives the session back to its server, which is about to be replaced, unless a
 * call runs in it (transports, "Session Management", 5). */
void session_give_back(struct session *s);
/* Drops all that is under way, without an answer, and gives the session back to
 * its server, beside all else. */
void session_leave(struct session *s);
/* Ends when nothing is owed any more. */
void session_check_drained(struct session *s);
/* The time for the last answers is over: true, and it ended or is ending. */
bool session_drain_over(struct session *s);

/* ---- transfers (exchange.c) -------------------------------------------------------------- */
struct xfer *xfer_find(struct session *s, uint64_t token);
struct xfer *xfer_start(struct session *s, enum xfer_kind kind, enum http_method m, enum header_set hs, struct span body, int64_t timeout_ms);
/* Its extra header lines and URL are complete: into the action. */
void xfer_ready(struct session *s, struct xfer *x);
void xfer_cancel(struct session *s, uint64_t token);
/* Is there a transfer that was not begun yet? */
bool xfer_starting(const struct session *s);
/* The sign-in is over: c for those whose 401 has come, but whose end has not. */
void xfers_signed(struct session *s, enum challenge c, struct span text);
#define LINGER_MS 2000 /* all it was made for has come */
/* It may end by itself for so long. One that was not answered is judged then by what has come. */
void xfer_linger(struct session *s, struct xfer *x, int64_t ms);
void xfer_free(struct session *s, struct xfer *x);
/* Posts it. 0, or -1 when there was no memory (then it was refused already). */
int request_post(struct session *s, struct request *r);
/* Back to the queue, for `why`; not earlier than not_before. */
void request_park(struct session *s, struct request *r, int64_t not_before);
/* Counts a request of the client that waits while the line is not ready, once. */
void request_note_held(struct session *s, struct request *r);
/* May it be sent again though it may have run? As its tool is known now, not as it was when the call came. */
bool request_repeatable(const struct session *s, const struct request *r);
/* Ours: an error to the client (or to the purpose), and gone. */
void request_refuse(struct session *s, struct request *r, enum error_kind k, const char *what, int64_t retry_after_ms);
/* An attempt ended without an answer; processed: it may have run. Decides and may free r. */
struct failure { const char *what; bool may_have_run; bool line; int64_t retry_after_ms; enum error_kind kind; bool stale; /* a pooled connection had died */ bool heard; /* by an answer, which speaks for the line */ int status; /* 0: none, or of no interest */ };
void request_failed(struct session *s, struct request *r, const struct failure *f);
/* The same for one whose answer can not come any more, and which may have run. */
void request_unheard(struct session *s, struct request *r);
/* Cancels what is under way and forgets it, without an answer. */
void request_drop(struct session *s, struct request *r);
/* The request's attempt is over: its transfer is closed, slot given back. */
void request_detach(struct session *s, struct request *r);
/* One message of the server. r: the request whose exchange brought it, or NULL. */
void exchange_message(struct session *s, struct request *r, struct span text);
/* The same of one that is parsed already. */
void exchange_parsed(struct session *s, struct request *r, struct rpc_msg m);
/* The response of x does not end: it is judged by what has come of it. */
void exchange_cut(struct session *s, struct xfer *x);
/* Counts a session-gone verdict: true when they come too often to be followed at once. */
bool session_gone_often(struct session *s);
/* An answer to r came. */
void exchange_answer(struct session *s, struct request *r, const struct rpc_msg *m);
void exchange_release(struct session *s, struct request *r);
/* An answer came and can not be passed on for want of memory: the client is told that instead. */
void exchange_answer_lost(struct session *s, const struct request *r);
/* A page of a list goes to the client. */
void exchange_learn_page(struct session *s, const struct request *r, enum catalog_list l, struct span result);
void session_pump(struct session *s);
/* How many requests may be under way at once: one after an outage, then twice as many with each success. */
void session_narrow(struct session *s);
void session_widen(struct session *s);
#define STEP_MS 15000 /* for what the bridge asks itself; more for a handshake that is slow */
void request_new_own(struct session *s, struct request **out, enum req_purpose p, const char *method, struct span params);
/* Tells the hook that the client has its answer, and which. */
void request_tell(struct session *s, const struct request *r, int rpc_error, struct span result);
void request_deliver_result(struct session *s, struct request *r, struct span result);
void session_request_times(struct session *s);
/* It is answered by nobody's POST: out of the queue, without a transfer or a time limit. */
void request_hold_open(struct session *s, struct request *r);
/* No answer is due before `until` (0: the usual limits again). */
void request_keep_waiting(struct session *s, struct request *r, int64_t until);

/* ---- inject.c ------------------------------------------------------------------------------ */
/* Adds a traceparent to the body of r for this attempt, where the user asked for it. 0 or -1. */
int inject_trace(struct session *s, struct request *r);

/* ---- attempt.c, deliver.c, judge.c: for each other, exchange.c and pump.c ---- */
/* Its slot of --max-in-flight is free again; out of the queue, into state `to`. */
void request_slot_free(struct session *s, struct request *r);
/* A request that is under way and had given its slot back counts again, whether there is room or not. */
void request_slot_take(struct session *s, struct request *r);
/* The server is done with it, as far as --session-quota goes. */
void request_spend(struct session *s, struct request *r);
void request_unpark(struct session *s, struct request *r, enum req_state to);
/* When a quiet call is probed; 0 never. */
int64_t request_probe_after(const struct session *s);
/* An attempt to url (SPAN_NONE: the usual one) after so many redirects. */
int request_post_to(struct session *s, struct request *r, struct span url, unsigned redirects);
/* Its response stream can be taken up again, by its event ids and in its own session. */
bool request_can_resume(const struct session *s, const struct request *r);
/* GET with Last-Event-ID. */
void request_resume(struct session *s, struct request *r);
/* The same at url (SPAN_NONE: the usual one), the request's state and times apart. 0, or -1: no memory. */
int request_resume_at(struct session *s, struct request *r, struct span url, unsigned redirects);
/* Its attempt failed. True when its attempts have failed for the hold time: the line
 * may be well, but this request is not answered over it. */
bool request_patience_over(struct session *s, struct request *r);
/* When the next attempt of this one request may come. */
int64_t request_backoff(struct session *s, struct request *r, int64_t retry_after_ms);
/* The `retry` that the server gave for its stream; 0: none. */
int64_t request_pace(const struct request *r);
/* Its response stream ended without the answer; clean: properly. */
void request_stream_ended(struct session *s, struct request *r, bool clean, const char *what);
/* Which request an answer's id belongs to; r: whose exchange brought it. */
struct request *exchange_find(struct session *s, struct request *r, struct span id);
/* A failed transfer in words and facts. */
void failure_of_result(const struct http_result *r, struct failure *f);
void session_gone(struct session *s, struct xfer *x, struct request *r);
void judge_too_large(struct session *s, struct request *r);
void judge_bad_answer(struct session *s, struct xfer *x, struct request *r);
void judge_response(struct session *s, struct xfer *x, struct request *r);
/* Tells r's client of a refusal that was kept: the status and the body it had. */
void judge_refusal(struct session *s, struct request *r, int status, struct buf *body);
/* x is no POST of a request (r: that of an XF_RESUME) and was answered with a redirect: true when it is followed. */
bool judge_redirect(struct session *s, struct xfer *x, struct request *r);
void judge_resume(struct session *s, struct xfer *x, struct request *r, const struct http_result *res);

/* ---- intake.c ------------------------------------------------------------------------------ */
/* Where the line is not ready, r is held, or told at once that it is no use: true then. */
bool intake_wait(struct session *s, struct request *r);
/* The answer to a request that there is no memory for. */
void intake_no_memory(struct session *s, struct span id);
void intake_line(struct session *s, struct span line, struct buf *big);

/* ---- outbox.c -------------------------------------------------------------------------------- */
/* A notification of the client. */
void outbox_notify(struct session *s, struct span line, struct buf *big);
/* An answer to the session of that epoch, for the request with this token (0: it is
 * not known), which is lost when an earlier session does not take it. 0, or -1: too
 * many wait, or no memory; it is lost then. */
int outbox_answer(struct session *s, struct span line, struct buf *big, uint64_t epoch, uint64_t token);
void outbox_pump(struct session *s);
bool outbox_follow(struct session *s, struct xfer *x, struct span url);
void outbox_on_done(struct session *s, struct outmsg *m, struct xfer *x, enum verdict v, bool processed, const char *what);
/* Nobody waits for r any more: the session in which it runs is told. */
void outbox_cancelled(struct session *s, const struct request *r, const char *reason);
void outbox_clear(struct session *s);
void outbox_new_session(struct session *s);
int64_t outbox_deadline(const struct session *s);
/* r: the request on whose stream it came, or NULL. False: it came before. */
bool srvreq_add(struct session *s, const struct request *r, struct span id);
bool srvreq_take(struct session *s, struct span id, uint64_t *epoch, uint64_t *token);
void srvreq_free(struct session *s);

/* ---- past.c ------------------------------------------------------------------------------------- */
/* Another session is about to begin. What runs in this one can still be told something in it. */
void past_remember(struct session *s);
/* The header lines of an earlier session. False: it is not known (any more). */
bool past_headers(const struct session *s, uint64_t epoch, struct span *lines);
/* A call runs in the session of this epoch, or a message is on its way to it. */
bool past_in_use(const struct session *s, uint64_t epoch);
void past_free(struct session *s);

/* ---- stream.c --------------------------------------------------------------------------------- */
void stream_init(struct session *s);
void stream_fini(struct session *s);
void stream_open(struct session *s);
bool stream_follow(struct session *s, struct xfer *x, struct span url);
void stream_close(struct session *s);
/* A ping was not answered while a stream was long in opening: true when that may be
 * why, and the next ping shows it; stream_judged() takes what came of it. */
bool stream_suspect(struct session *s);
void stream_judged(struct session *s, bool answered);
enum body_mode stream_on_head(struct session *s, struct xfer *x, const struct http_head *h);
/* True when the event was the stream's own business (endpoint, a duplicate). */
bool stream_on_event(struct session *s, struct xfer *x, const struct sse_event *ev);
void stream_on_bytes(struct session *s);
void stream_on_done(struct session *s, struct xfer *x, const struct http_result *r, const char *what);
void stream_on_time(struct session *s);
int64_t stream_deadline(const struct session *s);
void stream_schedule(struct session *s, bool failed);
/* The `retry` that the server gave for it; 0: none. */
int64_t stream_pace(const struct session *s);

/* ---- probe.c ------------------------------------------------------------------------------------ */
#define DISCOVER_MS 5000 /* a legacy server may leave an unknown request unanswered */
void probe_begin(struct session *s);
void probe_next(struct session *s, const char *why);
/* The client is told why the server refused its initialize; false when it did not. */
bool probe_refused(struct session *s);
/* server/discover was not answered as a modern server does. */
void probe_not_modern(struct session *s);
/* With which transport a round begins, and what it has not tried yet (ERA_NONE: nothing). */
enum era probe_first_choice(const struct session *s);
enum era probe_untried(const struct session *s);
/* The answer to the client's initialize, and what the result of any tells of its session. */
void handshake_done(struct session *s, struct request *r, const struct rpc_msg *m);
void probe_session_made(struct session *s, struct span result);

/* ---- replay.c ----------------------------------------------------------------------------------- */
/* REVIVE: the transport does not fit; another one, unless the era is known. */
void replay_next(struct session *s, const char *why);
/* The client's initialize (r; NULL: gone already) was answered from memory in
 * PROBE: its attempt becomes a step of a revival. floor_ms: as in session_line_down(). */
void replay_adopt(struct session *s, struct request *r, int64_t floor_ms);
void replay_begin(struct session *s);
bool replay_follow(struct session *s, struct xfer *x, struct span url);
void replay_on_endpoint(struct session *s);
void replay_on_answer(struct session *s, struct request *r, const struct rpc_msg *m);
void replay_on_failure(struct session *s, struct request *r, const struct failure *f, bool wrong_transport);
void replay_on_initialized_sent(struct session *s, bool ok);
void replay_after(struct session *s);
/* A handshake's result: what it offers. told: the client gets it as it is. */
void replay_offered(struct session *s, struct span result, bool told);
/* The part of it that a break may have cut short: the lists. */
void replay_compare(struct session *s);
/* The server says that a list has changed. */
void replay_on_list_changed(struct session *s, struct span method);
/* A client that took no notice of it: the tools are listed for it, to learn their annotations. */
int64_t learn_deadline(const struct session *s);
void learn_on_time(struct session *s);
void relist_failed(struct session *s);
/* Not now; it stays owed. */
void relist_stop(struct session *s);
void replay_on_relist(struct session *s, struct request *r, const struct rpc_msg *m);
/* Whether the subscription that params name would be one too many. */
bool subs_full(struct session *s, struct span params);
/* Remembers or forgets a subscription. 0, or -1: no memory. */
int subs_set(struct session *s, struct span params, bool on);
/* Remembers one that the server is still to be told of, unless it is known. 0 or -1. */
int subs_wish(struct session *s, struct span params);
/* Takes one out; NULL: it is not known. */
struct subscription *subs_take(struct session *s, struct span uri);
/* The first that the server is still to be told of. */
struct subscription *subs_due(const struct session *s);
/* The server was not told of it after all. */
void subs_again(struct session *s, struct span uri);
void subs_free(struct session *s);
void subs_free_list(struct subscription **list);
void keepalive_on_time(struct session *s);
int64_t keepalive_deadline(const struct session *s);
void keepalive_on_answer(struct session *s);
void keepalive_on_failure(struct session *s, const struct failure *f);
/* A ping now, unless one is under way. */
void session_ping(struct session *s);
/* The question asked for quiet calls was answered, or not. */
void session_probed(struct session *s, bool alive);
void replay_on_gone(struct session *s, struct request *r);
void keepalive_on_cut(struct session *s, int64_t quiet_ms);

/* ---- eras.c: translation between eras -------------------------------------------------------------- */
/* The body of r for this attempt into r->upstream where it differs from its line. 0 or -1. */
int eras_render(struct session *s, struct request *r);
/* Extra headers of r's POST. 0 or -1. */
int eras_headers(struct session *s, struct request *r, struct buf *lines);
/* A client message of another era than the server's: true when it was dealt with. */
bool eras_intake(struct session *s, const struct rpc_msg *m);
bool eras_answer(struct session *s, struct request *r, const struct rpc_msg *m);
/* A server's notification or request: true when it was dealt with. */
bool eras_inbound(struct session *s, struct request *r, const struct rpc_msg *m);
/* An attempt of RQ_DISCOVER or RQ_LISTEN failed; frees or reposts r. */
void eras_failed(struct session *s, struct request *r, const struct failure *f);
/* The request with this token, of whatever purpose; NULL: it is gone (or token is 0). */
struct request *eras_request(struct session *s, uint64_t token);
void eras_forget_request(struct session *s, struct request *r);
void eras_free(struct session *s);
/* A request that is about to be posted: true when it was dealt with here. */
/* Header mirrors of a notification's POST, where the negotiated revision has them. */
void eras_out_headers(struct session *s, struct span method, struct buf *lines);
bool eras_local(struct session *s, struct request *r);
void eras_pump(struct session *s);
int64_t eras_deadline(const struct session *s);
/* The server is of another era than it was: it is looked for as at the start. */
void eras_lost(struct session *s, const char *why);
/* A server with a handshake refused r as one of 2026-07-28 does: true when r
 * was dealt with, and goes again to what is found. */
bool eras_outgrown(struct session *s, const struct xfer *x, struct request *r, const struct rpc_msg *m);
/* A server of 2026-07-28 refused r as it should not: it is asked for its era,
 * beside all else. True: r waits for what comes of it, and goes to what is found. */
bool eras_doubt(struct session *s, const struct xfer *x, struct request *r, const struct rpc_msg *m);
/* r is about to be posted after that: true when it was given its refusal, since the
 * server is what it was and r may not be sent to it twice. */
bool eras_undoubted(struct session *s, struct request *r);
/* What it said, or (m NULL) that it said nothing that can be understood. True: it is of another era. */
bool eras_disproved(struct session *s, const struct rpc_msg *m);
/* What came of one of a modern client's subscriptions to resources: the server
 * has answered, or can not at the moment. */
void eras_subscribed(struct session *s, struct request *r, bool ok);
void eras_subscribe_later(struct session *s, int64_t retry_after_ms);
/* A subscription of the client ended without a word. */
void listen_broke(struct request *r);
/* Tells a modern client's subscriptions of a change (list_changed, updated). */
void modern_tell(struct session *s, struct span method, struct span params);
/* Tells them that whatever they are about may have changed. */
void modern_tell_all(struct session *s);
bool modern_timed_out(struct session *s, struct request *r);
int modern_init_params(struct session *s, struct buf *out);
/* A legacy server refused initialize by this error: true when that names a
 * version it would take, and init_params offer it now. */
bool modern_other_version(struct session *s, struct span error);
/* Answers r with a result or error of this body (raw), at worst with an error of ours. */
void eras_send_answer(struct session *s, struct request *r, const char *member, struct span body);
/* The id its answer goes out under. */
struct span eras_client_id(const struct request *r);
/* The client falls back to initialize, as it may when nobody answers its
 * server/discover in time, or not to its liking (2026-07-28, basic/transports/stdio,
 * "Backward Compatibility"): what it has asked so far is refused. False when its
 * conversation of the other era has begun in earnest. */
bool eras_unbind(struct session *s);
/* The request that the client waits for under this id. */
struct request *eras_by_client_id(struct session *s, struct span id);
/* The client's id was answered already, with input_required. */
bool eras_spent(const struct request *r);
/* The client begins anew by initialize. */
void eras_new_client(struct session *s);
/* What the client says of itself in initialize. 0, or -1: no memory. */
int eras_learn_legacy(struct session *s, struct span init_params);
bool eras_m2l(const struct session *s);
bool eras_l2m(const struct session *s);
/* A revived 2026-07-28 server answered server/discover. */
int eras_rediscovered(struct session *s, const struct rpc_msg *m);
/* Does the server's refusal of initialize offer 2026-07-28? */
bool eras_modern_offered(const struct session *s);

/* ---- offline.c: answers from an earlier run's memory ------------------------------------------------ */
/* A handshake succeeded (result: of initialize, or of server/discover by era); a page went to the client. */
void offline_learn_handshake(struct session *s, struct span result);
void offline_learn_page(struct session *s, int list, struct span cursor, struct span result);
/* An exchange ended: was it a refusal of the credentials? */
void offline_on_end(struct session *s, const struct xfer *x);
void offline_forget(struct session *s);
void offline_recall(struct session *s);
/* True when the request was answered from memory. */
bool offline_intake(struct session *s, const struct rpc_msg *m);
/* r is about to be refused: true when it was answered from memory instead (and dropped). */
bool offline_instead(struct session *s, struct request *r, enum error_kind k, int64_t floor_ms);
/* The handshake has come, with this result: what the client was promised and the server has no more is forgotten. */
void offline_offered(struct session *s, struct span result);
int64_t offline_deadline(const struct session *s);
void offline_on_time(struct session *s);
/* The server is there. */
void offline_over(struct session *s);
void offline_free(struct session *s);

#endif
