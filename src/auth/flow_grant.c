/* The token requests: code, refresh, device code, client credentials, ID token
 * for ID-JAG, assertion; and what becomes of their answers. A token request is
 * built anew each time it goes out, since proofs and assertions are used once.
 *
 * A refresh token is given up only when the server says invalid_grant and no
 * other process has put a newer one into the store, or that it does not know
 * the client it registered; trouble on the way or at the server is never taken
 * for a sign-out, in whatever words it is told. */
#include "auth/flow_parts.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

#define REFRESH_AHEAD_S 60
#define REFRESH_RETRY_MS 10000
#define REFRESH_MAX_RETRY_MS 300000
#define PLAN_MAX_MS ((int64_t)30 * 86400 * 1000)

static const char jwt_bearer[] = "urn:ietf:params:oauth:grant-type:jwt-bearer";
static const char device_code[] = "urn:ietf:params:oauth:grant-type:device_code";
static const char token_exchange[] = "urn:ietf:params:oauth:grant-type:token-exchange";
static const char id_jag[] = "urn:ietf:params:oauth:token-type:id-jag";
static const char id_token[] = "urn:ietf:params:oauth:token-type:id_token";

/* ---- keys and records ------------------------------------------------------------ */

static struct jwt_key *key_of(const struct auth_record *r)
{
	return r->dpop_alg >= 0 ? jwt_key_make((enum jwt_alg)r->dpop_alg, r->dpop_seed) : NULL;
}

static bool key_suits(const struct auth *a)
{
	unsigned bit = a->dpop && jwt_key_alg(a->dpop) == JWT_ES256 ? AUTH_ALG_ES256 : AUTH_ALG_EDDSA;

	return a->dpop && (a->as.dpop_algs == 0 || (a->as.dpop_algs & bit));
}

int grant_dpop_key(struct auth *a)
{
	bool es256 = jwt_can(JWT_ES256) && (a->as.dpop_algs == 0 || (a->as.dpop_algs & AUTH_ALG_ES256));

	if (key_suits(a))
		return 0;
	jwt_key_free(a->dpop);
	a->rec.dpop_alg = es256 ? JWT_ES256 : JWT_EDDSA;
	a->c.random(a->c.random_arg, a->rec.dpop_seed, sizeof a->rec.dpop_seed);
	a->dpop = key_of(&a->rec);
	return a->dpop ? 0 : -1;
}

int grant_adopt(struct auth *a, const struct auth_record *r)
{
	struct auth_record copy;
	bool same;

	if (auth_record_copy(&copy, r))
		return -1;
	a->unsaved = false;
	same = copy.access && a->rec.access && secret_equal(copy.access, secret_reveal(a->rec.access));
	auth_record_fini(&a->rec);
	a->rec = copy;
	sodium_memzero(&copy, sizeof copy);
	jwt_key_free(a->dpop);
	a->dpop = a->c.dpop ? key_of(&a->rec) : NULL;
	if (same)
		return 0;
	a->generation++;
	flow_secret(a, a->rec.access ? secret_reveal(a->rec.access) : SPAN_NONE);
	flow_secret(a, a->rec.refresh ? secret_reveal(a->rec.refresh) : SPAN_NONE);
	flow_secret(a, a->rec.client_secret ? secret_reveal(a->rec.client_secret) : SPAN_NONE);
	return 0;
}

/* ---- when to renew ------------------------------------------------------------------- */

static bool can_renew(const struct auth *a)
{
	switch (a->c.mode) {
	case AUTH_MODE_CODE:
	case AUTH_MODE_DEVICE:
		return a->rec.refresh && a->rec.token_endpoint && a->rec.client_id;
	case AUTH_MODE_FILE:
		return false; /* it is read again when it changes */
	default:
		return true;
	}
}

