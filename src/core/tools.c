/* What of a tools/list answer the client is to see: not the tools that the user
 * does not want, not those whose x-mcp-header annotations are invalid, nor schemas
 * that its revision does not have. An answer without such is not touched. */
#include "core/tools.h"

#include <stdint.h>
#include <string.h>

#include "core/mirror.h"
#include "wire/json.h"

/* ---- globs ---- */

/* Advances over one character of UTF-8. */
static size_t next_char(struct span s, size_t i)
{
	i++;
	while (i < s.n && ((unsigned char)s.p[i] & 0xc0) == 0x80)
		i++;
	return i;
}

bool glob_match(const char *glob, struct span name)
{
	const char *star = NULL; /* behind the last * seen */
	size_t i = 0, retry = 0; /* where the text goes on when that * takes one more */

	while (i < name.n) {
		if (*glob == '*') {
			star = ++glob;
			retry = i;
		} else if (*glob == '?') {
			glob++;
			i = next_char(name, i);
		} else if (*glob && *glob == name.p[i]) {
			glob++;
			i++;
		} else if (star) {
			glob = star;
			i = retry = next_char(name, retry);
		} else {
			return false;
		}
	}
	while (*glob == '*')
		glob++;
	return *glob == '\0';
}

bool glob_any(const char *const *globs, size_t n, struct span name)
{
	for (size_t i = 0; i < n; i++) {
		if (glob_match(globs[i], name))
			return true;
	}
	return false;
}

/* ---- tools the client must not see ---- */

static int warn_about(struct span tool, const char *reason, void (*warn)(void *, struct span, const char *), void *arg)
{
	struct json_text name;

	if (json_text_open(&name, json_get(tool, "name")))
		return -1;
	warn(arg, name.s.p ? name.s : SPAN_LIT(""), reason);
	json_text_close(&name);
	return 0;
}

/* The text before the array's elements, those that are valid, the text behind. */
static int put_valid(struct buf *out, struct span result, struct span array)
{
	const char *behind = array.p + array.n - 1;
	const char *sep = "", *reason;
	struct json_iter it;
	struct span tool;

	if (buf_append(out, result.p, (size_t)(array.p + 1 - result.p)))
		return -1;
	json_iter(&it, array);
	while (json_next(&it, NULL, &tool)) {
		int bad = mirror_read(tool, NULL, &reason);

		if (bad < 0 || (bad == 0 && (buf_puts(out, sep) || buf_add(out, tool))))
			return -1;
		if (bad == 0)
			sep = ",";
	}
	return buf_append(out, behind, (size_t)(result.p + result.n - behind));
}

int tools_drop_invalid(struct span result, struct buf *out, void (*warn)(void *arg, struct span name, const char *reason), void *arg)
{
	struct span array = json_get(result, "tools");
	size_t mark = out->len;
	const char *reason;
	struct json_iter it;
	struct span tool;
	int removed = 0;

	if (json_type(array) != '[')
		return 0;
	json_iter(&it, array);
	while (json_next(&it, NULL, &tool)) {
		int bad = mirror_read(tool, NULL, &reason);

		if (bad < 0 || (bad && warn_about(tool, reason, warn, arg)))
			return -1;
		if (removed < INT32_MAX)
			removed += bad;
	}
	if (removed > 0 && put_valid(out, result, array)) {
		out->len = mark;
		return -1;
	}
	return removed;
}

/* ---- tools the user does not want ------------------------------------------------------------ */

bool tools_is_ignored(const struct core_config *c, struct span name)
{
	struct json_text t;
	bool found;

	if (!c->nignore_tools)
		return false;
	if (json_text_open(&t, name))
		return true; /* no memory to tell: better hidden than called */
	found = t.s.p && glob_any(c->ignore_tools, c->nignore_tools, t.s);
	json_text_close(&t);
	return found;
}

int tools_hide(const struct core_config *c, struct span result, struct buf *out)
{
	struct span tools = json_get(result, "tools"), tool;
	struct json_edit e = { tools, SPAN_NONE };
	struct json_iter it;
	struct buf kept;
	int hidden = 0, bad;
	bool any = false;

	if (json_type(tools) != '[')
		return 0;
	buf_init(&kept, tools.n + 2);
	bad = buf_puts(&kept, "[");
	json_iter(&it, tools);
	while (!bad && json_next(&it, NULL, &tool)) {
		if (tools_is_ignored(c, json_get(tool, "name"))) {
			hidden++;
			continue;
		}
		bad = (any && buf_puts(&kept, ",")) || buf_add(&kept, tool);
		any = true;
	}
	bad = bad || buf_puts(&kept, "]");
	e.new_bytes = buf_span(&kept);
	if (!bad && hidden)
		bad = json_splice(out, result, &e, 1);
	buf_fini(&kept);
	return bad ? -1 : hidden;
}

/* ---- schemas that older clients do not take ------------------------------------------------------- */

static bool has_new_schema(struct span tool)
{
	struct span schema = json_get(tool, "outputSchema");

	return schema.p && !json_string_is(json_get(schema, "type"), "object");
}

int tools_fit_legacy(struct span result, struct buf *out)
{
	struct span tools = json_get(result, "tools"), tool;
	struct json_edit e = { tools, SPAN_NONE }, less;
	struct json_iter it;
	struct buf kept;
	const char *sep = "[";
	int n = 0, bad = 0;

	json_iter(&it, json_type(tools) == '[' ? tools : SPAN_NONE);
	while (json_next(&it, NULL, &tool))
		n += n < INT32_MAX && has_new_schema(tool);
	if (n == 0)
		return 0;
	buf_init(&kept, tools.n + 2);
	json_iter(&it, tools);
	while (!bad && json_next(&it, NULL, &tool)) {
		bad = buf_puts(&kept, sep);
		if (!bad && has_new_schema(tool))
			bad = json_edit_remove(&less, tool, "outputSchema") || json_splice(&kept, tool, &less, 1);
		else if (!bad)
			bad = buf_add(&kept, tool);
		sep = ",";
	}
	bad = bad || buf_puts(&kept, "]");
	e.new_bytes = buf_span(&kept);
	bad = bad || json_splice(out, result, &e, 1);
	buf_fini(&kept);
	return bad ? -1 : n;
}
