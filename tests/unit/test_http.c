/* HTTP transfers against a raw server in this process: a thread for each
 * connection, and a path that says how to behave. What the server saw is
 * counted there; the client side is driven exactly as the program does it. */
#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/buf.h"
#include "io/http.h"
#include "io/http_head.h"
#include "io/http_mem.h"
#include "io/http_table.h"
#include "io/loop.h"

#define LIMIT_MS 30000
#define MAX_TOKEN 512
#define BIG ((size_t)4 * 1024 * 1024)

/* ---- the server ----------------------------------------------------------------- */

struct server {
	int fd, port;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change;
	int connections, executions, live;
	bool gate;               /* what handlers of /wait wait for */
	bool stop;
	int fds[1024];
	size_t nfds;
	char last_head[16384];   /* of the latest request */
};

struct conn {
	struct server *s;
	int fd;
	char head[16384];
	char path[128], method[16];
	size_t body, received;
	int served;
};

static void say(struct conn *c, const char *p, size_t n)
{
	while (n) {
		ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);

		if (k <= 0)
			return;
		p += k;
		n -= (size_t)k;
	}
}

static void says(struct conn *c, const char *s)
{
	say(c, s, strlen(s));
}

static void reset_connection(struct conn *c)
{
	struct linger l = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
}

/* Reads the head byte by byte, so that nothing of the body is swallowed. */
static bool read_head(struct conn *c)
{
	size_t n = 0;
	const char *p;

	while (n < sizeof c->head - 1) {
		if (recv(c->fd, c->head + n, 1, 0) != 1)
			return false;
		c->head[++n] = '\0';
		if (n >= 4 && memcmp(c->head + n - 4, "\r\n\r\n", 4) == 0)
			break;
	}
	p = strstr(c->head, "\r\nContent-Length: ");
	c->body = p ? strtoul(p + 18, NULL, 10) : 0;
	if (sscanf(c->head, "%15s %127s", c->method, c->path) != 2)
		return false;
	p = strncmp(c->path, "http://", 7) == 0 ? strchr(c->path + 7, '/') : NULL;
	if (p) /* as a proxy is asked */
		memmove(c->path, p, strlen(p) + 1);
	return true;
}

static bool read_body(struct conn *c, size_t n)
{
	static __thread char sink[65536];

	while (n) {
		ssize_t k = recv(c->fd, sink, n < sizeof sink ? n : sizeof sink, 0);

		if (k <= 0)
			return false;
		n -= (size_t)k;
		c->received += (size_t)k;
	}
	return true;
}

