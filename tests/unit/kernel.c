// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "kernel.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"

#define TOP	  "/sys/fs/cgroup"
#define SHOWN_NOT UINT32_MAX

enum { CPUS, MEMS, CPUS_EFFECTIVE, MEMS_EFFECTIVE };

static const char *const names[3][4] = {
	[1] = { "cpuset.cpus", "cpuset.mems", "cpuset.effective_cpus", "cpuset.effective_mems" },
	[2] = { "cpuset.cpus", "cpuset.mems", "cpuset.cpus.effective", "cpuset.mems.effective" },
};

const char *kernel_list(uint32_t set, char *buf, size_t size)
{
	struct stow_idset ids = { 0 };

	ids.bits[0] = set;
	return stow_idset_format(&ids, buf, size);
}

/* What the kernel's own files say: nothing for an empty set. */
static void show_set(struct kernel *k, const char *path, uint32_t set)
{
	char list[128];

	tree_write(k->t, path, "%s\n", set ? kernel_list(set, list, sizeof(list)) : "");
}

uint32_t kernel_node_cpus(int node)
{
	return ((UINT32_C(1) << KERNEL_CPUS_PER_NODE) - 1) << (node * KERNEL_CPUS_PER_NODE);
}

static const char *mount_of(const struct kernel *k)
{
	return k->version == 1 ? TOP "/cpuset" : TOP;
}

bool kernel_is_below(const struct kernel *k, int cgroup, int above)
{
	while (cgroup >= 0 && cgroup != above)
		cgroup = k->s->cgroups[cgroup].above;
	return cgroup >= 0;
}

/* --- files ------------------------------------------------------------------------------------ */

static void show_procs(struct kernel *k, int cgroup, const char *mount, bool other)
{
	_cleanup_free_ char *text = NULL;
	char path[512];
	size_t len;
	FILE *out = open_memstream(&text, &len);

	for (size_t i = 0; i < KERNEL_PROCESSES; i++) {
		const struct kernel_process *p = &k->s->processes[i];

		if (p->pid && (other ? p->other : p->cpuset) == cgroup)
			fprintf(out, "%d\n", p->pid);
	}
	fclose(out);
	snprintf(path, sizeof(path), "%s%s/cgroup.procs", mount, k->s->cgroups[cgroup].path);
	tree_write(k->t, path, "%s", text);
}

/* Write what is true into those files of a cgroup that have something else. */
static void show(struct kernel *k, int i)
{
	struct kernel_cgroup *c = &k->s->cgroups[i];
	uint32_t now[4] = { c->cpus, c->mems, c->cpus_effective, c->mems_effective };
	bool populated = false;
	char path[512];

	for (int f = 0; f < 4 && !c->disabled; f++) {
		if (c->shown[f] == now[f] || (i == 0 && k->version == 2 && f < CPUS_EFFECTIVE))
			continue;
		snprintf(path, sizeof(path), "%s%s/%s", mount_of(k), c->path, names[k->version][f]);
		show_set(k, path, now[f]);
		c->shown[f] = now[f];
	}
	for (size_t p = 0; p < KERNEL_PROCESSES; p++)
		populated |=
			k->s->processes[p].pid && kernel_is_below(k, k->s->processes[p].cpuset, i);
	if (k->version == 2 && (populated != c->populated || !c->procs_shown)) {
		snprintf(path, sizeof(path), TOP "%s/cgroup.events", c->path);
		tree_write(k->t, path, "populated %d\nfrozen 0\n", populated);
	}
	c->populated = populated;
	if (c->procs_shown)
		return;
	show_procs(k, i, mount_of(k), false);
	if (k->version == 1)
		show_procs(k, i, TOP "/memory", true);
	c->procs_shown = true;
}

static void show_all(struct kernel *k)
{
	for (int i = 0; i < KERNEL_CGROUPS; i++)
		if (k->s->cgroups[i].used)
			show(k, i);
}

static void show_membership(struct kernel *k, const struct kernel_process *p)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/cgroup", p->pid);
	if (k->version == 2)
		tree_write(k->t, path, "0::%s\n", k->s->cgroups[p->cpuset].path);
	else
		tree_write(k->t, path, "5:memory:%s\n4:cpuset:%s\n", k->s->cgroups[p->other].path,
			   k->s->cgroups[p->cpuset].path);
}

/* --- what takes effect ------------------------------------------------------------------------ */

static uint32_t within(uint32_t set, uint32_t above)
{
	return set & above ? set & above : above;
}

