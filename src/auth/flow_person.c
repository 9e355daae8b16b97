/* A person consents: in a browser that comes back to our listener (RFC 6749,
 * 4.1, with PKCE, RFC 7636, and the issuer check of RFC 9207), or elsewhere
 * with a code typed in (RFC 8628). */
#include "auth/flow_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "wire/json.h"

#define PERSON_URL_MAX ((size_t)16 * 1024)
#define PERSON_VALUE_MAX ((size_t)8192)
#define DEVICE_MAX_SECONDS 1800
#define DEVICE_INTERVAL_SECONDS 5
#define DEVICE_MAX_INTERVAL_SECONDS 60

/* ---- out to the browser ---------------------------------------------------------- */

static int add_challenge(const struct auth *a, struct buf *url)
{
	unsigned char hash[crypto_hash_sha256_BYTES];
	struct buf text;
	int rc = -1;

	buf_init(&text, 64);
	crypto_hash_sha256(hash, (const unsigned char *)a->verifier, strlen(a->verifier));
	if (jwt_base64url(&text, hash, sizeof hash) == 0)
		rc = form_add(url, "code_challenge", buf_span(&text)) || form_adds(url, "code_challenge_method", "S256") ? -1 : 0;
	buf_fini(&text);
	return rc;
}

static int add_key(struct auth *a, struct buf *url)
{
	struct buf text;
	int rc = -1;

	if (!a->c.dpop)
		return 0;
	buf_init(&text, 64);
	if (grant_dpop_key(a) == 0 && jwt_thumbprint(a->dpop, &text) == 0)
		rc = form_add(url, "dpop_jkt", buf_span(&text));
	buf_fini(&text);
	return rc;
}

static bool is_given(struct span params, const char *name)
{
	size_t n = strlen(name), i = 0;

	for (; i + n < params.n; i++)
		if ((i == 0 || params.p[i - 1] == '&') && memcmp(params.p + i, name, n) == 0 && params.p[i + n] == '=')
			return true;
	return false;
}

static int write_query(struct auth *a, struct buf *q)
{
	char redirect[512];
	struct span extra = a->c.authorize_params;

	client_redirect_uri(a, redirect, sizeof redirect);
	if (form_adds(q, "response_type", "code") || form_adds(q, "client_id", a->rec.client_id) ||
	    form_adds(q, "redirect_uri", redirect) || form_adds(q, "state", a->state) || add_challenge(a, q) ||
	    form_adds(q, "scope", a->want_scope) || form_adds(q, "resource", discover_resource(a)) || add_key(a, q))
		return -1;
	/* OpenID providers give a refresh token for offline_access only when consent is asked for (Core, 11). */
	if (a->want_scope && scope_has(span_str(a->want_scope), "offline_access") && !is_given(extra, "prompt") &&
	    form_adds(q, "prompt", "consent"))
		return -1;
	return extra.n > 0 ? (buf_puts(q, "&") || buf_add(q, extra) ? -1 : 0) : 0;
}

/* A URL has no bytes beyond ASCII (RFC 3986; 3987, 3.1), and those of a server's
 * metadata may be what a terminal obeys. */
static int put_ascii(struct buf *url, const char *text)
{
	for (; *text; text++)
		if (*text > ' ' && *text <= '~' ? buf_append(url, text, 1) : buf_printf(url, "%%%02X", (unsigned char)*text))
			return -1;
	return 0;
}

void person_browse(struct auth *a)
{
	const char *endpoint = a->as.authorization_endpoint;
	struct buf url, query;

	buf_init(&url, PERSON_URL_MAX);
	buf_init(&query, PERSON_URL_MAX);
	flow_enter(a, STEP_PERSON);
	if (write_query(a, &query) || put_ascii(&url, endpoint) || buf_puts(&url, strchr(endpoint, '?') ? "&" : "?") ||
	    buf_add(&url, buf_span(&query)) || buf_append(&url, "", 1)) {
		flow_fail(a, "the address for signing in could not be made");
	} else {
		a->person_until = a->now + a->c.timeout_ms;
		snprintf(a->text, sizeof a->text, "a person has to sign in with a browser");
		flow_show(a, AUTH_DO_BROWSE, buf_data(&url));
	}
	buf_fini(&query);
	buf_fini(&url);
}

