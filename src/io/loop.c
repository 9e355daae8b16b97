/* Waiting for descriptors, signals and the time; nothing else in the program
 * asks the kernel for any of these. What is watched is kept in a table by
 * descriptor; epoll (or poll) is told about it, and a stale report for a
 * descriptor that is no longer in the table is dropped.
 *
 * Signals arrive by a pipe of our own: the handler writes the number, the loop
 * wakes up, reads it and queues it. Two of the same kind stay two, and a flood
 * of one kind does not crowd out another. */
#include "io/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#ifdef __linux__
#include <sys/timerfd.h>
#elif !defined(LOOP_POLL)
#define LOOP_POLL
#endif
#ifdef LOOP_POLL
#include <poll.h>
#else
#include <sys/epoll.h>
#endif

#define LOOP_BATCH 64       /* kernel events taken in one go */
#define LOOP_SIGNALS 16     /* different ones that can be caught */
#define LOOP_SAME 2         /* of one kind that wait to be taken; more tell nothing new */
#define LOOP_FIRST_FDS 64
#define FAR_S ((time_t)(sizeof(time_t) > 4 ? INT64_C(1) << 33 : INT32_MAX)) /* the year 2242 */

enum watch_kind { WATCH_NONE, WATCH_FD, WATCH_FILE };

struct watch {
	uint64_t tag;
	unsigned events;
	enum watch_kind kind;
};

struct loop {
	struct watch *watch; /* by fd */
	int nwatch;          /* size of the table */
	int nfiles;          /* entries that are WATCH_FILE */
#ifdef LOOP_POLL
	struct pollfd *pfd;  /* as large as the table */
	int turn;            /* where the next report starts, so that nobody starves */
#else
	int epfd;
#endif
	int clockfd; /* readable when the wall clock was set, which every resume from sleep does; -1 none */
	int sigpipe[2];
	int queued[LOOP_SIGNALS * LOOP_SAME], nqueued;
	struct { int signo; struct sigaction old; } saved[LOOP_SIGNALS];
	int nsaved;
};

/* The handler can know only globals. */
static volatile sig_atomic_t signal_fd = -1;

