/* Clients and servers of both eras, for lives in which memory fails. */
#ifndef TESTS_ERA_PEERS_H
#define TESTS_ERA_PEERS_H

#include "failing_memory.h"

#define META_MORE(caps, more) "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{" caps "}" more "}"
#define META META_MORE("\"elicitation\":{}", "")
#define ASK(id, method, params) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\",\"params\":{" params META "}}"
#define CALL(id, tool) ASK(id, "tools/call", "\"name\":\"" tool "\",\"arguments\":{\"a\":\"x y\"},")
/* Longer than what a buffer takes at first. */
#define LONG_10 "0123456789"
#define LONG_100 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10 LONG_10
#define LONG LONG_100 LONG_100 LONG_100
#define LISTEN "\"notifications\":{\"toolsListChanged\":true,\"resourceSubscriptions\":[\"file:///" LONG "\",\"file:///a\",\"file:///b\"]},"
#define LAST_MODERN ASK("\"last\"", "prompts/get", "\"name\":\"p\",")
#define HELLO_AS(id) "{\"jsonrpc\":\"2.0\",\"id\":\"" id "\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"elicitation\":{}},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}"

#define CAPS "\"capabilities\":{\"tools\":{\"listChanged\":true},\"resources\":{\"subscribe\":true,\"listChanged\":true},\"prompts\":{\"listChanged\":true},\"logging\":{}}"
#define DISCOVERED "\"result\":{\"supportedVersions\":[\"2026-07-28\"]," CAPS ",\"instructions\":\"i\",\"_meta\":{\"io.modelcontextprotocol/serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}}"
#define TOOL_SAFE "{\"name\":\"safe\",\"annotations\":{\"readOnlyHint\":true}}"
#define TOOL_ACT "{\"name\":\"act\",\"inputSchema\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"string\",\"x-mcp-header\":\"A\"}}}}"
#define TOOL_ODD "{\"name\":\"odd\",\"inputSchema\":{\"items\":{\"x-mcp-header\":\"X\"}}}"
#define TOOLS "\"result\":{\"tools\":[" TOOL_SAFE "," TOOL_ACT "," TOOL_ODD ",{\"name\":\"hid\\u0065\"}]}"
#define EVENT(method, params) "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/" method "\",\"params\":{" params "}}"

/* What must be said whole, or not at all. */
static inline void watch(struct play *p, struct transfer *t, void *arg)
{
	const char *body = buf_data(&t->kept);
	struct rpc_msg m;
	unsigned generation;
	struct session_view v;

	(void)arg;
	session_look(p->s, &v, p->now);
	if (v.era == ERA_HTTP && t->set == HEADERS_SESSION) {
		struct span headers = session_headers(p->s, &generation);
		MUST(memmem(headers.p, headers.n, "Mcp-Session-Id: sid-1\n", 22));
		MUST(memmem(headers.p, headers.n, "MCP-Protocol-Version: 2025-11-25\n", 33));
	}
	if (t->method != HTTP_POST)
		return;
	m = transfer_msg(t);
	if (span_is(m.method, "initialize"))
		MUST(strstr(body, "\"protocolVersion\":\"20") && (strstr(body, "\"capabilities\":{\"elicitation\"") || strstr(body, "\"capabilities\":{\"roots\"")));
	if (span_is(m.method, "server/discover") || v.era == ERA_MODERN)
		MUST(strstr(body, "clientCapabilities\":{\"elicitation\"") && strstr(body, "clientInfo\":{\"name\":\"c\""));
	if (strstr(body, "inputResponses"))
		MUST(strstr(body, "\"requestState\":\"st\""));
	if (v.era == ERA_MODERN && span_is(m.method, "tools/call"))
		MUST(t->lines.len && strstr(buf_data(&t->lines), "MCP-Protocol-Version: 2026-07-28\n") && strstr(buf_data(&t->lines), "Mcp-Name: "));
}

/* ---- what clients and servers do ------------------------------------------------------------------------ */

