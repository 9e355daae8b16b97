/* The inside of the translation between eras, shared by eras.c (both ways),
 * eras_discover.c, eras_mirror.c, eras_legacy.c (legacy client, modern server) and,
 * for a modern client on a legacy server, eras_modern.c, eras_listen.c and eras_input.c. */
#ifndef CORE_ERAS_I_H
#define CORE_ERAS_I_H

#include "core/session_i.h"

/* Why a request is refused that there is no memory to translate. */
#define NO_ROOM "There was not enough memory for the answer"

/* What a request of the client needs beyond the ledger, hung on its `extra`. */
struct translation {
	struct buf id;         /* the id its answer goes out under, when a retry has another */
	struct buf state;      /* raw requestState of the server, for the next round */
	struct buf inputs;     /* raw inputResponses object, for the next round */
	unsigned waiting;      /* inputs the client has not given yet */
	bool acknowledged;     /* listen: the client has had its acknowledgement */
	bool gap, back;        /* listen: it broke, so that something may be missed; and it is open again */
	bool local;            /* listen of a modern client on a legacy server: nothing is posted */
	unsigned mirrored;     /* how often -32020 was answered by listing again */
	bool paced, told;      /* RQ_SUBSCRIBE of a modern client's listen; and the server has answered it */
	bool mirrors_due;      /* it waits for that list */
	bool with_client;      /* the client holds an input_required result for it */
	int64_t expires;       /* with_client: until then a retry is awaited */
	struct buf answer;     /* with_client: the server's answer came meanwhile */
	struct buf asked;      /* with_client: raw id, method and params of the server's requests, a line each */
	uint64_t asked_epoch;  /* the session that asked them */
	struct buf progress;   /* raw progress token of the retry, which has one of its own */
	int refused;           /* HTTP status of a refusal that stands if the server's era is what it was; 0 none */
	struct buf refusal;    /* and its body */
};

/* An input that the bridge asked the legacy client for. */
struct input {
	char id[48];
	uint64_t token;        /* the request it is for */
	struct buf key;        /* raw key, with quotes */
	struct input *next;
};

struct eras {
	struct buf info, caps; /* the client's, raw JSON */
	struct buf level;      /* raw log level string a legacy client has set */
	struct buf discover;   /* result of server/discover */
	char offer[16];        /* version that a legacy server is offered for a modern client; "": the newest */
	struct request *listen, *old_listen; /* ours, for a legacy client */
	bool listen_dirty;
	int64_t relisten_at;   /* not before this */
	struct subscription *goodbyes; /* resources that a legacy server is to be told the end of */
	uint64_t goodbye_epoch;
	bool subs_due;         /* there are some that it is to be told of */
	unsigned asking, asking_fails; /* RQ_SUBSCRIBE under way; failed in a row */
	bool asking_off;       /* to end it */
	int64_t asking_after;
	int64_t log_until;     /* messages that came on no request's stream are wanted */
	int64_t compare_at, compared_at; /* after a gap: what the server offers, with what the client knows */
	struct input *inputs;
	unsigned char key[32];
	uint64_t counter;
	bool asked_again;      /* server/discover, after -32022 */
	struct request *mirrors; /* RQ_MIRROR under way */
	unsigned mirror_pages;
	int64_t doubted_at;    /* whether the server is a modern one was asked last */
};

struct eras *eras_get(struct session *s);
struct translation *translation_get(struct request *r);
/* May a client with these capabilities be asked this? */
bool eras_client_can(struct span caps, struct span method, struct span params);
/* Appends members of object obj but those whose keys are in drop, without braces; *any tells whether something was there. */
int eras_members(struct buf *out, struct span obj, const char *const *drop, size_t ndrop, bool *any);
/* Appends a `_meta` object: the protocol's members of this client, then the rest of old. */
int eras_meta(struct session *s, struct buf *out, struct span old);
/* A subscription was acknowledged: what it may have missed is made good, now and then. */
void listen_opened(struct session *s, struct request *r);
/* Sends {"jsonrpc","id":r's,"result"}: RESULT is raw JSON. */
void eras_answer_locally(struct session *s, struct request *r, struct span result);
void eras_answer_error(struct session *s, struct request *r, int code, const char *message, struct span data);
/* Answers r with a result or error of this body (raw). Where there is no memory
 * for it, eras_try_answer() says nothing and is false, and eras_send_answer()
 * tells the client that. */
bool eras_try_answer(struct session *s, struct request *r, const char *member, struct span body);
/* Passes on text with one part replaced, a notification. */
void eras_send_edited(struct session *s, struct span text, struct json_edit e);

/* ---- eras_discover.c ---- */
/* An answer to a server/discover of ours, which is dropped; or none. */
void eras_discovered(struct session *s, struct request *r, const struct rpc_msg *m);
void eras_discover_failed(struct session *s, const struct failure *f, const char *what);

/* ---- eras_mirror.c ---- */
/* -32020: true when r waits for the tools to be listed again. */
bool mirrors_refused(struct session *s, struct request *r);
/* A page of that list. */
void mirrors_came(struct session *s, struct request *r, const struct rpc_msg *m);
/* The list is at its end, or will not come. listed: what there is to know is known. */
void mirrors_over(struct session *s, bool listed);
/* True: the tools/list result was passed on without the tools whose annotations are wrong. */
bool mirrors_filter(struct session *s, struct request *r, const struct rpc_msg *m);

/* ---- eras_legacy.c ---- */
/* 0, or -1: no memory; r still waits. */
int legacy_initialize_result(struct session *s, struct request *r, struct span discover);
bool legacy_local(struct session *s, struct request *r);
bool legacy_answer(struct session *s, struct request *r, const struct rpc_msg *m);
bool legacy_input_came(struct session *s, const struct rpc_msg *m);
bool legacy_inbound(struct session *s, struct request *r, const struct rpc_msg *m);
void legacy_relisten(struct session *s);
void legacy_forget(struct session *s, struct request *r);

/* ---- eras_modern.c ---- */
bool modern_local(struct session *s, struct request *r);
bool modern_answer(struct session *s, struct request *r, const struct rpc_msg *m);
bool modern_inbound(struct session *s, struct request *r, const struct rpc_msg *m);
/* What the client says of itself in every request. 0, or -1: no memory, and nothing has changed. */
int modern_learn_client(struct session *s, const struct rpc_msg *m);
/* Appends the result of server/discover that stands for this result of initialize. */
int modern_discover(struct span init, struct buf *out);

/* ---- eras_listen.c ---- */
/* A subscriptions/listen of the client: acknowledged here. */
void modern_listen(struct session *s, struct request *r);
/* Says the next subscriptions to a legacy server. */
void modern_subscribe(struct session *s);
void modern_forget(struct session *s, struct request *r);

/* ---- eras_input.c ---- */
/* r comes with this requestState: false when its call has ended and it may go out anew. */
bool modern_retry(struct session *s, struct request *r, struct span state);
/* r was answered by an error: true when that wants addresses visited, and the client was told so. */
bool modern_wants_visit(struct session *s, struct request *r, const struct rpc_msg *m);
/* A request of the server: answered here, tied to a call, or refused. */
void modern_asked(struct session *s, struct request *r, const struct rpc_msg *m);

#endif
