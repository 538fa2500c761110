// SPDX-License-Identifier: Apache-2.0
/* Reading what numastow hugepages shows. */
#include "cli/view/hugepages_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/limits.h"
#include "cli/cli.h"
#include "grant/discover.h"
#include "node/memory.h"

void huge_view_done(struct huge_view *view)
{
	for (size_t i = 0; i < view->n_users; i++) {
		free(view->users[i].name);
		free(view->users[i].called);
	}
	stow_names_done(&view->names);
	free(view->users);
	free(view->pools);
	free(view->mounts_used);
	free(view->transparent);
	free(view->vmstat);
	stow_hugetlbfs_done(&view->mounts);
	stow_knob_settings_done(&view->settings);
}

void huge_nodes(struct stow_root *root, struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	(void)stow_root_list_ids(root, "/sys/devices/system/node", "node", ret, NULL);
	if (stow_idset_empty(ret))
		stow_idset_add(ret, 0);
}

/* --- pools -------------------------------------------------------------------------------- */

static int read_pools(struct stow_root *root, struct huge_view *view, const uint64_t *sizes,
		      size_t n_sizes, const struct stow_idset *nodes, struct stow_err *err)
{
	STOW_IDSET_FOR(node, nodes) {
		for (size_t i = 0; i < n_sizes && cli_output_wants_node(view->out, node); i++) {
			struct huge_pool pool = { .node = node, .size = sizes[i] }, *place;
			struct stow_err why = { 0 };
			int r = stow_pool_read(root, node, sizes[i], &pool.pool, &why);

			/* A node without memory may have none. */
			if (r == -ENOENT &&
			    stow_root_exists(root,
					     "/sys/devices/system/node/node%d/"
					     "hugepages/hugepages-%" PRIu64 "kB/nr_hugepages",
					     node, sizes[i] >> 10) == 0)
				continue;
			pool.known = r == 0;
			if (r < 0)
				(void)cli_fail(&why);
			place = STOW_APPEND(view->pools, view->n_pools);
			if (!place)
				return stow_err_sys(err, ENOMEM, "pools");
			*place = pool;
		}
	}
	return 0;
}

static void read_boot(struct stow_root *root, struct huge_view *view)
{
	_cleanup_(stow_hugeboot_done) struct stow_hugeboot_list boot = { 0 };

	/* --persist reports what is wrong with it. */
	if (stow_hugeboot_read(root, &boot, NULL) < 0)
		return;
	for (size_t i = 0; i < boot.n; i++)
		for (size_t k = 0; k < view->n_pools; k++)
			if (view->pools[k].node == boot.list[i].node &&
			    view->pools[k].size == boot.list[i].size)
				view->pools[k].boot = boot.list[i].pages;
}

/* --- users -------------------------------------------------------------------------------- */

/* `called`: what people call it; NULL: not known. */
static int add_user(struct huge_view *view, const struct huge_user *user, const char *name,
		    const char *called, struct stow_err *err)
{
	struct huge_user *place = STOW_APPEND(view->users, view->n_users);

	if (!place)
		return stow_err_sys(err, ENOMEM, "users");
	*place = *user;
	place->name = stow_text_copy(name, 255);
	place->called = called ? stow_text_copy(called, 512) : NULL;
	return place->name && (place->called || !called) ? 0 : stow_err_sys(err, ENOMEM, "users");
}

static uint64_t promised_of(const struct stow_record *record, const struct huge_pool *pool)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < record->n_shares; i++)
		for (size_t p = 0; p < record->n_pages; p++)
			if (record->shares[i].node == pool->node &&
			    record->pages[p].size == pool->size)
				sum += record->shares[i].pages[p];
	return sum;
}

static uint64_t used_of(struct stow_root *root, const struct stow_cgroup_id *id,
			const struct huge_pool *pool)
{
	_cleanup_(stow_cgroup_free_ptr) struct stow_cgroup *cgroup = NULL;
	uint64_t used;

	if (stow_cgroup_open(root, id, &cgroup, NULL) < 0 ||
	    stow_hugetlb_used(cgroup, pool->size, pool->node, &used, NULL) < 0)
		return STOW_UNKNOWN;
	return used;
}

/* Add the grants of one pool. */
static int read_grants(struct cli_context *context, struct huge_view *view, struct huge_pool *pool,
		       struct stow_err *err)
{
	struct stow_ledger_pool row;
	struct stow_record **records;
	size_t n;
	int r = stow_ledger_pool_get(context->ledger, pool->node, pool->size, &row, err);

	if (r == 0)
		r = stow_ledger_pool_records(context->ledger, pool->node, pool->size, &records, &n,
					     err);
	if (r < 0)
		return r;
	pool->ledger_known = true;
	pool->added = row.added;
	for (size_t i = 0; i < n && r == 0; i++) {
		char label[STOW_RECORD_LABEL_MAX];
		struct huge_user user = { .kind = "container",
					  .node = pool->node,
					  .size = pool->size,
					  .promised = promised_of(records[i], pool),
					  .used = used_of(context->root, &records[i]->cgroup,
							  pool) };

		pool->promised += user.promised;
		r = add_user(view, &user, stow_record_label(records[i], label),
			     stow_names_find(&view->names, records[i]->id), err);
	}
	stow_records_free(records, n);
	return r;
}

