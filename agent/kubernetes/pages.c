/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/pages.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/parse.h"
#include "cgroup/limits.h"
#include "rpc/log.h"

/* Return the bytes that all devices offer in pages of a size. */
static uint64_t offered(const struct agent_slice_device *devices, size_t n, uint64_t size)
{
	uint64_t sum = 0, bytes;

	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < devices[i].n_pools; p++)
			if (devices[i].pools[p] == size &&
			    (__builtin_mul_overflow(devices[i].offered.pages[p], size, &bytes) ||
			     __builtin_add_overflow(sum, bytes, &sum)))
				return UINT64_MAX;
	return sum;
}

static void offer_none(struct agent_slice_device *devices, size_t n, uint64_t size)
{
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < devices[i].n_pools; p++)
			if (devices[i].pools[p] == size)
				devices[i].offered.pages[p] = 0;
}

/* Note whether a size is withheld. Return whether it is, and was not before. */
static bool note(struct agent_pages *pages, uint64_t size, bool withheld)
{
	uint64_t *free = NULL;

	for (size_t i = 0; i < STOW_POOLS_MAX; i++) {
		if (pages->withheld[i] == size) {
			pages->withheld[i] = withheld ? size : 0;
			return false;
		}
		if (!pages->withheld[i])
			free = &pages->withheld[i];
	}
	if (withheld && free)
		*free = size;
	return withheld;
}

static void log_withheld(uint64_t size, const char *cgroup, uint64_t limit, uint64_t has)
{
	char capacity[48], page[32], reason[200];

	snprintf(capacity, sizeof(capacity), "hugepages%s",
		 stow_format_size(size, page, sizeof(page)));
	snprintf(reason, sizeof(reason),
		 "kubelet allows all pods together (cgroup %s) %" PRIu64
		 " pages, and the pools have %" PRIu64
		 ": restart kubelet, which reads them when it starts",
		 cgroup, limit / size, has / size);
	stow_log(STOW_LOG_WARNING, "hugepages are not published to Kubernetes",
		 stow_text("capacity", capacity), stow_text("reason", reason));
}

/* Compare what the devices offer in pages of a size with kubelet's limit. */
static void look_at(struct agent_pages *pages, struct stow_root *root,
		    struct agent_slice_device *devices, size_t n, uint64_t size)
{
	const char *cgroup;
	uint64_t limit = stow_hugetlb_limit_of_pods(root, size, &cgroup);
	uint64_t has = offered(devices, n, size);

	if (note(pages, size, has > limit))
		log_withheld(size, cgroup, limit, has);
	if (has > limit)
		offer_none(devices, n, size);
}

/* Return whether one of these devices has pages of a size. */
static bool has_size(const struct agent_slice_device *devices, size_t n, uint64_t size)
{
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < devices[i].n_pools; p++)
			if (devices[i].pools[p] == size)
				return true;
	return false;
}

void agent_pages_withhold(struct agent_pages *pages, struct stow_root *root,
			  struct agent_slice_device *devices, size_t n)
{
	/* Each size once: at the first device that has it. */
	for (size_t i = 0; i < n; i++)
		for (size_t p = 0; p < devices[i].n_pools; p++)
			if (!has_size(devices, i, devices[i].pools[p]))
				look_at(pages, root, devices, n, devices[i].pools[p]);
}
