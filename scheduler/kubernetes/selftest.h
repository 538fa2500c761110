/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The self-test of an HTTPS server of this program: a thread periodically sends it a request as
 * Kubernetes would, over a new connection, and checks the answer.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "rpc/https.h"

struct scheduler_selftest;

struct scheduler_selftest_options {
	const char *name;    /* of the server, for logs and errors */
	const char *address; /* where it listens: "0.0.0.0:8443" */
	int port;	     /* the port in use */
	const char *path;    /* "/mutate" */
	const char *body;    /* what is posted */
	const char *token;   /* that of the server (stow_https_options) */
	struct stow_https *https;
	/* Return 0 when the answer is right. */
	int (*check)(const char *text, size_t len, long status, struct stow_err *err);
};

/* Start the thread. `address` is read by the start only, and the other texts must outlive the
 * self-test. Block signals before: the thread inherits the mask. */
int scheduler_selftest_new(const struct scheduler_selftest_options *options,
			   struct scheduler_selftest **ret, struct stow_err *err);
/* Wait for the running round, and free the self-test; before its server stops. NULL is allowed. */
void scheduler_selftest_free(struct scheduler_selftest *test);

/* Return whether the server answered rightly in the last round. If not, `why` has the reason, and a
 * restart may help. */
bool scheduler_selftest_answered(struct scheduler_selftest *test, char *why, size_t size);
/* Return whether it did, and Kubernetes accepts its certificate: it has not expired. */
bool scheduler_selftest_well(struct scheduler_selftest *test, char *why, size_t size);
