/* `mcp-holdfast status`: reads the status files of this user's bridges, shows
 * them as a table that fits 80 columns or as JSON, and removes what dead ones
 * have left. */
#include "report/status.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "io/loop.h"
#include "report/board.h"
#include "report/rundir.h"
#include "report/text.h"
#include "wire/json.h"

#define WATCH_S 1
#define MANY ((size_t)1024)

struct all {
	struct board_facts *v;
	size_t n, cap, unreadable;
	bool trouble;          /* a directory was refused */
};

/* ---- gathering ----------------------------------------------------------------------------------- */

static void take(void *arg, int dir, const char *name, long pid)
{
	struct all *a = arg;
	struct board_facts f;
	int alive = board_read(dir, name, &f);

	if (alive == 0)
		return;
	if (alive < 0 || f.pid != pid) {
		a->unreadable++;
		return;
	}
	if (a->n == a->cap) {
		size_t cap = a->cap ? 2 * a->cap : 16;
		struct board_facts *v = a->cap < MANY ? realloc(a->v, cap * sizeof(*v)) : NULL;
		if (!v)
			return;
		a->v = v;
		a->cap = cap;
	}
	a->v[a->n++] = f;
}

static int by_name(const void *x, const void *y)
{
	const struct board_facts *a = x, *b = y;
	int c = strcmp(a->name, b->name);

	return c ? c : (a->pid > b->pid) - (a->pid < b->pid);
}

static void gather(struct all *a)
{
	struct err e;

	for (int n = 0; n < RUNDIR_PLACES; n++) {
		int dir = rundir_open(n, false, &e);
		if (dir < 0 && e.text[0]) {
			fprintf(stderr, "mcp-holdfast: %s\n", e.text);
			a->trouble = true;
		}
		if (dir < 0)
			continue;
		rundir_each(dir, ".status", take, a);
		rundir_sweep(dir);
		close(dir);
	}
	if (a->n)
		qsort(a->v, a->n, sizeof(*a->v), by_name);
}

