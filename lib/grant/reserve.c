// SPDX-License-Identifier: Apache-2.0
/* The first half of a grant: from a request to a record in the ledger. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/cpuset.h"
#include "grant/apply.h"
#include "grant/basis.h"
#include "grant/gc.h"
#include "grant/grant.h"
#include "grant/lease_await.h"
#include "grant/pods.h"
#include "grant/saved.h"
#include "grant/unmanaged.h"

/* --- records -------------------------------------------------------------- */

static char *copy(const char *text)
{
	return strdup(text ? text : "");
}

/* Copy the key of a claim's share. */
static int copy_claim(const struct stow_claim_key *from, struct stow_record *record)
{
	record->claim = calloc(1, sizeof(*record->claim));
	if (!record->claim)
		return -ENOMEM;
	record->claim->uid = copy(from->uid);
	record->claim->share = copy(from->share);
	record->claim->part = copy(from->part);
	return record->claim->uid && record->claim->share && record->claim->part ? 0 : -ENOMEM;
}

/* `asked`: what the container asked for, before it was narrowed. */
static int fill_record(const struct stow_basis *basis, const struct stow_subject *subject,
		       const struct stow_request *asked, const struct stow_request *request,
		       struct stow_plan *plan, struct stow_record *record, struct stow_err *err)
{
	char line[256], digest[STOW_DIGEST_LEN + 1];

	stow_request_digest(asked, digest);
	record->kind = subject->kind;
	record->id = copy(subject->id);
	record->pod = copy(subject->pod_id);
	record->ns = copy(subject->ns);
	record->name = copy(subject->name);
	record->request = copy(stow_request_format(asked, line, sizeof(line)));
	record->digest = copy(digest);
	record->reason = copy(plan->reason);
	record->reservation = copy(subject->reservation);
	record->created = stow_clock_wall();
	record->exclusive = plan->exclusive;
	record->isolated = plan->isolated;
	if (plan->exclusive)
		record->cpus = plan->cpus;
	stow_basis_mems(basis, plan, request, &record->nodes);
	record->drain = request->drain;
	memcpy(record->pages, request->pages, sizeof(record->pages));
	record->n_pages = request->n_pages;
	record->shares = STOW_TAKE_PTR(plan->shares);
	record->n_shares = plan->n_shares;
	plan->n_shares = 0;
	if (!record->id || !record->pod || !record->ns || !record->name || !record->request ||
	    !record->digest || !record->reason || !record->reservation ||
	    (subject->claim && copy_claim(subject->claim, record) < 0))
		return stow_err_sys(err, ENOMEM, "recording %s", subject->id);
	return 0;
}

/* Give the record its process: it becomes pending, or a lease when there is no process. */
static int set_process(const struct stow_grant_context *context, const struct stow_subject *subject,
		       const struct stow_request *request, struct stow_record *record,
		       struct stow_err *err)
{
	uint64_t lifetime = subject->lifetime;
	int r;

	record->init = subject->init;
	record->worker = context->self;
	if (!subject->cgroup) {
		if (!lifetime)
			lifetime = context->config->lease_seconds * STOW_SECOND;
		if (lifetime > STOW_LEASE_MAX)
			lifetime = STOW_LEASE_MAX;
		record->state = STOW_STATE_LEASE;
		record->expires = subject->claim ? 0 : stow_clock_boot() + lifetime;
		return 0;
	}
	record->state = STOW_STATE_PENDING;
	record->expires = 0;
	if (stow_record_give(record, &subject->given_cpus, &subject->given_mems) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	stow_cgroup_id_done(&record->cgroup);
	r = stow_cgroup_id_copy(&subject->cgroup->id, &record->cgroup, err);
	return r < 0 ? r : stow_saved_capture(subject->cgroup, request, record, err);
}

/* --- existing records ----------------------------------------------------- */

static bool same_process(const struct stow_pidref *a, const struct stow_pidref *b)
{
	return a->pid == b->pid && a->start == b->start;
}

/* Return whether the lease is still what the container asks for, and within what its cgroup
 * allows. */
static bool lease_fits(const struct stow_basis *basis, const struct stow_record *lease,
		       const struct stow_request *request)
{
	char digest[STOW_DIGEST_LEN + 1];

	stow_request_digest(request, digest);
	if (strcmp(lease->digest, digest) != 0)
		return false;
	return !basis->have_cpuset ||
	       (stow_idset_subset(&lease->cpus, &basis->cpuset.cpus_effective) &&
		stow_idset_subset(&lease->nodes, &basis->cpuset.mems_effective));
}

static bool has_expired(const struct stow_record *record)
{
	return record->expires && record->expires <= stow_clock_boot();
}

/* Take the lease if it is what the container asks for; otherwise delete it, so that the container
 * is planned anew. Return 1 when it was taken. */
static int take_lease(const struct stow_grant_context *context, const struct stow_basis *basis,
		      const struct stow_request *request, struct stow_record **lease,
		      struct stow_record **ret_record, struct stow_err *err)
{
	int r;

