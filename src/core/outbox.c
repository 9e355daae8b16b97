/* Notifications of the client and its answers on their way up, never waiting for a
 * request's slot: one after another, and cancellations beside them. An answer to a
 * server request is sent again on any doubt (its id makes that harmless), a
 * notification only when it was not processed; others go meanwhile, except that no
 * notification passes another. Requests that came after a notification wait for
 * it, but not for ever. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define OUT_TIMEOUT_MS 10000  /* of one POST */
#define OUT_PATIENCE_MS 5000  /* how long requests wait for the notifications before them */
#define NO_MEMORY_MS 1000     /* until it is tried again */
#define OUT_MAX_LEN 4096
#define SRVREQ_MAX 4096
#define LINE_BYTES ((size_t)1 << 40)

static void outmsg_free(struct session *s, struct outmsg *m)
{
	if (m->xfer)
		xfer_cancel(s, m->xfer);
	buf_fini(&m->line);
	free(m);
}

/* Takes it out: it is done, one way or the other. */
static void outbox_take_out(struct session *s, struct outmsg *m)
{
	struct outmsg **at = &s->outbox;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	if (!m->next)
		s->outbox_tail = at;
	s->outbox_len--;
	if (m->seq > s->out_done)
		s->out_done = m->seq;
	outmsg_free(s, m);
}

void outbox_clear(struct session *s)
{
	while (s->outbox)
		outbox_take_out(s, s->outbox);
	s->out_done = s->out_seq;
}

/* The new session has been told by a step of its own that all is set. */
void outbox_new_session(struct session *s)
{
	struct outmsg *m, *next;

	for (m = s->outbox; m; m = next) {
		next = m->next;
		if (m->is_initialized)
			outbox_take_out(s, m);
	}
}

static struct outmsg *outmsg_new(struct session *s)
{
	struct outmsg *m = calloc(1, sizeof(*m));

	if (!m)
		return NULL;
	buf_init(&m->line, LINE_BYTES);
	m->queued = s->now;
	*s->outbox_tail = m;
	s->outbox_tail = &m->next;
	s->outbox_len++;
	m->seq = s->out_done; /* holds nothing up unless it is said to */
	session_due(s, s->now); /* whatever it was that made it, it goes out at once */
	return m;
}

/* NULL: too many wait, or no memory. */
static struct outmsg *outmsg_take(struct session *s, struct span line, struct buf *big)
{
	struct outmsg *m = s->outbox_len < OUT_MAX_LEN ? outmsg_new(s) : NULL;

	if (!m) {
		session_note(s, NOTE_WARN, "dropped a message of the client to the server: too many are waiting");
		return NULL;
	}
	if (big && big->mem && span_eq(buf_span(big), line))
		buf_move(&m->line, big);
	else if (buf_add(&m->line, line) != 0)
		session_note(s, NOTE_WARN, "out of memory for a message of the client to the server");
	return m;
}

void outbox_notify(struct session *s, struct span line, struct buf *big)
{
	struct outmsg *m = outmsg_take(s, line, big);
	struct rpc_msg rm;

	if (!m)
		return;
	rpc_parse(buf_data(&m->line), m->line.len, &rm);
	m->is_initialized = span_is(rm.method, "notifications/initialized");
	if (!span_is(rm.method, "notifications/progress"))
		m->seq = ++s->out_seq;
}

int outbox_answer(struct session *s, struct span line, struct buf *big, uint64_t epoch, uint64_t token)
{
	struct outmsg *m = outmsg_take(s, line, big);

	if (!m)
		return -1;
	m->is_answer = true;
	m->epoch = epoch;
	m->token = token;
	return m->line.len ? 0 : -1;
}

void outbox_cancelled(struct session *s, const struct request *r, const char *reason)
{
	struct outmsg *m = s->outbox_len < OUT_MAX_LEN ? outmsg_new(s) : NULL;
	int bad;

	if (!m)
		return;
	m->is_cancel = true;
	m->epoch = r->epoch;
	bad = buf_puts(&m->line, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":") | buf_add(&m->line, r->uid);
	if (reason)
		bad |= buf_puts(&m->line, ",\"reason\":") | json_quote(&m->line, span_str(reason));
	bad |= buf_puts(&m->line, "}}");
	if (bad)
		buf_reset(&m->line);
}

/* The first one that requests still wait for. */
static const struct outmsg *first_barrier(const struct session *s)
{
	const struct outmsg *m = s->outbox;

	while (m && m->seq <= s->out_done)
		m = m->next;
	return m;
}

static bool to_current(const struct session *s, const struct outmsg *m)
{
	return !m->epoch || m->epoch == s->epoch;
}

