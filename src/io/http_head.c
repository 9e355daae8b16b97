/* The head of a response: picks the few fields that somebody asks for out of
 * the lines libcurl gives us, case-insensitively and trimmed, in one buffer
 * for each transfer. Bounded by the number of bytes fed, whatever they say.
 * It judges no value: what a session id may look like is not known here. */
#include "io/http_head.h"

#include <strings.h>

#define KEEP_ALIVE_MAX 1000000 /* seconds; from here on digits are passed over */

static const struct { const char *name; size_t n; } fields[HEAD_FIELDS] = {
	[HEAD_CONTENT_TYPE] = { "content-type", 12 },
	[HEAD_SESSION_ID] = { "mcp-session-id", 14 },
	[HEAD_RETRY_AFTER] = { "retry-after", 11 },
	[HEAD_LOCATION] = { "location", 8 },
	[HEAD_ALLOW] = { "allow", 5 },
	[HEAD_DPOP_NONCE] = { "dpop-nonce", 10 },
	[HEAD_DATE] = { "date", 4 },
	[HEAD_WWW_AUTHENTICATE] = { "www-authenticate", 16 },
	[HEAD_CONTENT_ENCODING] = { "content-encoding", 16 },
	[HEAD_SET_COOKIE] = { "set-cookie", 10 },
	[HEAD_KEEP_ALIVE] = { "keep-alive", 10 },
};

void head_init(struct head *h, size_t max_bytes)
{
	*h = (struct head){ .max = max_bytes, .last = -1 };
	buf_init(&h->text, max_bytes);
	buf_init(&h->auth, max_bytes);
	buf_init(&h->cookies, max_bytes);
}

void head_fini(struct head *h)
{
	buf_fini(&h->text);
	buf_fini(&h->auth);
	buf_fini(&h->cookies);
}

static void head_forget(struct head *h)
{
	buf_reset(&h->text);
	buf_reset(&h->auth);
	buf_reset(&h->cookies);
	memset(h->at, 0, sizeof h->at);
	h->out = (struct http_head){ 0 };
	h->last = -1;
}

void head_reset(struct head *h, size_t max_bytes)
{
	head_forget(h);
	h->bytes = 0;
	h->max = max_bytes;
	h->text.max = h->auth.max = h->cookies.max = max_bytes;
	h->complete = false;
}

