/* What a file with secrets in it must be: in a directory that is ours alone,
 * 0600, and after a crash either the old one or the new one. Errors name the
 * operation and errno, and no path (the caller's sentence goes to a log that
 * people paste). */
#include "auth/store_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#define PATH_SIZE 4096

/* Makes each missing directory on the way. */
static int make_dirs(const char *dir, struct err *e)
{
	char path[PATH_SIZE], *p;

	if (snprintf(path, sizeof path, "%s", dir) >= (int)sizeof path)
		return err_set(e, "a directory's name is too long");
	for (p = path + 1;; p++) {
		if (*p != '/' && *p != '\0')
			continue;
		char end = *p;

		*p = '\0';
		if (mkdir(path, 0700) && errno != EEXIST)
			return err_set(e, "the directory %.150s can not be made: %s", path, strerror(errno));
		if (end == '\0')
			return 0;
		*p = '/';
	}
}

int private_dir(const char *dir, struct err *e)
{
	struct stat st;

	if (!dir || dir[0] != '/')
		return err_set(e, "there is no directory to keep it in (HOME is not set)");
	if (stat(dir, &st) && (make_dirs(dir, e) || stat(dir, &st)))
		return e && e->text[0] ? -1 : err_set(e, "the directory %.150s can not be made: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode) || st.st_uid != geteuid())
		return err_set(e, "%.150s is no directory of this user", dir);
	if ((st.st_mode & 077) && chmod(dir, 0700))
		return err_set(e, "the rights of the directory %.150s can not be narrowed: %s", dir, strerror(errno));
	return 0;
}

static int read_all(int fd, size_t size, struct buf *out)
{
	ssize_t n;

	while (out->len < size) {
		n = read(fd, buf_tail(out), size - out->len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		if (n == 0)
			break;
		buf_grew(out, (size_t)n);
	}
	return 0;
}

int private_read(const char *path, size_t max, struct buf *out, struct err *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), rc = -2;
	struct stat st;

	if (fd < 0 && errno == ENOENT)
		return 0;
	if (fd < 0) {
		err_set(e, "it can not be opened: %s", strerror(errno));
		return errno == ELOOP ? -2 : -1;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		err_set(e, "it is no regular file");
	else if (st.st_uid != geteuid())
		err_set(e, "it belongs to another user");
	else if ((uintmax_t)st.st_size > max)
		err_set(e, "it is too large");
	else if (buf_reserve(out, (size_t)st.st_size + 1) || read_all(fd, (size_t)st.st_size, out))
		rc = err_set(e, "it can not be read: %s", strerror(errno));
	else
		rc = 1;
	close(fd);
	return rc;
}

static int write_all(int fd, struct span s)
{
	ssize_t n;

	while (s.n > 0) {
		n = write(fd, s.p, s.n);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		s = span_make(s.p + n, s.n - (size_t)n);
	}
	return 0;
}

static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_CLOEXEC | O_DIRECTORY);

	if (fd < 0)
		return;
	fsync(fd);
	close(fd);
}

/* A new file beside the real one, with the bytes safely in it. */
static int write_aside(const char *path, struct span bytes, struct err *e)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_set(e, "a file can not be made: %s", strerror(errno));
	if (write_all(fd, bytes) || fsync(fd)) {
		err_set(e, "a file can not be written: %s", strerror(errno));
		close(fd);
		unlink(path);
		return -1;
	}
	if (close(fd)) {
		unlink(path);
		return err_set(e, "a file can not be written: %s", strerror(errno));
	}
	return 0;
}

static int aside_path(char *out, size_t n, const char *dir, const char *name)
{
	return snprintf(out, n, "%s/.%s.%ld.%08x", dir, name, (long)getpid(), randombytes_random()) >= (int)n ? -1 : 0;
}

int private_write(const char *dir, const char *name, struct span bytes, struct err *e)
{
	char aside[PATH_SIZE], path[PATH_SIZE];

	if (snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path || aside_path(aside, sizeof aside, dir, name))
		return err_set(e, "a file's name is too long");
	if (write_aside(aside, bytes, e))
		return -1;
	if (rename(aside, path)) {
		err_set(e, "a file can not be replaced: %s", strerror(errno));
		unlink(aside);
		return -1;
	}
	sync_dir(dir);
	return 0;
}

/* The key is written in full before it gets its name, and link() gives the
 * name to one process only; the others read what that one wrote. */
static int make_key(const char *dir, const char *name, const char *path, struct err *e)
{
	unsigned char key[32];
	char text[2 * sizeof key + 2], aside[PATH_SIZE];
	int rc = -1;

	if (aside_path(aside, sizeof aside, dir, name))
		return err_set(e, "a file's name is too long");
	randombytes_buf(key, sizeof key);
	sodium_bin2hex(text, sizeof text - 1, key, sizeof key);
	strcat(text, "\n");
	if (write_aside(aside, span_str(text), e) == 0) {
		if (link(aside, path) == 0 || errno == EEXIST)
			rc = 0;
		else
			err_set(e, "it can not be made: %s", strerror(errno));
		unlink(aside);
		sync_dir(dir);
	}
	sodium_memzero(key, sizeof key);
	sodium_memzero(text, sizeof text);
	return rc;
}

int private_key(const char *dir, const char *name, unsigned char key[32], struct err *e)
{
	char path[PATH_SIZE];
	struct err why = { "" };
	struct buf text;
	struct stat st;
	size_t n = 0;
	int rc;

	if (private_dir(dir, e) || snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return -1;
	buf_init(&text, 1024);
	rc = private_read(path, 1024, &text, &why);
	if (rc == 0)
		rc = make_key(dir, name, path, &why) ? -1 : private_read(path, 1024, &text, &why);
	if (rc == 1 && (stat(path, &st) || (st.st_mode & 077)))
		rc = err_set(&why, "it may be read by others; take their rights away (chmod 600)");
	if (rc == 1 && (text.len < 64 || sodium_hex2bin(key, 32, buf_data(&text), 64, NULL, &n, NULL) || n != 32))
		rc = err_set(&why, "it does not hold 64 hexadecimal digits");
	if (rc != 1)
		err_set(e, "the key file %.150s can not be used: %s", path, why.text);
	buf_wipe(&text);
	buf_fini(&text);
	return rc == 1 ? 0 : -1;
}
