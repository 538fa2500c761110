// SPDX-License-Identifier: Apache-2.0
/* Where a client's configuration comes from. */
#include "base/cleanup.h"
#include "kube/exec.h"
#include "kube/internal.h"

int stow_kube_read_config(const struct stow_kube *kube, struct stow_kube_config **ret,
			  struct stow_err *err)
{
	const struct stow_kube_source source = { .paths = kube->kubeconfig,
						 .context = kube->context,
						 .exec = kube->exec };
	_cleanup_(stow_kube_config_free_ptr) struct stow_kube_config *config = NULL;
	int r = kube->kubeconfig
			? stow_kube_config_load(&source, &config, err)
			: stow_kube_config_pod(kube->folder, kube->host, kube->port, &config, err);

	if (r == 0 && config->exec)
		r = stow_kube_exec_run(config, err);
	if (r == 0)
		*ret = STOW_TAKE_PTR(config);
	return r;
}
