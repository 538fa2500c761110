// SPDX-License-Identifier: Apache-2.0
/*
 * A new ledger in place of a damaged one. Exclusive CPUs must not be granted twice, and the
 * kernel still knows which container runs on them: /run/numastow/exclusive lists them, and a
 * container whose CPU set lies within them is their owner. Only cgroups with a container's name
 * count, never cgroups below (lib/grant/discover.h). The promises to shared containers cannot be
 * seen in the kernel: these containers are unmanaged until they start again, and the sets that
 * numastow gave them do not count as sets of their own.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/cpuset.h"
#include "cgroup/procs.h"
#include "grant/applied.h"
#include "grant/discover.h"
#include "grant/gc.h"

static int add_shares(struct stow_record *record, const struct stow_topology *topology)
{
	record->shares = calloc(topology->n_nodes + 1, sizeof(*record->shares));
	if (!record->shares)
		return -ENOMEM;
	for (size_t i = 0; i < topology->n_nodes; i++) {
		struct stow_idset cpus = record->cpus;

		stow_idset_and(&cpus, &topology->nodes[i].cpus);
		if (stow_idset_empty(&cpus))
			continue;
		record->shares[record->n_shares].node = topology->nodes[i].id;
		record->shares[record->n_shares++].cpus = (uint32_t)stow_idset_count(&cpus);
	}
	return 0;
}

/* Find the container's first process: the oldest. */
static void find_init(struct stow_root *root, const struct stow_cgroup *cgroup,
		      struct stow_pidref *ret)
{
	_cleanup_free_ pid_t *pids = NULL;
	struct stow_pidref ref;
	size_t n = 0;

	*ret = (struct stow_pidref){ 0 };
	if (stow_cgroup_pids(cgroup, &pids, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++)
		if (stow_pidref_read(root, pids[i], &ref, NULL) == 0 &&
		    (!ret->pid || ref.start < ret->start))
			*ret = ref;
}

static int enter(const struct stow_grant_context *context, const struct stow_topology *topology,
		 const char *id, const struct stow_cgroup *cgroup, const struct stow_cpuset *set,
		 struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = calloc(1, sizeof(*record));
	int r;

	if (!record)
		return stow_err_sys(err, ENOMEM, "rebuilding");
	record->state = STOW_STATE_ACTIVE;
	record->id = strdup(id);
	find_init(context->root, cgroup, &record->init);
	record->exclusive = true;
	record->cpus = set->cpus_effective;
	record->nodes = set->mems_effective;
	record->digest = strdup("");
	record->request = strdup("found in the cgroups");
	record->reason = strdup("the ledger was rebuilt");
	if (!record->id || !record->digest || !record->request || !record->reason ||
	    add_shares(record, topology) < 0)
		return stow_err_sys(err, ENOMEM, "rebuilding");
	r = stow_cgroup_id_copy(&cgroup->id, &record->cgroup, err);
	if (r < 0)
		return r;
	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_insert(context->ledger, record, err);
	if (r == 0)
		r = stow_ledger_event(context->ledger, "placed", record->id, record, record->reason,
				      err);
	r = stow_ledger_end(context->ledger, r, err);
	/* EEXIST: another container, found before, has one of these CPUs. */
	return r == -EEXIST ? 0 : r < 0 ? r : 1;
}

/* Return 1 when the container has exclusive CPUs and is in the ledger now. */
static int look_at(const struct stow_grant_context *context, const struct stow_topology *topology,
		   const struct stow_idset *exclusive, struct stow_unmanaged *found,
		   struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_cpuset set;
	int r;

	if (stow_cgroup_open(context->root, &found->cgroup, &cgroup, NULL) < 0 ||
	    stow_cpuset_read(cgroup, &set, NULL) < 0 || stow_idset_empty(&set.cpus))
		return 0;
	if (stow_idset_subset(&set.cpus_effective, exclusive))
		return enter(context, topology, found->id, cgroup, &set, err);
	if (stow_idset_empty(&found->given))
		return 0;
	found->given = (struct stow_idset){ 0 };
	found->reset = true;
	r = stow_unmanaged_enter(context->root, found, err);
	return r < 0 ? r : 0;
}

int stow_rebuild(const struct stow_grant_context *context, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	_cleanup_(stow_discovery_done) struct stow_discovery discovery = { 0 };
	struct stow_idset exclusive = { 0 };
	int found = 0, r;

	r = stow_applied_exclusive(context->root, &exclusive, err);
	if (r == 0)
		r = stow_topology_read(context->root, 0, &topology, err);
	if (r == 0)
		r = stow_discover(context->root, NULL, NULL, &discovery, err);
	for (size_t i = 0; i < discovery.n && r >= 0; i++) {
		struct stow_unmanaged container = { 0 };

		if (stow_discover_read(context->root, &discovery.list[i], &container, NULL) <= 0)
			continue;
		r = look_at(context, topology, &exclusive, &container, err);
		found += r > 0;
		stow_unmanaged_done(&container);
	}
	return r < 0 ? r : found;
}
