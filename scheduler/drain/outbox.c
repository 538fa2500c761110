// SPDX-License-Identifier: Apache-2.0
#include "scheduler/drain/outbox.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "rpc/say.h"
#include "scheduler/drain/delivery.h"
#include "scheduler/fleet/ids.h"
#include "scheduler/fleet/now.h"

#define HTTP_OK(code) ((code) >= 200 && (code) < 300)
#define HTTP_GONE     410

/* What one URL is to be told of one event. */
struct scheduler_letter {
	struct scheduler_letter *next;
	size_t to; /* the URL's index */
	uint64_t seq, drain;
	char *event, *body;
	size_t len;
	uint64_t created; /* wall */
	uint64_t due;	  /* monotonic */
	uint64_t attempts;
	bool first; /* no other one of its drain comes before it */
	bool withdrawn, held;
};

struct receiver {
	struct scheduler_outbox *outbox;
	const char *url;
	char shown[256]; /* without user, password and query, which may be secret */
	struct scheduler_letter *letters; /* by ascending number */
	uint64_t n;
	pthread_t thread;
	bool runs;
	pthread_cond_t posted;
};

struct scheduler_outbox {
	const struct scheduler_config *config;
	struct stow_store *store;
	pthread_mutex_t lock;
	struct receiver *receivers;
	size_t n;
	uint64_t seq;			  /* the last number that was given */
	struct scheduler_letter *orphans; /* until the start */
	atomic_bool stopping;
	struct scheduler_delivery delivery;
	atomic_ulong delivered, failed, given_up;
};

/* --- the queue of a URL ------------------------------------------------------------------------- */

static void letter_free(struct scheduler_letter *letter)
{
	free(letter->event);
	free(letter->body);
	free(letter);
}

void scheduler_outbox_drop(struct scheduler_letter *letters)
{
	while (letters) {
		struct scheduler_letter *letter = letters;

		letters = letter->next;
		letter_free(letter);
	}
}

/* With the lock held, as all that follow. */
static void enqueue(struct receiver *to, struct scheduler_letter *letter)
{
	struct scheduler_letter **at = &to->letters;

	letter->first = true;
	for (; *at; at = &(*at)->next)
		if ((*at)->drain == letter->drain)
			letter->first = false;
	letter->next = NULL;
	*at = letter;
	to->n++;
	pthread_cond_signal(&to->posted);
}

/* Takes it out; the next one of its drain is the first then. */
static void dequeue(struct receiver *to, struct scheduler_letter *letter)
{
	struct scheduler_letter **at = &to->letters;

	while (*at != letter)
		at = &(*at)->next;
	*at = letter->next;
	to->n--;
	for (struct scheduler_letter *l = *at; l; l = l->next)
		if (l->drain == letter->drain) {
			l->first = true;
			return;
		}
}

/* What is no longer so is not told. Its row is gone, or about to go. */
static void drop_withdrawn(struct receiver *to)
{
	struct scheduler_letter **at = &to->letters, *letter;
	char id[17];

	while ((letter = *at)) {
		if (!letter->withdrawn) {
			at = &letter->next;
			continue;
		}
		stow_say(STOW_LOG_NOTICE, "a webhook is not told: it is no longer so",
			 stow_text("url", to->shown),
			 stow_text("drain", stow_id_format(letter->drain, id)),
			 stow_text("event", letter->event));
		dequeue(to, letter);
		letter_free(letter);
	}
}

static struct scheduler_letter *next_due(const struct receiver *to)
{
	struct scheduler_letter *found = NULL;

	for (struct scheduler_letter *l = to->letters; l; l = l->next)
		if (l->first && !l->held && (!found || l->due < found->due))
			found = l;
	return found;
}

static void delete_row(struct scheduler_outbox *outbox, uint64_t seq)
{
	struct stow_writes *writes = stow_writes_new();

	if (stow_writes_no_webhook(writes, seq) == 0)
		stow_store_commit(outbox->store, writes, NULL, NULL);
	else
		stow_writes_free(writes); /* it is told once more after a restart */
}

