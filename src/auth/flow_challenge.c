/* What a 401 or 403 of the MCP endpoint leads to, and what the outside may ask
 * of the machine. A challenge never starts a second flow while one runs, never
 * more than AUTH_MAX_PER_OPERATION for one operation, and never for a token
 * that has been replaced since the request went out. */
#include "auth/flow_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

/* Nonces of a server that never takes one: how often an operation goes along. */
#define MAX_NONCES 2
/* A stream that is held open for days is one operation; what it met so long ago
 * does not count any more, since it has been let in after that. */
#define OPERATION_FORGET_MS 600000

static struct operation *operation(struct auth *a, uint64_t op)
{
	struct operation *o;
	size_t i;

	for (i = 0; i < FLOW_OPERATIONS; i++)
		if (a->ops[i].op == op && op)
			break;
	if (i == FLOW_OPERATIONS) {
		i = a->next_op;
		a->next_op = (a->next_op + 1) % FLOW_OPERATIONS;
		a->ops[i].at = INT64_MIN / 2;
	}
	o = &a->ops[i];
	if (a->now - o->at > OPERATION_FORGET_MS)
		*o = (struct operation){ .op = op };
	o->at = a->now;
	return o;
}

static enum auth_verdict refuse(struct auth *a, const char *why)
{
	snprintf(a->text, sizeof a->text, "%s", why);
	return AUTH_REFUSE;
}

/* A nonce was asked for: the same token, another proof (RFC 9449, 9). */
static enum auth_verdict on_nonce_wanted(struct auth *a, struct operation *o)
{
	if (!a->dpop || a->rs_nonce.len == 0 || o->nonces >= MAX_NONCES)
		return refuse(a, "the server asks for a DPoP nonce but takes none");
	o->nonces++;
	return AUTH_AGAIN;
}

static int take_challenge(struct auth *a, const struct challenge *c)
{
	return auth_set(&a->hinted, c->resource_metadata) || auth_set(&a->challenge_scope, c->scope) ? -1 : 0;
}

static enum auth_verdict start_flow(struct auth *a, struct operation *o, const struct challenge *c, bool step_up)
{
	int64_t wait;

	if (o->flows >= AUTH_MAX_PER_OPERATION)
		return refuse(a, step_up ?
			"the server asks for more permissions again and again though they were granted; the request is given up" :
			"the server refuses the tokens that its own authorization server issues; the request is given up");
	/* A flow that a server's absence ends at once asks nobody, and takes nothing of the brake. */
	wait = circuit_pause(a, a->now) > 0 ? 0 : bucket_take(&a->flows, a->now);
	if (wait > 0) {
		snprintf(a->text, sizeof a->text, "too many sign-ins were tried; the next one is possible in %" PRId64 " s",
		         wait / 1000 + 1);
		return AUTH_REFUSE;
	}
	if (take_challenge(a, c))
		return refuse(a, "no memory for signing in");
	o->flows++;
	a->challenged = true;
	a->hold_until = a->now + a->c.breaker.hold_ms;
	a->step_up = step_up;
	/* When a token was got for this very operation and is refused, a refresh would give its like.
	 * One that another process has got, perhaps long ago, says nothing of the kind. */
	a->fresh = step_up || (o->flows > 1 && a->own_generation == a->generation);
	a->phase = AUTH_WORKING;
	snprintf(a->text, sizeof a->text, "signing in is under way");
	flow_begin(a);
	return AUTH_PARK;
}

/* A flow runs: this request waits for the same one. */
static enum auth_verdict join_flow(struct auth *a, const struct challenge *c)
{
	if (!a->challenged) {
		/* A refresh ahead of time had begun; now its result is needed. */
		a->challenged = true;
		a->hold_until = a->now + a->c.breaker.hold_ms;
		a->phase = AUTH_WORKING;
		if (!a->hinted && take_challenge(a, c))
			return refuse(a, "no memory for signing in");
	}
	return AUTH_PARK;
}

