/* The event stream. Every case is fed whole, byte by byte and cut in two at
 * every place, and must give the same. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "wire/sse.h"

#define MAX_BYTES 4096

static void note(struct buf *out, int rc, const struct sse_event *ev)
{
	int failed;

	if (rc < 0) {
		assert_int_equal(buf_puts(out, "!"), 0);
		return;
	}
	failed = buf_puts(out, "<") | buf_add(out, ev->type) | buf_puts(out, "|") | buf_add(out, ev->data) |
	    buf_puts(out, "|") | buf_add(out, ev->id) | buf_puts(out, ev->has_id ? "*>" : ">");
	assert_int_equal(failed, 0);
}

static void feed(struct sse *s, const char *p, size_t n, struct buf *out)
{
	/* A copy of the exact size, so that a sanitizer sees every read too far. */
	char *copy = malloc(n ? n : 1);
	const char *at = copy;
	struct sse_event ev;
	int rc;

	assert_non_null(copy);
	memcpy(copy, p, n);
	while ((rc = sse_next(s, &at, &n, &ev)) != 0)
		note(out, rc, &ev);
	assert_int_equal(n, 0);
	free(copy);
}

static void feed_text(struct sse *s, const char *text, struct buf *out)
{
	feed(s, text, strlen(text), out);
}

/* Feeds what goes before (a line that gives nothing), the first cut bytes at once,
 * then pieces of the given size. */
static void run(const char *before, const char *p, size_t n, size_t cut, size_t piece, size_t max, struct buf *out)
{
	struct sse s;

	sse_init(&s, max);
	feed_text(&s, before, out);
	feed(&s, p, cut, out);
	for (size_t at = cut; at < n; at += piece)
		feed(&s, p + at, n - at < piece ? n - at : piece, out);
	assert_int_equal(s.bytes, strlen(before) + n);
	sse_fini(&s);
}

static void same(const struct buf *out, const char *want, const char *p, size_t n, size_t cut)
{
	if (out->len != strlen(want) || memcmp(buf_span(out).p, want, out->len) != 0)
		fail_msg("%.*s: cut at %zu: %.*s, not %s", (int)n, p, cut, (int)out->len, buf_span(out).p, want);
}

static void check(const char *p, size_t n, size_t max, const char *want)
{
	struct buf out;

	buf_init(&out, (size_t)1 << 20);
	for (size_t cut = 0; cut <= n; cut++) {
		run("", p, n, cut, cut == 0 ? 1 : n, max, &out);
		same(&out, want, p, n, cut);
		buf_reset(&out);
		if (n == 0 || (unsigned char)p[0] == 0xef)
			continue; /* a byte order mark counts at the very beginning alone */
		run(":\n", p, n, cut, cut == 0 ? 1 : n, max, &out);
		same(&out, want, p, n, cut);
		buf_reset(&out);
	}
	buf_fini(&out);
}

static void an_event_that_came_whole_is_given_where_it_lies(void **state)
{
	static const char text[] = ":\nevent: message\nid: 7\ndata: {\"a\":1}\n\n";
	const char *at = text;
	size_t n = sizeof(text) - 1;
	struct sse_event ev;
	struct sse s;

	(void)state;
	sse_init(&s, MAX_BYTES);
	assert_int_equal(sse_next(&s, &at, &n, &ev), 1);
	assert_ptr_equal(ev.data.p, strchr(text, '{'));
	assert_int_equal(ev.data.n, 7);
	assert_true(span_is(ev.id, "7"));
	assert_int_equal(sse_next(&s, &at, &n, &ev), 0);
	sse_fini(&s);
}

