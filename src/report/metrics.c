/* The published numbers, and the Prometheus file made of them. Label values
 * are bounded by stats.h; a name that a server or a client chose is escaped. */
#include "report/metrics.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX ((size_t)4 << 20)

/* ---- the numbers ---------------------------------------------------------------------------------- */

static void one(const struct metrics_sink *k, const struct metric *m, double v)
{
	k->begin(k->arg, m);
	k->value(k->arg, m, NULL, 0, v);
}

static void walk_requests(const struct metrics_input *in, const struct metrics_sink *k)
{
	static const struct metric total = { "requests_total", "mcp_holdfast.requests", "{request}",
		"Requests of the client that were answered, by method, tool and outcome.", METRIC_COUNTER };
	static const struct metric took = { "request_duration_seconds", "mcp.client.operation.duration", "s",
		"Time from a request of the client to its answer.", METRIC_HISTOGRAM };
	const struct stats *s = in->stats;

	k->begin(k->arg, &total);
	for (size_t i = 0; i < s->n; i++) {
		for (int o = 0; o < OUTCOMES; o++) {
			const struct label l[] = { { "method", "mcp.method.name", s->list[i]->method }, { "tool", "gen_ai.tool.name", s->list[i]->tool },
				{ "outcome", "outcome", outcome_name((enum outcome)o) } };
			if (s->list[i]->outcomes[o])
				k->value(k->arg, &total, l, 3, (double)s->list[i]->outcomes[o]);
		}
	}
	k->begin(k->arg, &took);
	for (size_t i = 0; i < s->n; i++) {
		const struct label l[] = { { "method", "mcp.method.name", s->list[i]->method }, { "tool", "gen_ai.tool.name", s->list[i]->tool } };
		k->histogram(k->arg, &took, l, 2, &s->list[i]->latency);
	}
}

static void walk_errors(const struct metrics_input *in, const struct metrics_sink *k)
{
	static const struct metric own = { "errors_total", "mcp_holdfast.errors", "{error}",
		"Requests that the bridge answered with an error of its own, by kind.", METRIC_COUNTER };
	static const struct metric rpc = { "jsonrpc_errors_total", "mcp_holdfast.jsonrpc_errors", "{error}",
		"JSON-RPC errors of the server that were passed on, by code.", METRIC_COUNTER };
	const struct stats *s = in->stats;

	k->begin(k->arg, &own);
	for (int i = 0; i < ERROR_KINDS; i++) {
		const struct label l = { "kind", "error.type", error_kind_name((enum error_kind)i) };
		k->value(k->arg, &own, &l, 1, (double)in->view->counters->errors[i]);
	}
	k->begin(k->arg, &rpc);
	for (size_t i = 0; i <= STATS_CODES; i++) {
		char code[24];
		const struct label l = { "code", "rpc.jsonrpc.error_code", i < STATS_CODES ? code : STATS_OTHER };
		snprintf(code, sizeof(code), "%" PRId64, s->codes[i].code);
		if (s->codes[i].count)
			k->value(k->arg, &rpc, &l, 1, (double)s->codes[i].count);
	}
}

static void walk_line(const struct metrics_input *in, const struct metrics_sink *k)
{
	static const struct metric again = { "retries_total", "mcp_holdfast.retries", "{retry}", "Requests that were sent again, by reason.", METRIC_COUNTER };
	static const struct metric drops = { "drops_total", "mcp_holdfast.drops", "{drop}", "Losses of the connection, by cause.", METRIC_COUNTER };
	static const struct metric outage = { "outage_duration_seconds", "mcp_holdfast.outage.duration", "s",
		"Time from a loss of the connection to its return.", METRIC_HISTOGRAM };
	static const struct metric state = { "state_seconds_total", "mcp_holdfast.state.time", "s", "Time spent in each state.", METRIC_COUNTER };
	const struct stats *s = in->stats;
	const struct session_view *v = in->view;

	k->begin(k->arg, &again);
	for (int i = 0; i < RETRY_WHYS; i++) {
		const struct label l = { "reason", "reason", retry_why_name((enum retry_why)i) };
		k->value(k->arg, &again, &l, 1, (double)v->counters->retry_why[i]);
	}
	k->begin(k->arg, &drops);
	for (size_t i = 0; i <= STATS_CAUSES; i++) {
		const struct label l = { "cause", "cause", i < STATS_CAUSES ? s->causes[i].why : STATS_OTHER };
		if (s->causes[i].count)
			k->value(k->arg, &drops, &l, 1, (double)s->causes[i].count);
	}
	k->begin(k->arg, &outage);
	k->histogram(k->arg, &outage, NULL, 0, &s->outages);
	k->begin(k->arg, &state);
	for (int i = 0; i < SESSION_STATES; i++) {
		const struct label l = { "state", "state", session_state_name((enum session_state)i) };
		int64_t ms = v->counters->state_ms[i] + (i == (int)v->state ? v->since_ms : 0);
		if (i != SESSION_END)
			k->value(k->arg, &state, &l, 1, (double)ms / 1000);
	}
}

