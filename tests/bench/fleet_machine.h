/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A simulated machine, which reports its numbers and carries out directives; and a connect(2)
 * that uses a different loopback address each time. */

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <numastow/v1/scheduler.pb-c.h>

#include "rpc/rpc.h"

#define FLEET_NUMA_MAX 64

/* A reservation on a machine. */
struct fleet_held {
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

/* Make a client of the scheduler at `target`: with mutual TLS, by WHO.crt, WHO.key and ca.crt in
 * `certs`, unless that is NULL. */
int fleet_connect(struct stow_rpc_loop *loop, const char *target, const char *certs,
		  const char *who, struct stow_rpc_client **ret, struct stow_err *err);
/* Send a report, with the machine's lock held. The first one of a stream is full; later ones
 * have one changed NUMA node. */
void fleet_machine_report(struct fleet_machine *m, bool full, unsigned int changed);
/* Carry out a directive, and answer it. Take the machine's lock. Return whether this is its first
 * Welcome. */
bool fleet_machine_obey(struct fleet_machine *m, const PbDirective *directive);
