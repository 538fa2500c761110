/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/publisher.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "agent/delta.h"
#include "base/clock.h"
#include "numastow/v1/scheduler.pb-c.h"

#define PIECE_BYTES (1U << 20) /* of containers per message; messages are limited to 4 MiB */
#define EVENT_KINDS 32
#define FOLLOWERS   8

struct subscriber {
	LIST_ENTRY(subscriber) of_list;
	struct stow_rpc_call *call; /* a reference */
	uint64_t sequence;
	uint64_t seen; /* the publisher's `changes` */
	bool scheduler, private;
};

LIST_HEAD(subscribers, subscriber);

struct agent_publisher {
	char *node, *boot_id;

	pthread_mutex_t lock; /* for all fields below */
	char *failure_domain;
	PbNodeReport *current;
	uint64_t changes; /* published so far */
	/* A local subscriber whose last message is not written yet is in `busy`, so that a change
	 * costs nothing for it; then it gets a full report if it has missed any. */
	struct subscribers subscribers, busy;
	struct {
		void (*changed)(void *ctx);
		void *ctx;
	} followers[FOLLOWERS];
	PbAgentCounters counters;
	enum stow_changes mode;
	bool connected;
	char *error;
	uint64_t looked;
	struct agent_publisher_event events[EVENT_KINDS];
	size_t n_events;
};

/* --- sending, with the lock held ------------------------------------------ */

/* Set the publisher's fields of a report. */
static void sign(const struct agent_publisher *publisher, PbNodeReport *report)
{
	report->name = publisher->node;
	report->time = stow_clock_wall();
	report->mode = publisher->mode == STOW_CHANGES_MADE	  ? PB_MODE_ENFORCE
		       : publisher->mode == STOW_CHANGES_OBSERVED ? PB_MODE_OBSERVE
								  : PB_MODE_DISABLED;
	report->counters = (PbAgentCounters *)(uintptr_t)&publisher->counters;
	if (!report->full)
		return;
	report->version = (char *)(uintptr_t)STOW_VERSION;
	report->boot_id = publisher->boot_id;
	report->failure_domain = publisher->failure_domain;
}

/* Return how many of the containers from `first` on fit into one message. */
static size_t piece(const PbNodeReport *report, size_t first)
{
	size_t bytes = 0, n = 0;

	while (first + n < report->n_containers) {
		bytes += pb_container__get_packed_size(report->containers[first + n]) + 8;
		if (n && bytes > PIECE_BYTES)
			break;
		n++;
	}
	return n;
}

static void send_one(struct subscriber *to, PbNodeReport *report)
{
	PbReportRequest wrapped = PB_REPORT_REQUEST__INIT;
	PbNodeReport mine = *report;

	mine.sequence = ++to->sequence;
	if (to->private) {
		mine.n_containers = mine.n_gone = mine.n_reservations = mine.n_drains = 0;
		mine.containers = NULL;
		mine.gone = mine.reservations = mine.drains = NULL;
	}
	wrapped.kind_case = PB_REPORT_REQUEST__KIND_REPORT;
	wrapped.report = &mine;
	/* If sending fails, the end of the stream is reported separately. */
	if (to->scheduler)
		stow_rpc_send(to->call, &wrapped);
	else
		stow_rpc_send(to->call, &mine);
}

/* Send a report. Containers that do not fit into one message follow as changes. */
static void send_to(struct subscriber *to, const PbNodeReport *report)
{
	PbNodeReport part = *report;
	size_t done = piece(report, 0);

	part.n_containers = done;
	send_one(to, &part);
	part.full = false;
	part.n_numa_nodes = part.n_gone = 0;
	for (size_t n; done < report->n_containers; done += n) {
		if (to->private)
			return;
		n = piece(report, done);
		part.containers = report->containers + done;
		part.n_containers = n;
		send_one(to, &part);
	}
}

static void send_whole(struct agent_publisher *publisher, struct subscriber *to)
{
	PbNodeReport whole;

	agent_publisher_whole(publisher, &whole);
	send_to(to, &whole);
}

/* Move a subscriber, after something was sent or written, to the list where it belongs.
 * agent_publisher_written() takes the lock, so it cannot run between the query and the move. */
static void settle(struct agent_publisher *publisher, struct subscriber *to)
{
	bool busy = !to->scheduler && !stow_rpc_is_written(to->call);

	to->seen = publisher->changes;
	LIST_REMOVE(to, of_list);
	LIST_INSERT_HEAD(busy ? &publisher->busy : &publisher->subscribers, to, of_list);
}

/* Send a change, or (NULL) a full report, to all who can take it. */
static void send_all(struct agent_publisher *publisher, const PbNodeReport *delta)
{
	struct subscriber *to = LIST_FIRST(&publisher->subscribers), *next;

	publisher->changes++;
	for (; to; to = next) {
		next = LIST_NEXT(to, of_list);
		if (delta)
			send_to(to, delta);
		else
			send_whole(publisher, to);
		settle(publisher, to);
	}
}

