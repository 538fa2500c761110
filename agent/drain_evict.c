// SPDX-License-Identifier: Apache-2.0
/* The claims whose pods a drain has evicted. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "agent/drain_internal.h"

void agent_drain_evict(struct agent_drain_table *table, const struct stow_drain_claim *claims,
		       size_t n)
{
	struct agent_drain_eviction *list = calloc(n + 1, sizeof(*list));

	if (!list)
		n = 0; /* the drain times out */
	for (size_t i = 0; i < n; i++) {
		snprintf(list[i].uid, sizeof(list[i].uid), "%s", claims[i].uid);
		snprintf(list[i].share, sizeof(list[i].share), "%s", claims[i].share);
	}
	pthread_mutex_lock(&table->lock);
	free(table->evictions);
	table->evictions = list;
	table->n_evictions = n;
	if (table->follower)
		table->follower(table->follower_ctx);
	pthread_mutex_unlock(&table->lock);
}

int agent_drain_evictions(struct agent_drain_table *table, struct agent_drain_eviction **ret,
			  size_t *ret_n)
{
	pthread_mutex_lock(&table->lock);
	*ret_n = table->n_evictions;
	*ret = calloc(*ret_n + 1, sizeof(**ret));
	if (*ret && *ret_n)
		memcpy(*ret, table->evictions, *ret_n * sizeof(**ret));
	pthread_mutex_unlock(&table->lock);
	return *ret ? 0 : -ENOMEM;
}

void agent_drain_follow(struct agent_drain_table *table, void (*changed)(void *ctx), void *ctx)
{
	pthread_mutex_lock(&table->lock);
	table->follower = changed;
	table->follower_ctx = ctx;
	pthread_mutex_unlock(&table->lock);
}
