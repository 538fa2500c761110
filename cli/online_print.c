// SPDX-License-Identifier: Apache-2.0
#include "cli/online.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/blame.h"
#include "cli/json_writer.h"
#include "cli/message.h"
#include "drain/message.h"

static const char *const words[ONLINE_STATES] = { "done", "already", "failed", "planned" };

void online_results_done(struct online_results *results)
{
	for (size_t i = 0; i < results->n; i++)
		stow_culprits_done(&results->list[i].culprits);
	free(results->list);
	*results = (struct online_results){ 0 };
}

void online_print(const struct online_asked *asked, const struct online_result *result)
{
	if (asked->json || asked->quiet)
		return;
	printf("%" PRIu64 ": ", result->block->id);
	if (result->state == ONLINE_FAILED)
		printf("failed: %s\n", result->reason);
	else if (result->state == ONLINE_PLANNED)
		printf("would %s\n", asked->offline ? "go offline" : "come online");
	else
		printf("%s\n", words[result->state]);
	if (result->blamed && *result->unknown)
		printf("    %s\n", result->unknown);
	else if (result->blamed)
		cli_blame_print(&result->culprits);
	fflush(stdout);
}

void online_print_sum(const struct online_asked *asked, const struct stow_memblocks *list,
		      const struct online_results *results)
{
	const size_t *count = results->count;
	char size[32];

	if (asked->json || asked->quiet)
		return;
	if (asked->dry_run)
		printf("%zu blocks, %s, and %zu already; nothing was changed\n",
		       count[ONLINE_PLANNED],
		       stow_format_size(count[ONLINE_PLANNED] * list->block_size, size,
					sizeof(size)),
		       count[ONLINE_ALREADY]);
	else
		printf("%zu done, %zu already, %zu failed\n", count[ONLINE_DONE],
		       count[ONLINE_ALREADY], count[ONLINE_FAILED]);
}

/* What kept the block online, as the suspects of `drain --explain`; null: it was not looked for, or
 * could not be found out. */
static void put_culprits(struct json_writer *w, json_object *o, const struct online_result *result)
{
	PbDrainProgress *message = NULL;
	json_object *array;

	if (!result->blamed || *result->unknown) {
		json_object_object_add(o, "culprits", NULL);
		return;
	}
	array = json_object_new_array();
	message = stow_drain_suspects_message(&result->culprits, result->block->id);
	if (!message)
		w->ok = false;
	for (size_t i = 0; message && i < message->n_culprits; i++)
		json_append(w, array, cli_message_json(&message->culprits[i]->base));
	pb_drain_progress__free_unpacked(message, NULL);
	json_put(w, o, "culprits", array);
}

static json_object *result_json(struct json_writer *w, const struct stow_memblocks *list,
				const struct online_result *result)
{
	const struct stow_memblock *block = result->block;
	json_object *o = json_object_new_object();

	json_put(w, o, "block", json_object_new_uint64(block->id));
	json_put_range(w, o, block->id * list->block_size, list->block_size);
	json_put(w, o, "size", json_object_new_uint64(list->block_size));
	json_put_node(w, o, block->node);
	json_put(w, o, "result", json_object_new_string(words[result->state]));
	json_put_text(w, o, "reason", result->reason);
	put_culprits(w, o, result);
	return o;
}

int online_print_json(const struct online_asked *asked, const struct stow_memblocks *list,
		      const struct online_choice *choice, const struct online_results *results)
{
	json_object *o = json_object_new_object(), *blocks = json_object_new_array();
	struct json_writer w = { .ok = true };

	for (size_t i = 0; i < results->n; i++)
		json_append(&w, blocks, result_json(&w, list, &results->list[i]));
	json_put(&w, o, "state", json_object_new_string(asked->offline ? "offline" : "online"));
	json_put(&w, o, "dry_run", json_object_new_boolean(asked->dry_run));
	json_put(&w, o, "block_size", json_object_new_uint64(list->block_size));
	json_put(&w, o, "requested", json_object_new_uint64(choice->wanted * list->block_size));
	json_put(&w, o, "n_done", json_object_new_uint64(results->count[ONLINE_DONE]));
	json_put(&w, o, "n_already", json_object_new_uint64(results->count[ONLINE_ALREADY]));
	json_put(&w, o, "n_failed", json_object_new_uint64(results->count[ONLINE_FAILED]));
	json_put(&w, o, "n_planned", json_object_new_uint64(results->count[ONLINE_PLANNED]));
	json_put(&w, o, "blocks", blocks);
	return json_print(&w, json_with_version(o));
}
