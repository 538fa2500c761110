/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The ResourceClaimTemplates that the webhook names in pods. A pod that waits for one gets it, made
 * of the pod's annotations by the same code; one that no pod has used for an hour is deleted.
 *
 * Pods are found by their label; of them nothing is kept but what waits. Templates are ours when
 * they have our label and the name of their content; others are left alone.
 */

#include "kube/follow.h"
#include "scheduler/kubernetes/work.h"

#define SCHEDULER_TEMPLATES_MAX 16384 /* known; others are not deleted */
/* Pods in one answer: a pod may have 1.5 MiB, and twenty times that when it is parsed. */
#define SCHEDULER_PODS_PAGE	 8
#define SCHEDULER_WAITING_MAX	 256 /* to be made; further ones are found by a later list */
#define SCHEDULER_WAITING_OF_ONE (SCHEDULER_WAITING_MAX / 8) /* namespace */

struct scheduler_templates;

/* `unused`: how long a template is kept without pods, ns. */
int scheduler_templates_new(struct scheduler_work *work, uint64_t unused,
			    struct scheduler_templates **ret, struct stow_err *err);
void scheduler_templates_free(struct scheduler_templates *templates);
/* Do what is due. Return the ns until something else is. */
uint64_t scheduler_templates_look(struct scheduler_templates *templates);
/* Forget everything: this process does not lead. */
void scheduler_templates_reset(struct scheduler_templates *templates);
