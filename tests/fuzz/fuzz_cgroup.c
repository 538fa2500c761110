// SPDX-License-Identifier: Apache-2.0
/*
 * mountinfo, an empty line, /proc/PID/cgroup: what is found is a directory below a mount, and is
 * found again by what it was identified as.
 */
#include "folder.h"

#include "cgroup/cgroup.h"
#include "cgroup/hierarchy.h"

static void check_found(struct stow_root *root, const struct stow_cgroup *cgroup)
{
	struct stow_cgroup *again = NULL;
	struct stow_err err = { 0 };
	int r;

	for (int c = 0; c < STOW_CGROUP_CONTROLLERS; c++) {
		const char *path = cgroup->id.at[c].path;

		if (!cgroup->at[c].version)
			continue;
		FUZZ_CHECK(cgroup->at[c].dir && path && path[0] == '/' && !strstr(path, "/../"));
		FUZZ_CHECK(cgroup->at[c].hidden <= strlen(path));
		FUZZ_CHECK(cgroup->id.at[c].inode);
	}
	r = stow_cgroup_open(root, &cgroup->id, &again, &err);
	FUZZ_CHECK_ERR(r, &err);
	if (cgroup->at[STOW_CGROUP_CPUSET].version) {
		FUZZ_CHECK(r == 0 && again->inode == cgroup->inode);
		FUZZ_CHECK(strcmp(again->path, cgroup->path) == 0);
		FUZZ_CHECK(stow_cgroup_populated(root, &cgroup->id, NULL) <= 1);
	}
	stow_cgroup_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char *const folders[] = { "/proc",
					       "/proc/self",
					       "/proc/7",
					       "/sys",
					       "/sys/fs",
					       "/sys/fs/cgroup",
					       "/sys/fs/cgroup/a",
					       "/sys/fs/cgroup/a/b",
					       "/sys/fs/cgroup/cpuset",
					       "/sys/fs/cgroup/cpuset/a",
					       "/sys/fs/cgroup/a b" };
	static const char *const files[] = { "/sys/fs/cgroup/a/cpuset.cpus",
					     "/sys/fs/cgroup/a/b/cpuset.cpus",
					     "/sys/fs/cgroup/cpuset/a/cpuset.cpus",
					     "/sys/fs/cgroup/a b/cpuset.cpus" };
	const uint8_t *end = size ? memmem(data, size, "\n\n", 2) : NULL;
	size_t first = end ? (size_t)(end - data) + 1 : size;
	struct stow_cgroup *cgroup = NULL;
	struct stow_err err = { 0 };
	struct stow_root *root;
	const char *mount;
	int r;

	for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
		fuzz_mkdir(folders[i]);
	for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
		fuzz_file(files[i], "0-3\n", 4);
	fuzz_file("/proc/self/mountinfo", data, first);
	fuzz_file("/proc/7/cgroup", data + first + !!end, size - first - !!end);
	if (stow_root_open(fuzz_folder(), &root, NULL) < 0)
		abort();
	r = stow_cgroup_of_pid(root, 7, &cgroup, &err);
	FUZZ_CHECK_ERR(r, &err);
	if (r == 0)
		check_found(root, cgroup);
	stow_cgroup_free(cgroup);
	err = (struct stow_err){ 0 };
	r = stow_cgroup_mount(root, STOW_CGROUP_CPUSET, &mount, &err);
	FUZZ_CHECK_ERR(r, &err);
	stow_root_free(root);
	return 0;
}
