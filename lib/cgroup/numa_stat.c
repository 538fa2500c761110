// SPDX-License-Identifier: Apache-2.0
#include "cgroup/numa_stat.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/span.h"
#include "base/text.h"

void stow_numa_stat_done(struct stow_numa_stat *stat)
{
	free(stat->rows);
	free(stat->pairs);
	*stat = (struct stow_numa_stat){ 0 };
}

/* Parse "anon N0=4096 N1=0" (v2), or "total=12 N0=8 N1=4" (v1, hugetlb). */
static int take_row(struct stow_span line, uint64_t unit, struct stow_numa_stat *stat)
{
	struct stow_numa_row *row;
	struct stow_span word;
	const char *equals;
	uint64_t value;
	int node;

	if (!stow_span_word(&line, &word))
		return 0;
	equals = memchr(word.p, '=', (size_t)(word.end - word.p));
	if (equals)
		word.end = equals;
	if (word.end == word.p || (size_t)(word.end - word.p) >= sizeof(row->name))
		return -EINVAL;
	row = STOW_APPEND(stat->rows, stat->n_rows);
	if (!row)
		return -ENOMEM;
	snprintf(row->name, sizeof(row->name), "%.*s", stow_span_len(word, sizeof(row->name) - 1),
		 word.p);
	stow_text_ascii(row->name);
	row->first = stat->n_pairs;
	while (stow_span_node_pair(&line, &node, &value)) {
		struct stow_numa_pair *pair = STOW_APPEND(stat->pairs, stat->n_pairs);

		if (!pair)
			return -ENOMEM;
		pair->node = node;
		if (__builtin_mul_overflow(value, unit, &pair->bytes) ||
		    pair->bytes == STOW_UNKNOWN)
			return -ERANGE;
		row->n++;
	}
	stow_span_blanks(&line);
	return line.p == line.end && row->n ? 0 : -EINVAL;
}

int stow_numa_stat_parse(const char *text, size_t len, uint64_t unit, struct stow_numa_stat *ret,
			 struct stow_err *err)
{
	struct stow_span rest = { text, text + len }, line;
	struct stow_numa_stat stat = { 0 };
	int r = 0;

	while (r == 0 && stow_span_line(&rest, &line))
		r = take_row(line, unit, &stat);
	if (r == 0 && !stat.n_rows)
		r = -EINVAL;
	if (r < 0) {
		stow_numa_stat_done(&stat);
		return stow_err_set(err, -r, "numa_stat: %s",
				    r == -ENOMEM ? "out of memory" : "not as the kernel writes it");
	}
	*ret = stat;
	return 0;
}

uint64_t stow_numa_stat_get(const struct stow_numa_stat *stat, const char *row, int node)
{
	for (size_t i = 0; i < stat->n_rows; i++) {
		if (strcmp(stat->rows[i].name, row) != 0)
			continue;
		for (size_t k = 0; k < stat->rows[i].n; k++)
			if (stat->pairs[stat->rows[i].first + k].node == node)
				return stat->pairs[stat->rows[i].first + k].bytes;
		return STOW_UNKNOWN;
	}
	return STOW_UNKNOWN;
}

uint64_t stow_numa_stat_charged(const struct stow_numa_stat *stat, int version, int node)
{
	static const char *const v1[] = { "hierarchical_total", NULL };
	static const char *const v2[] = { "anon",
					  "file",
					  "kernel_stack",
					  "pagetables",
					  "sec_pagetables",
					  "slab_reclaimable",
					  "slab_unreclaimable",
					  NULL };
	uint64_t sum = STOW_UNKNOWN;

	for (const char *const *row = version == 1 ? v1 : v2; *row; row++) {
		uint64_t bytes = stow_numa_stat_get(stat, *row, node);

		if (bytes != STOW_UNKNOWN)
			sum = stow_saturating_add(sum == STOW_UNKNOWN ? 0 : sum, bytes);
	}
	return sum;
}

static int read_stat(const struct stow_cgroup *cgroup, enum stow_controller controller,
		     const char *name, uint64_t unit, struct stow_numa_stat *ret,
		     struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	if (!cgroup->at[controller].version || !cgroup->at[controller].dir)
		return stow_err_set(err, ENOTSUP, "no controller for %s", name);
	r = stow_root_read(cgroup->at[controller].dir, STOW_ROOT_READ_MAX, &text, &len, err, "%s",
			   name);
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP, "this kernel has no %s", name);
	if (r < 0)
		return r;
	r = stow_numa_stat_parse(text, len, unit, ret, err);
	return r < 0 ? stow_err_wrap(err, r, "%s", name) : 0;
}

int stow_memory_numa_read(const struct stow_cgroup *cgroup, uint64_t page_size,
			  struct stow_numa_stat *ret, struct stow_err *err)
{
	uint64_t unit = cgroup->at[STOW_CGROUP_MEMORY].version == 1 ? page_size : 1;

	return read_stat(cgroup, STOW_CGROUP_MEMORY, "memory.numa_stat", unit, ret, err);
}

int stow_hugetlb_numa_read(const struct stow_cgroup *cgroup, uint64_t size,
			   struct stow_numa_stat *ret, struct stow_err *err)
{
	char page[32], name[64];

	snprintf(name, sizeof(name), "hugetlb.%s.numa_stat",
		 stow_format_pagesize(size, page, sizeof(page)));
	return read_stat(cgroup, STOW_CGROUP_HUGETLB, name, 1, ret, err);
}
