/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * An extender of kube-scheduler, for clusters without Dynamic Resource Allocation: an HTTPS server
 * with /filter and /prioritize, which answer from the fleet's table. Clients need a certificate,
 * because the answers tell which machines have room. A thread has a pod filtered every few seconds;
 * health is the result.
 */

#include <stdatomic.h>
#include <stdio.h>

#include "base/err.h"
#include "rpc/rpc.h"
#include "scheduler/extender/answer.h"

struct scheduler_extender;
struct scheduler_selftest;

struct scheduler_extender_options {
	const char *address;	   /* numeric */
	struct stow_rpc_tls tls;   /* all three files are needed */
	const atomic_bool *active; /* false: this is a standby, and requests are refused */
	struct extender_options answer;
};

/* Serve until the extender is freed. The fleet must outlive it. */
int scheduler_extender_new(const struct scheduler_extender_options *options,
			   struct scheduler_extender **ret, struct stow_err *err);
void scheduler_extender_free(struct scheduler_extender *extender);

/* Return its self-test. */
struct scheduler_selftest *scheduler_extender_test(struct scheduler_extender *extender);
/* Write the metrics; zeros for NULL. */
void scheduler_extender_render(struct scheduler_extender *extender, FILE *out);
