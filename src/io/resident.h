/* What the process keeps mapped of files that it only reads. */
#ifndef IO_RESIDENT_H
#define IO_RESIDENT_H

#include <stdint.h>

/* Lets go of the pages of libraries, most of them touched by start-up alone. They
 * stay in the page cache and come back from there when they are touched again.
 * Kept are what every call runs, which is this program, the C library, libsodium
 * and the file that the address `also` lies in, and what holds a page that was
 * changed. Takes 2 ms. Does nothing where the system does not tell what is mapped. */
void resident_trim(uintptr_t also);

#endif
