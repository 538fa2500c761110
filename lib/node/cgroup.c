// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "base/parse.h"

static const char *const controller_names[STOW_CGROUP_CONTROLLERS] = {
	[STOW_CGROUP_CPUSET] = "cpuset",
	[STOW_CGROUP_HUGETLB] = "hugetlb",
	[STOW_CGROUP_MEMORY] = "memory",
};

/* Where one controller's hierarchy is mounted; `root` is the part of it that the mount shows. */
struct hierarchy {
	int version;
	char *mount;
	char *root;
};

struct hierarchies {
	struct stow_learnt learnt; /* first: the root frees it */
	struct hierarchy v2;
	struct hierarchy v1[STOW_CGROUP_CONTROLLERS];
};

static void hierarchy_done(struct hierarchy *h)
{
	free(h->mount);
	free(h->root);
}

static void hierarchies_done(struct hierarchies *h)
{
	hierarchy_done(&h->v2);
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		hierarchy_done(&h->v1[c]);
}

/* Whether `word` stands in the comma-separated `list`. */
static bool in_list(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; p; p = strchr(p, ',')) {
		if (*p == ',')
			p++;
		if (strncmp(p, word, len) == 0 && (p[len] == ',' || p[len] == '\0'))
			return true;
	}
	return false;
}

static int hierarchy_set(struct hierarchy *h, int version, const char *mount, const char *root)
{
	if (h->version) /* the first mount of several wins */
		return 0;
	h->mount = strdup(mount);
	h->root = strdup(strcmp(root, "/") == 0 ? "" : root);
	if (!h->mount || !h->root)
		return -ENOMEM;
	h->version = version;
	return 0;
}

/* One line of mountinfo (proc(5)): "ID PARENT DEV ROOT MOUNT OPTIONS [TAG...] - TYPE SOURCE SUPER".
 */
static int read_mount(char *line, struct hierarchies *h)
{
	char *save = NULL, *field[6], *type, *options, *tail;
	int r = 0;

	tail = strstr(line, " - cgroup");
	if (!tail)
		return 0;
	*tail = '\0';
	for (size_t i = 0; i < STOW_ARRAY_SIZE(field); i++) {
		field[i] = strtok_r(i ? NULL : line, " ", &save);
		if (!field[i])
			return 0;
	}
	type = strtok_r(tail + 3, " ", &save);
	(void)strtok_r(NULL, " ", &save);
	options = strtok_r(NULL, " ", &save);
	if (strcmp(type, "cgroup2") == 0)
		return hierarchy_set(&h->v2, 2, field[4], field[3]);
	for (int c = 0; options && c < STOW_CGROUP_CONTROLLERS && r == 0; c++)
		if (in_list(options, controller_names[c]))
			r = hierarchy_set(&h->v1[c], 1, field[4], field[3]);
	return r;
}

static int read_hierarchies(struct stow_root *root, struct hierarchies *h, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r;

	r = stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, err, "/proc/self/mountinfo");
	if (r < 0)
		return r;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		r = read_mount(line, h);
		if (r < 0)
			return stow_err_sys(err, -r, "/proc/self/mountinfo");
	}
	return 0;
}

static void hierarchies_free(struct stow_learnt *learnt)
{
	struct hierarchies *h = (struct hierarchies *)learnt;

	hierarchies_done(h);
	free(h);
}

/* mountinfo has a line for every mount of every container: it is read once. */
static int find_hierarchies(struct stow_root *root, const struct hierarchies **ret,
			    struct stow_err *err)
{
	struct stow_learnt *learnt = stow_root_learnt(root);
	struct hierarchies *h;
	int r;

	if (!learnt) {
		h = calloc(1, sizeof(*h));
		if (!h)
			return stow_err_sys(err, ENOMEM, "/proc/self/mountinfo");
		h->learnt.free = hierarchies_free;
		r = read_hierarchies(root, h, err);
		if (r < 0) {
			hierarchies_free(&h->learnt);
			return r;
		}
		learnt = stow_root_learn(root, &h->learnt);
	}
	*ret = (const struct hierarchies *)learnt;
	return 0;
}

/* A path from /proc/PID/cgroup is the kernel's, but names within it are other people's, and from
 * another cgroup namespace it begins with "/..". */
static bool path_is_sane(const char *path)
{
	return path[0] == '/' && !strstr(path, "/../") &&
	       !(strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0);
}

/* Opens the cgroup `path` and its parent below the mount of `h`. */
static int open_at(struct stow_root *root, const struct hierarchy *h, const char *path,
		   struct stow_root **ret_dir, struct stow_root **ret_parent, struct stow_err *err)
{
	size_t skip = strlen(h->root);
	const char *slash;
	int r;

