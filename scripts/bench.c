/* What a bridge costs, measured beside others and beside a libcurl client that
 * needs none: scripts/bench builds and runs it.
 *
 *     bench SECONDS REPEATS JSON-FILE|- NAME COMMAND [NAME COMMAND]...
 *
 * {url} in a command is replaced; it is split at blanks and run without a
 * shell. CPU and memory are those of its one process. Every repetition runs
 * all subjects in turn, so that a noisy machine is noisy for all; what is shown
 * is the median, and in brackets its ratio to the first column. Client, server
 * and subject share the machine: times say nothing beyond it, ratios do. */
#include "bench_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#define SUBJECTS 8
#define REPEATS 9
#define IDS 65536
#define GIVE_UP_S 10.0
#define SEQUENTIAL 2000
#define TOGETHER 20
#define HELD 1000
#define HELD_CALLS 400
#define FLOOD 100000
#define SCRIPT_CALLS 10000

enum row {
	START_MS, EXIT_MS, IDLE_MIB, PRIVATE_MIB, SHARE_MIB, P50_US, P50_SSE_US, RATE_16, RATE_256, CPU_256_US,
	P50_HELD_US, HELD_KIB, LINES_S, CPU_LINE_US, ECHO_1_MB_S, ECHO_64_MB_S, PEAK_MIB, INSTRUCTIONS, WRONG, ROWS,
};

static const char *const row_name[ROWS] = {
	[START_MS] = "start to first answer, ms", [EXIT_MS] = "exit after end of stdin, ms",
	[IDLE_MIB] = "idle, resident MiB", [PRIVATE_MIB] = "idle, private MiB",
	[SHARE_MIB] = "idle, each of twenty, proportional MiB",
	[P50_US] = "one call after another, p50 us", [P50_SSE_US] = "the same, answered as a stream, p50 us",
	[RATE_16] = "16 calls in flight, calls/s", [RATE_256] = "256 calls in flight, calls/s",
	[CPU_256_US] = "256 calls in flight, CPU us a call",
	[P50_HELD_US] = "one after another, 1000 held, p50 us", [HELD_KIB] = "memory of a held call, KiB",
	[LINES_S] = "standing stream, 300-byte lines/s", [CPU_LINE_US] = "standing stream, CPU us a line",
	[ECHO_1_MB_S] = "1 MB echo, MB/s", [ECHO_64_MB_S] = "64 MB echo, MB/s", [PEAK_MIB] = "peak of all this, resident MiB",
	[INSTRUCTIONS] = "instructions of 10000 calls, millions", [WRONG] = "wrong, lost or repeated answers",
};

/* A subject that runs: a process on two pipes, or (pid 0) ourselves on libcurl. */
struct subject {
	pid_t pid;
	int in, out;
	struct text to, from;
	size_t sent;
	CURLM *multi;
	struct direct *idle;
	struct curl_slist *headers;
	int epoll;
	double timer;
	char url[64];
};

struct direct { CURL *easy; struct subject *s; struct direct *next; struct text body, answer; bool stream; };

static unsigned char due[IDS];
static long answered, notes, wrong, next_id;

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- what comes back ------------------------------------------------------------------ */

static void message(const char *p, size_t n)
{
	const char *id = memmem(p, n < 64 ? n : 64, "\"id\":", 5);

	if (!id) {
		notes += memmem(p, n, "notifications/message", 21) != NULL;
		return;
	}
	long k = atol(id + 5);
	if (k < 0 || !due[k % IDS])
		wrong++;
	else
		answered++;
	due[k % IDS] = 0;
}

/* ---- direct --------------------------------------------------------------------------- */

/* Whole events in what has come of a stream. */
static void events(struct text *t)
{
	size_t done = 0;
	char *end;

	while (done < t->len && (end = memmem(t->p + done, t->len - done, "\n\n", 2))) {
		message(t->p + done + 6, (size_t)(end - t->p) - done - 6);
		done = (size_t)(end - t->p) + 2;
	}
	text_take(t, done);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
	struct direct *d = arg;

	text_add(&d->answer, p, size * n);
	if (d->stream)
		events(&d->answer);
	return size * n;
}

static int on_watch(CURL *easy, curl_socket_t fd, int what, void *arg, void *known)
{
	struct subject *s = arg;
	struct epoll_event e = { .events = (what & CURL_POLL_IN ? EPOLLIN : 0u) | (what & CURL_POLL_OUT ? EPOLLOUT : 0u), .data.fd = fd };

	(void)easy;
	(void)known;
	if (what == CURL_POLL_REMOVE)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, fd, &e);
	else if (epoll_ctl(s->epoll, EPOLL_CTL_MOD, fd, &e) != 0)
		epoll_ctl(s->epoll, EPOLL_CTL_ADD, fd, &e);
	return 0;
}

