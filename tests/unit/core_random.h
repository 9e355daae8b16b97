/* Invented events for a session: a client and a server that do anything, in
 * any order, chosen by dice that are random numbers or the bytes of a fuzzer.
 * What must hold whatever happens is checked all along: every request is
 * answered once, a call that may have run is not sent again, time never spins,
 * and a server in good health for long enough leaves nobody waiting. */
#ifndef TESTS_CORE_RANDOM_H
#define TESTS_CORE_RANDOM_H

#include "core_harness.h"
#include "base/rng.h"

#define IDS 512       /* client ids of one life */
#define RING 16
#define RAW 80
#define SPINS 60

struct dice {
	struct rng rng;
	const uint8_t *p;   /* NULL: the generator */
	size_t n;
};

static inline unsigned roll(struct dice *d, unsigned sides)
{
	if (!d->p)
		return (unsigned)(rng_next(&d->rng) >> 33) % sides;
	if (!d->n)
		return 0;
	d->n--;
	return *d->p++ % sides;
}

static inline bool one_in(struct dice *d, unsigned n) { return roll(d, n) == 0; }

enum server_kind { SERVER_HTTP, SERVER_SSE, SERVER_MODERN, SERVER_KINDS };

struct world {
	struct play p;
	struct dice d;
	enum server_kind server;
	unsigned flavour;              /* of the client: 0-3 legacy versions, 4 modern */
	unsigned good;                 /* of ten first responses, so many are those of a good server */
	unsigned owed[IDS], answered[IDS], cancelled[IDS], nids;
	bool maybe_ran[IDS];           /* by call number, which is the id's */
	bool excused[IDS];             /* the server asked for another round of it */
	bool harmless;                 /* how the attempt ends proves that it did not run */
	bool initialize_sent, eof;
	unsigned signals;
	unsigned bad_lines, null_answers;
	uint64_t steps;
	char asked[RING][RAW];         /* raw ids of what went upstream */
	char server_ids[RING][RAW];    /* raw ids of what the server asked */
	int asked_call[RING];
	unsigned nasked, nserver_ids, next_server_id;
};

static const char *const random_versions[] = { "2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28" };

#define MODERN_META "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\"io.modelcontextprotocol/clientInfo\":{\"name\":\"c\",\"version\":\"1\"},\"io.modelcontextprotocol/clientCapabilities\":{\"roots\":{}}}"

/* ---- what is checked -------------------------------------------------------------------- */

static inline int id_number(struct span id)
{
	char text[24];
	size_t lead = id.n && id.p[0] == '"' ? 2 : 0; /* "s12" */

	if (!id.p || id.n <= lead || id.n - lead >= sizeof(text) || (lead && id.p[1] != 's'))
		return -1;
	memcpy(text, id.p + lead, id.n - lead);
	text[id.n - lead] = '\0';
	return text[0] >= '0' && text[0] <= '9' ? atoi(text) : -1;
}

static inline void world_on_send(struct play *p, struct span line, void *arg)
{
	struct world *w = arg;
	struct rpc_msg m;

	rpc_parse(line.p, line.n, &m);
	if (m.kind == RPC_REQUEST) {
		snprintf(w->server_ids[w->nserver_ids++ % RING], RAW, "%.*s", (int)(m.id.n < RAW ? m.id.n : 0), m.id.p);
		return;
	}
	if (m.kind != RPC_RESULT && m.kind != RPC_ERROR)
		return;
	if (span_is(m.id, "null")) {
		MUST(++w->null_answers <= w->bad_lines);
		return;
	}
	int n = id_number(m.id);
	MUST(n >= 0 && n < IDS);
	if (++w->answered[n] > w->owed[n])
		fprintf(stderr, "answered twice: %.*s\n%s", (int)(line.n < 400 ? line.n : 400), line.p, p->log);
	MUST(w->answered[n] <= w->owed[n]);
}

/* The number of the unsafe call that the body holds, -1 for none. */
static inline int unsafe_call(const struct transfer *t)
{
	static const char mark[] = "\"name\":\"act\",\"arguments\":{\"n\":";
	struct span body = buf_span(&t->kept);
	const char *at = memmem(body.p, body.n, mark, sizeof(mark) - 1);

	return at ? atoi(at + sizeof(mark) - 1) : -1;
}

static inline void world_on_start(struct play *p, struct transfer *t, void *arg)
{
	struct world *w = arg;
	struct rpc_msg m;
	int n = unsafe_call(t);

	if (t->method != HTTP_POST)
		return;
	m = transfer_msg(t);
	w->asked_call[w->nasked % RING] = n;
	if (m.kind == RPC_REQUEST)
		snprintf(w->asked[w->nasked++ % RING], RAW, "%.*s", (int)(m.id.n < RAW ? m.id.n : 0), m.id.p);
	bool again = n >= 0 && w->maybe_ran[n] && !w->excused[n];
	if (again)
		fprintf(stderr, "sent again: call %d\n%s", n, p->log);
	MUST(!again);
}

