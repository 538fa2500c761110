/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>

#include <json-c/json.h>

/*
 * Out of memory, json-c returns NULL, which prints as null: `ok` remembers it, so that nobody gets
 * half an answer.
 */
struct json_writer {
	bool ok;
};

/* Both take `value` over, which may be NULL. */
void json_put(struct json_writer *w, json_object *to, const char *key, json_object *value);
void json_append(struct json_writer *w, json_object *to, json_object *value);

/* Prints the object and frees it; -ENOMEM when it is not whole. */
int json_print(const struct json_writer *w, json_object *o);
