// SPDX-License-Identifier: Apache-2.0
#include "node/zones.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/idset.h"
#include "base/math.h"
#include "base/span.h"
#include "base/text.h"

/* zoneinfo has some hundred bytes for each zone and CPU: 8 MiB on 64 nodes with 1024 CPUs. */
#define ZONEINFO_MAX  ((size_t)64 << 20)
#define BUDDYINFO_MAX ((size_t)4 << 20)

static const char *const amount_words[STOW_ZONE_AMOUNTS] = {
	"free", "boost", "min", "low", "high", "promo", "spanned", "present", "managed", "cma",
};

static const char *const list_words[STOW_LIST_AMOUNTS] = {
	"count:", "high:", "batch:", "high_min:", "high_max:",
};

void stow_zones_done(struct stow_zones *zones)
{
	for (size_t i = 0; i < zones->n; i++)
		free(zones->list[i].cpus);
	free(zones->list);
	*zones = (struct stow_zones){ 0 };
}

/* --- /proc/zoneinfo ------------------------------------------------------- */

struct parser {
	struct stow_zones zones;
	struct stow_zone *zone; /* the current one, or NULL */
	bool cpus;		/* keep each CPU's lists */
	struct stow_zone_cpu *cpu;
	bool in_lists; /* of a CPU */
};

static int bad_line(int r, struct stow_span line, const char *file, struct stow_err *err)
{
	char text[72];

	if (r == -ENOMEM)
		return stow_err_sys(err, ENOMEM, "%s", file);
	snprintf(text, sizeof(text), "%.*s", stow_span_len(line, 64), line.p);
	stow_text_ascii(text);
	return stow_err_set(err, -r, "%s: \"%s\" %s", file, text,
			    r == -ERANGE ? "is out of range" : "is not as the kernel writes it");
}

/* Parse "0, zone   Normal", of either file. */
static int take_zone(struct stow_span *line, int *ret_node, char name[static STOW_ZONE_NAME])
{
	struct stow_span word;
	uint64_t node = 0;
	int r = stow_span_number(line, &node);

	if (r < 0)
		return r;
	if (node >= STOW_IDSET_MAX)
		return -ERANGE;
	if (!stow_span_take(line, ",") || !stow_span_take(line, "zone") ||
	    !stow_span_word(line, &word) || word.end - word.p >= STOW_ZONE_NAME)
		return -EINVAL;
	snprintf(name, STOW_ZONE_NAME, "%.*s", stow_span_len(word, STOW_ZONE_NAME - 1), word.p);
	stow_text_ascii(name);
	*ret_node = (int)node;
	return 0;
}

static struct stow_zone *append_zone(struct stow_zones *zones, int node, const char *name)
{
	struct stow_zone *zone = STOW_APPEND(zones->list, zones->n);

	if (!zone)
		return NULL;
	zone->node = node;
	snprintf(zone->name, sizeof(zone->name), "%s", name);
	if (zones->n > 1 && zone[-1].node == node)
		zone->index = zone[-1].index + 1;
	for (int i = 0; i < STOW_ZONE_AMOUNTS; i++)
		zone->amounts[i] = STOW_UNKNOWN;
	for (int i = 0; i < STOW_LIST_AMOUNTS; i++)
		zone->lists[i] = STOW_UNKNOWN;
	zone->start_pfn = STOW_UNKNOWN;
	zone->unreclaimable = STOW_UNKNOWN;
	return zone;
}

static int begin_zone(struct parser *p, struct stow_span line)
{
	char name[STOW_ZONE_NAME];
	int node, r = take_zone(&line, &node, name);

	if (r < 0)
		return r;
	p->zone = append_zone(&p->zones, node, name);
	p->cpu = NULL;
	p->in_lists = false;
	if (!p->zone)
		return -ENOMEM;
	return p->zone->index < STOW_ZONES_MAX ? 0 : -ERANGE;
}

/* Parse "(0, 3019, 21323)". */
static int take_protection(struct stow_zone *zone, struct stow_span line)
{
	stow_span_blanks(&line);
	if (line.p >= line.end || *line.p++ != '(')
		return -EINVAL;
	zone->n_protection = 0;
	for (;;) {
		int r;

		if (zone->n_protection == STOW_ZONES_MAX)
			return -ERANGE;
		r = stow_span_number(&line, &zone->protection[zone->n_protection]);
		if (r < 0)
			return r;
		zone->n_protection++;
		if (line.p >= line.end || (*line.p != ',' && *line.p != ')'))
			return -EINVAL;
		if (*line.p++ == ')')
			return 0;
	}
}

