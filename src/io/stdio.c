/* The client's side of the bridge. It cuts stdin into lines and puts lines
 * into stdout's queue; it knows nothing of what stands in them.
 *
 * Reading: bytes go straight into one buffer, each is looked at once for a
 * newline, and a line is given as a view of it. stdin is on the loop only
 * while we want to read it, so a hang-up that is of no interest yet can not
 * spin us. What may be buffered is bounded by one line of max_line and two
 * pieces of 64 KiB; a longer line is reported and skipped.
 *
 * Writing: the queue is a list of blocks. Small lines share one, so that a
 * turn of the loop costs one write; a large message is a block of its own,
 * taken without a copy and freed once written. stdout stays on the loop even
 * when nothing is queued, for its hang-up. */
#include "io/stdio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/nbfd.h"

#define STDIO_TAG UINT64_C(0x737464696f) /* "stdio" */
#define READ_MAX ((size_t)64 * 1024)     /* one read, and complete lines that may wait */
#define READ_MIN ((size_t)4 * 1024)      /* less room than this and the buffer is grown */
#define SHOWN_MAX ((size_t)64 * 1024)    /* of a line that is too long */
#define LARGE ((size_t)64 * 1024)        /* lines from here on travel as blocks */
#define PIPE_BYTES (512 * 1024)
#define SHARED_MAX (BUF_KEEP - 1)        /* bytes in a block of small lines */

struct block {
	struct block *next;
	struct buf b;
};

struct stdio {
	struct loop *loop;
	size_t max_line;

	struct nbfd in;
	bool in_enabled, in_watched, in_ended, in_widened;
	struct buf buf;   /* what was read; positions below count from its front */
	size_t start;     /* before it: lines that were given, to be dropped at the next call */
	size_t scan;      /* from start to here there is no newline */
	bool newline;     /* and here is one */
	bool skipping;    /* inside a line that was given up */
	bool nomem;       /* the line at start is to be given up */
	size_t given;     /* length of the line that stdio_next() returned; 0: none to take */

	struct nbfd out;
	int out_dup;      /* of our own when stdin and stdout are one number, else -1 */
	unsigned out_events;
	int out_error;
	bool out_widened;
	struct block *head, *tail;
	struct block *spare; /* an empty shared one */
	size_t queued;
};

/* ---- reading ---- */

static size_t waiting(const struct stdio *s)
{
	return s->buf.len - s->start;
}

static bool overlong(const struct stdio *s)
{
	/* One byte more may turn out to be the CR of its end. */
	return !s->newline && !s->skipping && waiting(s) > s->max_line + 1;
}

bool stdio_pending(const struct stdio *s)
{
	return s->newline || s->nomem || overlong(s) || (s->in_ended && waiting(s) > 0);
}

bool stdio_eof(const struct stdio *s)
{
	return s->in_ended && !stdio_pending(s);
}

static void watch_in(struct stdio *s)
{
	bool want = s->in_enabled && !s->in_ended && !s->nomem &&
		    !(waiting(s) >= READ_MAX && stdio_pending(s));

	if (want == s->in_watched)
		return;
	if (want) {
		s->in_watched = loop_set(s->loop, s->in.fd, LOOP_READ, STDIO_TAG) == 0;
		return;
	}
	loop_del(s->loop, s->in.fd);
	s->in_watched = false;
}

static bool is_blank(const char *p, size_t n)
{
	while (n > 0 && (*p == ' ' || *p == '\t' || *p == '\r')) {
		p++;
		n--;
	}
	return n == 0;
}

/* Looks for the end of the line at start, passing over blank lines and the
 * rest of a line that is being skipped. Moves positions only: a span that was
 * given stays good. */
static void look(struct stdio *s)
{
	const char *data = buf_data(&s->buf);
	size_t len = s->buf.len;

	while (s->start < len) {
		if (!s->newline) {
			const char *p = s->scan < len ? memchr(data + s->scan, '\n', len - s->scan) : NULL;

			s->newline = p != NULL;
			s->scan = p ? (size_t)(p - data) : len;
		}
		if (!s->newline && !s->skipping && !s->in_ended)
			return;
		if (!s->skipping && !is_blank(data + s->start, s->scan - s->start))
			return;
		if (s->newline) {
			s->skipping = false;
			s->scan++;
		}
		s->newline = false;
		s->start = s->scan;
	}
}

