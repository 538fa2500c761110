/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the hook's commands. */

#include "grant/grant.h"
#include "oci-hook/hook.h"
#include "oci-hook/state.h"

/* One run of the hook for one annotated container. */
struct hook_run {
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL until needed */
	struct stow_grant_context context;
	struct stow_topology *topology; /* owned by the context */
	struct stow_subject subject;
	struct stow_request request;
	struct stow_limits limits;
};

/* Call stow_request_parse() with the pod's annotations and the administrator's configuration. */
int hook_parse_request(const struct hook_container *container, const char *name,
		       const struct stow_config *config, struct stow_request *ret,
		       struct stow_err *err);

/* Read the administrator's configuration and the request: annotations, completed from
 * config.json and from the limits of the container's cgroup (NULL: there is none yet). Returns 1
 * when the container requests something, 0 when no annotation is for it. */
int hook_run_begin(struct stow_root *root, const struct hook_container *container,
		   struct json_object *config_json, const struct stow_cgroup *cgroup,
		   struct hook_run *run, struct stow_err *err);
int hook_run_open_ledger(struct hook_run *run, struct stow_err *err);
void hook_run_done(struct hook_run *run);

/* Write a line to the journal and, if there is a ledger, to the history; for every change and
 * refusal. */
void hook_audit(struct hook_run *run, const char *kind, const struct stow_record *record,
		const char *text, bool history);

/* Set `err` to a refusal: `cannot place "web": ...; ...`. Returns -ENOSPC. */
int hook_refuse(const struct hook_container *container, const struct stow_refusal *refusal,
		struct stow_err *err);

/* Read the CPUs and memory nodes of a config.json (linux.resources.cpu, or unified); empty for
 * none (sets.c). */
void hook_config_sets(struct json_object *config, struct stow_idset *ret_cpus,
		      struct stow_idset *ret_mems);
/* Parse the config.json of an unmanaged container, but only if it may have a CPU set, or access
 * to other containers' cgroups; otherwise, or when it cannot be read, return NULL. */
struct json_object *hook_bundle_look(struct stow_root *root, const char *bundle);

/* Run a hook that is rootless (hook_is_rootless(); rootless.c). A container without annotations
 * starts. A container with annotations is refused with -EPERM, unless they allow it to start
 * unplaced. precreate returns the configuration unchanged, and leaves the refusal to apply,
 * because Podman does not show precreate's errors. */
int hook_run_rootless(struct stow_root *root, enum hook_command command, int in, int out,
		      struct stow_err *err);

/* precreate.c */
int hook_write_all(int fd, const char *text, size_t len, struct stow_err *err);
int hook_precreate(struct stow_root *root, int in, int out, struct stow_err *err);
/* Return the kernel's name of the policy ("MPOL_INTERLEAVE"); NULL for bind, which cpuset.mems
 * enforces. */
const char *hook_memory_policy_mode(enum stow_memory_policy policy);
