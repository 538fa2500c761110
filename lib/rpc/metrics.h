/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * /metrics for Prometheus, /healthz and /livez for kubelet and for monitoring, served by
 * libmicrohttpd: one thread, plain HTTP, numeric addresses, on loopback by default.
 *
 * /healthz: does what callers need work? For alerts and readiness. /livez: would a restart help?
 * For liveness probes only: a program that is alive and not healthy waits for something outside.
 *
 * There is no registry. A program's `render` writes the current values:
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

/* The callbacks run on the server's thread, one at a time. */
typedef void (*stow_metrics_render_fn)(FILE *out, void *ctx);
/* Return whether the program is healthy, or alive. Fill in `why` when it is not (503); optional
 * when it is (200). */
typedef bool (*stow_metrics_healthy_fn)(void *ctx, char *why, size_t size);

struct stow_metrics_options {
	const char *address;		 /* "127.0.0.1:7202"; read by the start only */
	stow_metrics_render_fn render;	 /* /metrics */
	stow_metrics_healthy_fn healthy; /* /healthz */
	stow_metrics_healthy_fn alive;	 /* /livez */
	void *ctx;
};

/* Start serving; *ret_port (may be NULL) is the port in use. Block signals before: the thread
 * inherits the mask. */
int stow_metrics_start(const struct stow_metrics_options *options,
		       struct stow_metrics **ret_metrics, int *ret_port, struct stow_err *err);
/* Stop serving; return when no callback is running. */
void stow_metrics_stop(struct stow_metrics *metrics);

/* Write the two lines before a metric's values. `type`: "counter", "gauge", "histogram". */
void stow_metric_head(FILE *out, const char *name, const char *type, const char *help);
/* Write the metrics of every program: NAME{version=}, and process_* with the usual names. */
void stow_metrics_program(FILE *out, const char *build_info);
/* Write one value, with pairs of label and text, NULL at the end. */
void stow_metric(FILE *out, const char *name, double value, ...) __attribute__((sentinel));

/* --- durations ------------------------------------------------------------ */

/* Counted without a lock, in buckets of 1, 2 and 5 from 10 us to 10 s. All zeros is an empty
 * histogram. */

#define STOW_HISTOGRAM_BUCKETS 19

struct stow_histogram {
	_Atomic uint64_t counts[STOW_HISTOGRAM_BUCKETS + 1]; /* the last: all that took longer */
	_Atomic uint64_t sum;				     /* ns */
};

void stow_histogram_add(struct stow_histogram *h, uint64_t ns);
/* Write the head and the values, in seconds, as Prometheus requires. */
void stow_histogram_render(FILE *out, const char *name, const char *help,
			   const struct stow_histogram *h);
