/* The runtime directory and what all its files have in common: they are
 * regular files of this user, made under another name and renamed, and locked
 * by the process that writes them, so that the lock alone tells the living
 * from the dead (a process id may be somebody else's by now). */
#include "report/rundir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define OLD_LOG_S (24 * 3600)

static bool is_private_dir(const struct stat *st)
{
	return S_ISDIR(st->st_mode) && st->st_uid == geteuid() && (st->st_mode & 077) == 0;
}

/* The user's runtime directory of the login manager. */
static bool login_dir(char *out, size_t size)
{
	struct stat st;
	int n = snprintf(out, size, "/run/user/%lu", (unsigned long)geteuid());

	return n > 0 && (size_t)n < size && lstat(out, &st) == 0 && is_private_dir(&st);
}

bool rundir_path(int place, char *out, size_t size)
{
	const char *base = getenv(place == 0 ? "XDG_RUNTIME_DIR" : "TMPDIR");
	char login[64];
	int n;

	if (place == 0) {
		if (!base || base[0] != '/') {
			if (!login_dir(login, sizeof(login)))
				return false;
			base = login;
		}
		n = snprintf(out, size, "%s/mcp-holdfast", base);
	} else {
		if (!base || base[0] != '/')
			base = "/tmp";
		n = snprintf(out, size, "%s/mcp-holdfast-%lu", base, (unsigned long)geteuid());
	}
	return n > 0 && (size_t)n < size;
}

int rundir_open(int place, bool create, struct err *e)
{
	char path[1024];
	struct stat st;
	int fd;

	if (e)
		e->text[0] = '\0';
	if (!rundir_path(place, path, sizeof(path)))
		return -1;
	if (create && mkdir(path, 0700) != 0 && errno != EEXIST)
		return err_set(e, "can not make the directory %s (%s)", path, strerror(errno));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno == ENOENT)
		return -1;
	if (fd < 0)
		return err_set(e, "can not use the directory %s (%s); remove it or set XDG_RUNTIME_DIR", path, strerror(errno));
	if (fstat(fd, &st) != 0 || !is_private_dir(&st)) {
		close(fd);
		return err_set(e, "the directory %s is not this user's alone; remove it, or make it so with chmod 700", path);
	}
	return fd;
}

int rundir_open_any(struct err *e)
{
	struct err last;
	int fd = -1;

	if (e)
		e->text[0] = '\0';
	for (int n = 0; n < RUNDIR_PLACES && fd < 0; n++) {
		fd = rundir_open(n, true, &last);
		if (fd < 0 && e && !e->text[0] && last.text[0])
			*e = last;
	}
	return fd;
}

int rundir_file(int dir, const char *name)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid())
		return fd;
	close(fd);
	errno = EINVAL;
	return -1;
}

int rundir_create(int dir, const char *name, struct err *e)
{
	char aside[64];
	int fd;

	snprintf(aside, sizeof(aside), ".new-%s", name);
	unlinkat(dir, aside, 0);
	fd = openat(dir, aside, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return err_set(e, "can not make the file %s (%s)", name, strerror(errno));
	if (flock(fd, LOCK_EX | LOCK_NB) != 0 || renameat(dir, aside, dir, name) != 0) {
		err_set(e, "can not make the file %s (%s)", name, strerror(errno));
		unlinkat(dir, aside, 0);
		close(fd);
		return -1;
	}
	return fd;
}

bool rundir_is_held(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) != 0)
		return errno == EWOULDBLOCK;
	flock(fd, LOCK_UN);
	return false;
}

void rundir_each(int dir, const char *suffix, void (*each)(void *arg, int dir, const char *name, long pid), void *arg)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *ent;

	if (!d) {
		if (fd >= 0)
			close(fd);
		return;
	}
	for (int n = 0; n < RUNDIR_ENTRIES && (ent = readdir(d)); n++) {
		char *end;
		long pid;

		if (ent->d_name[0] < '1' || ent->d_name[0] > '9')
			continue;
		errno = 0;
		pid = strtol(ent->d_name, &end, 10);
		if (!errno && !strcmp(end, suffix))
			each(arg, dir, ent->d_name, pid);
	}
	closedir(d);
}

/* ---- sweeping ---------------------------------------------------------------------------------- */

struct old_logs {
	struct { char name[32]; time_t at; } newest[RUNDIR_OLD_LOGS];
	size_t n;
	time_t now;
};

/* True when nobody writes the file any more; *at is its last change. */
static bool is_dead(int dir, const char *name, time_t *at)
{
	int fd = rundir_file(dir, name);
	struct stat st;
	bool dead;

	if (fd < 0)
		return false;
	dead = !rundir_is_held(fd) && fstat(fd, &st) == 0;
	if (dead)
		*at = st.st_mtime;
	close(fd);
	return dead;
}

static void sweep_status(void *arg, int dir, const char *name, long pid)
{
	time_t at;

	(void)arg;
	(void)pid;
	if (is_dead(dir, name, &at))
		unlinkat(dir, name, 0);
}

/* Keeps the newest, by putting each in the place of the oldest kept so far. */
static void sweep_log(void *arg, int dir, const char *name, long pid)
{
	struct old_logs *o = arg;
	size_t oldest = 0;
	time_t at;

	(void)pid;
	if (strlen(name) >= sizeof(o->newest[0].name) || !is_dead(dir, name, &at))
		return;
	if (o->now - at > OLD_LOG_S) {
		unlinkat(dir, name, 0);
		return;
	}
	if (o->n < RUNDIR_OLD_LOGS) {
		oldest = o->n++;
	} else {
		for (size_t i = 1; i < o->n; i++)
			if (o->newest[i].at < o->newest[oldest].at)
				oldest = i;
		if (at <= o->newest[oldest].at) {
			unlinkat(dir, name, 0);
			return;
		}
		unlinkat(dir, o->newest[oldest].name, 0);
	}
	snprintf(o->newest[oldest].name, sizeof(o->newest[oldest].name), "%s", name);
	o->newest[oldest].at = at;
}

void rundir_sweep(int dir)
{
	struct old_logs o = { .now = time(NULL) };

	rundir_each(dir, ".status", sweep_status, NULL);
	rundir_each(dir, ".log", sweep_log, &o);
}
