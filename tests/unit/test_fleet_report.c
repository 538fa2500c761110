// SPDX-License-Identifier: Apache-2.0
/* Reports that are wrong: refused whole, in one line, and nothing has changed. */
#include "unit.h"

#include <stdio.h>

#include "report.h"

#define GI (UINT64_C(1) << 30)

static const struct stow_now now = { 1, 1 };

static PbContainer *container(const char *id)
{
	PbContainer *c = calloc(1, sizeof(*c));

	assert_non_null(c);
	pb_container__init(c);
	c->id = (char *)(uintptr_t)id;
	return c;
}

static void refused(const struct report *r, const char *why)
{
	struct stow_report *update = NULL;
	struct stow_err err = { 0 };
	int code = stow_report_decode(&r->message, &update, &err);

	if (code == 0)
		fail_msg("a report was taken: wanted \"%s\"", why);
	assert_null(update);
	if (!strstr(err.msg, why))
		fail_msg("\"%s\" does not say \"%s\"", err.msg, why);
	assert_null(strchr(err.msg, '\n'));
	assert_int_equal(err.code, -code);
}

/* One thing is wrong each time. */
#define WRONG(change, why)                               \
	do {                                             \
		struct report r;                         \
		report_init(&r, "web-3", 2, 8, 16 * GI); \
		change;                                  \
		refused(&r, why);                        \
	} while (0)

TEST(malformed_reports_are_refused)
{
	uint32_t three[] = { 10, 21, 21 };
	char name[300];

	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	WRONG(r.message.name = (char *)"", "not a machine's name");
	WRONG(r.message.name = (char *)"Web", "\"Web\"");
	WRONG(r.message.name = (char *)"-web", "\"-web\"");
	WRONG(r.message.name = (char *)"we\nb", "not a machine's name");
	WRONG(r.message.name = name, "1 to 253");
	WRONG(r.message.n_numa_nodes = 0, "0 NUMA nodes; a machine has 1 to 1024");
	WRONG(r.numa[1].id = 0, "NUMA node 0 is not in ascending order");
	WRONG(r.numa[0].id = 2, "NUMA node 1 is not in ascending order");
	WRONG(r.numa[1].id = 1024, "NUMA node 1024: the highest possible number is 1023");
	WRONG(r.numa[1].id = UINT32_MAX, "the highest possible number is 1023");
	WRONG(r.numa[1].cpus = (char *)"0-", "NUMA node 1: cpus: \"0-\" is not a list");
	WRONG(r.numa[1].cpus_shared = (char *)"x", "NUMA node 1: cpus_shared: \"x\"");
	WRONG(r.numa[1].cpus_takeable = (char *)"3-1", "NUMA node 1: cpus_takeable: \"3-1\"");
	WRONG(r.numa[1].cpus = (char *)"0-99999999999", "the report of web-3: NUMA node 1: cpus");
	WRONG(r.numa[0].cpus = r.numa[1].cpus = (char *)"0-8000", "CPUs; a machine has at most");
	WRONG((r.numa[1].distances = three, r.numa[1].n_distances = 3),
	      "NUMA node 1: 3 distances to 2 NUMA nodes");
	WRONG(r.numa[0].n_distances = 1, "NUMA node 0: 1 distances to 2 NUMA nodes");
	WRONG(r.pools[0][0].page_size = 0, "powers of two");
	WRONG(r.pools[0][0].page_size = 3 << 20, "powers of two");
	WRONG(r.pools[0][1].page_size = 2 << 20, "ascending");
	WRONG(r.pools[1][1].total = UINT64_MAX, "NUMA node 1: 18446744073709551615 hugepages");
	WRONG(r.numa[0].n_hugepages = 1000, "1000 hugepage pools; there are at most");
	WRONG(r.numa[1].memory_total = UINT64_MAX, "NUMA node 1: memory_total");
	for (int i = 0; i < 5; i++) {
		static const char *const ids[] = { "", "1", "0000000000000000", "00000000000000AB",
						   "00000000000000abc" };
		PbContainer *one = container("c");
		char *list[] = { (char *)(uintptr_t)ids[i] };

		one->reservation = list[0];
		if (i)
			WRONG((r.message.containers = &one, r.message.n_containers = 1),
			      "container \"c\": ");
		WRONG((r.message.reservations = list, r.message.n_reservations = 1),
		      "is not an id: 16 hexadecimal digits");
		one->id = (char *)"";
		WRONG((r.message.containers = &one, r.message.n_containers = 1), "without an id");
		free(one);
	}
	WRONG(r.message.n_containers = 8193, "more than 8192 containers");
	WRONG(r.message.n_gone = 8193, "more than 8192 containers");
	WRONG(r.message.n_reservations = 4097, "more than 4096 reservations");
}

TEST(too_many_numa_nodes)
{
	static PbNumaNode nodes[1025], *list[1025];
	struct stow_report *update;
	struct report r;

	report_init(&r, "web-3", 1, 1, GI);
	for (uint32_t i = 0; i < 1025; i++) {
		pb_numa_node__init(&nodes[i]);
		nodes[i].id = i;
		list[i] = &nodes[i];
	}
	r.message.numa_nodes = list;
	r.message.n_numa_nodes = 1025;
	refused(&r, "1025 NUMA nodes; a machine has 1 to 1024");
	r.message.n_numa_nodes = 1024;
	assert_int_equal(stow_report_decode(&r.message, &update, NULL), 0);
	assert_int_equal(update->distance[0], 10);
	assert_int_equal(update->distance[1024 * 1024 - 2], 20);
	stow_report_free(update);
}

