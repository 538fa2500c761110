// SPDX-License-Identifier: Apache-2.0
#include "oci-hook/warn.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define CGROUPS "/sys/fs/cgroup"

struct line {
	char *buf;
	size_t size, len;
};

static struct json_object *member(struct json_object *o, const char *key, enum json_type type)
{
	struct json_object *v = NULL;

	if (!json_object_is_type(o, json_type_object) || !json_object_object_get_ex(o, key, &v) ||
	    !json_object_is_type(v, type))
		return NULL;
	return v;
}

static const char *text(struct json_object *o, const char *key)
{
	struct json_object *v = member(o, key, json_type_string);

	return v ? json_object_get_string(v) : "";
}

static bool has(struct json_object *list, const char *word)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++) {
		struct json_object *item = json_object_array_get_idx(list, i);

		if (json_object_is_type(item, json_type_string) &&
		    strcmp(json_object_get_string(item), word) == 0)
			return true;
	}
	return false;
}

static void add(struct line *line, const char *what, const char *detail)
{
	int n = snprintf(line->buf + line->len, line->size - line->len, "%s%s%.128s",
			 line->len ? "; " : "", what, detail);

	if (n > 0)
		line->len +=
			(size_t)n < line->size - line->len ? (size_t)n : line->size - line->len - 1;
}

static bool has_own_namespace(struct json_object *config)
{
	struct json_object *list =
		member(member(config, "linux", json_type_object), "namespaces", json_type_array);

	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (strcmp(text(json_object_array_get_idx(list, i), "type"), "cgroup") == 0)
			return true;
	return false;
}

/* Return whether a mount is writable: by the last of "ro" and "rw", by default yes. */
static bool is_writable(struct json_object *options)
{
	bool writable = true;

	for (size_t i = 0; options && i < json_object_array_length(options); i++) {
		struct json_object *item = json_object_array_get_idx(options, i);
		const char *word = json_object_is_type(item, json_type_string)
					   ? json_object_get_string(item)
					   : "";

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

static void look_at_mount(struct json_object *mount, bool own, struct line *line)
{
	struct json_object *options = member(mount, "options", json_type_array);
	const char *type = text(mount, "type"), *source = text(mount, "source");
	bool recursive = has(options, "rbind");

	if (!is_writable(options))
		return;
	if (recursive || has(options, "bind") || strcmp(type, "bind") == 0) {
		if (brings_cgroups(source, recursive))
			add(line, "the machine's cgroups are mounted writable, from ", source);
	} else if (!own && strncmp(type, "cgroup", 6) == 0) {
		add(line, "it has no cgroup namespace of its own and all cgroups writable, in ",
		    text(mount, "destination"));
	}
}

bool hook_config_warn(struct json_object *config, char *buf, size_t size)
{
	static const char *const sets[] = { "bounding", "effective", "permitted" };
	struct json_object *mounts = member(config, "mounts", json_type_array);
	struct json_object *capabilities = member(member(config, "process", json_type_object),
						  "capabilities", json_type_object);
	struct line line = { .buf = buf, .size = size };
	bool own = has_own_namespace(config);

	buf[0] = '\0';
	for (size_t i = 0; mounts && i < json_object_array_length(mounts); i++)
		look_at_mount(json_object_array_get_idx(mounts, i), own, &line);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(sets); i++)
		if (has(member(capabilities, sets[i], json_type_array), "CAP_DAC_READ_SEARCH")) {
			add(&line, "it has CAP_DAC_READ_SEARCH", "");
			break;
		}
	stow_text_ascii(buf);
	return line.len > 0;
}
