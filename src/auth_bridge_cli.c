/* login, logout and list: the same sign-in as the bridge's, for a person at a
 * terminal. What is said goes to stdout, except the address to open, which
 * goes to stderr with the log. No secret is printed. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "auth_bridge.h"
#include "auth_bridge_parts.h"
#include "base/log.h"
#include "report/text.h"

#define PROBE_TOKEN ((uint64_t)1)
#define PROBE_TIMEOUT_MS 15000
#define EVENTS 16
#define URL_MAX ((size_t)16 * 1024)
#define LOCK_WAIT_MS 10000
#define LOCK_POLL_NS 50000000

static const char probe_body[] =
	"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-11-25\","
	"\"capabilities\":{},\"clientInfo\":{\"name\":\"mcp-holdfast\",\"version\":\"" VERSION "\"}}}";

/* ---- login --------------------------------------------------------------------------- */

struct login {
	struct options *o;
	struct loop *loop;
	struct http *http;
	struct auth_bridge *ab;
	int64_t until;      /* by then it must be known where to sign in */
	bool probed;
	int interrupted;    /* by this signal; 0: not */
	bool let_in;        /* the request without a token was answered */
};

/* A person waits as long as a request does; where none ever does, as long as for one answer. */
static int64_t patience(const struct options *o)
{
	return o->core.hold_ms > 0 ? o->core.hold_ms : PROBE_TIMEOUT_MS;
}

/* One request without a token: its 401 says where the metadata is and which
 * scopes are wanted. A server that answers it all the same is signed in to by
 * its well-known metadata. */
static int probe(struct login *l, struct err *e)
{
	const struct span extra[] = { SPAN_LIT("Content-Type: application/json"),
		SPAN_LIT("Accept: application/json, text/event-stream") };
	struct http_request rq = {
		.token = PROBE_TOKEN,
		.method = HTTP_POST,
		.url = l->o->url.text,
		.extra = extra,
		.nextra = sizeof extra / sizeof *extra,
		.body = span_make(probe_body, sizeof probe_body - 1),
		.timeout_ms = patience(l->o) / 2 < PROBE_TIMEOUT_MS ? patience(l->o) / 2 + 1 : PROBE_TIMEOUT_MS,
	};

	l->until = loop_now() + patience(l->o);
	return http_start(l->http, &rq, e);
}

static void on_http(struct login *l, const struct http_event *ev, int64_t now)
{
	struct span challenge = SPAN_NONE;

	if (auth_bridge_on_http(l->ab, ev, now) || l->probed || ev->kind == HTTP_EV_DATA)
		return;
	l->probed = true;
	if (ev->head && ev->head->status == 401)
		challenge = ev->head->www_authenticate;
	l->let_in = ev->head && ev->head->status / 100 == 2;
	if (ev->kind == HTTP_EV_HEAD)
		http_cancel(l->http, PROBE_TOKEN);
	auth_bridge_sign_in(l->ab, challenge, l->until > now ? l->until - now : 1, now);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

static void turn(struct login *l)
{
	struct loop_event ev[EVENTS];
	struct http_event fact;
	int64_t t = http_deadline(l->http), now;
	int n = loop_wait(l->loop, sooner(t, auth_bridge_deadline(l->ab)), ev, EVENTS), i;

	now = loop_now();
	l->interrupted = loop_next_signal(l->loop);
	for (i = 0; i < n; i++)
		if (!auth_bridge_on_event(l->ab, &ev[i], now))
			http_on_event(l->http, &ev[i]);
	if (t && now >= t)
		http_on_time(l->http, now);
	while (http_next(l->http, &fact))
		on_http(l, &fact, now);
	auth_bridge_drain(l->ab, now);
}

static void run_login(struct login *l)
{
	do
		turn(l);
	while (!l->interrupted && (!l->probed || auth_bridge_state(l->ab) == AUTH_RUNNING));
}

static int open_login(struct login *l, struct redactor *r, struct err *e)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	l->loop = loop_new(e);
	if (!l->loop || loop_signals(l->loop, signals, 3, e))
		return -1;
	l->http = http_new(&l->o->http, l->loop, e);
	if (!l->http)
		return -1;
	l->ab = auth_bridge_new(l->o, l->http, l->loop, r, e);
	if (!l->ab)
		return -1;
	auth_bridge_tell_person(l->ab);
	return probe(l, e);
}

/* What came of it, and the exit status. What is not kept is of no use to anybody. */
static int tell(struct login *l)
{
	const char *unkept = auth_bridge_unkept(l->ab);

	if (l->interrupted) {
		fprintf(stderr, "mcp-holdfast: interrupted\n");
		return 128 + l->interrupted;
	}
	if (auth_bridge_state(l->ab) != AUTH_READY) {
		fprintf(stderr, "mcp-holdfast: %s%s\n", auth_bridge_text(l->ab),
		        l->let_in ? " It answered a request without credentials, though." : "");
		return 1;
	}
	if (unkept) {
		fprintf(stderr, "mcp-holdfast: signed in to %s, but that can not be kept: %s\n", l->o->url.origin, unkept);
		return 1;
	}
	printf("Signed in to %s.\n", l->o->url.origin);
	return 0;
}

