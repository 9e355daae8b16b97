/* Trust anchors: --cacert, else SSL_CERT_FILE and SSL_CERT_DIR, else what libcurl
 * was built with; certificates in NODE_EXTRA_CA_CERTS come on top of that. A file that
 * is named alone stands alone, unless it is the system's. */
#ifndef IO_HTTP_TRUST_H
#define IO_HTTP_TRUST_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include <curl/curl.h>

#include "base/buf.h"

struct http_trust {
	bool loaded;
	bool pinned;                    /* to the file: no directory counts, libcurl's own neither */
	const char *file, *dir, *extra; /* borrowed; NULL: libcurl's own, and no extra ones */
	struct x509_store_st *store;    /* what all connections share; NULL: libcurl reads for itself */
	bool whole;                     /* the file has been read into it, too */
	bool doubted;                   /* it has refused a server: made anew for the next connection */
	int64_t changed_s;              /* when it took the place of another, by the clock on the wall; 0: never */
	struct stat file_seen, dir_seen, extra_seen; /* as they were when the store was made */
	struct buf blob;                /* without a store: the file and the extra ones; empty when there are none */
};

/* Looks at the environment and reads what must be read; does nothing the second
 * time. Trouble with the extra file is logged and it is left out. */
void http_trust_load(struct http_trust *t, const char *cacert);
void http_trust_fini(struct http_trust *t);
/* Tells an easy handle, for https only. *t must outlive its transfers. 0, or -1
 * when libcurl refuses the options. */
int http_trust_setup(CURL *easy, struct http_trust *t);

#endif
