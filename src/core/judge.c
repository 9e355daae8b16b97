/* What a response without an answer means for its request, from the verdict on
 * it: another session, a sign-in, a redirect, later, or an error. */
#include <stdio.h>
#include <string.h>

#include "base/url.h"
#include "core/session_i.h"

#define MAX_REDIRECTS 5

/* A failed transfer in words and facts. */
void failure_of_result(const struct http_result *r, struct failure *f)
{
	static const char *const what[] = {
		[HTTP_OK] = "The server answered nothing usable",
		[HTTP_RESOLVE] = "The server's name could not be resolved",
		[HTTP_CONNECT] = "The server could not be reached",
		[HTTP_PROXY] = "The proxy refused the connection",
		[HTTP_TLS] = "The secure connection to the server could not be made",
		[HTTP_SEND] = "The connection broke while the request was being sent",
		[HTTP_RESET] = "The connection to the server was lost before the answer came",
		[HTTP_TIMEOUT] = "The server did not answer in time",
		[HTTP_BAD] = "The server answered something that is not valid HTTP, or too much of it",
		[HTTP_NOMEM] = "There was not enough memory for the request",
		[HTTP_ABORTED] = "The request was aborted",
	};

	memset(f, 0, sizeof(*f));
	f->retry_after_ms = -1;
	f->kind = ERR_UPSTREAM_UNAVAILABLE;
	f->what = what[r->outcome];
	switch (r->outcome) {
	case HTTP_RESOLVE: case HTTP_CONNECT: case HTTP_PROXY: case HTTP_TLS:
		f->line = true;
		break;
	case HTTP_NOMEM:
		break;
	case HTTP_BAD:
		f->kind = ERR_BAD_UPSTREAM;
		f->may_have_run = r->body_sent;
		break;
	default:
		f->may_have_run = r->body_sent;
	}
}

bool session_gone_often(struct session *s)
{
	int64_t oldest = s->gone_times[4];

	memmove(s->gone_times + 1, s->gone_times, 5 * sizeof(int64_t));
	s->gone_times[0] = s->now;
	return oldest && s->now - oldest < 60000;
}

void session_gone(struct session *s, struct xfer *x, struct request *r)
{
	bool current = x->epoch == s->epoch;

	if (r->purpose != RQ_CLIENT && r->purpose != RQ_PING) {
		replay_on_gone(s, r);
		return;
	}
	r->why = RETRY_SESSION;
	request_park(s, r, 0);
	if (current && s->client_initialized)
		s->force_init = true;
	if (!current || s->state != SESSION_READY)
		return; /* noticed before; it goes out with the new session */
	if (r->revives++ > 0) {
		s->force_init = true;
		if (r->purpose == RQ_CLIENT)
			request_refuse(s, r, ERR_UPSTREAM_UNAVAILABLE, "The server lost the session again while the request was being sent a second time", -1);
		session_line_down(s, "the server keeps losing the session", -1, -1);
		return;
	}
	s->n.session_losses++;
	s->force_init = true;
	if (session_gone_often(s)) {
		session_line_down(s, "the server keeps losing sessions", -1, -1);
		return;
	}
	session_note(s, NOTE_INFO, "the server lost the session; starting another");
	s->last_drop_at = s->now;
	s->last_drop_len = -1;
	snprintf(s->drop_why, sizeof(s->drop_why), "the server lost the session");
	memcpy(s->drop_detail, s->detail, sizeof(s->drop_detail));
	session_forget(s);
	replay_begin(s);
}

/* The token is good for the others: only this one waits for a wider one. */
static bool only_scope(const struct session *s, const struct xfer *x, const struct request *r)
{
	return x->status == 403 && s->state == SESSION_READY && r->purpose == RQ_CLIENT;
}

/* 401 or 403 insufficient_scope: as the sign-in said. */
static void wants_auth(struct session *s, struct xfer *x, struct request *r)
{
	char text[512];

	r->why = RETRY_AUTH;
	switch (x->challenge) {
	case CHALLENGE_AGAIN:
		if (r->attempts <= 4) {
			request_park(s, r, 0);
			if (s->state == SESSION_PROBE && r->purpose == RQ_HANDSHAKE)
				probe_begin(s);
			else if ((s->state == SESSION_PROBE || s->state == SESSION_REVIVE) && r->purpose != RQ_CLIENT)
				request_post(s, r); /* nothing else would send a step */
			return;
		}
		break;
	case CHALLENGE_PARK:
		request_park(s, r, 0);
		if (only_scope(s, x, r)) {
			r->awaits_scope = true;
			r->hold_until = s->now + s->c->hold_ms;
			session_due(s, r->hold_until);
		} else if (s->state != SESSION_AUTH) {
			s->auth_from = s->state;
			session_enter(s, SESSION_AUTH, "the server wants a sign-in");
		}
		return;
	default:
		break;
	}
	if (x->challenge_text.len)
		snprintf(text, sizeof(text), "%.*s", (int)(x->challenge_text.len < 500 ? x->challenge_text.len : 500), buf_data(&x->challenge_text));
	else
		snprintf(text, sizeof(text), "The server refused the credentials (HTTP %d: authorization required)", x->status);
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE) {
		struct failure f = { .what = text, .retry_after_ms = -1, .kind = ERR_AUTH_REQUIRED };
		replay_on_failure(s, r, &f, false);
		return;
	}
	request_refuse(s, r, ERR_AUTH_REQUIRED, text, session_auth_pause(s));
}

