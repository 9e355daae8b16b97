/* The token bucket. It promises a bounded wait for any rate, and no tokens for a
 * clock that steps back. */
#include "base/bucket.h"

/* Far enough for "never", near enough that adding to it can not overflow. */
#define FAR_MS (INT64_MAX / 4)

void bucket_init(struct bucket *b, double per_s, double burst, int64_t now)
{
	*b = (struct bucket){ .at = now };
	if (!(per_s > 0))
		return;
	b->rate_per_ms = per_s / 1000.0;
	/* A bucket that can not hold one whole token would never give any. */
	b->burst = burst > 1 ? burst : 1;
	b->tokens = b->burst;
}

int64_t bucket_take(struct bucket *b, int64_t now)
{
	const double almost = 1 - 1e-9; /* what rounding may eat of a token */
	double wait;
	int64_t whole;

	if (!(b->rate_per_ms > 0))
		return 0;
	if (now > b->at)
		b->tokens += ((double)now - (double)b->at) * b->rate_per_ms;
	if (!(b->tokens < b->burst))
		b->tokens = b->burst;
	b->at = now;
	if (b->tokens >= almost) {
		b->tokens -= 1;
		if (b->tokens < 0)
			b->tokens = 0;
		return 0;
	}
	wait = (1 - b->tokens) / b->rate_per_ms;
	if (!(wait < (double)FAR_MS))
		return FAR_MS;
	whole = (int64_t)wait;
	if ((double)whole < wait)
		whole++;
	return whole < 1 ? 1 : whole;
}
