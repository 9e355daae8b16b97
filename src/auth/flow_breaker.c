/* One circuit breaker for each server that signing in depends on: each
 * authorization server, by its issuer, and the identity provider. They live as
 * long as the machine. The MCP server has its own in the core; what it
 * publishes about signing in is asked for with its leave.
 *
 * While one is closed, an outage is waited out for as long as requests are held.
 * While one is open, a sign-in fails before it asks anybody for anything. When
 * its pause is over, the next sign-in is the probe, and the only one, since
 * flows run one at a time. A person who is in the middle of signing in is never
 * turned away: a code that was just given is presented, and a device code is
 * polled for at its own pace. */
#include "auth/flow_parts.h"

#include <stdlib.h>
#include <string.h>

#include "base/retry_after.h"

/* So long before those who wait for the token are told that there is none. */
#define LAST_TRY_MS 1000
/* Before the next round where the last place answered and one before it did not; doubled each time. */
#define HOLD_PAUSE_MS 500

static const char *const party_names[] = {
	[PARTY_SERVER] = "authorization server", [PARTY_PROVIDER] = "identity provider",
};

/* How far into a flow the server is asked this: metadata, then who we are, then
 * a token. */
static int depth_of(enum step s)
{
	return s == STEP_SERVER ? 1 : s == STEP_REGISTER || s == STEP_DEVICE ? 2 : 3;
}

/* ---- which server ------------------------------------------------------------------ */

/* An URL of the server, the same for all its endpoints where they lie on
 * several hosts. */
static const char *address_of(const struct auth *a, enum party p)
{
	if (p == PARTY_PROVIDER || (a->c.token_endpoint && a->c.mode == AUTH_MODE_CLIENT))
		return buf_data(&a->url);
	if (a->as.issuer)
		return a->as.issuer;
	if (a->step == STEP_SERVER)
		return discover_issuer(a);
	return a->rec.issuer ? a->rec.issuer : buf_data(&a->url);
}

static struct dependency *find(struct auth *a, enum party p, const char *origin)
{
	size_t i;

	for (i = 0; i < FLOW_DEPENDENCIES; i++)
		if (a->servers[i].origin && a->servers[i].party == p && strcmp(a->servers[i].origin, origin) == 0)
			return &a->servers[i];
	return NULL;
}

static bool makes_room_before(const struct dependency *d, const struct dependency *e)
{
	bool refuses = d->origin && breaker_refuses(&d->breaker), other = e->origin && breaker_refuses(&e->breaker);

	if (!d->origin != !e->origin)
		return !d->origin;
	return refuses != other ? other : d->used < e->used;
}

/* Takes a free place, or that of the server not asked for longest; one whose
 * breaker is open stays while another can go. */
static struct dependency *add(struct auth *a, enum party p, const char *origin)
{
	struct dependency *d = &a->servers[0];
	char *copy = strdup(origin);
	size_t i;

	if (!copy)
		return NULL;
	for (i = 1; i < FLOW_DEPENDENCIES; i++)
		if (makes_room_before(&a->servers[i], d))
			d = &a->servers[i];
	free(d->origin);
	*d = (struct dependency){ .origin = copy, .party = p };
	breaker_init(&d->breaker, a->c.breaker);
	backoff_init(&d->backoff, a->c.backoff);
	return d;
}

/* The server that the exchange in a->url is for; NULL: none of these, or no memory. */
static struct dependency *asked(struct auth *a)
{
	enum party p = a->step == STEP_EXCHANGE ? PARTY_PROVIDER : PARTY_SERVER;
	struct dependency *d;
	struct url u;

	if (a->step == STEP_RESOURCE || url_parse(&u, address_of(a, p), NULL))
		return NULL;
	d = find(a, p, u.origin);
	if (!d)
		d = add(a, p, u.origin);
	if (d)
		d->used = a->http_last;
	url_fini(&u);
	return d;
}

/* ---- what is shown ------------------------------------------------------------------ */

static bool is_away_longer(const struct dependency *d, const struct dependency *e)
{
	bool open = d->breaker.state == BREAKER_OPEN, other = e->breaker.state == BREAKER_OPEN;

	return open != other ? open : d->next_at > e->next_at;
}

/* After everything that moves a breaker or frees a name. */
static void look(struct auth *a)
{
	struct breaker_view *v = &a->away;
	const struct dependency *d = NULL;
	size_t i;

	for (i = 0; i < FLOW_DEPENDENCIES; i++)
		if (a->servers[i].origin && breaker_refuses(&a->servers[i].breaker) && (!d || is_away_longer(&a->servers[i], d)))
			d = &a->servers[i];
	v->state = d ? d->breaker.state : BREAKER_CLOSED;
	v->name = d ? party_names[d->party] : "";
	v->origin = d ? d->origin : "";
	v->next_at = v->state == BREAKER_OPEN ? d->next_at : 0;
}

void circuit_init(struct auth *a)
{
	look(a);
}

const struct breaker_view *auth_breaker(const struct auth *a)
{
	return &a->away;
}

/* A person who has the code of a device to enter is what a poll waits for. */
const char *auth_awaits(const struct auth *a, int64_t *until)
{
	bool asking = a->http_running || a->http_again_at;

	if (!a->challenged || !a->asked || !asking || a->step == STEP_POLL)
		return NULL;
	*until = a->http_running ? a->http_until : a->http_again_at;
	return party_names[a->asked->party];
}

/* ---- what happened ------------------------------------------------------------------- */

