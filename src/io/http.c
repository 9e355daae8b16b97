/* HTTP transfers by number over libcurl's multi interface.
 *
 * libcurl tells us which sockets to watch and when to wake it, and we tell it
 * what became ready. Its callbacks record: a head, some bytes, an end. A
 * transfer with something recorded stands in the ready list, and http_next()
 * takes from there. Nothing is started, removed or resumed from inside a
 * callback, because libcurl forbids it.
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

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/buf.h"
#include "io/http_head.h"
#include "io/http_mem.h"
#include "io/http_result.h"
#include "io/http_setup.h"
#include "io/http_sockets.h"
#include "io/http_table.h"

#define POOL_LEAST 64u                         /* connections and handles kept for reuse, */
#define POOL_MOST 2048u                        /* at least and at most */
#define UPLOAD_SMALL (16L * 1024)              /* the least libcurl takes */
#define UPLOAD_LARGE (64L * 1024)

struct link { struct link *prev, *next; }; /* of a ring; alone: points to itself */

struct transfer {
	struct link ready, waiting;
	struct http *h;
	CURL *easy;
	uint64_t token;
	unsigned flags;
	enum http_method method;
	bool tls_ready;          /* the easy handle knows the trust anchors */
	bool in_multi;
	bool clean;              /* ended as it should: the handle can serve again */
	bool paused, collect;
	bool stalled;            /* libcurl keeps a piece that we refused */
	bool head_ready;         /* HEAD is to be given */
	bool done;               /* DONE is to be given, after what is left */
	struct span body;
	long upload_buffer;
	size_t max_body, collect_max;
	uint64_t mem_failures;   /* http_mem_failures() at the start */
	struct http_attempt attempt;
	struct head head;
	struct buf in;
	struct http_lines lines;
	struct http_result result;
	char errbuf[CURL_ERROR_SIZE];
};

struct http {
	struct http_config c;
	CURLM *multi;
	CURLSH *cookies;
	struct http_sockets sockets;
	struct http_table table;
	struct link ready, waiting;
	size_t backlog;          /* bytes in every `in` */
	size_t streamed;         /* those of them that are not being collected */
	struct transfer *given;  /* whose fact http_next() gave last */
	bool given_over;         /* and it is to be retired at the next call */
	struct buf out;          /* its DATA */
	struct transfer **pool;
	size_t pooled, pool_size;
	struct http_ca ca;
};

/* ---- rings ---------------------------------------------------------------------- */

static void link_init(struct link *l)
{
	l->prev = l->next = l;
}

static bool link_alone(const struct link *l)
{
	return l->next == l;
}

static void link_remove(struct link *l)
{
	l->prev->next = l->next;
	l->next->prev = l->prev;
	link_init(l);
}

static void link_append(struct link *ring, struct link *l)
{
	if (!link_alone(l))
		return;
	l->prev = ring->prev;
	l->next = ring;
	ring->prev->next = l;
	ring->prev = l;
}

static struct transfer *of_ready(struct link *l)
{
	return (struct transfer *)(void *)((char *)l - offsetof(struct transfer, ready));
}

static struct transfer *of_waiting(struct link *l)
{
	return (struct transfer *)(void *)((char *)l - offsetof(struct transfer, waiting));
}

/* ---- facts ---------------------------------------------------------------------- */

static bool has_fact(const struct transfer *t)
{
	return t->head_ready || t->done || (t->in.len > 0 && !t->collect);
}

static void note(struct transfer *t)
{
	if (has_fact(t))
		link_append(&t->h->ready, &t->ready);
	else
		link_remove(&t->ready);
}

static void count_bytes(struct transfer *t, size_t n)
{
	t->h->backlog += n;
	if (!t->collect)
		t->h->streamed += n;
}

static void uncount_bytes(struct transfer *t)
{
	t->h->backlog -= t->in.len;
	if (!t->collect)
		t->h->streamed -= t->in.len;
}

static void drop_bytes(struct transfer *t)
{
	uncount_bytes(t);
	if (t->flags & HTTP_FOREIGN)
		buf_wipe(&t->in); /* may be the answer of a token endpoint */
	buf_fini(&t->in);
}

