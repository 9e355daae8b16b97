/* The client's side: lines in, a queue out, over pipes, sockets and files. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/stdio.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MAX_LINE 1000

struct side {
	struct loop *l;
	struct stdio *s;
	int in[2], out[2]; /* the test writes in[1] and reads out[0] */
};

static struct side open_pipes(size_t max_line)
{
	struct side t;

	t.l = loop_new(NULL);
	assert_int_equal(pipe(t.in), 0);
	assert_int_equal(pipe(t.out), 0);
	t.s = stdio_new(t.l, t.in[0], t.out[1], max_line, NULL);
	assert_non_null(t.s);
	return t;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_pipes(struct side *t)
{
	stdio_free(t->s);
	loop_free(t->l);
	for (int i = 0; i < 2; i++) {
		close_one(&t->in[i]);
		close_one(&t->out[i]);
	}
}

/* Handles what is ready now; how many events there were. */
static int turn(struct side *t)
{
	struct loop_event ev[4];
	int n = loop_wait(t->l, 1, ev, 4);

	for (int i = 0; i < n; i++)
		assert_true(stdio_on_event(t->s, &ev[i]));
	return n;
}

static void send_all(struct side *t, const char *p, size_t n)
{
	assert_int_equal(write(t->in[1], p, n), n);
}

static void send_text(struct side *t, const char *s)
{
	send_all(t, s, strlen(s));
}

static void expect(struct side *t, enum stdio_line kind, const char *want)
{
	struct span line;

	assert_int_equal(stdio_next(t->s, &line), kind);
	if (want)
		assert_true(span_is(line, want));
	else
		assert_null(line.p);
}

static void lines_are_cut_and_cleaned(void **state)
{
	struct side t = open_pipes(MAX_LINE);

	(void)state;
	expect(&t, STDIO_NONE, NULL);
	send_text(&t, "one\ntwo\r\n\n\r\n \t \n  three \nhalf");
	assert_int_equal(turn(&t), 1);
	assert_true(stdio_pending(t.s));
	expect(&t, STDIO_LINE, "one");
	expect(&t, STDIO_LINE, "two");
	assert_true(stdio_pending(t.s));
	expect(&t, STDIO_LINE, "  three ");
	assert_false(stdio_pending(t.s));
	expect(&t, STDIO_NONE, NULL);
	assert_false(stdio_eof(t.s));
	send_text(&t, " and half\r");
	turn(&t);
	expect(&t, STDIO_NONE, NULL);
	send_text(&t, "\n");
	turn(&t);
	expect(&t, STDIO_LINE, "half and half");
	close_pipes(&t);
}

static void a_byte_at_a_time_gives_the_same(void **state)
{
	static const char text[] = "\r\n{\"a\":1}\r\n\n[]\n";
	struct side t = open_pipes(MAX_LINE);
	struct span line;
	int n = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		send_all(&t, text + i, 1);
		turn(&t);
		while (stdio_next(t.s, &line) == STDIO_LINE)
			assert_true(span_is(line, n++ == 0 ? "{\"a\":1}" : "[]"));
	}
	assert_int_equal(n, 2);
	close_pipes(&t);
}

static void a_nul_byte_is_a_byte(void **state)
{
	struct side t = open_pipes(MAX_LINE);
	struct span line;

	(void)state;
	send_all(&t, "a\0b\n", 4);
	turn(&t);
	assert_int_equal(stdio_next(t.s, &line), STDIO_LINE);
	assert_true(span_eq(line, span_make("a\0b", 3)));
	close_pipes(&t);
}

