// SPDX-License-Identifier: Apache-2.0
/* numastow topology --table: each CPU, as lscpu -e shows it, and whose it is. */
#include <errno.h>

#include "base/cleanup.h"
#include "cli/view/topology_views.h"

enum { CPU, NODE, SOCKET, CORE, LLC, ONLINE, OWNER, ISOLATED };

const struct cli_column topology_cpu_columns[] = {
	[CPU] = { "CPU", CLI_NUMBER, "number" },
	[NODE] = { "NODE", CLI_NUMBER, "NUMA node" },
	[SOCKET] = { "SOCKET", CLI_NUMBER, "package, numbered from 0" },
	[CORE] = { "CORE", CLI_NUMBER, "core, numbered from 0 over all packages" },
	[LLC] = { "LLC", CLI_NUMBER, "last-level cache, numbered from 0" },
	[ONLINE] = { "ONLINE", CLI_BOOL, "whether it is online" },
	[OWNER] = { "OWNER", CLI_TEXT, "container that has it alone, by the ledger" },
	[ISOLATED] = { "ISOLATED", CLI_BOOL, "whether isolcpus= keeps the scheduler from it",
		       true },
	{ 0 },
};

static void fill(struct cli_row *row, const struct topology_data *data,
		 const struct topology_owners *owners, int id)
{
	const struct stow_topology *t = data->view.topology;
	const struct stow_cpu *cpu = stow_topology_cpu(t, id);

	cli_row_id(row, CPU, id);
	cli_row_number(row, ONLINE, cpu != NULL);
	if (owners->of[id])
		cli_row_text(row, OWNER, owners->of[id]);
	if (!cpu)
		return;
	cli_row_id(row, NODE, cpu->node);
	/* What is assumed is not known. */
	if (!(t->assumed & STOW_ASSUMED_PACKAGES))
		cli_row_id(row, SOCKET, cpu->package);
	if (!(t->assumed & STOW_ASSUMED_CORES))
		cli_row_id(row, CORE, cpu->core);
	if (!(t->assumed & STOW_ASSUMED_CACHES))
		cli_row_id(row, LLC, cpu->llc);
	cli_row_number(row, ISOLATED, stow_idset_has(&t->isolated, id));
}

int topology_print_table(const struct topology_data *data, const struct topology_owners *owners,
			 const struct cli_output *out, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	const struct stow_topology *t = data->view.topology;
	struct stow_idset cpus = t->online;
	struct json_writer w = { .ok = true };
	json_object *o;
	int r = cli_table_new(topology_cpu_columns, out, &table, err);

	if (r < 0)
		return r;
	if (data->locality.cpus_known)
		stow_idset_or(&cpus, &data->locality.present_cpus);
	STOW_IDSET_FOR(id, &cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(t, id);

		if (cli_output_wants_node(out, cpu ? cpu->node : -1))
			fill(cli_table_row(table, NULL), data, owners, id);
	}
	if (!out->json) {
		r = cli_table_print(table);
	} else {
		o = cli_output_object(&w);
		json_put(&w, o, "cpus", cli_table_json(table));
		r = json_print(&w, o);
	}
	return r < 0 ? stow_err_sys(err, -r, "printing the CPUs") : 0;
}
