// SPDX-License-Identifier: Apache-2.0
/* ListReservations. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "rpc/copy.h"
#include "scheduler/fleet/reservation.h"
#include "scheduler/service/pages.h"
#include "scheduler/service/service.h"

struct page {
	PbListReservationsResponse out;
	size_t most, bytes;
	char token[300]; /* "NODE/ID": the first of the next page */
};

static int by_id(const void *a, const void *b)
{
	const struct stow_reservation *const *x = a, *const *y = b;

	return ((*x)->id > (*y)->id) - ((*x)->id < (*y)->id);
}

static int add(struct page *page, const struct stow_reservation *r)
{
	PbReservation *copy = stow_rpc_message_copy(r->message), **added;

	added = copy ? STOW_APPEND(page->out.reservations, page->out.n_reservations) : NULL;
	if (!added) {
		if (copy)
			pb_reservation__free_unpacked(copy, NULL);
		return -ENOMEM;
	}
	copy->lifetime = stow_reservation_left(r, stow_now());
	*added = copy;
	return 0;
}

/* Add the reservations of one machine, from an id on. Return 1 when the page is full. */
static int add_machine(struct page *page, const struct stow_machine *machine, uint64_t from)
{
	_cleanup_free_ const struct stow_reservation **list =
		calloc(machine->n_reservations + 1, sizeof(*list));
	size_t n = 0;
	char id[17];
	int r = 0;

	if (!list)
		return -ENOMEM;
	for (const struct stow_reservation *at = machine->reservations; at; at = at->next)
		if (at->id >= from)
			list[n++] = at;
	if (n)
		qsort(list, n, sizeof(*list), by_id);
	for (size_t i = 0; i < n && r == 0; i++) {
		page->bytes += list[i]->bytes + 8;
		if (page->out.n_reservations == page->most ||
		    (page->out.n_reservations && page->bytes > SCHEDULER_PAGE_BYTES)) {
			snprintf(page->token, sizeof(page->token), "%s/%s", machine->name,
				 stow_id_format(list[i]->id, id));
			return 1;
		}
		r = add(page, list[i]);
	}
	return r;
}

static int parse_token(const char *token, char first[256], uint64_t *ret_id, struct stow_err *err)
{
	const char *slash = strchr(token, '/');

	*ret_id = 0;
	first[0] = '\0';
	if (!token[0])
		return 0;
	if (!slash || slash - token > 253 || stow_id_parse(slash + 1, ret_id, NULL) < 0)
		return stow_err_set(err, EINVAL,
				    "page_token: \"%.64s\" is not a next_page_token of an answer",
				    token);
	snprintf(first, 256, "%.*s", (int)(slash - token), token);
	return 0;
}

int scheduler_list_reservations(struct stow_rpc_call *call, void *ctx, const void *request,
				void *response, struct stow_err *err)
{
	const PbListReservationsRequest *in = request;
	struct page page = { .out = PB_LIST_RESERVATIONS_RESPONSE__INIT,
			     .most = in->page_size ? in->page_size : SIZE_MAX };
	struct scheduler_machines machines;
	struct scheduler *s = ctx;
	char first[256];
	uint64_t from;
	int r;

	r = parse_token(in->page_token, first, &from, err);
	if (r < 0)
		return r;
	r = scheduler_machines_find(s, (char *const *)&in->node, in->node[0] != '\0', first,
				    &machines, err);
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; r == 0 && i < machines.n; i++) {
		bool same = strcmp(machines.list[i]->name, first) == 0;

		if (i % SCHEDULER_PAGE_AT_ONCE == SCHEDULER_PAGE_AT_ONCE - 1)
			stow_lock_yield(&s->fleet->lock);
		r = add_machine(&page, machines.list[i], same ? from : 0);
	}
	stow_lock_give(&s->fleet->lock);
	scheduler_machines_done(s, &machines);
	if (r >= 0) {
		page.out.next_page_token = page.token;
		stow_rpc_reply(call, &page.out, NULL);
	}
	for (size_t i = 0; i < page.out.n_reservations; i++)
		stow_rpc_message_free(page.out.reservations[i]);
	free(page.out.reservations);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : STOW_RPC_LATER;
}
