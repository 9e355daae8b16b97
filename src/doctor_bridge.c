/* `doctor` for these options: the headers that a bridge would send, a stored
 * token where there is one that is still good, and the step about signing in,
 * which reads metadata but never signs in. Nothing is written: a store whose
 * key does not exist yet is not opened, and no token is refreshed. */
#include "doctor_bridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "auth/challenge.h"
#include "auth/metadata.h"
#include "auth/store.h"
#include "auth_bridge_parts.h"
#include "base/log.h"
#include "io/loop.h"
#include "report/doctor.h"
#include "report/text.h"

struct visit {
	struct options *o;
	struct redactor *redactor;
	struct auth_record stored;
	bool has_stored, sends_stored;
};

/* ---- what is stored -------------------------------------------------------------------------------- */

static bool key_exists(const struct options *o, const struct auth_setup *s)
{
	char path[4096];
	struct stat st;

	if (o->auth.store_key_file || o->auth.store_key)
		return true;
	return s->config_dir && (size_t)snprintf(path, sizeof(path), "%s/store.key", s->config_dir) < sizeof(path) && stat(path, &st) == 0;
}

static void load_stored(struct visit *v)
{
	struct auth_setup s;
	struct err e = { "" };
	struct store *store = NULL;

	auth_record_init(&v->stored);
	if (auth_setup_init(&s, v->o, &e) == 0 && auth_setup_has_store(&s) && key_exists(v->o, &s))
		store = auth_setup_store(&s, v->o, &e);
	v->has_stored = store && store_load(store, NULL, &v->stored, &e) > 0;
	store_close(store);
	auth_setup_fini(&s);
}

static bool is_good(const struct auth_record *r)
{
	return r->access && (!r->expires || r->expires > loop_wall_now()) && (!r->token_type || !strcasecmp(r->token_type, "Bearer"));
}

/* What to say of it; the token itself is never shown. */
static void stored_text(const struct visit *v, char *out, size_t n)
{
	char until[TEXT_SHORT];
	int64_t left = v->stored.expires - loop_wall_now();

	if (!v->has_stored) {
		snprintf(out, n, "no stored sign-in");
	} else if (!v->stored.expires) {
		snprintf(out, n, "a stored sign-in without an end");
	} else if (left > 0) {
		text_duration(until, left * 1000);
		snprintf(out, n, "a stored sign-in, good for %s more", until);
	} else {
		text_duration(until, -left * 1000);
		snprintf(out, n, "a stored sign-in that ended %s ago%s", until, v->stored.refresh ? ", to be refreshed by a bridge" : "");
	}
}

/* ---- headers ------------------------------------------------------------------------------------------ */

static int add_secret_line(struct http_headers *list, const char *name, const char *scheme, const struct secret *value)
{
	struct buf line;
	int rc;

	buf_init(&line, (size_t)1 << 20);
	rc = buf_printf(&line, "%s: %s", name, scheme) || buf_add(&line, secret_reveal(value)) || http_headers_add(list, buf_span(&line)) ? -1 : 0;
	buf_wipe(&line);
	buf_fini(&line);
	return rc;
}

static struct http_headers *headers_new(struct visit *v, bool post)
{
	struct http_headers *list = http_headers_new();
	int bad;

	if (!list)
		return NULL;
	bad = post ? http_headers_add(list, SPAN_LIT("Content-Type: application/json")) |
		http_headers_add(list, SPAN_LIT("Accept: application/json, text/event-stream")) : http_headers_add(list, SPAN_LIT("Accept: text/event-stream"));
	for (size_t i = 0; i < v->o->headers.n && !bad; i++)
		bad = add_secret_line(list, v->o->headers.v[i].name, "", v->o->headers.v[i].value);
	if (!bad && v->sends_stored)
		bad = add_secret_line(list, "Authorization", "Bearer ", v->stored.access);
	if (bad) {
		http_headers_release(list);
		return NULL;
	}
	return list;
}

/* ---- the step about signing in --------------------------------------------------------------------------- */

