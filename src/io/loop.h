/* Readiness, signals and the clock: the only reader of either. epoll on Linux,
 * poll elsewhere, behind the same functions. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

#define LOOP_READ 1u
#define LOOP_WRITE 2u
#define LOOP_HUP 4u    /* reported even when not asked for: the peer hung up or an error stands */

struct loop;
struct loop_event { uint64_t tag; int fd; unsigned events; };

struct loop *loop_new(struct err *e);
void loop_free(struct loop *l);
/* Watch fd; events 0 still reports LOOP_HUP. tag comes back with the event.
 * Adding an fd that is watched changes it. Files that epoll refuses (regular
 * files, /dev/null) are reported ready for whatever is asked on every wait.
 * 0 or -1. */
int loop_set(struct loop *l, int fd, unsigned events, uint64_t tag);
void loop_del(struct loop *l, int fd);
/* Waits until something is ready, a watched signal came or deadline_ms
 * (absolute, loop_now(); 0 = none) has passed. Fills up to max events; returns
 * how many (0 at the deadline, for a signal, or when the machine woke from sleep). */
int loop_wait(struct loop *l, int64_t deadline_ms, struct loop_event *ev, int max);
/* Monotonic milliseconds, read afresh. */
int64_t loop_now(void);
int64_t loop_now_us(void);
/* Boot-time clock in ms (counts suspended time); the monotonic one where there is none. */
int64_t loop_boot_now(void);
/* Seconds since the epoch, for Retry-After dates and expiries. */
int64_t loop_wall_now(void);
/* From now on these signals are collected instead of acted on, but for a SIGHUP that
 * is ignored, as below nohup(1). 0 or -1. */
int loop_signals(struct loop *l, const int *signals, int n, struct err *e);
/* Takes one collected signal; 0 when there is none. */
int loop_next_signal(struct loop *l);

#endif
