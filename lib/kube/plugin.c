// SPDX-License-Identifier: Apache-2.0
#include "kube/plugin.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/setting.h"
#include "kube/config_file.h"

static const char *const versions[] = { "client.authentication.k8s.io/v1",
					"client.authentication.k8s.io/v1beta1", NULL };
/* As in enum kube_plugin_mode. */
static const char *const modes[] = { "IfAvailable", "Never", "Always", NULL };

STOW_DEFINE_CLEANUP(stow_kube_exec_free, struct stow_kube_exec);

void stow_kube_exec_free(struct stow_kube_exec *exec)
{
	if (!exec)
		return;
	stow_list_clear(&exec->argv);
	stow_list_clear(&exec->env);
	free(exec);
}

static int index_of(const char *const *words, const char *word)
{
	for (int i = 0; words[i]; i++)
		if (strcmp(words[i], word) == 0)
			return i;
	return -1;
}

static int add_text(char ***list, const char *text, struct stow_err *err)
{
	return stow_list_append(list, text, strlen(text), err);
}

static int add_command(const char *path, const char *command, char ***list, struct stow_err *err)
{
	const char *slash = strrchr(path, '/');
	_cleanup_free_ char *full = NULL;

	if (command[0] == '/' || !strchr(command, '/') || !slash)
		return add_text(list, command, err);
	if (asprintf(&full, "%.*s/%s", (int)(slash - path), path, command) < 0) {
		full = NULL;
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	return add_text(list, full, err);
}

static int add_variable(char ***list, const struct kube_variable *variable, struct stow_err *err)
{
	_cleanup_free_ char *text = NULL;

	if (!variable->name[0] || strchr(variable->name, '='))
		return stow_err_set(err, EINVAL, "env: \"%.64s\" is not the name of a variable",
				    variable->name);
	if (asprintf(&text, "%s=%s", variable->name, variable->value ? variable->value : "") < 0) {
		text = NULL;
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	return add_text(list, text, err);
}

int stow_kube_exec_new(const char *path, const struct kube_plugin *plugin,
		       struct stow_kube_exec **ret, struct stow_err *err)
{
	_cleanup_(stow_kube_exec_free_ptr) struct stow_kube_exec *exec = calloc(1, sizeof(*exec));
	int version = index_of(versions, plugin->version ? plugin->version : "");
	int mode = plugin->interactive ? index_of(modes, plugin->interactive) : 0;
	int r;

	if (!exec)
		return stow_err_set(err, ENOMEM, "out of memory");
	if (version < 0)
		return stow_err_set(err, EINVAL, "exec: apiVersion: \"%.64s\" is not %s or %s",
				    plugin->version ? plugin->version : "", versions[0],
				    versions[1]);
	exec->version = versions[version];
	exec->cluster_info = plugin->cluster_info;
	if (mode < 0)
		return stow_err_set(err, EINVAL,
				    "exec: interactiveMode: \"%.64s\" is not one of IfAvailable, "
				    "Never, Always",
				    plugin->interactive);
	exec->mode = (enum kube_plugin_mode)mode;
	if (!plugin->command[0])
		return stow_err_set(err, EINVAL, "exec: command: \"\" is not a program");
	r = add_command(path, plugin->command, &exec->argv, err);
	for (char *const *arg = plugin->args; r == 0 && arg && *arg; arg++)
		r = add_text(&exec->argv, *arg, err);
	for (size_t i = 0; r == 0 && i < plugin->n_env; i++)
		r = add_variable(&exec->env, &plugin->env[i], err);
	if (r < 0)
		return stow_err_wrap(err, r, "exec");
	*ret = STOW_TAKE_PTR(exec);
	return 0;
}
