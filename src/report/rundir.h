/* The directory where the bridges of one user leave what `status` and `log`
 * read: $XDG_RUNTIME_DIR/mcp-holdfast, or, since many clients hand no such
 * variable on, /run/user/UID/mcp-holdfast; where there is neither,
 * mcp-holdfast-UID below TMPDIR or /tmp. */
#ifndef REPORT_RUNDIR_H
#define REPORT_RUNDIR_H

#include <stdbool.h>

#include "base/err.h"

#define RUNDIR_PLACES 2

/* The name of place n as text: false when the system has no such place. */
bool rundir_path(int n, char *out, size_t size);
/* Opens place n: a directory of this user that nobody else may enter. create:
 * makes it when it is missing. A descriptor; -1 with *e (e->text is "" when it
 * simply does not exist). */
int rundir_open(int n, bool create, struct err *e);
/* The first place that can be used, made when missing. A descriptor, or -1. */
int rundir_open_any(struct err *e);

/* Opens a regular file of this user in dir, never a link, never waiting. -1
 * with errno. */
int rundir_file(int dir, const char *name);
/* Makes the file `name` in dir anew, mode 0600, locked by us for as long as the
 * descriptor is open, and puts it there in one step. -1 with *e. */
int rundir_create(int dir, const char *name, struct err *e);
/* The lock tells whether the process that made the file still lives. */
bool rundir_is_held(int fd);
/* Calls each with every entry whose name ends in suffix and begins with a
 * process id, at most RUNDIR_ENTRIES. */
#define RUNDIR_ENTRIES 4096
void rundir_each(int dir, const char *suffix, void (*each)(void *arg, int dir, const char *name, long pid), void *arg);
/* Removes what dead processes have left: their status at once, their log when
 * it is older than a day or not among the RUNDIR_OLD_LOGS newest. */
#define RUNDIR_OLD_LOGS 32
void rundir_sweep(int dir);

#endif
