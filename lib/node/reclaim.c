// SPDX-License-Identifier: Apache-2.0
#include "node/reclaim.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

static int find_node(struct stow_root *root, int node, struct stow_err *err)
{
	int r = stow_root_exists(root, "/sys/devices/system/node/node%d", node);

	if (r < 0)
		return stow_err_sys(err, -r, "node %d", node);
	return r ? 0 : stow_err_set(err, ENOENT, "there is no NUMA node %d", node);
}

int stow_node_compact(struct stow_root *root, int node, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = find_node(root, node, err);

	if (r < 0)
		return r;
	r = stow_root_write(root, "1", &why, "/sys/devices/system/node/node%d/compact", node);
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP,
				    "this kernel cannot compact a node (no node%d/compact)", node);
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}

int stow_node_reclaim(struct stow_root *root, int node, uint64_t bytes, struct stow_err *err)
{
	struct stow_err why = { 0 };
	char text[32];
	int r = find_node(root, node, err);

	if (r < 0)
		return r;
	snprintf(text, sizeof(text), "%" PRIu64, bytes);
	r = stow_root_write(root, text, &why, "/sys/devices/system/node/node%d/reclaim", node);
	if (r == -ENOENT)
		return stow_err_set(err, ENOTSUP,
				    "this kernel cannot reclaim on one node (no node%d/reclaim, "
				    "which Linux 6.17 and newer have)",
				    node);
	return r < 0 ? stow_err_move(err, r, &why) : 0;
}
