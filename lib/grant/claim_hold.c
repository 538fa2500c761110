// SPDX-License-Identifier: Apache-2.0
#include "grant/claim_hold.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/cpuset.h"
#include "cgroup/limits.h"
#include "grant/claim.h"
#include "grant/claim_limits.h"
#include "grant/pods.h"
#include "grant/saved.h"

/* What one container asks for. */
struct holding {
	const struct stow_grant_context *context;
	const struct stow_subject *subject;
	const char *uid, *share;
	bool limit;
	struct stow_cpuset allowed; /* by the cgroup above and by config.json */
};

/* Find the share, which must have been prepared. */
static int find_share(const struct holding *h, struct stow_record **ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_claim(h->context->ledger, h->uid, &records, &n, err);
	if (r < 0)
		return r;
	*ret = NULL;
	for (size_t i = 0; i < n && !*ret; i++)
		if (strcmp(records[i]->claim->share, h->share) == 0)
			*ret = STOW_TAKE_PTR(records[i]);
	stow_records_free(records, n);
	if (*ret)
		return 0;
	return stow_err_set(err, ENOENT,
			    n ? "claim %s has no share %s on this machine"
			      : "claim %s was not prepared on this machine (share %s)",
			    h->uid, h->share);
}

/* Find the container's own record: NULL for none. */
static int find_own(const struct holding *h, struct stow_record **ret, struct stow_err *err)
{
	const struct stow_subject *subject = h->subject;
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_records(h->context->ledger, subject->id, &records, &n, err);
	if (r < 0)
		return r;
	*ret = NULL;
	for (size_t i = 0; i < n && !*ret; i++)
		if (records[i]->state != STOW_STATE_LEASE &&
		    records[i]->init.pid == subject->init.pid &&
		    records[i]->init.start == subject->init.start)
			*ret = STOW_TAKE_PTR(records[i]);
	stow_records_free(records, n);
	return 0;
}

/* --- checking ------------------------------------------------------------- */

static int check_allowed(const struct holding *h, const struct stow_record *record,
			 struct stow_err *err)
{
	char list[128];
	int r = 0;

	if (!stow_idset_subset(&record->nodes, &h->allowed.mems_effective))
		return stow_err_set(err, EPERM,
				    "its claims are on NUMA nodes %s, which the container's cgroup "
				    "may not use",
				    stow_idset_format(&record->nodes, list, sizeof(list)));
	/* In a Guaranteed pod, stow_grant_enact() gives the pod's cgroup the exclusive CPUs first,
	 * so that it need not have them yet. Isolated CPUs are not checked: while another container
	 * of the claim is a partition, they are missing in the effective sets above it. */
	if (record->exclusive)
		r = stow_pods_check_class(h->context->root, stow_cgroup_id_path(&record->cgroup),
					  err);
	if (r != 0)
		return r < 0 ? r : 0;
	if (record->exclusive && !record->isolated &&
	    !stow_idset_intersects(&record->cpus, &h->allowed.cpus_effective))
		return stow_err_set(err, EPERM,
				    "its claims have CPUs %s, which the container's cgroup may not "
				    "use",
				    stow_idset_format(&record->cpus, list, sizeof(list)));
	return 0;
}

/* Refuse a mix of exclusive CPUs, which stay, and shared CPUs, which change with every exclusive
 * container. */
static int check_mode(const struct stow_record *record, struct stow_err *err)
{
	const struct stow_held *shared = NULL, *exclusive = NULL;

	for (size_t i = 0; i < record->n_held; i++) {
		if (record->held[i].exclusive)
			exclusive = &record->held[i];
		else if (record->held[i].n_cpus)
			shared = &record->held[i];
	}
	if (!shared || !exclusive)
		return 0;
	return stow_err_set(err, EINVAL,
			    "request %s of claim %s/%s has exclusive CPUs and request %s of claim "
			    "%s/%s shared ones; a container can have one kind",
			    exclusive->part, exclusive->ns, exclusive->name, shared->part,
			    shared->ns, shared->name);
}

/* --- the record ----------------------------------------------------------- */

