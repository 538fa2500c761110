// SPDX-License-Identifier: Apache-2.0
/* numastow hugepages set, spread, shrink, demote: changes of pools, which are all checked before
 * the first is made; and mount. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "cgroup/numa_own.h"
#include "cli/cli.h"
#include "cli/view/hugepages_view.h"
#include "grant/pool_admin.h"
#include "node/memory.h"

#define PAGES_MAX (UINT64_C(1) << 40)

enum verb { SET, SPREAD, SHRINK, DEMOTE, MOUNT };
static const char *const verbs[] = { "set", "spread", "shrink", "demote", "mount", NULL };

struct step {
	int node;
	uint64_t size, pages;
	struct stow_pool_change change;
	bool done; /* the kernel has taken the new number; `change` has what came of it */
};

struct work {
	const struct huge_asked *asked;
	struct cli_context context;
	enum verb verb;
	struct stow_idset nodes; /* all of the machine's */
	uint64_t sizes[STOW_POOLS_MAX];
	int n_sizes;
	struct step *steps;
	size_t n;
};

static void work_done(struct work *work)
{
	cli_context_done(&work->context);
	free(work->steps);
}

/* --- what is asked ------------------------------------------------------------------------ */

static int parse_size(const struct work *work, const char *text, uint64_t *ret,
		      struct stow_err *err)
{
	char have[256] = "", one[32];

	if (stow_parse_pagesize(text, ret, NULL) == 0)
		for (int i = 0; i < work->n_sizes; i++)
			if (work->sizes[i] == *ret)
				return 0;
	for (int i = 0; i < work->n_sizes; i++)
		stow_append(have, sizeof(have), "%s%s", i ? ", " : "",
			    stow_format_size(work->sizes[i], one, sizeof(one)));
	return stow_err_set(err, EINVAL, "\"%.32s\" is not a size of hugepages here; valid: %s",
			    text, have[0] ? have : "none, this machine has no hugepages");
}

static int parse_pages(const struct work *work, const char *word, uint64_t *ret_size,
		       uint64_t *ret_pages, struct stow_err *err)
{
	const char *equals = strchr(word, '=');
	char size[32];
	int r;

	if (!equals || (size_t)(equals - word) >= sizeof(size))
		return stow_err_set(err, EINVAL, "\"%.64s\" is not SIZE=COUNT, as in 2Mi=512",
				    word);
	snprintf(size, sizeof(size), "%.*s", (int)(equals - word), word);
	r = parse_size(work, size, ret_size, err);
	if (r < 0)
		return r;
	if (stow_parse_u64(equals + 1, PAGES_MAX, ret_pages, NULL) < 0)
		return stow_err_set(err, EINVAL,
				    "%s=%.32s: COUNT must be a number of pages, at most %" PRIu64,
				    size, equals + 1, PAGES_MAX);
	return 0;
}

static int parse_nodes(const struct work *work, const char *text, struct stow_idset *ret,
		       struct stow_err *err)
{
	char list[512];
	struct stow_idset missing;
	int r = 0;

	if (strcmp(text, "all") == 0)
		*ret = work->nodes;
	else
		r = stow_idset_parse(text, ret, NULL);
	stow_idset_format(&work->nodes, list, sizeof(list));
	if (r < 0 || stow_idset_empty(ret))
		return stow_err_set(err, EINVAL,
				    "\"%.64s\" is not a list of NUMA nodes; valid: %s, or all",
				    text, list);
	missing = *ret;
	stow_idset_minus(&missing, &work->nodes);
	if (!stow_idset_empty(&missing))
		return stow_err_set(err, ENOENT, "there is no NUMA node %d; valid: %s",
				    stow_idset_next(&missing, 0), list);
	return 0;
}

static bool has_pool(struct work *work, int node, uint64_t size)
{
	struct stow_pool pool;

	return stow_pool_read(work->context.root, node, size, &pool, NULL) == 0;
}

static int add_step(struct work *work, int node, uint64_t size, uint64_t pages,
		    struct stow_err *err)
{
	struct step *step;

	for (size_t i = 0; i < work->n; i++)
		if (work->steps[i].node == node && work->steps[i].size == size)
			return stow_err_set(err, EINVAL, "node %d: two counts for one page size",
					    node);
	step = STOW_APPEND(work->steps, work->n);
	if (!step)
		return stow_err_sys(err, ENOMEM, "pools");
	step->node = node;
	step->size = size;
	step->pages = pages;
	return 0;
}

