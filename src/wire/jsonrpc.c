/* Tells what a JSON-RPC 2.0 message is and writes the two kinds of answer. One
 * json_scan_for() does all the work, nothing is allocated, and nothing inside
 * `params`, `result` or `error` is looked at: what a method means is for
 * others. It refuses what two readers could understand differently, such as a
 * repeated `id` or a message that is a request and a response at once. */
#include "wire/jsonrpc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "wire/json_i.h"
#include "wire/skip.h"

/* Longer number texts are never taken for the same double. */
#define NUMBER_TEXT_MAX 400
/* Up to this many trailing zeros a number's key is written out in full. */
#define KEY_ZEROS_MAX 20

enum { JSONRPC, ID, METHOD, PARAMS, RESULT, ERROR, NKEYS };

static const struct span keys[NKEYS] = {
	[JSONRPC] = SPAN_INIT("jsonrpc"), [ID] = SPAN_INIT("id"), [METHOD] = SPAN_INIT("method"),
	[PARAMS] = SPAN_INIT("params"), [RESULT] = SPAN_INIT("result"), [ERROR] = SPAN_INIT("error"),
};

static const char *const methods[] = {
	"initialize", "ping", "server/discover", "tools/list", "tools/call", "resources/list", "resources/templates/list", "resources/read",
	"resources/subscribe", "resources/unsubscribe", "prompts/list", "prompts/get", "completion/complete", "logging/setLevel",
	"subscriptions/listen", "tasks/get", "tasks/list", "tasks/result", "tasks/update", "tasks/cancel",
	"roots/list", "sampling/createMessage", "elicitation/create",
	"notifications/initialized", "notifications/cancelled", "notifications/progress", "notifications/message",
	"notifications/tools/list_changed", "notifications/resources/list_changed", "notifications/prompts/list_changed",
	"notifications/roots/list_changed", "notifications/resources/updated", "notifications/elicitation/complete",
	"notifications/subscriptions/acknowledged",
};

static const char *not_json_why(enum json_status st)
{
	switch (st) {
	case JSON_SHORT: return "the text ends too early";
	case JSON_UTF8: return "it is not valid UTF-8";
	case JSON_DEEP: return "it is nested too deeply";
	default: return "it is not valid JSON";
	}
}

static bool is_empty_array(struct span v)
{
	struct json_iter it;
	struct span value;

	json_iter(&it, v);
	return !json_next(&it, NULL, &value);
}

/* Why this is no request or notification; NULL when it is one. */
static const char *judge_call(const struct rpc_msg *m, char id, char method)
{
	char params = json_type(m->params);

	if (method != '"')
		return "method is not a string";
	if (m->result.p || m->error.p)
		return "it has a method and also a result or an error";
	if (id && id != '"' && id != '0')
		return "id is neither a string nor a number";
	if (params && params != '{' && params != '[')
		return "params is neither an object nor an array";
	return NULL;
}

/* Why this is no response; NULL when it is one. An error may come without an
 * id: that of a request which the server could not read. */
static const char *judge_response(const struct rpc_msg *m, char id)
{
	if (!m->result.p && !m->error.p)
		return "it has no method, no result and no error";
	if (m->result.p && m->error.p)
		return "it has both a result and an error";
	if (id && id != '"' && id != '0' && id != 'n')
		return "id is no string, number or null";
	if (m->result.p && !id)
		return "it has a result but no id";
	if (m->error.p && json_type(m->error) != '{')
		return "error is not an object";
	return NULL;
}

static void classify(struct rpc_msg *m, const struct json_member *member)
{
	char id = json_type(m->id), method = json_type(member[METHOD].value);

	m->kind = RPC_INVALID;
	for (size_t i = 0; i < NKEYS; i++) {
		if (member[i].count > 1) {
			m->why = "a member stands there twice";
			return;
		}
	}
	if (!span_eq(member[JSONRPC].value, SPAN_LIT("\"2.0\"")) && !json_string_is(member[JSONRPC].value, "2.0")) {
		m->why = "jsonrpc is not \"2.0\"";
		return;
	}
	m->why = method ? judge_call(m, id, method) : judge_response(m, id);
	if (m->why)
		return;
	if (method)
		m->kind = id ? RPC_REQUEST : RPC_NOTIFICATION;
	else
		m->kind = m->result.p ? RPC_RESULT : RPC_ERROR;
}

