/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Shared by the hook's commands. */

#include "grant/apply.h"
#include "grant/grant.h"
#include "oci-hook/hook.h"
#include "oci-hook/state.h"

/* One run of the hook for one container. */
struct hook_run {
	struct stow_root *root;
	struct stow_config *config;
	struct stow_ledger *ledger; /* NULL until needed */
	struct stow_grant_context context;
	struct stow_topology *topology; /* read by lib/grant when it needs it */
	struct stow_subject subject;
	struct stow_request request;
	struct stow_limits limits;
};

/* Call stow_request_parse() with the pod's annotations and the administrator's configuration. */
int hook_parse_request(const struct hook_container *container, const char *name,
		       const struct stow_config *config, struct stow_request *ret,
		       struct stow_err *err);

/* Return whether annotations ask for something for this container, or are invalid. *ret_ignore:
 * they are valid, and allow it to start unplaced. `config`: NULL if the administrator's
 * configuration is not known. */
bool hook_asks(const struct hook_container *container, const struct stow_config *config,
	       bool *ret_ignore);

/* Read the administrator's configuration, and fill in `context` and `subject` for lib/grant. */
int hook_run_open(struct stow_root *root, const struct hook_container *container,
		  struct hook_run *run, struct stow_err *err);
/* Read the container's limits, from config.json and from its cgroup (NULL: there is none yet). */
int hook_run_limits(struct hook_run *run, struct json_object *config_json,
		    const struct stow_cgroup *cgroup, struct stow_err *err);
/* Read the request of a run that was opened: annotations, completed from config.json and from the
 * limits of the container's cgroup (NULL: there is none yet). Return 1 when the container requests
 * something, 0 when no annotation is for it. */
int hook_run_begin(struct hook_run *run, const struct hook_container *container,
		   struct json_object *config_json, const struct stow_cgroup *cgroup,
		   struct stow_err *err);
/* -ENOENT: there is no ledger, and it is not to be created. -EXDEV: it is that of a machine, and
 * this program is in other namespaces. */
int hook_run_open_ledger(struct hook_run *run, bool create, struct stow_err *err);
void hook_run_done(struct hook_run *run);

/* Write a line to the journal and, if there is a ledger, to the history; for every change and
 * refusal. */
void hook_audit(struct hook_run *run, const char *kind, const struct stow_record *record,
		const char *text, bool history);

/* Set `err` to a refusal: `cannot place "web": ...; ...`, with the name of a container without one
 * in its annotations from Podman's lists. Return -ENOSPC. */
int hook_refuse(struct stow_root *root, const struct hook_container *container,
		const struct stow_refusal *refusal, struct stow_err *err);

/* Read the CPUs and memory nodes of a config.json (linux.resources.cpu, or unified); empty for
 * none (sets.c). Where there is no config.json (NULL), or it has a list that cannot be parsed, read
 * what the runtime has written into the container's cgroup. */
void hook_config_sets(struct json_object *config, const struct stow_cgroup *cgroup,
		      struct stow_idset *ret_cpus, struct stow_idset *ret_mems);
/* Parse the config.json of an unmanaged container, but only if it may have a CPU set, access to
 * other containers' cgroups, or a claim; otherwise `ret` stays as it is. Return a failure when it
 * cannot be read. */
int hook_bundle_look(struct stow_root *root, const char *bundle, struct json_object **ret);

/* Run a hook that is rootless (!stow_admin_is_root(root); rootless.c). A container without
 * annotations starts. A container with annotations is refused with -EPERM, unless they allow it to
 * start unplaced. precreate returns the configuration unchanged, and leaves the refusal to apply,
 * because Podman does not show precreate's errors. */
int hook_run_rootless(struct stow_root *root, const struct hook_call *call, int in, int out,
		      struct stow_err *err);

/* Read a container's first process and its cgroup, before any of its code runs. */
int hook_identify(struct stow_root *root, const struct hook_container *container,
		  struct stow_pidref *ret_init, struct stow_cgroup **ret_cgroup,
		  struct stow_err *err);
/* Check that the container has cgroups of its own. -ENOTSUP: it is in its runtime's, as this
 * process (podman run --cgroups=disabled). Then it cannot be placed: a write would affect other
 * processes. */
int hook_check_cgroups(struct stow_root *root, const struct stow_cgroup *cgroup,
		       struct stow_err *err);
/* Warn of a container that can reach other containers' cgroups, and so can break promises to
 * them: SECURITY.md. */
void hook_warn(struct hook_run *run, struct json_object *config_json);
/* Conclude the enacting of a record, which returned `r`: log it, or undo it. Problems of other
 * containers are logged; they are no reason to refuse this one. Return 0, or the failure. */
int hook_conclude(struct hook_run *run, const struct stow_record *record,
		  const struct stow_apply_result *problems, int r, struct stow_err *err);

/* claim.c: give a container its share of a claim. */
int hook_apply_claim(struct stow_root *root, const struct hook_container *container,
		     const struct hook_call *call, struct stow_err *err);
/* Return whether config.json has a call of this hook for a claim. Then that call places the
 * container, and a call without a claim, from a hooks.d folder, does nothing. */
bool hook_config_has_claim(struct json_object *config);

/* precreate.c */
int hook_precreate(struct stow_root *root, int in, int out, struct stow_err *err);
/* Return the kernel's name of the policy ("MPOL_INTERLEAVE"); NULL for bind, which cpuset.mems
 * enforces. */
const char *hook_memory_policy_mode(enum stow_memory_policy policy);
