/* One transfer: its easy handle, what libcurl's callbacks recorded of it, and
 * the two lists it can stand in. Shared by http.c and http_transfer.c alone. */
#ifndef IO_HTTP_TRANSFER_H
#define IO_HTTP_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "io/http.h"
#include "io/http_head.h"
#include "io/http_result.h"
#include "io/http_ring.h"
#include "io/http_setup.h"
#include "io/http_sockets.h"
#include "io/http_trust.h"
#include "io/http_url.h"

/* What all transfers have in common. */
struct http_hub {
	struct http_config c;
	CURLM *multi;
	CURLSH *cookies;         /* NULL: none are kept */
	struct http_sockets sockets;
	struct http_trust trust;
	struct http_always always;
	struct http_url *url;    /* where the last request went, taken apart; NULL before the first */
	struct link ready;       /* transfers with a fact to give */
	struct link waiting;     /* stalled ones that go on when there is room */
	int keep_alive_s;        /* what the server said last of how long it keeps an idle connection; -1: nothing */
	bool unreached;          /* the last transfer to the origin found nobody there */
	size_t backlog;          /* bytes in every `in` */
	size_t streamed;         /* those of them that are not being collected */
	struct buf spare;        /* an empty block for the next body to come, so that a flood allocates nothing */
};

struct transfer {
	struct link ready, waiting;
	struct http_hub *hub;
	CURL *easy;
	struct http_url *url;    /* what the handle is set to; NULL: it has been told by text */
	uint64_t token;
	unsigned flags;
	bool brief;              /* it takes a connection of its own */
	bool tls_ready;          /* the easy handle knows the trust anchors */
	bool decodes;            /* it takes content codings off */
	bool in_multi;
	bool whole;              /* libcurl has the body in one piece */
	bool clean;              /* ended as it should: the handle can serve again */
	bool cut;                /* its collected body ended too early */
	bool paused, collect;
	bool stalled;            /* libcurl keeps a piece that we refused */
	bool head_ready;         /* HEAD is to be given */
	bool done;               /* DONE is to be given, after what is left */
	struct span body;
	long upload_buffer, receive_buffer, reuse_s; /* what the handle is set to */
	size_t max_body, collect_max;
	uint64_t mem_failures;   /* http_mem_failures() at the start */
	struct http_attempt attempt;
	struct head head;
	struct buf in;
	struct http_lines lines;
	union { /* one for every call under way: kept small */
		char errbuf[CURL_ERROR_SIZE]; /* libcurl's, while it runs */
		struct http_result result;    /* from then on */
	};
};

/* NULL when there is no memory. */
struct transfer *transfer_new(struct http_hub *hub, unsigned flags);
void transfer_free(struct transfer *t);
/* Sets the handle up for a request. 0, or -1 with *e. */
int transfer_prepare(struct transfer *t, const struct http_request *rq, struct err *e);
/* Takes it away from libcurl; no callback comes any more. */
void transfer_stop(struct transfer *t);
/* Stops it and records how it ended. */
void transfer_finish(struct transfer *t, CURLcode code);
/* Blank again for the next request (a stopped one that nobody knows any more). */
void transfer_reset(struct transfer *t);
/* Gives libcurl's kept piece another chance; may record facts, or the end, before it returns. */
void transfer_resume(struct transfer *t);

/* Puts the transfer into the ready list or takes it out. */
void transfer_note(struct transfer *t);
/* Collected from now on, up to max bytes. */
void transfer_collect(struct transfer *t, size_t max);
/* Moves the bytes that have come to out. */
void transfer_take(struct transfer *t, struct buf *out);
/* Gives back a block of bytes that are done with: kept as the hub's spare or freed. */
void transfer_give_back(struct http_hub *hub, unsigned flags, struct buf *b);

#endif