static void wait_gate(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	while (!s->gate && !s->stop)
		pthread_cond_wait(&s->change, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

static void count(struct server *s, int *what, int by)
{
	pthread_mutex_lock(&s->lock);
	*what += by;
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->lock);
}

static int seen(struct server *s, const int *what)
{
	int n;

	pthread_mutex_lock(&s->lock);
	n = *what;
	pthread_mutex_unlock(&s->lock);
	return n;
}

static const char ok[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nMcp-Session-Id: s1\r\n\r\nhello";
/* "hello gzip\n" through gzip -n */
static const unsigned char zipped[] = {
	0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0xcb, 0x48, 0xcd, 0xc9, 0xc9, 0x57,
	0x48, 0xaf, 0xca, 0x2c, 0xe0, 0x02, 0x00, 0x39, 0x7c, 0x63, 0x56, 0x0b, 0x00, 0x00, 0x00,
};

/* "data: 1\n\n" and "data: 2\n\n" in one gzip stream, flushed in between */
static const unsigned char zipped_one[] = {
	0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x03, 0x4a, 0x49, 0x2c, 0x49, 0xb4, 0x52,
	0x30, 0xe4, 0xe2, 0x02, 0x00, 0x00, 0x00, 0xff, 0xff,
};
static const unsigned char zipped_two[] = {
	0x4b, 0x01, 0x33, 0x8c, 0xb8, 0xb8, 0x00, 0x06, 0x2d, 0x00, 0x8f, 0x12, 0x00, 0x00, 0x00,
};

static void say_big(struct conn *c, size_t n, bool length)
{
	static char block[65536];
	char head[128];

	if (length)
		snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", n);
	else
		snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
	says(c, head);
	for (size_t k; n; n -= k) {
		k = n < sizeof block ? n : sizeof block;
		say(c, block, k);
	}
}

/* Answers; false ends the connection. */
static bool behave_badly(struct conn *c)
{
	if (strcmp(c->path, "/reset-unless-first") == 0) {
		if (c->served == 0) {
			says(c, ok);
			return true;
		}
		reset_connection(c);
	} else if (strcmp(c->path, "/vanish") == 0) {
		/* the whole server goes: nothing listens any more */
		shutdown(c->s->fd, SHUT_RDWR);
		reset_connection(c);
	} else if (strcmp(c->path, "/eof") == 0) {
		return false;
	} else if (strcmp(c->path, "/reset") == 0) {
		reset_connection(c);
	} else if (strcmp(c->path, "/partial") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	} else if (strcmp(c->path, "/partial-then-wait") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
		wait_gate(c->s);
	} else if (strcmp(c->path, "/garbage") == 0) {
		says(c, "SSH-2.0-OpenSSH_9.2\r\nwhatever\r\n");
	} else if (strcmp(c->path, "/headers") == 0) {
		says(c, "HTTP/1.1 200 OK\r\n");
		for (int i = 0; i < 600; i++)
			says(c, "X-Filler: 0123456789012345678901234567890123456789\r\n");
		says(c, "Content-Length: 0\r\n\r\n");
	} else if (strcmp(c->path, "/long-line") == 0) {
		static char line[200000];

		memset(line, 'x', sizeof line);
		says(c, "HTTP/1.1 200 OK\r\nX-Long: ");
		say(c, line, sizeof line);
		says(c, "\r\n\r\n");
	} else if (strcmp(c->path, "/interims") == 0) {
		for (int i = 0; i < 2000; i++)
			says(c, "HTTP/1.1 102 Processing\r\nX-More: yes\r\n\r\n");
	} else if (strcmp(c->path, "/bad-gzip") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip.");
	}
	return false;
}

static bool behave_well(struct conn *c)
{
	char text[256];

	if (strcmp(c->path, "/chunked") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwiki\r\n5;x=y\r\npedia\r\n0\r\nLocation: /trailer\r\n\r\n");
	} else if (strcmp(c->path, "/gzip") == 0) {
		snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %zu\r\n\r\n", sizeof zipped);
		says(c, text);
		say(c, (const char *)zipped, sizeof zipped);
	} else if (strcmp(c->path, "/interim") == 0) {
		says(c, "HTTP/1.1 103 Early Hints\r\nLocation: /early\r\nContent-Type: early/hint\r\n\r\n");
		says(c, "HTTP/1.1 202 Accepted\r\ncontent-type:  text/late \r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(c->path, "/401") == 0) {
		says(c, "HTTP/1.1 401 No\r\nWWW-Authenticate: Bearer realm=\"a\"\r\nwww-authenticate: DPoP algs=\"ES256\"\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(c->path, "/302") == 0) {
		says(c, "HTTP/1.1 302 Elsewhere\r\nLocation: http://127.0.0.1:1/next\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(c->path, "/cookie") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nSet-Cookie: pin=node7; Path=/\r\nContent-Length: 0\r\n\r\n");
	} else if (strcmp(c->path, "/big") == 0) {
		say_big(c, BIG, true);
	} else if (strcmp(c->path, "/big-eof") == 0) {
		say_big(c, BIG, false);
		return false;
	} else if (strcmp(c->path, "/stream") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: 1\n\n");
		wait_gate(c->s);
		says(c, "data: 2\n\n");
		return false;
	} else if (strcmp(c->path, "/gzip-stream") == 0) {
		says(c, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n");
		say(c, (const char *)zipped_one, sizeof zipped_one);
		wait_gate(c->s);
		say(c, (const char *)zipped_two, sizeof zipped_two);
		return false;
	} else if (strcmp(c->path, "/ok-then-deaf") == 0) {
		says(c, ok);
		wait_gate(c->s);
	} else if (strcmp(c->path, "/wait") == 0) {
		wait_gate(c->s);
		says(c, ok);
	} else if (strcmp(c->path, "/endless") == 0) {
		char block[4096];

		memset(block, 'e', sizeof block);
		says(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
		while (send(c->fd, block, sizeof block, MSG_NOSIGNAL) > 0)
			;
		return false;
	} else {
		return behave_badly(c) || false;
	}
	return true;
}

static bool serve_one(struct conn *c)
{
	struct server *s = c->s;

	if (!read_head(c))
		return false;
	pthread_mutex_lock(&s->lock);
	memcpy(s->last_head, c->head, sizeof c->head);
	pthread_mutex_unlock(&s->lock);
	if (strcmp(c->method, "CONNECT") == 0) {
		says(c, "HTTP/1.1 403 Not through me\r\nContent-Length: 0\r\n\r\n");
		return false;
	}
	if (strcmp(c->path, "/reset-midway") == 0) {
		read_body(c, c->body / 4);
		reset_connection(c);
		return false;
	}
	if (strcmp(c->path, "/413") == 0) {
		read_body(c, 1000);
		says(c, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
		wait_gate(s);
		return false;
	}
	if (!read_body(c, c->body))
		return false;
	count(s, &s->executions, 1);
	if (strcmp(c->path, "/ok") == 0)
		says(c, ok);
	else if (!behave_well(c))
		return false;
	c->served++;
	return true;
}

static void *serve(void *arg)
{
	struct conn *c = arg;
	struct server *s = c->s;

	while (serve_one(c))
		;
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->nfds; i++)
		if (s->fds[i] == c->fd)
			s->fds[i] = -1;
	close(c->fd);
	s->live--;
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->lock);
	free(c);
	return NULL;
}

static void *accept_all(void *arg)
{
	struct server *s = arg;
	pthread_attr_t small;
	int fd;

	pthread_attr_init(&small);
	pthread_attr_setdetachstate(&small, PTHREAD_CREATE_DETACHED);
	while ((fd = accept(s->fd, NULL, NULL)) >= 0) {
		struct conn *c = calloc(1, sizeof *c);
		pthread_t t;

		c->s = s;
		c->fd = fd;
		pthread_mutex_lock(&s->lock);
		s->connections++;
		s->live++;
		s->fds[s->nfds++ % 1024] = fd;
		pthread_mutex_unlock(&s->lock);
		if (pthread_create(&t, &small, serve, c) != 0)
			abort();
	}
	pthread_attr_destroy(&small);
	return NULL;
}

static void server_start(struct server *s)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;

	memset(s, 0, sizeof *s);
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->change, NULL);
	s->fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(bind(s->fd, (struct sockaddr *)&a, sizeof a), 0);
	assert_int_equal(listen(s->fd, 1024), 0);
	getsockname(s->fd, (struct sockaddr *)&a, &n);
	s->port = ntohs(a.sin_port);
	assert_int_equal(pthread_create(&s->thread, NULL, accept_all, s), 0);
}

static void open_gate(struct server *s)
{
	pthread_mutex_lock(&s->lock);
	s->gate = true;
	pthread_cond_broadcast(&s->change);
	pthread_mutex_unlock(&s->lock);
}

static void server_stop(struct server *s)
{
	shutdown(s->fd, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	close(s->fd);
	pthread_mutex_lock(&s->lock);
	s->stop = true;
	for (size_t i = 0; i < s->nfds && i < 1024; i++)
		if (s->fds[i] >= 0)
			shutdown(s->fds[i], SHUT_RDWR);
	pthread_cond_broadcast(&s->change);
	while (s->live)
		pthread_cond_wait(&s->change, &s->lock);
	pthread_mutex_unlock(&s->lock);
}

/* ---- the client ----------------------------------------------------------------- */

struct got {
	int heads, dones, pieces;
	struct http_head head;
	char type[64], auth[128], location[64], session[64];
	struct buf data;
	struct http_result result;
};

struct fix {
	struct server s;
	struct loop *l;
	struct http *h;
	struct got got[MAX_TOKEN];
	void (*hook)(struct fix *f, const struct http_event *ev); /* what the owner does with a fact */
	bool keep_nothing;
	char proxy[64];
	size_t largest, collect;
};

static const struct http_config defaults = {
	.connect_timeout_ms = 3000, .cookies = true, .max_header_bytes = 16384, .high_water = 1 << 20, .user_agent = "test",
};

static struct fix *fix_new_with(struct http_config c, bool as_proxy)
{
	struct fix *f = calloc(1, sizeof *f);
	struct err e = { "" };

	server_start(&f->s);
	if (as_proxy) {
		snprintf(f->proxy, sizeof f->proxy, "http://127.0.0.1:%d", f->s.port);
		c.proxy = f->proxy;
	}
	f->l = loop_new(&e);
	f->h = http_new(&c, f->l, &e);
	assert_non_null(f->h);
	for (int i = 0; i < MAX_TOKEN; i++)
		buf_init(&f->got[i].data, SIZE_MAX);
	return f;
}

static struct fix *fix_new(const struct http_config *c)
{
	return fix_new_with(*c, false);
}

static void fix_free(struct fix *f)
{
	http_free(f->h);
	loop_free(f->l);
	server_stop(&f->s);
	for (int i = 0; i < MAX_TOKEN; i++)
		buf_fini(&f->got[i].data);
	free(f);
}

static int setup(void **state)
{
	*state = fix_new(&defaults);
	return 0;
}

static int teardown(void **state)
{
	fix_free(*state);
	return 0;
}

static void keep(char *to, size_t cap, struct span s)
{
	snprintf(to, cap, "%.*s", (int)s.n, s.p ? s.p : "");
}

static void take(struct fix *f, const struct http_event *ev)
{
	struct got *g = &f->got[ev->token];

	if (ev->kind == HTTP_EV_HEAD) {
		g->heads++;
		g->head = *ev->head;
		keep(g->type, sizeof g->type, ev->head->content_type);
		keep(g->auth, sizeof g->auth, ev->head->www_authenticate);
		keep(g->location, sizeof g->location, ev->head->location);
		keep(g->session, sizeof g->session, ev->head->session_id);
		if (f->collect)
			http_collect(f->h, ev->token, f->collect);
	} else if (ev->kind == HTTP_EV_DATA) {
		assert_int_equal(g->heads, 1);
		g->pieces++;
		if (ev->data.n > f->largest)
			f->largest = ev->data.n;
		if (!f->keep_nothing)
			assert_int_equal(buf_add(&g->data, ev->data), 0);
	} else {
		g->dones++;
		g->result = *ev->result;
		if (g->heads)
			assert_int_equal(ev->head->status, g->head.status);
		else
			assert_null(ev->head);
	}
	if (f->hook)
		f->hook(f, ev);
}

static void drain(struct fix *f)
{
	struct http_event ev;

	while (http_next(f->h, &ev))
		take(f, &ev);
}

static void turn(struct fix *f)
{
	struct loop_event ev[64];
	int64_t soon = loop_now() + 5, due = http_deadline(f->h);
	int n = loop_wait(f->l, due && due < soon ? due : soon, ev, 64);

	for (int i = 0; i < n; i++)
		assert_true(http_on_event(f->h, &ev[i]));
	http_on_time(f->h, loop_now());
}

#define UNTIL(f, condition) do { \
	int64_t limit_ = loop_now() + LIMIT_MS; \
	for (drain(f); !(condition); drain(f)) { \
		if (loop_now() > limit_) \
			fail_msg("never true: %s", #condition); \
		turn(f); \
	} \
} while (0)

static struct http_request request(struct fix *f, uint64_t token, enum http_method m, const char *path)
{
	static char url[8][128];
	static unsigned at;
	char *u = url[at++ % 8];

	snprintf(u, 128, "http://127.0.0.1:%d%s", f->s.port, path);
	return (struct http_request){ .token = token, .method = m, .url = u };
}

static void start(struct fix *f, const struct http_request *rq)
{
	struct err e = { "" };

	if (http_start(f->h, rq, &e) != 0)
		fail_msg("%s", e.text);
}

static void get(struct fix *f, uint64_t token, const char *path)
{
	struct http_request rq = request(f, token, HTTP_GET, path);

	start(f, &rq);
}

static void post(struct fix *f, uint64_t token, const char *path, struct span body)
{
	struct http_request rq = request(f, token, HTTP_POST, path);

	rq.body = body;
	start(f, &rq);
}

static struct got *finish(struct fix *f, uint64_t token)
{
	UNTIL(f, f->got[token].dones == 1);
	return &f->got[token];
}

static void assert_data(const struct got *g, const char *text)
{
	assert_int_equal(g->data.len, strlen(text));
	if (g->data.len)
		assert_memory_equal(buf_data(&g->data), text, strlen(text));
}

/* ---- whole exchanges ------------------------------------------------------------ */

static void a_response_gives_head_data_and_done(void **state)
{
	struct fix *f = *state;
	struct got *g;

	get(f, 7, "/ok");
	assert_int_equal(http_running(f->h), 1);
	g = finish(f, 7);
	assert_int_equal(g->heads, 1);
	assert_int_equal(g->head.status, 200);
	assert_int_equal(g->head.version, 11);
	assert_string_equal(g->session, "s1");
	assert_data(g, "hello");
	assert_int_equal(g->result.outcome, HTTP_OK);
	assert_true(g->result.body_sent);
	assert_true(g->result.got_bytes);
	assert_false(g->result.reused);
	assert_int_equal(http_running(f->h), 0);
	assert_int_equal(http_backlog(f->h), 0);
}

static void a_kept_connection_is_used_again(void **state)
{
	struct fix *f = *state;

	for (uint64_t i = 1; i <= 5; i++) {
		post(f, i, "/ok", SPAN_LIT("{}"));
		assert_int_equal(finish(f, i)->result.outcome, HTTP_OK);
		assert_int_equal(f->got[i].result.reused, i > 1);
		assert_true(f->got[i].result.body_sent);
	}
	assert_int_equal(seen(&f->s, &f->s.connections), 1);
	assert_int_equal(seen(&f->s, &f->s.executions), 5);
}

static void idle_connections_are_dropped_on_demand(void **state)
{
	struct fix *f = *state;

	get(f, 1, "/ok");
	finish(f, 1);
	get(f, 2, "/stream");
	UNTIL(f, f->got[2].data.len);
	http_pause(f->h, 2, true);
	http_drop_idle(f->h);
	get(f, 3, "/ok");
	assert_int_equal(finish(f, 3)->result.outcome, HTTP_OK);
	assert_false(f->got[3].result.reused);
	assert_int_equal(f->got[2].dones, 0);
	http_pause(f->h, 2, false);
	open_gate(&f->s);
	assert_int_equal(finish(f, 2)->result.outcome, HTTP_OK);
	assert_data(&f->got[2], "data: 1\n\ndata: 2\n\n");
}

static void methods_and_headers_arrive_as_given(void **state)
{
	struct fix *f = *state;
	struct http_headers *shared = http_headers_new();
	struct span extra[] = { SPAN_LIT("X-One: 1"), SPAN_LIT("X-Two: 2") };
	struct http_request rq = request(f, 1, HTTP_DELETE, "/ok");

	assert_int_equal(http_headers_add(shared, SPAN_LIT("Authorization: Bearer abc")), 0);
	assert_int_equal(http_headers_add(shared, SPAN_LIT("X: a\r\nInjected: b")), -1);
	assert_int_equal(http_headers_add(shared, span_make("X: \0", 4)), -1);
	rq.shared = shared;
	rq.extra = extra;
	rq.nextra = 2;
	start(f, &rq);
	http_headers_release(shared);
	finish(f, 1);
	assert_int_equal(strncmp(f->s.last_head, "DELETE /ok HTTP/1.1\r\n", 21), 0);
	assert_non_null(strstr(f->s.last_head, "\r\nAuthorization: Bearer abc\r\n"));
	assert_non_null(strstr(f->s.last_head, "\r\nX-One: 1\r\nX-Two: 2\r\n"));
	assert_null(strstr(f->s.last_head, "Injected"));

	/* The handle is the same one: nothing of the old request may be left. */
	post(f, 2, "/ok", SPAN_LIT("12345"));
	finish(f, 2);
	assert_int_equal(strncmp(f->s.last_head, "POST /ok HTTP/1.1\r\n", 19), 0);
	assert_null(strstr(f->s.last_head, "Bearer"));
	assert_non_null(strstr(f->s.last_head, "\r\nContent-Length: 5\r\n"));
	assert_null(strstr(f->s.last_head, "Expect"));
	get(f, 3, "/ok");
	finish(f, 3);
	assert_int_equal(strncmp(f->s.last_head, "GET /ok HTTP/1.1\r\n", 18), 0);
	assert_null(strstr(f->s.last_head, "Content-Length"));
}

static void a_large_body_is_sent_whole_without_waiting(void **state)
{
	struct fix *f = *state;
	char *body = calloc(1, BIG);

	post(f, 1, "/ok", span_make(body, BIG));
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_OK);
	assert_true(f->got[1].result.body_sent);
	assert_int_equal(seen(&f->s, &f->s.executions), 1);
	assert_null(strstr(f->s.last_head, "Expect"));
	free(body);
}

static void codings_and_interim_heads_are_undone(void **state)
{
	static const struct { const char *path, *data; int status; const char *type, *auth, *location; } cases[] = {
		{ "/chunked", "wikipedia", 200, "", "", "" },
		{ "/gzip", "hello gzip\n", 200, "", "", "" },
		{ "/interim", "", 202, "text/late", "", "" },
		{ "/401", "", 401, "", "Bearer realm=\"a\", DPoP algs=\"ES256\"", "" },
		{ "/302", "", 302, "", "", "http://127.0.0.1:1/next" },
	};
	struct fix *f = *state;

	for (uint64_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct got *g;

		get(f, i + 1, cases[i].path);
		g = finish(f, i + 1);
		assert_int_equal(g->result.outcome, HTTP_OK);
		assert_int_equal(g->heads, 1);
		assert_int_equal(g->head.status, cases[i].status);
		assert_data(g, cases[i].data);
		assert_string_equal(g->type, cases[i].type);
		assert_string_equal(g->auth, cases[i].auth);
		assert_string_equal(g->location, cases[i].location);
	}
}

static void a_stream_is_given_as_it_comes(void **state)
{
	struct fix *f = *state;

	get(f, 1, "/stream");
	get(f, 2, "/gzip-stream");
	UNTIL(f, f->got[1].data.len == 9 && f->got[2].data.len == 9);
	assert_string_equal(f->got[1].type, "text/event-stream");
	assert_int_equal(f->got[1].dones + f->got[2].dones, 0);
	open_gate(&f->s);
	finish(f, 1);
	finish(f, 2);
	assert_data(&f->got[1], "data: 1\n\ndata: 2\n\n");
	assert_data(&f->got[2], "data: 1\n\ndata: 2\n\n");
}

static void two_hundred_transfers_run_at_once(void **state)
{
	struct fix *f = *state;
	int done = 0;

	for (uint64_t i = 1; i <= 200; i++)
		post(f, i, "/wait", SPAN_LIT("{}"));
	UNTIL(f, seen(&f->s, &f->s.executions) == 200);
	assert_int_equal(http_running(f->h), 200);
	open_gate(&f->s);
	UNTIL(f, http_running(f->h) == 0);
	for (int i = 1; i <= 200; i++)
		done += f->got[i].dones == 1 && f->got[i].result.outcome == HTTP_OK;
	assert_int_equal(done, 200);
	assert_int_equal(seen(&f->s, &f->s.executions), 200);
}

/* ---- faults --------------------------------------------------------------------- */

static void a_call_on_a_dying_connection_runs_once(void **state)
{
	struct fix *f = *state;
	struct got *g;

	post(f, 1, "/ok", SPAN_LIT("{}"));
	finish(f, 1);
	post(f, 2, "/reset-unless-first", SPAN_LIT("{\"call\":1}"));
	g = finish(f, 2);
	assert_int_equal(g->result.outcome, HTTP_RESET);
	assert_true(g->result.body_sent);
	assert_true(g->result.reused);
	assert_false(g->result.got_bytes);
	assert_int_equal(g->heads, 0);
	assert_int_equal(seen(&f->s, &f->s.executions), 2);
	assert_int_equal(seen(&f->s, &f->s.connections), 1);
	post(f, 3, "/ok", SPAN_LIT("{}"));
	assert_int_equal(finish(f, 3)->result.outcome, HTTP_OK);
}

static void an_empty_post_on_a_dying_connection_runs_once(void **state)
{
	struct fix *f = *state;

	post(f, 1, "/ok", SPAN_LIT("{}"));
	finish(f, 1);
	post(f, 2, "/reset-unless-first", SPAN_NONE);
	assert_int_equal(finish(f, 2)->result.outcome, HTTP_RESET);
	assert_true(f->got[2].result.body_sent);
	assert_int_equal(seen(&f->s, &f->s.executions), 2);
}

static void a_call_whose_server_vanished_may_have_run(void **state)
{
	struct fix *f = *state;
	struct got *g;

	post(f, 1, "/ok", SPAN_LIT("{}"));
	finish(f, 1);
	post(f, 2, "/vanish", SPAN_LIT("{\"call\":1}"));
	g = finish(f, 2);
	assert_int_equal(g->result.outcome, HTTP_RESET);
	assert_true(g->result.body_sent);
	assert_true(g->result.reused);
	assert_int_equal(seen(&f->s, &f->s.executions), 2);
}

/* Our end of the first connection to the server. */
static int client_socket(const struct fix *f)
{
	struct sockaddr_in a;

	for (int fd = 3; fd < 256; fd++) {
		socklen_t n = sizeof a;

		if (getpeername(fd, (struct sockaddr *)&a, &n) == 0 && n == sizeof a && ntohs(a.sin_port) == f->s.port)
			return fd;
	}
	return -1;
}

static void a_call_that_could_not_even_begin_takes_a_new_connection(void **state)
{
	struct fix *f = *state;

	get(f, 1, "/ok-then-deaf");
	finish(f, 1);
	/* The pool takes it for alive, and the very first send fails. */
	assert_int_equal(shutdown(client_socket(f), SHUT_WR), 0);
	post(f, 2, "/ok", SPAN_LIT("{\"call\":1}"));
	assert_int_equal(finish(f, 2)->result.outcome, HTTP_OK);
	assert_false(f->got[2].result.reused);
	assert_int_equal(seen(&f->s, &f->s.connections), 2);
	assert_int_equal(seen(&f->s, &f->s.executions), 2);
}

static void a_get_on_a_dying_connection_is_repeated(void **state)
{
	struct fix *f = *state;

	get(f, 1, "/ok");
	finish(f, 1);
	get(f, 2, "/reset-unless-first");
	assert_int_equal(finish(f, 2)->result.outcome, HTTP_OK);
	assert_data(&f->got[2], "hello");
}

static void a_body_cut_midway_is_not_called_sent(void **state)
{
	struct fix *f = *state;
	size_t n = BIG * 8;
	char *body = calloc(1, n);

	for (uint64_t i = 1; i <= 2; i++) {
		/* first on a fresh connection, then on one that was used before */
		if (i == 2) {
			get(f, 3, "/ok");
			finish(f, 3);
		}
		post(f, i, "/reset-midway", span_make(body, n));
		finish(f, i);
		assert_true(f->got[i].result.outcome == HTTP_SEND || f->got[i].result.outcome == HTTP_RESET);
		assert_false(f->got[i].result.body_sent);
	}
	assert_int_equal(seen(&f->s, &f->s.executions), 1);
	free(body);
}

static void an_early_refusal_is_an_answer(void **state)
{
	struct fix *f = *state;
	size_t n = BIG * 8;
	char *body = calloc(1, n);

	post(f, 1, "/413", span_make(body, n));
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_OK);
	assert_int_equal(f->got[1].head.status, 413);
	assert_false(f->got[1].result.body_sent);
	free(body);
}

static void faults_have_names(void **state)
{
	static const struct { const char *path; enum http_outcome outcome; int heads; bool bytes; const char *data; } cases[] = {
		{ "/eof", HTTP_RESET, 0, false, "" },
		{ "/reset", HTTP_RESET, 0, false, "" },
		{ "/partial", HTTP_RESET, 1, true, "half" },
		{ "/garbage", HTTP_BAD, 0, false, "" },
		{ "/headers", HTTP_BAD, 0, true, "" },
		{ "/long-line", HTTP_BAD, 0, true, "" },
		{ "/interims", HTTP_BAD, 0, true, "" },
		{ "/bad-gzip", HTTP_BAD, 1, true, "" },
	};
	struct fix *f = *state;

	for (uint64_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct got *g;

		post(f, i + 1, cases[i].path, SPAN_LIT("{}"));
		g = finish(f, i + 1);
		if (g->result.outcome != cases[i].outcome)
			fail_msg("%s: %d, %s", cases[i].path, g->result.outcome, g->result.detail);
		assert_int_equal(g->heads, cases[i].heads);
		assert_int_equal(g->result.got_bytes, cases[i].bytes);
		assert_true(g->result.body_sent);
		assert_true(g->result.detail[0] != '\0');
		assert_data(g, cases[i].data);
	}
	assert_int_equal(seen(&f->s, &f->s.executions), (int)(sizeof cases / sizeof *cases));
}

static void a_refused_connection_sent_nothing(void **state)
{
	struct fix *f = *state;
	struct http_request rq = request(f, 1, HTTP_POST, "/");
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char url[64];

	/* bound but not listening: nobody else can have the port */
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	getsockname(fd, (struct sockaddr *)&a, &n);
	snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
	rq.url = url;
	rq.body = SPAN_LIT("{}");
	start(f, &rq);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_CONNECT);
	assert_false(f->got[1].result.body_sent);
	assert_int_equal(f->got[1].result.os_errno, ECONNREFUSED);
	assert_null(strstr(f->got[1].result.detail, "127.0.0.1"));
	close(fd);
}

static void a_silent_server_times_out(void **state)
{
	struct fix *f = *state;
	struct http_request rq = request(f, 1, HTTP_POST, "/wait");
	int64_t before = loop_now();

	rq.body = SPAN_LIT("{}");
	rq.timeout_ms = 60;
	start(f, &rq);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_TIMEOUT);
	assert_true(f->got[1].result.body_sent);
	assert_true(loop_now() - before >= 59);
}

