/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The admission webhook: an HTTPS server with /mutate for the API server and /healthz for kubelet.
 * A thread does every few seconds what an API server does: it connects, has a pod with annotations
 * reviewed, and checks the patch. Health is the result.
 */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/err.h"
#include "rpc/metrics.h"
#include "rpc/rpc.h"

struct scheduler_admission;
struct scheduler_selftest;

struct scheduler_admission_options {
	const char *address;	 /* numeric */
	struct stow_rpc_tls tls; /* `ca`: of the API server's client certificate; NULL: none */
	/* The whole program's health. */
	stow_metrics_healthy_fn healthy;
	void *ctx;
};

int scheduler_admission_new(const struct scheduler_admission_options *options,
			    struct scheduler_admission **ret, struct stow_err *err);
void scheduler_admission_free(struct scheduler_admission *admission);

/* Return its self-test. */
struct scheduler_selftest *scheduler_admission_test(struct scheduler_admission *admission);
/* Write the metrics; zeros for NULL. */
void scheduler_admission_render(struct scheduler_admission *admission, FILE *out);
