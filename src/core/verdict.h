/* What a response means: one table, judged from status, JSON-RPC error code,
 * whether we sent a session id, and the text of an error; never from the text
 * of a result. */
#ifndef CORE_VERDICT_H
#define CORE_VERDICT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/session.h"
#include "wire/httpfacts.h"
#include "wire/jsonrpc.h"

enum verdict {
	VERDICT_ANSWER,       /* a JSON-RPC answer, to be passed on */
	VERDICT_ACCEPTED,     /* 202 and its like: no answer in this exchange */
	VERDICT_GONE,         /* the session is lost; not processed */
	VERDICT_TRANSPORT,    /* wrong transport, or the wrong path for it */
	VERDICT_MODERN,       /* a recognised error of 2026-07-28 */
	VERDICT_AUTH,         /* 401, or 403 insufficient_scope */
	VERDICT_FORBIDDEN,    /* any other 401/403 */
	VERDICT_LATER,        /* not processed: 429, 503 with Retry-After */
	VERDICT_UNKNOWN,      /* may have been processed: 500, 502, 504, bare 503 */
	VERDICT_REDIRECT,     /* 307, 308 */
	VERDICT_REJECTED,     /* another 4xx: not to be tried again */
	VERDICT_BAD,          /* a success that is no answer: HTML, broken JSON */
};

struct exchange_facts {
	enum era era;             /* the transport the request used */
	int status;
	bool had_session;         /* a session id (or 2024-11-05 endpoint) was used */
	bool handshake;           /* an initialize */
	bool retry_after;         /* the response had a Retry-After that we could read */
	bool insufficient_scope;  /* 403 whose WWW-Authenticate says so */
	const struct rpc_msg *msg;/* the body as JSON-RPC, NULL when it is none */
};

enum verdict verdict_of(const struct exchange_facts *f);
/* Only the question "is the session lost?", for an error answer that came on a stream. */
bool verdict_session_gone(const struct exchange_facts *f);
/* An error object of a server that looked for a session, or for another version, before
 * it looked at the request. */
bool verdict_misses_handshake(struct span error);
/* 403 with error="insufficient_scope" in the challenge (RFC 6750, 3.1). */
bool verdict_insufficient_scope(struct span www_authenticate);

#endif