static int begin_cpu(struct parser *p, struct stow_span line)
{
	struct stow_zone *zone = p->zone;
	uint64_t cpu;
	int r = stow_span_number(&line, &cpu);

	if (r < 0)
		return r;
	if (cpu >= STOW_IDSET_MAX)
		return -ERANGE;
	p->in_lists = true;
	if (!p->cpus) {
		zone->n_cpus++;
		return 0;
	}
	p->cpu = STOW_APPEND(zone->cpus, zone->n_cpus);
	if (!p->cpu)
		return -ENOMEM;
	p->cpu->cpu = (int)cpu;
	for (int i = 0; i < STOW_LIST_AMOUNTS; i++)
		p->cpu->amounts[i] = STOW_UNKNOWN;
	return 0;
}

static int take_list(struct parser *p, struct stow_span line)
{
	for (int i = 0; i < STOW_LIST_AMOUNTS; i++) {
		uint64_t *sum = &p->zone->lists[i], v;
		int r;

		if (!stow_span_take(&line, list_words[i]))
			continue;
		r = stow_span_number(&line, &v);
		if (r < 0)
			return r;
		if (__builtin_add_overflow(*sum == STOW_UNKNOWN ? 0 : *sum, v, sum) ||
		    *sum == STOW_UNKNOWN)
			return -ERANGE;
		if (p->cpu)
			p->cpu->amounts[i] = v;
		break;
	}
	return 0;
}

static int take_amount(struct stow_zone *zone, struct stow_span line)
{
	(void)stow_span_take(&line, "pages"); /* before "free" */
	for (int i = 0; i < STOW_ZONE_AMOUNTS; i++) {
		int r;

		if (!stow_span_take(&line, amount_words[i]))
			continue;
		r = stow_span_number(&line, &zone->amounts[i]);
		return r == 0 && zone->amounts[i] == STOW_UNKNOWN ? -ERANGE : r;
	}
	return 0;
}

static int take_counter(struct stow_zone *zone, struct stow_span line)
{
	uint64_t *sum = NULL, v;
	int r;

	if (stow_span_take(&line, "node_unreclaimable:"))
		return stow_span_number(&line, &zone->unreclaimable);
	if (stow_span_take(&line, "nr_inactive_file") || stow_span_take(&line, "nr_active_file"))
		sum = &zone->file;
	else if (stow_span_take(&line, "nr_slab_reclaimable") ||
		 stow_span_take(&line, "nr_kernel_misc_reclaimable"))
		sum = &zone->reclaimable;
	if (!sum)
		return 0;
	r = stow_span_number(&line, &v);
	return r == 0 && __builtin_add_overflow(*sum, v, sum) ? -ERANGE : r;
}

static int take_line(struct parser *p, struct stow_span line)
{
	if (stow_span_take(&line, "Node"))
		return begin_zone(p, line);
	if (!p->zone)
		return 0;
	stow_span_blanks(&line);
	/* Most lines are counters. */
	if (line.p >= line.end || *line.p == 'n' || *line.p == 'w')
		return take_counter(p->zone, line);
	if (stow_span_take(&line, "cpu:"))
		return begin_cpu(p, line);
	if (stow_span_take(&line, "protection:"))
		return take_protection(p->zone, line);
	if (stow_span_take(&line, "start_pfn:"))
		return stow_span_number(&line, &p->zone->start_pfn);
	return p->in_lists ? take_list(p, line) : take_amount(p->zone, line);
}

int stow_zones_parse(const char *text, size_t len, bool cpus, struct stow_zones *ret,
		     struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct parser p = { .cpus = cpus };

	while (stow_span_line(&rest, &line)) {
		int r = take_line(&p, line);

		if (r < 0) {
			stow_zones_done(&p.zones);
			return bad_line(r, line, "zoneinfo", err);
		}
	}
	if (!p.zones.n)
		return stow_err_set(err, EINVAL, "zoneinfo: no zone in it");
	*ret = p.zones;
	return 0;
}

