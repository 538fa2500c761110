/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/notices.h"
#include "base/cleanup.h"
#include "grant/claim_limits.h"
#include "ledger/ledger.h"
#include "rpc/log.h"

#define AGAIN	30000 /* ms until the next look without a notification */
#define FAILED	1000  /* ms, after a look that failed */
#define HUGETLB "hugetlb."

struct agent_limits {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_notices notices;
	pthread_t thread;
	bool started;
	char logged[sizeof(((struct stow_err *)0)->msg)]; /* the failure that was logged last */
};

/* Return whether an event is a write to a limit, or a commit of the ledger, which ends with the
 * deletion of its journal. */
static bool concerns(const struct inotify_event *event)
{
	return event->mask & IN_Q_OVERFLOW ||
	       (event->len && (strncmp(event->name, HUGETLB, strlen(HUGETLB)) == 0 ||
			       strncmp(event->name, "ledger.db", strlen("ledger.db")) == 0));
}

/* --- one look ------------------------------------------------------------- */

static int watch_all(struct agent_limits *limits, const struct stow_grant_context *context,
		     struct stow_err *err)
{
	char **paths;
	size_t n;
	int r = stow_claim_limit_paths(context, &paths, &n, err);

	if (r < 0)
		return r;
	for (size_t i = 0; i < n && r == 0; i++)
		r = agent_notices_watch(&limits->notices, limits->root, paths[i], IN_MODIFY, err);
	stow_claim_paths_free(paths, n);
	return r;
}

/* Watch, then look: what is written in between is seen by one of both. */
static int look(struct agent_limits *limits, struct stow_err *err)
{
	_cleanup_(stow_ledger_close_ptr) struct stow_ledger *ledger = NULL;
	struct stow_grant_context context = agent_policy_context(limits->policy);
	int r;

	if (agent_policy_changes(limits->policy) != STOW_CHANGES_MADE)
		return 0;
	r = agent_notices_watch(&limits->notices, limits->root, STOW_RUN_DIR,
				IN_DELETE | IN_MOVED_TO, err);
	if (r == 0)
		r = stow_ledger_open(limits->root, true, &ledger, err);
	context.ledger = ledger;
	if (r == 0)
		r = watch_all(limits, &context, err);
	return r == 0 ? stow_claim_keep_limits(&context, err) : r;
}

static void *work(void *arg)
{
	struct agent_limits *limits = arg;
	int r;

	do {
		struct stow_err err = { 0 };

		r = look(limits, &err);
		if (r < 0 && strcmp(limits->logged, err.msg) != 0)
			stow_log(STOW_LOG_WARNING, "cannot keep all hugepage limits of claims",
				 stow_why(&err));
		snprintf(limits->logged, sizeof(limits->logged), "%s", r < 0 ? err.msg : "");
	} while (agent_notices_wait(&limits->notices, r < 0 ? FAILED : AGAIN) >= 0);
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

int agent_limits_new(struct stow_root *root, struct agent_policy *policy, struct agent_limits **ret,
		     struct stow_err *err)
{
	struct agent_limits *limits = calloc(1, sizeof(*limits));
	int r;

	if (!limits)
		return stow_err_set(err, ENOMEM, "out of memory");
	limits->root = root;
	limits->policy = policy;
	r = agent_notices_open(&limits->notices, concerns, err);
	if (r == 0) {
		r = pthread_create(&limits->thread, NULL, work, limits);
		limits->started = r == 0;
		r = r ? stow_err_sys(err, r, "cannot start a thread") : 0;
	}
	if (r < 0)
		agent_limits_free(limits);
	else
		*ret = limits;
	return r;
}

void agent_limits_free(struct agent_limits *limits)
{
	if (!limits)
		return;
	if (limits->started) {
		agent_notices_stop(&limits->notices);
		pthread_join(limits->thread, NULL);
	}
	agent_notices_close(&limits->notices);
	free(limits);
}
