// SPDX-License-Identifier: Apache-2.0
#include "node/topology.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "node/hugepage.h"
#include "node/memory.h"

#define LOCAL_DISTANCE	10 /* the kernel's own defaults, include/linux/topology.h */
#define REMOTE_DISTANCE 20

/* Long enough for a mask of STOW_IDSET_MAX bits, and for a list of every second number. */
#define MASK_MAX     4096
#define DISTANCE_MAX 16384

/* Reads the kernel's mask format: 32-bit words in hexadecimal, the highest first, with commas
 * ("1,00000000" is CPU 32). Only the first word may be short. */
static int parse_mask(const char *text, struct stow_idset *ret)
{
	struct stow_idset set = { 0 };
	size_t len = strlen(text);
	int bit = 0;

	if (!len)
		return -EINVAL;
	for (size_t i = len; i-- > 0;) {
		char c = text[i];
		uint64_t digit;

		if (c == ',')
			continue;
		bit += 4;
		if (c == '0') /* most are */
			continue;
		if (!isxdigit((unsigned char)c))
			return -EINVAL;
		if (bit > STOW_IDSET_MAX)
			return -ERANGE;
		digit = (uint64_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
		set.bits[(bit - 4) / 64] |= digit << ((bit - 4) % 64);
	}
	*ret = set;
	return 0;
}

static int read_mask(struct stow_root *root, struct stow_idset *ret, const char *path)
{
	char text[MASK_MAX];
	int r = stow_root_read_buf(root, text, sizeof(text), NULL, "%s", path);

	return r < 0 ? r : parse_mask(text, ret);
}

/* --- CPUs: cores, caches, packages ----------------------------------------------------------- */

/*
 * A file of cpuN/topology under the names that it had over the years, masks last. The name that
 * worked is tried first for the next CPU.
 */
struct siblings_file {
	const char *names[4];
	size_t n_names;
	size_t n_lists; /* the names before this index hold lists, the others masks */
	size_t last;
};

struct cpu_reader {
	struct stow_root *root;
	struct stow_topology *t;
	int *index; /* CPU id to index in t->cpus, -1 for others */
	struct siblings_file cores;
	struct siblings_file packages;
	int n_cores, n_llcs, n_packages;
	bool no_caches; /* the kernel describes none on this machine */
};

static bool read_siblings(struct cpu_reader *r, struct siblings_file *file, int cpu,
			  struct stow_idset *ret)
{
	for (size_t i = 0; i < file->n_names; i++) {
		size_t at = (file->last + i) % file->n_names;
		char path[128];
		int res;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/%s", cpu,
			 file->names[at]);
		if (at < file->n_lists)
			res = stow_root_read_idset(r->root, ret, NULL, "%s", path);
		else
			res = read_mask(r->root, ret, path);
		if (res == 0 && stow_idset_has(ret, cpu)) {
			file->last = at;
			return true;
		}
	}
	return false;
}

static struct stow_cpu *cpu_of(struct cpu_reader *r, int id)
{
	return r->index[id] >= 0 ? &r->t->cpus[r->index[id]] : NULL;
}

static void read_core(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;

	if (!read_siblings(r, &r->cores, cpu->id, &set)) {
		set = (struct stow_idset){ 0 };
		stow_idset_add(&set, cpu->id);
	}
	STOW_IDSET_FOR(id, &set) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->core < 0)
			other->core = r->n_cores;
	}
	r->n_cores++;
}

/* Without a list of its own, a package is what has its number, or else the machine. */
static void package_by_number(struct cpu_reader *r, struct stow_idset *ret)
{
	struct stow_idset set = { 0 };
	uint64_t mine = 0, other;

	for (size_t i = 0; i < r->t->n_cpus; i++) {
		struct stow_cpu *cpu = &r->t->cpus[i];

		if (cpu->package >= 0)
			continue;
		if (stow_root_read_u64(r->root, &other, NULL,
				       "/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
				       cpu->id) < 0)
			other = UINT64_MAX;
		if (stow_idset_empty(&set))
			mine = other;
		if (other == mine)
			stow_idset_add(&set, cpu->id);
	}
	*ret = set;
}

static void read_package(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;

	if (!read_siblings(r, &r->packages, cpu->id, &set))
		package_by_number(r, &set);
	STOW_IDSET_FOR(id, &set) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->package < 0)
			other->package = r->n_packages;
	}
	r->n_packages++;
}

