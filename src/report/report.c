/* Ties the reports together and gives them their pace: a change is shown at
 * once or, when the last one was shown less than a second ago, at the end of
 * that second. The files are made shortly after the start, not at it: a client
 * waits for the handshake, nobody for these. */
#include "report/report.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "io/loop.h"
#include "report/board.h"
#include "report/metrics.h"
#include "report/otlp.h"
#include "report/ring.h"
#include "report/rundir.h"
#include "report/stats.h"
#include "report/text.h"

#define FIRST_MS 50
#define BOARD_MS 1000
#define METRICS_MS 15000
#define LINE_SERIES 12 /* methods and tools in the line of SIGUSR1 */

/* How things stood when something was written last. */
struct mark {
	int64_t at;                  /* 0: never */
	uint64_t requests, answers, changes;
	enum breaker_state sign_in;
	int64_t sign_in_next_at;
};

struct report {
	struct report_config c;
	struct session *session;
	const struct breaker_view *sign_in;
	struct otlp *otlp;           /* NULL: not asked for */
	const struct session_counters *n;
	struct stats stats;
	struct ring ring;
	struct board board;
	int dir;                     /* -1: none */
	int64_t started_at, open_at, started_s;
	bool opened, metrics_failed;
	struct mark shown, published, exported;
	uint64_t changes, drops, reconnects, exports_lost;
	int64_t seq;
};

/* ---- files -------------------------------------------------------------------------------------- */

static void on_log_line(void *arg, enum log_level l, struct span line)
{
	struct report *r = arg;

	(void)l;
	ring_add(&r->ring, line);
}

static void open_files(struct report *r)
{
	struct err e;

	r->opened = true;
	r->dir = rundir_open_any(&e);
	if (r->dir < 0) {
		log_info("status and log are not kept for others to read: %s", e.text[0] ? e.text : "no place for them");
		return;
	}
	rundir_sweep(r->dir);
	if (board_open(&r->board, r->dir, &e) != 0)
		log_info("no status is kept: %s", e.text);
	if (r->c.log_ring && ring_open(&r->ring, r->dir, &e) != 0)
		log_info("the last log lines are not kept: %s", e.text);
}

static int64_t peak_memory(void)
{
	struct rusage ru;

	return getrusage(RUSAGE_SELF, &ru) == 0 ? ru.ru_maxrss : -1;
}

static int64_t absolute(int64_t span_ms, int64_t now, int sign)
{
	return span_ms < 0 ? -1 : now + sign * span_ms;
}

static int64_t sum_of(const uint64_t *v, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += v[i];
	return (int64_t)sum;
}

static void fill_facts(struct report *r, struct board_facts *f, int64_t now)
{
	struct session_view v;

	session_look(r->session, &v, now);
	memset(f, 0, sizeof(*f));
	f->pid = getpid();
	f->seq = ++r->seq;
	snprintf(f->program, sizeof(f->program), "%s", VERSION);
	snprintf(f->name, sizeof(f->name), "%s", r->c.name);
	snprintf(f->origin, sizeof(f->origin), "%s", r->c.origin);
	snprintf(f->transport, sizeof(f->transport), "%s", era_name(v.era));
	snprintf(f->protocol, sizeof(f->protocol), "%s", v.version);
	snprintf(f->state, sizeof(f->state), "%s", session_state_name(v.state));
	snprintf(f->breaker, sizeof(f->breaker), "%s", breaker_state_name(v.breaker));
	snprintf(f->why, sizeof(f->why), "%s", v.last_drop_detail[0] ? v.last_drop_detail : v.last_drop_why);
	snprintf(f->auth_breaker, sizeof(f->auth_breaker), "%s", breaker_state_name(r->sign_in->state));
	snprintf(f->auth_server, sizeof(f->auth_server), "%s", r->sign_in->name);
	snprintf(f->auth_origin, sizeof(f->auth_origin), "%s", r->sign_in->origin);
	f->auth_next_at = r->sign_in->next_at ? r->sign_in->next_at : -1;
	f->auth_breaker_changes = (int64_t)r->sign_in->changes;
	f->started_at = r->started_at;
	f->state_at = absolute(v.since_ms, now, -1);
	f->next_at = absolute(v.next_try_ms, now, 1);
	f->drop_at = absolute(v.last_drop_ms, now, -1);
	f->drop_ms = v.last_drop_ms < 0 || v.last_drop_len_ms < 0 ? -1 : v.last_drop_len_ms;
	f->in_flight = (int64_t)v.in_flight;
	f->held = (int64_t)v.held;
	f->requests = (int64_t)r->n->requests;
	f->answers = (int64_t)r->n->answers;
	f->errors = (int64_t)r->n->errors_upstream;
	f->tool_errors = (int64_t)r->stats.outcomes[OUTCOME_TOOL_ERROR];
	f->refused = sum_of(r->n->errors, ERROR_KINDS);
	f->retries = (int64_t)r->n->retries;
	f->drops = (int64_t)r->n->drops;
	f->reconnects = (int64_t)r->n->reconnects;
	f->breaker_changes = (int64_t)r->n->breaker_changes;
	f->p50_ms = hist_quantile(&r->stats.all, 0.50);
	f->p95_ms = hist_quantile(&r->stats.all, 0.95);
	f->p99_ms = hist_quantile(&r->stats.all, 0.99);
	f->idle_ms = v.idle_learned_ms;
	f->bytes_in = (int64_t)r->n->bytes_in;
	f->bytes_out = (int64_t)r->n->bytes_out;
	f->peak_kib = peak_memory();
}