	if (!path_is_sane(path) || strncmp(path, h->root, skip) != 0)
		return stow_err_set(err, EXDEV,
				    "cgroup \"%.128s\" is outside of what is mounted at %s", path,
				    h->mount);
	path += skip;
	r = stow_root_sub(root, ret_dir, err, "%s%s", h->mount, path);
	if (r < 0)
		return r;
	slash = strrchr(path, '/');
	if (slash && slash[1] && ret_parent) {
		r = stow_root_sub(root, ret_parent, err, "%s%.*s", h->mount, (int)(slash - path),
				  path);
		if (r < 0)
			return r;
	}
	return 0;
}

/* Takes controller `c` at `path`, unless the v2 cgroup has it not enabled. */
static int take_controller(struct stow_root *root, const struct hierarchy *h, int c,
			   const char *path, struct stow_cgroup *cgroup, struct stow_err *err)
{
	static const char *const probe[STOW_CGROUP_CONTROLLERS] = {
		[STOW_CGROUP_CPUSET] = "cpuset.cpus",
		[STOW_CGROUP_HUGETLB] = "hugetlb.2MB.max",
		[STOW_CGROUP_MEMORY] = "memory.max",
	};
	struct stat st;
	int r;

	for (int lender = 0; lender < c && h->version == 2; lender++)
		if (cgroup->at[lender].dir && cgroup->at[lender].on_v2) {
			cgroup->at[c] = cgroup->at[lender];
			cgroup->at[c].shared = true;
			cgroup->at[c].version = 0;
		}
	if (!cgroup->at[c].dir) {
		r = open_at(root, h, path, &cgroup->at[c].dir,
			    c == STOW_CGROUP_CPUSET ? &cgroup->at[c].parent : NULL, err);
		if (r < 0)
			return r;
	}
	cgroup->at[c].on_v2 = h->version == 2;
	if (c == STOW_CGROUP_CPUSET) {
		cgroup->path = strdup(path);
		if (!cgroup->path)
			return stow_err_sys(err, ENOMEM, "%s", path);
		if (fstat(cgroup->at[c].dir->fd, &st) == 0)
			cgroup->inode = st.st_ino;
	}
	/* The hugetlb files' names depend on the machine's page sizes: other sizes than 2 MiB are
	 * looked for where they are written. */
	if (h->version == 2 && c != STOW_CGROUP_HUGETLB &&
	    stow_root_exists(cgroup->at[c].dir, "%s", probe[c]) != 1)
		return 0;
	cgroup->at[c].version = h->version;
	return 0;
}

/* One line of /proc/PID/cgroup (cgroups(7)): "ID:CONTROLLERS:PATH", on v2 "0::PATH". */
static int read_membership(struct stow_root *root, const struct hierarchies *h, int controllers_max,
			   char *line, struct stow_cgroup *cgroup, struct stow_err *err)
{
	char *controllers = strchr(line, ':'), *path;
	int r = 0;

	path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path)
		return 0;
	*path++ = '\0';
	controllers++;
	for (int c = 0; c < controllers_max && r == 0; c++) {
		const struct hierarchy *at = &h->v1[c];

		if (!*controllers)
			at = at->version ? NULL : &h->v2;
		else if (!in_list(controllers, controller_names[c]))
			at = NULL;
		if (at && at->version)
			r = take_controller(root, at, c, path, cgroup, err);
	}
	return r;
}

/* The first `controllers` of the enum. */
static int open_of_pid(struct stow_root *root, pid_t pid, int controllers,
		       struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	const struct hierarchies *h = NULL;
	char buf[16384], *save = NULL;
	int r;

	cgroup = calloc(1, sizeof(*cgroup));
	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup of %d", (int)pid);
	r = stow_root_read_buf(root, buf, sizeof(buf), err, "/proc/%d/cgroup", (int)pid);
	if (r == -ENOENT || r == -ESRCH)
		return stow_err_set(err, ESRCH, "there is no process %d", (int)pid);
	if (r < 0)
		return r;
	cgroup->membership = strdup(buf);
	if (!cgroup->membership)
		return stow_err_sys(err, ENOMEM, "cgroup of %d", (int)pid);
	r = find_hierarchies(root, &h, err);
	for (char *line = strtok_r(buf, "\n", &save); line && r == 0;
	     line = strtok_r(NULL, "\n", &save))
		r = read_membership(root, h, controllers, line, cgroup, err);
	if (r < 0)
		return r;
	if (!cgroup->path)
		cgroup->path = strdup("");
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err)
{
	return open_of_pid(root, pid, STOW_CGROUP_CONTROLLERS, ret_cgroup, err);
}

int stow_cpuset_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err)
{
	return open_of_pid(root, pid, STOW_CGROUP_CPUSET + 1, ret_cgroup, err);
}

