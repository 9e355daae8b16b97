/* Who issues tokens for this server? The protected resource metadata says so
 * (RFC 9728), read again at every challenge; then the authorization server's
 * own metadata says how (RFC 8414, OpenID Connect Discovery). Where a server
 * publishes nothing, the rules of 2025-03-26 apply: metadata at its origin,
 * else /authorize, /token and /register there.
 *
 * A candidate that is absent or no metadata leads to the next one. Network
 * trouble does too, but then the absence of all is never concluded from it. A
 * document for another resource ends the flow: following it would give a token
 * for this server to somebody else. */
#include "auth/flow_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REDIRECTS 3
#define LOCATION_MAX ((size_t)8192)

static void try_resource(struct auth *a);
static void try_server(struct auth *a);

const char *discover_issuer(const struct auth *a)
{
	return a->prm.issuer ? a->prm.issuer : a->mcp.origin;
}

const char *discover_resource(const struct auth *a)
{
	if (a->c.no_resource)
		return NULL;
	if (a->c.resource)
		return a->c.resource;
	if (a->prm.resource)
		return a->prm.resource;
	return a->rec.resource; /* a refresh ahead of time: as published then */
}

/* Follows a redirect of a metadata document: true when a new exchange runs, or
 * the flow has ended over it. */
static bool follow(struct auth *a, const struct auth_answer *ans)
{
	struct url base, to;
	bool redirect = ans->ok && ans->status >= 301 && ans->status <= 308 && ans->status != 304 && ans->location.p;
	bool going = false;

	if (!redirect || a->redirects >= MAX_REDIRECTS || url_parse(&base, buf_data(&a->url), NULL))
		return false;
	if (url_resolve(&to, &base, ans->location, NULL) == 0) {
		if (strcmp(base.scheme, to.scheme) == 0 &&
		    endpoint_check(NULL, to.text, &a->mcp, a->c.allow_http, NULL) == 0) {
			a->redirects++;
			flow_get(a, to.text);
			going = a->http_running || a->step == STEP_IDLE;
		}
		url_fini(&to);
	}
	url_fini(&base);
	return going;
}

/* Why this candidate gave nothing; remembered when it was no plain absence. */
static void note_absence(struct auth *a, const struct auth_answer *ans)
{
	if (!ans->ok || ans->status == 429 || ans->status >= 500) {
		a->trouble = true;
		if (ans->ok)
			err_set(&a->refusal, "it answered HTTP %d", ans->status);
		else
			err_set(&a->refusal, "%s", ans->detail ? ans->detail : "no answer");
	}
}

/* ---- the resource -------------------------------------------------------------- */

void discover_begin(struct auth *a)
{
	prm_fini(&a->prm);
	as_meta_fini(&a->as);
	a->candidate = a->hinted ? -1 : 0;
	a->trouble = a->guessed = false;
	a->find_until = a->find_ms > 0 ? a->now + a->find_ms : 0;
	a->refusal.text[0] = '\0';
	if (a->c.token_endpoint && a->c.mode == AUTH_MODE_CLIENT) {
		grant_begin(a); /* the user has said all there is to find out */
		return;
	}
	flow_enter(a, STEP_RESOURCE);
	try_resource(a);
}

void discover_server(struct auth *a)
{
	if (endpoint_check(NULL, discover_issuer(a), &a->mcp, a->c.allow_http, &a->refusal)) {
		flow_fail(a, "the server names an authorization server that is not trusted: %s", a->refusal.text);
		return;
	}
	a->candidate = 0;
	a->trouble = false;
	a->refusal.text[0] = '\0';
	flow_enter(a, STEP_SERVER);
	try_server(a);
}

static void try_resource(struct auth *a)
{
	struct buf where;
	int rc = 1;

	buf_init(&where, LOCATION_MAX);
	a->redirects = 0;
	if (a->candidate == -1) {
		if (endpoint_check(NULL, a->hinted, &a->mcp, a->c.allow_http, &a->refusal))
			a->candidate = 0;
		else if (buf_puts(&where, a->hinted) || buf_append(&where, "", 1))
			rc = -1;
	}
	if (a->candidate >= 0)
		rc = prm_location(&a->mcp, a->candidate, &where);
	if (rc > 0)
		flow_get(a, buf_data(&where));
	else if (rc < 0)
		flow_fail(a, "no memory for signing in");
	else if (a->trouble)
		flow_fail(a, "the server asks for a sign-in, but its protected resource metadata can not be read: %s",
		          a->refusal.text);
	else {
		a->guessed = true;
		discover_server(a);
	}
	buf_fini(&where);
}

void discover_on_resource(struct auth *a, const struct auth_answer *ans)
{
	struct err why = { "" };
	int rc = -1;

	if (follow(a, ans))
		return;
	if (ans->ok && ans->status == 200)
		rc = prm_parse(&a->prm, ans->body, &a->mcp, &why);
	if (rc == 0) {
		discover_server(a);
		return;
	}
	if (rc == -2) {
		flow_fail(a, "%s; no sign-in was started", why.text);
		return;
	}
	note_absence(a, ans);
	a->candidate++;
	try_resource(a);
}

/* ---- the authorization server ------------------------------------------------------ */

static void use_server(struct auth *a);

