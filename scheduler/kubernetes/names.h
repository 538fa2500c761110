/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Names in Kubernetes' objects, which the agents and the manifests share. */

#define SCHEDULER_DRIVER	  "numastow.io"
#define SCHEDULER_NUMA_NODE	  "resource.kubernetes.io/numaNode" /* an attribute of devices */
#define SCHEDULER_CLASS_SHARED	  "numastow-shared"		    /* DeviceClasses */
#define SCHEDULER_CLASS_EXCLUSIVE "numastow-exclusive"
#define SCHEDULER_CLAIM		  "numastow"		 /* the claim's name within a pod */
#define SCHEDULER_TEMPLATE	  "numastow-"		 /* a template's name, before the digest */
#define SCHEDULER_PART		  "part"		 /* a request's name, before the number */
#define SCHEDULER_PARAMETERS	  "numastow.io/v1"	 /* apiVersion of opaque parameters */
#define SCHEDULER_LABEL		  "numastow.io/template" /* on pods: their template's digest */
#define SCHEDULER_MANAGED	  "app.kubernetes.io/managed-by"
#define SCHEDULER_MANAGER	  "numastow-scheduler"
