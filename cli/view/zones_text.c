// SPDX-License-Identifier: Apache-2.0
/* numastow zones, as text. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/parse.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/view/table.h"
#include "cli/view/zones_columns.h"
#include "cli/view/zones_view.h"

enum {
	COL_NODE,
	COL_ZONE,
	COL_FREE,
	COL_MIN,
	COL_LOW,
	COL_HIGH,
	COL_PROMO,
	COL_BOOST,
	COL_MANAGED,
	COL_PRESENT,
	COL_SPANNED,
	COL_COMPUTED,
	COL_PROTECTION,
	COL_CMA,
	COL_START,
	COL_UNUSABLE,
	COL_CPUS,
	COL_LISTS,
	COL_LISTS_HIGH,
	COL_COMPUTED_MIN,
	COL_COMPUTED_LOW,
	COL_COMPUTED_HIGH,
	COL_COMPUTED_PROMO,
};

const struct cli_column zones_columns[] = {
	[COL_NODE] = { "NODE", CLI_NUMBER, "NUMA node" },
	[COL_ZONE] = { "ZONE", CLI_TEXT, "zone" },
	[COL_FREE] = { "FREE", CLI_SIZE, "free memory" },
	[COL_MIN] = { "MIN", CLI_SIZE, "below it, allocating programs reclaim memory themselves" },
	[COL_LOW] = { "LOW", CLI_SIZE, "below it, kswapd reclaims in the background" },
	[COL_HIGH] = { "HIGH", CLI_SIZE, "up to it, kswapd reclaims" },
	[COL_PROMO] = { "PROMO", CLI_SIZE, "up to it, kswapd makes room for promoted pages" },
	[COL_BOOST] = { "BOOST", CLI_SIZE, "what fragmentation has raised all of these by" },
	[COL_MANAGED] = { "MANAGED", CLI_SIZE, "memory that the kernel hands out" },
	[COL_PRESENT] = { "PRESENT", CLI_SIZE, "memory that is there" },
	[COL_SPANNED] = { "SPANNED", CLI_SIZE, "from the first to the last page, holes included",
			  .extra = true },
	[COL_COMPUTED] = { "AS-COMPUTED", CLI_BOOL,
			   "whether the watermarks are those that the settings give" },
	[COL_PROTECTION] = { "PROTECTION", CLI_LAST,
			     "kept from allocations that a higher zone could meet", .extra = true },
	[COL_CMA] = { "CMA", CLI_SIZE, "reserved for contiguous allocations", .extra = true },
	[COL_START] = { "START", CLI_NUMBER, "first page frame", .extra = true },
	[COL_UNUSABLE] = { "UNUSABLE", CLI_REAL,
			   "percent of FREE in blocks that are smaller than a hugepage",
			   .extra = true },
	[COL_CPUS] = { "CPUS", CLI_NUMBER, "CPUs with a page list", .extra = true },
	[COL_LISTS] = { "LISTS", CLI_SIZE, "free memory in the lists of all CPUs", .extra = true },
	[COL_LISTS_HIGH] = { "LISTS-HIGH", CLI_SIZE, "the most that these lists hold",
			     .extra = true },
	[COL_COMPUTED_MIN] = { "COMPUTED-MIN", CLI_SIZE, "what the settings give, without a boost",
			       .extra = true },
	[COL_COMPUTED_LOW] = { "COMPUTED-LOW", CLI_SIZE, "the same for LOW", .extra = true },
	[COL_COMPUTED_HIGH] = { "COMPUTED-HIGH", CLI_SIZE, "the same for HIGH", .extra = true },
	[COL_COMPUTED_PROMO] = { "COMPUTED-PROMO", CLI_SIZE, "the same for PROMO", .extra = true },
	{ NULL },
};

static void put(const struct zones_view *view, struct cli_row *row, int column, uint64_t pages)
{
	cli_row_number(row, column, zones_bytes(view, pages));
}

static void put_protection(const struct zones_view *view, const struct stow_zone *zone,
			   struct cli_row *row)
{
	char text[STOW_ZONES_MAX * 24] = "", one[32];

	for (unsigned int i = 0; i < zone->n_protection; i++) {
		uint64_t bytes = zones_bytes(view, zone->protection[i]);

		if (bytes == STOW_UNKNOWN)
			return;
		stow_append(text, sizeof(text), "%s%s", i ? "," : "",
			    cli_output_size(view->out, bytes, one, sizeof(one)));
	}
	if (zone->n_protection)
		cli_row_text(row, COL_PROTECTION, text);
}

static void put_marks(const struct zones_view *view, size_t i, struct cli_row *row)
{
	const struct stow_watermarks *computed = &view->account.zones[i];
	const struct stow_zone *zone = &view->zones.list[i];
	bool good = stow_zone_is_as_computed(zone, computed);

	if (!view->account.computed)
		return;
	cli_row_number(row, COL_COMPUTED, good);
	if (!good)
		cli_row_mark(row, COL_COMPUTED, CLI_WARNING);
	put(view, row, COL_COMPUTED_MIN, computed->min);
	put(view, row, COL_COMPUTED_LOW, computed->low);
	put(view, row, COL_COMPUTED_HIGH, computed->high);
	put(view, row, COL_COMPUTED_PROMO, computed->promo);
}

static void fill_zone(const struct zones_view *view, size_t i, struct cli_row *row)
{
	static const struct {
		int column;
		enum stow_zone_amount amount;
	} amounts[] = {
		{ COL_FREE, STOW_ZONE_FREE },	    { COL_MIN, STOW_ZONE_MIN },
		{ COL_LOW, STOW_ZONE_LOW },	    { COL_HIGH, STOW_ZONE_HIGH },
		{ COL_PROMO, STOW_ZONE_PROMO },	    { COL_BOOST, STOW_ZONE_BOOST },
		{ COL_MANAGED, STOW_ZONE_MANAGED }, { COL_PRESENT, STOW_ZONE_PRESENT },
		{ COL_SPANNED, STOW_ZONE_SPANNED }, { COL_CMA, STOW_ZONE_CMA },
	};
	const struct stow_zone *zone = &view->zones.list[i];
	int order = zones_huge_order(view), unusable;

	cli_row_id(row, COL_NODE, zone->node);
	cli_row_text(row, COL_ZONE, zone->name);
	for (size_t k = 0; k < STOW_ARRAY_SIZE(amounts); k++)
		put(view, row, amounts[k].column, stow_zone_get(zone, amounts[k].amount));
	if (stow_zone_get(zone, STOW_ZONE_BOOST) != STOW_UNKNOWN &&
	    stow_zone_get(zone, STOW_ZONE_BOOST))
		cli_row_mark(row, COL_BOOST, CLI_WARNING);
	put_marks(view, i, row);
	put_protection(view, zone, row);
	cli_row_number(row, COL_START, zone->start_pfn);
	unusable = order < 0 ? -1 : stow_zone_unusable(zone, (unsigned int)order);
	if (unusable >= 0)
		cli_row_real(row, COL_UNUSABLE, unusable / 10.0);
	if (zone->n_cpus) {
		cli_row_number(row, COL_CPUS, zone->n_cpus);
		put(view, row, COL_LISTS, zone->lists[STOW_LIST_COUNT]);
		put(view, row, COL_LISTS_HIGH, zone->lists[STOW_LIST_HIGH]);
	}
}

/* Return whether the zone is shown: empty ones are not. */
static bool is_shown(const struct zones_view *view, const struct stow_zone *zone)
{
	return cli_output_wants_node(view->out, zone->node) &&
	       stow_zone_get(zone, STOW_ZONE_MANAGED) != 0;
}

