// SPDX-License-Identifier: Apache-2.0
/* Why a request does not fit, and what would fit, for an administrator who reads it in a hurry. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "place/plan_internal.h"

#define SHOWN 4	 /* nodes that the line names */
#define TRIED 64 /* nodes up to which smaller requests are tried with the real planner */

struct look {
	const struct stow_capacity *capacity;
	const struct stow_request *request;
	int device_node, near_node;
	int max_nodes;
	bool cpus, memory, pages; /* resources that some node lacks */
	bool full_cores;	  /* only whole cores can be given; then: */
	uint64_t *whole;	  /* CPUs that are free as whole cores, for each node */
	uint32_t unit;		  /* the CPUs of a core; 1 where cores differ */
	uint32_t threads;	  /* the most CPUs of a core */
};

/* A node as the refusal sees it. */
struct view {
	size_t index; /* in capacity->nodes */
	enum stow_unfit unfit;
	struct stow_supply has;
	double shortfall; /* sum of the missing fractions, for sorting */
	bool cpus, memory, pages;
};

static void view_of(struct look *look, size_t index, struct view *v)
{
	const struct stow_request *req = look->request;
	struct stow_need need = { .cpus = req->cpus };
	uint64_t grown;

	memset(v, 0, sizeof(*v));
	v->index = index;
	v->unfit = stow_candidate_unfit(look->capacity, req, look->near_node, index);
	stow_supply_of(look->capacity, req, index, false, &v->has);
	if (look->full_cores && look->whole[index] < v->has.cpus)
		v->has.cpus = look->whole[index];
	if (look->full_cores)
		v->has.cpus -= v->has.cpus % look->unit;
	v->cpus = !v->has.runs_on || !stow_supply_covers(&v->has, &need, &grown);
	if (v->cpus && req->cpus && v->has.cpus < req->cpus)
		v->shortfall += 1 - (double)v->has.cpus / req->cpus;
	else if (v->cpus)
		v->shortfall += 1;
	need.cpus = 0;
	v->has.runs_on = 1;
	need.n = req->n_pages;
	for (size_t i = 0; i < req->n_pages; i++) {
		uint64_t can = v->has.free[i] + v->has.grow[i];

		need.size[i] = req->pages[i].size;
		need.count[i] = req->pages[i].count;
		if (can < req->pages[i].count)
			v->shortfall += 1 - (double)can / (double)req->pages[i].count;
	}
	v->pages = !stow_supply_covers(&v->has, &need, &grown);
	if (v->pages)
		grown = 0;
	v->memory = req->memory && (v->has.memory < grown || v->has.memory - grown < req->memory);
	if (v->memory)
		v->shortfall += 1 - (double)(v->has.memory - grown) / (double)req->memory;
	if (v->unfit != STOW_UNFIT_NOT)
		v->shortfall += 1000 + v->unfit;
}

static const char *unfit_text(enum stow_unfit unfit)
{
	switch (unfit) {
	case STOW_UNFIT_NOT:
		return "";
	case STOW_UNFIT_UNNAMED:
		return "is not among the requested nodes";
	case STOW_UNFIT_FENCED:
		return "is fenced";
	case STOW_UNFIT_FORBIDDEN:
		return "is outside the container's cgroup";
	case STOW_UNFIT_CPULESS:
		return "has no CPUs";
	case STOW_UNFIT_FAR:
		return "is not where the device is";
	}
	return "";
}

static uint32_t total_of(const struct stow_node_capacity *node, enum stow_cpu_mode mode)
{
	return mode == STOW_CPU_ISOLATED ? node->isolated_total : node->cpus_total;
}

static bool is_unknown(const struct look *look, const struct view *v)
{
	return look->capacity->topology->nodes[v->index].assumed & STOW_ASSUMED_MEMORY;
}

/* Print "4 of 8 free", or if several resources are short "4 of 8 CPUs and 2Gi of 16Gi memory
 * free". */
