/* The log. A line is formatted, redacted, escaped so that it is one line, and
 * only then cut to LOG_LINE_MAX: a cut never uncovers the rest of a secret. A
 * line that can not be redacted for want of memory is not written.
 *
 * stderr is never waited for. A line it does not take is lost to it (not to
 * the file or the hook) and counted; a line it takes in part is finished before
 * the next one begins. One thread writes the log. Besides the loop this is the
 * only reader of a clock: the wall clock for stamps, the monotonic one to tell
 * a repeat. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/nbfd.h"

#define LOG_TEXT_MAX ((size_t)256 * 1024) /* formatted and redacted */
#define LOG_LINE_MAX ((size_t)8 * 1024)   /* of the message, in a written line */
#define LOG_FORMATS 32                    /* formats whose repeats are counted */

struct repeat {
	const char *fmt;    /* by address: a format is a literal */
	enum log_level level;
	int allowance;      /* lines that may go out now */
	int64_t refilled_ms;
	int64_t used_ms;
	uint64_t left_out;  /* since the last line that went out */
};

static struct {
	bool open;
	struct log_config c;
	char *name;
	int file; /* -1: none */
	struct nbfd err;
	struct buf rest; /* of a line that stderr took in part */
	uint64_t dropped, dropped_said;
	enum log_level hook_max;
	void (*hook)(void *arg, enum log_level l, struct span line);
	void *hook_arg;
	bool in_hook;
	struct repeat repeats[LOG_FORMATS];
} lg = { .file = -1, .err = { .fd = -1 } };

static const char *const level_names[] = {
	[LOG_SILENT] = "silent", [LOG_ERROR] = "error", [LOG_WARN] = "warn",
	[LOG_INFO] = "info", [LOG_DEBUG] = "debug", [LOG_TRACE] = "trace",
};
#define LEVELS (sizeof(level_names) / sizeof(level_names[0]))

int log_level_parse(const char *s)
{
	for (size_t i = 0; i < LEVELS; i++)
		if (strcmp(s, level_names[i]) == 0)
			return (int)i;
	return -1;
}

const char *log_level_name(enum log_level l)
{
	return (size_t)l < LEVELS ? level_names[l] : "?";
}

bool log_wants(enum log_level l)
{
	if (l == LOG_SILENT || !lg.open)
		return false;
	return l <= lg.c.level || (lg.hook && l <= lg.hook_max);
}

