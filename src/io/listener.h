/* The loopback redirect listener (RFC 8252, section 7.3): a tiny HTTP server
 * on 127.0.0.1 that takes one callback and hands out a short address for a
 * long one. It decides nothing about OAuth but whether `state` is the expected
 * one, in constant time.
 *
 * Bounded in everything: LISTENER_CLIENTS connections (the oldest idle one
 * gives way), 8 KiB of request, 5 s to send it. GET only, the Host header must
 * name this listener, no script in any page. Garbage gets a short 4xx and a
 * close; nothing a stranger sends ends the listener. */
#ifndef IO_LISTENER_H
#define IO_LISTENER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/span.h"
#include "io/loop.h"

#define LISTENER_CLIENTS 8
#define LISTENER_MAX_REQUEST 8192
#define LISTENER_CLIENT_MS 5000

struct listener;

struct listener_config {
	const char *host;   /* as the redirect URI names it; the socket is on 127.0.0.1 always */
	int port;           /* 0: a free one */
	const char *path;   /* of the callback, with a leading slash */
	const char *state;  /* the one accepted value */
	const char *success_url; /* where a browser that succeeded goes instead of our page; NULL */
	uint64_t tag;       /* loop tags tag .. tag + LISTENER_CLIENTS are its own */
};

struct listener *listener_open(const struct listener_config *c, struct loop *l, struct err *e);
/* Closes everything; a browser still waiting gets its page first if the socket takes it. */
void listener_close(struct listener *l);
int listener_port(const struct listener *l);
/* GET /s/<nonce> answers 302 to url, once. One at a time; a new one replaces the old. 0 or -1. */
int listener_shortcut(struct listener *l, const char *nonce, const char *url);
/* The shortcut was set and not yet used. */
bool listener_shortcut_open(const struct listener *l);

bool listener_on_event(struct listener *l, const struct loop_event *ev, int64_t now);
void listener_on_time(struct listener *l, int64_t now);
int64_t listener_deadline(const struct listener *l);
/* The query of the one valid callback: true once; lives until listener_close().
 * The browser waits for listener_answer(). */
bool listener_next(struct listener *l, struct span *query);
/* The page the waiting browser gets: it worked, or what went wrong. */
void listener_answer(struct listener *l, bool ok, const char *sentence);

#endif
