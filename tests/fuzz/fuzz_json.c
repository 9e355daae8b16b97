/* Any bytes through the JSON reader. What it calls JSON must be safe for every
 * reader and writer, and stay the same bytes where nobody asked for a change. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

#define BUF_MAX ((size_t)1 << 24)
#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum json_status scan(struct span v, struct json_scan *s)
{
	return json_scan(v.p, v.n, s);
}

/* Every value within v, to the depth that the walk itself allows, is JSON by
 * itself, and what is decoded and quoted again spells the same. */
static void read_all(struct span v, int depth, struct buf *decoded, struct buf *quoted)
{
	struct json_scan s;
	struct json_iter it;
	struct span key, value;
	int64_t n;
	bool b;

	MUST(scan(v, &s) == JSON_OK && s.text.n == v.n && json_type(v) == s.type);
	json_int(v, &n);
	MUST(json_bool(v, &b) == (s.type == 't' || s.type == 'f'));
	MUST((json_string(v, decoded) == 0) == (s.type == '"'));
	if (s.type == '"') {
		MUST(json_quote(quoted, buf_span(decoded)) == 0);
		MUST(scan(buf_span(quoted), &s) == JSON_OK);
		buf_reset(decoded);
		MUST(json_string(v, decoded) == 0);
		size_t before = decoded->len;
		MUST(json_string(buf_span(quoted), decoded) == 0);
		MUST(decoded->len == 2 * before && memcmp(buf_data(decoded), buf_data(decoded) + before, before) == 0);
	}
	buf_reset(decoded);
	buf_reset(quoted);
	json_iter(&it, v);
	while (depth > 0 && json_next(&it, &key, &value)) {
		MUST((key.p != NULL) == it.object);
		read_all(value, depth - 1, decoded, quoted);
	}
}

/* A member that is set is found, and one that is removed until none is left is gone. */
static void edit(struct span v, struct buf *a, struct buf *b)
{
	struct json_edit e;
	struct json_scan s;
	struct buf *from = a, *to = b, scratch;

	buf_init(&scratch, BUF_MAX);
	MUST(json_edit_set(&e, &scratch, v, "id", SPAN_LIT("[7]")) == 0 && json_splice(a, v, &e, 1) == 0);
	MUST(scan(buf_span(a), &s) == JSON_OK && span_is(json_get(s.text, "id"), "[7]"));
	while (json_edit_remove(&e, buf_span(from), "id") == 0) {
		struct buf *swap = from;
		buf_reset(to);
		MUST(json_splice(to, buf_span(from), &e, 1) == 0 && scan(buf_span(to), &s) == JSON_OK);
		MUST(to->len < from->len);
		from = to;
		to = swap;
	}
	MUST(!json_get(buf_span(from), "id").p);
	buf_fini(&scratch);
}

static void check(const char *p, size_t size)
{
	const struct span keys[] = { SPAN_LIT("id"), SPAN_LIT("method"), SPAN_LIT("") };
	struct json_member found[3];
	struct json_scan s, again;
	struct buf a, b;

	buf_init(&a, BUF_MAX);
	buf_init(&b, BUF_MAX);
	MUST(json_quote(&a, span_make(p, size)) == 0 && scan(buf_span(&a), &again) == JSON_OK);
	buf_reset(&a);
	if (json_scan_for(p, size, &s, keys, found, 3) != JSON_OK) {
		MUST(s.at <= size && !found[0].value.p && !found[1].value.p);
		goto done;
	}
	for (size_t i = 0; i < 3; i++)
		MUST(span_eq(json_get(s.text, keys[i].p), found[i].value) && (found[i].count > 0) == (found[i].value.p != NULL));
	read_all(s.text, 4, &a, &b);
	MUST(json_splice(&a, span_make(p, size), NULL, 0) == 0 && span_eq(buf_span(&a), span_make(p, size)));
	json_one_line(buf_data(&a), a.len);
	MUST(!memchr(buf_data(&a), '\n', a.len) && !memchr(buf_data(&a), '\r', a.len));
	MUST(scan(buf_span(&a), &again) == JSON_OK && !again.has_newline && again.text.n == s.text.n);
	MUST(s.has_newline || span_eq(buf_span(&a), span_make(p, size)));
	buf_reset(&a);
	if (s.type == '{')
		edit(s.text, &a, &b);
done:
	buf_fini(&a);
	buf_fini(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	check((const char *)data, size);
	return 0;
}
