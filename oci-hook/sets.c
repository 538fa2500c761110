// SPDX-License-Identifier: Apache-2.0
/* The CPU and memory node sets that a container is started with, as its config.json says. */
#include <string.h>

#include "base/cleanup.h"
#include "oci-hook/internal.h"

static void read_member(struct json_object *o, const char *key, struct stow_idset *ret)
{
	struct json_object *value = NULL;

	if (o && json_object_object_get_ex(o, key, &value) &&
	    json_object_is_type(value, json_type_string) &&
	    stow_idset_parse(json_object_get_string(value), ret, NULL) < 0)
		*ret = (struct stow_idset){ 0 }; /* the runtime would have refused it */
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
	/* What is set here is written last. */
	if (json_object_object_get_ex(resources, "unified", &unified)) {
		read_member(unified, "cpuset.cpus", ret_cpus);
		read_member(unified, "cpuset.mems", ret_mems);
	}
}

void hook_bundle_cpus(struct stow_root *root, const char *bundle, struct stow_idset *ret)
{
	_cleanup_(hook_json_put_ptr) struct json_object *config = NULL;
	struct stow_idset mems;

	*ret = (struct stow_idset){ 0 };
	if (hook_bundle_has(root, bundle, "cpus\"") &&
	    hook_open_config(root, bundle, &config, NULL) == 0)
		hook_config_sets(config, ret, &mems);
}
