// SPDX-License-Identifier: Apache-2.0
/*
 * WatchNodes. A thread of its own notifies watchers. It goes from the newest change back to the
 * last one that a watcher has seen. So a change costs one message per watcher, and several changes
 * of a machine cost a slow watcher only one message.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "scheduler/service/service.h"

#define BACKLOG_MAX (1U << 20)	      /* bytes; a slower watcher is notified later */
#define PAUSE	    UINT64_C(5000000) /* ns between two rounds */
#define AT_ONCE	    16		      /* nodes sent to one watcher per hold of the lock */
#define BATCHES	    8		      /* such batches before the next watcher's */
#define LOOKS	    128		      /* watchers checked per hold, when nothing is sent */
#define IN_A_ROW    256		      /* messages without a pause */

#define NAMES_MAX 1024

struct scheduler_watcher {
	struct scheduler_watcher *next, *prev;
	struct stow_rpc_call *call; /* until `closed` */
	uint64_t round;		    /* in which it was last notified */
	unsigned int batches;	    /* in this round */
	uint64_t seen;		    /* the fleet's clock */
	size_t seen_gone;
	const struct stow_machine *last; /* the last one sent; valid while `last_gone` is */
	size_t last_gone;
	char **names;
	size_t n_names;
	bool containers, synced;
};

static bool wants(const struct scheduler_watcher *w, const char *name)
{
	for (size_t i = 0; i < w->n_names; i++)
		if (strcmp(w->names[i], name) == 0)
			return true;
	return w->n_names == 0;
}

static bool behind(const struct stow_fleet *fleet, const struct scheduler_watcher *w)
{
	return w->seen_gone < fleet->n_gone || (fleet->newest && w->seen < fleet->newest->changed);
}

/* Send removed nodes. Returns the number of messages. */
static size_t tell_gone(const struct stow_fleet *fleet, struct scheduler_watcher *w)
{
	PbNodeEvent event = PB_NODE_EVENT__INIT;
	size_t n = 0;

	/* The ring no longer has what the watcher missed: it must watch again. */
	if (fleet->n_gone - w->seen_gone > STOW_GONE_KEPT) {
		struct stow_err err;

		stow_err_set(&err, ENOBUFS,
			     "too slow: more than %d nodes were removed; watch again",
			     STOW_GONE_KEPT);
		stow_rpc_close(w->call, &err);
		w->seen_gone = fleet->n_gone;
		return 0;
	}
	for (; w->seen_gone < fleet->n_gone && n < AT_ONCE; w->seen_gone++) {
		const char *name = fleet->gone[w->seen_gone % STOW_GONE_KEPT].name;

		if (!name || !wants(w, name) || stow_fleet_find(fleet, name))
			continue;
		event.kind_case = PB_NODE_EVENT__KIND_GONE;
		event.gone = (char *)(uintptr_t)name;
		stow_rpc_send(w->call, &event);
		n++;
	}
	return n;
}

/* Messages for one watcher, which are sent without the lock. */
struct news {
	struct stow_rpc_call *call; /* a reference */
	PbNode *nodes[AT_ONCE];
	size_t n_nodes, n_sent;
	bool synced;
};

static void send_news(struct news *news)
{
	PbNodeEvent event = PB_NODE_EVENT__INIT;

	for (size_t i = 0; i < news->n_nodes; i++) {
		event.kind_case = PB_NODE_EVENT__KIND_NODE;
		event.node = news->nodes[i];
		stow_rpc_send(news->call, &event);
		stow_rpc_message_free(news->nodes[i]);
	}
	if (news->synced) {
		event.kind_case = PB_NODE_EVENT__KIND_SYNCED;
		event.synced = 1;
		stow_rpc_send(news->call, &event);
	}
	stow_rpc_unref(news->call);
}

/* Return the oldest change that a watcher has not seen. */
static const struct stow_machine *first_news(const struct stow_fleet *fleet,
					     const struct scheduler_watcher *w)
{
	const struct stow_machine *m = fleet->newest;

	/* No machine was removed, and this one has not changed again: continue from it. */
	if (w->last && w->last_gone == fleet->n_gone && w->last->changed == w->seen)
		return w->last->newer;
	if (fleet->oldest && fleet->oldest->changed > w->seen)
		return fleet->oldest;
	while (m && m->changed > w->seen && m->older && m->older->changed > w->seen)
		m = m->older;
	return m;
}

/* Collect the changes since the last time, oldest first. Returns false when the watcher reads
 * too slowly. */
static bool gather(const struct stow_fleet *fleet, struct scheduler_watcher *w, struct news *ret)
{
	const struct stow_machine *m;
	size_t size = 0;
	int looked = 0;

	*ret = (struct news){ 0 };
	if (stow_rpc_backlog(w->call) > BACKLOG_MAX)
		return false;
	ret->n_sent = tell_gone(fleet, w);
	for (m = first_news(fleet, w);
	     m && m->changed > w->seen && looked < AT_ONCE && size < BACKLOG_MAX;
	     m = m->newer, looked++) {
		w->seen = m->changed;
		w->last = m;
		w->last_gone = fleet->n_gone;
		if (!wants(w, m->name))
			continue;
		ret->nodes[ret->n_nodes] = scheduler_nodes_show(m, w->containers);
		if (ret->nodes[ret->n_nodes])
			size += protobuf_c_message_get_packed_size(
				&ret->nodes[ret->n_nodes++]->base);
	}
	if (!w->synced && !behind(fleet, w))
		ret->synced = w->synced = true;
	ret->n_sent += ret->n_nodes + ret->synced;
	ret->call = stow_rpc_ref(w->call);
	return true;
}

