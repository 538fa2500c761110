// SPDX-License-Identifier: Apache-2.0
/* Which containers a drain affects, what is done with them, and whether what must move fits on
 * other nodes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/procs.h"
#include "drain/internal.h"
#include "grant/repin.h"
#include "node/memory.h"
#include "pages/holds.h"
#include "place/capacity.h"

/* A container and what the drain means for it. */
struct impact_container {
	const struct stow_record *record;
	uint64_t anon, bytes; /* in the blocks: bytes that cannot be dropped; all bytes that move */
	uint64_t memory, hugepages; /* bytes promised on the node */
	bool leaves;		    /* has to move, with all of its memory */
	bool ends;		    /* is evicted */
	struct stow_idset nodes;    /* where it will be */
};

struct impact {
	const struct stow_grant_context *context;
	struct stow_drain_plan *plan;
	struct stow_record **records;
	struct impact_container *list; /* one for each record */
	size_t n;
	struct stow_topology *topology;
	struct stow_usage *usage;
	struct stow_capacity *capacity;
};

static void impact_done(struct impact *a)
{
	free(a->list);
	stow_records_free(a->records, a->n);
	stow_capacity_free_ptr(&a->capacity);
	stow_usage_free_ptr(&a->usage);
	stow_topology_free_ptr(&a->topology);
}

static const char *name_of(const struct stow_record *record)
{
	return *record->name ? record->name : record->id;
}

/* --- which containers have pages in the blocks ---------------------------- */

/* Return whether the block has pages because of which the process or cgroup is a suspect. */
static bool has_suspects_pages(const struct stow_block_use *use, const struct stow_culprit *suspect)
{
	if (!suspect->inode)
		return use->pages[suspect->kind];
	for (size_t i = 0; i < use->n_owners; i++)
		if (use->owners[i].inode == suspect->inode)
			return stow_owner_moving(&use->owners[i]);
	return false;
}

/* Suspects are found for all blocks together: name the blocks that have their pages. */
static int name_blocks(struct stow_drain_plan *plan)
{
	_cleanup_free_ uint64_t *ids = calloc(plan->n_blocks + 1, sizeof(*ids));

	for (size_t s = 0; ids && s < plan->suspects.n; s++) {
		struct stow_culprit *suspect = &plan->suspects.list[s];
		size_t n = 0;

		for (size_t b = 0; b < plan->n_blocks; b++)
			if (has_suspects_pages(&plan->blocks[b].use, suspect))
				ids[n++] = plan->blocks[b].id;
		suspect->blocks = n ? stow_idlist_format(ids, n) : NULL;
	}
	return ids ? 0 : -ENOMEM;
}

