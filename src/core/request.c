/* The ledger's storage. Requests stand in a list in order of arrival and in
 * two hash tables, by the client's id and by the id they carry upstream; equal
 * means equal as JSON-RPC values, however a server spells them. It holds
 * facts; what to do about them is the session's. Freed requests are kept for
 * reuse with their small buffers, so that a steady flow allocates nothing. */
#include "core/request.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 256
#define KEEP_FREED 256
#define LINE_MAX_BYTES ((size_t)1 << 40)

static uint64_t hash_bytes(uint64_t seed, const char *p, size_t n)
{
	uint64_t h = seed ^ (n * 0x9e3779b97f4a7c15u);

	for (; n >= 8; p += 8, n -= 8) {
		uint64_t w;
		memcpy(&w, p, 8);
		h = (h ^ w) * 0xff51afd7ed558ccdu;
		h ^= h >> 32;
	}
	for (; n; p++, n--)
		h = (h ^ (unsigned char)*p) * 0x100000001b3u;
	h ^= h >> 29;
	h *= 0xbf58476d1ce4e5b9u;
	return h ^ (h >> 32);
}

int ledger_init(struct ledger *l, uint64_t seed)
{
	memset(l, 0, sizeof(*l));
	l->seed = seed;
	l->nbuckets = BUCKETS_MIN;
	l->cbucket = calloc(l->nbuckets, sizeof(struct request *));
	l->ubucket = calloc(l->nbuckets, sizeof(struct request *));
	buf_init(&l->key1, LINE_MAX_BYTES);
	buf_init(&l->key2, LINE_MAX_BYTES);
	return l->cbucket && l->ubucket ? 0 : -1;
}

static void request_release(struct request *r)
{
	buf_fini(&r->line);
	buf_fini(&r->upstream);
	buf_fini(&r->last_id);
	free(r->seen);
	free(r);
}

void ledger_fini(struct ledger *l)
{
	while (l->head)
		ledger_remove(l, l->head);
	while (l->freed) {
		struct request *r = l->freed;
		l->freed = r->next;
		request_release(r);
	}
	free(l->cbucket);
	free(l->ubucket);
	buf_fini(&l->key1);
	buf_fini(&l->key2);
}

static void chain_in(struct request **bucket, size_t n, struct request *r, bool client)
{
	struct request **at = &bucket[(client ? r->chash : r->uhash) & (n - 1)];

	if (client) {
		r->cnext = *at;
		r->in_chash = true;
	} else {
		r->unext = *at;
		r->in_uhash = true;
	}
	*at = r;
}

static void chain_out(struct ledger *l, struct request *r, bool client)
{
	struct request **at = client ? &l->cbucket[r->chash & (l->nbuckets - 1)] : &l->ubucket[r->uhash & (l->nbuckets - 1)];

	while (*at && *at != r)
		at = client ? &(*at)->cnext : &(*at)->unext;
	if (*at)
		*at = client ? r->cnext : r->unext;
	if (client)
		r->in_chash = false;
	else
		r->in_uhash = false;
}

/* Twice the buckets when they are full; failing that, longer chains. */
static void ledger_grow(struct ledger *l)
{
	size_t n = l->nbuckets * 2;
	struct request **c = calloc(n, sizeof(struct request *)), **u = calloc(n, sizeof(struct request *));

	if (!c || !u) {
		free(c);
		free(u);
		return;
	}
	free(l->cbucket);
	free(l->ubucket);
	l->cbucket = c;
	l->ubucket = u;
	l->nbuckets = n;
	for (struct request *r = l->head; r; r = r->next) {
		if (r->in_chash)
			chain_in(c, n, r, true);
		if (r->in_uhash)
			chain_in(u, n, r, false);
	}
}

struct request *ledger_add(struct ledger *l, enum req_purpose purpose, int64_t now)
{
	struct request *r = l->freed;

	if (r) {
		l->freed = r->next;
		l->nfreed--;
	} else {
		r = calloc(1, sizeof(*r));
		if (!r)
			return NULL;
		buf_init(&r->line, LINE_MAX_BYTES);
		buf_init(&r->upstream, LINE_MAX_BYTES);
		buf_init(&r->last_id, 64 * 1024);
	}
	r->token = ++l->next_token;
	r->seq = ++l->next_seq;
	r->purpose = purpose;
	r->state = REQ_PARKED;
	r->arrived = r->active_at = now;
	r->retry_ms = -1;
	r->prev = l->tail;
	r->next = NULL;
	if (l->tail)
		l->tail->next = r;
	else
		l->head = r;
	l->tail = r;
	if (++l->count > 2 * l->nbuckets)
		ledger_grow(l);
	return r;
}

static uint64_t id_hash(struct ledger *l, struct span id)
{
	buf_reset(&l->key1);
	if (rpc_id_key(id, &l->key1) != 0)
		return 0;
	return hash_bytes(l->seed, buf_data(&l->key1), l->key1.len);
}