static void the_last_line_may_lack_its_newline(void **state)
{
	static const struct { const char *text, *first, *last; } cases[] = {
		{ "a\nlast", "a", "last" }, { "a\nlast\r", "a", "last" }, { "a\n", "a", NULL },
		{ "a", "a", NULL }, { "a\n\r\n  ", "a", NULL },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++) {
		struct side t = open_pipes(MAX_LINE);

		send_text(&t, cases[i].text);
		close_one(&t.in[1]);
		while (turn(&t) > 0)
			;
		assert_false(stdio_eof(t.s));
		assert_true(stdio_pending(t.s));
		expect(&t, STDIO_LINE, cases[i].first);
		if (cases[i].last) {
			assert_false(stdio_eof(t.s));
			expect(&t, STDIO_LINE, cases[i].last);
		}
		assert_true(stdio_eof(t.s));
		expect(&t, STDIO_NONE, NULL);
		/* A stdin that has ended is off the loop: nothing spins. */
		assert_int_equal(turn(&t), 0);
		close_pipes(&t);
	}
}

static void a_line_that_is_too_long_is_said_once_and_skipped(void **state)
{
	static const struct { size_t len; const char *end; bool fits; } cases[] = {
		{ MAX_LINE, "\n", true }, { MAX_LINE, "\r\n", true }, { MAX_LINE + 1, "\n", false },
		{ MAX_LINE + 1, "\r\n", false }, { MAX_LINE + 2, "\n", false }, { 60000, "\n", false },
	};
	char *big = malloc(70000);

	(void)state;
	memset(big, 'x', 70000);
	for (size_t i = 0; i < COUNT(cases); i++)
		for (int whole = 0; whole < 2; whole++) {
			struct side t = open_pipes(MAX_LINE);
			struct span line;

			send_text(&t, "before\n");
			send_all(&t, big, cases[i].len);
			if (whole)
				send_text(&t, cases[i].end);
			while (turn(&t) > 0)
				;
			expect(&t, STDIO_LINE, "before");
			if (!whole && cases[i].len <= MAX_LINE + 1) {
				expect(&t, STDIO_NONE, NULL);
				send_text(&t, cases[i].end);
				turn(&t);
				whole = 1;
			}
			assert_int_equal(stdio_next(t.s, &line), cases[i].fits ? STDIO_LINE : STDIO_TOO_LONG);
			assert_int_equal(line.n, cases[i].len);
			if (!whole) {
				send_all(&t, big, 5000);
				turn(&t);
				expect(&t, STDIO_NONE, NULL);
				send_text(&t, "rest\r\n\n");
			}
			send_text(&t, "after\n");
			turn(&t);
			expect(&t, STDIO_LINE, "after");
			expect(&t, STDIO_NONE, NULL);
			close_pipes(&t);
		}
	free(big);
}

static void a_too_long_last_line_is_said_and_then_it_ends(void **state)
{
	struct side t = open_pipes(4);

	(void)state;
	send_text(&t, "12345");
	close_one(&t.in[1]);
	while (turn(&t) > 0)
		;
	expect(&t, STDIO_TOO_LONG, "12345");
	assert_true(stdio_eof(t.s));
	close_pipes(&t);

	t = open_pipes(4);
	send_text(&t, "123456");
	turn(&t);
	expect(&t, STDIO_TOO_LONG, "123456");
	send_text(&t, "789");
	close_one(&t.in[1]);
	while (turn(&t) > 0)
		;
	expect(&t, STDIO_NONE, NULL);
	assert_true(stdio_eof(t.s));
	close_pipes(&t);
}

/* The test's end of a pipe or socket, driven from inside the loop's turns. */
static void set_nonblocking(int fd)
{
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
}

static char pattern(size_t i)
{
	return (char)('a' + i % 23);
}

