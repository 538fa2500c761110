/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/dra.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "agent/kubernetes/binding.h"
#include "agent/kubernetes/clients.h"
#include "agent/kubernetes/limits.h"
#include "agent/kubernetes/plugin.h"
#include "agent/kubernetes/prepare.h"
#include "agent/kubernetes/upkeep.h"
#include "base/cleanup.h"
#include "base/helper.h"
#include "kube/kube.h"

#define CLAIMS "/apis/resource.k8s.io/v1/namespaces/%s/resourceclaims"

struct agent_dra {
	struct agent_clients *clients;
	struct agent_prepare *prepare;
	struct agent_upkeep *upkeep;
	struct agent_monitor *monitor;
	struct agent_limits *limits;
	struct agent_plugin *plugin;
	struct agent_binding *binding; /* NULL: not wanted */
	struct agent_kubernetes *kubernetes;
};

/* --- claims from the API server ------------------------------------------- */

static int get_claim(void *ctx, const char *ns, const char *name, uint64_t timeout, char **ret,
		     size_t *ret_len, struct stow_err *err)
{
	struct agent_dra *dra = ctx;
	struct stow_kube *kube;
	char collection[512];
	int r = agent_clients_take(dra->clients, timeout, &kube, err);

	if (r < 0)
		return r;
	snprintf(collection, sizeof(collection), CLAIMS, ns);
	r = stow_kube_get_text(kube, collection, name, ret, ret_len, err);
	agent_clients_give(dra->clients, kube);
	return r;
}

/* --- claims before binding ------------------------------------------------ */

static void on_works(void *ctx, bool works)
{
	struct agent_dra *dra = ctx;

	agent_kubernetes_set_binding(dra->kubernetes, works);
}

static int begin_binding(struct agent_dra *dra, const struct agent_dra_parts *parts,
			 struct stow_err *err)
{
	const struct agent_binding_parts binding = {
		.root = parts->root,
		.config = parts->config,
		.prepare = dra->prepare,
		.upkeep = dra->upkeep,
		.works = on_works,
		.ctx = dra,
	};

	if (!parts->config->binding_conditions)
		return 0;
	dra->kubernetes = parts->kubernetes;
	return agent_binding_new(&binding, &dra->binding, err);
}

/* --- making and freeing --------------------------------------------------- */

static int begin(struct agent_dra *dra, const struct agent_dra_parts *parts, struct stow_err *err)
{
	const struct agent_config *config = parts->config;
	char hook[4096];
	const struct agent_prepare_parts prepare = {
		.root = parts->root,
		.policy = parts->policy,
		.source = { .get = get_claim, .ctx = dra },
		.pool = agent_policy_node(parts->policy),
		.cdi = config->cdi_folder,
		.hook = config->claims_hook ? config->claims_hook
					    : stow_helper_path("numastow-hook", hook, sizeof(hook)),
	};
	struct agent_upkeep_parts upkeep = {
		.root = parts->root,
		.policy = parts->policy,
		.publisher = parts->publisher,
		.drains = parts->drains,
		.kubelet = config->kubelet_folder,
	};
	struct agent_plugin_parts plugin = {
		.root = parts->root,
		.rpc = parts->rpc,
		.kubelet = config->kubelet_folder,
		.instance = config->pod_uid,
	};
	int r = agent_clients_new(parts->root, config->kubeconfig, &dra->clients, err);

	if (r == 0)
		r = agent_prepare_new(&prepare, &dra->prepare, err);
	upkeep.clients = dra->clients;
	upkeep.prepare = dra->prepare;
	if (r == 0)
		r = agent_upkeep_new(&upkeep, &dra->upkeep, err);
	if (r == 0)
		r = agent_monitor_new(parts->publisher, prepare.pool, &dra->monitor, err);
	if (r == 0)
		r = agent_limits_new(parts->root, parts->policy, &dra->limits, err);
	plugin.prepare = dra->prepare;
	plugin.upkeep = dra->upkeep;
	plugin.monitor = dra->monitor;
	if (r == 0)
		r = agent_plugin_new(&plugin, &dra->plugin, err);
	return r == 0 ? begin_binding(dra, parts, err) : r;
}

int agent_dra_new(const struct agent_dra_parts *parts, struct agent_dra **ret, struct stow_err *err)
{
	struct agent_dra *dra = calloc(1, sizeof(*dra));
	int r;

	if (!dra)
		return stow_err_set(err, ENOMEM, "out of memory");
	r = begin(dra, parts, err);
	if (r < 0)
		agent_dra_free(dra);
	else
		*ret = dra;
	return r;
}

void agent_dra_close(struct agent_dra *dra)
{
	if (!dra)
		return;
	agent_binding_free(STOW_TAKE_PTR(dra->binding));
	agent_plugin_free(STOW_TAKE_PTR(dra->plugin));
}

void agent_dra_free(struct agent_dra *dra)
{
	if (!dra)
		return;
	agent_dra_close(dra);
	agent_limits_free(dra->limits);
	agent_monitor_free(dra->monitor);
	agent_upkeep_free(dra->upkeep);
	agent_prepare_free(dra->prepare);
	agent_clients_free(dra->clients);
	free(dra);
}

void agent_dra_render(struct agent_dra *dra, FILE *out)
{
	agent_plugin_render(dra ? dra->plugin : NULL, out);
	agent_monitor_render(dra ? dra->monitor : NULL, out);
	agent_upkeep_render(dra ? dra->upkeep : NULL, out);
	agent_binding_render(dra ? dra->binding : NULL, out);
}
