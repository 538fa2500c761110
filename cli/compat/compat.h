/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Commands in the grammar of other programs: numactl, taskset and migratepages (their man pages).
 *
 * They are called as "numastow numactl ..." or, through a link, by the other program's name. They
 * need no root, cgroup or ledger, and execute the program in the same process. Their options, exit
 * codes and output are those of the other program; errors have a reason.
 */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/numalist.h"
#include "base/root.h"

#define COMPAT_FAILED	      1
#define COMPAT_NOT_EXECUTABLE 126
#define COMPAT_NOT_FOUND      127

/* The kernel's memory policies and flags (set_mempolicy(2), mbind(2)). Headers of Debian 12 lack
 * the newer ones. */
enum compat_policy {
	COMPAT_DEFAULT,
	COMPAT_PREFERRED,
	COMPAT_BIND,
	COMPAT_INTERLEAVE,
	COMPAT_LOCAL,		    /* Linux 3.8 */
	COMPAT_PREFERRED_MANY,	    /* 5.15 */
	COMPAT_WEIGHTED_INTERLEAVE, /* 6.9 */
	COMPAT_NONE = -1,	    /* none was given */
};
#define COMPAT_BALANCING (1 << 13) /* with COMPAT_BIND, 5.12 */
#define COMPAT_STATIC	 (1 << 15)
#define COMPAT_RELATIVE	 (1 << 14)

/* What this process may use, and what is there. */
struct compat_task {
	const char *program; /* how users call it: "numastow numactl", or "numactl" */
	struct stow_root *root;
	struct stow_idset cpus;	   /* Cpus_allowed_list */
	struct stow_idset mems;	   /* Mems_allowed_list */
	struct stow_idset present; /* nodes in sysfs */
};

/* Return how users call this command: "numactl" through a link of that name, or else "numastow
 * numactl". */
const char *compat_program(const char *name);

/* Print "PROGRAM: text", and return COMPAT_FAILED. */
int compat_fail(const char *program, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The same, and where to read on. */
int compat_usage(const char *program, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Read what this process may use. Free with compat_task_done(). */
int compat_task_open(struct compat_task *task, const char *program, struct stow_err *err);
void compat_task_done(struct compat_task *task);

/* All CPUs that are configured, online or not. */
void compat_configured_cpus(const struct compat_task *task, struct stow_idset *ret);
/* Read the CPUs of a node; none where it has none. */
int compat_node_cpus(const struct compat_task *task, int node, struct stow_idset *ret,
		     struct stow_err *err);

/* Parse a list of nodes; names such as "netdev:eth0" are looked up. `all`: any node that is there
 * may be named; otherwise those that this process may use. `cpus`: also nodes that have CPUs which
 * this process may use, but no memory. */
int compat_nodes(const struct compat_task *task, const char *text, bool all, bool cpus,
		 struct stow_idset *ret, struct stow_err *err);
/* Find the node of "netdev:DEV", "ip:HOST", "file:PATH", "block:DEV" or "pci:ADDRESS". `ctx` is the
 * task. Return 1, 0 when it is no such name, or a negative errno. */
int compat_find_node(void *ctx, const char *name, int *ret_node, struct stow_err *err);

/* Set the CPUs of a thread (0: the calling one). */
int compat_set_cpus(pid_t tid, const struct stow_idset *cpus, struct stow_err *err);
/* Read them: those that are online, and that it may run on. */
int compat_get_cpus(pid_t tid, struct stow_idset *ret, struct stow_err *err);

/* Set the memory policy of this thread, or with mbind(2) of a range of memory. `mode` may have
 * flags. */
int compat_set_policy(const struct compat_task *task, int mode, const struct stow_idset *nodes,
		      struct stow_err *err);
int compat_bind_memory(const struct compat_task *task, void *memory, size_t length, int mode,
		       const struct stow_idset *nodes, bool strict, struct stow_err *err);
/* Read the policy of this thread, or of an address. Return 0 or -errno. */
int compat_get_policy(const void *address, int *ret_mode, struct stow_idset *ret_nodes);
/* Return the node on which the page of an address is, or with NULL where this thread's
 * interleaving goes on; or -errno. */
int compat_get_node(const void *address);
/* Return numactl's word for a policy, in `buf` when it has flags. */
const char *compat_policy_name(int mode, char *buf, size_t size);

/* Execute a program. Return only on failure: -errno. */
int compat_execute(char **argv, struct stow_err *err);

/* The commands. argv[0] is the name. */
int compat_numactl(int argc, char **argv);
int compat_taskset(int argc, char **argv);
int compat_migratepages(int argc, char **argv);
