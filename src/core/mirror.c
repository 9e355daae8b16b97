/* Finds the x-mcp-header marks in a tool's inputSchema, judges them by the
 * specification, and writes the headers for a call. A mark counts only where a
 * chain of nothing but `properties` leads; anywhere else it makes the whole
 * tool invalid. Schemas are walked as schemas: a property that happens to be
 * called x-mcp-header, or a default value that holds such a member, is no mark.
 *
 * A set is kept packed in one block, since a server may list very many tools:
 * for each mark the header's name, the number of steps and the steps' names,
 * each text with its length before it. */
#include "core/mirror.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdlib.h>
#include <strings.h>

#include <sodium.h>

#include "wire/json.h"

#define MARK "x-mcp-header"

struct mirror_set {
	uint32_t count;
	uint32_t bytes;
	char packed[];
};

/* ---- the packed form ---- */

static uint32_t get_u32(const char **p)
{
	uint32_t v;

	memcpy(&v, *p, sizeof v);
	*p += sizeof v;
	return v;
}

static struct span get_text(const char **p)
{
	uint32_t n = get_u32(p);
	struct span s = span_make(*p, n);

	*p += n;
	return s;
}

static int put_u32(struct buf *b, uint32_t v)
{
	return buf_append(b, &v, sizeof v);
}

/* Appends a JSON string, decoded, with its length before it. */
static int put_string(struct buf *b, struct span token)
{
	size_t mark = b->len;
	uint32_t n;

	if (put_u32(b, 0) || json_string(token, b))
		return -1;
	n = (uint32_t)(b->len - mark - sizeof n);
	memcpy(buf_data(b) + mark, &n, sizeof n);
	return 0;
}

/* json_next() yields a key without its quotes; they stand around it. */
static struct span quoted(struct span rawkey)
{
	return span_make(rawkey.p - 1, rawkey.n + 2);
}

/* ---- reading a schema ---- */

struct walk {
	struct buf packed;
	uint32_t count;
	struct span path[MIRROR_MAX_DEPTH + 1]; /* raw names of the properties that lead here */
	const char *reason;                     /* NULL after a failure: no memory */
};

struct place {
	unsigned depth;   /* how deep the walk is; bounds the recursion */
	unsigned steps;   /* names in path[] */
	bool reachable;   /* by `properties` alone */
};

static int walk_schema(struct walk *w, struct span schema, struct place at);

static int refuse(struct walk *w, const char *reason)
{
	w->reason = reason;
	return -1;
}

/* RFC 9110, 5.6.2: 1*tchar. */
static bool is_token(struct span s)
{
	for (size_t i = 0; i < s.n; i++) {
		char c = s.p[i];

		if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')) &&
		    (c == '\0' || !strchr("!#$%&'*+-.^_`|~", c)))
			return false;
	}
	return s.n > 0;
}

static bool type_name_fits(struct span v, bool *seen)
{
	if (json_string_is(v, "null"))
		return true;
	*seen = true;
	return json_string_is(v, "string") || json_string_is(v, "integer") || json_string_is(v, "boolean");
}

/* string, integer or boolean; or a list of these and null, since a null
 * argument is provided for ("the header is omitted"). */
static bool type_fits(struct span schema)
{
	struct span type = json_get(schema, "type");
	struct span v;
	struct json_iter it;
	bool seen = false;

	if (json_type(type) != '[')
		return json_type(type) == '"' && type_name_fits(type, &seen) && seen;
	json_iter(&it, type);
	while (json_next(&it, NULL, &v)) {
		if (!type_name_fits(v, &seen))
			return false;
	}
	return seen;
}

static bool name_taken(const struct walk *w, struct span name)
{
	const char *p = buf_data(&w->packed);

	for (uint32_t i = 0; i < w->count; i++) {
		struct span s = get_text(&p);

		if (s.n == name.n && strncasecmp(s.p, name.p, s.n) == 0)
			return true;
		for (uint32_t n = get_u32(&p); n > 0; n--)
			get_text(&p);
	}
	return false;
}

/* Decoded text is never longer than its raw form, so this bounds what pack_mark() adds. */
static bool mark_has_room(const struct walk *w, struct span value, struct place at)
{
	size_t room = MIRROR_MAX_BYTES - w->packed.len;

	if (value.n + 2 * sizeof(uint32_t) > room)
		return false;
	room -= value.n + 2 * sizeof(uint32_t);
	for (unsigned i = 0; i < at.steps; i++) {
		if (w->path[i].n + sizeof(uint32_t) > room)
			return false;
		room -= w->path[i].n + sizeof(uint32_t);
	}
	return true;
}