static bool read_cache(struct cpu_reader *r, int cpu, int index, struct stow_idset *ret)
{
	char path[128];
	int n;

	n = snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cache/index%d/", cpu,
		     index);
	snprintf(path + n, sizeof(path) - (size_t)n, "shared_cpu_list");
	if (stow_root_read_idset(r->root, ret, NULL, "%s", path) < 0) {
		snprintf(path + n, sizeof(path) - (size_t)n, "shared_cpu_map");
		if (read_mask(r->root, ret, path) < 0)
			return false;
	}
	return stow_idset_has(ret, cpu);
}

/*
 * The kernel numbers a CPU's caches from the core outwards, so the last-level cache is the one
 * with the highest number that is not for instructions alone. The number differs between the
 * cores of a hybrid machine: each group's first CPU is asked.
 */
static bool read_last_cache(struct cpu_reader *r, int cpu, struct stow_idset *ret)
{
	struct stow_idset indices;
	char dir[64], type[32];

	if (r->no_caches)
		return false;
	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/cache", cpu);
	if (stow_root_list_ids(r->root, dir, "index", &indices, NULL) < 0)
		return false;
	/* Caches are described for all CPUs or for none: the first one tells. */
	r->no_caches = r->n_llcs == 0 && stow_idset_empty(&indices);
	for (int i = 31; i >= 0; i--) {
		if (!stow_idset_has(&indices, i))
			continue;
		if (stow_root_read_buf(r->root, type, sizeof(type), NULL, "%s/index%d/type", dir,
				       i) >= 0 &&
		    strcmp(type, "Instruction") == 0)
			continue;
		if (read_cache(r, cpu, i, ret))
			return true;
	}
	return false;
}

/* Without caches, what the scheduler assumes: the CPUs of one package on one node share one. */
static void read_llc(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;
	bool known = read_last_cache(r, cpu->id, &set);

	for (size_t i = 0; !known && i < r->t->n_cpus; i++) {
		struct stow_cpu *other = &r->t->cpus[i];

		if (other->llc < 0 && other->package == cpu->package && other->node == cpu->node)
			other->llc = r->n_llcs;
	}
	for (int id = known ? stow_idset_next(&set, 0) : -1; id >= 0;
	     id = stow_idset_next(&set, id + 1)) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->llc < 0)
			other->llc = r->n_llcs;
	}
	r->n_llcs++;
}

static int read_cpus(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	_cleanup_free_ int *index = malloc(STOW_IDSET_MAX * sizeof(*index));
	struct cpu_reader r = {
		.root = root,
		.t = t,
		.index = index,
		.cores = { { "core_cpus_list", "thread_siblings_list", "thread_siblings" }, 3, 2 },
		.packages = { { "package_cpus_list", "core_siblings_list", "core_siblings" }, 3, 2 },
	};

	t->cpus = calloc(stow_idset_count(&t->online) + 1, sizeof(*t->cpus));
	if (!t->cpus || !index)
		return stow_err_sys(err, ENOMEM, "reading the CPUs");
	memset(index, 0xff, STOW_IDSET_MAX * sizeof(*index));
	STOW_IDSET_FOR(id, &t->online) {
		index[id] = (int)t->n_cpus;
		t->cpus[t->n_cpus++] = (struct stow_cpu){ id, -1, -1, -1, -1 };
	}
	for (size_t n = 0; n < t->n_nodes; n++)
		STOW_IDSET_FOR(id, &t->nodes[n].cpus)
			cpu_of(&r, id)->node = t->nodes[n].id;
	for (size_t i = 0; i < t->n_cpus; i++) {
		/* Whoever is numbered already is a sibling of a CPU that was read. */
		if (t->cpus[i].core < 0)
			read_core(&r, &t->cpus[i]);
		if (t->cpus[i].package < 0)
			read_package(&r, &t->cpus[i]);
		if (t->cpus[i].llc < 0)
			read_llc(&r, &t->cpus[i]);
	}
	return 0;
}

/* --- nodes ----------------------------------------------------------------------------------- */

static int read_online_cpus(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_idset present;
	int missing = 0;
	int r = stow_root_read_idset(root, ret, err, "/sys/devices/system/cpu/online");

	if (r != -ENOENT)
		return r;
	/* Linux before 2.6.26: a folder for each CPU, and a file in it where it can be offline. */
	r = stow_root_list_ids(root, "/sys/devices/system/cpu", "cpu", &present, err);
	if (r < 0)
		return r;
	*ret = present;
	STOW_IDSET_FOR(id, &present) {
		uint64_t online;
		int res = stow_root_read_u64(root, &online, NULL,
					     "/sys/devices/system/cpu/cpu%d/online", id);

		if (res == 0 && online == 0)
			stow_idset_del(ret, id);
		/* The boot CPU may have none; without a second one, no CPU can go offline. */
		if (res == -ENOENT && missing++)
			break;
	}
	return 0;
}

