/* The inside of the sign-in machine, shared by the files flow*.c only: flow.c
 * (facts in, brakes), flow_queue.c (actions out), flow_challenge.c (401 and
 * 403), flow_discover.c (who is the authorization server), flow_client.c (who
 * are we to it), flow_person.c (a person consents), flow_grant.c (get a token),
 * flow_value.c (files and helpers), flow_breaker.c (servers that are away). */
#ifndef AUTH_FLOW_PARTS_H
#define AUTH_FLOW_PARTS_H

#include "auth/challenge.h"
#include "auth/flow.h"
#include "auth/metadata.h"
#include "auth/token.h"
#include "base/backoff.h"
#include "base/breaker.h"
#include "base/bucket.h"
#include "base/rng.h"
#include "base/url.h"

enum step {
	STEP_IDLE,
	STEP_LOAD,        /* the stored record, at the start */
	STEP_LOCK,        /* until no other process works on the same sign-in */
	STEP_RESOURCE,    /* protected resource metadata */
	STEP_SERVER,      /* authorization server metadata */
	STEP_RECALL,      /* the record of a server that is not the one we knew */
	STEP_LISTEN,      /* for the redirect */
	STEP_REGISTER,
	STEP_PERSON,      /* consents in a browser */
	STEP_CODE,        /* code for token */
	STEP_REFRESH,
	STEP_REREAD,      /* the refresh token was refused: did another process use it? */
	STEP_DEVICE,      /* device code asked for */
	STEP_POLL,        /* device code shown */
	STEP_CLIENT,      /* client credentials for token */
	STEP_VALUE,       /* a file or helper that gives a token or an assertion */
	STEP_EXCHANGE,    /* ID token for ID-JAG */
	STEP_ASSERTION,   /* assertion for token */
	STEP_COUNT
};

#define FLOW_ACTIONS 32
enum { HEADER_ACCEPT, HEADER_TYPE, HEADER_CLIENT, HEADER_PROOF, FLOW_HEADERS };
#define NO_CANDIDATE (-2) /* all failed, and the first comes again */
#define FLOW_OPERATIONS 64 /* remembered for the limit; the oldest gives way */
struct queued {
	enum auth_do kind;
	uint64_t token;
	int port, level;
	bool ok;
	enum auth_file which;
	const char *circuit;         /* a literal */
	char *text;
	struct secret *secret;
};

/* A server that signing in depends on. */
enum party { PARTY_SERVER, PARTY_PROVIDER };
#define FLOW_DEPENDENCIES 8
struct dependency {
	char *origin;                /* NULL: a free place */
	enum party party;
	struct breaker breaker;
	struct backoff backoff;
	int failing;                 /* how far into a flow it fails; 0: nowhere */
	int64_t next_at;             /* while the breaker is open: of the next probe */
	uint64_t used;
};

struct auth {
	struct auth_config c;        /* strings owned */
	struct url mcp;
	enum auth_phase phase;
	enum step step;
	int64_t now, wall;           /* of the fact being handled */

	struct auth_record rec;
	bool unsaved;                /* it is newer than what is kept */
	struct jwt_key *dpop;
	struct buf rs_nonce, as_nonce;
	unsigned generation, own_generation; /* own: of the token that was given to this process last */
	int64_t refresh_at;          /* monotonic; 0: not planned */
	int refresh_failures;

	/* The flow under way. */
	bool challenged;             /* a token is needed; else it is a refresh ahead of time */
	bool step_up, fresh;         /* fresh: the refresh token is no way out */
	bool vain;                   /* a person was asked by the process that was waited for, in vain */
	bool locked, listening, guessed; /* guessed: 2025-03-26, no resource metadata */
	bool trouble;                /* a candidate failed for network reasons */
	bool place_lost;             /* a place of the server's metadata gave no answer in this round */
	bool held;                   /* an outage is being waited out */
	int64_t hold_pause_ms;       /* before the last round of asking every place again; 0: there was none */
	int64_t hold_until;          /* whoever wants the token waits until then; 0: nobody */
	int64_t find_ms, find_until; /* a person waits for the metadata so long at most; 0: nobody does */
	char *challenge_scope, *hinted; /* hinted: resource_metadata of the challenge */
	char *want_scope;            /* asked for in this flow */
	struct prm prm;
	struct as_meta as;
	struct err refusal;          /* why a document was not used */
	int candidate, redirects;
	int64_t person_until;
	char state[48], verifier[48];
	int port;
	struct secret *grant;        /* code, device code, ID-JAG or assertion in use */
	int64_t poll_at, poll_ms;
	bool nonce_retried;

	/* The one exchange. */
	uint64_t http_token, http_last;
	bool http_running, http_post;
	struct buf url, body, header[FLOW_HEADERS];
	struct span headers[FLOW_HEADERS];
	size_t nheaders;
	int http_tries;
	int64_t http_again_at, http_until; /* until: the one that runs is given up then */

	struct queued queue[FLOW_ACTIONS];
	size_t qhead, qlen;
	struct queued current;
	bool overflow;

	struct operation { uint64_t op; int flows, nonces; int64_t at; } ops[FLOW_OPERATIONS];
	size_t next_op;
	struct dependency servers[FLOW_DEPENDENCIES], *asked; /* asked: by the exchange that runs */
	struct breaker_view away;    /* of them */
	struct rng rng;
	struct bucket flows, people, grants; /* brakes: sign-ins, windows opened before a person, token requests */

	char text[512];
};

