/* The token bucket: a rate that is kept over time, and a burst at once. Pure. */
#ifndef BASE_BUCKET_H
#define BASE_BUCKET_H

#include <stdint.h>

struct bucket { double rate_per_ms, burst, tokens; int64_t at; };
void bucket_init(struct bucket *b, double per_s, double burst, int64_t now); /* per_s 0: unlimited */
/* Takes one token now: 0; otherwise the ms until one will be there (nothing is taken). */
int64_t bucket_take(struct bucket *b, int64_t now);

#endif
