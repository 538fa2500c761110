/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The annotation numastow.io/reservation: the id and the place of a scheduler's reservation.
 *
 *	ID:NUMA_NODES@NODE	4c1f8e02a7b35d90:0-1@web-3
 *
 * The machine holds a lease under the id, which alone decides what the container gets
 * (lib/grant/lease.h); the rest of the value is for users, and for a good error on the wrong
 * machine.
 */

#include "base/err.h"
#include "base/idset.h"
#include "model/choices.h"

#define STOW_RESERVATION_ID_LEN 16 /* lower-case hexadecimal digits */
/* Reservations of a machine: valid ones, and those listed by a report or a Welcome. */
#define STOW_RESERVATIONS_MAX 4096

struct stow_reservation_name {
	char id[STOW_RESERVATION_ID_LEN + 1];
	struct stow_idset nodes;
	char machine[STOW_NAME_MAX + 1];
};

/* Parse the annotation. -EINVAL with a message that names the key, the value and the form. */
int stow_reservation_parse(const char *text, struct stow_reservation_name *ret,
			   struct stow_err *err);