static int64_t clock_us(clockid_t id)
{
	struct timespec ts;

	if (clock_gettime(id, &ts) < 0)
		return 0;
	return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

int64_t loop_now_us(void)
{
	return clock_us(CLOCK_MONOTONIC);
}

int64_t loop_now(void)
{
	return loop_now_us() / 1000;
}

int64_t loop_boot_now(void)
{
#ifdef CLOCK_BOOTTIME
	return clock_us(CLOCK_BOOTTIME) / 1000;
#else
	return loop_now();
#endif
}

int64_t loop_wall_now(void)
{
	return (int64_t)time(NULL);
}

static int table_fit(struct loop *l, int fd)
{
	int n = l->nwatch ? l->nwatch : LOOP_FIRST_FDS;
	struct watch *w;

	if (fd < l->nwatch)
		return 0;
	while (n <= fd)
		n = n > INT_MAX / 2 ? INT_MAX : n * 2;
#ifdef LOOP_POLL
	struct pollfd *p = realloc(l->pfd, (size_t)n * sizeof(*p));
	if (!p)
		return -1;
	l->pfd = p;
#endif
	w = realloc(l->watch, (size_t)n * sizeof(*w));
	if (!w)
		return -1;
	memset(w + l->nwatch, 0, (size_t)(n - l->nwatch) * sizeof(*w));
	l->watch = w;
	l->nwatch = n;
	return 0;
}

/* ---- the two kernels' ways: tell(), untell(), wait_fds() ---- */

static void add_event(struct loop *l, int fd, bool in, bool out, bool hup, struct loop_event *ev, int *n)
{
	const struct watch *w = &l->watch[fd];
	unsigned got = (in ? LOOP_READ : 0) | (out ? LOOP_WRITE : 0);

	/* After a hang-up the pending read or write tells the reason at once, so
	 * whoever asked for one is woken for it. */
	if (hup)
		got |= LOOP_READ | LOOP_WRITE;
	got &= w->events;
	if (hup)
		got |= LOOP_HUP;
	if (got)
		ev[(*n)++] = (struct loop_event){ .tag = w->tag, .fd = fd, .events = got };
}

static void signals_collect(struct loop *l);

/* The loop's own descriptors: true when it was one of them. */
static bool own_event(struct loop *l, int fd)
{
	uint64_t ticks;
	ssize_t rc;

	if (fd == l->sigpipe[0]) {
		signals_collect(l);
		return true;
	}
	if (fd != l->clockfd)
		return false;
	rc = read(fd, &ticks, sizeof(ticks)); /* fails with ECANCELED; to have woken is enough */
	(void)rc;
	return true;
}

#ifdef LOOP_POLL

static int backend_open(struct loop *l)
{
	l->turn = 0;
	return 0;
}

static void backend_close(struct loop *l)
{
	free(l->pfd);
}

/* poll() would call a regular file ready by itself; nothing needs telling. */
static enum watch_kind tell(struct loop *l, int fd, unsigned events)
{
	(void)l;
	(void)events;
	return fcntl(fd, F_GETFD) < 0 ? WATCH_NONE : WATCH_FD;
}

static void untell(struct loop *l, int fd)
{
	(void)l;
	(void)fd;
}

static int wait_fds(struct loop *l, int timeout, struct loop_event *ev, int max)
{
	nfds_t n = 0;
	int got = 0;

	for (int i = 0; i < l->nwatch; i++) {
		int fd = (i + l->turn) % l->nwatch;
		unsigned want = l->watch[fd].events;

		if (l->watch[fd].kind == WATCH_FD)
			l->pfd[n++] = (struct pollfd){ .fd = fd, .events = (short)(
				(want & LOOP_READ ? POLLIN : 0) | (want & LOOP_WRITE ? POLLOUT : 0)) };
	}
	if (poll(l->pfd, n, timeout) <= 0)
		return 0;
	for (nfds_t i = 0; i < n && got < max; i++) {
		int re = l->pfd[i].revents, fd = l->pfd[i].fd;

		if (!re)
			continue;
		if (!own_event(l, fd))
			add_event(l, fd, re & POLLIN, re & POLLOUT, re & (POLLHUP | POLLERR | POLLNVAL), ev, &got);
		l->turn = (fd + 1) % l->nwatch;
	}
	return got;
}

#else

static int backend_open(struct loop *l)
{
	l->epfd = epoll_create1(EPOLL_CLOEXEC);
	return l->epfd < 0 ? -1 : 0;
}

static void backend_close(struct loop *l)
{
	if (l->epfd >= 0)
		close(l->epfd);
}

static enum watch_kind tell(struct loop *l, int fd, unsigned events)
{
	struct epoll_event e = { .events = (events & LOOP_READ ? EPOLLIN : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u) };
	bool known = l->watch[fd].kind == WATCH_FD;

	e.data.fd = fd;
	if (epoll_ctl(l->epfd, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) == 0)
		return WATCH_FD;
	/* The number may have been closed and given out again since. */
	if (errno == ENOENT || errno == EEXIST) {
		if (epoll_ctl(l->epfd, errno == ENOENT ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &e) == 0)
			return WATCH_FD;
	}
	return errno == EPERM ? WATCH_FILE : WATCH_NONE;
}

static void untell(struct loop *l, int fd)
{
	struct epoll_event unused = { 0 };

	epoll_ctl(l->epfd, EPOLL_CTL_DEL, fd, &unused);
}

static int wait_fds(struct loop *l, int timeout, struct loop_event *ev, int max)
{
	struct epoll_event e[LOOP_BATCH];
	int n, got = 0;

	n = epoll_wait(l->epfd, e, max < LOOP_BATCH ? max : LOOP_BATCH, timeout);
	for (int i = 0; i < n; i++) {
		int fd = e[i].data.fd;
		uint32_t re = e[i].events;

		if (!own_event(l, fd) && fd < l->nwatch && l->watch[fd].kind == WATCH_FD)
			add_event(l, fd, re & EPOLLIN, re & EPOLLOUT, re & (EPOLLHUP | EPOLLERR), ev, &got);
	}
	return got;
}

#endif

/* ---- the loop ---- */

/* The clock that deadlines are counted by stands still while the machine sleeps,
 * so nothing would wake us when it wakes. A timer for the end of time that is
 * cancelled when the wall clock is set does, and costs nothing. Without it a
 * sleep is noticed at the next event or deadline. */
static void clock_watch(struct loop *l)
{
#if defined(__linux__) && defined(TFD_TIMER_CANCEL_ON_SET)
	const struct itimerspec never = { .it_value.tv_sec = FAR_S };

	l->clockfd = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK | TFD_CLOEXEC);
	if (l->clockfd < 0)
		return;
	if (timerfd_settime(l->clockfd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &never, NULL) == 0 &&
	    loop_set(l, l->clockfd, LOOP_READ, 0) == 0)
		return;
	close(l->clockfd);
	l->clockfd = -1;
#else
	(void)l;
#endif
}

