/* Programs of others, started without a shell. Children are ours to reap, so
 * that nothing is left behind, and they are reaped when somebody looks: no
 * signal handler, no thread. What goes to a browser's argument list is an URL
 * that has been parsed and found to be https or loopback http, so it can
 * neither be an option nor a file. */
#include "io/browser.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "base/url.h"

#define MAX_CHILDREN 16
#define MAX_WORDS 64
#define EXIT_POLL_MS 20

extern char **environ;

static pid_t children[MAX_CHILDREN];
static mode_t their_umask = 077;

/* ---- starting --------------------------------------------------------------------- */

void browser_set_umask(mode_t mask)
{
	their_umask = mask;
}

static int default_signals(posix_spawnattr_t *attr)
{
	sigset_t set;

	sigemptyset(&set);
	if (posix_spawnattr_setsigmask(attr, &set))
		return -1;
	sigfillset(&set);
	sigdelset(&set, SIGKILL);
	sigdelset(&set, SIGSTOP);
	return posix_spawnattr_setsigdefault(attr, &set) ||
	       posix_spawnattr_setpgroup(attr, 0) ||
	       posix_spawnattr_setflags(attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP) ? -1 : 0;
}

/* Ours close by themselves, but for what a library has opened or we were started
 * with: a browser would hold the other end of it for as long as it lives. */
static int close_others(posix_spawn_file_actions_t *fa)
{
#if defined(__GLIBC__) && (__GLIBC__ > 2 || __GLIBC_MINOR__ >= 34)
	return posix_spawn_file_actions_addclosefrom_np(fa, 3);
#else
	(void)fa;
	return 0;
#endif
}

/* out: descriptor that becomes stdout; -1 for /dev/null. An errno, 0 on success. */
static int start(pid_t *pid, char *const argv[], int out)
{
	posix_spawn_file_actions_t fa;
	posix_spawnattr_t attr;
	mode_t ours;
	int rc;

	/* Where we inherited it as ignored, the system would reap them and keep no exit status. */
	signal(SIGCHLD, SIG_DFL);
	if ((rc = posix_spawn_file_actions_init(&fa)))
		return rc;
	if ((rc = posix_spawnattr_init(&attr))) {
		posix_spawn_file_actions_destroy(&fa);
		return rc;
	}
	if (posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0) ||
	    posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0) ||
	    (out < 0 ? posix_spawn_file_actions_addopen(&fa, 1, "/dev/null", O_WRONLY, 0) :
	               posix_spawn_file_actions_adddup2(&fa, out, 1)) ||
	    close_others(&fa) || default_signals(&attr)) {
		rc = ENOMEM;
	} else {
		ours = umask(their_umask);
		rc = posix_spawnp(pid, argv[0], &fa, &attr, argv, environ);
		umask(ours);
	}
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&fa);
	return rc;
}

/* ---- browsers ------------------------------------------------------------------------ */

void browser_reap(void)
{
	size_t i;

	for (i = 0; i < MAX_CHILDREN; i++)
		if (children[i] > 0 && waitpid(children[i], NULL, WNOHANG) != 0)
			children[i] = 0;
}

int browser_children(void)
{
	size_t i;
	int n = 0;

	for (i = 0; i < MAX_CHILDREN; i++)
		n += children[i] > 0;
	return n;
}

static pid_t *free_child(void)
{
	size_t i;

	browser_reap();
	for (i = 0; i < MAX_CHILDREN; i++)
		if (children[i] <= 0)
			return &children[i];
	return NULL;
}

/* Splits at blanks, with quotes and backslash, in place of text. The words
 * point into text. -1: too many words, or a quote that never ends. */
static int split(char *text, char **argv)
{
	char *in = text, *out = text, quote = '\0';
	int n = 0;

	for (;;) {
		while (*in == ' ' || *in == '\t')
			in++;
		if (*in == '\0')
			break;
		if (n == MAX_WORDS)
			return -1;
		for (argv[n++] = out; *in && (quote || (*in != ' ' && *in != '\t')); in++) {
			if (quote ? *in == quote : *in == '"' || *in == '\'')
				quote = quote ? '\0' : *in;
			else if (*in == '\\' && quote != '\'' && in[1])
				*out++ = *++in;
			else
				*out++ = *in;
		}
		if (quote)
			return -1;
		if (*in)
			in++;
		*out++ = '\0';
	}
	argv[n] = NULL;
	return n;
}

/* One entry of $BROWSER: a command line in which %s is the URL, or ends with it. */
static int open_with(const char *entry, size_t n, const char *url)
{
	char *argv[MAX_WORDS + 2], *text = strndup(entry, n);
	pid_t *child = free_child();
	bool placed = false;
	int words, i, rc = -1;

	if (!text || !child || (words = split(text, argv)) <= 0)
		goto out;
	for (i = 1; i < words; i++)
		if (strcmp(argv[i], "%s") == 0) {
			argv[i] = (char *)(uintptr_t)url;
			placed = true;
		}
	if (!placed) {
		argv[words] = (char *)(uintptr_t)url;
		argv[words + 1] = NULL;
	}
	rc = start(child, argv, -1) ? -1 : 0;
	if (rc)
		*child = 0;
out:
	free(text);
	return rc;
}

static bool may_be_shown(const char *url)
{
	struct url u;
	bool ok;

	if (url_parse(&u, url, NULL))
		return false;
	ok = strcmp(u.scheme, "https") == 0 || url_is_loopback(&u);
	url_fini(&u);
	return ok;
}

