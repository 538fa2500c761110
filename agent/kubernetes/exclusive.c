/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/exclusive.h"

#include <errno.h>

#include "agent/kubernetes/field.h"
#include "cgroup/kubepods.h"
#include "place/request.h"

static bool has_exclusive(const struct stow_claim *claim)
{
	for (size_t i = 0; i < claim->n; i++)
		if (claim->shares[i].cpus && stow_cpu_mode_owns(claim->shares[i].cpu_mode))
			return true;
	return false;
}

/* Return the class of a pod in the claim's reservedFor. */
static enum stow_pod_class class_of(struct stow_root *root, struct json_object *reserved)
{
	const char *uid;

	if (!json_object_is_type(reserved, json_type_object) ||
	    agent_text(reserved, "uid", &uid, NULL) < 0)
		return STOW_POD_NONE;
	return stow_kubepods_class_of_pod(root, uid);
}

static int check_pods(struct stow_root *root, struct json_object *object, struct stow_err *err)
{
	struct json_object *status, *pods = NULL;
	const char *found = NULL;
	size_t n = 0;

	if (agent_field(object, "status", json_type_object, &status, NULL) > 0 &&
	    agent_field(status, "reservedFor", json_type_array, &pods, NULL) > 0)
		n = json_object_array_length(pods);
	for (size_t i = 0; i < n; i++) {
		enum stow_pod_class class = class_of(root, json_object_array_get_idx(pods, i));

		if (class == STOW_POD_GUARANTEED)
			return 0;
		if (class != STOW_POD_NONE)
			found = class == STOW_POD_BURSTABLE ? "Burstable" : "BestEffort";
	}
	if (!found)
		return stow_err_set(err, EPERM,
				    "exclusive CPUs need a pod of class Guaranteed; no pod for "
				    "which the claim is reserved has a cgroup below "
				    "/kubepods.slice or /kubepods");
	return stow_err_set(err, EPERM,
			    "exclusive CPUs need a pod of class Guaranteed, whose containers have "
			    "equal requests and limits of CPU and memory; the pod is %s",
			    found);
}

int agent_exclusive_check(struct stow_root *root, struct json_object *object,
			  const struct stow_claim *claim, struct stow_err *err)
{
	struct stow_err why;
	int r;

	if (!has_exclusive(claim))
		return 0;
	if (stow_kubepods_check(root, &why) < 0)
		r = stow_err_set(err, EOPNOTSUPP,
				 "exclusive CPUs are not offered on this machine: %s", why.msg);
	else
		r = object ? check_pods(root, object, err) : 0;
	return r < 0 ? stow_err_wrap(err, r, "claim %s/%s", claim->ns, claim->name) : 0;
}