struct loop *loop_new(struct err *e)
{
	struct loop *l = calloc(1, sizeof(*l));

	if (!l) {
		err_set(e, "no memory for the event loop");
		return NULL;
	}
	l->sigpipe[0] = l->sigpipe[1] = l->clockfd = -1;
	if (backend_open(l) < 0) {
		err_set(e, "can not create the event loop (%s)", strerror(errno));
		free(l);
		return NULL;
	}
	clock_watch(l);
	return l;
}

static void signals_restore(struct loop *l)
{
	while (l->nsaved > 0) {
		l->nsaved--;
		sigaction(l->saved[l->nsaved].signo, &l->saved[l->nsaved].old, NULL);
	}
	if (l->sigpipe[1] >= 0 && signal_fd == l->sigpipe[1])
		signal_fd = -1;
	for (int i = 0; i < 2; i++)
		if (l->sigpipe[i] >= 0)
			close(l->sigpipe[i]);
	l->sigpipe[0] = l->sigpipe[1] = -1;
}

void loop_free(struct loop *l)
{
	if (!l)
		return;
	signals_restore(l);
	if (l->clockfd >= 0)
		close(l->clockfd);
	backend_close(l);
	free(l->watch);
	free(l);
}

int loop_set(struct loop *l, int fd, unsigned events, uint64_t tag)
{
	struct watch *w;
	enum watch_kind kind;

	if (fd < 0 || table_fit(l, fd) < 0)
		return -1;
	w = &l->watch[fd];
	kind = tell(l, fd, events);
	l->nfiles += (kind == WATCH_FILE) - (w->kind == WATCH_FILE);
	*w = (struct watch){ .tag = tag, .events = events, .kind = kind };
	return kind == WATCH_NONE ? -1 : 0;
}

void loop_del(struct loop *l, int fd)
{
	struct watch *w;

	if (fd < 0 || fd >= l->nwatch)
		return;
	w = &l->watch[fd];
	if (w->kind == WATCH_FD)
		untell(l, fd);
	l->nfiles -= w->kind == WATCH_FILE;
	*w = (struct watch){ .kind = WATCH_NONE };
}

/* How many always-ready files somebody is waiting for. */
static int files_wanted(const struct loop *l)
{
	int n = 0;

	for (int fd = 0, left = l->nfiles; left > 0 && fd < l->nwatch; fd++)
		if (l->watch[fd].kind == WATCH_FILE) {
			left--;
			n += (l->watch[fd].events & (LOOP_READ | LOOP_WRITE)) != 0;
		}
	return n;
}

static int add_files(struct loop *l, struct loop_event *ev, int got, int max)
{
	for (int fd = 0; fd < l->nwatch && got < max; fd++)
		if (l->watch[fd].kind == WATCH_FILE)
			add_event(l, fd, true, true, false, ev, &got);
	return got;
}

