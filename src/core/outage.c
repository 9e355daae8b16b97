/* The line going down and coming back: what counts as a failure, who is told,
 * what happens to requests that wait, and when the next attempt comes. */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "core/session_i.h"

static void breaker_changed(struct session *s)
{
	s->n.breaker_changes++;
	if (s->note_level >= NOTE_INFO) {
		struct action *a = session_act(s, ACT_LOG);
		if (a) {
			a->level = NOTE_INFO;
			a->circuit = breaker_state_name(s->breaker.state);
			a->what = "circuit breaker";
			buf_printf(&a->owned, "circuit breaker is %s", a->circuit);
		}
	}
	session_act(s, ACT_CHANGED);
}

void session_failed_attempt(struct session *s, bool exhausted)
{
	if (breaker_on_failure(&s->breaker, s->now, exhausted))
		breaker_changed(s);
}

/* An answered request, or an open standing stream: the line works. */
void session_succeeded(struct session *s)
{
	s->streak = 0;
	s->gone_once = false;
	backoff_reset(&s->backoff);
	if (breaker_on_success(&s->breaker, s->now))
		breaker_changed(s);
	session_widen(s);
}

/* May the client be sent a log message of this level? Only where logging was
 * negotiated, and not below the level it has set (server/utilities/logging). */
static bool client_wants_messages(const struct session *s, int rank)
{
	struct span set = json_get(buf_span(&s->level_params), "level");

	if (!s->c->notify || !s->client_initialized || !s->initialized_sent || s->client_modern)
		return false;
	if (json_type(json_path(buf_span(&s->init_result), "capabilities", "logging", NULL)) != '{')
		return false;
	return log_level_rank(set) <= rank;
}

/* --notify. lost: why; NULL: it is back after ms. */
static void tell_client(struct session *s, const char *lost, int64_t ms)
{
	enum { NOTICE = 2, WARNING };
	char text[256];
	struct buf b;

	if (!client_wants_messages(s, lost ? WARNING : NOTICE))
		return;
	if (lost)
		snprintf(text, sizeof(text), "The connection to the server was lost (%s). Requests wait up to %.0f s while it is being restored.",
			lost, (double)s->c->hold_ms / 1000);
	else
		snprintf(text, sizeof(text), "The connection to the server is back after %.1f s.", (double)ms / 1000);
	buf_init(&b, 1024);
	if (buf_printf(&b, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"%s\",\"logger\":\"mcp-holdfast\",\"data\":",
		lost ? "warning" : "notice") == 0 && json_quote(&b, span_str(text)) == 0 && buf_puts(&b, "}}") == 0)
		session_send_owned(s, &b);
	else
		buf_fini(&b);
}

/* How long a POST may still tell by its end whether it was carried out. */
#define UNHEARD_MS 10000

/* Its POST is still under way: not carried out if it has not left yet, and else as
 * its end says. What may be repeated need not know, and does not wait for it. */
static bool leave_to_post(struct session *s, struct request *r)
{
	struct action *a = r->xfer && !request_repeatable(s, r) ? session_act(s, ACT_WITHDRAW) : NULL;

	if (!a)
		return false;
	a->token = r->xfer;
	r->unheard_until = s->now + UNHEARD_MS;
	session_due(s, r->unheard_until);
	return true;
}

/* Every attempt under way on a 2024-11-05 stream dies with it: the answers can
 * not come any more. */
static void fail_stream_requests(struct session *s)
{
	uint64_t last = s->ledger.next_seq, seq = 0;
	struct request *r = s->ledger.head;

	while (r && r->seq <= last) {
		seq = r->seq;
		if (r->state == REQ_SENT && r->purpose == RQ_CLIENT && !r->unheard_until && !leave_to_post(s, r)) {
			request_unheard(s, r);
			for (r = s->ledger.head; r && r->seq <= seq; r = r->next)
				;
		} else {
			r = r->next;
		}
	}
}

/* Steps of a handshake that is over. */
void session_drop_steps(struct session *s)
{
	struct request *r = s->ledger.head, *next;

	for (; r; r = next) {
		next = r->next;
		if (r->purpose == RQ_CLIENT || r->purpose == RQ_LISTEN)
			continue;
		if (r->purpose == RQ_HANDSHAKE)
			request_park(s, r, 0);
		else
			request_drop(s, r);
	}
	s->step_rq = NULL;
	relist_stop(s);
}

void session_forget(struct session *s)
{
	stream_close(s);
	session_drop_steps(s);
	if (s->era == ERA_SSE) {
		buf_reset(&s->endpoint);
		fail_stream_requests(s);
	}
	/* The notification under way ends by itself: whether it was taken is judged then. */
}

