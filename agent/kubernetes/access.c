/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/access.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "cgroup/kubelet.h"
#include "kube/config.h"

#define PATIENCE (5 * STOW_SECOND)

int agent_access_client(struct stow_root *root, const char *kubeconfig, size_t answer_max,
			struct stow_kube **ret, struct stow_err *err)
{
	_cleanup_free_ char *folder = NULL;
	struct stow_kube_options options = {
		.kubeconfig = kubeconfig,
		/* Set by kubelet in each container. */
		.host = secure_getenv("KUBERNETES_SERVICE_HOST"),
		.port = secure_getenv("KUBERNETES_SERVICE_PORT"),
		.program = "numastow-agent",
		.patience = PATIENCE,
		.answer_max = answer_max,
	};
	int r = stow_root_path(root, STOW_KUBE_ACCOUNT, &folder, err);

	options.folder = folder;
	if (r == 0)
		r = stow_kube_new(&options, ret, err);
	return r < 0 ? stow_err_wrap(err, r, "kubernetes") : 0;
}

int agent_access_check(const char *sysroot, const struct agent_config *config, struct stow_err *err)
{
	_cleanup_(stow_kube_config_free_ptr) struct stow_kube_config *files = NULL;
	_cleanup_(stow_root_free_ptr) struct stow_root *root = NULL;
	_cleanup_free_ char *folder = NULL;
	int r = stow_root_open(sysroot, &root, err);

	if (r == 0)
		r = stow_root_path(root, STOW_KUBE_ACCOUNT, &folder, err);
	if (r == 0 && config->kubeconfig)
		r = stow_kube_config_read(config->kubeconfig, &files, err);
	else if (r == 0)
		r = stow_kube_config_pod(folder, secure_getenv("KUBERNETES_SERVICE_HOST"),
					 secure_getenv("KUBERNETES_SERVICE_PORT"), &files, err);
	if (r == 0)
		r = stow_kube_config_check(files, err);
	return r < 0 ? stow_err_wrap(err, r, "kubernetes") : 0;
}

const char *agent_access_reason(struct stow_root *root, struct agent_policy *policy)
{
	const char *manager = stow_kubelet_manager(root);
	enum stow_changes changes = agent_policy_changes(policy);

	if (manager)
		return strcmp(manager, "CPU manager") == 0
			       ? "kubelet's static CPU manager is on: set cpuManagerPolicy to "
				 "none, delete /var/lib/kubelet/cpu_manager_state and restart "
				 "kubelet"
			       : "kubelet's static memory manager is on: set memoryManagerPolicy "
				 "to "
				 "None, delete /var/lib/kubelet/memory_manager_state and restart "
				 "kubelet";
	if (changes == STOW_CHANGES_DISABLED)
		return "numastow is disabled";
	if (changes == STOW_CHANGES_UNKNOWN)
		return STOW_DISABLED_PATH " cannot be looked at";
	return changes == STOW_CHANGES_OBSERVED ? "the agent observes" : NULL;
}

int agent_access_kind(int r)
{
	switch (r) {
	case -EHOSTUNREACH:
	case -ETIMEDOUT:
	case -EPROTO:
	case -EREMOTEIO:
	case -EAGAIN:
		return -EHOSTUNREACH;
	default:
		return r;
	}
}
