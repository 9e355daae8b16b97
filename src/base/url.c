/* URLs, taken apart by libcurl, so that the host we judge is the host it will
 * connect to. Every part is copied out at once: the strings are ours to wipe,
 * and do not depend on which allocator libcurl is told to use later. */
#include "base/url.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>
#include <sodium.h>

#define URL_MAX ((size_t)64 * 1024)

static void wipe_free(char **s)
{
	if (*s)
		sodium_memzero(*s, strlen(*s));
	free(*s);
	*s = NULL;
}

void url_fini(struct url *u)
{
	wipe_free(&u->text);
	wipe_free(&u->scheme);
	wipe_free(&u->host);
	wipe_free(&u->path);
	wipe_free(&u->query);
	wipe_free(&u->user);
	wipe_free(&u->password);
	wipe_free(&u->origin);
	u->port = 0;
}

/* Copies one part; an absent one is CURLUE_OK and NULL. */
static CURLUcode get_part(CURLU *h, CURLUPart what, unsigned flags, char **out)
{
	char *s = NULL;
	CURLUcode rc = curl_url_get(h, what, &s, flags);

	*out = NULL;
	if (rc == CURLUE_NO_USER || rc == CURLUE_NO_PASSWORD || rc == CURLUE_NO_QUERY)
		return CURLUE_OK;
	if (rc != CURLUE_OK)
		return rc;
	*out = strdup(s);
	sodium_memzero(s, strlen(s));
	curl_free(s);
	return *out ? CURLUE_OK : CURLUE_OUT_OF_MEMORY;
}

static CURLUcode get_port(CURLU *h, int *port)
{
	char *s = NULL;
	CURLUcode rc = get_part(h, CURLUPART_PORT, CURLU_DEFAULT_PORT, &s);
	long n;

	if (rc != CURLUE_OK)
		return rc;
	n = strtol(s, NULL, 10);
	free(s);
	if (n < 1 || n > 65535)
		return CURLUE_BAD_PORT_NUMBER;
	*port = (int)n;
	return CURLUE_OK;
}

static CURLUcode get_host(CURLU *h, char **host)
{
	CURLUcode rc = get_part(h, CURLUPART_HOST, 0, host);
	bool upper = false;

	if (rc != CURLUE_OK)
		return rc;
	if (!**host)
		return CURLUE_NO_HOST;
	for (char *p = *host; *p; p++)
		if (*p >= 'A' && *p <= 'Z') {
			*p = (char)(*p - 'A' + 'a');
			upper = true;
		}
	/* Only when it must: setting the host forgets an IPv6 zone. */
	return upper ? curl_url_set(h, CURLUPART_HOST, *host, 0) : CURLUE_OK;
}

static int make_origin(struct url *u)
{
	bool plain = u->port == (strcmp(u->scheme, "https") == 0 ? 443 : 80);
	struct buf b;
	int rc;

	buf_init(&b, URL_MAX + 32);
	rc = plain ? buf_printf(&b, "%s://%s", u->scheme, u->host)
		   : buf_printf(&b, "%s://%s:%d", u->scheme, u->host, u->port);
	if (rc == 0 && buf_append(&b, "", 1) == 0)
		u->origin = strdup(b.mem);
	buf_fini(&b);
	return u->origin ? 0 : -1;
}

static CURLUcode take_apart(struct url *u, CURLU *h)
{
	static const CURLUPart unsaid[] = {
		CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_OPTIONS, CURLUPART_FRAGMENT,
	};
	CURLUcode rc;

	if ((rc = get_part(h, CURLUPART_SCHEME, 0, &u->scheme)) != CURLUE_OK)
		return rc;
	if (strcmp(u->scheme, "http") != 0 && strcmp(u->scheme, "https") != 0)
		return CURLUE_UNSUPPORTED_SCHEME;
	if ((rc = get_host(h, &u->host)) != CURLUE_OK ||
	    (rc = get_port(h, &u->port)) != CURLUE_OK ||
	    (rc = get_part(h, CURLUPART_PATH, 0, &u->path)) != CURLUE_OK ||
	    (rc = get_part(h, CURLUPART_QUERY, 0, &u->query)) != CURLUE_OK ||
	    (rc = get_part(h, CURLUPART_USER, CURLU_URLDECODE, &u->user)) != CURLUE_OK ||
	    (rc = get_part(h, CURLUPART_PASSWORD, CURLU_URLDECODE, &u->password)) != CURLUE_OK)
		return rc;
	for (size_t i = 0; i < sizeof(unsaid) / sizeof(unsaid[0]); i++)
		if ((rc = curl_url_set(h, unsaid[i], NULL, 0)) != CURLUE_OK)
			return rc;
	if ((rc = get_part(h, CURLUPART_URL, CURLU_NO_DEFAULT_PORT, &u->text)) != CURLUE_OK)
		return rc;
	return make_origin(u) < 0 ? CURLUE_OUT_OF_MEMORY : CURLUE_OK;
}

