/* The session's state and time: which state, since when, until when; the
 * queue of actions; and the few transitions that concern everything at once.
 * Pure: it never reads a clock or touches a descriptor. */
#include "core/session.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define OUT_MAX ((size_t)1 << 40)
#define SMALL ((size_t)64 * 1024)
#define EOF_MS 5000
#define SIGNAL_MS 600
#define DELETE_MS 1000
#define DELETE_SIGNAL_MS 300
#define PARKED_BYTES ((size_t)8 << 20)  /* past it stdin is not read while requests wait */
#define WAKE_QUIET_MS 1000
#define RESERVE_BYTES ((size_t)32 * 1024)
#define ACTS_FIRST 16

const char *session_state_name(enum session_state st)
{
	static const char *const names[] = {
		[SESSION_START] = "start", [SESSION_PROBE] = "probe", [SESSION_READY] = "ready", [SESSION_WAIT] = "wait",
		[SESSION_REVIVE] = "revive", [SESSION_AUTH] = "auth", [SESSION_DOWN] = "down", [SESSION_DRAIN] = "drain",
		[SESSION_END] = "end",
	};
	return names[st];
}

const char *retry_why_name(enum retry_why w)
{
	static const char *const names[RETRY_WHYS] = {
		[RETRY_NOT_SENT] = "not_sent", [RETRY_BUSY] = "busy", [RETRY_REPEATABLE] = "repeatable",
		[RETRY_SESSION] = "session_lost", [RETRY_AUTH] = "auth", [RETRY_ERROR] = "error_code",
	};
	return names[w];
}

const char *era_name(enum era e)
{
	static const char *const names[] = { "none", "http+sse", "streamable-http", "stateless-http" };
	return names[e];
}

/* ---- life ------------------------------------------------------------------------------------ */

static void bufs_init(struct session *s)
{
	buf_init(&s->sid, 4096);
	buf_init(&s->endpoint, 16384);
	buf_init(&s->headers, 8192);
	buf_init(&s->scratch, OUT_MAX);
	buf_init(&s->out, OUT_MAX);
	buf_init(&s->init_params, OUT_MAX);
	buf_init(&s->init_result, OUT_MAX);
	buf_init(&s->init_error, OUT_MAX);
	buf_init(&s->level_params, OUT_MAX);
	buf_init(&s->auth_text, 2048);
	buf_init(&s->grave, OUT_MAX);
}

struct session *session_new(const struct core_config *c, const struct session_seed *seed, const char *url, int64_t now, int64_t wall_s)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	bufs_init(s);
	s->c = c;
	s->note_level = seed->log_level;
	s->now = s->state_since = s->last_rx = now;
	s->wall_s = wall_s;
	s->seed = seed->rng ^ 0x5851f42d4c957f2du;
	rng_seed(&s->rng, seed->rng);
	snprintf(s->nonce, sizeof(s->nonce), "%08x", (unsigned)(rng_next(&s->rng) >> 32));
	s->window = c->max_in_flight;
	s->relist_kind = -1;
	s->outbox_tail = &s->outbox;
	s->keepalive_now = c->keepalive_ms;
	s->last_drop_at = -1;
	backoff_init(&s->backoff, retry_backoff(c));
	breaker_init(&s->breaker, retry_breaker(c));
	bucket_init(&s->bucket, c->rate_per_s, c->rate_burst, now);
	stream_init(s);
	s->catalog = catalog_new(c, seed->key);
	s->url = strdup(url);
	s->reserve = malloc(RESERVE_BYTES);
	if (!s->catalog || !s->url || !s->reserve || ledger_init(&s->ledger, s->seed) != 0) {
		session_free(s);
		return NULL;
	}
	return s;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	while (s->ledger.head)
		request_drop(s, s->ledger.head);
	ledger_fini(&s->ledger);
	outbox_clear(s);
	srvreq_free(s);
	subs_free(s);
	stream_fini(s);
	eras_free(s);
	offline_free(s);
	for (size_t i = 0; i < s->nxfers; i++)
		if (s->xfers[i])
			xfer_free(s, s->xfers[i]);
	while (s->free_xfers) {
		struct xfer *x = s->free_xfers;
		s->free_xfers = x->next;
		free(x);
	}
	free(s->xfers);
	free(s->xgen);
	for (size_t i = s->acts_head; i < s->nacts; i++)
		buf_fini(&s->acts[i].owned);
	free(s->acts);
	catalog_free(s->catalog);
	free(s->reserve);
	free(s->url);
	struct buf *all[] = { &s->sid, &s->endpoint, &s->headers, &s->scratch, &s->out, &s->init_params, &s->init_result,
		&s->init_error, &s->level_params, &s->auth_text, &s->grave };
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		buf_fini(all[i]);
	free(s);
}

