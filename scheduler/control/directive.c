// SPDX-License-Identifier: Apache-2.0
/* Directives to agents. */
#include <errno.h>
#include <stdlib.h>

#include "scheduler/control/control.h"

#define OUTSTANDING_MAX 8192

/* Close the stream of an agent that does not answer. When it reconnects, its Welcome has
 * everything. */
static void hang_up(const struct stow_machine *machine)
{
	struct stow_err err;

	stow_err_set(&err, ENOBUFS, "%d directives without an answer; connect again",
		     OUTSTANDING_MAX);
	stow_rpc_close(machine->stream, &err);
}

/* Send a directive, and keep it until the agent answers. NULL: it was not sent. */
static struct stow_directive *direct(struct scheduler *s, struct stow_machine *machine,
				     PbDirective *directive)
{
	struct stow_directive *d;

	if (!machine->stream)
		return NULL; /* the next Welcome has everything */
	if (machine->n_outstanding >= OUTSTANDING_MAX) {
		hang_up(machine);
		return NULL;
	}
	d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	directive->id = d->id = ++machine->directive;
	directive->epoch = stow_store_epoch(s->store);
	d->next = machine->outstanding;
	machine->outstanding = d;
	machine->n_outstanding++;
	atomic_fetch_add(&s->directives, 1);
	stow_rpc_send(machine->stream, directive);
	return d;
}

void scheduler_directive_send(struct scheduler *s, struct stow_machine *machine,
			      PbDirective *directive, uint64_t reservation)
{
	struct stow_directive *d = direct(s, machine, directive);

	if (d)
		d->reservation = reservation;
}

void scheduler_directive_send_drain(struct scheduler *s, struct stow_machine *machine,
				    PbDirective *directive, uint64_t drain,
				    enum scheduler_order order)
{
	struct stow_directive *d = direct(s, machine, directive);

	if (d) {
		d->drain = drain;
		d->order = order;
	}
}

void scheduler_directive_forget_drain(struct scheduler *s, struct stow_machine *machine,
				      char *drain)
{
	PbCancelDrainOrder cancel = PB_CANCEL_DRAIN_ORDER__INIT;
	PbDirective directive = PB_DIRECTIVE__INIT;

	if (!machine->stream)
		return;
	cancel.id = drain;
	directive.kind_case = PB_DIRECTIVE__KIND_CANCEL_DRAIN;
	directive.cancel_drain = &cancel;
	directive.id = ++machine->directive; /* its result is ignored */
	directive.epoch = stow_store_epoch(s->store);
	stow_rpc_send(machine->stream, &directive);
}

void scheduler_directives_drop(struct stow_machine *machine)
{
	while (machine->outstanding) {
		struct stow_directive *d = machine->outstanding;

		machine->outstanding = d->next;
		free(d);
	}
	machine->n_outstanding = 0;
}

struct stow_directive *scheduler_directive_take(struct stow_machine *machine, uint64_t id)
{
	for (struct stow_directive **at = &machine->outstanding; *at; at = &(*at)->next)
		if ((*at)->id == id) {
			struct stow_directive *found = *at;

			*at = found->next;
			machine->n_outstanding--;
			return found;
		}
	return NULL;
}
