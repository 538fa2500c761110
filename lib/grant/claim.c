// SPDX-License-Identifier: Apache-2.0
#include "grant/claim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "grant/apply.h"
#include "grant/basis.h"
#include "grant/grant.h"
#include "grant/pool.h"

#define LOWER	 "abcdefghijklmnopqrstuvwxyz"
#define DIGITS	 "0123456789"
#define NAMED_IN 2 /* containers that a refusal names */

/* --- checking ------------------------------------------------------------- */

int stow_claim_check_uid(const char *uid, const char *what, struct stow_err *err)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i = 0;

	while (uid && form[i] && uid[i] &&
	       (form[i] == '-' ? uid[i] == '-' : strchr(DIGITS "abcdef", uid[i]) != NULL))
		i++;
	if (uid && !form[i] && !uid[i])
		return 0;
	return stow_err_set(err, EINVAL,
			    "%s is not a Kubernetes UID: 36 hexadecimal digits and '-' are, as in "
			    "\"0f4c2c1e-8a5b-4b57-9d0a-6c1d2e3f4a5b\"",
			    what);
}

/* `also`: characters beside letters and digits. */
static int check_name(const char *name, const char *what, const char *also, size_t max,
		      struct stow_err *err)
{
	size_t len = name ? strlen(name) : 0;
	bool valid = len > 0 && len <= max;

	for (size_t i = 0; i < len && valid; i++) {
		bool within = i > 0 && i + 1 < len;

		valid = strchr(LOWER DIGITS, name[i]) || (within && strchr(also, name[i]));
	}
	if (valid)
		return 0;
	return stow_err_set(err, EINVAL,
			    "%s is not valid: 1 to %zu lower-case letters, digits and \"%s\" are, "
			    "with a letter or digit at both ends",
			    what, max, also);
}

static int check_share(const struct stow_claim_share *share, struct stow_err *err)
{
	int r;

	r = stow_claim_check_uid(share->id, "the share's id", err);
	if (r == 0)
		r = check_name(share->part, "the name of the claim's request", "-/",
			       STOW_CLAIM_PART_MAX, err);
	if (r == 0 && (share->node < 0 || share->node >= STOW_IDSET_MAX))
		r = stow_err_set(err, EINVAL, "NUMA node %d: there is no such number", share->node);
	if (r == 0 && share->n_pages > STOW_POOLS_MAX)
		r = stow_err_set(err, EINVAL, "hugepages: %zu sizes; at most %d are possible",
				 share->n_pages, STOW_POOLS_MAX);
	return r;
}

static int check_claim(const struct stow_claim *claim, struct stow_err *err)
{
	int r;

	r = stow_claim_check_uid(claim->uid, "the claim's UID", err);
	if (r == 0)
		r = check_name(claim->ns, "the claim's namespace", "-", 63, err);
	if (r == 0)
		r = check_name(claim->name, "the claim's name", "-.", STOW_NAME_MAX, err);
	if (r == 0 && (claim->n == 0 || claim->n > STOW_CLAIM_SHARES_MAX))
		r = stow_err_set(err, EINVAL,
				 "claim %s/%s has %zu allocated devices; 1 to %d are "
				 "possible",
				 claim->ns, claim->name, claim->n, STOW_CLAIM_SHARES_MAX);
	for (size_t i = 0; i < claim->n && r == 0; i++) {
		r = check_share(&claim->shares[i], err);
		for (size_t j = 0; j < i && r == 0; j++)
			if (strcmp(claim->shares[i].id, claim->shares[j].id) == 0)
				r = stow_err_set(err, EINVAL, "claim %s/%s has share %s twice",
						 claim->ns, claim->name, claim->shares[i].id);
	}
	return r;
}

/* --- taking --------------------------------------------------------------- */

/* One attempt. `wanted` has a request for each share. */
struct taking {
	struct stow_attempt attempt; /* must be the first: attempt_claim() casts it */
	const struct stow_claim *claim;
	const struct stow_member *wanted;
	size_t planned; /* index of the share that is planned, for messages */
	bool changed;
};

static void request_of(const struct stow_claim_share *share, struct stow_request *ret)
{
	*ret = (struct stow_request){ .policy = STOW_POLICY_SINGLE_NUMA_NODE,
				      .cpus = share->cpus,
				      .cpu_mode = share->cpus ? share->cpu_mode : STOW_CPU_SHARED,
				      .memory = share->memory,
				      .memory_only = !share->cpus,
				      .drain = share->drain };
	stow_idset_add(&ret->nodes, share->node);
	memcpy(ret->pages, share->pages, share->n_pages * sizeof(*share->pages));
	ret->n_pages = share->n_pages;
}

