/* What happens to a server that comes back: a discrete simulation that links
 * the program's own backoff and circuit breaker.
 *
 * A number of bridges lose one server at the same instant. After the outage it
 * can take one in a hundred of them a second and refuses the rest in one of
 * three ways. What it did not use it keeps in hand, up to one second's worth,
 * or three requests where that is more: a server that takes one request a
 * second does not refuse the second of two after it sat idle. One request stands for the whole
 * of a reconnect. Time goes in milliseconds; the network takes 5 to 50 of them
 * each way. With Retry-After the server keeps a queue in its head: every
 * refusal is given the next place at the rate it can take, in whole seconds
 * rounded up; it does not know who comes back, and keeps no place free.
 *
 * Printed for each policy: the busiest second after the return, over the
 * capacity; the time until 99% are connected, over the best there could be
 * (99 s); and the refusals for each bridge, all after the return. For a server
 * that sends Retry-After also the busiest second of those it told when to come
 * back. Ends with 1 when ours misses a target. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/backoff.h"
#include "base/breaker.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))

#define RATE 0.01                 /* of all bridges, a second */
#define SHARE 0.99                /* of all bridges, connected */
#define IDEAL_MS 99000
#define HORIZON_MS (4000 * 1000)  /* after the return; who is not back by then never counts */
#define SLICE_MS 100              /* "any second" is any ten of these */
#define SLICES (HORIZON_MS / SLICE_MS)
#define IN_HAND_MIN 3
#define HOLD_MS 25000
#define LAT_MIN 5
#define LAT_MAX 50

/* Below this many bridges a second holds so few requests that chance alone
 * passes 1.5 times the mean; the told peak is then no target. */
#define CROWD 10000
#define NEVER INT64_MAX

struct policy {
	const char *name;
	int64_t initial_ms, max_ms;
	double multiplier;
	enum jitter jitter;
	bool ours;  /* heeds Retry-After, has the breaker */
	bool held;  /* and a call waits in each bridge from the first moment */
};

static const struct policy policies[] = {
	{ "holdfast", 1000, 30000, 2, JITTER_FULL, true, false },
	{ "fixed 3 s", 3000, 3000, 1, JITTER_NONE, false, false },
	{ "2^n", 1000, 30000, 2, JITTER_NONE, false, false },
	{ "1.5x", 1000, 30000, 1.5, JITTER_NONE, false, false },
	{ "1.5x equal", 1000, 30000, 1.5, JITTER_EQUAL, false, false },
	{ "calls held", 1000, 30000, 2, JITTER_FULL, true, true },
};

enum refusal { REFUSE_RESET, REFUSE_503, REFUSE_RETRY_AFTER, REFUSE_COUNT };

static const char *const refusal_names[REFUSE_COUNT] = { "reset", "503", "503 with Retry-After" };
static const int outages_s[] = { 10, 60, 600 };
static const int32_t crowds[] = { 100, 1000, 10000, 100000 };

struct bridge {
	int32_t next;      /* in the list of what arrives in the same millisecond; -1 ends it */
	bool told;         /* its last refusal said when to come back, and it listens */
	struct backoff backoff;
	struct breaker *breaker;
};

struct server {
	int64_t back_at;
	double per_ms, burst, tokens;
	int64_t at;        /* tokens are counted up to here */
	double place;      /* the time of the last place given in the queue */
};

struct result {
	double peak, told_peak, time, refused;
	bool done;
};

struct world {
	const struct policy *policy;
	enum refusal refusal;
	int32_t count, connected;
	struct bridge *bridges;
	struct breaker *breakers;
	int32_t *arrivals;         /* first bridge of each millisecond, -1 none */
	int64_t end;
	uint32_t *slices, *told;   /* requests in each slice after the return */
	uint64_t refused;
	struct server server;
	struct rng rng;
};

static void *must(void *p)
{
	if (!p) {
		fputs("storm: no memory\n", stderr);
		exit(2);
	}
	return p;
}

static int64_t latency(struct world *w)
{
	return LAT_MIN + (int64_t)(rng_unit(&w->rng) * (LAT_MAX - LAT_MIN + 1));
}

/* A request that leaves at `at`, as the server sees it. */
static void send_at(struct world *w, int32_t i, int64_t at)
{
	at += latency(w);
	if (at >= w->end)
		return;
	w->bridges[i].next = w->arrivals[at];
	w->arrivals[at] = i;
}