static void describe_free(const struct look *look, const struct view *v, char *buf, size_t size)
{
	const struct stow_node_capacity *node = &look->capacity->nodes[v->index];
	const struct stow_request *req = look->request;
	bool only_cpus = look->cpus && !look->memory && !look->pages;
	char a[32], b[32], page[32];
	const char *sep = "";

	if (look->cpus) {
		stow_append(buf, size, "%" PRIu64 " of %" PRIu32 "%s", v->has.cpus,
			    total_of(node, req->cpu_mode), only_cpus ? "" : " CPUs");
		sep = ", ";
	}
	if (look->memory && is_unknown(look, v)) {
		stow_append(buf, size, "%san unknown amount of memory", sep);
		sep = ", ";
	} else if (look->memory) {
		stow_append(buf, size, "%s%s of %s memory", sep,
			    stow_format_size(node->mem_free, a, sizeof(a)),
			    stow_format_size(node->mem_total, b, sizeof(b)));
		sep = ", ";
	}
	for (size_t i = 0; look->pages && i < req->n_pages; i++) {
		stow_append(buf, size, "%sroom for %s in %s pages", sep,
			    stow_format_size((v->has.free[i] + v->has.grow[i]) * req->pages[i].size,
					     a, sizeof(a)),
			    stow_format_size(req->pages[i].size, page, sizeof(page)));
		sep = ", ";
	}
	stow_append(buf, size, "%s%s", look->pages ? "" : " free",
		    look->cpus && look->full_cores ? " in whole cores" : "");
}

/* Print the detailed line about one node. */
static void describe_node(const struct look *look, const struct view *v, char *buf, size_t size)
{
	const struct stow_node_capacity *node = &look->capacity->nodes[v->index];
	const struct stow_request *req = look->request;
	char a[32], b[32];

	buf[0] = '\0';
	if (v->unfit != STOW_UNFIT_NOT) {
		stow_append(buf, size, "%s", unfit_text(v->unfit));
		return;
	}
	if (!v->cpus && !v->memory && !v->pages) {
		stow_append(buf, size, "has room");
		return;
	}
	if (v->cpus && req->cpu_mode == STOW_CPU_EXCLUSIVE && v->has.cpus < node->cpus_free)
		stow_append(buf, size,
			    "%" PRIu64 " of %" PRIu32 " CPUs may be taken, %" PRIu32 " are free; ",
			    v->has.cpus, node->cpus_total, node->cpus_free);
	else if (v->cpus)
		stow_append(buf, size, "%" PRIu64 " of %" PRIu32 " %sCPUs free; ", v->has.cpus,
			    total_of(node, req->cpu_mode),
			    req->cpu_mode == STOW_CPU_ISOLATED ? "isolated " : "");
	if (v->memory && is_unknown(look, v))
		stow_append(buf, size, "its memory is unknown; ");
	else if (v->memory && node->mem_real < node->mem_unpromised)
		stow_append(buf, size, "%s memory not promised, but only %s free; ",
			    stow_format_size(node->mem_unpromised, a, sizeof(a)),
			    stow_format_size(node->mem_real, b, sizeof(b)));
	else if (v->memory)
		stow_append(buf, size, "%s of %s memory not promised; ",
			    stow_format_size(node->mem_unpromised, a, sizeof(a)),
			    stow_format_size(node->mem_total, b, sizeof(b)));
	for (size_t i = 0; v->pages && i < req->n_pages; i++)
		stow_append(buf, size, "%" PRIu64 " free pages of %s and memory for %" PRIu64 "; ",
			    v->has.free[i], stow_format_size(req->pages[i].size, a, sizeof(a)),
			    v->has.grow[i]);
	if (strlen(buf) > 2 && strcmp(buf + strlen(buf) - 2, "; ") == 0)
		buf[strlen(buf) - 2] = '\0';
}

