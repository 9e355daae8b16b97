/* Writers: quoting, and changing a few bytes of a text while every other byte
 * stays as it was. A function that fails leaves its buffer as it found it. */
#include "wire/json.h"

#include "wire/skip.h"
#include "wire/utf8.h"

/* One byte that can not stand in a string as it is. */
static int quote_byte(struct buf *out, unsigned char c)
{
	static const char names[] = "btn\0fr"; /* 0x08 to 0x0d */

	if (c >= 0x80)
		return buf_puts(out, UTF8_REPLACEMENT);
	if (c == '"' || c == '\\')
		return buf_append(out, (char[]){ '\\', (char)c }, 2);
	if (c >= 0x08 && c <= 0x0d && names[c - 0x08])
		return buf_append(out, (char[]){ '\\', names[c - 0x08] }, 2);
	return buf_printf(out, "\\u%04x", c);
}

/* The first byte that can not stand in a string as it is. */
static const char *past_clean(const char *p, const char *end)
{
	for (;;) {
		int n;
		p = skip_until(p, end, SKIP_QUOTE | SKIP_CONTROL | SKIP_NON_ASCII);
		if (p == end || (unsigned char)*p < 0x80 || (n = utf8_length(p, end)) < 1)
			return p;
		p = utf8_skip(p + n, end);
	}
}

int json_quote(struct buf *out, struct span s)
{
	const char *p = s.p, *end = s.n > 0 ? s.p + s.n : s.p;
	size_t before = out->len;
	int rc = buf_append(out, "\"", 1);

	while (rc == 0 && p < end) {
		const char *run = p;
		p = past_clean(p, end);
		rc = buf_append(out, run, (size_t)(p - run));
		if (rc == 0 && p < end)
			rc = quote_byte(out, (unsigned char)*p++);
	}
	if (rc == 0)
		rc = buf_append(out, "\"", 1);
	if (rc < 0)
		out->len = before;
	return rc;
}

void json_one_line(char *p, size_t n)
{
	char *end;

	if (n == 0)
		return;
	/* Inside strings there is none to find, so there is no need to know where they are. */
	for (end = p + n; (p += skip_until(p, end, SKIP_EOL) - p) < end; p++)
		*p = ' ';
}

int json_splice(struct buf *out, struct span text, const struct json_edit *edits, size_t n)
{
	size_t before = out->len;
	const char *p = text.p;

	for (size_t i = 0; i < n; i++) {
		const struct json_edit *e = &edits[i];
		if (buf_append(out, p, (size_t)(e->old.p - p)) < 0 || buf_add(out, e->new_bytes) < 0)
			goto full;
		p = e->old.p + e->old.n;
	}
	if (buf_append(out, p, (size_t)(text.p + text.n - p)) < 0)
		goto full;
	return 0;
full:
	out->len = before;
	return -1;
}

/* Where a member stands, and what stands around it. */
struct place {
	const char *start;   /* its key's quote; NULL when there is none */
	struct span value;
	const char *before;  /* end of the value before it; NULL when it is the first */
	const char *after;   /* the next member's key; NULL when it is the last */
	const char *tail;    /* end of the object's last value; NULL when it is empty */
};

/* The last member of that name. */
static void find_place(struct place *at, struct span obj, const char *key)
{
	struct json_iter it;
	struct span k, v;
	bool just = false;

	*at = (struct place){ .start = NULL };
	json_iter(&it, obj);
	while (it.object && json_next(&it, &k, &v) && k.p) {
		if (just)
			at->after = k.p - 1;
		just = json_key_is(k, key);
		if (just) {
			at->start = k.p - 1;
			at->value = v;
			at->before = at->tail;
			at->after = NULL;
		}
		at->tail = v.p + v.n;
	}
}

int json_edit_set(struct json_edit *e, struct buf *scratch, struct span obj, const char *key, struct span value)
{
	struct place at;

	if (json_type(obj) != '{' || obj.n < 2)
		return -1;
	buf_reset(scratch);
	find_place(&at, obj, key);
	if (at.start) {
		e->old = at.value;
		if (buf_add(scratch, value) < 0)
			return -1;
	} else {
		e->old = span_make(at.tail ? at.tail : obj.p + 1, 0);
		if ((at.tail && buf_puts(scratch, ",") < 0) || json_quote(scratch, span_str(key)) < 0 ||
		    buf_puts(scratch, ":") < 0 || buf_add(scratch, value) < 0)
			return -1;
	}
	e->new_bytes = buf_span(scratch);
	return 0;
}

int json_edit_remove(struct json_edit *e, struct span obj, const char *key)
{
	struct place at;
	const char *from, *to;

	find_place(&at, obj, key);
	if (!at.start)
		return 1;
	from = at.before && !at.after ? at.before : at.start;
	to = at.after ? at.after : at.value.p + at.value.n;
	*e = (struct json_edit){ .old = span_make(from, (size_t)(to - from)), .new_bytes = SPAN_LIT("") };
	return 0;
}
