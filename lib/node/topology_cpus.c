// SPDX-License-Identifier: Apache-2.0
/* Which CPUs share cores, last-level caches and packages. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "node/topology_internal.h"

/* Enough for a mask of STOW_IDSET_MAX bits. */
#define MASK_MAX 4096

/* Parse the kernel's mask format: 32-bit words in hexadecimal, the highest first, separated by
 * commas ("1,00000000" is CPU 32). Only the first word may be short. Some kernels end it with two
 * newlines (powerpc's caches, before Linux 4.20). */
static int parse_mask(const char *text, struct stow_idset *ret)
{
	struct stow_idset set = { 0 };
	size_t len = strlen(text);
	int bit = 0;

	while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
		len--;
	if (!len)
		return -EINVAL;
	for (size_t i = len; i-- > 0;) {
		char c = text[i];
		uint64_t digit;

		if (c == ',')
			continue;
		bit += 4;
		if (c == '0') /* skip: most digits are */
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

int stow_mask_read(struct stow_root *root, const char *path, struct stow_idset *ret,
		   struct stow_err *err)
{
	char text[MASK_MAX];
	int r = stow_root_read_buf(root, text, sizeof(text), err, "%s", path);

	if (r < 0)
		return r;
	r = parse_mask(text, ret);
	if (r == -ERANGE)
		return stow_err_set(err, ERANGE, "%s: \"%.64s\": numbers must be below %d", path,
				    text, STOW_IDSET_MAX);
	if (r < 0)
		return stow_err_set(err, EINVAL, "%s: \"%.64s\" is not a mask like ff,00000001",
				    path, text);
	return 0;
}

/*
 * A file of cpuN/topology under its present and former names, masks last. The name that existed is
 * tried first for the next CPU.
 */
struct siblings_file {
	const char *names[4];
	size_t n_names;
	size_t n_lists; /* names before this index hold lists, the others masks */
	size_t last;
};

struct cpu_reader {
	struct stow_root *root;
	struct stow_topology *t;
	struct stow_err *err; /* also for errors that are replaced by an assumption */
	int *index;	      /* CPU id to index in t->cpus; -1 for other CPUs */
	struct siblings_file cores;
	struct siblings_file packages;
	int n_cores, n_llcs, n_packages;
	bool no_caches; /* the kernel describes no caches on this machine */
};

/* Return 1 with the list, or -errno; 0 when no file exists, or none lists the CPU itself. */
static int read_siblings(struct cpu_reader *r, struct siblings_file *file, int cpu,
			 struct stow_idset *ret)
{
	for (size_t i = 0; i < file->n_names; i++) {
		size_t at = (file->last + i) % file->n_names;
		char path[128];
		int res;

		snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/%s", cpu,
			 file->names[at]);
		if (at < file->n_lists)
			res = stow_root_read_idset(r->root, ret, r->err, "%s", path);
		else
			res = stow_mask_read(r->root, path, ret, r->err);
		if (res < 0 && !stow_is_missing(res))
			return res;
		if (res == 0 && stow_idset_has(ret, cpu)) {
			file->last = at;
			return 1;
		}
	}
	return 0;
}

static struct stow_cpu *cpu_of(struct cpu_reader *r, int id)
{
	return r->index[id] >= 0 ? &r->t->cpus[r->index[id]] : NULL;
}

static int read_core(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;
	int known = read_siblings(r, &r->cores, cpu->id, &set);

	if (known < 0)
		return known;
	if (!known) {
		set = (struct stow_idset){ 0 };
		stow_idset_add(&set, cpu->id);
		stow_topology_assume(r->t, cpu->node, STOW_ASSUMED_CORES);
	}
	STOW_IDSET_FOR(id, &set) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->core < 0)
			other->core = r->n_cores;
	}
	r->n_cores++;
	return 0;
}

/* Read the package number. UINT64_MAX: there is none, or -1 in its place (arm64 without a topology
 * of its own). */
static int read_package_number(struct cpu_reader *r, int cpu, uint64_t *ret)
{
	char path[128], text[32];
	int res;

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/topology/physical_package_id",
		 cpu);
	*ret = UINT64_MAX;
	res = stow_root_read_buf(r->root, text, sizeof(text), r->err, "%s", path);
	if (stow_is_missing(res) || (res >= 0 && strcmp(text, "-1") == 0))
		return 0;
	if (res < 0)
		return res;
	res = stow_parse_u64(text, UINT64_MAX - 1, ret, r->err);
	if (res < 0)
		return stow_err_wrap(r->err, res, "%s", path);
	return 0;
}

