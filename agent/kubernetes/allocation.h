/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Turn a ResourceClaim (resource.k8s.io/v1), as the API server sent it, into a claim that the
 * ledger can take. A pure function. The object is not trusted: anything in it may be missing or of
 * another type.
 */

#include <json-c/json.h>

#include "agent/kubernetes/parameters.h"
#include "base/err.h"
#include "grant/claim.h"

struct agent_allocation {
	struct stow_claim claim; /* its texts belong to the object; it points to `shares` */
	struct stow_claim_share shares[STOW_CLAIM_SHARES_MAX];
};

/* The claim that is expected, and the pool of its devices. */
struct agent_allocation_of {
	const char *uid, *ns, *name;
	const char *pool; /* this machine's name in Kubernetes */
};

/* Read an allocation. Devices of other drivers are skipped. Names and ids within a share are
 * checked when it is taken. Errors are one line that names the claim, the field, its value and what
 * would be valid:
 *
 *   -ESTALE  it is another claim of the same name
 *   -EAGAIN  it is not allocated, or not reserved for a pod
 *   -EPERM   it asks for what only the administrator or a DeviceClass may give
 *   -EINVAL, -ERANGE  anything else
 */
int agent_allocation_read(struct json_object *object, const struct agent_allocation_of *of,
			  struct agent_allocation *ret, struct stow_err *err);

/* Check that a name is valid in Kubernetes (a DNS subdomain, RFC 1123). The error names `what`. */
int agent_allocation_check_name(const char *name, const char *what, struct stow_err *err);