static void postpone(struct receiver *to, struct scheduler_letter *letter, struct stow_now now)
{
	struct scheduler_outbox *outbox = to->outbox;
	struct stow_writes *writes = stow_writes_new();
	uint64_t random = 0, pause;

	if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
		random = now.mono;
	letter->attempts++;
	pause = scheduler_event_pause(outbox->config->webhook_retry, letter->attempts, random);
	letter->due = now.mono + pause;
	if (stow_writes_webhook_later(writes, letter->seq, now.wall + pause, letter->attempts) == 0)
		stow_store_commit(outbox->store, writes, NULL, NULL);
	else
		stow_writes_free(writes);
}

static void settle(struct receiver *to, struct scheduler_letter *letter, long status,
		   const struct stow_err *why)
{
	struct scheduler_outbox *outbox = to->outbox;
	struct stow_now now = stow_now();
	bool expired = now.wall > letter->created &&
		       stow_elapsed(letter->created, now.wall) >= outbox->config->webhook_expire;
	char id[17];

	stow_id_format(letter->drain, id);
	if (HTTP_OK(status)) {
		atomic_fetch_add(&outbox->delivered, 1);
		stow_say(STOW_LOG_INFO, "a webhook was told", stow_text("url", to->shown),
			 stow_text("drain", id), stow_text("event", letter->event));
	} else if (status == HTTP_GONE || expired) {
		atomic_fetch_add(&outbox->failed, 1);
		atomic_fetch_add(&outbox->given_up, 1);
		stow_say(STOW_LOG_ERR, "a webhook is not told: given up",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", letter->event),
			 stow_number("tries", letter->attempts + 1), stow_why(why));
	} else {
		atomic_fetch_add(&outbox->failed, 1);
		postpone(to, letter, now);
		stow_say(STOW_LOG_WARNING, "a webhook could not be told",
			 stow_text("url", to->shown), stow_text("drain", id),
			 stow_text("event", letter->event), stow_number("tries", letter->attempts),
			 stow_why(why));
		return;
	}
	delete_row(outbox, letter->seq);
	dequeue(to, letter);
	letter_free(letter);
}

/* Until something is due, was posted, or half a second has passed: clocks may be set. */
static void wait_for(struct receiver *to, const struct scheduler_letter *letter)
{
	uint64_t now = stow_now().mono, wait = STOW_SECOND / 2;
	struct timespec until;

	if (!letter) {
		pthread_cond_wait(&to->posted, &to->outbox->lock);
		return;
	}
	if (letter->due < now + wait)
		wait = letter->due > now ? letter->due - now : 0;
	until = stow_clock_in(CLOCK_REALTIME, wait);
	(void)pthread_cond_timedwait(&to->posted, &to->outbox->lock, &until);
}

static void *run(void *arg)
{
	struct receiver *to = arg;
	struct scheduler_outbox *outbox = to->outbox;

	pthread_mutex_lock(&outbox->lock);
	while (!atomic_load(&outbox->stopping)) {
		struct scheduler_letter *letter;
		struct scheduler_try it;
		struct stow_err err;
		long status;

		drop_withdrawn(to);
		letter = next_due(to);
		if (!letter || letter->due > stow_now().mono) {
			wait_for(to, letter);
			continue;
		}
		it = (struct scheduler_try){ .url = to->url,
					     .event = letter->event,
					     .drain = letter->drain,
					     .number = letter->attempts + 1,
					     .body = letter->body,
					     .len = letter->len };
		/* Nobody else takes letters out of this queue. */
		pthread_mutex_unlock(&outbox->lock);
		status = scheduler_delivery_send(&outbox->delivery, &it, &err);
		pthread_mutex_lock(&outbox->lock);
		if (HTTP_OK(status) || !atomic_load(&outbox->stopping))
			settle(to, letter, status, &err);
	}
	pthread_mutex_unlock(&outbox->lock);
	return NULL;
}

/* --- the outbox --------------------------------------------------------------------------------- */

int scheduler_outbox_new(const struct scheduler_config *config,
			 struct scheduler_outbox **ret_outbox, struct stow_err *err)
{
	struct scheduler_outbox *outbox = calloc(1, sizeof(*outbox));
	int r;

