/* The loopback redirect listener. A request is read up to its empty line, then
 * judged by four questions: is it GET, does Host name us, is the path one of
 * ours, is `state` the expected one? Everything else is answered shortly and
 * closed. The one valid callback's connection stays open until the sign-in is
 * over, so that the page the person sees tells the truth. */
#include "io/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "base/buf.h"
#include "base/url.h"
#include "io/listener_page.h"

#define STATE_MAX 512
#define RESPONSE_MAX ((size_t)32 * 1024)
#define ANSWER_MS 45000 /* how long the browser waits for the sign-in's end */

struct client {
	int fd;                 /* -1: free */
	int64_t until;
	bool waiting;           /* the valid callback */
	size_t n;
	char request[LISTENER_MAX_REQUEST];
};

struct listener {
	struct loop *loop;
	int fd, port;
	uint64_t tag;
	char *host, *path, *state, *success_url;
	char *nonce, *target;   /* the shortcut */
	bool taken;             /* a valid callback came */
	bool given;             /* and was handed out */
	char *query;
	struct client clients[LISTENER_CLIENTS];
};

/* ---- life ---------------------------------------------------------------------- */

static int open_socket(int port, struct err *e)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;

	if (fd < 0)
		return err_set(e, "no socket: %s", strerror(errno));
	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	/* A fixed port must be usable again at once; nobody else can take it while it is open. */
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&sin, sizeof sin) || listen(fd, 16)) {
		err_set(e, "port %d on 127.0.0.1 can not be used: %s", port, strerror(errno));
		close(fd);
		return -1;
	}
	return fd;
}

static int port_of(int fd)
{
	struct sockaddr_in sin;
	socklen_t n = sizeof sin;

	return getsockname(fd, (struct sockaddr *)&sin, &n) ? 0 : ntohs(sin.sin_port);
}

struct listener *listener_open(const struct listener_config *c, struct loop *l, struct err *e)
{
	struct listener *s = calloc(1, sizeof *s);
	size_t i;

	if (!s) {
		err_set(e, "no memory for the listener");
		return NULL;
	}
	s->fd = -1;
	for (i = 0; i < LISTENER_CLIENTS; i++)
		s->clients[i].fd = -1;
	s->loop = l;
	s->tag = c->tag;
	s->host = strdup(c->host);
	s->path = strdup(c->path);
	s->state = strdup(c->state);
	s->success_url = c->success_url ? strdup(c->success_url) : NULL;
	if (!s->host || !s->path || !s->state || (c->success_url && !s->success_url))
		err_set(e, "no memory for the listener");
	else if ((s->fd = open_socket(c->port, e)) >= 0)
		s->port = port_of(s->fd);
	if (s->port == 0 || loop_set(l, s->fd, LOOP_READ, s->tag)) {
		listener_close(s);
		return NULL;
	}
	return s;
}

static void drop(struct listener *l, struct client *c)
{
	if (c->fd < 0)
		return;
	loop_del(l->loop, c->fd);
	close(c->fd);
	c->fd = -1;
	c->waiting = false;
	sodium_memzero(c->request, sizeof c->request);
}

static void wipe_free(char *s)
{
	if (s)
		sodium_memzero(s, strlen(s));
	free(s);
}

void listener_close(struct listener *l)
{
	size_t i;

	if (!l)
		return;
	for (i = 0; i < LISTENER_CLIENTS; i++)
		drop(l, &l->clients[i]);
	if (l->fd >= 0) {
		loop_del(l->loop, l->fd);
		close(l->fd);
	}
	free(l->host);
	free(l->path);
	free(l->success_url);
	wipe_free(l->state);
	wipe_free(l->nonce);
	wipe_free(l->target);
	wipe_free(l->query);
	free(l);
}

int listener_port(const struct listener *l)
{
	return l->port;
}

int listener_shortcut(struct listener *l, const char *nonce, const char *url)
{
	char *n = strdup(nonce), *u = strdup(url);

	if (!n || !u) {
		free(n);
		free(u);
		return -1;
	}
	wipe_free(l->nonce);
	wipe_free(l->target);
	l->nonce = n;
	l->target = u;
	return 0;
}

bool listener_shortcut_open(const struct listener *l)
{
	return l->nonce != NULL;
}

/* ---- answers ----------------------------------------------------------------------- */

/* The response is small and the socket fresh: what the kernel does not take at
 * once was for a reader that does not read. */
