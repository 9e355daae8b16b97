/* Writing our own errors. Each text says what happened, what was tried,
 * whether the action may have taken effect, and what to do next; it names no
 * host, path, process or version. */
#include "core/answer.h"

#include <stdio.h>
#include <string.h>

struct kind_info { const char *name, *next; bool retryable; };

static const struct kind_info kinds[ERROR_KINDS] = {
	[ERR_UPSTREAM_UNAVAILABLE] = { "upstream_unavailable", "The connection is being restored in the background; try again in a moment, and if it keeps failing tell the user that the server can not be reached", true },
	[ERR_CIRCUIT_OPEN] = { "circuit_open", "Do not repeat this at once; go on with other work and try again later", true },
	[ERR_OUTCOME_UNKNOWN] = { "outcome_unknown", "Check whether it took effect before calling it again, since a repetition could do it twice", false },
	[ERR_TIMEOUT] = { "timeout", "Try a smaller request, or check first whether it took effect", false },
	[ERR_QUEUE_FULL] = { "queue_full", "Send fewer requests at once and try again in a moment", true },
	[ERR_RATE_LIMITED] = { "rate_limited", "Wait for the time given before trying again", true },
	[ERR_AUTH_REQUIRED] = { "auth_required", "Ask the user to sign in or to check the credentials of this server; repeating the request before that will not help", false },
	[ERR_MESSAGE_TOO_LARGE] = { "message_too_large", "Ask for less at once, for instance with a filter or in pages", false },
	[ERR_BAD_UPSTREAM] = { "bad_upstream", "The server or something in between is faulty; try again once, then tell the user", false },
	[ERR_UNSUPPORTED] = { "unsupported", "Use another way to reach the goal", false },
	[ERR_SHUTTING_DOWN] = { "shutting_down", "The connection to this server is being closed; it needs to be started again", false },
};

const char *error_kind_name(enum error_kind k) { return kinds[k].name; }
bool error_kind_retryable(enum error_kind k) { return kinds[k].retryable; }

/* Credentials are no matter of time, but for this: who gives them is away. */
static bool waits_for_sign_in(const struct own_error *e)
{
	return e->kind == ERR_AUTH_REQUIRED && e->retry_after_ms >= 0;
}

static const char *advice(const struct own_error *e)
{
	if (e->next)
		return e->next;
	if (waits_for_sign_in(e))
		return "Go on with other work meanwhile, and if it keeps failing tell the user that signing in to this server does not work at the moment";
	return kinds[e->kind].next;
}

int answer_text(struct buf *out, const struct own_error *e)
{
	int bad = buf_puts(out, e->what);

	if (e->attempts > 1)
		bad |= buf_printf(out, " (tried %u times)", e->attempts);
	if (out->len == 0 || buf_data(out)[out->len - 1] != '.')
		bad |= buf_puts(out, ".");
	if (e->has_run_state)
		bad |= buf_puts(out, e->may_have_run ? " The action may have taken effect." : " The action was not carried out.");
	if (e->retry_after_ms >= 0)
		bad |= buf_printf(out, " It may be tried again in %lld s.", (long long)((e->retry_after_ms + 999) / 1000));
	bad |= buf_printf(out, " %s.", advice(e));
	if (e->ref[0])
		bad |= buf_printf(out, " (ref %s)", e->ref);
	return bad ? -1 : 0;
}

static int write_data(struct buf *out, const struct own_error *e)
{
	int bad = buf_printf(out, "{\"source\":\"mcp-holdfast\",\"kind\":\"%s\",\"retryable\":%s,\"attempts\":%u",
		kinds[e->kind].name, kinds[e->kind].retryable || waits_for_sign_in(e) ? "true" : "false", e->attempts);

	if (e->retry_after_ms >= 0)
		bad |= buf_printf(out, ",\"retryAfterMs\":%lld", (long long)e->retry_after_ms);
	if (e->has_run_state)
		bad |= buf_printf(out, ",\"mayHaveRun\":%s", e->may_have_run ? "true" : "false");
	bad |= buf_printf(out, ",\"ref\":\"%s\"}", e->ref);
	return bad ? -1 : 0;
}

int answer_write(struct buf *out, struct span id, const struct own_error *e)
{
	struct buf text, data;
	int rc = -1;

	buf_init(&text, 8192);
	buf_init(&data, 8192);
	if (answer_text(&text, e) != 0 || write_data(&data, e) != 0)
		goto done;
	if (!e->tool) {
		rc = rpc_write_error(out, id, ANSWER_CODE_FIRST - (int)e->kind, buf_span(&text), buf_span(&data));
		goto done;
	}
	rc = buf_puts(out, "{\"jsonrpc\":\"2.0\",\"id\":");
	rc |= buf_add(out, id);
	rc |= buf_puts(out, ",\"result\":{");
	rc |= buf_puts(out, e->typed ? "\"resultType\":\"complete\"," : "");
	rc |= buf_puts(out, "\"content\":[{\"type\":\"text\",\"text\":");
	rc |= json_quote(out, buf_span(&text));
	rc |= buf_puts(out, "}],\"isError\":true,\"_meta\":{\"mcp-holdfast/error\":");
	rc |= buf_add(out, buf_span(&data));
	rc |= buf_puts(out, "}}}");
done:
	buf_fini(&text);
	buf_fini(&data);
	return rc ? -1 : 0;
}