static inline void world_on_stop(struct play *p, struct transfer *t, void *arg)
{
	struct world *w = arg;
	int n = unsafe_call(t);

	(void)p;
	if (n >= 0 && (t->cancelled || !w->harmless))
		w->maybe_ran[n] = true;
	w->harmless = false;
}

/* What is due is done, and is done after a few turns. */
static inline void world_settle(struct world *w)
{
	struct play *p = &w->p;
	int64_t at;
	struct session_view v;

	for (int i = 0; !p->ended && (at = session_deadline(p->s)) != 0 && at <= p->now; i++) {
		if (i >= SPINS)
			fprintf(stderr, "spinning in %s\n%s", session_state_name(play_state(p)), p->log);
		MUST(i < SPINS);
		play_on_time(p);
	}
	if (p->transfers)
		MUST(p->transfers->read || span_eq(p->transfers->body, buf_span(&p->transfers->kept)));
	session_look(p->s, &v, p->now);
	/* What is being looked for is asked for: nothing else would lead out of these. */
	bool stuck = (v.state == SESSION_PROBE || v.state == SESSION_REVIVE) && !p->nopen && !session_deadline(p->s);
	if (stuck)
		fprintf(stderr, "stuck in %s\n%s", session_state_name(v.state), p->log);
	MUST(!stuck);
	MUST(v.in_flight <= p->c.max_in_flight);
	MUST(v.held <= 2 * IDS + 64);
	MUST(p->nopen <= 4 * IDS);
}

/* ---- the client ---------------------------------------------------------------------------- */

static inline void say(struct world *w, const char *text)
{
	play_client(&w->p, text);
}

static inline void random_id(struct world *w, char *out, size_t size, bool fresh)
{
	unsigned n = fresh || !w->nids ? w->nids : roll(&w->d, w->nids);

	snprintf(out, size, n % 3 == 2 ? "\"s%u\"" : "%u", n);
}

static inline void client_initialize(struct world *w)
{
	char text[500], id[24];

	random_id(w, id, sizeof(id), true);
	for (unsigned n = 0; n < w->nids; n++)
		w->cancelled[n] = w->owed[n]; /* another client, which waits for none of these */
	w->owed[w->nids++]++;
	w->initialize_sent = true;
	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"%s\",\"capabilities\":{\"roots\":{},\"elicitation\":{\"url\":{}}},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}",
		id, random_versions[w->flavour < 4 ? w->flavour : 2]);
	say(w, text);
}

static inline void client_asks(struct world *w)
{
	static const struct { const char *method, *params; } pool[] = {
		{ "tools/call", "\"name\":\"act\",\"arguments\":{\"n\":%u}" }, { "tools/call", "\"name\":\"act\",\"arguments\":{\"n\":%u}" },
		{ "tools/call", "\"name\":\"safe\",\"arguments\":{\"m\":%u}" }, { "tools/list", "\"x\":%u" }, { "tools/list", "\"cursor\":\"c%u\"" },
		{ "resources/read", "\"uri\":\"file:///%u\"" }, { "prompts/get", "\"name\":\"p%u\"" }, { "resources/list", "\"x\":%u" },
		{ "resources/subscribe", "\"uri\":\"file:///%u\"" }, { "resources/unsubscribe", "\"uri\":\"file:///%u\"" },
		{ "logging/setLevel", "\"level\":\"info\",\"x\":%u" }, { "ping", "\"x\":%u" }, { "vendor/own", "\"x\":%u" },
		{ "prompts/list", "\"x\":%u" }, { "subscriptions/listen", "\"notifications\":{\"toolsListChanged\":true},\"x\":%u" },
		{ "server/discover", "\"x\":%u" },
	};
	unsigned k = roll(&w->d, sizeof(pool) / sizeof(*pool)), n = w->nids;
	char text[900], params[200], id[24];
	bool again = n && one_in(&w->d, 50); /* an id that was used before */
	bool modern = w->flavour == 4;

	if (!modern && k >= 14)
		k = 0;
	if (again)
		n = roll(&w->d, n);
	snprintf(id, sizeof(id), n % 3 == 2 ? "\"s%u\"" : "%u", n);
	if (again && k < 2)
		k = 2; /* call numbers are used once */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	snprintf(params, sizeof(params), pool[k].params, n);
#pragma GCC diagnostic pop
	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%s,\"method\":\"%s\",\"params\":{%s%s%s}}", id, pool[k].method, params,
		modern ? "," MODERN_META : one_in(&w->d, 4) ? ",\"_meta\":{\"progressToken\":7}" : "", "");
	w->owed[n]++;
	if (strcmp(pool[k].method, "subscriptions/listen") == 0)
		w->cancelled[n]++; /* is answered when it ends, and that is the server's choice */
	if (!again)
		w->nids++;
	say(w, text);
}

