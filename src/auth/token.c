/* The token endpoint's language: form bodies with the client's authentication
 * out, JSON answers in. An answer is judged strictly where a mistake would
 * send a credential in the wrong form (token_type) or break the refresh clock
 * (expires_in), and leniently elsewhere. */
#include "auth/token.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "auth/metadata.h"
#include "base/url.h"
#include "wire/json.h"

#define TOKEN_STRING_MAX ((size_t)32 * 1024)

static const char id_jag[] = "urn:ietf:params:oauth:token-type:id-jag";

/* A secret member: 0 with *out set or left NULL (absent, or empty, as servers
 * write what they do not give); -1 not usable in a header. */
static int read_secret(struct span obj, const char *key, struct secret **out)
{
	struct span v = json_get(obj, key);
	struct buf b;
	size_t i;
	int rc = -1;

	if (!v.p || json_type(v) == 'n' || json_string_is(v, ""))
		return 0;
	buf_init(&b, TOKEN_STRING_MAX);
	if (json_type(v) == '"' && buf_reserve(&b, v.n) == 0 && json_string(v, &b) == 0 && b.len > 0) {
		for (i = 0; i < b.len; i++)
			if (buf_data(&b)[i] <= ' ' || buf_data(&b)[i] > '~')
				break;
		if (i == b.len && (*out = secret_new(buf_data(&b), b.len)))
			rc = 0;
	}
	buf_wipe(&b);
	buf_fini(&b);
	return rc;
}

/* Printable ASCII of a string member, cut to fit; "" when there is none. */
static void read_words(struct span obj, const char *key, char *out, size_t size)
{
	struct span v = json_get(obj, key);
	struct buf b;
	size_t i, n = 0;

	buf_init(&b, TOKEN_STRING_MAX);
	if (json_type(v) == '"' && json_string(v, &b) == 0)
		for (i = 0; i < b.len && n + 1 < size; i++)
			if (buf_data(&b)[i] >= ' ' && buf_data(&b)[i] <= '~')
				out[n++] = buf_data(&b)[i];
	out[n] = '\0';
	buf_fini(&b);
}

static size_t count_digits(struct span s)
{
	size_t n = 0;

	while (n < s.n && s.p[n] >= '0' && s.p[n] <= '9')
		n++;
	return n;
}

static int read_expiry(struct span obj, int64_t *out)
{
	struct span v = json_get(obj, "expires_in");
	bool quoted = json_type(v) == '"';
	size_t whole;
	int64_t n;

	*out = -1;
	if (!v.p || json_type(v) == 'n' || json_string_is(v, ""))
		return 0;
	if (quoted) /* seen in the wild: "3600" */
		v = span_make(v.p + 1, v.n - 2);
	whole = count_digits(v);
	if (whole > 0 && whole < v.n && v.p[whole] == '.' &&
	    whole + 1 + count_digits(span_make(v.p + whole + 1, v.n - whole - 1)) == v.n)
		v.n = whole; /* what is left of a time that a clock was subtracted from: 3599.87 */
	if (quoted && whole != v.n)
		return -1;
	if (!json_int(v, &n)) {
		if (v.n < 12 || memchr(v.p, '-', v.n) || v.p[0] < '1' || v.p[0] > '9')
			return -1;
		n = TOKEN_MAX_EXPIRES; /* beyond 64 bits: huge, and a number all the same */
	}
	if (n < 0)
		return -1;
	if (n > 0) /* zero is how some say that it does not expire, and would be of no use to the others */
		*out = n > TOKEN_MAX_EXPIRES ? TOKEN_MAX_EXPIRES : n;
	return 0;
}

/* The scope granted, as text; -1 no memory. */
static int read_scope(struct span obj, char **out)
{
	struct span v = json_get(obj, "scope");
	struct buf b;
	int rc = 0;

	buf_init(&b, TOKEN_STRING_MAX);
	if (json_type(v) == '"' && json_string(v, &b) == 0 && b.len > 0 && !memchr(buf_data(&b), 0, b.len))
		rc = auth_set(out, buf_span(&b));
	buf_fini(&b);
	return rc;
}

