/* MD5 (RFC 1321), for one purpose: the file names of another program that
 * chose it. Nothing here is protected by it. */
#ifndef AUTH_MD5_H
#define AUTH_MD5_H

#include "base/span.h"

/* 32 hexadecimal digits and a NUL. */
void md5_hex(struct span s, char out[33]);

#endif
