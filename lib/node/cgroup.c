// SPDX-License-Identifier: Apache-2.0
#include "node/cgroup.h"

#include <errno.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "base/cleanup.h"
#include "base/parse.h"

static const char *const controller_names[STOW_CGROUP_CONTROLLERS] = {
	[STOW_CGROUP_CPUSET] = "cpuset",
	[STOW_CGROUP_HUGETLB] = "hugetlb",
	[STOW_CGROUP_MEMORY] = "memory",
};

/* One mount of a hierarchy; `root` is the part of it that the mount shows. */
struct hierarchy_mount {
	char *point;
	char *root; /* "" for the whole hierarchy */
	uint64_t dev;
	bool noprefix;
};

struct hierarchy {
	struct hierarchy_mount *mounts; /* in the order of mountinfo */
	size_t n;
};

struct hierarchies {
	struct stow_learnt learnt; /* first: the root frees it */
	struct hierarchy v2;
	struct hierarchy v1[STOW_CGROUP_CONTROLLERS];
};

static void hierarchy_done(struct hierarchy *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->mounts[i].point);
		free(h->mounts[i].root);
	}
	free(h->mounts);
}

static void hierarchies_free(struct stow_learnt *learnt)
{
	struct hierarchies *h = (struct hierarchies *)learnt;

	hierarchy_done(&h->v2);
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		hierarchy_done(&h->v1[c]);
	free(h);
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

/* --- mountinfo ----------------------------------------------------------------------------- */

/* mountinfo writes blanks, tabs, newlines and backslashes as three octal digits. In place. */
static void unescape(char *text)
{
	char *to = text;

	for (const char *p = text; *p; to++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*to = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 4;
		} else {
			*to = *p++;
		}
	}
	*to = '\0';
}

