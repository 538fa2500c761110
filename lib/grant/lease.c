// SPDX-License-Identifier: Apache-2.0
#include "grant/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

int stow_lease_take(const struct stow_grant_context *context, const struct stow_lease *lease,
		    struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_request request = { .policy = lease->policy };
	struct stow_subject subject = { .ns = lease->ns, .name = lease->name };
	int r;

	r = stow_ledger_reservation(context->ledger, lease->id, &record, err);
	if (r < 0)
		return r;
	if (record)
		return 0;
	subject.kind = STOW_LEASE_RESERVATION;
	subject.id = "";
	subject.reservation = lease->id;
	subject.lifetime = lease->lifetime;
	request.cpus = lease->cpus;
	request.cpu_mode = lease->exclusive ? STOW_CPU_EXCLUSIVE : STOW_CPU_SHARED;
	request.memory = lease->memory;
	memcpy(request.pages, lease->pages, sizeof(request.pages));
	request.n_pages = lease->n_pages;
	request.nodes = lease->nodes; /* its nodes are fixed */
	r = stow_request_check_amounts(&request, err);
	if (r < 0)
		return r;
	return stow_grant_reserve(context, &subject, &request, NULL, 0, &record, &refusal, err);
}

/* Delete a lease. The caller has begun a transaction. */
static int drop(const struct stow_grant_context *context, const struct stow_record *record,
		const char *text, struct stow_err *err)
{
	char label[STOW_RECORD_LABEL_MAX];
	int r;

	r = stow_ledger_event(context->ledger, "expired", stow_record_label(record, label), record,
			      text, err);
	if (r == 0)
		r = stow_ledger_delete(context->ledger, record->key, err);
	return r;
}

int stow_lease_drop(const struct stow_grant_context *context, const char *id, struct stow_err *err)
{
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	int r, dropped = 0;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_reservation(context->ledger, id, &record, err);
	if (r == 0 && record && record->state == STOW_STATE_LEASE)
		r = dropped = drop(context, record, "the reservation was released", err);
	r = stow_ledger_end(context->ledger, r, err);
	return r < 0 ? r : dropped;
}

static bool listed(const char *const *ids, size_t n, const char *id)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(ids[i], id) == 0)
			return true;
	return false;
}

int stow_lease_keep_only(const struct stow_grant_context *context, const char *const *ids, size_t n,
			 struct stow_err *err)
{
	struct stow_record **records;
	size_t n_records;
	int r, dropped = 0;

	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	r = stow_ledger_records(context->ledger, NULL, &records, &n_records, err);
	if (r == 0) {
		for (size_t i = 0; i < n_records && r >= 0; i++) {
			if (records[i]->state != STOW_STATE_LEASE || !records[i]->reservation[0] ||
			    listed(ids, n, records[i]->reservation))
				continue;
			r = drop(context, records[i], "the scheduler no longer has it", err);
			dropped += r > 0;
		}
		stow_records_free(records, n_records);
	}
	r = stow_ledger_end(context->ledger, r, err);
	return r < 0 ? r : dropped;
}
