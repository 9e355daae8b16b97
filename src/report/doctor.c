/* The doctor's voice: steps as lines of text for a person or as one JSON
 * object for a program. Whatever a server said passes the redactor and is made
 * safe for a terminal before it is shown. */
#include "report/doctor.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "report/doctor_i.h"
#include "report/text.h"
#include "wire/json.h"

#define TEXT_WIDTH 400

static const char *const verdicts[] = { "ok", "warn", "fail", "none" };

/* Appends the text as it may be shown. */
static void add_safe(const struct doctor *d, struct buf *out, const char *text)
{
	struct buf redacted;

	buf_init(&redacted, 64 * 1024);
	if (redact_text(d->c->redactor, span_str(text), &redacted) == 0)
		text_clean(out, buf_span(&redacted), TEXT_WIDTH);
	buf_fini(&redacted);
}

static void add_duration(struct buf *out, int64_t us)
{
	char text[TEXT_SHORT];

	if (us < 0)
		snprintf(text, sizeof(text), "-");
	else if (us < 10000)
		snprintf(text, sizeof(text), "%.1fms", (double)us / 1000);
	else
		text_duration(text, us / 1000);
	buf_printf(out, "%7s", text);
}

static void put(struct buf *b)
{
	fwrite(buf_span(b).p, 1, b->len, stdout);
	fflush(stdout);
	buf_fini(b);
}

static void say_text(struct doctor *d, const char *step, enum doctor_verdict v, int64_t us, const char *text)
{
	static const char *const colour[] = { "\x1b[32m", "\x1b[33m", "\x1b[31;1m", "\x1b[2m" };
	static const char *const marks[] = { "ok", "warn", "FAIL", "-" };
	const char *no = getenv("NO_COLOR");
	bool paint = isatty(STDOUT_FILENO) && !(no && no[0]);
	struct buf b;

	buf_init(&b, 64 * 1024);
	buf_printf(&b, "%s%-4s%s  ", paint ? colour[v] : "", marks[v], paint ? "\x1b[0m" : "");
	text_column(&b, span_str(step), 14);
	add_duration(&b, us);
	buf_puts(&b, "  ");
	add_safe(d, &b, text);
	buf_puts(&b, "\n");
	put(&b);
}

static void add_member(const struct doctor *d, struct buf *b, const char *key, const char *text)
{
	struct buf safe;

	buf_init(&safe, 64 * 1024);
	add_safe(d, &safe, text);
	buf_printf(b, ",\"%s\":", key);
	json_quote(b, buf_span(&safe));
	buf_fini(&safe);
}

static void say_json(struct doctor *d, const char *step, enum doctor_verdict v, int64_t us, const char *text)
{
	struct buf b;

	buf_init(&b, 64 * 1024);
	/* The object of the step before stays open for its hint. */
	buf_printf(&b, "%s\n  {\"step\":\"%s\",\"verdict\":\"%s\",\"ms\":", d->steps ? "}," : "", step, verdicts[v]);
	if (us < 0)
		buf_puts(&b, "null");
	else
		buf_printf(&b, "%.1f", (double)us / 1000);
	add_member(d, &b, "text", text);
	put(&b);
}

bool doctor_interrupted(const struct doctor *d)
{
	return d->signal && !d->ending;
}

void doctor_say(struct doctor *d, const char *step, enum doctor_verdict v, int64_t us, enum doctor_exit why, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (doctor_interrupted(d)) /* what was cut short tells nothing of the server */
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (v == STEP_FAIL && d->exit == DOCTOR_WELL)
		d->exit = why;
	d->warnings += v == STEP_WARN;
	if (d->c->json)
		say_json(d, step, v, us, text);
	else
		say_text(d, step, v, us, text);
	d->steps++;
}

void doctor_hint(struct doctor *d, const char *cause, const char *try_this)
{
	const char *const texts[] = { cause, try_this }, *const keys[] = { "cause", "try" }, *const heads[] = { "because: ", "try: " };
	struct buf b;

	if (doctor_interrupted(d))
		return;
	buf_init(&b, 64 * 1024);
	for (int i = 0; i < 2; i++) {
		if (!texts[i])
			continue;
		if (d->c->json) {
			add_member(d, &b, keys[i], texts[i]);
		} else {
			buf_printf(&b, "      %s", heads[i]);
			add_safe(d, &b, texts[i]);
			buf_puts(&b, "\n");
		}
	}
	put(&b);
}

static void begin(struct doctor *d)
{
	struct buf b;

	buf_init(&b, 64 * 1024);
	if (d->c->json) {
		buf_puts(&b, "{\"origin\":");
		json_quote(&b, span_str(d->c->url->origin));
		buf_puts(&b, ",\"steps\":[");
	} else {
		add_safe(d, &b, d->c->url->origin);
		add_safe(d, &b, d->c->url->path);
		buf_puts(&b, "\n");
	}
	put(&b);
}

static int exit_status(const struct doctor *d)
{
	return d->signal ? 128 + d->signal : (int)d->exit;
}

static void end(struct doctor *d)
{
	struct buf b;

	buf_init(&b, 4096);
	if (d->c->json)
		buf_printf(&b, "%s],\n \"ok\":%s,\"warnings\":%u,\"exit\":%d}\n", d->steps ? "}" : "", exit_status(d) ? "false" : "true", d->warnings, exit_status(d));
	else if (d->signal)
		buf_printf(&b, "Interrupted (exit status %d).\n", exit_status(d));
	else if (d->exit == DOCTOR_AUTH)
		buf_printf(&b, "A bridge has to sign in first, or needs other credentials (exit status %d).\n", (int)d->exit);
	else if (d->exit)
		buf_printf(&b, "A bridge can not work like this (exit status %d).\n", (int)d->exit);
	else
		buf_printf(&b, "A bridge can work with this server%s.\n", d->warnings ? ", but see the warnings" : "");
	put(&b);
}

int doctor_run(const struct doctor_config *c)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };
	struct doctor d = { .c = c };
	struct err e = { "" };

	call_init(&d.stream);
	buf_init(&d.session_lines, 16 * 1024);
	d.url = strdup(c->url->text);
	d.loop = loop_new(&e);
	if (d.loop)
		d.http = http_new(c->http, d.loop, &e);
	if (!d.url || !d.http) {
		fprintf(stderr, "mcp-holdfast: %s\n", e.text[0] ? e.text : "out of memory");
		d.exit = DOCTOR_BROKEN;
	} else {
		begin(&d);
		if (doctor_network(&d)) {
			/* Only now: there was nothing to be ended, and looking up a name can not be interrupted. */
			loop_signals(d.loop, signals, 3, &e);
			doctor_mcp(&d);
		}
		end(&d);
	}
	call_fini(&d, &d.stream);
	buf_wipe(&d.session_lines);
	buf_fini(&d.session_lines);
	http_free(d.http);
	loop_free(d.loop);
	free(d.url);
	return exit_status(&d);
}