static int read_type(struct token_answer *t, struct span obj, struct err *e)
{
	char word[16];

	read_words(obj, "token_type", word, sizeof word);
	if (strcasecmp(word, "bearer") == 0)
		strcpy(t->type, "Bearer");
	else if (strcasecmp(word, "dpop") == 0)
		strcpy(t->type, "DPoP");
	else if (word[0] == '\0')
		return err_set(e, "the token answer does not say what type the token has");
	else
		return err_set(e, "the token answer gives a token of a type that is not known here");
	return 0;
}

/* The part that every answer shares: 0 when it is a success to look into. */
static enum token_result begin(struct token_answer *t, int status, struct span *body, struct err *e)
{
	struct json_scan scan;

	memset(t, 0, sizeof *t);
	t->expires_in = -1;
	*body = span_without_mark(*body);
	if (body->n > TOKEN_MAX_ANSWER || json_scan(body->p, body->n, &scan) != JSON_OK || scan.type != '{') {
		err_set(e, "the authorization server answered HTTP %d without a JSON object", status);
		return TOKEN_BAD;
	}
	*body = scan.text;
	read_words(*body, "error", t->error, sizeof t->error);
	read_words(*body, "error_description", t->description, sizeof t->description);
	if (t->error[0])
		return TOKEN_REFUSED;
	if (status < 200 || status > 299) {
		err_set(e, "the authorization server answered HTTP %d without an error code", status);
		return TOKEN_BAD;
	}
	return TOKEN_OK;
}

static enum token_result bad(struct token_answer *t)
{
	token_answer_fini(t);
	return TOKEN_BAD;
}

enum token_result token_answer_read(struct token_answer *t, int status, struct span body, struct err *e)
{
	enum token_result rc = begin(t, status, &body, e);

	if (rc != TOKEN_OK)
		return rc;
	if (read_secret(body, "access_token", &t->access) || !t->access) {
		err_set(e, "the token answer has no usable access token");
		return bad(t);
	}
	if (read_type(t, body, e))
		return bad(t);
	if (read_expiry(body, &t->expires_in)) {
		err_set(e, "the token answer's expires_in is no number of seconds");
		return bad(t);
	}
	if (read_secret(body, "refresh_token", &t->refresh) || read_secret(body, "id_token", &t->id_token) ||
	    read_scope(body, &t->scope)) {
		err_set(e, "the token answer has an unusable refresh token, ID token or scope");
		return bad(t);
	}
	return TOKEN_OK;
}

enum token_result token_exchange_read(struct token_answer *t, int status, struct span body, struct err *e)
{
	enum token_result rc = begin(t, status, &body, e);

	if (rc != TOKEN_OK)
		return rc;
	if (!json_string_is(json_get(body, "issued_token_type"), id_jag) ||
	    read_secret(body, "access_token", &t->issued) || !t->issued) {
		err_set(e, "the identity provider's answer holds no ID-JAG");
		return bad(t);
	}
	return TOKEN_OK;
}

void token_answer_fini(struct token_answer *t)
{
	secret_free(t->access);
	secret_free(t->refresh);
	secret_free(t->id_token);
	secret_free(t->issued);
	free(t->scope);
	memset(t, 0, sizeof *t);
	t->expires_in = -1;
}

int form_add(struct buf *out, const char *name, struct span value)
{
	if (!value.p)
		return 0;
	if ((out->len > 0 && buf_puts(out, "&")) || buf_puts(out, name) || buf_puts(out, "="))
		return -1;
	return url_escape(out, value);
}

int form_adds(struct buf *out, const char *name, const char *value)
{
	return form_add(out, name, span_str(value));
}