/* Add containers without a grant, by their cgroups. */
static int read_discovered(struct stow_root *root, struct huge_view *view, struct stow_err *err)
{
	struct stow_discovery found = { 0 };
	size_t grants = view->n_users;
	int r = 0;

	if (stow_discover(root, NULL, NULL, &found, NULL) < 0)
		return 0;
	for (size_t i = 0; i < found.n && r == 0; i++) {
		struct stow_unmanaged container = { 0 };
		bool has_grant = false;

		for (size_t k = 0; k < grants; k++)
			has_grant = has_grant || strcmp(view->users[k].name, found.list[i].id) == 0;
		if (has_grant || stow_discover_read(root, &found.list[i], &container, NULL) <= 0)
			continue;
		for (size_t k = 0; k < view->n_pools && r == 0; k++) {
			const struct huge_pool *pool = &view->pools[k];
			struct huge_user user = { .kind = "container",
						  .node = pool->node,
						  .size = pool->size,
						  .promised = STOW_UNKNOWN,
						  .used = used_of(root, &container.cgroup, pool) };

			if (user.used && user.used != STOW_UNKNOWN)
				r = add_user(view, &user, found.list[i].id,
					     stow_names_find(&view->names, found.list[i].id), err);
		}
		stow_unmanaged_done(&container);
	}
	stow_discovery_done(&found);
	return r;
}

static int read_processes(struct stow_root *root, struct huge_view *view, struct stow_err *err)
{
	_cleanup_(stow_huge_users_done) struct stow_huge_users users = { 0 };
	int r = stow_huge_users_read(root, &users, err);

	for (size_t i = 0; i < users.n && r == 0; i++) {
		const struct stow_huge_user *u = &users.list[i];
		struct huge_user user = { .kind = "process",
					  .node = u->node,
					  .size = u->size,
					  .used = u->pages,
					  .promised = STOW_UNKNOWN };
		char name[96];

		snprintf(name, sizeof(name), "%d (%s)", (int)u->pid, u->name);
		if (cli_output_wants_node(view->out, u->node))
			r = add_user(view, &user, name, NULL, err);
	}
	view->hidden = users.hidden;
	return r;
}

static int read_users(struct cli_context *context, struct huge_view *view, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_names_read(context->root, &view->names, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->n_pools && r == 0; i++)
		if (context->ledger)
			r = read_grants(context, view, &view->pools[i], &why);
		else /* nothing was placed, unless the ledger could not be opened */
			view->pools[i].ledger_known = context->config != NULL;
	if (r < 0)
		(void)cli_fail(&why);
	r = read_discovered(context->root, view, err);
	return r < 0 ? r : read_processes(context->root, view, err);
}

/* --- mounts and transparent hugepages ------------------------------------------------------ */

static int read_mounts(struct stow_root *root, struct huge_view *view, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_hugetlbfs_read(root, &view->mounts, &why);

	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if (r < 0)
		(void)cli_fail(&why);
	view->mounts_used = calloc(view->mounts.n + 1, sizeof(*view->mounts_used));
	if (!view->mounts_used)
		return stow_err_sys(err, ENOMEM, "mounts");
	/* A copied tree has the folders, if any, without what was mounted on them. */
	for (size_t i = 0; i < view->mounts.n; i++)
		if (!root->live || stow_hugetlbfs_used(root, &view->mounts.list[i],
						       &view->mounts_used[i], NULL) < 0)
			view->mounts_used[i] = STOW_UNKNOWN;
	return 0;
}

/* Read "Node 0 AnonHugePages:   2048 kB" in bytes. */
static uint64_t meminfo_field(const char *text, const char *key)
{
	const char *at = strstr(text, key);
	uint64_t bytes;

	return at && stow_parse_kib(at, key, &bytes) ? bytes : STOW_UNKNOWN;
}

static int read_transparent(struct stow_root *root, struct huge_view *view,
			    const struct stow_idset *nodes, struct stow_err *err)
{
	struct stow_knob_settings all = { 0 };
	size_t n = 0;
	int r = stow_knobs_read(root, &all, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < all.n; i++)
		if (strcmp(all.list[i].knob->group, "thp") == 0 &&
		    all.list[i].state != STOW_KNOB_ABSENT)
			all.list[n++] = all.list[i];
	all.n = n;
	view->settings = all;
	(void)stow_root_read(root, STOW_ROOT_READ_MAX, &view->vmstat, NULL, NULL, "/proc/vmstat");
	STOW_IDSET_FOR(node, nodes) {
		_cleanup_free_ char *text = NULL;
		struct huge_transparent *t;

		if (!cli_output_wants_node(view->out, node) ||
		    stow_root_read(root, STOW_ROOT_READ_MAX, &text, NULL, NULL,
				   "/sys/devices/system/node/node%d/meminfo", node) < 0)
			continue;
		t = STOW_APPEND(view->transparent, view->n_transparent);
		if (!t)
			return stow_err_sys(err, ENOMEM, "nodes");
		*t = (struct huge_transparent){ .node = node,
						.anonymous = meminfo_field(text, "AnonHugePages"),
						.shared = meminfo_field(text, "ShmemHugePages"),
						.file = meminfo_field(text, "FileHugePages") };
	}
	return 0;
}

int huge_view_read(struct cli_context *context, const struct cli_output *out, struct huge_view *ret,
		   struct stow_err *err)
{
	struct huge_view view = { .out = out };
	struct stow_root *root = context->root;
	uint64_t sizes[STOW_POOLS_MAX];
	struct stow_idset nodes;
	int n, r;

	huge_nodes(root, &nodes);
	n = stow_pool_sizes(root, sizes, err);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		stow_hugetlb_read(root, sizes[i], &view.machine[view.n_machine++]);
	r = read_pools(root, &view, sizes, (size_t)n, &nodes, err);
	if (r == 0) {
		read_boot(root, &view);
		r = read_users(context, &view, err);
	}
	if (r == 0)
		r = read_mounts(root, &view, err);
	if (r == 0)
		r = read_transparent(root, &view, &nodes, err);
	if (r < 0)
		huge_view_done(&view);
	else
		*ret = view;
	return r;
}
