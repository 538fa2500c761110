// SPDX-License-Identifier: Apache-2.0
#include "cli/container.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/match.h"
#include "grant/names.h"

struct known {
	char *id, *name;
	char *path;		      /* of a discovered one */
	uint64_t inode;		      /* likewise */
	struct stow_cgroup_id cgroup; /* of one in the ledger */
};

struct search {
	struct known *list;
	size_t n;
};

static void search_done(struct search *search)
{
	for (size_t i = 0; i < search->n; i++) {
		free(search->list[i].id);
		free(search->list[i].name);
		free(search->list[i].path);
		stow_cgroup_id_done(&search->list[i].cgroup);
	}
	free(search->list);
}

static struct known *find_id(struct search *search, const char *id)
{
	for (size_t i = 0; i < search->n; i++)
		if (strcmp(search->list[i].id, id) == 0)
			return &search->list[i];
	return NULL;
}

static struct known *add(struct search *search, const char *id)
{
	struct known *added = find_id(search, id);

	if (added)
		return added;
	added = STOW_APPEND(search->list, search->n);
	if (!added)
		return NULL;
	added->id = strdup(id);
	if (!added->id) {
		search->n--;
		return NULL;
	}
	return added;
}

static int add_record(struct search *search, const struct stow_record *record, struct stow_err *err)
{
	struct known *added;

	if (!*record->id || stow_record_is_share(record))
		return 0;
	added = add(search, record->id);
	if (!added)
		return stow_err_sys(err, ENOMEM, "containers");
	stow_cgroup_id_done(&added->cgroup);
	return stow_cgroup_id_copy(&record->cgroup, &added->cgroup, err);
}

/* A machine without a ledger has no records, and only root can read it. */
static int add_records(struct stow_root *root, struct search *search, struct stow_err *err)
{
	struct stow_record **records = NULL;
	struct stow_ledger *ledger = NULL;
	size_t n = 0;
	int r = 0;

	if (stow_ledger_open(root, false, &ledger, NULL) < 0)
		return 0;
	if (stow_ledger_records(ledger, NULL, &records, &n, NULL) == 0) {
		for (size_t i = 0; r == 0 && i < n; i++)
			r = add_record(search, records[i], err);
		stow_records_free(records, n);
	}
	stow_ledger_close(ledger);
	return r;
}

static int add_found(struct search *search, const struct stow_discovery *found,
		     struct stow_err *err)
{
	for (size_t i = 0; i < found->n; i++) {
		struct known *added = add(search, found->list[i].id);

		if (added && !added->path) {
			added->path = strdup(found->list[i].path);
			added->inode = found->list[i].inode;
		}
		if (!added || !added->path)
			return stow_err_sys(err, ENOMEM, "containers");
	}
	return 0;
}

static int add_discovered(struct stow_root *root, struct search *search, struct stow_err *err)
{
	struct stow_discovery found = { 0 };
	int r;

	if (stow_discover(root, NULL, NULL, &found, NULL) < 0)
		return 0;
	r = add_found(search, &found, err);
	stow_discovery_done(&found);
	return r;
}

/* Add the names, also of containers that do not run. */
static void add_names(struct stow_root *root, struct search *search)
{
	_cleanup_(stow_names_done) struct stow_names names = { 0 };

	(void)stow_names_read(root, &names, NULL);
	for (size_t i = 0; i < names.n; i++) {
		struct known *known = add(search, names.list[i].id);

		if (known && !known->name)
			known->name = strdup(names.list[i].name);
	}
}

static int open_cgroup(struct stow_root *root, const struct known *known, struct stow_cgroup **ret,
		       struct stow_err *err)
{
	int r = -ESRCH;

	if (!known->cgroup.at[STOW_CGROUP_CPUSET].path && !known->path)
		return stow_err_set(err, ESRCH, "container %.64s does not run",
				    known->name ? known->name : known->id);
	if (known->cgroup.at[STOW_CGROUP_CPUSET].path)
		r = stow_cgroup_open(root, &known->cgroup, ret, err);
	if (r < 0 && known->path)
		r = stow_cgroup_of_path(root, known->path, ret, err);
	return r;
}

/* Collect what is known, and find the container in it. */
static int look(struct stow_root *root, const char *text, struct search *search,
		const struct known **ret, struct stow_err *err)
{
	struct cli_match match = { .text = text };
	struct stow_err why;
	int r = add_records(root, search, err);

	if (r == 0)
		r = add_discovered(root, search, err);
	if (r < 0)
		return r;
	add_names(root, search);
	if (!*text)
		return stow_err_set(err, ENOENT, "a container's name is empty");
	for (size_t i = 0; i < search->n; i++)
		cli_match_look(&match, search->list[i].id, search->list[i].name, &search->list[i]);
	*ret = cli_match_end(&match, &why);
	return *ret ? 0 : stow_err_move(err, -why.code, &why);
}

