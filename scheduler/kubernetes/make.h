/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Build JSON. Each function takes its value over; NULL, or no memory to add it, makes it return
 * false, and so do all that were combined with &&. */

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"

/* Set the error for such a failure. */
static inline int make_failed(struct stow_err *err)
{
	return stow_err_set(err, ENOMEM, "out of memory");
}

static inline bool make_add(struct json_object *to, const char *key, struct json_object *value)
{
	if (to && value && json_object_object_add(to, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static inline bool make_add_text(struct json_object *to, const char *key, const char *text)
{
	return make_add(to, key, json_object_new_string(text));
}

static inline bool make_append(struct json_object *to, struct json_object *value)
{
	if (to && value && json_object_array_add(to, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static inline bool make_append_text(struct json_object *to, const char *text)
{
	return make_append(to, json_object_new_string(text));
}

/* Return a list of one text, or NULL. */
static inline struct json_object *make_list(const char *text)
{
	struct json_object *list = json_object_new_array();

	if (make_append_text(list, text))
		return list;
	json_object_put(list);
	return NULL;
}

/* Return the object at a key, made when it is missing; NULL: out of memory, or it is no object. */
static inline struct json_object *make_object_at(struct json_object *in, const char *key)
{
	struct json_object *at = NULL;

	if (json_object_object_get_ex(in, key, &at) && at)
		return json_object_is_type(at, json_type_object) ? at : NULL;
	at = json_object_new_object();
	return make_add(in, key, at) ? at : NULL;
}
