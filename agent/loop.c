/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/loop.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/signals.h"

#define AT_ONCE	  16			  /* descriptors per wait */
#define TASKS_FOR (50 * STOW_MILLISECOND) /* then timers and descriptors have their turn */

struct task {
	struct task *next;
	void (*run)(void *ctx, void *arg);
	void *ctx, *arg;
};

struct agent_loop_handle {
	int wake;		/* eventfd: tasks are pending */
	_Atomic uint64_t awake; /* busy since then; 0: it sleeps */
	pthread_mutex_t lock;
	struct task *tasks, **end; /* under the lock */
};

struct descriptor {
	struct descriptor *next;
	void (*ready)(void *ctx);
	void *ctx;
};

struct ticker {
	struct ticker *next;
	uint64_t (*tick)(void *ctx, uint64_t now);
	void *ctx;
};

struct agent_loop {
	struct agent_loop_handle handle;
	int epoll;
	struct descriptor *descriptors;
	struct ticker *tickers, **tickers_end;
	int signals; /* owned by the caller; -1: none */
	void (*reload)(void *ctx);
	void *reload_ctx;
	bool stopping;
};

/* --- tasks ---------------------------------------------------------------- */

void agent_loop_post(struct agent_loop_handle *handle, void (*run)(void *ctx, void *arg), void *ctx,
		     void *arg)
{
	struct task *task = calloc(1, sizeof(*task));

	if (!task)
		abort(); /* losing the end of a stream would be worse */
	task->run = run;
	task->ctx = ctx;
	task->arg = arg;
	pthread_mutex_lock(&handle->lock);
	*handle->end = task;
	handle->end = &task->next;
	pthread_mutex_unlock(&handle->lock);
	eventfd_write(handle->wake, 1);
}

/* Run the tasks that were posted so far, until it is too late, but at least one. Return the others,
 * which the caller owns. */
static struct task *run_tasks(struct agent_loop *loop, uint64_t until)
{
	struct agent_loop_handle *handle = &loop->handle;
	struct task *task;
	eventfd_t ignored;

	(void)eventfd_read(handle->wake, &ignored);
	pthread_mutex_lock(&handle->lock);
	task = handle->tasks;
	handle->tasks = NULL;
	handle->end = &handle->tasks;
	pthread_mutex_unlock(&handle->lock);
	while (task) {
		struct task *next = task->next;

		task->run(task->ctx, task->arg);
		free(task);
		task = next;
		if (stow_clock_monotonic() >= until)
			break;
	}
	return task;
}

void agent_loop_run_tasks(struct agent_loop *loop)
{
	(void)run_tasks(loop, UINT64_MAX);
}

/* Put tasks that were taken before the others. */
static void put_back(struct agent_loop_handle *handle, struct task *tasks)
{
	struct task **end = &tasks;

	while (*end)
		end = &(*end)->next;
	pthread_mutex_lock(&handle->lock);
	*end = handle->tasks;
	if (!handle->tasks)
		handle->end = end;
	handle->tasks = tasks;
	pthread_mutex_unlock(&handle->lock);
	eventfd_write(handle->wake, 1);
}

static void on_wake(void *ctx)
{
	struct agent_loop *loop = ctx;
	struct task *left = run_tasks(loop, stow_clock_monotonic() + TASKS_FOR);

	if (left)
		put_back(&loop->handle, left);
}

uint64_t agent_loop_busy(const struct agent_loop_handle *handle)
{
	uint64_t awake = atomic_load(&handle->awake), now = stow_clock_monotonic();

	return awake && awake < now ? now - awake : 0;
}

/* --- signals -------------------------------------------------------------- */

static void on_signal(void *ctx)
{
	struct agent_loop *loop = ctx;
	int number;

	while ((number = stow_signals_next(loop->signals))) {
		if (number == SIGHUP)
			loop->reload(loop->reload_ctx);
		else
			loop->stopping = true;
	}
}

int agent_loop_signals(struct agent_loop *loop, int signals, void (*reload)(void *ctx), void *ctx,
		       struct stow_err *err)
{
	loop->signals = signals;
	loop->reload = reload;
	loop->reload_ctx = ctx;
	return agent_loop_watch(loop, signals, on_signal, loop, err);
}

