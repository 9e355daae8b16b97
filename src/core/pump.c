/* Sending what waits, in order of arrival and within the limits, and what time
 * does to a request: limits, probes, silence. */
#include <stdio.h>

#include "core/session_i.h"

#define WINDOW_MS 1000                 /* after an outage: by then twice as much may be under way */
#define RATE_FAR_MS INT64_C(1000000000000) /* what is told of a wait that has no end */

static struct request *first_after(struct session *s, uint64_t seq)
{
	struct request *r = s->ledger.head;

	while (r && r->seq <= seq)
		r = r->next;
	return r;
}

static bool may_send(struct session *s, const struct request *r)
{
	if (r->purpose == RQ_CLIENT && s->in_flight >= s->window && !r->is_listen && !span_is(r->method, "ping"))
		return false;
	return r->barrier <= s->out_done;
}

static bool out_of_quota(struct session *s, struct request *r)
{
	if (r->purpose != RQ_CLIENT)
		return false;
	if (s->c->quota_requests && s->quota_used >= (uint64_t)s->c->quota_requests)
		return true;
	return s->c->quota_ms && s->quota_used_ms >= s->c->quota_ms;
}

/* Looked for from behind: while the line is well the newest wait, and a thousand
 * calls may be under way before them. */
static struct request *first_parked(const struct session *s)
{
	struct request *first = NULL, *r = s->ledger.tail;

	for (size_t left = s->parked; r && left; r = r->prev) {
		if (r->state != REQ_PARKED)
			continue;
		first = r;
		left--;
	}
	return first;
}

/* Until the rate allows the next request: what would have to wait longer than a
 * request may, each for those before it and its own turn, is told now. */
static void rate_wait(struct session *s)
{
	struct request *r = first_parked(s), *next;
	double turn = (double)(s->rate_until - s->now), step = 1 / s->bucket.rate_per_ms;

	for (; r; r = next) {
		next = r->next;
		if (r->state != REQ_PARKED || r->purpose != RQ_CLIENT || r->attempts || r->cancelled)
			continue;
		if (turn <= (double)(r->arrived + s->c->hold_ms - s->now)) {
			turn += step;
			continue;
		}
		uint64_t was = r->seq;
		request_refuse(s, r, ERR_RATE_LIMITED, "The request rate that the user allowed is used up", turn < RATE_FAR_MS ? (int64_t)turn : RATE_FAR_MS);
		next = first_after(s, was);
	}
}

/* Each success opens the window after an outage, but what is under way may take
 * hours (a long call, a subscription): time opens it as well. */
static void open_window(struct session *s)
{
	while (s->window < s->c->max_in_flight && s->now >= s->window_at) {
		session_widen(s);
		s->window_at += WINDOW_MS;
	}
	if (s->window < s->c->max_in_flight && s->parked)
		session_due(s, s->window_at);
}

void session_narrow(struct session *s)
{
	s->window = 1;
	s->window_at = s->now + WINDOW_MS;
}

void session_widen(struct session *s)
{
	if (s->window < s->c->max_in_flight)
		s->window = s->window * 2 < s->c->max_in_flight ? s->window * 2 : s->c->max_in_flight;
}

