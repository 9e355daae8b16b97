/* The acting half of the sign-in's place in the loop: one function for each
 * thing the machine can ask for. What comes of it is told to the machine at
 * once, or by auth_bridge.c when it has happened. */
#include "auth_bridge.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "auth_bridge_parts.h"
#include "base/log.h"
#include "io/browser.h"

#define VALUE_FILE_MAX ((size_t)64 * 1024)
#define HELPER_MS 30000
#define IN_VAIN "!"          /* published by a process whose sign-in has failed */
#define LOCK_POLL_MS 60      /* and up to as much again */
#define IMPORT_HEADERS 32
#define DRAIN_ROUNDS 64      /* facts and actions feed each other; more is a fault of ours */

/* ---- the store -------------------------------------------------------------------------- */

/* Nothing is made on disk before there is something to keep. */
static struct store *store_of(struct auth_bridge *ab, bool make)
{
	if (ab->store || ab->store_failed || (!make && !auth_setup_has_store(&ab->setup)))
		return ab->store;
	ab->store = auth_setup_store(&ab->setup, ab->o, &ab->store_why);
	if (!ab->store) {
		ab->store_failed = true;
		log_warn("sign-ins are not kept: %s", ab->store_why.text);
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
	for (n = 0; n < ab->o->given.n && n < IMPORT_HEADERS; n++) {
		const struct header *h = &ab->o->given.v[n];

		if (buf_printf(&lines, "%s:", h->name) || buf_add(&lines, secret_reveal(h->typed ? h->typed : h->value)))
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
	bool imported = false;
	int rc = 0;

	auth_record_init(&r);
	if (s)
		rc = store_load(s, issuer, &r, &why);
	if (rc < 0)
		log_warn("%s", why.text);
	if (rc <= 0 && !issuer && ab->o->auth.import && !(s && store_forgotten(s)))
		imported = (rc = import(ab, &r)) > 0;
	auth_on_loaded(ab->auth, rc > 0 ? &r : NULL, now, loop_wall_now());
	if (imported)
		auth_on_saved(ab->auth, false);
	auth_record_fini(&r);
}

/* Another process signs in, or none does any more (url NULL). */
static void note_busy(struct auth_bridge *ab, const char *url)
{
	if (ab->busy == (url != NULL) && (!url || strcmp(url, ab->busy_url) == 0))
		return;
	ab->busy = url != NULL;
	snprintf(ab->busy_url, sizeof ab->busy_url, "%s", url ? url : "");
	ab->asked++;
	if (url && ab->tell_person)
		dprintf(STDERR_FILENO, "Waiting: %s.\n", auth_text(ab->auth));
}

static void read_under_lock(struct auth_bridge *ab, struct store *s, int64_t now)
{
	struct auth_record r;
	struct err why = { "" };
	int rc = 0;

	auth_record_init(&r);
	if (s)
		rc = store_load(s, NULL, &r, &why);
	if (rc < 0)
		log_warn("%s", why.text);
	auth_on_locked(ab->auth, rc > 0 ? &r : rc < 0 ? auth_record(ab->auth) : NULL, now, loop_wall_now());
	auth_record_fini(&r);
}

void bridge_try_lock(struct auth_bridge *ab, int64_t now)
{
	struct store *s = store_of(ab, true);
	struct err why = { "" };
	char url[sizeof ab->busy_url];
	int rc = s ? store_try_lock(s, &why) : 1;

	if (rc == 0) {
		ab->lock_at = now + LOCK_POLL_MS + (int64_t)randombytes_uniform(LOCK_POLL_MS);
		if (store_published(s, url, sizeof url) || strcmp(url, IN_VAIN) == 0)
			url[0] = '\0';
		auth_on_lock_busy(ab->auth, url);
		note_busy(ab, url);
		return;
	}
	ab->vain = rc > 0 && s && ab->busy && store_published(s, url, sizeof url) == 0 && strcmp(url, IN_VAIN) == 0;
	if (ab->vain)
		auth_on_lock_vain(ab->auth);
	else if (s)
		store_publish(s, "");
	note_busy(ab, NULL);
	if (rc < 0)
		log_warn("going on without the lock between processes: %s", why.text);
	ab->lock_at = 0;
	read_under_lock(ab, s, now);
}

static void do_save(struct auth_bridge *ab)
{
	struct store *s = store_of(ab, true);
	bool ok = s && store_save(s, auth_record(ab->auth), &ab->store_why) == 0;

	ab->unsaved = !ok;
	if (s && !ok)
		log_warn("the sign-in could not be kept: %s", ab->store_why.text);
	auth_on_saved(ab->auth, ok);
}

static void do_unlock(struct auth_bridge *ab)
{
	ab->lock_at = 0;
	note_busy(ab, NULL);
	if (ab->store) {
		store_publish(ab->store, (ab->person_asked || ab->vain) && auth_phase(ab->auth) == AUTH_GAVE_UP ? IN_VAIN : "");
		store_unlock(ab->store);
	}
	ab->person_asked = ab->vain = false;
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
		.flags = http_foreign(&ab->o->url, a->url),
	};
	struct auth_answer ans = { .unsent = true, .unfit = true };
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

void bridge_hide(const struct auth_bridge *ab, char *text, size_t n)
{
	struct buf clean;

	buf_init(&clean, 16 * n);
	if (redact_text(ab->redactor, span_str(text), &clean) == 0 && buf_append(&clean, "", 1) == 0)
		snprintf(text, n, "%s", buf_data(&clean));
	else
		text[0] = '\0';
	buf_fini(&clean);
}

/* What stands in a query may be a key, and so may a part of the path. */
void bridge_put_url(struct redactor *redactor, const char *text, struct buf *out)
{
	struct url u;
	size_t n;

	if (url_parse(&u, text, NULL) == 0) {
		n = strcspn(u.text, "?");
		if (redact_add_path(redactor, span_str(u.path)) == 0)
			redact_text(redactor, span_make(u.text, n), out);
		if (u.text[n])
			buf_puts(out, "?[hidden]");
		url_fini(&u);
	}
	buf_append(out, "", 1);
}

static void do_unlisten(struct auth_bridge *ab, bool ok, const char *text)
{
	char shown[512];

	snprintf(shown, sizeof shown, "%s", text);
	bridge_hide(ab, shown, sizeof shown);
	if (ab->listener)
		listener_answer(ab->listener, ok, shown);
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
const char *bridge_short_url(struct auth_bridge *ab)
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
	ab->asked++;
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
	address = bridge_short_url(ab);
	if (!address) {
		auth_abort(ab->auth, "no memory for signing in");
		return;
	}
	ab->person_asked = true;
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

void watched_look(struct watched *w)
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
	watched_look(&ab->token_file);
	if (!paths[which])
		rc = err_set(&why, "it is not given");
	else
		rc = file_read(paths[which], VALUE_FILE_MAX, &value, &why);
	snprintf(text, sizeof text, "%s: %s", names[which], why.text);
	auth_on_value(ab->auth, rc == 0 ? span_without_mark(buf_span(&value)) : SPAN_NONE, rc == 0 ? NULL : text, now, loop_wall_now());
	buf_wipe(&value);
	buf_fini(&value);
}

static void do_log(int level, const char *circuit, const char *text)
{
	struct log_fields f = { .circuit = circuit, .kind = "circuit breaker of a sign-in" };

	if (circuit)
		log_line_with(LOG_INFO, &f, "%s", text);
	else if (level == AUTH_LOG_WARN)
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
	case AUTH_DO_LOCK:
		bridge_try_lock(ab, now);
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
		ab->asked++;
		ab->person_asked = true;
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
		do_log(a->level, a->circuit, a->text);
		break;
	}
}

void bridge_act(struct auth_bridge *ab, int64_t now)
{
	struct auth_action a;
	int i;

	for (i = 0; i < DRAIN_ROUNDS && auth_next(ab->auth, &a); i++)
		perform(ab, &a, now);
}