static void large_lines_come_whole_and_can_be_taken(void **state)
{
	static const size_t sizes[] = { 10, 65535, 65536, 200000, 5000000 };

	(void)state;
	for (size_t k = 0; k < COUNT(sizes); k++) {
		struct side t = open_pipes(6000000);
		size_t n = sizes[k], sent = 0;
		char *text = malloc(n + 6);
		struct span line;
		struct buf out;

		for (size_t i = 0; i < n; i++)
			text[i] = pattern(i);
		memcpy(text + n, "\nnext\n", 6);
		set_nonblocking(t.in[1]);
		while (sent < n + 6) {
			ssize_t rc = write(t.in[1], text + sent, n + 6 - sent);

			if (rc > 0)
				sent += (size_t)rc;
			turn(&t);
		}
		while (turn(&t) > 0)
			;
		assert_int_equal(stdio_next(t.s, &line), STDIO_LINE);
		assert_true(span_eq(line, span_make(text, n)));
		assert_true(stdio_pending(t.s));
		buf_init(&out, 6000000);
		assert_int_equal(buf_puts(&out, "old"), 0);
		assert_int_equal(stdio_take(t.s, &out), 0);
		assert_true(span_eq(buf_span(&out), span_make(text, n)));
		expect(&t, STDIO_LINE, "next");
		assert_true(span_eq(buf_span(&out), span_make(text, n)));
		expect(&t, STDIO_NONE, NULL);
		assert_int_equal(stdio_take(t.s, &out), -1);
		buf_fini(&out);
		free(text);
		close_pipes(&t);
	}
}

static void reading_stops_and_goes_on_when_told(void **state)
{
	struct side t = open_pipes(MAX_LINE);

	(void)state;
	send_text(&t, "one\ntwo\n");
	turn(&t);
	stdio_read_enable(t.s, false);
	send_text(&t, "three\n");
	assert_int_equal(turn(&t), 0);
	expect(&t, STDIO_LINE, "one");
	expect(&t, STDIO_LINE, "two");
	expect(&t, STDIO_NONE, NULL);
	/* Hung up while we are not reading: no event, and no loss later. */
	close_one(&t.in[1]);
	assert_int_equal(turn(&t), 0);
	assert_false(stdio_eof(t.s));
	stdio_read_enable(t.s, true);
	stdio_read_enable(t.s, true);
	while (turn(&t) > 0)
		;
	expect(&t, STDIO_LINE, "three");
	assert_true(stdio_eof(t.s));
	close_pipes(&t);
}

static void lines_that_nobody_takes_stop_the_reading(void **state)
{
	static char text[65536];
	struct side t = open_pipes(MAX_LINE);
	struct span line;
	size_t sent = 0, got = 0;
	int quiet = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i % 16 == 15 ? '\n' : 'x';
	set_nonblocking(t.in[1]);
	while (quiet < 3) {
		ssize_t rc = write(t.in[1], text, sizeof(text));

		sent += rc > 0 ? (size_t)rc : 0;
		quiet = turn(&t) == 0 && rc < 0 ? quiet + 1 : 0;
		assert_true(sent < 10 * sizeof(text));
	}
	do {
		while (stdio_next(t.s, &line) == STDIO_LINE) {
			assert_int_equal(line.n, 15);
			got += 16;
		}
	} while (turn(&t) > 0);
	assert_int_equal(got, sent);
	close_pipes(&t);
}

static void a_file_and_dev_null_serve_as_stdin_and_stdout(void **state)
{
	FILE *in = tmpfile(), *out = tmpfile();
	int null = open("/dev/null", O_RDWR);
	struct side t = { .l = loop_new(NULL), .in = { -1, -1 }, .out = { -1, -1 } };
	char back[32];

	(void)state;
	fputs("skipped\none\ntwo", in);
	fflush(in);
	lseek(fileno(in), 8, SEEK_SET);
	t.s = stdio_new(t.l, fileno(in), fileno(out), MAX_LINE, NULL);
	assert_non_null(t.s);
	while (turn(&t) > 0)
		;
	expect(&t, STDIO_LINE, "one");
	expect(&t, STDIO_LINE, "two");
	assert_true(stdio_eof(t.s));
	assert_int_equal(stdio_write(t.s, SPAN_LIT("answer")), 0);
	stdio_flush(t.s);
	assert_int_equal(stdio_queued(t.s), 0);
	assert_int_equal(pread(fileno(out), back, sizeof(back), 0), 7);
	assert_memory_equal(back, "answer\n", 7);
	assert_int_equal(stdio_out_closed(t.s), 0);
	stdio_free(t.s);

	t.s = stdio_new(t.l, null, null, MAX_LINE, NULL);
	assert_non_null(t.s);
	assert_int_equal(turn(&t), 1);
	assert_true(stdio_eof(t.s));
	assert_int_equal(stdio_write(t.s, SPAN_LIT("answer")), 0);
	stdio_flush(t.s);
	assert_int_equal(stdio_queued(t.s), 0);
	assert_int_equal(turn(&t), 0);
	stdio_free(t.s);
	loop_free(t.l);
	fclose(in);
	fclose(out);
	close(null);
}

