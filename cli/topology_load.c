// SPDX-License-Identifier: Apache-2.0
/* Reads what `numastow topology` shows. */
#include <errno.h>
#include <stdio.h>

#include "cli/context.h"
#include "cli/topology_view.h"

static void load_ledger(struct stow_root *root, struct topology_data *data)
{
	struct stow_err why = { 0 };

	data->ledger = cli_ledger_look(root, "grants are not shown");
	if (!data->ledger)
		return;
	if (stow_ledger_usage(data->ledger, &data->usage, &why) == 0)
		data->view.usage = data->usage;
	else
		fprintf(stderr, "numastow: grants are not shown: %s\n", why.msg);
}

static int load(struct stow_root *root, struct topology_data *data, struct stow_err *err)
{
	static const struct stow_topology nothing;
	int r = stow_memblocks_read(root, 0, &data->blocks, err);

	if (r == 0)
		r = stow_devices_read(root, &data->devices, err);
	if (r < 0)
		return r;
	r = stow_topology_read(root, STOW_TOPOLOGY_ALL, &data->topology, err);
	if (r < 0 && !(r == -ENODATA && data->blocks.n_blocks))
		return r;
	/* A copied tree may have memory blocks only. */
	data->view.topology = r < 0 ? &nothing : data->topology;
	r = stow_locality_read(root, data->view.topology, &data->locality, err);
	if (r < 0)
		return r;
	if (data->locality.n_broken > 1)
		fprintf(stderr, "numastow: %s; this and %zu other files are not shown\n",
			data->locality.broken.msg, data->locality.n_broken - 1);
	else if (data->locality.n_broken)
		fprintf(stderr, "numastow: %s; it is not shown\n", data->locality.broken.msg);
	load_ledger(root, data);
	return 0;
}

int topology_load(struct stow_root *root, struct topology_data *ret, struct stow_err *err)
{
	int r;

	*ret = (struct topology_data){ 0 };
	ret->view = (struct topology_view){ .blocks = &ret->blocks,
					    .devices = &ret->devices,
					    .locality = &ret->locality };
	r = load(root, ret, err);
	if (r < 0)
		topology_unload(ret);
	return r;
}

void topology_unload(struct topology_data *data)
{
	stow_topology_free(data->topology);
	stow_memblocks_done(&data->blocks);
	stow_devices_done(&data->devices);
	stow_locality_done(&data->locality);
	stow_usage_free(data->usage);
	stow_ledger_close(data->ledger);
	*data = (struct topology_data){ 0 };
}
