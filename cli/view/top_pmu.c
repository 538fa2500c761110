// SPDX-License-Identifier: Apache-2.0
/* numastow top: loads that the memory of another node serves, where the CPUs count them. */
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "cli/view/top.h"

/* Open a counter for all processes on the CPU. The C library has no perf_event_open(2). */
static int open_event(int cpu)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_HW_CACHE,
		.size = sizeof(attr),
		.config = PERF_COUNT_HW_CACHE_NODE | PERF_COUNT_HW_CACHE_OP_READ << 8 |
			  PERF_COUNT_HW_CACHE_RESULT_MISS << 16,
		.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING,
	};
	long fd = syscall(SYS_perf_event_open, &attr, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : (int)fd;
}

static const char *reason(int r)
{
	switch (r) {
	case -EACCES:
	case -EPERM:
		return "needs root, or kernel.perf_event_paranoid of 0 or less";
	case -EMFILE:
	case -ENFILE:
		return "there are more CPUs than files that may be open";
	case -ENOSYS:
		return "this kernel counts no events";
	default:
		return "the CPUs, or the virtual machine, have no event node-load-misses";
	}
}

void top_pmu_open(struct stow_root *root, const struct stow_idset *cpus, struct top_pmu *ret)
{
	struct top_pmu pmu = { 0 };
	int r = 0;

	*ret = pmu;
	if (!root->live) {
		snprintf(ret->why, sizeof(ret->why), "a copied tree has none");
		return;
	}
	pmu.fds = calloc(STOW_IDSET_MAX, sizeof(*pmu.fds));
	if (!pmu.fds)
		r = -ENFILE;
	STOW_IDSET_FOR(cpu, cpus) {
		if (r < 0)
			break;
		pmu.fds[cpu] = r = open_event(cpu);
		stow_idset_add(&pmu.cpus, cpu);
	}
	if (r < 0 || stow_idset_empty(&pmu.cpus)) {
		top_pmu_done(&pmu);
		snprintf(pmu.why, sizeof(pmu.why), "%s", reason(r));
	}
	*ret = pmu;
}

/* Add what one counter has counted. When the CPU has fewer counters than events, the kernel counts
 * each event for a part of the time only: scale the value to the whole time. */
static bool read_event(int fd, uint64_t *sum)
{
	struct {
		uint64_t value, enabled, running;
	} got;

	if (fd < 0 || read(fd, &got, sizeof(got)) != (ssize_t)sizeof(got) || !got.running)
		return false;
	*sum = stow_saturating_add(
		*sum, (uint64_t)((double)got.value * (double)got.enabled / (double)got.running));
	return true;
}

uint64_t top_pmu_read(const struct top_pmu *pmu, const struct stow_idset *cpus)
{
	uint64_t sum = 0;
	bool known = false;

	STOW_IDSET_FOR(cpu, &pmu->cpus)
		if (stow_idset_has(cpus, cpu) && read_event(pmu->fds[cpu], &sum))
			known = true;
	return known ? sum : STOW_UNKNOWN;
}

void top_pmu_done(struct top_pmu *pmu)
{
	STOW_IDSET_FOR(cpu, &pmu->cpus)
		stow_close_ptr(&pmu->fds[cpu]);
	free(pmu->fds);
	*pmu = (struct top_pmu){ 0 };
}
