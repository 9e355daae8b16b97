/* Judging a response. The table of lost sessions holds what servers and
 * gateways were seen to answer; a row matches by status, error code and, where
 * the code alone is ambiguous, by words of the error's message. -32001 is one
 * of those: it is also an SDK's request timeout. */
#include "core/verdict.h"

#include <ctype.h>
#include <string.h>

#define ANY_CODE INT64_MIN
#define NO_RPC (INT64_MIN + 1) /* the body is no JSON-RPC error */
#define SNIFF_BYTES 512

struct gone_row {
	int status;          /* 0: any */
	int64_t code;
	const char *words;   /* all of them (separated by '+') stand in the message, any case; NULL: no matter */
};

static const struct gone_row gone_rows[] = {
	{ 404, NO_RPC, NULL },                       /* empty, HTML, plain text, malformed */
	{ 404, -32001, NULL },                       /* the TypeScript SDK */
	{ 404, -32600, NULL },                       /* the Python SDK */
	{ 404, -32000, "session" },
	{ 404, -32602, "session" },
	{ 404, -32603, "session" },
	{ 404, -32601, "session" },
	{ 410, ANY_CODE, NULL },
	{ 409, ANY_CODE, "session" },
	{ 0, -32001, "session" },                    /* 200, 400, 500... "Session not found" */
	{ 0, -32002, "not initialized" },
	{ 0, -32000, "no valid session" },           /* the reference server after a restart */
	{ 0, -32000, "not initialized" },
	{ 0, -32000, "session+not found" },
	{ 0, -32000, "session+expired" },
	{ 0, -32000, "session+invalid" },
	{ 0, -32000, "unknown session" },
	{ 0, -32600, "session+not found" },
	{ 0, -32600, "session+expired" },
	{ 0, -32600, "session+invalid" },
	{ 0, -32602, "session+not found" },
	{ 0, -32005, "session" },
	{ 0, -32006, "session" },
	{ 500, ANY_CODE, "session+not found" },
	{ 500, ANY_CODE, "unknown session" },
	{ 503, ANY_CODE, "session+not found" },
	{ 503, ANY_CODE, "unknown session" },
};

static bool contains(struct span hay, const char *word, size_t n)
{
	size_t limit = hay.n < SNIFF_BYTES ? hay.n : SNIFF_BYTES;

	for (size_t i = 0; i + n <= limit; i++) {
		size_t k = 0;
		while (k < n && tolower((unsigned char)hay.p[i + k]) == word[k])
			k++;
		if (k == n)
			return true;
	}
	return false;
}

static bool has_words(struct span text, const char *words)
{
	while (words && *words) {
		size_t n = strcspn(words, "+");
		if (!contains(text, words, n))
			return false;
		words += n + (words[n] == '+');
	}
	return true;
}

bool verdict_session_gone(const struct exchange_facts *f)
{
	struct span text = SPAN_NONE;
	int64_t code = NO_RPC;

	if (!f->had_session || f->handshake || f->era == ERA_MODERN)
		return false;
	if (f->msg && f->msg->kind == RPC_RESULT)
		return false;
	if (f->msg && f->msg->kind == RPC_ERROR) {
		if (!rpc_error_code(f->msg, &code))
			code = 0;
		text = json_get(f->msg->error, "message");
	}
	for (size_t i = 0; i < sizeof(gone_rows) / sizeof(*gone_rows); i++) {
		const struct gone_row *g = &gone_rows[i];
		if (g->status && g->status != f->status)
			continue;
		if (g->code == NO_RPC ? code != NO_RPC : g->code != ANY_CODE && g->code != code)
			continue;
		if (has_words(text, g->words) && (!g->words || text.p))
			return true;
	}
	return false;
}

bool verdict_misses_handshake(struct span error)
{
	struct span text = json_get(error, "message");

	return text.p && (has_words(text, "session") || has_words(text, "not initialized") || has_words(text, "protocol version"));
}

bool verdict_insufficient_scope(struct span www)
{
	for (size_t i = 0; i + 18 <= www.n; i++)
		if (memcmp(www.p + i, "insufficient_scope", 18) == 0)
			return true;
	return false;
}

static bool modern_error(const struct exchange_facts *f)
{
	int64_t code;

	return f->msg && f->msg->kind == RPC_ERROR && rpc_error_code(f->msg, &code) &&
	       (code == -32020 || code == -32021 || code == -32022);
}

static bool rpc_answer(const struct exchange_facts *f)
{
	return f->msg && (f->msg->kind == RPC_RESULT || f->msg->kind == RPC_ERROR || f->msg->kind == RPC_BATCH);
}

/* 4xx other than 401, 403 and 429. */
static enum verdict verdict_4xx(const struct exchange_facts *f)
{
	if (verdict_session_gone(f))
		return VERDICT_GONE;
	if (rpc_answer(f) && !(f->handshake && f->era != ERA_MODERN && f->status != 400))
		return VERDICT_ANSWER;
	if (f->status == 404 || f->status == 405 || f->status == 400)
		return f->handshake ? VERDICT_TRANSPORT : VERDICT_REJECTED;
	if (f->status == 408 || f->status == 425) /* a gateway's word about what it had passed on, too */
		return VERDICT_UNKNOWN;
	return VERDICT_REJECTED;
}

static enum verdict verdict_5xx(const struct exchange_facts *f)
{
	if (verdict_session_gone(f))
		return VERDICT_GONE;
	if (f->status == 503 && f->retry_after)
		return VERDICT_LATER;
	if (f->status == 500 && rpc_answer(f))
		return VERDICT_ANSWER;
	if (f->status == 501 || f->status == 505)
		return f->handshake ? VERDICT_TRANSPORT : VERDICT_REJECTED;
	return VERDICT_UNKNOWN;
}

enum verdict verdict_of(const struct exchange_facts *f)
{
	int st = f->status;

	if (modern_error(f) && st == 400)
		return VERDICT_MODERN;
	if (st == 401)
		return VERDICT_AUTH;
	if (st == 403)
		return f->insufficient_scope ? VERDICT_AUTH : VERDICT_FORBIDDEN;
	if (st == 429)
		return VERDICT_LATER;
	if (st == 307 || st == 308)
		return VERDICT_REDIRECT;
	if (st >= 500)
		return verdict_5xx(f);
	if (st >= 400)
		return verdict_4xx(f);
	if (st >= 300 || st < 200)
		return VERDICT_REJECTED;
	if (verdict_session_gone(f))
		return VERDICT_GONE;
	if (rpc_answer(f))
		return VERDICT_ANSWER;
	return st == 200 && f->era != ERA_SSE ? VERDICT_BAD : VERDICT_ACCEPTED;
}