static int print_zones(const struct zones_view *view, struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(zones_columns, view->out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->zones.n; i++)
		if (is_shown(view, &view->zones.list[i]))
			fill_zone(view, i, cli_table_row(table, NULL));
	return cli_table_print(table);
}

/* --- nodes ---------------------------------------------------------------- */

enum { NODE_NODE, NODE_PRESSURE, NODE_KERNEL, NODE_KSWAPD, NODE_KCOMPACTD, NODE_UNUSABLE };

static const struct cli_column node_columns[] = {
	[NODE_NODE] = { "NODE", CLI_NUMBER },
	[NODE_PRESSURE] = { "PRESSURE", CLI_TEXT },
	[NODE_KERNEL] = { "KERNEL-PRESSURE", CLI_TEXT },
	[NODE_KSWAPD] = { "KSWAPD", CLI_TEXT },
	[NODE_KCOMPACTD] = { "KCOMPACTD", CLI_TEXT },
	[NODE_UNUSABLE] = { "UNUSABLE", CLI_TEXT },
	{ NULL },
};

static enum cli_mark mark_of(enum stow_pressure pressure)
{
	if (pressure == STOW_PRESSURE_BELOW_MIN)
		return CLI_BAD;
	return pressure == STOW_PRESSURE_BELOW_LOW ? CLI_WARNING : CLI_PLAIN;
}