static int attribute(struct impact *a, struct stow_err *err)
{
	struct stow_block_use sum;
	char **paths = NULL;
	int r;

	r = stow_drain_merge_uses(a->plan, &sum);
	if (r == 0)
		r = stow_owner_paths(a->context->root, &sum, &paths);
	for (size_t i = 0; r == 0 && i < sum.n_owners; i++) {
		size_t owner = stow_drain_owner(a->records, a->n, sum.owners[i].inode, paths[i]);

		if (owner == a->n)
			continue;
		a->list[owner].bytes += stow_owner_moving(&sum.owners[i]) * a->plan->page_size;
		a->list[owner].anon += sum.owners[i].pages[STOW_PAGE_ANON] * a->plan->page_size;
	}
	if (r == 0 && a->plan->use_known && a->context->root->live &&
	    stow_culprits_suspect(a->context->root, &sum, &a->plan->suspects, NULL) == 0)
		r = name_blocks(a->plan);
	stow_owner_paths_free(paths, sum.n_owners);
	free(sum.owners);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

int stow_drain_refused_blocks(const struct stow_grant_context *context, const struct stow_use *use,
			      uint64_t **ret_ids, size_t *ret_n, struct stow_err *err)
{
	uint64_t *ids = calloc(use->n_blocks + 1, sizeof(*ids));
	struct stow_record **records = NULL;
	size_t n_records = 0, n = 0;
	int r = 0;

	if (!ids)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (context->ledger)
		r = stow_ledger_records(context->ledger, NULL, &records, &n_records, err);
	for (size_t b = 0; r == 0 && b < use->n_blocks; b++) {
		bool refused = false;

		for (size_t i = 0; i < use->blocks[b].n_owners && !refused; i++) {
			size_t owner = stow_drain_owner(records, n_records,
							use->blocks[b].owners[i].inode, NULL);

			refused = owner < n_records &&
				  records[owner]->drain == STOW_DRAIN_MODE_REFUSE;
		}
		if (refused)
			ids[n++] = use->blocks[b].id;
	}
	stow_records_free(records, n_records);
	if (r < 0) {
		free(ids);
		return r;
	}
	*ret_ids = ids;
	*ret_n = n;
	return 0;
}

/* --- which containers have to move ---------------------------------------- */

static void read_promise(struct impact_container *c, int node)
{
	const struct stow_record *record = c->record;

	for (size_t i = 0; i < record->n_shares; i++) {
		if (record->shares[i].node != node)
			continue;
		c->memory += record->shares[i].memory;
		for (size_t p = 0; p < record->n_pages; p++)
			c->hugepages += record->shares[i].pages[p] * record->pages[p].size;
	}
}

static const struct stow_node_capacity *capacity_of(const struct impact *a, int node)
{
	for (size_t i = 0; i < a->capacity->n_nodes; i++)
		if (a->capacity->nodes[i].id == node)
			return &a->capacity->nodes[i];
	return NULL;
}

/* Return the bytes that the rest of the node lacks for its promises, or for the pages of bound
 * containers that are in the blocks and must return. Containers that move or are evicted do not
 * count. */
static uint64_t shortage(const struct impact *a)
{
	const struct stow_node *node = stow_topology_node(a->topology, a->plan->node);
	const struct stow_node_capacity *cap = capacity_of(a, a->plan->node);
	uint64_t promised = 0, bound = 0, gone = 0, available;

	if (!node || !cap)
		return 0;
	for (size_t i = 0; i < node->n_pools; i++)
		promised += node->pools[i].total * node->pools[i].size;
	for (size_t i = 0; i < a->n; i++) {
		const struct impact_container *c = &a->list[i];

		if (c->leaves || c->ends) {
			promised = stow_saturating_sub(promised, c->hugepages);
			continue;
		}
		promised += c->memory;
		/* The pages of a lease come into the pools with its container; those of a claim are
		 * there. */
		if (c->record->state == STOW_STATE_LEASE && !stow_record_is_share(c->record))
			promised += c->hugepages;
		if (stow_idset_count(&c->record->nodes) == 1 &&
		    stow_idset_has(&c->record->nodes, a->plan->node))
			bound += c->anon;
	}
	for (size_t b = 0; b < a->plan->n_blocks; b++)
		gone += (a->plan->blocks[b].use.pages[STOW_PAGE_FREE] +
			 a->plan->blocks[b].use.pages[STOW_PAGE_FILE]) *
			a->plan->page_size;
	available = stow_saturating_sub(node->mem_available, gone);
	promised =
		stow_saturating_sub(promised, stow_saturating_sub(cap->mem_total, a->plan->bytes));
	bound = stow_saturating_sub(bound, available);
	return STOW_MAX(promised, bound);
}

/* Return whether a container that frees `gain` bytes is a better choice than one that frees
 * `other`: the smallest that suffices, or else the largest. */
static bool is_better(uint64_t gain, uint64_t other, uint64_t short_of)
{
	return gain >= short_of ? other < short_of || gain < other : gain > other;
}

/* --- containers of Kubernetes' claims, which are evicted with their pods --- */

/* A share is evicted with all containers that hold it. */
static void evict_share(struct impact *a, struct impact_container *share)
{
	share->ends = true;
	for (size_t i = 0; i < a->n; i++)
		if (stow_record_holds(a->list[i].record, share->record->key))
			a->list[i].ends = true;
}

/* A claim cannot move: it was allocated on this NUMA node. */
static int decide_share(struct impact *a, struct impact_container *c, struct stow_err *err)
{
	static const char *const whys[] = {
		[STOW_DRAIN_MODE_REPIN] = "and cannot be moved; delete its pod, or give the claim "
					  "drain=evict",
		[STOW_DRAIN_MODE_EVICT] = "and drain=evict, but only an agent with \"kubernetes: "
					  "true\" can have its pod evicted; delete its pod",
		[STOW_DRAIN_MODE_REFUSE] = "and drain=refuse; delete its pod",
	};
	const struct stow_record *record = c->record;

	if (record->drain == STOW_DRAIN_MODE_EVICT && a->plan->evicts) {
		evict_share(a, c);
		return 0;
	}
	return stow_err_set(err, EBUSY,
			    "claim %.63s/%.253s (%.128s) has CPUs or memory of NUMA node %d %s",
			    record->ns, record->name, record->claim->part, a->plan->node,
			    whys[record->drain]);
}

/* Evict the shares that a container holds, as far as they allow it. */
static int decide_holder(struct impact *a, const struct impact_container *c, struct stow_err *err)
{
	const struct stow_record *record = c->record;
	int r = 0;

	for (size_t i = 0; i < a->n && r == 0; i++)
		if (stow_record_holds(record, a->list[i].record->key) &&
		    a->list[i].record->drain == STOW_DRAIN_MODE_EVICT)
			r = decide_share(a, &a->list[i], err);
	return r;
}

/* Choose the share to evict when the rest of the node is too small and no container can move. */
static struct impact_container *next_to_evict(struct impact *a, uint64_t short_of)
{
	struct impact_container *best = NULL;

	for (size_t i = 0; i < a->n; i++) {
		struct impact_container *c = &a->list[i];
		uint64_t gain = c->memory + c->hugepages;
		uint64_t other = best ? best->memory + best->hugepages : 0;

		if (c->ends || gain == 0 || !a->plan->evicts || !stow_record_is_share(c->record) ||
		    c->record->drain != STOW_DRAIN_MODE_EVICT)
			continue;
		if (!best || is_better(gain, other, short_of))
			best = c;
	}
	return best;
}

/* Decide what is done with a container; fail when its memory must move and may not. */
static int decide_one(struct impact *a, struct impact_container *c, bool must_leave,
		      struct stow_err *err)
{
	const struct stow_record *record = c->record;
	char bytes[32];

	if (c->ends)
		return 0;
	if (record->state == STOW_STATE_LEASE) {
		if (!must_leave)
			return 0;
		if (stow_record_is_share(record))
			return decide_share(a, c, err);
		return stow_err_set(err, EBUSY,
				    "NUMA node %d is reserved for \"%.128s\" (%s), which has not "
				    "started yet; wait for it, or release the reservation",
				    a->plan->node, name_of(record),
				    *record->reservation ? record->reservation : record->id);
	}
	if (record->drain == STOW_DRAIN_MODE_REFUSE && (must_leave || c->bytes))
		return stow_err_set(err, EBUSY,
				    "container \"%.128s\" (%.64s) has drain=refuse, and %s there",
				    name_of(record), record->id,
				    c->bytes ? stow_format_size(c->bytes, bytes, sizeof(bytes))
					     : "its promise");
	if (record->drain == STOW_DRAIN_MODE_EVICT && (must_leave || c->bytes) &&
	    stow_record_is_holder(record))
		return decide_holder(a, c, err);
	if (record->drain == STOW_DRAIN_MODE_EVICT && (must_leave || c->bytes))
		c->ends = true;
	else if (must_leave)
		c->leaves = true;
	return 0;
}

/* Return how much the node gains when the container has moved. */
static uint64_t gain_of(const struct impact_container *c)
{
	uint64_t promised = c->memory + c->hugepages;

	return STOW_MAX(promised, c->anon);
}

/* Choose the container to move when the rest of the node is too small. */
static struct impact_container *next_to_leave(struct impact *a, uint64_t short_of)
{
	struct impact_container *best = NULL;

	for (size_t i = 0; i < a->n; i++) {
		struct impact_container *c = &a->list[i];
		uint64_t gain = gain_of(c), other = best ? gain_of(best) : 0;

		if (c->leaves || c->ends || gain == 0 || c->record->state != STOW_STATE_ACTIVE ||
		    stow_record_is_holder(c->record) || c->record->drain != STOW_DRAIN_MODE_REPIN ||
		    !stow_idset_has(&c->record->nodes, a->plan->node))
			continue;
		if (!best || is_better(gain, other, short_of))
			best = c;
	}
	return best;
}

/* Return whether a repin in progress moves the container's memory to that node. */
static bool moves_to(const struct stow_record *record, int node)
{
	for (size_t i = 0; record->move && i < record->move->n_shares; i++)
		if (record->move->shares[i].node == node)
			return true;
	return false;
}

/* Kubernetes deletes the pods of all shares of the node, whatever their claims say. */
static int evict_all_shares(struct impact *a, struct stow_err *err)
{
	for (size_t i = 0; i < a->n; i++)
		if (stow_record_is_share(a->list[i].record) &&
		    stow_idset_has(&a->list[i].record->nodes, a->plan->node))
			evict_share(a, &a->list[i]);
	return stow_drain_note(a->plan,
			       "Kubernetes deletes all pods that have a share of NUMA node %d, "
			       "whatever their claims and disruption budgets say",
			       a->plan->node) < 0
		       ? stow_err_set(err, ENOMEM, "out of memory")
		       : 0;
}

static int decide(struct impact *a, struct stow_err *err)
{
	uint64_t short_of;
	char text[32];
	int r = a->plan->force_taint ? evict_all_shares(a, err) : 0;

	for (size_t i = 0; i < a->n && r == 0; i++) {
		struct impact_container *c = &a->list[i];

		if (moves_to(c->record, a->plan->node))
			return stow_err_set(err, EBUSY,
					    "container %.128s is being moved to NUMA "
					    "node %d at this moment; wait for it",
					    c->record->id, a->plan->node);
		r = decide_one(a, c,
			       a->plan->whole_node &&
				       stow_idset_has(&c->record->nodes, a->plan->node),
			       err);
	}
	while (r == 0 && !a->plan->whole_node && (short_of = shortage(a)) > 0) {
		struct impact_container *c = next_to_leave(a, short_of);
		struct impact_container *share = c ? NULL : next_to_evict(a, short_of);

		if (share) {
			evict_share(a, share);
			continue;
		}
		if (!c)
			return stow_err_set(err, ENOSPC,
					    "NUMA node %d would be short of %s for what it has "
					    "promised and what is bound to it, and no container "
					    "there can move",
					    a->plan->node,
					    stow_format_size(short_of, text, sizeof(text)));
		c->leaves = true;
	}
	return r;
}

/* --- where they move ------------------------------------------------------ */

static int on_planned(void *ctx, const struct stow_repin_progress *progress)
{
	struct impact_container *c = ctx;

	c->nodes = progress->to;
	return 0;
}

static int find_place(struct impact *a, struct impact_container *c, struct stow_err *err)
{
	struct stow_repin_options options = { .dry_run = true, .progress = on_planned, .ctx = c };
	struct stow_err why = { 0 };
	int r;

	for (size_t i = 0; i < a->topology->n_nodes; i++)
		if (a->topology->nodes[i].id != a->plan->node && a->topology->nodes[i].mem_total)
			stow_idset_add(&options.nodes, a->topology->nodes[i].id);
	if (stow_idset_empty(&options.nodes))
		return stow_err_set(err, ENOSPC,
				    "container \"%.128s\" would have nowhere to go: there is no "
				    "other NUMA node with memory",
				    name_of(c->record));
	r = stow_repin(a->context, c->record->id, &options, &why);
	if (r == -ESRCH || r == -ENOENT) { /* it has just ended */
		c->leaves = false;
		return 0;
	}
	return r < 0 ? stow_err_set(err, r == -ENOSPC ? ENOSPC : EBUSY,
				    "container \"%.128s\" (%.64s) would have nowhere to go: %s",
				    name_of(c->record), c->record->id, why.msg)
		     : 0;
}

/* Return the most that may have to move. Without /proc/kpage* the content of the blocks is unknown:
 * it may be all that the node has in use. */
static uint64_t most_to_move(const struct impact *a)
{
	const struct stow_node *node = stow_topology_node(a->topology, a->plan->node);
	uint64_t used = node ? stow_saturating_sub(node->mem_total, node->mem_available) : 0;

	return STOW_MIN(used, a->plan->bytes);
}

/* Check that what must move off the blocks fits on the other nodes above their watermarks: the
 * kernel moves it there first, whatever cpusets allow, and it is moved back later. */
static int check_room(struct impact *a, struct stow_err *err)
{
	uint64_t room = 0, free_huge = 0;
	uint64_t needed = a->plan->use_known ? a->plan->to_move : most_to_move(a);
	char list[512] = "", need[32], have[32];
	size_t len = 0;
	bool others = false;

	for (size_t b = 0; b < a->plan->n_blocks; b++) {
		const struct stow_block_use *use = &a->plan->blocks[b].use;

		for (size_t p = 0; p < use->n_pools; p++)
			free_huge += stow_saturating_sub(use->pools[p].pages, use->pools[p].used) *
				     use->pools[p].size;
	}
	/* Free hugepages are dissolved, not moved. */
	needed = stow_saturating_sub(needed, free_huge);
	for (size_t i = 0; i < a->n; i++)
		if (a->list[i].ends)
			needed = stow_saturating_sub(needed, a->list[i].bytes);
	for (size_t i = 0; i < a->topology->n_nodes; i++) {
		const struct stow_node *node = &a->topology->nodes[i];
		uint64_t has = node->mem_available;

		if (node->id == a->plan->node || node->mem_total == 0)
			continue;
		others = true;
		room += has;
		if (len < sizeof(list))
			len += (size_t)snprintf(list + len, sizeof(list) - len, "%snode %d has %s",
						len ? ", " : "", node->id,
						stow_format_size(has, have, sizeof(have)));
	}
	if (!others) {
		const struct stow_node *node = stow_topology_node(a->topology, a->plan->node);

		room = node ? stow_saturating_sub(node->mem_available,
						  stow_saturating_sub(a->plan->bytes, needed))
			    : 0;
		snprintf(list, sizeof(list), "there is no other node, and this one has %s",
			 stow_format_size(room, have, sizeof(have)));
	}
	if (needed <= room)
		return 0;
	return stow_err_set(
		err, ENOSPC,
		"%s must move and would push other NUMA nodes below their watermarks: %s",
		stow_format_size(needed, need, sizeof(need)), list);
}

/* --- the result ----------------------------------------------------------- */

/* Return what the first of the container's processes that keeps pages in place does that with;
 * "" if none does, or it is not known. NULL: out of memory. */
static char *suspected_hold(struct stow_root *root, const struct stow_record *record)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	_cleanup_free_ pid_t *pids = NULL;
	char text[256];
	size_t n = 0;

	if (root->live && stow_cgroup_open(root, &record->cgroup, &cgroup, NULL) == 0 &&
	    stow_cgroup_pids(cgroup, &pids, &n, NULL) == 0)
		for (size_t i = 0; i < n; i++)
			if (*stow_process_holds(root, pids[i], text, sizeof(text)))
				return strdup(text);
	return strdup("");
}

