/* Tells what one JSON-RPC 2.0 message is (https://www.jsonrpc.org/specification). */
#ifndef WIRE_JSONRPC_H
#define WIRE_JSONRPC_H

#include "base/buf.h"
#include "base/span.h"
#include "wire/json.h"

enum rpc_kind {
	RPC_REQUEST,
	RPC_NOTIFICATION,
	RPC_RESULT,     /* a response with `result` */
	RPC_ERROR,      /* a response with `error` */
	RPC_BATCH,      /* a non-empty array; take its members one by one with json_next() and rpc_parse() */
	RPC_NOT_JSON,   /* -32700: not JSON, not UTF-8, too deep, cut short */
	RPC_INVALID,    /* -32600: JSON, but no message */
};

struct rpc_msg {
	enum rpc_kind kind;
	enum json_status status; /* why, for RPC_NOT_JSON */
	const char *why;         /* why, for RPC_NOT_JSON and RPC_INVALID: half a sentence */
	bool has_newline;        /* the text has CR or LF between tokens */
	struct span text;        /* the message without white space around it */
	struct span id;          /* raw; SPAN_NONE when absent; `null` is present */
	struct span method;      /* as rpc_method_name() gives it */
	struct span params, result, error;
};

/* Classifies. Rules: an object; `jsonrpc` is "2.0"; `id`, `method`, `params`,
 * `result`, `error` at most once; an id is a string, a number or (responses
 * only) null; `method` is a string; `params` an object or array; `error` an
 * object; a response has exactly one of result and error, and a result has an
 * id (an error may come without one, as MCP 2025-11-25 allows). For RPC_INVALID
 * the id is still given where a usable one stands there. A request that is nested too
 * deeply to be read is RPC_INVALID, too, with its id. All spans point into p, but for a
 * method's name that was escaped. */
void rpc_parse(const char *p, size_t n, struct rpc_msg *m);

/* The name in a JSON string: raw, without quotes; but one of the protocol's that is
 * escaped, as some writers do with each slash, is plain, in static memory. SPAN_NONE
 * when it is no string. */
struct span rpc_method_name(struct span string);

/* Method and, for errors, code; false when the error has no whole-number code. */
bool rpc_error_code(const struct rpc_msg *m, int64_t *code);

/* A key under which equal ids are equal: 's' + decoded string, or 'n' + the
 * number's digits (normalised: 1, 1.0 and 1e0 are one). Appends to out. 0; -1
 * when id is neither or out is full. */
int rpc_id_key(struct span id, struct buf *out);
/* Two number ids that are the same double though their texts differ, as a
 * server written in JavaScript returns large ones. */
bool rpc_id_same_double(struct span a, struct span b);

/* Appends {"jsonrpc":"2.0","id":ID,"error":{"code":C,"message":M[,"data":D]}} without a newline. id SPAN_NONE: null. */
int rpc_write_error(struct buf *out, struct span id, int code, struct span message, struct span data);
/* Appends {"jsonrpc":"2.0","id":ID,"result":R}. */
int rpc_write_result(struct buf *out, struct span id, struct span result);

/* Looks for a usable top-level "id" in the beginning of a line that is too
 * long or broken: best effort, raw span into p or SPAN_NONE. Also tells
 * whether a top-level "method" was seen, since an error answer is owed to a
 * request only. */
struct span rpc_sniff_id(const char *p, size_t n, bool *has_method);

#endif
