// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/progress.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "rpc/copy.h"
#include "rpc/texts.h"
#include "scheduler/fleet/message.h"

static bool cut(void *list, size_t *n, size_t most)
{
	ProtobufCMessage **messages = list;
	bool much = *n > most;

	while (*n > most)
		protobuf_c_message_free_unpacked(messages[--*n], NULL);
	return much;
}

static void add_note(PbDrainPlan *plan, const char *note)
{
	char *copy = strdup(note), **added = copy ? STOW_APPEND(plan->notes, plan->n_notes) : NULL;

	if (added)
		*added = copy;
	else
		free(copy);
}

static void cut_plan(PbDrainPlan *plan)
{
	bool much = cut(plan->blocks, &plan->n_blocks, SCHEDULER_BLOCKS_MAX);

	much |= cut(plan->affected, &plan->n_affected, SCHEDULER_AFFECTED_MAX);
	while (plan->n_notes > SCHEDULER_NOTES_MAX)
		stow_message_set_text(&plan->notes[--plan->n_notes], "");
	if (much)
		add_note(plan, "the plan is too long to be shown whole; its sums are right");
}

/* Check a list of numbers; an invalid one becomes "", a long one is cut after a whole number. */
static void clean_list(char *text)
{
	size_t len = strlen(text);

	if (strspn(text, "0123456789,-") != len)
		text[0] = '\0';
	else if (len > SCHEDULER_LIST_MAX)
		for (len = SCHEDULER_LIST_MAX; text[0]; len--)
			if (len == 0 || text[len] == ',') {
				text[len] = '\0';
				break;
			}
}

PbDrainProgress *scheduler_progress_copy(const PbDrainProgress *in)
{
	PbDrainProgress without = *in, *out;
	char *gone = NULL;

	/* The only long text; it has a limit of its own. */
	if (in->blocks_gone[0]) {
		gone = strdup(in->blocks_gone);
		if (!gone)
			return NULL;
		clean_list(gone);
	}
	without.blocks_gone = (char *)(uintptr_t)protobuf_c_empty_string;
	out = stow_rpc_message_copy(&without);
	if (out) {
		cut(out->culprits, &out->n_culprits, SCHEDULER_CULPRITS_MAX);
		if (out->plan)
			cut_plan(out->plan);
		stow_texts_clean(&out->base, SCHEDULER_TEXT_MAX);
		if (gone && gone[0])
			out->blocks_gone = STOW_TAKE_PTR(gone);
	}
	free(gone);
	return out;
}
