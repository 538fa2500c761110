/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * /metrics for Prometheus and /healthz for whoever restarts daemons, by libmicrohttpd: one thread,
 * plain HTTP, numbers only, on loopback unless told otherwise.
 *
 * There is no registry. A program's `render` writes what it knows at that moment:
 *
 *	stow_metric_head(out, "numastow_nodes", "gauge", "Machines, by state.");
 *	stow_metric(out, "numastow_nodes", ready, "state", "ready", NULL);
 *	stow_metric(out, "numastow_nodes", stale, "state", "stale", NULL);
 *
 * (prometheus.io/docs/instrumenting/exposition_formats, the text format 0.0.4.)
 */

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct stow_metrics;

/* Both are called on the server's thread, one at a time. */
typedef void (*stow_metrics_render_fn)(FILE *out, void *ctx);
/* Fills `why` when it is not (503), may fill it when it is (200). */
typedef bool (*stow_metrics_healthy_fn)(void *ctx, char *why, size_t size);

/* Serves on `address` ("127.0.0.1:7202"); *ret_port (may be NULL) is the port in use. Signals
 * should be blocked, the thread inherits the mask. */
int stow_metrics_start(const char *address, stow_metrics_render_fn render,
		       stow_metrics_healthy_fn healthy, void *ctx,
		       struct stow_metrics **ret_metrics, int *ret_port, struct stow_err *err);
/* Returns when no callback is running any more. */
void stow_metrics_stop(struct stow_metrics *metrics);

/* The two lines before a metric's values. `type`: "counter", "gauge", "histogram". */
void stow_metric_head(FILE *out, const char *name, const char *type, const char *help);
/* What every program has: NAME{version=}, and process_* as other programs name them. */
void stow_metrics_program(FILE *out, const char *build_info);
/* One value, with pairs of label and text, NULL at the end. */
void stow_metric(FILE *out, const char *name, double value, ...) __attribute__((sentinel));

/* --- durations ----------------------------------------------------------- */

/* Counted without a lock, in buckets of 1, 2 and 5 from 10 us to 10 s. All zeros is an empty
 * histogram. */

#define STOW_HISTOGRAM_BUCKETS 19

struct stow_histogram {
	_Atomic uint64_t counts[STOW_HISTOGRAM_BUCKETS + 1]; /* the last: all that took longer */
	_Atomic uint64_t sum;				     /* ns */
};

void stow_histogram_add(struct stow_histogram *h, uint64_t ns);
/* Head and values, in seconds, as Prometheus wants them. */
void stow_histogram_render(FILE *out, const char *name, const char *help,
			   const struct stow_histogram *h);
