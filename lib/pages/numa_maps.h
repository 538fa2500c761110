/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* On which nodes a process has its pages, from /proc/PID/numa_maps (numa(7)). */

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

/* Sum the bytes that the process maps on `nodes`. */
int stow_pages_mapped(struct stow_root *root, pid_t pid, const struct stow_idset *nodes,
		      uint64_t *ret_bytes, struct stow_err *err);

/* Parse one line of numa_maps: the start of the mapping, its page size, and how many of its pages
 * are on `nodes`, and on other nodes. -EINVAL: not such a line. */
struct stow_numa_map {
	uint64_t start, page_size; /* bytes */
	uint64_t pages, others;
};
int stow_numa_maps_line(const char *line, const struct stow_idset *nodes,
			struct stow_numa_map *ret);

/* Parse the start and the end of a mapping from a line of /proc/PID/maps. -EINVAL: not such a
 * line. */
int stow_maps_line(const char *line, uint64_t *ret_start, uint64_t *ret_end);

/* Read a process's numa_maps (or, with that name, maps) line by line: open, next, close. -ESRCH:
 * the process has ended. stow_numa_maps_next() returns 1 with the next mapping that has pages on
 * `nodes`, or 0 at the end. */
struct stow_numa_maps {
	FILE *file;
	char *line;
	size_t size;
};
int stow_numa_maps_open(struct stow_root *root, pid_t pid, const char *name,
			struct stow_numa_maps *ret, struct stow_err *err);
int stow_numa_maps_next(struct stow_numa_maps *maps, const struct stow_idset *nodes,
			struct stow_numa_map *ret);
void stow_numa_maps_close(struct stow_numa_maps *maps);
