/* The doctor's first steps: the name, a connection by each family, the proxy,
 * TLS. Nothing is sent to the server yet. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "io/http_probe.h"
#include "report/doctor_i.h"

#define DAY ((int64_t)24 * 3600)
#define SOON (14 * DAY)  /* a certificate that ends within this is worth a warning */
#define OUR_CERTIFICATE 58 /* libcurl's codes: the client's certificate or key is no good, */
#define OUR_AUTHORITIES 77 /* or the file of those that are trusted */

/* ---- name and addresses ------------------------------------------------------------------------------ */

static void address_text(const struct addrinfo *a, char *out, size_t n)
{
	if (getnameinfo(a->ai_addr, a->ai_addrlen, out, (socklen_t)n, NULL, 0, NI_NUMERICHOST) != 0)
		snprintf(out, n, "?");
}

static struct addrinfo *resolve(struct doctor *d)
{
	const struct url *u = d->c->url;
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_family = d->c->http->ipv4_only ? AF_INET : AF_UNSPEC }, *all = NULL;
	char host[256], port[8], text[400] = "", one[64];
	size_t n = strlen(u->host), count = 0;
	int64_t t0 = loop_now_us();
	int rc;

	/* The brackets of an IPv6 literal are the URL's. */
	snprintf(host, sizeof(host), "%.*s", u->host[0] == '[' && n > 1 ? (int)n - 2 : (int)n, u->host + (u->host[0] == '['));
	snprintf(port, sizeof(port), "%d", u->port);
	rc = getaddrinfo(host, port, &hints, &all);
	if (rc != 0) {
		doctor_say(d, "resolve", STEP_FAIL, loop_now_us() - t0, DOCTOR_RESOLVE, "%s: %s", host, gai_strerror(rc));
		doctor_hint(d, rc == EAI_AGAIN ? "no name server answered" : "the name does not exist, or not in this network",
			rc == EAI_AGAIN ? "is this machine online, and is its VPN up?" : "check the spelling; if the name is internal, connect the VPN");
		return NULL;
	}
	for (const struct addrinfo *a = all; a; a = a->ai_next, count++) {
		address_text(a, one, sizeof(one));
		if (count < 4)
			snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", count ? ", " : "", one);
	}
	doctor_say(d, "resolve", STEP_OK, loop_now_us() - t0, DOCTOR_WELL, "%s%s", text, count > 4 ? ", ..." : "");
	return all;
}

/* 0, or the errno. */
static int connect_to(const struct addrinfo *a, int64_t timeout_ms)
{
	int fd = socket(a->ai_family, SOCK_STREAM, 0), rc = 0;
	socklen_t n = sizeof(rc);

	if (fd < 0)
		return errno;
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
		struct pollfd p = { .fd = fd, .events = POLLOUT };
		if (errno != EINPROGRESS)
			rc = errno;
		else if (poll(&p, 1, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms) != 1)
			rc = ETIMEDOUT;
		else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &rc, &n) != 0)
			rc = errno;
	}
	close(fd);
	return rc;
}

static const char *why_not_connected(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return "nothing listens there: the server is down, or the port is wrong";
	case ETIMEDOUT:
		return "nothing answers: a firewall drops it, or the server is off";
	case EHOSTUNREACH:
	case ENETUNREACH:
		return "there is no route: this machine is offline, or the VPN is down";
	default:
		return NULL;
	}
}

/* 0: connected; -1: the family has no address; else the errno. */
static int try_family(struct doctor *d, const struct addrinfo *all, int family, int64_t *us)
{
	int rc = -1;

	for (const struct addrinfo *a = all; a && rc != 0; a = a->ai_next) {
		int64_t t0 = loop_now_us();
		if (a->ai_family != family)
			continue;
		rc = connect_to(a, d->c->http->connect_timeout_ms);
		*us = loop_now_us() - t0;
	}
	return rc;
}

