/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The memory map that the firmware gave to the kernel at boot (on x86: e820), from
 * /sys/firmware/memmap (Documentation/ABI/testing/sysfs-firmware-memmap). Every user can read it.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/root.h"

struct stow_memmap_region {
	uint64_t start, end; /* physical; `end` is the last byte */
	char type[40];	     /* "System RAM", "Reserved", ... */
	bool ram;
};

struct stow_memmap {
	struct stow_memmap_region *regions; /* by ascending start */
	size_t n_regions;
	size_t n_broken; /* entries that are incomplete or no numbers; they are left out */
};

/* Read the map; none on a machine that has no such folder. Free with stow_memmap_done(). -EACCES,
 * -ENOMEM. */
int stow_memmap_read(struct stow_root *root, struct stow_memmap *ret, struct stow_err *err);
void stow_memmap_done(struct stow_memmap *map);
