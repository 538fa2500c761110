// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/options.h"
#include "cli/run/libsystemd.h"
#include "cli/run/run.h"

static const struct cli_usage usage = {
	.name = "run",
	.arguments = "[OPTION...] [--] COMMAND [ARGUMENT...]",
	.summary = "Run a program on NUMA nodes that are granted to it as to a container",
	.options = "  -c, --cpus NUMBER       CPUs, as hardware threads\n"
		   "  -x, --exclusive         CPUs of its own: --cpu-mode exclusive\n"
		   "      --cpu-mode MODE     shared, exclusive or isolated\n"
		   "  -N, --nodes LIST        only these NUMA nodes\n"
		   "  -m, --memory SIZE       memory to reserve, which becomes its limit\n"
		   "  -p, --policy WORD       memory policy: bind, preferred, preferred-many,\n"
		   "                          interleave, weighted-interleave, local; or, as an\n"
		   "                          option of its own, placement: single-numa-node,\n"
		   "                          restricted, best-effort, spread\n"
		   "  -H, --hugepages SIZE    hugepages for malloc(3): \"1Gi\", or \"4Gi/1Gi\" of "
		   "that\n"
		   "                          size\n"
		   "      --near DEVICE       prefer the device's NUMA node\n"
		   "      --drain MODE        when memory is drained: repin, evict or refuse\n"
		   "      --annotation KEY=VALUE\n"
		   "                          any other key of a container's request\n"
		   "  -e, --each-node         one instance on each NUMA node\n"
		   "      --name NAME         its name in numastow ledger and why\n"
		   "  -u, --user USER         run it as this user\n"
		   "      --slice UNIT        systemd's slice for it\n"
		   "  -q, --quiet             do not say what needs root\n"
		   "  -h, --help              print this text\n",
	.words = CLI_COMMAND,
};

static int run_one(const struct run_options *options)
{
	_cleanup_(run_close) struct run run;
	struct stow_err err;
	int r;

	r = run_open(&run, options, &err);
	if (r == 0)
		r = run_place(&run, -1, &err);
	if (r < 0) {
		fprintf(stderr, "numastow: %s\n", err.msg);
		return RUN_FAILED;
	}
	return run_program(&run);
}

static int check(struct run_options *options, struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	int r = options->name ? stow_program_check_name(options->name, err) : 0;

	if (r == 0)
		r = stow_root_open("/", &root, err);
	return r < 0 ? r : run_ask(options, root, err);
}

/* libcgroup and libsystemd do not tell their versions. */
static int print_version(void)
{
	struct run_libsystemd library;

	printf("numastow-run %s\nlibcgroup\n%s", STOW_VERSION,
	       run_load_libsystemd(&library, NULL) == 0 ? "libsystemd\n" : "");
	return cli_finish(CLI_OK);
}

int main(int argc, char **argv)
{
	struct run_options options = { 0 };
	const struct cli_option known[] = {
		{ "cpus", 'c', .text = &options.cpus },
		{ "exclusive", 'x', .flag = &options.exclusive },
		{ "cpu-mode", .text = &options.cpu_mode },
		{ "nodes", 'N', .text = &options.nodes },
		{ "memory", 'm', .text = &options.memory },
		{ "policy", 'p', .take = run_take_policy, .value = &options },
		{ "hugepages", 'H', .text = &options.hugepages },
		{ "near", .text = &options.near },
		{ "drain", .text = &options.drain },
		{ "annotation", .take = run_take_annotation, .value = &options },
		{ "each-node", 'e', .flag = &options.each_node },
		{ "name", .text = &options.name },
		{ "user", 'u', .text = &options.user },
		{ "slice", .text = &options.slice },
		{ "quiet", 'q', .flag = &options.quiet },
		{ 0 },
	};
	struct stow_err err;
	int r;

	if (argc == 2 && strcmp(argv[1], "--version") == 0)
		return print_version();
	/* `numastow` executes this as "numastow run ...". */
	if (argc < 2 || strcmp(argv[1], "run") != 0) {
		fprintf(stderr, "numastow-run is started by `numastow run`\n");
		return RUN_FAILED;
	}
	r = cli_options(&usage, known, argc - 1, argv + 1);
	if (r == CLI_OK)
		return cli_finish(CLI_OK);
	if (r > 0)
		return RUN_FAILED;
	options.command = argv + 1 + optind;
	if (!options.command[0]) {
		(void)cli_wrong_usage("run", "the command to run is missing");
		return RUN_FAILED;
	}
	r = check(&options, &err);
	if (r < 0) {
		fprintf(stderr, "numastow: %s\n", err.msg);
		return RUN_FAILED;
	}
	r = run_find(options.command[0]);
	if (r != 0)
		return r;
	return options.each_node ? run_each(&options) : run_one(&options);
}
