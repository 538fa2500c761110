/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The controllers: templates of claims, and claims whose pods must go. One thread, with one client;
 * it acts while this process has the Lease `numastow-scheduler`. */

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"

struct scheduler_controllers;

struct scheduler_controllers_options {
	const char *kubeconfig;	 /* NULL: the pod's service account */
	const char *host, *port; /* of the API server, for the service account */
	const char *lease_namespace;
	uint64_t prepare_deadline, unused_templates; /* ns */
};

int scheduler_controllers_new(const struct scheduler_controllers_options *options,
			      struct scheduler_controllers **ret, struct stow_err *err);
/* Stop, and release the lease. */
void scheduler_controllers_free(struct scheduler_controllers *controllers);

/* Return whether the thread makes progress; if not, `why` says why. While the API server does not
 * answer it does: that is not a failure of this program. */
bool scheduler_controllers_well(struct scheduler_controllers *controllers, char *why, size_t size);
/* Write the metrics; zeros for NULL. */
void scheduler_controllers_render(struct scheduler_controllers *controllers, FILE *out);

/* Check the files that the options name, for --check-config. */
int scheduler_controllers_check(const struct scheduler_controllers_options *options,
				struct stow_err *err);
