/* The redactor. Every encoding of a registered value is kept in one locked
 * arena, and every run of REDACT_RUN bytes in it has an entry in a hash table
 * of offsets. A text is then searched with one hash a byte, whatever the
 * number of secrets, and what is found in pieces is found by the same means.
 * The hash is keyed, so that nobody can choose values that collide.
 *
 * Which characters a URL or JSON escapes is up to its writer. So a text with
 * escapes is searched again as it reads without them.
 *
 * Values too short for that table are looked for whole, one by one. What was never
 * registered is left to base/pattern.h.
 *
 * A process may live for months and refresh its tokens every hour, so the
 * values are bounded: the first PINNED ones (the configuration) stay for good,
 * of the later ones the oldest are forgotten when there are too many. What a
 * server may replace with every answer has places of its own, or it would push
 * out a token that is in use. */
#include "base/redact.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/escape.h"
#include "base/pattern.h"
#include "base/secret.h"

#define PINNED 32                      /* values that are never forgotten */
#define LATER 64                       /* others, in number */
#define PASSING 32                     /* those that a server replaces at will */
#define KIND_BYTES ((size_t)32 * 1024) /* the others, and these, in size */
#define VALUES (PINNED + LATER + PASSING)
#define VALUE_MAX ((size_t)64 * 1024)  /* of a longer value only the beginning is known */
#define FORMS 11                       /* encodings of one value */
#define ENCODED_MIN 6                  /* shorter base64 of a short value would be found everywhere */
#define ESCAPE_LAYERS 2                /* JSON in a string of JSON, a URL in one */
#define ARENA_MAX ((size_t)1 << 30)
#define HASH_BYTES 16

enum kind { KIND_PINNED, KIND_LATER, KIND_PASSING };

struct value {
	struct secret *raw;
	enum kind kind;
	bool goes;                      /* is about to be forgotten */
	unsigned char name[HASH_BYTES]; /* of one that is replaced by the next of this name; keyed */
	uint64_t at;                    /* grows with each of those; 0: it has no name */
	unsigned char hash[HASH_BYTES]; /* keyed; its beginning is the fingerprint */
};

struct form {
	uint32_t off, len; /* in the arena */
	int value;
	bool whole;        /* short: not in the table, found only whole */
};

struct redactor {
	unsigned char *key; /* locked */
	uint64_t mul[3];    /* of the window hash, from the key */
	struct value values[VALUES];
	int nvalues;
	uint64_t named;

	struct form forms[VALUES * FORMS]; /* by rising offset */
	int nforms;
	char *arena;        /* locked; the forms one behind the other */
	size_t used, size;
	uint32_t *slot;     /* offset of a window plus one; 0: empty */
	uint8_t *seen;      /* a bit for every window's hash: most bytes need no look at slot */
	size_t nslot, nwindows; /* nslot is a power of two */
};

/* A stretch of text to hide; value -1: found by a pattern. */
struct range { size_t from, to; int value; };

struct ranges {
	struct range *v, fixed[16];
	size_t n, cap;
	bool failed; /* no memory */
};

/* ---- fingerprints ---- */

static void keyed_hash(const struct redactor *r, struct span s, unsigned char out[HASH_BYTES])
{
	crypto_generichash(out, HASH_BYTES, (const unsigned char *)s.p, s.n, r->key, 32);
}

static void fingerprint_text(const unsigned char hash[HASH_BYTES], char out[7])
{
	snprintf(out, 7, "%02x%02x%02x", hash[0], hash[1], hash[2]);
}

void redact_fingerprint(const struct redactor *r, struct span value, char out[7])
{
	unsigned char hash[HASH_BYTES] = { 0 };

	/* Without a key a fingerprint would help to guess the value. */
	if (r)
		keyed_hash(r, value, hash);
	fingerprint_text(hash, out);
}

/* ---- the encodings of a value ---- */