static inline void client_notifies(struct world *w)
{
	char text[300], id[24];
	unsigned n;

	switch (roll(&w->d, 6)) {
	case 0:
		say(w, PLAY_INITIALIZED);
		break;
	case 1:
		say(w, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":1,\"progress\":1}}");
		break;
	case 2:
		say(w, "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/roots/list_changed\"}");
		break;
	default:
		if (!w->nids)
			return;
		n = one_in(&w->d, 3) ? roll(&w->d, w->nids) : w->nids - 1 - roll(&w->d, w->nids < 8 ? w->nids : 8);
		w->cancelled[n]++;
		snprintf(id, sizeof(id), n % 3 == 2 ? "\"s%u\"" : "%u", n);
		snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":%s,\"reason\":\"why\\u0000not\"}}", id);
		say(w, text);
	}
}

static inline void client_answers(struct world *w)
{
	char text[300];
	const char *id = w->nserver_ids ? w->server_ids[roll(&w->d, w->nserver_ids < RING ? w->nserver_ids : RING)] : "\"nobody\"";

	if (!id[0])
		return;
	snprintf(text, sizeof(text), one_in(&w->d, 4) ? "{\"jsonrpc\":\"2.0\",\"id\":%s,\"error\":{\"code\":-1,\"message\":\"no\"}}" :
		"{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"roots\":[]}}", id);
	say(w, text);
}

static inline void client_babbles(struct world *w)
{
	static const char *const lines[] = {
		"", "{", "nonsense", "[]", "[1]", "{\"jsonrpc\":\"1.0\",\"id\":null,\"method\":\"x\"}", "{\"jsonrpc\":\"2.0\",\"method\":5}",
		"[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},3]", "\"text\"", "{\"jsonrpc\":\"2.0\",\"id\":{},\"method\":\"x\"}",
	};

	w->bad_lines += 3;
	if (one_in(&w->d, 6)) {
		session_on_client_too_long(w->p.s, SPAN_LIT("{\"jsonrpc\":\"2.0\",\"method\":\"x\",\"params\":{\"a\":\"aaaaaaa"), w->p.now);
		play_perform(&w->p);
		return;
	}
	say(w, lines[roll(&w->d, sizeof(lines) / sizeof(*lines))]);
}

static inline void client_event(struct world *w)
{
	if (!session_wants_input(w->p.s) && !one_in(&w->d, 50))
		return;
	if (w->nids + 4 >= IDS || w->eof)
		return;
	if (!w->initialize_sent && w->flavour != 4)
		client_initialize(w);
	else if (one_in(&w->d, 200))
		client_initialize(w);
	else if (one_in(&w->d, 40))
		client_babbles(w);
	else if (one_in(&w->d, 6))
		client_answers(w);
	else if (one_in(&w->d, 5))
		client_notifies(w);
	else
		client_asks(w);
}

/* ---- the server ------------------------------------------------------------------------------- */

/* A result fit for the method. */
static inline void good_member(struct world *w, const struct transfer *t, char *out, size_t size)
{
	struct rpc_msg m = transfer_msg(t);
	bool same = roll(&w->d, 3) != 0;

	if (span_is(m.method, "initialize"))
		snprintf(out, size, "\"result\":{\"protocolVersion\":\"%s\",\"capabilities\":{\"tools\":{\"listChanged\":true},\"logging\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}",
			w->server == SERVER_SSE ? "2024-11-05" : random_versions[w->flavour < 4 ? w->flavour : 2]);
	else if (span_is(m.method, "server/discover"))
		snprintf(out, size, "\"result\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{\"listChanged\":true},\"logging\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}");
	else if (span_is(m.method, "tools/list"))
		snprintf(out, size, "\"result\":{\"tools\":[{\"name\":\"safe\",\"annotations\":{\"readOnlyHint\":true}},{\"name\":\"act\"}%s]%s}", same ? "" : ",{\"name\":\"new\"}",
			one_in(&w->d, 8) ? ",\"nextCursor\":\"c\"" : "");
	else if (span_is(m.method, "resources/list"))
		snprintf(out, size, "\"result\":{\"resources\":[%s]}", same ? "" : "{\"uri\":\"file:///1\"}");
	else if (span_is(m.method, "prompts/list"))
		snprintf(out, size, "\"result\":{\"prompts\":[]}");
	else
		snprintf(out, size, "\"result\":{\"content\":[]}");
}

