/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Hugepages of the whole machine, and what an administrator does with them: reservations and
 * overcommit, which the kernel does not keep by node; splitting hugepages; hugetlbfs; and pools
 * that are set at boot.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/math.h" /* STOW_UNKNOWN */
#include "base/root.h"
#include "node/hugepage.h"

/* The machine's pool of one size, in pages; each may be STOW_UNKNOWN. */
struct stow_hugetlb {
	uint64_t size; /* bytes per page */
	uint64_t total, free, surplus;
	uint64_t reserved;   /* promised by mmap(2), and not touched yet */
	uint64_t overcommit; /* surplus pages that may be allocated on demand */
	uint64_t split_size; /* bytes: what a page is split into; 0: pages cannot be split */
};

void stow_hugetlb_read(struct stow_root *root, uint64_t size, struct stow_hugetlb *ret);

/* Split `pages` free hugepages of a node into the machine's split_size: one write to `demote`,
 * since Linux 5.16. The kernel splits what it can: read the pools back. The caller holds the locks
 * of both pools. -EOPNOTSUPP: pages of this size cannot be split. */
int stow_hugetlb_split(struct stow_root *root, int node, uint64_t size, uint64_t pages,
		       struct stow_err *err);

/* --- hugetlbfs ---------------------------------------------------------------------------- */

struct stow_hugetlbfs {
	char *path;
	uint64_t page_size; /* bytes; STOW_UNKNOWN: not among the options */
	uint64_t limit;	    /* bytes; STOW_UNKNOWN: none */
	bool read_only;
};

struct stow_hugetlbfs_list {
	struct stow_hugetlbfs *list;
	size_t n;
};

/* Read the mounts of hugetlbfs from /proc/self/mounts. A missing file gives none. */
int stow_hugetlbfs_read(struct stow_root *root, struct stow_hugetlbfs_list *ret,
			struct stow_err *err);
void stow_hugetlbfs_done(struct stow_hugetlbfs_list *mounts);
/* Parse one line of /proc/self/mounts. Return 1, 0 for another file system, or -ENOMEM. */
int stow_hugetlbfs_line(const char *line, size_t len, struct stow_hugetlbfs *ret);

/* Sum what the files of a mount hold, in bytes. -EOVERFLOW: there are more than 4096 files, or
 * folders deeper than 8. */
int stow_hugetlbfs_used(struct stow_root *root, const struct stow_hugetlbfs *mount,
			uint64_t *ret_bytes, struct stow_err *err);
/* Mount hugetlbfs for one page size at `path`, an existing folder; `limit` in bytes, 0: none. */
int stow_hugetlbfs_mount(struct stow_root *root, const char *path, uint64_t page_size,
			 uint64_t limit, struct stow_err *err);

/* --- at boot ------------------------------------------------------------------------------ */

#define STOW_HUGEBOOT_UNIT "numastow-hugepages.service"
#define STOW_HUGEBOOT_FILE "/etc/systemd/system/" STOW_HUGEBOOT_UNIT
#define STOW_HUGEBOOT_WANT "/etc/systemd/system/sysinit.target.wants/" STOW_HUGEBOOT_UNIT

/* A pool that is set at boot. */
struct stow_hugeboot {
	int node;
	uint64_t size, pages;
};

struct stow_hugeboot_list {
	struct stow_hugeboot *list; /* by size, then by node */
	size_t n;
};

/* Read the pools that the unit sets; without a unit none. -EUCLEAN: a file of that name is not
 * numastow's. */
int stow_hugeboot_read(struct stow_root *root, struct stow_hugeboot_list *ret,
		       struct stow_err *err);
void stow_hugeboot_done(struct stow_hugeboot_list *boot);
/* Set one pool of the list; 0 pages remove it. -ENOMEM. */
int stow_hugeboot_set(struct stow_hugeboot_list *boot, int node, uint64_t size, uint64_t pages,
		      struct stow_err *err);
/* Write the unit, and let sysinit.target want it; remove both when the list is empty. The unit
 * fails, and says for which pool, when the kernel gives less. */
int stow_hugeboot_write(struct stow_root *root, const struct stow_hugeboot_list *boot,
			struct stow_err *err);
/* Return the kernel parameters that do the same, as in "hugepagesz=1G hugepages=0:2,1:2", which
 * the caller frees; NULL: out of memory. */
char *stow_hugeboot_parameters(const struct stow_hugeboot_list *boot);