static void put_pressure(struct cli_row *row, int column, enum stow_pressure pressure)
{
	if (pressure == STOW_PRESSURE_UNKNOWN)
		return;
	cli_row_text(row, column, stow_pressure_word(pressure));
	cli_row_mark(row, column, mark_of(pressure));
}

static void put_daemon(const struct zones_view *view, struct cli_row *row, int column, int node)
{
	const struct stow_node_daemon *d = zones_daemon(view, node, column == NODE_KCOMPACTD);

	if (!view->daemons_known)
		return;
	if (!d)
		cli_row_text(row, column, "none");
	else if (d->cpu_ns == UINT64_MAX)
		cli_row_format(row, column, "PID %d", (int)d->pid);
	else
		cli_row_format(row, column, "%s, %.1f s of CPU",
			       d->state == 'R' ? "runs" : "sleeps",
			       (double)d->cpu_ns / (double)STOW_SECOND);
}

/* Show how much of the free memory of the whole node is unusable for a hugepage. */
static void put_unusable(const struct zones_view *view, struct cli_row *row, int node)
{
	int order = zones_huge_order(view), unusable;
	struct stow_zone all;

	zones_node_blocks(&view->zones, node, &all);
	unusable = order < 0 ? -1 : stow_zone_unusable(&all, (unsigned int)order);
	if (unusable >= 0)
		cli_row_format(row, NODE_UNUSABLE, "%d.%d %%", unusable / 10, unusable % 10);
}

static int print_nodes(const struct zones_view *view, const struct cli_output *out,
		       struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(node_columns, out, &table, err);

	if (r < 0)
		return r;
	STOW_IDSET_FOR(node, &view->nodes) {
		struct cli_row *row;

		if (!cli_output_wants_node(view->out, node))
			continue;
		row = cli_table_row(table, NULL);
		cli_row_id(row, NODE_NODE, node);
		put_pressure(row, NODE_PRESSURE, stow_zones_pressure(&view->zones, node, false));
		put_pressure(row, NODE_KERNEL, stow_zones_pressure(&view->zones, node, true));
		put_daemon(view, row, NODE_KSWAPD, node);
		put_daemon(view, row, NODE_KCOMPACTD, node);
		put_unusable(view, row, node);
	}
	putchar('\n');
	r = cli_table_print(table);
	if (r < 0)
		return r;
	STOW_IDSET_FOR(node, &view->nodes) {
		enum stow_pressure pressure = stow_zones_pressure(&view->zones, node, false);

		if (cli_output_wants_node(view->out, node) && pressure > STOW_PRESSURE_NONE)
			printf("Node %d: %s.\n", node, stow_pressure_sentence(pressure));
	}
	return 0;
}

/* --- free blocks ---------------------------------------------------------- */

enum { ORDER_NODE, ORDER_ZONE, ORDER_ORDER, ORDER_SIZE, ORDER_BLOCKS, ORDER_UNUSABLE };

static const struct cli_column order_columns[] = {
	[ORDER_NODE] = { "NODE", CLI_NUMBER },
	[ORDER_ZONE] = { "ZONE", CLI_TEXT },
	[ORDER_ORDER] = { "ORDER", CLI_NUMBER },
	[ORDER_SIZE] = { "SIZE", CLI_SIZE },
	[ORDER_BLOCKS] = { "BLOCKS", CLI_NUMBER },
	[ORDER_UNUSABLE] = { "UNUSABLE-%", CLI_REAL },
	{ NULL },
};

static int print_orders(const struct zones_view *view, const struct cli_output *out,
			struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(order_columns, out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->zones.n; i++) {
		const struct stow_zone *zone = &view->zones.list[i];

		for (unsigned int k = 0; is_shown(view, zone) && k < zone->n_orders; k++) {
			struct cli_row *row = cli_table_row(table, NULL);

			cli_row_id(row, ORDER_NODE, zone->node);
			cli_row_text(row, ORDER_ZONE, zone->name);
			cli_row_number(row, ORDER_ORDER, k);
			put(view, row, ORDER_SIZE, UINT64_C(1) << k);
			cli_row_number(row, ORDER_BLOCKS, zone->blocks[k]);
			cli_row_real(row, ORDER_UNUSABLE, stow_zone_unusable(zone, k) / 10.0);
		}
	}
	putchar('\n');
	return cli_table_print(table);
}

/* --- the lists of each CPU ------------------------------------------------ */