static const char *where(const struct look *look, char *buf, size_t size)
{
	const struct stow_request *req = look->request;
	char nodes[96];

	if (req->policy == STOW_POLICY_SINGLE_NUMA_NODE && look->near_node != look->device_node)
		snprintf(buf, size, "on %s",
			 stow_near_format(req, look->near_node, look->device_node, nodes,
					  sizeof(nodes)));
	else if (req->policy == STOW_POLICY_SINGLE_NUMA_NODE && look->near_node >= 0)
		snprintf(buf, size, "on node %d, where %.32s is", look->near_node, req->near);
	else if (req->policy == STOW_POLICY_SINGLE_NUMA_NODE && !req->nodes_auto)
		snprintf(buf, size, "on %s%s", stow_idset_count(&req->nodes) > 1 ? "one of " : "",
			 stow_nodes_format(&req->nodes, nodes, sizeof(nodes)));
	else if (req->policy == STOW_POLICY_SINGLE_NUMA_NODE)
		snprintf(buf, size, "on one NUMA node");
	else if (req->policy == STOW_POLICY_SPREAD)
		snprintf(buf, size, "spread evenly over NUMA nodes");
	else if (req->policy == STOW_POLICY_RESTRICTED && look->max_nodes == 0)
		snprintf(buf, size, "is more than this machine has");
	else if (req->policy == STOW_POLICY_RESTRICTED)
		snprintf(buf, size, "on %d NUMA node%s", look->max_nodes,
			 look->max_nodes == 1 ? "" : "s");
	else if (!req->nodes_auto)
		snprintf(buf, size, "on %s together",
			 stow_nodes_format(&req->nodes, nodes, sizeof(nodes)));
	else
		snprintf(buf, size, "on all NUMA nodes together");
	return buf;
}

static int by_shortfall(const void *a, const void *b)
{
	const struct view *x = a, *y = b;

	if (x->shortfall != y->shortfall)
		return x->shortfall < y->shortfall ? -1 : 1;
	return x->index < y->index ? -1 : x->index > y->index;
}

/* Find the resources that are short: on all nodes together, where several may be used; otherwise on
 * any of them. */
static void find_short(struct look *look, const struct view *views, size_t n)
{
	const struct stow_request *req = look->request;
	bool together =
		req->policy == STOW_POLICY_BEST_EFFORT || req->policy == STOW_POLICY_RESTRICTED;
	struct stow_supply sum = { 0 };
	uint64_t pages = 0;

	for (size_t i = 0; i < n; i++) {
		if (views[i].unfit != STOW_UNFIT_NOT)
			continue;
		stow_supply_add(&sum, &views[i].has, req->n_pages);
		look->cpus |= views[i].cpus;
		look->memory |= views[i].memory;
		look->pages |= views[i].pages;
	}
	for (size_t p = 0; p < req->n_pages; p++)
		if (sum.free[p] + sum.grow[p] < req->pages[p].count)
			pages++;
	if (together && (sum.cpus < req->cpus || sum.memory < req->memory || pages)) {
		look->cpus = sum.cpus < req->cpus;
		look->memory = sum.memory < req->memory;
		look->pages = pages > 0;
	}
}

/* Print the summary; this sorts `views` by what they lack. */
static void describe(struct look *look, struct view *views, size_t n, char *buf, size_t size)
{
	char need[160], place[160];
	size_t relevant = 0;

	for (size_t i = 0; i < n; i++)
		relevant +=
			views[i].unfit != STOW_UNFIT_UNNAMED && views[i].unfit != STOW_UNFIT_FAR;
	find_short(look, views, n);
	snprintf(buf, size, "%s %s", stow_need_format(look->request, need, sizeof(need)),
		 where(look, place, sizeof(place)));
	qsort(views, n, sizeof(*views), by_shortfall);
	for (size_t i = 0, shown = 0; i < n && shown < SHOWN; i++) {
		if (views[i].unfit == STOW_UNFIT_UNNAMED || views[i].unfit == STOW_UNFIT_FAR)
			continue;
		stow_append(buf, size, "%snode %d ", shown++ ? ", " : "; ",
			    look->capacity->nodes[views[i].index].id);
		if (views[i].unfit != STOW_UNFIT_NOT)
			stow_append(buf, size, "%s", unfit_text(views[i].unfit));
		else {
			stow_append(buf, size, "has ");
			describe_free(look, &views[i], buf, size);
		}
	}
	if (relevant > SHOWN)
		stow_append(buf, size, ", and %zu more node%s", relevant - SHOWN,
			    relevant - SHOWN == 1 ? "" : "s");
}

