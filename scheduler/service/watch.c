// SPDX-License-Identifier: Apache-2.0
/* WatchNodes, and the thread that notifies watchers. */
#include "scheduler/service/watch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/math.h"

#define PAUSE	 (5 * STOW_MILLISECOND) /* between two looks at watchers that had everything */
#define IN_A_ROW 256			/* messages without a pause */
#define GIVE_WAY 20000			/* ns, for threads that wait for the fleet's lock */

#define NAMES_MAX      1024
#define NAME_BYTES_MAX (64U << 10)

/* --- lists, with the lock ------------------------------------------------- */

static struct watch_list *list_of(struct scheduler_watch *watch, enum watcher_state state)
{
	return state == WATCHER_READY ? &watch->ready : state == WATCHER_IDLE ? &watch->idle : NULL;
}

static void leave(struct scheduler_watch *watch, struct scheduler_watcher *w)
{
	struct watch_list *list = list_of(watch, w->state);

	watch->n[w->state]--;
	if (list)
		TAILQ_REMOVE(list, w, of_list);
}

static void enter(struct scheduler_watch *watch, struct scheduler_watcher *w,
		  enum watcher_state state)
{
	struct watch_list *list = list_of(watch, state);

	w->state = state;
	watch->n[state]++;
	if (list)
		TAILQ_INSERT_TAIL(list, w, of_list);
}

static void move(struct scheduler_watch *watch, struct scheduler_watcher *w,
		 enum watcher_state state)
{
	leave(watch, w);
	enter(watch, w, state);
}

/* The table has changed: all watchers that had everything may lack something. */
static void release_idle(struct scheduler *s)
{
	struct scheduler_watch *watch = s->watchers;
	struct scheduler_watcher *w;

	s->news = false;
	while ((w = TAILQ_FIRST(&watch->idle)))
		move(watch, w, WATCHER_READY);
}

/* --- serving -------------------------------------------------------------- */

static void watcher_free(struct scheduler_watcher *w)
{
	if (!w)
		return;
	free(w->names);
	free(w->text);
	free(w);
}

static void begin(struct scheduler *s, struct watch_batch *batch)
{
	struct scheduler_watch *watch = s->watchers;
	struct scheduler_watcher *w;

	batch->n = batch->n_items = batch->packed = batch->looked = 0;
	while (batch->n < WATCH_AT_ONCE && (w = TAILQ_FIRST(&watch->ready))) {
		struct watch_served *served = &batch->served[batch->n++];

		memset(served, 0, sizeof(*served));
		served->watcher = w;
		served->call = stow_rpc_ref(w->call);
		move(watch, w, WATCHER_SERVED);
	}
}

static void send_batch(struct scheduler_watch *watch, struct watch_batch *batch)
{
	for (size_t i = 0; i < batch->n; i++) {
		struct watch_served *served = &batch->served[i];

		for (size_t at = served->first; at < served->first + served->n; at++) {
			/* If this fails, the stream has ended, and `closed` will come. */
			(void)stow_rpc_send_packed(served->call, batch->items[at]);
			stow_rpc_packed_unref(batch->items[at]);
		}
		if (served->err.code)
			stow_rpc_close(served->call, &served->err);
	}
	atomic_fetch_add(&watch->looked, batch->n);
	atomic_fetch_add(&watch->sent, batch->n_items);
}

/* Decide how a served watcher goes on. The caller holds news_lock, for which written() waits: so
 * the answer of stow_rpc_is_written() still holds when the watcher is moved. */
static void settle(struct scheduler_watch *watch, const struct watch_served *served)
{
	struct scheduler_watcher *w = served->watcher;

	if (w->ended) {
		leave(watch, w);
		watcher_free(w);
	} else if (served->err.code || !stow_rpc_is_written(served->call)) {
		move(watch, w, WATCHER_BUSY);
	} else {
		move(watch, w, served->n || served->behind ? WATCHER_READY : WATCHER_IDLE);
	}
}

