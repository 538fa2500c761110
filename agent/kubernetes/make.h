/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Make objects for the API server, and compare them with what it has stored. Each function takes
 * ownership of the value that it adds, also when it fails, and fails when the value or the target
 * is NULL: so calls can be nested, and only the last result checked. Failures are -ENOMEM, or NULL.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Put a value, a text, or a new object into an object. */
int agent_json_put(struct json_object *object, const char *key, struct json_object *value);
int agent_json_put_text(struct json_object *object, const char *key, const char *text);
struct json_object *agent_json_put_object(struct json_object *object, const char *key);

/* Add a value, or a new object, to a list. */
int agent_json_append(struct json_object *list, struct json_object *value);
struct json_object *agent_json_append_object(struct json_object *list);

/* Write an amount as Kubernetes writes quantities; of bytes with the largest unit that divides it. */
struct json_object *agent_json_quantity(uint64_t amount, bool bytes);

/* Make the Node object the owner, so that it is deleted with it: `ownerReferences` of a metadata. */
int agent_json_put_owner(struct json_object *metadata, const char *node, const char *uid);

/* Return whether a stored value has all that is wanted: lists of the same length, and texts that
 * are the same quantity. It may have further fields, but no further attributes, capacities and
 * taints. `generation` is not compared. */
bool agent_json_agrees(struct json_object *wanted, struct json_object *stored);
