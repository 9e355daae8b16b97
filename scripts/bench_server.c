/* The server that scripts/bench measures against: MCP over HTTP on loopback, one
 * process, as little work for a request as possible. It believes what the
 * bench sends and is of no use for anything else.
 *
 *   POST /json, /sse   answers as JSON, or as an event stream of one event
 *   GET                the standing stream
 *   tools: echo {text}, hold {} (answered at release), release {}, flood {count} */
#include "bench_server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNS 4096
#define FLOOD_AHEAD ((size_t)256 * 1024)
#define NOTE "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{\"level\":\"info\",\"data\":\""

struct conn {
	bool open, sse, held;
	struct text in, out, answer; /* answer: of a call that is held */
	size_t sent;             /* of out */
	long flood;
};

static struct conn conns[CONNS];
static int epoll, stream = -1;

void text_add(struct text *t, const char *p, size_t n)
{
	if (t->len + n + 1 > t->cap) {
		t->cap = (t->len + n + 1) * 2;
		t->p = realloc(t->p, t->cap);
		if (!t->p)
			abort();
	}
	memcpy(t->p + t->len, p, n);
	t->len += n;
	t->p[t->len] = '\0';
}

void text_take(struct text *t, size_t n)
{
	if (!n)
		return;
	t->len -= n;
	memmove(t->p, t->p + n, t->len + 1);
}

void text_free(struct text *t)
{
	free(t->p);
	*t = (struct text){ 0 };
}

static void puts_to(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

static void drop(int fd)
{
	struct conn *c = &conns[fd];

	text_free(&c->in);
	text_free(&c->out);
	text_free(&c->answer);
	*c = (struct conn){ 0 };
	if (stream == fd)
		stream = -1;
	close(fd);
}

static void flood(struct conn *c)
{
	static char pad[301];
	char chunk[400];

	if (!pad[0])
		memset(pad, 'n', 300);
	while (c->flood > 0 && c->out.len < FLOOD_AHEAD) {
		int n = snprintf(chunk, sizeof(chunk), "data: " NOTE "%08ld%.*s\"}}\n\n", c->flood--, 195, pad);
		char head[16];
		snprintf(head, sizeof(head), "%x\r\n", (unsigned)n);
		puts_to(&c->out, head);
		text_add(&c->out, chunk, (size_t)n);
		puts_to(&c->out, "\r\n");
	}
}

static void push(int fd)
{
	struct conn *c = &conns[fd];
	struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };

	for (;;) {
		ssize_t n;
		if (c->sent == c->out.len || c->flood) {
			text_take(&c->out, c->sent);
			c->sent = 0;
			flood(c);
		}
		if (!c->out.len)
			break;
		n = send(fd, c->out.p + c->sent, c->out.len - c->sent, MSG_NOSIGNAL);
		if (n < 0)
			break;
		c->sent += (size_t)n;
	}
	if (c->out.cap > ((size_t)1 << 20) && !c->out.len)
		text_free(&c->out);
	e.events |= c->out.len ? (uint32_t)EPOLLOUT : 0;
	epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &e);
}

static void reply(int fd, const struct text *json, const char *more)
{
	struct conn *c = &conns[fd];
	char head[256];

	snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %zu\r\n\r\n%s",
		c->sse ? "text/event-stream" : "application/json", more, json->len + (c->sse ? 8 : 0), c->sse ? "data: " : "");
	puts_to(&c->out, head);
	text_add(&c->out, json->p, json->len);
	if (c->sse)
		puts_to(&c->out, "\n\n");
	push(fd);
}

static void release_held(void)
{
	for (int fd = 0; fd < CONNS; fd++)
		if (conns[fd].held) {
			conns[fd].held = false;
			reply(fd, &conns[fd].answer, "");
			text_free(&conns[fd].answer);
		}
}

/* What stands behind key, up to the next of the bytes in stop. */
static struct text behind(const char *p, const char *end, const char *key, const char *stop)
{
	char *at = memmem(p, (size_t)(end - p), key, strlen(key));

	if (!at)
		return (struct text){ 0 };
	at += strlen(key);
	return (struct text){ .p = at, .len = strcspn(at, stop) };
}

