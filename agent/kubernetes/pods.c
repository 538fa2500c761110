/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/pods.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/notices.h"
#include "base/cleanup.h"
#include "cgroup/hierarchy.h"
#include "cgroup/kubepods.h"
#include "grant/apply.h"
#include "grant/pods.h"
#include "rpc/log.h"

/* ms until the next look without a notification. The first come soon after one: on cgroup v1 the
 * program that has made the cgroup also writes its set. */
static const int again[] = { 50, 500, 10000 };
#define FAILED 1000 /* after a look that failed */

#define NEW_CGROUP (IN_CREATE | IN_MOVED_TO)

/* A fact, as it was logged last. */
struct fact {
	bool bad;
	char why[256];
};

struct agent_pods {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_notices notices;
	pthread_t thread;
	bool started;
	struct fact offered, applied, watched; /* for the thread only */
};

/* --- log ------------------------------------------------------------------ */

/* Log a fact if it has changed: `bad`, for the reason `why`, or, where that is NULL, `good`. */
static void log_change(struct fact *fact, const char *bad, const char *good, const char *why)
{
	if (why && (!fact->bad || strncmp(fact->why, why, sizeof(fact->why) - 1) != 0))
		stow_log(STOW_LOG_WARNING, bad, stow_text("why", why));
	else if (!why && fact->bad)
		stow_log(STOW_LOG_NOTICE, good);
	fact->bad = why != NULL;
	if (why)
		snprintf(fact->why, sizeof(fact->why), "%s", why);
}

/* --- watching ------------------------------------------------------------- */

static int add_watch(struct agent_pods *pods, const char *point, const char *path, uint32_t mask,
		     struct stow_err *err)
{
	_cleanup_free_ char *whole = NULL;

	if (asprintf(&whole, "%s%s", point, path) < 0) {
		whole = NULL;
		return stow_err_sys(err, ENOMEM, "%s", path);
	}
	return agent_notices_watch(&pods->notices, pods->root, whole, mask, err);
}

/* Watch for new cgroups, in all places where they would have exclusive CPUs. */
static int watch_all(struct agent_pods *pods, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	char **paths = NULL;
	const char *point;
	size_t n = 0;
	int r;

	/* A commit ends with the deletion of the journal; a copy of the exclusive CPUs is moved. */
	r = add_watch(pods, STOW_RUN_DIR, "", IN_DELETE | IN_MOVED_TO, err);
	if (r == 0)
		r = stow_cgroup_mount(pods->root, STOW_CGROUP_CPUSET, &point, err);
	if (r == 0)
		r = stow_pods_watched(context, &paths, &n, err);
	/* kubelet may start later. */
	if (r == 0)
		r = add_watch(pods, point, "", NEW_CGROUP, err);
	for (size_t i = 0; i < n; i++) {
		if (r == 0)
			r = add_watch(pods, point, paths[i], NEW_CGROUP, err);
		free(paths[i]);
	}
	free(paths);
	return r;
}

/* Return whether an event is one to act on: of numastow's own files few are. */
static bool concerns(const struct inotify_event *event)
{
	static const char *const names[] = { "ledger.db", "ledger.db-journal", "exclusive",
					     "pods-on" };

	if (event->mask & (IN_Q_OVERFLOW | IN_ISDIR))
		return true;
	for (size_t i = 0; event->len && i < STOW_ARRAY_SIZE(names); i++)
		if (strcmp(event->name, names[i]) == 0)
			return true;
	return false;
}

/* --- one look ------------------------------------------------------------- */

static int apply(const struct stow_grant_context *context, struct stow_err *err)
{
	struct stow_apply_result result = { 0 };
	struct stow_idset exclusive;
	int r;

	r = stow_ledger_exclusive(context->ledger, &exclusive, err);
	/* The program that has released the last ones gives all cgroups back. */
	if (r < 0 || stow_idset_empty(&exclusive))
		return r;
	r = stow_apply_pods(context, &result, err);
	if (r == 0 && result.n_problems)
		r = stow_err_set(err, EBUSY, "%s", result.problems[0].text);
	stow_apply_result_done(&result);
	return r;
}

/* Watch, then look: what is made in between is seen by one of both. */
static int look(struct agent_pods *pods)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_policy_context(pods->policy);
	struct stow_err err = { 0 };
	int r, applied;

	log_change(&pods->offered, "exclusive CPUs are not offered to Kubernetes",
		   "exclusive CPUs are offered to Kubernetes",
		   stow_kubepods_check(pods->root, &err) < 0 ? err.msg : NULL);
	if (agent_policy_changes(pods->policy) != STOW_CHANGES_MADE)
		return 0;
	r = stow_pods_set(pods->root, true, &err);
	if (r == 0)
		r = stow_ledger_open(pods->root, true, &ledger, &err);
	context.ledger = ledger;
	if (r == 0)
		r = watch_all(pods, &context, &err);
	log_change(&pods->watched, "new pods cannot be noticed at once",
		   "new pods are noticed at once", r < 0 ? err.msg : NULL);
	applied = ledger ? apply(&context, &err) : 0;
	log_change(&pods->applied, "pods may run on exclusive CPUs",
		   "pods are kept off exclusive CPUs", applied < 0 ? err.msg : NULL);
	return r < 0 ? r : applied;
}

static void *work(void *arg)
{
	struct agent_pods *pods = arg;
	size_t quiet = 0; /* looks since the last event */
	int r;

	do {
		r = agent_notices_wait(&pods->notices, look(pods) < 0 ? FAILED : again[quiet]);
		if (r > 0)
			quiet = 0;
		else if (quiet + 1 < STOW_ARRAY_SIZE(again))
			quiet++;
	} while (r >= 0);
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

int agent_pods_new(struct stow_root *root, struct agent_policy *policy, struct agent_pods **ret,
		   struct stow_err *err)
{
	struct agent_pods *pods = calloc(1, sizeof(*pods));
	int r;

	if (!pods)
		return stow_err_set(err, ENOMEM, "out of memory");
	pods->root = root;
	pods->policy = policy;
	r = agent_notices_open(&pods->notices, concerns, err);
	if (r == 0) {
		r = pthread_create(&pods->thread, NULL, work, pods);
		pods->started = r == 0;
		r = r ? stow_err_sys(err, r, "pods: cannot start a thread") : 0;
	}
	if (r < 0) {
		agent_pods_free(pods);
		return r;
	}
	*ret = pods;
	return 0;
}

void agent_pods_free(struct agent_pods *pods)
{
	if (!pods)
		return;
	if (pods->started) {
		agent_notices_stop(&pods->notices);
		pthread_join(pods->thread, NULL);
	}
	agent_notices_close(&pods->notices);
	free(pods);
}
