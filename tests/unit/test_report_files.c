/* Status files and log rings: what is written is read, and what was never
 * written so (cut, huge, a link, somebody's lie) does no harm. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "report/board.h"
#include "report/ring.h"
#include "report/rundir.h"

static char base[] = "/tmp/holdfast-report-XXXXXX";

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(base))
		return -1;
	setenv("XDG_RUNTIME_DIR", base, 1);
	setenv("TMPDIR", base, 1);
	return 0;
}

static int tear_down(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static int open_dir(void)
{
	struct err e;
	int dir = rundir_open_any(&e);

	assert_true(dir >= 0);
	return dir;
}

static void put(int dir, const char *name, const char *text, size_t n)
{
	int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

static struct board_facts example(void)
{
	struct board_facts f = {
		.pid = getpid(), .seq = 7, .program = "1.0.0", .name = "a \"name\"\n", .origin = "https://mcp.example.com",
		.transport = "streamable-http", .protocol = "2025-06-18", .state = "wait", .breaker = "open", .why = "HTTP 502",
		.started_at = 5, .state_at = 6, .next_at = -1, .drop_at = 9, .drop_ms = -1, .requests = INT64_MAX, .p50_ms = -1,
		.auth_breaker = "open", .auth_server = "authorization server", .auth_origin = "https://auth.example.com", .auth_next_at = 8,
		.auth_breaker_changes = 3,
	};
	return f;
}

static void what_is_shown_is_read_back(void **state)
{
	struct board_facts f = example(), got;
	struct board b;
	struct err e;
	int dir = open_dir();
	char file[32];

	(void)state;
	assert_int_equal(board_open(&b, dir, &e), 0);
	assert_int_equal(board_write(&b, &f), 0);
	memset(f.why, 0, sizeof(f.why)); /* a shorter text over a longer one */
	f.seq = 8;
	assert_int_equal(board_write(&b, &f), 0);
	snprintf(file, sizeof(file), "%ld.status", (long)getpid());
	assert_int_equal(board_read(dir, file, &got), 1);
	assert_memory_equal(&got, &f, sizeof(f));
	assert_true(board_is_down(&got));
	board_close(&b);
	assert_int_equal(board_read(dir, file, &got), 0);
	close(dir);
}

static void a_status_not_yet_written_is_passed_over_but_not_for_ever(void **state)
{
	static const struct timespec long_ago[2];
	struct board_facts got;
	struct board b;
	struct err e;
	int dir = open_dir();

	(void)state;
	assert_int_equal(board_open(&b, dir, &e), 0);
	assert_int_equal(board_read(dir, b.file, &got), 0);
	assert_int_equal(utimensat(dir, b.file, long_ago, 0), 0);
	assert_int_equal(board_read(dir, b.file, &got), -1);
	board_close(&b);
	close(dir);
}

static void no_part_of_a_status_is_taken_for_the_whole(void **state)
{
	struct board_facts f = example(), got;
	struct buf text;

	(void)state;
	buf_init(&text, BOARD_MAX);
	assert_int_equal(board_format(&text, &f), 0);
	assert_int_equal(board_parse(buf_span(&text), &got), 0);
	for (size_t n = 0; n + 1 < text.len; n++)
		assert_int_equal(board_parse(span_make(buf_data(&text), n), &got), -1);
	buf_fini(&text);
}

static void a_status_that_is_none_is_refused(void **state)
{
	static const char *const texts[] = {
		"", "null", "[]", "{}", "{\"seq\":1}", "\xff\xfe", "{\"seq\":1e400}", "{\"seq\":\"1\"}",
	};
	static char huge[BOARD_MAX + 2];
	struct board_facts got;

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		assert_int_equal(board_parse(span_str(texts[i]), &got), -1);
	memset(huge, ' ', sizeof(huge));
	assert_int_equal(board_parse(span_make(huge, sizeof(huge)), &got), -1);
}

static void a_number_below_minus_one_or_a_torn_text_is_refused(void **state)
{
	struct board_facts f = example(), got;
	struct buf text;
	char *at;

	(void)state;
	buf_init(&text, BOARD_MAX);
	f.held = -2;
	board_format(&text, &f);
	assert_int_equal(board_parse(buf_span(&text), &got), -1);
	buf_reset(&text);
	f.held = 0;
	board_format(&text, &f);
	buf_append(&text, "", 1);
	at = strstr(buf_data(&text), "\"seq\":7");
	assert_non_null(at);
	at[6] = '8'; /* the beginning of the next one */
	assert_int_equal(board_parse(span_make(buf_data(&text), text.len - 1), &got), -1);
	buf_fini(&text);
}

/* Takes the member `key` away. */
static void take_out(struct buf *text, const char *key)
{
	char name[64], *at, *end;

	buf_append(text, "", 1);
	snprintf(name, sizeof(name), ",\"%s\":", key);
	at = strstr(buf_data(text), name);
	assert_non_null(at);
	end = at + strlen(name) + strcspn(at + strlen(name), ",}");
	memmove(at, end, strlen(end) + 1);
	text->len = strlen(buf_data(text));
}

