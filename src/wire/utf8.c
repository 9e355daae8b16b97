/* Checks and writes UTF-8. Overlong forms, surrogates and what lies above
 * U+10FFFF are refused (RFC 3629, section 4). The bulk check exists because
 * text in most of the world's languages is not ASCII, and a tool may well
 * answer with megabytes of it; it never judges, it only passes over what is
 * certainly right and leaves the rest to utf8_length(). */
#include "wire/utf8.h"

#include <stdbool.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

static bool is_tail(unsigned char c)
{
	return (c & 0xc0) == 0x80;
}

/* The second byte's range depends on the first: RFC 3629, section 4. */
static bool is_second(unsigned char first, unsigned char c)
{
	switch (first) {
	case 0xe0: return c >= 0xa0 && c <= 0xbf;
	case 0xed: return c >= 0x80 && c <= 0x9f;
	case 0xf0: return c >= 0x90 && c <= 0xbf;
	case 0xf4: return c >= 0x80 && c <= 0x8f;
	default: return is_tail(c);
	}
}

int utf8_length(const char *p, const char *end)
{
	const unsigned char *u = (const unsigned char *)p;
	int n;

	if (u[0] < 0x80)
		return 1;
	if (u[0] < 0xc2 || u[0] > 0xf4)
		return UTF8_BAD;
	n = u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : 4;
	if (end - p < 2)
		return UTF8_SHORT;
	if (!is_second(u[0], u[1]))
		return UTF8_BAD;
	for (int i = 2; i < n; i++) {
		if (end - p <= i)
			return UTF8_SHORT;
		if (!is_tail(u[i]))
			return UTF8_BAD;
	}
	return n;
}

size_t utf8_encode(uint32_t cp, char out[4])
{
	if (cp < 0x80) {
		out[0] = (char)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (char)(0xc0 | cp >> 6);
		out[1] = (char)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (char)(0xe0 | cp >> 12);
		out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (char)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (char)(0xf0 | cp >> 18);
	out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (char)(0x80 | (cp & 0x3f));
	return 4;
}

#ifdef __SSE2__

static inline __m128i byte16(int c)
{
	return _mm_set1_epi8((char)c);
}

/* All ones where the unsigned byte is at most c. */
static inline __m128i at_most(__m128i v, int c)
{
	return _mm_cmpeq_epi8(_mm_min_epu8(v, byte16(c)), v);
}

static inline __m128i equals(__m128i v, int c)
{
	return _mm_cmpeq_epi8(v, byte16(c));
}

/* All ones where the byte can not stand behind the three bytes before it.
 * Ahead of the block zeros are shifted in, so it must begin with a character. */
static inline __m128i misplaced(__m128i v)
{
	__m128i before1 = _mm_slli_si128(v, 1), before2 = _mm_slli_si128(v, 2), before3 = _mm_slli_si128(v, 3);
	__m128i is_cont = _mm_cmplt_epi8(v, byte16(0xc0)); /* signed: 0x80 to 0xbf */
	__m128i due = _mm_or_si128(_mm_subs_epu8(before1, byte16(0xbf)),
	    _mm_or_si128(_mm_subs_epu8(before2, byte16(0xdf)), _mm_subs_epu8(before3, byte16(0xef))));
	__m128i not_due = _mm_cmpeq_epi8(due, _mm_setzero_si128());
	__m128i below_90 = at_most(v, 0x8f), below_a0 = at_most(v, 0x9f);
	__m128i bad = _mm_cmpeq_epi8(is_cont, not_due);

	bad = _mm_or_si128(bad, _mm_or_si128(equals(v, 0xc0), equals(v, 0xc1)));
	bad = _mm_or_si128(bad, _mm_cmpeq_epi8(_mm_max_epu8(v, byte16(0xf5)), v));
	bad = _mm_or_si128(bad, _mm_and_si128(equals(before1, 0xe0), below_a0));
	bad = _mm_or_si128(bad, _mm_andnot_si128(below_a0, equals(before1, 0xed)));
	bad = _mm_or_si128(bad, _mm_and_si128(equals(before1, 0xf0), below_90));
	return _mm_or_si128(bad, _mm_andnot_si128(below_90, equals(before1, 0xf4)));
}

const char *utf8_skip(const char *p, const char *end)
{
	while (end - p >= 16) {
		const unsigned char *u = (const unsigned char *)p;
		__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
		__m128i stop = _mm_or_si128(at_most(v, 0x1f), _mm_or_si128(equals(v, '"'), equals(v, '\\')));
		unsigned stops = (unsigned)_mm_movemask_epi8(stop), bad;

		if (!stops && _mm_movemask_epi8(v) == 0) {
			p += 16;
			continue;
		}
		bad = (unsigned)_mm_movemask_epi8(misplaced(v));
		if (stops) {
			unsigned at = (unsigned)__builtin_ctz(stops);
			/* Bit `at` belongs in: there a character would be cut short. */
			return bad & ((2u << at) - 1) ? p : p + at;
		}
		if (bad)
			return p;
		/* The block may end within a character, which then begins the next
		 * one. In what was found right at most one of these is true. */
		p += 16 - (u[15] >= 0xc0) - 2 * (u[14] >= 0xe0) - 3 * (u[13] >= 0xf0);
	}
	return p;
}

#else

const char *utf8_skip(const char *p, const char *end)
{
	while (p < end) {
		unsigned char c = (unsigned char)*p;
		int n = utf8_length(p, end);

		if (n <= 0 || c < 0x20 || c == '"' || c == '\\')
			break;
		p += n;
	}
	return p;
}

#endif
