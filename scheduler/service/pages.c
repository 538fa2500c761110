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

int scheduler_machines_find(struct scheduler *s, char *const *names, size_t n_names,
			    const char *first, struct scheduler_machines *ret, struct stow_err *err)
{
	struct stow_fleet *fleet = s->fleet;
	size_t n = 0;

	ret->n = 0;
	stow_lock_take(&fleet->lock);
	fleet->readers++;
	ret->list = calloc((n_names ? n_names : fleet->n_machines) + 1, sizeof(*ret->list));
	for (size_t i = 0; ret->list && i < (n_names ? n_names : fleet->n_machines); i++) {
		struct stow_machine *m =
			n_names ? stow_fleet_find(fleet, names[i]) : fleet->machines[i];

		if (m && strcmp(m->name, first) >= 0)
			ret->list[n++] = m;
	}
	stow_lock_give(&fleet->lock);
	if (!ret->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	qsort(ret->list, n, sizeof(*ret->list), by_name);
	for (size_t i = 0; i < n; i++) /* a name may be given twice */
		if (i == 0 || ret->list[i] != ret->list[i - 1])
			ret->list[ret->n++] = ret->list[i];
	return 0;
}

void scheduler_machines_done(struct scheduler *s, struct scheduler_machines *m)
{
	stow_lock_take(&s->fleet->lock);
	s->fleet->readers--;
	stow_lock_give(&s->fleet->lock);
	free(m->list);
}
