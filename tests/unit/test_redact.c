/* The redactor: registered values in every disguise and in pieces, patterns,
 * and the ordinary text that has to stay readable. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/redact.h"

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const unsigned char key[32] = "an arbitrary key of thirty-two b";

static struct redactor *with(const char *const *values, size_t n)
{
	struct redactor *r = redact_new(key);

	assert_non_null(r);
	for (size_t i = 0; i < n; i++)
		assert_int_equal(redact_add(r, span_str(values[i])), 0);
	return r;
}

/* The clean text, NUL-terminated, to be freed. */
static char *clean(const struct redactor *r, const char *text)
{
	struct buf b;
	char *s;

	buf_init(&b, 1 << 20);
	assert_int_equal(redact_text(r, span_str(text), &b), 0);
	assert_int_equal(buf_append(&b, "", 1), 0);
	s = strdup(buf_data(&b));
	buf_fini(&b);
	return s;
}

static void assert_clean(const struct redactor *r, const char *text, const char *want)
{
	char *s = clean(r, text);

	assert_string_equal(s, want);
	free(s);
}

static const char tricky[] = "p+ss/w\"rd\\ \xc3\xa4?=&k\n-secret";

static void a_registered_value_is_hidden_in_every_encoding(void **state)
{
	const char *values[] = { tricky };
	struct redactor *r = with(values, 1);
	char fp[7], mark[32];
	static const char *const forms[] = {
		tricky,
		"p%2Bss%2Fw%22rd%5C%20%C3%A4%3F%3D%26k%0A-secret",
		"p%2bss%2fw%22rd%5c%20%c3%a4%3f%3d%26k%0a-secret",
		"p+ss/w\\\"rd\\\\ \xc3\xa4?=&k\\n-secret",
		"p+ss\\/w\\\"rd\\\\ \xc3\xa4?=&k\\n-secret",
	};

	(void)state;
	redact_fingerprint(r, span_str(tricky), fp);
	snprintf(mark, sizeof(mark), "<[redacted:%s]>", fp);
	for (size_t i = 0; i < COUNT(forms); i++) {
		char text[256];

		snprintf(text, sizeof(text), "<%s>", forms[i]);
		assert_clean(r, text, mark);
	}
	redact_free(r);
}

