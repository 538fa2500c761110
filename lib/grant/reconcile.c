// SPDX-License-Identifier: Apache-2.0
#include "grant/reconcile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "grant/enforce.h"
#include "grant/repin.h"
#include "grant/saved.h"
#include "grant/shared.h"
#include "node/kubelet.h"
#include "place/capacity.h"

/* A container that is looked after. */
struct watched {
	int64_t key;
	struct stow_life init;
	struct stow_cgroup *cgroup;		 /* opened once; NULL: it is gone */
	int files[2];				 /* its cpuset.cpus and .mems, kept open; or -1 */
	struct stow_idset cpus, nodes;		 /* as the ledger has them */
	struct stow_idset seen_cpus, seen_nodes; /* the last that was dealt with */
	bool dealt;				 /* with `seen` */
	bool foreign;
	enum stow_drift drift;
};

struct stow_reconcile {
	struct watched *list;
	size_t n;
	uint32_t changes; /* the ledger's counter when the list was made */
	bool made;
};

int stow_reconcile_new(struct stow_reconcile **ret, struct stow_err *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

static void free_list(struct watched *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		stow_cgroup_free_ptr(&list[i].cgroup);
		stow_close_ptr(&list[i].files[0]);
		stow_close_ptr(&list[i].files[1]);
	}
	free(list);
}

void stow_reconcile_free(struct stow_reconcile *reconcile)
{
	if (!reconcile)
		return;
	free_list(reconcile->list, reconcile->n);
	free(reconcile);
}

static const struct watched *find(const struct stow_reconcile *reconcile, int64_t key)
{
	for (size_t i = 0; i < reconcile->n; i++)
		if (reconcile->list[i].key == key)
			return &reconcile->list[i];
	return NULL;
}

enum stow_drift stow_reconcile_drift(const struct stow_reconcile *reconcile, int64_t key)
{
	const struct watched *w = find(reconcile, key);

	return w ? w->drift : STOW_DRIFT_NONE;
}

bool stow_reconcile_is_foreign(const struct stow_reconcile *reconcile, int64_t key)
{
	const struct watched *w = find(reconcile, key);

	return w && w->foreign;
}

const struct stow_cgroup *stow_reconcile_cgroup(const struct stow_reconcile *reconcile, int64_t key)
{
	const struct watched *w = find(reconcile, key);

	return w ? w->cgroup : NULL;
}

/* --- the list ----------------------------------------------------------------------------------- */

/* Takes over what is known of the same container, its open directories too. */
static void inherit(struct stow_reconcile *old, struct watched *w)
{
	for (size_t i = 0; i < old->n; i++) {
		struct watched *was = &old->list[i];

		if (was->init.pid != w->init.pid || was->init.start != w->init.start)
			continue;
		w->cgroup = STOW_TAKE_PTR(was->cgroup);
		w->files[0] = STOW_TAKE_FD(was->files[0]);
		w->files[1] = STOW_TAKE_FD(was->files[1]);
		w->foreign = was->foreign;
		w->drift = was->drift;
		w->dealt = was->dealt;
		w->seen_cpus = was->seen_cpus;
		w->seen_nodes = was->seen_nodes;
		return;
	}
}

/* Opening and closing two files of each container every second is most of what an agent at rest
 * would do. Only the kernel's files are the same for ever. */
static void keep_open(struct watched *w)
{
	struct stow_root *dir = w->cgroup ? w->cgroup->at[STOW_CGROUP_CPUSET].dir : NULL;

	if (!dir || !dir->live)
		return;
	w->files[0] = stow_root_openat(dir, O_RDONLY, 0, NULL, "/cpuset.cpus");
	w->files[1] = stow_root_openat(dir, O_RDONLY, 0, NULL, "/cpuset.mems");
}

static int make_list(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	struct stow_record **records;
	struct watched *list;
	size_t n, k = 0;
	int r;

	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	list = calloc(n + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++) {
		struct watched *w = &list[k];

		if (records[i]->state != STOW_STATE_ACTIVE)
			continue;
		w->files[0] = w->files[1] = -EBADF;
		w->key = records[i]->key;
		w->init = records[i]->init;
		w->cpus = records[i]->cpus;
		w->nodes = records[i]->nodes;
		inherit(reconcile, w);
		if (!w->cgroup) {
			if (stow_cgroup_of_pid(context->root, w->init.pid, &w->cgroup, NULL) == 0 &&
			    w->cgroup->inode != records[i]->inode)
				stow_cgroup_free_ptr(&w->cgroup);
			w->foreign = stow_kubelet_owns(context->root, records[i]->cgroup);
			keep_open(w);
		}
		k++;
	}
	stow_records_free(records, n);
	if (!list)
		return stow_err_set(err, ENOMEM, "out of memory");
	free_list(reconcile->list, reconcile->n);
	reconcile->list = list;
	reconcile->n = k;
	return 0;
}

