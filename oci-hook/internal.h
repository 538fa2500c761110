/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the hook's commands share. */

#include "grant/grant.h"
#include "oci-hook/hook.h"
#include "oci-hook/state.h"

/* One run of the hook for one annotated container. */
struct hook_run {
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL until it is needed */
	struct stow_grant_context context;
	struct stow_topology *topology; /* the context's */
	struct stow_subject subject;
	struct stow_request request;
	struct stow_limits limits;
};

/* Reads the administrator's configuration and the request: annotations, completed from config.json
 * and from the limits of its cgroup (NULL: there is none yet). Returns 1 when the container asks
 * for anything, 0 when no annotation is for it. */
int hook_run_begin(struct stow_root *root, const struct hook_container *container,
		   struct json_object *config_json, const struct stow_cgroup *cgroup,
		   struct hook_run *run, struct stow_err *err);
int hook_run_open_ledger(struct hook_run *run, struct stow_err *err);
void hook_run_done(struct hook_run *run);

/* One line in the journal, and with a ledger one in the history: every change, every refusal. */
void hook_audit(struct hook_run *run, const char *kind, const struct stow_record *record,
		const char *text, bool history);

/* Puts a refusal into `err`: `cannot place "web": ...; ...`. Returns -ENOSPC. */
int hook_refuse(const struct hook_container *container, const struct stow_refusal *refusal,
		struct stow_err *err);

/* sets.c: the CPUs and memory nodes that a config.json gives (linux.resources.cpu, or unified);
 * empty for none. */
void hook_config_sets(struct json_object *config, struct stow_idset *ret_cpus,
		      struct stow_idset *ret_mems);
/* The config.json of an unmanaged container's bundle, which is only taken apart when it may have a
 * CPU set or more rights than containers have; NULL when not, or when it cannot be read. */
struct json_object *hook_bundle_look(struct stow_root *root, const char *bundle);

/* rootless.c: for a hook that is no root, or root of a user namespace only. A container without
 * annotations starts; -EPERM for one with them, unless it is to start in any case. precreate gives
 * the configuration back as it is, and leaves the refusal to apply, which is heard. */
int hook_run_rootless(struct stow_root *root, enum hook_command command, int in, int out,
		      struct stow_err *err);

/* precreate.c */
int hook_write_all(int fd, const char *text, size_t len, struct stow_err *err);
int hook_precreate(struct stow_root *root, int in, int out, struct stow_err *err);
/* The kernel's name of the policy ("MPOL_INTERLEAVE"), NULL for bind, which cpuset.mems does. */
const char *hook_memory_policy_mode(enum stow_memory_policy policy);