static void call(int fd, const char *p, const char *end, struct text *json)
{
	struct text name = behind(p, end, "\"name\":\"", "\""), text = behind(p, end, "\"text\":\"", "\"");

	puts_to(json, "{\"content\":[{\"type\":\"text\",\"text\":\"");
	text_add(json, text.p ? text.p : "", text.len);
	puts_to(json, "\"}]}}");
	if (name.len == 4 && !memcmp(name.p, "hold", 4)) {
		conns[fd].held = true;
		conns[fd].answer = *json;
		*json = (struct text){ 0 };
	} else if (name.len == 7 && !memcmp(name.p, "release", 7)) {
		release_held();
	} else if (name.len == 5 && !memcmp(name.p, "flood", 5) && stream >= 0) {
		conns[stream].flood = atol(behind(p, end, "\"count\":", ",}").p);
		push(stream);
	}
}

static void post(int fd, const char *p, const char *end)
{
	struct text id = behind(p, end, "\"id\":", ",}"), method = behind(p, end, "\"method\":\"", "\""), json = { 0 };
	const char *more = "";

	if (!id.p || !method.p) {
		puts_to(&conns[fd].out, "HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n");
		push(fd);
		return;
	}
	puts_to(&json, "{\"jsonrpc\":\"2.0\",\"id\":");
	text_add(&json, id.p, id.len);
	puts_to(&json, ",\"result\":");
	if (!strncmp(method.p, "initialize\"", 11)) {
		puts_to(&json, "{\"protocolVersion\":\"2025-06-18\",\"capabilities\":{\"tools\":{},\"logging\":{}},\"serverInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}");
		more = "Mcp-Session-Id: bench\r\n";
	} else if (!strncmp(method.p, "tools/call\"", 11)) {
		call(fd, p, end, &json);
	} else {
		puts_to(&json, "{\"tools\":[]}}");
	}
	if (json.p)
		reply(fd, &json, more);
	text_free(&json);
}

/* One request when it is whole. */
static bool request(int fd)
{
	struct conn *c = &conns[fd];
	char *head_end = c->in.len ? strstr(c->in.p, "\r\n\r\n") : NULL, *length;
	size_t body = 0, head;

	if (!head_end)
		return false;
	head = (size_t)(head_end + 4 - c->in.p);
	length = strcasestr(c->in.p, "\r\ncontent-length:");
	if (length && length < head_end)
		body = strtoul(length + 17, NULL, 10);
	if (c->in.len < head + body)
		return false;
	if (c->in.p[0] == 'G' && strncmp(c->in.p, "GET /json ", 10) && strncmp(c->in.p, "GET /sse ", 9)) {
		puts_to(&c->out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"); /* no sign-in here */
		push(fd);
	} else if (c->in.p[0] == 'G') {
		stream = fd;
		puts_to(&c->out, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
		push(fd);
	} else if (c->in.p[0] == 'D') {
		puts_to(&c->out, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
		push(fd);
	} else {
		c->sse = !strncmp(c->in.p, "POST /sse", 9);
		post(fd, c->in.p + head, c->in.p + head + body);
	}
	text_take(&c->in, head + body);
	if (c->in.cap > ((size_t)1 << 20))
		text_free(&c->in);
	return true;
}

static void pull(int fd)
{
	static char piece[256 * 1024];
	ssize_t n = recv(fd, piece, sizeof(piece), 0);

	if (n == 0 || (n < 0 && errno != EAGAIN)) {
		drop(fd);
		return;
	}
	if (n > 0)
		text_add(&conns[fd].in, piece, (size_t)n);
	while (request(fd))
		;
}

static void welcome(int listener)
{
	int fd, one = 1;

	while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
		struct epoll_event e = { .events = EPOLLIN, .data.fd = fd };
		if (fd >= CONNS) {
			close(fd);
			continue;
		}
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		conns[fd].open = true;
		epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &e);
	}
}

int bench_listen(int *port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof(a);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || listen(fd, 2048) || getsockname(fd, (struct sockaddr *)&a, &n))
		return -1;
	*port = ntohs(a.sin_port);
	return fd;
}

void bench_serve(int listener)
{
	struct epoll_event e = { .events = EPOLLIN, .data.fd = listener }, got[256];

	epoll = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &e);
	for (;;) {
		int n = epoll_wait(epoll, got, 256, -1);
		for (int i = 0; i < n; i++) {
			int fd = got[i].data.fd;
			if (fd == listener)
				welcome(fd);
			else if (got[i].events & EPOLLOUT && conns[fd].open)
				push(fd);
			if (fd != listener && got[i].events & ~(uint32_t)EPOLLOUT && conns[fd].open)
				pull(fd);
		}
	}
}
