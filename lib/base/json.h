/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The scope-bound clean-up (cleanup.h) of an object of json-c. */

#include <errno.h>

#include <json-c/json.h>

#include "base/cleanup.h"

static inline void stow_json_put_ptr(struct json_object **object)
{
	int saved = errno;

	json_object_put(*object);
	errno = saved;
}

#define _cleanup_json_ _cleanup_(stow_json_put_ptr)