static int put_percent(struct buf *out, struct span s, const char *hex)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];
		char esc[3] = { '%', hex[c >> 4], hex[c & 15] };
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			     c == '-' || c == '.' || c == '_' || c == '~';

		if (buf_append(out, plain ? (const char *)&c : esc, plain ? 1 : 3) < 0)
			return -1;
	}
	return 0;
}

/* The base64 characters that s alone decides when `before` bytes stand in
 * front of it in the encoded text. */
static int put_base64(struct buf *out, struct span s, size_t before, const char *tail)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	size_t first = (before * 8 + 5) / 6, end = (before + s.n) * 8 / 6;

	for (size_t k = first; k < end; k++) {
		size_t bit = k * 6 - before * 8, at = bit / 8;
		unsigned two = (unsigned)(unsigned char)s.p[at] << 8;
		char c;

		if (at + 1 < s.n)
			two |= (unsigned char)s.p[at + 1];
		two = two >> (10 - bit % 8) & 63;
		c = two < 62 ? digits[two] : tail[two - 62];
		if (buf_append(out, &c, 1) < 0)
			return -1;
	}
	return 0;
}

static int put_json(struct buf *out, struct span s, bool slash)
{
	static const char named[] = "\"\\\b\f\n\r\t/", letter[] = "\"\\bfnrt/";

	for (size_t i = 0; i < s.n; i++) {
		const char *at = s.p[i] ? strchr(named, s.p[i]) : NULL;
		int rc;

		if (at && (*at != '/' || slash))
			rc = buf_printf(out, "\\%c", letter[at - named]);
		else if ((unsigned char)s.p[i] < 0x20)
			rc = buf_printf(out, "\\u%04x", (unsigned char)s.p[i]);
		else
			rc = buf_append(out, s.p + i, 1);
		if (rc < 0)
			return -1;
	}
	return 0;
}

static int put_form(struct buf *out, struct span s, int which)
{
	switch (which) {
	case 0:
		return buf_add(out, s);
	case 1:
		return put_percent(out, s, "0123456789ABCDEF");
	case 2:
		return put_percent(out, s, "0123456789abcdef");
	case 3: case 4: case 5:
		return put_base64(out, s, (size_t)which - 3, "+/");
	case 6: case 7: case 8:
		return put_base64(out, s, (size_t)which - 6, "-_");
	default:
		return put_json(out, s, which == 10);
	}
}

/* ---- the index ---- */

static uint64_t window_hash(const struct redactor *r, const char *p)
{
	uint64_t a;
	uint16_t b;

	_Static_assert(REDACT_RUN == sizeof(a) + sizeof(b), "a window is hashed in two loads");
	memcpy(&a, p, sizeof(a));
	memcpy(&b, p + sizeof(a), sizeof(b));
	a = a * r->mul[0] + b * r->mul[1];
	a ^= a >> 32;
	a *= r->mul[2];
	return a ^ a >> 29;
}

static bool seen_test(const struct redactor *r, uint64_t h)
{
	uint64_t bit = h & (r->nslot * 8 - 1);

	return r->seen[bit >> 3] >> (bit & 7) & 1;
}

/* The slot of this window, or the empty one where it belongs. */
static size_t slot_of(const struct redactor *r, const char *window, uint64_t h)
{
	size_t i = (size_t)(h >> 20) & (r->nslot - 1);

	while (r->slot[i] && memcmp(r->arena + r->slot[i] - 1, window, REDACT_RUN) != 0)
		i = (i + 1) & (r->nslot - 1);
	return i;
}

static void window_insert(struct redactor *r, size_t off)
{
	uint64_t h = window_hash(r, r->arena + off), bit = h & (r->nslot * 8 - 1);
	size_t i = slot_of(r, r->arena + off, h);

	r->seen[bit >> 3] = (uint8_t)(r->seen[bit >> 3] | 1u << (bit & 7));
	if (r->slot[i])
		return;
	r->slot[i] = (uint32_t)off + 1;
	r->nwindows++;
}

