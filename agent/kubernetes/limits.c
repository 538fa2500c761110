/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/limits.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

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
	int events, stop; /* inotify; eventfd */
	pthread_t thread;
	bool started;
	char logged[sizeof(((struct stow_err *)0)->msg)]; /* the failure that was logged last */
};

/* --- waiting -------------------------------------------------------------- */

static int add_watch(struct agent_limits *limits, const char *path, uint32_t mask,
		     struct stow_err *err)
{
	_cleanup_free_ char *whole = NULL;
	int r = stow_root_path(limits->root, path, &whole, err);

	/* A folder that is watched already keeps its watch; one that is gone needs none. */
	if (r == 0 && inotify_add_watch(limits->events, whole, mask | IN_ONLYDIR) < 0 &&
	    errno != ENOENT)
		r = stow_err_sys(err, errno, "cannot watch %s", whole);
	return r;
}

/* Return whether an event is a write to a limit, or a commit of the ledger, which ends with the
 * deletion of its journal. */
static bool concerns(const struct inotify_event *event)
{
	return event->mask & IN_Q_OVERFLOW ||
	       (event->len && (strncmp(event->name, HUGETLB, strlen(HUGETLB)) == 0 ||
			       strncmp(event->name, "ledger.db", strlen("ledger.db")) == 0));
}

static bool read_events(struct agent_limits *limits)
{
	char buf[65536] __attribute__((aligned(__alignof__(struct inotify_event))));
	bool any = false;
	ssize_t n;

	while ((n = read(limits->events, buf, sizeof(buf))) > 0)
		for (char *p = buf; p < buf + n;) {
			const struct inotify_event *event = (const struct inotify_event *)(void *)p;

			any |= concerns(event);
			p += sizeof(*event) + event->len;
		}
	return any;
}

/* Wait for an event, or for `timeout` ms. Return false at the end. */
static bool await(struct agent_limits *limits, int timeout)
{
	struct pollfd fds[] = { { .fd = limits->events, .events = POLLIN },
				{ .fd = limits->stop, .events = POLLIN } };

	for (;;) {
		int r = poll(fds, STOW_ARRAY_SIZE(fds), timeout);

		if (fds[1].revents)
			return false;
		if ((r > 0 && read_events(limits)) || r == 0 || (r < 0 && errno != EINTR))
			return true;
	}
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
		r = add_watch(limits, paths[i], IN_MODIFY, err);
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
	r = add_watch(limits, STOW_RUN_DIR, IN_DELETE | IN_MOVED_TO, err);
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
	} while (await(limits, r < 0 ? FAILED : AGAIN));
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
	limits->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	limits->stop = eventfd(0, EFD_CLOEXEC);
	r = limits->events < 0 || limits->stop < 0 ? stow_err_sys(err, errno, "hugepage limits")
						   : 0;
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
		(void)eventfd_write(limits->stop, 1);
		pthread_join(limits->thread, NULL);
	}
	stow_close_ptr(&limits->events);
	stow_close_ptr(&limits->stop);
	free(limits);
}