/* set and demote: NODES SIZE=COUNT... */
static int plan_each(struct work *work, struct stow_err *err)
{
	const struct huge_asked *asked = work->asked;
	struct stow_idset nodes;
	uint64_t size, pages;
	int r;

	if (asked->n_words < 3)
		return stow_err_set(err, EINVAL,
				    "%s needs NODES and SIZE=COUNT, as in \"%s 0-1 %s\"",
				    asked->words[0], asked->words[0],
				    work->verb == SET ? "2Mi=512" : "1Gi=1");
	r = parse_nodes(work, asked->words[1], &nodes, err);
	for (int i = 2; i < asked->n_words && r == 0; i++) {
		r = parse_pages(work, asked->words[i], &size, &pages, err);
		for (int node = stow_idset_next(&nodes, 0); node >= 0 && r == 0;
		     node = stow_idset_next(&nodes, node + 1))
			r = add_step(work, node, size, pages, err);
	}
	return r;
}

/* Give each node the same number of pages, and one of the remaining pages each to those with the
 * most free memory. */
static int plan_size(struct work *work, uint64_t size, uint64_t pages, struct stow_err *err)
{
	struct stow_idset nodes = { 0 }, first = { 0 };
	uint64_t n = 0, rest;
	int r = 0;

	STOW_IDSET_FOR(node, &work->nodes) {
		if (!cli_output_wants_node(&work->asked->out, node) || !has_pool(work, node, size))
			continue;
		stow_idset_add(&nodes, node);
		n++;
	}
	if (!n)
		return stow_err_set(err, ENOENT,
				    "none of the NUMA nodes has hugepages of this size");
	for (rest = pages % n; rest; rest--) {
		uint64_t most = 0;
		int best = -1;

		STOW_IDSET_FOR(node, &nodes) {
			struct stow_meminfo memory = { 0 };

			(void)stow_meminfo_read(work->context.root, node, &memory, NULL);
			if (!stow_idset_has(&first, node) && (best < 0 || memory.free > most)) {
				most = memory.free;
				best = node;
			}
		}
		stow_idset_add(&first, best);
	}
	for (int node = stow_idset_next(&nodes, 0); node >= 0 && r == 0;
	     node = stow_idset_next(&nodes, node + 1))
		r = add_step(work, node, size, pages / n + stow_idset_has(&first, node), err);
	return r;
}

/* spread: SIZE=COUNT... */
static int plan_spread(struct work *work, struct stow_err *err)
{
	uint64_t size, pages;
	int r = 0;

	if (work->asked->n_words < 2)
		return stow_err_set(err, EINVAL,
				    "spread needs SIZE=COUNT, as in \"spread 2Mi=1024\"");
	for (int i = 1; i < work->asked->n_words && r == 0; i++) {
		r = parse_pages(work, work->asked->words[i], &size, &pages, err);
		if (r == 0)
			r = plan_size(work, size, pages, err);
	}
	return r;
}

/* shrink: [NODES [SIZE...]] */
static int plan_shrink(struct work *work, struct stow_err *err)
{
	const struct huge_asked *asked = work->asked;
	struct stow_idset nodes = work->nodes;
	uint64_t sizes[STOW_POOLS_MAX];
	int n = 0, r = 0;

	if (asked->n_words > 1)
		r = parse_nodes(work, asked->words[1], &nodes, err);
	for (int i = 2; i < asked->n_words && i - 2 < STOW_POOLS_MAX && r == 0; i++)
		r = parse_size(work, asked->words[i], &sizes[n++], err);
	for (; asked->n_words <= 2 && n < work->n_sizes; n++)
		sizes[n] = work->sizes[n];
	for (int node = stow_idset_next(&nodes, 0); node >= 0 && r == 0;
	     node = stow_idset_next(&nodes, node + 1))
		for (int i = 0; i < n && r == 0; i++)
			if (cli_output_wants_node(&asked->out, node) &&
			    has_pool(work, node, sizes[i]))
				r = add_step(work, node, sizes[i], 0, err);
	return r;
}

/* Check every step before the first is carried out, so that an invalid one changes nothing. */
static int check_steps(struct work *work, struct stow_err *err)
{
	struct stow_root *root = work->context.root;
	struct stow_ledger *ledger = work->context.ledger;
	char size[32];
	int r = 0;

	for (size_t i = 0; i < work->n && r == 0; i++) {
		const struct step *s = &work->steps[i];

		if (!has_pool(work, s->node, s->size))
			return stow_err_set(err, ENOENT, "node %d has no hugepages of %s", s->node,
					    stow_format_size(s->size, size, sizeof(size)));
		if (work->verb == SET || work->verb == SPREAD)
			r = stow_pool_may_set(root, ledger, s->node, s->size, s->pages, err);
		else if (work->verb == DEMOTE)
			r = stow_pool_may_split(root, ledger, s->node, s->size, s->pages, err);
	}
	return r;
}

