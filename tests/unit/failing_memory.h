/* Lives of a session in which allocations fail: the nth, and some after it. For
 * every n that a life has, it must survive, answer each request exactly once, by
 * an error where need be, work again when there is memory, and come to its end.
 *
 * STRIDE in the environment leaves out allocations, for tools that make each life
 * a hundred times slower. TRACE prints the life whose failures begin at that
 * allocation, WIDTH of them, and MEND the one that has memory again afterwards.
 *
 * To be included once, instead of core_harness.h, by a program that is linked
 * with malloc and the like wrapped. */
#ifndef TESTS_FAILING_MEMORY_H
#define TESTS_FAILING_MEMORY_H

#include <stdlib.h>
#include <string.h>

#include "core/session.h"
#include "wire/jsonrpc.h"

/* ---- allocations of the core, and of nothing else, are counted and fail ------------------------ */

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

static bool in_core;
static unsigned long allocations, fail_from, fail_to; /* [from, to) fail */

static inline bool fails(void)
{
	unsigned long n = allocations;

	if (!in_core)
		return false;
	allocations++;
	return n >= fail_from && n < fail_to;
}

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }

#define INSIDE(call) do { in_core = true; call; in_core = false; } while (0)

/* ---- what the client asked, and gave up ------------------------------------------------------- */

struct question { char id[40]; bool given_up; };
static struct question asked_of_us[64];
static size_t nasked;

static inline void note_asked(struct span line)
{
	struct rpc_msg m;

	rpc_parse(line.p, line.n, &m);
	if (m.kind == RPC_REQUEST) {
		assert_true(nasked < sizeof(asked_of_us) / sizeof(*asked_of_us) && m.id.n < sizeof(asked_of_us[0].id));
		asked_of_us[nasked] = (struct question){ .given_up = false };
		memcpy(asked_of_us[nasked++].id, m.id.p, m.id.n);
	} else if (m.kind == RPC_NOTIFICATION && span_is(m.method, "notifications/cancelled")) {
		for (size_t i = 0; i < nasked; i++)
			asked_of_us[i].given_up |= span_is(json_get(m.params, "requestId"), asked_of_us[i].id);
	}
}

static inline void core_on_client(struct session *s, struct span line, struct buf *big, int64_t now)
{
	note_asked(line);
	INSIDE(session_on_client(s, line, big, now));
}

static inline void core_on_memory(struct session *s, int kind, struct span text, int64_t age_s) { INSIDE(session_on_memory(s, kind, text, age_s)); }

static inline void core_on_done(struct session *s, uint64_t token, const struct http_result *r, int64_t now) { INSIDE(session_on_done(s, token, r, now)); }
static inline void core_on_time(struct session *s, int64_t now, int64_t wall_s) { INSIDE(session_on_time(s, now, wall_s)); }
static inline void core_on_eof(struct session *s, int64_t now) { INSIDE(session_on_client_eof(s, now)); }
static inline void core_on_challenge(struct session *s, uint64_t token, enum challenge c, struct span text, int64_t now) { INSIDE(session_on_challenge(s, token, c, text, now)); }

static inline enum body_mode core_on_head(struct session *s, uint64_t token, const struct http_head *h, int64_t now)
{
	enum body_mode mode;

	INSIDE(mode = session_on_head(s, token, h, now));
	return mode;
}

static inline bool core_on_data(struct session *s, uint64_t token, char **p, size_t *n, bool cut, int64_t now)
{
	bool more;

	INSIDE(more = session_on_data(s, token, p, n, cut, now));
	return more;
}

#define session_on_client core_on_client
#define session_on_done core_on_done
#define session_on_time core_on_time
#define session_on_client_eof core_on_eof
#define session_on_challenge core_on_challenge
#define session_on_head core_on_head
#define session_on_data core_on_data
#define session_on_memory core_on_memory

#include "core_harness.h"

#define LIFE_AGAIN "{\"jsonrpc\":\"2.0\",\"id\":\"again\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}"
#define LIFE_LAST "{\"jsonrpc\":\"2.0\",\"id\":\"last\",\"method\":\"prompts/get\",\"params\":{\"name\":\"p\"}}"

