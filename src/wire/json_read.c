/* Readers over text that json_scan() has passed. They find, decode and convert
 * without building anything; each walks from the beginning of what it is
 * given. Unchecked text gives wrong answers, but no read outside its span. */
#include "wire/json.h"

#include <stdarg.h>

#include "wire/json_i.h"
#include "wire/skip.h"
#include "wire/utf8.h"

/* ---- walking --------------------------------------------------------------- */

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* p stands on the opening quote; gives the place behind the closing one. */
static const char *past_string(const char *p, const char *end)
{
	for (p++; (p = skip_until(p, end, SKIP_QUOTE)) < end; p += 2) {
		if (*p == '"')
			return p + 1;
		if (end - p < 2)
			break;
	}
	return end;
}

/* p stands on the opening bracket; gives the place behind the one that closes it. */
static const char *past_container(const char *p, const char *end)
{
	size_t depth = 0;

	while (p < end) {
		switch (*p) {
		case '"':
			p = past_string(p, end);
			continue;
		case '{': case '[':
			depth++;
			break;
		case '}': case ']':
			if (--depth == 0)
				return p + 1;
			break;
		default:
			break;
		}
		p++;
	}
	return end;
}

static const char *past_value(const char *p, const char *end)
{
	if (*p == '"')
		return past_string(p, end);
	if (*p == '{' || *p == '[')
		return past_container(p, end);
	while (p < end && !is_space(*p) && *p != ',' && *p != ']' && *p != '}')
		p++;
	return p;
}

void json_iter(struct json_iter *it, struct span v)
{
	char type = json_type(v);

	*it = (struct json_iter){ .object = type == '{' };
	if ((type != '{' && type != '[') || v.n < 2)
		return;
	it->p = v.p + 1;
	it->end = v.p + v.n - 1;
}

bool json_next(struct json_iter *it, struct span *key, struct span *value)
{
	const char *p = it->p, *end = it->end, *start;

	while (p < end && (is_space(*p) || *p == ','))
		p++;
	if (key)
		*key = SPAN_NONE;
	if (p < end && it->object) {
		start = p + 1;
		p = past_string(p, end);
		if (key && p > start)
			*key = span_make(start, (size_t)(p - 1 - start));
		while (p < end && (is_space(*p) || *p == ':'))
			p++;
	}
	it->p = p;
	if (p >= end)
		return false;
	it->p = past_value(p, end);
	*value = span_make(p, (size_t)(it->p - p));
	return value->n > 0; /* always, in checked text */
}

struct span json_get(struct span v, const char *key)
{
	struct span k, value, found = SPAN_NONE;
	struct json_iter it;

	json_iter(&it, v);
	while (it.object && json_next(&it, &k, &value)) {
		if (json_key_is(k, key))
			found = value;
	}
	return found;
}

struct span json_path(struct span v, ...)
{
	const char *key;
	va_list ap;

	va_start(ap, v);
	while ((key = va_arg(ap, const char *)))
		v = json_get(v, key);
	va_end(ap);
	return v;
}

/* ---- strings --------------------------------------------------------------- */

/* Four hex digits, or -1. */
static int32_t hex4(const char *p, const char *end)
{
	int32_t v = 0;

	if (end - p < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int c = (unsigned char)p[i];
		int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 :
		    c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
		if (d < 0)
			return -1;
		v = v * 16 + d;
	}
	return v;
}

/* The \uXXXX at *p, with the second half of a pair when there is one. */
static size_t unescape_u(const char **p, const char *end, char out[4])
{
	int32_t cp = hex4(*p + 2, end), low = -1;

	*p = end - *p < 6 ? end : *p + 6;
	if (cp >= 0xd800 && cp < 0xdc00 && end - *p >= 6 && (*p)[0] == '\\' && (*p)[1] == 'u')
		low = hex4(*p + 2, end);
	if (low >= 0xdc00 && low < 0xe000) {
		*p += 6;
		cp = 0x10000 + (cp - 0xd800) * 0x400 + (low - 0xdc00);
	} else if (cp < 0 || (cp >= 0xd800 && cp < 0xe000)) {
		cp = 0xfffd;
	}
	return utf8_encode((uint32_t)cp, out);
}

/* Decodes the escape at *p into out and moves *p behind it; gives the bytes. */
static size_t unescape(const char **p, const char *end, char out[4])
{
	char c;

	if (end - *p < 2) {
		*p = end;
		return 0;
	}
	c = (*p)[1];
	if (c == 'u')
		return unescape_u(p, end, out);
	*p += 2;
	switch (c) {
	case 'b': out[0] = '\b'; break;
	case 'f': out[0] = '\f'; break;
	case 'n': out[0] = '\n'; break;
	case 'r': out[0] = '\r'; break;
	case 't': out[0] = '\t'; break;
	default: out[0] = c; break;
	}
	return 1;
}