/* --- subscribers ---------------------------------------------------------- */

int agent_publisher_subscribe(struct agent_publisher *publisher, struct stow_rpc_call *call,
			      bool scheduler, bool private)
{
	struct subscriber *to = calloc(1, sizeof(*to));

	if (!to)
		return -ENOMEM;
	to->call = stow_rpc_ref(call);
	to->scheduler = scheduler;
	to->private = private;
	if (!scheduler)
		stow_rpc_set_data(call, to);
	pthread_mutex_lock(&publisher->lock);
	LIST_INSERT_HEAD(&publisher->subscribers, to, of_list);
	send_whole(publisher, to);
	settle(publisher, to);
	pthread_mutex_unlock(&publisher->lock);
	return 0;
}

void agent_publisher_written(struct agent_publisher *publisher, struct stow_rpc_call *call)
{
	struct subscriber *to = stow_rpc_data(call);

	pthread_mutex_lock(&publisher->lock);
	if (to->seen != publisher->changes)
		send_whole(publisher, to);
	settle(publisher, to);
	pthread_mutex_unlock(&publisher->lock);
}

/* Find a subscriber. With the lock. */
static struct subscriber *find(const struct agent_publisher *publisher,
			       const struct stow_rpc_call *call)
{
	struct subscriber *to;

	LIST_FOREACH(to, &publisher->subscribers, of_list)
		if (to->call == call)
			return to;
	LIST_FOREACH(to, &publisher->busy, of_list)
		if (to->call == call)
			return to;
	return NULL;
}

void agent_publisher_unsubscribe(struct agent_publisher *publisher,
				 const struct stow_rpc_call *call)
{
	struct subscriber *gone;

	pthread_mutex_lock(&publisher->lock);
	gone = find(publisher, call);
	if (gone)
		LIST_REMOVE(gone, of_list);
	pthread_mutex_unlock(&publisher->lock);
	if (gone)
		stow_rpc_unref(gone->call);
	free(gone);
}

