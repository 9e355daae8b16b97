/* The loopback listener over real sockets, and the helper command. Nothing
 * sleeps: the loop is turned until what is waited for is there. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "io/browser.h"
#include "io/listener.h"

#define TAG 100

struct rig {
	struct loop *loop;
	struct listener *l;
	int64_t ahead; /* how far the listener's clock runs before the real one */
};

static int setup(void **state)
{
	struct listener_config c = { .host = "127.0.0.1", .port = 0, .path = "/oauth/callback", .state = "right-state", .tag = TAG };
	struct rig *r = calloc(1, sizeof *r);

	if (!r)
		return -1;
	r->loop = loop_new(NULL);
	r->l = r->loop ? listener_open(&c, r->loop, NULL) : NULL;
	*state = r;
	return r->l ? 0 : -1;
}

static int teardown(void **state)
{
	struct rig *r = *state;

	listener_close(r->l);
	loop_free(r->loop);
	free(r);
	return 0;
}

static void turn(struct rig *r)
{
	struct loop_event ev[16];
	int i, n = loop_wait(r->loop, loop_now() + 5, ev, 16);

	for (i = 0; i < n; i++)
		listener_on_event(r->l, &ev[i], loop_now() + r->ahead);
}

static int dial(struct rig *r)
{
	struct sockaddr_in sin = { .sin_family = AF_INET, .sin_port = htons((uint16_t)listener_port(r->l)) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof sin), 0);
	assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	return fd;
}

static void say(int fd, const char *text)
{
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Everything until the listener closes; "" when it closed without a word. */
static void hear(struct rig *r, int fd, char *out, size_t size)
{
	int64_t until = loop_now() + 5000;
	size_t n = 0;
	ssize_t got;

	for (;;) {
		turn(r);
		got = recv(fd, out + n, size - 1 - n, 0);
		if (got == 0 || (got < 0 && errno != EAGAIN))
			break;
		n += got > 0 ? (size_t)got : 0;
		assert_true(loop_now() < until);
	}
	out[n] = '\0';
	close(fd);
}

static void ask(struct rig *r, const char *method, const char *target, const char *host, char *out, size_t size)
{
	char request[1024], own[64];
	int fd = dial(r);

	snprintf(own, sizeof own, "127.0.0.1:%d", listener_port(r->l));
	snprintf(request, sizeof request, "%s %s HTTP/1.1\r\nHost: %s\r\nAccept: */*\r\n\r\n", method, target, host ? host : own);
	say(fd, request);
	hear(r, fd, out, size);
}

static bool status_is(const char *response, int status)
{
	char line[32];

	snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
	return strncmp(response, line, strlen(line)) == 0;
}

static void one_valid_callback_is_taken_and_told_the_end(void **state)
{
	struct rig *r = *state;
	struct span query;
	char out[8192], line[256];
	int fd = dial(r);
	int64_t until = loop_now() + 5000;

	snprintf(line, sizeof line, "GET /oauth/callback?code=x&state=right-state&iss=a HTTP/1.1\r\nHost: localhost:%d\r\n\r\n", listener_port(r->l));
	say(fd, line);
	while (!listener_next(r->l, &query)) {
		turn(r);
		assert_true(loop_now() < until);
	}
	assert_true(span_is(query, "code=x&state=right-state&iss=a"));
	assert_false(listener_next(r->l, &query));
	ask(r, "GET", "/oauth/callback?code=y&state=right-state", NULL, out, sizeof out);
	assert_true(status_is(out, 409));
	listener_answer(r->l, true, "");
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 200));
	assert_non_null(strstr(out, "can be closed"));
	assert_non_null(strstr(out, "Cache-Control: no-store"));
	assert_non_null(strstr(out, "Referrer-Policy: no-referrer"));
	assert_non_null(strstr(out, "X-Content-Type-Options: nosniff"));
	assert_non_null(strstr(out, "default-src 'none'"));
	assert_null(strstr(out, "<script"));
}

static void a_failed_sign_in_is_told_without_markup(void **state)
{
	struct rig *r = *state;
	struct span query;
	char out[8192], line[256];
	int fd = dial(r);
	int64_t until = loop_now() + 5000;

	snprintf(line, sizeof line, "GET /oauth/callback?error=x&state=right%%2Dstate HTTP/1.0\nhost: 127.0.0.1:%d\n\n", listener_port(r->l));
	say(fd, line);
	while (!listener_next(r->l, &query)) {
		turn(r);
		assert_true(loop_now() < until);
	}
	listener_answer(r->l, false, "it said <b>&\"no\"");
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 400));
	assert_non_null(strstr(out, "it said &lt;b&gt;&amp;&quot;no&quot;"));
}

