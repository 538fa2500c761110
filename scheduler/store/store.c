// SPDX-License-Identifier: Apache-2.0
/* The queue of writes, and the thread that has the engine write it. */
#include "scheduler/store/store.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/log.h"
#include "scheduler/store/engine.h"
#include "scheduler/store/gather.h"

#define FORGET_EVERY   (60 * STOW_SECOND)
#define PROBE_EVERY    (5 * STOW_SECOND) /* between probes, when there are no writes */
#define RETRY_EVERY    STOW_SECOND	 /* after a failure */
#define STOP_WITHIN    (5 * STOW_SECOND)
#define HANGS	       (10 * STOW_SECOND)
#define LOOK_EVERY     (5 * STOW_SECOND) /* for standbys */
#define RETRIES_MAX    65536
#define RETRIES_A_TIME 256

struct stow_store {
	const struct stow_engine_ops *ops;
	void *engine;
	uint64_t epoch;
	uint64_t loaded, loaded_wall; /* when it was loaded, by the boot and the wall clock */
	pthread_t thread;
	bool running;
	pthread_mutex_t lock;
	pthread_cond_t queued, idle;
	struct stow_writes *first, **last;
	size_t n_queued, wanted; /* the thread is woken up when so many are queued */
	struct stow_gather gather;
	bool stopping; /* new lists are refused */
	bool closing;  /* the thread has to end */
	uint64_t commits, writes, failed;
	bool busy;		  /* the thread has a batch */
	uint64_t writing;	  /* since when the engine writes; 0: it does not */
	struct stow_err bad;	  /* why the last probe failed; code 0: it did not */
	struct stow_err unusable; /* why the last stow_store_lead() failed; code 0: it did not */
	struct stow_store_standbys standbys;
	uint64_t looked; /* when standbys were asked for; for the leader's thread */

	/* For the thread only: failed deletions without a callback. */
	struct stow_write *retries, **retries_last;
	uint64_t n_retries; /* under the lock */
	struct stow_log_limit refused;
};

/* --- deletions to retry ---------------------------------------------------- */

static bool is_deletion(enum stow_write_kind kind)
{
	return kind == STOW_WRITE_NO_RESERVATION || kind == STOW_WRITE_NO_ANSWER ||
	       kind == STOW_WRITE_NO_DRAIN || kind == STOW_WRITE_NO_WEBHOOK ||
	       kind == STOW_WRITE_NO_WEBHOOK_OF;
}

/* Keep the deletions of a failed list: otherwise the rows would be back after a restart. Ids are
 * never reused, but request ids may be: see drop_outdated_retries(). */
static void keep_for_retry(struct stow_store *store, struct stow_writes *writes)
{
	struct stow_write **at = &writes->first;

	while (*at) {
		struct stow_write *w = *at;

		if (!is_deletion(w->kind) || store->n_retries >= RETRIES_MAX) {
			at = &w->next;
			continue;
		}
		*at = w->next;
		w->next = NULL;
		*store->retries_last = w;
		store->retries_last = &w->next;
		pthread_mutex_lock(&store->lock);
		store->n_retries++;
		pthread_mutex_unlock(&store->lock);
	}
	writes->last = at;
}

static struct stow_write *pop_retry(struct stow_store *store)
{
	struct stow_write *w = store->retries;

	store->retries = w->next;
	if (!store->retries)
		store->retries_last = &store->retries;
	w->next = NULL;
	pthread_mutex_lock(&store->lock);
	store->n_retries--;
	pthread_mutex_unlock(&store->lock);
	return w;
}

/* Drop the retry of an answer's deletion when a new answer was written under the same request id. */
static void drop_outdated_retries(struct stow_store *store, const struct stow_writes *batch)
{
	if (!store->retries)
		return;
	for (; batch; batch = batch->next)
		for (const struct stow_write *w = batch->first; w; w = w->next)
			for (struct stow_write *o = store->retries;
			     o && w->kind == STOW_WRITE_ANSWER; o = o->next)
				if (o->kind == STOW_WRITE_NO_ANSWER &&
				    strcmp(o->text, w->text) == 0)
					o->text[0] = '\0'; /* matches no row */
}

/* Take some deletions to retry from the queue, each in a list of its own. */
static struct stow_writes *take_retries(struct stow_store *store)
{
	struct stow_writes *first = NULL, **last = &first;

	for (int i = 0; i < RETRIES_A_TIME && store->retries; i++) {
		struct stow_writes *writes = stow_writes_new();

		if (!writes)
			break;
		writes->first = pop_retry(store);
		writes->last = &writes->first->next;
		*last = writes;
		last = &writes->next;
	}
	return first;
}

