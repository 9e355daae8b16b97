/* Finds secrets by their looks: credentials behind Bearer and Basic, JSON Web
 * Tokens, keys with a well-known prefix, userinfo in URLs, and values whose
 * name says what they are.
 *
 * Hiding too much makes a log useless, so names come in two kinds. Behind a
 * name that can only mean a secret (password, client_secret, refresh_token),
 * any value of 4 bytes or more is hidden. Behind a word that also has ordinary
 * uses (code, token, session), only a value of 8 bytes or more that is not made
 * of words and numbers: `code=ETIMEDOUT`, `status code: 404` and `token:
 * expired` stay readable. A value that somebody must not see for certain has
 * to be registered with the redactor; this is the second net.
 *
 * Every byte is looked at a bounded number of times, whatever the text. */
#include "base/pattern.h"

#include <string.h>
#include <strings.h>

#define NAME_MAX_LEN 64  /* looked at, of a name */
#define STRONG_MIN 4
#define WEAK_MIN 8
#define WEAK_SCAN 512    /* a value without an end in sight is no word */
#define GAP_MAX 4        /* blanks around a delimiter */

struct scan {
	const char *p;
	size_t n;
	size_t no_jwt_before; /* a run that was seen to hold no JWT */
	void (*found)(void *arg, size_t from, size_t to);
	void *arg;
};

static bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
static bool is_upper(char c) { return c >= 'A' && c <= 'Z'; }
static bool is_alpha(char c) { return is_lower(c) || is_upper(c); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_alnum(char c) { return is_alpha(c) || is_digit(c); }
static bool is_base64url(char c) { return is_alnum(c) || c == '-' || c == '_'; }
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_token68(char c) { return is_base64url(c) || c == '.' || c == '~' || c == '+' || c == '/'; }

/* The end of the run of such characters from i on. */
static size_t run_end(const struct scan *s, size_t i, bool (*is)(char c))
{
	while (i < s->n && is(s->p[i]))
		i++;
	return i;
}

static bool starts(const struct scan *s, size_t i, const char *word)
{
	size_t n = strlen(word);

	return s->n - i >= n && memcmp(s->p + i, word, n) == 0;
}

static bool starts_nocase(const struct scan *s, size_t i, const char *word)
{
	size_t n = strlen(word);

	return s->n - i >= n && strncasecmp(s->p + i, word, n) == 0;
}

/* A word may begin at i: what stands before is no part of it, or is %XX. */
static bool boundary(const struct scan *s, size_t i)
{
	return i == 0 || !is_base64url(s->p[i - 1]) || (i >= 3 && s->p[i - 3] == '%');
}

/* ---- words and numbers, or random? ---- */

static bool letters_are_words(const char *p, size_t n)
{
	size_t changes = 0;

	for (size_t i = 1; i < n; i++)
		changes += is_upper(p[i]) != is_upper(p[i - 1]);
	if (n < 20)
		return changes * 2 <= n;
	return changes * 4 <= n && (changes > 0 || n < 24);
}

/* A word, a number, a word with a short number behind it (HTTP2) or a short
 * number with a word behind it (404error). */
static bool is_ordinary(const char *p, size_t n)
{
	size_t digits = 0, letters = 0, head = 0, tail = 0;

	for (size_t i = 0; i < n; i++) {
		digits += is_digit(p[i]);
		letters += is_alpha(p[i]);
	}
	if (digits + letters < n)
		return false;
	if (letters == 0)
		return digits < 20;
	if (digits == 0)
		return letters_are_words(p, n);
	while (is_digit(p[head]))
		head++;
	while (is_digit(p[n - 1 - tail]))
		tail++;
	return digits <= 3 && (head == digits || tail == digits) && n < 20;
}

static bool looks_random(const char *p, size_t n)
{
	size_t from = 0;

	for (size_t i = 0; i <= n; i++) {
		if (i < n && !strchr("-_.:/ =,+@()", p[i] ? p[i] : 'x'))
			continue;
		if (i > from && !is_ordinary(p + from, i - from))
			return true;
		from = i + 1;
	}
	return false;
}

bool pattern_is_random(struct span word)
{
	return looks_random(word.p, word.n);
}

/* ---- Bearer and Basic ---- */

/* The credential behind an authentication scheme at i; its end, or i when
 * this is no credential but prose or the parameters of a challenge. */
static size_t credential_end(const struct scan *s, size_t i)
{
	size_t end = run_end(s, i, is_token68), n = end - i;
	bool padded = false, odd = n >= 24;

	while (end < s->n && s->p[end] == '=') {
		end++;
		padded = true;
	}
	if (padded && end < s->n && (s->p[end] == '"' || is_alnum(s->p[end])))
		return i;
	for (size_t k = i; k < i + n && !odd; k++)
		odd = is_digit(s->p[k]) || (k > i && is_upper(s->p[k]));
	return n >= 6 && (odd || padded) ? end : i;
}

static size_t scheme_at(struct scan *s, size_t i)
{
	size_t at, end;

	if (!boundary(s, i))
		return i + 1;
	if (starts_nocase(s, i, "bearer"))
		at = i + 6;
	else if (starts_nocase(s, i, "basic"))
		at = i + 5;
	else
		return i + 1;
	if (starts(s, at, "%20"))
		at += 3;
	else if (at < s->n && (s->p[at] == ' ' || s->p[at] == '+'))
		at++;
	else
		return i + 1;
	while (at < s->n && s->p[at] == ' ')
		at++;
	end = credential_end(s, at);
	if (end == at)
		return at;
	s->found(s->arg, at, end);
	return end;
}

/* ---- tokens that show what they are ---- */

/* A JSON Web Token (RFC 7519) begins with base64 of `{"`. */
static size_t jwt_at(struct scan *s, size_t i)
{
	size_t end, part;

	if (i < s->no_jwt_before || !starts(s, i, "eyJ"))
		return i + 1;
	end = part = run_end(s, i, is_base64url);
	if (part - i < 10 || part == s->n || s->p[part] != '.') {
		s->no_jwt_before = part;
		if (part - i < 20 || !boundary(s, i))
			return i + 1;
	}
	while (end < s->n && s->p[end] == '.' && end + 1 < s->n && is_base64url(s->p[end + 1]))
		end = run_end(s, end + 1, is_base64url);
	s->found(s->arg, i, end);
	return end;
}

static size_t key_at(struct scan *s, size_t i)
{
	static const struct { const char *prefix; size_t least; bool random; } keys[] = {
		{ "sk-", 16, true }, { "sk_live_", 12, false }, { "sk_test_", 12, false }, { "rk_live_", 12, false },
		{ "ghp_", 16, false }, { "gho_", 16, false }, { "ghu_", 16, false }, { "ghs_", 16, false },
		{ "ghr_", 16, false }, { "github_pat_", 16, false }, { "glpat-", 16, false },
		{ "xoxb-", 10, false }, { "xoxp-", 10, false }, { "xoxa-", 10, false }, { "xoxr-", 10, false },
		{ "xoxs-", 10, false }, { "xapp-", 10, false }, { "AKIA", 16, true }, { "ASIA", 16, true },
		{ "AIza", 30, false }, { "ya29.", 16, false }, { "npm_", 30, false }, { "hf_", 30, false },
		{ "ATATT3", 30, false }, { "lin_api_", 16, false }, { "ntn_", 30, false }, { "dop_v1_", 30, false },
	};

	if (!boundary(s, i))
		return i + 1;
	for (size_t k = 0; k < sizeof(keys) / sizeof(keys[0]); k++) {
		size_t from, end;

		if (keys[k].prefix[0] != s->p[i] || !starts(s, i, keys[k].prefix))
			continue;
		from = i + strlen(keys[k].prefix);
		end = run_end(s, from, is_base64url);
		if (end - from < keys[k].least || (keys[k].random && !looks_random(s->p + from, end - from)))
			return i + 1;
		s->found(s->arg, i, end);
		return end;
	}
	return i + 1;
}

/* ---- URLs ---- */

/* At the colon of "://": everything up to the last @ of the authority. */
static size_t userinfo_at(struct scan *s, size_t i)
{
	size_t from = i + 3, end = from, at = from;

	for (; end < s->n && !is_space(s->p[end]) && !strchr("/?#\"'<>\\", s->p[end] ? s->p[end] : '/'); end++)
		if (s->p[end] == '@')
			at = end;
	if (at > from)
		s->found(s->arg, from, at);
	return from;
}

/* ---- name and value ---- */

enum name_class { NAME_PLAIN, NAME_WEAK, NAME_STRONG, NAME_AUTH, NAME_COOKIE };

/* Judges by the end of the name, its case and separators aside, so that
 * X-Api-Key, apiKey and MY_API_KEY are one. */
static enum name_class name_class(const char *p, size_t n)
{
	static const struct { const char *end; enum name_class class; } ends[] = {
		{ "password", NAME_STRONG }, { "passwd", NAME_STRONG }, { "passphrase", NAME_STRONG },
		{ "secret", NAME_STRONG }, { "apikey", NAME_STRONG }, { "accesskey", NAME_STRONG },
		{ "secretkey", NAME_STRONG }, { "privatekey", NAME_STRONG }, { "accesstoken", NAME_STRONG },
		{ "refreshtoken", NAME_STRONG }, { "idtoken", NAME_STRONG }, { "authtoken", NAME_STRONG },
		{ "apitoken", NAME_STRONG }, { "codeverifier", NAME_STRONG }, { "clientassertion", NAME_STRONG },
		{ "authorization", NAME_AUTH }, { "cookie", NAME_COOKIE },
		{ "token", NAME_WEAK }, { "code", NAME_WEAK }, { "session", NAME_WEAK },
		{ "sessionid", NAME_WEAK }, { "sessid", NAME_WEAK }, { "assertion", NAME_WEAK },
	};
	char name[NAME_MAX_LEN];
	size_t len = 0;

	for (size_t i = 0; i < n; i++)
		if (is_alnum(p[i]))
			name[len++] = is_upper(p[i]) ? (char)(p[i] - 'A' + 'a') : p[i];
	for (size_t k = 0; k < sizeof(ends) / sizeof(ends[0]); k++) {
		size_t want = strlen(ends[k].end);

		if (len >= want && memcmp(name + len - want, ends[k].end, want) == 0)
			return ends[k].class;
	}
	return NAME_PLAIN;
}

static enum name_class name_before(const struct scan *s, size_t i)
{
	size_t end = i, from;

	for (int k = 0; k < GAP_MAX && end > 0 && s->p[end - 1] == ' '; k++)
		end--;
	if (end > 0 && (s->p[end - 1] == '"' || s->p[end - 1] == '\''))
		for (end--; end > 0 && s->p[end - 1] == '\\' && i - end < 8; end--)
			;
	from = end;
	while (from > 0 && end - from < NAME_MAX_LEN && (is_base64url(s->p[from - 1]) || s->p[from - 1] == '.'))
		from--;
	return name_class(s->p + from, end - from);
}

struct value {
	size_t from, to;
	bool quoted, open; /* open: the closing quote is missing */
};

static bool ends_plain(char c)
{
	return is_space(c) || c == '\0' || strchr("&;,\"'<>)}]\\", c);
}

static bool ends_line(char c)
{
	return c == '\n' || c == '\r';
}

static size_t value_end(const struct scan *s, size_t i, bool (*ends)(char c))
{
	while (i < s->n && !ends(s->p[i]))
		i++;
	return i;
}

/* The value behind the delimiter at i. A quote may carry backslashes (JSON in
 * JSON); the closing one carries as many. */
static struct value value_after(const struct scan *s, size_t i, bool (*ends)(char c))
{
	struct value v = { .from = i + 1 };
	size_t slashes = 0;
	char quote;

	if (v.from < s->n && (s->p[v.from] == '=' || s->p[v.from] == '>'))
		v.from++;
	for (int k = 0; k < GAP_MAX && v.from < s->n && (s->p[v.from] == ' ' || s->p[v.from] == '\t'); k++)
		v.from++;
	while (slashes < 3 && v.from + slashes < s->n && s->p[v.from + slashes] == '\\')
		slashes++;
	v.to = v.from + slashes;
	quote = v.to < s->n ? s->p[v.to] : '\0';
	if (quote != '"' && quote != '\'') {
		v.to = value_end(s, v.from, ends);
		return v;
	}
	v.quoted = v.open = true;
	v.from = ++v.to;
	for (size_t seen = 0; v.to < s->n && v.open; v.to++) {
		v.open = s->p[v.to] != quote || seen != slashes;
		seen = s->p[v.to] == '\\' ? seen + 1 : 0;
	}
	if (!v.open)
		v.to -= slashes + 1;
	return v;
}

/* An Authorization header. The scheme is no secret and stays; behind Digest
 * the rest of the line are its parameters, behind others it is prose. */
static struct value authorization_value(const struct scan *s, size_t i)
{
	static const char *const schemes[] = { "bearer ", "basic ", "dpop ", "token ", "negotiate ", "digest " };
	struct value v = value_after(s, i, ends_plain);

	for (size_t k = 0; k < sizeof(schemes) / sizeof(schemes[0]); k++) {
		if (!starts_nocase(s, v.from, schemes[k]))
			continue;
		v.from += strlen(schemes[k]);
		if (!v.quoted)
			v.to = value_end(s, v.from, schemes[k][1] == 'i' ? ends_line : ends_plain);
		else if (v.to < v.from)
			v.to = v.from;
		break;
	}
	return v;
}

static bool is_hidden_already(const struct scan *s, struct value v)
{
	return starts(s, v.from, "[redacted:");
}

/* null, true, false, and what is a structure with names of its own. */
static bool is_no_text(const struct scan *s, struct value v)
{
	struct span t = span_make(s->p + v.from, v.to - v.from);

	return !v.quoted && (t.n == 0 || t.p[0] == '{' || t.p[0] == '[' ||
			     span_is(t, "null") || span_is(t, "true") || span_is(t, "false"));
}

static bool weak_value_hides(const struct scan *s, struct value v)
{
	size_t n = v.to - v.from;
	const char *p = s->p + v.from;

	if (n < WEAK_MIN)
		return false;
	if (n > WEAK_SCAN)
		return true;
	for (size_t k = 0; k + 2 < n; k++)
		if (p[k] == ':' && p[k + 1] == '/' && p[k + 2] == '/')
			return false;
	return looks_random(p, n);
}

static size_t pair_at(struct scan *s, size_t i)
{
	enum name_class class = name_before(s, i);
	struct value v;
	bool hide;

	if (class == NAME_PLAIN)
		return i + 1;
	if (class == NAME_AUTH)
		v = authorization_value(s, i);
	else
		v = value_after(s, i, class == NAME_COOKIE && s->p[i] == ':' ? ends_line : ends_plain);
	/* A weak name with a stray quote behind it; a strong one hides the rest. */
	if (v.open && class == NAME_WEAK)
		v.to = value_end(s, v.from, ends_plain);
	if (is_hidden_already(s, v) || is_no_text(s, v))
		return i + 1;
	hide = class == NAME_WEAK ? weak_value_hides(s, v) : v.to - v.from >= STRONG_MIN;
	if (!hide)
		return i + 1;
	s->found(s->arg, v.from, v.to);
	return v.to;
}

void pattern_find(struct span text, void (*found)(void *arg, size_t from, size_t to), void *arg)
{
	struct scan s = { .p = text.p, .n = text.n, .found = found, .arg = arg };
	size_t i = 0;

	while (i < s.n) {
		switch (s.p[i]) {
		case ':':
			i = starts(&s, i, "://") ? userinfo_at(&s, i) : pair_at(&s, i);
			break;
		case '=':
			i = pair_at(&s, i);
			break;
		case 'B': case 'b':
			i = scheme_at(&s, i);
			break;
		case 'e':
			i = jwt_at(&s, i);
			break;
		case 's': case 'r': case 'g': case 'x': case 'A': case 'y':
		case 'n': case 'h': case 'l': case 'd':
			i = key_at(&s, i);
			break;
		default:
			i++;
		}
	}
}
