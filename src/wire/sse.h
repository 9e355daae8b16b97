/* Server-sent events: bytes in, events out (WHATWG HTML, "Server-sent
 * events", 9.2.5 Parsing and 9.2.6 Interpreting an event stream). Feeding one
 * byte at a time gives the same events at the earliest possible byte: a lone
 * CR ends a line at once, and an LF right after it is swallowed. */
#ifndef WIRE_SSE_H
#define WIRE_SSE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define SSE_RETRY_MAX_MS ((int64_t)INT32_MAX)

struct sse {
	struct buf line;   /* the unfinished line, empty while a data line streams straight into `data` */
	struct buf data;   /* data of the event being built, newlines between its lines */
	struct buf type;
	struct buf id;     /* last event id of the stream; survives events */
	struct buf new_id; /* id of the event being built; becomes `id` when that is complete */
	uint64_t bytes;    /* fed so far */
	int64_t retry_ms;  /* last valid `retry`, -1 before the first, at most SSE_RETRY_MAX_MS */
	unsigned char state, bom; /* parser's own */
	bool has_data, has_id, after_cr, after_colon, yielded, overflow;
};

struct sse_event {
	struct span type;   /* "message" when the event named none */
	struct span data;   /* may be empty (a priming event) */
	struct span id;     /* the stream's last event id, possibly from an earlier event; n == 0: none */
	bool has_id;        /* this very event carried an id field */
};

/* max_bytes bounds one event's data (and one line). */
void sse_init(struct sse *s, size_t max_bytes);
void sse_fini(struct sse *s);
/* New connection: forget the half-built event (and its id, or what it carried
 * would be lost when the server goes on behind it), keep id and retry. */
void sse_restart(struct sse *s);
/* Consumes from *p (advancing *p, lessening *n) until an event is complete or
 * the bytes are used up. 1: *ev is filled in and lives until the next call and
 * as long as the bytes fed: an event that came whole is given where it lies.
 * 0: needs more. -1: an event over max_bytes or no memory; the rest of that
 * event is skipped and the next call goes on behind it.
 * An event without any data field is not dispatched, as the standard says, but
 * its id and retry count; one whose data is empty IS given (data.n == 0) if it
 * carried a data field. */
int sse_next(struct sse *s, const char **p, size_t *n, struct sse_event *ev);
/* After sse_next() gave 1 and the event's data is the parser's: takes its block instead of copying it. */
void sse_take_data(struct sse *s, struct buf *out);

#endif
