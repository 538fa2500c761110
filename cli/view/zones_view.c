// SPDX-License-Identifier: Apache-2.0
#include "cli/view/zones_view.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "cgroup/hierarchy.h"
#include "cgroup/hierarchy_entry.h"
#include "cli/cli.h"
#include "grant/discover.h"
#include "grant/names.h"
#include "node/memory.h"

static void read_page_size(struct stow_root *root, struct zones_view *view)
{
	struct stow_meminfo info = { 0 };
	char text[8192];
	int len = stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/meminfo");

	if (len < 0 || stow_meminfo_parse(text, (size_t)len, &info, NULL) < 0)
		info.total = 0;
	view->knobs.page_size = stow_zones_page_size(root, &view->zones, info.total);
	if (view->knobs.page_size == STOW_UNKNOWN)
		fprintf(stderr, "numastow: the size of a page is not known (/proc/meminfo has no "
				"MemTotal that fits the zones), and no size is\n");
}

/* --- pressure stall information ------------------------------------------- */

/* `id`, `name`: of the container; NULL: it is none, or has no name. */
static int add_cgroup(struct stow_root *root, struct zones_view *view, const char *point,
		      const char *path, const char *id, const char *name)
{
	_cleanup_free_ char *file = NULL;
	struct zones_cgroup *added;
	struct stow_psi psi = { 0 };

	if (asprintf(&file, "%s%s/memory.pressure", point, path) < 0) {
		file = NULL;
		return -ENOMEM;
	}
	if (stow_psi_read(root, file, &psi, NULL) < 0)
		return 0;
	added = STOW_APPEND(view->cgroups, view->n_cgroups);
	if (!added)
		return -ENOMEM;
	added->psi = psi;
	added->path = strdup(path);
	added->id = id ? strdup(id) : NULL;
	added->name = name ? strdup(name) : NULL;
	return added->path && (added->id || !id) && (added->name || !name) ? 0 : -ENOMEM;
}

/* The cgroups right below the top: slices, mostly. */
static int add_top_cgroups(struct stow_root *root, struct zones_view *view, const char *point)
{
	DIR *dir = stow_root_opendir(root, NULL, "%s", point);
	struct dirent *entry;
	int r = 0;

	while (dir && r == 0 && (entry = readdir(dir))) {
		_cleanup_free_ char *path = NULL;

		if (!stow_entry_is_cgroup(entry))
			continue;
		if (asprintf(&path, "/%s", entry->d_name) < 0) {
			path = NULL;
			r = -ENOMEM;
		} else {
			r = add_cgroup(root, view, point, path, NULL, NULL);
		}
	}
	if (dir)
		closedir(dir);
	return r;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct zones_cgroup *)a)->path,
		      ((const struct zones_cgroup *)b)->path);
}

/* Only cgroup v2 has it. */
static int read_cgroups(struct stow_root *root, struct zones_view *view)
{
	_cleanup_(stow_names_done) struct stow_names names = { 0 };
	struct stow_discovery found = { 0 };
	struct stow_hierarchy hierarchy;
	int r;

	if (stow_cgroup_hierarchy(root, STOW_CGROUP_CPUSET, &hierarchy, NULL) < 0 ||
	    hierarchy.version != 2)
		return 0;
	r = add_top_cgroups(root, view, hierarchy.point);
	if (r == 0 && stow_discover(root, NULL, NULL, &found, NULL) == 0 && found.n)
		r = stow_names_read(root, &names, NULL);
	for (size_t i = 0; r == 0 && i < found.n; i++)
		r = add_cgroup(root, view, hierarchy.point, found.list[i].path, found.list[i].id,
			       stow_names_find(&names, found.list[i].id));
	stow_discovery_done(&found);
	if (view->n_cgroups)
		qsort(view->cgroups, view->n_cgroups, sizeof(*view->cgroups), by_path);
	return r;
}

/* --- all ------------------------------------------------------------------ */