/* Anything that may stand in an event. */
static inline void random_message(struct world *w, const struct transfer *t, char *out, size_t size)
{
	static const char *const fixed[] = {
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/tools/list_changed\"}",
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":7,\"progress\":1}}",
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\"x\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":999999,\"result\":{}}", "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32603,\"message\":\"x\"}}",
		"not json", "[]", "{}", "/messages?s=2", "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":1}}",
		"[{\"jsonrpc\":\"2.0\",\"method\":\"notifications/x\"},{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"ping\"},7]",
		"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":\"hf-x-1\"}}",
	};
	char member[300], errors[300];
	const char *id;
	unsigned k;
	int n;
	bool more;

	switch (roll(&w->d, 6)) {
	case 0:
		snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":%u,\"method\":\"roots/list\"}", one_in(&w->d, 3) ? roll(&w->d, 5) : w->next_server_id++);
		return;
	case 1:
		snprintf(out, size, "%s", fixed[roll(&w->d, sizeof(fixed) / sizeof(*fixed))]);
		return;
	case 2: /* an answer to something else, perhaps for the second time */
		k = w->nasked ? roll(&w->d, w->nasked < RING ? w->nasked : RING) : 0;
		more = one_in(&w->d, 4);
		if (more && w->nasked && w->asked_call[k] >= 0)
			w->excused[w->asked_call[k]] = true;
		snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"resultType\":\"%s\"}}",
			w->asked[k][0] ? w->asked[k] : "1", more ? "input_required" : "complete");
		return;
	case 3:
		snprintf(errors, sizeof(errors), "\"error\":{\"code\":%d,\"message\":\"%s\"}", one_in(&w->d, 2) ? -32603 : -32001, one_in(&w->d, 2) ? "Session not found" : "boom");
		k = (w->nasked + RING - 1) % RING;
		n = t->method == HTTP_POST ? unsafe_call(t) : w->nasked ? w->asked_call[k] : -1;
		if (n >= 0 && strstr(errors, "ession"))
			w->excused[n] = true; /* says that it did not run */
		if (t->method == HTTP_POST)
			write_reply(t, errors, out, size);
		else
			snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":%s,%s}", w->nasked ? w->asked[(w->nasked - 1) % RING] : "1", errors);
		return;
	default:
		if (t->method == HTTP_POST) {
			good_member(w, t, member, sizeof(member));
			write_reply(t, member, out, size);
		} else {
			id = w->nasked ? w->asked[roll(&w->d, w->nasked < RING ? w->nasked : RING)] : "1";
			snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":%s,\"result\":{}}", id[0] ? id : "1");
		}
	}
}

static inline bool still(struct world *w, uint64_t token) { return play_transfer(&w->p, token) != NULL; }

/* Bytes for an open stream. */
static inline void stream_event(struct world *w, struct transfer *t)
{
	char text[900], message[700];

	switch (roll(&w->d, 10)) {
	case 0:
		snprintf(text, sizeof(text), ": comment\n\n");
		break;
	case 1:
		snprintf(text, sizeof(text), "id: e%u\nretry: %u\ndata:\n\n", roll(&w->d, 200), roll(&w->d, 3) * 700);
		break;
	case 2:
		snprintf(text, sizeof(text), "event: endpoint\ndata: %s\n\n", one_in(&w->d, 6) ? "https://elsewhere.test/x" : one_in(&w->d, 6) ? "http://[" : "/messages?s=1");
		break;
	case 3:
		random_message(w, t, message, sizeof(message));
		snprintf(text, sizeof(text), "id: e%u\ndata: %s\n\n", roll(&w->d, 200), message);
		break;
	case 4:
		snprintf(text, sizeof(text), "da");
		break;
	case 5: /* the stream may end before the event does */
		random_message(w, t, message, sizeof(message));
		snprintf(text, sizeof(text), "data: %s%s", message, one_in(&w->d, 2) ? "\n" : "");
		break;
	default:
		random_message(w, t, message, sizeof(message));
		snprintf(text, sizeof(text), "\ndata: %s\n\n", message);
	}
	play_data(&w->p, t, text);
}

static inline bool proves_nothing_ran(int status, const char *retry_after, bool scope)
{
	return status == 404 || status == 410 || status == 429 || status == 401 || status == 307 || status == 308 ||
	       (status == 503 && retry_after && retry_after[0] != '-') || (status == 403 && scope) || status == 409;
}

