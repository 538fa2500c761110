/* SPDX-License-Identifier: Apache-2.0 */
#include "kube/follow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"

#define FIRST (STOW_SECOND / 2)	  /* pause after a failure */
#define MOST  (60 * STOW_SECOND)  /* longest pause after several failures */
#define PAUSE STOW_SECOND	  /* between two watches */
#define AGAIN (5 * STOW_SECOND)	  /* between two lists */
#define EVERY (600 * STOW_SECOND) /* a list, whatever the watch says */

static void on_event(void *ctx, enum stow_kube_event event, struct json_object *object)
{
	struct stow_kube_follow *follow = ctx;

	follow->seen(follow->ctx, object, event == STOW_KUBE_DELETED);
}

static void on_ended(void *ctx, int r, const struct stow_err *why)
{
	struct stow_kube_follow *follow = ctx;

	follow->ended = true;
	follow->code = r;
	follow->why = *why;
}

static int visit(void *ctx, struct json_object *object)
{
	struct stow_kube_follow *follow = ctx;

	follow->seen(follow->ctx, object, false);
	return 0;
}

static int list(struct stow_kube_follow *follow, struct stow_err *err)
{
	_cleanup_free_ char *version = NULL;
	int r;

	if (follow->begin)
		follow->begin(follow->ctx);
	r = stow_kube_list(follow->kube, follow->collection, &follow->select, visit, follow,
			   &version, err);
	if (r < 0)
		return r;
	if (follow->listed)
		follow->listed(follow->ctx);
	snprintf(follow->version, sizeof(follow->version), "%s", version);
	follow->listed_at = stow_clock_boot();
	return 0;
}

/* Free a watch that has ended, and keep the version from which to continue. */
static int conclude(struct stow_kube_follow *follow, struct stow_err *err)
{
	int r = follow->code;

	snprintf(follow->version, sizeof(follow->version), "%s",
		 stow_kube_watch_version(follow->watch));
	stow_kube_watch_free(follow->watch);
	follow->watch = NULL;
	follow->ended = false;
	if (r < 0)
		follow->version[0] = '\0';
	/* Do not ask a server again and again that ends each watch at once. */
	follow->not_before = stow_saturating_add(follow->began, PAUSE);
	if (r == 0 || r == -ESTALE)
		return 0;
	return stow_err_move(err, r, &follow->why);
}

static int go_on(struct stow_kube_follow *follow, struct stow_err *err)
{
	static const struct stow_kube_watch_ops ops = { .event = on_event, .ended = on_ended };
	int r = 0;

	if (follow->watch && follow->ended) {
		r = conclude(follow, err);
		if (r == 0 && stow_clock_boot() < follow->not_before)
			return 0;
	}
	if (r == 0 && !follow->watch && !follow->version[0])
		r = list(follow, err);
	follow->began = stow_clock_boot();
	if (r == 0 && !follow->watch)
		r = stow_kube_watch(follow->kube, follow->collection, &follow->select,
				    follow->version, &ops, follow, &follow->watch, err);
	return r;
}

int64_t stow_kube_follow_look(struct stow_kube_follow *follow, struct stow_err *err)
{
	uint64_t now = stow_clock_boot(), since;
	int r;

	if (now < follow->not_before)
		return (int64_t)(follow->not_before - now);
	since = stow_clock_elapsed(follow->listed_at, now);
	if (follow->again && follow->version[0] && since < AGAIN)
		return (int64_t)(AGAIN - since);
	if (follow->again || since >= EVERY)
		stow_kube_follow_stop(follow);
	follow->again = false;
	if (follow->watch && !follow->ended)
		return (int64_t)EVERY;
	r = go_on(follow, err);
	if (r == 0) {
		follow->failures = 0;
		now = stow_clock_boot();
		return (int64_t)(follow->watch		    ? EVERY
				 : follow->not_before > now ? follow->not_before - now
							    : 0);
	}
	follow->version[0] = '\0';
	follow->not_before = stow_clock_boot() + stow_kube_backoff(++follow->failures, FIRST, MOST);
	return r;
}

void stow_kube_follow_again(struct stow_kube_follow *follow)
{
	follow->again = true;
}

void stow_kube_follow_stop(struct stow_kube_follow *follow)
{
	stow_kube_watch_free(follow->watch);
	follow->watch = NULL;
	follow->ended = false;
	follow->version[0] = '\0';
}
