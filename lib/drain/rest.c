// SPDX-License-Identifier: Apache-2.0
/* What stays online of the devices that a drain's blocks belong to: a device with any online memory
 * cannot be removed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/parse.h"
#include "drain/internal.h"

static void add_text(struct stow_drain_rest *rest, const char *name, uint64_t bytes)
{
	size_t len = strlen(rest->text);
	char size[32];

	snprintf(rest->text + len, sizeof(rest->text) - len, "%s%s of %s", len ? ", " : "",
		 stow_format_size(bytes, size, sizeof(size)), name);
}

/* Return whether the device is `name`, or one of the blocks belongs to it. */
static bool is_device_of(const struct stow_memblocks *all, size_t device, const uint64_t *ids,
			 size_t n, const char *name)
{
	if (name && strcmp(all->devices[device].name, name) == 0)
		return true;
	for (size_t i = 0; i < n; i++) {
		const struct stow_memblock *block = stow_memblocks_find(all, ids[i]);

		if (block && block->device >= 0 && (size_t)block->device == device)
			return true;
	}
	return false;
}

/* Sum the device's memory that is not offline, without the blocks `ids`. */
static uint64_t online_of(const struct stow_memblocks *all, size_t device, const uint64_t *ids,
			  size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < all->n_blocks; i++)
		if (all->blocks[i].device >= 0 && (size_t)all->blocks[i].device == device &&
		    all->blocks[i].state != STOW_MEMBLOCK_OFFLINE &&
		    !stow_idlist_has(ids, n, all->blocks[i].id))
			bytes += all->block_size;
	return bytes;
}

void stow_drain_rest(const struct stow_memblocks *all, const uint64_t *ids, size_t n,
		     const char *device, bool without, struct stow_drain_rest *ret)
{
	struct stow_drain_rest rest = { .shrinkable = true };

	for (size_t i = 0; i < n; i++) {
		const struct stow_memblock *block = stow_memblocks_find(all, ids[i]);

		rest.other |= block && block->device < 0;
	}
	for (size_t d = 0; d < all->n_devices; d++) {
		uint64_t bytes;

		if (!is_device_of(all, d, ids, n, device))
			continue;
		bytes = online_of(all, d, ids, without ? n : 0);
		rest.n_devices++;
		rest.bytes += bytes;
		rest.shrinkable &= all->devices[d].kind == STOW_MEMDEV_VIRTIO;
		if (bytes)
			add_text(&rest, all->devices[d].name, bytes);
	}
	rest.shrinkable &= rest.n_devices > 0;
	*ret = rest;
}
