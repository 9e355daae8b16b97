/* What one bridge shows of itself: a small file of JSON that it rewrites in
 * place, and the reading of such files, which may be torn, cut, huge or lies. */
#ifndef REPORT_BOARD_H
#define REPORT_BOARD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define BOARD_MAX ((size_t)8192)

/* Times are milliseconds of the monotonic clock, which all processes of a
 * machine share; -1: none. */
struct board_facts {
	int64_t pid, seq;
	char program[16], name[64], origin[160], transport[24], protocol[16];
	char state[12], breaker[12], why[160];
	char auth_breaker[12], auth_server[24], auth_origin[160]; /* "" from a bridge that does not tell yet; of which server: "" while closed */
	int64_t auth_next_at, auth_breaker_changes;
	int64_t started_at, state_at, next_at, drop_at, drop_ms; /* drop_ms -1 with a drop_at: still down */
	int64_t in_flight, held;
	int64_t requests, answers, errors, tool_errors, refused, retries, drops, reconnects, breaker_changes;
	int64_t p50_ms, p95_ms, p99_ms, idle_ms;
	int64_t bytes_in, bytes_out, peak_kib;
};

/* Appends the file's text. 0 or -1. */
int board_format(struct buf *out, const struct board_facts *f);
/* Reads it. 0, or -1: not such a text, or a torn one. Every string is
 * NUL-terminated; no number is below -1. */
int board_parse(struct span text, struct board_facts *f);

struct board {
	int dir, fd; /* fd -1: closed; dir is borrowed */
	char file[32];
	size_t len;
};
/* Makes PID.status. 0, or -1 with *e. */
int board_open(struct board *b, int dir, struct err *e);
/* Rewrites it. 0 or -1 (a full disk): the old text stands or none can be read. */
int board_write(struct board *b, const struct board_facts *f);
/* Removes it. */
void board_close(struct board *b);
/* Reads the file `name`: 1 and its bridge lives; 0 it is dead, gone or just starting; -1 it is none of ours. */
int board_read(int dir, const char *name, struct board_facts *f);

/* True for a state in which requests can not be served. */
bool board_is_down(const struct board_facts *f);
/* Down with nothing under way: the client was told no, and has not asked again. */
bool board_was_refused(const struct board_facts *f);

#endif
