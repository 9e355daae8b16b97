/* What is kept between runs: one sealed file for each (issuer, resource,
 * expanded headers and options), XChaCha20-Poly1305 under a key that lies in
 * another directory. The only file of this room that touches files.
 *
 * Directories are 0700, files 0600 and of this user; written aside, fsynced
 * and renamed. A file that does not open under the key (tampered with, another
 * key, another version, cut) is renamed to NAME.bad with a message, never trusted. */
#ifndef AUTH_STORE_H
#define AUTH_STORE_H

#include <stdbool.h>

#include "auth/record.h"
#include "base/err.h"
#include "base/span.h"

struct store;

struct store_config {
	const char *state_dir;   /* .../mcp-holdfast, made when missing */
	const char *config_dir;  /* holds the file `store.key` */
	const char *key_file;    /* --store-key-file; NULL */
	const char *key_text;    /* from the environment: any text of 16 or more bytes; NULL */
	/* What the record is for: hashed, never written in the clear. */
	const char *url;
	const struct span *variants; size_t nvariants;   /* expanded headers and options */
	void (*note)(void *arg, const char *sentence);   /* what a person should know */
	void *note_arg;
};

/* Reads or makes the key. NULL with a sentence; the caller goes on without a store. */
struct store *store_open(const struct store_config *c, struct err *e);
void store_close(struct store *s);

/* The record of this issuer, or the newest one when issuer is NULL: 1; 0 when there is none; -1 failure. */
int store_load(struct store *s, const char *issuer, struct auth_record *r, struct err *e);
int store_save(struct store *s, const struct auth_record *r, struct err *e);
/* Removes every record of this server and these options; how many, or -1. */
int store_forget(struct store *s, struct err *e);
/* That was done once: nothing of former programs' is to be taken over any more. */
bool store_forgotten(const struct store *s);

/* The lock between processes, for these headers and options. 1: held; 0: another
 * process holds it; -1 failure (a directory that can not be written). It is freed by
 * the kernel when the process ends. */
int store_try_lock(struct store *s, struct err *e);
void store_unlock(struct store *s);
/* What the holder has to say to those who wait, such as an address for a person
 * ("" for nothing). It stands there until the next word, whoever holds the lock. */
void store_publish(struct store *s, const char *word);
int store_published(struct store *s, char *out, size_t n);

/* Every record in the directory, any server, that opens under the key. */
int store_each(struct store *s, void (*each)(void *arg, const struct auth_record *r), void *arg, struct err *e);

/* mcp-remote's files for this URL (dir: ~/.mcp-auth): 1 when something was read into r, 0 none, -1. */
int store_import(const char *dir, const char *url, const struct span *headers, size_t nheaders,
	const char *resource, struct auth_record *r, struct err *e);

/* A whole small file with what is in it, without the newline at its end. max
 * bounds it. 0 or -1. The caller wipes. */
int file_read(const char *path, size_t max, struct buf *out, struct err *e);

#endif
