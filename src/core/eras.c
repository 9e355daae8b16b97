/* Translation between the eras of client and server. */
#include <stdio.h>
#include <stdlib.h>

#include "core/session_i.h"

int eras_render(struct session *s, struct request *r)
{
	struct json_edit e = { r->id, r->uid };

	(void)s;
	buf_reset(&r->upstream);
	if (r->uid.p == r->id.p || span_eq(r->uid, r->id))
		return 0;
	return json_splice(&r->upstream, buf_span(&r->line), &e, 1);
}

int eras_headers(struct session *s, struct request *r, struct buf *lines)
{
	(void)s;
	(void)r;
	(void)lines;
	return 0;
}

bool eras_intake(struct session *s, const struct rpc_msg *m) { (void)s; (void)m; return false; }
bool eras_answer(struct session *s, struct request *r, const struct rpc_msg *m, struct buf *owned) { (void)s; (void)r; (void)m; (void)owned; return false; }
bool eras_inbound(struct session *s, struct request *r, const struct rpc_msg *m) { (void)s; (void)r; (void)m; return false; }
void eras_failed(struct session *s, struct request *r, const struct failure *f)
{
	(void)f;
	request_drop(s, r);
	probe_next(s, "no modern server");
}
void eras_forget_request(struct session *s, struct request *r) { (void)s; (void)r; }
void eras_free(struct session *s) { (void)s; }
