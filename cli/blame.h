/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What kept a memory block online. */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "node/memblock.h"
#include "pages/culprit.h"

/* Find the culprits that the log, `kmsg` (pages/kmsg.h), has shown since the last call; without
 * any, the suspects. The caller frees them with stow_culprits_done(). A negative errno: the block's
 * pages cannot be read. */
int cli_blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list, uint64_t id,
	      struct stow_culprits *ret, struct stow_err *err);
/* Print them, in lines below the block's. */
void cli_blame_print(const struct stow_culprits *culprits);
