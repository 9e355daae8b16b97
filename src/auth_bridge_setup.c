/* From options to the machine's configuration, and to what a kept sign-in is
 * for: the server, the headers the user sends along (expanded) and every
 * option that makes it another client or another grant. */
#include "auth_bridge_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <sodium.h>

#include "auth/token.h"
#include "base/log.h"
#include "core/retry.h"
#include "wire/json.h"

#define KEY_FILE_MAX ((size_t)16 * 1024)
#define PARAMS_MAX ((size_t)8 * 1024)
#define VARIANTS 10 /* besides the headers */
#define VARIANT_MAX ((size_t)1024 * 1024)

static void random_bytes(void *arg, void *p, size_t n)
{
	(void)arg;
	randombytes_buf(p, n);
}

/* <value of env>/mcp-holdfast, or ~/<fallback>/mcp-holdfast; NULL without a home. */
static char *xdg_dir(const char *env, const char *fallback)
{
	const char *base = getenv(env), *home = getenv("HOME");
	char *path = NULL;

	if (base && base[0] == '/') {
		if (asprintf(&path, "%s/mcp-holdfast", base) < 0)
			path = NULL;
	} else if (home && home[0] == '/') {
		if (asprintf(&path, "%s/%s/mcp-holdfast", home, fallback) < 0)
			path = NULL;
	}
	return path;
}

static enum auth_mode mode_of(const struct auth_options *a)
{
	if (a->token_command)
		return AUTH_MODE_COMMAND;
	if (a->token_file)
		return AUTH_MODE_FILE;
	if (a->idp_token_endpoint)
		return AUTH_MODE_ENTERPRISE;
	if (a->assertion_file)
		return AUTH_MODE_ASSERTION;
	if (a->client_credentials)
		return AUTH_MODE_CLIENT;
	return a->device_code ? AUTH_MODE_DEVICE : AUTH_MODE_CODE;
}

/* ---- who we are --------------------------------------------------------------------- */

static int member(struct span obj, const char *key, char **out)
{
	struct buf b;
	int rc = 0;

	buf_init(&b, KEY_FILE_MAX);
	if (json_string(json_get(obj, key), &b) == 0 && b.len > 0)
		rc = auth_set(out, buf_span(&b));
	buf_wipe(&b);
	buf_fini(&b);
	return rc;
}

/* --static-oauth-client-info: client_id, client_secret, token_endpoint_auth_method. */
static int read_client_info(struct auth_setup *s, const struct options *o, struct err *e)
{
	struct span text = o->auth.client_info ? secret_reveal(o->auth.client_info) : SPAN_NONE;
	struct json_scan scan;
	char *secret = NULL;
	int rc = 0;

	if (!text.p)
		return 0;
	if (json_scan(text.p, text.n, &scan) != JSON_OK || scan.type != '{')
		return err_set(e, "the static OAuth client information is no JSON object");
	if (member(scan.text, "client_id", &s->client_id) || member(scan.text, "client_secret", &secret) ||
	    member(scan.text, "token_endpoint_auth_method", &s->client_auth))
		rc = err_set(e, "the static OAuth client information can not be used");
	else if (!s->client_id)
		rc = err_set(e, "the static OAuth client information has no client_id");
	else if (secret && !(s->client_secret = secret_new(secret, strlen(secret))))
		rc = err_set(e, "out of memory");
	if (secret)
		sodium_memzero(secret, strlen(secret));
	free(secret);
	return rc;
}

static int read_key(struct auth_setup *s, const struct options *o, struct err *e)
{
	struct buf pem;
	struct err why = { "" };

	if (!o->auth.private_key_file)
		return 0;
	buf_init(&pem, KEY_FILE_MAX);
	if (file_read(o->auth.private_key_file, KEY_FILE_MAX, &pem, &why) == 0)
		s->key = jwt_key_parse(buf_span(&pem), o->auth.signing_alg, &why);
	buf_wipe(&pem);
	buf_fini(&pem);
	return s->key ? 0 : err_set(e, "--private-key-file: %.200s", why.text);
}

static int write_params(struct auth_setup *s, const struct options *o)
{
	const char *eq;
	size_t i;

	for (i = 0; i < o->auth.authorize_params.n; i++) {
		eq = strchr(o->auth.authorize_params.v[i], '=');
		if (!eq)
			continue;
		if ((s->params.len > 0 && buf_puts(&s->params, "&")) ||
		    url_escape(&s->params, span_make(o->auth.authorize_params.v[i], (size_t)(eq - o->auth.authorize_params.v[i]))) ||
		    buf_puts(&s->params, "=") || url_escape(&s->params, span_str(eq + 1)))
			return -1;
	}
	return 0;
}

/* ---- what a kept sign-in is for --------------------------------------------------------- */

