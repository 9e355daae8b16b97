/* The circuit breaker. It is told facts and the time; it does not wait, and
 * what is refused or sent meanwhile is for its owner to decide. */
#include "base/breaker.h"

#include "base/later.h"

#define BREAKER_MIN_ATTEMPTS 10

void breaker_init(struct breaker *b, struct breaker_config c)
{
	if (c.threshold < 0)
		c.threshold = 0;
	if (c.hold_ms < 0)
		c.hold_ms = 0;
	if (c.cooldown_ms < 0)
		c.cooldown_ms = 0;
	*b = (struct breaker){ .c = c, .state = BREAKER_CLOSED };
}

static void breaker_record(struct breaker *b, int64_t now, bool ok)
{
	b->ring[b->head].at = now;
	b->ring[b->head].ok = ok;
	b->head = (b->head + 1) % BREAKER_SLOTS;
	if (b->count < BREAKER_SLOTS)
		b->count++;
}

/* At least half of at least ten attempts within the window failed. */
static bool breaker_half_failed(const struct breaker *b, int64_t now)
{
	unsigned seen = 0, bad = 0;

	for (unsigned i = 0; i < b->count; i++) {
		/* Written without a subtraction from `now`, which may be small; an
		 * attempt from the future (the clock stepped back) does not count. */
		if (b->ring[i].at > now || later(b->ring[i].at, BREAKER_WINDOW_MS) < now)
			continue;
		seen++;
		bad += !b->ring[i].ok;
	}
	return seen >= BREAKER_MIN_ATTEMPTS && bad * 2 >= seen;
}

bool breaker_on_success(struct breaker *b, int64_t now)
{
	bool changed = b->state != BREAKER_CLOSED;

	if (b->c.threshold == 0)
		return false;
	b->consecutive = 0;
	b->outage_since = 0;
	/* The failures of an outage that is over must not open it again. */
	if (changed)
		b->count = b->head = 0;
	b->state = BREAKER_CLOSED;
	b->open_since = 0;
	breaker_record(b, now, true);
	return changed;
}

static bool breaker_open(struct breaker *b, int64_t now)
{
	b->state = BREAKER_OPEN;
	b->open_since = now;
	return true;
}

bool breaker_on_failure(struct breaker *b, int64_t now, bool exhausted)
{
	bool many, old;

	if (b->c.threshold == 0)
		return false;
	breaker_record(b, now, false);
	if (b->consecutive < INT32_MAX)
		b->consecutive++;
	/* Also when the clock stepped back: an age is never negative. */
	if (b->outage_since == 0 || b->outage_since > now)
		b->outage_since = now;
	if (b->state == BREAKER_HALF_OPEN)
		return breaker_open(b, now);
	if (b->state == BREAKER_OPEN)
		return false;
	many = b->consecutive >= b->c.threshold || breaker_half_failed(b, now);
	old = now > later(b->outage_since, b->c.hold_ms);
	return many && (old || exhausted) ? breaker_open(b, now) : false;
}

void breaker_on_probe(struct breaker *b)
{
	if (b->state == BREAKER_OPEN)
		b->state = BREAKER_HALF_OPEN;
}

void breaker_on_silence(struct breaker *b)
{
	if (b->state == BREAKER_HALF_OPEN)
		b->state = BREAKER_OPEN;
}

bool breaker_refuses(const struct breaker *b)
{
	return b->state != BREAKER_CLOSED;
}

int64_t breaker_probe_at(const struct breaker *b)
{
	if (b->state != BREAKER_OPEN || b->c.cooldown_ms == 0)
		return 0;
	return later(b->open_since, b->c.cooldown_ms);
}

const char *breaker_state_name(enum breaker_state s)
{
	switch (s) {
	case BREAKER_CLOSED:
		return "closed";
	case BREAKER_OPEN:
		return "open";
	case BREAKER_HALF_OPEN:
		return "half_open";
	}
	return "closed";
}
