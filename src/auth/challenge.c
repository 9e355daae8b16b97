/* A reader of WWW-Authenticate. The grammar is ambiguous where a list of
 * challenges meets a list of parameters: after a comma, `token` followed by
 * `=` and something other than the padding of a token68 is a parameter of the
 * challenge before, and any other token names a new scheme (RFC 9110, 11.6.1). */
#include "auth/challenge.h"

#include <string.h>
#include <strings.h>

struct reader {
	const char *p, *end;
	struct buf *text; /* decoded values; reserved up front, so it never moves */
};

static bool is_token_char(unsigned char c)
{
	if (c >= '0' && c <= '9')
		return true;
	if ((c | 0x20) >= 'a' && (c | 0x20) <= 'z')
		return true;
	return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void skip_blanks(struct reader *r)
{
	while (r->p < r->end && is_blank(*r->p))
		r->p++;
}

static void skip_commas(struct reader *r)
{
	while (r->p < r->end && (is_blank(*r->p) || *r->p == ','))
		r->p++;
}

static struct span take_token(struct reader *r)
{
	const char *start = r->p;

	while (r->p < r->end && is_token_char((unsigned char)*r->p))
		r->p++;
	return span_make(start, (size_t)(r->p - start));
}

/* A quoted string with its escapes resolved; false when it never ends. */
static bool take_quoted(struct reader *r, struct span *out)
{
	const char *start = buf_tail(r->text);
	size_t n = 0;

	for (r->p++; r->p < r->end; r->p++) {
		if (*r->p == '"') {
			r->p++;
			*out = span_make(start, n);
			return true;
		}
		if (*r->p == '\\' && ++r->p == r->end)
			return false;
		if (buf_append(r->text, r->p, 1))
			return false;
		n++;
	}
	return false;
}

/* The value behind `=`. Unquoted values may hold more than a token allows
 * (servers put bare URLs there), so anything but a blank, comma or quote is taken. */
static bool take_value(struct reader *r, struct span *out)
{
	const char *start = r->p;

	if (r->p < r->end && *r->p == '"')
		return take_quoted(r, out);
	while (r->p < r->end && !is_blank(*r->p) && *r->p != ',' && *r->p != '"')
		r->p++;
	*out = span_make(buf_tail(r->text), (size_t)(r->p - start));
	return out->n > 0 && buf_append(r->text, start, out->n) == 0;
}

/* True, and the reader stands behind `=`, when a parameter begins here. */
static bool take_parameter_name(struct reader *r, struct span *name)
{
	struct reader ahead = *r;

	*name = take_token(&ahead);
	skip_blanks(&ahead);
	if (name->n == 0 || ahead.p == ahead.end || *ahead.p != '=')
		return false;
	ahead.p++;
	skip_blanks(&ahead);
	if (ahead.p == ahead.end || *ahead.p == '=' || *ahead.p == ',')
		return false; /* the padding of a token68 */
	r->p = ahead.p;
	return true;
}

static void skip_token68(struct reader *r)
{
	while (r->p < r->end && !is_blank(*r->p) && *r->p != ',')
		r->p++;
}

static bool name_is(struct span s, const char *name)
{
	return s.n == strlen(name) && strncasecmp(s.p, name, s.n) == 0;
}

static void keep(struct span *field, struct span value, bool wins)
{
	if (!field->p || wins)
		*field = value;
}

static void on_parameter(struct challenge *c, bool bearer, struct span name, struct span value)
{
	if (name_is(name, "resource_metadata"))
		keep(&c->resource_metadata, value, bearer);
	else if (name_is(name, "scope"))
		keep(&c->scope, value, bearer);
	else if (name_is(name, "error"))
		keep(&c->error, value, bearer);
	else if (name_is(name, "error_description"))
		keep(&c->error_description, value, bearer);
}

/* One scheme with its parameters. False when the rest makes no sense. */
static bool read_challenge(struct challenge *c, struct reader *r)
{
	struct span scheme = take_token(r), name, value;
	bool first_bearer = !c->bearer && name_is(scheme, "Bearer");
	bool dpop = name_is(scheme, "DPoP");
	bool ours = first_bearer || dpop, more;

	if (scheme.n == 0)
		return false;
	c->bearer |= first_bearer;
	c->dpop |= dpop;
	skip_blanks(r);
	more = take_parameter_name(r, &name);
	if (!more)
		skip_token68(r);
	for (skip_commas(r); more || take_parameter_name(r, &name); skip_commas(r)) {
		more = false;
		if (!take_value(r, &value))
			return false;
		if (ours)
			on_parameter(c, first_bearer, name, value);
	}
	return true;
}

int challenge_parse(struct challenge *c, struct span value)
{
	struct reader r;

	memset(c, 0, sizeof *c);
	buf_init(&c->text, CHALLENGE_MAX);
	if (!value.p || value.n == 0)
		return 0;
	if (value.n > CHALLENGE_MAX || buf_reserve(&c->text, value.n))
		return -1;
	r = (struct reader){ value.p, value.p + value.n, &c->text };
	for (skip_commas(&r); r.p < r.end; skip_commas(&r))
		if (!read_challenge(c, &r))
			break;
	return 0;
}

void challenge_fini(struct challenge *c)
{
	buf_fini(&c->text);
	memset(c, 0, sizeof *c);
}
