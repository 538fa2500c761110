// SPDX-License-Identifier: Apache-2.0
#include "node/watermarks.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/span.h"

#define SCALE		  10000 /* watermark_scale_factor is in ten thousandths */
#define CAPPED_LEAST	  32
#define CAPPED_MOST	  128
#define MIN_FREE_LEAST	  128 /* KiB */
#define MIN_FREE_MOST	  (256 << 10)
#define MIN_FREE_MOST_5_9 (64 << 10) /* until Linux 5.9 */
#define PAGEBLOCKS	  11 /* kept free of each zone for khugepaged: 2, and 3 types squared */

/* --- settings ------------------------------------------------------------- */

/* Keep the first error. A setting that this kernel does not have is none. */
static void keep_first(int *first, int r, struct stow_err *err, struct stow_err *why)
{
	if (r < 0 && r != -ENOENT && *first == 0)
		*first = stow_err_move(err, r, why);
}

static int take_ratios(const char *text, struct stow_zone_knobs *knobs, struct stow_err *err)
{
	struct stow_span line = { text, text + strlen(text) };
	unsigned int n = 0;

	for (;;) {
		stow_span_blanks(&line);
		if (line.p >= line.end)
			break;
		if (n == STOW_ZONES_MAX || stow_span_number(&line, &knobs->ratio[n]) < 0)
			return stow_err_set(err, EINVAL,
					    "/proc/sys/vm/lowmem_reserve_ratio is not a list of "
					    "numbers");
		n++;
	}
	if (!n)
		return stow_err_set(err, EINVAL, "/proc/sys/vm/lowmem_reserve_ratio is empty");
	knobs->n_ratio = n;
	return 0;
}

static int read_ratios(struct stow_root *root, struct stow_zone_knobs *knobs, struct stow_err *err)
{
	char text[512];
	int r = stow_root_read_buf(root, text, sizeof(text), err,
				   "/proc/sys/vm/lowmem_reserve_ratio");

	return r < 0 ? r : take_ratios(text, knobs, err);
}

static int read_thp(struct stow_root *root, int *ret, struct stow_err *err)
{
	char text[128];
	int r = stow_root_read_buf(root, text, sizeof(text), err,
				   "/sys/kernel/mm/transparent_hugepage/enabled");

	if (r < 0)
		return r;
	if (!strchr(text, '['))
		return stow_err_set(err, EINVAL,
				    "/sys/kernel/mm/transparent_hugepage/enabled: no value is "
				    "marked");
	*ret = strstr(text, "[never]") == NULL;
	return 0;
}

int stow_zone_knobs_read(struct stow_root *root, struct stow_zone_knobs *ret, struct stow_err *err)
{
	struct stow_zone_knobs knobs = {
		.min_free_kbytes = STOW_UNKNOWN,
		.scale_factor = STOW_UNKNOWN,
		.boost_factor = STOW_UNKNOWN,
		.high_fraction = STOW_UNKNOWN,
		.page_size = STOW_UNKNOWN,
		.pmd_size = STOW_UNKNOWN,
		.thp = -1,
	};
	const struct {
		uint64_t *value;
		const char *path;
	} numbers[] = {
		{ &knobs.min_free_kbytes, "/proc/sys/vm/min_free_kbytes" },
		{ &knobs.scale_factor, "/proc/sys/vm/watermark_scale_factor" },
		{ &knobs.boost_factor, "/proc/sys/vm/watermark_boost_factor" },
		{ &knobs.high_fraction, "/proc/sys/vm/percpu_pagelist_high_fraction" },
		{ &knobs.pmd_size, "/sys/kernel/mm/transparent_hugepage/hpage_pmd_size" },
	};
	struct stow_err why = { 0 };
	int first = 0, r;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(numbers); i++) {
		r = stow_root_read_u64(root, numbers[i].value, &why, "%s", numbers[i].path);
		keep_first(&first, r, err, &why);
	}
	r = read_ratios(root, &knobs, &why);
	keep_first(&first, r, err, &why);
	r = read_thp(root, &knobs.thp, &why);
	keep_first(&first, r, err, &why);
	*ret = knobs;
	return first;
}