/* --- the thread ----------------------------------------------------------- */

static void wait_for(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
	struct timespec until = stow_clock_in(ns);

	(void)pthread_cond_timedwait(cond, lock, &until);
}

/* With the lock held. */
static void gather(struct stow_store *store)
{
	uint64_t most = stow_gather_begin(&store->gather, stow_clock_boot(), store->n_queued,
					  &store->wanted);
	struct timespec until;

	if (most == 0)
		return;
	until = stow_clock_in(most);
	while (store->n_queued < store->wanted && !store->closing)
		if (pthread_cond_timedwait(&store->queued, &store->lock, &until) != 0)
			break;
	store->wanted = 0;
	stow_gather_ended(&store->gather, store->n_queued);
}

/* Take all queued lists. NULL: none came for a while, or the thread has to end. *ret_refused has
 * lists that came too late. */
static struct stow_writes *take_batch(struct stow_store *store, struct stow_writes **ret_refused,
				      bool *ret_closing)
{
	struct stow_writes *batch, **at = &batch;

	pthread_mutex_lock(&store->lock);
	store->busy = false;
	pthread_cond_broadcast(&store->idle);
	if (!store->first && !store->closing)
		wait_for(&store->queued, &store->lock,
			 store->retries || store->bad.code ? RETRY_EVERY : PROBE_EVERY);
	gather(store);
	batch = store->first;
	store->first = NULL;
	store->n_queued = 0;
	store->last = &store->first;
	store->busy = batch;
	*ret_closing = store->closing;
	pthread_mutex_unlock(&store->lock);
	while (*at && !(*at)->err.code)
		at = &(*at)->next;
	*ret_refused = *at;
	*at = NULL;
	return batch;
}

static void log_refused(struct stow_store *store, const struct stow_err *err)
{
	uint64_t times = stow_log_may(&store->refused);

	if (times)
		stow_log(STOW_LOG_ERR, "the store refused a write", stow_why(err),
			 stow_number("times", times));
}

static void engine_write(struct stow_store *store, struct stow_writes *batch)
{
	struct stow_engine_count count = { 0 };
	size_t answered = 0;

	pthread_mutex_lock(&store->lock);
	store->writing = stow_clock_boot();
	pthread_mutex_unlock(&store->lock);
	store->ops->write(store->engine, batch, &count);
	for (const struct stow_writes *w = batch; w; w = w->next)
		answered += w->done != NULL;
	pthread_mutex_lock(&store->lock);
	stow_gather_wrote(&store->gather, stow_clock_boot() - store->writing, answered,
			  store->n_queued);
	store->writing = 0;
	store->commits += count.commits;
	store->writes += count.writes;
	pthread_mutex_unlock(&store->lock);
}

/* Write a probe, to find out whether the store works. */
static void probe(struct stow_store *store)
{
	struct stow_write w = { .kind = STOW_WRITE_PROBE, .b = stow_clock_wall() };
	struct stow_writes writes = { .first = &w };
	struct stow_engine_count count = { 0 };
	bool was_bad;

	pthread_mutex_lock(&store->lock);
	store->writing = stow_clock_boot();
	pthread_mutex_unlock(&store->lock);
	store->ops->write(store->engine, &writes, &count);
	pthread_mutex_lock(&store->lock);
	store->writing = 0;
	was_bad = store->bad.code;
	store->bad = writes.err;
	pthread_mutex_unlock(&store->lock);
	if (writes.err.code && !was_bad)
		stow_log(STOW_LOG_ERR, "the store does not accept writes", stow_why(&writes.err));
	else if (!writes.err.code && was_bad)
		stow_log(STOW_LOG_NOTICE, "the store accepts writes again");
}

/* Call all callbacks. Return whether a list has failed. */
static bool settle(struct stow_store *store, struct stow_writes *batch)
{
	size_t failed = 0;

	for (const struct stow_writes *w = batch; w; w = w->next)
		failed += w->err.code != 0;
	pthread_mutex_lock(&store->lock);
	store->failed += failed;
	pthread_mutex_unlock(&store->lock);
	while (batch) {
		struct stow_writes *w = batch;

		batch = w->next;
		if (w->err.code) {
			log_refused(store, &w->err);
			if (!w->done)
				keep_for_retry(store, w);
		}
		if (w->done)
			w->done(w->ctx, w->err.code ? &w->err : NULL);
		stow_writes_free(w);
	}
	pthread_mutex_lock(&store->lock);
	stow_gather_answered(&store->gather, stow_clock_boot());
	pthread_mutex_unlock(&store->lock);
	return failed > 0;
}

