/* The frame of the sign-in machine: facts come in, the step they belong to
 * handles them, actions queue up to be taken. It also holds what protects
 * others from us: one flow at a time, a limit for each operation, and brakes
 * on flows, on windows opened before a person and on token requests.
 *
 * A flow in the order of its steps: LOCK, RESOURCE, SERVER, then either
 * REFRESH or (by mode) LISTEN, REGISTER, PERSON, CODE | DEVICE, POLL | CLIENT |
 * VALUE, EXCHANGE, ASSERTION. Each way out is flow_succeed() or flow_fail(). */
#include "auth/flow_parts.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define FLOW_URL_MAX ((size_t)16 * 1024)
#define FLOW_BODY_MAX ((size_t)64 * 1024)
#define FLOW_HEADER_MAX ((size_t)16 * 1024)
#define FLOW_NONCE_MAX ((size_t)1024)

/* Brakes: how many at once, and one more each so many seconds. */
#define FLOWS_BURST 8
#define FLOWS_PER_S (1.0 / 8)
#define PEOPLE_BURST 4
#define PEOPLE_PER_S (1.0 / 30)
#define GRANTS_BURST 6
#define GRANTS_PER_S (1.0 / 10)

static const char *const step_names[STEP_COUNT] = {
	[STEP_IDLE] = "idle", [STEP_LOAD] = "load", [STEP_LOCK] = "lock", [STEP_RESOURCE] = "resource metadata",
	[STEP_SERVER] = "server metadata", [STEP_RECALL] = "recall", [STEP_LISTEN] = "listen",
	[STEP_REGISTER] = "register", [STEP_PERSON] = "person", [STEP_CODE] = "code", [STEP_REFRESH] = "refresh",
	[STEP_REREAD] = "reread", [STEP_DEVICE] = "device", [STEP_POLL] = "poll", [STEP_CLIENT] = "client",
	[STEP_VALUE] = "value", [STEP_EXCHANGE] = "exchange", [STEP_ASSERTION] = "assertion",
};

/* ---- life -------------------------------------------------------------------- */

static const size_t config_strings[] = {
#define C(name) offsetof(struct auth_config, name)
	C(mcp_url), C(resource), C(scope), C(client_name), C(client_id), C(client_auth), C(client_metadata_url),
	C(token_endpoint), C(idp_token_endpoint), C(idp_client_id), C(redirect_host), C(redirect_path),
	C(registration.p), C(authorize_params.p),
#undef C
};

static int copy_config(struct auth *a, const struct auth_config *c)
{
	size_t i;
	const char **s;
	int rc = 0;

	a->c = *c;
	for (i = 0; i < sizeof config_strings / sizeof *config_strings; i++) {
		s = (const char **)(void *)((char *)&a->c + config_strings[i]);
		if (s == &a->c.registration.p)
			*s = *s ? strndup(*s, c->registration.n) : NULL;
		else if (s == &a->c.authorize_params.p)
			*s = *s ? strndup(*s, c->authorize_params.n) : NULL;
		else
			*s = *s ? strdup(*s) : NULL;
		if (!*s && *(const char *const *)(const void *)((const char *)c + config_strings[i]))
			rc = -1;
	}
	return rc;
}

static void free_config(struct auth *a)
{
	size_t i;

	for (i = 0; i < sizeof config_strings / sizeof *config_strings; i++)
		free(*(char **)(void *)((char *)&a->c + config_strings[i]));
}

struct auth *auth_new(const struct auth_config *c, struct err *e)
{
	struct auth *a = calloc(1, sizeof *a);
	uint64_t seed;
	size_t i;

	if (!a) {
		err_set(e, "no memory for signing in");
		return NULL;
	}
	auth_record_init(&a->rec);
	buf_init(&a->url, FLOW_URL_MAX);
	buf_init(&a->body, FLOW_BODY_MAX);
	buf_init(&a->rs_nonce, FLOW_NONCE_MAX);
	buf_init(&a->as_nonce, FLOW_NONCE_MAX);
	for (i = 0; i < FLOW_HEADERS; i++)
		buf_init(&a->header[i], FLOW_HEADER_MAX);
	if (copy_config(a, c) || url_parse(&a->mcp, a->c.mcp_url, e)) {
		auth_free(a);
		return NULL;
	}
	a->c.random(a->c.random_arg, &seed, sizeof seed);
	rng_seed(&a->rng, seed);
	circuit_init(a);
	bucket_init(&a->flows, FLOWS_PER_S, FLOWS_BURST, 0);
	bucket_init(&a->people, PEOPLE_PER_S, PEOPLE_BURST, 0);
	bucket_init(&a->grants, GRANTS_PER_S, GRANTS_BURST, 0);
	return a;
}

