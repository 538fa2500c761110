// SPDX-License-Identifier: Apache-2.0
/* Rules about settings of the kernel. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "doctor/internal.h"

#define MANY_FAULTS  1000.0 /* hinting faults in a second */
#define FEW_MOVED    1	    /* percent of the faults */
#define SOME_RECLAIM 1.0    /* runs in a second */
#define ROOM	     25	    /* percent of a node's memory that is available */

/* Whether every granted container has its memory on one node; false: there is none. */
static bool all_bound(const struct doctor *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->n_containers; i++) {
		if (!d->containers[i].granted)
			continue;
		if (stow_idset_count(&d->containers[i].granted_nodes) != 1)
			return false;
		n++;
	}
	return n > 0;
}

int doctor_rule_balancing_bound(struct doctor *d, struct stow_err *err)
{
	uint64_t on = doctor_setting(d, "numa_balancing");
	uint64_t faults = doctor_grown(d, "numa_hint_faults");
	uint64_t moved = doctor_grown(d, "numa_pages_migrated");
	char since[64];
	int r;

	if (on == STOW_UNKNOWN || !(on & 1) || moved == STOW_UNKNOWN ||
	    doctor_rate(d, faults) < MANY_FAULTS || doctor_percent(moved, faults) >= FEW_MOVED)
		return 0;
	r = doctor_containers(d, err);
	if (r < 0 || !all_bound(d))
		return r;
	return doctor_report(d, STOW_FINDING_PROBLEM, -1, "kernel.numa_balancing", NULL,
			     "numa_balancing is %" PRIu64 "; %s there were %" PRIu64
			     " hinting faults (%.0f/s) and %" PRIu64
			     " pages moved; every container with a grant has one node",
			     on, doctor_since(d, since, sizeof(since)), faults,
			     doctor_rate(d, faults), moved);
}

/* --- memory tiers ------------------------------------------------------------ */

/* The nodes of the slowest tier; false: there are fewer than two tiers with nodes. */
static bool slowest_tier(struct doctor *d, struct stow_idset *ret)
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings tiers = { 0 };
	unsigned int n = 0;
	uint64_t worst = 0;

	if (stow_knobs_read_named(d->root, "memory_tier*/nodelist", &tiers, NULL) < 0)
		return false;
	for (size_t i = 0; i < tiers.n; i++) {
		const char *number = tiers.list[i].name + strcspn(tiers.list[i].name, "0123456789");
		struct stow_idset nodes;
		char text[32];
		uint64_t tier;

		snprintf(text, sizeof(text), "%.*s", (int)strspn(number, "0123456789"), number);
		if (tiers.list[i].state != STOW_KNOB_PRESENT ||
		    stow_parse_u64(text, UINT32_MAX, &tier, NULL) < 0 ||
		    stow_idset_parse(tiers.list[i].value, &nodes, NULL) < 0 ||
		    stow_idset_empty(&nodes))
			continue;
		n++;
		if (tier >= worst) {
			worst = tier;
			*ret = nodes;
		}
	}
	return n > 1;
}

static unsigned int room_of(const struct doctor *d, const struct stow_idset *nodes)
{
	uint64_t total = 0, available = 0;

	for (size_t i = 0; i < d->n_nodes; i++) {
		if (!stow_idset_has(nodes, d->nodes[i].id))
			continue;
		total += d->nodes[i].total;
		available += d->nodes[i].available;
	}
	return doctor_percent(available, total);
}

/* Return whether demotion keeps to the cpusets of cgroup v2: since Linux 6.16. */
static bool respects_cpusets(const struct doctor *d)
{
	char text[128], *save = NULL, *word;
	uint64_t major, minor;

	if (stow_root_read_buf(d->root, text, sizeof(text), NULL, "/proc/sys/kernel/osrelease") < 0)
		return false;
	word = strtok_r(text, ".", &save);
	if (!word || stow_parse_u64(word, UINT32_MAX, &major, NULL) < 0)
		return false;
	word = strtok_r(NULL, ".-+", &save);
	if (!word || stow_parse_u64(word, UINT32_MAX, &minor, NULL) < 0)
		return false;
	return major > 6 || (major == 6 && minor >= 16);
}

