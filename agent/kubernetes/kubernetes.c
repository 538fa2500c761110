/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/kubernetes.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/access.h"
#include "agent/kubernetes/amounts.h"
#include "agent/kubernetes/pages.h"
#include "agent/kubernetes/publish.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "kube/kube.h"
#include "rpc/log.h"
#include "rpc/metrics.h"

#define FIRST	  STOW_SECOND		   /* the wait after one failure ... */
#define MOST	  (60 * STOW_SECOND)	   /* ... and after many */
#define CALM	  (300 * STOW_SECOND)	   /* without a failure; then the count begins at 0 */
#define HOLD	  (500 * STOW_MILLISECOND) /* after a write, so that several changes become one */
#define GATE_WAIT (600 * STOW_SECOND)	   /* until a feature gate is tried again */
#define IDLE	  (60 * STOW_SECOND)	   /* without a report */

/* The state that was logged last. */
enum state {
	STATE_NONE,
	STATE_PUBLISHED,
	STATE_WITHHELD, /* on purpose, for a reason */
	STATE_GATE,	/* the API server lacks a feature */
	STATE_AWAY,	/* calls fail */
};

struct agent_kubernetes {
	struct stow_root *root;
	struct agent_policy *policy;
	struct agent_publisher *publisher;
	struct stow_kube *kube;
	struct agent_publish *publish;
	pthread_t thread;
	bool started;

	/* For the thread only. */
	struct agent_amounts *amounts;
	struct agent_pages pages;
	enum state state;
	int why;	      /* STATE_AWAY: the error */
	const char *reason;   /* STATE_WITHHELD; constant */
	bool without_taints;  /* was logged */
	bool lists;	      /* lists are wanted, and no refusal of them was logged */
	bool without_binding; /* was logged */
	unsigned int failures_in_a_row;
	uint64_t failed;     /* boot time of the last failure */
	uint64_t not_before; /* boot time of the next attempt */

	atomic_bool binding; /* binding conditions are wanted */
	atomic_uint_least64_t publishes, failures, last_success, devices;
};

/* --- what is wanted ------------------------------------------------------- */

static void wake(void *ctx)
{
	struct agent_kubernetes *k = ctx;

	stow_kube_wake(k->kube);
}

/* --- results -------------------------------------------------------------- */

/* Log that the API server drops, or refuses, a part of what is wanted: once. */
static void log_missing(struct agent_kubernetes *k, const struct agent_publish_done *done)
{
	bool without_binding = atomic_load(&k->binding) && !done->binding && done->devices > 0;

	if (k->without_taints != !done->taints) {
		k->without_taints = !done->taints;
		if (k->without_taints)
			stow_log(STOW_LOG_WARNING,
				 "the API server drops taints (feature gate DRADeviceTaints): "
				 "fenced NUMA nodes are not published");
	}
	if (k->lists && !done->lists) {
		k->lists = false;
		stow_log(STOW_LOG_WARNING,
			 "the API server refuses lists (feature gate DRAListTypeAttributes): PCIe "
			 "roots are not published");
	}
	if (without_binding && !k->without_binding)
		stow_log(STOW_LOG_WARNING,
			 "the API server drops binding conditions (feature gates "
			 "DRADeviceBindingConditions and DRAResourceClaimDeviceStatus): claims are "
			 "prepared after their pods are bound");
	k->without_binding = without_binding;
}

static void log_published(struct agent_kubernetes *k, const struct agent_publish_done *done)
{
	log_missing(k, done);
	if (done->changed || k->state != STATE_PUBLISHED)
		stow_log(STOW_LOG_NOTICE, "published to Kubernetes",
			 stow_number("devices", done->devices), stow_number("slices", done->slices),
			 stow_number("generation", (uint64_t)done->generation));
	k->state = STATE_PUBLISHED;
}

static void succeed(struct agent_kubernetes *k, const char *reason,
		    const struct agent_publish_done *done)
{
	if (done->changed) {
		atomic_fetch_add(&k->publishes, 1);
		k->not_before = stow_clock_boot() + HOLD;
	}
	atomic_store(&k->last_success, stow_clock_wall());
	atomic_store(&k->devices, done->devices);
	if (!reason) {
		log_published(k, done);
		return;
	}
	if (k->state != STATE_WITHHELD || k->reason != reason)
		stow_log(STOW_LOG_WARNING, "nothing is published to Kubernetes",
			 stow_text("reason", reason));
	k->state = STATE_WITHHELD;
	k->reason = reason;
}