enum {
	LIST_NODE,
	LIST_ZONE,
	LIST_CPU,
	LIST_COUNT,
	LIST_HIGH,
	LIST_BATCH,
	LIST_HIGH_MIN,
	LIST_HIGH_MAX
};

static const struct cli_column list_columns[] = {
	[LIST_NODE] = { "NODE", CLI_NUMBER },
	[LIST_ZONE] = { "ZONE", CLI_TEXT },
	[LIST_CPU] = { "CPU", CLI_NUMBER },
	[LIST_COUNT] = { "COUNT", CLI_SIZE },
	[LIST_HIGH] = { "HIGH", CLI_SIZE },
	[LIST_BATCH] = { "BATCH", CLI_SIZE },
	[LIST_HIGH_MIN] = { "HIGH-MIN", CLI_SIZE },
	[LIST_HIGH_MAX] = { "HIGH-MAX", CLI_SIZE },
	{ NULL },
};

static int print_lists(const struct zones_view *view, const struct cli_output *out,
		       struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(list_columns, out, &table, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < view->zones.n; i++) {
		const struct stow_zone *zone = &view->zones.list[i];

		for (size_t k = 0; is_shown(view, zone) && zone->cpus && k < zone->n_cpus; k++) {
			struct cli_row *row = cli_table_row(table, NULL);

			cli_row_id(row, LIST_NODE, zone->node);
			cli_row_text(row, LIST_ZONE, zone->name);
			cli_row_id(row, LIST_CPU, zone->cpus[k].cpu);
			for (int n = 0; n < STOW_LIST_AMOUNTS; n++)
				put(view, row, LIST_COUNT + n, zone->cpus[k].amounts[n]);
		}
	}
	putchar('\n');
	return cli_table_print(table);
}

/* --- where the numbers come from ------------------------------------------ */

static void print_min_free(const struct zones_view *view)
{
	const struct stow_zones_account *a = &view->account;
	char block[32];

	printf("\nmin_free_kbytes is %" PRIu64 ": ", view->knobs.min_free_kbytes);
	switch (a->source) {
	case STOW_MIN_FREE_SQUARE_ROOT:
		printf("4 times the square root of the low memory in KiB.\n");
		break;
	case STOW_MIN_FREE_SQUARE_ROOT_EARLIER:
		printf("about 4 times the square root of the low memory in KiB, of which there was "
		       "less when it was computed; today it would be %" PRIu64 ".\n",
		       a->square_root);
		break;
	case STOW_MIN_FREE_KHUGEPAGED:
		printf("khugepaged has raised it, to 11 blocks of %s for each of %u zones; the "
		       "square root of the low memory would give %" PRIu64 ".\n",
		       stow_format_size(zones_bytes(view, a->pageblock), block, sizeof(block)),
		       a->khugepaged_zones, a->square_root);
		break;
	case STOW_MIN_FREE_KHUGEPAGED_LIMITED:
		printf("khugepaged has raised it, to 5 %% of the low memory at that time; the "
		       "square root of the low memory would give %" PRIu64 ".\n",
		       a->square_root);
		break;
	case STOW_MIN_FREE_ADMINISTRATOR:
		printf("it was written (vm.min_free_kbytes). The kernel's own value is %" PRIu64
		       ", from the square root of the low memory",
		       a->square_root);
		if (a->khugepaged != STOW_UNKNOWN)
			printf(", or %" PRIu64 ", from khugepaged", a->khugepaged);
		printf(".\n");
		break;
	case STOW_MIN_FREE_UNKNOWN:
		printf("where it comes from is not known.\n");
		break;
	}
}

static void print_difference(const struct stow_zones_account *a)
{
	if (a->n_different == 1)
		printf("One zone has other watermarks than these settings give. ");
	else
		printf("%zu zones have other watermarks than these settings give. ",
		       a->n_different);
	switch (a->why) {
	case STOW_WMARK_MEMORY:
		printf("Memory was added or removed since the kernel computed them: it does so at "
		       "boot, when a setting is written, and when memory goes online or "
		       "offline.\n");
		break;
	case STOW_WMARK_OTHER_MIN:
		printf("They are those of a min_free_kbytes of about %" PRIu64
		       ", with which the kernel last computed them.\n",
		       a->implied);
		break;
	case STOW_WMARK_OTHER_SCALE:
		printf("They are those of a watermark_scale_factor of about %" PRIu64
		       ", with which the kernel last computed them.\n",
		       a->implied);
		break;
	case STOW_WMARK_UNKNOWN:
	case STOW_WMARK_EQUAL:
	case STOW_WMARK_UNEXPLAINED:
		printf("The reason is not known.\n");
		break;
	}
}

