// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/compat/compat.h"

#define MASK_BITS 1025 /* the kernel takes one bit less */

static void print_help(const char *program)
{
	printf("Usage: %s PID FROM-NODES TO-NODES\n"
	       "\n"
	       "Move the pages of a process to other nodes, in the grammar of migratepages(8).\n"
	       "\n"
	       "Options:\n"
	       "  -h, --help  print this text\n"
	       "\n"
	       "NODES is a list: 0,2-3, all, +0-1, !0.\n",
	       program);
}

static int explain(const struct compat_task *task, pid_t pid, const char *to, int errnum)
{
	char mems[64];

	stow_idset_format(&task->mems, mems, sizeof(mems));
	switch (errnum) {
	case ESRCH:
		return compat_fail(task->program, "there is no process %d", (int)pid);
	case EPERM:
		return compat_fail(task->program,
				   "process %d: nodes %s are not all in its cpuset, or it belongs "
				   "to another user: both takes CAP_SYS_NICE",
				   (int)pid, to);
	case EINVAL:
		return compat_fail(task->program,
				   "no node of %s has memory and is in the cpuset of this command "
				   "(such are: %s)",
				   to, mems);
	default:
		return compat_fail(task->program, "migrate_pages(2): %s", strerror(errnum));
	}
}

static int migrate(const struct compat_task *task, char **words)
{
	struct stow_idset from, to;
	struct stow_err err;
	uint64_t pid = 0;
	long left;

	if (stow_parse_u64(words[0], INT_MAX, &pid, NULL) < 0)
		return compat_usage(task->program, "\"%.64s\" is not the number of a process",
				    words[0]);
	if (compat_nodes(task, words[1], false, false, &from, &err) < 0 ||
	    compat_nodes(task, words[2], false, false, &to, &err) < 0)
		return compat_fail(task->program, "%s", err.msg);
	left = syscall(SYS_migrate_pages, (pid_t)pid, MASK_BITS, from.bits, to.bits);
	if (left < 0)
		return explain(task, (pid_t)pid, words[2], errno);
	if (left > 0)
		(void)compat_fail(task->program,
				  "warning: %ld pages could not be moved (pinned, in use, or not "
				  "enough free memory on nodes %s)",
				  left, words[2]);
	return 0;
}

int compat_migratepages(int argc, char **argv)
{
	static const struct option options[] = { { "help", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	_cleanup_(compat_task_done) struct compat_task task = { 0 };
	const char *program = compat_program("migratepages");
	struct stow_err err;
	int c;

	argv[0] = (char *)program;
	while ((c = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (c == 'h') {
			print_help(program);
			return 0;
		}
		fprintf(stderr, "Try '%s --help'.\n", program);
		return COMPAT_FAILED;
	}
	if (argc - optind != 3)
		return compat_usage(program, "a process and two lists of nodes are wanted");
	if (compat_task_open(&task, program, &err) < 0)
		return compat_fail(program, "%s", err.msg);
	return migrate(&task, argv + optind);
}