/* Room for more windows at a load of one half. */
static int table_fit(struct redactor *r, size_t more)
{
	size_t n = r->nslot ? r->nslot : 1024, old = r->nslot;
	uint32_t *slot, *was = r->slot;
	uint8_t *seen;

	while (n / 2 < r->nwindows + more)
		n *= 2;
	if (n == old)
		return 0;
	slot = calloc(n, sizeof(*slot));
	seen = calloc(n, 1);
	if (!slot || !seen) {
		free(slot);
		free(seen);
		return -1;
	}
	free(r->seen);
	r->slot = slot;
	r->seen = seen;
	r->nslot = n;
	r->nwindows = 0;
	for (size_t i = 0; i < old; i++)
		if (was[i])
			window_insert(r, was[i] - 1);
	free(was);
	return 0;
}

static int arena_fit(struct redactor *r, size_t more)
{
	size_t size = r->size ? r->size : 4096;
	char *mem;

	if (more > ARENA_MAX - r->used)
		return -1;
	while (size < r->used + more)
		size *= 2;
	if (size == r->size)
		return 0;
	mem = sodium_malloc(size);
	if (!mem)
		return -1;
	if (r->used > 0)
		memcpy(mem, r->arena, r->used);
	sodium_free(r->arena);
	r->arena = mem;
	r->size = size;
	return 0;
}

/* Adds one encoding of a value, unless it is the same as an earlier one. */
static int form_add(struct redactor *r, struct span form, int value, bool whole)
{
	struct form *f = &r->forms[r->nforms];

	for (struct form *g = r->forms; g < f; g++)
		if (g->value == value && span_eq(span_make(r->arena + g->off, g->len), form))
			return 0;
	if (arena_fit(r, form.n) < 0 || (!whole && table_fit(r, form.n) < 0))
		return -1;
	*f = (struct form){ .off = (uint32_t)r->used, .len = (uint32_t)form.n, .value = value, .whole = whole };
	r->nforms++;
	memcpy(r->arena + r->used, form.p, form.n);
	r->used += form.n;
	for (size_t i = 0; !whole && i + REDACT_RUN <= form.n; i++)
		window_insert(r, f->off + i);
	return 0;
}

static int value_index(struct redactor *r, int value)
{
	struct span raw = secret_reveal(r->values[value].raw);
	struct buf b;
	int rc = 0;

	buf_init(&b, VALUE_MAX * 6);
	for (int which = 0; which < FORMS && rc == 0; which++) {
		b.len = 0;
		rc = buf_reserve(&b, raw.n * 6);
		if (rc == 0)
			rc = put_form(&b, raw, which);
		if (rc == 0 && (which == 0 || b.len >= ENCODED_MIN))
			rc = form_add(r, buf_span(&b), value, raw.n < REDACT_RUN);
	}
	buf_wipe(&b);
	buf_fini(&b);
	return rc;
}

static int index_rebuild(struct redactor *r)
{
	if (r->nslot > 0) {
		memset(r->slot, 0, r->nslot * sizeof(*r->slot));
		memset(r->seen, 0, r->nslot);
	}
	if (r->used > 0)
		sodium_memzero(r->arena, r->used);
	r->used = r->nwindows = 0;
	r->nforms = 0;
	for (int i = 0; i < r->nvalues; i++)
		if (value_index(r, i) < 0)
			return -1;
	return 0;
}

/* ---- values ---- */

struct redactor *redact_new(const unsigned char key[32])
{
	struct redactor *r;

	if (sodium_init() < 0)
		return NULL;
	r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->key = sodium_malloc(32);
	if (!r->key) {
		free(r);
		return NULL;
	}
	memcpy(r->key, key, 32);
	crypto_generichash((unsigned char *)r->mul, sizeof(r->mul), (const unsigned char *)"windows", 7, r->key, 32);
	for (int i = 0; i < 3; i++)
		r->mul[i] |= 1;
	return r;
}

void redact_free(struct redactor *r)
{
	if (!r)
		return;
	for (int i = 0; i < r->nvalues; i++)
		secret_free(r->values[i].raw);
	sodium_free(r->arena);
	sodium_free(r->key);
	free(r->slot);
	free(r->seen);
	free(r);
}