static int pack_mark(struct walk *w, struct span value, struct place at)
{
	size_t mark = w->packed.len;
	struct span name;
	const char *p;

	if (put_string(&w->packed, value))
		return -1;
	p = buf_data(&w->packed) + mark;
	name = get_text(&p);
	if (!is_token(name))
		return refuse(w, MARK " is not an HTTP token");
	if (name_taken(w, name))
		return refuse(w, "two parameters share one " MARK);
	if (put_u32(&w->packed, at.steps))
		return -1;
	for (unsigned i = 0; i < at.steps; i++) {
		if (put_string(&w->packed, quoted(w->path[i])))
			return -1;
	}
	w->count++;
	return 0;
}

static int take_mark(struct walk *w, struct span schema, struct span value, struct place at)
{
	if (!at.reachable || at.steps == 0)
		return refuse(w, MARK " stands where no chain of properties leads");
	if (!type_fits(schema))
		return refuse(w, MARK " on a parameter that is no string, integer or boolean");
	if (json_type(value) != '"')
		return refuse(w, MARK " is no string");
	if (w->count >= MIRROR_MAX_HEADERS)
		return refuse(w, "too many " MARK " parameters");
	if (!mark_has_room(w, value, at))
		return refuse(w, "the names of " MARK " parameters are too long");
	return pack_mark(w, value, at);
}

static bool key_is_one_of(struct span key, const char *const *names)
{
	for (; *names; names++) {
		if (json_key_is(key, *names))
			return true;
	}
	return false;
}

/* An object whose members' names are names, and whose values are schemas. */
static int walk_named(struct walk *w, struct span map, struct place at, bool properties)
{
	struct json_iter it;
	struct span key, value;
	struct place in = { at.depth + 1, at.steps, at.reachable && properties };

	json_iter(&it, map);
	if (!it.object)
		return 0;
	while (json_next(&it, &key, &value)) {
		if (in.reachable) {
			w->path[at.steps] = key;
			in.steps = at.steps + 1;
		}
		if (walk_schema(w, value, in))
			return -1;
	}
	return 0;
}

/* What stands behind any other keyword, known or not: a schema, or a list of them. */
static int walk_other(struct walk *w, struct span value, struct place at)
{
	struct json_iter it;
	struct span v;
	struct place in = { at.depth + 1, at.steps, false };

	if (json_type(value) == '{')
		return walk_schema(w, value, in);
	if (json_type(value) != '[')
		return 0;
	json_iter(&it, value);
	while (json_next(&it, NULL, &v)) {
		if (walk_schema(w, v, in))
			return -1;
	}
	return 0;
}

static int walk_keyword(struct walk *w, struct span key, struct span value, struct place at)
{
	static const char *const named[] = { "patternProperties", "$defs", "definitions", "dependentSchemas",
	                                     "dependencies", NULL };
	static const char *const data[] = { "default", "const", "enum", "examples", NULL };

	if (json_key_is(key, "properties"))
		return walk_named(w, value, at, true);
	if (key_is_one_of(key, named))
		return walk_named(w, value, at, false);
	if (key_is_one_of(key, data))
		return 0;
	return walk_other(w, value, at);
}

static int walk_schema(struct walk *w, struct span schema, struct place at)
{
	struct json_iter it;
	struct span key, value, mark = SPAN_NONE;

	if (json_type(schema) != '{')
		return 0;
	if (at.depth > MIRROR_MAX_DEPTH)
		return memmem(schema.p, schema.n, MARK, strlen(MARK)) ? refuse(w, MARK " is nested too deeply") : 0;
	json_iter(&it, schema);
	while (json_next(&it, &key, &value)) {
		if (json_key_is(key, MARK))
			mark = value;
		else if (walk_keyword(w, key, value, at))
			return -1;
	}
	return mark.p ? take_mark(w, schema, mark, at) : 0;
}

/* The common tool has no mark, and its text shows that: only \u can spell one otherwise. */
static bool may_have_marks(struct span schema)
{
	return memmem(schema.p, schema.n, MARK, strlen(MARK)) || memmem(schema.p, schema.n, "\\u", 2);
}

static struct mirror_set *mirror_new(const struct walk *w)
{
	struct mirror_set *m = malloc(sizeof *m + w->packed.len);

	if (!m)
		return NULL;
	m->count = w->count;
	m->bytes = (uint32_t)w->packed.len;
	memcpy(m->packed, buf_data(&w->packed), w->packed.len);
	return m;
}

