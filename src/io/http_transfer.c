/* One transfer. libcurl's callbacks record here: a head, some bytes, an end; a
 * transfer with something recorded stands in the ready list. Nothing is started,
 * removed or resumed from inside a callback, because libcurl forbids it.
 *
 * The promise kept here is that a request body goes out at most once: see
 * on_seek(), on_request() and on_open(), the three places where libcurl's own
 * second attempt can be seen coming.
 *
 * A small body is given to libcurl whole, which then sends it in one piece with
 * the head: half the calls of the kernel and one wake-up less for the server. A
 * larger one is read by a callback. */
#include "io/http_transfer.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "io/http_mem.h"

#define UPLOAD_SMALL (16L * 1024) /* the least libcurl takes */
#define UPLOAD_LARGE (64L * 1024)
#define RECEIVE_SMALL (8L * 1024) /* every held call has one, and twice as much makes a 1 MB body only 15% cheaper */
#define RECEIVE_LARGE (64L * 1024)     /* for a GET: few run at once, and they carry streams */
#define WHOLE_MAX ((size_t)16 * 1024) /* a body up to this goes out with the head */
#define DNS_CACHE_S 30L
#define REUSE_MOST 118L /* libcurl's own: seconds that a connection may have been idle to be used again */
#define SPARE_MAX ((size_t)512 * 1024) /* what a flood grows a block to before it is stopped */

/* ---- facts ---------------------------------------------------------------------- */

static bool has_fact(const struct transfer *t)
{
	return t->head_ready || t->done || (t->in.len > 0 && !t->collect);
}

void transfer_note(struct transfer *t)
{
	if (has_fact(t))
		link_append(&t->hub->ready, &t->ready);
	else
		link_remove(&t->ready);
}

static void count_bytes(struct transfer *t, size_t n)
{
	t->hub->backlog += n;
	if (!t->collect)
		t->hub->streamed += n;
}

static void uncount_bytes(struct transfer *t)
{
	t->hub->backlog -= t->in.len;
	if (!t->collect)
		t->hub->streamed -= t->in.len;
}

void transfer_give_back(struct http_hub *hub, unsigned flags, struct buf *b)
{
	if (flags & HTTP_FOREIGN)
		buf_wipe(b); /* may be the answer of a token endpoint */
	else if (b->mem && b->cap <= SPARE_MAX && b->cap > hub->spare.cap)
		buf_move(&hub->spare, b);
	buf_fini(b);
	hub->spare.off = hub->spare.len = 0;
}

static void drop_bytes(struct transfer *t)
{
	uncount_bytes(t);
	transfer_give_back(t->hub, t->flags, &t->in);
}

/* Whether n more bytes may come now. */
static bool has_room(const struct transfer *t, size_t n)
{
	if (t->collect)
		return true;
	if (t->max_body && t->in.len && (t->in.len >= t->max_body || n > t->max_body - t->in.len))
		return false;
	return t->hub->streamed <= t->hub->c.high_water;
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
		if (t->head.keep_alive_s >= 0 && !(t->flags & HTTP_FOREIGN))
			t->hub->keep_alive_s = t->head.keep_alive_s;
		transfer_note(t);
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
			link_append(&t->hub->waiting, &t->waiting);
		return CURL_WRITEFUNC_PAUSE;
	}
	if (t->collect && len > t->collect_max - t->in.len) {
		t->attempt.refusal = REFUSED_BODY;
		return 0;
	}
	if (!t->in.mem && !(t->flags & HTTP_FOREIGN))
		buf_move(&t->in, &t->hub->spare);
	if (buf_append(&t->in, p, len) < 0) {
		t->attempt.refusal = REFUSED_MEMORY;
		return 0;
	}
	count_bytes(t, len);
	transfer_note(t);
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

/* A body given whole counts as fetched, but perhaps not a byte of the request
 * found its way out: libcurl's counters run on over its attempts. */
static bool nothing_left(CURL *easy)
{
	curl_off_t body = -1;
	long head = -1;

	curl_easy_getinfo(easy, CURLINFO_REQUEST_SIZE, &head);
	curl_easy_getinfo(easy, CURLINFO_SIZE_UPLOAD_T, &body);
	return head == 0 && body == 0;
}

static bool would_repeat(struct transfer *t)
{
	if (t->whole && t->attempt.given && nothing_left(t->easy))
		t->attempt.given = 0;
	return http_attempt_repeats(&t->attempt);
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
	if (would_repeat(t)) {
		t->attempt.refusal = REFUSED_REPEAT;
		return CURL_PREREQFUNC_ABORT;
	}
	t->attempt.requested = true;
	if (t->whole)
		t->attempt.given = t->attempt.body;
	return CURL_PREREQFUNC_OK;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
	struct transfer *t = arg;

	(void)purpose;
	if (would_repeat(t)) {
		/* No need to connect only to refuse then; and "connection refused"
		 * would hide that the request is already out. */
		t->attempt.refusal = REFUSED_REPEAT;
		return CURL_SOCKET_BAD;
	}
	return http_sockets_open(&t->hub->sockets, a, t->flags & HTTP_FOREIGN);
}

