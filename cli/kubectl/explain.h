/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What `explain` has found out, and how it is shown. */

#include "cli/json_writer.h"
#include "cli/kubectl/fit.h"

struct kubectl_judged {
	const struct kubectl_machine *machine;
	enum kubectl_verdict verdict;
	const struct kubectl_device *device; /* when it fits */
	size_t least;			     /* capacities that its best NUMA node lacks */
};

struct kubectl_explained {
	const struct kubectl_pod *pod;
	const struct kubectl_wanted *wanted;
	const struct kubectl_machines *machines;
	struct kubectl_judged *judged; /* the likeliest to fit first */
	size_t n;
	size_t limit; /* machines that are shown */
};

void kubectl_explain_show(const struct kubectl_explained *explained);
/* Print it as JSON. Return 0 or -ENOMEM. */
int kubectl_explain_json(const struct kubectl_explained *explained);
