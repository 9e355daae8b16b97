/* The circuit breaker of one dependency: it counts how attempts ended, and says
 * when to stop waiting for a dependency that has been away for long. Pure. */
#ifndef BASE_BREAKER_H
#define BASE_BREAKER_H

#include <stdbool.h>
#include <stdint.h>

enum breaker_state { BREAKER_CLOSED, BREAKER_OPEN, BREAKER_HALF_OPEN };
#define BREAKER_WINDOW_MS 60000
#define BREAKER_SLOTS 64

struct breaker_config {
	int threshold;                /* consecutive failures; 0: off, always closed */
	int64_t hold_ms, cooldown_ms;
};

struct breaker {
	struct breaker_config c;
	enum breaker_state state;
	int consecutive;
	int64_t outage_since;         /* first failure after the last success; 0 none */
	int64_t open_since;
	struct { int64_t at; bool ok; } ring[BREAKER_SLOTS]; /* the last attempts, for the half-of-ten rule */
	unsigned head, count;
};

void breaker_init(struct breaker *b, struct breaker_config c);
/* An attempt ended. exhausted: the retries are used up. Opens when (threshold
 * consecutive failures, or at least half of at least 10 attempts within 60 s)
 * AND (the outage is older than hold_ms, or exhausted). Returns true when the state changed. */
bool breaker_on_success(struct breaker *b, int64_t now);
bool breaker_on_failure(struct breaker *b, int64_t now, bool exhausted);
/* The reconnect begins as the probe: OPEN -> HALF_OPEN (a failure from there opens again at once). */
void breaker_on_probe(struct breaker *b);
/* The probe ended without having told anything: HALF_OPEN -> OPEN, for as long as before. */
void breaker_on_silence(struct breaker *b);
/* True when a new request must fail fast. */
bool breaker_refuses(const struct breaker *b);
/* Earliest time of the next probe with a cooldown configured; 0: no own pace. */
int64_t breaker_probe_at(const struct breaker *b);
/* What is shown of the breakers of several dependencies: the one that is away longest. */
struct breaker_view {
	enum breaker_state state;
	const char *name, *origin;    /* whose it is; "" while all are closed */
	int64_t next_at;              /* while it is open: the next probe is not made before; else 0 */
	uint64_t changes;             /* of them all */
};
const char *breaker_state_name(enum breaker_state s); /* closed | open | half_open */

#endif
