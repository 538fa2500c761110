/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include <json-c/json.h>

#include "base/idset.h"

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

/* Add `value`, which is always taken, or null where it is not known: the key is there either way. */
void json_put_known(struct json_writer *w, json_object *to, const char *key, bool known,
		    json_object *value);
/* Add a text, or null for none, or an empty one, which stands for none or unknown. */
void json_put_text(struct json_writer *w, json_object *to, const char *key, const char *text);
/* Add a number, or null for a negative one, which stands for unknown. */
void json_put_number(struct json_writer *w, json_object *to, const char *key, int64_t number);
/* Add an amount, or null for UINT64_MAX, which stands for unknown. */
void json_put_amount(struct json_writer *w, json_object *to, const char *key, uint64_t amount);
/* Add a set as a list, as in "0-3,8"; with `known`, null where it is not known. */
void json_put_set(struct json_writer *w, json_object *to, const char *key,
		  const struct stow_idset *set);
void json_put_known_set(struct json_writer *w, json_object *to, const char *key, bool known,
			const struct stow_idset *set);
/* Add the number of a NUMA node, or null for a negative one. */
void json_put_node(struct json_writer *w, json_object *to, int node);
/* Add the physical addresses of `size` bytes from `start` as "range", as lsmem(1) has it. */
void json_put_range(struct json_writer *w, json_object *to, uint64_t start, uint64_t size);

/* Return an object of the key "version", the program's, and the members of `o`, which is freed.
 * NULL: out of memory, as when `o` is NULL. */
json_object *json_with_version(json_object *o);

/* Print and free the object. -ENOMEM: it is incomplete. */
int json_print(const struct json_writer *w, json_object *o);