/* Find a container with a grant whose pages demotion would move to nodes that it does not have;
 * NULL: there is none. */
static const struct doctor_container *find_demotable(const struct doctor *d,
						     const struct stow_idset *slow)
{
	bool respected = respects_cpusets(d);

	for (size_t i = 0; i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];

		if (c->granted && !stow_idset_empty(&c->granted_nodes) &&
		    !stow_idset_intersects(&c->granted_nodes, slow) &&
		    !(respected && c->cgroup && c->cgroup->at[STOW_CGROUP_CPUSET].version == 2))
			return c;
	}
	return NULL;
}

int doctor_rule_demotion_bound(struct doctor *d, struct stow_err *err)
{
	const struct doctor_container *c;
	char granted[DOCTOR_LISTED], list[DOCTOR_LISTED];
	struct stow_idset slow;
	int r;

	if (doctor_setting(d, "demotion_enabled") != 1 || !slowest_tier(d, &slow))
		return 0;
	r = doctor_containers(d, err);
	c = r < 0 ? NULL : find_demotable(d, &slow);
	if (!c)
		return r;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "memory tiers", NULL,
			     "demotion_enabled is true; container %s was granted memory of nodes "
			     "%s, and nodes %s are a slower memory tier",
			     c->name ? c->name : c->id,
			     stow_idset_format(&c->granted_nodes, granted, sizeof(granted)),
			     stow_idset_format(&slow, list, sizeof(list)));
}

int doctor_rule_tiering(struct doctor *d, struct stow_err *err)
{
	uint64_t balancing = doctor_setting(d, "numa_balancing");
	uint64_t demotion = doctor_setting(d, "demotion_enabled");
	uint64_t swapped = doctor_grown(d, "pswpout");
	bool no_promotion = balancing != STOW_UNKNOWN && !(balancing & 2);
	bool no_demotion = demotion == 0, harm;
	char since[64], list[DOCTOR_LISTED];
	struct stow_idset slow;
	unsigned int room;
	int r;

	if ((!no_promotion && !no_demotion) || !slowest_tier(d, &slow))
		return 0;
	r = doctor_containers(d, err);
	if (r < 0)
		return r;
	/* Then demotion is better off (doctor_rule_demotion_bound()). */
	no_demotion = no_demotion && !find_demotable(d, &slow);
	if (!no_promotion && !no_demotion)
		return 0;
	room = room_of(d, &slow);
	harm = no_demotion && swapped != STOW_UNKNOWN && swapped > 0 && room >= ROOM;
	return doctor_report(
		d, harm ? STOW_FINDING_PROBLEM : STOW_FINDING_ADVICE, -1, "memory tiers",
		no_demotion && no_promotion
			? "numastow settings numa_balancing=2 --persist; numastow "
			  "settings demotion_enabled=1 --persist"
		: no_demotion ? "numastow settings demotion_enabled=1 --persist"
			      : "numastow settings numa_balancing=2 --persist",
		"nodes %s are a slower memory tier, of which %u %% is available; numa_balancing is "
		"%" PRIu64 " (2: promotion), demotion_enabled is %s; %s %" PRIu64
		" pages were swapped out",
		stow_idset_format(&slow, list, sizeof(list)), room,
		balancing == STOW_UNKNOWN ? 0 : balancing,
		demotion == STOW_UNKNOWN ? "unknown"
		: demotion		 ? "true"
					 : "false",
		doctor_since(d, since, sizeof(since)), swapped == STOW_UNKNOWN ? 0 : swapped);
}

int doctor_rule_promotion(struct doctor *d, struct stow_err *err)
{
	uint64_t limit = doctor_setting(d, "numa_balancing_promote_rate_limit_MBps");
	uint64_t candidates = doctor_grown(d, "pgpromote_candidate");
	uint64_t promoted = doctor_grown(d, "pgpromote_success");
	char since[64];

	if (limit == STOW_UNKNOWN || limit >= 65536 || candidates == STOW_UNKNOWN ||
	    promoted == STOW_UNKNOWN || candidates < 100000 || promoted > candidates / 2)
		return 0;
	return doctor_report(d, STOW_FINDING_PROBLEM, -1,
			     "kernel.numa_balancing_promote_rate_limit_MBps", NULL,
			     "the limit is %" PRIu64 " MB/s instead of 65536; %s %" PRIu64
			     " pages were candidates for promotion, and %" PRIu64 " were promoted",
			     limit, doctor_since(d, since, sizeof(since)), candidates, promoted);
}