void stow_cgroup_free(struct stow_cgroup *cgroup)
{
	if (!cgroup)
		return;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		if (cgroup->at[c].shared)
			continue;
		stow_root_free(cgroup->at[c].dir);
		stow_root_free(cgroup->at[c].parent);
	}
	free(cgroup->path);
	free(cgroup->membership);
	free(cgroup);
}

int stow_cgroup_populated(struct stow_root *root, const char *path, uint64_t inode,
			  struct stow_err *err)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
	const struct hierarchies *h = NULL;
	const struct hierarchy *at;
	char buf[4096];
	struct stat st;
	int r;

	r = find_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	at = h->v1[STOW_CGROUP_CPUSET].version ? &h->v1[STOW_CGROUP_CPUSET] : &h->v2;
	if (!at->version || !path[0])
		return 0;
	r = open_at(root, at, path, &dir, NULL, err);
	if (r == -ENOENT || r == -ENODEV)
		return 0;
	if (r < 0)
		return r;
	if (fstat(dir->fd, &st) < 0)
		return stow_err_sys(err, errno, "%s", path);
	if (st.st_ino != inode)
		return 0;
	if (at->version == 2) {
		r = stow_root_read_buf(dir, buf, sizeof(buf), err, "cgroup.events");
		return r < 0 ? r : strstr(buf, "populated 1") != NULL;
	}
	/* A cgroup with more than 4 KiB of process numbers has processes. */
	r = stow_root_read_buf(dir, buf, sizeof(buf), err, "cgroup.procs");
	if (r == -ENODEV)
		return 0;
	return r == -E2BIG ? 1 : r < 0 ? r : r > 0;
}

int stow_cgroup_mount(struct stow_root *root, enum stow_controller controller,
		      const char **ret_mount, struct stow_err *err)
{
	const struct hierarchies *h = NULL;
	const struct hierarchy *at;
	int r;

	r = find_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	at = h->v1[controller].version ? &h->v1[controller] : &h->v2;
	if (!at->version)
		return stow_err_set(err, ENOENT, "no hierarchy of the %s controller is mounted",
				    controller_names[controller]);
	*ret_mount = at->mount;
	return 0;
}

/* --- cpuset -------------------------------------------------------------------------------- */

static const char *effective_name(int version, bool cpus)
{
	if (version == 1)
		return cpus ? "cpuset.effective_cpus" : "cpuset.effective_mems";
	return cpus ? "cpuset.cpus.effective" : "cpuset.mems.effective";
}

int stow_cpuset_read(const struct stow_cgroup *cgroup, struct stow_cpuset *ret,
		     struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	int version = cgroup->at[STOW_CGROUP_CPUSET].version;
	int r;

	if (!version)
		return stow_err_set(err, ENOTSUP,
				    "the container's cgroup %s has no cpuset controller: mount it "
				    "(v1) or enable it in cgroup.subtree_control (v2)",
				    cgroup->path);
	r = stow_root_read_idset(dir, &ret->cpus, err, "cpuset.cpus");
	if (r == 0)
		r = stow_root_read_idset(dir, &ret->mems, err, "cpuset.mems");
	if (r == 0)
		r = stow_root_read_idset(dir, &ret->cpus_effective, err, "%s",
					 effective_name(version, true));
	if (r == 0)
		r = stow_root_read_idset(dir, &ret->mems_effective, err, "%s",
					 effective_name(version, false));
	return r;
}

int stow_cpuset_inherited(const struct stow_cgroup *cgroup, struct stow_idset *ret_cpus,
			  struct stow_err *err)
{
	struct stow_root *parent = cgroup->at[STOW_CGROUP_CPUSET].parent;
	int version = cgroup->at[STOW_CGROUP_CPUSET].version;

	return stow_root_read_idset(parent ? parent : cgroup->at[STOW_CGROUP_CPUSET].dir, ret_cpus,
				    err, "%s", effective_name(version, true));
}

static int cpuset_write(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
			struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	struct stow_root *parent = cgroup->at[STOW_CGROUP_CPUSET].parent;
	int version = cgroup->at[STOW_CGROUP_CPUSET].version;
	const char *name = cpus ? "cpuset.cpus" : "cpuset.mems";
	struct stow_idset wanted = *set, effective;
	_cleanup_free_ char *list = NULL;
	char a[256], b[256];
	int r;

	if (stow_idset_empty(&wanted) && parent) {
		r = stow_root_read_idset(parent, &wanted, err, "%s", effective_name(version, cpus));
		if (r < 0)
			return r;
	}
	list = stow_idset_to_list(&wanted);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", name);
	r = stow_root_write(dir, list, err, "%s", name);
	if (r == 0)
		r = stow_root_read_idset(dir, &effective, err, "%s", effective_name(version, cpus));
	if (r < 0)
		return r;
	if (!stow_idset_equal(&wanted, &effective))
		return stow_err_set(err, EBUSY, "%s of cgroup %s: %s was asked, the kernel gave %s",
				    name, cgroup->path, stow_idset_format(&wanted, a, sizeof(a)),
				    stow_idset_format(&effective, b, sizeof(b)));
	return 0;
}

