// SPDX-License-Identifier: Apache-2.0
/* What most rules need of the machine. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/array.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/text.h"
#include "cgroup/allowed.h"
#include "doctor/internal.h"
#include "node/counters.h"
#include "node/zones.h"

#define COUNTERS_MAX (1U << 20) /* bytes of a file with counters */

/* --- counters -------------------------------------------------------------- */

static uint64_t grown_between(const char *before, const char *now, const char *key)
{
	uint64_t old = before ? stow_counter_find(before, key) : 0,
		 new = stow_counter_find(now, key);

	return old == STOW_UNKNOWN || new == STOW_UNKNOWN || new < old ? STOW_UNKNOWN : new - old;
}

uint64_t doctor_grown(const struct doctor *d, const char *key)
{
	return grown_between(d->before.vmstat, d->now.vmstat, key);
}

double doctor_rate(const struct doctor *d, uint64_t grown)
{
	return grown == STOW_UNKNOWN || d->seconds <= 0 ? 0 : (double)grown / d->seconds;
}

const char *doctor_since(const struct doctor *d, char *buf, size_t size)
{
	snprintf(buf, size, d->options->interval ? "within %.1f s" : "since the boot %.0f s ago",
		 d->seconds);
	return buf;
}

unsigned int doctor_percent(uint64_t part, uint64_t whole)
{
	return whole == 0 ? 0 : (unsigned int)((double)part * 100 / (double)whole);
}

/* --- settings and parameters ----------------------------------------------- */

/* Return whether there is such a setting, and its text. */
static bool setting_text(struct doctor *d, const char *name, char buf[static STOW_KNOB_TEXT])
{
	_cleanup_(stow_knob_settings_done) struct stow_knob_settings found = { 0 };

	if (stow_knobs_read_named(d->root, name, &found, NULL) < 0 || found.n == 0 ||
	    found.list[0].state != STOW_KNOB_PRESENT)
		return false;
	snprintf(buf, STOW_KNOB_TEXT, "%s", found.list[0].value);
	return true;
}

uint64_t doctor_setting(struct doctor *d, const char *name)
{
	char text[STOW_KNOB_TEXT];
	uint64_t value;

	if (!setting_text(d, name, text))
		return STOW_UNKNOWN;
	if (strcmp(text, "true") == 0 || strcmp(text, "Y") == 0)
		return 1;
	if (strcmp(text, "false") == 0 || strcmp(text, "N") == 0)
		return 0;
	return stow_parse_u64(text, INT64_MAX, &value, NULL) == 0 ? value : STOW_UNKNOWN;
}

bool doctor_parameter(const struct doctor *d, const char *name, char *buf, size_t size)
{
	return d->cmdline && stow_cmdline_get(d->cmdline, name, buf, size) > 0;
}

/* --- nodes ------------------------------------------------------------------ */

int doctor_needs_topology(const struct doctor *d, struct stow_err *err)
{
	return d->topology ? 0 : stow_err_move(err, -d->why.code, &d->why);
}

void doctor_nodes_of_cpus(const struct doctor *d, const struct stow_idset *cpus,
			  struct stow_idset *ret)
{
	*ret = (struct stow_idset){ 0 };
	for (size_t i = 0; d->topology && i < d->topology->n_nodes; i++)
		if (stow_idset_intersects(&d->topology->nodes[i].cpus, cpus))
			stow_idset_add(ret, d->topology->nodes[i].id);
}

const struct doctor_node *doctor_roomiest(const struct doctor *d, const struct stow_idset *except)
{
	const struct doctor_node *best = NULL;

	for (size_t i = 0; i < d->n_nodes; i++) {
		const struct doctor_node *node = &d->nodes[i];

		if (node->total == 0 || (except && stow_idset_has(except, node->id)))
			continue;
		if (!best || doctor_percent(node->available, node->total) >
				     doctor_percent(best->available, best->total))
			best = node;
	}
	return best;
}