static int on_timer(CURLM *m, long ms, void *arg)
{
	(void)m;
	((struct subject *)arg)->timer = ms < 0 ? 0 : now() + (double)ms / 1e3;
	return 0;
}

static struct direct *direct_get(struct subject *s)
{
	struct direct *d = s->idle;

	if (d) {
		s->idle = d->next;
		return d;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		abort();
	d->s = s;
	d->easy = curl_easy_init();
	curl_easy_setopt(d->easy, CURLOPT_URL, s->url);
	curl_easy_setopt(d->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(d->easy, CURLOPT_PRIVATE, d);
	curl_easy_setopt(d->easy, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(d->easy, CURLOPT_WRITEDATA, d);
	curl_easy_setopt(d->easy, CURLOPT_HTTPHEADER, s->headers);
	return d;
}

static void direct_send(struct subject *s, const char *p, size_t n)
{
	struct direct *d = direct_get(s);

	d->stream = n == 0;
	if (n) {
		text_add(&d->body, p, n);
		curl_easy_setopt(d->easy, CURLOPT_POSTFIELDS, d->body.p);
		curl_easy_setopt(d->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
	}
	curl_multi_add_handle(s->multi, d->easy);
}

static void direct_finished(struct subject *s)
{
	CURLMsg *m;
	int left;

	while ((m = curl_multi_info_read(s->multi, &left))) {
		struct direct *d;
		curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&d);
		wrong += m->data.result != CURLE_OK && !d->stream;
		curl_multi_remove_handle(s->multi, d->easy);
		if (d->answer.len > 6 && !strncmp(d->answer.p, "data: ", 6))
			events(&d->answer);
		else if (d->answer.len)
			message(d->answer.p, d->answer.len);
		text_free(&d->answer);
		text_free(&d->body);
		d->next = s->idle;
		s->idle = d;
	}
}

static void direct_pump(struct subject *s, double wait)
{
	struct epoll_event e[64];
	int running, n;

	if (s->timer > 0 && s->timer - now() < wait)
		wait = s->timer - now();
	n = epoll_wait(s->epoll, e, 64, wait > 0 ? (int)(wait * 1e3) + 1 : 0);
	for (int i = 0; i < n; i++)
		curl_multi_socket_action(s->multi, e[i].data.fd, (e[i].events & ~(uint32_t)EPOLLOUT ? CURL_CSELECT_IN : 0) |
			(e[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0), &running);
	if (s->timer > 0 && now() >= s->timer) {
		s->timer = 0;
		curl_multi_socket_action(s->multi, CURL_SOCKET_TIMEOUT, 0, &running);
	}
	direct_finished(s);
}

/* ---- a process -------------------------------------------------------------------------- */

static void flush(struct subject *s)
{
	while (s->sent < s->to.len) {
		ssize_t n = write(s->in, s->to.p + s->sent, s->to.len - s->sent);
		if (n < 0)
			return;
		s->sent += (size_t)n;
	}
	text_free(&s->to);
	s->sent = 0;
}

static void process_pump(struct subject *s, double wait)
{
	struct pollfd p[2] = { { .fd = s->out, .events = POLLIN }, { .fd = s->in, .events = POLLOUT } };
	static char piece[256 * 1024];
	size_t seen = s->from.len, done = 0;
	char *end;
	ssize_t n;

	flush(s);
	if (poll(p, s->to.len ? 2 : 1, (int)(wait * 1e3) + 1) <= 0 || !p[0].revents)
		return;
	n = read(s->out, piece, sizeof(piece));
	if (n <= 0)
		return;
	text_add(&s->from, piece, (size_t)n);
	while (seen < s->from.len && (end = memchr(s->from.p + seen, '\n', s->from.len - seen))) {
		message(s->from.p + done, (size_t)(end - s->from.p) - done);
		done = seen = (size_t)(end - s->from.p) + 1;
	}
	text_take(&s->from, done);
	if (!s->from.len && s->from.cap > ((size_t)1 << 20))
		text_free(&s->from);
}

static pid_t run(char *const argv[], int *in, int *out, int err)
{
	int up[2], down[2];
	pid_t pid;

	if (pipe2(up, O_CLOEXEC) || pipe2(down, O_CLOEXEC))
		abort();
	pid = fork();
	if (pid == 0) {
		dup2(up[0], 0);
		dup2(down[1], 1);
		dup2(err, 2);
		execvp(argv[0], argv);
		_exit(127);
	}
	close(up[0]);
	close(down[1]);
	fcntl(up[1], F_SETFL, O_NONBLOCK);
	*in = up[1];
	*out = down[0];
	return pid;
}

static pid_t run_command(const char *command, const char *url, int *in, int *out, int err)
{
	char *copy = strdup(command), *argv[64], *save = NULL;
	int n = 0;
	pid_t pid;

	for (char *w = strtok_r(copy, " ", &save); w && n < 63; w = strtok_r(NULL, " ", &save))
		argv[n++] = strcmp(w, "{url}") ? w : (char *)url;
	argv[n] = NULL;
	pid = run(argv, in, out, err);
	free(copy);
	return pid;
}

/* ---- both --------------------------------------------------------------------------------- */

static void submit(struct subject *s, const char *p, size_t n)
{
	if (!s->pid) {
		direct_send(s, p, n);
		return;
	}
	text_add(&s->to, p, n);
	text_add(&s->to, "\n", 1);
}

static void pump(struct subject *s, double wait)
{
	if (s->pid)
		process_pump(s, wait);
	else
		direct_pump(s, wait);
}

/* Until *count reaches what: false when that takes too long. */
static bool until(struct subject *s, const long *count, long what)
{
	double limit = now() + GIVE_UP_S;

	while (*count < what && now() < limit)
		pump(s, limit - now() < 1 ? limit - now() : 1);
	return *count >= what;
}

static void settle(struct subject *s, double seconds)
{
	for (double end = now() + seconds; now() < end;)
		pump(s, end - now());
}

static void call(struct subject *s, const char *tool, const char *arguments)
{
	char *line;
	int n;

	due[next_id % IDS] = 1;
	n = asprintf(&line, "{\"jsonrpc\":\"2.0\",\"id\":%ld,\"method\":\"tools/call\",\"params\":{\"name\":\"%s\",\"arguments\":{%s}}}",
		next_id, tool, arguments);
	if (n < 0)
		abort();
	next_id++;
	submit(s, line, (size_t)n);
	free(line);
}

static bool subject_start(struct subject *s, const char *command, int port, const char *path, int err)
{
	static const char hello[] = "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\",\"params\":{\"protocolVersion\":\"2025-06-18\","
		"\"capabilities\":{},\"clientInfo\":{\"name\":\"bench\",\"version\":\"1\"}}}";
	static const char ready[] = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";

	*s = (struct subject){ .in = -1, .out = -1, .epoll = -1 };
	memset(due, 0, sizeof(due));
	answered = notes = 0;
	next_id = 1;
	due[0] = 1;
	snprintf(s->url, sizeof(s->url), "http://127.0.0.1:%d/%s", port, path);
	if (command) {
		s->pid = run_command(command, s->url, &s->in, &s->out, err);
	} else {
		s->epoll = epoll_create1(EPOLL_CLOEXEC);
		s->multi = curl_multi_init();
		curl_multi_setopt(s->multi, CURLMOPT_SOCKETFUNCTION, on_watch);
		curl_multi_setopt(s->multi, CURLMOPT_SOCKETDATA, s);
		curl_multi_setopt(s->multi, CURLMOPT_TIMERFUNCTION, on_timer);
		curl_multi_setopt(s->multi, CURLMOPT_TIMERDATA, s);
		curl_multi_setopt(s->multi, CURLMOPT_MAXCONNECTS, 2048L);
		s->headers = curl_slist_append(s->headers, "Content-Type: application/json");
		s->headers = curl_slist_append(s->headers, "Accept: application/json, text/event-stream");
		s->headers = curl_slist_append(s->headers, "Mcp-Session-Id: bench");
		s->headers = curl_slist_append(s->headers, "MCP-Protocol-Version: 2025-06-18");
		s->headers = curl_slist_append(s->headers, "Expect:");
	}
	submit(s, hello, sizeof(hello) - 1);
	if (!until(s, &answered, 1))
		return false;
	submit(s, ready, sizeof(ready) - 1);
	if (!s->pid)
		direct_send(s, NULL, 0);
	return true;
}

/* Milliseconds until it has gone. */
static double subject_stop(struct subject *s)
{
	double start = now();

	if (s->pid) {
		int status;
		close(s->in);
		while (waitpid(s->pid, &status, WNOHANG) == 0) {
			if (now() - start > 5)
				kill(s->pid, SIGKILL);
			usleep(200);
		}
		start = now() - start;
		close(s->out);
		text_free(&s->to);
		text_free(&s->from);
		return start * 1e3;
	}
	while (s->idle) {
		struct direct *d = s->idle;
		s->idle = d->next;
		curl_easy_cleanup(d->easy);
		free(d);
	}
	curl_multi_cleanup(s->multi);
	curl_slist_free_all(s->headers);
	close(s->epoll);
	return -1;
}

static double cpu(const struct subject *s)
{
	struct timespec t;
	clockid_t id = CLOCK_PROCESS_CPUTIME_ID;

	if (s->pid)
		clock_getcpuclockid(s->pid, &id);
	clock_gettime(id, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* KiB that /proc says behind a name; a sum when several begin with it. */
static double proc_kib(const struct subject *s, const char *file, const char *name)
{
	char path[64], line[256];
	double sum = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/%s", (int)s->pid, file);
	f = s->pid ? fopen(path, "r") : NULL;
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)) && strchr(line, ':'))
			sum += atof(strchr(line, ':') + 1);
	fclose(f);
	return sum > 0 ? sum : -1;
}

/* ---- measurements --------------------------------------------------------------------------- */

static int ascending(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

static double median(double *v, int n)
{
	if (!n)
		return -1;
	qsort(v, (size_t)n, sizeof(*v), ascending);
	return n % 2 ? v[n / 2] : (v[n / 2 - 1] + v[n / 2]) / 2;
}

/* The arguments of a call of usual size. */
static const char *small(void)
{
	static char text[210] = "\"text\":\"";

	if (!text[8]) {
		memset(text + 8, 'x', 200);
		text[208] = '"';
	}
	return text;
}

static double p50(struct subject *s, int calls)
{
	double *took = calloc((size_t)calls, sizeof(*took)), m;
	int n = 0;

	for (; n < calls; n++) {
		double start = now();
		call(s, "echo", small());
		if (!until(s, &answered, answered + 1))
			break;
		took[n] = (now() - start) * 1e6;
	}
	m = n == calls ? median(took, n) : -1;
	free(took);
	return m;
}

static double rate(struct subject *s, int in_flight, double seconds, double *cpu_us)
{
	long first = answered, sent = 0;
	double start = now(), used = cpu(s), took;

	while (now() - start < seconds) {
		for (; sent - (answered - first) < in_flight; sent++)
			call(s, "echo", small());
		pump(s, 1);
	}
	if (!until(s, &answered, first + sent))
		return -1;
	took = now() - start;
	*cpu_us = (cpu(s) - used) / (double)sent * 1e6;
	return (double)sent / took;
}

static void held(struct subject *s, double *v)
{
	double before = proc_kib(s, "smaps_rollup", "Rss"), after;
	long want = answered + HELD + 1;

	for (int i = 0; i < HELD; i++)
		call(s, "hold", "");
	settle(s, 0.5);
	after = proc_kib(s, "smaps_rollup", "Rss");
	v[HELD_KIB] = before < 0 ? -1 : (after - before) / HELD;
	v[P50_HELD_US] = p50(s, HELD_CALLS);
	want += HELD_CALLS;
	call(s, "release", "");
	until(s, &answered, want);
}

static void streamed(struct subject *s, double *v)
{
	char count[32];
	double start = now(), used = cpu(s);
	long want = answered + 1;

	snprintf(count, sizeof(count), "\"count\":%d", FLOOD);
	call(s, "flood", count);
	if (!until(s, &notes, FLOOD))
		return;
	v[LINES_S] = FLOOD / (now() - start);
	v[CPU_LINE_US] = (cpu(s) - used) / FLOOD * 1e6;
	until(s, &answered, want);
}

static double echo(struct subject *s, size_t megabytes, int times)
{
	size_t n = megabytes * 1000000;
	char *text = malloc(n + 16);
	double best = -1;

	memcpy(text, "\"text\":\"", 8);
	memset(text + 8, 'x', n);
	memcpy(text + 8 + n, "\"", 2);
	for (int i = 0; i < times; i++) {
		double start = now(), speed;
		call(s, "echo", text);
		if (!until(s, &answered, answered + 1))
			break;
		speed = (double)n / (now() - start) / 1e6;
		best = speed > best ? speed : best;
	}
	free(text);
	return best;
}

/* The shortest libcurl program: one POST. */
static int once(const char *url)
{
	CURL *e = curl_easy_init();
	struct curl_slist *h = curl_slist_append(NULL, "Content-Type: application/json");

	curl_easy_setopt(e, CURLOPT_URL, url);
	curl_easy_setopt(e, CURLOPT_HTTPHEADER, h);
	curl_easy_setopt(e, CURLOPT_POSTFIELDS, "{\"jsonrpc\":\"2.0\",\"id\":0,\"method\":\"initialize\"}");
	return curl_easy_perform(e) != CURLE_OK;
}

/* Best of a few, since only the start of a process is as noisy as this. */
static double start_ms(const char *self, const char *command, int port, int null)
{
	double best = -1;

	for (int i = 0; i < 3; i++) {
		double start = now(), took;
		if (command) {
			struct subject s;
			if (!subject_start(&s, command, port, "json", null))
				return -1;
			took = now() - start;
			subject_stop(&s);
		} else {
			char url[64], byte, *argv[] = { (char *)self, (char *)"once", url, NULL };
			int in, out;
			snprintf(url, sizeof(url), "http://127.0.0.1:%d/json", port);
			pid_t pid = run(argv, &in, &out, null);
			while (read(out, &byte, 1) > 0)
				;
			took = now() - start;
			waitpid(pid, NULL, 0);
			close(in);
			close(out);
		}
		best = best < 0 || took * 1e3 < best ? took * 1e3 : best;
	}
	return best;
}

/* Some of them beside each other, as people run them: what one adds to the
 * machine. Shared pages are divided among those who share them. */
static double share_mib(const char *command, int port, int null)
{
	struct subject s[TOGETHER];
	double kib = 0;
	int n = 0;

	while (n < TOGETHER && subject_start(&s[n], command, port, "json", null))
		n++;
	if (n == TOGETHER)
		usleep(300000);
	for (int i = 0; i < n; i++)
		kib += proc_kib(&s[i], "smaps_rollup", "Pss:");
	for (int i = 0; i < n + (n < TOGETHER); i++) {
		kill(s[i].pid, SIGKILL); /* some take long to go */
		subject_stop(&s[i]);
	}
	return n == TOGETHER ? kib / TOGETHER / 1024 : -1;
}

static void measure(const char *self, const char *command, int port, int null, double seconds, double *v)
{
	struct subject s;
	double unused;

	for (int r = 0; r < ROWS; r++)
		v[r] = -1;
	wrong = 0;
	v[START_MS] = start_ms(self, command, port, null);
	if (command)
		v[SHARE_MIB] = share_mib(command, port, null);
	if (!subject_start(&s, command, port, "json", null)) {
		subject_stop(&s);
		return;
	}
	settle(&s, 0.3);
	if (command) {
		v[IDLE_MIB] = proc_kib(&s, "smaps_rollup", "Rss") / 1024;
		v[PRIVATE_MIB] = proc_kib(&s, "smaps_rollup", "Private_") / 1024;
	}
	v[P50_US] = p50(&s, SEQUENTIAL);
	v[RATE_16] = rate(&s, 16, seconds, &unused);
	v[RATE_256] = rate(&s, 256, seconds, &v[CPU_256_US]);
	held(&s, v);
	streamed(&s, v);
	v[ECHO_1_MB_S] = echo(&s, 1, 8);
	v[ECHO_64_MB_S] = echo(&s, 64, 2);
	if (command)
		v[PEAK_MIB] = proc_kib(&s, "status", "VmHWM") / 1024;
	v[EXIT_MS] = subject_stop(&s);
	if (subject_start(&s, command, port, "sse", null))
		v[P50_SSE_US] = p50(&s, SEQUENTIAL);
	subject_stop(&s);
	v[WRONG] = (double)wrong;
}

/* The noise-free figure, where valgrind is there to count. */
static double instructions(const char *command, int port)
{
	char counted[1024], file[] = "/tmp/bench.XXXXXX", line[256];
	double millions = -1;
	struct subject s;
	int err = mkostemp(file, O_CLOEXEC);
	FILE *f;

	snprintf(counted, sizeof(counted), "valgrind --tool=callgrind --callgrind-out-file=/dev/null %s", command);
	if (err < 0)
		return -1;
	if (subject_start(&s, counted, port, "json", err))
		for (int i = 0; i < SCRIPT_CALLS; i++) {
			call(&s, "echo", small());
			if (!until(&s, &answered, answered + 1))
				break;
		}
	close(s.in);
	waitpid(s.pid, NULL, 0);
	close(s.out);
	f = fopen(file, "r");
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, "Collected : "))
			millions = atof(strstr(line, "Collected : ") + 12) / 1e6;
	if (f)
		fclose(f);
	close(err);
	unlink(file);
	return millions;
}

/* ---- telling ----------------------------------------------------------------------------------- */

static void cell(char *out, size_t size, double v, double first, bool is_first)
{
	const char *format = v >= 1000 ? "%.0f" : v >= 10 ? "%.1f" : "%.2f";
	int n;

	if (v < 0) {
		snprintf(out, size, "-");
		return;
	}
	n = snprintf(out, size, format, v);
	if (!is_first && first > 0 && n > 0)
		snprintf(out + n, size - (size_t)n, v / first >= 10 ? " (%.0fx)" : " (%.2fx)", v / first);
}

static void tell(FILE *f, char **names, int n, double v[ROWS][SUBJECTS])
{
	char text[64];

	fprintf(f, "%-42s", "");
	for (int i = 0; i < n; i++)
		fprintf(f, "%18s", names[i]);
	fprintf(f, "\n");
	for (int r = 0; r < ROWS; r++) {
		fprintf(f, "%-42s", row_name[r]);
		for (int i = 0; i < n; i++) {
			cell(text, sizeof(text), v[r][i], v[r][0], i == 0);
			fprintf(f, "%18s", text);
		}
		fprintf(f, "\n");
	}
}

static void tell_json(FILE *f, char **names, int n, double v[ROWS][SUBJECTS])
{
	fprintf(f, "{");
	for (int r = 0; r < ROWS; r++) {
		fprintf(f, "%s\n  \"%s\": {", r ? "," : "", row_name[r]);
		for (int i = 0; i < n; i++) {
			fprintf(f, "%s\"%s\": ", i ? ", " : " ", names[i]);
			fprintf(f, v[r][i] < 0 ? "null" : "%.3f", v[r][i]);
		}
		fprintf(f, " }");
	}
	fprintf(f, "\n}\n");
}

int main(int argc, char **argv)
{
	static double one[ROWS][SUBJECTS][REPEATS], v[ROWS][SUBJECTS], got[ROWS];
	char *names[SUBJECTS] = { (char *)"direct" };
	const char *commands[SUBJECTS] = { NULL };
	int n = 1, repeats, port, listener, null = open("/dev/null", O_RDWR | O_CLOEXEC);
	double seconds;
	pid_t server;

	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "once"))
		return once(argv[2]);
	if (argc < 6 || argc % 2 || (argc - 4) / 2 >= SUBJECTS) {
		fprintf(stderr, "usage: bench SECONDS REPEATS JSON-FILE|- NAME COMMAND [NAME COMMAND]...\n");
		return 2;
	}
	seconds = atof(argv[1]);
	repeats = atoi(argv[2]) < 1 ? 1 : atoi(argv[2]) > REPEATS ? REPEATS : atoi(argv[2]);
	for (int i = 4; i < argc; i += 2, n++) {
		names[n] = argv[i];
		commands[n] = argv[i + 1];
	}
	listener = bench_listen(&port);
	if (listener < 0) {
		perror("bench: no server");
		return 1;
	}
	server = fork();
	if (server == 0)
		bench_serve(listener);
	close(listener);
	for (int k = 0; k < repeats; k++)
		for (int i = 0; i < n; i++) {
			fprintf(stderr, "bench: %d of %d, %s\n", k + 1, repeats, names[i]);
			measure(argv[0], commands[i], port, null, seconds, got);
			for (int r = 0; r < ROWS; r++)
				one[r][i][k] = got[r];
		}
	for (int r = 0; r < ROWS; r++)
		for (int i = 0; i < n; i++)
			v[r][i] = median(one[r][i], repeats);
	if (access("/usr/bin/valgrind", X_OK) == 0)
		v[INSTRUCTIONS][1] = instructions(commands[1], port);
	kill(server, SIGTERM);
	waitpid(server, NULL, 0);
	tell(stdout, names, n, v);
	if (strcmp(argv[3], "-")) {
		FILE *f = fopen(argv[3], "w");
		if (!f || (tell_json(f, names, n, v), fclose(f)) != 0) {
			perror(argv[3]);
			return 1;
		}
	}
	for (int i = 0; i < n; i++)
		if (v[WRONG][i] > 0)
			return 1;
	return 0;
}
