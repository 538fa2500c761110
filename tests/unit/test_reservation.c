// SPDX-License-Identifier: Apache-2.0
/* The life of reservations: a whole scheduler in this process, with agents and clients that are
 * played here, and a clock that is turned. */
#include "unit.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"

#include "clock.h"
#include "whole.h"

#define WITH_WHOLE(name) TEST_WITH(name, struct whole *f, whole_set_up, whole_tear_down)

#define S  STOW_SECOND
#define GI (UINT64_C(1) << 30)

/* Lists the leases that it holds, as taken by containers or not. */
static void report_leases(struct whole_agent *a, bool taken)
{
	PbContainer containers[8], *list[8];
	char *ids[8];

	pthread_mutex_lock(&a->lock);
	for (int i = 0; i < a->n_ids; i++) {
		pb_container__init(&containers[i]);
		containers[i].id = containers[i].reservation = ids[i] = a->ids[i];
		containers[i].state = taken ? PB_CONTAINER_STATE_ACTIVE : PB_CONTAINER_STATE_LEASE;
		list[i] = &containers[i];
	}
	a->report.message.containers = list;
	a->report.message.reservations = ids;
	a->report.message.n_containers = a->report.message.n_reservations = (size_t)a->n_ids;
	a->report.message.full = true;
	whole_report(a);
	pthread_mutex_unlock(&a->lock);
}

struct placing {
	PbPlaceRequest request;
	PbPodRequest pods[3], *list[3];
};

static void want(struct placing *p, size_t n, uint32_t cpus)
{
	memset(p, 0, sizeof(*p));
	pb_place_request__init(&p->request);
	for (size_t i = 0; i < n; i++) {
		pb_pod_request__init(&p->pods[i]);
		p->pods[i].cpus = cpus;
		p->list[i] = &p->pods[i];
	}
	p->request.pods = p->list;
	p->request.n_pods = n;
}

/* The id of the first, or the error's negative errno. */
static int place(struct whole *f, struct placing *p, char id[17], struct stow_err *err)
{
	PbPlaceResponse *out = NULL;
	int r = whole_ask(f, "Place", &p->request, (void **)&out, err);

	if (r == 0) {
		assert_int_equal(out->n_reservations, p->request.n_pods);
		snprintf(id, 17, "%s", out->reservations[0]->id);
		stow_rpc_message_free(out);
	}
	return r;
}

/* The states of all reservations, one letter each; "" for none. */
static const char *states(struct whole *f)
{
	static const char letters[] = "?RHB"; /* by PbReservationState */
	PbListReservationsRequest in = PB_LIST_RESERVATIONS_REQUEST__INIT;
	PbListReservationsResponse *out;
	static char text[16];
	size_t n = 0;

	assert_int_equal(whole_ask(f, "ListReservations", &in, (void **)&out, NULL), 0);
	for (; n < out->n_reservations && n < sizeof(text) - 1; n++) {
		unsigned int state = out->reservations[n]->state;

		text[n] = letters[state < sizeof(letters) - 1 ? state : 0];
	}
	text[n] = '\0';
	stow_rpc_message_free(out);
	return text;
}

#define STATES(f, wanted) UNTIL(strcmp(states(f), wanted) == 0)

static size_t nodes(struct whole *f)
{
	PbListNodesRequest in = PB_LIST_NODES_REQUEST__INIT;
	PbListNodesResponse *out;
	size_t n;

	assert_int_equal(whole_ask(f, "ListNodes", &in, (void **)&out, NULL), 0);
	n = out->n_nodes;
	stow_rpc_message_free(out);
	return n;
}

static uint32_t release(struct whole *f, char *id)
{
	PbReleaseRequest in = PB_RELEASE_REQUEST__INIT;
	PbReleaseResponse *out;
	uint32_t n;

	in.ids = &id;
	in.n_ids = 1;
	assert_int_equal(whole_ask(f, "Release", &in, (void **)&out, NULL), 0);
	n = out->released;
	stow_rpc_message_free(out);
	return n;
}

/* --- tests -------------------------------------------------------------------------------------- */

