// SPDX-License-Identifier: Apache-2.0
#include "scheduler/fleet/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/idset.h"
#include "base/math.h"
#include "node/topology.h"
#include "scheduler/fleet/ids.h"
#include "scheduler/fleet/now.h"

#define LOCAL  10 /* the kernel's distance of a NUMA node to itself */
#define REMOTE 20 /* ... and its default for another NUMA node */

/* --- pieces on the wire --------------------------------------------------- */

static int pack(const PbNodeReport *report, struct stow_wire *ret)
{
	size_t len = pb_node_report__get_packed_size(report);

	ret->bytes = malloc(len ? len : 1);
	if (!ret->bytes)
		return -ENOMEM;
	ret->len = pb_node_report__pack(report, ret->bytes);
	return 0;
}

static int pack_numa(PbNumaNode *node, struct stow_wire *ret)
{
	PbNodeReport report = PB_NODE_REPORT__INIT;

	report.n_numa_nodes = 1;
	report.numa_nodes = &node;
	return pack(&report, ret);
}

static int pack_container(PbContainer *container, struct stow_wire *ret)
{
	PbNodeReport report = PB_NODE_REPORT__INIT;

	report.n_containers = 1;
	report.containers = &container;
	return pack(&report, ret);
}

static int pack_rest(const PbNodeReport *in, struct stow_report *u)
{
	PbNodeReport constant = PB_NODE_REPORT__INIT, variable = *in;
	char *empty = constant.version;

	constant.version = in->version;
	constant.boot_id = in->boot_id;
	constant.failure_domain = in->failure_domain;
	variable.version = variable.boot_id = variable.failure_domain = empty;
	variable.full = 1;
	variable.n_numa_nodes = variable.n_containers = variable.n_gone = 0;
	if (in->full && pack(&constant, &u->constant) < 0)
		return -ENOMEM;
	return pack(&variable, &u->variable);
}

/* --- NUMA nodes ----------------------------------------------------------- */

static int count(const char *what, const char *list, uint16_t *ret, struct stow_err *err)
{
	struct stow_idset set;
	int r = stow_idset_parse(list, &set, err);

	if (r < 0)
		return stow_err_wrap(err, r, "%s", what);
	*ret = (uint16_t)stow_idset_count(&set);
	return 0;
}

static uint16_t clamp(uint32_t n, uint16_t most)
{
	return n < most ? (uint16_t)n : most;
}

static int decode_pools(const PbNumaNode *in, struct stow_numa *n, struct stow_err *err)
{
	if (in->n_hugepages > STOW_POOLS_MAX)
		return stow_err_set(err, EINVAL, "%zu hugepage pools; there are at most %d",
				    in->n_hugepages, STOW_POOLS_MAX);
	n->pools = calloc(in->n_hugepages + 1, sizeof(*n->pools));
	if (!n->pools)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_hugepages; i++) {
		const PbHugepagePool *pool = in->hugepages[i];
		uint64_t size = pool->page_size;

		if (!size || (size & (size - 1)) || size <= (i ? n->pools[i - 1].size : 0))
			return stow_err_set(err, EINVAL,
					    "hugepage pools are not powers of two in ascending "
					    "order at %" PRIu64,
					    size);
		if (pool->total > STOW_NUMA_MEMORY_MAX / size)
			return stow_err_set(err, EINVAL,
					    "%" PRIu64 " hugepages of %" PRIu64
					    " bytes are too many",
					    pool->total, size);
		n->pools[i] =
			(struct stow_numa_pool){ size, pool->total,
						 pool->allocatable < pool->total ? pool->allocatable
										 : pool->total };
		n->n_pools++;
	}
	return 0;
}

