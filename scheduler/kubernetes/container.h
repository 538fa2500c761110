/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A container of a pod: its own requests and limits against what its annotations ask for. Pods are
 * not trusted: anything may be missing or of another type.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"
#include "place/request.h"

struct scheduler_container {
	struct json_object *object; /* belongs to the pod */
	const char *name;
	const char *list; /* "containers" or "initContainers", and the place in it */
	size_t at;
	bool init; /* ends before the pod's containers start */
	bool asks; /* has a request: */
	struct stow_request request;
	size_t part; /* of the claim */
};

/* Read the request of a container: its annotations, completed from its own limits, as the hook
 * does. Errors are the hook's. */
int scheduler_container_read(struct scheduler_container *container,
			     const struct stow_annotation *annotations, size_t n,
			     struct stow_err *err);

/* Make the container's `resources` with the request's amounts, where they are missing, and with the
 * claim's part; *ret is a new object, or NULL when nothing is to be changed. -EINVAL: they
 * contradict the annotations. */
int scheduler_container_fill(const struct scheduler_container *container, struct json_object **ret,
			     struct stow_err *err);

/* Check that a container's requests are its limits, for CPUs and memory, as the pod's QoS class
 * Guaranteed needs. `resources` are those that it will have; `of` names the container with
 * exclusive CPUs. */
int scheduler_container_guaranteed(struct json_object *resources, const char *name, const char *of,
				   struct stow_err *err);
