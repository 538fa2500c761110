// SPDX-License-Identifier: Apache-2.0
/* Rules about other software: programs that set what numastow sets, and runtimes with known faults.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/kubelet.h"
#include "cgroup/procs.h"
#include "doctor/internal.h"

#define DPKG_MAX (32U << 20) /* bytes of dpkg's status */
#define WIDE	 1024	     /* CPUs in Go's unix.CPUSet */

int doctor_rule_numad(struct doctor *d, struct stow_err *err)
{
	const struct doctor_process *numad;
	int r = doctor_processes(d, err);

	numad = r == 0 ? doctor_find_process(d, "numad") : NULL;
	if (!numad)
		return r;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "numad", NULL, "numad runs, as PID %d",
			     (int)numad->pid);
}

/* Return whether irqbalance's environment file keeps it off some CPUs. */
static bool bans_cpus(struct doctor *d)
{
	static const char *const files[] = { "/etc/default/irqbalance",
					     "/etc/sysconfig/irqbalance" };

	for (size_t i = 0; i < STOW_ARRAY_SIZE(files); i++) {
		_cleanup_free_ char *text = NULL;

		if (stow_root_read(d->root, 65536, &text, NULL, NULL, "%s", files[i]) < 0)
			continue;
		for (const char *line = text; *line;
		     line += strcspn(line, "\n") + (line[strcspn(line, "\n")] == '\n'))
			if (strncmp(line, "IRQBALANCE_BANNED_CPU", 21) == 0)
				return true;
	}
	return false;
}

int doctor_rule_irqbalance(struct doctor *d, struct stow_err *err)
{
	const struct doctor_process *irqbalance;
	struct stow_idset exclusive = { 0 };
	char list[DOCTOR_LISTED];
	int r = doctor_processes(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; i < d->n_containers; i++)
		if (d->containers[i].exclusive)
			stow_idset_or(&exclusive, &d->containers[i].granted_cpus);
	irqbalance = doctor_find_process(d, "irqbalance");
	if (r < 0 || !irqbalance || stow_idset_empty(&exclusive) || bans_cpus(d))
		return r;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "irqbalance", NULL,
			     "irqbalance runs, as PID %d, and no CPU is banned; containers have "
			     "the exclusive CPUs %s",
			     (int)irqbalance->pid,
			     stow_idset_format(&exclusive, list, sizeof(list)));
}

/* --- tuned ----------------------------------------------------------------------- */

/* Collect the lines of a profile that set what numastow sets or examines. */
static void collect(const char *text, char *ret, size_t size)
{
	static const char *const words[] = { "numa_balancing", "zone_reclaim_mode",
					     "isolated_cores", "min_free_kbytes", "cpuset" };

	for (const char *line = text; *line;) {
		size_t end = strcspn(line, "\n");
		_cleanup_free_ char *copy = strndup(line, end);

		for (size_t i = 0; copy && *copy != '#' && i < STOW_ARRAY_SIZE(words); i++)
			if (strstr(copy, words[i])) {
				stow_append(ret, size, "%s%s", *ret ? "; " : "", copy);
				break;
			}
		line += end + (line[end] == '\n');
	}
}

int doctor_rule_tuned(struct doctor *d, struct stow_err *err)
{
	static const char *const folders[] = { "/etc/tuned", "/etc/tuned/profiles",
					       "/usr/lib/tuned", "/usr/lib/tuned/profiles" };
	char profile[128], found[512] = "";

	if (stow_root_read_buf(d->root, profile, sizeof(profile), NULL,
			       "/etc/tuned/active_profile") < 0)
		return 0;
	profile[strcspn(profile, " \n")] = '\0';
	if (!*profile || strchr(profile, '/'))
		return 0;
	for (size_t i = 0; !*found && i < STOW_ARRAY_SIZE(folders); i++) {
		_cleanup_free_ char *text = NULL;

		if (stow_root_read(d->root, 65536, &text, NULL, NULL, "%s/%s/tuned.conf",
				   folders[i], profile) == 0)
			collect(text, found, sizeof(found));
	}
	if (!*found)
		return 0;
	return doctor_report(d, STOW_FINDING_INFORMATION, -1, "tuned", NULL,
			     "the active profile is %s, which sets: %s", profile, found);
}

/* --- kubelet and systemd ------------------------------------------------------------ */

int doctor_rule_kubelet(struct doctor *d, struct stow_err *err)
{
	const char *manager = stow_kubelet_manager(d->root);

	if (!manager)
		return 0;
	return doctor_report(d, STOW_FINDING_ADVICE, -1, "kubelet", NULL,
			     "kubelet's %s has a policy that gives whole CPUs or memory to pods, "
			     "by its checkpoint in /var/lib/kubelet",
			     manager);
}

