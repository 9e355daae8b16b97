/* Fuzzes the redactor: the first byte of the input says how long a value is,
 * the value follows, the rest is text. Whatever both are, no run of the value,
 * plain or encoded, may come out between two marks. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "base/redact.h"
#include "base/url.h"

#define MARK_LEN (sizeof("[redacted:xxxxxx]") - 1)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must_not_hold(struct span s, struct span secret)
{
	size_t run = secret.n < REDACT_RUN ? secret.n : REDACT_RUN;

	for (size_t i = 0; i + run <= secret.n; i++)
		if (s.n >= run && memmem(s.p, s.n, secret.p + i, run))
			abort();
}

/* Text between marks is text of the input, so that it is where a leak shows. */
static void check(struct span out, struct span secret)
{
	const char *end = out.p + out.n, *at = out.p, *mark;

	while ((mark = memmem(at, (size_t)(end - at), "[redacted:", 10)) != NULL) {
		must_not_hold(span_make(at, (size_t)(mark - at)), secret);
		at = (size_t)(end - mark) < MARK_LEN ? end : mark + MARK_LEN;
	}
	must_not_hold(span_make(at, (size_t)(end - at)), secret);
}

static void put_base64(struct buf *b, struct span s, int variant)
{
	char text[512];

	sodium_bin2base64(text, sizeof(text), (const unsigned char *)s.p, s.n, variant);
	buf_puts(b, text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const unsigned char key[32] = { 7 };
	struct span value, rest;
	struct redactor *r;
	struct buf text, out;

	if (size < 1 || size > 16384)
		return 0;
	value = span_make((const char *)data + 1, data[0] < size ? data[0] : size - 1);
	rest = span_make(value.p + value.n, size - 1 - value.n);
	r = redact_new(key);
	if (!r || redact_add(r, value) < 0)
		abort();
	buf_init(&text, 1 << 20);
	buf_init(&out, 1 << 24);
	buf_add(&text, rest);
	buf_add(&text, value);
	buf_puts(&text, " ");
	url_escape(&text, value);
	buf_puts(&text, "=");
	put_base64(&text, value, sodium_base64_VARIANT_ORIGINAL);
	buf_puts(&text, ":");
	put_base64(&text, value, sodium_base64_VARIANT_URLSAFE);
	buf_add(&text, value);
	buf_add(&text, rest);
	if (redact_text(r, buf_span(&text), &out) < 0)
		abort();
	if (value.n >= REDACT_MIN) {
		struct buf encoded;

		check(buf_span(&out), value);
		buf_init(&encoded, 1024);
		url_escape(&encoded, value);
		/* Of a short value only the whole is looked for. */
		if (value.n >= REDACT_RUN || encoded.len < REDACT_RUN)
			check(buf_span(&out), buf_span(&encoded));
		buf_fini(&encoded);
	}
	buf_reset(&out);
	if (redact_text(NULL, rest, &out) < 0)
		abort();
	buf_fini(&text);
	buf_fini(&out);
	redact_free(r);
	return 0;
}
