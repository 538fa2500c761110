// SPDX-License-Identifier: Apache-2.0
#include "cgroup/limits.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "cgroup/kubepods.h"

const char *stow_hugetlb_limit_name(int version, uint64_t page_size, bool reservation, char *buf,
				    size_t size)
{
	char page[32];

	snprintf(buf, size, "hugetlb.%s.%s%s", stow_format_pagesize(page_size, page, sizeof(page)),
		 reservation ? "rsvd." : "", version == 1 ? "limit_in_bytes" : "max");
	return buf;
}

const char *stow_memory_limit_name(int version)
{
	return version == 1 ? "memory.limit_in_bytes" : "memory.max";
}

/* Parse one limit: a number of bytes, or "max". UINT64_MAX: none. v1 writes no limit as the largest
 * multiple of a page. */
static uint64_t parse_limit(const char *text)
{
	uint64_t limit;

	if (stow_parse_u64(text, UINT64_MAX, &limit, NULL) < 0 || limit >= UINT64_C(1) << 62)
		return UINT64_MAX;
	return limit;
}

uint64_t stow_cgroup_limit(const struct stow_cgroup *cgroup, enum stow_controller controller,
			   const char *name)
{
	struct stow_root *dir = cgroup->at[controller].dir;
	char text[64];

	if (!dir || stow_root_read_buf(dir, text, sizeof(text), NULL, "%s", name) < 0)
		return UINT64_MAX;
	return parse_limit(text);
}

/* Call `take` with the attribute of each cgroup above that has it. The topmost cgroup has no such
 * attribute on v2, and no limits on v1. */
static void each_above(const struct stow_cgroup *cgroup, enum stow_controller controller,
		       const char *name, void (*take)(void *ctx, char *text), void *ctx)
{
	const char *point = cgroup->at[controller].point, *below = cgroup->at[controller].below;

	for (size_t len = point && below ? strlen(below) : 0; len > 0;) {
		char text[64];

		while (len > 0 && below[len - 1] != '/')
			len--;
		while (len > 0 && below[len - 1] == '/')
			len--;
		if (stow_root_read_buf(cgroup->root, text, sizeof(text), NULL, "%s%.*s/%s", point,
				       (int)len, below, name) >= 0)
			take(ctx, text);
	}
}

static void take_limit(void *ctx, char *text)
{
	uint64_t *lowest = ctx, limit = parse_limit(text);

	if (limit < *lowest)
		*lowest = limit;
}

uint64_t stow_cgroup_limit_above(const struct stow_cgroup *cgroup, enum stow_controller controller,
				 const char *name)
{
	uint64_t lowest = UINT64_MAX;

	each_above(cgroup, controller, name, take_limit, &lowest);
	return lowest;
}

static uint64_t read_hugetlb_limit(struct stow_root *root, const struct stow_hierarchy *hierarchy,
				   const char *path, uint64_t page_size, bool reservation)
{
	char name[64], text[64];

	stow_hugetlb_limit_name(hierarchy->version, page_size, reservation, name, sizeof(name));
	if (stow_root_read_buf(root, text, sizeof(text), NULL, "%s%s/%s", hierarchy->point, path,
			       name) < 0)
		return UINT64_MAX;
	return parse_limit(text);
}

uint64_t stow_hugetlb_limit_of_pods(struct stow_root *root, uint64_t page_size, const char **ret)
{
	struct stow_hierarchy hierarchy;
	const char *tops[STOW_KUBEPODS_MAX];
	size_t n = stow_kubepods_find(root, tops);
	uint64_t most = 0;

	*ret = NULL;
	if (stow_cgroup_hierarchy(root, STOW_CGROUP_HUGETLB, &hierarchy, NULL) < 0 ||
	    hierarchy.above[0])
		return UINT64_MAX;
	for (size_t i = 0; i < n; i++) {
		uint64_t used = read_hugetlb_limit(root, &hierarchy, tops[i], page_size, false);
		uint64_t reserved = read_hugetlb_limit(root, &hierarchy, tops[i], page_size, true);

		if (*ret && STOW_MIN(used, reserved) <= most)
			continue;
		*ret = tops[i];
		most = STOW_MIN(used, reserved);
	}
	if (*ret && most != UINT64_MAX)
		return most;
	*ret = NULL;
	return UINT64_MAX;
}