int stow_zones_read(struct stow_root *root, bool cpus, struct stow_zones *ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, ZONEINFO_MAX, &text, &len, err, "/proc/zoneinfo");
	return r < 0 ? r : stow_zones_parse(text, len, cpus, ret, err);
}

/* --- /proc/buddyinfo ------------------------------------------------------ */

/* Find a zone; usually it is near the last one. */
static struct stow_zone *find_zone(struct stow_zones *zones, int node, const char *name,
				   size_t *near)
{
	for (size_t i = 0; i < zones->n; i++) {
		size_t at = (*near + i) % zones->n;

		if (zones->list[at].node == node && strcmp(zones->list[at].name, name) == 0) {
			*near = at;
			return &zones->list[at];
		}
	}
	return NULL;
}

struct buddy {
	int node;
	char name[STOW_ZONE_NAME];
	uint64_t blocks[STOW_ORDERS_MAX];
	unsigned int n_orders;
};

static int take_buddy(struct stow_span line, struct buddy *ret)
{
	int r;

	if (!stow_span_take(&line, "Node"))
		return -EINVAL;
	r = take_zone(&line, &ret->node, ret->name);
	for (ret->n_orders = 0; r == 0; ret->n_orders++) {
		stow_span_blanks(&line);
		if (line.p >= line.end)
			break;
		if (ret->n_orders == STOW_ORDERS_MAX)
			return -ERANGE;
		r = stow_span_number(&line, &ret->blocks[ret->n_orders]);
	}
	return r == 0 && !ret->n_orders ? -EINVAL : r;
}

int stow_zones_parse_blocks(const char *text, size_t len, struct stow_zones *zones,
			    struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct buddy buddy;
	size_t near = 0;
	bool any = false;

	/* Look at all of it before anything is changed. */
	while (stow_span_line(&rest, &line)) {
		int r = take_buddy(line, &buddy);

		if (r < 0)
			return bad_line(r, line, "buddyinfo", err);
		any = true;
	}
	if (!any)
		return stow_err_set(err, EINVAL, "buddyinfo: no zone in it");
	rest = (struct stow_span){ text, text + len };
	while (stow_span_line(&rest, &line)) {
		struct stow_zone *zone;

		(void)take_buddy(line, &buddy);
		zone = find_zone(zones, buddy.node, buddy.name, &near);
		if (!zone)
			zone = append_zone(zones, buddy.node, buddy.name);
		if (!zone)
			return stow_err_sys(err, ENOMEM, "buddyinfo");
		memcpy(zone->blocks, buddy.blocks, sizeof(zone->blocks));
		zone->n_orders = buddy.n_orders;
	}
	return 0;
}

int stow_zones_read_blocks(struct stow_root *root, struct stow_zones *zones, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, BUDDYINFO_MAX, &text, &len, err, "/proc/buddyinfo");
	return r < 0 ? r : stow_zones_parse_blocks(text, len, zones, err);
}

/* --- what is available ---------------------------------------------------- */

static void add_known(uint64_t *sum, uint64_t amount)
{
	if (amount != STOW_UNKNOWN)
		*sum = stow_saturating_add(*sum, amount);
}

bool stow_zones_sum(const struct stow_zones *zones, int node, struct stow_zone_sums *ret)
{
	struct stow_zone_sums sums = { 0 };
	bool any = false;

	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];

		if (zone->node != node)
			continue;
		any = true;
		add_known(&sums.free, stow_zone_get(zone, STOW_ZONE_FREE));
		add_known(&sums.low, stow_zone_get(zone, STOW_ZONE_LOW));
		add_known(&sums.high, stow_zone_get(zone, STOW_ZONE_HIGH));
		add_known(&sums.file, zone->file);
		add_known(&sums.reclaimable, zone->reclaimable);
		add_known(&sums.present, stow_zone_get(zone, STOW_ZONE_PRESENT));
	}
	*ret = sums;
	return any;
}

/* Return what reclaim gets of `pages` without thrashing. */
static uint64_t less_working_set(uint64_t pages, uint64_t low)
{
	return pages - STOW_MIN(pages / 2, low);
}

uint64_t stow_zone_available(const struct stow_zone_sums *sums)
{
	uint64_t reclaim = stow_saturating_add(less_working_set(sums->file, sums->low),
					       less_working_set(sums->reclaimable, sums->low));
	uint64_t all = stow_saturating_add(sums->free, reclaim);

	/* What is reclaimed raises free memory to the high watermarks first. */
	return stow_saturating_sub(all, sums->high);
}

