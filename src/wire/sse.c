/* The event stream parser: a machine over bytes that keeps only what it must.
 * The field's name is collected until its colon; then the value of `data`
 * streams straight into the event, a value of `event`, `id` or `retry` is
 * collected, and comments and unknown fields are passed over unseen, however
 * long they are. Bytes are taken a run at a time up to the next line end. An
 * event of the usual shape that came whole does not pass through the machine.
 *
 * It does not check that data is UTF-8; who reads the data does. */
#include "wire/sse.h"

#include "wire/skip.h"

enum state {
	SSE_NAME, /* in a field's name; at a line's beginning when none is collected */
	SSE_DATA,
	SSE_EVENT,
	SSE_ID,
	SSE_RETRY,
	SSE_SKIP, /* a comment, an unknown field, or one that did not fit */
};

static const struct {
	const char *name;
	unsigned char state;
} fields[] = {
	{ "data", SSE_DATA },
	{ "event", SSE_EVENT },
	{ "id", SSE_ID },
	{ "retry", SSE_RETRY },
};

#define NAME_MAX_BYTES 5 /* "event", "retry" */
#define DATA "data:"
#define BOM "\xef\xbb\xbf"
#define BOM_BYTES 3

void sse_init(struct sse *s, size_t max_bytes)
{
	*s = (struct sse){ .retry_ms = -1 };
	buf_init(&s->line, max_bytes > NAME_MAX_BYTES ? max_bytes : NAME_MAX_BYTES);
	buf_init(&s->data, max_bytes);
	buf_init(&s->type, max_bytes);
	buf_init(&s->id, max_bytes);
	buf_init(&s->new_id, max_bytes);
}

void sse_fini(struct sse *s)
{
	buf_fini(&s->line);
	buf_fini(&s->data);
	buf_fini(&s->type);
	buf_fini(&s->id);
	buf_fini(&s->new_id);
}

static void forget_event(struct sse *s)
{
	buf_reset(&s->data);
	buf_reset(&s->type);
	buf_reset(&s->new_id);
	s->has_data = s->has_id = s->yielded = s->overflow = false;
}

void sse_restart(struct sse *s)
{
	forget_event(s);
	buf_reset(&s->line);
	s->state = SSE_NAME;
	s->bom = 0;
	s->after_cr = s->after_colon = false;
}

/* Gives the event up; the rest of it is read for its id and retry only. */
static int spill(struct sse *s)
{
	bool first = !s->overflow;

	buf_reset(&s->data);
	buf_reset(&s->line);
	s->overflow = true;
	return first ? -1 : 0;
}

/* ---- fields ------------------------------------------------------------------ */

static int begin_data(struct sse *s)
{
	s->state = SSE_DATA;
	s->after_colon = true;
	if (s->has_data && !s->overflow && buf_append(&s->data, "\n", 1) < 0)
		return -1;
	s->has_data = true;
	return 0;
}

/* The name is complete: behind its colon, or at the end of a line without one. */
static int begin_field(struct sse *s)
{
	s->state = SSE_SKIP;
	for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
		if (span_is(buf_span(&s->line), fields[i].name))
			s->state = fields[i].state;
	}
	buf_reset(&s->line);
	s->after_colon = true;
	return s->state == SSE_DATA ? begin_data(s) : 0;
}

/* Gives how many bytes were consumed: at most the name, its colon included. */
static int take_name(struct sse *s, const char *p, size_t n, size_t *used)
{
	size_t look = NAME_MAX_BYTES + 1 - s->line.len, len;
	const char *colon;

	/* Nearly every line is one of these, and comes whole. */
	if (s->line.len == 0 && n >= sizeof DATA - 1 && memcmp(p, DATA, sizeof DATA - 1) == 0) {
		*used = sizeof DATA - 1;
		return begin_data(s);
	}
	colon = memchr(p, ':', n < look ? n : look);
	len = colon ? (size_t)(colon - p) : n;
	if (len >= look) {
		buf_reset(&s->line);
		s->state = SSE_SKIP;
		*used = n;
		return 0;
	}
	*used = colon ? len + 1 : len;
	if (buf_append(&s->line, p, len) < 0)
		return -1;
	return colon ? begin_field(s) : 0;
}

/* A run of bytes within a line. */
static int take_bytes(struct sse *s, const char *p, size_t n)
{
	if (s->state == SSE_NAME && n > 0) {
		size_t used;
		if (take_name(s, p, n, &used) < 0)
			return -1;
		p += used;
		n -= used;
	}
	if (n == 0 || s->state == SSE_NAME || s->state == SSE_SKIP)
		return 0;
	if (s->after_colon && *p == ' ') {
		p++;
		n--;
	}
	s->after_colon = false;
	if (s->state != SSE_DATA)
		return buf_append(&s->line, p, n);
	return s->overflow ? 0 : buf_append(&s->data, p, n);
}

static void take_retry(struct sse *s, struct span v)
{
	int64_t ms = 0;

	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < '0' || v.p[i] > '9')
			return;
		ms = ms * 10 + (v.p[i] - '0');
		if (ms > SSE_RETRY_MAX_MS)
			ms = SSE_RETRY_MAX_MS;
	}
	if (v.n > 0)
		s->retry_ms = ms;
}

