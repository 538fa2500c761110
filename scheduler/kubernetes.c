/* SPDX-License-Identifier: Apache-2.0 */
/* What the scheduler does for Kubernetes. */
#include <stdlib.h>

#include "rpc/https.h"
#include "scheduler/extender/extender.h"
#include "scheduler/kubernetes/admission.h"
#include "scheduler/kubernetes/controllers.h"
#include "scheduler/kubernetes/selftest.h"
#include "scheduler/scheduler.h"

static struct stow_rpc_tls tls_of(const struct scheduler_config *config)
{
	return (struct stow_rpc_tls){ config->admission_certificate, config->admission_key,
				      config->admission_ca };
}

static struct stow_rpc_tls extender_tls_of(const struct scheduler_config *config)
{
	return (struct stow_rpc_tls){ config->admission_certificate, config->admission_key,
				      config->extender_ca };
}

static struct scheduler_controllers_options options_of(const struct scheduler_config *config)
{
	return (struct scheduler_controllers_options){
		.kubeconfig = config->kubeconfig,
		/* Set by kubelet in each container. */
		.host = secure_getenv("KUBERNETES_SERVICE_HOST"),
		.port = secure_getenv("KUBERNETES_SERVICE_PORT"),
		.lease_namespace = config->lease_namespace,
		.prepare_deadline = config->prepare_deadline,
		.unused_templates = config->unused_templates,
	};
}

int scheduler_kubernetes_check(const struct scheduler_config *config, struct stow_err *err)
{
	struct scheduler_controllers_options options = options_of(config);
	struct stow_rpc_tls tls = tls_of(config), extender = extender_tls_of(config);
	int r = config->admission ? stow_https_check(&tls, err) : 0;

	if (r == 0 && config->extender)
		r = stow_https_check(&extender, err);
	if (r == 0 && config->kubernetes)
		r = scheduler_controllers_check(&options, err);
	return r;
}

static int start_extender(struct scheduler *s, struct stow_err *err)
{
	const struct scheduler_config *config = &s->config;
	struct scheduler_extender_options options = {
		.address = config->extender,
		.tls = extender_tls_of(config),
		.active = &s->active,
		.answer = { s->fleet, config->strategy == 1, EXTENDER_WITHIN },
	};
	struct scheduler_extender *extender = NULL;
	int r = scheduler_extender_new(&options, &extender, err);

	atomic_store(&s->extender, extender);
	return r;
}

int scheduler_kubernetes_start(struct scheduler *s, stow_metrics_healthy_fn healthy,
			       struct stow_err *err)
{
	const struct scheduler_config *config = &s->config;
	struct scheduler_controllers_options controllers_options = options_of(config);
	struct scheduler_admission_options options = {
		.address = config->admission,
		.tls = tls_of(config),
		.healthy = healthy,
		.ctx = s,
	};
	struct scheduler_controllers *controllers = NULL;
	struct scheduler_admission *admission = NULL;
	int r = 0;

	if (config->admission)
		r = scheduler_admission_new(&options, &admission, err);
	atomic_store(&s->admission, admission);
	if (r == 0 && config->extender)
		r = start_extender(s, err);
	if (r == 0 && config->kubernetes)
		r = scheduler_controllers_new(&controllers_options, &controllers, err);
	atomic_store(&s->controllers, controllers);
	return r;
}

void scheduler_kubernetes_stop(struct scheduler *s)
{
	scheduler_admission_free(atomic_exchange(&s->admission, NULL));
	scheduler_extender_free(atomic_exchange(&s->extender, NULL));
	scheduler_controllers_free(atomic_exchange(&s->controllers, NULL));
}

/* Return whether the self-tests of all servers pass a check, and the controllers work. */
static bool passes(struct scheduler *s,
		   bool (*check)(struct scheduler_selftest *test, char *why, size_t size),
		   char *why, size_t size)
{
	struct scheduler_admission *admission = atomic_load(&s->admission);
	struct scheduler_controllers *controllers = atomic_load(&s->controllers);
	struct scheduler_extender *extender = atomic_load(&s->extender);

	return (!admission || check(scheduler_admission_test(admission), why, size)) &&
	       (!extender || check(scheduler_extender_test(extender), why, size)) &&
	       (!controllers || scheduler_controllers_well(controllers, why, size));
}

bool scheduler_kubernetes_well(struct scheduler *s, char *why, size_t size)
{
	return passes(s, scheduler_selftest_well, why, size);
}

bool scheduler_kubernetes_alive(struct scheduler *s, char *why, size_t size)
{
	return passes(s, scheduler_selftest_answered, why, size);
}

void scheduler_kubernetes_render(FILE *out, struct scheduler *s)
{
	scheduler_admission_render(atomic_load(&s->admission), out);
	scheduler_extender_render(atomic_load(&s->extender), out);
	scheduler_controllers_render(atomic_load(&s->controllers), out);
}