int stow_cpuset_write_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *cpus,
			   struct stow_err *err)
{
	return cpuset_write(cgroup, true, cpus, err);
}

int stow_cpuset_write_mems(const struct stow_cgroup *cgroup, const struct stow_idset *mems,
			   struct stow_err *err)
{
	int r;

	if (cgroup->at[STOW_CGROUP_CPUSET].version == 1) {
		r = stow_root_write(cgroup->at[STOW_CGROUP_CPUSET].dir, "1", err,
				    "cpuset.memory_migrate");
		if (r < 0)
			return r;
	}
	return cpuset_write(cgroup, false, mems, err);
}

/* --- limits and use ------------------------------------------------------------------------ */

const char *stow_hugetlb_limit_name(int version, uint64_t page_size, bool reservation, char *buf,
				    size_t size)
{
	char page[32];

	snprintf(buf, size, "hugetlb.%s.%s%s", stow_format_pagesize(page_size, page, sizeof(page)),
		 reservation ? "rsvd." : "", version == 1 ? "limit_in_bytes" : "max");
	return buf;
}

const char *stow_memory_limit_name(int version)
{
	return version == 1 ? "memory.limit_in_bytes" : "memory.max";
}

/* The value of " NODE=" (such as " N1=") in the first line of `text` that starts with `key`. */
static int numa_stat_value(const char *text, const char *key, int node, uint64_t *ret)
{
	size_t len = strlen(key);
	char tag[16];

	snprintf(tag, sizeof(tag), " N%d=", node);
	for (const char *line = text; line; line = strchr(line, '\n')) {
		const char *end, *p;

		if (*line == '\n')
			line++;
		end = strchrnul(line, '\n');
		if (strncmp(line, key, len) != 0)
			continue;
		p = strstr(line, tag);
		if (!p || p > end)
			return -ENOENT;
		*ret = strtoull(p + strlen(tag), NULL, 10);
		return 0;
	}
	return -ENOENT;
}

int stow_hugetlb_used(const struct stow_cgroup *cgroup, uint64_t page_size, int node,
		      uint64_t *ret_pages, struct stow_err *err)
{
	char buf[16384], page[32];
	uint64_t bytes = 0;
	int r;

	if (!cgroup->at[STOW_CGROUP_HUGETLB].version)
		return stow_err_set(err, ENOTSUP, "no hugetlb controller");
	r = stow_root_read_buf(cgroup->at[STOW_CGROUP_HUGETLB].dir, buf, sizeof(buf), err,
			       "hugetlb.%s.numa_stat",
			       stow_format_pagesize(page_size, page, sizeof(page)));
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP, "no hugetlb.%s.numa_stat", page);
	if (r < 0)
		return r;
	/* v1 has a line "hierarchical_total=" behind "total=": the first is ours. */
	r = numa_stat_value(buf, "total=", node, &bytes);
	*ret_pages = r < 0 ? 0 : bytes / page_size;
	return 0;
}

int stow_memory_used(const struct stow_cgroup *cgroup, int node, uint64_t *ret_bytes,
		     struct stow_err *err)
{
	static const char *const v2_keys[] = { "anon ",
					       "file ",
					       "kernel_stack ",
					       "pagetables ",
					       "slab_reclaimable ",
					       "slab_unreclaimable " };
	_cleanup_free_ char *text = NULL;
	uint64_t sum = 0, v;
	int r;

	if (!cgroup->at[STOW_CGROUP_MEMORY].version)
		return stow_err_set(err, ENOTSUP, "no memory controller");
	r = stow_root_read(cgroup->at[STOW_CGROUP_MEMORY].dir, STOW_ROOT_READ_MAX, &text, NULL, err,
			   "memory.numa_stat");
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP, "no memory.numa_stat");
	if (r < 0)
		return r;
	if (cgroup->at[STOW_CGROUP_MEMORY].version == 1) {
		/* Pages, and only user memory. */
		if (numa_stat_value(text, "total=", node, &v) == 0)
			sum = v * (uint64_t)sysconf(_SC_PAGESIZE);
	} else {
		for (size_t i = 0; i < STOW_ARRAY_SIZE(v2_keys); i++)
			if (numa_stat_value(text, v2_keys[i], node, &v) == 0)
				sum += v;
	}
	*ret_bytes = sum;
	return 0;
}
