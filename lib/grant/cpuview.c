// SPDX-License-Identifier: Apache-2.0
#include "grant/cpuview.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cleanup.h"
#include "cgroup/cgroup.h"
#include "cgroup/hierarchy.h"
#include "place/capacity.h"

uint64_t stow_cpus_came(struct stow_root *root, uint64_t since, struct stow_idset *ret)
{
	struct stow_hierarchy cpuset;
	struct stow_idset online;
	uint64_t last = 0;

	if (ret)
		*ret = (struct stow_idset){ 0 };
	if (stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, &cpuset, NULL) < 0 ||
	    cpuset.version != 1 || stow_online_cpus(root, &online, NULL) < 0)
		return 0;
	STOW_IDSET_FOR(cpu, &online) {
		struct stat st;

		if (stow_root_stat(root, &st, NULL, "/sys/devices/system/cpu/cpu%d/topology", cpu) <
		    0)
			continue;
		if (st.st_ino > last)
			last = st.st_ino;
		if (ret && st.st_ino > since)
			stow_idset_add(ret, cpu);
	}
	return last;
}

int stow_cpus_in_sets(struct stow_root *root, struct stow_idset *ret, struct stow_err *err)
{
	struct stow_hierarchy cpuset;
	struct stow_idset topmost;
	int r = stow_online_cpus(root, ret, err);

	if (r < 0 || stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, &cpuset, NULL) < 0 ||
	    cpuset.version != 1 || cpuset.above[0])
		return r;
	if (stow_root_read_idset(root, &topmost, NULL, "%s/%seffective_cpus", cpuset.point,
				 cpuset.noprefix ? "" : "cpuset.") == 0)
		stow_idset_and(ret, &topmost);
	return 0;
}

int stow_cpu_view_read(struct stow_root *root, const struct stow_config *config,
		       struct stow_ledger *ledger, struct stow_cpu_view *ret, struct stow_err *err)
{
	struct stow_cpu_view view = { .root = root, .config = config };
	int r;

	view.came = stow_cpus_came(root, 0, NULL);
	r = stow_cpus_in_sets(root, &view.online, err);
	if (r < 0)
		return r;
	/* Copied trees may lack either file. */
	if (stow_root_read_idset(root, &view.offline, NULL, "/sys/devices/system/cpu/present") < 0)
		view.offline = view.online;
	stow_idset_minus(&view.offline, &view.online);
	if (stow_root_read_idset(root, &view.isolated, NULL, "/sys/devices/system/cpu/isolated") <
	    0)
		view.isolated = (struct stow_idset){ 0 };
	stow_config_reserved_digest(config, view.reserved);
	if (ledger) {
		r = stow_ledger_exclusive(ledger, &view.exclusive, err);
		if (r < 0)
			return r;
	}
	*ret = view;
	return 0;
}

bool stow_cpu_view_is_current(const struct stow_cpu_view *view)
{
	struct stow_idset online;

	return stow_cpus_in_sets(view->root, &online, NULL) == 0 &&
	       stow_idset_equal(&online, &view->online) &&
	       stow_cpus_came(view->root, 0, NULL) == view->came;
}

bool stow_cpu_view_drop_gone(struct stow_cpu_view *view)
{
	struct stow_idset online, came, gone = view->online;

	if (stow_cpus_in_sets(view->root, &online, NULL) < 0)
		return false;
	stow_cpus_came(view->root, view->came, &came);
	stow_idset_minus(&online, &came);
	stow_idset_minus(&gone, &online);
	stow_idset_minus(&view->online, &gone);
	stow_idset_or(&view->offline, &gone);
	return !stow_idset_empty(&gone);
}

void stow_cpu_view_done(struct stow_cpu_view *view)
{
	free(view->nodes);
	view->nodes = NULL;
	view->n_nodes = 0;
}

/* Add the nodes' CPUs that are in `offline`. A node's cpulist has online CPUs only; its folder has
 * a link for each present CPU. */
static void add_offline(struct stow_cpu_view *view, struct stow_topology *topology,
			const struct stow_idset *offline)
{
	for (size_t i = 0; i < topology->n_nodes; i++) {
		struct stow_idset there;
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d",
			 topology->nodes[i].id);
		if (stow_root_list_ids(view->root, path, "cpu", &there, NULL) < 0)
			continue;
		stow_idset_and(&there, offline);
		stow_idset_or(&topology->nodes[i].cpus, &there);
	}
}