static int add_affected(struct impact *a, const struct impact_container *c)
{
	const struct stow_record *record = c->record;
	struct stow_drain_affected *to = &a->plan->affected[a->plan->n_affected++];
	char label[STOW_RECORD_LABEL_MAX];

	*to = (struct stow_drain_affected){
		.key = record->key,
		.id = strdup(stow_record_label(record, label)),
		.holds = stow_record_is_holder(record) && c->ends,
		.pod = stow_text_copy(record->pod, SIZE_MAX),
		.ns = stow_text_copy(record->ns, SIZE_MAX),
		.name = stow_text_copy(record->name, SIZE_MAX),
		.bytes = c->bytes,
		.action = c->ends     ? STOW_DRAIN_ACTION_END
			  : c->leaves ? STOW_DRAIN_ACTION_MOVE
				      : STOW_DRAIN_ACTION_RETURN,
		.nodes = c->leaves ? c->nodes : record->nodes,
		.suspect = suspected_hold(a->context->root, record),
	};
	if (stow_record_is_share(record)) {
		to->uid = strdup(record->claim->uid);
		to->share = strdup(record->claim->share);
		if (!to->uid || !to->share)
			return -ENOMEM;
	}
	return to->id && to->pod && to->ns && to->name && to->suspect ? 0 : -ENOMEM;
}

