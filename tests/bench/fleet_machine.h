/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A simulated machine: it has only numbers, reports them, and does what directives say. With it
 * comes a connect(2) that takes another address of loopback each time. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <numastow/v1/scheduler.pb-c.h>

#include "rpc/rpc.h"

#define FLEET_NUMA_MAX 64

struct fleet_held { /* a reservation on a machine */
	struct fleet_held *next;
	char id[32];
	unsigned int numa, cpus;
	uint64_t memory;
};

struct fleet_machine {
	char name[32];
	unsigned int numa; /* NUMA nodes */
	struct stow_rpc_call *call;
	struct stow_rpc_client *client;
	pthread_mutex_t lock;
	uint64_t sequence;
	struct fleet_held *held;
	unsigned int n_held;
	uint32_t used_cpus[FLEET_NUMA_MAX];
	uint64_t used_memory[FLEET_NUMA_MAX];
	bool welcome;
};

/* Sends a report, with the machine's lock held. The first of a stream is full; later ones have one
 * NUMA node that changed. */
void fleet_machine_report(struct fleet_machine *m, bool full, unsigned int changed);
/* Does what a directive says, and answers it. Takes the lock. Whether it is the welcome that the
 * machine had been waiting for. */
bool fleet_machine_obey(struct fleet_machine *m, const PbDirective *directive);
