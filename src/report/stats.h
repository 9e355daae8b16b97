/* Latencies and outcomes by method and tool, bounded whatever the client calls:
 * past STATS_TOOLS tools and STATS_METHODS methods everything else is counted
 * under "_other". Pure. */
#ifndef REPORT_STATS_H
#define REPORT_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/span.h"

#define STATS_METHODS 24
#define STATS_TOOLS 64
#define STATS_CODES 16
#define STATS_CAUSES 12
#define STATS_LABEL 64   /* bytes of a name; longer ones are cut */
#define STATS_OTHER "_other"

/* Upper edges in ms; one bucket more holds what is longer. */
#define HIST_EDGES 70
extern const int64_t hist_edge[HIST_EDGES];

struct hist {
	uint64_t count;
	int64_t sum_ms, max_ms;
	uint64_t bucket[HIST_EDGES + 1];
};
void hist_add(struct hist *h, int64_t ms);
/* The q-quantile (0 < q < 1) in ms, by straight lines between edges; -1 when empty. */
int64_t hist_quantile(const struct hist *h, double q);
/* How many were at most edge_ms, which must be one of hist_edge. */
uint64_t hist_at_most(const struct hist *h, int64_t edge_ms);
/* The edges that metrics are published with (a subset of hist_edge). */
#define HIST_PUBLISHED 14
extern const int64_t hist_published[HIST_PUBLISHED];

enum outcome { OUTCOME_OK, OUTCOME_TOOL_ERROR, OUTCOME_ERROR, OUTCOME_OWN_ERROR, OUTCOMES };
const char *outcome_name(enum outcome o); /* ok, tool_error, error, bridge_error */

struct series {
	uint64_t key;
	char method[STATS_LABEL + 1], tool[STATS_LABEL + 1]; /* tool "": none */
	uint64_t outcomes[OUTCOMES];
	struct hist latency;
};

struct stats {
	struct hist all;
	uint64_t outcomes[OUTCOMES];
	struct series *slot[256]; /* by key, open addressing */
	struct series *list[STATS_METHODS + STATS_TOOLS + 2];
	size_t n, methods, tools;
	struct { int64_t code; uint64_t count; } codes[STATS_CODES + 1]; /* the last: any other */
	size_t ncodes;
	struct { char why[STATS_LABEL + 1]; uint64_t count; } causes[STATS_CAUSES + 1];
	size_t ncauses;
	struct hist outages;
};

void stats_init(struct stats *s);
void stats_fini(struct stats *s);
/* An answered request. tool: raw JSON string or SPAN_NONE. code: of a JSON-RPC error, 0 for none. */
void stats_on_answer(struct stats *s, struct span method, struct span tool, int64_t ms, enum outcome o, int64_t code);
void stats_on_drop(struct stats *s, const char *why);
void stats_on_return(struct stats *s, int64_t outage_ms);

#endif
