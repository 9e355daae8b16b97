/* Token -> transfer: open addressing, linear probing, no tombstones. */
#ifndef IO_HTTP_TABLE_H
#define IO_HTTP_TABLE_H

#include <stddef.h>
#include <stdint.h>

struct http_table {
	struct { uint64_t key; void *value; } *slot; /* key 0: free */
	size_t mask, count;                          /* mask + 1 slots, a power of two; slot NULL: none */
};

/* key is neither 0 nor present. 0, or -1 for no memory. */
int http_table_put(struct http_table *t, uint64_t key, void *value);
void *http_table_get(const struct http_table *t, uint64_t key); /* NULL when absent */
void http_table_remove(struct http_table *t, uint64_t key);
void http_table_fini(struct http_table *t);

#endif
