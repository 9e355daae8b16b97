/* The files behind offline start: what the session wants to be remembered of a
 * server (ACT_REMEMBER) until a later run may need it, and back.
 *
 * One file for each kind (the handshake, each list) in DIR, which is 0700;
 * files are 0600, written aside and renamed. Their names and a seal over what
 * they hold come from a key beside them, so that no URL and no credential can
 * be read off or guessed from a name, and a file that was cut, changed or made
 * by somebody else is ignored and replaced. Nothing here is worth an error: what
 * can not be read is not remembered, and a directory that can not be written
 * turns the whole thing off. */
#ifndef MEMORY_BRIDGE_H
#define MEMORY_BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/span.h"
#include "core/session.h"

struct memory_files;
struct options;

/* dir: an absolute path, need not be there. identity: what makes this server
 * and these credentials (hashed with the key, never written). Nothing is
 * created before there is something to keep. NULL: no memory. */
struct memory_files *memory_new(const char *dir, const struct span *identity, size_t n);
/* The same from the options: $XDG_CACHE_HOME/mcp-holdfast; the URL, every
 * header as it is sent and what else tells one account or server from another. */
struct memory_files *memory_for(const struct options *o);
/* Writes what is due. NULL does nothing. */
void memory_free(struct memory_files *m, int64_t wall_s);

/* Tells the session the last good handshake, if there is one. */
void memory_tell(struct memory_files *m, struct session *s, int64_t wall_s);
/* Removes what is kept of this server. */
void memory_forget(struct memory_files *m);
/* Carries out ACT_REMEMBER. */
void memory_act(struct memory_files *m, struct session *s, const struct action *a, int64_t now, int64_t wall_s);
/* Writes soon, then at most once a second, and only what has changed. */
void memory_on_time(struct memory_files *m, int64_t now, int64_t wall_s);
int64_t memory_deadline(const struct memory_files *m);

#endif
