/* What looks like a secret though nobody registered it: the patterns of
 * base/redact.h. Pure, linear in the length of the text. */
#ifndef BASE_PATTERN_H
#define BASE_PATTERN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/span.h"

/* Calls found() for every stretch [from, to) of the text to be hidden, in
 * order of where the pattern begins; stretches may overlap. */
void pattern_find(struct span text, void (*found)(void *arg, size_t from, size_t to), void *arg);

/* True when the word is not made of words and numbers. */
bool pattern_is_random(struct span word);

#endif
