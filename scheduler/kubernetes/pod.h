/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A pod's annotations as a claim. Pure functions: the webhook uses them for the patch, the
 * controller for the template that the patch names. Pods are not trusted.
 */

#include <json-c/json.h>

#include "base/err.h"
#include "scheduler/kubernetes/claim.h"

#define SCHEDULER_CONTAINERS_MAX  128
#define SCHEDULER_ANNOTATIONS_MAX 256 /* of numastow, on one pod */

struct scheduler_pod {
	struct scheduler_container *containers; /* those of the pod first, then init containers */
	size_t n;
	struct scheduler_claim claim;
	char template_name[64];
	struct json_object *warnings; /* list of texts, for the pod's author */
};

/* Read a pod's annotations and make its claim. Return 1; 0 when none of its containers asks for
 * something. Free with scheduler_pod_done(), in both cases; it refers to `object`. Errors are one
 * line for the pod's author, where possible the hook's. */
int scheduler_pod_read(struct json_object *object, struct scheduler_pod *ret, struct stow_err *err);
/* The same without a claim: the requests of its containers, also those that no claim can express. */
int scheduler_pod_read_requests(struct json_object *object, struct scheduler_pod *ret,
				struct stow_err *err);
void scheduler_pod_done(struct scheduler_pod *pod);

/* Make the JSON patch (RFC 6902) with which the pod has its claim: an empty list when it has all of
 * it already. `read` is what scheduler_pod_read() returned 1 for. */
int scheduler_pod_patch(struct json_object *pod, const struct scheduler_pod *read,
			struct json_object **ret, struct stow_err *err);
