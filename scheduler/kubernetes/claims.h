/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Claims whose pods must go, by the conditions that agents set on their shares in
 * status.devices:
 *
 *	numastow.io/Evict	True: the claim's pods are evicted (pods/eviction, which respects
 *				disruption budgets)
 *	numastow.io/Prepared	False, for longer than the deadline: pending pods that are bound are
 *				deleted, if a controller owns them; others get an event
 *
 * Only claims with such a condition are remembered.
 */

#include "kube/follow.h"
#include "scheduler/kubernetes/work.h"

#define SCHEDULER_CLAIMS_MAX 1024 /* remembered; further ones are found by a later list */

struct scheduler_claims;

/* `deadline`: prepare-deadline, ns. */
int scheduler_claims_new(struct scheduler_work *work, uint64_t deadline,
			 struct scheduler_claims **ret, struct stow_err *err);
void scheduler_claims_free(struct scheduler_claims *claims);
/* Do what is due. Return the ns until something else is. */
uint64_t scheduler_claims_look(struct scheduler_claims *claims);
/* Forget everything: this process does not lead. */
void scheduler_claims_reset(struct scheduler_claims *claims);

/* What a claim's conditions want. */
struct scheduler_claim_wish {
	bool evict, refused;
	char message[512]; /* of the condition */
};

/* Read the conditions of a claim's devices: those of our driver that are allocated to it. A pure
 * function. */
void scheduler_claims_read(struct json_object *claim, struct scheduler_claim_wish *ret);
