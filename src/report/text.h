/* Words for people: durations, sizes, text that is safe on a terminal. Pure. */
#ifndef REPORT_TEXT_H
#define REPORT_TEXT_H

#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define TEXT_SHORT 16

/* "0ms", "850ms", "4.2s", "3m05s", "2h13m", "5d02h"; "-" for a negative one. */
void text_duration(char out[TEXT_SHORT], int64_t ms);
/* KiB as "812K", "4.1M", "1.2G"; "-" for a negative one. */
void text_size(char out[TEXT_SHORT], int64_t kib);
/* Appends s without control characters, at most width columns of it (a
 * character counts as one; cut text ends in "~"). 0 or -1. */
int text_clean(struct buf *out, struct span s, size_t width);
/* The same, filled up with blanks to width. */
int text_column(struct buf *out, struct span s, size_t width);

#endif
