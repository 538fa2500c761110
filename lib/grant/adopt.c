// SPDX-License-Identifier: Apache-2.0
#include "grant/adopt.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"

void stow_adoption_done(struct stow_adoption *adoption)
{
	free(adoption->list);
	*adoption = (struct stow_adoption){ 0 };
}

const char *stow_adopted_text(const struct stow_adopted *container)
{
	if (container->entered)
		return "was started without the hook: it is kept off exclusive CPUs";
	return container->no_cpuset
		       ? "was started without the hook, and cannot be kept off exclusive CPUs: its "
			 "cgroup has no cpuset controller"
		       : "was started without the hook, and is not kept off exclusive CPUs (adopt: "
			 "no)";
}

/* A container that is in the ledger, or entered as unmanaged already, by its cgroup. */
struct item {
	char *path;
	uint64_t inode;
	bool record;		  /* it has a grant */
	bool found;		  /* found by its cgroup, not entered by the hook */
	bool reset;		  /* as in the entry */
	char id[STOW_ID_MAX + 1]; /* an entry's: the file's name */
};

struct known {
	const struct stow_grant_context *context;
	struct item *items; /* sorted by path */
	size_t n;
};

static void known_done(struct known *known)
{
	for (size_t i = 0; i < known->n; i++)
		free(known->items[i].path);
	free(known->items);
}

static int by_path(const void *a, const void *b)
{
	const struct item *x = a, *y = b;

	return strcmp(x->path, y->path);
}

