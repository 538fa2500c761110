// SPDX-License-Identifier: Apache-2.0
/* The fleet's table: machines come and go, reports are taken over, promises are counted once. */
#include "unit.h"

#include <stdio.h>

#include "base/cleanup.h"
#include "report.h"

#define GI   (UINT64_C(1) << 30)
#define MANY 1000

static const struct stow_now now = { 1000, 1000 };

static int set_up(void **state)
{
	return stow_fleet_new((struct stow_fleet **)state, NULL);
}

static int tear_down(void **state)
{
	stow_fleet_free(*state);
	return 0;
}

#define WITH_FLEET(name) TEST_WITH(name, struct stow_fleet *fleet, set_up, tear_down)

/* Everything that is computed, against the machines as they are. */
static void check_columns(const struct stow_fleet *fleet)
{
	const struct stow_machine_columns *c = &fleet->of_machine;
	uint32_t in_list = 0;

	for (uint32_t m = 0; m < fleet->n_machines; m++) {
		const struct stow_machine *machine = fleet->machines[m];
		_cleanup_free_ struct stow_room *rooms =
			calloc(machine->n_numa + 1, sizeof(*rooms));
		uint64_t cpus = 0, memory = 0, open = 0, most = 0;

		assert_int_equal(machine->index, m);
		assert_ptr_equal(stow_fleet_find(fleet, machine->name), machine);
		assert_int_equal(c->n[m], machine->n_numa);
		assert_true(c->first[m] + c->n[m] <= fleet->n_numa);
		stow_machine_rooms(machine, rooms);
		for (uint32_t i = 0; i < machine->n_numa; i++) {
			struct stow_room room = rooms[i];

			if (!room.gives)
				room.cpus = 0, room.memory = 0;
			assert_int_equal(fleet->of_numa.cpus[c->first[m] + i], room.cpus);
			assert_int_equal(fleet->of_numa.memory[c->first[m] + i], room.memory);
			cpus += room.cpus;
			memory += room.memory;
			open += room.gives;
			most = room.cpus > most ? room.cpus : most;
		}
		assert_int_equal(c->cpus[m], cpus);
		assert_int_equal(c->memory[m], memory);
		assert_int_equal(c->open[m], open);
		assert_int_equal(c->most_cpus[m], most);
	}
	for (const struct stow_machine *m = fleet->oldest; m; m = m->newer) {
		in_list++;
		assert_true(!m->newer || m->newer->changed > m->changed);
		assert_ptr_equal(m->newer ? m->newer->older : fleet->newest, m);
	}
	assert_int_equal(in_list, fleet->n_machines);
}

static PbNodeReport *shown(const struct stow_machine *machine)
{
	PbNodeReport *report;
	uint8_t *bytes;
	size_t len;

	bytes = stow_machine_report(machine, SIZE_MAX, &len);
	report = pb_node_report__unpack(NULL, len, bytes);
	free(bytes);
	assert_non_null(report);
	return report;
}

WITH_FLEET(a_report_and_its_changes_are_a_report_again)
{
	PbContainer a = PB_CONTAINER__INIT, b = PB_CONTAINER__INIT, c = PB_CONTAINER__INIT;
	PbContainer *first[] = { &b, &a }, *second[] = { &c, &b };
	char *gone[] = { (char *)"a", (char *)"nobody" };
	struct stow_machine *machine;
	PbNodeReport *out;
	struct report r;

	report_init(&r, "web-3", 2, 8, 16 * GI);
	a.id = (char *)"a", b.id = (char *)"b", c.id = (char *)"c";
	r.message.version = (char *)"1.2.3";
	r.message.boot_id = (char *)"boot";
	r.message.failure_domain = (char *)"rack-1";
	r.message.time = 7;
	r.message.containers = first;
	r.message.n_containers = 2;
	machine = report_apply(fleet, &r, now);
	out = shown(machine);
	assert_int_equal(out->n_numa_nodes, 2);
	assert_int_equal(out->n_containers, 2);
	assert_string_equal(out->containers[0]->id, "a");
	assert_string_equal(out->failure_domain, "rack-1");
	assert_int_equal(out->numa_nodes[1]->distances[0], 21);
	pb_node_report__free_unpacked(out, NULL);

	r.message.full = false;
	r.message.sequence = 2;
	r.message.time = 8;
	r.message.version = r.message.boot_id = r.message.failure_domain = (char *)"";
	r.list[0] = &r.numa[1];
	r.message.n_numa_nodes = 1;
	r.numa[1].cpus_free = 3;
	r.message.containers = second;
	r.message.gone = gone;
	r.message.n_gone = 2;
	b.exclusive = true;
	assert_ptr_equal(report_apply(fleet, &r, now), machine);
	out = shown(machine);
	assert_string_equal(out->name, "web-3");
	assert_true(out->full);
	assert_int_equal(out->time, 8);
	assert_string_equal(out->version, "1.2.3");
	assert_string_equal(out->boot_id, "boot");
	assert_int_equal(out->n_numa_nodes, 2);
	assert_int_equal(out->numa_nodes[0]->cpus_free, 8);
	assert_int_equal(out->numa_nodes[1]->cpus_free, 3);
	assert_int_equal(out->n_gone, 0);
	assert_int_equal(out->n_containers, 2);
	assert_string_equal(out->containers[0]->id, "b");
	assert_true(out->containers[0]->exclusive);
	assert_string_equal(out->containers[1]->id, "c");
	pb_node_report__free_unpacked(out, NULL);
	check_columns(fleet);
}

