// SPDX-License-Identifier: Apache-2.0
/* The containers that rules look at: those with a grant, and those found by their cgroups. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "cgroup/limits.h"
#include "doctor/internal.h"
#include "grant/discover.h"
#include "grant/names.h"

#define ID_LEN	 64 /* characters of an engine's id, */
#define SHORT_ID 12 /* and how many of them Podman prints */

int doctor_id_len(const struct doctor_container *container)
{
	return strlen(container->id) == ID_LEN ? SHORT_ID : ID_LEN;
}

const char *doctor_name(const struct doctor_container *container, char buf[static DOCTOR_NAMED])
{
	int len = doctor_id_len(container);

	if (container->name)
		snprintf(buf, DOCTOR_NAMED, "container %.160s (%.*s)", container->name, len,
			 container->id);
	else
		snprintf(buf, DOCTOR_NAMED, "container %.*s", len, container->id);
	return buf;
}

static void done(struct doctor_container *container)
{
	free(container->id);
	free(container->name);
	free(container->used);
	stow_cgroup_free(container->cgroup);
}

void doctor_containers_done(struct doctor *d)
{
	for (size_t i = 0; i < d->n_containers; i++)
		done(&d->containers[i]);
	free(d->containers);
}

static bool is_listed(const struct doctor *d, const struct stow_cgroup *cgroup)
{
	for (size_t i = 0; i < d->n_containers; i++)
		if (d->containers[i].cgroup && d->containers[i].cgroup->inode == cgroup->inode)
			return true;
	return false;
}

/* Read where its memory is. Unknown: the kernel does not count it by node. */
static int read_used(struct doctor *d, struct doctor_container *container)
{
	_cleanup_free_ uint64_t *used = calloc(d->n_nodes + 1, sizeof(*used));

	if (!used)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_nodes; i++) {
		if (stow_memory_used(container->cgroup, d->nodes[i].id, &used[i], NULL) < 0)
			return 0;
		container->total = stow_saturating_add(container->total, used[i]);
	}
	container->used = STOW_TAKE_PTR(used);
	return 0;
}

/* Add a container, and own its cgroup. `record`: its grant; NULL: it has none. */
static int add(struct doctor *d, const struct stow_names *names, const char *id,
	       struct stow_cgroup *cgroup, const struct stow_record *record)
{
	struct doctor_container *added = STOW_APPEND(d->containers, d->n_containers);
	const char *name;

	if (!added) {
		stow_cgroup_free(cgroup);
		return -ENOMEM;
	}
	added->cgroup = cgroup;
	added->id = strdup(id);
	name = stow_names_find(names, id);
	added->name = name ? strdup(name) : NULL;
	if (!added->id || (name && !added->name))
		return -ENOMEM;
	if (record) {
		added->granted = true;
		added->exclusive = record->exclusive;
		added->moving = record->move != NULL;
		added->granted_cpus = record->cpus;
		added->granted_nodes = record->nodes;
	}
	added->known = stow_cpuset_read(cgroup, &added->set, NULL) == 0;
	return read_used(d, added);
}

static int add_granted(struct doctor *d, const struct stow_names *names, struct stow_err *err)
{
	struct stow_record **records = NULL;
	size_t n = 0;
	int r;

	if (!d->ledger)
		return 0;
	r = stow_ledger_records(d->ledger, NULL, &records, &n, err);
	for (size_t i = 0; r == 0 && i < n; i++) {
		struct stow_cgroup *cgroup;

		/* A container that has ended, and is not reclaimed yet, has no cgroup. */
		if (records[i]->state == STOW_STATE_ACTIVE &&
		    stow_cgroup_open(d->root, &records[i]->cgroup, &cgroup, NULL) == 0)
			r = add(d, names, records[i]->id, cgroup, records[i]);
	}
	stow_records_free(records, n);
	return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "reading the containers") : r;
}

static int add_found(struct doctor *d, const struct stow_names *names, struct stow_err *err)
{
	struct stow_discovery found = { 0 };
	int r = stow_discover(d->root, NULL, NULL, &found, err);

	if (r == -ENOENT)
		return 0; /* no cpuset hierarchy: there is nothing to examine */
	for (size_t i = 0; r == 0 && i < found.n; i++) {
		struct stow_unmanaged seen = { 0 };
		struct stow_cgroup *cgroup;

		if (stow_discover_read(d->root, &found.list[i], &seen, NULL) > 0 &&
		    stow_cgroup_open(d->root, &seen.cgroup, &cgroup, NULL) == 0) {
			if (is_listed(d, cgroup))
				stow_cgroup_free(cgroup);
			else
				r = add(d, names, found.list[i].id, cgroup, NULL);
		}
		stow_unmanaged_done(&seen);
	}
	stow_discovery_done(&found);
	return r == -ENOMEM ? stow_err_sys(err, ENOMEM, "reading the containers") : r;
}

int doctor_containers(struct doctor *d, struct stow_err *err)
{
	_cleanup_(stow_names_done) struct stow_names names = { 0 };
	int r;

	if (!d->containers_read) {
		d->containers_read = true;
		r = stow_names_read(d->root, &names, &d->containers_why);
		if (r == 0)
			r = add_granted(d, &names, &d->containers_why);
		if (r == 0)
			r = add_found(d, &names, &d->containers_why);
		if (r == 0)
			d->containers_why.code = 0;
	}
	return d->containers_why.code
		       ? stow_err_move(err, -d->containers_why.code, &d->containers_why)
		       : 0;
}
