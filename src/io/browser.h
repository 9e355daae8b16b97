/* Starting other programs without a shell: the browser, and a helper that
 * prints a token. posix_spawnp, no descriptor of ours inherited, signals at
 * their defaults. */
#ifndef IO_BROWSER_H
#define IO_BROWSER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"
#include "io/loop.h"

/* The umask of what is started from now on, for ours is not theirs. */
void browser_set_umask(mode_t mask);
/* Opens an https or loopback http URL (anything else is refused) with $BROWSER
 * (colon-separated, %s is the URL), else xdg-open, open, wslview, whichever
 * can be started. Waits for nothing. 0 or -1. The child is reaped by browser_reap(). */
int browser_open(const char *url, struct err *e);
/* Collects browsers that have ended; cheap. */
void browser_reap(void);
/* Browsers started and not yet collected. */
int browser_children(void);

#define HELPER_MAX_OUTPUT ((size_t)64 * 1024)

struct helper;
/* Runs a helper with stdin and stderr on /dev/null; its stdout is read on the
 * loop under tag. shell: through /bin/sh -c; else split at blanks, with
 * single and double quotes and backslash as a shell would. NULL on failure. */
struct helper *helper_start(const char *line, bool shell, int64_t deadline_ms, struct loop *l, uint64_t tag, struct err *e);
/* Kills it when it still runs, and reaps it. NULL does nothing. */
void helper_free(struct helper *c);
bool helper_on_event(struct helper *c, const struct loop_event *ev);
void helper_on_time(struct helper *c, int64_t now);
/* Monotonic ms of the next helper_on_time(); 0: none. */
int64_t helper_deadline(const struct helper *c);
/* 1: it ended well, *out is its output without the last newline (secret, lives
 * until helper_free()); 0: still running; -1: failed, e says how. */
int helper_result(struct helper *c, struct span *out, struct err *e);

#endif
