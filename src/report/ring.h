/* The last log lines of one process, in a file of fixed size that outlives it:
 * a head of RING_HEAD bytes, then RING_DATA bytes written round and round. */
#ifndef REPORT_RING_H
#define REPORT_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

#define RING_HEAD ((size_t)256)
#define RING_DATA ((size_t)256 * 1024 - RING_HEAD)
#define RING_LINE ((size_t)16 * 1024)   /* longer lines are cut */
#define RING_EARLY ((size_t)16 * 1024)  /* kept in memory until the file is there */

struct ring {
	int fd;               /* -1: no file (yet, or any more) */
	uint64_t written;     /* bytes since the beginning; modulo RING_DATA is where the next goes */
	uint64_t lost;        /* lines that could not be written */
	char name[96];
	struct buf early;
};
void ring_init(struct ring *r, const char *name);
/* Makes PID.log in dir and writes what has come so far. 0, or -1 with *e. */
int ring_open(struct ring *r, int dir, struct err *e);
/* One line, without its newline. */
void ring_add(struct ring *r, struct span line);
/* The file stays. */
void ring_close(struct ring *r);

/* For readers. */
struct ring_view {
	uint64_t written;
	bool live;            /* its process runs */
	char name[96];        /* of the bridge */
};
/* Reads the head: 0, or -1 when it is no ring. */
int ring_look(int fd, struct ring_view *v);
/* Appends whole lines from position *at on (0: the oldest that is left) to out and moves
 * *at behind them; what was overwritten meanwhile is passed over. 0 or -1. */
int ring_read(int fd, uint64_t *at, struct buf *out);

#endif
