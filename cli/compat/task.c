// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cgroup/allowed.h"
#include "cli/compat/compat.h"

#define NODE_DIR "/sys/devices/system/node"
#define CPU_DIR	 "/sys/devices/system/cpu"

const char *compat_program(const char *name)
{
	static const char *const long_names[] = { "numastow numactl", "numastow taskset",
						  "numastow migratepages" };

	if (strcmp(program_invocation_short_name, name) == 0)
		return name;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(long_names); i++)
		if (strcmp(long_names[i] + strlen("numastow "), name) == 0)
			return long_names[i];
	return name;
}

static void print_error(const char *program, const char *fmt, va_list ap)
{
	/* Keep the order where standard output and standard error are one file. */
	fflush(stdout);
	fprintf(stderr, "%s: ", program);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
}

int compat_fail(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_error(program, fmt, ap);
	va_end(ap);
	return COMPAT_FAILED;
}

int compat_usage(const char *program, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	print_error(program, fmt, ap);
	va_end(ap);
	fprintf(stderr, "Try '%s --help'.\n", program);
	return COMPAT_FAILED;
}

int compat_task_open(struct compat_task *task, const char *program, struct stow_err *err)
{
	struct stow_allowed allowed;
	int r;

	*task = (struct compat_task){ .program = program };
	r = stow_root_open("/", &task->root, err);
	if (r < 0)
		return r;
	(void)stow_root_list_ids(task->root, NODE_DIR, "node", &task->present, NULL);
	/* A kernel without NUMA: one node with everything. */
	if (stow_idset_empty(&task->present))
		stow_idset_add(&task->present, 0);
	if (stow_allowed_read(task->root, 0, &allowed, NULL) == 0) {
		task->cpus = allowed.cpus;
		task->mems = allowed.mems;
		return 0;
	}
	(void)compat_get_cpus(0, &task->cpus, NULL);
	task->mems = task->present;
	return 0;
}

void compat_task_done(struct compat_task *task)
{
	stow_root_free(task->root);
	task->root = NULL;
}

void compat_configured_cpus(const struct compat_task *task, struct stow_idset *ret)
{
	if (stow_root_list_ids(task->root, CPU_DIR, "cpu", ret, NULL) < 0 || stow_idset_empty(ret))
		*ret = task->cpus;
}

int compat_node_cpus(const struct compat_task *task, int node, struct stow_idset *ret,
		     struct stow_err *err)
{
	int r = stow_root_read_idset(task->root, ret, err, NODE_DIR "/node%d/cpulist", node);

	/* Without NUMA, the only node has all CPUs. */
	if (r == -ENOENT && stow_root_exists(task->root, NODE_DIR) != 1) {
		compat_configured_cpus(task, ret);
		return 0;
	}
	return r;
}

int compat_nodes(const struct compat_task *task, const char *text, bool all, bool cpus,
		 struct stow_idset *ret, struct stow_err *err)
{
	struct stow_idset accepted = { 0 }, of_node;
	struct stow_numalist list = {
		.what = "node",
		.allowed = all ? &task->present : &task->mems,
		.accepted = &accepted,
		.present = &task->present,
		.hint = all ? NULL : "with --all, every node of the machine may be named",
		.find = compat_find_node,
		.ctx = (void *)task,
	};

	/* The kernel leaves nodes without memory out of Mems_allowed. */
	STOW_IDSET_FOR(node, &task->present)
		if (cpus && !stow_idset_has(list.allowed, node) &&
		    compat_node_cpus(task, node, &of_node, NULL) == 0 &&
		    stow_root_exists(task->root, NODE_DIR "/node%d/cpulist", node) == 1 &&
		    stow_idset_intersects(&of_node, &task->cpus))
			stow_idset_add(&accepted, node);
	return stow_numalist_parse(text, &list, ret, err);
}

int compat_get_cpus(pid_t tid, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_idset set = { 0 };

	if (sched_getaffinity(tid, sizeof(set.bits), (cpu_set_t *)set.bits) < 0)
		return stow_err_sys(err, errno, "sched_getaffinity(2)");
	*ret = set;
	return 0;
}

int compat_set_cpus(pid_t tid, const struct stow_idset *cpus, struct stow_err *err)
{
	char list[128];
	int saved;

	if (sched_setaffinity(tid, sizeof(cpus->bits), (const cpu_set_t *)cpus->bits) == 0)
		return 0;
	saved = errno;
	stow_idset_format(cpus, list, sizeof(list));
	if (saved == EINVAL && stow_idset_empty(cpus))
		return stow_err_set(err, EINVAL, "the set of CPUs is empty");
	if (saved == EINVAL)
		return stow_err_set(
			err, EINVAL,
			"none of the CPUs %s is present, online, and in the cpuset of the "
			"process's cgroup",
			list);
	if (saved == ESRCH)
		return stow_err_set(err, ESRCH, "there is no such process");
	if (saved == EPERM)
		return stow_err_set(err, EPERM,
				    "the process belongs to another user, and this needs "
				    "CAP_SYS_NICE");
	return stow_err_sys(err, saved, "sched_setaffinity(2) with CPUs %s", list);
}

int compat_execute(char **argv, struct stow_err *err)
{
	/* What was printed comes before the program's own output. */
	fflush(stdout);
	execvp(argv[0], argv);
	return stow_err_sys(err, errno, "cannot execute \"%s\"", argv[0]);
}