/* A server of 2026-07-28 in good health. Subscriptions stay open. */
static inline void serve_one_modern(struct play *p, struct transfer *t)
{
	struct rpc_msg m = transfer_msg(t);
	char text[600];

	if (t->method != HTTP_POST || !m.id.p || m.kind != RPC_REQUEST) {
		play_status(p, t, 405);
	} else if (span_is(m.method, "initialize")) {
		play_error(p, t, 400, -32601, "Method not found");
	} else if (span_is(m.method, "server/discover")) {
		play_json(p, t, DISCOVERED);
	} else if (span_is(m.method, "tools/list")) {
		play_json(p, t, TOOLS);
	} else if (span_is(m.method, "subscriptions/listen")) {
		snprintf(text, sizeof(text), EVENT("subscriptions/acknowledged", "\"notifications\":{\"toolsListChanged\":true},\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":%.*s}"), (int)m.id.n, m.id.p);
		play_sse(p, t);
		play_event(p, t, NULL, text);
	} else {
		play_json(p, t, good_answer(t, false));
	}
}

static inline void serve_modern(struct play *p, int64_t ms)
{
	play_serve_with(p, ms, serve_one_modern);
}

static inline void lose(struct play *p, const char *method, int status, enum http_outcome o)
{
	struct transfer *t = play_find(p, method);

	if (t && o != HTTP_OK)
		play_fail(p, t, o, o != HTTP_CONNECT);
	else if (t)
		play_status(p, t, status);
}

static inline void answer(struct play *p, const char *method, const char *member)
{
	struct transfer *t = play_find(p, method);

	if (t)
		play_json(p, t, member);
}

/* The open subscription, once it was acknowledged. */
static inline struct transfer *subscription(struct play *p)
{
	struct transfer *t = p->transfers;

	while (t && !(t->open && t->sse && span_is(transfer_msg(t).method, "subscriptions/listen")))
		t = t->next;
	return t;
}

/* An event of the subscription, tagged with its id. */
static inline void tell(struct play *p, const char *format)
{
	struct transfer *t = subscription(p);
	char text[600];
	struct rpc_msg m;

	if (!t)
		return;
	m = transfer_msg(t);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(text, sizeof(text), format, (int)m.id.n, m.id.p);
#pragma GCC diagnostic pop
	play_event(p, t, NULL, text);
}

/* The client answers each request of the server that it has not answered yet. */
static inline void answer_questions(struct play *p, size_t *seen, const char *member)
{
	for (size_t last = p->nsent; *seen < last; (*seen)++) {
		struct rpc_msg m;
		char text[300];

		rpc_parse(buf_data(&p->sent[*seen]), p->sent[*seen].len, &m);
		if (m.kind != RPC_REQUEST)
			continue;
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%.*s,%s}", (int)m.id.n, m.id.p, member);
		play_client(p, text);
	}
}

/* Comes back under a new id with the input that the answer to `id` asks for. */
static inline void come_back(struct play *p, const char *id, const char *new_id)
{
	const char *text = NULL, *key, *state;
	char line[2000];

	if (!play_answers(p, id, &text) || !(key = strstr(text, "\"inputRequests\":{")) || !(state = strstr(text, "\"requestState\":")))
		return;
	key += strlen("\"inputRequests\":{");
	state += strlen("\"requestState\":");
	snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"tools/call\",\"params\":{\"name\":\"act\",\"arguments\":{\"a\":\"x y\"},"
		"\"inputResponses\":{%.*s:{\"action\":\"accept\"}},\"requestState\":%.*s," META "}}", new_id,
		(int)(strstr(key, ":{\"method\"") - key), key, (int)strcspn(state, "}"), state);
	play_client(p, line);
}

#define HELLO_FULL "\"result\":{\"protocolVersion\":\"2025-11-25\"," CAPS ",\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}"

static inline void serve_one_legacy(struct play *p, struct transfer *t)
{
	struct rpc_msg m = transfer_msg(t);
	char text[2000];

	if (t->method == HTTP_GET) {
		play_sse(p, t);
	} else if (span_is(m.method, "server/discover")) {
		play_error(p, t, 400, -32600, "Bad Request: Server not initialized");
	} else if (span_is(m.method, "initialize")) {
		write_reply(t, HELLO_FULL, text, sizeof(text));
		play_respond(p, t, (struct head){ .status = 200, .type = "application/json", .sid = "sid-1" }, text);
	} else if (span_is(m.method, "tools/list")) {
		play_json(p, t, TOOLS);
	} else {
		play_serve_one(p, t);
	}
}

static inline void serve_legacy(struct play *p, int64_t ms)
{
	play_serve_with(p, ms, serve_one_legacy);
}

static inline void stream_event(struct play *p, const char *text)
{
	struct transfer *t = play_open_stream(p);

	if (t)
		play_event(p, t, NULL, text);
}

/* ---- what must be true in the end ---------------------------------------------------------------- */

static inline const char *check_hidden(struct play *p, unsigned long width)
{
	(void)width;
	return play_said(p, "hid\\u0065") || play_said(p, "\"odd\"") ? "a tool is seen that should not be" : NULL;
}

static inline bool good(struct play *p, const char *id)
{
	const char *last = NULL;

	return play_answers(p, id, &last) == 1 && !strstr(last, "\"error\"");
}

static inline const char *check_discovered(struct play *p, unsigned long width)
{
	(void)width;
	if (good(p, "\"d\"") && !play_said(p, CAPS))
		return "the client does not know what the server can";
	return play_said(p, "hid\\u0065") ? "a tool is seen that should not be" : NULL;
}

#endif
