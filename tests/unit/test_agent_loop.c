// SPDX-License-Identifier: Apache-2.0
/* The agent's main loop: tasks of other threads, descriptors, signals, the clock. */
#include "unit.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#include "agent/loop.h"

END_WHEN_A_CHECK_FAILS

#define THREADS 4
#define TASKS	500

struct setup {
	struct agent_loop *loop;
	struct agent_loop_handle *handle;
	int signals[2]; /* a pipe in place of that of rpc/signals.h */
	int reloads, ticks, ready;
	int seen[THREADS]; /* tasks of each thread */
	bool out_of_order, slept;
	int order[8];
	size_t n_order;
};

static void on_reload(void *ctx)
{
	struct setup *s = ctx;

	s->reloads++;
}

static int set_up(void **state)
{
	struct setup *s = calloc(1, sizeof(*s));

	assert_non_null(s);
	assert_int_equal(agent_loop_new(&s->loop, NULL), 0);
	s->handle = agent_loop_handle(s->loop);
	assert_int_equal(pipe2(s->signals, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(agent_loop_signals(s->loop, s->signals[0], on_reload, s, NULL), 0);
	*state = s;
	return 0;
}

static int tear_down(void **state)
{
	struct setup *s = *state;

	agent_loop_free(s->loop);
	close(s->signals[0]);
	close(s->signals[1]);
	free(s);
	return 0;
}

#define WITH_LOOP(name) TEST_WITH(name, struct setup *s, set_up, tear_down)

static void send_signal(struct setup *s, int number)
{
	uint8_t byte = (uint8_t)number;

	assert_int_equal(write(s->signals[1], &byte, 1), 1);
}

static void end(void *ctx, void *arg)
{
	send_signal(ctx, SIGTERM);
}

/* --- tasks -------------------------------------------------------------------------------------- */

struct poster {
	struct setup *s;
	int thread;
	pthread_t id;
};

static void on_task(void *ctx, void *arg)
{
	struct setup *s = ctx;
	int thread = (int)((uintptr_t)arg / TASKS), number = (int)((uintptr_t)arg % TASKS);

	s->out_of_order |= s->seen[thread] != number;
	if (++s->seen[thread] < TASKS)
		return;
	for (int i = 0; i < THREADS; i++)
		if (s->seen[i] < TASKS)
			return;
	end(s, NULL);
}

static void *post_all(void *arg)
{
	struct poster *poster = arg;

	for (int i = 0; i < TASKS; i++)
		agent_loop_post(poster->s->handle, on_task, poster->s,
				(void *)(uintptr_t)(poster->thread * TASKS + i));
	return NULL;
}

WITH_LOOP(tasks_of_all_threads_run_in_their_order)
{
	struct poster posters[THREADS];

	for (int i = 0; i < THREADS; i++) {
		posters[i] = (struct poster){ .s = s, .thread = i };
		assert_int_equal(pthread_create(&posters[i].id, NULL, post_all, &posters[i]), 0);
	}
	assert_int_equal(agent_loop_run(s->loop, NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(posters[i].id, NULL);
		assert_int_equal(s->seen[i], TASKS);
	}
	assert_false(s->out_of_order);
}

static void note(void *ctx, void *arg)
{
	struct setup *s = ctx;

	s->order[s->n_order++] = *(int *)arg;
}

static void post_more(void *ctx, void *arg)
{
	struct setup *s = ctx;

	note(s, arg);
	agent_loop_post(s->handle, note, s, arg);
}

/* A task that posts another one does not keep the loop from its other events. */
WITH_LOOP(what_a_task_posts_waits_for_the_next_round)
{
	int first = 1, second = 2;

	agent_loop_post(s->handle, post_more, s, &first);
	agent_loop_post(s->handle, note, s, &second);
	agent_loop_run_tasks(s->loop);
	assert_int_equal(s->n_order, 2);
	assert_int_equal(s->order[1], second);
	agent_loop_run_tasks(s->loop);
	assert_int_equal(s->n_order, 3);
	assert_int_equal(s->order[2], first);
}

/* --- descriptors and the clock ------------------------------------------------------------------ */

WITH_LOOP(signals_reload_and_end)
{
	send_signal(s, SIGHUP);
	send_signal(s, SIGHUP);
	send_signal(s, SIGTERM);
	assert_int_equal(agent_loop_run(s->loop, NULL), 0);
	assert_int_equal(s->reloads, 2);
}

struct ready {
	struct setup *s;
	int fd;
};

static void on_ready(void *ctx)
{
	struct ready *ready = ctx;
	char byte;

	assert_int_equal(read(ready->fd, &byte, 1), 1);
	ready->s->ready++;
	end(ready->s, NULL);
}

WITH_LOOP(what_can_be_read_is_called_for)
{
	struct ready ready = { .s = s };
	int fds[2];

	assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
	ready.fd = fds[0];
	assert_int_equal(agent_loop_watch(s->loop, fds[0], on_ready, &ready, NULL), 0);
	assert_int_equal(write(fds[1], "x", 1), 1);
	assert_int_equal(agent_loop_run(s->loop, NULL), 0);
	assert_int_equal(s->ready, 1);
	close(fds[0]);
	close(fds[1]);
	assert_true(agent_loop_watch(s->loop, -1, on_ready, &ready, NULL) < 0);
}

static uint64_t first_tick(void *ctx, uint64_t now)
{
	struct setup *s = ctx;

	assert_int_equal(s->ticks % 2, 0);
	if (++s->ticks > 6)
		end(s, NULL);
	return now + 1000000;
}

static uint64_t second_tick(void *ctx, uint64_t now)
{
	struct setup *s = ctx;

	assert_int_equal(s->ticks % 2, 1);
	s->ticks++;
	return 0;
}

/* Nothing else wakes it. */
WITH_LOOP(the_clock_wakes_it_for_the_earliest)
{
	assert_int_equal(agent_loop_tick(s->loop, first_tick, s, NULL), 0);
	assert_int_equal(agent_loop_tick(s->loop, second_tick, s, NULL), 0);
	assert_int_equal(agent_loop_run(s->loop, NULL), 0);
	assert_int_equal(s->ticks, 8);
}

static uint64_t work(void *ctx, uint64_t now)
{
	struct setup *s = ctx;

	while (agent_loop_busy(s->handle) == 0)
		usleep(100);
	s->ticks++;
	return 0;
}

static void *wait_for_sleep(void *arg)
{
	struct setup *s = arg;

	while (agent_loop_busy(s->handle) > 0)
		usleep(100);
	s->slept = true;
	end(s, NULL);
	return NULL;
}

WITH_LOOP(others_see_whether_it_is_at_work)
{
	pthread_t thread;

	assert_int_equal(agent_loop_busy(s->handle), 0);
	assert_int_equal(agent_loop_tick(s->loop, work, s, NULL), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_sleep, s), 0);
	assert_int_equal(agent_loop_run(s->loop, NULL), 0);
	pthread_join(thread, NULL);
	assert_true(s->ticks >= 1);
	assert_true(s->slept);
}
