/* libcurl names the sockets it wants watched and the time it wants to be woken;
 * this passes both on to the loop and tells libcurl's events from other ones.
 * It also knows which sockets are open but not in use: libcurl keeps finished
 * connections for the next request and has no call to give them up.
 *
 * A socket that libcurl no longer wants watched is usually wanted again by the
 * next request, and for the same thing. So it stays on the loop until it says
 * something in between, which costs two calls of the kernel less for a request.
 * What it says then is that the server has closed it, and so how long the server
 * keeps a connection that is idle: twice the same is believed. Such a connection is
 * given up: libcurl would see the end of it, but not behind bytes that stand before
 * it (the closing of TLS, a 408), and take those for the next answer. */
#include "io/http_sockets.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "io/http_transfer.h"

#define TAG_SPACE UINT64_C(0x4854545000000000) /* the low half is the descriptor */
#define TAG_MASK UINT64_C(0xffffffff00000000)

#define FD_OPEN 1u
#define FD_WATCHED 2u
#define FD_HELD 4u
#define FD_IN 8u         /* what it is watched for */
#define FD_OUT 16u
#define FD_MISSED 32u    /* the loop had no memory for it */
#define FD_LEFT 64u      /* on the loop though libcurl does not want it, for reading only */
#define FD_FOREIGN 128u
#define FD_STALLED 256u  /* left by a transfer that goes on when there is room */
#define FD_ALL 0x1ffu

#define FIRST_FDS ((size_t)256)
#define MISSED_RETRY_MS 100
#define KEPT_LEAST_MS 2500 /* what is closed sooner was hardly closed for being idle */
#define KEPT_SAME_MS 1000
#define HASTY_MS 1000      /* closed within this time after an answer */
#define HASTY_APART_MS 5   /* a server that ends closes all at once, and only that */
#define HASTY_MANY 3
#define BRIEF_MS 60000     /* how long that is believed */
#define GIVE_UP_READS 16

/* Clears, then sets. The table grows only to set something. */
static int fd_mark(struct http_sockets *s, int fd, unsigned set, unsigned clear)
{
	size_t i = (size_t)fd, n;
	struct http_socket *p;

	if (fd < 0)
		return -1;
	if (i >= s->n) {
		if (!set)
			return 0;
		n = (i + 1) * 2;
		p = realloc(s->fd, n * sizeof *p);
		if (!p)
			return -1;
		memset(p + s->n, 0, (n - s->n) * sizeof *p);
		s->fd = p;
		s->n = n;
	}
	s->fd[i].state = (unsigned short)((s->fd[i].state & ~clear) | set);
	s->fd[i].left_at = 0;
	return 0;
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg)
{
	struct http_sockets *s = arg;

	(void)multi;
	if (timeout_ms < 0)
		s->deadline = 0;
	else if (timeout_ms == 0)
		s->deadline = 1; /* long past, whatever time it is */
	else /* rounded up: a wakeup before libcurl's own deadline would only spin */
		s->deadline = (loop_now_us() + 999) / 1000 + timeout_ms;
	return 0;
}

static int watch(struct http_sockets *s, int fd, unsigned state)
{
	unsigned events = (state & FD_IN ? LOOP_READ : 0) | (state & FD_OUT ? LOOP_WRITE : 0);

	return loop_set(s->loop, fd, events, TAG_SPACE | (uint32_t)fd);
}

static bool is_left(const struct http_sockets *s, int fd)
{
	return (size_t)fd < s->n && (s->fd[fd].state & FD_LEFT);
}

static bool is_stalled(CURL *easy)
{
	struct transfer *t = NULL;

	curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&t);
	return t && t->stalled;
}