static void take_effect_below(struct kernel *k, int above)
{
	for (int i = 1; i < KERNEL_CGROUPS; i++) {
		struct kernel_cgroup *c = &k->s->cgroups[i], *up = &k->s->cgroups[above];

		if (!c->used || c->above != above)
			continue;
		c->cpus_effective = k->version == 1 ? c->cpus : within(c->cpus, up->cpus_effective);
		c->mems_effective = k->version == 1 ? c->mems : within(c->mems, up->mems_effective);
		take_effect_below(k, i);
	}
}

static void take_effect(struct kernel *k)
{
	struct kernel_cgroup *top = &k->s->cgroups[0];

	top->cpus_effective = top->cpus = k->s->active;
	top->mems_effective = top->mems = (UINT32_C(1) << k->nodes) - 1;
	take_effect_below(k, 0);
	show_all(k);
}

static bool has_processes(const struct kernel *k, int cgroup)
{
	for (size_t i = 0; i < KERNEL_PROCESSES; i++)
		if (k->s->processes[i].pid && k->s->processes[i].cpuset == cgroup)
			return true;
	return false;
}

/* v1: what validate_change() and update_cpumask() of the kernel refuse. */
static int check_v1(const struct kernel *k, int cgroup, bool cpus, uint32_t set)
{
	const struct kernel_cgroup *c = &k->s->cgroups[cgroup], *up = &k->s->cgroups[c->above];

	if (cpus && set & ~k->s->active)
		return -EINVAL;
	for (int i = 1; i < KERNEL_CGROUPS; i++) {
		const struct kernel_cgroup *below = &k->s->cgroups[i];

		if (below->used && below->above == cgroup &&
		    (cpus ? below->cpus : below->mems) & ~set)
			return -EBUSY;
	}
	if (set & ~(cpus ? up->cpus : up->mems))
		return -EACCES;
	return !set && has_processes(k, cgroup) ? -ENOSPC : 0;
}

static int check_set(const struct kernel *k, int cgroup, bool cpus, uint32_t set)
{
	uint32_t possible = cpus ? k->s->present : (UINT32_C(1) << k->nodes) - 1;

	if (cgroup == 0)
		return -EACCES;
	if (set & ~possible)
		return k->version == 2 && cpus ? -ERANGE : -EINVAL;
	if (k->version == 1)
		return check_v1(k, cgroup, cpus, set);
	/* cgroup_is_populated(): those below count. */
	return !set && k->s->cgroups[cgroup].populated ? -ENOSPC : 0;
}

static void set_now(struct kernel *k, int cgroup, bool cpus, uint32_t set)
{
	struct kernel_cgroup *c = &k->s->cgroups[cgroup];

	*(cpus ? &c->cpus : &c->mems) = set;
	take_effect(k);
}

int kernel_write(struct kernel *k, int cgroup, bool cpus, uint32_t set)
{
	int r = check_set(k, cgroup, cpus, set);

	if (r == 0)
		set_now(k, cgroup, cpus, set);
	return r;
}

/* --- writes through the root ------------------------------------------------------------------ */

/* Return the cgroup that a file of a cpuset belongs to, with the file's name; -1: it is no such
 * file. */
static int find_file(const struct kernel *k, const char *path, const char **ret_name)
{
	size_t len = strlen(mount_of(k));
	const char *slash = strrchr(path, '/');

	if (strncmp(path, mount_of(k), len) != 0 || slash < path + len)
		return -1;
	for (int i = 0; i < KERNEL_CGROUPS; i++) {
		const struct kernel_cgroup *c = &k->s->cgroups[i];

		if (c->used && strlen(c->path) == (size_t)(slash - path) - len &&
		    strncmp(c->path, path + len, strlen(c->path)) == 0) {
			*ret_name = slash + 1;
			return i;
		}
	}
	return -1;
}

static struct kernel_process *find_process(const struct kernel *k, int pid)
{
	for (size_t i = 0; i < KERNEL_PROCESSES; i++)
		if (pid && k->s->processes[i].pid == pid)
			return &k->s->processes[i];
	return NULL;
}

static int parse_set(const char *value, uint32_t *ret)
{
	struct stow_idset set;

	if (stow_idset_parse(value, &set, NULL) < 0)
		return -EINVAL;
	*ret = (uint32_t)set.bits[0];
	return stow_idset_next(&set, 32) >= 0 ? -ERANGE : 0;
}

