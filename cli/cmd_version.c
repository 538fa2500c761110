// SPDX-License-Identifier: Apache-2.0
/* numastow version: what is installed of numastow, and with which libraries. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <protobuf-c/protobuf-c.h>
#include <sqlite3.h>
#include <yaml.h>

#include "base/cleanup.h"
#include "base/root.h"
#include "base/text.h"
#include "cgroup/hierarchy.h"
#include "cli/ask.h"
#include "cli/cli.h"
#include "cli/grid.h"
#include "cli/json_writer.h"
#include "cli/options.h"

/* Each answers --version with a line "NAME VERSION" of its own, and one for each library that it
 * loads, whose version is missing when the library does not tell it. */
static const struct {
	const char *name, *purpose;
} programs[] = {
	{ "numastow-hook", "placing containers" },
	{ "numastow-scope", "sets of systemd's units" },
	{ "numastow-run", "run" },
	{ "numastow-view", "show, stat, doctor, ..." },
	{ "numastow-top", "top" },
	{ "numastow-fleet", "commands for the fleet" },
	{ "numastow-agent", "one machine" },
	{ "numastow-scheduler", "the fleet" },
	{ "kubectl-numastow", "kubectl numastow" },
};

#define LIBRARIES_MAX 8

struct library {
	const char *name, *version; /* into the answer; "": the library does not tell it */
};

struct program {
	bool installed;
	char path[4096];
	char answer[1024];
	char version[64]; /* "": it did not answer */
	char fault[256];  /* why not */
	struct library libraries[LIBRARIES_MAX];
	size_t n_libraries;
};

/* --- looking ------------------------------------------------------------------------ */

/* Split a line at its last space. Return the version, or an empty text. */
static const char *split(char *line)
{
	char *space = strrchr(line, ' ');

	if (!space)
		return line + strlen(line);
	*space = '\0';
	return space + 1;
}

static void parse(struct program *p)
{
	char *next = NULL, *line = strtok_r(p->answer, "\n", &next);

	if (line)
		snprintf(p->version, sizeof(p->version), "%s", split(line));
	while (line && p->n_libraries < LIBRARIES_MAX && (line = strtok_r(NULL, "\n", &next))) {
		p->libraries[p->n_libraries].version = split(line);
		p->libraries[p->n_libraries++].name = line;
	}
}

/* Start a program and read its answer: this finds a missing library, too. */
static void look_at(const char *name, struct program *p)
{
	const char *argv[] = { p->path, "--version", NULL };
	int code;

	cli_program_path(name, p->path, sizeof(p->path));
	p->installed = access(p->path, X_OK) == 0;
	if (!p->installed)
		return;
	code = cli_ask(argv, p->answer, sizeof(p->answer), p->fault, sizeof(p->fault));
	p->fault[strcspn(p->fault, "\n")] = '\0';
	stow_text_clean(p->fault, sizeof(p->fault) - 1);
	if (code == 0)
		parse(p);
	if (*p->version)
		p->fault[0] = '\0';
	else if (!*p->fault)
		snprintf(p->fault, sizeof(p->fault), "it did not answer");
}

/* --- control groups -------------------------------------------------------------------- */

struct groups {
	int versions[STOW_CGROUP_CONTROLLERS]; /* 0: the controller is not mounted */
	const char *made_by;		       /* NULL: no cpusets */
};

static void look_at_groups(struct groups *groups)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_hierarchy at;

	if (stow_root_open("/", &root, NULL) < 0)
		return;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		if (stow_cgroup_hierarchy(root, (enum stow_controller)c, &at, NULL) == 0)
			groups->versions[c] = at.version;
	/* As `numastow run` decides it. */
	if (groups->versions[STOW_CGROUP_CPUSET] == 2 && stow_systemd_runs())
		groups->made_by = "systemd";
	else if (groups->versions[STOW_CGROUP_CPUSET])
		groups->made_by = "libcgroup";
}

/* --- what is linked into this program --------------------------------------------------- */

static const struct library *linked(size_t *ret_n)
{
	static struct library libraries[4];

	libraries[0] = (struct library){ "json-c", json_c_version() };
	libraries[1] = (struct library){ "libyaml", yaml_get_version_string() };
	libraries[2] = (struct library){ "protobuf-c", protobuf_c_version() };
	libraries[3] = (struct library){ "SQLite", sqlite3_libversion() };
	*ret_n = STOW_ARRAY_SIZE(libraries);
	return libraries;
}

/* --- text -------------------------------------------------------------------------------- */