/* Build a package without a list from the CPUs with the same number, or from all CPUs. */
static int package_by_number(struct cpu_reader *r, struct stow_idset *ret)
{
	struct stow_idset set = { 0 };
	uint64_t mine = 0, other;

	for (size_t i = 0; i < r->t->n_cpus; i++) {
		struct stow_cpu *cpu = &r->t->cpus[i];
		int res;

		if (cpu->package >= 0)
			continue;
		res = read_package_number(r, cpu->id, &other);
		if (res < 0)
			return res;
		if (stow_idset_empty(&set))
			mine = other;
		if (other == mine)
			stow_idset_add(&set, cpu->id);
		if (other == UINT64_MAX)
			stow_topology_assume(r->t, cpu->node, STOW_ASSUMED_PACKAGES);
	}
	*ret = set;
	return 0;
}

static int read_package(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;
	int known = read_siblings(r, &r->packages, cpu->id, &set);

	if (known == 0)
		known = package_by_number(r, &set);
	if (known < 0)
		return known;
	STOW_IDSET_FOR(id, &set) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->package < 0)
			other->package = r->n_packages;
	}
	r->n_packages++;
	return 0;
}

/* Return 1 with the CPUs of one cache, 0 when no file has them, or -errno. */
static int read_cache(struct cpu_reader *r, int cpu, int index, struct stow_idset *ret)
{
	char path[128];
	int n, res;

	n = snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cache/index%d/", cpu,
		     index);
	snprintf(path + n, sizeof(path) - (size_t)n, "shared_cpu_list");
	res = stow_root_read_idset(r->root, ret, r->err, "%s", path);
	if (stow_is_missing(res)) {
		snprintf(path + n, sizeof(path) - (size_t)n, "shared_cpu_map");
		res = stow_mask_read(r->root, path, ret, r->err);
	}
	if (res < 0)
		return stow_is_missing(res) ? 0 : res;
	return stow_idset_has(ret, cpu);
}

/*
 * Find the last-level cache of a CPU. The kernel numbers a CPU's caches from the core outwards, so
 * this is the cache with the highest number that is not for instructions alone. The number differs
 * between the cores of a hybrid machine: the first CPU of each group is asked. Return as
 * read_cache() does.
 */
static int read_last_cache(struct cpu_reader *r, int cpu, struct stow_idset *ret)
{
	struct stow_idset indices;
	char dir[64], type[32];
	int res;

	if (r->no_caches)
		return 0;
	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/cache", cpu);
	res = stow_root_list_ids(r->root, dir, "index", &indices, r->err);
	if (res < 0)
		return stow_is_missing(res) ? 0 : res;
	/* The kernel describes caches for all CPUs or for none: check the first CPU. */
	r->no_caches = r->n_llcs == 0 && stow_idset_empty(&indices);
	for (int i = 31; i >= 0; i--) {
		if (!stow_idset_has(&indices, i))
			continue;
		res = stow_root_read_buf(r->root, type, sizeof(type), r->err, "%s/index%d/type",
					 dir, i);
		if (res < 0 && !stow_is_missing(res))
			return res;
		if (res >= 0 && strcmp(type, "Instruction") == 0)
			continue;
		res = read_cache(r, cpu, i, ret);
		if (res)
			return res;
	}
	return 0;
}

/* Find the cache domain; without caches, assume what the scheduler does: the CPUs of one package on
 * one node share one. */
static int read_llc(struct cpu_reader *r, struct stow_cpu *cpu)
{
	struct stow_idset set;
	int known = read_last_cache(r, cpu->id, &set);

	if (known < 0)
		return known;
	for (size_t i = 0; !known && i < r->t->n_cpus; i++) {
		struct stow_cpu *other = &r->t->cpus[i];

		if (other->llc < 0 && other->package == cpu->package && other->node == cpu->node)
			other->llc = r->n_llcs;
	}
	if (!known)
		stow_topology_assume(r->t, cpu->node, STOW_ASSUMED_CACHES);
	for (int id = known ? stow_idset_next(&set, 0) : -1; id >= 0;
	     id = stow_idset_next(&set, id + 1)) {
		struct stow_cpu *other = cpu_of(r, id);

		if (other && other->llc < 0)
			other->llc = r->n_llcs;
	}
	r->n_llcs++;
	return 0;
}

int stow_topology_read_cpus(struct stow_root *root, struct stow_topology *t, struct stow_err *err)
{
	_cleanup_free_ int *index = malloc(STOW_IDSET_MAX * sizeof(*index));
	struct cpu_reader r = {
		.root = root,
		.t = t,
		.index = index,
		.err = err,
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
		struct stow_cpu *cpu = &t->cpus[i];
		/* A CPU that has its numbers already is a sibling of a CPU that was read. */
		int res = cpu->core < 0 ? read_core(&r, cpu) : 0;

		if (res == 0 && cpu->package < 0)
			res = read_package(&r, cpu);
		if (res == 0 && cpu->llc < 0)
			res = read_llc(&r, cpu);
		if (res < 0)
			return res;
	}
	return 0;
}
