/* The session's state and time: which state, since when, until when, and the
 * facts that concern everything at once. Pure: it never reads a clock or touches
 * a descriptor. */
#include "core/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session_i.h"

#define PARKED_BYTES ((size_t)8 << 20)  /* past it stdin is not read while requests wait */
#define RESERVE_BYTES ((size_t)32 * 1024)
#define SID_MAX ((size_t)8192)          /* a longer session id is none: about what servers take of a header */
#define HEADERS_MAX (SID_MAX + 256)     /* its line and the version's */

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
	buf_init(&s->sid, SID_MAX);
	buf_init(&s->endpoint, 16384);
	buf_init(&s->headers, HEADERS_MAX);
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
	/* A session must not lose its name later for want of a few bytes. */
	if (!s->catalog || !s->url || !s->reserve || buf_reserve(&s->sid, SID_MAX) != 0 || buf_reserve(&s->headers, HEADERS_MAX) != 0 ||
	    ledger_init(&s->ledger, s->seed) != 0) {
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
	past_free(s);
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
		request_note_held(s, r);
		if (!on) {
			r->hold_until = r->awaits_scope ? r->hold_until : 0;
		} else if (!r->hold_until) {
			r->hold_until = s->now + s->c->hold_ms;
			session_due(s, r->hold_until);
		}
	}
}

void session_answer_pings(struct session *s)
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
		session_answer_pings(s);
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
	if (sid.n >= SID_MAX)
		session_note(s, NOTE_WARN, "the server gave a session id of %zu bytes, which is too long and not used", sid.n);
	if (sid.n && sid.n < SID_MAX && buf_add(&s->sid, sid) == 0 && (a = session_act(s, ACT_SECRET)))
		buf_add(&a->owned, sid);
	session_rebuild_headers(s);
}

struct span session_headers(const struct session *s, unsigned *generation)
{
	*generation = s->headers_gen;
	return buf_span(&s->headers);
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

/* Those that wait for a wider token are sent again with it, or told that there is none. */
static void end_scope_waits(struct session *s, bool granted, const char *why)
{
	struct request *r = s->parked ? s->ledger.head : NULL;

	while (r) {
		if (r->state != REQ_PARKED || !r->awaits_scope) {
			r = r->next;
			continue;
		}
		r->awaits_scope = false;
		s->pump_due |= granted;
		if (s->state == SESSION_READY)
			r->hold_until = 0;
		if (!granted) {
			request_refuse(s, r, ERR_AUTH_REQUIRED, why, session_auth_pause(s));
			r = s->ledger.head; /* and perhaps one beside it is gone, too */
		}
	}
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
	xfers_signed(s, o == SIGNIN_OK ? CHALLENGE_AGAIN : CHALLENGE_REFUSE, text);
	if (o == SIGNIN_OK)
		stream_schedule(s, false);
	snprintf(what, sizeof(what), "%.*s", (int)(text.n < 590 ? text.n : 590), text.n ? text.p : "The sign-in failed");
	end_scope_waits(s, o == SIGNIN_OK, what);
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
	offline_forget(s);
	session_refuse_parked(s, 0, ERR_AUTH_REQUIRED, what, session_auth_pause(s));
	if (s->state == SESSION_AUTH)
		session_enter(s, !s->client_initialized ? SESSION_START : s->auth_from == SESSION_READY ? SESSION_READY : SESSION_DOWN, "the sign-in failed");
	s->down_until = now;
}

void session_on_auth_pause(struct session *s, int64_t until)
{
	s->auth_pause_until = until;
}

void session_on_auth_awaits(struct session *s, const char *server, int64_t until)
{
	s->auth_awaits = server;
	s->auth_awaits_until = until;
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
	if (session_drain_over(s))
		return;
	offline_on_time(s);
	if (s->state == SESSION_WAIT && s->wait_until && now >= s->wait_until)
		session_reconnect(s);
	if (s->next_due && now >= s->next_due)
		session_request_times(s);
	stream_on_time(s);
	keepalive_on_time(s);
	learn_on_time(s);
	session_pump(s);
	session_check_drained(s);
}

int64_t session_deadline(const struct session *s)
{
	int64_t t = s->next_due;
	int64_t all[] = { s->state == SESSION_WAIT ? s->wait_until : 0, stream_deadline(s), keepalive_deadline(s), outbox_deadline(s),
		offline_deadline(s), eras_deadline(s), learn_deadline(s), s->eof || s->signalled ? s->drain_until : 0, s->pump_due && (s->parked || s->outbox) ? s->now : 0 };

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