enum auth_verdict auth_on_challenge(struct auth *a, uint64_t op, unsigned used, int status,
	struct span www_authenticate, struct span dpop_nonce, int64_t now, int64_t wall)
{
	struct operation *o;
	struct challenge c;
	enum auth_verdict v;
	bool step_up = status == 403;

	a->now = now;
	a->wall = wall;
	o = operation(a, op);
	auth_on_nonce(a, dpop_nonce);
	if (challenge_parse(&c, www_authenticate))
		return status == 401 ? refuse(a, "the server's WWW-Authenticate header is beyond all limits") : AUTH_PASS;
	if (status != 401 && !(step_up && span_is(c.error, "insufficient_scope")))
		v = AUTH_PASS;
	else if (span_is(c.error, "use_dpop_nonce") && used == a->generation && a->phase == AUTH_HAVE)
		v = on_nonce_wanted(a, o);
	else if (used != a->generation && a->phase == AUTH_HAVE)
		v = AUTH_AGAIN;
	else if (a->step == STEP_LOAD)
		v = AUTH_AGAIN; /* the stored token comes any moment */
	else if (a->step != STEP_IDLE)
		v = join_flow(a, &c);
	else
		v = start_flow(a, o, &c, step_up);
	challenge_fini(&c);
	return v;
}

void auth_await_sign_in(struct auth *a)
{
	a->refresh_at = 0;
}

void auth_sign_in(struct auth *a, struct span www_authenticate, int64_t within_ms, int64_t now, int64_t wall)
{
	struct challenge c;

	a->now = now;
	a->wall = wall;
	if (a->step != STEP_IDLE)
		return;
	a->challenged = a->fresh = true;
	a->find_ms = within_ms;
	a->phase = AUTH_WORKING;
	if (challenge_parse(&c, www_authenticate) == 0) {
		take_challenge(a, &c);
		challenge_fini(&c);
	}
	flow_begin(a);
}

enum auth_phase auth_phase(const struct auth *a)
{
	return a->phase;
}

unsigned auth_generation(const struct auth *a)
{
	return a->generation;
}

const struct auth_record *auth_record(const struct auth *a)
{
	return &a->rec;
}

const char *auth_text(const struct auth *a)
{
	return a->text;
}

int64_t auth_pause(const struct auth *a, int64_t now)
{
	return circuit_pause(a, now);
}

bool auth_waits_for_person(const struct auth *a)
{
	return a->step == STEP_PERSON || a->step == STEP_POLL;
}

bool auth_is_spending(const struct auth *a)
{
	return a->http_running && (a->step == STEP_CODE || a->step == STEP_REFRESH || a->step == STEP_POLL);
}

void auth_on_end(struct auth *a)
{
	a->challenged = false;
}

int auth_header(const struct auth *a, struct buf *out)
{
	if (!a->rec.access)
		return -1;
	return buf_puts(out, "Authorization: ") || buf_puts(out, a->rec.token_type ? a->rec.token_type : "Bearer") ||
	       buf_puts(out, " ") || buf_add(out, secret_reveal(a->rec.access)) ? -1 : 0;
}

int auth_dpop(struct auth *a, const char *method, const char *url, int64_t wall, struct buf *out)
{
	unsigned char jti[16];
	struct span nonce = a->rs_nonce.len ? buf_span(&a->rs_nonce) : SPAN_NONE;
	size_t start = out->len;

	if (!a->rec.access || !a->dpop || !a->rec.token_type || strcmp(a->rec.token_type, "DPoP") != 0)
		return 0;
	a->c.random(a->c.random_arg, jti, sizeof jti);
	if (buf_puts(out, "DPoP: ") == 0 &&
	    jwt_dpop_proof(a->dpop, method, url, secret_reveal(a->rec.access), nonce, jti, wall, out) == 0)
		return 1;
	out->len = start;
	return -1;
}
