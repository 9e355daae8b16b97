/* Client, HTTP server and clock around one session, for tests. It carries out
 * what the session asks for the way the loop does, keeps what was said to
 * either side, and holds the session to its contract all the time: every line
 * to the client is one JSON-RPC message, nothing comes after the end, bodies
 * of transfers stay until the transfer is over, and a deadline that was kept
 * moves. A breach ends the program, under cmocka and in a fuzzer alike. */
#ifndef TESTS_CORE_HARNESS_H
#define TESTS_CORE_HARNESS_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/session.h"
#include "wire/jsonrpc.h"

#define MUST(x) \
	do { \
		if (!(x)) { \
			fprintf(stderr, "%s:%d: broken: %s\n", __FILE__, __LINE__, #x); \
			abort(); \
		} \
	} while (0)

#define PLAY_URL "https://server.test/mcp"
#define PLAY_TEXT ((size_t)1 << 30)
#define PLAY_TURNS 1000 /* so often may one moment ask for more time before it counts as spinning */

struct transfer {
	uint64_t token;
	enum http_method method;
	enum header_set set;
	struct span body;     /* the session's; must stay */
	struct buf kept;      /* what it was when the transfer began */
	struct buf lines, url;
	int64_t timeout_ms, began;
	bool open, told, cancelled, withdrawn, sse;
	bool read;            /* the response is complete: the body is not looked at any more */
	enum body_mode mode;
	int status;
	struct transfer *next; /* older */
};

struct play {
	struct core_config c;
	struct session *s;
	int64_t now;
	struct transfer *transfers; /* newest first */
	size_t nopen, nstarted;
	struct buf *sent;           /* lines to the client, in order */
	size_t nsent, cap;
	bool ended;
	enum challenge challenge;   /* what a sign-in would say */
	const char *challenge_text;
	bool reused;                /* transfers that end went over an old connection */
	size_t nauth, ndrop_idle, nsecrets;
	char log[4096];             /* the last log lines */
	bool forgetful;             /* keep no old lines and transfers */
	bool trace;                 /* tell everything on stderr */
	void (*on_send)(struct play *p, struct span line, void *arg);
	void (*on_start)(struct play *p, struct transfer *t, void *arg);
	void (*on_stop)(struct play *p, struct transfer *t, void *arg);
	void (*on_remember)(struct play *p, const struct action *a, void *arg);
	void (*on_recall)(struct play *p, void *arg); /* the lists of an earlier run are wanted */
	void *arg;
};

static inline struct core_config play_config(void)
{
	return (struct core_config){
		.transport = TRANSPORT_AUTO,
		.initial_retry_ms = 1000, .max_retry_ms = 30000, .multiplier = 2, .jitter = JITTER_FULL, .max_retries = -1,
		.hold_ms = 25000, .max_queue = 1024, .max_in_flight = 100, .idle_ms = IDLE_AUTO,
		.keepalive_ms = 60000, .probe_after_ms = 15000, .request_timeout_ms = 600000, .max_request_ms = 3600000,
		.breaker_threshold = 5, .trust_annotations = true, .idempotency_key = true,
		.initialize_wait_ms = 5000, .max_message = (size_t)128 << 20,
	};
}

#define TELL(p, ...) ((p)->trace ? (void)(fprintf(stderr, "%lld ", (long long)(p)->now), fprintf(stderr, __VA_ARGS__)) : (void)0)

static inline void play_open_log(struct play *p, const struct core_config *c, uint64_t seed, int log_level)
{
	struct session_seed ss = { .rng = seed, .log_level = log_level };

	memset(p, 0, sizeof(*p));
	memset(ss.key, 7, sizeof(ss.key));
	p->c = *c;
	p->now = 1000000;
	p->s = session_new(&p->c, &ss, PLAY_URL, p->now, 1700000000);
	MUST(p->s);
}

static inline void play_open(struct play *p, const struct core_config *c, uint64_t seed) { play_open_log(p, c, seed, 5); }

static inline void transfer_free(struct transfer *t)
{
	buf_fini(&t->kept);
	buf_fini(&t->lines);
	buf_fini(&t->url);
	free(t);
}

static inline void play_close(struct play *p)
{
	session_free(p->s);
	while (p->transfers) {
		struct transfer *t = p->transfers;
		p->transfers = t->next;
		transfer_free(t);
	}
	for (size_t i = 0; i < p->nsent; i++)
		buf_fini(&p->sent[i]);
	free(p->sent);
}

/* ---- what the session asks for ------------------------------------------------------- */

static inline struct transfer *play_transfer(struct play *p, uint64_t token)
{
	struct transfer *t = p->transfers;

	while (t && t->token != token)
		t = t->next;
	return t;
}

/* A copy that is a C string too. */
static inline void copy_span(struct buf *to, struct span from)
{
	buf_init(to, PLAY_TEXT);
	MUST(buf_add(to, from) == 0 && buf_append(to, "", 1) == 0);
	to->len--;
}

static inline void play_start(struct play *p, const struct action *a)
{
	struct transfer *t = calloc(1, sizeof(*t));

	MUST(t && !p->ended && a->token && !play_transfer(p, a->token));
	t->token = a->token;
	t->method = a->method;
	t->set = a->headers;
	t->body = a->body;
	copy_span(&t->kept, a->body);
	copy_span(&t->lines, a->lines);
	copy_span(&t->url, a->url);
	t->timeout_ms = a->timeout_ms;
	t->began = p->now;
	t->open = true;
	t->next = p->transfers;
	p->transfers = t;
	p->nopen++;
	p->nstarted++;
	TELL(p, "start %llx %s %.*s\n", (unsigned long long)t->token, t->method == HTTP_POST ? "POST" : t->method == HTTP_GET ? "GET" : "DELETE", (int)(t->kept.len < 300 ? t->kept.len : 300), buf_data(&t->kept));
	if (t->method == HTTP_POST) {
		struct rpc_msg m;
		rpc_parse(buf_data(&t->kept), t->kept.len, &m);
		MUST(m.kind != RPC_NOT_JSON && m.kind != RPC_INVALID && !m.has_newline);
	} else {
		MUST(!t->body.n);
	}
	if (p->on_start)
		p->on_start(p, t, p->arg);
}

/* The transfer is over: its body was to stay until now, or until it was cancelled. */
static inline void play_stop(struct play *p, struct transfer *t)
{
	MUST(t->open && (t->read || t->cancelled || span_eq(t->body, buf_span(&t->kept))));
	t->open = false;
	p->nopen--;
	if (p->on_stop)
		p->on_stop(p, t, p->arg);
	if (!p->forgetful)
		return;
	for (struct transfer **at = &p->transfers; *at; at = &(*at)->next) {
		if (*at == t) {
			*at = t->next;
			transfer_free(t);
			return;
		}
	}
}

static inline void play_sent(struct play *p, const struct action *a)
{
	struct span line = a->text;
	struct rpc_msg m;

	MUST(!p->ended && line.p && !memchr(line.p, '\n', line.n) && !memchr(line.p, '\r', line.n));
	rpc_parse(line.p, line.n, &m);
	MUST(m.kind != RPC_NOT_JSON && m.kind != RPC_INVALID && m.kind != RPC_BATCH && m.text.n == line.n);
	TELL(p, "to client %.*s\n", (int)(line.n < 300 ? line.n : 300), line.p);
	if (p->on_send)
		p->on_send(p, line, p->arg);
	if (p->forgetful)
		return;
	if (p->nsent == p->cap) {
		p->cap = p->cap ? 2 * p->cap : 16;
		p->sent = realloc(p->sent, p->cap * sizeof(*p->sent));
		MUST(p->sent);
	}
	copy_span(&p->sent[p->nsent++], line);
}

static inline void play_logged(struct play *p, struct span text)
{
	size_t held = strlen(p->log), n = text.n < 600 ? text.n : 600;

	TELL(p, "  log: %.*s\n", (int)n, text.p);
	if (held + n + 2 > sizeof(p->log)) {
		char late[sizeof(p->log)]; /* valgrind takes a fortified memmove for a memcpy */
		memcpy(late, p->log + held / 2, held - held / 2 + 1);
		memcpy(p->log, late, held - held / 2 + 1);
		held = strlen(p->log);
	}
	if (held + n + 2 <= sizeof(p->log))
		snprintf(p->log + held, sizeof(p->log) - held, "%.*s\n", (int)n, text.p);
}

static inline void play_act(struct play *p, struct action *a)
{
	struct transfer *t;

	switch (a->kind) {
	case ACT_HTTP:
		play_start(p, a);
		break;
	case ACT_CANCEL:
		t = play_transfer(p, a->token);
		TELL(p, "cancel %llx\n", (unsigned long long)a->token);
		if (t && t->open) {
			t->cancelled = true;
			play_stop(p, t);
		}
		break;
	case ACT_WITHDRAW:
		t = play_transfer(p, a->token);
		TELL(p, "withdraw %llx\n", (unsigned long long)a->token);
		if (t)
			t->withdrawn = true;
		break;
	case ACT_SEND:
		play_sent(p, a);
		break;
	case ACT_LOG:
		play_logged(p, a->text);
		break;
	case ACT_AUTH:
		p->nauth++;
		session_on_challenge(p->s, a->token, p->challenge, span_str(p->challenge_text), p->now);
		break;
	case ACT_SECRET:
		p->nsecrets++;
		break;
	case ACT_DROP_IDLE:
		p->ndrop_idle++;
		break;
	case ACT_REMEMBER:
		if (p->on_remember)
			p->on_remember(p, a, p->arg);
		break;
	case ACT_CHANGED:
		break;
	case ACT_END:
		MUST(!p->ended);
		p->ended = true;
		break;
	}
}

static inline void play_perform(struct play *p)
{
	struct action a;

	while (session_next(p->s, &a)) {
		play_act(p, &a);
		buf_fini(&a.owned);
	}
}

/* ---- the client and the clock ---------------------------------------------------------- */

/* The line lives in a block of its own, so that reading beyond it is noticed. */
static inline void play_client_n(struct play *p, const char *line, size_t n)
{
	char *own = malloc(n ? n : 1);

	MUST(own);
	memcpy(own, line, n);
	TELL(p, "from client %.*s\n", (int)n, line);
	session_on_client(p->s, span_make(own, n), NULL, p->now);
	play_perform(p);
	free(own);
}

static inline void play_client(struct play *p, const char *line) { play_client_n(p, line, strlen(line)); }

static inline enum session_state play_state(struct play *p)
{
	struct session_view v;

	session_look(p->s, &v, p->now);
	return v.state;
}

static inline void play_on_time(struct play *p)
{
	session_on_time(p->s, p->now, 1700000000 + (p->now - 1000000) / 1000);
	play_perform(p);
}

/* Lets ms pass, waking the session whenever it asked for it. */
static inline void play_pass(struct play *p, int64_t ms)
{
	int64_t until = p->now + ms, at;
	unsigned turns = 0;

	while (!p->ended && (at = session_deadline(p->s)) != 0 && at <= until) {
		if (at > p->now)
			turns = 0;
		MUST(++turns < PLAY_TURNS);
		if (at > p->now)
			p->now = at;
		play_on_time(p);
	}
	p->now = until;
}

/* To the next moment the session asked for; false when there is none. */
static inline bool play_next(struct play *p)
{
	int64_t at = p->ended ? 0 : session_deadline(p->s);

	if (!at)
		return false;
	play_pass(p, at > p->now ? at - p->now : 0);
	return true;
}

/* ---- the server --------------------------------------------------------------------------- */

struct head { int status; const char *type, *sid, *retry_after, *location, *www; };

static inline void play_head(struct play *p, struct transfer *t, struct head h)
{
	struct http_head hh = { .status = h.status, .version = 11 };

	MUST(t && t->open && !t->told);
	hh.content_type = span_str(h.type);
	hh.session_id = span_str(h.sid);
	hh.retry_after = span_str(h.retry_after);
	hh.location = span_str(h.location);
	hh.www_authenticate = span_str(h.www);
	TELL(p, "head %llx %d %s\n", (unsigned long long)t->token, h.status, h.type ? h.type : "");
	t->told = true;
	t->status = h.status;
	t->mode = session_on_head(p->s, t->token, &hh, p->now);
	play_perform(p);
}

/* Bytes of a body, in pieces of the given size; 0: all at once. */
static inline void play_bytes(struct play *p, uint64_t token, const char *data, size_t n, bool cut)
{
	char *own = malloc(n ? n : 1), *at = own;

	MUST(own);
	memcpy(own, data, n);
	TELL(p, "data %llx %.*s\n", (unsigned long long)token, (int)n, data);
	while (session_on_data(p->s, token, &at, &n, cut, p->now))
		play_perform(p);
	play_perform(p);
	free(own);
}

static inline void play_data(struct play *p, struct transfer *t, const char *text)
{
	MUST(t && t->open && t->told && span_eq(t->body, buf_span(&t->kept)));
	t->read = t->mode == BODY_COLLECT;
	play_bytes(p, t->token, text, strlen(text), false);
}

/* What came of a collected body before the connection was lost; play_done() is to follow. */
static inline void play_cut(struct play *p, struct transfer *t, const char *text)
{
	MUST(t && t->open && t->told && t->mode == BODY_COLLECT);
	t->read = true;
	play_bytes(p, t->token, text, strlen(text), true);
}

static inline void play_done(struct play *p, struct transfer *t, enum http_outcome o, bool body_sent)
{
	struct http_result r = { .outcome = o, .body_sent = body_sent, .got_bytes = t->told, .reused = p->reused };
	uint64_t token = t->token;

	MUST(t->open);
	TELL(p, "done %llx outcome %d%s\n", (unsigned long long)token, (int)o, body_sent ? " sent" : "");
	snprintf(r.detail, sizeof(r.detail), "told by the test");
	play_stop(p, t);
	session_on_done(p->s, token, &r, p->now);
	play_perform(p);
}

/* A whole response. A transfer that its own answer ended is left alone. */
static inline void play_respond(struct play *p, struct transfer *t, struct head h, const char *body)
{
	uint64_t token = t->token;

	play_head(p, t, h);
	if (!(t = play_transfer(p, token)) || !t->open)
		return;
	if (body && t->mode != BODY_DISCARD)
		play_data(p, t, body);
	if (!(t = play_transfer(p, token)) || !t->open)
		return;
	play_done(p, t, HTTP_OK, true);
}

static inline void play_status(struct play *p, struct transfer *t, int status) { play_respond(p, t, (struct head){ .status = status }, NULL); }
static inline void play_fail(struct play *p, struct transfer *t, enum http_outcome o, bool body_sent) { play_done(p, t, o, body_sent); }

static inline struct rpc_msg transfer_msg(const struct transfer *t)
{
	struct rpc_msg m;

	rpc_parse(buf_data(&t->kept), t->kept.len, &m);
	return m;
}

/* The oldest open transfer of that method; "GET" and "DELETE" are themselves. */
static inline struct transfer *play_find(struct play *p, const char *method)
{
	struct transfer *found = NULL;

	for (struct transfer *t = p->transfers; t; t = t->next) {
		if (!t->open)
			continue;
		if (t->method == HTTP_GET ? strcmp(method, "GET") == 0 : t->method == HTTP_DELETE ? strcmp(method, "DELETE") == 0 :
		    span_is(transfer_msg(t).method, method))
			found = t;
	}
	return found;
}

static inline size_t play_count(struct play *p, const char *method)
{
	size_t n = 0;

	for (struct transfer *t = p->transfers; t; t = t->next)
		n += t->method == HTTP_POST ? span_is(transfer_msg(t).method, method) : t->method == HTTP_GET ? strcmp(method, "GET") == 0 : strcmp(method, "DELETE") == 0;
	return n;
}

static inline struct transfer *play_must_find(struct play *p, const char *method)
{
	struct transfer *t = play_find(p, method);

	if (!t)
		fprintf(stderr, "no open %s; the log says:\n%s", method, p->log);
	MUST(t);
	return t;
}

/* {"jsonrpc":"2.0","id":<the request's>,<member>} into out. */
static inline void write_reply(const struct transfer *t, const char *member, char *out, size_t size)
{
	struct rpc_msg m = transfer_msg(t);

	snprintf(out, size, "{\"jsonrpc\":\"2.0\",\"id\":%.*s,%s}", (int)m.id.n, m.id.p, member);
}

/* Answers as JSON; member is `"result":...` or `"error":...`. */
static inline void play_json(struct play *p, struct transfer *t, const char *member)
{
	char *text = malloc(strlen(member) + t->kept.len + 200);

	MUST(text);
	write_reply(t, member, text, strlen(member) + t->kept.len + 200);
	play_respond(p, t, (struct head){ .status = 200, .type = "application/json" }, text);
	free(text);
}

static inline void play_error(struct play *p, struct transfer *t, int status, int code, const char *message)
{
	char member[300], text[600];

	snprintf(member, sizeof(member), "\"error\":{\"code\":%d,\"message\":\"%s\"}", code, message);
	write_reply(t, member, text, sizeof(text));
	play_respond(p, t, (struct head){ .status = status, .type = "application/json" }, text);
}

static inline void play_sse(struct play *p, struct transfer *t)
{
	play_head(p, t, (struct head){ .status = 200, .type = "text/event-stream" });
	t->sse = true;
}

/* One event; id may be NULL. */
static inline void play_event(struct play *p, struct transfer *t, const char *id, const char *data)
{
	size_t size = strlen(data) + (id ? strlen(id) : 0) + 64;
	char *text = malloc(size);

	MUST(text);
	if (id)
		snprintf(text, size, "id: %s\ndata: %s\n\n", id, data);
	else
		snprintf(text, size, "data: %s\n\n", data);
	play_data(p, t, text);
	free(text);
}

/* The answer to asked (which may be over) as an event of t. */
static inline void play_answer_on(struct play *p, struct transfer *t, const char *event_id, const struct transfer *asked, const char *member)
{
	char text[4096];

	write_reply(asked, member, text, sizeof(text));
	play_event(p, t, event_id, text);
}

/* ---- what was said to the client ------------------------------------------------------------- */

/* How many answers with this raw id the client got; *last the newest. */
static inline size_t play_answers(struct play *p, const char *id, const char **last)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nsent; i++) {
		struct rpc_msg m;
		rpc_parse(buf_data(&p->sent[i]), p->sent[i].len, &m);
		if ((m.kind == RPC_RESULT || m.kind == RPC_ERROR) && span_is(m.id, id)) {
			n++;
			if (last)
				*last = buf_data(&p->sent[i]);
		}
	}
	return n;
}