static void unlink_watcher(struct scheduler *s, struct scheduler_watcher *w)
{
	*(w->prev ? &w->prev->next : &s->watchers) = w->next;
	*(w->next ? &w->next->prev : &s->last_watcher) = w->prev;
}

static void append_watcher(struct scheduler *s, struct scheduler_watcher *w)
{
	w->next = NULL;
	w->prev = s->last_watcher;
	*(w->prev ? &w->prev->next : &s->watchers) = w;
	s->last_watcher = w;
}

/* Pause after many messages, without the lock: the threads that serve have as much work with
 * each message as this one. */
static void pause_after(size_t *n_sent, uint64_t *since)
{
	uint64_t now = stow_clock_monotonic();

	if (*n_sent < IN_A_ROW)
		return;
	*n_sent = 0;
	stow_clock_sleep(STOW_MIN((now - *since) * 2, PAUSE));
	*since = stow_clock_monotonic();
}

bool scheduler_watch_notify(struct scheduler *s)
{
	struct stow_fleet *fleet = s->fleet;
	uint64_t round = ++s->watch_round, clock = fleet->clock, gone = fleet->n_gone;
	uint64_t since = stow_clock_monotonic();
	size_t n_sent = 0, looks = 0;
	struct scheduler_watcher *w;
	bool more = false;

	s->watch_again = false;
	/* A notified watcher moves to the end, because the list may change while the lock is
	 * released. */
	while ((w = s->watchers) && w->round != round && !atomic_load(&s->stopping)) {
		struct news news;
		bool told = false;

		if (behind(fleet, w) || !w->synced) {
			more = true;
			told = gather(fleet, w, &news);
		}
		if (!told || !behind(fleet, w) || ++w->batches == BATCHES) {
			w->round = round;
			w->batches = 0;
			unlink_watcher(s, w);
			append_watcher(s, w);
		}
		if (told) {
			stow_lock_give(&fleet->lock);
			n_sent += news.n_sent;
			send_news(&news);
			pause_after(&n_sent, &since);
			stow_lock_take(&fleet->lock);
		}
		if (told || ++looks == LOOKS) {
			looks = 0;
			stow_lock_yield(&fleet->lock);
		}
	}
	return more || s->watch_again || fleet->clock != clock || fleet->n_gone != gone;
}

void *scheduler_watch_run(void *arg)
{
	struct scheduler *s = arg;

	stow_lock_take(&s->fleet->lock);
	while (!atomic_load(&s->stopping)) {
		if (!scheduler_watch_notify(s)) {
			stow_lock_wait(&s->fleet->lock, &s->changed);
			continue;
		}
		stow_lock_give(&s->fleet->lock);
		stow_clock_sleep(PAUSE);
		stow_lock_take(&s->fleet->lock);
	}
	stow_lock_give(&s->fleet->lock);
	return NULL;
}

static void watcher_free(struct scheduler_watcher *w)
{
	if (!w)
		return;
	for (size_t i = 0; i < w->n_names; i++)
		free(w->names[i]);
	free(w->names);
	free(w);
}

static int opened(struct stow_rpc_call *call, void *ctx, const void *request, struct stow_err *err)
{
	const PbWatchNodesRequest *in = request;
	struct scheduler_watcher *w = calloc(1, sizeof(*w));
	struct scheduler *s = ctx;

	if (in->n_names > NAMES_MAX) {
		free(w);
		return stow_err_set(err, EINVAL, "names: %zu; at most %d", in->n_names, NAMES_MAX);
	}
	if (w)
		w->names = calloc(in->n_names + 1, sizeof(*w->names));
	if (!w || !w->names) {
		watcher_free(w);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	for (; w->n_names < in->n_names; w->n_names++) {
		/* Longer than any name, so it matches no node. */
		w->names[w->n_names] = strndup(in->names[w->n_names], 254);
		if (!w->names[w->n_names]) {
			watcher_free(w);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
	}
	w->call = call;
	stow_rpc_set_data(call, w);
	w->containers = in->containers;
	stow_lock_take(&s->fleet->lock);
	w->seen_gone = s->fleet->n_gone;
	append_watcher(s, w);
	s->watch_again = true;
	scheduler_news(s);
	stow_lock_give(&s->fleet->lock);
	return 0;
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct scheduler_watcher *gone = stow_rpc_data(call);
	struct scheduler *s = ctx;

	stow_lock_take(&s->fleet->lock);
	unlink_watcher(s, gone);
	stow_lock_give(&s->fleet->lock);
	watcher_free(gone);
}

const struct stow_rpc_stream_ops scheduler_watch_ops = { .open = opened, .closed = closed };
