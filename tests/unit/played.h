/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A machine with a kernel that is played: two NUMA nodes of four CPUs and 16 GiB, cgroups whose
 * effective sets follow what is written, and containers that got their grants as a hook gets them.
 */

#include "grant/grant.h"
#include "tree.h"

struct played {
	struct tree *t;
	struct stow_root_ops ops;
	struct stow_config *config;
	struct stow_grant_context context; /* whose process is 99, which does not live */
	const char *refuse;		   /* a write to this path fails with -EIO; or NULL */
};

/* Write the nodes and their CPUs, all online. */
void played_nodes(struct tree *t);

struct played *played_new(void);
void played_free(struct played *played);

/* A process that lives, in the cgroup /NAME. */
void played_process(struct played *played, int pid, const char *name);
/* Ends it and, with a name, its cgroup. */
void played_kill(struct played *played, int pid, const char *name);

/* The container of process `pid` in /NAME, with `cpus` CPUs and `memory` bytes on one node. */
void played_container(struct played *played, int pid, const char *name, int node, uint32_t cpus,
		      uint64_t memory, bool exclusive);

/* The same with isolated CPUs, on node 0; its id is what is after the last slash. What else is not
 * as it must be is in *ret (may be NULL), to be freed with stow_apply_result_done(). */
void played_isolated(struct played *played, int pid, const char *name, uint32_t cpus,
		     struct stow_apply_result *ret);

/* Another tool writes: "cpuset.cpus" or "cpuset.mems". */
void played_write(struct played *played, const char *name, const char *file, const char *list);

/* Ends the test unless the cgroup has these sets. */
void played_has(struct played *played, const char *name, const char *cpus, const char *nodes);

/* The container's grant; to be freed. */
struct stow_record *played_grant(struct played *played, const char *id);
/* The CPUs that it has now. */
void played_cpus(struct played *played, const struct stow_record *record, char *buf, size_t size);
/* Records in the ledger, of whatever. */
size_t played_records(struct played *played);
/* The kind of the container's newest event. */
const char *played_event(struct played *played, const char *id, char *buf, size_t size);