static inline bool play_said(struct play *p, const char *text)
{
	for (size_t i = 0; i < p->nsent; i++)
		if (memmem(buf_data(&p->sent[i]), p->sent[i].len, text, strlen(text)))
			return true;
	return false;
}

static inline size_t play_said_times(struct play *p, const char *text)
{
	size_t n = 0;

	for (size_t i = 0; i < p->nsent; i++)
		n += memmem(buf_data(&p->sent[i]), p->sent[i].len, text, strlen(text)) != NULL;
	return n;
}

/* The one answer to id is an error of ours of this kind. */
static inline bool play_refused(struct play *p, const char *id, const char *kind)
{
	const char *text = NULL;
	char want[64];

	snprintf(want, sizeof(want), "\"kind\":\"%s\"", kind);
	for (size_t i = 0; i < p->nsent; i++) {
		struct rpc_msg m;
		rpc_parse(buf_data(&p->sent[i]), p->sent[i].len, &m);
		if ((m.kind == RPC_RESULT || m.kind == RPC_ERROR) && span_is(m.id, id))
			text = memmem(m.text.p, m.text.n, want, strlen(want));
	}
	return text && play_answers(p, id, NULL) == 1;
}

/* ---- into READY ---------------------------------------------------------------------------------- */

#define PLAY_INITIALIZE "{\"jsonrpc\":\"2.0\",\"id\":\"init\",\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{},\"clientInfo\":{\"name\":\"c\",\"version\":\"1\"}}}"
#define PLAY_INITIALIZED "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}"
#define PLAY_HELLO "\"result\":{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}"
#define PLAY_HELLO_SSE "\"result\":{\"protocolVersion\":\"2024-11-05\",\"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"s\",\"version\":\"1\"}}"