static void changed(struct auth *a, const struct dependency *d)
{
	const char *state = breaker_state_name(d->breaker.state);

	a->away.changes++;
	flow_log_circuit(a, state, "circuit breaker of the %s is %s", party_names[d->party], state);
}

static bool used_up(const struct auth *a, const struct dependency *d)
{
	return a->c.max_retries >= 0 && d->backoff.attempt > (unsigned)a->c.max_retries;
}

static void on_failure(struct auth *a, struct dependency *d, const struct auth_answer *ans)
{
	int64_t probe_at;

	if (depth_of(a->step) > d->failing)
		d->failing = depth_of(a->step);
	a->place_lost |= a->step == STEP_SERVER;
	if (ans->ok)
		backoff_floor(&d->backoff, retry_after_parse(ans->retry_after, a->wall), a->now);
	d->next_at = backoff_next(&d->backoff, &a->rng, a->now);
	if (breaker_on_failure(&d->breaker, a->now, used_up(a, d)))
		changed(a, d);
	probe_at = breaker_probe_at(&d->breaker);
	if (probe_at > d->next_at)
		d->next_at = probe_at;
}

/* Metadata comes from a cache long after the token endpoint has gone: an answer
 * ends the outage of what was asked before it, and of nothing after it. */
static void on_success(struct auth *a, struct dependency *d)
{
	if (depth_of(a->step) < d->failing)
		return;
	d->failing = 0;
	d->next_at = 0;
	backoff_reset(&d->backoff);
	if (breaker_on_success(&d->breaker, a->now))
		changed(a, d);
}

bool circuit_on_answer(struct auth *a, const struct auth_answer *ans)
{
	struct dependency *d = a->asked;

	if (!d || ans->unfit)
		return true;
	if (!ans->ok || ans->status == 429 || ans->status >= 500)
		on_failure(a, d, ans);
	else
		on_success(a, d);
	look(a);
	return !breaker_refuses(&d->breaker);
}

void circuit_on_end(struct auth *a)
{
	size_t i;

	a->asked = NULL;
	for (i = 0; i < FLOW_DEPENDENCIES; i++)
		breaker_on_silence(&a->servers[i].breaker);
	look(a);
}

/* ---- what may be done ------------------------------------------------------------------- */

/* 0 or a time that has passed: now. */
static int64_t not_before(const struct dependency *d)
{
	return d->breaker.state == BREAKER_OPEN ? d->next_at : d->backoff.floor_until;
}

int64_t circuit_pause(const struct auth *a, int64_t now)
{
	int64_t most = 0;
	size_t i;

	for (i = 0; i < FLOW_DEPENDENCIES; i++)
		if (not_before(&a->servers[i]) - now > most)
			most = not_before(&a->servers[i]) - now;
	return most;
}

static void refuse(struct auth *a, const struct dependency *d)
{
	flow_fail(a, "the %s %s and was not asked again", party_names[d->party],
	          d->breaker.state == BREAKER_OPEN ? "has been unreachable for a while" : "has said not to be asked for a while");
}

/* A server that has said when to come back is asked then, if that is in time for
 * those who wait for the token. */
static bool waits_for(struct auth *a, const struct dependency *d)
{
	int64_t last = a->hold_until - LAST_TRY_MS;

	if (!a->challenged || d->breaker.state == BREAKER_OPEN || d->backoff.floor_until > last)
		return false;
	a->http_again_at = d->next_at > last ? last : d->next_at;
	a->held = true;
	flow_log(a, AUTH_LOG_INFO, "the %s has said not to be asked for a while; asking it in %.1f s", party_names[d->party],
	         (double)(a->http_again_at - a->now) / 1000);
	return true;
}

bool circuit_lets_begin(struct auth *a)
{
	size_t i;

	for (i = 0; i < FLOW_DEPENDENCIES; i++) {
		if (a->servers[i].breaker.state == BREAKER_OPEN && a->now < a->servers[i].next_at) {
			refuse(a, &a->servers[i]);
			return false;
		}
	}
	return true;
}

bool circuit_lets_ask(struct auth *a)
{
	bool person = a->step == STEP_CODE || a->step == STEP_POLL;
	struct dependency *d = asked(a);

	a->asked = d;
	if (d && a->now < not_before(d) && !person) {
		if (!waits_for(a, d))
			refuse(a, d);
		return false;
	}
	if (d)
		breaker_on_probe(&d->breaker);
	look(a);
	return true;
}

bool circuit_holds(struct auth *a)
{
	const struct dependency *d = a->asked;
	int64_t last = a->hold_until - LAST_TRY_MS, at;

	bool came_back = a->step == STEP_SERVER && a->place_lost && d && !d->failing;

	if (!a->challenged || !d || (!d->failing && !came_back) || breaker_refuses(&d->breaker) || used_up(a, d))
		return false;
	if (last <= a->now || d->backoff.floor_until > last)
		return false;
	at = d->next_at;
	if (came_back) { /* in the middle of a round */
		a->hold_pause_ms = a->hold_pause_ms ? 2 * a->hold_pause_ms : HOLD_PAUSE_MS;
		at = a->now + a->hold_pause_ms;
	}
	if (at > last)
		at = last;
	a->http_again_at = at > a->now ? at : a->now + 1;
	a->held = true;
	a->place_lost = false;
	flow_log(a, AUTH_LOG_INFO, "the %s can not be reached; trying again in %.1f s", party_names[d->party],
	         (double)(a->http_again_at - a->now) / 1000);
	return true;
}

void circuit_free(struct auth *a)
{
	size_t i;

	for (i = 0; i < FLOW_DEPENDENCIES; i++)
		free(a->servers[i].origin);
}
