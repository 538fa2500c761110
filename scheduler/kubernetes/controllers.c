/* SPDX-License-Identifier: Apache-2.0 */
#include "scheduler/kubernetes/controllers.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "kube/config.h"
#include "rpc/log.h"
#include "rpc/metrics.h"
#include "scheduler/kubernetes/claims.h"
#include "scheduler/kubernetes/names.h"
#include "scheduler/kubernetes/templates.h"

#define CALL	(5 * STOW_SECOND)   /* for an answer: less than the lease leads */
#define WATCH	(STOW_SECOND / 2)   /* between two looks at the lease */
#define HANGS	(300 * STOW_SECOND) /* more than all calls of one turn may take */
#define ANSWERS ((size_t)16 << 20)  /* bytes: a page of the largest pods, with room */

struct scheduler_controllers {
	struct scheduler_work work;
	struct scheduler_templates *templates;
	struct scheduler_claims *claims;
	pthread_t thread;
	bool runs;
	_Atomic uint64_t turned; /* boot time of the last turn */
};

/* --- the thread ----------------------------------------------------------- */

static void *run(void *arg)
{
	struct scheduler_controllers *c = arg;
	uint64_t wait = 0;
	bool led = false;

	while (stow_kube_wait(c->work.kube, wait) >= 0) {
		bool leads = scheduler_work_leads(&c->work, NULL) == 0;

		atomic_store(&c->turned, stow_clock_boot());
		if (led && !leads) {
			scheduler_templates_reset(c->templates);
			scheduler_claims_reset(c->claims);
		}
		led = leads;
		wait = WATCH;
		if (!leads)
			continue;
		wait = STOW_MIN(wait, scheduler_templates_look(c->templates));
		wait = STOW_MIN(wait, scheduler_claims_look(c->claims));
	}
	return NULL;
}

bool scheduler_controllers_well(struct scheduler_controllers *c, char *why, size_t size)
{
	uint64_t silent = stow_clock_elapsed(atomic_load(&c->turned), stow_clock_boot());

	if (silent < HANGS)
		return true;
	snprintf(why, size, "the controllers of Kubernetes hang for %" PRIu64 " s",
		 silent / STOW_SECOND);
	return false;
}

/* --- making and freeing --------------------------------------------------- */

static int make_client(const struct scheduler_controllers_options *options, struct stow_kube **ret,
		       struct stow_err *err)
{
	const struct stow_kube_options kube = {
		.kubeconfig = options->kubeconfig,
		.host = options->host,
		.port = options->port,
		.program = SCHEDULER_MANAGER,
		.timeout = CALL,
		.answer_max = ANSWERS,
	};

	return stow_kube_new(&kube, ret, err);
}

static int start(struct scheduler_controllers *c,
		 const struct scheduler_controllers_options *options, struct stow_err *err)
{
	struct stow_kube *of_lease = NULL;
	int r = make_client(options, &c->work.kube, err);

	if (r == 0)
		r = make_client(options, &of_lease, err);
	if (r == 0)
		r = scheduler_lease_new(of_lease, options->lease_namespace, SCHEDULER_MANAGER,
					&c->work.lease, err);
	if (r == 0)
		r = scheduler_templates_new(&c->work, options->unused_templates, &c->templates,
					    err);
	if (r == 0)
		r = scheduler_claims_new(&c->work, options->prepare_deadline, &c->claims, err);
	if (r < 0)
		return r;
	r = -pthread_create(&c->thread, NULL, run, c);
	c->runs = r == 0;
	return r < 0 ? stow_err_sys(err, -r, "cannot start a thread") : 0;
}

int scheduler_controllers_new(const struct scheduler_controllers_options *options,
			      struct scheduler_controllers **ret, struct stow_err *err)
{
	struct scheduler_controllers *c = calloc(1, sizeof(*c));
	int r;

	if (!c)
		return stow_err_set(err, ENOMEM, "out of memory");
	atomic_store(&c->turned, stow_clock_boot());
	r = start(c, options, err);
	if (r < 0) {
		scheduler_controllers_free(c);
		return stow_err_wrap(err, r, "kubernetes");
	}
	*ret = c;
	return 0;
}

void scheduler_controllers_free(struct scheduler_controllers *c)
{
	if (!c)
		return;
	if (c->runs) {
		stow_kube_stop(c->work.kube);
		pthread_join(c->thread, NULL);
	}
	scheduler_lease_free(c->work.lease);
	scheduler_templates_free(c->templates);
	scheduler_claims_free(c->claims);
	stow_kube_free(c->work.kube);
	free(c);
}

int scheduler_controllers_check(const struct scheduler_controllers_options *options,
				struct stow_err *err)
{
	struct stow_kube *kube = NULL;
	int r = make_client(options, &kube, err);

	stow_kube_free(kube);
	return r < 0 ? stow_err_wrap(err, r, "kubernetes") : 0;
}

void scheduler_controllers_render(struct scheduler_controllers *c, FILE *out)
{
	const struct {
		const char *name, *type, *help;
		double value;
	} metrics[] = {
		{ "leader", "gauge", "1 when this process leads the controllers of Kubernetes.",
		  c && scheduler_work_leads(&c->work, NULL) == 0 },
		{ "templates_made_total", "counter", "Templates of claims made for pods.",
		  c ? (double)atomic_load(&c->work.templates_made) : 0 },
		{ "templates_deleted_total", "counter", "Templates deleted that no pod used.",
		  c ? (double)atomic_load(&c->work.templates_deleted) : 0 },
		{ "evictions_total", "counter", "Pods evicted, because their memory is drained.",
		  c ? (double)atomic_load(&c->work.evictions) : 0 },
		{ "evictions_blocked_total", "counter",
		  "Evictions that a disruption budget did not allow at that time.",
		  c ? (double)atomic_load(&c->work.evictions_blocked) : 0 },
		{ "pods_deleted_total", "counter",
		  "Pods deleted to be placed anew, because their claim was refused.",
		  c ? (double)atomic_load(&c->work.pods_deleted) : 0 },
		{ "events_total", "counter", "Events made of pods.",
		  c ? (double)atomic_load(&c->work.events) : 0 },
		{ "failures_total", "counter", "Calls of the API server that failed.",
		  c ? (double)atomic_load(&c->work.failures) : 0 },
	};

	for (size_t i = 0; i < STOW_ARRAY_SIZE(metrics); i++) {
		char name[96];

		snprintf(name, sizeof(name), "numastow_scheduler_kubernetes_%s", metrics[i].name);
		stow_metric_head(out, name, metrics[i].type, metrics[i].help);
		stow_metric(out, name, metrics[i].value, NULL);
	}
}