/* Serve some watchers. Return false when none is ready. */
static bool serve(struct scheduler *s, uint64_t now)
{
	struct scheduler_watch *watch = s->watchers;
	struct watch_batch *batch = &watch->batch;

	pthread_mutex_lock(&s->news_lock);
	if (s->news && now >= watch->next_round) {
		release_idle(s);
		watch->next_round = now + PAUSE;
	}
	begin(s, batch);
	pthread_mutex_unlock(&s->news_lock);
	if (batch->n == 0)
		return false;
	stow_lock_take(&s->fleet->lock);
	for (size_t i = 0; i < batch->n; i++)
		scheduler_watch_collect(s, batch, &batch->served[i]);
	stow_lock_give(&s->fleet->lock);
	send_batch(watch, batch);
	pthread_mutex_lock(&s->news_lock);
	for (size_t i = 0; i < batch->n; i++)
		settle(watch, &batch->served[i]);
	pthread_mutex_unlock(&s->news_lock);
	for (size_t i = 0; i < batch->n; i++)
		stow_rpc_unref(batch->served[i].call);
	return true;
}

bool scheduler_watch_notify(struct scheduler *s)
{
	s->watchers->next_round = 0;
	return serve(s, 0);
}

/* --- the thread ----------------------------------------------------------- */

/* Pause after many messages, because the threads that write them have as much work with each as
 * this thread. Otherwise let threads go first that wait for the fleet's lock. */
static void pause_after(struct scheduler *s, size_t *n_sent, uint64_t *since)
{
	uint64_t now = stow_clock_monotonic();

	*n_sent += s->watchers->batch.n_items;
	if (*n_sent >= IN_A_ROW) {
		*n_sent = 0;
		stow_clock_sleep(STOW_MIN((now - *since) * 2, PAUSE));
		*since = stow_clock_monotonic();
	} else if (atomic_load_explicit(&s->fleet->lock.waiting, memory_order_relaxed)) {
		stow_clock_sleep(GIVE_WAY);
	}
}

/* Wait until a watcher is ready, or it is time to look at the idle ones. */
static void await(struct scheduler *s)
{
	struct scheduler_watch *watch = s->watchers;

	pthread_mutex_lock(&s->news_lock);
	while (!atomic_load(&s->stopping) && TAILQ_EMPTY(&watch->ready)) {
		uint64_t now = stow_clock_monotonic();
		struct timespec until;

		if (TAILQ_EMPTY(&watch->idle) || !s->news) {
			pthread_cond_wait(&s->news_changed, &s->news_lock);
			continue;
		}
		if (now >= watch->next_round)
			break;
		until = stow_clock_in(watch->next_round - now);
		pthread_cond_timedwait(&s->news_changed, &s->news_lock, &until);
	}
	pthread_mutex_unlock(&s->news_lock);
}

void *scheduler_watch_run(void *arg)
{
	struct scheduler *s = arg;
	uint64_t since = stow_clock_monotonic();
	size_t n_sent = 0;

	while (!atomic_load(&s->stopping)) {
		if (serve(s, stow_clock_monotonic())) {
			pause_after(s, &n_sent, &since);
			continue;
		}
		await(s);
		since = stow_clock_monotonic();
		n_sent = 0;
	}
	return NULL;
}