void grant_plan(struct auth *a)
{
	int64_t life = a->rec.expires - a->rec.obtained, ahead = REFRESH_AHEAD_S, in;

	a->refresh_at = 0;
	if (!a->rec.access || !a->rec.expires || !can_renew(a))
		return;
	if (life < 2 * REFRESH_AHEAD_S)
		ahead = life / 2;
	in = (a->rec.expires - a->wall - ahead) * 1000;
	if (a->refresh_failures > 0) {
		if (a->wall >= a->rec.expires)
			return; /* the next 401 decides */
		in = (int64_t)REFRESH_RETRY_MS << (a->refresh_failures < 6 ? a->refresh_failures - 1 : 5);
		in = in > REFRESH_MAX_RETRY_MS ? REFRESH_MAX_RETRY_MS : in;
	}
	in = in > PLAN_MAX_MS ? PLAN_MAX_MS : in;
	a->refresh_at = a->now + (in < 1 ? 1 : in);
}

/* True when the token is good for longer than a refresh would be ahead of its end. */
static bool still_good(const struct auth *a)
{
	int64_t life = a->rec.expires - a->rec.obtained;
	int64_t ahead = life < 2 * REFRESH_AHEAD_S ? life / 2 : REFRESH_AHEAD_S;

	return a->rec.access && a->rec.expires && a->rec.expires - a->wall > ahead;
}

/* ---- requests --------------------------------------------------------------------------- */

const char *grant_endpoint(const struct auth *a)
{
	if (a->c.token_endpoint && a->c.mode == AUTH_MODE_CLIENT)
		return a->c.token_endpoint;
	return a->as.token_endpoint ? a->as.token_endpoint : a->rec.token_endpoint;
}

static int add_proof(struct auth *a)
{
	unsigned char jti[16];
	struct span nonce = a->as_nonce.len ? buf_span(&a->as_nonce) : SPAN_NONE;

	if (!a->c.dpop)
		return 0;
	a->c.random(a->c.random_arg, jti, sizeof jti);
	return grant_dpop_key(a) || buf_puts(&a->header[HEADER_PROOF], "DPoP: ") ||
	       jwt_dpop_proof(a->dpop, "POST", buf_data(&a->url), SPAN_NONE, nonce, jti, a->wall,
	                      &a->header[HEADER_PROOF]) ? -1 : 0;
}

int grant_authenticate(struct auth *a)
{
	bool given = a->rec.client_source && strcmp(a->rec.client_source, "registered") != 0;
	const char *aud = a->as.issuer ? a->as.issuer : a->rec.issuer;
	struct token_client c = {
		.id = a->rec.client_id,
		.secret = given ? a->c.client_secret : a->rec.client_secret,
		.method = a->rec.client_auth ? a->rec.client_auth : "none",
		.key = a->c.key,
		.aud = aud ? aud : grant_endpoint(a),
		.wall = a->wall,
	};

	if (!c.id)
		return 0;
	if (strcmp(c.method, "private_key_jwt") == 0 && !c.key)
		c.method = "none";
	a->c.random(a->c.random_arg, c.jti, sizeof c.jti);
	return token_client_add(&c, &a->body, &a->header[HEADER_CLIENT]);
}

static int add_exchange(struct auth *a)
{
	const char *aud = a->as.issuer ? a->as.issuer : a->rec.issuer;

	if (form_adds(&a->body, "grant_type", token_exchange) || form_adds(&a->body, "requested_token_type", id_jag) ||
	    form_adds(&a->body, "audience", aud) || form_adds(&a->body, "resource", discover_resource(a)) ||
	    form_adds(&a->body, "scope", a->want_scope) || form_add(&a->body, "subject_token", secret_reveal(a->grant)) ||
	    form_adds(&a->body, "subject_token_type", id_token) || form_adds(&a->body, "client_id", a->c.idp_client_id))
		return -1;
	return a->c.idp_client_secret ? form_add(&a->body, "client_secret", secret_reveal(a->c.idp_client_secret)) : 0;
}

