/* Every number that is published, once: walked by the Prometheus file and by
 * the OTLP export. */
#ifndef REPORT_METRICS_H
#define REPORT_METRICS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/breaker.h"
#include "base/buf.h"
#include "base/err.h"
#include "core/session.h"
#include "report/stats.h"

struct metrics_input {
	const char *name, *origin, *program;
	const struct session_view *view;
	const struct stats *stats;
	const struct breaker_view *sign_in;
	int64_t sign_in_next_s;    /* its next_at, in seconds since the epoch; 0: none */
	int64_t started_s;         /* seconds since the epoch */
	int64_t peak_kib;
	uint64_t log_lines_lost, spans_lost, exports_lost;
	bool ended;
};

enum metric_kind { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
struct metric {
	const char *name;          /* Prometheus: behind mcp_holdfast_, with unit and _total */
	const char *otel, *unit;   /* OpenTelemetry: name and UCUM unit; otel NULL: not exported there */
	const char *help;
	enum metric_kind kind;
};
struct label { const char *key, *otel, *value; };
#define METRIC_LABELS 3

struct metrics_sink {
	void *arg;
	/* A metric begins; its samples follow. */
	void (*begin)(void *arg, const struct metric *m);
	void (*value)(void *arg, const struct metric *m, const struct label *l, size_t n, double v);
	/* In seconds, by hist_published. */
	void (*histogram)(void *arg, const struct metric *m, const struct label *l, size_t n, const struct hist *h);
};
void metrics_walk(const struct metrics_input *in, const struct metrics_sink *sink);

/* Appends the Prometheus text exposition format 0.0.4. 0 or -1. */
int metrics_format(struct buf *out, const struct metrics_input *in);
/* Writes it aside and renames. The mode stays as it is; 0644 for a new file,
 * since its reader is another user. 0, or -1 with *e. */
int metrics_write(const char *path, const struct metrics_input *in, struct err *e);

#endif
