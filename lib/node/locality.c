// SPDX-License-Identifier: Apache-2.0
#include "node/locality.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"

#define NODE_DIR  "/sys/devices/system/node"
#define CPU_DIR	  "/sys/devices/system/cpu"
#define TIER_DIR  "/sys/devices/virtual/memory_tiering"
#define CPUINFO	  "/proc/cpuinfo"
#define VENDOR	  "vendor_id"
#define INDEX_MAX 16 /* of folders indexN of memory-side caches */

const char *stow_node_state_name(enum stow_node_state state)
{
	static const char *const names[] = {
		"possible",	     "online",
		"has_cpu",	     "has_memory",
		"has_normal_memory", "has_generic_initiator",
	};

	return names[state];
}

static const char *word_of(int number, const char *zero, const char *one)
{
	return number < 0 ? NULL : number == 0 ? zero : number == 1 ? one : "other";
}

const char *stow_side_cache_indexing(const struct stow_side_cache *cache)
{
	return word_of(cache->indexing, "direct-mapped", "indexed");
}

const char *stow_side_cache_policy(const struct stow_side_cache *cache)
{
	return word_of(cache->write_policy, "write-back", "write-through");
}

/* Record a file that exists and is no good; a missing one is normal. Return whether it was read. */
static bool good(struct stow_locality *l, int r, const struct stow_err *err)
{
	if (r >= 0)
		return true;
	if (r != -ENOENT && r != -ENOTDIR && r != -ENODEV && !l->n_broken++)
		l->broken = *err;
	return false;
}

/* The kernel prints a newline at least: an empty file is as none, and not an empty set.
 * Linux 2.6.38 printed a zero byte. */
static bool read_ids(struct stow_root *root, struct stow_locality *l, struct stow_idset *ret,
		     const char *path)
{
	_cleanup_close_ int fd = -EBADF;
	_cleanup_free_ char *text = NULL;
	struct stow_err err;
	int r;

	fd = stow_root_openat(root, O_RDONLY, 0, &err, "%s", path);
	r = fd < 0 ? fd : stow_read_all(fd, STOW_ROOT_READ_MAX, path, &text, NULL, &err);
	if (r == 0 && !*text)
		return false;
	if (r == 0) {
		r = stow_idset_parse(text, ret, &err);
		if (r < 0)
			(void)stow_err_wrap(&err, r, "%s", path);
	}
	return good(l, r, &err);
}

static int64_t read_number(struct stow_root *root, struct stow_locality *l, const char *dir,
			   const char *file)
{
	struct stow_err err;
	uint64_t value;
	int r = stow_root_read_u64(root, &value, &err, "%s/%s", dir, file);

	if (r == 0 && value > INT64_MAX)
		r = stow_err_set(&err, ERANGE, "%s/%s is too large", dir, file);
	return good(l, r, &err) ? (int64_t)value : -1;
}

static void read_states(struct stow_root *root, struct stow_locality *l)
{
	for (int s = 0; s < STOW_NODE_STATES; s++) {
		char path[96];

		snprintf(path, sizeof(path), NODE_DIR "/%s",
			 stow_node_state_name((enum stow_node_state)s));
		l->known[s] = read_ids(root, l, &l->states[s], path);
	}
}

static void read_cpus(struct stow_root *root, struct stow_locality *l)
{
	l->cpus_known = read_ids(root, l, &l->possible_cpus, CPU_DIR "/possible") &&
			read_ids(root, l, &l->present_cpus, CPU_DIR "/present");
}

/* --- memory ---------------------------------------------------------------- */

static void read_access(struct stow_root *root, struct stow_locality *l, int node, int class,
			struct stow_access *ret)
{
	static const char *const files[] = { "read_latency", "write_latency", "read_bandwidth",
					     "write_bandwidth" };
	uint64_t *values[] = { &ret->read_latency, &ret->write_latency, &ret->read_bandwidth,
			       &ret->write_bandwidth };
	struct stow_err err;
	char dir[96];

	snprintf(dir, sizeof(dir), NODE_DIR "/node%d/access%d/initiators", node, class);
	if (stow_root_exists(root, "%s", dir) <= 0)
		return;
	if (!good(l, stow_root_list_ids(root, dir, "node", &ret->initiators, &err), &err))
		return;
	ret->known = true;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		int64_t value = read_number(root, l, dir, files[i]);

		*values[i] = value > 0 ? (uint64_t)value : 0;
	}
}

static void read_side_caches(struct stow_root *root, struct stow_locality *l, int node,
			     struct stow_locality_node *ret)
{
	struct stow_idset levels;
	struct stow_err err;
	char dir[96];