/* What is particular to each grant. */
static int add_grant(struct auth *a, enum step s)
{
	char redirect[512];
	struct buf *b = &a->body;

	switch (s) {
	case STEP_CODE:
		client_redirect_uri(a, redirect, sizeof redirect);
		return form_adds(b, "grant_type", "authorization_code") || form_add(b, "code", secret_reveal(a->grant)) ||
		       form_adds(b, "redirect_uri", redirect) || form_adds(b, "code_verifier", a->verifier) ? -1 : 0;
	case STEP_REFRESH:
		return form_adds(b, "grant_type", "refresh_token") ||
		       form_add(b, "refresh_token", secret_reveal(a->rec.refresh)) ? -1 : 0;
	case STEP_POLL:
		return form_adds(b, "grant_type", device_code) || form_add(b, "device_code", secret_reveal(a->grant)) ? -1 : 0;
	case STEP_CLIENT:
		return form_adds(b, "grant_type", "client_credentials") || form_adds(b, "scope", a->want_scope) ? -1 : 0;
	case STEP_ASSERTION:
		return form_adds(b, "grant_type", jwt_bearer) || form_add(b, "assertion", secret_reveal(a->grant)) ||
		       form_adds(b, "scope", a->want_scope) ? -1 : 0;
	default:
		return -1;
	}
}

void grant_request(struct auth *a, enum step s)
{
	const char *endpoint = s == STEP_EXCHANGE ? a->c.idp_token_endpoint : grant_endpoint(a);
	int rc;

	flow_enter(a, s);
	a->nonce_retried = false; /* each request may be told of a new one once */
	if (!endpoint) {
		flow_fail(a, "it is not known where the authorization server gives tokens");
		return;
	}
	rc = flow_post_begin(a, endpoint);
	if (rc == 0 && s == STEP_EXCHANGE)
		rc = add_exchange(a);
	else if (rc == 0)
		rc = add_grant(a, s) || form_adds(&a->body, "resource", discover_resource(a)) ||
		     grant_authenticate(a) || add_proof(a) ? -1 : 0;
	if (rc)
		flow_fail(a, "the token request could not be made");
	else
		flow_post(a, "application/x-www-form-urlencoded");
}

/* ---- which grant ---------------------------------------------------------------------------- */

static void begin_without_person(struct auth *a)
{
	if (client_identity(a) < 0 || client_scope(a)) {
		flow_fail(a, "no memory for signing in");
	} else if (a->c.mode == AUTH_MODE_CLIENT && !a->rec.client_id) {
		flow_fail(a, "client credentials need --client-id");
	} else if (a->c.mode == AUTH_MODE_CLIENT) {
		grant_request(a, STEP_CLIENT);
	} else {
		value_begin(a);
	}
}

void grant_begin(struct auth *a)
{
	bool person = a->c.mode == AUTH_MODE_CODE || a->c.mode == AUTH_MODE_DEVICE;
	bool refresh = person && a->rec.refresh && a->rec.client_id && !a->fresh;
	int64_t wait = 0;

	if (!a->challenged && still_good(a)) {
		flow_succeed(a); /* another process was faster */
		return;
	}
	if (refresh || !person)
		wait = bucket_take(&a->grants, a->now);
	if (wait > 0) {
		flow_fail(a, "too many tokens were asked for; the next one is possible in %d s", (int)(wait / 1000) + 1);
		return;
	}
	if (!person)
		begin_without_person(a);
	else if (refresh)
		grant_request(a, STEP_REFRESH);
	else if (a->challenged)
		client_begin(a);
	else
		flow_fail(a, "there is no refresh token");
}

/* ---- answers ---------------------------------------------------------------------------------- */

static void keep_nonce(struct auth *a, struct span nonce)
{
	if (!nonce.p || nonce.n == 0)
		return;
	buf_reset(&a->as_nonce);
	buf_add(&a->as_nonce, nonce);
}

static int take_where(struct auth *a)
{
	if (auth_set(&a->rec.url, span_str(a->c.mcp_url)) || auth_set(&a->rec.resource, span_str(discover_resource(a))))
		return -1;
	if (a->as.issuer && auth_set(&a->rec.issuer, span_str(a->as.issuer)))
		return -1;
	return auth_set(&a->rec.token_endpoint, span_str(grant_endpoint(a)));
}

static int take_scope(struct auth *a, const struct token_answer *t)
{
	if (a->step == STEP_REFRESH)
		return 0;
	return auth_set(&a->rec.scope, a->want_scope ? span_str(a->want_scope) : span_str(t->scope));
}

