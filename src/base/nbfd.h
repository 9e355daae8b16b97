/* Reading and writing a descriptor that somebody else may share, without ever
 * blocking and without touching its O_NONBLOCK flag (which belongs to the open
 * file description, so to the other holders too).
 *
 * Sockets: MSG_DONTWAIT. Pipes and terminals: opened again through
 * /proc/self/fd (or /dev/fd) with O_NONBLOCK, so that the flag is ours alone;
 * where that fails, at most PIPE_BUF bytes after poll() said ready. Regular
 * files and /dev/null: always ready. */
#ifndef BASE_NBFD_H
#define BASE_NBFD_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum nbfd_kind { NBFD_CLOSED, NBFD_SOCKET, NBFD_REOPENED, NBFD_POLLED, NBFD_FILE };

struct nbfd {
	int fd;      /* what to poll and to use; -1 when closed */
	bool owned;  /* fd is a description of ours and is closed by nbfd_close() */
	enum nbfd_kind kind;
};

/* Looks at fd (which stays open and unchanged). writing: open for writing. */
void nbfd_open(struct nbfd *n, int fd, bool writing);
void nbfd_close(struct nbfd *n);
/* Like read() and write(): bytes, 0 at end (read), or -1 with errno; EAGAIN
 * means "not now". EINTR is retried. A write never raises SIGPIPE for
 * sockets; for pipes the process is expected to ignore it. */
ssize_t nbfd_read(struct nbfd *n, void *p, size_t len);
ssize_t nbfd_write(struct nbfd *n, const void *p, size_t len);
/* A regular file or /dev/null: epoll refuses it, it is always ready. */
bool nbfd_always_ready(const struct nbfd *n);

#endif
