/* SPDX-License-Identifier: Apache-2.0 */
/* Looks after a server's calls, some times a second: a request that does not become whole is ended.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "rpc/internal.h"

#define PAUSE_MS 200

struct rpc_keeper {
	struct stow_rpc_server *server;
	struct stow_rpc_limits limits;
	int stop;
	pthread_t thread;
	bool runs;
	uint64_t now; /* of this look */
};

uint64_t rpc_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* A call whose message does not come holds memory, and a place. */
static void look(struct stow_rpc_call *call, void *ctx)
{
	const struct rpc_keeper *keeper = ctx;
	struct stow_err err;

	if (atomic_load(&call->whole) || atomic_load(&call->late) ||
	    keeper->now - call->started < keeper->limits.request_timeout ||
	    keeper->now < call->started)
		return;
	atomic_store(&call->late, true);
	stow_err_set(&err, ETIMEDOUT, "the request's message did not come within %" PRIu64 " ms",
		     keeper->limits.request_timeout / 1000000);
	rpc_door_count(rpc_server_door(keeper->server), RPC_REFUSED_SLOW);
	stow_rpc_close(call, &err);
}

static void *run(void *arg)
{
	struct rpc_keeper *keeper = arg;
	struct pollfd at = { .fd = keeper->stop, .events = POLLIN };

	while (poll(&at, 1, PAUSE_MS) <= 0) {
		keeper->now = rpc_now();
		rpc_server_calls(keeper->server, look, keeper);
	}
	return NULL;
}

int rpc_keeper_new(struct stow_rpc_server *server, const struct stow_rpc_limits *limits,
		   struct rpc_keeper **ret, struct stow_err *err)
{
	struct rpc_keeper *keeper = calloc(1, sizeof(*keeper));
	int r;

	if (!keeper)
		return stow_err_set(err, ENOMEM, "out of memory");
	keeper->server = server;
	keeper->limits = *limits;
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
	free(keeper);
}
