/* One loop: wait, record facts, tell them to the session, carry out what it
 * asks for. Nothing is decided here and nothing acts inside a callback:
 * everything is started, cancelled or written from bridge_drain(). */
#include "bridge.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <sodium.h>

#include "auth_bridge.h"
#include "base/log.h"
#include "core/session.h"
#include "io/http.h"
#include "io/loop.h"
#include "io/resident.h"
#include "io/stdio.h"
#include "memory_bridge.h"
#include "report/report.h"

#define EVENTS 64
#define OUT_HIGH_WATER ((size_t)1 << 20) /* unread output past which neither side is read: room for a client that writes many requests before it reads */
#define LAST_FLUSH_MS 1000               /* a client that reads slowly gets this long for the last answers, after each it has read */
#define EOF_FLUSH_MS 5000                /* and at least until so long after the end of its input, */
#define SIGNAL_END_MS 950                /* but no longer than until so long after the first signal, whatever hangs */
#define SLEPT_MS 3000                    /* the boot clock ran this far ahead: the machine slept */
#define STOPPED_MS 500                   /* woken this much too late: we did not run */
#define CATCH_UP_MS 3000                 /* what has come meanwhile is taken for no longer than this, */
#define QUIET_MS 250                     /* and until nothing more has come for so long */
#define LATE_TURNS 20u                   /* as a machine that is too slow has them; a stop is one */
#define TRACE_BYTES 4096u                /* of a message in the log, at trace only */
#define OWN_FDS 32                       /* descriptors of what is no request: the loop, files, the stream, pings, a sign-in */
#define METHODS 3
#define SETS 2

struct bridge {
	struct options *o;
	struct redactor *redactor;
	struct loop *loop;
	struct http *http;
	struct stdio *io;
	struct session *session;
	struct report *report; /* NULL: no memory for it */
	struct memory_files *memory; /* NULL: nothing is remembered */
	struct auth_bridge *auth;
	enum auth_state auth_state;
	unsigned auth_gen;     /* of the token in the header lists */
	unsigned *used;        /* by a transfer's index: the token generation it went out with */
	size_t nused;
	bool auth_told;        /* the client was asked to open the address of this sign-in */
	unsigned auth_asked;   /* what the session was told of it */
	const struct http_head *head; /* the head being told */
	struct http_headers *headers[METHODS][SETS];
	unsigned headers_gen;
	bool eof_told, ending, out_closed, hurry;
	int signal;
	int64_t now, end_by, signal_by, clock_gap;
	int64_t behind_until;  /* what came while we were stopped, or the client did not read, is being taken; 0: it is */
	unsigned late_turns;   /* of the loop, since it was not behind */
	int64_t eof_at;
	size_t unread;         /* of our output, when that was looked at last; while ending */
	bool answered;         /* the client has got something */
	int64_t trim_at;       /* when nothing happens until then, what start-up alone touched is let go; 0: done, or too early */
};

/* ---- header lists ---------------------------------------------------------------------------- */

static void headers_drop(struct bridge *b)
{
	for (int m = 0; m < METHODS; m++) {
		for (int h = 0; h < SETS; h++) {
			http_headers_release(b->headers[m][h]);
			b->headers[m][h] = NULL;
		}
	}
}

static int add_lines(struct http_headers *list, struct span lines)
{
	while (lines.n) {
		const char *nl = memchr(lines.p, '\n', lines.n);
		size_t n = nl ? (size_t)(nl - lines.p) : lines.n;
		if (n && http_headers_add(list, span_make(lines.p, n)) != 0)
			return -1;
		lines.p += nl ? n + 1 : n;
		lines.n -= nl ? n + 1 : n;
	}
	return 0;
}

