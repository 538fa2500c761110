/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keeper checks a server's calls several times a second. It ends requests that are not
 * completed in time, and streams whose connection has reached its age limit, because the core tells
 * only peers that make new calls. It resumes calls that were held. When the CA has changed, it ends
 * all connections, because the old CA has let them in: streams get a message, calls have a moment
 * to be answered.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "rpc/server_internal.h"

#define PAUSE_MS 200
#define S	 STOW_SECOND
#define LOOK_CA	 5 /* pauses between two looks at the CA and the certificates */
#define MOMENT	 S /* for calls under way when the CA has changed */

struct rpc_keeper {
	struct stow_rpc_server *server;
	struct stow_rpc_limits limits;
	int stop;
	pthread_t thread;
	bool runs;
	uint64_t now; /* of the present check */
	char *ca;     /* NULL: no TLS */
	uint64_t version;
	_Atomic uint64_t renewed; /* when the present CA came into use; 0: from the start */
};

/* End a call whose message does not arrive: it uses memory, and a place. A stream of reflection,
 * which needs no permission, may have further messages, but no more time. */
static void end_late(const struct rpc_keeper *keeper, struct stow_rpc_call *call)
{
	struct stow_err err;

	if ((atomic_load(&call->whole) && call->service != &rpc_reflection_service) ||
	    atomic_load(&call->late) ||
	    keeper->now - call->started < keeper->limits.request_timeout ||
	    keeper->now < call->started)
		return;
	atomic_store(&call->late, true);
	stow_err_set(&err, ETIMEDOUT, "the request was not complete within %" PRIu64 " ms",
		     keeper->limits.request_timeout / STOW_MILLISECOND);
	rpc_guard_count(keeper->server->guard, RPC_REFUSED_SLOW);
	stow_rpc_close(call, &err);
}

/* Reset a call whose peer has not read what was sent for so long. */
static void end_unread(const struct rpc_keeper *keeper, struct stow_rpc_call *call)
{
	uint64_t since = atomic_load(&call->writing);

	if (since == 0 || keeper->now < since || keeper->now - since < keeper->limits.read_timeout)
		return;
	if (atomic_exchange(&call->unread, true))
		return;
	rpc_guard_count(keeper->server->guard, RPC_REFUSED_UNREAD);
	rpc_call_abandon(call, "what was sent was not read in time");
}

/* Return whether the connection has reached its age limit: each at another time, between a tenth
 * and a fifth after it. */
static bool is_of_age(const struct rpc_keeper *keeper, const struct stow_rpc_call *call)
{
	uint64_t age = keeper->limits.connection_age, since;

	if (age == 0 || !call->ops || !call->counted || call->peer.local)
		return false;
	since = rpc_connection_since(call->connection);
	return keeper->now - since > age + age / 10 + since % (age / 10 + 1) + S / 2;
}

static void end_stream(struct stow_rpc_call *call)
{
	struct stow_err err;

	if (atomic_exchange(&call->late, true))
		return;
	stow_err_set(&err, ENOTCONN, "%s", STOW_RPC_RENEWED);
	stow_rpc_close(call, &err);
}

static void look_at_call(const struct rpc_keeper *keeper, struct stow_rpc_call *call)
{
	end_unread(keeper, call);
	/* Its method and peer are not known yet. */
	if (!atomic_load(&call->known))
		return;
	rpc_call_resume(call, keeper->now);
	end_late(keeper, call);
	if (is_of_age(keeper, call) ||
	    (call->ops && call->counted &&
	     rpc_connection_since(call->connection) < atomic_load(&keeper->renewed)))
		end_stream(call);
}

static void look_at_certificates(struct rpc_keeper *keeper)
{
	uint64_t version = rpc_tls_ca_version(keeper->ca), renewed = atomic_load(&keeper->renewed);

	/* A file that is being replaced is checked again later. */
	if (version && version != keeper->version) {
		keeper->version = version;
		renewed = keeper->now;
		atomic_store(&keeper->renewed, renewed);
	}
	if (keeper->now < renewed + MOMENT)
		renewed = 0;
	rpc_guard_expire(keeper->server->guard, renewed, (time_t)(stow_clock_wall() / STOW_SECOND));
}

static void look_at_calls(const struct rpc_keeper *keeper)
{
	pthread_mutex_lock(&keeper->server->lock);
	for (struct stow_rpc_call *call = keeper->server->calls; call; call = call->next)
		look_at_call(keeper, call);
	pthread_mutex_unlock(&keeper->server->lock);
}

static void *run(void *arg)
{
	struct rpc_keeper *keeper = arg;
	struct pollfd at = { .fd = keeper->stop, .events = POLLIN };

	for (unsigned int i = 0; poll(&at, 1, PAUSE_MS) <= 0; i++) {
		keeper->now = stow_clock_monotonic();
		if (keeper->ca && i % LOOK_CA == 0)
			look_at_certificates(keeper);
		rpc_guard_end_parked(keeper->server->guard, keeper->now);
		look_at_calls(keeper);
	}
	return NULL;
}

uint64_t rpc_keeper_renewed(const struct rpc_keeper *keeper)
{
	return atomic_load(&keeper->renewed);
}

int rpc_keeper_new(struct stow_rpc_server *server, const struct stow_rpc_limits *limits,
		   const struct stow_rpc_tls *tls, struct rpc_keeper **ret, struct stow_err *err)
{
	struct rpc_keeper *keeper = calloc(1, sizeof(*keeper));
	int r;

	if (!keeper)
		return stow_err_set(err, ENOMEM, "out of memory");
	keeper->server = server;
	keeper->limits = *limits;
	if (tls) {
		keeper->ca = strdup(tls->ca);
		keeper->version = keeper->ca ? rpc_tls_ca_version(keeper->ca) : 0;
	}
	keeper->stop = eventfd(0, EFD_CLOEXEC);
	r = keeper->stop < 0 ? errno : pthread_create(&keeper->thread, NULL, run, keeper);
	keeper->runs = r == 0;
	if (r != 0) {
		rpc_keeper_free(keeper);
		return stow_err_sys(err, r, "cannot start a thread");
	}
	*ret = keeper;
	return 0;
}

void rpc_keeper_free(struct rpc_keeper *keeper)
{
	if (!keeper)
		return;
	if (keeper->runs) {
		eventfd_write(keeper->stop, 1);
		pthread_join(keeper->thread, NULL);
	}
	if (keeper->stop >= 0)
		close(keeper->stop);
	free(keeper->ca);
	free(keeper);
}
