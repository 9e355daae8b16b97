/* What a running bridge tells about itself: its status file, its log ring, its
 * metrics file, the line of SIGUSR1 and its traces. The bridge's owner calls
 * it; it never decides anything about the relay, and whatever goes wrong here
 * is a line in the log and no more. Nothing is due while nothing happens. */
#ifndef REPORT_REPORT_H
#define REPORT_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/breaker.h"
#include "base/redact.h"
#include "core/session.h"
#include "io/http.h"
#include "io/loop.h"

struct report;

/* Transfers of ours have this in their highest byte. */
#define REPORT_TOKEN_BASE ((uint64_t)0xB0 << 56)

struct report_config {
	const char *name, *origin, *host; /* borrowed */
	int port;
	bool unix_socket;
	bool log_ring;
	const char *metrics_file;    /* NULL: none */
	struct redactor *redactor;
};

/* Begins to collect log lines of level info and above. Before the session, so
 * that its first lines count. NULL: no memory. No file is touched yet. */
struct report *report_new(const struct report_config *c, int64_t now);
/* From now on s is what is reported, and sign_in, which others keep up to date;
 * http carries exports. All outlive the report. */
void report_attach(struct report *r, struct session *s, const struct breaker_view *sign_in, struct http *h, struct loop *l);
#define REPORT_END_MS 500
#define REPORT_SIGNAL_MS 100
/* Says the last things and takes the status away. Exports that are under way
 * get limit_ms; nothing else is waited for. NULL does nothing. */
void report_free(struct report *r, int64_t limit_ms);

/* ACT_CHANGED. */
void report_on_changed(struct report *r);
/* SIGUSR1: one log line. */
void report_on_usr1(struct report *r, int64_t now);
/* True when the fact was about a transfer of ours. */
bool report_on_http(struct report *r, const struct http_event *ev, int64_t now);
/* When report_on_time() wants to be called; 0: no need. */
int64_t report_deadline(struct report *r, int64_t now);
void report_on_time(struct report *r, int64_t now);

#endif