int doctor_rule_slices(struct doctor *d, struct stow_err *err)
{
	static const char *const slices[] = { "system.slice", "machine.slice", "user.slice" };
	struct stow_hierarchy hierarchy;
	int r = doctor_containers(d, err);

	if (r < 0 || stow_cgroup_hierarchy(d->root, STOW_CGROUP_CPUSET, &hierarchy, NULL) < 0 ||
	    hierarchy.version != 2)
		return r;
	for (size_t i = 0; r == 0 && i < STOW_ARRAY_SIZE(slices); i++) {
		enum stow_finding_level level = STOW_FINDING_INFORMATION;
		char a[DOCTOR_LISTED], b[DOCTOR_LISTED], command[128];
		struct stow_idset cpus = { 0 }, mems = { 0 };

		(void)stow_root_read_idset(d->root, &cpus, NULL, "%s/%s/cpuset.cpus",
					   hierarchy.point, slices[i]);
		(void)stow_root_read_idset(d->root, &mems, NULL, "%s/%s/cpuset.mems",
					   hierarchy.point, slices[i]);
		if (stow_idset_empty(&cpus) && stow_idset_empty(&mems))
			continue;
		for (size_t k = 0; k < d->n_containers; k++)
			if (strstr(d->containers[k].cgroup->path, slices[i]))
				level = STOW_FINDING_ADVICE;
		snprintf(command, sizeof(command),
			 "systemctl set-property %s AllowedCPUs= AllowedMemoryNodes=", slices[i]);
		r = doctor_report(d, level, -1, slices[i], command,
				  "its cpuset has CPUs \"%s\" and nodes \"%s\"%s",
				  stow_idset_format(&cpus, a, sizeof(a)),
				  stow_idset_format(&mems, b, sizeof(b)),
				  level == STOW_FINDING_ADVICE ? ", and containers are below it"
							       : "");
	}
	return r;
}

/* --- runtimes ------------------------------------------------------------------------- */

/* Copy a package's version out of dpkg's status; "": it is not installed, or not by dpkg. */
static void dpkg_version(struct doctor *d, const char *package, char *buf, size_t size)
{
	_cleanup_free_ char *text = NULL;
	char wanted[64];
	const char *p;
	size_t len;

	*buf = '\0';
	snprintf(wanted, sizeof(wanted), "\nPackage: %s\n", package);
	if (stow_root_read(d->root, DPKG_MAX, &text, NULL, NULL, "/var/lib/dpkg/status") < 0)
		return;
	p = strncmp(text, wanted + 1, strlen(wanted) - 1) == 0 ? text : strstr(text, wanted);
	while (p && (p = strchr(p, '\n')) && p[1] != '\n')
		if (strncmp(++p, "Version: ", 9) == 0) {
			len = strcspn(p + 9, "\n");
			snprintf(buf, size, "%.*s", (int)STOW_MIN(len, size - 1), p + 9);
			return;
		}
}

/* Format the versions of the runtimes. Return `buf`. */
static const char *versions(struct doctor *d, char *buf, size_t size)
{
	char runc[64], crun[64];

	if (d->options->runc)
		snprintf(runc, sizeof(runc), "%.60s", d->options->runc);
	else
		dpkg_version(d, "runc", runc, sizeof(runc));
	if (d->options->crun)
		snprintf(crun, sizeof(crun), "%.60s", d->options->crun);
	else
		dpkg_version(d, "crun", crun, sizeof(crun));
	snprintf(buf, size, "runc here is %s, crun %s", *runc ? runc : "unknown",
		 *crun ? crun : "unknown");
	return buf;
}

static const struct doctor_process *by_pid(const struct doctor *d, pid_t pid)
{
	for (size_t i = 0; i < d->n_processes; i++)
		if (d->processes[i].pid == pid)
			return &d->processes[i];
	return NULL;
}

/* Call `examine` with the first process of each container whose cpuset is known. */
static int each_first(struct doctor *d,
		      int (*examine)(struct doctor *d, const struct doctor_container *c,
				     const struct doctor_process *first),
		      struct stow_err *err)
{
	int r = doctor_processes(d, err);

	if (r == 0)
		r = doctor_containers(d, err);
	for (size_t i = 0; r == 0 && i < d->n_containers; i++) {
		const struct doctor_container *c = &d->containers[i];
		const struct doctor_process *first;
		_cleanup_free_ pid_t *pids = NULL;
		size_t n = 0;

		if (!c->known || stow_cgroup_pids(c->cgroup, &pids, &n, NULL) < 0 || n == 0)
			continue;
		first = by_pid(d, pids[0]);
		if (first)
			r = examine(d, c, first);
	}
	return r;
}

/* Report a fault of a container's runtime, with the container's short id and the versions of the
 * runtimes after the text. */
static int report_runtime(struct doctor *d, const struct doctor_container *c, const char *text)
{
	char name[DOCTOR_NAMED], here[256];

	return doctor_report(d, STOW_FINDING_PROBLEM, -1, doctor_name(c, name), NULL, "%s; %s",
			     text, versions(d, here, sizeof(here)));
}

