// SPDX-License-Identifier: Apache-2.0
/* numastow measure: latency and bandwidth between nodes. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "base/parse.h"
#include "base/timestamp.h"
#include "cli/cli.h"
#include "cli/context.h"
#include "cli/view/measure.h"
#include "cli/view/measure_machine.h"
#include "cli/view/output.h"
#include "cli/view/table.h"
#include "cli/view/view.h"
#include "ledger/ledger.h"
#include "node/firmware.h"
#include "node/measured.h"
#include "node/topology.h"

#define MANY_NODES 8
#define LEAST_SIZE (UINT64_C(256) << 20)
#define MOST_SIZE  (UINT64_C(16) << 30) /* of a buffer, whatever caches there are */

enum {
	FROM,
	TO,
	DISTANCE,
	HMAT_LATENCY,
	HMAT_READ,
	LATENCY,
	LATENCY_4K,
	READ,
	READ_WRITE,
	NOTE,
	MEDIAN,
	MEDIAN_4K,
	READ_MEDIAN,
	READ_WRITE_MEDIAN
};

static const struct cli_column columns[] = {
	{ "FROM", CLI_NUMBER, "node whose CPUs load and store", false, NULL },
	{ "TO", CLI_NUMBER, "node that has the memory", false, NULL },
	{ "DISTANCE", CLI_NUMBER, "by the firmware (SLIT); 10 is local", false, NULL },
	{ "HMAT-LATENCY", CLI_NUMBER, "ns of a load, by the firmware (HMAT)", false,
	  "hmat_latency_ns" },
	{ "HMAT-READ", CLI_NUMBER, "10^6 bytes per second, loads, by the firmware (HMAT)", false,
	  "hmat_read_mbps" },
	{ "LATENCY", CLI_REAL, "ns of a load, 2 MiB pages; the best run", false, "latency_ns" },
	{ "LATENCY-4K", CLI_REAL, "ns of a load, 4 KiB pages: with TLB misses", false,
	  "latency_4k_ns" },
	{ "READ", CLI_REAL, "10^6 bytes per second, loads, a thread per core; best run", false,
	  "read_mbps" },
	{ "READ-WRITE", CLI_REAL, "the same, two loads for each non-temporal store", false,
	  "read_write_mbps" },
	{ "NOTE", CLI_LAST, "what was left out, and why; runs that differ by over 10 %", false,
	  NULL },
	{ "MEDIAN", CLI_REAL, "of LATENCY's runs", true, "latency_median_ns" },
	{ "MEDIAN-4K", CLI_REAL, "of LATENCY-4K's runs", true, "latency_4k_median_ns" },
	{ "READ-MEDIAN", CLI_REAL, "of READ's runs", true, "read_median_mbps" },
	{ "READ-WRITE-MEDIAN", CLI_REAL, "of READ-WRITE's runs", true, "read_write_median_mbps" },
	{ NULL, CLI_TEXT, NULL, false, NULL },
};

struct measure {
	struct cli_output out;
	struct measure_options options;
	struct stow_idset from;
	bool all, force, save, latency_only, bandwidth_only;

	struct stow_root *root;
	struct stow_topology *topology;
	struct stow_locality locality;
	struct stow_firmware firmware;
	struct stow_usage *usage; /* NULL: none, or only root can read it */
	struct measure_machine machine;
	struct cli_column columns[STOW_ARRAY_SIZE(columns)];
	struct cli_table *table;
	size_t measured, left_out;
	uint64_t steal;
};

/* --- what is left out --------------------------------------------------------------------------- */

/* Return the CPUs of a node that a container does not have for itself. */
static struct stow_idset free_cpus(const struct measure *m, const struct stow_node *node)
{
	struct stow_idset cpus = node->cpus;

	STOW_IDSET_FOR(cpu, &node->cpus)
		if (!m->force && m->usage && stow_idset_has(&m->usage->exclusive, cpu))
			stow_idset_del(&cpus, cpu);
	return cpus;
}

/* Return the first CPU of each core: its others share what it can load. */
static struct stow_idset one_per_core(const struct measure *m, const struct stow_idset *cpus)
{
	struct stow_idset ret = { 0 }, cores = { 0 };

	STOW_IDSET_FOR(id, cpus) {
		const struct stow_cpu *cpu = stow_topology_cpu(m->topology, id);

		if (!cpu || stow_idset_has(&cores, cpu->core))
			continue;
		stow_idset_add(&cores, cpu->core);
		stow_idset_add(&ret, id);
	}
	return ret;
}

