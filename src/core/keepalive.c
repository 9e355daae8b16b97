/* A ping on a quiet session: is the line there, before somebody needs it? It
 * learns how long a connection may be quiet here. */
#include <stdio.h>

#include "core/session_i.h"

#define KEEPALIVE_MAX_MS 300000
#define KEEPALIVE_FLOOR_MS 10000
#define KEEPALIVE_ANSWER_MS 10000
#define PING_FLOOR_MS 1000
#define CUT_WORTH_LEARNING_MS 15000

static bool worth_keeping(const struct session *s)
{
	return s->state == SESSION_READY && s->c->keepalive_ms > 0 && s->era != ERA_MODERN && !s->ping &&
	       (s->stream.state == STREAM_LIVE || s->stream.headless || s->in_flight > 0);
}

/* Since when the line has been quiet. On 2024-11-05 that is the stream: what the
 * server says to a POST keeps another connection alive. */
static int64_t quiet_since(const struct session *s)
{
	if (!dialect_ping_judges_stream(s->era))
		return s->last_rx;
	return s->stream.byte_at > s->pinged_at ? s->stream.byte_at : s->pinged_at;
}

int64_t keepalive_deadline(const struct session *s)
{
	return worth_keeping(s) ? quiet_since(s) + s->keepalive_now : 0;
}

void keepalive_on_time(struct session *s)
{
	if (!worth_keeping(s) || s->now < quiet_since(s) + s->keepalive_now)
		return;
	session_ping(s);
}

void session_ping(struct session *s)
{
	int64_t early;

	if (s->ping || s->era == ERA_MODERN)
		return;
	request_new_own(s, &s->ping, RQ_PING, "ping", SPAN_NONE);
	if (!s->ping)
		return;
	if (s->ping->timeout_ms > KEEPALIVE_ANSWER_MS)
		s->ping->timeout_ms = KEEPALIVE_ANSWER_MS;
	/* It should be known before the calls that wait on the same stream time out. */
	early = s->c->request_timeout_ms / 5 * 2 > PING_FLOOR_MS ? s->c->request_timeout_ms / 5 * 2 : PING_FLOOR_MS;
	if (dialect_ping_judges_stream(s->era) && s->ping->timeout_ms > early)
		s->ping->timeout_ms = early;
	request_post(s, s->ping);
}

void keepalive_on_answer(struct session *s)
{
	s->pinged_at = s->now;
	session_succeeded(s);
	stream_judged(s, true);
	if (!s->idle_learned && s->keepalive_now < KEEPALIVE_MAX_MS)
		s->keepalive_now = s->keepalive_now * 2 < KEEPALIVE_MAX_MS ? s->keepalive_now * 2 : KEEPALIVE_MAX_MS;
	session_probed(s, true);
}

void keepalive_on_failure(struct session *s, const struct failure *f)
{
	char text[192];

	if (stream_suspect(s))
		return;
	stream_judged(s, false);
	snprintf(text, sizeof(text), "no answer to a ping: %s", f->what);
	session_probed(s, false);
	if (s->state == SESSION_READY)
		session_line_down(s, text, f->retry_after_ms, 0);
}

/* An idle connection was cut after quiet_ms: from now on it is not left that quiet. */
void keepalive_on_cut(struct session *s, int64_t quiet_ms)
{
	int64_t half = quiet_ms / 2;

	if (quiet_ms < CUT_WORTH_LEARNING_MS || s->c->keepalive_ms == 0)
		return;
	if (half < KEEPALIVE_FLOOR_MS)
		half = KEEPALIVE_FLOOR_MS;
	if (half >= s->keepalive_now)
		return;
	s->idle_learned = quiet_ms;
	s->keepalive_now = half;
	session_note(s, NOTE_INFO, "the line is cut after %lld s of quiet; pinging every %lld s", (long long)(quiet_ms / 1000), (long long)(half / 1000));
}
