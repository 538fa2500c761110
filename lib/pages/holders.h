/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* From page frames and memory cgroups to processes. For culprit.c. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"
#include "pages/kind.h"

/* A page frame, and who has it. */
struct stow_frame {
	uint64_t pfn;
	enum stow_page_kind kind;
	const char *cgroup; /* path; NULL: none */
	pid_t pid;	    /* that maps it; 0: nobody was found */
	bool pins;	    /* and has something open that pins memory: no other will do better */
	char file[256];	    /* what is mapped there */
};

/* The processes whose memory the cgroup at `path` is charged for: its own, and those of cgroups
 * below that have no memory controller. Of one that is gone: none. */
int stow_memcg_pids(struct stow_root *root, const char *path, pid_t **ret_pids, size_t *ret_n,
		    struct stow_err *err);
/* All processes. */
int stow_all_pids(struct stow_root *root, pid_t **ret_pids, size_t *ret_n, struct stow_err *err);

/*
 * Looks for the frames, which are by ascending number, in the memory of these processes, and notes
 * who maps them. `budget` is how many pages to look at yet, mapped or not: a program may reserve
 * terabytes. What it does not reach stays unknown.
 */
int stow_frames_find(struct stow_root *root, struct stow_frame *frames, size_t n, const pid_t *pids,
		     size_t n_pids, uint64_t *budget, struct stow_err *err);
