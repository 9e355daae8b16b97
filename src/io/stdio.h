/* The client's side: lines from stdin, a queue of lines to stdout. Never
 * blocks, loses nothing at EOF, and lets the caller stop reading. */
#ifndef IO_STDIO_H
#define IO_STDIO_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"

struct stdio;

/* Watches in_fd and out_fd (not changed, see base/nbfd.h) on the loop.
 * A line longer than max_line is skipped to its end. */
struct stdio *stdio_new(struct loop *l, int in_fd, int out_fd, size_t max_line, struct err *e);
void stdio_free(struct stdio *s);
/* Stop and go on reading stdin (backpressure). While stopped, lines already read are still given. */
void stdio_read_enable(struct stdio *s, bool on);
/* True when the event was ours; reads at most 64 KiB. */
bool stdio_on_event(struct stdio *s, const struct loop_event *ev);

enum stdio_line { STDIO_NONE, STDIO_LINE, STDIO_TOO_LONG, STDIO_NOMEM };
/* Takes the next line (without CR/LF; lines of nothing but blanks are skipped) as a span that
 * lives until the next call. The last line may lack its newline at EOF.
 * STDIO_TOO_LONG: *line is the beginning of the line (up to 64 KiB), given
 * once when the limit is passed; its rest is skipped. STDIO_NOMEM likewise. */
enum stdio_line stdio_next(struct stdio *s, struct span *line);
/* As stdio_next() gave a large line: takes its block instead of a copy. Small
 * lines (under 64 KiB) are copied. -1: no memory. */
int stdio_take(struct stdio *s, struct buf *out);
/* stdin ended and every line was taken. */
bool stdio_eof(const struct stdio *s);
/* Lines are waiting to be taken. */
bool stdio_pending(const struct stdio *s);

/* Queues one line; the newline is added. 0, or -1 when there is no memory. */
int stdio_write(struct stdio *s, struct span line);
/* The same, taking the block of b (for large messages). */
int stdio_write_take(struct stdio *s, struct buf *b);
/* Writes what the descriptor takes now: once per turn of the loop. */
void stdio_flush(struct stdio *s);
/* Bytes queued and not yet written. */
size_t stdio_queued(const struct stdio *s);
/* Writing is over: nobody reads. errno of why, 0 while open. */
int stdio_out_closed(const struct stdio *s);

#endif