/* Whether n more bytes may come now. */
static bool has_room(const struct transfer *t, size_t n)
{
	if (t->collect)
		return true;
	if (t->max_body && t->in.len && (t->in.len >= t->max_body || n > t->max_body - t->in.len))
		return false;
	return t->h->streamed <= t->h->c.high_water;
}

/* ---- libcurl's callbacks: they record, nothing else ------------------------------- */

static size_t on_header(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	t->attempt.bytes = true;
	switch (head_line(&t->head, span_make(p, size * n))) {
	case HEAD_MORE:
		return size * n;
	case HEAD_COMPLETE:
		t->attempt.head = t->head_ready = true;
		note(t);
		return size * n;
	case HEAD_TOO_LARGE:
		t->attempt.refusal = REFUSED_HEAD;
		return 0;
	case HEAD_NOMEM:
		break;
	}
	t->attempt.refusal = REFUSED_MEMORY;
	return 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = size * n;

	if (t->paused || !has_room(t, len)) {
		t->stalled = true;
		if (!t->paused)
			link_append(&t->h->waiting, &t->waiting);
		return CURL_WRITEFUNC_PAUSE;
	}
	if (t->collect && len > t->collect_max - t->in.len) {
		t->attempt.refusal = REFUSED_BODY;
		return 0;
	}
	if (buf_append(&t->in, p, len) < 0) {
		t->attempt.refusal = REFUSED_MEMORY;
		return 0;
	}
	count_bytes(t, len);
	note(t);
	return len;
}

static size_t on_read(char *p, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	size_t len = t->body.n - t->attempt.given;

	if (len > size * n)
		len = size * n;
	if (len)
		memcpy(p, t->body.p + t->attempt.given, len);
	t->attempt.given += len;
	return len;
}

/* libcurl rewinds only to send once more what it has begun to send. */
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct transfer *t = arg;

	(void)offset;
	(void)origin;
	if (t->attempt.given == 0)
		return CURL_SEEKFUNC_OK;
	t->attempt.refusal = REFUSED_REPEAT;
	return CURL_SEEKFUNC_FAIL;
}

/* Called before every attempt; a second one means that a reused connection died
 * without a byte of response. Rewinding alone does not stop it: libcurl asks for
 * that only when it has seen body bytes leave, so an empty body would be repeated
 * and one that was fetched but did not fit into the socket would go out with its
 * beginning missing. A body never touched may be sent. */
static int on_request(void *arg, char *peer, char *local, int peer_port, int local_port)
{
	struct transfer *t = arg;

	(void)peer;
	(void)local;
	(void)peer_port;
	(void)local_port;
	if (http_attempt_repeats(&t->attempt)) {
		t->attempt.refusal = REFUSED_REPEAT;
		return CURL_PREREQFUNC_ABORT;
	}
	t->attempt.requested = true;
	return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = arg;
	(void)purpose;
	if (http_attempt_repeats(&t->attempt)) {
		/* No need to connect only to refuse then; and "connection refused"
		 * would hide that the request is already out. */
		t->attempt.refusal = REFUSED_REPEAT;
		return CURL_SOCKET_BAD;
	}
	return http_sockets_open(&t->h->sockets, a);
}

/* ---- transfers ------------------------------------------------------------------ */

static int set_callbacks(struct transfer *t)
{
	struct http *h = t->h;
	CURLcode rc = CURLE_OK;

#define SET(option, value) do { if (rc == CURLE_OK) rc = curl_easy_setopt(t->easy, option, value); } while (0)
	SET(CURLOPT_PRIVATE, t);
	SET(CURLOPT_ERRORBUFFER, t->errbuf);
	SET(CURLOPT_HEADERFUNCTION, on_header);
	SET(CURLOPT_HEADERDATA, t);
	SET(CURLOPT_WRITEFUNCTION, on_body);
	SET(CURLOPT_WRITEDATA, t);
	SET(CURLOPT_READFUNCTION, on_read);
	SET(CURLOPT_READDATA, t);
	SET(CURLOPT_SEEKFUNCTION, on_seek);
	SET(CURLOPT_SEEKDATA, t);
	SET(CURLOPT_PREREQFUNCTION, on_request);
	SET(CURLOPT_PREREQDATA, t);
	SET(CURLOPT_OPENSOCKETFUNCTION, on_open);
	SET(CURLOPT_OPENSOCKETDATA, t);
	/* This one stays with the connection, which outlives the transfer. */
	SET(CURLOPT_CLOSESOCKETFUNCTION, http_sockets_on_close);
	SET(CURLOPT_CLOSESOCKETDATA, &h->sockets);
	if (h->cookies && !(t->flags & HTTP_FOREIGN)) {
		SET(CURLOPT_SHARE, h->cookies);
		SET(CURLOPT_COOKIEFILE, ""); /* switches the engine on; there is no file */
	}
	return rc == CURLE_OK ? 0 : -1;
}

