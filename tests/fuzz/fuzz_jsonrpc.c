/* Any bytes as a JSON-RPC message, and the first and second line of the input
 * as two ids that are compared. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/jsonrpc.h"

#define BUF_MAX ((size_t)1 << 24)
#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool within(struct span inner, const char *p, size_t n)
{
	return !inner.p || (inner.p >= p && inner.n <= n && (size_t)(inner.p - p) <= n - inner.n);
}

static void check_parts(const char *p, size_t n, const struct rpc_msg *m)
{
	bool answerable = m->kind == RPC_REQUEST || m->kind == RPC_RESULT;

	MUST(within(m->text, p, n) && within(m->id, p, n) && (within(m->method, p, n) || !memchr(m->method.p, '\\', m->method.n)) && within(m->params, p, n) &&
	    within(m->result, p, n) && within(m->error, p, n));
	MUST((m->why != NULL) == (m->kind == RPC_INVALID || m->kind == RPC_NOT_JSON));
	MUST((m->status != JSON_OK) == (m->kind == RPC_NOT_JSON) || (m->status == JSON_DEEP && m->kind == RPC_INVALID && m->id.p));
	MUST(!answerable || m->id.p);
	MUST(m->kind != RPC_NOTIFICATION || !m->id.p);
	MUST((m->kind != RPC_REQUEST && m->kind != RPC_NOTIFICATION) || m->method.p);
}

/* The answer to whatever came is a response with the very same id. */
static void check_answer(const struct rpc_msg *m, struct span text)
{
	struct rpc_msg back;
	struct buf out;
	int64_t code;

	buf_init(&out, BUF_MAX);
	MUST(rpc_write_error(&out, m->id, -1, text, SPAN_LIT("{}")) == 0);
	rpc_parse(buf_data(&out), out.len, &back);
	MUST(back.kind == RPC_ERROR && rpc_error_code(&back, &code) && code == -1);
	MUST(m->id.p ? span_eq(back.id, m->id) : span_is(back.id, "null"));
	buf_reset(&out);
	MUST(rpc_write_result(&out, m->id, SPAN_LIT("{}")) == 0);
	rpc_parse(buf_data(&out), out.len, &back);
	MUST(back.kind == RPC_RESULT);
	buf_fini(&out);
}

/* In a well-formed message the one id that is found is the id. */
static void check_sniff(const char *p, size_t n, const struct rpc_msg *m)
{
	bool has_method = false;
	struct json_scan s;
	struct span id = rpc_sniff_id(p, n, &has_method);

	MUST(within(id, p, n));
	if (id.p)
		MUST(json_scan(id.p, id.n, &s) == JSON_OK && (s.type == '"' || s.type == '0'));
	if (m->kind == RPC_REQUEST)
		MUST(has_method && span_eq(id, m->id));
}

static bool is_id(struct span v)
{
	struct json_scan s;
	return json_scan(v.p, v.n, &s) == JSON_OK && s.text.n == v.n && (s.type == '"' || s.type == '0');
}

static void check_ids(struct span a, struct span b)
{
	struct buf ka, kb;
	int64_t x, y;
	bool same;

	if (!is_id(a) || !is_id(b))
		return;
	buf_init(&ka, BUF_MAX);
	buf_init(&kb, BUF_MAX);
	MUST(rpc_id_key(a, &ka) == 0 && rpc_id_key(b, &kb) == 0);
	same = span_eq(buf_span(&ka), buf_span(&kb));
	MUST(same == span_eq(buf_span(&kb), buf_span(&ka)));
	MUST(!span_eq(a, b) || same);
	MUST(rpc_id_same_double(a, b) == rpc_id_same_double(b, a));
	if (json_int(a, &x) && json_int(b, &y))
		MUST(same == (x == y) && (!same || rpc_id_same_double(a, b)));
	MUST(!same || json_type(a) == json_type(b));
	buf_fini(&ka);
	buf_fini(&kb);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *p = (const char *)data, *eol = size ? memchr(p, '\n', size) : NULL;
	struct rpc_msg m;

	rpc_parse(p, size, &m);
	check_parts(p, size, &m);
	check_answer(&m, span_make(p, size));
	check_sniff(p, size, &m);
	if (m.kind == RPC_REQUEST)
		check_ids(m.id, m.id);
	if (eol)
		check_ids(span_make(p, (size_t)(eol - p)), span_make(eol + 1, size - (size_t)(eol + 1 - p)));
	return 0;
}