static int add_mount(struct hierarchy *h, const char *point, const char *root, uint64_t dev,
		     bool noprefix)
{
	struct hierarchy_mount *grown = reallocarray(h->mounts, h->n + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	h->mounts = grown;
	grown += h->n;
	grown->point = strdup(point);
	grown->root = strdup(strcmp(root, "/") == 0 ? "" : root);
	grown->dev = dev;
	grown->noprefix = noprefix;
	h->n++;
	return grown->point && grown->root ? 0 : -ENOMEM;
}

/* "MAJOR:MINOR" as stat(2) gives it; 0 when it is neither. */
static uint64_t parse_dev(char *text)
{
	char *colon = strchr(text, ':');
	uint64_t high, low;

	if (!colon)
		return 0;
	*colon = '\0';
	if (stow_parse_u64(text, UINT32_MAX, &high, NULL) < 0 ||
	    stow_parse_u64(colon + 1, UINT32_MAX, &low, NULL) < 0)
		return 0;
	return makedev((unsigned int)high, (unsigned int)low);
}

/* One line of mountinfo (proc(5)): "ID PARENT DEV ROOT MOUNT OPTIONS [TAG...] - TYPE SOURCE SUPER".
 */
static int read_mount(char *line, struct hierarchies *h)
{
	char *save = NULL, *field[6], *type, *options, *tail;
	uint64_t dev;
	int r = 0;

	/* Before the separator there is no blank that is not escaped. */
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
	dev = parse_dev(field[2]);
	unescape(field[3]);
	unescape(field[4]);
	if (strcmp(type, "cgroup2") == 0)
		return add_mount(&h->v2, field[4], field[3], dev, false);
	if (strcmp(type, "cgroup") != 0)
		return 0;
	for (int c = 0; options && c < STOW_CGROUP_CONTROLLERS && r == 0; c++)
		if (in_list(options, controller_names[c]))
			r = add_mount(&h->v1[c], field[4], field[3], dev,
				      c == STOW_CGROUP_CPUSET && in_list(options, "noprefix"));
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

/* The inode of the initial cgroup namespace (PROC_CGROUP_INIT_INO of linux/proc_ns.h). */
#define FIRST_CGROUP_NAMESPACE 0xEFFFFFFBU
#define UNIFIED_PATH	       "/sys/fs/cgroup"

/*
 * mountinfo has a line for every mount of every container. On the machine itself (paths in
 * /proc/PID/cgroup are relative to the reader's cgroup namespace) it is not needed where the whole
 * unified hierarchy is at its place, its topmost cgroup having inode 1, and has all controllers:
 * those are in no hierarchy of v1 then. Returns 1 when it is so.
 */
static int assume_unified(struct stow_root *root, struct hierarchies *h)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *top = NULL;
	char list[512];
	struct statfs fs;
	struct stat st;
	int r;

	if (!root->live || root->dir[0] || stow_root_sub(root, &top, NULL, UNIFIED_PATH) < 0 ||
	    fstatfs(top->fd, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC ||
	    fstat(top->fd, &st) < 0 || st.st_ino != 1 ||
	    stow_root_read_buf(top, list, sizeof(list), NULL, "cgroup.controllers") < 0)
		return 0;
	for (char *p = list; (p = strchr(p, ' '));)
		*p = ',';
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		if (!in_list(list, controller_names[c]))
			return 0;
	if (fstatat(root->fd, "proc/self/ns/cgroup", &st, 0) < 0 ||
	    st.st_ino != FIRST_CGROUP_NAMESPACE || fstat(top->fd, &st) < 0)
		return 0;
	r = add_mount(&h->v2, UNIFIED_PATH, "", st.st_dev, false);
	return r < 0 ? r : 1;
}

/* Once for each root. */
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
		r = assume_unified(root, h);
		if (r == 0)
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

/* The hierarchy that has the controller when nothing else says which: v1 where it is mounted. */
static const struct hierarchy *hierarchy_of(const struct hierarchies *h, int c, int *ret_version)
{
	*ret_version = h->v1[c].n ? 1 : h->v2.n ? 2 : 0;
	return h->v1[c].n ? &h->v1[c] : &h->v2;
}

/* --- opening ------------------------------------------------------------------------------- */

/* A path from /proc/PID/cgroup is the kernel's, but names within it are other people's, and from
 * another cgroup namespace it begins with "/..". */
static bool path_is_sane(const char *path)
{
	return path[0] == '/' && !strstr(path, "/../") &&
	       !(strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0);
}

/* The part of `path` below what the mount shows; NULL when the mount does not show it. */
static const char *below_mount(const struct hierarchy_mount *mount, const char *path)
{
	size_t len = strlen(mount->root);

	if (strncmp(path, mount->root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path + len;
}

/* Whether the directory that was opened below a mount really belongs to it (something else may be
 * mounted over it) and has the inode that is expected (0: any). */
static bool is_expected(const struct stow_root *dir, const struct hierarchy_mount *mount,
			uint64_t inode, uint64_t *ret_inode)
{
	struct stat st;

	if (fstat(dir->fd, &st) < 0 || (dir->live && mount->dev && st.st_dev != mount->dev))
		return false;
	*ret_inode = st.st_ino;
	return !inode || st.st_ino == inode;
}

/* What open_at() has found. */
struct opened {
	struct stow_root *dir;
	const char *point; /* of the mount */
	size_t hidden;	   /* of the path, what lies above the mount's root: bytes */
	uint64_t inode;
	bool noprefix;
};

/* Opens the cgroup `path` below any mount of its hierarchy that shows it. -ESRCH: it is gone, or
 * has another inode. -EXDEV: no mount shows it. */
static int open_at(struct stow_root *root, const struct hierarchy *h, const char *path,
		   uint64_t inode, struct opened *ret, struct stow_err *err)
{
	bool shown = false;

	for (size_t i = 0; i < h->n && path_is_sane(path); i++) {
		_cleanup_(stow_root_free_ptr) struct stow_root *dir = NULL;
		const char *below = below_mount(&h->mounts[i], path);
		int r;

		if (!below)
			continue;
		shown = true;
		r = stow_root_sub(root, &dir, err, "%s%s", h->mounts[i].point, below);
		if (r < 0 && r != -ENOENT && r != -ENODEV && r != -ENOTDIR)
			return r;
		if (r < 0 || !is_expected(dir, &h->mounts[i], inode, &ret->inode))
			continue;
		ret->dir = STOW_TAKE_PTR(dir);
		ret->point = h->mounts[i].point;
		ret->hidden = strlen(h->mounts[i].root);
		ret->noprefix = h->mounts[i].noprefix;
		return 0;
	}
	if (shown)
		return stow_err_set(err, ESRCH, "cgroup \"%.128s\" is gone", path);
	return stow_err_set(err, EXDEV, "cgroup \"%.128s\" is outside of what is mounted at %s",
			    path, h->n ? h->mounts[0].point : "(nothing)");
}

static int set_id(struct stow_cgroup *cgroup, int c, int version, const char *path, uint64_t inode,
		  struct stow_err *err)
{
	cgroup->id.at[c].path = strdup(path);
	if (!cgroup->id.at[c].path)
		return stow_err_sys(err, ENOMEM, "%s", path);
	cgroup->id.at[c].version = version;
	cgroup->id.at[c].inode = inode;
	if (c == STOW_CGROUP_CPUSET) {
		cgroup->path = cgroup->id.at[c].path;
		cgroup->inode = inode;
	}
	return 0;
}

/* The directory that another controller of the unified hierarchy has opened already. */
static bool borrow(struct stow_cgroup *cgroup, int c)
{
	for (int lender = 0; lender < c; lender++)
		if (cgroup->at[lender].dir && cgroup->at[lender].on_v2) {
			cgroup->at[c] = cgroup->at[lender];
			cgroup->at[c].shared = true;
			cgroup->at[c].version = 0;
			cgroup->id.at[c].inode = cgroup->id.at[lender].inode;
			return true;
		}
	return false;
}

/* Takes controller `c` at `path`, unless the v2 cgroup has it not enabled. `inode`: 0 for any. */
static int take_controller(struct stow_root *root, const struct hierarchy *h, int version, int c,
			   const char *path, uint64_t inode, struct stow_cgroup *cgroup,
			   struct stow_err *err)
{
	static const char *const probe[STOW_CGROUP_CONTROLLERS] = {
		[STOW_CGROUP_CPUSET] = "cpuset.cpus",
		[STOW_CGROUP_HUGETLB] = "hugetlb.2MB.max",
		[STOW_CGROUP_MEMORY] = "memory.max",
	};
	struct opened opened = { 0 };
	int r;

	cgroup->root = root;
	if (version != 2 || !borrow(cgroup, c)) {
		r = open_at(root, h, path, inode, &opened, err);
		if (r < 0)
			return r;
		cgroup->at[c].dir = opened.dir;
		cgroup->at[c].noprefix = opened.noprefix;
		cgroup->at[c].point = opened.point;
		cgroup->at[c].hidden = opened.hidden;
		cgroup->id.at[c].inode = opened.inode;
	}
	cgroup->at[c].on_v2 = version == 2;
	r = set_id(cgroup, c, version, path, cgroup->id.at[c].inode, err);
	if (r < 0)
		return r;
	cgroup->at[c].below = cgroup->id.at[c].path + cgroup->at[c].hidden;
	/* The hugetlb files' names depend on the machine's page sizes: other sizes than 2 MiB are
	 * looked for where they are written. */
	if (version == 2 && c != STOW_CGROUP_HUGETLB &&
	    stow_root_exists(cgroup->at[c].dir, "%s", probe[c]) != 1)
		return 0;
	cgroup->at[c].version = version;
	return 0;
}

/* One line of /proc/PID/cgroup (cgroups(7)): "ID:CONTROLLERS:PATH", on v2 "0::PATH". */
static int read_membership(struct stow_root *root, const struct hierarchies *h, char *line,
			   struct stow_cgroup *cgroup, struct stow_err *err)
{
	char *controllers = strchr(line, ':'), *path;
	int r = 0;

	path = controllers ? strchr(controllers + 1, ':') : NULL;
	if (!path)
		return 0;
	*path++ = '\0';
	controllers++;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS && r == 0; c++) {
		if (cgroup->id.at[c].path) /* the first line that has it */
			continue;
		if (!*controllers && !h->v1[c].n && h->v2.n)
			r = take_controller(root, &h->v2, 2, c, path, 0, cgroup, err);
		else if (*controllers && in_list(controllers, controller_names[c]) && h->v1[c].n)
			r = take_controller(root, &h->v1[c], 1, c, path, 0, cgroup, err);
	}
	return r;
}

int stow_cgroup_of_pid(struct stow_root *root, pid_t pid, struct stow_cgroup **ret_cgroup,
		       struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	const struct hierarchies *h = NULL;
	char buf[16384], *save = NULL;
	int r;

	cgroup = calloc(1, sizeof(*cgroup));
	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup of %d", (int)pid);
	cgroup->path = "";
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
		r = read_membership(root, h, line, cgroup, err);
	if (r < 0)
		return r;
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

int stow_cgroup_of_path(struct stow_root *root, const char *path, struct stow_cgroup **ret_cgroup,
			struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = calloc(1, sizeof(*cgroup));
	const struct hierarchies *h = NULL;
	int r;

	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup");
	cgroup->path = "";
	r = find_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		int version;
		const struct hierarchy *at = hierarchy_of(h, c, &version);

		r = version ? take_controller(root, at, version, c, path, 0, cgroup, err) : -ESRCH;
		if (r < 0 && (c == STOW_CGROUP_CPUSET || (r != -ESRCH && r != -EXDEV)))
			return version ? r : stow_err_set(err, ESRCH, "no cpuset is mounted");
	}
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

/* The first `controllers` of the enum, by the path and inode in `id`. */
static int open_by_id(struct stow_root *root, const struct stow_cgroup_id *id, int controllers,
		      struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = calloc(1, sizeof(*cgroup));
	const struct hierarchies *h = NULL;
	int r;

	if (!cgroup)
		return stow_err_sys(err, ENOMEM, "cgroup");
	cgroup->path = "";
	if (!id->at[STOW_CGROUP_CPUSET].version)
		return stow_err_set(err, ESRCH, "the container has no cpuset cgroup");
	r = find_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	for (int c = 0; c < controllers; c++) {
		int version = id->at[c].version;

		if (!version)
			continue;
		r = take_controller(root, version == 1 ? &h->v1[c] : &h->v2, version, c,
				    id->at[c].path, id->at[c].inode, cgroup, err);
		if (r == -ESRCH && c != STOW_CGROUP_CPUSET)
			r = 0;
		if (r < 0)
			return r;
	}
	*ret_cgroup = STOW_TAKE_PTR(cgroup);
	return 0;
}

int stow_cgroup_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	return open_by_id(root, id, STOW_CGROUP_CONTROLLERS, ret_cgroup, err);
}

int stow_cpuset_open(struct stow_root *root, const struct stow_cgroup_id *id,
		     struct stow_cgroup **ret_cgroup, struct stow_err *err)
{
	return open_by_id(root, id, STOW_CGROUP_CPUSET + 1, ret_cgroup, err);
}

void stow_cgroup_free(struct stow_cgroup *cgroup)
{
	if (!cgroup)
		return;
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		if (!cgroup->at[c].shared)
			stow_root_free(cgroup->at[c].dir);
	}
	stow_cgroup_id_done(&cgroup->id);
	free(cgroup->membership);
	free(cgroup);
}

/* --- identity ------------------------------------------------------------------------------ */

void stow_cgroup_id_done(struct stow_cgroup_id *id)
{
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		free(id->at[c].path);
	*id = (struct stow_cgroup_id){ 0 };
}

int stow_cgroup_id_copy(const struct stow_cgroup_id *from, struct stow_cgroup_id *ret,
			struct stow_err *err)
{
	struct stow_cgroup_id id = *from;
	bool failed = false;

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		id.at[c].path = from->at[c].path ? strdup(from->at[c].path) : NULL;
		failed |= from->at[c].path && !id.at[c].path;
	}
	if (failed) {
		stow_cgroup_id_done(&id);
		return stow_err_sys(err, ENOMEM, "cgroup");
	}
	*ret = id;
	return 0;
}

const char *stow_cgroup_id_path(const struct stow_cgroup_id *id)
{
	const char *path = id->at[STOW_CGROUP_CPUSET].path;

	return path ? path : "";
}

bool stow_cgroup_id_equal(const struct stow_cgroup_id *a, const struct stow_cgroup_id *b)
{
	return a->at[STOW_CGROUP_CPUSET].inode == b->at[STOW_CGROUP_CPUSET].inode &&
	       strcmp(stow_cgroup_id_path(a), stow_cgroup_id_path(b)) == 0;
}

/* v1 has no "populated": whether the cgroup, or one below it, has processes. */
static int has_processes(struct stow_root *dir, const char *below, int depth, struct stow_err *err)
{
	_cleanup_closedir_ DIR *d = NULL;
	const struct dirent *e;
	char buf[64];
	int r;

	r = stow_root_read_buf(dir, buf, sizeof(buf), err, "%s/cgroup.procs", below);
	if (r == -E2BIG || r > 0)
		return 1;
	if (r < 0)
		return r == -ENODEV || r == -ENOENT ? 0 : r;
	d = depth < 32 ? stow_root_opendir(dir, NULL, "%s/", below) : NULL;
	while (d && (e = readdir(d))) {
		char path[PATH_MAX];

		if (e->d_type != DT_DIR || e->d_name[0] == '.' ||
		    snprintf(path, sizeof(path), "%s/%s", below, e->d_name) >= (int)sizeof(path))
			continue;
		r = has_processes(dir, path, depth + 1, err);
		if (r != 0)
			return r;
	}
	return 0;
}

int stow_cgroup_has_processes(const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	char buf[4096];
	int r;

	if (!dir)
		return 0;
	if (!cgroup->at[STOW_CGROUP_CPUSET].on_v2)
		return has_processes(dir, "", 0, err);
	r = stow_root_read_buf(dir, buf, sizeof(buf), err, "cgroup.events");
	if (r == -ENODEV)
		return 0;
	return r < 0 ? r : strstr(buf, "populated 1") != NULL;
}

int stow_cgroup_populated(struct stow_root *root, const struct stow_cgroup_id *id,
			  struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	int r;

	if (!id->at[STOW_CGROUP_CPUSET].version)
		return 0;
	r = stow_cpuset_open(root, id, &cgroup, err);
	if (r < 0)
		return r == -ESRCH ? 0 : r;
	return stow_cgroup_has_processes(cgroup, err);
}

int stow_cgroup_hierarchy(struct stow_root *root, enum stow_controller controller,
			  struct stow_hierarchy *ret, struct stow_err *err)
{
	const struct hierarchies *h = NULL;
	const struct hierarchy_mount *mount;
	const struct hierarchy *at;
	int r, version;

	r = find_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	at = hierarchy_of(h, (int)controller, &version);
	if (!version)
		return stow_err_set(err, ENOENT, "no hierarchy of the %s controller is mounted",
				    controller_names[controller]);
	mount = &at->mounts[0];
	for (size_t i = at->n; i-- > 0;)
		if (!at->mounts[i].root[0]) /* the whole of it rather than a part */
			mount = &at->mounts[i];
	*ret = (struct stow_hierarchy){ version, mount->point, mount->root };
	return 0;
}

int stow_cgroup_mount(struct stow_root *root, enum stow_controller controller,
		      const char **ret_mount, struct stow_err *err)
{
	struct stow_hierarchy hierarchy;
	int r = stow_cgroup_hierarchy(root, controller, &hierarchy, err);

	if (r == 0)
		*ret_mount = hierarchy.point;
	return r;
}