	if (has_expired(*lease)) /* gc deletes it */
		return 0;
	if (lease_fits(basis, *lease, request)) {
		*ret_record = STOW_TAKE_PTR(*lease);
		return 1;
	}
	r = stow_ledger_delete(context->ledger, (*lease)->key, err);
	return r < 0 ? r : 0;
}

/*
 * Find an existing record: the container's own active grant (hooks.d and CDI both called the hook),
 * a lease of its id, or a lease that its pod's first container left for it. Return 1 with the
 * record. Pending records of dead hooks of this same process are left to gc.
 */
static int find_existing(const struct stow_grant_context *context, const struct stow_basis *basis,
			 const struct stow_subject *subject, const struct stow_request *request,
			 struct stow_record **ret_record, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *member = NULL;
	struct stow_record **records;
	int r, found = 0;
	size_t n;

	r = stow_ledger_records(context->ledger, subject->id, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && found == 0; i++) {
		if (records[i]->state == STOW_STATE_ACTIVE && subject->init.pid &&
		    same_process(&records[i]->init, &subject->init)) {
			*ret_record = STOW_TAKE_PTR(records[i]);
			found = 1;
		} else if (records[i]->state == STOW_STATE_LEASE && subject->id[0]) {
			found = take_lease(context, basis, request, &records[i], ret_record, err);
		}
	}
	stow_records_free(records, n);
	if (found || !subject->pod_id || !subject->name)
		return found;
	r = stow_ledger_member(context->ledger, subject->pod_id, subject->name, &member, err);
	if (r < 0 || !member)
		return r;
	return take_lease(context, basis, request, &member, ret_record, err);
}

/* Turn a lease into the container's own record. */
static int adopt(const struct stow_grant_context *context, const struct stow_subject *subject,
		 const struct stow_request *request, struct stow_record *record,
		 struct stow_err *err)
{
	int r;

