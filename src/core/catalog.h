/* What the lists that passed through have taught us about the server: tool
 * annotations (may a call be repeated?), header mirrors of 2026-07-28
 * (x-mcp-header), and digests of the lists, by which a revived session is
 * compared with what the client was told. */
#ifndef CORE_CATALOG_H
#define CORE_CATALOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"
#include "core/config.h"
#include "core/mirror.h"

#define CATALOG_MAX_TOOLS 100000   /* past it further tools are not remembered (unknown: not repeatable) */
#define CATALOG_MAX_BYTES (32 * (size_t)1024 * 1024) /* of all that is remembered of tools; the same */

enum catalog_list { LIST_TOOLS, LIST_RESOURCES, LIST_TEMPLATES, LIST_PROMPTS, LIST_COUNT };

struct catalog;

/* Borrows c (globs, trust). key: 16 random bytes for digests. NULL: no memory. */
struct catalog *catalog_new(const struct core_config *c, const unsigned char key[16]);
void catalog_free(struct catalog *k);

/* The list a method asks for ("tools/list", "resources/list",
 * "resources/templates/list", "prompts/list"), or -1; and back. */
int catalog_list_of(struct span method);
const char *catalog_list_method(enum catalog_list l);
/* "notifications/tools/list_changed" and so on; templates share the one of resources. */
const char *catalog_list_changed(enum catalog_list l);

/* A page of a list went to the client: `result` is the checked JSON of the
 * result, cursor the request's params.cursor (SPAN_NONE for the first page).
 * A first page begins a new listing; annotations of each tool seen replace the
 * older ones, and tools that a complete listing no longer has are forgotten.
 * Members of the wrong type are ignored. 0, or -1 for no memory (nothing is then remembered). */
int catalog_on_page(struct catalog *k, enum catalog_list l, struct span cursor, struct span result);
/* A listing of tools of our own: from where it begins it is newer than any
 * list_changed so far, and at its end what it did not name has no hints. */
void catalog_learn_begin(struct catalog *k);
void catalog_learn_end(struct catalog *k);
/* A page of tools that did not go to the client: hints and mirrors are learned
 * from it, and no more. 0, or -1 for no memory. */
int catalog_learn_tools(struct catalog *k, struct span result);
/* list_changed came: annotations are set aside (nothing is repeatable by hint) until listed again. */
void catalog_on_list_changed(struct catalog *k, enum catalog_list l);
/* list_changed came, and the client has not begun to list the tools since. */
bool catalog_tools_changed(const struct catalog *k);
/* The client has seen this list at least once, in whole. */
bool catalog_has(const struct catalog *k, enum catalog_list l);

/* May a call of this tool be sent again though it may have run? name: raw JSON
 * string token (with quotes). Order: --no-retry-tools, --retry-tools, then
 * readOnlyHint or idempotentHint === true where annotations are trusted. */
bool catalog_repeatable(const struct catalog *k, struct span name);
/* --tool-timeout for this tool (the last glob that matches), or 0. */
int64_t catalog_tool_timeout(const struct catalog *k, struct span name);

/* Digest of a listing as the client saw it: the elements in their order; white
 * space between tokens and where pages end do not matter. Pages are fed one after another. */
struct digest { uint64_t h[2]; bool whole; };
/* What the client saw last. whole is false while pages are missing. */
struct digest catalog_digest(const struct catalog *k, enum catalog_list l);
/* For a listing of our own: begin, feed results page by page, compare. */
void catalog_digest_begin(const struct catalog *k, struct digest *d);
void catalog_digest_page(const struct catalog *k, struct digest *d, enum catalog_list l, struct span result);
bool catalog_digest_equal(struct digest a, struct digest b);

/* ---- 2026-07-28 header mirrors (core/mirror.h has the rules) ------------------------- */

/* Appends one "Name: value\n" line for each x-mcp-header parameter that the
 * arguments of this call hold: strings as they are or as =?base64?...?= where
 * needed (an empty one gives an empty value), whole numbers and booleans as
 * text; null and absent are left out. 0, or -1 with out as it was. */
int catalog_param_headers(const struct catalog *k, struct span name, struct span arguments, struct buf *out);

#endif