/* Contradictory numbers are reduced, so that never more is placed on a machine than it has. */
static int decode_numa(PbNumaNode *in, struct stow_numa *n, struct stow_err *err)
{
	int r;

	if (in->id >= STOW_NUMA_MAX)
		return stow_err_set(err, EINVAL,
				    "NUMA node %" PRIu32 ": the highest possible number is %d",
				    in->id, STOW_NUMA_MAX - 1);
	n->id = (uint16_t)in->id;
	n->fenced =
		in->state == PB_NUMA_NODE_STATE_FENCED || in->state == PB_NUMA_NODE_STATE_DRAINING;
	r = count("cpus", in->cpus, &n->online, err);
	if (r == 0)
		r = count("cpus_shared", in->cpus_shared, &n->shared, err);
	if (r == 0)
		r = count("cpus_takeable", in->cpus_takeable, &n->takeable, err);
	if (r == 0)
		r = decode_pools(in, n, err);
	if (r == 0 && in->memory_total > STOW_NUMA_MEMORY_MAX)
		r = stow_err_set(err, EINVAL,
				 "memory_total: %" PRIu64 " bytes; at most %" PRIu64 " bytes",
				 in->memory_total, STOW_NUMA_MEMORY_MAX);
	if (r < 0)
		return stow_err_wrap(err, r, "NUMA node %" PRIu32, in->id);
	if (n->shared > n->online)
		n->shared = n->online;
	n->total = clamp(in->cpus_total, n->online);
	n->free = clamp(in->cpus_free, n->shared);
	n->exclusive = clamp(in->cpus_exclusive, n->online);
	n->takeable = clamp(n->takeable, n->shared);
	n->memory_total = in->memory_total;
	n->memory_free = in->memory_allocatable < in->memory_total ? in->memory_allocatable
								   : in->memory_total;
	n->memory_real = STOW_MIN(in->memory_available, in->memory_total);
	if (pack_numa(in, &n->wire) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	return 0;
}

static int decode_distances(const PbNodeReport *in, struct stow_report *u, struct stow_err *err)
{
	size_t n = in->n_numa_nodes;

	u->near = UINT8_MAX;
	u->distance = malloc(n * n);
	if (!u->distance)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		const PbNumaNode *node = in->numa_nodes[i];

		if (node->n_distances && node->n_distances != n)
			return stow_err_set(err, EINVAL,
					    "NUMA node %" PRIu32
					    ": %zu distances to %zu NUMA nodes",
					    node->id, node->n_distances, n);
		for (size_t j = 0; j < n; j++) {
			uint32_t d = node->n_distances ? node->distances[j]
				     : i == j	       ? LOCAL
						       : REMOTE;

			u->distance[i * n + j] = (uint8_t)(d < UINT8_MAX ? d : UINT8_MAX);
			if (i != j && u->distance[i * n + j] < u->near)
				u->near = u->distance[i * n + j];
		}
	}
	return 0;
}

static int decode_numas(const PbNodeReport *in, struct stow_report *u, struct stow_err *err)
{
	uint64_t cpus = 0;

	if (in->n_numa_nodes > STOW_NUMA_MAX || (in->full && !in->n_numa_nodes))
		return stow_err_set(err, EINVAL, "%zu NUMA nodes; a machine has 1 to %d",
				    in->n_numa_nodes, STOW_NUMA_MAX);
	u->numa = calloc(in->n_numa_nodes + 1, sizeof(*u->numa));
	if (!u->numa)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_numa_nodes; i++) {
		int r;

		u->n_numa++;
		r = decode_numa(in->numa_nodes[i], &u->numa[i], err);
		if (r < 0)
			return r;
		cpus += u->numa[i].online;
		if (i && u->numa[i].id <= u->numa[i - 1].id)
			return stow_err_set(err, EINVAL, "NUMA node %d is not in ascending order",
					    u->numa[i].id);
	}
	if (cpus > STOW_IDSET_MAX)
		return stow_err_set(err, EINVAL, "%" PRIu64 " CPUs; a machine has at most %d", cpus,
				    STOW_IDSET_MAX);
	return in->full ? decode_distances(in, u, err) : 0;
}

/* --- containers and reservations ------------------------------------------ */

static int by_id(const void *a, const void *b)
{
	const struct stow_container *x = a, *y = b;
	int order = strcmp(x->id, y->id);

	return order ? order : (x->order > y->order) - (x->order < y->order);
}

static int by_text(const void *a, const void *b)
{
	const char *const *x = a, *const *y = b;

	return strcmp(*x, *y);
}

/* Sorted, so that they are applied in one pass. If an id occurs twice (a container and a later
 * one of the same id), the later one stays, as it does in a report of changes. */
static void sort_containers(struct stow_report *u)
{
	size_t n = 0;

	qsort(u->gone, u->n_gone, sizeof(*u->gone), by_text);
	qsort(u->containers, u->n_containers, sizeof(*u->containers), by_id);
	for (size_t i = 0; i < u->n_containers; i++) {
		if (n && strcmp(u->containers[n - 1].id, u->containers[i].id) == 0)
			stow_container_done(&u->containers[--n]);
		u->containers[n++] = u->containers[i];
	}
	u->n_containers = n;
}

/* Convert a moment of the machine's clock, which the report gives, too. */
static uint64_t deadline(const PbNodeReport *in, uint64_t expires)
{
	struct stow_now now = stow_now();
	uint64_t theirs = in->time ? in->time : now.wall;

	return stow_saturating_add(now.mono, stow_clock_elapsed(theirs, expires));
}