static int explain(CURLUcode rc, struct err *e)
{
	switch (rc) {
	case CURLUE_OK:
		return 0;
	case CURLUE_UNSUPPORTED_SCHEME:
		return err_set(e, "the URL does not begin with http:// or https://");
	case CURLUE_BAD_PORT_NUMBER:
		return err_set(e, "the URL's port is not a number from 1 to 65535");
	case CURLUE_NO_HOST:
		return err_set(e, "the URL has no host");
	case CURLUE_OUT_OF_MEMORY:
		return err_set(e, "no memory for the URL");
	default:
		return err_set(e, "not a valid URL (%s)", curl_url_strerror(rc));
	}
}

/* base may be NULL. */
static int parse(struct url *u, const char *base, const char *text, struct err *e)
{
	CURLU *h;
	CURLUcode rc = CURLUE_OK;

	*u = (struct url){ 0 };
	if (strlen(text) > URL_MAX)
		return err_set(e, "the URL is longer than %zu bytes", URL_MAX);
	h = curl_url();
	if (!h)
		return err_set(e, "no memory for the URL");
	if (base)
		rc = curl_url_set(h, CURLUPART_URL, base, 0);
	/* An empty reference means the base itself (RFC 3986, 5.2.2). */
	if (rc == CURLUE_OK && (*text || !base))
		rc = curl_url_set(h, CURLUPART_URL, text, 0);
	if (rc == CURLUE_OK)
		rc = take_apart(u, h);
	curl_url_cleanup(h);
	if (rc != CURLUE_OK)
		url_fini(u);
	return explain(rc, e);
}

int url_parse(struct url *u, const char *text, struct err *e)
{
	size_t scheme = strncasecmp(text, "http://", 7) == 0 ? 7 : strncasecmp(text, "https://", 8) == 0 ? 8 : 0;

	*u = (struct url){ 0 };
	/* libcurl is more forgiving: a third slash, or "host:port" without any. */
	if (scheme == 0)
		return explain(CURLUE_UNSUPPORTED_SCHEME, e);
	if (text[scheme] == '/')
		return explain(CURLUE_NO_HOST, e);
	return parse(u, NULL, text, e);
}

int url_resolve(struct url *u, const struct url *base, struct span ref, struct err *e)
{
	char *text;
	int rc;

	*u = (struct url){ 0 };
	if (ref.n > URL_MAX || (ref.n > 0 && memchr(ref.p, '\0', ref.n)))
		return err_set(e, "the URL reference is too long or holds a NUL byte");
	/* Without its fragment, which is never sent and which libcurl resolves
	 * wrongly when it stands alone. */
	if (ref.n > 0 && ref.p[0] == '#')
		ref.n = 0;
	text = malloc(ref.n + 1);
	if (!text)
		return err_set(e, "no memory for the URL");
	if (ref.n > 0)
		memcpy(text, ref.p, ref.n);
	text[ref.n] = '\0';
	rc = parse(u, base->text, text, e);
	sodium_memzero(text, ref.n);
	free(text);
	return rc;
}

bool url_same_origin(const struct url *a, const struct url *b)
{
	return a->origin && b->origin && strcmp(a->origin, b->origin) == 0;
}

