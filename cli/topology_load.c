// SPDX-License-Identifier: Apache-2.0
/* Reads what `numastow topology` shows. */
#include <errno.h>
#include <stdio.h>

#include "cli/context.h"
#include "cli/topology_view.h"

static void load_ledger(struct stow_root *root, unsigned int parts, struct topology_data *data)
{
	struct stow_err why = { 0 };

	data->ledger = cli_ledger_look(root, "grants are not shown");
	if (!data->ledger || !(parts & TOPOLOGY_USAGE))
		return;
	if (stow_ledger_usage(data->ledger, &data->usage, &why) == 0)
		data->view.usage = data->usage;
	else
		fprintf(stderr, "numastow: grants are not shown: %s\n", why.msg);
}

/* Read the states of blocks only on nodes where one may be offline. */
static int load_states(struct stow_root *root, struct topology_data *data, struct stow_err *err)
{
	const struct stow_topology *t = data->view.topology;
	struct stow_idset online = { 0 };

	for (size_t i = 0; i < t->n_nodes; i++)
		if (stow_memblocks_all_online(&data->blocks, t->nodes[i].id,
					      t->nodes[i].mem_present))
			stow_idset_add(&online, t->nodes[i].id);
	return stow_memblocks_read_states(root, &online, &data->blocks, err);
}

static int load_topology(struct stow_root *root, unsigned int parts, struct topology_data *data,
			 struct stow_err *err)
{
	static const struct stow_topology nothing;
	unsigned int flags = STOW_TOPOLOGY_CPUS;
	struct stow_err why = { 0 };
	int r, known;

	if (parts & TOPOLOGY_MEMORY)
		flags = STOW_TOPOLOGY_ALL;
	known = stow_topology_read(root, flags, &data->topology, &why);
	if (known < 0 && known != -ENODATA)
		return stow_err_move(err, known, &why);
	data->view.topology = known < 0 ? &nothing : data->topology;
	if (!(parts & TOPOLOGY_BLOCKS) && known == 0)
		return 0;
	r = stow_memblocks_read(root, STOW_MEMBLOCK_NO_STATE, &data->blocks, err);
	/* A copied tree may have memory blocks only. */
	if (r == 0 && known < 0 && !data->blocks.n_blocks)
		r = stow_err_move(err, known, &why);
	if (r == 0 && parts & TOPOLOGY_MEMORY)
		r = load_states(root, data, err);
	return r;
}

/* Figures of other firmware are of another machine. */
static int load_measured(struct stow_root *root, struct topology_data *data, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = stow_measured_read(root, &data->measured, &why);

	if (r == -ENOMEM)
		return stow_err_move(err, r, &why);
	if (r < 0)
		fprintf(stderr, "numastow: %s; it is not shown\n", why.msg);
	if (data->measured.firmware == STOW_MEASURED_OTHER) {
		fprintf(stderr, "numastow: " STOW_MEASURED_PATH " is not shown: the firmware has "
				"changed since; `numastow measure --save` measures again\n");
		stow_measured_done(&data->measured);
	}
	return 0;
}

static int load(struct stow_root *root, unsigned int parts, struct topology_data *data,
		struct stow_err *err)
{
	int r = load_topology(root, parts, data, err);

	if (r == 0 && parts & TOPOLOGY_DEVICES)
		r = stow_devices_read(root, &data->devices, err);
	if (r == 0 && parts & TOPOLOGY_LOCALITY)
		r = stow_locality_read(root, data->view.topology, &data->locality, err);
	else if (r == 0)
		stow_locality_read_cpus(root, &data->locality);
	if (r == 0 && parts & TOPOLOGY_MEASURED)
		r = load_measured(root, data, err);
	if (r < 0)
		return r;
	if (data->locality.n_broken > 1)
		fprintf(stderr, "numastow: %s; this and %zu other files are not shown\n",
			data->locality.broken.msg, data->locality.n_broken - 1);
	else if (data->locality.n_broken)
		fprintf(stderr, "numastow: %s; it is not shown\n", data->locality.broken.msg);
	if (parts & TOPOLOGY_LEDGER)
		load_ledger(root, parts, data);
	return 0;
}

int topology_load(struct stow_root *root, unsigned int parts, struct topology_data *ret,
		  struct stow_err *err)
{
	int r;

	*ret = (struct topology_data){ 0 };
	ret->view = (struct topology_view){ .blocks = &ret->blocks,
					    .devices = &ret->devices,
					    .locality = &ret->locality,
					    .measured = &ret->measured };
	r = load(root, parts, ret, err);
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
	stow_measured_done(&data->measured);
	stow_usage_free(data->usage);
	stow_ledger_close(data->ledger);
	*data = (struct topology_data){ 0 };
}