static bool connect_families(struct doctor *d, const struct addrinfo *all)
{
	static const struct { int family; const char *name; } f[] = { { AF_INET, "IPv4" }, { AF_INET6, "IPv6" } };
	int rc[2];
	int64_t us[2] = { -1, -1 };
	bool any = false;

	for (int i = 0; i < 2; i++) {
		rc[i] = try_family(d, all, f[i].family, &us[i]);
		any |= rc[i] == 0;
	}
	for (int i = 0; i < 2; i++) {
		enum doctor_verdict v = rc[i] == 0 ? STEP_OK : rc[i] < 0 ? STEP_NONE : any ? STEP_WARN : STEP_FAIL;
		doctor_say(d, f[i].name, v, us[i], DOCTOR_CONNECT, rc[i] == 0 ? "connected to port %d" : rc[i] < 0 ? "no address" : "port %d: %s",
			d->c->url->port, rc[i] > 0 ? strerror(rc[i]) : "");
		if (rc[i] > 0 && any)
			doctor_hint(d, why_not_connected(rc[i]), i == 1 ? "--ipv4 saves the attempt" : NULL);
		else if (rc[i] > 0)
			doctor_hint(d, why_not_connected(rc[i]), "is there a proxy that must be used? (--proxy, https_proxy)");
	}
	return any;
}

/* ---- TLS ------------------------------------------------------------------------------------------------ */

/* The name of who issued it: the CN, or O, of "C = US, O = Some CA, CN = R3". */
static void issuer_name(const char *dn, char *out, size_t size)
{
	static const char *const keys[] = { "CN = ", "CN=", "O = ", "O=" };

	for (size_t i = 0; i < sizeof(keys) / sizeof(*keys); i++) {
		const char *at = strstr(dn, keys[i]);
		if (at && (at == dn || at[-1] == ' ' || at[-1] == ',' || at[-1] == '/')) {
			at += strlen(keys[i]);
			snprintf(out, size, "%.*s", (int)strcspn(at, ",/"), at);
			return;
		}
	}
	snprintf(out, size, "%s", dn[0] ? dn : "somebody");
}

static void tls_failed(struct doctor *d, const struct http_probe *p)
{
	struct http_probe seen;
	struct err e;
	char issuer[128], cause[512];
	int64_t left;

	doctor_say(d, "TLS", STEP_FAIL, p->tls_us ? p->tls_us : -1, DOCTOR_TLS, "%s", p->result.detail);
	if (p->result.curl_code == OUR_CERTIFICATE) {
		doctor_hint(d, "the client certificate or its key can not be used", "--cert and --key: is each a PEM file, and do they belong together?");
		return;
	}
	if (p->result.curl_code == OUR_AUTHORITIES) {
		doctor_hint(d, "the certificates to trust can not be read here", "--cacert, SSL_CERT_FILE: is it a PEM file with certificates?");
		return;
	}
	if (strstr(p->result.detail, "not yet valid")) {
		doctor_hint(d, "the certificate is for a time to come", "is this machine's clock right?");
		return;
	}
	if (http_probe(d->c->http, d->url, false, &seen, &e) != 0 || seen.result.outcome != HTTP_OK || !seen.issuer[0]) {
		doctor_hint(d, "no secure connection can be made at all", "is this a TLS port? Is something old, or an inspecting firewall, in between?");
		return;
	}
	issuer_name(seen.issuer, issuer, sizeof(issuer));
	left = seen.expires_s ? seen.expires_s - time(NULL) : 0;
	if (left < 0) {
		snprintf(cause, sizeof(cause), "the certificate, issued by %s, ended %" PRId64 " days ago", issuer, -left / DAY);
		doctor_hint(d, cause, "its owner must renew it; is this machine's clock right?");
	} else {
		snprintf(cause, sizeof(cause), "the certificate was issued by %s, which is not trusted here, or it is for another name", issuer);
		doctor_hint(d, cause, "where that is your company's authority: --cacert FILE, or NODE_EXTRA_CA_CERTS");
	}
}

