// SPDX-License-Identifier: Apache-2.0
#include "grant/reconcile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/read.h"
#include "cgroup/kubelet.h"
#include "grant/applied.h"
#include "grant/cpuview.h"
#include "grant/fit.h"

/* A container that is watched. */
struct watched {
	int64_t key;
	struct stow_pidref init;
	struct stow_cgroup *cgroup;    /* opened once; NULL: it is gone */
	int files[2];		       /* its cpuset.cpus and .mems, kept open; or -1 */
	struct stow_idset cpus, nodes; /* as the applier computes them; empty: not restricted */
	struct stow_idset seen_cpus, seen_nodes; /* the last change that was handled */
	bool dealt;				 /* `seen_*` is set */
	bool foreign;				 /* kubelet's static managers own it */
	enum stow_drift drift;
};

struct stow_reconcile {
	struct watched *list;
	size_t n;
	uint32_t changes; /* the ledger's counter when the list was made */
	bool made;
	struct stow_cpu_view view; /* when the list was made */
	/* The online CPUs before the sets were applied: a CPU that comes online meanwhile counts as
	 * a change. */
	struct stow_idset online;
	uint64_t came;		  /* stow_cpus_came(): CPUs may have gone and come in between */
	struct stow_idset memory; /* nodes with memory at that time */
	bool again;		  /* not all CPUs that came could be given back yet */
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
	stow_cpu_view_done(&reconcile->view);
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

/* --- the list ------------------------------------------------------------- */

/* Take over what is known of the same container, with its open directories. */
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

/* Keep the two files of each container open: opening and closing them every second would be most of
 * what an idle agent does. Only on the live machine do open files stay valid. */
static void keep_open(struct watched *w)
{
	struct stow_root *dir = w->cgroup ? w->cgroup->at[STOW_CGROUP_CPUSET].dir : NULL;

	if (!dir || !dir->live)
		return;
	w->files[0] = stow_root_openat(dir, O_RDONLY, 0, NULL, "/cpuset.cpus");
	w->files[1] = stow_root_openat(dir, O_RDONLY, 0, NULL, "/cpuset.mems");
}

/* Compute the sets that the record's container must have, as the applier does; empty (no
 * expectation) for a container that is being moved. */
static void given_sets(struct stow_cpu_view *view, const struct stow_record *record,
		       struct stow_cgroup *cgroup, struct stow_idset *cpus,
		       struct stow_idset *nodes)
{
	*cpus = *nodes = (struct stow_idset){ 0 };
	if (record->move || !cgroup)
		return;
	stow_apply_expected(view, record, cgroup, cpus);
	*nodes = record->nodes;
}

static int make_list(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		     struct stow_cpu_view *view, struct stow_err *err)
{
	struct stow_record **records;
	struct watched *list;
	size_t n, active = 0, k = 0;
	int r;

	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	/* The leases of claims have no container: on a busy machine they are most of the records. */
	for (size_t i = 0; i < n; i++)
		active += records[i]->state == STOW_STATE_ACTIVE;
	list = calloc(active + 1, sizeof(*list));
	for (size_t i = 0; list && i < n; i++) {
		struct watched *w = &list[k];

		if (records[i]->state != STOW_STATE_ACTIVE)
			continue;
		w->files[0] = w->files[1] = -EBADF;
		w->key = records[i]->key;
		w->init = records[i]->init;
		inherit(reconcile, w);
		if (!w->cgroup) {
			(void)stow_cgroup_open(context->root, &records[i]->cgroup, &w->cgroup,
					       NULL);
			w->foreign = stow_kubelet_owns(context->root,
						       stow_cgroup_id_path(&records[i]->cgroup));
			keep_open(w);
		}
		given_sets(view, records[i], w->cgroup, &w->cpus, &w->nodes);
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

/* --- one container -------------------------------------------------------- */

/* Read from the open file, or else by name. -ENODEV or -ENOENT: the cgroup is gone. */
static int read_set(const struct watched *w, int file, const char *name, struct stow_idset *ret)
{
	char text[4096];
	int r;

	if (file < 0)
		return stow_root_read_idset(w->cgroup->at[STOW_CGROUP_CPUSET].dir, ret, NULL, "%s",
					    name);
	r = stow_read_short(file, text, sizeof(text));
	if (r < 0)
		return r;
	return stow_idset_parse(text, ret, NULL);
}

/* Read the configured sets. -ENOENT: the cgroup is gone. */
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

/* Compare only online CPUs and nodes with memory: others stay in a set on v2, and leave it on v1.
 * An empty given set accepts anything. */
static bool as_given(const struct stow_reconcile *reconcile, const struct stow_idset *cpus,
		     const struct stow_idset *nodes, const struct stow_idset *given_cpus,
		     const struct stow_idset *given_nodes)
{
	struct stow_idset now = *cpus, mems = *nodes, given_mems = *given_nodes;

	stow_idset_and(&now, &reconcile->view.online);
	stow_idset_and(&mems, &reconcile->memory);
	stow_idset_and(&given_mems, &reconcile->memory);
	return (stow_idset_empty(given_cpus) || stow_idset_equal(&now, given_cpus)) &&
	       (stow_idset_empty(&given_mems) || stow_idset_equal(&mems, &given_mems));
}

/* Adopt the new sets into the record, in a transaction. */
static int adopt(const struct stow_grant_context *context, struct stow_cpu_view *view,
		 struct stow_record *record, struct stow_cgroup *cgroup,
		 const struct stow_idset *cpus, const struct stow_idset *nodes,
		 struct stow_err *err)
{
	struct stow_idset now = *cpus, usual, nodes_now;
	int r;

	stow_idset_and(&now, &view->online);
	given_sets(view, record, cgroup, &usual, &nodes_now);
	if (!stow_idset_equal(&now, &usual)) {
		record->cpus = *cpus;
		if (stow_fit_count(context, record, cpus) < 0)
			return stow_err_sys(err, ENOMEM, "%s", record->id);
	}
	record->nodes = *nodes;
	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_update(context->ledger, record, err);
	if (r == 0)
		r = stow_ledger_event(context->ledger, "adopted", record->id, record,
				      "its sets were changed by another tool, and fit", err);
	return stow_ledger_end(context->ledger, r, err);
}

/* Return whether the sets were last applied for the CPUs of the view. If not, a container may still
 * have its earlier set, or a fallback: the next round reads the machine again. */
static bool view_is_applied(const struct stow_grant_context *context,
			    const struct stow_cpu_view *view, struct stow_applied *ret)
{
	return stow_applied_read(context->root, ret, NULL) == 0 && stow_applied_is(ret, view) &&
	       stow_cpus_came(context->root, 0, NULL) <= ret->came;
}

/* Return whether all that a set lacks is what a run of the applier could not give it. */
static bool is_unfinished(const struct stow_applied *applied, const struct stow_idset *cpus,
			  const struct stow_idset *given)
{
	struct stow_idset lacking = *given;

	stow_idset_minus(&lacking, cpus);
	return !stow_idset_empty(&lacking) && stow_idset_subset(cpus, given) &&
	       stow_idset_subset(&lacking, &applied->explained);
}

/* What to do about a change, after the lock was dropped. */
enum action { LEAVE, APPLY, PUT_BACK };

/* Decide what to do. The caller holds the lock of the CPU sets, under which numastow writes them: a
 * difference that is seen now was made by another tool. */
static int deal(const struct stow_grant_context *context, struct stow_reconcile *reconcile,
		struct watched *w, bool observe, struct stow_reconcile_result *result,
		enum action *ret_action, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_cpu_view *view = &reconcile->view;
	struct stow_idset cpus, nodes, given_cpus, given_nodes;
	struct stow_applied applied = { 0 };
	int r;

	*ret_action = LEAVE;
	if (!observe && !view_is_applied(context, view, &applied)) {
		reconcile->made = false;
		return 0;
	}
	r = stow_ledger_record(context->ledger, w->key, &record, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	given_sets(view, record, w->cgroup, &given_cpus, &given_nodes);
	if (read_sets(w, &cpus, &nodes) < 0 ||
	    as_given(reconcile, &cpus, &nodes, &given_cpus, &given_nodes))
		return 0;
	if (!stow_cpu_view_is_current(view)) { /* the kernel may have taken what it lacks */
		reconcile->made = false;
		return 0;
	}
	if (w->dealt && stow_idset_equal(&cpus, &w->seen_cpus) &&
	    stow_idset_equal(&nodes, &w->seen_nodes))
		return 0; /* reported before */
	w->dealt = true;
	w->seen_cpus = cpus;
	w->seen_nodes = nodes;
	if (!observe && is_unfinished(&applied, &cpus, &given_cpus) &&
	    stow_idset_equal(&nodes, &given_nodes)) {
		*ret_action = APPLY;
		return 0;
	}
	/* The sets of a claim's container are the claim's. */
	if (!stow_record_is_holder(record) && stow_fit_cpus(context, view, record, &cpus) &&
	    stow_fit_nodes(context, record, &nodes)) {
		result->adopted++;
		w->drift = STOW_DRIFT_ADOPTED;
		if (observe)
			return 0;
		w->dealt = false;
		*ret_action = record->exclusive ? APPLY : LEAVE;
		r = adopt(context, view, record, w->cgroup, &cpus, &nodes, err);
		given_sets(view, record, w->cgroup, &w->cpus, &w->nodes);
		return r;
	}
	if (w->drift == STOW_DRIFT_RESTORED || w->drift == STOW_DRIFT_REFUSED) {
		result->refused++;
		w->drift = STOW_DRIFT_REFUSED;
		return observe ? 0
			       : stow_ledger_event(
					 context->ledger, "left", record->id, record,
					 "its sets were changed again after they had been "
					 "put back; they do not fit",
					 err);
	}
	result->restored++;
	w->drift = STOW_DRIFT_RESTORED;
	if (observe)
		return 0;
	w->dealt = false;
	*ret_action = PUT_BACK;
	return stow_ledger_event(
		context->ledger, "kept", record->id, record,
		"its sets were changed by another tool, do not fit, and were put back", err);
}

static int put_back(const struct stow_grant_context *context, int64_t key, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	stow_first_note(&first, stow_apply_start(context, key, first.err));
	stow_first_note(&first, stow_apply_mems(context, key, first.err));
	return first.code;
}

static int deal_locked(const struct stow_grant_context *context, struct stow_reconcile *reconcile,
		       struct watched *w, bool observe, struct stow_reconcile_result *result,
		       struct stow_err *err)
{
	static const struct stow_apply_options plain = { 0 };
	enum action action;
	int r;

	{
		_cleanup_unlock_ int lock = stow_apply_lock(context->root, err);

		if (lock < 0)
			return lock;
		r = deal(context, reconcile, w, observe, result, &action, err);
	}
	if (r == 0 && action == PUT_BACK)
		r = put_back(context, w->key, err);
	/* Other containers leave the CPUs that became exclusive, and get those that are exclusive
	 * no longer. */
	if (r == 0 && action == APPLY)
		r = stow_apply(context, &plain, NULL, err);
	return r;
}

/* Read which nodes have memory; all nodes where no file says so (in copied trees). */
static void read_memory(const struct stow_grant_context *context, struct stow_idset *ret)
{
	if (stow_root_read_idset(context->root, ret, NULL, "/sys/devices/system/node/has_memory") <
	    0)
		memset(ret, 0xff, sizeof(*ret));
}

/* Apply CPUs and memory that came or went, before any set is compared: no tool changed what the
 * kernel removed. */
static int apply_hotplug(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
			 const struct stow_idset *memory, struct stow_reconcile_result *result,
			 struct stow_err *err)
{
	static const struct stow_apply_options options = { .thorough = true };
	struct stow_idset came = *memory;
	int r;

	stow_idset_minus(&came, &reconcile->memory);
	reconcile->again = false;
	if (!stow_apply_is_current(context)) {
		r = stow_apply(context, &options, &result->problems, err);
		reconcile->again = !stow_apply_is_current(context);
		if (r < 0)
			return r;
	} else if (!reconcile->made || stow_idset_equal(memory, &reconcile->memory)) {
		return 0; /* changes from before the agent started are left to the first collection */
	}
	return reconcile->made ? stow_apply_mems_back(context, &came, err)
			       : stow_apply_mems(context, 0, err);
}

/* Read the machine and the ledger again when either has changed. */
static int refresh(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		   bool observe, struct stow_reconcile_result *result, struct stow_err *err)
{
	uint32_t changes = stow_ledger_changes(context->ledger);
	uint64_t came = stow_cpus_came(context->root, 0, NULL);
	struct stow_idset online, memory;
	int r;

	r = stow_cpus_in_sets(context->root, &online, err);
	if (r < 0)
		return r;
	read_memory(context, &memory);
	if (reconcile->made && !reconcile->again && changes == reconcile->changes &&
	    came == reconcile->came && stow_idset_equal(&online, &reconcile->online) &&
	    stow_idset_equal(&memory, &reconcile->memory))
		return 0;
	if (!observe)
		r = apply_hotplug(reconcile, context, &memory, result, err);
	stow_cpu_view_done(&reconcile->view);
	if (r == 0)
		r = stow_cpu_view_read(context->root, context->config, context->ledger,
				       &reconcile->view, err);
	if (r == 0)
		r = make_list(reconcile, context, &reconcile->view, err);
	reconcile->made = r == 0;
	reconcile->changes = changes;
	reconcile->online = online;
	reconcile->came = came;
	reconcile->memory = memory;
	return r;
}

int stow_reconcile_run(struct stow_reconcile *reconcile, const struct stow_grant_context *context,
		       bool observe, struct stow_reconcile_result *ret, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	*ret = (struct stow_reconcile_result){ 0 };
	stow_first_note(&first, refresh(reconcile, context, observe, ret, first.err));
	if (!reconcile->made)
		return first.code;
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
		if (r < 0)
			continue;
		if (as_given(reconcile, &cpus, &nodes, &w->cpus, &w->nodes)) {
			w->dealt = false; /* the next difference is a new change */
			continue;
		}
		stow_first_note(&first,
				deal_locked(context, reconcile, w, observe, ret, first.err));
	}
	return first.code;
}
