// SPDX-License-Identifier: Apache-2.0
/* Interrupts of devices that are served by another node's CPUs. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/math.h"
#include "base/parse.h"
#include "doctor/internal.h"

#define REAL_RATE 1000.0 /* interrupts in a second */
#define FAR_SHARE 50	 /* percent of them */

/* Return the CPU of each column of /proc/interrupts; NULL: out of memory. */
static int *parse_columns(const char *text, size_t *ret_n)
{
	size_t end = strcspn(text, "\n"), n = 0;
	int *cpus = calloc(1, sizeof(*cpus));

	for (const char *p = text; cpus && p < text + end;) {
		size_t len;
		char number[16];
		uint64_t cpu;
		int *added;

		p += strspn(p, " ");
		len = strcspn(p, " \n");
		if (len == 0)
			break;
		snprintf(number, sizeof(number), "%.*s", (int)(len > 3 ? len - 3 : 0),
			 len > 3 ? p + 3 : "");
		if (strncmp(p, "CPU", 3) != 0 ||
		    stow_parse_u64(number, STOW_IDSET_MAX, &cpu, NULL) < 0)
			break;
		added = STOW_APPEND(cpus, n);
		if (!added) {
			free(cpus);
			return NULL;
		}
		*added = (int)cpu;
		p += len;
	}
	*ret_n = n;
	return cpus;
}

/* Find the beginning of an interrupt's counts, or NULL. */
static const char *line_of_irq(const char *text, uint64_t irq)
{
	for (const char *line = text; line && *line;) {
		const char *p = line + strspn(line, " ");
		size_t len = strspn(p, "0123456789");
		char number[32];
		uint64_t found;

		snprintf(number, sizeof(number), "%.*s", (int)STOW_MIN(len, (size_t)30), p);
		if (len && p[len] == ':' && stow_parse_u64(number, UINT32_MAX, &found, NULL) == 0 &&
		    found == irq)
			return p + len + 1;
		line = strchr(line, '\n');
		line = line ? line + 1 : NULL;
	}
	return NULL;
}

/* Add an interrupt's counts to `sums`, by column. */
static void add_counts(const char *text, uint64_t irq, uint64_t *sums, size_t n)
{
	const char *p = line_of_irq(text, irq);

	for (size_t i = 0; p && i < n; i++) {
		char number[32];
		uint64_t count;
		size_t len;

		p += strspn(p, " ");
		len = strspn(p, "0123456789");
		snprintf(number, sizeof(number), "%.*s", (int)STOW_MIN(len, (size_t)30), p);
		if (len == 0 || stow_parse_u64(number, INT64_MAX, &count, NULL) < 0)
			return;
		sums[i] = stow_saturating_add(sums[i], count);
		p += len;
	}
}

struct tally {
	uint64_t near, far;
	uint64_t busiest, count; /* the interrupt with the largest count of other nodes' CPUs */
};

/* Count one interrupt by where its CPUs are. */
static int tally_irq(struct doctor *d, const struct stow_idset *cpus, uint64_t irq,
		     struct tally *tally)
{
	_cleanup_free_ uint64_t *now = NULL, *before = NULL;
	_cleanup_free_ int *columns = NULL;
	uint64_t far = 0;
	size_t n = 0;

	columns = parse_columns(d->now.interrupts, &n);
	now = calloc(n + 1, sizeof(*now));
	before = calloc(n + 1, sizeof(*before));
	if (!columns || !now || !before)
		return -ENOMEM;
	add_counts(d->now.interrupts, irq, now, n);
	if (d->before.interrupts)
		add_counts(d->before.interrupts, irq, before, n);
	for (size_t i = 0; i < n; i++) {
		uint64_t grown = stow_saturating_sub(now[i], before[i]);

		if (stow_idset_has(cpus, columns[i]))
			tally->near = stow_saturating_add(tally->near, grown);
		else
			far = stow_saturating_add(far, grown);
	}
	tally->far = stow_saturating_add(tally->far, far);
	if (far > tally->count) {
		tally->busiest = irq;
		tally->count = far;
	}
	return 0;
}

static int examine(struct doctor *d, const struct stow_device *device)
{
	const struct stow_node *node = stow_topology_node(d->topology, device->node);
	_cleanup_closedir_ DIR *dir = NULL;
	struct tally tally = { 0 };
	char since[64], command[256], list[DOCTOR_LISTED], affinity[128] = "unknown";
	struct dirent *entry;
	bool network = device->kind != STOW_DEVICE_STORAGE;

	dir = stow_root_opendir(d->root, NULL, "/sys/bus/pci/devices/%s/msi_irqs", device->address);
	if (!dir || !node || stow_idset_empty(&node->cpus))
		return 0;
	while ((entry = readdir(dir))) {
		uint64_t irq;

		if (stow_parse_u64(entry->d_name, UINT32_MAX, &irq, NULL) == 0 &&
		    tally_irq(d, &node->cpus, irq, &tally) < 0)
			return -ENOMEM;
	}
	if (doctor_rate(d, tally.far) < REAL_RATE ||
	    doctor_percent(tally.far, stow_saturating_add(tally.near, tally.far)) < FAR_SHARE)
		return 0;
	(void)stow_root_read_buf(d->root, affinity, sizeof(affinity), NULL,
				 "/proc/irq/%" PRIu64 "/effective_affinity_list", tally.busiest);
	snprintf(command, sizeof(command), "echo %s >/proc/irq/%" PRIu64 "/smp_affinity_list%s",
		 stow_idset_format(&node->cpus, list, sizeof(list)), tally.busiest,
		 doctor_find_process(d, "irqbalance") ? " (irqbalance runs, and undoes it: ban the "
							"interrupt there)"
						      : "");
	/* Drivers of storage usually have managed interrupts, one for each CPU, by design. */
	return doctor_report(d, network ? STOW_FINDING_PROBLEM : STOW_FINDING_INFORMATION,
			     device->node, device->n_names ? device->names[0] : device->address,
			     network ? command : "managed interrupts cannot be moved",
			     "%s is on node %d; %s CPUs of other nodes served %" PRIu64
			     " of its %" PRIu64 " interrupts (%.0f/s), most of them IRQ %" PRIu64
			     " (effective affinity: CPU %s)",
			     device->address, device->node, doctor_since(d, since, sizeof(since)),
			     tally.far, stow_saturating_add(tally.near, tally.far),
			     doctor_rate(d, tally.far), tally.busiest, affinity);
}

int doctor_rule_interrupts(struct doctor *d, struct stow_err *err)
{
	int r = doctor_needs_topology(d, err);

	if (r < 0 || d->n_nodes < 2 || !d->now.interrupts)
		return r;
	(void)doctor_processes(d, NULL); /* for irqbalance's name only */
	for (size_t i = 0; r == 0 && i < d->devices.n_devices; i++)
		if (d->devices.devices[i].node >= 0)
			r = examine(d, &d->devices.devices[i]);
	return r;
}
