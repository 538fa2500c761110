/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The whole scheduler: it starts as a standby, becomes active, and stops. */

#include "scheduler/control/control.h"
#include "scheduler/drain/delivery_queue.h"
#include "scheduler/drain/drain.h"
#include "scheduler/service/service.h"

/* Start to listen, as a standby. */
int scheduler_start(struct scheduler *s, struct stow_err *err);
/* Read the store and serve. The caller has acquired the store's lead. */
int scheduler_activate(struct scheduler *s, struct stow_err *err);
void scheduler_stop(struct scheduler *s);

/* Start and stop what serves Kubernetes and is configured: webhook, extender and controllers, on
 * active schedulers and on standbys (kubernetes.c). `healthy` is for /healthz. After a failed
 * start, stop what was started; a second stop does nothing. */
int scheduler_kubernetes_start(struct scheduler *s, stow_metrics_healthy_fn healthy,
			       struct stow_err *err);
void scheduler_kubernetes_stop(struct scheduler *s);
/* Check what the settings name, for --check-config. */
int scheduler_kubernetes_check(const struct scheduler_config *config, struct stow_err *err);
/* Return whether what serves Kubernetes works; if not, `why` has the reason. For `alive`, expired
 * certificates do not count, because a restart does not renew them. */
bool scheduler_kubernetes_well(struct scheduler *s, char *why, size_t size);
bool scheduler_kubernetes_alive(struct scheduler *s, char *why, size_t size);
void scheduler_kubernetes_render(FILE *out, struct scheduler *s);

/* Open the store and load it into the fleet's table (load.c). */
int scheduler_load(struct scheduler *s, struct stow_err *err);

/* The clock's thread (clock.c). `arg` is the scheduler. Ends when the scheduler is stopping. */
void *scheduler_clock_run(void *arg);

/* For stow_metrics_start() (metrics.c); `ctx`: the scheduler. */
void scheduler_render_metrics(FILE *out, void *ctx);
bool scheduler_is_healthy(void *ctx, char *why, size_t size);
bool scheduler_is_alive(void *ctx, char *why, size_t size);
