/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The answers of the extender: which of the named machines fit a pod, and how well. Types of
 * k8s.io/kube-scheduler/extender/v1, whose fields have the names of the Go structs: ExtenderArgs,
 * ExtenderFilterResult, HostPriorityList. Nothing is reserved, and nothing changes.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "scheduler/fleet/fleet.h"

#define EXTENDER_NODES_MAX 5000		     /* machines of one request */
#define EXTENDER_WITHIN	   (4 * STOW_SECOND) /* kube-scheduler waits 5 s by default */

enum extender_verb { EXTENDER_FILTER, EXTENDER_PRIORITIZE };

struct extender_options {
	struct stow_fleet *fleet;
	bool spread;	 /* the emptiest machine is the best, not the fullest */
	uint64_t within; /* ns for one request */
};

/*
 * Answer a request; *ret is JSON text, which the caller frees. The fleet's lock is taken for one
 * machine at a time. -EINVAL: the body is not ExtenderArgs with NodeNames. -E2BIG: too many of
 * them. -ETIMEDOUT: it took longer than `within`. -ENOMEM.
 */
int extender_answer(const struct extender_options *options, enum extender_verb verb,
		    const char *body, size_t len, char **ret, struct stow_err *err);
/* Make the answer of a filter that has failed; NULL: out of memory. kube-scheduler shows the text
 * at the pod. */
char *extender_filter_failed(const char *why);
