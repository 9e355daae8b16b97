/* Any bytes as an event stream: whole, byte by byte and in pieces of a size
 * that the input chooses, they give the same events, within the limit. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "wire/sse.h"

#define BUF_MAX ((size_t)1 << 26)
#define MUST(x) do { if (!(x)) abort(); } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void note_span(struct buf *out, struct span s)
{
	MUST(buf_append(out, &s.n, sizeof s.n) == 0 && buf_add(out, s) == 0);
}

static void run(const char *p, size_t n, size_t piece, size_t max, struct buf *out)
{
	struct sse s;

	sse_init(&s, max);
	for (size_t at = 0; at < n; at += piece) {
		size_t left = n - at < piece ? n - at : piece;
		const char *q = p + at;
		struct sse_event ev;
		int rc;
		while ((rc = sse_next(&s, &q, &left, &ev)) != 0) {
			MUST(buf_puts(out, rc < 0 ? "!" : ev.has_id ? "*" : "-") == 0);
			if (rc < 0)
				continue;
			MUST(ev.type.n > 0 && ev.data.n <= max && ev.id.n <= max);
			note_span(out, ev.type);
			note_span(out, ev.data);
			note_span(out, ev.id);
		}
		MUST(left == 0 && q == p + at + (n - at < piece ? n - at : piece));
	}
	MUST(s.bytes == n && s.retry_ms >= -1 && s.retry_ms <= SSE_RETRY_MAX_MS);
	MUST(buf_append(out, &s.retry_ms, sizeof s.retry_ms) == 0);
	note_span(out, buf_span(&s.id));
	sse_fini(&s);
}

/* The first byte chooses the limit, the second the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf whole, bytes, pieces;
	const char *p = (const char *)data + 2;
	size_t max;

	if (size < 3)
		return 0;
	max = data[0] < 128 ? (size_t)1 << 20 : data[0] - (size_t)128;
	buf_init(&whole, BUF_MAX);
	buf_init(&bytes, BUF_MAX);
	buf_init(&pieces, BUF_MAX);
	run(p, size - 2, size, max, &whole);
	run(p, size - 2, 1, max, &bytes);
	run(p, size - 2, (size_t)data[1] + 1, max, &pieces);
	MUST(span_eq(buf_span(&whole), buf_span(&bytes)));
	MUST(span_eq(buf_span(&whole), buf_span(&pieces)));
	buf_fini(&whole);
	buf_fini(&bytes);
	buf_fini(&pieces);
	return 0;
}