static int add_user_headers(struct http_headers *list, const struct header_list *hl)
{
	struct buf line;
	int bad = 0;

	buf_init(&line, (size_t)1 << 20);
	for (size_t i = 0; i < hl->n && !bad; i++) {
		buf_reset(&line);
		bad = buf_printf(&line, "%s: ", hl->v[i].name) || buf_add(&line, secret_reveal(hl->v[i].value)) ||
		      http_headers_add(list, buf_span(&line));
		buf_wipe(&line);
	}
	buf_fini(&line);
	return bad ? -1 : 0;
}

/* One list for each method and header set, built when first needed and again
 * when a header has changed. */
static struct http_headers *headers_for(struct bridge *b, enum http_method m, enum header_set set)
{
	unsigned gen;
	struct span lines = session_headers(b->session, &gen);
	struct http_headers *list;
	int bad = 0;

	if (gen != b->headers_gen) {
		headers_drop(b);
		b->headers_gen = gen;
	}
	if (b->headers[m][set])
		return b->headers[m][set];
	list = http_headers_new();
	if (!list)
		return NULL;
	if (m == HTTP_POST) {
		bad |= http_headers_add(list, SPAN_LIT("Content-Type: application/json"));
		bad |= http_headers_add(list, SPAN_LIT("Accept: application/json, text/event-stream"));
	} else {
		bad |= http_headers_add(list, SPAN_LIT("Accept: text/event-stream"));
	}
	bad |= add_user_headers(list, &b->o->headers);
	if (auth_bridge_header(b->auth).n)
		bad |= http_headers_add(list, auth_bridge_header(b->auth));
	if (set == HEADERS_SESSION)
		bad |= add_lines(list, lines);
	if (bad) {
		http_headers_release(list);
		return NULL;
	}
	b->headers[m][set] = list;
	return list;
}

/* ---- actions ------------------------------------------------------------------------------------ */

/* The number of the token a transfer goes out with, for a 401 that comes late. */
static void remember_token(struct bridge *b, uint64_t token)
{
	size_t i = (size_t)(token & 0xffffffff);

	if (i >= b->nused) {
		size_t n = 2 * i + 16;
		unsigned *used = realloc(b->used, n * sizeof(*used));
		if (!used)
			return;
		memset(used + b->nused, 0, (n - b->nused) * sizeof(*used));
		b->used = used;
		b->nused = n;
	}
	b->used[i] = b->auth_gen;
}

static void start_http(struct bridge *b, const struct action *a)
{
	static const char *const methods[] = { [HTTP_GET] = "GET", [HTTP_POST] = "POST", [HTTP_DELETE] = "DELETE" };
	struct span extra[97];
	struct buf proof;
	size_t n = 0;
	struct span lines = a->lines;
	struct err e = { "" };
	char *url = NULL;
	struct http_request rq = { .token = a->token, .method = a->method, .body = a->body, .timeout_ms = a->timeout_ms };

	buf_init(&proof, 16384);
	while (lines.n && n + 1 < sizeof(extra) / sizeof(*extra)) {
		const char *nl = memchr(lines.p, '\n', lines.n);
		size_t len = nl ? (size_t)(nl - lines.p) : lines.n;
		if (len)
			extra[n++] = span_make(lines.p, len);
		lines.p += nl ? len + 1 : len;
		lines.n -= nl ? len + 1 : len;
	}
	remember_token(b, a->token);
	rq.shared = headers_for(b, a->method, a->headers);
	rq.url = b->o->url.text;
	if (a->url.p) {
		url = strndup(a->url.p, a->url.n);
		rq.url = url;
	}
	if (!rq.shared || !rq.url)
		err_set(&e, "out of memory");
	else if (auth_bridge_wants_dpop(b->auth) && auth_bridge_dpop(b->auth, methods[a->method], rq.url, &proof) > 0)
		extra[n++] = buf_span(&proof);
	rq.extra = extra;
	rq.nextra = n;
	if (a->body.n)
		log_trace("to server: %.*s", (int)(a->body.n < TRACE_BYTES ? a->body.n : TRACE_BYTES), a->body.p);
	if (e.text[0] || http_start(b->http, &rq, &e) != 0)
		session_on_start_failed(b->session, a->token, e.text, b->now);
	buf_fini(&proof);
	free(url);
}