int stow_zone_unusable(const struct stow_zone *zone, unsigned int order)
{
	unsigned int n = STOW_MIN(zone->n_orders, (unsigned int)STOW_ORDERS_MAX);
	unsigned __int128 all = 0, usable = 0;

	if (order >= n)
		return -1;
	for (unsigned int i = 0; i < n; i++) {
		all += (unsigned __int128)zone->blocks[i] << i;
		if (i >= order)
			usable += (unsigned __int128)zone->blocks[i] << i;
	}
	return all ? (int)((all - usable) * 1000 / all) : 1000;
}

/* --- pressure ------------------------------------------------------------- */

static enum stow_pressure zone_pressure(const struct stow_zone *zone, unsigned int class)
{
	uint64_t free = stow_zone_get(zone, STOW_ZONE_FREE), room;

	if (free == STOW_UNKNOWN || stow_zone_get(zone, STOW_ZONE_MIN) == STOW_UNKNOWN ||
	    stow_zone_get(zone, STOW_ZONE_LOW) == STOW_UNKNOWN ||
	    stow_zone_get(zone, STOW_ZONE_HIGH) == STOW_UNKNOWN || class >= zone->n_protection)
		return STOW_PRESSURE_UNKNOWN;
	room = stow_saturating_sub(free, zone->protection[class]);
	if (room > stow_zone_get(zone, STOW_ZONE_HIGH))
		return STOW_PRESSURE_NONE;
	if (room > stow_zone_get(zone, STOW_ZONE_LOW))
		return STOW_PRESSURE_BELOW_HIGH;
	return room > stow_zone_get(zone, STOW_ZONE_MIN) ? STOW_PRESSURE_BELOW_LOW
							 : STOW_PRESSURE_BELOW_MIN;
}

enum stow_pressure stow_zones_pressure(const struct stow_zones *zones, int node, bool kernel)
{
	enum stow_pressure best = STOW_PRESSURE_NO_MEMORY;
	unsigned int class = 0;

	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];

		if (zone->node == node && stow_zone_has_pages(zone) && zone->index > class &&
		    !(kernel && strcmp(zone->name, "Movable") == 0))
			class = zone->index;
	}
	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];
		enum stow_pressure here;

		if (zone->node != node || zone->index > class)
			continue;
		if (zone->amounts[STOW_ZONE_MANAGED] == STOW_UNKNOWN)
			return STOW_PRESSURE_UNKNOWN;
		if (!stow_zone_has_pages(zone) || (kernel && strcmp(zone->name, "Movable") == 0))
			continue;
		here = zone_pressure(zone, class);
		if (here == STOW_PRESSURE_UNKNOWN)
			return here;
		best = best == STOW_PRESSURE_NO_MEMORY ? here : STOW_MIN(best, here);
	}
	return best;
}

const char *stow_pressure_word(enum stow_pressure pressure)
{
	static const char *const words[] = {
		[STOW_PRESSURE_UNKNOWN] = "unknown",	 [STOW_PRESSURE_NO_MEMORY] = "no-memory",
		[STOW_PRESSURE_NONE] = "none",		 [STOW_PRESSURE_BELOW_HIGH] = "below-high",
		[STOW_PRESSURE_BELOW_LOW] = "below-low", [STOW_PRESSURE_BELOW_MIN] = "below-min",
	};

	return words[pressure];
}

const char *stow_pressure_sentence(enum stow_pressure pressure)
{
	static const char *const sentences[] = {
		[STOW_PRESSURE_UNKNOWN] = "not known",
		[STOW_PRESSURE_NO_MEMORY] = "the node has no memory",
		[STOW_PRESSURE_NONE] = "free memory is above the high watermark",
		[STOW_PRESSURE_BELOW_HIGH] =
			"free memory is below the high watermark: kswapd goes on if it runs",
		[STOW_PRESSURE_BELOW_LOW] =
			"free memory is below the low watermark: kswapd reclaims in the background",
		[STOW_PRESSURE_BELOW_MIN] =
			"free memory is below the min watermark: allocations wait for reclaim",
	};

	return sentences[pressure];
}