static bool takes_all(const struct look *look, const struct stow_request *req)
{
	return req->cpu_mode == STOW_CPU_EXCLUSIVE &&
	       req->cpus >= stow_idset_count(&look->capacity->nonexclusive);
}

/* Find where a request would fit, ignoring the CPU that must stay shared. */
static void try_all(const struct look *look, const struct stow_request *req, int near_node,
		    bool rough, struct stow_idset *ret)
{
	_cleanup_(stow_candidates_done) struct stow_candidates c = { 0 };
	_cleanup_free_ struct stow_share *shares = NULL;
	_cleanup_free_ int *set = NULL;
	int limit, n;

	memset(ret, 0, sizeof(*ret));
	limit = stow_node_limit(look->capacity, req, near_node, NULL);
	if (limit <= 0 || stow_candidates_init(&c, look->capacity, req, near_node, false, NULL) < 0)
		return;
	c.any = rough || c.n > TRIED;
	set = calloc((size_t)c.n + 1, sizeof(*set));
	shares = calloc((size_t)c.n + 1, sizeof(*shares));
	n = set && shares ? stow_plan_nodes(&c, req->policy, limit, set, shares) : 0;
	for (int i = 0; i < n; i++)
		stow_idset_add(ret, shares[i].node);
}

/* Find where a similar request would fit; an empty set for nowhere. `rough`: any nodes that would
 * do, rather than those that would be chosen, which takes longer. */
static void try(const struct look *look, const struct stow_request *req, int near_node, bool rough,
		struct stow_idset *ret)
{
	if (takes_all(look, req))
		memset(ret, 0, sizeof(*ret));
	else
		try_all(look, req, near_node, rough, ret);
}

static bool fits(const struct look *look, const struct stow_request *req, bool rough,
		 struct stow_idset *ret)
{
	try(look, req, look->near_node, rough, ret);
	return !stow_idset_empty(ret);
}

/* Return the largest number of CPUs, or of whole Mi of memory, that would fit, all else being
 * equal. */
static uint64_t most_that_fits(const struct look *look, bool memory, struct stow_idset *ret_nodes)
{
	struct stow_request req = *look->request;
	uint64_t unit = memory ? UINT64_C(1) << 20 : look->unit, low = 0;
	uint64_t high = ((memory ? req.memory : req.cpus) + unit - 1) / unit;

	while (low + 1 < high) {
		uint64_t middle = low + (high - low) / 2;
		struct stow_idset nodes;

		if (memory)
			req.memory = middle * unit;
		else
			req.cpus = (uint32_t)(middle * unit);
		if (fits(look, &req, true, &nodes)) {
			low = middle;
		} else {
			high = middle;
		}
	}
	if (memory)
		req.memory = low * unit;
	else
		req.cpus = (uint32_t)(low * unit);
	return low && fits(look, &req, false, ret_nodes) ? low * unit : 0;
}

/* Return whether this number of CPUs would leave half a core to another container, wherever it is
 * placed. */
static bool breaks_a_core(const struct look *look)
{
	struct stow_capacity any = *look->capacity;
	struct stow_plan *plan = NULL;

	if (!look->full_cores || look->unit > 1)
		return look->full_cores && look->request->cpus % look->unit;
	any.full_cores = false;
	if (stow_plan_attempt(&any, look->request, look->device_node, look->max_nodes, &plan,
			      NULL) < 0)
		return false;
	stow_plan_free(plan);
	return true;
}

