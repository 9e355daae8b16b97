/* The one check that JSON text gets. A single pass over the bytes, without a
 * tree, an allocation or recursion: nesting is a stack of bits, strings are
 * passed over a block at a time, and the top-level members that somebody
 * wants are noted on the way. It promises that what it calls JSON_OK is
 * exactly one value by RFC 8259 in valid UTF-8; it does not look at what values
 * mean, so repeated keys, huge numbers and lone surrogate escapes pass. */
#include "wire/json.h"

#include "wire/skip.h"
#include "wire/utf8.h"

/* The place travels in a register: each step takes it and gives the place
 * behind what it passed, or NULL after fail() has noted what is wrong. */
struct scanner {
	const char *end;
	unsigned depth;
	bool has_newline;
	enum json_status status;
	const char *at;
	const struct span *keys; /* of the caller */
	struct json_member *members;
	size_t nkeys, next_key;
	struct json_member *open; /* wanted member whose value is being read */
	const char *start;
	const char *block;      /* SKIP_BLOCK bytes whose stops are known; NULL before the first */
	uint64_t stops;
	uint64_t objects[JSON_MAX_DEPTH / 64]; /* bit d: what stands open at depth d is an object */
};

static const char *fail(struct scanner *s, const char *p, enum json_status st)
{
	s->at = p;
	s->status = st;
	return NULL;
}

/* For a place where something else was due. */
static const char *unexpected(struct scanner *s, const char *p)
{
	return fail(s, p, p == s->end ? JSON_SHORT : JSON_BAD);
}

static const char *pass_spaces(struct scanner *s, const char *p)
{
	for (; p < s->end; p++) {
		if (*p == '\n' || *p == '\r')
			s->has_newline = true;
		else if (*p != ' ' && *p != '\t')
			break;
	}
	return p;
}

static inline const char *pass_space(struct scanner *s, const char *p)
{
	return p < s->end && (unsigned char)*p <= ' ' ? pass_spaces(s, p) : p;
}

/* True when c comes next; space before it is passed. Most writers put none,
 * so c is looked for first. */
static inline bool pass_to(struct scanner *s, const char **p, char c)
{
	if (*p < s->end && **p == c)
		return true;
	*p = pass_space(s, *p);
	return *p < s->end && **p == c;
}

