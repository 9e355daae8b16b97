/* The machine's way out: the queue of actions, and the one HTTP exchange that
 * may be under way. What an action shows stays as it is until the next call
 * into the machine, so the strings are copied into the queue and the exchange
 * has buffers of its own. */
#include "auth/flow_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GET_TIMEOUT_MS 15000
#define POST_TIMEOUT_MS 30000

void flow_forget(struct queued *q)
{
	free(q->text);
	secret_free(q->secret);
	memset(q, 0, sizeof *q);
}

/* ---- actions --------------------------------------------------------------------- */

static struct queued *push(struct auth *a, enum auth_do kind)
{
	struct queued *q;

	if (a->qlen == FLOW_ACTIONS) {
		a->overflow = true;
		return NULL;
	}
	q = &a->queue[(a->qhead + a->qlen++) % FLOW_ACTIONS];
	memset(q, 0, sizeof *q);
	q->kind = kind;
	return q;
}

void flow_do(struct auth *a, enum auth_do kind)
{
	push(a, kind);
}

static struct queued *push_text(struct auth *a, enum auth_do kind, int level, bool ok, const char *text)
{
	struct queued *q = push(a, kind);

	if (!q)
		return NULL;
	q->level = level;
	q->ok = ok;
	q->text = text ? strdup(text) : NULL;
	return q;
}

void flow_log_circuit(struct auth *a, const char *circuit, const char *fmt, ...)
{
	struct queued *q;
	char line[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	q = push_text(a, AUTH_DO_LOG, AUTH_LOG_INFO, false, line);
	if (q)
		q->circuit = circuit;
}

void flow_log(struct auth *a, int level, const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (a->qlen > FLOW_ACTIONS / 2) /* a log line must not push out an action */
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	push_text(a, AUTH_DO_LOG, level, false, line);
}

void flow_secret(struct auth *a, struct span s)
{
	struct queued *q = s.p ? push(a, AUTH_DO_SECRET) : NULL;

	if (q && !(q->secret = secret_new(s.p, s.n)))
		a->overflow = true;
}

void flow_read(struct auth *a, enum auth_file which)
{
	struct queued *q = push(a, AUTH_DO_READ);

	if (q)
		q->which = which;
}

void flow_load(struct auth *a, const char *issuer)
{
	push_text(a, AUTH_DO_LOAD, 0, false, issuer);
}

void flow_listen(struct auth *a, int port)
{
	struct queued *q = push(a, AUTH_DO_LISTEN);

	if (q)
		q->port = port;
}

void flow_tell(struct auth *a, enum auth_do kind, bool ok, const char *text)
{
	push_text(a, kind, 0, ok, text);
}

void flow_show(struct auth *a, enum auth_do kind, const char *text)
{
	push_text(a, kind, 0, false, text);
}

static int64_t timeout_of(const struct auth *a)
{
	return a->http_post ? POST_TIMEOUT_MS : GET_TIMEOUT_MS;
}

static void fill_http(const struct auth *a, struct auth_action *out)
{
	out->post = a->http_post;
	out->url = buf_data(&a->url);
	out->headers = a->headers;
	out->nheaders = a->nheaders;
	out->body = a->http_post ? buf_span(&a->body) : SPAN_NONE;
	out->timeout_ms = timeout_of(a);
	out->max_body = a->http_post ? TOKEN_MAX_ANSWER : METADATA_MAX;
}

/* Takes the first action off the queue; an exchange that was given up before
 * anybody saw it is passed over. */
static bool take(struct auth *a, struct queued *q)
{
	while (a->qlen > 0) {
		*q = a->queue[a->qhead];
		memset(&a->queue[a->qhead], 0, sizeof *q);
		a->qhead = (a->qhead + 1) % FLOW_ACTIONS;
		a->qlen--;
		if (q->kind != AUTH_DO_HTTP || (a->http_running && q->token == a->http_token))
			return true;
		flow_forget(q);
	}
	return false;
}

bool auth_next(struct auth *a, struct auth_action *out)
{
	struct queued *q = &a->current;

	flow_forget(q);
	memset(out, 0, sizeof *out);
	if (!take(a, q))
		return false;
	out->kind = q->kind;
	out->token = q->token;
	out->port = q->port;
	out->level = q->level;
	out->ok = q->ok;
	out->which = q->which;
	out->circuit = q->circuit;
	out->text = q->text ? q->text : "";
	out->issuer = q->kind == AUTH_DO_LOAD ? q->text : NULL;
	out->state = a->state;
	out->secret = q->secret ? secret_reveal(q->secret) : SPAN_NONE;
	if (q->kind == AUTH_DO_BROWSE)
		out->url = out->text;
	if (q->kind == AUTH_DO_HTTP)
		fill_http(a, out);
	return true;
}

/* ---- exchanges ----------------------------------------------------------------------- */

static void start_http(struct auth *a)
{
	struct queued *q;

	if (!circuit_lets_ask(a))
		return;
	q = push(a, AUTH_DO_HTTP);
	a->http_token = ++a->http_last;
	a->http_running = q != NULL;
	a->http_until = a->now + timeout_of(a);
	a->http_again_at = 0;
	if (q)
		q->token = a->http_token;
}

void flow_cancel(struct auth *a)
{
	struct queued *q;

	if (a->http_running && (q = push(a, AUTH_DO_CANCEL)))
		q->token = a->http_token;
	a->http_running = false;
	a->http_again_at = 0;
}

static int set_url(struct auth *a, const char *url)
{
	char *copy = strdup(url); /* url may stand in the very buffer */
	int rc = -1;

	buf_reset(&a->url);
	if (copy && buf_puts(&a->url, copy) == 0 && buf_append(&a->url, "", 1) == 0)
		rc = 0;
	free(copy);
	return rc;
}

/* Forgets the exchange before; each header line has a buffer of its own. */
static int begin_http(struct auth *a, const char *url, bool post)
{
	size_t i;

	a->http_post = post;
	buf_wipe(&a->body);
	for (i = 0; i < FLOW_HEADERS; i++)
		buf_wipe(&a->header[i]);
	return set_url(a, url) || buf_puts(&a->header[HEADER_ACCEPT], "Accept: application/json") ? -1 : 0;
}

/* The lines that are there, in their order, as the action will show them. */
static void send_http(struct auth *a)
{
	size_t i;

	a->nheaders = 0;
	for (i = 0; i < FLOW_HEADERS; i++)
		if (a->header[i].len > 0)
			a->headers[a->nheaders++] = buf_span(&a->header[i]);
	start_http(a);
}

void flow_get(struct auth *a, const char *url)
{
	a->http_tries = 0;
	if (begin_http(a, url, false))
		flow_fail(a, "no memory for signing in");
	else
		send_http(a);
}

int flow_post_begin(struct auth *a, const char *url)
{
	return begin_http(a, url, true);
}

void flow_post(struct auth *a, const char *content_type)
{
	if (buf_printf(&a->header[HEADER_TYPE], "Content-Type: %s", content_type))
		flow_fail(a, "no memory for signing in");
	else
		send_http(a);
}

/* Once more, after a pause. A token request is built anew: its proof and its
 * assertion carry numbers that may be used once. */
void flow_resend(struct auth *a)
{
	a->http_again_at = 0;
	if (a->step == STEP_CODE || a->step == STEP_REFRESH || a->step == STEP_CLIENT || a->step == STEP_ASSERTION ||
	    a->step == STEP_EXCHANGE)
		grant_request(a, a->step);
	else if (a->step == STEP_SERVER && a->candidate == NO_CANDIDATE)
		discover_server(a);
	else
		start_http(a);
}
