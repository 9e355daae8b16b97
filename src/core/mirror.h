/* Header mirrors of 2026-07-28: a tool's inputSchema may mark parameters with
 * x-mcp-header, whose values the client repeats as Mcp-Param-{name} headers
 * (basic/transports/streamable-http, "Custom Headers from Tool Parameters";
 * server/tools, "x-mcp-header"). */
#ifndef CORE_MIRROR_H
#define CORE_MIRROR_H

#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"

#define MIRROR_MAX_HEADERS 64           /* of one tool; more makes the tool invalid */
#define MIRROR_MAX_BYTES (64 * 1024)    /* of one tool's header names and paths; the same */
#define MIRROR_MAX_DEPTH 32             /* x-mcp-header below this nesting: the same */

/* The marked parameters of one tool. */
struct mirror_set;

/* Reads the marks in a tool (a checked JSON object of a tools/list result).
 * 0: *out is the set, owned by the caller, or NULL when nothing is marked.
 * 1: a mark breaks the specification's rules; *reason is a constant sentence
 * and *out NULL. -1: no memory. out may be NULL, to ask for validity only. */
int mirror_read(struct span tool, struct mirror_set **out, const char **reason);
void mirror_free(struct mirror_set *m);
/* What it takes in memory. NULL: 0. */
size_t mirror_size(const struct mirror_set *m);

/* Appends one "Mcp-Param-Name: value\n" line for each marked parameter that the
 * arguments hold. null, absent and structured values are left out. An empty
 * string gives an empty value. 0, or -1 (no memory, out is full) with out as it was. */
int mirror_headers(const struct mirror_set *m, struct span arguments, struct buf *out);

/* Appends a header value: v as it is where it is a plain visible-ASCII value that
 * can not be taken for the encoded form, else =?base64?...?= of its UTF-8.
 * 0, or -1 with out as it was. */
int mcp_header_value(struct buf *out, struct span utf8);

#endif
