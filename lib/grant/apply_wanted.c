// SPDX-License-Identifier: Apache-2.0
/* What a container must have, from the ledger and the cgroup above it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "grant/apply_internal.h"
#include "grant/partition.h"

/* crun keeps a container one level below its scope. systemd manages the scope's set and gets the
 * container's set as a property, so the set to respect is the one above the scope. */
static size_t length_above(const char *path)
{
	size_t len = strlen(path);
	static const char below[] = "/container";

	if (len > sizeof(below) && strcmp(path + len - strlen(below), below) == 0) {
		len -= strlen(below);
		if (len < 6 || strncmp(path + len - 6, ".scope", 6) != 0)
			return len;
	}
	while (len > 0 && path[len - 1] != '/')
		len--;
	return len ? len - 1 : 0;
}

void apply_forget_above(struct apply_run *run)
{
	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++) {
		free(run->above[i].path);
		run->above[i].path = NULL;
	}
}

int apply_read_above(struct apply_run *run, const struct apply_container *c, struct stow_idset *ret,
		     struct stow_err *err)
{
	const char *path = c->cgroup->at[STOW_CGROUP_CPUSET].below;
	size_t len = length_above(path);
	struct apply_above *slot;
	int r;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(run->above); i++)
		if (run->above[i].path && strlen(run->above[i].path) == len &&
		    strncmp(run->above[i].path, path, len) == 0) {
			*ret = run->above[i].cpus;
			return 0;
		}
	if (strcmp(path, "/") == 0 || !path[0])
		return stow_cpuset_read_above(c->cgroup, true, ret, err);
	r = stow_cpuset_read_at(c->cgroup, path, len, true, ret, err);
	if (r < 0)
		return r;
	slot = &run->above[run->n_above++ % STOW_ARRAY_SIZE(run->above)];
	free(slot->path);
	slot->path = strndup(path, len);
	slot->cpus = *ret;
	return 0;
}

/* None of its own CPUs is available (all are offline, for example): the kernel would give it the
 * CPUs of the cgroup above, which include other containers'. Give it the common CPUs until one of
 * its own is back. */
static int fall_back(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	struct stow_idset coming = c->base, topmost;
	int r = stow_cpu_view_common(&run->view, &c->wanted, err);

	stow_idset_and(&c->wanted, &c->above);
	c->fallback = true;
	/* v2: a CPU that came online is in the topmost cpuset a moment later. The next run, which
	 * is that of the next start at the latest, gives it to the container. */
	stow_idset_and(&coming, &run->view.online);
	if (!stow_idset_empty(&coming) && !apply_is_v1(c) &&
	    stow_cpuset_read_at(c->cgroup, "", 0, true, &topmost, NULL) == 0) {
		stow_idset_minus(&coming, &topmost);
		stow_idset_or(&run->withheld, &coming);
	}
	return r;
}

void apply_wanted_effective(const struct apply_run *run, const struct apply_container *c,
			    struct stow_idset *ret)
{
	*ret = c->wanted;
	stow_idset_and(ret, &run->view.online);
	stow_idset_and(ret, &c->above);
}

static int compute_base(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	bool moved = c->record && apply_is_moved(c->record);

	if (!c->record) {
		c->base = c->entry->given;
		if (stow_idset_empty(&c->base)) {
			c->base = run->view.online;
			stow_idset_or(&c->base, &run->view.offline);
		}
		return 0;
	}
	if (c->record->exclusive) {
		c->base = moved ? c->record->move->cpus : c->record->cpus;
		return 0;
	}
	return stow_cpu_view_base(&run->view, c->record, moved, &c->base, err);
}

/* v2 accepts CPUs that the cgroup above lacks. They are written as well, so that they take effect
 * by themselves when the set above grows. */
int apply_compute_wanted(struct apply_run *run, struct apply_container *c, struct stow_err *err)
{
	struct stow_idset possible, usable, others;
	bool shared = !c->record || !c->record->exclusive;
	int r;

	if (c->record && c->record->isolated)
		stow_partition_add_held(c->cgroup, &c->above);
	r = compute_base(run, c, err);
	if (r < 0)
		return r;
	c->fallback = false;
	c->wanted = c->base;
	others = run->view.exclusive;
	stow_idset_minus(&others, &c->below);
	if (shared)
		stow_idset_minus(&c->wanted, &others);
	/* It is not known which CPUs are reserved: add none. */
	if (shared && c->record && run->view.config && run->view.config->unread &&
	    stow_idset_intersects(&c->wanted, &c->effective))
		stow_idset_and(&c->wanted, &c->effective);
	if (apply_is_v1(c)) {
		possible = c->above;
		stow_idset_or(&possible, &run->view.offline);
		stow_idset_and(&c->wanted, &possible);
	}
	apply_wanted_effective(run, c, &usable);
	if (!stow_idset_empty(&usable))
		return 0;
	usable = c->base;
	stow_idset_and(&usable, &run->view.online);
	if (!c->refused || !shared || !stow_idset_intersects(&usable, &c->above))
		return fall_back(run, c, err);
	c->wanted = (struct stow_idset){ 0 }; /* all of them belong to other containers */
	return 0;
}