static void a_plain_server_fails_the_handshake(void **state)
{
	struct fix *f = *state;
	struct http_request rq = request(f, 1, HTTP_POST, "/");
	char url[64];

	snprintf(url, sizeof url, "https://127.0.0.1:%d/", f->s.port);
	rq.url = url;
	rq.body = SPAN_LIT("{}");
	rq.timeout_ms = 300;
	start(f, &rq);
	finish(f, 1);
	assert_true(f->got[1].result.outcome == HTTP_TLS || f->got[1].result.outcome == HTTP_CONNECT);
	assert_false(f->got[1].result.body_sent);
}

static void a_proxy_is_used_and_its_refusal_has_a_name(void **state)
{
	static const struct { const char *url; enum http_outcome outcome; } cases[] = {
		{ "http://upstream.invalid/wait", HTTP_OK },
		{ "https://upstream.invalid/ok", HTTP_PROXY },
	};
	struct fix *f = fix_new_with(defaults, true);

	(void)state;
	open_gate(&f->s);
	for (uint64_t i = 0; i < 2; i++) {
		struct http_request rq = { .token = i + 1, .method = HTTP_POST, .url = cases[i].url, .body = SPAN_LIT("{}") };

		start(f, &rq);
		assert_int_equal(finish(f, i + 1)->result.outcome, cases[i].outcome);
		assert_int_equal(f->got[i + 1].result.body_sent, cases[i].outcome == HTTP_OK);
		assert_int_equal(f->got[i + 1].heads, cases[i].outcome == HTTP_OK);
	}
	fix_free(f);
}