/* Suggest the next number of CPUs that are whole cores: upwards, or else downwards. */
static bool suggest_cores(const struct look *look, char *buf, size_t size)
{
	struct stow_request req = *look->request;
	struct stow_plan *plan = NULL;
	char list[96];

	for (int step = 1; step <= 2 * (int)look->threads; step++) {
		int by = step <= (int)look->threads ? step : (int)look->threads - step;

		if ((int64_t)look->request->cpus + by < 1)
			break;
		req.cpus = (uint32_t)((int64_t)look->request->cpus + by);
		if (req.cpus % look->unit ||
		    stow_plan_attempt(look->capacity, &req, look->device_node, look->max_nodes,
				      &plan, NULL) < 0)
			continue;
		stow_append(buf, size, "%" PRIu32 " CPU%s would fit on %s", req.cpus,
			    req.cpus == 1 ? "" : "s",
			    stow_nodes_format(&plan->nodes, list, sizeof(list)));
		stow_plan_free(plan);
		return true;
	}
	return false;
}

static void suggest_less(const struct look *look, char *buf, size_t size)
{
	struct stow_idset nodes = { 0 };
	char list[96], bytes[32];
	uint64_t most;

	if (breaks_a_core(look) && suggest_cores(look, buf, size))
		return;
	if (look->request->cpus > 1) {
		most = most_that_fits(look, false, &nodes);
		if (most) {
			stow_append(buf, size, "%" PRIu64 " CPU%s would fit on %s", most,
				    most == 1 ? "" : "s",
				    stow_nodes_format(&nodes, list, sizeof(list)));
			return;
		}
	}
	if (!look->request->memory)
		return;
	most = most_that_fits(look, true, &nodes);
	if (most)
		stow_append(buf, size, "%s memory would fit on %s",
			    stow_format_size(most, bytes, sizeof(bytes)),
			    stow_nodes_format(&nodes, list, sizeof(list)));
}

/* If nothing else fits, suggest CPUs that are not isolated. */
static void suggest_exclusive(const struct look *look, char *buf, size_t size)
{
	struct stow_request req = *look->request;
	struct stow_idset nodes;
	char list[96];

	req.cpu_mode = STOW_CPU_EXCLUSIVE;
	if (look->request->cpu_mode == STOW_CPU_ISOLATED && !buf[0] &&
	    fits(look, &req, false, &nodes))
		stow_append(buf, size, "cpu-mode=exclusive would fit on %s",
			    stow_nodes_format(&nodes, list, sizeof(list)));
}

static void suggest_otherwise(const struct look *look, char *buf, size_t size)
{
	static const enum stow_policy others[] = { STOW_POLICY_SINGLE_NUMA_NODE,
						   STOW_POLICY_RESTRICTED,
						   STOW_POLICY_BEST_EFFORT };
	struct stow_request req = *look->request;
	const char *sep = buf[0] ? "; " : "";
	struct stow_idset nodes;
	char list[96];

	for (size_t i = 0; i < STOW_ARRAY_SIZE(others); i++) {
		req.policy = others[i];
		if (others[i] == look->request->policy || !fits(look, &req, false, &nodes))
			continue;
		stow_append(buf, size, "%spolicy=%s would fit on %s", sep,
			    stow_policy_name(others[i]),
			    stow_nodes_format(&nodes, list, sizeof(list)));
		return;
	}
	req.policy = look->request->policy;
	if (look->near_node >= 0) {
		try(look, &req, -1, false, &nodes);
		if (!stow_idset_empty(&nodes))
			stow_append(buf, size, "%swithout near it would fit on %s", sep,
				    stow_nodes_format(&nodes, list, sizeof(list)));
	} else if (!req.nodes_auto) {
		req.nodes_auto = true;
		if (fits(look, &req, false, &nodes))
			stow_append(buf, size, "%snodes=auto would fit on %s", sep,
				    stow_nodes_format(&nodes, list, sizeof(list)));
	}
}

static bool any_isolated(const struct stow_capacity *capacity)
{
	for (size_t i = 0; i < capacity->n_nodes; i++)
		if (capacity->nodes[i].isolated_total)
			return true;
	return false;
}

