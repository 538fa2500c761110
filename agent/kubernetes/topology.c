/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/topology.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "agent/kubernetes/access.h"
#include "agent/kubernetes/amounts.h"
#include "agent/kubernetes/zones_publish.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define FIRST	     STOW_SECOND	      /* the wait after one failure ... */
#define MOST	     (60 * STOW_SECOND)	      /* ... and after many */
#define CALM	     (300 * STOW_SECOND)      /* without a failure; then the count begins at 0 */
#define HOLD	     (500 * STOW_MILLISECOND) /* after a write, so that several changes become one */
#define MISSING_WAIT (20 * STOW_SECOND)	      /* until the definition is looked for again */
#define OTHERS_WAIT  (600 * STOW_SECOND)      /* until another program's object is tried again */
#define IDLE	     (60 * STOW_SECOND)	      /* without a report */

/* The state that was logged last. */
enum state {
	STATE_NONE,
	STATE_WRITTEN,
	STATE_WITHHELD, /* on purpose, for a reason */
	STATE_MISSING,	/* the API server does not know this kind of object */
	STATE_OTHERS,	/* another program writes the object */
	STATE_AWAY,	/* calls fail */
};

struct agent_topology {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct stow_kube *kube;
	struct agent_zones_publish *publish;
	pthread_t thread;
	bool started;

	/* For the thread only. */
	struct agent_amounts *amounts;
	enum state state;
	int why;	    /* STATE_AWAY: the error */
	const char *reason; /* STATE_WITHHELD; constant */
	bool too_many;	    /* was logged */
	unsigned int failures_in_a_row;
	uint64_t failed;     /* boot time of the last failure */
	uint64_t not_before; /* boot time of the next attempt */

	atomic_uint_least64_t writes, failures, last_success;
};

static void wake(void *ctx)
{
	struct agent_topology *t = ctx;

	stow_kube_wake(t->kube);
}

/* --- results -------------------------------------------------------------- */

static void succeed(struct agent_topology *t, const char *reason, bool changed, bool too_many)
{
	if (changed) {
		atomic_fetch_add(&t->writes, 1);
		t->not_before = stow_clock_boot() + HOLD;
	}
	atomic_store(&t->last_success, stow_clock_wall());
	if (reason) {
		if (t->state != STATE_WITHHELD || t->reason != reason)
			stow_log(STOW_LOG_WARNING, "no NodeResourceTopology is published",
				 stow_text("reason", reason));
		t->state = STATE_WITHHELD;
		t->reason = reason;
		return;
	}
	if (t->state != STATE_WRITTEN)
		stow_log(STOW_LOG_NOTICE, "this machine's NodeResourceTopology is up to date");
	t->state = STATE_WRITTEN;
	if (too_many && !t->too_many)
		stow_log(STOW_LOG_WARNING, "NUMA nodes from 64 on are not in the "
					   "NodeResourceTopology: kube-scheduler's "
					   "plugin cannot use them");
	t->too_many = too_many;
}

static void log_failure(enum state state, const struct stow_err *err)
{
	switch (state) {
	case STATE_MISSING:
		stow_log(STOW_LOG_WARNING, "no NodeResourceTopology is published", stow_why(err));
		break;
	case STATE_OTHERS:
		stow_log(STOW_LOG_WARNING,
			 "another program writes this machine's NodeResourceTopology, and it is "
			 "left alone until it is deleted",
			 stow_why(err));
		break;
	default:
		stow_log(STOW_LOG_WARNING, "this machine's NodeResourceTopology may be out of date",
			 stow_why(err));
		break;
	}
}

static void fail(struct agent_topology *t, int r, const struct stow_err *err)
{
	enum state state = r == -ENXIO ? STATE_MISSING : r == -EUSERS ? STATE_OTHERS : STATE_AWAY;
	uint64_t now = stow_clock_boot();

	atomic_fetch_add(&t->failures, 1);
	if (stow_clock_elapsed(t->failed, now) > CALM)
		t->failures_in_a_row = 0;
	t->failed = now;
	if (state == STATE_MISSING)
		t->not_before = now + stow_kube_backoff(1, MISSING_WAIT, MISSING_WAIT);
	else if (state == STATE_OTHERS)
		t->not_before = now + stow_kube_backoff(1, OTHERS_WAIT, OTHERS_WAIT);
	else
		t->not_before = now + stow_kube_backoff(++t->failures_in_a_row, FIRST, MOST);
	/* Log each change of state, not each attempt. */
	if (t->state != state || t->why != agent_access_kind(r))
		log_failure(state, err);
	t->state = state;
	t->why = agent_access_kind(r);
}

