/* Who are we to the authorization server? In the specified order: the client
 * id the user gave; the address of a client metadata document, where the
 * server takes one; a registration made before with this very server; a new
 * dynamic registration (RFC 7591). Also here: which scopes to ask for. */
#include "auth/flow_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json.h"

#define REGISTRATION_MAX ((size_t)32 * 1024)
#define SCOPE_MAX ((size_t)16 * 1024)

void client_redirect_uri(const struct auth *a, char *out, size_t n)
{
	snprintf(out, n, "http://%s:%d%s", a->c.redirect_host, a->port, a->c.redirect_path);
}

/* ---- scopes (Scope Selection Strategy, Step-Up Authorization Flow) ------------------ */

int client_scope(struct auth *a)
{
	const char *chosen = a->c.scope ? a->c.scope : a->challenge_scope ? a->challenge_scope : a->prm.scopes;
	struct buf set;
	int rc;

	buf_init(&set, SCOPE_MAX);
	rc = scope_add(&set, span_str(a->rec.scope)) || scope_add(&set, span_str(chosen)) ||
	     (a->step_up && scope_add(&set, span_str(a->challenge_scope))) ? -1 : 0;
	/* A refresh token is worth a scope, but not the server's own default set,
	 * which a request for that scope alone would give away. */
	if (rc == 0 && a->as.offline_access && set.len > 0 && !scope_has(buf_span(&set), "offline_access") &&
	    (a->c.mode == AUTH_MODE_CODE || a->c.mode == AUTH_MODE_DEVICE))
		rc = buf_puts(&set, " offline_access");
	if (rc == 0)
		rc = auth_set(&a->want_scope, set.len > 0 ? buf_span(&set) : SPAN_NONE);
	buf_fini(&set);
	return rc;
}

void client_forget(struct auth *a)
{
	auth_set(&a->rec.client_id, SPAN_NONE);
	auth_set(&a->rec.client_source, SPAN_NONE);
	auth_set_secret(&a->rec.client_secret, SPAN_NONE);
	auth_set(&a->rec.redirect_uri, SPAN_NONE);
	a->rec.redirect_port = a->rec.client_proven = 0;
}

void client_doubt(struct auth *a)
{
	bool registered = a->rec.client_source && strcmp(a->rec.client_source, "registered") == 0;

	if (!registered || !a->rec.client_proven || a->rec.refresh)
		return;
	client_forget(a);
	flow_do(a, AUTH_DO_SAVE);
}

void client_on_refused(struct auth *a, const char *error)
{
	if (strcmp(error, "invalid_client") == 0 || strcmp(error, "unauthorized_client") == 0)
		client_doubt(a);
	if (strcmp(error, "invalid_scope") != 0 || a->step_up || !a->rec.scope)
		return;
	auth_set(&a->rec.scope, SPAN_NONE);
	flow_do(a, AUTH_DO_SAVE);
}

/* ---- identity --------------------------------------------------------------------------- */

static int be(struct auth *a, const char *id, const struct secret *secret, const char *method, const char *source)
{
	return auth_set(&a->rec.client_id, span_str(id)) ||
	       auth_set_secret(&a->rec.client_secret, secret ? secret_reveal(secret) : SPAN_NONE) ||
	       auth_set(&a->rec.client_auth, span_str(method)) ||
	       auth_set(&a->rec.client_source, span_str(source)) ? -1 : 0;
}

/* The method for a client id that was given. A renewal ahead of time reads no
 * metadata: then what was chosen with it stays. */
static const char *method_given(const struct auth *a)
{
	const struct auth_record *r = &a->rec;
	const char *given = a->c.client_auth;

	if (!given && !a->as.issuer && r->client_auth && strcmp(r->client_auth, "none") != 0 &&
	    r->client_id && strcmp(r->client_id, a->c.client_id) == 0)
		given = r->client_auth;
	return token_auth_choose(given, a->as.methods, a->c.client_secret != NULL, a->c.key != NULL);
}

int client_identity(struct auth *a)
{
	bool registered = a->rec.client_source && strcmp(a->rec.client_source, "registered") == 0;

	if (a->c.client_id)
		return be(a, a->c.client_id, a->c.client_secret, method_given(a), "given") ? -1 : 1;
	if (a->c.client_metadata_url && a->as.cimd)
		return be(a, a->c.client_metadata_url, NULL,
		          token_auth_choose(a->c.key ? "private_key_jwt" : "none", a->as.methods, false, a->c.key != NULL),
		          "metadata-url") ? -1 : 1;
	if (registered && a->rec.client_id && (!a->rec.client_expires || a->rec.client_expires > a->wall + 60))
		return 1;
	return 0;
}

