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

/* Find the smallest distance above `above` from a group to other nodes, and these nodes. -1:
 * none. */
static int next_distance(const struct stow_topology *t, const struct group *from, int above,
			 struct stow_idset *ret)
{
	int next = -1;

	*ret = (struct stow_idset){ 0 };
	for (size_t j = 0; j < t->n_nodes; j++) {
		int d = distance(t, from->first, j);

		if (j == from->first || d <= above || (next >= 0 && d > next))
			continue;
		if (d != next)
			*ret = (struct stow_idset){ 0 };
		next = d;
		stow_idset_add(ret, t->nodes[j].id);
		/* Other nodes of its group are at that distance, too. */
		if (j == from->first + 1 && from->n > 1)
			stow_idset_add(ret, t->nodes[from->first].id);
	}
	return next;
}

/* Print lists, when a table would be too wide: for each group the nodes by distance. */
static int print_lists(const struct stow_topology *t, const struct group *groups, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		size_t column = (size_t)printf("  from %s  %d: itself", groups[i].label,
					       distance(t, groups[i].first, groups[i].first));
		struct stow_idset at;

		for (int d = next_distance(t, &groups[i], -1, &at); d >= 0;
		     d = next_distance(t, &groups[i], d, &at)) {
			_cleanup_free_ char *list = stow_idset_to_list(&at);

			if (!list)
				return -ENOMEM;
			/* the list, the distance, two blanks */
			if (column + strlen(list) + 8 > topology_width(TOPOLOGY_LINE_WIDTH))
				column = (size_t)printf("\n%*s", 8, "");
			column += (size_t)printf("  %d: %s", d, list);
		}
		putchar('\n');
	}
	return 0;
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