/* --- carrying out ----------------------------------------------------------------------------- */

static int run_step(struct work *work, struct step *s, struct stow_err *err)
{
	struct stow_root *root = work->context.root;
	struct stow_ledger *ledger = work->context.ledger;

	switch (work->verb) {
	case SET:
	case SPREAD:
		return stow_pool_set(root, ledger, s->node, s->size, s->pages, work->asked->compact,
				     &s->change, err);
	case SHRINK:
		return stow_pool_shrink(root, ledger, s->node, s->size, &s->change, err);
	case DEMOTE:
		return stow_pool_split(root, ledger, s->node, s->size, s->pages, &s->change, err);
	case MOUNT: /* has no steps */
		break;
	}
	return 0;
}

static void print_step(const struct work *work, const struct step *s)
{
	const struct stow_pool_change *c = &s->change;
	struct stow_idset node = { 0 };
	char size[32], small[32];
	struct stow_err why;

	stow_idset_add(&node, s->node);
	stow_format_size(s->size, size, sizeof(size));
	if (c->split_size) {
		printf("node %d: %" PRIu64 " of %" PRIu64 " hugepages of %s became %" PRIu64
		       " of %s; %" PRIu64 " are left\n",
		       s->node, c->before - c->after, c->wanted, size, c->got,
		       stow_format_size(c->split_size, small, sizeof(small)), c->after);
		return;
	}
	printf("node %d: ", s->node);
	if (c->after < c->wanted)
		printf("%" PRIu64 " of %" PRIu64, c->after, c->wanted);
	else
		printf("%" PRIu64, c->after);
	printf(" hugepages of %s (were %" PRIu64 ")", size, c->before);
	if (c->after < c->wanted && stow_own_mems_check(work->context.root, &node, &why) < 0)
		printf(": %s", why.msg);
	else if (c->after < c->wanted)
		printf(": the node has no more free memory in pieces of this size%s",
		       work->asked->compact ? "" : "; --compact makes some, where it can");
	else if (c->after > c->wanted)
		printf(", not %" PRIu64 ": programs have reserved the others", c->wanted);
	if (c->surplus)
		printf("; %" PRIu64 " more are in use, and freed with their last user", c->surplus);
	putchar('\n');
}

static int print_json(const struct work *work)
{
	struct json_writer w;
	json_object *o = cli_output_object(&w), *list = json_object_new_array();

	for (size_t i = 0; i < work->n; i++) {
		const struct stow_pool_change *c = &work->steps[i].change;
		json_object *item = json_object_new_object();

		if (!work->steps[i].done) {
			json_object_put(item);
			continue;
		}
		json_put(&w, item, "node", json_object_new_int(c->node));
		json_put(&w, item, "page_size", json_object_new_uint64(c->size));
		json_put(&w, item, "pages_wanted", json_object_new_uint64(c->wanted));
		json_put(&w, item, "pages_before", json_object_new_uint64(c->before));
		json_put(&w, item, "pages_after", json_object_new_uint64(c->after));
		json_put(&w, item, "pages_surplus", json_object_new_uint64(c->surplus));
		if (c->split_size) {
			json_put(&w, item, "split_size", json_object_new_uint64(c->split_size));
			json_put(&w, item, "pages_got", json_object_new_uint64(c->got));
		}
		json_put(&w, item, "whole", json_object_new_boolean(stow_pool_change_is_whole(c)));
		json_append(&w, list, item);
	}
	json_put(&w, o, "changes", list);
	return json_print(&w, o);
}

/* Let the next boot make the same pools, and name the kernel parameter that does it earlier. */
static int persist(const struct work *work, struct stow_err *err)
{
	_cleanup_(stow_hugeboot_done) struct stow_hugeboot_list boot = { 0 };
	_cleanup_free_ char *parameters = NULL;
	int r = stow_hugeboot_read(work->context.root, &boot, err);

	for (size_t i = 0; i < work->n && r == 0; i++) {
		const struct step *s = &work->steps[i];
		const struct stow_pool_change *c = &s->change;
		struct stow_pool small;

		if (!s->done)
			continue;
		r = stow_hugeboot_set(
			&boot, s->node, s->size,
			work->verb == SET || work->verb == SPREAD ? s->pages : c->after, err);
		if (r == 0 && c->split_size &&
		    stow_pool_read(work->context.root, s->node, c->split_size, &small, NULL) == 0)
			r = stow_hugeboot_set(
				&boot, s->node, c->split_size,
				small.total > small.surplus ? small.total - small.surplus : 0, err);
	}
	if (r == 0)
		r = stow_hugeboot_write(work->context.root, &boot, err);
	if (r < 0 || work->asked->out.quiet || work->asked->out.json)
		return r;
	parameters = stow_hugeboot_parameters(&boot);
	if (!boot.n)
		printf("set at boot: nothing any more (" STOW_HUGEBOOT_UNIT " is removed)\n");
	else
		printf("set at boot: by " STOW_HUGEBOOT_FILE "\n"
		       "or, earlier, by the kernel parameters (since 5.16): %s\n",
		       parameters ? parameters : "?");
	return 0;
}

