/* The ledger: every request that is owed an answer, the client's and ours,
 * found by token, by the client's id and by the id it carries upstream. */
#ifndef CORE_REQUEST_H
#define CORE_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "wire/jsonrpc.h"

enum req_purpose {
	RQ_CLIENT,     /* the client's own */
	RQ_HANDSHAKE,  /* the client's initialize */
	RQ_INIT,       /* ours: initialize again */
	RQ_LEVEL,      /* ours: logging/setLevel again */
	RQ_SUBSCRIBE,  /* ours: resources/subscribe again */
	RQ_PING,       /* ours: keepalive */
	RQ_PROBE,      /* ours: is the session still there? */
	RQ_RELIST,     /* ours: what does the server list now? */
	RQ_DISCOVER,   /* ours: server/discover */
	RQ_LISTEN,     /* ours: subscriptions/listen for a legacy client */
	RQ_MIRROR,     /* ours: tools/list again, for its header mirrors */
	RQ_HEDGE,      /* a silent repeatable request, once more beside it */
	RQ_PURPOSES,
};

enum req_state {
	REQ_PARKED,    /* waiting for the line, a slot or its time */
	REQ_SENT,      /* on the wire, or accepted and its answer is awaited on the standing stream */
	REQ_STREAMING, /* its response stream is open */
	REQ_BROKEN,    /* its stream ended; waiting to resume by Last-Event-ID */
};

#define SEEN_EVENTS 256

struct request {
	uint64_t token;
	enum req_purpose purpose;
	enum req_state state;
	struct request *prev, *next;      /* all requests, in order of arrival */
	struct request *cnext, *unext;    /* hash chains */
	uint64_t chash, uhash, seq;
	bool in_chash, in_uhash;

	struct buf line;                  /* the message as the client (or we) wrote it */
	struct span id, method, params;   /* into line */
	struct span meta, arguments;      /* params._meta and params.arguments, into line */
	struct span tool;                 /* raw params.name of a tools/call, into line */
	struct span progress;             /* raw progressToken, into line */
	struct buf upstream;              /* the body, where it differs from line */
	char upid[48];                    /* id of ours, raw JSON; "" when the client's is used */
	struct span uid;                  /* raw id it carries upstream */

	uint64_t xfer;                    /* its transfer, 0 none */
	uint64_t left;                    /* one that was answered and still holds the line as its body */
	struct buf last_id;               /* Last-Event-ID of its stream */
	uint64_t *seen;                   /* hashes of event ids that came, SEEN_EVENTS of them */
	unsigned nseen;
	int64_t retry_ms;                 /* the stream's `retry`, -1 none */

	int64_t arrived, sent_at, active_at; /* active_at: last message that belongs to it */
	int64_t not_before;               /* parked: not earlier than this */
	int64_t hold_until;               /* parked because the line is down: answered then; 0 none */
	int64_t failing_since;            /* the first of its attempts that failed one after the other; 0 none */
	int64_t die_at;                   /* --max-request-time */
	int64_t timeout_ms;               /* --request-timeout, or its tool's */
	int64_t probed_at;
	unsigned attempts, revives;
	unsigned resumes;                 /* times that its stream could not be fetched again, since it was sent last */
	uint64_t epoch;                   /* upstream session it was sent in; event ids mean nothing to another */
	uint64_t barrier;                 /* notifications up to this number go first */
	char trace[56];                   /* traceparent of ours, "" none */
	unsigned char why;                /* enum retry_why, when it waits to be sent again */
	bool maybe_ran, went_stale, cancelled, resumable, counted;
	bool repeatable;                  /* by its method; a tool call by its tool, request_repeatable() */
	bool is_tool_call, is_listen, was_held;
	bool doubted;                     /* refused as by a server of another era; goes again when that is known, once */
	bool awaits_scope;                /* parked until a wider token is there, or refused; others go on */
	bool on_quota;                    /* the server works on it since sent_at, which --session-quota counts */
	int64_t patient_until;            /* no time limit before this */
	int64_t unheard_until;            /* its POST is under way, and what was to bring the answer is lost: ends then; 0 no */
	uint64_t twin;                    /* token of the other attempt (RQ_HEDGE and what it stands beside) */
	unsigned rounds;                  /* input_required rounds so far */
	void *extra;                      /* the eras' own (struct translation), freed by them */
};

struct ledger {
	struct request *head, *tail, *freed;
	struct request **cbucket, **ubucket;
	size_t nbuckets, count, nfreed;
	uint64_t next_token, next_seq, seed;
	struct buf key1, key2;
};

int ledger_init(struct ledger *l, uint64_t seed);
void ledger_fini(struct ledger *l);
/* A new request, last in order, with line still empty. NULL: no memory. */
struct request *ledger_add(struct ledger *l, enum req_purpose purpose, int64_t now);
/* Takes the message's bytes: copies, or moves big's block when it is given.
 * Then finds its members. m is the parsed form of the line. 0 or -1. */
int ledger_set_line(struct ledger *l, struct request *r, const struct rpc_msg *m, struct buf *big);
/* Forgets and frees it. */
void ledger_remove(struct ledger *l, struct request *r);
struct request *ledger_by_client_id(struct ledger *l, struct span id);
struct request *ledger_by_upstream_id(struct ledger *l, struct span id);
/* From now on it carries id (raw, must live as long) upstream. */
void ledger_set_upstream_id(struct ledger *l, struct request *r, struct span id);
/* Nothing that comes from upstream is its answer, until it gets an id again. */
void ledger_drop_upstream_id(struct ledger *l, struct request *r);
/* Ids of one JSON-RPC value, however it is spelled. */
bool ledger_same_id(struct ledger *l, struct span a, struct span b);
/* True when this event id came before on the request's streams; remembers it. */
bool seen_before(uint64_t **seen, unsigned *n, struct span id, uint64_t seed);

#endif
