/* The end: stdin is finished or a signal came. What is owed is still answered
 * while there is time, the session is given back to the server, and that is all.
 * And the end of one session alone, when the client begins another. */
#include "core/session_i.h"

#define EOF_MS 5000
#define SIGNAL_MS 600
#define DELETE_MS 1000
#define DELETE_SIGNAL_MS 300

/* A subscription has no answer to wait for, and one that the client itself must
 * answer first has none to come: it has said its last word. What it told the server
 * besides is waited for while there is a server to tell. */
static bool owes_anything(const struct session *s)
{
	for (const struct request *r = s->ledger.head; r; r = r->next)
		if (!r->cancelled && !r->is_listen && !r->patient_until && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE))
			return true;
	return s->outbox && (s->state == SESSION_READY || s->state == SESSION_REVIVE);
}

static void finish(struct session *s)
{
	if (s->ended)
		return;
	s->ended = true;
	session_enter(s, SESSION_END, "everything is answered");
}

/* Everything that is owed an answer gets one: we are ending. */
static void answer_leftovers(struct session *s)
{
	struct request *r;

	for (;;) {
		r = s->ledger.head;
		while (r && r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE)
			r = r->next;
		if (!r)
			return;
		r->maybe_ran |= r->state != REQ_PARKED && !r->patient_until;
		request_refuse(s, r, ERR_SHUTTING_DOWN, "The bridge is ending before the answer came", -1);
	}
}

/* Gives back the session that these header lines name, within ms. Where there is
 * no memory for that it is left to the server. */
static void delete_session(struct session *s, struct span lines, struct span url, unsigned redirects, int64_t ms)
{
	struct xfer *x = xfer_start(s, XF_DELETE, HTTP_DELETE, HEADERS_BASE, SPAN_NONE, ms);

	if (!x)
		return;
	s->deletes++;
	if (buf_add(&x->lines, lines) != 0 || (url.p && buf_add(&x->url, url) != 0)) {
		xfer_cancel(s, x->token);
		return;
	}
	xfer_ready(s, x);
	x->redirects = redirects;
}

bool ending_follow(struct session *s, struct xfer *x, struct span url)
{
	int64_t until = s->state == SESSION_DRAIN ? s->drain_until : x->started + DELETE_MS;

	if (until <= s->now)
		return false;
	delete_session(s, buf_span(&x->lines), url, x->redirects + 1, until - s->now);
	return true;
}

/* Is there a session that the server may know, and a line to it? */
static bool holds_session(const struct session *s)
{
	return s->era == ERA_HTTP && s->sid.len && (s->state == SESSION_READY || s->state == SESSION_REVIVE);
}

static void let_go(struct session *s)
{
	while (s->ledger.head)
		request_drop(s, s->ledger.head);
	outbox_clear(s);
	srvreq_free(s);
	past_free(s);
	stream_close(s);
	for (size_t i = 0; i < s->nxfers; i++)
		if (s->xfers[i] && s->xfers[i]->kind != XF_DELETE)
			xfer_cancel(s, s->xfers[i]->token);
}

void session_give_back(struct session *s)
{
	if (holds_session(s) && !past_in_use(s, s->epoch))
		delete_session(s, buf_span(&s->headers), SPAN_NONE, 0, DELETE_MS);
}

void session_leave(struct session *s)
{
	bool held = holds_session(s);

	let_go(s);
	if (held)
		delete_session(s, buf_span(&s->headers), SPAN_NONE, 0, DELETE_MS);
}

/* Answers what is left, gives the session back, and ends. */
static void wind_up(struct session *s)
{
	int64_t ms = s->signalled ? DELETE_SIGNAL_MS : DELETE_MS;
	bool held = holds_session(s);

	session_enter(s, SESSION_DRAIN, s->signalled ? "signal" : "stdin ended");
	answer_leftovers(s);
	let_go(s);
	if (held)
		delete_session(s, buf_span(&s->headers), SPAN_NONE, 0, ms);
	s->drain_until = s->now + ms;
	if (!s->deletes)
		finish(s);
}

void session_check_drained(struct session *s)
{
	if (s->ended || (!s->eof && !s->signalled))
		return;
	if (s->state == SESSION_DRAIN) {
		if (!s->deletes)
			finish(s);
		return;
	}
	if (!owes_anything(s))
		wind_up(s);
}

bool session_drain_over(struct session *s)
{
	if ((!s->eof && !s->signalled) || !s->drain_until || s->now < s->drain_until)
		return false;
	if (s->state == SESSION_DRAIN)
		finish(s);
	else
		wind_up(s);
	return true;
}

void session_on_client_eof(struct session *s, int64_t now)
{
	s->now = now;
	if (s->eof)
		return;
	s->eof = true;
	if (!s->signalled) /* that has set a shorter time */
		s->drain_until = now + EOF_MS;
	session_check_drained(s);
}

void session_on_signal(struct session *s, int64_t now)
{
	s->now = now;
	if (s->signalled) {
		answer_leftovers(s);
		finish(s);
		return;
	}
	s->signalled = true;
	if (s->state == SESSION_DRAIN)
		return;
	s->drain_until = now + SIGNAL_MS;
	session_check_drained(s);
}
