// SPDX-License-Identifier: Apache-2.0
/* Rules about how full nodes are. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "doctor/internal.h"

#define ROOM	   25	  /* percent of a node's memory that is available */
#define TIGHT	   2	  /* ... so little that it is exhausted */
#define SOME	   1.0	  /* allocations in a second that went elsewhere */
#define SHARE	   1	  /* ... the least percentage of them that counts */
#define OVERFLOW   10	  /* ... and that of a node that has room now */
#define LEAST	   100000 /* pages */
#define SWAP_LEAST (UINT64_C(64) << 20)

/* Return whether enough allocations that were meant for a node went elsewhere to count. */
static bool overflows(const struct doctor *d, const struct doctor_node *node)
{
	return node->hit != STOW_UNKNOWN && node->foreign != STOW_UNKNOWN &&
	       doctor_rate(d, node->foreign) >= SOME &&
	       doctor_percent(node->foreign, node->hit + node->foreign) >= SHARE;
}

static const struct doctor_node *room_elsewhere(const struct doctor *d,
						const struct doctor_node *node)
{
	struct stow_idset here = { 0 };
	const struct doctor_node *best;

	stow_idset_add(&here, node->id);
	best = doctor_roomiest(d, &here);
	return best && doctor_percent(best->available, best->total) >= ROOM ? best : NULL;
}

int doctor_rule_exhausted(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++) {
		const struct doctor_node *node = &d->nodes[i], *other = room_elsewhere(d, node);
		char since[64], left[32], whole[32];

		if (node->total == 0 || !other ||
		    doctor_percent(node->available, node->total) >= TIGHT || !overflows(d, node))
			continue;
		r = doctor_report(d, STOW_FINDING_PROBLEM, node->id, NULL, NULL,
				  "%s of %s are available on node %d; %s %" PRIu64
				  " pages meant for it (%u %%) were allocated elsewhere, while "
				  "node %d has %u %% available",
				  stow_format_size(node->available, left, sizeof(left)),
				  stow_format_size(node->total, whole, sizeof(whole)), node->id,
				  doctor_since(d, since, sizeof(since)), node->foreign,
				  doctor_percent(node->foreign, node->hit + node->foreign),
				  other->id, doctor_percent(other->available, other->total));
	}
	return r;
}

int doctor_rule_cache(struct doctor *d, struct stow_err *err)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	int r = doctor_needs_topology(d, err);

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++) {
		const struct doctor_node *node = &d->nodes[i], *other = room_elsewhere(d, node);
		char since[64], cache[32], command[256];

		if (node->free == STOW_UNKNOWN || !other || node->free > node->high ||
		    doctor_percent(node->file * page, node->total) < 50 || !overflows(d, node))
			continue;
		if (stow_root_exists(d->root, "/sys/devices/system/node/node%d/reclaim", node->id) >
		    0)
			snprintf(command, sizeof(command), "numastow zones reclaim %d %s", node->id,
				 stow_format_size(node->file * page / 2, cache, sizeof(cache)));
		else
			snprintf(command, sizeof(command),
				 "write an amount to memory.reclaim of the cgroup that read the "
				 "files; or, of all nodes: sync; echo 1 >/proc/sys/vm/drop_caches");
		r = doctor_report(d, STOW_FINDING_PROBLEM, node->id, NULL, command,
				  "%s of node %d are page cache (%u %%), and %" PRIu64
				  " pages are free, below the high watermark of %" PRIu64
				  "; %s %" PRIu64
				  " pages meant for it were allocated elsewhere, while node %d "
				  "has %u %% available",
				  stow_format_size(node->file * page, cache, sizeof(cache)),
				  node->id, doctor_percent(node->file * page, node->total),
				  node->free, node->high, doctor_since(d, since, sizeof(since)),
				  node->foreign, other->id,
				  doctor_percent(other->available, other->total));
	}
	return r;
}

int doctor_rule_uneven_use(struct doctor *d, struct stow_err *err)
{
	const struct doctor_node *fullest = NULL, *emptiest = doctor_roomiest(d, NULL);
	int r = doctor_needs_topology(d, err);
	unsigned int low, high;

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++)
		if (d->nodes[i].total &&
		    (!fullest || doctor_percent(d->nodes[i].available, d->nodes[i].total) <
					 doctor_percent(fullest->available, fullest->total)))
			fullest = &d->nodes[i];
	if (r < 0 || !fullest || !emptiest)
		return r;
	low = doctor_percent(fullest->available, fullest->total);
	high = doctor_percent(emptiest->available, emptiest->total);
	if (low >= 10 || high < 60)
		return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, fullest->id, NULL, NULL,
			     "%u %% of node %d are available, and %u %% of node %d", low,
			     fullest->id, high, emptiest->id);
}

int doctor_rule_overflow(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	for (size_t i = 0; r == 0 && i < d->n_nodes; i++) {
		const struct doctor_node *node = &d->nodes[i];
		char since[64];

		if (node->total == 0 || node->foreign == STOW_UNKNOWN ||
		    node->hit == STOW_UNKNOWN || node->foreign < LEAST ||
		    doctor_percent(node->foreign, node->hit + node->foreign) < OVERFLOW)
			continue;
		r = doctor_report(d, STOW_FINDING_INFORMATION, node->id, NULL, NULL,
				  "%s %" PRIu64 " pages meant for node %d (%u %%) were allocated "
				  "elsewhere; %u %% of it are available now",
				  doctor_since(d, since, sizeof(since)), node->foreign, node->id,
				  doctor_percent(node->foreign, node->hit + node->foreign),
				  doctor_percent(node->available, node->total));
	}
	return r;
}

int doctor_rule_swap(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_processes(d, err);
	for (size_t i = 0; r == 0 && i < d->n_processes; i++) {
		const struct doctor_process *process = &d->processes[i];
		const struct doctor_node *other = doctor_roomiest(d, &process->mems);
		char name[128], list[DOCTOR_LISTED], swap[32], room[32];

		/* Its swapped memory must take at most half of what is available there. */
		if (process->swap < SWAP_LEAST || !other ||
		    doctor_percent(other->available, other->total) < ROOM ||
		    other->available / 2 < process->swap)
			continue;
		snprintf(name, sizeof(name), "%s (PID %d)", process->comm, (int)process->pid);
		r = doctor_report(d, STOW_FINDING_PROBLEM, other->id, name, NULL,
				  "%s of it are in swap; it may use memory of nodes %s, and node "
				  "%d has %s available (%u %%)",
				  stow_format_size(process->swap, swap, sizeof(swap)),
				  stow_idset_format(&process->mems, list, sizeof(list)), other->id,
				  stow_format_size(other->available, room, sizeof(room)),
				  doctor_percent(other->available, other->total));
	}
	return r;
}
