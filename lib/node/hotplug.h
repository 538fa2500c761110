/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Taking memory offline, bringing it online, and ejecting a device. */

#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "base/root.h"
#include "node/memblock.h"

enum stow_memblock_zone { STOW_ZONE_DEFAULT, STOW_ZONE_KERNEL, STOW_ZONE_MOVABLE };

#define STOW_ONLINE_TIMEOUT (60 * STOW_SECOND)

/* Bring a block online. Return 1 when done, or 0 when it was online already or another program was
 * faster. -ETIMEDOUT: another program's attempt to take memory offline did not end within
 * STOW_ONLINE_TIMEOUT. -EBUSY and others: the kernel's error, confirmed by reading back. */
int stow_memblock_online(struct stow_root *root, uint64_t id, enum stow_memblock_zone zone,
			 struct stow_err *err);
/*
 * Take a block offline. The kernel retries for ever when a page is pinned, and all memory and CPU
 * hotplug of the machine waits for it. So the write is interrupted after `timeout` ns, by a signal
 * (SIGRTMAX, whose handler does nothing; the first call installs it). Return 1 when done, 0 when it
 * was offline already. -ETIMEDOUT: interrupted; the block is online as before. -EBUSY: the kernel
 * gave up by itself (unmovable pages). -EOPNOTSUPP: this kernel has no hot-remove. `stop` (may be
 * NULL) is called every 100 ms by a second thread, the watchdog; true interrupts, too: -ECANCELED.
 */
int stow_memblock_offline(struct stow_root *root, uint64_t id, uint64_t timeout,
			  bool (*stop)(void *ctx), void *ctx, struct stow_err *err);
/* Make a device release its memory, all of which is offline: by ACPI's eject, or by unbinding a dax
 * device from kmem. Return when its blocks are gone, or -ETIMEDOUT. -EBUSY: some of it is online
 * (for dax, unbinding would then make the memory unremovable until the next boot, so it is not
 * tried). -EOPNOTSUPP: virtio-mem, which only its hypervisor shrinks. */
int stow_memdev_eject(struct stow_root *root, const struct stow_memdev *device, uint64_t timeout,
		      struct stow_err *err);
