/* Carries out what the sign-in machine asks for, and tells it what happened.
 * Like the bridge itself it decides nothing: which exchange comes next, whether
 * a token is good and when to stop is the machine's business. */
#include "auth_bridge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "auth_bridge_parts.h"
#include "auth/metadata.h"
#include "base/log.h"
#include "io/browser.h"

#define WHY_SIZE 512
#define TEXT_ROOM ((size_t)500) /* of what a client is told, by the least that passes it on */
#define LOOK_MS 1000         /* how often files are looked at, when something happens anyway */

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
		bridge_act(ab, loop_now());
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

/* ---- exchanges ------------------------------------------------------------------------------ */

static void on_done(struct auth_bridge *ab, const struct http_event *ev, int64_t now)
{
	const struct http_result *r = ev->result;
	struct auth_answer ans = {
		.ok = r->outcome == HTTP_OK && ev->head,
		.unsent = !r->body_sent && !r->got_bytes,
		.unfit = (r->outcome == HTTP_BAD && r->got_bytes) || r->outcome == HTTP_NOMEM || r->outcome == HTTP_ABORTED,
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

static void reload_headers(struct auth_bridge *ab)
{
	struct err why = { "" };

	watched_look(&ab->header_file);
	if (options_reload_headers(ab->o, &why)) {
		log_warn("--header-file: %s; going on with the headers as they were", why.text);
		return;
	}
	options_register_secrets(ab->o, ab->redactor);
	ab->reloads++;
	ab->reloaded_at = auth_bridge_generation(ab);
}

static void look_at_files(struct auth_bridge *ab, int64_t now)
{
	if (now - ab->looked_at < LOOK_MS)
		return;
	ab->looked_at = now;
	if (!ab->header_file.known)
		watched_look(&ab->header_file);
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
		if (auth_waits_for_person(ab->auth))
			bridge_short_url(ab); /* another when it was used: the window may have been closed */
	}
	if (ab->helper)
		take_helper(ab, now);
	if (ab->lock_at && now >= ab->lock_at)
		bridge_try_lock(ab, now);
	if (t && now >= t)
		auth_on_time(ab->auth, now, loop_wall_now());
	bridge_act(ab, now);
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

static void clean_text(const struct auth_bridge *ab, char *out, size_t n)
{
	snprintf(out, n, "%s", auth_text(ab->auth));
	bridge_hide(ab, out, n);
}

enum auth_verdict auth_bridge_on_challenge(struct auth_bridge *ab, uint64_t op, unsigned used,
	const struct http_head *head, int64_t now)
{
	char why[WHY_SIZE];
	enum auth_verdict v;

	/* What is refused may be what --header-file held, an Authorization or not. */
	if (head->status == 401 && used == auth_bridge_generation(ab) && ab->header_file.known && changed(&ab->header_file))
		reload_headers(ab);
	if (head->status == 401 && ab->reloads && used < ab->reloaded_at)
		return AUTH_AGAIN;
	if (ab->o->core.user_authorization) {
		if (head->status != 401)
			return AUTH_PASS;
		snprintf(ab->text, sizeof ab->text, "The server refuses the Authorization header that the user's configuration gives "
			"(HTTP 401). It is never replaced by a sign-in: the user has to correct or remove it.");
		return AUTH_REFUSE;
	}
	v = auth_on_challenge(ab->auth, op, used - ab->reloads, head->status, head->www_authenticate, head->dpop_nonce,
	                      now, loop_wall_now());
	bridge_act(ab, now);
	if (v == AUTH_PARK && auth_phase(ab->auth) == AUTH_HAVE)
		v = AUTH_AGAIN; /* another process had a token for us already */
	else if (v == AUTH_PARK && auth_phase(ab->auth) == AUTH_GAVE_UP)
		v = AUTH_REFUSE;
	if (v == AUTH_REFUSE) {
		clean_text(ab, why, sizeof why);
		snprintf(ab->text, sizeof ab->text, "Authorization failed: %s.", why);
	}
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

struct span auth_bridge_header(struct auth_bridge *ab)
{
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

int64_t auth_bridge_pause_until(const struct auth_bridge *ab, int64_t now)
{
	int64_t pause = auth_pause(ab->auth, now);

	return pause > 0 ? now + pause : 0;
}

const char *auth_bridge_awaits(const struct auth_bridge *ab, int64_t *until)
{
	return auth_awaits(ab->auth, until);
}

const struct breaker_view *auth_bridge_breaker(const struct auth_bridge *ab)
{
	return auth_breaker(ab->auth);
}

unsigned auth_bridge_asked(const struct auth_bridge *ab)
{
	return ab->asked;
}

const char *auth_bridge_url(struct auth_bridge *ab)
{
	return bridge_short_url(ab);
}

/* What lasts longer than we do: many clients end a bridge whose initialize has
 * failed, and its address or code with it. Left out where there is no room. */
static void add_login(struct auth_bridge *ab)
{
	bool person = ab->setup.c.mode == AUTH_MODE_CODE || ab->setup.c.mode == AUTH_MODE_DEVICE;
	bool plain = ab->setup.c.mode == AUTH_MODE_CODE && ab->setup.nvariants <= 1; /* the mode is always one */
	size_t n = strlen(ab->text);
	struct buf more;

	if (!person || (!auth_waits_for_person(ab->auth) && !ab->busy))
		return;
	buf_init(&more, TEXT_ROOM);
	if (buf_puts(&more, " Or run: mcp-holdfast login ") == 0) {
		bridge_put_url(ab->redactor, ab->o->url.text, &more);
		more.len -= more.len > 0;
		if (buf_printf(&more, " in a terminal%s.", plain ? "" : ", with the same options") == 0 && n + more.len <= TEXT_ROOM)
			snprintf(ab->text + n, sizeof ab->text - n, "%.*s", (int)more.len, buf_data(&more));
	}
	buf_fini(&more);
}

const char *auth_bridge_text(struct auth_bridge *ab)
{
	const char *url = bridge_short_url(ab);
	char why[WHY_SIZE];

	clean_text(ab, why, sizeof why);
	if (auth_phase(ab->auth) == AUTH_WORKING && url)
		snprintf(ab->text, sizeof ab->text, "This server needs the user to sign in. Ask the user to open %s in a browser on the "
			"machine where this runs and to finish the sign-in there (the address works once), then try again.", url);
	else if (auth_phase(ab->auth) == AUTH_WORKING)
		snprintf(ab->text, sizeof ab->text, "This server needs authorization: %s. Try again when that is done.", why);
	else if (auth_phase(ab->auth) == AUTH_GAVE_UP)
		snprintf(ab->text, sizeof ab->text, "Authorization failed: %s.%s", why,
		         auth_pause(ab->auth, loop_now()) > 0 ? "" : " The next request may start it again.");
	else if (!ab->text[0])
		snprintf(ab->text, sizeof ab->text, "This server needs authorization.");
	if (auth_phase(ab->auth) == AUTH_WORKING)
		add_login(ab);
	return ab->text;
}

void auth_bridge_sign_in(struct auth_bridge *ab, struct span www_authenticate, int64_t within_ms, int64_t now)
{
	auth_sign_in(ab->auth, www_authenticate, within_ms, now, loop_wall_now());
	bridge_act(ab, now);
}

const char *auth_bridge_unkept(const struct auth_bridge *ab)
{
	return ab->unsaved ? ab->store_why.text : NULL;
}

void auth_bridge_on_end(struct auth_bridge *ab)
{
	auth_on_end(ab->auth);
}

bool auth_bridge_is_spending(const struct auth_bridge *ab)
{
	return auth_is_spending(ab->auth);
}

void auth_bridge_tell_person(struct auth_bridge *ab)
{
	ab->tell_person = true;
	auth_await_sign_in(ab->auth);
}