static void a_status_of_an_older_or_newer_bridge_is_read(void **state)
{
	static const char *const later[] = { "auth_breaker", "auth_server", "auth_origin", "auth_next_at", "auth_breaker_changes" };
	static const char *const old[] = { "breaker", "peak_kib", "held", "state" };
	struct board_facts f = example(), got;
	struct buf text;

	(void)state;
	buf_init(&text, BOARD_MAX);
	board_format(&text, &f);
	for (size_t i = 0; i < sizeof(later) / sizeof(*later); i++) {
		take_out(&text, later[i]);
		assert_int_equal(board_parse(buf_span(&text), &got), 0);
	}
	assert_string_equal(got.auth_breaker, "");
	assert_string_equal(got.auth_origin, "");
	assert_int_equal(got.auth_next_at, -1);
	assert_int_equal(got.auth_breaker_changes, -1);
	assert_string_equal(got.breaker, "open");
	text.len -= 2; /* }\n */
	buf_puts(&text, ",\"of_tomorrow\":{\"a\":[1]}}\n");
	assert_int_equal(board_parse(buf_span(&text), &got), 0);
	for (size_t i = 0; i < sizeof(old) / sizeof(*old); i++) {
		buf_reset(&text);
		board_format(&text, &f);
		take_out(&text, old[i]);
		assert_int_equal(board_parse(buf_span(&text), &got), -1);
	}
	buf_fini(&text);
}

static void links_and_fifos_are_not_opened(void **state)
{
	struct board_facts got;
	int dir = open_dir();

	(void)state;
	assert_int_equal(symlinkat("/etc/passwd", dir, "101.status"), 0);
	assert_int_equal(mkfifoat(dir, "102.status", 0600), 0);
	assert_int_equal(mkdirat(dir, "103.status", 0700), 0);
	assert_int_equal(board_read(dir, "101.status", &got), -1);
	assert_int_equal(board_read(dir, "102.status", &got), -1);
	assert_int_equal(board_read(dir, "103.status", &got), -1);
	rundir_sweep(dir); /* leaves them alone */
	assert_int_equal(faccessat(dir, "102.status", F_OK, 0), 0);
	unlinkat(dir, "101.status", 0);
	unlinkat(dir, "102.status", 0);
	unlinkat(dir, "103.status", AT_REMOVEDIR);
	close(dir);
}

static void a_directory_others_may_enter_is_refused(void **state)
{
	char path[256];
	struct err e;

	(void)state;
	close(open_dir());
	assert_true(rundir_path(0, path, sizeof(path)));
	assert_int_equal(chmod(path, 0755), 0);
	assert_int_equal(rundir_open(0, true, &e), -1);
	assert_non_null(strstr(e.text, "chmod 700"));
	assert_int_equal(chmod(path, 0700), 0);
	assert_int_equal(rename(path, "/tmp/holdfast-report-aside"), 0);
	assert_int_equal(symlink("/tmp/holdfast-report-aside", path), 0);
	assert_int_equal(rundir_open(0, true, &e), -1);
	assert_true(e.text[0]);
	unlink(path);
	assert_int_equal(rename("/tmp/holdfast-report-aside", path), 0);
}

static void what_the_dead_leave_is_swept(void **state)
{
	struct board_facts f = example(), got;
	struct err e;
	struct board b;
	int dir = open_dir(), status;
	char file[32];
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		_exit(board_open(&b, dir, &e) || board_write(&b, &f));
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	snprintf(file, sizeof(file), "%ld.status", (long)child);
	assert_int_equal(board_read(dir, file, &got), 0);
	assert_int_equal(board_open(&b, dir, &e), 0);
	rundir_sweep(dir);
	assert_int_equal(faccessat(dir, file, F_OK, 0), -1);
	assert_int_equal(faccessat(dir, b.file, F_OK, 0), 0);
	board_close(&b);
	close(dir);
}

static void only_the_newest_logs_of_the_dead_are_kept(void **state)
{
	int dir = open_dir(), left = 0;
	char name[32];

	(void)state;
	for (int i = 0; i < RUNDIR_OLD_LOGS + 5; i++) {
		struct timespec t[2] = { { time(NULL) - 100 - i, 0 }, { time(NULL) - 100 - i, 0 } };
		snprintf(name, sizeof(name), "%d.log", 100000 + i);
		put(dir, name, "x", 1);
		assert_int_equal(utimensat(dir, name, t, 0), 0);
	}
	put(dir, "99999.log", "x", 1);
	struct timespec old[2] = { { time(NULL) - 200000, 0 }, { time(NULL) - 200000, 0 } };
	assert_int_equal(utimensat(dir, "99999.log", old, 0), 0);
	rundir_sweep(dir);
	assert_int_equal(faccessat(dir, "99999.log", F_OK, 0), -1);
	for (int i = 0; i < RUNDIR_OLD_LOGS + 5; i++) {
		snprintf(name, sizeof(name), "%d.log", 100000 + i);
		if (faccessat(dir, name, F_OK, 0) == 0) {
			left++;
			assert_true(i < RUNDIR_OLD_LOGS);
			unlinkat(dir, name, 0);
		}
	}
	assert_int_equal(left, RUNDIR_OLD_LOGS);
	close(dir);
}

