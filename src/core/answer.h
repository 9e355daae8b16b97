/* The errors the bridge makes itself: JSON-RPC codes outside the reserved
 * range, `data` a program can use, and a text written for a language model. */
#ifndef CORE_ANSWER_H
#define CORE_ANSWER_H

#include "base/buf.h"
#include "core/session.h"
#include "wire/jsonrpc.h"

#define ANSWER_CODE_FIRST (-31001) /* minus the kind */

struct own_error {
	enum error_kind kind;
	const char *what;        /* what happened: a clause that begins with a capital, or whole sentences */
	bool may_have_run;
	bool tool;               /* answer a tools/call with an isError result */
	bool typed;              /* a result needs its resultType (2026-07-28) */
	bool has_run_state;      /* it is about a request for which "may it have run?" matters */
	int64_t retry_after_ms;  /* -1: unknown */
	unsigned attempts;
	const char *next;        /* what to do next, or NULL for the kind's own advice */
	char ref[9];
};

/* Appends the answer, one line without newline. 0 or -1. */
int answer_write(struct buf *out, struct span id, const struct own_error *e);
/* The sentence alone, for logs and tests. */
int answer_text(struct buf *out, const struct own_error *e);
bool error_kind_retryable(enum error_kind k);

#endif