uint64_t stow_zones_page_size(struct stow_root *root, const struct stow_zones *zones,
			      uint64_t mem_total)
{
	uint64_t pages = 0;

	if (root->live)
		return (uint64_t)sysconf(_SC_PAGESIZE);
	for (size_t i = 0; i < zones->n; i++)
		if (stow_zone_has_pages(&zones->list[i]))
			pages = stow_saturating_add(pages, stow_zone_get(&zones->list[i],
									 STOW_ZONE_MANAGED));
	if (!pages)
		return STOW_UNKNOWN;
	/* Both were read at about the same time: memory may have come or gone in between. */
	for (uint64_t size = 4096; size <= 1 << 18; size *= 2) {
		uint64_t all;

		if (!__builtin_mul_overflow(pages, size, &all) && all / 8 * 7 <= mem_total &&
		    mem_total <= all / 8 * 9)
			return size;
	}
	return STOW_UNKNOWN;
}

/* --- the kernel's formulas ------------------------------------------------ */

/* Return a * b / divisor, at most the largest known amount; 0 if the divisor is 0. */
static uint64_t multiply_divide(uint64_t a, uint64_t b, uint64_t divisor)
{
	unsigned __int128 v = divisor ? (unsigned __int128)a * b / divisor : 0;

	return v < STOW_UNKNOWN ? (uint64_t)v : STOW_UNKNOWN - 1;
}

static bool is_named(const struct stow_zone *zone, const char *name)
{
	return strcmp(zone->name, name) == 0;
}

/* Return whether the zone gets its share of min_free_kbytes. The others have a min watermark within
 * fixed bounds: HighMem, and in newer kernels Movable (`movable_capped`). */
static bool has_share(const struct stow_zone *zone, bool movable_capped)
{
	return !is_named(zone, "HighMem") && !(movable_capped && is_named(zone, "Movable"));
}

static uint64_t managed_of(const struct stow_zone *zone)
{
	return stow_zone_has_pages(zone) ? stow_zone_get(zone, STOW_ZONE_MANAGED) : 0;
}

static void compute_marks(const struct stow_zones *zones, uint64_t min_free_kbytes,
			  uint64_t scale_factor, uint64_t page_size, bool movable_capped,
			  struct stow_watermarks *ret)
{
	uint64_t pages_min = min_free_kbytes / (page_size / 1024), lowmem = 0;

	for (size_t i = 0; i < zones->n; i++)
		if (has_share(&zones->list[i], movable_capped))
			lowmem = stow_saturating_add(lowmem, managed_of(&zones->list[i]));
	for (size_t i = 0; i < zones->n; i++) {
		uint64_t managed = managed_of(&zones->list[i]);
		uint64_t share = multiply_divide(pages_min, managed, lowmem);
		uint64_t scaled = multiply_divide(managed, scale_factor, SCALE);
		uint64_t gap = STOW_MAX(share / 4, scaled), capped = managed / 1024;

		capped = STOW_MAX(capped, (uint64_t)CAPPED_LEAST);
		capped = STOW_MIN(capped, (uint64_t)CAPPED_MOST);
		ret[i].min = has_share(&zones->list[i], movable_capped) ? share : capped;
		ret[i].low = stow_saturating_add(ret[i].min, gap);
		ret[i].high = stow_saturating_add(ret[i].low, gap);
		ret[i].promo = stow_saturating_add(ret[i].high, gap);
	}
}

