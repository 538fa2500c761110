/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names that are published to Kubernetes, and come back in its claims. */

#define AGENT_DRIVER	    "numastow.io"
#define AGENT_DEVICE_PREFIX "node" /* "node0" is NUMA node 0 */