/* ---- actions ------------------------------------------------------------------------------------ */

bool session_relieve(struct session *s)
{
	bool had = s->reserve != NULL;

	free(s->reserve);
	s->reserve = NULL;
	return had;
}

static int acts_grow(struct session *s)
{
	size_t cap = s->acts_cap ? 2 * s->acts_cap : ACTS_FIRST;
	struct action *a;

	do
		a = realloc(s->acts, cap * sizeof(*a));
	while (!a && session_relieve(s));
	if (!a)
		return -1;
	s->acts = a;
	s->acts_cap = cap;
	return 0;
}

/* A place for the cancellation of every transfer is kept free: one that ran on
 * unheard would read from what is gone. */
struct action *session_act(struct session *s, enum action_kind k)
{
	size_t kept = k == ACT_CANCEL ? 0 : s->live_xfers;

	while (s->acts_cap - s->nacts <= kept)
		if (acts_grow(s) != 0)
			return NULL;
	struct action *a = &s->acts[s->nacts++];
	memset(a, 0, sizeof(*a));
	a->kind = k;
	buf_init(&a->owned, OUT_MAX);
	return a;
}

int session_next(struct session *s, struct action *a)
{
	if (s->acts_head == s->nacts) {
		s->acts_head = s->nacts = 0;
		if (!s->ended || s->end_told)
			return 0;
		s->end_told = true;
		*a = (struct action){ .kind = ACT_END };
		return 1;
	}
	*a = s->acts[s->acts_head++];
	if (a->owned.mem && !a->text.p)
		a->text = buf_span(&a->owned);
	return 1;
}

void session_note(struct session *s, int level, const char *fmt, ...)
{
	struct action *a;
	char text[512];
	va_list ap;

	if (level > s->note_level)
		return;
	a = session_act(s, ACT_LOG);
	if (!a)
		return;
	a->level = level;
	a->what = fmt;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	buf_puts(&a->owned, text);
}

bool session_send_owned(struct session *s, struct buf *b)
{
	struct action *a = session_act(s, ACT_SEND);

	if (!a) {
		buf_fini(b);
		return false;
	}
	s->n.bytes_out += b->len;
	buf_move(&a->owned, b);
	return true;
}

/* Borrowed while the bytes of a transfer are being read, copied otherwise;
 * the block of a large message is handed over. */
bool session_send(struct session *s, struct span text)
{
	struct xfer *x = s->cur;
	struct action *a;
	struct buf b;

	buf_init(&b, OUT_MAX);
	if (x && text.n >= SMALL && x->sse && text.p == buf_data(&x->parser.data) && text.n == x->parser.data.len) {
		sse_take_data(&x->parser, &b);
		return session_send_owned(s, &b);
	}
	if (!x) {
		if (buf_add(&b, text) != 0 && (!session_relieve(s) || buf_add(&b, text) != 0))
			return false;
		return session_send_owned(s, &b);
	}
	a = session_act(s, ACT_SEND);
	if (!a)
		return false;
	s->n.bytes_out += text.n;
	a->text = text;
	if (text.n >= SMALL && s->cur_whole.p == text.p && s->cur_whole.n == text.n)
		a->token = x->token;
	return true;
}

bool session_send_result(struct session *s, struct span id, struct span result)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = rpc_write_result(&b, id, result)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

bool session_send_error(struct session *s, struct span id, int code, const char *message, struct span data)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = rpc_write_error(&b, id, code, span_str(message), data)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

bool session_send_own_error(struct session *s, struct span id, const struct own_error *e)
{
	struct buf b;
	int bad;

	buf_init(&b, OUT_MAX);
	do
		buf_reset(&b);
	while ((bad = answer_write(&b, id, e)) != 0 && session_relieve(s));
	if (bad)
		buf_fini(&b);
	return !bad && session_send_owned(s, &b);
}

/* ---- state --------------------------------------------------------------------------------------- */

void session_due(struct session *s, int64_t t)
{
	if (t && (!s->next_due || t < s->next_due))
		s->next_due = t;
}

static void hold_parked(struct session *s, bool on)
{
	for (struct request *r = s->parked ? s->ledger.head : NULL; r; r = r->next) {
		if (r->state != REQ_PARKED)
			continue;
		if (!on) {
			r->hold_until = 0;
		} else if (!r->hold_until) {
			s->n.held++;
			r->hold_until = s->now + s->c->hold_ms;
			session_due(s, r->hold_until);
		}
	}
}

