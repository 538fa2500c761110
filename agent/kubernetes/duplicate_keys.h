/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Keys that an object's text has twice. json-c keeps the last value, other readers may keep the
 * first: the parameters that were reviewed would not be those that are in effect. */

#include <json-c/json.h>

#include "base/err.h"

/*
 * Check that no opaque parameters for our driver, in the allocation of a claim, have a key twice.
 * `text` is the claim as the API server has sent it, `object` what json-c has made of it. -EINVAL
 * names the config and the key. Other drivers' parameters are not checked.
 */
int agent_duplicate_keys_check(const char *text, struct json_object *object, struct stow_err *err);