static int check_procs(const struct kernel *k, int cgroup, const char *value)
{
	const struct kernel_cgroup *c = &k->s->cgroups[cgroup];
	uint64_t pid;

	if (stow_parse_u64(value, INT32_MAX, &pid, NULL) < 0)
		return -EINVAL;
	if (!find_process(k, (int)pid))
		return -ESRCH;
	return k->version == 1 && (!c->cpus || !c->mems) ? -ENOSPC : 0;
}

static int before(void *ctx, const char *path, const char *value)
{
	struct kernel *k = ctx;
	const char *name;
	uint32_t set;
	int r = k->fault ? k->fault(k->fault_ctx, path, value) : 0, cgroup;

	if (r < 0 || !value)
		return r;
	k->s->writes++;
	cgroup = find_file(k, path, &name);
	if (cgroup < 0)
		return 0;
	if (strcmp(name, "cgroup.procs") == 0)
		return check_procs(k, cgroup, value);
	if (strcmp(name, "cpuset.cpus") != 0 && strcmp(name, "cpuset.mems") != 0)
		return 0;
	r = parse_set(value, &set);
	return r < 0 ? r : check_set(k, cgroup, strcmp(name, "cpuset.cpus") == 0, set);
}

static void wrote(void *ctx, struct stow_root *root, const char *path, const char *value)
{
	struct kernel *k = ctx;
	struct kernel_process *p;
	const char *name;
	uint32_t set = 0;
	uint64_t pid;
	int cgroup = find_file(k, path, &name);

	if (cgroup < 0)
		return;
	if (strcmp(name, "cgroup.procs") == 0) {
		(void)stow_parse_u64(value, INT32_MAX, &pid, NULL);
		p = find_process(k, (int)pid);
		k->s->cgroups[p->cpuset].procs_shown = k->s->cgroups[cgroup].procs_shown = false;
		p->cpuset = cgroup;
		show_membership(k, p);
		show_all(k);
		return;
	}
	for (int f = CPUS; f <= MEMS; f++)
		if (strcmp(name, names[k->version][f]) == 0) {
			(void)parse_set(value, &set);
			k->s->cgroups[cgroup].shown[f] = SHOWN_NOT;
			set_now(k, cgroup, f == CPUS, set);
		}
}

/* --- cgroups and processes -------------------------------------------------------------------- */

int kernel_mkdir(struct kernel *k, int above, const char *name)
{
	struct kernel_cgroup *c;
	char path[512];
	int i = 1;

	while (i < KERNEL_CGROUPS && k->s->cgroups[i].used)
		i++;
	assert_in_range(i, 1, KERNEL_CGROUPS - 1);
	c = &k->s->cgroups[i];
	*c = (struct kernel_cgroup){ .used = true, .above = above };
	for (int f = 0; f < 4; f++)
		c->shown[f] = SHOWN_NOT;
	snprintf(path, sizeof(path), "%s/%s", k->s->cgroups[above].path, name);
	assert_true(strlen(path) < sizeof(c->path));
	strcpy(c->path, path);
	if (k->version == 1) {
		snprintf(path, sizeof(path), TOP "/cpuset%s/cpuset.memory_migrate", c->path);
		tree_write(k->t, path, "0\n");
	}
	take_effect(k);
	return i;
}

/* Empty the folder and move it aside instead of removing it: a file system may give its inode
 * number to the next folder, but the kernel never gives one to two cgroups. */
static void bury(struct kernel *k, const char *mount, const char *path)
{
	static unsigned int count;
	char from[1024], to[1024];

	snprintf(from, sizeof(from), "%s%s%s", k->t->dir, mount, path);
	snprintf(to, sizeof(to), "%s/gone-%d-%u", k->t->dir, (int)getpid(), count++);
	assert_int_equal(rename(from, to), 0);
	for (int f = 0; f < 8; f++) {
		static const char *const more[] = { "cgroup.procs", "cgroup.events",
						    "cpuset.memory_migrate", "gone" };

		snprintf(from, sizeof(from), "%s/%s", to,
			 f < 4 ? names[k->version][f] : more[f - 4]);
		(void)unlink(from);
	}
}

void kernel_rmdir(struct kernel *k, int cgroup)
{
	struct kernel_cgroup *c = &k->s->cgroups[cgroup];

	for (int i = 1; i < KERNEL_CGROUPS; i++)
		if (k->s->cgroups[i].used && k->s->cgroups[i].above == cgroup)
			kernel_rmdir(k, i);
	for (size_t i = 0; i < KERNEL_PROCESSES; i++)
		if (k->s->processes[i].pid &&
		    (k->s->processes[i].cpuset == cgroup || k->s->processes[i].other == cgroup))
			kernel_exit(k, k->s->processes[i].pid);
	bury(k, mount_of(k), c->path);
	if (k->version == 1)
		bury(k, TOP "/memory", c->path);
	c->used = false;
}

