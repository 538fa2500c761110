/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/wanted.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/hash.h"
#include "base/math.h"
#include "base/parse.h"
#include "cgroup/limits.h"

/* A container, and a sentence for its claim's condition. */
struct finding {
	char *id, *text; /* `text` NULL: none */
};

struct reading {
	struct finding *drifts; /* containers that do not have what was promised */
	size_t n_drifts;
	struct finding *limits; /* containers of claims, and which limit is above the claim */
	size_t n_limits;
	struct agent_drain_eviction *evictions;
	size_t n_evictions;
};

static void findings_free(struct finding *list, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		free(list[i].id);
		free(list[i].text);
	}
	free(list);
}

static void reading_done(struct reading *r)
{
	findings_free(r->drifts, r->n_drifts);
	findings_free(r->limits, r->n_limits);
	free(r->evictions);
}

static const struct finding *find(const struct finding *list, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].id && strcmp(list[i].id, id) == 0)
			return &list[i];
	return NULL;
}

/* Return the first sentence about a container of a share; NULL: none. */
static const char *text_of(const struct finding *list, size_t n,
			   const struct stow_claim_listed *listed)
{
	const char *text = NULL;

	for (size_t h = 0; h < listed->n_holders && !text; h++) {
		const struct finding *found = find(list, n, listed->holders[h]->id);

		text = found ? found->text : NULL;
	}
	return text;
}

/* Describe what a container does not have. NULL: it has all. The caller frees it. */
static char *describe(const PbContainer *container)
{
	const char *name = container->name[0] ? container->name : container->id;
	char *text = NULL;
	int n = 0;

	if (container->drift == PB_DRIFT_REFUSED)
		n = asprintf(&text,
			     "another program has changed the CPUs or NUMA nodes of container "
			     "%.128s",
			     name);
	else if (container->partition == PB_PARTITION_STATE_INVALID)
		n = asprintf(&text, "the CPUs of container %.128s are not isolated: %.200s", name,
			     container->partition_reason);
	return n < 0 ? NULL : text;
}

static int read_drifts(struct agent_publisher *publisher, struct reading *ret)
{
	struct agent_published published;
	int r = 0;

	agent_publisher_borrow(publisher, &published);
	for (size_t i = 0; published.report && i < published.report->n_containers && r == 0; i++) {
		char *text = describe(published.report->containers[i]);
		struct finding *drift = text ? STOW_APPEND(ret->drifts, ret->n_drifts) : NULL;

		if (drift) {
			drift->text = text;
			drift->id = strdup(published.report->containers[i]->id);
		} else {
			free(text);
		}
		r = text && !(drift && drift->id) ? -ENOMEM : 0;
	}
	agent_publisher_return(publisher);
	return r;
}

/* Describe a memory limit that is above what the container's claims promise: a pod that is resized
 * gets it at once, the promise stays. NULL: it is not. The caller frees it. */
static char *describe_limit(struct stow_root *root, const struct stow_record *holder)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	char limit_text[32], promised_text[32], *text;
	uint64_t limit, promised = 0;
	int version;

	for (size_t i = 0; i < holder->n_held; i++)
		promised = stow_saturating_add(promised, holder->held[i].memory);
	if (!promised || stow_cgroup_open(root, &holder->cgroup, &cgroup, NULL) < 0)
		return NULL;
	version = cgroup->at[STOW_CGROUP_MEMORY].version;
	limit = stow_cgroup_limit(cgroup, STOW_CGROUP_MEMORY, stow_memory_limit_name(version));
	if (limit == UINT64_MAX || limit <= promised)
		return NULL;
	if (asprintf(&text,
		     "container %.128s may use %s of memory, its claims promise %s: more than that "
		     "may be missing",
		     holder->name[0] ? holder->name : holder->id,
		     stow_format_size(limit, limit_text, sizeof(limit_text)),
		     stow_format_size(promised, promised_text, sizeof(promised_text))) < 0)
		return NULL;
	return text;
}

/* Look at the limit of each container of claims: once, although it may hold several shares. */
static int read_limits(struct stow_root *root, const struct stow_claim_list *claims,
		       struct reading *ret)
{
	for (size_t i = 0; i < claims->n; i++)
		for (size_t h = 0; h < claims->list[i].n_holders; h++) {
			const struct stow_record *holder = claims->list[i].holders[h];
			struct finding *limit;

			if (find(ret->limits, ret->n_limits, holder->id))
				continue;
			limit = STOW_APPEND(ret->limits, ret->n_limits);
			if (!limit)
				return -ENOMEM;
			limit->id = strdup(holder->id);
			if (!limit->id)
				return -ENOMEM;
			limit->text = describe_limit(root, holder);
		}
	return 0;
}

