/* HTTP transfers by number over libcurl's multi interface.
 *
 * libcurl tells us which sockets to watch and when to wake it, and we tell it
 * what became ready. Its callbacks (http_transfer.c) record facts; http_next()
 * takes them from the ready list and is the only way out.
 *
 * A transfer and its easy handle live and are reused together. What http_next()
 * has handed out stays alive until the next call even when the transfer is
 * cancelled meanwhile.
 *
 * Backpressure: when more than high_water bytes wait, or the caller asked for
 * it, the write callback refuses the next piece. libcurl then keeps it, stops
 * reading that socket, and the sender feels it. The transfer is stalled until
 * there is room again; those that wait for the others' bytes to be taken stand
 * in a list, where http_next() finds them. */
#include "io/http.h"

#include <stddef.h>
#include <stdlib.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "io/http_mem.h"
#include "io/http_ring.h"
#include "io/http_sockets.h"
#include "io/http_table.h"
#include "io/http_transfer.h"

#define POOL_LEAST 64u  /* connections and handles kept for reuse, */
#define POOL_MOST 2048u /* at least and at most */
#define FEW 32             /* handles, and so connections, that are closed one by one at the end */

struct http {
	struct http_hub hub;
	struct http_table table;
	struct transfer *given;  /* whose fact http_next() gave last */
	bool given_over;         /* and it is to be retired at the next call */
	struct buf out;          /* its DATA */
	struct transfer **pool;
	size_t pooled, pool_size;
};

static struct transfer *of_ready(struct link *l)
{
	return (struct transfer *)(void *)((char *)l - offsetof(struct transfer, ready));
}

static struct transfer *of_waiting(struct link *l)
{
	return (struct transfer *)(void *)((char *)l - offsetof(struct transfer, waiting));
}

/* ---- starting and ending -------------------------------------------------------- */

/* A foreign transfer never shares a handle with the origin's: nothing can be left over. */
static struct transfer *transfer_get(struct http *h, unsigned flags)
{
	if (!(flags & HTTP_FOREIGN) && h->pooled)
		return h->pool[--h->pooled];
	return transfer_new(&h->hub, flags);
}

/* To the pool, or away: a handle whose transfer failed or was cut off may carry
 * what libcurl meant to do next (a rewind, say) into its next transfer. No
 * callback, list or table knows the transfer any more. */
static void retire(struct http *h, struct transfer *t)
{
	bool keep = t->clean && !(t->flags & HTTP_FOREIGN) && h->pooled < h->pool_size;

	transfer_reset(t);
	if (keep)
		h->pool[h->pooled++] = t;
	else
		transfer_free(t);
}

int http_start(struct http *h, const struct http_request *rq, struct err *e)
{
	struct transfer *t;

	if (!rq->token || http_table_get(&h->table, rq->token))
		return err_set(e, "a transfer of this number is already running");
	t = transfer_get(h, rq->flags);
	if (!t)
		return err_set(e, "no memory for another transfer");
	if (transfer_prepare(t, rq, e) < 0)
		goto fail;
	if (http_table_put(&h->table, t->token, t) < 0) {
		err_set(e, "no memory for another transfer");
		goto fail;
	}
	t->in_multi = true;
	if (curl_multi_add_handle(h->hub.multi, t->easy) == CURLM_OK)
		return 0;
	err_set(e, "libcurl refuses another transfer");
	t->in_multi = false;
	http_table_remove(&h->table, t->token);
fail:
	retire(h, t);
	return -1;
}

static void take_finished(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->hub.multi, &left))) {
		struct transfer *t;
		CURLcode code = m->data.result;

		if (m->msg != CURLMSG_DONE)
			continue;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&t);
		transfer_finish(t, code); /* m dies here */
	}
}

void http_cancel(struct http *h, uint64_t token)
{
	struct transfer *t = http_table_get(&h->table, token);

	if (!t)
		return;
	http_table_remove(&h->table, token);
	transfer_stop(t);
	link_remove(&t->ready);
	if (t == h->given)
		h->given_over = true; /* the caller is still looking at it */
	else
		retire(h, t);
}

/* ---- reading -------------------------------------------------------------------- */

void http_withdraw(struct http *h, uint64_t token)
{
	struct transfer *t = http_table_get(&h->table, token);

	if (t && !t->done && t->attempt.given == 0)
		transfer_finish(t, CURLE_OPERATION_TIMEDOUT);
}

