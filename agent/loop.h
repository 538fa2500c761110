/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The main loop: descriptors, signals, timers, and tasks that other threads post.
 *
 * struct agent_loop: for the thread that runs it, the main thread
 * struct agent_loop_handle: for any thread
 */

#include <stdint.h>

#include "base/err.h"

struct agent_loop;
struct agent_loop_handle;

/* Create a loop. Free it with agent_loop_free(). */
int agent_loop_new(struct agent_loop **ret, struct stow_err *err);
/* Free the loop. Pending tasks are freed without running: call agent_loop_run_tasks() before. */
void agent_loop_free(struct agent_loop *loop);

/* --- the main thread ------------------------------------------------------ */

/* Return the handle, which the loop owns. */
struct agent_loop_handle *agent_loop_handle(struct agent_loop *loop);

/* Call `ready` whenever `fd` is readable; `ready` must read until EAGAIN. */
int agent_loop_watch(struct agent_loop *loop, int fd, void (*ready)(void *ctx), void *ctx,
		     struct stow_err *err);
/* End agent_loop_run() on SIGTERM and SIGINT, and call `reload` on SIGHUP. `signals` is the
 * descriptor of stow_signals_open(); the caller keeps it. */
int agent_loop_signals(struct agent_loop *loop, int signals, void (*reload)(void *ctx), void *ctx,
		       struct stow_err *err);
/* Call `tick` before each sleep, in the order of registration. It does what is due, and returns
 * when it has to be called again (monotonic, ns; 0: no timer). */
int agent_loop_tick(struct agent_loop *loop, uint64_t (*tick)(void *ctx, uint64_t now), void *ctx,
		    struct stow_err *err);

/* Run until a signal ends the loop. */
int agent_loop_run(struct agent_loop *loop, struct stow_err *err);
/* Run the tasks that were posted so far, while the loop does not run. */
void agent_loop_run_tasks(struct agent_loop *loop);

/* --- any thread ----------------------------------------------------------- */

/* Run a task on the main thread, soon. Tasks run in the order in which they were posted. `run`
 * owns `arg`; `ctx` must live until then. */
void agent_loop_post(struct agent_loop_handle *handle, void (*run)(void *ctx, void *arg), void *ctx,
		     void *arg);
/* Return for how long (ns) the loop has been busy since its last sleep; 0 while it sleeps. */
uint64_t agent_loop_busy(const struct agent_loop_handle *handle);