static int decode_containers(const PbNodeReport *in, struct stow_report *u, struct stow_err *err)
{
	if (in->n_containers > STOW_CONTAINERS_MAX || in->n_gone > STOW_CONTAINERS_MAX)
		return stow_err_set(err, EINVAL, "more than %d containers", STOW_CONTAINERS_MAX);
	u->containers = calloc(in->n_containers + 1, sizeof(*u->containers));
	u->gone = calloc(in->n_gone + 1, sizeof(*u->gone));
	if (!u->containers || !u->gone)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < in->n_containers; i++) {
		const PbContainer *from = in->containers[i];
		struct stow_container *c = &u->containers[i];

		u->n_containers++;
		if (!from->id[0])
			return stow_err_set(err, EINVAL, "a container without an id");
		if (from->reservation[0] &&
		    stow_id_parse(from->reservation, &c->reservation, err) < 0)
			return stow_err_wrap(err, -EINVAL, "container \"%.64s\"", from->id);
		c->order = (uint32_t)i;
		c->id = strdup(from->id);
		c->lease = from->state == PB_CONTAINER_STATE_LEASE;
		c->until = from->expires ? deadline(in, from->expires) : 0;
		if (!c->id || pack_container(in->containers[i], &c->wire) < 0)
			return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (size_t i = 0; i < in->n_gone; i++) {
		u->gone[i] = strdup(in->gone[i]);
		if (!u->gone[i])
			return stow_err_set(err, ENOMEM, "out of memory");
		u->n_gone++;
	}
	sort_containers(u);
	return 0;
}

static int decode_ids(char *const *in, size_t n, size_t most, const char *what, uint64_t **ret,
		      size_t *ret_n, struct stow_err *err)
{
	uint64_t *ids;

	if (n > most)
		return stow_err_set(err, EINVAL, "more than %zu %s", most, what);
	ids = *ret = calloc(n + 1, sizeof(*ids));
	if (!ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < n; i++) {
		int r = stow_id_parse(in[i], &ids[i], err);

		if (r < 0)
			return stow_err_wrap(err, r, "%s", what);
	}
	stow_idlist_sort(ids, n);
	for (size_t i = 0; i < n; i++)
		if (!i || ids[i] != ids[i - 1])
			ids[(*ret_n)++] = ids[i];
	return 0;
}

int stow_report_decode(const PbNodeReport *report, struct stow_report **ret_update,
		       struct stow_err *err)
{
	_cleanup_(stow_report_free_ptr) struct stow_report *u = calloc(1, sizeof(*u));
	int r;

	if (!u)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = stow_machine_name_check(report->name, err);
	if (r < 0)
		return r;
	u->name = strdup(report->name);
	u->domain = strndup(report->failure_domain, STOW_DOMAIN_MAX);
	u->full = report->full;
	u->sequence = report->sequence;
	u->enforces = report->mode != PB_MODE_OBSERVE && report->mode != PB_MODE_DISABLED;
	if (!u->name || !u->domain)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = decode_numas(report, u, err);
	if (r == 0)
		r = decode_containers(report, u, err);
	if (r == 0)
		r = decode_ids(report->reservations, report->n_reservations, STOW_RESERVATIONS_MAX,
			       "reservations", &u->reservations, &u->n_reservations, err);
	if (r == 0)
		r = decode_ids(report->drains, report->n_drains, STOW_DRAINS_MAX, "drains",
			       &u->drains, &u->n_drains, err);
	if (r < 0)
		return r == -ENOMEM ? r : stow_err_wrap(err, r, "the report of %s", u->name);
	if (pack_rest(report, u) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	*ret_update = STOW_TAKE_PTR(u);
	return 0;
}

void stow_wire_done(struct stow_wire *wire)
{
	free(wire->bytes);
	*wire = (struct stow_wire){ 0 };
}

void stow_numa_done(struct stow_numa *numa)
{
	free(numa->pools);
	numa->pools = NULL;
	stow_wire_done(&numa->wire);
}

void stow_container_done(struct stow_container *container)
{
	free(container->id);
	container->id = NULL;
	stow_wire_done(&container->wire);
}

void stow_report_free(struct stow_report *update)
{
	if (!update)
		return;
	for (size_t i = 0; i < update->n_numa; i++)
		stow_numa_done(&update->numa[i]);
	for (size_t i = 0; i < update->n_containers; i++)
		stow_container_done(&update->containers[i]);
	for (size_t i = 0; i < update->n_gone; i++)
		free(update->gone[i]);
	stow_wire_done(&update->constant);
	stow_wire_done(&update->variable);
	free(update->numa);
	free(update->distance);
	free(update->containers);
	free(update->gone);
	free(update->reservations);
	free(update->drains);
	free(update->domain);
	free(update->name);
	free(update);
}
