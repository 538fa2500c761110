/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A whole scheduler: a standby that listens, then the active one, then stopped. */

#include "scheduler/control/control.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/drain/drain.h"
#include "scheduler/probe.h"
#include "scheduler/service/service.h"

/* Listens, as a standby. */
int scheduler_start(struct scheduler *s, struct stow_err *err);
/* Reads the store and serves. The store's lead is the caller's. */
int scheduler_activate(struct scheduler *s, struct stow_err *err);
void scheduler_stop(struct scheduler *s);

/* Opens the store and enters what it has into the fleet's table (load.c). */
int scheduler_load(struct scheduler *s, struct stow_err *err);

/* The clock's thread (clock.c); its argument is the scheduler. Ends when that is stopping. */
void *scheduler_clock_run(void *arg);

/* For stow_metrics_start() (metrics.c); `ctx`: the scheduler. */
void scheduler_render_metrics(FILE *out, void *ctx);
bool scheduler_is_healthy(void *ctx, char *why, size_t size);
