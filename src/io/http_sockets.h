/* libcurl's sockets and its timer, between the multi handle and the loop. */
#ifndef IO_HTTP_SOCKETS_H
#define IO_HTTP_SOCKETS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <curl/curl.h>

#include "io/loop.h"

struct http_socket {
	unsigned short state;
	int64_t left_at;      /* idle since then; 0: it is not, or we can not tell */
};

struct http_sockets {
	struct loop *loop;    /* borrowed */
	int64_t deadline;     /* when libcurl wants to be woken; 0: never */
	int64_t retry_at;     /* when to try again to watch what could not be watched; 0: nothing */
	int64_t idle_ms;      /* how long the connection was idle that the server closed last, */
	int64_t closed_at;    /* and when it did so */
	int64_t kept_ms;      /* how long the server keeps an idle connection, as far as was seen; 0: nothing was */
	unsigned hasty;       /* connections in a row that the server closed, unasked, right after an answer */
	int64_t hasty_at;     /* the last of them */
	bool multiplexed;     /* HTTP/2 may be spoken: a connection that is idle has things to say */
	struct http_socket *fd; /* by descriptor */
	size_t n;
};

/* Registers the callbacks; s must outlive the multi handle. 0 or -1. */
int http_sockets_init(struct http_sockets *s, struct loop *l, CURLM *multi);
void http_sockets_fini(struct http_sockets *s);

/* For CURLOPT_OPENSOCKETFUNCTION: a close-on-exec socket, or CURL_SOCKET_BAD.
 * foreign: to another server than the one whose habits are of interest. */
curl_socket_t http_sockets_open(struct http_sockets *s, const struct curl_sockaddr *a, bool foreign);
/* For CURLOPT_CLOSESOCKETFUNCTION; arg is the struct http_sockets. */
int http_sockets_on_close(void *arg, curl_socket_t fd);

/* False when the event is not about a socket of libcurl; otherwise what to tell
 * it, and nothing in *what when libcurl does not care. */
bool http_sockets_event(struct http_sockets *s, const struct loop_event *ev, curl_socket_t *fd, int *what);

/* The earlier of libcurl's time and our own; 0: none. */
int64_t http_sockets_deadline(const struct http_sockets *s);
/* To be called at that time. */
void http_sockets_retry(struct http_sockets *s, int64_t now);

/* An answer has come on a connection that was used before, or the connection was
 * found dead and nobody knows what became of the request. */
void http_sockets_reused(struct http_sockets *s, bool alive);
/* True while the server closes each connection after its answer without saying so
 * ("Connection: close", RFC 9112, section 9.6): none is to be used again. */
bool http_sockets_brief(struct http_sockets *s);

/* Says of a socket that is not watched that it is in use all the same. */
void http_sockets_hold(struct http_sockets *s, curl_socket_t fd, bool hold);
/* Shuts down every socket that is neither watched nor held. */
void http_sockets_shut_idle(struct http_sockets *s);

#endif