static char *read_text(struct stow_root *root, size_t max, const char *path)
{
	char *text = NULL;

	return stow_root_read(root, max, &text, NULL, NULL, "%s", path) < 0 ? NULL : text;
}

static int sample(struct doctor *d, struct doctor_sample *ret)
{
	ret->vmstat = read_text(d->root, COUNTERS_MAX, "/proc/vmstat");
	ret->interrupts = read_text(d->root, STOW_ROOT_READ_MAX, "/proc/interrupts");
	ret->nodes = calloc(d->n_nodes + 1, sizeof(*ret->nodes));
	if (!ret->nodes)
		return -ENOMEM;
	for (size_t i = 0; i < d->n_nodes; i++) {
		char path[64];

		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/vmstat",
			 d->nodes[i].id);
		ret->nodes[i] = read_text(d->root, COUNTERS_MAX, path);
		if (stow_counter_find(ret->nodes[i], "numa_hit") != STOW_UNKNOWN)
			continue;
		free(ret->nodes[i]);
		snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/numastat",
			 d->nodes[i].id);
		ret->nodes[i] = read_text(d->root, COUNTERS_MAX, path);
	}
	return 0;
}

static void sample_done(struct doctor *d, struct doctor_sample *sample)
{
	free(sample->vmstat);
	free(sample->interrupts);
	for (size_t i = 0; sample->nodes && i < d->n_nodes; i++)
		free(sample->nodes[i]);
	free(sample->nodes);
}

static int make_nodes(struct doctor *d)
{
	d->nodes = calloc(d->topology->n_nodes + 1, sizeof(*d->nodes));
	if (!d->nodes)
		return -ENOMEM;
	d->n_nodes = d->topology->n_nodes;
	for (size_t i = 0; i < d->n_nodes; i++)
		d->nodes[i] = (struct doctor_node){
			.id = d->topology->nodes[i].id,
			.total = d->topology->nodes[i].mem_total,
			.available = d->topology->nodes[i].mem_available,
		};
	return 0;
}

static void fill_nodes(struct doctor *d)
{
	struct stow_zones zones = { 0 };

	(void)stow_zones_read(d->root, false, &zones, NULL);
	for (size_t i = 0; i < d->n_nodes; i++) {
		struct doctor_node *node = &d->nodes[i];
		const char *before = d->before.nodes ? d->before.nodes[i] : NULL;
		struct stow_zone_sums sums;
		bool known = stow_zones_sum(&zones, node->id, &sums);

		node->hit = grown_between(before, d->now.nodes[i], "numa_hit");
		node->foreign = grown_between(before, d->now.nodes[i], "numa_foreign");
		node->free = known ? sums.free : STOW_UNKNOWN;
		node->low = known ? sums.low : STOW_UNKNOWN;
		node->high = known ? sums.high : STOW_UNKNOWN;
		node->file = known ? sums.file : STOW_UNKNOWN;
	}
	stow_zones_done(&zones);
}

/* Seconds since the boot; 0: unknown. */
static double uptime(struct stow_root *root)
{
	char text[128], whole[32];
	uint64_t seconds;

	if (stow_root_read_buf(root, text, sizeof(text), NULL, "/proc/uptime") < 0)
		return 0;
	snprintf(whole, sizeof(whole), "%.*s", (int)STOW_MIN(strcspn(text, ". "), (size_t)20),
		 text);
	return stow_parse_u64(whole, INT64_MAX, &seconds, NULL) == 0 ? (double)seconds : 0;
}

static int count(struct doctor *d, struct stow_err *err)
{
	uint64_t began = stow_clock_boot();
	int r = 0;

	if (d->options->interval && !d->root->live)
		return stow_err_set(err, EINVAL,
				    "an interval can only be counted on this machine, not on a "
				    "copied tree");
	if (d->options->interval) {
		r = sample(d, &d->before);
		stow_clock_sleep(d->options->interval);
	}
	if (r == 0)
		r = sample(d, &d->now);
	if (r < 0)
		return stow_err_sys(err, -r, "reading the counters");
	d->seconds = d->options->interval
			     ? (double)(stow_clock_boot() - began) / (double)STOW_SECOND
			     : uptime(d->root);
	return 0;
}

