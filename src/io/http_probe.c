/* Connects with the very options that a transfer gets, stops before the
 * request (CURLOPT_CONNECT_ONLY), and keeps what libcurl tells on the way. The
 * TLS version has no question of its own in libcurl; it stands in the text of
 * the debug callback, of which nothing else is kept. */
#include "io/http_probe.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "io/http_result.h"
#include "io/http_setup.h"
#include "io/http_trust.h"

static void copy_until(char *out, size_t size, const char *from, const char *end, const char *stop)
{
	size_t n = 0;

	while (from + n < end && n + 1 < size && !strchr(stop, from[n]))
		n++;
	memcpy(out, from, n);
	out[n] = '\0';
}

static int on_debug(CURL *easy, curl_infotype type, char *text, size_t n, void *arg)
{
	static const char tls[] = "SSL connection using ", by[] = "Uses proxy env variable ";
	struct http_probe *p = arg;
	const char *end = text + n;

	(void)easy;
	if (type != CURLINFO_TEXT)
		return 0;
	if (n > sizeof(tls) && !memcmp(text, tls, sizeof(tls) - 1)) {
		copy_until(p->tls, sizeof(p->tls), text + sizeof(tls) - 1, end, "\r\n");
	} else if (n > sizeof(by) && !memcmp(text, by, sizeof(by) - 1)) {
		const char *name = text + sizeof(by) - 1;
		p->proxied = true;
		if (strncasecmp(name, "no_proxy", 8) == 0)
			p->proxied = false;
		else
			copy_until(p->proxy_by, sizeof(p->proxy_by), name, end, " =");
	}
	return 0;
}

/* The server's own certificate stands first. */
static void read_certificate(CURL *easy, struct http_probe *p)
{
	struct curl_certinfo *ci = NULL;

	if (curl_easy_getinfo(easy, CURLINFO_CERTINFO, &ci) != CURLE_OK || !ci || ci->num_of_certs < 1)
		return;
	for (struct curl_slist *s = ci->certinfo[0]; s; s = s->next) {
		const char *end = s->data + strlen(s->data);
		if (!strncmp(s->data, "Issuer:", 7))
			copy_until(p->issuer, sizeof(p->issuer), s->data + 7, end, "\r\n");
		else if (!strncmp(s->data, "Subject:", 8))
			copy_until(p->subject, sizeof(p->subject), s->data + 8, end, "\r\n");
		else if (!strncmp(s->data, "Expire date:", 12))
			p->expires_s = (int64_t)curl_getdate(s->data + 12, NULL);
	}
	if (p->expires_s < 0)
		p->expires_s = 0;
}

static int64_t between(CURL *easy, CURLINFO from, CURLINFO to)
{
	curl_off_t a = 0, b = 0;

	if (from != CURLINFO_NONE)
		curl_easy_getinfo(easy, from, &a);
	curl_easy_getinfo(easy, to, &b);
	return b > a ? (int64_t)(b - a) : 0;
}

static void read_way(CURL *easy, struct http_probe *p)
{
	char *address = NULL;
	long port = 0;

	p->resolve_us = between(easy, CURLINFO_NONE, CURLINFO_NAMELOOKUP_TIME_T);
	p->connect_us = between(easy, CURLINFO_NAMELOOKUP_TIME_T, CURLINFO_CONNECT_TIME_T);
	p->tls_us = between(easy, CURLINFO_CONNECT_TIME_T, CURLINFO_APPCONNECT_TIME_T);
	if (curl_easy_getinfo(easy, CURLINFO_PRIMARY_IP, &address) == CURLE_OK && address)
		snprintf(p->address, sizeof(p->address), "%s", address);
	curl_easy_getinfo(easy, CURLINFO_PRIMARY_PORT, &port);
	p->port = (int)port;
}

static int set_up(CURL *easy, const struct http_config *c, struct http_trust *trust, const char *url, bool verify,
	struct http_probe *p, char *errbuf)
{
	CURLcode rc = CURLE_OK;

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(easy, option, value); } while (0)
	if (http_setup_easy(easy, c, verify ? 0 : HTTP_FOREIGN, false) != 0 || http_trust_setup(easy, trust) != 0)
		return -1;
	SET(CURLOPT_URL, url);
	SET(CURLOPT_CONNECT_ONLY, 1L);
	SET(CURLOPT_CERTINFO, 1L);
	SET(CURLOPT_VERBOSE, 1L);
	SET(CURLOPT_DEBUGFUNCTION, on_debug);
	SET(CURLOPT_DEBUGDATA, p);
	SET(CURLOPT_ERRORBUFFER, errbuf);
	if (!verify) {
		SET(CURLOPT_SSL_VERIFYPEER, 0L);
		SET(CURLOPT_SSL_VERIFYHOST, 0L);
		if (c->unix_socket)
			SET(CURLOPT_UNIX_SOCKET_PATH, c->unix_socket);
	}
#undef SET
	return rc == CURLE_OK ? 0 : -1;
}

int http_probe(const struct http_config *c, const char *url, bool verify, struct http_probe *p, struct err *e)
{
	struct http_attempt a = { .code = CURLE_OK };
	struct http_trust trust = { .loaded = false };
	char errbuf[CURL_ERROR_SIZE] = "";
	CURL *easy = curl_easy_init();
	int rc = -1;

	memset(p, 0, sizeof(*p));
	p->proxied = c->proxy && c->proxy[0];
	http_trust_load(&trust, c->cacert);
	if (!easy || set_up(easy, c, &trust, url, verify, p, errbuf) != 0) {
		err_set(e, "libcurl refuses the options");
		goto out;
	}
	a.code = curl_easy_perform(easy);
	http_result_fill(&p->result, easy, &a, errbuf);
	read_way(easy, p);
	read_certificate(easy, p);
	rc = 0;
out:
	curl_easy_cleanup(easy);
	http_trust_fini(&trust);
	return rc;
}