static int examine_affinity(struct doctor *d, const struct doctor_container *c,
			    const struct doctor_process *first)
{
	const struct doctor_process *init = by_pid(d, 1);
	struct stow_idset inherited;
	char text[128 + 2 * DOCTOR_LISTED], a[DOCTOR_LISTED], b[DOCTOR_LISTED];

	if (!init || !stow_idset_subset(&first->cpus, &c->set.cpus_effective) ||
	    stow_idset_equal(&first->cpus, &c->set.cpus_effective))
		return 0;
	inherited = init->cpus;
	stow_idset_and(&inherited, &c->set.cpus_effective);
	if (!stow_idset_equal(&first->cpus, &inherited))
		return 0; /* the container itself has set it */
	snprintf(text, sizeof(text),
		 "its cpuset has CPUs %s, and PID %d may use CPUs %s only, as PID 1",
		 stow_idset_format(&c->set.cpus_effective, a, sizeof(a)), (int)first->pid,
		 stow_idset_format(&first->cpus, b, sizeof(b)));
	return report_runtime(d, c, text);
}

int doctor_rule_runtime_affinity(struct doctor *d, struct stow_err *err)
{
	return each_first(d, examine_affinity, err);
}

static int examine_wide(struct doctor *d, const struct doctor_container *c,
			const struct doctor_process *first)
{
	int lost = stow_idset_next(&c->set.cpus_effective, WIDE);
	char text[128 + DOCTOR_LISTED], a[DOCTOR_LISTED];

	if (lost < 0 || stow_idset_next(&first->cpus, WIDE) >= 0)
		return 0;
	snprintf(text, sizeof(text), "its cpuset has CPUs %s, and PID %d may use none from %d on",
		 stow_idset_format(&c->set.cpus_effective, a, sizeof(a)), (int)first->pid, WIDE);
	return report_runtime(d, c, text);
}

int doctor_rule_runtime_cpus(struct doctor *d, struct stow_err *err)
{
	return each_first(d, examine_wide, err);
}

/* --- isolated CPUs ------------------------------------------------------------------------ */

/* Find the isolated CPU on which most threads of a process run now; return how many. */
static unsigned int busiest_isolated(struct doctor *d, pid_t pid, int *ret_cpu)
{
	_cleanup_closedir_ DIR *dir = stow_root_opendir(d->root, NULL, "/proc/%d/task", (int)pid);
	struct dirent *entry;
	unsigned int most = 0;
	_cleanup_free_ unsigned int *counts = calloc(STOW_IDSET_MAX, sizeof(*counts));

	while (dir && counts && (entry = readdir(dir))) {
		char text[1024], number[16];
		const char *p;
		uint64_t cpu;

		if (stow_root_read_buf(d->root, text, sizeof(text), NULL, "/proc/%d/task/%s/stat",
				       (int)pid, entry->d_name) < 0)
			continue;
		/* "pid (comm) state ...": the CPU is the 39th field. */
		p = strrchr(text, ')');
		if (!p || p[1] != ' ' || p[2] != 'R')
			continue;
		p += 2;
		for (int field = 3; p && field < 39; field++) {
			p = strchr(p, ' ');
			p = p ? p + 1 : NULL;
		}
		snprintf(number, sizeof(number), "%.*s", p ? (int)strcspn(p, " ") : 0, p ? p : "");
		if (stow_parse_u64(number, STOW_IDSET_MAX - 1, &cpu, NULL) < 0 ||
		    !stow_idset_has(&d->topology->isolated, (int)cpu))
			continue;
		if (++counts[cpu] > most) {
			most = counts[cpu];
			*ret_cpu = (int)cpu;
		}
	}
	return most;
}

int doctor_rule_isolated(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r < 0 || stow_idset_empty(&d->topology->isolated))
		return r;
	r = doctor_processes(d, err);
	for (size_t i = 0; r == 0 && i < d->n_processes; i++) {
		const struct doctor_process *p = &d->processes[i];
		char name[128], a[DOCTOR_LISTED], b[DOCTOR_LISTED];
		bool mixed = !stow_idset_subset(&p->cpus, &d->topology->isolated);
		unsigned int most;
		int cpu = -1;

		if (p->threads < 2 || stow_idset_count(&p->cpus) < 2 ||
		    !stow_idset_intersects(&p->cpus, &d->topology->isolated))
			continue;
		most = busiest_isolated(d, p->pid, &cpu);
		/* A process whose CPUs are all isolated binds its threads one by one. */
		if (most < 2 && !mixed)
			continue;
		snprintf(name, sizeof(name), "%s (PID %d)", p->comm, (int)p->pid);
		stow_idset_format(&p->cpus, a, sizeof(a));
		stow_idset_format(&d->topology->isolated, b, sizeof(b));
		if (most >= 2)
			r = doctor_report(d, STOW_FINDING_PROBLEM, -1, name, NULL,
					  "%u of its %u threads run on CPU %d alone; it may use "
					  "CPUs %s, and CPUs %s are isolated",
					  most, p->threads, cpu, a, b);
		else
			r = doctor_report(d, STOW_FINDING_ADVICE, -1, name, NULL,
					  "its %u threads may use CPUs %s, of which some are "
					  "isolated (%s)",
					  p->threads, a, b);
	}
	return r;
}
