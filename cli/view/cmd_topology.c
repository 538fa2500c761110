// SPDX-License-Identifier: Apache-2.0
/* numastow topology with any option; numastow itself answers the plain form. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cli/cli.h"
#include "cli/view/topology_views.h"
#include "cli/view/view.h"

struct asked {
	struct cli_output out;
	bool table, tree, firmware;
	const char *svg;
};

static int print_firmware(struct stow_root *root, const struct topology_data *data,
			  const struct cli_output *out, bool *ret_problems, struct stow_err *err)
{
	const struct stow_firmware_kernel kernel = { data->view.topology, &data->blocks,
						     &data->locality };
	_cleanup_(stow_firmware_done) struct stow_firmware firmware = { 0 };
	int r = stow_firmware_read(root, &kernel, &firmware, err);

	if (r < 0)
		return r;
	if (firmware.acpi.srat_table.state == STOW_ACPI_HIDDEN ||
	    firmware.acpi.slit_table.state == STOW_ACPI_HIDDEN ||
	    firmware.acpi.hmat_table.state == STOW_ACPI_HIDDEN)
		fputs("numastow: ACPI tables are not shown: only root can read "
		      "/sys/firmware/acpi/tables\n",
		      stderr);
	*ret_problems = firmware.n_findings != 0;
	if (out->quiet)
		return 0;
	return out->json ? topology_print_firmware_json(&firmware, err)
			 : topology_print_firmware(&firmware, out, err);
}

static int print_text(const struct topology_data *data, const struct cli_output *out,
		      struct stow_err *err)
{
	int r;

	if (out->quiet)
		return 0;
	r = out->json ? topology_print_json(&data->view) : topology_print_text(&data->view);
	return r < 0 ? stow_err_sys(err, -r, "printing the topology") : 0;
}

static int print_view(struct stow_root *root, const struct asked *asked,
		      const struct topology_data *data, bool *ret_problems, struct stow_err *err)
{
	_cleanup_(topology_owners_free_ptr) struct topology_owners *owners = NULL;
	int r;

	if (asked->firmware)
		return print_firmware(root, data, &asked->out, ret_problems, err);
	if (!asked->table && !asked->tree && !asked->svg)
		return print_text(data, &asked->out, err);
	r = topology_owners_read(root, data, &owners, err);
	if (r < 0)
		return r;
	if (asked->svg)
		return topology_write_svg(data, owners, asked->svg, err);
	if (asked->tree)
		return topology_print_tree(data, owners, &asked->out, err);
	return topology_print_table(data, owners, &asked->out, err);
}

static unsigned int parts_of(const struct asked *asked)
{
	if (asked->firmware)
		return TOPOLOGY_BLOCKS | TOPOLOGY_LOCALITY;
	if (asked->table)
		return TOPOLOGY_LEDGER;
	if (asked->tree)
		return TOPOLOGY_MEMORY | TOPOLOGY_DEVICES | TOPOLOGY_LEDGER;
	if (asked->svg)
		return TOPOLOGY_MEMORY | TOPOLOGY_DEVICES | TOPOLOGY_LOCALITY | TOPOLOGY_LEDGER;
	return TOPOLOGY_EVERYTHING;
}

static int print(void *arg)
{
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	const struct asked *asked = arg;
	struct topology_data data = { 0 };
	struct stow_err err = { 0 };
	bool problems = false;
	int r = stow_root_open(asked->out.sysroot, &root, &err);

	if (r == 0)
		r = topology_load(root, parts_of(asked), &data, &err);
	if (r == 0) {
		if (!stow_idset_empty(&asked->out.nodes))
			data.view.wanted = &asked->out.nodes;
		r = print_view(root, asked, &data, &problems, &err);
		topology_unload(&data);
	}
	if (r < 0)
		return cli_fail(&err);
	return problems ? CLI_PROBLEMS : CLI_OK;
}

static void print_columns(const struct cli_column *columns)
{
	printf("\nOf --table:");
	cli_columns_help(topology_cpu_columns);
	printf("\nOf --tree:");
	cli_columns_help(topology_tree_columns);
}

/* Refuse unknown columns before anything is read. */
static int check_columns(const struct asked *asked)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	struct stow_err err = { 0 };

	if (cli_table_new(asked->tree ? topology_tree_columns : topology_cpu_columns, &asked->out,
			  &table, &err) == 0)
		return -1;
	return cli_wrong_usage("topology", "%s", err.msg);
}

/* Check what does not go together, and choose the table when an option is about columns. */
static int settle(struct asked *asked)
{
	const struct cli_output *out = &asked->out;
	int views = asked->table + asked->tree + asked->firmware + (asked->svg != NULL);

	if (views > 1)
		return cli_wrong_usage("topology",
				       "--table, --tree, --firmware and --svg exclude each other");
	if (asked->svg && (out->json || out->watch))
		return cli_wrong_usage("topology", "--svg excludes --json and --watch");
	if (asked->firmware && out->columns)
		return cli_wrong_usage("topology", "--output is for --table and --tree");
	if (!views && (out->columns || out->all || out->pairs || out->raw || out->noheadings))
		asked->table = true;
	return asked->table || asked->tree ? check_columns(asked) : -1;
}

int cmd_topology(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "topology",
		.arguments = "[--table|--tree|--firmware|--svg FILE] [OPTION...]",
		.summary = "Show the machine's NUMA nodes: CPUs, memory, hugepages, memory blocks, "
			   "devices and distances",
		.options =
			"      --table          print a table of CPUs\n"
			"      --tree           print packages, nodes, caches, cores and CPUs as a "
			"tree\n"
			"      --firmware       the firmware's tables, and where the kernel "
			"disagrees\n"
			"      --svg FILE       write a picture; \"-\": to standard "
			"output\n" CLI_OUTPUT_HELP,
		.more = print_columns,
	};
	struct asked asked = { .out.sysroot = "/" };
	const struct cli_option options[] = {
		{ "table", .flag = &asked.table },	 { "tree", .flag = &asked.tree },
		{ "firmware", .flag = &asked.firmware }, { "svg", .text = &asked.svg },
		CLI_OUTPUT_OPTIONS(&asked.out),		 { 0 }
	};
	int r = cli_options(&usage, options, argc, argv);

	if (r < 0)
		r = settle(&asked);
	return r >= 0 ? r : cli_output_run(&asked.out, print, &asked);
}
