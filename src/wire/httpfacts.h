/* What an HTTP exchange can tell, in words that need no library: io/http
 * records these, the core judges them. */
#ifndef WIRE_HTTPFACTS_H
#define WIRE_HTTPFACTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/span.h"

enum http_method { HTTP_GET, HTTP_POST, HTTP_DELETE };

/* How a transfer ended. */
enum http_outcome {
	HTTP_OK,             /* the response is complete (any status) */
	HTTP_RESOLVE,        /* name not resolved */
	HTTP_CONNECT,        /* refused, unreachable, connect timeout */
	HTTP_PROXY,          /* the proxy refused or failed before the request went out */
	HTTP_TLS,            /* handshake or certificate */
	HTTP_SEND,           /* failed while sending; see body_sent */
	HTTP_RESET,          /* connection lost after sending, before or in the response (reset, EOF, partial body) */
	HTTP_TIMEOUT,        /* the transfer's own time limit */
	HTTP_BAD,            /* not HTTP, headers too large, undecodable content coding */
	HTTP_NOMEM,
	HTTP_ABORTED,        /* cancelled */
};

struct http_result {
	enum http_outcome outcome;
	bool body_sent;      /* the whole request body was handed to the kernel (true for an empty body once connected) */
	bool got_bytes;      /* at least one byte of the response came */
	bool reused;         /* the connection had been used before */
	int curl_code, os_errno;
	int64_t total_us, connect_us;
	char detail[160];    /* half a sentence for the log: `reset by peer (curl 56)`; no URL, no secret */
};

/* The response's head. Spans live until the end of the transfer was taken or it is cancelled. */
struct http_head {
	int status;
	int version;                   /* 10, 11, 20 */
	struct span content_type, session_id, retry_after, location, allow, dpop_nonce, date;
	struct span set_cookie;        /* "name=value" of each, one a line */
	struct span www_authenticate;  /* several are joined by ", " */
};

#endif