static struct agent_wanted_claim *claim_of(struct agent_wanted *wanted,
					   const struct stow_record *share)
{
	struct agent_wanted_claim *claim;

	for (size_t i = 0; i < wanted->n; i++)
		if (strcmp(wanted->list[i].uid, share->claim->uid) == 0)
			return &wanted->list[i];
	claim = STOW_APPEND(wanted->list, wanted->n);
	if (!claim)
		return NULL;
	claim->uid = strdup(share->claim->uid);
	claim->ns = strdup(share->ns);
	claim->name = strdup(share->name);
	return claim->uid && claim->ns && claim->name ? claim : NULL;
}

static int add_share(struct agent_wanted *wanted, const struct reading *r,
		     const struct stow_claim_listed *listed)
{
	struct agent_wanted_claim *claim = claim_of(wanted, listed->share);
	const char *drift = text_of(r->drifts, r->n_drifts, listed);
	const char *above = drift ? NULL : text_of(r->limits, r->n_limits, listed);
	struct agent_conditions_share *share;

	if (!claim)
		return -ENOMEM;
	if (claim->n == STOW_CLAIM_SHARES_MAX)
		return 0;
	share = &claim->shares[claim->n++];
	share->id = strdup(listed->share->claim->share);
	share->drift = drift ? strdup(drift) : NULL;
	share->above = above ? strdup(above) : NULL;
	for (size_t i = 0; i < r->n_evictions; i++)
		share->evict |= strcmp(r->evictions[i].uid, claim->uid) == 0 &&
				strcmp(r->evictions[i].share, listed->share->claim->share) == 0;
	claim->evict |= share->evict;
	return share->id && (!drift || share->drift) && (!above || share->above) ? 0 : -ENOMEM;
}

int agent_wanted_read(struct agent_policy *policy, struct agent_publisher *publisher,
		      struct agent_drain_table *drains, struct agent_wanted *ret,
		      struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(reading_done) struct reading reading = { 0 };
	struct stow_grant_context context = agent_policy_context(policy);
	struct stow_claim_list claims = { 0 };
	struct agent_wanted wanted = { 0 };
	int r = stow_ledger_open(context.root, false, &ledger, err);

	context.ledger = ledger;
	if (r == -ENOENT)
		r = 0;
	else if (r == 0)
		r = stow_claim_list(&context, NULL, &claims, err);
	if (r < 0)
		return r;
	r = read_drifts(publisher, &reading);
	if (r == 0)
		r = read_limits(context.root, &claims, &reading);
	if (r == 0)
		r = agent_drain_evictions(drains, &reading.evictions, &reading.n_evictions);
	for (size_t i = 0; i < claims.n && r == 0; i++)
		r = add_share(&wanted, &reading, &claims.list[i]);
	stow_claim_list_done(&claims);
	if (r < 0) {
		agent_wanted_done(&wanted);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = wanted;
	return 0;
}

void agent_wanted_done(struct agent_wanted *wanted)
{
	for (size_t i = 0; i < wanted->n; i++) {
		struct agent_wanted_claim *claim = &wanted->list[i];

		for (size_t s = 0; s < claim->n; s++) {
			free((char *)(uintptr_t)claim->shares[s].id);
			free((char *)(uintptr_t)claim->shares[s].drift);
			free((char *)(uintptr_t)claim->shares[s].above);
		}
		free(claim->uid);
		free(claim->ns);
		free(claim->name);
	}
	free(wanted->list);
	*wanted = (struct agent_wanted){ 0 };
}

/* Add a text, or that there is none, to a sum in which the order counts. */
static void add(uint64_t *sum, const char *text)
{
	*sum = *sum * 31 + (text ? stow_hash_string(text) : 1);
}

uint64_t agent_wanted_digest(const struct agent_wanted_claim *claim, const char *refusal)
{
	uint64_t sum = 0;

	for (size_t i = 0; claim && i < claim->n; i++) {
		add(&sum, claim->shares[i].id);
		add(&sum, claim->shares[i].drift);
		add(&sum, claim->shares[i].above);
		add(&sum, claim->shares[i].evict ? "evict" : "");
	}
	add(&sum, refusal);
	return sum ? sum : 1;
}
