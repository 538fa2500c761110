// SPDX-License-Identifier: Apache-2.0
#include "grant/threads.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/procs.h"
#include "grant/bind.h"
#include "grant/unmanaged.h"

/* One container of a walk over all of them. */
struct walk {
	struct stow_apply_result *problems;
	struct stow_idset exclusive;
	int changed;
};

/* Let the cpuset alone decide where a thread runs: with every CPU allowed, the kernel gives the
 * CPUs of the cpuset, and those of each later one. */
static void confine_thread(struct walk *walk, struct stow_root *root, const char *id, pid_t tid,
			   const struct stow_idset *before)
{
	struct stow_idset all, after, taken = *before;
	struct stow_err why;
	char list[160];
	int r;

	memset(&all, 0xff, sizeof(all));
	r = stow_bind_thread(root, tid, &all, &after, &why);
	if (r == 0)
		walk->changed += !stow_idset_equal(before, &after);
	if (r == 0 || r == -ESRCH)
		return;
	stow_idset_and(&taken, &walk->exclusive);
	stow_apply_result_add(
		walk->problems, id, &taken,
		"container %s: a thread of its io_uring may run on CPUs %s, which are "
		"not those of its cpuset: %s",
		id, stow_idset_format(before, list, sizeof(list)), why.msg);
}

/* Confine the threads of one container. It may have ended. */
static void confine(struct walk *walk, struct stow_root *root, const char *id,
		    const struct stow_cgroup_id *cgroup_id)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_free_ pid_t *tids = NULL;
	static const struct stow_idset none;
	struct stow_idset effective;
	struct stow_err why;
	size_t n = 0;
	int r;

	r = stow_cpuset_open(root, cgroup_id, &cgroup, &why);
	if (r == 0)
		r = stow_cpuset_read_cpus(cgroup, true, &effective, &why);
	if (r == 0)
		r = stow_cgroup_threads(cgroup, &tids, &n, &why);
	for (size_t i = 0; i < n; i++) {
		struct stow_idset cpus;

		/* The kernel lets no other thread have more CPUs than its cpuset; that of a cgroup
		 * below may be a partition, whose CPUs the container's own set lacks. */
		if (stow_bind_read(tids[i], &cpus) == 0 && !stow_idset_subset(&cpus, &effective) &&
		    stow_process_is_io_worker(root, tids[i]))
			confine_thread(walk, root, id, tids[i], &cpus);
	}
	/* The container may have made too many cgroups: no failure of the program that looks. */
	if (r < 0 && r != -ESRCH && r != -ENOENT && r != -ENODEV)
		stow_apply_result_add(walk->problems, id, &none,
				      "container %s: its threads cannot be listed: %s", id,
				      why.msg);
}

static int confine_entry(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
			 struct stow_err *err)
{
	confine(ctx, root, entry->id, &entry->cgroup);
	return 0;
}

int stow_threads_confine(const struct stow_grant_context *context,
			 struct stow_apply_result *problems, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	struct walk walk = { .problems = problems };
	struct stow_record **records;
	size_t n;
	int r;

	if (!context->root->live)
		return 0;
	r = stow_ledger_exclusive(context->ledger, &walk.exclusive, err);
	if (r == 0)
		r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (records[i]->state != STOW_STATE_LEASE)
			confine(&walk, context->root, records[i]->id, &records[i]->cgroup);
	stow_records_free(records, n);
	if (!stow_idset_empty(&walk.exclusive)) {
		stow_first_note(&first, stow_unmanaged_each(context->root, confine_entry, &walk,
							    first.err));
		stow_first_note(&first, stow_unmanaged_each_pods(context->root, confine_entry,
								 &walk, first.err));
	}
	return first.code < 0 ? first.code : walk.changed;
}