/* Drops what was given, and a block that only a giant line needed. */
static void settle(struct stdio *s)
{
	struct buf small;

	buf_consume(&s->buf, s->start);
	s->scan -= s->start;
	s->start = 0;
	s->given = 0;
	if (s->buf.cap <= 4 * BUF_KEEP || s->buf.len > BUF_KEEP / 2)
		return;
	buf_init(&small, s->buf.max);
	if (buf_add(&small, buf_span(&s->buf)) == 0)
		buf_move(&s->buf, &small);
}

/* Gives what lies from start to end, n bytes of which are to be seen. */
static struct span give(struct stdio *s, size_t n, size_t end)
{
	struct span line = span_make(buf_data(&s->buf) + s->start, n);

	s->start = end;
	s->scan = end;
	s->newline = false;
	look(s);
	return line;
}

static enum stdio_line next_line(struct stdio *s, struct span *line)
{
	const char *p = buf_data(&s->buf);
	size_t n = s->scan - s->start;

	if (s->newline || (s->in_ended && n > 0 && !overlong(s) && !s->nomem)) {
		if (n > 0 && p[s->scan - 1] == '\r')
			n--;
		if (n > s->max_line) {
			*line = give(s, n < SHOWN_MAX ? n : SHOWN_MAX, s->scan + s->newline);
			return STDIO_TOO_LONG;
		}
		*line = give(s, n, s->scan + s->newline);
		s->given = n;
		return STDIO_LINE;
	}
	if (overlong(s) || s->nomem) {
		enum stdio_line kind = s->nomem ? STDIO_NOMEM : STDIO_TOO_LONG;

		s->nomem = false;
		s->skipping = true;
		*line = give(s, n < SHOWN_MAX ? n : SHOWN_MAX, s->scan);
		return kind;
	}
	*line = SPAN_NONE;
	return STDIO_NONE;
}

enum stdio_line stdio_next(struct stdio *s, struct span *line)
{
	enum stdio_line kind;

	settle(s);
	kind = next_line(s, line);
	watch_in(s);
	return kind;
}

int stdio_take(struct stdio *s, struct buf *out)
{
	struct buf rest;
	size_t n = s->given;

	if (n == 0)
		return -1;
	if (n < LARGE) {
		buf_reset(out);
		return buf_append(out, buf_data(&s->buf), n);
	}
	/* The line is at the front, since stdio_next() settled before giving it. */
	buf_init(&rest, s->buf.max);
	if (buf_append(&rest, buf_data(&s->buf) + s->start, waiting(s)) < 0)
		return -1;
	buf_move(out, &s->buf);
	out->len = n;
	buf_move(&s->buf, &rest);
	s->scan -= s->start;
	s->start = 0;
	s->given = 0;
	return 0;
}

/* True when a full pipe has become wider, once for a pipe. In the usual 64 KiB a
 * flood or a large message puts us and the client to sleep in turn, and on two
 * processors every page of a pipe that fits into a cache is fetched from the
 * other one's. Done when it is needed, since what all pipes of a user may hold
 * is limited. */
static bool widen(int fd, bool *widened)
{
#ifdef F_SETPIPE_SZ
	int n = *widened ? -1 : fcntl(fd, F_GETPIPE_SZ);

	*widened = true;
	return n > 0 && n < PIPE_BYTES && fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES) > n;
#else
	(void)fd;
	(void)widened;
	return false;
#endif
}

