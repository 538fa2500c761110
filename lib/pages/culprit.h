/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Culprits and suspects: what keeps a memory block from going offline.
 *
 * Before a try there are only suspects: processes that have pinned or locked memory (VmPin, VmLck),
 * or have something open that pins memory (vfio, io_uring, RDMA). After a failed try the kernel's
 * log names page frames ("migrating pfn 1a2b3 failed"); /proc/kpagecgroup, kpageflags and the
 * processes' pagemaps lead from these to container, process and file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "pages/owners.h"

struct stow_culprit {
	uint64_t pfn; /* the first page frame; 0 for a suspect */
	uint64_t pages;
	enum stow_page_kind kind;
	bool proven;
	uint64_t inode;	 /* memory cgroup of a suspect; 0: several, or none */
	char *blocks;	 /* blocks with its pages, in list format; NULL: the block of `pfn` */
	char *cgroup;	 /* path of the memory cgroup, "" when it has none */
	char *container; /* id, from the path; "" */
	pid_t pid;	 /* 0: unknown */
	char *program;	 /* comm of that process, "" */
	char *file;	 /* what is mapped there: a path, "[heap]", "/memfd:x", "" */
	char *reason;	 /* what holds it, one line */
	char *advice;	 /* what to do about it, one line */
};

struct stow_culprits {
	struct stow_culprit *list;
	size_t n;
};

void stow_culprits_done(struct stow_culprits *culprits);
/* Format one line: `page 0x1a2b3 (anonymous) of container 4c1f..., process 812 "pinner": pinned
 * ...` */
const char *stow_culprit_format(const struct stow_culprit *culprit, char *buf, size_t size);

/* Find the culprits for page frames. Pages of one kind and one process (or cgroup) are one
 * culprit. */
int stow_culprits_prove(struct stow_root *root, const uint64_t *pfns, size_t n,
			struct stow_culprits *ret, struct stow_err *err);

/* After a try that ended before the kernel logged anything: look at the pages left in [first, end)
 * that can normally move. Up to STOW_LEFT_MOST such pages are suspects, found as above; when there
 * are more, the kernel was still working, and only *ret_pages is set. */
#define STOW_LEFT_MOST 64
int stow_culprits_left(struct stow_root *root, uint64_t first, uint64_t end,
		       struct stow_culprits *ret, uint64_t *ret_pages, struct stow_err *err);

/* Find suspects among the processes of the cgroups that own pages in `use`, and unmovable pages by
 * kind. */
int stow_culprits_suspect(struct stow_root *root, const struct stow_block_use *use,
			  struct stow_culprits *ret, struct stow_err *err);
