/* HTTP transfers by number, on libcurl's multi interface driven by
 * curl_multi_socket_action. It moves bytes and decides nothing: no retry, no
 * redirect, no judgement of a status. libcurl's callbacks only record; facts
 * are taken with http_next().
 *
 * What it promises: a request body is sent at most once (libcurl asks before
 * every attempt, and is refused a second one of a POST when a reused connection
 * has died; a large body's read callback can not be rewound either); the resolver never blocks the loop
 * (CURLOPT_QUICK_EXIT); TCP keepalive and TCP_USER_TIMEOUT find a dead peer
 * within 45 s; easy handles are reused; freed memory of libcurl is wiped. */
#ifndef IO_HTTP_H
#define IO_HTTP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "base/url.h"
#include "io/loop.h"
#include "wire/httpfacts.h"

struct http;

struct http_config {
	int64_t connect_timeout_ms;
	const char *cacert, *cert, *key;    /* files; NULL for none */
	const char *proxy;                  /* NULL: libcurl's own environment variables */
	const char *unix_socket;            /* NULL for none */
	bool ipv4_only, cookies, http2;
	size_t max_header_bytes;            /* all headers of one response; 256 KiB */
	size_t parallel;                    /* exchanges that usually run at once: so many connections are kept */
	size_t high_water;                  /* http_backlog() past this pauses a transfer */
	const char *user_agent;
};

#define HTTP_FOREIGN 1u  /* not of the conversation with the MCP server: no cookies, no mTLS certificate, no unix socket, */
#define HTTP_AT_HOME 2u  /* but for the latter two, where it goes to its origin all the same */

/* The flags of what is asked for beside the conversation with the server at
 * `home`: of that server itself, or of another. */
unsigned http_foreign(const struct url *home, const char *url);

struct http_request {
	uint64_t token;            /* the transfer's number; the caller's choice, never 0, unique among running ones */
	enum http_method method;
	const char *url;           /* copied */
	/* Headers in two lists: `shared` lives longer than the transfer and is one
	 * prebuilt list (http_headers_*), `extra` are "Name: value" strings, copied. */
	struct http_headers *shared;
	const struct span *extra; size_t nextra;
	struct span body;          /* POST: borrowed; must stay until HTTP_DONE or http_cancel() */
	int64_t timeout_ms;        /* whole transfer; 0: none */
	size_t max_body;           /* response bytes after decoding that may be outstanding in one http_next() piece; 0: no cap here */
	unsigned flags;
};

enum http_event_kind { HTTP_EV_HEAD, HTTP_EV_DATA, HTTP_EV_DONE };
struct http_event {
	enum http_event_kind kind;
	uint64_t token;
	const struct http_head *head;      /* HEAD, and again with DONE when there was one */
	struct span data;                  /* DATA: everything that has come since the last DATA; lives until the next call of http_next() */
	bool cut;                          /* DATA: of a collected body that ended before its framing said so (RFC 9112, section 8) */
	const struct http_result *result;  /* DONE: lives until the next call of http_next() */
};

/* Once in a process, before any thread or other libcurl use: curl_global_init_mem with a wiping free. */
int http_global_init(struct err *e);
/* An address within libcurl. */
uintptr_t http_library(void);
struct http *http_new(const struct http_config *c, struct loop *l, struct err *e);
void http_free(struct http *h);
/* Instead of it, where the process is about to end: does nothing when there have been
 * many connections, unless the peer is to have a word before (TLS, RFC 8446, section
 * 6.1). The kernel closes them several times as fast. */
void http_leave(struct http *h);

/* A shared header list, reference-counted so that running transfers keep it:
 * build a new one when a header changes, release the old. */
struct http_headers *http_headers_new(void);
int http_headers_add(struct http_headers *h, struct span line); /* "Name: value"; copied; -1: no memory or CR/LF/NUL in it */
void http_headers_release(struct http_headers *h);              /* NULL does nothing */

/* Starts a transfer. 0, or -1 with *e and no event to come. */
int http_start(struct http *h, const struct http_request *rq, struct err *e);
/* Ends it now; no further event for this token. Unknown tokens are ignored.
 * Closing a running HTTP/1.1 exchange closes its connection. */
void http_cancel(struct http *h, uint64_t token);
/* Ends it as one that could not be sent, if nothing of its body has left; else it
 * goes on. Unknown tokens are ignored. */
void http_withdraw(struct http *h, uint64_t token);
/* Stop and go on reading the response (backpressure). */
void http_pause(struct http *h, uint64_t token, bool pause);
/* For DATA that is one large message: takes the block instead of copying it
 * (valid right after http_next() gave DATA for this token). */
void http_take_data(struct http *h, uint64_t token, struct buf *out);
/* Do not give DATA for this transfer until its end: the whole body comes as
 * one DATA before DONE (JSON bodies), what came of one that was cut off as well
 * (not with HTTP_FOREIGN). To be called when HEAD was taken. max: over it the transfer
 * ends with HTTP_BAD and detail "response too large". */
void http_collect(struct http *h, uint64_t token, size_t max);

/* True when the event of the loop was ours. */
bool http_on_event(struct http *h, const struct loop_event *ev);
/* When http_on_time() must be called at the latest; 0: no need. */
int64_t http_deadline(const struct http *h);
void http_on_time(struct http *h, int64_t now);
/* Takes the next fact: 1, or 0 when there is none. */
int http_next(struct http *h, struct http_event *ev);
/* True when http_next() has something to give, or a transfer to go on with. */
bool http_pending(const struct http *h);
/* Nothing has come for a while: gives back what a flood needed. */
void http_rest(struct http *h);
/* Every idle pooled connection is closed (after sleep, or when they are known dead). */
void http_drop_idle(struct http *h);
/* Transfers running. */
size_t http_running(const struct http *h);
/* Bytes of response waiting to be taken, over all transfers. */
size_t http_backlog(const struct http *h);

#endif