/* Sends what may go now, in order of arrival. */
void session_pump(struct session *s)
{
	struct request *r, *next;

	s->pump_due = false;
	outbox_pump(s);
	if (s->state != SESSION_READY && !(s->state == SESSION_DRAIN && s->era != ERA_NONE && s->auth_from == SESSION_READY))
		return;
	eras_pump(s);
	open_window(s);
	if (s->parked && s->rate_until > s->now)
		rate_wait(s);
	for (r = first_parked(s); r && s->parked; r = next) {
		next = r->next;
		if (r->state != REQ_PARKED || (r->not_before && s->now < r->not_before))
			continue;
		if (r->cancelled) { /* while its attempt was failing */
			uint64_t was = r->seq;
			request_drop(s, r);
			next = first_after(s, was);
			continue;
		}
		if (r->awaits_scope || (r->doubted && s->era == ERA_MODERN && s->ping))
			continue;
		if (!may_send(s, r)) {
			if (r->barrier > s->out_done)
				break; /* order: what comes later waits too */
			continue;
		}
		if (out_of_quota(s, r)) {
			uint64_t was = r->seq;
			request_refuse(s, r, ERR_RATE_LIMITED, "The quota that the user set for this session is used up", -1);
			next = first_after(s, was); /* what was sent beside it is gone as well */
			continue;
		}
		if (r->purpose == RQ_CLIENT && r->attempts == 0) {
			int64_t wait = s->rate_until > s->now ? 0 : bucket_take(&s->bucket, s->now);
			if (wait > 0) {
				uint64_t was = r->seq;
				s->rate_until = s->now + wait;
				session_due(s, s->rate_until);
				rate_wait(s);
				next = first_after(s, was);
			}
			if (s->rate_until > s->now)
				continue; /* what was sent before may go again meanwhile */
			s->quota_used++;
		}
		uint64_t seq = r->seq;
		size_t count = s->ledger.count;
		if (!eras_undoubted(s, r) && !eras_local(s, r))
			request_post(s, r);
		if (s->state != SESSION_READY && s->state != SESSION_DRAIN)
			return;
		if (s->ledger.count + 1 < count)
			next = first_after(s, seq); /* more than this one is gone */
	}
}

/* A call that has been quiet for so long is probed by a ping: when that is due
 * next, 0 for never. */
static int64_t probe_time(struct session *s, struct request *r)
{
	const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
	int64_t quiet = r->active_at, after = request_probe_after(s), rx;

	if (!s->c->probe_after_ms || r->purpose != RQ_CLIENT || s->state != SESSION_READY || s->era == ERA_MODERN)
		return 0;
	/* The 202 of another POST says nothing about the stream. */
	rx = x ? x->rx_at : dialect_ping_judges_stream(s->era) ? s->stream.byte_at : s->last_rx;
	if (rx > quiet)
		quiet = rx;
	if (r->probed_at > quiet)
		quiet = r->probed_at;
	if (s->now >= quiet + after) {
		r->probed_at = quiet = s->now;
		session_ping(s);
	}
	return quiet + after;
}

/* Sends a repeatable request once more beside the attempt that is silent; the
 * first answer wins. */
static void hedge(struct session *s, struct request *r)
{
	struct request *h;
	char method[64];

	if (r->method.n >= sizeof(method))
		return;
	snprintf(method, sizeof(method), "%.*s", (int)r->method.n, r->method.p);
	request_new_own(s, &h, RQ_HEDGE, method, r->params);
	if (!h)
		return;
	session_note(s, NOTE_DEBUG, "%s is silent; sent once more beside", method);
	h->timeout_ms = r->timeout_ms;
	h->twin = r->token;
	r->twin = h->token;
	request_post(s, h);
}

/* The ping was answered: a stream with event ids is taken up on a new
 * connection, the old one may be half dead. Not answered: so is the call's. */