/* flow.c */
void flow_begin(struct auth *a);
void flow_enter(struct auth *a, enum step s);
/* The end of a flow, either way. */
void flow_fail(struct auth *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void flow_succeed(struct auth *a);
/* The end of a flow that nobody waits for, and of the sign-in. */
void flow_sign_out(struct auth *a);
void flow_random_text(struct auth *a, char out[44]);

/* flow_queue.c */
/* Queues an action that needs nothing but its kind. */
void flow_do(struct auth *a, enum auth_do kind);
void flow_log(struct auth *a, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* At the level INFO, with the state of a circuit breaker. */
void flow_log_circuit(struct auth *a, const char *circuit, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void flow_secret(struct auth *a, struct span s);
void flow_read(struct auth *a, enum auth_file which);
void flow_load(struct auth *a, const char *issuer);
void flow_listen(struct auth *a, int port);
void flow_show(struct auth *a, enum auth_do kind, const char *text);
void flow_tell(struct auth *a, enum auth_do kind, bool ok, const char *text);
/* Begins an exchange with a->url, a->body (POST) and the header lines so far. */
void flow_get(struct auth *a, const char *url);
int flow_post_begin(struct auth *a, const char *url);
void flow_post(struct auth *a, const char *content_type);
/* Once more, after a pause; and not at all any more. */
void flow_resend(struct auth *a);
void flow_cancel(struct auth *a);
void flow_forget(struct queued *q);

/* flow_discover.c */
void discover_begin(struct auth *a);
/* The authorization server's metadata, from the first place on. */
void discover_server(struct auth *a);
void discover_on_resource(struct auth *a, const struct auth_answer *ans);
void discover_on_server(struct auth *a, const struct auth_answer *ans);
void discover_on_recalled(struct auth *a, const struct auth_record *r);
/* The default place of an endpoint answered no success, or nothing of use (error:
 * the code in it, or ""). Where no metadata was found anywhere, and that looks like
 * no endpoint at all, the flow is failed with what to do, and the answer is true. */
bool discover_was_vain(struct auth *a, const char *path, int status, const char *error);
/* The authorization server that was named, whose metadata is wanted. */
const char *discover_issuer(const struct auth *a);
/* What goes into `resource`: NULL to leave it out. */
const char *discover_resource(const struct auth *a);

/* flow_client.c */
void client_begin(struct auth *a);
void client_on_listening(struct auth *a, int port, const char *why);
void client_on_registered(struct auth *a, const struct auth_answer *ans);
void client_redirect_uri(const struct auth *a, char *out, size_t n);
int client_scope(struct auth *a);
/* The authorization server refused what was asked for, with this error code:
 * scopes of former sign-ins are not asked for again where they may be why. */
void client_on_refused(struct auth *a, const char *error);
/* The registration is not used any more. */
void client_forget(struct auth *a);
/* A sign-in with a registration that was good once has come to nothing, perhaps
 * because the server has lost it: it shows that to the person alone. The next
 * one registers anew, unless a refresh token depends on it. */
void client_doubt(struct auth *a);
/* Takes the identity that needs no registration: 1 taken, 0 none, -1 no memory. */
int client_identity(struct auth *a);

/* flow_person.c */
void person_browse(struct auth *a);
void person_on_redirect(struct auth *a, struct span query);
void person_device(struct auth *a);
void person_on_device(struct auth *a, const struct auth_answer *ans);
/* Not yet: true when the answer to a poll means to go on polling. */
bool person_poll_again(struct auth *a, const struct auth_answer *ans, const char *error);

/* flow_grant.c */
void grant_begin(struct auth *a);
/* Builds and sends the token request of step s, anew each time it is called. */
void grant_request(struct auth *a, enum step s);
const char *grant_endpoint(const struct auth *a);
/* Adds the client's authentication and, where DPoP is used, a proof. */
int grant_authenticate(struct auth *a);
int grant_dpop_key(struct auth *a);
void grant_on_token(struct auth *a, const struct auth_answer *ans);
void grant_on_exchange(struct auth *a, const struct auth_answer *ans);
void grant_on_reread(struct auth *a, const struct auth_record *r);
/* The record that was kept, unless it is the one that could not be replaced: then NULL. */
const struct auth_record *grant_kept(const struct auth *a, const struct auth_record *r);
/* r: what is kept. Where that is nothing any more, another process has signed out
 * (logout): then the tokens are given up, with all that belongs to them. */
bool grant_forgotten(struct auth *a, const struct auth_record *r);
/* Plans the next refresh for the token there is. */
void grant_plan(struct auth *a);
/* Takes over a record: its token, scope, client and DPoP key. */
int grant_adopt(struct auth *a, const struct auth_record *r);

/* flow_value.c */
void value_begin(struct auth *a);
void value_on_read(struct auth *a, struct span value, const char *why);

/* flow_breaker.c */
void circuit_init(struct auth *a);
/* May a flow begin, and may the exchange in a->url go out? When a server that
 * it needs is away the flow is failed, and the answer is false. It is false, too,
 * when the exchange goes out later, at http_again_at. */
bool circuit_lets_begin(struct auth *a);
bool circuit_lets_ask(struct auth *a);
/* How the exchange ended; false when its server is not to be asked again now. */
bool circuit_on_answer(struct auth *a, const struct auth_answer *ans);
/* True when the outage of the server that was just asked is waited out: then
 * http_again_at says when it is asked again. */
bool circuit_holds(struct auth *a);
/* The flow is over, whatever became of it. */
void circuit_on_end(struct auth *a);
/* Ms until every server that is away, or has said when to come back, may be asked again. */
int64_t circuit_pause(const struct auth *a, int64_t now);
void circuit_free(struct auth *a);

#endif