static inline void play_hello(struct play *p, const char *sid)
{
	struct transfer *t = play_must_find(p, "initialize");
	char text[4096];

	write_reply(t, PLAY_HELLO, text, sizeof(text));
	play_respond(p, t, (struct head){ .status = 200, .type = "application/json", .sid = sid }, text);
}

/* Streamable HTTP with a session, without a standing stream unless one is wanted. */
static inline void play_ready(struct play *p, bool stream)
{
	play_client(p, PLAY_INITIALIZE);
	play_hello(p, "sid-1");
	play_client(p, PLAY_INITIALIZED);
	play_status(p, play_must_find(p, "notifications/initialized"), 202);
	if (stream)
		play_sse(p, play_must_find(p, "GET"));
	else
		play_status(p, play_must_find(p, "GET"), 405);
	MUST(play_state(p) == SESSION_READY && play_answers(p, "\"init\"", NULL) == 1);
}

static inline struct transfer *play_endpoint(struct play *p)
{
	struct transfer *g = play_must_find(p, "GET");

	play_sse(p, g);
	play_data(p, g, "event: endpoint\ndata: /messages?s=1\n\n");
	return g;
}

/* 2024-11-05; the configuration asks for it. Gives the stream. */
static inline struct transfer *play_ready_sse(struct play *p)
{
	struct transfer *g, *t;

	play_client(p, PLAY_INITIALIZE);
	g = play_endpoint(p);
	t = play_must_find(p, "initialize");
	play_status(p, t, 202);
	play_answer_on(p, g, NULL, t, PLAY_HELLO_SSE);
	play_client(p, PLAY_INITIALIZED);
	play_status(p, play_must_find(p, "notifications/initialized"), 202);
	MUST(play_state(p) == SESSION_READY && play_answers(p, "\"init\"", NULL) == 1);
	return g;
}