WITH_WHOLE(reserved_held_bound_over)
{
	struct placing p;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	want(&p, 1, 4);
	assert_int_equal(place(f, &p, id, NULL), 0);
	UNTIL(whole_number(&a, &a.reserves) == 1);
	assert_string_equal(states(f), "R");
	report_leases(&a, false);
	STATES(f, "H");
	report_leases(&a, true);
	STATES(f, "B");
	clock_advance(3600 * S); /* what is bound does not run out */
	report_leases(&a, true);
	usleep(150000); /* a few looks of the scheduler's clock */
	assert_string_equal(states(f), "B");
	whole_let_go(&a, id);
	report_leases(&a, true);
	STATES(f, "");
	assert_int_equal(whole_number(&a, &a.cancels), 0);
	whole_leave(&a);
}

WITH_WHOLE(run_out_and_released)
{
	struct placing p;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	want(&p, 1, 4);
	p.request.lifetime = 10 * S;
	assert_int_equal(place(f, &p, id, NULL), 0);
	assert_string_equal(states(f), "R");
	clock_advance(11 * S);
	STATES(f, "");
	UNTIL(whole_number(&a, &a.cancels) == 1);
	assert_int_equal(release(f, id), 0);
	whole_report(&a);
	assert_int_equal(place(f, &p, id, NULL), 0);
	assert_int_equal(release(f, id), 1);
	assert_string_equal(states(f), "");
	UNTIL(whole_number(&a, &a.cancels) == 2);
	/* A lease that ended here is dropped there, not adopted. */
	pthread_mutex_lock(&a.lock);
	whole_hold(&a, id);
	pthread_mutex_unlock(&a.lock);
	report_leases(&a, false);
	UNTIL(whole_number(&a, &a.cancels) == 3);
	assert_string_equal(states(f), "");
	whole_leave(&a);
}

WITH_WHOLE(the_same_request_gets_the_same_answer)
{
	char first[17], second[17];
	struct placing p;
	struct stow_err err;
	struct whole_agent a;

	whole_join(f, &a, "web-3");
	want(&p, 1, 4);
	p.request.request_id = (char *)"r1";
	assert_int_equal(place(f, &p, first, NULL), 0);
	assert_int_equal(place(f, &p, second, NULL), 0);
	assert_string_equal(first, second);
	p.pods[0].cpus = 5;
	assert_int_equal(place(f, &p, second, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "\"r1\" was used for another request"));
	p.pods[0].cpus = 4;
	whole_leave(&a);
	whole_stop(f);
	whole_start(f); /* also from the one that is started again */
	assert_int_equal(place(f, &p, second, NULL), 0);
	assert_string_equal(first, second);
	assert_string_equal(states(f), "R");
	clock_advance(601 * S); /* `remember` is over, and so is the reservation */
	STATES(f, "");
	whole_join(f, &a, "web-3");
	assert_int_equal(place(f, &p, second, NULL), 0);
	assert_string_not_equal(first, second);
	whole_leave(&a);
}

WITH_WHOLE(a_group_is_all_or_nothing)
{
	struct stow_err err;
	struct placing p;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	want(&p, 3, 6); /* two fit */
	p.request.request_id = (char *)"group";
	assert_int_equal(place(f, &p, id, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "pod 3 of 3"));
	assert_string_equal(states(f), "");
	want(&p, 2, 8); /* nothing of it was kept: all of the machine is free */
	p.request.request_id = (char *)"group";
	assert_int_equal(place(f, &p, id, &err), 0);
	assert_string_equal(states(f), "RR");
	whole_leave(&a);
}

WITH_WHOLE(confirmed_is_held_or_nothing)
{
	struct stow_err err;
	struct placing p;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	want(&p, 2, 4);
	p.request.confirmed = true;
	p.request.request_id = (char *)"r1";
	pthread_mutex_lock(&a.lock);
	a.refuses = true;
	pthread_mutex_unlock(&a.lock);
	assert_int_equal(place(f, &p, id, &err), -ENOSPC);
	assert_non_null(strstr(err.msg, "node web-3 refuses: no room here"));
	assert_string_equal(states(f), "");
	/* What was refused is no answer to the same request, not even after a restart. */
	assert_int_equal(place(f, &p, id, &err), -ENOSPC);
	whole_leave(&a);
	whole_stop(f);
	whole_start(f);
	whole_join(f, &a, "web-3");
	assert_int_equal(place(f, &p, id, &err), 0);
	assert_string_equal(states(f), "HH");
	whole_leave(&a);
}

struct asking {
	struct whole *f;
	const char *method;
	const void *request;
	struct stow_err err;
	int r;
	_Atomic int done;
};

