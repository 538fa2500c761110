// SPDX-License-Identifier: Apache-2.0
/* Prints distances as a table that fits on the screen. */
#include "cli/topology_view.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"

#define TABLE_WIDTH 110 /* 20 nodes, or 16 groups of four with two digits each */
#define COLUMN_MAX  32

/* Adjacent nodes that share a row and a column of the table. */
struct group {
	size_t first, n; /* indices in topology->nodes */
	char label[COLUMN_MAX];
};

static int distance(const struct stow_topology *t, size_t from, size_t to)
{
	return t->distance[from * t->n_nodes + to];
}

/* Return whether swapping two nodes would not change the table. */
static bool alike(const struct stow_topology *t, size_t a, size_t b)
{
	if (distance(t, a, a) != distance(t, b, b) || distance(t, a, b) != distance(t, b, a))
		return false;
	for (size_t k = 0; k < t->n_nodes; k++)
		if (k != a && k != b &&
		    (distance(t, a, k) != distance(t, b, k) ||
		     distance(t, k, a) != distance(t, k, b)))
			return false;
	return true;
}

/* Make groups; with `join`, neighbours that are alike are one group. Return their number. */
static size_t make_groups(const struct stow_topology *t, bool join, struct group *groups)
{
	size_t n = 0;

	for (size_t i = 0; i < t->n_nodes; i++) {
		if (!join || !n || !alike(t, i - 1, i))
			groups[n++].first = i;
		groups[n - 1].n = i + 1 - groups[n - 1].first;
	}
	for (size_t g = 0; g < n; g++) {
		struct stow_idset ids = { 0 };

		for (size_t i = 0; i < groups[g].n; i++)
			stow_idset_add(&ids, t->nodes[groups[g].first + i].id);
		stow_idset_format(&ids, groups[g].label, sizeof(groups[g].label));
	}
	return n;
}

/* Format a cell: "21"; on the diagonal "10/21": the distance of a node to itself, and to other
 * nodes of its group. */
static const char *cell(const struct stow_topology *t, const struct group *from,
			const struct group *to, char *buf, size_t size)
{
	int d = distance(t, from->first, to->first);

	if (from == to && from->n > 1)
		snprintf(buf, size, "%d/%d", d, distance(t, from->first, from->first + 1));
	else
		snprintf(buf, size, "%d", d);
	return buf;
}

/* Compute the width of the first column, and of the other ones. */
static void measure(const struct stow_topology *t, const struct group *groups, size_t n,
		    size_t *ret_first, size_t *ret_other)
{
	size_t label = 0, widest = 4;
	char buf[COLUMN_MAX];

	for (size_t i = 0; i < n; i++) {
		label = STOW_MAX(label, strlen(groups[i].label));
		for (size_t j = 0; j < n; j++)
			widest = STOW_MAX(
				widest, strlen(cell(t, &groups[i], &groups[j], buf, sizeof(buf))));
	}
	*ret_first = STOW_MAX(label, strlen("from\\to"));
	*ret_other = STOW_MAX(label, widest);
}

static void print_table(const struct stow_topology *t, const struct group *groups, size_t n,
			size_t first, size_t other)
{
	char buf[COLUMN_MAX];

	printf("  %*s", (int)first, "from\\to");
	for (size_t j = 0; j < n; j++)
		printf(" %*s", (int)other, groups[j].label);
	putchar('\n');
	for (size_t i = 0; i < n; i++) {
		printf("  %*s", (int)first, groups[i].label);
		for (size_t j = 0; j < n; j++)
			printf(" %*s", (int)other,
			       cell(t, &groups[i], &groups[j], buf, sizeof(buf)));
		putchar('\n');
	}
}

/* Another node, as seen from one. */
struct near {
	int distance;
	int id;
};

static int compare_near(const void *a, const void *b)
{
	const struct near *x = a, *y = b;

	return x->distance != y->distance ? x->distance - y->distance : x->id - y->id;
}

/* Sort the other nodes by their distance from the first one of a group. Return their number. */
static size_t sort_near(const struct stow_topology *t, const struct group *from, struct near *near)
{
	size_t n = 0;

	for (size_t j = 0; j < t->n_nodes; j++)
		if (j != from->first)
			near[n++] = (struct near){ distance(t, from->first, j), t->nodes[j].id };
	qsort(near, n, sizeof(*near), compare_near);
	return n;
}

/* Print the nodes by their distance from a group, in lines of `width` columns. */
static int print_list(const struct stow_topology *t, const struct group *from,
		      const struct near *near, size_t n, size_t width)
{
	size_t column = (size_t)printf("  from %s  %d: itself", from->label,
				       distance(t, from->first, from->first));

	for (size_t k = 0; k < n;) {
		_cleanup_free_ char *list = NULL;
		struct stow_idset at = { 0 };
		int d = near[k].distance;

		for (; k < n && near[k].distance == d; k++)
			stow_idset_add(&at, near[k].id);
		/* Other nodes of its group are at that distance, too. */
		if (from->n > 1 && d == distance(t, from->first, from->first + 1))
			stow_idset_add(&at, t->nodes[from->first].id);
		list = stow_idset_to_list(&at);
		if (!list)
			return -ENOMEM;
		/* the list, the distance, two blanks */
		if (column + strlen(list) + 8 > width)
			column = (size_t)printf("\n%*s", 8, "");
		column += (size_t)printf("  %d: %s", d, list);
	}
	putchar('\n');
	return 0;
}

/* Print lists, when a table would be too wide. */
static int print_lists(const struct stow_topology *t, const struct group *groups, size_t n)
{
	_cleanup_free_ struct near *near = calloc(t->n_nodes, sizeof(*near));
	size_t width = topology_width(TOPOLOGY_LINE_WIDTH);
	int r = near ? 0 : -ENOMEM;

	for (size_t i = 0; r == 0 && i < n; i++)
		r = print_list(t, &groups[i], near, sort_near(t, &groups[i], near), width);
	return r;
}

static void print_heading(const struct stow_topology *t)
{
	struct stow_idset assumed = { 0 };
	char list[128];

	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].assumed & STOW_ASSUMED_DISTANCES)
			stow_idset_add(&assumed, t->nodes[i].id);
	if (stow_idset_empty(&assumed))
		printf("\ndistances\n");
	else if (stow_idset_count(&assumed) == t->n_nodes)
		printf("\ndistances (assumed)\n");
	else
		printf("\ndistances (from %s: assumed)\n",
		       stow_idset_format(&assumed, list, sizeof(list)));
}

int topology_print_distances(const struct stow_topology *t)
{
	_cleanup_free_ struct group *groups = NULL;
	size_t n = 0, first, other;

	if (t->n_nodes < 2)
		return 0;
	groups = calloc(t->n_nodes, sizeof(*groups));
	if (!groups)
		return -ENOMEM;
	print_heading(t);
	for (int join = 0; join < 2; join++) {
		n = make_groups(t, join, groups);
		measure(t, groups, n, &first, &other);
		if (2 + first + n * (1 + other) <= topology_width(TABLE_WIDTH)) {
			print_table(t, groups, n, first, other);
			return 0;
		}
	}
	return print_lists(t, groups, n);
}