static void send_line(struct bridge *b, struct action *a)
{
	struct buf block;
	int rc;

	if (b->out_closed)
		return;
	log_trace("to client: %.*s", (int)(a->text.n < TRACE_BYTES ? a->text.n : TRACE_BYTES), a->text.p);
	if (a->owned.mem) {
		rc = stdio_write_take(b->io, &a->owned);
	} else if (a->token) {
		buf_init(&block, SIZE_MAX);
		http_take_data(b->http, a->token, &block);
		rc = block.len == a->text.n ? stdio_write_take(b->io, &block) : stdio_write(b->io, a->text);
		buf_fini(&block);
	} else {
		rc = stdio_write(b->io, a->text);
	}
	if (rc != 0)
		log_error("out of memory: a message to the client was lost");
}

static void write_log(struct action *a)
{
	struct log_fields f = { .attempt = a->attempt, .latency_ms = a->latency_ms, .circuit = a->circuit, .ref = a->ref[0] ? a->ref : NULL, .kind = a->what };

	log_line_with((enum log_level)a->level, &f, "%.*s", (int)a->text.n, a->text.p);
}

/* 401 and the like: what the sign-in says of it. */
static void challenged(struct bridge *b, const struct action *a)
{
	static const enum challenge says[] = {
		[AUTH_PARK] = CHALLENGE_PARK, [AUTH_AGAIN] = CHALLENGE_AGAIN, [AUTH_REFUSE] = CHALLENGE_REFUSE, [AUTH_PASS] = CHALLENGE_PASS };
	size_t i = (size_t)(a->token & 0xffffffff);
	enum auth_verdict v = b->head ? auth_bridge_on_challenge(b->auth, a->op, i < b->nused ? b->used[i] : 0, b->head, b->now) : AUTH_PASS;

	if (v == AUTH_PARK) {
		b->auth_told &= b->auth_state == AUTH_RUNNING;
		b->auth_state = AUTH_RUNNING;
	}
	session_on_auth_pause(b->session, auth_bridge_pause_until(b->auth, b->now));
	session_on_challenge(b->session, a->token, says[v], v == AUTH_REFUSE ? span_str(auth_bridge_text(b->auth)) : SPAN_NONE, b->now);
}

/* All is said: how long the client may take to read it. */
static void set_end(struct bridge *b)
{
	b->end_by = b->now + LAST_FLUSH_MS;
	if (b->hurry)
		b->end_by = b->now;
	else if (b->signal)
		b->end_by = b->signal_by;
	else if (b->eof_told && b->end_by < b->eof_at + EOF_FLUSH_MS)
		b->end_by = b->eof_at + EOF_FLUSH_MS;
}

static void perform(struct bridge *b)
{
	struct action a;

	while (session_next(b->session, &a)) {
		switch (a.kind) {
		case ACT_HTTP:
			start_http(b, &a);
			break;
		case ACT_CANCEL:
			http_cancel(b->http, a.token);
			break;
		case ACT_WITHDRAW:
			http_withdraw(b->http, a.token);
			break;
		case ACT_SEND:
			send_line(b, &a);
			break;
		case ACT_LOG:
			write_log(&a);
			break;
		case ACT_SECRET:
			redact_add_instead(b->redactor, SPAN_LIT("session"), a.text);
			break;
		case ACT_AUTH:
			challenged(b, &a);
			break;
		case ACT_DROP_IDLE:
			http_drop_idle(b->http);
			break;
		case ACT_CHANGED:
			if (b->report)
				report_on_changed(b->report);
			break;
		case ACT_REMEMBER:
			memory_act(b->memory, b->session, &a, b->now, loop_wall_now());
			break;
		case ACT_END:
			b->ending = true;
			auth_bridge_on_end(b->auth);
			set_end(b);
			break;
		}
		buf_fini(&a.owned);
	}
}

/* ---- facts ---------------------------------------------------------------------------------------- */