void kernel_disable_cpuset(struct kernel *k, int cgroup)
{
	char path[512];

	for (int i = 1; i < KERNEL_CGROUPS; i++) {
		struct kernel_cgroup *c = &k->s->cgroups[i];

		if (!c->used || c->disabled || !kernel_is_below(k, i, cgroup))
			continue;
		c->disabled = true;
		c->cpus = c->mems = 0;
		for (int f = 0; f < 4; f++) {
			snprintf(path, sizeof(path), TOP "%s/%s", c->path, names[2][f]);
			tree_remove(k->t, path);
		}
	}
	take_effect(k);
}

void kernel_fork(struct kernel *k, int pid, int cgroup)
{
	struct kernel_process *p = k->s->processes;
	char path[64];

	while (p < k->s->processes + KERNEL_PROCESSES && p->pid)
		p++;
	assert_true(p < k->s->processes + KERNEL_PROCESSES);
	*p = (struct kernel_process){ .pid = pid, .cpuset = cgroup, .other = cgroup };
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	tree_write(k->t, path, "%d (x) S 1 5 5 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 1 99\n", pid);
	show_membership(k, p);
	k->s->cgroups[cgroup].procs_shown = false;
	show_all(k);
}

int kernel_move(struct kernel *k, int pid, int cgroup)
{
	struct kernel_process *p = find_process(k, pid);
	const struct kernel_cgroup *to = &k->s->cgroups[cgroup];

	assert_non_null(p);
	if (k->version == 1 && (!to->cpus || !to->mems))
		return -ENOSPC;
	k->s->cgroups[p->cpuset].procs_shown = k->s->cgroups[p->other].procs_shown = false;
	k->s->cgroups[cgroup].procs_shown = false;
	p->cpuset = p->other = cgroup;
	show_membership(k, p);
	show_all(k);
	return 0;
}

void kernel_exit(struct kernel *k, int pid)
{
	struct kernel_process *p = find_process(k, pid);
	char path[64];

	assert_non_null(p);
	k->s->cgroups[p->cpuset].procs_shown = k->s->cgroups[p->other].procs_shown = false;
	p->pid = 0;
	snprintf(path, sizeof(path), "/proc/%d", pid);
	tree_remove(k->t, path);
	show_all(k);
}

int kernel_cgroup_of(const struct kernel *k, int pid)
{
	const struct kernel_process *p = find_process(k, pid);

	return p ? p->cpuset : -1;
}

/* --- hotplug ---------------------------------------------------------------------------------- */

/* v1: processes of a set that has become empty go to the nearest cgroup above with CPUs. */
static void empty_v1(struct kernel *k, int cgroup)
{
	int to = k->s->cgroups[cgroup].above;

	while (to > 0 && !k->s->cgroups[to].cpus)
		to = k->s->cgroups[to].above;
	for (size_t i = 0; i < KERNEL_PROCESSES; i++) {
		struct kernel_process *p = &k->s->processes[i];

		if (!p->pid || p->cpuset != cgroup)
			continue;
		p->cpuset = to;
		show_membership(k, p);
		k->s->cgroups[cgroup].procs_shown = k->s->cgroups[to].procs_shown = false;
	}
}

static void show_cpus(struct kernel *k)
{
	char path[64];

	show_set(k, "/sys/devices/system/cpu/online", k->s->online);
	for (int node = 0; node < k->nodes; node++) {
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpulist", node);
		show_set(k, path, kernel_node_cpus(node) & k->s->online);
	}
}

/* sysfs makes a CPU's topology directory when the CPU comes, with a higher inode number than all
 * before. Not every file system that tests run on counts upwards: make directories until one has a
 * higher number. */
