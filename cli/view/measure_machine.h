/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the figures of a measurement depend on, beside the memory. */

#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/root.h"

enum measure_place {
	MEASURE_METAL,
	MEASURE_GUEST,	  /* figures are valid only if the host pins CPUs and memory */
	MEASURE_EMULATED, /* figures mean nothing */
};

struct measure_machine {
	enum measure_place place;
	char governor[32]; /* of cpufreq; "": none */
	int turbo;	   /* 0, 1; -1: unknown */
	double load;	   /* of one minute; negative: unknown */
	uint64_t cache;	   /* bytes of the largest last-level cache; 0: unknown */
	uint64_t line;	   /* bytes of a cache line; 0: unknown */
	char machine[128]; /* vendor and product; "": unknown */
	/* Of SRAT, SLIT, HMAT and the firmware's version: saved figures are used as long as it is
	 * the same. "": the tables cannot be read without root. */
	char firmware[STOW_DIGEST_LEN + 1];
};

/* Read it. A file that is missing leaves its part unknown. */
void measure_machine_read(struct stow_root *root, struct measure_machine *ret);

/* Return "none", "hypervisor" or "emulation". */
const char *measure_place_name(enum measure_place place);

/* Read how long the CPUs waited for a hypervisor, in clock ticks of all CPUs; 0: unknown. */
uint64_t measure_steal(struct stow_root *root);