static void one_socket_serves_both_ways(void **state)
{
	(void)state;
	for (int same_number = 0; same_number < 2; same_number++) {
		struct side t = { .l = loop_new(NULL), .in = { -1, -1 }, .out = { -1, -1 } };
		int s[2], other;
		char back[32];

		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
		other = dup(s[0]);
		t.in[1] = s[1];
		t.s = stdio_new(t.l, s[0], same_number ? s[0] : other, MAX_LINE, NULL);
		assert_non_null(t.s);
		send_text(&t, "question\nhalf");
		turn(&t);
		expect(&t, STDIO_LINE, "question");
		assert_int_equal(stdio_write(t.s, SPAN_LIT("answer")), 0);
		stdio_flush(t.s);
		assert_int_equal(read(s[1], back, sizeof(back)), 7);
		/* The client has said all it will say, and still listens. */
		shutdown(s[1], SHUT_WR);
		while (turn(&t) > 0)
			;
		expect(&t, STDIO_LINE, "half");
		assert_true(stdio_eof(t.s));
		assert_int_equal(stdio_out_closed(t.s), 0);
		assert_int_equal(stdio_write(t.s, SPAN_LIT("bye")), 0);
		stdio_flush(t.s);
		assert_int_equal(read(s[1], back, sizeof(back)), 4);
		close_one(&t.in[1]);
		while (turn(&t) > 0)
			;
		assert_int_not_equal(stdio_out_closed(t.s), 0);
		close(other);
		close(s[0]);
		stdio_free(t.s);
		loop_free(t.l);
	}
}

static void a_stdout_that_nobody_reads_is_noticed_without_writing(void **state)
{
	struct side t = open_pipes(MAX_LINE);

	(void)state;
	assert_int_equal(stdio_write(t.s, SPAN_LIT("queued")), 0);
	assert_int_equal(turn(&t), 0);
	close_one(&t.out[0]);
	assert_int_equal(turn(&t), 1);
	assert_int_equal(stdio_out_closed(t.s), EPIPE);
	assert_int_equal(stdio_queued(t.s), 0);
	assert_int_equal(turn(&t), 0);
	assert_int_equal(stdio_write(t.s, SPAN_LIT("more")), 0);
	stdio_flush(t.s);
	assert_int_equal(stdio_queued(t.s), 0);
	close_pipes(&t);
}

static void a_write_error_closes_stdout_with_its_reason(void **state)
{
	struct side t = open_pipes(MAX_LINE);
	int full = open("/dev/full", O_WRONLY);
	struct stdio *s;

	(void)state;
	close_one(&t.out[0]);
	assert_int_equal(stdio_write(t.s, SPAN_LIT("x")), 0);
	stdio_flush(t.s);
	assert_int_equal(stdio_out_closed(t.s), EPIPE);
	s = stdio_new(t.l, -1, full, MAX_LINE, NULL);
	assert_non_null(s);
	assert_int_equal(stdio_write(s, SPAN_LIT("x")), 0);
	stdio_flush(s);
	assert_int_equal(stdio_out_closed(s), full < 0 ? EBADF : ENOSPC);
	stdio_free(s);
	close(full);
	close_pipes(&t);
}

