// SPDX-License-Identifier: Apache-2.0
/* numastow doctor: what costs locality on this machine, with evidence and what mends it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/view/doctor.h"
#include "cli/view/view.h"
#include "ledger/ledger.h"

struct asked {
	struct cli_output out;
	struct stow_root *root;
	uint64_t interval;
	enum stow_finding_level level;
	const char *program;
	enum stow_program_kind kind;
	bool rules;
};

static int take_interval(const char *text, void *value, struct stow_err *err)
{
	int r = stow_parse_duration(text, value, err);

	if (r == 0 && *(uint64_t *)value == 0)
		return stow_err_set(err, EINVAL, "\"%.32s\": expected a time like 5s", text);
	return r;
}

static int take_level(const char *text, void *value, struct stow_err *err)
{
	static const char *const levels[] = { "problem", "advice", "information", NULL };
	char why[STOW_WHY_MAX], quoted[64];
	int found = stow_parse_word_why(text, levels, why);

	if (found < 0)
		return stow_err_set(err, EINVAL, "\"%s\" %s",
				    stow_text_quote(text, quoted, sizeof(quoted)), why);
	*(enum stow_finding_level *)value = (enum stow_finding_level)found;
	return 0;
}

static int take_kind(const char *text, void *value, struct stow_err *err)
{
	return stow_program_kind_parse(text, value, err);
}

/* Return the "1.1.5" of "runc version 1.1.5\n..."; NULL: it is not installed. */
static char *version_of(const char *program)
{
	const char *argv[] = { program, "--version", NULL };
	char text[512], *line = text;

	if (cli_ask(argv, text, sizeof(text), NULL, 0) != 0)
		return NULL;
	line[strcspn(line, "\n")] = '\0';
	line = strstr(line, "version ");
	return line ? strdup(line + 8) : NULL;
}

static int examine(void *data)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_findings_done) struct stow_findings findings = { 0 };
	_cleanup_free_ char *runc = NULL, *crun = NULL;
	struct asked *asked = data;
	struct stow_doctor_options options = { .interval = asked->interval };
	struct stow_err err = { 0 };
	int r;

	/* The runtimes' versions are those of this machine, not of a copied tree. */
	if (asked->root->live) {
		options.runc = runc = version_of("runc");
		options.crun = crun = version_of("crun");
	}
	if (geteuid() != 0 && asked->root->live)
		fputs("numastow: other users' processes are not examined: this needs root\n",
		      stderr);
	ledger = cli_ledger_look(asked->root, "grants are not examined");
	r = stow_doctor_examine(asked->root, ledger, &options, &findings, &err);
	if (r == 0)
		r = doctor_print(&findings, asked->level, &asked->out, &err);
	if (r == -EINVAL && err.code)
		return cli_wrong_usage("doctor", "%s", err.msg);
	if (r < 0)
		return cli_fail(&err);
	return stow_findings_count(&findings, STOW_FINDING_PROBLEM) ? CLI_PROBLEMS : CLI_OK;
}

static int check(const struct asked *asked)
{
	if (asked->kind && !asked->program)
		return cli_wrong_usage("doctor", "--kind: expected --program, whose kind it is");
	if (asked->program && asked->rules)
		return cli_wrong_usage("doctor", "--rules and --program exclude each other");
	return -1;
}

static int run(struct asked *asked)
{
	struct stow_err err = { 0 };

	if (asked->rules)
		return doctor_print_rules(&asked->out, &err) < 0 ? cli_fail(&err) : CLI_OK;
	if (asked->program)
		return doctor_program(asked->root, asked->program, asked->kind, &asked->out);
	return cli_output_run(&asked->out, examine, asked);
}

int cmd_doctor(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "doctor",
		.arguments = "[OPTION...]",
		.summary = "Show what costs NUMA locality on this machine: evidence, consequence, "
			   "what mends "
			   "it",
		.options = "      --interval TIME  count for this time, not since the boot\n"
			   "      --level LEVEL    only what is this grave or graver: problem, "
			   "advice\n"
			   "      --program NAME   advise for a program, by name or PID\n"
			   "      --kind KIND      of its accesses: latency, capacity, "
			   "shared-read-only,\n"
			   "                       shared-read-write, per-thread\n"
			   "      --rules          list the rules\n" CLI_OUTPUT_HELP,
		.more = cli_columns_help,
		.columns = doctor_columns,
	};
	struct asked asked = { .out.sysroot = "/", .level = STOW_FINDING_INFORMATION };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	const struct cli_option options[] = {
		{ "interval", .take = take_interval, .value = &asked.interval },
		{ "level", .take = take_level, .value = &asked.level },
		{ "program", .text = &asked.program },
		{ "kind", .take = take_kind, .value = &asked.kind },
		{ "rules", .flag = &asked.rules },
		CLI_OUTPUT_OPTIONS(&asked.out),
		{ 0 },
	};
	struct stow_err err = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r < 0)
		r = check(&asked);
	if (r >= 0)
		return r;
	if (stow_root_open(asked.out.sysroot, &root, &err) < 0)
		return cli_fail(&err);
	asked.root = root;
	return run(&asked);
}
