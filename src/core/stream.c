/* The standing stream: on 2024-11-05 it is the session itself, on Streamable
 * HTTP the server's own channel beside the calls. It is opened again for as
 * long as the session lives, with a backoff of its own; whether a silent one
 * is dead is judged by --idle-timeout or by the stream's own habit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/url.h"
#include "core/session_i.h"

#define HABIT_GAP_MS 1000            /* shorter gaps are one burst */
#define HABIT_GAPS 3                 /* so many gaps are a habit */
#define HABIT_FLOOR_MS 45000         /* never called dead earlier */
#define NO_HABIT_REOPEN_MS 300000    /* one that never carried a byte is opened afresh */
#define OPEN_TIMEOUT_MS 15000        /* GET to first header, and to the endpoint event */

void stream_init(struct session *s)
{
	memset(&s->stream, 0, sizeof(s->stream));
	buf_init(&s->stream.last_id, 8192);
	backoff_init(&s->stream.backoff, retry_backoff(s->c));
	s->stream.retry_ms = -1;
}

void stream_fini(struct session *s)
{
	buf_fini(&s->stream.last_id);
	free(s->stream.seen);
	s->stream.seen = NULL;
}

/* Whether the stream is the session itself, as it is found or being looked for. */
static bool is_session(const struct session *s)
{
	bool looking = s->state == SESSION_PROBE || s->state == SESSION_REVIVE;

	return (looking ? s->trying : s->era) == ERA_SSE;
}

static bool wanted(const struct session *s)
{
	return s->state == SESSION_READY && dialect_has_stream(s->era) && s->initialized_sent && !s->outage_since;
}

static void open_at(struct session *s, struct span url, unsigned redirects)
{
	struct stream *t = &s->stream;
	bool sse = is_session(s);
	struct xfer *x;

	if (t->blocks && !sse) {
		t->state = STREAM_NONE;
		return;
	}
	x = xfer_start(s, XF_STREAM, HTTP_GET, sse ? HEADERS_BASE : HEADERS_SESSION, SPAN_NONE, 0);

	t->next_at = 0;
	if (x && url.p && buf_add(&x->url, url) != 0) {
		xfer_cancel(s, x->token);
		x = NULL;
	}
	if (!x) {
		t->state = STREAM_WAITING;
		t->next_at = s->now + 1000;
		return;
	}
	if (!sse && t->last_id.len) {
		if (buf_puts(&x->lines, "Last-Event-ID: ") || buf_add(&x->lines, buf_span(&t->last_id)) || buf_puts(&x->lines, "\n"))
			buf_reset(&x->lines);
		t->resumed = true;
	} else {
		t->resumed = false;
	}
	xfer_ready(s, x);
	x->redirects = redirects;
	t->xfer = x->token;
	t->state = STREAM_OPENING;
	t->opened_at = t->byte_at = s->now;
	t->headless = false;
	t->gaps = 0;
	t->longest_gap = 0;
}

void stream_open(struct session *s) { open_at(s, SPAN_NONE, 0); }

bool stream_follow(struct session *s, struct xfer *x, struct span url)
{
	if (s->stream.xfer != x->token)
		return false;
	open_at(s, url, x->redirects + 1);
	return true;
}

void stream_close(struct session *s)
{
	struct stream *t = &s->stream;
	uint64_t token = t->xfer;

	t->gap |= ((t->state == STREAM_LIVE || t->headless) && !t->last_id.len) || t->compare_at;
	t->headless = t->suspected = false;
	t->compare_at = 0;
	t->xfer = 0;
	t->next_at = 0;
	t->state = STREAM_OFF;
	if (token)
		xfer_cancel(s, token);
}

bool stream_suspect(struct session *s)
{
	struct stream *t = &s->stream;

	if (!t->headless)
		return false;
	stream_close(s);
	t->state = STREAM_NONE;
	t->suspected = true;
	session_ping(s);
	return true;
}

void stream_judged(struct session *s, bool answered)
{
	struct stream *t = &s->stream;

	if (t->suspected && answered) {
		t->blocks = true;
		session_note(s, NOTE_INFO, "the server answers nothing while it is asked for a stream; going without one");
	}
	t->suspected = false;
}

