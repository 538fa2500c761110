// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/compat.h"

struct taskset {
	const char *program;
	struct stow_root *root;
	bool all, pid, list;
};

static void print_help(const char *program)
{
	printf("Usage: %s [OPTION...] MASK COMMAND [ARGUMENT...]\n"
	       "       %s [OPTION...] -p [MASK] PID\n"
	       "\n"
	       "Set or print the CPUs of a program or process, in the grammar of taskset(1).\n"
	       "\n"
	       "Options:\n"
	       "  -a, --all-tasks  with -p: all threads of the process\n"
	       "  -p, --pid        a process that runs already\n"
	       "  -c, --cpu-list   MASK is a list, such as 0,5,8-11 or 0-31:2\n"
	       "  -h, --help       print this text\n"
	       "  -V, --version    print the version\n",
	       program, program);
}

static int print_cpus(const struct taskset *t, pid_t tid, const char *which,
		      const struct stow_idset *cpus)
{
	_cleanup_free_ char *text =
		t->list ? stow_numalist_format(cpus) : stow_numalist_format_mask(cpus);

	if (!text)
		return compat_fail(t->program, "out of memory");
	printf("pid %d's %s affinity %s: %s\n", (int)tid, which, t->list ? "list" : "mask", text);
	return 0;
}

static int print_current(const struct taskset *t, pid_t tid, const char *which)
{
	struct stow_idset cpus;
	struct stow_err err;

	if (compat_get_cpus(tid, &cpus, &err) < 0)
		return compat_fail(t->program, "failed to get pid %d's affinity: %s", (int)tid,
				   err.code == ESRCH ? "there is no such process" : err.msg);
	return print_cpus(t, tid, which, &cpus);
}

/* Print the CPUs of a thread. If `cpus` is not NULL, set them, and print them again. */
static int print_or_set(const struct taskset *t, pid_t tid, const struct stow_idset *cpus)
{
	struct stow_err err;

	if (print_current(t, tid, "current") != 0)
		return COMPAT_FAILED;
	if (!cpus)
		return 0;
	if (compat_set_cpus(tid, cpus, &err) < 0)
		return compat_fail(t->program, "failed to set pid %d's affinity: %s", (int)tid,
				   err.msg);
	return print_current(t, tid, "new");
}

/* Do the same for all threads of a process. A thread that ends meanwhile is skipped. */
static int print_or_set_all(const struct taskset *t, pid_t pid, const struct stow_idset *cpus)
{
	_cleanup_closedir_ DIR *d = stow_root_opendir(t->root, NULL, "/proc/%d/task", (int)pid);
	struct dirent *e;
	uint64_t tid;
	int r = 0;

	if (!d)
		return compat_fail(t->program, "pid %d: there is no such process", (int)pid);
	while (r == 0 && (e = readdir(d)))
		if (stow_parse_u64(e->d_name, INT_MAX, &tid, NULL) == 0 &&
		    stow_root_exists(t->root, "/proc/%d/task/%s", (int)pid, e->d_name) == 1)
			r = print_or_set(t, (pid_t)tid, cpus);
	return r;
}

static int parse_cpus(const struct taskset *t, const char *text, struct stow_idset *ret)
{
	static const struct stow_numalist list = { .what = "CPU" };
	struct stow_err err;
	int r = t->list ? stow_numalist_parse(text, &list, ret, &err)
			: stow_numalist_parse_mask(text, ret, &err);

	if (r < 0)
		return compat_fail(t->program, "failed to parse CPU %s: %s%s",
				   t->list ? "list" : "mask", err.msg,
				   t->list ? "" : "; use -c for a list of CPUs");
	return 0;
}

static int run_on_process(const struct taskset *t, char **argv, int argc)
{
	struct stow_idset cpus;
	bool set = argc == 2;
	uint64_t pid = 0;

	if (stow_parse_u64(argv[argc - 1], INT_MAX, &pid, NULL) < 0 || pid == 0)
		return compat_fail(t->program,
				   "failed to parse pid: \"%.64s\" is not the number "
				   "of a process",
				   argv[argc - 1]);
	if (set && parse_cpus(t, argv[0], &cpus) != 0)
		return COMPAT_FAILED;
	return t->all ? print_or_set_all(t, (pid_t)pid, set ? &cpus : NULL)
		      : print_or_set(t, (pid_t)pid, set ? &cpus : NULL);
}

static int run_command(const struct taskset *t, char **argv)
{
	struct stow_idset cpus;
	struct stow_err err;

	if (parse_cpus(t, argv[0], &cpus) != 0)
		return COMPAT_FAILED;
	if (compat_set_cpus(0, &cpus, &err) < 0)
		return compat_fail(t->program, "failed to set the affinity: %s", err.msg);
	(void)compat_execute(argv + 1, &err);
	(void)compat_fail(t->program, "%s", err.msg);
	return err.code == ENOENT ? COMPAT_NOT_FOUND : COMPAT_NOT_EXECUTABLE;
}

static int run(struct taskset *t, int argc, char **argv)
{
	int words = argc - optind;

	if (t->pid ? words < 1 || words > 2 : words < 2)
		return compat_usage(t->program, "%s",
				    t->pid ? "-p takes an optional mask, and one process"
					   : "a mask and a command are missing");
	return t->pid ? run_on_process(t, argv + optind, words) : run_command(t, argv + optind);
}

int compat_taskset(int argc, char **argv)
{
	static const struct option options[] = {
		{ "all-tasks", no_argument, NULL, 'a' }, { "pid", no_argument, NULL, 'p' },
		{ "cpu-list", no_argument, NULL, 'c' },	 { "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },	 { NULL, 0, NULL, 0 },
	};
	struct taskset t = { .program = compat_program("taskset") };
	struct stow_err err;
	int c, r;

	argv[0] = (char *)t.program;
	while ((c = getopt_long(argc, argv, "+apchV", options, NULL)) != -1) {
		switch (c) {
		case 'a':
			t.all = true;
			break;
		case 'p':
			t.pid = true;
			break;
		case 'c':
			t.list = true;
			break;
		case 'h':
			print_help(t.program);
			return 0;
		case 'V':
			printf("taskset from numastow %s\n", STOW_VERSION);
			return 0;
		default:
			fprintf(stderr, "Try '%s --help'.\n", t.program);
			return COMPAT_FAILED;
		}
	}
	if (stow_root_open("/", &t.root, &err) < 0)
		return compat_fail(t.program, "%s", err.msg);
	r = run(&t, argc, argv);
	stow_root_free(t.root);
	return r;
}