static bool lies_in(struct span part, struct span text)
{
	return (uintptr_t)part.p >= (uintptr_t)text.p && (uintptr_t)part.p < (uintptr_t)text.p + text.n;
}

static struct span moved(struct span s, const char *from, const char *to)
{
	return s.p ? span_make(to + (s.p - from), s.n) : SPAN_NONE;
}

/* One walk for all: params may be large. */
static void find_members(struct request *r)
{
	struct span key, value, name = SPAN_NONE;
	struct json_iter it;

	r->meta = r->arguments = SPAN_NONE;
	json_iter(&it, json_type(r->params) == '{' ? r->params : SPAN_NONE);
	while (json_next(&it, &key, &value)) {
		if (json_key_is(key, "name"))
			name = value;
		else if (json_key_is(key, "arguments"))
			r->arguments = value;
		else if (json_key_is(key, "_meta"))
			r->meta = value;
	}
	r->tool = r->is_tool_call ? name : SPAN_NONE;
	r->progress = json_get(r->meta, "progressToken");
}

int ledger_set_line(struct ledger *l, struct request *r, const struct rpc_msg *m, struct buf *big)
{
	const char *from = m->text.p;
	size_t lead = 0;

	if (big && big->mem) {
		lead = (size_t)(from - buf_data(big));
		buf_move(&r->line, big);
		buf_consume(&r->line, lead);
		r->line.len = m->text.n;
	} else {
		buf_reset(&r->line);
		if (buf_add(&r->line, m->text) != 0)
			return -1;
	}
	const char *to = buf_data(&r->line);
	r->id = moved(m->id, from, to);
	r->method = lies_in(m->method, m->text) ? moved(m->method, from, to) : m->method;
	r->params = moved(m->params, from, to);
	r->is_tool_call = span_is(r->method, "tools/call");
	r->is_listen = span_is(r->method, "subscriptions/listen");
	find_members(r);
	if (r->in_chash)
		chain_out(l, r, true);
	if (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE) {
		r->chash = id_hash(l, r->id);
		chain_in(l->cbucket, l->nbuckets, r, true);
	}
	return 0;
}

void ledger_drop_upstream_id(struct ledger *l, struct request *r)
{
	if (r->in_uhash)
		chain_out(l, r, false);
}

void ledger_set_upstream_id(struct ledger *l, struct request *r, struct span id)
{
	ledger_drop_upstream_id(l, r);
	r->uid = id;
	r->uhash = id.p == r->id.p && r->in_chash ? r->chash : id_hash(l, id);
	chain_in(l->ubucket, l->nbuckets, r, false);
}

void ledger_remove(struct ledger *l, struct request *r)
{
	if (r->in_chash)
		chain_out(l, r, true);
	ledger_drop_upstream_id(l, r);
	if (r->prev)
		r->prev->next = r->next;
	else
		l->head = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		l->tail = r->prev;
	l->count--;
	if (l->nfreed >= KEEP_FREED) {
		request_release(r);
		return;
	}
	struct buf line = r->line, upstream = r->upstream, last_id = r->last_id;
	free(r->seen);
	memset(r, 0, sizeof(*r));
	buf_reset(&line);
	buf_reset(&upstream);
	buf_reset(&last_id);
	r->line = line;
	r->upstream = upstream;
	r->last_id = last_id;
	r->next = l->freed;
	l->freed = r;
	l->nfreed++;
}

bool ledger_same_id(struct ledger *l, struct span a, struct span b)
{
	if (span_eq(a, b))
		return true;
	buf_reset(&l->key1);
	buf_reset(&l->key2);
	return rpc_id_key(a, &l->key1) == 0 && rpc_id_key(b, &l->key2) == 0 &&
	       span_eq(buf_span(&l->key1), buf_span(&l->key2));
}

struct request *ledger_by_client_id(struct ledger *l, struct span id)
{
	uint64_t h = id_hash(l, id);

	for (struct request *r = l->cbucket[h & (l->nbuckets - 1)]; r; r = r->cnext)
		if (r->chash == h && ledger_same_id(l, r->id, id))
			return r;
	return NULL;
}

struct request *ledger_by_upstream_id(struct ledger *l, struct span id)
{
	uint64_t h = id_hash(l, id);

	for (struct request *r = l->ubucket[h & (l->nbuckets - 1)]; r; r = r->unext)
		if (r->uhash == h && ledger_same_id(l, r->uid, id))
			return r;
	return NULL;
}

bool seen_before(uint64_t **seen, unsigned *n, struct span id, uint64_t seed)
{
	uint64_t h = hash_bytes(seed, id.p, id.n);
	unsigned held = *n < SEEN_EVENTS ? *n : SEEN_EVENTS;

	if (!*seen && !(*seen = calloc(SEEN_EVENTS, sizeof(uint64_t))))
		return false;
	for (unsigned i = 0; i < held; i++)
		if ((*seen)[i] == h)
			return true;
	(*seen)[(*n)++ % SEEN_EVENTS] = h;
	return false;
}
