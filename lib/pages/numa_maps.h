/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Where the pages of a process are, by /proc/PID/numa_maps (numa(7)). */

#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

/* Bytes that the process maps on `nodes`, from its numa_maps. */
int stow_pages_mapped(struct stow_root *root, pid_t pid, const struct stow_idset *nodes,
		      uint64_t *ret_bytes, struct stow_err *err);

/* One line of numa_maps: the start of the mapping, its page size, and how many of its pages are on
 * `nodes`, and on others. -EINVAL: not such a line. */
struct stow_numa_map {
	uint64_t start, page_size; /* bytes */
	uint64_t pages, others;
};
int stow_numa_maps_line(const char *line, const struct stow_idset *nodes,
			struct stow_numa_map *ret);

/* The start and the end of a mapping, from a line of /proc/PID/maps. -EINVAL: not such a line. */
int stow_maps_line(const char *line, uint64_t *ret_start, uint64_t *ret_end);

/* Reads a process's numa_maps (or, with that name, maps) line by line: open, next, close. -ESRCH:
 * it has ended. The next line is the next that has pages on `nodes`: 1, or 0 at the end. */
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