int browser_open(const char *url, struct err *e)
{
	static const char *const usual[] = { "xdg-open", "open", "wslview", "sensible-browser", "x-www-browser" };
	const char *list = getenv("BROWSER"), *end;
	size_t i;

	if (!may_be_shown(url))
		return err_set(e, "an address that is neither https nor on this machine is not opened in a browser");
	while (list && *list) {
		end = strchr(list, ':');
		if (open_with(list, end ? (size_t)(end - list) : strlen(list), url) == 0)
			return 0;
		list = end ? end + 1 : NULL;
	}
	for (i = 0; i < sizeof usual / sizeof *usual; i++)
		if (open_with(usual[i], strlen(usual[i]), url) == 0)
			return 0;
	return err_set(e, "no browser could be started");
}

/* ---- helpers ---------------------------------------------------------------------------- */

struct helper {
	struct loop *loop;
	uint64_t tag;
	pid_t pid;
	int fd;              /* its stdout; -1 after the end */
	int status;
	bool ended, failed;
	int64_t until, check_at;
	struct buf out;
	struct err why;
};

static int spawn_helper(struct helper *h, const char *line, bool shell, int out, struct err *e)
{
	char *argv[MAX_WORDS + 1], *text = strdup(line);
	int rc = -1, error;

	if (!text)
		return err_set(e, "no memory for the token command");
	if (shell) {
		argv[0] = (char *)(uintptr_t)"/bin/sh";
		argv[1] = (char *)(uintptr_t)"-c";
		argv[2] = text;
		argv[3] = NULL;
		rc = 0;
	} else {
		rc = split(text, argv) > 0 ? 0 : err_set(e, "the token command is no command line");
	}
	if (rc == 0 && (error = start(&h->pid, argv, out))) {
		h->pid = 0;
		rc = err_set(e, "the token command can not be started: %s", strerror(error));
	}
	free(text);
	return rc;
}

struct helper *helper_start(const char *line, bool shell, int64_t deadline_ms, struct loop *l, uint64_t tag, struct err *e)
{
	struct helper *h = calloc(1, sizeof *h);
	int fds[2];

	if (!h || pipe2(fds, O_CLOEXEC | O_NONBLOCK)) {
		err_set(e, "the token command can not be started: %s", strerror(errno));
		free(h);
		return NULL;
	}
	h->loop = l;
	h->tag = tag;
	h->fd = fds[0];
	h->until = deadline_ms;
	buf_init(&h->out, HELPER_MAX_OUTPUT);
	/* Grown at once, so that no copy of a token is left behind. */
	if (fcntl(fds[1], F_SETFL, 0) || buf_reserve(&h->out, HELPER_MAX_OUTPUT) || loop_set(l, h->fd, LOOP_READ, tag)) {
		err_set(e, "no memory for the token command");
	} else if (spawn_helper(h, line, shell, fds[1], e) == 0) {
		close(fds[1]);
		return h;
	}
	close(fds[1]);
	helper_free(h);
	return NULL;
}

static void close_pipe(struct helper *h)
{
	if (h->fd < 0)
		return;
	loop_del(h->loop, h->fd);
	close(h->fd);
	h->fd = -1;
}

/* The helper and what it started: it leads a process group of its own. */
static void end_process(struct helper *h)
{
	if (h->pid <= 0)
		return;
	kill(-h->pid, SIGKILL);
	while (waitpid(h->pid, &h->status, 0) < 0 && errno == EINTR)
		;
	h->pid = 0;
}

void helper_free(struct helper *h)
{
	if (!h)
		return;
	close_pipe(h);
	end_process(h);
	buf_wipe(&h->out);
	buf_fini(&h->out);
	free(h);
}

static void fail(struct helper *h, const char *why)
{
	err_set(&h->why, "%s", why);
	h->failed = true;
	close_pipe(h);
	end_process(h);
}

bool helper_on_event(struct helper *h, const struct loop_event *ev)
{
	char chunk[4096];
	ssize_t n;

	if (ev->tag != h->tag || h->fd < 0 || ev->fd != h->fd)
		return false;
	n = read(h->fd, chunk, sizeof chunk);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0 && buf_append(&h->out, chunk, (size_t)n))
		fail(h, "the token command prints more than a token");
	else if (n == 0)
		close_pipe(h);
	else if (n < 0)
		fail(h, "the token command's output can not be read");
	sodium_memzero(chunk, sizeof chunk);
	return true;
}

void helper_on_time(struct helper *h, int64_t now)
{
	if (h->ended || h->failed)
		return;
	if (h->until && now >= h->until)
		fail(h, "the token command took too long");
	h->check_at = now + EXIT_POLL_MS;
}

/* Its exit makes no event, so between the end of its output and its own end
 * (usually no time at all) it is looked at now and then. */
int64_t helper_deadline(const struct helper *h)
{
	if (h->ended || h->failed)
		return 0;
	if (h->fd < 0 && (!h->until || h->check_at < h->until))
		return h->check_at ? h->check_at : 1;
	return h->until;
}

int helper_result(struct helper *h, struct span *out, struct err *e)
{
	if (!h->failed && !h->ended) {
		if (h->fd >= 0 || waitpid(h->pid, &h->status, WNOHANG) == 0)
			return 0;
		h->pid = 0;
		h->ended = true;
		if (!WIFEXITED(h->status) || WEXITSTATUS(h->status) != 0)
			fail(h, "the token command failed");
	}
	if (h->failed)
		return err_set(e, "%s", h->why.text);
	*out = buf_span(&h->out);
	while (out->n > 0 && (out->p[out->n - 1] == '\n' || out->p[out->n - 1] == '\r'))
		out->n--;
	return 1;
}
