// SPDX-License-Identifier: Apache-2.0
#include "cli/topology_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define LABEL_WIDTH 14 /* two blanks, the label, a gap */

/* Words after a label, wrapped into lines of the same indentation. */
struct words {
	const char *label;
	size_t column; /* 0: nothing printed yet */
};

static void put_word(struct words *words, const char *word)
{
	size_t len = strlen(word);

	if (words->column && words->column + 2 + len > TOPOLOGY_LINE_WIDTH) {
		printf("\n%*s", LABEL_WIDTH, "");
		words->column = LABEL_WIDTH;
	} else if (words->column) {
		printf("  ");
		words->column += 2;
	} else {
		printf("  %-*s", LABEL_WIDTH - 2, words->label);
		words->column = LABEL_WIDTH;
	}
	fputs(word, stdout);
	words->column += len;
}

static void end_words(struct words *words)
{
	if (words->column)
		putchar('\n');
	words->column = 0;
}

static const char *plural(size_t n)
{
	return n == 1 ? "" : "s";
}

/* Return the mark of assumed values, which no file has. */
static const char *mark(unsigned int assumed, unsigned int what)
{
	return assumed & what ? " (assumed)" : "";
}

static int print_cpus(const struct stow_node *node)
{
	_cleanup_free_ char *list = stow_idset_to_list(&node->cpus);

	if (!list)
		return -ENOMEM;
	printf("  %-*s%s%s\n", LABEL_WIDTH - 2, "cpus", *list ? list : "none",
	       mark(node->assumed, STOW_ASSUMED_CPUS));
	return 0;
}

/* Print groups only if they are informative: more than one CPU each, and more than one group. */
static int print_groups(const struct topology_view *view, const struct stow_node *node,
			enum topology_level level, const char *label)
{
	_cleanup_free_ struct stow_idset *groups = NULL;
	size_t cpus = stow_idset_count(&node->cpus);
	struct words words = { .label = label };
	int n = topology_groups(view->topology, &node->cpus, level, &groups);

	if (n < 0)
		return n;
	if ((size_t)n == cpus || (n == 1 && level != TOPOLOGY_CORE))
		return 0;
	for (int i = 0; i < n; i++) {
		_cleanup_free_ char *list = stow_idset_to_list(&groups[i]);

		if (!list)
			return -ENOMEM;
		put_word(&words, list);
	}
	if (node->assumed & (level == TOPOLOGY_CORE ? STOW_ASSUMED_CORES : STOW_ASSUMED_CACHES))
		put_word(&words, "(assumed)");
	end_words(&words);
	return 0;
}

static void print_memory(const struct stow_node *node)
{
	char total[32], free_size[32], available[32];

	if (!node->mem_total) {
		printf("  %-*s%s\n", LABEL_WIDTH - 2, "memory",
		       node->assumed & STOW_ASSUMED_MEMORY ? "unknown" : "none");
		return;
	}
	printf("  %-*s%s total, %s free, %s available%s\n", LABEL_WIDTH - 2, "memory",
	       stow_format_size(node->mem_total, total, sizeof(total)),
	       stow_format_size(node->mem_free, free_size, sizeof(free_size)),
	       stow_format_size(node->mem_available, available, sizeof(available)),
	       mark(node->assumed, STOW_ASSUMED_AVAILABLE));
}

static void print_pools(const struct stow_node *node)
{
	struct words words = { .label = "hugepages" };

	for (size_t i = 0; i < node->n_pools; i++) {
		const struct stow_pool *pool = &node->pools[i];
		char size[32], word[128];
		size_t n;

		stow_format_size(pool->size, size, sizeof(size));
		if (pool->total)
			n = (size_t)snprintf(word, sizeof(word),
					     "%s: %" PRIu64 " of %" PRIu64 " free", size,
					     pool->free, pool->total);
		else
			n = (size_t)snprintf(word, sizeof(word), "%s: none", size);
		if (pool->surplus)
			snprintf(word + n, sizeof(word) - n, " (%" PRIu64 " surplus)",
				 pool->surplus);
		put_word(&words, word);
	}
	end_words(&words);
}

static void print_blocks(const struct stow_memblocks *blocks, int node)
{
	size_t total, online;
	char size[32];

	stow_memblocks_count(blocks, node, &total, &online);
	if (total)
		printf("  %-*s%zu of %zu online, %s each\n", LABEL_WIDTH - 2, "blocks", online,
		       total, stow_format_size(blocks->block_size, size, sizeof(size)));
}

static void print_devices(const struct stow_devices *list, int node)
{
	const char *label = "devices";

	for (size_t i = 0; i < list->n_devices; i++) {
		const struct stow_device *device = &list->devices[i];

		if (device->node != node)
			continue;
		printf("  %-*s%s  %s", LABEL_WIDTH - 2, label, device->address,
		       stow_device_kind_name(device->kind));
		for (size_t n = 0; n < device->n_names; n++)
			printf(" %s", device->names[n]);
		putchar('\n');
		label = "";
	}
}

