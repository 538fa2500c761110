// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/warn.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/text.h"

#define CGROUPS "/sys/fs/cgroup"

/* A line of warnings. */
struct line {
	char *buf;
	size_t size;
};

static void add(const struct line *line, const char *what, const char *detail)
{
	stow_append(line->buf, line->size, "%s%s%.128s", *line->buf ? "; " : "", what, detail);
}

static bool has_own_namespace(struct json_object *config)
{
	struct json_object *list = stow_json_member(
		stow_json_member(config, "linux", json_type_object), "namespaces", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (strcmp(stow_json_text(json_object_array_get_idx(list, i), "type"), "cgroup") ==
		    0)
			return true;
	return false;
}

/* Return whether a mount is writable: by the last of "ro" and "rw", by default yes. */
static bool is_writable(struct json_object *options)
{
	bool writable = true;

	for (size_t i = 0; options && i < json_object_array_length(options); i++) {
		const char *word = stow_json_item(options, i);

		if (strcmp(word, "ro") == 0 || strcmp(word, "rro") == 0)
			writable = false;
		else if (strcmp(word, "rw") == 0 || strcmp(word, "rrw") == 0)
			writable = true;
	}
	return writable;
}

/* Return whether a mounted folder of the machine is in the cgroup file system, or above it with
 * a recursive bind. */
static bool brings_cgroups(const char *source, bool recursive)
{
	static const char *const above[] = { "/", "/sys", "/sys/fs" };
	size_t len = strlen(source);

	while (len > 1 && source[len - 1] == '/')
		len--;
	if (len >= strlen(CGROUPS) && strncmp(source, CGROUPS, strlen(CGROUPS)) == 0 &&
	    (len == strlen(CGROUPS) || source[strlen(CGROUPS)] == '/'))
		return true;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(above) && recursive; i++)
		if (len == strlen(above[i]) && strncmp(source, above[i], len) == 0)
			return true;
	return false;
}

static void look_at_mount(struct json_object *mount, bool own, const struct line *line)
{
	struct json_object *options = stow_json_member(mount, "options", json_type_array);
	const char *type = stow_json_text(mount, "type"), *source = stow_json_text(mount, "source");
	bool recursive = stow_json_has(options, "rbind");

	if (!is_writable(options))
		return;
	if (recursive || stow_json_has(options, "bind") || strcmp(type, "bind") == 0) {
		if (brings_cgroups(source, recursive))
			add(line, "the machine's cgroups are mounted writable, from ", source);
	} else if (!own && strncmp(type, "cgroup", 6) == 0) {
		add(line, "it has no cgroup namespace of its own, and all cgroups are writable in ",
		    stow_json_text(mount, "destination"));
	}
}

bool hook_config_warn(struct json_object *config, char *buf, size_t size)
{
	static const char *const sets[] = { "bounding", "effective", "permitted" };
	struct json_object *mounts = stow_json_member(config, "mounts", json_type_array);
	struct json_object *capabilities =
		stow_json_member(stow_json_member(config, "process", json_type_object),
				 "capabilities", json_type_object);
	const struct line line = { .buf = buf, .size = size };
	bool own = has_own_namespace(config);

	buf[0] = '\0';
	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++)
		look_at_mount(json_object_array_get_idx(mounts, i), own, &line);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(sets); i++)
		if (stow_json_has(stow_json_member(capabilities, sets[i], json_type_array),
				  "CAP_DAC_READ_SEARCH")) {
			add(&line, "it has CAP_DAC_READ_SEARCH", "");
			break;
		}
	stow_text_ascii(buf);
	return *buf;
}