static void bad_requests_are_refused_at_once(void **state)
{
	struct fix *f = *state;
	struct http_request rq = request(f, 1, HTTP_GET, "/ok");
	struct span evil = SPAN_LIT("A: b\nC: d");
	struct err e = { "" };

	rq.extra = &evil;
	rq.nextra = 1;
	assert_int_equal(http_start(f->h, &rq, &e), -1);
	assert_true(e.text[0] != '\0');
	rq.nextra = 0;
	start(f, &rq);
	assert_int_equal(http_start(f->h, &rq, &e), -1);
	rq.token = 0;
	assert_int_equal(http_start(f->h, &rq, &e), -1);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_OK);
}

static void other_protocols_and_credentials_in_urls_fail(void **state)
{
	static const char *const urls[] = { "file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pw@127.0.0.1:1/", "nonsense://x" };
	struct fix *f = *state;

	for (uint64_t i = 0; i < 4; i++) {
		struct http_request rq = { .token = i + 1, .url = urls[i] };

		start(f, &rq);
		assert_int_equal(finish(f, i + 1)->result.outcome, HTTP_BAD);
		assert_null(strstr(f->got[i + 1].result.detail, "pw"));
	}
}

/* ---- taking and leaving --------------------------------------------------------- */

static void cancel_at_its_fact(struct fix *f, const struct http_event *ev)
{
	char before = ev->data.n ? ev->data.p[0] : ' ';

	http_cancel(f->h, ev->token);
	if (ev->data.n) /* what was handed out outlives the cancel */
		assert_int_equal(ev->data.p[0], before);
	http_cancel(f->h, ev->token);
}

