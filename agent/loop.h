/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The main loop: descriptors, signals, what is done by the clock, and what other threads post.
 *
 * struct agent_loop		belongs to the thread that runs it, the main thread
 * struct agent_loop_handle	is for any thread
 */

#include <stdint.h>

#include "base/err.h"

struct agent_loop;
struct agent_loop_handle;

int agent_loop_new(struct agent_loop **ret, struct stow_err *err);
/* Frees what was posted and never run without running it: agent_loop_run_tasks() comes before. */
void agent_loop_free(struct agent_loop *loop);

/* --- the main thread ---------------------------------------------------------------------------- */

/* Belongs to the loop, and ends with it. */
struct agent_loop_handle *agent_loop_handle(struct agent_loop *loop);

/* Calls `ready` whenever `fd` can be read; it must read all of it. */
int agent_loop_watch(struct agent_loop *loop, int fd, void (*ready)(void *ctx), void *ctx,
		     struct stow_err *err);
/* Ends agent_loop_run() on SIGTERM and SIGINT, and calls `reload` on SIGHUP. `signals` is the
 * descriptor of stow_signals_open(), which stays the caller's. */
int agent_loop_signals(struct agent_loop *loop, int signals, void (*reload)(void *ctx), void *ctx,
		       struct stow_err *err);
/* Calls `tick` before each sleep, in the order in which they were added. It does what is due and
 * returns when something is due again (monotonic, ns; 0: nothing by the clock). */
int agent_loop_tick(struct agent_loop *loop, uint64_t (*tick)(void *ctx, uint64_t now), void *ctx,
		    struct stow_err *err);

/* Runs until a signal ends it. */
int agent_loop_run(struct agent_loop *loop, struct stow_err *err);
/* Runs what was posted until now. For the time when the loop does not run. */
void agent_loop_run_tasks(struct agent_loop *loop);

/* --- any thread --------------------------------------------------------------------------------- */

/* Has something done on the main thread, soon, in the order in which it was posted. `run` owns
 * `arg`; `ctx` must live until then. */
void agent_loop_post(struct agent_loop_handle *handle, void (*run)(void *ctx, void *arg), void *ctx,
		     void *arg);
/* Returns for how long (ns) the loop has been at work since it slept last; 0 while it sleeps. */
uint64_t agent_loop_busy(const struct agent_loop_handle *handle);