static void closed_descriptors_are_an_end_and_no_crash(void **state)
{
	struct side t = { .l = loop_new(NULL) };
	struct err e = { "" };

	(void)state;
	t.s = stdio_new(t.l, -1, -1, MAX_LINE, &e);
	assert_non_null(t.s);
	assert_true(stdio_eof(t.s));
	assert_int_equal(stdio_out_closed(t.s), EBADF);
	stdio_read_enable(t.s, false);
	stdio_read_enable(t.s, true);
	assert_int_equal(stdio_write(t.s, SPAN_LIT("x")), 0);
	stdio_flush(t.s);
	assert_int_equal(turn(&t), 0);
	stdio_free(t.s);
	stdio_free(NULL);
	assert_null(stdio_new(t.l, -1, -1, SIZE_MAX, &e));
	assert_true(e.text[0] != '\0');
	loop_free(t.l);
}

static void an_event_of_somebody_else_is_not_ours(void **state)
{
	struct side t = open_pipes(MAX_LINE);
	struct loop_event other = { .tag = 5, .fd = t.in[0], .events = LOOP_READ };

	(void)state;
	assert_false(stdio_on_event(t.s, &other));
	close_pipes(&t);
}

/* Writes lines of every size, taken and copied, into a pipe that is read in
 * odd pieces; every byte must come once and in order. */
static void what_is_queued_comes_out_once_and_in_order(void **state)
{
	static const size_t sizes[] = { 1, 100, 5, 65534, 65535, 0, 7, 65536, 300000, 3, 65533, 40000, 40000, 2000000, 1 };
	struct side t = open_pipes(MAX_LINE);
	size_t total = 0, got = 0, queued = 0;
	char *want = malloc(4000000), back[4999];

	(void)state;
	set_nonblocking(t.out[0]);
	for (size_t k = 0; k < COUNT(sizes) * 2; k++) {
		size_t n = sizes[k % COUNT(sizes)];
		struct buf b;
		ssize_t rc;

		if (total + n + 1 > 4000000)
			break;
		for (size_t i = 0; i < n; i++)
			want[total + i] = pattern(i + k);
		want[total + n] = '\n';
		if (k % 2) {
			buf_init(&b, n + 4);
			assert_int_equal(buf_puts(&b, "skip"), 0);
			buf_consume(&b, k % 4 == 3 ? 4 : 0);
			if (b.len)
				buf_reset(&b);
			assert_int_equal(buf_append(&b, want + total, n), 0);
			assert_int_equal(stdio_write_take(t.s, &b), 0);
			assert_int_equal(b.len, 0);
			buf_fini(&b);
		} else {
			assert_int_equal(stdio_write(t.s, span_make(want + total, n)), 0);
		}
		total += n + 1;
		queued += n + 1;
		if (k % 3 == 0)
			stdio_flush(t.s);
		assert_true(stdio_queued(t.s) <= queued);
		rc = read(t.out[0], back, sizeof(back));
		if (rc > 0) {
			assert_memory_equal(back, want + got, (size_t)rc);
			got += (size_t)rc;
		}
	}
	while (got < total) {
		ssize_t rc;

		stdio_flush(t.s);
		rc = read(t.out[0], back, sizeof(back));
		assert_true(rc > 0);
		assert_memory_equal(back, want + got, (size_t)rc);
		got += (size_t)rc;
	}
	assert_int_equal(stdio_queued(t.s), 0);
	assert_int_equal(read(t.out[0], back, 1), -1);
	free(want);
	close_pipes(&t);
}

static void a_full_stdout_wakes_the_loop_when_there_is_room(void **state)
{
	struct side t = open_pipes(MAX_LINE);
	char *big = calloc(1, 1000000), back[4096];
	size_t queued;

	(void)state;
	assert_int_equal(stdio_write(t.s, span_make(big, 1000000)), 0);
	stdio_flush(t.s);
	queued = stdio_queued(t.s);
	assert_true(queued > 0 && queued < 1000000);
	assert_int_equal(turn(&t), 0);
	for (int i = 0; i < 16; i++)
		assert_int_equal(read(t.out[0], back, sizeof(back)), sizeof(back));
	assert_int_equal(turn(&t), 1);
	stdio_flush(t.s);
	assert_true(stdio_queued(t.s) < queued);
	free(big);
	close_pipes(&t);
}

