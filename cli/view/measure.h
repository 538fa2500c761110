/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Latency and bandwidth of memory, measured: from the CPUs of one node to the memory of another.
 *
 * Latency: loads that depend on each other, over one random cycle through all cache lines of a
 * buffer that no cache holds; the prefetcher would hide it from any other order. The thread is
 * pinned, the memory is bound with mbind(2), and both its node and its page size are verified: with
 * 4 KiB pages the same loads take 1.7 times as long as with 2 MiB pages, as much as a far node.
 *
 * Bandwidth: one thread per core, each on a part of the buffer; sequential wide loads, then two
 * loads for each non-temporal store. Bytes that the program asked for, in 10^6 per second, as the
 * HMAT has them.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/idset.h"
#include "base/root.h"

#define MEASURE_RUNS_MAX 100

struct measure_options {
	uint64_t size;	   /* bytes of the buffer */
	uint64_t time;	   /* ns of one run */
	unsigned int runs; /* of which the first, which warms up, is not counted in */
	size_t line;	   /* bytes of a cache line */
};

/* The runs of one measurement. */
struct measure_result {
	bool known;
	double best, median; /* ns per load, or MB/s */
	bool spread;	     /* more than 10 % between the best and the median run */
};

struct measure_memory {
	void *memory;
	size_t size;
	bool huge; /* all of it is in 2 MiB pages */
};

/* Map a buffer on a node: with `huge` in transparent 2 MiB pages, else in 4 KiB pages, all of them
 * present. -ENOTSUP: the kernel gave other pages; -EXDEV: pages are on another node. */
int measure_map(struct stow_root *root, int node, size_t size, bool huge,
		struct measure_memory *ret, struct stow_err *err);
void measure_unmap(struct measure_memory *memory);

/* Measure from `cpu`, which the calling thread is pinned to until the end of the call. */
int measure_latency(const struct measure_options *options, const struct measure_memory *memory,
		    int cpu, struct measure_result *ret, struct stow_err *err);
/* Measure from one thread on each of the CPUs. `stores`: with a non-temporal store for two loads. */
int measure_bandwidth(const struct measure_options *options, const struct measure_memory *memory,
		      const struct stow_idset *cpus, bool stores, struct measure_result *ret,
		      struct stow_err *err);

/* Reduce the values of the runs: sorts them. `most`: the largest is the best. */
void measure_reduce(double *values, size_t n, bool most, struct measure_result *ret);

/* Make one random cycle through `n` elements (Sattolo's algorithm): next[i] is the element after
 * i. `seed` is not 0. */
void measure_cycle(uint32_t *next, uint32_t n, uint64_t seed);
