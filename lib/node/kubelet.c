// SPDX-License-Identifier: Apache-2.0
#include "node/kubelet.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define UID_LEN 36 /* 8-4-4-4-12 */

/* The pod's UID in ".../kubepods/burstable/pod<UID>/..." or, from the systemd driver,
 * ".../kubepods-burstable-pod<UID with _>.slice/...". */
static bool pod_uid(const char *path, char uid[UID_LEN + 1])
{
	const char *p = strstr(path, "kubepods");

	for (p = p ? strstr(p, "pod") : NULL; p; p = strstr(p + 1, "pod")) {
		size_t len = strspn(p + 3, "0123456789abcdefABCDEF-_");

		if (len < UID_LEN)
			continue;
		memcpy(uid, p + 3, UID_LEN);
		uid[UID_LEN] = '\0';
		for (char *c = uid; *c; c++)
			if (*c == '_')
				*c = '-';
		return true;
	}
	return false;
}

static bool has_entry(struct stow_root *root, const char *file, const char *policy, const char *uid)
{
	_cleanup_free_ char *text = NULL;
	struct json_object *state, *name, *entries, *pod;
	const char *has;
	bool found;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/var/lib/kubelet/%s",
			   file) < 0)
		return false;
	state = json_tokener_parse(text);
	/* No text comes of a null. */
	found = json_object_object_get_ex(state, "policyName", &name) &&
		(has = json_object_get_string(name)) && strcasecmp(has, policy) == 0 &&
		json_object_object_get_ex(state, "entries", &entries) &&
		json_object_object_get_ex(entries, uid, &pod);
	json_object_put(state);
	return found;
}

bool stow_kubelet_owns(struct stow_root *root, const char *cgroup_path)
{
	char uid[UID_LEN + 1];

	return pod_uid(cgroup_path, uid) &&
	       (has_entry(root, "cpu_manager_state", "static", uid) ||
		has_entry(root, "memory_manager_state", "static", uid));
}
