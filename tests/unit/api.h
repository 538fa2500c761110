/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A simulated API server that replaces lib/kube's calls in tests that are linked with --wrap
 * (api_TESTS in tests/module.mk): namespaced objects with versions, UIDs, labels and watches, whose
 * events also arrive during calls; and a boot-time clock that stands still until it is advanced.
 * Any thread may call it.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Begin without objects, clients and faults. */
void api_reset(void);

/* Create or replace an object. `collection`: "/api/v1/namespaces/x/pods". The object is taken over;
 * it gets name, namespace, a version and, when it is new, a UID. */
void api_set(const char *collection, const char *name, struct json_object *object);
void api_remove(const char *collection, const char *name);
/* Return an object, for json_object_put(); NULL: there is none. */
struct json_object *api_get(const char *collection, const char *name);
bool api_has(const char *collection, const char *name);
/* Return how many objects a collection has. */
size_t api_count(const char *collection);
/* The same, of those with this text at `key`. */
size_t api_count_with(const char *collection, const char *key, const char *value);

/* Have calls of this method ("GET", "LIST", "POST", "PUT", "DELETE") and collection fail; 0: no
 * more. */
void api_fail(const char *method, const char *collection, int errnum);
/* Return how many calls of this method and collection there were, failed ones included. */
size_t api_calls(const char *method, const char *collection);
/* Cut a client, by its number in the order in which they were made, from the server. */
void api_cut(size_t client, bool cut);

/* Advance the boot-time clock. */
void api_turn(uint64_t ns);