WITH_FLEET(what_is_stale_fenced_or_observing_gives_nothing)
{
	const struct stow_machine_columns *c = &fleet->of_machine;
	struct stow_idset fence = { 0 };
	struct stow_machine *machine;
	struct report r;

	report_init(&r, "web-3", 2, 8, 16 * GI);
	machine = report_apply(fleet, &r, now);
	assert_int_equal(c->cpus[0], 16);
	stow_fleet_stale(fleet, machine);
	stow_fleet_stale(fleet, machine);
	assert_int_equal(c->cpus[0], 0);
	stow_fleet_seen(fleet, machine, (struct stow_now){ 2000, 3000 });
	assert_int_equal(machine->last_seen, 2000);
	assert_int_equal(machine->seen, 3000);
	assert_int_equal(c->cpus[0], 16);
	stow_idset_add(&fence, 1);
	assert_int_equal(stow_fleet_fence(fleet, machine, &fence, NULL), 0);
	assert_int_equal(c->cpus[0], 8);
	assert_int_equal(c->open[0], 1);
	stow_idset_del(&fence, 1);
	assert_int_equal(stow_fleet_fence(fleet, machine, &fence, NULL), 0);
	assert_null(machine->fenced);
	r.numa[0].state = PB_NUMA_NODE_STATE_DRAINING;
	report_apply(fleet, &r, now);
	assert_int_equal(c->cpus[0], 8);
	r.message.mode = PB_MODE_OBSERVE;
	report_apply(fleet, &r, now);
	assert_int_equal(c->cpus[0], 0);
	check_columns(fleet);
}

/* Subtracted here until the report has it, then by the report alone. */
WITH_FLEET(a_promise_is_counted_once)
{
	const struct stow_machine_columns *c = &fleet->of_machine;
	struct stow_reconciled found;
	struct stow_machine *machine;
	struct stow_reservation *made;
	uint64_t listed[] = { 7 };
	struct report r;

	report_init(&r, "web-3", 2, 8, 16 * GI);
	machine = report_apply(fleet, &r, now);
	made = report_reserve(fleet, machine, 7, 1, 3, GI, true, 5000);
	assert_int_equal(c->cpus[0], 13);
	assert_int_equal(c->nonexclusive[0], 13);
	assert_int_equal(c->memory[0], 31 * GI);
	check_columns(fleet);
	r.numa[1].cpus_free = 5;
	r.numa[1].cpus_exclusive = 3;
	r.numa[1].memory_allocatable = 15 * GI;
	report_apply(fleet, &r, now);
	assert_int_equal(stow_fleet_reconcile(fleet, machine, listed, 1, now, &found, NULL), 0);
	assert_int_equal(found.n_changed, 1);
	assert_ptr_equal(found.changed[0], made);
	assert_int_equal(found.n_over + found.n_cancel, 0);
	stow_reconciled_done(&found);
	assert_int_equal(made->message->state, PB_RESERVATION_STATE_HELD);
	assert_int_equal(c->cpus[0], 13);
	assert_int_equal(c->nonexclusive[0], 13);
	assert_int_equal(c->memory[0], 31 * GI);
	stow_reservation_end(fleet, made, now);
	assert_null(stow_reservation_find(fleet, 7));
	assert_true(stow_reservation_ended(fleet, 7));
	assert_int_equal(fleet->n_expiring, 0);
	check_columns(fleet);
}