/* Their values are sent back and must not be shown. One "name=value" a line. */
static void hide_cookies(struct bridge *b, struct span lines)
{
	while (lines.n) {
		const char *nl = memchr(lines.p, '\n', lines.n), *eq = memchr(lines.p, '=', lines.n);
		size_t n = nl ? (size_t)(nl - lines.p) : lines.n;
		if (eq && eq < lines.p + n)
			redact_add_passing(b->redactor, span_make(lines.p, (size_t)(eq - lines.p)), span_make(eq + 1, (size_t)(lines.p + n - eq - 1)));
		lines.p += nl ? n + 1 : n;
		lines.n -= nl ? n + 1 : n;
	}
}

static void take_http(struct bridge *b)
{
	struct http_event ev;

	while (stdio_queued(b->io) < OUT_HIGH_WATER && http_next(b->http, &ev)) {
		enum body_mode mode;
		char *p;
		size_t n;

		if ((b->report && report_on_http(b->report, &ev, b->now)) || auth_bridge_on_http(b->auth, &ev, b->now))
			continue;
		switch (ev.kind) {
		case HTTP_EV_HEAD:
			if (ev.head->set_cookie.n)
				hide_cookies(b, ev.head->set_cookie);
			if (ev.head->dpop_nonce.n)
				auth_bridge_on_nonce(b->auth, ev.head->dpop_nonce);
			b->head = ev.head;
			mode = session_on_head(b->session, ev.token, ev.head, b->now);
			if (mode == BODY_COLLECT)
				http_collect(b->http, ev.token, b->o->core.max_message);
			perform(b);
			b->head = NULL;
			break;
		case HTTP_EV_DATA:
			p = (char *)ev.data.p;
			n = ev.data.n;
			while (session_on_data(b->session, ev.token, &p, &n, ev.cut, b->now))
				perform(b);
			perform(b);
			break;
		case HTTP_EV_DONE:
			session_on_done(b->session, ev.token, ev.result, b->now);
			perform(b);
			break;
		}
	}
}

static void take_stdin(struct bridge *b)
{
	struct span line;
	struct buf big;
	enum stdio_line got;

	while (!b->ending && session_wants_input(b->session) && (got = stdio_next(b->io, &line)) != STDIO_NONE) {
		buf_init(&big, SIZE_MAX);
		log_trace("from client: %.*s", (int)(line.n < TRACE_BYTES ? line.n : TRACE_BYTES), line.p);
		if (got != STDIO_LINE) {
			session_on_client_too_long(b->session, line, b->now);
		} else if (line.n >= BUF_KEEP && stdio_take(b->io, &big) == 0) {
			session_on_client(b->session, buf_span(&big), &big, b->now);
		} else {
			session_on_client(b->session, line, NULL, b->now);
		}
		perform(b);
		buf_fini(&big);
	}
	if (!b->eof_told && stdio_eof(b->io)) {
		b->eof_told = true;
		b->eof_at = b->now;
		session_on_client_eof(b->session, b->now);
		perform(b);
	}
}

static void take_signals(struct bridge *b)
{
	int sig;

	while ((sig = loop_next_signal(b->loop)) != 0) {
		if (sig == SIGUSR2) {
			session_on_wake(b->session, true, b->now);
		} else if (sig == SIGUSR1) {
			if (b->report)
				report_on_usr1(b->report, b->now);
		} else {
			log_debug("signal %d", sig);
			b->hurry = b->signal != 0; /* the second one: now */
			if (!b->signal)
				b->signal_by = b->now + SIGNAL_END_MS;
			b->signal = sig;
			session_on_signal(b->session, b->now);
			if (b->ending)
				set_end(b);
		}
		perform(b);
	}
}

/* The boot clock runs on while the machine sleeps, the monotonic one does not. */
static void notice_sleep(struct bridge *b)
{
	int64_t gap = loop_boot_now() - b->now;

	if (gap - b->clock_gap > SLEPT_MS) {
		session_on_wake(b->session, false, b->now);
		perform(b);
	}
	b->clock_gap = gap;
}