TEST(contradictions_are_cut_to_what_can_be)
{
	struct stow_report *update;
	const struct stow_numa *n;
	struct report r;

	report_init(&r, "web-3", 1, 4, GI);
	r.numa[0].cpus_shared = r.numa[0].cpus_takeable = (char *)"0-99";
	r.numa[0].cpus_total = r.numa[0].cpus_free = r.numa[0].cpus_exclusive = UINT32_MAX;
	r.numa[0].memory_allocatable = r.numa[0].memory_available = UINT64_MAX;
	r.pools[0][0].allocatable = UINT64_MAX;
	r.distances[0][0] = UINT32_MAX;
	assert_int_equal(stow_report_decode(&r.message, &update, NULL), 0);
	n = &update->numa[0];
	assert_int_equal(n->online, 4);
	assert_int_equal(n->shared, 4);
	assert_int_equal(n->takeable, 4);
	assert_int_equal(n->total, 4);
	assert_int_equal(n->free, 4);
	assert_int_equal(n->exclusive, 4);
	assert_int_equal(n->memory_free, GI);
	assert_int_equal(n->memory_real, GI);
	assert_int_equal(n->pools[0].free, 0);
	assert_int_equal(update->distance[0], 255);
	stow_report_free(update);
}

/* Containers ascend, the later of two stays; reservations ascend, each once. */
TEST(lists_are_put_in_order)
{
	PbContainer *list[] = { container("b"), container("a"), container("b"), container("c") };
	char *ids[] = { (char *)"00000000000000ff", (char *)"0000000000000001",
			(char *)"00000000000000ff" };
	struct stow_report *update;
	uint64_t before = stow_now().mono;
	struct report r;

	report_init(&r, "web-3", 1, 4, GI);
	r.message.time = STOW_SECOND;
	list[0]->expires = 11 * STOW_SECOND;
	list[2]->expires = 21 * STOW_SECOND;
	r.message.containers = list;
	r.message.n_containers = 4;
	r.message.reservations = ids;
	r.message.n_reservations = 3;
	assert_int_equal(stow_report_decode(&r.message, &update, NULL), 0);
	assert_int_equal(update->n_containers, 3);
	assert_string_equal(update->containers[0].id, "a");
	assert_string_equal(update->containers[1].id, "b");
	assert_true(update->containers[1].until > before + 20 * STOW_SECOND &&
		    update->containers[1].until <= stow_now().mono + 20 * STOW_SECOND);
	assert_string_equal(update->containers[2].id, "c");
	assert_int_equal(update->n_reservations, 2);
	assert_int_equal(update->reservations[0], 1);
	assert_int_equal(update->reservations[1], 255);
	stow_report_free(update);
	for (int i = 0; i < 4; i++)
		free(list[i]);
}

/* Changes that do not belong to the full report leave everything as it is. */
TEST(wrong_changes_change_nothing)
{
	struct stow_report *update;
	struct stow_machine *machine;
	size_t before_len, after_len;
	uint8_t *before, *after;
	struct stow_fleet *fleet;
	struct stow_err err;
	struct report r;
	uint64_t clock;

	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	report_init(&r, "web-3", 2, 8, 16 * GI);
	machine = report_apply(fleet, &r, now);
	before = stow_machine_report(machine, SIZE_MAX, &before_len);
	clock = fleet->clock;
	r.message.full = false;
	r.message.sequence = 2;
	r.numa[0].cpus_free = 1;
	for (int i = 0; i < 2; i++) {
		r.numa[1].id = i ? 1 : 5;
		r.numa[1].cpus = (char *)(i ? "0-8190" : "8-15");
		if (i)
			r.list[0] = &r.numa[1], r.message.n_numa_nodes = 1;
		assert_int_equal(stow_report_decode(&r.message, &update, NULL), 0);
		assert_int_equal(stow_fleet_apply(fleet, machine, update, &err), -EPROTO);
		assert_non_null(strstr(err.msg, i ? "CPUs of web-3" : "NUMA node 5"));
		assert_null(strchr(err.msg, '\n'));
		stow_report_free(update);
	}
	after = stow_machine_report(machine, SIZE_MAX, &after_len);
	assert_int_equal(before_len, after_len);
	assert_memory_equal(before, after, before_len);
	assert_int_equal(fleet->clock, clock);
	assert_int_equal(machine->sequence, 1);
	assert_int_equal(fleet->of_machine.cpus[machine->index], 16);
	free(before);
	free(after);
	stow_fleet_free(fleet);
}

TEST(containers_have_an_end)
{
	static PbContainer containers[8000], *list[8000];
	static char ids[8000][8];
	struct stow_machine *machine;
	struct stow_report *update;
	struct stow_fleet *fleet;
	struct stow_err err;
	struct report r;

	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	report_init(&r, "web-3", 1, 8, GI);
	for (int i = 0; i < 8000; i++) {
		pb_container__init(&containers[i]);
		snprintf(ids[i], sizeof(ids[i]), "a%d", i);
		containers[i].id = ids[i];
		list[i] = &containers[i];
	}
	r.message.containers = list;
	r.message.n_containers = 8000;
	machine = report_apply(fleet, &r, now);
	r.message.full = false;
	r.message.n_numa_nodes = 0;
	for (int i = 0; i < 8000; i++)
		ids[i][0] = 'b';
	assert_int_equal(stow_report_decode(&r.message, &update, NULL), 0);
	assert_int_equal(stow_fleet_apply(fleet, machine, update, &err), -EPROTO);
	assert_non_null(strstr(err.msg, "more than 8192 containers"));
	assert_int_equal(machine->n_containers, 8000);
	stow_report_free(update);
	stow_fleet_free(fleet);
}