static int run_steps(struct work *work)
{
	struct stow_err err = { 0 };
	size_t failed = 0, moved = 0, whole = 0;
	bool say = !work->asked->out.quiet && !work->asked->out.json;

	if (work->verb == SET || work->verb == SPREAD)
		cli_widen_mems(work->context.root);
	for (size_t i = 0; i < work->n; i++) {
		struct step *s = &work->steps[i];

		if (run_step(work, s, &err) < 0) {
			(void)cli_fail(&err);
			failed++;
			continue;
		}
		s->done = true;
		moved += s->change.before != s->change.after;
		whole += stow_pool_change_is_whole(&s->change);
		if (say)
			print_step(work, s);
	}
	if (work->asked->persist && failed < work->n && persist(work, &err) < 0) {
		(void)cli_fail(&err);
		failed++;
	}
	if (work->asked->out.json && print_json(work) < 0)
		failed++;
	if (!failed && whole == work->n)
		return CLI_OK;
	return moved || whole ? CLI_PARTIAL : CLI_FAILED;
}

static int mount_pages(const struct huge_asked *asked)
{
	_cleanup_(work_done) struct work work = { .asked = asked };
	struct stow_err err = { 0 };
	uint64_t size;
	int r;

	if (asked->n_words != 3)
		return cli_wrong_usage("hugepages", "mount needs SIZE and FOLDER");
	r = stow_root_open(asked->out.sysroot, &work.context.root, &err);
	if (r == 0)
		r = work.n_sizes = stow_pool_sizes(work.context.root, work.sizes, &err);
	if (r < 0)
		return cli_fail(&err);
	if (parse_size(&work, asked->words[1], &size, &err) < 0)
		return cli_wrong_usage("hugepages", "%s", err.msg);
	if (stow_hugetlbfs_mount(work.context.root, asked->words[2], size, asked->limit, &err) < 0)
		return cli_fail(&err);
	if (!asked->out.quiet) {
		printf("%s: hugetlbfs of %s\n", asked->words[2], asked->words[1]);
		if (asked->persist)
			printf("at boot, with this line in /etc/fstab:\n"
			       "hugetlbfs %s hugetlbfs pagesize=%" PRIu64,
			       asked->words[2], size);
		if (asked->persist && asked->limit)
			printf(",size=%" PRIu64, asked->limit);
		if (asked->persist)
			printf(",nosuid,nodev 0 0\n");
	}
	return CLI_OK;
}

int huge_change(const struct huge_asked *asked)
{
	_cleanup_(work_done) struct work work = { .asked = asked };
	static int (*const plans[])(struct work * work, struct stow_err * err) = {
		[SET] = plan_each,
		[SPREAD] = plan_spread,
		[SHRINK] = plan_shrink,
		[DEMOTE] = plan_each,
	};
	char why[STOW_WHY_MAX];
	struct stow_err err = { 0 };
	int r = stow_parse_word_why(asked->words[0], verbs, why);

	if (r < 0)
		return cli_wrong_usage("hugepages", "\"%.32s\" %s", asked->words[0], why);
	work.verb = (enum verb)r;
	if (work.verb == MOUNT)
		return mount_pages(asked);
	r = cli_context_open_anyway(&work.context, asked->out.sysroot, true, &err);
	if (r < 0)
		return cli_fail(&err);
	huge_nodes(work.context.root, &work.nodes);
	work.n_sizes = stow_pool_sizes(work.context.root, work.sizes, &err);
	if (work.n_sizes < 0)
		return cli_fail(&err);
	r = plans[work.verb](&work, &err);
	if (r == -EINVAL)
		return cli_wrong_usage("hugepages", "%s", err.msg);
	if (r == 0)
		r = check_steps(&work, &err);
	return r < 0 ? cli_fail(&err) : run_steps(&work);
}
