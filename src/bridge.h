/* The bridge: the loop's owner, and the only file that knows both the core,
 * which decides, and io, which does. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include "base/redact.h"
#include "options.h"

/* Runs until stdin ends or a signal says so; returns the exit status (0, 1,
 * or 128 + signal). */
int bridge_run(struct options *o, struct redactor *r);

#endif
