/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peers, kept as long as they have a connection, or given-up calls that still count; and the end of
 * their connections.
 */
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "rpc/descriptors.h"
#include "rpc/guard_internal.h"

#define REMEMBERED_MAX 4096 /* peers without a connection, kept for the calls they gave up */
#define RESETS_RATE    20   /* given-up calls that are forgotten, a second */

/* Global to the process, as descriptors are. */
pthread_mutex_t rpc_guard_lock = PTHREAD_MUTEX_INITIALIZER;

void rpc_guard_count(struct rpc_guard *guard, enum rpc_refusal why)
{
	atomic_fetch_add(&guard->refused[why], 1);
}

bool rpc_guard_has_room(uint64_t its, uint64_t own, uint64_t taken, uint64_t most, uint64_t least)
{
	uint64_t left = most > taken ? most - taken : 0;

	return taken < most && its < own && its < (left > least ? left : least);
}

/* --- peers ---------------------------------------------------------------- */

unsigned int rpc_guard_resets(struct rpc_resets *resets, uint64_t now)
{
	uint64_t forgotten = (now - resets->at) / (RPC_S / RESETS_RATE);

	if (forgotten >= resets->n) {
		resets->n = 0;
		resets->at = now;
	} else {
		resets->n -= (unsigned int)forgotten;
		resets->at += forgotten * (RPC_S / RESETS_RATE);
	}
	return resets->n;
}

bool rpc_guard_resets_on(struct rpc_key *key)
{
	return rpc_guard_resets(&key->resets, stow_clock_monotonic()) >= RPC_RESETS_MAX;
}

static int compare_keys(const void *a, const void *b)
{
	return memcmp(a, b, sizeof(struct rpc_identity));
}

struct rpc_key *rpc_guard_key_of(struct rpc_guard *guard, const struct rpc_identity *identity)
{
	struct rpc_key *key = calloc(1, sizeof(*key));
	struct rpc_key **at;

	if (!key)
		return NULL;
	key->identity = *identity;
	TAILQ_INIT(&key->connections);
	at = tsearch(key, &guard->keys, compare_keys);
	if (!at || *at != key)
		free(key);
	return at ? *at : NULL;
}

static void free_key(struct rpc_guard *guard, struct rpc_key *key)
{
	tdelete(key, &guard->keys, compare_keys);
	free(key);
}

/* Drop peers whose given-up calls no longer count, and the oldest ones of too many. */
static void forget_keys(struct rpc_guard *guard, uint64_t now)
{
	struct rpc_key *key;

	while ((key = TAILQ_FIRST(&guard->remembered)) &&
	       (guard->n_remembered > REMEMBERED_MAX || rpc_guard_resets(&key->resets, now) == 0)) {
		TAILQ_REMOVE(&guard->remembered, key, of_remembered);
		guard->n_remembered--;
		key->remembered = false;
		if (key->refs == 0)
			free_key(guard, key);
	}
}

void rpc_guard_drop_key(struct rpc_guard *guard, struct rpc_key *key)
{
	uint64_t now = stow_clock_monotonic();

	if (key->refs)
		return;
	if (!key->remembered && rpc_guard_resets(&key->resets, now) == 0) {
		free_key(guard, key);
	} else if (!key->remembered) {
		TAILQ_INSERT_TAIL(&guard->remembered, key, of_remembered);
		guard->n_remembered++;
		key->remembered = true;
	}
	forget_keys(guard, now);
}

/* --- the end of a connection ---------------------------------------------- */

void rpc_guard_park(struct rpc_connection *c, enum rpc_refusal why)
{
	if (c->is_cut || c->is_parked || c->fd < 0)
		return;
	atomic_store(&c->is_parked, true);
	c->parked_at = stow_clock_monotonic();
	TAILQ_INSERT_TAIL(&c->guard->parked, c, of_parked);
	rpc_guard_count(c->guard, why);
}

void rpc_guard_unpark(struct rpc_connection *c)
{
	if (c->is_parked)
		TAILQ_REMOVE(&c->guard->parked, c, of_parked);
	atomic_store(&c->is_parked, false);
}

void rpc_guard_uncount(struct rpc_connection *c)
{
	c->guard->n[c->class]--;
	c->key->n[c->class]--;
	if (c->class == RPC_ANONYMOUS)
		TAILQ_REMOVE(&c->guard->anonymous, c, of_anonymous);
}

void rpc_guard_end(struct rpc_connection *c)
{
	/* In this order: in between it would be read. */
	atomic_store(&c->is_cut, true);
	rpc_guard_unpark(c);
	rpc_guard_uncount(c);
	/* Its owner notices the end, and closes it; until then it counts as open. */
	rpc_descriptors_shutdown(c->fd, SHUT_RDWR);
}

void rpc_guard_cut(struct rpc_connection *c, enum rpc_refusal why)
{
	if (c->is_cut || c->fd < 0)
		return;
	rpc_guard_count(c->guard, why);
	rpc_guard_end(c);
}