/* A response that is none of a good server. */
static inline void odd_response(struct world *w, struct transfer *t)
{
	static const int statuses[] = { 200, 202, 204, 301, 307, 308, 400, 401, 403, 404, 405, 408, 409, 410, 413, 425, 429, 500, 501, 502, 503, 504 };
	static const char *const waits[] = { NULL, "1", "0", "20", "-1", "99999", "soon" };
	static const char *const types[] = { "application/json", "text/html", "text/event-stream", NULL, "application/problem+json", "text/plain" };
	static const char *const bodies[] = { NULL, "<html>", "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32000,\"message\":\"Bad Request: No valid session ID provided\"}}",
		"{\"jsonrpc\":\"2.0\",\"id\":", "{}", "{\"jsonrpc\":\"2.0\",\"id\":\"server-error\",\"error\":{\"code\":-32600,\"message\":\"Session not found\"}}",
		"[{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}]", "\n\n{\"jsonrpc\":\"2.0\",\n\"method\":\"notifications/x\"}\n", "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32022,\"message\":\"Unsupported protocol version\",\"data\":{\"supported\":[\"2026-07-28\"]}}}" };
	struct head h = { .status = statuses[roll(&w->d, sizeof(statuses) / sizeof(*statuses))], .type = types[roll(&w->d, 6)] };
	const char *body = bodies[roll(&w->d, sizeof(bodies) / sizeof(*bodies))];
	uint64_t token = t->token;
	bool scope = one_in(&w->d, 2);
	bool harmless, cut = one_in(&w->d, 8);

	h.retry_after = waits[roll(&w->d, 7)];
	h.location = one_in(&w->d, 2) ? "/mcp2" : "https://elsewhere.test/";
	h.www = scope ? "Bearer error=\"insufficient_scope\"" : "Bearer";
	h.sid = one_in(&w->d, 3) ? "odd" : NULL;
	w->p.challenge = (enum challenge)roll(&w->d, 4);
	/* an error that speaks of the session says that nothing ran, whatever the status; one of the versions, with 400 */
	harmless = proves_nothing_ran(h.status, h.retry_after, scope) || (body && strstr(body, "ession") && h.status != 202 && h.status != 204) ||
	           (body && strstr(body, "-32022") && h.status == 400);
	play_head(&w->p, t, h);
	if (!still(w, token))
		return;
	if (t->mode != BODY_DISCARD && body) {
		if (cut && t->mode == BODY_COLLECT)
			play_cut(&w->p, t, body);
		else
			play_data(&w->p, t, body);
		if (!still(w, token))
			return;
	}
	if (h.status == 200 && h.type && strcmp(h.type, "text/event-stream") == 0 && one_in(&w->d, 2)) {
		t->sse = true;
		return;
	}
	w->harmless = harmless;
	play_done(&w->p, t, cut ? HTTP_RESET : HTTP_OK, true);
	w->harmless = false;
}

static inline void failed_transfer(struct world *w, struct transfer *t)
{
	enum http_outcome o = (enum http_outcome)(HTTP_RESOLVE + roll(&w->d, HTTP_ABORTED - HTTP_RESOLVE));
	bool early = o == HTTP_RESOLVE || o == HTTP_CONNECT || o == HTTP_PROXY || o == HTTP_TLS || o == HTTP_NOMEM;
	bool sent = !early && (t->told || one_in(&w->d, 2));

	if (t->told && early) {
		o = HTTP_RESET;
		sent = true;
	}
	w->harmless = !sent;
	if (!t->told && one_in(&w->d, 10)) {
		uint64_t token = t->token;
		w->harmless = true;
		play_stop(&w->p, t);
		session_on_start_failed(w->p.s, token, "no memory", w->p.now);
		play_perform(&w->p);
	} else {
		w->p.reused = one_in(&w->d, 3);
		play_done(&w->p, t, o, sent);
		w->p.reused = false;
	}
	w->harmless = false;
}

/* Large enough to be handed over in one block, or over the limit. */
static inline void big_response(struct world *w, struct transfer *t)
{
	static const char head[] = "data: ", tail[] = "\n\n";
	size_t n = 70000 + 1000 * (size_t)roll(&w->d, 30);
	char *member = malloc(n + 100), *text = malloc(n + 400), *line = text + sizeof(head) - 1;
	uint64_t token = t->token;

	MUST(member && text);
	memset(member, 'x', n);
	memcpy(member, "\"result\":{\"content\":[],\"x\":\"", 29);
	memcpy(member + n - 2, "\"}", 3);
	memcpy(text, head, sizeof(head) - 1);
	write_reply(t, member, line, n + 300);
	if (one_in(&w->d, 2)) {
		play_respond(&w->p, t, (struct head){ .status = 200, .type = "application/json" }, line);
	} else {
		strcat(text, tail);
		play_sse(&w->p, t);
		play_data(&w->p, t, text);
		if (still(w, token))
			play_done(&w->p, t, HTTP_OK, true);
	}
	free(member);
	free(text);
}

