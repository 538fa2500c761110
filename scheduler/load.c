// SPDX-License-Identifier: Apache-2.0
/* Loading the store into the table. */
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/scheduler.h"

/* What has expired by this machine's clock may not have by the other scheduler's that wrote it: keep
 * it for so long, so that its machine can say when it expires, and a client can repeat its call. */
#define GRACE (60 * STOW_SECOND)

static int check_name(const char *name, struct stow_err *err)
{
	if (stow_machine_name_check(name, err) < 0)
		return stow_err_set(err, EUCLEAN, "the store: \"%.64s\" is not a node's name",
				    name);
	return 0;
}

static int load_reservation(void *ctx, uint64_t id, const void *message, size_t len,
			    const char *request_id, struct stow_err *err)
{
	PbReservation *reservation = pb_reservation__unpack(NULL, len, message);
	struct scheduler *s = ctx;
	struct stow_machine *machine;
	struct stow_reservation *made;
	struct stow_now now = stow_now();
	int r;

	if (!reservation || id == 0) {
		stow_rpc_message_free(reservation);
		return stow_err_set(err, EUCLEAN, "the store: reservation %" PRIx64 " is damaged",
				    id);
	}
	r = check_name(reservation->node, err);
	if (r == 0)
		r = stow_fleet_get(s->fleet, reservation->node, &machine, err);
	/* A bound reservation stays until a report tells that its container has ended. */
	if (r == 0)
		r = stow_reservation_add(s->fleet, machine, id, reservation, &made, err);
	if (r == 0) {
		uint64_t least = reservation->lifetime ? STOW_MIN(reservation->lifetime, GRACE) : 0;

		made->until_guessed = true;
		if (made->until < now.mono + least)
			stow_reservation_expires_at(s->fleet, made, now.mono + least);
	}
	if (r < 0)
		pb_reservation__free_unpacked(reservation, NULL);
	return r;
}

static int load_fence(void *ctx, const char *name, const struct stow_idset *numa,
		      struct stow_err *err)
{
	struct scheduler *s = ctx;
	struct stow_machine *machine = NULL;
	int r;

	r = check_name(name, err);
	if (r == 0)
		r = stow_fleet_get(s->fleet, name, &machine, err);
	return r < 0 ? r : stow_fleet_fence(s->fleet, machine, numa, err);
}

static int load_answer(void *ctx, const char *request_id, uint64_t digest, uint64_t expires,
		       const void *response, size_t len, struct stow_err *err)
{
	struct scheduler *s = ctx;
	struct stow_now now = stow_now();
	struct stow_answer *answer;
	uint64_t left;
	int r;

	left = STOW_MIN(stow_clock_elapsed(now.wall, expires), s->config.remember);
	r = stow_answer_add(s->fleet, request_id, digest, &answer, err);
	if (r < 0)
		return r;
	answer->until = now.mono + STOW_MAX(left, STOW_MIN(s->config.remember, GRACE));
	return stow_answer_set(s->fleet, answer, response, len) < 0
		       ? stow_err_set(err, ENOMEM, "out of memory")
		       : 0;
}

static int load_webhook(void *ctx, const struct stow_store_webhook *webhook, struct stow_err *err)
{
	struct scheduler *s = ctx;

	return s->delivery_queue ? scheduler_delivery_queue_load(s->delivery_queue, webhook, err)
				 : 0;
}

int scheduler_load(struct scheduler *s, struct stow_err *err)
{
	const uint64_t least = STOW_MIN(s->config.remember, GRACE);
	struct stow_store_load load = { .reservation = load_reservation,
					.fence = load_fence,
					.answer = load_answer,
					.drain = scheduler_drain_load,
					.webhook = load_webhook,
					.ctx = s,
					.answers_least = least,
					.answers_most = s->config.remember };
	struct stow_store_options options = scheduler_config_store(&s->config);
	int r;

	stow_lock_take(&s->fleet->lock);
	r = s->store ? 0 : stow_store_new(&options, &s->store, err);
	if (r == 0)
		r = stow_store_load(s->store, &load, err);
	scheduler_drains_loaded(s);
	stow_lock_give(&s->fleet->lock);
	return r;
}
