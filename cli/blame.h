/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Who kept a memory block from going offline, printed in lines below the block's. */

#include <stdint.h>

#include "base/root.h"
#include "node/memblock.h"

/* The kernel's log from now on, a descriptor to be closed; negative: not to be had. */
int cli_blame_open(struct stow_root *root);

/* Prints whoever is proven by the log since the last time, else whoever is suspected. */
void cli_blame(struct stow_root *root, int kmsg, const struct stow_memblocks *list, uint64_t id);
