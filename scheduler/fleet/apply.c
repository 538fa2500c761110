// SPDX-License-Identifier: Apache-2.0
/* Apply a report to its machine. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/fleet/fleet_internal.h"

/* Merge old and new containers, both ascending, into `to`. One pass, because the lock is held
 * and a machine may have many. */
static size_t merge_containers(struct stow_machine *m, struct stow_report *u,
			       struct stow_container *to)
{
	size_t gone = 0, old = 0, new = 0, n = 0;

	while (old < m->n_containers || new < u->n_containers) {
		int order = old == m->n_containers ? 1
			    : new == u->n_containers
				    ? -1
				    : strcmp(m->containers[old].id, u->containers[new].id);

		if (order >= 0) {
			to[n++] = u->containers[new];
			u->containers[new ++] = (struct stow_container){ 0 };
		}
		if (order > 0)
			continue;
		while (order < 0 && gone < u->n_gone &&
		       strcmp(u->gone[gone], m->containers[old].id) < 0)
			gone++;
		if (order == 0 ||
		    (gone < u->n_gone && strcmp(u->gone[gone], m->containers[old].id) == 0))
			stow_container_done(&m->containers[old]);
		else
			to[n++] = m->containers[old];
		old++;
	}
	return n;
}

static int by_reservation(const void *a, const void *b)
{
	const struct stow_has *x = a, *y = b;

	if (x->reservation != y->reservation)
		return x->reservation < y->reservation ? -1 : 1;
	if (x->lease != y->lease)
		return x->lease ? 1 : -1;
	return (x->container > y->container) - (x->container < y->container);
}

/* `has` was allocated before anything was changed, so this cannot fail. */
static void index_containers(struct stow_machine *m, struct stow_has *has)
{
	free(m->has);
	m->has = has;
	m->n_has = 0;
	for (size_t i = 0; i < m->n_containers; i++)
		if (m->containers[i].reservation)
			has[m->n_has++] = (struct stow_has){ m->containers[i].reservation,
							     (uint32_t)i, m->containers[i].lease };
	if (m->n_has)
		qsort(has, m->n_has, sizeof(*has), by_reservation);
}

/* Check limits and names before anything is changed. */
static int check_changes(const struct stow_machine *m, const struct stow_report *u,
			 struct stow_err *err)
{
	uint64_t cpus = 0;

	for (uint32_t i = 0; i < m->n_numa; i++)
		cpus += m->numa[i].online;
	for (size_t i = 0; i < u->n_numa; i++) {
		int64_t at = stow_machine_numa(m, u->numa[i].id);

		if (at < 0)
			return stow_err_set(err, EPROTO,
					    "changes of NUMA node %d, which is not in the full "
					    "report of %s",
					    u->numa[i].id, m->name);
		cpus = cpus - m->numa[at].online + u->numa[i].online;
	}
	if (cpus > STOW_IDSET_MAX)
		return stow_err_set(err, EPROTO,
				    "changes make %" PRIu64 " CPUs of %s; a machine has at most %d",
				    cpus, m->name, STOW_IDSET_MAX);
	if (m->n_containers + u->n_containers > STOW_CONTAINERS_MAX + u->n_gone)
		return stow_err_set(err, EPROTO, "changes make more than %d containers of %s",
				    STOW_CONTAINERS_MAX, m->name);
	return 0;
}

static int apply_changes(struct stow_machine *m, struct stow_report *u, struct stow_err *err)
{
	struct stow_container *merged = NULL;
	struct stow_has *has = NULL;
	int r = check_changes(m, u, err);

	if (r < 0)
		return r;
	if (u->n_containers || u->n_gone) {
		merged = calloc(m->n_containers + u->n_containers + 1, sizeof(*merged));
		has = calloc(m->n_containers + u->n_containers + 1, sizeof(*has));
		if (!merged || !has) {
			free(merged);
			free(has);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
	}
	for (size_t i = 0; i < u->n_numa; i++) {
		struct stow_numa *to = &m->numa[stow_machine_numa(m, u->numa[i].id)];

		stow_numa_done(to);
		*to = u->numa[i];
		u->numa[i] = (struct stow_numa){ 0 };
	}
	if (merged) {
		size_t n = merge_containers(m, u, merged);

		free(m->containers);
		m->containers = merged;
		m->n_containers = n;
		index_containers(m, has);
	}
	return 0;
}

#define SWAP(a, b)                      \
	do {                            \
		__typeof__(a) _a = (a); \
		(a) = (b);              \
		(b) = _a;               \
	} while (0)

/* The machine's old data is moved into the report, which is freed without the lock. */
static int apply_all(struct stow_fleet *fleet, struct stow_machine *m, struct stow_report *u,
		     struct stow_err *err)
{
	size_t n_numa = m->n_numa;
	struct stow_has *has = calloc(u->n_containers + 1, sizeof(*has));
	int r = has ? stow_columns_move(fleet, m, (uint32_t)u->n_numa, err)
		    : stow_err_set(err, ENOMEM, "out of memory");

	if (r < 0) {
		free(has);
		return r;
	}
	SWAP(m->numa, u->numa);
	m->n_numa = (uint32_t)u->n_numa;
	u->n_numa = n_numa;
	SWAP(m->distance, u->distance);
	m->near = u->near;
	SWAP(m->containers, u->containers);
	SWAP(m->n_containers, u->n_containers);
	SWAP(m->domain, u->domain);
	SWAP(m->constant, u->constant);
	index_containers(m, has);
	return 0;
}

int stow_fleet_apply(struct stow_fleet *fleet, struct stow_machine *machine,
		     struct stow_report *report, struct stow_err *err)
{
	int r = report->full ? apply_all(fleet, machine, report, err)
			     : apply_changes(machine, report, err);

	if (r < 0)
		return r;
	SWAP(machine->variable, report->variable);
	machine->enforces = report->enforces;
	machine->sequence = report->sequence;
	if (fleet->numa_dead > fleet->n_numa / 2)
		stow_columns_close_gaps(fleet);
	stow_fleet_refresh(fleet, machine);
	return 0;
}
