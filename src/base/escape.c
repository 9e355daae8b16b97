/* Reads single escape sequences. What is none, or is cut short, is left to the
 * caller as the text it is. */
#include "base/escape.h"

#include <stdint.h>
#include <string.h>

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The value of n hexadecimal digits at the beginning of s; -1: there are none. */
static int32_t hex(struct span s, size_t n)
{
	int32_t v = 0;

	if (s.n < n)
		return -1;
	for (size_t i = 0; i < n; i++) {
		int digit = hex_value(s.p[i]);

		if (digit < 0)
			return -1;
		v = v * 16 + digit;
	}
	return v;
}

size_t escape_percent(struct span s, char out[ESCAPE_MAX], size_t *n)
{
	int32_t v = s.n >= 3 && s.p[0] == '%' ? hex(span_make(s.p + 1, 2), 2) : -1;

	if (v < 0)
		return 0;
	out[0] = (char)v;
	*n = 1;
	return 3;
}

/* Four digits behind \u; -1: it is none. */
static int32_t unit(struct span s)
{
	return s.n >= 6 && s.p[0] == '\\' && s.p[1] == 'u' ? hex(span_make(s.p + 2, 4), 4) : -1;
}

static size_t put_utf8(uint32_t c, char out[ESCAPE_MAX])
{
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
	static const unsigned char first[] = { 0, 0x00, 0xc0, 0xe0, 0xf0 };

	for (size_t i = n; i-- > 1; c >>= 6)
		out[i] = (char)(0x80 | (c & 0x3f));
	out[0] = (char)(first[n] | c);
	return n;
}

size_t escape_json(struct span s, char out[ESCAPE_MAX], size_t *n)
{
	static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
	int32_t v = unit(s), low;
	const char *at;

	if (v >= 0xd800 && v < 0xdc00) {
		low = unit(span_make(s.p + 6, s.n - 6));
		if (low >= 0xdc00 && low < 0xe000) {
			*n = put_utf8(0x10000 + ((uint32_t)(v - 0xd800) << 10 | (uint32_t)(low - 0xdc00)), out);
			return 12;
		}
	}
	if (v >= 0) {
		*n = put_utf8((uint32_t)v, out);
		return 6;
	}
	at = s.n >= 2 && s.p[0] == '\\' && s.p[1] ? strchr(letters, s.p[1]) : NULL;
	if (!at)
		return 0;
	out[0] = meant[at - letters];
	*n = 1;
	return 2;
}