static const struct {
	const char *stream, *want;
} cases[] = {
	{ "", "" },
	{ "data: a\n\n", "<message|a|>" },
	{ "data: a\n", "" },
	{ "data: a\r\rdata: b\r\r", "<message|a|><message|b|>" },
	{ "data: a\r\n\r\ndata: b\r\n\r\n", "<message|a|><message|b|>" },
	{ "data: a\n\r\ndata: b\r\n\ndata: c\r\n\rdata: d\n\r", "<message|a|><message|b|><message|c|><message|d|>" },
	{ "data:a\ndata: b\ndata:  c\n\n", "<message|a\nb\n c|>" },
	{ "data\n\n", "<message||>" },
	{ "data:\n\n", "<message||>" },
	{ "data: \n\n", "<message||>" },
	{ "data\ndata\n\ndata:", "<message|\n|>" },
	{ "data:\ndata:x\ndata:\n\n", "<message|\nx\n|>" },
	{ "data:test\n\ndata: test\n\n", "<message|test|><message|test|>" },
	{ "data: a: b : c\n\n", "<message|a: b : c|>" },
	{ ":\n: comment with : and data: x\n:data: y\ndata: a\n\n", "<message|a|>" },
	{ "event: x\ndata: a\n\ndata: b\n\n", "<x|a|><message|b|>" },
	{ "event: x\nevent: y\ndata: a\n\n", "<y|a|>" },
	{ "event: x\nevent\ndata: a\n\n", "<message|a|>" },
	{ "event: x\n\ndata: a\n\n", "<message|a|>" },
	{ "id: 1\ndata: a\n\ndata: b\n\nid\ndata: c\n\n", "<message|a|1*><message|b|1><message|c|*>" },
	{ "id: 1\n\ndata: a\n\n", "<message|a|1>" },
	{ "id: 1\nid: 2\ndata: a\n\n", "<message|a|2*>" },
	{ "id:  x \ndata: a\n\n", "<message|a| x *>" },
	{ "id: 7\ndata:\n\n", "<message||7*>" },
	{ "foo: bar\nDATA: x\n data: y\ndata : z\ndatax: z\ndat: z\ndata: a\n\n", "<message|a|>" },
	{ "unknownfieldwithaverylongname\nunknownfieldwithaverylongname: x\n\ndata: a\n\n", "<message|a|>" },
	{ "\xef\xbb\xbf" "data: a\n\ndata: b\n\n", "<message|a|><message|b|>" },
	{ "\xef\xbb\xbf\xef\xbb\xbf" "data: a\n\ndata: b\n\n", "<message|b|>" },
	{ "\xef\xbb" "data: a\ndata: b\n\n", "<message|b|>" },
	{ "\xef\r\ndata: b\n\n", "<message|b|>" },
	{ "data: a\n\n\xef\xbb\xbf" "data: b\ndata: c\n\n", "<message|a|><message|c|>" },
	{ "\n\n\r\r\n\ndata: a\n\n\n\n", "<message|a|>" },
	{ "data: \xc3\xa9\xff\n\n", "<message|\xc3\xa9\xff|>" },
	{ "event: endpoint\ndata: /messages?id=1\n\n: ping - 2025\n\nevent: message\ndata: {\"a\":1}\n\n",
	    "<endpoint|/messages?id=1|><message|{\"a\":1}|>" },
};

static void streams_give_the_events_of_the_standard_however_cut(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		check(cases[i].stream, strlen(cases[i].stream), MAX_BYTES, cases[i].want);
}

static void nul_is_data_but_ends_the_use_of_an_id(void **state)
{
	static const char stream[] = "id: 1\ndata: a\n\nid: 2\0\ndata: b\0c\n\nid: 3\nid: \0\ndata\0: x\ndata: d\n\n";
	struct buf out;
	static const char want[] = "<message|a|1*><message|b\0c|1><message|d|3*>";

	(void)state;
	buf_init(&out, MAX_BYTES);
	for (size_t cut = 0; cut < sizeof stream; cut++) {
		run("", stream, sizeof stream - 1, cut, cut == 0 ? 1 : sizeof stream, MAX_BYTES, &out);
		assert_int_equal(out.len, sizeof want - 1);
		assert_memory_equal(buf_data(&out), want, sizeof want - 1);
		buf_reset(&out);
	}
	buf_fini(&out);
}