	snprintf(dir, sizeof(dir), NODE_DIR "/node%d/memory_side_cache", node);
	if (!good(l, stow_root_list_ids(root, dir, "index", &levels, &err), &err))
		return;
	STOW_IDSET_FOR(level, &levels) {
		struct stow_side_cache *cache = &ret->caches[ret->n_caches];
		int64_t number;

		if (level >= INDEX_MAX || ret->n_caches == STOW_SIDE_CACHES)
			return;
		snprintf(dir, sizeof(dir), NODE_DIR "/node%d/memory_side_cache/index%d", node,
			 level);
		cache->level = level;
		cache->size = read_number(root, l, dir, "size");
		cache->line_size = read_number(root, l, dir, "line_size");
		number = read_number(root, l, dir, "indexing");
		cache->indexing = number > 2 ? 2 : (int)number;
		number = read_number(root, l, dir, "write_policy");
		cache->write_policy = number > 2 ? 2 : (int)number;
		ret->n_caches++;
	}
}

static void read_tiers(struct stow_root *root, struct stow_locality *l,
		       const struct stow_topology *t)
{
	struct stow_err err;
	char text[16];
	int r;

	if (!good(l, stow_root_list_ids(root, TIER_DIR, "memory_tier", &l->tiers, &err), &err))
		l->tiers = (struct stow_idset){ 0 };
	STOW_IDSET_FOR(tier, &l->tiers) {
		struct stow_idset nodes;
		char path[96];

		snprintf(path, sizeof(path), TIER_DIR "/memory_tier%d/nodelist", tier);
		if (!read_ids(root, l, &nodes, path))
			continue;
		for (size_t i = 0; i < t->n_nodes; i++)
			if (stow_idset_has(&nodes, t->nodes[i].id))
				l->nodes[i].tier = tier;
	}
	l->demotion = -1;
	r = stow_root_read_buf(root, text, sizeof(text), &err,
			       "/sys/kernel/mm/numa/demotion_enabled");
	if (!good(l, r, &err))
		return;
	if (strcmp(text, "true") == 0 || strcmp(text, "1") == 0)
		l->demotion = 1;
	else if (strcmp(text, "false") == 0 || strcmp(text, "0") == 0)
		l->demotion = 0;
	else
		good(l,
		     stow_err_set(&err, EINVAL,
				  "/sys/kernel/mm/numa/demotion_enabled: \"%s\" is neither "
				  "true nor false",
				  text),
		     &err);
}

/* --- the order of fallback -------------------------------------------------- */

struct candidate {
	uint64_t value;
	int index;
};

static int by_value(const void *a, const void *b)
{
	const struct candidate *x = a, *y = b;

	return x->value != y->value ? (x->value > y->value) - (x->value < y->value)
				    : x->index - y->index;
}

#define MAX_NODES 1024 /* MAX_NUMNODES of distributions' kernels; it separates sums only */

/* The kernel chooses the nearest node, by distance, plus 1 for a lower number ("prefer the next
 * node"), plus 1 for CPUs, and among equals that with the lowest load. A node's load is how often
 * it was the first choice of a distance. */
static size_t order_from(const struct stow_topology *t, const struct stow_idset *memory,
			 size_t from, unsigned int *load, struct candidate *list, int *order)
{
	const int *row = t->distance + from * t->n_nodes;
	size_t n = 0;
	int before = row[from];

	for (size_t i = 0; i < t->n_nodes; i++) {
		uint64_t value = i == from ? 0 : (uint64_t)row[i] + 1;

		if (!stow_idset_has(memory, t->nodes[i].id))
			continue;
		if (i != from) {
			value += (uint64_t)(i < from) + !stow_idset_empty(&t->nodes[i].cpus);
			value = value * MAX_NODES + load[i];
		}
		list[n++] = (struct candidate){ value, (int)i };
	}
	if (n)
		qsort(list, n, sizeof(*list), by_value);
	for (size_t i = 0; i < n; i++) {
		int node = list[i].index;

		if (row[node] != before)
			load[node]++;
		before = row[node];
		order[i] = node;
	}
	return n;
}

/* Compute the order of fallback for each node of the topology, as indices: row i of `order`, which
 * has n_nodes * n_nodes elements, begins with the nodes of `memory` (ids) for node i. Return their
 * number, or -ENOMEM. */
static int order_all(const struct stow_topology *t, const struct stow_idset *memory, int *order)
{
	_cleanup_free_ unsigned int *load = calloc(t->n_nodes + 1, sizeof(*load));
	_cleanup_free_ struct candidate *list = calloc(t->n_nodes + 1, sizeof(*list));
	size_t n = 0;

	if (!load || !list)
		return -ENOMEM;
	for (size_t i = 0; i < t->n_nodes; i++)
		n = order_from(t, memory, i, load, list, order + i * t->n_nodes);
	return (int)n;
}

static int compute_fallback(struct stow_locality *l, const struct stow_topology *t,
			    struct stow_err *err)
{
	struct stow_idset memory = l->states[STOW_NODE_HAS_MEMORY];
	size_t n = t->n_nodes;
	int found;

