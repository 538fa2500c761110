/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/link_inbox.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "numastow/v1/scheduler.pb-c.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

/* Directives that wait for the main thread, of all streams together. From then on no more is read
 * from the stream, until half of them are carried out. */
#define WAITING_MAX	  1024
#define WAITING_BYTES_MAX ((size_t)1 << 20)

#define WORK_FOR (50 * STOW_MILLISECOND) /* on directives, at a time */

static struct agent_link_event *event_new(struct stow_rpc_call *call)
{
	struct agent_link_event *event = calloc(1, sizeof(*event));

	if (event)
		event->call = stow_rpc_ref(call);
	return event;
}

static void event_free(struct agent_link_event *event)
{
	stow_rpc_unref(event->call);
	free(event->packed);
	free(event);
}

/* --- the main thread ------------------------------------------------------ */

/* Count a directive that the main thread is done with, and read on when few enough wait. */
static void taken(struct agent_link_inbox *inbox, size_t size)
{
	size_t n = atomic_fetch_sub(&inbox->waiting, 1) - 1;
	size_t bytes = atomic_fetch_sub(&inbox->waiting_bytes, size) - size;

	if (inbox->call && n <= WAITING_MAX / 2 && bytes <= WAITING_BYTES_MAX / 2)
		stow_rpc_resume(inbox->call);
}

static void drop_first(struct agent_link_inbox *inbox)
{
	struct agent_link_event *event = inbox->first;
	size_t size = event->size;
	bool counted = event->packed;

	inbox->first = event->next;
	if (!inbox->first)
		inbox->last = &inbox->first;
	event_free(event);
	if (counted)
		taken(inbox, size);
}

/* Handle events for some time. The others wait for another task, so that timers, descriptors and
 * other tasks have their turn. */
static void work(void *ctx, void *arg)
{
	struct agent_link_inbox *inbox = ctx;
	uint64_t until = stow_clock_monotonic() + WORK_FOR;

	while (inbox->first && stow_clock_monotonic() < until)
		if (!inbox->handle(inbox->ctx, inbox->first, until))
			drop_first(inbox);
	inbox->posted = inbox->first;
	if (inbox->posted)
		agent_loop_post(inbox->loop, work, inbox, NULL);
}

static void on_event(void *ctx, void *arg)
{
	struct agent_link_inbox *inbox = ctx;

	*inbox->last = arg;
	inbox->last = &(*inbox->last)->next;
	if (!inbox->posted)
		work(inbox, NULL);
}

void agent_link_inbox_init(struct agent_link_inbox *inbox, struct agent_loop_handle *loop,
			   bool (*handle)(void *ctx, const struct agent_link_event *event,
					  uint64_t until),
			   void *ctx)
{
	inbox->loop = loop;
	inbox->handle = handle;
	inbox->ctx = ctx;
	inbox->last = &inbox->first;
}

void agent_link_inbox_done(struct agent_link_inbox *inbox)
{
	while (inbox->first)
		drop_first(inbox);
}

void agent_link_inbox_follow(struct agent_link_inbox *inbox, struct stow_rpc_call *call)
{
	inbox->call = call;
	if (call)
		atomic_store(&inbox->paused, false);
}

/* --- gRPC's threads ------------------------------------------------------- */

/* Read no more while too much waits. Pause before the message is posted: the main thread may end
 * the pause only when it is done with a message, which may be this one. */
static void count_waiting(struct agent_link_inbox *inbox, struct stow_rpc_call *call, size_t size)
{
	size_t n = atomic_fetch_add(&inbox->waiting, 1) + 1;
	size_t bytes = atomic_fetch_add(&inbox->waiting_bytes, size) + size;

	if (n < WAITING_MAX && bytes < WAITING_BYTES_MAX)
		return;
	stow_rpc_pause(call);
	atomic_fetch_add(&inbox->pauses, 1);
	/* One directive that is large by itself is no flood. */
	if (n > 1 && !atomic_exchange(&inbox->paused, true))
		stow_log(STOW_LOG_WARNING,
			 "the scheduler sends directives faster than they are carried out",
			 stow_number("waiting", n), stow_number("bytes", bytes));
}

/* The message is valid only during the callback, so a copy is posted. */
static int message(struct stow_rpc_call *call, void *ctx, const void *message, struct stow_err *err)
{
	struct agent_link_inbox *inbox = ctx;
	struct agent_link_event *event = event_new(call);

	if (event) {
		event->size = pb_directive__get_packed_size(message);
		event->packed = malloc(event->size + 1);
	}
	if (!event || !event->packed) {
		if (event)
			event_free(event);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	pb_directive__pack(message, event->packed);
	atomic_fetch_add(&inbox->received, 1);
	count_waiting(inbox, call, event->size);
	agent_loop_post(inbox->loop, on_event, inbox, event);
	return 0;
}

static void closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct agent_link_inbox *inbox = ctx;
	struct agent_link_event *event = event_new(call);

	if (!event)
		abort(); /* as in agent_loop_post(): without it, the agent never connects again */
	if (err)
		event->err = *err;
	agent_loop_post(inbox->loop, on_event, inbox, event);
}

const struct stow_rpc_stream_ops agent_link_inbox_ops = { .message = message, .closed = closed };

/* --- metrics -------------------------------------------------------------- */

void agent_link_inbox_render(const struct agent_link_inbox *inbox, FILE *out)
{
	const struct {
		const char *name, *type, *help;
		uint64_t value;
	} metrics[] = {
		{ "numastow_agent_directives_total", "counter", "Directives of schedulers.",
		  atomic_load(&inbox->received) },
		{ "numastow_agent_directives_waiting", "gauge",
		  "Directives that wait to be carried out.", atomic_load(&inbox->waiting) },
		{ "numastow_agent_directives_waiting_bytes", "gauge", "Bytes of them.",
		  atomic_load(&inbox->waiting_bytes) },
		{ "numastow_agent_directive_pauses_total", "counter",
		  "How often too many waited, so that the stream was not read.",
		  atomic_load(&inbox->pauses) },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(metrics); i++) {
		stow_metric_head(out, metrics[i].name, metrics[i].type, metrics[i].help);
		stow_metric(out, metrics[i].name, (double)metrics[i].value, NULL);
	}
}
