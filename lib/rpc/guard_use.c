/* SPDX-License-Identifier: Apache-2.0 */
/* Resource use: calls, bytes of unfinished messages, bytes that peers have not read. */
#include <errno.h>

#include "base/clock.h"
#include "rpc/guard_internal.h"

#define LOOK	     (256 << 10) /* bytes: check the sums only in steps of this size */
#define MESSAGE_COST 1024	 /* bytes around a message: headers, frames, TLS */
#define DRAIN_RATE   4096 /* bytes a second that belong to no message: pings, window updates */
#define PEER_TIMES   4	  /* all connections of a peer together: this times one's limit */
#define RESETS_MAX   1000 /* calls that a peer gave up; RESETS_RATE a second are forgotten */
#define PARKED	     (10 * RPC_S)
#define REFUSED_MAX  64 /* refusals at a time on one connection */
#define RESETS_RATE  20

bool rpc_guard_has_room(uint64_t its, uint64_t own, uint64_t taken, uint64_t most, uint64_t least)
{
	uint64_t left = most > taken ? most - taken : 0;

	return taken < most && its < own && its < (left > least ? left : least);
}

/* --- calls ---------------------------------------------------------------- */

int rpc_connection_begin(struct rpc_connection *c)
{
	struct rpc_door *door = c->door;
	const struct stow_rpc_limits *limits = &door->limits;
	uint64_t own = limits->max_calls_per_peer;
	bool fits;

	pthread_mutex_lock(&rpc_guard_lock);
	if (c->key->identity.kind == RPC_BY_ADDRESS)
		own = UINT64_MAX;
	if (c->class == RPC_TRUSTED)
		fits = c->key->calls < own &&
		       door->calls[RPC_CLIENT] + door->calls[RPC_TRUSTED] < limits->max_calls;
	else
		fits = rpc_guard_has_room(c->key->calls, own, door->calls[RPC_CLIENT],
					  limits->max_calls - limits->max_calls / 4, RPC_LEAST);
	if (fits) {
		c->calls++;
		c->key->calls++;
		door->calls[c->class == RPC_TRUSTED ? RPC_TRUSTED : RPC_CLIENT]++;
	} else {
		rpc_door_count(door, RPC_REFUSED_CALLS);
	}
	pthread_mutex_unlock(&rpc_guard_lock);
	return fits ? 0 : -ENOBUFS;
}

