/* Shared by auth_bridge*.c only. */
#ifndef AUTH_BRIDGE_PARTS_H
#define AUTH_BRIDGE_PARTS_H

#include "auth/flow.h"
#include "auth/store.h"
#include "auth_bridge.h"
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
	struct span variants[64];
	size_t nvariants;
};

/* 0, or -1 with a sentence (a key file that is none, a bad client info). */
int auth_setup_init(struct auth_setup *s, const struct options *o, struct err *e);
void auth_setup_fini(struct auth_setup *s);
/* Opens the store; NULL with a sentence. */
struct store *auth_setup_store(const struct auth_setup *s, const struct options *o, struct err *e);
/* True when the state directory is there, so that somebody has signed in before. */
bool auth_setup_has_store(const struct auth_setup *s);

/* For the command line: sign in anew. www_authenticate: what the server says
 * to a request without a token; SPAN_NONE. */
void auth_bridge_sign_in(struct auth_bridge *ab, struct span www_authenticate, int64_t now);
const struct auth_record *auth_bridge_record(const struct auth_bridge *ab);
/* A person starts it and waits: the address is printed for them. */
void auth_bridge_tell_person(struct auth_bridge *ab);

#endif