/* As a good server of its kind. */
static inline void good_response(struct world *w, struct transfer *t)
{
	struct rpc_msg m = transfer_msg(t);
	char member[400], text[800];
	bool to_messages = t->url.len && memmem(buf_data(&t->url), t->url.len, "/messages", 9);
	bool request = t->method == HTTP_POST && m.kind == RPC_REQUEST;

	if (t->method == HTTP_DELETE) {
		play_status(&w->p, t, 200);
	} else if (t->method == HTTP_GET) {
		if (w->server == SERVER_MODERN || (w->server == SERVER_HTTP && (t->lines.len || one_in(&w->d, 2)))) {
			play_status(&w->p, t, 405);
			return;
		}
		uint64_t token = t->token;
		play_sse(&w->p, t);
		if (w->server == SERVER_SSE && still(w, token))
			play_data(&w->p, t, "event: endpoint\ndata: /messages?s=1\n\n");
	} else if (w->server == SERVER_SSE && !to_messages) {
		play_status(&w->p, t, 405);
	} else if (w->server != SERVER_SSE && to_messages) {
		w->harmless = true;
		play_status(&w->p, t, 404);
	} else if (w->server == SERVER_MODERN && request && span_is(m.method, "initialize")) {
		play_error(&w->p, t, 400, -32022, "Unsupported protocol version");
	} else if (w->server == SERVER_HTTP && request && span_is(m.method, "server/discover")) {
		play_error(&w->p, t, 200, -32601, "Method not found");
	} else if (!request) {
		play_status(&w->p, t, 202);
	} else {
		good_member(w, t, member, sizeof(member));
		write_reply(t, member, text, sizeof(text));
		if (one_in(&w->d, 60) && !span_is(m.method, "initialize") && w->server != SERVER_SSE) {
			big_response(w, t);
			return;
		}
		if (w->server == SERVER_SSE) {
			play_status(&w->p, t, 202);
			if ((t = play_open_stream(&w->p)))
				play_event(&w->p, t, NULL, text);
		} else if (one_in(&w->d, 3)) {
			uint64_t token = t->token;
			play_sse(&w->p, t);
			play_event(&w->p, t, one_in(&w->d, 2) ? "g1" : NULL, text);
			if (still(w, token))
				play_done(&w->p, t, HTTP_OK, true);
		} else {
			play_respond(&w->p, t, (struct head){ .status = 200, .type = "application/json", .sid = w->server == SERVER_HTTP ? "sid" : NULL }, text);
		}
	}
}

static inline struct transfer *random_transfer(struct world *w)
{
	struct transfer *t = w->p.transfers;
	unsigned n = w->p.nopen ? roll(&w->d, (unsigned)(w->p.nopen < 200 ? w->p.nopen : 200)) : 0;

	while (t && n--)
		t = t->next;
	return t;
}

static inline void server_event(struct world *w)
{
	struct transfer *t = random_transfer(w);

	if (!t)
		return;
	if (t->told) {
		if (roll(&w->d, 8))
			stream_event(w, t);
		else if (one_in(&w->d, 2))
			failed_transfer(w, t);
		else
			play_done(&w->p, t, HTTP_OK, true);
	} else if (roll(&w->d, 10) < w->good) {
		good_response(w, t);
	} else if (one_in(&w->d, 3)) {
		failed_transfer(w, t);
	} else if (one_in(&w->d, 2) && t->method != HTTP_DELETE) {
		play_sse(&w->p, t);
	} else {
		odd_response(w, t);
	}
}

/* ---- a life ----------------------------------------------------------------------------------------- */

static inline void random_config(struct world *w, struct core_config *c)
{
	static const int64_t again_codes[] = { -32603 };
	static const char *const hidden_tools[] = { "n*" }, *const some_tools[] = { "s*" };
	static const struct tool_timeout timeouts[] = { { "s*", 2000 } };
	static const int64_t hold[] = { 25000, 1000, 0, 25000 }, timeout[] = { 60000, 5000, 20000, 60000 };
	struct dice *d = &w->d;

	*c = play_config();
	c->transport = (enum transport_choice)(w->server == SERVER_SSE ? (one_in(d, 2) ? TRANSPORT_AUTO : TRANSPORT_SSE) : (unsigned)roll(d, 3));
	c->max_retries = (int)roll(d, 4) - 1;
	c->hold_ms = hold[roll(d, 4)];
	c->request_timeout_ms = timeout[roll(d, 4)];
	c->max_request_ms = one_in(d, 2) ? 0 : 120000;
	c->max_queue = one_in(d, 2) ? 1024 : 4;
	c->max_in_flight = one_in(d, 2) ? 100 : 1 + roll(d, 3);
	c->idle_ms = one_in(d, 4) ? 30000 : IDLE_AUTO;
	c->keepalive_ms = one_in(d, 4) ? 0 : 10000;
	c->probe_after_ms = one_in(d, 3) ? 0 : 3000;
	c->breaker_threshold = one_in(d, 3) ? 0 : 5;
	c->breaker_cooldown_ms = one_in(d, 4) ? 15000 : 0;
	c->rate_per_s = one_in(d, 6) ? 0.5 : 0;
	c->quota_requests = one_in(d, 10) ? 20 : 0;
	c->tool_errors_protocol = one_in(d, 2);
	c->idempotency_key = one_in(d, 2);
	c->initial_retry_ms = one_in(d, 4) ? 20 : 1000;
	c->retry_errors = again_codes;
	c->nretry_errors = one_in(d, 4);
	c->ignore_tools = hidden_tools;
	c->nignore_tools = one_in(d, 4);
	c->notify = one_in(d, 4);
	c->max_message = one_in(d, 4) ? 2000 : (size_t)1 << 20;
	c->offline_start = one_in(d, 2);
	c->initialize_wait_ms = one_in(d, 3) ? 0 : 1 + (int64_t)roll(d, 12) * 500;
	c->quota_ms = one_in(d, 10) ? 1000 * (int64_t)roll(d, 60) : 0;
	c->max_request_ms = one_in(d, 8) ? 3000 : c->max_request_ms;
	c->legacy_only = one_in(d, 8);
	c->trust_annotations = !one_in(d, 6);
	c->retry_tools = hidden_tools;
	c->no_retry_tools = some_tools;
	c->nretry_tools = one_in(d, 8);
	c->nno_retry_tools = one_in(d, 8);
	c->tool_timeouts = timeouts;
	c->ntool_timeouts = one_in(d, 6);
	c->trace_inject = one_in(d, 6);
	c->user_authorization = one_in(d, 8);
	c->max_retry_ms = one_in(d, 6) ? c->initial_retry_ms : c->max_retry_ms;
}

