/* The pause between two attempts. It promises a bounded answer for any input:
 * absurd options, servers that say nonsense, and clocks that step back. */
#include "base/backoff.h"

#include "base/later.h"
#include "base/retry_after.h"

/* No option makes a hot loop of it. */
#define HELD_PAUSE_MS 2000
#define LEAST_STEP_MS 10
/* Jitter above a Retry-After: a tenth of the wait, but never more than this. */
#define FLOOR_JITTER_MAX_MS 5000

/* Uniform in [0, max_ms]. The multiplication is exact enough far beyond any
 * wait we would ever make; the clamp holds where it is not. */
static int64_t rng_up_to(struct rng *r, int64_t max_ms)
{
	double x;

	if (max_ms <= 0)
		return 0;
	x = rng_unit(r) * ((double)max_ms + 1.0);
	return x >= (double)max_ms ? max_ms : (int64_t)x;
}

void backoff_init(struct backoff *b, struct backoff_config c)
{
	if (c.initial_ms < 0)
		c.initial_ms = 0;
	if (c.max_ms < 0)
		c.max_ms = 0;
	*b = (struct backoff){ .c = c };
}

/* initial * multiplier^n, at most max, in squares of the multiplier: pow() alone
 * would bring the mathematics library along, 350 KiB of it. Written so that
 * infinity and NaN (what 1e300 to the power of a million gives) end at the
 * maximum. */
static int64_t backoff_raw_step(const struct backoff *b)
{
	unsigned n = b->attempt > b->eased ? b->attempt - b->eased : 0;
	double step = (double)b->c.initial_ms;

	if (b->c.initial_ms <= 0)
		return 0;
	for (double square = b->c.multiplier; n; n >>= 1, square *= square)
		if (n & 1)
			step *= square;
	if (!(step < (double)b->c.max_ms))
		return b->c.max_ms;
	return step > 0 ? (int64_t)step : 0;
}

static int64_t backoff_step(const struct backoff *b)
{
	int64_t step = backoff_raw_step(b);

	return step < LEAST_STEP_MS ? LEAST_STEP_MS : step;
}

static int64_t draw(enum jitter jitter, int64_t step, struct rng *r)
{
	switch (jitter) {
	case JITTER_NONE:
		return step;
	case JITTER_EQUAL:
		return step / 2 + rng_up_to(r, step - step / 2);
	case JITTER_FULL:
		break;
	}
	return rng_up_to(r, step);
}

int64_t backoff_next(struct backoff *b, struct rng *r, int64_t now)
{
	int64_t at = later(now, draw(b->c.jitter, backoff_step(b), r));

	if (b->attempt < UINT32_MAX)
		b->attempt++;
	if (b->floor_until > now) {
		int64_t room = (b->floor_until - now) / 10;
		int64_t floor;

		if (room > FLOOR_JITTER_MAX_MS)
			room = FLOOR_JITTER_MAX_MS;
		/* The server's word is kept even by those who asked for no jitter;
		 * but everybody told "in 30 s" at once must not come at once. */
		floor = later(b->floor_until, rng_up_to(r, room));
		if (at < floor)
			at = floor;
	}
	return at;
}

int64_t backoff_held(const struct backoff_config *c, struct rng *r, int64_t since, int64_t now, int64_t hold_ms, int64_t hold_until)
{
	int64_t quarter = hold_ms / 4, pause = 2 * (now - since), at;

	if (pause < HELD_PAUSE_MS)
		pause = HELD_PAUSE_MS;
	if (pause < c->initial_ms)
		pause = c->initial_ms;
	at = later(now, draw(c->jitter, pause, r));
	if (hold_until && at > hold_until - quarter)
		at = hold_until - quarter / 16 - rng_up_to(r, quarter - quarter / 16);
	return at;
}

void backoff_floor(struct backoff *b, int64_t delay_ms, int64_t now)
{
	int64_t until;

	if (delay_ms <= 0)
		return;
	if (delay_ms > RETRY_AFTER_MAX_MS)
		delay_ms = RETRY_AFTER_MAX_MS;
	until = later(now, delay_ms);
	if (!b->told && delay_ms > RETRY_AFTER_CURT_MS) {
		b->told = true;
		b->eased = b->attempt;
	}
	/* A floor further away than the cap allows was set by a clock that has
	 * since stepped back. */
	if (b->floor_until < until || b->floor_until > later(now, RETRY_AFTER_MAX_MS))
		b->floor_until = until;
}

void backoff_reset(struct backoff *b)
{
	b->attempt = b->eased = 0;
	b->told = false;
	b->floor_until = 0;
}
