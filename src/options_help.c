/* --help and the shell completions, both written from the option table, so
 * that neither can forget an option. */
#include "options_internal.h"

#define COLUMNS 79
#define INDENT 31 /* where the explanations begin */

static const char usage[] =
	"usage: mcp-holdfast URL [PORT] [options]\n"
	"       mcp-holdfast status [--json] [--watch]\n"
	"       mcp-holdfast log [NAME|PID] [-f]\n"
	"       mcp-holdfast doctor URL [options] [--json] [--wait TIME]\n"
	"       mcp-holdfast login | logout URL [options]\n"
	"       mcp-holdfast list\n"
	"\n"
	"Connects an MCP client on stdin and stdout to the MCP server at URL, and holds\n"
	"the connection through every network fault.\n";

static const char notes[] =
	"\n"
	"TIME is a number of milliseconds, or 500ms, 2.5s, 5m, 1h. Every option can also\n"
	"be set in the environment: MCP_HOLDFAST_HOLD_TIME for --hold-time; repeatable\n"
	"ones take one value a line. The manual, mcp-holdfast(1), says more.\n";

/* Words of s from column INDENT on, starting at column `at`. */
static void print_wrapped(const char *s, size_t at, FILE *out)
{
	if (at + 1 >= INDENT) {
		fputc('\n', out);
		at = 0;
	}
	fprintf(out, "%*s", (int)(INDENT - at), "");
	at = INDENT;
	while (*s) {
		size_t n = strcspn(s, " ");

		if (at > INDENT && at + 1 + n > COLUMNS) {
			fprintf(out, "\n%*s", INDENT, "");
			at = INDENT;
		} else if (at > INDENT) {
			fputc(' ', out);
			at++;
		}
		fwrite(s, 1, n, out);
		at += n;
		s += n + (s[n] == ' ');
	}
	fputc('\n', out);
}

static void print_option(const struct opt *opt, FILE *out)
{
	int n = opt->letter ? fprintf(out, "  -%c, ", opt->letter) : fprintf(out, "      ");

	n += fprintf(out, "--%s%s%s", opt->name, opt->arg ? " " : "", opt->arg ? opt->arg : "");
	print_wrapped(opt->help, (size_t)n, out);
}

void options_print_help(FILE *out)
{
	fputs(usage, out);
	for (int g = 0; g < GROUP_COUNT; g++) {
		fprintf(out, "\n%s:\n", option_groups[g]);
		for (size_t i = 0; i < option_count; i++)
			if ((int)option_table[i].group == g)
				print_option(&option_table[i], out);
	}
	fputs(notes, out);
}

/* ---- completions -------------------------------------------------------------------- */

/* In the words of print_names(): which options. */
enum kind { KIND_ANY, KIND_FILE, KIND_OTHER };

static bool is_kind(const struct opt *opt, enum kind k)
{
	bool file = opt->flags & OPT_FILE;

	if (k == KIND_ANY)
		return true;
	return opt->arg && !opt->words && (k == KIND_FILE ? file : !file);
}

static void print_names(enum kind k, const char *between, FILE *out)
{
	const char *sep = "";

	for (size_t i = 0; i < option_count; i++) {
		const struct opt *opt = &option_table[i];

		if (!is_kind(opt, k))
			continue;
		fprintf(out, "%s--%s", sep, opt->name);
		if (opt->letter)
			fprintf(out, "%s-%c", between, opt->letter);
		sep = between;
	}
}

static void print_commands(FILE *out)
{
	for (int i = COMMAND_NONE + 1; i < COMMAND_COUNT; i++)
		fprintf(out, "%s%s", i > COMMAND_NONE + 1 ? " " : "", command_names[i]);
}

