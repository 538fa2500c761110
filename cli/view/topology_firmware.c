// SPDX-License-Identifier: Apache-2.0
/* numastow topology --firmware as text: a table for each of the firmware's tables. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cleanup.h"
#include "base/parse.h"
#include "cli/view/topology_views.h"

/* The tables' columns are fixed: --output is for --table and --tree. */
static struct cli_table *new_table(const struct cli_column *columns, const struct cli_output *out,
				   struct stow_err *err)
{
	struct cli_table *table = NULL;

	(void)cli_table_new(columns, out, &table, err);
	return table;
}

static int print_rows(struct cli_table *table, const char *title, struct stow_err *err)
{
	int r;

	printf("\n%s\n", title);
	r = cli_table_print(table);
	return r < 0 ? stow_err_sys(err, -r, "printing the firmware's tables") : 0;
}

static void range(struct cli_row *row, int column, uint64_t start, uint64_t end)
{
	cli_row_format(row, column, "0x%012" PRIx64 "-0x%012" PRIx64, start, end);
}

/* --- the tables ------------------------------------------------------------------ */

static void print_state(const char *name, const struct stow_acpi_table *table)
{
	if (table->state == STOW_ACPI_READ)
		printf("%s: revision %u, %" PRIu64 " bytes, %s%s\n", name, table->revision,
		       table->length, table->oem,
		       table->bad_checksum ? ", the checksum is wrong" : "");
	else
		printf("%s: %s\n", name,
		       table->state == STOW_ACPI_ABSENT	  ? "none"
		       : table->state == STOW_ACPI_HIDDEN ? "only root can read it"
							  : "cannot be used");
}

static void print_sources(const struct stow_firmware *f)
{
	switch (f->source) {
	case STOW_FIRMWARE_ACPI:
		print_state("SRAT", &f->acpi.srat_table);
		print_state("SLIT", &f->acpi.slit_table);
		print_state("HMAT", &f->acpi.hmat_table);
		break;
	case STOW_FIRMWARE_DEVICETREE:
		printf("device tree: %zu CPUs, %zu ranges of memory, %zu distances\n",
		       f->tree.n_cpus, f->tree.n_memory, f->tree.n_distances);
		break;
	case STOW_FIRMWARE_NONE:
		printf("neither ACPI tables nor a device tree\n");
		break;
	}
}

