// SPDX-License-Identifier: Apache-2.0
/*
 * What watchers are sent: from the newest change back to the last one that a watcher has seen. So
 * several changes of a machine cost a slow watcher one message.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "scheduler/service/watch.h"

#define PACK_MOST  (64U << 10) /* bytes packed while the lock is held; one message may be longer */
#define BYTES_MOST (64U << 10) /* to one watcher at a time; the same */
#define KEEP_MOST  (16U << 20) /* bytes of packed messages that are kept */
#define QUOTA_MOST 64

/* --- packed messages ------------------------------------------------------ */

static struct stow_rpc_packed *pack(const PbNodeEvent *event)
{
	size_t len = pb_node_event__get_packed_size(event);
	uint8_t *bytes = malloc(len + 1);

	if (bytes)
		pb_node_event__pack(event, bytes);
	return stow_rpc_packed_new(bytes, len);
}

static struct stow_rpc_packed *pack_synced(struct watch_events *events)
{
	PbNodeEvent event = PB_NODE_EVENT__INIT;

	event.kind_case = PB_NODE_EVENT__KIND_SYNCED;
	event.synced = 1;
	if (!events->synced)
		events->synced = pack(&event);
	return events->synced ? stow_rpc_packed_ref(events->synced) : NULL;
}

static void drop(struct watch_events *events)
{
	for (size_t i = 0; i < 2 * WATCH_EVENTS; i++) {
		stow_rpc_packed_unref(events->of[i % 2][i / 2].packed);
		events->of[i % 2][i / 2].packed = NULL;
		events->of[i % 2][i / 2].changed = 0;
	}
	events->bytes = 0;
}

void scheduler_watch_events_done(struct watch_events *events)
{
	drop(events);
	stow_rpc_packed_unref(events->synced);
	events->synced = NULL;
}

/* Return the message of a machine as it is now, with a reference, from the kept ones or packed.
 * NULL: out of memory. */
static struct stow_rpc_packed *node_event(struct scheduler_watch *watch, struct watch_batch *batch,
					  const struct stow_machine *m, bool containers)
{
	struct watch_events *events = &watch->events;
	size_t at = m->changed % WATCH_EVENTS, size;
	struct stow_rpc_packed *packed;
	uint8_t *bytes;

	if (events->of[containers][at].changed == m->changed)
		return stow_rpc_packed_ref(events->of[containers][at].packed);
	bytes = scheduler_nodes_event(m, containers, &size);
	packed = stow_rpc_packed_new(bytes, size);
	if (!packed)
		return NULL;
	atomic_fetch_add(&watch->packed, 1);
	batch->packed += size;
	if (events->bytes + size > KEEP_MOST)
		drop(events);
	if (events->of[containers][at].packed)
		events->bytes -= stow_rpc_packed_size(events->of[containers][at].packed);
	stow_rpc_packed_unref(events->of[containers][at].packed);
	events->of[containers][at].packed = stow_rpc_packed_ref(packed);
	events->of[containers][at].changed = m->changed;
	events->bytes += size;
	return packed;
}

/* --- one watcher ---------------------------------------------------------- */

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, *(const char *const *)b);
}

static bool wants(const struct scheduler_watcher *w, const char *name)
{
	return w->n_names == 0 ||
	       bsearch(name, w->names, w->n_names, sizeof(*w->names), compare_names);
}

static bool behind(const struct stow_fleet *fleet, const struct scheduler_watcher *w)
{
	return w->seen_gone < fleet->n_gone || (fleet->newest && w->seen < fleet->newest->changed);
}

/* Add a message, which is taken. NULL: out of memory, which ends the stream. */
static bool add(struct watch_batch *batch, struct watch_served *served,
		struct stow_rpc_packed *packed)
{
	if (!packed) {
		stow_err_set(&served->err, ENOMEM, "out of memory");
		return false;
	}
	batch->items[batch->n_items++] = packed;
	served->n++;
	return true;
}

