/* Reading and writing a shared descriptor without blocking and without
 * changing it for anybody else. A pipe or terminal is opened a second time, so
 * that O_NONBLOCK sits on a description of our own; where the system only
 * hands out duplicates, poll() is asked before every call instead.
 *
 * A regular file is never opened again: the second description would begin at
 * offset 0. Our description of a pipe counts as one more reader or writer of
 * it until nbfd_close(); it is close-on-exec, and an error or hang-up of the
 * other side shows on it just as on the original. */
#include "base/nbfd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MSG_NOSIGNAL
#define MSG_NOSIGNAL 0
#endif
#ifdef __linux__
#define NBFD_DIR "/proc/self/fd"
#else
#define NBFD_DIR "/dev/fd"
#endif

static int poll_now(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int rc;

	do
		rc = poll(&p, 1, 0);
	while (rc < 0 && errno == EINTR);
	return rc > 0 ? p.revents : 0;
}

/* A new description of the pipe or terminal behind fd, or -1. */
static int reopen(int fd, bool writing)
{
	char path[sizeof(NBFD_DIR) + 16];
	int again, flags;

	snprintf(path, sizeof(path), NBFD_DIR "/%d", fd);
	again = open(path, (writing ? O_WRONLY : O_RDONLY) | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	if (again < 0)
		return -1;
	/* Where opening means duplicating, the flag was ignored. */
	flags = fcntl(again, F_GETFL);
	if (flags < 0 || !(flags & O_NONBLOCK))
		goto fail;
	/* A named FIFO opened while it has no writer never reports their absence
	 * as a hang-up; the descriptor that saw the writers go still does. */
	if (!writing && (poll_now(fd, POLLIN) & POLLHUP))
		goto fail;
	return again;
fail:
	close(again);
	return -1;
}

void nbfd_open(struct nbfd *n, int fd, bool writing)
{
	struct stat st;
	int again;

	*n = (struct nbfd){ .fd = -1, .kind = NBFD_CLOSED };
	if (fd < 0 || fstat(fd, &st) < 0)
		return;
	n->fd = fd;
	if (S_ISSOCK(st.st_mode)) {
		n->kind = NBFD_SOCKET;
		return;
	}
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode) || S_ISBLK(st.st_mode) ||
	    (S_ISCHR(st.st_mode) && !isatty(fd))) {
		n->kind = NBFD_FILE;
		return;
	}
	n->kind = NBFD_POLLED;
	if (!S_ISFIFO(st.st_mode) && !S_ISCHR(st.st_mode))
		return;
	again = reopen(fd, writing);
	if (again >= 0)
		*n = (struct nbfd){ .fd = again, .owned = true, .kind = NBFD_REOPENED };
}

void nbfd_close(struct nbfd *n)
{
	if (n->owned)
		close(n->fd);
	*n = (struct nbfd){ .fd = -1, .kind = NBFD_CLOSED };
}

static ssize_t not_now(void)
{
	errno = EAGAIN;
	return -1;
}

/* One name for "not now", whatever the system calls it. */
static ssize_t result(ssize_t rc)
{
#if EWOULDBLOCK != EAGAIN
	if (rc < 0 && errno == EWOULDBLOCK)
		errno = EAGAIN;
#endif
	return rc;
}

ssize_t nbfd_read(struct nbfd *n, void *p, size_t len)
{
	ssize_t rc;

	if (n->kind == NBFD_POLLED && !poll_now(n->fd, POLLIN))
		return not_now();
	do
		rc = n->kind == NBFD_SOCKET ? recv(n->fd, p, len, MSG_DONTWAIT) : read(n->fd, p, len);
	while (rc < 0 && errno == EINTR);
	return result(rc);
}

ssize_t nbfd_write(struct nbfd *n, const void *p, size_t len)
{
	ssize_t rc;

	if (n->kind == NBFD_POLLED) {
		if (!poll_now(n->fd, POLLOUT))
			return not_now();
		/* Ready means room for this much at once, and no more. */
		if (len > PIPE_BUF)
			len = PIPE_BUF;
	}
	do
		rc = n->kind == NBFD_SOCKET ? send(n->fd, p, len, MSG_DONTWAIT | MSG_NOSIGNAL)
					    : write(n->fd, p, len);
	while (rc < 0 && errno == EINTR);
	return result(rc);
}

bool nbfd_always_ready(const struct nbfd *n)
{
	return n->kind == NBFD_FILE;
}