static int report(struct impact *a, struct stow_err *err)
{
	int r = 0;

	a->plan->affected = calloc(a->n + 1, sizeof(*a->plan->affected));
	if (!a->plan->affected)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < a->n && r == 0; i++)
		if (a->list[i].bytes || a->list[i].leaves || a->list[i].ends)
			r = add_affected(a, &a->list[i]);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

static int read_machine(struct impact *a, struct stow_err *err)
{
	int r = 0;

	if (a->context->ledger)
		r = stow_ledger_records(a->context->ledger, NULL, &a->records, &a->n, err);
	if (r == 0)
		r = stow_topology_read(a->context->root,
				       STOW_TOPOLOGY_AVAILABLE | STOW_TOPOLOGY_POOLS, &a->topology,
				       err);
	if (r == 0 && a->context->ledger)
		r = stow_ledger_usage(a->context->ledger, &a->usage, err);
	if (r == 0)
		r = stow_capacity_build(a->topology, a->context->config, a->usage, NULL, NULL,
					&a->capacity, err);
	if (r < 0)
		return r;
	a->list = calloc(a->n + 1, sizeof(*a->list));
	if (!a->list)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (size_t i = 0; i < a->n; i++) {
		a->list[i].record = a->records[i];
		read_promise(&a->list[i], a->plan->node);
	}
	return 0;
}

int stow_drain_impact(const struct stow_grant_context *context, struct stow_drain_plan *plan,
		      struct stow_err *err)
{
	_cleanup_(impact_done) struct impact a = { .context = context, .plan = plan };
	struct stow_err why = { 0 };
	int r, r2;

	r = read_machine(&a, err);
	if (r == 0)
		r = attribute(&a, err);
	if (r < 0)
		return r;
	r = decide(&a, &why);
	for (size_t i = 0; i < a.n && r == 0; i++)
		if (a.list[i].leaves)
			r = find_place(&a, &a.list[i], &why);
	/* Report the affected containers also when the drain is refused. */
	r2 = report(&a, r < 0 ? NULL : &why);
	r = r < 0 ? r : r2;
	if (r == 0)
		r = check_room(&a, &why);
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}