static int64_t now_ms(void)
{
	struct timespec ts = { 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void stamp(char *out, size_t n)
{
	struct timespec ts = { 0 };
	struct tm tm;
	size_t len;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	len = strftime(out, n, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + len, n - len, ".%03ldZ", ts.tv_nsec / 1000000);
}

/* ---- building a line ---- */

/* Length of the well-formed UTF-8 sequence at p that is neither a control
 * character nor a line separator; 0 when there is none (RFC 3629). */
static size_t printable(const unsigned char *p, size_t n)
{
	uint32_t c = p[0], least;
	size_t len;

	if (c < 0x80)
		return c >= 0x20 && c != 0x7f;
	if (c >= 0xc2 && c <= 0xdf)
		len = 2, c &= 0x1f, least = 0xa0; /* below: C1 controls */
	else if ((c & 0xf0) == 0xe0)
		len = 3, c &= 0x0f, least = 0x800;
	else if (c >= 0xf0 && c <= 0xf4)
		len = 4, c &= 0x07, least = 0x10000;
	else
		return 0;
	if (len > n)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((p[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (p[i] & 0x3f);
	}
	if (c < least || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff) || c == 0x2028 || c == 0x2029)
		return 0;
	return len;
}

static int add_escaped_byte(struct buf *b, unsigned char c)
{
	if (c == '\n')
		return buf_puts(b, "\\n");
	if (c == '\r')
		return buf_puts(b, "\\r");
	if (c == '\t')
		return buf_puts(b, "\\t");
	/* JSON has no escape for a byte that is not text. */
	if (lg.c.json)
		return c < 0x80 ? buf_printf(b, "\\u%04x", c) : buf_puts(b, "\\ufffd");
	return buf_printf(b, "\\x%02x", c);
}

/* Appends s on one line, safe for a terminal and, in JSON, inside quotes. */
static int add_escaped(struct buf *b, struct span s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t from = 0, i = 0;

	while (i < s.n) {
		size_t len = printable(p + i, s.n - i);
		bool quote = lg.c.json && (p[i] == '"' || p[i] == '\\');

		if (len > 0 && !quote) {
			i += len;
			continue;
		}
		if (buf_append(b, p + from, i - from) < 0)
			return -1;
		if (quote ? buf_printf(b, "\\%c", p[i]) < 0 : add_escaped_byte(b, p[i]) < 0)
			return -1;
		from = ++i;
	}
	return buf_append(b, p + from, i - from);
}

static int add_redacted(struct buf *b, struct span text)
{
	struct buf clean;
	size_t cut;
	int rc = -1;

	buf_init(&clean, LOG_TEXT_MAX * 8); /* a mark is longer than a short secret */
	if (redact_text(lg.c.redactor, text, &clean) < 0)
		goto out;
	cut = clean.len < LOG_LINE_MAX ? clean.len : LOG_LINE_MAX;
	/* Not in the middle of a character. */
	while (cut < clean.len && cut > 0 && ((unsigned char)buf_data(&clean)[cut] & 0xc0) == 0x80)
		cut--;
	if (add_escaped(b, span_make(buf_data(&clean), cut)) < 0)
		goto out;
	rc = cut < clean.len ? buf_printf(b, " [%zu bytes more]", clean.len - cut) : 0;
out:
	buf_fini(&clean);
	return rc;
}

static int add_text_line(struct buf *b, enum log_level l, const struct log_fields *f, struct span msg)
{
	char when[40];

	stamp(when, sizeof(when));
	if (buf_printf(b, "%s %-5s [%ld", when, log_level_name(l), (long)getpid()) < 0)
		return -1;
	if (lg.name && (buf_puts(b, " ") < 0 || add_redacted(b, span_str(lg.name)) < 0))
		return -1;
	if (buf_puts(b, "] ") < 0 || add_redacted(b, msg) < 0)
		return -1;
	if ((f->attempt > 0 && buf_printf(b, " attempt=%d", f->attempt) < 0) ||
	    (f->circuit && buf_printf(b, " circuitState=%s", f->circuit) < 0) ||
	    (f->latency_ms > 0 && buf_printf(b, " latencyMs=%" PRId64, f->latency_ms) < 0) ||
	    (f->ref && buf_printf(b, " ref=%s", f->ref) < 0))
		return -1;
	return 0;
}

static int add_json_string(struct buf *b, const char *key, struct span value)
{
	if (buf_printf(b, ",\"%s\":\"", key) < 0 || add_redacted(b, value) < 0)
		return -1;
	return buf_puts(b, "\"");
}

static int add_json_line(struct buf *b, enum log_level l, const struct log_fields *f, struct span msg)
{
	char when[40];

	stamp(when, sizeof(when));
	if (buf_printf(b, "{\"ts\":\"%s\",\"level\":\"%s\",\"pid\":%ld", when, log_level_name(l), (long)getpid()) < 0)
		return -1;
	if ((lg.name && add_json_string(b, "name", span_str(lg.name)) < 0) || add_json_string(b, "msg", msg) < 0)
		return -1;
	if ((f->attempt > 0 && buf_printf(b, ",\"attempt\":%d", f->attempt) < 0) ||
	    (f->circuit && add_json_string(b, "circuitState", span_str(f->circuit)) < 0) ||
	    (f->latency_ms > 0 && buf_printf(b, ",\"latencyMs\":%" PRId64, f->latency_ms) < 0) ||
	    (f->ref && add_json_string(b, "ref", span_str(f->ref)) < 0))
		return -1;
	return buf_puts(b, "}");
}

/* Appends a whole line and its newline; on failure b is as it was. */
static int add_line(struct buf *b, enum log_level l, const struct log_fields *f, struct span msg)
{
	static const struct log_fields none;
	size_t before = b->len;
	int rc;

	if (!f)
		f = &none;
	rc = lg.c.json ? add_json_line(b, l, f, msg) : add_text_line(b, l, f, msg);
	if (rc == 0)
		rc = buf_puts(b, "\n");
	if (rc < 0)
		b->len = before;
	return rc;
}

/* ---- where lines go ---- */

/* Writes what stderr takes now; -1 when it took less than all. */
static int err_write(struct buf *b)
{
	while (b->len > 0) {
		ssize_t n = nbfd_write(&lg.err, buf_data(b), b->len);

		if (n < 0 && errno != EAGAIN)
			nbfd_close(&lg.err); /* nobody reads it, and nobody will */
		if (n <= 0)
			return -1;
		buf_consume(b, (size_t)n);
	}
	return 0;
}

/* What goes in front of the next line when others were lost. */
static void add_dropped(struct buf *b)
{
	char text[80];
	int n;

	if (lg.dropped == lg.dropped_said)
		return;
	n = snprintf(text, sizeof(text), "%" PRIu64 " lines were lost because stderr was not read",
		     lg.dropped - lg.dropped_said);
	add_line(b, LOG_WARN, NULL, span_make(text, (size_t)n));
}

static void to_stderr(struct span line)
{
	struct buf b;
	size_t all;

	if (lg.err.fd < 0)
		return;
	buf_init(&b, LOG_TEXT_MAX);
	if (err_write(&lg.rest) < 0)
		goto lost;
	add_dropped(&b);
	if (buf_add(&b, line) < 0)
		goto lost;
	all = b.len;
	if (err_write(&b) < 0 && (b.len == all || lg.err.fd < 0))
		goto lost;
	lg.dropped_said = lg.dropped;
	if (b.len > 0)
		buf_move(&lg.rest, &b);
	buf_fini(&b);
	return;
lost:
	lg.dropped++;
	buf_fini(&b);
}

static void to_file(struct span line)
{
	while (line.n > 0) {
		ssize_t n = write(lg.file, line.p, line.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* full or gone: the log is not worth more than the program */
		line.p += n;
		line.n -= (size_t)n;
	}
}

static void emit(enum log_level l, const struct log_fields *f, struct span msg)
{
	struct span line;
	struct buf b;

	buf_init(&b, LOG_TEXT_MAX);
	if (add_line(&b, l, f, msg) < 0) {
		lg.dropped++;
		buf_fini(&b);
		return;
	}
	line = buf_span(&b);
	if (l <= lg.c.level) {
		if (!lg.c.quiet)
			to_stderr(line);
		if (lg.file >= 0)
			to_file(line);
	}
	if (lg.hook && l <= lg.hook_max && !lg.in_hook) {
		lg.in_hook = true;
		lg.hook(lg.hook_arg, l, span_make(line.p, line.n - 1));
		lg.in_hook = false;
	}
	buf_fini(&b);
}

/* ---- repeats ---- */

static void say_left_out(struct repeat *r)
{
	char text[256];
	int n;

	if (r->left_out == 0)
		return;
	n = snprintf(text, sizeof(text), "%" PRIu64 " more lines like this were left out: %s", r->left_out, r->fmt);
	r->left_out = 0;
	emit(r->level, NULL, span_make(text, (size_t)n < sizeof(text) ? (size_t)n : sizeof(text) - 1));
}

static struct repeat *repeat_find(const char *fmt, enum log_level l, int64_t now)
{
	struct repeat *r = lg.repeats, *oldest = r;

	for (; r < lg.repeats + LOG_FORMATS; r++) {
		if (r->fmt == fmt)
			return r;
		if (r->used_ms < oldest->used_ms)
			oldest = r;
	}
	say_left_out(oldest);
	*oldest = (struct repeat){ .fmt = fmt, .level = l, .allowance = LOG_BURST, .refilled_ms = now, .used_ms = now };
	return oldest;
}

/* False when the line is one too many. */
static bool repeat_allows(const char *fmt, enum log_level l)
{
	int64_t now = now_ms(), more;
	struct repeat *r;

	if (l >= LOG_DEBUG)
		return true;
	r = repeat_find(fmt, l, now);
	r->used_ms = now;
	more = (now - r->refilled_ms) / LOG_REPEAT_MS;
	if (more > 0) {
		r->allowance = more > LOG_BURST - r->allowance ? LOG_BURST : r->allowance + (int)more;
		r->refilled_ms += more * LOG_REPEAT_MS;
	}
	if (r->allowance == 0) {
		r->left_out++;
		return false;
	}
	r->allowance--;
	say_left_out(r);
	return true;
}

/* ---- the way in ---- */

__attribute__((format(printf, 3, 0)))
static void log_va(enum log_level l, const struct log_fields *f, const char *fmt, va_list ap)
{
	char small[512], *text = small;
	va_list again;
	int n;

	if (!log_wants(l) || !repeat_allows(f && f->kind ? f->kind : fmt, l))
		return;
	va_copy(again, ap);
	n = vsnprintf(small, sizeof(small), fmt, ap);
	if (n >= (int)sizeof(small)) {
		/* What this cuts off lies far beyond what is written. */
		if (n >= (int)LOG_TEXT_MAX)
			n = (int)LOG_TEXT_MAX - 1;
		text = malloc((size_t)n + 1);
		if (text)
			vsnprintf(text, (size_t)n + 1, fmt, again);
	}
	va_end(again);
	if (n >= 0 && text)
		emit(l, f, span_make(text, (size_t)n));
	else
		lg.dropped++;
	if (text != small)
		free(text);
}

void log_line(enum log_level l, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(l, NULL, fmt, ap);
	va_end(ap);
}

void log_last_error(const char *fmt, ...)
{
	enum log_level asked = lg.c.level;
	bool quiet = lg.c.quiet;
	va_list ap;

	if (lg.c.level == LOG_SILENT)
		lg.c.level = LOG_ERROR;
	lg.c.quiet = false;
	va_start(ap, fmt);
	log_va(LOG_ERROR, NULL, fmt, ap);
	va_end(ap);
	lg.c.level = asked;
	lg.c.quiet = quiet;
}

void log_line_with(enum log_level l, const struct log_fields *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(l, f, fmt, ap);
	va_end(ap);
}

void log_set_hook(enum log_level max, void (*hook)(void *arg, enum log_level l, struct span line), void *arg)
{
	/* Who listened so far hears of what was left out, too. */
	for (int i = 0; lg.hook && i < LOG_FORMATS; i++)
		say_left_out(&lg.repeats[i]);
	lg.hook_max = max;
	lg.hook = hook;
	lg.hook_arg = arg;
}

uint64_t log_dropped(void)
{
	return lg.dropped;
}

int log_open(const struct log_config *c, struct err *e)
{
	log_close();
	lg.c = *c;
	lg.c.name = lg.c.file = NULL;
	lg.open = true;
	lg.dropped = lg.dropped_said = 0;
	buf_init(&lg.rest, LOG_TEXT_MAX);
	nbfd_open(&lg.err, STDERR_FILENO, true);
	lg.name = c->name ? strdup(c->name) : NULL;
	if (!c->file)
		return 0;
	/* O_NONBLOCK: a FIFO that nobody reads is an error, not a wait. */
	lg.file = open(c->file, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
	if (lg.file < 0)
		return err_set(e, "can not open the log file %s (%s)", c->file, strerror(errno));
	return 0;
}

void log_close(void)
{
	if (!lg.open)
		return;
	for (int i = 0; i < LOG_FORMATS; i++)
		say_left_out(&lg.repeats[i]);
	err_write(&lg.rest);
	buf_fini(&lg.rest);
	nbfd_close(&lg.err);
	if (lg.file >= 0)
		close(lg.file);
	lg.file = -1;
	free(lg.name);
	lg.name = NULL;
	memset(lg.repeats, 0, sizeof(lg.repeats));
	lg.c = (struct log_config){ .level = LOG_SILENT };
	lg.open = false;
}