static int read_online_nodes(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	int r = stow_root_read_idset(root, ret, err, "/sys/devices/system/node/online");

	if (r == -ENOENT)
		r = stow_root_list_ids(root, "/sys/devices/system/node", "node", ret, err);
	return r;
}

/* `lists` is cleared when the kernel turns out to have masks only (before Linux 2.6.26). */
static void read_node_cpus(struct stow_root *root, struct stow_node *node, bool *lists)
{
	char path[64];

	if (*lists &&
	    stow_root_read_idset(root, &node->cpus, NULL, "/sys/devices/system/node/node%d/cpulist",
				 node->id) == 0)
		return;
	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpumap", node->id);
	if (read_mask(root, &node->cpus, path) == 0)
		*lists = false;
	else
		node->cpus = (struct stow_idset){ 0 };
}

/* The node that the kernel allocates from for this CPU: the link from the CPU's folder. */
static int linked_node(struct stow_root *root, int cpu)
{
	struct stow_idset nodes;
	char dir[64];

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d", cpu);
	if (stow_root_list_ids(root, dir, "node", &nodes, NULL) < 0 ||
	    stow_idset_count(&nodes) != 1)
		return -1;
	return stow_idset_next(&nodes, 0);
}

/*
 * Every online CPU belongs to exactly one node from here on. Firmware has been seen that puts
 * each CPU on every node; the CPU's own link decides then, or the first node that claims it. A
 * CPU that no node claims goes to the first node, as in the kernel.
 */
static void settle_cpus(struct stow_root *root, struct stow_topology *t)
{
	struct stow_idset seen = { 0 }, twice = { 0 }, rest = t->online;

	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_idset again = seen;

		stow_idset_and(&t->nodes[i].cpus, &t->online);
		stow_idset_and(&again, &t->nodes[i].cpus);
		stow_idset_or(&twice, &again);
		stow_idset_or(&seen, &t->nodes[i].cpus);
	}
	STOW_IDSET_FOR(cpu, &twice) {
		int link = linked_node(root, cpu);
		const struct stow_node *home = stow_topology_node(t, link);

		for (size_t i = 0; i < t->n_nodes; i++) {
			struct stow_node *node = &t->nodes[i];

			if (!home && stow_idset_has(&node->cpus, cpu))
				home = node;
			if (node == home)
				stow_idset_add(&node->cpus, cpu);
			else
				stow_idset_del(&node->cpus, cpu);
		}
	}
	stow_idset_minus(&rest, &seen);
	stow_idset_or(&t->nodes[0].cpus, &rest);
}

static int machine_meminfo(struct stow_root *root, struct stow_meminfo *ret, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	int r;

	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, &len, err, "/proc/meminfo");
	return r < 0 ? r : stow_meminfo_parse(text, len, ret, err);
}

/* A copied tree may lack the file: then nothing is known, and nothing is to be had. */
static int read_memory(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];
		struct stow_meminfo info = { 0 };
		int r = -ENOENT;

		if (t->numa)
			r = stow_meminfo_read(root, node->id, &info, err);
		if (r == -ENOENT && t->n_nodes == 1)
			r = machine_meminfo(root, &info, err);
		if (r < 0 && r != -ENOENT)
			return r;
		node->mem_total = info.total;
		node->mem_free = info.free;
		node->mem_available = info.free;
	}
	return 0;
}

static int read_available(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	/* A copied tree has no page size of its own; nearly all machines agree on this one's. */
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct stow_zoneinfo info = { 0 };
	int r = stow_zoneinfo_read(root, &info, err);

	if (r == -ENOENT || r == -EACCES)
		return 0; /* what is free stands for it */
	if (r < 0)
		return r;
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];
		const struct stow_zone_sums *sums = stow_zoneinfo_node(&info, node->id);
		uint64_t pages = sums ? stow_zone_available(sums) : 0;

		node->mem_available = node->mem_total;
		if (pages < node->mem_total / page)
			node->mem_available = pages * page;
	}
	stow_zoneinfo_done(&info);
	return 0;
}

static int read_pools(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	uint64_t sizes[STOW_POOLS_MAX];
	int n = stow_pool_sizes(root, sizes, err);

	if (n < 0)
		return n;
	for (size_t i = 0; i < t->n_nodes; i++) {
		struct stow_node *node = &t->nodes[i];

		for (int s = 0; s < n; s++) {
			int r = stow_pool_read(root, node->id, sizes[s],
					       &node->pools[node->n_pools], err);

			/* A node without memory has no pools, on some kernels. */
			if (r < 0 && r != -ENOENT)
				return r;
			if (r == 0)
				node->n_pools++;
		}
	}
	return 0;
}

