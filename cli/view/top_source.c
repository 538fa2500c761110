// SPDX-License-Identifier: Apache-2.0
/* numastow top: containers, from their cgroups' files, and what the ledger has promised them. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/hash.h"
#include "cgroup/cpuset.h"
#include "cgroup/numa_stat.h"
#include "cli/context.h"
#include "cli/view/top.h"
#include "node/hugepage.h"

#define PAGE_SIZE_ELSEWHERE 4096 /* of a copied tree, for cgroup v1, which counts in pages */

static void container_done(struct top_container *c)
{
	cli_container_done(&c->it);
	free(c->used);
}

static void list_done(struct top_container *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		container_done(&list[i]);
	free(list);
}

/* --- the ledger ------------------------------------------------------------ */

static void drop_ledger(struct top_source *source)
{
	stow_records_free(source->records, source->n_records);
	stow_drain_rows_free(source->drains, source->n_drains);
	stow_ledger_close(source->ledger);
	source->records = NULL;
	source->drains = NULL;
	source->n_records = source->n_drains = 0;
	source->ledger = NULL;
}

static int read_rows(struct top_source *source)
{
	struct stow_record **records = NULL;
	struct stow_drain_row *drains = NULL;
	size_t n_records = 0, n_drains = 0;
	int r = stow_ledger_records(source->ledger, NULL, &records, &n_records, NULL);

	if (r == 0)
		r = stow_drain_rows(source->ledger, &drains, &n_drains, NULL);
	if (r < 0) {
		stow_records_free(records, n_records);
		return r;
	}
	stow_records_free(source->records, source->n_records);
	stow_drain_rows_free(source->drains, source->n_drains);
	source->records = records;
	source->n_records = n_records;
	source->drains = drains;
	source->n_drains = n_drains;
	return 0;
}

/* Read the ledger if it has changed: not more often, because hooks wait for its lock. Return
 * whether it has changed. A ledger that cannot be read, as one that was set aside, is opened anew
 * the next time. */
static bool read_ledger(struct top_source *source)
{
	bool had = source->ledger != NULL;
	uint32_t changes;

	source->hidden = cli_ledger_hidden(source->root);
	if (!had &&
	    (source->hidden || stow_ledger_open(source->root, false, &source->ledger, NULL) < 0))
		return false;
	/* Before the records: what changes meanwhile is read the next time. */
	changes = stow_ledger_changes(source->ledger);
	if (had && changes == source->changes)
		return false;
	if (read_rows(source) < 0)
		drop_ledger(source);
	source->changes = changes;
	return true;
}

/* --- which containers there are --------------------------------------------- */

static const struct stow_record *find_record(const struct top_source *source, const char *id)
{
	for (size_t i = 0; i < source->n_records; i++)
		if (strcmp(source->records[i]->id, id) == 0 &&
		    source->records[i]->state != STOW_STATE_LEASE)
			return source->records[i];
	return NULL;
}

static void take_promise(const struct stow_record *record, struct top_container *c)
{
	c->granted = true;
	c->exclusive = record->exclusive;
	c->moving = record->move != NULL;
	c->memory = 0;
	for (size_t i = 0; i < record->n_shares; i++) {
		c->cpus += record->shares[i].cpus;
		c->memory = stow_saturating_add(c->memory, record->shares[i].memory);
	}
	for (size_t i = 0; i < record->n_held; i++) {
		c->cpus += record->held[i].n_cpus;
		c->memory = stow_saturating_add(c->memory, record->held[i].memory);
	}
	stow_record_at(record, &c->nodes);
	stow_idset_or(&c->nodes, &record->nodes);
}

/* Copy what the last reading had of the container, if it is the same one. */
static void take_over(struct top_source *source, struct top_container *c)
{
	for (size_t i = 0; i < source->n; i++) {
		struct top_container *old = &source->list[i];

		if (strcmp(old->it.id, c->it.id) != 0 || !old->it.cgroup ||
		    old->it.cgroup->inode != c->it.cgroup->inode)
			continue;
		c->cpu_us = old->cpu_us;
		c->read_ns = old->read_ns;
		c->filled = old->filled;
		return;
	}
}

static int list_containers(struct top_source *source, const struct stow_discovery *found,
			   struct stow_err *err)
{
	struct cli_container *opened = NULL;
	struct top_container *list;
	size_t n = 0, ended = 0;
	int r;

	r = cli_container_list(source->root, source->records, source->n_records, found, &opened, &n,
			       &ended, err);
	if (r < 0)
		return r;
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; i < n; i++) {
		const struct stow_record *record = find_record(source, opened[i].id);

		if (!list) {
			cli_container_done(&opened[i]);
			continue;
		}
		list[i].it = opened[i];
		list[i].memory = STOW_UNKNOWN;
		if (record)
			take_promise(record, &list[i]);
		take_over(source, &list[i]);
	}
	free(opened);
	if (!list)
		return stow_err_sys(err, ENOMEM, "containers");
	list_done(source->list, source->n);
	source->list = list;
	source->n = n;
	source->again = ended > 0;
	return 0;
}

/* Return a hash of the containers: another one if a container has come or gone. */
static uint64_t fingerprint(const struct stow_discovery *found)
{
	uint64_t hash = found->n;

	for (size_t i = 0; i < found->n; i++)
		hash = hash * 31 + stow_hash_string(found->list[i].path) + found->list[i].inode;
	return hash;
}

