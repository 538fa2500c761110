/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* The settings of an exec plugin in a kubeconfig. */

#include <stdbool.h>

#include "base/err.h"

enum kube_plugin_mode { KUBE_PLUGIN_IF_AVAILABLE, KUBE_PLUGIN_NEVER, KUBE_PLUGIN_ALWAYS };

struct stow_kube_exec {
	char **argv;
	char **env; /* NAME=VALUE, beside those of the environment */
	const char *version;
	enum kube_plugin_mode mode;
	bool cluster_info;
};

struct kube_plugin;

/* Copy a plugin's settings. `path` is the kubeconfig: a command with a slash is relative to its
 * folder. */
int stow_kube_exec_new(const char *path, const struct kube_plugin *plugin,
		       struct stow_kube_exec **ret, struct stow_err *err);
void stow_kube_exec_free(struct stow_kube_exec *exec);
