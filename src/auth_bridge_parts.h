/* Shared by auth_bridge*.c only. */
#ifndef AUTH_BRIDGE_PARTS_H
#define AUTH_BRIDGE_PARTS_H

#include <sys/stat.h>

#include "auth/flow.h"
#include "auth/store.h"
#include "auth_bridge.h"
#include "io/listener.h"
#include "options.h"

/* What the options say of signing in, in the machine's words. */
struct auth_setup {
	struct auth_config c;
	char *client_id, *client_auth;       /* from the client info */
	struct secret *client_secret;
	struct jwt_key *key;
	struct buf params;                   /* authorize_params, form-encoded */
	char *state_dir, *config_dir;
	struct buf variant_text;             /* what the variants below point into */
	struct span *variants;
	size_t nvariants;
};

/* 0, or -1 with a sentence (a key file that is none, a bad client info). */
int auth_setup_init(struct auth_setup *s, const struct options *o, struct err *e);
void auth_setup_fini(struct auth_setup *s);
/* Opens the store; NULL with a sentence. */
struct store *auth_setup_store(const struct auth_setup *s, const struct options *o, struct err *e);
/* True when the state directory is there, so that somebody has signed in before. */
bool auth_setup_has_store(const struct auth_setup *s);

#define LISTENER_TAG (AUTH_TOKEN_BASE + 0x100)
#define HELPER_TAG (AUTH_TOKEN_BASE + 0x200)
#define TOKEN_MASK (((uint64_t)1 << 56) - 1)
#define HEADER_MAX ((size_t)40 * 1024)

/* A file whose change is noticed. */
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
	bool unsaved;              /* what was got last is not kept: store_why */
	struct err store_why;

	struct listener *listener;
	struct helper *helper;
	char *long_url;
	char short_url[96];
	bool tell_person;          /* stderr is for a person: the address is printed there */

	uint64_t transfer;         /* running, 0 none */
	size_t transfer_max;
	struct buf body;
	int64_t lock_at;           /* when to try again; 0 not wanted */
	bool busy;                 /* another process holds it, and shows this address */
	char busy_url[128];
	unsigned asked;
	bool person_asked, vain;   /* under the lock that we hold; by the one before us, in vain */

	struct buf header;
	unsigned header_of, reloads;
	unsigned reloaded_at;      /* the generation since the last of them */
	struct watched header_file, token_file;
	int64_t looked_at;
	char text[800];
};

/* auth_bridge_do.c: carries out what the machine asks for; tries for the lock
 * between processes; the address for a person, NULL when none is wanted. */
void bridge_act(struct auth_bridge *ab, int64_t now);
void bridge_try_lock(struct auth_bridge *ab, int64_t now);
const char *bridge_short_url(struct auth_bridge *ab);
void watched_look(struct watched *w);
/* Takes secrets out of a text of at most n bytes, in place: an authorization
 * server may say back what it was given. */
void bridge_hide(const struct auth_bridge *ab, char *text, size_t n);
/* Appends an URL as it may be shown, and a NUL: a query may be a key, and so may a
 * part of the path. */
void bridge_put_url(struct redactor *redactor, const char *text, struct buf *out);

/* For the command line: sign in anew, as auth_sign_in(). */
void auth_bridge_sign_in(struct auth_bridge *ab, struct span www_authenticate, int64_t within_ms, int64_t now);
/* A person starts it and waits: the address is printed for them, and what is
 * kept is not renewed in place of it. To be called before the first turn. */
void auth_bridge_tell_person(struct auth_bridge *ab);

#endif