/* What was started goes out now, not after a wait that would end at once. */
static void run_http(struct bridge *b)
{
	int64_t t = http_deadline(b->http);

	if (!t || b->now < t)
		return;
	http_on_time(b->http, b->now);
	take_http(b);
}

/* Carries the sign-in on, and tells the session what came of it. */
static void follow_auth(struct bridge *b)
{
	enum auth_state was = b->auth_state;
	bool fresh;

	auth_bridge_drain(b->auth, b->now);
	b->auth_state = auth_bridge_state(b->auth);
	fresh = auth_bridge_generation(b->auth) != b->auth_gen;
	if (fresh) {
		b->auth_gen = auth_bridge_generation(b->auth);
		headers_drop(b);
	}
	if (b->auth_state == AUTH_READY && (fresh || was == AUTH_RUNNING))
		session_on_auth(b->session, SIGNIN_OK, SPAN_NONE, b->now);
	else if (b->auth_state == AUTH_FAILED && was != AUTH_FAILED) {
		session_on_auth_pause(b->session, auth_bridge_pause_until(b->auth, b->now));
		session_on_auth(b->session, SIGNIN_REFUSED, span_str(auth_bridge_text(b->auth)), b->now);
	} else if (b->auth_state == AUTH_RUNNING && auth_bridge_asked(b->auth) != b->auth_asked) {
		session_on_auth(b->session, SIGNIN_PENDING, span_str(auth_bridge_text(b->auth)), b->now);
		if (!b->auth_told && auth_bridge_url(b->auth)) {
			b->auth_told = true;
			session_on_auth_url(b->session, span_str(auth_bridge_url(b->auth)), b->now);
		}
		b->auth_asked = auth_bridge_asked(b->auth);
	} else
		return;
	perform(b);
}

static void tell_time(struct bridge *b)
{
	int64_t until = 0;
	const char *server = auth_bridge_awaits(b->auth, &until);

	session_on_auth_awaits(b->session, server, until);
	session_on_time(b->session, b->now, loop_wall_now());
	perform(b);
}

/* Nobody has left: what is said can not be written, as on a full disk. */
static bool is_lost(const struct bridge *b)
{
	int why = stdio_out_closed(b->io);

	return why && why != EPIPE && why != ECONNRESET && why != EIO;
}

static void bridge_drain(struct bridge *b)
{
	int64_t t;

	take_signals(b);
	take_stdin(b);
	take_http(b);
	follow_auth(b);
	t = session_deadline(b->session);
	if (t && b->now >= t && !b->behind_until) {
		tell_time(b);
		take_http(b);
	}
	run_http(b);
	follow_auth(b); /* what that brought */
	if (!b->answered && stdio_queued(b->io) > 0) {
		b->answered = true;
		b->trim_at = b->now + QUIET_MS;
	}
	stdio_flush(b->io);
	if (b->report)
		report_on_time(b->report, b->now);
	memory_on_time(b->memory, b->now, loop_wall_now());
	if (stdio_out_closed(b->io) && !b->out_closed) {
		b->out_closed = true;
		if (!is_lost(b))
			log_info("nobody reads our output any more (%s); ending", strerror(stdio_out_closed(b->io)));
		session_on_signal(b->session, b->now);
		perform(b);
	}
	stdio_read_enable(b->io, session_wants_input(b->session) && stdio_queued(b->io) < OUT_HIGH_WATER);
}

static int64_t sooner(int64_t a, int64_t b) { return !a ? b : !b ? a : a < b ? a : b; }

/* The client does not read, so the network is not read either. */
static bool is_choked(const struct bridge *b)
{
	return stdio_queued(b->io) >= OUT_HIGH_WATER && !b->eof_told && !b->signal;
}

