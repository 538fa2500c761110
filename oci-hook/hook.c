// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "cgroup/cpuset.h"
#include "cgroup/limits.h"
#include "cgroup/numa_own.h"
#include "grant/apply.h"
#include "grant/claim.h"
#include "grant/enforce.h"
#include "grant/gc.h"
#include "grant/unmanaged.h"
#include "oci-hook/input.h"
#include "oci-hook/internal.h"
#include "place/changes.h"

/* --- arguments ------------------------------------------------------------ */

static int parse_command(const char *word, enum hook_command *ret, struct stow_err *err)
{
	static const char *const words[] = { "apply", "release", "precreate", NULL };

	for (int i = 0; words[i]; i++)
		if (strcmp(word, words[i]) == 0) {
			*ret = (enum hook_command)i;
			return 0;
		}
	return stow_err_set(err, EINVAL, "unknown command \"%.64s\": apply, release or precreate",
			    word);
}

static int parse_option(const char *option, const char *value, struct hook_call *call,
			struct stow_err *err)
{
	const char **ret = strcmp(option, "--claim") == 0   ? &call->claim
			   : strcmp(option, "--share") == 0 ? &call->share
							    : NULL;

	if (!ret || call->command == HOOK_PRECREATE)
		return stow_err_set(
			err, EINVAL,
			"unknown argument \"%.64s\": apply and release take --claim UID "
			"--share ID",
			option);
	if (*ret)
		return stow_err_set(err, EINVAL, "%s is given twice", option);
	*ret = value;
	return stow_claim_check_uid(value, option, err);
}

int hook_call_parse(int argc, char *const *argv, struct hook_call *ret, struct stow_err *err)
{
	struct hook_call call = { 0 };
	int r;

	r = parse_command(argc > 0 ? argv[0] : "", &call.command, err);
	for (int i = 1; i < argc && r == 0; i += 2)
		r = parse_option(argv[i], i + 1 < argc ? argv[i + 1] : NULL, &call, err);
	if (r == 0 && !call.claim != !call.share)
		r = stow_err_set(err, EINVAL, "--claim and --share belong together");
	if (r == 0)
		*ret = call;
	return r;
}

/* --- apply ---------------------------------------------------------------- */

static int enter_unmanaged(struct hook_run *run, const struct hook_container *container,
			   struct stow_err *err)
{
	_cleanup_json_ struct json_object *config_json = NULL;
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_root *root = run->root;
	struct stow_idset mems;
	struct stow_unmanaged entry = { 0 };
	int r;

	r = hook_identify(root, container, &entry.init, &cgroup, err);
	if (r < 0)
		return r;
	/* In its runtime's own cgroup, or without cpuset, it cannot be kept off exclusive CPUs. */
	if (hook_check_cgroups(root, cgroup, NULL) < 0 || !cgroup->at[STOW_CGROUP_CPUSET].version)
		return 0;
	snprintf(entry.id, sizeof(entry.id), "%s", container->id);
	entry.cgroup = cgroup->id; /* not owned */
	r = hook_bundle_look(root, container->bundle, &config_json);
	if (config_json && hook_config_has_claim(config_json))
		return 0;
	if (config_json || r < 0)
		hook_config_sets(config_json, cgroup, &entry.given, &mems);
	hook_warn(run, config_json);
	return stow_apply_unmanaged(root, &entry, err);
}

/* As hook_run_open_ledger(), to undo what is in it: an invalid configuration is no obstacle. */
static int open_to_undo(struct hook_run *run, struct stow_err *err)
{
	int r = hook_run_open_ledger(run, false, err);

	if (r == 0)
		r = stow_config_read_anyway(run->root, &run->config, err);
	if (r >= 0)
		r = stow_pidref_read(run->root, getpid(), &run->context.self, err);
	run->context.root = run->root;
	run->context.config = run->config;
	return r;
}

/* Reclaim the CPUs of containers that ended without a poststop. */
static void reclaim(struct stow_root *root)
{
	_cleanup_(hook_run_done) struct hook_run run = { .root = root };
	struct stow_gc_result swept;

	if (open_to_undo(&run, NULL) < 0)
		return;
	(void)stow_gc(&run.context, &swept, NULL);
	stow_gc_result_done(&swept);
}

