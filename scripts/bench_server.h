/* The server of scripts/bench, and the growing text that both sides use. */
#ifndef BENCH_SERVER_H
#define BENCH_SERVER_H

#include <stdbool.h>
#include <stddef.h>

struct text { char *p; size_t len, cap; }; /* NUL-terminated once it has bytes */

void text_add(struct text *t, const char *p, size_t n);
/* Removes n bytes in front. */
void text_take(struct text *t, size_t n);
void text_free(struct text *t);

/* A listening socket on loopback, or -1. */
int bench_listen(int *port);
/* Serves for ever. */
void bench_serve(int listener);

#endif