static void wait_for(struct session *s, int64_t ms)
{
	s->stream.state = STREAM_WAITING;
	s->stream.next_at = s->now + (ms > RETRY_AFTER_MAX_MS ? RETRY_AFTER_MAX_MS : ms);
}

int64_t stream_pace(const struct session *s)
{
	int64_t ms = s->stream.retry_ms > 0 ? s->stream.retry_ms : 0;

	return ms < RETRY_AFTER_MAX_MS ? ms : RETRY_AFTER_MAX_MS;
}

/* Now, unless it is open or not to be had. */
void stream_schedule(struct session *s, bool failed)
{
	struct stream *t = &s->stream;

	if (failed) { /* the backoff comes on top of the server's own pace */
		wait_for(s, stream_pace(s) + backoff_next(&t->backoff, &s->rng, s->now) - s->now);
		return;
	}
	if (wanted(s) && (t->state == STREAM_WAITING || t->state == STREAM_OFF))
		stream_open(s);
}

static bool is_event_stream(struct span ct) { return ct.n >= 17 && strncasecmp(ct.p, "text/event-stream", 17) == 0; }

enum body_mode stream_on_head(struct session *s, struct xfer *x, const struct http_head *h)
{
	struct stream *t = &s->stream;

	if (h->status == 200 && is_event_stream(h->content_type)) {
		x->sse = true;
		sse_init(&x->parser, s->c->max_message);
		t->state = STREAM_LIVE;
		t->existed = true;
		t->opened_at = t->byte_at = s->now;
		session_note(s, NOTE_DEBUG, "standing stream is open");
		if (t->gap && s->era == ERA_HTTP && s->state == SESSION_READY && !t->compare_at)
			t->compare_at = t->compared_at && t->compared_at + s->c->max_retry_ms > s->now ? t->compared_at + s->c->max_retry_ms : s->now;
		t->gap = false;
	}
	return BODY_STREAM;
}

void stream_on_bytes(struct session *s)
{
	struct stream *t = &s->stream;
	int64_t gap = s->now - t->byte_at;

	t->byte_at = s->now;
	s->last_rx = s->now;
	if (gap < HABIT_GAP_MS)
		return;
	t->gaps++;
	if (gap > t->longest_gap)
		t->longest_gap = gap;
}

static bool is_space(char c) { return c == ' ' || c == '\t'; }

/* 2024-11-05: where to POST. Only the origin of the stream will do. Spaces around
 * the address are none of it, as for every other client. */
static void endpoint(struct session *s, struct span data)
{
	struct url base, to;
	struct err e = { "" };
	bool ok = false;

	for (; data.n && is_space(data.p[0]); data.n--)
		data.p++;
	while (data.n && is_space(data.p[data.n - 1]))
		data.n--;
	memset(&base, 0, sizeof(base));
	memset(&to, 0, sizeof(to));
	if (url_parse(&base, s->url, &e) == 0 && url_resolve(&to, &base, data, &e) == 0) {
		ok = url_same_origin(&base, &to);
		if (!ok)
			session_note(s, NOTE_WARN, "the server wants messages sent to another origin (%s); refused", to.origin);
	} else {
		session_note(s, NOTE_WARN, "the server's endpoint event is no usable address: %s", e.text);
	}
	if (ok) {
		struct action *a = to.query ? session_act(s, ACT_SECRET) : NULL; /* it names the session */
		const char *eq = a ? strchr(to.query, '=') : NULL;
		if (a)
			buf_puts(&a->owned, eq ? eq + 1 : to.query);
		buf_reset(&s->endpoint);
		buf_puts(&s->endpoint, to.text);
	}
	url_fini(&base);
	url_fini(&to);
	if (ok)
		replay_on_endpoint(s);
	else if (s->state == SESSION_PROBE)
		probe_next(s, "the endpoint event was not usable");
	else
		session_line_down(s, "the endpoint event was not usable", -1, -1);
}

bool stream_on_event(struct session *s, struct xfer *x, const struct sse_event *ev)
{
	struct stream *t = &s->stream;

	if (x->parser.retry_ms >= 0)
		t->retry_ms = x->parser.retry_ms;
	if (s->now - t->opened_at >= PROVEN_MS || ev->data.n)
		backoff_reset(&t->backoff);
	if (ev->has_id && s->era == ERA_HTTP) {
		bool again = seen_before(&t->seen, &t->nseen, ev->id, s->seed);
		if (again && t->resumed)
			return true;
		buf_reset(&t->last_id);
		buf_add(&t->last_id, ev->id);
	}
	if (span_is(ev->type, "endpoint") && is_session(s)) {
		if (!s->endpoint.len)
			endpoint(s, ev->data);
		return true;
	}
	return ev->data.n == 0 || !span_is(ev->type, "message");
}

