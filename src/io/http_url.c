/* URLs taken apart, shared by reference. The strings inside come from libcurl's
 * allocator, which wipes them. */
#include "io/http_url.h"

#include <stdlib.h>
#include <string.h>

#include "io/http_mem.h"

/* What libcurl parses CURLOPT_URL with, under the options of http_setup.c. */
#define PARSE (CURLU_GUESS_SCHEME | CURLU_NON_SUPPORT_SCHEME | CURLU_DISALLOW_USER)

void http_url_release(struct http_url *u)
{
	if (!u || --u->refs > 0)
		return;
	curl_url_cleanup(u->parts);
	http_mem_free(u->text);
	free(u);
}

static struct http_url *url_new(const char *text)
{
	struct http_url *u = calloc(1, sizeof *u);

	if (!u)
		return NULL;
	u->refs = 1;
	u->parts = curl_url();
	u->text = http_mem_strdup(text);
	if (u->parts && u->text && curl_url_set(u->parts, CURLUPART_URL, text, PARSE) == CURLUE_OK)
		return u;
	http_url_release(u);
	return NULL;
}

struct http_url *http_url_get(struct http_url **kept, const char *text)
{
	if (!*kept || strcmp((*kept)->text, text) != 0) {
		struct http_url *u = url_new(text);

		if (!u)
			return NULL;
		http_url_release(*kept);
		*kept = u;
	}
	(*kept)->refs++;
	return *kept;
}