static int put_variant(struct auth_setup *s, const char *name, struct span value)
{
	size_t at = s->variant_text.len;

	if (!value.p)
		return 0;
	if (buf_puts(&s->variant_text, name) || buf_puts(&s->variant_text, "=") || buf_add(&s->variant_text, value))
		return -1;
	s->variants[s->nvariants++] = span_make(NULL, s->variant_text.len - at);
	return 0;
}

static int write_variants(struct auth_setup *s, const struct options *o)
{
	const struct auth_options *a = &o->auth;
	char mode[4];
	size_t i, at = 0;

	s->variants = calloc(VARIANTS + o->headers.n, sizeof *s->variants);
	snprintf(mode, sizeof mode, "%d", (int)s->c.mode);
	if (!s->variants || put_variant(s, "mode", span_str(mode)) || put_variant(s, "client_id", span_str(s->c.client_id)) ||
	    put_variant(s, "client_metadata_url", span_str(a->client_metadata_url)) ||
	    put_variant(s, "token_endpoint", span_str(a->token_endpoint)) ||
	    put_variant(s, "idp", span_str(a->idp_token_endpoint)) || put_variant(s, "resource", span_str(a->resource)) ||
	    put_variant(s, "scope", span_str(a->scope)) || put_variant(s, "dpop", span_str(a->dpop ? "1" : NULL)) ||
	    put_variant(s, "use_id_token", span_str(a->use_id_token ? "1" : NULL)) ||
	    put_variant(s, "params", s->params.len ? buf_span(&s->params) : SPAN_NONE))
		return -1;
	for (i = 0; i < o->headers.n; i++)
		if (put_variant(s, o->headers.v[i].name, secret_reveal(o->headers.v[i].value)))
			return -1;
	for (i = 0; i < s->nvariants; i++) { /* only now, when the text stands still */
		s->variants[i].p = buf_data(&s->variant_text) + at;
		at += s->variants[i].n;
	}
	return 0;
}

int auth_setup_init(struct auth_setup *s, const struct options *o, struct err *e)
{
	const struct auth_options *a = &o->auth;
	struct auth_config *c = &s->c;

	memset(s, 0, sizeof *s);
	buf_init(&s->params, PARAMS_MAX);
	buf_init(&s->variant_text, VARIANT_MAX);
	s->state_dir = xdg_dir("XDG_STATE_HOME", ".local/state");
	s->config_dir = xdg_dir("XDG_CONFIG_HOME", ".config");
	if (read_client_info(s, o, e) || read_key(s, o, e))
		return -1;
	c->mode = mode_of(a);
	c->mcp_url = o->url.text;
	c->allow_http = o->allow_http;
	c->resource = a->resource;
	c->no_resource = a->no_resource;
	c->use_id_token = a->use_id_token;
	c->scope = a->scope;
	c->client_name = "mcp-holdfast";
	c->client_id = a->client_id ? a->client_id : s->client_id;
	c->client_secret = a->client_secret ? a->client_secret : s->client_secret;
	c->client_auth = s->client_auth;
	c->client_metadata_url = a->client_metadata_url;
	c->registration = span_str(a->client_metadata);
	c->token_endpoint = a->token_endpoint;
	c->key = s->key;
	c->idp_token_endpoint = a->idp_token_endpoint;
	c->idp_client_id = a->idp_client_id;
	c->dpop = a->dpop;
	c->redirect_host = a->host;
	c->redirect_port = a->callback_port;
	c->redirect_path = a->callback_path;
	c->timeout_ms = a->timeout_ms;
	c->breaker = retry_breaker(&o->core);
	c->backoff = retry_backoff(&o->core);
	c->max_retries = o->core.max_retries;
	c->random = random_bytes;
	if (write_params(s, o) || write_variants(s, o))
		return err_set(e, "out of memory");
	c->authorize_params = s->params.len ? buf_span(&s->params) : SPAN_NONE;
	return 0;
}

void auth_setup_fini(struct auth_setup *s)
{
	free(s->client_id);
	free(s->client_auth);
	secret_free(s->client_secret);
	jwt_key_free(s->key);
	buf_fini(&s->params);
	buf_wipe(&s->variant_text);
	buf_fini(&s->variant_text);
	free(s->variants);
	free(s->state_dir);
	free(s->config_dir);
	memset(s, 0, sizeof *s);
}

static void note(void *arg, const char *sentence)
{
	(void)arg;
	log_warn("%s", sentence);
}

bool auth_setup_has_store(const struct auth_setup *s)
{
	struct stat st;

	return s->state_dir && stat(s->state_dir, &st) == 0;
}

struct store *auth_setup_store(const struct auth_setup *s, const struct options *o, struct err *e)
{
	struct store_config c = {
		.state_dir = s->state_dir,
		.config_dir = s->config_dir,
		.key_file = o->auth.store_key_file,
		.key_text = o->auth.store_key ? secret_reveal(o->auth.store_key).p : NULL,
		.url = o->url.text,
		.variants = s->variants,
		.nvariants = s->nvariants,
		.note = note,
	};

	return store_open(&c, e);
}
