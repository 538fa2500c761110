/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The body of a request from Kubernetes: JSON that is not trusted. */

#include <json-c/json.h>
#include <stddef.h>

#include "base/err.h"

/* Parse a body that is one JSON object, with a bounded number of values. Free *ret with
 * json_object_put(). -EINVAL, -ENOMEM. */
int scheduler_body_parse(const char *body, size_t len, struct json_object **ret,
			 struct stow_err *err);
