/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The claim of a pod, made from its containers' requests: the spec of a ResourceClaimTemplate
 * (resource.k8s.io/v1) with a request "part0", "part1" ... for each container. It is the same, to
 * the byte, for the same requests, and its digest is the template's name.
 *
 * A device is one NUMA node. What such a claim cannot express is refused.
 */

#include <json-c/json.h>
#include <stdbool.h>

#include "base/digest.h"
#include "base/err.h"
#include "scheduler/kubernetes/container.h"

#define SCHEDULER_PARTS_MAX 32 /* requests of a claim, and devices of an allocation */

struct scheduler_claim {
	struct json_object *spec;	  /* of the template */
	char digest[STOW_DIGEST_LEN + 1]; /* of it */
	size_t parts;
	size_t devices; /* the most that it may be allocated */
};

/* Make the claim of containers, those that ask for something, and set their `part`. Containers that
 * end before others start (init containers) share the part of a container with the same request.
 * Free with scheduler_claim_done(). -EINVAL: a request is not possible for a claim. */
int scheduler_claim_make(struct scheduler_container *containers, size_t n,
			 struct scheduler_claim *ret, struct stow_err *err);
void scheduler_claim_done(struct scheduler_claim *claim);

/* Return whether a template's name is one that is made of a digest. */
bool scheduler_claim_is_named(const char *name);

/* Return whether a template's spec, as the API server has stored it, is the wanted one: defaults
 * aside that the API server fills in. */
bool scheduler_claim_same(struct json_object *wanted, struct json_object *stored);
