// SPDX-License-Identifier: Apache-2.0
/* The CPUs and memory nodes of a container's config.json. */
#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "cgroup/cpuset.h"
#include "oci-hook/internal.h"

/* Return -EINVAL for a list that only the kernel understands. */
static int read_member(struct json_object *o, const char *key, struct stow_idset *ret)
{
	struct json_object *value = stow_json_member(o, key, json_type_string);

	return value ? stow_idset_parse(json_object_get_string(value), ret, NULL) : 0;
}

/* Read the CPUs, or the nodes. Runtimes write the value in `unified` last. */
static int read_set(struct json_object *cpu, const char *key, struct json_object *unified,
		    const char *file, struct stow_idset *ret)
{
	int r = read_member(unified, file, ret);

	return r == 0 && stow_idset_empty(ret) ? read_member(cpu, key, ret) : r;
}

/* Read what the runtime has written: the kernel's lists have forms that only the kernel knows
 * ("all", "0-N", "0-7:1/2"). A failure counts as none. */
static void read_given(const struct stow_cgroup *cgroup, bool cpus, struct stow_idset *ret)
{
	if (stow_cpuset_read_given(cgroup, cpus, ret, NULL) < 0)
		*ret = (struct stow_idset){ 0 };
}

void hook_config_sets(struct json_object *config, const struct stow_cgroup *cgroup,
		      struct stow_idset *ret_cpus, struct stow_idset *ret_mems)
{
	struct json_object *linux_ = stow_json_member(config, "linux", json_type_object);
	struct json_object *resources = stow_json_member(linux_, "resources", json_type_object);
	struct json_object *cpu = stow_json_member(resources, "cpu", json_type_object);
	struct json_object *unified = stow_json_member(resources, "unified", json_type_object);

	*ret_cpus = *ret_mems = (struct stow_idset){ 0 };
	if (!config || read_set(cpu, "cpus", unified, "cpuset.cpus", ret_cpus) < 0)
		read_given(cgroup, true, ret_cpus);
	if (!config || read_set(cpu, "mems", unified, "cpuset.mems", ret_mems) < 0)
		read_given(cgroup, false, ret_mems);
}

int hook_bundle_look(struct stow_root *root, const char *bundle, struct json_object **ret)
{
	/* Signs of a CPU set, of access to other containers' cgroups (oci-hook/warn.h), and of a
	 * claim. */
	static const char *const words[] = { "cpus\"", "CAP_DAC_READ_SEARCH", "\"source\":\"/sys",
					     "\"--claim\"" };
	/* As engines write it. A container without a cgroup namespace may have access to others'
	 * cgroups, too. */
	static const char cgroup_namespace[] = "{\"type\":\"cgroup\"}";
	_cleanup_free_ char *text = NULL;
	size_t len;
	bool look;
	int r;

	r = hook_read_config(root, bundle, &text, &len, NULL);
	if (r < 0)
		return r;
	look = !memmem(text, len, cgroup_namespace, strlen(cgroup_namespace));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(words) && !look; i++)
		look = memmem(text, len, words[i], strlen(words[i])) != NULL;
	return look ? hook_parse_json(text, len, "config.json", ret, NULL) : 0;
}
