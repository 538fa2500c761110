/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a container that names a reservation waits for, and why it has none. */

#include "base/err.h"
#include "grant/context.h"
#include "place/reservation.h"

/*
 * Wait until the reservation's lease is in the ledger: a container may start before the scheduler's
 * message about its reservation arrives. Wait at most 2 s, and only where an agent runs that can
 * receive the message. The caller checks whether the lease has come.
 */
void stow_lease_await(const struct stow_grant_context *context,
		      const struct stow_reservation_name *name);

/* Set why a container that names a reservation cannot have it: it belongs to another machine, is
 * used already, has expired, or was never made. Return the error; `err` is never
 * NULL. */
int stow_lease_missing(const struct stow_grant_context *context,
		       const struct stow_reservation_name *name, const struct stow_record *holder,
		       struct stow_err *err);
