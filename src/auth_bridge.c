/* Carries out what the sign-in machine asks for, and tells it what happened.
 * Like the bridge itself it decides nothing: which exchange comes next, whether
 * a token is good and when to stop is the machine's business. */
#include "auth_bridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "auth_bridge_parts.h"
#include "auth/metadata.h"
#include "base/log.h"
#include "io/browser.h"
#include "io/listener.h"

#define LISTENER_TAG (AUTH_TOKEN_BASE + 0x100)
#define HELPER_TAG (AUTH_TOKEN_BASE + 0x200)
#define TOKEN_MASK (((uint64_t)1 << 56) - 1)
#define HEADER_MAX ((size_t)40 * 1024)
#define VALUE_FILE_MAX ((size_t)64 * 1024)
#define HELPER_MS 30000
#define LOCK_POLL_MS 60      /* and up to as much again */
#define LOOK_MS 1000         /* how often files are looked at, when something happens anyway */
#define IMPORT_HEADERS 32
#define DRAIN_ROUNDS 64      /* facts and actions feed each other; more is a fault of ours */

struct watched { const char *path; struct stat seen; bool known; };

struct auth_bridge {
	struct options *o;
	struct http *http;
	struct loop *loop;
	struct redactor *redactor;
	struct auth_setup setup;
	struct auth *auth;
	struct store *store;
	bool store_failed;

	struct listener *listener;
	struct helper *helper;
	char *long_url;
	char short_url[96];
	bool tell_person;          /* stderr is for a person: the address is printed there */

	uint64_t transfer;         /* running, 0 none */
	size_t transfer_max;
	struct buf body;
	int64_t lock_at;           /* when to try again; 0 not wanted */

	struct buf header;
	unsigned header_of, reloads;
	struct watched header_file, token_file;
	int64_t looked_at;
	char text[800];
};

static void drain_actions(struct auth_bridge *ab, int64_t now);

/* ---- life ---------------------------------------------------------------------------- */

struct auth_bridge *auth_bridge_new(struct options *o, struct http *h, struct loop *l, struct redactor *r, struct err *e)
{
	struct auth_bridge *ab = calloc(1, sizeof *ab);

	if (!ab) {
		err_set(e, "out of memory");
		return NULL;
	}
	ab->o = o;
	ab->http = h;
	ab->loop = l;
	ab->redactor = r;
	ab->header_file.path = o->header_file;
	ab->token_file.path = o->auth.token_file;
	buf_init(&ab->body, METADATA_MAX);
	buf_init(&ab->header, HEADER_MAX);
	if (auth_setup_init(&ab->setup, o, e) || !(ab->auth = auth_new(&ab->setup.c, e))) {
		auth_bridge_free(ab);
		return NULL;
	}
	if (ab->setup.client_secret)
		redact_add(r, secret_reveal(ab->setup.client_secret));
	if (!o->core.user_authorization) {
		auth_start(ab->auth, loop_now(), loop_wall_now());
		drain_actions(ab, loop_now());
	}
	return ab;
}

void auth_bridge_free(struct auth_bridge *ab)
{
	if (!ab)
		return;
	if (ab->transfer)
		http_cancel(ab->http, ab->transfer);
	if (ab->listener)
		listener_answer(ab->listener, false, "The program that asked for this sign-in has ended.");
	listener_close(ab->listener);
	helper_free(ab->helper);
	auth_free(ab->auth);
	store_close(ab->store);
	auth_setup_fini(&ab->setup);
	if (ab->long_url)
		sodium_memzero(ab->long_url, strlen(ab->long_url));
	free(ab->long_url);
	buf_wipe(&ab->header);
	buf_fini(&ab->header);
	buf_wipe(&ab->body);
	buf_fini(&ab->body);
	free(ab);
}

/* ---- the store -------------------------------------------------------------------------- */

/* Nothing is made on disk before there is something to keep. */
static struct store *store_of(struct auth_bridge *ab, bool make)
{
	struct err why = { "" };

	if (ab->store || ab->store_failed || (!make && !auth_setup_has_store(&ab->setup)))
		return ab->store;
	ab->store = auth_setup_store(&ab->setup, ab->o, &why);
	if (!ab->store) {
		ab->store_failed = true;
		log_warn("sign-ins are not kept: %s", why.text);
	}
	return ab->store;
}

