/* The end: stdin is finished or a signal came. What is owed is still answered
 * while there is time, the session is given back to the server, and that is all. */
#include "core/session_i.h"

#define EOF_MS 5000
#define SIGNAL_MS 600
#define DELETE_MS 1000
#define DELETE_SIGNAL_MS 300

/* A subscription has no answer to wait for, and one that the client itself must
 * answer first has none to come: it has said its last word. */
static bool owes_anything(const struct session *s)
{
	for (const struct request *r = s->ledger.head; r; r = r->next)
		if (!r->cancelled && !r->is_listen && !r->patient_until && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE))
			return true;
	return s->outbox != NULL;
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

/* Gives the session back within ms. False: no memory. */
static bool delete_session(struct session *s, struct span url, unsigned redirects, int64_t ms)
{
	struct xfer *x = xfer_start(s, XF_DELETE, HTTP_DELETE, HEADERS_SESSION, SPAN_NONE, ms);

	if (x && url.p && buf_add(&x->url, url) != 0) {
		xfer_cancel(s, x->token);
		x = NULL;
	}
	if (!x)
		return false;
	xfer_ready(s, x);
	x->redirects = redirects;
	s->delete_xfer = x->token;
	return true;
}

bool ending_follow(struct session *s, struct xfer *x, struct span url)
{
	return s->drain_until > s->now && delete_session(s, url, x->redirects + 1, s->drain_until - s->now);
}

/* Answers what is left, gives the session back, and ends. */
static void wind_up(struct session *s)
{
	enum session_state from = s->state;

	session_enter(s, SESSION_DRAIN, s->signalled ? "signal" : "stdin ended");
	answer_leftovers(s);
	while (s->ledger.head)
		request_drop(s, s->ledger.head);
	outbox_clear(s);
	stream_close(s);
	for (size_t i = 0; i < s->nxfers; i++)
		if (s->xfers[i])
			xfer_cancel(s, s->xfers[i]->token);
	if (s->era == ERA_HTTP && s->sid.len && (from == SESSION_READY || from == SESSION_DRAIN || from == SESSION_REVIVE)) {
		int64_t ms = s->signalled ? DELETE_SIGNAL_MS : DELETE_MS;
		if (delete_session(s, SPAN_NONE, 0, ms)) {
			s->drain_until = s->now + ms;
			return;
		}
	}
	finish(s);
}

void session_check_drained(struct session *s)
{
	if (s->ended || (!s->eof && !s->signalled))
		return;
	if (s->state == SESSION_DRAIN) {
		if (!s->delete_xfer)
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