/* libcurl wants it watched no longer. */
static void leave(struct http_sockets *s, int fd, bool stalled)
{
	const unsigned reading = FD_OPEN | FD_WATCHED | FD_IN;

	if ((size_t)fd < s->n && (s->fd[fd].state & (reading | FD_OUT | FD_MISSED)) == reading) {
		fd_mark(s, fd, stalled ? FD_LEFT | FD_STALLED : FD_LEFT, FD_WATCHED);
		s->fd[fd].left_at = loop_now();
		return;
	}
	fd_mark(s, fd, 0, FD_WATCHED | FD_MISSED);
	loop_del(s->loop, fd);
}

/* A failure reported to libcurl would end the multi handle for good, with every
 * transfer in it; so the socket is remembered and tried again. */
static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
	struct http_sockets *s = arg;
	unsigned state = FD_WATCHED;

	(void)socket_arg;
	if (what == CURL_POLL_REMOVE) {
		leave(s, fd, is_stalled(easy));
		return 0;
	}
	state |= what & CURL_POLL_IN ? FD_IN : 0;
	state |= what & CURL_POLL_OUT ? FD_OUT : 0;
	if (state == (FD_WATCHED | FD_IN) && is_left(s, fd)) {
		fd_mark(s, fd, state, FD_LEFT | FD_STALLED);
		return 0;
	}
	if (watch(s, fd, state) < 0) {
		state |= FD_MISSED;
		s->retry_at = loop_now() + MISSED_RETRY_MS;
	}
	fd_mark(s, fd, state, FD_IN | FD_OUT | FD_MISSED | FD_LEFT | FD_STALLED);
	return 0;
}

void http_sockets_retry(struct http_sockets *s, int64_t now)
{
	if (!s->retry_at || now < s->retry_at)
		return;
	s->retry_at = 0;
	for (size_t fd = 0; fd < s->n; fd++) {
		if (!(s->fd[fd].state & FD_MISSED))
			continue;
		if (watch(s, (int)fd, s->fd[fd].state) < 0)
			s->retry_at = now + MISSED_RETRY_MS;
		else
			s->fd[fd].state &= (unsigned short)~FD_MISSED;
	}
}

int64_t http_sockets_deadline(const struct http_sockets *s)
{
	if (!s->deadline || !s->retry_at)
		return s->deadline + s->retry_at;
	return s->deadline < s->retry_at ? s->deadline : s->retry_at;
}

