/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where a thread may run, where it last ran, and its memory policy (sched(7), numa(7)).
 *
 * A process cannot ask the kernel for another one's memory policy. But /proc/PID/task/TID/numa_maps
 * has a policy for each mapping, and a mapping without a policy of its own shows that thread's. Few
 * programs give their stack one (mbind(2)), so the stack's is taken for the thread's; without a
 * stack, the policy that most mappings have.
 */

#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"
#include "pages/numa_maps.h"

#define STOW_TASK_POLICY_MAX 160

/* Which mapping of numa_maps the policy is from. */
enum stow_policy_from {
	STOW_POLICY_UNKNOWN, /* not readable, or no mapping: a kernel thread, an ended one */
	STOW_POLICY_STACK,
	STOW_POLICY_MOST, /* no stack: what most mappings have */
};

struct stow_task {
	pid_t tid;
	char name[64];			   /* cleaned; "" unknown */
	bool known;			   /* the sets could be read */
	struct stow_idset cpus, mems;	   /* allowed by affinity and cpuset; by cpuset */
	int cpu;			   /* where it last ran; -1: unknown */
	char policy[STOW_TASK_POLICY_MAX]; /* as the kernel writes it, "bind:0-1"; "" unknown */
	enum stow_policy_from from;
	/* The node of the policy "prefer"; or that of NUMA balancing (numa_preferred_nid, where the
	 * kernel has it); -1: none, or unknown. */
	int preferred;
	bool preferred_by_policy;
};

/* Where a process has its pages, from the file that its first thread's policy is from: the kernel
 * takes 7 ms per GiB to make it. Free with stow_process_pages_done(). */
struct stow_task_pages {
	struct stow_process_pages pages;
	bool known;
};

/* Read all threads of a process, by ascending number; the caller frees the list. At most
 * STOW_TASKS_MAX; *ret_cut: there are more. `ret_pages` may be NULL. -ESRCH: it has ended. */
#define STOW_TASKS_MAX 4096
int stow_tasks_read(struct stow_root *root, pid_t pid, struct stow_task **ret, size_t *ret_n,
		    bool *ret_cut, struct stow_task_pages *ret_pages, struct stow_err *err);

/* Return the policy of one line of numa_maps, copied to `buf`: the words between the address and
 * the first KEY=VALUE, mark ("heap", "stack", "huge") or the end. "" when it is not such a line. */
const char *stow_task_policy_of_line(const char *line, char *buf, size_t size);