/* Add the nodes' CPUs that are in `of`, minus reserved ones. */
static int add_cpus(struct stow_cpu_view *view, const struct stow_topology *topology,
		    const struct stow_idset *of, struct stow_err *err)
{
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;
	int r;

	r = stow_capacity_build(topology, view->config, NULL, NULL, NULL, &capacity, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < capacity->n_nodes; i++) {
		struct stow_idset cpus = capacity->nodes[i].cpus;

		stow_idset_and(&cpus, of);
		stow_idset_minus(&cpus, &view->isolated);
		view->nodes[i].id = capacity->nodes[i].id;
		stow_idset_or(&view->nodes[i].cpus, &cpus);
	}
	view->n_nodes = capacity->n_nodes;
	return 0;
}

static int read_nodes(struct stow_cpu_view *view, struct stow_err *err)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *read = NULL;
	const struct stow_topology *topology = view->topology;
	struct stow_idset offline;
	int r;

	if (view->nodes)
		return 0;
	if (!topology || !stow_idset_equal(&topology->online, &view->online) ||
	    !stow_idset_empty(&view->offline)) {
		r = stow_topology_read(view->root, 0, &read, err);
		if (r < 0)
			return r;
		topology = read;
	}
	view->nodes = calloc(topology->n_nodes + 1, sizeof(*view->nodes));
	if (!view->nodes)
		return stow_err_sys(err, ENOMEM, "CPUs of the nodes");
	/* "The lowest CPUs of a node" are reserved among the online ones, as in a plan. */
	r = add_cpus(view, topology, &view->online, err);
	/* The CPUs that went offline since `online` was read, too. */
	offline = view->online;
	stow_idset_minus(&offline, &topology->online);
	stow_idset_or(&offline, &view->offline);
	if (r == 0 && !stow_idset_empty(&offline)) {
		add_offline(view, read, &offline);
		r = add_cpus(view, topology, &offline, err);
	}
	if (r < 0)
		stow_cpu_view_done(view);
	return r;
}

static void add_node(const struct stow_cpu_view *view, int id, struct stow_idset *set)
{
	for (size_t i = 0; i < view->n_nodes; i++)
		if (view->nodes[i].id == id)
			stow_idset_or(set, &view->nodes[i].cpus);
}

static void all_nodes(const struct stow_cpu_view *view, struct stow_idset *set)
{
	for (size_t i = 0; i < view->n_nodes; i++)
		stow_idset_or(set, &view->nodes[i].cpus);
}

int stow_cpu_view_base(struct stow_cpu_view *view, const struct stow_record *record, bool moved,
		       struct stow_idset *ret, struct stow_err *err)
{
	const struct stow_idset *own = moved ? &record->move->cpus : &record->cpus;
	struct stow_idset base = *own, at = { 0 };
	int r;

	r = read_nodes(view, err);
	if (r < 0)
		return r;
	if (!moved)
		stow_record_at(record, &at);
	for (size_t i = 0; moved && i < record->move->n_shares; i++)
		stow_idset_add(&at, record->move->shares[i].node);
	if (stow_idset_empty(&base))
		STOW_IDSET_FOR(node, &at)
			add_node(view, node, &base);
	if (!stow_idset_empty(stow_record_given_cpus(record)))
		stow_idset_and(&base, stow_record_given_cpus(record));
	/* Nodes without CPUs: use the CPUs of all nodes. */
	if (stow_idset_empty(&base)) {
		all_nodes(view, &base);
		if (!stow_idset_empty(stow_record_given_cpus(record)))
			stow_idset_and(&base, stow_record_given_cpus(record));
	}
	*ret = base;
	return 0;
}

void stow_cpu_view_of(struct stow_cpu_view *view, const struct stow_record *record,
		      struct stow_idset *ret)
{
	*ret = record->cpus;
	if (!record->exclusive) {
		if (stow_cpu_view_base(view, record, false, ret, NULL) < 0)
			*ret = record->cpus;
		stow_idset_minus(ret, &view->exclusive);
	}
	stow_idset_and(ret, &view->online);
}

int stow_cpu_view_common(struct stow_cpu_view *view, struct stow_idset *ret, struct stow_err *err)
{
	int r = read_nodes(view, err);

	if (r < 0)
		return r;
	*ret = (struct stow_idset){ 0 };
	all_nodes(view, ret);
	stow_idset_minus(ret, &view->exclusive);
	stow_idset_and(ret, &view->online);
	return 0;
}