/* A ping asks whether we live: while the line is down the answer is ours. */
static void answer_pings(struct session *s)
{
	struct request *r = s->parked ? s->ledger.head : NULL;

	while (r) {
		if (r->state != REQ_PARKED || r->purpose != RQ_CLIENT || !span_is(r->method, "ping")) {
			r = r->next;
			continue;
		}
		if (!r->cancelled)
			request_deliver_result(s, r, SPAN_LIT("{}"));
		request_drop(s, r); /* and perhaps one beside it */
		r = s->ledger.head;
	}
}

void session_enter(struct session *s, enum session_state to, const char *why)
{
	enum session_state from = s->state;

	if (from == to)
		return;
	s->n.state_ms[from] += s->now - s->state_since;
	s->state = to;
	s->state_since = s->now;
	session_note(s, NOTE_DEBUG, "%s > %s: %s", session_state_name(from), session_state_name(to), why);
	if (to != SESSION_DRAIN && to != SESSION_END)
		hold_parked(s, to != SESSION_READY);
	if (to == SESSION_WAIT || to == SESSION_REVIVE || to == SESSION_DOWN)
		answer_pings(s);
	session_act(s, ACT_CHANGED);
}

void session_rebuild_headers(struct session *s)
{
	buf_reset(&s->headers);
	dialect_session_headers(&s->headers, s->era == ERA_NONE ? s->trying : s->era, s->version, buf_span(&s->sid));
	s->headers_gen++;
}

void session_set_session_id(struct session *s, struct span sid)
{
	struct action *a;

	buf_reset(&s->sid);
	if (sid.n && sid.n < 2048 && buf_add(&s->sid, sid) == 0 && (a = session_act(s, ACT_SECRET)))
		buf_add(&a->owned, sid);
	session_rebuild_headers(s);
}

struct span session_headers(const struct session *s, unsigned *generation)
{
	*generation = s->headers_gen;
	return buf_span(&s->headers);
}

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
	if (s->window < s->c->max_in_flight)
		s->window = s->window * 2 < s->c->max_in_flight ? s->window * 2 : s->c->max_in_flight;
}

/* May the client be sent a log message of this level? Only where logging was
 * negotiated, and not below the level it has set (server/utilities/logging). */
