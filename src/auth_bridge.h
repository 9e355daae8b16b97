/* Where the pure sign-in machine meets the loop: owns the machine, the store,
 * the loopback listener, the browser and the helper command, and makes the
 * machine's HTTP exchanges on the bridge's own http (always HTTP_FOREIGN, so
 * that no header or cookie meant for the MCP server goes along, and its
 * certificate and unix socket only to its own origin).
 *
 * For bridge.c, in this order on every turn: auth_bridge_on_event() and
 * auth_bridge_on_http() for each fact, auth_bridge_drain() before waiting,
 * auth_bridge_deadline() into the wait. auth_bridge_generation() changes when
 * the Authorization header did: rebuild the shared headers then. */
#ifndef AUTH_BRIDGE_H
#define AUTH_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/flow.h"
#include "base/buf.h"
#include "base/err.h"
#include "base/redact.h"
#include "base/span.h"
#include "io/http.h"
#include "io/loop.h"

struct auth_bridge;
struct options;

/* Numbers of our transfers and loop tags have this in their highest byte. */
#define AUTH_TOKEN_BASE ((uint64_t)0xA0 << 56)

/* Everything is borrowed and must outlive it. The options are written to only
 * when --header-file has changed (options_reload_headers(); the generation
 * changes then, too). A stored token is read here, so
 * auth_bridge_header() may be ready at once. When the user's own headers hold
 * an Authorization, it never signs in: every challenge is AUTH_REFUSE. */
struct auth_bridge *auth_bridge_new(struct options *o, struct http *h, struct loop *l,
	struct redactor *r, struct err *e);
/* Stops the flow, the listener and the helper; releases the lock. */
void auth_bridge_free(struct auth_bridge *ab);

/* The MCP endpoint answered 401 or 403. op: the client's operation (ledger
 * number; 0 for what is none), used: auth_bridge_generation() when the request
 * was built. See enum auth_verdict: AUTH_PARK wait for the state to leave
 * AUTH_RUNNING; AUTH_AGAIN send again now; AUTH_REFUSE answer auth_required
 * with auth_bridge_text(); AUTH_PASS treat it as any other 4xx. */
enum auth_verdict auth_bridge_on_challenge(struct auth_bridge *ab, uint64_t op, unsigned used,
	const struct http_head *head, int64_t now);
/* Any response of the MCP endpoint that carries a DPoP-Nonce. */
void auth_bridge_on_nonce(struct auth_bridge *ab, struct span nonce);

/* True when the fact was ours. */
bool auth_bridge_on_event(struct auth_bridge *ab, const struct loop_event *ev, int64_t now);
bool auth_bridge_on_http(struct auth_bridge *ab, const struct http_event *ev, int64_t now);
/* Carries out what the machine asks for. Never blocks on the network. */
void auth_bridge_drain(struct auth_bridge *ab, int64_t now);
/* Monotonic ms at which auth_bridge_drain() must be called at the latest; 0: none. */
int64_t auth_bridge_deadline(const struct auth_bridge *ab);

enum auth_state {
	AUTH_IDLE,     /* no token, none wanted yet */
	AUTH_RUNNING,  /* no usable token, one is being got: park */
	AUTH_READY,    /* there is a token (a silent refresh does not leave this state) */
	AUTH_FAILED,   /* the last flow failed: refuse what is parked; a new challenge may start again */
};
enum auth_state auth_bridge_state(const struct auth_bridge *ab);
/* 0 before the first token; another number whenever the header is another one. */
unsigned auth_bridge_generation(const struct auth_bridge *ab);
/* "Authorization: ..." for the MCP origin, n == 0 when there is none. Lives
 * until the generation changes. Registered with the redactor already. */
struct span auth_bridge_header(struct auth_bridge *ab);
/* True when each MCP request needs a proof of its own (--dpop and a DPoP token). */
bool auth_bridge_wants_dpop(const struct auth_bridge *ab);
/* Appends "DPoP: ..." for one request: 1; 0 when none is needed; -1 no memory. method: "POST". */
int auth_bridge_dpop(struct auth_bridge *ab, const char *method, const char *url, struct buf *out);
/* For auth_required: what to do now (with the short login address while a
 * person is waited for) or why it failed. Never NULL; until the next call. */
const char *auth_bridge_text(struct auth_bridge *ab);
/* Monotonic ms before which no token is asked for, since a server that gives
 * them has been away for long; 0: there is no such time. */
int64_t auth_bridge_pause_until(const struct auth_bridge *ab, int64_t now);
/* Which server a token that is wanted waits for, a literal; NULL: none. *until:
 * monotonic ms at which this attempt is given up, or the next one begins. */
const char *auth_bridge_awaits(const struct auth_bridge *ab, int64_t *until);
/* The circuit breakers of the servers that give tokens; it is kept up to date. */
const struct breaker_view *auth_bridge_breaker(const struct auth_bridge *ab);
/* Another number whenever somebody is asked to do something else, or is told of
 * another address: auth_bridge_text() has changed. */
unsigned auth_bridge_asked(const struct auth_bridge *ab);
/* The short login address alone, for URL elicitation; NULL when none is open. */
const char *auth_bridge_url(struct auth_bridge *ab);
/* Why what was got last could not be stored; NULL: it was, or was not to be. */
const char *auth_bridge_unkept(const struct auth_bridge *ab);
/* The process ends: nobody is asked to sign in any more. */
void auth_bridge_on_end(struct auth_bridge *ab);
/* A sign-in is lost if the process ends now: see auth_is_spending(). */
bool auth_bridge_is_spending(const struct auth_bridge *ab);

/* login, logout and list: an exit status. They run a loop of their own. */
int auth_cli_login(struct options *o, struct redactor *r);
int auth_cli_logout(struct options *o, struct redactor *r);
int auth_cli_list(struct options *o, struct redactor *r);

#endif