/* ---- back from the browser ------------------------------------------------------------ */

/* The decoded value of a query parameter into out, NUL-terminated: 1; 0 absent;
 * -1 given twice, malformed or too long. */
static int parameter(struct span query, const char *name, struct buf *out)
{
	size_t n = strlen(name), i = 0, end;
	int found = 0;

	for (; i < query.n; i = end + 1) {
		for (end = i; end < query.n && query.p[end] != '&'; end++)
			;
		if (end - i <= n || memcmp(query.p + i, name, n) != 0 || query.p[i + n] != '=')
			continue;
		if (found++ || url_unescape(out, span_make(query.p + i + n + 1, end - i - n - 1), true) ||
		    (out->len > 0 && memchr(buf_data(out), 0, out->len)) || buf_append(out, "", 1))
			return -1;
	}
	return found;
}

static bool state_matches(const struct auth *a, struct buf *value)
{
	size_t n = strlen(a->state);

	return value->len == n + 1 && sodium_memcmp(buf_data(value), a->state, n) == 0;
}

/* The table of "Authorization Response Validation": 0 to go on. */
static int check_issuer(const struct auth *a, struct span query)
{
	struct buf iss;
	int rc, found;

	buf_init(&iss, PERSON_VALUE_MAX);
	found = parameter(query, "iss", &iss);
	if (found == 1)
		rc = strcmp(buf_data(&iss), a->as.issuer) == 0 ? 0 : -1;
	else
		rc = found == 0 && !a->as.iss_parameter ? 0 : -1;
	buf_fini(&iss);
	return rc;
}

static void on_refusal(struct auth *a, struct buf *error)
{
	char word[64];
	size_t i, n = 0;

	for (i = 0; i < error->len && n + 1 < sizeof word; i++)
		if (buf_data(error)[i] > ' ' && buf_data(error)[i] <= '~')
			word[n++] = buf_data(error)[i];
	word[n] = '\0';
	client_on_refused(a, word);
	if (strcmp(word, "access_denied") == 0)
		flow_fail(a, "the sign-in was declined in the browser (access_denied)");
	else
		flow_fail(a, "the authorization server refused the sign-in (%s)", word);
}

void person_on_redirect(struct auth *a, struct span query)
{
	struct buf state, code, error;
	int has_code, has_error;

	buf_init(&state, PERSON_VALUE_MAX);
	buf_init(&code, PERSON_VALUE_MAX);
	buf_init(&error, PERSON_VALUE_MAX);
	if (parameter(query, "state", &state) != 1 || !state_matches(a, &state)) {
		flow_log(a, AUTH_LOG_WARN, "a redirect with another state was ignored");
		goto out;
	}
	a->person_until = 0;
	has_code = parameter(query, "code", &code);
	has_error = parameter(query, "error", &error);
	if (check_issuer(a, query)) {
		/* Nothing else of such an answer is to be believed, or shown. */
		flow_fail(a, "the answer to the sign-in does not come from the authorization server that was asked (iss)");
	} else if (has_error) {
		on_refusal(a, &error);
	} else if (has_code != 1 || code.len <= 1) {
		flow_fail(a, "the answer to the sign-in holds no usable code");
	} else if (auth_set_secret(&a->grant, span_make(buf_data(&code), code.len - 1))) {
		flow_fail(a, "no memory for signing in");
	} else {
		flow_secret(a, secret_reveal(a->grant));
		grant_request(a, STEP_CODE);
	}
out:
	buf_wipe(&code);
	buf_fini(&code);
	buf_fini(&error);
	buf_fini(&state);
}

/* ---- without a browser here --------------------------------------------------------------- */

void person_device(struct auth *a)
{
	if (!a->as.device_endpoint) {
		flow_fail(a, "the authorization server offers no sign-in by device code; try without --device-code");
		return;
	}
	flow_enter(a, STEP_DEVICE);
	if (flow_post_begin(a, a->as.device_endpoint) || form_adds(&a->body, "scope", a->want_scope) ||
	    form_adds(&a->body, "resource", discover_resource(a)) || grant_authenticate(a))
		flow_fail(a, "no memory for signing in");
	else
		flow_post(a, "application/x-www-form-urlencoded");
}