enum leads { NOWHERE, ELSEWHERE, WITHIN }; /* the origin */

/* Where the redirect leads that x was answered with. */
static enum leads location(struct session *s, const struct xfer *x, struct url *to)
{
	enum leads leads = NOWHERE;
	struct url base;
	struct err e;

	memset(&base, 0, sizeof(base));
	memset(to, 0, sizeof(*to));
	if (x->location.len && url_parse(&base, s->url, &e) == 0 && url_resolve(to, &base, buf_span(&x->location), &e) == 0)
		leads = url_same_origin(&base, to) ? WITHIN : ELSEWHERE;
	url_fini(&base);
	return leads;
}

/* The same where it may be followed: 0, or -1 when not (to another origin, or round
 * and round). */
static int redirect_target(struct session *s, const struct xfer *x, struct url *to)
{
	enum leads leads = location(s, x, to);
	int rc = -1;

	if (leads != NOWHERE && x->redirects < MAX_REDIRECTS) {
		rc = leads == WITHIN ? 0 : -1;
		if (rc != 0)
			session_note(s, NOTE_WARN, "not following a redirect to another origin: %s", to->origin);
		else if (!s->redirect_told)
			session_note(s, NOTE_INFO, "the server sends every message on to another address (HTTP %d); given as the URL, that would save "
				"a round trip each time (`mcp-holdfast doctor` shows it)", x->status);
		s->redirect_told |= rc == 0;
	}
	return rc;
}

static void redirected(struct session *s, struct xfer *x, struct request *r)
{
	struct url to;
	struct failure f = { .what = "The server sent the request to another address that may not be followed", .retry_after_ms = -1, .kind = ERR_BAD_UPSTREAM };
	bool had_slot = r->counted;

	if (redirect_target(s, x, &to) == 0) {
		request_slot_free(s, r);
		r->xfer = 0;
		if (request_post_to(s, r, span_str(to.text), x->redirects + 1) == 0) {
			if (!had_slot) /* it waits for the client, and others have gone ahead */
				request_slot_free(s, r);
			goto done;
		}
	}
	if (r->purpose == RQ_CLIENT || r->purpose == RQ_HANDSHAKE)
		request_refuse(s, r, f.kind, f.what, -1);
	else
		request_failed(s, r, &f);
done:
	url_fini(&to);
}

bool judge_redirect(struct session *s, struct xfer *x, struct request *r)
{
	struct url to;
	bool followed = false;

	if ((x->status != 307 && x->status != 308) || x->kind == XF_REQUEST)
		return false;
	if (redirect_target(s, x, &to) == 0) {
		struct span url = span_str(to.text);
		switch (x->kind) {
		case XF_STREAM:
			followed = stream_follow(s, x, url);
			break;
		case XF_OUT:
			followed = outbox_follow(s, x, url);
			break;
		case XF_RESUME:
			followed = r && request_resume_at(s, r, url, x->redirects + 1) == 0;
			break;
		case XF_STEP:
			followed = replay_follow(s, x, url);
			break;
		case XF_DELETE:
			followed = ending_follow(s, x, url);
			break;
		case XF_REQUEST:
			break;
		}
	}
	url_fini(&to);
	return followed;
}

/* A redirect that would turn a POST into a GET. Where it leads is for the user, since
 * a model might go there; and only the origin, for a path may hold a key. */
static bool tell_moved(struct session *s, const struct xfer *x)
{
	struct url to;
	enum leads leads = location(s, x, &to);

	if (leads != NOWHERE)
		session_note(s, NOTE_WARN, "not following a redirect of a POST (HTTP %d) to %s%s", x->status,
			leads == WITHIN ? "another path of " : "", to.origin);
	url_fini(&to);
	return leads != NOWHERE;
}

