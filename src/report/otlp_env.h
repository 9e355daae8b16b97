/* What the OTEL_ variables say (OpenTelemetry specification, "Environment
 * Variable Specification" and "OpenTelemetry Protocol Exporter"). */
#ifndef REPORT_OTLP_ENV_H
#define REPORT_OTLP_ENV_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/redact.h"
#include "io/http.h"

enum otlp_signal { OTLP_TRACES, OTLP_METRICS, OTLP_SIGNALS };

struct otlp_env {
	struct {
		char *url;                     /* NULL: this signal is not exported */
		struct http_headers *headers;
		int64_t timeout_ms;
	} signal[OTLP_SIGNALS];
	int64_t batch_ms, interval_ms;         /* how long spans wait; between metrics */
	size_t max_queue, max_batch;           /* spans */
	enum { SAMPLE_ALL, SAMPLE_NONE, SAMPLE_RATIO } sampler;
	bool parent_based;
	double ratio;
	struct buf attributes;                 /* of the resource: JSON, without brackets */
};

/* 1; 0 when nothing is asked for; -1 with *e. name: of the bridge. */
int otlp_env_read(struct otlp_env *v, const char *name, struct redactor *r, struct err *e);
void otlp_env_fini(struct otlp_env *v);
/* Appends {"key":K,"value":{"stringValue":V}}, with a comma before it unless first. 0 or -1. */
int otlp_attribute(struct buf *b, bool *first, const char *key, struct span value);
int otlp_attribute_int(struct buf *b, bool *first, const char *key, int64_t value);

#endif