static void small_lines_share_one_write(void **state)
{
	struct side t = open_pipes(MAX_LINE);
	char back[4096];

	(void)state;
	for (int i = 0; i < 100; i++)
		assert_int_equal(stdio_write(t.s, SPAN_LIT("{}")), 0);
	assert_int_equal(stdio_queued(t.s), 300);
	stdio_flush(t.s);
	assert_int_equal(read(t.out[0], back, sizeof(back)), 300);
	close_pipes(&t);
}

static void only_a_full_pipe_is_made_wider(void **state)
{
#ifdef F_GETPIPE_SZ
	struct side t = open_pipes(MAX_LINE);
	char line[999];
	int first = fcntl(t.out[1], F_GETPIPE_SZ);

	memset(line, 'x', sizeof(line));
	assert_int_equal(stdio_write(t.s, span_make(line, sizeof(line))), 0);
	stdio_flush(t.s);
	assert_int_equal(stdio_queued(t.s), 0);
	assert_int_equal(fcntl(t.out[1], F_GETPIPE_SZ), first);
	for (int i = 0; i < first; i += (int)sizeof(line))
		assert_int_equal(stdio_write(t.s, span_make(line, sizeof(line))), 0);
	stdio_flush(t.s);
	assert_true(fcntl(t.out[1], F_GETPIPE_SZ) > first);
	assert_int_equal(stdio_queued(t.s), 0);
	close_pipes(&t);
#endif
	(void)state;
}

static void a_pipe_that_pours_is_made_wider(void **state)
{
#ifdef F_GETPIPE_SZ
	struct side t = open_pipes(1 << 20);
	char *big = calloc(1, 1 << 20);
	int first = fcntl(t.in[0], F_GETPIPE_SZ);
	struct span line;

	assert_non_null(big);
	memset(big, 'x', 1 << 20);
	stdio_read_enable(t.s, true);
	send_text(&t, "one\n");
	turn(&t);
	expect(&t, STDIO_LINE, "one");
	assert_int_equal(fcntl(t.in[0], F_GETPIPE_SZ), first);
	for (int i = 0; i < first; i += 4096)
		send_all(&t, big, 4096);
	for (int i = 0; i < 8; i++)
		turn(&t);
	assert_true(fcntl(t.in[0], F_GETPIPE_SZ) > first);
	send_text(&t, "\n");
	turn(&t);
	assert_int_equal(stdio_next(t.s, &line), STDIO_LINE);
	assert_int_equal(line.n, first);
	close_pipes(&t);
	free(big);
#endif
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_cut_and_cleaned),
		cmocka_unit_test(a_byte_at_a_time_gives_the_same),
		cmocka_unit_test(a_nul_byte_is_a_byte),
		cmocka_unit_test(the_last_line_may_lack_its_newline),
		cmocka_unit_test(a_line_that_is_too_long_is_said_once_and_skipped),
		cmocka_unit_test(a_too_long_last_line_is_said_and_then_it_ends),
		cmocka_unit_test(large_lines_come_whole_and_can_be_taken),
		cmocka_unit_test(reading_stops_and_goes_on_when_told),
		cmocka_unit_test(lines_that_nobody_takes_stop_the_reading),
		cmocka_unit_test(a_file_and_dev_null_serve_as_stdin_and_stdout),
		cmocka_unit_test(one_socket_serves_both_ways),
		cmocka_unit_test(a_stdout_that_nobody_reads_is_noticed_without_writing),
		cmocka_unit_test(a_write_error_closes_stdout_with_its_reason),
		cmocka_unit_test(closed_descriptors_are_an_end_and_no_crash),
		cmocka_unit_test(an_event_of_somebody_else_is_not_ours),
		cmocka_unit_test(what_is_queued_comes_out_once_and_in_order),
		cmocka_unit_test(a_full_stdout_wakes_the_loop_when_there_is_room),
		cmocka_unit_test(small_lines_share_one_write),
		cmocka_unit_test(only_a_full_pipe_is_made_wider),
		cmocka_unit_test(a_pipe_that_pours_is_made_wider),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
