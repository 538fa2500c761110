/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Clients of the API server that are kept between calls: a new one needs a TLS handshake. A client
 * belongs to one thread at a time, which takes it and gives it back.
 *
 * Every function may be called from any thread.
 */

#include "base/root.h"
#include "kube/kube.h"

struct agent_clients;

/* `kubeconfig`: a file; NULL: the pod's service account. It is copied; `root` must outlive it. */
int agent_clients_new(struct stow_root *root, const char *kubeconfig, struct agent_clients **ret,
		      struct stow_err *err);
/* Free. All clients must have been given back. */
void agent_clients_free(struct agent_clients *clients);

/* Take a client, whose calls take at most `timeout` ns, with at least two attempts in it. Its files
 * (kubeconfig, CA, certificate, key) have not changed since it was made. */
int agent_clients_take(struct agent_clients *clients, uint64_t timeout, struct stow_kube **ret,
		       struct stow_err *err);
/* Give it back; NULL is accepted. */
void agent_clients_give(struct agent_clients *clients, struct stow_kube *kube);
