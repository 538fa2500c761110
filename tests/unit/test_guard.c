// SPDX-License-Identifier: Apache-2.0
/* How much each peer may take of a server, tried with connections and no server behind them. */
#include "unit.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/guard_internal.h"

#define BURST 1000 /* docs/security.md */

struct visit {
	int ours, theirs;
	struct rpc_connection *connection;
};

static struct rpc_guard *guard(void)
{
	struct stow_rpc_limits limits;
	struct rpc_guard *made;

	stow_rpc_limits_defaults(&limits, 1024);
	made = rpc_guard_new(&limits, false);
	assert_non_null(made);
	return made;
}

/* Each from a port of its own. */
static struct visit come(struct rpc_guard *at)
{
	static uint16_t port = 1000;
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) },
				  .sin_port = htons(++port) };
	struct sockaddr_storage from = { 0 };
	struct visit v;
	int fds[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
	v.ours = fds[0];
	v.theirs = fds[1];
	memcpy(&from, &in, sizeof(in));
	assert_true(rpc_guard_admit(at, v.ours, &from));
	v.connection = rpc_guard_by_fd(at, v.ours);
	assert_non_null(v.connection);
	return v;
}

static void leave(struct visit *v)
{
	rpc_connection_unref(v->connection);
	close(v->ours);
	close(v->theirs);
}

static int show(const struct visit *v, uint8_t who)
{
	struct rpc_identity identity = { .kind = RPC_BY_CERTIFICATE, .bytes = { who } };

	return rpc_connection_known(v->connection, &identity, false);
}

static char taken[64];

static ssize_t take(const struct visit *v)
{
	struct iovec at = { taken, sizeof(taken) };
	struct msghdr message = { .msg_iov = &at, .msg_iovlen = 1 };

	return recvmsg(v->ours, &message, MSG_DONTWAIT);
}

/* As if nothing came. */
static bool is_parked(const struct visit *v)
{
	ssize_t n;

	assert_int_equal(write(v->theirs, "call", 4), 4);
	n = take(v);
	return n < 0 && errno == EAGAIN;
}

static bool is_cut(const struct visit *v)
{
	char byte;

	return recv(v->theirs, &byte, 1, MSG_DONTWAIT) == 0;
}

TEST(a_connection_that_was_ended_is_read_no_further)
{
	struct visit v = come(guard());

	assert_int_equal(write(v.theirs, "calls", 5), 5);
	assert_int_equal(take(&v), 5);
	assert_int_equal(write(v.theirs, "calls", 5), 5);
	pthread_mutex_lock(&rpc_guard_lock);
	rpc_guard_cut(v.connection, RPC_REFUSED_RESETS);
	pthread_mutex_unlock(&rpc_guard_lock);
	assert_int_equal(take(&v), 0);
	assert_true(is_cut(&v));
	leave(&v);
}

/* The core reads the preface, then nothing before it has sent its SETTINGS, then the
 * acknowledgement, then the rest. */
