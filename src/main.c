/* Hygiene, then the one thing that was asked for. Exit status: 0, 1 when it
 * could not be done, 2 for a usage error, 128 + n after signal n. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

#include <sodium.h>

#include "auth_bridge.h"
#include "base/log.h"
#include "bridge.h"
#include "doctor_bridge.h"
#include "io/browser.h"
#include "io/http.h"
#include "memory_bridge.h"
#include "options.h"
#include "report/status.h"

#define LARGE_BLOCK (4 * 1024 * 1024) /* from here on a block is mapped by itself */

extern char **environ;

/* A core dump or a debugger of the same user would show every token. */
static void keep_memory_private(void)
{
	struct rlimit none = { 0, 0 };

	setrlimit(RLIMIT_CORE, &none);
#ifdef PR_SET_DUMPABLE
	prctl(PR_SET_DUMPABLE, 0);
#endif
	browser_set_umask(umask(077));
}

/* Left to itself, glibc raises both limits with every large block that is freed,
 * and keeps tens of MiB after one giant message. */
static void give_memory_back(void)
{
#ifdef __GLIBC__
	(void)mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK);
	(void)mallopt(M_TRIM_THRESHOLD, LARGE_BLOCK);
#endif
}

/* They are for a bridge that runs, and often sent to all of this name: one that is
 * just starting, a log being followed or a sign-in does not end by them. */
static void outlive_user_signals(void)
{
	signal(SIGUSR1, SIG_IGN);
	signal(SIGUSR2, SIG_IGN);
}

/* Descriptors 0 to 2 are open, so that no socket of ours becomes stdout. */
static int have_standard_fds(void)
{
	int fd;

	do {
		fd = open("/dev/null", O_RDWR);
	} while (fd >= 0 && fd <= 2);
	if (fd < 0)
		return -1;
	close(fd);
	return 0;
}

static int usage(const struct err *e)
{
	fprintf(stderr, "mcp-holdfast: %s\nTry 'mcp-holdfast --help'.\n", e->text);
	return 2;
}

/* What talks to a server. */
static int run_online(struct options *o, struct redactor *r)
{
	switch (o->command) {
	case COMMAND_LOGIN:
		return auth_cli_login(o, r);
	case COMMAND_LOGOUT: {
		struct memory_files *m = memory_for(o);
		if (m)
			memory_forget(m);
		memory_free(m, 0);
		return auth_cli_logout(o, r);
	}
	case COMMAND_LIST:
		return auth_cli_list(o, r);
	case COMMAND_DOCTOR:
		return doctor_bridge_run(o, r);
	default:
		return bridge_run(o, r);
	}
}

/* From the first line of the log to the last one. */
static void settle_signals(void)
{
	/* A pipe that nobody reads and a limit of file size are errors of the write,
	 * not the end of us. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static int run(struct options *o)
{
	unsigned char key[32];
	struct redactor *r;
	struct err e = { "" };
	int status = 1;

	settle_signals();
	randombytes_buf(key, sizeof(key));
	r = redact_new(key);
	sodium_memzero(key, sizeof(key));
	if (!r || options_register_secrets(o, r) != 0) {
		fprintf(stderr, "mcp-holdfast: out of memory\n");
		goto done;
	}
	o->log.redactor = r;
	if (log_open(&o->log, &e) != 0)
		log_error("%s", e.text);
	for (size_t i = 0; i < o->warnings.n; i++)
		log_warn("%s", o->warnings.v[i]);
	if (http_global_init(&e) != 0)
		log_last_error("%s", e.text);
	else
		status = run_online(o, r);
	log_close();
done:
	redact_free(r);
	return status;
}

static int run_command(struct options *o)
{
	switch (o->command) {
	case COMMAND_STATUS:
		return status_run(o->json, o->watch);
	case COMMAND_LOG:
		return logview_run(o->target, o->follow);
	default:
		return run(o);
	}
}

int main(int argc, char **argv)
{
	struct options o;
	struct err e = { "" };
	int status = 0;

	outlive_user_signals();
	keep_memory_private();
	give_memory_back();
	if (have_standard_fds() != 0 || sodium_init() < 0) {
		fprintf(stderr, "mcp-holdfast: can not start: %s\n", strerror(errno));
		return 1;
	}
	switch (options_parse(&o, argc, argv, environ, &e)) {
	case OPTIONS_HELP:
		options_print_help(stdout);
		break;
	case OPTIONS_VERSION:
		puts("mcp-holdfast " VERSION);
		break;
	case OPTIONS_COMPLETION:
		if (options_print_completion(o.completion_shell, stdout) != 0) {
			err_set(&e, "no completion for the shell '%s'", o.completion_shell);
			status = usage(&e);
		}
		break;
	case OPTIONS_RUN:
		options_scrub_argv(argc, argv);
		status = run(&o);
		break;
	case OPTIONS_SUBCOMMAND:
		options_scrub_argv(argc, argv);
		status = run_command(&o);
		break;
	default:
		status = usage(&e);
	}
	if ((fflush(stdout) != 0 || ferror(stdout)) && status == 0)
		status = 1;
	options_fini(&o);
	return status;
}
