/* The era rules, as small questions with one place for each answer. */
#include "core/dialect.h"

#include <string.h>

#define MIRRORED_MAX ((size_t)1 << 20) /* of a name or URI in a header; what is too long for it a server says itself */

static const char *const legacy_versions[] = { "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25" };

bool version_read(struct span json, char out[16])
{
	if (json_type(json) != '"' || json.n < 3 || json.n - 2 > 15)
		return false;
	for (size_t i = 1; i < json.n - 1; i++)
		if (json.p[i] < '-' || json.p[i] > 'z' || json.p[i] == '\\')
			return false;
	memcpy(out, json.p + 1, json.n - 2);
	out[json.n - 2] = '\0';
	return true;
}

bool version_is_known_legacy(const char *v)
{
	for (size_t i = 0; i < sizeof(legacy_versions) / sizeof(*legacy_versions); i++)
		if (strcmp(legacy_versions[i], v) == 0)
			return true;
	return false;
}

int log_level_rank(struct span json)
{
	static const char *const levels[] = { "debug", "info", "notice", "warning", "error", "critical", "alert", "emergency" };

	for (int i = 0; i < (int)(sizeof(levels) / sizeof(*levels)); i++)
		if (json_string_is(json, levels[i]))
			return i;
	return -1;
}

bool version_text_is_modern(const char *v)
{
	return strlen(v) == 10 && strcmp(v, "2025-11-25") > 0;
}

bool version_is_older(const char *a, const char *b)
{
	return version_is_known_legacy(a) && version_is_known_legacy(b) && strcmp(a, b) < 0;
}

bool version_is_modern(struct span json)
{
	char v[16];

	/* Revisions are dates: later ones than the last legacy one are modern. */
	return version_read(json, v) && version_text_is_modern(v);
}

int dialect_session_headers(struct buf *out, enum era era, const char *version, struct span session_id)
{
	int bad = 0;

	if (era != ERA_HTTP)
		return 0;
	if (session_id.n) {
		bad |= buf_puts(out, "Mcp-Session-Id: ");
		bad |= buf_add(out, session_id);
		bad |= buf_puts(out, "\n");
	}
	if (version[0] && strcmp(version, "2025-03-26") > 0)
		bad |= buf_printf(out, "MCP-Protocol-Version: %s\n", version);
	return bad ? -1 : 0;
}

bool dialect_has_batches(const char *version) { return strcmp(version, "2025-03-26") == 0; }
bool dialect_resumes(enum era era) { return era == ERA_HTTP; }
bool dialect_has_stream(enum era era) { return era == ERA_HTTP; }
bool dialect_ping_judges_stream(enum era era) { return era == ERA_SSE; }
bool dialect_cancel_by_close(enum era era) { return era == ERA_MODERN; }

static int header_of_string(struct buf *out, const char *name, struct span json)
{
	struct buf text;
	int bad;

	if (json_type(json) != '"')
		return 0;
	buf_init(&text, MIRRORED_MAX);
	bad = json_string(json, &text) || buf_puts(out, name) || mcp_header_value(out, buf_span(&text)) || buf_puts(out, "\n");
	buf_fini(&text);
	return bad ? -1 : 0;
}

/* Requests about a task are routed by its id (the extension io.modelcontextprotocol/tasks, SEP-2663). */
static bool is_of_task(struct span method)
{
	return span_is(method, "tasks/get") || span_is(method, "tasks/update") || span_is(method, "tasks/cancel");
}

int dialect_modern_headers(struct buf *out, struct span version, struct span method, struct span params, const struct catalog *k)
{
	int bad = buf_puts(out, "MCP-Protocol-Version: ");

	bad |= mcp_header_value(out, version);
	bad |= buf_puts(out, "\n");
	return bad || dialect_mirror_headers(out, method, params, k) ? -1 : 0;
}

static int method_header(struct buf *out, struct span method)
{
	struct buf json;
	int bad;

	if (!method.n || !memchr(method.p, '\\', method.n))
		return buf_puts(out, "Mcp-Method: ") || mcp_header_value(out, method) || buf_puts(out, "\n");
	buf_init(&json, MIRRORED_MAX);
	bad = buf_puts(&json, "\"") || buf_add(&json, method) || buf_puts(&json, "\"") || header_of_string(out, "Mcp-Method: ", buf_span(&json));
	buf_fini(&json);
	return bad ? -1 : 0;
}

int dialect_mirror_headers(struct buf *out, struct span method, struct span params, const struct catalog *k)
{
	int bad = method_header(out, method);

	if (span_is(method, "tools/call")) {
		struct span name = json_get(params, "name");
		bad |= header_of_string(out, "Mcp-Name: ", name);
		if (json_type(name) == '"')
			bad |= catalog_param_headers(k, name, json_get(params, "arguments"), out);
	} else if (span_is(method, "prompts/get")) {
		bad |= header_of_string(out, "Mcp-Name: ", json_get(params, "name"));
	} else if (span_is(method, "resources/read")) {
		bad |= header_of_string(out, "Mcp-Name: ", json_get(params, "uri"));
	} else if (is_of_task(method)) {
		bad |= header_of_string(out, "Mcp-Name: ", json_get(params, "taskId"));
	}
	return bad ? -1 : 0;
}

bool dialect_client_is_modern(const struct rpc_msg *m)
{
	if (!m->method.p)
		return false;
	if (span_is(m->method, "server/discover"))
		return true;
	return m->params.p && memmem(m->params.p, m->params.n, "modelcontextprotocol", 20) &&
	       json_type(json_get(json_get(m->params, "_meta"), META_VERSION)) == '"';
}

bool dialect_repeatable(struct span method)
{
	static const char *const safe[] = {
		"initialize", "server/discover", "ping", "tools/list", "resources/list", "resources/templates/list",
		"prompts/list", "resources/read", "prompts/get", "completion/complete", "subscriptions/listen",
		"resources/subscribe", "resources/unsubscribe", "logging/setLevel", "tasks/get", "tasks/list", "tasks/result",
	};

	for (size_t i = 0; i < sizeof(safe) / sizeof(*safe); i++)
		if (span_is(method, safe[i]))
			return true;
	return false;
}
