/* Histograms and counters by method and tool. Everything is bounded at birth;
 * counting one answer is a hash, a look-up and a binary search. */
#include "report/stats.h"

#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

/* 1 to 10 ms one by one, then 12 or 13 steps a decade. */
const int64_t hist_edge[HIST_EDGES] = {
	1, 2, 3, 4, 5, 6, 7, 8, 9,
	10, 12, 14, 17, 20, 25, 30, 35, 40, 50, 60, 70, 85,
	100, 120, 140, 170, 200, 250, 300, 350, 400, 500, 600, 700, 850,
	1000, 1200, 1400, 1700, 2000, 2500, 3000, 3500, 4000, 5000, 6000, 7000, 8500,
	10000, 12000, 14000, 17000, 20000, 25000, 30000, 35000, 40000, 50000, 60000, 70000, 85000,
	100000, 120000, 140000, 170000, 200000, 300000, 600000, 1800000, 3600000,
};
const int64_t hist_published[HIST_PUBLISHED] = { 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 30000, 60000, 120000, 300000 };

/* The first bucket whose edge is at least ms. */
static size_t bucket_of(int64_t ms)
{
	size_t lo = 0, hi = HIST_EDGES;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;
		if (hist_edge[mid] < ms)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

void hist_add(struct hist *h, int64_t ms)
{
	if (ms < 0)
		ms = 0;
	h->count++;
	h->sum_ms += ms;
	if (ms > h->max_ms)
		h->max_ms = ms;
	h->bucket[bucket_of(ms)]++;
}

int64_t hist_quantile(const struct hist *h, double q)
{
	double want = q * (double)h->count, seen = 0;

	if (!h->count)
		return -1;
	for (size_t i = 0; i <= HIST_EDGES; i++) {
		double n = (double)h->bucket[i];
		int64_t from = i ? hist_edge[i - 1] : 0, to = i < HIST_EDGES ? hist_edge[i] : h->max_ms;

		if (n > 0 && seen + n >= want) {
			if (to > h->max_ms)
				to = h->max_ms;
			return to <= from ? to : from + (int64_t)((double)(to - from) * (want - seen) / n + 0.5);
		}
		seen += n;
	}
	return h->max_ms;
}

uint64_t hist_at_most(const struct hist *h, int64_t edge_ms)
{
	uint64_t n = 0;

	for (size_t i = 0; i < HIST_EDGES && hist_edge[i] <= edge_ms; i++)
		n += h->bucket[i];
	return n;
}

const char *outcome_name(enum outcome o)
{
	static const char *const names[OUTCOMES] = {
		[OUTCOME_OK] = "ok", [OUTCOME_TOOL_ERROR] = "tool_error", [OUTCOME_ERROR] = "error", [OUTCOME_OWN_ERROR] = "bridge_error",
	};
	return names[o];
}

void stats_init(struct stats *s)
{
	memset(s, 0, sizeof(*s));
}

void stats_fini(struct stats *s)
{
	for (size_t i = 0; i < s->n; i++)
		free(s->list[i]);
	stats_init(s);
}

/* ---- series -------------------------------------------------------------------------------------- */

static uint64_t hash_more(uint64_t h, struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
	return (h ^ 0xff) * 0x100000001b3u; /* "ab","c" is not "a","bc" */
}

/* At most STATS_LABEL bytes, not ending within a character. */
static struct span cut(struct span s)
{
	if (s.n > STATS_LABEL) {
		s.n = STATS_LABEL;
		while (s.n && ((unsigned char)s.p[s.n] & 0xc0) == 0x80)
			s.n--;
	}
	return s;
}

/* The name in a raw JSON string. Escapes are rare: the text between the quotes
 * serves as it is, and only then a decoded copy. */
static struct span tool_name(struct span raw, struct buf *decoded)
{
	if (raw.n < 2 || raw.p[0] != '"')
		return raw;
	if (!memchr(raw.p, '\\', raw.n))
		return span_make(raw.p + 1, raw.n - 2);
	return json_string(raw, decoded) == 0 ? buf_span(decoded) : SPAN_NONE;
}

static bool series_is(const struct series *x, uint64_t key, struct span method, struct span tool)
{
	return x->key == key && span_is(method, x->method) && (tool.n ? span_is(tool, x->tool) : !x->tool[0]);
}

static struct series *series_find(struct stats *s, struct span method, struct span tool, size_t *at, uint64_t *key)
{
	size_t mask = sizeof(s->slot) / sizeof(*s->slot) - 1;

	*key = hash_more(hash_more(0xcbf29ce484222325u, method), tool);
	for (*at = (size_t)(*key ^ *key >> 32) & mask; s->slot[*at]; *at = (*at + 1) & mask)
		if (series_is(s->slot[*at], *key, method, tool))
			return s->slot[*at];
	return NULL;
}

/* Never NULL but for want of memory. */
static struct series *series_get(struct stats *s, struct span method, struct span tool)
{
	size_t at;
	uint64_t key;
	struct series *x = series_find(s, method, tool, &at, &key);

	if (x)
		return x;
	if (tool.n ? s->tools >= STATS_TOOLS : s->methods >= STATS_METHODS) {
		if (tool.n)
			tool = SPAN_LIT(STATS_OTHER);
		else
			method = SPAN_LIT(STATS_OTHER);
		x = series_find(s, method, tool, &at, &key);
		if (x || s->n == sizeof(s->list) / sizeof(*s->list))
			return x;
	}
	x = calloc(1, sizeof(*x));
	if (!x)
		return NULL;
	x->key = key;
	memcpy(x->method, method.p, method.n);
	if (tool.n)
		memcpy(x->tool, tool.p, tool.n);
	s->list[s->n++] = s->slot[at] = x;
	if (tool.n)
		s->tools++;
	else
		s->methods++;
	return x;
}

static void count_code(struct stats *s, int64_t code)
{
	size_t i = 0;

	while (i < s->ncodes && s->codes[i].code != code)
		i++;
	if (i == s->ncodes && i < STATS_CODES)
		s->codes[s->ncodes++].code = code;
	s->codes[i].count++;
}

void stats_on_answer(struct stats *s, struct span method, struct span tool, int64_t ms, enum outcome o, int64_t code)
{
	struct buf decoded;
	struct series *x;

	buf_init(&decoded, 64 * 1024);
	x = series_get(s, cut(method), cut(tool_name(tool, &decoded)));
	if (x) {
		x->outcomes[o]++;
		hist_add(&x->latency, ms);
	}
	s->outcomes[o]++;
	hist_add(&s->all, ms);
	if (code)
		count_code(s, code);
	buf_fini(&decoded);
}

void stats_on_drop(struct stats *s, const char *why)
{
	size_t i = 0, n = strlen(why);

	if (n > STATS_LABEL)
		n = STATS_LABEL;
	while (i < s->ncauses && (strncmp(s->causes[i].why, why, n) != 0 || s->causes[i].why[n]))
		i++;
	if (i == s->ncauses && i < STATS_CAUSES)
		memcpy(s->causes[s->ncauses++].why, why, n);
	s->causes[i].count++;
}

void stats_on_return(struct stats *s, int64_t outage_ms)
{
	hist_add(&s->outages, outage_ms);
}