static void *ask_in_thread(void *arg)
{
	struct asking *asking = arg;
	void *out = NULL;

	asking->r = whole_ask(asking->f, asking->method, asking->request, &out, &asking->err);
	stow_rpc_message_free(out);
	asking->done = 1;
	return NULL;
}

static pthread_t ask_later(struct asking *asking)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, ask_in_thread, asking), 0);
	return thread;
}

WITH_WHOLE(a_call_that_waits_for_a_silent_agent_times_out)
{
	struct placing p, same;
	struct asking asking = { .f = f, .method = "Place", .request = &p.request };
	struct stow_err err;
	pthread_t thread;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	pthread_mutex_lock(&a.lock);
	a.silent = true;
	pthread_mutex_unlock(&a.lock);
	WHOLE_SET(f, confirm_within, 60 * S);
	want(&p, 1, 4);
	p.request.confirmed = true;
	p.request.request_id = (char *)"r1";
	thread = ask_later(&asking);
	UNTIL(whole_number(&a, &a.reserves) == 1);
	same = p;
	same.list[0] = &same.pods[0];
	same.request.pods = same.list;
	assert_int_equal(place(f, &same, id, &err), -ESTALE); /* ABORTED, as all of them */
	assert_non_null(strstr(err.msg, "is in progress"));
	clock_advance(61 * S);
	pthread_join(thread, NULL);
	assert_int_equal(asking.r, -ETIMEDOUT);
	assert_non_null(strstr(asking.err.msg, "node web-3 did not confirm within 60000 ms"));
	assert_string_equal(states(f), "");
	whole_leave(&a);
}

WITH_WHOLE(a_fence_waits_or_revokes)
{
	PbFenceRequest in = PB_FENCE_REQUEST__INIT;
	struct asking asking = { .f = f, .method = "Fence", .request = &in };
	struct stow_err err;
	PbFenceResponse *out;
	struct placing p;
	pthread_t thread;
	struct whole_agent a;
	char id[17];

	whole_join(f, &a, "web-3");
	want(&p, 1, 4);
	p.pods[0].numa_nodes = (char *)"1";
	assert_int_equal(place(f, &p, id, NULL), 0);
	in.node = (char *)"web-3";
	in.numa_nodes = (char *)"1";
	thread = ask_later(&asking);
	UNTIL(whole_number(&a, &a.fences) == 1);
	assert_int_equal(place(f, &p, id, &err), -ENOSPC); /* it stands at once */
	assert_string_equal(states(f), "R");
	assert_int_equal(asking.done, 0);
	UNTIL(whole_number(&a, &a.reserves) == 1);
	report_leases(&a, true); /* a container took it: no longer waited for */
	pthread_join(thread, NULL);
	assert_int_equal(asking.r, 0);
	assert_string_equal(states(f), "B");

	want(&p, 2, 2);
	assert_int_equal(place(f, &p, id, NULL), 0); /* on the other one */
	in.numa_nodes = (char *)"0";
	in.revoke = true;
	assert_int_equal(whole_ask(f, "Fence", &in, (void **)&out, NULL), 0);
	assert_int_equal(out->revoked, 2);
	stow_rpc_message_free(out);
	assert_string_equal(states(f), "B");
	in.numa_nodes = (char *)"7";
	assert_int_equal(whole_ask(f, "Fence", &in, (void **)&out, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "node web-3 has no NUMA node 7"));
	whole_leave(&a);
}

/* A fence makes the confirmation impossible: the caller gets its error at once. */
WITH_WHOLE(a_fence_ends_what_is_not_confirmed)
{
	PbFenceRequest in = PB_FENCE_REQUEST__INIT;
	struct placing p;
	struct asking asking = { .f = f, .method = "Place", .request = &p.request };
	PbFenceResponse *out;
	pthread_t thread;
	struct whole_agent a;

	whole_join(f, &a, "web-3");
	pthread_mutex_lock(&a.lock);
	a.silent = true;
	pthread_mutex_unlock(&a.lock);
	WHOLE_SET(f, confirm_within, 3600 * S);
	want(&p, 1, 4);
	p.request.confirmed = true;
	thread = ask_later(&asking);
	UNTIL(whole_number(&a, &a.reserves) == 1);
	in.node = (char *)"web-3";
	in.numa_nodes = (char *)"0-1";
	in.revoke = true;
	assert_int_equal(whole_ask(f, "Fence", &in, (void **)&out, NULL), 0);
	stow_rpc_message_free(out);
	pthread_join(thread, NULL);
	assert_int_equal(asking.r, -ESTALE);
	assert_non_null(strstr(asking.err.msg, "web-3 was ended before it was confirmed"));
	whole_leave(&a);
}