/* Keep an unmanaged container off exclusive CPUs. A failure does not prevent its start, unless
 * it would run on another container's CPUs. */
static int apply_unmanaged(struct stow_root *root, const struct hook_container *container,
			   struct stow_err *err)
{
	struct hook_run run = { .root = root, .subject.id = container->id };
	struct stow_err why = { 0 };
	int r = enter_unmanaged(&run, container, &why);

	if (r == -EBUSY) {
		reclaim(root);
		r = enter_unmanaged(&run, container, &why);
	}
	if (r == -EBUSY)
		return stow_err_move(err, -EBUSY, &why);
	if (r < 0)
		hook_audit(&run, "unmanaged", NULL, why.msg, false);
	return r < 0 ? stow_apply_check_process(root, container->pid, why.msg, err) : 0;
}

/* Check that the runtime applies a memory-policy other than bind; otherwise refuse. */
static int check_memory_policy(const struct hook_run *run, struct json_object *config_json,
			       struct stow_err *err)
{
	const char *wanted = hook_memory_policy_mode(run->request.memory_policy);
	const char *given = hook_config_memory_policy(config_json);

	if (!wanted || (given && strcmp(wanted, given) == 0))
		return 0;
	return stow_err_set(err, ENOTSUP,
			    STOW_ANNOTATION_PREFIX
			    "memory-policy: \"%s\" needs the precreate hook and a runtime whose "
			    "`features` name linux.memoryPolicy; \"bind\" works everywhere",
			    stow_memory_policy_name(run->request.memory_policy));
}

/* For scope=pod read the requests of the pod's other containers, as far as annotations name
 * them. */
static int read_members(const struct hook_container *container, const struct hook_run *run,
			struct stow_member **ret_members, size_t *ret_n, struct stow_err *err)
{
	_cleanup_free_ struct stow_member *members = NULL;
	const char *names[STOW_MEMBERS_MAX];
	size_t n, k = 0;

	n = stow_request_members(container->annotations, container->n_annotations, names,
				 STOW_ARRAY_SIZE(names));
	members = calloc(n + 1, sizeof(*members));
	if (!members)
		return stow_err_sys(err, ENOMEM, "placing a pod");
	for (size_t i = 0; i < n; i++) {
		struct stow_member *m = &members[k];
		int r;

		if ((container->name && strcmp(names[i], container->name) == 0) ||
		    strlen(names[i]) >= sizeof(m->name))
			continue;
		r = hook_parse_request(container, names[i], run->config, &m->request, err);
		if (r == 0)
			continue;
		if (r > 0)
			r = stow_request_complete(&m->request, &(struct stow_limits){ 0 }, false,
						  err);
		if (r < 0)
			return r;
		strcpy(m->name, names[i]);
		k++;
	}
	*ret_members = STOW_TAKE_PTR(members);
	*ret_n = k;
	return 0;
}

/* In mode observe: log what would be done. */
static int observe(struct hook_run *run, const struct hook_container *container,
		   struct stow_err *err)
{
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	char text[1200], cpus[256], nodes[128];
	struct stow_err why = { 0 };
	int r;

	(void)stow_ledger_open(run->root, false, &run->ledger, NULL);
	run->context.ledger = run->ledger;
	r = stow_grant_plan(&run->context, &run->subject, &run->request, &plan, &refusal, &why);
	if (r == 0)
		snprintf(text, sizeof(text), "would be placed on CPUs %s, nodes %s: %s",
			 stow_idset_format(&plan->cpus, cpus, sizeof(cpus)),
			 stow_idset_format(&plan->nodes, nodes, sizeof(nodes)), plan->reason);
	if (refusal)
		(void)hook_refuse(run->root, container, refusal, &why);
	if (r < 0)
		snprintf(text, sizeof(text), "would be refused: %s", why.msg);
	hook_audit(run, "observed", NULL, text, true);
	return 0;
}

