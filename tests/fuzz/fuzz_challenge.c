/* WWW-Authenticate of any bytes: what is found lies within the decoded text,
 * and is no longer than what was given. */
#include <stdint.h>
#include <stdlib.h>

#include "auth/challenge.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct challenge *c, struct span s)
{
	const char *text = buf_data(&c->text);

	if (s.p && (!text || s.p < text || s.p + s.n > text + c->text.len))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct challenge c;

	if (challenge_parse(&c, span_make((const char *)data, size)))
		return 0;
	if (c.text.len > size)
		abort();
	check(&c, c.resource_metadata);
	check(&c, c.scope);
	check(&c, c.error);
	check(&c, c.error_description);
	challenge_fini(&c);
	return 0;
}