/* The host as 16 address bytes, IPv4 mapped into IPv6; false for a name. */
static bool host_address(const struct url *u, unsigned char a[16])
{
	static const unsigned char mapped[12] = { [10] = 0xff, [11] = 0xff };
	char text[INET6_ADDRSTRLEN];
	size_t n;

	if (!u->host)
		return false;
	if (u->host[0] != '[') {
		memcpy(a, mapped, sizeof(mapped));
		return inet_pton(AF_INET, u->host, a + 12) == 1;
	}
	n = strcspn(u->host + 1, "]%");
	if (n >= sizeof(text))
		return false;
	memcpy(text, u->host + 1, n);
	text[n] = '\0';
	return inet_pton(AF_INET6, text, a) == 1;
}

/* The IPv4 address in a, in host order, when it is a mapped one. */
static bool mapped_v4(const unsigned char a[16], uint32_t *v4)
{
	for (int i = 0; i < 12; i++)
		if (a[i] != (i < 10 ? 0 : 0xff))
			return false;
	*v4 = (uint32_t)a[12] << 24 | (uint32_t)a[13] << 16 | (uint32_t)a[14] << 8 | a[15];
	return true;
}

static bool is_localhost(const char *host)
{
	static const char name[] = "localhost";
	size_t n = strlen(host), want = sizeof(name) - 1;

	if (n > 0 && host[n - 1] == '.')
		n--;
	if (n < want || strncmp(host + n - want, name, want) != 0)
		return false;
	return n == want || host[n - want - 1] == '.';
}

bool url_is_loopback(const struct url *u)
{
	unsigned char a[16];
	uint32_t v4;

	if (!u->host)
		return false;
	if (is_localhost(u->host))
		return true;
	if (!host_address(u, a))
		return false;
	if (mapped_v4(a, &v4))
		return v4 >> 24 == 127;
	for (int i = 0; i < 15; i++)
		if (a[i])
			return false;
	return a[15] == 1;
}

bool url_is_private(const struct url *u)
{
	static const struct { uint32_t net; int bits; } nets[] = {
		{ 0x0a000000, 8 }, { 0xac100000, 12 }, { 0xc0a80000, 16 }, /* RFC 1918 */
		{ 0xa9fe0000, 16 },                                        /* RFC 3927 */
		{ 0x64400000, 10 },                                        /* RFC 6598 */
		{ 0x00000000, 8 },                                         /* "this host", RFC 6890 */
	};
	unsigned char a[16];
	uint32_t v4;

	if (!host_address(u, a))
		return false;
	if (mapped_v4(a, &v4)) {
		for (size_t i = 0; i < sizeof(nets) / sizeof(nets[0]); i++)
			if ((v4 ^ nets[i].net) >> (32 - nets[i].bits) == 0)
				return true;
		return false;
	}
	if ((a[0] & 0xfe) == 0xfc || (a[0] == 0xfe && (a[1] & 0xc0) == 0x80))
		return true;
	return sodium_is_zero(a, sizeof(a));
}

static bool is_unreserved(unsigned char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       c == '-' || c == '.' || c == '_' || c == '~';
}

int url_escape(struct buf *out, struct span s)
{
	static const char hex[] = "0123456789ABCDEF";
	size_t n = 0;
	char *t;

	for (size_t i = 0; i < s.n; i++)
		n += is_unreserved((unsigned char)s.p[i]) ? 1 : 3;
	if (n < s.n || buf_reserve(out, n) < 0)
		return -1;
	t = buf_tail(out);
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (is_unreserved(c)) {
			*t++ = (char)c;
			continue;
		}
		*t++ = '%';
		*t++ = hex[c >> 4];
		*t++ = hex[c & 15];
	}
	buf_grew(out, n);
	return 0;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

int url_unescape(struct buf *out, struct span s, bool plus)
{
	size_t n = 0;
	char *t;

	if (buf_reserve(out, s.n) < 0)
		return -1;
	t = buf_tail(out);
	for (size_t i = 0; i < s.n; i++) {
		int hi, lo;

		if (s.p[i] != '%') {
			t[n++] = plus && s.p[i] == '+' ? ' ' : s.p[i];
			continue;
		}
		if (s.n - i < 3 || (hi = hex_value(s.p[i + 1])) < 0 || (lo = hex_value(s.p[i + 2])) < 0)
			return -1;
		t[n++] = (char)(hi << 4 | lo);
		i += 2;
	}
	buf_grew(out, n);
	return 0;
}
