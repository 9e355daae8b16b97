/* W3C Trace Context: the traceparent that a request carries in its `_meta`
 * (MCP, "Trace context propagation") or that we make. Pure. */
#ifndef WIRE_TRACE_H
#define WIRE_TRACE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"

#define TRACE_ID 32    /* hex digits */
#define TRACE_SPAN 16
#define TRACEPARENT 55

struct trace_parent { char trace[TRACE_ID + 1], span[TRACE_SPAN + 1]; bool sampled; };

/* Reads "00-...": lower-case hex, neither id all zeros, a version other than
 * ff; a later version may have more behind it (W3C, 3.2.2). */
bool trace_parse(struct span text, struct trace_parent *t);
/* The traceparent member of a `_meta` object; false when there is none that is well formed. */
bool trace_from_meta(struct span meta, struct trace_parent *t);
/* Appends "traceparent: ...\n" and "tracestate: ...\n" for what stands in `_meta`
 * and may stand in a header. 0 or -1. */
int trace_headers(struct span meta, struct buf *lines);

#endif