/* --- the thread ----------------------------------------------------------- */

static void step(struct agent_topology *t)
{
	_cleanup_free_ struct agent_slice_device *devices = NULL;
	const char *reason = agent_access_reason(t->root, t->policy);
	enum stow_policy policy = agent_policy_context(t->policy).config->default_policy;
	struct stow_err err = { 0 };
	bool changed = false;
	size_t n = 0;
	int r = 0;

	if (!reason)
		r = agent_amounts_read(t->amounts, &devices, &n, &err);
	if (r == 0)
		r = agent_zones_publish_run(t->publish, devices, n, policy, &changed, &err);
	if (r == 0)
		succeed(t, reason, changed, n > 0 && devices[n - 1].facts.id >= AGENT_ZONES);
	else if (r != -ECANCELED)
		fail(t, r, &err);
}

static void *work(void *ctx)
{
	struct agent_topology *t = ctx;
	uint64_t wait = 0;

	while (stow_kube_wait(t->kube, wait) >= 0) {
		uint64_t now = stow_clock_boot();

		/* The other program's object was deleted. Write ours soon, but not at once: a
		 * program that deletes it may do so each time. */
		if (t->state == STATE_OTHERS && agent_zones_publish_is_gone(t->publish))
			t->not_before = STOW_MIN(t->not_before, now + HOLD);
		/* Before that time, being woken only begins the wait anew. */
		if (now >= t->not_before)
			step(t);
		now = stow_clock_boot();
		wait = t->not_before > now ? t->not_before - now : IDLE;
	}
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

int agent_topology_new(struct stow_root *root, struct agent_policy *policy,
		       struct agent_publisher *publisher, const struct agent_config *config,
		       struct agent_topology **ret, struct stow_err *err)
{
	struct agent_topology *t = calloc(1, sizeof(*t));
	int r;

	if (!t)
		return stow_err_set(err, ENOMEM, "out of memory");
	t->root = root;
	t->policy = policy;
	t->publisher = publisher;
	r = agent_access_client(root, config->kubeconfig, AGENT_LISTS_MAX, &t->kube, err);
	if (r == 0)
		r = agent_amounts_new(root, policy, publisher, &t->amounts, err);
	if (r == 0)
		r = agent_zones_publish_new(t->kube, config->node, &t->publish, err);
	if (r == 0) {
		r = pthread_create(&t->thread, NULL, work, t);
		t->started = r == 0;
		r = r ? stow_err_sys(err, r, "node-resource-topology: cannot start a thread") : 0;
	}
	if (r < 0) {
		agent_topology_free(t);
		return r;
	}
	agent_publisher_follow(publisher, wake, t);
	*ret = t;
	return 0;
}

void agent_topology_free(struct agent_topology *t)
{
	if (!t)
		return;
	if (t->started) {
		agent_publisher_unfollow(t->publisher, t);
		stow_kube_stop(t->kube);
		pthread_join(t->thread, NULL);
	}
	agent_zones_publish_free(t->publish);
	stow_kube_free(t->kube);
	agent_amounts_free(t->amounts);
	free(t);
}

void agent_topology_render(const struct agent_topology *t, FILE *out)
{
	const struct {
		const char *name, *type, *help;
		double value;
	} metrics[] = {
		{ "numastow_agent_topology_writes_total", "counter",
		  "How often the machine's NodeResourceTopology was written or deleted.",
		  t ? (double)atomic_load(&t->writes) : 0 },
		{ "numastow_agent_topology_failures_total", "counter",
		  "Failed attempts to write the NodeResourceTopology, or to compare with it.",
		  t ? (double)atomic_load(&t->failures) : 0 },
		{ "numastow_agent_topology_last_success_seconds", "gauge",
		  "Time when the NodeResourceTopology last was as it should be; seconds since the "
		  "epoch, 0: never.",
		  t ? (double)atomic_load(&t->last_success) / 1e9 : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(metrics); i++) {
		stow_metric_head(out, metrics[i].name, metrics[i].type, metrics[i].help);
		stow_metric(out, metrics[i].name, metrics[i].value, NULL);
	}
}