static void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	curl_easy_cleanup(t->easy);
	http_lines_fini(&t->lines);
	head_fini(&t->head);
	free(t);
}

static struct transfer *transfer_new(struct http *h, unsigned flags)
{
	struct transfer *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->h = h;
	t->flags = flags;
	link_init(&t->ready);
	link_init(&t->waiting);
	head_init(&t->head, h->c.max_header_bytes);
	buf_init(&t->in, SIZE_MAX);
	t->easy = curl_easy_init();
	if (!t->easy || http_setup_easy(t->easy, &h->c, flags & HTTP_FOREIGN) < 0 || set_callbacks(t) < 0) {
		transfer_free(t);
		return NULL;
	}
	return t;
}

/* A foreign transfer never shares a handle with the origin's: nothing can be left over. */
static struct transfer *transfer_get(struct http *h, unsigned flags)
{
	if (!(flags & HTTP_FOREIGN) && h->pooled)
		return h->pool[--h->pooled];
	return transfer_new(h, flags);
}

static void transfer_stop(struct transfer *t)
{
	if (t->in_multi)
		curl_multi_remove_handle(t->h->multi, t->easy);
	t->in_multi = t->stalled = false;
	link_remove(&t->waiting);
}

/* To the pool, or away: a handle whose transfer failed or was cut off may carry
 * what libcurl meant to do next (a rewind, say) into its next transfer. No
 * callback, list or table knows the transfer any more. */
static void transfer_retire(struct transfer *t)
{
	struct http *h = t->h;

	link_remove(&t->ready);
	drop_bytes(t);
	t->in.max = SIZE_MAX;
	if ((t->flags & HTTP_FOREIGN) || !t->clean || h->pooled == h->pool_size) {
		transfer_free(t);
		return;
	}
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
	http_lines_fini(&t->lines);
	head_reset(&t->head, h->c.max_header_bytes);
	t->token = 0;
	t->body = SPAN_NONE;
	t->clean = t->paused = t->collect = t->stalled = t->head_ready = t->done = false;
	t->attempt = (struct http_attempt){ 0 };
	h->pool[h->pooled++] = t;
}

static CURLcode set_method(struct transfer *t, const struct http_request *rq)
{
	bool post = rq->method == HTTP_POST;
	long upload = rq->body.n > (size_t)UPLOAD_SMALL ? UPLOAD_LARGE : UPLOAD_SMALL;
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_CUSTOMREQUEST, rq->method == HTTP_DELETE ? "DELETE" : NULL);
	if (!post) {
		SET(CURLOPT_HTTPGET, 1L);
		return rc;
	}
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
	if (upload != t->upload_buffer)
		SET(CURLOPT_UPLOAD_BUFFERSIZE, upload);
	t->upload_buffer = upload;
	return rc;
}

