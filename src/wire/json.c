/* The one check that JSON text gets. A single pass over the bytes, without a
 * tree, an allocation or recursion: nesting is a stack of bits, a string is
 * passed over in vectors, and the top-level members that somebody wants are
 * noted on the way. It promises that what it calls JSON_OK is exactly one
 * value by RFC 8259 in valid UTF-8; it does not look at what values mean, so
 * repeated keys, huge numbers and lone surrogate escapes pass. */
#include "wire/json.h"

#include "wire/skip.h"
#include "wire/utf8.h"

struct scanner {
	const char *p, *end;
	unsigned depth;
	uint64_t objects[JSON_MAX_DEPTH / 64]; /* bit d: what stands open at depth d is an object */
	bool has_newline;
	struct json_want *want; /* of the caller */
	size_t nwant;
	struct json_want *open; /* wanted member whose value is being read */
};

static inline void skip_space(struct scanner *s)
{
	const char *p = s->p;

	for (; p < s->end; p++) {
		if (*p == '\n' || *p == '\r')
			s->has_newline = true;
		else if (*p != ' ' && *p != '\t')
			break;
	}
	s->p = p;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* p stands on the backslash. */
static inline enum json_status scan_escape(struct scanner *s)
{
	if (s->end - s->p < 2) {
		s->p = s->end;
		return JSON_SHORT;
	}
	switch (s->p[1]) {
	case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
		s->p += 2;
		return JSON_OK;
	case 'u':
		break;
	default:
		s->p++;
		return JSON_BAD;
	}
	s->p += 2;
	for (int i = 0; i < 4; i++, s->p++) {
		if (s->p == s->end)
			return JSON_SHORT;
		if (!is_hex(*s->p))
			return JSON_BAD;
	}
	return JSON_OK;
}

/* p stands on a byte that is not ASCII. */
static enum json_status scan_utf8(struct scanner *s)
{
	const char *past = utf8_skip(s->p, s->end);
	int n;

	if (past > s->p) {
		s->p = past;
		return JSON_OK;
	}
	n = utf8_length(s->p, s->end);
	if (n == UTF8_BAD)
		return JSON_UTF8;
	if (n == UTF8_SHORT)
		return JSON_SHORT;
	s->p += n;
	return JSON_OK;
}

/* p stands on the opening quote; afterwards behind the closing one. */
static inline enum json_status scan_string(struct scanner *s, bool *escaped)
{
	enum json_status st = JSON_OK;

	s->p++;
	while (st == JSON_OK) {
		s->p = skip_until(s->p, s->end, SKIP_QUOTE | SKIP_CONTROL | SKIP_NON_ASCII);
		if (s->p == s->end)
			return JSON_SHORT;
		if (*s->p == '"') {
			s->p++;
			return JSON_OK;
		}
		if (*s->p == '\\') {
			*escaped = true;
			st = scan_escape(s);
		} else {
			st = (unsigned char)*s->p < 0x20 ? JSON_BAD : scan_utf8(s);
		}
	}
	return st;
}

static inline enum json_status scan_digits(struct scanner *s)
{
	const char *start = s->p;

	while (s->p < s->end && *s->p >= '0' && *s->p <= '9')
		s->p++;
	if (s->p > start)
		return JSON_OK;
	return s->p == s->end ? JSON_SHORT : JSON_BAD;
}

/* RFC 8259, section 6. What may follow a number is the caller's concern. */
static inline enum json_status scan_number(struct scanner *s)
{
	enum json_status st;

	if (*s->p == '-')
		s->p++;
	if (s->p < s->end && *s->p == '0')
		s->p++;
	else if ((st = scan_digits(s)) != JSON_OK)
		return st;
	if (s->p < s->end && *s->p == '.') {
		s->p++;
		if ((st = scan_digits(s)) != JSON_OK)
			return st;
	}
	if (s->p < s->end && (*s->p == 'e' || *s->p == 'E')) {
		s->p++;
		if (s->p < s->end && (*s->p == '+' || *s->p == '-'))
			s->p++;
		if ((st = scan_digits(s)) != JSON_OK)
			return st;
	}
	return JSON_OK;
}

static inline enum json_status scan_word(struct scanner *s, const char *word)
{
	for (; *word; word++, s->p++) {
		if (s->p == s->end)
			return JSON_SHORT;
		if (*s->p != *word)
			return JSON_BAD;
	}
	return JSON_OK;
}

static inline bool in_object(const struct scanner *s)
{
	unsigned d = s->depth - 1;
	return s->objects[d / 64] >> (d % 64) & 1;
}

static struct json_want *find_want(struct scanner *s, struct span rawkey, bool escaped)
{
	for (size_t i = 0; i < s->nwant; i++) {
		const char *name = s->want[i].key;
		if (escaped ? json_key_is(rawkey, name) : rawkey.n > 0 && *name == *rawkey.p && span_is(rawkey, name))
			return &s->want[i];
	}
	return NULL;
}

/* A key, its colon and the space around them; afterwards a value is due. */
static inline enum json_status scan_key(struct scanner *s)
{
	const char *start = s->p + 1;
	bool escaped = false;
	enum json_status st;

	if (s->p == s->end)
		return JSON_SHORT;
	if (*s->p != '"')
		return JSON_BAD;
	if ((st = scan_string(s, &escaped)) != JSON_OK)
		return st;
	if (s->depth == 1 && s->nwant)
		s->open = find_want(s, span_make(start, (size_t)(s->p - 1 - start)), escaped);
	skip_space(s);
	if (s->p == s->end)
		return JSON_SHORT;
	if (*s->p != ':')
		return JSON_BAD;
	s->p++;
	skip_space(s);
	if (s->open && s->depth == 1) {
		s->open->value = span_make(s->p, 0);
		s->open->count++;
	}
	return JSON_OK;
}

/* p stands on the bracket. *inside: a first element or the value of a first
 * member is due; otherwise the container was empty and is behind us. */
static inline enum json_status scan_open(struct scanner *s, bool *inside)
{
	bool object = *s->p == '{';
	uint64_t bit = (uint64_t)1 << (s->depth % 64);

	if (s->depth == JSON_MAX_DEPTH)
		return JSON_DEEP;
	if (object)
		s->objects[s->depth / 64] |= bit;
	else
		s->objects[s->depth / 64] &= ~bit;
	s->p++;
	skip_space(s);
	if (s->p == s->end)
		return JSON_SHORT;
	if (*s->p == (object ? '}' : ']')) {
		s->p++;
		return JSON_OK;
	}
	s->depth++;
	*inside = true;
	return object ? scan_key(s) : JSON_OK;
}

static inline enum json_status scan_value(struct scanner *s, bool *inside)
{
	bool escaped;

	if (s->p == s->end)
		return JSON_SHORT;
	switch (*s->p) {
	case '"': return scan_string(s, &escaped);
	case '{': case '[': return scan_open(s, inside);
	case 't': return scan_word(s, "true");
	case 'f': return scan_word(s, "false");
	case 'n': return scan_word(s, "null");
	case '-': case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9': return scan_number(s);
	default: return JSON_BAD;
	}
}

/* Behind a value: closes what ends here. *more: behind a comma, a value is due. */
static inline enum json_status scan_after(struct scanner *s, bool *more)
{
	while (s->depth > 0) {
		bool object = in_object(s);

		if (s->depth == 1 && s->open) {
			s->open->value.n = (size_t)(s->p - s->open->value.p);
			s->open = NULL;
		}
		skip_space(s);
		if (s->p == s->end)
			return JSON_SHORT;
		if (*s->p == ',') {
			s->p++;
			skip_space(s);
			*more = true;
			return object ? scan_key(s) : JSON_OK;
		}
		if (*s->p != (object ? '}' : ']'))
			return JSON_BAD;
		s->p++;
		s->depth--;
	}
	return JSON_OK;
}

static enum json_status scan_text(struct scanner *s, struct json_scan *out)
{
	enum json_status st;
	const char *start;
	bool due = true;

	skip_space(s);
	start = s->p;
	while (due) {
		bool inside = false, more = false;
		if ((st = scan_value(s, &inside)) != JSON_OK)
			return st;
		if (!inside && (st = scan_after(s, &more)) != JSON_OK)
			return st;
		due = inside || more;
	}
	out->text = span_make(start, (size_t)(s->p - start));
	out->type = json_type(out->text);
	skip_space(s);
	return s->p == s->end ? JSON_OK : JSON_BAD;
}

enum json_status json_scan(const char *p, size_t n, struct json_scan *out, struct json_want *want, size_t nwant)
{
	struct scanner s = { .p = p, .end = p, .want = want, .nwant = nwant };
	enum json_status st;

	if (n > 0)
		s.end += n;
	*out = (struct json_scan){ .text = SPAN_NONE };
	for (size_t i = 0; i < nwant; i++) {
		want[i].value = SPAN_NONE;
		want[i].count = 0;
	}
	st = scan_text(&s, out);
	out->at = n > 0 ? (size_t)(s.p - p) : 0;
	out->has_newline = s.has_newline;
	if (st != JSON_OK) {
		out->text = SPAN_NONE;
		out->type = 0;
		for (size_t i = 0; i < nwant; i++)
			want[i] = (struct json_want){ .key = want[i].key, .value = SPAN_NONE };
	}
	return st;
}

const char *json_status_text(enum json_status s)
{
	switch (s) {
	case JSON_OK: return "valid JSON";
	case JSON_BAD: return "not valid JSON";
	case JSON_SHORT: return "JSON that ends too early";
	case JSON_UTF8: return "not valid UTF-8";
	case JSON_DEEP: return "nested too deeply";
	}
	return "not valid JSON";
}
