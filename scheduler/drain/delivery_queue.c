// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/delivery_queue.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/random.h"
#include "rpc/log.h"
#include "scheduler/drain/webhook_client.h"
#include "scheduler/fleet/ids.h"
#include "scheduler/fleet/now.h"

#define HTTP_OK(code) ((code) >= 200 && (code) < 300)
#define HTTP_GONE     410

/* The delivery of one event to one URL. */
struct scheduler_delivery {
	struct scheduler_delivery *next;
	size_t to; /* the URL's index */
	uint64_t seq, drain;
	char *event, *body;
	size_t len;
	uint64_t expires; /* monotonic: a failure after it is the last one */
	uint64_t due;	  /* monotonic */
	uint64_t attempts;
	bool first; /* no earlier delivery of its drain is pending */
	bool withdrawn, held;
};

struct receiver {
	struct scheduler_delivery_queue *queue;
	const char *url;
	char shown[256]; /* without user, password and query, which may be secret */
	struct scheduler_delivery *deliveries; /* by ascending number */
	uint64_t n;
	pthread_t thread;
	bool runs;
	pthread_cond_t posted;
};

struct scheduler_delivery_queue {
	const struct scheduler_config *config;
	struct stow_store *store;
	pthread_mutex_t lock;
	struct receiver *receivers;
	size_t n;
	uint64_t seq;			    /* the last number in use */
	struct scheduler_delivery *orphans; /* until the start */
	atomic_bool stopping;
	struct scheduler_webhook_client delivery;
	atomic_ulong delivered, failed, given_up;
};

/* --- the queue of a URL --------------------------------------------------- */

static void delivery_free(struct scheduler_delivery *delivery)
{
	free(delivery->event);
	free(delivery->body);
	free(delivery);
}

void scheduler_delivery_queue_drop(struct scheduler_delivery *deliveries)
{
	while (deliveries) {
		struct scheduler_delivery *delivery = deliveries;

		deliveries = delivery->next;
		delivery_free(delivery);
	}
}

/* With the lock held, like all functions below. */
static void enqueue(struct receiver *to, struct scheduler_delivery *delivery)
{
	struct scheduler_delivery **at = &to->deliveries;

	delivery->first = true;
	for (; *at; at = &(*at)->next)
		if ((*at)->drain == delivery->drain)
			delivery->first = false;
	delivery->next = NULL;
	*at = delivery;
	to->n++;
	pthread_cond_signal(&to->posted);
}

/* Remove a delivery; the next one of its drain becomes its first. */
static void dequeue(struct receiver *to, struct scheduler_delivery *delivery)
{
	struct scheduler_delivery **at = &to->deliveries;

	while (*at != delivery)
		at = &(*at)->next;
	*at = delivery->next;
	to->n--;
	for (struct scheduler_delivery *l = *at; l; l = l->next)
		if (l->drain == delivery->drain) {
			l->first = true;
			return;
		}
}

/* Drop withdrawn deliveries. Their rows are deleted, or will be. */
static void drop_withdrawn(struct receiver *to)
{
	struct scheduler_delivery **at = &to->deliveries, *delivery;
	char id[17];

	while ((delivery = *at)) {
		if (!delivery->withdrawn) {
			at = &delivery->next;
			continue;
		}
		stow_log(STOW_LOG_NOTICE, "a webhook event was withdrawn: it is no longer true",
			 stow_text("url", to->shown),
			 stow_text("drain", stow_id_format(delivery->drain, id)),
			 stow_text("event", delivery->event));
		dequeue(to, delivery);
		delivery_free(delivery);
	}
}

static struct scheduler_delivery *next_due(const struct receiver *to)
{
	struct scheduler_delivery *found = NULL;

	for (struct scheduler_delivery *l = to->deliveries; l; l = l->next)
		if (l->first && !l->held && (!found || l->due < found->due))
			found = l;
	return found;
}

static void delete_row(struct scheduler_delivery_queue *queue, uint64_t seq)
{
	struct stow_writes *writes = stow_writes_new();

	if (stow_writes_no_webhook(writes, seq) == 0)
		stow_store_commit(queue->store, writes, NULL, NULL);
	else
		stow_writes_free(writes); /* it is delivered again after a restart */
}

