/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Functions shared by the files of the fleet's table. */

#include "scheduler/fleet/fleet.h"

/* --- the columns (columns.c) ---------------------------------------------- */

/* Allocate columns for more machines. -ENOMEM. */
int stow_columns_grow(struct stow_fleet *fleet);
/* Move a machine, whose number of NUMA nodes has changed to `n`, to the end of their columns. */
int stow_columns_move(struct stow_fleet *fleet, struct stow_machine *m, uint32_t n,
		      struct stow_err *err);
/* Close the gaps in the columns of NUMA nodes. Keeps the order of the machines. */
void stow_columns_close_gaps(struct stow_fleet *fleet);
/* Compute a machine's columns; cannot fail. stow_fleet_refresh() also notifies watchers. */
void stow_columns_compute(struct stow_fleet *fleet, const struct stow_machine *machine);
void stow_columns_done(struct stow_fleet *fleet);
/* Set which machine changed at that time, in the ring; NULL: none any more. */
void stow_fleet_set_recent(struct stow_fleet *fleet, uint64_t changed, struct stow_machine *m);
/* Make it the machine that changed last. */
void stow_fleet_touch(struct stow_fleet *fleet, struct stow_machine *machine);

/* --- reservations (reservation.c) ----------------------------------------- */

/* stow_reservation_add() without refreshing the machine. */
int stow_reservation_enter(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			   PbReservation *message, struct stow_reservation **ret_reservation,
			   struct stow_err *err);
