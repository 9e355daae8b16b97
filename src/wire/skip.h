/* Passing over bytes that do not matter, a vector or a word at a time. These
 * loops carry nearly all bytes of a large message, so they are inline and
 * stop early rather than late: every function gives a place from which a
 * careful byte-by-byte reader may go on, and never reads at or beyond end. */
#ifndef WIRE_SKIP_H
#define WIRE_SKIP_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define SKIP_BLOCK 64

/* What a loop stops at. Constants in every call, so that each call becomes a loop of its own. */
enum skip_stop {
	SKIP_QUOTE = 1,     /* quote and backslash */
	SKIP_CONTROL = 2,   /* below 0x20 */
	SKIP_NON_ASCII = 4, /* 0x80 and above */
	SKIP_EOL = 8,       /* CR and LF */
};

static inline bool skip_stops(unsigned char c, unsigned stop)
{
	return ((stop & SKIP_QUOTE) && (c == '"' || c == '\\')) || ((stop & SKIP_CONTROL) && c < 0x20) ||
	    ((stop & SKIP_NON_ASCII) && c >= 0x80) || ((stop & SKIP_EOL) && (c == '\n' || c == '\r'));
}

#ifdef __SSE2__

#define SKIP_STEP 16

/* One bit for each of the 16 bytes that stops the loop. */
static inline unsigned skip_mask(const char *p, unsigned stop)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i hit = _mm_setzero_si128();

	if (stop & SKIP_QUOTE)
		hit = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\')));
	/* The comparison is signed: what is not ASCII is below 0x20 as well. */
	if ((stop & SKIP_CONTROL) && (stop & SKIP_NON_ASCII))
		hit = _mm_or_si128(hit, _mm_cmplt_epi8(v, _mm_set1_epi8(0x20)));
	else if (stop & SKIP_CONTROL)
		hit = _mm_or_si128(hit, _mm_cmpeq_epi8(v, _mm_min_epu8(v, _mm_set1_epi8(0x1f))));
	else if (stop & SKIP_NON_ASCII)
		hit = _mm_or_si128(hit, v);
	if (stop & SKIP_EOL)
		hit = _mm_or_si128(hit, _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('\n')),
		    _mm_cmpeq_epi8(v, _mm_set1_epi8('\r'))));
	return (unsigned)_mm_movemask_epi8(hit);
}

/* The same for a block: bit i for byte i. */
static inline uint64_t skip_block(const char *p, unsigned stop)
{
	uint64_t low = skip_mask(p, stop) | (uint64_t)skip_mask(p + 16, stop) << 16;
	return low | (uint64_t)skip_mask(p + 32, stop) << 32 | (uint64_t)skip_mask(p + 48, stop) << 48;
}

/* The first byte at which to stop, or end. */
static inline const char *skip_until(const char *p, const char *end, unsigned stop)
{
	while (end - p >= SKIP_STEP) {
		unsigned mask = skip_mask(p, stop);
		if (mask)
			return p + __builtin_ctz(mask);
		p += SKIP_STEP;
	}
	while (p < end && !skip_stops((unsigned char)*p, stop))
		p++;
	return p;
}

#else

#define SKIP_STEP 8
#define SKIP_ONES (~(uint64_t)0 / 255)
#define SKIP_HIGHS (SKIP_ONES * 0x80)

/* Nonzero when one of the eight bytes is below n (at most 0x80). */
static inline uint64_t skip_below(uint64_t w, uint64_t n)
{
	return (w - SKIP_ONES * n) & ~w & SKIP_HIGHS;
}

static inline uint64_t skip_equal(uint64_t w, char c)
{
	return skip_below(w ^ (SKIP_ONES * (unsigned char)c), 1);
}

static inline uint64_t skip_mask(const char *p, unsigned stop)
{
	uint64_t w, hit = 0;

	memcpy(&w, p, sizeof w);
	if (stop & SKIP_QUOTE)
		hit |= skip_equal(w, '"') | skip_equal(w, '\\');
	if (stop & SKIP_CONTROL)
		hit |= skip_below(w, 0x20);
	if (stop & SKIP_NON_ASCII)
		hit |= w & SKIP_HIGHS;
	if (stop & SKIP_EOL)
		hit |= skip_equal(w, '\n') | skip_equal(w, '\r');
	return hit;
}

static inline uint64_t skip_block(const char *p, unsigned stop)
{
	uint64_t mask = 0;

	for (unsigned i = 0; i < SKIP_BLOCK; i += SKIP_STEP) {
		if (!skip_mask(p + i, stop))
			continue;
		for (unsigned k = i; k < i + SKIP_STEP; k++)
			mask |= (uint64_t)skip_stops((unsigned char)p[k], stop) << k;
	}
	return mask;
}

static inline const char *skip_until(const char *p, const char *end, unsigned stop)
{
	while (end - p >= SKIP_STEP && !skip_mask(p, stop))
		p += SKIP_STEP;
	while (p < end && !skip_stops((unsigned char)*p, stop))
		p++;
	return p;
}

#endif
#endif