/* The GET of Streamable HTTP ended or was refused. */
static void http_stream_done(struct session *s, struct xfer *x, const struct http_result *r, bool was_live, const char *what)
{
	struct stream *t = &s->stream;
	int64_t lived = s->now - t->opened_at, wait;

	was_live |= t->headless && r->outcome != HTTP_OK;
	t->headless = false;
	t->state = STREAM_OFF;
	t->gap |= was_live && !t->last_id.len;
	if (s->state != SESSION_READY)
		return;
	if (was_live) {
		session_note(s, NOTE_DEBUG, "standing stream ended (%s)", what);
		if (lived >= PROVEN_MS)
			backoff_reset(&t->backoff);
		if (t->retry_ms >= 0 && t->backoff.attempt == 0) {
			wait = t->retry_ms ? t->retry_ms : s->c->initial_retry_ms;
			wait += (int64_t)(rng_unit(&s->rng) * 0.1 * (double)wait);
			t->backoff.attempt = 1;
			wait_for(s, wait);
		} else {
			stream_schedule(s, true);
		}
		return;
	}
	if (r->outcome == HTTP_OK) {
		if (x->status == 405 || x->status == 501) {
			t->state = STREAM_NONE;
			session_note(s, NOTE_DEBUG, "the server has no standing stream");
			return;
		}
		if (x->status == 401 || x->status == 403) {
			wait_for(s, s->c->max_retry_ms);
			return;
		}
		if (x->status == 404 || x->status == 400) {
			/* No stream, or no session? A ping knows; and one that was there once will be again. */
			t->state = STREAM_NONE;
			if (t->existed)
				stream_schedule(s, true);
			session_ping(s);
			return;
		}
		if (x->retry_after_ms >= 0)
			backoff_floor(&t->backoff, x->retry_after_ms, s->now);
		stream_schedule(s, true);
		return;
	}
	stream_schedule(s, true);
	if (r->outcome == HTTP_RESOLVE || r->outcome == HTTP_CONNECT || r->outcome == HTTP_PROXY || r->outcome == HTTP_TLS)
		session_line_down(s, what, -1, -1);
}

static void sse_stream_done(struct session *s, struct xfer *x, const struct http_result *r, bool was_live, const char *what)
{
	struct stream *t = &s->stream;
	char text[96];

	t->state = STREAM_OFF;
	snprintf(text, sizeof(text), "the server answered the stream request with HTTP %d", x->status);
	if (s->state == SESSION_READY) {
		keepalive_on_cut(s, s->now - t->byte_at);
		session_line_down(s, what, -1, t->retry_ms == 0 ? s->c->initial_retry_ms : t->retry_ms > 0 ? stream_pace(s) : -1);
		return;
	}
	if (s->state != SESSION_PROBE && s->state != SESSION_REVIVE)
		return;
	if (was_live || r->outcome != HTTP_OK) {
		session_line_down(s, what, -1, -1);
		return;
	}
	if (x->status == 401 || x->insufficient_scope) {
		if (x->challenge == CHALLENGE_AGAIN && t->failures++ < 3) {
			stream_open(s);
			return;
		}
		if (x->challenge == CHALLENGE_PARK) {
			s->auth_from = s->state;
			session_enter(s, SESSION_AUTH, "the server wants a sign-in");
			return;
		}
		snprintf(text, sizeof(text), "The server refused the credentials (HTTP %d: authorization required)", x->status);
		if (s->handshake && s->state == SESSION_PROBE) {
			struct span said = buf_span(&x->challenge_text);
			char why[512];
			snprintf(why, sizeof(why), "%.*s", (int)(said.n < 500 ? said.n : 500), said.n ? said.p : text);
			request_refuse(s, s->handshake, ERR_AUTH_REQUIRED, why, session_auth_pause(s));
			return;
		}
		session_line_down(s, text, -1, -1);
		return;
	}
	if (x->status == 429 || x->status >= 500 || x->status == 409) {
		session_line_down(s, text, x->retry_after_ms, -1);
		return;
	}
	if (s->state == SESSION_PROBE)
		probe_next(s, text);
	else
		replay_next(s, text);
}