int auth_cli_login(struct options *o, struct redactor *r)
{
	struct login l = { .o = o };
	struct err e = { "" };
	int status = 1;

	if (o->core.user_authorization || o->auth.token_file || o->auth.token_command) {
		fprintf(stderr, "mcp-holdfast: %s is given, so there is nothing to sign in to\n",
		        o->core.user_authorization ? "an Authorization header" : o->auth.token_file ? "--token-file" : "--token-command");
		return 1;
	}
	if (open_login(&l, r, &e)) {
		fprintf(stderr, "mcp-holdfast: %s\n", e.text);
	} else {
		run_login(&l);
		status = tell(&l);
	}
	auth_bridge_free(l.ab);
	http_free(l.http);
	loop_free(l.loop);
	return status;
}

/* ---- logout ---------------------------------------------------------------------------- */

/* A renewal that is under way would bring back what is forgotten. A person who is
 * asked to sign in may take minutes, and what comes of it is another sign-in. */
static void wait_for_renewal(struct store *s)
{
	const struct timespec pause = { .tv_nsec = LOCK_POLL_NS };
	int64_t end = loop_now() + LOCK_WAIT_MS;
	char word[128];

	while (store_try_lock(s, NULL) == 0) {
		if (loop_now() >= end || store_published(s, word, sizeof word) == 0) {
			fprintf(stderr, "mcp-holdfast: another process is signing in just now; what it gets is kept\n");
			return;
		}
		nanosleep(&pause, NULL);
	}
}

int auth_cli_logout(struct options *o, struct redactor *r)
{
	struct auth_setup setup;
	struct store *s = NULL;
	struct err e = { "" };
	int n = 0;

	(void)r;
	if (auth_setup_init(&setup, o, &e) == 0 && auth_setup_has_store(&setup)) {
		s = auth_setup_store(&setup, o, &e);
		if (s)
			wait_for_renewal(s);
		n = s ? store_forget(s, &e) : -1;
	}
	store_close(s);
	auth_setup_fini(&setup);
	if (e.text[0] || n < 0) {
		fprintf(stderr, "mcp-holdfast: %s\n", e.text);
		return 1;
	}
	if (n == 0)
		printf("Nothing was kept for %s with these headers and options.\n", o->url.origin);
	else
		printf("Forgot the sign-in to %s.\n", o->url.origin);
	return 0;
}

/* ---- list ------------------------------------------------------------------------------- */

static void when(int64_t t, char *out, size_t size)
{
	time_t at = (time_t)t;
	struct tm tm;

	if (!t || !localtime_r(&at, &tm) || strftime(out, size, "%Y-%m-%d %H:%M", &tm) == 0)
		snprintf(out, size, "-");
}

static const char *or_dash(const char *s)
{
	return s ? s : "-";
}

struct listing { struct redactor *redactor; int n; };

/* An address as it may stand on a terminal: the issuer's was chosen by a server. */
static const char *shown(struct listing *l, const char *text, struct buf *out)
{
	struct buf url;

	buf_init(&url, URL_MAX);
	bridge_put_url(l->redactor, or_dash(text), &url);
	if (url.len <= 1 || text_clean(out, span_make(buf_data(&url), url.len - 1), url.len) || buf_append(out, "", 1))
		buf_reset(out);
	buf_fini(&url);
	return out->len > 0 ? buf_data(out) : "-";
}

static void print_record(void *arg, const struct auth_record *r)
{
	struct listing *l = arg;
	struct buf url, issuer;
	char until[32];

	buf_init(&url, URL_MAX);
	buf_init(&issuer, URL_MAX);
	when(r->expires, until, sizeof until);
	if (l->n++ == 0)
		printf("%-44s %-30s %-16s %s\n", "SERVER", "AUTHORIZATION SERVER", "TOKEN UNTIL", "RENEWED BY ITSELF");
	printf("%-44s %-30s %-16s %s\n", shown(l, r->url, &url), shown(l, r->issuer, &issuer), r->access ? until : "none", r->refresh ? "yes" : "no");
	buf_fini(&issuer);
	buf_fini(&url);
}

int auth_cli_list(struct options *o, struct redactor *r)
{
	struct auth_setup setup;
	struct store *s = NULL;
	struct err e = { "" };
	struct listing l = { .redactor = r };

	if (auth_setup_init(&setup, o, &e) == 0 && auth_setup_has_store(&setup) && (s = auth_setup_store(&setup, o, &e)))
		store_each(s, print_record, &l, &e);
	store_close(s);
	auth_setup_fini(&setup);
	if (e.text[0]) {
		fprintf(stderr, "mcp-holdfast: %s\n", e.text);
		return 1;
	}
	if (l.n == 0)
		printf("No sign-in is kept.\n");
	return 0;
}
