// SPDX-License-Identifier: Apache-2.0
#include "grant/saved.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cgroup/limits.h"

static int add(struct stow_record *record, enum stow_controller controller, const char *attribute,
	       const char *value)
{
	struct stow_saved *added = STOW_APPEND(record->saved, record->n_saved);

	if (!added)
		return -ENOMEM;
	added->controller = controller;
	added->attribute = strdup(attribute);
	added->value = strdup(value);
	return added->attribute && added->value ? 0 : -ENOMEM;
}

bool stow_saved_has(const struct stow_record *record, enum stow_controller controller,
		    const char *attribute)
{
	for (size_t i = 0; i < record->n_saved; i++)
		if (record->saved[i].controller == controller &&
		    strcmp(record->saved[i].attribute, attribute) == 0)
			return true;
	return false;
}

/* A missing attribute needs no undo: it cannot be written either. */
static int capture(const struct stow_cgroup *cgroup, enum stow_controller controller,
		   const char *attribute, struct stow_record *record, struct stow_err *err)
{
	struct stow_root *dir = cgroup->at[controller].dir;
	char value[256];
	int r;

	if (!dir || stow_saved_has(record, controller, attribute))
		return 0;
	r = stow_root_read_buf(dir, value, sizeof(value), err, "%s", attribute);
	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = add(record, controller, attribute, value);
	return r < 0 ? stow_err_sys(err, -r, "saving %s", attribute) : 0;
}

int stow_saved_capture(const struct stow_cgroup *cgroup, const struct stow_request *request,
		       struct stow_record *record, struct stow_err *err)
{
	int hugetlb = cgroup->at[STOW_CGROUP_HUGETLB].version;
	int memory = cgroup->at[STOW_CGROUP_MEMORY].version;
	char name[64];
	int r = 0;

	if (cgroup->at[STOW_CGROUP_CPUSET].version == 1)
		r = capture(cgroup, STOW_CGROUP_CPUSET,
			    cgroup->at[STOW_CGROUP_CPUSET].noprefix ? "memory_migrate"
								    : "cpuset.memory_migrate",
			    record, err);
	if (r == 0 && request->memory && memory)
		r = capture(cgroup, STOW_CGROUP_MEMORY, stow_memory_limit_name(memory), record,
			    err);
	for (size_t i = 0; i < request->n_pages && hugetlb; i++)
		for (int reservation = 0; reservation < 2 && r == 0; reservation++)
			r = capture(cgroup, STOW_CGROUP_HUGETLB,
				    stow_hugetlb_limit_name(hugetlb, request->pages[i].size,
							    reservation, name, sizeof(name)),
				    record, err);
	return r;
}

int stow_saved_restore(const struct stow_cgroup *cgroup, const struct stow_record *record,
		       struct stow_err *err)
{
	struct stow_first first = { .err = err };

	for (size_t i = record->n_saved; i-- > 0;) {
		const struct stow_saved *saved = &record->saved[i];
		struct stow_root *dir = cgroup->at[saved->controller].dir;

		if (dir)
			stow_first_note(&first, stow_root_write(dir, saved->value, first.err, "%s",
								saved->attribute));
	}
	return first.code;
}