static bool has_room(const struct watch_batch *batch, const struct watch_served *served)
{
	return served->n < served->watcher->quota && batch->n_items < WATCH_ITEMS &&
	       batch->looked < WATCH_LOOKS && batch->packed < PACK_MOST;
}

static bool collect_gone(const struct stow_fleet *fleet, struct watch_batch *batch,
			 struct watch_served *served)
{
	struct scheduler_watcher *w = served->watcher;
	PbNodeEvent event = PB_NODE_EVENT__INIT;

	/* The ring no longer has what the watcher missed: it must watch again. */
	if (fleet->n_gone - w->seen_gone > STOW_GONE_KEPT) {
		stow_err_set(&served->err, ENOBUFS,
			     "too slow: more than %d nodes were removed; watch again",
			     STOW_GONE_KEPT);
		return false;
	}
	for (; w->seen_gone < fleet->n_gone && has_room(batch, served); w->seen_gone++) {
		const char *name = fleet->gone[w->seen_gone % STOW_GONE_KEPT].name;

		batch->looked++;
		if (!name || !wants(w, name) || stow_fleet_find(fleet, name))
			continue;
		event.kind_case = PB_NODE_EVENT__KIND_GONE;
		event.gone = (char *)(uintptr_t)name;
		if (!add(batch, served, pack(&event)))
			return false;
	}
	return w->seen_gone == fleet->n_gone;
}

/* Continue after the last one sent, if it has not changed again. */
static const struct stow_machine *after_last(const struct stow_fleet *fleet,
					     const struct scheduler_watcher *w)
{
	if (w->last && w->last_gone == fleet->n_gone && w->last->changed == w->seen)
		return w->last->newer;
	return NULL;
}

/* Return the oldest change that a watcher has not seen; NULL: not found within the batch's bound. A
 * watcher that is so far behind that its position is lost begins anew, and gets the oldest again. */
static const struct stow_machine *first_news(const struct stow_fleet *fleet,
					     struct watch_batch *batch, struct scheduler_watcher *w)
{
	const struct stow_machine *m = after_last(fleet, w);
	unsigned int looks = WATCH_LOOKS - batch->looked;
	bool too_old;

	if (m)
		return m;
	if (fleet->oldest && fleet->oldest->changed > w->seen)
		return fleet->oldest;
	m = stow_fleet_next(fleet, &w->seen, &looks, &too_old);
	batch->looked = WATCH_LOOKS - looks;
	if (!too_old)
		return m;
	w->seen = 0;
	return fleet->oldest;
}

static bool collect_nodes(struct scheduler *s, struct watch_batch *batch,
			  struct watch_served *served)
{
	struct scheduler_watcher *w = served->watcher;
	size_t bytes = 0;

	for (const struct stow_machine *m = first_news(s->fleet, batch, w);
	     m && m->changed > w->seen && has_room(batch, served) && bytes < BYTES_MOST;
	     m = m->newer) {
		batch->looked++;
		if (wants(w, m->name)) {
			if (!add(batch, served, node_event(s->watchers, batch, m, w->containers)))
				return false;
			bytes += stow_rpc_packed_size(batch->items[batch->n_items - 1]);
		}
		w->seen = m->changed;
		w->last = m;
		w->last_gone = s->fleet->n_gone;
	}
	return true;
}

void scheduler_watch_collect(struct scheduler *s, struct watch_batch *batch,
			     struct watch_served *served)
{
	struct scheduler_watcher *w = served->watcher;

	served->first = batch->n_items;
	if (behind(s->fleet, w) && collect_gone(s->fleet, batch, served))
		collect_nodes(s, batch, served);
	served->behind = behind(s->fleet, w);
	if (!w->synced && !served->behind && served->err.code == 0 && has_room(batch, served))
		w->synced = add(batch, served, pack_synced(&s->watchers->events));
	served->behind |= !w->synced;
	if (served->n == w->quota && w->quota < QUOTA_MOST)
		w->quota *= 2;
}
