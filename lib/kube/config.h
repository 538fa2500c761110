/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Where the API server is and how to log in there: from kubeconfigs, or from the service account
 * that kubelet mounts into a pod.
 *
 * Of a kubeconfig one context is read: server, certificate-authority(-data),
 * client-certificate(-data), client-key(-data), token and tokenFile; and exec plugins, where the
 * program allows them. What is not supported (auth-provider plugins, passwords, impersonation,
 * proxies, insecure-skip-tls-verify, tls-server-name) is refused with an error that names it. Users
 * and clusters of other contexts may have it.
 *
 * The server must be https; http is accepted on loopback only (127.0.0.0/8, [::1], localhost).
 */

#include <stdbool.h>
#include <stddef.h>

#include "base/cleanup.h"
#include "base/err.h"

struct stow_kube_exec;

#define STOW_KUBE_ACCOUNT "/var/run/secrets/kubernetes.io/serviceaccount"

struct stow_kube_config {
	char *server; /* "https://10.0.0.1:6443", without a slash at its end */
	/* PEM, as a text or as a path; both NULL: none, or for the CA the system's. */
	char *ca, *ca_file;
	char *certificate, *certificate_file;
	char *key, *key_file;
	char *token, *token_file; /* the file is read for each request */
	char *ns;		  /* the context's namespace; NULL: none */
	/* A plugin that is to be run for the token or the certificate (kube/exec.h); NULL: none. */
	struct stow_kube_exec *exec;
};

/* Where to find it. */
struct stow_kube_source {
	/* One path, or several with ":" between them, as in $KUBECONFIG. Of several, missing ones
	 * are skipped, and the first that has a cluster, user or context counts. */
	const char *paths;
	const char *context; /* NULL: the current one */
	/* Allow exec plugins. A kubeconfig then decides which program runs: only for a command
	 * that its owner runs. */
	bool exec;
};

#define STOW_KUBE_PATHS 16

/* Read kubeconfigs; a plugin is not run. -ENOENT: there is none. */
int stow_kube_config_load(const struct stow_kube_source *source, struct stow_kube_config **ret,
			  struct stow_err *err);

/* Read the kubeconfig at `path`. Paths in it are relative to its folder. Free *ret with
 * stow_kube_config_free(). Errors name the file, and what in it is at fault. */
int stow_kube_config_read(const char *path, struct stow_kube_config **ret, struct stow_err *err);
/* Do the same for a text; `path` is for errors and relative paths. */
int stow_kube_config_parse(const char *text, size_t len, const char *path,
			   struct stow_kube_config **ret, struct stow_err *err);

/* Make the configuration of a pod with a service account, mounted at `folder`. `host` and `port`
 * are KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT; NULL: missing. -ENOENT: this is not a
 * pod with a service account. */
int stow_kube_config_pod(const char *folder, const char *host, const char *port,
			 struct stow_kube_config **ret, struct stow_err *err);

/* Return 0 when the files that the configuration names can be read; otherwise the error names the
 * file. */
int stow_kube_config_check(const struct stow_kube_config *config, struct stow_err *err);

/* Read the token, without newlines at its end: from the file, or the text. *ret is NULL when there
 * is none. The caller frees it. */
int stow_kube_config_token(const struct stow_kube_config *config, char **ret, struct stow_err *err);

/* Check a server's address, and remove slashes at its end. */
int stow_kube_server_check(char *server, struct stow_err *err);

void stow_kube_config_free(struct stow_kube_config *config);

STOW_DEFINE_CLEANUP(stow_kube_config_free, struct stow_kube_config);
