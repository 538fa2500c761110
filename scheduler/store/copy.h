/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* numastow-scheduler --copy-store: a fleet moves to another store while its schedulers are stopped.
 */

#include <stddef.h>

#include "scheduler/store/store.h"

/* Copies all that is in the one store to the other one, which must be empty; then reads that again
 * and compares. Both get the lead for it: -EBUSY when a scheduler has it. */
int scheduler_copy_store(const struct stow_store_options *from, const struct stow_store_options *to,
			 size_t *ret_rows, struct stow_err *err);