static void read_rest(struct stow_root *root, struct zones_view *view)
{
	struct stow_err err = { 0 };
	int r;

	if (stow_zone_knobs_read(root, &view->knobs, &err) < 0)
		(void)cli_fail(&err);
	read_page_size(root, view);
	for (size_t i = 0; i < view->zones.n; i++)
		stow_idset_add(&view->nodes, view->zones.list[i].node);
	if (view->alone)
		return;
	r = stow_node_daemons(root, &view->nodes, &view->daemons, &view->n_daemons, NULL);
	view->daemons_known = r == 0;
	r = stow_psi_read(root, "/proc/pressure/memory", &view->psi, &err);
	view->psi_known = r == 0;
	if (r < 0 && r != -ENOENT)
		(void)cli_fail(&err);
}

int zones_view_read(struct stow_root *root, struct zones_view *view, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_zones_read(root, view->lists, &view->zones, err);

	if (stow_zones_read_blocks(root, &view->zones, &why) < 0 && r == 0)
		(void)cli_fail(&why);
	if (r < 0 && !view->zones.n)
		return r;
	if (r < 0) {
		(void)cli_fail(err);
		*err = (struct stow_err){ 0 };
	}
	read_rest(root, view);
	r = stow_zones_account(&view->zones, &view->knobs, &view->account, err);
	if (r == 0 && !view->alone && read_cgroups(root, view) < 0)
		r = stow_err_sys(err, ENOMEM, "cgroups");
	return r;
}

void zones_view_done(struct zones_view *view)
{
	stow_zones_done(&view->zones);
	stow_zones_account_done(&view->account);
	free(view->daemons);
	for (size_t i = 0; i < view->n_cgroups; i++) {
		free(view->cgroups[i].path);
		free(view->cgroups[i].id);
		free(view->cgroups[i].name);
	}
	free(view->cgroups);
}

uint64_t zones_bytes(const struct zones_view *view, uint64_t pages)
{
	uint64_t bytes;

	if (pages == STOW_UNKNOWN || view->knobs.page_size == STOW_UNKNOWN ||
	    __builtin_mul_overflow(pages, view->knobs.page_size, &bytes))
		return STOW_UNKNOWN;
	return bytes;
}

void zones_node_blocks(const struct stow_zones *zones, int node, struct stow_zone *ret)
{
	*ret = (struct stow_zone){ .node = node };
	for (size_t i = 0; i < zones->n; i++) {
		const struct stow_zone *zone = &zones->list[i];

		if (zone->node != node)
			continue;
		ret->n_orders = STOW_MAX(ret->n_orders, zone->n_orders);
		for (unsigned int k = 0; k < zone->n_orders; k++)
			ret->blocks[k] = stow_saturating_add(ret->blocks[k], zone->blocks[k]);
	}
}

int zones_huge_order(const struct zones_view *view)
{
	uint64_t pages;

	if (view->knobs.pmd_size == STOW_UNKNOWN || view->knobs.page_size == STOW_UNKNOWN)
		return -1;
	pages = view->knobs.pmd_size / view->knobs.page_size;
	for (int order = 0; order < STOW_ORDERS_MAX; order++)
		if (pages == UINT64_C(1) << order)
			return order;
	return -1;
}

const struct stow_node_daemon *zones_daemon(const struct zones_view *view, int node, bool compacts)
{
	for (size_t i = 0; i < view->n_daemons; i++)
		if (view->daemons[i].node == node && view->daemons[i].compacts == compacts)
			return &view->daemons[i];
	return NULL;
}

const char *zones_source_word(enum stow_min_free source)
{
	static const char *const words[] = {
		[STOW_MIN_FREE_UNKNOWN] = NULL,
		[STOW_MIN_FREE_SQUARE_ROOT] = "square-root",
		[STOW_MIN_FREE_SQUARE_ROOT_EARLIER] = "square-root",
		[STOW_MIN_FREE_KHUGEPAGED] = "khugepaged",
		[STOW_MIN_FREE_KHUGEPAGED_LIMITED] = "khugepaged",
		[STOW_MIN_FREE_ADMINISTRATOR] = "administrator",
	};

	return words[source];
}

const char *zones_why_word(enum stow_wmark_why why)
{
	static const char *const words[] = {
		[STOW_WMARK_UNKNOWN] = NULL,
		[STOW_WMARK_EQUAL] = "equal",
		[STOW_WMARK_MEMORY] = "memory-changed",
		[STOW_WMARK_OTHER_MIN] = "other-min-free",
		[STOW_WMARK_OTHER_SCALE] = "other-scale-factor",
		[STOW_WMARK_UNEXPLAINED] = "unexplained",
	};

	return words[why];
}
