/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What slices and NodeResourceTopologies have in common, beside kube/make.h. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

/* Write an amount as Kubernetes writes quantities; of bytes with the largest unit that divides it.
 * Return NULL when out of memory. */
struct json_object *agent_json_quantity(uint64_t amount, bool bytes);

/* Make the Node object the owner, so that it is deleted with it: `ownerReferences` of a metadata. */
bool agent_json_put_owner(struct json_object *metadata, const char *node, const char *uid);

/* Return whether a stored value has all that is wanted: lists of the same length, and texts that
 * are the same quantity. It may have further fields, but no further attributes, capacities and
 * taints. `generation` is not compared. */
bool agent_json_agrees(struct json_object *wanted, struct json_object *stored);
