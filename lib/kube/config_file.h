/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* A kubeconfig file as it is written: clusters, users and contexts. config.c says what they mean. */

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"

struct kube_cluster {
	char *server, *ca, *ca_data;
	bool insecure;
	bool server_name, proxy, skipped;
};

struct kube_variable {
	char *name, *value;
};

/* A plugin for logging in. */
struct kube_plugin {
	char *command, *version, *interactive;
	char **args;
	struct kube_variable *env;
	size_t n_env;
	bool cluster_info, skipped;
};

struct kube_user {
	char *certificate, *certificate_data, *key, *key_data, *token, *token_file;
	struct kube_plugin plugin; /* when `plugins` was true; command NULL: there is none */
	bool exec;		   /* when `plugins` was false: there is one */
	bool provider, password, as, skipped;
};

struct kube_context {
	char *cluster, *user, *ns;
	bool skipped;
};

struct kube_named {
	char *name;
	union {
		struct kube_cluster cluster;
		struct kube_user user;
		struct kube_context context;
	};
};

struct kube_file {
	const char *path; /* for errors, and for paths in the file */
	char *version, *kind, *current;
	struct kube_named *clusters, *users, *contexts;
	size_t n_clusters, n_users, n_contexts;
	bool skipped;
};

/* Read the text of a file into a zeroed `ret`; the caller calls kube_file_done() in any case.
 * `plugins`: read what exec plugins have, instead of only noting them. */
int kube_file_parse(struct kube_file *ret, const char *text, size_t len, bool plugins,
		    struct stow_err *err);
void kube_file_done(struct kube_file *file);
