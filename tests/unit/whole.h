/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A whole scheduler in this process, with a client, and simulated agents. clock.h sets its clock.
 */

#include <numastow/v1/scheduler.pb-c.h>
#include <pthread.h>
#include <stdbool.h>

#include "report.h"
#include "scheduler/scheduler.h"

struct whole {
	struct scheduler s;
	struct stow_rpc_loop *loop;
	struct stow_rpc_client *client;
	char dir[64];
};

/* For cmocka: *state is a struct whole that is started, with a store of its own. */
int whole_set_up(void **state);
int whole_tear_down(void **state);

/* Start and stop the scheduler and the client, on the store in `dir`. */
void whole_start(struct whole *w);
void whole_stop(struct whole *w);

/* Change a key of the configuration as a reload would. */
#define WHOLE_SET(w, key, value)                     \
	do {                                         \
		stow_lock_take(&(w)->s.fleet->lock); \
		(w)->s.config.key = value;           \
		stow_lock_give(&(w)->s.fleet->lock); \
	} while (0)

/* Call a method of the scheduler, as a client. */
int whole_ask(struct whole *w, const char *method, const void *request, void **ret,
	      struct stow_err *err);

/* Set the wall clock of the programs forward, but not the kernel's: a thread that waits until a
 * wall-clock time waits as if the clock had been set back meanwhile. */
void whole_wall_ahead(time_t seconds);

/* Remove the files of a scheduler's store, and the folder. */
void whole_remove_store(const char *dir);

struct whole_agent {
	pthread_mutex_t lock;
	struct report report;
	struct stow_rpc_call *call;
	int welcomes, reserves, cancels, fences; /* directives, by kind */
	int plans, orders, drain_cancels;
	bool silent;  /* does not answer directives */
	bool refuses; /* a reservation */
	bool mute;    /* does not answer with plans */
	bool closed;
	char ids[8][17]; /* leases that it holds */
	int n_ids;
	int blocks; /* of a plan */
};

/* Connect, report two NUMA nodes of eight CPUs and 16 GiB, and wait for the welcome. */
void whole_join(struct whole *w, struct whole_agent *a, const char *name);
/* End the stream, and wait until it has ended. */
void whole_leave(struct whole_agent *a);
/* Add a lease to those that it holds; remove one. With the lock held, or while no thread of it
 * runs. */
void whole_hold(struct whole_agent *a, const char *id);
void whole_let_go(struct whole_agent *a, const char *id);
/* Send `report`, and count it. */
void whole_report(struct whole_agent *a);
/* Send a step of a drain; `plan` may be NULL. whole_send_plan(): the step with a plan of `blocks`. */
void whole_send_step(struct whole_agent *a, const char *id, PbDrainStep step, PbDrainPlan *plan);
void whole_send_plan(struct whole_agent *a, const char *id);
/* Read one of its counters with the lock held. */
int whole_number(struct whole_agent *a, const int *value);