/* --- the loop ------------------------------------------------------------- */

int agent_loop_watch(struct agent_loop *loop, int fd, void (*ready)(void *ctx), void *ctx,
		     struct stow_err *err)
{
	struct descriptor *new = calloc(1, sizeof(*new));
	struct epoll_event event = { .events = EPOLLIN, .data.ptr = new };

	if (!new)
		return stow_err_set(err, ENOMEM, "out of memory");
	new->ready = ready;
	new->ctx = ctx;
	if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) < 0) {
		int errnum = errno;

		free(new);
		return stow_err_sys(err, errnum, "cannot wait for a descriptor");
	}
	new->next = loop->descriptors;
	loop->descriptors = new;
	return 0;
}

int agent_loop_tick(struct agent_loop *loop, uint64_t (*tick)(void *ctx, uint64_t now), void *ctx,
		    struct stow_err *err)
{
	struct ticker *new = calloc(1, sizeof(*new));

	if (!new)
		return stow_err_set(err, ENOMEM, "out of memory");
	new->tick = tick;
	new->ctx = ctx;
	*loop->tickers_end = new;
	loop->tickers_end = &new->next;
	return 0;
}

/* Do what is due. Return the ms until something is due again; -1: never. */
static int tick(struct agent_loop *loop)
{
	uint64_t now = stow_clock_monotonic(), next = 0;

	for (const struct ticker *t = loop->tickers; t; t = t->next) {
		uint64_t due = t->tick(t->ctx, now);

		if (due && (!next || due < next))
			next = due;
	}
	if (!next)
		return -1;
	return stow_clock_ms_left(stow_clock_monotonic(), next);
}

int agent_loop_run(struct agent_loop *loop, struct stow_err *err)
{
	struct epoll_event events[AT_ONCE];

	atomic_store(&loop->handle.awake, stow_clock_monotonic());
	while (!loop->stopping) {
		int wait = tick(loop), n;

		atomic_store(&loop->handle.awake, 0);
		n = epoll_wait(loop->epoll, events, AT_ONCE, wait);
		atomic_store(&loop->handle.awake, stow_clock_monotonic());
		if (n < 0 && errno != EINTR)
			return stow_err_sys(err, errno, "cannot wait for events");
		for (int i = 0; i < n; i++) {
			const struct descriptor *descriptor = events[i].data.ptr;

			descriptor->ready(descriptor->ctx);
		}
	}
	return 0;
}

struct agent_loop_handle *agent_loop_handle(struct agent_loop *loop)
{
	return &loop->handle;
}

int agent_loop_new(struct agent_loop **ret, struct stow_err *err)
{
	struct agent_loop *loop = calloc(1, sizeof(*loop));
	int r;

	if (!loop)
		return stow_err_set(err, ENOMEM, "out of memory");
	pthread_mutex_init(&loop->handle.lock, NULL);
	loop->handle.end = &loop->handle.tasks;
	loop->tickers_end = &loop->tickers;
	loop->signals = -1;
	loop->epoll = epoll_create1(EPOLL_CLOEXEC);
	loop->handle.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll < 0 || loop->handle.wake < 0)
		r = stow_err_sys(err, errno, "cannot create the main loop's descriptors");
	else
		r = agent_loop_watch(loop, loop->handle.wake, on_wake, loop, err);
	if (r < 0) {
		agent_loop_free(loop);
		return r;
	}
	*ret = loop;
	return 0;
}

void agent_loop_free(struct agent_loop *loop)
{
	if (!loop)
		return;
	for (struct task *task; (task = loop->handle.tasks);) {
		loop->handle.tasks = task->next;
		free(task);
	}
	for (struct ticker *t; (t = loop->tickers);) {
		loop->tickers = t->next;
		free(t);
	}
	for (struct descriptor *d; (d = loop->descriptors);) {
		loop->descriptors = d->next;
		free(d);
	}
	stow_close_ptr(&loop->handle.wake);
	stow_close_ptr(&loop->epoll);
	pthread_mutex_destroy(&loop->handle.lock);
	free(loop);
}
