/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/root.h"
#include "node/memblock.h"

/* Fill in the devices of a list that has its blocks, and each block's device. Blocks whose device
 * is unknown, or may not be read, count as boot memory. */
int stow_memdevs_assign(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err);
