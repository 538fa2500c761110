// SPDX-License-Identifier: Apache-2.0
/* Directives for drains. */
#include <stddef.h>

#include "scheduler/drain/drain_internal.h"

void scheduler_drain_order(struct scheduler *s, struct scheduler_drain *d,
			   enum scheduler_order what)
{
	PbCancelDrainOrder cancel = PB_CANCEL_DRAIN_ORDER__INIT;
	PbOrderDrain begin = PB_ORDER_DRAIN__INIT;
	PbDirective directive = PB_DIRECTIVE__INIT;

	if (what == SCHEDULER_ORDER_CANCEL) {
		cancel.id = d->message->id;
		directive.kind_case = PB_DIRECTIVE__KIND_CANCEL_DRAIN;
		directive.cancel_drain = &cancel;
	} else {
		begin.id = d->message->id;
		begin.spec = d->message->spec;
		begin.plan = what == SCHEDULER_ORDER_PLAN;
		directive.kind_case = PB_DIRECTIVE__KIND_DRAIN;
		directive.drain = &begin;
	}
	scheduler_directive_send_drain(s, d->machine, &directive, d->id, what);
}

void scheduler_drain_acknowledge(struct scheduler *s, struct scheduler_drain *d)
{
	struct stow_machine *machine = stow_fleet_find(s->fleet, d->message->node);

	if (d->taken && machine)
		scheduler_directive_forget_drain(s, machine, d->message->id);
	d->taken = false;
}