static bool client_wants_messages(const struct session *s, int rank)
{
	static const char *const levels[] = { "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency" };
	struct span set = json_get(buf_span(&s->level_params), "level");

	if (!s->c->notify || !s->client_initialized || !s->initialized_sent || s->client_modern)
		return false;
	if (json_type(json_path(buf_span(&s->init_result), "capabilities", "logging", NULL)) != '{')
		return false;
	for (int i = rank + 1; i < (int)(sizeof(levels) / sizeof(*levels)); i++)
		if (json_string_is(set, levels[i]))
			return false;
	return true;
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

/* Every attempt under way on a 2024-11-05 stream dies with it: the answers can
 * not come any more. */
static void fail_stream_requests(struct session *s, const char *why)
{
	uint64_t last = s->ledger.next_seq, seq = 0;
	struct request *r = s->ledger.head;

	while (r && r->seq <= last) {
		seq = r->seq;
		if (r->state == REQ_SENT && r->purpose == RQ_CLIENT) {
			struct failure f = { .what = why, .may_have_run = true, .retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
			request_failed(s, r, &f);
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
		fail_stream_requests(s, "The connection that was to bring the answer was lost");
	}
	/* The notification under way ends by itself: whether it was taken is judged then. */
}

/* Those that may not wait until `beyond`; 0: all. */
static void refuse_parked(struct session *s, int64_t beyond, enum error_kind k, const char *what, int64_t retry_after_ms)
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
	refuse_parked(s, 0, ERR_UPSTREAM_UNAVAILABLE, text, s->down_until - s->now);
	if (!s->client_initialized && !s->client_modern && s->state == SESSION_DOWN)
		session_enter(s, SESSION_START, "nothing is known of the server");
	backoff_reset(&s->backoff);
	s->backoff.floor_until = floor; /* the server's word outlives our patience */
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
	answer_pings(s);
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
		refuse_parked(s, s->backoff.floor_until, ERR_RATE_LIMITED, LEFT_ALONE, s->backoff.floor_until - s->now);
}

void session_auth_refused(struct session *s, const char *what)
{
	char text[512];

	snprintf(text, sizeof(text), "%s", what);
	session_forget(s);
	s->down_until = 0;
	session_enter(s, SESSION_DOWN, "credentials are wanted");
	refuse_parked(s, 0, ERR_AUTH_REQUIRED, text, session_auth_pause(s));
	if (!s->client_initialized && !s->client_modern && s->state == SESSION_DOWN)
		session_enter(s, SESSION_START, "credentials are wanted");
}

void session_unacceptable(struct session *s)
{
	s->force_init = true;
	session_forget(s);
	s->down_until = 0; /* the next request tries again, and is told */
	session_enter(s, SESSION_DOWN, "the server speaks another protocol version now");
	refuse_parked(s, 0, ERR_UNSUPPORTED, "The server now speaks a protocol version that this client did not agree to", -1);
}

void session_reconnect(struct session *s)
{
	s->wait_until = 0;
	s->n.reconnect_tries++;
	breaker_on_probe(&s->breaker);
	if (s->client_initialized || (s->client_modern && s->era == ERA_MODERN))
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
		s->window = 1;
	}
	s->outage_since = 0;
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

/* ---- ending ----------------------------------------------------------------------------------------- */

static bool owes_anything(const struct session *s)
{
	for (const struct request *r = s->ledger.head; r; r = r->next)
		if (!r->cancelled && (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE))
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
		r->maybe_ran |= r->state != REQ_PARKED;
		request_refuse(s, r, ERR_SHUTTING_DOWN, "The bridge is ending before the answer came", -1);
	}
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
		struct xfer *x = xfer_start(s, XF_DELETE, HTTP_DELETE, HEADERS_SESSION, SPAN_NONE, ms);
		if (x) {
			s->delete_xfer = x->token;
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

/* ---- facts ------------------------------------------------------------------------------------------- */

void session_on_client(struct session *s, struct span line, struct buf *big, int64_t now)
{
	s->now = now;
	intake_line(s, line, big);
	session_pump(s);
}

void session_on_client_too_long(struct session *s, struct span head, int64_t now)
{
	bool method = false;
	struct span id = rpc_sniff_id(head.p, head.n, &method);
	struct own_error e = { .kind = ERR_MESSAGE_TOO_LARGE, .what = "The message is larger than the limit of the bridge and was not sent",
		.retry_after_ms = -1, .tool = false };

	s->now = now;
	snprintf(e.ref, sizeof(e.ref), "%08x", (unsigned)(rng_next(&s->rng) >> 32));
	session_note(s, NOTE_WARN, "a message of the client was larger than the limit (ref %s)", e.ref);
	if (id.p && !method)
		return; /* an answer to the server: nobody to tell */
	session_send_own_error(s, id, &e);
	s->n.errors[ERR_MESSAGE_TOO_LARGE]++;
}

void session_on_auth(struct session *s, enum signin o, struct span text, int64_t now)
{
	char what[600];

	s->now = now;
	buf_reset(&s->auth_text);
	if (o == SIGNIN_PENDING) {
		buf_add(&s->auth_text, text);
		return;
	}
	if (o == SIGNIN_OK)
		stream_schedule(s, false);
	if (s->state != SESSION_AUTH)
		return;
	if (o == SIGNIN_OK) {
		session_note(s, NOTE_INFO, "signed in");
		if (s->auth_from == SESSION_READY && s->era == ERA_SSE && s->stream.state != STREAM_LIVE)
			session_line_down(s, "the stream ended during the sign-in", -1, 0);
		else if (s->auth_from == SESSION_READY)
			session_ready(s);
		else
			session_reconnect(s);
		return;
	}
	snprintf(what, sizeof(what), "%.*s", (int)(text.n < 590 ? text.n : 590), text.n ? text.p : "The sign-in failed");
	offline_forget(s);
	refuse_parked(s, 0, ERR_AUTH_REQUIRED, what, session_auth_pause(s));
	if (s->state == SESSION_AUTH)
		session_enter(s, !s->client_initialized ? SESSION_START : s->auth_from == SESSION_READY ? SESSION_READY : SESSION_DOWN, "the sign-in failed");
	s->down_until = now;
}

void session_on_auth_pause(struct session *s, int64_t until)
{
	s->auth_pause_until = until;
}

int64_t session_auth_pause(const struct session *s)
{
	return s->auth_pause_until > s->now ? s->auth_pause_until - s->now : -1;
}

void session_on_auth_url(struct session *s, struct span url, int64_t now)
{
	struct span caps = json_get(buf_span(&s->init_params), "capabilities");
	struct buf b;
	int bad;

	s->now = now;
	if (s->client_modern || !s->client_initialized || !json_path(caps, "elicitation", "url", NULL).p)
		return;
	s->auth_rounds++;
	buf_init(&b, OUT_MAX);
	bad = buf_printf(&b, "{\"jsonrpc\":\"2.0\",\"id\":\"hf-auth-%s-%llu\",\"method\":\"elicitation/create\",\"params\":{\"mode\":\"url\","
		"\"message\":\"This server wants you to sign in.\",\"elicitationId\":\"hf-auth-%s-%llu\",\"url\":", s->nonce,
		(unsigned long long)s->auth_rounds, s->nonce, (unsigned long long)s->auth_rounds);
	bad |= json_quote(&b, url) | buf_puts(&b, "}}");
	if (bad)
		buf_fini(&b);
	else
		session_send_owned(s, &b);
}

/* What is under way is among what the answer to a ping now decides about. */
static void probe_all(struct session *s)
{
	for (struct request *r = s->ledger.head; r; r = r->next)
		if (r->purpose == RQ_CLIENT && (r->state == REQ_SENT || r->state == REQ_STREAMING) && !r->patient_until)
			r->probed_at = s->now;
	if (s->ping) /* from before */
		request_drop(s, s->ping);
	session_ping(s);
}

void session_on_wake(struct session *s, bool forced, int64_t now)
{
	s->now = now;
	session_act(s, ACT_DROP_IDLE);
	backoff_reset(&s->backoff);
	switch (s->state) {
	case SESSION_WAIT:
	case SESSION_DOWN:
		session_note(s, NOTE_INFO, forced ? "reconnecting now" : "the machine slept; reconnecting now");
		session_reconnect(s);
		break;
	case SESSION_READY:
		session_note(s, NOTE_INFO, forced ? "reconnecting now" : "the machine slept; checking the connection");
		if (forced) {
			session_line_down(s, "asked to reconnect", -1, 0);
			break;
		}
		probe_all(s);
		stream_schedule(s, false);
		break;
	default:
		break;
	}
}

void session_on_time(struct session *s, int64_t now, int64_t wall_s)
{
	s->now = now;
	s->wall_s = wall_s;
	if (s->ended)
		return;
	if (!s->reserve)
		s->reserve = malloc(RESERVE_BYTES);
	if ((s->eof || s->signalled) && s->drain_until && now >= s->drain_until) {
		if (s->state == SESSION_DRAIN)
			finish(s);
		else
			wind_up(s);
		return;
	}
	offline_on_time(s);
	if (s->state == SESSION_WAIT && s->wait_until && now >= s->wait_until)
		session_reconnect(s);
	if (s->next_due && now >= s->next_due)
		session_request_times(s);
	stream_on_time(s);
	keepalive_on_time(s);
	session_pump(s);
	session_check_drained(s);
}

int64_t session_deadline(const struct session *s)
{
	int64_t t = s->next_due;
	int64_t all[] = { s->state == SESSION_WAIT ? s->wait_until : 0, stream_deadline(s), keepalive_deadline(s), outbox_deadline(s),
		offline_deadline(s), s->eof || s->signalled ? s->drain_until : 0, s->pump_due && s->parked ? s->now : 0 };

	if (s->ended)
		return 0;
	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		if (all[i] && (!t || all[i] < t))
			t = all[i];
	return t;
}

bool session_wants_input(const struct session *s)
{
	if (s->ended || s->state == SESSION_DRAIN)
		return false;
	if (s->parked_bytes > PARKED_BYTES || s->outbox_len > 1000)
		return false;
	if (s->state == SESSION_READY || s->state == SESSION_PROBE || (s->state == SESSION_AUTH && !s->client_initialized))
		return s->parked < s->c->max_queue;
	return true; /* a full queue is told to the client */
}

void session_look(const struct session *s, struct session_view *v, int64_t now)
{
	memset(v, 0, sizeof(*v));
	v->state = s->state;
	v->era = s->era;
	memcpy(v->version, s->version, sizeof(v->version));
	v->breaker = s->breaker.state;
	v->since_ms = now - s->state_since;
	v->last_drop_ms = s->last_drop_at < 0 ? -1 : now - s->last_drop_at;
	v->last_drop_len_ms = s->last_drop_len;
	memcpy(v->last_drop_why, s->drop_why, sizeof(v->last_drop_why));
	memcpy(v->last_drop_detail, s->drop_detail, sizeof(v->last_drop_detail));
	v->next_try_ms = s->state == SESSION_WAIT && s->wait_until ? (s->wait_until > now ? s->wait_until - now : 0) : -1;
	v->in_flight = s->in_flight;
	v->held = s->parked;
	v->idle_learned_ms = s->idle_learned;
	v->counters = &s->n;
}

void session_set_hook(struct session *s, void (*hook)(void *, const struct session_answer *), void *arg)
{
	s->hook = hook;
	s->hook_arg = arg;
}