static void an_event_is_given_at_its_first_possible_byte(void **state)
{
	static const struct { const char *stream; size_t at; } t[] = {
		{ "data: a\n\n", 9 }, { "data: a\r\r", 9 }, { "data: a\r\n\r", 10 }, { "data: a\n\r", 9 }, { "data: a\r\n\n", 10 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const char *p = t[i].stream;
		struct sse_event ev;
		struct sse s;
		sse_init(&s, MAX_BYTES);
		for (size_t fed = 1; fed <= t[i].at; fed++) {
			size_t one = 1;
			assert_int_equal(sse_next(&s, &p, &one, &ev), fed == t[i].at);
			assert_int_equal(one, 0);
		}
		sse_fini(&s);
	}
}

static void the_retry_hint_is_digits_only_and_bounded(void **state)
{
	static const struct { const char *line; int64_t want; } t[] = {
		{ "retry: 0\n", 0 }, { "retry:1500\n", 1500 }, { "retry: 0012\n", 12 }, { "retry: 2147483647\n", SSE_RETRY_MAX_MS },
		{ "retry: 2147483648\n", SSE_RETRY_MAX_MS }, { "retry: 99999999999999999999999999\n", SSE_RETRY_MAX_MS },
		{ "retry\n", 7 }, { "retry:\n", 7 }, { "retry: \n", 7 }, { "retry: -1\n", 7 }, { "retry: +1\n", 7 }, { "retry: 1.5\n", 7 },
		{ "retry: 1 \n", 7 }, { "retry:  1\n", 7 }, { "retry: 0x1\n", 7 }, { "retry: 12a\n", 7 }, { "Retry: 12\n", 7 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const char *p = t[i].line;
		size_t n = strlen(p);
		struct sse_event ev;
		struct sse s;
		sse_init(&s, MAX_BYTES);
		assert_int_equal(s.retry_ms, -1);
		s.retry_ms = 7;
		assert_int_equal(sse_next(&s, &p, &n, &ev), 0);
		assert_int_equal(s.retry_ms, t[i].want);
		sse_fini(&s);
	}
}

static void an_event_too_large_is_skipped_and_the_next_one_given(void **state)
{
	static const struct { const char *stream, *want; } t[] = {
		{ "data: 12345678\n\n", "<message|12345678|>" },
		{ "data: 123456789\n\ndata: b\n\n", "!<message|b|>" },
		{ "data: 1234\ndata: 567\n\n", "<message|1234\n567|>" },
		{ "data: 1234\ndata: 5678\ndata: x\n\ndata: b\n\n", "!<message|b|>" },
		{ "data: 12345678\ndata\n\ndata: b\n\n", "!<message|b|>" },
		{ "data: 1\nevent: 123456789\ndata: a\n\ndata: b\n\n", "!<message|b|>" },
		{ "id: 123456789\ndata: a\n\nid: 2\ndata: b\n\n", "!<message|b|2*>" },
		{ "id: 1\ndata: 123456789\n\ndata: b\n\n", "!<message|b|1>" },
		{ "data: 123456789\nid: 1\ndata: 123456789\nevent: 123456789\nretry: 5\r\n\r\ndata: b\n\n", "!<message|b|1>" },
		{ ": a comment longer than the limit\nunknown: value longer than the limit\ndata: a\n\n", "<message|a|>" },
		{ "data: 123456789\n\ndata: 123456789\n\n", "!!" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		check(t[i].stream, strlen(t[i].stream), 8, t[i].want);
}

static void an_id_counts_only_when_its_event_was_complete(void **state)
{
	struct sse s;
	struct buf out;

	(void)state;
	buf_init(&out, MAX_BYTES);
	sse_init(&s, MAX_BYTES);
	feed_text(&s, "\xef\xbb\xbfid: 1\nretry: 9\ndata: a\n\nid: 2\nevent: x\ndata: half", &out);
	sse_restart(&s);
	feed_text(&s, "\xef\xbb\xbf" "data: b\n\n", &out);
	assert_int_equal(s.retry_ms, 9);
	feed_text(&s, "id: 3\ndata: half\r", &out);
	sse_restart(&s);
	feed_text(&s, "\ndata: c\n\n", &out);
	assert_true(span_is(buf_span(&out), "<message|a|1*><message|b|1><message|c|1>"));
	sse_fini(&s);
	buf_fini(&out);
}

static void data_can_be_taken_without_a_copy(void **state)
{
	const char *p = "data: abc\n\ndata: d\n\n";
	size_t n = strlen(p);
	struct sse_event ev;
	struct buf mine;
	struct sse s;

	(void)state;
	sse_init(&s, MAX_BYTES);
	buf_init(&mine, MAX_BYTES);
	assert_int_equal(sse_next(&s, &p, &n, &ev), 1);
	const char *block = ev.data.p;
	sse_take_data(&s, &mine);
	assert_ptr_equal(buf_data(&mine), block);
	assert_true(span_is(buf_span(&mine), "abc"));
	assert_int_equal(sse_next(&s, &p, &n, &ev), 1);
	assert_true(span_is(ev.data, "d"));
	assert_true(span_is(buf_span(&mine), "abc"));
	buf_fini(&mine);
	sse_fini(&s);
}

static void a_large_event_comes_in_many_pieces(void **state)
{
	const size_t total = (size_t)3 << 20, piece = 16384;
	struct sse s;
	struct sse_event ev = { .data = SPAN_NONE };
	char *block = malloc(piece);
	int rc = 0;

	(void)state;
	assert_non_null(block);
	memset(block, 'x', piece);
	sse_init(&s, total);
	const char *p = "data: ";
	size_t n = 6;
	assert_int_equal(sse_next(&s, &p, &n, &ev), 0);
	for (size_t sent = 0; sent < total; sent += piece) {
		p = block;
		n = piece;
		assert_int_equal(sse_next(&s, &p, &n, &ev), 0);
		assert_int_equal(s.line.len, 0);
	}
	p = "\n\n";
	n = 2;
	rc = sse_next(&s, &p, &n, &ev);
	assert_int_equal(rc, 1);
	assert_int_equal(ev.data.n, total);
	assert_int_equal(ev.data.p[total - 1], 'x');
	sse_fini(&s);
	free(block);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_give_the_events_of_the_standard_however_cut),
		cmocka_unit_test(an_event_that_came_whole_is_given_where_it_lies),
		cmocka_unit_test(nul_is_data_but_ends_the_use_of_an_id),
		cmocka_unit_test(an_event_is_given_at_its_first_possible_byte),
		cmocka_unit_test(the_retry_hint_is_digits_only_and_bounded),
		cmocka_unit_test(an_event_too_large_is_skipped_and_the_next_one_given),
		cmocka_unit_test(an_id_counts_only_when_its_event_was_complete),
		cmocka_unit_test(data_can_be_taken_without_a_copy),
		cmocka_unit_test(a_large_event_comes_in_many_pieces),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