static void send_and_drop(struct listener *l, struct client *c, const struct buf *b)
{
	char rest[1024];
	int i;

	if (send(c->fd, buf_data(b), b->len, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
		shutdown(c->fd, SHUT_WR);
	for (i = 0; i < 8 && recv(c->fd, rest, sizeof rest, MSG_DONTWAIT) > 0; i++)
		; /* unread input would turn our close into a reset */
	drop(l, c);
}

static void answer_page(struct listener *l, struct client *c, const char *status, const char *title, const char *sentence)
{
	struct buf out;

	buf_init(&out, RESPONSE_MAX);
	if (listener_page(&out, status, title, sentence))
		drop(l, c);
	else
		send_and_drop(l, c, &out);
	buf_fini(&out);
}

static void answer_redirect(struct listener *l, struct client *c, const char *url)
{
	struct buf out;

	buf_init(&out, RESPONSE_MAX);
	if (listener_redirect(&out, url))
		drop(l, c);
	else
		send_and_drop(l, c, &out);
	buf_wipe(&out);
	buf_fini(&out);
}

void listener_answer(struct listener *l, bool ok, const char *sentence)
{
	size_t i;

	for (i = 0; i < LISTENER_CLIENTS; i++) {
		if (l->clients[i].fd < 0 || !l->clients[i].waiting)
			continue;
		if (ok && l->success_url)
			answer_redirect(l, &l->clients[i], l->success_url);
		else if (ok)
			answer_page(l, &l->clients[i], "200 OK", "Signed in", "It worked. This page can be closed.");
		else
			answer_page(l, &l->clients[i], "400 Bad Request", "Not signed in", sentence);
	}
}

/* ---- requests ------------------------------------------------------------------------- */

/* Takes one word off the request line. */
static struct span word(struct span *line)
{
	struct span w = span_make(line->p, 0);

	while (w.n < line->n && w.p[w.n] != ' ')
		w.n++;
	*line = w.n < line->n ? span_make(line->p + w.n + 1, line->n - w.n - 1) : span_make(line->p + w.n, 0);
	return w;
}

/* The value of a header that stands exactly once; SPAN_NONE otherwise. */
static struct span header(struct span head, const char *name)
{
	struct span found = SPAN_NONE, line;
	size_t k = strlen(name);
	const char *nl, *end = head.p + head.n;

	for (; head.p < end && (nl = memchr(head.p, '\n', (size_t)(end - head.p))); head.p = nl + 1) {
		line = span_make(head.p, (size_t)(nl - head.p));
		if (line.n > 0 && line.p[line.n - 1] == '\r')
			line.n--;
		if (line.n <= k || strncasecmp(line.p, name, k) != 0 || line.p[k] != ':')
			continue;
		if (found.p)
			return SPAN_NONE;
		found = span_make(line.p + k + 1, line.n - k - 1);
		while (found.n > 0 && (*found.p == ' ' || *found.p == '\t'))
			found = span_make(found.p + 1, found.n - 1);
	}
	return found;
}

/* Against names that resolve to 127.0.0.1 without being ours (DNS rebinding). */
static bool host_is_ours(const struct listener *l, struct span host)
{
	char want[300];

	snprintf(want, sizeof want, "127.0.0.1:%d", l->port);
	if (span_is(host, want))
		return true;
	snprintf(want, sizeof want, "localhost:%d", l->port);
	if (host.n == strlen(want) && strncasecmp(host.p, want, host.n) == 0)
		return true;
	snprintf(want, sizeof want, "%s:%d", l->host, l->port);
	return host.n == strlen(want) && strncasecmp(host.p, want, host.n) == 0;
}

/* The one `state` of a query is the expected one. Lengths aside, the time this
 * takes tells nothing. */
static bool state_is_ours(const struct listener *l, struct span query)
{
	struct buf got;
	size_t i, end, want = strlen(l->state);
	int found = 0;
	bool ok = false;

	buf_init(&got, STATE_MAX);
	for (i = 0; i < query.n; i = end + 1) {
		for (end = i; end < query.n && query.p[end] != '&'; end++)
			;
		if (end - i < 6 || memcmp(query.p + i, "state=", 6) != 0)
			continue;
		if (found++ || url_unescape(&got, span_make(query.p + i + 6, end - i - 6), true))
			found = 2;
	}
	if (found == 1 && got.len == want && want > 0)
		ok = sodium_memcmp(buf_data(&got), l->state, want) == 0;
	buf_wipe(&got);
	buf_fini(&got);
	return ok;
}

static void on_callback(struct listener *l, struct client *c, struct span query)
{
	if (!state_is_ours(l, query)) {
		answer_page(l, c, "400 Bad Request", "Not signed in", "This address does not belong to a sign-in that is waited for.");
		return;
	}
	if (l->taken) {
		answer_page(l, c, "409 Conflict", "Already answered", "This sign-in has been answered before. This page can be closed.");
		return;
	}
	l->query = strndup(query.p, query.n);
	if (!l->query) {
		answer_page(l, c, "500 Internal Server Error", "Not signed in", "Out of memory.");
		return;
	}
	l->taken = true;
	c->waiting = true;
	c->until += ANSWER_MS;
}

static void on_shortcut(struct listener *l, struct client *c, struct span nonce)
{
	size_t n = l->nonce ? strlen(l->nonce) : 0;
	char *target = l->target;

	if (!l->nonce || nonce.n != n || sodium_memcmp(nonce.p, l->nonce, n) != 0) {
		answer_page(l, c, "410 Gone", "Address used up",
		            "This sign-in address has been used or is out of date. Ask for a new one by using the tool again.");
		return;
	}
	wipe_free(l->nonce);
	l->nonce = l->target = NULL;
	answer_redirect(l, c, target);
	wipe_free(target);
}

static void on_request(struct listener *l, struct client *c, struct span head)
{
	const char *nl = memchr(head.p, '\n', head.n);
	struct span line = span_make(head.p, (size_t)(nl - head.p)), method, target, path, query, version;
	const char *q;

	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	method = word(&line);
	target = word(&line);
	version = line;
	q = memchr(target.p, '?', target.n);
	path = q ? span_make(target.p, (size_t)(q - target.p)) : target;
	query = q ? span_make(q + 1, target.n - path.n - 1) : span_make("", 0);
	if (version.n != 8 || memcmp(version.p, "HTTP/1.", 7) != 0 || target.n == 0 || *target.p != '/' ||
	    memchr(head.p, 0, head.n))
		answer_page(l, c, "400 Bad Request", "Bad request", "This is not a request that is understood here.");
	else if (!host_is_ours(l, header(head, "Host")))
		answer_page(l, c, "421 Misdirected Request", "Wrong host", "This listener does not go by that name.");
	else if (!span_is(method, "GET"))
		answer_page(l, c, "405 Method Not Allowed", "Not allowed", "Only GET is answered here.");
	else if (span_is(path, l->path))
		on_callback(l, c, query);
	else if (path.n > 3 && memcmp(path.p, "/s/", 3) == 0)
		on_shortcut(l, c, span_make(path.p + 3, path.n - 3));
	else
		answer_page(l, c, "404 Not Found", "Not found", "There is nothing here.");
}

static bool head_is_complete(const struct client *c)
{
	return memmem(c->request, c->n, "\r\n\r\n", 4) || memmem(c->request, c->n, "\n\n", 2);
}

static void read_client(struct listener *l, struct client *c)
{
	ssize_t n;

	if (c->waiting) { /* it has said all it had to say */
		char rest[512];

		n = recv(c->fd, rest, sizeof rest, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			drop(l, c);
		return;
	}
	n = recv(c->fd, c->request + c->n, sizeof c->request - c->n, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		drop(l, c);
		return;
	}
	c->n += (size_t)n;
	if (head_is_complete(c))
		on_request(l, c, span_make(c->request, c->n));
	else if (c->n == sizeof c->request)
		answer_page(l, c, "431 Request Header Fields Too Large", "Too large", "The request is too large.");
}

/* A free place, or the one of the client that has waited longest and is not
 * the browser whose callback was valid. */
static struct client *place(struct listener *l)
{
	struct client *oldest = NULL, *c;
	size_t i;

	for (i = 0; i < LISTENER_CLIENTS; i++) {
		c = &l->clients[i];
		if (c->fd < 0)
			return c;
		if (!c->waiting && (!oldest || c->until < oldest->until))
			oldest = c;
	}
	if (oldest)
		drop(l, oldest);
	return oldest;
}

static void accept_clients(struct listener *l, int64_t now)
{
	struct client *c;
	int fd, i;

	for (i = 0; i < 16; i++) {
		fd = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd < 0)
			return;
		c = place(l);
		if (!c || loop_set(l->loop, fd, LOOP_READ, l->tag + 1 + (uint64_t)(c - l->clients))) {
			close(fd);
			continue;
		}
		c->fd = fd;
		c->n = 0;
		c->waiting = false;
		c->until = now + LISTENER_CLIENT_MS;
	}
}

bool listener_on_event(struct listener *l, const struct loop_event *ev, int64_t now)
{
	struct client *c;

	if (ev->tag < l->tag || ev->tag > l->tag + LISTENER_CLIENTS)
		return false;
	if (ev->tag == l->tag) {
		accept_clients(l, now);
		return true;
	}
	c = &l->clients[ev->tag - l->tag - 1];
	if (c->fd >= 0 && c->fd == ev->fd)
		read_client(l, c);
	return true;
}

void listener_on_time(struct listener *l, int64_t now)
{
	size_t i;

	for (i = 0; i < LISTENER_CLIENTS; i++)
		if (l->clients[i].fd >= 0 && l->clients[i].until <= now) {
			if (l->clients[i].waiting)
				answer_page(l, &l->clients[i], "200 OK", "Nearly done",
				            "The sign-in goes on in the background. This page can be closed.");
			else
				drop(l, &l->clients[i]);
		}
}

int64_t listener_deadline(const struct listener *l)
{
	int64_t d = 0;
	size_t i;

	for (i = 0; i < LISTENER_CLIENTS; i++)
		if (l->clients[i].fd >= 0 && (!d || l->clients[i].until < d))
			d = l->clients[i].until;
	return d;
}

bool listener_next(struct listener *l, struct span *query)
{
	if (!l->taken || l->given)
		return false;
	l->given = true;
	*query = span_str(l->query);
	return true;
}