/* Return whether the record is this share, with this content. */
static bool is_same(const struct taking *t, size_t i, const struct stow_record *record)
{
	const struct stow_claim_share *share = &t->claim->shares[i];
	char digest[STOW_DIGEST_LEN + 1];

	stow_request_digest(&t->wanted[i].request, digest);
	return strcmp(record->digest, digest) == 0 && strcmp(record->ns, t->claim->ns) == 0 &&
	       strcmp(record->name, t->claim->name) == 0 &&
	       strcmp(record->claim->part, share->part) == 0 && record->drain == share->drain;
}

/* Compare what the ledger has of the claim with what is wanted. *ret_there: for each share, whether
 * it is there. */
static int compare(const struct taking *t, bool *ret_there, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_claim(t->attempt.context->ledger, t->claim->uid, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		size_t j = 0;

		while (j < t->claim->n &&
		       strcmp(t->claim->shares[j].id, records[i]->claim->share) != 0)
			j++;
		if (j < t->claim->n && is_same(t, j, records[i]))
			ret_there[j] = true;
		else
			r = stow_err_set(
				err, EEXIST,
				"share %s of claim %s/%s is taken already, as %s; drop the "
				"claim before it is taken with another content",
				records[i]->claim->share, records[i]->ns, records[i]->name,
				records[i]->request);
	}
	stow_records_free(records, n);
	return r;
}

/* The author of one pod can claim any number of devices without an amount of them. */
static int check_number(const struct taking *t, const bool *there, struct stow_err *err)
{
	int64_t number, more = 0;
	int r = stow_ledger_claimed(t->attempt.context->ledger, t->claim->ns, &number, err);

	for (size_t i = 0; i < t->claim->n; i++)
		more += !there[i];
	if (r < 0 || !more || number + more <= STOW_CLAIM_NS_MAX)
		return r;
	return stow_err_set(err, EPERM,
			    "the claims of namespace %s have %" PRId64 " devices of this machine, "
			    "and this one needs %" PRId64 " more: at most %d are possible",
			    t->claim->ns, number, more, STOW_CLAIM_NS_MAX);
}

static int take_share(struct taking *t, size_t i, struct stow_refusal **ret_refusal,
		      struct stow_err *err)
{
	const struct stow_claim_share *share = &t->claim->shares[i];
	const struct stow_claim_key key = { .uid = (char *)t->claim->uid,
					    .share = (char *)share->id,
					    .part = (char *)share->part };
	const struct stow_subject subject = { .id = "",
					      .ns = t->claim->ns,
					      .name = t->claim->name,
					      .kind = STOW_LEASE_CLAIM,
					      .claim = &key };
	const struct stow_request *request = &t->wanted[i].request;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_attempt attempt = t->attempt;
	char label[STOW_RECORD_LABEL_MAX];
	int r;

	attempt.how |= STOW_PLAN_KEEP_POOLS;
	r = stow_reserve_check_caps(attempt.context, t->claim->ns, request, err);
	if (r == 0)
		r = stow_reserve_planned(&attempt, &subject, request, request, &record, ret_refusal,
					 err);
	if (r == 0)
		r = stow_ledger_event(attempt.context->ledger, "taken",
				      stow_record_label(record, label), record, record->reason,
				      err);
	return r;
}

/* Take what is missing, within the transaction. */
static int attempt_claim(struct stow_attempt *attempt, struct stow_refusal **ret_refusal,
			 struct stow_err *err)
{
	struct taking *t = (struct taking *)attempt;
	bool there[STOW_CLAIM_SHARES_MAX] = { false };
	struct stow_idset fenced;
	int r;

	t->changed = false;
	r = compare(t, there, err);
	if (r == 0)
		r = check_number(t, there, err);
	if (r == 0)
		r = stow_ledger_fenced(attempt->context->ledger, NULL, &fenced, err);
	for (size_t i = 0; i < t->claim->n && r == 0; i++) {
		if (there[i])
			continue;
		t->planned = i;
		t->changed = true;
		if (stow_idset_has(&fenced, t->claim->shares[i].node))
			return stow_err_set(err, EAGAIN,
					    "fenced: nothing new is placed on NUMA node %d",
					    t->claim->shares[i].node);
		r = take_share(t, i, ret_refusal, err);
	}
	return r;
}