static void postpone(struct receiver *to, struct scheduler_delivery *delivery, struct stow_now now)
{
	struct scheduler_delivery_queue *queue = to->queue;
	struct stow_writes *writes = stow_writes_new();
	uint64_t pause;

	delivery->attempts++;
	pause = scheduler_event_pause(queue->config->webhook_retry, delivery->attempts,
				      stow_random_soon());
	delivery->due = now.mono + pause;
	if (stow_writes_webhook_later(writes, delivery->seq, now.wall + pause,
				      delivery->attempts) == 0)
		stow_store_commit(queue->store, writes, NULL, NULL);
	else
		stow_writes_free(writes);
}

static void settle(struct receiver *to, struct scheduler_delivery *delivery, long status,
		   const struct stow_err *why)
{
	struct scheduler_delivery_queue *queue = to->queue;
	struct stow_now now = stow_now();
	bool expired = now.mono >= delivery->expires;
	char id[17];

	stow_id_format(delivery->drain, id);
	if (HTTP_OK(status)) {
		atomic_fetch_add(&queue->delivered, 1);
		stow_log(STOW_LOG_INFO, "a webhook event was delivered",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", delivery->event));
	} else if (status == HTTP_GONE || expired) {
		atomic_fetch_add(&queue->failed, 1);
		atomic_fetch_add(&queue->given_up, 1);
		stow_log(STOW_LOG_ERR, "a webhook event was dropped: too many tries",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", delivery->event),
			 stow_number("tries", delivery->attempts + 1), stow_why(why));
	} else {
		atomic_fetch_add(&queue->failed, 1);
		postpone(to, delivery, now);
		stow_log(STOW_LOG_WARNING, "a webhook event could not be delivered",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", delivery->event),
			 stow_number("tries", delivery->attempts), stow_why(why));
		return;
	}
	delete_row(queue, delivery->seq);
	dequeue(to, delivery);
	delivery_free(delivery);
}

/* Wait until a delivery is due, or was posted; at most half a second. */
static void wait_for(struct receiver *to, const struct scheduler_delivery *delivery)
{
	uint64_t now = stow_now().mono, wait = STOW_SECOND / 2;
	struct timespec until;

	if (!delivery) {
		pthread_cond_wait(&to->posted, &to->queue->lock);
		return;
	}
	if (delivery->due < now + wait)
		wait = stow_clock_elapsed(now, delivery->due);
	until = stow_clock_in(wait);
	(void)pthread_cond_timedwait(&to->posted, &to->queue->lock, &until);
}

static void *run(void *arg)
{
	struct receiver *to = arg;
	struct scheduler_delivery_queue *queue = to->queue;

	pthread_mutex_lock(&queue->lock);
	while (!atomic_load(&queue->stopping)) {
		struct scheduler_delivery *delivery;
		struct scheduler_try it;
		struct stow_err err;
		long status;

		drop_withdrawn(to);
		delivery = next_due(to);
		if (!delivery || delivery->due > stow_now().mono) {
			wait_for(to, delivery);
			continue;
		}
		it = (struct scheduler_try){ .url = to->url,
					     .event = delivery->event,
					     .drain = delivery->drain,
					     .number = delivery->attempts + 1,
					     .body = delivery->body,
					     .len = delivery->len };
		/* Only this thread removes deliveries from this queue. */
		pthread_mutex_unlock(&queue->lock);
		status = scheduler_webhook_client_send(&queue->delivery, &it, &err);
		pthread_mutex_lock(&queue->lock);
		if (HTTP_OK(status) || !atomic_load(&queue->stopping))
			settle(to, delivery, status, &err);
	}
	pthread_mutex_unlock(&queue->lock);
	return NULL;
}

/* --- the queue ------------------------------------------------------------ */

int scheduler_delivery_queue_new(const struct scheduler_config *config,
				 struct scheduler_delivery_queue **ret_queue, struct stow_err *err)
{
	struct scheduler_delivery_queue *queue = calloc(1, sizeof(*queue));
	int r;

	if (queue)
		queue->receivers = calloc(SCHEDULER_WEBHOOKS_MAX, sizeof(*queue->receivers));
	if (!queue || !queue->receivers) {
		free(queue);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	queue->config = config;
	pthread_mutex_init(&queue->lock, NULL);
	for (size_t i = 0; config->webhooks && config->webhooks[i] && i < SCHEDULER_WEBHOOKS_MAX;
	     i++) {
		queue->receivers[i] =
			(struct receiver){ .queue = queue, .url = config->webhooks[i] };
		scheduler_event_url_show(config->webhooks[i], queue->receivers[i].shown,
					 sizeof(queue->receivers[i].shown));
		stow_clock_cond_init(&queue->receivers[i].posted);
		queue->n++;
	}
	r = scheduler_webhook_client_init(&queue->delivery, config, &queue->stopping, err);
	if (r < 0) {
		scheduler_delivery_queue_free(queue);
		return r;
	}
	*ret_queue = queue;
	return 0;
}

void scheduler_delivery_queue_stop(struct scheduler_delivery_queue *queue)
{
	if (!queue)
		return;
	pthread_mutex_lock(&queue->lock);
	atomic_store(&queue->stopping, true);
	for (size_t i = 0; i < queue->n; i++)
		pthread_cond_signal(&queue->receivers[i].posted);
	pthread_mutex_unlock(&queue->lock);
	for (size_t i = 0; i < queue->n; i++)
		if (queue->receivers[i].runs) {
			pthread_join(queue->receivers[i].thread, NULL);
			queue->receivers[i].runs = false;
		}
}

void scheduler_delivery_queue_free(struct scheduler_delivery_queue *queue)
{
	if (!queue)
		return;
	scheduler_delivery_queue_stop(queue);
	for (size_t i = 0; i < queue->n; i++) {
		pthread_cond_destroy(&queue->receivers[i].posted);
		scheduler_delivery_queue_drop(queue->receivers[i].deliveries);
	}
	scheduler_delivery_queue_drop(queue->orphans);
	scheduler_webhook_client_done(&queue->delivery);
	pthread_mutex_destroy(&queue->lock);
	free(queue->receivers);
	free(queue);
}

static struct scheduler_delivery *make_delivery(size_t to, uint64_t seq, uint64_t drain,
						const char *event, const void *body, size_t len)
{
	struct scheduler_delivery *delivery = calloc(1, sizeof(*delivery));

	if (!delivery)
		return NULL;
	delivery->to = to;
	delivery->seq = seq;
	delivery->drain = drain;
	delivery->event = strdup(event);
	delivery->body = malloc(len + 1);
	delivery->len = len;
	if (!delivery->event || !delivery->body) {
		delivery_free(delivery);
		return NULL;
	}
	if (len)
		memcpy(delivery->body, body, len);
	delivery->body[len] = '\0';
	return delivery;
}

int scheduler_delivery_queue_load(struct scheduler_delivery_queue *queue,
				  const struct stow_store_webhook *webhook, struct stow_err *err)
{
	struct stow_now now = stow_now();
	struct scheduler_delivery *delivery;
	size_t to = 0;

	while (to < queue->n && strcmp(queue->receivers[to].url, webhook->url) != 0)
		to++;
	delivery = make_delivery(to, webhook->seq, webhook->drain, webhook->event, webhook->body,
				 webhook->len);
	if (!delivery)
		return stow_err_set(err, ENOMEM, "out of memory");
	delivery->attempts = webhook->attempts;
	/* The wall clock may have been set meanwhile. */
	delivery->expires =
		now.mono + stow_clock_elapsed(stow_clock_elapsed(webhook->created, now.wall),
					      queue->config->webhook_expire);
	delivery->due = now.mono;
	if (webhook->next > now.wall && webhook->next - now.wall <= SCHEDULER_PAUSE_MAX)
		delivery->due += webhook->next - now.wall;
	if (webhook->seq > queue->seq)
		queue->seq = webhook->seq;
	if (to < queue->n) {
		enqueue(&queue->receivers[to], delivery);
	} else {
		delivery->next = queue->orphans;
		queue->orphans = delivery;
	}
	return 0;
}

int scheduler_delivery_queue_start(struct scheduler_delivery_queue *queue, struct stow_store *store,
				   struct stow_err *err)
{
	queue->store = store;
	for (const struct scheduler_delivery *l = queue->orphans; l; l = l->next) {
		stow_log(STOW_LOG_WARNING,
			 "a webhook event was dropped: its URL is no longer configured",
			 stow_text("event", l->event));
		delete_row(queue, l->seq);
	}
	scheduler_delivery_queue_drop(queue->orphans);
	queue->orphans = NULL;
	for (size_t i = 0; i < queue->n; i++) {
		int r = -pthread_create(&queue->receivers[i].thread, NULL, run,
					&queue->receivers[i]);

		if (r < 0)
			return stow_err_sys(err, -r, "cannot start a thread");
		queue->receivers[i].runs = true;
	}
	return 0;
}

int scheduler_delivery_queue_write(struct scheduler_delivery_queue *queue,
				   struct stow_writes *writes, uint64_t drain,
				   enum scheduler_event event, const char *body, uint64_t wall,
				   struct scheduler_delivery **deliveries)
{
	struct scheduler_delivery **last = deliveries;

	while (*last)
		last = &(*last)->next;
	for (size_t i = 0; i < queue->n; i++) {
		struct stow_store_webhook row = {
			.drain = drain,
			.event = scheduler_event_name(event),
			.url = queue->receivers[i].url,
			.body = body,
			.len = strlen(body),
			.created = wall,
		};

		pthread_mutex_lock(&queue->lock);
		row.seq = ++queue->seq;
		pthread_mutex_unlock(&queue->lock);
		*last = make_delivery(i, row.seq, drain, row.event, body, row.len);
		if (!*last || stow_writes_webhook(writes, &row) < 0)
			return -ENOMEM;
		(*last)->expires = stow_now().mono + queue->config->webhook_expire;
		last = &(*last)->next;
	}
	return 0;
}

void scheduler_delivery_queue_post(struct scheduler_delivery_queue *queue,
				   struct scheduler_delivery *deliveries)
{
	pthread_mutex_lock(&queue->lock);
	while (deliveries) {
		struct scheduler_delivery *delivery = deliveries;

		deliveries = delivery->next;
		delivery->due = stow_now().mono;
		enqueue(&queue->receivers[delivery->to], delivery);
	}
	pthread_mutex_unlock(&queue->lock);
}

void scheduler_deliveries_withdraw(struct scheduler_delivery *deliveries,
				   enum scheduler_event event)
{
	for (struct scheduler_delivery *l = deliveries; l; l = l->next)
		l->withdrawn |= strcmp(l->event, scheduler_event_name(event)) == 0;
}

int scheduler_delivery_queue_withdraw(struct scheduler_delivery_queue *queue,
				      struct stow_writes *writes, uint64_t drain,
				      enum scheduler_event event)
{
	const char *name = scheduler_event_name(event);

	if (stow_writes_no_webhook_of(writes, drain, name) < 0)
		return -ENOMEM;
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < queue->n; i++) {
		for (struct scheduler_delivery *l = queue->receivers[i].deliveries; l; l = l->next)
			l->withdrawn |= l->drain == drain && strcmp(l->event, name) == 0;
		pthread_cond_signal(&queue->receivers[i].posted);
	}
	pthread_mutex_unlock(&queue->lock);
	return 0;
}

void scheduler_delivery_queue_hold(struct scheduler_delivery_queue *queue, uint64_t drain,
				   enum scheduler_event event, bool hold)
{
	const char *name = scheduler_event_name(event);

	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < queue->n; i++) {
		for (struct scheduler_delivery *l = queue->receivers[i].deliveries; l; l = l->next)
			if (l->drain == drain && strcmp(l->event, name) == 0)
				l->held = hold;
		pthread_cond_signal(&queue->receivers[i].posted);
	}
	pthread_mutex_unlock(&queue->lock);
}

void scheduler_delivery_queue_count(struct scheduler_delivery_queue *queue,
				    struct scheduler_delivery_queue_count *ret)
{
	*ret = (struct scheduler_delivery_queue_count){
		.delivered = atomic_load(&queue->delivered),
		.failed = atomic_load(&queue->failed),
		.given_up = atomic_load(&queue->given_up),
	};
	pthread_mutex_lock(&queue->lock);
	for (size_t i = 0; i < queue->n; i++)
		ret->pending += queue->receivers[i].n;
	pthread_mutex_unlock(&queue->lock);
}