static void a_cancelled_transfer_says_nothing_more(void **state)
{
	struct fix *f = *state;

	f->hook = cancel_at_its_fact;
	get(f, 1, "/stream");
	UNTIL(f, f->got[1].heads);
	f->hook = NULL;
	assert_int_equal(http_running(f->h), 0);
	open_gate(&f->s);
	f->got[1].heads = 0;
	get(f, 1, "/ok");
	assert_int_equal(finish(f, 1)->heads, 1);
	get(f, 2, "/wait");
	http_cancel(f->h, 2);
	http_cancel(f->h, 99);
	get(f, 3, "/ok");
	finish(f, 3);
	assert_int_equal(f->got[2].dones, 0);
}

static void what_has_not_left_can_be_withdrawn_and_nothing_else(void **state)
{
	struct fix *f = *state;

	post(f, 1, "/ok", SPAN_LIT("{}"));
	http_withdraw(f->h, 1);
	http_withdraw(f->h, 1);
	http_withdraw(f->h, 99);
	assert_int_not_equal(finish(f, 1)->result.outcome, HTTP_OK);
	assert_false(f->got[1].result.body_sent);
	assert_int_equal(seen(&f->s, &f->s.executions), 0);
	post(f, 2, "/wait", SPAN_LIT("{}"));
	UNTIL(f, seen(&f->s, &f->s.executions) == 1);
	http_withdraw(f->h, 2);
	open_gate(&f->s);
	assert_int_equal(finish(f, 2)->result.outcome, HTTP_OK);
	assert_int_equal(f->got[1].dones, 1);
	assert_int_equal(f->got[2].dones, 1);
	assert_int_equal(http_running(f->h), 0);
}

