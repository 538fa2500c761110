// SPDX-License-Identifier: Apache-2.0
/* What a container's record has from the shares of claims that it holds. */
#include <errno.h>
#include <string.h>

#include "ledger/ledger.h"
#include "ledger/sql.h"

int stow_ledger_hold(struct stow_ledger *ledger, int64_t key, int64_t share, struct stow_err *err)
{
	int r;

	r = stow_sql_run(ledger, err, "INSERT OR IGNORE INTO hold VALUES(?, ?)", "ii", key, share);
	return r < 0 ? r : sqlite3_changes(ledger->db) > 0;
}

bool stow_record_holds(const struct stow_record *record, int64_t share)
{
	for (size_t i = 0; i < record->n_held; i++)
		if (record->held[i].key == share)
			return true;
	return false;
}

/* Return what a share has on a node: all of it, because each share is on one node. */
static uint64_t promise(const struct stow_held *held, int node, uint64_t page_size)
{
	uint64_t sum = 0;

	if (!stow_idset_has(&held->at, node))
		return 0;
	if (!page_size)
		return held->memory;
	for (size_t i = 0; i < held->n_pages; i++)
		if (held->pages[i].size == page_size)
			sum += held->pages[i].count;
	return sum;
}

uint64_t stow_held_used(const struct stow_record *record, int64_t share, int node,
			uint64_t page_size, uint64_t used)
{
	uint64_t mine = 0, all = 0;

	for (size_t i = 0; i < record->n_held; i++) {
		uint64_t one = promise(&record->held[i], node, page_size);

		all += one;
		if (record->held[i].key == share)
			mine = one;
	}
	return mine ? (uint64_t)((long double)used * ((long double)mine / (long double)all)) : 0;
}

void stow_record_at(const struct stow_record *record, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; i < record->n_shares; i++)
		stow_idset_add(ret, record->shares[i].node);
	for (size_t i = 0; i < record->n_held; i++)
		stow_idset_or(ret, &record->held[i].at);
}

/* Add pages of one size to a list by ascending size. */
static size_t add_pages(struct stow_page_request *list, size_t n,
			const struct stow_page_request *more)
{
	size_t at = 0;

	while (at < n && list[at].size < more->size)
		at++;
	if (at < n && list[at].size == more->size) {
		list[at].count += more->count;
		return n;
	}
	if (n == STOW_POOLS_MAX)
		return n;
	memmove(&list[at + 1], &list[at], (n - at) * sizeof(*list));
	list[at] = *more;
	return n + 1;
}

size_t stow_record_pages(const struct stow_record *record,
			 struct stow_page_request ret[static STOW_POOLS_MAX])
{
	size_t n = 0;

	for (size_t i = 0; i < record->n_pages; i++)
		n = add_pages(ret, n, &record->pages[i]);
	for (size_t i = 0; i < record->n_held; i++)
		for (size_t p = 0; p < record->held[i].n_pages; p++)
			n = add_pages(ret, n, &record->held[i].pages[p]);
	return n;
}
