// SPDX-License-Identifier: Apache-2.0
/* Calls of DrainMemory, which follow a drain. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "scheduler/drain/drain_internal.h"
#include "scheduler/drain/progress.h"
#include "scheduler/fleet/message.h"

#define BACKLOG_MAX (1U << 20) /* bytes; a slower follower misses messages, except the last one */

void scheduler_drain_follow(struct scheduler_drain *d, struct scheduler_follower *f)
{
	f->drain = d;
	f->next = d->followers;
	d->followers = f;
	d->n_followers++;
}

void scheduler_drain_unfollow(struct scheduler_drain *d, struct scheduler_follower *f)
{
	struct scheduler_follower **at = &d->followers;

	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	d->n_followers--;
}

void scheduler_drain_send_one(const struct scheduler_drain *d, struct scheduler_follower *f,
			      bool whole)
{
	PbDrainProgress out = *d->message->progress;

	out.plan = whole ? d->message->plan : NULL;
	stow_rpc_send(f->call, &out);
}

void scheduler_drain_send(struct scheduler_drain *d, bool whole)
{
	bool over = scheduler_drain_ended(d);
	struct scheduler_follower *f = d->followers, *next;

	for (; f; f = next) {
		next = f->next;
		if (over || stow_rpc_backlog(f->call) <= BACKLOG_MAX)
			scheduler_drain_send_one(d, f, whole);
		if (!over)
			continue;
		f->drain = NULL;
		stow_rpc_close(f->call, NULL);
	}
	if (over) {
		d->followers = NULL;
		d->n_followers = 0;
	}
}

void scheduler_drain_hang_up(struct scheduler_drain *d, const struct stow_err *err)
{
	for (struct scheduler_follower *f = d->followers; f; f = f->next) {
		f->drain = NULL;
		stow_rpc_close(f->call, err);
	}
	d->followers = NULL;
	d->n_followers = 0;
}

void scheduler_drain_status(struct scheduler_drain *d, const char *fmt, ...)
{
	char text[SCHEDULER_TEXT_MAX];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (strcmp(d->message->progress->message, text) == 0)
		return;
	stow_message_set_text(&d->message->progress->message, text);
	d->message->updated = stow_now().wall;
	if (d->known)
		scheduler_drain_send(d, false);
}

void scheduler_drains_stop(struct scheduler *s)
{
	struct stow_err err;

	stow_err_set(&err, ESHUTDOWN, "the scheduler is stopping; the drain stays");
	for (size_t i = 0; i < s->drains->n_under_way; i++)
		scheduler_drain_hang_up(s->drains->under_way[i], &err);
	for (size_t i = 0; i < s->drains->n_ended; i++)
		scheduler_drain_hang_up(s->drains->ended[i], &err);
}