/* To url (SPAN_NONE: the usual one). 0, or -1: no memory. */
static int outmsg_post(struct session *s, struct outmsg *m, struct span url, unsigned redirects)
{
	struct span lines = SPAN_NONE;
	bool old = !to_current(s, m);
	struct xfer *x;

	if (old && !past_headers(s, m->epoch, &lines))
		return -1;
	x = xfer_start(s, XF_OUT, HTTP_POST, old ? HEADERS_BASE : HEADERS_SESSION, buf_span(&m->line), OUT_TIMEOUT_MS);
	if (!url.p && s->era == ERA_SSE)
		url = buf_span(&s->endpoint);
	if (!x || (url.p && buf_add(&x->url, url) != 0) || buf_add(&x->lines, lines) != 0) {
		if (x)
			xfer_cancel(s, x->token);
		return -1;
	}
	if (s->era == ERA_MODERN || (s->era == ERA_HTTP && version_text_is_modern(s->version))) {
		struct rpc_msg rm;
		rpc_parse(buf_data(&m->line), m->line.len, &rm);
		eras_out_headers(s, rm.method, &x->lines);
	}
	xfer_ready(s, x);
	x->redirects = redirects;
	x->om = m;
	m->xfer = x->token;
	return 0;
}

bool outbox_follow(struct session *s, struct xfer *x, struct span url)
{
	return x->om && outmsg_post(s, x->om, url, x->redirects + 1) == 0;
}

static bool is_notification(const struct outmsg *m) { return !m->is_answer && !m->is_cancel; }

/* 2026-07-28 has no notifications for HTTP, but extensions may have some. An older
 * server would not know those. */
static bool has_no_place(const struct session *s, const struct outmsg *m)
{
	bool of_modern = s->client_modern && is_notification(m);

	return s->era == ERA_MODERN ? !of_modern || m->is_initialized : of_modern;
}

/* The first message that may go now. One is on its way at a time, and beside it one
 * cancellation. What waits for its retry lets the others pass, but no notification
 * passes another: their order means something (progress, what follows initialized). */
static struct outmsg *next_message(const struct session *s)
{
	bool busy = false, cancelling = false, notified = false;
	struct outmsg *m;

	for (m = s->outbox; m; m = m->next) {
		busy |= m->xfer && !m->is_cancel;
		cancelling |= m->xfer && m->is_cancel;
	}
	for (m = s->outbox; m; m = m->next) {
		bool held = m->is_cancel ? cancelling : busy || (is_notification(m) && notified);
		if (!held && (!m->not_before || s->now >= m->not_before))
			return m;
		notified |= is_notification(m);
	}
	return NULL;
}

void outbox_pump(struct session *s)
{
	const struct outmsg *b;
	struct span lines;
	struct outmsg *m;
	bool open = s->state == SESSION_READY || (s->state == SESSION_DRAIN && !s->signalled);

	while ((b = first_barrier(s)) && s->now >= b->queued + OUT_PATIENCE_MS)
		s->out_done = b->seq; /* it has held up the others long enough */
	while (open && (m = next_message(s))) {
		if (!m->line.len || has_no_place(s, m)) {
			outbox_take_out(s, m);
			continue;
		}
		if (!to_current(s, m) && !past_headers(s, m->epoch, &lines)) {
			session_note(s, m->is_answer ? NOTE_INFO : NOTE_DEBUG, "dropped %s of a session that is gone", m->is_answer ? "an answer to a request" : "the cancellation of a call");
			outbox_take_out(s, m);
			continue;
		}
		if (outmsg_post(s, m, SPAN_NONE, 0) != 0) {
			m->not_before = s->now + NO_MEMORY_MS;
			return;
		}
		m->attempts++;
	}
}

static void initialized_done(struct session *s, bool ok)
{
	if (ok && s->state == SESSION_READY && dialect_has_stream(s->era) && s->stream.state == STREAM_OFF)
		stream_open(s);
}

/* An earlier session did not take the answer that r waits for in it. Where r may be
 * repeated it goes to the current one, which asks anew. */
static void call_lost(struct session *s, struct request *r)
{
	bool again = request_repeatable(s, r);

	r->maybe_ran = true;
	if (again && !r->cancelled && !r->revives++) {
		r->why = RETRY_SESSION;
		request_park(s, r, 0);
		return;
	}
	request_refuse(s, r, again ? ERR_UPSTREAM_UNAVAILABLE : ERR_OUTCOME_UNKNOWN, "The server has lost the session that the call runs in", -1);
}

/* Out with m, which was not taken, and on with what waits for it. */
static void not_taken(struct session *s, struct outmsg *m)
{
	struct request *r = eras_request(s, m->token);
	bool init = m->is_initialized;

	outbox_take_out(s, m);
	if (init)
		initialized_done(s, true);
	if (r && (r->state == REQ_SENT || r->state == REQ_STREAMING) && r->epoch != s->epoch)
		call_lost(s, r);
}

static void try_again(struct session *s, struct outmsg *m, int64_t floor_ms, const char *what)
{
	struct backoff b;

	if (m->attempts > 8 || (s->c->max_retries >= 0 && m->attempts > (unsigned)s->c->max_retries)) {
		session_note(s, NOTE_WARN, "dropped %s of the client after %u attempts: %s", m->is_answer ? "an answer" : "a notification", m->attempts, what);
		not_taken(s, m);
		return;
	}
	backoff_init(&b, retry_backoff(s->c));
	b.attempt = m->attempts - 1;
	if (floor_ms >= 0)
		backoff_floor(&b, floor_ms, s->now);
	m->not_before = backoff_next(&b, &s->rng, s->now);
}

