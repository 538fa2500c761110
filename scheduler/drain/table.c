// SPDX-License-Identifier: Apache-2.0
/* The table of drains. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/random.h"
#include "scheduler/drain/drain_internal.h"

int scheduler_drains_new(struct scheduler_drains **ret, struct stow_err *err)
{
	*ret = calloc(1, sizeof(**ret));
	return *ret ? 0 : stow_err_set(err, ENOMEM, "out of memory");
}

struct scheduler_drain *scheduler_drain_find(const struct scheduler *s, uint64_t id)
{
	struct stow_link *link = stow_hash_find(&s->drains->ids, id);

	return link ? stow_container_of(link, struct scheduler_drain, link) : NULL;
}

static struct scheduler_drain *with_request(struct scheduler_drain *const *list, size_t n,
					    const char *request_id)
{
	for (size_t i = 0; i < n; i++)
		if (list[i]->request_id && strcmp(list[i]->request_id, request_id) == 0)
			return list[i];
	return NULL;
}

struct scheduler_drain *scheduler_drain_by_request(const struct scheduler *s,
						   const char *request_id)
{
	struct scheduler_drain *d =
		with_request(s->drains->under_way, s->drains->n_under_way, request_id);

	return d ? d : with_request(s->drains->ended, s->drains->n_ended, request_id);
}

uint64_t scheduler_drain_new_id(const struct scheduler *s)
{
	uint64_t id = 0;

	while (!id || scheduler_drain_find(s, id))
		id = stow_random();
	return id;
}

static int make_room(struct scheduler_drain ***list, size_t n, size_t *room)
{
	size_t more = *room ? *room * 2 : 64;
	void *longer;

	if (n < *room)
		return 0;
	longer = reallocarray(*list, more, sizeof(**list));
	if (!longer)
		return -ENOMEM;
	*list = longer;
	*room = more;
	return 0;
}

static void take_out(struct scheduler_drain **list, size_t *n, const struct scheduler_drain *d)
{
	size_t at = 0;

	while (at < *n && list[at] != d)
		at++;
	if (at == *n)
		return;
	memmove(&list[at], &list[at + 1], (*n - at - 1) * sizeof(*list));
	--*n;
}

int scheduler_drain_add(struct scheduler *s, struct stow_machine *machine, uint64_t id,
			PbDrain *message, struct scheduler_drain **ret, struct stow_err *err)
{
	struct scheduler_drains *all = s->drains;
	struct scheduler_drain *d = calloc(1, sizeof(*d));

	/* Reserve the place among the ended drains as well, so that ending cannot fail. */
	if (!d || make_room(&all->under_way, all->n_under_way, &all->under_way_room) < 0 ||
	    make_room(&all->ended, all->n_ended + all->n_under_way + 1, &all->ended_room) < 0 ||
	    stow_hash_add(&all->ids, &d->link, id) < 0) {
		free(d);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	d->id = id;
	d->message = message;
	if (scheduler_drain_ended(d)) {
		all->ended[all->n_ended++] = d;
	} else {
		d->machine = machine;
		machine->n_drains++;
		all->under_way[all->n_under_way++] = d;
		all->look = true;
	}
	*ret = d;
	return 0;
}

void scheduler_drain_remove(struct scheduler *s, struct scheduler_drain *d)
{
	struct scheduler_drains *all = s->drains;

	take_out(all->under_way, &all->n_under_way, d);
	take_out(all->ended, &all->n_ended, d);
	stow_hash_remove(&all->ids, &d->link);
	if (d->machine)
		d->machine->n_drains--;
	for (struct scheduler_follower *f = d->followers; f; f = f->next)
		f->drain = NULL;
	pb_drain__free_unpacked(d->message, NULL);
	free(d->request_id);
	free(d);
	all->look = true;
}

void scheduler_drain_retire(struct scheduler *s, struct scheduler_drain *d)
{
	take_out(s->drains->under_way, &s->drains->n_under_way, d);
	s->drains->ended[s->drains->n_ended++] = d;
	d->machine->n_drains--;
	d->machine = NULL;
	d->slot = false;
	s->drains->look = true;
}

void scheduler_drains_look(struct scheduler *s)
{
	s->drains->look = true;
}

size_t scheduler_drains_under_way(const struct scheduler *s)
{
	return s->drains->n_under_way;
}

size_t scheduler_drains_of(const struct scheduler *s, const struct stow_machine *machine,
			   char ***ret_ids)
{
	size_t n = 0;

	*ret_ids = calloc(machine->n_drains + 1, sizeof(**ret_ids));
	for (size_t i = 0; *ret_ids && machine->n_drains && i < s->drains->n_under_way; i++)
		if (s->drains->under_way[i]->machine == machine)
			(*ret_ids)[n++] = s->drains->under_way[i]->message->id;
	return n;
}

void scheduler_drains_count(const struct scheduler *s, uint64_t under_way[PB_DRAIN_STEP_DONE],
			    uint64_t ended[SCHEDULER_ENDS])
{
	memset(under_way, 0, PB_DRAIN_STEP_DONE * sizeof(*under_way));
	for (size_t i = 0; i < s->drains->n_under_way; i++)
		if (!s->drains->under_way[i]->dry)
			under_way[scheduler_drain_step(s->drains->under_way[i])]++;
	memcpy(ended, s->drains->counts, sizeof(s->drains->counts));
}

void scheduler_drains_free(struct scheduler *s)
{
	struct scheduler_drains *all = s->drains;

	if (!all)
		return;
	while (all->n_under_way)
		scheduler_drain_remove(s, all->under_way[all->n_under_way - 1]);
	while (all->n_ended)
		scheduler_drain_remove(s, all->ended[all->n_ended - 1]);
	stow_hash_done(&all->ids);
	free(all->under_way);
	free(all->ended);
	free(all);
	s->drains = NULL;
}
