// SPDX-License-Identifier: Apache-2.0
/* The CPUs and memory nodes of a container's config.json. */
#include <string.h>

#include "base/cleanup.h"
#include "oci-hook/internal.h"

static void read_member(struct json_object *o, const char *key, struct stow_idset *ret)
{
	struct json_object *value = NULL;

	if (o && json_object_object_get_ex(o, key, &value) &&
	    json_object_is_type(value, json_type_string) &&
	    stow_idset_parse(json_object_get_string(value), ret, NULL) < 0)
		*ret = (struct stow_idset){ 0 }; /* the runtime refuses an invalid list */
}

void hook_config_sets(struct json_object *config, struct stow_idset *ret_cpus,
		      struct stow_idset *ret_mems)
{
	static const char *const path[] = { "linux", "resources" };
	struct json_object *resources = config, *cpu = NULL, *unified = NULL;

	*ret_cpus = *ret_mems = (struct stow_idset){ 0 };
	for (size_t i = 0; i < STOW_ARRAY_SIZE(path); i++)
		if (!json_object_object_get_ex(resources, path[i], &resources))
			return;
	if (json_object_object_get_ex(resources, "cpu", &cpu)) {
		read_member(cpu, "cpus", ret_cpus);
		read_member(cpu, "mems", ret_mems);
	}
	/* Runtimes write these values last. */
	if (json_object_object_get_ex(resources, "unified", &unified)) {
		read_member(unified, "cpuset.cpus", ret_cpus);
		read_member(unified, "cpuset.mems", ret_mems);
	}
}

struct json_object *hook_bundle_look(struct stow_root *root, const char *bundle)
{
	/* Signs of a CPU set, of access to other containers' cgroups (oci-hook/warn.h), and of a
	 * claim. */
	static const char *const words[] = { "cpus\"", "CAP_DAC_READ_SEARCH", "\"source\":\"/sys",
					     "\"--claim\"" };
	/* As engines write it. A config.json without it is parsed, too. */
	static const char cgroup_namespace[] = "{\"type\":\"cgroup\"}";
	struct json_object *config = NULL;
	_cleanup_free_ char *text = NULL;
	size_t len;
	bool look;

	if (hook_read_config(root, bundle, &text, &len, NULL) < 0)
		return NULL;
	look = !memmem(text, len, cgroup_namespace, strlen(cgroup_namespace));
	for (size_t i = 0; i < STOW_ARRAY_SIZE(words) && !look; i++)
		look = memmem(text, len, words[i], strlen(words[i])) != NULL;
	if (!look || hook_parse_json(text, len, "config.json", &config, NULL) < 0)
		return NULL;
	return config;
}