static void a_registered_value_is_hidden_whatever_is_escaped_in_it(void **state)
{
	static const char *const values[] = { "3q2+7wE/9aB4+cD5e=", "p\xc3\xa4ss!wd\xf0\x9f\x94\x91(x)y" };
	struct redactor *r = with(values, COUNT(values));
	static const struct { int value; const char *text; } forms[] = {
		{ 0, "3q2\\u002B7wE/9aB4\\u002bcD5e\\u003D" },                /* .NET */
		{ 0, "3q2\\\\u002B7wE\\/9aB4\\\\u002BcD5e=" },                /* in a string of a JSON text */
		{ 0, "3q2%2b7wE%2F9aB4+cD5e%3d" },                            /* some, in either case */
		{ 0, "3q2%252B7wE%252F9aB4%252BcD5e%253D" },
		{ 0, "%33%71%32%2b%37%77%45%2f%39%61%42%34%2b%63%44%35%65%3d" },
		{ 1, "p\\u00e4ss!wd\\ud83d\\udd11(x)y" },                     /* Python */
		{ 1, "p%C3%A4ss!wd%F0%9F%94%91(x)y" },                        /* encodeURIComponent() */
		{ 1, "p\xc3\xa4ss\\u0021wd\xf0\x9f\x94\x91\\u0028x)y" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(forms); i++) {
		char fp[7], mark[64], text[256];

		redact_fingerprint(r, span_str(values[forms[i].value]), fp);
		snprintf(mark, sizeof(mark), "100%% \\u of <[redacted:%s]>, \\u00e4%%4", fp);
		snprintf(text, sizeof(text), "100%% \\u of <%s>, \\u00e4%%4", forms[i].text);
		assert_clean(r, text, mark);
	}
	redact_free(r);
}

static void a_registered_value_is_hidden_in_base64_at_any_alignment(void **state)
{
	static const int variants[] = {
		sodium_base64_VARIANT_ORIGINAL, sodium_base64_VARIANT_ORIGINAL_NO_PADDING,
		sodium_base64_VARIANT_URLSAFE, sodium_base64_VARIANT_URLSAFE_NO_PADDING,
	};
	static const char *const values[] = { tricky, "hunter2", "AbCdEfGhIjKlMnOpQrStUvWx" };

	(void)state;
	for (size_t v = 0; v < COUNT(variants); v++)
		for (size_t w = 0; w < COUNT(values); w++)
			for (size_t before = 0; before < 4; before++) {
				struct redactor *r = with(&values[w], 1);
				char plain[128], text[256], *s;
				size_t whole, shown = 0;

				snprintf(plain, sizeof(plain), "%.*s%s", (int)before, "xyz:", values[w]);
				sodium_bin2base64(text, sizeof(text), (unsigned char *)plain, strlen(plain), variants[v]);
				whole = strlen(text);
				s = clean(r, text);
				assert_non_null(strstr(s, "[redacted:"));
				/* What stays is the foreign bytes in front and one cut group. */
				shown = strlen(s) - strlen("[redacted:xxxxxx]");
				assert_true(shown <= before * 2 + 5 && shown < whole);
				free(s);
				redact_free(r);
			}
}

static void a_piece_of_a_registered_value_is_hidden(void **state)
{
	const char *value = "zq81-JvKe-77aX-pL0m-Rw3t-9uYb";
	struct redactor *r = with(&value, 1);
	size_t n = strlen(value);

	(void)state;
	for (size_t from = 0; from < n; from++)
		for (size_t to = from + 1; to <= n; to++) {
			char text[80], *s;

			snprintf(text, sizeof(text), "cut (%.*s) off", (int)(to - from), value + from);
			s = clean(r, text);
			if (to - from >= REDACT_RUN)
				assert_non_null(strstr(s, "cut ([redacted:"));
			else
				assert_string_equal(s, text);
			free(s);
		}
	redact_free(r);
}

static void a_short_value_is_hidden_only_whole(void **state)
{
	const char *values[] = { "hunter2", "abc" };
	struct redactor *r = with(values, 2);
	char *s;

	(void)state;
	assert_clean(r, "hunter hunte abc", "hunter hunte abc");
	s = clean(r, "is hunter2 it, xhunter2y?");
	assert_null(strstr(s, "hunter2"));
	assert_int_equal(strncmp(s, "is [redacted:", 13), 0);
	free(s);
	redact_free(r);
}

static void overlapping_values_leave_nothing_between(void **state)
{
	const char *values[] = { "abcdefghijklmnop", "mnopqrstuvwxyz12", "12-the-short" };
	struct redactor *r = with(values, 3);
	char *s = clean(r, "[abcdefghijklmnopqrstuvwxyz12-the-short]");

	(void)state;
	assert_int_equal(strlen(s), strlen("[[redacted:xxxxxx]]"));
	free(s);
	redact_free(r);
}

static void a_fingerprint_names_the_value_and_depends_on_the_key(void **state)
{
	unsigned char other[32] = { 1 };
	struct redactor *a = redact_new(key), *b = redact_new(other);
	char x[7], y[7];

	(void)state;
	redact_fingerprint(a, SPAN_LIT("one value"), x);
	redact_fingerprint(a, SPAN_LIT("one value"), y);
	assert_string_equal(x, y);
	redact_fingerprint(a, SPAN_LIT("other value"), y);
	assert_string_not_equal(x, y);
	redact_fingerprint(b, SPAN_LIT("one value"), y);
	assert_string_not_equal(x, y);
	redact_fingerprint(NULL, SPAN_LIT("one value"), y);
	assert_string_equal(y, "000000");
	redact_free(a);
	redact_free(b);
}

/* % stands for a hidden stretch in what is wanted. */
static void assert_pattern(const char *text, const char *want)
{
	char *s = clean(NULL, text), *out = s, *in = s;

	while (*in) {
		if (strncmp(in, "[redacted:", 10) == 0) {
			*out++ = '%';
			in += strlen("[redacted:xxxxxx]");
			continue;
		}
		*out++ = *in++;
	}
	*out = '\0';
	assert_string_equal(s, want);
	free(s);
}

#define JWT "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.SflKxwRJSMeKKF2QT4fwpM-eJf36POk6yJV_adQssw5c"

static void unregistered_secrets_are_hidden_by_their_looks(void **state)
{
	static const struct { const char *text, *want; } cases[] = {
		{ "> Authorization: Bearer mF_9.B5f-4.1JqM\r\n> Host: x", "> Authorization: Bearer %\r\n> Host: x" },
		{ "sent Bearer 2YotnFZFEjr1zCsicMWpAA twice", "sent Bearer % twice" },
		{ "authorization: basic dXNlcjpwYXNz", "authorization: basic %" },
		{ "Basic dXNlcjpwYXNzd29yZA==, then", "Basic %, then" },
		{ "got Bearer%20mF9xB5f41JqM.", "got Bearer%20%" },
		{ "Authorization: opaque-thing", "Authorization: %" },
		{ "Authorization: Digest username=\"u\", response=\"abc\"\nnext", "Authorization: Digest %\nnext" },
		{ "{\"Authorization\":\"Bearer abcd efgh\"}", "{\"Authorization\":\"Bearer %\"}" },
		{ "id " JWT " end", "id % end" },
		{ "x" JWT, "x%" },
		{ "cut eyJhbGciOiJFUzI1NiIsInR5cCI6IkpXVCJ9", "cut %" },
		{ "sk-proj-4f9aBc81KdE7zQ2m", "%" },
		{ "ghp_16C7e42F292c6912E7710c838347Ae178B4a", "%" },
		{ "(gho_16C7e42F292c6912E7710c838347Ae178B4a)", "(%)" },
		{ "github_pat_11ABCDEFG0aaaaaaaaaaaa_bbbbbbbbbbbb", "%" },
		{ "xoxb-123456789012-abcdefGHIJ", "%" },
		{ "AKIAIOSFODNN7EXAMPLE is it", "% is it" },
		{ "glpat-abcdefgh12345678ijkl", "%" },
		{ "AIzaSyA-1234567890abcdefghijklmnopqrstu", "%" },
		{ "https://user:pa%20ss@host/x", "https://%@host/x" },
		{ "http://tok3n@host", "http://%@host" },
		{ "proxy http://a:b@c@h:1/ used", "proxy http://%@h:1/ used" },
		{ "password=abcd", "password=%" },
		{ "PASSWD: 'a b c d'", "PASSWD: '%'" },
		{ "db_password : swordfish;", "db_password : %;" },
		{ "\"client_secret\":\"s3\\\"cret\",\"x\":1", "\"client_secret\":\"%\",\"x\":1" },
		{ "{\\\"api_key\\\":\\\"zzzz\\\",\\\"n\\\":1}", "{\\\"api_key\\\":\\\"%\\\",\\\"n\\\":1}" },
		{ "X-Api-Key: k1-abc", "X-Api-Key: %" },
		{ "apiKey => \"abcdef\"", "apiKey => \"%\"" },
		{ "AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=%" },
		{ "grant?code=SplxlOBeZQQYbYS6WxSbIA&state=x", "grant?code=%&state=x" },
		{ "code_verifier=dBjftJeZ4CVP&x", "code_verifier=%&x" },
		{ "refresh_token=abcd&access_token=efgh", "refresh_token=%&access_token=%" },
		{ "Set-Cookie: sid=31d4d96e407aad42; Path=/\nb", "Set-Cookie: %\nb" },
		{ "cookie=abcd; more", "cookie=%; more" },
		{ "Mcp-Session-Id: 1868a90c-2f5e-4b1f-8d8c-0c3e9f5a7b21", "Mcp-Session-Id: %" },
		{ "token=8f14e45fceea167a5a36dedd4bea2543", "token=%" },
		{ "client_assertion=" JWT "&a", "client_assertion=%&a" },
		{ "password=\"never closed and on it goes", "password=\"%" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(cases); i++)
		assert_pattern(cases[i].text, cases[i].want);
}

static void ordinary_text_stays_readable(void **state)
{
	static const char *const texts[] = {
		"", "x", "token expired", "code 28", "session lost", "status code: 404", "exit code = 1",
		"stream lost (reset by peer); retrying in 2.1 s",
		"curl code: 56 (connection reset)", "code: ETIMEDOUT", "\"code\":\"ERR_HTTP2_STREAM_ERROR\"",
		"{\"jsonrpc\":\"2.0\",\"error\":{\"code\":-32001,\"message\":\"Session not found\"}}",
		"token: expired", "token: unexpected-end-of-input", "session: reinitialising", "code=invalid_grant",
		"\"session\": null", "\"password\":null", "secret: {", "token endpoint: https://auth.example.com/v1/token",
		"session: https://example.com/a1b2c3d4e5", "code: UserNotFound", "code: InternalServerErrorException",
		"Bearer authentication required", "WWW-Authenticate: Bearer realm=\"mcp\", error=\"invalid_token\"",
		"Bearer resource_metadata=\"https://x/.well-known\"", "basic understanding", "Basic auth is off",
		"max_tokens: 4096", "tokens=1234567890", "cookies: enabled", "secretary: Alice", "decoder=abc12345xyz9",
		"https://example.com/a@b", "mailto:someone@example.com", "ssk-learn", "sk-learn-the-long-way-home",
		"monkey=banana", "a=b", "::::", "====", "=:=:", "://", "://@", "eyJ", "eyJ.", "ghp_", "sk-", "bearer ", "basic",
		"password=abc", "password:", "password=", "password=\"\"", "code=\"", "Authorization:", "[redacted:abcdef]",
		"token=[redacted:abcdef]", "2026-07-28T12:00:00.123Z code: 200", "task-status", "hf_x npm_run AIza AKIA",
	};

	(void)state;
	for (size_t i = 0; i < COUNT(texts); i++)
		assert_clean(NULL, texts[i], texts[i]);
}

static void what_looks_like_a_key_in_a_path_is_hidden(void **state)
{
	struct redactor *r = redact_new(key);
	static const char path[] = "/v1/u/k3J9xQ2mZ7vB5nR8tL4w/2025-11-25/my-mcp-server/6f1c2e9a-0b3d-4c5e-8f7a-1b2c3d4e5f60/modelcontextprotocol/";
	char *s;

	(void)state;
	assert_non_null(r);
	assert_int_equal(redact_add_path(r, span_str(path)), 0);
	assert_int_equal(redact_add_path(r, span_str("")), 0);
	s = clean(r, path);
	assert_null(strstr(s, "k3J9xQ2mZ7"));
	assert_null(strstr(s, "6f1c2e9a"));
	assert_non_null(strstr(s, "/v1/u/[redacted:"));
	assert_non_null(strstr(s, "/2025-11-25/my-mcp-server/"));
	assert_non_null(strstr(s, "/modelcontextprotocol/"));
	free(s);
	redact_free(r);
}

static void a_full_buffer_takes_nothing(void **state)
{
	const char *value = "a value to be hidden";
	struct redactor *r = with(&value, 1);
	struct buf b;

	(void)state;
	buf_init(&b, 20);
	assert_int_equal(buf_puts(&b, "kept"), 0);
	assert_int_equal(redact_text(r, SPAN_LIT("12345 a value to be hidden"), &b), -1);
	assert_true(span_is(buf_span(&b), "kept"));
	assert_int_equal(redact_text(r, SPAN_LIT("a value to be hidden"), &b), -1);
	assert_int_equal(redact_text(r, SPAN_LIT("12345"), &b), 0);
	assert_true(span_is(buf_span(&b), "kept12345"));
	buf_fini(&b);
	redact_free(r);
}

static void many_values_push_out_the_later_ones_but_not_the_first(void **state)
{
	struct redactor *r = redact_new(key);
	char v[80], *s;

	(void)state;
	for (int i = 0; i < 400; i++) {
		snprintf(v, sizeof(v), "value-%d-%d-with-some-length", i * 7919, i);
		assert_int_equal(redact_add(r, span_str(v)), 0);
		assert_int_equal(redact_add(r, span_str(v)), 0);
		s = clean(r, v);
		assert_int_equal(strlen(s), strlen("[redacted:xxxxxx]"));
		free(s);
	}
	s = clean(r, "value-0-0-with-some-length");
	assert_int_equal(strlen(s), strlen("[redacted:xxxxxx]"));
	free(s);
	redact_free(r);
}

static void assert_hidden(const struct redactor *r, const char *value, bool hidden)
{
	char *s = clean(r, value);

	assert_int_equal(strncmp(s, "[redacted:", 10) == 0, hidden);
	free(s);
}

/* No two have ten bytes in a row in common. */
static struct span distinct(char out[40], unsigned salt, unsigned i)
{
	snprintf(out, 40, "%08x.%08x", (i + salt) * 2654435761u, (i + salt) * 40503u ^ 0x5bd1e995u);
	return span_str(out);
}

static void what_passes_pushes_out_nothing_but_what_it_replaces(void **state)
{
	struct redactor *r = redact_new(key);
	char value[40];

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(redact_add(r, distinct(value, 1, i)), 0);
	assert_int_equal(redact_add_passing(r, SPAN_LIT("sid"), SPAN_LIT("set but once")), 0);
	assert_int_equal(redact_add_passing(r, SPAN_LIT("id"), SPAN_LIT("is a token, too")), 0);
	assert_int_equal(redact_add(r, SPAN_LIT("is a token, too")), 0);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(redact_add_passing(r, SPAN_LIT("AWSALB"), distinct(value, 1000, i)), 0);
		assert_int_equal(redact_add_passing(r, SPAN_LIT("pin"), i % 2 ? SPAN_LIT("one and the") : SPAN_LIT("other in turn")), 0);
	}
	assert_hidden(r, value, true);
	assert_hidden(r, distinct(value, 1000, 0).p, false);
	for (unsigned i = 0; i < 40; i++)
		assert_hidden(r, distinct(value, 1, i).p, true);
	assert_hidden(r, "set but once", true);
	assert_hidden(r, "is a token, too", true);
	assert_hidden(r, "one and the", true);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(redact_add_passing(r, distinct(value, 5000, i), span_str(value)), 0);
	assert_hidden(r, value, true);
	assert_hidden(r, "set but once", false);
	redact_free(r);
}

static void what_takes_the_place_of_another_pushes_out_that_first(void **state)
{
	struct redactor *r = redact_new(key);
	char value[40];

	(void)state;
	for (unsigned i = 0; i < 40; i++)
		assert_int_equal(redact_add(r, distinct(value, 1, i)), 0);
	assert_int_equal(redact_add_instead(r, SPAN_LIT("session"), SPAN_LIT("is a token, too")), 0);
	assert_int_equal(redact_add(r, SPAN_LIT("is a token, too")), 0);
	for (unsigned i = 0; i < 1000; i++) {
		assert_int_equal(redact_add_instead(r, SPAN_LIT("session"), distinct(value, 1000, i)), 0);
		assert_hidden(r, value, true);
	}
	assert_hidden(r, distinct(value, 1000, 0).p, false);
	for (unsigned i = 0; i < 40; i++)
		assert_hidden(r, distinct(value, 1, i).p, true);
	assert_hidden(r, "is a token, too", true);
	redact_free(r);
}

static void values_of_any_size_and_bytes_are_taken(void **state)
{
	struct redactor *r = redact_new(key);
	size_t n = 100000;
	char *big = malloc(n);
	struct buf b;

	(void)state;
	for (size_t i = 0; i < n; i++)
		big[i] = (char)(i * i >> 3);
	buf_init(&b, 1 << 20);
	assert_int_equal(redact_add(r, span_make(big, n)), 0);
	assert_int_equal(redact_add(r, span_make("\0\0\0\0\0\0\0\0\0\0\0", 11)), 0);
	assert_int_equal(redact_add(r, SPAN_NONE), 0);
	memset(big, 'a', n);
	assert_int_equal(redact_add(r, span_make(big, n)), 0);
	assert_int_equal(redact_text(r, span_make(big, n), &b), 0);
	assert_true(b.len < 64);
	buf_reset(&b);
	assert_int_equal(redact_text(r, span_make("\0\0\0\0\0\0\0\0\0\0\0\0", 12), &b), 0);
	assert_true(b.len < 20);
	buf_fini(&b);
	free(big);
	redact_free(r);
}

/* Texts made to be looked at again and again, each big enough that a
 * quadratic search would not end. */
static void hostile_texts_are_searched_in_linear_time(void **state)
{
	static const char *const units[] = {
		"password=", "code:", "code=\"", "code:'a code:\"", "eyJ", "eyJeyJ.", "sk-", "%20sk-", "Bearer ", "://",
		"authorization: ", "authorization: digest ", "=", ":", "\\\"code\\\":\\\"", "token=aaaa_", "cookie: ", "basic a/",
	};
	size_t n = 1 << 20;
	char *text = malloc(n);

	(void)state;
	for (size_t i = 0; i < COUNT(units); i++) {
		size_t len = strlen(units[i]);
		struct buf b;

		for (size_t k = 0; k < n; k++)
			text[k] = units[i][k % len];
		buf_init(&b, n * 8);
		assert_int_equal(redact_text(NULL, span_make(text, n), &b), 0);
		buf_fini(&b);
	}
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_registered_value_is_hidden_in_every_encoding),
		cmocka_unit_test(a_registered_value_is_hidden_whatever_is_escaped_in_it),
		cmocka_unit_test(a_registered_value_is_hidden_in_base64_at_any_alignment),
		cmocka_unit_test(a_piece_of_a_registered_value_is_hidden),
		cmocka_unit_test(a_short_value_is_hidden_only_whole),
		cmocka_unit_test(overlapping_values_leave_nothing_between),
		cmocka_unit_test(a_fingerprint_names_the_value_and_depends_on_the_key),
		cmocka_unit_test(unregistered_secrets_are_hidden_by_their_looks),
		cmocka_unit_test(ordinary_text_stays_readable),
		cmocka_unit_test(what_looks_like_a_key_in_a_path_is_hidden),
		cmocka_unit_test(a_full_buffer_takes_nothing),
		cmocka_unit_test(many_values_push_out_the_later_ones_but_not_the_first),
		cmocka_unit_test(what_passes_pushes_out_nothing_but_what_it_replaces),
		cmocka_unit_test(what_takes_the_place_of_another_pushes_out_that_first),
		cmocka_unit_test(values_of_any_size_and_bytes_are_taken),
		cmocka_unit_test(hostile_texts_are_searched_in_linear_time),
	};

	return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