/* The address that a redirect comes back to is registered as a whole; sign-ins
 * of former versions have kept its port alone. */
static bool registration_fits(const struct auth *a)
{
	char uri[512];

	if (a->c.mode == AUTH_MODE_DEVICE || !a->rec.client_source || strcmp(a->rec.client_source, "registered") != 0)
		return true;
	client_redirect_uri(a, uri, sizeof uri);
	return a->rec.redirect_port == a->port && (!a->rec.redirect_uri || strcmp(a->rec.redirect_uri, uri) == 0);
}

static void register_client(struct auth *a);

static void go_on(struct auth *a)
{
	int have = client_identity(a);

	if (have < 0)
		flow_fail(a, "no memory for signing in");
	else if (have == 0 || !registration_fits(a))
		register_client(a);
	else if (a->c.mode == AUTH_MODE_DEVICE)
		person_device(a);
	else
		person_browse(a);
}

void client_begin(struct auth *a)
{
	int64_t wait;

	if (a->vain) {
		flow_fail(a, "the sign-in that another process on this machine had begun was not finished");
		return;
	}
	wait = bucket_take(&a->people, a->now);
	if (wait > 0) {
		flow_fail(a, "too many sign-ins were started; the next one is possible in %d s", (int)(wait / 1000) + 1);
		return;
	}
	if (client_scope(a)) {
		flow_fail(a, "no memory for signing in");
		return;
	}
	if (a->c.mode == AUTH_MODE_DEVICE) {
		go_on(a);
		return;
	}
	if (!a->as.authorization_endpoint) {
		flow_fail(a, "the authorization server has no authorization endpoint; --device-code or --client-credentials may work");
		return;
	}
	flow_random_text(a, a->state);
	flow_random_text(a, a->verifier);
	flow_secret(a, span_str(a->state));
	flow_secret(a, span_str(a->verifier));
	/* The port that is registered is tried first: registrations are not free. */
	a->port = a->c.redirect_port ? a->c.redirect_port : a->rec.redirect_port;
	flow_enter(a, STEP_LISTEN);
	flow_listen(a, a->port);
}

void client_on_listening(struct auth *a, int port, const char *why)
{
	if (port == 0 && a->port != 0 && !a->c.redirect_port) {
		a->port = 0;
		flow_listen(a, 0);
		return;
	}
	if (port == 0) {
		flow_fail(a, "no listener for the sign-in: %s", why ? why : "unknown");
		return;
	}
	a->listening = true;
	a->port = port;
	go_on(a);
}

/* ---- dynamic registration ------------------------------------------------------------------ */

/* Public unless the server wants otherwise: a secret on a person's machine is none. */
static const char *method_to_ask(const struct auth *a)
{
	if (a->as.methods == 0 || (a->as.methods & AUTH_METHOD_NONE))
		return "none";
	return a->as.methods & AUTH_METHOD_BASIC ? "client_secret_basic" : "client_secret_post";
}

/* One member of ours, unless the user's own metadata has it. */
static int put_member(struct auth *a, const char *key, const char *json)
{
	if (json_get(a->c.registration, key).p)
		return 0;
	return buf_printf(&a->body, "%s\"%s\":%s", a->body.len > 1 ? "," : "", key, json);
}

static int put_text(struct auth *a, const char *key, const char *text)
{
	struct buf quoted;
	int rc = -1;

	if (!text)
		return 0;
	buf_init(&quoted, REGISTRATION_MAX);
	if (json_quote(&quoted, span_str(text)) == 0 && buf_append(&quoted, "", 1) == 0)
		rc = put_member(a, key, buf_data(&quoted));
	buf_fini(&quoted);
	return rc;
}

/* The user's members, apart from the redirect URIs, which are ours to know. */
static int put_users(struct auth *a)
{
	struct json_iter it;
	struct span key, value;

	for (json_iter(&it, a->c.registration); json_next(&it, &key, &value);) {
		if (json_key_is(key, "redirect_uris"))
			continue;
		if (buf_puts(&a->body, a->body.len > 1 ? ",\"" : "\"") || buf_add(&a->body, key) ||
		    buf_puts(&a->body, "\":") || buf_add(&a->body, value))
			return -1;
	}
	return 0;
}