/* A report can list unknown ids: the work is limited for a report, not for each id. */
WITH_FLEET(unknown_ids_are_adopted_within_bounds)
{
	size_t known = 0, n = 60000;
	uint64_t *listed = calloc(n, sizeof(*listed)), before;
	struct stow_now later = now;
	struct stow_reconciled found;
	struct stow_machine *machine;
	struct report r;

	assert_non_null(listed);
	for (size_t i = 0; i < n; i++)
		listed[i] = i + 1;
	report_init(&r, "web-3", 8, 8, 16 * GI);
	machine = report_apply(fleet, &r, now);
	before = fleet->clock;
	assert_int_equal(stow_fleet_reconcile(fleet, machine, listed, n, now, &found, NULL), 0);
	assert_true(fleet->clock - before <= 1); /* computed once */
	assert_int_equal(found.n_changed, STOW_LEARN_MAX);
	assert_int_equal(found.n_left, n - STOW_LEARN_MAX);
	stow_reconciled_done(&found);
	/* At once, again: nothing more. With time, up to what one machine can have. */
	assert_int_equal(stow_fleet_reconcile(fleet, machine, listed, n, now, &found, NULL), 0);
	assert_int_equal(found.n_changed, 0);
	stow_reconciled_done(&found);
	for (int i = 0; i < 100; i++) {
		later.mono += STOW_SECOND;
		assert_int_equal(
			stow_fleet_reconcile(fleet, machine, listed, n, later, &found, NULL), 0);
		assert_true(found.n_changed <= STOW_LEARN_MAX);
		stow_reconciled_done(&found);
	}
	known = machine->n_reservations;
	assert_int_equal(known, STOW_RESERVATIONS_MAX);
	check_columns(fleet);
	/* They are gone again, and so is the work. */
	before = fleet->clock;
	assert_int_equal(stow_fleet_reconcile(fleet, machine, NULL, 0, later, &found, NULL), 0);
	assert_true(fleet->clock - before <= 1);
	assert_int_equal(found.n_over, known);
	for (size_t i = 0; i < found.n_over; i++)
		stow_reservation_take_out(fleet, found.over[i], true, later);
	stow_reconciled_done(&found);
	assert_int_equal(machine->n_reservations, 0);
	assert_int_equal(machine->reservation_bytes, 0);
	stow_fleet_refresh(fleet, machine);
	check_columns(fleet);
	free(listed);
}

/* A machine that has as many as it can have gives nothing: others are asked. */
WITH_FLEET(a_machine_full_of_reservations_gives_nothing)
{
	struct stow_machine *machine;
	struct report r;

	report_init(&r, "web-3", 2, 64, 16 * GI);
	machine = report_apply(fleet, &r, now);
	for (uint64_t i = 1; i < STOW_RESERVATIONS_MAX; i++)
		report_reserve(fleet, machine, i, 0, 0, 1, false, 5000);
	assert_true(fleet->of_machine.cpus[0] > 0);
	report_reserve(fleet, machine, STOW_RESERVATIONS_MAX, 0, 0, 1, false, 5000);
	assert_int_equal(fleet->of_machine.cpus[0], 0);
	assert_true(machine->reservation_bytes < STOW_RESERVATION_BYTES_MAX);
	check_columns(fleet);
	stow_reservation_end(fleet, machine->reservations, now);
	assert_true(fleet->of_machine.cpus[0] > 0);
}

static struct stow_machine *come(struct stow_fleet *fleet, int i, uint32_t n_numa)
{
	struct report r;
	char name[16];

	snprintf(name, sizeof(name), "m-%d", i);
	report_init(&r, name, n_numa, 1 + (uint32_t)i % 8, GI * (1 + (uint64_t)i % 5));
	return report_apply(fleet, &r, (struct stow_now){ 1, (uint64_t)i });
}

WITH_FLEET(a_thousand_machines_come_and_go)
{
	char name[16];

	for (int i = 0; i < MANY; i++)
		come(fleet, i, 1 + (uint32_t)i % 4);
	assert_int_equal(fleet->n_machines, MANY);
	check_columns(fleet);
	for (int i = 0; i < MANY; i += 3) /* other sets of NUMA nodes: they move, gaps close */
		come(fleet, i, 5 + (uint32_t)i % 4);
	check_columns(fleet);
	assert_true(fleet->numa_dead <= fleet->n_numa / 2);
	for (int i = 0; i < MANY; i += 2) {
		snprintf(name, sizeof(name), "m-%d", i);
		stow_fleet_forget(fleet, stow_fleet_find(fleet, name));
		assert_null(stow_fleet_find(fleet, name));
	}
	assert_int_equal(fleet->n_machines, MANY / 2);
	assert_int_equal(fleet->n_gone, MANY / 2);
	check_columns(fleet);
	for (int i = 0; i < MANY; i += 2)
		come(fleet, i, 2);
	assert_int_equal(fleet->n_machines, MANY);
	assert_true(fleet->numa_dead <= fleet->n_numa / 2);
	check_columns(fleet);
	while (fleet->n_machines)
		stow_fleet_forget(fleet, fleet->machines[0]);
	check_columns(fleet);
	assert_null(fleet->oldest);
	assert_null(fleet->newest);
	come(fleet, 1, 8);
	check_columns(fleet);
}