/* --- the text of a refusal ------------------------------------------------ */

/* Name a container in a message: by its pod, where there is one. */
static const char *container_name(const struct stow_record *record, char *buf, size_t size)
{
	if (record->pod[0])
		snprintf(buf, size, "%.63s/%.253s of pod %.64s", record->ns, record->name,
			 record->pod);
	else
		snprintf(buf, size, "container %.64s", record->id);
	return buf;
}

/* Name the containers on the NUMA node, except this claim's: the caller expected that there is
 * room. */
static void add_users(const struct taking *t, char *text, size_t size)
{
	int node = t->claim->shares[t->planned].node;
	struct stow_record **records;
	size_t n, found = 0;

	if (stow_ledger_records(t->attempt.context->ledger, NULL, &records, &n, NULL) < 0)
		return;
	for (size_t i = 0; i < n; i++) {
		size_t len = strlen(text);
		struct stow_idset at;
		char name[480];

		stow_record_at(records[i], &at);
		if (records[i]->state == STOW_STATE_LEASE || !stow_idset_has(&at, node) ||
		    (records[i]->n_held && strcmp(records[i]->held[0].uid, t->claim->uid) == 0))
			continue;
		if (++found <= NAMED_IN)
			snprintf(text + len, size - len, "%s%s",
				 found == 1 ? "; still in use by " : ", ",
				 container_name(records[i], name, sizeof(name)));
	}
	if (found > NAMED_IN)
		snprintf(text + strlen(text), size - strlen(text), " and %zu more",
			 found - NAMED_IN);
	stow_records_free(records, n);
}

static int refuse(const struct taking *t, int r, const struct stow_refusal *refusal,
		  const struct stow_err *why, struct stow_err *err)
{
	char text[700] = "";

	if (r == -EEXIST)
		return stow_err_set(err, EEXIST, "%s", why->msg);
	if (r == -ENOSPC)
		add_users(t, text, sizeof(text));
	return stow_err_set(err, -r, "claim %s/%s, request %s: %s%s%s%s", t->claim->ns,
			    t->claim->name, t->claim->shares[t->planned].part,
			    refusal ? refusal->text : why->msg,
			    refusal && refusal->suggestion[0] ? "; " : "",
			    refusal ? refusal->suggestion : "", text);
}

int stow_claim_take(const struct stow_grant_context *context, const struct stow_claim *claim,
		    struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_free_ struct stow_member *wanted = NULL;
	_cleanup_(stow_basis_done) struct stow_basis basis = { 0 };
	struct taking t = {
		.attempt = { .context = context, .basis = &basis, .locked = attempt_claim },
		.claim = claim
	};
	struct stow_err why = { 0 };
	int r;

	r = check_claim(claim, err);
	if (r < 0)
		return r;
	wanted = calloc(claim->n, sizeof(*wanted));
	if (!wanted)
		return stow_err_sys(err, ENOMEM, "taking a claim");
	t.wanted = wanted;
	for (size_t i = 0; i < claim->n && r == 0; i++) {
		t.planned = i;
		request_of(&claim->shares[i], &wanted[i].request);
		r = stow_request_check_amounts(&wanted[i].request, &why);
	}
	if (r == 0)
		r = stow_basis_read(context, NULL, &wanted[0].request, wanted, claim->n, &basis,
				    &why);
	for (size_t i = 0; i < claim->n && r == 0; i++) {
		t.planned = i;
		if (!stow_topology_node(basis.topology, claim->shares[i].node))
			r = stow_err_set(&why, EINVAL, "there is no NUMA node %d on this machine",
					 claim->shares[i].node);
	}
	if (r == 0)
		r = stow_reserve_try(&t.attempt, &refusal, &why);
	return r < 0 ? refuse(&t, r, r == -ENOSPC ? refusal : NULL, &why, err) : t.changed;
}

/* --- dropping ------------------------------------------------------------- */

/* Find a running container of the claim. Return 1 with its name. */
static int find_living(const struct stow_grant_context *context, const char *uid, char *name,
		       size_t size, struct stow_err *err)
{
	struct stow_record **records;
	int r, found = 0;
	size_t n;

	r = stow_ledger_holders(context->ledger, uid, &records, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && !found; i++) {
		found = !stow_grant_ended(context->root, records[i]);
		container_name(records[i], name, size);
	}
	stow_records_free(records, n);
	return found;
}

