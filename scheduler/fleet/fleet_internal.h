/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Between the files of the fleet's table. */

#include "scheduler/fleet/fleet.h"

/* --- the columns (columns.c) -------------------------------------------------------------------- */

/* Room for more machines. -ENOMEM. */
int stow_columns_grow(struct stow_fleet *fleet);
/* A machine whose number of NUMA nodes has changed moves to the end of their columns. */
int stow_columns_move(struct stow_fleet *fleet, struct stow_machine *m, uint32_t n,
		      struct stow_err *err);
/* Puts the NUMA nodes of all machines side by side again, in the machines' order. */
void stow_columns_close_gaps(struct stow_fleet *fleet);
/* A machine's part, which cannot fail. stow_fleet_refresh() also lets watchers know. */
void stow_columns_compute(struct stow_fleet *fleet, const struct stow_machine *machine);
void stow_columns_done(struct stow_fleet *fleet);
/* Makes it the one that has changed last. */
void stow_fleet_touch(struct stow_fleet *fleet, struct stow_machine *machine);

/* --- reservations (reservation.c) --------------------------------------------------------------- */

/* stow_reservation_add() without computing the machine anew. */
int stow_reservation_enter(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			   PbReservation *message, struct stow_reservation **ret_reservation,
			   struct stow_err *err);
