/* A small random generator (xoshiro256** or the like), seeded by the caller.
 * For jitter and sampling; nothing secret comes from it. */
#ifndef BASE_RNG_H
#define BASE_RNG_H

#include <stdint.h>

struct rng { uint64_t s[4]; };
void rng_seed(struct rng *r, uint64_t seed);
uint64_t rng_next(struct rng *r);
/* Uniform in [0, 1). */
double rng_unit(struct rng *r);

#endif