/* --- the method ----------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int read_names(struct scheduler_watcher *w, const PbWatchNodesRequest *in,
		      struct stow_err *err)
{
	size_t len = 0, at = 0;

	if (in->n_names > NAMES_MAX)
		return stow_err_set(err, EINVAL, "names: %zu; at most %d", in->n_names, NAMES_MAX);
	for (size_t i = 0; i < in->n_names; i++)
		len += strlen(in->names[i]) + 1;
	if (len > NAME_BYTES_MAX)
		return stow_err_set(err, EINVAL, "names: %zu bytes; at most %u", len,
				    NAME_BYTES_MAX);
	w->text = malloc(len + 1);
	w->names = calloc(in->n_names + 1, sizeof(*w->names));
	if (!w->text || !w->names)
		return stow_err_set(err, ENOMEM, "out of memory");
	for (; w->n_names < in->n_names; w->n_names++) {
		size_t size = strlen(in->names[w->n_names]) + 1;

		w->names[w->n_names] = memcpy(w->text + at, in->names[w->n_names], size);
		at += size;
	}
	qsort(w->names, w->n_names, sizeof(*w->names), compare_names);
	return 0;
}

static int opened(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	const PbWatchNodesRequest *in = request;
	struct scheduler_watcher *w = calloc(1, sizeof(*w));
	struct scheduler *s = ctx;
	int r = w ? read_names(w, in, err) : stow_err_set(err, ENOMEM, "out of memory");

	if (r < 0) {
		watcher_free(w);
		return r;
	}
	w->call = call;
	w->containers = in->containers;
	w->quota = 1;
	stow_rpc_set_data(call, w);
	stow_lock_take(&s->fleet->lock);
	w->seen_gone = s->fleet->n_gone;
	stow_lock_give(&s->fleet->lock);
	pthread_mutex_lock(&s->news_lock);
	enter(s->watchers, w, WATCHER_BUSY);
	pthread_mutex_unlock(&s->news_lock);
	return 0;
}

static void written(struct stow_rpc_call *call, void *ctx)
{
	struct scheduler_watcher *w = stow_rpc_data(call);
	struct scheduler *s = ctx;

	pthread_mutex_lock(&s->news_lock);
	if (w->state == WATCHER_BUSY) {
		if (TAILQ_EMPTY(&s->watchers->ready))
			pthread_cond_signal(&s->news_changed);
		move(s->watchers, w, WATCHER_READY);
	}
	pthread_mutex_unlock(&s->news_lock);
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct scheduler_watcher *gone = stow_rpc_data(call);
	struct scheduler *s = ctx;

	pthread_mutex_lock(&s->news_lock);
	gone->ended = true;
	if (gone->state == WATCHER_SERVED)
		gone = NULL; /* the other thread frees it */
	else
		leave(s->watchers, gone);
	pthread_mutex_unlock(&s->news_lock);
	watcher_free(gone);
}

const struct stow_rpc_stream_ops scheduler_watch_ops = { .open = opened,
							 .written = written,
							 .closed = closed };

/* --- beginning and end ---------------------------------------------------- */

int scheduler_watch_new(struct scheduler *s, struct stow_err *err)
{
	struct scheduler_watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return stow_err_set(err, ENOMEM, "out of memory");
	TAILQ_INIT(&watch->ready);
	TAILQ_INIT(&watch->idle);
	s->watchers = watch;
	return 0;
}

void scheduler_watch_free(struct scheduler *s)
{
	if (!s->watchers)
		return;
	scheduler_watch_events_done(&s->watchers->events);
	free(s->watchers);
	s->watchers = NULL;
}

void scheduler_watch_render(struct scheduler *s, FILE *out)
{
	static const char *const states[] = { "busy", "ready", "served", "idle" };
	struct scheduler_watch *watch = s->watchers;
	size_t n[WATCHER_STATES];

	pthread_mutex_lock(&s->news_lock);
	memcpy(n, watch->n, sizeof(n));
	pthread_mutex_unlock(&s->news_lock);
	stow_metric_head(out, "numastow_scheduler_watchers", "gauge",
			 "Calls of WatchNodes, by state: busy (its last message is not written "
			 "yet), ready (waits for its turn), served, idle (has everything).");
	for (size_t i = 0; i < WATCHER_STATES; i++)
		stow_metric(out, "numastow_scheduler_watchers", (double)n[i], "state", states[i],
			    NULL);
	stow_metric_head(out, "numastow_scheduler_watch_looks_total", "counter",
			 "How often a watcher was looked at for changes.");
	stow_metric(out, "numastow_scheduler_watch_looks_total",
		    (double)atomic_load(&watch->looked), NULL);
	stow_metric_head(out, "numastow_scheduler_watch_packed_total", "counter",
			 "Messages packed for watchers.");
	stow_metric(out, "numastow_scheduler_watch_packed_total",
		    (double)atomic_load(&watch->packed), NULL);
	stow_metric_head(out, "numastow_scheduler_watch_sent_total", "counter",
			 "Messages sent to watchers.");
	stow_metric(out, "numastow_scheduler_watch_sent_total", (double)atomic_load(&watch->sent),
		    NULL);
}
