// SPDX-License-Identifier: Apache-2.0
/* Sending fences to agents. */

#include "rpc/log.h"
#include "scheduler/control/control.h"

void scheduler_fences_notify(struct scheduler *s, struct stow_machine *machine)
{
	PbDirective directive = PB_DIRECTIVE__INIT;
	PbSetFence set = PB_SET_FENCE__INIT;
	char text[STOW_IDSET_MAX] = "";

	if (machine->fenced)
		stow_idset_format(machine->fenced, text, sizeof(text));
	set.numa_nodes = text;
	directive.kind_case = PB_DIRECTIVE__KIND_FENCE;
	directive.fence = &set;
	scheduler_directive_send(s, machine, &directive, 0);
	scheduler_news(s);
	stow_log(STOW_LOG_NOTICE, "node fenced", stow_text("node", machine->name),
		 stow_text("numa_nodes", text[0] ? text : "none"));
}