static void say_flows(struct doctor *d, const struct as_meta *m, int64_t us)
{
	doctor_say(d, "sign-in", STEP_OK, us, DOCTOR_WELL, "%s offers%s%s%s%s%s", m->issuer,
		m->authorization_endpoint ? m->s256 ? " the browser (with PKCE)," : " the browser (PKCE is not mentioned)," : "",
		m->device_endpoint ? " device codes," : "", m->registration_endpoint ? " registration of clients," : "",
		m->cimd ? " client metadata documents," : "", m->token_endpoint ? " tokens" : " no tokens");
	if (!m->registration_endpoint && !m->cimd)
		doctor_hint(d, NULL, "clients must be registered by hand there: --client-id, --client-secret-file or --static-oauth-client-info");
}

/* An answer that is no document, as against one that says nothing of what there is. */
static bool is_absence(int status)
{
	return status >= 0 && status != 429 && status < 500;
}

/* guessed: nobody has named it, so that there may be none. */
static bool try_issuer(struct doctor *d, const char *issuer, bool guessed)
{
	struct url u;
	struct as_meta m;
	struct buf where, body;
	struct err e = { "" };
	int64_t us = 0;
	int status, rc;
	bool found = false, absent = true;

	memset(&u, 0, sizeof(u));
	memset(&m, 0, sizeof(m));
	buf_init(&where, 8192);
	buf_init(&body, METADATA_MAX);
	if (url_parse(&u, issuer, &e) != 0)
		goto out;
	for (int n = 0; !found && (buf_reset(&where), as_location(&u, n, &where)) == 1; n++) {
		buf_reset(&body);
		status = doctor_fetch(d, buf_data(&where), &body, &us, &e);
		rc = status == 200 ? as_meta_parse(&m, buf_span(&body), issuer, &e) : -1;
		found = rc == 0;
		absent = absent && rc == -1 && is_absence(status);
	}
	if (found)
		say_flows(d, &m, us);
out:
	if (!found && guessed && absent) {
		doctor_say(d, "sign-in", STEP_FAIL, -1, DOCTOR_AUTH, METADATA_NONE);
		doctor_hint(d, METADATA_NONE_CAUSE, METADATA_NONE_TRY "; mcp-holdfast login URL, where it signs in by the rules of 2025-03-26 all the same");
	} else if (!found) {
		doctor_say(d, "sign-in", STEP_FAIL, -1, DOCTOR_AUTH, "the authorization server %s publishes no metadata that can be used%s%s%s", issuer,
			e.text[0] ? " (" : "", e.text, e.text[0] ? ")" : "");
		doctor_hint(d, "it is down, or it does not follow RFC 8414", "--token-endpoint with --client-credentials, or a token by --header or --token-command");
	}
	as_meta_fini(&m);
	url_fini(&u);
	buf_fini(&where);
	buf_fini(&body);
	return found;
}

/* The resource's metadata at one address: true when it could be used. *absent
 * stays as it is where there is just none. */
static bool try_resource(struct doctor *d, const struct url *mcp, const char *at, struct prm *p, bool *absent, struct err *e)
{
	struct buf body;
	int64_t us = 0;
	int status, rc;

	buf_init(&body, METADATA_MAX);
	status = doctor_fetch(d, at, &body, &us, e);
	rc = status == 200 ? prm_parse(p, buf_span(&body), mcp, e) : -1;
	*absent = *absent && rc == -1 && is_absence(status);
	if (rc == 0)
		doctor_say(d, "metadata", STEP_OK, us, DOCTOR_WELL, "of the resource, at %s", at);
	buf_fini(&body);
	return rc == 0;
}

static void look_for_metadata(struct visit *v, struct doctor *d, struct span www_authenticate)
{
	const struct url *mcp = &v->o->url;
	struct challenge c;
	struct prm p;
	struct buf where;
	struct err e = { "" };
	bool found = false, absent = true;

	memset(&p, 0, sizeof(p));
	buf_init(&where, 8192);
	if (challenge_parse(&c, www_authenticate) == 0) {
		if (c.resource_metadata.n && buf_printf(&where, "%.*s", (int)c.resource_metadata.n, c.resource_metadata.p) == 0 &&
		    endpoint_check(NULL, buf_data(&where), mcp, v->o->allow_http, &e) == 0)
			found = try_resource(d, mcp, buf_data(&where), &p, &absent, &e);
		challenge_fini(&c);
	}
	for (int n = 0; !found && (buf_reset(&where), prm_location(mcp, n, &where)) == 1; n++)
		found = try_resource(d, mcp, buf_data(&where), &p, &absent, &e);
	if (!found)
		doctor_say(d, "metadata", STEP_WARN, -1, DOCTOR_AUTH, "the resource publishes none%s%s%s", e.text[0] ? " (" : "", e.text, e.text[0] ? ")" : "");
	try_issuer(d, found && p.issuer ? p.issuer : mcp->origin, !found && absent);
	prm_fini(&p);
	buf_fini(&where);
}