/* A printable member without blanks at its ends, NUL-terminated; false when it is none. */
static bool plain_member(struct span obj, const char *key, struct buf *out)
{
	size_t i;

	buf_reset(out);
	if (json_string(json_get(obj, key), out) || out->len == 0)
		return false;
	for (i = 0; i < out->len; i++)
		if (buf_data(out)[i] < ' ' || buf_data(out)[i] > '~')
			return false;
	return buf_append(out, "", 1) == 0;
}

static int64_t seconds_member(struct span obj, const char *key, int64_t otherwise, int64_t most)
{
	int64_t n;

	if (!json_int(json_get(obj, key), &n) || n < 1)
		return otherwise;
	return n > most ? most : n;
}

/* Tells the person, and starts to ask; -1 when the answer is of no use. */
static int show_device(struct auth *a, struct span body)
{
	struct buf device, user, uri;
	struct err why = { "" };
	int rc = -1;

	buf_init(&device, PERSON_VALUE_MAX);
	buf_init(&user, 64);
	buf_init(&uri, 1024);
	if (plain_member(body, "device_code", &device) && plain_member(body, "user_code", &user) &&
	    /* the second is its name in the drafts of RFC 8628, which Google has kept */
	    (plain_member(body, "verification_uri", &uri) || plain_member(body, "verification_url", &uri)) &&
	    endpoint_check(NULL, buf_data(&uri), &a->mcp, a->c.allow_http, &why) == 0 &&
	    auth_set_secret(&a->grant, span_make(buf_data(&device), device.len - 1)) == 0) {
		flow_secret(a, secret_reveal(a->grant));
		snprintf(a->text, sizeof a->text, "to sign in, open %.300s in any browser and enter the code %s",
		         buf_data(&uri), buf_data(&user));
		rc = 0;
	}
	buf_wipe(&device);
	buf_fini(&device);
	buf_fini(&user);
	buf_fini(&uri);
	return rc;
}

static void on_device_refused(struct auth *a, const struct auth_answer *ans)
{
	struct token_answer t;
	bool says_why = token_answer_read(&t, ans->status, ans->body, NULL) == TOKEN_REFUSED;

	if (says_why)
		client_on_refused(a, t.error);
	flow_fail(a, "the authorization server gave no device code (%s)", says_why ? t.error : "it refused");
	token_answer_fini(&t);
}

void person_on_device(struct auth *a, const struct auth_answer *ans)
{
	struct span body = span_without_mark(ans->body);
	struct json_scan scan;

	if (!ans->ok) {
		flow_fail(a, "the authorization server gave no device code (%s)", ans->detail ? ans->detail : "no answer");
		return;
	}
	if (ans->status != 200) {
		on_device_refused(a, ans);
		return;
	}
	if (json_scan(body.p, body.n, &scan) != JSON_OK || scan.type != '{' || show_device(a, scan.text)) {
		flow_fail(a, "the authorization server's device code answer can not be used");
		return;
	}
	a->poll_ms = 1000 * seconds_member(scan.text, "interval", DEVICE_INTERVAL_SECONDS, DEVICE_MAX_INTERVAL_SECONDS);
	a->person_until = a->now + 1000 * seconds_member(scan.text, "expires_in", DEVICE_MAX_SECONDS, DEVICE_MAX_SECONDS);
	a->poll_at = a->now + a->poll_ms;
	flow_enter(a, STEP_POLL);
	flow_show(a, AUTH_DO_SHOW, a->text);
}

bool person_poll_again(struct auth *a, const struct auth_answer *ans, const char *error)
{
	if (!ans->ok || ans->status == 429 || ans->status >= 500)
		a->poll_ms *= 2; /* RFC 8628, 3.5 */
	else if (strcmp(error, "slow_down") == 0)
		a->poll_ms += 5000;
	else if (strcmp(error, "authorization_pending") != 0)
		return false;
	if (a->poll_ms > 1000 * DEVICE_MAX_INTERVAL_SECONDS)
		a->poll_ms = 1000 * DEVICE_MAX_INTERVAL_SECONDS;
	a->poll_at = a->now + a->poll_ms;
	return true;
}
