/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Conditions of a claim's shares, in claim.status.devices[]. Pure functions.
 *
 *	numastow.io/Evict	True: a drain of memory waits for the pods that have the share;
 *				removed afterwards
 *	numastow.io/Prepared	True; False while it is refused
 *	numastow.io/Refused	True: the same, for kube-scheduler, which places the pod anew; only
 *				where the allocation names it as a failure of binding
 *	numastow.io/InPlace	False: a container does not have what was promised to it; True with
 *				a reason of its own: it may also use more, which was not promised
 *
 * Only the entries of our driver and this machine are changed, and in them only these conditions.
 */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

#define AGENT_CONDITION_MESSAGE 512 /* bytes; Kubernetes allows 32 KiB */
#define AGENT_CONDITIONS_MAX	8   /* of one entry, as in Kubernetes */

struct agent_conditions_share {
	const char *id;	   /* shareID */
	bool evict;	   /* a drain waits for it */
	const char *drift; /* what its container does not have; NULL: all is in place */
	const char *above; /* which limit of its container is above the claim; NULL: none */
};

struct agent_conditions {
	const char *uid; /* of the claim */
	const char *pool;
	const struct agent_conditions_share *shares; /* of the ledger */
	size_t n;
	const char *refusal; /* why the claim cannot be prepared; NULL: it was not refused */
	uint64_t refused;    /* since when; ns since the epoch */
};

/* Whether a claim has devices of this machine, and whether they are prepared. */
enum agent_conditions_state {
	AGENT_CLAIM_ELSEWHERE, /* it has none of them */
	AGENT_CLAIM_HERE,
	AGENT_CLAIM_WAITS,   /* ... and kube-scheduler binds the pod only when they are prepared */
	AGENT_CLAIM_REFUSED, /* ... and preparing them was refused */
};

/* Read a claim, as the API server sent it. */
enum agent_conditions_state agent_conditions_read(struct json_object *claim, const char *pool);

/* Return whether a claim, as the API server sent it, has this share of the pool. */
bool agent_conditions_has(struct json_object *claim, const char *pool, const char *share);

/* Change the conditions of a claim, as the API server sent it, to the wanted ones. `now`: ns since
 * the epoch. Return 1 when something was changed, 0 when not. -ESTALE: it is another claim;
 * -EINVAL: it is no claim, or not allocated; -ENOMEM. */
int agent_conditions_merge(struct json_object *claim, const struct agent_conditions *wanted,
			   uint64_t now, struct stow_err *err);