/* Return why a pair of nodes is not measured, in `buf`; NULL: it is. */
static const char *why_not(const struct measure *m, const struct stow_node *from,
			   const struct stow_node *to, char *buf, size_t size)
{
	struct stow_idset cpus = free_cpus(m, from);
	char need[32], has[32];

	if (!stow_idset_equal(&cpus, &from->cpus)) {
		snprintf(buf, size, "a container has exclusive CPUs of node %d; --force", from->id);
		return buf;
	}
	if (to->mem_available < m->options.size + (m->options.size >> 3)) {
		snprintf(buf, size, "node %d has %s available, a buffer is %s; --size", to->id,
			 stow_format_size(to->mem_available, has, sizeof(has)),
			 stow_format_size(m->options.size, need, sizeof(need)));
		return buf;
	}
	return NULL;
}

/* On a large machine, measure one pair of nodes for each distance, from its first node. */
static bool is_repeated(const struct measure *m, size_t from, size_t to)
{
	const struct stow_topology *t = m->topology;
	int distance = t->distance[from * t->n_nodes + to];

	if (m->all || !stow_idset_empty(&m->from) || !stow_idset_empty(&m->out.nodes) ||
	    t->n_nodes <= MANY_NODES)
		return false;
	for (size_t i = 0; i < from * t->n_nodes + to; i++)
		if (t->distance[i] == distance && t->nodes[i / t->n_nodes].mem_total &&
		    !stow_idset_empty(&t->nodes[i / t->n_nodes].cpus) &&
		    t->nodes[i % t->n_nodes].mem_total)
			return true;
	return false;
}

/* --- a pair ------------------------------------------------------------------------------------- */

struct cell {
	int best, median; /* columns */
	const char *name;
};

static void show(struct cli_row *row, const struct cell *cell, const struct measure_result *result,
		 char *note, size_t size)
{
	size_t len = strlen(note);

	cli_row_real(row, cell->best, result->best);
	cli_row_real(row, cell->median, result->median);
	if (!result->spread)
		return;
	cli_row_mark(row, cell->best, CLI_WARNING);
	snprintf(note + len, size - len, "%s%s: runs differ by over 10 %%", len ? "; " : "",
		 cell->name);
}

static void add_note(char *note, size_t size, const char *what, const char *why)
{
	size_t len = strlen(note);

	snprintf(note + len, size - len, "%s%s: %s", len ? "; " : "", what, why);
}

/* Measure everything that one kind of pages is for. What cannot be measured is in the note. */
static void measure_pages(struct measure *m, const struct stow_node *from,
			  const struct stow_node *to, bool huge, struct cli_row *row, char *note,
			  size_t size)
{
	static const struct cell cells[] = { { LATENCY_4K, MEDIAN_4K, "latency, 4 KiB pages" },
					     { LATENCY, MEDIAN, "latency" },
					     { READ, READ_MEDIAN, "read" },
					     { READ_WRITE, READ_WRITE_MEDIAN, "read-write" } };
	_cleanup_(measure_unmap) struct measure_memory memory = { 0 };
	struct stow_idset cpus = free_cpus(m, from), cores = one_per_core(m, &cpus);
	struct measure_result result;
	struct stow_err err = { 0 };
	/* Latency links the buffer's lines, and comes first: pages of any content can be loaded. */
	bool wanted[2] = { !m->bandwidth_only, !m->latency_only };
	int r;

	if (!(wanted[0] || (wanted[1] && huge)))
		return;
	r = measure_map(m->root, to->id, m->options.size, huge, &memory, &err);
	if (r < 0) {
		add_note(note, size, huge ? "2 MiB pages" : "4 KiB pages", err.msg);
		/* Bandwidth hardly depends on the pages' size. */
		if (huge && wanted[1] &&
		    measure_map(m->root, to->id, m->options.size, false, &memory, &err) == 0)
			wanted[0] = false;
		else
			return;
	}
	if (wanted[0]) {
		if (measure_latency(&m->options, &memory, stow_idset_next(&cpus, 0), &result,
				    &err) == 0)
			show(row, &cells[huge], &result, note, size);
		else
			add_note(note, size, cells[huge].name, err.msg);
	}
	for (int stores = 0; huge && wanted[1] && stores <= 1; stores++) {
		if (measure_bandwidth(&m->options, &memory, &cores, stores, &result, &err) == 0)
			show(row, &cells[2 + stores], &result, note, size);
		else
			add_note(note, size, cells[2 + stores].name, err.msg);
	}
}