static void restart_at_done(struct fix *f, const struct http_event *ev)
{
	if (ev->kind != HTTP_EV_DONE || f->got[ev->token].dones > 2)
		return;
	f->got[ev->token].heads = 0;
	get(f, ev->token, "/ok");
	http_cancel(f->h, ev->token);
	get(f, ev->token, "/ok");
}

static void a_number_is_free_again_at_its_done(void **state)
{
	struct fix *f = *state;

	f->hook = restart_at_done;
	get(f, 5, "/ok");
	UNTIL(f, f->got[5].dones == 3 && http_running(f->h) == 0);
	assert_int_equal(http_backlog(f->h), 0);
}

static void an_endless_body_stops_at_the_high_water_mark(void **state)
{
	struct http_config c = defaults;
	struct fix *f;
	struct loop_event ev[8];
	size_t level = 0;
	int64_t limit, still;

	(void)state;
	c.high_water = 100000;
	f = fix_new(&c);
	get(f, 1, "/endless");
	get(f, 2, "/endless");
	/* Nobody takes anything: it must come to rest by itself. */
	limit = loop_now() + LIMIT_MS;
	for (still = loop_now(); loop_now() - still < 100 && loop_now() < limit;) {
		int n = loop_wait(f->l, loop_now() + 5, ev, 8);

		for (int i = 0; i < n; i++)
			http_on_event(f->h, &ev[i]);
		http_on_time(f->h, loop_now());
		if (http_backlog(f->h) != level || !level)
			still = loop_now();
		level = http_backlog(f->h);
	}
	assert_true(loop_now() < limit);
	assert_in_range(level, 100000, 100000 + 2 * 65536);
	assert_true(http_pending(f->h)); /* though no socket will say so */
	f->keep_nothing = true;
	UNTIL(f, f->got[1].pieces > 5 && f->got[2].pieces > 5);
	fix_free(f);
}

