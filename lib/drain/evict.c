// SPDX-License-Identifier: Apache-2.0
/* Pods with claims are evicted by Kubernetes, which respects their disruption budgets. A drain asks
 * for that, and waits until kubelet has unprepared the claims. With force_taint the agent taints
 * the node instead, because of the row's step. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "drain/internal.h"

#define LOOK_EVERY (200 * STOW_MILLISECOND)

/* Find the first of the shares that is in the ledger. *ret: its index; `n`: there is none. */
static int find_taken(struct stow_draining *d, const struct stow_drain_claim *claims, size_t n,
		      size_t *ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n_records, found = n;
	int r;

	r = stow_ledger_claim(d->context->ledger, NULL, &records, &n_records, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && found == n; i++)
		for (size_t k = 0; k < n_records; k++)
			if (strcmp(records[k]->claim->uid, claims[i].uid) == 0 &&
			    strcmp(records[k]->claim->share, claims[i].share) == 0)
				found = i;
	stow_records_free(records, n_records);
	*ret = found;
	return 0;
}

static int await_all(struct stow_draining *d, const struct stow_drain_claim *claims,
		     const struct stow_drain_affected *const *affected, size_t n,
		     struct stow_err *err)
{
	for (;;) {
		size_t left;
		int r = find_taken(d, claims, n, &left, err);

		if (r < 0 || left == n)
			return r;
		if (stow_drain_stop(d))
			return stow_drain_cancelled(err);
		if (stow_clock_monotonic() >= d->until)
			return stow_err_set(err, ETIMEDOUT,
					    "claim %.63s/%.253s is still in use after %" PRIu64
					    " s: its pod was not evicted, or has not ended",
					    affected[left]->ns, affected[left]->name,
					    d->spec.timeout / STOW_SECOND);
		stow_clock_sleep(LOOK_EVERY);
	}
}

int stow_drain_evict_claims(struct stow_draining *d, struct stow_err *err)
{
	_cleanup_free_ const struct stow_drain_affected **affected =
		calloc(d->plan->n_affected + 1, sizeof(*affected));
	_cleanup_free_ struct stow_drain_claim *claims =
		calloc(d->plan->n_affected + 1, sizeof(*claims));
	char message[400];
	size_t n = 0;
	int r;

	if (!affected || !claims)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < d->plan->n_affected; i++) {
		const struct stow_drain_affected *a = &d->plan->affected[i];

		if (!a->uid)
			continue;
		affected[n] = a;
		claims[n++] = (struct stow_drain_claim){ .uid = a->uid, .share = a->share };
	}
	if (n == 0)
		return 0;
	snprintf(message, sizeof(message),
		 "waiting for Kubernetes to %s the pods of claim %.63s/%.253s",
		 d->spec.force_taint ? "delete" : "evict", affected[0]->ns, affected[0]->name);
	if (n > 1)
		stow_append(message, sizeof(message), " and %zu more", n - 1);
	r = stow_drain_notify(d, STOW_DRAIN_STEP_MOVING, message, err);
	if (r == 0 && d->spec.force_taint)
		r = stow_drain_save_row(d, err);
	if (r < 0)
		return r;
	if (d->spec.force_taint)
		return await_all(d, claims, affected, n, err);
	d->watch->evict(d->watch->ctx, claims, n);
	r = await_all(d, claims, affected, n, err);
	d->watch->evict(d->watch->ctx, NULL, 0);
	return r;
}
