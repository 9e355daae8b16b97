/* When to try again. Four small machines that are told facts and the time:
 * the backoff between two attempts, the reading of Retry-After, the circuit
 * breaker and the rate limit. They promise a bounded answer for any input:
 * absurd options, servers that say nonsense, and clocks that step back. They
 * do not wait, do not read a clock and draw no randomness of their own. */
#include "core/retry.h"


/* Jitter above a Retry-After: a tenth of the wait, but never more than this. */
#define FLOOR_JITTER_MAX_MS 5000
/* Far enough for "never", near enough that adding to it can not overflow. */
#define FAR_MS (INT64_MAX / 4)

static int64_t later(int64_t now, int64_t delay_ms)
{
	if (delay_ms <= 0)
		return now;
	return now > INT64_MAX - delay_ms ? INT64_MAX : now + delay_ms;
}

/* ---- randomness: xoshiro256** by Blackman and Vigna, seeded with splitmix64 ---- */

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

void rng_seed(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15u);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
		r->s[i] = z ^ (z >> 31);
	}
}

uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s;
	uint64_t out = rotl(s[1] * 5, 7) * 9;
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

double rng_unit(struct rng *r)
{
	return (double)(rng_next(r) >> 11) * 0x1.0p-53;
}

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

/* ---- backoff ----------------------------------------------------------------- */

/* No option makes a hot loop of it. */
#define LEAST_STEP_MS 10

void backoff_init(struct backoff *b, const struct core_config *c)
{
	*b = (struct backoff){
		.initial_ms = c->initial_retry_ms > 0 ? c->initial_retry_ms : 0,
		.max_ms = c->max_retry_ms > 0 ? c->max_retry_ms : 0,
		.multiplier = c->multiplier,
		.jitter = c->jitter,
	};
}

/* initial * multiplier^n, at most max, in squares of the multiplier: pow() alone
 * would bring the mathematics library along, 350 KiB of it. Written so that
 * infinity and NaN (what 1e300 to the power of a million gives) end at the
 * maximum. */
static int64_t backoff_raw_step(const struct backoff *b)
{
	unsigned n = b->attempt > b->eased ? b->attempt - b->eased : 0;
	double step = (double)b->initial_ms;

	if (b->initial_ms <= 0)
		return 0;
	for (double square = b->multiplier; n; n >>= 1, square *= square)
		if (n & 1)
			step *= square;
	if (!(step < (double)b->max_ms))
		return b->max_ms;
	return step > 0 ? (int64_t)step : 0;
}

static int64_t backoff_step(const struct backoff *b)
{
	int64_t step = backoff_raw_step(b);

	return step < LEAST_STEP_MS ? LEAST_STEP_MS : step;
}