/* The client's view of the tools: `safe` is read-only, `again` idempotent, `act` neither. */
#define PLAY_TOOLS "\"result\":{\"tools\":[{\"name\":\"safe\",\"annotations\":{\"readOnlyHint\":true}},{\"name\":\"again\",\"annotations\":{\"idempotentHint\":true}},{\"name\":\"act\"}]}"

/* ---- a server in good health ------------------------------------------------------------------------ */

static inline struct transfer *play_open_stream(struct play *p)
{
	struct transfer *t = p->transfers;

	while (t && !(t->open && t->method == HTTP_GET && t->sse))
		t = t->next;
	return t;
}

static inline const char *good_answer(const struct transfer *t, bool old)
{
	struct rpc_msg m = transfer_msg(t);

	if (span_is(m.method, "initialize"))
		return old ? PLAY_HELLO_SSE : PLAY_HELLO;
	if (span_is(m.method, "tools/list"))
		return PLAY_TOOLS;
	if (span_is(m.method, "resources/list"))
		return "\"result\":{\"resources\":[]}";
	if (span_is(m.method, "prompts/list"))
		return "\"result\":{\"prompts\":[]}";
	return "\"result\":{\"content\":[],\"good\":true}";
}

/* Answers one open transfer as a good server does; streams stay open. */
static inline void play_serve_one(struct play *p, struct transfer *t)
{
	bool old = t->url.len && memmem(buf_data(&t->url), t->url.len, "/messages", 9);

	if (t->method == HTTP_GET) {
		if (p->c.transport == TRANSPORT_SSE)
			play_endpoint(p);
		else
			play_status(p, t, 405);
	} else if (t->method == HTTP_DELETE) {
		play_status(p, t, 200);
	} else if (!transfer_msg(t).id.p || transfer_msg(t).kind == RPC_RESULT || transfer_msg(t).kind == RPC_ERROR) {
		play_status(p, t, 202);
	} else if (old) {
		char text[4096];
		write_reply(t, good_answer(t, true), text, sizeof(text));
		play_status(p, t, 202);
		if ((t = play_open_stream(p)))
			play_event(p, t, NULL, text);
	} else if (span_is(transfer_msg(t).method, "initialize")) {
		play_hello(p, "sid-n");
	} else {
		play_json(p, t, good_answer(t, false));
	}
}

