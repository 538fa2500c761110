// SPDX-License-Identifier: Apache-2.0
#include "grant/lease.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define AWAIT_STEP  (20 * STOW_MILLISECOND)
#define AWAIT_STEPS 100

static int find(const struct stow_grant_context *context, const char *id,
		struct stow_record **ret_record, struct stow_err *err)
{
	return stow_ledger_reservation(context->ledger, id, ret_record, err);
}

int stow_lease_take(const struct stow_grant_context *context, const struct stow_lease *lease,
		    struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
	struct stow_request request = { .policy = lease->policy };
	struct stow_subject subject = { .ns = lease->ns, .name = lease->name };
	int r;

	r = find(context, lease->id, &record, err);
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
	r = find(context, id, &record, err);
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

/* --- for the hook --------------------------------------------------------- */

bool stow_agent_lives(struct stow_root *root)
{
	/* Query the lock only: taking it could keep an agent that starts meanwhile from getting
	 * it. */
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	_cleanup_close_ int fd =
		stow_root_openat(root, O_RDONLY, 0, NULL, "%s", STOW_AGENT_LOCK_PATH);

	return fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;
}

/* Do the same, and copy the file's text to `text`. */
static bool agent_lives(struct stow_root *root, char *text, size_t size)
{
	text[0] = '\0';
	if (!stow_agent_lives(root))
		return false;
	return stow_root_read_buf(root, text, size, NULL, "%s", STOW_AGENT_LOCK_PATH) >= 0;
}

void stow_lease_await(const struct stow_grant_context *context,
		      const struct stow_reservation_name *name)
{
	char text[320];

	for (int i = 0; i < AWAIT_STEPS; i++) {
		_cleanup_(stow_record_free_ptr) struct stow_record *record = NULL;
		const char *space;

		if (find(context, name->id, &record, NULL) < 0 || record ||
		    !agent_lives(context->root, text, sizeof(text)))
			return;
		space = strchr(text, ' ');
		if (space && strcmp(space + 1, name->machine) != 0)
			return; /* it will never come here */
		stow_clock_sleep(AWAIT_STEP);
	}
}

int stow_lease_missing(const struct stow_grant_context *context,
		       const struct stow_reservation_name *name, const struct stow_record *holder,
		       struct stow_err *err)
{
	char text[320];
	const char *here;

	if (holder && holder->state == STOW_STATE_LEASE)
		return stow_err_set(err, ESTALE,
				    STOW_ANNOTATION_PREFIX
				    "reservation: %s has run out; ask for a new one",
				    name->id);
	if (holder)
		return stow_err_set(
			err, EBUSY,
			STOW_ANNOTATION_PREFIX
			"reservation: container %s has %s already; each container needs "
			"one of its own",
			holder->id, name->id);
	if (agent_lives(context->root, text, sizeof(text))) {
		here = strchr(text, ' ');
		if (here && strcmp(here + 1, name->machine) != 0)
			return stow_err_set(err, EXDEV,
					    STOW_ANNOTATION_PREFIX
					    "reservation: %s was made on node %s; this is node %s",
					    name->id, name->machine, here + 1);
	}
	return stow_err_set(err, ENOENT,
			    STOW_ANNOTATION_PREFIX
			    "reservation: there is no %s on this machine: it has run out, was "
			    "released, or was never made (for node %s)",
			    name->id, name->machine);
}
