/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What a page of memory is used for, and whether the kernel can move it away. */

#include <stdbool.h>

enum stow_page_kind {
	STOW_PAGE_FREE,	   /* in the buddy allocator */
	STOW_PAGE_ANON,	   /* anonymous, swap-backed: also tmpfs and shared memory */
	STOW_PAGE_FILE,	   /* page cache */
	STOW_PAGE_HUGETLB, /* hugepages of a pool */
	STOW_PAGE_SLAB,
	STOW_PAGE_TABLE,    /* page tables */
	STOW_PAGE_KERNEL,   /* other use by the kernel */
	STOW_PAGE_RESERVED, /* PG_reserved: the kernel's image, memmap, firmware */
	STOW_PAGE_OFFLINE,  /* logically offline (balloon, virtio-mem), poisoned, or no page */
	STOW_PAGE_KINDS,
};

/* Return "free", "anonymous", "file", "hugetlb", "slab", "page-table", "kernel", "reserved" or
 * "offline". */
const char *stow_page_kind_name(enum stow_page_kind kind);

/* Return whether the kernel can move such a page away (or does not have to). */
bool stow_page_kind_moves(enum stow_page_kind kind);
