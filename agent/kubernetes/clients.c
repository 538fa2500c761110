/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/kubernetes/clients.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "agent/kubernetes/access.h"
#include "base/cleanup.h"

#define ANSWER_MAX ((size_t)2 << 20) /* bytes; an object has at most 1.5 MiB in etcd */
#define KEPT	   4

struct agent_clients {
	struct stow_root *root;
	char *kubeconfig;
	pthread_mutex_t lock; /* for what follows */
	struct stow_kube *kept[KEPT];
	size_t n;
};

int agent_clients_take(struct agent_clients *clients, uint64_t timeout, struct stow_kube **ret,
		       struct stow_err *err)
{
	struct stow_kube *kube = NULL;
	int r = 0;

	while (!kube) {
		pthread_mutex_lock(&clients->lock);
		if (clients->n > 0)
			kube = clients->kept[--clients->n];
		pthread_mutex_unlock(&clients->lock);
		if (!kube)
			break;
		if (!stow_kube_is_current(kube))
			stow_kube_free(STOW_TAKE_PTR(kube));
	}
	if (!kube)
		r = agent_access_client(clients->root, clients->kubeconfig, ANSWER_MAX, &kube, err);
	if (r < 0)
		return r;
	/* The other half of the time is for a second attempt. */
	stow_kube_set_times(kube, timeout / 2, timeout / 2);
	*ret = kube;
	return 0;
}

void agent_clients_give(struct agent_clients *clients, struct stow_kube *kube)
{
	pthread_mutex_lock(&clients->lock);
	if (kube && clients->n < KEPT)
		clients->kept[clients->n++] = STOW_TAKE_PTR(kube);
	pthread_mutex_unlock(&clients->lock);
	stow_kube_free(kube);
}

int agent_clients_new(struct stow_root *root, const char *kubeconfig, struct agent_clients **ret,
		      struct stow_err *err)
{
	struct agent_clients *clients = calloc(1, sizeof(*clients));

	if (!clients)
		return stow_err_set(err, ENOMEM, "out of memory");
	clients->root = root;
	pthread_mutex_init(&clients->lock, NULL);
	if (kubeconfig && !(clients->kubeconfig = strdup(kubeconfig))) {
		agent_clients_free(clients);
		return stow_err_set(err, ENOMEM, "out of memory");
	}
	*ret = clients;
	return 0;
}

void agent_clients_free(struct agent_clients *clients)
{
	if (!clients)
		return;
	while (clients->n > 0)
		stow_kube_free(clients->kept[--clients->n]);
	pthread_mutex_destroy(&clients->lock);
	free(clients->kubeconfig);
	free(clients);
}
