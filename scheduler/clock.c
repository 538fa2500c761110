// SPDX-License-Identifier: Apache-2.0
/* The clock: expires reservations, marks silent machines, wakes waiting calls, forgets old
 * entries. */

#include "base/clock.h"

#include "rpc/log.h"
#include "scheduler/fleet/answer.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/scheduler.h"

#define TICK	    (50 * STOW_MILLISECOND)
#define FORGET_TIME (60 * STOW_SECOND) /* between two checks for drains to forget */
#define FORGET_MOST 64		       /* machines per tick, so that watchers can keep up */
#define EXPIRE_MOST 512		       /* reservations per tick: ten thousand per second */

static void expire(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;
	struct stow_reservation *over[EXPIRE_MOST];
	size_t n = 0;

	while (n < EXPIRE_MOST && fleet->n_expiring && fleet->expiring[1]->until <= now.mono) {
		struct stow_reservation *r = fleet->expiring[1];

		if (r->waiting)
			break; /* its call is answered first */
		stow_log(STOW_LOG_DEBUG, "a reservation has expired",
			 stow_text("node", r->machine->name),
			 stow_text("reservation", r->message->id));
		stow_reservation_expires_no_more(fleet, r);
		over[n++] = r;
	}
	atomic_fetch_add(&s->expired, n);
	scheduler_reservations_end(s, over, n, now);
}

/* A line about a node, of which thousands may be silent at once. */
static void log_node(struct stow_log_limit *limit, enum stow_log_level level, const char *message,
		     const struct stow_machine *machine)
{
	uint64_t times = stow_log_may(limit);

	if (times)
		stow_log(level, message, stow_text("node", machine->name),
			 stow_number("times", times));
}

static void find_silent(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		struct stow_machine *machine = fleet->machines[m];

		if (machine->stale ||
		    stow_clock_elapsed(machine->seen, now.mono) < s->config.stale_after)
			continue;
		log_node(&s->silent_log, STOW_LOG_WARNING,
			 "node not ready: it is silent, and nothing new is placed there", machine);
		stow_fleet_stale(fleet, machine);
		scheduler_news(s);
	}
}

static bool is_gone(const struct scheduler *s, const struct stow_machine *m, struct stow_now now)
{
	if (!m->stale || m->streams || m->reservations || m->fenced || m->n_drains)
		return false;
	/* A machine that never reported existed only because of reservations or fences, which
	 * have ended. */
	return m->n_numa == 0 || (s->config.forget_after &&
				  stow_clock_elapsed(m->seen, now.mono) >= s->config.forget_after);
}

/* In descending order, because the last machine takes the index of a removed one. */
static void forget_gone(struct scheduler *s, struct stow_now now)
{
	struct stow_fleet *fleet = s->fleet;
	int n = 0;

	if (fleet->readers)
		return;
	for (uint32_t m = fleet->n_machines; m-- > 0 && n < FORGET_MOST;) {
		struct stow_machine *machine = fleet->machines[m];

		if (!is_gone(s, machine, now))
			continue;
		log_node(&s->removed_log, STOW_LOG_NOTICE,
			 "node removed: it was silent for too long", machine);
		stow_fleet_forget(fleet, machine);
		scheduler_news(s);
		n++;
	}
}

void *scheduler_clock_run(void *arg)
{
	struct scheduler *s = arg;
	uint64_t forgot = stow_now().mono;

	while (!atomic_load(&s->stopping)) {
		struct stow_now now;

		stow_lock_take(&s->fleet->lock);
		now = stow_now(); /* after the lock was taken, which may have lasted */
		expire(s, now);
		find_silent(s, now);
		forget_gone(s, now);
		scheduler_place_tick(s, now);
		scheduler_fence_tick(s);
		scheduler_drains_tick(s, now);
		if (stow_clock_elapsed(forgot, now.mono) > FORGET_TIME) {
			forgot = now.mono;
			scheduler_drains_forget(s, now);
		}
		stow_reservation_forget_ended(s->fleet, now);
		stow_answer_forget(s->fleet, now);
		stow_lock_give(&s->fleet->lock);
		stow_clock_sleep(TICK);
	}
	return NULL;
}
