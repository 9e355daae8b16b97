/* The log ring. One line is two small writes; nothing is mapped, so that a full
 * disk or a file cut by somebody is an error and not a signal. A reader takes
 * the head before and after and drops what was overwritten in between. */
#include "report/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "report/rundir.h"

static const char magic[16] = "holdfast ring 1";

struct ring_head {
	char magic[16];
	uint64_t written, size;
	char name[96];
};

void ring_init(struct ring *r, const char *name)
{
	memset(r, 0, sizeof(*r));
	r->fd = -1;
	snprintf(r->name, sizeof(r->name), "%s", name);
	buf_init(&r->early, RING_EARLY);
}

static int write_head(const struct ring *r)
{
	struct ring_head h;

	memset(&h, 0, sizeof(h));
	memcpy(h.magic, magic, sizeof(magic));
	h.written = r->written;
	h.size = RING_DATA;
	memcpy(h.name, r->name, sizeof(h.name));
	return pwrite(r->fd, &h, sizeof(h), 0) == (ssize_t)sizeof(h) ? 0 : -1;
}

/* Bytes at the ring's end go on at its beginning. */
static int write_data(struct ring *r, struct span s)
{
	while (s.n) {
		size_t at = (size_t)(r->written % RING_DATA);
		size_t n = s.n < RING_DATA - at ? s.n : RING_DATA - at;
		ssize_t got = pwrite(r->fd, s.p, n, (off_t)(RING_HEAD + at));

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		r->written += (uint64_t)got;
		s.p += got;
		s.n -= (size_t)got;
	}
	return 0;
}

void ring_add(struct ring *r, struct span line)
{
	uint64_t before = r->written;

	if (line.n > RING_LINE)
		line.n = RING_LINE;
	if (r->fd < 0) {
		if (buf_reserve(&r->early, line.n + 1) != 0) {
			r->lost++;
			return;
		}
		buf_add(&r->early, line);
		buf_puts(&r->early, "\n");
		return;
	}
	if (write_data(r, line) != 0 || write_data(r, SPAN_LIT("\n")) != 0 || write_head(r) != 0) {
		r->written = before; /* the disk is full: the next line takes its place */
		r->lost++;
	}
}

int ring_open(struct ring *r, int dir, struct err *e)
{
	char file[32];

	snprintf(file, sizeof(file), "%ld.log", (long)getpid());
	r->fd = rundir_create(dir, file, e);
	if (r->fd < 0)
		return -1;
	if (write_data(r, buf_span(&r->early)) != 0 || write_head(r) != 0)
		r->lost++;
	buf_fini(&r->early);
	return 0;
}

void ring_close(struct ring *r)
{
	buf_fini(&r->early);
	if (r->fd >= 0)
		close(r->fd);
	r->fd = -1;
}

/* ---- reading --------------------------------------------------------------------------------------- */

static int read_head(int fd, struct ring_head *h)
{
	if (pread(fd, h, sizeof(*h), 0) != (ssize_t)sizeof(*h))
		return -1;
	h->name[sizeof(h->name) - 1] = '\0';
	return memcmp(h->magic, magic, sizeof(magic)) == 0 && h->size == RING_DATA ? 0 : -1;
}

int ring_look(int fd, struct ring_view *v)
{
	struct ring_head h;

	if (read_head(fd, &h) != 0)
		return -1;
	v->written = h.written;
	memcpy(v->name, h.name, sizeof(v->name));
	v->live = rundir_is_held(fd);
	return 0;
}

/* n bytes from position at on; -1 when the file is shorter than its head says. */
static int copy_out(int fd, uint64_t at, size_t n, struct buf *out)
{
	if (buf_reserve(out, n) != 0)
		return -1;
	while (n) {
		size_t from = (size_t)(at % RING_DATA);
		size_t part = n < RING_DATA - from ? n : RING_DATA - from;
		ssize_t got = pread(fd, buf_tail(out), part, (off_t)(RING_HEAD + from));

		if (got <= 0)
			return -1;
		buf_grew(out, (size_t)got);
		at += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

int ring_read(int fd, uint64_t *at, struct buf *out)
{
	struct ring_head h, after;
	struct buf got;
	uint64_t from, oldest;
	bool broken;
	int rc = -1;

	if (read_head(fd, &h) != 0)
		return -1;
	from = *at;
	oldest = h.written > RING_DATA ? h.written - RING_DATA : 0;
	if (from > h.written)
		from = oldest; /* another ring than before */
	broken = from < oldest;
	if (broken)
		from = oldest;
	buf_init(&got, RING_DATA);
	if (copy_out(fd, from, (size_t)(h.written - from), &got) != 0 || read_head(fd, &after) != 0)
		goto out;
	/* A line is written before the head says so: stay clear of one more. */
	if (after.written > RING_DATA && after.written != h.written && after.written - RING_DATA + RING_LINE > from) {
		uint64_t gone = after.written - RING_DATA + RING_LINE - from;
		buf_consume(&got, gone < got.len ? (size_t)gone : got.len);
		broken = true;
	}
	if (broken && got.len) {
		const char *nl = memchr(buf_data(&got), '\n', got.len);
		buf_consume(&got, nl ? (size_t)(nl - buf_data(&got)) + 1 : got.len);
	}
	rc = buf_add(out, buf_span(&got));
	*at = h.written;
out:
	buf_fini(&got);
	return rc;
}
