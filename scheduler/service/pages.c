// SPDX-License-Identifier: Apache-2.0
#include "scheduler/service/pages.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
	const struct stow_machine *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Return whether the name is in the list; an empty list has all names. */
static bool is_named(char *const *names, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(names[i], name) == 0)
			return true;
	return n == 0;
}

int scheduler_machines_find(struct scheduler *s, char *const *names, size_t n_names,
			    const char *first, struct scheduler_machines *ret, struct stow_err *err)
{
	struct stow_fleet *fleet = s->fleet;

	ret->n = 0;
	stow_lock_take(&fleet->lock);
	fleet->readers++;
	ret->list = calloc(fleet->n_machines + 1, sizeof(*ret->list));
	if (n_names) {
		for (size_t i = 0; ret->list && i < n_names && ret->n < fleet->n_machines; i++) {
			struct stow_machine *m = stow_fleet_find(fleet, names[i]);
			bool again = i && is_named(names, i, names[i]);

			if (m && !again && strcmp(m->name, first) >= 0)
				ret->list[ret->n++] = m;
		}
	} else {
		for (uint32_t m = 0; ret->list && m < fleet->n_machines; m++)
			if (strcmp(fleet->machines[m]->name, first) >= 0)
				ret->list[ret->n++] = fleet->machines[m];
	}
	stow_lock_give(&fleet->lock);
	if (!ret->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	qsort(ret->list, ret->n, sizeof(*ret->list), by_name);
	return 0;
}

void scheduler_machines_done(struct scheduler *s, struct scheduler_machines *m)
{
	stow_lock_take(&s->fleet->lock);
	s->fleet->readers--;
	stow_lock_give(&s->fleet->lock);
	free(m->list);
}
