/* From libcurl's code and counters to an outcome. The one question that
 * matters is whether the server may have the whole request: where that can not
 * be told, body_sent says yes. */
#include "io/http_result.h"

#include <stdio.h>
#include <string.h>

/* The status by which a proxy has refused the tunnel, or 0. */
static long tunnel_refused(CURL *easy)
{
	long code = 0;

	curl_easy_getinfo(easy, CURLINFO_HTTP_CONNECTCODE, &code);
	return code / 100 == 2 ? 0 : code;
}

static curl_off_t measure(CURL *easy, CURLINFO what)
{
	curl_off_t v = 0;

	return curl_easy_getinfo(easy, what, &v) == CURLE_OK ? v : 0;
}

static enum http_outcome timed_out(CURL *easy, const struct http_attempt *a)
{
	if (a->requested)
		return HTTP_TIMEOUT;
	return measure(easy, CURLINFO_NAMELOOKUP_TIME_T) ? HTTP_CONNECT : HTTP_RESOLVE;
}

static enum http_outcome refused(const struct http_attempt *a)
{
	if (a->refusal == REFUSED_MEMORY)
		return HTTP_NOMEM;
	return a->refusal == REFUSED_REPEAT ? HTTP_RESET : HTTP_BAD;
}

static enum http_outcome judge_code(CURL *easy, const struct http_attempt *a)
{
	switch (a->code) {
	case CURLE_OK:
		return HTTP_OK;
	case CURLE_COULDNT_RESOLVE_HOST:
		return HTTP_RESOLVE;
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_PROXY:
		return HTTP_PROXY;
	case CURLE_COULDNT_CONNECT:
	case CURLE_INTERFACE_FAILED:
		return HTTP_CONNECT;
	case CURLE_OPERATION_TIMEDOUT:
		return timed_out(easy, a);
	case CURLE_SSL_CONNECT_ERROR:
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_ENGINE_NOTFOUND:
	case CURLE_SSL_ENGINE_SETFAILED:
	case CURLE_SSL_ENGINE_INITFAILED:
	case CURLE_SSL_CERTPROBLEM:
	case CURLE_SSL_CIPHER:
	case CURLE_SSL_CACERT_BADFILE:
	case CURLE_SSL_CRL_BADFILE:
	case CURLE_SSL_ISSUER_ERROR:
	case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
	case CURLE_SSL_INVALIDCERTSTATUS:
	case CURLE_SSL_CLIENTCERT:
	case CURLE_USE_SSL_FAILED:
		return HTTP_TLS;
	case CURLE_SEND_ERROR:
		return a->requested ? HTTP_SEND : HTTP_CONNECT;
	case CURLE_RECV_ERROR:
		/* A handshake cut off is a receive error too, and so is a proxy's refusal. */
		if (a->requested)
			return HTTP_RESET;
		return tunnel_refused(easy) ? HTTP_PROXY : HTTP_CONNECT;
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE:
	case CURLE_HTTP2:
	case CURLE_HTTP2_STREAM:
	case CURLE_HTTP3:
	case CURLE_SEND_FAIL_REWIND:
		return HTTP_RESET;
	case CURLE_OUT_OF_MEMORY:
		/* libcurl's word for a line beyond its own limit as well. */
		return a->memory_refused ? HTTP_NOMEM : HTTP_BAD;
	default:
		return HTTP_BAD;
	}
}

static bool is_before_request(enum http_outcome o)
{
	return o == HTTP_RESOLVE || o == HTTP_CONNECT || o == HTTP_PROXY || o == HTTP_TLS;
}

/* A name that does not resolve says "not sent" only while nothing has been sent:
 * after a reused connection died, libcurl looks for a new one before it asks
 * whether it may repeat. */
static enum http_outcome judge(CURL *easy, const struct http_attempt *a)
{
	enum http_outcome o = a->refusal != REFUSED_NOTHING ? refused(a) : judge_code(easy, a);

	return is_before_request(o) && http_attempt_repeats(a) ? HTTP_RESET : o;
}

