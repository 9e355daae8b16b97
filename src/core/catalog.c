/* Remembers what the lists that went to the client said: for each tool whether
 * its annotations allow a call to be repeated and which parameters are mirrored
 * in headers; for each list a digest. Tools sit in a hash table keyed by their
 * decoded names, with a key of our own so that a server can not choose names
 * that collide. A hint is only believed while the listing it came from is the
 * newest word of the server.
 *
 * Both the number of tools and the bytes they take are bounded; a tool past
 * the bounds is merely unknown, which is the safe side. Descriptions and
 * schemas are not kept. */
#include "core/catalog.h"

#include <stdint.h>
#include <stdlib.h>

#include <sodium.h>

#include "core/tools.h"
#include "wire/json.h"

#define FIRST_BUCKETS 64

enum { HINT_READ_ONLY = 1, HINT_IDEMPOTENT = 2 };

struct tool {
	struct tool *next;           /* in the same bucket */
	struct mirror_set *mirrors;  /* NULL: none */
	uint64_t hash;
	uint64_t listing;            /* the number of the listing it was last seen in */
	size_t len;
	unsigned char hints;
	char name[];
};

/* The client's walk through the pages of one list. */
struct listing {
	struct digest digest;
	uint64_t next_cursor;  /* hash of the cursor that goes on with it */
	uint64_t number;       /* of tools: which listing this walk is */
	bool going_on;         /* next_cursor is set */
	bool seen_whole;
};

struct catalog {
	const struct core_config *conf;
	unsigned char key[crypto_shorthash_KEYBYTES];
	struct tool **buckets;
	size_t nbuckets;       /* 0 or a power of two */
	size_t ntools, bytes;
	uint64_t listing;      /* number of the newest listing of tools */
	uint64_t own;          /* the same of our own */
	uint64_t aside;        /* hints of listings up to this one do not count */
	bool swept;            /* this listing has already made room once */
	struct listing lists[LIST_COUNT];
};

static const struct { const char *method, *changed, *member; } lists[LIST_COUNT] = {
	[LIST_TOOLS] = { "tools/list", "notifications/tools/list_changed", "tools" },
	[LIST_RESOURCES] = { "resources/list", "notifications/resources/list_changed", "resources" },
	[LIST_TEMPLATES] = { "resources/templates/list", "notifications/resources/list_changed", "resourceTemplates" },
	[LIST_PROMPTS] = { "prompts/list", "notifications/prompts/list_changed", "prompts" },
};

_Static_assert(crypto_shorthash_KEYBYTES == 16, "the key serves both hashes");
_Static_assert(crypto_generichash_KEYBYTES_MIN <= 16, "the key serves both hashes");

int catalog_list_of(struct span method)
{
	for (int i = 0; i < LIST_COUNT; i++) {
		if (span_is(method, lists[i].method))
			return i;
	}
	return -1;
}

const char *catalog_list_method(enum catalog_list l)
{
	return lists[l].method;
}

const char *catalog_list_changed(enum catalog_list l)
{
	return lists[l].changed;
}

static uint64_t hash_text(const struct catalog *k, struct span s)
{
	unsigned char h[crypto_shorthash_BYTES];
	uint64_t v;

	crypto_shorthash(h, (const unsigned char *)s.p, s.n, k->key);
	memcpy(&v, h, sizeof v);
	return v;
}

/* ---- the table of tools ---- */

static size_t tool_size(const struct tool *t)
{
	return sizeof *t + t->len + mirror_size(t->mirrors);
}

static void tool_free(struct catalog *k, struct tool *t)
{
	k->ntools--;
	k->bytes -= tool_size(t);
	mirror_free(t->mirrors);
	free(t);
}

/* Forgets the tools that were last seen before listing number `since`. */
static void tools_sweep(struct catalog *k, uint64_t since)
{
	for (size_t i = 0; i < k->nbuckets; i++) {
		struct tool **at = &k->buckets[i];

		while (*at) {
			struct tool *t = *at;

			if (t->listing >= since) {
				at = &t->next;
				continue;
			}
			*at = t->next;
			tool_free(k, t);
		}
	}
}

