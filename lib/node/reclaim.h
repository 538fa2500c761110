/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Compacting and reclaiming the memory of one node. */

#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

/* Compact all zones of the node. The kernel reports no result: compare the free blocks
 * (node/zones.h) before and after. -ENOENT: there is no such node; -ENOTSUP: the kernel cannot
 * (CONFIG_COMPACTION). */
int stow_node_compact(struct stow_root *root, int node, struct stow_err *err);

/* Reclaim that many bytes of the node. -EAGAIN: the kernel has reclaimed less; -ENOENT: there is no
 * such node; -ENOTSUP: the kernel cannot (before Linux 6.17). It can be interrupted by a signal:
 * -EINTR. */
int stow_node_reclaim(struct stow_root *root, int node, uint64_t bytes, struct stow_err *err);
