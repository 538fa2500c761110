// SPDX-License-Identifier: Apache-2.0
#include "pages/kind.h"

static const char *const kind_names[STOW_PAGE_KINDS] = {
	[STOW_PAGE_FREE] = "free",	 [STOW_PAGE_ANON] = "anonymous",
	[STOW_PAGE_FILE] = "file",	 [STOW_PAGE_HUGETLB] = "hugetlb",
	[STOW_PAGE_SLAB] = "slab",	 [STOW_PAGE_TABLE] = "page-table",
	[STOW_PAGE_KERNEL] = "kernel",	 [STOW_PAGE_RESERVED] = "reserved",
	[STOW_PAGE_OFFLINE] = "offline",
};

const char *stow_page_kind_name(enum stow_page_kind kind)
{
	return kind < STOW_PAGE_KINDS ? kind_names[kind] : "unknown";
}

bool stow_page_kind_moves(enum stow_page_kind kind)
{
	return kind <= STOW_PAGE_HUGETLB || kind == STOW_PAGE_OFFLINE;
}