static int take_token(struct auth *a, const struct token_answer *t)
{
	const struct secret *access = a->c.use_id_token && t->id_token ? t->id_token : t->access;

	flow_secret(a, secret_reveal(access));
	flow_secret(a, t->refresh ? secret_reveal(t->refresh) : SPAN_NONE);
	if (take_where(a) || take_scope(a, t) || auth_set_secret(&a->rec.access, secret_reveal(access)) ||
	    auth_set(&a->rec.token_type, span_str(t->type)))
		return -1;
	if ((t->refresh || a->step != STEP_REFRESH) &&
	    auth_set_secret(&a->rec.refresh, t->refresh ? secret_reveal(t->refresh) : SPAN_NONE))
		return -1;
	a->rec.client_proven = 1;
	a->rec.obtained = a->wall;
	a->rec.expires = t->expires_in >= 0 ? a->wall + t->expires_in : 0;
	a->own_generation = ++a->generation;
	return 0;
}

/* The refresh token is no way out; a person may be one, if a token is needed. */
static void refresh_is_over(struct auth *a, const char *error)
{
	auth_set_secret(&a->rec.refresh, SPAN_NONE);
	flow_do(a, AUTH_DO_SAVE);
	if (a->challenged)
		client_begin(a);
	else
		flow_fail(a, "the authorization server refused to refresh the token (%s)", error);
}

static void on_token(struct auth *a, const struct token_answer *t)
{
	const char *done = a->step == STEP_REFRESH ? "token refreshed" : "signed in";

	if ((strcmp(t->type, "DPoP") == 0) != a->c.dpop) {
		flow_fail(a, a->c.dpop ? "the authorization server does not bind tokens to a key (DPoP), as --dpop demands" :
		                         "the authorization server gave a DPoP token that was not asked for");
		return;
	}
	if (a->c.use_id_token && !t->id_token && a->step == STEP_REFRESH) {
		refresh_is_over(a, "it gave no ID token"); /* a sign-in does */
		return;
	}
	if (a->c.use_id_token && !t->id_token) {
		flow_fail(a, "the authorization server gave no ID token, which --use-id-token needs");
		return;
	}
	if (take_token(a, t)) {
		flow_fail(a, "no memory for signing in");
		return;
	}
	flow_do(a, AUTH_DO_SAVE);
	if (t->expires_in < 0)
		flow_log(a, AUTH_LOG_INFO, "%s; how long the token is good for was not said", done);
	else
		flow_log(a, AUTH_LOG_INFO, "%s; the token is good for %" PRId64 " s", done, t->expires_in);
	flow_succeed(a);
}

/* The answer speaks of the server's state, or of this one proof, and not of the grant. */
static bool is_passing(const struct auth_answer *ans, const char *error)
{
	static const char *const words[] = { "temporarily_unavailable", "server_error", "slow_down", "use_dpop_nonce",
		"invalid_dpop_proof" };
	size_t i;

	if (ans->status == 429 || ans->status >= 500)
		return true;
	for (i = 0; i < sizeof words / sizeof *words; i++)
		if (strcmp(error, words[i]) == 0)
			return true;
	return false;
}

/* Not for invalid_grant. The refresh token is kept where it may be good another day. */
static void on_refresh_refused(struct auth *a, const struct auth_answer *ans, const char *error, bool forgotten)
{
	if (forgotten)
		refresh_is_over(a, error);
	else if (a->challenged && !is_passing(ans, error))
		client_begin(a);
	else
		flow_fail(a, "the authorization server did not refresh the token (HTTP %d, %s)", ans->status, error);
}

static void on_refused(struct auth *a, const struct auth_answer *ans, const struct token_answer *t)
{
	bool registered = a->rec.client_source && strcmp(a->rec.client_source, "registered") == 0, forgotten;

	flow_log(a, AUTH_LOG_INFO, "the token endpoint answered HTTP %d, %s (%s)", ans->status, t->error, t->description);
	if (strcmp(t->error, "use_dpop_nonce") == 0 && a->c.dpop && a->as_nonce.len > 0 && !a->nonce_retried) {
		grant_request(a, a->step);
		a->nonce_retried = true;
		return;
	}
	forgotten = registered && strcmp(t->error, "invalid_client") == 0 && !is_passing(ans, t->error);
	if (forgotten)
		client_forget(a);
	if (a->step == STEP_REFRESH && strcmp(t->error, "invalid_grant") == 0 && !is_passing(ans, t->error)) {
		flow_enter(a, STEP_REREAD);
		flow_load(a, a->rec.issuer);
	} else if (a->step == STEP_REFRESH) {
		on_refresh_refused(a, ans, t->error, forgotten);
	} else {
		if (forgotten)
			flow_do(a, AUTH_DO_SAVE);
		client_on_refused(a, t->error);
		flow_fail(a, "the authorization server refused to give a token (%s)", t->error);
	}
}