/* 403 is no question for credentials but where a challenge says so (RFC 6750, section 3.1). */
static bool wants_sign_in(int status, struct span www_authenticate)
{
	struct challenge c;
	bool asks = status != 403;

	if (!asks && challenge_parse(&c, www_authenticate) == 0) {
		asks = c.bearer || c.dpop;
		challenge_fini(&c);
	}
	return asks;
}

static void authorization(void *arg, struct doctor *d, int status, struct span www_authenticate)
{
	struct visit *v = arg;
	char text[160];

	stored_text(v, text, sizeof(text));
	if (!status) {
		doctor_say(d, "authorization", STEP_OK, -1, DOCTOR_WELL, v->o->core.user_authorization ? "the header you gave is accepted%s" :
			v->sends_stored ? "accepted: %s" : "not wanted; %s", v->o->core.user_authorization ? "" : text);
		return;
	}
	if (!v->o->core.user_authorization && !v->sends_stored && !wants_sign_in(status, www_authenticate)) {
		doctor_say(d, "authorization", STEP_FAIL, -1, DOCTOR_AUTH, "HTTP %d: refused, and no sign-in is asked for", status);
		doctor_hint(d, "a firewall or a list of allowed addresses stands before the server, or it wants a key", "does it work in another network? --header, where there is a key");
		return;
	}
	doctor_say(d, "authorization", STEP_FAIL, -1, DOCTOR_AUTH, v->o->core.user_authorization ? "HTTP %d: the header you gave is refused%s" :
		v->sends_stored ? "HTTP %d: the stored token is refused (%s)" : "HTTP %d: the server wants a sign-in; %s", status, v->o->core.user_authorization ? "" : text);
	if (v->o->core.user_authorization)
		doctor_hint(d, "the credential is wrong, has ended, or lacks a right", "get a new one; without the header a bridge would sign in by itself");
	else if (v->o->auth.token_command || v->o->auth.token_file || v->o->auth.client_credentials)
		doctor_hint(d, "a bridge would get a token as the options say; the doctor gets none", NULL);
	else
		doctor_hint(d, NULL, "mcp-holdfast login URL, or let the bridge open the browser when it is needed; --header, where the server takes a key");
	if (!v->o->core.user_authorization)
		look_for_metadata(v, d, www_authenticate);
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

int doctor_bridge_run(struct options *o, struct redactor *r)
{
	enum transport_choice t = o->core.transport;
	struct visit v = { .o = o, .redactor = r };
	struct doctor_config c = {
		.url = &o->url, .http = &o->http, .redactor = r, .max_message = o->core.max_message, .json = o->json, .wait_ms = o->wait_ms,
		.http_allowed = t != TRANSPORT_SSE, .sse_allowed = t != TRANSPORT_HTTP, .modern_allowed = !o->legacy_only,
		.authorization = authorization, .arg = &v,
	};
	int status = DOCTOR_BROKEN;

	o->http.parallel = 4;
	if (!o->core.user_authorization)
		load_stored(&v);
	if (v.has_stored && v.stored.access)
		redact_add(r, secret_reveal(v.stored.access));
	v.sends_stored = v.has_stored && is_good(&v.stored);
	c.has_authorization = o->core.user_authorization || v.sends_stored;
	c.post = headers_new(&v, true);
	c.get = headers_new(&v, false);
	if (c.post && c.get)
		status = doctor_run(&c);
	else
		fprintf(stderr, "mcp-holdfast: out of memory\n");
	http_headers_release(c.post);
	http_headers_release(c.get);
	auth_record_fini(&v.stored);
	return status;
}
