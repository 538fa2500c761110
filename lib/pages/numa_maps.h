/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* On which nodes a process has its pages, from /proc/PID/numa_maps (numa(7)). */

#include <stdbool.h>
#include <stddef.h>
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

/* Read the start and the end of a mapping at the beginning of a line of /proc/PID/maps, and move
 * *line behind them. False, with *line somewhere in the line: not such a line. */
bool stow_maps_scan(const char **line, uint64_t *ret_start, uint64_t *ret_end);

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

/* --- where all pages of a process are ------------------------------------- */

/* As numastat(8) divides them: by a word in the mapping's line, and what has none is private. */
enum stow_pages_kind {
	STOW_PAGES_HUGE, /* of hugetlbfs */
	STOW_PAGES_HEAP,
	STOW_PAGES_STACK,
	STOW_PAGES_PRIVATE,
	STOW_PAGES_KINDS,
};

/* In bytes. */
struct stow_node_pages {
	uint64_t kinds[STOW_PAGES_KINDS];
	/* Parts of what is private, which may overlap: mappings of a file (shared memory is one),
	 * and mappings with a page that other processes have mapped, too (mapmax). */
	uint64_t file, shared;
};

struct stow_process_pages {
	struct stow_node_pages *nodes; /* by node number */
	size_t n_nodes;
	uint64_t other_lines; /* that are not as the kernel writes them */
};

/* Add the pages of one line of numa_maps, without its newline. -EINVAL: not such a line;
 * -ENOMEM. */
int stow_process_pages_add(const char *line, size_t len, struct stow_process_pages *pages);

/* Read a process's numa_maps, which locks its memory map: 7 ms per GiB of small pages. -ESRCH: the
 * process has ended; -EACCES: it belongs to another user. */
int stow_process_pages_read(struct stow_root *root, pid_t pid, struct stow_process_pages *ret,
			    struct stow_err *err);
void stow_process_pages_done(struct stow_process_pages *pages);

/* Return the sum of all kinds on a node. */
uint64_t stow_process_pages_on(const struct stow_process_pages *pages, int node);
