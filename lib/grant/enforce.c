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
#include "base/clock.h"
#include "base/helper.h"
#include "base/parse.h"
#include "cgroup/limits.h"

/* The time that an answer may take where the machine is very busy; sd-bus itself waits for 25 s. */
#define SCOPE_TIMEOUT (15 * STOW_SECOND)
#define SCOPE_EACH    (50 * STOW_MILLISECOND)
#define SCOPE_AT_ONCE 200
#define SCOPE_NOTHING 3 /* what numastow-scope returns when systemd does not set the property */

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

/* Find the cgroup that may be a unit's own ("/machine.slice/libpod-1.scope") and its inode: the
 * container's, or its parent with crun, which keeps a container one level below its scope. */
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
	/* By the open directory: another cgroup may have its name by now. */
	if (fstatat(dir->fd, above ? ".." : "", &st, above ? 0 : AT_EMPTY_PATH) < 0)
		return false;
	snprintf(path, size, "%.*s", (int)len, cgroup->path);
	*ret_inode = st.st_ino;
	return true;
}

/* `argv` has room for the program at its start, then the property and three words for each unit,
 * and ends in NULL. */
static int run_scope(char **argv, size_t n, struct stow_err *err)
{
	char path[PATH_MAX];
	char *environment[] = { NULL };
	uint64_t timeout = SCOPE_TIMEOUT + n * SCOPE_EACH;
	int r, status;
	pid_t pid;

	argv[0] = (char *)stow_helper_path("numastow-scope", path, sizeof(path));
	r = posix_spawn(&pid, path, NULL, NULL, argv, environment);
	/* Never return ENOENT: to the caller it means that the cgroup is gone. */
	if (r != 0)
		return stow_err_set(err, EIO, "starting %s: %s", path, strerror(r));
	r = stow_helper_wait(pid, timeout, &status);
	if (r < 0)
		return stow_err_set(err, ETIMEDOUT,
				    "systemd was asked to set %s of %s and did not answer within "
				    "%" PRIu64 " s",
				    argv[1], argv[2], timeout / STOW_SECOND);
	if (WIFEXITED(status) && (WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SCOPE_NOTHING))
		return WEXITSTATUS(status) == 0;
	return stow_err_set(err, EIO, "systemd did not take %s=%s for %s%s", argv[1], argv[4],
			    argv[2], n > 1 ? " or another unit" : "");
}

void stow_unit_sets_done(struct stow_unit_sets *sets)
{
	for (size_t i = 0; i < 3 * sets->n; i++)
		free(sets->words[i]);
	free(sets->words);
	*sets = (struct stow_unit_sets){ 0 };
}

int stow_unit_sets_add(struct stow_unit_sets *sets, const struct stow_cgroup *cgroup,
		       const struct stow_idset *set, struct stow_err *err)
{
	const struct stow_root *dir = cgroup->at[STOW_CGROUP_CPUSET].dir;
	char path[PATH_MAX], **grown;
	ino_t inode;

	if (cgroup->at[STOW_CGROUP_CPUSET].version != 2 || !dir->live || stow_idset_empty(set) ||
	    !unit_cgroup(cgroup, path, sizeof(path), &inode) || !stow_systemd_runs())
		return 0;
	grown = reallocarray(sets->words, 3 * (sets->n + 1), sizeof(*grown));
	if (!grown)
		return stow_err_sys(err, ENOMEM, "%s", path);
	sets->words = grown;
	grown += 3 * sets->n++;
	grown[0] = strdup(path);
	if (asprintf(&grown[1], "%ju", (uintmax_t)inode) < 0)
		grown[1] = NULL;
	grown[2] = stow_idset_to_list(set);
	return grown[0] && grown[1] && grown[2] ? 0 : stow_err_sys(err, ENOMEM, "%s", path);
}

int stow_unit_sets_set(const struct stow_unit_sets *sets, bool cpus, struct stow_err *err)
{
	char *property = cpus ? (char *)"AllowedCPUs" : (char *)"AllowedMemoryNodes";
	char *argv[2 + 3 * SCOPE_AT_ONCE + 1];
	struct stow_first first = { .err = err };
	int set = 0;

	for (size_t from = 0; from < sets->n; from += SCOPE_AT_ONCE) {
		size_t n = sets->n - from < SCOPE_AT_ONCE ? sets->n - from : SCOPE_AT_ONCE;

		argv[1] = property;
		memcpy(&argv[2], &sets->words[3 * from], 3 * n * sizeof(*argv));
		argv[2 + 3 * n] = NULL;
		set |= stow_first_note(&first, run_scope(argv, n, first.err)) > 0;
	}
	return first.code ? first.code : set;
}

int stow_enforce_unit(const struct stow_cgroup *cgroup, bool cpus, const struct stow_idset *set,
		      struct stow_err *err)
{
	_cleanup_(stow_unit_sets_done) struct stow_unit_sets sets = { 0 };
	int r = stow_unit_sets_add(&sets, cgroup, set, err);

	return r < 0 ? r : stow_unit_sets_set(&sets, cpus, err);
}

/* Check the limits of the cgroups above. They are not raised: kubelet, for one, sets a pod's limit
 * to 0 for page sizes that the pod did not ask for. */
static int check_above(const struct stow_cgroup *cgroup, enum stow_controller controller,
		       const char *name, uint64_t bytes, struct stow_err *err)
{
	uint64_t limit = stow_cgroup_limit_above(cgroup, controller, name);

	if (limit >= bytes)
		return 0;
	return stow_err_set(err, EPERM,
			    "%s of a cgroup above %s is %" PRIu64
			    ", which is less than the %" PRIu64 " bytes asked for",
			    name, cgroup->id.at[controller].path, limit, bytes);
}

