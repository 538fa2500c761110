// SPDX-License-Identifier: Apache-2.0
/* numastow top: one reading of everything; which containers are shown, and in which order. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/view/top.h"

const char *const top_sort_names[TOP_SORTS + 1] = { "name",   "grant",	  "cpus",
						    "busy",   "nodes",	  "promised",
						    "memory", "off-node", NULL };

static const struct top_container *find(const struct top_source *source, const char *id)
{
	for (size_t i = 0; i < source->n; i++)
		if (strcmp(source->list[i].it.id, id) == 0)
			return &source->list[i];
	return NULL;
}

static int read_pages(struct top_view *view, struct stow_err *err)
{
	const struct top_source *source = &view->source;
	const struct top_container *c = view->pages.id[0] ? find(source, view->pages.id) : NULL;
	struct stow_err why = { 0 };
	int r;

	top_pages_earn(&view->pages, stow_clock_monotonic());
	r = top_pages_read(&view->pages, source->root, c ? c->it.cgroup : NULL, source->nodes,
			   source->n_nodes, &why);
	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if ((view->pages.id[0] && !c) || r < 0) {
		top_pages_done(&view->pages);
		snprintf(view->message, sizeof(view->message), "%.150s",
			 r < 0 ? why.msg : "the selected container has ended");
	}
	return 0;
}

int top_view_read(struct top_view *view, struct stow_err *err)
{
	struct top_machine now = { 0 };
	int r = top_machine_read(view->source.root, &view->pmu, &now, err);

	if (r < 0)
		return r;
	top_machine_done(&view->before);
	view->before = view->now;
	view->now = now;
	r = top_source_read(&view->source, &view->now, err);
	return r < 0 ? r : read_pages(view, err);
}

uint64_t top_view_passed(const struct top_view *view)
{
	return view->before.n_nodes ? stow_clock_elapsed(view->before.read_ns, view->now.read_ns)
				    : 0;
}

uint64_t top_view_hint_faults(const struct top_view *view)
{
	uint64_t before = view->before.counters[STOW_NUMA_HINT_FAULTS];
	uint64_t now = view->now.counters[STOW_NUMA_HINT_FAULTS];

	return before == STOW_UNKNOWN || now == STOW_UNKNOWN || !top_view_passed(view)
		       ? STOW_UNKNOWN
		       : stow_saturating_sub(now, before);
}

void top_view_done(struct top_view *view)
{
	top_machine_done(&view->now);
	top_machine_done(&view->before);
	top_pages_done(&view->pages);
	top_pmu_done(&view->pmu);
	top_source_done(&view->source);
}

/* --- the order of containers ----------------------------------------------- */

static int numbers(double a, double b)
{
	return (a > b) - (a < b);
}

/* Compare amounts. An unknown one is less than any other. */
static int amounts(uint64_t a, uint64_t b)
{
	return numbers(a == STOW_UNKNOWN ? -1 : (double)a, b == STOW_UNKNOWN ? -1 : (double)b);
}

static int names(const struct top_container *a, const struct top_container *b)
{
	char x[80], y[80];
	int r = strcmp(cli_container_label(&a->it, x, sizeof(x)),
		       cli_container_label(&b->it, y, sizeof(y)));

	return r ? r : strcmp(a->it.id, b->it.id);
}

/* Return what sorts containers by their first node; a container without nodes comes last. */
static double first_node(const struct top_container *c)
{
	return stow_idset_empty(&c->nodes) ? -STOW_IDSET_MAX : -stow_idset_next(&c->nodes, 0);
}

static double cpus(const struct top_container *c)
{
	return c->granted ? (double)c->cpus : -1;
}

static int compare(const struct top_container *a, const struct top_container *b, enum top_sort sort)
{
	switch (sort) {
	case TOP_GRANT:
		return numbers(a->granted + a->exclusive, b->granted + b->exclusive);
	case TOP_CPUS:
		return numbers(cpus(a), cpus(b));
	case TOP_BUSY:
		return numbers(top_container_busy(a), top_container_busy(b));
	case TOP_NODES:
		return numbers(first_node(a), first_node(b));
	case TOP_PROMISED:
		return amounts(a->memory, b->memory);
	case TOP_MEMORY:
		return amounts(a->total, b->total);
	case TOP_OFF_NODE:
		return numbers(top_container_off(a), top_container_off(b));
	case TOP_NAME:
	case TOP_SORTS:
		break;
	}
	return 0;
}

/* Sort by the view's column: the largest first, but names and nodes from the first. */
static int by_sort(const void *a, const void *b, void *ctx)
{
	const struct top_container *x = *(const struct top_container *const *)a;
	const struct top_container *y = *(const struct top_container *const *)b;
	const struct top_view *view = ctx;
	int r = view->sort == TOP_NAME ? names(y, x) : compare(x, y, view->sort);

	if (r == 0)
		return names(x, y);
	return view->reverse ? r : -r;
}

static bool is_shown(const struct top_view *view, const struct top_container *c)
{
	return strstr(c->it.id, view->filter) || (c->it.name && strstr(c->it.name, view->filter));
}

const struct top_container **top_view_order(const struct top_view *view, size_t *ret_n)
{
	const struct top_container **list = calloc(view->source.n + 1, sizeof(*list));
	size_t n = 0;

	for (size_t i = 0; list && i < view->source.n; i++)
		if (is_shown(view, &view->source.list[i]))
			list[n++] = &view->source.list[i];
	if (n)
		qsort_r(list, n, sizeof(*list), by_sort, (void *)view);
	*ret_n = n;
	return list;
}
