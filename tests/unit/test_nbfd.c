/* Shared descriptors: never blocking, never changed for their other holders. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/nbfd.h"

static char big[1 << 20];

static void assert_blocking(int fd)
{
	assert_false(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static void assert_again(ssize_t rc)
{
	assert_int_equal(rc, -1);
	assert_int_equal(errno, EAGAIN);
}

static void fill(struct nbfd *n)
{
	ssize_t rc, all = 0;

	while ((rc = nbfd_write(n, big, sizeof(big))) > 0)
		all += rc;
	assert_again(rc);
	assert_true(all > 0);
}

static void a_pipe_is_opened_again_and_the_original_left_alone(void **state)
{
	struct nbfd r, w;
	int p[2];
	char c[4];

	(void)state;
	assert_int_equal(pipe(p), 0);
	nbfd_open(&r, p[0], false);
	nbfd_open(&w, p[1], true);
#ifdef __linux__
	assert_int_equal(r.kind, NBFD_REOPENED);
	assert_int_equal(w.kind, NBFD_REOPENED);
	assert_int_not_equal(r.fd, p[0]);
	assert_true(fcntl(r.fd, F_GETFD) & FD_CLOEXEC);
#endif
	assert_false(nbfd_always_ready(&r));
	assert_again(nbfd_read(&r, c, sizeof(c)));
	assert_int_equal(nbfd_write(&w, "abc", 3), 3);
	assert_int_equal(nbfd_read(&r, c, sizeof(c)), 3);
	fill(&w);
	assert_blocking(p[0]);
	assert_blocking(p[1]);
	nbfd_close(&w);
	close(p[1]);
	while (nbfd_read(&r, big, sizeof(big)) > 0)
		;
	assert_int_equal(nbfd_read(&r, c, sizeof(c)), 0);
	nbfd_close(&r);
	assert_int_equal(r.fd, -1);
	assert_true(fcntl(p[0], F_GETFD) >= 0);
	close(p[0]);
}

static void a_pipe_that_can_only_be_polled_does_not_block_either(void **state)
{
	struct nbfd r, w;
	int p[2];
	char c[4];

	(void)state;
	assert_int_equal(pipe(p), 0);
	r = (struct nbfd){ .fd = p[0], .kind = NBFD_POLLED };
	w = (struct nbfd){ .fd = p[1], .kind = NBFD_POLLED };
	assert_again(nbfd_read(&r, c, sizeof(c)));
	fill(&w);
	assert_int_equal(nbfd_read(&r, c, sizeof(c)), 4);
	assert_again(nbfd_write(&w, big, sizeof(big)));
	assert_blocking(p[1]);
	nbfd_close(&w);
	assert_true(fcntl(p[1], F_GETFD) >= 0);
	close(p[1]);
	close(p[0]);
}

static void a_pipe_that_nobody_reads_any_more_is_an_error(void **state)
{
	struct nbfd w;
	int p[2];

	(void)state;
	assert_int_equal(pipe(p), 0);
	nbfd_open(&w, p[1], true);
	close(p[0]);
	assert_int_equal(nbfd_write(&w, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	nbfd_close(&w);
	/* Opened after the fact: the FIFO can not be opened again, which must not matter. */
	nbfd_open(&w, p[1], true);
	assert_int_equal(nbfd_write(&w, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	nbfd_close(&w);
	close(p[1]);
}

static void a_socket_is_used_as_it_is(void **state)
{
	struct nbfd n;
	int s[2];
	char c[4];

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	nbfd_open(&n, s[0], true);
	assert_int_equal(n.kind, NBFD_SOCKET);
	assert_int_equal(n.fd, s[0]);
	assert_again(nbfd_read(&n, c, sizeof(c)));
	fill(&n);
	assert_blocking(s[0]);
	/* No SIGPIPE, although nobody ignores it here. */
	signal(SIGPIPE, SIG_DFL);
	close(s[1]);
	assert_int_equal(nbfd_write(&n, "x", 1), -1);
	assert_int_equal(errno, EPIPE);
	signal(SIGPIPE, SIG_IGN);
	nbfd_close(&n);
	close(s[0]);
}

static void a_regular_file_keeps_its_offset(void **state)
{
	FILE *f = tmpfile();
	struct nbfd r, w;
	int fd = fileno(f);
	char c[8];

	(void)state;
	assert_int_equal(write(fd, "abcdef", 6), 6);
	assert_int_equal(lseek(fd, 2, SEEK_SET), 2);
	nbfd_open(&r, fd, false);
	assert_int_equal(r.kind, NBFD_FILE);
	assert_true(nbfd_always_ready(&r));
	assert_int_equal(nbfd_read(&r, c, 2), 2);
	assert_memory_equal(c, "cd", 2);
	nbfd_open(&w, fd, true);
	assert_int_equal(nbfd_write(&w, "XY", 2), 2);
	assert_int_equal(nbfd_read(&r, c, 2), 0);
	assert_int_equal(pread(fd, c, 8, 0), 6);
	assert_memory_equal(c, "abcdXY", 6);
	fclose(f);
}

static void dev_null_is_a_file(void **state)
{
	struct nbfd n;
	int fd = open("/dev/null", O_RDWR);
	char c;

	(void)state;
	nbfd_open(&n, fd, true);
	assert_true(nbfd_always_ready(&n));
	assert_int_equal(nbfd_write(&n, big, sizeof(big)), sizeof(big));
	assert_int_equal(nbfd_read(&n, &c, 1), 0);
	close(fd);
}

static void a_full_device_is_an_error(void **state)
{
	struct nbfd n;
	int fd = open("/dev/full", O_WRONLY);

	(void)state;
	if (fd < 0)
		skip(); /* there is no such device, as on a BSD */
	nbfd_open(&n, fd, true);
	assert_int_equal(nbfd_write(&n, "x", 1), -1);
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void a_terminal_is_opened_again(void **state)
{
	struct nbfd n;
	int master = posix_openpt(O_RDWR | O_NOCTTY), fd;
	char c[8];

	(void)state;
	if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
		skip(); /* no pseudo terminals here, as in a bare container */
	fd = open(ptsname(master), O_RDWR | O_NOCTTY);
	assert_true(fd >= 0);
	nbfd_open(&n, fd, false);
	assert_true(n.kind == NBFD_REOPENED || n.kind == NBFD_POLLED);
	assert_again(nbfd_read(&n, c, sizeof(c)));
	assert_blocking(fd);
	assert_int_equal(write(master, "hi\n", 3), 3);
	assert_int_equal(nbfd_read(&n, c, sizeof(c)), 3);
	nbfd_close(&n);
	close(fd);
	close(master);
}

static void a_closed_number_is_closed(void **state)
{
	struct nbfd n;
	int fd = dup(0);
	char c;

	(void)state;
	close(fd);
	nbfd_open(&n, fd, false);
	assert_int_equal(n.kind, NBFD_CLOSED);
	assert_int_equal(n.fd, -1);
	assert_int_equal(nbfd_read(&n, &c, 1), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(nbfd_write(&n, &c, 1), -1);
	nbfd_open(&n, -1, true);
	assert_int_equal(n.kind, NBFD_CLOSED);
	nbfd_close(&n);
	assert_false(nbfd_always_ready(&n));
}

/* A second description of a named FIFO never hears that the writers have gone
 * when they went before it was opened. */
static void a_fifo_whose_writers_have_gone_still_shows_its_end(void **state)
{
	char dir[] = "/tmp/nbfd-XXXXXX", path[64], c[8];
	struct nbfd n;
	int r, w;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	r = open(path, O_RDONLY | O_NONBLOCK);
	assert_int_equal(fcntl(r, F_SETFL, 0), 0);
	w = open(path, O_WRONLY);
	assert_int_equal(write(w, "last", 4), 4);
	close(w);
	nbfd_open(&n, r, false);
	for (int i = 0; i < 2; i++) {
		struct pollfd p = { .fd = n.fd, .events = POLLIN };

		assert_int_equal(poll(&p, 1, 0), 1);
		assert_int_equal(nbfd_read(&n, c, sizeof(c)), i == 0 ? 4 : 0);
	}
	nbfd_close(&n);
	close(r);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pipe_is_opened_again_and_the_original_left_alone),
		cmocka_unit_test(a_pipe_that_can_only_be_polled_does_not_block_either),
		cmocka_unit_test(a_pipe_that_nobody_reads_any_more_is_an_error),
		cmocka_unit_test(a_socket_is_used_as_it_is),
		cmocka_unit_test(a_regular_file_keeps_its_offset),
		cmocka_unit_test(dev_null_is_a_file),
		cmocka_unit_test(a_full_device_is_an_error),
		cmocka_unit_test(a_terminal_is_opened_again),
		cmocka_unit_test(a_closed_number_is_closed),
		cmocka_unit_test(a_fifo_whose_writers_have_gone_still_shows_its_end),
	};

	signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