const char *token_auth_choose(const char *given, unsigned listed, bool has_secret, bool has_key)
{
	if (given && strcmp(given, "private_key_jwt") == 0 && has_key)
		return "private_key_jwt";
	if (given && strcmp(given, "none") == 0)
		return "none";
	if (has_secret && given && strcmp(given, "client_secret_post") == 0)
		return "client_secret_post";
	if (has_secret && given && strcmp(given, "client_secret_basic") == 0)
		return "client_secret_basic";
	if (has_key)
		return "private_key_jwt";
	if (!has_secret)
		return "none";
	if (listed == 0 || (listed & AUTH_METHOD_BASIC))
		return "client_secret_basic";
	if (listed & AUTH_METHOD_POST)
		return "client_secret_post";
	return (listed & AUTH_METHOD_NONE) ? "none" : "client_secret_basic";
}

static int add_basic(const struct token_client *c, struct buf *header)
{
	struct span secret = c->secret ? secret_reveal(c->secret) : SPAN_LIT("");
	struct buf pair;
	size_t n;
	int rc = -1;

	/* Both halves are form-encoded before they are joined (RFC 6749, 2.3.1). */
	buf_init(&pair, TOKEN_STRING_MAX);
	if (buf_reserve(&pair, 3 * (strlen(c->id) + secret.n) + 1) ||
	    url_escape(&pair, span_str(c->id)) || buf_puts(&pair, ":") || url_escape(&pair, secret))
		goto out;
	n = sodium_base64_ENCODED_LEN(pair.len, sodium_base64_VARIANT_ORIGINAL);
	if (buf_puts(header, "Authorization: Basic ") || buf_reserve(header, n))
		goto out;
	sodium_bin2base64(buf_tail(header), n, (const unsigned char *)buf_data(&pair), pair.len,
	                  sodium_base64_VARIANT_ORIGINAL);
	buf_grew(header, n - 1);
	rc = 0;
out:
	buf_wipe(&pair);
	buf_fini(&pair);
	return rc;
}

static int add_assertion(const struct token_client *c, struct buf *body)
{
	struct buf jwt;
	int rc = -1;

	buf_init(&jwt, TOKEN_STRING_MAX);
	if (form_adds(body, "client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer") == 0 &&
	    jwt_client_assertion(c->key, c->id, c->aud, c->jti, c->wall, &jwt) == 0)
		rc = form_add(body, "client_assertion", buf_span(&jwt));
	buf_wipe(&jwt);
	buf_fini(&jwt);
	return rc;
}

int token_client_add(const struct token_client *c, struct buf *body, struct buf *header)
{
	if (strcmp(c->method, "client_secret_basic") == 0)
		return add_basic(c, header);
	if (form_adds(body, "client_id", c->id))
		return -1;
	if (strcmp(c->method, "client_secret_post") == 0)
		return form_add(body, "client_secret", c->secret ? secret_reveal(c->secret) : SPAN_LIT(""));
	if (strcmp(c->method, "private_key_jwt") == 0)
		return add_assertion(c, body);
	return 0;
}

/* Takes the next blank-separated word; false at the end. */
static bool next_word(struct span *rest, struct span *word)
{
	while (rest->n > 0 && *rest->p == ' ') {
		rest->p++;
		rest->n--;
	}
	*word = span_make(rest->p, 0);
	while (rest->n > 0 && *rest->p != ' ') {
		rest->p++;
		rest->n--;
		word->n++;
	}
	return word->n > 0;
}

static bool has_word(struct span set, struct span what)
{
	struct span word;

	while (next_word(&set, &word))
		if (span_eq(word, what))
			return true;
	return false;
}

bool scope_has(struct span set, const char *scope)
{
	return has_word(set, span_str(scope));
}

bool scope_covers(struct span have, struct span want)
{
	struct span word;

	while (next_word(&want, &word))
		if (!has_word(have, word))
			return false;
	return true;
}

int scope_add(struct buf *set, struct span more)
{
	struct span word;

	while (next_word(&more, &word)) {
		if (has_word(buf_span(set), word))
			continue;
		if ((set->len > 0 && buf_puts(set, " ")) || buf_add(set, word))
			return -1;
	}
	return 0;
}