/* ---- the ring ------------------------------------------------------------------------------------- */

static void expect_lines(struct span text, int first, int last)
{
	const char *p = text.p, *end = text.p + text.n;
	char want[64];

	for (int i = first; i <= last; i++) {
		int n = snprintf(want, sizeof(want), "line %d\n", i);
		assert_true(end - p >= n);
		assert_memory_equal(p, want, (size_t)n);
		p += n;
	}
	assert_ptr_equal(p, end);
}

static void add_line(struct ring *r, int i)
{
	char line[64];
	int n = snprintf(line, sizeof(line), "line %d", i);

	ring_add(r, span_make(line, (size_t)n));
}

static void a_ring_gives_whole_lines_and_goes_on(void **state)
{
	struct ring r;
	struct ring_view v;
	struct err e;
	struct buf out;
	uint64_t at = 0;
	int dir = open_dir(), next = 1, first;

	(void)state;
	ring_init(&r, "me");
	add_line(&r, next++); /* before there is a file */
	assert_int_equal(ring_open(&r, dir, &e), 0);
	add_line(&r, next++);
	buf_init(&out, 2 * RING_DATA);
	assert_int_equal(ring_look(r.fd, &v), 0);
	assert_string_equal(v.name, "me");
	assert_int_equal(ring_read(r.fd, &at, &out), 0);
	expect_lines(buf_span(&out), 1, 2);
	buf_reset(&out);
	assert_int_equal(ring_read(r.fd, &at, &out), 0);
	assert_int_equal(out.len, 0);
	while (r.written < 5 * RING_DATA / 2)
		add_line(&r, next++);
	assert_int_equal(ring_read(r.fd, &at, &out), 0);
	assert_memory_equal(buf_data(&out), "line ", 5);
	first = (int)strtol(buf_data(&out) + 5, NULL, 10);
	assert_true(first > 2);
	expect_lines(buf_span(&out), first, next - 1);
	assert_true(out.len > RING_DATA - 64);
	buf_reset(&out);
	add_line(&r, next);
	assert_int_equal(ring_read(r.fd, &at, &out), 0);
	expect_lines(buf_span(&out), next, next);
	buf_fini(&out);
	unlinkat(dir, "x", 0);
	ring_close(&r);
	close(dir);
}

static void a_damaged_ring_is_an_error_and_no_more(void **state)
{
	struct ring r;
	struct ring_view v;
	struct err e;
	struct buf out;
	uint64_t at = 0, lie = UINT64_MAX;
	int dir = open_dir();

	(void)state;
	ring_init(&r, "me");
	assert_int_equal(ring_open(&r, dir, &e), 0);
	for (int i = 0; i < 100; i++)
		add_line(&r, i);
	buf_init(&out, 2 * RING_DATA);
	assert_int_equal(pwrite(r.fd, &lie, sizeof(lie), 16), sizeof(lie));
	assert_int_equal(ring_read(r.fd, &at, &out), -1); /* the file ends before its head says so */
	assert_int_equal(ftruncate(r.fd, 40), 0);
	assert_int_equal(ring_look(r.fd, &v), -1);
	assert_int_equal(ring_read(r.fd, &at, &out), -1);
	add_line(&r, 100); /* the writer goes on */
	assert_int_equal(ring_look(r.fd, &v), 0);
	buf_fini(&out);
	ring_close(&r);
	close(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_shown_is_read_back),
		cmocka_unit_test(a_status_not_yet_written_is_passed_over_but_not_for_ever),
		cmocka_unit_test(no_part_of_a_status_is_taken_for_the_whole),
		cmocka_unit_test(a_status_that_is_none_is_refused),
		cmocka_unit_test(a_number_below_minus_one_or_a_torn_text_is_refused),
		cmocka_unit_test(a_status_of_an_older_or_newer_bridge_is_read),
		cmocka_unit_test(links_and_fifos_are_not_opened),
		cmocka_unit_test(a_directory_others_may_enter_is_refused),
		cmocka_unit_test(what_the_dead_leave_is_swept),
		cmocka_unit_test(only_the_newest_logs_of_the_dead_are_kept),
		cmocka_unit_test(a_ring_gives_whole_lines_and_goes_on),
		cmocka_unit_test(a_damaged_ring_is_an_error_and_no_more),
	};
	return cmocka_run_group_tests(tests, set_up, tear_down);
}
