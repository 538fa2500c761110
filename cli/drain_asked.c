// SPDX-License-Identifier: Apache-2.0
#include "cli/drain_asked.h"

#include <errno.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/idlist.h"
#include "base/idset.h"
#include "base/parse.h"

static int check_what(struct drain_asked *asked, struct stow_err *err)
{
	int n = !!asked->node + !!asked->blocks + !!asked->device;

	if (n == 0)
		return stow_err_set(err, EINVAL,
				    "nothing to drain was named: --node N, --blocks LIST or "
				    "--device NAME is required");
	if (n > 1)
		return stow_err_set(err, EINVAL,
				    "%s and %s: only one of --node, --blocks and --device",
				    asked->node ? "--node" : "--blocks",
				    asked->device ? "--device" : "--blocks");
	if (asked->blocks && asked->size)
		return stow_err_set(err, EINVAL,
				    "--size goes with --node or --device, not with --blocks");
	if (asked->device && !*asked->device)
		return stow_err_set(err, EINVAL, "--device: expected a name such as dimm0");
	return 0;
}

static int check_numbers(struct drain_asked *asked, struct stow_err *err)
{
	_cleanup_free_ uint64_t *ids = NULL;
	uint64_t node;
	size_t n;
	int r = 0;

	asked->numa_node = -1;
	if (asked->node) {
		r = stow_parse_u64(asked->node, STOW_IDSET_MAX - 1, &node, err);
		if (r < 0)
			return stow_err_wrap(err, r,
					     "--node: expected the number of a NUMA node of the "
					     "machine");
		asked->numa_node = (int)node;
	}
	if (asked->blocks) {
		r = stow_idlist_parse(asked->blocks, &ids, &n, err);
		if (r < 0)
			return stow_err_wrap(err, r, "--blocks");
		if (n == 0)
			return stow_err_set(err, EINVAL, "--blocks: expected a list such as 48-55");
	}
	return 0;
}

int drain_asked_check(struct drain_asked *asked, const char *machine, struct stow_err *err)
{
	int r = check_what(asked, err);

	if (r == 0)
		r = check_numbers(asked, err);
	if (r < 0)
		return r;
	if (asked->eject && asked->wait)
		return stow_err_set(err, EINVAL,
				    "--eject and --wait: either this machine removes the memory, "
				    "or it waits for the removal");
	if (asked->revoke && !machine)
		return stow_err_set(
			err, EINVAL,
			"--revoke: only a scheduler has reservations; name the MACHINE");
	if (asked->dry_run && asked->detach)
		return stow_err_set(err, EINVAL, "--detach: a dry run has no drain to detach from");
	return 0;
}

void drain_asked_spec(const struct drain_asked *asked, PbDrainSpec *spec)
{
	pb_drain_spec__init(spec);
	if (asked->blocks) {
		spec->what_case = PB_DRAIN_SPEC__WHAT_BLOCKS;
		spec->blocks = asked->blocks;
	} else if (asked->device) {
		spec->what_case = PB_DRAIN_SPEC__WHAT_DEVICE;
		spec->device = asked->device;
	} else {
		spec->what_case = PB_DRAIN_SPEC__WHAT_NUMA_NODE;
		spec->numa_node = (uint32_t)asked->numa_node;
	}
	spec->size = asked->size;
	spec->eject = asked->eject  ? PB_DRAIN_EJECT_EJECT
		      : asked->wait ? PB_DRAIN_EJECT_WAIT
				    : PB_DRAIN_EJECT_KEEP;
	spec->block_timeout = asked->block_timeout;
	spec->timeout = asked->timeout;
	spec->removal_timeout = asked->removal_timeout;
	spec->keep = asked->keep;
	spec->resume = asked->resume;
	spec->hugepages_elsewhere = asked->hugepages_elsewhere;
	spec->force_taint = asked->force_taint;
}

const char *drain_asked_what(int numa_node, const char *blocks, const char *device, char *buf,
			     size_t size)
{
	if (device && *device)
		snprintf(buf, size, "%s", device);
	else if (blocks && *blocks)
		snprintf(buf, size, "blocks %s", blocks);
	else
		snprintf(buf, size, "NUMA node %d", numa_node);
	return buf;
}
