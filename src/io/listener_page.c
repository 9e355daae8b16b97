/* The listener's pages. A page holds nothing that came from the network but a
 * sentence of ours that may quote it, so everything is escaped; the headers
 * forbid scripts, frames, caching and referrers all the same. */
#include "io/listener_page.h"

#define PAGE_MAX ((size_t)16 * 1024)

static const char common[] =
	"Connection: close\r\n"
	"Cache-Control: no-store\r\n"
	"Referrer-Policy: no-referrer\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"X-Frame-Options: DENY\r\n"
	"Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'\r\n";

static int put_html(struct buf *b, const char *s)
{
	for (; *s; s++) {
		const char *as = *s == '&' ? "&amp;" : *s == '<' ? "&lt;" : *s == '>' ? "&gt;" : *s == '"' ? "&quot;" : NULL;

		if (as ? buf_puts(b, as) : buf_append(b, s, 1))
			return -1;
	}
	return 0;
}

static int put_page(struct buf *page, const char *title, const char *sentence)
{
	return buf_puts(page, "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>") || put_html(page, title) ||
	       buf_puts(page, "</title><style>body{font:1.1em/1.5 system-ui,sans-serif;max-width:32em;margin:15vh auto;padding:0 1em}"
	                      "</style></head><body><h1>") ||
	       put_html(page, title) || buf_puts(page, "</h1><p>") || put_html(page, sentence) ||
	       buf_puts(page, "</p></body></html>\n") ? -1 : 0;
}

int listener_page(struct buf *out, const char *status, const char *title, const char *sentence)
{
	struct buf page;
	int rc;

	buf_init(&page, PAGE_MAX);
	rc = put_page(&page, title, sentence) ||
	     buf_printf(out, "HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n%s\r\n",
	                status, page.len, common) ||
	     buf_add(out, buf_span(&page)) ? -1 : 0;
	buf_fini(&page);
	return rc;
}

int listener_redirect(struct buf *out, const char *url)
{
	return buf_printf(out, "HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n%s\r\n", url, common);
}