void outbox_on_done(struct session *s, struct outmsg *m, struct xfer *x, enum verdict v, bool processed, const char *what)
{
	bool again = m->is_answer || m->is_initialized;

	m->xfer = 0;
	switch (v) {
	case VERDICT_ACCEPTED:
	case VERDICT_ANSWER:
	case VERDICT_BAD:
		if (x->status < 300) {
			bool init = m->is_initialized;
			session_succeeded(s);
			outbox_take_out(s, m);
			if (init)
				initialized_done(s, true);
			return;
		}
		break;
	case VERDICT_GONE:
		if (m->attempts > 1)
			break; /* to a fresh session too: it is this message */
		if (x->epoch == s->epoch && s->state == SESSION_READY && to_current(s, m)) {
			s->force_init = true;
			s->n.session_losses++;
			session_line_down(s, "the server lost the session", -1, session_gone_often(s) ? -1 : 0);
		}
		return;
	case VERDICT_AUTH:
		if (x->challenge == CHALLENGE_AGAIN && m->attempts < 4)
			return;
		if (x->challenge == CHALLENGE_PARK) {
			if (s->state != SESSION_AUTH) {
				s->auth_from = s->state;
				session_enter(s, SESSION_AUTH, "the server wants a sign-in");
			}
			return;
		}
		break;
	case VERDICT_LATER:
		try_again(s, m, x->retry_after_ms, what);
		return;
	case VERDICT_UNKNOWN:
		if (again || !processed) {
			try_again(s, m, -1, what);
			return;
		}
		break;
	default:
		break;
	}
	session_note(s, m->is_cancel ? NOTE_DEBUG : NOTE_INFO, "a %s was not taken by the server: %s%s", m->is_answer ? "client's answer" : "notification",
		what, x->status ? "" : " (no response)");
	not_taken(s, m);
}

/* A notification that takes too long no longer holds up what came after it. */
int64_t outbox_deadline(const struct session *s)
{
	const struct outmsg *b = s->parked && s->state == SESSION_READY ? first_barrier(s) : NULL;
	int64_t t = b ? b->queued + OUT_PATIENCE_MS : 0;

	for (const struct outmsg *m = s->outbox; m; m = m->next)
		if (m->not_before > s->now && (!t || m->not_before < t))
			t = m->not_before;
	return t;
}

/* ---- requests of the server ------------------------------------------------------------------- */

/* Those of sessions that are gone; nobody waits for their answers. */
static void srvreq_forget_old(struct session *s)
{
	struct srvreq **at = &s->srvreqs, *q;

	while ((q = *at)) {
		if (q->epoch == s->epoch) {
			at = &q->next;
			continue;
		}
		*at = q->next;
		buf_fini(&q->id);
		free(q);
		s->nsrvreqs--;
	}
}

bool srvreq_add(struct session *s, const struct request *r, struct span id)
{
	bool call = r && r->purpose == RQ_CLIENT; /* which may run in an earlier session */
	uint64_t epoch = call ? r->epoch : s->epoch;
	struct srvreq *q;

	for (q = s->srvreqs; q; q = q->next)
		if (q->epoch == epoch && ledger_same_id(&s->ledger, buf_span(&q->id), id))
			return false;
	if (s->nsrvreqs >= SRVREQ_MAX)
		srvreq_forget_old(s);
	if (s->nsrvreqs >= SRVREQ_MAX || !(q = calloc(1, sizeof(*q))))
		return true; /* passed on; its answer will be dropped */
	buf_init(&q->id, LINE_BYTES);
	if (buf_add(&q->id, id) != 0) {
		free(q);
		return true;
	}
	q->epoch = epoch;
	q->token = call ? r->token : 0;
	q->next = s->srvreqs;
	s->srvreqs = q;
	s->nsrvreqs++;
	return true;
}

bool srvreq_take(struct session *s, struct span id, uint64_t *epoch, uint64_t *token)
{
	struct srvreq **found = NULL, *q;

	/* A new session counts its requests from the start again: of two with one id
	 * the client most likely answers the older first. */
	for (struct srvreq **at = &s->srvreqs; *at; at = &(*at)->next)
		if (ledger_same_id(&s->ledger, buf_span(&(*at)->id), id))
			found = at;
	if (!found)
		return false;
	q = *found;
	*found = q->next;
	*epoch = q->epoch;
	*token = q->token;
	buf_fini(&q->id);
	free(q);
	s->nsrvreqs--;
	return true;
}

void srvreq_free(struct session *s)
{
	while (s->srvreqs) {
		struct srvreq *q = s->srvreqs;
		s->srvreqs = q->next;
		buf_fini(&q->id);
		free(q);
	}
	s->nsrvreqs = 0;
}