/* Parse "QUOTA PERIOD", or "max PERIOD"; return CPUs, rounded up. */
static uint32_t parse_cpu_max(char *text)
{
	char *period_text = strchr(text, ' ');
	uint64_t quota, period;

	if (!period_text)
		return UINT32_MAX;
	*period_text++ = '\0';
	if (stow_parse_u64(text, UINT64_MAX, &quota, NULL) < 0 ||
	    stow_parse_u64(period_text, UINT64_MAX, &period, NULL) < 0 || !quota || !period)
		return UINT32_MAX;
	quota = (quota - 1) / period + 1;
	return stow_saturating_u32(quota);
}

uint32_t stow_cpu_limit(const struct stow_cgroup *cgroup)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	char text[64];

	if (!dir || !cgroup->at[STOW_CGROUP_CPUSET].on_v2 ||
	    stow_root_read_buf(dir, text, sizeof(text), NULL, "cpu.max") < 0)
		return UINT32_MAX;
	return parse_cpu_max(text);
}

static void take_cpu_max(void *ctx, char *text)
{
	uint32_t *lowest = ctx, limit = parse_cpu_max(text);

	if (limit < *lowest)
		*lowest = limit;
}

uint32_t stow_cpu_limit_above(const struct stow_cgroup *cgroup)
{
	uint32_t lowest = UINT32_MAX;

	if (cgroup->at[STOW_CGROUP_CPUSET].on_v2)
		each_above(cgroup, STOW_CGROUP_CPUSET, "cpu.max", take_cpu_max, &lowest);
	return lowest;
}

/* Read the value of " NODE=" (such as " N1=") in the first line of `text` that starts with
 * `key`. */
static int numa_stat_value(const char *text, const char *key, int node, uint64_t *ret)
{
	size_t len = strlen(key);
	char tag[16];

	snprintf(tag, sizeof(tag), " N%d=", node);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *end, *p;

		if (*line == '\n')
			line++;
		end = strchrnul(line, '\n');
		if (strncmp(line, key, len) != 0)
			continue;
		p = strstr(line, tag);
		if (!p || p > end)
			return -ENOENT;
		*ret = strtoull(p + strlen(tag), NULL, 10);
		return 0;
	}
	return -ENOENT;
}

/* Return the row for the cgroup and all below it; on v1 "total=" is that of the cgroup alone. */
static const char *total_key(const struct stow_cgroup *cgroup, enum stow_controller controller)
{
	return cgroup->at[controller].version == 1 ? "hierarchical_total=" : "total=";
}

int stow_hugetlb_used(const struct stow_cgroup *cgroup, uint64_t page_size, int node,
		      uint64_t *ret_pages, struct stow_err *err)
{
	char buf[16384], page[32];
	uint64_t bytes = 0;
	int r;

	if (!cgroup->at[STOW_CGROUP_HUGETLB].version)
		return stow_err_set(err, ENOTSUP, "no hugetlb controller");
	r = stow_root_read_buf(cgroup->at[STOW_CGROUP_HUGETLB].dir, buf, sizeof(buf), err,
			       "hugetlb.%s.numa_stat",
			       stow_format_pagesize(page_size, page, sizeof(page)));
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP, "no hugetlb.%s.numa_stat", page);
	if (r < 0)
		return r;
	r = numa_stat_value(buf, total_key(cgroup, STOW_CGROUP_HUGETLB), node, &bytes);
	*ret_pages = r < 0 ? 0 : bytes / page_size;
	return 0;
}

int stow_memory_used(const struct stow_cgroup *cgroup, int node, uint64_t *ret_bytes,
		     struct stow_err *err)
{
	static const char *const v2_keys[] = { "anon ",
					       "file ",
					       "kernel_stack ",
					       "pagetables ",
					       "slab_reclaimable ",
					       "slab_unreclaimable " };
	_cleanup_free_ char *text = NULL;
	uint64_t sum = 0, v;
	int r;

	if (!cgroup->at[STOW_CGROUP_MEMORY].version)
		return stow_err_set(err, ENOTSUP, "no memory controller");
	r = stow_root_read(cgroup->at[STOW_CGROUP_MEMORY].dir, STOW_ROOT_READ_MAX, &text, NULL, err,
			   "memory.numa_stat");
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP, "no memory.numa_stat");
	if (r < 0)
		return r;
	if (cgroup->at[STOW_CGROUP_MEMORY].version == 1) {
		/* v1: in pages, and only user memory. */
		if (numa_stat_value(text, total_key(cgroup, STOW_CGROUP_MEMORY), node, &v) == 0)
			sum = v * (uint64_t)sysconf(_SC_PAGESIZE);
	} else {
		for (size_t i = 0; i < STOW_ARRAY_SIZE(v2_keys); i++)
			if (numa_stat_value(text, v2_keys[i], node, &v) == 0)
				sum += v;
	}
	*ret_bytes = sum;
	return 0;
}