static int transfer_prepare(struct transfer *t, const struct http_request *rq, struct err *e)
{
	int64_t timeout = rq->timeout_ms < INT32_MAX ? rq->timeout_ms : INT32_MAX;
	CURLcode rc = CURLE_OK;

	t->token = rq->token;
	t->method = rq->method;
	t->body = rq->body;
	t->max_body = rq->max_body;
	t->mem_failures = http_mem_failures();
	t->attempt.post = rq->method == HTTP_POST;
	t->attempt.body = rq->method == HTTP_POST ? rq->body.n : 0;
	t->errbuf[0] = '\0';
	if (http_lines_build(&t->lines, rq->shared, rq->extra, rq->nextra, e) < 0)
		return -1;
	if (!t->tls_ready && strncasecmp(rq->url, "https:", 6) == 0) {
		http_ca_load(&t->h->ca, t->h->c.cacert);
		if (http_setup_tls(t->easy, &t->h->ca) < 0)
			return err_set(e, "the certificates can not be set up");
		t->tls_ready = true;
	}
	SET(CURLOPT_URL, rq->url);
	SET(CURLOPT_HTTPHEADER, t->lines.first);
	SET(CURLOPT_TIMEOUT_MS, (long)timeout);
#undef SET
	if (rc == CURLE_OK)
		rc = set_method(t, rq);
	return rc == CURLE_OK ? 0 : err_set(e, "the request can not be set up: %s", curl_easy_strerror(rc));
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
	if (curl_multi_add_handle(h->multi, t->easy) == CURLM_OK)
		return 0;
	err_set(e, "libcurl refuses another transfer");
	t->in_multi = false;
	http_table_remove(&h->table, t->token);
fail:
	transfer_retire(t);
	return -1;
}

static void transfer_finish(struct transfer *t, CURLcode code)
{
	t->attempt.code = code;
	t->attempt.memory_refused = http_mem_failures() != t->mem_failures;
	http_result_fill(&t->result, t->easy, &t->attempt, t->errbuf);
	t->clean = t->result.outcome == HTTP_OK;
	transfer_stop(t);
	if (t->collect && t->result.outcome != HTTP_OK)
		drop_bytes(t); /* half a body is no body */
	t->done = true;
	note(t);
}

static void take_finished(struct http *h)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(h->multi, &left))) {
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
		transfer_retire(t);
}

/* ---- reading -------------------------------------------------------------------- */

/* Calls on_body() with what libcurl kept, which may stall it again at once. */
static void transfer_resume(struct transfer *t)
{
	CURLcode rc;

	link_remove(&t->waiting);
	if (!t->stalled)
		return;
	t->stalled = false;
	rc = curl_easy_pause(t->easy, CURLPAUSE_CONT);
	if (rc != CURLE_OK)
		transfer_finish(t, rc);
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

	if (link_alone(&h->waiting) || h->streamed > h->c.high_water)
		return;
	link_init(&turn);
	link_append(&h->waiting, &turn); /* one round, not more */
	while (h->waiting.next != &turn && h->streamed <= h->c.high_water) {
		struct transfer *t = of_waiting(h->waiting.next);

		link_remove(&t->waiting);
		if (t->max_body && t->in.len)
			link_append(&h->waiting, &t->waiting);
		else
			transfer_resume(t);
	}
	link_remove(&turn);
}

void http_collect(struct http *h, uint64_t token, size_t max)
{
	struct transfer *t = http_table_get(&h->table, token);
	curl_off_t announced = -1;

	if (!t || t->collect)
		return;
	uncount_bytes(t);
	t->collect = true;
	t->collect_max = t->in.max = max;
	count_bytes(t, t->in.len);
	if (!head_has(&t->head, HEAD_CONTENT_ENCODING))
		curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &announced);
	if (t->in.len > max || (announced > 0 && (uint64_t)announced > max)) {
		t->attempt.refusal = REFUSED_BODY;
		transfer_finish(t, t->done ? t->attempt.code : CURLE_WRITE_ERROR);
		return;
	}
	if (t->done && t->result.outcome != HTTP_OK)
		drop_bytes(t);
	/* Only a hint: a body that grows piece by piece arrives as well. */
	if (!t->done && announced > (curl_off_t)t->in.len)
		(void)buf_reserve(&t->in, (size_t)announced - t->in.len);
	if (t->stalled && !t->paused)
		link_append(&h->waiting, &t->waiting);
	note(t);
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
	if (t->flags & HTTP_FOREIGN)
		buf_wipe(&h->out);
	buf_fini(&h->out);
	h->given = NULL;
	if (h->given_over)
		transfer_retire(t);
	h->given_over = false;
}

