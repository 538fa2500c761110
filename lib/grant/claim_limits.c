// SPDX-License-Identifier: Apache-2.0
#include "grant/claim_limits.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/limits.h"
#include "grant/enforce.h"

static bool has_seen(struct stow_record *const *records, size_t n, const char *pod, int64_t share)
{
	for (size_t i = 0; i < n; i++)
		for (size_t h = 0; h < records[i]->n_held && strcmp(records[i]->pod, pod) == 0; h++)
			if (records[i]->held[h].key == share)
				return true;
	return false;
}

/* Sum the pages of one size of all shares that containers of the pod hold, each share once. */
static uint64_t pages_of_pod(struct stow_record *const *holders, size_t n, const char *pod,
			     uint64_t page_size)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n; i++)
		for (size_t h = 0; h < holders[i]->n_held && strcmp(holders[i]->pod, pod) == 0;
		     h++) {
			const struct stow_held *held = &holders[i]->held[h];

			for (size_t p = 0;
			     p < held->n_pages && !has_seen(holders, i, pod, held->key); p++)
				if (held->pages[p].size == page_size)
					sum += held->pages[p].count;
		}
	return sum;
}

static int raise_pod(const struct stow_record *record, const struct stow_cgroup *cgroup,
		     struct stow_record *const *holders, size_t n, struct stow_err *err)
{
	struct stow_page_request pages[STOW_POOLS_MAX];
	size_t sizes = stow_record_pages(record, pages);
	int r = 0;

	for (size_t p = 0; p < sizes && r >= 0 && record->pod[0]; p++)
		r = stow_enforce_pod_hugetlb(
			cgroup, record->pod, pages[p].size,
			pages[p].size * pages_of_pod(holders, n, record->pod, pages[p].size), err);
	return r < 0 ? r : 0;
}

int stow_claim_raise_pod(const struct stow_grant_context *context, const struct stow_record *record,
			 const struct stow_cgroup *cgroup, struct stow_err *err)
{
	struct stow_page_request pages[STOW_POOLS_MAX];
	struct stow_record **holders;
	size_t n;
	int r;

	if (!record->pod[0] || !stow_record_pages(record, pages))
		return 0;
	r = stow_ledger_holders(context->ledger, NULL, &holders, &n, err);
	if (r < 0)
		return r;
	r = raise_pod(record, cgroup, holders, n, err);
	stow_records_free(holders, n);
	return r;
}

/* Return whether both limits, of faults and of reservations, are `bytes`, where the kernel has
 * them. */
static bool limits_are(const struct stow_cgroup *cgroup, uint64_t page_size, uint64_t bytes)
{
	const typeof(cgroup->at[0]) *at = &cgroup->at[STOW_CGROUP_HUGETLB];

	for (int reservation = 0; reservation < 2 && at->version; reservation++) {
		char name[64];

		stow_hugetlb_limit_name(at->version, page_size, reservation, name, sizeof(name));
		if (stow_root_exists(at->dir, "%s", name) == 1 &&
		    stow_cgroup_limit(cgroup, STOW_CGROUP_HUGETLB, name) != bytes)
			return false;
	}
	return true;
}

static int keep_one(const struct stow_grant_context *context, const struct stow_record *record,
		    struct stow_record *const *holders, size_t n, struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_page_request pages[STOW_POOLS_MAX];
	size_t sizes = stow_record_pages(record, pages);
	int r;

	if (!sizes || record->state != STOW_STATE_ACTIVE ||
	    stow_cgroup_open(context->root, &record->cgroup, &cgroup, NULL) < 0)
		return 0;
	r = raise_pod(record, cgroup, holders, n, err);
	for (size_t p = 0; p < sizes && r >= 0; p++) {
		uint64_t bytes = pages[p].size * pages[p].count;

		if (!limits_are(cgroup, pages[p].size, bytes))
			r = stow_enforce_hugetlb(cgroup, pages[p].size, bytes, err);
	}
	return r < 0 ? r : 0;
}

int stow_claim_keep_limits(const struct stow_grant_context *context, struct stow_err *err)
{
	struct stow_first first = { .err = err };
	struct stow_record **holders;
	size_t n;
	int r;

	r = stow_ledger_holders(context->ledger, NULL, &holders, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n; i++)
		stow_first_note(&first, keep_one(context, holders[i], holders, n, first.err));
	stow_records_free(holders, n);
	return first.code;
}

void stow_claim_paths_free(char **paths, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(paths[i]);
	free(paths);
}

int stow_claim_limit_paths(const struct stow_grant_context *context, char ***ret, size_t *ret_n,
			   struct stow_err *err)
{
	struct stow_record **holders;
	char **paths = NULL;
	size_t n, n_paths = 0;
	int r;

	r = stow_ledger_holders(context->ledger, NULL, &holders, &n, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++) {
		_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
		struct stow_page_request pages[STOW_POOLS_MAX];

		if (holders[i]->state == STOW_STATE_ACTIVE &&
		    stow_record_pages(holders[i], pages) &&
		    stow_cgroup_open(context->root, &holders[i]->cgroup, &cgroup, NULL) == 0)
			r = stow_enforce_hugetlb_paths(cgroup, holders[i]->pod, &paths, &n_paths,
						       err);
	}
	stow_records_free(holders, n);
	if (r < 0) {
		stow_claim_paths_free(paths, n_paths);
		return r;
	}
	*ret = paths;
	*ret_n = n_paths;
	return 0;
}
