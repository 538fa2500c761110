// SPDX-License-Identifier: Apache-2.0
/* Release. */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/service/service.h"

#define IDS_MAX 1024

/* A call of Release. Reservations end when their deletion is durable. */
struct releasing {
	struct scheduler *scheduler;
	struct stow_rpc_call *call;
	size_t n;
	uint64_t ids[];
};

/* End the reservations that still exist; a report may have ended some meanwhile. With the lock
 * held. */
static void released(struct releasing *op, bool stored)
{
	_cleanup_free_ struct stow_reservation **list = calloc(op->n + 1, sizeof(*list));
	struct scheduler *s = op->scheduler;
	size_t n = 0;

	for (size_t i = 0; i < op->n; i++) {
		struct stow_reservation *r = stow_reservation_find(s->fleet, op->ids[i]);

		if (!r)
			continue;
		r->releasing = false;
		if (list)
			list[n++] = r;
		else if (stored)
			scheduler_reservations_end_with(s, &r, 1, stow_now(), NULL);
	}
	if (stored && n)
		scheduler_reservations_end_with(s, list, n, stow_now(), NULL);
	else
		scheduler_reservations_save(s, list, n); /* a report may have changed them */
}

/* On the store's thread. */
static void on_released(void *ctx, const struct stow_err *err)
{
	struct releasing *op = ctx;
	struct scheduler *s = op->scheduler;
	PbReleaseResponse response = PB_RELEASE_RESPONSE__INIT;

	stow_lock_take(&s->fleet->lock);
	released(op, !err);
	stow_lock_give(&s->fleet->lock);
	response.released = (uint32_t)op->n;
	stow_rpc_note(op->call, "released %u", response.released);
	stow_rpc_reply(op->call, &response, err);
	free(op);
}

int scheduler_release(struct stow_rpc_call *call, void *ctx, const void *request, void *response,
		      struct stow_err *err)
{
	const PbReleaseRequest *in = request;
	struct scheduler *s = ctx;
	struct releasing *op;
	struct stow_writes *writes;
	uint64_t id;
	int r = 0;

	if (in->n_ids > IDS_MAX)
		return stow_err_set(err, EINVAL, "ids: %zu; at most %d", in->n_ids, IDS_MAX);
	for (size_t i = 0; i < in->n_ids; i++)
		if (stow_id_parse(in->ids[i], &id, err) < 0)
			return stow_err_wrap(err, -EINVAL, "ids");
	op = calloc(1, sizeof(*op) + in->n_ids * sizeof(*op->ids));
	writes = stow_writes_new();
	if (!op || !writes) {
		free(op);
		stow_writes_free(writes);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	op->scheduler = s;
	op->call = call;
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; i < in->n_ids && r == 0; i++) {
		struct stow_reservation *reservation;

		(void)stow_id_parse(in->ids[i], &id, NULL);
		reservation = stow_reservation_find(s->fleet, id);
		/* Unknown, of a Place that is not answered yet, or being released. */
		if (!reservation || reservation->waiting || reservation->releasing)
			continue;
		r = stow_writes_no_reservation(writes, id);
		reservation->releasing = true;
		op->ids[op->n++] = id;
	}
	if (r < 0)
		released(op, false);
	else
		stow_store_commit(s->store, writes, on_released, op);
	stow_lock_give(&s->fleet->lock);
	if (r == 0)
		return STOW_RPC_LATER;
	stow_writes_free(writes);
	free(op);
	return stow_err_set(err, ENOMEM, "out of memory");
}
