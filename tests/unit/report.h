/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Reports of machines that do not exist, for the tests of the scheduler. */

#include <numastow/v1/node.pb-c.h>

#include "scheduler/fleet/fleet.h"
#include "scheduler/fleet/reservation.h"

#define REPORT_NUMA 8

/* A NodeReport whose parts can be changed before it is used; it points into itself. */
struct report {
	PbNodeReport message;
	PbNumaNode numa[REPORT_NUMA], *list[REPORT_NUMA];
	PbHugepagePool pools[REPORT_NUMA][2], *pool_list[REPORT_NUMA][2];
	uint32_t distances[REPORT_NUMA][REPORT_NUMA];
	char cpus[REPORT_NUMA][32], name[64];
};

/* Make a full report, the first of its stream: NUMA nodes with `cpus` CPUs and `memory` bytes each,
 * all of them free, pools of 2Mi and 1Gi pages without pages, distance 21. */
void report_init(struct report *report, const char *name, uint32_t n_numa, uint32_t cpus,
		 uint64_t memory);
/* Decode a report and apply it to the fleet, as received at `now`. */
struct stow_machine *report_apply(struct stow_fleet *fleet, struct report *report,
				  struct stow_now now);
/* Enter a reservation of one part. */
struct stow_reservation *report_reserve(struct stow_fleet *fleet, struct stow_machine *machine,
					uint64_t id, uint32_t numa, uint32_t cpus, uint64_t memory,
					bool exclusive, uint64_t expires);