static int count(const struct redactor *r, enum kind kind, size_t *bytes)
{
	int n = 0;

	*bytes = 0;
	for (int i = 0; i < r->nvalues; i++) {
		if (r->values[i].kind != kind)
			continue;
		*bytes += secret_reveal(r->values[i].raw).n;
		n++;
	}
	return n;
}

/* A later value has come under the name of this one. */
static bool is_replaced(const struct redactor *r, const struct value *v)
{
	for (const struct value *w = r->values; v->at && w < r->values + r->nvalues; w++)
		if (w->kind == v->kind && w->at > v->at && memcmp(w->name, v->name, HASH_BYTES) == 0)
			return true;
	return false;
}

/* The oldest n values of this kind are to go, and of these all or those that
 * were replaced. Returns how many. */
static int condemn(struct redactor *r, enum kind kind, int n, bool replaced)
{
	int found = 0;

	for (struct value *v = r->values; v < r->values + r->nvalues && found < n; v++) {
		v->goes = v->kind == kind && (!replaced || is_replaced(r, v));
		found += v->goes;
	}
	return found;
}

static int forget_condemned(struct redactor *r)
{
	int kept = 0;

	for (int i = 0; i < r->nvalues; i++) {
		if (r->values[i].goes)
			secret_free(r->values[i].raw);
		else
			r->values[kept++] = r->values[i];
	}
	r->nvalues = kept;
	return index_rebuild(r);
}

/* Room for one more value of this kind: what was replaced goes, else the older half. */
static int make_room(struct redactor *r, enum kind kind, size_t more)
{
	int max = kind == KIND_LATER ? LATER : PASSING, n;
	size_t bytes;

	if (kind == KIND_PINNED)
		return 0;
	while ((n = count(r, kind, &bytes)) > 0 && (n == max || bytes + more > KIND_BYTES)) {
		if (condemn(r, kind, n, true) == 0)
			condemn(r, kind, (n + 1) / 2, false);
		if (forget_condemned(r) < 0)
			return -1;
	}
	return 0;
}

static struct value *find_value(struct redactor *r, const unsigned char hash[HASH_BYTES])
{
	for (int i = 0; i < r->nvalues; i++)
		if (memcmp(r->values[i].hash, hash, HASH_BYTES) == 0)
			return &r->values[i];
	return NULL;
}

static int add(struct redactor *r, struct span value, struct value v)
{
	struct value *known;

	if (value.n < REDACT_MIN)
		return 0;
	if (value.n > VALUE_MAX)
		value.n = VALUE_MAX;
	keyed_hash(r, value, v.hash);
	known = find_value(r, v.hash);
	if (known && known->at && (v.at || known->kind == KIND_LATER))
		known->at = v.at;
	if (known && (v.kind == KIND_PASSING || known->kind != KIND_PASSING))
		return 0;
	if (make_room(r, v.kind, value.n) < 0)
		return -1;
	if (known) { /* it does not pass, after all */
		find_value(r, v.hash)->kind = v.kind;
		return 0;
	}
	v.raw = secret_new(value.p, value.n);
	if (!v.raw)
		return -1;
	/* On failure it stays: better known in part than not at all. */
	r->values[r->nvalues++] = v;
	return value_index(r, r->nvalues - 1);
}

int redact_add(struct redactor *r, struct span value)
{
	struct value v = { .kind = KIND_LATER };
	size_t bytes;

	if (count(r, KIND_PINNED, &bytes) < PINNED)
		v.kind = KIND_PINNED;
	return add(r, value, v);
}

static int add_named(struct redactor *r, enum kind kind, struct span name, struct span value)
{
	struct value v = { .kind = kind, .at = ++r->named };

	keyed_hash(r, name, v.name);
	return add(r, value, v);
}

int redact_add_instead(struct redactor *r, struct span name, struct span value)
{
	return add_named(r, KIND_LATER, name, value);
}

