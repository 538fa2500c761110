// SPDX-License-Identifier: Apache-2.0
#include "cgroup/hierarchy.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/hierarchy_internal.h"

const char *const stow_controller_names[STOW_CGROUP_HIERARCHIES] = {
	[STOW_CGROUP_CPUSET] = "cpuset",
	[STOW_CGROUP_HUGETLB] = "hugetlb",
	[STOW_CGROUP_MEMORY] = "memory",
	[STOW_CGROUP_FREEZER] = "freezer",
};

static void hierarchy_done(struct hierarchy *h)
{
	for (size_t i = 0; i < h->n; i++) {
		free(h->mounts[i].point);
		free(h->mounts[i].root);
	}
	free(h->mounts);
}

static void hierarchies_free(struct stow_cached *cached)
{
	struct hierarchies *h = (struct hierarchies *)cached;

	hierarchy_done(&h->v2);
	for (int c = 0; c < STOW_CGROUP_HIERARCHIES; c++)
		hierarchy_done(&h->v1[c]);
	free(h);
}

bool stow_controller_is_in(int c, const char *list)
{
	return stow_text_has_word(list, stow_controller_names[c]);
}

bool stow_cgroup_is_below(const char *path, const char *above)
{
	size_t len = strlen(above);

	return strncmp(path, above, len) == 0 && path[len] == '/';
}

const char *stow_membership_split(char *line, const char **ret_path)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;

	if (!path)
		return NULL;
	*path = '\0';
	*ret_path = path + 1;
	return controllers + 1;
}

/* --- mountinfo ------------------------------------------------------------ */

/* Unescape in place: mountinfo writes blanks, tabs, newlines and backslashes as three octal
 * digits. */
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
	struct hierarchy_mount *added = STOW_APPEND(h->mounts, h->n);

	if (!added)
		return -ENOMEM;
	added->point = strdup(point);
	added->root = strdup(strcmp(root, "/") == 0 ? "" : root);
	added->dev = dev;
	added->noprefix = noprefix;
	return added->point && added->root ? 0 : -ENOMEM;
}

/* Convert "MAJOR:MINOR" to the number that stat(2) gives; 0 when it is malformed. */
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

/* Read one line of mountinfo (proc(5)): "ID PARENT DEV ROOT MOUNT OPTIONS [TAG...] - TYPE SOURCE
 * SUPER". */
static int read_mount(char *line, struct hierarchies *h)
{
	char *save = NULL, *field[6], *type, *options, *tail;
	uint64_t dev;
	int r = 0;

	/* All blanks before the separator are escaped. */
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
	for (int c = 0; options && c < STOW_CGROUP_HIERARCHIES && r == 0; c++)
		if (stow_controller_is_in(c, options))
			r = add_mount(&h->v1[c], field[4], field[3], dev,
				      c == STOW_CGROUP_CPUSET &&
					      stow_text_has_word(options, "noprefix"));
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
 * Avoid reading mountinfo, which has a line for every mount of every container. In the initial
 * cgroup namespace (paths in /proc/PID/cgroup are relative to the reader's), it is not needed when
 * the whole unified hierarchy is at its usual place, its topmost cgroup having inode 1, and has all
 * controllers: then no v1 hierarchy has them. Return 1 in this case.
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
	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++)
		if (!stow_controller_is_in(c, list))
			return 0;
	if (fstatat(root->fd, "proc/self/ns/cgroup", &st, 0) < 0 ||
	    st.st_ino != FIRST_CGROUP_NAMESPACE || fstat(top->fd, &st) < 0)
		return 0;
	r = add_mount(&h->v2, UNIFIED_PATH, "", st.st_dev, false);
	return r < 0 ? r : 1;
}

int stow_hierarchies(struct stow_root *root, const struct hierarchies **ret, struct stow_err *err)
{
	struct stow_cached *cached = stow_root_cached(root);
	struct hierarchies *h;
	int r;

	if (!cached) {
		h = calloc(1, sizeof(*h));
		if (!h)
			return stow_err_sys(err, ENOMEM, "/proc/self/mountinfo");
		h->cached.free = hierarchies_free;
		r = assume_unified(root, h);
		if (r == 0)
			r = read_hierarchies(root, h, err);
		if (r < 0) {
			hierarchies_free(&h->cached);
			return r;
		}
		cached = stow_root_cache(root, &h->cached);
	}
	*ret = (const struct hierarchies *)cached;
	return 0;
}

const struct hierarchy *stow_hierarchy_of(const struct hierarchies *h, int c, int *ret_version)
{
	*ret_version = h->v1[c].n ? 1 : h->v2.n ? 2 : 0;
	return h->v1[c].n ? &h->v1[c] : &h->v2;
}

bool stow_cgroup_path_is_sane(const char *path)
{
	return path[0] == '/' && !strstr(path, "/../") &&
	       !(strlen(path) >= 3 && strcmp(path + strlen(path) - 3, "/..") == 0);
}

const char *stow_below_mount(const struct hierarchy_mount *mount, const char *path)
{
	size_t len = strlen(mount->root);

	if (strncmp(path, mount->root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path + len;
}

int stow_cgroup_hierarchy(struct stow_root *root, enum stow_controller controller,
			  struct stow_hierarchy *ret, struct stow_err *err)
{
	const struct hierarchies *h = NULL;
	const struct hierarchy_mount *mount;
	const struct hierarchy *at;
	int r, version;

	r = stow_hierarchies(root, &h, err);
	if (r < 0)
		return r;
	at = stow_hierarchy_of(h, (int)controller, &version);
	if (!version)
		return stow_err_set(err, ENOENT, "no hierarchy of the %s controller is mounted",
				    stow_controller_names[controller]);
	mount = &at->mounts[0];
	for (size_t i = at->n; i-- > 0;)
		if (!at->mounts[i].root[0]) /* prefer the whole hierarchy to a part */
			mount = &at->mounts[i];
	*ret = (struct stow_hierarchy){ version, mount->point, mount->root, mount->noprefix };
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

bool stow_systemd_runs(void)
{
	return access("/run/systemd/system", F_OK) == 0;
}