static void fail(struct agent_kubernetes *k, int r, const struct stow_err *err)
{
	enum state state = r == -EOPNOTSUPP ? STATE_GATE : STATE_AWAY;
	uint64_t now = stow_clock_boot();

	atomic_fetch_add(&k->failures, 1);
	if (state == STATE_GATE)
		atomic_store(&k->devices, 0);
	if (stow_clock_elapsed(k->failed, now) > CALM)
		k->failures_in_a_row = 0;
	k->failed = now;
	k->not_before = now + (state == STATE_GATE
				       ? GATE_WAIT
				       : stow_kube_backoff(++k->failures_in_a_row, FIRST, MOST));
	/* Log each change of state, not each attempt. */
	if (k->state == state && k->why == agent_access_kind(r))
		return;
	if (state == STATE_GATE)
		stow_log(STOW_LOG_ERR, "nothing is published to Kubernetes", stow_why(err));
	else
		stow_log(STOW_LOG_WARNING, "Kubernetes may not know what is published now",
			 stow_why(err));
	k->state = state;
	k->why = agent_access_kind(r);
}

/* --- the thread ----------------------------------------------------------- */

static void step(struct agent_kubernetes *k)
{
	_cleanup_free_ struct agent_slice_device *devices = NULL;
	const char *reason = agent_access_reason(k->root, k->policy);
	struct agent_publish_done done;
	struct stow_err err = { 0 };
	size_t n = 0;
	int r = 0;

	if (!reason)
		r = agent_amounts_read(k->amounts, &devices, &n, &err);
	agent_pages_withhold(&k->pages, k->root, devices, n);
	agent_publish_set_binding(k->publish, atomic_load(&k->binding));
	if (r == 0)
		r = agent_publish_run(k->publish, devices, n, &done, &err);
	if (r == 0)
		succeed(k, reason, &done);
	else if (r != -ECANCELED)
		fail(k, r, &err);
}

static void *work(void *ctx)
{
	struct agent_kubernetes *k = ctx;
	uint64_t wait = 0;

	while (stow_kube_wait(k->kube, wait) >= 0) {
		uint64_t now = stow_clock_boot();

		/* Before that time, being woken only begins the wait anew. */
		if (now >= k->not_before)
			step(k);
		now = stow_clock_boot();
		wait = k->not_before > now ? k->not_before - now : IDLE;
	}
	return NULL;
}

/* --- making and freeing --------------------------------------------------- */

int agent_kubernetes_new(struct stow_root *root, struct agent_policy *policy,
			 struct agent_publisher *publisher, const struct agent_config *config,
			 struct agent_kubernetes **ret, struct stow_err *err)
{
	struct agent_kubernetes *k = calloc(1, sizeof(*k));
	int r;

	if (!k)
		return stow_err_set(err, ENOMEM, "out of memory");
	k->root = root;
	k->policy = policy;
	k->publisher = publisher;
	k->lists = config->list_attributes;
	/* Until the agent knows that it cannot see claims. */
	atomic_init(&k->binding, config->binding_conditions);
	r = agent_access_client(root, config->kubeconfig, AGENT_LISTS_MAX, &k->kube, err);
	if (r == 0)
		r = agent_amounts_new(root, policy, publisher, &k->amounts, err);
	if (r == 0)
		r = agent_publish_new(k->kube, root, config->node, config->list_attributes,
				      &k->publish, err);
	if (r == 0) {
		r = pthread_create(&k->thread, NULL, work, k);
		k->started = r == 0;
		r = r ? stow_err_sys(err, r, "kubernetes: cannot start a thread") : 0;
	}
	if (r < 0) {
		agent_kubernetes_free(k);
		return r;
	}
	agent_publisher_follow(publisher, wake, k);
	*ret = k;
	return 0;
}

void agent_kubernetes_free(struct agent_kubernetes *k)
{
	if (!k)
		return;
	if (k->started) {
		agent_publisher_unfollow(k->publisher, k);
		stow_kube_stop(k->kube);
		pthread_join(k->thread, NULL);
	}
	agent_publish_free(k->publish);
	stow_kube_free(k->kube);
	agent_amounts_free(k->amounts);
	free(k);
}

void agent_kubernetes_set_binding(struct agent_kubernetes *k, bool binding)
{
	if (atomic_exchange(&k->binding, binding) != binding)
		stow_kube_wake(k->kube);
}

void agent_kubernetes_render(const struct agent_kubernetes *k, FILE *out)
{
	const struct {
		const char *name, *type, *help;
		double value;
	} metrics[] = {
		{ "numastow_agent_kubernetes_publishes_total", "counter",
		  "How often what is published to Kubernetes was changed.",
		  k ? (double)atomic_load(&k->publishes) : 0 },
		{ "numastow_agent_kubernetes_failures_total", "counter",
		  "Failed attempts to publish to Kubernetes, or to compare with what it has.",
		  k ? (double)atomic_load(&k->failures) : 0 },
		{ "numastow_agent_kubernetes_last_success_seconds", "gauge",
		  "Time when Kubernetes last had everything to publish; seconds since the epoch, "
		  "0: never.",
		  k ? (double)atomic_load(&k->last_success) / 1e9 : 0 },
		{ "numastow_agent_kubernetes_devices", "gauge",
		  "NUMA nodes that are published to Kubernetes.",
		  k ? (double)atomic_load(&k->devices) : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(metrics); i++) {
		stow_metric_head(out, metrics[i].name, metrics[i].type, metrics[i].help);
		stow_metric(out, metrics[i].name, metrics[i].value, NULL);
	}
}
