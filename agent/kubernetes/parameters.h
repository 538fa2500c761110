/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * The opaque parameters of an allocation's configs:
 *
 *	apiVersion: numastow.io/v1
 *	kind: Parameters
 *	cpuMode: exclusive	# for a DeviceClass; a claim may repeat it, or set shared
 *	memoryPolicy: bind
 *	drain: evict
 *
 * The words are those of the annotations (docs/annotations.md).
 */

#include <json-c/json.h>
#include <stddef.h>

#include "agent/kubernetes/names.h"
#include "base/err.h"
#include "grant/claim.h"

#define AGENT_PARAMETERS	 "numastow.io/v1" /* apiVersion of a config's opaque parameters */
#define AGENT_PARAMETERS_KIND	 "Parameters"
#define AGENT_PARAMETERS_MAX	 10240 /* bytes, as in Kubernetes */
#define AGENT_ALLOCATION_CONFIGS 256

/* Apply the configs of status.allocation.devices to the shares: those of classes, then those of
 * claims. Parameters of other drivers are skipped. -EINVAL, or -EPERM for what a claim may not
 * set; each names the field, its value and what is valid. */
int agent_parameters_apply(struct json_object *devices, struct stow_claim_share *shares, size_t n,
			   struct stow_err *err);