int doctor_rule_balancing_settings(struct doctor *d, struct stow_err *err)
{
	static const char *const names[] = { "numa_balancing/scan_delay_ms",
					     "numa_balancing/scan_period_min_ms",
					     "numa_balancing/scan_period_max_ms",
					     "numa_balancing/scan_size_mb" };
	int r = 0;

	for (size_t i = 0; r == 0 && i < STOW_ARRAY_SIZE(names); i++) {
		_cleanup_(stow_knob_settings_done) struct stow_knob_settings found = { 0 };
		char command[128];

		if (stow_knobs_read_named(d->root, names[i], &found, NULL) < 0 || found.n == 0 ||
		    found.list[0].state != STOW_KNOB_PRESENT || !found.list[0].knob->fallback ||
		    strcmp(found.list[0].value, found.list[0].knob->fallback) == 0)
			continue;
		snprintf(command, sizeof(command), "numastow settings %s=%s", names[i],
			 found.list[0].knob->fallback);
		r = doctor_report(d, STOW_FINDING_INFORMATION, -1, names[i], command,
				  "%s has %s; the kernel's default is %s", found.list[0].path,
				  found.list[0].value, found.list[0].knob->fallback);
	}
	return r;
}

/* --- reclaim ------------------------------------------------------------------ */

int doctor_rule_zone_reclaim(struct doctor *d, struct stow_err *err)
{
	uint64_t mode = doctor_setting(d, "zone_reclaim_mode");
	uint64_t good = doctor_grown(d, "zone_reclaim_success");
	uint64_t bad = doctor_grown(d, "zone_reclaim_failed");
	const struct doctor_node *roomy = doctor_roomiest(d, NULL);
	unsigned int room = roomy ? doctor_percent(roomy->available, roomy->total) : 0;
	bool counted = good != STOW_UNKNOWN && bad != STOW_UNKNOWN;
	char since[64];

	if (mode == STOW_UNKNOWN || mode == 0)
		return 0;
	if (!counted || doctor_rate(d, good + bad) < SOME_RECLAIM || room < ROOM)
		return doctor_report(d, STOW_FINDING_ADVICE, -1, "vm.zone_reclaim_mode", NULL,
				     "zone_reclaim_mode is %" PRIu64
				     "; the kernel's default is 0 on every machine",
				     mode);
	return doctor_report(d, STOW_FINDING_PROBLEM, -1, "vm.zone_reclaim_mode", NULL,
			     "zone_reclaim_mode is %" PRIu64 "; %s nodes were reclaimed %" PRIu64
			     " times with and %" PRIu64
			     " times without success (%.1f/s), while node %d has %u %% of its "
			     "memory available",
			     mode, doctor_since(d, since, sizeof(since)), good, bad,
			     doctor_rate(d, good + bad), roomy->id, room);
}

int doctor_rule_hit_counters(struct doctor *d, struct stow_err *err)
{
	if (doctor_setting(d, "numa_stat") != 0)
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "vm.numa_stat", NULL,
			     "numa_stat is 0: numa_hit, numa_miss and numa_foreign stand still");
}

int doctor_rule_ksm(struct doctor *d, struct stow_err *err)
{
	uint64_t run = 0, across = 0, sharing = 0;

	if (d->n_nodes < 2 ||
	    stow_root_read_u64(d->root, &run, NULL, "/sys/kernel/mm/ksm/run") < 0 || run != 1 ||
	    stow_root_read_u64(d->root, &across, NULL, "/sys/kernel/mm/ksm/merge_across_nodes") <
		    0 ||
	    across != 1)
		return 0;
	(void)stow_root_read_u64(d->root, &sharing, NULL, "/sys/kernel/mm/ksm/pages_sharing");
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "KSM", NULL,
			     "KSM runs, merge_across_nodes is 1, and %" PRIu64 " pages are shared",
			     sharing);
}

