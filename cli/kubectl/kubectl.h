/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * kubectl-numastow, which kubectl runs as `kubectl numastow`: what Kubernetes knows of NUMA nodes.
 * It asks the API server as the user that runs it. All texts of the API server are made harmless
 * before they are printed.
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "cli/cli.h"
#include "cli/json_writer.h"
#include "cli/options.h"
#include "kube/kube.h"

#define KUBECTL_DRIVER	"numastow.io"
#define KUBECTL_PROGRAM "kubectl numastow"
#define KUBECTL_FENCE	"numastow.io/fence"
#define KUBECTL_API	"/apis/resource.k8s.io/v1"
#define KUBECTL_TEXT	400 /* bytes of an API server's text that are shown */

/* Options of every subcommand that asks the API server. */
struct kubectl_options {
	const char *kubeconfig, *context, *ns;
	bool json;
};

#define KUBECTL_OPTIONS(o)                                                                \
	{ "kubeconfig", .text = &(o)->kubeconfig }, { "context", .text = &(o)->context }, \
		{ "namespace", .letter = 'n', .text = &(o)->ns },                         \
	{                                                                                 \
		"json", .letter = 'J', .flag = &(o)->json                                 \
	}

#define KUBECTL_HELP                                                             \
	"  -n, --namespace NAME  of the pod (the context's, or default)\n"       \
	"  -J, --json            print JSON\n"                                   \
	"  --kubeconfig FILE     read this file ($KUBECONFIG, ~/.kube/config)\n" \
	"  --context NAME        use this context of it (the current one)\n"     \
	"  -h, --help            print this text\n"

/* Connect as kubectl does. The caller calls stow_kube_free(). */
int kubectl_connect(const struct kubectl_options *options, struct stow_kube **ret,
		    struct stow_err *err);
/* Return the namespace that counts: the option's, the context's, or "default". */
const char *kubectl_namespace(const struct kubectl_options *options, const struct stow_kube *kube);

/* Return a harmless copy of a text of the API server, which the caller frees; NULL: out of memory.
 * "" for NULL. */
char *kubectl_clean(const char *text);
/* Add such a copy, or null for an empty text. */
void kubectl_put_clean(struct json_writer *w, json_object *to, const char *key, const char *text);

/* The subcommands; each returns the exit code. */
int kubectl_nodes(int argc, char **argv);
int kubectl_explain(int argc, char **argv);
int kubectl_where(int argc, char **argv);
int kubectl_fence(int argc, char **argv);
int kubectl_drain(int argc, char **argv);