/* ---- a life with failures ------------------------------------------------------------------------- */

struct life {
	const char *name;
	enum transport_choice transport;
	void (*run)(struct play *p);
	void (*serve)(struct play *p, int64_t ms); /* a server in good health */
	void (*watch)(struct play *p, struct transfer *t, void *arg); /* each transfer that begins; or NULL */
	const char *again;                        /* initialize under the id "again", of a legacy client */
	const char *last;                         /* a request that must have a result in the end; its id is "last" */
	const char *(*check)(struct play *p, unsigned long width); /* what is wrong with it in the end, NULL: nothing; or NULL */
};

/* Two failures in a row leave the reserve to answer from; in a longer drought an
 * answer may be missing, or news, but none comes twice. */
#define DROUGHT 3

static inline void check_answers(struct play *p, const struct life *l, unsigned long n, unsigned long width)
{
	for (size_t i = 0; i < nasked; i++) {
		size_t got = play_answers(p, asked_of_us[i].id, NULL);
		if (got > 1 || (got == 0 && width < DROUGHT && !asked_of_us[i].given_up))
			fail_msg("%s, allocation %lu (%lu of them): %s was answered %zu times\n%s", l->name, n, width, asked_of_us[i].id, got, p->log);
	}
	if (!p->ended)
		fail_msg("%s, allocation %lu (%lu of them): it does not end\n%s", l->name, n, width, p->log);
}

/* There is memory again, and the session is as good as new. */
static inline void check_works(struct play *p, const struct life *l, unsigned long n, unsigned long width)
{
	const char *text = NULL;

	fail_to = 0;
	l->serve(p, 60000);
	if (play_state(p) == SESSION_START && l->again) { /* its first initialize was refused */
		play_client(p, l->again);
		l->serve(p, 10);
		play_client(p, PLAY_INITIALIZED);
	}
	play_client(p, l->last);
	l->serve(p, 60000);
	if (play_answers(p, "\"last\"", &text) != 1 || !strstr(text, "\"good\":true"))
		fail_msg("%s, allocation %lu (%lu of them): it does not work afterwards: %s\n%s", l->name, n, width, text ? text : "no answer", p->log);
	if ((text = l->check ? l->check(p, width) : NULL))
		fail_msg("%s, allocation %lu (%lu of them): %s\n%s", l->name, n, width, text, p->log);
}

static inline unsigned long wish(const char *name)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : 0;
}

/* How many allocations there were. mend: there is memory again before the end. */
static inline unsigned long live(const struct life *l, unsigned long from, unsigned long to, bool mend)
{
	struct core_config c = play_config();
	static const char *const ignored[] = { "hid*" };
	struct play p;

	c.transport = l->transport;
	c.offline_start = true;
	c.ignore_tools = ignored;
	c.nignore_tools = 1;
	play_open_log(&p, &c, 42, 4);
	p.trace = getenv("TRACE") && from == wish("TRACE") && to - from == wish("WIDTH") && mend == (getenv("MEND") != NULL);
	p.on_start = l->watch;
	nasked = 0;
	allocations = 0;
	fail_from = from;
	fail_to = to;
	l->run(&p);
	if (mend)
		check_works(&p, l, from, to - from);
	session_on_client_eof(p.s, p.now);
	play_perform(&p);
	l->serve(&p, 10000);
	check_answers(&p, l, from, to - from);
	fail_to = 0;
	play_close(&p);
	return allocations;
}

static inline void live_all(const struct life *l)
{
	static const unsigned long widths[] = { 1, 2, 5, 20, 1000 };
	unsigned long all = live(l, 0, 0, false);
	unsigned long stride = getenv("STRIDE") ? wish("STRIDE") : 1;

	assert_true(all > 50 && stride > 0);
	live(l, 0, 0, true);
	for (size_t w = 0; w < sizeof(widths) / sizeof(*widths); w++) {
		for (unsigned long n = w % stride; n < all; n += stride) {
			live(l, n, n + widths[w], false);
			live(l, n, n + widths[w], true);
		}
	}
}

#endif