/* ---- life ----------------------------------------------------------------------- */

static int set_callbacks(struct transfer *t)
{
	struct http_hub *hub = t->hub;
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
	SET(CURLOPT_CLOSESOCKETDATA, &hub->sockets);
	if (hub->cookies && !(t->flags & HTTP_FOREIGN)) {
		SET(CURLOPT_SHARE, hub->cookies);
		SET(CURLOPT_COOKIEFILE, ""); /* switches the engine on; there is no file */
	}
	return rc == CURLE_OK ? 0 : -1;
}

void transfer_free(struct transfer *t)
{
	if (!t)
		return;
	curl_easy_cleanup(t->easy);
	http_url_release(t->url);
	http_lines_fini(&t->lines);
	head_fini(&t->head);
	free(t);
}

struct transfer *transfer_new(struct http_hub *hub, unsigned flags)
{
	struct transfer *t = calloc(1, sizeof *t);

	if (!t)
		return NULL;
	t->hub = hub;
	t->flags = flags;
	t->reuse_s = REUSE_MOST;
	t->decodes = hub->always.accept_encoding != NULL;
	link_init(&t->ready);
	link_init(&t->waiting);
	head_init(&t->head, hub->c.max_header_bytes);
	buf_init(&t->in, SIZE_MAX);
	t->easy = curl_easy_init();
	if (!t->easy || http_setup_easy(t->easy, &hub->c, flags, t->decodes) < 0 || set_callbacks(t) < 0) {
		transfer_free(t);
		return NULL;
	}
	return t;
}

void transfer_stop(struct transfer *t)
{
	if (t->in_multi)
		curl_multi_remove_handle(t->hub->multi, t->easy);
	t->in_multi = t->stalled = false;
	link_remove(&t->waiting);
}

void transfer_reset(struct transfer *t)
{
	link_remove(&t->ready);
	drop_bytes(t);
	t->in.max = SIZE_MAX;
	curl_easy_setopt(t->easy, CURLOPT_HTTPHEADER, NULL);
	http_lines_fini(&t->lines);
	head_reset(&t->head, t->hub->c.max_header_bytes);
	t->token = 0;
	t->body = SPAN_NONE;
	t->clean = t->cut = t->whole = t->paused = t->collect = t->stalled = t->head_ready = t->done = false;
	t->attempt = (struct http_attempt){ 0 };
}

static CURLcode set_method(struct transfer *t, const struct http_request *rq)
{
	bool post = rq->method == HTTP_POST;
	long upload = rq->body.n > (size_t)UPLOAD_SMALL ? UPLOAD_LARGE : UPLOAD_SMALL;
	long receive = rq->method == HTTP_GET ? RECEIVE_LARGE : RECEIVE_SMALL;
	CURLcode rc = CURLE_OK;

	SET(CURLOPT_CUSTOMREQUEST, rq->method == HTTP_DELETE ? "DELETE" : NULL);
	if (receive != t->receive_buffer)
		SET(CURLOPT_BUFFERSIZE, receive);
	t->receive_buffer = receive;
	if (!post) {
		SET(CURLOPT_HTTPGET, 1L);
		return rc;
	}
	t->whole = rq->body.n > 0 && rq->body.n <= WHOLE_MAX;
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDS, t->whole ? rq->body.p : NULL);
	SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)rq->body.n);
	if (upload != t->upload_buffer)
		SET(CURLOPT_UPLOAD_BUFFERSIZE, upload);
	t->upload_buffer = upload;
	return rc;
}

static long sooner_than(long most, int64_t kept_s)
{
	return kept_s - 2 < most ? (long)(kept_s > 3 ? kept_s - 2 : 1) : most;
}

/* A request that meets the end of an idle connection on its way is lost, and
 * nobody can tell whether it ran. So connections are not used again during the
 * last second that the server keeps them, as it says or as was seen: libcurl
 * counts whole seconds and uses again up to and including this one. */
static long reuse_up_to(const struct http_hub *hub)
{
	long s = REUSE_MOST;

	if (hub->keep_alive_s >= 0)
		s = sooner_than(s, hub->keep_alive_s);
	if (hub->sockets.kept_ms)
		s = sooner_than(s, hub->sockets.kept_ms / 1000);
	return s;
}

/* The text goes along: what CURLOPT_CURLU leaves unset would be put together anew. */
static CURLcode set_url(struct transfer *t, const char *url)
{
	CURLcode rc = CURLE_OK;

	if (t->url && strcmp(t->url->text, url) == 0)
		return rc;
	http_url_release(t->url);
	t->url = t->flags & HTTP_FOREIGN ? NULL : http_url_get(&t->hub->url, url);
	SET(CURLOPT_CURLU, t->url ? t->url->parts : NULL);
	SET(CURLOPT_URL, url);
	return rc;
}

