// SPDX-License-Identifier: Apache-2.0
/* Rules about containers: whether they have what was granted, and how far they are from it. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "doctor/internal.h"
#include "node/counters.h"
#include "place/config.h"

#define STRAY_LEAST (UINT64_C(64) << 20)  /* bytes outside of a set */
#define STRAY_SHARE 10			  /* percent of a container's memory */
#define FAR_LEAST   (UINT64_C(256) << 20) /* bytes on other nodes than the CPUs' */
#define FAR_SHARE   50
#define ROOM	    25 /* percent of a node's memory that is available */

/* Sum a container's memory on the nodes that are not in a set. */
static uint64_t memory_outside(const struct doctor *d, const struct doctor_container *container,
			       const struct stow_idset *nodes)
{
	uint64_t sum = 0;

	for (size_t i = 0; container->used && i < d->n_nodes; i++)
		if (!stow_idset_has(nodes, d->nodes[i].id))
			sum = stow_saturating_add(sum, container->used[i]);
	return sum;
}

static bool is_v1(const struct doctor_container *container)
{
	return container->cgroup->at[STOW_CGROUP_CPUSET].version == 1;
}

/* --- what was granted -------------------------------------------------------------- */

static bool observes(struct doctor *d)
{
	_cleanup_(stow_config_free_ptr) struct stow_config *config = NULL;

	return stow_config_read_anyway(d->root, &config, NULL) >= 0 &&
	       config->mode == STOW_MODE_OBSERVE;
}

int doctor_rule_undone(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	if (r < 0 || observes(d))
		return r;
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		struct stow_idset cpus = c->granted_cpus;
		char name[DOCTOR_NAMED], command[128], a[DOCTOR_LISTED], b[DOCTOR_LISTED];

		if (!c->granted || !c->known || c->moving ||
		    stow_cgroup_has_processes(c->cgroup, NULL) <= 0)
			continue;
		snprintf(command, sizeof(command), "numastow why %.*s", doctor_id_len(c), c->id);
		stow_idset_and(&cpus, &d->topology->online);
		if (c->exclusive && !stow_idset_equal(&cpus, &c->set.cpus_effective))
			r = doctor_report(d, STOW_FINDING_PROBLEM, -1, doctor_name(c, name),
					  command,
					  "it was granted the exclusive CPUs %s, and its cpuset "
					  "has CPUs %s",
					  stow_idset_format(&cpus, a, sizeof(a)),
					  stow_idset_format(&c->set.cpus_effective, b, sizeof(b)));
		if (r == 0 && !stow_idset_empty(&c->granted_nodes) &&
		    !stow_idset_subset(&c->set.mems_effective, &c->granted_nodes))
			r = doctor_report(d, STOW_FINDING_PROBLEM, -1, doctor_name(c, name),
					  command,
					  "it was granted memory of nodes %s, and its cpuset "
					  "allows nodes %s",
					  stow_idset_format(&c->granted_nodes, a, sizeof(a)),
					  stow_idset_format(&c->set.mems_effective, b, sizeof(b)));
	}
	return r;
}

/* --- memory and devices --------------------------------------------------------------- */

/* Return v1's memory_migrate; true on v2, where pages always follow the cpuset. */
static bool migrates(const struct doctor_container *container)
{
	uint64_t on = 1;

	if (is_v1(container))
		(void)stow_root_read_u64(container->cgroup->at[STOW_CGROUP_CPUSET].dir, &on, NULL,
					 "cpuset.memory_migrate");
	return on != 0;
}

/* Return the bytes outside of a container's own nodes, if they are much of its memory; 0: they are
 * not, or are unknown. */
static uint64_t stray(const struct doctor *d, const struct doctor_container *c)
{
	uint64_t outside;

	if (!c->known || !c->used || c->moving || stow_idset_empty(&c->set.mems_effective))
		return 0;
	outside = memory_outside(d, c, &c->set.mems_effective);
	return outside >= STRAY_LEAST && doctor_percent(outside, c->total) >= STRAY_SHARE ? outside
											  : 0;
}

static int report_stray(struct doctor *d, const struct doctor_container *c, uint64_t bytes)
{
	char name[DOCTOR_NAMED], command[160], list[DOCTOR_LISTED], a[32], b[32];

	snprintf(command, sizeof(command), "numastow migrate %.*s all %s", doctor_id_len(c), c->id,
		 stow_idset_format(&c->set.mems_effective, list, sizeof(list)));
	return doctor_report(d, STOW_FINDING_PROBLEM, stow_idset_next(&c->set.mems_effective, 0),
			     doctor_name(c, name), command,
			     "%s of its %s of memory (%u %%) are outside of nodes %s, which its "
			     "cpuset allows",
			     stow_format_size(bytes, a, sizeof(a)),
			     stow_format_size(c->total, b, sizeof(b)),
			     doctor_percent(bytes, c->total), list);
}

/* Format what brings a container's memory to the nodes of its CPUs: only what is granted is
 * repinned, and pages only move to nodes that the cpuset allows. */
static void bring_near(const struct doctor_container *c, const struct stow_idset *near,
		       char *command, size_t size)
{
	char list[DOCTOR_LISTED];

	stow_idset_format(near, list, sizeof(list));
	if (c->granted)
		snprintf(command, size, "numastow repin --to %s %.*s", list, doctor_id_len(c),
			 c->id);
	else if (stow_idset_subset(near, &c->set.mems_effective))
		snprintf(command, size, "numastow migrate %.*s all %s", doctor_id_len(c), c->id,
			 list);
	else
		snprintf(command, size,
			 "start it again with memory of nodes %s (--cpuset-mems), or with "
			 "annotations: numastow-annotations(7)",
			 list);
}

