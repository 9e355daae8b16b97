/* `mcp-holdfast log`: prints the log rings of running and lately ended bridges. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/err.h"
#include "report/ring.h"
#include "report/rundir.h"
#include "report/status.h"
#include "report/text.h"

#define MANY 256
#define FOLLOW_MS 250
#define TAIL 12 /* lines of each when nobody in particular was asked for */

struct source {
	int fd;
	long pid;
	time_t changed;
	uint64_t at;
	struct ring_view view;
};

struct sources {
	const char *target;
	struct source v[MANY];
	size_t n;
	struct buf names; /* of those that do not match, for the message */
};

/* ---- which ------------------------------------------------------------------------------------------ */

/* A long name was cut to fit its file. */
static bool wanted(const char *target, long pid, const char *name, size_t kept)
{
	char number[24];

	if (!target)
		return true;
	snprintf(number, sizeof(number), "%ld", pid);
	return !strcmp(target, number) || !strncmp(target, name, kept);
}

static void take(void *arg, int dir, const char *file, long pid)
{
	struct sources *s = arg;
	struct source *x = &s->v[s->n];
	struct stat st;
	int fd;

	if (s->n == MANY)
		return;
	fd = rundir_file(dir, file);
	if (fd < 0)
		return;
	if (fstat(fd, &st) != 0 || ring_look(fd, &x->view) != 0) {
		close(fd);
		return;
	}
	if (!wanted(s->target, pid, x->view.name, sizeof(x->view.name) - 1)) {
		if (s->names.len)
			buf_puts(&s->names, ", ");
		text_clean(&s->names, span_str(x->view.name), 60);
		buf_printf(&s->names, " (%ld)", pid);
		close(fd);
		return;
	}
	x->fd = fd;
	x->pid = pid;
	x->changed = st.st_mtime;
	x->at = 0;
	s->n++;
}

/* The living last, and of those the one that spoke last. */
static int by_time(const void *p, const void *q)
{
	const struct source *a = p, *b = q;

	if (a->view.live != b->view.live)
		return a->view.live ? 1 : -1;
	return (a->changed > b->changed) - (a->changed < b->changed);
}

static int gather(struct sources *s)
{
	int trouble = 0;
	struct err e;

	for (int n = 0; n < RUNDIR_PLACES; n++) {
		int dir = rundir_open(n, false, &e);
		if (dir < 0 && e.text[0]) {
			fprintf(stderr, "mcp-holdfast: %s\n", e.text);
			trouble = -1;
		}
		if (dir < 0)
			continue;
		rundir_each(dir, ".log", take, s);
		close(dir);
	}
	qsort(s->v, s->n, sizeof(*s->v), by_time);
	return trouble;
}

/* ---- showing ---------------------------------------------------------------------------------------- */

/* Lines were made safe for a terminal when they were written; the file may have been changed since. */
static void print_lines(struct span text)
{
	while (text.n) {
		const char *nl = memchr(text.p, '\n', text.n);
		size_t n = nl ? (size_t)(nl - text.p) : text.n;
		struct buf line;

		buf_init(&line, 8 * RING_LINE);
		if (text_clean(&line, span_make(text.p, n), RING_LINE) == 0)
			fwrite(buf_span(&line).p, 1, line.len, stdout);
		putchar('\n');
		buf_fini(&line);
		text.p += nl ? n + 1 : n;
		text.n -= nl ? n + 1 : n;
	}
}

static struct span last_lines(struct span text, int n)
{
	size_t at = text.n;

	while (at > 0 && n >= 0)
		if (text.p[--at] == '\n' && n-- == 0)
			return span_make(text.p + at + 1, text.n - at - 1);
	return text;
}

/* max: so many lines at the end; 0: all. head: says whose they are. */
static void show(struct source *s, int max, bool head)
{
	struct buf text;
	struct span lines;

	buf_init(&text, 2 * RING_DATA);
	if (ring_read(s->fd, &s->at, &text) != 0 && !text.len)
		fprintf(stderr, "mcp-holdfast: the log of process %ld is damaged\n", s->pid);
	if (head && text.len) {
		struct buf name;
		buf_init(&name, 1024);
		text_clean(&name, span_str(s->view.name), 60);
		printf("==> %.*s (%ld%s) <==\n", (int)name.len, buf_span(&name).p, s->pid, s->view.live ? "" : ", ended");
		buf_fini(&name);
	}
	lines = buf_span(&text);
	print_lines(max ? last_lines(lines, max) : lines);
	buf_fini(&text);
}

static int not_found(const struct sources *s)
{
	if (!s->target)
		fprintf(stderr, "mcp-holdfast: no bridge of this user has left a log (is it started with --no-log-ring?)\n");
	else if (s->names.len)
		fprintf(stderr, "mcp-holdfast: no log of '%s'; there are: %.*s\n", s->target, (int)s->names.len, buf_data(&s->names));
	else
		fprintf(stderr, "mcp-holdfast: no log of '%s', and none of any other bridge of this user\n", s->target);
	return 1;
}

/* A pipe to a program that has ended: told without a line to write. */
static bool is_unread(void)
{
	struct pollfd out = { .fd = STDOUT_FILENO };

	return poll(&out, 1, 0) > 0 && (out.revents & (POLLERR | POLLHUP));
}

static void follow(struct sources *s)
{
	const struct timespec pause = { 0, FOLLOW_MS * 1000000L };
	bool more = true;

	while (more && !ferror(stdout) && !is_unread()) {
		nanosleep(&pause, NULL);
		more = false;
		for (size_t i = 0; i < s->n; i++) {
			struct ring_view v;
			/* First whether it lives: what it says in dying is read then. */
			bool live = ring_look(s->v[i].fd, &v) == 0 && v.live;
			show(&s->v[i], 0, s->n > 1);
			more |= live;
		}
		fflush(stdout);
	}
}

int logview_run(const char *target, bool following)
{
	struct sources *s = calloc(1, sizeof(*s));
	int status = 0;

	if (!s) {
		fprintf(stderr, "mcp-holdfast: out of memory\n");
		return 1;
	}
	s->target = target;
	buf_init(&s->names, 4096);
	gather(s);
	if (!s->n)
		status = not_found(s);
	for (size_t i = 0; i < s->n; i++)
		show(&s->v[i], !target && s->n > 1 ? TAIL : 0, s->n > 1);
	if (fflush(stdout) != 0)
		status = 1;
	if (following && status == 0)
		follow(s);
	for (size_t i = 0; i < s->n; i++)
		close(s->v[i].fd);
	buf_fini(&s->names);
	free(s);
	return status;
}
