/* The memory libcurl works with: every block is wiped before it goes back to
 * the allocator, since header lists, request buffers and cookies pass through
 * it. Used by http_global_init() alone. */
#ifndef IO_HTTP_MEM_H
#define IO_HTTP_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Blocks above this are not wiped: they hold nothing but paused response bodies. */
#define HTTP_MEM_WIPE_MAX ((size_t)1024 * 1024)

void *http_mem_malloc(size_t n);
void *http_mem_calloc(size_t n, size_t size);
void *http_mem_realloc(void *p, size_t n);
char *http_mem_strdup(const char *s);
void http_mem_free(void *p);
/* How often the system refused a block: libcurl calls a header line that is
 * too long "out of memory" too, and this tells the two apart. */
uint64_t http_mem_failures(void);

#endif
