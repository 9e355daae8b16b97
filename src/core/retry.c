/* From the options to the backoff and the circuit breaker. */
#include "core/retry.h"

struct backoff_config retry_backoff(const struct core_config *c)
{
	return (struct backoff_config){
		.initial_ms = c->initial_retry_ms,
		.max_ms = c->max_retry_ms,
		.multiplier = c->multiplier,
		.jitter = c->jitter,
	};
}

struct breaker_config retry_breaker(const struct core_config *c)
{
	return (struct breaker_config){
		.threshold = c->breaker_threshold,
		.hold_ms = c->hold_ms,
		.cooldown_ms = c->breaker_cooldown_ms,
	};
}
