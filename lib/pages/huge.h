/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Which processes have hugepages of hugetlbfs mapped (mmap(2) with MAP_HUGETLB, shmget(2) with
 * SHM_HUGETLB, files in hugetlbfs), from HugetlbPages in /proc/PID/status and the mappings with
 * "huge" in /proc/PID/numa_maps. A page that several processes map counts for each of them.
 * Transparent hugepages are not among them.
 */

#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/root.h"

#define STOW_HUGE_PROCESSES 65536 /* processes that are looked at */

struct stow_huge_user {
	pid_t pid;
	char name[64]; /* of the program, harmless for terminals */
	uint64_t size; /* bytes per page */
	int node;
	uint64_t pages;
};

struct stow_huge_users {
	struct stow_huge_user *list; /* by pid, size and node */
	size_t n;
	size_t hidden;	/* processes with hugepages whose numa_maps cannot be read */
	uint64_t bytes; /* of the hidden ones */
};

/* Read all processes; those that end meanwhile are left out. */
int stow_huge_users_read(struct stow_root *root, struct stow_huge_users *ret, struct stow_err *err);
void stow_huge_users_done(struct stow_huge_users *users);
