/* The values that options take: durations, sizes, numbers, rates, words. Pure
 * functions of text; every number is read whole, with checked arithmetic, and
 * what is not understood is refused rather than guessed. Judging whether a
 * value suits an option is the option table's business. */
#include "options_internal.h"

#include <sodium.h>
#include <stdlib.h>
#include <strings.h>

#define DISTANCE_MAX 48 /* longer names are not compared */

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* Reads digits into *out and moves *s behind them; -1 without any, or beyond int64. */
static int take_digits(const char **s, int64_t *out)
{
	int64_t v = 0;

	if (!is_digit(**s))
		return -1;
	for (; is_digit(**s); ++*s)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, **s - '0', &v))
			return -1;
	*out = v;
	return 0;
}

/* Billionths behind the point; digits past the ninth change nothing. */
static int take_fraction(const char **s, int64_t *billionths)
{
	int64_t v = 0, weight = 100000000;

	*billionths = 0;
	if (**s != '.')
		return 0;
	++*s;
	if (!is_digit(**s))
		return -1;
	for (; is_digit(**s); ++*s, weight /= 10)
		v += (**s - '0') * weight;
	*billionths = v;
	return 0;
}

static int64_t unit_ms(const char *s)
{
	static const struct { const char *name; int64_t ms; } units[] = {
		{ "ms", 1 }, { "s", 1000 }, { "m", 60000 }, { "h", 3600000 },
	};

	for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++)
		if (!strcmp(s, units[i].name))
			return units[i].ms;
	return 0;
}

int value_duration(const char *s, int64_t *ms, bool *bare)
{
	int64_t whole, billionths, unit;
	const char *point;

	if (take_digits(&s, &whole))
		return -1;
	point = s;
	if (take_fraction(&s, &billionths))
		return -1;
	*bare = *s == '\0';
	if (*bare) {
		*ms = whole;
		return *point == '.' ? -1 : 0;
	}
	unit = unit_ms(s);
	if (!unit || __builtin_mul_overflow(whole, unit, &whole))
		return -1;
	return __builtin_add_overflow(whole, billionths * unit / 1000000000, ms) ? -1 : 0;
}

int value_int(const char *s, size_t n, int64_t *out)
{
	bool minus = n > 0 && *s == '-';
	const char *p = s + (minus || (n > 0 && *s == '+'));

	if (take_digits(&p, out) || p != s + n)
		return -1;
	if (minus)
		*out = -*out;
	return 0;
}

int value_size(const char *s, int64_t *out)
{
	int64_t v, unit = 1;

	if (take_digits(&s, &v))
		return -1;
	switch (*s) {
	case 'k': case 'K': unit = 1024; break;
	case 'm': case 'M': unit = 1024 * 1024; break;
	case 'g': case 'G': unit = 1024 * 1024 * 1024; break;
	default: break;
	}
	if (unit > 1)
		s++;
	if (*s)
		return -1;
	return __builtin_mul_overflow(v, unit, out) ? -1 : 0;
}

int value_real(const char *s, double *out)
{
	int64_t whole, billionths;

	if (take_digits(&s, &whole) || take_fraction(&s, &billionths) || *s)
		return -1;
	*out = (double)whole + (double)billionths / 1e9;
	return 0;
}

int value_rate(const char *s, double *per_s, double *burst)
{
	int64_t n, b = 0;

	if (take_digits(&s, &n) || n == 0 || *s++ != '/' || (*s != 's' && *s != 'm'))
		return -1;
	*per_s = *s++ == 's' ? (double)n : (double)n / 60;
	if (*s == ':') {
		s++;
		if (take_digits(&s, &b) || b == 0)
			return -1;
	}
	*burst = b ? (double)b : *per_s > 1 ? *per_s : 1;
	return *s ? -1 : 0;
}

int value_bool(const char *s, bool *out)
{
	int i = s ? value_word(s, "no false off 0 yes true on 1") : 4;

	*out = i >= 4;
	return i < 0 ? -1 : 0;
}

int value_word(const char *s, const char *words)
{
	size_t n = strlen(s), len;
	int i = 0;

	for (; *words; words += len, words += *words == ' ', i++) {
		len = strcspn(words, " ");
		if (len == n && !strncasecmp(words, s, n))
			return i;
	}
	return -1;
}

unsigned value_distance(const char *a, size_t na, const char *b)
{
	unsigned row[3][DISTANCE_MAX + 1];
	unsigned *two = row[0], *one = row[1], *now = row[2], *spare;
	size_t nb = strlen(b);

	if (na > DISTANCE_MAX || nb > DISTANCE_MAX)
		return 99;
	for (size_t j = 0; j <= nb; j++)
		one[j] = two[j] = (unsigned)j;
	for (size_t i = 1; i <= na; i++) {
		now[0] = (unsigned)i;
		for (size_t j = 1; j <= nb; j++) {
			unsigned d = one[j - 1] + (a[i - 1] != b[j - 1]);

			if (d > one[j] + 1)
				d = one[j] + 1;
			if (d > now[j - 1] + 1)
				d = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d > two[j - 2] + 1)
				d = two[j - 2] + 1;
			now[j] = d;
		}
		spare = two;
		two = one;
		one = now;
		now = spare;
	}
	return one[nb];
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct span text_trim(struct span s)
{
	while (s.n && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

bool text_is_nocase(struct span a, const char *s)
{
	return a.n == strlen(s) && !strncasecmp(a.p, s, a.n);
}

int strings_add(struct strings *l, const char *s, size_t n)
{
	char **v = realloc(l->v, (l->n + 1) * sizeof(*v));

	if (!v)
		return -1;
	l->v = v;
	v[l->n] = strndup(s, n);
	if (!v[l->n])
		return -1;
	l->n++;
	return 0;
}

void strings_fini(struct strings *l)
{
	for (size_t i = 0; i < l->n; i++)
		text_free(l->v[i]);
	free(l->v);
	l->v = NULL;
	l->n = 0;
}

void text_free(char *s)
{
	if (s)
		sodium_memzero(s, strlen(s));
	free(s);
}