static int write_registration(struct auth *a)
{
	char uri[512];
	bool device = a->c.mode == AUTH_MODE_DEVICE;

	client_redirect_uri(a, uri, sizeof uri);
	if (buf_puts(&a->body, "{"))
		return -1;
	if (!device && (buf_puts(&a->body, "\"redirect_uris\":[") || json_quote(&a->body, span_str(uri)) ||
	                buf_puts(&a->body, "]")))
		return -1;
	return put_text(a, "client_name", a->c.client_name) ||
	       put_member(a, "grant_types", device ?
	                  "[\"urn:ietf:params:oauth:grant-type:device_code\",\"refresh_token\"]" :
	                  "[\"authorization_code\",\"refresh_token\"]") ||
	       put_member(a, "response_types", device ? "[]" : "[\"code\"]") ||
	       put_text(a, "token_endpoint_auth_method", method_to_ask(a)) ||
	       put_text(a, "application_type", "native") || put_text(a, "scope", a->want_scope) ||
	       put_users(a) || buf_puts(&a->body, "}") ? -1 : 0;
}

static void register_client(struct auth *a)
{
	if (!a->as.registration_endpoint) {
		flow_fail(a, "the authorization server registers no clients by itself; register one there "
		             "and give its id with --client-id%s",
		          a->as.cimd ? ", or the address of a client metadata document with --client-metadata-url" : "");
		return;
	}
	flow_enter(a, STEP_REGISTER);
	if (flow_post_begin(a, a->as.registration_endpoint) || write_registration(a))
		flow_fail(a, "no memory for signing in");
	else
		flow_post(a, "application/json");
}

/* client_id and what comes with it (RFC 7591, 3.2.1). */
static int read_registration(struct auth *a, struct span body)
{
	struct json_scan scan;
	struct buf id, secret, method;
	struct secret *s = NULL;
	char uri[512];
	int64_t expires = 0;
	int rc = -1;

	body = span_without_mark(body);
	if (json_scan(body.p, body.n, &scan) != JSON_OK || scan.type != '{')
		return -1;
	body = scan.text;
	buf_init(&id, REGISTRATION_MAX);
	buf_init(&secret, REGISTRATION_MAX);
	buf_init(&method, 64);
	if (json_string(json_get(body, "client_id"), &id) || id.len == 0 || memchr(buf_data(&id), 0, id.len) ||
	    buf_append(&id, "", 1) || buf_reserve(&secret, body.n))
		goto out;
	if (json_string(json_get(body, "client_secret"), &secret) == 0 && secret.len > 0) {
		flow_secret(a, buf_span(&secret));
		s = secret_new(buf_data(&secret), secret.len);
	}
	if (json_string(json_get(body, "token_endpoint_auth_method"), &method))
		buf_reset(&method);
	if (buf_append(&method, "", 1))
		goto out;
	json_int(json_get(body, "client_secret_expires_at"), &expires);
	rc = be(a, buf_data(&id), s, token_auth_choose(method.len > 1 ? buf_data(&method) : NULL, a->as.methods, s != NULL, false),
	        "registered");
	a->rec.client_expires = s && expires > 0 ? expires : 0;
	a->rec.redirect_port = a->port;
	a->rec.client_proven = 0;
	client_redirect_uri(a, uri, sizeof uri);
	if (auth_set(&a->rec.redirect_uri, a->c.mode == AUTH_MODE_DEVICE ? SPAN_NONE : span_str(uri)))
		rc = -1;
out:
	secret_free(s);
	buf_wipe(&secret);
	buf_fini(&secret);
	buf_fini(&id);
	buf_fini(&method);
	return rc;
}

void client_on_registered(struct auth *a, const struct auth_answer *ans)
{
	struct token_answer t;

	if (!ans->ok) {
		flow_fail(a, "registering with the authorization server failed: %s", ans->detail ? ans->detail : "no answer");
		return;
	}
	if (ans->status != 200 && ans->status != 201) {
		t.error[0] = '\0';
		token_answer_read(&t, ans->status, ans->body, NULL);
		if (!discover_was_vain(a, "/register", ans->status, t.error))
			flow_fail(a, "the authorization server refused to register this client (HTTP %d%s%s); "
			             "register one there and give its id with --client-id",
			          ans->status, t.error[0] ? ", " : "", t.error);
		token_answer_fini(&t);
		return;
	}
	if (read_registration(a, ans->body)) {
		if (!discover_was_vain(a, "/register", ans->status, ""))
			flow_fail(a, "the authorization server's registration answer has no client id");
		return;
	}
	auth_set(&a->rec.issuer, span_str(a->as.issuer));
	flow_do(a, AUTH_DO_SAVE);
	if (a->c.mode == AUTH_MODE_DEVICE)
		person_device(a);
	else
		person_browse(a);
}
