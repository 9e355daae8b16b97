/* UTF-8 (RFC 3629), one character at a time and, where vectors are at hand,
 * in bulk. */
#ifndef WIRE_UTF8_H
#define WIRE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_BAD 0
#define UTF8_SHORT (-1)
#define UTF8_REPLACEMENT "\xef\xbf\xbd"

/* Bytes of the character at p (1 to 4); UTF8_BAD when none begins there,
 * UTF8_SHORT when the text ends within one. p < end. */
int utf8_length(const char *p, const char *end);
/* Writes a code point (not a surrogate, at most U+10FFFF); gives 1 to 4. */
size_t utf8_encode(uint32_t cp, char out[4]);
/* Passes over characters of any length from p, which is the beginning of one,
 * up to a quote, a backslash, a control character or something that needs
 * a closer look with utf8_length(). May stop early and need not move at all. */
const char *utf8_skip(const char *p, const char *end);

#endif
