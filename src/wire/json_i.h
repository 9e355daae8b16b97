/* What the JSON files share and nobody else needs. */
#ifndef WIRE_JSON_I_H
#define WIRE_JSON_I_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

/* A number by its digits, exact whatever its size: the value is the digits
 * from first to last (a '.' among them does not count) times 10^exp, negative
 * when neg. Neither end digit is 0, so equal numbers have equal fields and
 * digits. Zero has no digits at all and is never negative. */
struct json_decimal {
	bool neg;
	const char *first, *last; /* both included; NULL for zero */
	size_t ndigits;
	int64_t exp;
};

/* JSON sets no bound to an exponent; one beyond this is taken for this. */
#define JSON_EXPONENT_MAX ((int64_t)1 << 60)

/* False when v is no number. */
bool json_decimal(struct span v, struct json_decimal *d);

#endif