static void show_topology(struct kernel *k, int cpu)
{
	int root = k->t->root->fd, tries = -1;
	char at[128], made[160];
	struct stat st;

	snprintf(at, sizeof(at), "/sys/devices/system/cpu/cpu%d", cpu);
	tree_mkdir(k->t, at);
	snprintf(at, sizeof(at), "sys/devices/system/cpu/cpu%d/topology", cpu);
	do {
		assert_in_range(++tries, 0, 4095);
		snprintf(made, sizeof(made), "%s.%d", at, tries);
		assert_int_equal(mkdirat(root, made, 0755), 0);
		assert_int_equal(fstatat(root, made, &st, 0), 0);
	} while (st.st_ino <= k->s->came);
	k->s->came = st.st_ino;
	(void)unlinkat(root, at, AT_REMOVEDIR);
	assert_int_equal(renameat(root, made, root, at), 0);
	while (tries-- > 0) {
		snprintf(made, sizeof(made), "%s.%d", at, tries);
		assert_int_equal(unlinkat(root, made, AT_REMOVEDIR), 0);
	}
}

/* v1: no set keeps a CPU that is gone. */
static void shrink_v1(struct kernel *k)
{
	for (int i = 1; i < KERNEL_CGROUPS && k->version == 1; i++)
		if (k->s->cgroups[i].used)
			k->s->cgroups[i].cpus &= k->s->active;
	for (int i = 1; i < KERNEL_CGROUPS && k->version == 1; i++)
		if (k->s->cgroups[i].used && !k->s->cgroups[i].cpus)
			empty_v1(k, i);
}

void kernel_set_online(struct kernel *k, int cpu, bool online)
{
	uint32_t bit = UINT32_C(1) << cpu;

	if (online && k->version == 1)
		show_topology(k, cpu);
	k->s->online = online ? k->s->online | bit : k->s->online & ~bit;
	k->s->active = k->cpusets_lag ? k->s->active & k->s->online : k->s->online;
	show_cpus(k);
	shrink_v1(k);
	take_effect(k);
}

void kernel_leave_cpusets(struct kernel *k, int cpu)
{
	k->s->active &= ~(UINT32_C(1) << cpu);
	shrink_v1(k);
	take_effect(k);
}

void kernel_catch_up(struct kernel *k)
{
	k->s->active = k->s->online;
	take_effect(k);
}

/* --- the machine ------------------------------------------------------------------------------ */

static void make_nodes(struct kernel *k)
{
	tree_write(k->t, "/sys/devices/system/node/online", "0-%d\n", k->nodes - 1);
	for (int i = 0; i < k->nodes; i++) {
		char path[128], distance[64] = "";

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo", i);
		tree_write(k->t, path,
			   "Node %d MemTotal: 16777216 kB\nNode %d MemFree: 16000000 kB\n", i, i);
		for (int j = 0; j < k->nodes; j++)
			strcat(distance, i == j ? "10 " : "20 ");
		distance[strlen(distance) - 1] = '\n';
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", i);
		tree_write(k->t, path, "%s", distance);
		for (int cpu = 0; cpu < KERNEL_CPUS_PER_NODE; cpu++) {
			snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/cpu%d", i,
				 i * KERNEL_CPUS_PER_NODE + cpu);
			tree_mkdir(k->t, path);
		}
	}
}

struct kernel *kernel_new(int version, int nodes)
{
	struct kernel *k = calloc(1, sizeof(*k));

	assert_non_null(k);
	k->version = version;
	k->nodes = nodes;
	k->t = tree_new();
	k->s = mmap(NULL, sizeof(*k->s), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(k->s, MAP_FAILED);
	if (version == 2)
		tree_write(k->t, "/proc/self/mountinfo",
			   "35 24 0:30 / " TOP " rw - cgroup2 cgroup2 rw\n");
	else
		tree_write(k->t, "/proc/self/mountinfo",
			   "35 24 0:30 / " TOP "/cpuset rw - cgroup cgroup rw,cpuset\n"
			   "36 24 0:31 / " TOP "/memory rw - cgroup cgroup rw,memory\n");
	make_nodes(k);
	k->s->present = k->s->online = k->s->active =
		(UINT32_C(1) << (nodes * KERNEL_CPUS_PER_NODE)) - 1;
	show_set(k, "/sys/devices/system/cpu/present", k->s->present);
	show_cpus(k);
	tree_mkdir(k->t, "/run");
	k->s->cgroups[0] = (struct kernel_cgroup){ .used = true, .above = -1 };
	for (int f = 0; f < 4; f++)
		k->s->cgroups[0].shown[f] = SHOWN_NOT;
	take_effect(k);
	k->ops = (struct stow_root_ops){ .ctx = k, .before = before, .wrote = wrote };
	k->t->root->ops = &k->ops;
	return k;
}

void kernel_free(struct kernel *k)
{
	if (!k)
		return;
	munmap(k->s, sizeof(*k->s));
	tree_free(k->t);
	free(k);
}
