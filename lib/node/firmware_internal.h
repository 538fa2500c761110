/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by the files that compare the firmware's tables with the kernel. */

#include "node/firmware.h"

/* A comparison under way: everything that the steps need. */
struct stow_comparison {
	struct stow_root *root;
	const struct stow_firmware_kernel *kernel;
	struct stow_firmware *f;
	int *domain_of_node; /* index in f->domains for each node id; -1: none */
	bool oom;
};

/* Record a finding. Out of memory is recorded in `oom`. */
void stow_firmware_note(struct stow_comparison *c, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Find the kernel's CPU of each CPU of the table, and the node of each domain and range. */
int stow_firmware_match(struct stow_comparison *c, struct stow_err *err);

/* Find the memory blocks of a range: the bytes of each node id in `bytes` (STOW_IDSET_MAX
 * elements, added to) when `bytes` is not NULL, of blocks that are wholly in it. Return the node of
 * these blocks, or of the block that has all of the range; -1: none, or several. */
int stow_firmware_node_of(const struct stow_memblocks *blocks, uint64_t start, uint64_t size,
			  uint64_t *bytes);

/* Compare tables and kernel, and record findings. */
void stow_firmware_check(struct stow_comparison *c);