static struct tool *tool_find(const struct catalog *k, struct span name, uint64_t hash)
{
	struct tool *t = k->nbuckets ? k->buckets[hash & (k->nbuckets - 1)] : NULL;

	while (t && !(t->hash == hash && span_eq(span_make(t->name, t->len), name)))
		t = t->next;
	return t;
}

/* Doubles the buckets when there are more tools than buckets. */
static int tools_grow(struct catalog *k)
{
	size_t n = k->nbuckets ? k->nbuckets * 2 : FIRST_BUCKETS;
	struct tool **buckets;

	if (k->ntools < k->nbuckets)
		return 0;
	buckets = calloc(n, sizeof *buckets);
	if (!buckets)
		return -1;
	for (size_t i = 0; i < k->nbuckets; i++) {
		struct tool *t = k->buckets[i];

		while (t) {
			struct tool *next = t->next;

			t->next = buckets[t->hash & (n - 1)];
			buckets[t->hash & (n - 1)] = t;
			t = next;
		}
	}
	free(k->buckets);
	k->buckets = buckets;
	k->nbuckets = n;
	return 0;
}

static bool tools_have_room(const struct catalog *k, size_t size)
{
	return k->ntools < CATALOG_MAX_TOOLS && size <= CATALOG_MAX_BYTES && k->bytes <= CATALOG_MAX_BYTES - size;
}

/* Room for a tool of this size, if need be in the place of tools that the
 * listing under way has not named so far. Once for a listing: a server with
 * too many tools would make us look through all of them for each. */
static bool tools_make_room(struct catalog *k, size_t size)
{
	if (!tools_have_room(k, size) && !k->swept) {
		tools_sweep(k, k->listing);
		k->swept = true;
	}
	return tools_have_room(k, size);
}

static int tool_add(struct catalog *k, struct span name, uint64_t hash, struct tool **out)
{
	struct tool *t;

	*out = NULL;
	if (!tools_make_room(k, sizeof *t + name.n))
		return 0;
	if (tools_grow(k) || !(t = malloc(sizeof *t + name.n)))
		return -1;
	*t = (struct tool){ .next = k->buckets[hash & (k->nbuckets - 1)], .hash = hash, .len = name.n };
	memcpy(t->name, name.p, name.n);
	k->buckets[hash & (k->nbuckets - 1)] = t;
	k->ntools++;
	k->bytes += tool_size(t);
	*out = t;
	return 0;
}

/* Takes m. */
static void tool_set_mirrors(struct catalog *k, struct tool *t, struct mirror_set *m)
{
	k->bytes -= mirror_size(t->mirrors);
	mirror_free(t->mirrors);
	t->mirrors = NULL;
	if (m && mirror_size(m) > CATALOG_MAX_BYTES - (k->bytes < CATALOG_MAX_BYTES ? k->bytes : CATALOG_MAX_BYTES)) {
		mirror_free(m);
		return;
	}
	t->mirrors = m;
	k->bytes += mirror_size(m);
}

static unsigned char read_hints(struct span tool)
{
	struct span a = json_get(tool, "annotations");
	unsigned char hints = 0;
	bool yes;

	if (json_bool(json_get(a, "readOnlyHint"), &yes) && yes)
		hints |= HINT_READ_ONLY;
	if (json_bool(json_get(a, "idempotentHint"), &yes) && yes)
		hints |= HINT_IDEMPOTENT;
	return hints;
}

static int learn_named(struct catalog *k, struct span name, struct span tool, uint64_t number)
{
	uint64_t hash = hash_text(k, name);
	struct tool *t = tool_find(k, name, hash);
	struct mirror_set *m;
	const char *reason;

	if (!t && tool_add(k, name, hash, &t))
		return -1;
	if (!t || t->listing > number)
		return 0;
	t->listing = number;
	t->hints = read_hints(tool);
	if (mirror_read(tool, &m, &reason) < 0)
		return -1;
	tool_set_mirrors(k, t, m);
	return 0;
}

static int learn_tools(struct catalog *k, struct span array, uint64_t number)
{
	struct json_iter it;
	struct span tool;

	json_iter(&it, array);
	while (json_next(&it, NULL, &tool)) {
		struct json_text name;
		int rc = 0;

		if (json_text_open(&name, json_get(tool, "name")))
			return -1;
		if (name.s.p)
			rc = learn_named(k, name.s, tool, number);
		json_text_close(&name);
		if (rc)
			return -1;
	}
	return 0;
}

