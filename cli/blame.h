/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Prints what kept a memory block online, in lines below the block's. */

#include <stdint.h>

#include "base/root.h"
#include "node/memblock.h"

/* Open the kernel's log, from now on. The caller closes the descriptor. Negative: not available. */
int cli_blame_open(struct stow_root *root);

/* Print the culprits that the log has shown since the last call; without any, the suspects. */
void cli_blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list, uint64_t id);
