/* A small hash table for the numbers of running transfers. It grows at three
 * quarters and never shrinks: the number of concurrent transfers is bounded by
 * whoever starts them. */
#include "io/http_table.h"

#include <stdlib.h>

#define TABLE_FIRST ((size_t)64)

/* Tokens may count up or carry their meaning in the high bits: mix them all. */
static size_t home(const struct http_table *t, uint64_t key)
{
	key ^= key >> 32;
	key *= UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(key >> 20) & t->mask;
}

static size_t find(const struct http_table *t, uint64_t key)
{
	size_t i = home(t, key);

	while (t->slot[i].key && t->slot[i].key != key)
		i = (i + 1) & t->mask;
	return i;
}

static int grow(struct http_table *t)
{
	struct http_table old = *t;
	size_t n = old.slot ? (old.mask + 1) * 2 : TABLE_FIRST;

	t->slot = calloc(n, sizeof *t->slot);
	if (!t->slot) {
		*t = old;
		return -1;
	}
	t->mask = n - 1;
	for (size_t i = 0; old.slot && i <= old.mask; i++)
		if (old.slot[i].key)
			t->slot[find(t, old.slot[i].key)] = old.slot[i];
	free(old.slot);
	return 0;
}

int http_table_put(struct http_table *t, uint64_t key, void *value)
{
	size_t i;

	if ((!t->slot || t->count >= (t->mask + 1) / 4 * 3) && grow(t) < 0)
		return -1;
	i = find(t, key);
	t->slot[i].key = key;
	t->slot[i].value = value;
	t->count++;
	return 0;
}

void *http_table_get(const struct http_table *t, uint64_t key)
{
	return t->slot && key ? t->slot[find(t, key)].value : NULL;
}

/* Closes the gap by moving back what would no longer be found behind it. */
void http_table_remove(struct http_table *t, uint64_t key)
{
	size_t gap, i;

	if (!http_table_get(t, key))
		return;
	gap = find(t, key);
	for (i = (gap + 1) & t->mask; t->slot[i].key; i = (i + 1) & t->mask) {
		size_t want = home(t, t->slot[i].key);

		if (((i - want) & t->mask) >= ((i - gap) & t->mask)) {
			t->slot[gap] = t->slot[i];
			gap = i;
		}
	}
	t->slot[gap].key = 0;
	t->slot[gap].value = NULL;
	t->count--;
}

void http_table_fini(struct http_table *t)
{
	free(t->slot);
	*t = (struct http_table){ 0 };
}
