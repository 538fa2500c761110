/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Taking memory offline, bringing it online, and having a device let go of it. */

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"
#include "node/memblock.h"

enum stow_memblock_zone { STOW_ZONE_DEFAULT, STOW_ZONE_KERNEL, STOW_ZONE_MOVABLE };

#define STOW_ONLINE_TIMEOUT (UINT64_C(60) * 1000000000) /* ns */

/* Brings a block online. -ETIMEDOUT: somebody else's try to take memory offline has not ended
 * within STOW_ONLINE_TIMEOUT. 1: done; 0: it was already, also when somebody else was faster.
 * -EBUSY and others: the kernel's word, read back. */
int stow_memblock_online(struct stow_root *root, uint64_t id, enum stow_memblock_zone zone,
			 struct stow_err *err);
/*
 * Takes a block offline. The kernel tries for ever when a page is pinned, and the memory and CPU
 * hotplug of the whole machine waits for it: so the write is interrupted by a signal (SIGRTMAX,
 * whose handler does nothing; the first call installs it) after `timeout` ns. 1: done; 0: it was
 * already. -ETIMEDOUT: interrupted, and online as before. -EBUSY: the kernel gave up by itself
 * (unmovable pages). -EOPNOTSUPP: no hot-remove in this kernel. `stop` (may be NULL) is asked every
 * 100 ms by the watchdog, another thread: true interrupts, too: -ECANCELED.
 */
int stow_memblock_offline(struct stow_root *root, uint64_t id, uint64_t timeout,
			  bool (*stop)(void *ctx), void *ctx, struct stow_err *err);
/* Has a device let go of its memory, all of which is offline: ACPI's eject, dax's unbinding from
 * kmem. -EBUSY: something is online (for dax that would make the memory unremovable until the next
 * boot, so it is never tried). -EOPNOTSUPP: virtio-mem, which only its hypervisor shrinks. Returns
 * when its blocks are gone, or -ETIMEDOUT. */
int stow_memdev_eject(struct stow_root *root, const struct stow_memdev *device, uint64_t timeout,
		      struct stow_err *err);