static void progress(const struct measure *m, const struct stow_node *from,
		     const struct stow_node *to)
{
	if (!m->out.quiet && isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[Kmeasuring node %d -> node %d ...%s", from ? from->id : 0,
			to ? to->id : 0, from ? "" : "\r\033[K");
}

/* Show what the firmware says of the pair. */
static void show_firmware(const struct measure *m, struct cli_row *row, size_t from, size_t to)
{
	const struct stow_firmware_kernel kernel = { m->topology, NULL, &m->locality };
	struct stow_firmware_reads reads = stow_firmware_reads(&m->firmware, &kernel, from, to);

	if (!(m->topology->assumed & STOW_ASSUMED_DISTANCES))
		cli_row_signed(row, DISTANCE,
			       m->topology->distance[from * m->topology->n_nodes + to]);
	if (reads.latency)
		cli_row_number(row, HMAT_LATENCY, reads.latency);
	if (reads.bandwidth)
		cli_row_number(row, HMAT_READ, reads.bandwidth);
}

static void measure_pair(struct measure *m, size_t from, size_t to)
{
	const struct stow_node *a = &m->topology->nodes[from], *b = &m->topology->nodes[to];
	struct cli_row *row = cli_table_row(m->table, NULL);
	char note[512] = "", buf[160];
	const char *why = why_not(m, a, b, buf, sizeof(buf));

	cli_row_id(row, FROM, a->id);
	cli_row_id(row, TO, b->id);
	show_firmware(m, row, from, to);
	if (why) {
		cli_row_format(row, NOTE, "not measured: %s", why);
		m->left_out++;
		return;
	}
	progress(m, a, b);
	measure_pages(m, a, b, true, row, note, sizeof(note));
	measure_pages(m, a, b, false, row, note, sizeof(note));
	m->measured++;
	if (*note)
		cli_row_text(row, NOTE, note);
}

static void measure_all(struct measure *m)
{
	const struct stow_topology *t = m->topology;

	for (size_t from = 0; from < t->n_nodes; from++)
		for (size_t to = 0; to < t->n_nodes; to++) {
			const struct stow_node *a = &t->nodes[from], *b = &t->nodes[to];

			if (stow_idset_empty(&a->cpus) || !b->mem_total)
				continue;
			if (!stow_idset_empty(&m->from) && !stow_idset_has(&m->from, a->id))
				continue;
			if (!cli_output_wants_node(&m->out, b->id) || is_repeated(m, from, to))
				continue;
			measure_pair(m, from, to);
		}
	progress(m, NULL, NULL);
}

/* --- output ------------------------------------------------------------------------------------- */

static json_object *machine_json(struct json_writer *w, const struct measure *m)
{
	const struct measure_machine *machine = &m->machine;
	json_object *o = json_object_new_object();
	char at[STOW_TIMESTAMP_MAX];

	json_put_text(w, o, "machine", machine->machine);
	json_put_text(w, o, "firmware", machine->firmware);
	json_put(w, o, "time", json_object_new_string(stow_timestamp(stow_clock_wall(), at)));
	json_put(w, o, "virtualization",
		 json_object_new_string(measure_place_name(machine->place)));
	json_put_text(w, o, "governor", machine->governor);
	json_put_known(w, o, "turbo", machine->turbo >= 0, json_object_new_boolean(machine->turbo));
	json_put_known(w, o, "load", machine->load >= 0, cli_output_real(machine->load));
	json_put(w, o, "steal_ticks", json_object_new_uint64(m->steal));
	json_put(w, o, "buffer", json_object_new_uint64(m->options.size));
	return o;
}

static json_object *document(struct json_writer *w, const struct measure *m)
{
	json_object *o = cli_output_object(w);

	json_put(w, o, "measured", machine_json(w, m));
	json_put(w, o, "pairs", cli_table_json(m->table));
	return o;
}

static void print_circumstances(const struct measure *m)
{
	const struct measure_machine *machine = &m->machine;
	char size[32];

	printf("\nBuffer %s", stow_format_size(m->options.size, size, sizeof(size)));
	if (*machine->governor)
		printf(", governor %s", machine->governor);
	if (machine->turbo >= 0)
		printf(", turbo %s", machine->turbo ? "on" : "off");
	if (machine->load >= 0)
		printf(", load %.2f at the start", machine->load);
	if (m->steal)
		printf(", %" PRIu64 " ticks stolen by the hypervisor", m->steal);
	putchar('\n');
	if (machine->place == MEASURE_EMULATED)
		puts("This machine is emulated: the figures mean nothing.");
	else if (machine->place == MEASURE_GUEST)
		puts("This is a virtual machine: the figures hold only if its host pins CPUs and "
		     "memory.");
}

static int print(struct measure *m, struct stow_err *err)
{
	struct json_writer w = { .ok = true };
	int r;

	if (m->out.quiet)
		return 0;
	if (m->out.json) {
		r = json_print(&w, document(&w, m));
	} else {
		r = cli_table_print(m->table);
		if (r == 0 && !m->out.pairs && !m->out.raw && !m->out.noheadings)
			print_circumstances(m);
	}
	return r < 0 ? stow_err_sys(err, -r, "printing the figures") : 0;
}

static int save(struct measure *m, struct stow_err *err)
{
	struct json_writer w = { .ok = true };
	json_object *o;
	int r;

	if (m->machine.place == MEASURE_EMULATED)
		return stow_err_set(err, ENOTSUP,
				    "--save: an emulated machine's figures mean nothing");
	if (!*m->machine.firmware)
		return stow_err_set(err, EACCES,
				    "--save: only root can read the firmware's tables, "
				    "whose checksum is saved as well");
	o = document(&w, m);
	r = w.ok ? stow_root_mkdir(m->root, STOW_MEASURED_FOLDER, err)
		 : stow_err_sys(err, ENOMEM, STOW_MEASURED_PATH);
	if (r == 0)
		r = stow_root_replace(m->root, STOW_MEASURED_PATH, json_object_to_json_string(o),
				      0644, err);
	json_object_put(o);
	return r;
}

/* --- options ------------------------------------------------------------------------------------ */

static int take_size(const char *text, void *value, struct stow_err *err)
{
	uint64_t *size = value;
	int r = stow_parse_quantity(text, size, err);

	if (r == 0 && (*size < (UINT64_C(1) << 20) || *size > MOST_SIZE))
		return stow_err_set(err, ERANGE, "\"%.32s\": expected 1Mi to 16Gi", text);
	return r;
}

static int take_runs(const char *text, void *value, struct stow_err *err)
{
	uint64_t runs;
	int r = stow_parse_u64(text, MEASURE_RUNS_MAX, &runs, err);

	if (r == 0 && !runs)
		return stow_err_set(err, ERANGE, "\"%.32s\": expected 1 to %d", text,
				    MEASURE_RUNS_MAX);
	if (r == 0)
		*(unsigned int *)value = (unsigned int)runs;
	return r;
}

static int take_time(const char *text, void *value, struct stow_err *err)
{
	uint64_t *time = value;
	int r = stow_parse_duration(text, time, err);

	if (r == 0 && (*time < STOW_MILLISECOND || *time > 60 * STOW_SECOND))
		return stow_err_set(err, ERANGE, "\"%.32s\": expected 1ms to 1m", text);
	return r;
}

/* Read what the firmware says. A file of memory blocks that makes no sense costs the table's values
 * only. */
static int read_firmware(struct measure *m, struct stow_err *err)
{
	_cleanup_(stow_memblocks_done) struct stow_memblocks blocks = { 0 };
	const struct stow_firmware_kernel kernel = { m->topology, &blocks, &m->locality };
	int r = stow_locality_read(m->root, m->topology, &m->locality, err);

	if (r < 0)
		return r;
	if (stow_memblocks_read(m->root, STOW_MEMBLOCK_NO_STATE, &blocks, NULL) < 0)
		blocks = (struct stow_memblocks){ 0 };
	r = stow_firmware_read(m->root, &kernel, &m->firmware, err);
	if (r == 0 && m->firmware.acpi.hmat_table.state == STOW_ACPI_HIDDEN && !m->out.quiet)
		fputs("numastow: HMAT is shown for the nearest nodes only: only root can read "
		      "/sys/firmware/acpi/tables\n",
		      stderr);
	return r;
}

/* Make the table. `hmat`: the firmware has values; else a table for people is without their
 * columns, as lscpu's is without what is not known. */
static int make_table(struct measure *m, bool hmat, struct stow_err *err)
{
	bool people = !m->out.json && !m->out.pairs && !m->out.raw;

	memcpy(m->columns, columns, sizeof(columns));
	m->columns[HMAT_LATENCY].extra = m->columns[HMAT_READ].extra = people && !hmat;
	cli_table_free(m->table);
	m->table = NULL;
	return cli_table_new(m->columns, &m->out, &m->table, err);
}

static bool has_hmat(const struct measure *m)
{
	bool ret = m->firmware.acpi.hmat.n_values > 0;

	for (size_t i = 0; i < m->locality.n_nodes; i++)
		for (int class = 0; class < STOW_ACCESS_CLASSES; class ++) {
			const struct stow_access *access = &m->locality.nodes[i].access[class];

			ret = ret || access->read_latency || access->read_bandwidth;
		}
	return ret;
}

static int prepare(struct measure *m, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	int r = stow_root_open("/", &m->root, err);

	if (r == 0)
		r = stow_topology_read(m->root, STOW_TOPOLOGY_AVAILABLE | STOW_TOPOLOGY_CPUS,
				       &m->topology, err);
	if (r == 0)
		r = read_firmware(m, err);
	if (r == 0)
		r = make_table(m, has_hmat(m), err);
	if (r < 0)
		return r;
	ledger = cli_ledger_look(m->root, "exclusive CPUs are not spared");
	if (ledger)
		(void)stow_ledger_usage(ledger, &m->usage, NULL);
	measure_machine_read(m->root, &m->machine);
	m->options.line = m->machine.line >= sizeof(void *) && m->machine.line <= 4096
				  ? (size_t)m->machine.line
				  : 64;
	/* Four times the largest cache, so that few of the loads find their line in one. */
	if (!m->options.size)
		m->options.size = STOW_MIN(STOW_MAX(4 * m->machine.cache, LEAST_SIZE), MOST_SIZE);
	return 0;
}

static int run(struct measure *m, struct stow_err *err)
{
	int r = prepare(m, err);
	uint64_t steal;

	if (r < 0)
		return r;
	steal = measure_steal(m->root);
	measure_all(m);
	m->steal = stow_saturating_sub(measure_steal(m->root), steal);
	if (!m->measured && !m->left_out)
		return stow_err_set(err, ENOENT,
				    "no node with CPUs and no node with memory is "
				    "among --from and --node");
	r = print(m, err);
	if (r == 0 && m->save)
		r = save(m, err);
	return r;
}

static void measure_done(struct measure *m)
{
	cli_table_free(m->table);
	stow_usage_free(m->usage);
	stow_firmware_done(&m->firmware);
	stow_locality_done(&m->locality);
	stow_topology_free_ptr(&m->topology);
	stow_root_free_ptr(&m->root);
}

int cmd_measure(int argc, char **argv)
{
	static const struct cli_usage usage = {
		.name = "measure",
		.arguments = "[OPTION...]",
		.summary = "Measure latency and bandwidth of memory, from each NUMA node to each",
		.options =
			"      --from LIST      from the CPUs of these NUMA nodes only\n"
			"  -N, --node LIST      to the memory of these NUMA nodes only\n"
			"  -l, --latency        latency only\n"
			"  -B, --bandwidth      bandwidth only\n"
			"      --size SIZE      of the buffer (4 times the largest cache, at least "
			"256Mi)\n"
			"      --runs N         this number of runs (5)\n"
			"      --time TIME      how long a run takes (250ms)\n"
			"  -a, --all            all pairs of nodes, also of more than 8 nodes\n"
			"      --force          also nodes where a container has exclusive CPUs\n"
			"      --save           keep the figures in " STOW_MEASURED_PATH
			"\n" CLI_TABLE_HELP,
		.more = cli_columns_help,
		.columns = columns,
	};
	_cleanup_(measure_done) struct measure m = {
		.options = { .runs = 5, .time = 250 * STOW_MILLISECOND }
	};
	const struct cli_option options[] = {
		{ "from", .take = cli_take_nodes, .value = &m.from },
		{ "node", 'N', .take = cli_take_nodes, .value = &m.out.nodes },
		{ "latency", 'l', .flag = &m.latency_only },
		{ "bandwidth", 'B', .flag = &m.bandwidth_only },
		{ "size", .take = take_size, .value = &m.options.size },
		{ "runs", .take = take_runs, .value = &m.options.runs },
		{ "time", .take = take_time, .value = &m.options.time },
		{ "all", 'a', .flag = &m.all },
		{ "force", .flag = &m.force },
		{ "save", .flag = &m.save },
		CLI_TABLE_OPTIONS(&m.out),
		{ 0 },
	};
	int r = cli_options(&usage, options, argc, argv);
	struct stow_err err = { 0 };

	if (r >= 0)
		return r;
	if (m.latency_only && m.bandwidth_only)
		return cli_wrong_usage(usage.name, "--latency and --bandwidth: expected one of "
						   "them, or none for both");
	if (m.save && m.out.columns)
		return cli_wrong_usage(usage.name,
				       "--save keeps all figures: it excludes --output");
	/* --output is checked before anything is read. */
	if (make_table(&m, true, &err) < 0)
		return cli_wrong_usage(usage.name, "%s", err.msg);
	r = run(&m, &err);
	if (r < 0)
		return cli_fail(&err);
	return m.left_out ? CLI_PARTIAL : CLI_OK;
}