static struct mark mark_now(const struct report *r, int64_t now)
{
	return (struct mark){ .at = now, .requests = r->n->requests, .answers = r->n->answers, .changes = r->changes,
		.sign_in = r->sign_in->state, .sign_in_next_at = r->sign_in->next_at };
}

static void show(struct report *r, int64_t now)
{
	struct board_facts f;

	r->shown = mark_now(r, now);
	if (r->board.fd < 0)
		return;
	fill_facts(r, &f, now);
	if (board_write(&r->board, &f) != 0)
		log_debug("the status could not be written");
}

static struct metrics_input numbers(struct report *r, struct session_view *v, int64_t now, bool ended)
{
	session_look(r->session, v, now);
	return (struct metrics_input){ .name = r->c.name, .origin = r->c.origin, .program = VERSION, .view = v, .stats = &r->stats,
		.sign_in = r->sign_in, .sign_in_next_s = r->sign_in->next_at ? loop_wall_now() + (r->sign_in->next_at - now) / 1000 : 0,
		.started_s = r->started_s, .peak_kib = peak_memory(), .log_lines_lost = log_dropped() + r->ring.lost,
		.spans_lost = r->otlp ? otlp_spans_lost(r->otlp) : 0,
		.exports_lost = r->exports_lost + (r->otlp ? otlp_exports_lost(r->otlp) : 0), .ended = ended };
}

static void export_metrics(struct report *r, int64_t now, bool ended)
{
	struct session_view v;
	struct metrics_input in = numbers(r, &v, now, ended);

	r->exported = mark_now(r, now);
	otlp_send_metrics(r->otlp, &in);
}

static void publish(struct report *r, int64_t now, bool ended)
{
	struct session_view v;
	struct metrics_input in = numbers(r, &v, now, ended);
	struct err e;

	r->published = mark_now(r, now);
	if (metrics_write(r->c.metrics_file, &in, &e) == 0) {
		r->metrics_failed = false;
		return;
	}
	r->exports_lost++;
	if (!r->metrics_failed)
		log_warn("%s; trying again", e.text);
	r->metrics_failed = true;
}

/* ---- facts --------------------------------------------------------------------------------------- */

static void on_answer(void *arg, const struct session_answer *a)
{
	struct report *r = arg;
	enum outcome o = a->own_error ? OUTCOME_OWN_ERROR : a->rpc_error ? OUTCOME_ERROR : a->tool_error ? OUTCOME_TOOL_ERROR : OUTCOME_OK;

	stats_on_answer(&r->stats, a->method, a->tool, a->latency_us_lower / 1000, o, a->rpc_error);
	if (r->otlp) {
		struct session_view v;
		unsigned generation;
		session_look(r->session, &v, 0);
		otlp_on_answer(r->otlp, a, v.version, session_headers(r->session, &generation));
	}
}

void report_on_changed(struct report *r)
{
	struct session_view v;

	r->changes++;
	if (r->n->drops == r->drops && r->n->reconnects == r->reconnects)
		return;
	session_look(r->session, &v, 0);
	if (r->n->drops != r->drops)
		stats_on_drop(&r->stats, v.last_drop_why);
	if (r->n->reconnects != r->reconnects && v.last_drop_len_ms >= 0) {
		stats_on_return(&r->stats, v.last_drop_len_ms);
		if (r->otlp)
			otlp_on_return(r->otlp, v.last_drop_len_ms, v.last_drop_why, v.last_drop_detail);
	}
	r->drops = r->n->drops;
	r->reconnects = r->n->reconnects;
}