void agent_publisher_repeat(struct agent_publisher *publisher, const struct stow_rpc_call *call)
{
	struct subscriber *to;

	pthread_mutex_lock(&publisher->lock);
	to = find(publisher, call);
	if (to)
		send_whole(publisher, to);
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_follow(struct agent_publisher *publisher, void (*changed)(void *ctx),
			    void *ctx)
{
	size_t i = 0;

	pthread_mutex_lock(&publisher->lock);
	while (i < FOLLOWERS && publisher->followers[i].changed)
		i++;
	assert(i < FOLLOWERS);
	publisher->followers[i].changed = changed;
	publisher->followers[i].ctx = ctx;
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_unfollow(struct agent_publisher *publisher, const void *ctx)
{
	pthread_mutex_lock(&publisher->lock);
	for (size_t i = 0; i < FOLLOWERS; i++)
		if (publisher->followers[i].ctx == ctx)
			publisher->followers[i].changed = NULL;
	pthread_mutex_unlock(&publisher->lock);
}

static void notify_followers(const struct agent_publisher *publisher)
{
	for (size_t i = 0; i < FOLLOWERS; i++)
		if (publisher->followers[i].changed)
			publisher->followers[i].changed(publisher->followers[i].ctx);
}

/* --- publishing ----------------------------------------------------------- */

void agent_publisher_publish(struct agent_publisher *publisher, PbNodeReport *report)
{
	PbNodeReport delta;

	pthread_mutex_lock(&publisher->lock);
	free(publisher->error);
	publisher->error = NULL;
	publisher->looked = stow_clock_wall();
	if (publisher->current) {
		if (agent_delta(publisher->current, report, &delta)) {
			publisher->counters.reports++;
			sign(publisher, &delta);
			send_all(publisher, &delta);
		}
		/* The delta borrows from both reports. */
		agent_delta_done(&delta);
		stow_rpc_message_free(publisher->current);
	}
	publisher->current = report;
	notify_followers(publisher);
	pthread_mutex_unlock(&publisher->lock);
}

bool agent_publisher_fail(struct agent_publisher *publisher, const struct stow_err *why)
{
	bool news;

	pthread_mutex_lock(&publisher->lock);
	news = !publisher->error || strcmp(publisher->error, why->msg) != 0;
	free(publisher->error);
	publisher->error = strdup(why->msg);
	pthread_mutex_unlock(&publisher->lock);
	return news;
}

void agent_publisher_set_mode(struct agent_publisher *publisher, enum stow_changes mode)
{
	pthread_mutex_lock(&publisher->lock);
	if (publisher->mode != mode) {
		publisher->mode = mode;
		send_all(publisher, NULL);
		notify_followers(publisher);
	}
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_set_connected(struct agent_publisher *publisher, bool connected)
{
	pthread_mutex_lock(&publisher->lock);
	publisher->connected = connected;
	pthread_mutex_unlock(&publisher->lock);
}

/* --- counters ------------------------------------------------------------- */

static uint64_t *counter_of(PbAgentCounters *counters, enum agent_publisher_counter counter)
{
	uint64_t *const all[] = {
		[AGENT_COUNT_ADOPTED] = &counters->adopted,
		[AGENT_COUNT_RESTORED] = &counters->restored,
		[AGENT_COUNT_REFUSED] = &counters->refused,
		[AGENT_COUNT_PROBLEMS] = &counters->problems,
		[AGENT_COUNT_RECLAIMED] = &counters->reclaimed,
		[AGENT_COUNT_RECLAIMED_HUGEPAGES] = &counters->reclaimed_hugepages,
		[AGENT_COUNT_REPINS] = &counters->repins,
		[AGENT_COUNT_DRAINS] = &counters->drains,
		[AGENT_COUNT_RECONNECTS] = &counters->reconnects,
	};

	return all[counter];
}

void agent_publisher_count(struct agent_publisher *publisher, enum agent_publisher_counter counter,
			   uint64_t n)
{
	pthread_mutex_lock(&publisher->lock);
	*counter_of(&publisher->counters, counter) += n;
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_set_kubelet_managed(struct agent_publisher *publisher, uint64_t n)
{
	pthread_mutex_lock(&publisher->lock);
	publisher->counters.foreign = n;
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_count_event(struct agent_publisher *publisher, const char *kind)
{
	struct agent_publisher_event *events = publisher->events;
	size_t i = 0;

	pthread_mutex_lock(&publisher->lock);
	while (i < publisher->n_events && strcmp(events[i].kind, kind) != 0)
		i++;
	if (i == publisher->n_events && i < EVENT_KINDS) {
		snprintf(events[i].kind, sizeof(events[i].kind), "%s", kind);
		publisher->n_events++;
	}
	if (i < publisher->n_events)
		events[i].n++;
	pthread_mutex_unlock(&publisher->lock);
}

/* --- reading -------------------------------------------------------------- */

void agent_publisher_borrow(struct agent_publisher *publisher, struct agent_published *ret)
{
	pthread_mutex_lock(&publisher->lock);
	*ret = (struct agent_published){
		.report = publisher->current,
		.counters = &publisher->counters,
		.events = publisher->events,
		.n_events = publisher->n_events,
		.mode = publisher->mode,
		.connected = publisher->connected,
		.error = publisher->error,
		.looked = publisher->looked,
	};
}

void agent_publisher_return(struct agent_publisher *publisher)
{
	pthread_mutex_unlock(&publisher->lock);
}

void agent_publisher_whole(const struct agent_publisher *publisher, PbNodeReport *ret)
{
	*ret = *publisher->current;
	ret->full = true;
	sign(publisher, ret);
}

size_t agent_publisher_fit(const PbNodeReport *report)
{
	return piece(report, 0);
}

/* --- start and end -------------------------------------------------------- */

int agent_publisher_set_failure_domain(struct agent_publisher *publisher, const char *name,
				       struct stow_err *err)
{
	char *copy = strdup(name);

	if (!copy)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_lock(&publisher->lock);
	free(publisher->failure_domain);
	publisher->failure_domain = copy;
	pthread_mutex_unlock(&publisher->lock);
	return 0;
}

int agent_publisher_new(const struct agent_publisher_identity *identity,
			struct agent_publisher **ret, struct stow_err *err)
{
	struct agent_publisher *publisher = calloc(1, sizeof(*publisher));

	if (!publisher)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&publisher->lock, NULL);
	pb_agent_counters__init(&publisher->counters);
	publisher->node = strdup(identity->node);
	publisher->boot_id = strdup(identity->boot_id);
	publisher->failure_domain = strdup(identity->failure_domain);
	if (!publisher->node || !publisher->boot_id || !publisher->failure_domain) {
		agent_publisher_free(publisher);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = publisher;
	return 0;
}

static void free_all(struct subscribers *list)
{
	struct subscriber *to;

	while ((to = LIST_FIRST(list))) {
		LIST_REMOVE(to, of_list);
		stow_rpc_unref(to->call);
		free(to);
	}
}

void agent_publisher_free(struct agent_publisher *publisher)
{
	if (!publisher)
		return;
	free_all(&publisher->subscribers);
	free_all(&publisher->busy);
	stow_rpc_message_free(publisher->current);
	free(publisher->error);
	free(publisher->failure_domain);
	free(publisher->boot_id);
	free(publisher->node);
	pthread_mutex_destroy(&publisher->lock);
	free(publisher);
}
