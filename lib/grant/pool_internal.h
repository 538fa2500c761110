/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* One pool, while its lock is held: shared by settling (pool.h) and by what administrators do
 * (pool_admin.h). */

#include <stdbool.h>

#include "ledger/ledger.h"
#include "node/hugepage.h"

struct stow_settling {
	struct stow_root *root;
	struct stow_ledger *ledger;
	struct stow_ledger_pool row;
	struct stow_pool kernel;
};

/* Read the pool of `row`, and its row in the ledger; account for the write of a killed program. */
int stow_pool_begin(struct stow_settling *s, struct stow_err *err);
/* Sum the pages that are promised and not yet faulted in: of records up to `key` if it is not 0;
 * with `leases`, of reservations, too. */
int stow_pool_sum(struct stow_settling *s, int64_t key, bool leases, uint64_t *ret,
		  struct stow_err *err);
/* Collect the nodes whose pools a drain is working on. */
int stow_pool_drained(struct stow_root *root, struct stow_ledger *ledger, struct stow_idset *ret,
		      struct stow_err *err);
