/* HTTP exchanges of the doctor: one or two at a time, waited for until
 * something in particular has come. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "report/doctor_i.h"

#define BODY_MAX ((size_t)1 << 20)
#define EVENTS 16

void call_init(struct call *x)
{
	memset(x, 0, sizeof(*x));
	buf_init(&x->session_id, 4096);
	buf_init(&x->authenticate, 16 * 1024);
	buf_init(&x->body, BODY_MAX);
	buf_init(&x->answer, BODY_MAX);
	buf_init(&x->endpoint, 16 * 1024);
}

void call_stop(struct doctor *d, struct call *x)
{
	if (x->token && !x->done)
		http_cancel(d->http, x->token);
	for (size_t i = 0; i < sizeof(d->calls) / sizeof(*d->calls); i++)
		if (d->calls[i] == x)
			d->calls[i] = NULL;
	x->token = 0;
}

void call_fini(struct doctor *d, struct call *x)
{
	call_stop(d, x);
	buf_wipe(&x->session_id);
	buf_fini(&x->session_id);
	buf_fini(&x->authenticate);
	buf_fini(&x->body);
	buf_fini(&x->answer);
	buf_fini(&x->endpoint);
	if (x->sse)
		sse_fini(&x->parser);
	call_init(x);
}

int call_start(struct doctor *d, struct call *x, enum http_method m, const char *url, struct span lines, struct span body, unsigned flags, struct err *e)
{
	struct span extra[16];
	struct http_request rq = { .method = m, .url = url, .body = body, .flags = flags,
		.shared = flags & HTTP_FOREIGN ? NULL : m == HTTP_POST ? d->c->post : d->c->get, .extra = extra };
	size_t slot = 0;

	if (doctor_interrupted(d))
		return err_set(e, "interrupted");
	while (lines.n && rq.nextra < sizeof(extra) / sizeof(*extra)) {
		const char *nl = memchr(lines.p, '\n', lines.n);
		size_t n = nl ? (size_t)(nl - lines.p) : lines.n;
		if (n)
			extra[rq.nextra++] = span_make(lines.p, n);
		lines.p += nl ? n + 1 : n;
		lines.n -= nl ? n + 1 : n;
	}
	while (slot < sizeof(d->calls) / sizeof(*d->calls) && d->calls[slot])
		slot++;
	if (slot == sizeof(d->calls) / sizeof(*d->calls))
		return err_set(e, "too many exchanges at once");
	rq.token = x->token = ++d->next_token;
	x->started_us = loop_now_us();
	if (http_start(d->http, &rq, e) != 0) {
		x->token = 0;
		return -1;
	}
	d->calls[slot] = x;
	return 0;
}

/* ---- facts ------------------------------------------------------------------------------------------ */

static bool type_is(const struct call *x, const char *type)
{
	return strncasecmp(x->type, type, strlen(type)) == 0;
}

static void on_head(struct doctor *d, struct call *x, const struct http_head *h)
{
	x->head_us = loop_now_us();
	x->status = h->status;
	x->version = h->version;
	snprintf(x->type, sizeof(x->type), "%.*s", (int)(h->content_type.n < sizeof(x->type) ? h->content_type.n : sizeof(x->type) - 1),
		h->content_type.p ? h->content_type.p : "");
	if (h->location.n && h->location.n < sizeof(x->location))
		snprintf(x->location, sizeof(x->location), "%.*s", (int)h->location.n, h->location.p);
	buf_add(&x->session_id, h->session_id);
	buf_add(&x->authenticate, h->www_authenticate);
	if (h->status / 100 == 2 && h->status != 202 && type_is(x, "text/event-stream")) {
		x->sse = true;
		sse_init(&x->parser, BODY_MAX);
	}
	(void)d;
}

/* Is the text the answer that is waited for? */
static void look_at(struct call *x, struct span text)
{
	struct rpc_msg m;

	if (!x->id || x->answer.len)
		return;
	rpc_parse(text.p, text.n, &m);
	x->bad_json |= m.kind == RPC_NOT_JSON || m.kind == RPC_INVALID;
	if ((m.kind == RPC_RESULT || m.kind == RPC_ERROR) && (span_is(m.id, x->id) || (m.kind == RPC_ERROR && span_is(m.id, "null")))) {
		buf_add(&x->answer, m.text);
		x->answer_us = loop_now_us();
	}
}