static void a_paused_transfer_waits_and_goes_on(void **state)
{
	struct fix *f = *state;
	size_t before;

	get(f, 1, "/big");
	http_pause(f->h, 1, true);
	get(f, 2, "/ok");
	finish(f, 2);
	UNTIL(f, f->got[1].heads == 1);
	before = f->got[1].data.len;
	get(f, 3, "/ok");
	finish(f, 3);
	assert_int_equal(f->got[1].data.len, before);
	http_pause(f->h, 1, false);
	UNTIL(f, f->got[1].data.len > before + 100000);
	http_pause(f->h, 1, true);
	http_pause(f->h, 1, false);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_OK);
	assert_int_equal(f->got[1].data.len, BIG);
}

static void pieces_are_no_larger_than_asked_for(void **state)
{
	struct fix *f = *state;
	struct http_request rq = request(f, 1, HTTP_GET, "/big");

	rq.max_body = 50000;
	start(f, &rq);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_OK);
	assert_int_equal(f->got[1].data.len, BIG);
	assert_true(f->largest <= 50000);
}

static void a_collected_body_comes_in_one_piece(void **state)
{
	static const char *const paths[] = { "/big", "/big-eof", "/chunked", "/gzip", "/ok" };
	struct fix *f = *state;

	f->collect = BIG;
	for (uint64_t i = 0; i < 5; i++) {
		get(f, i + 1, paths[i]);
		assert_int_equal(finish(f, i + 1)->result.outcome, HTTP_OK);
		assert_int_equal(f->got[i + 1].pieces, 1);
	}
	assert_int_equal(f->got[1].data.len, BIG);
	assert_int_equal(f->got[2].data.len, BIG);
	assert_data(&f->got[3], "wikipedia");
	assert_data(&f->got[4], "hello gzip\n");
}

static void a_collected_body_over_its_maximum_fails(void **state)
{
	static const char *const paths[] = { "/big", "/big-eof", "/endless", "/gzip" };
	struct fix *f = *state;

	f->collect = 10;
	for (uint64_t i = 0; i < 4; i++) {
		get(f, i + 1, paths[i]);
		assert_int_equal(finish(f, i + 1)->result.outcome, HTTP_BAD);
		assert_string_equal(f->got[i + 1].result.detail, "response too large");
		assert_int_equal(f->got[i + 1].pieces, 0);
	}
	assert_int_equal(http_backlog(f->h), 0);
}

static void a_collected_body_cut_short_is_given(void **state)
{
	struct fix *f = *state;

	f->collect = 1000;
	get(f, 1, "/partial-then-wait");
	UNTIL(f, f->got[1].heads == 1);
	open_gate(&f->s);
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_RESET);
	assert_data(&f->got[1], "half");
	assert_int_equal(http_backlog(f->h), 0);
}

static void a_collected_body_is_given_though_it_was_cut_short_before_anybody_read_its_head(void **state)
{
	struct fix *f = *state;
	int turns = 0;

	f->collect = 1000;
	get(f, 1, "/partial");
	while (turns < 10) {
		turn(f);
		turns += http_backlog(f->h) && seen(&f->s, &f->s.live) == 0;
	}
	assert_int_equal(finish(f, 1)->result.outcome, HTTP_RESET);
	assert_data(&f->got[1], "half");
	assert_int_equal(http_backlog(f->h), 0);
}

static struct buf taken;

static void take_block(struct fix *f, const struct http_event *ev)
{
	const char *p = ev->data.p;

	if (ev->kind != HTTP_EV_DATA)
		return;
	http_take_data(f->h, ev->token, &taken);
	assert_ptr_equal(buf_data(&taken), p);
}

static void a_block_can_be_taken_without_a_copy(void **state)
{
	struct fix *f = *state;

	f->hook = take_block;
	f->collect = BIG;
	buf_init(&taken, BIG);
	get(f, 1, "/big");
	finish(f, 1);
	assert_int_equal(taken.len, BIG);
	buf_fini(&taken);
}

/* ---- cookies -------------------------------------------------------------------- */

static void cookies_go_back_to_the_origin_but_never_with_foreign_requests(void **state)
{
	struct fix *f = *state;
	struct http_request rq;

	get(f, 1, "/cookie");
	get(f, 2, "/wait");   /* a second handle, started before the cookie came */
	finish(f, 1);
	open_gate(&f->s);
	finish(f, 2);
	get(f, 3, "/ok");
	get(f, 4, "/ok");
	finish(f, 3);
	assert_non_null(strstr(f->s.last_head, "\r\nCookie: pin=node7\r\n"));
	finish(f, 4);
	assert_non_null(strstr(f->s.last_head, "\r\nCookie: pin=node7\r\n"));
	rq = request(f, 5, HTTP_GET, "/ok");
	rq.flags = HTTP_FOREIGN;
	start(f, &rq);
	finish(f, 5);
	assert_null(strstr(f->s.last_head, "Cookie"));
	rq = request(f, 6, HTTP_GET, "/cookie");
	rq.flags = HTTP_FOREIGN;
	start(f, &rq);
	finish(f, 6);
	rq.token = 7;
	start(f, &rq);
	finish(f, 7);
	assert_null(strstr(f->s.last_head, "Cookie"));
}

static void cookies_can_be_switched_off(void **state)
{
	struct http_config c = defaults;
	struct fix *f;

	(void)state;
	c.cookies = false;
	f = fix_new(&c);
	get(f, 1, "/cookie");
	finish(f, 1);
	get(f, 2, "/ok");
	finish(f, 2);
	assert_null(strstr(f->s.last_head, "Cookie"));
	fix_free(f);
}

static void a_module_that_goes_takes_its_transfers_along(void **state)
{
	struct fix *f;

	(void)state;
	f = fix_new(&defaults);
	get(f, 1, "/stream");
	get(f, 2, "/wait");
	get(f, 3, "/endless");
	UNTIL(f, f->got[1].heads && f->got[3].heads);
	fix_free(f);
	http_free(NULL);
}

/* ---- the parts ------------------------------------------------------------------ */

static void the_table_finds_what_was_put(void **state)
{
	struct http_table t = { 0 };
	char value;

	(void)state;
	assert_null(http_table_get(&t, 1));
	for (uint64_t i = 1; i <= 5000; i++)
		assert_int_equal(http_table_put(&t, i << 32 | (i & 3), &value), 0);
	for (uint64_t i = 1; i <= 5000; i += 2)
		http_table_remove(&t, i << 32 | (i & 3));
	for (uint64_t i = 1; i <= 5000; i++)
		assert_ptr_equal(http_table_get(&t, i << 32 | (i & 3)), i & 1 ? NULL : &value);
	assert_int_equal(t.count, 2500);
	http_table_fini(&t);
}