static void tls_done(struct doctor *d, const struct http_probe *p)
{
	char issuer[128] = "", until[64] = "";
	int64_t left = p->expires_s ? p->expires_s - time(NULL) : 0;
	bool soon = p->expires_s && left < SOON;

	if (p->issuer[0])
		issuer_name(p->issuer, issuer, sizeof(issuer));
	if (p->expires_s)
		snprintf(until, sizeof(until), ", %" PRId64 " days left", left / DAY);
	doctor_say(d, "TLS", soon ? STEP_WARN : STEP_OK, p->tls_us, DOCTOR_TLS, "%s%s%s%s", p->tls[0] ? p->tls : "agreed",
		issuer[0] ? "; certificate by " : "", issuer, until);
	if (soon)
		doctor_hint(d, "the certificate ends soon", "tell its owner to renew it");
}

/* ---- the way as a bridge goes it ---------------------------------------------------------------------------- */

static bool probe_failed(struct doctor *d, const struct http_probe *p)
{
	const struct http_result *r = &p->result;
	char by[64];

	switch (r->outcome) {
	case HTTP_OK:
		return false;
	case HTTP_TLS:
		tls_failed(d, p);
		return true;
	case HTTP_PROXY:
		break;
	default:
		if (p->proxied)
			break;
		if (!d->c->http->unix_socket && !strcmp(d->c->url->scheme, "https")) { /* a plain connection could be made just now */
			doctor_say(d, "TLS", STEP_FAIL, r->total_us, DOCTOR_TLS, "%s", r->detail);
			doctor_hint(d, "the connection stands, but no TLS handshake comes back", "is this a TLS port? Is a firewall inspecting the traffic?");
			return true;
		}
		doctor_say(d, "connect", STEP_FAIL, r->total_us, DOCTOR_CONNECT, "%s", r->detail);
		doctor_hint(d, d->c->http->unix_socket ? "nobody listens on the unix socket" : why_not_connected(r->os_errno), NULL);
		return true;
	}
	snprintf(by, sizeof(by), "%s", p->proxy_by[0] ? p->proxy_by : "--proxy");
	doctor_say(d, "proxy", STEP_FAIL, r->total_us, DOCTOR_PROXY, "the proxy of %s: %s", by, r->detail);
	doctor_hint(d, "the proxy is not reachable, or refuses this host or these credentials", "is the address right? Put hosts that need no proxy into no_proxy");
	return true;
}

bool doctor_network(struct doctor *d)
{
	struct http_probe p;
	struct err e;
	struct addrinfo *all;
	bool connected = true, tls = !strcmp(d->c->url->scheme, "https");

	if (http_probe(d->c->http, d->url, true, &p, &e) != 0) {
		doctor_say(d, "connect", STEP_FAIL, -1, DOCTOR_BROKEN, "%s", e.text);
		return false;
	}
	if (d->c->http->unix_socket) {
		doctor_say(d, "resolve", STEP_NONE, -1, DOCTOR_WELL, "not needed: a unix socket");
	} else if (p.proxied) {
		doctor_say(d, "resolve", STEP_NONE, -1, DOCTOR_WELL, "left to the proxy");
	} else {
		all = resolve(d);
		connected = all && connect_families(d, all);
		if (all)
			freeaddrinfo(all);
	}
	if (!connected || probe_failed(d, &p))
		return false;
	if (p.proxied)
		doctor_say(d, "proxy", STEP_OK, p.connect_us, DOCTOR_WELL, "through the proxy of %s", p.proxy_by[0] ? p.proxy_by : "--proxy");
	else
		doctor_say(d, "proxy", STEP_NONE, -1, DOCTOR_WELL, "none");
	if (tls)
		tls_done(d, &p);
	else
		doctor_say(d, "TLS", STEP_NONE, -1, DOCTOR_WELL, "none: nothing is encrypted");
	return true;
}