static int wait_ms(int64_t deadline_ms)
{
	int64_t left;

	if (deadline_ms == 0)
		return -1;
	left = deadline_ms - loop_now();
	if (left <= 0)
		return 0;
	return left > INT_MAX ? INT_MAX : (int)left;
}

int loop_wait(struct loop *l, int64_t deadline_ms, struct loop_event *ev, int max)
{
	int files, timeout, got;

	if (max <= 0)
		return 0;
	files = files_wanted(l);
	timeout = files > 0 || l->nqueued > 0 ? 0 : wait_ms(deadline_ms);
	got = wait_fds(l, timeout, ev, max > files ? max - files : 1);
	return files > 0 ? add_files(l, ev, got, max) : got;
}

/* ---- signals ---- */

static void on_signal(int signo)
{
	int saved = errno;
	unsigned char byte = (unsigned char)signo;
	ssize_t rc;

	if (signal_fd >= 0) {
		rc = write((int)signal_fd, &byte, 1);
		(void)rc; /* full: thousands are waiting already */
	}
	errno = saved;
}

static void signal_queue(struct loop *l, int signo)
{
	int same = 0;

	for (int i = 0; i < l->nqueued; i++)
		same += l->queued[i] == signo;
	if (same < LOOP_SAME && l->nqueued < LOOP_SIGNALS * LOOP_SAME)
		l->queued[l->nqueued++] = signo;
}

static void signals_collect(struct loop *l)
{
	unsigned char byte[LOOP_SIGNALS];
	ssize_t n;

	if (l->sigpipe[0] < 0)
		return;
	while ((n = read(l->sigpipe[0], byte, sizeof(byte))) > 0 || (n < 0 && errno == EINTR))
		for (ssize_t i = 0; i < n; i++)
			signal_queue(l, byte[i]);
}

static int signals_pipe(struct loop *l)
{
	if (l->sigpipe[0] >= 0)
		return 0;
	if (pipe(l->sigpipe) < 0)
		return -1;
	for (int i = 0; i < 2; i++)
		if (fcntl(l->sigpipe[i], F_SETFD, FD_CLOEXEC) < 0 || fcntl(l->sigpipe[i], F_SETFL, O_NONBLOCK) < 0)
			goto fail;
	if (loop_set(l, l->sigpipe[0], LOOP_READ, 0) < 0)
		goto fail;
	signal_fd = l->sigpipe[1];
	return 0;
fail:
	signals_restore(l);
	return -1;
}

static int signal_catch(struct loop *l, int signo)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, was;
	sigset_t set;

	if (l->nsaved == LOOP_SIGNALS) {
		errno = EINVAL;
		return -1;
	}
	if (signo == SIGHUP && sigaction(signo, NULL, &was) == 0 && was.sa_handler == SIG_IGN)
		return 0;
	sigemptyset(&sa.sa_mask);
	if (sigaction(signo, &sa, &l->saved[l->nsaved].old) < 0)
		return -1;
	l->saved[l->nsaved++].signo = signo;
	/* Whoever started us may have blocked it. */
	sigemptyset(&set);
	sigaddset(&set, signo);
	return sigprocmask(SIG_UNBLOCK, &set, NULL);
}

int loop_signals(struct loop *l, const int *signals, int n, struct err *e)
{
	if (signals_pipe(l) < 0)
		return err_set(e, "can not set up the signal pipe (%s)", strerror(errno));
	for (int i = 0; i < n; i++)
		if (signal_catch(l, signals[i]) < 0)
			return err_set(e, "can not catch signal %d (%s)", signals[i], strerror(errno));
	return 0;
}

int loop_next_signal(struct loop *l)
{
	int signo;

	if (l->nqueued == 0)
		return 0;
	signo = l->queued[0];
	l->nqueued--;
	memmove(l->queued, l->queued + 1, (size_t)l->nqueued * sizeof(l->queued[0]));
	return signo;
}
