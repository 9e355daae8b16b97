/* How a transfer ended, in the words of http.h. Pure but for asking the easy handle. */
#ifndef IO_HTTP_RESULT_H
#define IO_HTTP_RESULT_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#include "io/http.h"

/* Why a callback of ours refused to go on. */
enum http_refusal {
	REFUSED_NOTHING,
	REFUSED_HEAD,    /* over max_header_bytes */
	REFUSED_BODY,    /* over the max of http_collect() */
	REFUSED_MEMORY,
	REFUSED_REPEAT,  /* libcurl wanted to send the body a second time */
};

struct http_attempt {
	CURLcode code;
	enum http_refusal refusal;
	bool post;
	bool requested;      /* a connection was there and the request was about to go out */
	bool head, bytes;    /* the final head is complete; at least one header line came */
	bool memory_refused; /* malloc failed since the transfer began */
	size_t body, given;  /* the request body's size; how much of it libcurl has fetched */
};

/* True when sending the request now would be the second time. */
static inline bool http_attempt_repeats(const struct http_attempt *a)
{
	return a->requested && a->post && (a->given > 0 || a->body == 0);
}

void http_result_fill(struct http_result *r, CURL *easy, const struct http_attempt *a, const char *errbuf);

#endif