/* ---- digests ---- */

/* Feeds a value without the white space between its tokens, which is white
 * space outside strings. */
static void digest_tokens(crypto_generichash_state *st, struct span v)
{
	const char *run = v.p, *end = v.p + v.n;
	bool in_string = false;

	for (const char *p = v.p; p < end; p++) {
		if (*p == '"') {
			in_string = !in_string;
		} else if (in_string) {
			p += *p == '\\'; /* whatever is escaped is no end of the string */
		} else if (*p == ' ' || *p == '\t' || *p == '\r' || *p == '\n') {
			crypto_generichash_update(st, (const unsigned char *)run, (size_t)(p - run));
			run = p + 1;
		}
	}
	crypto_generichash_update(st, (const unsigned char *)run, (size_t)(end - run));
}

/* A chain: each link is the keyed hash of the one before, which has a fixed
 * length, and one element. So elements can not run into each other, and where
 * a page ends leaves no trace. */
static void digest_element(const struct catalog *k, struct digest *d, struct span v)
{
	crypto_generichash_state st;

	crypto_generichash_init(&st, k->key, sizeof k->key, sizeof d->h);
	crypto_generichash_update(&st, (const unsigned char *)d->h, sizeof d->h);
	digest_tokens(&st, v);
	crypto_generichash_final(&st, (unsigned char *)d->h, sizeof d->h);
}

/* The cursor that leads to the next page. Clients take an empty one for the end. */
static struct span next_cursor(struct span result)
{
	struct span v = json_get(result, "nextCursor");

	return json_type(v) == '"' && v.n > 2 ? v : SPAN_NONE;
}

void catalog_digest_begin(const struct catalog *k, struct digest *d)
{
	(void)k; /* the key comes in with the first element */
	*d = (struct digest){ .whole = false };
}

void catalog_digest_page(const struct catalog *k, struct digest *d, enum catalog_list l, struct span result)
{
	struct span array = json_get(result, lists[l].member);
	struct json_iter it;
	struct span v;

	d->whole = false;
	if (json_type(array) != '[')
		return;
	json_iter(&it, array);
	while (json_next(&it, NULL, &v))
		digest_element(k, d, v);
	d->whole = !next_cursor(result).p;
}

bool catalog_digest_equal(struct digest a, struct digest b)
{
	return a.whole && b.whole && a.h[0] == b.h[0] && a.h[1] == b.h[1];
}

struct digest catalog_digest(const struct catalog *k, enum catalog_list l)
{
	return k->lists[l].digest;
}

bool catalog_has(const struct catalog *k, enum catalog_list l)
{
	return k->lists[l].seen_whole;
}

/* ---- listings ---- */

struct catalog *catalog_new(const struct core_config *c, const unsigned char key[16])
{
	struct catalog *k = calloc(1, sizeof *k);

	if (!k)
		return NULL;
	k->conf = c;
	k->listing = k->lists[LIST_TOOLS].number = 1;
	memcpy(k->key, key, sizeof k->key);
	return k;
}

void catalog_free(struct catalog *k)
{
	if (!k)
		return;
	tools_sweep(k, UINT64_MAX);
	free(k->buckets);
	sodium_memzero(k->key, sizeof k->key);
	free(k);
}

static void forget(struct catalog *k, enum catalog_list l)
{
	k->lists[l] = (struct listing){ .number = k->listing };
	if (l == LIST_TOOLS)
		tools_sweep(k, UINT64_MAX);
}

static void listing_begin(struct catalog *k, enum catalog_list l)
{
	catalog_digest_begin(k, &k->lists[l].digest);
	if (l == LIST_TOOLS) {
		k->lists[l].number = ++k->listing;
		k->swept = false;
	}
}

/* Does this page go on where the last one ended? Others (an old cursor, say)
 * teach hints but say nothing about the whole. */
