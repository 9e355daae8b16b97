/* The options that every easy handle gets, and header lists that share their
 * tail. Nothing here starts or ends anything.
 *
 * Proxies: --proxy wins and then holds for every host that NO_PROXY does not
 * name. Without it libcurl reads the usual environment variables; as those are
 * meant for the world outside, loopback is left out of them unless the user
 * has said with NO_PROXY what is to be left out. */
#include "io/http_setup.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#include <sodium.h>

#if LIBCURL_VERSION_NUM < 0x075500
#error "libcurl 7.85.0 or newer is needed"
#endif

#define KEEPALIVE_IDLE_S 15L
#define KEEPALIVE_INTERVAL_S 5L
#define USER_TIMEOUT_MS 30000u
#define ENCODINGS "gzip, deflate"
#define USER_AGENT "User-Agent: "
#define STANDING_LINES 3 /* Expect, User-Agent, Accept-Encoding */

const char *http_env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

/* ---- options ------------------------------------------------------------------ */

/* A dead peer under unacknowledged data; keepalive finds it only on a quiet connection. */
static int on_socket(void *arg, curl_socket_t fd, curlsocktype purpose)
{
	(void)arg;
	(void)purpose;
#ifdef TCP_USER_TIMEOUT
	/* A unix socket refuses it, rightly. */
	unsigned ms = USER_TIMEOUT_MS;
	(void)setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
#else
	(void)fd;
#endif
	return CURL_SOCKOPT_OK;
}

/* The names that libcurl knows for http and https. */
static bool proxy_in_environment(void)
{
	return http_env("http_proxy") || http_env("https_proxy") || http_env("HTTPS_PROXY") || http_env("all_proxy") || http_env("ALL_PROXY");
}

/* Else libcurl would look for both with every request. */
static CURLcode setup_no_proxy(CURL *e, CURLcode rc)
{
	if (rc == CURLE_OK)
		rc = curl_easy_setopt(e, CURLOPT_PROXY, "");
	return rc == CURLE_OK ? curl_easy_setopt(e, CURLOPT_NOPROXY, "") : rc;
}

static CURLcode setup_connection(CURL *e, const struct http_config *c)
{
	CURLcode rc = CURLE_OK;

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(e, option, value); } while (0)
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_QUICK_EXIT, 1L);
	SET(CURLOPT_TCP_NODELAY, 1L);
	SET(CURLOPT_TCP_KEEPALIVE, 1L);
	SET(CURLOPT_TCP_KEEPIDLE, KEEPALIVE_IDLE_S);
	SET(CURLOPT_TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S);
	SET(CURLOPT_SOCKOPTFUNCTION, on_socket);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(c->connect_timeout_ms > INT32_MAX ? INT32_MAX : c->connect_timeout_ms));
	if (c->ipv4_only)
		SET(CURLOPT_IPRESOLVE, (long)CURL_IPRESOLVE_V4);
	if (c->proxy)
		SET(CURLOPT_PROXY, c->proxy);
	else if (!proxy_in_environment())
		rc = setup_no_proxy(e, rc);
	else if (!http_env("NO_PROXY") && !http_env("no_proxy"))
		SET(CURLOPT_NOPROXY, "localhost,127.0.0.0/8,::1");
	SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	return rc;
}

/* What others answer is small, and libcurl takes up to 64 MiB of what a few
 * compressed bytes become before it looks whether anybody wants them. */
static CURLcode setup_protocol(CURL *e, const struct http_config *c, bool decode)
{
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
	SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
	SET(CURLOPT_HTTP09_ALLOWED, 0L);
	SET(CURLOPT_HTTP_VERSION, (long)(c->http2 ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1));
	if (decode)
		SET(CURLOPT_ACCEPT_ENCODING, ENCODINGS);
	return rc;
}

/* What belongs to the MCP server's origin alone. */
static CURLcode setup_own(CURL *e, const struct http_config *c)
{
	CURLcode rc = CURLE_OK;

	if (c->cert)
		SET(CURLOPT_SSLCERT, c->cert);
	if (c->key)
		SET(CURLOPT_SSLKEY, c->key);
	if (c->cert) /* else OpenSSL asks a person, at the terminal or on standard input, and everything waits */
		SET(CURLOPT_KEYPASSWD, "");
	if (c->unix_socket)
		SET(CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
#undef SET
	return rc;
}

int http_setup_easy(CURL *easy, const struct http_config *c, unsigned flags, bool decode)
{
	bool foreign = flags & HTTP_FOREIGN, elsewhere = foreign && !(flags & HTTP_AT_HOME);

	if (setup_connection(easy, c) != CURLE_OK || setup_protocol(easy, c, decode && !foreign) != CURLE_OK)
		return -1;
	return elsewhere || setup_own(easy, c) == CURLE_OK ? 0 : -1;
}

unsigned http_foreign(const struct url *home, const char *url)
{
	struct url u;
	bool same = url_parse(&u, url, NULL) == 0 && url_same_origin(home, &u);

	url_fini(&u);
	return same ? HTTP_FOREIGN | HTTP_AT_HOME : HTTP_FOREIGN;
}

/* ---- header lists --------------------------------------------------------------- */

struct http_headers {
	struct curl_slist *first, **tail;
	unsigned refs;
	bool user_agent, accept_encoding; /* it has one */
};

int http_always_init(struct http_always *f, const struct http_config *c)
{
	size_t size = c->user_agent ? sizeof USER_AGENT + strlen(c->user_agent) : 0;
	bool decodes = curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_LIBZ;

	*f = (struct http_always){ .accept_encoding = decodes ? "Accept-Encoding: " ENCODINGS : NULL };
	if (!size)
		return 0;
	f->user_agent = malloc(size);
	if (!f->user_agent)
		return -1;
	snprintf(f->user_agent, size, "%s%s", USER_AGENT, c->user_agent);
	return 0;
}

void http_always_fini(struct http_always *f)
{
	free(f->user_agent);
	*f = (struct http_always){ 0 };
}

static bool begins(struct span line, const char *name)
{
	size_t n = strlen(name);

	return line.n >= n && strncasecmp(line.p, name, n) == 0;
}

static bool is_line(struct span s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == '\0')
			return false;
	return s.n > 0;
}