int mirror_read(struct span tool, struct mirror_set **out, const char **reason)
{
	struct span schema = json_get(tool, "inputSchema");
	struct walk w = { .reason = NULL };
	int rc = 0;

	if (out)
		*out = NULL;
	if (json_type(schema) != '{' || !may_have_marks(schema))
		return 0;
	buf_init(&w.packed, MIRROR_MAX_BYTES);
	if (walk_schema(&w, schema, (struct place){ .reachable = true })) {
		*reason = w.reason;
		rc = w.reason ? 1 : -1;
	} else if (out && w.count > 0) {
		*out = mirror_new(&w);
		rc = *out ? 0 : -1;
	}
	buf_fini(&w.packed);
	return rc;
}

void mirror_free(struct mirror_set *m)
{
	free(m);
}

size_t mirror_size(const struct mirror_set *m)
{
	return m ? sizeof *m + m->bytes : 0;
}

/* ---- writing headers ---- */

/* As json_get(), for a name that may hold any byte. The last one wins. */
static int find_member(struct span obj, struct span name, struct span *out)
{
	struct json_iter it;
	struct span key, value;
	struct buf text;
	int rc = 0;

	*out = SPAN_NONE;
	json_iter(&it, obj);
	if (!it.object)
		return 0;
	buf_init(&text, obj.n);
	while (rc == 0 && json_next(&it, &key, &value)) {
		if (memchr(key.p, '\\', key.n)) {
			buf_reset(&text);
			rc = json_string(quoted(key), &text);
			key = buf_span(&text);
		}
		if (rc == 0 && span_eq(key, name))
			*out = value;
	}
	buf_fini(&text);
	return rc;
}

static int put_text(struct buf *out, struct span token)
{
	struct buf text;
	int rc;

	buf_init(&text, token.n);
	rc = json_string(token, &text) || mcp_header_value(out, buf_span(&text)) ? -1 : 0;
	buf_fini(&text);
	return rc;
}

/* Numbers that are whole are written as such (42.0 is 42); others do not fit
 * their schema, and go as they stand in the body, for the server to judge. */
static int put_value(struct buf *out, struct span v)
{
	int64_t n;

	if (json_type(v) == '"')
		return put_text(out, v);
	if (json_type(v) == '0' && json_int(v, &n))
		return buf_printf(out, "%" PRId64, n);
	return buf_add(out, v);
}

static bool is_mirrored(struct span v)
{
	switch (json_type(v)) {
	case '"':
	case '0':
	case 't':
	case 'f':
		return true;
	default:
		return false;
	}
}

int mirror_headers(const struct mirror_set *m, struct span arguments, struct buf *out)
{
	const char *p = m ? m->packed : NULL;
	size_t mark = out->len;

	for (uint32_t i = 0; m && i < m->count; i++) {
		struct span name = get_text(&p);
		struct span v = arguments;

		for (uint32_t n = get_u32(&p); n > 0; n--) {
			if (find_member(v, get_text(&p), &v))
				goto fail;
		}
		if (!is_mirrored(v))
			continue;
		if (buf_puts(out, "Mcp-Param-") || buf_add(out, name) || buf_puts(out, ": ") ||
		    put_value(out, v) || buf_puts(out, "\n"))
			goto fail;
	}
	return 0;
fail:
	out->len = mark;
	return -1;
}

static bool is_plain(struct span v)
{
	static const char head[] = "=?base64?", tail[] = "?=";

	for (size_t i = 0; i < v.n; i++) {
		if (v.p[i] < 0x20 || v.p[i] > 0x7e)
			return false;
	}
	if (v.n > 0 && (v.p[0] == ' ' || v.p[v.n - 1] == ' '))
		return false;
	return v.n < strlen(head) || memcmp(v.p, head, strlen(head)) != 0 ||
	       memcmp(v.p + v.n - strlen(tail), tail, strlen(tail)) != 0;
}

int mcp_header_value(struct buf *out, struct span utf8)
{
	size_t mark = out->len;
	size_t size; /* of the encoded text with the NUL that libsodium adds */

	if (is_plain(utf8))
		return buf_add(out, utf8);
	if (utf8.n > SIZE_MAX / 2)
		return -1;
	size = sodium_base64_encoded_len(utf8.n, sodium_base64_VARIANT_ORIGINAL);
	if (buf_puts(out, "=?base64?") || buf_reserve(out, size))
		goto fail;
	sodium_bin2base64(buf_tail(out), size, (const unsigned char *)utf8.p, utf8.n, sodium_base64_VARIANT_ORIGINAL);
	buf_grew(out, size - 1);
	if (buf_puts(out, "?="))
		goto fail;
	return 0;
fail:
	out->len = mark;
	return -1;
}
