/* MD5 over one span, without state between calls. The table of sines and the
 * rotations are RFC 1321's (3.4). */
#include "auth/md5.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

#include <sodium.h>

static const unsigned char rotation[4][4] = { { 7, 12, 17, 22 }, { 5, 9, 14, 20 }, { 4, 11, 16, 23 }, { 6, 10, 15, 21 } };

static uint32_t word_at(const unsigned char *p)
{
	return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static uint32_t mix(int round, uint32_t b, uint32_t c, uint32_t d)
{
	switch (round) {
	case 0:
		return (b & c) | (~b & d);
	case 1:
		return (d & b) | (~d & c);
	case 2:
		return b ^ c ^ d;
	default:
		return c ^ (b | ~d);
	}
}

static void block(uint32_t h[4], const unsigned char *p)
{
	static const unsigned step[4] = { 1, 5, 3, 7 }, first[4] = { 0, 1, 5, 0 };
	uint32_t a = h[0], b = h[1], c = h[2], d = h[3], t, sine;
	unsigned i;

	for (i = 0; i < 64; i++) {
		unsigned round = i / 16, r = rotation[round][i % 4];

		sine = (uint32_t)(int64_t)(fabs(sin((double)(i + 1))) * 4294967296.0);
		t = a + mix((int)round, b, c, d) + sine + word_at(p + 4 * ((i % 16 * step[round] + first[round]) % 16));
		a = d;
		d = c;
		c = b;
		b += t << r | t >> (32 - r);
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
}

void md5_hex(struct span s, char out[33])
{
	uint32_t h[4] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476 };
	unsigned char tail[128] = { 0 }, digest[16];
	size_t whole = s.n / 64 * 64, rest = s.n - whole, end = rest < 56 ? 64 : 128, i;
	uint64_t bits = (uint64_t)s.n * 8;

	for (i = 0; i < whole; i += 64)
		block(h, (const unsigned char *)s.p + i);
	if (rest)
		memcpy(tail, s.p + whole, rest);
	tail[rest] = 0x80;
	for (i = 0; i < 8; i++)
		tail[end - 8 + i] = (unsigned char)(bits >> (8 * i));
	for (i = 0; i < end; i += 64)
		block(h, tail + i);
	for (i = 0; i < 16; i++)
		digest[i] = (unsigned char)(h[i / 4] >> (8 * (i % 4)));
	sodium_bin2hex(out, 33, digest, sizeof digest);
}