static int end_field(struct sse *s)
{
	struct span v = buf_span(&s->line);

	switch (s->state) {
	case SSE_EVENT:
		buf_reset(&s->type);
		return buf_add(&s->type, v);
	case SSE_ID:
		if (memchr(v.p, '\0', v.n))
			return 0;
		buf_reset(&s->new_id);
		s->has_id = false;
		if (buf_add(&s->new_id, v) < 0)
			return -1;
		s->has_id = true;
		return 0;
	case SSE_RETRY:
		take_retry(s, v);
		return 0;
	default:
		return 0;
	}
}

/* ---- lines and events ---------------------------------------------------------- */

/* 1 when the event is to be given. Its id counts in any case: the server sent
 * it, and asking for it again would end in the same place. */
static int end_event(struct sse *s)
{
	if (s->has_id) {
		struct buf old = s->id;
		s->id = s->new_id;
		s->new_id = old;
	}
	if (s->has_data && !s->overflow)
		return 1;
	forget_event(s);
	return 0;
}

static int end_line(struct sse *s)
{
	int rc = 0;

	if (s->state == SSE_NAME && s->line.len == 0)
		return end_event(s);
	if (s->state == SSE_NAME)
		rc = begin_field(s);
	if (rc == 0)
		rc = end_field(s);
	if (rc < 0)
		rc = spill(s);
	buf_reset(&s->line);
	s->state = SSE_NAME;
	return rc;
}

/* True when c belongs to the mark. When it turns out to be none, what was
 * taken for it began the name of an unknown field. */
static bool take_bom(struct sse *s, char c)
{
	if (c == BOM[s->bom]) {
		s->bom++;
		return true;
	}
	if (s->bom > 0)
		s->state = SSE_SKIP;
	s->bom = BOM_BYTES;
	return false;
}

/* ---- events that lie whole in the bytes fed ---------------------------------- */

/* The value of a field whose name and colon end at p. */
static struct span value_at(const char *p, const char *eol)
{
	if (p < eol && *p == ' ')
		p++;
	return span_make(p, (size_t)(eol - p));
}

/* Nearly every event is a line of data, perhaps with one type and one id before it,
 * between line feeds, and has come whole: it is given where it lies. False, with
 * nothing consumed, when the machine must look, for whatever reason. */
static bool take_whole(struct sse *s, const char **p, const char *end, struct sse_event *ev)
{
	struct span type = SPAN_NONE, id = SPAN_NONE, data;
	const char *at = *p, *eol;

	for (;; at = eol + 1) {
		eol = skip_until(at, end, SKIP_EOL);
		if (end - eol < 2 || *eol != '\n')
			return false;
		if (eol - at >= 5 && memcmp(at, DATA, sizeof DATA - 1) == 0)
			break;
		if (!type.p && eol - at >= 6 && memcmp(at, "event:", 6) == 0)
			type = value_at(at + 6, eol);
		else if (!id.p && eol - at >= 3 && memcmp(at, "id:", 3) == 0)
			id = value_at(at + 3, eol);
		else
			return false;
	}
	data = value_at(at + 5, eol);
	if (eol[1] != '\n' || data.n > s->data.max || type.n > s->type.max || id.n > s->new_id.max ||
	    (id.p && memchr(id.p, '\0', id.n)))
		return false;
	if (id.p) {
		buf_reset(&s->id);
		if (buf_add(&s->id, id) < 0)
			return false;
	}
	*ev = (struct sse_event){ .type = type.n ? type : SPAN_LIT("message"), .data = data, .id = buf_span(&s->id), .has_id = id.p != NULL };
	*p = eol + 2;
	return true;
}

/* True where an event begins and nothing of it has been taken. */
static bool is_between_events(const struct sse *s)
{
	return s->state == SSE_NAME && s->line.len == 0 && s->bom == BOM_BYTES && !s->after_cr && !s->has_data && !s->has_id &&
	       s->type.len == 0 && !s->overflow;
}

/* Consumes a part of the bytes, at most one line. */
static int take_some(struct sse *s, const char **p, const char *end)
{
	const char *run = *p, *eol;

	if ((s->bom < BOM_BYTES && take_bom(s, *run)) || (s->after_cr && *run == '\n')) {
		s->after_cr = false;
		++*p;
		return 0;
	}
	s->after_cr = false;
	eol = skip_until(run, end, SKIP_EOL);
	*p = eol;
	if (take_bytes(s, run, (size_t)(eol - run)) < 0) {
		s->state = SSE_SKIP;
		return spill(s);
	}
	if (eol == end)
		return 0;
	++*p;
	s->after_cr = *eol == '\r';
	return end_line(s);
}

int sse_next(struct sse *s, const char **p, size_t *n, struct sse_event *ev)
{
	const char *start = *p, *end;
	bool whole = false;
	int rc = 0;

	if (s->yielded)
		forget_event(s);
	if (*n == 0)
		return 0;
	end = start + *n;
	while (rc == 0 && *p < end) {
		whole = is_between_events(s) && take_whole(s, p, end, ev);
		rc = whole ? 1 : take_some(s, p, end);
	}
	s->bytes += (uint64_t)(*p - start);
	*n = (size_t)(end - *p);
	if (rc != 1 || whole)
		return rc;
	s->yielded = true;
	*ev = (struct sse_event){
		.type = s->type.len ? buf_span(&s->type) : SPAN_LIT("message"),
		.data = buf_span(&s->data), .id = buf_span(&s->id), .has_id = s->has_id,
	};
	return 1;
}

void sse_take_data(struct sse *s, struct buf *out)
{
	buf_move(out, &s->data);
}