/* The next attempt where a call waits, if the backoff would be later. */
static int64_t held(struct world *w, const struct bridge *b, int64_t now, int64_t at)
{
	int64_t soon = backoff_held(&b->backoff.c, &w->rng, 0, now, HOLD_MS, now < HOLD_MS - HOLD_MS / 4 ? HOLD_MS : 0);

	if (soon < b->backoff.floor_until)
		soon = b->backoff.floor_until;
	return at < soon ? at : soon;
}

/* The attempt failed, as the bridge hears it at `now`. */
static void bridge_refused(struct world *w, int32_t i, int64_t now, int64_t retry_after_ms)
{
	struct bridge *b = &w->bridges[i];
	int64_t at, probe;

	b->told = w->policy->ours && retry_after_ms > 0;
	if (b->told)
		backoff_floor(&b->backoff, retry_after_ms, now);
	at = backoff_next(&b->backoff, &w->rng, now);
	if (w->policy->held && now < HOLD_MS)
		at = held(w, b, now, at);
	if (b->breaker) {
		breaker_on_failure(b->breaker, now, false);
		probe = breaker_probe_at(b->breaker);
		at = probe > at ? probe : at;
	}
	send_at(w, i, at);
}

static bool server_takes(struct server *s, int64_t now)
{
	s->tokens += (double)(now - s->at) * s->per_ms;
	s->at = now;
	if (s->tokens > s->burst)
		s->tokens = s->burst;
	if (s->tokens < 1)
		return false;
	s->tokens -= 1;
	return true;
}

/* Whole seconds, as the header has them. */
static int64_t server_retry_after(struct server *s, int64_t now)
{
	int64_t wait;

	if (s->place < (double)now)
		s->place = (double)now;
	s->place += 1 / s->per_ms;
	wait = (int64_t)(s->place - (double)now);
	return (wait / 1000 + 1) * 1000;
}

static void arrive(struct world *w, int32_t i, int64_t now)
{
	struct bridge *b = &w->bridges[i];
	int64_t since = now - w->server.back_at;

	if (b->breaker)
		breaker_on_probe(b->breaker);
	if (since < 0) {
		bridge_refused(w, i, now + latency(w), 0);
		return;
	}
	w->slices[since / SLICE_MS]++;
	if (b->told)
		w->told[since / SLICE_MS]++;
	if (server_takes(&w->server, now)) {
		w->connected++;
		return;
	}
	w->refused++;
	/* A reset comes at once; a status wants a connection and TLS first. */
	bridge_refused(w, i, now + latency(w) * (w->refusal == REFUSE_RESET ? 1 : 5),
	               w->refusal == REFUSE_RETRY_AFTER ? server_retry_after(&w->server, now) : 0);
}

static double busiest_second(const uint32_t *slices)
{
	uint64_t sum = 0, most = 0;

	for (int i = 0; i < SLICES; i++) {
		sum += slices[i];
		if (i >= 1000 / SLICE_MS)
			sum -= slices[i - 1000 / SLICE_MS];
		most = sum > most ? sum : most;
	}
	return (double)most;
}

static void world_begin(struct world *w)
{
	const struct policy *p = w->policy;
	const struct backoff_config pace = {
		.initial_ms = p->initial_ms, .max_ms = p->max_ms, .multiplier = p->multiplier, .jitter = p->jitter,
	};
	const struct breaker_config breaker = { .threshold = 5, .hold_ms = HOLD_MS };

	for (int64_t t = 0; t < w->end; t++)
		w->arrivals[t] = -1;
	memset(w->slices, 0, SLICES * sizeof *w->slices);
	memset(w->told, 0, SLICES * sizeof *w->told);
	for (int32_t i = 0; i < w->count; i++) {
		struct bridge *b = &w->bridges[i];

		*b = (struct bridge){ .next = -1, .breaker = p->ours ? &w->breakers[i] : NULL };
		backoff_init(&b->backoff, pace);
		if (b->breaker)
			breaker_init(b->breaker, breaker);
		/* 1: the clock of the breaker has no zero. */
		bridge_refused(w, i, 1 + latency(w), 0);
	}
}

static struct result world_run(struct world *w, int outage_s)
{
	const double per_s = RATE * w->count;
	struct result r = { .done = false };
	int64_t back = (int64_t)outage_s * 1000;

	w->connected = 0;
	w->refused = 0;
	w->end = back + HORIZON_MS;
	w->server = (struct server){ .back_at = back, .at = back, .per_ms = per_s / 1000,
	                             .burst = per_s > IN_HAND_MIN ? per_s : IN_HAND_MIN };
	rng_seed(&w->rng, 42);
	world_begin(w);
	for (int64_t t = 0; t < w->end && !r.done; t++) {
		for (int32_t i = w->arrivals[t], next; i >= 0; i = next) {
			next = w->bridges[i].next;
			arrive(w, i, t);
		}
		r.done = w->connected >= SHARE * w->count;
		r.time = (double)(t - back) / IDEAL_MS;
	}
	r.peak = busiest_second(w->slices) / per_s;
	r.told_peak = busiest_second(w->told) / per_s;
	r.refused = (double)w->refused / w->count;
	return r;
}

