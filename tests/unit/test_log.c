/* The log: what a line looks like, that it is one, and that it never waits. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"

static const unsigned char key[32] = "an arbitrary key of thirty-two b";

/* stderr goes into a pipe while a test runs. */
static int real_stderr, stderr_pipe[2];
static char text[1 << 20];

static void set_stderr(int fd)
{
	assert_int_equal(dup2(fd, STDERR_FILENO), STDERR_FILENO);
}

static int setup(void **state)
{
	(void)state;
	real_stderr = dup(STDERR_FILENO);
	if (pipe(stderr_pipe) < 0 || fcntl(stderr_pipe[0], F_SETFL, O_NONBLOCK) < 0)
		return -1;
	set_stderr(stderr_pipe[1]);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	log_set_hook(LOG_SILENT, NULL, NULL);
	log_close();
	set_stderr(real_stderr);
	close(real_stderr);
	if (stderr_pipe[0] >= 0)
		close(stderr_pipe[0]);
	close(stderr_pipe[1]);
	return 0;
}

/* What stderr got since the last time. */
static const char *got(void)
{
	size_t n = 0;
	ssize_t rc;

	while ((rc = read(stderr_pipe[0], text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)rc;
	text[n] = '\0';
	return text;
}

static void open_log(struct log_config c)
{
	struct err e = { "" };

	assert_int_equal(log_open(&c, &e), 0);
	assert_string_equal(e.text, "");
}

static size_t count(const char *s, const char *what)
{
	size_t n = 0;

	for (; (s = strstr(s, what)) != NULL; s++)
		n++;
	return n;
}

static void levels_have_names(void **state)
{
	(void)state;
	for (int l = LOG_SILENT; l <= LOG_TRACE; l++)
		assert_int_equal(log_level_parse(log_level_name((enum log_level)l)), l);
	assert_int_equal(log_level_parse("verbose"), -1);
	assert_int_equal(log_level_parse(""), -1);
	assert_string_equal(log_level_name((enum log_level)77), "?");
}

static void a_text_line_has_stamp_level_name_and_fields(void **state)
{
	struct log_fields f = { .attempt = 3, .latency_ms = 120, .circuit = "half_open", .ref = "00c0ffee" };
	char want[200];
	const char *s;

	(void)state;
	open_log((struct log_config){ .level = LOG_INFO, .name = "mcp.example" });
	log_warn("stream lost (%s); retrying in %d s", "reset by peer", 2);
	s = got();
	assert_int_equal(strspn(s, "0123456789-T:.Z"), strlen("2026-07-28T12:00:00.123Z"));
	snprintf(want, sizeof(want), "Z warn  [%ld mcp.example] stream lost (reset by peer); retrying in 2 s\n", (long)getpid());
	assert_string_equal(s + 23, want);
	log_line_with(LOG_ERROR, &f, "no");
	snprintf(want, sizeof(want),
		 "Z error [%ld mcp.example] no attempt=3 circuitState=half_open latencyMs=120 ref=00c0ffee\n", (long)getpid());
	assert_string_equal(got() + 23, want);
	open_log((struct log_config){ .level = LOG_INFO });
	log_info("unnamed");
	snprintf(want, sizeof(want), "Z info  [%ld] unnamed\n", (long)getpid());
	assert_string_equal(got() + 23, want);
}

static void a_json_line_is_an_object(void **state)
{
	struct log_fields f = { .attempt = 1, .latency_ms = -1, .circuit = "open", .ref = "00c0ffee" };
	char want[300];

	(void)state;
	open_log((struct log_config){ .level = LOG_INFO, .json = true, .name = "a\"b" });
	log_line_with(LOG_WARN, &f, "%s", "say \"hi\"\\ \n\t\x01\x7f \xc3\xa4 \xff \xc2\x85");
	snprintf(want, sizeof(want), "Z\",\"level\":\"warn\",\"pid\":%ld,\"name\":\"a\\\"b\",\"msg\":\"say \\\"hi\\\"\\\\ "
		 "\\n\\t\\u0001\\u007f \xc3\xa4 \\ufffd \\ufffd\\ufffd\",\"attempt\":1,\"circuitState\":\"open\",\"ref\":\"00c0ffee\"}\n",
		 (long)getpid());
	assert_string_equal(got() + strlen("{\"ts\":\"2026-07-28T12:00:00.123"), want);
}

static void one_event_is_one_line_safe_for_a_terminal(void **state)
{
	const char *s;

	(void)state;
	open_log((struct log_config){ .level = LOG_INFO });
	log_info("%s", "a\nb\r\x1b[2J\xc2\x9b\xe2\x80\xa8\xed\xa0\x80\xf5\xc3(\xe2\x82\xac \xf0\x9f\x98\x80 \xf0\x9f\x98");
	s = strstr(got(), "] ");
	assert_string_equal(s, "] a\\nb\\r\\x1b[2J\\xc2\\x9b\\xe2\\x80\\xa8\\xed\\xa0\\x80\\xf5\\xc3(\xe2\x82\xac \xf0\x9f\x98\x80 \\xf0\\x9f\\x98\n");
}

static void levels_above_the_chosen_one_are_not_written(void **state)
{
	(void)state;
	assert_false(log_wants(LOG_ERROR));
	log_error("before it is open");
	open_log((struct log_config){ .level = LOG_WARN });
	assert_true(log_wants(LOG_ERROR));
	assert_true(log_wants(LOG_WARN));
	assert_false(log_wants(LOG_INFO));
	assert_false(log_wants(LOG_SILENT));
	log_info("no");
	log_debug("no");
	log_trace("no");
	assert_string_equal(got(), "");
	open_log((struct log_config){ .level = LOG_SILENT });
	log_error("no");
	log_close();
	log_close();
	log_error("after it was closed");
	assert_string_equal(got(), "");
}

static void secrets_are_hidden_before_the_line_is_cut(void **state)
{
	struct redactor *r = redact_new(key);
	char *big = malloc(400000);

	(void)state;
	assert_int_equal(redact_add(r, SPAN_LIT("very-secret-value-of-mine")), 0);
	open_log((struct log_config){ .level = LOG_INFO, .redactor = r, .name = "very-secret-value-of-mine" });
	/* Every position of the secret around the cut. */
	for (size_t at = 8192 - 40; at < 8192 + 5; at++) {
		const char *s;

		memset(big, ' ', 20000);
		memcpy(big + at, "very-secret-value-of-mine", 25);
		big[20000] = '\0';
		log_line(LOG_INFO, "%s", big);
		s = got();
		if (!*s)
			continue; /* one repeat too many */
		assert_null(strstr(s, "very"));
		assert_null(strstr(s, "secret-"));
		assert_non_null(strstr(s, "bytes more]\n"));
	}
	memset(big, 'x', 399999);
	big[399999] = '\0';
	log_line(LOG_INFO, "%s!", big);
	assert_true(strlen(got()) < 9000);
	log_info("password=%s", "swordfish");
	assert_null(strstr(got(), "swordfish"));
	log_close();
	redact_free(r);
	free(big);
}

static void repeats_are_left_out_and_counted(void **state)
{
	const char *s;

	(void)state;
	open_log((struct log_config){ .level = LOG_TRACE });
	for (int i = 0; i < LOG_BURST + 7; i++) {
		log_warn("again %d", i);
		log_trace("always %d", i);
	}
	log_warn("something else");
	s = got();
	assert_int_equal(count(s, "again"), LOG_BURST);
	assert_int_equal(count(s, "always"), LOG_BURST + 7);
	assert_int_equal(count(s, "something else"), 1);
	log_close();
	s = got();
	assert_non_null(strstr(s, "7 more lines like this were left out: again %d\n"));
	assert_int_equal(count(s, "\n"), 1);
}

static void more_formats_than_remembered_lose_no_count(void **state)
{
	const char *s;

	(void)state;
	open_log((struct log_config){ .level = LOG_INFO });
	for (int i = 0; i < LOG_BURST + 3; i++)
		log_warn("the first %d", i);
#define ONE(x) log_info("format " #x);
#define TEN(x) ONE(x##0) ONE(x##1) ONE(x##2) ONE(x##3) ONE(x##4) ONE(x##5) ONE(x##6) ONE(x##7) ONE(x##8) ONE(x##9)
	TEN(1) TEN(2) TEN(3) TEN(4)
	s = got();
	assert_non_null(strstr(s, "3 more lines like this were left out: the first %d"));
}

static void an_unread_stderr_loses_lines_and_says_how_many(void **state)
{
	static char pad[3000];
	uint64_t lost;
	char want[80];
	const char *s;

	(void)state;
	memset(pad, 'x', sizeof(pad) - 1);
	open_log((struct log_config){ .level = LOG_DEBUG });
	for (int i = 0; i < 200; i++)
		log_debug("%d %s", i, pad);
	lost = log_dropped();
	assert_true(lost > 100);
	s = got();
	assert_int_equal(count(s, "\n"), 200 - lost);
	log_debug("once more");
	s = got();
	snprintf(want, sizeof(want), "%d lines were lost because stderr was not read\n", (int)lost);
	assert_non_null(strstr(s, want));
	assert_non_null(strstr(s, "once more\n"));
	log_debug("and quiet");
	assert_null(strstr(got(), "lost"));
	assert_int_equal(log_dropped(), lost);
}

static void a_line_that_was_taken_in_part_is_finished_first(void **state)
{
	static char pad[8000];
	char *all = calloc(1, 4 << 20), *line;
	size_t n = 0, lines = 0;

	(void)state;
	memset(pad, 'x', sizeof(pad) - 1);
	open_log((struct log_config){ .level = LOG_DEBUG });
	for (int i = 0; i < 300; i++) {
		char piece[5000];
		ssize_t rc = read(stderr_pipe[0], piece, i < 60 ? 1 : sizeof(piece));

		if (rc > 0) {
			memcpy(all + n, piece, (size_t)rc);
			n += (size_t)rc;
		}
		log_debug("%d %s.", i, pad);
	}
	strcpy(all + n, got());
	for (line = strtok(all, "\n"); line; line = strtok(NULL, "\n"), lines++) {
		size_t len = strlen(line);

		/* Whole, but perhaps the very last. */
		assert_int_equal(strncmp(line, "20", 2), 0);
		if (line[len - 1] != '.' && !strstr(line, "lost because"))
			assert_null(strtok(NULL, "\n"));
	}
	assert_true(lines > 20);
	free(all);
}

static void a_closed_stderr_is_no_death(void **state)
{
	(void)state;
	signal(SIGPIPE, SIG_IGN);
	open_log((struct log_config){ .level = LOG_DEBUG });
	close(stderr_pipe[0]);
	stderr_pipe[0] = -1;
	for (int i = 0; i < 100; i++)
		log_debug("nobody hears %d", i);
	assert_true(log_dropped() > 0);
}

static void the_file_gets_every_line_and_is_private(void **state)
{
	char dir[] = "/tmp/log-XXXXXX", path[64];
	struct err e = { "" };
	struct stat st;
	FILE *f;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/log", dir);
	open_log((struct log_config){ .level = LOG_INFO, .file = path });
	log_info("first");
	open_log((struct log_config){ .level = LOG_INFO, .file = path });
	log_info("second");
	log_close();
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	f = fopen(path, "r");
	text[fread(text, 1, sizeof(text) - 1, f)] = '\0';
	fclose(f);
	assert_int_equal(count(text, "\n"), 2);
	assert_non_null(strstr(text, "] first\n"));
	assert_non_null(strstr(text, "] second\n"));
	unlink(path);
	snprintf(path, sizeof(path), "%s/no/such", dir);
	assert_int_equal(log_open(&(struct log_config){ .level = LOG_INFO, .file = path }, &e), -1);
	assert_non_null(strstr(e.text, "can not open the log file"));
	got();
	log_info("still to stderr");
	assert_non_null(strstr(got(), "still to stderr\n"));
	snprintf(path, sizeof(path), "%s/fifo", dir);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(log_open(&(struct log_config){ .level = LOG_INFO, .file = path }, &e), -1);
	unlink(path);
	rmdir(dir);
}

static char hooked[1000];

static void hook(void *arg, enum log_level l, struct span line)
{
	++*(int *)arg;
	assert_true(l <= LOG_DEBUG);
	snprintf(hooked, sizeof(hooked), "%.*s", (int)line.n, line.p);
	log_error("from inside");
}

static void the_hook_gets_finished_lines_of_its_own_level(void **state)
{
	int calls = 0;

	(void)state;
	open_log((struct log_config){ .level = LOG_ERROR });
	log_set_hook(LOG_DEBUG, hook, &calls);
	assert_true(log_wants(LOG_DEBUG));
	assert_false(log_wants(LOG_TRACE));
	log_debug("token=%s", "8f14e45fceea167a5a36dedd4bea2543");
	assert_int_equal(calls, 1);
	assert_non_null(strstr(hooked, "token=[redacted:000000]"));
	assert_null(strchr(hooked, '\n'));
	assert_int_equal(count(got(), "\n"), 1);
	log_set_hook(LOG_SILENT, NULL, NULL);
	assert_false(log_wants(LOG_DEBUG));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(levels_have_names),
		TEST(a_text_line_has_stamp_level_name_and_fields),
		TEST(a_json_line_is_an_object),
		TEST(one_event_is_one_line_safe_for_a_terminal),
		TEST(levels_above_the_chosen_one_are_not_written),
		TEST(secrets_are_hidden_before_the_line_is_cut),
		TEST(repeats_are_left_out_and_counted),
		TEST(more_formats_than_remembered_lose_no_count),
		TEST(an_unread_stderr_loses_lines_and_says_how_many),
		TEST(a_line_that_was_taken_in_part_is_finished_first),
		TEST(a_closed_stderr_is_no_death),
		TEST(the_file_gets_every_line_and_is_private),
		TEST(the_hook_gets_finished_lines_of_its_own_level),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
