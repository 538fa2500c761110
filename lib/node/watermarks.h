/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * How the kernel computes the watermarks and the protection of zones (mm/page_alloc.c:
 * __setup_per_zone_wmarks(), setup_per_zone_lowmem_reserve(); mm/khugepaged.c:
 * set_recommended_min_free_kbytes()).
 *
 *	share = min_free_kbytes in pages, divided among the zones by their managed pages;
 *	        HighMem gets none of it, nor does Movable on newer kernels (in 6.1 it does, in 6.12
 *	        it does not)
 *	min   = share; for zones without a share managed / 1024, within 32 to 128
 *	gap   = the larger of share / 4 and managed * watermark_scale_factor / 10000
 *	        (a zone without a share has one computed for its gap)
 *	low, high, promo = min + 1, 2 and 3 gaps
 *
 * A boost, after memory was fragmented, is in all of them until kswapd has worked it off.
 *
 *	protection[j] of zone i = managed pages of zones i + 1 to j / lowmem_reserve_ratio[i]
 *
 * The kernel computes at boot, when one of the settings is written, when memory goes online or
 * offline, and when transparent hugepages are turned on: between those, the numbers stay.
 */

#include "node/zones.h"

struct stow_zone_knobs {
	/* STOW_UNKNOWN: the kernel does not say. */
	uint64_t min_free_kbytes;
	uint64_t scale_factor;	/* of 10000 */
	uint64_t boost_factor;	/* of 10000 */
	uint64_t high_fraction; /* vm.percpu_pagelist_high_fraction; 0: computed by the kernel */
	uint64_t ratio[STOW_ZONES_MAX];
	unsigned int n_ratio;
	uint64_t page_size; /* bytes */
	uint64_t pmd_size;  /* of a transparent hugepage, in bytes */
	int thp; /* 1: transparent hugepages are on, for all or some programs; -1: unknown */
};

/* Read the settings. A file that is missing leaves its value unknown. Return 0, or -errno with the
 * first file that could not be read or understood; the others are read even so. */
int stow_zone_knobs_read(struct stow_root *root, struct stow_zone_knobs *ret, struct stow_err *err);

/* Find the size of a page: from MemTotal in bytes, which is all managed memory, and the zones. On
 * the live machine the C library knows it. STOW_UNKNOWN: neither. */
uint64_t stow_zones_page_size(struct stow_root *root, const struct stow_zones *zones,
			      uint64_t mem_total);

struct stow_watermarks {
	uint64_t min, low, high, promo;
	uint64_t protection[STOW_ZONES_MAX];
	unsigned int n_protection;
};

/* Where min_free_kbytes comes from. */
enum stow_min_free {
	STOW_MIN_FREE_UNKNOWN,
	STOW_MIN_FREE_SQUARE_ROOT,	   /* 4 * sqrt(low memory in KiB) */
	STOW_MIN_FREE_SQUARE_ROOT_EARLIER, /* of the low memory at boot, which was a little less */
	STOW_MIN_FREE_KHUGEPAGED,	   /* raised for transparent hugepages */
	STOW_MIN_FREE_KHUGEPAGED_LIMITED,  /* the same, limited to 5 % of the low memory */
	STOW_MIN_FREE_ADMINISTRATOR,	   /* none of these: it was written */
};

/* Why shown and computed watermarks differ. */
enum stow_wmark_why {
	STOW_WMARK_UNKNOWN, /* nothing was computed */
	STOW_WMARK_EQUAL,
	STOW_WMARK_MEMORY,	/* memory was added or taken since the kernel computed them */
	STOW_WMARK_OTHER_MIN,	/* they are those of another min_free_kbytes */
	STOW_WMARK_OTHER_SCALE, /* of another watermark_scale_factor */
	STOW_WMARK_UNEXPLAINED,
};

struct stow_zones_account {
	struct stow_watermarks *zones; /* of each zone, in the same order */
	bool computed;		       /* the watermarks are known */
	bool movable_capped;	       /* Movable has no share */
	bool movable_decides;	       /* the shown watermarks tell this; else it is assumed */
	size_t n_different;	       /* zones whose watermarks are not as computed */
	size_t n_protection_different;
	enum stow_wmark_why why;
	uint64_t implied; /* the other min_free_kbytes or watermark_scale_factor, about */

	enum stow_min_free source;
	uint64_t square_root; /* what min_free_kbytes would be, or STOW_UNKNOWN */
	uint64_t khugepaged;
	unsigned int khugepaged_zones; /* the parts of that product */
	uint64_t pageblock;	       /* pages */
};

/* Compute, compare, and explain. -ENOMEM. */
int stow_zones_account(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
		       struct stow_zones_account *ret, struct stow_err *err);
void stow_zones_account_done(struct stow_zones_account *account);

/* Return whether a zone's watermarks are as computed; true when either is unknown. */
bool stow_zone_is_as_computed(const struct stow_zone *zone, const struct stow_watermarks *computed);