/* Report memory on other nodes than those of the container's CPUs, unless it was granted these
 * nodes. */
static int examine_distance(struct doctor *d, const struct doctor_container *c)
{
	char name[DOCTOR_NAMED], command[256], a[32], b[32], cpus[DOCTOR_LISTED],
		mems[DOCTOR_LISTED];
	struct stow_idset near, meant;
	uint64_t far;

	if (!c->known || !c->used || c->moving)
		return 0;
	doctor_nodes_of_cpus(d, &c->set.cpus_effective, &near);
	if (stow_idset_empty(&near))
		return 0;
	meant = near;
	stow_idset_or(&meant, &c->granted_nodes);
	far = memory_outside(d, c, &meant);
	if (far < FAR_LEAST || doctor_percent(far, c->total) < FAR_SHARE)
		return 0;
	bring_near(c, &near, command, sizeof(command));
	return doctor_report(
		d, STOW_FINDING_PROBLEM, stow_idset_next(&near, 0), doctor_name(c, name), command,
		"its CPUs %s are on nodes %s; %s of its %s of memory (%u %%) are on "
		"other nodes",
		stow_idset_format(&c->set.cpus_effective, cpus, sizeof(cpus)),
		stow_idset_format(&near, mems, sizeof(mems)), stow_format_size(far, a, sizeof(a)),
		stow_format_size(c->total, b, sizeof(b)), doctor_percent(far, c->total));
}

int doctor_rule_far_memory(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		uint64_t bytes = migrates(c) ? stray(d, c) : 0;

		r = bytes ? report_stray(d, c, bytes) : examine_distance(d, c);
	}
	return r;
}

int doctor_rule_v1_migrate(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		char name[DOCTOR_NAMED], a[32], list[DOCTOR_LISTED];
		uint64_t bytes;

		if (migrates(c) || !(bytes = stray(d, c)))
			continue;
		r = doctor_report(d, STOW_FINDING_PROBLEM, -1, doctor_name(c, name), NULL,
				  "cpuset.memory_migrate is 0, and %s of its memory (%u %%) are "
				  "outside of nodes %s, which its cpuset allows",
				  stow_format_size(bytes, a, sizeof(a)),
				  doctor_percent(bytes, c->total),
				  stow_idset_format(&c->set.mems_effective, list, sizeof(list)));
	}
	return r;
}

/* --- cgroup v1's flags ------------------------------------------------------------------ */

static int find_flag(struct doctor *d, const char *flag, enum stow_finding_level level,
		     struct stow_err *err)
{
	int r = doctor_containers(d, err);
	const char *point;
	uint64_t on = 0;

	/* The topmost cpuset, whose flags new cgroups inherit, then those of containers. */
	if (r == 0 && stow_cgroup_mount(d->root, STOW_CGROUP_CPUSET, &point, NULL) == 0 &&
	    stow_root_read_u64(d->root, &on, NULL, "%s/cpuset.%s", point, flag) == 0 && on)
		r = doctor_report(d, level, -1, "the topmost cpuset", NULL, "cpuset.%s is 1 in %s",
				  flag, point);
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		char name[DOCTOR_NAMED];

		if (is_v1(c) &&
		    stow_root_read_u64(c->cgroup->at[STOW_CGROUP_CPUSET].dir, &on, NULL,
				       "cpuset.%s", flag) == 0 &&
		    on)
			r = doctor_report(d, level, -1, doctor_name(c, name), NULL,
					  "cpuset.%s is 1", flag);
	}
	return r;
}

int doctor_rule_v1_spread_page(struct doctor *d, struct stow_err *err)
{
	return find_flag(d, "memory_spread_page", STOW_FINDING_ADVICE, err);
}

int doctor_rule_v1_spread_slab(struct doctor *d, struct stow_err *err)
{
	return find_flag(d, "memory_spread_slab", STOW_FINDING_INFORMATION, err);
}

/* --- bound containers without memory ----------------------------------------------------- */

int doctor_rule_out_of_memory(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		const struct doctor_node *other = doctor_roomiest(d, &c->set.mems_effective);
		char text[1024], name[DOCTOR_NAMED], list[DOCTOR_LISTED];
		uint64_t kills, limit;

		if (!c->known || c->cgroup->at[STOW_CGROUP_MEMORY].version != 2 || !other ||
		    doctor_percent(other->available, other->total) < ROOM ||
		    stow_root_read_buf(c->cgroup->at[STOW_CGROUP_MEMORY].dir, text, sizeof(text),
				       NULL, "memory.events") < 0)
			continue;
		/* "oom" counts the cgroup's own limit only; a cpuset that is full does not. */
		kills = stow_counter_find(text, "oom_kill");
		limit = stow_counter_find(text, "oom");
		if (kills == STOW_UNKNOWN || kills == 0 || limit != 0)
			continue;
		r = doctor_report(d, STOW_FINDING_PROBLEM, other->id, doctor_name(c, name), NULL,
				  "the kernel has killed %" PRIu64
				  " of its processes for lack of memory, none at its limit; it may "
				  "use nodes %s, and node %d has %u %% available",
				  kills,
				  stow_idset_format(&c->set.mems_effective, list, sizeof(list)),
				  other->id, doctor_percent(other->available, other->total));
	}
	return r;
}
