// SPDX-License-Identifier: Apache-2.0
/* Lists that the server sends in pages. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/fleet/fleet.h"

/* Return the field with the list: a response that comes in pages has only one repeated field. */
static const ProtobufCFieldDescriptor *list_of(const ProtobufCMessage *message)
{
	for (unsigned int i = 0; i < message->descriptor->n_fields; i++)
		if (message->descriptor->fields[i].label == PROTOBUF_C_LABEL_REPEATED)
			return &message->descriptor->fields[i];
	return NULL;
}

#define AT(message, at, type) ((type *)(void *)((char *)(message) + (at)))

/* Append the page's elements to those of `all`, and exchange their tokens. */
static int append(ProtobufCMessage *all, ProtobufCMessage *page)
{
	const ProtobufCFieldDescriptor *list = list_of(all);
	const ProtobufCFieldDescriptor *token =
		protobuf_c_message_descriptor_get_field_by_name(all->descriptor, "next_page_token");
	size_t *n = AT(all, list->quantifier_offset, size_t);
	size_t *more = AT(page, list->quantifier_offset, size_t);
	void ***to = AT(all, list->offset, void **), ***from = AT(page, list->offset, void **);
	char **ours = AT(all, token->offset, char *), **theirs = AT(page, token->offset, char *);
	char *swap = *ours;
	void **bigger;

	*ours = *theirs;
	*theirs = swap;
	if (!*more)
		return 0;
	bigger = reallocarray(*to, *n + *more, sizeof(*bigger));
	if (!bigger)
		return -ENOMEM;
	memcpy(bigger + *n, *from, *more * sizeof(*bigger));
	*to = bigger;
	*n += *more;
	*more = 0;
	return 0;
}

int fleet_call_pages(struct fleet *fleet, const char *method, void *request, char **page_token,
		     void *ret, struct stow_err *err)
{
	ProtobufCMessage *all = NULL, *page = NULL;
	const ProtobufCFieldDescriptor *token;
	int r;

	r = fleet_call(fleet, method, request, &all, err);
	if (r < 0)
		return r;
	token = protobuf_c_message_descriptor_get_field_by_name(all->descriptor, "next_page_token");
	while (r == 0 && (*AT(all, token->offset, char *))[0]) {
		*page_token = *AT(all, token->offset, char *);
		r = fleet_call(fleet, method, request, &page, err);
		if (r == 0 && append(all, page) < 0)
			r = stow_err_set(err, ENOMEM, "out of memory");
		if (page)
			stow_rpc_message_free(page);
		page = NULL;
	}
	if (r < 0)
		stow_rpc_message_free(all);
	else
		*(void **)ret = all;
	return r;
}
