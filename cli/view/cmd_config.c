// SPDX-License-Identifier: Apache-2.0
/* numastow config check: whether configuration files are valid. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/view/config_check.h"
#include "cli/view/output.h"
#include "cli/view/view.h"

#define FAULT_MAX 1024

struct asked {
	bool chosen[CONFIG_FILES];
	bool json, quiet;
	const char *sysroot, *path;
	struct json_writer w;
	json_object *files; /* with --json */
	bool bad;	    /* a file is not known to be valid */
	size_t n;
};

/* `fault`: "" if there is none. */
static void add_json(struct asked *asked, const char *path, int r, const char *fault)
{
	json_object *o = json_object_new_object();

	json_put(&asked->w, o, "file", json_object_new_string(path));
	json_put_known(&asked->w, o, "valid", r >= 0, json_object_new_boolean(r == 0));
	json_put_text(&asked->w, o, "fault", fault);
	json_append(&asked->w, asked->files, o);
}

/* `named`: by the user, who may name a pipe. */
static void check(struct asked *asked, const struct config_file *file, const char *path, bool named)
{
	char text[FAULT_MAX] = "";
	int r = (named ? config_check : config_check_found)(file, path, text, sizeof(text));

	if (r == -EACCES)
		snprintf(text, sizeof(text), "%s: only root can check it", path);
	stow_text_clean(text, sizeof(text) - 1);
	asked->n++;
	asked->bad |= r != 0;
	if (asked->json)
		add_json(asked, path, r, text);
	else if (r)
		fprintf(stderr, "numastow: %s\n", text);
	else if (!asked->quiet)
		printf("%s: valid\n", path);
}

/* A machine has the files that it needs: the others are no fault, unless they are asked for. */
static void check_all(struct asked *asked, bool some)
{
	for (int i = 0; i < CONFIG_FILES; i++) {
		char path[4096];

		config_path(&config_files[i], asked->sysroot, path, sizeof(path));
		if (some ? asked->chosen[i] : access(path, F_OK) == 0 || errno != ENOENT)
			check(asked, &config_files[i], path, false);
	}
}

/* Find whose the file is: as an option says, or by its name; else config.yaml's form. */
static const struct config_file *kind_of(const struct asked *asked)
{
	const char *slash = strrchr(asked->path, '/'), *name = slash ? slash + 1 : asked->path;

	for (int i = 0; i < CONFIG_FILES; i++)
		if (asked->chosen[i])
			return &config_files[i];
	for (int i = 0; i < CONFIG_FILES; i++)
		if (strcmp(config_files[i].name, name) == 0)
			return &config_files[i];
	return &config_files[CONFIG_HOOK];
}

static int run(struct asked *asked, bool some)
{
	json_object *o = asked->json ? cli_output_object(&asked->w) : NULL;

	if (o) {
		asked->files = json_object_new_array();
		json_put(&asked->w, o, "files", asked->files);
	}
	if (asked->path)
		check(asked, kind_of(asked), asked->path, true);
	else
		check_all(asked, some);
	if (o && json_print(&asked->w, o) < 0)
		return CLI_FAILED;
	if (!o && !asked->n && !asked->quiet)
		printf("There is no configuration file: the defaults apply.\n");
	return asked->bad ? CLI_FAILED : CLI_OK;
}

int cmd_config(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "config",
		.arguments = "check [OPTION...] [FILE]",
		.summary = "Check configuration files: this one, or those in /etc/numastow. Each "
			   "is checked by the program that reads it, which is found by the "
			   "file's name",
		.options = "      --hook         config.yaml, or FILE has its form\n"
			   "      --agent        agent.yaml, or FILE has its form\n"
			   "      --scheduler    scheduler.yaml, or FILE has its form\n"
			   "      --client       client.yaml, or FILE has its form\n"
			   "  -J, --json         print JSON\n"
			   "  -q, --quiet        print errors only\n"
			   "  -s, --sysroot DIR  check the files of a copied tree\n"
			   "  -h, --help         print this text\n",
		.words = 2,
	};
	struct asked asked = { .sysroot = "/", .w.ok = true };
	const struct cli_option options[] = {
		{ "hook", .flag = &asked.chosen[CONFIG_HOOK] },
		{ "agent", .flag = &asked.chosen[CONFIG_AGENT] },
		{ "scheduler", .flag = &asked.chosen[CONFIG_SCHEDULER] },
		{ "client", .flag = &asked.chosen[CONFIG_CLIENT] },
		{ "json", 'J', .flag = &asked.json },
		{ "quiet", 'q', .flag = &asked.quiet },
		{ "sysroot", 's', .text = &asked.sysroot },
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv), chosen = 0;

	if (r >= 0)
		return r;
	for (int i = 0; i < CONFIG_FILES; i++)
		chosen += asked.chosen[i];
	if (argc == optind || strcmp(argv[optind], "check") != 0)
		return cli_wrong_usage("config", "config needs the word \"check\"");
	asked.path = argv[optind + 1];
	if (asked.path && chosen > 1)
		return cli_wrong_usage("config", "a file has one form: --hook, --agent, "
						 "--scheduler or --client");
	return run(&asked, chosen > 0);
}