static int print_domains(const struct stow_firmware *f, const struct cli_output *out,
			 struct stow_err *err)
{
	enum { DOMAIN, NODE, BY, CPUS, ENTRIES, MEMORY, ROOM, DEVICES };
	static const struct cli_column columns[] = {
		[DOMAIN] = { "DOMAIN", CLI_NUMBER },
		[NODE] = { "NODE", CLI_NUMBER },
		[BY] = { "FOUND-BY", CLI_TEXT },
		[CPUS] = { "CPUS", CLI_TEXT },
		[ENTRIES] = { "ENTRIES", CLI_NUMBER },
		[MEMORY] = { "MEMORY", CLI_SIZE },
		[ROOM] = { "HOTPLUG", CLI_SIZE },
		[DEVICES] = { "INITIATORS", CLI_NUMBER },
		{ 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_domains; i++) {
		const struct stow_firmware_domain *d = &f->domains[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_number(row, DOMAIN, d->domain);
		cli_row_id(row, NODE, d->node);
		cli_row_text(row, BY, stow_domain_source_name(d->by));
		cli_row_set(row, CPUS, &d->cpus);
		cli_row_number(row, ENTRIES, d->n_cpus);
		cli_row_number(row, MEMORY, d->memory);
		cli_row_number(row, ROOM, d->hotplug_memory);
		cli_row_number(row, DEVICES, d->n_devices);
	}
	return f->n_domains ? print_rows(table, "domains", err) : 0;
}

static int print_ranges(const struct stow_firmware *f, const struct cli_output *out,
			struct stow_err *err)
{
	enum { RANGE, SIZE, DOMAIN, NODE, ENABLED, HOTPLUG, NONVOLATILE };
	static const struct cli_column columns[] = {
		[RANGE] = { "RANGE", CLI_TEXT },
		[SIZE] = { "SIZE", CLI_SIZE },
		[DOMAIN] = { "DOMAIN", CLI_NUMBER },
		[NODE] = { "NODE", CLI_NUMBER },
		[ENABLED] = { "ENABLED", CLI_BOOL },
		[HOTPLUG] = { "HOTPLUG", CLI_BOOL },
		[NONVOLATILE] = { "NONVOLATILE", CLI_BOOL },
		{ 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_memory; i++) {
		const struct stow_firmware_memory *m = &f->memory[i];
		struct cli_row *row = cli_table_row(table, NULL);

		range(row, RANGE, m->start, m->start + (m->size - 1));
		cli_row_number(row, SIZE, m->size);
		cli_row_number(row, DOMAIN, m->domain);
		cli_row_id(row, NODE, m->node);
		cli_row_number(row, ENABLED, m->enabled);
		cli_row_number(row, HOTPLUG, m->hotplug);
		cli_row_number(row, NONVOLATILE, m->nonvolatile);
	}
	return f->n_memory ? print_rows(table, "memory", err) : 0;
}

static int print_map(const struct stow_firmware *f, const struct cli_output *out,
		     struct stow_err *err)
{
	enum { RANGE, SIZE, TYPE, DOMAIN, NODE };
	static const struct cli_column columns[] = {
		[RANGE] = { "RANGE", CLI_TEXT }, [SIZE] = { "SIZE", CLI_SIZE },
		[TYPE] = { "TYPE", CLI_TEXT },	 [DOMAIN] = { "DOMAIN", CLI_TEXT },
		[NODE] = { "NODE", CLI_TEXT },	 { 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < f->n_regions; i++) {
		const struct stow_firmware_region *region = &f->regions[i];
		uint64_t size = region->map.end - region->map.start + 1;
		struct cli_row *row = cli_table_row(table, NULL);

		range(row, RANGE, region->map.start, region->map.end);
		if (size)
			cli_row_number(row, SIZE, size);
		cli_row_text(row, TYPE, region->map.type);
		cli_row_set(row, DOMAIN, &region->domains);
		cli_row_set(row, NODE, &region->nodes);
	}
	return f->n_regions ? print_rows(table, "memory map", err) : 0;
}

static int print_initiators(const struct stow_firmware *f, const struct cli_output *out,
			    struct stow_err *err)
{
	enum { DEVICE, DOMAIN, NODE, ENABLED, PORT };
	static const struct cli_column columns[] = {
		[DEVICE] = { "DEVICE", CLI_TEXT }, [DOMAIN] = { "DOMAIN", CLI_NUMBER },
		[NODE] = { "NODE", CLI_NUMBER },   [ENABLED] = { "ENABLED", CLI_BOOL },
		[PORT] = { "PORT", CLI_BOOL },	   { 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);
	const struct stow_srat *srat = &f->acpi.srat;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < srat->n_devices; i++) {
		const struct stow_srat_device *device = &srat->devices[i];
		const struct stow_firmware_domain *d = stow_firmware_domain(f, device->domain);
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_text(row, DEVICE, device->name);
		cli_row_number(row, DOMAIN, device->domain);
		cli_row_id(row, NODE, d ? d->node : -1);
		cli_row_number(row, ENABLED, device->enabled);
		cli_row_number(row, PORT, device->port);
	}
	return srat->n_devices ? print_rows(table, "generic initiators", err) : 0;
}

/* --- distances, latencies, caches -------------------------------------------------- */

#define MATRIX_MAX 20 /* columns that fit 110 characters */

static void print_slit(const struct stow_firmware *f)
{
	const struct stow_slit *slit = &f->acpi.slit;

	if (!slit->n)
		return;
	printf("\nSLIT, by domain\n");
	if (slit->n > MATRIX_MAX) {
		printf("%zu domains: --json has the matrix\n", slit->n);
		return;
	}
	printf("from\\to");
	for (size_t j = 0; j < slit->n; j++)
		printf(" %4zu", j);
	putchar('\n');
	for (size_t i = 0; i < slit->n; i++) {
		printf("%7zu", i);
		for (size_t j = 0; j < slit->n; j++)
			printf(" %4u", slit->distance[i * slit->n + j]);
		putchar('\n');
	}
}

static int print_tree_distances(const struct stow_firmware *f, const struct cli_output *out,
				struct stow_err *err)
{
	enum { FROM, TO, DISTANCE };
	static const struct cli_column columns[] = {
		[FROM] = { "FROM", CLI_NUMBER },
		[TO] = { "TO", CLI_NUMBER },
		[DISTANCE] = { "DISTANCE", CLI_NUMBER },
		{ 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < f->tree.n_distances; i++) {
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_number(row, FROM, f->tree.distances[i].from);
		cli_row_number(row, TO, f->tree.distances[i].to);
		cli_row_number(row, DISTANCE, f->tree.distances[i].distance);
	}
	return f->tree.n_distances ? print_rows(table, "distances, by domain", err) : 0;
}

static int print_values(const struct stow_firmware *f, const struct cli_output *out,
			struct stow_err *err)
{
	enum { FROM, TO, WHAT, HIERARCHY, VALUE, UNIT };
	static const struct cli_column columns[] = {
		[FROM] = { "FROM", CLI_NUMBER },
		[TO] = { "TO", CLI_NUMBER },
		[WHAT] = { "WHAT", CLI_TEXT },
		[HIERARCHY] = { "OF", CLI_TEXT },
		[VALUE] = { "VALUE", CLI_NUMBER },
		[UNIT] = { "UNIT", CLI_TEXT },
		{ 0 },
	};
	_cleanup_(cli_table_free_ptr) struct cli_table *table = new_table(columns, out, err);
	const struct stow_hmat *hmat = &f->acpi.hmat;

	if (!table)
		return -ENOMEM;
	for (size_t i = 0; i < hmat->n_values; i++) {
		const struct stow_hmat_value *v = &hmat->values[i];
		struct cli_row *row = cli_table_row(table, NULL);

		cli_row_number(row, FROM, v->initiator);
		cli_row_number(row, TO, v->target);
		cli_row_text(row, WHAT, stow_hmat_type_name(v->type));
		if (v->hierarchy)
			cli_row_format(row, HIERARCHY, "cache %d", v->hierarchy);
		else
			cli_row_text(row, HIERARCHY, "memory");
		cli_row_number(row, VALUE, v->value);
		cli_row_text(row, UNIT, v->type < STOW_HMAT_ACCESS_BANDWIDTH ? "ns" : "MB/s");
	}
	return hmat->n_values ? print_rows(table, "HMAT, by domain", err) : 0;
}

static void print_caches(const struct stow_firmware *f)
{
	const struct stow_hmat *hmat = &f->acpi.hmat;
	char size[32];

	for (size_t i = 0; i < hmat->n_caches; i++)
		printf("%smemory-side cache of domain %" PRIu32 ": level %d of %d, %s, lines of %d "
		       "bytes\n",
		       i ? "" : "\n", hmat->caches[i].memory, hmat->caches[i].level,
		       hmat->caches[i].levels,
		       stow_format_size(hmat->caches[i].size, size, sizeof(size)),
		       hmat->caches[i].line_size);
}

static void print_findings(const struct stow_firmware *f)
{
	if (!f->n_findings)
		printf("\n%s\n", f->compared ? "The kernel agrees with what could be compared."
					     : "Nothing could be compared with the kernel.");
	else
		printf("\nThe kernel disagrees, or a table is wrong:\n");
	for (size_t i = 0; i < f->n_findings && i < STOW_FINDINGS_MAX; i++)
		printf("  %s\n", f->findings[i]);
	if (f->n_findings > STOW_FINDINGS_MAX)
		printf("  and %zu more\n", f->n_findings - STOW_FINDINGS_MAX);
}

int topology_print_firmware(const struct stow_firmware *firmware, const struct cli_output *out,
			    struct stow_err *err)
{
	struct cli_output fixed = *out;
	int r;

	fixed.columns = NULL;
	print_sources(firmware);
	r = print_domains(firmware, &fixed, err);
	if (r == 0)
		r = print_ranges(firmware, &fixed, err);
	if (r == 0)
		r = print_initiators(firmware, &fixed, err);
	if (r == 0)
		r = print_map(firmware, &fixed, err);
	if (r < 0)
		return r;
	if (firmware->map_hidden)
		printf("\nmemory map: only root can read it\n");
	print_slit(firmware);
	r = print_tree_distances(firmware, &fixed, err);
	if (r == 0)
		r = print_values(firmware, &fixed, err);
	if (r < 0)
		return r;
	print_caches(firmware);
	print_findings(firmware);
	return 0;
}