const struct auth_record *grant_kept(const struct auth *a, const struct auth_record *r)
{
	return a->unsaved && r && r->obtained <= a->rec.obtained ? NULL : r;
}

bool grant_forgotten(struct auth *a, const struct auth_record *r)
{
	struct auth_record none;

	if (r || a->unsaved || !(a->rec.access || a->rec.refresh))
		return false;
	auth_record_init(&none);
	if (grant_adopt(a, &none))
		return false;
	a->refresh_at = 0;
	flow_log(a, AUTH_LOG_WARN, "another process has signed out (logout); the tokens are not used any more");
	return true;
}

void grant_on_reread(struct auth *a, const struct auth_record *r)
{
	bool newer = grant_kept(a, r) && r->refresh && r->access &&
	             !(a->rec.refresh && secret_equal(r->refresh, secret_reveal(a->rec.refresh)));

	if (grant_forgotten(a, r)) {
		if (a->challenged)
			client_begin(a);
		else
			flow_sign_out(a);
		return;
	}
	if (!newer) {
		refresh_is_over(a, "invalid_grant");
		return;
	}
	if (grant_adopt(a, r))
		flow_fail(a, "no memory for signing in");
	else
		flow_succeed(a);
}

void grant_on_token(struct auth *a, const struct auth_answer *ans)
{
	struct token_answer t;
	struct err why = { "" };
	enum token_result r;
	bool unattended = a->step == STEP_CLIENT || a->step == STEP_ASSERTION; /* else somebody has consented there */

	keep_nonce(a, ans->dpop_nonce);
	if (!ans->ok) {
		if (a->step != STEP_POLL || !person_poll_again(a, ans, ""))
			flow_fail(a, "the authorization server can not be reached: %s", ans->detail ? ans->detail : "no answer");
		return;
	}
	r = token_answer_read(&t, ans->status, ans->body, &why);
	if (r == TOKEN_OK)
		on_token(a, &t);
	else if (unattended && ans->status / 100 != 2 && discover_was_vain(a, "/token", ans->status, t.error))
		flow_log(a, AUTH_LOG_DEBUG, "there is no token endpoint at the default place");
	else if (a->step == STEP_POLL && person_poll_again(a, ans, t.error))
		flow_log(a, AUTH_LOG_DEBUG, "the person has not finished yet");
	else if (r == TOKEN_REFUSED)
		on_refused(a, ans, &t);
	else if (a->step == STEP_REFRESH && a->challenged && (ans->status == 400 || ans->status == 401 || ans->status == 403))
		client_begin(a); /* refused, in words of its own */
	else
		flow_fail(a, "%s", why.text);
	token_answer_fini(&t);
}

void grant_on_exchange(struct auth *a, const struct auth_answer *ans)
{
	struct token_answer t;
	struct err why = { "" };
	enum token_result r;

	if (!ans->ok) {
		flow_fail(a, "the identity provider can not be reached: %s", ans->detail ? ans->detail : "no answer");
		return;
	}
	r = token_exchange_read(&t, ans->status, ans->body, &why);
	if (r == TOKEN_REFUSED)
		flow_fail(a, "the identity provider refused access to this server (%s)", t.error);
	else if (r == TOKEN_BAD || auth_set_secret(&a->grant, secret_reveal(t.issued)))
		flow_fail(a, "%s", why.text[0] ? why.text : "no memory for signing in");
	else {
		flow_secret(a, secret_reveal(a->grant));
		grant_request(a, STEP_ASSERTION);
	}
	token_answer_fini(&t);
}
