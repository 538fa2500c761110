/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A simulated machine: two NUMA nodes of four CPUs and 16 GiB, cgroups whose effective sets follow
 * what is written, and containers that were granted as by the hook.
 */

#include "grant/grant.h"
#include "tree.h"

struct played {
	struct tree *t;
	struct stow_root_ops ops;
	struct stow_config *config;
	struct stow_grant_context context; /* `self` is process 99, which does not exist */
	const char *refuse;		   /* a write to this path fails with -EIO; or NULL */
};

/* Write the nodes and their CPUs, all online. */
void played_nodes(struct tree *t);

struct played *played_new(void);
void played_free(struct played *played);

/* Add a living process, in the cgroup /NAME. */
void played_process(struct played *played, int pid, const char *name);
/* End a process and, with a name, its cgroup. */
void played_kill(struct played *played, int pid, const char *name);

/* Add the container of process `pid` in /NAME, with `cpus` CPUs and `memory` bytes on one node. */
void played_container(struct played *played, int pid, const char *name, int node, uint32_t cpus,
		      uint64_t memory, bool exclusive);

/* Do the same with isolated CPUs, on node 0; its id is the last component of the name. Problems of
 * other containers are in *ret (may be NULL): free it with stow_apply_result_done(). */
void played_isolated(struct played *played, int pid, const char *name, uint32_t cpus,
		     struct stow_apply_result *ret);

/* Write a set as another tool would: "cpuset.cpus" or "cpuset.mems". */
void played_write(struct played *played, const char *name, const char *file, const char *list);

/* Check that the cgroup has these sets. */
void played_has(struct played *played, const char *name, const char *cpus, const char *nodes);

/* Read the container's grant, which the caller frees. */
struct stow_record *played_grant(struct played *played, const char *id);
/* Format the CPUs that it has now. */
void played_cpus(struct played *played, const struct stow_record *record, char *buf, size_t size);
/* Count the records in the ledger. */
size_t played_records(struct played *played);
/* Copy the kind of the container's newest event. */
const char *played_event(struct played *played, const char *id, char *buf, size_t size);