void session_probed(struct session *s, bool alive)
{
	uint64_t last = s->ledger.next_seq, seq;
	struct request *r = s->ledger.head;

	while (r && r->seq <= last) {
		seq = r->seq;
		if (!r->probed_at || r->purpose != RQ_CLIENT || (r->state != REQ_SENT && r->state != REQ_STREAMING)) {
			r = r->next;
			continue;
		}
		const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
		bool quiet = !x || x->rx_at < r->probed_at;
		bool late = s->now - r->active_at >= s->c->probe_after_ms;
		if (alive && quiet && late && !r->last_id.len && r->repeatable && !r->is_tool_call && !r->twin) {
			hedge(s, r);
		} else if (alive && quiet && request_can_resume(s, r)) {
			request_detach(s, r);
			r->state = REQ_BROKEN;
			r->not_before = s->now;
			session_due(s, s->now);
		} else if (!alive && quiet && x) {
			struct failure f = { .what = "The connection went dead while the request was running", .may_have_run = true,
				.retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
			if (request_can_resume(s, r)) {
				request_detach(s, r);
				r->state = REQ_BROKEN;
				r->not_before = s->now;
			} else {
				request_failed(s, r, &f);
			}
		}
		for (r = s->ledger.head; r && r->seq <= seq; r = r->next)
			;
	}
}

/* A subscription stream of 2026-07-28 is cut by --idle-timeout alone. -1: it was. */
static int64_t listen_time(struct session *s, struct request *r)
{
	const struct xfer *x = r->xfer ? xfer_find(s, r->xfer) : NULL;
	int64_t quiet = x && x->rx_at > r->active_at ? x->rx_at : r->active_at;

	if (r->state == REQ_SENT && s->now >= r->sent_at + s->c->request_timeout_ms) {
		struct failure f = { .what = "The server did not answer in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
		request_failed(s, r, &f);
		return -1;
	}
	if (r->state == REQ_SENT)
		return r->sent_at + s->c->request_timeout_ms;
	if (s->c->idle_ms <= 0)
		return 0;
	if (s->now < quiet + s->c->idle_ms)
		return quiet + s->c->idle_ms;
	session_note(s, NOTE_INFO, "a subscription was silent for %.1f s; opening it again", (double)(s->now - quiet) / 1000);
	listen_broke(r);
	request_park(s, r, 0);
	session_pump(s);
	return -1;
}

/* Nobody waits for its answer any more. Where a cancellation is the end of the
 * transfer, that ends with the attempt anyway. */
static void withdraw(struct session *s, const struct request *r, const char *reason)
{
	if (r->purpose == RQ_CLIENT && r->state != REQ_PARKED && s->state == SESSION_READY && !dialect_cancel_by_close(s->era))
		outbox_cancelled(s, r, reason);
}

/* Held for a sign-in that is not finished: because of a server that is asked for
 * a token, of a person, or of something else. */
static void refuse_unsigned(struct session *s, struct request *r)
{
	int64_t left = s->auth_awaits_until > s->now ? s->auth_awaits_until - s->now : 1;
	char text[600];

	if (s->auth_awaits) {
		snprintf(text, sizeof(text), "The %s has given no usable answer in time, so there is no token yet", s->auth_awaits);
		request_refuse(s, r, ERR_AUTH_REQUIRED, text, left);
	} else if (s->auth_text.len) {
		snprintf(text, sizeof(text), "%.*s", (int)(s->auth_text.len < 590 ? s->auth_text.len : 590), buf_data(&s->auth_text));
		request_refuse(s, r, ERR_AUTH_REQUIRED, text, -1);
	} else {
		request_refuse(s, r, ERR_AUTH_REQUIRED, "The server wants a sign-in that is not finished yet",
			s->wait_until > s->now ? s->wait_until - s->now : -1);
	}
}

/* Held for a server that did not come. */
static void refuse_unreached(struct session *s, struct request *r)
{
	char text[200] = "The server can not be reached at the moment";

	if (s->reason[0])
		snprintf(text, sizeof(text), "The server can not be reached at the moment (last: %s%s)", s->reason, s->reason_url ? "; is the URL right?" : "");
	request_refuse(s, r, ERR_UPSTREAM_UNAVAILABLE, text, s->wait_until > s->now ? s->wait_until - s->now : -1);
}

/* An initialize that is tried again is held no longer than one that waits: an attempt
 * that has not got out by then is over, one that has is waited for. */
static int64_t handshake_time(struct session *s, const struct request *r)
{
	struct action *a;

	if (r->purpose != RQ_HANDSHAKE || r->attempts < 2 || !r->hold_until || !r->xfer)
		return 0;
	if (s->now < r->hold_until)
		return r->hold_until;
	a = session_act(s, ACT_WITHDRAW);
	if (a)
		a->token = r->xfer;
	s->reason_kept |= s->reason[0] != '\0'; /* what ended the attempts before says more than that */
	return 0;
}

/* What became due for one request: its next deadline, 0 for none, -1 when it
 * (and perhaps others) was answered or moved. */
static int64_t request_time(struct session *s, struct request *r)
{
	int64_t next = r->die_at, t;

	if (s->now >= r->die_at && r->die_at) {
		r->maybe_ran |= r->state != REQ_PARKED && !r->patient_until;
		withdraw(s, r, "timed out");
		request_refuse(s, r, ERR_TIMEOUT, "The request took longer than the time allowed for it in all", -1);
		return -1;
	}
	switch (r->state) {
	case REQ_PARKED:
		/* What the bridge itself asks waits for the line, however long. */
		t = (s->state != SESSION_READY || r->awaits_scope) && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE) ? r->hold_until : 0;
		if (t && s->now >= t) {
			if (s->state == SESSION_AUTH || r->awaits_scope)
				refuse_unsigned(s, r);
			else if (r != s->handshake || !probe_refused(s))
				refuse_unreached(s, r);
			return -1;
		}
		if (t && (!next || t < next))
			next = t;
		t = r->not_before > s->now ? r->not_before : 0;
		break;
	case REQ_BROKEN:
		t = r->active_at + r->timeout_ms;
		if (s->now >= t) {
			struct failure f = { .what = "The answer did not come in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
			withdraw(s, r, "timed out");
			buf_reset(&r->last_id);
			request_failed(s, r, &f);
			return -1;
		}
		if (s->state == SESSION_READY && !request_can_resume(s, r)) {
			request_stream_ended(s, r, false, "The session in which the request ran was lost");
			return -1;
		}
		if (s->state == SESSION_READY && s->now >= r->not_before)
			request_resume(s, r);
		else if (r->not_before > s->now && r->not_before < t)
			t = r->not_before;
		break;
	default:
		if (r->patient_until) {
			if (modern_timed_out(s, r))
				return -1;
			t = r->patient_until == INT64_MAX ? 0 : r->patient_until;
			break;
		}
		if (r->is_listen) {
			t = listen_time(s, r);
			if (t < 0)
				return -1;
			break;
		}
		if (r->unheard_until && s->now >= r->unheard_until) {
			request_unheard(s, r);
			return -1;
		}
		t = r->unheard_until ? r->unheard_until : probe_time(s, r);
		if (t && (!next || t < next))
			next = t;
		t = handshake_time(s, r);
		if (t && (!next || t < next))
			next = t;
		t = r->active_at + r->timeout_ms;
		if (s->now >= t) {
			struct failure f = { .what = "The server did not answer in time", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_TIMEOUT };
			withdraw(s, r, "timed out");
			bool mute = s->era == ERA_SSE && s->stream.byte_at < r->sent_at;
			request_failed(s, r, &f);
			if (mute && s->state == SESSION_READY)
				session_line_down(s, "the stream went silent", -1, 0);
			return -1;
		}
	}
	return t && (!next || t < next) ? t : next;
}

void session_request_times(struct session *s)
{
	struct request *r = s->ledger.head;
	uint64_t last = s->ledger.next_seq;
	int64_t t, due = 0;

	s->next_due = 0;
	while (r && r->seq <= last) {
		uint64_t seq = r->seq;
		t = request_time(s, r);
		if (t > 0 && (!due || t < due))
			due = t;
		r = t < 0 ? first_after(s, seq) : r->next;
	}
	for (size_t i = 0; s->lingering && i < s->nxfers; i++) {
		struct xfer *x = s->xfers[i];
		if (!x || !x->linger_until)
			continue;
		if (s->now < x->linger_until)
			due = !due || x->linger_until < due ? x->linger_until : due;
		else if (x->answered)
			xfer_cancel(s, x->token);
		else
			exchange_cut(s, x);
	}
	if (due)
		session_due(s, due);
	if (s->rate_until > s->now)
		session_due(s, s->rate_until);
}