void http_pause(struct http *h, uint64_t token, bool pause)
{
	struct transfer *t = http_table_get(&h->table, token);

	if (!t)
		return;
	/* Stopping waits for the next piece: nothing is lost by it, and libcurl
	 * would forget a pause that comes before the connection does. */
	t->paused = pause;
	if (pause)
		link_remove(&t->waiting);
	else
		transfer_resume(t);
}

/* Takes from the front while there is room; who still has bytes lying here
 * comes after those who have not. */
static void resume_waiting(struct http *h)
{
	struct link turn;

	if (link_alone(&h->hub.waiting) || h->hub.streamed > h->hub.c.high_water)
		return;
	link_init(&turn);
	link_append(&h->hub.waiting, &turn); /* one round, not more */
	while (h->hub.waiting.next != &turn && h->hub.streamed <= h->hub.c.high_water) {
		struct transfer *t = of_waiting(h->hub.waiting.next);

		link_remove(&t->waiting);
		if (t->max_body && t->in.len)
			link_append(&h->hub.waiting, &t->waiting);
		else
			transfer_resume(t);
	}
	link_remove(&turn);
}

void http_collect(struct http *h, uint64_t token, size_t max)
{
	struct transfer *t = http_table_get(&h->table, token);

	if (t)
		transfer_collect(t, max);
}

void http_take_data(struct http *h, uint64_t token, struct buf *out)
{
	if (h->given && h->given->token == token)
		buf_move(out, &h->out);
}

static void release_given(struct http *h)
{
	struct transfer *t = h->given;

	if (!t)
		return;
	transfer_give_back(&h->hub, t->flags, &h->out);
	h->given = NULL;
	if (h->given_over)
		retire(h, t);
	h->given_over = false;
}

static void give_data(struct http *h, struct transfer *t, struct http_event *ev)
{
	ev->kind = HTTP_EV_DATA;
	ev->cut = t->cut;
	transfer_take(t, &h->out);
	ev->data = buf_span(&h->out);
}

static void give_done(struct http *h, struct transfer *t, struct http_event *ev)
{
	ev->kind = HTTP_EV_DONE;
	ev->head = t->attempt.head ? &t->head.out : NULL;
	ev->result = &t->result;
	http_table_remove(&h->table, t->token);
	t->done = false;
	h->given_over = true;
}

int http_next(struct http *h, struct http_event *ev)
{
	struct transfer *t;

	release_given(h);
	resume_waiting(h);
	if (link_alone(&h->hub.ready))
		return 0;
	t = of_ready(h->hub.ready.next);
	h->given = t;
	*ev = (struct http_event){ .token = t->token };
	if (t->head_ready) {
		t->head_ready = false;
		ev->kind = HTTP_EV_HEAD;
		ev->head = &t->head.out;
	} else if (t->in.len > 0) {
		give_data(h, t, ev);
	} else {
		give_done(h, t, ev);
	}
	transfer_note(t);
	return 1;
}

bool http_pending(const struct http *h)
{
	return !link_alone(&h->hub.ready) || (!link_alone(&h->hub.waiting) && h->hub.streamed <= h->hub.c.high_water);
}

/* ---- the loop ------------------------------------------------------------------- */

bool http_on_event(struct http *h, const struct loop_event *ev)
{
	curl_socket_t fd;
	int what, running;

	if (!http_sockets_event(&h->hub.sockets, ev, &fd, &what))
		return false;
	if (!what)
		return true;
	curl_multi_socket_action(h->hub.multi, fd, what, &running);
	take_finished(h);
	return true;
}

int64_t http_deadline(const struct http *h)
{
	return http_sockets_deadline(&h->hub.sockets);
}

void http_on_time(struct http *h, int64_t now)
{
	int running;

	http_sockets_retry(&h->hub.sockets, now);
	if (!h->hub.sockets.deadline || now < h->hub.sockets.deadline)
		return;
	h->hub.sockets.deadline = 0; /* libcurl sets the next one during the call */
	curl_multi_socket_action(h->hub.multi, CURL_SOCKET_TIMEOUT, 0, &running);
	take_finished(h);
}