static int reserve(struct hook_run *run, const struct hook_container *container,
		   struct stow_record **ret_record, struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_free_ struct stow_member *members = NULL;
	size_t n_members = 0;
	int r = 0;

	if (run->request.scope == STOW_SCOPE_POD)
		r = read_members(container, run, &members, &n_members, err);
	if (r == 0)
		r = hook_run_open_ledger(run, true, err);
	if (r == 0)
		r = stow_grant_reserve(&run->context, &run->subject, &run->request, members,
				       n_members, ret_record, &refusal, err);
	return refusal && r == -ENOSPC ? hook_refuse(run->root, container, refusal, err) : r;
}

static int place(struct hook_run *run, const struct hook_container *container,
		 struct json_object *config_json, struct stow_err *err)
{
	_cleanup_(stow_apply_result_done) struct stow_apply_result problems = { 0 };
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	const struct stow_cgroup *cgroup = run->subject.cgroup;
	int r;

	r = hook_check_cgroups(run->root, cgroup, err);
	if (r == 0)
		r = check_memory_policy(run, config_json, err);
	if (r == 0)
		r = stow_enforce_check_memory(cgroup, run->request.memory, err);
	if (r < 0)
		return r;
	if (run->config->mode == STOW_MODE_OBSERVE)
		return observe(run, container, err);
	/* The process that starts the runtime may be below a slice with AllowedMemoryNodes=. What
	 * fails here is reported when a pool does not grow. */
	if (run->request.n_pages)
		(void)stow_own_mems_widen(run->root, NULL);
	r = reserve(run, container, &record, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	r = stow_grant_enact(&run->context, record, &run->request, !run->limits.memory, cgroup,
			     &problems, err);
	return hook_conclude(run, record, &problems, r, err);
}

/* Read the limits of the pod's cgroups; where these have none, use the limits of this container. */
static void pod_limits(const struct stow_cgroup *cgroup, const struct stow_limits *own,
		       struct stow_limits *ret)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version;
	uint32_t cpus = stow_cpu_limit_above(cgroup);
	uint64_t memory = UINT64_MAX;

	*ret = *own;
	if (version)
		memory = stow_cgroup_limit_above(cgroup, STOW_CGROUP_MEMORY,
						 stow_memory_limit_name(version));
	if (cpus != UINT32_MAX)
		ret->cpus = cpus;
	if (memory != UINT64_MAX)
		ret->memory = memory;
}

/* Read the container's identity and request, and place it, unless it has a claim. Return 1 when it
 * requests nothing. */
static int place_annotated(struct hook_run *run, const struct hook_container *container,
			   struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	_cleanup_json_ struct json_object *config_json = NULL;
	struct stow_pidref init;
	int r;

	/* First the configuration, which says whether any failure may be ignored. */
	r = hook_run_open(run->root, container, run, err);
	if (r == 0)
		r = hook_identify(run->root, container, &init, ret_cgroup, err);
	if (r == 0)
		r = hook_open_config(run->root, container->bundle, &config_json, err);
	if (r == 0 && hook_config_has_claim(config_json))
		return 0;
	if (r == 0)
		hook_warn(run, config_json);
	if (r == 0)
		r = hook_run_begin(run, container, config_json, *ret_cgroup, err);
	if (r <= 0) /* annotations, but none for this container of the pod */
		return r < 0 ? r : 1;
	run->subject.init = init;
	run->subject.cgroup = *ret_cgroup;
	pod_limits(*ret_cgroup, &run->limits, &run->subject.pod_limits);
	hook_config_sets(config_json, run->subject.cgroup, &run->subject.given_cpus,
			 &run->subject.given_mems);
	return place(run, container, config_json, err);
}

/* Start a container without a placement, because its annotations allow that. */
static int start_unplaced(struct hook_run *run, const struct hook_container *container,
			  const char *why, struct stow_err *err)
{
	hook_audit(run, "ignored", NULL, why, true);
	fprintf(stderr, "numastow: %s starts unplaced: %s\n", container->id, why);
	return apply_unmanaged(run->root, container, err);
}