/* Format as "json-c 0.16, SQLite 3.40.1". */
static const char *list(const struct library *libraries, size_t n, char *buf, size_t size)
{
	size_t len = 0;

	snprintf(buf, size, "-");
	for (size_t i = 0; i < n && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s%s%s", i ? ", " : "",
					libraries[i].name, *libraries[i].version ? " " : "",
					libraries[i].version);
	return buf;
}

static void print_groups(const struct groups *groups)
{
	printf("cgroups: ");
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		printf("%s%s ", c ? ", " : "", stow_controller_names[c]);
		if (groups->versions[c])
			printf("v%d", groups->versions[c]);
		else
			printf("-");
	}
	if (groups->made_by)
		printf("; numastow run makes its own by %s", groups->made_by);
	putchar('\n');
}

static int print(const struct program *found, const struct groups *groups)
{
	static const char *const columns[] = { "PROGRAM", "VERSION", "LIBRARIES", "FOR", NULL };
	struct cli_grid *table = cli_grid(columns);
	struct stow_err err = { 0 };
	char text[512];
	size_t n;
	const struct library *own = linked(&n);

	printf("numastow %s\n", STOW_VERSION);
	printf("libraries: %s\n", list(own, n, text, sizeof(text)));
	print_groups(groups);
	putchar('\n');
	for (size_t i = 0; i < STOW_ARRAY_SIZE(programs); i++) {
		const struct program *p = &found[i];
		const char *texts[] = { programs[i].name, *p->version ? p->version : "-",
					!p->installed ? "not installed"
					: *p->fault   ? p->fault
						      : list(p->libraries, p->n_libraries, text,
							     sizeof(text)),
					programs[i].purpose };

		cli_grid_row(table, texts);
	}
	return cli_table_printed("version", cli_grid_print_as(table, NULL, stdout, &err), &err);
}

/* --- JSON --------------------------------------------------------------------------------- */

static json_object *libraries_json(struct json_writer *w, const struct library *libraries, size_t n)
{
	json_object *array = json_object_new_array();

	for (size_t i = 0; i < n; i++) {
		json_object *o = json_object_new_object();

		json_put_text(w, o, "name", libraries[i].name);
		json_put_text(w, o, "version", libraries[i].version);
		json_append(w, array, o);
	}
	return array;
}

static json_object *groups_json(struct json_writer *w, const struct groups *groups)
{
	json_object *o = json_object_new_object();

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		json_put_number(w, o, stow_controller_names[c],
				groups->versions[c] ? groups->versions[c] : -1);
	json_put_text(w, o, "made_by", groups->made_by ? groups->made_by : "");
	return o;
}

static json_object *program_json(struct json_writer *w, const char *name, const struct program *p)
{
	json_object *o = json_object_new_object();

	json_put_text(w, o, "name", name);
	json_put_text(w, o, "path", p->installed ? p->path : "");
	json_put_text(w, o, "version", p->version);
	json_put_text(w, o, "fault", p->fault);
	json_put(w, o, "libraries", libraries_json(w, p->libraries, p->n_libraries));
	return o;
}

static int print_json(const struct program *found, const struct groups *groups)
{
	json_object *o = json_object_new_object(), *array = json_object_new_array();
	struct json_writer w = { .ok = true };
	struct stow_err err;
	size_t n;
	const struct library *own = linked(&n);

	for (size_t i = 0; i < STOW_ARRAY_SIZE(programs); i++)
		json_append(&w, array, program_json(&w, programs[i].name, &found[i]));
	json_put(&w, o, "cgroups", groups_json(&w, groups));
	json_put(&w, o, "libraries", libraries_json(&w, own, n));
	json_put(&w, o, "programs", array);
	if (json_print(&w, json_with_version(o)) == 0)
		return CLI_OK;
	stow_err_sys(&err, ENOMEM, "the versions");
	return cli_fail(&err);
}

int cmd_version(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "version",
		.arguments = "[--json]",
		.summary =
			"Show the versions of numastow's programs and their libraries, and of this "
			"machine's cgroups",
		.options = "  -J, --json  print JSON\n"
			   "  -h, --help  print this text\n",
	};
	bool json = false;
	const struct cli_option options[] = { { "json", 'J', .flag = &json }, { 0 } };
	struct program found[STOW_ARRAY_SIZE(programs)] = { 0 };
	struct groups groups = { 0 };
	int r = cli_options(&usage, options, argc, argv);

	if (r >= 0)
		return r;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(programs); i++)
		look_at(programs[i].name, &found[i]);
	look_at_groups(&groups);
	return json ? print_json(found, &groups) : print(found, &groups);
}
