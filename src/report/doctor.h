/* `mcp-holdfast doctor URL`: walks the way a bridge walks, one step after the
 * other, and tells of each what it found, how long it took, and, when it
 * failed, the likely cause and what to try. It stores nothing, ends the session
 * it made and shows no secret. */
#ifndef REPORT_DOCTOR_H
#define REPORT_DOCTOR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/redact.h"
#include "base/span.h"
#include "base/url.h"
#include "io/http.h"

/* Exit statuses: the first failure decides. */
enum doctor_exit {
	DOCTOR_WELL = 0,
	DOCTOR_BROKEN = 1,      /* the doctor itself could not go on */
	DOCTOR_RESOLVE = 3,
	DOCTOR_CONNECT = 4,
	DOCTOR_PROXY = 5,
	DOCTOR_TLS = 6,
	DOCTOR_HTTP = 7,        /* no MCP server there, or a gateway's error */
	DOCTOR_AUTH = 8,
	DOCTOR_SESSION = 9,
	DOCTOR_STREAM = 10,     /* buffered or cut */
};

enum doctor_verdict { STEP_OK, STEP_WARN, STEP_FAIL, STEP_NONE };

struct doctor;

struct doctor_config {
	const struct url *url;
	const struct http_config *http;
	struct http_headers *post, *get;  /* what each request carries; the user's and the content types */
	struct redactor *redactor;
	size_t max_message;
	bool json, sse_allowed, http_allowed, modern_allowed;
	int64_t wait_ms;                  /* 0: no test for an idle cut */
	bool has_authorization;           /* the headers hold one, from wherever */
	/* Tells of signing in: www_authenticate is of a 401 or 403, SPAN_NONE when
	 * nothing was refused. May call doctor_say(), doctor_hint() and doctor_fetch(). */
	void (*authorization)(void *arg, struct doctor *d, int status, struct span www_authenticate);
	void *arg;
};

/* Exit status. */
int doctor_run(const struct doctor_config *c);

/* One step is done. us: how long it took, -1 not measured. exit: for failures. */
void doctor_say(struct doctor *d, const char *step, enum doctor_verdict v, int64_t us, enum doctor_exit exit, const char *fmt, ...)
	__attribute__((format(printf, 6, 7)));
/* Why the last step went as it did, and what to try; NULL: nothing to say. */
void doctor_hint(struct doctor *d, const char *cause, const char *try_this);
/* Gets a public document, without any header of the user's, and with the certificate
 * only at the origin of the server. Status, or -1 with *e. */
int doctor_fetch(struct doctor *d, const char *url, struct buf *body, int64_t *us, struct err *e);

#endif
