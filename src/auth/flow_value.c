/* Values that come from outside the network: a token that a file holds or a
 * helper prints, an ID token, a workload's assertion. The file or helper is
 * asked each time, since others renew what it holds. */
#include "auth/flow_parts.h"

#include <string.h>

#include "wire/json.h"

void value_begin(struct auth *a)
{
	flow_enter(a, STEP_VALUE);
	if (a->c.mode == AUTH_MODE_COMMAND)
		flow_do(a, AUTH_DO_COMMAND);
	else if (a->c.mode == AUTH_MODE_FILE)
		flow_read(a, AUTH_FILE_TOKEN);
	else
		flow_read(a, a->c.mode == AUTH_MODE_ENTERPRISE ? AUTH_FILE_ID_TOKEN : AUTH_FILE_ASSERTION);
}

/* `exp` of a JWT, 0 when the token is none or says nothing. */
static int64_t jwt_expiry(struct span token)
{
	const char *first = memchr(token.p, '.', token.n), *second;
	struct json_scan scan;
	struct buf claims;
	int64_t exp = 0;

	second = first ? memchr(first + 1, '.', (size_t)(token.p + token.n - first - 1)) : NULL;
	if (!second)
		return 0;
	buf_init(&claims, TOKEN_MAX_ANSWER);
	if (jwt_base64url_decode(&claims, span_make(first + 1, (size_t)(second - first - 1))) == 0 &&
	    json_scan(buf_data(&claims), claims.len, &scan) == JSON_OK && scan.type == '{' &&
	    (!json_int(json_get(scan.text, "exp"), &exp) || exp < 0))
		exp = 0;
	buf_wipe(&claims);
	buf_fini(&claims);
	return exp;
}

static struct span trim(struct span s)
{
	while (s.n > 0 && (unsigned char)s.p[s.n - 1] <= ' ')
		s.n--;
	for (; s.n > 0 && (unsigned char)*s.p <= ' '; s.n--)
		s.p++;
	if (s.n > 7 && memcmp(s.p, "Bearer ", 7) == 0)
		s = span_make(s.p + 7, s.n - 7);
	return s;
}

static bool is_header_text(struct span s)
{
	size_t i;

	for (i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] > '~')
			return false;
	return s.n > 0;
}

/* The value is the token itself. */
static void take_value(struct auth *a, struct span value)
{
	bool same = a->rec.access && secret_equal(a->rec.access, value);

	if (same && a->challenged) {
		flow_fail(a, "the server refuses the token, and %s still gives the same one",
		          a->c.mode == AUTH_MODE_COMMAND ? "the token command" : "the token file");
		return;
	}
	if (auth_set_secret(&a->rec.access, value) || auth_set(&a->rec.token_type, SPAN_LIT("Bearer"))) {
		flow_fail(a, "no memory for signing in");
		return;
	}
	a->rec.obtained = a->wall;
	a->rec.expires = jwt_expiry(value);
	if (a->rec.expires && a->rec.expires <= a->wall)
		a->rec.expires = 0; /* it will be judged by the server */
	if (!same)
		a->generation++;
	flow_succeed(a);
}

void value_on_read(struct auth *a, struct span value, const char *why)
{
	value = value.p ? trim(value) : value;
	if (!value.p || !is_header_text(value)) {
		flow_fail(a, "%s", why ? why : "what should be a token is empty or holds blanks");
		return;
	}
	flow_secret(a, value);
	if (a->c.mode == AUTH_MODE_COMMAND || a->c.mode == AUTH_MODE_FILE) {
		take_value(a, value);
		return;
	}
	if (auth_set_secret(&a->grant, value))
		flow_fail(a, "no memory for signing in");
	else
		grant_request(a, a->c.mode == AUTH_MODE_ENTERPRISE ? STEP_EXCHANGE : STEP_ASSERTION);
}
