// SPDX-License-Identifier: Apache-2.0
/* Reservations and answers in memory. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/cleanup.h"
#include "scheduler/fleet/fleet.h"

/* How long an id is remembered after its end: longer than a report is on its way. */
#define ENDED_KEPT (120 * STOW_SECOND)

struct stow_ended {
	struct stow_link link; /* by id */
	struct stow_ended *newer;
	uint64_t at; /* monotonic */
};

/* --- what runs out first ------------------------------------------------------------------------ */

static uint64_t expires(const struct stow_fleet *fleet, size_t i)
{
	return fleet->expiring[i]->message->expires;
}

static void put(struct stow_fleet *fleet, size_t i, struct stow_reservation *r)
{
	fleet->expiring[i] = r;
	r->heap = i;
}

/* Moves the entry to where it belongs, up or down. */
static void settle(struct stow_fleet *fleet, size_t i)
{
	struct stow_reservation *r = fleet->expiring[i];
	uint64_t at = r->message->expires;

	for (; i > 1 && expires(fleet, i / 2) > at; i /= 2)
		put(fleet, i, fleet->expiring[i / 2]);
	for (size_t child = 2 * i; child <= fleet->n_expiring; child = 2 * i) {
		if (child < fleet->n_expiring && expires(fleet, child + 1) < expires(fleet, child))
			child++;
		if (expires(fleet, child) >= at)
			break;
		put(fleet, i, fleet->expiring[child]);
		i = child;
	}
	put(fleet, i, r);
}

static int heap_add(struct stow_fleet *fleet, struct stow_reservation *r)
{
	if (fleet->n_expiring + 2 > fleet->expiring_room) {
		size_t room = fleet->expiring_room ? fleet->expiring_room * 2 : 256;
		void *more = reallocarray(fleet->expiring, room, sizeof(*fleet->expiring));

		if (!more)
			return -ENOMEM;
		fleet->expiring = more;
		fleet->expiring_room = room;
	}
	put(fleet, ++fleet->n_expiring, r);
	settle(fleet, fleet->n_expiring);
	return 0;
}

static void heap_remove(struct stow_fleet *fleet, struct stow_reservation *r)
{
	size_t at = r->heap;
	struct stow_reservation *last;

	if (!at)
		return;
	r->heap = 0;
	last = fleet->expiring[fleet->n_expiring--];
	if (last == r)
		return;
	put(fleet, at, last);
	settle(fleet, at);
}

/* --- reservations ------------------------------------------------------------------------------- */

struct stow_reservation *stow_reservation_find(const struct stow_fleet *fleet, uint64_t id)
{
	struct stow_link *link = stow_hash_find(&fleet->reservations, id);

	return link ? stow_container_of(link, struct stow_reservation, link) : NULL;
}

bool stow_reservation_ended(const struct stow_fleet *fleet, uint64_t id)
{
	return stow_hash_find(&fleet->ended, id) != NULL;
}

uint64_t stow_reservation_new_id(const struct stow_fleet *fleet)
{
	uint64_t id = 0;

	/* Unguessable, too: who knows the id of a reservation may use it. */
	while (!id || stow_reservation_find(fleet, id) || stow_reservation_ended(fleet, id))
		while (getrandom(&id, sizeof(id), 0) != sizeof(id))
			;
	return id;
}

PbReservation *stow_reservation_copy(const PbReservation *message)
{
	size_t len = pb_reservation__get_packed_size(message);
	_cleanup_free_ uint8_t *bytes = malloc(len ? len : 1);

	if (!bytes)
		return NULL;
	pb_reservation__pack(message, bytes);
	return pb_reservation__unpack(NULL, len, bytes);
}

char *stow_reservation_annotation(uint64_t id, const char *numa_nodes, const char *machine)
{
	char *text = NULL;

	return asprintf(&text, "%016" PRIx64 ":%s@%s", id, numa_nodes, machine) < 0 ? NULL : text;
}

static int add(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
	       PbReservation *message, struct stow_reservation **ret_reservation,
	       struct stow_err *err)
{
	struct stow_reservation *r = calloc(1, sizeof(*r));

