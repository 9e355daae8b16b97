/* Reading Retry-After: whatever a server says, the answer is bounded. */
#include "base/retry_after.h"

#include <stdbool.h>
#include <string.h>

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