bool json_key_is(struct span rawkey, const char *name)
{
	const char *p = rawkey.p, *end;
	size_t left = strlen(name);

	if (!p)
		return false;
	if (rawkey.n == left && memcmp(p, name, left) == 0)
		return memchr(p, '\\', left) == NULL;
	/* An escape never is shorter than what it stands for. */
	if (rawkey.n <= left || !memchr(p, '\\', rawkey.n))
		return false;
	for (end = p + rawkey.n; p < end;) {
		char c[4];
		size_t n = 1;
		if (*p == '\\')
			n = unescape(&p, end, c);
		else
			c[0] = *p++;
		if (n > left || memcmp(c, name, n) != 0)
			return false;
		name += n;
		left -= n;
	}
	return left == 0;
}

/* What stands between the quotes; SPAN_NONE when v is no string. */
static struct span inner(struct span v)
{
	return json_type(v) == '"' && v.n >= 2 ? span_make(v.p + 1, v.n - 2) : SPAN_NONE;
}

int json_string(struct span v, struct buf *out)
{
	struct span s = inner(v);
	size_t before = out->len;
	const char *p = s.p, *end;

	if (!p)
		return -1;
	for (end = p + s.n; p < end;) {
		const char *run = p;
		char c[4];
		p = memchr(p, '\\', (size_t)(end - p));
		if (!p)
			p = end;
		if (buf_append(out, run, (size_t)(p - run)) < 0)
			goto full;
		if (p < end && buf_append(out, c, unescape(&p, end, c)) < 0)
			goto full;
	}
	return 0;
full:
	out->len = before;
	return -1;
}

int json_text_open(struct json_text *t, struct span v)
{
	buf_init(&t->mem, v.n);
	t->s = SPAN_NONE;
	if (json_type(v) != '"')
		return 0;
	t->s = span_make(v.p + 1, v.n - 2);
	if (!memchr(t->s.p, '\\', t->s.n))
		return 0;
	if (json_string(v, &t->mem)) {
		buf_fini(&t->mem);
		return -1;
	}
	t->s = buf_span(&t->mem);
	return 0;
}

void json_text_close(struct json_text *t)
{
	buf_fini(&t->mem);
}

bool json_string_is(struct span v, const char *s)
{
	return json_key_is(inner(v), s);
}

/* ---- numbers and booleans -------------------------------------------------- */

/* The exponent behind an 'e', held at the bound. */
static int64_t exponent(const char *p, const char *end)
{
	int64_t v = 0;
	bool neg = p < end && *p == '-';

	if (p < end && (*p == '-' || *p == '+'))
		p++;
	for (; p < end && *p >= '0' && *p <= '9'; p++) {
		if (v < JSON_EXPONENT_MAX / 10)
			v = v * 10 + (*p - '0');
		else
			v = JSON_EXPONENT_MAX;
	}
	return neg ? -v : v;
}

bool json_decimal(struct span v, struct json_decimal *d)
{
	const char *p = v.p, *end;
	int64_t seen = 0, at_last = 0, at_point = -1;

	*d = (struct json_decimal){ .first = NULL };
	if (json_type(v) != '0')
		return false;
	end = p + v.n;
	if (*p == '-') {
		d->neg = true;
		p++;
	}
	for (; p < end && *p != 'e' && *p != 'E'; p++) {
		if (*p == '.') {
			at_point = seen;
			continue;
		}
		seen++;
		if (*p == '0')
			continue;
		if (!d->first) {
			d->first = p;
			d->ndigits = (size_t)seen;
		}
		d->last = p;
		at_last = seen;
	}
	if (!d->first) {
		d->neg = false;
		return true;
	}
	d->ndigits = (size_t)at_last - (d->ndigits - 1);
	d->exp = (at_point < 0 ? seen : at_point) - at_last;
	if (p < end)
		d->exp += exponent(p + 1, end);
	return true;
}

bool json_int(struct span v, int64_t *out)
{
	struct json_decimal d;
	uint64_t n = 0, limit;

	if (!json_decimal(v, &d) || d.exp < 0 || d.exp > 18 || d.ndigits > 19)
		return false;
	limit = d.neg ? (uint64_t)INT64_MAX + 1 : (uint64_t)INT64_MAX;
	for (const char *p = d.first; p && p <= d.last; p++) {
		if (*p == '.')
			continue;
		n = n * 10 + (uint64_t)(*p - '0'); /* 19 digits fit */
	}
	for (; d.exp > 0; d.exp--) {
		if (n > UINT64_MAX / 10)
			return false;
		n *= 10;
	}
	if (n > limit)
		return false;
	*out = d.neg ? (int64_t)(0 - n) : (int64_t)n;
	return true;
}

bool json_bool(struct span v, bool *out)
{
	char type = json_type(v);

	if (type != 't' && type != 'f')
		return false;
	*out = type == 't';
	return true;
}