static int listing_goes_on(const struct listing *li, const struct catalog *k, struct span cursor, bool *yes)
{
	struct json_text t;

	if (json_text_open(&t, cursor))
		return -1;
	*yes = li->going_on && hash_text(k, t.s) == li->next_cursor;
	json_text_close(&t);
	return 0;
}

static int listing_advance(struct catalog *k, enum catalog_list l, struct span result)
{
	struct listing *li = &k->lists[l];
	struct json_text t;

	catalog_digest_page(k, &li->digest, l, result);
	if (json_text_open(&t, next_cursor(result)))
		return -1;
	li->going_on = t.s.p != NULL;
	if (li->going_on)
		li->next_cursor = hash_text(k, t.s);
	json_text_close(&t);
	return 0;
}

static int take_page(struct catalog *k, enum catalog_list l, struct span cursor, struct span result, struct span array)
{
	struct listing *li = &k->lists[l];
	bool in_order = true;

	if (json_type(cursor) != '"')
		listing_begin(k, l);
	else if (listing_goes_on(li, k, cursor, &in_order))
		return -1;
	if (in_order && listing_advance(k, l, result))
		return -1;
	if (l == LIST_TOOLS && learn_tools(k, array, li->number))
		return -1;
	if (in_order && li->digest.whole) {
		li->seen_whole = true;
		if (l == LIST_TOOLS)
			tools_sweep(k, li->number);
	}
	return 0;
}

int catalog_on_page(struct catalog *k, enum catalog_list l, struct span cursor, struct span result)
{
	struct span array = json_get(result, lists[l].member);

	if (json_type(array) != '[')
		return 0;
	if (take_page(k, l, cursor, result, array)) {
		forget(k, l);
		return -1;
	}
	return 0;
}

void catalog_learn_begin(struct catalog *k)
{
	k->own = ++k->listing;
	k->swept = false;
}

int catalog_learn_tools(struct catalog *k, struct span result)
{
	struct span array = json_get(result, lists[LIST_TOOLS].member);

	return json_type(array) == '[' ? learn_tools(k, array, k->listing) : 0;
}

void catalog_learn_end(struct catalog *k)
{
	if (k->own && k->aside < k->own - 1)
		k->aside = k->own - 1;
}

bool catalog_tools_changed(const struct catalog *k)
{
	return k->aside >= k->lists[LIST_TOOLS].number;
}

void catalog_on_list_changed(struct catalog *k, enum catalog_list l)
{
	/* Also for the pages still to come of a listing under way: only one that
	 * begins after this news can know it. Mirrors stay, as the best guess. */
	if (l == LIST_TOOLS)
		k->aside = k->listing;
}

/* ---- questions ---- */

static bool hints_allow(const struct catalog *k, struct span name)
{
	const struct tool *t;

	if (!k->conf->trust_annotations)
		return false;
	t = tool_find(k, name, hash_text(k, name));
	return t && t->hints && t->listing > k->aside;
}

bool catalog_repeatable(const struct catalog *k, struct span name)
{
	const struct core_config *c = k->conf;
	struct json_text t;
	bool yes = false;

	if (json_text_open(&t, name))
		return false;
	if (t.s.p && !glob_any(c->no_retry_tools, c->nno_retry_tools, t.s))
		yes = glob_any(c->retry_tools, c->nretry_tools, t.s) || hints_allow(k, t.s);
	json_text_close(&t);
	return yes;
}

int64_t catalog_tool_timeout(const struct catalog *k, struct span name)
{
	const struct core_config *c = k->conf;
	struct json_text t;
	int64_t ms = 0;

	if (json_text_open(&t, name))
		return 0;
	for (size_t i = 0; t.s.p && i < c->ntool_timeouts; i++) {
		if (glob_match(c->tool_timeouts[i].glob, t.s))
			ms = c->tool_timeouts[i].ms;
	}
	json_text_close(&t);
	return ms;
}

int catalog_param_headers(const struct catalog *k, struct span name, struct span arguments, struct buf *out)
{
	const struct tool *tool = NULL;
	struct json_text t;

	if (json_text_open(&t, name))
		return -1;
	if (t.s.p)
		tool = tool_find(k, t.s, hash_text(k, t.s));
	json_text_close(&t);
	return tool ? mirror_headers(tool->mirrors, arguments, out) : 0;
}
