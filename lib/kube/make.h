/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Make objects for the API server. Each function takes its value over, also when it fails, and
 * fails when a value or its target is NULL: so calls can be nested and combined with &&, and only
 * the last result checked. */

#include <errno.h>
#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"

/* Set the error for such a failure. */
static inline int stow_kube_no_memory(struct stow_err *err)
{
	return stow_err_set(err, ENOMEM, "out of memory");
}

static inline bool stow_kube_put(struct json_object *to, const char *key, struct json_object *value)
{
	if (to && value && json_object_object_add(to, key, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static inline bool stow_kube_put_text(struct json_object *to, const char *key, const char *text)
{
	return stow_kube_put(to, key, json_object_new_string(text));
}

static inline bool stow_kube_append(struct json_object *to, struct json_object *value)
{
	if (to && value && json_object_array_add(to, value) == 0)
		return true;
	json_object_put(value);
	return false;
}

static inline bool stow_kube_append_text(struct json_object *to, const char *text)
{
	return stow_kube_append(to, json_object_new_string(text));
}

/* Return a new object at the end of a list, or NULL. */
static inline struct json_object *stow_kube_append_object(struct json_object *to)
{
	struct json_object *value = json_object_new_object();

	return stow_kube_append(to, value) ? value : NULL;
}

/* Return a list of one text, or NULL. */
static inline struct json_object *stow_kube_list_of(const char *text)
{
	struct json_object *list = json_object_new_array();

	if (stow_kube_append_text(list, text))
		return list;
	json_object_put(list);
	return NULL;
}

/* Return the object at a key, made when it is missing; NULL: out of memory, or it is no object. */
static inline struct json_object *stow_kube_object_at(struct json_object *in, const char *key)
{
	struct json_object *at = NULL;

	if (json_object_object_get_ex(in, key, &at) && at)
		return json_object_is_type(at, json_type_object) ? at : NULL;
	at = json_object_new_object();
	return stow_kube_put(in, key, at) ? at : NULL;
}

/* Return a new list at a key, or NULL. */
static inline struct json_object *stow_kube_put_list(struct json_object *to, const char *key)
{
	struct json_object *list = json_object_new_array();

	return stow_kube_put(to, key, list) ? list : NULL;
}