/* x: NULL when its head is not known any more. */
static void rejected(struct session *s, const struct xfer *x, int status, struct request *r)
{
	char what[200];

	if (x && tell_moved(s, x))
		snprintf(what, sizeof(what), "The server answered that it has moved (HTTP %d); the log of the bridge says where to, and the user may have to "
			"change the URL", status);
	else
		snprintf(what, sizeof(what), "The server refused the request (HTTP %d)", status);
	if (r->purpose != RQ_CLIENT && r->purpose != RQ_HANDSHAKE) {
		/* Of the first handshake, made for a client that sends none, it is the answer. */
		bool final = status == 403 && r->purpose == RQ_INIT && s->era == ERA_NONE;
		struct failure f = { .what = what, .retry_after_ms = -1, .kind = final ? ERR_AUTH_REQUIRED : ERR_BAD_UPSTREAM };
		replay_on_failure(s, r, &f, false);
		return;
	}
	session_succeeded(s);
	r->maybe_ran |= status < 400; /* "see other" is said of what was done */
	request_refuse(s, r, status == 413 ? ERR_MESSAGE_TOO_LARGE : status == 403 ? ERR_AUTH_REQUIRED : ERR_BAD_UPSTREAM, what, -1);
}

/* What it answers was done, whatever it was. */
void judge_too_large(struct session *s, struct request *r)
{
	r->maybe_ran = true;
	request_refuse(s, r, ERR_MESSAGE_TOO_LARGE, "The answer of the server is larger than the limit", -1);
}

void judge_bad_answer(struct session *s, struct xfer *x, struct request *r)
{
	struct failure f = { .what = "The server answered something that is not an MCP message", .may_have_run = true, .retry_after_ms = -1, .kind = ERR_BAD_UPSTREAM };

	if (x->too_large) {
		judge_too_large(s, r);
		return;
	}
	if (r->purpose == RQ_HANDSHAKE && s->state == SESSION_PROBE) {
		probe_next(s, "the answer to initialize was no MCP message");
		return;
	}
	r->maybe_ran = true;
	request_failed(s, r, &f);
}

/* Its own answer, or an error for nobody in particular, which is for it then. False:
 * neither, or no memory to say so. */
static bool pass_answer(struct session *s, struct request *r, struct rpc_msg *m)
{
	struct rpc_msg own;

	if (m->has_newline)
		json_one_line((char *)m->text.p, m->text.n);
	if (m->id.p && exchange_find(s, r, m->id) == r) {
		exchange_answer(s, r, m);
		return true;
	}
	if (m->kind != RPC_ERROR)
		return false;
	buf_reset(&s->scratch);
	if (buf_puts(&s->scratch, "{\"jsonrpc\":\"2.0\",\"id\":") || buf_add(&s->scratch, r->uid) ||
	    buf_puts(&s->scratch, ",\"error\":") || buf_add(&s->scratch, m->error) || buf_puts(&s->scratch, "}"))
		return false;
	rpc_parse(buf_data(&s->scratch), s->scratch.len, &own);
	exchange_answer(s, r, &own);
	return true;
}

/* The response says what the server thinks of the request; m: its message, NULL for none. */
static void answered(struct session *s, struct xfer *x, struct request *r, struct rpc_msg *m, const struct failure *f)
{
	bool handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT;

	if (handshake && x->status >= 400) {
		if (m && m->kind == RPC_ERROR) {
			buf_reset(&s->init_error);
			buf_add(&s->init_error, m->error);
		}
		if (r->purpose == RQ_HANDSHAKE)
			probe_next(s, f->what);
		else
			replay_on_failure(s, r, f, true);
		return;
	}
	if (!m || (m->kind != RPC_RESULT && m->kind != RPC_ERROR) || !pass_answer(s, r, m))
		rejected(s, x, x->status, r);
}

void judge_refusal(struct session *s, struct request *r, int status, struct buf *body)
{
	uint64_t token = s->cur ? s->cur->token : 0;
	struct rpc_msg m;

	s->cur = NULL; /* it stands in no transfer's bytes: what is sent is copied */
	rpc_parse(buf_data(body), body->len, &m);
	if (m.kind != RPC_ERROR || !pass_answer(s, r, &m))
		rejected(s, NULL, status, r);
	s->cur = token ? xfer_find(s, token) : NULL;
}

/* Taken, without an answer. */
static void accepted(struct session *s, enum era era, struct request *r, struct failure *f)
{
	if (r->unheard_until) {
		request_unheard(s, r);
		return;
	}
	if (era == ERA_SSE || s->stream.state == STREAM_LIVE) {
		request_slot_free(s, r); /* the answer comes on the standing stream */
		r->xfer = 0;
		return;
	}
	f->what = "The server accepted the request and then answered nothing";
	f->may_have_run = true;
	f->kind = ERR_BAD_UPSTREAM;
	request_failed(s, r, f);
}