	if (outbox)
		outbox->receivers = calloc(SCHEDULER_WEBHOOKS_MAX, sizeof(*outbox->receivers));
	if (!outbox || !outbox->receivers) {
		free(outbox);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	outbox->config = config;
	pthread_mutex_init(&outbox->lock, NULL);
	for (size_t i = 0; config->webhooks && config->webhooks[i] && i < SCHEDULER_WEBHOOKS_MAX;
	     i++) {
		outbox->receivers[i] =
			(struct receiver){ .outbox = outbox, .url = config->webhooks[i] };
		scheduler_event_url_show(config->webhooks[i], outbox->receivers[i].shown,
					 sizeof(outbox->receivers[i].shown));
		pthread_cond_init(&outbox->receivers[i].posted, NULL);
		outbox->n++;
	}
	r = scheduler_delivery_init(&outbox->delivery, config, &outbox->stopping, err);
	if (r < 0) {
		scheduler_outbox_free(outbox);
		return r;
	}
	*ret_outbox = outbox;
	return 0;
}

void scheduler_outbox_stop(struct scheduler_outbox *outbox)
{
	if (!outbox)
		return;
	pthread_mutex_lock(&outbox->lock);
	atomic_store(&outbox->stopping, true);
	for (size_t i = 0; i < outbox->n; i++)
		pthread_cond_signal(&outbox->receivers[i].posted);
	pthread_mutex_unlock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++)
		if (outbox->receivers[i].runs) {
			pthread_join(outbox->receivers[i].thread, NULL);
			outbox->receivers[i].runs = false;
		}
}

void scheduler_outbox_free(struct scheduler_outbox *outbox)
{
	if (!outbox)
		return;
	scheduler_outbox_stop(outbox);
	for (size_t i = 0; i < outbox->n; i++) {
		pthread_cond_destroy(&outbox->receivers[i].posted);
		scheduler_outbox_drop(outbox->receivers[i].letters);
	}
	scheduler_outbox_drop(outbox->orphans);
	scheduler_delivery_done(&outbox->delivery);
	pthread_mutex_destroy(&outbox->lock);
	free(outbox->receivers);
	free(outbox);
}

static struct scheduler_letter *make_letter(size_t to, uint64_t seq, uint64_t drain,
					    const char *event, const void *body, size_t len)
{
	struct scheduler_letter *letter = calloc(1, sizeof(*letter));

	if (!letter)
		return NULL;
	letter->to = to;
	letter->seq = seq;
	letter->drain = drain;
	letter->event = strdup(event);
	letter->body = malloc(len + 1);
	letter->len = len;
	if (!letter->event || !letter->body) {
		letter_free(letter);
		return NULL;
	}
	if (len)
		memcpy(letter->body, body, len);
	letter->body[len] = '\0';
	return letter;
}

int scheduler_outbox_load(struct scheduler_outbox *outbox, const struct stow_store_webhook *webhook,
			  struct stow_err *err)
{
	struct stow_now now = stow_now();
	struct scheduler_letter *letter;
	size_t to = 0;

	while (to < outbox->n && strcmp(outbox->receivers[to].url, webhook->url) != 0)
		to++;
	letter = make_letter(to, webhook->seq, webhook->drain, webhook->event, webhook->body,
			     webhook->len);
	if (!letter)
		return stow_err_set(err, ENOMEM, "out of memory");
	letter->created = webhook->created;
	letter->attempts = webhook->attempts;
	/* The wall clock may have been set meanwhile. */
	letter->due = now.mono;
	if (webhook->next > now.wall && webhook->next - now.wall <= SCHEDULER_PAUSE_MAX)
		letter->due += webhook->next - now.wall;
	if (webhook->seq > outbox->seq)
		outbox->seq = webhook->seq;
	if (to < outbox->n) {
		enqueue(&outbox->receivers[to], letter);
	} else {
		letter->next = outbox->orphans;
		outbox->orphans = letter;
	}
	return 0;
}

