/* SPDX-License-Identifier: Apache-2.0 */
/* Compare what the API server has stored with what was sent. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "agent/kubernetes/make.h"
#include "agent/kubernetes/slice.h"
#include "kube/json.h"

/* Find out which fields of a device the API server dropped because a feature gate is off. */
static enum agent_slice_compared dropped(struct json_object *wanted, struct json_object *stored)
{
	struct json_object *capacities = stow_kube_at(wanted, "capacity");
	size_t n;

	if (!stow_kube_is_true(stored, "allowMultipleAllocations"))
		return AGENT_SLICE_NO_SHARING;
	json_object_object_foreach(capacities, name, ignored) {
		struct json_object *all = stow_kube_at(stored, "capacity"), *theirs;

		(void)ignored;
		if (json_object_is_type(all, json_type_object) &&
		    json_object_object_get_ex(all, name, &theirs) &&
		    !stow_kube_at(theirs, "requestPolicy.validRange"))
			return AGENT_SLICE_NO_SHARING;
	}
	if (stow_kube_at(wanted, "taints") && !stow_kube_list_at(stored, "taints", &n))
		return AGENT_SLICE_NO_TAINTS;
	if (stow_kube_at(wanted, "bindingConditions") &&
	    !stow_kube_list_at(stored, "bindingConditions", &n))
		return AGENT_SLICE_NO_BINDING;
	return AGENT_SLICE_DIFFERENT;
}

enum agent_slice_compared agent_slice_compare(struct json_object *wanted,
					      struct json_object *stored)
{
	enum agent_slice_compared worst = AGENT_SLICE_DIFFERENT;
	struct json_object *mine, *theirs;
	size_t n, m;

	if (agent_json_agrees(stow_kube_at(wanted, "spec"), stow_kube_at(stored, "spec")) &&
	    agent_json_agrees(stow_kube_at(wanted, "metadata.ownerReferences"),
			      stow_kube_at(stored, "metadata.ownerReferences")))
		return AGENT_SLICE_SAME;
	mine = stow_kube_list_at(wanted, "spec.devices", &n);
	theirs = stow_kube_list_at(stored, "spec.devices", &m);
	for (size_t i = 0; i < n && n == m; i++) {
		struct json_object *device = json_object_array_get_idx(mine, i);
		struct json_object *other = json_object_array_get_idx(theirs, i);
		enum agent_slice_compared found;

		if (strcmp(stow_kube_text(device, "name"), stow_kube_text(other, "name")) != 0)
			continue;
		found = dropped(device, other);
		if (found == AGENT_SLICE_NO_SHARING)
			return found;
		if (found != AGENT_SLICE_DIFFERENT)
			worst = found;
	}
	return worst;
}

const char *agent_slice_since(struct json_object *stored, uint32_t id)
{
	struct json_object *devices, *taints;
	size_t n, m;
	char name[24];

	snprintf(name, sizeof(name), AGENT_DEVICE_PREFIX "%" PRIu32, id);
	devices = stow_kube_list_at(stored, "spec.devices", &n);
	for (size_t i = 0; i < n; i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);

		if (strcmp(stow_kube_text(device, "name"), name) != 0)
			continue;
		taints = stow_kube_list_at(device, "taints", &m);
		for (size_t t = 0; t < m; t++) {
			struct json_object *taint = json_object_array_get_idx(taints, t);

			if (strcmp(stow_kube_text(taint, "key"), AGENT_SLICE_FENCE) == 0)
				return stow_kube_text(taint, "timeAdded");
		}
	}
	return "";
}