/* What an earlier life has left: of this server, of another, or rubbish. */
static inline void random_memory(struct world *w)
{
	static const char *const kept[] = {
		"{\"era\":\"streamable-http\",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"k\"}}}",
		"{\"era\":\"http+sse\",\"result\":{\"protocolVersion\":\"2024-11-05\",\"capabilities\":{},\"serverInfo\":{}}}",
		"{\"era\":\"stateless-http\",\"discover\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"resources\":{\"subscribe\":true}}}}",
		"{\"era\":\"stateless-http\"}",
	};

	if (!one_in(&w->d, 4))
		session_on_memory(w->p.s, REMEMBER_HANDSHAKE, span_str(kept[roll(&w->d, 4)]), (int64_t)roll(&w->d, 100) - 5);
}

static inline void world_on_remember(struct play *p, const struct action *a, void *arg)
{
	static const char *const pages[] = {
		"{\"cursor\":null,\"result\":{\"tools\":[{\"name\":\"safe\",\"annotations\":{\"readOnlyHint\":true}}],\"nextCursor\":\"c\"}}",
		"{\"cursor\":\"c\",\"result\":{\"tools\":[{\"name\":\"n1\"}]}}", "{\"cursor\":null,\"result\":{\"resources\":7}}", "[]",
	};
	struct world *w = arg;

	MUST(a->status >= REMEMBER_RECALL && a->status < REMEMBER_KINDS && p->c.offline_start);
	MUST(!a->text.n || (a->status >= 0 && !memchr(a->text.p, '\n', a->text.n)));
	for (size_t i = 0; a->status == REMEMBER_RECALL && i < 4; i++)
		if (!one_in(&w->d, 6))
			session_on_memory(p->s, REMEMBER_LIST + (int)(i / 2), span_str(pages[i]), 3);
}

static inline void world_hook(void *arg, const struct session_answer *a)
{
	struct world *w = arg;

	MUST(a->method.n && a->id.n && a->latency_us_lower >= 0 && a->started_ms <= w->p.now);
	MUST(!a->rpc_error || !a->own_error);
}

static inline void world_recall(struct play *p, void *arg)
{
	(void)arg;
	session_on_memory(p->s, REMEMBER_LIST, SPAN_LIT("{\"cursor\":null,\"result\":{\"tools\":[{\"name\":\"act\"}],\"nextCursor\":\"c\"}}"), 5);
	session_on_memory(p->s, REMEMBER_LIST + 1, SPAN_LIT("{\"cursor\":null,\"result\":{\"resources\":[]}}"), 5);
}

static inline void world_begin(struct world *w, uint64_t seed)
{
	struct core_config c;
	struct dice d = w->d;
	bool trace = w->p.trace;

	memset(w, 0, sizeof(*w));
	w->d = d;
	w->server = (enum server_kind)roll(&w->d, SERVER_KINDS);
	w->flavour = roll(&w->d, 5);
	w->good = (const unsigned[]){ 6, 6, 3, 1 }[roll(&w->d, 4)];
	random_config(w, &c);
	play_open_log(&w->p, &c, seed, one_in(&w->d, 8) || trace ? 4 : 2);
	w->p.trace = trace;
	w->p.forgetful = true;
	w->p.on_recall = world_recall;
	if (c.offline_start) {
		static const char *const eras[] = { "streamable-http", "http+sse", "stateless-http" };
		char text[600];
		snprintf(text, sizeof(text), "{\"era\":\"%s\",\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}},"
			"\"discover\":{\"supportedVersions\":[\"2026-07-28\"],\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}}", eras[w->server]);
		session_on_memory(w->p.s, REMEMBER_HANDSHAKE, span_str(text), roll(&w->d, 200));
		play_perform(&w->p);
	}
	if (one_in(&w->d, 2))
		session_set_hook(w->p.s, world_hook, w);
	w->p.on_send = world_on_send;
	w->p.on_start = world_on_start;
	w->p.on_stop = world_on_stop;
	w->p.on_remember = world_on_remember;
	w->p.arg = w;
	random_memory(w);
}