int redact_add_passing(struct redactor *r, struct span name, struct span value)
{
	return add_named(r, KIND_PASSING, name, value);
}

int redact_add_path(struct redactor *r, struct span path)
{
	while (path.n > 0) {
		const char *slash = memchr(path.p, '/', path.n);
		struct span segment = span_make(path.p, slash ? (size_t)(slash - path.p) : path.n);

		if (segment.n >= REDACT_SEGMENT && pattern_is_random(segment) && redact_add(r, segment) < 0)
			return -1;
		path.p += segment.n + (slash != NULL);
		path.n -= segment.n + (slash != NULL);
	}
	return 0;
}

/* ---- searching a text ---- */

static void ranges_add(struct ranges *h, size_t from, size_t to, int value)
{
	struct range *last = h->n ? &h->v[h->n - 1] : NULL, *v;

	if (last && last->value == value && from >= last->from && from < last->to) {
		if (to > last->to)
			last->to = to;
		return;
	}
	if (h->n == h->cap) {
		v = h->cap > SIZE_MAX / 4 / sizeof(*v) ? NULL : malloc(h->cap * 2 * sizeof(*v));
		if (!v) {
			h->failed = true;
			return;
		}
		memcpy(v, h->v, h->n * sizeof(*v));
		if (h->v != h->fixed)
			free(h->v);
		h->v = v;
		h->cap *= 2;
	}
	h->v[h->n++] = (struct range){ from, to, value };
}

static void on_pattern(void *arg, size_t from, size_t to)
{
	ranges_add(arg, from, to, -1);
}

static const struct form *form_at(const struct redactor *r, size_t off)
{
	int lo = 0, hi = r->nforms - 1;

	while (lo < hi) {
		int mid = (lo + hi + 1) / 2;

		if (r->forms[mid].off <= off)
			lo = mid;
		else
			hi = mid - 1;
	}
	return &r->forms[lo];
}

/* A window of the text at i stands in the arena at off: follows both as far as
 * they agree. Returns the end of the run. */
static size_t follow(const struct redactor *r, struct span t, size_t i, size_t off, struct ranges *h)
{
	const struct form *f = form_at(r, off);
	size_t n = REDACT_RUN, left = f->off + f->len - off;

	while (n < left && i + n < t.n && t.p[i + n] == r->arena[off + n])
		n++;
	ranges_add(h, i, i + n, f->value);
	return i + n;
}

static void find_windows(const struct redactor *r, struct span t, struct ranges *h)
{
	size_t i = 0;

	if (r->nwindows == 0)
		return;
	while (i + REDACT_RUN <= t.n) {
		uint64_t hash = window_hash(r, t.p + i);
		size_t slot;

		if (!seen_test(r, hash) || !r->slot[slot = slot_of(r, t.p + i, hash)]) {
			i++;
			continue;
		}
		/* Another run may begin inside this one and reach further. */
		i = follow(r, t, i, r->slot[slot] - 1, h) - (REDACT_RUN - 1);
	}
}

static void find_short(const struct redactor *r, struct span t, struct ranges *h)
{
	for (int k = 0; k < r->nforms; k++) {
		const struct form *f = &r->forms[k];
		const char *at = t.p, *end = t.p + t.n;

		if (!f->whole)
			continue;
		while ((at = memmem(at, (size_t)(end - at), r->arena + f->off, f->len)) != NULL) {
			ranges_add(h, (size_t)(at - t.p), (size_t)(at - t.p) + f->len, f->value);
			at++;
		}
	}
}

static void ranges_init(struct ranges *h)
{
	*h = (struct ranges){ .cap = sizeof(h->fixed) / sizeof(h->fixed[0]) };
	h->v = h->fixed;
}

static void ranges_fini(struct ranges *h)
{
	if (h->v != h->fixed)
		free(h->v);
}

/* The text without escapes into plain, and where each byte of it began in the
 * text into at, its end as well. Returns how many bytes it has. */