int transfer_prepare(struct transfer *t, const struct http_request *rq, struct err *e)
{
	int64_t timeout = rq->timeout_ms < INT32_MAX ? rq->timeout_ms : INT32_MAX;
	long reuse = t->flags & HTTP_FOREIGN ? REUSE_MOST : reuse_up_to(t->hub);
	struct http_always always = t->hub->always;
	bool brief = !(t->flags & HTTP_FOREIGN) && http_sockets_brief(&t->hub->sockets);
	CURLcode rc = CURLE_OK;

	t->token = rq->token;
	t->body = rq->body;
	t->max_body = rq->max_body;
	t->mem_failures = http_mem_failures();
	t->attempt.post = rq->method == HTTP_POST;
	t->attempt.body = t->attempt.post ? rq->body.n : 0;
	t->errbuf[0] = '\0';
	if (t->flags & HTTP_FOREIGN)
		always.accept_encoding = NULL;
	if (http_lines_build(&t->lines, &always, rq->shared, rq->extra, rq->nextra, e) < 0)
		return -1;
	/* A proxy may be one that is spoken to by TLS. */
	if (!t->tls_ready && (t->hub->c.proxy || strncasecmp(rq->url, "https:", 6) == 0)) {
		http_trust_load(&t->hub->trust, t->hub->c.cacert);
		if (http_trust_setup(t->easy, &t->hub->trust) < 0)
			return err_set(e, "the certificates can not be set up");
		t->tls_ready = true;
	}
	if (rc == CURLE_OK)
		rc = set_url(t, rq->url);
	SET(CURLOPT_HTTPHEADER, t->lines.first);
	if (t->decodes && !t->hub->always.accept_encoding) {
		SET(CURLOPT_ACCEPT_ENCODING, NULL);
		t->decodes = false;
	}
	SET(CURLOPT_TIMEOUT_MS, (long)timeout);
	/* After a failed attempt the name may lead elsewhere by now. */
	SET(CURLOPT_DNS_CACHE_TIMEOUT, t->hub->unreached ? 0L : DNS_CACHE_S);
	if (reuse != t->reuse_s)
		SET(CURLOPT_MAXAGE_CONN, reuse);
	t->reuse_s = reuse;
	if (brief != t->brief) {
		SET(CURLOPT_FRESH_CONNECT, (long)brief);
		SET(CURLOPT_FORBID_REUSE, (long)brief);
	}
	t->brief = brief;
#undef SET
	if (rc == CURLE_OK)
		rc = set_method(t, rq);
	return rc == CURLE_OK ? 0 : err_set(e, "the request can not be set up: %s", curl_easy_strerror(rc));
}

/* Half a body is no body, but one whose connection was lost may be all there. */
static void judge_collected(struct transfer *t)
{
	t->cut = t->result.outcome == HTTP_RESET && !(t->flags & HTTP_FOREIGN);
	if (t->result.outcome != HTTP_OK && !t->cut)
		drop_bytes(t);
}

/* What the end of one transfer says for the next ones. */
static void learn_line(struct transfer *t)
{
	const struct http_result *r = &t->result;

	t->hub->unreached = r->outcome == HTTP_CONNECT || r->outcome == HTTP_TLS;
	if (r->reused && (t->clean || (r->outcome == HTTP_RESET && !r->got_bytes)))
		http_sockets_reused(&t->hub->sockets, t->clean);
}

void transfer_finish(struct transfer *t, CURLcode code)
{
	struct http_result result;

	t->attempt.code = code;
	t->attempt.memory_refused = http_mem_failures() != t->mem_failures;
	http_result_fill(&result, t->easy, &t->attempt, t->errbuf);
	transfer_stop(t);
	t->result = result;
	t->clean = result.outcome == HTTP_OK;
	if (code == CURLE_BAD_CONTENT_ENCODING && !(t->flags & HTTP_FOREIGN))
		t->hub->always.accept_encoding = NULL; /* some name a charset there: what others take as it is, we do from now on */
	if (!(t->flags & HTTP_FOREIGN))
		learn_line(t);
	if (t->collect)
		judge_collected(t);
	t->done = true;
	transfer_note(t);
}

/* Calls on_body() with what libcurl kept, which may stall it again at once. */
void transfer_resume(struct transfer *t)
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

void transfer_collect(struct transfer *t, size_t max)
{
	curl_off_t announced = -1;

	if (t->collect)
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
	if (t->done)
		judge_collected(t);
	/* Only a hint: a body that grows piece by piece arrives as well. */
	if (!t->done && announced > (curl_off_t)t->in.len)
		(void)buf_reserve(&t->in, (size_t)announced - t->in.len);
	if (t->stalled && !t->paused)
		link_append(&t->hub->waiting, &t->waiting);
	transfer_note(t);
}

void transfer_take(struct transfer *t, struct buf *out)
{
	uncount_bytes(t);
	buf_move(out, &t->in);
}
