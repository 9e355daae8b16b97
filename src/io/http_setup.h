/* What is the same for every transfer: header lists and the options of an easy
 * handle. */
#ifndef IO_HTTP_SETUP_H
#define IO_HTTP_SETUP_H

#include <stdbool.h>
#include <stddef.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"
#include "io/http.h"

/* A variable of the environment; NULL when it is not set, or empty. */
const char *http_env(const char *name);

/* ---- options ------------------------------------------------------------------ */

/* Sets what does not change from transfer to transfer. flags: HTTP_... ; decode:
 * this libcurl can take compressed answers apart, and is to. 0 or -1. */
int http_setup_easy(CURL *easy, const struct http_config *c, unsigned flags, bool decode);

/* ---- header lists --------------------------------------------------------------- */

/* What every request carries unless its headers say otherwise. As libcurl's own
 * options they would be formatted anew for each. */
struct http_always {
	char *user_agent;            /* "User-Agent: name/1.0", NULL for none */
	const char *accept_encoding; /* NULL when nothing can be decoded */
};
/* 0, or -1 without memory. */
int http_always_init(struct http_always *f, const struct http_config *c);
void http_always_fini(struct http_always *f);

/* The list to give to libcurl: `always` and `extra` in front of `shared`, whose
 * nodes are not copied. It holds a reference on shared. */
struct http_lines {
	struct curl_slist *first;
	struct http_headers *shared;
	void *block;      /* the nodes and texts of our own */
	size_t block_size;
};

/* 0, or -1 with *e (no memory, or a line with CR, LF or NUL in it). */
int http_lines_build(struct http_lines *l, const struct http_always *always, struct http_headers *shared, const struct span *extra, size_t nextra, struct err *e);
/* Wipes and frees; to be called when libcurl no longer uses the list. */
void http_lines_fini(struct http_lines *l);

#endif
