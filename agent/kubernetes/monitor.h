/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The DRAResourceHealth services: kubelet opens a stream, and gets the health of all devices every
 * 10 s and at each change. A thread of its own sends, so that no call and no API server delays it.
 *
 * At most 8 streams; one whose reader does not read is ended.
 */

#include <stdio.h>

#include "agent/publisher.h"
#include "rpc/rpc.h"

struct agent_monitor;

/* `publisher` must outlive it; `pool`, this machine's name in Kubernetes, is copied. */
int agent_monitor_new(struct agent_publisher *publisher, const char *pool,
		      struct agent_monitor **ret, struct stow_err *err);
/* End the thread and free. The servers must have been stopped. */
void agent_monitor_free(struct agent_monitor *monitor);

/* Add the services to a server that has not started. */
int agent_monitor_add(struct agent_monitor *monitor, struct stow_rpc_server *server,
		      struct stow_err *err);
/* End all streams, so that their server need not wait for them. */
void agent_monitor_close(struct agent_monitor *monitor);

/* Write metrics for Prometheus; zeros when `monitor` is NULL. Any thread. */
void agent_monitor_render(struct agent_monitor *monitor, FILE *out);