static void give_data(struct transfer *t, struct http_event *ev)
{
	ev->kind = HTTP_EV_DATA;
	uncount_bytes(t);
	buf_move(&t->h->out, &t->in);
	ev->data = buf_span(&t->h->out);
}

static void give_done(struct transfer *t, struct http_event *ev)
{
	ev->kind = HTTP_EV_DONE;
	ev->head = t->attempt.head ? &t->head.out : NULL;
	ev->result = &t->result;
	http_table_remove(&t->h->table, t->token);
	t->done = false;
	t->h->given_over = true;
}

int http_next(struct http *h, struct http_event *ev)
{
	struct transfer *t;

	release_given(h);
	resume_waiting(h);
	if (link_alone(&h->ready))
		return 0;
	t = of_ready(h->ready.next);
	h->given = t;
	*ev = (struct http_event){ .token = t->token };
	if (t->head_ready) {
		t->head_ready = false;
		ev->kind = HTTP_EV_HEAD;
		ev->head = &t->head.out;
	} else if (t->in.len > 0) {
		give_data(t, ev);
	} else {
		give_done(t, ev);
	}
	note(t);
	return 1;
}

/* ---- the loop ------------------------------------------------------------------- */

bool http_on_event(struct http *h, const struct loop_event *ev)
{
	curl_socket_t fd;
	int what, running;

	if (!http_sockets_event(ev, &fd, &what))
		return false;
	curl_multi_socket_action(h->multi, fd, what, &running);
	take_finished(h);
	return true;
}

int64_t http_deadline(const struct http *h)
{
	return http_sockets_deadline(&h->sockets);
}

void http_on_time(struct http *h, int64_t now)
{
	int running;

	http_sockets_retry(&h->sockets, now);
	if (!h->sockets.deadline || now < h->sockets.deadline)
		return;
	h->sockets.deadline = 0; /* libcurl sets the next one during the call */
	curl_multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
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
		http_sockets_hold(&h->sockets, fd, hold);
	}
}

void http_drop_idle(struct http *h)
{
	hold_stalled(h, true);
	http_sockets_shut_idle(&h->sockets);
	hold_stalled(h, false);
}

size_t http_running(const struct http *h)
{
	return h->table.count;
}

size_t http_backlog(const struct http *h)
{
	return h->backlog;
}

/* ---- life ----------------------------------------------------------------------- */

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
	h->multi = curl_multi_init();
	if (!h->multi || http_sockets_init(&h->sockets, l, h->multi) < 0)
		return -1;
	if (curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->pool_size + 4) != CURLM_OK)
		return -1;
	return curl_multi_setopt(h->multi, CURLMOPT_MAX_HOST_CONNECTIONS, 0L) == CURLM_OK ? 0 : -1;
}

/* One jar for all handles of the origin: load balancers pin sessions by cookie. */
static int cookies_setup(struct http *h)
{
	if (!h->c.cookies)
		return 0;
	h->cookies = curl_share_init();
	if (!h->cookies)
		return -1;
	return curl_share_setopt(h->cookies, CURLSHOPT_SHARE, CURL_LOCK_DATA_COOKIE) == CURLSHE_OK ? 0 : -1;
}

struct http *http_new(const struct http_config *c, struct loop *l, struct err *e)
{
	struct http *h = calloc(1, sizeof *h);

	if (!h) {
		err_set(e, "no memory for HTTP");
		return NULL;
	}
	h->c = *c;
	link_init(&h->ready);
	link_init(&h->waiting);
	buf_init(&h->out, SIZE_MAX);
	h->pool_size = c->parallel < POOL_LEAST ? POOL_LEAST : c->parallel > POOL_MOST ? POOL_MOST : c->parallel;
	h->pool = calloc(h->pool_size, sizeof *h->pool);
	if (!h->pool || multi_setup(h, l) < 0 || cookies_setup(h) < 0) {
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
		transfer_retire(t);
	}
	while (h->pooled)
		transfer_free(h->pool[--h->pooled]);
	free(h->pool);
	curl_multi_cleanup(h->multi);
	curl_share_cleanup(h->cookies);
	http_table_fini(&h->table);
	http_ca_fini(&h->ca);
	http_sockets_fini(&h->sockets);
	free(h);
}