static void try_server(struct auth *a)
{
	struct buf where;
	struct url issuer;
	int rc = -1;

	buf_init(&where, LOCATION_MAX);
	a->redirects = 0;
	if (url_parse(&issuer, discover_issuer(a), NULL) == 0) {
		rc = as_location(&issuer, a->candidate, &where);
		url_fini(&issuer);
	}
	if (rc > 0)
		flow_get(a, buf_data(&where));
	else if (rc < 0)
		flow_fail(a, "no memory for signing in");
	else if (a->trouble && circuit_holds(a))
		a->candidate = NO_CANDIDATE;
	else if (a->refusal.text[0])
		flow_fail(a, "the authorization server's metadata can not be used: %s", a->refusal.text);
	else if (!a->guessed)
		flow_fail(a, "the authorization server publishes no metadata, so it is not known how to sign in there");
	else if (as_meta_default(&a->as, a->mcp.origin))
		flow_fail(a, "no memory for signing in");
	else
		use_server(a);
	buf_fini(&where);
}

/* Without a published issuer, the origin may spell itself with a last slash;
 * both spellings lead to the document that was read. */
static int read_server(struct auth *a, struct span body)
{
	char with_slash[512];
	struct err why = { "" };
	int rc = as_meta_parse(&a->as, body, discover_issuer(a), &why);

	if (rc == 0)
		return 0;
	if (!a->prm.issuer && snprintf(with_slash, sizeof with_slash, "%s/", a->mcp.origin) < (int)sizeof with_slash &&
	    as_meta_parse(&a->as, body, with_slash, NULL) == 0)
		return 0;
	/* HTML or the like is an absence; a document that lies is worth telling. */
	if (rc == -2)
		a->refusal = why;
	return -1;
}

void discover_on_server(struct auth *a, const struct auth_answer *ans)
{
	if (follow(a, ans))
		return;
	if (ans->ok && ans->status == 200 && read_server(a, ans->body) == 0) {
		use_server(a);
		return;
	}
	if (!ans->ok || ans->status != 200)
		note_absence(a, ans);
	a->candidate++;
	try_server(a);
}

/* Every endpoint is judged before the first is used. */
static int check_endpoints(struct auth *a)
{
	const char *all[] = { a->as.token_endpoint, a->as.authorization_endpoint, a->as.registration_endpoint,
	                      a->as.device_endpoint };
	size_t i;

	for (i = 0; i < sizeof all / sizeof *all; i++)
		if (all[i] && endpoint_check(NULL, all[i], &a->mcp, a->c.allow_http, &a->refusal))
			return -1;
	return 0;
}

static void use_server(struct auth *a)
{
	if (check_endpoints(a)) {
		flow_fail(a, "the authorization server's metadata can not be used: %s", a->refusal.text);
		return;
	}
	if (a->c.mode == AUTH_MODE_CODE && !a->as.s256) {
		flow_fail(a, "the authorization server does not say that it supports PKCE with S256, "
		             "without which signing in is not safe; nothing was sent to it");
		return;
	}
	if (!a->rec.issuer || strcmp(a->rec.issuer, a->as.issuer) == 0) {
		grant_begin(a);
		return;
	}
	if (a->c.client_id && a->rec.client_source && strcmp(a->rec.client_source, "given") == 0) {
		flow_fail(a, "the server has changed its authorization server, and the client id given is one of the former; "
		             "check --client-id, then use `mcp-holdfast logout`");
		return;
	}
	flow_log(a, AUTH_LOG_WARN, "the server names another authorization server now; signing in there anew");
	flow_enter(a, STEP_RECALL);
	flow_load(a, a->as.issuer);
}

/* Nothing is there that speaks as an authorization server does (RFC 6749, 5.2; RFC
 * 7591, 3.2.2): no code, one in prose, or that of a guard before all paths. */
static bool is_no_endpoint(int status, const char *error)
{
	static const char *const guards[] = { "invalid_token", "insufficient_scope", "unauthorized", "forbidden", "not_found" };
	size_t i;

	for (i = 0; i < sizeof guards / sizeof *guards; i++)
		if (strcmp(error, guards[i]) == 0)
			return true;
	return !error[0] || status == 404 || status == 405 || error[strspn(error, "abcdefghijklmnopqrstuvwxyz_")];
}

bool discover_was_vain(struct auth *a, const char *path, int status, const char *error)
{
	static const char *const others[] = {
		[AUTH_MODE_CODE] = "; where there is an authorization server all the same, --client-id",
		[AUTH_MODE_DEVICE] = "; where there is an authorization server all the same, --client-id",
		[AUTH_MODE_CLIENT] = "; where there is an authorization server all the same, --token-endpoint",
		[AUTH_MODE_FILE] = NULL,
	};
	const char *other = others[a->c.mode];

	if (!a->as.assumed || !is_no_endpoint(status, error))
		return false;
	flow_fail(a, METADATA_NONE " (and has no %s: HTTP %d); " METADATA_NONE_CAUSE ": " METADATA_NONE_TRY "%s",
	          path, status, other ? other : "");
	return true;
}

void discover_on_recalled(struct auth *a, const struct auth_record *r)
{
	struct auth_record none;

	/* Nothing of the former server goes to the new one (client registration,
	 * "Authorization Server Binding"), not even when it is all we have. */
	auth_record_init(&none);
	if (grant_adopt(a, r && r->issuer && strcmp(r->issuer, a->as.issuer) == 0 ? r : &none)) {
		flow_fail(a, "no memory for signing in");
		return;
	}
	grant_begin(a);
}
