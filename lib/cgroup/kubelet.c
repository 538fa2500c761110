// SPDX-License-Identifier: Apache-2.0
#include "cgroup/kubelet.h"

#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"

#define UID_MAX 128

/*
 * Read the pod's UID at the next "pod" of ".../kubepods/burstable/pod<UID>/..." or, from the
 * systemd driver, ".../kubepods-burstable-pod<UID with _>.slice/...", and move *path behind it. A
 * UID is 8-4-4-4-12 digits from the API server; 32 digits for a static pod, from a hash that
 * kubelet computes; or any text from a static pod's manifest.
 */
static bool next_uid(const char **path, char uid[UID_MAX])
{
	for (const char *p = *path; (p = strstr(p, "pod")); p++) {
		size_t len = strcspn(p + 3, "/.");

		/* the "pod" in "kubepods" does not count */
		if (p == *path || (p[-1] != '/' && p[-1] != '-') || len == 0 || len >= UID_MAX)
			continue;
		memcpy(uid, p + 3, len);
		uid[len] = '\0';
		for (char *c = uid; *c && p[-1] == '-'; c++)
			if (*c == '_')
				*c = '-';
		*path = p + 3 + len;
		return true;
	}
	return false;
}

/* Read a manager's checkpoint when it has that policy; NULL otherwise. The caller frees it. */
static struct json_object *read_state(struct stow_root *root, const char *file, const char *policy)
{
	_cleanup_free_ char *text = NULL;
	struct json_object *state, *name;
	const char *has;

	if (stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL, "/var/lib/kubelet/%s",
			   file) < 0)
		return NULL;
	state = json_tokener_parse(text);
	/* JSON null gives no text. */
	if (json_object_object_get_ex(state, "policyName", &name) &&
	    (has = json_object_get_string(name)) && strcasecmp(has, policy) == 0)
		return state;
	json_object_put(state);
	return NULL;
}

static bool has_entry(struct stow_root *root, const char *file, const char *policy, const char *uid)
{
	struct json_object *state = read_state(root, file, policy), *entries, *pod;
	bool found = json_object_object_get_ex(state, "entries", &entries) &&
		     json_object_object_get_ex(entries, uid, &pod);

	json_object_put(state);
	return found;
}

const char *stow_kubelet_manager(struct stow_root *root)
{
	static const char *const managers[][3] = {
		{ "cpu_manager_state", "static", "CPU manager" },
		{ "memory_manager_state", "Static", "memory manager" },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(managers); i++) {
		struct json_object *state = read_state(root, managers[i][0], managers[i][1]);

		json_object_put(state);
		if (state)
			return managers[i][2];
	}
	return NULL;
}

bool stow_kubelet_owns(struct stow_root *root, const char *cgroup_path)
{
	const char *p = strstr(cgroup_path, "kubepods");
	char uid[UID_MAX];

	while (p && next_uid(&p, uid))
		if (has_entry(root, "cpu_manager_state", "static", uid) ||
		    has_entry(root, "memory_manager_state", "static", uid))
			return true;
	return false;
}
