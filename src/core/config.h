/* What the core needs to know of the options. Times are milliseconds. */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/backoff.h"

enum transport_choice {
	TRANSPORT_AUTO,       /* POST first, SSE as the fallback */
	TRANSPORT_SSE_FIRST,  /* the other way round */
	TRANSPORT_HTTP,
	TRANSPORT_SSE,
};

#define IDLE_AUTO (-1)     /* idle_ms: judged by the stream's own habit */

struct tool_timeout { const char *glob; int64_t ms; };

struct core_config {
	enum transport_choice transport;

	int64_t initial_retry_ms, max_retry_ms;  /* 1000, 30000 */
	double multiplier;                       /* 2 */
	enum jitter jitter;
	int max_retries;                         /* -1 without end, 0 none */

	int64_t hold_ms;                         /* 25000 */
	size_t max_queue;                        /* 1024 */
	size_t max_in_flight;                    /* 100 */
	int64_t idle_ms;                         /* IDLE_AUTO; 0: never */
	int64_t keepalive_ms;                    /* 60000; 0: none */
	int64_t probe_after_ms;                  /* 15000; 0: none */
	int64_t request_timeout_ms;              /* 600000 */
	int64_t max_request_ms;                  /* 3600000 */
	const struct tool_timeout *tool_timeouts; size_t ntool_timeouts;

	int breaker_threshold;                   /* 5; 0: off */
	int64_t breaker_cooldown_ms;             /* 0: the backoff's pace */
	double rate_per_s;                       /* 0: unlimited */
	double rate_burst;
	int64_t quota_requests;                  /* 0: unlimited */
	int64_t quota_ms;                        /* upstream time; 0: unlimited */

	bool trust_annotations;                  /* true */
	const char *const *retry_tools; size_t nretry_tools;       /* globs */
	const char *const *no_retry_tools; size_t nno_retry_tools;
	const char *const *ignore_tools; size_t nignore_tools;     /* globs: hidden from the client */
	const int64_t *retry_errors; size_t nretry_errors;         /* JSON-RPC codes */
	bool idempotency_key;                    /* true */
	bool trace_inject;                       /* --trace-inject */
	bool tool_errors_protocol;               /* --tool-errors protocol */

	bool legacy_only;                        /* never ask for 2026-07-28 */
	bool offline_start;                      /* true */
	int64_t initialize_wait_ms;              /* 5000 */
	bool notify;                             /* --notify */
	bool user_authorization;                 /* the user gave an Authorization header */
	size_t max_message;                      /* 128 MiB */
};

#endif
