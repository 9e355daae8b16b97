/* When to try again: exponential steps with jitter, and a floor that a server
 * has set with Retry-After. Pure: the time and the randomness are passed in, so
 * that the storm simulation runs this very code. */
#ifndef BASE_BACKOFF_H
#define BASE_BACKOFF_H

#include <stdbool.h>
#include <stdint.h>

#include "base/rng.h"

enum jitter { JITTER_FULL, JITTER_EQUAL, JITTER_NONE };

struct backoff_config {
	int64_t initial_ms, max_ms;
	double multiplier;
	enum jitter jitter;
};

struct backoff {
	struct backoff_config c;
	unsigned attempt;     /* failures since the last reset */
	unsigned eased;       /* of these, the ones that no longer lengthen the step */
	bool told;            /* a server that reckons has said when to come back */
	int64_t floor_until;  /* absolute: a Retry-After in force; 0 none */
};

void backoff_init(struct backoff *b, struct backoff_config c);
/* One more failure: the absolute time of the next attempt. Full jitter draws
 * from [0, step], equal from [step/2, step]; step = initial * multiplier^(attempt - eased),
 * at most max (no overflow whatever the inputs). A Retry-After in force is a
 * floor, with up to 10% (at most 5 s) of jitter above it. */
int64_t backoff_next(struct backoff *b, struct rng *r, int64_t now);
/* An attempt has failed at now, in an outage since `since`, and somebody waits for the
 * line: the latest time of the next one, absolute. The pause is drawn from twice
 * what the outage has lasted (two seconds or the first step at least), and where
 * that leads beyond hold_until - hold_ms / 4, one attempt lies in that last quarter,
 * anywhere: all who began to wait together may come together there. hold_until 0:
 * nobody has more than a quarter of his time left. */
int64_t backoff_held(const struct backoff_config *c, struct rng *r, int64_t since, int64_t now, int64_t hold_ms, int64_t hold_until);
/* A server said when to come back (delay in ms from now; capped at RETRY_AFTER_MAX_MS). The latest wins
 * when it lies further away. The first delay above RETRY_AFTER_CURT_MS since the
 * last reset lets the step start over: the server spreads its clients itself
 * now, and a step grown long in the outage would make us miss our place. It
 * grows again from there. A curt one is what servers say to everybody without
 * reckoning, and all of us obeying it would be a storm: the step stays. Where a
 * backoff is made anew for each failure, set told beforehand: nothing starts over. */
#define RETRY_AFTER_CURT_MS 2000
void backoff_floor(struct backoff *b, int64_t delay_ms, int64_t now);
/* Success: back to the first step, no floor. */
void backoff_reset(struct backoff *b);

#endif