static void print_given(const struct topology_view *view, const struct stow_node *node)
{
	struct topology_given given;
	char cpus[64], size[32];

	if (!view->usage)
		return;
	topology_given(view->usage, node, &given);
	printf("  %-*s%zu exclusive CPUs", LABEL_WIDTH - 2, "given away",
	       stow_idset_count(&given.exclusive));
	if (!stow_idset_empty(&given.exclusive))
		printf(" (%s)", stow_idset_format(&given.exclusive, cpus, sizeof(cpus)));
	printf(", %" PRIu32 " shared; %s memory", given.shared_cpus,
	       stow_format_size(given.memory, size, sizeof(size)));
	for (size_t i = 0; given.pools && i < given.pools->n_pools; i++)
		printf("; %" PRIu64 " pages of %s", given.pools->pools[i].promised,
		       stow_format_size(given.pools->pools[i].size, size, sizeof(size)));
	printf("%s\n", given.fenced ? "; fenced" : "");
}

/* Return the nodes with assumed values. */
static struct stow_idset assumed_nodes(const struct stow_topology *t, unsigned int what)
{
	struct stow_idset nodes = { 0 };

	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].assumed & what)
			stow_idset_add(&nodes, t->nodes[i].id);
	return nodes;
}

static int print_summary(const struct topology_view *view)
{
	const struct stow_topology *t = view->topology;
	uint64_t total = 0, available = 0;
	struct stow_idset unknown;
	char a[32], b[32], nodes[128];
	int n[TOPOLOGY_PACKAGE + 1];

	for (int level = TOPOLOGY_CORE; level <= TOPOLOGY_PACKAGE; level++) {
		_cleanup_free_ struct stow_idset *groups = NULL;

		n[level] = topology_groups(t, &t->online, (enum topology_level)level, &groups);
		if (n[level] < 0)
			return n[level];
	}
	for (size_t i = 0; i < t->n_nodes; i++) {
		total += t->nodes[i].mem_total;
		available += t->nodes[i].mem_available;
	}
	if (t->numa)
		printf("%zu NUMA node%s, ", t->n_nodes, plural(t->n_nodes));
	else
		printf("no NUMA, ");
	printf("%d package%s%s, %d core%s%s, %zu CPU%s, ", n[TOPOLOGY_PACKAGE],
	       plural((size_t)n[TOPOLOGY_PACKAGE]), mark(t->assumed, STOW_ASSUMED_PACKAGES),
	       n[TOPOLOGY_CORE], plural((size_t)n[TOPOLOGY_CORE]),
	       mark(t->assumed, STOW_ASSUMED_CORES), t->n_cpus, plural(t->n_cpus));
	unknown = assumed_nodes(t, STOW_ASSUMED_MEMORY);
	if (stow_idset_count(&unknown) == t->n_nodes) {
		printf("memory unknown\n");
		return 0;
	}
	printf("%s memory, %s available%s", stow_format_size(total, a, sizeof(a)),
	       stow_format_size(available, b, sizeof(b)), mark(t->assumed, STOW_ASSUMED_AVAILABLE));
	if (!stow_idset_empty(&unknown))
		printf(", unknown of node%s %s", plural(stow_idset_count(&unknown)),
		       stow_idset_format(&unknown, nodes, sizeof(nodes)));
	putchar('\n');
	return 0;
}

static int print_node(const struct topology_view *view, const struct stow_node *node)
{
	int r;

	printf("\nnode %d\n", node->id);
	r = print_cpus(node);
	if (r == 0)
		r = print_groups(view, node, TOPOLOGY_CORE, "cores");
	if (r == 0)
		r = print_groups(view, node, TOPOLOGY_LLC, "caches");
	if (r < 0)
		return r;
	print_memory(node);
	print_pools(node);
	print_blocks(view->blocks, node->id);
	print_given(view, node);
	print_devices(view->devices, node->id);
	return 0;
}

int topology_print_text(const struct topology_view *view)
{
	const struct stow_topology *t = view->topology;
	size_t online = 0;
	char size[32];
	int r;

	if (!t->n_nodes) {
		for (size_t i = 0; i < view->blocks->n_blocks; i++)
			online += view->blocks->blocks[i].state == STOW_MEMBLOCK_ONLINE;
		printf("memory blocks only: %zu of %zu online, %s each\n", online,
		       view->blocks->n_blocks,
		       stow_format_size(view->blocks->block_size, size, sizeof(size)));
		return 0;
	}
	r = print_summary(view);
	for (size_t i = 0; r == 0 && i < t->n_nodes; i++)
		r = print_node(view, &t->nodes[i]);
	if (r < 0)
		return r;
	for (size_t i = 0; i < view->devices->n_devices; i++)
		if (view->devices->devices[i].node < 0) {
			printf("\nnode unknown\n");
			print_devices(view->devices, -1);
			break;
		}
	return topology_print_distances(t);
}
