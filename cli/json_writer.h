/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include <json-c/json.h>

/*
 * When out of memory, json-c returns NULL, which prints as null. `ok` records this, so that
 * incomplete output becomes an error.
 */
struct json_writer {
	bool ok;
};

/* Add `value`, which may be NULL, to an object or array, and take ownership of it. */
void json_put(struct json_writer *w, json_object *to, const char *key, json_object *value);
void json_append(struct json_writer *w, json_object *to, json_object *value);

/* Print and free the object. -ENOMEM: it is incomplete. */
int json_print(const struct json_writer *w, json_object *o);