/* ~/.mcp-auth, or where its owner was told to keep it. */
static int import(struct auth_bridge *ab, struct auth_record *r)
{
	const char *home = getenv("HOME"), *given = getenv("MCP_REMOTE_CONFIG_DIR");
	struct span headers[IMPORT_HEADERS];
	struct err why = { "" };
	struct buf lines;
	char dir[4096];
	size_t n, at = 0, i;
	int rc = 0;

	if (!given && !home)
		return 0;
	snprintf(dir, sizeof dir, "%s%s", given ? given : home, given ? "" : "/.mcp-auth");
	buf_init(&lines, HEADER_MAX);
	for (n = 0; n < ab->o->headers.n && n < IMPORT_HEADERS; n++) {
		if (buf_printf(&lines, "%s:", ab->o->headers.v[n].name) || buf_add(&lines, secret_reveal(ab->o->headers.v[n].value)))
			break;
		headers[n].n = lines.len - at;
		at = lines.len;
	}
	for (i = at = 0; i < n; at += headers[i++].n)
		headers[i].p = buf_data(&lines) + at;
	rc = store_import(dir, ab->o->url.text, headers, n, ab->o->auth.resource, r, &why);
	buf_wipe(&lines);
	buf_fini(&lines);
	if (rc < 0)
		log_warn("mcp-remote's files were not read: %s", why.text);
	else if (rc > 0)
		log_info("a sign-in of mcp-remote's was taken over");
	return rc;
}

static void do_load(struct auth_bridge *ab, const char *issuer, int64_t now)
{
	struct auth_record r;
	struct err why = { "" };
	struct store *s = store_of(ab, false);
	int rc = 0;

	auth_record_init(&r);
	if (s)
		rc = store_load(s, issuer, &r, &why);
	if (rc < 0)
		log_warn("%s", why.text);
	if (rc <= 0 && !issuer && ab->o->auth.import)
		rc = import(ab, &r);
	auth_on_loaded(ab->auth, rc > 0 ? &r : NULL, now, loop_wall_now());
	auth_record_fini(&r);
}

static void try_lock(struct auth_bridge *ab, int64_t now)
{
	struct store *s = store_of(ab, true);
	struct auth_record r;
	struct err why = { "" };
	char url[128];
	int rc = s ? store_try_lock(s, &why) : 1;

	if (rc == 0) {
		ab->lock_at = now + LOCK_POLL_MS + (int64_t)randombytes_uniform(LOCK_POLL_MS);
		store_published(s, url, sizeof url);
		auth_on_lock_busy(ab->auth, url);
		return;
	}
	if (rc < 0)
		log_warn("going on without the lock between processes: %s", why.text);
	ab->lock_at = 0;
	auth_record_init(&r);
	rc = s ? store_load(s, NULL, &r, &why) : 0;
	auth_on_locked(ab->auth, rc > 0 ? &r : NULL, now, loop_wall_now());
	auth_record_fini(&r);
}

static void do_save(struct auth_bridge *ab)
{
	struct store *s = store_of(ab, true);
	struct err why = { "" };

	if (s && store_save(s, auth_record(ab->auth), &why))
		log_warn("the sign-in could not be kept: %s", why.text);
}

static void do_unlock(struct auth_bridge *ab)
{
	ab->lock_at = 0;
	if (ab->store)
		store_unlock(ab->store);
}

/* ---- exchanges ------------------------------------------------------------------------------ */

static void do_http(struct auth_bridge *ab, const struct auth_action *a, int64_t now)
{
	struct http_request rq = {
		.token = AUTH_TOKEN_BASE | a->token,
		.method = a->post ? HTTP_POST : HTTP_GET,
		.url = a->url,
		.extra = a->headers,
		.nextra = a->nheaders,
		.body = a->body,
		.timeout_ms = a->timeout_ms,
		.flags = HTTP_FOREIGN,
	};
	struct auth_answer ans = { .unsent = true };
	struct err why = { "" };

	buf_wipe(&ab->body);
	ab->transfer_max = a->max_body;
	if (http_start(ab->http, &rq, &why) == 0) {
		ab->transfer = rq.token;
		return;
	}
	ans.detail = why.text;
	auth_on_http(ab->auth, a->token, &ans, now, loop_wall_now());
}