/* Return whether the last component of the path is the pod's cgroup, of either cgroup driver. */
static bool is_pods(const char *path, size_t len, const char *pod)
{
	static const char slice[] = ".slice";
	size_t from = len, uid = strlen(pod), tail = sizeof(slice) - 1;

	while (from > 0 && path[from - 1] != '/')
		from--;
	path += from;
	len -= from;
	if (!uid)
		return false;
	if (len == 3 + uid)
		return strncmp(path, "pod", 3) == 0 && strncmp(path + 3, pod, uid) == 0;
	if (len < 3 + uid + tail || strncmp(path + len - tail, slice, tail) != 0)
		return false;
	path += len - tail - uid;
	for (size_t i = 0; i < uid; i++)
		if (path[i] != (pod[i] == '-' ? '_' : pod[i]))
			return false;
	return strncmp(path - 3, "pod", 3) == 0 && (len == 3 + uid + tail || path[-4] == '-');
}

/* Return the length of the path of the pod's cgroup, an ancestor of the path; 0: there is none. */
static size_t pod_length(const char *path, const char *pod)
{
	size_t len = strlen(path);

	do {
		while (len > 0 && path[len - 1] != '/')
			len--;
		while (len > 0 && path[len - 1] == '/')
			len--;
	} while (len > 0 && !is_pods(path, len, pod));
	return len;
}

/* Raise one limit of the cgroups from `top` bytes of the path on, but not of the last. */
static int raise_limit(const struct stow_cgroup *cgroup, const char *name, size_t top,
		       uint64_t bytes, struct stow_err *err)
{
	const typeof(cgroup->at[0]) *at = &cgroup->at[STOW_CGROUP_HUGETLB];
	size_t len = top;
	int raised = 0;

	while (at->below[len]) {
		char text[64];
		uint64_t limit;
		int r;

		r = stow_root_read_buf(cgroup->root, text, sizeof(text), NULL, "%s%.*s/%s",
				       at->point, (int)len, at->below, name);
		if (r >= 0 && stow_parse_u64(text, UINT64_MAX, &limit, NULL) == 0 &&
		    limit < bytes) {
			r = stow_root_write_u64(cgroup->root, bytes, err, "%s%.*s/%s", at->point,
						(int)len, at->below, name);
			if (r < 0)
				return r;
			raised = 1;
		}
		len++;
		while (at->below[len] && at->below[len] != '/')
			len++;
	}
	return raised;
}

int stow_enforce_pod_hugetlb(const struct stow_cgroup *cgroup, const char *pod, uint64_t page_size,
			     uint64_t bytes, struct stow_err *err)
{
	const typeof(cgroup->at[0]) *at = &cgroup->at[STOW_CGROUP_HUGETLB];
	size_t top = at->version && at->point && at->below ? pod_length(at->below, pod) : 0;
	int raised = 0;

	for (int reservation = 0; reservation < 2 && top; reservation++) {
		char name[64];
		int r;

		stow_hugetlb_limit_name(at->version, page_size, reservation, name, sizeof(name));
		r = raise_limit(cgroup, name, top, bytes, err);
		if (r < 0)
			return r;
		raised |= r;
	}
	return raised;
}

int stow_enforce_hugetlb_paths(const struct stow_cgroup *cgroup, const char *pod, char ***list,
			       size_t *n, struct stow_err *err)
{
	const typeof(cgroup->at[0]) *at = &cgroup->at[STOW_CGROUP_HUGETLB];
	size_t end, len;

	if (!at->version || !at->point || !at->below)
		return 0;
	end = strlen(at->below);
	len = pod_length(at->below, pod);
	for (len = len ? len : end; len <= end; len++) {
		char **grown;

		if (at->below[len] && at->below[len] != '/')
			continue;
		grown = realloc(*list, (*n + 1) * sizeof(*grown));
		if (!grown)
			return stow_err_set(err, ENOMEM, "out of memory");
		*list = grown;
		if (asprintf(&grown[*n], "%s%.*s", at->point, (int)len, at->below) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
		(*n)++;
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
		r = stow_root_exists(dir, "%s", name);
		if (r == 0)
			continue; /* no controller; or a kernel before 5.7, without rsvd */
		if (r < 0)
			return stow_err_sys(err, -r, "%s", name);
		r = check_above(cgroup, STOW_CGROUP_HUGETLB, name, bytes, err);
		if (r == 0)
			r = stow_root_write_u64(dir, bytes, err, "%s", name);
		if (r < 0)
			return r;
		done = 1;
	}
	return done;
}

int stow_enforce_check_memory(const struct stow_cgroup *cgroup, uint64_t bytes,
			      struct stow_err *err)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version;

	if (!version || !bytes)
		return 0;
	return check_above(cgroup, STOW_CGROUP_MEMORY, stow_memory_limit_name(version), bytes, err);
}

int stow_enforce_memory(const struct stow_cgroup *cgroup, uint64_t bytes, struct stow_err *err)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version, r;

	if (!version)
		return 0;
	r = stow_enforce_check_memory(cgroup, bytes, err);
	if (r == 0)
		r = stow_root_write_u64(cgroup->at[STOW_CGROUP_MEMORY].dir, bytes, err, "%s",
					stow_memory_limit_name(version));
	return r < 0 ? r : 1;
}