static int apply_annotated(struct stow_root *root, const struct hook_container *container,
			   struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(hook_run_done) struct hook_run run = { .root = root,
							 .subject.id = container->id };
	struct stow_err why = { 0 };
	bool ignore;
	int r;

	r = place_annotated(&run, container, &cgroup, &why);
	if (r > 0)
		return apply_unmanaged(root, container, err);
	if (r == 0)
		return 0;
	if (run.config && hook_asks(container, run.config, &ignore) && ignore)
		return start_unplaced(&run, container, why.msg, err);
	hook_audit(&run, "refused", NULL, why.msg, true);
	stow_unmanaged_remove_of(root, container->id, container->pid);
	return stow_err_move(err, r, &why);
}

/* It is not known whether numastow is disabled: nothing is placed. Containers without a placement
 * are kept off exclusive CPUs, which were promised. */
static int apply_unknown(struct stow_root *root, const struct hook_container *container,
			 const struct hook_call *call, struct stow_err *err)
{
	_cleanup_(hook_run_done) struct hook_run run = { .root = root,
							 .subject.id = container->id };
	struct stow_err why = { 0 };
	bool ignore = false;
	int r;

	if (!call->claim &&
	    (!container->annotated || container->sandbox || !hook_asks(container, NULL, &ignore)))
		return apply_unmanaged(root, container, err);
	r = stow_changes_refuse(STOW_CHANGES_UNKNOWN, &why);
	return ignore ? start_unplaced(&run, container, why.msg, err) : stow_err_move(err, r, &why);
}

static int apply(struct stow_root *root, const struct hook_container *container,
		 const struct hook_call *call, struct stow_err *err)
{
	enum stow_changes changes = stow_changes(root, STOW_MODE_ENFORCE);

	if (changes == STOW_CHANGES_DISABLED)
		return 0;
	if (changes == STOW_CHANGES_UNKNOWN)
		return apply_unknown(root, container, call, err);
	if (call->claim)
		return hook_apply_claim(root, container, call, err);
	if (container->annotated && !container->sandbox)
		return apply_annotated(root, container, err);
	return apply_unmanaged(root, container, err);
}

/* --- release -------------------------------------------------------------- */

/* poststop. Releases grants only of containers that have provably ended: a late poststop must
 * not release the grant of the next container of that name. */
static int release(struct stow_root *root, const struct hook_container *container,
		   const struct hook_call *call, struct stow_err *err)
{
	_cleanup_(hook_run_done) struct hook_run run = { .root = root,
							 .subject.id = container->id };
	int r;

	r = stow_unmanaged_leave(root, container->id, err);
	if (r != 0 && !container->annotated && !call->claim)
		return r < 0 ? r : 0;
	r = open_to_undo(&run, err);
	if (r == -ENOENT || r == -EXDEV) /* nothing can have been placed */
		return 0;
	if (r < 0)
		return r;
	r = stow_grant_release(&run.context, container->id, err);
	if (r > 0)
		hook_audit(&run, "released", NULL, "its container ended", false);
	return r < 0 ? r : 0;
}

/* A container that asks for something must do so within HOOK_STATE_MAX. */
static int check_length(const struct hook_container *container, const struct hook_call *call,
			const struct hook_input *input, int r, struct stow_err *err)
{
	if (!input->shortened || (r == 0 && !container->annotated && !call->claim))
		return r;
	return stow_err_set(err, E2BIG, "the OCI state on standard input is longer than %u bytes",
			    HOOK_STATE_MAX);
}

int stow_hook_run(struct stow_root *root, const struct hook_call *call, int in, int out,
		  struct stow_err *err)
{
	_cleanup_(hook_container_done) struct hook_container container = { 0 };
	_cleanup_(hook_input_done) struct hook_input input = { 0 };
	int r;

	if (call->command == HOOK_PRECREATE)
		return hook_precreate(root, in, out, err);
	r = hook_input_read(in, HOOK_STATE_MAX, &input, err);
	if (r < 0)
		return r;
	r = hook_parse_state(input.text, input.len, &container, err);
	r = check_length(&container, call, &input, r, err);
	if (r < 0)
		return r;
	return call->command == HOOK_APPLY ? apply(root, &container, call, err)
					   : release(root, &container, call, err);
}
