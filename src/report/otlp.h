/* Traces and metrics by OTLP over HTTP with JSON bodies (OpenTelemetry Protocol
 * 1.x, "OTLP/HTTP", JSON Protobuf Encoding), when the usual OTEL_ variables ask
 * for it. Batched and bounded; what can not be delivered is counted and dropped.
 * Nothing waits for it but the end of the process, shortly. */
#ifndef REPORT_OTLP_H
#define REPORT_OTLP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/redact.h"
#include "core/session.h"
#include "io/http.h"
#include "io/loop.h"
#include "report/metrics.h"

struct otlp;

struct otlp_config {
	const char *name, *host;      /* borrowed */
	int port;
	bool unix_socket;
	struct redactor *redactor;    /* the export's headers are registered with it */
	uint64_t token_base;          /* of its transfers */
};

/* Reads the environment. NULL: not asked for (e->text is ""), or not possible. */
struct otlp *otlp_new(const struct otlp_config *c, struct err *e);
void otlp_free(struct otlp *o);
void otlp_attach(struct otlp *o, struct http *h, struct loop *l);

/* An answered request. headers: of the session (its id appears as a fingerprint). */
void otlp_on_answer(struct otlp *o, const struct session_answer *a, const char *version, struct span headers);
/* The line came back. */
void otlp_on_return(struct otlp *o, int64_t outage_ms, const char *cause, const char *detail);

/* True when metrics are wanted and no export of them runs. */
bool otlp_takes_metrics(const struct otlp *o);
int64_t otlp_interval_ms(const struct otlp *o);
void otlp_send_metrics(struct otlp *o, const struct metrics_input *in);

void otlp_on_http(struct otlp *o, const struct http_event *ev, int64_t now);
/* When otlp_on_time() wants to be called; 0: nothing waits. */
int64_t otlp_deadline(const struct otlp *o);
void otlp_on_time(struct otlp *o, int64_t now);
/* Sends what waits and runs the loop until it is delivered, limit_ms at the most. */
void otlp_finish(struct otlp *o, int64_t limit_ms);

uint64_t otlp_spans_lost(const struct otlp *o);
uint64_t otlp_exports_lost(const struct otlp *o);

#endif