void session_refuse_parked(struct session *s, int64_t beyond, enum error_kind k, const char *what, int64_t retry_after_ms)
{
	uint64_t last = s->ledger.next_seq, seq;
	struct request *r = s->ledger.head;

	while (r && r->seq <= last) {
		seq = r->seq;
		bool late = !beyond || (r->hold_until && r->hold_until < beyond);
		if (r->state == REQ_PARKED && late && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE)) {
			request_refuse(s, r, k, what, retry_after_ms);
			for (r = s->ledger.head; r && r->seq <= seq; r = r->next)
				;
		} else {
			r = r->next;
		}
	}
}

static void go_down(struct session *s, const char *why)
{
	int64_t floor = s->backoff.floor_until;
	char text[256];

	session_failed_attempt(s, true);
	s->down_until = s->now + s->c->max_retry_ms;
	if (s->down_until < floor)
		s->down_until = floor;
	s->wait_until = 0;
	session_enter(s, SESSION_DOWN, "the retries are used up");
	snprintf(text, sizeof(text), "%s, and the attempts to reconnect are used up", why);
	session_note(s, NOTE_WARN, "giving up for now: %s", why);
	probe_refused(s);
	session_refuse_parked(s, 0, ERR_UPSTREAM_UNAVAILABLE, text, s->down_until - s->now);
	if (!s->client_initialized && !s->client_modern && s->state == SESSION_DOWN)
		session_enter(s, SESSION_START, "nothing is known of the server");
	backoff_reset(&s->backoff);
	s->backoff.floor_until = floor; /* the server's word outlives our patience */
}

/* The end of what is held longest among those that have more than ms left; 0: none. */
static int64_t held_until(const struct session *s, int64_t ms)
{
	int64_t first = 0;

	for (const struct request *r = s->parked ? s->ledger.head : NULL; r; r = r->next) {
		bool held = r->state == REQ_PARKED && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE);
		if (held && r->hold_until - ms > s->now && (!first || r->hold_until < first))
			first = r->hold_until;
	}
	return first;
}

void session_owe_attempt(struct session *s)
{
	struct backoff_config c = retry_backoff(s->c);
	int64_t floor = breaker_probe_at(&s->breaker), at;

	if (s->state != SESSION_WAIT || !held_until(s, 0))
		return;
	at = backoff_held(&c, &s->rng, s->outage_since, s->state_since, s->c->hold_ms, held_until(s, s->c->hold_ms / 4));
	if (floor < s->backoff.floor_until)
		floor = s->backoff.floor_until;
	if (s->era == ERA_SSE && floor < s->state_since + stream_pace(s))
		floor = s->state_since + stream_pace(s);
	if (at < floor)
		at = floor;
	if (s->wait_until > at)
		s->wait_until = at > s->now ? at : s->now;
}

void session_round_begins(struct session *s)
{
	s->reason_kept = false;
}

/* Statuses of an address where there is no such server, and not of one in trouble. */
static bool looks_misdirected(const char *detail, const char *why)
{
	if (!detail[0])
		return strstr(why, "MCP message") != NULL;
	return strncmp(detail, "HTTP 4", 6) == 0 && strcmp(detail, "HTTP 429") != 0 && strcmp(detail, "HTTP 408") != 0;
}

/* Neither names the server, nor says what it said. */
void session_round_failed(struct session *s, const char *why)
{
	char *code;

	if (s->reason_kept)
		return;
	s->reason_kept = true;
	s->reason_url = s->era == ERA_NONE && looks_misdirected(s->detail, why);
	snprintf(s->reason, sizeof(s->reason), "%.95s", s->detail[0] ? s->detail : why);
	if ((code = strstr(s->reason, " (curl ")))
		*code = '\0';
	if (!isupper((unsigned char)s->reason[1])) /* not HTTP, SSL */
		s->reason[0] = (char)tolower((unsigned char)s->reason[0]);
}