static void walk_scalars(const struct metrics_input *in, const struct metrics_sink *k)
{
	const struct session_view *v = in->view;
	const struct session_counters *n = v->counters;
	const struct { struct metric m; double v; } all[] = {
		{ { "up", "mcp_holdfast.up", "1", "1 while requests can be served.", METRIC_GAUGE }, v->state == SESSION_READY && !in->ended },
		{ { "start_time_seconds", NULL, "s", "When the bridge started, in seconds since the epoch.", METRIC_GAUGE }, (double)in->started_s },
		{ { "in_flight_requests", "mcp_holdfast.in_flight", "{request}", "Requests at the server.", METRIC_GAUGE }, (double)v->in_flight },
		{ { "held_requests", "mcp_holdfast.held", "{request}", "Requests that wait for the line.", METRIC_GAUGE }, (double)v->held },
		{ { "breaker_open", "mcp_holdfast.breaker.open", "1", "1 while the circuit breaker is open.", METRIC_GAUGE }, v->breaker == BREAKER_OPEN },
		{ { "breaker_changes_total", "mcp_holdfast.breaker.changes", "{change}", "Changes of the circuit breaker.", METRIC_COUNTER }, (double)n->breaker_changes },
		{ { "auth_breaker_open", "mcp_holdfast.auth.breaker.open", "1", "1 while the circuit breaker of a server that gives tokens is open.", METRIC_GAUGE }, in->sign_in->state == BREAKER_OPEN },
		{ { "auth_breaker_next_try_timestamp_seconds", "mcp_holdfast.auth.breaker.next_try", "s", "When that server may be asked again, in seconds since the epoch; 0 while none is open.", METRIC_GAUGE }, (double)in->sign_in_next_s },
		{ { "auth_breaker_changes_total", "mcp_holdfast.auth.breaker.changes", "{change}", "Changes of the circuit breakers of servers that give tokens.", METRIC_COUNTER }, (double)in->sign_in->changes },
		{ { "reconnect_attempts_total", "mcp_holdfast.reconnect.attempts", "{attempt}", "Attempts to reconnect.", METRIC_COUNTER }, (double)n->reconnect_tries },
		{ { "reconnects_total", "mcp_holdfast.reconnects", "{reconnect}", "Times the connection came back.", METRIC_COUNTER }, (double)n->reconnects },
		{ { "requests_held_total", "mcp_holdfast.requests.held", "{request}", "Requests that had to wait for the line.", METRIC_COUNTER }, (double)n->held },
		{ { "resumes_total", "mcp_holdfast.resumes", "{resume}", "Response streams that were taken up again.", METRIC_COUNTER }, (double)n->resumes },
		{ { "session_losses_total", "mcp_holdfast.session.losses", "{session}", "Sessions that the server lost.", METRIC_COUNTER }, (double)n->session_losses },
		{ { "received_bytes_total", "mcp_holdfast.received", "By", "Bytes of responses from the server.", METRIC_COUNTER }, (double)n->bytes_in },
		{ { "delivered_bytes_total", "mcp_holdfast.delivered", "By", "Bytes of messages to the client.", METRIC_COUNTER }, (double)n->bytes_out },
		{ { "idle_limit_seconds", "mcp_holdfast.idle_limit", "s", "Quiet time after which something cuts the line; 0 while none is known.", METRIC_GAUGE }, (double)v->idle_learned_ms / 1000 },
		{ { "memory_peak_bytes", "mcp_holdfast.memory.peak", "By", "Largest resident memory so far.", METRIC_GAUGE }, (double)in->peak_kib * 1024 },
		{ { "log_lines_lost_total", "mcp_holdfast.log_lines.lost", "{line}", "Log lines that could not be kept.", METRIC_COUNTER }, (double)in->log_lines_lost },
		{ { "spans_lost_total", "mcp_holdfast.spans.lost", "{span}", "Spans that could not be exported.", METRIC_COUNTER }, (double)in->spans_lost },
		{ { "exports_lost_total", "mcp_holdfast.exports.lost", "{export}", "Exports and metrics files that failed.", METRIC_COUNTER }, (double)in->exports_lost },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(*all); i++)
		one(k, &all[i].m, all[i].v);
}

void metrics_walk(const struct metrics_input *in, const struct metrics_sink *k)
{
	walk_scalars(in, k);
	walk_requests(in, k);
	walk_errors(in, k);
	walk_line(in, k);
}

/* ---- Prometheus ------------------------------------------------------------------------------------- */

