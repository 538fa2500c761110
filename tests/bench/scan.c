// SPDX-License-Identifier: Apache-2.0
/*
 * Measures how long it takes to find what is in all online memory blocks, against a bare loop that
 * only reads the kernel's files on the same page frames; in turn, as the median of several.
 *
 *	scan [RUNS]
 *
 * Prints one line for each: name, median in ns, minimum, bytes of memory. When the machine lacks
 * something, exits with code 3 and one line on standard error.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/idlist.h"
#include "pages/owners.h"

#define RUNS_MAX 1000
#define WINDOW	 32768 /* page frames: 256 KiB */
#define FILES	 3

static const char *const files[FILES] = { "/proc/kpageflags", "/proc/kpagecgroup",
					  "/proc/kpagecount" };

static int fail_missing(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	return 3;
}

/* Read the first `n_files` of the files on all blocks, and do nothing with it. */
static void bare_loop(const uint64_t *ids, size_t n, uint64_t per_block, int n_files)
{
	_cleanup_free_ uint64_t *words = malloc(WINDOW * sizeof(*words));
	int fds[FILES];

	if (!words)
		exit(1);
	for (int f = 0; f < n_files; f++)
		fds[f] = open(files[f], O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; i < n; i++)
		for (uint64_t at = ids[i] * per_block; at < (ids[i] + 1) * per_block; at += WINDOW)
			for (int f = 0; f < n_files; f++)
				if (pread(fds[f], words, WINDOW * sizeof(*words), (off_t)(at * 8)) <
				    0)
					exit(fail_missing(files[f], strerror(errno)));
	for (int f = 0; f < n_files; f++)
		close(fds[f]);
}

static void ours(struct stow_root *root, const struct stow_memblocks *blocks, const uint64_t *ids,
		 size_t n)
{
	_cleanup_(stow_use_done) struct stow_use use = { 0 };
	struct stow_err err = { 0 };

	if (stow_use_read(root, blocks, ids, n, &use, &err) < 0)
		exit(fail_missing("scan", err.msg));
}

static void print(const char *name, uint64_t *ns, int runs, uint64_t bytes)
{
	stow_idlist_sort(ns, (size_t)runs);
	printf("%s\t%llu\t%llu\t%llu\n", name, (unsigned long long)ns[runs / 2],
	       (unsigned long long)ns[0], (unsigned long long)bytes);
}

int main(int argc, char **argv)
{
	static uint64_t ns[3][RUNS_MAX];
	_cleanup_(stow_memblocks_done) struct stow_memblocks blocks = { 0 };
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_free_ uint64_t *ids = NULL;
	int runs = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 11;
	struct stow_err err = { 0 };
	uint64_t per_block;
	size_t n = 0;

	if (runs < 1 || runs > RUNS_MAX)
		return fail_missing("scan", "RUNS is 1 to 1000");
	for (int f = 0; f < FILES; f++)
		if (access(files[f], R_OK) < 0)
			return fail_missing(files[f], strerror(errno));
	if (stow_root_open("/", &root, &err) < 0 || stow_memblocks_read(root, 0, &blocks, &err) < 0)
		return fail_missing("scan", err.msg);
	ids = calloc(blocks.n_blocks + 1, sizeof(*ids));
	for (size_t i = 0; ids && i < blocks.n_blocks; i++)
		if (blocks.blocks[i].state == STOW_MEMBLOCK_ONLINE)
			ids[n++] = blocks.blocks[i].id;
	if (!n)
		return fail_missing("/sys/devices/system/memory",
				    "this machine has no memory blocks");
	per_block = blocks.block_size / (uint64_t)sysconf(_SC_PAGESIZE);
	for (int i = -1; i < runs; i++) { /* the first run is not counted */
		uint64_t t[4];

		t[0] = stow_clock_monotonic();
		bare_loop(ids, n, per_block, FILES);
		t[1] = stow_clock_monotonic();
		bare_loop(ids, n, per_block, 2);
		t[2] = stow_clock_monotonic();
		ours(root, &blocks, ids, n);
		t[3] = stow_clock_monotonic();
		for (int what = 0; i >= 0 && what < 3; what++)
			ns[what][i] = t[what + 1] - t[what];
	}
	print("the three files, read", ns[0], runs, n * blocks.block_size);
	print("kpageflags and kpagecgroup, read", ns[1], runs, n * blocks.block_size);
	print("who is in all blocks", ns[2], runs, n * blocks.block_size);
	return 0;
}
