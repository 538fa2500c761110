// SPDX-License-Identifier: Apache-2.0
#include "grant/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* The controller is the attribute's first word: "hugetlb.2MB.max" belongs to hugetlb. */
static struct stow_root *dir_of(const struct stow_cgroup *cgroup, const char *attribute)
{
	if (strncmp(attribute, "cpuset.", 7) == 0)
		return cgroup->at[STOW_CGROUP_CPUSET].dir;
	if (strncmp(attribute, "hugetlb.", 8) == 0)
		return cgroup->at[STOW_CGROUP_HUGETLB].dir;
	return cgroup->at[STOW_CGROUP_MEMORY].dir;
}

/* An attribute that is not there needs no undo: it cannot be written either. */
static int capture(const struct stow_cgroup *cgroup, const char *attribute, FILE *out,
		   struct stow_err *err)
{
	struct stow_root *dir = dir_of(cgroup, attribute);
	char value[16384];
	int r;

	if (!dir)
		return 0;
	r = stow_root_read_buf(dir, value, sizeof(value), err, "%s", attribute);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	fprintf(out, "%s=%s\n", attribute, value);
	return 0;
}

static int capture_set(const char *attribute, const struct stow_idset *set, FILE *out,
		       struct stow_err *err)
{
	_cleanup_free_ char *list = stow_idset_to_list(set);

	if (!list)
		return stow_err_sys(err, ENOMEM, "saving %s", attribute);
	fprintf(out, "%s=%s\n", attribute, list);
	return 0;
}

static int capture_all(const struct stow_cgroup *cgroup, const struct stow_cpuset *cpuset,
		       const struct stow_request *request, FILE *out, struct stow_err *err)
{
	int hugetlb = cgroup->at[STOW_CGROUP_HUGETLB].version;
	char name[64];
	int r;

	r = capture_set("cpuset.cpus", &cpuset->cpus, out, err);
	if (r == 0)
		r = capture_set("cpuset.mems", &cpuset->mems, out, err);
	if (r == 0 && cgroup->at[STOW_CGROUP_CPUSET].version == 1)
		r = capture(cgroup, "cpuset.memory_migrate", out, err);
	if (r == 0 && request->memory && cgroup->at[STOW_CGROUP_MEMORY].version)
		r = capture(cgroup, stow_memory_limit_name(cgroup->at[STOW_CGROUP_MEMORY].version),
			    out, err);
	for (size_t i = 0; i < request->n_pages && hugetlb; i++)
		for (int reservation = 0; reservation < 2 && r == 0; reservation++)
			r = capture(cgroup,
				    stow_hugetlb_limit_name(hugetlb, request->pages[i].size,
							    reservation, name, sizeof(name)),
				    out, err);
	return r;
}

int stow_saved_capture(const struct stow_cgroup *cgroup, const struct stow_cpuset *cpuset,
		       const struct stow_request *request, char **ret_saved, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;
	size_t len = 0;
	FILE *out;
	int r;

	out = open_memstream(&text, &len);
	if (!out)
		return stow_err_sys(err, ENOMEM, "saving the cgroup's values");
	r = capture_all(cgroup, cpuset, request, out, err);
	if (fclose(out) != 0 && r == 0)
		r = stow_err_sys(err, ENOMEM, "saving the cgroup's values");
	if (r < 0)
		return r;
	*ret_saved = STOW_TAKE_PTR(text);
	return 0;
}

static int restore_one(const struct stow_cgroup *cgroup, const char *attribute, const char *value,
		       struct stow_err *err)
{
	struct stow_root *dir = dir_of(cgroup, attribute);
	struct stow_idset mems;
	int r;

	if (!dir || strcmp(attribute, "cpuset.cpus") == 0)
		return 0;
	if (strcmp(attribute, "cpuset.mems") != 0)
		return stow_root_write(dir, value, err, "%s", attribute);
	r = stow_idset_parse(value, &mems, err);
	return r < 0 ? r : stow_cpuset_write_mems(cgroup, &mems, err);
}

int stow_saved_restore(const struct stow_cgroup *cgroup, const char *saved, struct stow_err *err)
{
	_cleanup_free_ char *copy = strdup(saved);
	int first = 0;
	char *line;

	if (!copy)
		return stow_err_sys(err, ENOMEM, "restoring the cgroup's values");
	/* From the last line to the first. */
	for (size_t len = strlen(copy); len; len = strlen(copy)) {
		char *equals;
		int r;

		if (copy[len - 1] == '\n')
			copy[len - 1] = '\0';
		line = strrchr(copy, '\n');
		line = line ? line + 1 : copy;
		equals = strchr(line, '=');
		if (equals) {
			*equals = '\0';
			r = restore_one(cgroup, line, equals + 1, first ? NULL : err);
			if (r < 0 && first == 0)
				first = r;
		}
		*line = '\0';
	}
	return first;
}

void stow_saved_idset(const char *saved, const char *attribute, struct stow_idset *ret)
{
	size_t len = strlen(attribute);
	char value[16384];

	memset(ret, 0, sizeof(*ret));
	for (const char *line = saved; line; line = strchr(line, '\n')) {
		const char *end;

		if (*line == '\n')
			line++;
		if (strncmp(line, attribute, len) != 0 || line[len] != '=')
			continue;
		end = strchrnul(line, '\n');
		snprintf(value, sizeof(value), "%.*s", (int)(end - line - (long)len - 1),
			 line + len + 1);
		(void)stow_idset_parse(value, ret, NULL);
		return;
	}
}
