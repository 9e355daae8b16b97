/* A bounded JSON reader that yields spans of the original bytes and never
 * builds a tree (RFC 8259). One pass checks the whole text: grammar, UTF-8 (no
 * surrogates, no overlong forms, nothing above U+10FFFF; lone surrogate
 * ESCAPES are the sender's business), no NUL or other raw control character
 * inside a string, and nesting. It is the only check made: every reader below
 * works on text that has passed it. */
#ifndef WIRE_JSON_H
#define WIRE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/span.h"

#define JSON_MAX_DEPTH 512

enum json_status {
	JSON_OK,
	JSON_BAD,      /* not JSON */
	JSON_SHORT,    /* the text ends too early */
	JSON_UTF8,     /* invalid UTF-8 */
	JSON_DEEP,     /* nesting beyond JSON_MAX_DEPTH */
};

/* A top-level member that a caller of json_scan_for() asked for. */
struct json_member {
	struct span value;  /* the value's bytes, SPAN_NONE when absent */
	unsigned count;     /* how often the key stood there (escaped spellings count too) */
};

struct json_scan {
	size_t at;          /* where it went wrong */
	char type;          /* '{' '[' '"' 't' 'f' 'n' '0' of the top-level value */
	bool has_newline;   /* CR or LF stands between tokens */
	struct span text;   /* the value without the white space around it */
};

/* Checks exactly one JSON value in n bytes (white space around it allowed). The
 * hot path: one pass, vectors or words at a time inside strings. */
enum json_status json_scan(const char *p, size_t n, struct json_scan *out);
/* The same and, when it is an object, fills in the top-level members named by
 * nkeys keys, which are literals: plain ASCII, without escapes (the last one
 * wins when a key is repeated; `count` tells). */
enum json_status json_scan_for(const char *p, size_t n, struct json_scan *out, const struct span *keys,
	struct json_member *members, size_t nkeys);
const char *json_status_text(enum json_status s);

/* ---- readers over checked text ------------------------------------------- */

/* Type of a value: '{' '[' '"' 't' 'f' 'n' '0' ('0' for any number), 0 for SPAN_NONE. */
static inline char json_type(struct span v)
{
	char c = v.n ? *v.p : '\0';

	if (c == '-' || (c >= '0' && c <= '9'))
		return '0';
	return c == '{' || c == '[' || c == '"' || c == 't' || c == 'f' || c == 'n' ? c : '\0';
}
/* Walks an object or an array. */
struct json_iter { const char *p, *end; bool object; };
void json_iter(struct json_iter *it, struct span v); /* anything else: an empty walk */
/* Next member or element. key: raw, without quotes, still escaped (objects only; may be NULL). */
bool json_next(struct json_iter *it, struct span *key, struct span *value);
/* True when the raw key (still escaped) spells name. */
bool json_key_is(struct span rawkey, const char *name);
/* Member of an object; the last one wins; SPAN_NONE when absent or v is no object. */
struct span json_get(struct span v, const char *key);
/* json_get() along a path: "params", "_meta", "progressToken", NULL. */
struct span json_path(struct span v, ...) __attribute__((sentinel));
/* Appends the decoded string (escapes resolved, lone surrogates as U+FFFD).
 * -1 when v is no string or out is full. */
int json_string(struct span v, struct buf *out);
/* A JSON string's text, decoded: a view of the token itself where nothing is
 * escaped. s is SPAN_NONE when the value is no string. Open: 0, or -1 for no
 * memory, with nothing to close; what was opened is closed. */
struct json_text { struct span s; struct buf mem; };
int json_text_open(struct json_text *t, struct span v);
void json_text_close(struct json_text *t);
/* True when v is a string that spells s (escapes resolved). */
bool json_string_is(struct span v, const char *s);
/* A whole number within int64; false otherwise ("1.0" and "1e0" are whole). */
bool json_int(struct span v, int64_t *out);
/* true/false into *out; false return when v is no boolean. */
bool json_bool(struct span v, bool *out);

/* ---- writers ---------------------------------------------------------------- */

/* Appends s as a JSON string with quotes; invalid UTF-8 becomes U+FFFD. */
int json_quote(struct buf *out, struct span s);
/* Puts the text on one line: CR and LF outside strings become spaces (in a
 * checked text none stands inside one). In place, same length. */
void json_one_line(char *p, size_t n);

/* A replacement of `old` (which points into the text) by `new_bytes`. */
struct json_edit { struct span old, new_bytes; };
/* Appends text with the edits made; they must be sorted and not overlap. 0 or -1. */
int json_splice(struct buf *out, struct span text, const struct json_edit *edits, size_t n);
/* Edit that replaces member `key` (value is JSON text) of the object obj, the
 * last one when it is repeated, or inserts it behind the last member. scratch
 * is overwritten with the new bytes and must outlive the edit: one for each
 * edit. 0; -1 when obj is no object or scratch is full. */
int json_edit_set(struct json_edit *e, struct buf *scratch, struct span obj, const char *key, struct span value);
/* Edit that removes member `key` with its comma, the last one (which
 * json_get() gives) when it is repeated: who must be rid of all goes on until
 * there is none. 0; 1 when there was none (no edit made). Do not combine it
 * with an insertion into the same object in one splice. */
int json_edit_remove(struct json_edit *e, struct span obj, const char *key);

#endif
