// SPDX-License-Identifier: Apache-2.0
#include "grant/lease_await.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "grant/agent.h"

#define AWAIT_STEP  (20 * STOW_MILLISECOND)
#define AWAIT_STEPS 100

/* Return whether an agent lives, and the lock's text goes to `text`. */
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

		if (stow_ledger_reservation(context->ledger, name->id, &record, NULL) < 0 ||
		    record || !agent_lives(context->root, text, sizeof(text)))
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
				    "reservation: %s has expired; make a new one",
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
			    "reservation: there is no %s on this machine: it has expired, was "
			    "released, or was never made (for node %s)",
			    name->id, name->machine);
}
