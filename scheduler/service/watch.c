// SPDX-License-Identifier: Apache-2.0
/*
 * WatchNodes. A thread of its own tells: it goes from the newest change back to what a watcher has
 * seen, so that a change costs each watcher one message, and many changes of one machine while a
 * watcher is slow cost him one, too.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "scheduler/service/service.h"

#define BACKLOG_MAX (1U << 20)	      /* bytes: who is that far behind is told later */
#define PAUSE	    UINT64_C(5000000) /* ns between two rounds */
#define AT_ONCE	    128 /* nodes that one watcher is told of with one hold of the lock */

#define NAMES_MAX 1024

struct scheduler_watcher {
	struct scheduler_watcher *next;
	struct stow_rpc_call *call; /* until `closed` */
	uint64_t round;		    /* in which it was told last */
	uint64_t seen;		    /* the fleet's clock */
	size_t seen_gone;
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

static void tell_node(struct scheduler_watcher *w, const struct stow_machine *machine)
{
	PbNodeEvent event = PB_NODE_EVENT__INIT;
	PbNode *node;

	if (!wants(w, machine->name))
		return;
	node = scheduler_nodes_show(machine, w->containers);
	if (!node)
		return;
	event.kind_case = PB_NODE_EVENT__KIND_NODE;
	event.node = node;
	stow_rpc_send(w->call, &event);
	stow_rpc_message_free(node);
}

static void tell_gone(const struct stow_fleet *fleet, struct scheduler_watcher *w)
{
	PbNodeEvent event = PB_NODE_EVENT__INIT;

	/* What it has missed cannot be told any more: it begins anew. */
	if (fleet->n_gone - w->seen_gone > STOW_GONE_KEPT) {
		struct stow_err err;

		stow_err_set(&err, ENOBUFS, "too slow: more than %d nodes are gone; watch again",
			     STOW_GONE_KEPT);
		stow_rpc_close(w->call, &err);
		w->seen_gone = fleet->n_gone;
		return;
	}
	for (; w->seen_gone < fleet->n_gone; w->seen_gone++) {
		const char *name = fleet->gone[w->seen_gone % STOW_GONE_KEPT].name;

		if (!name || !wants(w, name) || stow_fleet_find(fleet, name))
			continue;
		event.kind_case = PB_NODE_EVENT__KIND_GONE;
		event.gone = (char *)(uintptr_t)name;
		stow_rpc_send(w->call, &event);
	}
}

/* Everything since the last time, the oldest change first. */
static void tell(const struct stow_fleet *fleet, struct scheduler_watcher *w)
{
	const struct stow_machine *m = fleet->newest;
	PbNodeEvent event = PB_NODE_EVENT__INIT;
	int n = 0;

	if (stow_rpc_backlog(w->call) > BACKLOG_MAX)
		return;
	tell_gone(fleet, w);
	if (fleet->oldest && fleet->oldest->changed > w->seen)
		m = fleet->oldest;
	while (m && m->changed > w->seen && m->older && m->older->changed > w->seen)
		m = m->older;
	for (; m && m->changed > w->seen; m = m->newer) {
		w->seen = m->changed;
		tell_node(w, m);
		if (++n == AT_ONCE || stow_rpc_backlog(w->call) > BACKLOG_MAX)
			return;
	}
	if (!w->synced) {
		w->synced = true;
		event.kind_case = PB_NODE_EVENT__KIND_SYNCED;
		event.synced = 1;
		stow_rpc_send(w->call, &event);
	}
}

static bool all_told(const struct scheduler *s)
{
	for (const struct scheduler_watcher *w = s->watchers; w; w = w->next)
		if (!w->synced || w->seen_gone < s->fleet->n_gone ||
		    (s->fleet->newest && w->seen < s->fleet->newest->changed))
			return false;
	return true;
}

bool scheduler_watch_tell(struct scheduler *s)
{
	struct scheduler_watcher *w = s->watchers;
	uint64_t round = ++s->watch_round;

	if (all_told(s))
		return false;
	/* The lock is given up between two of them, so the list may be another one then. */
	while (w) {
		w->round = round;
		tell(s->fleet, w);
		stow_lock_yield(&s->fleet->lock);
		for (w = s->watchers; w && w->round == round;)
			w = w->next;
	}
	return true;
}

void *scheduler_watch_run(void *arg)
{
	struct scheduler *s = arg;

	stow_lock_take(&s->fleet->lock);
	while (!atomic_load(&s->stopping)) {
		if (!scheduler_watch_tell(s)) {
			stow_lock_wait(&s->fleet->lock, &s->changed);
			continue;
		}
		stow_lock_give(&s->fleet->lock);
		nanosleep(&(struct timespec){ .tv_nsec = PAUSE }, NULL);
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
		/* Longer than any name: it is nobody's. */
		w->names[w->n_names] = strndup(in->names[w->n_names], 254);
		if (!w->names[w->n_names]) {
			watcher_free(w);
			return stow_err_set(err, ENOMEM, "out of memory");
		}
	}
	w->call = call;
	w->containers = in->containers;
	stow_lock_take(&s->fleet->lock);
	w->seen_gone = s->fleet->n_gone;
	w->next = s->watchers;
	s->watchers = w;
	scheduler_news(s);
	stow_lock_give(&s->fleet->lock);
	return 0;
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct scheduler_watcher *gone, **at;
	struct scheduler *s = ctx;

	stow_lock_take(&s->fleet->lock);
	for (at = &s->watchers; *at && (*at)->call != call; at = &(*at)->next)
		;
	gone = *at;
	if (gone)
		*at = gone->next;
	stow_lock_give(&s->fleet->lock);
	watcher_free(gone);
}

const struct stow_rpc_stream_ops scheduler_watch_ops = { .open = opened, .closed = closed };
