/* One connection, made and closed without a request: what lies on the way to a
 * server, for `doctor`. Blocks for up to the connect timeout. */
#ifndef IO_HTTP_PROBE_H
#define IO_HTTP_PROBE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "io/http.h"

struct http_probe {
	struct http_result result;          /* HTTP_OK: connected, and TLS agreed */
	int64_t resolve_us, connect_us, tls_us; /* each counted from the step before; 0: did not come so far */
	char address[64];                   /* of the server or the proxy; "" none */
	int port;
	bool proxied;
	char proxy_by[24];                  /* the variable that named the proxy; "" an option */
	char tls[64];                       /* "TLSv1.3 / TLS_AES_256_GCM_SHA384"; "" not known */
	char issuer[160], subject[160];     /* of the server's certificate; "" not known */
	int64_t expires_s;                  /* its end in seconds since the epoch; 0 not known */
};

/* verify: as a bridge connects. Not verify: only to read the certificate that
 * was refused; no client certificate is shown then. 0, or -1: not even begun. */
int http_probe(const struct http_config *c, const char *url, bool verify, struct http_probe *p, struct err *e);

#endif
