/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names that are published to Kubernetes, and come back in its claims. */

#define AGENT_DRIVER	    "numastow.io"
#define AGENT_DEVICE_PREFIX "node" /* "node0" is NUMA node 0 */

/* Conditions of a claim's shares that ResourceSlices name: kube-scheduler binds a pod when the
 * first is True, and places it anew when the second is. */
#define AGENT_CONDITION_PREPARED AGENT_DRIVER "/Prepared"
#define AGENT_CONDITION_REFUSED	 AGENT_DRIVER "/Refused"