WITH_WHOLE(machines_that_are_gone_are_forgotten)
{
	PbUnfenceRequest lift = PB_UNFENCE_REQUEST__INIT;
	PbFenceRequest in = PB_FENCE_REQUEST__INIT;
	struct whole_agent a, b, c;
	struct placing p;
	char id[17];
	void *out;

	whole_join(f, &a, "gone");
	whole_join(f, &b, "fenced");
	whole_join(f, &c, "promised");
	in.node = (char *)"fenced";
	in.numa_nodes = (char *)"1";
	assert_int_equal(whole_ask(f, "Fence", &in, &out, NULL), 0);
	stow_rpc_message_free(out);
	want(&p, 1, 4);
	p.pods[0].node = (char *)"promised";
	p.request.lifetime = 24 * 3600 * S;
	assert_int_equal(place(f, &p, id, NULL), 0);
	WHOLE_SET(f, forget_after, 3600 * S);
	clock_advance(4000 * S);
	usleep(150000);
	assert_int_equal(nodes(f), 3); /* their streams are open */
	whole_leave(&a);
	whole_leave(&b);
	whole_leave(&c);
	UNTIL(nodes(f) == 2);
	assert_string_equal(states(f), "R");
	/* The same after a restart, before any agent has connected. */
	whole_stop(f);
	whole_start(f);
	usleep(150000);
	assert_int_equal(nodes(f), 2);
	lift.node = (char *)"fenced";
	lift.numa_nodes = (char *)"1";
	assert_int_equal(whole_ask(f, "Unfence", &lift, &out, NULL), 0);
	stow_rpc_message_free(out);
	UNTIL(nodes(f) == 1);
	assert_int_equal(release(f, id), 1);
	UNTIL(nodes(f) == 0);
	whole_join(f, &a, "gone");
	assert_int_equal(nodes(f), 1);
	whole_leave(&a);
}

WITH_WHOLE(zero_never_forgets)
{
	struct whole_agent a;

	whole_join(f, &a, "web-3");
	WHOLE_SET(f, forget_after, 0);
	whole_leave(&a);
	clock_advance(100 * 24 * 3600 * S);
	usleep(150000);
	assert_int_equal(nodes(f), 1);
}

/* Report the leases that it holds, which expire in `left`, by a clock that differs from the
 * scheduler's. */
static void report_by_clock(struct whole_agent *a, int64_t ahead, uint64_t left)
{
	PbContainer containers[8], *list[8];
	char *ids[8];

	pthread_mutex_lock(&a->lock);
	a->report.message.time = stow_now().wall + (uint64_t)ahead;
	for (int i = 0; i < a->n_ids; i++) {
		pb_container__init(&containers[i]);
		containers[i].id = containers[i].reservation = ids[i] = a->ids[i];
		containers[i].state = PB_CONTAINER_STATE_LEASE;
		containers[i].expires = a->report.message.time + left;
		list[i] = &containers[i];
	}
	a->report.message.containers = list;
	a->report.message.reservations = ids;
	a->report.message.n_containers = a->report.message.n_reservations = (size_t)a->n_ids;
	a->report.message.full = true;
	whole_report(a);
	pthread_mutex_unlock(&a->lock);
}

static uint64_t lifetime(struct whole *f)
{
	PbListReservationsRequest in = PB_LIST_RESERVATIONS_REQUEST__INIT;
	PbListReservationsResponse *out;
	uint64_t left;

	assert_int_equal(whole_ask(f, "ListReservations", &in, (void **)&out, NULL), 0);
	assert_int_equal(out->n_reservations, 1);
	left = out->reservations[0]->lifetime;
	stow_rpc_message_free(out);
	return left;
}

WITH_WHOLE(a_clock_that_is_set_changes_no_lifetime)
{
	struct placing p;
	struct whole_agent a;
	char id[17], again[17];

	whole_join(f, &a, "web-3");
	want(&p, 1, 4);
	p.request.lifetime = 1000 * S;
	p.request.request_id = (char *)"one";
	assert_int_equal(place(f, &p, id, NULL), 0);
	for (int i = 0; i < 2; i++) {
		clock_set_wall((i ? -2 : 1) * 86400 * (int64_t)S);
		usleep(150000); /* a few looks of the scheduler's clock */
		assert_string_equal(states(f), "R");
		assert_true(lifetime(f) > 0 && lifetime(f) <= 1000 * S);
		assert_int_equal(place(f, &p, again, NULL), 0);
		assert_string_equal(again, id);
	}
	clock_advance(1001 * S);
	STATES(f, "");
	clock_set_wall(86400 * (int64_t)S);
	whole_leave(&a);
}