static void read_some(struct stdio *s)
{
	size_t room;
	ssize_t n;

	settle(s);
	if (s->buf.cap - s->buf.off - s->buf.len <= READ_MIN &&
	    buf_reserve(&s->buf, s->buf.len ? READ_MIN : SHARED_MAX) < 0) {
		/* A line that memory has no room for is given up. With nothing
		 * begun, or whole lines to be taken first, we try again later. */
		s->nomem = !s->newline && waiting(s) > 0;
		return;
	}
	room = s->buf.cap - s->buf.off - s->buf.len - 1;
	if (room > READ_MAX)
		room = READ_MAX;
	n = nbfd_read(&s->in, buf_tail(&s->buf), room);
	if (n == (ssize_t)room && room >= READ_MAX / 2)
		(void)widen(s->in.fd, &s->in_widened);
	if (n > 0)
		buf_grew(&s->buf, (size_t)n);
	else if (n == 0 || errno != EAGAIN)
		s->in_ended = true;
	look(s);
}

void stdio_read_enable(struct stdio *s, bool on)
{
	s->in_enabled = on;
	watch_in(s);
}

/* ---- writing ---- */

static void block_free(struct block *k)
{
	buf_fini(&k->b);
	free(k);
}

static void queue_drop(struct stdio *s)
{
	while (s->head) {
		struct block *k = s->head;

		s->head = k->next;
		block_free(k);
	}
	s->tail = NULL;
	s->queued = 0;
}

/* Nobody reads any more: what is queued has no destination. */
static void out_close(struct stdio *s, int why)
{
	if (s->out_error)
		return;
	s->out_error = why;
	if (s->out.fd >= 0)
		loop_del(s->loop, s->out.fd);
	queue_drop(s);
}

static struct block *block_new(struct stdio *s, size_t max)
{
	struct block *k = max == SHARED_MAX ? s->spare : NULL;

	if (k) {
		s->spare = NULL;
		return k;
	}
	k = malloc(sizeof(*k));
	if (!k)
		return NULL;
	k->next = NULL;
	buf_init(&k->b, max);
	return k;
}

static struct block *block_push(struct stdio *s, size_t max)
{
	struct block *k = block_new(s, max);

	if (!k)
		return NULL;
	if (s->tail)
		s->tail->next = k;
	else
		s->head = k;
	s->tail = k;
	return k;
}

/* Takes back a block that was pushed and could not be filled. */
static void block_pop(struct stdio *s)
{
	struct block **at = &s->head, *before = NULL;

	while (*at != s->tail) {
		before = *at;
		at = &before->next;
	}
	block_free(s->tail);
	*at = NULL;
	s->tail = before;
}

int stdio_write(struct stdio *s, struct span line)
{
	struct block *k = s->tail;
	bool fresh = false;
	char *to;

	if (s->out_error)
		return 0;
	if (line.n > SIZE_MAX / 4)
		return -1;
	if (!k || k->b.max != SHARED_MAX || line.n + 1 > SHARED_MAX - k->b.len) {
		k = block_push(s, line.n + 1 > SHARED_MAX ? line.n + 1 : SHARED_MAX);
		if (!k)
			return -1;
		fresh = true;
	}
	if (buf_reserve(&k->b, line.n + 1) < 0) {
		if (fresh)
			block_pop(s);
		return -1;
	}
	to = buf_tail(&k->b);
	if (line.n > 0)
		memcpy(to, line.p, line.n);
	to[line.n] = '\n';
	buf_grew(&k->b, line.n + 1);
	s->queued += line.n + 1;
	return 0;
}

int stdio_write_take(struct stdio *s, struct buf *b)
{
	struct block *k;

	/* The newline goes into the byte that a block has to spare behind what was
	 * reserved; in the odd case that the spare is used, a copy is made. */
	if (s->out_error || b->len < LARGE || b->cap - b->off - b->len == 0) {
		int rc = stdio_write(s, buf_span(b));

		if (rc == 0)
			buf_reset(b);
		return rc;
	}
	k = block_push(s, SIZE_MAX);
	if (!k)
		return -1;
	buf_move(&k->b, b);
	*buf_tail(&k->b) = '\n';
	buf_grew(&k->b, 1);
	s->queued += k->b.len;
	return 0;
}

/* The block in front is written. Two small ones are kept for the next lines:
 * a flood fills a little more than one in a turn. */
