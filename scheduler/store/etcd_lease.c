// SPDX-License-Identifier: Apache-2.0
/*
 * A lease that is kept alive by a thread of its own.
 *
 * The lease lasts for its time to live from the moment when an answered keepalive was sent. Only
 * one keepalive waits for an answer at a time, so that each answer belongs to the last one sent.
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/math.h"
#include "rpc/log.h"
#include "scheduler/store/etcd.h"

#define TIMEOUT (2 * STOW_SECOND)
#define MARGIN	STOW_SECOND /* for clocks that differ in speed, and for messages in flight */

struct etcd_lease {
	struct etcd *etcd;
	int64_t id;
	pthread_t thread;
	bool runs;

	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool stopping, gone;
	uint64_t ttl, until;
	/* The stream, and the keepalive that waits for an answer. */
	struct stow_rpc_call *stream;
	unsigned int member; /* to which the stream goes */
	uint64_t sent;	     /* 0: none waits */
	bool failed;	     /* the stream has ended */
	unsigned int open;   /* streams whose end was not reported yet */
	struct stow_err why; /* of the last attempt; code 0: the lease was renewed */
};

/* With the lock held, or before other threads have the lease. */
static void renew(struct etcd_lease *lease, uint64_t sent, int64_t seconds)
{
	uint64_t ttl = (uint64_t)seconds * STOW_SECOND, margin = STOW_MIN(MARGIN, ttl / 3);

	lease->ttl = ttl;
	if (sent + ttl - margin > lease->until)
		lease->until = sent + ttl - margin;
}

int etcd_lease_grant(struct etcd *etcd, uint64_t ttl, struct etcd_lease **ret_lease,
		     struct stow_err *err)
{
	EtcdLeaseGrantRequest request = ETCD_LEASE_GRANT_REQUEST__INIT;
	EtcdLeaseGrantResponse *response;
	struct etcd_lease *lease;
	uint64_t sent = stow_clock_boot();
	void *answer;
	int r;

	request.ttl = (int64_t)(ttl / STOW_SECOND);
	r = etcd_call(etcd, &etcd_lease__descriptor, "LeaseGrant", &request, TIMEOUT, &answer, err);
	if (r < 0)
		return r;
	response = answer;
	lease = calloc(1, sizeof(*lease));
	if (!lease || response->ttl <= 0 || response->ttl > 86400 || response->id == 0) {
		free(lease);
		stow_rpc_message_free(response);
		return lease ? stow_err_set(err, EPROTO, "etcd: the answer has no lease")
			     : stow_err_set(err, ENOMEM, "out of memory");
	}
	lease->etcd = etcd;
	lease->id = response->id;
	renew(lease, sent, response->ttl);
	stow_rpc_message_free(response);
	pthread_mutex_init(&lease->lock, NULL);
	stow_clock_cond_init(&lease->changed);
	*ret_lease = lease;
	return 0;
}

/* --- keepalive ------------------------------------------------------------ */

static int on_message(struct stow_rpc_call *call, void *ctx, const void *message,
		      struct stow_err *err)
{
	const EtcdLeaseKeepAliveResponse *in = message;
	struct etcd_lease *lease = ctx;

	pthread_mutex_lock(&lease->lock);
	if (call == lease->stream && in->id == lease->id && lease->sent) {
		if (in->ttl <= 0)
			lease->gone = true;
		else if (in->ttl <= 86400)
			renew(lease, lease->sent, in->ttl);
		lease->sent = 0;
		pthread_cond_signal(&lease->changed);
	}
	pthread_mutex_unlock(&lease->lock);
	return 0;
}

static void on_closed(struct stow_rpc_call *call, void *ctx, const struct stow_err *err)
{
	struct etcd_lease *lease = ctx;

	pthread_mutex_lock(&lease->lock);
	if (call == lease->stream) {
		lease->failed = true;
		if (err)
			lease->why = *err;
		else
			stow_err_set(&lease->why, ENOTCONN, "the stream has ended");
	}
	lease->open--;
	pthread_cond_broadcast(&lease->changed);
	pthread_mutex_unlock(&lease->lock);
}

static const struct stow_rpc_stream_ops ops = { .message = on_message, .closed = on_closed };

/* With the lock held. */
static void wait_for(struct etcd_lease *lease, uint64_t ns)
{
	struct timespec until = stow_clock_in(ns);

	(void)pthread_cond_timedwait(&lease->changed, &lease->lock, &until);
}

/* With the lock held, which is released for a moment. */
static void hang_up(struct etcd_lease *lease)
{
	struct stow_rpc_call *stream = STOW_TAKE_PTR(lease->stream);
	struct stow_err over;

	lease->sent = 0;
	lease->failed = false;
	if (!stream)
		return;
	pthread_mutex_unlock(&lease->lock);
	stow_err_set(&over, ECANCELED, "too slow");
	stow_rpc_close(stream, &over);
	stow_rpc_unref(stream);
	pthread_mutex_lock(&lease->lock);
}

