// SPDX-License-Identifier: Apache-2.0
#include "cli/asked.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <json-c/json.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "base/text.h"
#include "oci-hook/state.h"

void cli_asked_done(struct cli_asked *asked)
{
	for (size_t i = 0; i < asked->n; i++)
		free(asked->keys[i]);
	json_object_put(asked->file);
}

static int add(struct cli_asked *asked, const char *key, size_t key_len, const char *value,
	       struct stow_err *err)
{
	bool whole = strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) == 0;

	if (asked->n == STOW_ARRAY_SIZE(asked->annotations))
		return stow_err_set(err, E2BIG, "more than %zu annotations",
				    STOW_ARRAY_SIZE(asked->annotations));
	if (asprintf(&asked->keys[asked->n], "%s%.*s", whole ? "" : STOW_ANNOTATION_PREFIX,
		     (int)key_len, key) < 0)
		return stow_err_sys(err, ENOMEM, "%s", key);
	asked->annotations[asked->n].key = asked->keys[asked->n];
	asked->annotations[asked->n].value = value;
	asked->n++;
	return 0;
}

int cli_asked_file(struct cli_asked *asked, const char *path, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL, *copy = NULL;
	struct json_object *map, *inner;
	int r;

	if (strcmp(path, "-") == 0)
		r = stow_read_all(STDIN_FILENO, HOOK_CONFIG_MAX, path, &text, NULL, err);
	else
		r = stow_read_file(path, HOOK_CONFIG_MAX, &text, NULL, err);
	if (r < 0)
		return r;
	if (stow_text_json_names(text, strlen(text), &copy) < 0)
		return stow_err_sys(err, ENOMEM, "%s", path);
	asked->file = json_tokener_parse(copy ? copy : text);
	if (!json_object_is_type(asked->file, json_type_object))
		return stow_err_set(err, EINVAL, "%s is not a JSON object", path);
	map = asked->file;
	/* The function sets a missing member to NULL. */
	if (json_object_object_get_ex(map, "metadata", &inner))
		map = inner;
	if (json_object_object_get_ex(map, "annotations", &inner))
		map = inner;
	if (!json_object_is_type(map, json_type_object))
		return stow_err_set(err, EINVAL, "%s: annotations is not an object", path);
	json_object_object_foreach(map, key, value) {
		if (strncmp(key, STOW_ANNOTATION_PREFIX, strlen(STOW_ANNOTATION_PREFIX)) != 0)
			continue;
		if (!json_object_is_type(value, json_type_string))
			return stow_err_set(err, EINVAL, "%s: %.128s is not a string", path, key);
		r = add(asked, key, strlen(key), json_object_get_string(value), err);
		if (r < 0)
			return r;
	}
	return 0;
}

int cli_asked_argument(struct cli_asked *asked, const char *argument, struct stow_err *err)
{
	const char *equals = strchr(argument, '=');

	if (!equals)
		return stow_err_set(err, EINVAL, "\"%.64s\" is not KEY=VALUE, such as cpus=4",
				    argument);
	return add(asked, argument, (size_t)(equals - argument), equals + 1, err);
}
