// SPDX-License-Identifier: Apache-2.0
/*
 * Fills the machine's ledger, for measurements.
 *
 *	ledger fill N PID	N records of shared containers that live as process PID
 *	ledger forget ID	no record of ID any more
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/cgroup.h"
#include "ledger/ledger.h"

static int insert(struct stow_ledger *ledger, int number, const struct stow_pidref *ref,
		  const struct stow_cgroup *cgroup, struct stow_err *err)
{
	char id[65];
	struct stow_share share = { .node = 0, .memory = 65536 };
	struct stow_record record = {
		.state = STOW_STATE_ACTIVE,
		.id = id,
		.pod = (char *)"",
		.ns = (char *)"shop",
		.name = (char *)"web",
		.init = *ref,
		.worker = *ref,
		.cgroup = cgroup->id, /* not owned */
		.request = (char *)"shared CPUs, 64Ki memory, single-numa-node",
		.digest = (char *)"",
		.reason = (char *)"node 0: the tightest fit",
		.shares = &share,
		.n_shares = 1,
	};

	snprintf(id, sizeof(id), "%064x", (unsigned int)number);
	stow_idset_add(&record.nodes, 0);
	return stow_ledger_insert(ledger, &record, err);
}

static int fill(struct stow_root *root, struct stow_ledger *ledger, int n, pid_t pid,
		struct stow_err *err)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	struct stow_pidref ref;
	int r;

	r = stow_pidref_read(root, pid, &ref, err);
	if (r == 0)
		r = stow_cgroup_of_pid(root, pid, &cgroup, err);
	if (r == 0)
		r = stow_ledger_begin(ledger, err);
	for (int i = 0; i < n && r == 0; i++)
		r = insert(ledger, i, &ref, cgroup, err);
	return r < 0 ? r : stow_ledger_commit(ledger, err);
}

static int forget(struct stow_ledger *ledger, const char *id, struct stow_err *err)
{
	struct stow_record **records;
	size_t n;
	int r;

	r = stow_ledger_records(ledger, id, &records, &n, err);
	if (r < 0)
		return r;
	r = stow_ledger_begin(ledger, err);
	for (size_t i = 0; i < n && r >= 0; i++)
		r = stow_ledger_delete(ledger, records[i]->key, err);
	stow_records_free(records, n);
	return r < 0 ? r : stow_ledger_commit(ledger, err);
}

int main(int argc, char **argv)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	struct stow_err err = { 0 };
	int r;

	if (argc < 3) {
		fputs("usage: ledger fill N PID | forget ID\n", stderr);
		return 2;
	}
	r = stow_root_open("/", &root, &err);
	if (r == 0)
		r = stow_ledger_open(root, true, &ledger, &err);
	if (r == 0 && argc == 4 && strcmp(argv[1], "fill") == 0)
		r = fill(root, ledger, (int)strtol(argv[2], NULL, 10),
			 (pid_t)strtol(argv[3], NULL, 10), &err);
	else if (r == 0)
		r = forget(ledger, argv[2], &err);
	if (r < 0)
		fprintf(stderr, "ledger: %s\n", err.msg);
	return r < 0;
}
