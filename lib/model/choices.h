/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The choices of a request, besides its amounts (docs/annotations.md). */

#include <stdbool.h>

#define STOW_ANNOTATION_PREFIX "numastow.io/"
#define STOW_NAME_MAX	       253 /* a DNS subdomain name, as Kubernetes names pods */

enum stow_cpu_mode {
	STOW_CPU_SHARED,
	STOW_CPU_EXCLUSIVE, /* exclusive CPUs, not isolated */
	STOW_CPU_ISOLATED,  /* exclusive CPUs, isolated ones only */
};
enum stow_policy {
	STOW_POLICY_SINGLE_NUMA_NODE, /* one node, or refuse */
	STOW_POLICY_RESTRICTED,	      /* as few nodes as on the empty machine, or refuse */
	STOW_POLICY_BEST_EFFORT,      /* as few nodes as possible now */
	STOW_POLICY_SPREAD,	      /* evenly over as many nodes as can take an even share */
};
enum stow_scope { STOW_SCOPE_CONTAINER, STOW_SCOPE_POD };
enum stow_memory_policy {
	STOW_MEMORY_BIND,
	STOW_MEMORY_PREFERRED,
	STOW_MEMORY_INTERLEAVE,
	STOW_MEMORY_LOCAL,
};
enum stow_drain { STOW_DRAIN_MODE_REPIN, STOW_DRAIN_MODE_EVICT, STOW_DRAIN_MODE_REFUSE };
enum stow_on_failure { STOW_ON_FAILURE_FAIL, STOW_ON_FAILURE_IGNORE };

/* Return whether a container of this mode has exclusive CPUs. */
static inline bool stow_cpu_mode_owns(enum stow_cpu_mode mode)
{
	return mode != STOW_CPU_SHARED;
}
