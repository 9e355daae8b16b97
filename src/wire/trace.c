/* Trace context is copied from a message to a header only when it is what the
 * standard says, so that nothing else can reach a header this way. */
#include "wire/trace.h"

#include <string.h>

#include "wire/json.h"

#define STATE_MAX 512 /* W3C Trace Context, 3.3.1.5: at least this much is to be passed on */

static bool is_hex(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!(p[i] >= '0' && p[i] <= '9') && !(p[i] >= 'a' && p[i] <= 'f'))
			return false;
	return true;
}

static bool is_id(const char *p, size_t n)
{
	return is_hex(p, n) && strspn(p, "0") < n;
}

bool trace_parse(struct span t, struct trace_parent *out)
{
	const char *trace, *span, *flags;

	if (t.n < TRACEPARENT || t.p[2] != '-' || t.p[35] != '-' || t.p[52] != '-')
		return false;
	trace = t.p + 3;
	span = t.p + 36;
	flags = t.p + 53;
	if (!is_hex(t.p, 2) || !is_id(trace, TRACE_ID) || !is_id(span, TRACE_SPAN) || !is_hex(flags, 2))
		return false;
	if (memcmp(t.p, "ff", 2) == 0 || (t.n > TRACEPARENT && (memcmp(t.p, "00", 2) == 0 || t.p[TRACEPARENT] != '-')))
		return false;
	memcpy(out->trace, trace, TRACE_ID);
	memcpy(out->span, span, TRACE_SPAN);
	out->trace[TRACE_ID] = out->span[TRACE_SPAN] = '\0';
	out->sampled = strchr("13579bdf", flags[1]) != NULL;
	return true;
}

/* A string without escapes: nothing well formed needs any. */
static struct span plain_string(struct span v)
{
	if (json_type(v) != '"' || memchr(v.p, '\\', v.n))
		return SPAN_NONE;
	return span_make(v.p + 1, v.n - 2);
}

bool trace_from_meta(struct span meta, struct trace_parent *t)
{
	struct span v = plain_string(json_get(meta, "traceparent"));

	return v.p && trace_parse(v, t);
}

static bool is_state(struct span v)
{
	if (!v.p || v.n == 0 || v.n > STATE_MAX)
		return false;
	for (size_t i = 0; i < v.n; i++)
		if (v.p[i] < 0x20 || v.p[i] > 0x7e)
			return false;
	return true;
}

int trace_headers(struct span meta, struct buf *lines)
{
	struct span parent = plain_string(json_get(meta, "traceparent"));
	struct span state;
	struct trace_parent t;
	int bad;

	if (!parent.p || !is_state(parent) || !trace_parse(parent, &t))
		return 0;
	bad = buf_puts(lines, "traceparent: ") | buf_add(lines, parent) | buf_puts(lines, "\n");
	state = plain_string(json_get(meta, "tracestate"));
	if (is_state(state))
		bad |= buf_puts(lines, "tracestate: ") | buf_add(lines, state) | buf_puts(lines, "\n");
	return bad ? -1 : 0;
}