/* Delete the records of a list. Return how many there were. */
static int delete_all(const struct stow_grant_context *context, struct stow_record **records,
		      size_t n, const char *kind, const char *text, struct stow_err *err)
{
	char label[STOW_RECORD_LABEL_MAX];
	int r = 0;

	for (size_t i = 0; i < n && r >= 0; i++) {
		r = stow_ledger_delete(context->ledger, records[i]->key, err);
		if (r > 0)
			r = stow_ledger_event(context->ledger, kind,
					      stow_record_label(records[i], label), records[i],
					      text, err);
	}
	return r < 0 ? r : (int)n;
}

/* Within the transaction: drop a claim. *ret_cpus and *ret_pages: whether exclusive CPUs, or pages,
 * were released. */
static int drop_locked(const struct stow_grant_context *context, const char *uid, bool *ret_cpus,
		       bool *ret_pages, struct stow_err *err)
{
	struct stow_record **holders = NULL, **shares = NULL;
	size_t n_holders = 0, n = 0;
	char name[480];
	int r;

	r = find_living(context, uid, name, sizeof(name), err);
	if (r > 0)
		return stow_err_set(err, EBUSY, "claim %s is still in use by %s", uid, name);
	if (r == 0)
		r = stow_ledger_holders(context->ledger, uid, &holders, &n_holders, err);
	if (r == 0)
		r = stow_ledger_claim(context->ledger, uid, &shares, &n, err);
	if (r == 0)
		r = delete_all(context, holders, n_holders, "reclaimed",
			       "its container ended without a poststop", err);
	if (r >= 0)
		r = delete_all(context, shares, n, "dropped", "the claim was unprepared", err);
	for (size_t i = 0; i < n; i++) {
		*ret_cpus |= shares[i]->exclusive;
		*ret_pages |= shares[i]->n_pages > 0;
	}
	stow_records_free(holders, n_holders);
	stow_records_free(shares, n);
	return r;
}

int stow_claim_drop(const struct stow_grant_context *context, const char *uid, struct stow_err *err)
{
	static const struct stow_apply_options options = { 0 };
	struct stow_first first = { .err = err };
	bool cpus = false, pages = false;
	int r, dropped;

	r = stow_claim_check_uid(uid, "the claim's UID", err);
	if (r == 0)
		r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	dropped = drop_locked(context, uid, &cpus, &pages, err);
	r = stow_ledger_end(context->ledger, dropped, err);
	if (r < 0)
		return r;
	if (pages)
		stow_first_note(&first,
				stow_pool_settle_all(context->root, context->ledger, first.err));
	if (cpus)
		stow_first_note(&first, stow_apply(context, &options, NULL, first.err));
	return first.code ? first.code : dropped;
}

/* --- listing -------------------------------------------------------------- */

static int add_listed(struct stow_claim_list *list, const struct stow_record *share)
{
	struct stow_claim_listed *listed = &list->list[list->n++];

	listed->share = share;
	for (size_t i = 0; i < list->n_records; i++) {
		const struct stow_record **at = NULL;

		if (!stow_record_holds(list->records[i], share->key))
			continue;
		at = STOW_APPEND(listed->holders, listed->n_holders);
		if (!at)
			return -ENOMEM;
		*at = list->records[i];
	}
	return 0;
}

int stow_claim_list(const struct stow_grant_context *context, const char *uid,
		    struct stow_claim_list *ret, struct stow_err *err)
{
	struct stow_claim_list list = { 0 };
	int r;

	r = uid ? stow_ledger_claim_whole(context->ledger, uid, &list.records, &list.n_records, err)
		: stow_ledger_records(context->ledger, NULL, &list.records, &list.n_records, err);
	if (r < 0)
		return r;
	list.list = calloc(list.n_records + 1, sizeof(*list.list));
	if (!list.list)
		r = -ENOMEM;
	for (size_t i = 0; i < list.n_records && r == 0; i++)
		if (stow_record_is_share(list.records[i]) &&
		    (!uid || strcmp(list.records[i]->claim->uid, uid) == 0))
			r = add_listed(&list, list.records[i]);
	if (r < 0) {
		stow_claim_list_done(&list);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = list;
	return 0;
}

void stow_claim_list_done(struct stow_claim_list *list)
{
	for (size_t i = 0; i < list->n; i++)
		free(list->list[i].holders);
	free(list->list);
	stow_records_free(list->records, list->n_records);
	*list = (struct stow_claim_list){ 0 };
}
