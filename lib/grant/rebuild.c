// SPDX-License-Identifier: Apache-2.0
/*
 * A new ledger when the old one was damaged: exclusive CPUs are what must not be given twice, and
 * the kernel still knows who runs on them alone. /run/numastow/exclusive says which CPUs they are;
 * a container whose whole CPU set lies within them is its owner. What shared containers were
 * promised is not to be seen in the kernel; they are counted again when they start again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "grant/apply.h"
#include "grant/gc.h"
#include "node/cpuset.h"

/* "/machine.slice/libpod-ID.scope/container" and the like: the ID. */
static char *id_of_path(const char *path)
{
	char copy[4096], *last, *dash;
	size_t len;

	snprintf(copy, sizeof(copy), "%s", path);
	last = strrchr(copy, '/');
	if (last && strcmp(last, "/container") == 0) {
		*last = '\0';
		last = strrchr(copy, '/');
	}
	last = last ? last + 1 : copy;
	len = strlen(last);
	if (len > 6 && strcmp(last + len - 6, ".scope") == 0)
		last[len - 6] = '\0';
	dash = strrchr(last, '-');
	return strdup(dash && strncmp(last, "pod", 3) != 0 ? dash + 1 : last);
}

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

static int enter(const struct stow_grant_context *context, const struct stow_topology *topology,
		 const struct stow_cgroup *cgroup, const struct stow_cpuset *set,
		 const struct stow_life *init, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = calloc(1, sizeof(*record));
	int r;

	if (!record)
		return stow_err_sys(err, ENOMEM, "rebuilding");
	record->state = STOW_STATE_ACTIVE;
	record->id = id_of_path(cgroup->path);
	record->init = *init;
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
	/* EEXIST: another process of the same cgroup was entered before. */
	return r == -EEXIST ? 0 : r < 0 ? r : 1;
}

static int look_at(const struct stow_grant_context *context, const struct stow_topology *topology,
		   const struct stow_idset *exclusive, pid_t pid, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_cpuset set;
	struct stow_life life;

	if (stow_cgroup_of_pid(context->root, pid, &cgroup, NULL) < 0 ||
	    strcmp(cgroup->path, "/") == 0 || stow_cpuset_read(cgroup, &set, NULL) < 0 ||
	    stow_idset_empty(&set.cpus) || !stow_idset_subset(&set.cpus_effective, exclusive) ||
	    stow_life_read(context->root, pid, &life, NULL) < 0)
		return 0;
	return enter(context, topology, cgroup, &set, &life, err);
}

int stow_rebuild(const struct stow_grant_context *context, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	_cleanup_closedir_ DIR *d = NULL;
	struct stow_idset exclusive;
	struct dirent *e;
	int found = 0, r;

	r = stow_root_read_idset(context->root, &exclusive, err, "%s", STOW_EXCLUSIVE_PATH);
	if (r == -ENOENT)
		return 0;
	if (r == 0)
		r = stow_topology_read(context->root, 0, &topology, err);
	if (r < 0)
		return r;
	/* In ascending order of age as a rule: the first process of a container comes first. */
	d = stow_root_opendir(context->root, err, "/proc");
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		uint64_t pid;

		if (stow_parse_u64(e->d_name, INT32_MAX, &pid, NULL) < 0)
			continue;
		r = look_at(context, topology, &exclusive, (pid_t)pid, err);
		if (r < 0)
			return r;
		found += r;
	}
	return found;
}
