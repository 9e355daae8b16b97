/* The log: one line per event, on stderr and in an optional file, redacted,
 * never waited for. Lines that do not fit are dropped and counted; the next
 * line that fits says how many. Repeats of the same format are rate-limited
 * (a burst of LOG_BURST, then one each LOG_REPEAT_MS) and the count reported.
 *
 * There is one log for a process, like stderr itself. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/redact.h"
#include "base/span.h"

enum log_level { LOG_SILENT, LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG, LOG_TRACE };

#define LOG_BURST 20
#define LOG_REPEAT_MS 10000

struct log_config {
	enum log_level level;      /* lines above it are not written */
	bool quiet;                /* not to stderr, only to the file */
	bool json;                 /* one JSON object a line instead of text */
	const char *name;          /* --name, default the host */
	const char *file;          /* appended to, created 0600; NULL for none */
	struct redactor *redactor; /* borrowed; may be NULL */
};

/* Optional members of a line; zero means "not applicable". */
struct log_fields {
	int attempt;
	int64_t latency_ms;     /* -1 or 0: none */
	const char *circuit;    /* closed | open | half_open */
	const char *ref;        /* 8 hex digits, as in an error that went to the client */
	const char *kind;       /* a literal: lines of one kind are repeats of each other; NULL: by the format */
};

/* 0, or -1 when the file can not be opened (stderr still works). */
int log_open(const struct log_config *c, struct err *e);
void log_close(void);
/* Cheap test before building an expensive line. True when stderr, the file or
 * the ring hook wants lines of this level. */
bool log_wants(enum log_level l);
void log_line(enum log_level l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The reason for a non-zero exit: an error that neither LOG_SILENT nor quiet holds back. */
void log_last_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void log_line_with(enum log_level l, const struct log_fields *f, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Every line of level <= max also goes, finished and redacted, to this hook
 * (the ring that `mcp-holdfast log` reads). NULL takes it away. */
void log_set_hook(enum log_level max, void (*hook)(void *arg, enum log_level l, struct span line), void *arg);
/* Lines dropped since the start because stderr was not read. */
uint64_t log_dropped(void);
/* error|warn|info|debug|trace|silent; -1 when it is none of them. */
int log_level_parse(const char *s);
const char *log_level_name(enum log_level l);

#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)
#define log_warn(...) log_line(LOG_WARN, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) do { if (log_wants(LOG_DEBUG)) log_line(LOG_DEBUG, __VA_ARGS__); } while (0)
#define log_trace(...) do { if (log_wants(LOG_TRACE)) log_line(LOG_TRACE, __VA_ARGS__); } while (0)

#endif
