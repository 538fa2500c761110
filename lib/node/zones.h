/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Memory zones: /proc/zoneinfo and /proc/buddyinfo as the kernel shows them (mm/vmstat.c). How the
 * numbers come about is in node/watermarks.h.
 *
 * All amounts are in pages; STOW_UNKNOWN: the kernel does not show it. The parsers are pure
 * functions over a text that need not be terminated.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/math.h"
#include "base/root.h"

#define STOW_ZONES_MAX	16 /* zones of a node; kernels have 2 to 6 */
#define STOW_ORDERS_MAX 32 /* sizes of free blocks; x86 and most others have 11 */
#define STOW_ZONE_NAME	16

/* In the order of /proc/zoneinfo. Min, low, high and promo contain the boost. */
enum stow_zone_amount {
	STOW_ZONE_FREE,
	STOW_ZONE_BOOST,
	STOW_ZONE_MIN,
	STOW_ZONE_LOW,
	STOW_ZONE_HIGH,
	STOW_ZONE_PROMO, /* not in Linux 6.1 */
	STOW_ZONE_SPANNED,
	STOW_ZONE_PRESENT,
	STOW_ZONE_MANAGED,
	STOW_ZONE_CMA,
	STOW_ZONE_AMOUNTS,
};

/* A CPU's page list of a zone. */
enum stow_zone_list {
	STOW_LIST_COUNT,
	STOW_LIST_HIGH,
	STOW_LIST_BATCH,
	STOW_LIST_HIGH_MIN, /* these two are not in Linux 6.12 */
	STOW_LIST_HIGH_MAX,
	STOW_LIST_AMOUNTS,
};

struct stow_zone_cpu {
	int cpu;
	uint64_t amounts[STOW_LIST_AMOUNTS];
};

struct stow_zone {
	int node;
	unsigned int index;	   /* within the node, as in lowmem_reserve_ratio */
	char name[STOW_ZONE_NAME]; /* printable ASCII */
	uint64_t amounts[STOW_ZONE_AMOUNTS];
	uint64_t protection[STOW_ZONES_MAX];
	unsigned int n_protection;
	uint64_t start_pfn;
	uint64_t unreclaimable; /* 1: reclaim has given up on the node */

	/* Of the zone; since Linux 4.8 (file) and 4.14 (slab) of the whole node, under its first
	 * zone. */
	uint64_t file;	      /* on the file LRU lists, active and inactive */
	uint64_t reclaimable; /* slab and other kernel memory that can be reclaimed */

	/* The page lists of all CPUs: their sums, and each CPU's if that was asked for. */
	size_t n_cpus;
	uint64_t lists[STOW_LIST_AMOUNTS];
	struct stow_zone_cpu *cpus;

	uint64_t blocks[STOW_ORDERS_MAX]; /* free blocks of 2^order pages, from buddyinfo */
	unsigned int n_orders;		  /* 0: not known */
};

struct stow_zones {
	struct stow_zone *list; /* in the kernel's order: by node */
	size_t n;
};

void stow_zones_done(struct stow_zones *zones);

/* Parse /proc/zoneinfo; `cpus`: with the lists of each CPU. -EINVAL: not a zoneinfo, or a needed
 * line has no number; -ERANGE: an impossible number. */
int stow_zones_parse(const char *text, size_t len, bool cpus, struct stow_zones *ret,
		     struct stow_err *err);
int stow_zones_read(struct stow_root *root, bool cpus, struct stow_zones *ret,
		    struct stow_err *err);

/* Add the free blocks of /proc/buddyinfo, and zones that are not in the list yet. On -EINVAL and
 * -ERANGE the list is as before. */
int stow_zones_parse_blocks(const char *text, size_t len, struct stow_zones *zones,
			    struct stow_err *err);
int stow_zones_read_blocks(struct stow_root *root, struct stow_zones *zones, struct stow_err *err);

/* Return the amount, which may be STOW_UNKNOWN. */
static inline uint64_t stow_zone_get(const struct stow_zone *zone, enum stow_zone_amount amount)
{
	return zone->amounts[amount];
}

/* Return whether the zone has pages: zones without any are listed, too. */
static inline bool stow_zone_has_pages(const struct stow_zone *zone)
{
	return zone->amounts[STOW_ZONE_MANAGED] != 0 &&
	       zone->amounts[STOW_ZONE_MANAGED] != STOW_UNKNOWN;
}

/* Sums over a node's zones. An amount that the kernel does not show counts as 0. */
struct stow_zone_sums {
	uint64_t free, low, high;
	uint64_t file, reclaimable;
	uint64_t present;
};

/* Add up the zones of a node. Return whether it has any. */
bool stow_zones_sum(const struct stow_zones *zones, int node, struct stow_zone_sums *ret);

/*
 * Return the pages that can be allocated without pushing the node below its watermarks: the
 * kernel's si_mem_available() (mm/show_mem.c), for one node. Free pages above the high watermarks,
 * plus file pages and reclaimable slab; half of each of these two, or the low watermarks if these
 * are less, count as in use.
 */
uint64_t stow_zone_available(const struct stow_zone_sums *sums);

/* Return how much of the free memory cannot be used for an allocation of 2^order pages, in
 * thousandths (the kernel's unusable_free_index()); -1: not known. Without free memory all of it is
 * unusable. */
int stow_zone_unusable(const struct stow_zone *zone, unsigned int order);

/* How tight memory is on a node, for an allocation that any of its zones can satisfy. */
enum stow_pressure {
	STOW_PRESSURE_UNKNOWN,
	STOW_PRESSURE_NO_MEMORY,
	STOW_PRESSURE_NONE,	  /* a zone is above its high watermark */
	STOW_PRESSURE_BELOW_HIGH, /* kswapd goes on if it runs already */
	STOW_PRESSURE_BELOW_LOW,  /* kswapd is woken and reclaims in the background */
	STOW_PRESSURE_BELOW_MIN,  /* allocating programs reclaim themselves, and wait */
};

/* Return the pressure on a node: that of its zone with the most room above the watermarks and the
 * protection. `kernel`: for allocations that zone Movable cannot satisfy. */
enum stow_pressure stow_zones_pressure(const struct stow_zones *zones, int node, bool kernel);

/* Return a word for it ("none", "below-low"), and a sentence that explains it. */
const char *stow_pressure_word(enum stow_pressure pressure);
const char *stow_pressure_sentence(enum stow_pressure pressure);