/* Return the index of the first item whose path is not before `path`. */
static size_t first_from(const struct known *known, const char *path)
{
	size_t low = 0, high = known->n;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(known->items[middle].path, path) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* Return whether a container with a grant lies below the cgroup; the level that crun adds does not
 * count. */
static bool has_grants_below(void *ctx, const char *path)
{
	const struct stow_discovered container = { .path = (char *)(uintptr_t)path };
	const struct known *known = ctx;
	char below[STOW_DISCOVER_PATH + 1];
	size_t len;

	len = (size_t)snprintf(below, sizeof(below), "%s/", path);
	for (size_t i = first_from(known, below);
	     i < known->n && strncmp(known->items[i].path, below, len) == 0; i++)
		if (known->items[i].record &&
		    !stow_discover_is_inner(&container, known->items[i].path))
			return true;
	return false;
}

/* Find the container's own item: its cgroup is the discovered one, or the one below that crun made,
 * which the hook may have found before the container ran. */
static const struct item *find(const struct known *known, const struct stow_discovered *container)
{
	for (size_t i = first_from(known, container->path); i < known->n; i++) {
		const struct item *item = &known->items[i];

		if ((strcmp(item->path, container->path) == 0 && item->inode == container->inode) ||
		    stow_discover_is_inner(container, item->path))
			return item;
		if (strncmp(item->path, container->path, strlen(container->path)) != 0)
			break;
	}
	return NULL;
}

static int add_item(struct known *known, const struct stow_cgroup_id *cgroup, struct item **ret,
		    struct stow_err *err)
{
	_cleanup_free_ char *path = strdup(stow_cgroup_id_path(cgroup));
	struct item *added;

	if (!path)
		return stow_err_sys(err, ENOMEM, "%s", stow_cgroup_id_path(cgroup));
	added = STOW_APPEND(known->items, known->n);
	if (!added)
		return stow_err_sys(err, ENOMEM, "%s", path);
	added->inode = cgroup->at[STOW_CGROUP_CPUSET].inode;
	added->path = STOW_TAKE_PTR(path);
	*ret = added;
	return 0;
}

static int add_entry(struct stow_root *root, struct stow_unmanaged *entry, void *ctx,
		     struct stow_err *err)
{
	struct item *item;
	int r = add_item(ctx, &entry->cgroup, &item, err);

	if (r < 0)
		return r;
	item->found = !entry->init.pid && !entry->pods;
	item->reset = entry->reset;
	memcpy(item->id, entry->id, sizeof(item->id));
	return 0;
}

static int add_records(struct known *known, struct stow_err *err)
{
	struct stow_record **records = NULL;
	struct item *item;
	size_t n = 0;
	int r = 0;

	if (known->context->ledger)
		r = stow_ledger_records(known->context->ledger, NULL, &records, &n, err);
	for (size_t i = 0; i < n && r == 0; i++) {
		if (!records[i]->cgroup.at[STOW_CGROUP_CPUSET].version)
			continue;
		r = add_item(known, &records[i]->cgroup, &item, err);
		if (r == 0)
			item->record = true;
	}
	stow_records_free(records, n);
	return r;
}

/* Return whether an entry is left over from a discovery while the container's hook was at work: the
 * container, or one below (the cgroup was a pod's), has a grant now. */
static bool is_left_over(const struct known *known, size_t i)
{
	const struct item *item = &known->items[i];
	size_t len = strlen(item->path);

	if (!item->found || item->reset)
		return false;
	for (i = first_from(known, item->path); i < known->n; i++) {
		const struct item *other = &known->items[i];

		if (strncmp(other->path, item->path, len) != 0)
			break;
		if (other->record && (other->path[len] == '/' ||
				      (other->path[len] == '\0' && other->inode == item->inode)))
			return true;
	}
	return false;
}

/* Add the entries, and remove those that are left over. */
static int add_entries(struct known *known, struct stow_err *err)
{
	struct stow_first first = { .err = err };

	/* Continue after a file that cannot be read; its container is not entered twice. */
	stow_first_note(&first, stow_unmanaged_each(known->context->root, add_entry, known, err));
	stow_first_note(&first,
			stow_unmanaged_each_pods(known->context->root, add_entry, known, err));
	if (known->n)
		qsort(known->items, known->n, sizeof(*known->items), by_path);
	for (size_t i = 0; i < known->n; i++) {
		struct item *item = &known->items[i];

		if (is_left_over(known, i))
			stow_first_note(&first, stow_unmanaged_remove(known->context->root,
								      item->id, first.err));
	}
	return first.code;
}

static int add_result(struct stow_adoption *result, const struct stow_discovered *container,
		      bool entered, bool no_cpuset, struct stow_err *err)
{
	struct stow_adopted *added = STOW_APPEND(result->list, result->n);

	if (!added)
		return stow_err_sys(err, ENOMEM, "%s", container->id);
	*added = (struct stow_adopted){ .inode = container->inode,
					.entered = entered,
					.no_cpuset = no_cpuset };
	memcpy(added->id, container->id, sizeof(added->id));
	return 0;
}

/* The file is named after the container's id. Another running container may have the same id: any
 * service may give this name to a cgroup of its own. */
static int enter(const struct known *known, struct stow_unmanaged *container, struct stow_err *err)
{
	int r = stow_unmanaged_enter(known->context->root, container, err);

	if (r != 0)
		return r;
	for (size_t i = 0; i < known->n; i++)
		if (strcmp(known->items[i].id, container->id) == 0) {
			stow_unmanaged_set_beside(container);
			return stow_unmanaged_enter(known->context->root, container, err);
		}
	return 0; /* its hook was faster */
}

/* An entry whose cgroup is crun's "container" is valid only as long as its scope has no other
 * cgroup: a container of another runtime can make a cgroup of that name, and leave it. */
static int check_inner(const struct known *known, const struct item *item,
		       const struct stow_discovered *container, struct stow_err *err)
{
	struct stow_unmanaged again = { 0 }, was = { 0 };
	struct stow_root *root = known->context->root;
	int r;

	if (!item->found || strcmp(item->path, container->path) == 0 ||
	    stow_discover_has_inner(root, container))
		return 0;
	r = stow_discover_read(root, container, &again, err);
	if (r <= 0)
		return r;
	r = stow_unmanaged_read(root, item->id, &was, err);
	if (r == 0) {
		memcpy(again.id, was.id, sizeof(again.id));
		again.given = was.given;
		again.reset = true;
		r = stow_unmanaged_write(root, &again, err);
	}
	stow_unmanaged_done(&again);
	stow_unmanaged_done(&was);
	return r == -ENOENT ? 0 : r; /* it has ended meanwhile */
}

/* Return 1 when the container's hook has entered a record since the ledger was read, else 0. */
static int has_record_now(const struct known *known, const struct stow_discovered *container,
			  struct stow_err *err)
{
	struct stow_record **records = NULL;
	bool found = false;
	size_t n = 0;
	int r;

	if (!known->context->ledger)
		return 0;
	r = stow_ledger_records(known->context->ledger, container->id, &records, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct stow_cgroup_id *cgroup = &records[i]->cgroup;

		found |= cgroup->at[STOW_CGROUP_CPUSET].inode == container->inode ||
			 stow_discover_is_inner(container, stow_cgroup_id_path(cgroup));
	}
	stow_records_free(records, n);
	return r < 0 ? r : found;
}

static int look_at(const struct known *known, const struct stow_discovered *container,
		   struct stow_adoption *result, struct stow_err *err)
{
	const struct stow_config *config = known->context->config;
	const struct item *item = find(known, container);
	struct stow_unmanaged found = { 0 };
	bool no_cpuset, enters;
	int r;

	if (item)
		return item->record ? 0 : check_inner(known, item, container, err);
	r = stow_discover_read(known->context->root, container, &found, err);
	if (r <= 0)
		return r;
	r = has_record_now(known, container, err);
	if (r != 0) {
		stow_unmanaged_done(&found);
		return r < 0 ? r : 0;
	}
	no_cpuset = !found.cgroup.at[STOW_CGROUP_CPUSET].version;
	enters = !no_cpuset && (!config || config->adopt);
	r = enters ? enter(known, &found, err) : 1;
	if (r > 0)
		r = add_result(result, container, enters, no_cpuset, err);
	stow_unmanaged_done(&found);
	return r;
}

/* Write the entered containers into the history. */
static int note(const struct stow_grant_context *context, const struct stow_adoption *adoption,
		struct stow_err *err)
{
	size_t entered = 0;
	int r;

	for (size_t i = 0; i < adoption->n; i++)
		entered += adoption->list[i].entered;
	if (!context->ledger || !entered)
		return 0;
	r = stow_ledger_begin(context->ledger, err);
	if (r < 0)
		return r;
	for (size_t i = 0; i < adoption->n && r == 0; i++)
		if (adoption->list[i].entered)
			r = stow_ledger_event(context->ledger, "unmanaged", adoption->list[i].id,
					      NULL, stow_adopted_text(&adoption->list[i]), err);
	return stow_ledger_end(context->ledger, r, err);
}

int stow_adopt(const struct stow_grant_context *context, struct stow_adoption *ret,
	       struct stow_err *err)
{
	_cleanup_(known_done) struct known known = { .context = context };
	struct stow_discovery discovery = { 0 };
	struct stow_adoption result = { 0 };
	struct stow_first first = { .err = err };
	struct stow_err why = { 0 };
	int r;

	r = add_records(&known, err);
	if (r < 0)
		return r;
	stow_first_note(&first, add_entries(&known, first.err));
	r = stow_discover(context->root, has_grants_below, &known, &discovery, &why);
	if (r < 0 && r != -ENOENT)
		stow_first_note(&first, stow_err_move(first.err, r, &why));
	for (size_t i = 0; i < discovery.n; i++)
		stow_first_note(&first, look_at(&known, &discovery.list[i], &result, first.err));
	result.cut = discovery.cut;
	stow_discovery_done(&discovery);
	stow_first_note(&first, note(context, &result, first.err));
	*ret = result;
	return first.code;
}
