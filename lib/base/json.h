/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* JSON of other programs, with json-c: its members may be missing or of another type. And the
 * scope-bound clean-up (cleanup.h) of an object. */

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <json-c/json.h>

#include "base/cleanup.h"

static inline void stow_json_put_ptr(struct json_object **object)
{
	int saved = errno;

	json_object_put(*object);
	errno = saved;
}

#define _cleanup_json_ _cleanup_(stow_json_put_ptr)

/* Return the member `key` of an object. NULL: it is missing or of another type, or `object` is not
 * an object. */
static inline struct json_object *stow_json_member(struct json_object *object, const char *key,
						   enum json_type type)
{
	struct json_object *value = NULL;

	(void)json_object_object_get_ex(object, key, &value);
	return value && json_object_is_type(value, type) ? value : NULL;
}

/* Return a string member of an object; "": there is none. */
static inline const char *stow_json_text(struct json_object *object, const char *key)
{
	struct json_object *value = stow_json_member(object, key, json_type_string);

	return value ? json_object_get_string(value) : "";
}

/* Return the string that is element `i` of a list; "": there is none. */
static inline const char *stow_json_item(struct json_object *list, size_t i)
{
	struct json_object *item = list ? json_object_array_get_idx(list, i) : NULL;

	return json_object_is_type(item, json_type_string) ? json_object_get_string(item) : "";
}

/* Return whether a list, which may be NULL, has a string. */
static inline bool stow_json_has(struct json_object *list, const char *word)
{
	for (size_t i = 0; list && i < json_object_array_length(list); i++)
		if (strcmp(stow_json_item(list, i), word) == 0)
			return true;
	return false;
}