void rpc_connection_end(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	c->calls--;
	c->key->calls--;
	c->door->calls[c->class == RPC_TRUSTED ? RPC_TRUSTED : RPC_CLIENT]--;
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_begin_refused(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	if (++c->refused > REFUSED_MAX)
		rpc_guard_cut(c, RPC_REFUSED_CALLS);
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_end_refused(struct rpc_connection *c)
{
	pthread_mutex_lock(&rpc_guard_lock);
	c->refused--;
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_guard_park(struct rpc_connection *c, enum rpc_refusal why)
{
	if (c->is_cut || c->is_parked || c->fd < 0)
		return;
	atomic_store(&c->is_parked, true);
	c->parked_at = stow_clock_monotonic();
	TAILQ_INSERT_TAIL(&c->door->parked, c, of_parked);
	rpc_door_count(c->door, why);
}

void rpc_guard_unpark(struct rpc_connection *c)
{
	if (c->is_parked)
		TAILQ_REMOVE(&c->door->parked, c, of_parked);
	atomic_store(&c->is_parked, false);
}

void rpc_door_end_parked(struct rpc_door *door, uint64_t now)
{
	struct rpc_connection *c;

	pthread_mutex_lock(&rpc_guard_lock);
	while ((c = TAILQ_FIRST(&door->parked)) && now - c->parked_at >= PARKED)
		rpc_guard_end(c);
	pthread_mutex_unlock(&rpc_guard_lock);
}

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
	return rpc_guard_resets(&key->resets, stow_clock_monotonic()) >= RESETS_MAX;
}

void rpc_connection_reset(struct rpc_connection *c)
{
	struct rpc_resets *resets;

	pthread_mutex_lock(&rpc_guard_lock);
	/* A peer that comes back continues with its former count; a stranger at the same address
	 * may be another one. */
	resets = c->key->identity.kind == RPC_BY_ADDRESS ? &c->resets : &c->key->resets;
	if (rpc_guard_resets(resets, stow_clock_monotonic()) >= RESETS_MAX)
		rpc_guard_park(c, RPC_REFUSED_RESETS);
	else
		resets->n++;
	pthread_mutex_unlock(&rpc_guard_lock);
}

/* --- bytes of unfinished messages ----------------------------------------- */

/* Lower `receiving`, but not below 0: a surplus is not carried over. */
static void lower(struct rpc_connection *c, int64_t by)
{
	int64_t was = atomic_load(&c->receiving), is;

	do
		is = was > by ? was - by : 0;
	while (!atomic_compare_exchange_weak(&c->receiving, &was, is));
	atomic_fetch_sub(&c->door->receiving, was - is);
}

/* Forget bytes over time, because pings and the like belong to no message. */
static void drain(struct rpc_connection *c)
{
	uint64_t now = stow_clock_monotonic(), then = atomic_load(&c->drained);

	if (now - then >= RPC_S && atomic_compare_exchange_strong(&c->drained, &then, now))
		lower(c, (int64_t)((now - then) / RPC_S * DRAIN_RATE));
}

/* Return whether the connection has received too much. The caller holds the lock. */
static bool is_too_much(const struct rpc_connection *c)
{
	const struct rpc_connection *other;
	const struct stow_rpc_limits *limits = &c->door->limits;
	uint64_t its = 0, own = limits->max_receiving * PEER_TIMES;
	uint64_t all = (uint64_t)atomic_load(&c->door->receiving);

	if ((uint64_t)atomic_load(&c->receiving) > limits->max_receiving)
		return true;
	if (c->key->identity.kind == RPC_BY_ADDRESS)
		own = UINT64_MAX;
	TAILQ_FOREACH(other, &c->key->connections, of_key)
	its += (uint64_t)atomic_load(&other->receiving);
	/* Trusted peers may have as much again in total. */
	return !rpc_guard_has_room(its, own, all,
				   limits->max_receiving_total * (c->class == RPC_TRUSTED ? 2 : 1),
				   LOOK);
}

void rpc_guard_bytes(int fd, size_t n)
{
	struct rpc_connection *c = rpc_guard_at(fd);
	int64_t was;

	if (!c)
		return;
	drain(c);
	atomic_fetch_add(&c->door->receiving, (int64_t)n);
	was = atomic_fetch_add(&c->receiving, (int64_t)n);
	if (was / LOOK == (was + (int64_t)n) / LOOK)
		return;
	pthread_mutex_lock(&rpc_guard_lock);
	if (is_too_much(c))
		rpc_guard_cut(c, RPC_REFUSED_RECEIVING);
	pthread_mutex_unlock(&rpc_guard_lock);
}

void rpc_connection_received(struct rpc_connection *c, size_t size)
{
	lower(c, (int64_t)(size + size / 8 + MESSAGE_COST));
}

/* A reader acknowledges what it has read: some bytes for each 32 KiB. */
void rpc_connection_sent(struct rpc_connection *c, size_t size)
{
	lower(c, (int64_t)(size / 256 + 128));
}

/* --- bytes that peers have not read --------------------------------------- */

int rpc_connection_queue(struct rpc_connection *c, size_t size)
{
	const struct stow_rpc_limits *limits = &c->door->limits;
	const struct rpc_connection *other;
	uint64_t its = size, own = limits->max_queued;
	bool fits = true;

	if ((uint64_t)atomic_load(&c->queued) + size > LOOK) {
		pthread_mutex_lock(&rpc_guard_lock);
		if (c->key->identity.kind == RPC_BY_ADDRESS)
			own = UINT64_MAX;
		TAILQ_FOREACH(other, &c->key->connections, of_key)
		its += (uint64_t)atomic_load(&other->queued);
		fits = rpc_guard_has_room(
			its, own, (uint64_t)atomic_load(&c->door->queued),
			limits->max_queued_total * (c->class == RPC_TRUSTED ? 2 : 1), LOOK);
		pthread_mutex_unlock(&rpc_guard_lock);
	}
	if (!fits) {
		rpc_door_count(c->door, RPC_REFUSED_QUEUED);
		return -ENOBUFS;
	}
	atomic_fetch_add(&c->queued, (int64_t)size);
	atomic_fetch_add(&c->door->queued, (int64_t)size);
	return 0;
}

void rpc_connection_unqueue(struct rpc_connection *c, size_t size)
{
	atomic_fetch_sub(&c->queued, (int64_t)size);
	atomic_fetch_sub(&c->door->queued, (int64_t)size);
}
