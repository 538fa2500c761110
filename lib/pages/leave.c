// SPDX-License-Identifier: Apache-2.0
#include "pages/leave.h"

#include <stdio.h>
#include <string.h>

static bool is_in_zone(const struct stow_memblock *block, const char *zone)
{
	return strcmp(block->zones, zone) == 0;
}

/* Return whether the block is boot memory outside of zone Movable. Boot memory can leave only from
 * zone Movable, if the kernel was started with that (kernelcore=, movable_node). On s390, memory
 * comes in increments that go back to the hypervisor when they are offline, whether or not they
 * came with the machine. */
static bool is_boot_memory(const struct stow_memblocks *all, const struct stow_memblock *block)
{
	return block->device < 0 && !all->increments && !is_in_zone(block, "Movable");
}

const char *stow_leave_name(enum stow_leave can)
{
	static const char *const names[] = { "yes", "no", "unknown" };

	return names[can];
}

bool stow_leave_needs_use(const struct stow_memblocks *all, const struct stow_memblock *block)
{
	return block->state == STOW_MEMBLOCK_ONLINE && !is_boot_memory(all, block) &&
	       !is_in_zone(block, "Movable") && !is_in_zone(block, "none");
}

static struct stow_leave_verdict check_contents(const struct stow_block_use *use)
{
	struct stow_leave_verdict v = { .can = STOW_LEAVE_YES };
	size_t len = 0;

	for (int kind = 0; kind < STOW_PAGE_KINDS; kind++)
		/* Free pages on the CPUs' lists look like the kernel's. */
		if (use->pages[kind] && kind != STOW_PAGE_KERNEL && len < sizeof(v.why) &&
		    !stow_page_kind_moves((enum stow_page_kind)kind))
			len += (size_t)snprintf(v.why + len, sizeof(v.why) - len, "%s%s",
						len ? ", " : "",
						stow_page_kind_name((enum stow_page_kind)kind));
	if (len) {
		v.can = STOW_LEAVE_NO;
		v.cause = STOW_LEAVE_KEPT;
	} else if (use->pages[STOW_PAGE_KERNEL]) {
		v.can = STOW_LEAVE_UNKNOWN;
		v.cause = STOW_LEAVE_KEPT;
		snprintf(v.why, sizeof(v.why), "the kernel's, or free on a CPU's list");
	}
	return v;
}

struct stow_leave_verdict stow_leave_check(const struct stow_memblocks *all,
					   const struct stow_memblock *block,
					   const struct stow_block_use *use)
{
	if (block->state == STOW_MEMBLOCK_OFFLINE)
		return (struct stow_leave_verdict){ .can = STOW_LEAVE_YES };
	if (is_boot_memory(all, block))
		return (struct stow_leave_verdict){ .can = STOW_LEAVE_NO,
						    .cause = STOW_LEAVE_BOOT,
						    .why = "boot memory" };
	if (block->state != STOW_MEMBLOCK_ONLINE)
		return (struct stow_leave_verdict){ .can = STOW_LEAVE_UNKNOWN };
	if (is_in_zone(block, "none"))
		return (struct stow_leave_verdict){ .can = STOW_LEAVE_NO,
						    .cause = STOW_LEAVE_SPANS,
						    .why = "several zones, or holes" };
	if (!stow_leave_needs_use(all, block))
		return (struct stow_leave_verdict){ .can = STOW_LEAVE_YES };
	return use ? check_contents(use) : (struct stow_leave_verdict){ .can = STOW_LEAVE_UNKNOWN };
}

bool stow_leave_is_at_risk(const struct stow_memblock *block)
{
	return block->device >= 0 && block->state == STOW_MEMBLOCK_ONLINE && block->zones[0] &&
	       !is_in_zone(block, "Movable") && !is_in_zone(block, "none");
}
