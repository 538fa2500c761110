/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

#include "base/err.h"
#include "base/root.h"
#include "node/memblock.h"

/* Fills in the devices of a list whose blocks are there, and each block's device. What the kernel
 * does not say, or not to us, is memory that came with the machine. */
int stow_memdevs_assign(struct stow_root *root, struct stow_memblocks *list, struct stow_err *err);
