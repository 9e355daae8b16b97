/* The redactor: text in, text without secrets out. Pure: no descriptor, no
 * clock, no global state.
 *
 * A registered value is hidden whole, percent-encoded and JSON-escaped
 * (whichever characters the writer chose to escape), base64-encoded (standard
 * and URL alphabet, at any of the three byte alignments), and in pieces: any run of REDACT_RUN or more
 * bytes that also stands in one of those forms is hidden, so that a value cut
 * by truncation or split across two writes does not come through. Values
 * shorter than REDACT_RUN (and at least REDACT_MIN) are hidden where they
 * stand whole.
 *
 * What was never registered is caught by patterns: Bearer and Basic
 * credentials, JWTs, well-known key prefixes (sk-, ghp_, gho_, github_pat_,
 * xoxb-, AKIA, glpat-, AIza...), userinfo in URLs, and values of
 * name=value / "name":"value" / name: value pairs whose name says token,
 * secret, password, passwd, api_key, apikey, access_key, authorization,
 * cookie, code, code_verifier, client_secret, assertion, session (any case).
 * Behind names with an ordinary use as well (token, code, session, assertion)
 * only values are hidden that do not consist of words and numbers, so that
 * `token: expired` and `status code: 404` stay readable.
 *
 * A hidden value becomes [redacted:xxxxxx], six hex digits of a keyed hash of
 * the whole registered value (or of the matched text), so that two log lines
 * can be compared. The key is random for each process. */
#ifndef BASE_REDACT_H
#define BASE_REDACT_H

#include "base/buf.h"
#include "base/span.h"

#define REDACT_RUN 10
#define REDACT_MIN 4
#define REDACT_SEGMENT 12

struct redactor;

/* NULL when there is no memory. key: 32 random bytes. */
struct redactor *redact_new(const unsigned char key[32]);
void redact_free(struct redactor *r);
/* Registers a value (copied into locked memory). Values shorter than
 * REDACT_MIN are ignored; a value registered before costs nothing. The first
 * 32 values are known for good; of the later ones the older half is forgotten
 * whenever they would pass 64 values or 32 KiB, so register the configuration
 * first and tokens as they come. 0 or -1. */
int redact_add(struct redactor *r, struct span value);
/* The same for one that takes the place of those before it of that name, such as
 * the id of a session: they are the first to be forgotten. 0 or -1. */
int redact_add_instead(struct redactor *r, struct span name, struct span value);
/* The same for what a server replaces at will under a name of its own, such as
 * a cookie. Nothing else is forgotten for its sake: whenever there would be
 * more than 32 values or 32 KiB, those go that were replaced, else the older
 * half. 0 or -1. */
int redact_add_passing(struct redactor *r, struct span name, struct span value);
/* Registers what a URL's path holds of keys: the segments of REDACT_SEGMENT or
 * more bytes that do not consist of words and numbers. 0 or -1. */
int redact_add_path(struct redactor *r, struct span path);
/* Appends the text without its secrets to out. Returns 0; -1 when out is full
 * or there is no memory, and then nothing was appended. r may be NULL: only
 * the patterns apply. */
int redact_text(const struct redactor *r, struct span text, struct buf *out);
/* Six hex digits and a NUL: the fingerprint that redact_text() would show;
 * 000000 when r is NULL, since without a key it would help to guess. */
void redact_fingerprint(const struct redactor *r, struct span value, char out[7]);

#endif