/* Compute the protection of zone i, from the zones of its node that follow. */
static void compute_protection(const struct stow_zones *zones, size_t i,
			       const struct stow_zone_knobs *knobs, struct stow_watermarks *ret)
{
	const struct stow_zone *zone = &zones->list[i];
	uint64_t above = 0, ratio;

	if (zone->index >= STOW_ZONES_MAX || zone->index >= knobs->n_ratio)
		return;
	ratio = knobs->ratio[zone->index];
	ret->n_protection = zone->index + 1;
	for (size_t k = i + 1; k < zones->n && zones->list[k].node == zone->node &&
			       ret->n_protection < STOW_ZONES_MAX;
	     k++) {
		above = stow_saturating_add(above, managed_of(&zones->list[k]));
		ret->protection[ret->n_protection++] =
			ratio && managed_of(zone) ? above / ratio : 0;
	}
}

/* --- comparing ------------------------------------------------------------ */

/* Return a watermark that the kernel shows, without its boost. */
static uint64_t bare(const struct stow_zone *zone, enum stow_zone_amount amount)
{
	uint64_t boost = stow_zone_get(zone, STOW_ZONE_BOOST);

	return stow_saturating_sub(stow_zone_get(zone, amount), boost == STOW_UNKNOWN ? 0 : boost);
}

static bool mark_differs(const struct stow_zone *zone, enum stow_zone_amount amount,
			 uint64_t computed)
{
	return stow_zone_get(zone, amount) != STOW_UNKNOWN && computed != STOW_UNKNOWN &&
	       bare(zone, amount) != computed;
}

bool stow_zone_is_as_computed(const struct stow_zone *zone, const struct stow_watermarks *computed)
{
	return !stow_zone_has_pages(zone) ||
	       !(mark_differs(zone, STOW_ZONE_MIN, computed->min) ||
		 mark_differs(zone, STOW_ZONE_LOW, computed->low) ||
		 mark_differs(zone, STOW_ZONE_HIGH, computed->high) ||
		 mark_differs(zone, STOW_ZONE_PROMO, computed->promo));
}

static bool is_protected_as_computed(const struct stow_zone *zone,
				     const struct stow_watermarks *computed)
{
	unsigned int n = STOW_MIN(zone->n_protection, computed->n_protection);

	return memcmp(zone->protection, computed->protection, n * sizeof(*zone->protection)) == 0;
}

static size_t count_different(const struct stow_zones *zones, const struct stow_watermarks *marks)
{
	size_t n = 0;

	for (size_t i = 0; i < zones->n; i++)
		n += !stow_zone_is_as_computed(&zones->list[i], &marks[i]);
	return n;
}

/* Return by how many pages the shown min watermarks of the zones Movable are not the computed ones.
 * Of two rules, the kernel's is the one that is nearer, even when something else has changed since
 * it computed. */
static uint64_t deviation(const struct stow_zones *zones, const struct stow_watermarks *marks)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < zones->n; i++) {
		uint64_t shown = bare(&zones->list[i], STOW_ZONE_MIN);

		if (is_named(&zones->list[i], "Movable") && stow_zone_has_pages(&zones->list[i]) &&
		    stow_zone_get(&zones->list[i], STOW_ZONE_MIN) != STOW_UNKNOWN)
			sum = stow_saturating_add(sum, STOW_MAX(shown, marks[i].min) -
							       STOW_MIN(shown, marks[i].min));
	}
	return sum;
}

/* Return whether two amounts of pages differ by what a few percent of memory make. */
static bool is_near(uint64_t a, uint64_t b)
{
	uint64_t most = STOW_MAX(a, b), least = STOW_MIN(a, b);

	return most - least <= 2 + most / 20;
}

/* Find why the watermarks are not the computed ones: there is more or less memory now, or they were
 * computed with other settings, which is what they imply. */
