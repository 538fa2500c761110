// SPDX-License-Identifier: Apache-2.0
/* Warnings about mounts and capabilities by which a container can reach other containers. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "oci-hook/warn.h"

/* Return the warning about a config.json with these mounts, as Podman and others write it; "":
 * none. */
static const char *warning_of(bool own, const char *mounts, const char *capabilities)
{
	static char buf[512];
	char text[4096];
	struct json_object *config;
	bool warned;

	snprintf(text, sizeof(text),
		 "{\"process\":{\"capabilities\":{%s}},\"mounts\":[%s],"
		 "\"linux\":{\"namespaces\":[{\"type\":\"pid\"}%s]}}",
		 capabilities, mounts, own ? ",{\"type\":\"cgroup\"}" : "");
	config = json_tokener_parse(text);
	assert_non_null(config);
	warned = hook_config_warn(config, buf, sizeof(buf));
	json_object_put(config);
	assert_int_equal(warned, buf[0] != '\0');
	return buf;
}

TEST(a_writable_tree_without_a_namespace)
{
	static const char rw[] = "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\","
				 "\"source\":\"cgroup\",\"options\":[\"nosuid\",\"rw\"]}";
	static const char ro[] = "{\"destination\":\"/sys/fs/cgroup\",\"type\":\"cgroup\","
				 "\"source\":\"cgroup\",\"options\":[\"rw\",\"ro\"]}";

	assert_string_equal(
		warning_of(false, rw, ""),
		"it has no cgroup namespace of its own, and all cgroups are writable in "
		"/sys/fs/cgroup");
	assert_string_equal(warning_of(true, rw, ""), "");
	assert_string_equal(warning_of(false, ro, ""), "");
}

TEST(the_machines_tree_as_a_volume)
{
	static const struct {
		const char *source, *options;
		bool warned;
	} tries[] = {
		{ "/sys/fs/cgroup", "\"rbind\",\"rw\"", true },
		{ "/sys/fs/cgroup", "\"bind\"", true },
		{ "/sys/fs/cgroup/", "\"rbind\",\"rprivate\"", true },
		{ "/sys/fs/cgroup/machine.slice", "\"bind\"", true },
		{ "/sys", "\"rbind\"", true },
		{ "/", "\"rbind\"", true },
		{ "/sys", "\"bind\"", false }, /* an empty folder without what is mounted in it */
		{ "/sys/fs/cgroup", "\"rbind\",\"ro\"", false },
		{ "/sys/fs/cgroups", "\"rbind\"", false },
		{ "/srv", "\"rbind\"", false },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(tries); i++) {
		char mount[512];

		snprintf(mount, sizeof(mount),
			 "{\"destination\":\"/x\",\"type\":\"bind\",\"source\":\"%s\","
			 "\"options\":[%s]}",
			 tries[i].source, tries[i].options);
		assert_int_equal(*warning_of(true, mount, "") != '\0', tries[i].warned);
		if (tries[i].warned)
			assert_non_null(strstr(warning_of(true, mount, ""), tries[i].source));
	}
}

TEST(a_capability_that_opens_anything)
{
	assert_string_equal(warning_of(true, "",
				       "\"effective\":[\"CAP_CHOWN\",\"CAP_DAC_READ_SEARCH\"]"),
			    "it has CAP_DAC_READ_SEARCH");
	assert_string_equal(warning_of(true, "", "\"bounding\":[\"CAP_DAC_READ_SEARCH\"]"),
			    "it has CAP_DAC_READ_SEARCH");
	assert_string_equal(warning_of(true, "", "\"bounding\":[\"CAP_DAC_OVERRIDE\"]"), "");
}

TEST(all_at_once_in_one_line)
{
	const char *text = warning_of(false,
				      "{\"destination\":\"/a\\nb\",\"type\":\"cgroup2\"},"
				      "{\"source\":\"/sys/fs/cgroup/\\u00e4\",\"type\":\"bind\"}",
				      "\"permitted\":[\"CAP_DAC_READ_SEARCH\"]");

	assert_non_null(strstr(text, "in /a?b; the machine's"));
	assert_non_null(strstr(text, "; it has CAP_"));
	assert_null(strchr(text, '\n'));
}

TEST(invalid_configurations_give_no_warning)
{
	static const char *const odd[] = { "{}", "[]", "{\"mounts\":{},\"linux\":[],\"process\":1}",
					   "{\"mounts\":[1,null,{\"options\":[null]}]}" };
	char buf[8];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(odd); i++) {
		struct json_object *config = json_tokener_parse(odd[i]);

		assert_false(hook_config_warn(config, buf, sizeof(buf)));
		json_object_put(config);
	}
	assert_false(hook_config_warn(NULL, buf, sizeof(buf)));
}

TEST(a_short_buffer_is_kept_to)
{
	struct json_object *config =
		json_tokener_parse("{\"mounts\":[{\"type\":\"cgroup\"},{\"type\":\"cgroup\"}]}");
	char buf[16];

	memset(buf, 'x', sizeof(buf));
	assert_true(hook_config_warn(config, buf, 8));
	assert_int_equal(strlen(buf), 7);
	assert_int_equal(buf[8], 'x');
	json_object_put(config);
}