struct span rpc_method_name(struct span string)
{
	struct span raw = json_type(string) == '"' ? span_make(string.p + 1, string.n - 2) : SPAN_NONE;

	if (!raw.n || !memchr(raw.p, '\\', raw.n))
		return raw;
	for (size_t i = 0; i < sizeof(methods) / sizeof(*methods); i++)
		if (json_string_is(string, methods[i]))
			return span_str(methods[i]);
	return raw;
}

/* It may well be JSON: who asked hears of it under the id. */
static void classify_deep(const char *p, size_t n, struct rpc_msg *m)
{
	bool method;
	struct span id = rpc_sniff_id(p, n, &method);

	if (!id.p || !method)
		return;
	m->kind = RPC_INVALID;
	m->id = id;
}

void rpc_parse(const char *p, size_t n, struct rpc_msg *m)
{
	struct json_member member[NKEYS];
	struct json_scan scan;

	m->kind = RPC_NOT_JSON;
	m->why = NULL;
	m->text = m->id = m->method = m->params = m->result = m->error = SPAN_NONE;
	m->status = json_scan_for(p, n, &scan, keys, member, NKEYS);
	m->has_newline = scan.has_newline;
	if (m->status != JSON_OK) {
		m->why = not_json_why(m->status);
		if (m->status == JSON_DEEP)
			classify_deep(p, n, m);
		return;
	}
	m->text = scan.text;
	if (scan.type != '{') {
		bool batch = scan.type == '[' && !is_empty_array(scan.text);
		m->kind = batch ? RPC_BATCH : RPC_INVALID;
		m->why = batch ? NULL : scan.type == '[' ? "the batch is empty" : "it is not an object";
		return;
	}
	m->id = member[ID].value;
	m->params = member[PARAMS].value;
	m->result = member[RESULT].value;
	m->error = member[ERROR].value;
	m->method = rpc_method_name(member[METHOD].value);
	classify(m, member);
	/* An answer can be addressed only if the id is one and the only one. */
	if (m->kind == RPC_INVALID && (member[ID].count > 1 || (json_type(m->id) != '"' && json_type(m->id) != '0')))
		m->id = SPAN_NONE;
}

bool rpc_error_code(const struct rpc_msg *m, int64_t *code)
{
	return m->kind == RPC_ERROR && json_int(json_get(m->error, "code"), code);
}

/* ---- ids --------------------------------------------------------------------- */

/* Digits without a point, then zeros or an exponent: the same for every spelling. */
static int number_key(const struct json_decimal *d, struct buf *out)
{
	if (!d->first)
		return buf_puts(out, "n0");
	if (buf_puts(out, d->neg ? "n-" : "n") < 0)
		return -1;
	for (const char *p = d->first; p <= d->last; p++) {
		const char *run = p;
		while (p <= d->last && *p != '.')
			p++;
		if (buf_append(out, run, (size_t)(p - run)) < 0)
			return -1;
	}
	if (d->exp >= 0 && d->exp <= KEY_ZEROS_MAX)
		return buf_append(out, "00000000000000000000", (size_t)d->exp);
	return buf_printf(out, "e%lld", (long long)d->exp);
}

int rpc_id_key(struct span id, struct buf *out)
{
	struct json_decimal d;
	size_t before = out->len;
	int rc = -1;

	if (json_type(id) == '"') {
		rc = buf_puts(out, "s");
		if (rc == 0)
			rc = json_string(id, out);
	} else if (json_decimal(id, &d)) {
		/* Exponents beyond the bound are not told apart any more, texts are. */
		if (d.exp < JSON_EXPONENT_MAX / 2 && d.exp > -JSON_EXPONENT_MAX / 2)
			rc = number_key(&d, out);
		else
			rc = buf_puts(out, "n") < 0 ? -1 : buf_add(out, id);
	}
	if (rc < 0)
		out->len = before;
	return rc;
}

static bool to_double(struct span v, double *out)
{
	char text[NUMBER_TEXT_MAX + 1];

	if (json_type(v) != '0' || v.n > NUMBER_TEXT_MAX)
		return false;
	memcpy(text, v.p, v.n);
	text[v.n] = '\0';
	*out = strtod(text, NULL);
	return isfinite(*out);
}

bool rpc_id_same_double(struct span a, struct span b)
{
	double x, y;

	return to_double(a, &x) && to_double(b, &y) && !(x < y) && !(x > y);
}

