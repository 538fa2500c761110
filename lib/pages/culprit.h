/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Who keeps a memory block from going offline.
 *
 * Before a try there is only suspicion: a process has pinned or locked memory (VmPin, VmLck), or
 * has what pins memory open (vfio, io_uring, RDMA). After a failed try the kernel's log names page
 * frames
 * ("migrating pfn 1a2b3 failed"), and /proc/kpagecgroup, kpageflags and the processes' pagemaps
 * lead from there to container, process and file.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "pages/owners.h"

struct stow_culprit {
	uint64_t pfn; /* the first, or 0 for a suspect */
	uint64_t pages;
	enum stow_page_kind kind;
	bool proven;
	uint64_t inode; /* of a suspect's memory cgroup; 0: of several, or of none */
	char *blocks;	/* memory blocks that have its pages, in list format; NULL: that of `pfn` */
	char *cgroup;	/* path of the memory cgroup, "" when it has none */
	char *container; /* its id by the path, "" */
	pid_t pid;	 /* 0: not known */
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
static inline void stow_culprits_done_ptr(struct stow_culprits *culprits)
{
	stow_culprits_done(culprits);
}

/* One line: `page 0x1a2b3 (anonymous) of container 4c1f..., process 812 "pinner": pinned ...` */
const char *stow_culprit_format(const struct stow_culprit *culprit, char *buf, size_t size);

/* From page frames to who has them: pages of one process (or cgroup) and kind are one culprit. */
int stow_culprits_prove(struct stow_root *root, const uint64_t *pfns, size_t n,
			struct stow_culprits *ret, struct stow_err *err);

/* After a try that ended before the log had a word: what is left in [first, end) that moves
 * otherwise. With at most STOW_LEFT_MOST such pages these are suspects, found as above; with more
 * the kernel was still at work, and only *ret_pages says how many. */
#define STOW_LEFT_MOST 64
int stow_culprits_left(struct stow_root *root, uint64_t first, uint64_t end,
		       struct stow_culprits *ret, uint64_t *ret_pages, struct stow_err *err);

/* Suspects among processes of the cgroups with these inodes (of `use`'s owners), and unmovable
 * pages by kind. */
int stow_culprits_suspect(struct stow_root *root, const struct stow_block_use *use,
			  struct stow_culprits *ret, struct stow_err *err);