static bool is_hex(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* p stands on the backslash. */
static inline const char *pass_escape(struct scanner *s, const char *p)
{
	p++;
	if (p == s->end)
		return unexpected(s, p);
	switch (*p++) {
	case '"': case '\\': case '/': case 'b': case 'f': case 'n': case 'r': case 't':
		return p;
	case 'u':
		break;
	default:
		return unexpected(s, p - 1);
	}
	for (int i = 0; i < 4; i++, p++) {
		if (p == s->end || !is_hex(*p))
			return unexpected(s, p);
	}
	return p;
}

/* p stands on a byte that is not ASCII. */
static const char *pass_utf8(struct scanner *s, const char *p)
{
	const char *past = utf8_skip(p, s->end);
	int n;

	if (past > p)
		return past;
	n = utf8_length(p, s->end);
	if (n < 1)
		return fail(s, p, n == UTF8_SHORT ? JSON_SHORT : JSON_UTF8);
	return p + n;
}

/* What ends a plain run within a string. */
#define STRING_STOPS (SKIP_QUOTE | SKIP_CONTROL | SKIP_NON_ASCII)

/* Finds the next stop in blocks from p, the last of which ends with the text.
 * A text smaller than a block goes the careful way. */
static const char *find_stop(struct scanner *s, const char *p)
{
	if (s->end - s->start < SKIP_BLOCK)
		return skip_until(p, s->end, STRING_STOPS);
	for (; p < s->end; p = s->block + SKIP_BLOCK) {
		s->block = s->end - p < SKIP_BLOCK ? s->end - SKIP_BLOCK : p;
		s->stops = skip_block(s->block, STRING_STOPS);
		if (s->stops >> (p - s->block))
			return p + __builtin_ctzll(s->stops >> (p - s->block));
	}
	return s->end;
}

/* The next stop, or the end. Each block of the text is looked at once and its
 * stops are remembered: the way from one short string to the next is then a
 * shift and a count, where a vector loaded at every string would be waited for. */
static inline const char *next_stop(struct scanner *s, const char *p)
{
	uintptr_t ahead = (uintptr_t)p - (uintptr_t)s->block;

	if (ahead < SKIP_BLOCK && s->stops >> ahead)
		return p + __builtin_ctzll(s->stops >> ahead);
	return find_stop(s, p);
}

/* The rest of a string that is not plain; p stands on a stop. */
static const char *pass_string_rest(struct scanner *s, const char *p, bool *escaped)
{
	while (p) {
		if (p == s->end)
			return unexpected(s, p);
		if (*p == '"')
			return p + 1;
		if (*p == '\\') {
			*escaped = true;
			p = pass_escape(s, p);
		} else if ((unsigned char)*p >= 0x80) {
			p = pass_utf8(s, p);
		} else {
			return unexpected(s, p);
		}
		if (p)
			p = next_stop(s, p);
	}
	return NULL;
}

/* p stands on the opening quote. Most strings of most messages are plain. */
static inline const char *pass_string(struct scanner *s, const char *p, bool *escaped)
{
	const char *stop = next_stop(s, p + 1);

	if (stop < s->end && *stop == '"')
		return stop + 1;
	return pass_string_rest(s, stop, escaped);
}

static inline const char *pass_digits(struct scanner *s, const char *p)
{
	const char *start = p;

	while (p < s->end && *p >= '0' && *p <= '9')
		p++;
	return p > start ? p : unexpected(s, p);
}

/* RFC 8259, section 6. What may follow a number is the caller's concern. */
static const char *pass_number(struct scanner *s, const char *p)
{
	if (*p == '-')
		p++;
	if (p < s->end && *p == '0')
		p++;
	else
		p = pass_digits(s, p);
	if (p && p < s->end && *p == '.')
		p = pass_digits(s, p + 1);
	if (p && p < s->end && (*p == 'e' || *p == 'E')) {
		p++;
		if (p < s->end && (*p == '+' || *p == '-'))
			p++;
		p = pass_digits(s, p);
	}
	return p;
}

static const char *pass_word(struct scanner *s, const char *p, const char *word)
{
	for (; *word; word++, p++) {
		if (p == s->end || *p != *word)
			return unexpected(s, p);
	}
	return p;
}

/* Looked for from behind the last one found, because most writers keep an order. */
static struct json_member *find_wanted(struct scanner *s, struct span rawkey, bool escaped)
{
	for (size_t i = 0; i < s->nkeys; i++) {
		size_t at = s->next_key;

		s->next_key = at + 1 < s->nkeys ? at + 1 : 0;
		if (escaped ? json_key_is(rawkey, s->keys[at].p) : span_eq(rawkey, s->keys[at]))
			return &s->members[at];
	}
	return NULL;
}

/* A key, its colon and the space around both; behind it a value is due. */
static inline const char *pass_key(struct scanner *s, const char *p)
{
	const char *start;
	bool escaped = false;

	if (!pass_to(s, &p, '"'))
		return unexpected(s, p);
	start = p + 1;
	p = pass_string(s, p, &escaped);
	if (!p)
		return NULL;
	if (s->depth == 1)
		s->open = find_wanted(s, span_make(start, (size_t)(p - 1 - start)), escaped);
	if (!pass_to(s, &p, ':'))
		return unexpected(s, p);
	p = pass_space(s, p + 1);
	if (s->depth == 1 && s->open) {
		s->open->value = span_make(p, 0);
		s->open->count++;
	}
	return p;
}

static inline void push(struct scanner *s, bool object)
{
	uint64_t *word = &s->objects[s->depth / 64];

	*word = (*word & ~((uint64_t)1 << (s->depth % 64))) | (uint64_t)object << (s->depth % 64);
	s->depth++;
}

/* True when what stands around the container just closed is an object. */
static inline bool pop(struct scanner *s)
{
	unsigned d = --s->depth - 1; /* at depth 0 nobody asks */

	return s->depth > 0 && (s->objects[d / 64] >> (d % 64) & 1);
}

static inline void end_wanted(struct scanner *s, const char *p)
{
	if (s->depth == 1 && s->open) {
		s->open->value.n = (size_t)(p - s->open->value.p);
		s->open = NULL;
	}
}

/* The grammar, as three places one can be in. */
static const char *pass_text(struct scanner *s, const char *p)
{
	bool object = false; /* the innermost open container is one */
	bool escaped;

value:
	if (p == s->end)
		return unexpected(s, p);
	switch (*p) {
	case '"': p = pass_string(s, p, &escaped); break;
	case 't': p = pass_word(s, p, "true"); break;
	case 'f': p = pass_word(s, p, "false"); break;
	case 'n': p = pass_word(s, p, "null"); break;
	case '-': case '0': case '1': case '2': case '3': case '4':
	case '5': case '6': case '7': case '8': case '9': p = pass_number(s, p); break;
	case '{': case '[':
		if (s->depth == JSON_MAX_DEPTH)
			return fail(s, p, JSON_DEEP);
		object = *p == '{';
		push(s, object);
		p = pass_space(s, p + 1);
		if (p < s->end && *p == (object ? '}' : ']'))
			goto close;
		if (object)
			goto key;
		goto value;
	default: return unexpected(s, p);
	}
	if (!p)
		return NULL;

after_value:
	if (s->depth == 0)
		return p;
	end_wanted(s, p);
	if (pass_to(s, &p, ',')) {
		p++;
		if (object)
			goto key;
		p = pass_space(s, p);
		goto value;
	}
	if (p == s->end || *p != (object ? '}' : ']'))
		return unexpected(s, p);
close:
	object = pop(s);
	p++;
	goto after_value;

key:
	p = pass_key(s, p);
	if (!p)
		return NULL;
	goto value;
}

static void forget(struct json_member *members, size_t n)
{
	for (size_t i = 0; i < n; i++)
		members[i] = (struct json_member){ .value = SPAN_NONE };
}

enum json_status json_scan_for(const char *p, size_t n, struct json_scan *out, const struct span *keys,
	struct json_member *members, size_t nkeys)
{
	struct scanner s;
	const char *start, *past;

	s.start = p;
	s.end = n > 0 ? p + n : p;
	s.block = NULL;
	s.stops = 0;
	s.depth = 0;
	s.has_newline = false;
	s.status = JSON_OK;
	s.keys = keys;
	s.members = members;
	s.nkeys = nkeys;
	s.next_key = 0;
	s.open = NULL;
	memset(s.objects, 0, sizeof s.objects);
	forget(members, nkeys);
	*out = (struct json_scan){ .text = SPAN_NONE };
	start = pass_space(&s, p);
	past = pass_text(&s, start);
	if (past) {
		out->text = span_make(start, (size_t)(past - start));
		out->type = json_type(out->text);
		past = pass_space(&s, past);
		if (past < s.end)
			past = fail(&s, past, JSON_BAD);
	}
	out->has_newline = s.has_newline;
	if (past) {
		out->at = n;
		return JSON_OK;
	}
	out->at = n > 0 ? (size_t)(s.at - p) : 0;
	out->text = SPAN_NONE;
	out->type = 0;
	forget(members, nkeys);
	return s.status;
}

enum json_status json_scan(const char *p, size_t n, struct json_scan *out)
{
	return json_scan_for(p, n, out, NULL, NULL, 0);
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