	if (!l->known[STOW_NODE_HAS_MEMORY]) {
		memory = (struct stow_idset){ 0 };
		for (size_t i = 0; i < n; i++)
			if (t->nodes[i].mem_total)
				stow_idset_add(&memory, t->nodes[i].id);
	}
	l->fallback = calloc(n * n + 1, sizeof(*l->fallback));
	found = l->fallback ? order_all(t, &memory, l->fallback) : -ENOMEM;
	if (found < 0)
		return stow_err_sys(err, ENOMEM, "computing the order of fallback");
	for (size_t i = 0; i < n; i++) {
		int *row = l->fallback + i * n;

		for (int k = 0; k < found; k++)
			row[k] = t->nodes[row[k]].id;
		l->nodes[i].fallback = row;
		l->nodes[i].n_fallback = (size_t)found;
	}
	return 0;
}

/* --- packages ---------------------------------------------------------------- */

static void read_packaging(struct stow_root *root, struct stow_locality *l)
{
	_cleanup_close_ int fd = stow_root_openat(root, O_RDONLY, 0, NULL, CPUINFO);
	char text[512];
	const char *vendor;
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	vendor = strstr(text, VENDOR);
	vendor = vendor ? strchr(vendor, ':') : NULL;
	if (!vendor)
		return;
	if (strncmp(vendor, ": AuthenticAMD\n", 15) == 0 ||
	    strncmp(vendor, ": HygonGenuine\n", 15) == 0)
		l->packaging = "NPS";
	else if (strncmp(vendor, ": GenuineIntel\n", 15) == 0)
		l->packaging = "SNC";
}

/* Count the nodes that have CPUs of each package; of each node, its first CPU tells. */
static int count_packages(struct stow_locality *l, const struct stow_topology *t,
			  struct stow_err *err)
{
	_cleanup_free_ int *node_of = NULL, *llc_of = NULL, *count = NULL;
	int packages = 0, per_package = 0;

	l->nodes_per_package = -1;
	if (!t->n_cpus || t->assumed & (STOW_ASSUMED_PACKAGES | STOW_ASSUMED_CPUS))
		return 0;
	count = calloc(t->n_cpus, sizeof(*count));
	node_of = calloc(t->n_cpus, sizeof(*node_of));	  /* of each cache; -1: several */
	llc_of = calloc(STOW_IDSET_MAX, sizeof(*llc_of)); /* of each node, from 1; -1: several */
	if (!count || !node_of || !llc_of)
		return stow_err_sys(err, ENOMEM, "counting the packages");
	for (size_t i = 0; i < t->n_nodes; i++) {
		int package = -1;

		STOW_IDSET_FOR(id, &t->nodes[i].cpus) {
			const struct stow_cpu *cpu = stow_topology_cpu(t, id);

			if (package >= 0 && cpu->package != package)
				return 0; /* a node of several packages */
			package = cpu->package;
		}
		if (package >= 0)
			count[package]++;
	}
	l->node_is_llc = !(t->assumed & STOW_ASSUMED_CACHES);
	for (size_t i = 0; i < t->n_cpus; i++) {
		const struct stow_cpu *cpu = &t->cpus[i];
		int *node = &node_of[cpu->llc], *llc = &llc_of[cpu->node];

		packages = cpu->package >= packages ? cpu->package + 1 : packages;
		if ((*node && *node != cpu->node + 1) || (*llc && *llc != cpu->llc + 1))
			l->node_is_llc = false;
		*node = cpu->node + 1;
		*llc = cpu->llc + 1;
	}
	for (int p = 0; p < packages; p++) {
		if (per_package && count[p] != per_package)
			return 0;
		per_package = count[p];
	}
	l->nodes_per_package = per_package;
	return 0;
}

void stow_locality_read_cpus(struct stow_root *root, struct stow_locality *ret)
{
	*ret = (struct stow_locality){ .demotion = -1, .nodes_per_package = -1, .packaging = "" };
	read_cpus(root, ret);
}

int stow_locality_read(struct stow_root *root, const struct stow_topology *topology,
		       struct stow_locality *ret, struct stow_err *err)
{
	struct stow_locality l = { .n_nodes = topology->n_nodes, .packaging = "" };
	int r;

	l.nodes = calloc(l.n_nodes + 1, sizeof(*l.nodes));
	if (!l.nodes)
		return stow_err_sys(err, ENOMEM, "reading the nodes");
	read_states(root, &l);
	read_cpus(root, &l);
	for (size_t i = 0; i < l.n_nodes; i++) {
		int id = topology->nodes[i].id;

		l.nodes[i].tier = -1;
		for (int class = 0; topology->numa && class < STOW_ACCESS_CLASSES; class ++)
			read_access(root, &l, id, class, &l.nodes[i].access[class]);
		if (topology->numa)
			read_side_caches(root, &l, id, &l.nodes[i]);
	}
	read_tiers(root, &l, topology);
	read_packaging(root, &l);
	r = compute_fallback(&l, topology, err);
	if (r == 0)
		r = count_packages(&l, topology, err);
	if (r < 0)
		stow_locality_done(&l);
	else
		*ret = l;
	return r;
}

void stow_locality_done(struct stow_locality *locality)
{
	free(locality->nodes);
	free(locality->fallback);
	*locality = (struct stow_locality){ 0 };
}