static int64_t bridge_deadline(const struct bridge *b)
{
	int64_t t = sooner(b->behind_until ? 0 : session_deadline(b->session), http_deadline(b->http));

	if (b->behind_until && !is_choked(b))
		t = sooner(t, sooner(b->behind_until, b->now + QUIET_MS));
	t = sooner(t, auth_bridge_deadline(b->auth));
	if (b->report)
		t = sooner(t, report_deadline(b->report, b->now));
	t = sooner(t, memory_deadline(b->memory));
	t = sooner(t, b->trim_at);
	return b->ending ? sooner(t, b->end_by) : t;
}

/* Something can be taken without waiting: a full output stood in the way, and
 * may just have been written. */
static bool bridge_busy(const struct bridge *b)
{
	if (http_pending(b->http) && stdio_queued(b->io) < OUT_HIGH_WATER)
		return true;
	return stdio_pending(b->io) && session_wants_input(b->session) && !b->ending;
}

/* All is said: true when it is written too, or nobody reads it, and what a
 * sign-in gives only once has come. */
static bool is_over(struct bridge *b)
{
	size_t unread = b->out_closed ? 0 : stdio_queued(b->io);

	if (!unread && !auth_bridge_is_spending(b->auth))
		return true;
	if (unread < b->unread && !b->signal && b->end_by < b->now + LAST_FLUSH_MS)
		b->end_by = b->now + LAST_FLUSH_MS;
	b->unread = unread;
	return b->now >= b->end_by;
}

/* Woken long after the time that was asked for, we were stopped, or the machine
 * was; or the client has not read for a while. What has come meanwhile may be what
 * a deadline that passed meanwhile waits for, so the session is told no time until
 * all of it is taken. */
static void notice_stop(struct bridge *b, int64_t until, bool quiet)
{
	bool late = until && b->now - until > STOPPED_MS;

	if (is_choked(b) || (late && b->late_turns++ < LATE_TURNS)) {
		b->behind_until = b->now + CATCH_UP_MS;
	} else if (quiet || b->now >= b->behind_until) {
		b->behind_until = 0;
		b->late_turns = 0;
	}
}

/* Once in a life, when the start is over. */
static void trim_when_quiet(struct bridge *b, bool quiet)
{
	if (!b->trim_at)
		return;
	if (!quiet) {
		b->trim_at = b->now + QUIET_MS;
	} else if (b->now >= b->trim_at) {
		b->trim_at = 0;
		resident_trim(http_library());
	}
}

static void bridge_loop(struct bridge *b)
{
	struct loop_event ev[EVENTS];
	int64_t until = 0;
	bool quiet = false;

	for (;;) {
		b->now = loop_now();
		notice_stop(b, until, quiet);
		bridge_drain(b);
		if (b->ending && is_over(b))
			return;
		until = bridge_busy(b) ? b->now : bridge_deadline(b);
		int n = loop_wait(b->loop, until, ev, EVENTS);
		quiet = n == 0 && until > b->now;
		b->now = loop_now();
		notice_sleep(b);
		if (n == 0)
			http_rest(b->http);
		trim_when_quiet(b, n == 0);
		for (int i = 0; i < n; i++)
			if (!stdio_on_event(b->io, &ev[i]) && !http_on_event(b->http, &ev[i]))
				auth_bridge_on_event(b->auth, &ev[i], b->now);
	}
}

/* ---- life -------------------------------------------------------------------------------------------- */

/* Each request at the server has a socket, and one that can not be had looks like
 * a server that is away. What there are no descriptors for waits its turn. */
static void fit_descriptors(size_t *requests)
{
	rlim_t want = (rlim_t)*requests + OWN_FDS;
	struct rlimit has, more;

	if (getrlimit(RLIMIT_NOFILE, &has) != 0 || has.rlim_cur >= want)
		return;
	more = has;
	more.rlim_cur = has.rlim_max < want ? has.rlim_max : want;
	if (setrlimit(RLIMIT_NOFILE, &more) == 0)
		has = more;
	if (has.rlim_cur >= want)
		return;
	*requests = has.rlim_cur > OWN_FDS ? (size_t)has.rlim_cur - OWN_FDS : 1;
	log_warn("%zu requests can be at the server at once, not --max-in-flight: the limit of open files is %zu", *requests, (size_t)has.rlim_cur);
}

