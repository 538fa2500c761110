/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * A machine's report, checked and converted to the form of the fleet's table: numbers for placing,
 * and packed messages for calls that show the report again. It is made without the table's lock,
 * and then moved into the table.
 *
 * A message is kept as its field of a NodeReport, with tag and length. Such fields, concatenated,
 * are a NodeReport again (protobuf.dev/programming-guides/encoding, "last one wins"). A NUMA node
 * takes a few hundred bytes that way, and showing a machine takes a copy and one unpack.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cleanup.h"
#include "base/err.h"
#include "numastow/v1/node.pb-c.h"
#include "place/reservation.h"

#define STOW_NUMA_MAX	    1024 /* NUMA nodes of a machine: the kernel's MAX_NUMNODES */
#define STOW_CONTAINERS_MAX 8192 /* of a machine */
#define STOW_DRAINS_MAX	    1024 /* listed by a report */
#define STOW_DOMAIN_MAX	    253	 /* bytes of a failure domain that are compared */
/* Bytes of memory, or of one pool, on a NUMA node. With this limit sums over a machine cannot
 * overflow. */
#define STOW_NUMA_MEMORY_MAX (UINT64_C(1) << 53)

/* A piece of a packed NodeReport. */
struct stow_wire {
	uint8_t *bytes;
	size_t len;
};

struct stow_numa_pool {
	uint64_t size;	/* bytes per page */
	uint64_t total; /* pages */
	uint64_t free;	/* pages that may be promised while the pool does not grow */
};

/* A NUMA node from its machine's report. CPUs are counts; the machine chooses which CPUs. */
struct stow_numa {
	uint16_t id;
	bool fenced; /* by the machine itself */
	uint16_t online, shared, takeable, total, free, exclusive;
	uint8_t n_pools;
	uint64_t memory_total; /* bytes */
	uint64_t memory_free;  /* may be promised */
	uint64_t memory_real;  /* available above the watermarks */
	struct stow_numa_pool *pools;
	struct stow_wire wire;
};

/* A container, as far as placing is concerned. */
struct stow_container {
	char *id;
	uint64_t reservation; /* the reservation that it uses or, as a lease, holds; 0 for none */
	bool lease;	      /* a lease, without a container yet */
	uint32_t order;	      /* position in the report */
	uint64_t until;	      /* of a lease: when it expires, by stow_now().mono; 0: never */
	struct stow_wire wire;
};

struct stow_report {
	char *name;
	char *domain; /* failure domain; of a full report */
	bool full;
	bool enforces; /* in mode enforce: placements take effect there */
	uint64_t sequence;
	struct stow_wire constant; /* fields that only full reports have */
	struct stow_wire variable; /* fields that every report has */
	struct stow_numa *numa;	   /* by ascending id */
	size_t n_numa;
	uint8_t *distance;		   /* n_numa * n_numa, row = from; of a full report */
	uint8_t near;			   /* the smallest distance between two NUMA nodes */
	struct stow_container *containers; /* by ascending id, each once */
	size_t n_containers;
	char **gone; /* ascending */
	size_t n_gone;
	uint64_t *reservations; /* ascending, each once */
	size_t n_reservations;
	uint64_t *drains; /* ascending, each once */
	size_t n_drains;
};

/* Check and convert a report. -EINVAL: the report is invalid; `err` tells why. The caller frees
 * it with stow_report_free(), also after parts were moved out of it. */
int stow_report_decode(const PbNodeReport *report, struct stow_report **ret_update,
		       struct stow_err *err);
void stow_report_free(struct stow_report *update);

void stow_wire_done(struct stow_wire *wire);
void stow_numa_done(struct stow_numa *numa);
void stow_container_done(struct stow_container *container);

STOW_DEFINE_CLEANUP(stow_report_free, struct stow_report);
