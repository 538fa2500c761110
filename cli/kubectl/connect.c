// SPDX-License-Identifier: Apache-2.0
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/text.h"
#include "cli/kubectl/kubectl.h"
#include "kube/config.h"

#define PATIENCE (5 * STOW_SECOND) /* for an API server that is busy */

/* Find the kubeconfig: the option, the environment, the home folder. *ret is NULL in a pod without
 * any. */
static int find_kubeconfig(const char *option, char **ret, struct stow_err *err)
{
	const char *text = option, *home = secure_getenv("HOME");

	*ret = NULL;
	if (!text || !text[0])
		text = secure_getenv("KUBECONFIG");
	if (text && text[0])
		*ret = strdup(text);
	else if (asprintf(ret, "%s/.kube/config", home ? home : "") < 0)
		*ret = NULL;
	if (!*ret)
		return stow_err_set(err, ENOMEM, "out of memory");
	if ((!text || !text[0]) && access(*ret, F_OK) < 0 &&
	    secure_getenv("KUBERNETES_SERVICE_HOST")) {
		free(*ret);
		*ret = NULL;
	}
	return 0;
}

int kubectl_connect(const struct kubectl_options *o, struct stow_kube **ret, struct stow_err *err)
{
	_cleanup_free_ char *kubeconfig = NULL;
	struct stow_kube_options options = {
		.context = o->context,
		.exec = true,
		.host = secure_getenv("KUBERNETES_SERVICE_HOST"),
		.port = secure_getenv("KUBERNETES_SERVICE_PORT"),
		.program = "kubectl-numastow",
		.patience = PATIENCE,
		.answer_max = (size_t)16 << 20,
	};
	int r = find_kubeconfig(o->kubeconfig, &kubeconfig, err);

	if (r < 0)
		return r;
	options.kubeconfig = kubeconfig;
	return stow_kube_new(&options, ret, err);
}

const char *kubectl_namespace(const struct kubectl_options *options, const struct stow_kube *kube)
{
	const char *ns = options->ns ? options->ns : stow_kube_namespace(kube);

	return ns ? ns : "default";
}

char *kubectl_clean(const char *text)
{
	return stow_text_copy(text ? text : "", KUBECTL_TEXT);
}

void kubectl_put_clean(struct json_writer *w, json_object *to, const char *key, const char *text)
{
	_cleanup_free_ char *clean = kubectl_clean(text);

	if (clean)
		json_put_text(w, to, key, clean);
	else
		w->ok = false;
}