/* ---- writing ----------------------------------------------------------------- */

static int write_head(struct buf *out, struct span id)
{
	if (buf_puts(out, "{\"jsonrpc\":\"2.0\",\"id\":") < 0)
		return -1;
	return buf_add(out, id.p ? id : SPAN_LIT("null"));
}

int rpc_write_error(struct buf *out, struct span id, int code, struct span message, struct span data)
{
	size_t before = out->len;

	if (write_head(out, id) < 0 || buf_printf(out, ",\"error\":{\"code\":%d,\"message\":", code) < 0 ||
	    json_quote(out, message) < 0 ||
	    (data.p && (buf_puts(out, ",\"data\":") < 0 || buf_add(out, data) < 0)) || buf_puts(out, "}}") < 0) {
		out->len = before;
		return -1;
	}
	return 0;
}

int rpc_write_result(struct buf *out, struct span id, struct span result)
{
	size_t before = out->len;

	if (write_head(out, id) < 0 || buf_puts(out, ",\"result\":") < 0 || buf_add(out, result) < 0 ||
	    buf_puts(out, "}") < 0) {
		out->len = before;
		return -1;
	}
	return 0;
}

/* ---- lines that can not be parsed ---------------------------------------------- */

struct sniffer {
	const char *p, *end;
	int depth;
	bool key_due;       /* at depth 1, behind the bracket or a comma */
	bool has_method;
	unsigned ids;
	struct span id;
};

static void sniff_space(struct sniffer *s)
{
	while (s->p < s->end && (*s->p == ' ' || *s->p == '\t' || *s->p == '\r' || *s->p == '\n'))
		s->p++;
}

/* The string at p with its quotes; SPAN_NONE when it does not end. */
static struct span sniff_string(struct sniffer *s)
{
	const char *start = s->p++;

	while ((s->p = skip_until(s->p, s->end, SKIP_QUOTE)) < s->end) {
		if (*s->p == '"') {
			s->p++;
			return span_make(start, (size_t)(s->p - start));
		}
		s->p += s->end - s->p < 2 ? 1 : 2;
	}
	return SPAN_NONE;
}

/* A string or a number that is whole: what is cut short may go on in the part
 * that was not kept, and then would be somebody else's id. */
static struct span sniff_scalar(struct sniffer *s)
{
	const char *start = s->p;
	struct json_scan scan;
	struct span v;

	if (s->p < s->end && *s->p == '"') {
		v = sniff_string(s);
	} else {
		while (s->p < s->end && !strchr(" \t\r\n,}", *s->p))
			s->p++;
		v = s->p < s->end ? span_make(start, (size_t)(s->p - start)) : SPAN_NONE;
	}
	if (!v.p || json_scan(v.p, v.n, &scan) != JSON_OK || (scan.type != '"' && scan.type != '0'))
		return SPAN_NONE;
	return v;
}

static void sniff_member(struct sniffer *s)
{
	struct span key = sniff_string(s);

	s->key_due = false;
	sniff_space(s);
	if (!key.p || s->p == s->end || *s->p != ':')
		return;
	s->p++;
	sniff_space(s);
	key = span_make(key.p + 1, key.n - 2);
	if (json_key_is(key, "method"))
		s->has_method = true;
	if (json_key_is(key, "id")) {
		const char *start = s->p;
		s->ids++;
		s->id = sniff_scalar(s);
		if (!s->id.p)
			s->p = start; /* a bracket in it counts */
	}
}

struct span rpc_sniff_id(const char *p, size_t n, bool *has_method)
{
	struct sniffer s = { .p = p, .end = p, .id = SPAN_NONE };

	if (n > 0)
		s.end += n;
	sniff_space(&s);
	if (s.p < s.end && *s.p == '{') {
		s.p++;
		s.depth = 1;
		s.key_due = true;
	}
	while (s.depth > 0 && s.p < s.end) {
		switch (*s.p) {
		case '"':
			if (s.depth == 1 && s.key_due)
				sniff_member(&s);
			else
				sniff_string(&s);
			continue;
		case '{': case '[': s.depth++; break;
		case '}': case ']': s.depth--; break;
		case ',': s.key_due = s.depth == 1; break;
		default: break;
		}
		s.p++;
	}
	*has_method = s.has_method;
	return s.ids == 1 ? s.id : SPAN_NONE;
}