static void print_bash(FILE *out)
{
	fputs("# bash completion for mcp-holdfast\n_mcp_holdfast() {\n"
		"\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
		"\tCOMPREPLY=()\n\tcase $prev in\n", out);
	for (size_t i = 0; i < option_count; i++)
		if (option_table[i].words)
			fprintf(out, "\t--%s) COMPREPLY=($(compgen -W \"%s\" -- \"$cur\")); return ;;\n", option_table[i].name, option_table[i].words);
	fputs("\t", out);
	print_names(KIND_FILE, "|", out);
	fputs(") local IFS=$'\\n'; compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n\t", out);
	print_names(KIND_OTHER, "|", out);
	fputs(") return ;;\n\tesac\n\tif [[ $cur == -* ]]; then\n\t\tCOMPREPLY=($(compgen -W \"", out);
	print_names(KIND_ANY, " ", out);
	fputs("\" -- \"$cur\"))\n\telif [ \"$COMP_CWORD\" -eq 1 ]; then\n\t\tCOMPREPLY=($(compgen -W \"", out);
	print_commands(out);
	fputs("\" -- \"$cur\"))\n\tfi\n}\ncomplete -F _mcp_holdfast mcp-holdfast\n", out);
}

/* Help text inside a single-quoted shell word; also escapes what `special` lists. */
static void print_quoted(const char *s, const char *special, const char *quote, FILE *out)
{
	for (; *s; s++) {
		if (*s == '\'')
			fputs(quote, out);
		else if (strchr(special, *s))
			fprintf(out, "\\%c", *s);
		else
			fputc(*s, out);
	}
}

static void print_zsh_option(const struct opt *opt, const char *dashes, const char *name, FILE *out)
{
	fprintf(out, "\t'*%s%s[", dashes, name);
	print_quoted(opt->help, "[]:\\", "'\\''", out);
	fputc(']', out);
	if (opt->arg) {
		fputc(':', out);
		print_quoted(opt->arg, ":\\", "'\\''", out);
		fputc(':', out);
	}
	if (opt->words)
		fprintf(out, "(%s)", opt->words);
	else if (opt->flags & OPT_FILE)
		fputs("_files", out);
	fputs("' \\\n", out);
}

static void print_zsh(FILE *out)
{
	fputs("#compdef mcp-holdfast\n_arguments -s \\\n", out);
	for (size_t i = 0; i < option_count; i++) {
		const char letter[2] = { option_table[i].letter, '\0' };

		print_zsh_option(&option_table[i], "--", option_table[i].name, out);
		if (*letter)
			print_zsh_option(&option_table[i], "-", letter, out);
	}
	fputs("\t'1:command or URL:(", out);
	print_commands(out);
	fputs(")' \\\n\t'*:: :'\n", out);
}

static void print_fish(FILE *out)
{
	fputs("# fish completion for mcp-holdfast\ncomplete -c mcp-holdfast -f\n"
		"complete -c mcp-holdfast -n __fish_is_first_arg -a '", out);
	print_commands(out);
	fputs("'\n", out);
	for (size_t i = 0; i < option_count; i++) {
		const struct opt *opt = &option_table[i];

		fprintf(out, "complete -c mcp-holdfast -l %s", opt->name);
		if (opt->letter)
			fprintf(out, " -s %c", opt->letter);
		if (opt->arg)
			fputs(opt->flags & OPT_FILE ? " -r -F" : " -x", out);
		if (opt->words)
			fprintf(out, " -a '%s'", opt->words);
		fputs(" -d '", out);
		print_quoted(opt->help, "\\", "\\'", out);
		fputs("'\n", out);
	}
}

int options_print_completion(const char *shell, FILE *out)
{
	static const struct { const char *name; void (*print)(FILE *out); } shells[] = {
		{ "bash", print_bash }, { "zsh", print_zsh }, { "fish", print_fish },
	};

	for (size_t i = 0; shell && i < sizeof(shells) / sizeof(*shells); i++)
		if (!strcmp(shell, shells[i].name)) {
			shells[i].print(out);
			return 0;
		}
	return -1;
}