static void print_row(const struct policy *p, const struct result r[], bool told)
{
	printf("%-11s", p->name);
	for (size_t o = 0; o < N(outages_s); o++) {
		printf(" | %6.1f", r[o].peak);
		if (told && p->ours)
			printf(" %5.2f", r[o].told_peak);
		else if (told)
			printf(" %5s", "-");
		printf(" %s%5.2f %7.1f", r[o].done ? " " : ">", r[o].time, r[o].refused);
	}
	putchar('\n');
}

static void print_head(int32_t count, enum refusal how)
{
	bool told = how == REFUSE_RETRY_AFTER;

	printf("\n%" PRId32 " bridges, refused by %s\n%-11s", count, refusal_names[how], "outage");
	for (size_t o = 0; o < N(outages_s); o++)
		printf(" | %3d s %*s", outages_s[o], told ? 22 : 16, "");
	printf("\n%-11s", "policy");
	for (size_t o = 0; o < N(outages_s); o++)
		printf(" |   peak%s  to 99%% refused", told ? "  told" : "");
	putchar('\n');
}

/* Counts the targets missed; prints each. */
static int judge(struct result r[N(policies)][N(outages_s)], enum refusal how, int32_t count)
{
	int missed = 0;

	for (size_t o = 0; o < N(outages_s); o++) {
		const struct result *us = &r[0][o];

		for (size_t p = 1; p < N(policies); p++) {
			if (policies[p].jitter != JITTER_NONE || us->peak * 5 <= r[p][o].peak)
				continue;
			printf("MISSED: %d s: peak %.1f is not five times under %s\n", outages_s[o], us->peak, policies[p].name);
			missed++;
		}
		if (!us->done || us->time > 1.6) {
			printf("MISSED: %d s: 99%% only after %.2f times the ideal\n", outages_s[o], us->time);
			missed++;
		}
		if (how == REFUSE_RETRY_AFTER && count >= CROWD && us->told_peak >= 1.5) {
			printf("MISSED: %d s: those told peak at %.2f\n", outages_s[o], us->told_peak);
			missed++;
		}
	}
	return missed;
}

static int storm(int32_t count, struct world *w)
{
	int missed = 0;

	w->count = count;
	w->bridges = must(calloc((size_t)count, sizeof *w->bridges));
	w->breakers = must(calloc((size_t)count, sizeof *w->breakers));
	for (int how = 0; how < REFUSE_COUNT; how++) {
		struct result r[N(policies)][N(outages_s)];

		w->refusal = (enum refusal)how;
		print_head(count, w->refusal);
		for (size_t p = 0; p < N(policies); p++) {
			w->policy = &policies[p];
			for (size_t o = 0; o < N(outages_s); o++)
				r[p][o] = world_run(w, outages_s[o]);
			print_row(w->policy, r[p], w->refusal == REFUSE_RETRY_AFTER);
			fflush(stdout);
		}
		missed += judge(r, w->refusal, count);
	}
	free(w->bridges);
	free(w->breakers);
	return missed;
}

int main(int argc, char **argv)
{
	struct world w = { .count = 0 };
	int missed = 0;

	w.arrivals = must(malloc((size_t)(HORIZON_MS + outages_s[N(outages_s) - 1] * 1000) * sizeof *w.arrivals));
	w.slices = must(calloc(SLICES, sizeof *w.slices));
	w.told = must(calloc(SLICES, sizeof *w.told));
	puts("peak: busiest second after the return / capacity; to 99%: time / 99 s; refused: for each bridge");
	if (argc > 1) {
		for (int i = 1; i < argc; i++) {
			int32_t n = (int32_t)strtol(argv[i], NULL, 10);

			if (n < 100 || n > 1000000) {
				fprintf(stderr, "usage: storm [bridges...] (100 to 1000000)\n");
				return 2;
			}
			missed += storm(n, &w);
		}
	} else {
		for (size_t i = 0; i < N(crowds); i++)
			missed += storm(crowds[i], &w);
	}
	free(w.arrivals);
	free(w.slices);
	free(w.told);
	printf("\n%s\n", missed ? "targets missed" : "every target met");
	return missed != 0;
}
