// SPDX-License-Identifier: Apache-2.0
#include "grant/enforce.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/helper.h"
#include "base/parse.h"

/* The unit when the container's own cgroup is a scope ("/machine.slice/libpod-1.scope"): only then
 * does systemd write the files that we write. crun keeps containers one level below. */
static const char *own_scope(const struct stow_cgroup *cgroup)
{
	const char *slash = strrchr(cgroup->path, '/');
	size_t len = strlen(cgroup->path);

	if (!slash || cgroup->at[STOW_CGROUP_CPUSET].version != 2 || len < 7 ||
	    strcmp(cgroup->path + len - 6, ".scope") != 0)
		return NULL;
	return slash + 1;
}

static int set_property(const char *unit, const char *property, const struct stow_idset *set,
			struct stow_err *err)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);
	char path[PATH_MAX];
	char *argv[] = { path, (char *)unit, (char *)property, list, NULL };
	char *environment[] = { NULL };
	int r, status;
	pid_t pid;

	if (!list)
		return stow_err_sys(err, ENOMEM, "%s", unit);
	stow_helper_path("numastow-scope", path, sizeof(path));
	r = posix_spawn(&pid, path, NULL, NULL, argv, environment);
	/* Never ENOENT: that would say that the container's cgroup is gone. */
	if (r != 0)
		return stow_err_set(err, EIO, "starting %s for %s: %s", path, unit, strerror(r));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return stow_err_sys(err, errno, "waiting for numastow-scope");
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return stow_err_set(err, EIO, "systemd did not take %s=%s for %s", property, list,
				    unit);
	return 0;
}

static int tell_systemd(const struct stow_cgroup *cgroup, const char *property,
			const struct stow_idset *set, bool had_own, struct stow_err *err)
{
	const char *unit = own_scope(cgroup);

	if (!had_own || !unit || stow_idset_empty(set) ||
	    !cgroup->at[STOW_CGROUP_CPUSET].dir->live || access("/run/systemd/system", F_OK) < 0)
		return 0;
	return set_property(unit, property, set, err);
}

int stow_enforce_cpus(const struct stow_cgroup *cgroup, const struct stow_idset *cpus, bool had_own,
		      struct stow_err *err)
{
	int r = stow_cpuset_write_cpus(cgroup, cpus, err);

	return r < 0 ? r : tell_systemd(cgroup, "AllowedCPUs", cpus, had_own, err);
}

int stow_enforce_mems(const struct stow_cgroup *cgroup, const struct stow_idset *mems, bool had_own,
		      struct stow_err *err)
{
	int r = stow_cpuset_write_mems(cgroup, mems, err);

	return r < 0 ? r : tell_systemd(cgroup, "AllowedMemoryNodes", mems, had_own, err);
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
