/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Read fields of an object that is not trusted. Unlike in kube/json.h, a wrong type is an error,
 * which names the field. */

#include <json-c/json.h>

#include "base/err.h"

/* Find a field of an object. Return 1; 0 when it is missing or null; -EINVAL when it has another
 * type, or is a text with a zero byte. */
int agent_field(struct json_object *object, const char *key, enum json_type type,
		struct json_object **ret, struct stow_err *err);
/* Find a text that must be there. */
int agent_text(struct json_object *object, const char *key, const char **ret, struct stow_err *err);
