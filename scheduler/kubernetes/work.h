/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* What the controllers share: the client, leadership, events of pods, counters. For their thread
 * only; the counters for any. */

#include <json-c/json.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "kube/kube.h"
#include "scheduler/kubernetes/lease.h"

#define SCHEDULER_NAME_MAX    253 /* a DNS subdomain */
#define SCHEDULER_UID_MAX     64
#define SCHEDULER_EVENTS_KEPT 1024 /* events that are remembered, not to repeat them */

struct scheduler_work {
	struct stow_kube *kube;
	struct scheduler_lease *lease; /* NULL: leads always, for tests */
	struct {
		uint64_t hash; /* of pod, reason and message */
		uint64_t at;   /* boot time */
	} recent[SCHEDULER_EVENTS_KEPT];
	size_t next_recent;
	atomic_ulong templates_made, templates_deleted, evictions, evictions_blocked, pods_deleted,
		events, failures;
};

/* A namespaced object of the API server; checked. */
struct scheduler_name {
	char ns[SCHEDULER_NAME_MAX + 1], name[SCHEDULER_NAME_MAX + 1], uid[SCHEDULER_UID_MAX + 1];
};

/* Copy the identity from metadata. False: a part of it is missing or cannot be a name. */
bool scheduler_name_read(struct json_object *object, struct scheduler_name *ret);
/* Return whether a text may be a name in a path: a DNS subdomain. */
bool scheduler_name_is_valid(const char *name);
/* Return whether a text may be an object's, or a request's, UID. */
bool scheduler_uid_is_valid(const char *uid);

/* Return 0 when this process leads now. Call it before each write: -ECANCELED otherwise. */
int scheduler_work_leads(struct scheduler_work *work, struct stow_err *err);
/* Make an event of a pod, type Warning; the same one at most every ten minutes. A failure is
 * counted, and not repeated. */
void scheduler_work_event(struct scheduler_work *work, const struct scheduler_name *pod,
			  const char *reason, const char *message);
/* Make the path of a collection in a namespace: "/apis/GROUP/namespaces/NS/REST"; `api` is
 * "/api/v1" or "/apis/GROUP/VERSION". Return NULL when out of memory; free it. */
char *scheduler_work_path(const char *api, const char *ns, const char *rest);