static int socket_new(const struct curl_sockaddr *a)
{
	int fd;

#ifdef SOCK_CLOEXEC
	fd = socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
#else
	fd = socket(a->family, a->socktype, a->protocol);
	if (fd >= 0)
		(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
#endif
	return fd;
}

curl_socket_t http_sockets_open(struct http_sockets *s, const struct curl_sockaddr *a, bool foreign)
{
	int fd = socket_new(a);

	if (fd < 0)
		return CURL_SOCKET_BAD;
	if (fd_mark(s, fd, foreign ? FD_OPEN | FD_FOREIGN : FD_OPEN, FD_ALL) < 0) {
		close(fd);
		return CURL_SOCKET_BAD;
	}
	return fd;
}

int http_sockets_on_close(void *arg, curl_socket_t fd)
{
	struct http_sockets *s = arg;

	if ((size_t)fd < s->n && (s->fd[fd].state & (FD_WATCHED | FD_LEFT)))
		loop_del(s->loop, fd);
	fd_mark(s, fd, 0, FD_ALL);
	return close(fd);
}

static void closed_hastily(struct http_sockets *s, int64_t now)
{
	if (now - s->hasty_at < HASTY_APART_MS)
		return;
	s->hasty_at = now;
	if (s->hasty < HASTY_MANY && ++s->hasty == HASTY_MANY)
		log_debug("the server closes each connection after its answer; none is used again for a while");
}

void http_sockets_reused(struct http_sockets *s, bool alive)
{
	if (alive)
		s->hasty = 0;
	else
		closed_hastily(s, loop_now());
}

bool http_sockets_brief(struct http_sockets *s)
{
	if (s->hasty == HASTY_MANY && loop_now() - s->hasty_at >= BRIEF_MS)
		s->hasty--; /* the next one shows */
	return s->hasty == HASTY_MANY && !s->multiplexed;
}

/* A server that ends closes all at once, and at any time: what counts is that
 * two were idle for the same time when they were closed at different times. */
static void learn_kept(struct http_sockets *s, const struct http_socket *x)
{
	int64_t now = loop_now(), idle = now - x->left_at;

	if (x->left_at && !(x->state & FD_FOREIGN) && idle < HASTY_MS)
		closed_hastily(s, now);
	if (!x->left_at || (x->state & FD_FOREIGN) || idle < KEPT_LEAST_MS || now - s->closed_at < KEPT_SAME_MS)
		return;
	if (idle - s->idle_ms < KEPT_SAME_MS && s->idle_ms - idle < KEPT_SAME_MS)
		s->kept_ms = idle < s->idle_ms ? idle : s->idle_ms;
	s->idle_ms = idle;
	s->closed_at = now;
	log_debug("the server closed a connection that was idle for %.1f s", (double)idle / 1000);
}

/* libcurl looks at a kept connection before it uses it, and takes one that was
 * shut down for what it is when there is nothing left to read from it. */
static void give_up(int fd)
{
	char waste[4096];

	(void)shutdown(fd, SHUT_RDWR);
	for (int i = 0; i < GIVE_UP_READS && recv(fd, waste, sizeof waste, MSG_DONTWAIT) > 0; i++)
		;
}

bool http_sockets_event(struct http_sockets *s, const struct loop_event *ev, curl_socket_t *fd, int *what)
{
	if ((ev->tag & TAG_MASK) != TAG_SPACE)
		return false;
	*fd = (curl_socket_t)(ev->tag & ~TAG_MASK);
	*what = 0;
	if (is_left(s, *fd)) {
		learn_kept(s, &s->fd[*fd]);
		if (!s->multiplexed && !(s->fd[*fd].state & FD_STALLED))
			give_up(*fd);
		fd_mark(s, *fd, 0, FD_LEFT);
		loop_del(s->loop, *fd);
		return true;
	}
	if (ev->events & LOOP_READ)
		*what |= CURL_CSELECT_IN;
	if (ev->events & LOOP_WRITE)
		*what |= CURL_CSELECT_OUT;
	/* The error itself is learned by reading or writing; the ERR bit would hide its name. */
	if (ev->events & LOOP_HUP)
		*what |= CURL_CSELECT_IN | CURL_CSELECT_OUT;
	return true;
}

void http_sockets_hold(struct http_sockets *s, curl_socket_t fd, bool hold)
{
	if (fd >= 0 && (size_t)fd < s->n)
		fd_mark(s, fd, hold ? FD_HELD : 0, FD_HELD);
}

void http_sockets_shut_idle(struct http_sockets *s)
{
	for (size_t fd = 0; fd < s->n; fd++)
		if ((s->fd[fd].state & (FD_OPEN | FD_WATCHED | FD_HELD)) == FD_OPEN) {
			s->fd[fd].left_at = 0; /* not the server's doing */
			give_up((int)fd);
		}
}

int http_sockets_init(struct http_sockets *s, struct loop *l, CURLM *multi)
{
	CURLMcode rc = CURLM_OK;

	*s = (struct http_sockets){ .loop = l, .fd = calloc(FIRST_FDS, sizeof *s->fd), .n = FIRST_FDS };
	if (!s->fd) {
		s->n = 0;
		return -1;
	}
#define SET(option, value) do { if (rc == CURLM_OK) rc = curl_multi_setopt(multi, option, value); } while (0)
	SET(CURLMOPT_SOCKETFUNCTION, on_watch);
	SET(CURLMOPT_SOCKETDATA, s);
	SET(CURLMOPT_TIMERFUNCTION, on_timer);
	SET(CURLMOPT_TIMERDATA, s);
#undef SET
	return rc == CURLM_OK ? 0 : -1;
}

void http_sockets_fini(struct http_sockets *s)
{
	free(s->fd);
	*s = (struct http_sockets){ 0 };
}