/* The store is read by a scheduler whose clock is a day ahead, or behind: the machine knows how
 * long its leases last. */
WITH_WHOLE(another_schedulers_clock)
{
	struct placing p;
	struct whole_agent a;
	char id[17], again[17];

	for (int i = 0; i < 2; i++) {
		int64_t ahead = (i ? -1 : 1) * 86400 * (int64_t)S;

		whole_join(f, &a, "web-3");
		want(&p, 1, 4);
		p.request.lifetime = 1000 * S;
		p.request.request_id = (char *)(i ? "two" : "one");
		assert_int_equal(place(f, &p, id, NULL), 0);
		UNTIL(whole_number(&a, &a.reserves) == 1);
		whole_leave(&a);
		whole_stop(f);
		clock_set_wall(ahead);
		whole_start(f);
		assert_string_equal(states(f), "R");
		assert_int_equal(place(f, &p, again, NULL), 0); /* repeated */
		assert_string_equal(again, id);
		whole_join(f, &a, "web-3");
		snprintf(a.ids[0], sizeof(a.ids[0]), "%s", id);
		a.n_ids = 1;
		report_by_clock(&a, -ahead, 500 * S);
		STATES(f, "H");
		clock_advance(400 * S);
		report_by_clock(&a, -ahead, 100 * S);
		usleep(150000);
		assert_string_equal(states(f), "H");
		clock_advance(101 * S);
		STATES(f, "");
		whole_leave(&a);
	}
}

/* Leases that no scheduler remembers last as long as their machine says, by whatever clock. */
WITH_WHOLE(unknown_leases_by_another_clock)
{
	struct whole_agent a;

	for (int i = 0; i < 2; i++) {
		int64_t ahead = (i ? -1 : 1) * 86400 * (int64_t)S;

		whole_join(f, &a, i ? "web-4" : "web-3");
		pthread_mutex_lock(&a.lock);
		whole_hold(&a, i ? "00000000000000aa" : "00000000000000bb");
		pthread_mutex_unlock(&a.lock);
		report_by_clock(&a, ahead, 100 * S);
		STATES(f, "H");
		usleep(150000);
		assert_string_equal(states(f), "H");
		clock_advance(101 * S);
		STATES(f, "");
		whole_leave(&a);
	}
}

/* Other reservations' times may end in any order; the first to run out is always on top. */
TEST(the_first_to_run_out_is_on_top)
{
	struct stow_reservation *made[200];
	struct stow_machine *machine;
	struct stow_fleet *fleet;
	struct report r;
	uint64_t start;

	assert_int_equal(stow_fleet_new(&fleet, NULL), 0);
	report_init(&r, "web-3", 1, 8, GI);
	machine = report_apply(fleet, &r, (struct stow_now){ 1, 1 });
	start = stow_now().wall + 3600 * S;
	for (uint64_t i = 0; i < 200; i++)
		made[i] = report_reserve(fleet, machine, i + 1, 0, 0, 0, false,
					 start + (i * 7919) % 1000 * S);
	for (size_t i = 0; i < 200; i += 3) {
		stow_reservation_end(fleet, made[i], (struct stow_now){ 1, 1 });
		made[i] = NULL;
	}
	while (fleet->n_expiring) {
		uint64_t least = UINT64_MAX;
		struct stow_reservation *top = fleet->expiring[1];

		for (size_t i = 0; i < 200; i++)
			if (made[i] && made[i]->until < least)
				least = made[i]->until;
		assert_int_equal(top->until, least);
		made[top->id - 1] = NULL;
		stow_reservation_end(fleet, top, (struct stow_now){ 1, 1 });
	}
	assert_int_equal(fleet->reservations.n, 0);
	assert_int_equal(fleet->ended.n, 200);
	stow_reservation_forget_ended(fleet, (struct stow_now){ 1, 1 + 120 * S });
	assert_int_equal(fleet->ended.n, 0);
	stow_fleet_free(fleet);
}
