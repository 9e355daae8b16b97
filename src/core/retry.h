/* What the options say about trying again, in the words of the machines that do
 * it: the backoff and the circuit breaker. */
#ifndef CORE_RETRY_H
#define CORE_RETRY_H

#include "base/backoff.h"
#include "base/breaker.h"
#include "core/config.h"

struct backoff_config retry_backoff(const struct core_config *c);
struct breaker_config retry_breaker(const struct core_config *c);

#endif