/* Open a stream. With the lock held, which is released for a moment. */
static bool open_stream(struct etcd_lease *lease)
{
	struct stow_rpc_call *stream = NULL;
	struct stow_err why = { 0 };
	unsigned int member;
	int r;

	lease->open++;
	pthread_mutex_unlock(&lease->lock);
	r = etcd_open(lease->etcd, &etcd_lease__descriptor, "LeaseKeepAlive", &ops, lease, &stream,
		      &member, &why);
	pthread_mutex_lock(&lease->lock);
	lease->stream = r < 0 ? NULL : stream;
	lease->member = member;
	lease->failed = false;
	if (r < 0) {
		lease->open--;
		lease->why = why;
	}
	return r == 0;
}

/* Send one keepalive, and wait for its answer. Otherwise `why` has the reason. With the lock
 * held. */
static bool keep_once(struct etcd_lease *lease)
{
	EtcdLeaseKeepAliveRequest request = ETCD_LEASE_KEEP_ALIVE_REQUEST__INIT;
	uint64_t patience = lease->ttl / 3, since;

	request.id = lease->id;
	if (!lease->stream && !open_stream(lease))
		return false;
	stow_err_set(&lease->why, ETIMEDOUT, "no answer within %llu ms",
		     (unsigned long long)(patience / STOW_MILLISECOND));
	since = lease->sent = stow_clock_boot();
	if (stow_rpc_send(lease->stream, &request) < 0)
		return false;
	while (lease->sent && !lease->failed && !lease->stopping &&
	       stow_clock_boot() < since + patience)
		wait_for(lease, patience / 4);
	if (lease->sent || lease->failed)
		return false;
	lease->why.code = 0;
	return true;
}

static void *run(void *arg)
{
	struct etcd_lease *lease = arg;
	bool logged = false;

	pthread_mutex_lock(&lease->lock);
	while (!lease->stopping && !lease->gone) {
		bool kept = keep_once(lease);

		if (!kept) {
			if (lease->why.code && !lease->stopping)
				etcd_note(lease->etcd, lease->member, &lease->why);
			hang_up(lease);
			etcd_leave(lease->etcd, lease->member);
		}
		if (!kept && !logged && !lease->stopping) {
			logged = true;
			stow_log(STOW_LOG_WARNING,
				 "etcd does not renew the lease; trying other members",
				 stow_text("member", etcd_member_name(lease->etcd, lease->member)),
				 stow_why(&lease->why));
		} else if (kept && logged && !lease->gone) {
			logged = false;
			stow_log(STOW_LOG_NOTICE, "etcd renews the lease again");
		}
		if (!lease->stopping && !lease->gone)
			wait_for(lease, kept ? lease->ttl / 3 : STOW_SECOND / 10);
	}
	hang_up(lease);
	pthread_mutex_unlock(&lease->lock);
	return NULL;
}

int etcd_lease_keep(struct etcd_lease *lease, struct stow_err *err)
{
	int r = -pthread_create(&lease->thread, NULL, run, lease);

	lease->runs = r == 0;
	return r < 0 ? stow_err_sys(err, -r, "cannot start a thread") : 0;
}

int64_t etcd_lease_id(const struct etcd_lease *lease)
{
	return lease->id;
}

uint64_t etcd_lease_until(struct etcd_lease *lease)
{
	uint64_t until;

	pthread_mutex_lock(&lease->lock);
	until = lease->gone ? 0 : lease->until;
	pthread_mutex_unlock(&lease->lock);
	return until;
}

void etcd_lease_why(struct etcd_lease *lease, char *ret, size_t size)
{
	ret[0] = '\0';
	pthread_mutex_lock(&lease->lock);
	if (lease->why.code)
		snprintf(ret, size, "%s: %s", etcd_member_name(lease->etcd, lease->member),
			 lease->why.msg);
	pthread_mutex_unlock(&lease->lock);
}

bool etcd_lease_gone(struct etcd_lease *lease)
{
	bool gone;

	pthread_mutex_lock(&lease->lock);
	gone = lease->gone;
	pthread_mutex_unlock(&lease->lock);
	return gone;
}

void etcd_lease_free(struct etcd_lease *lease)
{
	EtcdLeaseRevokeRequest request = ETCD_LEASE_REVOKE_REQUEST__INIT;
	void *answer = NULL;

	if (!lease)
		return;
	pthread_mutex_lock(&lease->lock);
	lease->stopping = true;
	pthread_cond_broadcast(&lease->changed);
	pthread_mutex_unlock(&lease->lock);
	if (lease->runs)
		pthread_join(lease->thread, NULL);
	pthread_mutex_lock(&lease->lock);
	while (lease->open)
		pthread_cond_wait(&lease->changed, &lease->lock);
	pthread_mutex_unlock(&lease->lock);
	request.id = lease->id;
	if (!lease->gone && etcd_call(lease->etcd, &etcd_lease__descriptor, "LeaseRevoke", &request,
				      STOW_SECOND, &answer, NULL) == 0)
		stow_rpc_message_free(answer);
	pthread_cond_destroy(&lease->changed);
	pthread_mutex_destroy(&lease->lock);
	free(lease);
}
