/* A URL taken apart once for all the transfers that go there: libcurl parses and
 * rebuilds the text of CURLOPT_URL for every request, but only copies the parts
 * of CURLOPT_CURLU. */
#ifndef IO_HTTP_URL_H
#define IO_HTTP_URL_H

#include <curl/curl.h>

struct http_url {
	unsigned refs;
	CURLU *parts;  /* as libcurl would parse it itself */
	char *text;
};

/* The parts of a URL: *kept when it is the same, else parsed, and kept from now
 * on. The caller gets a reference; NULL when it can not be parsed or there is no
 * memory, so that libcurl may say what is wrong with it. */
struct http_url *http_url_get(struct http_url **kept, const char *text);
/* Gives a reference back; the last one wipes and frees. NULL is fine. */
void http_url_release(struct http_url *u);

#endif