/* Serves everything that is asked for ms, the clock running; each by `one`. */
static inline void play_serve_with(struct play *p, int64_t ms, void (*one)(struct play *p, struct transfer *t))
{
	int64_t until = p->now + ms, at;

	for (;;) {
		struct transfer *t = p->transfers, *old = NULL;
		for (; t; t = t->next)
			if (t->open && !t->told)
				old = t;
		if (old) {
			one(p, old);
			continue;
		}
		at = p->ended ? 0 : session_deadline(p->s);
		if (!at || at > until)
			break;
		play_pass(p, at > p->now ? at - p->now : 0);
	}
	p->now = until;
}

static inline void play_serve(struct play *p, int64_t ms) { play_serve_with(p, ms, play_serve_one); }

static inline void play_learn_tools(struct play *p)
{
	play_client(p, "{\"jsonrpc\":\"2.0\",\"id\":\"list\",\"method\":\"tools/list\"}");
	play_json(p, play_must_find(p, "tools/list"), PLAY_TOOLS);
}

static inline void play_call(struct play *p, int id, const char *tool)
{
	char text[300];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":{\"n\":%d}}}", id, tool, id);
	play_client(p, text);
}

static inline void play_ask(struct play *p, int id, const char *method)
{
	char text[300];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"%s\",\"params\":{}}", id, method);
	play_client(p, text);
}

static inline void play_cancel(struct play *p, int id)
{
	char text[200];

	snprintf(text, sizeof(text), "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/cancelled\",\"params\":{\"requestId\":%d}}", id);
	play_client(p, text);
}

#endif