/* Ends what the flow under way holds; the record and the token stay. */
static void reset_flow(struct auth *a)
{
	circuit_on_end(a);
	a->step = STEP_IDLE;
	a->step_up = a->fresh = a->vain = a->locked = a->listening = a->guessed = a->trouble = a->place_lost = a->held = false;
	a->nonce_retried = a->http_running = a->challenged = false;
	a->http_again_at = a->poll_at = a->person_until = a->hold_until = a->hold_pause_ms = a->find_ms = a->find_until = 0;
	a->candidate = a->redirects = a->http_tries = a->port = 0;
	free(a->challenge_scope);
	free(a->hinted);
	free(a->want_scope);
	a->challenge_scope = a->hinted = a->want_scope = NULL;
	prm_fini(&a->prm);
	as_meta_fini(&a->as);
	secret_free(a->grant);
	a->grant = NULL;
	a->refusal.text[0] = '\0';
	sodium_memzero(a->state, sizeof a->state);
	sodium_memzero(a->verifier, sizeof a->verifier);
}

void auth_free(struct auth *a)
{
	size_t i;

	if (!a)
		return;
	reset_flow(a);
	for (i = 0; i < FLOW_ACTIONS; i++)
		flow_forget(&a->queue[i]);
	flow_forget(&a->current);
	circuit_free(a);
	auth_record_fini(&a->rec);
	jwt_key_free(a->dpop);
	buf_fini(&a->url);
	buf_wipe(&a->body);
	buf_fini(&a->body);
	buf_fini(&a->rs_nonce);
	buf_fini(&a->as_nonce);
	for (i = 0; i < FLOW_HEADERS; i++) {
		buf_wipe(&a->header[i]);
		buf_fini(&a->header[i]);
	}
	url_fini(&a->mcp);
	free_config(a);
	free(a);
}

/* Network trouble is waited out, where sending again can do no harm; for metadata
 * only a little, since there may be another place that has it. */
static bool retry_later(struct auth *a, const struct auth_answer *ans)
{
	static const int64_t pause_ms[] = { 300, 1000, 3000 };
	bool transient = !ans->ok || ans->status == 429 || (ans->status >= 500 && ans->status != 501);
	bool harmless = !a->http_post || ans->unsent || a->step == STEP_REFRESH || a->step == STEP_CLIENT;

	if (!transient || !harmless || a->step == STEP_POLL)
		return false;
	if (a->asked && a->asked->backoff.floor_until > a->now) /* it has said when to come back */
		return circuit_holds(a);
	if (a->held || a->http_tries >= (int)(sizeof pause_ms / sizeof *pause_ms))
		return a->step != STEP_RESOURCE && a->step != STEP_SERVER && circuit_holds(a);
	a->http_again_at = a->now + pause_ms[a->http_tries++];
	return true;
}

void auth_on_http(struct auth *a, uint64_t token, const struct auth_answer *ans, int64_t now, int64_t wall)
{
	static void (*const on_answer[STEP_COUNT])(struct auth *, const struct auth_answer *) = {
		[STEP_RESOURCE] = discover_on_resource, [STEP_SERVER] = discover_on_server,
		[STEP_REGISTER] = client_on_registered, [STEP_CODE] = grant_on_token, [STEP_REFRESH] = grant_on_token,
		[STEP_CLIENT] = grant_on_token, [STEP_ASSERTION] = grant_on_token, [STEP_POLL] = grant_on_token,
		[STEP_DEVICE] = person_on_device, [STEP_EXCHANGE] = grant_on_exchange,
	};

	bool again;

	if (!a->http_running || token != a->http_token)
		return;
	a->http_running = false;
	a->now = now;
	a->wall = wall;
	again = circuit_on_answer(a, ans);
	if (again && retry_later(a, ans))
		return;
	if (on_answer[a->step])
		on_answer[a->step](a, ans);
}

/* ---- the course of a flow ------------------------------------------------------------------- */

void flow_enter(struct auth *a, enum step s)
{
	if (a->step == s)
		return;
	flow_log(a, AUTH_LOG_DEBUG, "sign-in: %s > %s", step_names[a->step], step_names[s]);
	a->step = s;
	a->http_tries = 0;
	a->nonce_retried = false;
}

