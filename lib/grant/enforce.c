// SPDX-License-Identifier: Apache-2.0
#include "grant/enforce.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/helper.h"
#include "base/parse.h"

#define SCOPE_TIMEOUT_MS 5000
#define SCOPE_NOTHING	 3 /* what numastow-scope returns when systemd does not set the property */

static bool is_unit(const char *path, size_t len)
{
	static const char *const kinds[] = { ".scope", ".service" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i]);

		if (len > n && path[len - n - 1] != '/' &&
		    strncmp(path + len - n, kinds[i], n) == 0)
			return true;
	}
	return false;
}

/* The cgroup that may be a unit's own ("/machine.slice/libpod-1.scope") and its inode: the
 * container's, or with crun, which keeps containers one level below their scope, the one above. */
static bool unit_cgroup(const struct stow_cgroup *cgroup, char *path, size_t size, ino_t *ret_inode)
{
	static const char below[] = "/container";
	const struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	size_t len = strlen(cgroup->path), n = sizeof(below) - 1;
	bool above = len > n && strcmp(cgroup->path + len - n, below) == 0;
	struct stat st;

	if (above)
		len -= n;
	if (!is_unit(cgroup->path, len) || len >= size)
		return false;
	/* By the open directory: what has its name now may be another one. */
	if (fstatat(dir->fd, above ? ".." : "", &st, above ? 0 : AT_EMPTY_PATH) < 0)
		return false;
	snprintf(path, size, "%.*s", (int)len, cgroup->path);
	*ret_inode = st.st_ino;
	return true;
}

static int run_scope(const char *unit, ino_t inode, const char *property, const char *list,
		     struct stow_err *err)
{
	char path[PATH_MAX], number[32];
	char *argv[] = { path, (char *)unit, number, (char *)property, (char *)list, NULL };
	char *environment[] = { NULL };
	int r, status;
	pid_t pid;

	snprintf(number, sizeof(number), "%ju", (uintmax_t)inode);
	stow_helper_path("numastow-scope", path, sizeof(path));
	r = posix_spawn(&pid, path, NULL, NULL, argv, environment);
	/* Never ENOENT: that would say that the container's cgroup is gone. */
	if (r != 0)
		return stow_err_set(err, EIO, "starting %s for %s: %s", path, unit, strerror(r));
	r = stow_helper_wait(pid, SCOPE_TIMEOUT_MS, &status);
	if (r < 0)
		return stow_err_set(err, ETIMEDOUT,
				    "systemd was asked to set %s=%s for %s and did not answer "
				    "within %d s",
				    property, list, unit, SCOPE_TIMEOUT_MS / 1000);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SCOPE_NOTHING))
		return WEXITSTATUS(status) == 0;
	return stow_err_set(err, EIO, "systemd did not take %s=%s for %s", property, list, unit);
}

int stow_enforce_unit(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
		      struct stow_err *err)
{
	const struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	_cleanup_free_ char *list = NULL;
	char path[PATH_MAX];
	ino_t inode;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 2 || !dir->live || stow_idset_empty(set) ||
	    !unit_cgroup(cgroup, path, sizeof(path), &inode) ||
	    access("/run/systemd/system", F_OK) < 0)
		return 0;
	list = stow_idset_to_list(set);
	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", path);
	return run_scope(path, inode, cpus ? "AllowedCPUs" : "AllowedMemoryNodes", list, err);
}

int stow_enforce_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *cpus, bool had_own,
		      struct stow_err *err)
{
	int r = stow_cpuset_write_cpus(cgroup, cpus, err);

	if (r == 0)
		r = stow_enforce_unit(cgroup, true, cpus, err);
	return r < 0 ? r : 0;
}

int stow_enforce_mems(const struct stow_cgroup *cgroup, const struct stow_idset *mems, bool had_own,
		      struct stow_err *err)
{
	int r = stow_cpuset_write_mems(cgroup, mems, err);

	if (r == 0)
		r = stow_enforce_unit(cgroup, false, mems, err);
	return r < 0 ? r : 0;
}

/* Whether a cgroup above ours allows fewer bytes. kubelet sets a pod's limit to 0 for sizes that
 * the pod did not ask for; to lift somebody else's limit is not ours. */
static int check_above(struct stow_root *dir, const char *attribute, uint64_t bytes,
		       struct stow_err *err)
{
	char up[PATH_MAX] = "";

	for (int depth = 0; depth < 64; depth++) {
		char value[64];
		uint64_t limit;
		size_t len = strlen(up);
		int r;

		snprintf(up + len, sizeof(up) - len, "../");
		r = stow_root_read_buf(dir, value, sizeof(value), NULL, "%s%s", up, attribute);
		if (r < 0) /* the topmost has no limits */
			return 0;
		if (stow_parse_u64(value, UINT64_MAX, &limit, NULL) == 0 && limit < bytes)
			return stow_err_set(err, EPERM,
					    "%s of a cgroup above %s is %" PRIu64
					    ", which is less than the %" PRIu64 " bytes asked for",
					    attribute, dir->dir, limit, bytes);
	}
	return 0;
}

int stow_enforce_hugetlb(const struct stow_cgroup *cgroup, uint64_t page_size, uint64_t bytes,
			 struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[STOW_CGROUP_HUGETLB].dir;
	int version = cgroup->at[STOW_CGROUP_HUGETLB].version;
	int done = 0;

	if (!version)
		return 0;
	for (int reservation = 0; reservation < 2; reservation++) {
		char name[64];
		int r;

		stow_hugetlb_limit_name(version, page_size, reservation, name, sizeof(name));
		if (stow_root_exists(dir, "%s", name) != 1)
			continue; /* no controller; or a kernel before 5.7, without rsvd */
		r = check_above(dir, name, bytes, err);
		if (r == 0)
			r = stow_root_write_u64(dir, bytes, err, "%s", name);
		if (r < 0)
			return r;
		done = 1;
	}
	return done;
}

int stow_enforce_memory(const struct stow_cgroup *cgroup, uint64_t bytes, struct stow_err *err)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version, r;

	if (!version)
		return 0;
	r = stow_root_write_u64(cgroup->at[STOW_CGROUP_MEMORY].dir, bytes, err, "%s",
				stow_memory_limit_name(version));
	return r < 0 ? r : 1;
}