bool report_on_http(struct report *r, const struct http_event *ev, int64_t now)
{
	if ((ev->token & (uint64_t)0xff << 56) != REPORT_TOKEN_BASE)
		return false;
	if (r->otlp)
		otlp_on_http(r->otlp, ev, now);
	return true;
}

static void add_quantiles(struct buf *b, const struct hist *h)
{
	buf_printf(b, "%" PRId64 "/%" PRId64 "/%" PRId64 " ms", hist_quantile(h, 0.5), hist_quantile(h, 0.95), hist_quantile(h, 0.99));
}

/* The busiest methods and tools. */
static void add_series(struct buf *b, const struct stats *s)
{
	bool done[sizeof(s->list) / sizeof(*s->list)] = { false };

	for (int k = 0; k < LINE_SERIES; k++) {
		size_t best = s->n;
		for (size_t i = 0; i < s->n; i++)
			if (!done[i] && (best == s->n || s->list[i]->latency.count > s->list[best]->latency.count))
				best = i;
		if (best == s->n)
			return;
		done[best] = true;
		const struct series *x = s->list[best];
		buf_printf(b, "; %s%s%s %" PRIu64 " in ", x->method, x->tool[0] ? " " : "", x->tool, x->latency.count);
		add_quantiles(b, &x->latency);
	}
}

void report_on_usr1(struct report *r, int64_t now)
{
	struct board_facts f;
	struct session_view v;
	struct buf b;

	buf_init(&b, 16 * 1024);
	fill_facts(r, &f, now);
	session_look(r->session, &v, now);
	buf_printf(&b, "counters: state=%s breaker=%s requests=%" PRId64 " answers=%" PRId64 " in_flight=%" PRId64 " held=%" PRId64
		" held_ever=%" PRIu64 " errors=%" PRId64 " tool_errors=%" PRId64 " refused=%" PRId64 " retries=%" PRId64 " resumes=%" PRIu64 " drops=%" PRId64
		" reconnects=%" PRId64 "/%" PRIu64 " handshakes=%" PRIu64 " session_losses=%" PRIu64 " breaker_changes=%" PRId64
		" auth_breaker=%s auth_breaker_changes=%" PRId64
		" late_answers=%" PRIu64 " notifications_in=%" PRIu64 " notifications_out=%" PRIu64 " server_requests=%" PRIu64
		" bytes_in=%" PRId64 " bytes_out=%" PRId64 " idle_ms=%" PRId64,
		f.state, f.breaker, f.requests, f.answers, f.in_flight, f.held, r->n->held, f.errors, f.tool_errors, f.refused, f.retries,
		r->n->resumes, f.drops, f.reconnects, r->n->reconnect_tries, r->n->handshakes, r->n->session_losses, f.breaker_changes, f.auth_breaker, f.auth_breaker_changes,
		r->n->late_answers, r->n->notifications_in, r->n->notifications_out, r->n->server_requests, f.bytes_in, f.bytes_out, f.idle_ms);
	for (int k = 0; k < ERROR_KINDS; k++)
		if (r->n->errors[k])
			buf_printf(&b, " %s=%" PRIu64, error_kind_name((enum error_kind)k), r->n->errors[k]);
	for (int k = 0; k < RETRY_WHYS; k++)
		if (r->n->retry_why[k])
			buf_printf(&b, " retry[%s]=%" PRIu64, retry_why_name((enum retry_why)k), r->n->retry_why[k]);
	for (size_t i = 0; i < r->stats.ncodes; i++)
		buf_printf(&b, " code[%" PRId64 "]=%" PRIu64, r->stats.codes[i].code, r->stats.codes[i].count);
	for (int k = 0; k < SESSION_STATES; k++) {
		int64_t ms = r->n->state_ms[k] + (k == (int)v.state ? v.since_ms : 0);
		if (ms)
			buf_printf(&b, " %s_s=%.1f", session_state_name((enum session_state)k), (double)ms / 1000);
	}
	buf_puts(&b, "; p50/p95/p99 ");
	add_quantiles(&b, &r->stats.all);
	add_series(&b, &r->stats);
	log_line(LOG_WARN, "%.*s", (int)b.len, buf_data(&b));
	buf_fini(&b);
}