/* A complete response to the POST of r that was neither stream nor answer. */
void judge_response(struct session *s, struct xfer *x, struct request *r)
{
	struct rpc_msg m, *said = NULL;
	struct failure f = { .retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
	bool handshake = r->purpose == RQ_HANDSHAKE || r->purpose == RQ_INIT;
	struct exchange_facts ef = { .era = s->era == ERA_NONE || handshake ? s->trying : s->era, .status = x->status, .had_session = x->had_session,
		.handshake = handshake,
		.retry_after = x->retry_after_ms >= 0, .insufficient_scope = x->insufficient_scope };
	enum verdict verdict;
	char what[200];

	if (x->body.len) {
		rpc_parse(buf_data(&x->body), x->body.len, &m);
		if (m.kind != RPC_NOT_JSON && m.kind != RPC_INVALID)
			said = &m;
	}
	ef.msg = said;
	snprintf(what, sizeof(what), "The server or a gateway answered HTTP %d", x->status);
	f.what = what;
	f.status = x->status;
	verdict = verdict_of(&ef);
	if (verdict == VERDICT_MODERN && eras_outgrown(s, x, r, &m))
		return;
	if (eras_doubt(s, x, r, said))
		return;
	switch (verdict) {
	case VERDICT_GONE:
		session_gone(s, x, r);
		break;
	case VERDICT_MODERN:
	case VERDICT_TRANSPORT:
	case VERDICT_ANSWER:
		answered(s, x, r, said, &f);
		break;
	case VERDICT_AUTH:
		wants_auth(s, x, r);
		break;
	case VERDICT_LATER:
		f.retry_after_ms = x->retry_after_ms;
		f.kind = x->status == 429 ? ERR_RATE_LIMITED : ERR_UPSTREAM_UNAVAILABLE;
		request_failed(s, r, &f);
		break;
	case VERDICT_UNKNOWN:
		f.may_have_run = true;
		request_failed(s, r, &f);
		break;
	case VERDICT_REDIRECT:
		redirected(s, x, r);
		break;
	case VERDICT_ACCEPTED:
		accepted(s, ef.era, r, &f);
		break;
	case VERDICT_BAD:
		judge_bad_answer(s, x, r);
		break;
	case VERDICT_FORBIDDEN:
	case VERDICT_REJECTED:
		rejected(s, x, x->status, r);
		break;
	}
}

void judge_resume(struct session *s, struct xfer *x, struct request *r, const struct http_result *res)
{
	struct failure f;
	struct exchange_facts ef = { .era = s->era, .status = x->status, .had_session = x->had_session };

	if (x->sse) {
		r->resumes += res->outcome != HTTP_OK;
		if (s->c->max_retries >= 0 && r->resumes > (unsigned)s->c->max_retries)
			buf_reset(&r->last_id);
		request_stream_ended(s, r, res->outcome == HTTP_OK, "the resumed stream ended");
		return;
	}
	if (res->outcome == HTTP_OK && x->status == 404 && verdict_session_gone(&ef)) {
		r->maybe_ran = true;
		buf_reset(&r->last_id);
		if (request_repeatable(s, r))
			session_gone(s, x, r);
		else
			request_refuse(s, r, ERR_OUTCOME_UNKNOWN, "The server forgot the request while its answer was being fetched", -1);
		return;
	}
	if (res->outcome == HTTP_OK && x->status >= 400 && x->status < 500 && x->status != 429 && x->status != 409 && x->status != 401) {
		struct failure lost = { .what = "The answer's stream broke and the server can not resume it", .may_have_run = true, .heard = true,
			.retry_after_ms = -1, .kind = ERR_UPSTREAM_UNAVAILABLE };
		s->no_resume |= x->status == 405;
		buf_reset(&r->last_id);
		request_failed(s, r, &lost);
		return;
	}
	/* The network, or a server that is busy: later again, as long as the request lives. */
	failure_of_result(res, &f);
	r->resumes++;
	if (s->c->max_retries >= 0 && r->resumes > (unsigned)s->c->max_retries) {
		r->maybe_ran = true;
		request_refuse(s, r, request_repeatable(s, r) ? ERR_UPSTREAM_UNAVAILABLE : ERR_OUTCOME_UNKNOWN, "The answer's stream broke and could not be resumed", -1);
		return;
	}
	r->state = REQ_BROKEN;
	r->not_before = request_backoff(s, r, x->retry_after_ms) + request_pace(r);
	session_due(s, r->not_before);
	if (f.line && s->state == SESSION_READY)
		session_line_down(s, f.what, -1, -1);
}