TEST(a_connection_is_acknowledged_behind_its_preface)
{
	static const char ack[] = { 0, 0, 0, 4, 1, 0, 0, 0, 0 };
	struct iovec settings = { (void *)(uintptr_t) "SETTINGS", 8 };
	const struct msghdr message = { .msg_iov = &settings, .msg_iovlen = 1 };
	struct rpc_guard *at = guard();
	struct visit v;

	rpc_guard_open(at, 1, true);
	v = come(at);
	assert_int_equal(write(v.theirs, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\ncalls", 29), 29);
	assert_int_equal(take(&v), 24);
	assert_int_equal(take(&v), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(sendmsg(v.ours, &message, 0), 8);
	assert_int_equal(take(&v), 9);
	assert_memory_equal(taken, ack, sizeof(ack));
	assert_int_equal(take(&v), 5);
	assert_memory_equal(taken, "calls", 5);
	leave(&v);
	rpc_guard_close(at);
}

TEST(resets_are_the_peers_and_not_the_connections)
{
	struct rpc_guard *at = guard();
	struct visit v, other = come(at);
	int given_up = 0, connections = 0;

	assert_int_equal(show(&other, 2), 0);
	/* Up to 100 on each. */
	for (; connections < 100; connections++) {
		v = come(at);
		if (show(&v, 1) < 0)
			break;
		for (int i = 0; i < 100 && !is_parked(&v); i++, given_up++)
			rpc_connection_reset(v.connection);
		leave(&v);
	}
	assert_true(connections >= BURST / 100);
	assert_true(connections < 100);
	assert_true(given_up >= BURST);
	assert_true(is_parked(&v));
	assert_false(is_cut(&v));
	rpc_guard_end_parked(at, stow_clock_monotonic());
	assert_false(is_cut(&v));
	rpc_guard_end_parked(at, stow_clock_monotonic() + 60 * RPC_S);
	assert_true(is_cut(&v));
	assert_int_equal(take(&v), 0);
	leave(&v);
	/* The others come and go. */
	for (int i = 0; i < BURST / 2; i++)
		rpc_connection_reset(other.connection);
	assert_false(is_parked(&other));
	leave(&other);
	other = come(at);
	assert_int_equal(show(&other, 3), 0);
	leave(&other);
}

/* Without certificates all at one address are one peer, and are no friends. */
TEST(resets_are_the_connections_where_only_an_address_is_known)
{
	struct rpc_guard *at = guard();
	struct visit bad = come(at), good = come(at), next;

	for (int i = 0; i < 2 * BURST; i++)
		rpc_connection_reset(bad.connection);
	assert_true(is_parked(&bad));
	rpc_connection_reset(good.connection);
	assert_false(is_parked(&good));
	next = come(at);
	rpc_connection_reset(next.connection);
	assert_false(is_parked(&next));
	leave(&bad);
	leave(&good);
	leave(&next);
}

/* Each refusal costs a whole call. */
TEST(calls_beyond_the_limit_count_like_resets)
{
	struct rpc_guard *at = guard();
	struct visit v, other;

	at->limits.max_watches_per_peer = 3;
	v = come(at);
	other = come(at);
	assert_int_equal(show(&v, 7), 0);
	assert_int_equal(show(&other, 8), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(rpc_connection_begin(v.connection, true), 0);
	for (int i = 0; i < BURST + 200 && !is_parked(&v); i++)
		assert_int_equal(rpc_connection_begin(v.connection, true), -EUSERS);
	assert_true(is_parked(&v));
	/* Calls that are no watches, and another peer's watches, have room. */
	assert_int_equal(rpc_connection_begin(v.connection, false), 0);
	assert_int_equal(rpc_connection_begin(other.connection, true), 0);
	assert_false(is_parked(&other));
	rpc_connection_end(other.connection, true);
	rpc_connection_end(v.connection, false);
	for (int i = 0; i < 3; i++)
		rpc_connection_end(v.connection, true);
	assert_int_equal(at->watches[RPC_CLIENT], 0);
	leave(&v);
	leave(&other);
}

/* All peers together: each gets no more than what is left for the others. */
TEST(watches_are_divided)
{
	struct rpc_guard *at = guard();
	struct visit greedy[3], late;
	int n[3] = { 0 };

	at->limits.max_watches = 128; /* 96 for peers that are not trusted */
	at->limits.max_watches_per_peer = 128;
	for (uint8_t i = 0; i < 3; i++) {
		greedy[i] = come(at);
		assert_int_equal(show(&greedy[i], (uint8_t)(i + 1)), 0);
		while (rpc_connection_begin(greedy[i].connection, true) == 0)
			n[i]++;
		assert_in_range(n[i], RPC_LEAST, 48);
	}
	late = come(at);
	assert_int_equal(show(&late, 9), 0);
	for (int i = 0; i < RPC_LEAST; i++)
		assert_int_equal(rpc_connection_begin(late.connection, true), 0);
	for (int i = 0; i < RPC_LEAST; i++)
		rpc_connection_end(late.connection, true);
	for (int i = 0; i < 3; i++) {
		while (n[i]--)
			rpc_connection_end(greedy[i].connection, true);
		leave(&greedy[i]);
	}
	leave(&late);
}

/* What is forgotten over time, and beside whole messages, is little, with however many connections.
 */
TEST(unfinished_bytes_are_not_forgiven)
{
	struct rpc_guard *at = guard();
	struct visit v[8];

	for (int i = 0; i < 8; i++) {
		v[i] = come(at);
		assert_int_equal(show(&v[i], 1), 0);
		rpc_guard_use(v[i].connection, 40960);
		atomic_fetch_sub(&v[i].connection->drained, 8 * RPC_S);
		rpc_guard_use(v[i].connection, 0);
	}
	assert_in_range(atomic_load(&at->receiving), 6 * 40960, 8 * 40960);
	for (int i = 0; i < 8; i++)
		atomic_fetch_sub(&v[i].connection->drained, 8 * RPC_S);
	for (int i = 0; i < 100; i++) {
		rpc_guard_use(v[0].connection, 20);
		rpc_connection_received(v[0].connection, 10, false);
	}
	for (int i = 0; i < 8; i++)
		leave(&v[i]);
	assert_int_equal(atomic_load(&at->receiving), 0);
}

/* Peers with a little each, of which there are many: together they have no more than the total. */
TEST(a_total_is_one_for_many_small_amounts)
{
	const size_t little = 250 << 10, total = 8 << 20;
	struct rpc_guard *at = guard();
	struct visit v[100], root = come(at);
	int queued = 0, cut = 0;

	at->limits.max_receiving_total = at->limits.max_queued_total = total;
	for (uint8_t i = 0; i < 100; i++) {
		v[i] = come(at);
		assert_int_equal(show(&v[i], i + 1), 0);
		if (rpc_connection_queue(v[i].connection, little) == 0)
			queued++;
		rpc_guard_use(v[i].connection, little);
		if (is_cut(&v[i])) {
			cut++;
			close(v[i].ours); /* as its owner does */
		}
	}
	assert_in_range(at->queued, total / 2, total + little);
	assert_in_range(at->receiving, total / 2, total);
	assert_int_equal(rpc_connection_known(root.connection, NULL, true), 0);
	rpc_guard_use(root.connection, little);
	assert_false(is_cut(&root));
	assert_int_equal(rpc_connection_queue(root.connection, little), 0);
	rpc_connection_unqueue(root.connection, little);
	for (int i = 0; i < 100; i++) {
		if (i < queued)
			rpc_connection_unqueue(v[i].connection, little);
		if (i >= 100 - cut)
			v[i].ours = -1; /* closed above */
		leave(&v[i]);
	}
	leave(&root);
}

TEST(resets_are_forgotten_at_their_pace)
{
	struct rpc_resets resets = { .n = 0, .at = 0 };
	uint64_t now = 0;

	/* Two, 30 ms apart, eight times a second: less than 20 a second, though one in two comes
	 * before one is forgotten. */
	for (int i = 0; i < 8 * 3600; i++) {
		now += i % 2 ? UINT64_C(30000000) : UINT64_C(95000000);
		rpc_guard_resets(&resets, now);
		resets.n++;
		assert_in_range(resets.n, 0, 10);
	}
	resets.n = BURST;
	assert_int_equal(rpc_guard_resets(&resets, now + 10 * RPC_S), BURST - 200);
	assert_int_equal(rpc_guard_resets(&resets, now + 60 * RPC_S), 0);
}

/* What is kept of peers that are gone has a bound. */
TEST(peers_are_forgotten)
{
	struct rpc_guard *at = guard();

	for (int i = 0; i < 5000; i++) {
		struct rpc_identity identity = { .kind = RPC_BY_CERTIFICATE };
		struct visit v = come(at);

		memcpy(identity.bytes, &i, sizeof(i));
		assert_int_equal(rpc_connection_known(v.connection, &identity, false), 0);
		rpc_connection_reset(v.connection);
		leave(&v);
	}
	assert_in_range(at->n_remembered, 1, 4097);
	assert_int_equal(at->open, 0);
}