void flow_random_text(struct auth *a, char out[44])
{
	unsigned char bytes[32];

	a->c.random(a->c.random_arg, bytes, sizeof bytes);
	sodium_bin2base64(out, 44, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	sodium_memzero(bytes, sizeof bytes);
}

static void close_flow(struct auth *a, bool ok, const char *text)
{
	flow_cancel(a);
	if (a->listening)
		flow_tell(a, AUTH_DO_UNLISTEN, ok, text);
	if (a->locked || a->step == STEP_LOCK)
		flow_do(a, AUTH_DO_UNLOCK);
	buf_wipe(&a->body);
	buf_wipe(&a->header[HEADER_CLIENT]);
	reset_flow(a);
}

void flow_fail(struct auth *a, const char *fmt, ...)
{
	char text[sizeof a->text];
	bool wanted = a->challenged;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	close_flow(a, false, text);
	if (!wanted) {
		/* A refresh ahead of time: the token still works, so it is tried again later. */
		a->refresh_failures++;
		grant_plan(a);
		flow_log(a, AUTH_LOG_WARN, "token not refreshed ahead of time: %s", text);
		if (a->phase == AUTH_WORKING)
			a->phase = a->rec.access ? AUTH_HAVE : AUTH_OFF;
		return;
	}
	a->phase = AUTH_GAVE_UP;
	memcpy(a->text, text, sizeof a->text);
	flow_show(a, AUTH_DO_FAILED, text);
}

void flow_succeed(struct auth *a)
{
	close_flow(a, true, "");
	a->phase = AUTH_HAVE;
	a->refresh_failures = 0;
	a->text[0] = '\0';
	grant_plan(a);
	flow_do(a, AUTH_DO_TOKEN);
}

void flow_sign_out(struct auth *a)
{
	close_flow(a, false, "");
	a->phase = AUTH_OFF;
	a->text[0] = '\0';
}

/* ---- facts ------------------------------------------------------------------------------------- */

static void set_time(struct auth *a, int64_t now, int64_t wall)
{
	a->now = now;
	a->wall = wall;
}

void flow_begin(struct auth *a)
{
	if (a->c.mode == AUTH_MODE_COMMAND || a->c.mode == AUTH_MODE_FILE) {
		value_begin(a);
		return;
	}
	flow_enter(a, STEP_LOCK);
	flow_do(a, AUTH_DO_LOCK);
}

void auth_start(struct auth *a, int64_t now, int64_t wall)
{
	set_time(a, now, wall);
	if (a->c.mode == AUTH_MODE_COMMAND || a->c.mode == AUTH_MODE_FILE) {
		a->phase = AUTH_WORKING;
		flow_begin(a);
		return;
	}
	flow_enter(a, STEP_LOAD);
	flow_load(a, NULL);
}

void auth_on_changed(struct auth *a, int64_t now)
{
	a->now = now;
	if (a->step == STEP_IDLE && a->c.mode == AUTH_MODE_FILE)
		flow_begin(a);
}

void auth_on_loaded(struct auth *a, const struct auth_record *r, int64_t now, int64_t wall)
{
	set_time(a, now, wall);
	if (a->step == STEP_RECALL) {
		discover_on_recalled(a, r);
		return;
	}
	if (a->step == STEP_REREAD) {
		grant_on_reread(a, r);
		return;
	}
	if (a->step != STEP_LOAD)
		return;
	a->step = STEP_IDLE;
	if (!r || grant_adopt(a, r) || !a->rec.access)
		return;
	a->phase = AUTH_HAVE;
	grant_plan(a);
	flow_do(a, AUTH_DO_TOKEN);
	if (a->refresh_at && a->rec.expires <= wall)
		a->phase = AUTH_WORKING; /* of no use, and renewed at once */
}

/* Does the record another process left behind end this flow already? */
static bool settled_by(const struct auth *a, const struct auth_record *r)
{
	struct span mine = a->rec.access ? secret_reveal(a->rec.access) : SPAN_NONE;

	if (!r || !r->access || (mine.p && secret_equal(r->access, mine)))
		return false;
	if (r->expires && r->expires <= a->wall + 5)
		return false;
	return !a->step_up || scope_covers(span_str(r->scope), span_str(a->challenge_scope));
}

void auth_on_locked(struct auth *a, const struct auth_record *r, int64_t now, int64_t wall)
{
	bool settled;

	set_time(a, now, wall);
	if (a->step != STEP_LOCK)
		return;
	a->locked = true;
	if (grant_forgotten(a, r) && !a->challenged) {
		flow_sign_out(a);
		return;
	}
	r = grant_kept(a, r);
	if (a->unsaved && !r)
		flow_do(a, AUTH_DO_SAVE);
	if (a->challenged)
		snprintf(a->text, sizeof a->text, "signing in is under way");
	settled = settled_by(a, r);
	if (r && grant_adopt(a, r)) {
		flow_fail(a, "no memory for signing in");
		return;
	}
	if (settled) {
		flow_log(a, AUTH_LOG_INFO, "another process has renewed the token already");
		flow_succeed(a);
	} else if (!circuit_lets_begin(a)) {
		return;
	} else if (!a->challenged) {
		grant_begin(a);
	} else {
		discover_begin(a);
	}
}

void auth_on_saved(struct auth *a, bool ok)
{
	a->unsaved = !ok;
}

void auth_on_lock_busy(struct auth *a, const char *url)
{
	if (a->step == STEP_LOCK && url && *url)
		snprintf(a->text, sizeof a->text, "another process on this machine is signing in; open %s in a browser", url);
	else if (a->step == STEP_LOCK)
		snprintf(a->text, sizeof a->text, "another process on this machine is signing in; its sign-in is waited for");
}

void auth_on_lock_vain(struct auth *a)
{
	a->vain = a->step == STEP_LOCK;
}

void auth_on_listening(struct auth *a, int port, const char *why, int64_t now)
{
	a->now = now;
	if (a->step == STEP_LISTEN)
		client_on_listening(a, port, why);
}

void auth_on_redirect(struct auth *a, struct span query, int64_t now, int64_t wall)
{
	set_time(a, now, wall);
	if (a->step == STEP_PERSON)
		person_on_redirect(a, query);
}

void auth_on_value(struct auth *a, struct span value, const char *why, int64_t now, int64_t wall)
{
	set_time(a, now, wall);
	if (a->step == STEP_VALUE)
		value_on_read(a, value, why);
}

static void refresh_ahead(struct auth *a)
{
	int64_t pause = circuit_pause(a, a->now);

	a->refresh_at = pause > 0 ? a->now + pause : 0;
	if (pause == 0)
		flow_begin(a);
}

/* When a person has waited long enough to hear where to sign in; 0: not now. */
static int64_t search_end(const struct auth *a)
{
	return a->step == STEP_RESOURCE || a->step == STEP_SERVER ? a->find_until : 0;
}

static void end_search(struct auth *a)
{
	char why[sizeof a->refusal.text + 4] = "";

	if (a->refusal.text[0])
		snprintf(why, sizeof why, ": %s", a->refusal.text);
	flow_fail(a, "the %s did not say in time (--hold-time) how to sign in%s",
	          a->step == STEP_RESOURCE ? "server" : "authorization server", why);
}

void auth_on_time(struct auth *a, int64_t now, int64_t wall)
{
	set_time(a, now, wall);
	if (a->overflow) {
		a->overflow = false;
		if (a->step != STEP_IDLE)
			flow_fail(a, "no memory for signing in");
	}
	if (a->person_until && now >= a->person_until) {
		if (a->step == STEP_PERSON)
			client_doubt(a);
		flow_fail(a, "nobody finished the sign-in in time; the next request starts a new one");
	}
	if (search_end(a) && now >= search_end(a))
		end_search(a);
	if (a->http_again_at && now >= a->http_again_at)
		flow_resend(a);
	if (a->poll_at && now >= a->poll_at) {
		a->poll_at = 0;
		grant_request(a, STEP_POLL);
	}
	if (a->refresh_at && now >= a->refresh_at && a->step == STEP_IDLE)
		refresh_ahead(a);
}

void auth_on_nonce(struct auth *a, struct span nonce)
{
	if (!nonce.p || nonce.n == 0 || span_eq(nonce, buf_span(&a->rs_nonce)))
		return;
	buf_reset(&a->rs_nonce);
	buf_add(&a->rs_nonce, nonce);
}

void auth_abort(struct auth *a, const char *why)
{
	if (a->step == STEP_IDLE)
		return;
	a->challenged = true;
	flow_fail(a, "%s", why);
}

int64_t auth_deadline(const struct auth *a)
{
	int64_t d = 0, t[5] = { a->person_until, a->http_again_at, a->poll_at, search_end(a), 0 };
	size_t i;

	if (a->overflow)
		return a->now ? a->now : 1;
	if (a->step == STEP_IDLE)
		t[4] = a->refresh_at;
	for (i = 0; i < sizeof t / sizeof *t; i++)
		if (t[i] && (!d || t[i] < d))
			d = t[i];
	return d;
}