static void everything_else_is_refused_and_harms_nothing(void **state)
{
	static const struct { const char *method, *target, *host; int status; } rows[] = {
		{ "GET", "/oauth/callback?code=x", NULL, 400 },
		{ "GET", "/oauth/callback?code=x&state=wrong", NULL, 400 },
		{ "GET", "/oauth/callback?code=x&state=right-stat", NULL, 400 },
		{ "GET", "/oauth/callback?code=x&state=right-state&state=right-state", NULL, 400 },
		{ "GET", "/oauth/callback?state=%zz", NULL, 400 },
		{ "GET", "/oauth/callback", NULL, 400 },
		{ "GET", "/oauth/callback?code=x&state=right-state", "evil.example", 421 },
		{ "GET", "/oauth/callback?code=x&state=right-state", "127.0.0.1", 421 },
		{ "POST", "/oauth/callback?code=x&state=right-state", NULL, 405 },
		{ "HEAD", "/", NULL, 405 },
		{ "GET", "/", NULL, 404 },
		{ "GET", "/favicon.ico", NULL, 404 },
		{ "GET", "/oauth/callback/../callback?state=right-state", NULL, 404 },
		{ "GET", "http://127.0.0.1/oauth/callback?state=right-state", NULL, 400 },
		{ "GET", "*", NULL, 400 },
		{ "GET", "/s/none", NULL, 410 },
	};
	struct rig *r = *state;
	struct span query;
	char out[8192];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		ask(r, rows[i].method, rows[i].target, rows[i].host, out, sizeof out);
		if (!status_is(out, rows[i].status))
			fail_msg("%s %s: %.40s", rows[i].method, rows[i].target, out);
		assert_false(listener_next(r->l, &query));
	}
}

static void requests_without_one_host_are_refused(void **state)
{
	struct rig *r = *state;
	char out[8192], line[256];
	int fd = dial(r);

	say(fd, "GET /oauth/callback?state=right-state HTTP/1.1\r\n\r\n");
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 421));
	fd = dial(r);
	snprintf(line, sizeof line, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nHost: evil\r\n\r\n", listener_port(r->l));
	say(fd, line);
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 421));
}

static void the_short_address_works_once(void **state)
{
	struct rig *r = *state;
	char out[8192];

	assert_int_equal(listener_shortcut(r->l, "n0nce", "https://as/authorize?x=1&state=s"), 0);
	assert_true(listener_shortcut_open(r->l));
	ask(r, "GET", "/s/n0ncf", NULL, out, sizeof out);
	assert_true(status_is(out, 410));
	ask(r, "GET", "/s/n0nce", NULL, out, sizeof out);
	assert_true(status_is(out, 302));
	assert_non_null(strstr(out, "\r\nLocation: https://as/authorize?x=1&state=s\r\n"));
	assert_false(listener_shortcut_open(r->l));
	ask(r, "GET", "/s/n0nce", NULL, out, sizeof out);
	assert_true(status_is(out, 410));
}

static void garbage_gets_a_short_answer(void **state)
{
	static const char *const rows[] = { "\r\n\r\n", "\n\n", "GET\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2.0\r\n\r\n",
		"\x16\x03\x01\x02\n\n", "GET  HTTP/1.1\r\n\r\n" };
	struct rig *r = *state;
	char out[8192];
	size_t i;
	int fd;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		fd = dial(r);
		say(fd, rows[i]);
		hear(r, fd, out, sizeof out);
		assert_true(status_is(out, 400));
	}
}

static void a_request_without_end_is_bounded(void **state)
{
	struct rig *r = *state;
	char out[8192], big[1025];
	int fd = dial(r), i;

	memset(big, 'a', 1024);
	big[1024] = '\0';
	say(fd, "GET /");
	for (i = 0; i < 9; i++)
		send(fd, big, 1024, MSG_NOSIGNAL);
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 431) || out[0] == '\0');
}

static void byte_by_byte_works_too(void **state)
{
	struct rig *r = *state;
	char out[8192], line[256];
	int fd = dial(r);
	size_t i;

	snprintf(line, sizeof line, "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n\r\n", listener_port(r->l));
	for (i = 0; line[i]; i++) {
		assert_int_equal(send(fd, line + i, 1, MSG_NOSIGNAL), 1);
		turn(r);
	}
	hear(r, fd, out, sizeof out);
	assert_true(status_is(out, 404));
}

static void slow_clients_are_dropped_by_their_deadline(void **state)
{
	struct rig *r = *state;
	char out[64];
	int fd = dial(r);
	int64_t until = loop_now() + 5000;

	say(fd, "GET / HT");
	while (!listener_deadline(r->l)) {
		turn(r);
		assert_true(loop_now() < until);
	}
	listener_on_time(r->l, listener_deadline(r->l));
	assert_int_equal(listener_deadline(r->l), 0);
	hear(r, fd, out, sizeof out);
	assert_string_equal(out, "");
}

static void many_idle_connections_do_not_lock_the_browser_out(void **state)
{
	struct rig *r = *state;
	char out[8192];
	int fds[40], i;

	for (i = 0; i < 40; i++) {
		fds[i] = dial(r);
		turn(r);
	}
	ask(r, "GET", "/", NULL, out, sizeof out);
	assert_true(status_is(out, 404));
	for (i = 0; i < 40; i++)
		close(fds[i]);
}

