/* The inside of the doctor, shared by doctor*.c. */
#ifndef REPORT_DOCTOR_I_H
#define REPORT_DOCTOR_I_H

#include "io/loop.h"
#include "report/doctor.h"
#include "wire/jsonrpc.h"
#include "wire/sse.h"

#define STEP_MS 10000  /* the longest that one exchange may take */

/* One HTTP exchange and what has come of it so far. */
struct call {
	uint64_t token;          /* 0: not running */
	int status, version;
	char type[96], location[1024];
	struct buf session_id, authenticate, body;
	bool sse, done, bad_json;
	struct sse parser;
	unsigned events, bytes;  /* of a stream */
	int64_t started_us, head_us, byte_us, answer_us, done_us; /* 0: not yet */
	const char *id;          /* the answer with this raw id is wanted */
	struct buf answer;       /* it */
	struct buf endpoint;     /* of a 2024-11-05 stream */
	struct http_result result;
};

enum way { WAY_NONE, WAY_MODERN, WAY_HTTP, WAY_SSE };

struct doctor {
	const struct doctor_config *c;
	struct loop *loop;
	struct http *http;
	uint64_t next_token;
	struct call *calls[2];   /* that are running */
	char *url;               /* where to post, after redirects */
	struct buf session_lines; /* headers of the session, one a line */
	struct call stream;
	enum way way;
	bool offered[WAY_SSE + 1];
	int post_status;         /* of the POST of initialize, 0: none */
	bool stalled;            /* its answer began, and did not come */
	bool refused;            /* it was a JSON-RPC error */
	enum doctor_exit exit;
	int signal;              /* that came; 0: none. Nothing is said, asked or waited for from then on, */
	bool ending;             /* but for the end of the session */
	unsigned steps, warnings;
};

/* doctor.c: a signal has come, and the session is not being ended. */
bool doctor_interrupted(const struct doctor *d);

/* doctor_net.c: false when there is no use in going on. */
bool doctor_network(struct doctor *d);

/* doctor_call.c */
void call_init(struct call *x);
void call_fini(struct doctor *d, struct call *x);
/* lines: extra headers, one a line. 0, or -1 with *e. */
int call_start(struct doctor *d, struct call *x, enum http_method m, const char *url, struct span lines, struct span body, unsigned flags, struct err *e);
/* Runs until the condition holds (true), or the exchange or ms is over, or a signal comes. */
bool call_wait(struct doctor *d, struct call *x, bool (*until)(const struct call *x), int64_t ms);
bool call_has_head(const struct call *x);
bool call_has_answer(const struct call *x);
bool call_has_endpoint(const struct call *x);
bool call_is_done(const struct call *x);
/* Ends it without waiting. */
void call_stop(struct doctor *d, struct call *x);

/* doctor_mcp.c */
void doctor_mcp(struct doctor *d);

#endif
