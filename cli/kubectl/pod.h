/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A pod, and what its claims request and have. */

#include <json-c/json.h>
#include <stdbool.h>

#include "base/err.h"
#include "cli/kubectl/amounts.h"
#include "cli/kubectl/machines.h"
#include "kube/kube.h"

#define KUBECTL_CLAIMS_MAX   32 /* of a pod */
#define KUBECTL_REQUESTS_MAX 32 /* of a claim */
#define KUBECTL_CHOICES_MAX  8	/* of a request */
#define KUBECTL_COUNT_MAX    32 /* devices of a request */
#define KUBECTL_TOLERATIONS  16 /* of a request */

struct kubectl_toleration {
	struct kubectl_taint taint; /* "" matches every key or effect */
	bool exists;		    /* whatever the value */
};

/* What a request, or one of its alternatives, wants. */
struct kubectl_choice {
	char *class;
	struct kubectl_amounts amounts;
	uint64_t count; /* devices */
	bool ours;	/* its class selects NUMA nodes */
	struct kubectl_toleration tolerations[KUBECTL_TOLERATIONS];
	size_t n_tolerations;
	bool selectors; /* the request has CEL selectors, which are not evaluated */
	char *fault;	/* why it cannot be satisfied, whatever there is; NULL */
};

struct kubectl_request {
	char *name;
	struct kubectl_choice choices[KUBECTL_CHOICES_MAX];
	size_t n;
};

struct kubectl_claim {
	char *name;		    /* in the pod */
	char *object_name;	    /* of the ResourceClaim; NULL: it is not made yet */
	struct json_object *object; /* NULL: there is none */
	char *fault;		    /* why there is none; NULL */
	bool allocated;
	bool constrained; /* it has constraints */
	struct kubectl_request requests[KUBECTL_REQUESTS_MAX];
	size_t n;
};

struct kubectl_pod {
	char *ns, *name, *phase, *machine; /* machine "": it is not bound */
	char *reason;			   /* kube-scheduler's, while it cannot place the pod */
	struct json_object *object;
	struct kubectl_claim claims[KUBECTL_CLAIMS_MAX];
	size_t n;
};

/* Read "pod/NAME", "pods/NAME" or "NAME" into `ret`. The caller calls kubectl_pod_done() in any
 * case. */
int kubectl_pod_read(struct stow_kube *kube, const char *ns, const char *word,
		     struct kubectl_pod *ret, struct stow_err *err);
void kubectl_pod_done(struct kubectl_pod *pod);

/* Return the i-th device that the claim has, of our driver; NULL: there are no more. */
struct json_object *kubectl_claim_result(const struct kubectl_claim *claim, size_t i);
/* Return the condition of a result's share, or NULL. */
struct json_object *kubectl_claim_condition(const struct kubectl_claim *claim,
					    struct json_object *result, const char *type);
