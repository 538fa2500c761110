/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Whether requests fit a machine, as kube-scheduler would find it: pure functions. */

#include "cli/kubectl/machines.h"
#include "cli/kubectl/pod.h"

/* What is wanted of one machine: the requests of a pod's claims that are not allocated. */
struct kubectl_wanted {
	const struct kubectl_request *requests[KUBECTL_CLAIMS_MAX * 4];
	size_t n;
	bool more; /* there are more requests than are looked at */
};

/* Collect the requests for our devices; those that cannot be satisfied anywhere are left out. */
void kubectl_wanted_of(const struct kubectl_pod *pod, struct kubectl_wanted *ret);

/* What a device lacks for one choice. */
struct kubectl_shortfall {
	bool tainted;
	struct kubectl_amounts missing; /* what is left is in `step`, what is asked for in `value` */
};

/* Return whether a device has what the choice asks for, and what it lacks otherwise. */
bool kubectl_find_shortfall(const struct kubectl_device *device,
			    const struct kubectl_choice *choice, struct kubectl_shortfall *ret);

enum kubectl_verdict {
	KUBECTL_FITS,
	KUBECTL_LACKS,	     /* no NUMA node has what a request asks for */
	KUBECTL_TAINTED,     /* only fenced NUMA nodes have it */
	KUBECTL_IN_SUM,	     /* all its NUMA nodes together have it */
	KUBECTL_NOT_AT_ONCE, /* each request fits alone, but not all at once */
	KUBECTL_UNKNOWN,     /* there are too many ways to try all of them */
};

/* Decide for a machine. *ret_device is a NUMA node for the first request, when all fit. */
enum kubectl_verdict kubectl_fit(const struct kubectl_machine *machine,
				 const struct kubectl_wanted *wanted,
				 const struct kubectl_device **ret_device);