	if (record->state == STOW_STATE_ACTIVE)
		return 0;
	free(record->id);
	record->id = copy(subject->id);
	if (!record->id)
		return stow_err_sys(err, ENOMEM, "recording %s", subject->id);
	r = set_process(context, subject, request, record, err);
	if (r < 0)
		return r;
	return stow_ledger_update(context->ledger, record, err);
}

/* Find the nodes of the pod's containers, if any: scope=pod keeps them together. */
static int pod_nodes(const struct stow_grant_context *context, const struct stow_subject *subject,
		     struct stow_idset *ret, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (!subject->pod_id || !subject->pod_id[0])
		return 0;
	r = stow_ledger_records(context->ledger, NULL, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		if (strcmp(records[i]->pod, subject->pod_id) == 0)
			stow_idset_or(ret, &records[i]->nodes);
	stow_records_free(records, n);
	return 0;
}

/* --- reserving ------------------------------------------------------------ */

int stow_reserve_planned(const struct stow_attempt *attempt, const struct stow_subject *subject,
			 const struct stow_request *asked, const struct stow_request *request,
			 struct stow_record **ret_record, struct stow_refusal **ret_refusal,
			 struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	int r;

	r = stow_basis_plan(attempt->context, attempt->basis, request, attempt->how, &plan,
			    ret_refusal, err);
	if (r == 0 && plan->exclusive)
		r = stow_pods_check_rest(attempt->context, &plan->cpus, err);
	if (r < 0)
		return r;
	record = calloc(1, sizeof(*record));
	if (!record)
		return stow_err_sys(err, ENOMEM, "recording %s", subject->id);
	r = fill_record(attempt->basis, subject, asked, request, plan, record, err);
	if (r == 0)
		r = set_process(attempt->context, subject, request, record, err);
	if (r == 0)
		r = stow_ledger_insert(attempt->context->ledger, record, err);
	if (r < 0)
		return r;
	*ret_record = STOW_TAKE_PTR(record);
	return 0;
}

int stow_reserve_check_caps(const struct stow_grant_context *context, const char *ns,
			    const struct stow_request *request, struct stow_err *err)
{
	struct stow_caps used = { 0 };
	int r = 0;

	if (context->config->n_namespaces && ns && context->ledger)
		r = stow_ledger_namespace(context->ledger, ns, &used, err);
	return r < 0 ? r : stow_config_check(context->config, ns, &used, request, err);
}

/*
 * Sum what the pod's containers ask for into one request, to find nodes for all of them. A member
 * that annotations name may never start: reserve for it only within the pod's limits and the
 * administrator's caps. A member that does not fit within these is planned when it starts.
 */
static int sum_members(const struct stow_attempt *attempt, struct stow_request *sum,
		       const struct stow_member *members, size_t n_members, bool *ret_wanted,
		       struct stow_err *err)
{
	const struct stow_config *config = attempt->context->config;
	struct stow_caps used = { 0 };
	int r = 0;

	if (config->n_namespaces && attempt->subject->ns)
		r = stow_ledger_namespace(attempt->context->ledger, attempt->subject->ns, &used,
					  err);
	for (size_t i = 0; i < n_members && r == 0; i++)
		ret_wanted[i] =
			stow_config_check_member(config, attempt->subject->ns, &used,
						 &attempt->subject->pod_limits, members[i].name,
						 &members[i].request, sum, NULL) == 0;
	return r;
}

static int reserve_pod(const struct stow_attempt *attempt, const struct stow_request *request,
		       const struct stow_member *members, size_t n_members,
		       struct stow_record **ret_record, struct stow_refusal **ret_refusal,
		       struct stow_err *err)
{
	_cleanup_(stow_plan_free_ptr) struct stow_plan *plan = NULL;
	bool wanted[STOW_MEMBERS_MAX] = { false };
	struct stow_request sum = *request, one;
	struct stow_idset nodes;
	int r;

	if (n_members > STOW_MEMBERS_MAX)
		n_members = STOW_MEMBERS_MAX;

	r = pod_nodes(attempt->context, attempt->subject, &nodes, err);
	if (r < 0)
		return r;
	if (stow_idset_empty(&nodes)) {
		r = sum_members(attempt, &sum, members, n_members, wanted, err);
		if (r < 0)
			return r;
		r = stow_basis_plan(attempt->context, attempt->basis, &sum,
				    attempt->how | STOW_PLAN_ANY_CORES, &plan, ret_refusal, err);
		if (r < 0)
			return r;
		nodes = plan->nodes;
	} else {
		n_members = 0; /* the first container has reserved for all members */
	}
	one = *request;
	one.nodes_auto = false;
	one.nodes = nodes;
	r = stow_reserve_planned(attempt, attempt->subject, request, &one, ret_record, ret_refusal,
				 err);
	for (size_t i = 0; i < n_members && r == 0; i++) {
		_cleanup_(stow_record_free_ptr) struct stow_record *lease = NULL;
		struct stow_subject other = *attempt->subject;

		if (!wanted[i])
			continue;
		other.kind = STOW_LEASE_MEMBER;
		other.id = "";
		other.name = members[i].name;
		other.init = (struct stow_pidref){ 0 };
		other.cgroup = NULL;
		one = members[i].request;
		one.nodes_auto = false;
		one.nodes = nodes;
		r = stow_reserve_planned(attempt, &other, &members[i].request, &one, &lease,
					 ret_refusal, err);
	}
	return r;
}

/* Compare the container's request with the reservation. */
static int check_reserved(const struct stow_record *lease, const struct stow_request *request,
			  struct stow_err *err)
{
	uint64_t cpus = 0, memory = 0;
	char size[32];

	for (size_t i = 0; i < lease->n_shares; i++) {
		cpus += lease->shares[i].cpus;
		memory += lease->shares[i].memory;
	}
	if (request->cpus > cpus)
		return stow_err_set(err, E2BIG,
				    STOW_ANNOTATION_PREFIX
				    "cpus: %u is more than reservation %s holds: %" PRIu64,
				    request->cpus, lease->reservation, cpus);
	if (stow_cpu_mode_owns(request->cpu_mode) && !lease->exclusive)
		return stow_err_set(err, E2BIG,
				    STOW_ANNOTATION_PREFIX
				    "cpu-mode: \"exclusive\", but reservation %s holds shared CPUs",
				    lease->reservation);
	if (request->memory > memory)
		return stow_err_set(err, E2BIG,
				    STOW_ANNOTATION_PREFIX
				    "memory: %" PRIu64 " bytes are more than reservation %s holds: "
				    "%" PRIu64,
				    request->memory, lease->reservation, memory);
	for (size_t i = 0; i < request->n_pages; i++) {
		uint64_t held = 0;

		for (size_t p = 0; p < lease->n_pages; p++)
			if (lease->pages[p].size == request->pages[i].size)
				held = lease->pages[p].count;
		if (request->pages[i].count > held)
			return stow_err_set(
				err, E2BIG,
				STOW_ANNOTATION_PREFIX "hugepages-%s: %" PRIu64
						       " pages are more than reservation %s "
						       "holds: %" PRIu64,
				stow_format_pagesize(request->pages[i].size, size, sizeof(size)),
				request->pages[i].count, lease->reservation, held);
	}
	return 0;
}

/* Find the reservation's lease, which must exist and be large enough. */
static int find_reserved(const struct stow_attempt *attempt, const struct stow_request *request,
			 struct stow_record **ret_record, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *lease = NULL;
	struct stow_reservation_name name;
	struct stow_err why = { 0 };
	int r;

	r = stow_reservation_parse(request->reservation, &name, err);
	if (r == 0)
		r = stow_ledger_reservation(attempt->context->ledger, name.id, &lease, err);
	if (r < 0)
		return r;
	if (!lease || lease->state != STOW_STATE_LEASE || has_expired(lease)) {
		r = stow_lease_missing(attempt->context, &name, lease, &why);
		return stow_err_move(err, r, &why);
	}
	r = check_reserved(lease, request, err);
	if (r < 0)
		return r;
	if (attempt->basis->have_cpuset &&
	    (!stow_idset_subset(&lease->nodes, &attempt->basis->cpuset.mems_effective) ||
	     !stow_idset_subset(&lease->cpus, &attempt->basis->cpuset.cpus_effective)))
		return stow_err_set(err, EPERM,
				    STOW_ANNOTATION_PREFIX
				    "reservation: the container's cgroup may not use the CPUs or "
				    "NUMA nodes that %s holds",
				    lease->reservation);
	*ret_record = STOW_TAKE_PTR(lease);
	return 0;
}

/* Make the reservation's lease the container's grant. */
static int adopt_reserved(const struct stow_attempt *attempt, const struct stow_request *request,
			  struct stow_record **ret_record, struct stow_err *err)
{
	struct stow_request whole = *request;
	struct stow_record *lease;
	int r;

	r = find_reserved(attempt, request, ret_record, err);
	if (r < 0)
		return r;
	lease = *ret_record;
	/* Later steps save and enforce what the lease has. */
	memcpy(whole.pages, lease->pages, sizeof(whole.pages));
	whole.n_pages = lease->n_pages;
	lease->drain = request->drain;
	return adopt(attempt->context, attempt->subject, &whole, lease, err);
}

/* Find or make the container's record. The caller has begun a transaction. */
static int reserve_locked(const struct stow_attempt *attempt, const struct stow_request *request,
			  const struct stow_member *members, size_t n_members,
			  struct stow_record **ret_record, struct stow_refusal **ret_refusal,
			  struct stow_err *err)
{
	const struct stow_grant_context *context = attempt->context;
	int r;

	r = find_existing(context, attempt->basis, attempt->subject, request, ret_record, err);
	if (r < 0)
		return r;
	if (r > 0)
		return adopt(context, attempt->subject, request, *ret_record, err);
	if (request->reservation[0])
		return adopt_reserved(attempt, request, ret_record, err);
	r = stow_reserve_check_caps(context, attempt->subject->ns, request, err);
	if (r < 0)
		return r;
	if (request->scope == STOW_SCOPE_POD)
		return reserve_pod(attempt, request, members, n_members, ret_record, ret_refusal,
				   err);
	return stow_reserve_planned(attempt, attempt->subject, request, request, ret_record,
				    ret_refusal, err);
}

/* Return whether one of the newest containers has ended without a poststop: a container that could
 * not be started (its command does not exist) never gets one. */
static bool has_failed_start(const struct stow_grant_context *context)
{
	struct stow_newest newest[4];
	size_t n = 0;

	if (stow_ledger_newest(context->ledger, newest, STOW_ARRAY_SIZE(newest), &n, NULL) < 0)
		return false;
	for (size_t i = 0; i < n; i++) {
		_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;

		if (!stow_pidref_alive(context->root, &newest[i].init) &&
		    stow_ledger_record(context->ledger, newest[i].key, &record, NULL) == 0 &&
		    stow_grant_ended(context->root, record))
			return true;
	}
	return false;
}

int stow_reserve_try(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
		     struct stow_err *err)
{
	const struct stow_grant_context *context = attempt->context;
	int r = -EAGAIN;

	for (int i = 0; i < 2; i++) {
		attempt->how = i > 0 ? STOW_PLAN_REFINE : 0;
		if (i > 0) {
			struct stow_gc_result swept;

			(void)stow_gc(context, &swept, NULL);
			stow_gc_result_done(&swept);
		}
		r = stow_ledger_begin(context->ledger, err);
		if (r < 0)
			return r;
		stow_refusal_free(*ret_refusal);
		*ret_refusal = NULL;
		r = i == 0 && has_failed_start(context)
			    ? -ENOSPC
			    : attempt->locked(attempt, ret_refusal, err);
		if (r == 0)
			return stow_ledger_commit(context->ledger, err);
		stow_ledger_rollback(context->ledger);
		if (r != -ENOSPC && r != -EPERM)
			break;
	}
	return r;
}

static int attempt_container(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
			     struct stow_err *err)
{
	int r;

	r = reserve_locked(attempt, attempt->request, attempt->members, attempt->n_members,
			   &attempt->record, ret_refusal, err);
	if (r < 0)
		stow_record_free(STOW_TAKE_PTR(attempt->record));
	return r;
}

/* Leave the topology to the caller, for stow_grant_enact(). */
static void leave_topology(const struct stow_grant_context *context, struct stow_basis *basis)
{
	if (!context->topology)
		return;
	stow_topology_free(*context->topology);
	*context->topology = STOW_TAKE_PTR(basis->topology);
}

int stow_grant_reserve(const struct stow_grant_context *context, const struct stow_subject *subject,
		       const struct stow_request *request, const struct stow_member *members,
		       size_t n_members, struct stow_record **ret_record,
		       struct stow_refusal **ret_refusal, struct stow_err *err)
{
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	struct stow_attempt attempt = { .context = context,
					.basis = &basis,
					.subject = subject,
					.locked = attempt_container,
					.request = request,
					.members = members,
					.n_members = n_members };
	int r;

	*ret_refusal = NULL;
	r = stow_basis_read(context, subject->cgroup, request, members, n_members, &basis, err);
	if (r == 0 && request->reservation[0]) {
		struct stow_reservation_name name;

		r = stow_reservation_parse(request->reservation, &name, err);
		if (r == 0)
			stow_lease_await(context, &name);
	}
	if (r == 0)
		r = stow_reserve_try(&attempt, ret_refusal, err);
	if (r < 0) {
		stow_record_free(attempt.record);
		return r;
	}
	leave_topology(context, &basis);
	*ret_record = attempt.record;
	return 0;
}

int stow_grant_plan(const struct stow_grant_context *context, const struct stow_subject *subject,
		    const struct stow_request *request, struct stow_plan **ret_plan,
		    struct stow_refusal **ret_refusal, struct stow_err *err)
{
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	int r;

	*ret_refusal = NULL;
	r = stow_basis_read(context, subject ? subject->cgroup : NULL, request, NULL, 0, &basis,
			    err);
	if (r == 0)
		r = stow_reserve_check_caps(context, subject ? subject->ns : NULL, request, err);
	if (r < 0)
		return r;
	return stow_basis_plan(context, &basis, request, context->ledger ? STOW_PLAN_REFINE : 0,
			       ret_plan, ret_refusal, err);
}