void stream_on_done(struct session *s, struct xfer *x, const struct http_result *r, const char *what)
{
	struct stream *t = &s->stream;
	bool was_live = x->sse;

	if (t->xfer != x->token)
		return;
	t->xfer = 0;
	if (was_live && x->parser.retry_ms >= 0)
		t->retry_ms = x->parser.retry_ms;
	if (was_live && r->outcome == HTTP_OK)
		what = "the server ended the stream";
	else if (was_live)
		what = "the stream was lost";
	if (is_session(s))
		sse_stream_done(s, x, r, was_live, what);
	else
		http_stream_done(s, x, r, was_live, what);
}

/* When a stream without a byte since byte_at is dead; 0: never. */
static int64_t quiet_limit(const struct session *s)
{
	const struct stream *t = &s->stream;

	if (s->c->idle_ms > 0)
		return s->c->idle_ms;
	if (s->c->idle_ms == 0)
		return 0;
	if (t->gaps >= HABIT_GAPS)
		return 3 * t->longest_gap > HABIT_FLOOR_MS ? 3 * t->longest_gap : HABIT_FLOOR_MS;
	return s->era == ERA_HTTP ? NO_HABIT_REOPEN_MS : 0;
}

static int64_t due(const struct session *s)
{
	const struct stream *t = &s->stream;
	int64_t q;

	switch (t->state) {
	case STREAM_WAITING:
		return t->next_at;
	case STREAM_OPENING:
		if (!t->headless)
			return t->opened_at + OPEN_TIMEOUT_MS;
		q = quiet_limit(s);
		return q ? t->opened_at + q : 0;
	case STREAM_LIVE:
		if (!s->endpoint.len && (s->state == SESSION_PROBE || s->state == SESSION_REVIVE))
			return t->opened_at + OPEN_TIMEOUT_MS;
		q = quiet_limit(s);
		q = q ? t->byte_at + q : 0;
		return t->compare_at && (!q || t->compare_at < q) ? t->compare_at : q;
	default:
		return 0;
	}
}

int64_t stream_deadline(const struct session *s) { return due(s); }

static void went_quiet(struct session *s)
{
	struct stream *t = &s->stream;
	int64_t quiet = s->now - t->byte_at;
	uint64_t token = t->xfer;
	char text[80];

	t->xfer = 0;
	xfer_cancel(s, token);
	snprintf(text, sizeof(text), "the stream was silent for %.1f s", (double)quiet / 1000);
	if (s->era == ERA_SSE) {
		t->state = STREAM_OFF;
		session_line_down(s, text, -1, 0);
		return;
	}
	session_note(s, t->gaps >= HABIT_GAPS || s->c->idle_ms > 0 ? NOTE_INFO : NOTE_DEBUG, "%s; opening it again", text);
	stream_open(s);
}

/* Notifications that came while no stream was open are lost: the client is told
 * where something differs. A line that breaks often is compared now and then. */
static void compare(struct session *s)
{
	s->stream.compare_at = 0;
	s->stream.compared_at = s->now;
	if (s->state == SESSION_READY)
		replay_after(s);
}

void stream_on_time(struct session *s)
{
	struct stream *t = &s->stream;
	int64_t at = due(s);

	if (!at || s->now < at)
		return;
	switch (t->state) {
	case STREAM_WAITING:
		t->next_at = 0;
		t->state = STREAM_OFF;
		if (wanted(s))
			stream_open(s);
		break;
	case STREAM_OPENING:
		if (t->headless) {
			went_quiet(s);
		} else if (!is_session(s)) { /* what else is there to be said of the line, a ping says */
			t->headless = true;
			session_ping(s);
		} else {
			session_line_down(s, "the server did not answer the stream request", -1, -1);
		}
		break;
	case STREAM_LIVE:
		if (s->state == SESSION_PROBE)
			probe_next(s, "no endpoint event came");
		else if (s->state == SESSION_REVIVE)
			session_line_down(s, "no endpoint event came", -1, -1);
		else if (t->compare_at && s->now >= t->compare_at)
			compare(s);
		else
			went_quiet(s);
		break;
	default:
		break;
	}
}