static void refuse(struct stow_writes *late)
{
	while (late) {
		struct stow_writes *w = late;

		late = w->next;
		if (w->done)
			w->done(w->ctx, &w->err);
		stow_writes_free(w);
	}
}

static void *run(void *arg)
{
	struct stow_store *store = arg;
	uint64_t forgot = 0;
	bool closing = false;

	for (;;) {
		struct stow_writes *late, *batch = take_batch(store, &late, &closing);
		uint64_t now = stow_clock_boot();
		bool failed = false, wrote = batch;

		if (!batch && !late && closing)
			break;
		if (late)
			refuse(late);
		if (batch) {
			drop_outdated_retries(store, batch);
			engine_write(store, batch);
			failed = settle(store, batch);
		}
		if (!failed && store->retries && !store->bad.code) {
			batch = take_retries(store);
			engine_write(store, batch);
			failed = settle(store, batch);
		}
		if (failed || store->bad.code || (!wrote && !closing))
			probe(store);
		if (store->ops->forget && (!forgot || now >= forgot + FORGET_EVERY)) {
			forgot = now;
			store->ops->forget(store->engine, stow_store_time(store));
		}
	}
	return NULL;
}

void stow_store_commit(struct stow_store *store, struct stow_writes *writes,
		       void (*done)(void *ctx, const struct stow_err *err), void *ctx)
{
	writes->done = done;
	writes->ctx = ctx;
	writes->next = NULL;
	pthread_mutex_lock(&store->lock);
	/* Answered by the thread, because the caller may hold a lock that `done` takes. */
	if (store->stopping)
		stow_err_set(&writes->err, ESHUTDOWN, "the scheduler is stopping");
	*store->last = writes;
	store->last = &writes->next;
	if (++store->n_queued >= store->wanted)
		pthread_cond_signal(&store->queued);
	pthread_mutex_unlock(&store->lock);
}

void stow_store_count(struct stow_store *store, uint64_t *ret_commits, uint64_t *ret_writes)
{
	pthread_mutex_lock(&store->lock);
	*ret_commits = store->commits;
	*ret_writes = store->writes;
	pthread_mutex_unlock(&store->lock);
}

void stow_store_state(struct stow_store *store, struct stow_store_state *ret)
{
	char failed[900] = "";
	struct stow_err why;
	uint64_t since;

	pthread_mutex_lock(&store->lock);
	*ret = (struct stow_store_state){ .failed = store->failed, .retries = store->n_retries };
	ret->why = store->bad;
	since = store->writing;
	pthread_mutex_unlock(&store->lock);
	if (since && stow_clock_boot() >= since + HANGS) {
		if (store->ops->failed)
			store->ops->failed(store->engine, failed, sizeof(failed));
		stow_err_set(&ret->why, ETIMEDOUT, "the store has not answered for %llu s%s%s",
			     (unsigned long long)((stow_clock_boot() - since) / STOW_SECOND),
			     failed[0] ? "; " : "", failed);
	}
	if (!stow_store_leads(store, &why))
		ret->why = why;
	ret->healthy = ret->why.code == 0;
}

/* --- opening -------------------------------------------------------------- */

static const struct {
	const char *scheme;
	const struct stow_engine_ops *ops;
} engines[] = {
	{ "sqlite:", &stow_engine_sqlite },
	{ "etcd:", &stow_engine_etcd },
};

/* Find the engine of a location. *ret_where: the part after the scheme. */
static const struct stow_engine_ops *engine_of(const struct stow_store_options *options,
					       const char **ret_where)
{
	const char *where = options->where;

	*ret_where = options->dir;
	if (!where)
		return &stow_engine_sqlite;
	for (size_t i = 0; i < STOW_ARRAY_SIZE(engines); i++) {
		size_t len = strlen(engines[i].scheme);

		if (strncmp(where, engines[i].scheme, len) == 0) {
			*ret_where = where + len;
			return engines[i].ops;
		}
	}
	return NULL;
}

int stow_store_check(const struct stow_store_options *options, struct stow_err *err)
{
	const struct stow_engine_ops *ops;
	const char *where;

	ops = engine_of(options, &where);
	return ops ? ops->check(where, options, err)
		   : stow_err_set(err, EINVAL,
				  "\"%.128s\"; expected sqlite:DIR, or etcd:https://HOST:2379,...",
				  options->where);
}

int stow_store_new(const struct stow_store_options *options, struct stow_store **ret_store,
		   struct stow_err *err)
{
	struct stow_store *store;
	const char *where;
	int r = stow_store_check(options, err);

