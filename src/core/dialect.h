/* Every rule that depends on the protocol revision. No other file compares a
 * version string.
 *
 * | | 2024-11-05 | 2025-03-26 | 2025-06-18 | 2025-11-25 | 2026-07-28 |
 * | transport | GET SSE + POST | one URL | same | same | POST only |
 * | version header | - | - | yes | yes | yes, and Mcp-* |
 * | batches | no | yes | no | no | no |
 * | resume | - | Last-Event-ID | same | same | never | */
#ifndef CORE_DIALECT_H
#define CORE_DIALECT_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/span.h"
#include "core/catalog.h"
#include "core/session.h"
#include "wire/jsonrpc.h"

#define VERSION_MODERN "2026-07-28"
#define META_VERSION "io.modelcontextprotocol/protocolVersion"
#define META_CLIENT_INFO "io.modelcontextprotocol/clientInfo"
#define META_CLIENT_CAPS "io.modelcontextprotocol/clientCapabilities"
#define META_LOG_LEVEL "io.modelcontextprotocol/logLevel"
#define META_SUBSCRIPTION "io.modelcontextprotocol/subscriptionId"
#define META_SERVER_INFO "io.modelcontextprotocol/serverInfo"

/* Decodes a version string of JSON into out (at most 15 bytes); false when it is none. */
bool version_read(struct span json, char out[16]);
bool version_is_known_legacy(const char *v);
bool version_is_modern(struct span json);
/* Both are revisions with a handshake, and a came before b. */
/* 0 (debug) to 7 (emergency); -1: no log level. */
int log_level_rank(struct span json);
bool version_is_older(const char *a, const char *b);
/* Appends the headers that every request of this session carries. */
int dialect_session_headers(struct buf *out, enum era era, const char *version, struct span session_id);
bool dialect_has_batches(const char *version);
/* Streams may be resumed with Last-Event-ID. */
bool dialect_resumes(enum era era);
/* The server may be asked for a standing GET stream. */
bool dialect_has_stream(enum era era);
/* A ping's answer travels on the standing stream and so judges it. */
bool dialect_ping_judges_stream(enum era era);
/* Cancelling is closing the response stream, nothing is posted. */
bool dialect_cancel_by_close(enum era era);
/* Appends the mirrored headers of one 2026-07-28 request (basic/transports,
 * "Request Metadata"). version: decoded. */
int dialect_modern_headers(struct buf *out, struct span version, struct span method, struct span params, const struct catalog *k);
/* The same but the version: Mcp-Method, Mcp-Name, Mcp-Param-*. */
int dialect_mirror_headers(struct buf *out, struct span method, struct span params, const struct catalog *k);
/* A version string later than the last legacy one. */
bool version_text_is_modern(const char *v);
/* A client's message shows that it speaks 2026-07-28: `_meta` names the version. */
bool dialect_client_is_modern(const struct rpc_msg *m);
/* May a request with this method be sent again though it may have run? tools/call is the catalogue's business. */
bool dialect_repeatable(struct span method);

#endif
