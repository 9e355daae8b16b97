/* The commands that read what running bridges leave: `status` and `log`. */
#ifndef REPORT_STATUS_H
#define REPORT_STATUS_H

#include <stdbool.h>

/* Every running bridge of this user, on stdout. Exit status: 0; 1 when one is
 * down or the files can not be read. watch: again and again, until interrupted. */
int status_run(bool json, bool watch);
/* The last log lines of the bridge of this name or process id; NULL: of all,
 * by time. follow: goes on. Exit status 0, or 1 when there is no such bridge. */
int logview_run(const char *target, bool follow);

#endif