static void a_port_in_use_is_a_clear_error(void **state)
{
	struct rig *r = *state;
	struct listener_config c = { .host = "127.0.0.1", .path = "/", .state = "s", .tag = 500, .port = listener_port(r->l) };
	struct err e = { "" };

	assert_null(listener_open(&c, r->loop, &e));
	assert_non_null(strstr(e.text, "can not be used"));
}

/* ---- helpers ------------------------------------------------------------------------------- */

static int run_helper(struct rig *r, const char *line, bool shell, char *out, size_t size, struct err *e)
{
	struct helper *h = helper_start(line, shell, loop_now() + 10000, r->loop, 900, e);
	struct loop_event ev[8];
	struct span text = SPAN_NONE;
	int rc, i, n;

	if (!h)
		return -1;
	while ((rc = helper_result(h, &text, e)) == 0) {
		n = loop_wait(r->loop, helper_deadline(h), ev, 8);
		for (i = 0; i < n; i++)
			helper_on_event(h, &ev[i]);
		helper_on_time(h, loop_now());
	}
	snprintf(out, size, "%.*s", rc > 0 ? (int)text.n : 0, rc > 0 ? text.p : "");
	helper_free(h);
	return rc;
}

static void a_helper_is_run_without_a_shell_unless_asked_for(void **state)
{
	static const struct { const char *line; bool shell; const char *want; } rows[] = {
		{ "echo token", false, "token" },
		{ "printf '%s' 'a b'", false, "a b" },
		{ "echo \"x\\\"y\" $HOME ; true", false, "x\"y $HOME ; true" },
		{ "  printf  tok\\ en  ", false, "tok en" },
		{ "echo a | tr a b", true, "b" },
		{ "true", false, "" },
	};
	struct err e = { "" };
	char out[256];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(run_helper(*state, rows[i].line, rows[i].shell, out, sizeof out, &e), 1);
		assert_string_equal(out, rows[i].want);
	}
}

static void helpers_that_fail_say_so(void **state)
{
	static const char *const rows[] = { "false", "/nonexistent/helper", "'no end", "", "sh -c 'exit 3'", "sh -c 'kill -9 $$'", "yes" };
	struct err e;
	char out[256];
	size_t i;

	for (i = 0; i < sizeof rows / sizeof *rows; i++) {
		e.text[0] = '\0';
		assert_int_equal(run_helper(*state, rows[i], false, out, sizeof out, &e), -1);
		assert_true(e.text[0] != '\0');
	}
}

static void a_helper_that_hangs_is_ended(void **state)
{
	struct rig *r = *state;
	struct err e = { "" };
	struct span out;
	struct helper *h = helper_start("sleep 1000", false, 5000, r->loop, 900, &e);

	assert_non_null(h);
	assert_int_equal(helper_result(h, &out, &e), 0);
	helper_on_time(h, 5000);
	assert_int_equal(helper_result(h, &out, &e), -1);
	assert_non_null(strstr(e.text, "too long"));
	helper_free(h);
}

static void only_web_addresses_are_opened(void **state)
{
	static const char *const rows[] = { "file:///etc/passwd", "javascript:alert(1)", "http://example.com/", "--version", "", "https://", "data:x" };
	struct err e;
	size_t i;

	(void)state;
	for (i = 0; i < sizeof rows / sizeof *rows; i++)
		assert_int_equal(browser_open(rows[i], &e), -1);
	assert_int_equal(setenv("BROWSER", "/nonexistent/one:true --new %s", 1), 0);
	assert_int_equal(browser_open("https://example.com/?a=b;c", &e), 0);
	assert_int_equal(browser_open("http://127.0.0.1:1/s/x", &e), 0);
	while (browser_children() > 0)
		browser_reap();
}

static int start_sodium(void **state)
{
	(void)state;
	return sodium_init() < 0 ? -1 : 0;
}

#define RIGGED(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RIGGED(one_valid_callback_is_taken_and_told_the_end),
		RIGGED(a_failed_sign_in_is_told_without_markup),
		RIGGED(everything_else_is_refused_and_harms_nothing),
		RIGGED(requests_without_one_host_are_refused),
		RIGGED(the_short_address_works_once),
		RIGGED(garbage_gets_a_short_answer),
		RIGGED(a_request_without_end_is_bounded),
		RIGGED(byte_by_byte_works_too),
		RIGGED(slow_clients_are_dropped_by_their_deadline),
		RIGGED(many_idle_connections_do_not_lock_the_browser_out),
		RIGGED(a_port_in_use_is_a_clear_error),
		RIGGED(a_helper_is_run_without_a_shell_unless_asked_for),
		RIGGED(helpers_that_fail_say_so),
		RIGGED(a_helper_that_hangs_is_ended),
		RIGGED(only_web_addresses_are_opened),
	};

	return cmocka_run_group_tests(tests, start_sodium, NULL);
}
