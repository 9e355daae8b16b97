/* When to try again: backoff with jitter, Retry-After, the circuit breaker and
 * the rate limit. Pure: the time and the randomness are passed in, so that the
 * storm simulation runs this very code. */
#ifndef CORE_RETRY_H
#define CORE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"
#include "core/config.h"

#define RETRY_AFTER_MAX_MS (3600 * (int64_t)1000)

/* A small random generator (xoshiro256** or the like), seeded by the caller. */
struct rng { uint64_t s[4]; };
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, 1). */
double rng_unit(struct rng *r);

/* ---- backoff ----------------------------------------------------------------- */

struct backoff {
	int64_t initial_ms, max_ms;
	double multiplier;
	enum jitter jitter;
	unsigned attempt;     /* failures since the last reset */
	unsigned eased;       /* of these, the ones that no longer lengthen the step */
	bool told;            /* a server that reckons has said when to come back */
	int64_t floor_until;  /* absolute: a Retry-After in force; 0 none */
};

void backoff_init(struct backoff *b, const struct core_config *c);
/* One more failure: the absolute time of the next attempt. Full jitter draws
 * from [0, step], equal from [step/2, step]; step = initial * multiplier^(attempt - eased),
 * at most max (no overflow whatever the inputs). A Retry-After in force is a
 * floor, with up to 10% (at most 5 s) of jitter above it. */
int64_t backoff_next(struct backoff *b, struct rng *r, int64_t now);
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

/* Parses a Retry-After value (RFC 9110, 10.2.3): delay-seconds or HTTP-date (all
 * three forms). wall_s: seconds since the epoch, for dates. Returns ms from
 * now, capped at RETRY_AFTER_MAX_MS; 0 for the past; -1 for garbage, negative
 * numbers and absence. */
int64_t retry_after_parse(struct span v, int64_t wall_s);

/* ---- circuit breaker ----------------------------------------------------------- */

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
#define BREAKER_WINDOW_MS 60000
#define BREAKER_SLOTS 64

struct breaker {
	int threshold;                /* consecutive failures; 0: off, always closed */
	int64_t hold_ms, cooldown_ms;
	enum breaker_state state;
	int consecutive;
	int64_t outage_since;         /* first failure after the last success; 0 none */
	int64_t open_since;
	struct { int64_t at; bool ok; } ring[BREAKER_SLOTS]; /* the last attempts, for the half-of-ten rule */
	unsigned head, count;
};

void breaker_init(struct breaker *b, const struct core_config *c);
/* An attempt ended. exhausted: the retries are used up. Opens when (threshold
 * consecutive failures, or at least half of at least 10 attempts within 60 s)
 * AND (the outage is older than hold_ms, or exhausted). Returns true when the state changed. */
bool breaker_on_success(struct breaker *b, int64_t now);
bool breaker_on_failure(struct breaker *b, int64_t now, bool exhausted);
/* The reconnect begins as the probe: OPEN -> HALF_OPEN (a failure from there opens again at once). */
void breaker_on_probe(struct breaker *b);
/* True when a new request must fail fast. */
bool breaker_refuses(const struct breaker *b);
/* Earliest time of the next probe with a cooldown configured; 0: no own pace. */
int64_t breaker_probe_at(const struct breaker *b);
const char *breaker_state_name(enum breaker_state s); /* closed | open | half_open */

/* ---- rate limit (token bucket) --------------------------------------------------- */

struct bucket { double rate_per_ms, burst, tokens; int64_t at; };
void bucket_init(struct bucket *b, double per_s, double burst, int64_t now); /* per_s 0: unlimited */
/* Takes one token now: 0; otherwise the ms until one will be there (nothing is taken). */
int64_t bucket_take(struct bucket *b, int64_t now);

#endif