struct prom {
	struct buf *out;
	const char *bridge;
	int bad;
};

/* Label values: \, " and newline are escaped (exposition formats, "Text format details"). */
static void add_value(struct prom *p, const char *s)
{
	for (; *s; s++) {
		if (*s == '\\' || *s == '"')
			p->bad |= buf_printf(p->out, "\\%c", *s);
		else if (*s == '\n')
			p->bad |= buf_puts(p->out, "\\n");
		else
			p->bad |= buf_append(p->out, s, 1);
	}
}

/* le NULL: none. */
static void add_name(struct prom *p, const struct metric *m, const char *suffix, const struct label *l, size_t n, const char *le)
{
	p->bad |= buf_printf(p->out, "mcp_holdfast_%s%s{bridge=\"", m->name, suffix);
	add_value(p, p->bridge);
	for (size_t i = 0; i < n; i++) {
		p->bad |= buf_printf(p->out, "\",%s=\"", l[i].key);
		add_value(p, l[i].value);
	}
	p->bad |= le ? buf_printf(p->out, "\",le=\"%s\"} ", le) : buf_puts(p->out, "\"} ");
}

static void prom_begin(void *arg, const struct metric *m)
{
	static const char *const types[] = { "counter", "gauge", "histogram" };
	struct prom *p = arg;

	p->bad |= buf_printf(p->out, "# HELP mcp_holdfast_%s %s\n# TYPE mcp_holdfast_%s %s\n", m->name, m->help, m->name, types[m->kind]);
}

static void prom_value(void *arg, const struct metric *m, const struct label *l, size_t n, double v)
{
	struct prom *p = arg;

	add_name(p, m, "", l, n, NULL);
	p->bad |= buf_printf(p->out, "%.15g\n", v);
}

static void prom_histogram(void *arg, const struct metric *m, const struct label *l, size_t n, const struct hist *h)
{
	struct prom *p = arg;
	char le[32];

	for (size_t i = 0; i < HIST_PUBLISHED; i++) {
		snprintf(le, sizeof(le), "%g", (double)hist_published[i] / 1000);
		add_name(p, m, "_bucket", l, n, le);
		p->bad |= buf_printf(p->out, "%" PRIu64 "\n", hist_at_most(h, hist_published[i]));
	}
	add_name(p, m, "_bucket", l, n, "+Inf");
	p->bad |= buf_printf(p->out, "%" PRIu64 "\n", h->count);
	add_name(p, m, "_sum", l, n, NULL);
	p->bad |= buf_printf(p->out, "%.15g\n", (double)h->sum_ms / 1000);
	add_name(p, m, "_count", l, n, NULL);
	p->bad |= buf_printf(p->out, "%" PRIu64 "\n", h->count);
}

int metrics_format(struct buf *out, const struct metrics_input *in)
{
	struct prom p = { .out = out, .bridge = in->name };
	const struct metrics_sink k = { &p, prom_begin, prom_value, prom_histogram };
	static const struct metric info = { "info", NULL, "1", "Which server this bridge is for.", METRIC_GAUGE };
	const struct label l[] = { { "origin", "", in->origin }, { "version", "", in->program }, { "transport", "", era_name(in->view->era) } };

	prom_begin(&p, &info);
	prom_value(&p, &info, l, 3, 1);
	metrics_walk(in, &k);
	return p.bad ? -1 : 0;
}

/* ---- the file ----------------------------------------------------------------------------------------- */

static int write_whole(int fd, struct span s)
{
	while (s.n) {
		ssize_t n = write(fd, s.p, s.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		s.p += n;
		s.n -= (size_t)n;
	}
	return 0;
}

int metrics_write(const char *path, const struct metrics_input *in, struct err *e)
{
	char aside[4096];
	struct buf text;
	struct stat st;
	int fd = -1, n = snprintf(aside, sizeof(aside), "%s.%ld", path, (long)getpid());

	if (n < 0 || (size_t)n >= sizeof(aside))
		return err_set(e, "the name of the metrics file is too long");
	buf_init(&text, TEXT_MAX);
	if (metrics_format(&text, in) != 0) {
		buf_fini(&text);
		return err_set(e, "out of memory for the metrics");
	}
	unlink(aside);
	fd = open(aside, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		goto failed;
	if (write_whole(fd, buf_span(&text)) != 0 || fchmod(fd, stat(path, &st) == 0 ? st.st_mode & 0777 : 0644) != 0)
		goto failed;
	if (rename(aside, path) != 0)
		goto failed;
	close(fd);
	buf_fini(&text);
	return 0;
failed:
	err_set(e, "can not write the metrics file %s (%s)", path, strerror(errno));
	if (fd >= 0) {
		unlink(aside);
		close(fd);
	}
	buf_fini(&text);
	return -1;
}
