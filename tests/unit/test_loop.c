/* The loop: readiness, hang-ups, files, signals and deadlines. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/loop.h"

#define MANY 100

static struct loop_event ev[MANY];

static struct loop *fresh(void)
{
	struct loop *l = loop_new(NULL);

	assert_non_null(l);
	return l;
}

/* A deadline that has passed: look, and do not wait. */
static int look(struct loop *l)
{
	return loop_wait(l, 1, ev, MANY);
}

static void a_pipe_is_reported_when_it_is_ready(void **state)
{
	struct loop *l = fresh();
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(loop_set(l, p[0], LOOP_READ, 77), 0);
	assert_int_equal(look(l), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(loop_wait(l, 0, ev, MANY), 1);
	assert_int_equal(ev[0].tag, 77);
	assert_int_equal(ev[0].fd, p[0]);
	assert_int_equal(ev[0].events, LOOP_READ);
	assert_int_equal(loop_set(l, p[0], 0, 78), 0);
	assert_int_equal(look(l), 0);
	assert_int_equal(loop_set(l, p[1], LOOP_WRITE, 79), 0);
	assert_int_equal(look(l), 1);
	assert_int_equal(ev[0].tag, 79);
	assert_int_equal(ev[0].events, LOOP_WRITE);
	loop_del(l, p[1]);
	loop_del(l, p[1]);
	assert_int_equal(look(l), 0);
	close(p[0]);
	close(p[1]);
	loop_free(l);
}

static void a_hang_up_is_reported_unasked(void **state)
{
	struct loop *l = fresh();
	int p[2], s[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	assert_int_equal(loop_set(l, p[1], 0, 1), 0);
	assert_int_equal(loop_set(l, s[0], 0, 2), 0);
	assert_int_equal(look(l), 0);
	close(p[0]);
	assert_int_equal(look(l), 1);
	assert_int_equal(ev[0].tag, 1);
	assert_int_equal(ev[0].events, LOOP_HUP);
	loop_del(l, p[1]);
	close(s[1]);
	assert_int_equal(look(l), 1);
	assert_int_equal(ev[0].events, LOOP_HUP);
	/* Who asked to read is told to read as well, to learn the reason. */
	assert_int_equal(loop_set(l, s[0], LOOP_READ | LOOP_WRITE, 2), 0);
	assert_int_equal(look(l), 1);
	assert_int_equal(ev[0].events, LOOP_HUP | LOOP_READ | LOOP_WRITE);
	close(s[0]);
	close(p[1]);
	loop_free(l);
}

static void files_are_always_ready_for_what_is_asked(void **state)
{
	struct loop *l = fresh();
	int null = open("/dev/null", O_RDWR), self = open("/dev/zero", O_RDONLY), p[2];
	FILE *f = tmpfile();

	(void)state;
	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(loop_set(l, null, 0, 1), 0);
	assert_int_equal(loop_set(l, fileno(f), 0, 2), 0);
	assert_int_equal(look(l), 0);
	assert_int_equal(loop_set(l, null, LOOP_WRITE, 1), 0);
	assert_int_equal(loop_set(l, fileno(f), LOOP_READ, 2), 0);
	assert_int_equal(loop_set(l, p[0], LOOP_READ, 3), 0);
	for (int turn = 0; turn < 3; turn++) {
		unsigned seen = 0;

		assert_int_equal(loop_wait(l, 0, ev, MANY), 3);
		for (int i = 0; i < 3; i++)
			seen |= 1u << ev[i].tag;
		assert_int_equal(seen, 14);
	}
	loop_del(l, null);
	loop_del(l, fileno(f));
	assert_int_equal(look(l), 1);
	close(null);
	close(self);
	close(p[0]);
	close(p[1]);
	fclose(f);
	loop_free(l);
}

static void what_can_not_be_watched_is_refused(void **state)
{
	struct loop *l = fresh();
	int p[2];

	(void)state;
	assert_int_equal(loop_set(l, -1, LOOP_READ, 1), -1);
	assert_int_equal(pipe(p), 0);
	close(p[0]);
	close(p[1]);
	assert_int_equal(loop_set(l, p[0], LOOP_READ, 1), -1);
	loop_del(l, -1);
	loop_del(l, 100000);
	assert_int_equal(look(l), 0);
	assert_int_equal(loop_wait(l, 1, ev, 0), 0);
	loop_free(l);
	loop_free(NULL);
}

static void a_number_that_was_closed_and_given_out_again_works(void **state)
{
	struct loop *l = fresh();
	int a[2], b[2];

	(void)state;
	assert_int_equal(pipe(a), 0);
	assert_int_equal(loop_set(l, a[0], LOOP_READ, 1), 0);
	close(a[0]);
	close(a[1]);
	assert_int_equal(pipe(b), 0);
	assert_int_equal(b[0], a[0]);
	assert_int_equal(loop_set(l, b[0], LOOP_READ, 2), 0);
	assert_int_equal(write(b[1], "x", 1), 1);
	assert_int_equal(look(l), 1);
	assert_int_equal(ev[0].tag, 2);
	close(b[0]);
	close(b[1]);
	loop_free(l);
}

static void nobody_starves_when_more_are_ready_than_fit(void **state)
{
	struct loop *l = fresh();
	int p[MANY][2];
	unsigned seen[MANY] = { 0 };

	(void)state;
	for (unsigned i = 0; i < MANY; i++) {
		assert_int_equal(pipe(p[i]), 0);
		assert_int_equal(write(p[i][1], "x", 1), 1);
		assert_int_equal(loop_set(l, p[i][0], LOOP_READ, i), 0);
	}
	for (int turn = 0; turn < 3 * MANY; turn++) {
		int n = loop_wait(l, 0, ev, 7);

		assert_in_range(n, 1, 7);
		for (int i = 0; i < n; i++)
			seen[ev[i].tag]++;
	}
	for (int i = 0; i < MANY; i++) {
		assert_true(seen[i] > 0);
		close(p[i][0]);
		close(p[i][1]);
	}
	loop_free(l);
}

static void a_deadline_ends_the_wait_and_not_before(void **state)
{
	struct loop *l = fresh();
	int64_t until = loop_now() + 20;

	(void)state;
	assert_int_equal(loop_wait(l, until, ev, MANY), 0);
	assert_true(loop_now() >= until);
	assert_true(loop_now_us() / 1000 >= until);
	assert_true(loop_boot_now() > 0);
	assert_true(loop_wall_now() > 1700000000);
	loop_free(l);
}

static void signals_are_collected_in_order_and_end_the_wait(void **state)
{
	static const int watched[] = { SIGTERM, SIGHUP, SIGUSR1 };
	struct loop *l = fresh();
	struct err e;
	int p[2];

	(void)state;
	signal(SIGHUP, SIG_DFL); /* whatever started the test */
	assert_int_equal(loop_signals(l, watched, 3, &e), 0);
	assert_int_equal(loop_next_signal(l), 0);
	raise(SIGTERM);
	assert_int_equal(loop_wait(l, 0, ev, MANY), 0);
	assert_int_equal(loop_next_signal(l), SIGTERM);
	assert_int_equal(loop_next_signal(l), 0);
	raise(SIGTERM);
	raise(SIGHUP);
	raise(SIGTERM);
	assert_int_equal(pipe(p), 0);
	assert_int_equal(write(p[1], "x", 1), 1);
	assert_int_equal(loop_set(l, p[0], LOOP_READ, 9), 0);
	assert_int_equal(loop_wait(l, 0, ev, MANY), 1);
	assert_int_equal(ev[0].tag, 9);
	loop_del(l, p[0]);
	/* What waits to be taken keeps the loop awake. */
	assert_int_equal(loop_wait(l, 0, ev, MANY), 0);
	assert_int_equal(loop_next_signal(l), SIGTERM);
	assert_int_equal(loop_next_signal(l), SIGHUP);
	assert_int_equal(loop_next_signal(l), SIGTERM);
	assert_int_equal(loop_next_signal(l), 0);
	for (int i = 0; i < 1000; i++)
		raise(SIGUSR1);
	raise(SIGTERM);
	assert_int_equal(loop_wait(l, 0, ev, MANY), 0);
	assert_int_equal(loop_next_signal(l), SIGUSR1);
	assert_int_equal(loop_next_signal(l), SIGUSR1);
	assert_int_equal(loop_next_signal(l), SIGTERM);
	assert_int_equal(loop_next_signal(l), 0);
	close(p[0]);
	close(p[1]);
	loop_free(l);
}

static void a_hangup_that_was_ignored_stays_so(void **state)
{
	static const int watched[] = { SIGHUP, SIGTERM };
	struct loop *l = fresh();
	struct err e;

	(void)state;
	signal(SIGHUP, SIG_IGN);
	assert_int_equal(loop_signals(l, watched, 2, &e), 0);
	raise(SIGHUP);
	raise(SIGTERM);
	assert_int_equal(loop_wait(l, 0, ev, MANY), 0);
	assert_int_equal(loop_next_signal(l), SIGTERM);
	assert_int_equal(loop_next_signal(l), 0);
	loop_free(l);
	signal(SIGHUP, SIG_DFL);
}

static void a_signal_that_was_blocked_is_collected(void **state)
{
	static const int usr2 = SIGUSR2;
	struct loop *l = fresh();
	sigset_t set;

	(void)state;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	assert_int_equal(sigprocmask(SIG_BLOCK, &set, NULL), 0);
	assert_int_equal(loop_signals(l, &usr2, 1, NULL), 0);
	raise(SIGUSR2);
	assert_int_equal(loop_wait(l, loop_now(), ev, MANY), 0);
	assert_int_equal(loop_next_signal(l), SIGUSR2);
	loop_free(l);
}

static void a_freed_loop_gives_the_signals_back(void **state)
{
	struct sigaction sa = { .sa_handler = SIG_IGN }, now;
	static const int usr2 = SIGUSR2, impossible = SIGKILL;
	struct loop *l = fresh();
	struct err e = { "" };

	(void)state;
	assert_int_equal(sigaction(SIGUSR2, &sa, NULL), 0);
	assert_int_equal(loop_signals(l, &usr2, 1, NULL), 0);
	assert_int_equal(loop_signals(l, &impossible, 1, &e), -1);
	assert_true(e.text[0] != '\0');
	loop_free(l);
	assert_int_equal(sigaction(SIGUSR2, NULL, &now), 0);
	assert_ptr_equal(now.sa_handler, SIG_IGN);
	raise(SIGUSR2);
}

static void without_descriptors_there_is_no_loop_and_a_reason(void **state)
{
	struct rlimit old, none;
	struct err e = { "" };
	struct loop *l = fresh(), *m;
	int fd = dup(0);

	(void)state;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = (rlim_t)fd;
	close(fd);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	m = loop_new(&e);
	if (!m)
		assert_true(e.text[0] != '\0');
	loop_free(m);
	e.text[0] = '\0';
	assert_int_equal(loop_signals(l, NULL, 0, &e), -1);
	assert_true(e.text[0] != '\0');
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_int_equal(loop_signals(l, NULL, 0, &e), 0);
	loop_free(l);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pipe_is_reported_when_it_is_ready),
		cmocka_unit_test(a_hang_up_is_reported_unasked),
		cmocka_unit_test(files_are_always_ready_for_what_is_asked),
		cmocka_unit_test(what_can_not_be_watched_is_refused),
		cmocka_unit_test(a_number_that_was_closed_and_given_out_again_works),
		cmocka_unit_test(nobody_starves_when_more_are_ready_than_fit),
		cmocka_unit_test(a_deadline_ends_the_wait_and_not_before),
		cmocka_unit_test(signals_are_collected_in_order_and_end_the_wait),
		cmocka_unit_test(a_hangup_that_was_ignored_stays_so),
		cmocka_unit_test(a_signal_that_was_blocked_is_collected),
		cmocka_unit_test(a_freed_loop_gives_the_signals_back),
		cmocka_unit_test(without_descriptors_there_is_no_loop_and_a_reason),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