void session_line_down(struct session *s, const char *why, int64_t floor_ms, int64_t quick_ms)
{
	bool first = !s->outage_since;
	char kept[160];

	snprintf(kept, sizeof(kept), "%s", why);
	if (s->state == SESSION_DRAIN || s->state == SESSION_END)
		return;
	if (s->state == SESSION_READY && s->now - s->state_since >= s->c->max_retry_ms)
		backoff_reset(&s->backoff); /* it had been healthy for long */
	session_round_failed(s, kept);
	if (first) {
		s->outage_since = s->now;
		s->last_drop_at = s->now;
		s->last_drop_len = -1;
		s->n.drops++;
		snprintf(s->drop_why, sizeof(s->drop_why), "%s", kept);
		memcpy(s->drop_detail, s->detail, sizeof(s->drop_detail));
		tell_client(s, kept, 0);
	}
	offline_recall(s);
	session_enter(s, SESSION_WAIT, kept);
	session_act(s, ACT_DROP_IDLE); /* what was pooled most likely died with it */
	session_forget(s);
	session_answer_pings(s);
	if (s->state != SESSION_WAIT)
		return;
	if (floor_ms >= 0)
		backoff_floor(&s->backoff, floor_ms, s->now);
	if (s->c->max_retries >= 0 && s->backoff.attempt >= (unsigned)s->c->max_retries) {
		go_down(s, kept);
		return;
	}
	session_failed_attempt(s, false);
	if (quick_ms >= 0 && first)
		s->wait_until = s->now + quick_ms + (int64_t)(rng_unit(&s->rng) * 0.1 * (double)quick_ms);
	else
		s->wait_until = backoff_next(&s->backoff, &s->rng, s->now) + (s->era == ERA_SSE ? stream_pace(s) : 0);
	if (breaker_probe_at(&s->breaker) > s->wait_until)
		s->wait_until = breaker_probe_at(&s->breaker);
	session_owe_attempt(s);
	if (s->note_level >= (first ? NOTE_INFO : NOTE_DEBUG)) {
		struct action *a = session_act(s, ACT_LOG);
		if (a) {
			a->level = first ? NOTE_INFO : NOTE_DEBUG;
			a->attempt = (int)s->backoff.attempt;
			a->circuit = breaker_state_name(s->breaker.state);
			bool more = s->detail[0] && !strstr(kept, s->detail);
			a->what = "connection lost";
			buf_printf(&a->owned, "connection lost (%s%s%s); trying again in %.1f s", kept, more ? ": " : "", more ? s->detail : "",
				(double)(s->wait_until - s->now) / 1000);
		}
	}
	if (s->backoff.floor_until > s->now)
		session_refuse_parked(s, s->backoff.floor_until, ERR_RATE_LIMITED, LEFT_ALONE, s->backoff.floor_until - s->now);
}

void session_auth_refused(struct session *s, const char *what)
{
	char text[512];

	snprintf(text, sizeof(text), "%s", what);
	session_forget(s);
	s->down_until = 0;
	session_enter(s, SESSION_DOWN, "credentials are wanted");
	session_refuse_parked(s, 0, ERR_AUTH_REQUIRED, text, session_auth_pause(s));
	if (!s->client_initialized && !s->client_modern && s->state == SESSION_DOWN)
		session_enter(s, SESSION_START, "credentials are wanted");
}

void session_unacceptable(struct session *s)
{
	s->force_init = true;
	session_forget(s);
	s->down_until = 0; /* the next request tries again, and is told */
	session_enter(s, SESSION_DOWN, "the server speaks another protocol version now");
	session_refuse_parked(s, 0, ERR_UNSUPPORTED, "The server now speaks a protocol version that this client did not agree to", -1);
}

void session_reconnect(struct session *s)
{
	s->wait_until = 0;
	s->n.reconnect_tries++;
	breaker_on_probe(&s->breaker);
	if (s->client_modern ? s->era != ERA_NONE : s->client_initialized)
		replay_begin(s);
	else if (s->handshake || s->client_modern)
		probe_begin(s);
	else
		session_enter(s, SESSION_START, "nothing to say to the server yet");
}

void session_ready(struct session *s)
{
	bool outage = s->outage_since != 0;

	if (s->last_drop_at >= 0 && s->last_drop_len < 0)
		s->last_drop_len = s->now - s->last_drop_at;
	if (outage) {
		int64_t len = s->now - s->outage_since;
		s->n.reconnects++;
		session_note(s, NOTE_INFO, "connection is back after %.1f s", (double)len / 1000);
		tell_client(s, NULL, len);
		session_narrow(s);
	}
	s->outage_since = 0;
	s->reason[0] = '\0';
	session_round_begins(s);
	offline_over(s);
	s->force_init = false;
	s->streak = 0;
	s->revived_misfits = 0;
	if (s->state == SESSION_DRAIN)
		return;
	session_enter(s, SESSION_READY, "connected");
	session_due(s, s->now);
	if (breaker_on_success(&s->breaker, s->now))
		breaker_changed(s);
	session_pump(s);
}
