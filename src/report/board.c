/* The status file of one bridge. It is rewritten in place with one write, and
 * carries its number at both ends, so that a reader who meets a half-written
 * one notices and looks again. Its lock says that the writer lives. */
#include "report/board.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "report/rundir.h"
#include "wire/json.h"

#define NEWBORN_S 5
#define READ_TRIES 20

/* The members, in the file's order. A later one that an older bridge does not
 * write is none; members that are not known here are passed over. */
static const struct field { const char *key; size_t at, size; bool later; } fields[] = {
#define NUMBER(m) { #m, offsetof(struct board_facts, m), 0, false }
#define TEXT(m) { #m, offsetof(struct board_facts, m), sizeof(((struct board_facts *)0)->m), false }
#define LATER_NUMBER(m) { #m, offsetof(struct board_facts, m), 0, true }
#define LATER_TEXT(m) { #m, offsetof(struct board_facts, m), sizeof(((struct board_facts *)0)->m), true }
	NUMBER(seq), NUMBER(pid), TEXT(program), TEXT(name), TEXT(origin), TEXT(transport), TEXT(protocol), TEXT(state),
	TEXT(breaker), TEXT(why), NUMBER(started_at), NUMBER(state_at), NUMBER(next_at), NUMBER(drop_at), NUMBER(drop_ms),
	NUMBER(in_flight), NUMBER(held), NUMBER(requests), NUMBER(answers), NUMBER(errors), NUMBER(tool_errors),
	NUMBER(refused), NUMBER(retries), NUMBER(drops), NUMBER(reconnects), NUMBER(breaker_changes), NUMBER(p50_ms),
	NUMBER(p95_ms), NUMBER(p99_ms), NUMBER(idle_ms), NUMBER(bytes_in), NUMBER(bytes_out), NUMBER(peak_kib),
	LATER_TEXT(auth_breaker), LATER_TEXT(auth_server), LATER_TEXT(auth_origin), LATER_NUMBER(auth_next_at),
	LATER_NUMBER(auth_breaker_changes),
};
#define FIELDS (sizeof(fields) / sizeof(*fields))

int board_format(struct buf *out, const struct board_facts *f)
{
	for (size_t i = 0; i < FIELDS; i++) {
		const char *at = (const char *)f + fields[i].at;
		int64_t n;
		int bad = buf_printf(out, "%s\"%s\":", i ? "," : "{", fields[i].key);

		if (fields[i].size) {
			bad |= json_quote(out, span_str(at));
		} else {
			memcpy(&n, at, sizeof(n));
			bad |= buf_printf(out, "%" PRId64, n);
		}
		if (bad)
			return -1;
	}
	return buf_printf(out, ",\"end\":%" PRId64 "}\n", f->seq);
}

/* A text member, cut to fit. */
static int take_text(struct span v, char *out, size_t size)
{
	struct buf text;
	int rc;

	buf_init(&text, 2 * BOARD_MAX);
	rc = json_string(v, &text);
	if (rc == 0) {
		size_t n = text.len < size ? text.len : size - 1;
		if (n)
			memcpy(out, buf_data(&text), n);
		out[n] = '\0';
	}
	buf_fini(&text);
	return rc;
}

int board_parse(struct span text, struct board_facts *f)
{
	struct json_scan scan;
	int64_t n, end;

	memset(f, 0, sizeof(*f));
	if (text.n > BOARD_MAX || json_scan(text.p, text.n, &scan) != JSON_OK || scan.type != '{')
		return -1;
	for (size_t i = 0; i < FIELDS; i++) {
		struct span v = json_get(scan.text, fields[i].key);
		char *at = (char *)f + fields[i].at;
		bool none = fields[i].later && !v.n;

		if (fields[i].size) {
			if (!none && take_text(v, at, fields[i].size) != 0)
				return -1;
			continue;
		}
		n = -1;
		if (!none && (!json_int(v, &n) || n < -1))
			return -1;
		memcpy(at, &n, sizeof(n));
	}
	return json_int(json_get(scan.text, "end"), &end) && end == f->seq ? 0 : -1;
}

/* ---- the file ------------------------------------------------------------------------------------- */

int board_open(struct board *b, int dir, struct err *e)
{
	b->dir = dir;
	b->len = 0;
	snprintf(b->file, sizeof(b->file), "%ld.status", (long)getpid());
	b->fd = rundir_create(dir, b->file, e);
	return b->fd < 0 ? -1 : 0;
}

int board_write(struct board *b, const struct board_facts *f)
{
	struct buf text;
	size_t len;
	ssize_t n = -1;

	buf_init(&text, BOARD_MAX);
	if (board_format(&text, f) == 0) {
		len = text.len;
		/* Blanks over what is left of a longer one. */
		while (text.len < b->len && buf_puts(&text, " ") == 0)
			;
		n = pwrite(b->fd, buf_data(&text), text.len, 0);
		if (n == (ssize_t)text.len && text.len > b->len)
			b->len = len;
	}
	n = n == (ssize_t)text.len ? 0 : -1;
	buf_fini(&text);
	return (int)n;
}

void board_close(struct board *b)
{
	if (b->fd < 0)
		return;
	unlinkat(b->dir, b->file, 0);
	close(b->fd);
	b->fd = -1;
}

/* Made and not yet written: the bridge is just starting. An empty file that stays
 * so is a full disk's. */
static bool is_newborn(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_size == 0 && time(NULL) - st.st_mtime < NEWBORN_S;
}

int board_read(int dir, const char *name, struct board_facts *f)
{
	char text[BOARD_MAX + 1];
	int fd = rundir_file(dir, name);
	int rc = -1;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	for (int i = 0; i < READ_TRIES && rc < 0; i++) {
		ssize_t n = pread(fd, text, sizeof(text), 0);
		if (n < 0 || n > (ssize_t)BOARD_MAX)
			break;
		rc = board_parse(span_make(text, (size_t)n), f);
	}
	if (!rundir_is_held(fd) || (rc < 0 && is_newborn(fd)))
		rc = 0;
	else if (rc == 0)
		rc = 1;
	close(fd);
	return rc;
}

bool board_is_down(const struct board_facts *f)
{
	static const char *const down[] = { "wait", "revive", "down", "auth" };

	for (size_t i = 0; i < sizeof(down) / sizeof(*down); i++)
		if (!strcmp(f->state, down[i]))
			return true;
	return board_was_refused(f);
}

bool board_was_refused(const struct board_facts *f)
{
	return !strcmp(f->state, "start") && (f->errors > 0 || f->refused > 0);
}
