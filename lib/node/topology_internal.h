/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Declarations shared by the files that read the topology. */

#include <errno.h>

#include "node/topology.h"

/* Return whether a file does not exist, or went with its CPU or node while it was read: then its
 * content is assumed. A file that exists and cannot be read is an error. */
static inline bool stow_is_missing(int r)
{
	return r == -ENOENT || r == -ENOTDIR || r == -ENODEV;
}

/* Read a file with a mask of CPUs in hexadecimal. -EINVAL: it has none; -ERANGE: a number is
 * STOW_IDSET_MAX or above. */
int stow_mask_read(struct stow_root *root, const char *path, struct stow_idset *ret,
		   struct stow_err *err);

/* Record that `what` (of enum stow_topology_assumed) of a node is assumed. */
void stow_topology_assume(struct stow_topology *topology, int node, unsigned int what);

/* Read `cpus` of a topology whose nodes have been read. */
int stow_topology_read_cpus(struct stow_root *root, struct stow_topology *topology,
			    struct stow_err *err);
