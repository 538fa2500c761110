// SPDX-License-Identifier: Apache-2.0
#include "cgroup/peek.h"

#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/hierarchy_internal.h"

void stow_peek_done(struct stow_peek *peek)
{
	stow_root_free(peek->top);
	stow_root_free(peek->near);
	*peek = (struct stow_peek){ 0 };
}

/* Return the first mount that shows the cgroup. */
static const struct hierarchy_mount *find_mount(const struct hierarchy *h, const char *path)
{
	for (size_t i = 0; i < h->n && stow_cgroup_path_is_sane(path); i++)
		if (stow_below_mount(&h->mounts[i], path))
			return &h->mounts[i];
	return NULL;
}

/* Return the directory to open the cgroup's files from, and set *below to the cgroup's path from
 * there: a short path costs less. The parent's directory is opened when a second container of the
 * same parent follows. */
static struct stow_root *start_at(struct stow_peek *peek, struct stow_root *root,
				  const struct hierarchy_mount *mount, const char **below)
{
	const char *slash = strrchr(*below, '/');
	size_t len = (size_t)(slash - *below);

	if (peek->point != mount->point) {
		stow_peek_done(peek);
		if (stow_root_sub(root, &peek->top, NULL, "%s", mount->point) < 0)
			return NULL;
		peek->point = mount->point;
	}
	if (!len || len >= sizeof(peek->path))
		return peek->top;
	if (strncmp(peek->path, *below, len) != 0 || peek->path[len]) {
		stow_root_free(STOW_TAKE_PTR(peek->near));
		memcpy(peek->path, *below, len);
		peek->path[len] = '\0';
		return peek->top;
	}
	if (!peek->near && stow_root_sub(peek->top, &peek->near, NULL, "%s", peek->path) < 0)
		return peek->top;
	*below = slash;
	return peek->near;
}

static void describe(const struct stow_cgroup_id *id, const struct hierarchy_mount *mount,
		     struct stow_root *root, struct stow_cgroup *ret)
{
	int version = id->at[STOW_CGROUP_CPUSET].version;
	char *path = id->at[STOW_CGROUP_CPUSET].path;

	*ret = (struct stow_cgroup){ .root = root,
				     .path = path,
				     .inode = id->at[STOW_CGROUP_CPUSET].inode };
	ret->id.at[STOW_CGROUP_CPUSET] = id->at[STOW_CGROUP_CPUSET];
	ret->at[STOW_CGROUP_CPUSET].version = version;
	ret->at[STOW_CGROUP_CPUSET].on_v2 = version == 2;
	ret->at[STOW_CGROUP_CPUSET].noprefix = mount->noprefix;
	ret->at[STOW_CGROUP_CPUSET].point = mount->point;
	ret->at[STOW_CGROUP_CPUSET].below = stow_below_mount(mount, path);
}

bool stow_peek_cpus(struct stow_peek *peek, struct stow_root *root, const struct stow_cgroup_id *id,
		    struct stow_cgroup *ret_cgroup, struct stow_idset *ret_cpus)
{
	int version = id->at[STOW_CGROUP_CPUSET].version;
	const struct hierarchies *h = NULL;
	const struct hierarchy_mount *mount;
	struct stow_root *from;
	const char *below;
	struct stat st;

	if (!version || stow_hierarchies(root, &h, NULL) < 0)
		return false;
	mount = find_mount(version == 1 ? &h->v1[STOW_CGROUP_CPUSET] : &h->v2,
			   id->at[STOW_CGROUP_CPUSET].path);
	if (!mount)
		return false;
	describe(id, mount, root, ret_cgroup);
	below = ret_cgroup->at[STOW_CGROUP_CPUSET].below;
	if (!below[0] || !below[1]) /* the mounted cgroup itself: its parent cannot be read */
		return false;
	from = start_at(peek, root, mount, &below);
	/* In this order: the kernel does not reuse inode numbers, so the cgroup that has this one
	 * now had its name before the file was read. */
	return from &&
	       stow_root_read_idset(from, ret_cpus, NULL, "%s/%s", below,
				    stow_cpuset_file(ret_cgroup, true, true)) == 0 &&
	       stow_root_stat(from, &st, NULL, "%s", below) == 0 &&
	       st.st_ino == id->at[STOW_CGROUP_CPUSET].inode &&
	       (!root->live || !mount->dev || st.st_dev == mount->dev);
}
