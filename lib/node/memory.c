// SPDX-License-Identifier: Apache-2.0
#include "node/memory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idset.h"
#include "base/math.h"
#include "base/span.h"

/* zoneinfo has some hundred bytes for each zone and CPU: 8 MiB on 64 nodes with 1024 CPUs. */
#define ZONEINFO_MAX ((size_t)64 << 20)

static int bad_line(int r, struct stow_span line, const char *what, struct stow_err *err)
{
	return stow_err_set(err, -r, "%s: \"%.*s\" %s", what, stow_span_len(line, 64), line.p,
			    r == -ERANGE ? "is out of range" : "has no number");
}

/* Parse "MemTotal: 2096684 kB", in bytes. */
static int take_kib(struct stow_span *line, uint64_t *ret)
{
	uint64_t v;
	int r = stow_span_number(line, &v);

	if (r < 0)
		return r;
	if (stow_span_take(line, "kB") && __builtin_mul_overflow(v, 1024, &v))
		return -ERANGE;
	*ret = v;
	return 0;
}

int stow_meminfo_parse(const char *text, size_t len, struct stow_meminfo *ret, struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_meminfo info = { 0 };
	int found = 0;

	/* Both lines are among the first: stop after them. */
	while (found < 2 && stow_span_line(&rest, &line)) {
		struct stow_span whole = line;
		uint64_t node;
		int r = 0;

		if (stow_span_take(&line, "Node"))
			r = stow_span_number(&line, &node);
		if (r == 0 && stow_span_take(&line, "MemTotal:")) {
			r = take_kib(&line, &info.total);
			found++;
		} else if (r == 0 && stow_span_take(&line, "MemFree:")) {
			r = take_kib(&line, &info.free);
			found++;
		}
		if (r < 0)
			return bad_line(r, whole, "meminfo", err);
	}
	*ret = info;
	return 0;
}

int stow_meminfo_read(struct stow_root *root, int node, struct stow_meminfo *ret,
		      struct stow_err *err)
{
	char text[8192];
	int r;

	r = stow_root_read_buf(root, text, sizeof(text), err,
			       "/sys/devices/system/node/node%d/meminfo", node);
	if (r < 0)
		return r;
	r = stow_meminfo_parse(text, (size_t)r, ret, err);
	return r < 0 ? stow_err_wrap(err, r, "node %d", node) : 0;
}

static struct stow_zone_sums *sums_of(struct stow_zoneinfo *info, int node)
{
	struct stow_zone_sums *grown;

	/* The zones of a node follow each other, so the search rarely visits more than one
	 * entry. */
	for (size_t i = info->n_nodes; i-- > 0;)
		if (info->nodes[i].node == node)
			return &info->nodes[i];
	if ((info->n_nodes & (info->n_nodes - 1)) == 0) { /* full: 0, 1, 2, 4, 8 ... */
		size_t capacity = info->n_nodes ? info->n_nodes * 2 : 1;

		grown = realloc(info->nodes, capacity * sizeof(*grown));
		if (!grown)
			return NULL;
		info->nodes = grown;
	}
	info->nodes[info->n_nodes] = (struct stow_zone_sums){ .node = node };
	return &info->nodes[info->n_nodes++];
}

/* Parse "Node 0, zone Normal". */
static int zone_header(struct stow_zoneinfo *info, struct stow_span line,
		       struct stow_zone_sums **ret)
{
	uint64_t node = 0;
	int r = stow_span_number(&line, &node);

	if (r < 0)
		return r;
	if (node >= STOW_IDSET_MAX)
		return -ERANGE;
	*ret = sums_of(info, (int)node);
	return *ret ? 0 : -ENOMEM;
}

/*
 * Return the counter to add the line's number to. Before Linux 4.8 the LRU lists, and before 4.14
 * the slabs, were counted by zone, now by node under its first zone: the sum is right in each case.
 * "high:" of the per-CPU page lists is not the watermark "high".
 */
static uint64_t *zone_counter(struct stow_zone_sums *sums, struct stow_span *line)
{
	if (stow_span_take(line, "pages"))
		return stow_span_take(line, "free") ? &sums->free : NULL;
	if (stow_span_take(line, "low"))
		return &sums->low;
	if (stow_span_take(line, "high"))
		return &sums->high;
	if (stow_span_take(line, "nr_inactive_file") || stow_span_take(line, "nr_active_file"))
		return &sums->file;
	if (stow_span_take(line, "nr_slab_reclaimable") ||
	    stow_span_take(line, "nr_kernel_misc_reclaimable"))
		return &sums->reclaimable;
	return NULL;
}

int stow_zoneinfo_parse(const char *text, size_t len, struct stow_zoneinfo *ret,
			struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_zone_sums *sums = NULL;
	struct stow_zoneinfo info = { 0 };
	int r = 0;

	while (stow_span_line(&rest, &line)) {
		struct stow_span whole = line;
		uint64_t *counter, v;

		if (stow_span_take(&line, "Node")) {
			r = zone_header(&info, line, &sums);
		} else if (sums && (counter = zone_counter(sums, &line))) {
			r = stow_span_number(&line, &v);
			if (r == 0 && __builtin_add_overflow(*counter, v, counter))
				r = -ERANGE;
		}
		if (r < 0) {
			stow_zoneinfo_done(&info);
			return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "zoneinfo")
					    : bad_line(r, whole, "zoneinfo", err);
		}
	}
	if (!sums)
		return stow_err_set(err, EINVAL, "zoneinfo: no zone in it");
	*ret = info;
	return 0;
}

int stow_zoneinfo_read(struct stow_root *root, struct stow_zoneinfo *ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, ZONEINFO_MAX, &text, &len, err, "/proc/zoneinfo");
	if (r < 0)
		return r;
	return stow_zoneinfo_parse(text, len, ret, err);
}

void stow_zoneinfo_done(struct stow_zoneinfo *info)
{
	free(info->nodes);
	*info = (struct stow_zoneinfo){ 0 };
}

const struct stow_zone_sums *stow_zoneinfo_node(const struct stow_zoneinfo *info, int node)
{
	for (size_t i = 0; i < info->n_nodes; i++)
		if (info->nodes[i].node == node)
			return &info->nodes[i];
	return NULL;
}

/* What reclaim gives back of `pages` without thrashing. */
static uint64_t less_working_set(uint64_t pages, uint64_t low)
{
	return pages - (STOW_MIN(pages / 2, low));
}

uint64_t stow_zone_available(const struct stow_zone_sums *sums)
{
	uint64_t reclaim = stow_saturating_add(less_working_set(sums->file, sums->low),
					       less_working_set(sums->reclaimable, sums->low));
	uint64_t all = stow_saturating_add(sums->free, reclaim);

	/* Below the high watermarks, what is reclaimed goes there first. */
	return stow_saturating_sub(all, sums->high);
}