	if (r)
		r->numa = calloc(1, sizeof(*r->numa));
	if (!r || !r->numa || stow_hash_add(&fleet->reservations, &r->link, id) < 0) {
		if (r)
			free(r->numa);
		free(r);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	r->message = message;
	/* What is bound stays until its container ends. */
	if (message->expires && message->state != PB_RESERVATION_STATE_BOUND &&
	    heap_add(fleet, r) < 0) {
		stow_hash_remove(&fleet->reservations, &r->link);
		free(r->numa);
		free(r);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	r->id = id;
	r->machine = machine;
	r->exclusive = message->pod && message->pod->cpu_mode == PB_CPU_MODE_EXCLUSIVE;
	for (size_t i = 0; i < message->n_parts; i++)
		stow_idset_add(r->numa, (int)message->parts[i]->numa_node);
	r->bytes = pb_reservation__get_packed_size(message);
	r->next = machine->reservations;
	if (r->next)
		r->next->at = &r->next;
	r->at = &machine->reservations;
	machine->reservations = r;
	machine->n_reservations++;
	machine->reservation_bytes += r->bytes;
	*ret_reservation = r;
	return 0;
}

int stow_reservation_add(struct stow_fleet *fleet, struct stow_machine *machine, uint64_t id,
			 PbReservation *message, struct stow_reservation **ret_reservation,
			 struct stow_err *err)
{
	int r = add(fleet, machine, id, message, ret_reservation, err);

	if (r == 0)
		stow_fleet_refresh(fleet, machine);
	return r;
}

bool stow_machine_full(const struct stow_machine *machine)
{
	return machine->n_reservations >= STOW_RESERVATIONS_MAX ||
	       machine->reservation_bytes >= STOW_RESERVATION_BYTES_MAX;
}

void stow_reservation_expires_no_more(struct stow_fleet *fleet, struct stow_reservation *r)
{
	heap_remove(fleet, r);
}

static void unlink_reservation(struct stow_reservation *r)
{
	*r->at = r->next;
	if (r->next)
		r->next->at = r->at;
	r->machine->n_reservations--;
	r->machine->reservation_bytes -= r->bytes;
}

static void forget_one(struct stow_fleet *fleet)
{
	struct stow_ended *ended = fleet->first_ended;

	fleet->first_ended = ended->newer;
	if (!ended->newer)
		fleet->last_ended = NULL;
	stow_hash_remove(&fleet->ended, &ended->link);
	free(ended);
}

/* Without memory it is forgotten at once: at worst a report brings it back for a while. */
static void remember(struct stow_fleet *fleet, uint64_t id, struct stow_now now)
{
	struct stow_ended *ended = calloc(1, sizeof(*ended));

	if (!ended)
		return;
	ended->at = now.mono;
	if (stow_hash_add(&fleet->ended, &ended->link, id) < 0) {
		free(ended);
		return;
	}
	if (fleet->last_ended)
		fleet->last_ended->newer = ended;
	else
		fleet->first_ended = ended;
	fleet->last_ended = ended;
	if (fleet->ended.n > STOW_ENDED_MAX)
		forget_one(fleet);
}

void stow_reservation_take_out(struct stow_fleet *fleet, struct stow_reservation *reservation,
			       bool known, struct stow_now now)
{
	stow_hash_remove(&fleet->reservations, &reservation->link);
	heap_remove(fleet, reservation);
	unlink_reservation(reservation);
	if (known)
		remember(fleet, reservation->id, now);
	pb_reservation__free_unpacked(reservation->message, NULL);
	free(reservation->request_id);
	free(reservation->numa);
	free(reservation);
}

void stow_reservation_end(struct stow_fleet *fleet, struct stow_reservation *reservation,
			  struct stow_now now)
{
	struct stow_machine *machine = reservation->machine;

	stow_reservation_take_out(fleet, reservation, true, now);
	stow_fleet_refresh(fleet, machine);
}

void stow_reservation_forget_ended(struct stow_fleet *fleet, struct stow_now now)
{
	for (int i = 0; i < STOW_FORGET_MOST && fleet->first_ended; i++) {
		if (stow_elapsed(fleet->first_ended->at, now.mono) < ENDED_KEPT)
			return;
		forget_one(fleet);
	}
}

/* --- what a report says about them ---------------------------------------------------------------
 */

static int ascending(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The first of several: a container, before the lease that it took. */
static const struct stow_container *container_with(const struct stow_machine *m, uint64_t id)
{
	size_t low = 0, high = m->n_has;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (m->has[middle].reservation < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low < m->n_has && m->has[low].reservation == id
		       ? &m->containers[m->has[low].container]
		       : NULL;
}

/* Replaces a string of an unpacked message. */
static void set_text(char **text, const char *value)
{
	char *copy = value[0] ? strdup(value) : NULL;

	if (*text && (*text)[0])
		free(*text);
	*text = copy ? copy : (char *)protobuf_c_empty_string;
}

/* State and container as the report has them. Returns whether they differ from before. */
static bool observe(struct stow_fleet *fleet, struct stow_reservation *r, bool listed)
{
	const struct stow_container *c = listed ? container_with(r->machine, r->id) : NULL;
	PbReservationState state = !listed	    ? PB_RESERVATION_STATE_RESERVED
				   : c && !c->lease ? PB_RESERVATION_STATE_BOUND
						    : PB_RESERVATION_STATE_HELD;
	const char *container = state == PB_RESERVATION_STATE_BOUND ? c->id : "";

	r->counted = listed;
	if (r->message->state == state && strcmp(r->message->container, container) == 0)
		return false;
	r->message->state = state;
	set_text(&r->message->container, container);
	if (state == PB_RESERVATION_STATE_BOUND)
		heap_remove(fleet, r);
	return true;
}

/* A reservation that this scheduler does not know: another one gave it, with a store of its own.
 * What it takes is in the report's numbers already. */
static int learn(struct stow_fleet *fleet, struct stow_machine *m, uint64_t id,
		 struct stow_reservation **ret, struct stow_err *err)
{
	const struct stow_container *c = container_with(m, id);
	_cleanup_free_ char *annotation = NULL;
	char *numa = (char *)protobuf_c_empty_string, text[17];
	PbReservation message = PB_RESERVATION__INIT, *copy;
	PbPodRequest pod = PB_POD_REQUEST__INIT;
	PbNodeReport *report = NULL;
	int r = -ENOMEM;

	if (c)
		report = pb_node_report__unpack(NULL, c->wire.len, c->wire.bytes);
	if (report && report->n_containers) {
		PbContainer *from = report->containers[0];

		pod.name = from->pod[0] ? from->pod : from->name;
		pod.namespace_ = from->namespace_;
		pod.cpu_mode = from->exclusive ? PB_CPU_MODE_EXCLUSIVE : PB_CPU_MODE_SHARED;
		message.parts = from->parts;
		message.n_parts = from->n_parts;
		message.expires = from->expires;
		message.reason = from->reason;
		numa = from->numa_nodes;
	}
	annotation = stow_reservation_annotation(id, numa, m->name);
	message.id = (char *)stow_id_format(id, text);
	message.node = m->name;
	message.numa_nodes = numa;
	message.pod = &pod;
	message.annotation = annotation;
	copy = annotation ? stow_reservation_copy(&message) : NULL;
	if (copy) {
		r = add(fleet, m, id, copy, ret, err);
		if (r < 0)
			pb_reservation__free_unpacked(copy, NULL);
		else
			(*ret)->learnt = true;
	}
	pb_node_report__free_unpacked(report, NULL);
	return r < 0 ? stow_err_set(err, ENOMEM, "out of memory") : 0;
}

/* How many ids that are not known here may be looked into now. */
static void refill(struct stow_machine *m, struct stow_now now)
{
	uint64_t more = stow_elapsed(m->learnt, now.mono) / (STOW_SECOND / STOW_LEARN_MAX);

	if (!more)
		return;
	m->learnt = now.mono;
	m->learns = more < STOW_LEARN_MAX - m->learns ? m->learns + (uint32_t)more : STOW_LEARN_MAX;
}

static int take_unknown(struct stow_fleet *fleet, struct stow_machine *m, uint64_t id,
			struct stow_now now, struct stow_reconciled *ret, struct stow_err *err)
{
	const struct stow_container *c = container_with(m, id);
	bool lease = !c || c->lease;
	struct stow_reservation *r;
	int ret_code;

	if (!m->learns) {
		ret->n_left++;
		return 0;
	}
	m->learns--;

	/* Its end is on the way to the machine, or got lost: said again. A container that took it
	 * in time has it all the same. */
	if (lease &&
	    (stow_reservation_ended(fleet, id) || (c && c->expires && c->expires <= now.wall))) {
		ret->cancel[ret->n_cancel++] = id;
		return 0;
	}
	if (stow_machine_full(m)) {
		ret->n_left++;
		return 0;
	}
	ret_code = learn(fleet, m, id, &r, err);
	if (ret_code < 0)
		return ret_code;
	observe(fleet, r, true);
	ret->changed[ret->n_changed++] = r;
	return 0;
}

int stow_fleet_reconcile(struct stow_fleet *fleet, struct stow_machine *machine,
			 const uint64_t *listed, size_t n_listed, struct stow_now now,
			 struct stow_reconciled *ret, struct stow_err *err)
{
	size_t most = machine->n_reservations + n_listed + 1;
	int r = 0;

	*ret = (struct stow_reconciled){
		.changed = calloc(most, sizeof(*ret->changed)),
		.over = calloc(most, sizeof(*ret->over)),
		.cancel = calloc(most, sizeof(*ret->cancel)),
	};
	if (!ret->changed || !ret->over || !ret->cancel) {
		stow_reconciled_done(ret);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (struct stow_reservation *at = machine->reservations; at; at = at->next) {
		bool is_listed =
			n_listed && bsearch(&at->id, listed, n_listed, sizeof(*listed), ascending);
		bool was_bound = at->message->state == PB_RESERVATION_STATE_BOUND;

		if (!is_listed && (was_bound || at->learnt))
			ret->over[ret->n_over++] = at;
		else if (observe(fleet, at, is_listed))
			ret->changed[ret->n_changed++] = at;
	}
	refill(machine, now);
	for (size_t i = 0; i < n_listed && r == 0; i++)
		if (!stow_reservation_find(fleet, listed[i]))
			r = take_unknown(fleet, machine, listed[i], now, ret, err);
	stow_fleet_refresh(fleet, machine);
	if (r < 0)
		stow_reconciled_done(ret);
	return r;
}

void stow_reconciled_done(struct stow_reconciled *r)
{
	free(r->changed);
	free(r->over);
	free(r->cancel);
	*r = (struct stow_reconciled){ 0 };
}

/* --- answers -------------------------------------------------------------------------------------
 */

struct stow_answer *stow_answer_find(const struct stow_fleet *fleet, const char *request_id)
{
	for (struct stow_link *link = stow_hash_find(&fleet->answers, stow_hash_string(request_id));
	     link; link = stow_hash_next(link)) {
		struct stow_answer *a = stow_container_of(link, struct stow_answer, link);

		if (strcmp(a->request_id, request_id) == 0)
			return a;
	}
	return NULL;
}

static void unqueue(struct stow_fleet *fleet, struct stow_answer *a)
{
	if (a->older)
		a->older->newer = a->newer;
	else
		fleet->oldest_answer = a->newer;
	if (a->newer)
		a->newer->older = a->older;
	else
		fleet->newest_answer = a->older;
}

/* One that is being worked on is not forgotten. */
static void make_room(struct stow_fleet *fleet)
{
	struct stow_answer *a = fleet->oldest_answer, *newer;

	for (; a &&
	       (fleet->answers.n > STOW_ANSWERS_MAX || fleet->answer_bytes > STOW_ANSWER_BYTES_MAX);
	     a = newer) {
		newer = a->newer;
		if (!a->pending && newer)
			stow_answer_remove(fleet, a);
	}
}

int stow_answer_add(struct stow_fleet *fleet, const char *request_id, uint64_t digest,
		    struct stow_answer **ret_answer, struct stow_err *err)
{
	struct stow_answer *a = calloc(1, sizeof(*a));

	if (a)
		a->request_id = strdup(request_id);
	if (!a || !a->request_id ||
	    stow_hash_add(&fleet->answers, &a->link, stow_hash_string(request_id)) < 0) {
		if (a)
			free(a->request_id);
		free(a);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	a->digest = digest;
	a->older = fleet->newest_answer;
	if (a->older)
		a->older->newer = a;
	else
		fleet->oldest_answer = a;
	fleet->newest_answer = a;
	make_room(fleet);
	*ret_answer = a;
	return 0;
}

int stow_answer_set(struct stow_fleet *fleet, struct stow_answer *answer, const void *bytes,
		    size_t len)
{
	answer->response.bytes = malloc(len + 1);
	if (!answer->response.bytes)
		return -ENOMEM;
	if (len) /* no bytes are NULL */
		memcpy(answer->response.bytes, bytes, len);
	answer->response.len = len;
	fleet->answer_bytes += len;
	return 0;
}

void stow_answer_remove(struct stow_fleet *fleet, struct stow_answer *answer)
{
	stow_hash_remove(&fleet->answers, &answer->link);
	unqueue(fleet, answer);
	fleet->answer_bytes -= answer->response.len;
	stow_wire_done(&answer->response);
	free(answer->request_id);
	free(answer);
}

void stow_answer_forget(struct stow_fleet *fleet, struct stow_now now)
{
	struct stow_answer *a = fleet->oldest_answer, *newer;

	for (int i = 0; a && i < STOW_FORGET_MOST; i++, a = newer) {
		newer = a->newer;
		if (!a->pending && a->expires >= now.wall)
			return; /* so have the newer ones */
		if (!a->pending)
			stow_answer_remove(fleet, a);
	}
}
