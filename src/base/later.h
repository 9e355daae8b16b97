/* The absolute time delay_ms after now: no sum of the two overflows. */
#ifndef BASE_LATER_H
#define BASE_LATER_H

#include <stdint.h>

static inline int64_t later(int64_t now, int64_t delay_ms)
{
	if (delay_ms <= 0)
		return now;
	return now > INT64_MAX - delay_ms ? INT64_MAX : now + delay_ms;
}

#endif
