/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The pods of one Place: either all of them get reservations in the table, or none. */

#include "scheduler/control/control.h"

#define SCHEDULER_PODS_MAX 1024

struct scheduler_group {
	uint64_t ids[SCHEDULER_PODS_MAX];
	size_t n;
	PbPlaceResponse *response; /* with the new reservations */
};

/* Reserve room for all pods. With the fleet's lock held, which is released in between for a
 * large group. */
int scheduler_group_place(struct scheduler *s, const PbPlaceRequest *in,
			  struct scheduler_group *group, struct stow_err *err);
/* Remove the reservations that the group has got so far. With the lock held. */
void scheduler_group_undo(struct scheduler *s, const struct scheduler_group *group);
void scheduler_group_done(struct scheduler_group *group);