/* Compute what only requests for whole cores need. */
static int look_at_cores(struct look *look)
{
	bool even = true;
	int threads = 1, r;

	look->unit = look->threads = 1;
	look->full_cores = stow_wants_full_cores(look->capacity, look->request);
	if (!look->full_cores)
		return 0;
	r = stow_whole_cores(look->capacity, look->request->cpu_mode, look->whole, &threads, &even);
	look->threads = (uint32_t)threads;
	look->unit = even ? look->threads : 1;
	return r;
}

/* Print a reason that applies to the whole machine, instead of the line about nodes. */
static void describe_other_reasons(const struct look *look, char *buf, size_t size)
{
	const struct stow_request *request = look->request;
	uint64_t nonexclusive = stow_idset_count(&look->capacity->nonexclusive);
	struct stow_idset nodes = { 0 };
	char need[160];

	stow_need_format(request, need, sizeof(need));
	if (takes_all(look, request))
		try_all(look, request, look->near_node, true, &nodes);
	if (!stow_idset_empty(&nodes))
		snprintf(buf, size,
			 "%s; %" PRIu64 " CPU%s not exclusive yet, and one must remain shared",
			 need, nonexclusive, nonexclusive == 1 ? " is" : "s are");
	if (breaks_a_core(look))
		snprintf(buf, size,
			 "%s would leave part of a core to another container (full-cores "
			 "in " STOW_CONFIG_PATH ")",
			 need);
	if (request->cpu_mode == STOW_CPU_ISOLATED && !any_isolated(look->capacity))
		snprintf(buf, size,
			 "%s; no CPUs are isolated (isolcpus= on the kernel's command line, or "
			 "partitions: yes in " STOW_CONFIG_PATH ")",
			 need);
}

static void suggest(const struct look *look, char *buf, size_t size)
{
	if (look->capacity->n_nodes <= TRIED ||
	    look->request->policy == STOW_POLICY_SINGLE_NUMA_NODE)
		suggest_less(look, buf, size);
	/* The number of CPUs is not whole cores on any other nodes either. */
	if (!breaks_a_core(look))
		suggest_otherwise(look, buf, size);
	suggest_exclusive(look, buf, size);
}

int stow_refuse(const struct stow_capacity *capacity, const struct stow_request *request,
		int device_node, int near_node, int max_nodes, struct stow_refusal **ret_refusal,
		struct stow_err *err)
{
	_cleanup_(stow_refusal_free_ptr) struct stow_refusal *refusal = NULL;
	_cleanup_free_ struct view *views = NULL;
	_cleanup_free_ uint64_t *whole = calloc(capacity->n_nodes + 1, sizeof(*whole));
	struct look look = { .capacity = capacity,
			     .request = request,
			     .device_node = device_node,
			     .near_node = near_node,
			     .max_nodes = max_nodes,
			     .whole = whole };

	refusal = calloc(1, sizeof(*refusal));
	views = calloc(capacity->n_nodes + 1, sizeof(*views));
	if (refusal)
		refusal->nodes = calloc(capacity->n_nodes + 1, sizeof(*refusal->nodes));
	if (!refusal || !views || !refusal->nodes || !whole || look_at_cores(&look) < 0)
		return stow_err_set(err, ENOMEM, "out of memory");
	refusal->n_nodes = capacity->n_nodes;
	for (size_t i = 0; i < capacity->n_nodes; i++) {
		view_of(&look, i, &views[i]);
		refusal->nodes[i].id = capacity->nodes[i].id;
		describe_node(&look, &views[i], refusal->nodes[i].text,
			      sizeof(refusal->nodes[i].text));
	}
	describe(&look, views, capacity->n_nodes, refusal->text, sizeof(refusal->text));
	describe_other_reasons(&look, refusal->text, sizeof(refusal->text));
	suggest(&look, refusal->suggestion, sizeof(refusal->suggestion));
	*ret_refusal = STOW_TAKE_PTR(refusal);
	return 0;
}
