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

	if (words->column && words->column + 2 + len > topology_width(TOPOLOGY_LINE_WIDTH)) {
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
	printf("  %-*s%zu exclusive CPUs", LABEL_WIDTH - 2, "granted",
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

/* Return the nodes whose memory is not known. */
static struct stow_idset without_memory_size(const struct stow_topology *t)
{
	struct stow_idset nodes = { 0 };

	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].assumed & STOW_ASSUMED_MEMORY)
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
	unknown = without_memory_size(t);
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

/* --- what the kernel knows beyond the topology ------------------------------ */

#define FALLBACK_SHOWN 16

static void print_states(const struct stow_locality *l, int id)
{
	struct words words = { .label = "states" };

	for (int s = STOW_NODE_HAS_CPU; s < STOW_NODE_STATES; s++)
		if (l->known[s] && stow_idset_has(&l->states[s], id))
			put_word(&words, stow_node_state_name((enum stow_node_state)s));
	end_words(&words);
}

static void print_fallback(const struct stow_locality_node *node)
{
	struct words words = { .label = "fallback" };
	char word[16];

	if (node->n_fallback < 2)
		return;
	for (size_t i = 0; i < node->n_fallback; i++) {
		if (i == FALLBACK_SHOWN) {
			put_word(&words, "...");
			break;
		}
		snprintf(word, sizeof(word), "%d", node->fallback[i]);
		put_word(&words, word);
	}
	put_word(&words, "(computed)");
	end_words(&words);
}

static void print_side_caches(const struct stow_locality_node *node)
{
	for (size_t i = 0; i < node->n_caches; i++) {
		const struct stow_side_cache *cache = &node->caches[i];
		const char *indexing = stow_side_cache_indexing(cache),
			   *policy = stow_side_cache_policy(cache);
		char size[32];

		printf("  %-*slevel %d: %s", LABEL_WIDTH - 2, i ? "" : "side cache", cache->level,
		       cache->size > 0 ? stow_format_size((uint64_t)cache->size, size, sizeof(size))
				       : "-");
		printf(", %s, %s", indexing ? indexing : "-", policy ? policy : "-");
		if (cache->line_size > 0)
			printf(", lines of %" PRId64 " bytes", cache->line_size);
		putchar('\n');
	}
}

/* Print what is known of reading and writing; `between`: what is printed before it. */
static void print_values(const char **between, uint64_t read, uint64_t write, const char *unit)
{
	if (read)
		printf("%s read %" PRIu64 " %s", *between, read, unit);
	if (write)
		printf("%s write %" PRIu64 " %s", read ? "," : *between, write, unit);
	*between = read || write ? ";" : *between;
}

static bool same_access(const struct stow_access *a, const struct stow_access *b)
{
	return stow_idset_equal(&a->initiators, &b->initiators) &&
	       a->read_latency == b->read_latency && a->write_latency == b->write_latency &&
	       a->read_bandwidth == b->read_bandwidth && a->write_bandwidth == b->write_bandwidth;
}

/* Class 1 is printed only where it differs: other initiators than CPUs are rare. */
static void print_access(const struct stow_locality_node *node)
{
	const char *label = "access";

	for (int class = 0; class < STOW_ACCESS_CLASSES; class ++) {
		const struct stow_access *a = &node->access[class];
		const char *between = ":";
		char nodes[64];

		if (!a->known || (class && same_access(a, &node->access[0])))
			continue;
		printf("  %-*sfrom %s%s", LABEL_WIDTH - 2, label,
		       stow_idset_format(&a->initiators, nodes, sizeof(nodes)),
		       class ? " (CPUs)" : "");
		print_values(&between, a->read_latency, a->write_latency, "ns");
		print_values(&between, a->read_bandwidth, a->write_bandwidth, "MB/s");
		putchar('\n');
		label = "";
	}
}

/* What was measured to the node's memory, beside what the firmware says of it. */
static void print_measured(const struct stow_measured *measured, int id)
{
	struct words words = { .label = "measured" };

	for (size_t i = 0; i < measured->n; i++) {
		const struct stow_measured_pair *pair = &measured->pairs[i];
		double latency = pair->latency > 0 ? pair->latency : pair->latency_4k;
		char word[128] = "";

		if (pair->to != id || !(latency > 0 || pair->read > 0))
			continue;
		stow_append(word, sizeof(word), "from %d: ", pair->from);
		if (latency > 0)
			stow_append(word, sizeof(word), "%.1f ns%s", latency,
				    pair->latency > 0 ? "" : " (4 KiB pages)");
		if (pair->read > 0)
			stow_append(word, sizeof(word), "%sread %.0f MB/s", latency > 0 ? ", " : "",
				    pair->read);
		put_word(&words, word);
	}
	end_words(&words);
}

static void print_locality(const struct topology_view *view, size_t at)
{
	const struct stow_locality_node *node = &view->locality->nodes[at];

	print_states(view->locality, view->topology->nodes[at].id);
	print_fallback(node);
	if (node->tier >= 0)
		printf("  %-*s%d\n", LABEL_WIDTH - 2, "memory tier", node->tier);
	print_side_caches(node);
	print_access(node);
	print_measured(view->measured, view->topology->nodes[at].id);
}

/* Nodes per package, and what can be added while the machine runs. */
static void print_machine(const struct topology_view *view)
{
	const struct stow_locality *l = view->locality;
	struct stow_idset nodes = l->states[STOW_NODE_POSSIBLE], cpus = l->possible_cpus;
	char list[128];

	if (l->nodes_per_package > 1)
		printf("%d nodes per package", l->nodes_per_package);
	if (l->nodes_per_package > 1 && *l->packaging)
		printf(" (%s%d%s)", l->packaging, l->nodes_per_package,
		       l->node_is_llc ? ", or a node for each last-level cache" : "");
	if (l->nodes_per_package > 1)
		putchar('\n');
	if (l->known[STOW_NODE_ONLINE] && l->known[STOW_NODE_POSSIBLE]) {
		stow_idset_minus(&nodes, &l->states[STOW_NODE_ONLINE]);
		if (!stow_idset_empty(&nodes))
			printf("hotplug: nodes %s are possible\n",
			       stow_idset_format(&nodes, list, sizeof(list)));
	}
	if (view->measured->n)
		printf("measured %s%s%s\n", view->measured->time,
		       strcmp(view->measured->virtualization, "hypervisor") == 0
			       ? ", in a virtual machine"
			       : "",
		       view->measured->firmware == STOW_MEASURED_UNKNOWN
			       ? " (only root can tell whether the firmware is still the same)"
			       : "");
	stow_idset_minus(&cpus, &l->present_cpus);
	if (l->cpus_known && !stow_idset_empty(&cpus))
		printf("hotplug: CPUs %s are possible\n",
		       stow_idset_format(&cpus, list, sizeof(list)));
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
	print_locality(view, (size_t)(node - view->topology->nodes));
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
	if (r == 0)
		print_machine(view);
	for (size_t i = 0; r == 0 && i < t->n_nodes; i++)
		if (topology_wants(view, t->nodes[i].id))
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