static size_t unescape(struct span t, escape_take *take, char *plain, size_t *at)
{
	size_t n = 0, i = 0;

	while (i < t.n) {
		char c[ESCAPE_MAX] = { t.p[i] };
		size_t k = 1, len = take(span_make(t.p + i, t.n - i), c, &k);

		for (size_t j = 0; j < k; j++) {
			at[n] = i;
			plain[n++] = c[j];
		}
		i += len > 0 ? len : 1;
	}
	at[n] = t.n;
	return n;
}

static void find(const struct redactor *r, struct span t, int layers, struct ranges *h);

/* What stands in the text below escapes of a kind, which begin with sign. */
static void find_escaped(const struct redactor *r, struct span t, char sign, escape_take *take, int layers, struct ranges *h)
{
	struct ranges found;
	char *plain;
	size_t *at, n;

	if (r->nvalues == 0 || !memchr(t.p, sign, t.n))
		return;
	ranges_init(&found);
	plain = malloc(t.n);
	at = t.n < SIZE_MAX / sizeof(*at) ? malloc((t.n + 1) * sizeof(*at)) : NULL;
	if (plain && at && (n = unescape(t, take, plain, at)) < t.n) {
		find(r, span_make(plain, n), layers, &found);
		for (size_t i = 0; i < found.n; i++)
			ranges_add(h, at[found.v[i].from], at[found.v[i].to], found.v[i].value);
	}
	h->failed |= !plain || !at || found.failed;
	if (plain)
		sodium_memzero(plain, t.n);
	free(plain);
	free(at);
	ranges_fini(&found);
}

static void find(const struct redactor *r, struct span t, int layers, struct ranges *h)
{
	find_windows(r, t, h);
	find_short(r, t, h);
	if (layers == 0)
		return;
	find_escaped(r, t, '%', escape_percent, layers - 1, h);
	find_escaped(r, t, '\\', escape_json, layers - 1, h);
}

static int range_order(const void *a, const void *b)
{
	const struct range *x = a, *y = b;

	return (x->from > y->from) - (x->from < y->from);
}

/* Overlapping ranges become one, under the name of a registered value if one
 * has a part in it. */
static void ranges_merge(struct ranges *h)
{
	size_t n = 0;

	qsort(h->v, h->n, sizeof(h->v[0]), range_order);
	for (size_t i = 1; i < h->n; i++) {
		struct range *last = &h->v[n], *next = &h->v[i];

		if (next->from >= last->to) {
			h->v[++n] = *next;
			continue;
		}
		if (next->to > last->to)
			last->to = next->to;
		if (last->value < 0)
			last->value = next->value;
	}
	h->n = n + 1;
}

static int put_hidden(const struct redactor *r, struct span t, const struct range *g, struct buf *out)
{
	char fp[7];

	if (g->value >= 0)
		fingerprint_text(r->values[g->value].hash, fp);
	else
		redact_fingerprint(r, span_make(t.p + g->from, g->to - g->from), fp);
	return buf_printf(out, "[redacted:%s]", fp);
}

static int put_clean(const struct redactor *r, struct span t, struct ranges *h, struct buf *out)
{
	size_t at = 0, before = out->len;

	for (size_t i = 0; i < h->n; i++) {
		const struct range *g = &h->v[i];

		if (buf_append(out, t.p + at, g->from - at) < 0 || put_hidden(r, t, g, out) < 0)
			goto fail;
		at = g->to;
	}
	if (buf_append(out, t.p + at, t.n - at) < 0)
		goto fail;
	return 0;
fail:
	out->len = before;
	return -1;
}

int redact_text(const struct redactor *r, struct span text, struct buf *out)
{
	struct ranges h;
	int rc = -1;

	if (text.n == 0)
		return 0;
	ranges_init(&h);
	if (r)
		find(r, text, ESCAPE_LAYERS, &h);
	pattern_find(text, on_pattern, &h);
	if (h.failed)
		goto out;
	if (h.n > 0)
		ranges_merge(&h);
	rc = put_clean(r, text, &h, out);
out:
	ranges_fini(&h);
	return rc;
}