static void print_account(const struct zones_view *view)
{
	const struct stow_zones_account *a = &view->account;

	if (view->knobs.min_free_kbytes != STOW_UNKNOWN)
		print_min_free(view);
	else
		printf("\nmin_free_kbytes is not known.\n");
	if (!a->computed) {
		printf("The watermarks cannot be computed: a setting or an amount is not known.\n");
		return;
	}
	printf("Each zone's MIN is its share of that, by managed memory; from MIN to LOW, LOW to "
	       "HIGH and HIGH to PROMO it is a fourth of the share, or %" PRIu64
	       "/10000 of the zone (watermark_scale_factor), if that is more.\n",
	       view->knobs.scale_factor);
	if (a->movable_decides)
		printf("Zone Movable has %s\n",
		       a->movable_capped
			       ? "no share in this kernel: its MIN is 1/1024 of it, 32 to "
				 "128 pages."
			       : "a share in this kernel, as the others have.");
	if (!a->n_different)
		printf("The watermarks are exactly those that these settings give.\n");
	else
		print_difference(a);
	if (a->n_protection_different)
		printf("Protection is not what lowmem_reserve_ratio gives, in %zu of the zones: "
		       "the kernel computes it at the same times.\n",
		       a->n_protection_different);
}

/* --- pressure stall information ------------------------------------------- */

enum { PSI_CGROUP, PSI_SOME10, PSI_SOME60, PSI_SOME300, PSI_FULL10, PSI_FULL60, PSI_FULL300 };

static const struct cli_column psi_columns[] = {
	[PSI_CGROUP] = { "MEMORY-PRESSURE", CLI_TEXT }, [PSI_SOME10] = { "SOME10", CLI_REAL },
	[PSI_SOME60] = { "SOME60", CLI_REAL },		[PSI_SOME300] = { "SOME300", CLI_REAL },
	[PSI_FULL10] = { "FULL10", CLI_REAL },		[PSI_FULL60] = { "FULL60", CLI_REAL },
	[PSI_FULL300] = { "FULL300", CLI_REAL },	{ NULL },
};

static void put_psi(struct cli_row *row, const struct stow_psi *psi)
{
	const struct stow_psi_line *lines[] = { &psi->some, &psi->full };

	for (int i = 0; i < 2; i++) {
		if (!lines[i]->known)
			continue;
		cli_row_real(row, PSI_SOME10 + 3 * i, lines[i]->avg10 / 100.0);
		cli_row_real(row, PSI_SOME60 + 3 * i, lines[i]->avg60 / 100.0);
		cli_row_real(row, PSI_SOME300 + 3 * i, lines[i]->avg300 / 100.0);
	}
}

static int print_psi(const struct zones_view *view, const struct cli_output *out,
		     struct stow_err *err)
{
	_cleanup_(cli_table_free_ptr) struct cli_table *table = NULL;
	int r = cli_table_new(psi_columns, out, &table, err);
	struct cli_row *row;

	if (r < 0)
		return r;
	row = cli_table_row(table, NULL);
	cli_row_text(row, PSI_CGROUP, "machine");
	if (view->psi_known)
		put_psi(row, &view->psi);
	for (size_t i = 0; i < view->n_cgroups; i++) {
		const struct zones_cgroup *cgroup = &view->cgroups[i];
		_cleanup_free_ char *path = stow_text_copy(cgroup->path, 256);
		char id[16];

		row = cli_table_row(table, NULL);
		if (cgroup->id) /* its path is long, and ends in the id */
			cli_row_format(row, PSI_CGROUP, "container %s",
				       cgroup->name ? cgroup->name
						    : cli_short_id(cgroup->id, id, sizeof(id)));
		else
			cli_row_text(row, PSI_CGROUP, path);
		put_psi(row, &view->cgroups[i].psi);
	}
	putchar('\n');
	return cli_table_print(table);
}

int zones_print_text(const struct zones_view *view, struct stow_err *err)
{
	const struct cli_output *out = view->out;
	/* The other tables have columns of their own. */
	struct cli_output plain = { .bytes = out->bytes };
	int r = print_zones(view, err);

	if (r < 0 || view->alone)
		return r;
	r = print_nodes(view, &plain, err);
	if (r == 0 && view->orders)
		r = print_orders(view, &plain, err);
	if (r == 0 && view->lists)
		r = print_lists(view, &plain, err);
	if (r < 0)
		return r;
	print_account(view);
	return print_psi(view, &plain, err);
}