/* --- one container ------------------------------------------------------------------------------ */

/* From a file that is open, else by its name. A cgroup that is gone is -ENODEV or -ENOENT. */
static int read_set(const struct watched *w, int file, const char *name, struct stow_idset *ret)
{
	char text[4096];
	ssize_t n;

	if (file < 0)
		return stow_root_read_idset(w->cgroup->at[STOW_CGROUP_CPUSET].dir, ret, NULL, "%s",
					    name);
	n = pread(file, text, sizeof(text), 0);
	if (n < 0)
		return -errno;
	if (n == sizeof(text))
		return -E2BIG;
	text[n] = '\0';
	text[strcspn(text, "\n")] = '\0';
	return stow_idset_parse(text, ret, NULL);
}

/* The sets as configured: 0, or -ENOENT when the cgroup is gone. */
static int read_sets(const struct watched *w, struct stow_idset *cpus, struct stow_idset *nodes)
{
	int r;

	if (!w->cgroup)
		return -ENOENT;
	r = read_set(w, w->files[0], "/cpuset.cpus", cpus);
	if (r == 0)
		r = read_set(w, w->files[1], "/cpuset.mems", nodes);
	return r == -ENODEV ? -ENOENT : r;
}

static bool as_given(const struct stow_idset *cpus, const struct stow_idset *nodes,
		     const struct stow_idset *given_cpus, const struct stow_idset *given_nodes)
{
	return stow_idset_equal(cpus, given_cpus) &&
	       (stow_idset_empty(given_nodes) || stow_idset_equal(nodes, given_nodes));
}

/* Whether the container's promise fits onto its new nodes; moves it there in the record. */
static bool nodes_fit(const struct stow_grant_context *context, struct stow_record *record,
		      const struct stow_idset *nodes)
{
	_cleanup_(stow_topology_free_ptr) struct stow_topology *topology = NULL;
	_cleanup_(stow_usage_free_ptr) struct stow_usage *usage = NULL;
	_cleanup_(stow_capacity_free_ptr) struct stow_capacity *capacity = NULL;
	int at = -1;

	if (stow_idset_equal(nodes, &record->nodes))
		return true;
	/* One node's share can move as a whole; hugepages and wider shares are for `repin`. */
	if (record->n_shares != 1 || record->n_pages || stow_idset_count(nodes) != 1)
		return stow_idset_subset(&record->nodes, nodes); /* it may still be where it was */
	STOW_IDSET_FOR(id, nodes)
		at = id;
	if (stow_topology_read(context->root, STOW_TOPOLOGY_AVAILABLE, &topology, NULL) < 0 ||
	    stow_ledger_usage(context->ledger, &usage, NULL) < 0 ||
	    stow_capacity_build(topology, context->config, usage, NULL, NULL, &capacity, NULL) < 0)
		return false;
	for (size_t i = 0; i < capacity->n_nodes; i++)
		if (capacity->nodes[i].id == at && !capacity->nodes[i].fenced &&
		    capacity->nodes[i].mem_unpromised >= record->shares[0].memory) {
			record->shares[0].node = at;
			return true;
		}
	return false;
}

static bool cpus_fit(const struct stow_grant_context *context, const struct stow_record *record,
		     const struct stow_idset *cpus)
{
	struct stow_idset others, pinned, topology;

	if (stow_idset_empty(cpus) || stow_ledger_exclusive(context->ledger, &others, NULL) < 0)
		return false;
	if (record->exclusive)
		stow_idset_minus(&others, &record->cpus);
	if (stow_idset_intersects(cpus, &others))
		return false;
	if (!record->exclusive)
		return true;
	/* Whoever has no CPUs of its own must keep some. */
	if (stow_root_read_idset(context->root, &topology, NULL, "/sys/devices/system/cpu/online") <
		    0 ||
	    stow_shared_pinned(context->root, &pinned, NULL) < 0 ||
	    stow_idset_intersects(cpus, &pinned))
		return false;
	stow_idset_minus(&topology, &others);
	stow_idset_minus(&topology, cpus);
	return !stow_idset_empty(&topology);
}

/* The record with its new sets; in a transaction. */
static int adopt(const struct stow_grant_context *context, struct stow_record *record,
		 const struct stow_idset *cpus, const struct stow_idset *nodes,
		 struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_delete(context->ledger, record->key, err);
	if (r > 0) {
		record->cpus = record->base = *cpus;
		record->nodes = *nodes;
		r = stow_ledger_insert(context->ledger, record, err);
	} else if (r == 0) {
		r = stow_err_set(err, ESRCH, "container %s has ended", record->id);
	}
	if (r == 0)
		r = stow_ledger_event(context->ledger, "adopted", record->id, record,
				      "its sets were changed by another tool, and fit", err);
	return stow_ledger_end(context->ledger, r, err);
}