static int64_t backoff_draw(const struct backoff *b, struct rng *r)
{
	int64_t step = backoff_step(b);

	switch (b->jitter) {
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
	int64_t at = later(now, backoff_draw(b, r));

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

/* ---- Retry-After --------------------------------------------------------------- */

static bool take_char(struct span *s, char c)
{
	if (s->n == 0 || s->p[0] != c)
		return false;
	s->p++;
	s->n--;
	return true;
}

static bool take_text(struct span *s, const char *text)
{
	size_t n = strlen(text);

	if (s->n < n || memcmp(s->p, text, n) != 0)
		return false;
	s->p += n;
	s->n -= n;
	return true;
}

/* Exactly n decimal digits. */
static bool take_digits(struct span *s, size_t n, int *out)
{
	int v = 0;

	if (s->n < n)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (s->p[i] < '0' || s->p[i] > '9')
			return false;
		v = v * 10 + (s->p[i] - '0');
	}
	s->p += n;
	s->n -= n;
	*out = v;
	return true;
}

static bool take_name(struct span *s, const char *const *names, int count, int *index)
{
	for (int i = 0; i < count; i++) {
		if (take_text(s, names[i])) {
			*index = i;
			return true;
		}
	}
	return false;
}

struct date { int year, month, day, hour, min, sec; };

static bool take_time(struct span *s, struct date *d)
{
	return take_digits(s, 2, &d->hour) && take_char(s, ':') && take_digits(s, 2, &d->min) &&
	       take_char(s, ':') && take_digits(s, 2, &d->sec);
}

static bool take_month(struct span *s, struct date *d)
{
	static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun",
	                                      "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };

	return take_name(s, months, 12, &d->month);
}

static bool is_leap(int64_t y)
{
	return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0;
}

/* Days from 1970-01-01 to the first of January of y (Gregorian, y >= 1). */
static int64_t days_before_year(int64_t y)
{
	int64_t p = y - 1;

	return p * 365 + p / 4 - p / 100 + p / 400 - 719162;
}

/* Seconds since the epoch, or false for a date that no calendar has. */
static bool date_seconds(const struct date *d, int64_t *out)
{
	static const int before[] = { 0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334, 365 };
	int leap = is_leap(d->year);
	int len = before[d->month + 1] - before[d->month] + (d->month == 1 ? leap : 0);
	int64_t days;

	/* 60: a leap second, which RFC 9110 allows. */
	if (d->year < 1 || d->day < 1 || d->day > len || d->hour > 23 || d->min > 59 || d->sec > 60)
		return false;
	days = days_before_year(d->year) + before[d->month] + (d->month > 1 ? leap : 0) + d->day - 1;
	*out = ((days * 24 + d->hour) * 60 + d->min) * 60 + d->sec;
	return true;
}

/* The year at wall_s, near enough to place a two-digit one in its century. */
static int64_t year_of(int64_t wall_s)
{
	return 1970 + wall_s / 31556952;
}

/* RFC 9110, 5.6.7: a two-digit year that seems more than 50 years ahead is the
 * latest past year that ends in these digits. */
static int century(int yy, int64_t wall_s)
{
	int64_t now = year_of(wall_s);
	int64_t y;

	if (now < 1970 || now > 9000)
		return yy + (yy < 70 ? 2000 : 1900);
	y = now - now % 100 + yy;
	if (y > now + 50)
		y -= 100;
	else if (y + 50 < now)
		y += 100;
	return (int)y;
}

/* "06 Nov 1994 08:49:37 GMT" after "Sun, ". */
static bool date_imf(struct span s, struct date *d)
{
	return take_text(&s, ", ") && take_digits(&s, 2, &d->day) && take_char(&s, ' ') &&
	       take_month(&s, d) && take_char(&s, ' ') && take_digits(&s, 4, &d->year) &&
	       take_char(&s, ' ') && take_time(&s, d) && take_text(&s, " GMT") && s.n == 0;
}

/* "06-Nov-94 08:49:37 GMT" after "Sunday, ". */
static bool date_rfc850(struct span s, struct date *d, int64_t wall_s)
{
	int yy;

	if (!take_text(&s, ", ") || !take_digits(&s, 2, &d->day) || !take_char(&s, '-') ||
	    !take_month(&s, d) || !take_char(&s, '-') || !take_digits(&s, 2, &yy) ||
	    !take_char(&s, ' ') || !take_time(&s, d) || !take_text(&s, " GMT") || s.n != 0)
		return false;
	d->year = century(yy, wall_s);
	return true;
}

/* "Nov  6 08:49:37 1994" after "Sun". */
static bool date_asctime(struct span s, struct date *d)
{
	return take_char(&s, ' ') && take_month(&s, d) && take_char(&s, ' ') &&
	       (take_char(&s, ' ') ? take_digits(&s, 1, &d->day) : take_digits(&s, 2, &d->day)) &&
	       take_char(&s, ' ') && take_time(&s, d) && take_char(&s, ' ') &&
	       take_digits(&s, 4, &d->year) && s.n == 0;
}

/* RFC 9110, 5.6.7. By hand, since strptime() follows the locale and timegm()
 * is not everywhere. A weekday that contradicts the date is let pass. */
static bool http_date(struct span s, int64_t wall_s, int64_t *out)
{
	static const char *const days[] = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" };
	static const char *const rest[] = { "day", "day", "sday", "nesday", "rsday", "day", "urday" };
	struct date d = { 0 };
	struct span lng;
	int wday;

	if (!take_name(&s, days, 7, &wday))
		return false;
	lng = s;
	if (take_text(&lng, rest[wday]))
		return date_rfc850(lng, &d, wall_s) && date_seconds(&d, out);
	return (date_imf(s, &d) || date_asctime(s, &d)) && date_seconds(&d, out);
}

static struct span trim(struct span v)
{
	while (v.n > 0 && (v.p[0] == ' ' || v.p[0] == '\t')) {
		v.p++;
		v.n--;
	}
	while (v.n > 0 && (v.p[v.n - 1] == ' ' || v.p[v.n - 1] == '\t'))
		v.n--;
	return v;
}

static int64_t delay_seconds(struct span v)
{
	const int64_t cap = RETRY_AFTER_MAX_MS / 1000;
	int64_t s = 0;

	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return -1;
		s = s * 10 + (v.p[i] - '0');
		if (s > cap)
			s = cap; /* keep reading: what follows may still be garbage */
	}
	return s * 1000;
}

int64_t retry_after_parse(struct span v, int64_t wall_s)
{
	int64_t at;

	if (!v.p)
		return -1;
	v = trim(v);
	if (v.n == 0)
		return -1;
	if (v.p[0] >= '0' && v.p[0] <= '9')
		return delay_seconds(v);
	if (!http_date(v, wall_s, &at))
		return -1;
	if (at <= wall_s)
		return 0;
	if (wall_s < at - RETRY_AFTER_MAX_MS / 1000)
		return RETRY_AFTER_MAX_MS;
	return (at - wall_s) * 1000;
}

/* ---- circuit breaker ----------------------------------------------------------- */

#define BREAKER_MIN_ATTEMPTS 10

void breaker_init(struct breaker *b, const struct core_config *c)
{
	*b = (struct breaker){
		.threshold = c->breaker_threshold > 0 ? c->breaker_threshold : 0,
		.hold_ms = c->hold_ms > 0 ? c->hold_ms : 0,
		.cooldown_ms = c->breaker_cooldown_ms > 0 ? c->breaker_cooldown_ms : 0,
		.state = BREAKER_CLOSED,
	};
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

	if (b->threshold == 0)
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

	if (b->threshold == 0)
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
	many = b->consecutive >= b->threshold || breaker_half_failed(b, now);
	old = now > later(b->outage_since, b->hold_ms);
	return many && (old || exhausted) ? breaker_open(b, now) : false;
}

void breaker_on_probe(struct breaker *b)
{
	if (b->state == BREAKER_OPEN)
		b->state = BREAKER_HALF_OPEN;
}

bool breaker_refuses(const struct breaker *b)
{
	return b->state != BREAKER_CLOSED;
}

int64_t breaker_probe_at(const struct breaker *b)
{
	if (b->state != BREAKER_OPEN || b->cooldown_ms == 0)
		return 0;
	return later(b->open_since, b->cooldown_ms);
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

/* ---- rate limit ------------------------------------------------------------------ */

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