static void explain(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
		    struct stow_zones_account *a)
{
	uint64_t sum = 0, wanted = knobs->min_free_kbytes / (knobs->page_size / 1024);
	const struct stow_zone *largest = NULL;
	bool near = true;

	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];

		if (!stow_zone_has_pages(zone))
			continue;
		near = near && is_near(bare(zone, STOW_ZONE_MIN), a->zones[i].min) &&
		       is_near(bare(zone, STOW_ZONE_LOW), a->zones[i].low) &&
		       is_near(bare(zone, STOW_ZONE_HIGH), a->zones[i].high);
		if (!has_share(zone, a->movable_capped))
			continue;
		sum = stow_saturating_add(sum, bare(zone, STOW_ZONE_MIN));
		if (!largest || managed_of(zone) > managed_of(largest))
			largest = zone;
	}
	if (near) {
		a->why = STOW_WMARK_MEMORY;
	} else if (!is_near(sum, wanted)) {
		a->why = STOW_WMARK_OTHER_MIN;
		a->implied = multiply_divide(sum, knobs->page_size, 1024);
	} else if (largest && stow_zone_get(largest, STOW_ZONE_LOW) != STOW_UNKNOWN) {
		a->why = STOW_WMARK_OTHER_SCALE;
		a->implied = multiply_divide(stow_saturating_sub(bare(largest, STOW_ZONE_LOW),
								 bare(largest, STOW_ZONE_MIN)),
					     SCALE, managed_of(largest));
	} else {
		a->why = STOW_WMARK_UNEXPLAINED;
	}
}

/* Compute by both rules for Movable; the shown watermarks tell which one this kernel has. */
static int account_marks(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
			 struct stow_zones_account *a)
{
	struct stow_watermarks *other = calloc(zones->n + 1, sizeof(*other));
	uint64_t off, off_other;

	if (!other)
		return -ENOMEM;
	compute_marks(zones, knobs->min_free_kbytes, knobs->scale_factor, knobs->page_size, true,
		      a->zones);
	compute_marks(zones, knobs->min_free_kbytes, knobs->scale_factor, knobs->page_size, false,
		      other);
	off = deviation(zones, a->zones);
	off_other = deviation(zones, other);
	a->movable_capped = off <= off_other;
	a->movable_decides = off != off_other;
	for (size_t i = 0; i < zones->n && !a->movable_capped; i++) {
		a->zones[i].min = other[i].min;
		a->zones[i].low = other[i].low;
		a->zones[i].high = other[i].high;
		a->zones[i].promo = other[i].promo;
	}
	free(other);
	a->computed = true;
	a->n_different = count_different(zones, a->zones);
	a->why = STOW_WMARK_EQUAL;
	if (a->n_different)
		explain(zones, knobs, a);
	return 0;
}

/* --- where min_free_kbytes comes from ------------------------------------- */

static uint64_t square_root(uint64_t v)
{
	uint64_t root = 0;

	for (uint64_t bit = UINT64_C(1) << 31; bit; bit >>= 1)
		if ((root | bit) * (root | bit) <= v)
			root |= bit;
	return root;
}

static uint64_t clamp_min_free(uint64_t kib)
{
	kib = STOW_MAX(kib, (uint64_t)MIN_FREE_LEAST);
	return STOW_MIN(kib, (uint64_t)MIN_FREE_MOST);
}

/* Return the pages for kernel and user memory: the kernel's nr_free_buffer_pages(). `marks`: less
 * the high watermarks, as they were at that time; NULL: before there were any. */
static uint64_t low_memory(const struct stow_zones *zones, const struct stow_watermarks *marks)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];

		if (has_share(zone, true) && !is_named(zone, "Device"))
			sum = stow_saturating_add(sum,
						  stow_saturating_sub(managed_of(zone),
								      marks ? marks[i].high : 0));
	}
	return sum;
}

static void compute_khugepaged(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
			       struct stow_zones_account *a)
{
	unsigned int orders = 0;

	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];
		uint64_t present = stow_zone_get(zone, STOW_ZONE_PRESENT);

		orders = STOW_MAX(orders, zone->n_orders);
		if (has_share(zone, true) && !is_named(zone, "Device") && present &&
		    present != STOW_UNKNOWN)
			a->khugepaged_zones++;
	}
	if (knobs->pmd_size == STOW_UNKNOWN || knobs->pmd_size < knobs->page_size)
		return;
	/* A pageblock is a transparent hugepage, or the largest block that there is. */
	a->pageblock = knobs->pmd_size / knobs->page_size;
	if (orders)
		a->pageblock = STOW_MIN(a->pageblock, UINT64_C(1) << (orders - 1));
	a->khugepaged = multiply_divide(a->pageblock * PAGEBLOCKS * a->khugepaged_zones,
					knobs->page_size, 1024);
}