static int set_text(char **text, const char *value)
{
	char *copy = strdup(value ? value : "");

	if (!copy)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

/* Remove what the record has by annotations. */
static void drop_own(struct stow_record *record)
{
	record->exclusive = record->isolated = false;
	record->cpus = record->nodes = (struct stow_idset){ 0 };
	record->n_shares = record->n_pages = 0;
	memset(record->pages, 0, sizeof(record->pages));
}

static int fill(const struct holding *h, struct stow_record *record, struct stow_err *err)
{
	const struct stow_subject *subject = h->subject;

	if (record->kind != STOW_LEASE_CLAIM)
		drop_own(record);
	record->kind = STOW_LEASE_CLAIM;
	record->state = STOW_STATE_PENDING;
	record->worker = h->context->self;
	if (stow_record_give(record, &subject->given_cpus, &subject->given_mems) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (!record->created)
		record->created = stow_clock_wall();
	record->init = subject->init;
	if (set_text(&record->id, subject->id) < 0 || set_text(&record->pod, subject->pod_id) < 0 ||
	    set_text(&record->ns, subject->ns) < 0 || set_text(&record->name, subject->name) < 0 ||
	    set_text(&record->request, "its claims") < 0 || set_text(&record->digest, "") < 0 ||
	    set_text(&record->reason, "its claims") < 0 || set_text(&record->reservation, "") < 0)
		return stow_err_sys(err, ENOMEM, "recording %s", subject->id);
	stow_cgroup_id_done(&record->cgroup);
	return stow_cgroup_id_copy(&subject->cgroup->id, &record->cgroup, err);
}

/* Save the values of the cgroup that the held shares may change, and describe these shares. */
static int complete(const struct holding *h, struct stow_record *record, struct stow_err *err)
{
	struct stow_request request = { 0 };
	char text[512] = "";

	request.n_pages = stow_record_pages(record, request.pages);
	for (size_t i = 0; i < record->n_held; i++) {
		if (h->limit)
			request.memory += record->held[i].memory;
		stow_append(text, sizeof(text), "%sclaim %s/%s (%s)", i ? ", " : "",
			    record->held[i].ns, record->held[i].name, record->held[i].part);
	}
	if (set_text(&record->request, text) < 0 || set_text(&record->reason, text) < 0)
		return stow_err_sys(err, ENOMEM, "recording %s", record->id);
	return stow_saved_capture(h->subject->cgroup, &request, record, err);
}

/* Write the record with the new share, read it again with all that it holds, and check that. */
static int put(const struct holding *h, struct stow_record **record, int64_t share,
	       struct stow_err *err)
{
	struct stow_ledger *ledger = h->context->ledger;
	int64_t key;
	int r = (*record)->key ? stow_ledger_update(ledger, *record, err)
			       : stow_ledger_insert(ledger, *record, err);

	key = (*record)->key;
	if (r == 0)
		r = stow_ledger_hold(ledger, key, share, err);
	if (r < 0)
		return r;
	stow_record_free(STOW_TAKE_PTR(*record));
	r = stow_ledger_record(ledger, key, record, err);
	if (r == 0)
		r = check_mode(*record, err);
	if (r == 0)
		r = check_allowed(h, *record, err);
	if (r == 0)
		r = complete(h, *record, err);
	return r < 0 ? r : stow_ledger_update(ledger, *record, err);
}

static int hold_locked(const struct holding *h, struct stow_record **ret, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL, *share = NULL;
	int r;

	r = find_share(h, &share, err);
	if (r == 0)
		r = find_own(h, &record, err);
	if (r < 0)
		return r;
	if (record && record->state == STOW_STATE_ACTIVE && stow_record_holds(record, share->key)) {
		*ret = STOW_TAKE_PTR(record);
		return 0;
	}
	if (!record) {
		record = calloc(1, sizeof(*record));
		if (!record)
			return stow_err_sys(err, ENOMEM, "recording %s", h->subject->id);
	}
	r = fill(h, record, err);
	if (r == 0)
		r = put(h, &record, share->key, err);
	if (r == 0)
		*ret = STOW_TAKE_PTR(record);
	return r;
}

int stow_claim_hold(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const char *uid, const char *share, bool limit, struct stow_record **ret_record,
		    struct stow_err *err)
{
	struct holding h = {
		.context = context, .subject = subject, .uid = uid, .share = share, .limit = limit
	};
	struct stow_record *record = NULL;
	int r;

	r = stow_claim_check_uid(uid, "the claim's UID", err);
	if (r == 0)
		r = stow_claim_check_uid(share, "the share's id", err);
	/* Not its own cpuset, which an earlier call of its hook may have written. */
	if (r == 0)
		r = stow_cpuset_read_allowed(subject->cgroup, &subject->given_cpus,
					     &subject->given_mems, &h.allowed, err);
	if (r == 0)
		r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_end(context->ledger, hold_locked(&h, &record, err), err);
	if (r < 0) {
		stow_record_free(record);
		return r;
	}
	*ret_record = record;
	return 0;
}

int stow_claim_enact(const struct stow_grant_context *context, struct stow_record *record,
		     const struct stow_cgroup *cgroup, struct stow_apply_result *ret_problems,
		     struct stow_err *err)
{
	int version = cgroup->at[STOW_CGROUP_MEMORY].version;
	struct stow_request request = { 0 };
	int r;

	/* The limit was saved only if the container had none of its own. */
	for (size_t i = 0; i < record->n_held && version; i++)
		if (stow_saved_has(record, STOW_CGROUP_MEMORY, stow_memory_limit_name(version)))
			request.memory += record->held[i].memory;
	/* Claims of more memory than the pod may use set no limit: the pod's limit holds then. */
	if (version && stow_cgroup_limit_above(cgroup, STOW_CGROUP_MEMORY,
					       stow_memory_limit_name(version)) < request.memory)
		request.memory = 0;
	r = stow_claim_raise_pod(context, record, cgroup, err);
	return r < 0 ? r
		     : stow_grant_enact(context, record, &request, request.memory > 0, cgroup,
					ret_problems, err);
}