int scheduler_outbox_start(struct scheduler_outbox *outbox, struct stow_store *store,
			   struct stow_err *err)
{
	outbox->store = store;
	for (const struct scheduler_letter *l = outbox->orphans; l; l = l->next) {
		stow_say(STOW_LOG_WARNING, "a webhook is not told: its URL is no longer set",
			 stow_text("event", l->event));
		delete_row(outbox, l->seq);
	}
	scheduler_outbox_drop(outbox->orphans);
	outbox->orphans = NULL;
	for (size_t i = 0; i < outbox->n; i++) {
		int r = -pthread_create(&outbox->receivers[i].thread, NULL, run,
					&outbox->receivers[i]);

		if (r < 0)
			return stow_err_sys(err, -r, "cannot start a thread");
		outbox->receivers[i].runs = true;
	}
	return 0;
}

int scheduler_outbox_write(struct scheduler_outbox *outbox, struct stow_writes *writes,
			   uint64_t drain, enum scheduler_event event, const char *body,
			   uint64_t wall, struct scheduler_letter **letters)
{
	struct scheduler_letter **last = letters;

	while (*last)
		last = &(*last)->next;
	for (size_t i = 0; i < outbox->n; i++) {
		struct stow_store_webhook row = {
			.drain = drain,
			.event = scheduler_event_name(event),
			.url = outbox->receivers[i].url,
			.body = body,
			.len = strlen(body),
			.created = wall,
		};

		pthread_mutex_lock(&outbox->lock);
		row.seq = ++outbox->seq;
		pthread_mutex_unlock(&outbox->lock);
		*last = make_letter(i, row.seq, drain, row.event, body, row.len);
		if (!*last || stow_writes_webhook(writes, &row) < 0)
			return -ENOMEM;
		(*last)->created = wall;
		last = &(*last)->next;
	}
	return 0;
}

void scheduler_outbox_post(struct scheduler_outbox *outbox, struct scheduler_letter *letters)
{
	pthread_mutex_lock(&outbox->lock);
	while (letters) {
		struct scheduler_letter *letter = letters;

		letters = letter->next;
		letter->due = stow_now().mono;
		enqueue(&outbox->receivers[letter->to], letter);
	}
	pthread_mutex_unlock(&outbox->lock);
}

void scheduler_letters_withdraw(struct scheduler_letter *letters, enum scheduler_event event)
{
	for (struct scheduler_letter *l = letters; l; l = l->next)
		l->withdrawn |= strcmp(l->event, scheduler_event_name(event)) == 0;
}

int scheduler_outbox_withdraw(struct scheduler_outbox *outbox, struct stow_writes *writes,
			      uint64_t drain, enum scheduler_event event)
{
	const char *name = scheduler_event_name(event);

	if (stow_writes_no_webhook_of(writes, drain, name) < 0)
		return -ENOMEM;
	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++) {
		for (struct scheduler_letter *l = outbox->receivers[i].letters; l; l = l->next)
			l->withdrawn |= l->drain == drain && strcmp(l->event, name) == 0;
		pthread_cond_signal(&outbox->receivers[i].posted);
	}
	pthread_mutex_unlock(&outbox->lock);
	return 0;
}

void scheduler_outbox_hold(struct scheduler_outbox *outbox, uint64_t drain,
			   enum scheduler_event event, bool hold)
{
	const char *name = scheduler_event_name(event);

	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++) {
		for (struct scheduler_letter *l = outbox->receivers[i].letters; l; l = l->next)
			if (l->drain == drain && strcmp(l->event, name) == 0)
				l->held = hold;
		pthread_cond_signal(&outbox->receivers[i].posted);
	}
	pthread_mutex_unlock(&outbox->lock);
}

void scheduler_outbox_count(struct scheduler_outbox *outbox, struct scheduler_outbox_count *ret)
{
	*ret = (struct scheduler_outbox_count){
		.delivered = atomic_load(&outbox->delivered),
		.failed = atomic_load(&outbox->failed),
		.given_up = atomic_load(&outbox->given_up),
	};
	pthread_mutex_lock(&outbox->lock);
	for (size_t i = 0; i < outbox->n; i++)
		ret->pending += outbox->receivers[i].n;
	pthread_mutex_unlock(&outbox->lock);
}