static void do_cancel(struct auth_bridge *ab, uint64_t token)
{
	if (ab->transfer != (AUTH_TOKEN_BASE | token))
		return;
	http_cancel(ab->http, ab->transfer);
	ab->transfer = 0;
}

static void on_done(struct auth_bridge *ab, const struct http_event *ev, int64_t now)
{
	const struct http_result *r = ev->result;
	struct auth_answer ans = {
		.ok = r->outcome == HTTP_OK && ev->head,
		.unsent = !r->body_sent && !r->got_bytes,
		.detail = r->detail,
		.body = buf_span(&ab->body),
	};
	uint64_t token = ev->token & TOKEN_MASK;

	if (ans.ok) {
		ans.status = ev->head->status;
		ans.location = ev->head->location;
		ans.dpop_nonce = ev->head->dpop_nonce;
		ans.retry_after = ev->head->retry_after;
	}
	log_debug("sign-in: exchange %" PRIu64 " ended: HTTP %d %s", token, ans.status, r->outcome == HTTP_OK ? "" : r->detail);
	ab->transfer = 0;
	auth_on_http(ab->auth, token, &ans, now, loop_wall_now());
	buf_wipe(&ab->body);
}

bool auth_bridge_on_http(struct auth_bridge *ab, const struct http_event *ev, int64_t now)
{
	if ((ev->token & ~TOKEN_MASK) != AUTH_TOKEN_BASE)
		return false;
	if (ev->token != ab->transfer)
		return true;
	if (ev->kind == HTTP_EV_HEAD)
		http_collect(ab->http, ev->token, ab->transfer_max);
	else if (ev->kind == HTTP_EV_DATA && buf_add(&ab->body, ev->data))
		buf_reset(&ab->body);
	else if (ev->kind == HTTP_EV_DONE)
		on_done(ab, ev, now);
	return true;
}

/* ---- people ------------------------------------------------------------------------------------ */

static void do_listen(struct auth_bridge *ab, const struct auth_action *a, int64_t now)
{
	struct listener_config c = {
		.host = ab->o->auth.host,
		.port = a->port,
		.path = ab->o->auth.callback_path,
		.state = a->state,
		.success_url = ab->o->auth.success_url,
		.tag = LISTENER_TAG,
	};
	struct err why = { "" };

	listener_close(ab->listener);
	ab->listener = listener_open(&c, ab->loop, &why);
	auth_on_listening(ab->auth, ab->listener ? listener_port(ab->listener) : 0, why.text, now);
}

static void do_unlisten(struct auth_bridge *ab, bool ok, const char *text)
{
	if (ab->listener)
		listener_answer(ab->listener, ok, text);
	listener_close(ab->listener);
	ab->listener = NULL;
	ab->short_url[0] = '\0';
	if (ab->long_url)
		sodium_memzero(ab->long_url, strlen(ab->long_url));
	free(ab->long_url);
	ab->long_url = NULL;
}

/* A short address in place of the long one, which holds `state` and would
 * stand in process lists, logs and conversations. Used once; then there is a
 * new one for whoever asks. */