int doctor_rule_overcommit(struct doctor *d, struct stow_err *err)
{
	uint64_t sizes[STOW_POOLS_MAX];
	int n = stow_pool_sizes(d->root, sizes, err), r = 0;

	for (int i = 0; r == 0 && i < n; i++) {
		uint64_t most = 0, surplus = 0, kib = sizes[i] >> 10;
		char command[128], name[32];

		if (stow_root_read_u64(d->root, &most, NULL,
				       "/sys/kernel/mm/hugepages/hugepages-%" PRIu64
				       "kB/nr_overcommit_hugepages",
				       kib) < 0 ||
		    most == 0)
			continue;
		(void)stow_root_read_u64(d->root, &surplus, NULL,
					 "/sys/kernel/mm/hugepages/hugepages-%" PRIu64
					 "kB/surplus_hugepages",
					 kib);
		snprintf(command, sizeof(command),
			 "echo 0 >/sys/kernel/mm/hugepages/hugepages-%" PRIu64
			 "kB/nr_overcommit_hugepages",
			 kib);
		r = doctor_report(d, STOW_FINDING_ADVICE, -1,
				  stow_format_size(sizes[i], name, sizeof(name)), command,
				  "nr_overcommit_hugepages is %" PRIu64 " pages of %" PRIu64
				  " kB; %" PRIu64 " surplus pages exist",
				  most, kib, surplus);
	}
	return n < 0 ? n : r;
}

/* --- memory hotplug ------------------------------------------------------------- */

/* Whether a udev rule brings memory online: a line about the subsystem memory that sets
 * ATTR{state}. */
static bool onlines(const char *text)
{
	for (const char *line = text; *line;) {
		size_t end = strcspn(line, "\n");
		_cleanup_free_ char *copy = strndup(line, end);

		if (copy && copy[strspn(copy, " \t")] != '#' &&
		    strstr(copy, "SUBSYSTEM==\"memory\"") && strstr(copy, "ATTR{state}=\"online"))
			return true;
		line += end + (line[end] == '\n');
	}
	return false;
}

/* Find such a rule; a file of /etc hides one of the same name elsewhere. */
static bool find_udev_rule(struct doctor *d, char *ret, size_t size)
{
	static const char *const folders[] = { "/etc/udev/rules.d", "/run/udev/rules.d",
					       "/usr/local/lib/udev/rules.d",
					       "/usr/lib/udev/rules.d", "/lib/udev/rules.d" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(folders); i++) {
		_cleanup_closedir_ DIR *dir = stow_root_opendir(d->root, NULL, "%s", folders[i]);
		struct dirent *entry;

		while (dir && (entry = readdir(dir))) {
			size_t len = strlen(entry->d_name);
			_cleanup_free_ char *text = NULL;

			if (len < 6 || strcmp(entry->d_name + len - 6, ".rules") != 0 ||
			    (i > 0 && stow_root_exists(d->root, "/etc/udev/rules.d/%s",
						       entry->d_name) > 0) ||
			    stow_root_read(d->root, 1 << 20, &text, NULL, NULL, "%s/%s", folders[i],
					   entry->d_name) < 0 ||
			    !onlines(text))
				continue;
			snprintf(ret, size, "%s/%s", folders[i], entry->d_name);
			return true;
		}
	}
	return false;
}

int doctor_rule_hotplug(struct doctor *d, struct stow_err *err)
{
	char state[64], rule[512], command[640];

	/* The kernel's own onlining, whose zone the rule's then never decides. */
	if (stow_root_read_buf(d->root, state, sizeof(state), NULL,
			       "/sys/devices/system/memory/auto_online_blocks") < 0 ||
	    strncmp(state, "online", 6) != 0 || !find_udev_rule(d, rule, sizeof(rule)))
		return 0;
	snprintf(command, sizeof(command),
		 "echo offline >/sys/devices/system/memory/auto_online_blocks (at boot: "
		 "memhp_default_state=offline), or remove %s",
		 rule);
	return doctor_report(
		d, strncmp(rule, "/etc/", 5) == 0 ? STOW_FINDING_ADVICE : STOW_FINDING_INFORMATION,
		-1, rule, command, "auto_online_blocks is %s, and %s brings memory online, too",
		state, rule);
}