int doctor_look(struct doctor *d, struct stow_err *err)
{
	int r = stow_topology_read(d->root, STOW_TOPOLOGY_ALL, &d->topology, &d->why);

	if (r == 0)
		r = make_nodes(d);
	if (r == -ENOMEM)
		return stow_err_sys(err, ENOMEM, "reading the topology");
	if (stow_devices_read(d->root, &d->devices, NULL) < 0)
		d->devices = (struct stow_devices){ 0 };
	r = count(d, err);
	if (r < 0)
		return r;
	fill_nodes(d);
	d->cmdline = read_text(d->root, 65536, "/proc/cmdline");
	return 0;
}

void doctor_look_done(struct doctor *d)
{
	sample_done(d, &d->before);
	sample_done(d, &d->now);
	stow_devices_done(&d->devices);
	stow_topology_free(d->topology);
	free(d->nodes);
	free(d->cmdline);
	free(d->processes);
}

/* --- processes --------------------------------------------------------------- */

static uint64_t bytes_of(const char *text, const char *key)
{
	uint64_t bytes;

	return stow_parse_kib(text, key, &bytes) ? bytes : STOW_UNKNOWN;
}

/* Parse a process's status; false: it is a thread of the kernel's, or makes no sense. */
static bool parse_status(char *text, struct doctor_process *process)
{
	uint64_t threads = 1, swap = bytes_of(text, "VmSwap");
	struct stow_allowed allowed;
	char value[64];

	if (bytes_of(text, "VmSize") == STOW_UNKNOWN ||
	    !stow_text_field(text, "Name", process->comm, sizeof(process->comm)) ||
	    stow_allowed_parse(text, &allowed, NULL) < 0)
		return false;
	process->swap = swap == STOW_UNKNOWN ? 0 : swap;
	if (stow_text_field(text, "Threads", value, sizeof(value)))
		(void)stow_parse_u64(value, UINT32_MAX, &threads, NULL);
	process->threads = (unsigned int)threads;
	process->cpus = allowed.cpus;
	process->mems = allowed.mems;
	return true;
}

static int compare(const void *a, const void *b)
{
	const struct doctor_process *x = a, *y = b;

	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

int doctor_processes(struct doctor *d, struct stow_err *err)
{
	_cleanup_closedir_ DIR *dir = NULL;
	struct dirent *entry;

	if (d->processes_read)
		return 0;
	dir = stow_root_opendir(d->root, err, "/proc");
	if (!dir)
		return -errno;
	d->processes_read = true;
	while ((entry = readdir(dir)) && d->n_processes < DOCTOR_PROCESSES) {
		struct doctor_process process = { 0 }, *added;
		_cleanup_free_ char *text = NULL;
		uint64_t pid;

		if (stow_parse_u64(entry->d_name, INT32_MAX, &pid, NULL) < 0)
			continue;
		if (stow_root_read(d->root, 65536, &text, NULL, NULL, "/proc/%" PRIu64 "/status",
				   pid) < 0 ||
		    !parse_status(text, &process))
			continue;
		process.pid = (pid_t)pid;
		added = STOW_APPEND(d->processes, d->n_processes);
		if (!added)
			return stow_err_sys(err, ENOMEM, "reading the processes");
		*added = process;
	}
	/* A copied tree has them in any order. */
	if (d->n_processes)
		qsort(d->processes, d->n_processes, sizeof(*d->processes), compare);
	return 0;
}

const struct doctor_process *doctor_find_process(const struct doctor *d, const char *comm)
{
	for (size_t i = 0; i < d->n_processes; i++)
		if (strcmp(d->processes[i].comm, comm) == 0)
			return &d->processes[i];
	return NULL;
}