bool head_has(const struct head *h, enum head_field f)
{
	return h->at[f].set;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
	while (s.n && is_blank(s.p[0])) {
		s.p++;
		s.n--;
	}
	while (s.n && is_blank(s.p[s.n - 1]))
		s.n--;
	return s;
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK" or "HTTP/2 200"; libcurl has refused anything else. */
static void head_on_status(struct head *h, struct span line)
{
	size_t i = 5;
	int major = 0, minor = 0, status = 0;

	head_forget(h);
	if (i < line.n && is_digit(line.p[i]))
		major = line.p[i++] - '0';
	if (i + 1 < line.n && line.p[i] == '.' && is_digit(line.p[i + 1])) {
		minor = line.p[i + 1] - '0';
		i += 2;
	}
	while (i < line.n && line.p[i] == ' ')
		i++;
	for (int digits = 0; digits < 3 && i < line.n && is_digit(line.p[i]); digits++, i++)
		status = status * 10 + (line.p[i] - '0');
	h->out.version = major * 10 + minor;
	h->out.status = status;
}

static int head_find(struct span name)
{
	for (int f = 0; f < HEAD_FIELDS; f++)
		if (fields[f].n == name.n && strncasecmp(fields[f].name, name.p, name.n) == 0)
			return f;
	return -1;
}

/* Fields that may come several times are collected in buffers of their own. */
static struct buf *head_buf(struct head *h, int f)
{
	return f == HEAD_WWW_AUTHENTICATE ? &h->auth : f == HEAD_SET_COOKIE ? &h->cookies : &h->text;
}

static int head_put(struct head *h, int f, struct span value, const char *glue)
{
	struct buf *b = head_buf(h, f);
	size_t before = b->len;

	if (h->at[f].n && buf_puts(b, glue) < 0)
		return -1;
	if (buf_add(b, value) < 0)
		return -1;
	h->at[f].n += (uint32_t)(b->len - before);
	h->at[f].set = true;
	return 0;
}

static int head_on_field(struct head *h, struct span line)
{
	const char *colon = memchr(line.p, ':', line.n);
	struct span value;

	h->last = colon ? head_find(span_make(line.p, (size_t)(colon - line.p))) : -1;
	if (h->last < 0)
		return 0;
	value = trim(span_make(colon + 1, line.n - (size_t)(colon - line.p) - 1));
	if (h->last == HEAD_SET_COOKIE) {
		const char *end = memchr(value.p, ';', value.n);
		return head_put(h, h->last, trim(span_make(value.p, end ? (size_t)(end - value.p) : value.n)), "\n");
	}
	if (h->last != HEAD_WWW_AUTHENTICATE) {
		h->at[h->last].off = (uint32_t)h->text.len;
		h->at[h->last].n = 0;
	}
	return head_put(h, h->last, value, ", ");
}

static struct span head_get(struct head *h, enum head_field f)
{
	const struct buf *b = head_buf(h, (int)f);

	if (!h->at[f].set)
		return SPAN_NONE;
	return h->at[f].n ? span_make(buf_data(b) + h->at[f].off, h->at[f].n) : span_make("", 0);
}

/* "timeout=5, max=1000" */
static int read_keep_alive(struct span list)
{
	while (list.n) {
		const char *comma = memchr(list.p, ',', list.n);
		size_t n = comma ? (size_t)(comma - list.p) : list.n;
		struct span one = trim(span_make(list.p, n));
		int s = 0;

		list = span_make(list.p + n + (comma != NULL), list.n - n - (comma != NULL));
		if (one.n < 9 || strncasecmp(one.p, "timeout=", 8) != 0)
			continue;
		for (size_t i = 8; i < one.n; i++) {
			if (!is_digit(one.p[i]))
				return -1;
			s = s < KEEP_ALIVE_MAX ? s * 10 + (one.p[i] - '0') : s;
		}
		return s;
	}
	return -1;
}

/* Only now, because the buffers no longer move. */
static void head_finish(struct head *h)
{
	h->complete = true;
	h->out.content_type = head_get(h, HEAD_CONTENT_TYPE);
	h->out.session_id = head_get(h, HEAD_SESSION_ID);
	h->out.retry_after = head_get(h, HEAD_RETRY_AFTER);
	h->out.location = head_get(h, HEAD_LOCATION);
	h->out.allow = head_get(h, HEAD_ALLOW);
	h->out.dpop_nonce = head_get(h, HEAD_DPOP_NONCE);
	h->out.date = head_get(h, HEAD_DATE);
	h->out.set_cookie = head_get(h, HEAD_SET_COOKIE);
	h->out.www_authenticate = head_get(h, HEAD_WWW_AUTHENTICATE);
	h->keep_alive_s = read_keep_alive(head_get(h, HEAD_KEEP_ALIVE));
}

/* libcurl reads on after 100..199, save 101, which nobody asked for and which is therefore final. */
static bool is_interim(int status)
{
	return status >= 100 && status < 200 && status != 101;
}

enum head_status head_line(struct head *h, struct span line)
{
	int rc = 0;

	if (line.n > h->max - h->bytes)
		return HEAD_TOO_LARGE;
	h->bytes += line.n;
	if (h->complete)
		return HEAD_MORE;
	if (line.n >= 5 && strncasecmp(line.p, "HTTP/", 5) == 0) {
		head_on_status(h, line);
	} else if (trim(line).n == 0) {
		if (is_interim(h->out.status))
			return HEAD_MORE;
		head_finish(h);
		return HEAD_COMPLETE;
	} else if (line.p[0] == ' ' || line.p[0] == '\t') {
		/* A folded line (RFC 9112, 5.2) reads as a single space. */
		if (h->last >= 0)
			rc = head_put(h, h->last, trim(line), " ");
	} else {
		rc = head_on_field(h, line);
	}
	return rc < 0 ? HEAD_NOMEM : HEAD_MORE;
}