/* ---- time ---------------------------------------------------------------------------------------- */

/* When something is to be written again; 0 while nothing has changed. */
static int64_t due(const struct report *r, const struct mark *m, int64_t pace_ms, int64_t now)
{
	if (m->at && m->requests == r->n->requests && m->answers == r->n->answers && m->changes == r->changes &&
	    m->sign_in == r->sign_in->state && m->sign_in_next_at == r->sign_in->next_at)
		return 0;
	return m->at && now < m->at + pace_ms ? m->at + pace_ms : now;
}

static int64_t sooner(int64_t a, int64_t b) { return !a ? b : !b ? a : a < b ? a : b; }

static int64_t export_due(const struct report *r, int64_t now)
{
	int64_t t;

	if (!r->otlp)
		return 0;
	t = otlp_takes_metrics(r->otlp) ? due(r, &r->exported, otlp_interval_ms(r->otlp), now) : 0;
	return sooner(t, otlp_deadline(r->otlp));
}

int64_t report_deadline(struct report *r, int64_t now)
{
	int64_t t;

	if (!r->session)
		return 0;
	if (!r->opened)
		return r->open_at;
	t = sooner(due(r, &r->shown, BOARD_MS, now), r->c.metrics_file ? due(r, &r->published, METRICS_MS, now) : 0);
	return sooner(t, export_due(r, now));
}

void report_on_time(struct report *r, int64_t now)
{
	int64_t t;

	if (!r->session)
		return;
	if (!r->opened && now < r->open_at)
		return;
	if (!r->opened)
		open_files(r);
	t = due(r, &r->shown, BOARD_MS, now);
	if (t && now >= t)
		show(r, now);
	t = r->c.metrics_file ? due(r, &r->published, METRICS_MS, now) : 0;
	if (t && now >= t)
		publish(r, now, false);
	if (!r->otlp)
		return;
	t = otlp_takes_metrics(r->otlp) ? due(r, &r->exported, otlp_interval_ms(r->otlp), now) : 0;
	if (t && now >= t)
		export_metrics(r, now, false);
	otlp_on_time(r->otlp, now);
}

/* ---- life ----------------------------------------------------------------------------------------- */

struct report *report_new(const struct report_config *c, int64_t now)
{
	struct report *r = calloc(1, sizeof(*r));
	struct otlp_config oc = { .name = c->name, .host = c->host, .port = c->port, .unix_socket = c->unix_socket,
		.redactor = c->redactor, .token_base = REPORT_TOKEN_BASE };
	struct err e;

	if (!r)
		return NULL;
	r->c = *c;
	r->otlp = otlp_new(&oc, &e);
	if (!r->otlp && e.text[0])
		log_warn("nothing is exported to OTEL_EXPORTER_OTLP_ENDPOINT: %s", e.text);
	r->dir = r->board.fd = -1;
	r->started_at = now;
	r->open_at = now + FIRST_MS;
	r->started_s = loop_wall_now();
	stats_init(&r->stats);
	ring_init(&r->ring, c->name);
	if (c->log_ring)
		log_set_hook(LOG_INFO, on_log_line, r);
	return r;
}

void report_attach(struct report *r, struct session *s, const struct breaker_view *sign_in, struct http *h, struct loop *l)
{
	struct session_view v;

	r->session = s;
	r->sign_in = sign_in;
	if (r->otlp)
		otlp_attach(r->otlp, h, l);
	session_look(s, &v, 0);
	r->n = v.counters;
	session_set_hook(s, on_answer, r);
}

static void finish_exports(struct report *r, int64_t limit_ms)
{
	if (!r->otlp || !r->session)
		return;
	if (otlp_takes_metrics(r->otlp))
		export_metrics(r, loop_now(), true);
	otlp_finish(r->otlp, limit_ms);
}

void report_free(struct report *r, int64_t limit_ms)
{
	if (!r)
		return;
	/* A process that ended at once: why is in its first lines. */
	if (!r->opened && r->ring.early.len)
		open_files(r);
	if (r->session && r->c.metrics_file)
		publish(r, loop_now(), true);
	finish_exports(r, limit_ms);
	otlp_free(r->otlp);
	log_set_hook(LOG_SILENT, NULL, NULL);
	if (r->session)
		session_set_hook(r->session, NULL, NULL);
	board_close(&r->board);
	ring_close(&r->ring);
	if (r->dir >= 0)
		close(r->dir);
	stats_fini(&r->stats);
	free(r);
}
