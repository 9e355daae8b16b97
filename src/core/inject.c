/* --trace-inject: a request that carries no trace context gets one of ours, the
 * beginning of a trace. It is made once and stays the same however often the
 * request is sent. Nothing else ever adds a member to a client's body. */
#include <stdio.h>
#include <string.h>

#include "core/session_i.h"

#define ROOM 256 /* for what is added */

static void make_trace(struct session *s, struct request *r)
{
	uint64_t id[3];

	for (int i = 0; i < 3; i++)
		do
			id[i] = rng_next(&s->rng);
		while (!id[i]);
	snprintf(r->trace, sizeof(r->trace), "00-%016llx%016llx-%016llx-01", (unsigned long long)id[0], (unsigned long long)id[1],
		(unsigned long long)id[2]);
}

/* The edit that puts it where it belongs. 1 when there is nothing to do. */
static int edit(struct json_edit *e, struct buf *scratch, const struct rpc_msg *m, const char *trace)
{
	struct span meta = json_get(m->params, "_meta");
	char text[2 * ROOM];

	if ((m->params.p && json_type(m->params) != '{') || (meta.p && json_type(meta) != '{') || json_get(meta, "traceparent").p)
		return 1;
	snprintf(text, sizeof(text), meta.p ? "\"%s\"" : m->params.p ? "{\"traceparent\":\"%s\"}" : "{\"_meta\":{\"traceparent\":\"%s\"}}", trace);
	if (meta.p)
		return json_edit_set(e, scratch, meta, "traceparent", span_str(text));
	if (m->params.p)
		return json_edit_set(e, scratch, m->params, "_meta", span_str(text));
	return json_edit_set(e, scratch, m->text, "params", span_str(text));
}

int inject_trace(struct session *s, struct request *r)
{
	struct span text = r->upstream.len ? buf_span(&r->upstream) : buf_span(&r->line);
	struct json_edit e;
	struct rpc_msg m;
	struct buf out, scratch;
	int rc;

	if (!s->c->trace_inject || r->purpose != RQ_CLIENT)
		return 0;
	rpc_parse(text.p, text.n, &m);
	if (!r->trace[0])
		make_trace(s, r);
	buf_init(&scratch, 2 * ROOM);
	buf_init(&out, text.n + 2 * ROOM);
	rc = edit(&e, &scratch, &m, r->trace);
	if (rc > 0)
		r->trace[0] = '\0'; /* it has its own, or no place for one */
	else if (rc == 0 && (rc = json_splice(&out, text, &e, 1)) == 0)
		buf_move(&r->upstream, &out);
	buf_fini(&scratch);
	buf_fini(&out);
	return rc < 0 ? -1 : 0;
}
