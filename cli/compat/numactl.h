/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The parts of the command numactl. */

#include <stdint.h>

#include "cli/compat/compat.h"

/* --show: the policy of this process, and what it may use. Return the exit code. */
int numactl_show(const struct compat_task *task);
/* --hardware: the nodes of this machine. */
int numactl_hardware(const struct compat_task *task, bool compress);

/* A shared memory segment, or a file, whose policy is set. */
struct numactl_shm {
	bool attached;
	int fd; /* of the file */
	char *memory;
	uint64_t length, offset; /* bytes */
	size_t page;		 /* its page size */
	mode_t mode;
	int id;	   /* for ftok(3) */
	bool huge; /* a segment of hugepages */
	bool strict;
};

/* Attach a System V segment, by the key of a file, or a file; create what is missing. */
int numactl_attach_segment(struct numactl_shm *shm, const struct compat_task *task,
			   const char *key_file, struct stow_err *err);
int numactl_attach_file(struct numactl_shm *shm, const struct compat_task *task, const char *path,
			struct stow_err *err);
/* Set its policy. -EIO: with `strict`, and pages that are there already are on other nodes. */
int numactl_shm_policy(struct numactl_shm *shm, const struct compat_task *task, int mode,
		       const struct stow_idset *nodes, struct stow_err *err);
/* Touch every page. */
void numactl_touch(struct numactl_shm *shm);
/* Print the policies of its ranges, or the nodes of its pages. */
int numactl_dump(const struct numactl_shm *shm, struct stow_err *err);
int numactl_dump_nodes(const struct numactl_shm *shm, struct stow_err *err);
/* Check that each page has that policy, and is on one of its nodes. -EIO: one does not or is
 * not. */
int numactl_verify(const struct numactl_shm *shm, int mode, const struct stow_idset *nodes,
		   struct stow_err *err);
/* Unmap and close it. */
void numactl_shm_done(struct numactl_shm *shm);

/* Parse a size with a suffix k, m or g. */
int numactl_parse_size(const char *text, uint64_t *ret, struct stow_err *err);