struct http_headers *http_headers_new(void)
{
	struct http_headers *h = calloc(1, sizeof *h);

	if (!h)
		return NULL;
	h->tail = &h->first;
	h->refs = 1;
	return h;
}

int http_headers_add(struct http_headers *h, struct span line)
{
	struct curl_slist *node;

	if (!is_line(line))
		return -1;
	node = malloc(sizeof *node);
	if (!node)
		return -1;
	node->data = malloc(line.n + 1);
	if (!node->data) {
		free(node);
		return -1;
	}
	memcpy(node->data, line.p, line.n);
	node->data[line.n] = '\0';
	node->next = NULL;
	*h->tail = node;
	h->tail = &node->next;
	h->user_agent |= begins(line, "User-Agent:");
	h->accept_encoding |= begins(line, "Accept-Encoding:");
	return 0;
}

void http_headers_release(struct http_headers *h)
{
	struct curl_slist *node, *next;

	if (!h || --h->refs > 0)
		return;
	for (node = h->first; node; node = next) {
		next = node->next;
		sodium_memzero(node->data, strlen(node->data));
		free(node->data);
		free(node);
	}
	free(h);
}

/* Nodes first, then the texts, in one block; 0 when that would overflow. */
static size_t lines_size(const struct span *extra, size_t n)
{
	size_t size;

	if (n > SIZE_MAX / 2 / sizeof(struct curl_slist))
		return 0;
	size = n * sizeof(struct curl_slist);
	for (size_t i = 0; i < n; i++) {
		if (extra[i].n > SIZE_MAX / 2 - size)
			return 0;
		size += extra[i].n + 1;
	}
	return size;
}

/* libcurl takes "Name:" as a header to leave out; one without a value is "Name;". */
static void send_empty_value(char *line)
{
	char *colon = strchr(line, ':');

	if (colon && colon[1 + strspn(colon + 1, " \t")] == '\0') {
		colon[0] = ';';
		colon[1] = '\0';
	}
}

/* The texts that are not copied; gives how many. */
static size_t standing_lines(const struct http_always *always, const struct http_headers *shared, char *text[STANDING_LINES])
{
	/* libcurl would add "Expect: 100-continue" to large bodies and wait for it. */
	static char no_expect[] = "Expect:";
	size_t n = 0;

	text[n++] = no_expect;
	if (always->user_agent && !(shared && shared->user_agent))
		text[n++] = always->user_agent;
	if (always->accept_encoding && !(shared && shared->accept_encoding))
		text[n++] = (char *)always->accept_encoding;
	return n;
}

int http_lines_build(struct http_lines *l, const struct http_always *always, struct http_headers *shared,
	const struct span *extra, size_t nextra, struct err *e)
{
	char *standing[STANDING_LINES], *text;
	size_t nstanding = standing_lines(always, shared, standing), n = nstanding + nextra;
	struct curl_slist *node;

	*l = (struct http_lines){ 0 };
	for (size_t i = 0; i < nextra; i++)
		if (!is_line(extra[i]))
			return err_set(e, "a header line is empty or has a line break in it");
	l->block_size = lines_size(extra, nextra);
	if (nextra && !l->block_size)
		return err_set(e, "the request's headers are too large");
	l->block_size += nstanding * sizeof *node;
	node = l->block = malloc(l->block_size);
	if (!node)
		return err_set(e, "no memory for the request's headers");
	text = (char *)(node + n);
	l->first = node;
	for (size_t i = 0; i < n; i++, node++) {
		node->next = i + 1 < n ? node + 1 : shared ? shared->first : NULL;
		node->data = i < nstanding ? standing[i] : text;
		if (i < nstanding)
			continue;
		memcpy(text, extra[i - nstanding].p, extra[i - nstanding].n);
		text[extra[i - nstanding].n] = '\0';
		send_empty_value(text);
		text += extra[i - nstanding].n + 1;
	}
	l->shared = shared;
	if (shared)
		shared->refs++;
	return 0;
}

void http_lines_fini(struct http_lines *l)
{
	if (l->block)
		sodium_memzero(l->block, l->block_size);
	free(l->block);
	http_headers_release(l->shared);
	*l = (struct http_lines){ 0 };
}
