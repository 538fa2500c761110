/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/field.h"

#include <errno.h>
#include <string.h>

int agent_field(struct json_object *object, const char *key, enum json_type type,
		struct json_object **ret, struct stow_err *err)
{
	static const char *const types[] = {
		[json_type_null] = "null",     [json_type_boolean] = "boolean",
		[json_type_double] = "number", [json_type_int] = "whole number",
		[json_type_object] = "object", [json_type_array] = "list",
		[json_type_string] = "text",
	};

	*ret = NULL;
	if (!json_object_object_get_ex(object, key, ret) || !*ret)
		return 0;
	if (!json_object_is_type(*ret, type))
		return stow_err_set(err, EINVAL, "%s: is not a valid %s", key, types[type]);
	if (type == json_type_string &&
	    strlen(json_object_get_string(*ret)) != (size_t)json_object_get_string_len(*ret))
		return stow_err_set(err, EINVAL, "%s: has a zero byte", key);
	return 1;
}

int agent_text(struct json_object *object, const char *key, const char **ret, struct stow_err *err)
{
	struct json_object *value;
	int r = agent_field(object, key, json_type_string, &value, err);

	if (r == 0)
		return stow_err_set(err, EINVAL, "%s: missing", key);
	if (r < 0)
		return r;
	*ret = json_object_get_string(value);
	return 0;
}