/* A line with one number for each online node, by ascending id (node_read_distance() in
 * drivers/base/node.c). False, with the row partly written, when it is anything else. */
static bool parse_distances(const char *text, int *row, size_t n)
{
	size_t got = 0;

	while (*text) {
		int v = 0;

		while (*text == ' ' || *text == '\n')
			text++;
		if (!*text)
			break;
		if (*text < '0' || *text > '9' || got == n)
			return false;
		for (; *text >= '0' && *text <= '9' && v < 1 << 20; text++)
			v = v * 10 + (*text - '0');
		row[got++] = v;
	}
	return got == n;
}

static int read_distances(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	size_t n = t->n_nodes;

	t->distance = calloc(n * n, sizeof(*t->distance));
	if (!t->distance)
		return stow_err_sys(err, ENOMEM, "reading the distances");
	for (size_t i = 0; i < n; i++) {
		int *row = t->distance + i * n;
		char text[DISTANCE_MAX];

		if (n > 1 &&
		    stow_root_read_buf(root, text, sizeof(text), NULL,
				       "/sys/devices/system/node/node%d/distance",
				       t->nodes[i].id) >= 0 &&
		    parse_distances(text, row, n))
			continue;
		for (size_t j = 0; j < n; j++)
			row[j] = i == j ? LOCAL_DISTANCE : REMOTE_DISTANCE;
	}
	return 0;
}

static int read_nodes(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	struct stow_idset ids;
	bool lists = true;
	int r = read_online_nodes(root, &ids, err);

	if (r < 0)
		return r;
	t->numa = !stow_idset_empty(&ids);
	if (!t->numa)
		stow_idset_add(&ids, 0);
	t->nodes = calloc(stow_idset_count(&ids), sizeof(*t->nodes));
	if (!t->nodes)
		return stow_err_sys(err, ENOMEM, "reading the nodes");
	STOW_IDSET_FOR(id, &ids) {
		struct stow_node *node = &t->nodes[t->n_nodes++];

		node->id = id;
		if (t->numa)
			read_node_cpus(root, node, &lists);
	}
	settle_cpus(root, t);
	return read_memory(root, t, err);
}

static bool nothing_there(const struct stow_topology *t)
{
	for (size_t i = 0; i < t->n_nodes; i++)
		if (t->nodes[i].mem_total)
			return false;
	return stow_idset_empty(&t->online);
}

int stow_topology_read(struct stow_root *root, unsigned int flags,
		       struct stow_topology **ret_topology, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *t = calloc(1, sizeof(*t));
	struct stow_err inner = { 0 }; /* also of failures that something else stands in for */
	int r;

	if (!t)
		return stow_err_sys(err, ENOMEM, "reading the topology");
	r = read_online_cpus(root, &t->online, &inner);
	if (r == 0)
		r = read_nodes(root, t, &inner);
	if (r == 0 && nothing_there(t))
		r = stow_err_set(&inner, ENODATA, "neither CPUs nor memory found in %s",
				 root->live ? "/sys" : root->prefix);
	if (r == 0)
		r = read_distances(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_AVAILABLE)
		r = read_available(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_POOLS)
		r = read_pools(root, t, &inner);
	if (r == 0 && flags & STOW_TOPOLOGY_CPUS)
		r = read_cpus(root, t, &inner);
	if (r == 0)
		*ret_topology = STOW_TAKE_PTR(t);
	else if (err)
		*err = inner;
	return r;
}

void stow_topology_free(struct stow_topology *topology)
{
	if (!topology)
		return;
	free(topology->nodes);
	free(topology->distance);
	free(topology->cpus);
	free(topology);
}

static int node_index(const struct stow_topology *t, int id)
{
	size_t lo = 0, hi = t->n_nodes;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (t->nodes[mid].id == id)
			return (int)mid;
		if (t->nodes[mid].id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return -1;
}

const struct stow_node *stow_topology_node(const struct stow_topology *topology, int id)
{
	int at = node_index(topology, id);

	return at < 0 ? NULL : &topology->nodes[at];
}

int stow_topology_distance(const struct stow_topology *topology, int from, int to)
{
	int i = node_index(topology, from), j = node_index(topology, to);

	if (i < 0 || j < 0)
		return -1;
	return topology->distance[(size_t)i * topology->n_nodes + (size_t)j];
}
