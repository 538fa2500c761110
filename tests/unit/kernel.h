/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A simulated kernel: CPU hotplug, NUMA nodes, and cpusets that behave like those of cgroup v1 and
 * v2 (lib/cgroup/cpuset.h describes this), in a tree. Writes are checked as the kernel checks them,
 * and take effect at once, also for all cgroups below.
 *
 * Its state is shared with processes that the test forks, so that one of them can be killed in the
 * middle of its work.
 */

#include "tree.h"

#define KERNEL_CPUS_PER_NODE 4
#define KERNEL_CGROUPS	     64
#define KERNEL_PROCESSES     64

struct kernel_cgroup {
	bool used;
	int above;	     /* index; -1: the topmost */
	char path[320];	     /* "" for the topmost, else "/a/b" */
	uint32_t cpus, mems; /* as configured */
	uint32_t cpus_effective, mems_effective;
	bool populated;
	bool disabled;	   /* has no cpuset controller */
	uint32_t shown[4]; /* what its files say now; SHOWN_NOT: unknown */
	bool procs_shown;
};

struct kernel_process {
	int pid;    /* 0: a free place */
	int cpuset; /* index of its cgroup */
	int other;  /* v1: of its cgroup in the other hierarchies */
};

struct kernel_state {
	uint32_t present, online;
	uint32_t active; /* CPUs that the topmost cpuset has */
	struct kernel_cgroup cgroups[KERNEL_CGROUPS];
	struct kernel_process processes[KERNEL_PROCESSES];
	uint64_t writes; /* to files of the tree, by way of its root */
	ino_t came;	 /* v1: of the topology directory of the CPU that came last */
};

struct kernel {
	int version, nodes;
	bool cpusets_lag; /* a CPU that comes online is in cpusets only after kernel_catch_up() */
	struct tree *t;
	struct stow_root_ops ops;
	struct kernel_state *s;
	/* Asked before every access (`value` NULL for other ones than writes): -errno fails it. */
	int (*fault)(void *ctx, const char *path, const char *value);
	void *fault_ctx;
};

struct kernel *kernel_new(int version, int nodes);
void kernel_free(struct kernel *kernel);

/* Make a cgroup, and return its index; `above` -1: the topmost. On v1 a new cpuset has neither CPUs
 * nor nodes. */
int kernel_mkdir(struct kernel *kernel, int above, const char *name);
/* Remove a cgroup with all below it and their processes. */
void kernel_rmdir(struct kernel *kernel, int cgroup);
/* v2: disable the cpuset controller of a cgroup and of all below it, which drops their sets. */
void kernel_disable_cpuset(struct kernel *kernel, int cgroup);
bool kernel_is_below(const struct kernel *kernel, int cgroup, int above);

void kernel_fork(struct kernel *kernel, int pid, int cgroup);
/* Move a process in all hierarchies. -ENOSPC: a v1 cpuset without CPUs. */
int kernel_move(struct kernel *kernel, int pid, int cgroup);
void kernel_exit(struct kernel *kernel, int pid);
/* Return the index of the process's cgroup; -1: there is no such process. */
int kernel_cgroup_of(const struct kernel *kernel, int pid);

void kernel_set_online(struct kernel *kernel, int cpu, bool online);
/* Do the first step of taking a CPU offline: it is in no cpuset any more, but still online. */
void kernel_leave_cpusets(struct kernel *kernel, int cpu);
/* Run the kernel's worker, which adds CPUs that came online to the cpusets. */
void kernel_catch_up(struct kernel *kernel);

/* Write a set as another program would, and return the kernel's result. */
int kernel_write(struct kernel *kernel, int cgroup, bool cpus, uint32_t set);

/* Return the CPUs of a node, also offline ones. */
uint32_t kernel_node_cpus(int node);
/* Format as "0-3,7", in the caller's buffer. */
const char *kernel_list(uint32_t set, char *buf, size_t size);