static void folded_and_repeated_fields_are_joined(void **state)
{
	static const char *const lines[] = {
		"HTTP/2 401 \r\n", "Allow: GET,\r\n", "\tPOST\r\n", "WWW-Authenticate: A\r\n", "Retry-After:5\r\n",
		"www-authenticate: B\r\n", "  c=d\r\n", "no colon\r\n", "Retry-After: 7\r\n", "Date:\r\n", "\r\n", "Location: trailer\r\n",
	};
	struct head h;

	(void)state;
	head_init(&h, 1000);
	for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
		assert_int_equal(head_line(&h, span_str(lines[i])), i == 10 ? HEAD_COMPLETE : HEAD_MORE);
	assert_int_equal(h.out.status, 401);
	assert_int_equal(h.out.version, 20);
	assert_true(span_is(h.out.allow, "GET, POST"));
	assert_true(span_is(h.out.www_authenticate, "A, B c=d"));
	assert_true(span_is(h.out.retry_after, "7"));
	assert_true(h.out.date.p != NULL && h.out.date.n == 0);
	assert_null(h.out.location.p);
	head_fini(&h);
}

static void the_time_a_connection_is_kept_is_read(void **state)
{
	static const struct { const char *field; int s; } t[] = {
		{ "Keep-Alive: timeout=5\r\n", 5 },
		{ "keep-alive: max=100, Timeout=75 \r\n", 75 },
		{ "Keep-Alive: timeout=0\r\n", 0 },
		{ "Keep-Alive: timeout=99999999999999999999\r\n", 9999999 },
		{ "Keep-Alive: timeout=\r\n", -1 },
		{ "Keep-Alive: timeout=5s\r\n", -1 },
		{ "Keep-Alive: timeout=-5\r\n", -1 },
		{ "Keep-Alive: ,, max=5,\r\n", -1 },
		{ "Keep-Alive:\r\n", -1 },
		{ "Connection: keep-alive\r\n", -1 },
	};
	struct head h;

	(void)state;
	head_init(&h, 1000);
	for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
		head_reset(&h, 1000);
		head_line(&h, SPAN_LIT("HTTP/1.1 200 OK\r\n"));
		head_line(&h, span_str(t[i].field));
		assert_int_equal(head_line(&h, SPAN_LIT("\r\n")), HEAD_COMPLETE);
		assert_int_equal(h.keep_alive_s, t[i].s);
	}
	head_fini(&h);
}

static void the_wiping_allocator_behaves_like_malloc(void **state)
{
	char *p = http_mem_malloc(100), *q;

	(void)state;
	memset(p, 'a', 100);
	p = http_mem_realloc(p, HTTP_MEM_WIPE_MAX + 1);
	p = http_mem_realloc(p, HTTP_MEM_WIPE_MAX * 3);
	assert_int_equal(p[99], 'a');
	p = http_mem_realloc(p, 50);
	assert_int_equal(p[49], 'a');
	q = http_mem_strdup("copy");
	assert_string_equal(q, "copy");
	http_mem_free(q);
	http_mem_free(p);
	http_mem_free(NULL);
	q = http_mem_calloc(3, 5);
	assert_int_equal(q[14], 0);
	http_mem_free(q);
	assert_null(http_mem_calloc(SIZE_MAX / 2, 4));
	assert_null(http_mem_malloc(SIZE_MAX));
}

#define FIXED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_table_finds_what_was_put),
		cmocka_unit_test(folded_and_repeated_fields_are_joined),
		cmocka_unit_test(the_time_a_connection_is_kept_is_read),
		cmocka_unit_test(the_wiping_allocator_behaves_like_malloc),
		FIXED(a_response_gives_head_data_and_done),
		FIXED(a_kept_connection_is_used_again),
		FIXED(idle_connections_are_dropped_on_demand),
		FIXED(methods_and_headers_arrive_as_given),
		FIXED(a_large_body_is_sent_whole_without_waiting),
		FIXED(codings_and_interim_heads_are_undone),
		FIXED(a_stream_is_given_as_it_comes),
		FIXED(two_hundred_transfers_run_at_once),
		FIXED(a_call_on_a_dying_connection_runs_once),
		FIXED(an_empty_post_on_a_dying_connection_runs_once),
		FIXED(a_call_whose_server_vanished_may_have_run),
		FIXED(a_call_that_could_not_even_begin_takes_a_new_connection),
		FIXED(a_get_on_a_dying_connection_is_repeated),
		FIXED(a_body_cut_midway_is_not_called_sent),
		FIXED(an_early_refusal_is_an_answer),
		FIXED(faults_have_names),
		FIXED(a_refused_connection_sent_nothing),
		FIXED(a_silent_server_times_out),
		FIXED(a_plain_server_fails_the_handshake),
		cmocka_unit_test(a_proxy_is_used_and_its_refusal_has_a_name),
		FIXED(bad_requests_are_refused_at_once),
		FIXED(other_protocols_and_credentials_in_urls_fail),
		FIXED(a_cancelled_transfer_says_nothing_more),
		FIXED(what_has_not_left_can_be_withdrawn_and_nothing_else),
		FIXED(a_number_is_free_again_at_its_done),
		cmocka_unit_test(an_endless_body_stops_at_the_high_water_mark),
		FIXED(a_paused_transfer_waits_and_goes_on),
		FIXED(pieces_are_no_larger_than_asked_for),
		FIXED(a_collected_body_comes_in_one_piece),
		FIXED(a_collected_body_over_its_maximum_fails),
		FIXED(a_collected_body_cut_short_is_given),
		FIXED(a_collected_body_is_given_though_it_was_cut_short_before_anybody_read_its_head),
		FIXED(a_block_can_be_taken_without_a_copy),
		FIXED(cookies_go_back_to_the_origin_but_never_with_foreign_requests),
		cmocka_unit_test(cookies_can_be_switched_off),
		cmocka_unit_test(a_module_that_goes_takes_its_transfers_along),
	};
	struct err e;

	if (http_global_init(&e) < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