	if (r < 0)
		return r;
	store = calloc(1, sizeof(*store));
	if (!store)
		return stow_err_set(err, ENOMEM, "out of memory");
	store->last = &store->first;
	store->retries_last = &store->retries;
	pthread_mutex_init(&store->lock, NULL);
	stow_clock_cond_init(&store->idle);
	stow_clock_cond_init(&store->queued);
	store->ops = engine_of(options, &where);
	r = store->ops->make(where, options, &store->engine, err);
	if (r < 0) {
		stow_store_close(store);
		return r;
	}
	*ret_store = store;
	return 0;
}

int stow_store_lead(struct stow_store *store, struct stow_err *err)
{
	struct stow_err why = { 0 };
	int r = store->ops->lead(store->engine, &why);

	pthread_mutex_lock(&store->lock);
	store->unusable = why;
	pthread_mutex_unlock(&store->lock);
	return r < 0 ? stow_err_move(err, r, &why) : r;
}

bool stow_store_has_lease(const struct stow_store *store)
{
	return store->ops->leads;
}

bool stow_store_follows(struct stow_store *store, struct stow_err *why)
{
	pthread_mutex_lock(&store->lock);
	*why = store->unusable;
	pthread_mutex_unlock(&store->lock);
	return why->code == 0;
}

bool stow_store_leads(struct stow_store *store, struct stow_err *why)
{
	return !store->ops->leads || store->ops->leads(store->engine, why);
}

bool stow_store_lost(struct stow_store *store, struct stow_err *why)
{
	return store->ops->lost && store->ops->lost(store->engine, why);
}

void stow_store_look(struct stow_store *store)
{
	struct stow_store_standbys found = { 0 };
	uint64_t now = stow_clock_boot();

	if (!store->ops->standbys || (store->looked && now < store->looked + LOOK_EVERY))
		return;
	store->looked = now;
	if (store->ops->standbys(store->engine, &found, NULL) < 0)
		return;
	pthread_mutex_lock(&store->lock);
	store->standbys = found;
	pthread_mutex_unlock(&store->lock);
}

void stow_store_standbys(struct stow_store *store, struct stow_store_standbys *ret)
{
	pthread_mutex_lock(&store->lock);
	*ret = store->standbys;
	pthread_mutex_unlock(&store->lock);
}

uint64_t stow_store_lag(struct stow_store *store)
{
	return store->ops->lag ? store->ops->lag(store->engine) : 0;
}

uint64_t stow_store_epoch(const struct stow_store *store)
{
	return store->epoch;
}

uint64_t stow_store_time(const struct stow_store *store)
{
	return store->loaded_wall + stow_clock_elapsed(store->loaded, stow_clock_boot());
}

int stow_store_load(struct stow_store *store, const struct stow_store_load *load,
		    struct stow_err *err)
{
	int r;

	store->loaded = stow_clock_boot();
	store->loaded_wall = stow_clock_wall();
	r = store->ops->load(store->engine, load, &store->epoch, err);
	if (r < 0)
		return r;
	r = -pthread_create(&store->thread, NULL, run, store);
	store->running = r == 0;
	return r < 0 ? stow_err_sys(err, -r, "cannot start a thread") : 0;
}

void stow_store_stop(struct stow_store *store)
{
	uint64_t until = stow_clock_boot() + STOP_WITHIN;

	if (!store)
		return;
	pthread_mutex_lock(&store->lock);
	store->stopping = true;
	pthread_cond_signal(&store->queued);
	while (store->running && (store->first || store->busy)) {
		if (stow_clock_boot() >= until && store->ops->give_up)
			store->ops->give_up(store->engine);
		wait_for(&store->idle, &store->lock, STOW_SECOND / 10);
	}
	pthread_mutex_unlock(&store->lock);
}

void stow_store_close(struct stow_store *store)
{
	if (!store)
		return;
	stow_store_stop(store);
	/* A probe may be running. */
	if (store->engine && store->ops->give_up)
		store->ops->give_up(store->engine);
	pthread_mutex_lock(&store->lock);
	store->closing = true;
	pthread_cond_signal(&store->queued);
	pthread_mutex_unlock(&store->lock);
	if (store->running)
		pthread_join(store->thread, NULL);
	while (store->retries)
		stow_write_free(pop_retry(store));
	if (store->engine)
		store->ops->free(store->engine);
	pthread_cond_destroy(&store->queued);
	pthread_cond_destroy(&store->idle);
	pthread_mutex_destroy(&store->lock);
	free(store);
}
