/* The Retry-After header (RFC 9110, 10.2.3). */
#ifndef BASE_RETRY_AFTER_H
#define BASE_RETRY_AFTER_H

#include <stdint.h>

#include "base/span.h"

#define RETRY_AFTER_MAX_MS (3600 * (int64_t)1000)

/* Parses a value: delay-seconds or HTTP-date (all three forms). wall_s: seconds
 * since the epoch, for dates. Returns ms from now, capped at
 * RETRY_AFTER_MAX_MS; 0 for the past; -1 for garbage, negative numbers and
 * absence. */
int64_t retry_after_parse(struct span v, int64_t wall_s);

#endif
