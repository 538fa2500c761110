/* SPDX-License-Identifier: Apache-2.0 */
/* Peers: kept as long as they have a connection, or given-up calls that still count. */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/guard_internal.h"

#define REMEMBERED_MAX 4096 /* peers without a connection, kept for the calls they gave up */

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct rpc_identity));
}

struct rpc_key *rpc_guard_key_of(struct rpc_door *door, const struct rpc_identity *identity)
{
	struct rpc_key *key = calloc(1, sizeof(*key));
	struct rpc_key **at;

	if (!key)
		return NULL;
	key->identity = *identity;
	TAILQ_INIT(&key->connections);
	at = tsearch(key, &door->keys, compare_keys);
	if (!at || *at != key)
		free(key);
	return at ? *at : NULL;
}

static void free_key(struct rpc_door *door, struct rpc_key *key)
{
	tdelete(key, &door->keys, compare_keys);
	free(key);
}

/* Drop peers whose given-up calls no longer count, and the oldest ones of too many. */
static void forget_keys(struct rpc_door *door, uint64_t now)
{
	struct rpc_key *key;

	while ((key = TAILQ_FIRST(&door->remembered)) &&
	       (door->n_remembered > REMEMBERED_MAX || rpc_guard_resets(&key->resets, now) == 0)) {
		TAILQ_REMOVE(&door->remembered, key, of_remembered);
		door->n_remembered--;
		key->remembered = false;
		if (key->refs == 0)
			free_key(door, key);
	}
}

void rpc_guard_drop_key(struct rpc_door *door, struct rpc_key *key)
{
	uint64_t now = stow_clock_monotonic();

	if (key->refs)
		return;
	if (!key->remembered && rpc_guard_resets(&key->resets, now) == 0) {
		free_key(door, key);
	} else if (!key->remembered) {
		TAILQ_INSERT_TAIL(&door->remembered, key, of_remembered);
		door->n_remembered++;
		key->remembered = true;
	}
	forget_keys(door, now);
}