/* A stalled transfer's socket is not watched, and yet not idle. */
static void hold_stalled(struct http *h, bool hold)
{
	for (size_t i = 0; h->table.slot && i <= h->table.mask; i++) {
		const struct transfer *t = h->table.slot[i].value;
		curl_socket_t fd = CURL_SOCKET_BAD;

		if (!t || !t->stalled)
			continue;
		curl_easy_getinfo(t->easy, CURLINFO_ACTIVESOCKET, &fd);
		http_sockets_hold(&h->hub.sockets, fd, hold);
	}
}

void http_drop_idle(struct http *h)
{
	hold_stalled(h, true);
	http_sockets_shut_idle(&h->hub.sockets);
	hold_stalled(h, false);
}

void http_rest(struct http *h)
{
	buf_reset(&h->hub.spare);
}

size_t http_running(const struct http *h)
{
	return h->table.count;
}

size_t http_backlog(const struct http *h)
{
	return h->hub.backlog;
}

/* ---- life ----------------------------------------------------------------------- */

uintptr_t http_library(void)
{
	return (uintptr_t)curl_multi_socket_action;
}

int http_global_init(struct err *e)
{
	CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, http_mem_malloc, http_mem_free,
		http_mem_realloc, http_mem_strdup, http_mem_calloc);

	if (rc != CURLE_OK)
		return err_set(e, "libcurl can not start: %s", curl_easy_strerror(rc));
	if (curl_version_info(CURLVERSION_NOW)->version_num < 0x075500)
		return err_set(e, "libcurl 7.85.0 or newer is needed, this is %s", curl_version_info(CURLVERSION_NOW)->version);
	return 0;
}

static int multi_setup(struct http *h, struct loop *l)
{
	h->hub.multi = curl_multi_init();
	if (!h->hub.multi || http_sockets_init(&h->hub.sockets, l, h->hub.multi) < 0)
		return -1;
	if (curl_multi_setopt(h->hub.multi, CURLMOPT_MAXCONNECTS, (long)h->pool_size + 4) != CURLM_OK)
		return -1;
	h->hub.sockets.multiplexed = h->hub.c.http2;
	return curl_multi_setopt(h->hub.multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L) == CURLM_OK ? 0 : -1;
}

/* One jar for all handles of the origin: load balancers pin sessions by cookie. */
static int cookies_setup(struct http *h)
{
	if (!h->hub.c.cookies)
		return 0;
	h->hub.cookies = curl_share_init();
	if (!h->hub.cookies)
		return -1;
	return curl_share_setopt(h->hub.cookies, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE) == CURLSHE_OK ? 0 : -1;
}

struct http *http_new(const struct http_config *c, struct loop *l, struct err *e)
{
	struct http *h;

	if (c->http2 && !(curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_HTTP2)) {
		err_set(e, "--http2: this libcurl was built without HTTP/2");
		return NULL;
	}
	h = calloc(1, sizeof *h);
	if (!h) {
		err_set(e, "no memory for HTTP");
		return NULL;
	}
	h->hub.c = *c;
	h->hub.keep_alive_s = -1;
	link_init(&h->hub.ready);
	link_init(&h->hub.waiting);
	buf_init(&h->out, SIZE_MAX);
	buf_init(&h->hub.spare, SIZE_MAX);
	h->pool_size = c->parallel < POOL_LEAST ? POOL_LEAST : c->parallel > POOL_MOST ? POOL_MOST : c->parallel;
	h->pool = calloc(h->pool_size, sizeof *h->pool);
	if (!h->pool || multi_setup(h, l) < 0 || cookies_setup(h) < 0 || http_always_init(&h->hub.always, c) < 0) {
		err_set(e, "no memory for HTTP");
		http_free(h);
		return NULL;
	}
	return h;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	release_given(h);
	for (size_t i = 0; h->table.slot && i <= h->table.mask; i++) {
		struct transfer *t = h->table.slot[i].value;

		if (!t)
			continue;
		transfer_stop(t);
		retire(h, t);
	}
	while (h->pooled)
		transfer_free(h->pool[--h->pooled]);
	free(h->pool);
	buf_fini(&h->hub.spare);
	curl_multi_cleanup(h->hub.multi);
	http_url_release(h->hub.url);
	curl_share_cleanup(h->hub.cookies);
	http_table_fini(&h->table);
	http_trust_fini(&h->hub.trust);
	http_always_fini(&h->hub.always);
	http_sockets_fini(&h->hub.sockets);
	free(h);
}

void http_leave(struct http *h)
{
	if (h && (h->hub.trust.loaded || h->pooled <= FEW))
		http_free(h);
}