static void on_data(struct call *x, struct span data)
{
	struct sse_event ev;
	const char *p = data.p;
	size_t n = data.n;
	int got;

	if (!x->byte_us)
		x->byte_us = loop_now_us();
	x->bytes += data.n < 1000000 ? (unsigned)data.n : 1000000u;
	if (!x->sse) {
		if (x->body.len < BODY_MAX)
			buf_append(&x->body, p, n < BODY_MAX - x->body.len ? n : BODY_MAX - x->body.len);
		return;
	}
	while ((got = sse_next(&x->parser, &p, &n, &ev)) != 0) {
		if (got < 0)
			continue;
		x->events++;
		if (span_is(ev.type, "endpoint") && !x->endpoint.len)
			buf_add(&x->endpoint, ev.data);
		else if (ev.data.n)
			look_at(x, ev.data);
	}
}

static void on_done(struct call *x, const struct http_result *r)
{
	x->done = true;
	x->done_us = loop_now_us();
	x->result = *r;
	if (!x->sse && x->body.len)
		look_at(x, buf_span(&x->body));
}

static void take_facts(struct doctor *d)
{
	struct http_event ev;

	while (http_next(d->http, &ev)) {
		struct call **slot = NULL;
		for (size_t i = 0; i < sizeof(d->calls) / sizeof(*d->calls); i++)
			if (d->calls[i] && d->calls[i]->token == ev.token)
				slot = &d->calls[i];
		if (!slot)
			continue;
		if (ev.kind == HTTP_EV_HEAD) {
			on_head(d, *slot, ev.head);
		} else if (ev.kind == HTTP_EV_DATA) {
			on_data(*slot, ev.data);
		} else {
			on_done(*slot, ev.result);
			*slot = NULL;
		}
	}
}

/* The second signal ends the last wait as well. */
static bool take_signal(struct doctor *d)
{
	int signo = loop_next_signal(d->loop);

	if (signo)
		d->signal = signo;
	return signo || doctor_interrupted(d);
}

bool call_wait(struct doctor *d, struct call *x, bool (*until)(const struct call *x), int64_t ms)
{
	int64_t end = loop_now() + ms;
	struct loop_event ev[EVENTS];

	for (;;) {
		int64_t t = http_deadline(d->http), now = loop_now();
		take_facts(d);
		if (until(x))
			return true;
		if (take_signal(d) || x->done || !x->token || now >= end)
			return false;
		int n = loop_wait(d->loop, t && t < end ? t : end, ev, EVENTS);
		for (int i = 0; i < n; i++)
			http_on_event(d->http, &ev[i]);
		t = http_deadline(d->http);
		now = loop_now();
		if (t && now >= t)
			http_on_time(d->http, now);
	}
}

bool call_has_head(const struct call *x) { return x->status != 0; }
bool call_has_answer(const struct call *x) { return x->answer.len != 0; }
bool call_has_endpoint(const struct call *x) { return x->endpoint.len != 0; }
bool call_is_done(const struct call *x) { return x->done; }

int doctor_fetch(struct doctor *d, const char *url, struct buf *body, int64_t *us, struct err *e)
{
	struct call x;
	int status = -1;

	call_init(&x);
	if (call_start(d, &x, HTTP_GET, url, SPAN_LIT("Accept: application/json"), SPAN_NONE, http_foreign(d->c->url, url), e) != 0)
		goto out;
	if (!call_wait(d, &x, call_is_done, STEP_MS))
		err_set(e, "no answer within %d s", STEP_MS / 1000);
	else if (x.result.outcome != HTTP_OK)
		err_set(e, "%s", x.result.detail);
	else if (buf_add(body, buf_span(&x.body)) == 0)
		status = x.status;
	*us = x.done_us ? x.done_us - x.started_us : 0;
out:
	call_fini(d, &x);
	return status;
}