static int bridge_open(struct bridge *b, struct err *e)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
	struct session_seed seed;
	struct report_config rc = { .name = b->o->log.name, .origin = b->o->url.origin, .log_ring = b->o->log_ring,
		.metrics_file = b->o->metrics_file, .redactor = b->redactor, .host = b->o->url.host, .port = b->o->url.port,
		.unix_socket = b->o->http.unix_socket != NULL };

	b->report = report_new(&rc, loop_now());
	b->loop = loop_new(e);
	if (!b->loop || loop_signals(b->loop, signals, sizeof(signals) / sizeof(*signals), e) != 0)
		return -1;
	b->o->core.legacy_only = b->o->legacy_only;
	b->o->core.trace_inject = b->o->trace_inject;
	b->o->core.ignore_tools = (const char *const *)b->o->ignore_tools.v;
	b->o->core.nignore_tools = b->o->ignore_tools.n;
	fit_descriptors(&b->o->core.max_in_flight);
	b->o->http.parallel = b->o->core.max_in_flight + 8; /* the stream, pings and answers beside them */
	b->http = http_new(&b->o->http, b->loop, e);
	if (!b->http)
		return -1;
	b->auth = auth_bridge_new(b->o, b->http, b->loop, b->redactor, e);
	if (!b->auth)
		return -1;
	b->auth_gen = auth_bridge_generation(b->auth);
	b->auth_state = auth_bridge_state(b->auth);
	b->io = stdio_new(b->loop, STDIN_FILENO, STDOUT_FILENO, b->o->core.max_message, e);
	if (!b->io)
		return -1;
	randombytes_buf(&seed, sizeof(seed));
	seed.log_level = log_wants(LOG_TRACE) ? LOG_TRACE : log_wants(LOG_DEBUG) ? LOG_DEBUG : log_wants(LOG_INFO) ? LOG_INFO : LOG_WARN;
	b->now = loop_now();
	b->clock_gap = loop_boot_now() - b->now;
	b->session = session_new(&b->o->core, &seed, b->o->url.text, b->now, loop_wall_now());
	if (!b->session)
		return err_set(e, "out of memory");
	if (b->report)
		report_attach(b->report, b->session, auth_bridge_breaker(b->auth), b->http, b->loop);
	if (b->o->core.offline_start)
		b->memory = memory_for(b->o);
	memory_tell(b->memory, b->session, loop_wall_now());
	return 0;
}

static int64_t last_export_ms(const struct bridge *b)
{
	int64_t left = b->signal_by - loop_now();

	if (!b->signal)
		return REPORT_END_MS;
	return left < 0 ? 0 : left < REPORT_SIGNAL_MS ? left : REPORT_SIGNAL_MS;
}

static void bridge_close(struct bridge *b)
{
	stdio_free(b->io);
	report_free(b->report, last_export_ms(b));
	memory_free(b->memory, loop_wall_now());
	session_free(b->session);
	headers_drop(b);
	auth_bridge_free(b->auth);
	free(b->used);
	http_leave(b->http);
	loop_free(b->loop);
}

int bridge_run(struct options *o, struct redactor *r)
{
	static struct bridge b; /* what it leaves to the kernel stays reachable, and is no leak */
	struct err e = { "" };
	int status = 0;

	b = (struct bridge){ .o = o, .redactor = r };
	if (bridge_open(&b, &e) != 0) {
		log_last_error("can not start: %s", e.text);
		status = 1;
	} else {
		bridge_loop(&b);
		status = b.signal ? 128 + b.signal : is_lost(&b) ? 1 : 0;
		if (is_lost(&b))
			log_last_error("can not write to stdout (%s)", strerror(stdio_out_closed(b.io)));
	}
	bridge_close(&b);
	return status;
}
