/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/work.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/digest.h"
#include "base/json.h"
#include "base/parse.h"
#include "base/timestamp.h"
#include "kube/json.h"
#include "kube/make.h"
#include "rpc/log.h"
#include "scheduler/kubernetes/names.h"

#define REPEAT_AFTER (600 * STOW_SECOND)
#define MESSAGE_MAX  1000 /* bytes; Kubernetes allows 1,024 */

/* --- names ---------------------------------------------------------------- */

bool scheduler_name_is_valid(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++)
		if (!islower((unsigned char)name[i]) && !isdigit((unsigned char)name[i]) &&
		    ((name[i] != '-' && name[i] != '.') || i == 0 || i == len - 1))
			return false;
	return len > 0 && len <= SCHEDULER_NAME_MAX;
}

bool scheduler_uid_is_valid(const char *uid)
{
	size_t len = strlen(uid);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)uid[i]) && uid[i] != '-')
			return false;
	return len > 0 && len <= SCHEDULER_UID_MAX;
}

bool scheduler_name_read(struct json_object *object, struct scheduler_name *ret)
{
	const char *ns = stow_kube_text(object, "metadata.namespace");
	const char *name = stow_kube_text(object, "metadata.name");
	const char *uid = stow_kube_text(object, "metadata.uid");

	if (!scheduler_name_is_valid(ns) || !scheduler_name_is_valid(name) ||
	    !scheduler_uid_is_valid(uid))
		return false;
	snprintf(ret->ns, sizeof(ret->ns), "%s", ns);
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	snprintf(ret->uid, sizeof(ret->uid), "%s", uid);
	return true;
}

char *scheduler_work_path(const char *api, const char *ns, const char *rest)
{
	char *path;

	return asprintf(&path, "%s/namespaces/%s/%s", api, ns, rest) < 0 ? NULL : path;
}

/* --- leadership ----------------------------------------------------------- */

int scheduler_work_leads(struct scheduler_work *work, struct stow_err *err)
{
	if (!work->lease || scheduler_lease_is_held(work->lease))
		return 0;
	return stow_err_set(err, ECANCELED, "another process leads now");
}

/* --- events --------------------------------------------------------------- */

/* Return a hash of the event, or 0 when it was made a short time ago. */
static uint64_t hash_new(struct scheduler_work *work, const struct scheduler_name *pod,
			 const char *reason, const char *message)
{
	char text[STOW_DIGEST_LEN + 1];
	uint64_t now = stow_clock_boot(), hash;
	struct stow_digest digest;
	const char *p = text;

	stow_digest_begin(&digest, "numastow event 1");
	stow_digest_text(&digest, pod->uid);
	stow_digest_text(&digest, reason);
	stow_digest_text(&digest, message);
	stow_digest_end(&digest, text);
	text[16] = '\0';
	if (!stow_scan_hex(&p, &hash) || !hash)
		hash = 1;
	for (size_t i = 0; i < SCHEDULER_EVENTS_KEPT; i++)
		if (work->recent[i].hash == hash && work->recent[i].at &&
		    stow_clock_elapsed(work->recent[i].at, now) < REPEAT_AFTER)
			return 0;
	work->recent[work->next_recent].hash = hash;
	work->recent[work->next_recent].at = now;
	work->next_recent = (work->next_recent + 1) % SCHEDULER_EVENTS_KEPT;
	return hash;
}

static bool fill_event(struct json_object *event, const struct scheduler_name *pod,
		       const char *reason, const char *message, uint64_t hash)
{
	struct json_object *metadata = stow_kube_object_at(event, "metadata");
	struct json_object *object = stow_kube_object_at(event, "involvedObject");
	char name[SCHEDULER_NAME_MAX + 1], now[STOW_TIMESTAMP_MAX], text[MESSAGE_MAX + 1];

	stow_timestamp(stow_clock_wall(), now);
	/* The same name for the same event: a second one is refused, also after a restart. */
	snprintf(name, sizeof(name), "%.200s.%016" PRIx64, pod->name, hash);
	snprintf(text, sizeof(text), "%s", message);
	return stow_kube_put_text(event, "apiVersion", "v1") &&
	       stow_kube_put_text(event, "kind", "Event") &&
	       stow_kube_put_text(metadata, "name", name) &&
	       stow_kube_put_text(metadata, "namespace", pod->ns) &&
	       stow_kube_put_text(object, "apiVersion", "v1") &&
	       stow_kube_put_text(object, "kind", "Pod") &&
	       stow_kube_put_text(object, "namespace", pod->ns) &&
	       stow_kube_put_text(object, "name", pod->name) &&
	       stow_kube_put_text(object, "uid", pod->uid) &&
	       stow_kube_put_text(event, "type", "Warning") &&
	       stow_kube_put_text(event, "reason", reason) &&
	       stow_kube_put_text(event, "message", text) &&
	       stow_kube_put_text(event, "firstTimestamp", now) &&
	       stow_kube_put_text(event, "lastTimestamp", now) &&
	       stow_kube_put(event, "count", json_object_new_int(1)) &&
	       stow_kube_put_text(event, "reportingComponent", SCHEDULER_MANAGER) &&
	       stow_kube_put_text(stow_kube_object_at(event, "source"), "component",
				  SCHEDULER_MANAGER);
}

void scheduler_work_event(struct scheduler_work *work, const struct scheduler_name *pod,
			  const char *reason, const char *message)
{
	_cleanup_json_ struct json_object *event = NULL;
	_cleanup_free_ char *path = NULL;
	uint64_t hash = hash_new(work, pod, reason, message);
	struct stow_err err = { 0 };
	int r;

	if (!hash || scheduler_work_leads(work, NULL) < 0)
		return;
	event = json_object_new_object();
	path = scheduler_work_path("/api/v1", pod->ns, "events");
	if (!path || !fill_event(event, pod, reason, message, hash))
		return;
	stow_log(STOW_LOG_NOTICE, message, stow_text("namespace", pod->ns),
		 stow_text("pod", pod->name), stow_text("reason", reason));
	r = stow_kube_create(work->kube, path, event, NULL, &err);
	if (r == 0)
		atomic_fetch_add(&work->events, 1);
	else if (r != -EEXIST && r != -ECANCELED) {
		atomic_fetch_add(&work->failures, 1);
		stow_log(STOW_LOG_WARNING, "an event could not be made", stow_why(&err));
	}
}