static int find_containers(struct top_source *source, struct stow_err *err)
{
	bool changed = read_ledger(source) || source->again;
	struct stow_discovery found = { 0 };
	uint64_t now;
	int r = stow_discover(source->root, NULL, NULL, &found, NULL);

	if (r == -ENOMEM)
		return stow_err_sys(err, ENOMEM, "containers");
	now = fingerprint(&found);
	r = 0;
	if (changed || now != source->fingerprint || !source->list)
		r = list_containers(source, &found, err);
	source->fingerprint = now;
	stow_discovery_done(&found);
	return r;
}

/* --- one container ----------------------------------------------------------- */

static void add(uint64_t *sum, uint64_t value)
{
	if (value != STOW_UNKNOWN)
		*sum = stow_saturating_add(*sum == STOW_UNKNOWN ? 0 : *sum, value);
}

static void add_hugepages(const struct top_source *source, const uint64_t *sizes, int n_sizes,
			  struct top_container *c)
{
	bool v1 = c->it.cgroup->at[STOW_CGROUP_HUGETLB].version == 1;

	for (int i = 0; i < n_sizes; i++) {
		struct stow_numa_stat stat = { 0 };

		if (stow_hugetlb_numa_read(c->it.cgroup, sizes[i], &stat, NULL) < 0)
			continue;
		for (size_t k = 0; k < source->n_nodes; k++)
			add(&c->used[k],
			    stow_numa_stat_get(&stat, v1 ? "hierarchical_total" : "total",
					       source->nodes[k]));
		stow_numa_stat_done(&stat);
	}
}

static void add_memory(const struct top_source *source, struct top_container *c)
{
	uint64_t page = source->root->live ? (uint64_t)sysconf(_SC_PAGESIZE) : PAGE_SIZE_ELSEWHERE;
	struct stow_numa_stat stat = { 0 };

	if (stow_memory_numa_read(c->it.cgroup, page, &stat, NULL) < 0)
		return;
	for (size_t k = 0; k < source->n_nodes; k++)
		add(&c->used[k],
		    stow_numa_stat_charged(&stat, c->it.cgroup->at[STOW_CGROUP_MEMORY].version,
					   source->nodes[k]));
	stow_numa_stat_done(&stat);
}

/* Read how much CPU time it has used; only cgroup v2 has the file in each cgroup. */
static void read_cpu(struct top_container *c)
{
	static const char *const names[] = { "usage_usec", NULL };
	struct stow_root *dir = NULL;
	char text[4096];
	int len;

	for (int i = 0; i < STOW_CGROUP_CONTROLLERS && !dir; i++)
		if (c->it.cgroup->at[i].on_v2)
			dir = c->it.cgroup->at[i].dir;
	c->cpu_us_before = c->filled ? c->cpu_us : STOW_UNKNOWN;
	c->read_ns_before = c->read_ns;
	c->cpu_us = STOW_UNKNOWN;
	c->read_ns = stow_clock_monotonic();
	len = dir ? stow_root_read_buf(dir, text, sizeof(text), NULL, "cpu.stat") : -ENOENT;
	if (len >= 0)
		(void)stow_counters_parse(text, (size_t)len, names, &c->cpu_us);
	c->filled = true;
}

static int fill(const struct top_source *source, const uint64_t *sizes, int n_sizes,
		struct top_container *c)
{
	free(c->used);
	c->used = calloc(source->n_nodes + 1, sizeof(*c->used));
	if (!c->used)
		return -ENOMEM;
	for (size_t k = 0; k < source->n_nodes; k++)
		c->used[k] = STOW_UNKNOWN;
	if (!c->granted)
		(void)stow_cpuset_read_mems(c->it.cgroup, true, &c->nodes, NULL);
	add_memory(source, c);
	add_hugepages(source, sizes, n_sizes, c);
	read_cpu(c);
	c->total = STOW_UNKNOWN;
	c->off = 0;
	for (size_t k = 0; k < source->n_nodes; k++) {
		add(&c->total, c->used[k]);
		if (!stow_idset_has(&c->nodes, source->nodes[k]))
			add(&c->off, c->used[k]);
	}
	return 0;
}

int top_source_read(struct top_source *source, const struct top_machine *machine,
		    struct stow_err *err)
{
	uint64_t sizes[STOW_POOLS_MAX];
	int n_sizes = stow_pool_sizes(source->root, sizes, NULL);
	int *nodes = calloc(machine->n_nodes + 1, sizeof(*nodes));
	int r = nodes ? find_containers(source, err) : stow_err_sys(err, ENOMEM, "nodes");

	if (r < 0) {
		free(nodes);
		return r;
	}
	for (size_t i = 0; i < machine->n_nodes; i++)
		nodes[i] = machine->nodes[i].node;
	free(source->nodes);
	source->nodes = nodes;
	source->n_nodes = machine->n_nodes;
	for (size_t i = 0; i < source->n; i++)
		if (fill(source, sizes, n_sizes, &source->list[i]) < 0)
			return stow_err_sys(err, ENOMEM, "containers");
	return 0;
}

void top_source_done(struct top_source *source)
{
	drop_ledger(source);
	list_done(source->list, source->n);
	free(source->nodes);
	*source = (struct top_source){ 0 };
}

/* --- what comes of it --------------------------------------------------------- */

double top_container_busy(const struct top_container *c)
{
	double rate = top_rate(c->cpu_us_before, c->cpu_us, c->read_ns - c->read_ns_before);

	return rate < 0 ? -1 : rate / 1e6 * 100;
}

double top_container_off(const struct top_container *c)
{
	if (c->total == STOW_UNKNOWN || stow_idset_empty(&c->nodes))
		return -1;
	return c->total ? (double)c->off * 100 / (double)c->total : 0;
}

const char *top_container_grant(const struct top_container *c)
{
	if (!c->granted)
		return NULL;
	return c->moving ? "moving" : c->exclusive ? "exclusive" : "shared";
}