static int put_back(const struct stow_grant_context *context, const struct watched *w,
		    const struct stow_record *record, struct stow_err *err)
{
	struct stow_idset own;
	int r = 0;

	stow_saved_idset(record->saved, "cpuset.mems", &own);
	if (!stow_idset_empty(&record->nodes))
		r = stow_enforce_mems(w->cgroup, &record->nodes, !stow_idset_empty(&own), err);
	stow_saved_idset(record->saved, "cpuset.cpus", &own);
	if (r == 0)
		r = stow_enforce_cpus(w->cgroup, &record->cpus, !stow_idset_empty(&own), err);
	return r;
}

static int note(const struct stow_grant_context *context, const struct stow_record *record,
		const char *kind, const char *text, struct stow_err *err)
{
	int r;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_event(context->ledger, kind, record->id, record, text, err);
	return stow_ledger_end(context->ledger, r, err);
}

/* Whether a repin is under way, which changes the sets on purpose. */
static bool is_moving(const struct stow_grant_context *context, const struct stow_record *record)
{
	struct stow_record **records;
	char id[512];
	size_t n;

	snprintf(id, sizeof(id), "repin:%s", record->id);
	if (stow_ledger_records(context->ledger, id, &records, &n, NULL) < 0)
		return true;
	stow_records_free(records, n);
	return n > 0;
}

/* With the shared sets' lock held, under which our own hooks change sets: what differs now was
 * changed by somebody else. */
static int deal(const struct stow_grant_context *context, struct watched *w, bool observe,
		struct stow_reconcile_result *result, bool *ret_sync, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_idset cpus, nodes;
	bool fits;
	int r;

	r = stow_ledger_record(context->ledger, w->key, &record, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	if (read_sets(w, &cpus, &nodes) < 0 ||
	    as_given(&cpus, &nodes, &record->cpus, &record->nodes) || is_moving(context, record))
		return 0;
	if (w->dealt && stow_idset_equal(&cpus, &w->seen_cpus) &&
	    stow_idset_equal(&nodes, &w->seen_nodes))
		return 0; /* said before */
	w->dealt = true;
	w->seen_cpus = cpus;
	w->seen_nodes = nodes;
	fits = cpus_fit(context, record, &cpus) && nodes_fit(context, record, &nodes);
	if (fits) {
		result->adopted++;
		w->drift = STOW_DRIFT_ADOPTED;
		if (observe)
			return 0;
		*ret_sync = record->exclusive;
		r = adopt(context, record, &cpus, &nodes, err);
		w->key = record->key;
		w->cpus = record->cpus;
		w->nodes = record->nodes;
		w->dealt = false;
		return r;
	}
	if (w->drift == STOW_DRIFT_RESTORED || w->drift == STOW_DRIFT_REFUSED) {
		result->refused++;
		w->drift = STOW_DRIFT_REFUSED;
		return observe ? 0
			       : note(context, record, "left",
				      "its sets were changed again after they had been put back; "
				      "they do not fit",
				      err);
	}
	result->restored++;
	w->drift = STOW_DRIFT_RESTORED;
	if (observe)
		return 0;
	w->dealt = false;
	r = put_back(context, w, record, err);
	return r < 0 ? r
		     : note(context, record, "kept",
			    "its sets were changed by another tool, do not fit, and were put back",
			    err);
}

static int deal_locked(const struct stow_grant_context *context, struct watched *w, bool observe,
		       struct stow_reconcile_result *result, struct stow_err *err)
{
	bool sync = false;
	int r;

	{
		_cleanup_close_ int lock = stow_shared_lock(context->root, err);

		if (lock < 0)
			return lock;
		r = deal(context, w, observe, result, &sync, err);
	}
	/* The others leave the CPUs that are exclusive now, and get those that no longer are. */
	if (r == 0 && sync)
		r = stow_shared_sync(context->root, context->ledger, err);
	return r;
}

int stow_reconcile_run(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		       bool observe, struct stow_reconcile_result *ret, struct stow_err *err)
{
	uint32_t changes = stow_ledger_changes(context->ledger);
	int first = 0;

	*ret = (struct stow_reconcile_result){ 0 };
	if (!reconcile->made || changes != reconcile->changes) {
		first = make_list(reconcile, context, err);
		if (first < 0)
			return first;
		reconcile->made = true;
		reconcile->changes = changes;
	}
	for (size_t i = 0; i < reconcile->n; i++) {
		struct watched *w = &reconcile->list[i];
		struct stow_idset cpus, nodes;
		int r;

		if (w->foreign) {
			ret->foreign++;
			continue;
		}
		r = read_sets(w, &cpus, &nodes);
		if (r == -ENOENT)
			ret->ended++;
		if (r < 0 || as_given(&cpus, &nodes, &w->cpus, &w->nodes))
			continue;
		r = deal_locked(context, w, observe, ret, first ? NULL : err);
		first = first ? first : r;
	}
	return first;
}
