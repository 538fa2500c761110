/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Paging of long answers: the selected machines, in an order that is the same for each page. */

#include "scheduler/control/control.h"

#define SCHEDULER_PAGE_BYTES   (2U << 20) /* of an answer; a message has at most 4 MiB */
#define SCHEDULER_PAGE_AT_ONCE 64	  /* machines per hold of the lock */

/* The selected machines, by name. As long as the reader is counted (fleet->readers), machines
 * and their names stay valid; so they are sorted without the lock. */
struct scheduler_machines {
	struct stow_machine **list;
	size_t n;
};

/* Select the machines from the name `first` on: all, or (with `names`) only these. Takes the
 * lock. The caller calls done() in any case. -ENOMEM. */
int scheduler_machines_find(struct scheduler *s, char *const *names, size_t n_names,
			    const char *first, struct scheduler_machines *ret,
			    struct stow_err *err);
void scheduler_machines_done(struct scheduler *s, struct scheduler_machines *machines);