static inline void world_step(struct world *w)
{
	struct play *p = &w->p;
	static const enum signin outcomes[] = { SIGNIN_OK, SIGNIN_PENDING, SIGNIN_REFUSED, SIGNIN_OK };
	unsigned r = roll(&w->d, 100);

	w->steps++;
	if (r < 30) {
		client_event(w);
	} else if (r < 75) {
		server_event(w);
	} else if (r < 92) {
		p->now += roll(&w->d, 60);
	} else if (r < 97) {
		int64_t at = session_deadline(p->s);
		if (at > p->now)
			p->now = at;
	} else if (r < 98) {
		p->now += (int64_t)roll(&w->d, 250) * 400;
	} else if (r < 99) {
		session_on_auth(p->s, outcomes[roll(&w->d, 4)], SPAN_LIT("open the browser"), p->now);
		if (one_in(&w->d, 4))
			session_on_auth_url(p->s, SPAN_LIT("https://login.test/?a=1"), p->now);
		session_on_auth_awaits(p->s, one_in(&w->d, 2) ? "identity provider" : NULL, p->now + 100);
		play_perform(p);
	} else if (one_in(&w->d, 4)) {
		session_on_wake(p->s, one_in(&w->d, 2), p->now);
		play_perform(p);
	} else if (one_in(&w->d, 40)) {
		w->eof = true;
		session_on_client_eof(p->s, p->now);
		play_perform(p);
	} else if (one_in(&w->d, 60)) {
		w->signals++;
		session_on_signal(p->s, p->now);
		play_perform(p);
	}
	world_settle(w);
}

static inline void check_answers(struct world *w, bool all)
{
	for (unsigned i = 0; i < w->nids; i++) {
		if (w->answered[i] + w->cancelled[i] < w->owed[i] && all)
			fprintf(stderr, "never answered: %u, state %s, server %d, flavour %u\n%s", i, session_state_name(play_state(&w->p)), (int)w->server, w->flavour, w->p.log);
		MUST(!all || w->answered[i] + w->cancelled[i] >= w->owed[i]);
		MUST(w->answered[i] <= w->owed[i]);
	}
}

/* The server is well again, and for long: nobody may be left waiting. */
static inline void world_heal(struct world *w)
{
	struct play *p = &w->p;
	int64_t until = p->now + 20 * 60000, at;

	for (struct transfer *t = p->transfers, *next; t; t = next) {
		uint64_t token;
		next = t->next;
		token = next ? next->token : 0;
		if (t->told)
			play_done(p, t, HTTP_RESET, true);
		next = token ? play_transfer(p, token) : NULL;
	}
	while (!p->ended) {
		struct transfer *t = p->transfers, *old = NULL;
		for (; t; t = t->next)
			if (!t->told)
				old = t;
		if (play_state(p) == SESSION_AUTH) {
			session_on_auth(p->s, SIGNIN_OK, SPAN_NONE, p->now);
			play_perform(p);
		} else if (old) {
			good_response(w, old);
		} else if (!(at = session_deadline(p->s)) || at > until) {
			break;
		} else {
			p->now = at > p->now ? at : p->now;
		}
		world_settle(w);
	}
}

/* Ends the session the way a client does, and looks whether all was kept. */
static inline void world_end(struct world *w)
{
	struct play *p = &w->p;

	if (w->d.p ? w->steps % 2 : one_in(&w->d, 2)) {
		world_heal(w);
		check_answers(w, w->signals < 2);
		enum session_state st = play_state(p);
		if (!p->ended && (st == SESSION_PROBE || st == SESSION_REVIVE))
			fprintf(stderr, "never out of %s\n%s", session_state_name(st), p->log);
		MUST(p->ended || (st != SESSION_PROBE && st != SESSION_REVIVE));
	}
	if (!p->ended) {
		session_on_client_eof(p->s, p->now);
		play_perform(p);
		play_pass(p, 10000);
	}
	MUST(p->ended);
	MUST(session_deadline(p->s) == 0);
	check_answers(w, w->signals < 2); /* the second one ends it on the spot */
	play_close(p);
}

#endif
