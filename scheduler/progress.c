// SPDX-License-Identifier: Apache-2.0
#include "scheduler/progress.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

/* --- texts -------------------------------------------------------------------------------------- */

/* Bytes of the character at `p`, or 0: what The Unicode Standard's table 3-7 has not, and U+0080 to
 * U+009F, which some terminals obey. */
static size_t character(const unsigned char *p)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n;

	if (p[0] < 0x80)
		return p[0] >= 0x20 && p[0] != 0x7f;
	if (p[0] < 0xc2 || p[0] > 0xf4)
		return 0;
	n = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
	if (p[0] == 0xc2 || p[0] == 0xe0)
		low = 0xa0;
	else if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xed)
		high = 0x9f;
	else if (p[0] == 0xf4)
		high = 0x8f;
	if (p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if (p[i] < 0x80 || p[i] > 0xbf)
			return 0;
	return n;
}

void scheduler_clean_text(char *text, size_t most)
{
	size_t at = 0;

	while (text[at]) {
		size_t n = character((const unsigned char *)text + at);

		if (at + (n ? n : 1) > most) {
			text[at] = '\0';
			return;
		}
		if (!n)
			text[at] = '?';
		at += n ? n : 1;
	}
}

static void drop_unknown(ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->n_unknown_fields; i++)
		free(message->unknown_fields[i].data);
	free(message->unknown_fields);
	message->unknown_fields = NULL;
	message->n_unknown_fields = 0;
}

/* A field's members: one, several, or none (of a oneof, or a message that is not there). */
static void **members(ProtobufCMessage *message, const ProtobufCFieldDescriptor *field, size_t *ret)
{
	char *base = (char *)message;
	void **one = (void **)(void *)(base + field->offset);

	if (field->label == PROTOBUF_C_LABEL_REPEATED) {
		*ret = *(size_t *)(void *)(base + field->quantifier_offset);
		return *one;
	}
	if (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF)
		*ret = *(uint32_t *)(void *)(base + field->quantifier_offset) == field->id;
	else
		*ret = *one != NULL;
	return one;
}

void scheduler_clean(ProtobufCMessage *message, size_t most)
{
	const ProtobufCMessageDescriptor *type = message->descriptor;

	drop_unknown(message);
	for (unsigned int i = 0; i < type->n_fields; i++) {
		bool text = type->fields[i].type == PROTOBUF_C_TYPE_STRING;
		void **list;
		size_t n;

		if (!text && type->fields[i].type != PROTOBUF_C_TYPE_MESSAGE)
			continue;
		list = members(message, &type->fields[i], &n);
		for (size_t j = 0; j < n; j++) {
			if (!text)
				scheduler_clean(list[j], most);
			else if (list[j] && *(char *)list[j])
				scheduler_clean_text(list[j], most);
		}
	}
}

/* --- copies ------------------------------------------------------------------------------------- */

void *scheduler_copy(const ProtobufCMessage *message)
{
	size_t len = protobuf_c_message_get_packed_size(message);
	_cleanup_free_ uint8_t *bytes = malloc(len + 1);

	if (!bytes)
		return NULL;
	protobuf_c_message_pack(message, bytes);
	return protobuf_c_message_unpack(message->descriptor, NULL, len, bytes);
}

void scheduler_set_text(char **text, const char *value)
{
	char *copy = value[0] ? strdup(value) : NULL;

	if (*text && *text != protobuf_c_empty_string)
		free(*text);
	*text = copy ? copy : (char *)(uintptr_t)protobuf_c_empty_string;
}

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
	char **notes = reallocarray(plan->notes, plan->n_notes + 1, sizeof(*notes));

	if (!notes)
		return;
	plan->notes = notes;
	notes[plan->n_notes] = strdup(note);
	plan->n_notes += notes[plan->n_notes] != NULL;
}

static void cut_plan(PbDrainPlan *plan)
{
	bool much = cut(plan->blocks, &plan->n_blocks, SCHEDULER_BLOCKS_MAX);

	much |= cut(plan->affected, &plan->n_affected, SCHEDULER_AFFECTED_MAX);
	while (plan->n_notes > SCHEDULER_NOTES_MAX)
		scheduler_set_text(&plan->notes[--plan->n_notes], "");
	if (much)
		add_note(plan, "the plan is too long to be shown whole; its sums are right");
}

/* Numbers in list format, or nothing; cut behind a whole one. */
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

	/* The only long text goes its own way. */
	if (in->blocks_gone[0]) {
		gone = strdup(in->blocks_gone);
		if (!gone)
			return NULL;
		clean_list(gone);
	}
	without.blocks_gone = (char *)(uintptr_t)protobuf_c_empty_string;
	out = scheduler_copy(&without.base);
	if (out) {
		cut(out->culprits, &out->n_culprits, SCHEDULER_CULPRITS_MAX);
		if (out->plan)
			cut_plan(out->plan);
		scheduler_clean(&out->base, SCHEDULER_TEXT_MAX);
		if (gone && gone[0])
			out->blocks_gone = STOW_TAKE_PTR(gone);
	}
	free(gone);
	return out;
}
