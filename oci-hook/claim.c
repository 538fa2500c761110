// SPDX-License-Identifier: Apache-2.0
/*
 * Place a container of a Kubernetes claim. The runtime calls the hook once for each CDI device of
 * the container, with the claim and the share as arguments; each call adds one share to what the
 * container has. A claim overrides annotations.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "grant/claim_hold.h"
#include "grant/unmanaged.h"
#include "oci-hook/internal.h"

/* --- config.json ---------------------------------------------------------- */

/* Return whether a hook of config.json is this program, called for a claim. */
static bool is_claim_hook(struct json_object *hook)
{
	const char *program = strrchr(stow_json_text(hook, "path"), '/');
	struct json_object *args = stow_json_member(hook, "args", json_type_array);

	return program && strcmp(program, "/numastow-hook") == 0 &&
	       strcmp(stow_json_item(args, 1), "apply") == 0 && stow_json_has(args, "--claim");
}

bool hook_config_has_claim(struct json_object *config)
{
	static const char *const stages[] = { "createRuntime", "prestart" };
	struct json_object *hooks = stow_json_member(config, "hooks", json_type_object);

	for (size_t s = 0; s < STOW_ARRAY_SIZE(stages); s++) {
		struct json_object *list = stow_json_member(hooks, stages[s], json_type_array);

		for (size_t i = 0; list && i < json_object_array_length(list); i++)
			if (is_claim_hook(json_object_array_get_idx(list, i)))
				return true;
	}
	return false;
}

/* --- apply ---------------------------------------------------------------- */

static int hold(struct hook_run *run, const struct hook_container *container,
		const struct hook_call *call, struct stow_err *err)
{
	_cleanup_(stow_apply_result_done) struct stow_apply_result problems = { 0 };
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	const struct stow_cgroup *cgroup = run->subject.cgroup;
	int r;

	r = hook_run_open_ledger(run, true, err);
	if (r == 0)
		r = stow_claim_hold(&run->context, &run->subject, call->claim, call->share,
				    !run->limits.memory, &record, err);
	if (r < 0 || record->state == STOW_STATE_ACTIVE)
		return r;
	if (container->annotated && record->n_held == 1)
		hook_audit(run, "claim", NULL,
			   "its annotations are ignored: it gets what its claims have", true);
	r = stow_claim_enact(&run->context, record, cgroup, &problems, err);
	return hook_conclude(run, record, &problems, r, err);
}

static int place(struct hook_run *run, const struct hook_container *container,
		 const struct hook_call *call, struct stow_cgroup **ret_cgroup,
		 struct stow_err *err)
{
	_cleanup_json_ struct json_object *config_json = NULL;
	struct stow_pidref init;
	int r;

	r = hook_identify(run->root, container, &init, ret_cgroup, err);
	if (r == 0)
		r = hook_open_config(run->root, container->bundle, &config_json, err);
	if (r == 0)
		hook_warn(run, config_json);
	if (r == 0)
		r = hook_run_open(run->root, container, run, err);
	if (r == 0)
		r = hook_run_limits(run, config_json, *ret_cgroup, err);
	if (r == 0)
		r = hook_check_cgroups(run->root, *ret_cgroup, err);
	if (r < 0)
		return r;
	run->subject.init = init;
	run->subject.cgroup = *ret_cgroup;
	hook_config_sets(config_json, run->subject.cgroup, &run->subject.given_cpus,
			 &run->subject.given_mems);
	if (run->config->mode != STOW_MODE_OBSERVE)
		return hold(run, container, call, err);
	hook_audit(run, "observed", NULL, "would get what its claim has", true);
	return 0;
}

int hook_apply_claim(struct stow_root *root, const struct hook_container *container,
		     const struct hook_call *call, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_(hook_run_done) struct hook_run run = { .root = root,
							 .subject.id = container->id };
	struct stow_err why = { 0 };
	int r;

	r = place(&run, container, call, &cgroup, &why);
	if (r == 0)
		return 0;
	hook_audit(&run, "refused", NULL, why.msg, true);
	stow_unmanaged_remove_of(root, container->id, container->pid);
	return stow_err_move(err, r, &why);
}
