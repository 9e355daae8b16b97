/* Which tools of a tools/list result the client is shown. */
#ifndef CORE_TOOLS_H
#define CORE_TOOLS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/span.h"
#include "core/config.h"

/* Shell-like glob: * and ? only; the whole name must match. */
bool glob_match(const char *glob, struct span name);
/* One of the globs matches. */
bool glob_any(const char *const *globs, size_t n, struct span name);

/* Does a glob of --ignore-tool match this tool (raw JSON string)? */
bool tools_is_ignored(const struct core_config *c, struct span name);
/* Appends the checked tools/list result without the tools that are ignored.
 * Returns how many were left out (0: out is untouched), -1: no memory. */
int tools_hide(const struct core_config *c, struct span result, struct buf *out);

/* Checks each tool of a tools/list result. Where some have an invalid
 * x-mcp-header, out gets the result without them, and warn is called for each with the
 * tool's name (decoded) and the reason; returns how many were removed, 0 (out untouched)
 * or -1 for no memory. */
int tools_drop_invalid(struct span result, struct buf *out, void (*warn)(void *arg, struct span name, const char *reason), void *arg);

/* Until 2026-07-28 an outputSchema described an object, and a client of those days
 * may refuse the whole list for one that does not: appends the checked tools/list
 * result without such schemas. Returns how many there were (0: out is untouched), -1:
 * no memory. */
int tools_fit_legacy(struct span result, struct buf *out);

#endif
