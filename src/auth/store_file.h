/* Files as the store needs them: private, whole or not at all. */
#ifndef AUTH_STORE_FILE_H
#define AUTH_STORE_FILE_H

#include "base/buf.h"
#include "base/err.h"
#include "base/span.h"

/* Makes dir and its parents (0700) where missing; checks that it is ours and
 * takes group and others' rights away. 0 or -1. */
int private_dir(const char *dir, struct err *e);
/* Reads a file of at most max bytes. Not following a link in the last
 * component. 1; 0 when there is none; -1 when it can not be read; -2 when it is
 * not what we would have written (no regular file, another user's, too large).
 * The buffer is sized once, so that no copy is left behind. */
int private_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Written aside, fsynced, renamed, and the directory fsynced. 0 or -1. */
int private_write(const char *dir, const char *name, struct span bytes, struct err *e);
/* The key of 32 bytes in dir/name, made at random when it is missing, by
 * exactly one of all processes that try. 0 or -1. */
int private_key(const char *dir, const char *name, unsigned char key[32], struct err *e);

#endif
