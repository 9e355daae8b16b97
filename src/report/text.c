/* Words for people: durations, sizes, and text that is safe on a terminal
 * whatever stands in the file it came from. */
#include "report/text.h"

#include <inttypes.h>
#include <stdio.h>

#include "wire/utf8.h"

void text_duration(char out[TEXT_SHORT], int64_t ms)
{
	int64_t s = ms / 1000, days = s / 86400;

	if (ms < 0)
		snprintf(out, TEXT_SHORT, "-");
	else if (ms < 1000)
		snprintf(out, TEXT_SHORT, "%dms", (int)ms);
	else if (s < 60)
		snprintf(out, TEXT_SHORT, "%d.%ds", (int)s, (int)(ms % 1000 / 100));
	else if (s < 3600)
		snprintf(out, TEXT_SHORT, "%dm%02ds", (int)(s / 60), (int)(s % 60));
	else if (s < 86400)
		snprintf(out, TEXT_SHORT, "%dh%02dm", (int)(s / 3600), (int)(s % 3600 / 60));
	else if (days < 100)
		snprintf(out, TEXT_SHORT, "%dd%02dh", (int)days, (int)(s % 86400 / 3600));
	else if (days < 100000)
		snprintf(out, TEXT_SHORT, "%dd", (int)days);
	else
		snprintf(out, TEXT_SHORT, "ages");
}

void text_size(char out[TEXT_SHORT], int64_t kib)
{
	if (kib < 0)
		snprintf(out, TEXT_SHORT, "-");
	else if (kib < 1000)
		snprintf(out, TEXT_SHORT, "%dK", (int)kib);
	else if (kib < 1000 * 1024)
		snprintf(out, TEXT_SHORT, "%.1fM", (double)kib / 1024);
	else
		snprintf(out, TEXT_SHORT, "%.1fG", (double)kib / 1024 / 1024);
}

/* Bytes of the printable character at p, 0 when there is none. */
static size_t printable(const char *p, const char *end)
{
	unsigned char c = (unsigned char)*p, d;
	int n = utf8_length(p, end);

	if (n <= 0 || c < 0x20 || c == 0x7f)
		return 0;
	d = n > 1 ? (unsigned char)p[1] : 0;
	if (c == 0xc2 && d < 0xa0)
		return 0; /* C1 controls */
	if (c == 0xe2 && (d == 0x80 || d == 0x81) && n == 3)
		return 0; /* line separators, marks that turn the direction, widthless ones */
	return (size_t)n;
}

static size_t columns(struct span s)
{
	const char *p = s.p, *end = s.p + s.n;
	size_t n = 0;

	for (; p < end; n++) {
		size_t len = printable(p, end);
		p += len ? len : 1;
	}
	return n;
}

static int clean(struct buf *out, struct span s, size_t width, size_t *used)
{
	const char *p = s.p, *end = s.p + s.n;
	size_t all = columns(s), room = all > width && width ? width - 1 : width;

	for (*used = 0; p < end && *used < room; ++*used) {
		size_t len = printable(p, end);
		if ((len ? buf_append(out, p, len) : buf_puts(out, "?")) != 0)
			return -1;
		p += len ? len : 1;
	}
	if (all <= width)
		return 0;
	++*used;
	return buf_puts(out, "~");
}

int text_clean(struct buf *out, struct span s, size_t width)
{
	size_t used;

	return clean(out, s, width, &used);
}

int text_column(struct buf *out, struct span s, size_t width)
{
	size_t used;

	if (clean(out, s, width, &used) != 0)
		return -1;
	for (; used < width; used++)
		if (buf_puts(out, " ") != 0)
			return -1;
	return 0;
}