int cli_container_id(struct stow_root *root, const char *text, char **ret, struct stow_err *err)
{
	_cleanup_(search_done) struct search search = { 0 };
	const struct known *known = NULL;
	int r = look(root, text, &search, &known, err);

	if (r < 0)
		return r;
	*ret = strdup(known->id);
	return *ret ? 0 : stow_err_sys(err, ENOMEM, "containers");
}

static int name_it(const struct known *known, struct cli_container *ret, struct stow_err *err)
{
	ret->id = stow_text_copy(known->id, 255);
	ret->name = known->name ? stow_text_copy(known->name, 512) : NULL;
	if (ret->id && (ret->name || !known->name))
		return 0;
	cli_container_done(ret);
	return stow_err_sys(err, ENOMEM, "containers");
}

int cli_container_find(struct stow_root *root, const char *text, struct cli_container *ret,
		       struct stow_err *err)
{
	_cleanup_(search_done) struct search search = { 0 };
	const struct known *known = NULL;
	int r = look(root, text, &search, &known, err);

	*ret = (struct cli_container){ 0 };
	if (r == 0)
		r = open_cgroup(root, known, &ret->cgroup, err);
	return r < 0 ? r : name_it(known, ret, err);
}

/* --- all of them ---------------------------------------------------------- */

/* Open the container's own cgroup: below a scope with crun. */
static int open_listed(struct stow_root *root, const struct known *known, struct stow_cgroup **ret)
{
	struct stow_discovered found = { .path = known->path, .inode = known->inode };
	struct stow_unmanaged seen = { 0 };
	int r = -ESRCH;

	if (known->cgroup.at[STOW_CGROUP_CPUSET].path)
		r = stow_cgroup_open(root, &known->cgroup, ret, NULL);
	if (r == 0 || !known->path)
		return r;
	snprintf(found.id, sizeof(found.id), "%s", known->id);
	r = stow_discover_read(root, &found, &seen, NULL);
	if (r > 0)
		r = stow_cgroup_open(root, &seen.cgroup, ret, NULL);
	else if (r == 0)
		r = -ESRCH;
	stow_unmanaged_done(&seen);
	return r;
}

static int list_one(struct stow_root *root, const struct known *known, struct cli_container **list,
		    size_t *n, size_t *ended, struct stow_err *err)
{
	struct cli_container opened = { 0 }, *added;
	int r;

	/* Podman has it, and it does not run. */
	if (!known->cgroup.at[STOW_CGROUP_CPUSET].path && !known->path)
		return 0;
	r = open_listed(root, known, &opened.cgroup);
	if (r < 0) {
		*ended += 1;
		return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "containers") : 0;
	}
	r = name_it(known, &opened, err);
	if (r < 0)
		return r;
	added = STOW_APPEND(*list, *n);
	if (!added) {
		cli_container_done(&opened);
		return stow_err_sys(err, ENOMEM, "containers");
	}
	*added = opened;
	return 0;
}

int cli_container_list(struct stow_root *root, struct stow_record *const *records, size_t n_records,
		       const struct stow_discovery *found, struct cli_container **ret,
		       size_t *ret_n, size_t *ret_ended, struct stow_err *err)
{
	_cleanup_(search_done) struct search search = { 0 };
	struct cli_container *list = NULL;
	size_t n = 0, ended = 0;
	int r = 0;

	for (size_t i = 0; r == 0 && i < n_records; i++)
		r = add_record(&search, records[i], err);
	if (r == 0)
		r = add_found(&search, found, err);
	if (r == 0 && search.n)
		add_names(root, &search);
	for (size_t i = 0; r == 0 && i < search.n; i++)
		r = list_one(root, &search.list[i], &list, &n, &ended, err);
	if (r < 0) {
		for (size_t i = 0; i < n; i++)
			cli_container_done(&list[i]);
		free(list);
		return r;
	}
	*ret = list;
	*ret_n = n;
	*ret_ended = ended;
	return 0;
}

const char *cli_container_label(const struct cli_container *container, char *buf, size_t size)
{
	return container->name ? container->name : cli_short_id(container->id, buf, size);
}

void cli_container_done(struct cli_container *container)
{
	free(container->id);
	free(container->name);
	stow_cgroup_free(container->cgroup);
	*container = (struct cli_container){ 0 };
}
