/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Finding the processes of memory cgroups and page frames. For culprit.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "pages/kind.h"

/* A page frame, and the process that maps it. */
struct stow_frame {
	uint64_t pfn;
	enum stow_page_kind kind;
	const char *cgroup; /* path; NULL: none */
	pid_t pid;	    /* a process that maps it; 0: none was found */
	bool pins;	    /* the process has something open that pins memory: search no further */
	char file[256];	    /* what is mapped there */
};

/* List the processes whose memory is charged to the cgroup at `path`: its own, and those of cgroups
 * below without a memory controller. None for a cgroup that is gone. */
int stow_memcg_pids(struct stow_root *root, const char *path, pid_t **ret_pids, size_t *ret_n,
		    struct stow_err *err);
/* List all processes. */
int stow_all_pids(struct stow_root *root, pid_t **ret_pids, size_t *ret_n, struct stow_err *err);

/*
 * Search the memory of these processes for the frames, which are in ascending order, and record
 * which process maps each. `budget`: how many more pages to visit, mapped or not, because a program
 * may reserve terabytes. Frames beyond the budget stay unknown.
 */
int stow_frames_find(struct stow_root *root, struct stow_frame *frames, size_t n, const pid_t *pids,
		     size_t n_pids, uint64_t *budget, struct stow_err *err);
