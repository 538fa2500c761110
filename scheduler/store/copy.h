/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* numastow-scheduler --copy-store: copies a fleet's state to another store while its schedulers
 * are stopped. */

#include <stddef.h>

#include "scheduler/store/store.h"

/* Copy one store to another one, which must be empty; then read that again and compare. Acquires
 * the lead of both stores. -EBUSY: a scheduler is active. */
int scheduler_copy_store(const struct stow_store_options *from, const struct stow_store_options *to,
			 size_t *ret_rows, struct stow_err *err);