static void block_done(struct stdio *s)
{
	struct block *k = s->head;

	if (k == s->tail && k->b.max == SHARED_MAX)
		return;
	s->head = k->next;
	if (!s->head)
		s->tail = NULL;
	k->next = NULL;
	if (k->b.max == SHARED_MAX && !s->spare)
		s->spare = k;
	else
		block_free(k);
}

void stdio_flush(struct stdio *s)
{
	unsigned events;

	while (s->queued > 0) {
		struct buf *b = &s->head->b;
		ssize_t n = b->len ? nbfd_write(&s->out, buf_data(b), b->len) : 0;

		if (n < 0 && errno == EAGAIN) {
			if (widen(s->out.fd, &s->out_widened))
				continue;
			break;
		}
		if (n < 0 || (n == 0 && b->len > 0)) {
			out_close(s, n < 0 ? errno : EIO);
			return;
		}
		buf_consume(b, (size_t)n);
		s->queued -= (size_t)n;
		if (b->len == 0)
			block_done(s);
	}
	events = s->queued > 0 ? LOOP_WRITE : 0;
	if (s->out_error || events == s->out_events)
		return;
	if (loop_set(s->loop, s->out.fd, events, STDIO_TAG) == 0)
		s->out_events = events;
}

size_t stdio_queued(const struct stdio *s)
{
	return s->queued;
}

int stdio_out_closed(const struct stdio *s)
{
	return s->out_error;
}

/* ---- both ---- */

bool stdio_on_event(struct stdio *s, const struct loop_event *ev)
{
	if (ev->tag != STDIO_TAG)
		return false;
	if (ev->fd == s->in.fd && s->in_watched) {
		read_some(s);
		watch_in(s);
	} else if (ev->fd == s->out.fd && (ev->events & LOOP_HUP)) {
		out_close(s, EPIPE);
	}
	return true;
}

/* The loop knows one watch for a number; two directions need two numbers. */
static int open_out(struct stdio *s, int in_fd, int out_fd)
{
	if (in_fd == out_fd && out_fd >= 0) {
		s->out_dup = fcntl(out_fd, F_DUPFD_CLOEXEC, 3);
		if (s->out_dup < 0)
			return -1;
		out_fd = s->out_dup;
	}
	nbfd_open(&s->out, out_fd, true);
	if (s->out.kind == NBFD_CLOSED) {
		s->out_error = EBADF;
		return 0;
	}
	return loop_set(s->loop, s->out.fd, 0, STDIO_TAG);
}

struct stdio *stdio_new(struct loop *l, int in_fd, int out_fd, size_t max_line, struct err *e)
{
	struct stdio *s;

	if (max_line > SIZE_MAX / 2) {
		err_set(e, "the longest line allowed, %zu bytes, is out of range", max_line);
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		err_set(e, "no memory for stdin and stdout");
		return NULL;
	}
	s->loop = l;
	s->max_line = max_line;
	s->out_dup = -1;
	s->out.fd = -1;
	buf_init(&s->buf, max_line + 2 * READ_MAX + 2);
	nbfd_open(&s->in, in_fd, false);
	s->in_ended = s->in.kind == NBFD_CLOSED;
	s->in_enabled = true;
	if (open_out(s, in_fd, out_fd) < 0) {
		err_set(e, "can not watch stdout (%s)", strerror(errno));
		goto fail;
	}
	watch_in(s);
	if (!s->in_ended && !s->in_watched) {
		err_set(e, "can not watch stdin (%s)", strerror(errno));
		goto fail;
	}
	return s;
fail:
	stdio_free(s);
	return NULL;
}

void stdio_free(struct stdio *s)
{
	if (!s)
		return;
	if (s->in_watched)
		loop_del(s->loop, s->in.fd);
	if (s->out.fd >= 0)
		loop_del(s->loop, s->out.fd);
	nbfd_close(&s->in);
	nbfd_close(&s->out);
	if (s->out_dup >= 0)
		close(s->out_dup);
	queue_drop(s);
	if (s->spare)
		block_free(s->spare);
	buf_fini(&s->buf);
	free(s);
}
