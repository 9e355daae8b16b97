/* Millions of invented events, the same ones on every run; EVENTS in the
 * environment says how many, for tools that make each a hundred times slower. A
 * failure names its seed, which is told step by step when it is run alone:
 * test_session_random SEED. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core_random.h"

#ifndef STEPS
#define STEPS 4000000
#endif
#define LIFE 900      /* steps of one session */

static uint64_t live(uint64_t seed, bool trace)
{
	static struct world w;
	uint64_t steps;

	memset(&w.d, 0, sizeof(w.d));
	w.p.trace = trace;
	rng_seed(&w.d.rng, seed);
	world_begin(&w, seed);
	while (!w.p.ended && w.steps < LIFE)
		world_step(&w);
	steps = w.steps;
	world_end(&w);
	return steps;
}

static uint64_t current_seed;

static void name_the_seed(int sig)
{
	fprintf(stderr, "seed %llu\n", (unsigned long long)current_seed);
	signal(sig, SIG_DFL);
	raise(sig);
}

static void invented_events_never_break_a_promise(void **state)
{
	const char *wish = getenv("EVENTS");
	uint64_t steps = 0, wanted = wish ? strtoull(wish, NULL, 10) : STEPS;

	(void)state;
	for (current_seed = 1; steps < wanted; current_seed++)
		steps += live(current_seed, false);
	print_message("%llu events in %llu lives\n", (unsigned long long)steps, (unsigned long long)current_seed - 1);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(invented_events_never_break_a_promise) };

	if (argc > 1) {
		current_seed = strtoull(argv[1], NULL, 10);
		live(current_seed, true);
		return 0;
	}
	signal(SIGABRT, name_the_seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