static const char *short_url(struct auth_bridge *ab)
{
	unsigned char bytes[16];
	char nonce[32];

	if (!ab->listener || !ab->long_url)
		return NULL;
	if (ab->short_url[0] && listener_shortcut_open(ab->listener))
		return ab->short_url;
	randombytes_buf(bytes, sizeof bytes);
	sodium_bin2base64(nonce, sizeof nonce, bytes, sizeof bytes, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
	if (listener_shortcut(ab->listener, nonce, ab->long_url))
		return NULL;
	snprintf(ab->short_url, sizeof ab->short_url, "http://127.0.0.1:%d/s/%s", listener_port(ab->listener), nonce);
	if (ab->store)
		store_publish(ab->store, ab->short_url);
	return ab->short_url;
}

static void do_browse(struct auth_bridge *ab, const char *url)
{
	const char *address;
	struct err why = { "" };

	free(ab->long_url);
	ab->long_url = strdup(url);
	address = short_url(ab);
	if (!address) {
		auth_abort(ab->auth, "no memory for signing in");
		return;
	}
	log_warn("a sign-in is needed: open %s in a browser on this machine", address);
	if (!ab->o->auth.browser && isatty(STDERR_FILENO))
		dprintf(STDERR_FILENO, "Open this address in a browser to sign in:\n%s\n", url);
	else if (ab->tell_person)
		dprintf(STDERR_FILENO, "Sign in here: %s\n", address);
	if (ab->o->auth.browser && browser_open(address, &why))
		log_info("%s", why.text);
}

/* ---- actions ------------------------------------------------------------------------------------ */

static void do_command(struct auth_bridge *ab, int64_t now)
{
	struct err why = { "" };

	helper_free(ab->helper);
	ab->helper = helper_start(ab->o->auth.token_command, ab->o->auth.token_command_shell, now + HELPER_MS,
	                          ab->loop, HELPER_TAG, &why);
	if (!ab->helper)
		auth_on_value(ab->auth, SPAN_NONE, why.text, now, loop_wall_now());
}

static void look(struct watched *w)
{
	w->known = w->path && stat(w->path, &w->seen) == 0;
}

static void do_read(struct auth_bridge *ab, enum auth_file which, int64_t now)
{
	static const char *const names[] = { "--token-file", "--id-token-file", "--assertion-file" };
	const char *paths[] = { ab->o->auth.token_file, ab->o->auth.id_token_file, ab->o->auth.assertion_file };
	struct buf value;
	struct err why = { "" };
	char text[320];
	int rc;

	buf_init(&value, VALUE_FILE_MAX);
	look(&ab->token_file);
	if (!paths[which])
		rc = err_set(&why, "it is not given");
	else
		rc = file_read(paths[which], VALUE_FILE_MAX, &value, &why);
	snprintf(text, sizeof text, "%s: %s", names[which], why.text);
	auth_on_value(ab->auth, rc == 0 ? buf_span(&value) : SPAN_NONE, rc == 0 ? NULL : text, now, loop_wall_now());
	buf_wipe(&value);
	buf_fini(&value);
}

static void do_log(int level, const char *text)
{
	if (level == AUTH_LOG_WARN)
		log_warn("%s", text);
	else if (level == AUTH_LOG_INFO)
		log_info("%s", text);
	else
		log_debug("%s", text);
}

static void perform(struct auth_bridge *ab, const struct auth_action *a, int64_t now)
{
	switch (a->kind) {
	case AUTH_DO_NOTHING:
	case AUTH_DO_TOKEN:
		break;
	case AUTH_DO_LOAD:
		do_load(ab, a->issuer, now);
		break;
	case AUTH_DO_SAVE:
		do_save(ab);
		break;
	case AUTH_DO_FORGET:
		if (ab->store)
			store_forget(ab->store, NULL);
		break;
	case AUTH_DO_LOCK:
		try_lock(ab, now);
		break;
	case AUTH_DO_UNLOCK:
		do_unlock(ab);
		break;
	case AUTH_DO_HTTP:
		do_http(ab, a, now);
		break;
	case AUTH_DO_CANCEL:
		do_cancel(ab, a->token);
		break;
	case AUTH_DO_LISTEN:
		do_listen(ab, a, now);
		break;
	case AUTH_DO_UNLISTEN:
		do_unlisten(ab, a->ok, a->text);
		break;
	case AUTH_DO_BROWSE:
		do_browse(ab, a->url);
		break;
	case AUTH_DO_SHOW:
		log_warn("%s", a->text);
		if (ab->tell_person)
			dprintf(STDERR_FILENO, "%s\n", a->text);
		break;
	case AUTH_DO_COMMAND:
		do_command(ab, now);
		break;
	case AUTH_DO_READ:
		do_read(ab, a->which, now);
		break;
	case AUTH_DO_SECRET:
		redact_add(ab->redactor, a->secret);
		break;
	case AUTH_DO_FAILED:
		log_warn("sign-in failed: %s", a->text);
		break;
	case AUTH_DO_LOG:
		do_log(a->level, a->text);
		break;
	}
}

static void drain_actions(struct auth_bridge *ab, int64_t now)
{
	struct auth_action a;
	int i;

	for (i = 0; i < DRAIN_ROUNDS && auth_next(ab->auth, &a); i++)
		perform(ab, &a, now);
}

/* ---- the loop's side ------------------------------------------------------------------------------ */

bool auth_bridge_on_event(struct auth_bridge *ab, const struct loop_event *ev, int64_t now)
{
	if ((ev->tag & ~TOKEN_MASK) != AUTH_TOKEN_BASE)
		return false;
	if (ab->listener && listener_on_event(ab->listener, ev, now))
		return true;
	if (ab->helper)
		helper_on_event(ab->helper, ev);
	return true;
}

static bool changed(struct watched *w)
{
	struct stat st;
	bool is = w->path && stat(w->path, &st) == 0 &&
	          (!w->known || st.st_mtim.tv_sec != w->seen.st_mtim.tv_sec || st.st_mtim.tv_nsec != w->seen.st_mtim.tv_nsec ||
	           st.st_size != w->seen.st_size || st.st_ino != w->seen.st_ino);

	if (is) {
		w->seen = st;
		w->known = true;
	}
	return is;
}

static bool reload_headers(struct auth_bridge *ab)
{
	struct err why = { "" };

	look(&ab->header_file);
	if (options_reload_headers(ab->o, &why)) {
		log_warn("--header-file: %s; going on with the headers as they were", why.text);
		return false;
	}
	options_register_secrets(ab->o, ab->redactor);
	ab->reloads++;
	return true;
}

static void look_at_files(struct auth_bridge *ab, int64_t now)
{
	if (now - ab->looked_at < LOOK_MS)
		return;
	ab->looked_at = now;
	if (!ab->header_file.known)
		look(&ab->header_file);
	else if (changed(&ab->header_file))
		reload_headers(ab);
	if (ab->token_file.path && changed(&ab->token_file))
		auth_on_changed(ab->auth, now);
}

static void take_helper(struct auth_bridge *ab, int64_t now)
{
	struct helper *h = ab->helper;
	struct span out = SPAN_NONE;
	struct err why = { "" };
	int rc;

	helper_on_time(h, now);
	rc = helper_result(h, &out, &why);
	if (rc == 0)
		return;
	ab->helper = NULL;
	auth_on_value(ab->auth, rc > 0 ? out : SPAN_NONE, rc > 0 ? NULL : why.text, now, loop_wall_now());
	helper_free(h);
}

void auth_bridge_drain(struct auth_bridge *ab, int64_t now)
{
	struct span query;
	int64_t t = auth_deadline(ab->auth);

	look_at_files(ab, now);
	if (browser_children() > 0)
		browser_reap();
	if (ab->listener) {
		listener_on_time(ab->listener, now);
		if (listener_next(ab->listener, &query))
			auth_on_redirect(ab->auth, query, now, loop_wall_now());
	}
	if (ab->helper)
		take_helper(ab, now);
	if (ab->lock_at && now >= ab->lock_at)
		try_lock(ab, now);
	if (t && now >= t)
		auth_on_time(ab->auth, now, loop_wall_now());
	drain_actions(ab, now);
}

static int64_t sooner(int64_t a, int64_t b)
{
	return !a ? b : !b ? a : a < b ? a : b;
}

int64_t auth_bridge_deadline(const struct auth_bridge *ab)
{
	int64_t t = sooner(auth_deadline(ab->auth), ab->lock_at);

	if (ab->listener)
		t = sooner(t, listener_deadline(ab->listener));
	return ab->helper ? sooner(t, helper_deadline(ab->helper)) : t;
}

/* ---- what the bridge asks ---------------------------------------------------------------------------- */

enum auth_verdict auth_bridge_on_challenge(struct auth_bridge *ab, uint64_t op, unsigned used,
	const struct http_head *head, int64_t now)
{
	enum auth_verdict v;

	if (ab->o->core.user_authorization) {
		if (head->status != 401)
			return AUTH_PASS;
		if (used != auth_bridge_generation(ab))
			return AUTH_AGAIN;
		if (ab->o->header_file && ab->header_file.known && changed(&ab->header_file) && reload_headers(ab))
			return AUTH_AGAIN;
		snprintf(ab->text, sizeof ab->text, "The server refuses the Authorization header that the user's configuration gives "
			"(HTTP 401). It is never replaced by a sign-in: the user has to correct or remove it.");
		return AUTH_REFUSE;
	}
	v = auth_on_challenge(ab->auth, op, used - ab->reloads, head->status, head->www_authenticate, head->dpop_nonce,
	                      now, loop_wall_now());
	drain_actions(ab, now);
	if (v == AUTH_PARK && auth_phase(ab->auth) == AUTH_HAVE)
		v = AUTH_AGAIN; /* another process had a token for us already */
	else if (v == AUTH_PARK && auth_phase(ab->auth) == AUTH_GAVE_UP)
		v = AUTH_REFUSE;
	if (v == AUTH_REFUSE)
		snprintf(ab->text, sizeof ab->text, "Authorization failed: %s.", auth_text(ab->auth));
	return v;
}

void auth_bridge_on_nonce(struct auth_bridge *ab, struct span nonce)
{
	auth_on_nonce(ab->auth, nonce);
}

enum auth_state auth_bridge_state(const struct auth_bridge *ab)
{
	static const enum auth_state states[] = {
		[AUTH_OFF] = AUTH_IDLE, [AUTH_WORKING] = AUTH_RUNNING, [AUTH_HAVE] = AUTH_READY, [AUTH_GAVE_UP] = AUTH_FAILED,
	};

	return states[auth_phase(ab->auth)];
}

unsigned auth_bridge_generation(const struct auth_bridge *ab)
{
	return auth_generation(ab->auth) + ab->reloads;
}

struct span auth_bridge_header(const struct auth_bridge *ab_)
{
	struct auth_bridge *ab = (struct auth_bridge *)(uintptr_t)ab_; /* the text is made when it is first asked for */

	if (ab->header_of != auth_generation(ab->auth)) {
		buf_wipe(&ab->header);
		if (auth_header(ab->auth, &ab->header))
			buf_wipe(&ab->header);
		ab->header_of = auth_generation(ab->auth);
	}
	return buf_span(&ab->header);
}

bool auth_bridge_wants_dpop(const struct auth_bridge *ab)
{
	return ab->o->auth.dpop && auth_generation(ab->auth) > 0;
}

int auth_bridge_dpop(struct auth_bridge *ab, const char *method, const char *url, struct buf *out)
{
	return auth_dpop(ab->auth, method, url, loop_wall_now(), out);
}

const char *auth_bridge_url(struct auth_bridge *ab)
{
	return short_url(ab);
}

const char *auth_bridge_text(struct auth_bridge *ab)
{
	const char *url = short_url(ab);

	if (auth_phase(ab->auth) == AUTH_WORKING && url)
		snprintf(ab->text, sizeof ab->text, "This server needs the user to sign in. Ask the user to open %s in a browser on the "
			"machine where this runs and to finish the sign-in there (the address works once), then try again.", url);
	else if (auth_phase(ab->auth) == AUTH_WORKING)
		snprintf(ab->text, sizeof ab->text, "This server needs authorization: %s. Try again when that is done.", auth_text(ab->auth));
	else if (auth_phase(ab->auth) == AUTH_GAVE_UP)
		snprintf(ab->text, sizeof ab->text, "Authorization failed: %s. The next request may start it again.", auth_text(ab->auth));
	else if (!ab->text[0])
		snprintf(ab->text, sizeof ab->text, "This server needs authorization.");
	return ab->text;
}

void auth_bridge_sign_in(struct auth_bridge *ab, struct span www_authenticate, int64_t now)
{
	auth_sign_in(ab->auth, www_authenticate, now, loop_wall_now());
	drain_actions(ab, now);
}

const struct auth_record *auth_bridge_record(const struct auth_bridge *ab)
{
	return auth_record(ab->auth);
}

void auth_bridge_tell_person(struct auth_bridge *ab)
{
	ab->tell_person = true;
}