/* The counter holds what the kernel (or TLS) took. It is not exact for HTTP/2
 * frames, and nobody promises what becomes of it when libcurl begins a second
 * attempt, so zero is believed only of a send that failed. */
static bool body_sent(CURL *easy, const struct http_attempt *a)
{
	long version = 0;
	curl_off_t sent;

	if (!a->requested || a->given < a->body)
		return a->requested && a->body == 0;
	curl_easy_getinfo(easy, CURLINFO_HTTP_VERSION, &version);
	if (version > CURL_HTTP_VERSION_1_1 || a->refusal == REFUSED_REPEAT)
		return true;
	sent = measure(easy, CURLINFO_SIZE_UPLOAD_T);
	if (sent == 0)
		return a->code != CURLE_SEND_ERROR;
	return sent >= (curl_off_t)a->body;
}

static const char *refusal_text(enum http_refusal r)
{
	switch (r) {
	case REFUSED_HEAD:
		return "response headers too large";
	case REFUSED_BODY:
		return "response too large";
	case REFUSED_MEMORY:
		return "no memory for the response";
	case REFUSED_REPEAT:
		return "the reused connection died before an answer";
	case REFUSED_NOTHING:
		break;
	}
	return NULL;
}

static bool begins(const char *text, const char *with)
{
	return strncmp(text, with, strlen(with)) == 0;
}

/* libcurl's own message may name the host, so only a part that is known not to is
 * taken: 0 when there is none. It may be that of an attempt before this one, of which
 * the code knows nothing. */
static int tls_reason(CURLcode code, const char *errbuf, const char **text)
{
	static const char cert[] = "SSL certificate problem: ", openssl[] = "SSL routines::";
	const char *at = strstr(errbuf, openssl);

	*text = "the certificate is for another name";
	if (code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_SSL_CONNECT_ERROR && code != CURLE_RECV_ERROR)
		return 0;
	if (begins(errbuf, "SSL: no alternative certificate subject name") || begins(errbuf, "SSL: certificate subject name"))
		return (int)strlen(*text);
	*text = begins(errbuf, cert) ? errbuf + sizeof cert - 1 : at ? at + sizeof openssl - 1 : "";
	return (int)strcspn(*text, ",");
}

static void describe(struct http_result *r, CURL *easy, const struct http_attempt *a, const char *errbuf)
{
	long status = r->outcome == HTTP_PROXY ? tunnel_refused(easy) : 0;
	const char *text = refusal_text(a->refusal), *tls;
	int code = r->curl_code, n = tls_reason(a->code, errbuf, &tls);

	r->detail[0] = '\0';
	if (text)
		snprintf(r->detail, sizeof r->detail, "%s", text);
	else if (status)
		snprintf(r->detail, sizeof r->detail, "the proxy answered HTTP %ld (curl %d)", status, code);
	else if (n > 0)
		snprintf(r->detail, sizeof r->detail, "%.*s (curl %d)", n, tls, code);
	else if (r->os_errno)
		snprintf(r->detail, sizeof r->detail, "%s (curl %d)", strerror(r->os_errno), code);
	else if (code != CURLE_OK)
		snprintf(r->detail, sizeof r->detail, "%s (curl %d)", curl_easy_strerror(a->code), code);
}

void http_result_fill(struct http_result *r, CURL *easy, const struct http_attempt *a, const char *errbuf)
{
	long fresh = 0, os = 0;

	*r = (struct http_result){ .curl_code = (int)a->code };
	curl_easy_getinfo(easy, CURLINFO_NUM_CONNECTS, &fresh);
	r->outcome = judge(easy, a);
	if (r->outcome != HTTP_OK)
		curl_easy_getinfo(easy, CURLINFO_OS_ERRNO, &os);
	r->os_errno = (int)os;
	r->reused = a->refusal == REFUSED_REPEAT || (a->requested && fresh == 0);
	r->got_bytes = a->bytes;
	r->body_sent = body_sent(easy, a);
	r->total_us = measure(easy, CURLINFO_TOTAL_TIME_T);
	r->connect_us = fresh ? measure(easy, CURLINFO_PRETRANSFER_TIME_T) : 0;
	describe(r, easy, a, errbuf);
}