/* Resident memory in KiB; its peak where the system does not say; -1. */
static int64_t memory_of(const struct board_facts *f)
{
	char path[64], line[128];
	long pages = -1;
	FILE *in;

	snprintf(path, sizeof(path), "/proc/%" PRId64 "/statm", f->pid);
	in = fopen(path, "re");
	if (in && (!fgets(line, sizeof(line), in) || sscanf(line, "%*d %ld", &pages) != 1))
		pages = -1;
	if (in)
		fclose(in);
	return pages < 0 ? f->peak_kib : (int64_t)pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static double error_rate(const struct board_facts *f)
{
	int64_t bad = f->errors + f->tool_errors + f->refused;

	if (f->answers <= 0)
		return 0;
	return bad < f->answers ? (double)bad / (double)f->answers : 1;
}

static int64_t ago(int64_t at, int64_t now)
{
	return at < 0 ? -1 : at > now ? 0 : now - at;
}

/* ---- the table ------------------------------------------------------------------------------------- */

struct paint { const char *good, *bad, *dim, *off; };
static const struct paint colours = { "\x1b[32m", "\x1b[31;1m", "\x1b[2m", "\x1b[0m" }, plain = { "", "", "", "" };

static void add_state(struct buf *b, const struct board_facts *f, const struct paint *p)
{
	bool down = board_is_down(f), up = !strcmp(f->state, "ready");

	buf_puts(b, down ? p->bad : up ? p->good : "");
	text_column(b, span_str(f->state), 7);
	buf_puts(b, down || up ? p->off : "");
}

static void add_latencies(struct buf *b, const struct board_facts *f, size_t width)
{
	char t[3][TEXT_SHORT], all[64];

	text_duration(t[0], f->p50_ms);
	text_duration(t[1], f->p95_ms);
	text_duration(t[2], f->p99_ms);
	snprintf(all, sizeof(all), f->p50_ms < 0 ? "-" : "%s/%s/%s", t[0], t[1], t[2]);
	text_column(b, span_str(all), width);
}

static void add_row(struct buf *b, const struct board_facts *f, const struct paint *p, int64_t now)
{
	char since[TEXT_SHORT], memory[TEXT_SHORT], load[32], rate[16];

	text_duration(since, ago(f->state_at, now));
	text_size(memory, memory_of(f));
	size_t wide = (size_t)snprintf(load, sizeof(load), "%" PRId64 "/%" PRId64, f->in_flight, f->held);
	double bad = 100 * error_rate(f);
	snprintf(rate, sizeof(rate), bad < 99.95 ? "%.1f%%" : "%.0f%%", bad);
	wide = wide > 5 ? wide - 5 : 0; /* a long queue takes room from the latencies */
	text_column(b, span_str(f->name), 17);
	buf_printf(b, " %7" PRId64 " ", f->pid);
	add_state(b, f, p);
	buf_printf(b, "%6s %5s ", since, load);
	add_latencies(b, f, wide < 20 ? 21 - wide : 1);
	buf_printf(b, " %5s %6s\n", rate, memory);
}

static void add_where(struct buf *b, const struct board_facts *f, const struct paint *p)
{
	buf_printf(b, "  %s", p->dim);
	text_clean(b, span_str(f->origin), 40);
	if (strcmp(f->transport, "none") != 0) {
		buf_puts(b, ", ");
		text_clean(b, span_str(f->transport), 16);
		buf_puts(b, f->protocol[0] ? " " : "");
		text_clean(b, span_str(f->protocol), 12);
	}
	buf_printf(b, "%s\n", p->off);
}

/* A server that gives tokens and is away. It is asked when a token is wanted. */
static void add_sign_in(struct buf *b, const struct board_facts *f, const struct paint *p, int64_t now)
{
	char next[TEXT_SHORT];

	if (!f->auth_breaker[0] || !strcmp(f->auth_breaker, "closed"))
		return;
	buf_printf(b, "  %ssign-in at ", p->dim);
	text_clean(b, span_str(f->auth_origin), 28);
	buf_puts(b, ": breaker ");
	text_clean(b, span_str(f->auth_breaker), 12);
	text_duration(next, f->auth_next_at - now);
	if (f->auth_next_at > now)
		buf_printf(b, ", next try in %s", next);
	else if (f->auth_next_at >= 0)
		buf_puts(b, ", next try on demand");
	buf_printf(b, "%s\n", p->off);
}

/* What went wrong, and what comes next: only when there is something to say. */
static void add_story(struct buf *b, const struct board_facts *f, const struct paint *p, int64_t now)
{
	char when[TEXT_SHORT], length[TEXT_SHORT], next[TEXT_SHORT];

	if (f->drop_at >= 0) {
		text_duration(when, ago(f->drop_at, now));
		text_duration(length, f->drop_ms);
		if (f->drop_ms < 0)
			buf_printf(b, "  %slost %s ago: ", p->dim, when);
		else
			buf_printf(b, "  %slost %s ago for %s: ", p->dim, when, length);
		text_clean(b, span_str(f->why[0] ? f->why : "unknown"), 48);
		buf_printf(b, "%s\n", p->off);
	}
	if (f->reconnects || strcmp(f->breaker, "closed") != 0 || f->next_at >= 0) {
		buf_printf(b, "  %s%" PRId64 " reconnects, breaker ", p->dim, f->reconnects);
		text_clean(b, span_str(f->breaker), 12);
		if (f->next_at >= 0) {
			text_duration(next, f->next_at > now ? f->next_at - now : 0);
			buf_printf(b, ", next try in %s", next);
		}
		buf_printf(b, "%s\n", p->off);
	}
	add_sign_in(b, f, p, now);
	if (board_was_refused(f))
		buf_printf(b, "  %sinitialize was refused: see 'mcp-holdfast log %" PRId64 "'%s\n", p->bad, f->pid, p->off);
	if (!strcmp(f->state, "auth"))
		buf_printf(b, "  %sa sign-in is wanted: see 'mcp-holdfast log %" PRId64 "' or 'mcp-holdfast login'%s\n", p->bad, f->pid, p->off);
}

static void add_table(struct buf *b, const struct all *a, const struct paint *p, int64_t now)
{
	char path[1024];

	if (!a->n) {
		buf_puts(b, "No bridge of this user is running.");
		if (rundir_path(0, path, sizeof(path)) || rundir_path(1, path, sizeof(path)))
			buf_printf(b, " (Looked in %s.)", path);
		buf_puts(b, "\n");
		return;
	}
	buf_puts(b, "NAME                  PID STATE     FOR  LOAD P50/P95/P99             ERR MEMORY\n");
	for (size_t i = 0; i < a->n; i++) {
		add_row(b, &a->v[i], p, now);
		add_where(b, &a->v[i], p);
		add_story(b, &a->v[i], p, now);
	}
}

/* ---- JSON ------------------------------------------------------------------------------------------- */

static void add_text(struct buf *b, const char *key, const char *value)
{
	buf_printf(b, "\"%s\":", key);
	if (value[0])
		json_quote(b, span_str(value));
	else
		buf_puts(b, "null");
	buf_puts(b, ",");
}

static void add_number(struct buf *b, const char *key, int64_t value)
{
	if (value < 0)
		buf_printf(b, "\"%s\":null,", key);
	else
		buf_printf(b, "\"%s\":%" PRId64 ",", key, value);
}

static void add_object(struct buf *b, const struct board_facts *f, int64_t now)
{
	buf_puts(b, "{");
	add_text(b, "name", f->name);
	add_number(b, "pid", f->pid);
	add_text(b, "version", f->program);
	add_text(b, "origin", f->origin);
	add_text(b, "transport", strcmp(f->transport, "none") ? f->transport : "");
	add_text(b, "protocol", f->protocol);
	add_text(b, "state", f->state);
	buf_printf(b, "\"down\":%s,", board_is_down(f) ? "true" : "false");
	add_number(b, "stateMs", ago(f->state_at, now));
	add_number(b, "uptimeMs", ago(f->started_at, now));
	if (f->drop_at < 0) {
		buf_puts(b, "\"lastDrop\":null,");
	} else {
		buf_puts(b, "\"lastDrop\":{");
		add_text(b, "why", f->why);
		add_number(b, "lengthMs", f->drop_ms);
		buf_printf(b, "\"agoMs\":%" PRId64 "},", ago(f->drop_at, now));
	}
	add_number(b, "nextTryMs", f->next_at < 0 ? -1 : f->next_at > now ? f->next_at - now : 0);
	add_text(b, "breaker", f->breaker);
	add_number(b, "breakerChanges", f->breaker_changes);
	add_text(b, "authBreaker", f->auth_breaker);
	add_number(b, "authBreakerChanges", f->auth_breaker_changes);
	add_text(b, "authServer", f->auth_server);
	add_text(b, "authOrigin", f->auth_origin);
	add_number(b, "authNextTryMs", f->auth_next_at < 0 ? -1 : f->auth_next_at > now ? f->auth_next_at - now : 0);
	add_number(b, "drops", f->drops);
	add_number(b, "reconnects", f->reconnects);
	add_number(b, "inFlight", f->in_flight);
	add_number(b, "held", f->held);
	add_number(b, "requests", f->requests);
	add_number(b, "answers", f->answers);
	add_number(b, "errors", f->errors);
	add_number(b, "toolErrors", f->tool_errors);
	add_number(b, "refused", f->refused);
	add_number(b, "retries", f->retries);
	buf_printf(b, "\"errorRate\":%.4f,", error_rate(f));
	add_number(b, "p50Ms", f->p50_ms);
	add_number(b, "p95Ms", f->p95_ms);
	add_number(b, "p99Ms", f->p99_ms);
	add_number(b, "idleLimitMs", f->idle_ms > 0 ? f->idle_ms : -1);
	add_number(b, "bytesIn", f->bytes_in);
	add_number(b, "bytesOut", f->bytes_out);
	buf_printf(b, "\"memoryKiB\":%" PRId64 "}", memory_of(f));
}

static void add_json(struct buf *b, const struct all *a, int64_t now)
{
	buf_puts(b, "[");
	for (size_t i = 0; i < a->n; i++) {
		if (i)
			buf_puts(b, ",\n ");
		add_object(b, &a->v[i], now);
	}
	buf_puts(b, "]\n");
}

/* ---- the command ------------------------------------------------------------------------------------- */

static bool any_down(const struct all *a)
{
	for (size_t i = 0; i < a->n; i++)
		if (board_is_down(&a->v[i]))
			return true;
	return false;
}

static int once(bool json, bool clear, const struct paint *p)
{
	struct all a = { 0 };
	struct buf b;
	int status;

	gather(&a);
	buf_init(&b, (size_t)16 << 20);
	if (clear)
		buf_puts(&b, "\x1b[H\x1b[J");
	if (json)
		add_json(&b, &a, loop_now());
	else
		add_table(&b, &a, p, loop_now());
	if (a.unreadable)
		fprintf(stderr, "mcp-holdfast: %zu status files could not be read; those bridges are of another version, or the disk is full\n", a.unreadable);
	status = any_down(&a) || (a.trouble && !a.n);
	if (fwrite(buf_data(&b), 1, b.len, stdout) != b.len || fflush(stdout) != 0)
		status = 1;
	buf_fini(&b);
	free(a.v);
	return status;
}

int status_run(bool json, bool watch)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
	bool tty = isatty(STDOUT_FILENO), colour = tty && !(no && no[0]) && !(term && !strcmp(term, "dumb"));

	if (!watch)
		return once(json, false, colour ? &colours : &plain);
	for (;;) {
		once(json, tty && !json, colour ? &colours : &plain);
		if (ferror(stdout))
			return 1;
		sleep(WATCH_S);
	}
}