/* Return whether `value` is what the kernel computed from somewhat less memory than there is now:
 * at boot its own image and RAM disk are not free yet. */
static bool is_from_less(uint64_t value, uint64_t now)
{
	return value <= now && value >= now - now / 8;
}

static void find_source(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
			struct stow_zones_account *a)
{
	uint64_t value = knobs->min_free_kbytes, kib = knobs->page_size / 1024, limited;
	struct stow_watermarks *marks = calloc(zones->n + 1, sizeof(*marks));

	compute_khugepaged(zones, knobs, a);
	a->square_root =
		clamp_min_free(square_root(multiply_divide(low_memory(zones, NULL), kib * 16, 1)));
	a->source = STOW_MIN_FREE_ADMINISTRATOR;
	if (marks && knobs->scale_factor != STOW_UNKNOWN)
		compute_marks(zones, a->square_root, knobs->scale_factor, knobs->page_size,
			      a->movable_capped, marks);
	limited = low_memory(zones, marks) / 20 * kib;
	free(marks);
	if (value == a->khugepaged && a->khugepaged <= limited)
		a->source = STOW_MIN_FREE_KHUGEPAGED;
	else if (value == a->square_root || (value == MIN_FREE_MOST_5_9 && a->square_root > value))
		a->source = STOW_MIN_FREE_SQUARE_ROOT;
	else if (a->khugepaged != STOW_UNKNOWN && a->khugepaged > limited &&
		 is_from_less(value, limited))
		a->source = STOW_MIN_FREE_KHUGEPAGED_LIMITED;
	else if (is_from_less(value, a->square_root))
		a->source = STOW_MIN_FREE_SQUARE_ROOT_EARLIER;
	if (a->khugepaged != STOW_UNKNOWN)
		a->khugepaged = STOW_MIN(a->khugepaged, limited);
}

int stow_zones_account(const struct stow_zones *zones, const struct stow_zone_knobs *knobs,
		       struct stow_zones_account *ret, struct stow_err *err)
{
	struct stow_zones_account a = { .square_root = STOW_UNKNOWN,
					.khugepaged = STOW_UNKNOWN,
					.pageblock = STOW_UNKNOWN,
					.implied = STOW_UNKNOWN };
	bool known = zones->n && knobs->page_size != STOW_UNKNOWN && knobs->page_size >= 1024 &&
		     knobs->min_free_kbytes != STOW_UNKNOWN;
	int r = 0;

	a.zones = calloc(zones->n + 1, sizeof(*a.zones));
	if (!a.zones)
		return stow_err_sys(err, ENOMEM, "zones");
	for (size_t i = 0; i < zones->n; i++) {
		struct stow_watermarks *marks = &a.zones[i];

		known = known && stow_zone_get(&zones->list[i], STOW_ZONE_MANAGED) != STOW_UNKNOWN;
		marks->min = marks->low = marks->high = marks->promo = STOW_UNKNOWN;
	}
	if (known && knobs->scale_factor != STOW_UNKNOWN)
		r = account_marks(zones, knobs, &a);
	if (r < 0) {
		stow_zones_account_done(&a);
		return stow_err_sys(err, ENOMEM, "zones");
	}
	if (known)
		find_source(zones, knobs, &a);
	for (size_t i = 0; i < zones->n; i++) {
		compute_protection(zones, i, knobs, &a.zones[i]);
		a.n_protection_different += !is_protected_as_computed(&zones->list[i], &a.zones[i]);
	}
	*ret = a;
	return 0;
}

void stow_zones_account_done(struct stow_zones_account *account)
{
	free(account->zones);
	*account = (struct stow_zones_account){ 0 };
}
