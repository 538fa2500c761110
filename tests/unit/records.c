// SPDX-License-Identifier: Apache-2.0
#include "unit.h"

#include "records.h"

struct stow_record *record_new(const char *id, bool exclusive, const char *cpus, int node)
{
	struct stow_record *rec = calloc(1, sizeof(*rec));

	rec->id = strdup(id);
	rec->state = STOW_STATE_ACTIVE;
	rec->exclusive = exclusive;
	stow_idset_parse(cpus, &rec->cpus, NULL);
	stow_idset_add(&rec->nodes, node);
	rec->n_pages = 1;
	rec->pages[0] = (struct stow_page_request){ .size = 2 << 20, .count = 5 };
	rec->shares = calloc(1, sizeof(*rec->shares));
	rec->n_shares = 1;
	rec->shares[0] = (struct stow_share){ .node = node,
					      .cpus = (uint32_t)stow_idset_count(&rec->cpus),
					      .memory = 1 << 30,
					      .pages = { 5 } };
	return rec;
}

int record_put(struct stow_ledger *l, struct stow_record *rec)
{
	int r;

	assert_int_equal(stow_ledger_begin(l, NULL), 0);
	r = stow_ledger_insert(l, rec, NULL);
	if (r < 0)
		stow_ledger_rollback(l);
	else
		assert_int_equal(stow_ledger_commit(l, NULL), 0);
	return r;
}

void exclusive_is(struct stow_ledger *l, const char *cpus)
{
	struct stow_idset set;
	char text[256];

	assert_int_equal(stow_ledger_exclusive(l, &set, NULL), 0);
	assert_string_equal(stow_idset_format(&set, text, sizeof(text)), cpus);
}