/* The changes after any moment are found in their order, whatever has changed again. */
WITH_FLEET(changes_are_found_by_their_time)
{
	unsigned int seed = 1, looks;
	uint64_t seen;
	bool too_old;
	char name[16];

	for (int i = 0; i < 200; i++)
		come(fleet, i, 2);
	for (int round = 0; round < 2000; round++) {
		const struct stow_machine *m, *next;

		snprintf(name, sizeof(name), "m-%d", rand_r(&seed) % 200);
		stow_fleet_refresh(fleet, stow_fleet_find(fleet, name));
		seen = (uint64_t)rand_r(&seed) % (fleet->clock + 1);
		m = fleet->oldest;
		while (m && m->changed <= seen)
			m = m->newer;
		do {
			looks = 50;
			next = stow_fleet_next(fleet, &seen, &looks, &too_old);
			assert_false(too_old);
		} while (!next && seen < fleet->clock);
		assert_ptr_equal(next, m);
		assert_true(!m || seen == m->changed - 1);
	}
	while (fleet->clock <= STOW_RECENT_MIN)
		stow_fleet_refresh(fleet, fleet->oldest);
	seen = 0;
	looks = 50;
	assert_null(stow_fleet_next(fleet, &seen, &looks, &too_old));
	assert_true(too_old);
}

/* Watchers get what has changed, but not a machine whose index has changed. */
WITH_FLEET(a_removed_machine_is_one_change)
{
	uint64_t changed[8];

	for (int i = 0; i < 8; i++)
		changed[i] = come(fleet, i, 4)->changed;
	stow_fleet_forget(fleet, stow_fleet_find(fleet, "m-0"));
	assert_string_equal(fleet->gone[0].name, "m-0");
	assert_int_equal(stow_fleet_find(fleet, "m-7")->changed, changed[7]);
	for (int i = 1; i < 7; i++) /* until the gaps are closed */
		come(fleet, i, 8);
	assert_int_equal(stow_fleet_find(fleet, "m-7")->changed, changed[7]);
	check_columns(fleet);
}

TEST(ids_and_names)
{
	static const char *const good[] = { "a", "0", "web-3.example.com", "3" };
	static const char *const bad[] = { "", ".", "-a", ".a", "A", "a_b", "a b", "a/b", "a\n" };
	struct stow_err err;
	char text[17];
	uint64_t id;

	for (size_t i = 0; i < STOW_ARRAY_SIZE(good); i++)
		assert_int_equal(stow_machine_name_check(good[i], NULL), 0);
	for (size_t i = 0; i < STOW_ARRAY_SIZE(bad); i++) {
		assert_int_equal(stow_machine_name_check(bad[i], &err), -EINVAL);
		assert_non_null(strstr(err.msg, "1 to 253"));
	}
	assert_int_equal(stow_id_parse("ffffffffffffffff", &id, NULL), 0);
	assert_true(id == UINT64_MAX);
	assert_string_equal(stow_id_format(255, text), "00000000000000ff");
	assert_int_equal(stow_id_parse(text, &id, NULL), 0);
	assert_int_equal(id, 255);
	assert_int_equal(stow_id_parse("0000000000000000", &id, &err), -EINVAL);
	assert_int_equal(stow_id_parse("fffffffffffffffff", &id, &err), -EINVAL);
}

TEST(links_of_one_key_are_all_found)
{
	struct stow_link links[300];
	struct stow_hash hash = { 0 };
	int n = 0;

	assert_null(stow_hash_find(&hash, 1));
	for (size_t i = 0; i < 300; i++)
		assert_int_equal(stow_hash_add(&hash, &links[i], i / 3), 0);
	for (size_t key = 0; key < 100; key++, n = 0) {
		for (struct stow_link *l = stow_hash_find(&hash, key); l; l = stow_hash_next(l))
			n++;
		assert_int_equal(n, 3);
	}
	stow_hash_remove(&hash, &links[4]);
	for (struct stow_link *l = stow_hash_find(&hash, 1); l; l = stow_hash_next(l)) {
		assert_true(l == &links[3] || l == &links[5]);
		n++;
	}
	assert_int_equal(n, 2);
	STOW_HASH_FOR(link, &hash)
	stow_hash_remove(&hash, link);
	assert_int_equal(hash.n, 0);
	stow_hash_done(&hash);
}
